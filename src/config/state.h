/* SPDX-License-Identifier: MIT */
/*
 * State: what a node remembers between runs, in its state directory: known peers (peers.json) and
 * enrolment secrets that have been handed out (enrol.json). One process per directory, by a lock.
 * state.c has the theory.
 *
 * Times are seconds since 1970, passed in.
 */
#ifndef ADIT_CONFIG_STATE_H
#define ADIT_CONFIG_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "config/urls.h"
#include "crypto/identity.h"

#define STATE_PEERS_MAX      4096
#define STATE_SECRETS_MAX    256
#define STATE_FILE_MAX_BYTES (32 * 1024 * 1024) /* STATE_PEERS_MAX of the longest fit */
#define STATE_NAME_MAX       32                 /* as CONFIG_PEER_NAME_MAX */
#define STATE_SECRET_BYTES   16
#define STATE_HOW_MAX        15
#define STATE_ADDRS_MAX      8                     /* last known addresses of a peer */
#define STATE_ADDR_TEXT_MAX  263                   /* HOST:PORT */
#define STATE_USES_MAX       1000000               /* of a secret */
#define STATE_SPAN_MAX_S     (100 * 366 * 86400LL) /* of a time to live: as good as for ever */

struct state;

struct state_peer {
    struct node_id id;
    char name[STATE_NAME_MAX + 1]; /* unique, "" for none */
    bool admitted;                 /* may use us as an exit */
    bool revoked;                  /* its owner has ended that: no ticket brings it back */
    /* How it became known: "ticket" (ours was used), "enrolled" (we used its), "config" or
     * "command". */
    char how[STATE_HOW_MAX + 1];
    int64_t added;
    int64_t seen;    /* 0: never */
    int64_t expires; /* the admission ends by itself at that time; 0: never */
    /* Where it was or said to be, best first; "" ends the list. */
    char addrs[STATE_ADDRS_MAX][STATE_ADDR_TEXT_MAX + 1];
    struct urls *brokers; /* over which it is found; the state's; may hold passwords; NULL: none */
};

/* May it use us at this time? */
bool state_peer_is_admitted(const struct state_peer *peer, int64_t now);
/* All of it, for people and `adit peers --json`: as in peers.json, but with masked passwords (a new
 * reference). NULL: no memory. */
struct json_t *state_peer_to_json(const struct state_peer *peer);

enum state_find { STATE_FOUND, STATE_UNKNOWN, STATE_AMBIGUOUS };

/* What became of an enrolment secret that a peer showed. */
enum enrol_result {
    ENROL_OK,
    ENROL_UNKNOWN,
    ENROL_EXPIRED,
    ENROL_USED_UP,
    ENROL_FAILED /* could not be written down */
};

/* The default directory: $XDG_STATE_HOME/adit, ~/.local/state/adit, or /var/lib/adit for root. 0 or
 * -ENAMETOOLONG. */
int state_dir_default(char *buf, size_t size);

/* Opens the directory (made 0700), locks it and reads its files. NULL: errbuf says why and what to
 * do; *error (may be NULL) is ADIT_EBUSY when another process has it, ADIT_EFORMAT when a file is
 * damaged (it is left as it is). */
struct state *state_open(const char *dir, char *errbuf, size_t errlen, int *error);
/* State in memory only: tests. */
struct state *state_new(void);
void state_close(struct state *state);
const char *state_dir(const struct state *state); /* "" in memory only */

/* --- Known peers. Pointers stay good until the next change. Changes are on disk when the call
 * returns; where that fails, they are undone. --- */

/* All, in the order of their IDs; one of them (NULL: not known). */
const struct state_peer *state_peers(const struct state *state, size_t *count);
const struct state_peer *state_peer(const struct state *state, const struct node_id *id);
/* By name, ID, or a prefix of an ID of at least 4 characters that means only one peer. */
enum state_find state_find_peer(const struct state *state, const char *text,
                                const struct state_peer **peer);
bool state_is_admitted(const struct state *state, const struct node_id *id, int64_t now);
/* When the next admission ends by itself; 0: none will. */
int64_t state_next_expiry(const struct state *state, int64_t now);

/* Adds a peer, or changes one: admitted from now on. name: NULL or "": as it is; -EINVAL: not a
 * name (config_is_peer_name()); -EEXIST: another peer has it. 0, ADIT_EFULL or a negative errno. */
int state_peer_allow(struct state *state, const struct node_id *id, const char *name,
                     const char *how, int64_t now);
/* The same, until that time (0: for ever). */
int state_peer_allow_until(struct state *state, const struct node_id *id, const char *name,
                           const char *how, int64_t expires, int64_t now);
/* Adds a peer that may not use us (an exit of ours). suggested: the name it gives itself, made fit
 * and unique; used if it has none yet; may be NULL. One already known stays as it is otherwise. */
int state_peer_remember(struct state *state, const struct node_id *id, const char *suggested,
                        const char *how, int64_t now);
/* No longer admitted. 0 or -ENOENT. */
int state_peer_revoke(struct state *state, const struct node_id *id);
int state_peer_forget(struct state *state, const struct node_id *id);
/* When its admission ends by itself; 0: never. 0, -ENOENT, or -EPERM: it is not admitted. */
int state_peer_set_expiry(struct state *state, const struct node_id *id, int64_t expires);
/* -EINVAL: not a name (config_is_peer_name()); -EEXIST: another peer has it. */
int state_peer_rename(struct state *state, const struct node_id *id, const char *name);
/* It was here just now. Written down at most once in a while (STATE_TOUCH_S) and at state_close().
 */
void state_peer_touch(struct state *state, const struct node_id *id, int64_t now);
/* Its addresses (HOST:PORT), best first; at most STATE_ADDRS_MAX are kept. */
int state_peer_set_addrs(struct state *state, const struct node_id *id, const char *const *addrs,
                         size_t count);
/* The brokers over which it is found (URLs); what is no URL, and what is beyond URLS_MAX, is left
 * out. */
int state_peer_set_brokers(struct state *state, const struct node_id *id, const char *const *urls,
                           size_t count);

#define STATE_TOUCH_S 60

/* --- Enrolment secrets. Only their hashes are kept. --- */

/* Makes a secret good for `uses` enrolments until now + ttl_s (0: no end), each an admission for
 * admit_s (0: for ever). 0, ADIT_EFULL or a negative errno. Spent and expired ones are swept first.
 */
int state_enrol_new(struct state *state, uint32_t uses, int64_t ttl_s, int64_t admit_s, int64_t now,
                    uint8_t secret[STATE_SECRET_BYTES]);
/* Would it do? Changes nothing. */
enum enrol_result state_enrol_check(const struct state *state,
                                    const uint8_t secret[STATE_SECRET_BYTES], int64_t now);
/* Uses it once, and admits the peer, in this order on disk: a crash between costs a use and never
 * gives one away. A peer that is admitted already costs no use, and keeps its
 * admission as it is. suggested: as of state_peer_remember(). */
enum enrol_result state_enrol_use(struct state *state, const uint8_t secret[STATE_SECRET_BYTES],
                                  const struct node_id *id, const char *suggested, int64_t now);
/* Withdraws all of them. */
int state_enrol_clear(struct state *state);
size_t state_enrol_count(const struct state *state, int64_t now); /* good ones */

/* --- The port that a listener with port 0 got and keeps; 0: none yet. --- */

uint16_t state_port(const struct state *state);
/* 0 or a negative errno. */
int state_set_port(struct state *state, uint16_t port);

#endif
