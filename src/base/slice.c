/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A block is one malloc: its counts, SLICE_HEADROOM bytes, its usable bytes. Standard blocks that
 * nobody refers to go onto a stack of at most BLOCK_POOL_MAX and are used again from its top;
 * everything else goes back to malloc. One thread uses blocks, so counts are plain integers.
 *
 * A slice_queue is a ring of slices that doubles when full and is freed when it empties, so that an
 * idle stream holds nothing. It has no maximum of its own: its users bound it (pipe_room(),
 * credit).
 */
#include "base/slice.h"

#include <stdlib.h>
#include <string.h>

#define SMALL_APPEND_BYTES 4096 /* blocks made by slice_queue_push_copy() for small writes */
#define SMALL_FIRST_BYTES  64   /* the least of them, behind a first one */
#define RING_MIN           4

static struct block *pool[BLOCK_POOL_MAX];
static size_t pooled;
static size_t total_bytes;

struct block *block_new_sized(size_t size)
{
    struct block *block;

    if (size == BLOCK_BYTES && pooled > 0) {
        block = pool[--pooled];
    } else {
        block = malloc(sizeof(*block) + SLICE_HEADROOM + size);
        if (!block)
            abort(); /* see slice.h */
        block->size = (uint32_t)size;
    }
    block->refs = 1;
    total_bytes += size;
    return block;
}

struct block *block_new(void)
{
    return block_new_sized(BLOCK_BYTES);
}

struct block *block_ref(struct block *block)
{
    block->refs++;
    return block;
}

void block_unref(struct block *block)
{
    if (!block || --block->refs > 0)
        return;
    total_bytes -= block->size;
    if (block->size == BLOCK_BYTES && pooled < BLOCK_POOL_MAX)
        pool[pooled++] = block;
    else
        free(block);
}

void block_pool_trim(size_t keep)
{
    while (pooled > keep)
        free(pool[--pooled]);
}

size_t block_total_bytes(void)
{
    return total_bytes;
}

struct slice slice_copy(const void *bytes, size_t len)
{
    struct block *block = block_new_sized(len);

    if (len > 0)
        memcpy(block_start(block), bytes, len);
    return (struct slice){block, block_start(block), len};
}

struct slice slice_ref(const struct slice *slice)
{
    if (slice->block)
        block_ref(slice->block);
    return *slice;
}

struct slice slice_part(const struct slice *slice, size_t offset, size_t len)
{
    struct slice part = slice_ref(slice);

    part.data += offset;
    part.len = len;
    return part;
}

void slice_drop(struct slice *slice)
{
    block_unref(slice->block);
    *slice = (struct slice){NULL, NULL, 0};
}

static void queue_grow(struct slice_queue *queue)
{
    uint32_t cap = queue->cap ? queue->cap * 2 : RING_MIN;
    struct slice *ring = malloc(cap * sizeof(*ring));

    if (!ring)
        abort();
    for (uint32_t i = 0; i < queue->count; i++)
        ring[i] = queue->ring[(queue->head + i) & (queue->cap - 1)];
    free(queue->ring);
    queue->ring = ring;
    queue->cap = cap;
    queue->head = 0;
}

struct slice *slice_queue_at(struct slice_queue *queue, uint32_t index)
{
    return index < queue->count ? &queue->ring[(queue->head + index) & (queue->cap - 1)] : NULL;
}

struct slice *slice_queue_first(struct slice_queue *queue)
{
    return slice_queue_at(queue, 0);
}

void slice_queue_push(struct slice_queue *queue, struct slice *slice)
{
    if (slice->len == 0) {
        slice_drop(slice);
        return;
    }
    if (queue->count == queue->cap)
        queue_grow(queue);
    queue->ring[(queue->head + queue->count++) & (queue->cap - 1)] = *slice;
    queue->bytes += slice->len;
    *slice = (struct slice){NULL, NULL, 0};
}

/* How large a block to take for len bytes: a single small write gets just its own, those behind it
 * as much again as the queue holds, so that many one-byte writes do not take a block each. */
static size_t copy_block_size(const struct slice_queue *queue, size_t len)
{
    size_t size = queue->bytes < SMALL_APPEND_BYTES ? queue->bytes : SMALL_APPEND_BYTES;

    if (len > SMALL_APPEND_BYTES)
        return BLOCK_BYTES;
    if (len > SMALL_APPEND_BYTES / 4)
        return SMALL_APPEND_BYTES;
    if (queue->count > 0 && size < SMALL_FIRST_BYTES)
        size = SMALL_FIRST_BYTES;
    return size > len ? size : len;
}

void slice_queue_push_copy(struct slice_queue *queue, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    struct slice *last = queue->count ? slice_queue_at(queue, queue->count - 1) : NULL;

    /* Only the sole owner of a block may write behind its slice. */
    if (last && last->block->refs == 1) {
        size_t room =
            (size_t)(block_start(last->block) + last->block->size - (last->data + last->len));
        size_t fit = len < room ? len : room;

        memcpy(last->data + last->len, from, fit);
        last->len += fit;
        queue->bytes += fit;
        from += fit;
        len -= fit;
    }
    while (len > 0) {
        size_t size = copy_block_size(queue, len);
        size_t fit = len < size ? len : size;
        struct block *block = block_new_sized(size);
        struct slice slice = {block, block_start(block), fit};

        memcpy(slice.data, from, fit);
        slice_queue_push(queue, &slice);
        from += fit;
        len -= fit;
    }
}

static void queue_release_if_empty(struct slice_queue *queue)
{
    if (queue->count > 0)
        return;
    free(queue->ring);
    *queue = (struct slice_queue){0};
}

void slice_queue_drop(struct slice_queue *queue, size_t bytes)
{
    while (bytes > 0 && queue->count > 0) {
        struct slice *first = slice_queue_first(queue);

        if (bytes < first->len) {
            first->data += bytes;
            first->len -= bytes;
            queue->bytes -= bytes;
            return;
        }
        bytes -= first->len;
        queue->bytes -= first->len;
        slice_drop(first);
        queue->head = (queue->head + 1) & (queue->cap - 1);
        queue->count--;
    }
    queue_release_if_empty(queue);
}

void slice_queue_clear(struct slice_queue *queue)
{
    slice_queue_drop(queue, queue->bytes);
    queue_release_if_empty(queue);
}

int slice_queue_iov(const struct slice_queue *queue, struct iovec *iov, int max, size_t *bytes)
{
    int n = 0;
    size_t sum = 0;

    for (; n < max && (uint32_t)n < queue->count; n++) {
        const struct slice *slice = &queue->ring[(queue->head + (uint32_t)n) & (queue->cap - 1)];

        iov[n].iov_base = slice->data;
        iov[n].iov_len = slice->len;
        sum += slice->len;
    }
    if (bytes)
        *bytes = sum;
    return n;
}

size_t slice_queue_peek(const struct slice_queue *queue, size_t offset, void *buf, size_t len)
{
    uint8_t *to = buf;
    size_t done = 0;

    for (uint32_t i = 0; i < queue->count && done < len; i++) {
        const struct slice *slice = &queue->ring[(queue->head + i) & (queue->cap - 1)];

        if (offset >= slice->len) {
            offset -= slice->len;
            continue;
        }
        size_t fit = slice->len - offset;
        if (fit > len - done)
            fit = len - done;
        memcpy(to + done, slice->data + offset, fit);
        done += fit;
        offset = 0;
    }
    return done;
}

void slice_queue_move(struct slice_queue *to, struct slice_queue *from)
{
    if (to->count == 0) {
        slice_queue_clear(to);
        *to = *from;
        *from = (struct slice_queue){0};
        return;
    }
    for (uint32_t i = 0; i < from->count; i++)
        slice_queue_push(to, slice_queue_at(from, i));
    free(from->ring);
    *from = (struct slice_queue){0};
}

void slice_queue_compact(struct slice_queue *queue)
{
    struct slice_queue dense = {0};
    size_t pinned = 0;
    const struct block *last = NULL;

    for (uint32_t i = 0; i < queue->count; i++) {
        const struct slice *slice = slice_queue_at(queue, i);

        if (slice->block != last)
            pinned += slice->block->size; /* neighbours share blocks */
        last = slice->block;
    }
    if (pinned <= 2 * queue->bytes)
        return;
    for (uint32_t i = 0; i < queue->count; i++) {
        struct slice *slice = slice_queue_at(queue, i);

        if (slice->len >= BLOCK_BYTES / 2) {
            slice_queue_push(&dense, slice);
        } else {
            slice_queue_push_copy(&dense, slice->data, slice->len);
            slice_drop(slice);
        }
    }
    free(queue->ring);
    *queue = dense;
}
