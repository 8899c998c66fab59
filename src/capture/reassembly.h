/* SPDX-License-Identifier: MIT */
/*
 * Reassembly: one direction of a TCP connection as the bytes that its receiver reads, from segments
 * that come out of order, twice, or not at all. Bounded.
 */
#ifndef ADIT_CAPTURE_REASSEMBLY_H
#define ADIT_CAPTURE_REASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REASSEMBLY_AHEAD_MAX    64                /* segments behind a gap ... */
#define REASSEMBLY_AHEAD_BYTES  ((size_t)1 << 18) /* ... and their bytes; then the gap is lost */
#define REASSEMBLY_BUFFER_BYTES ((size_t)1 << 19) /* in order, not taken yet */

struct reassembly {
    bool started;
    uint32_t next; /* sequence number after the last byte in order */
    uint8_t *bytes;
    size_t at, len, cap; /* what is to be taken: bytes + at, len of them */
    struct reassembly_part {
        uint32_t seq;
        size_t len;
        uint8_t *bytes;
    } ahead[REASSEMBLY_AHEAD_MAX]; /* by sequence number */
    size_t ahead_count, ahead_bytes;
    size_t lost; /* bytes that never came, so far */
};

/* Frees what it holds, and empties it. */
void reassembly_clear(struct reassembly *r);
/* The connection begins: the first byte has this sequence number. */
void reassembly_start(struct reassembly *r, uint32_t seq);
/* A segment. Where the beginning was not seen, the first one is it. False: no memory, or what is to
 * be taken is more than REASSEMBLY_BUFFER_BYTES; the segment is passed over. */
bool reassembly_add(struct reassembly *r, uint32_t seq, const uint8_t *bytes, size_t len);
/* What can be taken now; lent until the next call. */
const uint8_t *reassembly_peek(const struct reassembly *r, size_t *len);
void reassembly_take(struct reassembly *r, size_t len);
/* When nothing can be taken, but segments wait behind a gap: gives up the gap. How many bytes were
 * lost; 0: there is no gap. What was not taken from before it is dropped. */
size_t reassembly_skip(struct reassembly *r);
/* Whether so much waits behind a gap that it has to be given up. */
bool reassembly_is_full(const struct reassembly *r);

#endif
