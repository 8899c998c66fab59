/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A sorted array of pieces that do not overlap, nearly always empty: bytes come in order on one
 * path, and out of order only around a move to another. A new piece is cut against its neighbours;
 * of bytes that are there already the first copy is kept. A small piece of a large block is copied,
 * behind the one that it adjoins where that has room, since it may stay for long. Runs are bounded
 * by GAPS_MAX and pieces by GAPS_PIECES_MAX; beyond, bytes are dropped unconfirmed. A peer that
 * sends in order on each path never gets there: a run starts at a move, and with pieces joined the
 * largest window has fewer.
 */
#include "session/gaps.h"

#include <stdlib.h>
#include <string.h>

static uint64_t piece_end(const struct gaps_piece *piece)
{
    return piece->offset + piece->slice.len;
}

static struct gaps_piece *piece_at(const struct gaps *gaps, uint32_t i)
{
    return &gaps->pieces[gaps->first + i];
}

static bool adjoins(const struct gaps *gaps, uint32_t i, uint64_t offset)
{
    return i > 0 && piece_end(piece_at(gaps, i - 1)) == offset;
}

/* The first piece that ends behind offset. */
static uint32_t find(const struct gaps *gaps, uint64_t offset)
{
    uint32_t low = 0, high = gaps->count;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (piece_end(piece_at(gaps, middle)) > offset)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static void make_place(struct gaps *gaps)
{
    if (gaps->first > 0 && gaps->first + gaps->count == gaps->cap) {
        memmove(gaps->pieces, piece_at(gaps, 0), gaps->count * sizeof(*gaps->pieces));
        gaps->first = 0;
    }
    if (gaps->count == gaps->cap) {
        uint32_t cap = gaps->cap ? gaps->cap * 2 : 8;
        struct gaps_piece *pieces = realloc(gaps->pieces, cap * sizeof(*pieces));

        if (!pieces)
            abort();
        gaps->pieces = pieces;
        gaps->cap = cap;
    }
}

/* Writes small bytes behind a piece that they adjoin, if its block is ours alone and has room. */
static bool append(struct gaps_piece *piece, const struct slice *slice)
{
    struct slice *last = &piece->slice;
    const uint8_t *end = block_start(last->block) + last->block->size;

    if (last->block->refs > 1 || (size_t)(end - (last->data + last->len)) < slice->len)
        return false;
    memcpy(last->data + last->len, slice->data, slice->len);
    last->len += slice->len;
    return true;
}

/* A copy in a block with room for as much again as the piece before it holds, so that many small
 * pieces become few. */
static struct slice copy_small(const struct slice *slice, size_t before)
{
    size_t size = 2 * before < BLOCK_BYTES ? 2 * before : BLOCK_BYTES;
    struct block *block = block_new_sized(size > slice->len ? size : slice->len);

    memcpy(block_start(block), slice->data, slice->len);
    return (struct slice){block, block_start(block), slice->len};
}

/* Puts a piece at place i, which overlaps nothing. false: no place. Takes the slice. */
static bool insert(struct gaps *gaps, uint32_t i, uint64_t offset, struct slice *slice)
{
    bool left = adjoins(gaps, i, offset);
    bool right = i < gaps->count && piece_at(gaps, i)->offset == offset + slice->len;
    bool small = slice->len < BLOCK_BYTES / 2 && slice->block->size > 2 * slice->len;

    if (gaps->runs + 1 - left - right > GAPS_MAX) {
        slice_drop(slice);
        return false;
    }
    if (small && left && append(piece_at(gaps, i - 1), slice)) {
        gaps->runs -= right;
        slice_drop(slice);
        return true;
    }
    if (gaps->count >= GAPS_PIECES_MAX) {
        slice_drop(slice);
        return false;
    }
    gaps->runs = gaps->runs + 1 - left - right;
    make_place(gaps);
    memmove(piece_at(gaps, i + 1), piece_at(gaps, i), (gaps->count - i) * sizeof(*gaps->pieces));
    gaps->count++;
    piece_at(gaps, i)->offset = offset;
    if (small) {
        piece_at(gaps, i)->slice = copy_small(slice, left ? piece_at(gaps, i - 1)->slice.len : 0);
        slice_drop(slice);
    } else {
        piece_at(gaps, i)->slice = *slice;
        *slice = (struct slice){NULL, NULL, 0};
    }
    return true;
}

bool gaps_add(struct gaps *gaps, uint64_t offset, struct slice *slice)
{
    uint64_t at = offset, end = offset + slice->len;
    uint32_t i = find(gaps, offset);
    bool kept = true;

    while (at < end && kept) {
        uint64_t stop = end;
        uint32_t before = gaps->count;
        struct slice part;

        if (i < gaps->count) {
            if (piece_at(gaps, i)->offset <= at) { /* already there */
                at = piece_end(piece_at(gaps, i++));
                continue;
            }
            if (piece_at(gaps, i)->offset < stop)
                stop = piece_at(gaps, i)->offset;
        }
        part = slice_part(slice, at - offset, stop - at);
        kept = insert(gaps, i, at, &part);
        i += gaps->count - before; /* none when it was appended */
        at = stop;
    }
    slice_drop(slice);
    return kept;
}

bool gaps_take(struct gaps *gaps, uint64_t offset, struct slice *slice)
{
    while (gaps->count > 0 && piece_at(gaps, 0)->offset <= offset) {
        struct gaps_piece first = *piece_at(gaps, 0);
        uint64_t end = piece_end(&first);

        gaps->first++;
        gaps->count--;
        if (gaps->count == 0)
            gaps_clear(gaps);
        else if (piece_at(gaps, 0)->offset != end)
            gaps->runs--;
        if (end > offset) {
            first.slice.data += offset - first.offset;
            first.slice.len -= offset - first.offset;
            *slice = first.slice;
            return true;
        }
        slice_drop(&first.slice);
    }
    return false;
}

void gaps_clear(struct gaps *gaps)
{
    for (uint32_t i = 0; i < gaps->count; i++)
        slice_drop(&piece_at(gaps, i)->slice);
    free(gaps->pieces);
    *gaps = (struct gaps){0};
}
