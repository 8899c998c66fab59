/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: a forwarder in a real loop, asked by plain sockets of the test's own: by one
 * that knows the password, and by others. The broker is a server that echoes or floods.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pipe/tcp.h"
#include "signal/forwarder.h"

#define PATIENCE_US (5 * SEC_US)
#define FLOOD_BYTES (2 * (FORWARDER_BURST_BYTES + 2 * FORWARDER_BYTES_PER_S))

struct world {
    struct loop *loop;
    struct forwarder *forwarder;
    struct pipe *server;
    struct target at;
    char proxy[FORWARDER_PROXY_BYTES];
    char login[128]; /* base64 of the password */
    unsigned failures, clients, ended;
    char why[BROKER_TEXT_MAX + 1];
    bool floods;
    char got[256]; /* by the server */
    size_t got_len;
    unsigned lookups;
    broker_resolved_cb *done;
    void *done_arg;
};

#define await(condition)                                                              \
    do {                                                                              \
        uint64_t end_ = loop_refresh(world->loop) + PATIENCE_US;                      \
        while (!(condition) && loop_refresh(world->loop) < end_)                      \
            loop_turn(world->loop, 10 * MS_US);                                       \
        if (!(condition))                                                             \
            fail_msg("not within %d s: %s", (int)(PATIENCE_US / SEC_US), #condition); \
    } while (0)

static void pass(struct world *world, uint64_t us)
{
    for (uint64_t end = loop_refresh(world->loop) + us; loop_refresh(world->loop) < end;)
        loop_turn(world->loop, 5 * MS_US);
}

/* --- The broker --- */

static void client_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                           void *arg)
{
    struct world *world = arg;
    size_t len = data->len;

    (void)from;
    if (len > sizeof(world->got) - 1 - world->got_len)
        len = sizeof(world->got) - 1 - world->got_len;
    memcpy(world->got + world->got_len, data->data, len);
    world->got_len += len;
    if (world->floods) {
        char *bytes = calloc(1, FLOOD_BYTES);

        pipe_write_copy(pipe, bytes, FLOOD_BYTES);
        free(bytes);
    } else {
        pipe_write_copy(pipe, data->data, data->len);
    }
}

static void client_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    ((struct world *)arg)->ended++;
}

static const struct pipe_events client_events = {.message = client_message, .end = client_end};

static void server_accept(struct pipe *server, struct pipe *client, void *arg)
{
    (void)server;
    ((struct world *)arg)->clients++;
    pipe_add_listener(client, &client_events, arg);
}

static const struct pipe_events server_events = {.accept = server_accept};

/* --- The forwarder's owner --- */

static void on_failed(void *arg, const char *why)
{
    struct world *world = arg;

    world->failures++;
    snprintf(world->why, sizeof(world->why), "%s", why);
}

static void *start_lookup(void *owner, const char *name, broker_resolved_cb *done, void *arg)
{
    struct world *world = owner;

    assert_string_equal(name, "broker.example");
    world->lookups++;
    world->done = done;
    world->done_arg = arg;
    return world;
}

static void cancel_lookup(void *owner, void *lookup)
{
    assert_ptr_equal(owner, lookup);
    ((struct world *)owner)->done = NULL;
}

static void base64(const char *text, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(text);

    assert_int_equal(len % 3, 0);
    for (size_t i = 0; i < len; i += 3) {
        unsigned three =
            (unsigned)text[i] << 16 | (unsigned)text[i + 1] << 8 | (unsigned)text[i + 2];

        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = digits[three >> shift & 63];
    }
    *out = '\0';
}

static void renew(struct world *world)
{
    char login[FORWARDER_PROXY_BYTES];

    forwarder_renew(world->forwarder, world->proxy);
    snprintf(login, sizeof(login), "%s", world->proxy);
    assert_non_null(strchr(login, '@'));
    *strchr(login, '@') = '\0';
    base64(login, world->login);
}

static void start(struct world *world, const char *name)
{
    const struct broker_resolver resolver = {start_lookup, cancel_lookup, world};
    struct addr at = addr_loopback(AF_INET, 0);

    memset(world, 0, sizeof(*world));
    world->loop = loop_new();
    world->server = tcp_listen(world->loop, &at, NULL);
    assert_non_null(world->server);
    pipe_add_listener(world->server, &server_events, world);
    pipe_addrs(world->server, &at, NULL);
    assert_int_equal(target_set(&world->at, name, strlen(name), at.port), 0);
    world->forwarder = forwarder_new(world->loop, &world->at, &resolver, on_failed, world);
    assert_non_null(world->forwarder);
    renew(world);
}

static void stop(struct world *world)
{
    forwarder_free(world->forwarder);
    pipe_abort(world->server, -ECANCELED);
    pass(world, 20 * MS_US);
    loop_free(world->loop);
}

/* --- Those who ask --- */

static int ask(struct world *world, const char *format, ...)
{
    struct sockaddr_storage sa;
    struct addr at;
    char text[1024];
    socklen_t len;
    va_list args;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(addr_parse(strchr(world->proxy, '@') + 1, &at), 0);
    len = addr_to_sockaddr(&at, &sa);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

#define CONNECT "CONNECT b.example:1883 HTTP/1.1\r\nHost: b.example\r\n"
#define RIGHT   CONNECT "Proxy-authorization: Basic %s\r\n\r\n"

/* What has come so far, without the "200"; -1: ended. */
static ssize_t hear(int fd, char *buf, size_t max)
{
    ssize_t len = recv(fd, buf, max, MSG_DONTWAIT);

    if (len < 0)
        return errno == EAGAIN ? 0 : -1;
    return len == 0 ? -1 : len;
}

static bool hears(int fd, const char *text)
{
    char buf[256] = "";

    return recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT | MSG_PEEK) > 0 && strstr(buf, text);
}

static bool is_ended(int fd)
{
    char buf[4096];
    ssize_t len;

    while ((len = hear(fd, buf, sizeof(buf))) > 0)
        ;
    return len < 0;
}

static void test_forwards(void **state)
{
    struct world the, *world = &the;
    int fd, other;

    (void)state;
    start(world, "127.0.0.1");
    assert_int_equal(forwarder_stage(world->forwarder), FORWARDER_IDLE);
    fd = ask(world, RIGHT "hello", world->login);
    await(hears(fd, "HTTP/1.1 200 OK\r\n\r\nhello"));
    assert_int_equal(forwarder_stage(world->forwarder), FORWARDER_ANSWERED);
    assert_true(forwarder_has_spoken(world->forwarder));

    /* the password is for once */
    other = ask(world, RIGHT, world->login);
    await(is_ended(other));
    close(other);
    assert_int_equal(world->clients, 1);

    /* a new one ends the old connection */
    renew(world);
    await(is_ended(fd) && world->ended == 1);
    close(fd);
    fd = ask(world, RIGHT, world->login);
    await(world->clients == 2);
    pass(world, 20 * MS_US);
    assert_int_equal(forwarder_stage(world->forwarder), FORWARDER_CONNECTED);
    assert_false(forwarder_has_spoken(world->forwarder));
    close(fd); /* the end is passed on */
    await(world->ended == 2);
    assert_int_equal(world->failures, 0);
    stop(world);
}

static void test_strangers(void **state)
{
    static const char *const wrong[] = {
        CONNECT "\r\n",
        CONNECT "Proxy-authorization: Basic YWRpdDp4\r\n\r\n",
        CONNECT "Proxy-authorization: Basic \r\n\r\n",
        CONNECT "Proxy-authorization: Bearer %s\r\n\r\n",
        "GET / HTTP/1.1\r\nProxy-authorization: Basic %s\r\n\r\n",
        CONNECT "Proxy-authorization: Basic %sA\r\n\r\n",
        CONNECT "\r\nProxy-authorization: Basic %s\r\n\r\n",
        "\r\n\r\n",
    };
    struct world the, *world = &the;
    int fds[3 * FORWARDER_WAITING_MAX], fd;
    char long_request[FORWARDER_REQUEST_BYTES + 2], almost[sizeof(world->login)];

    (void)state;
    start(world, "127.0.0.1");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        fd = ask(world, wrong[i], world->login);
        await(is_ended(fd));
        close(fd);
    }
    memcpy(almost, world->login, sizeof(almost));
    almost[strlen(almost) - 1] ^= 1;
    fd = ask(world, RIGHT, almost);
    await(is_ended(fd));
    close(fd);
    memset(long_request, 'x', sizeof(long_request));
    fd = ask(world, CONNECT);
    assert_int_equal(write(fd, long_request, sizeof(long_request)), sizeof(long_request));
    await(is_ended(fd));
    close(fd);

    /* those who say nothing: the newest stay, for a while; who knows the password is served */
    for (int i = 0; i < 3 * FORWARDER_WAITING_MAX; i++) {
        fds[i] = ask(world, "C");
        pass(world, 3 * MS_US);
    }
    for (int i = 0; i < 2 * FORWARDER_WAITING_MAX; i++)
        await(is_ended(fds[i]));
    for (int i = 2 * FORWARDER_WAITING_MAX; i < 3 * FORWARDER_WAITING_MAX; i++)
        assert_false(is_ended(fds[i]));
    assert_int_equal(world->clients, 0);
    fd = ask(world, RIGHT "x", world->login);
    await(hears(fd, "x"));
    for (int i = 2 * FORWARDER_WAITING_MAX; i < 3 * FORWARDER_WAITING_MAX; i++) {
        uint64_t end = loop_refresh(world->loop) + FORWARDER_REQUEST_US + SEC_US;

        while (!is_ended(fds[i]) && loop_refresh(world->loop) < end)
            loop_turn(world->loop, 50 * MS_US);
        assert_true(is_ended(fds[i]));
    }
    assert_false(is_ended(fd));
    for (int i = 0; i < 3 * FORWARDER_WAITING_MAX; i++)
        close(fds[i]);
    close(fd);
    stop(world);
}

static void test_names(void **state)
{
    struct world the, *world = &the;
    struct addr addrs[3] = {addr_loopback(AF_INET6, 0), addr_loopback(AF_INET, 0)};
    int fd;

    (void)state;
    start(world, "broker.example");
    fd = ask(world, RIGHT "early", world->login);
    await(world->lookups == 1);
    assert_int_equal(forwarder_stage(world->forwarder), FORWARDER_RESOLVING);
    assert_true(hears(fd, "200 OK")); /* long before */
    world->done(world->done_arg, addrs, 2, NULL);
    await(hears(fd, "early")); /* nobody is at ::1: the next address */
    close(fd);

    renew(world);
    fd = ask(world, RIGHT, world->login);
    await(world->lookups == 2);
    world->done(world->done_arg, NULL, 0, "no such name");
    assert_int_equal(world->failures, 1);
    assert_non_null(strstr(world->why, "cannot be resolved: no such name"));
    await(is_ended(fd));
    close(fd);

    renew(world);
    fd = ask(world, RIGHT, world->login);
    await(world->lookups == 3);
    assert_non_null(world->done);
    close(fd); /* who asked has gone: the lookup is cancelled */
    forwarder_stop(world->forwarder);
    assert_null(world->done);

    renew(world);
    pipe_abort(world->server, -ECANCELED);
    pass(world, 20 * MS_US);
    fd = ask(world, RIGHT, world->login);
    await(world->lookups == 4);
    world->done(world->done_arg, addrs, 2, NULL);
    await(world->failures == 2);
    assert_non_null(strstr(world->why, "nothing listens"));
    close(fd);
    world->server = tcp_listen(world->loop, &addrs[1], NULL);
    stop(world);
}

static void test_limit(void **state)
{
    struct world the, *world = &the;
    char buf[65536];
    ssize_t len;
    size_t total = 0;
    uint64_t begin, passed;
    int fd;

    (void)state;
    start(world, "127.0.0.1");
    world->floods = true;
    fd = ask(world, RIGHT "x", world->login);
    begin = loop_refresh(world->loop);
    while ((passed = loop_refresh(world->loop) - begin) < 2 * SEC_US) {
        loop_turn(world->loop, 10 * MS_US);
        while ((len = hear(fd, buf, sizeof(buf))) > 0)
            total += (size_t)len;
        assert_true(len == 0);
    }
    print_message("%zu KiB in %u ms\n", total / 1024, (unsigned)(passed / MS_US));
    assert_in_range(total, FORWARDER_BURST_BYTES + FORWARDER_BYTES_PER_S,
                    FORWARDER_BURST_BYTES + 2 * FORWARDER_BYTES_PER_S + 65536);
    assert_int_equal(write(fd, "y", 1), 1); /* the other way is not held up */
    await(world->got_len >= 2);
    close(fd);
    stop(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forwards),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests_name("forwarder", tests, NULL, NULL);
}
