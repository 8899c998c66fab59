/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Peers, and the pipe. Packets are drawn in ordered_packet.h; ordered_send.c cuts messages into
 * segments and sees that they come, ordered_receive.c puts them in order, ordered_rate.c finds the
 * rate.
 *
 * Acquaintance. Each side has a random tag for each incarnation of a peer, and learns the other's:
 *
 *     A: HELLO(a, 0, ask) ->      <- B: HELLO(b, a, ask)      A: HELLO(b known) or DATA(b) ->
 *
 * Who names my tag has heard me, so an old packet that comes late, or one of somebody who only
 * pretends to be at that address, changes nothing: another incarnation (a peer that was started
 * again) has to name a fresh tag before the old one is forgotten. Then what the old one has not
 * confirmed goes to the new one, from the beginning of a message. Whoever gets a tag that he does
 * not know says RESET, and the other introduces himself again.
 *
 * A peer is known by the address it had first (its name); it may come to send from another, which
 * its packets prove by their tag, and is sent to there from then on (ordered_paths.c).
 *
 * Ends: a peer that confirms nothing for give_up_ms is given up; one that says BYE is gone. Closing
 * waits for the confirmation of everything, or for linger_ms without progress, and says BYE.
 *
 * Ownership: the ordered pipe owns the pipe below and its peers, which are freed by give-up, BYE,
 * and at the end of the pipe. Callbacks may do anything to the pipe, since it is destroyed from the
 * loop only; a peer that a callback is about is freed after it.
 *
 * Limits: TURN_ORDERED_PEERS_MAX peers (one more takes the place of the first who has introduced
 * himself and no more, or of whoever has said nothing for give_up_ms; else it is not answered, and
 * written to in vain); a queue of what was written, which those who respect pipe_room() keep at
 * TURN_ORDERED_QUEUE_BYTES, short messages counting ORDERED_SEGMENT_COST more; what was received
 * and not delivered, ORDERED_HELD_MAX bytes of a peer, and of all ORDERED_HELD_ALL_MAX and a share
 * of that for each; and for each peer one message that is being put together.
 */
#include "stun/turn_ordered.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "stun/ordered_int.h"

#define HELLO_FIRST_US (100 * MS_US)
#define HELLO_MAX_US   (1 * SEC_US)
#define STRANGER_US    (10 * SEC_US) /* that an introduction without consequence is remembered */
#define LINGER_MS      10000
#define GIVE_UP_MS     60000
#define BYES           2
#define ANNOUNCEMENTS  6 /* of a new address, until something comes */

static void free_peer(struct ordered_peer *peer);
static void drop_peer(struct ordered_peer *peer);

static struct ordered *ordered_of(const struct pipe *pipe)
{
    return (struct ordered *)(uintptr_t)pipe; /* base is the first member */
}

static bool is_closing(const struct ordered *o)
{
    return o->base.flags & (PIPE_IS_CLOSING | PIPE_IS_OVER);
}

/* --- Packets --- */

void ordered_send(struct pipe *below, const struct addr *to, const struct ordered_packet *packet,
                  const void *bytes, size_t len)
{
    struct slice slice;
    size_t head;

    if (!below || !pipe_is_up(below))
        return;
    slice.block = block_new_sized(ORDERED_ACK_BYTES + len);
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

static void send_hello(struct ordered_peer *peer, uint64_t mine, uint64_t theirs, bool ask)
{
    const struct ordered_packet packet = {
        .type = ORDERED_HELLO, .flags = ask ? ORDERED_ASK : 0, .from = mine, .to = theirs};

    ordered_transmit(peer, &packet, NULL, 0);
}

static uint64_t new_tag(struct ordered *o)
{
    uint64_t tag;

    do {
        tag = loop_random64(o->base.loop);
    } while (tag == 0);
    return tag;
}

/* --- Peers --- */

static struct ordered_peer *find_by_addr(const struct ordered *o, const struct addr *addr)
{
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        if (addr_equal(&peer->name, addr))
            return peer;
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        if (addr_equal(&peer->now, addr))
            return peer;
    return NULL;
}

static struct ordered_peer *find_by_tag(const struct ordered *o, uint64_t tag)
{
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        if (tag && (peer->mine == tag || peer->next_mine == tag))
            return peer;
    return NULL;
}

static bool has_to_send(const struct ordered_peer *peer)
{
    return peer->out.first != peer->out.end;
}

/* Has introduced himself, and no more: that may be said with anybody's address. */
static bool is_stranger(const struct ordered_peer *peer)
{
    return !peer->was_established && !has_to_send(peer);
}

/* Introduces us, again and again, to a peer that we have something for, or announces our new
 * address to one that knows us; forgets one that only introduced itself. */
static void on_hello_due(void *arg)
{
    struct ordered_peer *peer = arg;
    uint64_t wait = HELLO_FIRST_US << (peer->hellos < 4 ? peer->hellos : 4);

    if (peer->established) {
        if (peer->hellos++ < ANNOUNCEMENTS) {
            timer_set_in(peer->owner->base.loop, &peer->hello, wait);
            ordered_in_ack(peer, ORDERED_ASK);
        }
        return;
    }
    if (is_stranger(peer)) {
        free_peer(peer);
        return;
    }
    if (ordered_now(peer) - peer->out.progress >= peer->owner->give_up_ms * MS_US) {
        drop_peer(peer);
        return;
    }
    peer->hellos++;
    timer_set_in(peer->owner->base.loop, &peer->hello, wait < HELLO_MAX_US ? wait : HELLO_MAX_US);
    send_hello(peer, peer->mine, 0, true);
}

/* Nobody has to confirm anything. */
static bool all_confirmed(const struct ordered *o)
{
    for (const struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        if (has_to_send(peer))
            return false;
    return true;
}

static struct ordered_peer *new_peer(struct ordered *o, const struct addr *addr)
{
    struct ordered_peer *peer;

    if (o->peer_count >= TURN_ORDERED_PEERS_MAX || !(peer = calloc(1, sizeof(*peer))))
        return NULL;
    peer->owner = o;
    peer->name = peer->now = *addr;
    peer->mine = new_tag(o);
    peer->heard = loop_now(o->base.loop);
    timer_init(&peer->hello, on_hello_due, peer);
    ordered_out_init(peer);
    ordered_in_init(peer);
    peer->next = o->peers;
    o->peers = peer;
    o->peer_count++;
    return peer;
}

static void free_peer(struct ordered_peer *peer)
{
    struct ordered *o = peer->owner;
    struct ordered_peer **at = &o->peers;

    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    o->peer_count--;
    timer_cancel(o->base.loop, &peer->hello);
    ordered_out_free(peer);
    ordered_in_free(peer);
    free(peer);
}

static void tell_room(struct ordered *o)
{
    if (!is_closing(o))
        pipe_has_room(&o->base);
}

static void drop_peer(struct ordered_peer *peer)
{
    struct ordered *o = peer->owner;
    struct addr name = peer->name;
    size_t bytes = peer->out.bytes;

    free_peer(peer);
    if (is_closing(o)) {
        if (all_confirmed(o))
            defer_soon(o->base.loop, &o->finishing);
        return;
    }
    if (o->events.lost)
        o->events.lost(&o->base, &name, bytes, o->arg);
    tell_room(o);
}

/* Makes room for another peer: of strangers the first goes, so that they cannot keep others out;
 * else whoever vanished without a word has said nothing for longest, and waits for nothing of ours.
 * If it is there after all, it introduces itself again. */
static void make_room(struct ordered *o)
{
    struct ordered_peer *idlest = NULL, *stranger = NULL;

    if (o->peer_count < TURN_ORDERED_PEERS_MAX)
        return;
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next) {
        if (is_stranger(peer) && (!stranger || peer->heard <= stranger->heard))
            stranger = peer;
        if (peer->established && !has_to_send(peer) && (!idlest || peer->heard < idlest->heard))
            idlest = peer;
    }
    if (stranger)
        free_peer(stranger);
    else if (idlest && ordered_now(idlest) - idlest->heard >= o->give_up_ms * MS_US)
        drop_peer(idlest);
}

void ordered_give_up(struct ordered_peer *peer)
{
    drop_peer(peer);
}

void ordered_shrunk(struct ordered_peer *peer)
{
    struct ordered *o = peer->owner;
    struct addr name = peer->name;

    if (is_closing(o)) {
        if (all_confirmed(o))
            defer_soon(o->base.loop, &o->finishing);
        return;
    }
    if (peer->out.first == peer->out.end && !peer->confirmed_told) {
        peer->confirmed_told = true;
        if (o->events.confirmed)
            o->events.confirmed(&o->base, &name, o->arg);
    }
    tell_room(o);
}

/* The two have heard each other. */
static void establish(struct ordered_peer *peer, uint64_t theirs)
{
    struct ordered *o = peer->owner;
    bool again = peer->was_established, other = peer->theirs != theirs;
    struct addr name = peer->name;

    timer_cancel(o->base.loop, &peer->hello);
    peer->theirs = theirs;
    peer->next_mine = peer->next_theirs = 0;
    peer->established = peer->was_established = true;
    peer->hellos = 0;
    if (again && other) {
        ordered_in_restart(peer);
        ordered_out_restart(peer);
    }
    peer->out.progress = ordered_now(peer);
    if ((!again || other) && o->events.joined && !is_closing(o))
        o->events.joined(&o->base, &name, again, o->arg);
    ordered_tell_places(peer);
    ordered_out_pump(peer);
}

/* The other incarnation has proven itself. */
static void accept_next(struct ordered_peer *peer)
{
    uint64_t theirs = peer->next_theirs;

    peer->mine = peer->next_mine;
    establish(peer, theirs);
}

/* The peer does not know us any more: from the beginning. */
static void introduce_again(struct ordered_peer *peer)
{
    struct ordered *o = peer->owner;

    peer->established = false;
    peer->theirs = 0;
    peer->mine = new_tag(o);
    peer->hellos = 0;
    peer->out.progress = ordered_now(peer);
    timer_cancel(o->base.loop, &peer->out.timeout);
    timer_cancel(o->base.loop, &peer->out.pace);
    timer_set_in(o->base.loop, &peer->hello, 0);
}

/* --- What comes --- */

/* Somebody introduces himself, and does not name a tag of ours: he is asked to. */
static void on_introduction(struct ordered *o, uint64_t theirs, const struct addr *from,
                            bool by_spare)
{
    struct ordered_peer *peer = find_by_addr(o, from);

    if (!peer) {
        make_room(o);
        if (is_closing(o) || !(peer = new_peer(o, from)))
            return;
        peer->by_spare = by_spare;
        timer_set_in(o->base.loop, &peer->hello, STRANGER_US);
    }
    if (peer->established && peer->theirs == theirs) {
        send_hello(peer, peer->mine, theirs, false);
        return;
    }
    if (!peer->established)
        peer->next_mine = peer->mine;
    else if (peer->next_theirs != theirs)
        peer->next_mine = new_tag(o);
    peer->next_theirs = theirs;
    send_hello(peer, peer->next_mine, theirs, true);
}

static void on_hello(struct ordered *o, const struct ordered_packet *packet,
                     const struct addr *from, bool by_spare)
{
    struct ordered_peer *peer = find_by_tag(o, packet->to);
    bool asks = packet->flags & ORDERED_ASK;

    if (!peer) {
        if (asks)
            on_introduction(o, packet->from, from, by_spare);
        return;
    }
    if (peer->established && packet->to == peer->mine) {
        if (packet->from != peer->theirs)
            return; /* who knew my tag had another: a packet of long ago */
    } else if (packet->to == peer->mine) {
        establish(peer, packet->from);
    } else if (packet->from == peer->next_theirs) {
        accept_next(peer);
    } else {
        return;
    }
    if (asks)
        send_hello(peer, peer->mine, peer->theirs, false);
}

static void on_reset(struct ordered *o, uint64_t tag)
{
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next) {
        if (!peer->established || peer->theirs != tag)
            continue;
        introduce_again(peer);
        return;
    }
}

/* DATA, ACK and BYE: of somebody who knows my tag. */
static void on_tagged(struct ordered *o, const struct ordered_packet *packet,
                      const struct slice *frame, const struct addr *from, bool by_spare)
{
    struct ordered_peer *peer = find_by_tag(o, packet->to);
    bool moved;
    const struct ordered_packet reset = {.type = ORDERED_RESET, .to = packet->to};

    if (!peer) {
        if (packet->type != ORDERED_BYE)
            ordered_send(by_spare ? o->spare : o->below, from, &reset, NULL, 0);
        return;
    }
    if (!peer->established || packet->to != peer->mine) {
        if (packet->to != peer->next_mine || !peer->next_theirs)
            return;
        accept_next(peer);
    }
    if (packet->type == ORDERED_BYE) {
        drop_peer(peer);
        return;
    }
    peer->heard = ordered_now(peer);
    if (peer->established)
        timer_cancel(o->base.loop, &peer->hello);
    moved = ordered_follow(peer, packet, from, by_spare);
    if (packet->type == ORDERED_DATA) {
        ordered_in_data(peer, frame, packet);
        return;
    }
    ordered_out_ack(peer, packet);
    if (packet->flags & ORDERED_ASK && o->below)
        ordered_in_ack(peer, moved ? ORDERED_ASK : 0); /* then it may follow, too */
}

static void on_below_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                             void *arg)
{
    struct ordered *o = arg;
    struct ordered_packet packet;
    struct addr source = from ? *from : (struct addr){0};
    bool by_spare = pipe == o->spare;

    if (ordered_parse(data->data, data->len, &packet) <= 0)
        return;
    switch (packet.type) {
    case ORDERED_HELLO:
        on_hello(o, &packet, &source, by_spare);
        return;
    case ORDERED_RESET:
        on_reset(o, packet.to);
        return;
    case ORDERED_DATA:
    case ORDERED_ACK:
    case ORDERED_BYE:
        on_tagged(o, &packet, data, &source, by_spare);
        return;
    }
}

/* --- The pipe below --- */

static void on_below_up(struct pipe *pipe, void *arg)
{
    struct ordered *o = arg;

    if (pipe == o->spare) {
        turn_ordered_moved(&o->base);
        return;
    }
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        if (has_to_send(peer))
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

static void on_below_end(struct pipe *pipe, int why, void *arg)
{
    struct ordered *o = arg;

    if (pipe == o->spare) {
        o->spare = NULL; /* what remains does without */
        return;
    }
    over(o, is_closing(o) ? 0 : why ? why : ADIT_ECLOSED);
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
        peer = find_by_addr(o, to);
    else if (o->peer_count == 1)
        peer = o->peers;
    if (!peer && to && addr_is_set(to)) {
        make_room(o);
        peer = new_peer(o, to);
    }
    if (!peer || data->len > TURN_ORDERED_MESSAGE_MAX) {
        log_warn("event=ordered-message-dropped bytes=%zu reason=\"%s\"", data->len,
                 peer ? "too long" : "no such peer, or too many");
        slice_drop(data);
        return;
    }
    if (!has_to_send(peer))
        peer->out.progress = ordered_now(peer);
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
        const struct ordered_packet bye = {.type = ORDERED_BYE, .to = peer->theirs};

        if (!peer->established)
            continue;
        if (peer->in.unacked > 0)
            ordered_in_ack(peer, 0);
        for (int i = 0; i < BYES; i++)
            ordered_transmit(peer, &bye, NULL, 0);
    }
    while (o->peers)
        free_peer(o->peers);
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
        free_peer(o->peers);
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
    struct ordered_peer *known = find_by_addr(ordered_of(pipe), peer);

    if (!known)
        return -ENOENT;
    known->now = *now;
    ordered_out_moved(known);
    known->hellos = 0;
    if (known->established || has_to_send(known))
        timer_set_in(pipe->loop, &known->hello, 0);
    return 0;
}

int turn_ordered_status(const struct pipe *pipe, const struct addr *peer,
                        struct turn_ordered_status *status)
{
    const struct ordered_peer *known = find_by_addr(ordered_of(pipe), peer);

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
