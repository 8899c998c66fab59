/* SPDX-License-Identifier: MIT */
/*
 * Dial: one connection to whichever of a host's addresses answers first (Happy Eyeballs, RFC 8305).
 * Its owner feeds it addresses as lookups finish; dial.c has the theory. Embedded in its owner.
 */
#ifndef ADIT_EGRESS_DIAL_H
#define ADIT_EGRESS_DIAL_H

#include "base/addr.h"
#include "base/loop.h"
#include "base/target.h"
#include "pipe/options.h"
#include "pipe/pipe.h"

#define DIAL_ADDRS_MAX 8 /* addresses tried of each family; further ones are not looked at */

struct dial_options {
    uint64_t attempt_delay_us;    /* between two attempts, RFC 8305 5; 0: 250 ms */
    uint64_t resolution_delay_us; /* IPv4 waits for IPv6's lookup, RFC 8305 3; 0: 50 ms */
    uint64_t timeout_us;          /* for everything, from dial_init() on; 0: 10 s */
    struct pipe_options pipe;     /* of each attempt; its connect timeout is not needed */
    /* How to connect; NULL: tcp_open(). */
    struct pipe *(*open)(struct loop *loop, const struct addr *to,
                         const struct pipe_options *options);
};

/* Whether an address may be dialled; asked right before each attempt. */
typedef bool dial_permit_fn(void *arg, const struct addr *to);
/* The outcome, once, from the loop. ANSWER_OK: the pipe is up, the receiver's, and has delivered
 * nothing yet: who does not link, listen to or pause it inside the call loses bytes. `to`: its
 * remote address. Otherwise both are NULL. The dial is over when this is called, and may be freed.
 */
typedef void dial_done_fn(void *arg, enum answer answer, struct pipe *pipe, const struct addr *to);

struct dial_attempt {
    struct dial *dial;
    struct pipe *pipe; /* NULL: not begun, or failed */
    struct addr to;
};

struct dial_list {
    uint8_t count, next;
    bool pending; /* the lookup has not ended */
    struct dial_attempt attempts[DIAL_ADDRS_MAX];
};

struct dial {
    struct loop *loop;
    const struct dial_options *options;
    dial_permit_fn *permit;
    dial_done_fn *done;
    void *arg;
    struct dial_list v6, v4;
    struct timer pace, deadline;
    struct defer failed;
    uint8_t active;
    bool started, last_was_v6, over;
    enum answer answer; /* the most telling so far; ANSWER_OK: nothing was told */
};

/* Begins a dial. `options` must live as long as it; `permit` may be NULL. Lookups of both families
 * are taken to be under way unless `addr` is given: the one address to dial. */
void dial_init(struct dial *dial, struct loop *loop, const struct dial_options *options,
               const struct addr *addr, dial_permit_fn *permit, dial_done_fn *done, void *arg);
/* The result of one family's lookup: addresses, or none and why. */
void dial_add(struct dial *dial, int family, const struct addr *addrs, size_t count,
              enum answer why);
/* Makes a dial that has not begun one that dial_cancel() may be called for. */
void dial_clear(struct dial *dial, struct loop *loop);
/* Ends a dial without telling; attempts under way are reset. Not needed after the outcome, but
 * harmless. */
void dial_cancel(struct dial *dial);

#endif
