/* SPDX-License-Identifier: MIT */
/* Chance: seeded randomness, the same on every machine (splitmix64). */
#ifndef LAB_CHANCE_H
#define LAB_CHANCE_H

#include <stdint.h>

struct chance {
    uint64_t state; /* the seed */
};

static inline uint64_t chance_next(struct chance *chance)
{
    uint64_t z = chance->state += 0x9e3779b97f4a7c15ULL;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

/* Evenly in [0, 1). */
static inline double chance_part(struct chance *chance)
{
    return (double)(chance_next(chance) >> 11) / 9007199254740992.0;
}

/* Below limit, which is small against 2^64 and not 0. */
static inline uint64_t chance_below(struct chance *chance, uint64_t limit)
{
    return chance_next(chance) % limit;
}

#endif
