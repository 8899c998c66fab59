/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: brokers against a real mosquitto (private ports, a temporary directory) and
 * against servers of the test's own that hang, end or send nonsense. Everything but mosquitto and
 * Paho runs in one loop, so that a test sees what a broker's trouble does to the others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/loop.h"
#include "config/broker_url.h"
#include "pipe/tcp.h"
#include "signal/broker.h"
#include "signal/forwarder.h"

#define TEXT_BYTES  512
#define PATIENCE_US (8 * SEC_US)

enum { PORT_TCP, PORT_TLS, PORT_WS, PORT_WSS, PORT_LOGIN, PORT_TLS6, PORTS };

struct world {
    struct loop *loop;
    char dir[64];
    uint16_t ports[PORTS];
    pid_t mosquitto; /* 0: not running */
    bool has_mosquitto, has_v6;
} world;

/* --- Plumbing --- */

static uint16_t free_port(void)
{
    struct sockaddr_storage sa;
    struct addr addr = addr_loopback(AF_INET, 0);
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    close(fd);
    assert_int_equal(addr_from_sockaddr((struct sockaddr *)&sa, len, &addr), 0);
    return addr.port;
}

static bool has_v6(void)
{
    struct sockaddr_storage sa;
    struct addr addr = addr_loopback(AF_INET6, 0);
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0;

    if (fd >= 0)
        close(fd);
    return has;
}

static void shell(const char *format, ...)
{
    char command[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

static void start_mosquitto(void)
{
    char conf[128], program[] = "mosquitto";

    snprintf(conf, sizeof(conf), "%s/mosquitto.conf", world.dir);
    world.mosquitto = fork();
    if (world.mosquitto == 0) {
        int null = open("/dev/null", O_RDWR);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, 1);
        dup2(null, 2);
        setenv("PATH", "/usr/sbin:/usr/local/sbin:/usr/bin:/bin", 1);
        execlp(program, program, "-c", conf, (char *)NULL);
        _exit(127);
    }
    assert_true(world.mosquitto > 0);
}

static void stop_mosquitto(void)
{
    if (!world.mosquitto)
        return;
    kill(world.mosquitto, SIGKILL);
    waitpid(world.mosquitto, NULL, 0);
    world.mosquitto = 0;
}

static void write_conf(void)
{
    char path[128];
    FILE *file;

    snprintf(path, sizeof(path), "%s/mosquitto.conf", world.dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "per_listener_settings true\npersistence false\nlog_dest none\n");
    if (geteuid() == 0)
        fprintf(file, "user root\n");
    for (int i = 0; i < PORTS; i++) {
        bool is_tls = i == PORT_TLS || i == PORT_WSS || i == PORT_TLS6;
        bool is_ws = i == PORT_WS || i == PORT_WSS;

        if (i == PORT_TLS6 && !world.has_v6)
            continue;
        fprintf(file, "listener %u %s\n", world.ports[i], i == PORT_TLS6 ? "::1" : "127.0.0.1");
        if (is_ws)
            fprintf(file, "protocol websockets\n");
        if (is_tls)
            fprintf(file, "certfile %s/server.pem\nkeyfile %s/server.key\n", world.dir, world.dir);
        if (i == PORT_LOGIN)
            fprintf(file, "allow_anonymous false\npassword_file %s/passwords\n", world.dir);
        else
            fprintf(file, "allow_anonymous true\n");
    }
    fclose(file);
}

static void make_certificates(void)
{
    const char *d = world.dir;

    shell("exec >%s/openssl.log 2>&1; "
          "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
          "-subj /CN=test-ca -keyout %s/ca.key -out %s/ca.pem && "
          "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server "
          "-keyout %s/server.key -out %s/server.csr && "
          "printf 'subjectAltName=DNS:localhost,IP:::1' >%s/san && "
          "openssl x509 -req -in %s/server.csr -CA %s/ca.pem -CAkey %s/ca.key -CAcreateserial "
          "-days 2 -extfile %s/san -out %s/server.pem",
          d, d, d, d, d, d, d, d, d, d, d);
}

static int set_up_world(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    snprintf(world.dir, sizeof(world.dir), "/tmp/adit-test-broker-XXXXXX");
    assert_non_null(mkdtemp(world.dir));
    world.has_mosquitto =
        system(
            "PATH=$PATH:/usr/sbin:/usr/local/sbin; command -v mosquitto mosquitto_passwd openssl "
            ">/dev/null 2>&1") == 0;
    if (!world.has_mosquitto)
        return 0;
    for (int i = 0; i < PORTS; i++)
        world.ports[i] = free_port();
    world.has_v6 = has_v6();
    make_certificates();
    shell("PATH=$PATH:/usr/sbin; touch %s/passwords; chmod 600 %s/passwords; "
          "mosquitto_passwd -b %s/passwords 'us er' 'p@ss:w/rd' 2>/dev/null",
          world.dir, world.dir, world.dir);
    write_conf();
    start_mosquitto();
    return 0;
}

static int tear_down_world(void **state)
{
    (void)state;
    stop_mosquitto();
    shell("rm -rf %s", world.dir);
    return 0;
}

static void pass(uint64_t us)
{
    for (uint64_t end = loop_refresh(world.loop) + us; loop_refresh(world.loop) < end;)
        loop_turn(world.loop, 20 * MS_US);
}

static int set_up(void **state)
{
    (void)state;
    world.loop = loop_new();
    assert_non_null(world.loop);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pass(50 * MS_US); /* pipes end from the loop */
    loop_free(world.loop);
    return 0;
}

static void need_mosquitto(void)
{
    if (!world.has_mosquitto) {
        print_message("SKIP: mosquitto, mosquitto_passwd or openssl is not installed\n");
        skip();
    }
}

/* --- Names --- */

struct lookup {
    struct defer tell;
    broker_resolved_cb *done;
    void *arg;
    char name[64];
};
static unsigned lookups;

static void answer_lookup(void *arg)
{
    struct lookup *lookup = arg, copy = *lookup;
    struct addr addrs[2] = {addr_loopback(AF_INET6, 0), addr_loopback(AF_INET, 0)};

    lookups--;
    free(lookup);
    if (strcmp(copy.name, "localhost") == 0)
        copy.done(copy.arg, addrs, 2, NULL);
    else
        copy.done(copy.arg, NULL, 0, "no such name");
}

/* "hang.test" is never answered. */
static void *start_lookup(void *owner, const char *name, broker_resolved_cb *done, void *arg)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));

    assert_ptr_equal(owner, &world);
    lookup->done = done;
    lookup->arg = arg;
    snprintf(lookup->name, sizeof(lookup->name), "%s", name);
    defer_init(&lookup->tell, answer_lookup, lookup);
    if (strcmp(name, "hang.test") != 0)
        defer_next(world.loop, &lookup->tell);
    lookups++;
    return lookup;
}

static void cancel_lookup(void *owner, void *arg)
{
    struct lookup *lookup = arg;

    (void)owner;
    defer_cancel(world.loop, &lookup->tell);
    free(lookup);
    lookups--;
}

/* --- A broker and what it told --- */

struct heard {
    struct broker *broker;
    unsigned ups, downs;
    bool up;
    char why[TEXT_BYTES];
    unsigned messages;
    char last[BROKER_MESSAGE_MAX + 1];
    size_t last_len;
    bool close_inside;
};

static void on_state(void *arg, struct broker *broker, bool up, const char *why)
{
    struct heard *heard = arg;

    assert_ptr_equal(broker, heard->broker);
    heard->up = up;
    heard->ups += up;
    heard->downs += !up;
    if (up)
        return;
    snprintf(heard->why, sizeof(heard->why), "%s", why); /* of the last failure */
    print_message("    told: %s\n", why);
}

static void on_message(void *arg, struct broker *broker, const uint8_t *bytes, size_t len)
{
    struct heard *heard = arg;

    assert_ptr_equal(broker, heard->broker);
    assert_true(len <= BROKER_MESSAGE_MAX && len > 0);
    heard->messages++;
    heard->last_len = len;
    memcpy(heard->last, bytes, len);
    heard->last[len] = '\0';
    if (heard->close_inside) {
        broker_paho.close(broker);
        heard->broker = NULL;
    }
}

static const struct broker_events events = {.state = on_state, .message = on_message};

static void open_broker(struct heard *heard, const char *topic, const char *ca, const char *format,
                        ...)
{
    char url[TEXT_BYTES], errbuf[TEXT_BYTES] = "";
    struct broker_options options = {
        .url = url,
        .topic = topic,
        .resolver = {start_lookup, cancel_lookup, &world},
        .ca_file = ca,
        .retry_min_us = 100 * MS_US,
        .retry_max_us = 400 * MS_US,
        .connect_us = 2 * SEC_US,
        .keepalive_us = BROKER_KEEPALIVE_US,
    };
    va_list args;

    va_start(args, format);
    vsnprintf(url, sizeof(url), format, args);
    va_end(args);
    memset(heard, 0, sizeof(*heard));
    heard->broker = broker_paho.open(world.loop, &options, &events, heard, errbuf, sizeof(errbuf));
    if (!heard->broker)
        print_error("%s\n", errbuf);
    assert_non_null(heard->broker);
}

static void close_broker(struct heard *heard)
{
    broker_paho.close(heard->broker);
    heard->broker = NULL;
    assert_int_equal(lookups, 0);
}

#define await(condition)                                                              \
    do {                                                                              \
        uint64_t end_ = loop_refresh(world.loop) + PATIENCE_US;                       \
        while (!(condition) && loop_refresh(world.loop) < end_)                       \
            loop_turn(world.loop, 20 * MS_US);                                        \
        if (!(condition))                                                             \
            fail_msg("not within %d s: %s", (int)(PATIENCE_US / SEC_US), #condition); \
    } while (0)

/* A message to its own topic comes back. Returns how long it took. */
static uint64_t say(struct heard *heard, const char *topic, const char *text)
{
    unsigned before = heard->messages;
    uint64_t start = loop_refresh(world.loop);

    assert_int_equal(broker_paho.publish(heard->broker, topic, text, strlen(text)), 0);
    await(heard->messages > before);
    assert_string_equal(heard->last, text);
    return loop_refresh(world.loop) - start;
}

static const char *ca_file(void)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/ca.pem", world.dir);
    return path;
}

/* --- With mosquitto --- */

static void check_way(const char *scheme, const char *host, int port, const char *path)
{
    struct heard heard;
    struct broker_info info;
    char name[128], big[BROKER_MESSAGE_MAX + 1];

    open_broker(&heard, "adit/1/me", ca_file(), "%s://%s:%u%s", scheme, host, world.ports[port],
                path);
    await(heard.up);
    say(&heard, "adit/1/me", "hello");
    memset(big, 'x', sizeof(big));
    big[BROKER_MESSAGE_MAX] = '\0';
    say(&heard, "adit/1/me", big);
    assert_int_equal(heard.last_len, BROKER_MESSAGE_MAX);
    assert_int_equal(broker_paho.publish(heard.broker, "adit/1/me", big, BROKER_MESSAGE_MAX + 1),
                     -EMSGSIZE);
    broker_paho.describe(heard.broker, &info);
    snprintf(name, sizeof(name), "%s://%s:%u", scheme, host, world.ports[port]);
    assert_string_equal(info.name, name);
    assert_int_equal(info.phase, BROKER_UP);
    assert_int_equal(info.connects, 1);
    assert_int_equal(info.received, 2);
    assert_int_equal(info.sent, 2);
    assert_int_equal(info.dropped, 0);
    print_message("%s: up after %u ms, failures %u\n", scheme, (unsigned)(info.connect_us / MS_US),
                  info.failures);
    close_broker(&heard);
}

static void test_ways(void **state)
{
    (void)state;
    need_mosquitto();
    check_way("mqtt", "localhost", PORT_TCP, "");
    check_way("mqtts", "localhost", PORT_TLS, "");
    check_way("ws", "localhost", PORT_WS, "/mqtt");
    check_way("wss", "localhost", PORT_WSS, "");
    if (world.has_v6)
        check_way("mqtts", "[::1]", PORT_TLS6, "");
}

static void test_login(void **state)
{
    struct heard heard;
    struct broker_info info;
    uint16_t port = world.ports[PORT_LOGIN];

    (void)state;
    need_mosquitto();
    open_broker(&heard, "t", NULL, "mqtt://us%%20er:p%%40ss%%3aw%%2Frd@127.0.0.1:%u", port);
    await(heard.up);
    close_broker(&heard);

    open_broker(&heard, "t", NULL, "mqtt://us%%20er:wrong-one@127.0.0.1:%u", port);
    await(heard.downs >= 2); /* it tries again: a password may be set right at the broker */
    assert_non_null(strstr(heard.why, "refused the user name or password"));
    assert_null(strstr(heard.why, "wrong-one"));
    broker_paho.describe(heard.broker, &info);
    assert_null(strstr(info.name, "us"));
    assert_true(info.failures >= 2);
    close_broker(&heard);

    open_broker(&heard, "t", NULL, "mqtt://127.0.0.1:%u", port);
    await(heard.downs);
    assert_non_null(strstr(heard.why, "wants a user name"));
    close_broker(&heard);
}

static void expect_failure(const char *ca, const char *url, uint16_t port, const char *why)
{
    struct heard heard;

    open_broker(&heard, "t", ca, url, port);
    await(heard.downs || heard.up);
    assert_false(heard.up);
    if (!strstr(heard.why, why))
        fail_msg("%s: \"%s\", expected \"%s\"", url, heard.why, why);
    close_broker(&heard);
}

static void test_wrong_ways(void **state)
{
    const char *ca = ca_file();
    char torn[128];

    (void)state;
    need_mosquitto();
    snprintf(torn, sizeof(torn), "%s/torn.pem", world.dir);
    shell("head -n 3 %s >%s", ca, torn);
    expect_failure(torn, "mqtts://localhost:%u", world.ports[PORT_TLS], "whole?");
    expect_failure(NULL, "mqtts://localhost:%u", world.ports[PORT_TLS], "not signed by");
    expect_failure(ca, "mqtts://127.0.0.1:%u", world.ports[PORT_TLS], "another name");
    expect_failure(ca, "wss://127.0.0.1:%u", world.ports[PORT_WSS], "another name");
    expect_failure("/nonexistent/ca.pem", "mqtts://localhost:%u", world.ports[PORT_TLS],
                   "cannot be read");
    expect_failure("/dev/null", "mqtts://localhost:%u", world.ports[PORT_TLS], "no certificates");
    expect_failure(ca, "mqtts://localhost:%u", world.ports[PORT_TCP], "speak");
    expect_failure(ca, "mqtts://localhost:%u", world.ports[PORT_WS], "speak");
    expect_failure(NULL, "mqtt://localhost:%u", world.ports[PORT_TLS], "is it mqtts://");
    expect_failure(NULL, "mqtt://localhost:%u", free_port(), "nothing listens");
    expect_failure(NULL, "mqtt://nowhere.test:%u", 1883, "cannot be resolved: no such name");
}

static void test_restart(void **state)
{
    struct heard heard;
    struct broker_info info;
    uint64_t start;

    (void)state;
    need_mosquitto();
    stop_mosquitto();
    open_broker(&heard, "t", NULL, "mqtt://localhost:%u", world.ports[PORT_TCP]);
    await(heard.downs >= 2);
    assert_int_equal(broker_paho.publish(heard.broker, "t", "x", 1), -ENOTCONN);
    broker_paho.describe(heard.broker, &info);
    assert_int_equal(info.phase, BROKER_WAITING);
    assert_true(info.next_us > 0 && info.next_us <= 400 * MS_US);
    start_mosquitto();
    await(heard.up);
    say(&heard, "t", "one");
    start = loop_refresh(world.loop);
    stop_mosquitto();
    await(!heard.up);
    assert_true(loop_refresh(world.loop) - start < SEC_US);
    assert_non_null(strstr(heard.why, "ended the connection"));
    start_mosquitto();
    await(heard.up);
    say(&heard, "t", "two");
    assert_int_equal(heard.ups, 2);
    close_broker(&heard);
}

static void test_kick(void **state)
{
    struct heard heard;
    uint64_t start;

    (void)state;
    need_mosquitto();
    open_broker(&heard, "t", NULL, "mqtt://localhost:%u", world.ports[PORT_TCP]);
    await(heard.up);
    broker_paho.kick(heard.broker);
    pass(SEC_US);
    assert_true(heard.up);
    assert_int_equal(heard.downs, 0);
    assert_int_equal(heard.messages, 0); /* the question to itself is told to nobody */

    kill(world.mosquitto, SIGSTOP); /* the network is gone, for all that can be seen */
    broker_paho.kick(heard.broker);
    broker_paho.kick(heard.broker);
    start = loop_refresh(world.loop);
    await(!heard.up);
    assert_true(loop_refresh(world.loop) - start < 2500 * MS_US); /* connecting took little */
    assert_non_null(strstr(heard.why, "dead"));
    kill(world.mosquitto, SIGCONT);
    broker_paho.kick(heard.broker);
    await(heard.up);
    close_broker(&heard);
}

static void test_close_inside(void **state)
{
    struct heard heard;

    (void)state;
    need_mosquitto();
    open_broker(&heard, "t", NULL, "mqtt://localhost:%u", world.ports[PORT_TCP]);
    await(heard.up);
    heard.close_inside = true;
    for (int i = 0; i < 3; i++)
        broker_paho.publish(heard.broker, "t", "x", 1);
    await(!heard.broker);
    pass(100 * MS_US);
    assert_int_equal(heard.messages, 1);

    open_broker(&heard, "t", NULL, "mqtt://hang.test");
    await(lookups);
    broker_paho.kick(heard.broker);
    await(lookups);
    close_broker(&heard);
    open_broker(&heard, "t", NULL, "mqtt://hang.test");
    close_broker(&heard);
    pass(50 * MS_US);
    assert_int_equal(heard.downs, 0);
}

/* A node that ends, in whatever way, leaves no process behind. */
static void test_process_ends(void **state)
{
    int fds[2];
    pid_t node, left = 0;
    uint64_t start;

    (void)state;
    need_mosquitto();
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    assert_int_equal(pipe(fds), 0);
    node = fork();
    if (node == 0) {
        struct heard heard;
        char path[64];
        int number = 0;
        FILE *file;

        loop_free(world.loop); /* its epoll is the parent's too */
        world.loop = loop_new();
        open_broker(&heard, "t", NULL, "mqtt://localhost:%u", world.ports[PORT_TCP]);
        while (!heard.up)
            loop_turn(world.loop, 20 * MS_US);
        snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
        file = fopen(path, "r");
        if (!file || fscanf(file, "%d", &number) != 1 ||
            write(fds[1], &number, sizeof(number)) != sizeof(number))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(read(fds[0], &left, sizeof(left)), sizeof(left));
    waitpid(node, NULL, 0);
    start = loop_refresh(world.loop);
    assert_int_equal(waitpid(left, NULL, 0), left);
    assert_true(loop_refresh(world.loop) - start < SEC_US);
    close(fds[0]);
    close(fds[1]);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

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
    sleep(60);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    cmocka_set_test_filter(getenv("ONLY"));
    const struct CMUnitTest tests[] = {
        TEST(test_ways),    TEST(test_login),        TEST(test_wrong_ways), TEST(test_restart),
        TEST(test_kick),    TEST(test_close_inside), TEST(test_hangs),      TEST(test_half_frame),
        TEST(test_garbage), TEST(test_flood),        TEST(test_busy),       TEST(test_process_ends),
    };
    return cmocka_run_group_tests_name("broker", tests, set_up_world, tear_down_world);
}
