/* SPDX-License-Identifier: MIT */
/*
 * Link: one direction of an emulated line: which packets arrive, and when. link.c has the theory.
 */
#ifndef LAB_LINK_H
#define LAB_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chance.h"

#define LINK_MS_NS       1000000LL
#define LINK_SEC_NS      1000000000LL
#define LINK_NEVER       INT64_MAX
#define LINK_COPIES_MAX  2
#define LINK_LINE_MAX    (1 << 17) /* packets under way; more are dropped */
#define LINK_QUEUE_MAX   (1 << 17) /* packets that a queue can be set to */
#define LINK_QUEUE_MS    100       /* a queue that is not set: this much of the rate */
#define LINK_QUEUE_BYTES 30000     /* and at least this */

/* Probabilities are 0 to 1; times nanoseconds. */
struct link_config {
    int64_t delay, jitter;
    double loss, loss_burst; /* loss_burst: mean length of a run of losses, 1: independent */
    double duplicate, reorder;
    int64_t reorder_delay;
    uint64_t rate;                       /* bit/s; 0: no limit */
    uint64_t queue_packets, queue_bytes; /* both 0: by LINK_QUEUE_* */
};

/* What became of a packet. */
enum link_fate { LINK_PASSED, LINK_LOST, LINK_QUEUE_FULL, LINK_CUT };

struct link_item {
    int64_t when;
    void *what;
};

struct link_list {
    struct link_item *items; /* a power of two */
    size_t size, first, count;
};

struct link {
    struct link_config config;
    struct chance chance;
    bool is_cut, is_losing;
    int64_t busy_until; /* when the last packet has left the queue */
    int64_t last;       /* the latest arrival that was promised in order */
    struct link_list line, late;
    int64_t *leaving; /* when each packet of a queue counted in packets leaves; a ring */
    size_t leaving_first, leaving_count;
    uint64_t duplicated, reordered;
};

void link_init(struct link *link, const struct link_config *config, uint64_t seed);
/* Packets under way must have been taken. */
void link_free(struct link *link);
/* What has entered keeps its time of arrival; bytes that wait still do, for the new rate. */
void link_configure(struct link *link, const struct link_config *config, int64_t now);
/* Decides about a packet of len bytes: LINK_PASSED sets *copies (1 or 2) and when each arrives. */
enum link_fate link_admit(struct link *link, size_t len, int64_t now, int *copies, int64_t *when);
/* Remembers what arrives when, as link_admit() said. -ENOBUFS: LINK_LINE_MAX are under way;
 * -ENOMEM. */
int link_put(struct link *link, int64_t when, void *what);
/* A cut line takes nothing and forgets its queue; what is under way is for the caller to take and
 * drop, before this. */
void link_set_cut(struct link *link, bool is_cut);
/* What has arrived by now, in order of time; NULL: nothing yet. */
void *link_take(struct link *link, int64_t now);
/* When the next arrives; LINK_NEVER: nothing is under way. */
int64_t link_next(const struct link *link);
/* Packets under way. */
size_t link_count(const struct link *link);

#endif
