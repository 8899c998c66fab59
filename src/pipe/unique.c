/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Each message and its source become a 64-bit SipHash-2-4 (Aumasson and Bernstein, 2012) under a
 * secret key. The last `max` hashes stand in a ring, in order of arrival, and in an open-addressed
 * table with linear probing, at most half full, that finds them. The oldest leaves both when a new
 * one comes; what stood behind it in the table moves up, so that the table needs no tombstones.
 *
 * Limits: 8 bytes in the ring and 16 to 32 in the table for each message remembered; two different
 * messages count as one with a chance of max / 2^64.
 */
#include "pipe/unique.h"

#include <stdlib.h>
#include <string.h>

#include "pipe/pipe_int.h"

struct unique {
    uint64_t key[2];
    uint32_t max, count, next; /* of the ring */
    uint32_t mask;             /* of the table; a slot holding 0 is free */
    uint64_t duplicates;
    uint64_t *ring, *table;
};

/* --- SipHash-2-4 --- */

struct sip {
    uint64_t v[4];
    uint64_t tail; /* bytes that do not fill a word yet */
    size_t len;
};

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] = rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] = rotate(v[2], 32);
}

static void sip_word(struct sip *sip, uint64_t word)
{
    sip->v[3] ^= word;
    sip_round(sip->v);
    sip_round(sip->v);
    sip->v[0] ^= word;
}

static void sip_init(struct sip *sip, const uint64_t key[2])
{
    *sip = (struct sip){
        .v = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
              key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)}};
}

static void sip_bytes(struct sip *sip, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < len; i++) {
        if (sip->len % 8 == 0) { /* whole words at once */
            for (; len - i >= 8; i += 8, sip->len += 8) {
                uint64_t word = 0;
                for (int k = 0; k < 8; k++)
                    word |= (uint64_t)at[i + (size_t)k] << (8 * k);
                sip_word(sip, word);
            }
            if (i == len)
                return;
        }
        sip->tail |= (uint64_t)at[i] << (sip->len % 8 * 8);
        if (++sip->len % 8 > 0)
            continue;
        sip_word(sip, sip->tail);
        sip->tail = 0;
    }
}

static uint64_t sip_end(struct sip *sip)
{
    sip_word(sip, sip->tail | (uint64_t)sip->len << 56);
    sip->v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(sip->v);
    return sip->v[0] ^ sip->v[1] ^ sip->v[2] ^ sip->v[3];
}

uint64_t unique_hash(const uint64_t key[2], const void *data, size_t len, const struct addr *from)
{
    struct sip sip;
    uint64_t hash;

    sip_init(&sip, key);
    if (from) {
        sip_bytes(&sip, &from->family, sizeof(from->family));
        sip_bytes(&sip, &from->port, sizeof(from->port));
        sip_bytes(&sip, &from->scope, sizeof(from->scope));
        sip_bytes(&sip, from->ip.bytes, addr_ip_bytes(from));
    }
    sip_bytes(&sip, data, len);
    hash = sip_end(&sip);
    return hash ? hash : 1;
}

/* --- The table --- */

/* Where the hash stands, or the free slot where it would. */
static uint32_t table_find(const struct unique *unique, uint64_t hash)
{
    uint32_t i = (uint32_t)hash & unique->mask;

    while (unique->table[i] && unique->table[i] != hash)
        i = (i + 1) & unique->mask;
    return i;
}

static void table_remove(struct unique *unique, uint64_t hash)
{
    uint32_t hole = table_find(unique, hash), i = hole;

    for (;;) {
        uint32_t home;

        i = (i + 1) & unique->mask;
        if (!unique->table[i])
            break;
        home = (uint32_t)unique->table[i] & unique->mask;
        if (((i - home) & unique->mask) < ((i - hole) & unique->mask))
            continue; /* it may not move before its home */
        unique->table[hole] = unique->table[i];
        hole = i;
    }
    unique->table[hole] = 0;
}

struct unique *unique_new(uint32_t max, const uint8_t seed[16])
{
    struct unique *unique;
    uint32_t slots = 2;

    if (!max)
        max = UNIQUE_DEFAULT;
    if (max > UNIQUE_MAX || !(unique = calloc(1, sizeof(*unique))))
        return NULL;
    while (slots < 2 * max)
        slots *= 2;
    memcpy(unique->key, seed, sizeof(unique->key));
    unique->max = max;
    unique->mask = slots - 1;
    unique->ring = calloc(max, sizeof(uint64_t));
    unique->table = calloc(slots, sizeof(uint64_t));
    if (unique->ring && unique->table)
        return unique;
    unique_free(unique);
    return NULL;
}

void unique_free(struct unique *unique)
{
    if (!unique)
        return;
    free(unique->ring);
    free(unique->table);
    free(unique);
}

bool unique_add(struct unique *unique, const void *data, size_t len, const struct addr *from)
{
    uint64_t hash = unique_hash(unique->key, data, len, from);
    uint32_t slot = table_find(unique, hash);

    if (unique->table[slot]) {
        unique->duplicates++;
        return false;
    }
    if (unique->count == unique->max) {
        table_remove(unique, unique->ring[unique->next]);
        slot = table_find(unique, hash); /* things have moved */
    } else {
        unique->count++;
    }
    unique->table[slot] = hash;
    unique->ring[unique->next] = hash;
    unique->next = (unique->next + 1) % unique->max;
    return true;
}

/* --- On a pipe --- */

static bool filter(struct pipe *pipe, const struct slice *data, const struct addr *from)
{
    return !unique_add(pipe->extra->filter_state, data->data, data->len, from);
}

static void filter_free(void *state)
{
    unique_free(state);
}

int pipe_drop_duplicates(struct pipe *pipe, uint32_t max)
{
    struct pipe_extra *extra;
    uint8_t seed[16];

    if (!pipe->ops->messages)
        return -ENOTSUP;
    if (max > UNIQUE_MAX)
        return -EINVAL;
    extra = pipe_extra(pipe);
    if (extra->filter)
        return -EALREADY;
    loop_random(pipe->loop, seed, sizeof(seed));
    extra->filter_state = unique_new(max, seed);
    if (!extra->filter_state)
        return -ENOMEM;
    extra->filter = filter;
    extra->filter_free = filter_free;
    return 0;
}

uint64_t pipe_duplicates(const struct pipe *pipe)
{
    const struct unique *unique =
        pipe->extra && pipe->extra->filter == filter ? pipe->extra->filter_state : NULL;

    return unique ? unique->duplicates : 0;
}
