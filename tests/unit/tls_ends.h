/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: both ends of a TLS pipe in one loop, and what each has seen. What the tests
 * of TLS pipes begin with.
 */
#ifndef ADIT_TESTS_TLS_ENDS_H
#define ADIT_TESTS_TLS_ENDS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crypto/preface.h"
#include "crypto/tls_context.h"
#include "pipe/tls.h"

#define TURN_US   (20 * MS_US)
#define PATIENCE  (60 * SEC_US)
#define NOT_ENDED 1

/* One end and what it has seen. */
struct end {
    struct pipe *pipe;
    int why; /* NOT_ENDED until `end` */
    bool up, eof;
    uint64_t received, messages, to_send, sent;
    size_t last_len, chunk;
    uint32_t seed;
    bool bad, by_write, answer_eof;
    uint8_t last[64];
};

struct world {
    struct loop *loop;
    struct identity *alice, *bob;
    struct tls_context *client, *server;
    struct end a, b;
};

/* Byte `at` of the stream of `seed`. */
static uint8_t pattern(uint32_t seed, uint64_t at)
{
    return (uint8_t)((at * 0x9e37u + seed + (at >> 13)) >> 3);
}

static void fill(uint8_t *bytes, size_t len, uint32_t seed, uint64_t at)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(seed, at + i);
}

/* --- What ends hear --- */

static void on_up(struct pipe *pipe, void *arg)
{
    struct end *end = arg;

    assert_true(pipe_is_up(pipe));
    end->up = true;
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct end *end = arg;

    (void)pipe;
    assert_null(from);
    for (size_t i = 0; i < data->len; i++)
        if (data->data[i] != pattern(end->seed, end->received + i))
            end->bad = true;
    end->received += data->len;
    end->messages++;
    end->last_len = data->len;
    memcpy(end->last, data->data, data->len < sizeof end->last ? data->len : sizeof end->last);
}

static void on_eof(struct pipe *pipe, void *arg)
{
    struct end *end = arg;

    end->eof = true;
    if (end->answer_eof)
        pipe_shutdown(pipe);
}

/* Sends as long as there is room. */
static void pump(struct end *end)
{
    static uint8_t bytes[BLOCK_BYTES];

    while (end->sent < end->to_send && pipe_room(end->pipe) > 0) {
        size_t len = end->chunk ? end->chunk : (size_t)(end->sent * 7919 % BLOCK_BYTES) + 1;

        if (len > end->to_send - end->sent)
            len = (size_t)(end->to_send - end->sent);
        fill(bytes, len, ~end->seed, end->sent);
        end->sent += len;
        if (end->by_write)
            assert_int_equal(pipe_write_copy(end->pipe, bytes, len), 0);
        else
            assert_int_equal(pipe_send(end->pipe, bytes, len, end->sent < end->to_send), 0);
    }
}

static void on_room(struct pipe *pipe, void *arg)
{
    (void)pipe;
    pump(arg);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct end *end = arg;

    assert_ptr_equal(pipe, end->pipe);
    end->why = why;
    end->pipe = NULL;
}

static const struct pipe_events events = {
    .up = on_up, .message = on_message, .eof = on_eof, .room = on_room, .end = on_end};

/* --- Making pipes --- */

static void listen_to(struct end *end, struct pipe *pipe, uint32_t seed)
{
    assert_non_null(pipe);
    *end = (struct end){.pipe = pipe, .why = NOT_ENDED, .seed = seed};
    pipe_add_listener(pipe, &events, end);
}

/* A connected pair of TCP sockets, with send buffers of this size (0: the system's). */
static void tcp_pair(int fds[2], int buffer)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&sin, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sin, &len), 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fds[0], (struct sockaddr *)&sin, len), 0);
    fds[1] = accept(listener, NULL, NULL);
    assert_true(fds[1] >= 0);
    close(listener);
    for (int i = 0; i < 2 && buffer; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
}

/* Turns the loop until the condition holds; fails the test when it takes too long. */
#define AWAIT(world, condition)                                   \
    do {                                                          \
        uint64_t until_ = loop_refresh((world)->loop) + PATIENCE; \
        while (!(condition)) {                                    \
            assert_true(loop_refresh((world)->loop) < until_);    \
            loop_turn((world)->loop, TURN_US);                    \
        }                                                         \
    } while (0)

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);

    world->loop = loop_new();
    world->alice = identity_generate();
    world->bob = identity_generate();
    world->client = tls_context_new(world->alice);
    world->server = tls_context_new(world->bob);
    *state = world;
    return world->loop && world->client && world->server ? 0 : -1;
}

static void end_pipes(struct world *world)
{
    if (world->a.pipe)
        pipe_abort(world->a.pipe, -ECONNABORTED);
    if (world->b.pipe)
        pipe_abort(world->b.pipe, -ECONNABORTED);
    AWAIT(world, !world->a.pipe && !world->b.pipe);
    assert_int_equal(ERR_peek_error(), 0);
}

static int teardown(void **state)
{
    struct world *world = *state;

    end_pipes(world);
    tls_context_free(world->client);
    tls_context_free(world->server);
    identity_free(world->alice);
    identity_free(world->bob);
    loop_free(world->loop);
    block_pool_trim(0);
    free(world);
    return block_total_bytes() == 0 ? 0 : -1;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
