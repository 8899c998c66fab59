/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A sorted array of pieces that do not overlap, nearly always empty: bytes come in order on one
 * path, and out of order only around a move to another. A new piece is cut against its neighbours;
 * of bytes that are there already the first copy is kept. A small piece of a large block is copied,
 * since it may stay for long. Runs are bounded by GAPS_MAX and pieces by GAPS_PIECES_MAX; beyond,
 * bytes are dropped unconfirmed, and the sender sends them again.
 */
#include "session/gaps.h"

#include <stdlib.h>
#include <string.h>

static uint64_t piece_end(const struct gaps_piece *piece)
{
    return piece->offset + piece->slice.len;
}

static uint32_t count_runs(const struct gaps *gaps)
{
    uint32_t runs = gaps->count ? 1 : 0;

    for (uint32_t i = 1; i < gaps->count; i++)
        runs += piece_end(&gaps->pieces[i - 1]) != gaps->pieces[i].offset;
    return runs;
}

/* Puts a piece at place i; the caller has made sure that it overlaps nothing. */
static void insert(struct gaps *gaps, uint32_t i, uint64_t offset, struct slice *slice)
{
    if (gaps->count == gaps->cap) {
        uint32_t cap = gaps->cap ? gaps->cap * 2 : 8;
        struct gaps_piece *pieces = realloc(gaps->pieces, cap * sizeof(*pieces));

        if (!pieces)
            abort();
        gaps->pieces = pieces;
        gaps->cap = cap;
    }
    memmove(gaps->pieces + i + 1, gaps->pieces + i, (gaps->count - i) * sizeof(*gaps->pieces));
    gaps->count++;
    gaps->pieces[i].offset = offset;
    if (slice->len < BLOCK_BYTES / 4 && slice->block->size >= BLOCK_BYTES) {
        gaps->pieces[i].slice = slice_copy(slice->data, slice->len);
        slice_drop(slice);
    } else {
        gaps->pieces[i].slice = *slice;
        *slice = (struct slice){NULL, NULL, 0};
    }
}

bool gaps_add(struct gaps *gaps, uint64_t offset, struct slice *slice)
{
    uint64_t at = offset, end = offset + slice->len;
    uint32_t i = gaps->count;
    bool kept = true;

    while (i > 0 && piece_end(&gaps->pieces[i - 1]) > offset)
        i--; /* the first piece that ends behind our start */
    while (at < end) {
        uint64_t stop = end;

        if (i < gaps->count) {
            if (gaps->pieces[i].offset <= at) { /* already there */
                if (piece_end(&gaps->pieces[i]) > at)
                    at = piece_end(&gaps->pieces[i]);
                i++;
                continue;
            }
            if (gaps->pieces[i].offset < stop)
                stop = gaps->pieces[i].offset;
        }
        if (gaps->count >= GAPS_PIECES_MAX) {
            kept = false;
            break;
        }
        struct slice part = slice_part(slice, at - offset, stop - at);
        insert(gaps, i++, at, &part);
        at = stop;
        if (count_runs(gaps) > GAPS_MAX) { /* the new run is one too many */
            slice_drop(&gaps->pieces[i - 1].slice);
            memmove(gaps->pieces + i - 1, gaps->pieces + i,
                    (gaps->count - i) * sizeof(*gaps->pieces));
            gaps->count--;
            kept = false;
            break;
        }
    }
    slice_drop(slice);
    return kept;
}

bool gaps_take(struct gaps *gaps, uint64_t offset, struct slice *slice)
{
    while (gaps->count > 0 && gaps->pieces[0].offset <= offset) {
        struct gaps_piece first = gaps->pieces[0];

        memmove(gaps->pieces, gaps->pieces + 1, --gaps->count * sizeof(*gaps->pieces));
        if (gaps->count == 0)
            gaps_clear(gaps);
        if (piece_end(&first) > offset) {
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
        slice_drop(&gaps->pieces[i].slice);
    free(gaps->pieces);
    *gaps = (struct gaps){0};
}
