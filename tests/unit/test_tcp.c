/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: TCP and UNIX pipes against plain sockets on the loopback: connecting,
 * serving, closing in all the ways a peer can, edges that must not be lost, slow readers. Options
 * are in test_options.c.
 */
#include "pipe_recorder.h"

#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "pipe/tcp.h"
#include "plain_sockets.h"

static void finish(struct loop *loop)
{
    loop_free(loop);
    assert_int_equal(block_total_bytes(), 0);
}

/* A pipe over a new connection, recorded. Returns the peer's end, a plain socket. */
static int wrap(struct loop *loop, struct recorder *r, const struct pipe_options *options)
{
    int ours, peer;

    plain_pair(&ours, &peer);
    record(r, tcp_wrap(loop, ours, options));
    return peer;
}

/* Two such pipes, each the other's sink: what one peer sends, the other gets. */
struct relay {
    struct recorder sides[2];
    int peers[2];
};

static void relay_between_peers(struct loop *loop, struct relay *relay)
{
    memset(relay, 0, sizeof(*relay));
    for (int i = 0; i < 2; i++)
        relay->peers[i] = wrap(loop, &relay->sides[i], NULL);
    pipe_link(relay->sides[0].pipe, relay->sides[1].pipe);
}

static void await_relay_end(struct loop *loop, struct relay *relay, int why)
{
    RUN_UNTIL(loop, relay->sides[0].ends == 1 && relay->sides[1].ends == 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(relay->sides[i].why, why);
}

/* Returns where it listens. */
static struct addr serve(struct loop *loop, struct recorder *server, int family)
{
    struct addr at = addr_loopback(family, 0);

    record(server, tcp_listen(loop, &at, NULL));
    assert_int_equal(pipe_addrs(server->pipe, &at, NULL), 0);
    assert_true(at.port > 0);
    return at;
}

static void close_and_wait(struct loop *loop, struct recorder *r)
{
    pipe_close(r->pipe);
    RUN_UNTIL(loop, r->ends == 1);
}

/* Lets time pass, and shows that the loop does not spin meanwhile. */
static void idle_for(struct loop *loop, uint64_t us)
{
    uint64_t until = loop_refresh(loop) + us;
    int turns = 0;

    for (; loop_now(loop) < until; turns++)
        loop_turn(loop, 10 * MS_US);
    assert_true(turns < 10);
}

/* --- Connecting --- */

static void connects_and_carries_bytes(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    const int families[] = {AF_INET, AF_INET6};

    for (int i = 0; i < 2; i++) {
        struct recorder server = {0}, client = {0}, other = {0};
        struct addr at = serve(loop, &server, families[i]), local, remote, seen;

        record(&client, tcp_open(loop, &at, NULL));
        assert_false(pipe_is_up(client.pipe));
        write_text(client.pipe, "before up"); /* queued, sent when connected */
        RUN_UNTIL(loop, server.accepts == 1 && client.ups == 1);
        record(&other, server.client);
        RUN_UNTIL(loop, other.bytes == 9);
        assert_string_equal(other.text, "before up");
        assert_int_equal(pipe_addrs(client.pipe, &local, &remote), 0);
        assert_true(addr_equal(&remote, &at));
        assert_int_equal(pipe_addrs(other.pipe, NULL, &seen), 0);
        assert_true(addr_equal(&local, &seen));
        write_text(other.pipe, "answer");
        RUN_UNTIL(loop, client.bytes == 6);
        pipe_close(client.pipe);
        RUN_UNTIL(loop, other.eofs == 1);
        pipe_close(other.pipe);
        RUN_UNTIL(loop, client.ends == 1 && other.ends == 1);
        assert_int_equal(client.why, 0);
        assert_int_equal(other.why, 0);
        close_and_wait(loop, &server);
    }
    finish(loop);
}

static void a_refused_connection_ends_with_its_error(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder client = {0};
    struct addr at;

    close(plain_listen(1, &at)); /* now nobody listens there */
    record(&client, tcp_open(loop, &at, NULL));
    RUN_UNTIL(loop, client.ends == 1);
    assert_int_equal(client.why, -ECONNREFUSED);
    assert_int_equal(client.ups, 0);
    at.family = AF_UNSPEC;
    assert_null(tcp_open(loop, &at, NULL));
    finish(loop);
}

static void connecting_times_out(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder client = {0};
    struct addr at;
    int listener = plain_listen(0, &at), fillers[3];

    for (int i = 0; i < 3; i++)
        fillers[i] = plain_connect(&at, i == 0); /* the backlog is full: SYNs go unanswered */
    record(&client, tcp_open(loop, &at, &(struct pipe_options){.connect_timeout_ms = 30}));
    uint64_t start = loop_refresh(loop);
    RUN_UNTIL(loop, client.ends == 1);
    assert_int_equal(client.why, -ETIMEDOUT);
    assert_true(client.at - start >= 25 * MS_US);
    for (int i = 0; i < 3; i++)
        close(fillers[i]);
    close(listener);
    finish(loop);
}

static void closing_while_connecting_ends_at_once(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder client = {0};
    struct addr at;
    int listener = plain_listen(1, &at);

    record(&client, tcp_open(loop, &at, NULL));
    close_and_wait(loop, &client);
    assert_int_equal(client.why, 0);
    assert_int_equal(client.ups, 0);
    close(listener);
    finish(loop);
}

/* --- Servers --- */

static void ending_a_server_ends_its_clients(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, clients[3] = {0};
    struct addr at = serve(loop, &server, AF_INET);
    int peers[3];

    for (int i = 0; i < 3; i++) {
        peers[i] = plain_connect(&at, true);
        RUN_UNTIL(loop, server.accepts == i + 1);
        record(&clients[i], server.client);
    }
    write_text(server.pipe, "to all"); /* and to one */
    struct slice one = slice_copy("!", 1);
    struct addr remote;
    pipe_addrs(clients[0].pipe, NULL, &remote);
    pipe_write_to(server.pipe, &one, &remote);
    expect_text(loop, peers[0], "to all!");
    expect_text(loop, peers[1], "to all");
    expect_text(loop, peers[2], "to all");
    tcp_release(clients[1].pipe);
    pipe_close(server.pipe);
    RUN_UNTIL(loop, server.ends == 1 && clients[0].ends == 1 && clients[2].ends == 1);
    assert_int_equal(clients[0].why, ADIT_ECLOSED);
    assert_int_equal(plain_error(loop, peers[0]), ECONNRESET);
    assert_int_equal(clients[1].ends, 0);
    write_text(clients[1].pipe, "alive");
    expect_text(loop, peers[1], "alive");
    pipe_close(clients[1].pipe);
    for (int i = 0; i < 3; i++)
        close(peers[i]);
    RUN_UNTIL(loop, clients[1].ends == 1);
    /* The port is free again at once. */
    struct recorder again = {0};
    record(&again, tcp_listen(loop, &at, NULL));
    assert_null(tcp_listen(loop, &at, NULL));
    assert_int_equal(errno, EADDRINUSE);
    close_and_wait(loop, &again);
    finish(loop);
}

static void a_paused_server_rests(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0};
    struct addr at = serve(loop, &server, AF_INET);

    pipe_pause(server.pipe);
    int peer = plain_connect(&at, true);
    idle_for(loop, 30 * MS_US);
    assert_int_equal(server.accepts, 0);
    pipe_resume(server.pipe);
    RUN_UNTIL(loop, server.accepts == 1);
    close_and_wait(loop, &server);
    close(peer);
    finish(loop);
}

/* Out of descriptors, a server rests and goes on when there are some again. */
static void a_server_survives_a_lack_of_descriptors(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0};
    struct addr at = serve(loop, &server, AF_INET);
    struct rlimit limit, none;
    int peer = plain_connect(&at, true);

    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = (rlim_t)peer + 1; /* peer has the lowest free number: the next is beyond */
    setrlimit(RLIMIT_NOFILE, &none);
    idle_for(loop, 20 * MS_US);
    setrlimit(RLIMIT_NOFILE, &limit);
    assert_int_equal(server.accepts, 0);
    RUN_UNTIL(loop, server.accepts == 1);
    close_and_wait(loop, &server);
    close(peer);
    finish(loop);
}

static void unix_sockets(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0};
    char dir[] = "/tmp/adit-test-XXXXXX", path[64], longest[200];
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct stat st;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/sock", dir);
    strcpy(sun.sun_path, path);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0); /* left by a process that is gone */
    assert_int_equal(bind(stale, (struct sockaddr *)&sun, sizeof(sun)), 0);
    close(stale);
    record(&server, tcp_listen_unix(loop, path, 0600, NULL));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_null(tcp_listen_unix(loop, path, 0600, NULL)); /* somebody lives there */
    assert_int_equal(errno, EADDRINUSE);
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = 0;
    assert_null(tcp_listen_unix(loop, longest, 0600, NULL));
    assert_int_equal(errno, ENAMETOOLONG);
    RUN_UNTIL(loop, server.accepts == 1); /* the probe of the second listener */
    record(&client, server.client);
    RUN_UNTIL(loop, client.eofs == 1);
    close_and_wait(loop, &client);
    memset(&client, 0, sizeof(client));

    int peer = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(connect(peer, (struct sockaddr *)&sun, sizeof(sun)), 0);
    RUN_UNTIL(loop, server.accepts == 2);
    record(&client, server.client);
    assert_int_equal(write(peer, "hi", 2), 2);
    RUN_UNTIL(loop, client.bytes == 2);
    write_text(client.pipe, "ho");
    expect_text(loop, peer, "ho");
    pipe_close(server.pipe);
    RUN_UNTIL(loop, server.ends == 1 && client.ends == 1);
    assert_int_equal(stat(path, &st), -1); /* removed */
    close(peer);
    rmdir(dir);
    finish(loop);
}

/* --- Wrapping and edges --- */

/* Everything happened before the wrap; one edge must tell it all. */
static void data_and_eof_before_the_wrap(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder r = {0};
    int ours, peer;
    static char bytes[100000];

    plain_pair(&ours, &peer);
    ssize_t sent = send(peer, bytes, sizeof(bytes), MSG_DONTWAIT);
    assert_true(sent > 0);
    shutdown(peer, SHUT_WR);
    fcntl(ours, F_SETFL, 0); /* tcp_wrap() makes it non-blocking */
    record(&r, tcp_wrap(loop, ours, NULL));
    assert_true(pipe_is_up(r.pipe));
    assert_int_equal(tcp_fd(r.pipe), ours);
    RUN_UNTIL(loop, r.eofs == 1);
    assert_int_equal(r.bytes, sent);
    assert_int_equal(r.ups, 0);
    write_text(r.pipe, "still open");
    expect_text(loop, peer, "still open");
    pipe_shutdown(r.pipe);
    RUN_UNTIL(loop, r.ends == 1);
    assert_int_equal(r.why, 0);
    expect_closed(loop, peer);
    close(peer);
    finish(loop);
}

/* The edge comes while the pipe is paused, or its sink full; nothing comes after it. */
static void an_edge_during_a_pause_is_not_lost(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder r = {0};
    int peer = wrap(loop, &r, NULL);

    pipe_pause(r.pipe);
    assert_int_equal(write(peer, "data", 4), 4);
    shutdown(peer, SHUT_WR);
    for (int i = 0; i < 3; i++)
        loop_turn(loop, MS_US);
    assert_int_equal(r.bytes + (size_t)r.eofs, 0);
    pipe_resume(r.pipe);
    RUN_UNTIL(loop, r.eofs == 1);
    assert_string_equal(r.text, "data");
    pipe_abort(r.pipe, -ECANCELED);
    RUN_UNTIL(loop, r.ends == 1);
    close(peer);
    finish(loop);
}

static void pause_after_first(struct pipe *pipe, const struct slice *data, const struct addr *from,
                              void *arg)
{
    int *calls = arg;

    (void)data;
    (void)from;
    ++*calls;
    pipe_pause(pipe);
}

/* One read of many blocks: a listener that pauses after each gets them one by one, in order, then
 * eof. */
static void a_pause_between_blocks_holds_the_rest(void **state)
{
    (void)state;
    static const struct pipe_events pausing = {.message = pause_after_first};
    struct loop *loop = loop_new();
    struct recorder r = {0};
    static uint8_t bytes[300000];
    int peer = wrap(loop, &r, NULL), calls = 0, size = 1 << 20;
    size_t sent = 0;

    setsockopt(peer, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    loop_random(loop, bytes, sizeof(bytes));
    while (sent < sizeof(bytes)) { /* reads grow to many blocks */
        ssize_t n = send(peer, bytes + sent, sizeof(bytes) - sent, 0);
        if (n > 0)
            sent += (size_t)n;
        loop_turn(loop, MS_US);
    }
    RUN_UNTIL(loop, r.bytes == sizeof(bytes));
    pipe_pause(r.pipe);
    sent = 0;
    for (ssize_t n; (n = send(peer, bytes + sent, sizeof(bytes) - sent, 0)) > 0;)
        sent += (size_t)n;
    assert_true(sent > 3 * BLOCK_BYTES);
    shutdown(peer, SHUT_WR);
    r.bytes = r.messages = r.sum = 0;
    pipe_add_listener(r.pipe, &pausing, &calls);
    while (r.eofs == 0) {
        int before = calls;

        assert_int_equal(r.messages, (size_t)calls);
        pipe_resume(r.pipe);
        RUN_UNTIL(loop, calls > before || r.eofs == 1);
        assert_true(calls <= before + 1);
        loop_turn(loop, 0);
        assert_true(calls <= before + 1);
    }
    assert_int_equal(r.bytes, sent);
    assert_true(r.sum == byte_sum(0, bytes, sent));
    close_and_wait(loop, &r);
    close(peer);
    finish(loop);
}

static void take_fd_leaves_everything_as_it_is(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct relay relay;
    struct recorder *taken = &relay.sides[0], *linked = &relay.sides[1], again = {0};

    relay_between_peers(loop, &relay);
    int fd = tcp_fd(taken->pipe);
    write_text(taken->pipe, "queued");
    assert_int_equal(tcp_take_fd(taken->pipe), -EAGAIN);
    expect_text(loop, relay.peers[0], "queued");
    assert_int_equal(write(relay.peers[0], "unread", 6), 6);
    assert_int_equal(tcp_take_fd(taken->pipe), fd);
    assert_int_equal(tcp_take_fd(taken->pipe), ADIT_ECLOSED);
    RUN_UNTIL(loop, taken->ends == 1);
    assert_int_equal(taken->why, 0);
    assert_int_equal(linked->ends, 0);
    record(&again, tcp_wrap(loop, fd, NULL));
    RUN_UNTIL(loop, again.bytes == 6);
    pipe_abort(again.pipe, -ECANCELED);
    pipe_abort(linked->pipe, -ECANCELED);
    RUN_UNTIL(loop, again.ends == 1 && linked->ends == 1);
    close(relay.peers[0]);
    close(relay.peers[1]);
    finish(loop);
}

/* --- Resets --- */

/* Data and reset together look like data alone to the event library. */
static void data_then_reset_is_noticed(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder r = {0};
    int peer = wrap(loop, &r, NULL);

    assert_int_equal(write(tcp_fd(r.pipe), "x", 1), 1); /* unread at the peer: its close resets */
    assert_int_equal(write(peer, "response", 8), 8);
    close(peer);
    RUN_UNTIL(loop, r.ends == 1);
    assert_string_equal(r.text, "response");
    assert_int_equal(r.why, -ECONNRESET);
    finish(loop);
}

static void a_reset_is_noticed_while_paused_and_after_eof(void **state)
{
    (void)state;
    struct loop *loop = loop_new();

    for (int after_eof = 0; after_eof < 2; after_eof++) {
        struct recorder r = {0};
        int peer = wrap(loop, &r, NULL);

        if (after_eof) {
            write_text(r.pipe, "unread there");
            shutdown(peer, SHUT_WR);
            RUN_UNTIL(loop, r.eofs == 1);
        } else {
            pipe_pause(r.pipe);
            loop_turn(loop, MS_US);
        }
        plain_reset(peer);
        RUN_UNTIL(loop, r.ends == 1);
        assert_int_equal(r.why, after_eof ? -EPIPE : -ECONNRESET); /* Linux: EPIPE after FIN */
    }
    finish(loop);
}

/* The peer answers early and goes, while we still send: the answer must arrive although writing
 * fails. */
static void an_early_answer_survives_a_broken_upload(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder r = {0};
    static uint8_t bytes[1 << 20];
    int peer = wrap(loop, &r, NULL);

    for (int i = 0; i < 16; i++)
        pipe_write_copy(r.pipe, bytes, sizeof(bytes));
    while (pipe_queued(r.pipe) == 16 * sizeof(bytes))
        loop_turn(loop, MS_US);
    assert_int_equal(write(peer, "413 go away", 11), 11);
    close(peer); /* with unread input: a reset */
    write_text(r.pipe, "more");
    RUN_UNTIL(loop, r.ends == 1);
    assert_string_equal(r.text, "413 go away");
    assert_true(r.why == -ECONNRESET || r.why == -EPIPE);
    finish(loop);
}

static void abort_sends_a_reset(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct relay relay;

    relay_between_peers(loop, &relay);
    plain_reset(relay.peers[0]);
    await_relay_end(loop, &relay, -ECONNRESET);
    assert_int_equal(plain_error(loop, relay.peers[1]), ECONNRESET); /* passed on as what it was */
    close(relay.peers[1]);
    finish(loop);
}

/* --- Closing --- */

static void half_close_passes_through_a_link(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct relay relay;

    relay_between_peers(loop, &relay);
    int client = relay.peers[0], server = relay.peers[1];
    assert_int_equal(write(client, "request", 7), 7);
    shutdown(client, SHUT_WR);
    expect_text(loop, server, "request");
    expect_closed(loop, server);
    assert_int_equal(write(server, "answer", 6), 6);
    expect_text(loop, client, "answer");
    assert_int_equal(relay.sides[0].ends + relay.sides[1].ends, 0);
    shutdown(server, SHUT_WR);
    expect_closed(loop, client);
    await_relay_end(loop, &relay, 0);
    close(client);
    close(server);
    finish(loop);
}

/* Close sends all that is queued, although the peer has sent what we never read. */
static void close_delivers_everything(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder r = {0}, far = {0};
    static uint8_t bytes[1 << 20];
    uint64_t want = 0;
    int peer = wrap(loop, &r, NULL);

    loop_random(loop, bytes, sizeof(bytes));
    for (int i = 0; i < 8; i++) {
        pipe_write_copy(r.pipe, bytes, sizeof(bytes));
        want = byte_sum(want, bytes, sizeof(bytes));
    }
    assert_int_equal(write(peer, "unread", 6), 6);
    pipe_close(r.pipe);
    record(&far, tcp_wrap(loop, peer, NULL));
    RUN_UNTIL(loop, far.eofs == 1);
    assert_int_equal(far.bytes, 8 * sizeof(bytes));
    assert_true(far.sum == want);
    assert_int_equal(r.bytes, 0); /* closed: nothing is told */
    assert_int_equal(r.ends, 0);  /* waits for the peer */
    pipe_close(far.pipe);
    RUN_UNTIL(loop, r.ends == 1 && far.ends == 1);
    assert_int_equal(r.why, 0);
    finish(loop);
}

static void close_does_not_wait_for_ever(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    static uint8_t bytes[1 << 20];

    for (int chatty = 0; chatty < 2; chatty++) {
        struct recorder r = {0};
        int peer = wrap(loop, &r, &(struct pipe_options){.linger_ms = 50});

        if (!chatty) /* the peer never reads: more than the kernel takes */
            for (int i = 0; i < 16; i++)
                pipe_write_copy(r.pipe, bytes, sizeof(bytes));
        loop_refresh(loop);
        pipe_close(r.pipe);
        uint64_t start = loop_now(loop);
        RUN_UNTIL(loop, r.ends == 1 || (chatty && send(peer, bytes, 100, MSG_NOSIGNAL) <
                                                      -1)); /* or never stops sending */
        assert_int_equal(r.why, chatty ? 0 : -ETIMEDOUT);
        assert_true(r.at - start >= 40 * MS_US);
        close(peer);
    }
    finish(loop);
}

static void idle_pipes_time_out(void **state)
{
    (void)state;
    enum { IDLE_MS = 1000 }; /* long beside the pause, however slow the machine */
    struct loop *loop = loop_new();
    struct recorder r = {0};

    loop_refresh(loop);
    int peer = wrap(loop, &r, &(struct pipe_options){.idle_timeout_ms = IDLE_MS});
    idle_for(loop, 20 * MS_US);
    assert_int_equal(write(peer, "x", 1), 1);
    RUN_UNTIL(loop, r.messages == 1);
    uint64_t heard = r.at;
    RUN_UNTIL(loop, r.ends == 1);
    assert_int_equal(r.why, -ETIMEDOUT);
    assert_true(r.at - heard >= IDLE_MS * MS_US); /* counted from the byte */
    close(peer);
    finish(loop);
}

/* --- Bulk --- */

enum { BULK_BYTES = 64 << 20, PATTERN_BYTES = 1 << 20 };

/* What is sent is a pattern, again and again, so that any part of it can be checked. */
struct bulk {
    uint8_t pattern[PATTERN_BYTES];
    size_t sent, have;
};

/* The bytes that belong at this place of the whole; how many of them, at most max, lie together. */
static const uint8_t *bulk_at(const struct bulk *bulk, size_t place, size_t max, size_t *len)
{
    size_t at = place % PATTERN_BYTES;

    *len = PATTERN_BYTES - at < max ? PATTERN_BYTES - at : max;
    return bulk->pattern + at;
}

static void bulk_send(struct bulk *bulk, int fd)
{
    for (int i = 0; i < 4 && bulk->sent < BULK_BYTES; i++) {
        size_t len;
        const uint8_t *bytes = bulk_at(bulk, bulk->sent, BULK_BYTES - bulk->sent, &len);
        ssize_t n = send(fd, bytes, len, 0);

        if (n <= 0)
            break;
        bulk->sent += (size_t)n;
        if (bulk->sent == BULK_BYTES)
            shutdown(fd, SHUT_WR);
    }
}

static void bulk_check(struct bulk *bulk, const uint8_t *got, size_t count)
{
    for (size_t i = 0, len; i < count; i += len, bulk->have += len) {
        const uint8_t *want = bulk_at(bulk, bulk->have, count - i, &len);

        if (memcmp(got + i, want, len) != 0)
            fail_msg("differs at %zu", bulk->have);
    }
}

/* Reads what there is, at most so many times. True: the end of file has come. */
static bool bulk_receive(struct bulk *bulk, int fd, int times)
{
    static uint8_t got[1 << 18];

    while (times-- > 0) {
        ssize_t n = recv(fd, got, sizeof(got), 0);

        if (n <= 0)
            return n == 0;
        bulk_check(bulk, got, (size_t)n);
    }
    return false;
}

static void bulk_through_a_link_with_a_slow_reader(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct bulk *bulk = calloc(1, sizeof(*bulk));
    int ours[2], sender, reader, small = 16384;
    size_t most = 0, blocks = 0;
    bool over = false;

    for (size_t i = 0; i < PATTERN_BYTES; i++)
        bulk->pattern[i] = (uint8_t)(i * 7 + i / 255);
    plain_pair(&ours[0], &sender);
    plain_pair(&ours[1], &reader);
    setsockopt(ours[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)); /* short writes */
    setsockopt(reader, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    struct pipe *in = tcp_wrap(loop, ours[0], NULL), *out = tcp_wrap(loop, ours[1], NULL);
    pipe_link(in, out);
    for (int turn = 0; !over; turn++) {
        bulk_send(bulk, sender);
        loop_turn(loop, MS_US);
        most = pipe_queued(out) > most ? pipe_queued(out) : most;
        blocks = block_total_bytes() > blocks ? block_total_bytes() : blocks;
        if (turn >= 50) /* stalls first: everything fills up */
            over = bulk_receive(bulk, reader, turn % 3 ? 1 : INT_MAX);
    }
    assert_int_equal(bulk->have, BULK_BYTES);
    assert_true(most <= 512 * 1024);
    assert_true(blocks <= 1024 * 1024);
    pipe_abort(in, -ECANCELED);
    loop_turn(loop, 0);
    close(sender);
    close(reader);
    free(bulk);
    finish(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connects_and_carries_bytes),
        cmocka_unit_test(a_refused_connection_ends_with_its_error),
        cmocka_unit_test(connecting_times_out),
        cmocka_unit_test(closing_while_connecting_ends_at_once),
        cmocka_unit_test(ending_a_server_ends_its_clients),
        cmocka_unit_test(a_paused_server_rests),
        cmocka_unit_test(a_server_survives_a_lack_of_descriptors),
        cmocka_unit_test(unix_sockets),
        cmocka_unit_test(data_and_eof_before_the_wrap),
        cmocka_unit_test(an_edge_during_a_pause_is_not_lost),
        cmocka_unit_test(a_pause_between_blocks_holds_the_rest),
        cmocka_unit_test(take_fd_leaves_everything_as_it_is),
        cmocka_unit_test(data_then_reset_is_noticed),
        cmocka_unit_test(a_reset_is_noticed_while_paused_and_after_eof),
        cmocka_unit_test(an_early_answer_survives_a_broken_upload),
        cmocka_unit_test(abort_sends_a_reset),
        cmocka_unit_test(half_close_passes_through_a_link),
        cmocka_unit_test(close_delivers_everything),
        cmocka_unit_test(close_does_not_wait_for_ever),
        cmocka_unit_test(idle_pipes_time_out),
        cmocka_unit_test(bulk_through_a_link_with_a_slow_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
