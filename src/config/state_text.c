/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The state's tables as JSON text and back: pure functions. Each file is an object with a
 * "version"; a higher one than ours was written by a newer adit and is refused, not guessed at.
 * Reading is strict about what decides who may do what (IDs, names, numbers, doubles), and ignores
 * members that it does not know.
 */
#include "config/state_int.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "crypto/base32.h"

#define STATE_VERSION 1

__attribute__((format(printf, 2, 3))) static int refuse(char *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, STATE_WHY_MAX, format, args);
    va_end(args);
    return ADIT_EFORMAT;
}

/* The text as an object of our version. NULL: *rc and why. */
static json_t *root_parse(const char *text, size_t len, char *why, int *rc)
{
    json_error_t error;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);

    *rc = ADIT_EFORMAT;
    if (root == NULL) {
        refuse(why, "line %d: %.100s", error.line, error.text);
        return NULL;
    }
    json_int_t version = json_integer_value(json_object_get(root, "version"));
    if (version == STATE_VERSION)
        return root;
    if (version > STATE_VERSION)
        refuse(why, "written by a newer version of adit");
    else
        refuse(why, "no version in it");
    json_decref(root);
    return NULL;
}

static char *root_to_text(json_t *root)
{
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;

    json_decref(root);
    return text;
}

/* --- Peers --- */

size_t peer_table_place(const struct peer_table *peers, const struct node_id *id, bool *found)
{
    size_t low = 0, high = peers->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = node_id_compare(&peers->items[middle].id, id);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *found = false;
    return low;
}

void peer_table_free(struct peer_table *peers)
{
    for (size_t i = 0; i < peers->count; i++)
        urls_unref(peers->items[i].brokers);
    free(peers->items);
    *peers = (struct peer_table){.count = 0};
}

static json_t *brokers_to_json(const struct urls *brokers, bool mask)
{
    json_t *list = json_array();
    char masked[URLS_URL_MAX + 8];

    for (size_t i = 0; i < urls_count(brokers); i++) {
        const char *url = urls_at(brokers, i);
        json_array_append_new(list, json_string(mask ? url_mask(url, masked) : url));
    }
    return list;
}

static json_t *peer_to_json(const struct state_peer *peer, bool mask)
{
    char id[NODE_ID_TEXT_LEN + 1];
    json_t *addresses = json_array();

    for (size_t i = 0; i < STATE_ADDRS_MAX && peer->addrs[i][0] != '\0'; i++)
        json_array_append_new(addresses, json_string(peer->addrs[i]));
    return json_pack("{s:s, s:s, s:b, s:b, s:I, s:s, s:I, s:I, s:o, s:o}", "id",
                     node_id_format(&peer->id, id), "name", peer->name, "admitted", peer->admitted,
                     "revoked", peer->revoked, "expires", (json_int_t)peer->expires, "how",
                     peer->how, "added", (json_int_t)peer->added, "seen", (json_int_t)peer->seen,
                     "addresses", addresses, "brokers", brokers_to_json(peer->brokers, mask));
}

json_t *state_peer_to_json(const struct state_peer *peer)
{
    return peer_to_json(peer, true);
}

char *peer_table_to_text(const struct peer_table *peers)
{
    json_t *list = json_array();

    for (size_t i = 0; i < peers->count; i++)
        if (json_array_append_new(list, peer_to_json(&peers->items[i], false)) != 0) {
            json_decref(list);
            return NULL;
        }
    return root_to_text(json_pack("{s:i, s:o}", "version", STATE_VERSION, "peers", list));
}

/* A string member that fits, or "" where there is none. */
static int string_take(const json_t *object, const char *name, char *buf, size_t size)
{
    const json_t *member = json_object_get(object, name);

    buf[0] = '\0';
    if (member == NULL)
        return 0;
    if (!json_is_string(member) || json_string_length(member) >= size)
        return ADIT_EFORMAT;
    memcpy(buf, json_string_value(member), json_string_length(member) + 1);
    return 0;
}

static int brokers_from_json(const json_t *list, struct urls **brokers, const char *id, char *why)
{
    const char *urls[URLS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < json_array_size(list) && count < URLS_MAX; i++) {
        const char *url = json_string_value(json_array_get(list, i));
        if (url == NULL || !url_is_good(url))
            return refuse(why, "peer %.8s: a broker is no URL", id);
        urls[count++] = url;
    }
    return urls_new(urls, count, brokers);
}

/* On success it has a reference to its brokers. */
static int peer_from_json(const json_t *object, struct state_peer *peer, char *why)
{
    char id[NODE_ID_TEXT_LEN + 1];

    memset(peer, 0, sizeof *peer);
    if (string_take(object, "id", id, sizeof id) != 0 || node_id_parse(id, &peer->id) != 0)
        return refuse(why, "a peer has no good id");
    if (string_take(object, "name", peer->name, sizeof peer->name) != 0 ||
        (peer->name[0] != '\0' && !config_is_peer_name(peer->name)))
        return refuse(why, "the name of peer %.8s is not one", id);
    if (string_take(object, "how", peer->how, sizeof peer->how) != 0)
        return refuse(why, "peer %.8s: \"how\" is too long", id);
    const json_t *admitted = json_object_get(object, "admitted");
    if (!json_is_boolean(admitted))
        return refuse(why, "peer %.8s: \"admitted\" is neither true nor false", id);
    peer->admitted = json_is_true(admitted);
    peer->revoked = json_is_true(json_object_get(object, "revoked")); /* not in older files */
    peer->added = json_integer_value(json_object_get(object, "added"));
    peer->seen = json_integer_value(json_object_get(object, "seen"));
    /* What cannot be understood must not make an admission last longer. */
    const json_t *expires = json_object_get(object, "expires");
    if (expires != NULL && (!json_is_integer(expires) || json_integer_value(expires) < 0))
        return refuse(why, "peer %.8s: \"expires\" is no good number", id);
    peer->expires = json_integer_value(expires);

    const json_t *addresses = json_object_get(object, "addresses");
    size_t count = 0;
    for (size_t i = 0; i < json_array_size(addresses) && count < STATE_ADDRS_MAX; i++) {
        const json_t *text = json_array_get(addresses, i);
        struct target target;
        if (!json_is_string(text) || json_string_length(text) > STATE_ADDR_TEXT_MAX ||
            target_parse(json_string_value(text), &target) != 0)
            return refuse(why, "peer %.8s: an address is not HOST:PORT", id);
        strcpy(peer->addrs[count++], json_string_value(text));
    }
    return brokers_from_json(json_object_get(object, "brokers"), &peer->brokers, id, why);
}

static int peer_insert(struct peer_table *peers, const struct state_peer *peer, char *why)
{
    bool found;
    size_t place = peer_table_place(peers, &peer->id, &found);

    if (found)
        return refuse(why, "a peer is in it twice");
    for (size_t i = 0; peer->name[0] != '\0' && i < peers->count; i++)
        if (strcmp(peers->items[i].name, peer->name) == 0)
            return refuse(why, "two peers have the name %s", peer->name);
    memmove(&peers->items[place + 1], &peers->items[place],
            (peers->count - place) * sizeof *peers->items);
    peers->items[place] = *peer;
    peers->count++;
    return 0;
}

int peer_table_from_text(const char *text, size_t len, struct peer_table *peers,
                         char why[STATE_WHY_MAX])
{
    struct peer_table table = {0};
    struct state_peer peer;
    int rc;
    json_t *root = root_parse(text, len, why, &rc);

    if (root == NULL)
        return rc;
    const json_t *list = json_object_get(root, "peers");
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count > STATE_PEERS_MAX) {
        rc = refuse(why, "\"peers\" is no list of at most %d", STATE_PEERS_MAX);
        goto out;
    }
    if (count > 0 && (table.items = malloc(count * sizeof *table.items)) == NULL) {
        rc = -ENOMEM;
        goto out;
    }
    rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = peer_from_json(json_array_get(list, i), &peer, why);
        if (rc != 0)
            break;
        rc = peer_insert(&table, &peer, why);
        if (rc != 0)
            urls_unref(peer.brokers);
    }
    if (rc == 0) {
        peer_table_free(peers);
        *peers = table;
        table = (struct peer_table){.count = 0};
    }
out:
    peer_table_free(&table);
    json_decref(root);
    return rc;
}

/* --- Enrolment secrets --- */

#define HASH_TEXT_LEN BASE32_TEXT_LEN(HASH_BYTES)

char *enrol_table_to_text(const struct enrol_table *secrets)
{
    json_t *list = json_array();
    char hash[HASH_TEXT_LEN + 1];

    for (size_t i = 0; i < secrets->count; i++) {
        const struct enrol_secret *secret = &secrets->items[i];
        base32_encode(secret->hash, sizeof secret->hash, hash);
        json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I}", "sha256", hash, "uses",
                                              (json_int_t)secret->uses, "expires",
                                              (json_int_t)secret->expires, "admit_for",
                                              (json_int_t)secret->admit_s));
    }
    return root_to_text(json_pack("{s:i, s:o}", "version", STATE_VERSION, "secrets", list));
}

static int secret_from_json(const json_t *object, struct enrol_secret *secret, char *why)
{
    char hash[HASH_TEXT_LEN + 1];
    json_int_t uses = json_integer_value(json_object_get(object, "uses"));
    const json_t *expires = json_object_get(object, "expires");
    const json_t *admit = json_object_get(object, "admit_for");

    if (string_take(object, "sha256", hash, sizeof hash) != 0 ||
        base32_decode(hash, strlen(hash), secret->hash, sizeof secret->hash) !=
            (int)sizeof secret->hash)
        return refuse(why, "a secret's hash is not one");
    if (uses < 0 || uses > STATE_USES_MAX || !json_is_integer(expires) ||
        json_integer_value(expires) < 0)
        return refuse(why, "a secret's uses or end is no good number");
    if (admit != NULL && (!json_is_integer(admit) || json_integer_value(admit) < 0 ||
                          json_integer_value(admit) > STATE_SPAN_MAX_S))
        return refuse(why, "how long a secret admits is no good number");
    secret->uses = (uint32_t)uses;
    secret->expires = json_integer_value(expires);
    secret->admit_s = json_integer_value(admit);
    return 0;
}

int enrol_table_from_text(const char *text, size_t len, struct enrol_table *secrets,
                          char why[STATE_WHY_MAX])
{
    struct enrol_table table = {.count = 0};
    int rc;
    json_t *root = root_parse(text, len, why, &rc);

    if (root == NULL)
        return rc;
    const json_t *list = json_object_get(root, "secrets");
    rc = 0;
    if (!json_is_array(list) || json_array_size(list) > STATE_SECRETS_MAX)
        rc = refuse(why, "\"secrets\" is no list of at most %d", STATE_SECRETS_MAX);
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++)
        rc = secret_from_json(json_array_get(list, i), &table.items[table.count++], why);
    if (rc == 0)
        *secrets = table;
    json_decref(root);
    return rc;
}

/* --- The node's own --- */

char *node_to_text(uint16_t port)
{
    return root_to_text(json_pack("{s:i, s:i}", "version", STATE_VERSION, "port", (int)port));
}

int node_from_text(const char *text, size_t len, uint16_t *port, char why[STATE_WHY_MAX])
{
    int rc;
    json_t *root = root_parse(text, len, why, &rc);

    if (root == NULL)
        return rc;
    json_int_t value = json_integer_value(json_object_get(root, "port"));
    rc = 0;
    if (value < 0 || value > UINT16_MAX)
        rc = refuse(why, "\"port\" is no port");
    else
        *port = (uint16_t)value;
    json_decref(root);
    return rc;
}
