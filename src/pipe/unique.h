/* SPDX-License-Identifier: MIT */
/*
 * Duplicate filter: a message pipe drops a message that it has had from the same source among the
 * last N.
 */
#ifndef ADIT_PIPE_UNIQUE_H
#define ADIT_PIPE_UNIQUE_H

#include "pipe/pipe.h"

#define UNIQUE_DEFAULT 1000
#define UNIQUE_MAX     65536

/* The memory of a filter, on its own. seed: 16 random bytes, so that nobody can make two messages
 * count as one. NULL: no memory, or max above UNIQUE_MAX; 0 is UNIQUE_DEFAULT. */
struct unique;
struct unique *unique_new(uint32_t max, const uint8_t seed[16]);
void unique_free(struct unique *unique);
/* True when it is new; it is remembered then, and the oldest forgotten. from may be NULL. */
bool unique_add(struct unique *unique, const void *data, size_t len, const struct addr *from);

/* SipHash-2-4 of the source, if any, and the message; never 0. */
uint64_t unique_hash(const uint64_t key[2], const void *data, size_t len, const struct addr *from);

/* Makes the pipe drop duplicates before any listener, subscription or link sees them. 0; -ENOTSUP
 * on a stream; -EALREADY; -EINVAL (max); -ENOMEM. */
int pipe_drop_duplicates(struct pipe *pipe, uint32_t max);
/* How many it has dropped. */
uint64_t pipe_duplicates(const struct pipe *pipe);

#endif
