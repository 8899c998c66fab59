/* SPDX-License-Identifier: MIT */
/*
 * Gaps: what a stream has received beyond the first byte that it lacks.
 */
#ifndef ADIT_SESSION_GAPS_H
#define ADIT_SESSION_GAPS_H

#include "base/slice.h"

#define GAPS_MAX        64   /* separate runs kept a stream */
#define GAPS_PIECES_MAX 8192 /* slices kept a stream */

struct gaps_piece {
    uint64_t offset;
    struct slice slice;
};

struct gaps {
    struct gaps_piece *pieces; /* from `first` on; by offset, not overlapping */
    uint32_t first, count, cap, runs;
};

/* Keeps what is new of [offset, offset + slice->len) (takes the slice). false: no place, the bytes
 * are dropped and must come again. */
bool gaps_add(struct gaps *gaps, uint64_t offset, struct slice *slice);
/* Takes the piece that starts at or before `offset` and reaches beyond it, trimmed to start there.
 * false: none. */
bool gaps_take(struct gaps *gaps, uint64_t offset, struct slice *slice);
void gaps_clear(struct gaps *gaps);

#endif
