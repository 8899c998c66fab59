/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A message is cut into segments when it is written; a segment is never cut again, so its number
 * names the same bytes for ever. Segments stand in a ring, from the first of the oldest message
 * that is not confirmed to its end: another incarnation of the peer gets it from there.
 *
 *     waits -> flies -> came (confirmed out of order) -> gone, when its message is confirmed
 *                `-> lost -> flies
 *
 * Those that fly stand in a list by the time of sending. Lost is what was sent some time before a
 * packet that has come (time, not numbers, so that what was sent again can be lost again): a
 * quarter of a round trip, or more if packets have come later than that although they were thought
 * lost; how late, their confirmation tells, which names the time of sending of the newest packet
 * that came. So packets that overtake each other cost little. When nothing comes that would tell,
 * the oldest is lost after a timeout, and after three in a row all.
 *
 * Single messages on a path that loses packets are sent again when SPARE_US have passed, and twice
 * that: it costs little, and waiting for a round trip costs them much. And what was lost twice,
 * while much waits for it at the other end, is sent twice; not after an outage, when most is lost:
 * the rate would be found to be half of what it is, and again half of that.
 *
 * How much may fly, and how fast, ordered_rate.c says. Pacing is a bucket of credit which holds
 * what the rate brings in BURST_US (timers may be late), at most BURST_BYTES: coturn's relay socket
 * drops what exceeds 64 KB at once.
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
#define SLACK_US       (10 * SEC_US) /* that packets were late is remembered */
#define TIMEOUT_MAX_US (2 * SEC_US)
#define TIMEOUTS_ALL   3
#define TIMEOUTS_PROBE 2    /* other ways are tried */
#define THIN_BYTES     4800 /* under way: single messages */
#define LOSSY_US       (5 * SEC_US)
#define SPARE_US       (10 * MS_US)
#define SPARE_MIN_US   (2 * MS_US)
#define SPARES         2
#define ECHO_MAX_US    (60 * SEC_US) /* older times of sending mean nothing */
#define ASKS           12            /* confirmations for a window */
#define ASK_EVERY_MIN  16
#define ASK_EVERY_MAX  96
#define TWICE          3 /* sent for the third time, it is sent twice */

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
    for (uint32_t n = out->kept; n != out->end; n++)
        ring[n & (cap - 1)] = *segment_at(out, n);
    free(out->ring);
    out->ring = ring;
    out->cap = cap;
}

static void push(struct ordered_peer *peer, struct slice data, uint8_t flags)
{
    struct ordered_out *out = &peer->out;

    if (out->end - out->kept == out->cap)
        grow(out);
    if (!(flags & ORDERED_CONTROL)) {
        out->bytes += data.len;
        peer->owner->queued += data.len;
    }
    peer->owner->cost += data.len + ORDERED_SEGMENT_COST;
    *segment_at(out, out->end++) =
        (struct ordered_segment){.data = data, .flags = flags, .state = SEGMENT_WAITS};
}

void ordered_out_write(struct ordered_peer *peer, struct slice *data)
{
    size_t most = peer->owner->packet_max - ORDERED_DATA_BYTES, at = 0;
    struct ordered_out *out = &peer->out;
    uint8_t flags = ORDERED_FIRST;

    if (!peer->is_unconfirmed)
        out->progress = ordered_now(peer);
    peer->is_unconfirmed = true;
    while (data->len - at > most) {
        push(peer, slice_part(data, at, most), flags);
        at += most;
        flags = 0;
    }
    push(peer, slice_part(data, at, data->len - at), flags | ORDERED_LAST);
    slice_drop(data);
}

void ordered_out_control(struct ordered_peer *peer, struct slice *data)
{
    if (peer->out.first == peer->out.end)
        peer->out.progress = ordered_now(peer);
    push(peer, *data, ORDERED_FIRST | ORDERED_LAST | ORDERED_CONTROL);
    *data = (struct slice){0};
}

void ordered_out_take(struct ordered_peer *peer, struct ordered_peer *other)
{
    struct ordered_out *out = &other->out;

    if (other->is_unconfirmed && !peer->is_unconfirmed)
        peer->out.progress = ordered_now(peer);
    peer->is_unconfirmed = peer->is_unconfirmed || other->is_unconfirmed;
    other->is_unconfirmed = false;
    for (uint32_t n = out->kept; n != out->end; n++)
        if (!(segment_at(out, n)->flags & ORDERED_CONTROL))
            push(peer, slice_ref(&segment_at(out, n)->data), segment_at(out, n)->flags);
    ordered_out_free(other);
}

/* Forgets everything before `first`. */
static void release(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;

    for (; out->kept != out->first; out->kept++) {
        struct ordered_segment *segment = segment_at(out, out->kept);

        if (!(segment->flags & ORDERED_CONTROL)) {
            out->bytes -= segment->data.len;
            peer->owner->queued -= segment->data.len;
        }
        peer->owner->cost -= segment->data.len + ORDERED_SEGMENT_COST;
        slice_drop(&segment->data);
    }
}

/* --- Lists --- */

static void list_add(struct ordered_out *out, struct ordered_list *list, uint32_t number)
{
    if (list->count++ > 0) {
        segment_at(out, list->last)->after = number;
        segment_at(out, number)->before = list->last;
    } else {
        list->first = number;
    }
    list->last = number;
}

static void list_remove(struct ordered_out *out, struct ordered_list *list, uint32_t number)
{
    const struct ordered_segment *segment = segment_at(out, number);

    if (number == list->first)
        list->first = segment->after;
    else
        segment_at(out, segment->before)->after = segment->after;
    if (number == list->last)
        list->last = segment->before;
    else
        segment_at(out, segment->after)->before = segment->before;
    list->count--;
}

/* What it takes on the path. */
static size_t bytes_of(const struct ordered_segment *segment)
{
    return segment->data.len + ORDERED_DATA_BYTES;
}

/* Takes it out of its list. */
static void settle(struct ordered_out *out, uint32_t number, enum ordered_segment_state state)
{
    struct ordered_segment *segment = segment_at(out, number);

    if (segment->state == SEGMENT_FLIES) {
        list_remove(out, &out->flies, number);
        out->flight -= bytes_of(segment);
    } else if (segment->state == SEGMENT_LOST) {
        list_remove(out, &out->lost, number);
    }
    segment->state = (uint8_t)state;
}

static void lose(struct ordered_out *out, uint32_t number, uint64_t now)
{
    settle(out, number, SEGMENT_LOST);
    list_add(out, &out->lost, number);
    ordered_rate_lost(&out->rate, bytes_of(segment_at(out, number)));
    out->lossy_at = now;
}

/* --- Timeouts --- */

static bool is_lossy(const struct ordered_out *out, uint64_t now)
{
    return out->lossy_at && now - out->lossy_at < LOSSY_US;
}

/* How long after something sent later has come a packet may still come. */
static uint64_t slack(const struct ordered_out *out, uint64_t now)
{
    uint64_t usual = out->rate.srtt_us / 4;

    if (usual < REORDER_MIN_US)
        usual = REORDER_MIN_US;
    return out->slack_us > usual && now - out->slack_at < SLACK_US ? out->slack_us : usual;
}

/* When what flies is lost, if something sent later has come. */
static uint64_t late_at(const struct ordered_out *out, const struct ordered_segment *segment,
                        uint64_t now)
{
    return segment->mark.sent_at + out->rate.srtt_us + 2 * out->rate.rttvar_us + slack(out, now);
}

static uint64_t timeout_at(const struct ordered_out *out)
{
    uint64_t wait = ordered_rate_timeout_us(&out->rate) << (out->timeouts < 8 ? out->timeouts : 8);
    uint64_t since = out->timeout_at;

    if (out->flies.count > 0 && segment_at(out, out->flies.first)->mark.sent_at > since)
        since = segment_at(out, out->flies.first)->mark.sent_at;
    return since + (wait < TIMEOUT_MAX_US ? wait : TIMEOUT_MAX_US);
}

/* The single message that is to be sent again first, and when. UINT64_MAX: none. */
static uint64_t spare_at(const struct ordered_out *out, uint64_t now, uint32_t *number)
{
    uint64_t wait = out->rate.srtt_us / 4, at = UINT64_MAX;
    uint32_t n = out->flies.first;

    if (!is_lossy(out, now) || out->flight > THIN_BYTES)
        return at;
    wait = wait < SPARE_MIN_US ? SPARE_MIN_US : wait > SPARE_US ? SPARE_US : wait;
    for (uint32_t i = 0; i < out->flies.count; i++) {
        const struct ordered_segment *segment = segment_at(out, n);
        uint64_t due;

        if (segment->sent <= SPARES) {
            due = segment->mark.sent_at + (wait << (segment->sent - 1));
            if (due < at) {
                at = due;
                *number = n;
            }
        }
        n = segment->after;
    }
    return at;
}

static void set_timeout(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    struct loop *loop = peer->owner->base.loop;
    uint64_t now = ordered_now(peer), at = timeout_at(out), other;
    const struct ordered_segment *segment;
    uint32_t number;

    if (out->flies.count == 0 && out->lost.count == 0) {
        /* Nothing flies: there is nothing to send, or no room at the other end. */
        if (out->next == out->end)
            timer_cancel(loop, &out->timeout);
        else
            timer_set(loop, &out->timeout, now + PROBE_US);
        return;
    }
    if (out->flies.count > 0) {
        segment = segment_at(out, out->flies.first);
        other = late_at(out, segment, now);
        if (segment->mark.sent_at < out->newest && other < at)
            at = other;
        other = spare_at(out, now, &number);
        if (other < at)
            at = other;
    }
    timer_set(loop, &out->timeout, at > now ? at : now + MS_US);
}

/* --- Sending --- */

/* Whether a packet asks for a confirmation at once: several in a window do, more of them where they
 * may be lost, and the last one that there is or may be sent. A relay has as much work with a
 * confirmation as with what it confirms. */
static bool asks(struct ordered_peer *peer, bool more)
{
    struct ordered_out *out = &peer->out;
    size_t window = ordered_rate_window(&out->rate);
    size_t every = window / ASKS / peer->owner->packet_max;

    if (every < ASK_EVERY_MIN || is_lossy(out, ordered_now(peer)))
        every = ASK_EVERY_MIN;
    if (every > ASK_EVERY_MAX)
        every = ASK_EVERY_MAX;
    if (more && out->flight < window && ++out->unasked < every)
        return false;
    out->unasked = 0;
    return true;
}

static void transmit(struct ordered_peer *peer, uint32_t number, bool ask)
{
    struct ordered_out *out = &peer->out;
    const struct ordered_segment *segment = segment_at(out, number);
    const struct ordered_packet packet = {.type = ORDERED_DATA,
                                          .flags = segment->flags | (ask ? ORDERED_NOW : 0),
                                          .to = ordered_bond_of(peer),
                                          .number = number,
                                          .time_us = (uint32_t)segment->mark.sent_at};

    out->credit -= (int64_t)bytes_of(segment);
    out->total++;
    ordered_transmit(peer, &packet, segment->data.data, segment->data.len);
}

static void send_segment(struct ordered_peer *peer, uint32_t number)
{
    struct ordered_out *out = &peer->out;
    struct ordered_segment *segment = segment_at(out, number);
    bool more = out->next != out->end && out->next != out->limit;

    segment->earlier = segment->mark.sent_at;
    ordered_rate_sent(&out->rate, &segment->mark, ordered_now(peer), out->flight,
                      !more && out->lost.count <= 1);
    settle(out, number, SEGMENT_FLIES);
    list_add(out, &out->flies, number);
    out->flight += bytes_of(segment);
    out->resent += segment->sent > 0;
    if (segment->sent < UINT16_MAX)
        segment->sent++;
    transmit(peer, number, asks(peer, more || out->lost.count > 0));
    if (segment->sent >= TWICE && out->next - out->first > ORDERED_WINDOW / 4 &&
        out->lost.count < out->flies.count)
        transmit(peer, number, false);
}

/* What is to be sent next; false: nothing, or nothing may. */
static bool choose(struct ordered_out *out, uint32_t *number)
{
    if (out->lost.count > 0) {
        *number = out->lost.first;
        return true;
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
    uint32_t number;
    bool sent = false;

    if (!peer->established || !peer->owner->below)
        return;
    if (ordered_now(peer) < out->wait_until) {
        timer_set(loop, &out->pace, out->wait_until);
        return;
    }
    earn(peer, pace);
    while (out->credit > 0 && out->flight < window && pipe_room(ordered_way(peer)) > 0 &&
           choose(out, &number)) {
        send_segment(peer, number);
        sent = true;
    }
    if (sent || !timer_is_set(&out->timeout))
        set_timeout(peer);
    if (out->credit > 0 || out->flight >= window || (out->next == out->end && out->lost.count == 0))
        return;
    wait = (uint64_t)-out->credit * SEC_US / pace + 1;
    timer_set_in(loop, &out->pace, wait < MS_US / 2 ? MS_US / 2 : wait);
}

static void on_pace(void *arg)
{
    ordered_out_pump(arg);
}

/* --- Losses --- */

/* Nothing newer comes that would tell: by time alone. */
static bool find_late(struct ordered_out *out, uint64_t now)
{
    bool found = false;

    while (out->flies.count > 0) {
        const struct ordered_segment *segment = segment_at(out, out->flies.first);

        if (segment->mark.sent_at >= out->newest || late_at(out, segment, now) > now)
            break;
        lose(out, out->flies.first, now);
        found = true;
    }
    return found;
}

static bool send_spares(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    uint64_t now = ordered_now(peer);
    uint32_t number;
    bool found = false;

    while (spare_at(out, now, &number) <= now) {
        send_segment(peer, number);
        found = true;
    }
    return found;
}

static void find_losses(struct ordered_out *out, uint64_t now)
{
    uint64_t wait = slack(out, now);

    while (out->flies.count > 0 &&
           segment_at(out, out->flies.first)->mark.sent_at + wait < out->newest)
        lose(out, out->flies.first, now);
}

static void on_timeout(void *arg)
{
    struct ordered_peer *peer = arg;
    struct ordered_out *out = &peer->out;
    uint64_t now = ordered_now(peer);

    if (now - out->progress >= peer->owner->give_up_ms * MS_US) {
        ordered_end_peer(peer);
        return;
    }
    if (out->flies.count == 0 && out->lost.count == 0) {
        ordered_in_ack(peer, ORDERED_ASK);
    } else if (!find_late(out, now) && !send_spares(peer) && timeout_at(out) <= now) {
        out->timeouts++;
        out->timeout_at = now;
        do {
            if (out->flies.count > 0)
                lose(out, out->flies.first, now);
        } while (out->timeouts >= TIMEOUTS_ALL && out->flies.count > 0);
        if (out->credit < peer->owner->packet_max)
            out->credit = peer->owner->packet_max;
        if (ordered_out_is_stuck(peer))
            ordered_probe(peer);
    }
    set_timeout(peer);
    ordered_out_pump(peer);
}

/* --- Confirmations --- */

struct harvest {
    size_t bytes;
    uint64_t newest;          /* when what came last was sent; 0: not known */
    bool is_marked;           /* mark is set */
    struct ordered_mark mark; /* of the one sent last */
};

/* Such a packet was late, not lost. */
static void was_late(struct ordered_out *out, const struct ordered_segment *segment, uint64_t sent,
                     const struct harvest *harvest, uint64_t now)
{
    uint64_t late = harvest->newest > sent ? harvest->newest - sent : 0;
    uint64_t most = 2 * out->rate.srtt_us;

    ordered_rate_found(&out->rate, bytes_of(segment));
    late += late / 4;
    if (late > most)
        late = most;
    if (late >= out->slack_us || now - out->slack_at >= SLACK_US)
        out->slack_us = late;
    out->slack_at = now;
}

static void reap(struct ordered_out *out, uint32_t number, struct harvest *harvest, uint64_t now)
{
    struct ordered_segment *segment = segment_at(out, number);
    bool earlier = harvest->newest && segment->mark.sent_at > harvest->newest;

    if (segment->state == SEGMENT_CAME)
        return;
    if (segment->state == SEGMENT_LOST)
        was_late(out, segment, segment->mark.sent_at, harvest, now);
    else if (earlier && segment->sent > 1)
        was_late(out, segment, segment->earlier, harvest, now);
    settle(out, number, SEGMENT_CAME);
    harvest->bytes += bytes_of(segment);
    if (earlier || (harvest->is_marked && segment->mark.sent_at < harvest->mark.sent_at))
        return;
    harvest->is_marked = true;
    harvest->mark = segment->mark;
}

/* False: the packet speaks of what was never sent. */
static bool take_numbers(struct ordered_peer *peer, const struct ordered_packet *packet,
                         struct harvest *harvest)
{
    struct ordered_out *out = &peer->out;
    uint64_t now = ordered_now(peer);
    uint32_t number = packet->number;

    if (is_before(out->next, number))
        return false;
    while (is_before(out->first, number)) {
        bool last = segment_at(out, out->first)->flags & ORDERED_LAST;

        reap(out, out->first++, harvest, now);
        if (last)
            release(peer);
    }
    for (size_t i = 0; i < packet->len * 8; i++) {
        uint32_t n = number + 1 + (uint32_t)i;

        if (!is_before(n, out->next))
            break;
        if (packet->bytes[i / 8] == 0)
            i |= 7; /* to the next byte */
        else if (packet->bytes[i / 8] & (0x80 >> i % 8) && !is_before(n, out->first))
            reap(out, n, harvest, now);
    }
    return true;
}

/* Something came. */
static void take_harvest(struct ordered_peer *peer, const struct harvest *harvest)
{
    struct ordered_out *out = &peer->out;
    uint64_t now = ordered_now(peer);

    out->timeouts = 0;
    out->progress = out->timeout_at = now;
    out->confirmed += harvest->bytes;
    peer->owner->confirmed += harvest->bytes;
    if (harvest->newest > out->newest)
        out->newest = harvest->newest;
    ordered_rate_confirmed(&out->rate, now, harvest->bytes,
                           harvest->is_marked ? &harvest->mark : NULL, out->flight);
    find_losses(out, now);
    set_timeout(peer);
}

void ordered_out_ack(struct ordered_peer *peer, const struct ordered_packet *packet)
{
    struct ordered_out *out = &peer->out;
    uint64_t now = ordered_now(peer);
    uint32_t rtt = (uint32_t)now - packet->time_us, first = out->first;
    bool is_sane = rtt < ECHO_MAX_US && rtt <= now;
    struct harvest harvest = {.newest = is_sane ? now - rtt : 0};

    if (!take_numbers(peer, packet, &harvest))
        return;
    if (is_before(out->limit, packet->limit))
        out->limit = packet->limit;
    if (packet->delay_us != ORDERED_NO_DELAY && harvest.bytes > 0 && is_sane &&
        packet->delay_us <= rtt)
        ordered_rate_rtt(&out->rate, now, rtt - packet->delay_us);
    if (harvest.bytes > 0)
        take_harvest(peer, &harvest);
    else if (out->flies.count == 0 && out->lost.count == 0)
        out->progress = now; /* it has no room, but it is there */
    if (packet->flags & ORDERED_FULL) {
        out->progress = now;
        out->wait_until = now + PROBE_US;
    }
    ordered_out_pump(peer);
    if (harvest.bytes > 0 || out->first != first)
        ordered_shrunk(peer);
}

/* --- Life --- */

/* Nothing has been sent, and nothing is known of the path. */
static void begin(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    size_t most = ORDERED_HELD_MAX / (peer->owner->packet_max + ORDERED_SEGMENT_COST);

    out->limit = most < ORDERED_WINDOW_FIRST ? (uint32_t)most : ORDERED_WINDOW_FIRST;
    out->newest = out->slack_us = out->lossy_at = 0;
    out->timeouts = 0;
    out->wait_until = 0;
    out->progress = out->timeout_at = out->credit_at = ordered_now(peer);
    ordered_rate_init(&out->rate, peer->owner->rate_max);
}

bool ordered_out_is_stuck(const struct ordered_peer *peer)
{
    return peer->out.timeouts >= TIMEOUTS_PROBE;
}

void ordered_out_moved(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    uint64_t now = ordered_now(peer);

    while (out->flies.count > 0)
        lose(out, out->flies.first, now);
    out->timeouts = 0;
    out->timeout_at = now;
    out->wait_until = 0;
    ordered_rate_init(&out->rate, peer->owner->rate_max);
    if (peer->established)
        set_timeout(peer);
}

void ordered_out_restart(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    struct ordered_segment *ring = NULL;
    uint32_t count = 0;

    if (out->cap > 0 && !(ring = calloc(out->cap, sizeof(*ring))))
        abort();
    for (uint32_t n = out->kept; n != out->end; n++)
        ring[count++] = (struct ordered_segment){.data = segment_at(out, n)->data,
                                                 .flags = segment_at(out, n)->flags,
                                                 .state = SEGMENT_WAITS};
    free(out->ring);
    out->ring = ring;
    out->kept = out->first = out->next = 0;
    out->end = count;
    out->flies = out->lost = (struct ordered_list){0};
    out->flight = 0;
    begin(peer);
}

void ordered_out_init(struct ordered_peer *peer)
{
    begin(peer);
    timer_init(&peer->out.pace, on_pace, peer);
    timer_init(&peer->out.timeout, on_timeout, peer);
}

void ordered_out_free(struct ordered_peer *peer)
{
    struct ordered_out *out = &peer->out;
    struct loop *loop = peer->owner->base.loop;

    timer_cancel(loop, &out->pace);
    timer_cancel(loop, &out->timeout);
    out->first = out->end;
    release(peer);
    free(out->ring);
    out->ring = NULL;
    out->cap = 0;
    out->flies = out->lost = (struct ordered_list){0};
}
