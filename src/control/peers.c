/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The verbs about known peers. They need nothing but the state, so that `adit peers` works the same
 * whether a node is running (which then ends the sessions of those revoked, and adds to the list
 * what it knows of those connected) or not (the command line has the state to itself).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"

__attribute__((format(printf, 2, 3))) static json_t *refuse(char *errbuf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(errbuf, CONTROL_ERROR_MAX, format, args);
    va_end(args);
    return NULL;
}

/* --- The list --- */

static int order_of(const void *a, const void *b)
{
    const json_t *const *one = a, *const *two = b;
    bool up[2] = {json_is_true(json_object_get(*one, "connected")),
                  json_is_true(json_object_get(*two, "connected"))};
    json_int_t seen[2] = {json_integer_value(json_object_get(*one, "seen")),
                          json_integer_value(json_object_get(*two, "seen"))};

    if (up[0] != up[1])
        return up[0] ? -1 : 1;
    if (seen[0] != seen[1] && !up[0])
        return seen[0] > seen[1] ? -1 : 1;
    return strcmp(json_string_value(json_object_get(*one, "id")),
                  json_string_value(json_object_get(*two, "id")));
}

static void list_sort(json_t *list)
{
    size_t count = json_array_size(list), index;
    json_t **entries = calloc(count + 1, sizeof *entries), *entry;

    if (entries == NULL)
        return;
    json_array_foreach(list, index, entry) entries[index] = json_incref(entry);
    qsort(entries, count, sizeof *entries, order_of);
    for (size_t i = 0; i < count; i++)
        json_array_set_new(list, i, entries[i]);
    free(entries);
}

static json_t *peers_list(const struct state *state, int64_t now)
{
    json_t *list = json_array();
    size_t count;
    const struct state_peer *peers = state_peers(state, &count);

    for (size_t i = 0; i < count; i++) {
        json_t *entry = state_peer_to_json(&peers[i]);
        json_object_set_new(
            entry, "expired",
            json_boolean(peers[i].admitted && !state_peer_is_admitted(&peers[i], now)));
        json_object_set_new(entry, "connected", json_false());
        json_array_append_new(list, entry);
    }
    list_sort(list);
    return json_pack("{s:o}", "peers", list);
}

static json_t *copy_of(const json_t *object, const char *name)
{
    json_t *member = json_object_get(object, name);

    return member != NULL ? json_incref(member) : json_null();
}

static void live_add(json_t *entry, const json_t *live)
{
    const json_t *path, *active = NULL;
    const char *state = json_string_value(json_object_get(live, "state"));
    bool connected = state != NULL && strcmp(state, "connected") == 0;
    size_t index;

    json_array_foreach(json_object_get(live, "paths"), index, path)
    {
        if (active == NULL || json_is_true(json_object_get(path, "active")))
            active = path;
    }
    json_object_set_new(entry, "connected", json_boolean(connected));
    json_object_set_new(entry, "state", copy_of(live, "state"));
    json_object_set_new(entry, "exit", copy_of(live, "exit"));
    json_object_set_new(entry, "path", copy_of(active, "strategy"));
    json_object_set_new(entry, "remote", copy_of(active, "remote"));
    json_object_set_new(entry, "rtt_ms", copy_of(active, "rtt_ms"));
    json_object_set_new(entry, "paths",
                        json_integer((json_int_t)json_array_size(json_object_get(live, "paths"))));
    json_object_set_new(entry, "streams", copy_of(live, "streams"));
    json_object_set_new(entry, "connected_s", connected ? copy_of(live, "age_s") : json_null());
    json_object_set_new(entry, "problem", copy_of(live, "problem"));
}

void control_peers_add_live(json_t *result, const json_t *status)
{
    json_t *list = json_object_get(result, "peers"), *known = json_object(), *entry;
    const json_t *live;
    size_t index;

    json_array_foreach(list, index, entry)
        json_object_set(known, json_string_value(json_object_get(entry, "id")), entry);
    json_array_foreach(json_object_get(status, "peers"), index, live)
    {
        entry = json_object_get(known, json_string_value(json_object_get(live, "id")));
        if (entry == NULL) { /* of the configuration, or here for a moment */
            entry =
                json_pack("{s:O, s:O, s:O, s:i, s:s, s:i, s:i, s:[], s:[], s:b}", "id",
                          json_object_get(live, "id"), "name", json_object_get(live, "name"),
                          "admitted", json_object_get(live, "admitted"), "expires", 0, "how",
                          "config", "added", 0, "seen", 0, "addresses", "brokers", "expired", 0);
            json_array_append_new(list, entry);
        }
        live_add(entry, live);
    }
    json_decref(known);
    list_sort(list);
}

/* --- Changes --- */

/* The peer that args.peer means; its ID also if it is not known yet and may_be_new. */
static bool peer_find(const struct state *state, const json_t *args, bool may_be_new,
                      struct node_id *id, char *errbuf)
{
    const struct state_peer *peer;
    const char *text = json_string_value(json_object_get(args, "peer"));

    if (text == NULL || text[0] == '\0') {
        refuse(errbuf, "name a peer");
        return false;
    }
    switch (state_find_peer(state, text, &peer)) {
    case STATE_FOUND:
        *id = peer->id;
        return true;
    case STATE_AMBIGUOUS:
        refuse(errbuf, "several peers' IDs begin with '%.60s'; give more of it", text);
        return false;
    case STATE_UNKNOWN:
        if (may_be_new && node_id_parse(text, id) == 0)
            return true;
        if (may_be_new)
            refuse(errbuf,
                   "no peer is known as '%.60s'; one that is not known is named by its whole ID, "
                   "which `adit key` shows there",
                   text);
        else
            refuse(errbuf, "no peer is known as '%.60s'; `adit peers` lists them", text);
        return false;
    }
    return false;
}

bool control_is_peer_verb(const char *verb)
{
    static const char *const verbs[] = {"peers", "allow", "expire", "revoke", "rename", "forget"};

    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verb, verbs[i]) == 0)
            return true;
    return false;
}

/* args.for, in seconds from now, as a time; 0: never. False: errbuf. */
static bool end_find(const json_t *args, int64_t now, int64_t *end, char *errbuf)
{
    const json_t *span = json_object_get(args, "for");
    json_int_t s = json_integer_value(span);

    *end = 0;
    if (span != NULL && (!json_is_integer(span) || s < 0 || s > STATE_SPAN_MAX_S)) {
        refuse(errbuf, "\"for\" is no number of seconds up to a hundred years");
        return false;
    }
    if (s != 0)
        *end = now + s;
    return true;
}

json_t *control_peers(struct state *state, const struct node_id *own, const char *verb,
                      const json_t *args, int64_t now, bool *changed,
                      char errbuf[CONTROL_ERROR_MAX])
{
    const char *name = json_string_value(json_object_get(args, "name"));
    struct node_id id;
    char text[NODE_ID_TEXT_LEN + 1];
    int64_t end;
    int rc = -EINVAL;

    *changed = false;
    if (strcmp(verb, "peers") == 0)
        return peers_list(state, now);
    if (!peer_find(state, args, strcmp(verb, "allow") == 0, &id, errbuf) ||
        !end_find(args, now, &end, errbuf))
        return NULL;
    if (strcmp(verb, "allow") == 0) {
        if (own != NULL && node_id_equal(&id, own))
            return refuse(errbuf, "that is this node itself");
        rc = state_peer_allow_until(state, &id, name, "command", end, now);
    } else if (strcmp(verb, "expire") == 0) {
        if (json_object_get(args, "for") == NULL)
            return refuse(errbuf, "say after how long: seconds, or 0 for never");
        rc = state_peer_set_expiry(state, &id, end);
        if (rc == -EPERM)
            return refuse(errbuf, "that peer is not admitted, so there is nothing to end; `adit "
                                  "peers allow' admits it");
    } else if (strcmp(verb, "revoke") == 0) {
        rc = state_peer_revoke(state, &id);
    } else if (strcmp(verb, "forget") == 0) {
        rc = state_peer_forget(state, &id);
    } else if (strcmp(verb, "rename") == 0) {
        rc = state_peer_rename(state, &id, name != NULL ? name : "");
    }
    if (rc == -EEXIST)
        return refuse(errbuf, "another peer is already called '%.60s'", name);
    if (rc == -EINVAL)
        return refuse(errbuf,
                      "'%.60s' cannot be a peer's name: up to %d letters, digits, '-', '_' and '.'",
                      name != NULL ? name : "", STATE_NAME_MAX);
    if (rc == ADIT_EFULL)
        return refuse(errbuf, "%d peers are known, and that is the most; forget some",
                      STATE_PEERS_MAX);
    if (rc != 0)
        return refuse(errbuf, "%s: cannot be written: %s", state_dir(state), err_text(rc));
    *changed = true;
    const struct state_peer *peer = state_peer(state, &id);
    return peer != NULL ? state_peer_to_json(peer)
                        : json_pack("{s:s}", "id", node_id_format(&id, text));
}
