/* SPDX-License-Identifier: MIT */
/* Theory of operation: pipe_open() for every kind, each as a small program would use it: an echo
 * server, a client that awaits. */
#include "pipe_recorder.h"

#include <fcntl.h>
#include <sys/un.h>
#include <unistd.h>

#include "pipe/open.h"
#include "pipe/subscribe.h"
#include "pipe/tcp.h"
#include "pipe/udp.h"
#include "pipe/unique.h"

/* The echo server of the documents: one callback for TCP and UDP alike. */
static void echo(struct pipe *pipe, const struct slice *data, const struct addr *from, void *arg)
{
    struct slice copy = slice_ref(data);

    (void)arg;
    pipe_write_to(pipe, &copy, from);
}

struct heard {
    int ups, ends;
    struct pipe *pipe;
};

static void on_up(struct pipe *pipe, void *arg)
{
    struct heard *heard = arg;

    assert_ptr_equal(heard->pipe, pipe);
    heard->ups++;
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct heard *heard = arg;

    (void)why;
    if (pipe == heard->pipe)
        heard->ends++;
}

static const struct pipe_events echo_events = {.message = echo, .up = on_up, .end = on_end};

struct answer_wait {
    int why, calls;
    char text[16];
};

static void on_answer(struct subscription *sub, int why, struct slice *data,
                      const struct addr *from, void *arg)
{
    struct answer_wait *wait = arg;

    (void)sub;
    (void)from;
    wait->calls++;
    wait->why = why;
    if (data)
        strncat(wait->text, (const char *)data->data, data->len);
}

static void echo_and_await_on_tcp_and_udp(void **state)
{
    (void)state;
    const struct {
        enum pipe_protocol protocol;
        int family;
    } cases[] = {
        {PIPE_TCP, AF_INET}, {PIPE_TCP, AF_INET6}, {PIPE_UDP, AF_INET}, {PIPE_UDP, AF_INET6}};

    for (int i = 0; i < 4; i++) {
        struct loop *loop = loop_new();
        struct heard server = {0};
        struct recorder client = {0};
        struct pipe_options options = PIPE_OPTIONS_DEFAULT;
        struct answer_wait wait = {0};
        struct addr at;

        options.local = addr_loopback(cases[i].family, 0);
        server.pipe = pipe_open(loop, &(struct pipe_spec){.protocol = cases[i].protocol,
                                                          .options = &options,
                                                          .events = &echo_events,
                                                          .arg = &server});
        assert_non_null(server.pipe);
        pipe_addrs(server.pipe, &at, NULL);
        client.pipe = pipe_open(loop, &(struct pipe_spec){.protocol = cases[i].protocol,
                                                          .to = &at,
                                                          .events = &recorder_events,
                                                          .arg = &client});
        assert_non_null(client.pipe);
        struct subscription *sub = pipe_subscribe(client.pipe, SUB_ALL, 0);
        write_text(client.pipe, "ping");
        assert_int_equal(pipe_recv(sub, 4 * SEC_US, on_answer, &wait), 0);
        RUN_UNTIL(loop, wait.calls == 1);
        assert_int_equal(wait.why, 0);
        assert_string_equal(wait.text, "ping");
        assert_int_equal(client.ups, 1);
        assert_int_equal(server.ups, 1);
        pipe_recv(sub, 20 * MS_US, on_answer, &wait);
        RUN_UNTIL(loop, wait.calls == 2);
        assert_int_equal(wait.why, -ETIMEDOUT);
        pipe_unsubscribe(sub);
        pipe_close(server.pipe);
        pipe_close(client.pipe);
        RUN_UNTIL(loop, server.ends == 1 && client.ends == 1);
        loop_free(loop);
        assert_int_equal(block_total_bytes(), 0);
    }
}

static void unix_client_and_server(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct heard server = {0};
    struct recorder client = {0};
    char dir[] = "/tmp/adit-test-XXXXXX", path[64];

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/sock", dir);
    assert_null(pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_UNIX, .path = path}));
    assert_int_equal(errno, ENOENT);
    server.pipe = pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_UNIX,
                                                      .path = path,
                                                      .is_server = true,
                                                      .events = &echo_events,
                                                      .arg = &server});
    client.pipe = pipe_open(
        loop, &(struct pipe_spec){
                  .protocol = PIPE_UNIX, .path = path, .events = &recorder_events, .arg = &client});
    assert_non_null(client.pipe);
    write_text(client.pipe, "hi");
    RUN_UNTIL(loop, client.bytes == 2 && client.ups == 1);
    pipe_close(client.pipe);
    pipe_close(server.pipe);
    RUN_UNTIL(loop, client.ends == 1 && server.ends == 1);
    rmdir(dir);
    loop_free(loop);
}

static int plain(int type, const struct addr *at, struct addr *bound)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(at, &sa);
    int fd = socket(at->family, type, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    len = sizeof(sa);
    getsockname(fd, (struct sockaddr *)&sa, &len);
    addr_from_sockaddr((struct sockaddr *)&sa, len, bound);
    return fd;
}

static void existing_sockets_are_wrapped(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct addr any = addr_loopback(AF_INET, 0), at, udp_at;

    for (int listening = 0; listening < 2;
         listening++) { /* a server's socket, bound or already listening */
        struct heard server = {0};
        struct recorder client = {0};
        int fd = plain(SOCK_STREAM, &any, &at);

        if (listening)
            listen(fd, 5);
        server.pipe = pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_TCP,
                                                          .wrap = true,
                                                          .fd = fd,
                                                          .events = &echo_events,
                                                          .arg = &server});
        assert_int_equal(tcp_fd(server.pipe), fd);
        int connected = socket(AF_INET, SOCK_STREAM, 0);
        struct sockaddr_storage sa;
        socklen_t len = addr_to_sockaddr(&at, &sa);
        assert_int_equal(connect(connected, (struct sockaddr *)&sa, len), 0);
        client.pipe = pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_TCP,
                                                          .wrap = true,
                                                          .fd = connected,
                                                          .to = listening ? &at : NULL,
                                                          .events = &recorder_events,
                                                          .arg = &client});
        write_text(client.pipe, "wrapped");
        RUN_UNTIL(loop, client.bytes == 7);
        assert_int_equal(client.ups, 1); /* told, although it was connected before */
        assert_int_equal(server.ups, 1);
        pipe_close(server.pipe);
        pipe_close(client.pipe);
        RUN_UNTIL(loop, server.ends == 1 && client.ends == 1);
    }
    struct heard server = {0};
    struct recorder client = {0};
    server.pipe = pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_UDP,
                                                      .wrap = true,
                                                      .fd = plain(SOCK_DGRAM, &any, &udp_at),
                                                      .events = &echo_events,
                                                      .arg = &server});
    client.pipe = pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_UDP,
                                                      .wrap = true,
                                                      .fd = plain(SOCK_DGRAM, &any, &at),
                                                      .to = &udp_at,
                                                      .events = &recorder_events,
                                                      .arg = &client});
    write_text(client.pipe, "udp"); /* connected to `to` */
    RUN_UNTIL(loop, client.bytes == 3);
    pipe_close(server.pipe);
    pipe_close(client.pipe);
    RUN_UNTIL(loop, server.ends == 1 && client.ends == 1);
    assert_null(pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_TCP, .wrap = true, .fd = -1}));
    assert_int_equal(errno, EBADF);
    loop_free(loop);
}

static void options_for_all_kinds(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct pipe_options options = PIPE_OPTIONS_DEFAULT;
    struct recorder server = {0}, client = {0};
    struct addr at;

    options.local = addr_loopback(AF_INET, 0);
    options.unique_max = 10;
    options.queue_max = 2;
    assert_null(pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_TCP, .options = &options}));
    assert_int_equal(errno, ENOTSUP); /* a stream has no messages to be unique */
    server.pipe = pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_UDP,
                                                      .options = &options,
                                                      .events = &recorder_events,
                                                      .arg = &server});
    pipe_addrs(server.pipe, &at, NULL);
    struct subscription *sub = pipe_subscribe(server.pipe, SUB_ALL, 0);
    record(&client, udp_open(loop, &at, NULL));
    for (int i = 0; i < 8; i++)
        write_text(client.pipe, (const char *[]){"a", "a", "b", "c"}[i % 4]);
    RUN_UNTIL(loop, server.messages + pipe_duplicates(server.pipe) == 8);
    assert_string_equal(server.text, "abc");
    assert_int_equal(subscription_queued(sub), 2);
    pipe_unsubscribe(sub);
    pipe_close(server.pipe);
    pipe_close(client.pipe);
    RUN_UNTIL(loop, server.ends == 1 && client.ends == 1);
    options.unique_max = UNIQUE_MAX + 1;
    assert_null(pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_UDP, .options = &options}));
    assert_int_equal(errno, EINVAL);
    loop_free(loop);
}

static void what_makes_no_pipe(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct addr nowhere = {0};

    assert_null(pipe_open(
        loop,
        &(struct pipe_spec){.protocol = PIPE_TCP})); /* neither destination nor local address */
    assert_int_equal(errno, EDESTADDRREQ);
    assert_null(pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_UDP, .to = &nowhere}));
    assert_null(pipe_open(loop, &(struct pipe_spec){.protocol = PIPE_TLS}));
    assert_int_equal(errno, EOPNOTSUPP);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_and_await_on_tcp_and_udp),
        cmocka_unit_test(unix_client_and_server),
        cmocka_unit_test(existing_sockets_are_wrapped),
        cmocka_unit_test(options_for_all_kinds),
        cmocka_unit_test(what_makes_no_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
