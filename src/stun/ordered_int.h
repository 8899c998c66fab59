/* SPDX-License-Identifier: MIT */
/* Ordered pipes' parts, for turn_ordered.c (peers, and the pipe), ordered_send.c and
 * ordered_receive.c only. */
#ifndef ADIT_STUN_ORDERED_INT_H
#define ADIT_STUN_ORDERED_INT_H

#include "pipe/pipe.h"
#include "stun/ordered_packet.h"
#include "stun/ordered_rate.h"
#include "stun/turn_ordered.h"

#define ORDERED_WINDOW      8192 /* segments that a receiver holds out of order, a power of 2 */
#define ORDERED_PACKET      1200 /* the default packet_max */
#define ORDERED_PACKET_MIN  128
#define ORDERED_PACKET_LONG 65000
#define ORDERED_HELD_MAX    (2 * TURN_ORDERED_QUEUE_BYTES) /* out of order, of a peer */

enum ordered_segment_state { SEGMENT_WAITS, SEGMENT_FLIES, SEGMENT_LOST, SEGMENT_CAME };

struct ordered_segment {
    struct slice data;
    uint8_t flags; /* ORDERED_FIRST, ORDERED_LAST */
    uint8_t state;
    uint16_t sent; /* how often */
    struct ordered_mark mark;
};

/* What goes to a peer. Segments from `first`, the oldest that is not confirmed, on. */
struct ordered_out {
    struct ordered_segment *ring;
    uint32_t cap;              /* a power of 2, or 0 */
    uint32_t first, next, end; /* next: the first never sent; end: after the last written */
    uint32_t limit;            /* the peer has room before it */
    uint32_t lost;             /* segments that are to be sent again */
    size_t bytes;              /* not confirmed */
    size_t flight;
    uint64_t newest;   /* when the packet sent last of those confirmed was sent */
    uint64_t progress; /* when something was confirmed last */
    unsigned timeouts; /* in a row */
    int64_t credit;    /* bytes that pacing lets go now */
    uint64_t credit_at;
    struct ordered_rate rate;
    struct timer pace, timeout;
    uint64_t total, resent, confirmed;
};

struct ordered_slot {
    struct slice data;
    uint8_t flags;
    bool has, held; /* held: counted in `held` */
};

/* What comes from a peer. */
struct ordered_in {
    struct ordered_slot *ring; /* ORDERED_WINDOW */
    uint32_t next;             /* the first that is missing */
    uint32_t deliver;          /* the first that was not delivered; not after next */
    uint32_t end;              /* after the highest that came */
    struct block *partial;     /* a message of several segments */
    size_t partial_len;
    bool skipping;    /* a message that cannot be: until its last segment */
    unsigned unacked; /* since the last ACK */
    uint32_t told_limit;
    uint32_t time_us; /* of the newest segment */
    uint64_t came;    /* when it came; 0: told already */
    struct timer ack;
    struct defer ack_soon;
    size_t held; /* bytes that came out of order */
    uint64_t received, duplicates;
};

struct ordered;

struct ordered_peer {
    struct ordered_peer *next;
    struct ordered *owner;
    struct addr name, now;           /* as it is known, and where it is */
    uint64_t mine, theirs;           /* tags; theirs 0: not known */
    uint64_t next_mine, next_theirs; /* of another incarnation, which has not proven itself */
    bool established, was_established;
    bool confirmed_told;
    unsigned hellos;
    uint64_t heard; /* when something of it came last */
    struct timer hello;
    struct ordered_out out;
    struct ordered_in in;
};

struct ordered {
    struct pipe base;
    struct pipe *below; /* NULL: over */
    struct ordered_peer *peers;
    size_t peer_count;
    size_t queued; /* of all peers */
    uint16_t packet_max;
    uint32_t linger_ms, give_up_ms;
    uint64_t rate_max;
    struct turn_ordered_events events;
    void *arg;
    struct timer closing;
    struct defer finishing, resuming;
    uint64_t confirmed, last_confirmed; /* bytes; now, and when the closing timer was set */
};

static inline uint64_t ordered_now(const struct ordered_peer *peer)
{
    return loop_now(peer->owner->base.loop);
}

/* turn_ordered.c: a packet to a peer: what ordered_build() writes, and then these bytes. */
void ordered_transmit(struct ordered_peer *peer, const struct ordered_packet *packet,
                      const void *bytes, size_t len);
/* Bytes of the peer's were confirmed, or dropped. */
void ordered_shrunk(struct ordered_peer *peer, size_t bytes);
/* The peer is given up. It is gone then. */
void ordered_give_up(struct ordered_peer *peer);

/* ordered_send.c */
void ordered_out_init(struct ordered_peer *peer);
void ordered_out_free(struct ordered_peer *peer);
/* Cuts a message into segments; takes the slice. */
void ordered_out_write(struct ordered_peer *peer, struct slice *data);
/* Sends what may be sent now. */
void ordered_out_pump(struct ordered_peer *peer);
/* A new incarnation of the peer: all that is not confirmed is numbered anew. */
void ordered_out_restart(struct ordered_peer *peer);
/* True: everything is confirmed, for the first time since something was written. */
void ordered_out_ack(struct ordered_peer *peer, const struct ordered_packet *packet);

/* ordered_receive.c */
void ordered_in_init(struct ordered_peer *peer);
void ordered_in_free(struct ordered_peer *peer);
void ordered_in_restart(struct ordered_peer *peer);
/* A segment; the slice is the whole packet. */
void ordered_in_data(struct ordered_peer *peer, const struct slice *frame,
                     const struct ordered_packet *packet);
/* Delivers what is in order, as far as the pipe takes it. */
void ordered_in_deliver(struct ordered_peer *peer);
void ordered_in_ack(struct ordered_peer *peer, uint8_t flags);

#endif
