/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: an allocation in virtual time whose server says what the input says. The
 * input is a list of frames, each a byte of what to do, a byte of length, and so many bytes: they
 * arrive as they are, or with the id and method of the client's last request, so that they are its
 * answer. Between them time passes, the client speaks to a peer and changes its mind, and the
 * server closes connections; it speaks by the one that the client has opened last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pipe/pair.h"
#include "stun/turn_tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CONNECTIONS_MAX 8

struct side {
    struct loop *loop;
    struct pipe *pipes[CONNECTIONS_MAX]; /* the server's ends, the last is the one it uses */
    size_t count;
    uint8_t last[STUN_HEADER_BYTES];
    bool has_last, ended;
};

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct side *side = arg;

    (void)from;
    if (pipe != side->pipes[side->count - 1] || data->len < STUN_HEADER_BYTES ||
        stun_kind(data->data[0]) != STUN_KIND_MESSAGE)
        return;
    memcpy(side->last, data->data, sizeof(side->last));
    side->has_last = true;
}

static void on_pipe_end(struct pipe *pipe, int why, void *arg)
{
    struct side *side = arg;

    (void)why;
    for (size_t i = 0; i < side->count; i++) {
        if (side->pipes[i] != pipe)
            continue;
        side->pipes[i] = side->pipes[side->count - 1];
        side->count--;
    }
}

static struct pipe *connect_pair(void *owner, const struct addr *to,
                                 enum server_transport transport)
{
    static const struct pipe_events events = {.message = on_message, .end = on_pipe_end};
    const struct pair_options options = {.messages = transport == SERVER_UDP};
    struct side *side = owner;
    struct pipe *ends[2];

    (void)to;
    errno = EMFILE;
    if (side->count == CONNECTIONS_MAX || pair_new(side->loop, &options, ends) != 0)
        return NULL;
    side->pipes[side->count++] = ends[1];
    pipe_add_listener(ends[1], &events, side);
    pipe_up_soon(ends[0]);
    return ends[0];
}

static void on_end(struct turn_allocation *allocation, const struct turn_report *report, void *arg)
{
    (void)allocation;
    if (!report->text[0])
        abort(); /* words for everything */
    ((struct side *)arg)->ended = true;
}

static void on_done(void *arg, struct pipe *pipe, struct slice *surplus,
                    const struct turn_report *report)
{
    (void)arg;
    (void)report;
    if (!pipe)
        return;
    turn_tcp_start(pipe, surplus);
    pipe_abort(pipe, -ECANCELED);
}

static void on_attempt(struct turn_allocation *allocation, uint32_t connection,
                       const struct addr *peer, void *arg)
{
    (void)peer;
    turn_tcp_answer(allocation, connection, on_done, arg);
}

static void pass(struct side *side, uint64_t us)
{
    for (int i = 0; i < 50 && loop_turn(side->loop, us); i++) {}
}

static void server_says(struct side *side, unsigned what, const uint8_t *bytes, size_t len)
{
    uint8_t frame[STUN_HEADER_BYTES + 256];
    struct pipe *pipe;

    if (side->count == 0)
        return;
    pipe = side->pipes[side->count - 1];
    if (!(what & 1) || !side->has_last || len > 252) {
        pipe_write_copy(pipe, bytes, len);
        return;
    }
    len -= len % 4;
    memcpy(frame, side->last, sizeof(side->last));
    frame[0] |= 1; /* a response: success, or an error */
    frame[1] |= what & 2 ? 0x10 : 0;
    frame[2] = 0;
    frame[3] = (uint8_t)len;
    memcpy(frame + STUN_HEADER_BYTES, bytes, len);
    pipe_write_copy(pipe, frame, STUN_HEADER_BYTES + len);
}

/* What the client does next; it may be the end of it, which is told later. */
static void client_does(struct side *side, struct turn_allocation *allocation, unsigned what)
{
    struct addr peer;

    addr_parse("192.0.2.7:7", &peer);
    if (what & 4)
        turn_allocation_permit(allocation, &peer);
    if (what & 8)
        turn_allocation_send(allocation, "hello", 5, &peer);
    if (what & 16)
        turn_tcp_connect(allocation, &peer, on_done, NULL);
    if (!(what & 128))
        return;
    if (what & 8)
        turn_allocation_release(allocation);
    if (what & 4)
        turn_allocation_check(allocation);
    else
        turn_allocation_forget(allocation, &peer);
    if (what & 16)
        turn_tcp_answer(allocation, 7, on_done, side);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct turn_allocation_events events = {.attempt = on_attempt, .end = on_end};
    struct side side = {0};
    struct turn_server server = {.server = {.is_turn = true, .port = 3478, .host = "10.0.0.1"},
                                 .leg = LEG_OPTIONS_DEFAULT};
    struct turn_request request = {0};
    struct turn_allocation *allocation;

    if (size == 0)
        return 0;
    side.loop = loop_new_virtual(1);
    request.tcp = data[0] & 2;
    request.mobility = data[0] & 4;
    request.both = data[0] & 8;
    if (data[0] & 16)
        server.login = (struct turn_login){.user = "user", .password = "password"};
    server.server.transport = data[0] & 1 || request.tcp ? SERVER_TCP : SERVER_UDP;
    server.leg.connect = connect_pair;
    server.leg.connect_owner = &side;
    allocation = turn_allocation_open(side.loop, &server, &request, &events, &side);
    if (!allocation)
        abort();
    pass(&side, 1);
    for (size_t at = 1; at + 2 <= size && !side.ended;) {
        size_t len = data[at + 1];

        if (len > size - at - 2)
            len = size - at - 2;
        server_says(&side, data[at], data + at + 2, len);
        pass(&side, 1);
        if (data[at] & 64 && side.count > 0) {
            pipe_abort(side.pipes[side.count - 1], -ECONNRESET);
            if (data[at] & 32)
                pass(&side, 1);
        }
        if (!side.ended)
            client_does(&side, allocation, data[at]);
        pass(&side, data[at] & 32 ? 300 * SEC_US : 1);
        at += 2 + len;
    }
    if (!side.ended)
        turn_allocation_close(allocation);
    for (size_t i = 0; i < side.count; i++)
        pipe_abort(side.pipes[i], -ECANCELED);
    pass(&side, SEC_US);
    loop_free(side.loop);
    return 0;
}
