/* SPDX-License-Identifier: MIT */
/*
 * Egress peers: what each peer has open at the exit. Private to egress/.
 */
#ifndef ADIT_EGRESS_PEER_H
#define ADIT_EGRESS_PEER_H

#include <uthash.h>

#include "egress/egress.h"
#include "egress/rate.h"

struct peer_stream;

struct peer {
    struct node_id id;
    struct peer_table *table;
    struct egress_stats stats;
    struct rate rate;
    struct peer_stream *streams;
    uint32_t active;                /* requests under way; the others of stats.dials wait */
    struct egress_request *waiting; /* in the order of asking */
    uint64_t complained;            /* when a refusal was last logged; 0: never */
    uint32_t uncomplained;          /* refusals since */
    UT_hash_handle hh;
};

struct peer_table {
    struct loop *loop;
    struct peer *peers;
    struct egress_stats totals;
    uint64_t rate; /* bytes a second, of new peers; see peer_table_set_rate() */
    bool access_log;
};

/* Empty, without rate. */
void peer_table_init(struct peer_table *table, struct loop *loop);
/* Forgets all peers; connections live on, uncounted. */
void peer_table_clear(struct peer_table *table);
void peer_table_set_rate(struct peer_table *table, uint64_t bytes_per_s);
struct peer *peer_find(const struct peer_table *table, const struct node_id *id);
/* The peer, made if it is new; NULL: EGRESS_PEERS_MAX reached, or no memory. */
struct peer *peer_get(struct peer_table *table, const struct node_id *id);
/* Frees it if it has nothing open and owes nothing. */
void peer_release(struct peer *peer);
/* Counts a connection until its end, and limits it to the peer's rate. 0 or -ENOMEM. */
int peer_add_stream(struct peer *peer, struct pipe *pipe, const struct target *target);
/* Counts a refusal, and logs it, at most once a minute for each peer. */
void peer_complain(struct peer *peer, const char *reason, const char *remedy);
/* The beginning of the ID, for log lines. */
#define PEER_TEXT_MAX 9
const char *peer_text(const struct node_id *id, char buf[PEER_TEXT_MAX]);

#endif
