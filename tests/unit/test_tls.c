/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * TLS pipes over loopback TCP and over socket pairs, both ends in one loop: who gets up and who is
 * refused, what strangers see, whether bytes and records arrive whole and in order under every way
 * of sending and with tiny buffers, and how pipes end.
 */
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

static void make_pipes(struct world *world, int fds[2], const struct node_id *expected,
                       const struct pipe_options *options)
{
    listen_to(&world->a, tls_wrap(world->loop, world->client, fds[0], false, expected, options),
              ~7u);
    listen_to(&world->b, tls_accept(world->loop, world->server, fds[1], options), 7);
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

static void pipes_up(struct world *world, int buffer)
{
    int fds[2];

    tcp_pair(fds, buffer);
    make_pipes(world, fds, identity_id(world->bob), NULL);
    AWAIT(world, world->a.up && world->b.up);
}

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

/* --- Tests --- */

static void both_get_up(void **state)
{
    struct world *world = *state;
    uint8_t keys[2][32];
    struct addr local, remote;

    pipes_up(world, 0);
    assert_true(node_id_equal(tls_peer(world->a.pipe), identity_id(world->bob)));
    assert_true(node_id_equal(tls_peer(world->b.pipe), identity_id(world->alice)));
    assert_int_equal(pipe_exporter(world->a.pipe, "adit test", "x", 1, keys[0], 32), 0);
    assert_int_equal(pipe_exporter(world->b.pipe, "adit test", "x", 1, keys[1], 32), 0);
    assert_memory_equal(keys[0], keys[1], 32);
    assert_int_equal(pipe_exporter(world->b.pipe, "adit test", "y", 1, keys[1], 32), 0);
    assert_memory_not_equal(keys[0], keys[1], 32);
    assert_int_equal(pipe_addrs(world->a.pipe, &local, NULL), 0);
    assert_int_equal(pipe_addrs(world->b.pipe, NULL, &remote), 0);
    assert_true(addr_equal(&local, &remote));
    assert_true(tls_rtt_us(world->a.pipe) > 0);
    assert_int_equal(tls_unsent_bytes(world->a.pipe), 0);
}

static void open_connects(void **state)
{
    struct world *world = *state;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int fd, listener = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(listener, (struct sockaddr *)&sin, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sin, &len), 0);
    struct addr to = addr_loopback(AF_INET, ntohs(sin.sin_port));
    listen_to(&world->a, tls_open(world->loop, world->client, &to, identity_id(world->bob), NULL),
              0);
    assert_int_equal(pipe_room(world->a.pipe), 0);
    assert_int_equal(pipe_exporter(world->a.pipe, "x", "", 0, &fd, 1), -ENOTCONN);
    fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    listen_to(&world->b, tls_accept(world->loop, world->server, fd, NULL), 0);
    AWAIT(world, world->a.up && world->b.up);
    assert_true(pipe_room(world->a.pipe) >= BLOCK_BYTES);
    close(listener);

    /* Nobody listens there any more. */
    end_pipes(world);
    listen_to(&world->a, tls_open(world->loop, world->client, &to, identity_id(world->bob), NULL),
              0);
    AWAIT(world, world->a.why != NOT_ENDED);
    assert_int_equal(world->a.why, -ECONNREFUSED);
}

/* The address is right and the key is another's: the client says so; the server, for which the
 * preface was wrong, says nothing. */
static void wrong_key(void **state)
{
    struct world *world = *state;
    int fds[2];

    tcp_pair(fds, 0);
    make_pipes(world, fds, identity_id(world->alice), NULL);
    AWAIT(world, world->a.why != NOT_ENDED && world->b.why != NOT_ENDED);
    assert_int_equal(world->b.why, ADIT_EAUTH);
    assert_true(world->a.why == ADIT_ETRUNC || world->a.why == -ECONNRESET);
    assert_false(world->a.up || world->b.up);
}

/* One who knows the ID, and so the preface, but not the key. */
static void impostor(void **state)
{
    struct world *world = *state;
    struct preface preface = {.time_s = 1};
    uint8_t bytes[PREFACE_BYTES];
    int fds[2], between[2];

    /* a expects alice; b is bob; a middle man swaps the preface. */
    tcp_pair(fds, 0);
    tcp_pair(between, 0);
    listen_to(&world->a,
              tls_wrap(world->loop, world->client, fds[0], false, identity_id(world->alice), NULL),
              0);
    listen_to(&world->b, tls_accept(world->loop, world->server, between[1], NULL), 0);
    assert_int_equal(preface_build(identity_id(world->bob), &preface, bytes), 0);
    assert_int_equal(write(between[0], bytes, sizeof bytes), (ssize_t)sizeof bytes);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    fcntl(between[0], F_SETFL, O_NONBLOCK);
    size_t skip = PREFACE_BYTES;
    AWAIT(world, ({
              uint8_t buf[4096];
              ssize_t n = read(fds[1], buf, skip ? skip : sizeof buf);
              if (n > 0 && skip)
                  skip -= (size_t)n;
              else if (n > 0)
                  assert_int_equal(write(between[0], buf, (size_t)n), n);
              n = read(between[0], buf, sizeof buf);
              if (n > 0)
                  assert_int_equal(write(fds[1], buf, (size_t)n), n);
              world->a.why != NOT_ENDED && world->b.why != NOT_ENDED;
          }));
    assert_int_equal(world->a.why, ADIT_EAUTH);
    assert_true(world->b.why < 0);
    assert_false(world->a.up || world->b.up);
    close(fds[1]);
    close(between[0]);
}

/* What a stranger sees who sends this: never a byte, and an orderly end. */
static void stranger_sees_nothing(struct world *world, const void *bytes, size_t len, int why)
{
    const struct pipe_options options = {.tls_timeout_ms = 100};
    int fds[2];
    char answer;

    tcp_pair(fds, 0);
    listen_to(&world->b, tls_accept(world->loop, world->server, fds[1], &options), 0);
    assert_int_equal(write(fds[0], bytes, len), (ssize_t)len);
    AWAIT(world, world->b.why != NOT_ENDED);
    assert_int_equal(world->b.why, why);
    assert_int_equal(read(fds[0], &answer, 1), 0);
    close(fds[0]);
}

static void strangers(void **state)
{
    struct world *world = *state;
    uint8_t bytes[4096];
    struct preface preface = {.time_s = 0};

    memset(bytes, 0x16, sizeof bytes);
    stranger_sees_nothing(world, "GET / HTTP/1.1\r\nHost: exit.example\r\n\r\n", 39, -ETIMEDOUT);
    stranger_sees_nothing(world, bytes, 0, -ETIMEDOUT);
    stranger_sees_nothing(world, bytes, PREFACE_BYTES, ADIT_EAUTH);
    stranger_sees_nothing(world, bytes, sizeof bytes, ADIT_EAUTH);
    preface_build(identity_id(world->alice), &preface, bytes);
    stranger_sees_nothing(world, bytes, sizeof bytes, ADIT_EAUTH);
    /* With the right preface it hears TLS, and its garbage ends it. */
    int fds[2];
    preface_build(identity_id(world->bob), &preface, bytes);
    tcp_pair(fds, 0);
    listen_to(&world->b, tls_accept(world->loop, world->server, fds[1], NULL), 0);
    assert_int_equal(write(fds[0], bytes, sizeof bytes), (ssize_t)sizeof bytes);
    AWAIT(world, world->b.why != NOT_ENDED);
    assert_int_equal(world->b.why, ADIT_EPROTO);
    close(fds[0]);
    /* A preface in single bytes is as good. */
    tcp_pair(fds, 0);
    listen_to(&world->b, tls_accept(world->loop, world->server, fds[1], NULL), 0);
    for (size_t i = 0; i < PREFACE_BYTES; i++) {
        assert_int_equal(write(fds[0], bytes + i, 1), 1);
        loop_turn(world->loop, 0);
    }
    assert_int_equal(world->b.why, NOT_ENDED);
    close(fds[0]);
    AWAIT(world, world->b.why != NOT_ENDED);
    assert_int_equal(world->b.why, ADIT_ETRUNC);
}

static void silent_server(void **state)
{
    struct world *world = *state;
    const struct pipe_options options = {.tls_timeout_ms = 50};
    int fds[2];

    tcp_pair(fds, 0);
    listen_to(
        &world->a,
        tls_wrap(world->loop, world->client, fds[0], false, identity_id(world->bob), &options), 0);
    AWAIT(world, world->a.why != NOT_ENDED);
    assert_int_equal(world->a.why, -ETIMEDOUT);
    close(fds[1]);
}

static void transfer(struct world *world, uint64_t bytes, size_t chunk, bool by_write)
{
    for (int i = 0; i < 2; i++) {
        struct end *end = i ? &world->b : &world->a;

        end->to_send += bytes;
        end->chunk = chunk;
        end->by_write = by_write;
        pump(end);
    }
    AWAIT(world, world->a.received == world->b.to_send && world->b.received == world->a.to_send);
    assert_false(world->a.bad || world->b.bad);
    assert_int_equal(pipe_queued(world->a.pipe), 0);
}

static void bulk_both_ways(void **state)
{
    struct world *world = *state;

    pipes_up(world, 0);
    transfer(world, 32 << 20, BLOCK_BYTES, false);
    assert_int_equal(world->a.messages, (32 << 20) / BLOCK_BYTES);
    transfer(world, 8 << 20, 0, false);
    transfer(world, 8 << 20, 0, true);
    transfer(world, 100000, 100, false);
    transfer(world, 100000, 1000, true);
}

static void tiny_buffers(void **state)
{
    struct world *world = *state;

    pipes_up(world, 2048);
    transfer(world, 2 << 20, BLOCK_BYTES, false);
    transfer(world, 1 << 20, 0, false);
    transfer(world, 1 << 20, 0, true);
    transfer(world, 20000, 50, false);
}

/* Over UNIX sockets nothing of TCP may be taken for granted. */
static void over_a_socketpair(void **state)
{
    struct world *world = *state;
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    make_pipes(world, fds, identity_id(world->bob), NULL);
    AWAIT(world, world->a.up && world->b.up);
    transfer(world, 4 << 20, 0, false);
    assert_int_equal(tls_rtt_us(world->a.pipe), 0);
}

/* Whatever is sent without looking at pipe_room() arrives too, each message whole. */
static void without_asking_for_room(void **state)
{
    struct world *world = *state;
    uint8_t bytes[BLOCK_BYTES];
    uint64_t at = 0;

    pipes_up(world, 4096);
    for (unsigned i = 0; i < 300; i++) {
        size_t len = 1 + i * 977 % BLOCK_BYTES;

        fill(bytes, len, 7, at);
        at += len;
        assert_int_equal(pipe_send(world->a.pipe, bytes, len, i % 3 != 0), 0);
    }
    assert_true(pipe_room(world->a.pipe) == 0);
    assert_true(pipe_queued(world->a.pipe) > 0);
    AWAIT(world, world->b.received == at);
    assert_false(world->b.bad);
    assert_int_equal(world->b.messages, 300);
}

/* A small record sent with `more` and followed by nothing leaves in the same turn; so does a large
 * one. A machine busy with others may be late now and then, TCP's own timer (200 ms) always. */
static void more_does_not_linger(void **state)
{
    struct world *world = *state;
    uint8_t bytes[BLOCK_BYTES];
    static const size_t sizes[] = {1, 100, 9000, BLOCK_BYTES};
    uint64_t at = 0, start, took = 0;

    pipes_up(world, 0);
    for (size_t i = 0, tries = 0; i < sizeof sizes / sizeof sizes[0];) {
        fill(bytes, sizes[i], 7, at);
        at += sizes[i];
        start = loop_refresh(world->loop);
        assert_int_equal(pipe_send(world->a.pipe, bytes, sizes[i], true), 0);
        AWAIT(world, world->b.received == at);
        assert_int_equal(world->b.last_len, sizes[i]);
        took = loop_refresh(world->loop) - start;
        if (took >= 150 * MS_US && ++tries < 10)
            continue;
        assert_true(took < 150 * MS_US);
        i++;
        tries = 0;
    }
}

static void paused_receives_later(void **state)
{
    struct world *world = *state;
    uint8_t bytes[5000];

    pipes_up(world, 0);
    fill(bytes, sizeof bytes, 7, 0);
    pipe_pause(world->b.pipe);
    for (int i = 0; i < 50; i++)
        pipe_send(world->a.pipe, bytes + i * 100, 100, false);
    for (int i = 0; i < 5; i++)
        loop_turn(world->loop, MS_US);
    assert_int_equal(world->b.received, 0);
    pipe_resume(world->b.pipe);
    AWAIT(world, world->b.received == sizeof bytes);
    assert_false(world->b.bad);
    assert_int_equal(world->b.messages, 50);
}

/* Read in small turns: what lies in the library's and our own buffers is not forgotten. */
static void small_turns(void **state)
{
    struct world *world = *state;
    const struct pipe_options options = {.read_max = 1};
    int fds[2];

    tcp_pair(fds, 0);
    make_pipes(world, fds, identity_id(world->bob), &options);
    AWAIT(world, world->a.up && world->b.up);
    transfer(world, 1 << 20, 300, false);
}

static void written_before_up(void **state)
{
    struct world *world = *state;
    uint8_t bytes[1000];
    int fds[2];

    tcp_pair(fds, 0);
    make_pipes(world, fds, identity_id(world->bob), NULL);
    fill(bytes, sizeof bytes, 7, 0);
    assert_int_equal(pipe_send(world->a.pipe, bytes, 400, false), 0);
    assert_int_equal(pipe_write_copy(world->a.pipe, bytes + 400, 600), 0);
    pipe_shutdown(world->a.pipe);
    AWAIT(world, world->b.eof);
    assert_int_equal(world->b.received, sizeof bytes);
    assert_int_equal(world->b.messages, 2);
    assert_false(world->b.bad);
}

static void half_close(void **state)
{
    struct world *world = *state;
    uint8_t bytes[BLOCK_BYTES];
    uint64_t at = 0;

    pipes_up(world, 0);
    fill(bytes, 100, 7, 0);
    pipe_send(world->a.pipe, bytes, 100, true);
    pipe_shutdown(world->a.pipe);
    assert_int_equal(pipe_send(world->a.pipe, bytes, 1, false), ADIT_ECLOSED);
    AWAIT(world, world->b.eof);
    assert_int_equal(world->b.received, 100);
    /* The other direction goes on, for long. */
    for (int i = 0; i < 200; i++) {
        fill(bytes, sizeof bytes, ~7u, at);
        at += sizeof bytes;
        pipe_send(world->b.pipe, bytes, sizeof bytes, false);
    }
    pipe_shutdown(world->b.pipe);
    AWAIT(world, world->a.why != NOT_ENDED && world->b.why != NOT_ENDED);
    assert_int_equal(world->a.received, at);
    assert_true(world->a.eof);
    assert_false(world->a.bad);
    assert_int_equal(world->a.why, 0);
    assert_int_equal(world->b.why, 0);
}

/* What is queued at pipe_close() arrives, even though the other side is sending all the time. */
static void close_delivers(void **state)
{
    struct world *world = *state;
    uint8_t bytes[BLOCK_BYTES];
    uint64_t at = 0;

    pipes_up(world, 8192);
    world->b.answer_eof = true;
    for (int i = 0; i < 100; i++) {
        fill(bytes, sizeof bytes, 7, at);
        at += sizeof bytes;
        pipe_send(world->a.pipe, bytes, sizeof bytes, false);
        fill(bytes, 5000, ~7u, (uint64_t)i * 5000);
        pipe_send(world->b.pipe, bytes, 5000, false);
    }
    pipe_close(world->a.pipe);
    assert_int_equal(pipe_room(world->a.pipe), 0);
    AWAIT(world, world->a.why != NOT_ENDED && world->b.why != NOT_ENDED);
    assert_int_equal(world->a.why, 0);
    assert_int_equal(world->b.why, 0);
    assert_int_equal(world->b.received, at);
    assert_false(world->b.bad);
}

static void abort_resets(void **state)
{
    struct world *world = *state;

    pipes_up(world, 0);
    pipe_abort(world->a.pipe, -ECANCELED);
    assert_int_equal(world->a.why, NOT_ENDED); /* told from the loop */
    AWAIT(world, world->a.why != NOT_ENDED && world->b.why != NOT_ENDED);
    assert_int_equal(world->a.why, -ECANCELED);
    assert_int_equal(world->b.why, -ECONNRESET);
}

/* A connection that ends without close_notify, and one in which somebody meddled. */
static void cut_and_tampered(void **state)
{
    struct world *world = *state;
    int fds[2], raw;
    uint8_t junk[64] = {23, 3, 3, 0, 40};

    for (int tamper = 0; tamper < 2; tamper++) {
        tcp_pair(fds, 0);
        raw = dup(fds[0]);
        make_pipes(world, fds, identity_id(world->bob), NULL);
        AWAIT(world, world->a.up && world->b.up);
        if (tamper)
            assert_int_equal(write(raw, junk, 45), 45);
        else
            shutdown(raw, SHUT_WR);
        AWAIT(world, world->b.why != NOT_ENDED);
        assert_int_equal(world->b.why, tamper ? ADIT_EPROTO : ADIT_ETRUNC);
        close(raw);
        end_pipes(world);
    }
}

static void idle_timeout(void **state)
{
    struct world *world = *state;
    struct pipe_options options = PIPE_OPTIONS_DEFAULT;
    int fds[2];

    options.idle_timeout_ms = 60;
    tcp_pair(fds, 0);
    make_pipes(world, fds, identity_id(world->bob), &options);
    AWAIT(world, world->a.why != NOT_ENDED && world->b.why != NOT_ENDED);
    assert_true(world->a.up && world->b.up);
    assert_true(world->a.why == -ETIMEDOUT || world->b.why == -ETIMEDOUT);
}

/* Pipes are proxied like any others. */
static void linked(void **state)
{
    struct world *world = *state;
    struct world inner = *world;
    int fds[2];

    tcp_pair(fds, 0);
    make_pipes(&inner, fds, identity_id(world->bob), NULL);
    AWAIT(world, inner.a.up && inner.b.up);
    tcp_pair(fds, 0);
    make_pipes(world, fds, identity_id(world->bob), NULL);
    AWAIT(world, world->a.up && world->b.up);
    pipe_del_listener(world->b.pipe, &events, &world->b);
    pipe_del_listener(inner.a.pipe, &events, &inner.a);
    struct pipe *middle[2] = {world->b.pipe, inner.a.pipe};
    assert_int_equal(pipe_link(middle[0], middle[1]), 0);
    inner.b.seed = 7;
    world->a.to_send = 20 << 20;
    pump(&world->a);
    AWAIT(world, inner.b.received == 20 << 20);
    assert_false(inner.b.bad);
    inner.b.answer_eof = true;
    pipe_shutdown(world->a.pipe);
    AWAIT(world, inner.b.why != NOT_ENDED && world->a.why != NOT_ENDED);
    assert_int_equal(inner.b.why, 0);
    assert_int_equal(world->a.why, 0);
    loop_turn(world->loop, 0);
    world->b.pipe = NULL; /* it ended with its link */
}

/* --- Against the library's own record layer --- */

struct plain {
    SSL *ssl;
    int fd;
    struct tls_secrets secrets;
    uint64_t received, sent;
    uint32_t seed;
    bool bad, closed;
};

/* One round of whatever the library can do: the handshake, then sending up to `until` and
 * receiving. */
static void plain_turn(struct plain *plain, uint64_t until)
{
    static uint8_t bytes[TLS_RECORD_DATA_MAX];
    int n;

    if (!SSL_is_init_finished(plain->ssl)) {
        SSL_do_handshake(plain->ssl);
        ERR_clear_error();
        return;
    }
    while (plain->sent < until) {
        size_t len = (size_t)(plain->sent * 31 % TLS_RECORD_DATA_MAX) + 1;

        len = len < until - plain->sent ? len : (size_t)(until - plain->sent);
        fill(bytes, len, ~plain->seed, plain->sent);
        n = SSL_write(plain->ssl, bytes, (int)len);
        if (n <= 0)
            break;
        plain->sent += (uint64_t)n;
    }
    while ((n = SSL_read(plain->ssl, bytes, sizeof bytes)) > 0) {
        for (int i = 0; i < n; i++)
            if (bytes[i] != pattern(plain->seed, plain->received + (uint64_t)i))
                plain->bad = true;
        plain->received += (uint64_t)n;
    }
    if (SSL_get_error(plain->ssl, n) == SSL_ERROR_ZERO_RETURN)
        plain->closed = true;
    ERR_clear_error();
}

/* Makes `a` a pipe whose peer is the library alone, as client or as server; awaits the handshake.
 */
static void plain_peer(struct world *world, struct plain *plain, bool is_server, const char *suite)
{
    struct preface preface = {.time_s = 0};
    uint8_t bytes[PREFACE_BYTES];
    int fds[2];

    memset(plain, 0, sizeof *plain);
    plain->seed = 7;
    tcp_pair(fds, 0);
    plain->fd = fds[1];
    if (is_server) {
        plain->ssl = tls_context_server(world->server, &plain->secrets);
        listen_to(
            &world->a,
            tls_wrap(world->loop, world->client, fds[0], false, identity_id(world->bob), NULL),
            ~7u);
        AWAIT(world, recv(fds[1], bytes, sizeof bytes, MSG_DONTWAIT) == PREFACE_BYTES);
        assert_int_equal(preface_parse(identity_id(world->bob), bytes, sizeof bytes, &preface),
                         PREFACE_BYTES);
    } else {
        plain->ssl = tls_context_client(world->client, identity_id(world->bob), &plain->secrets);
        listen_to(&world->a, tls_accept(world->loop, world->server, fds[0], NULL), ~7u);
        preface_build(identity_id(world->bob), &preface, bytes);
        assert_int_equal(write(fds[1], bytes, sizeof bytes), (ssize_t)sizeof bytes);
    }
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    SSL_set_mode(plain->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    assert_int_equal(SSL_set_ciphersuites(plain->ssl, suite), 1);
    SSL_set_fd(plain->ssl, fds[1]);
    AWAIT(world, (plain_turn(plain, 0), world->a.up && SSL_is_init_finished(plain->ssl)));
    assert_string_equal(SSL_get_cipher_name(plain->ssl), suite);
}

static void plain_end(struct plain *plain)
{
    SSL_free(plain->ssl);
    close(plain->fd);
    ERR_clear_error();
}

static void against_the_library(void **state)
{
    struct world *world = *state;
    static const char *const suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"};

    for (int i = 0; i < 4; i++) {
        uint8_t keys[2][20];
        struct plain plain;
        uint64_t goal = 3000000;

        plain_peer(world, &plain, i & 1, suites[i >> 1]);
        assert_int_equal(pipe_exporter(world->a.pipe, "x", "y", 1, keys[0], 20), 0);
        assert_int_equal(
            SSL_export_keying_material(plain.ssl, keys[1], 20, "x", 1, (const uint8_t *)"y", 1, 1),
            1);
        assert_memory_equal(keys[0], keys[1], 20);
        world->a.to_send = goal;
        pump(&world->a);
        AWAIT(world,
              (plain_turn(&plain, goal), world->a.received == goal && plain.received == goal));
        /* Padded records; and keys that change, on its side and when it asks on ours. */
        SSL_set_block_padding(plain.ssl, 512);
        for (int update = 0; update < 5; update++) {
            assert_int_equal(SSL_key_update(plain.ssl, update % 2 ? SSL_KEY_UPDATE_REQUESTED
                                                                  : SSL_KEY_UPDATE_NOT_REQUESTED),
                             1);
            goal += 100000;
            AWAIT(world, (plain_turn(&plain, goal), world->a.received == goal));
            world->a.to_send = goal;
            pump(&world->a);
            AWAIT(world, (plain_turn(&plain, goal), plain.received == goal));
        }
        assert_false(world->a.bad || plain.bad);
        /* Each closes its direction properly. */
        if (i & 1) {
            SSL_shutdown(plain.ssl);
            AWAIT(world, world->a.eof);
            pipe_shutdown(world->a.pipe);
            AWAIT(world, (plain_turn(&plain, goal), plain.closed));
        } else {
            pipe_shutdown(world->a.pipe);
            AWAIT(world, (plain_turn(&plain, goal), plain.closed));
            SSL_shutdown(plain.ssl);
        }
        AWAIT(world, world->a.why != NOT_ENDED);
        assert_int_equal(world->a.why, 0);
        plain_end(&plain);
    }
}

/* Changing the key again and again costs us far more than the peer, and is done in small portions:
 * others have their turns between. */
static void key_updates_take_turns(void **state)
{
    static const uint8_t update[] = {24, 0, 0, 1, 0};
    struct world *world = *state;
    struct plain plain;
    struct tls_key seal = {0}, open = {0};
    uint8_t record[64];
    size_t len = sizeof update + TLS_RECORD_OVERHEAD_BYTES;
    unsigned turns = 0;

    plain_peer(world, &plain, true, "TLS_AES_128_GCM_SHA256");
    assert_int_equal(tls_context_keys(plain.ssl, &plain.secrets, &seal, &open), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(
            tls_record_seal(&seal, TLS_HANDSHAKE_MESSAGE, update, sizeof update, record), 0);
        assert_int_equal(write(plain.fd, record, len), (ssize_t)len);
        assert_int_equal(tls_key_update(&seal), 0);
    }
    world->a.seed = 0;
    assert_int_equal(tls_record_seal(&seal, TLS_DATA, "x", 1, record), 0);
    assert_int_equal(write(plain.fd, record, 1 + TLS_RECORD_OVERHEAD_BYTES),
                     1 + TLS_RECORD_OVERHEAD_BYTES);
    AWAIT(world, (turns++, world->a.received == 1));
    assert_in_range(turns, 50, 1000);
    tls_key_free(&seal);
    tls_key_free(&open);
    plain_end(&plain);
    pipe_abort(world->a.pipe, -ECANCELED);
    AWAIT(world, world->a.why != NOT_ENDED);
}

/* What an authenticated peer may do wrong after the handshake. */
static void wrong_after_handshake(void **state)
{
    struct world *world = *state;
    static const struct {
        enum tls_content content;
        uint8_t bytes[6];
        size_t len;
        int why;
    } cases[] = {
        {TLS_ALERT, {2, 80}, 2, ADIT_EPROTO},                      /* internal_error */
        {TLS_ALERT, {1}, 1, ADIT_EPROTO},                          /* half an alert */
        {TLS_HANDSHAKE_MESSAGE, {24, 0, 0, 1, 2}, 5, ADIT_EPROTO}, /* no such request */
        {TLS_HANDSHAKE_MESSAGE, {24, 0, 0, 1}, 4, ADIT_EPROTO},    /* cut */
        {TLS_HANDSHAKE_MESSAGE, {4, 0, 0, 1, 0}, 5, ADIT_EPROTO},  /* a ticket */
        {TLS_HANDSHAKE_MESSAGE, {0}, 0, ADIT_EPROTO},              /* RFC 8446 5.1: not empty */
        {TLS_ALERT, {1, 90}, 2, NOT_ENDED},                        /* user_canceled: goes on */
        {TLS_DATA, {0}, 0, NOT_ENDED},                             /* empty data: fine */
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plain plain;
        struct tls_key seal = {0}, open = {0};
        uint8_t record[64];

        plain_peer(world, &plain, true, "TLS_AES_128_GCM_SHA256");
        assert_int_equal(tls_context_keys(plain.ssl, &plain.secrets, &seal, &open), 0);
        assert_int_equal(
            tls_record_seal(&seal, cases[i].content, cases[i].bytes, cases[i].len, record), 0);
        size_t len = cases[i].len + TLS_RECORD_OVERHEAD_BYTES;
        assert_int_equal(write(plain.fd, record, len), (ssize_t)len);
        fill(record, 1, ~7u, 0);
        uint8_t data = record[0];
        assert_int_equal(tls_record_seal(&seal, TLS_DATA, &data, 1, record), 0);
        assert_int_equal(write(plain.fd, record, 1 + TLS_RECORD_OVERHEAD_BYTES),
                         1 + TLS_RECORD_OVERHEAD_BYTES);
        AWAIT(world, world->a.why != NOT_ENDED || world->a.received == 1);
        assert_int_equal(world->a.why, cases[i].why);
        assert_int_equal(world->a.messages, world->a.received);
        tls_key_free(&seal);
        tls_key_free(&open);
        end_pipes(world);
        plain_end(&plain);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(both_get_up),
        TEST(open_connects),
        TEST(wrong_key),
        TEST(impostor),
        TEST(strangers),
        TEST(silent_server),
        TEST(bulk_both_ways),
        TEST(tiny_buffers),
        TEST(over_a_socketpair),
        TEST(without_asking_for_room),
        TEST(more_does_not_linger),
        TEST(paused_receives_later),
        TEST(small_turns),
        TEST(written_before_up),
        TEST(half_close),
        TEST(close_delivers),
        TEST(abort_resets),
        TEST(cut_and_tampered),
        TEST(against_the_library),
        TEST(key_updates_take_turns),
        TEST(wrong_after_handshake),
        TEST(idle_timeout),
        TEST(linked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
