/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Where peers are. A peer that sends from another address is followed there, if what it sends has
 * the tag and says so: an ACK that asks, or DATA newer than all before. Whoever moves announces
 * itself by such an ACK, until something comes.
 *
 * An ordered pipe may have a spare pipe beside the one below it: another relayed address, at
 * another server. Each side tells the other its addresses ahead of time (a message of the ordered
 * pipe's own, so it comes), and whoever hears of a place sends an ACK there by both pipes, which
 * changes nothing there, but has its servers permit that address. Two timeouts without a
 * confirmation, and the sender asks by every other pair of pipe and place; the other side follows
 * what comes, and asks back, so the first follows its answer. So the death of a server that both
 * sides use costs them some round trips; nobody else has to carry new addresses between them.
 *
 *     A --(S1)--> B         S1 dies     A' --(S2)--> B'      A', B' were known
 *
 * A place is what a peer says, so a peer could name somebody else's. It gets a few short packets,
 * if the server permits it at all: of ORDERED_PLACES places, TOLD_MAX times.
 *
 * Limits: ORDERED_PLACES of a peer; what it tells after TOLD_MAX times is not heard.
 */
#include <string.h>

#include "stun/bytes.h"
#include "stun/ordered_int.h"

#define TOLD_MAX    32
#define PLACE_BYTES (1 + 2 + 16)

static struct ordered *ordered_of(const struct pipe *pipe)
{
    return (struct ordered *)(uintptr_t)pipe; /* base is the first member */
}

/* --- Following --- */

bool ordered_follow(struct ordered_peer *peer, const struct ordered_packet *packet,
                    const struct addr *from, bool by_spare)
{
    struct ordered *o = peer->owner;
    struct addr name = peer->name, now = *from;
    bool elsewhere = !addr_equal(&peer->now, from);

    if (!elsewhere && peer->by_spare == by_spare)
        return false;
    if (packet->type == ORDERED_DATA ? !ordered_in_is_newer(peer, packet->time_us)
                                     : !(packet->flags & ORDERED_ASK))
        return false;
    peer->now = *from;
    peer->by_spare = by_spare;
    ordered_out_moved(peer);
    if (elsewhere && o->events.moved && !(o->base.flags & (PIPE_IS_CLOSING | PIPE_IS_OVER)))
        o->events.moved(&o->base, &name, &now, o->arg);
    return true;
}

/* --- Places --- */

struct addr ordered_local(const struct pipe *pipe)
{
    struct addr addr = {0};

    if (pipe && pipe_is_up(pipe) && pipe_addrs(pipe, &addr, NULL) != 0)
        addr = (struct addr){0};
    return addr;
}

static size_t put_place(uint8_t *bytes, const struct addr *addr)
{
    size_t len = addr->family == AF_INET6 ? 16 : 4;

    if (!addr_is_set(addr))
        return 0;
    bytes[0] = addr->family == AF_INET6 ? 6 : 4;
    put16(bytes + 1, addr->port);
    memcpy(bytes + 3, addr->ip.bytes, len);
    return 3 + len;
}

/* A packet by a pipe to a place, if it is not what is used. */
static void ask_at(struct ordered_peer *peer, struct pipe *way, const struct addr *place,
                   uint8_t flags)
{
    const struct ordered_packet packet = {.type = ORDERED_ACK,
                                          .flags = flags,
                                          .to = peer->theirs,
                                          .number = peer->in.next,
                                          .limit = peer->in.told_limit,
                                          .time_us = peer->in.time_us,
                                          .delay_us = ORDERED_NO_DELAY};

    if (way && !(way == ordered_way(peer) && addr_equal(place, &peer->now)))
        ordered_send(way, place, &packet, NULL, 0);
}

static void ask_by_all(struct ordered_peer *peer, uint8_t flags)
{
    struct ordered *o = peer->owner;

    ask_at(peer, o->below, &peer->now, flags);
    ask_at(peer, o->spare, &peer->now, flags);
    for (unsigned i = 0; i < peer->place_count; i++) {
        if (addr_equal(&peer->places[i], &peer->now))
            continue;
        ask_at(peer, o->below, &peer->places[i], flags);
        ask_at(peer, o->spare, &peer->places[i], flags);
    }
}

void ordered_tell_places(struct ordered_peer *peer)
{
    struct ordered *o = peer->owner;
    uint8_t bytes[2 * PLACE_BYTES];
    struct slice slice;
    size_t len;

    if (!o->spare || !pipe_is_up(o->spare))
        return;
    len = put_place(bytes, &o->local[0]);
    len += put_place(bytes + len, &o->local[1]);
    slice = slice_copy(bytes, len);
    ordered_out_control(peer, &slice);
    ordered_out_pump(peer);
    ask_by_all(peer, 0);
}

void ordered_take_places(struct ordered_peer *peer, const struct slice *data)
{
    const uint8_t *bytes = data->data, *end = bytes + data->len;

    if (peer->told_places++ >= TOLD_MAX)
        return;
    peer->place_count = 0;
    while (end - bytes >= 3 && peer->place_count < ORDERED_PLACES) {
        size_t len = bytes[0] == 6 ? 16 : 4;
        struct addr *place = &peer->places[peer->place_count];

        if ((bytes[0] != 4 && bytes[0] != 6) || (size_t)(end - bytes) < 3 + len)
            break;
        *place = addr_any(len == 16 ? AF_INET6 : AF_INET, get16(bytes + 1));
        memcpy(place->ip.bytes, bytes + 3, len);
        peer->place_count += place->port != 0;
        bytes += 3 + len;
    }
    if (peer->established)
        ask_by_all(peer, 0);
}

void ordered_probe(struct ordered_peer *peer)
{
    if (peer->established)
        ask_by_all(peer, ORDERED_ASK);
}

/* --- Ours --- */

void ordered_drop_spare(struct ordered *o)
{
    struct pipe *spare = o->spare;

    if (!spare)
        return;
    o->spare = NULL;
    pipe_del_listener(spare, &ordered_below_events, o);
    pipe_close(spare);
}

void turn_ordered_add_spare(struct pipe *pipe, struct pipe *spare)
{
    struct ordered *o = ordered_of(pipe);

    ordered_drop_spare(o);
    if (!o->below || pipe_add_listener(spare, &ordered_below_events, o) != 0) {
        pipe_close(spare);
        return;
    }
    o->spare = spare;
    if (pipe_is_up(spare))
        turn_ordered_moved(pipe);
}

void turn_ordered_moved(struct pipe *pipe)
{
    struct ordered *o = ordered_of(pipe);
    struct addr local[2] = {ordered_local(o->below), ordered_local(o->spare)};
    bool changed[2];

    for (int i = 0; i < 2; i++) {
        /* Pipes that do not know their address have moved when it is said. */
        changed[i] = !addr_is_set(&local[i]) ? i == 0 : !addr_equal(&local[i], &o->local[i]);
        o->local[i] = local[i];
    }
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next) {
        if (peer->established)
            ordered_tell_places(peer);
        if (!changed[peer->by_spare && o->spare])
            continue;
        ordered_out_moved(peer);
        peer->hellos = 0;
        if (peer->established || peer->out.first != peer->out.end)
            timer_set_in(pipe->loop, &peer->hello, 0);
    }
}
