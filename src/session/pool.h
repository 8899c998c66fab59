/* SPDX-License-Identifier: MIT */
/*
 * Pool: the memory that all sessions of a process share for credit granted, reassembly and
 * retention (session.memory). Each stream has STREAM_GUARANTEE_BYTES each way outside the pool;
 * beyond, it takes at most a part of what is free, so that those who stall first cannot take it
 * all, and an equal share among those who hold any, so that many who stall leave half of it free.
 */
#ifndef ADIT_SESSION_POOL_H
#define ADIT_SESSION_POOL_H

#include <stdint.h>

#define STREAM_GUARANTEE_BYTES 16384
#define POOL_SHARE_SHIFT       3 /* a stream may hold at most an eighth of what is still free */

struct session_pool {
    uint64_t limit; /* bytes */
    uint64_t used;
    uint32_t holders; /* streams that hold more than their guarantee */
};

static inline uint64_t session_pool_free(const struct session_pool *pool)
{
    return pool->used < pool->limit ? pool->limit - pool->used : 0;
}

/* The most that one stream may hold one way at present, its guarantee included. */
static inline uint64_t session_pool_share(const struct session_pool *pool)
{
    uint64_t part = session_pool_free(pool) >> POOL_SHARE_SHIFT;
    uint64_t equal = pool->limit / 2 / (pool->holders + 1);

    return STREAM_GUARANTEE_BYTES + (part < equal ? part : equal);
}

/* Replaces what a user has taken, *charge, by `now`. */
static inline void session_pool_charge(struct session_pool *pool, uint64_t *charge, uint64_t now)
{
    pool->used += now - *charge;
    pool->holders += (uint32_t)(now > 0) - (uint32_t)(*charge > 0);
    *charge = now;
}

#endif
