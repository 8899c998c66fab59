/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The TURN client behind the pipe interface: turn_servers.c keeps an allocation; this module keeps
 * what outlives each of them, the peers that are accepted and the messages that wait.
 *
 * Peers: accepted by address, by turn_pipe_accept_peer() or by being written to. With every new
 * allocation all of them are permitted again.
 *
 *     asking --- the server grants ---> granted       written messages wait / go / are dropped
 *        `------ the server refuses --> refused       (it may be granted later)
 *
 * Out: a message to a granted peer goes out at once. It waits in the queue while its peer is being
 * asked for, while there is no allocation, or while a stream leg has no room; messages to one peer
 * never overtake each other, and a peer that is being asked for holds up nobody else. The queue is
 * bounded (TURN_PIPE_QUEUE_*), its oldest message is dropped: what is late is worth least.
 *
 * In: while the pipe is paused, messages wait in a queue with the same bounds, of which the newest
 * is dropped, as a socket's buffer does. The leg itself is never paused: the answers that keep the
 * allocation alive come by it.
 *
 * Close: what waits for a permission is given LINGER_MS, then the server is told to forget us, and
 * `end` follows its answer.
 */
#include "stun/turn_pipe.h"

#include <stdlib.h>
#include <string.h>

#include "stun/turn_int.h"

#define LINGER_MS 2000

enum peer_state { PEER_ASKING, PEER_GRANTED, PEER_REFUSED };

struct peer {
    struct addr ip;
    enum peer_state state;
};

struct message {
    struct slice data;
    struct addr peer;
};

/* First in, first out. */
struct message_queue {
    struct message ring[TURN_PIPE_QUEUE_MESSAGES];
    unsigned head, count;
    size_t bytes;
};

struct turn_pipe {
    struct pipe base;
    struct turn_servers *servers; /* NULL: over */
    bool releasing;
    struct peer *peers; /* TURN_PERMISSIONS_MAX */
    size_t peer_count;
    struct message_queue *out, *in; /* NULL: empty, never used */
    struct timer linger;
    struct defer deliver, room;
    struct turn_report report;
    struct turn_pipe_events events;
    void *arg;
    uint64_t dropped;
};

static struct turn_pipe *turn_of(const struct pipe *pipe)
{
    return (struct turn_pipe *)(uintptr_t)pipe; /* base is the first member */
}

/* --- Queues --- */

static struct message *queue_at(struct message_queue *queue, unsigned i)
{
    return &queue->ring[(queue->head + i) % TURN_PIPE_QUEUE_MESSAGES];
}

static bool queue_is_full(const struct message_queue *queue, size_t len)
{
    return queue->count > 0 &&
           (queue->count == TURN_PIPE_QUEUE_MESSAGES || queue->bytes + len > TURN_PIPE_QUEUE_BYTES);
}

/* The first message, which is the caller's then. */
static struct message queue_pop(struct message_queue *queue)
{
    struct message message = *queue_at(queue, 0);

    queue->bytes -= message.data.len;
    queue->head = (queue->head + 1) % TURN_PIPE_QUEUE_MESSAGES;
    queue->count--;
    return message;
}

/* Takes the slice. There must be room. */
static void queue_push(struct message_queue *queue, struct slice *data, const struct addr *peer)
{
    struct message *last = queue_at(queue, queue->count++);

    queue->bytes += data->len;
    last->data = *data;
    last->peer = *peer;
    *data = (struct slice){NULL, NULL, 0};
}

static void queue_free(struct message_queue *queue)
{
    while (queue && queue->count > 0) {
        struct message message = queue_pop(queue);

        slice_drop(&message.data);
    }
    free(queue);
}

static struct message_queue *queue_made(struct message_queue **queue)
{
    if (!*queue && !(*queue = calloc(1, sizeof(**queue))))
        abort();
    return *queue;
}

static size_t queue_bytes(const struct message_queue *queue)
{
    return queue ? queue->bytes : 0;
}

static unsigned queue_count(const struct message_queue *queue)
{
    return queue ? queue->count : 0;
}

/* --- Peers --- */

static struct peer *find_peer(const struct turn_pipe *turn, const struct addr *addr)
{
    for (size_t i = 0; i < turn->peer_count; i++)
        if (addr_equal_ip(&turn->peers[i].ip, addr))
            return &turn->peers[i];
    return NULL;
}

static struct peer *accept_peer(struct turn_pipe *turn, const struct addr *addr)
{
    struct turn_allocation *allocation = turn_servers_allocation(turn->servers);
    struct peer *peer = find_peer(turn, addr);

    if (peer)
        return peer;
    if (turn->peer_count == TURN_PERMISSIONS_MAX)
        return NULL;
    peer = &turn->peers[turn->peer_count++];
    *peer = (struct peer){.ip = *addr};
    peer->ip.port = 0;
    if (allocation)
        turn_allocation_permit(allocation, &peer->ip);
    return peer;
}

/* What waits for a peer that is forgotten would wait for ever. */
static void drop_waiting(struct turn_pipe *turn, const struct addr *ip)
{
    unsigned count = queue_count(turn->out);

    for (unsigned i = 0; i < count; i++) {
        struct message message = queue_pop(turn->out);

        if (!addr_equal_ip(&message.peer, ip)) {
            queue_push(turn->out, &message.data, &message.peer);
            continue;
        }
        turn->dropped++;
        slice_drop(&message.data);
    }
}

int turn_pipe_accept_peer(struct pipe *pipe, const struct addr *peer)
{
    struct turn_pipe *turn = turn_of(pipe);
    struct turn_allocation *allocation;
    struct peer *known;

    if (!turn->servers || turn->releasing)
        return ADIT_ECLOSED;
    known = find_peer(turn, peer);
    if (!known)
        return accept_peer(turn, peer) ? 0 : ADIT_EFULL;
    allocation = turn_servers_allocation(turn->servers);
    if (known->state == PEER_REFUSED && allocation)
        turn_allocation_permit(allocation, &known->ip); /* the answer is told anew */
    return 0;
}

void turn_pipe_forget_peer(struct pipe *pipe, const struct addr *peer)
{
    struct turn_pipe *turn = turn_of(pipe);
    struct turn_allocation *allocation;
    struct peer *known = turn->servers ? find_peer(turn, peer) : NULL;

    if (!known)
        return;
    allocation = turn_servers_allocation(turn->servers);
    if (allocation)
        turn_allocation_forget(allocation, peer);
    drop_waiting(turn, &known->ip);
    defer_soon(turn->base.loop, &turn->room);
    *known = turn->peers[--turn->peer_count];
}

/* --- Out --- */

enum sending {
    SENT,
    WAITS,   /* for its peer's permission */
    BLOCKED, /* so do all others: the leg is full, or there is none */
    DROPPED,
};

/* What can be done with a message now; SENT: the slice is empty. */
static enum sending send_message(struct turn_pipe *turn, struct slice *data, const struct addr *to)
{
    struct turn_allocation *allocation = turn_servers_allocation(turn->servers);
    const struct peer *peer = find_peer(turn, to);

    if (!peer || peer->state == PEER_REFUSED)
        return DROPPED;
    if (!allocation)
        return BLOCKED;
    if (peer->state == PEER_ASKING)
        return WAITS;
    switch (turn_allocation_send_slice(allocation, data, to)) {
    case 0:
        return SENT;
    case -ENOBUFS:
    case ADIT_ECLOSED: /* the leg moves */
        return BLOCKED;
    case -EACCES: /* renewed, and not granted yet */
        return WAITS;
    default:
        return DROPPED;
    }
}

static void release_now(struct turn_pipe *turn)
{
    if (turn->releasing)
        return;
    turn->releasing = true;
    timer_cancel(turn->base.loop, &turn->linger);
    turn_servers_release(turn->servers);
}

/* Sends what waits and can go; what still waits keeps its place. Once the leg is full nothing more
 * goes: a later message that is smaller would overtake. */
static void flush(struct turn_pipe *turn)
{
    unsigned count = queue_count(turn->out);
    bool moved = false, blocked = false;

    for (unsigned i = 0; i < count; i++) {
        struct message message = queue_pop(turn->out);
        enum sending sending = blocked ? BLOCKED : send_message(turn, &message.data, &message.peer);

        blocked |= sending == BLOCKED;
        if (sending == WAITS || sending == BLOCKED) {
            queue_push(turn->out, &message.data, &message.peer);
            continue;
        }
        turn->dropped += sending == DROPPED;
        moved = true;
        slice_drop(&message.data);
    }
    if (turn->base.flags & PIPE_IS_CLOSING && queue_count(turn->out) == 0)
        release_now(turn);
    else if (moved)
        pipe_has_room(&turn->base);
}

/* Whether a message has to queue up: others to the same address wait, or one that any could
 * overtake. */
static bool must_wait(struct turn_pipe *turn, const struct addr *to)
{
    for (unsigned i = 0; i < queue_count(turn->out); i++) {
        const struct addr *other = &queue_at(turn->out, i)->peer;
        const struct peer *peer = find_peer(turn, other);

        if (addr_equal_ip(other, to) || (peer && peer->state == PEER_GRANTED))
            return true;
    }
    return false;
}

static void turn_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct turn_pipe *turn = turn_of(pipe);
    struct message_queue *out;
    enum sending sending = DROPPED;

    if (to && addr_is_set(to) && accept_peer(turn, to))
        sending = must_wait(turn, to) ? WAITS : send_message(turn, data, to);
    if (sending == SENT || sending == DROPPED) {
        turn->dropped += sending == DROPPED;
        slice_drop(data);
        return;
    }
    out = queue_made(&turn->out);
    while (queue_is_full(out, data->len)) {
        struct message oldest = queue_pop(out);

        slice_drop(&oldest.data);
        turn->dropped++;
    }
    queue_push(out, data, to);
}

static size_t turn_room(const struct pipe *pipe)
{
    const struct turn_pipe *turn = turn_of(pipe);
    const struct turn_allocation *allocation = turn_servers_allocation(turn->servers);
    size_t queued = queue_bytes(turn->out);

    if (queue_count(turn->out) >= TURN_PIPE_QUEUE_MESSAGES)
        return 0;
    if (queued == 0 && allocation)
        return turn_allocation_room(allocation);
    return queued < TURN_PIPE_QUEUE_BYTES ? TURN_PIPE_QUEUE_BYTES - queued : 0;
}

static size_t turn_queued(const struct pipe *pipe)
{
    return queue_bytes(turn_of(pipe)->out);
}

/* --- In --- */

static void on_deliver(void *arg)
{
    struct turn_pipe *turn = arg;

    while (queue_count(turn->in) > 0 && pipe_read_budget(&turn->base) > 0) {
        struct message message = queue_pop(turn->in);

        pipe_deliver(&turn->base, &message.data, &message.peer);
    }
}

static void turn_resume(struct pipe *pipe)
{
    if (queue_count(turn_of(pipe)->in) > 0)
        defer_soon(pipe->loop, &turn_of(pipe)->deliver);
}

static void on_data(struct turn_servers *servers, const struct slice *data, const struct addr *peer,
                    void *arg)
{
    struct turn_pipe *turn = arg;
    struct slice copy = slice_ref(data);

    (void)servers;
    if (queue_count(turn->in) == 0 && pipe_read_budget(&turn->base) > 0) {
        pipe_deliver(&turn->base, &copy, peer);
        return;
    }
    if (turn->base.flags & PIPE_IS_CLOSING || queue_is_full(queue_made(&turn->in), copy.len)) {
        turn->dropped++;
        slice_drop(&copy);
        return;
    }
    queue_push(turn->in, &copy, peer);
}

/* --- What the servers tell --- */

/* The leg is another, or there is none, or what waited was dropped: whoever waited for room is told
 * that there is some, since nobody else will. */
static void on_maybe_room(void *arg)
{
    struct turn_pipe *turn = arg;

    if (!(turn->base.flags & PIPE_IS_CLOSING) && turn_room(&turn->base) > 0)
        pipe_has_room(&turn->base);
}

static void on_use(struct turn_servers *servers, struct turn_allocation *allocation, void *arg)
{
    struct turn_pipe *turn = arg;
    bool first = !(turn->base.flags & PIPE_IS_UP);

    (void)servers;
    for (size_t i = 0; i < turn->peer_count; i++) {
        turn->peers[i].state = PEER_ASKING;
        turn_allocation_permit(allocation, &turn->peers[i].ip);
    }
    if (turn->base.flags & PIPE_IS_CLOSING)
        return;
    if (first) {
        pipe_now_up(&turn->base);
        return;
    }
    if (turn->events.moved)
        turn->events.moved(&turn->base, turn->arg);
    on_maybe_room(turn);
}

static void on_moved(struct turn_servers *servers, void *arg)
{
    struct turn_pipe *turn = arg;

    (void)servers;
    if (turn->base.flags & PIPE_IS_CLOSING)
        return;
    flush(turn);
    if (turn->events.moved && !(turn->base.flags & PIPE_IS_CLOSING))
        turn->events.moved(&turn->base, turn->arg);
    on_maybe_room(turn);
}

static void on_none(struct turn_servers *servers, void *arg)
{
    struct turn_pipe *turn = arg;

    (void)servers;
    for (size_t i = 0; i < turn->peer_count; i++)
        turn->peers[i].state = PEER_ASKING;
    if (turn->events.none && !(turn->base.flags & PIPE_IS_CLOSING))
        turn->events.none(&turn->base, turn->arg);
    on_maybe_room(turn);
}

static void on_trouble(struct turn_servers *servers, size_t server,
                       const struct turn_report *report, void *arg)
{
    struct turn_pipe *turn = arg;

    (void)servers;
    turn->report = *report;
    if (turn->events.trouble && !(turn->base.flags & PIPE_IS_CLOSING))
        turn->events.trouble(&turn->base, server, report, turn->arg);
}

static void on_peer(struct turn_servers *servers, const struct addr *addr,
                    const struct turn_report *report, void *arg)
{
    struct turn_pipe *turn = arg;
    struct peer *peer = find_peer(turn, addr);

    (void)servers;
    if (!peer)
        return;
    peer->state = report->trouble == TURN_FINE ? PEER_GRANTED : PEER_REFUSED;
    if (report->trouble != TURN_FINE)
        turn->report = *report;
    flush(turn);
    if (turn->events.peer && !(turn->base.flags & PIPE_IS_CLOSING))
        turn->events.peer(&turn->base, addr, report, turn->arg);
}

static void on_icmp(struct turn_servers *servers, const struct addr *peer,
                    const struct stun_icmp *icmp, void *arg)
{
    struct turn_pipe *turn = arg;

    (void)servers;
    if (turn->events.icmp && !(turn->base.flags & PIPE_IS_CLOSING))
        turn->events.icmp(&turn->base, peer, icmp, turn->arg);
}

static void on_room(struct turn_servers *servers, void *arg)
{
    struct turn_pipe *turn = arg;

    (void)servers;
    if (queue_count(turn->out) > 0)
        flush(turn);
    else if (!(turn->base.flags & PIPE_IS_CLOSING))
        pipe_has_room(&turn->base);
}

/* The code that `end` tells; turn_pipe_report() has the words. */
static int error_of(enum turn_trouble trouble)
{
    switch (trouble) {
    case TURN_FINE:
        return 0;
    case TURN_UNREACHABLE:
        return -EHOSTUNREACH;
    case TURN_SILENT:
        return -ETIMEDOUT;
    case TURN_NO_LOGIN:
    case TURN_WRONG_LOGIN:
    case TURN_EXPIRED_LOGIN:
        return -EACCES;
    case TURN_FORBIDDEN:
    case TURN_NO_MOBILITY:
        return -EPERM;
    case TURN_TAMPERED:
        return ADIT_EAUTH;
    case TURN_QUOTA:
    case TURN_CAPACITY:
    case TURN_FULL:
        return ADIT_EFULL;
    case TURN_NO_FAMILY:
        return -EAFNOSUPPORT;
    case TURN_NO_TRANSPORT:
        return -EPROTONOSUPPORT;
    case TURN_LOST:
    case TURN_MISMATCH:
        return -ECONNRESET;
    case TURN_PEER_FAILED:
        return -ECONNREFUSED;
    case TURN_NO_MEMORY:
        return -ENOMEM;
    case TURN_REDIRECTED:
    case TURN_NOT_TURN:
    case TURN_FAILED:
        return ADIT_EPROTO;
    }
    return ADIT_EPROTO;
}

static void turn_over(struct turn_pipe *turn, int why)
{
    timer_cancel(turn->base.loop, &turn->linger);
    defer_cancel(turn->base.loop, &turn->deliver);
    defer_cancel(turn->base.loop, &turn->room);
    pipe_is_over(&turn->base, why);
}

static void on_end(struct turn_servers *servers, const struct turn_report *report, void *arg)
{
    struct turn_pipe *turn = arg;

    (void)servers;
    turn->servers = NULL; /* gone */
    if (report->trouble != TURN_FINE)
        turn->report = *report;
    turn_over(turn, turn->base.flags & PIPE_IS_CLOSING ? 0 : error_of(report->trouble));
}

/* --- End --- */

static void on_linger(void *arg)
{
    release_now(arg);
}

static void turn_close(struct pipe *pipe, int why)
{
    struct turn_pipe *turn = turn_of(pipe);

    if (why) {
        if (turn->servers)
            turn_servers_close(turn->servers);
        turn->servers = NULL;
        turn_over(turn, why);
        return;
    }
    if (queue_count(turn->out) == 0 || !(pipe->flags & PIPE_IS_UP))
        release_now(turn);
    else
        timer_set_in(pipe->loop, &turn->linger, LINGER_MS * MS_US);
}

static void turn_shutdown(struct pipe *pipe)
{
    (void)pipe; /* messages have no end of file: nothing more is sent, that is all */
}

static int turn_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    const struct turn_allocation *allocation = turn_pipe_allocation(pipe);

    if (!allocation)
        return -ENOTCONN;
    if (local && turn_allocation_relayed(allocation, 0, local) != 0)
        return -ENOTCONN;
    return remote ? turn_allocation_addrs(allocation, NULL, remote) : 0;
}

static void turn_destroy(struct pipe *pipe)
{
    struct turn_pipe *turn = turn_of(pipe);

    queue_free(turn->in);
    queue_free(turn->out);
    free(turn->peers);
    free(turn);
}

static const struct pipe_ops turn_ops = {
    .kind = "turn",
    .messages = true,
    .write = turn_write,
    .room = turn_room,
    .queued = turn_queued,
    .resume = turn_resume,
    .shutdown = turn_shutdown,
    .close = turn_close,
    .addrs = turn_addrs,
    .destroy = turn_destroy,
};

/* --- For users --- */

struct pipe *turn_pipe_open(struct loop *loop, const struct turn_settings *settings)
{
    static const struct turn_servers_events events = {
        .use = on_use,
        .none = on_none,
        .trouble = on_trouble,
        .end = on_end,
        .moved = on_moved,
        .data = on_data,
        .peer = on_peer,
        .icmp = on_icmp,
        .room = on_room,
    };
    struct turn_pipe *turn = calloc(1, sizeof(*turn));
    int error = ENOMEM;

    if (turn)
        turn->peers = calloc(TURN_PERMISSIONS_MAX, sizeof(*turn->peers));
    if (turn && turn->peers) {
        pipe_init(&turn->base, &turn_ops, loop);
        timer_init(&turn->linger, on_linger, turn);
        defer_init(&turn->deliver, on_deliver, turn);
        defer_init(&turn->room, on_maybe_room, turn);
        turn->servers = turn_servers_open(loop, settings, &events, turn);
        if (turn->servers)
            return &turn->base;
        error = errno;
    }
    if (turn)
        free(turn->peers);
    free(turn);
    errno = error;
    return NULL;
}

void turn_pipe_set_events(struct pipe *pipe, const struct turn_pipe_events *events, void *arg)
{
    turn_of(pipe)->events = events ? *events : (struct turn_pipe_events){0};
    turn_of(pipe)->arg = arg;
}

const struct turn_allocation *turn_pipe_allocation(const struct pipe *pipe)
{
    const struct turn_pipe *turn = turn_of(pipe);

    return turn->servers ? turn_servers_allocation(turn->servers) : NULL;
}

int turn_pipe_relayed(const struct pipe *pipe, int family, struct addr *addr)
{
    const struct turn_allocation *allocation = turn_pipe_allocation(pipe);

    return allocation ? turn_allocation_relayed(allocation, family, addr) : -ENOENT;
}

int turn_pipe_mapped(const struct pipe *pipe, struct addr *addr)
{
    const struct turn_allocation *allocation = turn_pipe_allocation(pipe);

    return allocation ? turn_allocation_mapped(allocation, addr) : -ENOENT;
}

const struct turn_report *turn_pipe_report(const struct pipe *pipe)
{
    return &turn_of(pipe)->report;
}

int turn_pipe_server(const struct pipe *pipe)
{
    const struct turn_pipe *turn = turn_of(pipe);

    return turn->servers ? turn_servers_current(turn->servers) : -ENOENT;
}

void turn_pipe_check(struct pipe *pipe)
{
    if (turn_of(pipe)->servers && !turn_of(pipe)->releasing)
        turn_servers_check(turn_of(pipe)->servers);
}

uint64_t turn_pipe_dropped(const struct pipe *pipe)
{
    return turn_of(pipe)->dropped;
}
