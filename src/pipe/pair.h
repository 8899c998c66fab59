/* SPDX-License-Identifier: MIT */
/*
 * Pairs: two pipes in memory, what is written to one is received by the other; with a link's delay,
 * rate and cut when asked. For tests, model runs in virtual time, and inside the process.
 */
#ifndef ADIT_PIPE_PAIR_H
#define ADIT_PIPE_PAIR_H

#include "pipe/pipe.h"

struct pair_options {
    uint64_t delay_us; /* one way */
    uint64_t rate;     /* bytes per second; 0: no limit */
    size_t buffer;     /* bytes held one way before pipe_room() is 0; 0: 256 KiB */
    bool messages;     /* keeps boundaries */
};

/* Two joined pipes, both up. 0 or -ENOMEM. options may be NULL. */
int pair_new(struct loop *loop, const struct pair_options *options, struct pipe *ends[2]);
/* Stops (true) or resumes delivery both ways without telling anybody, as a pulled cable does; what
 * is in flight when cut is held (lost for message pairs). */
void pair_cut(struct pipe *end, bool cut);

#endif
