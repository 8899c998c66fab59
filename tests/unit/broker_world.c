/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: a mosquitto for tests of brokers (private ports, a temporary directory), the
 * names that are looked up, and a broker with what it has told. All but mosquitto and Paho runs in
 * the world's loop.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker_world.h"

struct world world;

/* --- Plumbing --- */

uint16_t free_port(void)
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

void shell(const char *format, ...)
{
    char command[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

void start_mosquitto(void)
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

void stop_mosquitto(void)
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

int set_up_world(void **state)
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

int tear_down_world(void **state)
{
    (void)state;
    stop_mosquitto();
    shell("rm -rf %s", world.dir);
    return 0;
}

void pass(uint64_t us)
{
    for (uint64_t end = loop_refresh(world.loop) + us; loop_refresh(world.loop) < end;)
        loop_turn(world.loop, 20 * MS_US);
}

int set_up(void **state)
{
    (void)state;
    world.loop = loop_new();
    assert_non_null(world.loop);
    return 0;
}

int tear_down(void **state)
{
    (void)state;
    pass(50 * MS_US); /* pipes end from the loop */
    loop_free(world.loop);
    return 0;
}

void need_mosquitto(void)
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
unsigned lookups;

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

void open_broker(struct heard *heard, const char *topic, const char *ca, const char *format, ...)
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

void close_broker(struct heard *heard)
{
    broker_paho.close(heard->broker);
    heard->broker = NULL;
    assert_int_equal(lookups, 0);
}

uint64_t say(struct heard *heard, const char *topic, const char *text)
{
    unsigned before = heard->messages;
    uint64_t start = loop_refresh(world.loop);

    assert_int_equal(broker_paho.publish(heard->broker, topic, text, strlen(text)), 0);
    await(heard->messages > before);
    assert_string_equal(heard->last, text);
    return loop_refresh(world.loop) - start;
}

const char *ca_file(void)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/ca.pem", world.dir);
    return path;
}
