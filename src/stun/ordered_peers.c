/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Peers: how they get acquainted, and how they end.
 *
 * Acquaintance. Each side has a random tag for each incarnation of a peer, and learns the other's:
 *
 *     A: HELLO(a, 0, ask) ->    <- B: HELLO(b, a, ask)    A: HELLO(a, b) or DATA(bond of both) ->
 *
 * Who names my tag has heard me, so an old packet that comes late, or one of somebody who only
 * pretends to be at that address, changes nothing: another incarnation (a peer that was started
 * again) has to name a fresh tag before the old one is forgotten. Then what the old one has not
 * confirmed goes to the new one, from the beginning of a message. Whoever gets a bond that he does
 * not know says RESET, and the other introduces himself again. An introduction is answered where it
 * came from, by the pipe that it came by: the peer may have moved, and have started again since.
 * Who knows somebody there already, says by which bond: whoever still has that was known by another
 * address as well, and makes one peer of the two.
 *
 * Ends: a peer that confirms nothing for give_up_ms is given up; one that says BYE is gone. What it
 * sent and we confirmed is the user's all the same: while he does not read it, such a peer is
 * `ending` (nothing goes to it, nothing comes), one that has started again has to wait, and the
 * user is told behind the last message.
 *
 * Limits: TURN_ORDERED_PEERS_MAX peers. One more takes the place of the first who has introduced
 * himself and no more, or of whoever has said nothing for give_up_ms; else it is not answered.
 */
#include <stdlib.h>

#include "stun/ordered_int.h"

#define HELLO_FIRST_US (100 * MS_US)
#define HELLO_MAX_US   (1 * SEC_US)
#define STRANGER_US    (10 * SEC_US) /* that an introduction without consequence is remembered */
#define ANNOUNCEMENTS  40            /* of a new address, until something comes: for a minute */

static void send_hello(struct ordered *o, const struct ordered_from *to, uint64_t mine,
                       uint64_t theirs, bool ask, uint64_t known)
{
    const struct ordered_packet packet = {.type = ORDERED_HELLO,
                                          .flags = ask ? ORDERED_ASK : 0,
                                          .from = mine,
                                          .to = theirs,
                                          .known = known};

    ordered_send(to->by_spare ? o->spare : o->below, &to->addr, &packet, NULL, 0);
}

static uint64_t new_tag(struct ordered *o)
{
    uint64_t tag;

    do {
        tag = loop_random64(o->base.loop);
    } while (tag == 0);
    return tag;
}

/* --- Who is who --- */

struct ordered_peer *ordered_find(const struct ordered *o, const struct addr *addr)
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

static struct ordered_peer *find_by_theirs(const struct ordered *o, uint64_t tag)
{
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        if (peer->established && peer->theirs == tag)
            return peer;
    return NULL;
}

static bool is_bond(const struct ordered_peer *peer, uint64_t bond)
{
    return peer->established && ordered_bond(peer->mine, peer->theirs) == bond;
}

/* With an incarnation that has not proven itself; a packet that names it is the proof. */
static bool is_next_bond(const struct ordered_peer *peer, uint64_t bond)
{
    return peer->next_theirs && ordered_bond(peer->next_mine, peer->next_theirs) == bond;
}

static struct ordered_peer *find_by_bond(const struct ordered *o, uint64_t bond)
{
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next)
        if (is_bond(peer, bond) || is_next_bond(peer, bond))
            return peer;
    return NULL;
}

/* Has introduced himself, and no more: that may be said with anybody's address. */
static bool is_stranger(const struct ordered_peer *peer)
{
    return !peer->was_established && !ordered_has_to_send(peer);
}

/* The user has not read all that we have confirmed to it. */
static bool is_unread(const struct ordered_peer *peer)
{
    return peer->in.deliver != peer->in.next && !ordered_is_closing(peer->owner);
}

/* --- Coming and going --- */

/* Introduces us, again and again, to a peer that we have something for, or announces our new
 * address to one that knows us; forgets one that only introduced itself. */
static void on_hello_due(void *arg)
{
    struct ordered_peer *peer = arg;
    struct ordered *o = peer->owner;
    const struct ordered_from to = {peer->now, peer->by_spare && o->spare};
    uint64_t wait = HELLO_FIRST_US << (peer->hellos < 4 ? peer->hellos : 4);

    if (peer->established) {
        if (peer->hellos++ < ANNOUNCEMENTS) {
            timer_set_in(o->base.loop, &peer->hello, wait);
            ordered_in_ack(peer, ORDERED_ASK);
        }
        return;
    }
    if (is_stranger(peer)) {
        ordered_free_peer(peer);
        return;
    }
    if (ordered_now(peer) - peer->out.progress >= o->give_up_ms * MS_US) {
        ordered_end_peer(peer);
        return;
    }
    peer->hellos++;
    timer_set_in(o->base.loop, &peer->hello, wait < HELLO_MAX_US ? wait : HELLO_MAX_US);
    send_hello(o, &to, peer->mine, 0, true, 0);
}

static struct ordered_peer *new_peer(struct ordered *o, const struct addr *addr)
{
    struct ordered_peer *peer, **at = &o->peers;

    if (o->peer_count >= TURN_ORDERED_PEERS_MAX || !(peer = calloc(1, sizeof(*peer))))
        return NULL;
    peer->owner = o;
    peer->name = peer->now = *addr;
    peer->mine = new_tag(o);
    peer->heard = loop_now(o->base.loop);
    timer_init(&peer->hello, on_hello_due, peer);
    ordered_out_init(peer);
    ordered_in_init(peer);
    while (*at)
        at = &(*at)->next;
    *at = peer; /* behind the others, whose messages came before */
    o->peer_count++;
    return peer;
}

void ordered_free_peer(struct ordered_peer *peer)
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
    if (!ordered_is_closing(o))
        pipe_has_room(&o->base);
}

/* Frees it, and tells the user. */
static void drop_peer(struct ordered_peer *peer)
{
    struct ordered *o = peer->owner;
    struct addr name = peer->name;
    size_t bytes = peer->out.bytes + peer->dropped;

    o->has_lost = o->has_lost || (peer->is_unconfirmed && ordered_is_closing(o));
    ordered_free_peer(peer);
    if (ordered_is_closing(o)) {
        ordered_finish_if_done(o);
        return;
    }
    if (o->events.lost)
        o->events.lost(&o->base, &name, bytes, o->arg);
    tell_room(o);
}

void ordered_end_peer(struct ordered_peer *peer)
{
    struct ordered *o = peer->owner;

    if (!is_unread(peer)) {
        drop_peer(peer);
        return;
    }
    peer->ending = true;
    peer->established = false;
    peer->mine = peer->theirs = peer->next_mine = peer->next_theirs = 0;
    peer->dropped += peer->out.bytes;
    timer_cancel(o->base.loop, &peer->hello);
    ordered_out_free(peer);
    tell_room(o);
}

void ordered_drop_ended(struct ordered *o)
{
    struct ordered_peer *peer = o->peers;

    while (peer) {
        if (peer->ending && !is_unread(peer)) {
            drop_peer(peer);
            peer = o->peers; /* who is told may have changed them */
        } else {
            peer = peer->next;
        }
    }
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
        if (is_stranger(peer) && (!stranger || peer->heard < stranger->heard))
            stranger = peer;
        if (peer->established && !ordered_has_to_send(peer) && !peer->in.delivering &&
            !is_unread(peer) && (!idlest || peer->heard < idlest->heard))
            idlest = peer;
    }
    if (stranger)
        ordered_free_peer(stranger);
    else if (idlest && ordered_now(idlest) - idlest->heard >= o->give_up_ms * MS_US)
        drop_peer(idlest);
}

struct ordered_peer *ordered_get(struct ordered *o, const struct addr *addr)
{
    struct ordered_peer *peer = ordered_find(o, addr);

    if (peer)
        return peer;
    make_room(o);
    peer = ordered_find(o, addr); /* who is told of one that went may have written to it */
    return peer ? peer : new_peer(o, addr);
}

/* --- Acquaintance --- */

/* It has proven to be there. */
static void set_place(struct ordered_peer *peer, const struct ordered_from *from)
{
    struct ordered *o = peer->owner;
    struct addr name = peer->name;
    bool elsewhere = !addr_equal(&peer->now, &from->addr);

    peer->now = from->addr;
    peer->by_spare = from->by_spare;
    if (elsewhere && o->events.moved && !ordered_is_closing(o))
        o->events.moved(&o->base, &name, &from->addr, o->arg);
}

/* The two have heard each other. */
static void establish(struct ordered_peer *peer, uint64_t theirs, const struct ordered_from *from)
{
    struct ordered *o = peer->owner;
    bool again = peer->was_established, other = peer->theirs != theirs;
    struct addr name = peer->name;

    timer_cancel(o->base.loop, &peer->hello);
    peer->theirs = theirs;
    peer->next_mine = peer->next_theirs = 0;
    peer->established = peer->was_established = true;
    peer->hellos = 0;
    peer->heard = ordered_now(peer);
    if (again && other) {
        ordered_in_restart(peer);
        ordered_out_restart(peer);
    }
    peer->out.progress = ordered_now(peer);
    set_place(peer, from);
    if ((!again || other) && o->events.joined && !ordered_is_closing(o))
        o->events.joined(&o->base, &name, again, o->arg);
    ordered_tell_places(peer);
    ordered_out_pump(peer);
}

/* The other incarnation has proven itself. */
static void accept_next(struct ordered_peer *peer, const struct ordered_from *from)
{
    uint64_t theirs = peer->next_theirs;

    peer->mine = peer->next_mine;
    establish(peer, theirs, from);
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
static void on_introduction(struct ordered *o, uint64_t theirs, const struct ordered_from *from)
{
    struct ordered_peer *peer = find_by_theirs(o, theirs);

    if (peer) {
        send_hello(o, from, peer->mine, theirs, false, 0);
        return;
    }
    peer = ordered_find(o, &from->addr);
    if (!peer) {
        if (ordered_is_closing(o) || !(peer = ordered_get(o, &from->addr)))
            return;
        peer->by_spare = from->by_spare;
        timer_set_in(o->base.loop, &peer->hello, STRANGER_US);
    }
    if (peer->ending)
        return;
    if (!peer->established)
        peer->next_mine = peer->mine;
    else if (peer->next_theirs != theirs)
        peer->next_mine = new_tag(o);
    peer->next_theirs = theirs;
    send_hello(o, from, peer->next_mine, theirs, true,
               peer->established ? ordered_bond_of(peer) : 0);
}

/* Whom we introduce ourselves to has known us all the time, by another address of his. */
static bool is_known_otherwise(const struct ordered_peer *peer, uint64_t bond)
{
    const struct ordered_peer *other = find_by_bond(peer->owner, bond);

    return other && other != peer && !peer->established && is_bond(other, bond);
}

/* Two that are one, and there: else each would be the other's next incarnation, for ever. */
static void join(struct ordered_peer *peer, uint64_t bond, const struct ordered_from *from)
{
    struct ordered_peer *other = find_by_bond(peer->owner, bond);

    other->heard = ordered_now(other);
    ordered_out_take(other, peer);
    ordered_end_peer(peer);
    if (!addr_equal(&other->now, &from->addr) || other->by_spare != from->by_spare) {
        other->before = other->now;
        ordered_out_moved(other);
        set_place(other, from);
    }
    ordered_out_pump(other);
}

void ordered_on_hello(struct ordered *o, const struct ordered_packet *packet,
                      const struct ordered_from *from)
{
    struct ordered_peer *peer = find_by_tag(o, packet->to);
    bool asks = packet->flags & ORDERED_ASK;

    if (!peer) {
        if (asks && packet->to == 0) /* not an answer, or two could answer each other for ever */
            on_introduction(o, packet->from, from);
        return;
    }
    if (peer->established && packet->to == peer->mine) {
        if (packet->from != peer->theirs)
            return; /* who knew my tag had another: a packet of long ago */
    } else if (is_known_otherwise(peer, packet->known)) {
        join(peer, packet->known, from);
        return;
    } else if (is_unread(peer)) {
        return; /* it asks again, and by then it may be read */
    } else if (packet->to == peer->mine) {
        establish(peer, packet->from, from);
    } else if (packet->from == peer->next_theirs) {
        accept_next(peer, from);
    } else {
        return;
    }
    if (asks)
        send_hello(o, from, peer->mine, peer->theirs, false, 0);
}

void ordered_on_reset(struct ordered *o, uint64_t bond)
{
    for (struct ordered_peer *peer = o->peers; peer; peer = peer->next) {
        if (!peer->established || ordered_bond_of(peer) != bond)
            continue;
        introduce_again(peer);
        return;
    }
}

void ordered_on_bonded(struct ordered *o, const struct ordered_packet *packet,
                       const struct slice *frame, const struct ordered_from *from)
{
    struct ordered_peer *peer = find_by_bond(o, packet->to);
    const struct ordered_packet reset = {.type = ORDERED_RESET, .to = packet->to};

    if (!peer) {
        if (packet->type != ORDERED_BYE)
            ordered_send(from->by_spare ? o->spare : o->below, &from->addr, &reset, NULL, 0);
        return;
    }
    if (!is_bond(peer, packet->to)) {
        if (is_unread(peer))
            return; /* it comes again, and by then it may be read */
        accept_next(peer, from);
    }
    if (packet->type == ORDERED_BYE) {
        ordered_end_peer(peer);
        return;
    }
    peer->heard = ordered_now(peer);
    timer_cancel(o->base.loop, &peer->hello);
    ordered_follow(peer, packet, from);
    if (packet->type == ORDERED_DATA) {
        ordered_in_data(peer, frame, packet);
        return;
    }
    ordered_out_ack(peer, packet);
    if (packet->flags & ORDERED_ASK && o->below)
        ordered_in_ack(peer, 0);
}
