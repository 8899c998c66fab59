/* SPDX-License-Identifier: MIT */
/*
 * Pool: the memory that all sessions of a process share for credit granted, reassembly and
 * retention (session.memory). Each stream has STREAM_GUARANTEE_BYTES each way outside the pool;
 * beyond, it takes a part of what is free, so that those who stall first cannot take it all.
 */
#ifndef ADIT_SESSION_POOL_H
#define ADIT_SESSION_POOL_H

#include <stdint.h>

#define STREAM_GUARANTEE_BYTES 16384
#define POOL_SHARE_SHIFT       3 /* a stream may hold at most an eighth of what is still free */

struct session_pool {
    uint64_t limit; /* bytes */
    uint64_t used;
};

static inline uint64_t session_pool_free(const struct session_pool *pool)
{
    return pool->used < pool->limit ? pool->limit - pool->used : 0;
}

/* The most that one stream may hold one way at present, its guarantee included. */
static inline uint64_t session_pool_share(const struct session_pool *pool)
{
    return STREAM_GUARANTEE_BYTES + (session_pool_free(pool) >> POOL_SHARE_SHIFT);
}

/* Replaces what a user has taken, *charge, by `now`. */
static inline void session_pool_charge(struct session_pool *pool, uint64_t *charge, uint64_t now)
{
    pool->used += now - *charge;
    *charge = now;
}

#endif
