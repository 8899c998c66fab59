/* SPDX-License-Identifier: MIT */
/*
 * Blocks and slices: how bytes are held. A block is a counted buffer; a slice is a range of one,
 * and holds a reference. Bytes are read from the system into blocks and stay there until they are
 * written out again or confirmed: queues, retention and reassembly pass slices, not bytes.
 *
 * Every block has SLICE_HEADROOM bytes before the first byte that a slice may cover, and no slice
 * starts before them: the session writes its frame header in front of a payload for the moment of
 * sending (session/frame.h) and puts back what stood there.
 *
 * Blocks of the standard size come from a free list, last in first out (their cache lines are
 * warm), bounded by BLOCK_POOL_MAX; smaller ones from malloc. Out of memory aborts the process: a
 * proxy without memory for a 16 KiB buffer serves nobody, and its queues are bounded long before
 * (session.memory).
 */
#ifndef ADIT_BASE_SLICE_H
#define ADIT_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define SLICE_HEADROOM 32
#define BLOCK_BYTES    16384 /* usable bytes of a standard block: one TLS record (RFC 8446 5.1) */
#define BLOCK_READ_BYTES \
    (BLOCK_BYTES - SLICE_HEADROOM) /* what a reader fills: with a frame header still one record */
#define BLOCK_POOL_MAX 256         /* standard blocks kept for reuse (4 MiB) */

struct block {
    uint32_t refs;
    uint32_t size;  /* usable bytes, after the headroom */
    uint8_t data[]; /* SLICE_HEADROOM + size */
};

struct slice {
    struct block *block; /* NULL: empty */
    uint8_t *data;
    size_t len;
};

struct block *block_new(void);                /* a standard block, one reference */
struct block *block_new_sized(size_t size);   /* at least size usable bytes */
struct block *block_ref(struct block *block); /* the same block: one reference more */
void block_unref(struct block *block);        /* one less; the last one frees or pools it */
void block_pool_trim(size_t keep);            /* frees pooled blocks beyond keep */
size_t block_total_bytes(void);               /* bytes in blocks now in use, for status and tests */

/* The first byte that a slice may cover. */
static inline uint8_t *block_start(struct block *block)
{
    return block->data + SLICE_HEADROOM;
}

/* A slice of a new block that holds a copy. */
struct slice slice_copy(const void *bytes, size_t len);
/* Another reference to the same bytes; slice_part() to a range of them. */
struct slice slice_ref(const struct slice *slice);
struct slice slice_part(const struct slice *slice, size_t offset, size_t len);
void slice_drop(struct slice *slice); /* gives up the reference and empties it */

/* A queue of slices. Zero-initialised is empty; memory is freed when it empties. */
struct slice_queue {
    struct slice *ring;
    uint32_t cap, head, count;
    size_t bytes;
};

/* At the end: takes the reference, and empties *slice. */
void slice_queue_push(struct slice_queue *queue, struct slice *slice);
/* At the end: a copy, in the last block where there is room. */
void slice_queue_push_copy(struct slice_queue *queue, const void *bytes, size_t len);
void slice_queue_drop(struct slice_queue *queue, size_t bytes); /* from the front */
void slice_queue_clear(struct slice_queue *queue);
/* The first (NULL when empty), or the one at a place below count; the queue's own. */
struct slice *slice_queue_first(struct slice_queue *queue);
struct slice *slice_queue_at(struct slice_queue *queue, uint32_t index);
/* Fills up to max iovecs with the bytes from the front; returns how many. */
int slice_queue_iov(const struct slice_queue *queue, struct iovec *iov, int max, size_t *bytes);
/* Copies up to len bytes starting at offset from the front; returns how many. */
size_t slice_queue_peek(const struct slice_queue *queue, size_t offset, void *buf, size_t len);
/* Moves everything to the end of another queue. */
void slice_queue_move(struct slice_queue *to, struct slice_queue *from);
/* Rewrites slices that pin much larger blocks into blocks of their own, when the queue wastes more
 * than half. Call when data will stay. */
void slice_queue_compact(struct slice_queue *queue);

#endif
