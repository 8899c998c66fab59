/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A message is cut into segments when it is written; a segment is never cut again, so its number
 * names the same bytes for ever. Segments stand in a ring, from the oldest that is not confirmed.
 *
 *     waits -> flies -> came (confirmed out of order) -> gone, once all before it have come
 *                `-> lost -> flies
 *
 * Lost is what was sent a quarter of a round trip before something that has come (time, not
 * numbers, so that what was sent again can be lost again, and packets that overtake each other cost
 * nothing); or, with no confirmation at all for a timeout, the oldest; after three timeouts, all.
 *
 * How much may fly, and how fast, ordered_rate.c says. Pacing is a bucket of credit which holds
 * what the rate brings in two milliseconds (a timer may be late by one), at most BURST_BYTES:
 * coturn's relay socket drops what exceeds 64 KB at once.
 *
 * A peer that has no room is asked for some every PROBE_US.
 */
#include <stdlib.h>

#include "stun/ordered_int.h"

#define RING_MIN       64
#define BURST_BYTES    (28 * 1024)
#define BURST_US       10000
#define PROBE_US       (200 * MS_US)
#define REORDER_MIN_US (1 * MS_US)
#define TIMEOUT_MAX_US (2 * SEC_US)
#define TIMEOUTS_ALL   3

static struct ordered_segment *segment_at(const struct ordered_out *out, uint32_t number)
{
    return &out->ring[number & (out->cap - 1)];
}

static bool is_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

/* --- Writing --- */

static void grow(struct ordered_out *out)
{
    uint32_t cap = out->cap ? out->cap * 2 : RING_MIN;
    struct ordered_segment *ring = malloc(cap * sizeof(*ring));

    if (!ring)
        abort();
    for (uint32_t n = out->first; n != out->end; n++)
        ring[n & (cap - 1)] = *segment_at(out, n);
    free(out->ring);
    out->ring = ring;
    out->cap = cap;
}

static void push(struct ordered_out *out, struct slice data, uint8_t flags)
{
    if (out->end - out->first == out->cap)
        grow(out);
    out->bytes += data.len;
    *segment_at(out, out->end++) =
        (struct ordered_segment){.data = data, .flags = flags, .state = SEGMENT_WAITS};
}

void ordered_out_write(struct ordered_peer *peer, struct slice *data)
{
    size_t most = peer->owner->packet_max - ORDERED_DATA_BYTES, at = 0;
    struct ordered_out *out = &peer->out;
    uint8_t flags = ORDERED_FIRST;

    if (out->bytes == 0)
        out->progress = ordered_now(peer);
    peer->confirmed_told = false;
    while (data->len - at > most) {
        push(out, slice_part(data, at, most), flags);
        at += most;
        flags = 0;
    }
    push(out, slice_part(data, at, data->len - at), flags | ORDERED_LAST);
    slice_drop(data);
}

/* --- Sending --- */

static void set_timeout(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    uint64_t wait = ordered_rate_timeout_us(&out->rate) << (out->timeouts < 8 ? out->timeouts : 8);

    if (wait > TIMEOUT_MAX_US)
        wait = TIMEOUT_MAX_US;
    if (out->flight == 0 && out->lost == 0) {
        /* Nothing flies: there is nothing to send, or no room at the other end. */
        if (out->next == out->end) {
            timer_cancel(peer->owner->base.loop, &out->timeout);
            return;
        }
        wait = PROBE_US;
    }
    timer_set_in(peer->owner->base.loop, &out->timeout, wait);
}

static void send_segment(struct ordered_peer *peer, uint32_t number)
{
    struct ordered_out *out = &peer->out;
    struct ordered_segment *segment = segment_at(out, number);
    uint64_t now = ordered_now(peer);
    bool limited = out->next == out->end && out->lost <= 1;
    const struct ordered_packet packet = {.type = ORDERED_DATA,
                                          .flags = segment->flags,
                                          .to = peer->theirs,
                                          .number = number,
                                          .time_us = (uint32_t)now};

    ordered_rate_sent(&out->rate, &segment->mark, now, out->flight, limited);
    if (segment->state == SEGMENT_LOST)
        out->lost--;
    segment->state = SEGMENT_FLIES;
    out->total++;
    out->resent += segment->sent > 0;
    if (segment->sent < UINT16_MAX)
        segment->sent++;
    out->flight += segment->data.len;
    out->credit -= (int64_t)(segment->data.len + ORDERED_DATA_BYTES);
    ordered_transmit(peer, &packet, segment->data.data, segment->data.len);
}

/* What is to be sent next; false: nothing, or nothing may. */
static bool choose(struct ordered_out *out, uint32_t *number)
{
    if (out->lost > 0) {
        for (uint32_t n = *number; n != out->next; n++) {
            if (segment_at(out, n)->state != SEGMENT_LOST)
                continue;
            *number = n;
            return true;
        }
    }
    if (out->next == out->end || !is_before(out->next, out->limit))
        return false;
    *number = out->next++;
    return true;
}

static void earn(struct ordered_peer *peer, uint64_t pace)
{
    struct ordered_out *out = &peer->out;
    uint64_t now = ordered_now(peer), past = now - out->credit_at;
    int64_t most = (int64_t)(pace * BURST_US / SEC_US);

    if (most > BURST_BYTES)
        most = BURST_BYTES;
    if (most < 2 * peer->owner->packet_max)
        most = 2 * peer->owner->packet_max;
    if (past > SEC_US)
        past = SEC_US;
    out->credit += (int64_t)(pace * past / SEC_US);
    if (out->credit > most)
        out->credit = most;
    out->credit_at = now;
}

void ordered_out_pump(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    struct loop *loop = peer->owner->base.loop;
    uint64_t pace = ordered_rate_pace(&out->rate), wait;
    size_t window = ordered_rate_window(&out->rate);
    uint32_t number = out->first;
    bool sent = false;

    if (!peer->established || !peer->owner->below)
        return;
    earn(peer, pace);
    while (out->credit > 0 && out->flight < window && pipe_room(peer->owner->below) > 0 &&
           choose(out, &number)) {
        send_segment(peer, number);
        sent = true;
    }
    if (sent || !timer_is_set(&out->timeout))
        set_timeout(peer);
    if (out->credit > 0 || out->flight >= window || (out->next == out->end && out->lost == 0))
        return;
    wait = (uint64_t)-out->credit * SEC_US / pace + 1;
    timer_set_in(loop, &out->pace, wait < MS_US / 2 ? MS_US / 2 : wait);
}

static void on_pace(void *arg)
{
    ordered_out_pump(arg);
}

/* --- Losses --- */

static void lose(struct ordered_out *out, struct ordered_segment *segment)
{
    segment->state = SEGMENT_LOST;
    out->flight -= segment->data.len;
    out->lost++;
    ordered_rate_lost(&out->rate, segment->data.len);
}

static void find_losses(struct ordered_out *out)
{
    uint64_t slack = out->rate.srtt_us / 4;

    if (slack < REORDER_MIN_US)
        slack = REORDER_MIN_US;
    for (uint32_t n = out->first; n != out->next; n++) {
        struct ordered_segment *segment = segment_at(out, n);

        if (segment->state == SEGMENT_FLIES && segment->mark.sent_at + slack < out->newest)
            lose(out, segment);
    }
}

static void on_timeout(void *arg)
{
    struct ordered_peer *peer = arg;
    struct ordered_out *out = &peer->out;
    uint64_t now = ordered_now(peer);

    if (now - out->progress >= peer->owner->give_up_ms * MS_US) {
        ordered_give_up(peer);
        return;
    }
    if (out->flight == 0 && out->lost == 0) {
        ordered_in_ack(peer, ORDERED_ASK);
        ordered_out_pump(peer);
        set_timeout(peer);
        return;
    }
    out->timeouts++;
    for (uint32_t n = out->first; n != out->next; n++) {
        if (segment_at(out, n)->state != SEGMENT_FLIES)
            continue;
        lose(out, segment_at(out, n));
        if (out->timeouts < TIMEOUTS_ALL)
            break;
    }
    if (out->credit < peer->owner->packet_max)
        out->credit = peer->owner->packet_max;
    set_timeout(peer);
    ordered_out_pump(peer);
}

/* --- Confirmations --- */

struct harvest {
    size_t bytes;
    struct ordered_mark mark; /* of the one sent last */
};

static void reap(struct ordered_out *out, struct ordered_segment *segment, struct harvest *harvest)
{
    if (segment->state == SEGMENT_CAME)
        return;
    if (segment->state == SEGMENT_FLIES)
        out->flight -= segment->data.len;
    else if (segment->state == SEGMENT_LOST)
        out->lost--;
    segment->state = SEGMENT_CAME;
    harvest->bytes += segment->data.len;
    if (segment->mark.sent_at >= harvest->mark.sent_at)
        harvest->mark = segment->mark;
}

/* False: the packet speaks of what was never sent. */
static bool take_numbers(struct ordered_peer *peer, const struct ordered_packet *packet,
                         struct harvest *harvest, size_t *freed)
{
    struct ordered_out *out = &peer->out;
    uint32_t number = packet->number;

    if (is_before(out->next, number))
        return false;
    while (is_before(out->first, number)) {
        struct ordered_segment *segment = segment_at(out, out->first++);

        reap(out, segment, harvest);
        *freed += segment->data.len;
        slice_drop(&segment->data);
    }
    for (size_t i = 0; i < packet->len * 8; i++) {
        uint32_t n = number + 1 + (uint32_t)i;

        if (!is_before(n, out->next))
            break;
        if (packet->bytes[i / 8] & (0x80 >> i % 8) && !is_before(n, out->first))
            reap(out, segment_at(out, n), harvest);
    }
    return true;
}

void ordered_out_ack(struct ordered_peer *peer, const struct ordered_packet *packet)
{
    struct ordered_out *out = &peer->out;
    uint64_t now = ordered_now(peer);
    struct harvest harvest = {0};
    size_t freed = 0;
    uint32_t rtt;

    if (!take_numbers(peer, packet, &harvest, &freed))
        return;
    if (is_before(out->limit, packet->limit))
        out->limit = packet->limit;
    rtt = (uint32_t)now - packet->time_us;
    if (packet->delay_us != ORDERED_NO_DELAY && harvest.bytes > 0 && rtt < 60 * SEC_US &&
        packet->delay_us <= rtt)
        ordered_rate_rtt(&out->rate, now, rtt - packet->delay_us);
    if (harvest.bytes > 0) {
        out->timeouts = 0;
        out->progress = now;
        if (harvest.mark.sent_at > out->newest)
            out->newest = harvest.mark.sent_at;
        ordered_rate_confirmed(&out->rate, now, harvest.bytes, &harvest.mark, out->flight);
        find_losses(out);
        set_timeout(peer);
    } else if (out->flight == 0 && out->lost == 0) {
        out->progress = now; /* it has no room, but it is there */
    }
    out->bytes -= freed;
    out->confirmed += freed;
    ordered_out_pump(peer);
    if (freed > 0 || harvest.bytes > 0)
        ordered_shrunk(peer, freed);
}

void ordered_out_restart(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    struct ordered_segment *ring;
    uint32_t count = 0, start = out->first;
    size_t dropped = 0;

    /* The new one can do nothing with the rest of a message. */
    while (start != out->end && !(segment_at(out, start)->flags & ORDERED_FIRST)) {
        struct ordered_segment *segment = segment_at(out, start++);

        dropped += segment->data.len;
        slice_drop(&segment->data);
    }
    out->bytes -= dropped;
    if (out->cap > 0) {
        ring = calloc(out->cap, sizeof(*ring));
        if (!ring)
            abort();
        for (uint32_t n = start; n != out->end; n++) {
            ring[count] = *segment_at(out, n);
            ring[count].state = SEGMENT_WAITS;
            ring[count++].sent = 0;
        }
        free(out->ring);
        out->ring = ring;
    }
    out->first = out->next = 0;
    out->end = count;
    out->limit = ORDERED_WINDOW;
    out->lost = 0;
    out->flight = 0;
    out->timeouts = 0;
    out->newest = 0;
    out->progress = ordered_now(peer);
    ordered_rate_init(&out->rate, peer->owner->rate_max);
    peer->confirmed_told |= count == 0; /* what was dropped is not */
    if (dropped > 0)                    /* told last: who hears of room may write at once */
        ordered_shrunk(peer, dropped);
}

void ordered_out_init(struct ordered_peer *peer)
{
    peer->out.limit = ORDERED_WINDOW;
    peer->confirmed_told = true;
    peer->out.credit_at = peer->out.progress = ordered_now(peer);
    ordered_rate_init(&peer->out.rate, peer->owner->rate_max);
    timer_init(&peer->out.pace, on_pace, peer);
    timer_init(&peer->out.timeout, on_timeout, peer);
}

void ordered_out_free(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    struct loop *loop = peer->owner->base.loop;

    timer_cancel(loop, &out->pace);
    timer_cancel(loop, &out->timeout);
    for (uint32_t n = out->first; n != out->end; n++)
        slice_drop(&segment_at(out, n)->data);
    free(out->ring);
    out->ring = NULL;
}
