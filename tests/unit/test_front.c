/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: tunnels through the front end (SOCKS and HTTP CONNECT), limits and timeouts,
 * in virtual time over pairs (front_fake.h), every handshake cut at every byte; then the listeners,
 * with real sockets on loopback.
 */
#include "front_fake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* --- Tunnels --- */

struct handshake {
    const char *name;
    const char *bytes; /* all that the client says, with early data "DATA" behind it */
    size_t len;
    const char *users;  /* contents of the users file; NULL: none */
    const char *before; /* what it hears before the answer, and ... */
    size_t before_len;
    const char *reply; /* ... after it */
    size_t reply_len;
    const char *target, *user;
};

#define HANDSHAKE(name, bytes, users, before, reply, target, user)                \
    {                                                                             \
        name, bytes, sizeof(bytes) - 1, users, before, sizeof(before) - 1, reply, \
            sizeof(reply) - 1, target, user                                       \
    }

#define OK_V5   "\5\0\0\1\xc0\0\2\1\x10\x92"
#define OK_V4   "\0\x5a\x10\x92\xc0\0\2\1"
#define OK_HTTP "HTTP/1.1 200 Connection established\r\n\r\n"

static const struct handshake handshakes[] = {
    HANDSHAKE("v5 name",
              "\5\1\0\5\1\0\3\13example.com\1\xbb"
              "DATA",
              NULL, "\5\0", OK_V5, "example.com:443", ""),
    HANDSHAKE("v5 address",
              "\5\2\0\1\5\1\0\1\xc0\0\2\7\0\x50"
              "DATA",
              NULL, "\5\0", OK_V5, "192.0.2.7:80", ""),
    HANDSHAKE("v5 IPv6",
              "\5\1\0\5\1\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x16"
              "DATA",
              NULL, "\5\0", OK_V5, "[2001:db8::1]:22", ""),
    HANDSHAKE("v5 password",
              "\5\1\2\1\5alice\3pw!\5\1\0\3\1h\0\x50"
              "DATA",
              "alice:pw!\nb:c\n", "\5\2\1\0", OK_V5, "h:80", "alice"),
    HANDSHAKE("v5 any password",
              "\5\2\0\2\1\4home\1x\5\1\0\3\1h\0\x50"
              "DATA",
              NULL, "\5\2\1\0", OK_V5, "h:80", "home"),
    HANDSHAKE("v4", "\4\1\0\x50\xc0\0\2\7me\0DATA", NULL, "", OK_V4, "192.0.2.7:80", "me"),
    HANDSHAKE("v4a", "\4\1\0\x50\0\0\0\1\0example.com\0DATA", NULL, "", OK_V4, "example.com:80",
              ""),
    HANDSHAKE("connect", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\nDATA",
              NULL, "", OK_HTTP, "example.com:443", ""),
    HANDSHAKE("connect old", "CONNECT [2001:db8::1]:22 HTTP/1.0\r\n\r\nDATA", NULL, "", OK_HTTP,
              "[2001:db8::1]:22", ""),
    HANDSHAKE("connect password",
              "CONNECT h:1 HTTP/1.1\r\nProxy-Authorization: Basic YWxpY2U6cHch\r\n\r\nDATA",
              "alice:pw!\n", "", OK_HTTP, "h:1", "alice"),
};

/* Starts a front with such a users file. */
static void start_with_users(struct fake *fake, const char *users)
{
    char path[] = "test_front.users.XXXXXX";
    struct front_config config = {0};

    if (users) {
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, users, strlen(users)), strlen(users));
        close(fd);
        config.users_file = path;
    }
    fake_start(fake, &config);
    if (users)
        unlink(path);
}

/* A tunnel, the client's bytes cut at `first` and `second`. */
static void check_tunnel(const struct handshake *h, size_t first, size_t second)
{
    struct fake fake;
    struct peer client;
    char text[TARGET_TEXT_MAX];

    start_with_users(&fake, h->users);
    fake_client(&fake, &client);
    fake_write(&fake, &client, h->bytes, first);
    fake_write(&fake, &client, h->bytes + first, second - first);
    fake_write(&fake, &client, h->bytes + second, h->len - second);
    assert_int_equal(fake.count, 1);
    struct fake_stream *stream = &fake.streams[0];
    assert_string_equal(target_format(&stream->target, text), h->target);
    assert_string_equal(stream->user, h->user);
    assert_string_equal(stream->peer.got, "DATA"); /* early data, before the answer */
    assert_int_equal(client.len, h->before_len);
    assert_memory_equal(client.got, h->before, h->before_len);
    fake_answer(&fake, 0, ANSWER_OK);
    fake_say(&fake, &stream->peer, "hello");
    assert_int_equal(client.len, h->before_len + h->reply_len + 5);
    assert_memory_equal(client.got + h->before_len, h->reply, h->reply_len);
    assert_string_equal(client.got + h->before_len + h->reply_len, "hello");
    /* Half-close both ways, one after the other. */
    fake_say(&fake, &client, "more");
    pipe_shutdown(client.pipe);
    fake_run(&fake);
    assert_string_equal(stream->peer.got, "DATAmore");
    assert_true(stream->peer.eof && !client.eof && !stream->peer.ended);
    fake_say(&fake, &stream->peer, "bye");
    pipe_shutdown(stream->peer.pipe);
    fake_run(&fake);
    assert_true(client.eof && client.ended && stream->peer.ended);
    assert_int_equal(client.why, 0);
    assert_int_equal(front_stats(fake.front)->clients, 0);
    fake_hang_up(&fake, &client);
    fake_stop(&fake);
}

static void tunnels_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(handshakes); i++)
        for (size_t split = 0; split <= handshakes[i].len; split++)
            check_tunnel(&handshakes[i], split, split + (handshakes[i].len - split) / 2);
}

static void tunnels_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(handshakes); i++) {
        struct fake fake;
        struct peer client;
        start_with_users(&fake, handshakes[i].users);
        fake_client(&fake, &client);
        for (size_t at = 0; at < handshakes[i].len; at++)
            fake_write(&fake, &client, handshakes[i].bytes + at, 1);
        assert_int_equal(fake.count, 1);
        assert_string_equal(fake.streams[0].peer.got, "DATA");
        fake_hang_up(&fake, &client);
        fake_stop(&fake);
    }
}

static void failures_are_told(void **state)
{
    static const struct {
        enum answer answer;
        int socks5;
        const char *http;
    } cases[] = {
        {ANSWER_FAILED, 1, "502"},          {ANSWER_POLICY, 2, "403"},
        {ANSWER_NET_UNREACHABLE, 3, "502"}, {ANSWER_HOST_UNREACHABLE, 4, "502"},
        {ANSWER_REFUSED, 5, "502"},         {ANSWER_TIMEOUT, 6, "504"},
        {ANSWER_NAME_NOT_FOUND, 4, "502"},  {ANSWER_LIMIT, 1, "503"},
        {ANSWER_NO_PATH, 3, "503"},         {ANSWER_FAMILY, 8, "502"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases) * 2; i++) {
        struct fake fake;
        struct peer v5, v4, http;
        enum answer answer = cases[i / 2].answer;
        bool at_once = i % 2;

        fake_start(&fake, NULL);
        if (at_once)
            fake.refuse_with = answer;
        fake_client(&fake, &v5);
        fake_client(&fake, &v4);
        fake_client(&fake, &http);
        fake_write(&fake, &v5,
                   "\5\1\0\5\1\0\3\1h\0\x50"
                   "DATA",
                   15);
        fake_write(&fake, &v4, "\4\1\0\x50\xc0\0\2\7\0DATA", 13);
        fake_say(&fake, &http, "CONNECT h:80 HTTP/1.1\r\n\r\nDATA");
        for (size_t k = 0; !at_once && k < 3; k++)
            fake_answer(&fake, k, answer);
        fake_run(&fake);
        assert_int_equal(v5.len, 12);
        assert_memory_equal(v5.got, "\5\0\5", 3);
        assert_int_equal(v5.got[3], cases[i / 2].socks5);
        assert_int_equal(v4.len, 8);
        assert_memory_equal(v4.got, "\0\x5b", 2);
        assert_memory_equal(http.got, "HTTP/1.1 ", 9);
        assert_memory_equal(http.got + 9, cases[i / 2].http, 3);
        assert_non_null(strstr(http.got, "Proxy-Status: adit; error="));
        assert_true(v5.eof && v4.eof && http.eof);
        assert_int_equal(front_stats(fake.front)->failed, 3);
        assert_int_equal(front_stats(fake.front)->clients, 0);
        fake_hang_up(&fake, &v5);
        fake_hang_up(&fake, &v4);
        fake_hang_up(&fake, &http);
        fake_stop(&fake);
    }
}

/* What makes no sense gets its error and is closed; a neighbour's tunnel goes on. */
static void malformed(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *reply;
        size_t reply_len;
    } cases[] = {
#define BAD(bytes, reply) {bytes, sizeof(bytes) - 1, reply, sizeof(reply) - 1}
        BAD("\5\1\1", "\5\xff"),                                       /* GSSAPI only */
        BAD("\5\0", "\5\xff"),                                         /* no method at all */
        BAD("\5\1\0\4\1\0\1", "\5\0\5\1\0\1\0\0\0\0\0\0"),             /* version of the request */
        BAD("\5\1\0\5\1\0\2", "\5\0\5\10\0\1\0\0\0\0\0\0"),            /* address type */
        BAD("\5\1\0\5\2\0\1\0\0\0\0\0\0", "\5\0\5\7\0\1\0\0\0\0\0\0"), /* BIND */
        BAD("\5\1\0\5\3\0\1\0\0\0\0\0\0", "\5\0\5\7\0\1\0\0\0\0\0\0"), /* UDP ASSOCIATE */
        BAD("\5\1\0\5\1\0\3\0\0\x50", "\5\0\5\1\0\1\0\0\0\0\0\0"),     /* empty name */
        BAD("\5\1\0\5\1\0\1\1\2\3\4\0\0", "\5\0\5\1\0\1\0\0\0\0\0\0"), /* port 0 */
        BAD("\5\1\2\5\1a\1b", "\5\2\1\1"),                   /* version of authentication */
        BAD("\4\2\0\x50\1\2\3\4\0", "\0\x5b\0\0\0\0\0\0"),   /* BIND */
        BAD("\4\1\0\0\1\2\3\4\0", "\0\x5b\0\0\0\0\0\0"),     /* port 0 */
        BAD("\4\1\0\x50\0\0\0\1\0\0", "\0\x5b\0\0\0\0\0\0"), /* empty name */
        BAD("\x16\3\1\2\0\1", "HTTP/1.1 400 "),              /* TLS */
        BAD("hello\r\n\r\n", "HTTP/1.1 400 "),
        BAD("CONNECT h HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        BAD("CONNECT h:0 HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        BAD("CONNECT h:1 HTTP/1.1\r\nContent-Length: 4\r\n\r\n", "HTTP/1.1 400 "),
        BAD("GET http://h/ HTTP/2.0\r\n\r\n", "HTTP/1.1 505 "),
        BAD("GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 501 "),
        BAD("GET http://h/ HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
        BAD("GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 400 "),
        BAD("POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: "
            "chunked\r\n\r\n",
            "HTTP/1.1 400 "),
    };
    struct fake fake;
    struct peer client, neighbour;

    (void)state;
    fake_start(&fake, NULL);
    fake_client(&fake, &neighbour);
    fake_write(&fake, &neighbour, "\5\1\0\5\1\0\3\1h\0\x50", 11);
    fake_answer(&fake, 0, ANSWER_OK);
    for (size_t i = 0; i < COUNT(cases); i++) {
        fake_client(&fake, &client);
        fake_write(&fake, &client, cases[i].bytes, cases[i].len);
        if (client.len < cases[i].reply_len ||
            memcmp(client.got, cases[i].reply, cases[i].reply_len) != 0 || !client.eof)
            fail_msg("case %zu: %zu bytes: %s", i, client.len, client.got);
        fake_hang_up(&fake, &client);
        peer_forget(&neighbour);
        fake_say(&fake, &fake.streams[0].peer, "still here");
        assert_string_equal(neighbour.got, "still here");
    }
    assert_int_equal(fake.count, 1);
    assert_true(front_stats(fake.front)->malformed > 10);
    fake_hang_up(&fake, &neighbour);
    fake_stop(&fake);
}

static void credentials(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    start_with_users(&fake, "alice:pw!\n");
    fake_client(&fake, &client); /* offers no password */
    fake_write(&fake, &client, "\5\1\0\5\1\0\3\1h\0\x50", 11);
    assert_int_equal(client.len, 2);
    assert_memory_equal(client.got, "\5\xff", 2);
    fake_hang_up(&fake, &client);
    fake_client(&fake, &client); /* a wrong one */
    fake_write(&fake, &client, "\5\1\2\1\5alice\3pw?\5\1\0\3\1h\0\x50", 22);
    assert_int_equal(client.len, 4);
    assert_memory_equal(client.got, "\5\2\1\1", 4);
    assert_true(client.eof);
    fake_hang_up(&fake, &client);
    fake_client(&fake, &client); /* SOCKS4 has none */
    fake_write(&fake, &client, "\4\1\0\x50\xc0\0\2\7alice\0", 14);
    assert_memory_equal(client.got, "\0\x5b", 2);
    fake_hang_up(&fake, &client);
    fake_client(&fake, &client); /* HTTP: asked, wrong, then right on the same connection */
    fake_say(&fake, &client, "CONNECT h:1 HTTP/1.1\r\n\r\n");
    assert_memory_equal(client.got, "HTTP/1.1 407 ", 13);
    assert_false(client.eof);
    peer_forget(&client);
    fake_say(&fake, &client,
             "CONNECT h:1 HTTP/1.1\r\nProxy-Authorization: Basic YWxpY2U6cHc/\r\n\r\n");
    assert_memory_equal(client.got, "HTTP/1.1 407 ", 13);
    peer_forget(&client);
    assert_int_equal(fake.count, 0);
    fake_say(&fake, &client,
             "CONNECT h:1 HTTP/1.1\r\nProxy-Authorization: Basic YWxpY2U6cHch\r\n\r\n");
    assert_int_equal(fake.count, 1);
    fake_answer(&fake, 0, ANSWER_OK);
    assert_string_equal(client.got, OK_HTTP);
    assert_int_equal(front_stats(fake.front)->denied, 4);
    fake_hang_up(&fake, &client);
    fake_stop(&fake);
}

/* The client goes before the answer: the stream is aborted at once, and no answer arrives any more.
 */
static void client_goes_first(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    for (int i = 0; i < 3; i++) {
        fake_start(&fake, NULL);
        fake_client(&fake, &client);
        if (i == 2)
            fake_say(&fake, &client, "CONNECT h:1 HTTP/1.1\r\n\r\n");
        else
            fake_write(&fake, &client, "\5\1\0\5\1\0\3\1h\0\x50", 11);
        assert_int_equal(fake.count, 1);
        if (i == 1) { /* only half: passed on, and the answer still comes */
            pipe_shutdown(client.pipe);
            fake_run(&fake);
            assert_true(fake.streams[0].peer.eof);
            assert_false(fake.streams[0].peer.ended);
            fake_answer(&fake, 0, ANSWER_OK);
            fake_say(&fake, &fake.streams[0].peer, "all");
            assert_int_equal(client.len, 2 + 10 + 3);
        }
        fake_hang_up(&fake, &client);
        assert_true(fake.streams[0].peer.ended);
        assert_true(fake.streams[0].peer.why < 0);
        if (i != 1)
            fake_answer(&fake, 0, ANSWER_OK);
        assert_int_equal(front_stats(fake.front)->clients, 0);
        fake_stop(&fake);
    }
}

/* A stream that ends without an answer is a failure. */
static void stream_goes_first(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    fake_start(&fake, NULL);
    fake_client(&fake, &client);
    fake_write(&fake, &client, "\5\1\0\5\1\0\3\1h\0\x50", 11);
    pipe_abort(fake.streams[0].near, -ECONNRESET);
    fake_run(&fake);
    assert_int_equal(client.len, 12);
    assert_memory_equal(client.got + 2, "\5\1", 2);
    assert_true(client.eof);
    fake_hang_up(&fake, &client);
    fake_stop(&fake);
}

/* Much early data waits in the client's pipe, not in ours, and arrives whole. */
static void early_data_is_bounded(void **state)
{
    struct fake fake;
    struct peer client;
    char block[8192];

    (void)state;
    fake_start(&fake, NULL);
    fake.stream_options.buffer = 16384;
    fake_client(&fake, &client);
    fake_write(&fake, &client, "\5\1\0\5\1\0\3\1h\0\x50", 11);
    pipe_pause(fake.streams[0].peer.pipe);
    memset(block, 'x', sizeof block);
    for (int i = 0; i < 20; i++)
        fake_write(&fake, &client, block, sizeof block);
    assert_true(pipe_queued(fake.streams[0].near) <= 16384 + sizeof block);
    pipe_resume(fake.streams[0].peer.pipe);
    fake_answer(&fake, 0, ANSWER_OK);
    fake_run(&fake);
    assert_int_equal(fake.streams[0].peer.len, 20 * sizeof block);
    fake_hang_up(&fake, &client);
    fake_stop(&fake);
}

static void timeouts(void **state)
{
    static const char *const beginnings[] = {"", "\5", "\5\1", "GET", "CONNECT h:1 HTTP/1.1\r\n"};
    struct fake fake;
    struct peer clients[COUNT(beginnings)], busy;

    (void)state;
    fake_start(&fake, NULL);
    fake_client(&fake, &busy);
    fake_write(&fake, &busy, "\5\1\0\5\1\0\3\1h\0\x50", 11);
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        fake_client(&fake, &clients[i]);
        fake_say(&fake, &clients[i], beginnings[i]);
    }
    fake_pass(&fake, 20 * SEC_US);
    fake_say(&fake, &clients[4], "A: b\r\n"); /* dribbling does not help */
    fake_pass(&fake, 9 * SEC_US);
    for (size_t i = 0; i < COUNT(beginnings); i++)
        assert_false(clients[i].eof);
    fake_pass(&fake, 2 * SEC_US);
    for (size_t i = 0; i < COUNT(beginnings); i++) {
        assert_true(clients[i].eof);
        if (i >= 3)
            assert_memory_equal(clients[i].got, "HTTP/1.1 408 ", 13);
        fake_hang_up(&fake, &clients[i]);
    }
    assert_int_equal(front_stats(fake.front)->timeouts, COUNT(beginnings));
    /* A request that was made is not the front's to give up. */
    fake_answer(&fake, 0, ANSWER_OK);
    fake_say(&fake, &busy, "x");
    assert_string_equal(fake.streams[0].peer.got, "x");
    fake_hang_up(&fake, &busy);
    fake_stop(&fake);
}

/* front_free() in every state a client can be in. */
static void free_in_any_state(void **state)
{
    static const char *const inputs[] = {
        "",
        "\5",
        "\5\1\2",
        "CONN",
        "GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
        "CONNECT h:1 HTTP/1.1\r\n\r\n",
        "CONNECT h:1 HTTP/1.1\r\n\r\nlinked",
    };
    struct fake fake;
    struct peer clients[COUNT(inputs)];

    (void)state;
    fake_start(&fake, NULL);
    for (size_t i = 0; i < COUNT(inputs); i++) {
        fake_client(&fake, &clients[i]);
        fake_say(&fake, &clients[i], inputs[i]);
    }
    fake_answer(&fake, 2, ANSWER_OK);
    fake_stop(&fake);
    for (size_t i = 0; i < COUNT(inputs); i++) {
        assert_true(clients[i].ended);
        free(clients[i].got);
    }
}

/* --- Listeners, on real sockets --- */

static struct pipe *refuse_all(struct outlet *outlet, const struct target *target, const char *user,
                               outlet_answer_cb *cb, void *arg, enum answer *why)
{
    (void)outlet, (void)target, (void)user, (void)cb, (void)arg;
    *why = ANSWER_POLICY;
    return NULL;
}

static struct outlet refusing = {.open = refuse_all};

static void turn(struct loop *loop, int times)
{
    for (int i = 0; i < times; i++)
        loop_turn(loop, 2 * MS_US);
}

static int dial_unix(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strcpy(sun.sun_path, path);
    if (connect(fd, (struct sockaddr *)&sun, sizeof sun) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int dial(const char *text)
{
    struct sockaddr_storage sa;
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    int fd = socket(addr.family, SOCK_STREAM, 0);
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    if (connect(fd, (struct sockaddr *)&sa, len) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Reads until the end, turning the loop meanwhile. */
static size_t read_all(struct loop *loop, int fd, char *buf, size_t size)
{
    size_t len = 0;

    for (int i = 0; i < 1000; i++) {
        ssize_t n = recv(fd, buf + len, size - 1 - len, MSG_DONTWAIT);
        if (n == 0)
            break;
        if (n > 0)
            len += (size_t)n;
        loop_turn(loop, 2 * MS_US);
    }
    buf[len] = '\0';
    return len;
}

static void listeners(void **state)
{
    char path[] = "test_front.sock", text[FRONT_LISTENER_TEXT_MAX], expected[512], buf[4096];
    struct config_listen at[2] = {{.addr = addr_loopback(AF_INET, 0)}, {.path = path}};
    struct front_config config = {.listen = at, .listen_count = 2};
    struct loop *loop = loop_new();
    struct stat st;
    int error;

    (void)state;
    unlink(path);
    /* A socket that a dead process left. */
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    strcpy(sun.sun_path, path);
    int stale = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(stale, (struct sockaddr *)&sun, sizeof sun), 0);
    close(stale);

    struct front *front = front_new(loop, &config, &refusing, &error);
    assert_non_null(front);
    assert_int_equal(front_listeners(front), 2);
    assert_string_equal(front_listener(front, 1, text), "unix:test_front.sock");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_non_null(front_listener(front, 0, text));

    int fd = dial(text);
    assert_true(fd >= 0);
    assert_true(write(fd, "GET /proxy.pac HTTP/1.0\r\n\r\n", 27) == 27);
    read_all(loop, fd, buf, sizeof buf);
    snprintf(expected, sizeof expected, "PROXY %s; SOCKS5 %s", text, text);
    assert_non_null(strstr(buf, expected));
    assert_non_null(strstr(buf, "application/x-ns-proxy-autoconfig"));
    close(fd);
    fd = dial(text);
    assert_true(write(fd, "\5\1\0\5\1\0\3\1h\0\x50", 11) == 11);
    assert_int_equal(read_all(loop, fd, buf, sizeof buf), 12);
    assert_memory_equal(buf, "\5\0\5\2", 4);
    close(fd);
    fd = dial_unix(path);
    assert_true(fd >= 0);
    assert_true(write(fd, "GET /proxy.pac HTTP/1.0\r\n\r\n", 27) == 27);
    read_all(loop, fd, buf, sizeof buf);
    assert_memory_equal(buf, "HTTP/1.1 404 ", 13);
    close(fd);

    /* Taken addresses: all or nothing, and the live socket stays. */
    struct config_listen twice[2] = {{.addr = addr_loopback(AF_INET, 0)}, {.path = path}};
    struct front_config other = {.listen = twice, .listen_count = 2};
    assert_null(front_new(loop, &other, &refusing, &error));
    assert_int_equal(error, -EADDRINUSE);
    assert_int_equal(stat(path, &st), 0);

    front_free(front);
    turn(loop, 3);
    assert_int_equal(stat(path, &st), -1);
    assert_int_equal(dial(text), -1);
    loop_free(loop);
    block_pool_trim(0);
}

static void reload(void **state)
{
    char path[] = "test_front.sock2", text[FRONT_LISTENER_TEXT_MAX], buf[4096];
    struct config_listen at[2] = {{.addr = addr_loopback(AF_INET, 0)}, {.path = path}};
    struct front_config config = {.listen = at, .listen_count = 1};
    struct loop *loop = loop_new();
    int error;

    (void)state;
    unlink(path);
    struct front *front = front_new(loop, &config, &refusing, &error);
    assert_non_null(front);
    front_listener(front, 0, text);
    int fd = dial(text);
    turn(loop, 3);
    assert_int_equal(front_stats(front)->clients, 1);
    config.listen_count = 2; /* one more; the other stays as it is */
    assert_int_equal(front_reload(front, &config), 0);
    assert_int_equal(front_listeners(front), 2);
    assert_string_equal(front_listener(front, 0, buf), text);
    config.listen = &at[1]; /* the first goes; its client does not */
    config.listen_count = 1;
    assert_int_equal(front_reload(front, &config), 0);
    assert_int_equal(front_listeners(front), 1);
    assert_int_equal(dial(text), -1);
    assert_true(write(fd, "\5\1\0\5\1\0\3\1h\0\x50", 11) == 11);
    assert_int_equal(read_all(loop, fd, buf, sizeof buf), 12);
    close(fd);
    config.users_file = "/nonexistent/users"; /* an error: nothing changes */
    config.listen = at;
    assert_int_equal(front_reload(front, &config), -ENOENT);
    assert_int_equal(front_listeners(front), 1);
    front_free(front);
    turn(loop, 3);
    loop_free(loop);
    block_pool_trim(0);
}

static void clients_are_bounded(void **state)
{
    char text[FRONT_LISTENER_TEXT_MAX], buf[64];
    struct config_listen at = {.addr = addr_loopback(AF_INET, 0)};
    struct front_config config = {.listen = &at, .listen_count = 1, .max_clients = 3};
    struct loop *loop = loop_new();
    int fds[5];

    (void)state;
    struct front *front = front_new(loop, &config, &refusing, NULL);
    assert_non_null(front);
    front_listener(front, 0, text);
    for (int i = 0; i < 5; i++)
        assert_true((fds[i] = dial(text)) >= 0);
    turn(loop, 10);
    assert_int_equal(front_stats(front)->accepted, 3);
    assert_int_equal(front_stats(front)->clients, 3);
    close(fds[0]); /* a place is free: the next is taken out of the backlog and served */
    turn(loop, 10);
    assert_int_equal(front_stats(front)->accepted, 4);
    assert_true(write(fds[3], "\5\1\0\5\1\0\3\1h\0\x50", 11) == 11);
    assert_int_equal(read_all(loop, fds[3], buf, sizeof buf), 12);
    for (int i = 1; i < 5; i++)
        close(fds[i]);
    turn(loop, 10);
    assert_int_equal(front_stats(front)->clients, 0);
    assert_int_equal(front_stats(front)->accepted, 5);
    front_free(front);
    turn(loop, 3);
    loop_free(loop);
    block_pool_trim(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tunnels_at_every_split),
        cmocka_unit_test(tunnels_byte_by_byte),
        cmocka_unit_test(failures_are_told),
        cmocka_unit_test(malformed),
        cmocka_unit_test(credentials),
        cmocka_unit_test(client_goes_first),
        cmocka_unit_test(stream_goes_first),
        cmocka_unit_test(early_data_is_bounded),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(free_in_any_state),
        cmocka_unit_test(listeners),
        cmocka_unit_test(reload),
        cmocka_unit_test(clients_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
