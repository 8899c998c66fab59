/* SPDX-License-Identifier: MIT */
/*
 * The state's tables and their form in files. Private to config/; the tests of state use it too.
 */
#ifndef ADIT_CONFIG_STATE_INT_H
#define ADIT_CONFIG_STATE_INT_H

#include "config/state.h"
#include "crypto/hash.h"

struct peer_table {
    struct state_peer *items; /* in the order of their IDs */
    size_t count;
};

struct enrol_secret {
    uint8_t hash[HASH_BYTES]; /* SHA-256 of the secret */
    uint32_t uses;            /* left */
    int64_t expires;          /* 0: never */
    int64_t admit_s;          /* how long the admission lasts; 0: for ever */
};

struct enrol_table {
    struct enrol_secret items[STATE_SECRETS_MAX];
    size_t count;
};

struct state {
    char *dir; /* "": in memory only */
    int dir_fd, lock_fd;
    struct peer_table peers;
    struct enrol_table secrets;
    uint16_t port;
    bool seen_dirty; /* somebody was seen since peers.json was written */
    int64_t seen_written;
};

#define STATE_ENROL_FILE "enrol.json"

/* Replaces the file by this text, which it frees. NULL: -ENOMEM. */
int state_file_replace(const struct state *state, const char *name, char *text);
/* Who has shown a good secret is admitted, until that time (0: for ever). */
int state_peer_admit(struct state *state, const struct node_id *id, const char *suggested,
                     int64_t expires, int64_t now);

#define STATE_WHY_MAX 160

/* To text (malloc'd; NULL: no memory) and from it. from: 0; ADIT_EFORMAT and why; or -ENOMEM. The
 * table is changed only on success. */
void peer_table_free(struct peer_table *peers); /* what it holds */
char *peer_table_to_text(const struct peer_table *peers);
int peer_table_from_text(const char *text, size_t len, struct peer_table *peers,
                         char why[STATE_WHY_MAX]);
char *enrol_table_to_text(const struct enrol_table *secrets);
int enrol_table_from_text(const char *text, size_t len, struct enrol_table *secrets,
                          char why[STATE_WHY_MAX]);
char *node_to_text(uint16_t port);
int node_from_text(const char *text, size_t len, uint16_t *port, char why[STATE_WHY_MAX]);

/* Where the peer is or belongs; *found says which. */
size_t peer_table_place(const struct peer_table *peers, const struct node_id *id, bool *found);

#endif
