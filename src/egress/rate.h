/* SPDX-License-Identifier: MIT */
/*
 * Rate: a limit of bytes a second, each way, shared by any number of pipes. rate.c has the theory.
 */
#ifndef ADIT_EGRESS_RATE_H
#define ADIT_EGRESS_RATE_H

#include "base/loop.h"
#include "pipe/pipe.h"

#define RATE_READ_MAX_BYTES \
    65536 /* what a limited pipe should read in one go (pipe_options.read_max) */

enum rate_direction { RATE_IN, RATE_OUT }; /* received by the pipes; written to them */

struct rate_limit; /* a pipe's membership */

struct rate_bucket {
    int64_t tokens; /* bytes; below zero: debt, during which pipes wait */
    uint64_t filled;
    struct timer timer;
    struct rate_limit *waiting;
};

struct rate {
    struct loop *loop;
    uint64_t bytes_per_s; /* 0: no limit */
    struct rate_bucket buckets[2];
};

/* bytes_per_s: each way; 0: no limit. Begins with full buckets. */
void rate_init(struct rate *rate, struct loop *loop, uint64_t bytes_per_s);
/* Only when no pipe is attached any more. */
void rate_clear(struct rate *rate);
void rate_set(struct rate *rate, uint64_t bytes_per_s);
/* Nothing is owed: a fresh rate would not be better off. */
bool rate_is_full(struct rate *rate);
/* Makes a pipe share the rate. NULL: no memory. */
struct rate_limit *rate_attach(struct rate *rate, struct pipe *pipe);
/* Lets go of the pipe; at the latest while its end is told. */
void rate_detach(struct rate_limit *limit);

#endif
