/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Segments wait in a ring until all before them have come and the pipe takes them (it may be
 * paused, or a link full). A message of one segment is delivered as it lies in the packet; one of
 * several is put together in a block that grows with it.
 *
 *     deliver <= next <= end     all numbers; the ring has what is from `deliver` on
 *
 *     before deliver: delivered; before next: in order, waits for the pipe; next is missing; behind
 *     it some have come
 *
 * The sender is told how far it may go (`limit`), so a reader that does not read holds it back: to
 * ORDERED_WINDOW segments, or as many as an ACK has bits for, or ORDERED_HELD_MAX bytes of the
 * longest that has come. A sender that does not keep to the bytes, and all senders together when
 * ORDERED_HELD_ALL_MAX are held (but for a share of each), have what is not in order dropped, and
 * are told so (ORDERED_FULL); and so have those who send to a pipe that closes, since nobody will
 * read it, and its sender shall not think so. A message beyond TURN_ORDERED_MESSAGE_MAX, which no
 * sender of ours writes, is passed over.
 *
 * Confirmations: at the end of the turn when something begins or ceases to be missing, the sender
 * asks for one, who knows how many it needs, or ACK_EVERY segments have come; else after
 * ACK_DELAY_US. A relay, to which an acknowledgement costs as much as a full packet, sees few.
 */
#include <stdlib.h>
#include <string.h>

#include "stun/ordered_int.h"

#define ACK_EVERY     128
#define ACK_DELAY_US  (5 * MS_US)
#define PARTIAL_BYTES 16384 /* of the first block of a message of several segments */
#define RING_MIN      64
#define HELD_SHARE    (ORDERED_HELD_ALL_MAX / TURN_ORDERED_PEERS_MAX)
#define TIME_OLD_US   (60 * SEC_US) /* times of sending wrap: then any is newer */

static struct ordered_slot *slot_at(const struct ordered_in *in, uint32_t number)
{
    return &in->ring[number & (in->cap - 1)];
}

static bool is_before(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

/* How many segments the sender may send beyond those that were delivered. */
static uint32_t window_of(const struct ordered_peer *peer)
{
    size_t bits = (size_t)(peer->owner->packet_max - ORDERED_ACK_BYTES) * 8;
    size_t most = ORDERED_HELD_MAX / (peer->in.longest + ORDERED_SEGMENT_COST);

    if (most > bits)
        most = bits;
    return most < ORDERED_WINDOW ? (uint32_t)most : ORDERED_WINDOW;
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
                                    .flags = flags | (in->is_full ? ORDERED_FULL : 0),
                                    .to = ordered_bond_of(peer),
                                    .number = in->next,
                                    .limit = in->deliver + window_of(peer),
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
    in->is_full = false;
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

    if (soon || in->unacked >= ACK_EVERY)
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
        if (size > TURN_ORDERED_MESSAGE_MAX)
            size = TURN_ORDERED_MESSAGE_MAX;
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

    if (flags & ORDERED_CONTROL) {
        ordered_take_places(peer, data);
        slice_drop(data);
        return;
    }
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

static void account(struct ordered_peer *peer, size_t more, size_t less)
{
    peer->in.held += more - less;
    peer->owner->held += more - less;
}

void ordered_in_deliver(struct ordered_peer *peer)
{
    struct ordered_in *in = &peer->in;
    uint32_t window = window_of(peer);

    in->delivering = true;
    while (in->deliver != in->next && pipe_read_budget(&peer->owner->base) > 0) {
        struct ordered_slot *slot = slot_at(in, in->deliver++);
        struct slice data = slot->data;
        uint8_t flags = slot->flags;

        account(peer, 0, data.len + ORDERED_SEGMENT_COST);
        *slot = (struct ordered_slot){0};
        deliver_segment(peer, &data, flags);
    }
    in->delivering = false;
    /* A sender that was held back is told when half the window is free again. */
    if (in->ring && in->deliver + window - in->told_limit >= window / 2 &&
        is_before(in->told_limit, in->deliver + window))
        defer_soon(peer->owner->base.loop, &in->ack_soon);
}

/* --- What comes --- */

/* What stays must not keep a block alive that is far larger than it. */
static void keep(struct ordered_peer *peer, struct ordered_slot *slot, const struct slice *frame,
                 const struct ordered_packet *packet, bool stays)
{
    slot->has = true;
    slot->flags = packet->flags;
    account(peer, packet->len + ORDERED_SEGMENT_COST, 0);
    if (stays && frame->block->size / 2 > packet->len)
        slot->data = slice_copy(packet->bytes, packet->len);
    else
        slot->data = slice_part(frame, (size_t)(packet->bytes - frame->data), packet->len);
}

/* The ring has place for everything before `end`. */
static void make_ring(struct ordered_in *in, uint32_t end)
{
    uint32_t cap = in->cap ? in->cap : RING_MIN;
    struct ordered_slot *ring;

    while (cap < end - in->deliver)
        cap *= 2;
    if (cap == in->cap)
        return;
    ring = calloc(cap, sizeof(*ring));
    if (!ring)
        abort();
    for (uint32_t n = in->deliver; n != in->end; n++)
        ring[n & (cap - 1)] = *slot_at(in, n);
    free(in->ring);
    in->ring = ring;
    in->cap = cap;
}

/* Whether there is memory for a segment. What goes on to the user at once takes none. */
static bool has_memory(const struct ordered_peer *peer, size_t len, bool stays)
{
    const struct ordered_in *in = &peer->in;

    len += ORDERED_SEGMENT_COST;
    if (!stays || in->held + len <= HELD_SHARE)
        return true;
    return in->held + len <= ORDERED_HELD_MAX && peer->owner->held + len <= ORDERED_HELD_ALL_MAX;
}

bool ordered_in_is_newer(const struct ordered_peer *peer, uint32_t time_us)
{
    const struct ordered_in *in = &peer->in;

    return !in->time_at || (int32_t)(time_us - in->time_us) > 0 ||
           ordered_now(peer) - in->time_at >= TIME_OLD_US;
}

/* It says when it was sent, which tells more than when it should have come. */
static void take_time(struct ordered_peer *peer, uint32_t time_us)
{
    struct ordered_in *in = &peer->in;

    if (!ordered_in_is_newer(peer, time_us))
        return;
    in->time_us = time_us;
    in->time_at = in->came = ordered_now(peer);
}

void ordered_in_data(struct ordered_peer *peer, const struct slice *frame,
                     const struct ordered_packet *packet)
{
    struct ordered_in *in = &peer->in;
    uint32_t number = packet->number;
    bool was_gap = in->end != in->next, stays;

    if (packet->len > in->longest)
        in->longest = (uint32_t)packet->len;
    take_time(peer, packet->time_us);
    if (is_before(number, in->next) || !is_before(number, in->deliver + ORDERED_WINDOW)) {
        in->duplicates += is_before(number, in->next);
        plan_ack(peer, false);
        return;
    }
    if (is_before(number, in->end) && slot_at(in, number)->has) {
        in->duplicates++;
        plan_ack(peer, false);
        return;
    }
    stays = number != in->next || pipe_read_budget(&peer->owner->base) == 0;
    if (ordered_is_closing(peer->owner) || !has_memory(peer, packet->len, stays)) {
        in->is_full = true;
        plan_ack(peer, false); /* it is sent again, when there is room */
        return;
    }
    if (!is_before(number, in->end)) {
        make_ring(in, number + 1);
        in->end = number + 1;
    }
    keep(peer, slot_at(in, number), frame, packet, stays);
    in->received++;
    in->unacked++;
    while (in->next != in->end && slot_at(in, in->next)->has)
        in->next++;
    plan_ack(peer, packet->flags & ORDERED_NOW || was_gap != (in->next != in->end));
    ordered_in_deliver(peer);
}

/* --- Life --- */

void ordered_in_init(struct ordered_peer *peer)
{
    peer->in.told_limit = ORDERED_WINDOW;
    timer_init(&peer->in.ack, on_ack, peer);
    defer_init(&peer->in.ack_soon, on_ack, peer);
}

static void clear(struct ordered_peer *peer)
{
    struct ordered_in *in = &peer->in;

    for (uint32_t n = in->deliver; n != in->end; n++)
        if (slot_at(in, n)->has)
            slice_drop(&slot_at(in, n)->data);
    free(in->ring);
    in->ring = NULL;
    in->cap = 0;
    in->next = in->deliver = in->end = 0;
    if (in->partial)
        block_unref(in->partial);
    in->partial = NULL;
    in->partial_len = 0;
    account(peer, 0, in->held);
}

void ordered_in_restart(struct ordered_peer *peer)
{
    struct ordered_in *in = &peer->in;

    clear(peer);
    in->skipping = in->is_full = false;
    in->unacked = in->longest = 0;
    in->told_limit = ORDERED_WINDOW;
    in->came = in->time_at = 0;
}

void ordered_in_free(struct ordered_peer *peer)
{
    timer_cancel(peer->owner->base.loop, &peer->in.ack);
    defer_cancel(peer->owner->base.loop, &peer->in.ack_soon);
    clear(peer);
}
