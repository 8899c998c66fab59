/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Where peers are. A peer that sends from another address is followed there, if what it sends has
 * the bond and says so: an ACK that asks; or DATA newer than all before, from an address that is
 * none of those it is known to have, for both sides send by what they think best, and would chase
 * each other from one path to the other; or anything, if nothing of ours is confirmed any more.
 * Whoever moves announces itself by an ACK that asks, until something comes.
 *
 * An ordered pipe may have a spare pipe beside the one below it: another relayed address, at
 * another server. Each side tells the other its addresses ahead of time (a message of the ordered
 * pipe's own, so it comes), and whoever hears of a place sends an ACK there by both pipes, which
 * changes nothing there, but has its servers permit that address. Two timeouts without a
 * confirmation, and the sender asks by every pair of pipe and place, where the peer was before
 * among them: the other side follows, and answers, and the first follows the answer and asks once
 * more by that, so that both have a way that works in both directions. So the death of a server
 * that both sides use costs them some round trips; nobody else has to carry new addresses between
 * them. An ACK that asks and comes late may lead back to where the peer was; the same finds it.
 *
 *     A --(S1)--> B         S1 dies     A' --(S2)--> B'      A', B' were known
 *
 * A place is what a peer says, so a peer could name somebody else's. It gets short packets: at once
 * TOLD_MAX times an hour, and two for each timeout, while the peer lets us wait. It is not believed
 * if it reaches less far (this machine, this network, groups) than where the peer is and where we
 * are, so nobody has packets sent inside a network who is not there.
 *
 * Limits: ORDERED_PLACES of a peer, and one where it was before.
 */
#include <string.h>

#include "stun/bytes.h"
#include "stun/ordered_int.h"

#define TOLD_MAX    32
#define TOLD_US     (3600 * SEC_US)
#define PLACE_BYTES (1 + 2 + 16)

/* From where an address can be reached. */
enum reach { REACH_NONE, REACH_HOST, REACH_NETWORK, REACH_WORLD };

static struct ordered *ordered_of(const struct pipe *pipe)
{
    return (struct ordered *)(uintptr_t)pipe; /* base is the first member */
}

/* --- Following --- */

/* It was said to be there, or has been. */
static bool is_known_place(const struct ordered_peer *peer, const struct addr *addr)
{
    for (unsigned i = 0; i < peer->place_count; i++)
        if (addr_equal(&peer->places[i], addr))
            return true;
    return addr_equal(&peer->now, addr) || addr_equal(&peer->before, addr);
}

static bool is_to_be_followed(const struct ordered_peer *peer, const struct ordered_packet *packet,
                              const struct ordered_from *from)
{
    if (ordered_out_is_stuck(peer))
        return true;
    if (packet->type == ORDERED_ACK)
        return packet->flags & ORDERED_ASK;
    return ordered_in_is_newer(peer, packet->time_us) && !is_known_place(peer, &from->addr);
}

void ordered_follow(struct ordered_peer *peer, const struct ordered_packet *packet,
                    const struct ordered_from *from)
{
    struct ordered *o = peer->owner;
    struct addr name = peer->name;
    bool elsewhere = !addr_equal(&peer->now, &from->addr), was_stuck = ordered_out_is_stuck(peer);

    if (!elsewhere && peer->by_spare == from->by_spare)
        return;
    if (!is_to_be_followed(peer, packet, from))
        return;
    if (elsewhere)
        peer->before = peer->now;
    peer->now = from->addr;
    peer->by_spare = from->by_spare;
    ordered_out_moved(peer);
    if (was_stuck)
        ordered_in_ack(peer, ORDERED_ASK);
    if (elsewhere && o->events.moved && !ordered_is_closing(o))
        o->events.moved(&o->base, &name, &from->addr, o->arg);
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

/* A packet by a pipe to a place; only one that asks goes by the way that is used, too. */
static void ask_at(struct ordered_peer *peer, struct pipe *way, const struct addr *place,
                   uint8_t flags)
{
    const struct ordered_packet packet = {.type = ORDERED_ACK,
                                          .flags = flags,
                                          .to = ordered_bond_of(peer),
                                          .number = peer->in.next,
                                          .limit = peer->in.told_limit,
                                          .time_us = peer->in.time_us,
                                          .delay_us = ORDERED_NO_DELAY};

    if (way && (flags || way != ordered_way(peer) || !addr_equal(place, &peer->now)))
        ordered_send(way, place, &packet, NULL, 0);
}

static void ask_by_both(struct ordered_peer *peer, const struct addr *place, uint8_t flags)
{
    ask_at(peer, peer->owner->below, place, flags);
    ask_at(peer, peer->owner->spare, place, flags);
}

static void ask_by_all(struct ordered_peer *peer, uint8_t flags)
{
    bool told_before = !addr_is_set(&peer->before);

    ask_by_both(peer, &peer->now, flags);
    for (unsigned i = 0; i < peer->place_count; i++) {
        told_before = told_before || addr_equal(&peer->places[i], &peer->before);
        if (!addr_equal(&peer->places[i], &peer->now))
            ask_by_both(peer, &peer->places[i], flags);
    }
    if (!told_before && flags)
        ask_by_both(peer, &peer->before, flags);
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

static enum reach reach_of_v4(const uint8_t *bytes)
{
    if (bytes[0] == 0 || bytes[0] >= 224) /* none, groups, everybody */
        return REACH_NONE;
    if (bytes[0] == 127)
        return REACH_HOST;
    if (bytes[0] == 10 || (bytes[0] == 172 && bytes[1] >> 4 == 1) ||
        (bytes[0] == 192 && bytes[1] == 168) || (bytes[0] == 169 && bytes[1] == 254) ||
        (bytes[0] == 100 && bytes[1] >> 6 == 1))
        return REACH_NETWORK;
    return REACH_WORLD;
}

static enum reach reach_of(const struct addr *addr)
{
    struct addr plain = addr_unmap(addr);
    const uint8_t *bytes = plain.ip.bytes;

    if (!addr_is_set(addr) || addr->port == 0 || addr_is_any(&plain))
        return REACH_NONE;
    if (plain.family == AF_INET)
        return reach_of_v4(bytes);
    if (bytes[0] == 0xFF)
        return REACH_NONE;
    if (addr_is_loopback(&plain))
        return REACH_HOST;
    if (bytes[0] >> 1 == 0x7E || (bytes[0] == 0xFE && bytes[1] >> 7)) /* fc00::/7, fe80::/9 */
        return REACH_NETWORK;
    return REACH_WORLD;
}

/* How far a place has to reach to be believed: as far as where the peer is, or where we are. */
static enum reach least_reach(const struct ordered_peer *peer)
{
    enum reach least = reach_of(&peer->now);

    for (int i = 0; i < 2; i++) {
        enum reach ours = reach_of(&peer->owner->local[i]);

        if (ours != REACH_NONE && ours < least)
            least = ours;
    }
    return least > REACH_NONE ? least : REACH_HOST;
}

/* The next place that was told; bytes used, 0: no more. */
static size_t get_place(const uint8_t *bytes, size_t len, struct addr *place)
{
    size_t ip = len > 0 && bytes[0] == 6 ? 16 : 4;

    if (len < 3 + ip || (bytes[0] != 4 && bytes[0] != 6))
        return 0;
    *place = addr_any(ip == 16 ? AF_INET6 : AF_INET, get16(bytes + 1));
    memcpy(place->ip.bytes, bytes + 3, ip);
    return 3 + ip;
}

void ordered_take_places(struct ordered_peer *peer, const struct slice *data)
{
    enum reach least = least_reach(peer);
    struct addr place;
    size_t used;

    peer->place_count = 0;
    for (size_t at = 0; peer->place_count < ORDERED_PLACES; at += used) {
        used = get_place(data->data + at, data->len - at, &place);
        if (used == 0)
            break;
        if (reach_of(&place) >= least)
            peer->places[peer->place_count++] = place;
    }
    if (ordered_now(peer) - peer->told_places_at >= TOLD_US) {
        peer->told_places = 0;
        peer->told_places_at = ordered_now(peer);
    }
    if (peer->established && peer->told_places++ < TOLD_MAX)
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
