/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The pipe. Packets are drawn in ordered_packet.h; ordered_send.c cuts messages into segments and
 * sees that they come, ordered_receive.c puts them in order, ordered_rate.c finds the rate.
 *
 * A peer is known by the address it had first (its name); it may come to send from another, which
 * its packets prove by their tag, and is sent to there from then on (ordered_paths.c). How peers
 * get acquainted and end: ordered_peers.c.
 *
 * Closing waits for the confirmation of everything, or for linger_ms without progress, and says
 * BYE.
 *
 * Ownership: the ordered pipe owns the pipe below and its peers, which are freed by give-up, BYE,
 * and at the end of the pipe. Callbacks may do anything to the pipe, since it is destroyed from the
 * loop only; a peer that a callback is about is freed after it.
 *
 * Limits: TURN_ORDERED_PEERS_MAX peers, and what is written to one more is dropped; a queue of what
 * was written, which those who respect pipe_room() keep at TURN_ORDERED_QUEUE_BYTES, short messages
 * counting ORDERED_SEGMENT_COST more; what was received and not delivered, ORDERED_HELD_MAX bytes
 * of a peer, and of all ORDERED_HELD_ALL_MAX and a share of that for each; and for each peer one
 * message that is being put together.
 */
#include "stun/turn_ordered.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "stun/ordered_int.h"

#define LINGER_MS  10000
#define GIVE_UP_MS 60000
#define BYES       2

static struct ordered *ordered_of(const struct pipe *pipe)
{
    return (struct ordered *)(uintptr_t)pipe; /* base is the first member */
}

/* --- Packets --- */

void ordered_send(struct pipe *below, const struct addr *to, const struct ordered_packet *packet,
                  const void *bytes, size_t len)
{
    struct slice slice;
    size_t head;

    if (!below || !pipe_is_up(below))
        return;
    slice.block = block_new_sized(ORDERED_HEAD_MAX + len);
    slice.data = block_start(slice.block);
    head = ordered_build(slice.data, packet);
    if (len > 0)
        memcpy(slice.data + head, bytes, len);
    slice.len = head + len;
    pipe_write_to(below, &slice, to);
}

void ordered_transmit(struct ordered_peer *peer, const struct ordered_packet *packet,
                      const void *bytes, size_t len)
{
    ordered_send(ordered_way(peer), &peer->now, packet, bytes, len);
}

/* --- Confirmations --- */

/* Nobody has to confirm anything. */
static bool all_confirmed(const struct ordered *o)
{
    for (const struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        if (ordered_has_to_send(peer))
            return false;
    return true;
}

void ordered_finish_if_done(struct ordered *o)
{
    if (all_confirmed(o))
        defer_soon(o->base.loop, &o->finishing);
}

void ordered_shrunk(struct ordered_peer *peer)
{
    struct ordered *o = peer->owner;
    struct addr name = peer->name;
    bool is_news = !ordered_has_to_send(peer) && peer->is_unconfirmed;

    if (is_news)
        peer->is_unconfirmed = false;
    if (ordered_is_closing(o)) {
        ordered_finish_if_done(o);
        return;
    }
    if (is_news && o->events.confirmed)
        o->events.confirmed(&o->base, &name, o->arg);
    if (!ordered_is_closing(o))
        pipe_has_room(&o->base);
}

/* --- The pipe below --- */

static void on_below_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                             void *arg)
{
    struct ordered *o = arg;
    struct ordered_packet packet;
    const struct ordered_from source = {from ? *from : (struct addr){0}, pipe == o->spare};

    if (ordered_parse(data->data, data->len, &packet) <= 0)
        return;
    switch (packet.type) {
    case ORDERED_HELLO:
        ordered_on_hello(o, &packet, &source);
        return;
    case ORDERED_RESET:
        ordered_on_reset(o, packet.to);
        return;
    case ORDERED_DATA:
    case ORDERED_ACK:
    case ORDERED_BYE:
        ordered_on_bonded(o, &packet, data, &source);
        return;
    }
}

static void on_below_up(struct pipe *pipe, void *arg)
{
    struct ordered *o = arg;

    if (pipe == o->spare) {
        turn_ordered_moved(&o->base);
        return;
    }
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        if (ordered_has_to_send(peer))
            timer_set_in(o->base.loop, &peer->hello, 0);
    o->local[0] = ordered_local(pipe);
    pipe_now_up(&o->base);
}

static void on_below_room(struct pipe *pipe, void *arg)
{
    struct ordered *o = arg;

    (void)pipe;
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        ordered_out_pump(peer);
}

static void over(struct ordered *o, int why)
{
    o->below = NULL;
    ordered_drop_spare(o);
    timer_cancel(o->base.loop, &o->closing);
    defer_cancel(o->base.loop, &o->finishing);
    pipe_is_over(&o->base, why);
}

/* Why a pipe that was closed has ended. */
static int why_closed(const struct ordered *o)
{
    bool has_lost = o->has_lost;

    for (const struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        has_lost = has_lost || peer->is_unconfirmed;
    return has_lost && !o->leaves ? -ECONNRESET : 0;
}

static void on_below_end(struct pipe *pipe, int why, void *arg)
{
    struct ordered *o = arg;

    if (pipe == o->spare) {
        o->spare = NULL; /* what remains does without */
        return;
    }
    over(o, ordered_is_closing(o) ? why_closed(o) : why ? why : ADIT_ECLOSED);
}

const struct pipe_events ordered_below_events = {
    .up = on_below_up,
    .message = on_below_message,
    .room = on_below_room,
    .end = on_below_end,
};

/* --- The pipe --- */

static void ordered_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct ordered *o = ordered_of(pipe);
    struct ordered_peer *peer = NULL;

    if (to && addr_is_set(to))
        peer = ordered_get(o, to);
    else if (o->peer_count == 1)
        peer = o->peers;
    if (!peer || data->len > TURN_ORDERED_MESSAGE_MAX) {
        log_warn("event=ordered-message-dropped bytes=%zu reason=\"%s\"", data->len,
                 peer ? "too long" : "no such peer, or too many");
        slice_drop(data);
        return;
    }
    if (peer->ending) { /* too late: told with what else was */
        peer->dropped += data->len;
        peer->is_unconfirmed = true;
        slice_drop(data);
        return;
    }
    ordered_out_write(peer, data);
    if (peer->established)
        ordered_out_pump(peer);
    else if (peer->hellos == 0)
        timer_set_in(pipe->loop, &peer->hello, 0);
}

static size_t ordered_room(const struct pipe *pipe)
{
    const struct ordered *o = ordered_of(pipe);

    return o->cost < TURN_ORDERED_QUEUE_BYTES ? TURN_ORDERED_QUEUE_BYTES - o->cost : 0;
}

static size_t ordered_queued(const struct pipe *pipe)
{
    return ordered_of(pipe)->queued;
}

static void ordered_resume(struct pipe *pipe)
{
    defer_soon(pipe->loop, &ordered_of(pipe)->resuming);
}

static void on_resuming(void *arg)
{
    struct ordered *o = arg;

    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        ordered_in_deliver(peer);
    ordered_drop_ended(o);
}

static void ordered_shutdown(struct pipe *pipe)
{
    (void)pipe; /* messages have no end of file: nothing more is sent, that is all */
}

/* All has gone that a closing pipe waits for: says good-bye. */
static void on_finishing(void *arg)
{
    struct ordered *o = arg;
    struct pipe *below = o->below;

    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next) {
        const struct ordered_packet bye = {.type = ORDERED_BYE, .to = ordered_bond_of(peer)};

        if (!peer->established)
            continue;
        if (peer->in.unacked > 0)
            ordered_in_ack(peer, 0);
        for (int i = 0; i < BYES; i++)
            ordered_transmit(peer, &bye, NULL, 0);
    }
    o->has_lost = why_closed(o) != 0;
    while (o->peers)
        ordered_free_peer(o->peers);
    timer_cancel(o->base.loop, &o->closing);
    ordered_drop_spare(o);
    if (below)
        pipe_close(below);
}

static void on_closing(void *arg)
{
    struct ordered *o = arg;

    if (o->confirmed == o->last_confirmed) {
        on_finishing(o);
        return;
    }
    o->last_confirmed = o->confirmed;
    timer_set_in(o->base.loop, &o->closing, o->linger_ms * MS_US);
}

static void ordered_close(struct pipe *pipe, int why)
{
    struct ordered *o = ordered_of(pipe);
    struct pipe *below = o->below;

    if (why) {
        if (below) {
            pipe_del_listener(below, &ordered_below_events, o);
            pipe_abort(below, why);
        }
        over(o, why);
        return;
    }
    o->last_confirmed = o->confirmed;
    timer_set_in(pipe->loop, &o->closing, o->linger_ms * MS_US);
    if (all_confirmed(o))
        defer_soon(pipe->loop, &o->finishing);
}

void turn_ordered_leave(struct pipe *pipe)
{
    struct ordered *o = ordered_of(pipe);

    o->leaves = true;
    pipe_close(pipe);
    if (!(pipe->flags & PIPE_IS_OVER))
        defer_soon(pipe->loop, &o->finishing);
}

static int ordered_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    const struct ordered *o = ordered_of(pipe);

    return o->below ? pipe_addrs(o->below, local, remote) : -ENOTCONN;
}

static void ordered_destroy(struct pipe *pipe)
{
    struct ordered *o = ordered_of(pipe);

    while (o->peers)
        ordered_free_peer(o->peers);
    defer_cancel(pipe->loop, &o->resuming);
    free(o);
}

static const struct pipe_ops ordered_ops = {
    .kind = "ordered",
    .messages = true,
    .write = ordered_write,
    .room = ordered_room,
    .queued = ordered_queued,
    .resume = ordered_resume,
    .shutdown = ordered_shutdown,
    .close = ordered_close,
    .addrs = ordered_addrs,
    .destroy = ordered_destroy,
};

/* --- For users --- */

static uint16_t packet_max(const struct turn_ordered_options *options)
{
    if (options->packet_max == 0)
        return ORDERED_PACKET;
    if (options->packet_max < ORDERED_PACKET_MIN)
        return ORDERED_PACKET_MIN;
    return options->packet_max > ORDERED_PACKET_LONG ? ORDERED_PACKET_LONG : options->packet_max;
}

struct pipe *turn_ordered_open(struct pipe *below, const struct turn_ordered_options *options)
{
    static const struct turn_ordered_options defaults = {0};
    struct ordered *o = calloc(1, sizeof(*o));

    if (!o)
        return NULL;
    if (!options)
        options = &defaults;
    pipe_init(&o->base, &ordered_ops, below->loop);
    if (pipe_add_listener(below, &ordered_below_events, o) != 0) {
        free(o);
        return NULL;
    }
    o->below = below;
    o->packet_max = packet_max(options);
    o->linger_ms = options->linger_ms ? options->linger_ms : LINGER_MS;
    o->give_up_ms = options->give_up_ms ? options->give_up_ms : GIVE_UP_MS;
    o->rate_max = options->rate_max;
    timer_init(&o->closing, on_closing, o);
    defer_init(&o->finishing, on_finishing, o);
    defer_init(&o->resuming, on_resuming, o);
    o->local[0] = ordered_local(below);
    if (pipe_is_up(below))
        pipe_up_soon(&o->base);
    return &o->base;
}

struct pipe *turn_ordered_below(const struct pipe *pipe)
{
    return ordered_of(pipe)->below;
}

void turn_ordered_set_events(struct pipe *pipe, const struct turn_ordered_events *events, void *arg)
{
    ordered_of(pipe)->events = events ? *events : (struct turn_ordered_events){0};
    ordered_of(pipe)->arg = arg;
}

int turn_ordered_redirect(struct pipe *pipe, const struct addr *peer, const struct addr *now)
{
    struct ordered_peer *known = ordered_find(ordered_of(pipe), peer);

    if (!known)
        return -ENOENT;
    known->now = *now;
    ordered_out_moved(known);
    known->hellos = 0;
    if (known->established || ordered_has_to_send(known))
        timer_set_in(pipe->loop, &known->hello, 0);
    return 0;
}

int turn_ordered_status(const struct pipe *pipe, const struct addr *peer,
                        struct turn_ordered_status *status)
{
    const struct ordered_peer *known = ordered_find(ordered_of(pipe), peer);

    if (!known)
        return -ENOENT;
    *status = (struct turn_ordered_status){
        .rtt_us = known->out.rate.srtt_us,
        .rtt_min_us = known->out.rate.min_rtt_us,
        .rate = ordered_rate_estimate(&known->out.rate),
        .sent = known->out.total,
        .resent = known->out.resent,
        .received = known->in.received,
        .duplicates = known->in.duplicates,
        .bytes_confirmed = known->out.confirmed,
        .queued = known->out.bytes,
    };
    return 0;
}
