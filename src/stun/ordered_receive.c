/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Segments wait in a ring of ORDERED_WINDOW until all before them have come and the pipe takes them
 * (it may be paused, or a link full). A message of one segment is delivered as it lies in the
 * packet; one of several is put together in a block that grows with it.
 *
 *     deliver <= next <= end           all numbers; in the ring: [deliver, deliver +
 * ORDERED_WINDOW) delivered  |  in order, waits for the pipe  |  next is missing, some behind it
 * have come
 *
 * The sender is told how far it may go (`limit`, deliver + ORDERED_WINDOW), so a reader that does
 * not read holds it back. A message beyond TURN_ORDERED_MESSAGE_MAX, which no sender of ours
 * writes, is passed over.
 *
 * Confirmations: at the end of the turn when something is missing, came twice, or ACK_EVERY
 * segments have come (every second one in the beginning, when the sender has little under way);
 * else after ACK_DELAY_US, so that a relay, to which an acknowledgement costs as much as a full
 * packet, sees few.
 */
#include <stdlib.h>
#include <string.h>

#include "stun/ordered_int.h"

#define ACK_EVERY     16
#define ACK_EARLY     64 /* the first segments */
#define ACK_DELAY_US  (5 * MS_US)
#define PARTIAL_BYTES 16384 /* of the first block of a message of several segments */

static struct ordered_slot *slot_at(const struct ordered_in *in, uint32_t number)
{
    return &in->ring[number & (ORDERED_WINDOW - 1)];
}

static bool is_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

/* --- Confirmations --- */

/* The bits of what has come after `next`; how many bytes of them. */
static size_t write_bits(const struct ordered_in *in, uint8_t bits[ORDERED_BITS_MAX], size_t most)
{
    size_t len = 0;

    for (uint32_t n = in->next + 1, i = 0; is_before(n, in->end) && i / 8 < most; n++, i++) {
        if (i % 8 == 0)
            bits[i / 8] = 0;
        len = i / 8 + 1;
        if (slot_at(in, n)->has)
            bits[i / 8] |= (uint8_t)(0x80 >> i % 8);
    }
    return len;
}

void ordered_in_ack(struct ordered_peer *peer, uint8_t flags)
{
    struct ordered_in *in = &peer->in;
    struct loop *loop = peer->owner->base.loop;
    size_t most = peer->owner->packet_max - ORDERED_ACK_BYTES, len = 0;
    uint8_t bits[ORDERED_BITS_MAX];
    struct ordered_packet packet = {.type = ORDERED_ACK,
                                    .flags = flags,
                                    .to = peer->theirs,
                                    .number = in->next,
                                    .limit = in->deliver + ORDERED_WINDOW,
                                    .time_us = in->time_us,
                                    .delay_us = ORDERED_NO_DELAY};

    timer_cancel(loop, &in->ack);
    defer_cancel(loop, &in->ack_soon);
    if (!peer->theirs)
        return;
    if (in->came)
        packet.delay_us = (uint32_t)(ordered_now(peer) - in->came);
    in->came = 0;
    in->unacked = 0;
    in->told_limit = packet.limit;
    if (in->ring)
        len = write_bits(in, bits, most < sizeof(bits) ? most : sizeof(bits));
    ordered_transmit(peer, &packet, bits, len);
}

static void on_ack(void *arg)
{
    ordered_in_ack(arg, 0);
}

static void plan_ack(struct ordered_peer *peer, bool soon)
{
    struct ordered_in *in = &peer->in;
    unsigned every = in->received < ACK_EARLY ? 2 : ACK_EVERY;

    if (soon || in->unacked >= every)
        defer_soon(peer->owner->base.loop, &in->ack_soon);
    else if (!timer_is_set(&in->ack))
        timer_set_in(peer->owner->base.loop, &in->ack, ACK_DELAY_US);
}

/* --- Delivery --- */

/* Adds a segment to the message that is being put together. */
static void gather(struct ordered_in *in, const struct slice *data)
{
    size_t need = in->partial_len + data->len, size;
    struct block *grown;

    if (need > TURN_ORDERED_MESSAGE_MAX) {
        if (in->partial)
            block_unref(in->partial);
        in->partial = NULL;
        in->partial_len = 0;
        in->skipping = true;
        return;
    }
    if (!in->partial || need > in->partial->size) {
        size = in->partial ? (size_t)in->partial->size * 2 : PARTIAL_BYTES;
        grown = block_new_sized(size < need ? need : size);
        if (in->partial) {
            memcpy(block_start(grown), block_start(in->partial), in->partial_len);
            block_unref(in->partial);
        }
        in->partial = grown;
    }
    memcpy(block_start(in->partial) + in->partial_len, data->data, data->len);
    in->partial_len += data->len;
}

/* One segment in order; takes the slice. */
static void deliver_segment(struct ordered_peer *peer, struct slice *data, uint8_t flags)
{
    struct ordered_in *in = &peer->in;
    struct slice whole;

    if (flags & ORDERED_FIRST) {
        if (in->partial)
            block_unref(in->partial);
        in->partial = NULL;
        in->partial_len = 0;
        in->skipping = false;
    }
    if (flags & ORDERED_FIRST && flags & ORDERED_LAST) {
        pipe_deliver(&peer->owner->base, data, &peer->name);
        return;
    }
    if (!in->skipping)
        gather(in, data);
    slice_drop(data);
    if (!(flags & ORDERED_LAST) || in->skipping)
        return;
    whole = (struct slice){in->partial, block_start(in->partial), in->partial_len};
    in->partial = NULL;
    in->partial_len = 0;
    pipe_deliver(&peer->owner->base, &whole, &peer->name);
}

void ordered_in_deliver(struct ordered_peer *peer)
{
    struct ordered_in *in = &peer->in;

    while (in->deliver != in->next && pipe_read_budget(&peer->owner->base) > 0) {
        struct ordered_slot *slot = slot_at(in, in->deliver++);
        struct slice data = slot->data;
        uint8_t flags = slot->flags;

        in->held -= slot->held ? data.len : 0;
        *slot = (struct ordered_slot){0};
        deliver_segment(peer, &data, flags);
    }
    /* A sender that was held back is told when half the window is free again. */
    if (in->ring && in->deliver + ORDERED_WINDOW - in->told_limit >= ORDERED_WINDOW / 2)
        defer_soon(peer->owner->base.loop, &in->ack_soon);
}

/* What waits for others must not keep a block alive that is far larger than it. */
static void keep(struct ordered_in *in, struct ordered_slot *slot, const struct slice *frame,
                 const struct ordered_packet *packet)
{
    slot->has = true;
    slot->flags = packet->flags;
    slot->held = packet->number != in->next;
    if (slot->held)
        in->held += packet->len;
    if (slot->held && frame->block->size / 4 > packet->len)
        slot->data = slice_copy(packet->bytes, packet->len);
    else
        slot->data = slice_part(frame, (size_t)(packet->bytes - frame->data), packet->len);
}

void ordered_in_data(struct ordered_peer *peer, const struct slice *frame,
                     const struct ordered_packet *packet)
{
    struct ordered_in *in = &peer->in;
    struct ordered_slot *slot;
    uint32_t number = packet->number;
    bool was_gap = in->end != in->next;

    if (!in->ring && !(in->ring = calloc(ORDERED_WINDOW, sizeof(*in->ring))))
        abort();
    if (is_before(number, in->next) || !is_before(number, in->deliver + ORDERED_WINDOW)) {
        in->duplicates += is_before(number, in->next);
        plan_ack(peer, true);
        return;
    }
    slot = slot_at(in, number);
    if (slot->has) {
        in->duplicates++;
        plan_ack(peer, true);
        return;
    }
    if (number != in->next && in->held + packet->len > ORDERED_HELD_MAX) {
        plan_ack(peer, true); /* it is sent again, when there is room */
        return;
    }
    keep(in, slot, frame, packet);
    in->received++;
    in->unacked++;
    if ((int32_t)(packet->time_us - in->time_us) > 0 || in->received == 1)
        in->time_us = packet->time_us;
    in->came = ordered_now(peer);
    if (!is_before(number, in->end))
        in->end = number + 1;
    while (in->next != in->end && slot_at(in, in->next)->has)
        in->next++;
    plan_ack(peer, was_gap != (in->next != in->end));
    ordered_in_deliver(peer);
}

/* --- Life --- */

void ordered_in_init(struct ordered_peer *peer)
{
    peer->in.told_limit = ORDERED_WINDOW;
    timer_init(&peer->in.ack, on_ack, peer);
    defer_init(&peer->in.ack_soon, on_ack, peer);
}

static void clear(struct ordered_in *in)
{
    for (uint32_t i = 0; in->ring && i < ORDERED_WINDOW; i++)
        if (in->ring[i].has)
            slice_drop(&in->ring[i].data);
    free(in->ring);
    in->ring = NULL;
    if (in->partial)
        block_unref(in->partial);
    in->partial = NULL;
    in->partial_len = 0;
    in->held = 0;
}

void ordered_in_restart(struct ordered_peer *peer)
{
    struct ordered_in *in = &peer->in;

    clear(in);
    in->next = in->deliver = in->end = 0;
    in->skipping = false;
    in->unacked = 0;
    in->told_limit = ORDERED_WINDOW;
    in->came = 0;
}

void ordered_in_free(struct ordered_peer *peer)
{
    timer_cancel(peer->owner->base.loop, &peer->in.ack);
    defer_cancel(peer->owner->base.loop, &peer->in.ack_soon);
    clear(&peer->in);
}
