/* SPDX-License-Identifier: MIT */
/*
 * Bytes: numbers in network byte order, for this directory's codecs.
 */
#ifndef ADIT_STUN_BYTES_H
#define ADIT_STUN_BYTES_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

static inline uint16_t get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t get32(const uint8_t *bytes)
{
    return (uint32_t)get16(bytes) << 16 | get16(bytes + 2);
}

static inline uint64_t get64(const uint8_t *bytes)
{
    return (uint64_t)get32(bytes) << 32 | get32(bytes + 4);
}

static inline void put16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static inline void put32(uint8_t *bytes, uint32_t value)
{
    put16(bytes, (uint16_t)(value >> 16));
    put16(bytes + 2, (uint16_t)value);
}

static inline void put64(uint8_t *bytes, uint64_t value)
{
    put32(bytes, (uint32_t)(value >> 32));
    put32(bytes + 4, (uint32_t)value);
}

/* A length with the padding that makes it a multiple of 4. */
static inline size_t padded(size_t len)
{
    return (len + 3) & ~(size_t)3;
}

#endif
