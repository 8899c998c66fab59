/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * TLS pipes over loopback TCP and over socket pairs, both ends in one loop: who gets up and who is
 * refused, what strangers see, whether bytes and records arrive whole and in order under every way
 * of sending and with tiny buffers, and how pipes end.
 */
#include "tls_ends.h"

static void make_pipes(struct world *world, int fds[2], const struct node_id *expected,
                       const struct pipe_options *options)
{
    listen_to(&world->a, tls_wrap(world->loop, world->client, fds[0], false, expected, options),
              ~7u);
    listen_to(&world->b, tls_accept(world->loop, world->server, fds[1], options), 7);
}

static void pipes_up(struct world *world, int buffer)
{
    int fds[2];

    tcp_pair(fds, buffer);
    make_pipes(world, fds, identity_id(world->bob), NULL);
    AWAIT(world, world->a.up && world->b.up);
}

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
        TEST(idle_timeout),
        TEST(linked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
