/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A connection with a peer through a TCP allocation (RFC 6062):
 *
 *     connect:  Connect on the control connection -> CONNECTION-ID \
 *     answer:   ConnectionAttempt has told the CONNECTION-ID --------> another connection to the
 *     server -> ConnectionBind on it -> from then on every byte on it is the peer's
 *
 * The second connection goes to the very address that the first one leads to (a name may have
 * several), from a port of its own. What the server sends right behind its answer to ConnectionBind
 * is the peer's already: it is kept, and delivered first by turn_tcp_start().
 *
 * Ownership: a turn_tcp belongs to its allocation until `done`, and fails with it; the pipe is
 * nobody's but the callee's, though it ends when the server ends the allocation. Failures are told
 * from the loop, never from within a call.
 *
 * Limits: TURN_TCP_PENDING_MAX being made in an allocation; the server gives up its own after 30 s.
 */
#include "stun/turn_tcp.h"

#include <stdlib.h>

#include "stun/turn_int.h"

struct turn_tcp {
    struct turn_tcp *next, **prev; /* prev NULL: the allocation is gone */
    struct turn_allocation *allocation;
    struct loop *loop;
    struct turn_exchange *connect; /* on the allocation's leg */
    struct turn_leg data;
    uint32_t connection;
    struct addr peer; /* unset: it was the peer who connected */
    struct turn_report report;
    struct defer failing;
    turn_tcp_done *done;
    void *arg;
};

static int send_packet(void *owner, const uint8_t *bytes, size_t len, const struct addr *to)
{
    const struct turn_tcp *tcp = owner;

    (void)to;
    return tcp->data.leg ? leg_send(tcp->data.leg, bytes, len) : ADIT_ECLOSED;
}

/* Lets go of everything but the memory. */
static void detach(struct turn_tcp *tcp)
{
    struct leg *leg = tcp->data.leg;

    if (tcp->connect)
        turn_exchange_cancel(tcp->connect);
    tcp->connect = NULL;
    turn_exchanges_cancel(&tcp->data);
    transaction_table_free(tcp->data.table);
    tcp->data.table = NULL;
    tcp->data.leg = NULL;
    if (leg)
        leg_close(leg);
    if (tcp->prev) {
        *tcp->prev = tcp->next;
        if (tcp->next)
            tcp->next->prev = tcp->prev;
    }
    tcp->prev = NULL;
}

static void on_failing(void *arg)
{
    struct turn_tcp *tcp = arg;
    struct turn_report report = tcp->report;
    turn_tcp_done *done = tcp->done;
    void *done_arg = tcp->arg;

    free(tcp);
    done(done_arg, NULL, NULL, &report);
}

static void fail(struct turn_tcp *tcp, const struct turn_report *report)
{
    detach(tcp);
    tcp->report = *report;
    defer_soon(tcp->loop, &tcp->failing);
}

static void fail_with(struct turn_tcp *tcp, enum turn_trouble trouble, const char *text)
{
    struct turn_report report;

    turn_report_make(&report, trouble, STUN_METHOD_CONNECTION_BIND, 0,
                     "the connection for the peer's data failed: %.200s", text);
    fail(tcp, &report);
}

void turn_tcp_cancel(struct turn_tcp *tcp)
{
    detach(tcp);
    defer_cancel(tcp->loop, &tcp->failing);
    free(tcp);
}

void turn_tcp_fail_all(struct turn_allocation *allocation, const struct turn_report *report)
{
    while (allocation->connections)
        fail(allocation->connections, report);
}

/* --- The data connection --- */

static void build_bind(struct turn_exchange *exchange, struct stun_builder *builder)
{
    stun_put_u32(builder, STUN_ATTR_CONNECTION_ID, exchange->number);
}

static void on_bound(struct turn_exchange *exchange, const struct stun_message *response,
                     const struct turn_report *report)
{
    static const struct turn_report fine = {.trouble = TURN_FINE, .text = "connected"};
    struct turn_tcp *tcp = exchange->arg;
    turn_tcp_done *done = tcp->done;
    void *arg = tcp->arg;
    struct slice surplus;
    struct pipe *pipe;

    (void)response;
    if (report) {
        fail(tcp, report);
        return;
    }
    pipe = leg_take_pipe(tcp->data.leg, &surplus);
    if (!pipe) {
        fail_with(tcp, TURN_LOST, "it was closed");
        return;
    }
    tcp->data.leg = NULL;
    detach(tcp);
    free(tcp);
    done(arg, pipe, &surplus, &fine);
    slice_drop(&surplus);
}

static void on_leg_up(struct leg *leg, void *arg)
{
    struct turn_tcp *tcp = arg;
    const struct turn_exchange what = {.method = STUN_METHOD_CONNECTION_BIND,
                                       .build = build_bind,
                                       .done = on_bound,
                                       .arg = tcp,
                                       .number = tcp->connection};

    (void)leg;
    tcp->data.up = true;
    if (!turn_exchange_start(&tcp->data, &what, NULL))
        fail_with(tcp, TURN_NO_MEMORY, "out of memory");
}

static void on_leg_frame(struct leg *leg, const struct slice *frame, void *arg)
{
    struct turn_tcp *tcp = arg;
    struct stun_message message;

    (void)leg;
    if (frame->len == 0 || stun_parse_datagram(frame->data, frame->len, &message) != 0 ||
        !transaction_receive(tcp->data.table, &message, NULL))
        fail_with(tcp, TURN_NOT_TURN, "the server did not answer as it should");
}

static void on_leg_end(struct leg *leg, int why, const char *text, void *arg)
{
    struct turn_tcp *tcp = arg;

    (void)leg;
    (void)why;
    tcp->data.leg = NULL; /* it is gone */
    fail_with(tcp, TURN_LOST, text);
}

static bool open_data(struct turn_tcp *tcp)
{
    static const struct leg_events events = {
        .up = on_leg_up, .frame = on_leg_frame, .end = on_leg_end};
    struct turn_allocation *a = tcp->allocation;
    struct leg_options options = a->to.leg;

    if (!options.tls_name)
        options.tls_name = a->to.server.host;
    options.pipe.local.port = 0;
    if (!a->leg->leg || leg_addrs(a->leg->leg, NULL, &options.address) != 0)
        return false;
    tcp->data.owner = a;
    tcp->data.table = transaction_table_new(tcp->loop, true, NULL, send_packet, tcp);
    if (!tcp->data.table)
        return false;
    tcp->data.leg = leg_open(tcp->loop, &a->to.server, &options, &events, tcp);
    return tcp->data.leg != NULL;
}

/* --- Asking for one --- */

static void build_connect(struct turn_exchange *exchange, struct stun_builder *builder)
{
    stun_put_xor_address(builder, STUN_ATTR_XOR_PEER_ADDRESS, &exchange->peer);
}

static void on_connect(struct turn_exchange *exchange, const struct stun_message *response,
                       const struct turn_report *report)
{
    struct turn_tcp *tcp = exchange->arg;
    struct turn_allocation *a = tcp->allocation;

    tcp->connect = NULL;
    if (report) {
        fail(tcp, report);
        if (report->trouble == TURN_MISMATCH)
            turn_gone(a, report);
        else if (turn_is_login_lost(report))
            turn_end(a, report);
        return;
    }
    if (stun_read_u32(stun_find(response, STUN_ATTR_CONNECTION_ID), &tcp->connection) != 0)
        fail_with(tcp, TURN_NOT_TURN, "the server gave no number for it");
    else if (!open_data(tcp))
        fail_with(tcp, TURN_NO_MEMORY, "out of memory or descriptors");
}

static struct turn_tcp *tcp_new(struct turn_allocation *a, turn_tcp_done *done, void *arg)
{
    struct turn_tcp *tcp;
    unsigned pending = 0;

    for (tcp = a->connections; tcp; tcp = tcp->next)
        pending++;
    if (pending >= TURN_TCP_PENDING_MAX || !(tcp = calloc(1, sizeof(*tcp))))
        return NULL;
    tcp->allocation = a;
    tcp->loop = a->loop;
    tcp->done = done;
    tcp->arg = arg;
    defer_init(&tcp->failing, on_failing, tcp);
    tcp->next = a->connections;
    if (tcp->next)
        tcp->next->prev = &tcp->next;
    tcp->prev = &a->connections;
    a->connections = tcp;
    return tcp;
}

struct turn_tcp *turn_tcp_connect(struct turn_allocation *allocation, const struct addr *peer,
                                  turn_tcp_done *done, void *arg)
{
    struct turn_tcp *tcp = tcp_new(allocation, done, arg);
    const struct turn_exchange what = {.method = STUN_METHOD_CONNECT,
                                       .build = build_connect,
                                       .done = on_connect,
                                       .arg = tcp,
                                       .holder = tcp ? &tcp->connect : NULL,
                                       .peer = *peer};

    if (!tcp)
        return NULL;
    tcp->peer = *peer;
    if (allocation->state != TURN_UP || !allocation->leg->up || !allocation->request.tcp)
        fail_with(tcp, TURN_LOST, "there is no TCP allocation");
    else if (!turn_exchange_start(allocation->leg, &what, &tcp->connect))
        fail_with(tcp, TURN_NO_MEMORY, "out of memory");
    return tcp;
}

struct turn_tcp *turn_tcp_answer(struct turn_allocation *allocation, uint32_t connection,
                                 turn_tcp_done *done, void *arg)
{
    struct turn_tcp *tcp = tcp_new(allocation, done, arg);

    if (!tcp)
        return NULL;
    tcp->connection = connection;
    if (!open_data(tcp))
        fail_with(tcp, TURN_NO_MEMORY, "out of memory or descriptors");
    return tcp;
}

void turn_tcp_start(struct pipe *pipe, struct slice *surplus)
{
    if (surplus->len > 0)
        pipe_deliver(pipe, surplus, NULL);
    else
        slice_drop(surplus);
    pipe_resume(pipe);
}
