/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A pair is two ends and two wires, one each way. A wire is a queue of items (data, or the sender's
 * finish, close or reset), each with the time at which it arrives: after what was written before it
 * has been sent at `rate`, and `delay_us` later. A timer wakes the wire for its first item. What
 * has arrived is delivered as far as the receiver's budget goes; an item of up to BLOCK_BYTES stays
 * whole, as a TLS record does.
 *
 * Time: on a virtual loop an item takes at least a microsecond, so that two ends answering each
 * other for ever still let time pass; on a real loop it is delivered in the next turn at the
 * earliest, so that they let others run.
 *
 * Cut: a cut wire delivers nothing. Streams lose nothing: after the cut everything arrives as much
 * later as it lasted. Message pairs lose what is in flight and what is sent meanwhile.
 *
 * End: the closing end is over at once; what it wrote still arrives, then its eof, then the other's
 * end (0). A reset discards both directions and ends the other with -ECONNRESET, paused or not.
 * Both directions finished is an end too.
 *
 * Limits: `buffer` bytes a wire, then pipe_room() is 0; streams take more if the caller insists,
 * message pairs drop what is sent beyond it and beyond MESSAGES_MAX messages. Both ends' memory
 * lives until each end is over.
 */
#include "pipe/pair.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_DEFAULT_BYTES ((size_t)256 * 1024)
#define TURN_BYTES           ((size_t)512 * 1024)
#define MESSAGES_MAX         4096
#define RING_MIN             4
#define SECRET_WORDS         4

enum item_kind { ITEM_DATA, ITEM_EOF, ITEM_CLOSE, ITEM_RESET };

struct item {
    struct slice data;
    uint64_t due;
    enum item_kind kind;
};

struct wire {
    struct pair *pair;
    int side; /* of the sender */
    struct item *ring;
    uint32_t cap, head, count;
    size_t bytes;
    uint64_t free_at; /* when the line has sent everything written so far */
    bool blocked;     /* something has arrived that the receiver does not take */
    struct timer timer;
    struct defer work;
};

struct pair_end {
    struct pipe base;
    struct pair *pair;
    int side;
};

struct pair {
    struct loop *loop;
    struct pair_options options;
    struct pair_end *ends[2]; /* NULL: destroyed */
    struct wire wires[2];     /* wires[i] leads from ends[i] to the other */
    bool cut;
    uint64_t cut_at;
    uint64_t secret[SECRET_WORDS];
};

static struct pair_end *end_of(const struct pipe *pipe)
{
    return (struct pair_end *)(uintptr_t)pipe; /* base is the first member */
}

static struct wire *wire_out(const struct pipe *pipe)
{
    const struct pair_end *end = end_of(pipe);

    return &end->pair->wires[end->side];
}

static struct wire *wire_in(const struct pipe *pipe)
{
    const struct pair_end *end = end_of(pipe);

    return &end->pair->wires[1 - end->side];
}

static struct addr side_addr(int side)
{
    return addr_loopback(AF_INET, (uint16_t)(side + 1));
}

/* --- The queue of a wire --- */

static struct item *wire_first(const struct wire *wire)
{
    return wire->count ? &wire->ring[wire->head] : NULL;
}

static void wire_push(struct wire *wire, enum item_kind kind, struct slice *data, uint64_t due)
{
    if (wire->count == wire->cap) {
        uint32_t cap = wire->cap ? wire->cap * 2 : RING_MIN;
        struct item *ring = malloc(cap * sizeof(*ring));

        if (!ring)
            abort();
        for (uint32_t i = 0; i < wire->count; i++)
            ring[i] = wire->ring[(wire->head + i) & (wire->cap - 1)];
        free(wire->ring);
        wire->ring = ring;
        wire->cap = cap;
        wire->head = 0;
    }
    struct item *item = &wire->ring[(wire->head + wire->count++) & (wire->cap - 1)];
    *item = (struct item){.due = due, .kind = kind};
    if (data) {
        item->data = *data;
        wire->bytes += data->len;
        *data = (struct slice){NULL, NULL, 0};
    }
}

/* Takes the first item off; its slice is the caller's. */
static struct slice wire_pop(struct wire *wire)
{
    struct slice data = wire_first(wire)->data;

    wire->bytes -= data.len;
    wire->head = (wire->head + 1) & (wire->cap - 1);
    wire->count--;
    return data;
}

static void wire_clear(struct wire *wire)
{
    while (wire->count) {
        struct slice data = wire_pop(wire);
        slice_drop(&data);
    }
    free(wire->ring);
    wire->ring = NULL;
    wire->cap = wire->head = 0;
    timer_cancel(wire->pair->loop, &wire->timer);
    defer_cancel(wire->pair->loop, &wire->work);
}

static void wire_drop_data(struct wire *wire)
{
    uint32_t count = wire->count;

    for (uint32_t i = 0; i < count; i++) {
        struct item item = *wire_first(wire);
        struct slice data = wire_pop(wire);

        if (item.kind == ITEM_DATA)
            slice_drop(&data);
        else
            wire_push(wire, item.kind, NULL, item.due);
    }
}

/* --- Time --- */

static void wire_schedule(struct wire *wire)
{
    struct loop *loop = wire->pair->loop;
    const struct item *first = wire_first(wire);

    if (!first || wire->pair->cut) {
        timer_cancel(loop, &wire->timer);
    } else if (first->due <= loop_now(loop)) {
        defer_next(loop, &wire->work);
    } else {
        timer_set(loop, &wire->timer, first->due);
    }
}

/* Puts an item on the line behind what is there. Time stands still on a cut wire. */
static void wire_send(struct wire *wire, enum item_kind kind, struct slice *data)
{
    const struct pair_options *options = &wire->pair->options;
    uint64_t now = wire->pair->cut ? wire->pair->cut_at : loop_now(wire->pair->loop);
    bool first = wire->count == 0;
    uint64_t due;

    if (wire->free_at < now)
        wire->free_at = now;
    if (data && options->rate)
        wire->free_at += data->len * SEC_US / options->rate;
    due = wire->free_at + options->delay_us;
    if (due == now && loop_is_virtual(wire->pair->loop))
        due++;
    wire_push(wire, kind, data, due);
    if (first)
        wire_schedule(wire);
}

/* --- Delivery --- */

static void wire_deliver_data(struct wire *wire, struct pipe *to, size_t budget)
{
    struct item *item = wire_first(wire);
    struct addr from = side_addr(wire->side);
    struct slice data;

    if (wire->pair->options.messages || item->data.len <= BLOCK_BYTES || item->data.len <= budget) {
        data = wire_pop(wire);
    } else {
        data = slice_part(&item->data, 0, budget);
        item->data.data += budget;
        item->data.len -= budget;
        wire->bytes -= budget;
    }
    pipe_deliver(to, &data, wire->pair->options.messages ? &from : NULL);
}

static void wire_deliver_control(struct wire *wire, struct pipe *to)
{
    enum item_kind kind = wire_first(wire)->kind;

    wire_pop(wire);
    switch (kind) {
    case ITEM_DATA:
        break;
    case ITEM_EOF:
        pipe_got_eof(to);
        if (to->flags & PIPE_SENT_EOF)
            pipe_is_over(to, 0);
        break;
    case ITEM_CLOSE:
        pipe_is_over(to, 0);
        break;
    case ITEM_RESET:
        pipe_is_over(to, -ECONNRESET);
        break;
    }
}

static bool is_alive(const struct pair_end *end)
{
    return end && !(end->base.flags & PIPE_IS_OVER);
}

static void on_wire(void *arg)
{
    struct wire *wire = arg;
    struct pair *pair = wire->pair;
    struct pair_end *from = pair->ends[wire->side], *to = pair->ends[1 - wire->side];
    size_t before = wire->bytes, turn = 0;
    const struct item *item;

    wire->blocked = false;
    while (!pair->cut && is_alive(to) && (item = wire_first(wire)) &&
           item->due <= loop_now(pair->loop)) {
        size_t budget = pipe_read_budget(&to->base);

        if (budget == 0 && item->kind != ITEM_RESET) {
            wire->blocked = true;
            break;
        }
        if (turn >= TURN_BYTES)
            break;
        turn += item->data.len;
        if (item->kind == ITEM_DATA)
            wire_deliver_data(wire, &to->base, budget);
        else
            wire_deliver_control(wire, &to->base);
    }
    if (!is_alive(to))
        wire_clear(wire);
    if (!wire->blocked)
        wire_schedule(wire);
    if (wire->bytes < before && is_alive(from))
        pipe_has_room(&from->base);
}

/* --- The pipe --- */

static void pair_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct wire *wire = wire_out(pipe);
    struct pair *pair = wire->pair;

    (void)to;
    if (!is_alive(pair->ends[1 - wire->side])) {
        slice_drop(data);
    } else if (pair->options.messages) {
        if (pair->cut || wire->bytes >= pair->options.buffer || wire->count >= MESSAGES_MAX)
            slice_drop(data);
        else
            wire_send(wire, ITEM_DATA, data);
    } else {
        while (pair->options.rate &&
               data->len > BLOCK_BYTES) { /* a long write arrives bit by bit */
            struct slice part = slice_part(data, 0, BLOCK_BYTES);
            data->data += BLOCK_BYTES;
            data->len -= BLOCK_BYTES;
            wire_send(wire, ITEM_DATA, &part);
        }
        if (data->len > 0)
            wire_send(wire, ITEM_DATA, data);
        else
            slice_drop(data);
    }
}

static size_t pair_room(const struct pipe *pipe)
{
    const struct wire *wire = wire_out(pipe);
    size_t buffer = wire->pair->options.buffer;

    return wire->bytes < buffer ? buffer - wire->bytes : 0;
}

/* What has not left this end: all when nothing moves, else what the rate holds back. */
static size_t pair_queued(const struct pipe *pipe)
{
    const struct wire *wire = wire_out(pipe);
    const struct pair *pair = wire->pair;
    uint64_t now = loop_now(pair->loop), back;

    if (pair->cut || wire->blocked)
        return wire->bytes;
    if (!pair->options.rate || wire->free_at <= now)
        return 0;
    back = (wire->free_at - now) * pair->options.rate / SEC_US;
    return back < wire->bytes ? (size_t)back : wire->bytes;
}

static void pair_resume(struct pipe *pipe)
{
    wire_schedule(wire_in(pipe));
}

static void pair_shutdown(struct pipe *pipe)
{
    if (is_alive(end_of(pipe)->pair->ends[1 - end_of(pipe)->side]))
        wire_send(wire_out(pipe), ITEM_EOF, NULL);
    if (pipe->flags & PIPE_GOT_EOF)
        pipe_is_over(pipe, 0);
}

static void pair_close(struct pipe *pipe, int why)
{
    struct wire *out = wire_out(pipe);

    wire_clear(wire_in(pipe));
    if (is_alive(out->pair->ends[1 - out->side])) {
        if (why) {
            wire_clear(out);
            out->free_at = 0; /* what it waited behind is gone */
            wire_send(out, ITEM_RESET, NULL);
        } else {
            if (!(pipe->flags & PIPE_SENT_EOF))
                wire_send(out, ITEM_EOF, NULL);
            wire_send(out, ITEM_CLOSE, NULL);
        }
    }
    pipe_is_over(pipe, why);
}

static int pair_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    if (local)
        *local = side_addr(end_of(pipe)->side);
    if (remote)
        *remote = side_addr(1 - end_of(pipe)->side);
    return 0;
}

static uint64_t mix(uint64_t state, uint64_t word)
{
    uint64_t z = (state ^ word) + UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t mix_bytes(uint64_t state, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < len; i++)
        state = mix(state, at[i]);
    return mix(state, len);
}

/* Not cryptography: both ends are in this process. It only has to be equal at both, and different
 * for another pair, label or context. */
static int pair_exporter(struct pipe *pipe, const char *label, const void *context,
                         size_t context_len, void *out, size_t len)
{
    const struct pair *pair = end_of(pipe)->pair;
    uint8_t *to = out;
    uint64_t state = 0;

    for (int i = 0; i < SECRET_WORDS; i++)
        state = mix(state, pair->secret[i]);
    state = mix_bytes(state, label, strlen(label));
    state = mix_bytes(state, context, context_len);
    for (size_t done = 0; done < len; done += sizeof(state)) {
        size_t part = len - done < sizeof(state) ? len - done : sizeof(state);

        state = mix(state, done);
        memcpy(to + done, &state, part);
    }
    return 0;
}

static void pair_destroy(struct pipe *pipe)
{
    struct pair_end *end = end_of(pipe);
    struct pair *pair = end->pair;

    wire_clear(&pair->wires[1 - end->side]);
    pair->ends[end->side] = NULL;
    free(end);
    if (pair->ends[0] || pair->ends[1])
        return;
    wire_clear(&pair->wires[0]);
    wire_clear(&pair->wires[1]);
    free(pair);
}

#define PAIR_OPS(keeps_messages)                                                              \
    {                                                                                         \
        .kind = "pair", .messages = (keeps_messages), .write = pair_write, .room = pair_room, \
        .queued = pair_queued, .resume = pair_resume, .shutdown = pair_shutdown,              \
        .close = pair_close, .addrs = pair_addrs, .exporter = pair_exporter,                  \
        .destroy = pair_destroy                                                               \
    }

static const struct pipe_ops stream_ops = PAIR_OPS(false);
static const struct pipe_ops message_ops = PAIR_OPS(true);

int pair_new(struct loop *loop, const struct pair_options *options, struct pipe *ends[2])
{
    struct pair *pair = calloc(1, sizeof(*pair));
    struct pair_end *made[2] = {calloc(1, sizeof(struct pair_end)),
                                calloc(1, sizeof(struct pair_end))};

    if (!pair || !made[0] || !made[1]) {
        free(pair);
        free(made[0]);
        free(made[1]);
        return -ENOMEM;
    }
    pair->loop = loop;
    if (options)
        pair->options = *options;
    if (!pair->options.buffer)
        pair->options.buffer = BUFFER_DEFAULT_BYTES;
    loop_random(loop, pair->secret, sizeof(pair->secret));
    for (int i = 0; i < 2; i++) {
        struct wire *wire = &pair->wires[i];

        pipe_init(&made[i]->base, pair->options.messages ? &message_ops : &stream_ops, loop);
        made[i]->base.flags |= PIPE_IS_UP;
        made[i]->pair = pair;
        made[i]->side = i;
        pair->ends[i] = made[i];
        ends[i] = &made[i]->base;
        wire->pair = pair;
        wire->side = i;
        timer_init(&wire->timer, on_wire, wire);
        defer_init(&wire->work, on_wire, wire);
    }
    return 0;
}

void pair_cut(struct pipe *end, bool cut)
{
    struct pair *pair = end_of(end)->pair;
    uint64_t now = loop_now(pair->loop);

    if (pair->cut == cut)
        return;
    pair->cut = cut;
    if (cut)
        pair->cut_at = now;
    for (int i = 0; i < 2; i++) {
        struct wire *wire = &pair->wires[i];
        uint64_t lasted = now - pair->cut_at;

        if (cut && pair->options.messages)
            wire_drop_data(wire);
        for (uint32_t k = 0; !cut && k < wire->count; k++)
            wire->ring[(wire->head + k) & (wire->cap - 1)].due += lasted;
        if (!cut && wire->free_at > pair->cut_at)
            wire->free_at += lasted;
        wire_schedule(wire);
    }
}
