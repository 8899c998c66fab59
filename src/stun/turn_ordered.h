/* SPDX-License-Identifier: MIT */
/*
 * Ordered pipe: a message pipe that delivers every message once and in the order it was written,
 * over a message pipe that loses, repeats and reorders (a TURN pipe, UDP, a pair). Both ends must
 * be ordered pipes. Any number of peers up to TURN_ORDERED_PEERS_MAX, each with an order of its
 * own. turn_ordered.c has the theory and the wire format.
 *
 * pipe_room() is what may be written before more would only be queued: those who respect it keep
 * memory bounded; pipe_queued() is what the peers have not confirmed. pipe_close() sends and
 * awaits the confirmation of all of it, for up to linger_ms without progress; its end is
 * -ECONNRESET if not all was confirmed. While it closes, nothing that comes is confirmed.
 */
#ifndef ADIT_STUN_TURN_ORDERED_H
#define ADIT_STUN_TURN_ORDERED_H

#include "pipe/pipe.h"

#define TURN_ORDERED_PEERS_MAX   64
#define TURN_ORDERED_MESSAGE_MAX ((size_t)1024 * 1024)
#define TURN_ORDERED_QUEUE_BYTES ((size_t)16 * 1024 * 1024) /* not confirmed; then room is 0 */

struct turn_ordered_options {
    uint16_t packet_max; /* bytes of a message of the pipe below; 0: 1200 */
    uint32_t linger_ms;  /* 0: 10000 */
    uint32_t give_up_ms; /* a peer that confirms nothing for so long is given up; 0: 60000 */
    uint64_t rate_max;   /* bytes a second to each peer; 0: found out */
};

/* `below` is the ordered pipe's from now on, and ends with it; it may be opening still. `up` when
 * `below` is. options may be NULL. NULL: no memory. */
struct pipe *turn_ordered_open(struct pipe *below, const struct turn_ordered_options *options);
/* The pipe below, for turn_pipe_accept_peer() and the like. */
struct pipe *turn_ordered_below(const struct pipe *pipe);

/* What only this kind tells. Any may be NULL. */
struct turn_ordered_events {
    /* A peer answers for the first time, or again after it started anew (messages that the earlier
     * one had not confirmed go to the new one, from the first; if it is the same after all, and has
     * given us up, it may get some of them twice). */
    void (*joined)(struct pipe *pipe, const struct addr *peer, bool again, void *arg);
    /* All that was written to it is confirmed. */
    void (*confirmed)(struct pipe *pipe, const struct addr *peer, void *arg);
    /* It was given up, or has gone; `bytes` written to it are not confirmed and dropped. Told
     * behind the last message that came of it, so later if the pipe is paused. */
    void (*lost)(struct pipe *pipe, const struct addr *peer, size_t bytes, void *arg);
    /* It sends from another address; it keeps the name under which it is known. */
    void (*moved)(struct pipe *pipe, const struct addr *peer, const struct addr *now, void *arg);
};
void turn_ordered_set_events(struct pipe *pipe, const struct turn_ordered_events *events,
                             void *arg);
/* Closes it without waiting: what is not confirmed is dropped, but the peers are told that we go,
 * and need not find out. `end` follows that of the pipe below. */
void turn_ordered_leave(struct pipe *pipe);
/* A second pipe of the same kind, by another server: the peers are told its address ahead of time,
 * and when nothing comes any more, the two sides find each other by what is left, both having lost
 * their first server too. It is the ordered pipe's from now on; its end is not the pipe's. */
void turn_ordered_add_spare(struct pipe *pipe, struct pipe *spare);
/* Our own address has changed (a relay failed over; either pipe): tells the peers by what is sent
 * next. */
void turn_ordered_moved(struct pipe *pipe);
/* The peer known as `peer` is now at `now`. 0 or -ENOENT. */
int turn_ordered_redirect(struct pipe *pipe, const struct addr *peer, const struct addr *now);

struct turn_ordered_status {
    uint64_t rtt_us, rtt_min_us;
    uint64_t rate;                 /* bytes a second that the path carries, as estimated */
    uint64_t sent, resent;         /* packets with data */
    uint64_t received, duplicates; /* the same */
    uint64_t bytes_confirmed;
    size_t queued; /* bytes not confirmed */
};
/* 0 or -ENOENT. */
int turn_ordered_status(const struct pipe *pipe, const struct addr *peer,
                        struct turn_ordered_status *status);

#endif
