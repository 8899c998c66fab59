/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A table of datagrams being put together, each with a buffer of 64 KiB and a bitmap of its units
 * of 8 bytes (RFC 791 3.2), so that parts may come in any order, overlap and repeat. The first to
 * write a unit wins nothing and harms nobody: this is for looking at captures.
 */
#include "capture/fragments.h"

#include <stdlib.h>
#include <string.h>

#define UNITS (FRAGMENTS_BYTES / 8)

struct datagram {
    bool used;
    struct addr from, to;
    uint32_t id;
    uint8_t protocol;
    uint64_t age;
    size_t end;   /* 0: the last part is not there */
    size_t parts; /* how many came */
    uint8_t have[UNITS / 8];
    uint8_t bytes[FRAGMENTS_BYTES];
};

struct fragments {
    uint64_t clock;
    size_t lost;
    struct datagram *datagrams[FRAGMENTS_DATAGRAMS_MAX];
};

struct fragments *fragments_new(void)
{
    return calloc(1, sizeof(struct fragments));
}

void fragments_free(struct fragments *fragments)
{
    if (!fragments)
        return;
    for (size_t i = 0; i < FRAGMENTS_DATAGRAMS_MAX; i++)
        free(fragments->datagrams[i]);
    free(fragments);
}

/* The datagram of a fragment, or a free or the oldest place for it. NULL: no memory. */
static struct datagram *find(struct fragments *f, const struct packet_fragment *fragment)
{
    size_t oldest = 0;
    struct datagram *d;

    for (size_t i = 0; i < FRAGMENTS_DATAGRAMS_MAX; i++) {
        d = f->datagrams[i];
        if (d && d->used && d->id == fragment->id && d->protocol == fragment->protocol &&
            addr_equal(&d->from, &fragment->from) && addr_equal(&d->to, &fragment->to))
            return d;
    }
    for (size_t i = 0; i < FRAGMENTS_DATAGRAMS_MAX; i++) {
        d = f->datagrams[i];
        if (!d || !d->used) {
            oldest = i;
            break;
        }
        if (d->age < f->datagrams[oldest]->age)
            oldest = i;
    }
    d = f->datagrams[oldest];
    if (!d)
        d = f->datagrams[oldest] = calloc(1, sizeof(*d));
    else if (d->used)
        f->lost += d->parts;
    if (!d)
        return NULL;
    d->used = true;
    d->from = fragment->from;
    d->to = fragment->to;
    d->id = fragment->id;
    d->protocol = fragment->protocol;
    d->age = f->clock++;
    d->end = d->parts = 0;
    memset(d->have, 0, sizeof(d->have));
    return d;
}

static bool is_complete(const struct datagram *d)
{
    size_t units = (d->end + 7) / 8;

    if (d->end == 0)
        return false;
    for (size_t i = 0; i < units; i++)
        if (!(d->have[i / 8] & 1u << i % 8))
            return false;
    return true;
}

enum packet_outcome fragments_add(struct fragments *fragments,
                                  const struct packet_fragment *fragment, struct packet *packet)
{
    size_t end = fragment->offset + fragment->len;
    struct datagram *d;

    if (end > FRAGMENTS_BYTES || fragment->len == 0 || fragment->offset % 8 != 0 ||
        (fragment->more && fragment->len % 8 != 0))
        return PACKET_BROKEN;
    d = find(fragments, fragment);
    if (!d)
        return PACKET_BROKEN;
    memcpy(d->bytes + fragment->offset, fragment->data, fragment->len);
    for (size_t i = fragment->offset / 8; i < (end + 7) / 8; i++)
        d->have[i / 8] |= (uint8_t)(1u << i % 8);
    d->parts++;
    if (!fragment->more)
        d->end = end;
    if (!is_complete(d))
        return PACKET_FRAGMENT;
    d->used = false;
    return packet_parse_payload(d->protocol, &d->from, &d->to, d->bytes, d->end, packet);
}

size_t fragments_lost(const struct fragments *fragments)
{
    size_t lost = fragments->lost;

    for (size_t i = 0; i < FRAGMENTS_DATAGRAMS_MAX; i++)
        if (fragments->datagrams[i] && fragments->datagrams[i]->used)
            lost += fragments->datagrams[i]->parts;
    return lost;
}
