/* SPDX-License-Identifier: MIT */
/* Ordered pipes' parts, for turn_ordered.c (the pipe) and ordered_*.c only. */
#ifndef ADIT_STUN_ORDERED_INT_H
#define ADIT_STUN_ORDERED_INT_H

#include "pipe/pipe.h"
#include "stun/ordered_packet.h"
#include "stun/ordered_rate.h"
#include "stun/turn_ordered.h"

#define ORDERED_WINDOW       8192 /* segments that a receiver holds out of order, a power of 2 */
#define ORDERED_WINDOW_FIRST 1024 /* what a sender supposes before it is told */
#define ORDERED_PACKET       1200 /* the default packet_max */
#define ORDERED_PACKET_MIN   128
#define ORDERED_PACKET_LONG  65000
#define ORDERED_PLACES       2                          /* of a peer */
#define ORDERED_SEGMENT_COST 128                        /* bytes of memory, beside what is in it */
#define ORDERED_HELD_MAX     ((size_t)24 * 1024 * 1024) /* not delivered yet, of a peer */
#define ORDERED_HELD_ALL_MAX ((size_t)96 * 1024 * 1024) /* of all */

enum ordered_segment_state { SEGMENT_WAITS, SEGMENT_FLIES, SEGMENT_LOST, SEGMENT_CAME };

struct ordered_segment {
    struct slice data;
    uint8_t flags; /* ORDERED_FIRST, ORDERED_LAST */
    uint8_t state;
    uint16_t sent;          /* how often */
    uint32_t before, after; /* numbers, in the list of those that fly, or are lost */
    uint64_t earlier;       /* when it was sent the time before */
    struct ordered_mark mark;
};

/* Segments by when they were sent, or found to be lost. Its ends' links mean nothing. */
struct ordered_list {
    uint32_t first, last, count;
};

/* What goes to a peer. Segments from `kept`, the first of the oldest message that is not confirmed
 * to its end, on; `first` is the oldest that is not confirmed. */
struct ordered_out {
    struct ordered_segment *ring;
    uint32_t cap;                    /* a power of 2, or 0 */
    uint32_t kept, first, next, end; /* next: the first never sent; end: after the last written */
    uint32_t limit;                  /* the peer has room before it */
    struct ordered_list flies, lost; /* lost: to be sent again */
    size_t bytes;                    /* of messages that are not confirmed to their end */
    size_t flight;                   /* bytes of packets */
    uint64_t newest;                 /* when the packet sent last of those that came was sent */
    uint64_t slack_us;               /* so late some packets have come; 0: none lately */
    uint64_t slack_at;               /* when that was seen */
    uint64_t lossy_at;               /* when something was lost; 0: never */
    uint64_t progress;               /* when something was confirmed last */
    uint64_t timeout_at;             /* when a timeout was last, or something came */
    uint64_t wait_until;             /* the peer has no memory */
    unsigned unasked;                /* packets since the last that asked for a confirmation */
    unsigned timeouts;               /* in a row */
    int64_t credit;                  /* bytes that pacing lets go now */
    uint64_t credit_at;
    struct ordered_rate rate;
    struct timer pace, timeout;
    uint64_t total, resent, confirmed;
};

struct ordered_slot {
    struct slice data;
    uint8_t flags;
    bool has;
};

/* What comes from a peer. */
struct ordered_in {
    struct ordered_slot *ring;
    uint32_t cap;          /* a power of 2, or 0; ORDERED_WINDOW at most */
    uint32_t next;         /* the first that is missing */
    uint32_t deliver;      /* the first that was not delivered; not after next */
    uint32_t end;          /* after the highest that came */
    struct block *partial; /* a message of several segments */
    size_t partial_len;
    bool delivering;  /* the user is being told */
    bool skipping;    /* a message that cannot be: until its last segment */
    bool is_full;     /* something was dropped that there was no memory for */
    unsigned unacked; /* since the last ACK */
    uint32_t longest; /* bytes of a segment */
    uint32_t told_limit;
    uint32_t time_us; /* of the newest segment */
    uint64_t time_at; /* when it came; 0: there was none */
    uint64_t came;    /* the same; 0: told already */
    struct timer ack;
    struct defer ack_soon;
    size_t held; /* bytes that are not delivered, with what they cost */
    uint64_t received, duplicates;
};

struct ordered;

/* Where a packet came from. */
struct ordered_from {
    struct addr addr;
    bool by_spare;
};

struct ordered_peer {
    struct ordered_peer *next;
    struct ordered *owner;
    struct addr name, now;              /* as it is known, and where it is */
    bool by_spare;                      /* that is reached by the spare pipe */
    struct addr places[ORDERED_PLACES]; /* where else it says it is */
    unsigned place_count;
    struct addr before;   /* where it was, before it was where it is now; may be none */
    unsigned told_places; /* how often it told them, since: */
    uint64_t told_places_at;
    uint64_t mine, theirs;           /* tags; theirs 0: not known */
    uint64_t next_mine, next_theirs; /* of another incarnation, which has not proven itself */
    bool established, was_established;
    bool ending;         /* it is gone, when the user has read what it sent */
    size_t dropped;      /* bytes that were written to it, not confirmed, and forgotten already */
    bool is_unconfirmed; /* a message is, and the user has not been told otherwise */
    unsigned hellos;
    uint64_t heard; /* when something of it came last */
    struct timer hello;
    struct ordered_out out;
    struct ordered_in in;
};

struct ordered {
    struct pipe base;
    struct pipe *below;   /* NULL: over */
    struct pipe *spare;   /* NULL: none */
    struct addr local[2]; /* ours by each, as it was told last */
    struct ordered_peer *peers;
    size_t peer_count;
    size_t queued; /* bytes, of all peers */
    size_t cost;   /* what they take of TURN_ORDERED_QUEUE_BYTES */
    size_t held;   /* bytes of all peers that were not delivered */
    uint16_t packet_max;
    uint32_t linger_ms, give_up_ms;
    uint64_t rate_max;
    struct turn_ordered_events events;
    void *arg;
    struct timer closing;
    bool leaves, has_lost; /* it closes: without waiting; and somebody will not get all */
    struct defer finishing, resuming;
    uint64_t confirmed, last_confirmed; /* bytes; now, and when the closing timer was set */
};

static inline uint64_t ordered_now(const struct ordered_peer *peer)
{
    return loop_now(peer->owner->base.loop);
}

/* The pipe by which the peer is reached. */
static inline struct pipe *ordered_way(const struct ordered_peer *peer)
{
    return peer->by_spare && peer->owner->spare ? peer->owner->spare : peer->owner->below;
}

/* What packets to an established peer carry. */
static inline uint64_t ordered_bond_of(const struct ordered_peer *peer)
{
    return ordered_bond(peer->theirs, peer->mine);
}

static inline bool ordered_is_closing(const struct ordered *o)
{
    return o->base.flags & (PIPE_IS_CLOSING | PIPE_IS_OVER);
}

static inline bool ordered_has_to_send(const struct ordered_peer *peer)
{
    return peer->out.first != peer->out.end;
}

/* turn_ordered.c: a packet: what ordered_build() writes, and then these bytes; nowhere if the pipe
 * is not up. */
void ordered_send(struct pipe *below, const struct addr *to, const struct ordered_packet *packet,
                  const void *bytes, size_t len);
extern const struct pipe_events ordered_below_events;
/* The same to a peer: what ordered_build() writes, and then these bytes. */
void ordered_transmit(struct ordered_peer *peer, const struct ordered_packet *packet,
                      const void *bytes, size_t len);
/* Something of the peer's was confirmed. Tells the user, who may do anything to the pipe. */
void ordered_shrunk(struct ordered_peer *peer);
/* If a closing pipe waits for nothing more, it says good-bye, soon. */
void ordered_finish_if_done(struct ordered *o);

/* ordered_peers.c */
/* The peer known by that name, or who is there now. NULL: none. */
struct ordered_peer *ordered_find(const struct ordered *o, const struct addr *addr);
/* The same, or a new one, by which another may go. NULL: there are too many, or no memory. */
struct ordered_peer *ordered_get(struct ordered *o, const struct addr *addr);
void ordered_free_peer(struct ordered_peer *peer);
/* The peer is given up, or says that it goes. It may be freed then. */
void ordered_end_peer(struct ordered_peer *peer);
/* Frees those who ended and whose messages have been read since. */
void ordered_drop_ended(struct ordered *o);
void ordered_on_hello(struct ordered *o, const struct ordered_packet *packet,
                      const struct ordered_from *from);
void ordered_on_reset(struct ordered *o, uint64_t bond);
/* DATA, ACK and BYE; frame: the whole packet. */
void ordered_on_bonded(struct ordered *o, const struct ordered_packet *packet,
                       const struct slice *frame, const struct ordered_from *from);

/* ordered_paths.c */
/* The peer may have sent this from another address, or by another pipe: follows it, or not. */
void ordered_follow(struct ordered_peer *peer, const struct ordered_packet *packet,
                    const struct ordered_from *from);
/* The address of a pipe below, as peers see it; none: not known. */
struct addr ordered_local(const struct pipe *pipe);
/* Tells the peer where we can be reached, if there is more than one address. */
void ordered_tell_places(struct ordered_peer *peer);
/* What it told. */
void ordered_take_places(struct ordered_peer *peer, const struct slice *data);
/* Nothing of the peer has come for a while: asks by every way. */
void ordered_probe(struct ordered_peer *peer);
void ordered_drop_spare(struct ordered *o);

/* ordered_send.c */
void ordered_out_init(struct ordered_peer *peer);
void ordered_out_free(struct ordered_peer *peer);
/* Cuts a message into segments; takes the slice. */
void ordered_out_write(struct ordered_peer *peer, struct slice *data);
/* A message between the two ordered pipes, short; takes the slice. */
void ordered_out_control(struct ordered_peer *peer, struct slice *data);
/* What is not confirmed of another peer's messages goes to this one, behind its own. */
void ordered_out_take(struct ordered_peer *peer, struct ordered_peer *other);
/* Sends what may be sent now. */
void ordered_out_pump(struct ordered_peer *peer);
/* A new incarnation of the peer: all messages that are not confirmed are numbered anew. */
void ordered_out_restart(struct ordered_peer *peer);
/* Nothing is confirmed any more: it may be elsewhere, or see us elsewhere. */
bool ordered_out_is_stuck(const struct ordered_peer *peer);
/* Another path to the peer: what flies is on the old one. */
void ordered_out_moved(struct ordered_peer *peer);
/* A confirmation. Ends by ordered_shrunk(). */
void ordered_out_ack(struct ordered_peer *peer, const struct ordered_packet *packet);

/* ordered_receive.c */
void ordered_in_init(struct ordered_peer *peer);
void ordered_in_free(struct ordered_peer *peer);
void ordered_in_restart(struct ordered_peer *peer);
/* A segment; the slice is the whole packet. */
void ordered_in_data(struct ordered_peer *peer, const struct slice *frame,
                     const struct ordered_packet *packet);
/* Whether it was sent after all that has come. */
bool ordered_in_is_newer(const struct ordered_peer *peer, uint32_t time_us);
/* Delivers what is in order, as far as the pipe takes it. */
void ordered_in_deliver(struct ordered_peer *peer);
void ordered_in_ack(struct ordered_peer *peer, uint8_t flags);

#endif
