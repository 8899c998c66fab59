/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Bytes in order are in one buffer, which moves to its front when it must grow. Segments behind a
 * gap are copied and kept sorted by their distance from `next`. Sequence numbers are compared by
 * their difference modulo 2^32; what lies more than half of that behind is old. Of bytes that come
 * twice, the first count.
 */
#include "capture/reassembly.h"

#include <stdlib.h>
#include <string.h>

void reassembly_clear(struct reassembly *r)
{
    for (size_t i = 0; i < r->ahead_count; i++)
        free(r->ahead[i].bytes);
    free(r->bytes);
    *r = (struct reassembly){0};
}

void reassembly_start(struct reassembly *r, uint32_t seq)
{
    reassembly_clear(r);
    r->started = true;
    r->next = seq;
}

static bool append(struct reassembly *r, const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return true;
    if (r->len + len > REASSEMBLY_BUFFER_BYTES)
        return false;
    if (r->at + r->len + len > r->cap) {
        if (r->len > 0)
            memmove(r->bytes, r->bytes + r->at, r->len);
        r->at = 0;
    }
    if (r->len + len > r->cap) {
        size_t cap = r->cap ? r->cap : 4096;
        uint8_t *grown;

        while (cap < r->len + len)
            cap *= 2;
        grown = realloc(r->bytes, cap);
        if (!grown)
            return false;
        r->bytes = grown;
        r->cap = cap;
    }
    memcpy(r->bytes + r->at + r->len, bytes, len);
    r->len += len;
    r->next += (uint32_t)len;
    return true;
}

static void drop_part(struct reassembly *r, size_t i)
{
    free(r->ahead[i].bytes);
    r->ahead_bytes -= r->ahead[i].len;
    r->ahead_count--;
    memmove(&r->ahead[i], &r->ahead[i + 1], (r->ahead_count - i) * sizeof(r->ahead[0]));
}

/* The gap is closed: what follows it is in order now. */
static void append_ahead(struct reassembly *r)
{
    while (r->ahead_count > 0) {
        struct reassembly_part *part = &r->ahead[0];
        uint32_t known = r->next - part->seq; /* bytes of it that are there already */

        if ((int32_t)known < 0)
            return;
        if (known < part->len && !append(r, part->bytes + known, part->len - known))
            return;
        drop_part(r, 0);
    }
}

static bool keep_ahead(struct reassembly *r, uint32_t seq, const uint8_t *bytes, size_t len)
{
    size_t i = 0;
    uint8_t *copy;

    if (reassembly_is_full(r) || r->ahead_bytes + len > REASSEMBLY_AHEAD_BYTES)
        return false;
    while (i < r->ahead_count && (int32_t)(r->ahead[i].seq - seq) <= 0) {
        if (r->ahead[i].seq == seq && r->ahead[i].len >= len)
            return true;
        i++;
    }
    copy = malloc(len);
    if (!copy)
        return false;
    memcpy(copy, bytes, len);
    memmove(&r->ahead[i + 1], &r->ahead[i], (r->ahead_count - i) * sizeof(r->ahead[0]));
    r->ahead[i] = (struct reassembly_part){.seq = seq, .len = len, .bytes = copy};
    r->ahead_count++;
    r->ahead_bytes += len;
    return true;
}

bool reassembly_add(struct reassembly *r, uint32_t seq, const uint8_t *bytes, size_t len)
{
    uint32_t known;

    if (len == 0)
        return true;
    if (!r->started)
        reassembly_start(r, seq);
    known = r->next - seq;
    if ((int32_t)known < 0)
        return keep_ahead(r, seq, bytes, len);
    if (known >= len)
        return true;
    if (!append(r, bytes + known, len - known))
        return false;
    append_ahead(r);
    return true;
}

const uint8_t *reassembly_peek(const struct reassembly *r, size_t *len)
{
    *len = r->len;
    return r->len > 0 ? r->bytes + r->at : NULL;
}

void reassembly_take(struct reassembly *r, size_t len)
{
    r->at += len;
    r->len -= len;
    if (r->len == 0)
        r->at = 0;
}

size_t reassembly_skip(struct reassembly *r)
{
    size_t gap;

    if (r->ahead_count == 0)
        return 0;
    gap = r->ahead[0].seq - r->next;
    if ((int32_t)(r->ahead[0].seq - r->next) <= 0)
        gap = 0; /* there was no room for it */
    r->next = r->ahead[0].seq;
    r->at = r->len = 0;
    r->lost += gap;
    append_ahead(r);
    return gap;
}

bool reassembly_is_full(const struct reassembly *r)
{
    return r->ahead_count == REASSEMBLY_AHEAD_MAX;
}
