/* SPDX-License-Identifier: MIT */
/*
 * Ordered pipes over a network in virtual time that loses, repeats, delays and reorders by chance.
 * ordered_world.c has the theory.
 */
#ifndef ADIT_TESTS_ORDERED_WORLD_H
#define ADIT_TESTS_ORDERED_WORLD_H

#include "pipe_recorder.h"

#include "stun/turn_ordered.h"

#define ENDS_MAX      8
#define PERMITTED_MAX 16

struct net;

struct end {
    struct pipe base;
    struct net *net;
    struct addr addr;
    uint64_t busy_until;                  /* of its line into the network */
    struct addr permitted[PERMITTED_MAX]; /* whom it has written to */
    unsigned permitted_count;
};

struct net {
    struct loop *loop;
    struct end *ends[ENDS_MAX];
    unsigned loss, duplicate, reorder; /* percent */
    uint64_t delay_us, late_us, rate;  /* late: what is reordered; rate: bytes a second, 0: none */
    size_t buffer;                     /* bytes before the rate */
    bool cut;
    bool permissions; /* what comes from an IP address that was never written to is dropped */
    struct addr dead; /* an IP address that is not there */
    uint64_t sent, lost, bytes;
};

struct side {
    struct pipe *pipe;
    struct addr addr;
    uint64_t written, expected; /* messages by number */
    size_t bytes;
    int joined, again, confirmed, lost, moved, ends, why;
    size_t lost_bytes;
    uint64_t done_at;
    int room_writes;
    bool wrong;
};

/* Length and bytes of message n follow from the number. */
size_t message_len(uint64_t n);

/* An end of the network, at that port of the loopback address; the ordered pipe over one. */
struct pipe *end_new(struct net *net, uint16_t port);
struct pipe *end_new_at(struct net *net, const struct addr *addr);
void side_open(struct side *side, struct net *net, uint16_t port,
               const struct turn_ordered_options *options);
void side_open_at(struct side *side, struct net *net, const struct addr *addr,
                  const struct turn_ordered_options *options);
/* Writes the next message. */
void side_write(struct side *side, const struct side *to);
/* A packet that somebody sends, whose address may be anybody's. */
void carry(struct net *net, const struct slice *data, const struct addr *from,
           const struct addr *to);
void run_for(struct loop *loop, uint64_t us);
/* Both write so many messages, as there is room; then all have come. */
void talk(struct net *net, struct side *a, struct side *b, uint64_t count);
/* Closes both sides; everything is freed. */
void finish(struct net *net, struct side *a, struct side *b);

#endif
