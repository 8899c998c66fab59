/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The verbs about known peers. They need nothing but the state, so that `adit peers` works the same
 * whether a node is running (which then ends the sessions of those revoked) or not (the command
 * line has the state to itself).
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
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

static json_t *peers_list(const struct state *state)
{
    json_t *list = json_array();
    size_t count;
    const struct state_peer *peers = state_peers(state, &count);

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, state_peer_to_json(&peers[i]));
    return json_pack("{s:o}", "peers", list);
}

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
    static const char *const verbs[] = {"peers", "allow", "revoke", "rename", "forget"};

    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strcmp(verb, verbs[i]) == 0)
            return true;
    return false;
}

json_t *control_peers(struct state *state, const struct node_id *own, const char *verb,
                      const json_t *args, int64_t now, bool *changed,
                      char errbuf[CONTROL_ERROR_MAX])
{
    const char *name = json_string_value(json_object_get(args, "name"));
    struct node_id id;
    char text[NODE_ID_TEXT_LEN + 1];
    int rc = -EINVAL;

    *changed = false;
    if (strcmp(verb, "peers") == 0)
        return peers_list(state);
    if (!peer_find(state, args, strcmp(verb, "allow") == 0, &id, errbuf))
        return NULL;
    if (strcmp(verb, "allow") == 0) {
        if (own != NULL && node_id_equal(&id, own))
            return refuse(errbuf, "that is this node itself");
        rc = state_peer_allow(state, &id, name, "command", now);
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
