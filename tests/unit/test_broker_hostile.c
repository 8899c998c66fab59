/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: brokers that hang, end or send nonsense (servers of the test's own), or
 * flood us: what one does, the others must not notice. All of them run in one loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "pipe/tcp.h"
#include "signal/forwarder.h"

#include "broker_world.h"

/* --- Servers that are no brokers --- */

/* What a server does with a client. */
struct server {
    struct pipe *pipe;
    uint16_t port;
    const uint8_t *answers[4]; /* to the first bytes, the second, ... */
    size_t lens[4];
    bool is_websocket; /* the first answer is the right one to an upgrade */
    bool ends;         /* ... and then it closes */
    unsigned clients;
};

struct client {
    struct server *server;
    size_t turn;
};

static void answer_upgrade(struct pipe *pipe, const struct slice *data)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
                      name[] = "Sec-WebSocket-Key:";
    char key[128] = "", accept[64], answer[256];
    uint8_t hash[SHA_DIGEST_LENGTH];
    const char *at = memmem(data->data, data->len, name, sizeof(name) - 1);

    assert_non_null(at);
    assert_int_equal(sscanf(at + sizeof(name) - 1, " %60[^\r\n]", key), 1);
    strcat(key, guid);
    SHA1((const uint8_t *)key, strlen(key), hash);
    EVP_EncodeBlock((uint8_t *)accept, hash, sizeof(hash));
    snprintf(answer, sizeof(answer),
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
             accept);
    pipe_write_copy(pipe, answer, strlen(answer));
}

static void client_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                           void *arg)
{
    struct client *client = arg;
    struct server *server = client->server;
    size_t turn = client->turn++;

    (void)from;
    if (turn < 4 && turn == 0 && server->is_websocket)
        answer_upgrade(pipe, data);
    else if (turn < 4 && server->answers[turn])
        pipe_write_copy(pipe, server->answers[turn], server->lens[turn]);
    else if (server->ends)
        pipe_close(pipe);
}

static void client_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    free(arg);
}

static const struct pipe_events client_events = {.message = client_message, .end = client_end};

static void server_accept(struct pipe *pipe, struct pipe *client, void *arg)
{
    struct server *server = arg;
    struct client *one = calloc(1, sizeof(*one));

    (void)pipe;
    one->server = server;
    server->clients++;
    pipe_add_listener(client, &client_events, one);
}

static const struct pipe_events server_events = {.accept = server_accept};

static void start_server(struct server *server)
{
    struct addr at = addr_loopback(AF_INET, 0);

    server->pipe = tcp_listen(world.loop, &at, NULL);
    assert_non_null(server->pipe);
    assert_int_equal(pipe_addrs(server->pipe, &at, NULL), 0);
    server->port = at.port;
    pipe_add_listener(server->pipe, &server_events, server);
}

static void stop_server(struct server *server)
{
    pipe_abort(server->pipe, -ECANCELED);
    pass(20 * MS_US);
}

/* A port where nobody accepts, and the kernel takes no more: SYNs are not answered. */
static uint16_t start_deaf(int fds[8])
{
    struct sockaddr_storage sa;
    struct addr at = addr_loopback(AF_INET, 0);
    socklen_t len = addr_to_sockaddr(&at, &sa);

    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fds[0], (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(fds[0], 0), 0);
    assert_int_equal(getsockname(fds[0], (struct sockaddr *)&sa, &len), 0);
    for (int i = 1; i < 8; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fds[i], (struct sockaddr *)&sa, len);
    }
    addr_from_sockaddr((struct sockaddr *)&sa, len, &at);
    return at.port;
}

/* Brokers that hang at every stage, names that are never answered: the good one does not notice. */
static void test_hangs(void **state)
{
    enum { HANGS = 6 };
    static const char *const whys[HANGS] = {
        "does not answer: is it running", "does not answer: is it an", "does not answer: is it an",
        "does not answer: is it an",      "does not answer: is it an", "no answer from DNS"};
    struct server silent = {0};
    struct heard good, hung[HANGS];
    uint64_t worst = 0;
    int fds[8];
    uint16_t deaf = start_deaf(fds);

    (void)state;
    need_mosquitto();
    start_server(&silent);
    open_broker(&good, "t", NULL, "ws://localhost:%u", world.ports[PORT_WS]);
    open_broker(&hung[0], "t", NULL, "mqtt://localhost:%u", deaf);
    open_broker(&hung[1], "t", NULL, "mqtt://localhost:%u", silent.port);
    open_broker(&hung[2], "t", NULL, "mqtts://localhost:%u", silent.port);
    open_broker(&hung[3], "t", NULL, "ws://localhost:%u", silent.port);
    open_broker(&hung[4], "t", NULL, "wss://localhost:%u", silent.port);
    open_broker(&hung[5], "t", NULL, "mqtt://hang.test");
    await(good.up);
    for (int i = 0; i < 15; i++) {
        uint64_t took = say(&good, "t", "are you there");

        worst = took > worst ? took : worst;
        pass(100 * MS_US);
    }
    print_message("beside %d that hang: at most %u ms\n", HANGS, (unsigned)(worst / MS_US));
    assert_true(worst < SEC_US);
    for (int i = 0; i < HANGS; i++) {
        await(hung[i].downs);
        if (!strstr(hung[i].why, whys[i]))
            fail_msg("%d: \"%s\", expected \"%s\"", i, hung[i].why, whys[i]);
        broker_paho.close(hung[i].broker);
    }
    assert_true(silent.clients >= 4);
    assert_true(good.up);
    close_broker(&good);
    stop_server(&silent);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
}

/* Half a WebSocket frame from one broker: what Paho keeps in a static buffer must not reach the
 * other. */
static void test_half_frame(void **state)
{
    static const uint8_t half[] = {0x82, 0x7e, 0x40, 0x00, 0x30, 0x30, 0x30, 0x30};
    struct server bad = {.is_websocket = true, .answers = {NULL, half}, .lens = {0, sizeof(half)}};
    struct heard good, poor;

    (void)state;
    need_mosquitto();
    start_server(&bad);
    open_broker(&good, "t", NULL, "ws://localhost:%u", world.ports[PORT_WS]);
    open_broker(&poor, "t", NULL, "ws://localhost:%u", bad.port);
    await(good.up && bad.clients);
    for (int i = 0; i < 5; i++) {
        assert_true(say(&good, "t", "x") < SEC_US);
        pass(100 * MS_US);
    }
    broker_paho.close(poor.broker);
    close_broker(&good);
    stop_server(&bad);
}

/* Nonsense at every stage: told as a failure, and nothing worse. */
static void test_garbage(void **state)
{
    static const uint8_t text[] = "HTTP/1.1 400 Bad Request\r\n\r\nno\r\n";
    static const uint8_t connack[] = {0x20, 2, 0, 0}, refused[] = {0x20, 2, 0, 77};
    static const uint8_t no_suback[] = {0x90, 3, 0, 1, 0x80};
    static const uint8_t huge[] = {0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, 't', 'x'};
    static const uint8_t endless[] = {0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1};
    static const uint8_t short_publish[] = {0x30, 2, 0xff, 0xff};
    static const uint8_t ws_huge[] = {0x82, 0x7f, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 1};
    static const uint8_t ws_odd[] = {0x8f, 0x00}, ws_close[] = {0x88, 0x00};
    struct server servers[] = {
        {.answers = {text}, .lens = {sizeof(text)}, .ends = true},
        {.answers = {refused}, .lens = {sizeof(refused)}},
        {.answers = {connack, no_suback}, .lens = {sizeof(connack), sizeof(no_suback)}},
        {.answers = {connack, huge}, .lens = {sizeof(connack), sizeof(huge)}},
        {.answers = {connack, endless}, .lens = {sizeof(connack), sizeof(endless)}},
        {.answers = {connack, short_publish}, .lens = {sizeof(connack), sizeof(short_publish)}},
        {.answers = {text}, .lens = {sizeof(text)}, .is_websocket = false},
        {.answers = {NULL, ws_huge}, .lens = {0, sizeof(ws_huge)}, .is_websocket = true},
        {.answers = {NULL, ws_odd}, .lens = {0, sizeof(ws_odd)}, .is_websocket = true},
        {.answers = {NULL, ws_close}, .lens = {0, sizeof(ws_close)}, .is_websocket = true},
        {.answers = {connack}, .lens = {sizeof(connack)}}, /* and never a SUBACK */
        {.answers = {text}, .lens = {sizeof(text)}},
    };
    enum { SERVERS = sizeof(servers) / sizeof(servers[0]) };
    struct heard heard[SERVERS];

    (void)state;
    for (size_t i = 0; i < SERVERS; i++) {
        start_server(&servers[i]);
        open_broker(&heard[i], "t", NULL, "%s://localhost:%u",
                    i + 1 == SERVERS          ? "wss"
                    : servers[i].is_websocket ? "ws"
                    : i == 6                  ? "ws"
                                              : "mqtt",
                    servers[i].port);
    }
    for (size_t i = 0; i < SERVERS; i++) {
        await(heard[i].downs);
        if (servers[i].answers[0] != connack) /* else it is up until the subscription fails */
            if (servers[i].answers[0] != connack)
                assert_int_equal(heard[i].ups, 0);
    }
    await(strstr(heard[2].why, "not subscribe"));
    await(strstr(heard[SERVERS - 2].why, "does not answer a subscription"));
    for (size_t i = 0; i < SERVERS; i++) {
        broker_paho.close(heard[i].broker);
        stop_server(&servers[i]);
    }
}

/* --- A flood --- */

/* 20,000 messages to a topic, by a client of our own that does not wait. */
static pid_t start_flood(uint16_t port, unsigned count, size_t size)
{
    static const uint8_t connect_packet[] = {0x10, 17, 0, 4, 'M', 'Q', 'T', 'T', 4,  2,
                                             0,    60, 0, 5, 'f', 'l', 'o', 'o', 'd'};
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid != 0)
        return pid;

    struct addr at = addr_loopback(AF_INET, port);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&at, &sa);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    uint8_t buf[4096] = {0x30, (uint8_t)(3 + size), 0, 1, 't'};

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    memset(buf + 5, 'f', size);
    if (connect(fd, (struct sockaddr *)&sa, len) < 0 ||
        write(fd, connect_packet, sizeof(connect_packet)) != sizeof(connect_packet) ||
        read(fd, buf + 256, 4) != 4)
        _exit(1);
    for (unsigned i = 0; i < count; i++)
        if (write(fd, buf, 5 + size) != (ssize_t)(5 + size))
            _exit(1);
    pause(); /* the connection stays until it is killed */
    _exit(0);
}

static void test_flood(void **state)
{
    struct heard flooded, good;
    struct broker_info info;
    struct timespec before, after;
    uint64_t worst_turn = 0, worst_say = 0, start;
    pid_t pid;

    (void)state;
    need_mosquitto();
    open_broker(&flooded, "t", NULL, "mqtt://localhost:%u", world.ports[PORT_TCP]);
    open_broker(&good, "u", NULL, "mqtt://localhost:%u", world.ports[PORT_LOGIN]);
    broker_paho.close(good.broker);
    open_broker(&good, "u", ca_file(), "mqtts://localhost:%u", world.ports[PORT_TLS]);
    await(flooded.up && good.up);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    start = loop_refresh(world.loop);
    pid = start_flood(world.ports[PORT_TCP], 20000, 40);
    while (loop_refresh(world.loop) - start < 2 * SEC_US) {
        uint64_t took = say(&good, "u", "still there");

        worst_say = took > worst_say ? took : worst_say;
        for (int i = 0; i < 20; i++) {
            uint64_t at = loop_refresh(world.loop);

            loop_turn(world.loop, 5 * MS_US);
            took = loop_refresh(world.loop) - at;
            worst_turn = took > worst_turn ? took : worst_turn;
        }
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    broker_paho.describe(flooded.broker, &info);
    print_message("flood: %u told, %u dropped, a turn at most %u ms, the other at most %u ms, CPU "
                  "%u ms in 2 s\n",
                  (unsigned)info.received, (unsigned)info.dropped, (unsigned)(worst_turn / MS_US),
                  (unsigned)(worst_say / MS_US),
                  (unsigned)((after.tv_sec - before.tv_sec) * 1000 +
                             (after.tv_nsec - before.tv_nsec) / 1000000));
    assert_true(flooded.up);
    assert_true(info.received > 1000);
    assert_true((info.received + info.dropped) * 45 <
                FORWARDER_BURST_BYTES + 3 * FORWARDER_BYTES_PER_S);
    assert_true(worst_turn < 200 * MS_US);
    assert_true(worst_say < SEC_US);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    broker_paho.close(flooded.broker);
    close_broker(&good);
}

/* A loop that does not turn: what does not fit is dropped and counted. */
static void test_busy(void **state)
{
    struct heard heard;
    struct broker_info info;
    uint64_t start;
    pid_t pid;

    (void)state;
    need_mosquitto();
    open_broker(&heard, "t", NULL, "mqtt://localhost:%u", world.ports[PORT_TCP]);
    await(heard.up);
    pid = start_flood(world.ports[PORT_TCP], UINT32_MAX, 1);
    start = loop_refresh(world.loop);
    do {
        usleep(300000); /* the loop is busy with something else */
        loop_turn(world.loop, 0);
        broker_paho.describe(heard.broker, &info);
    } while (info.dropped == 0 && loop_refresh(world.loop) - start < PATIENCE_US);
    print_message("busy: %u told, %u dropped\n", (unsigned)info.received, (unsigned)info.dropped);
    assert_true(info.dropped > 0);
    assert_true(heard.up);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    pass(100 * MS_US);
    close_broker(&heard);
}

int main(void)
{
    cmocka_set_test_filter(getenv("ONLY"));
    const struct CMUnitTest tests[] = {
        TEST(test_hangs), TEST(test_half_frame), TEST(test_garbage),
        TEST(test_flood), TEST(test_busy),
    };
    return cmocka_run_group_tests_name("broker-hostile", tests, set_up_world, tear_down_world);
}
