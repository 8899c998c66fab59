/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: brokers against a real mosquitto: every way to reach one, logins, failures,
 * restarts, and what is left when a node ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker_world.h"

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

int main(void)
{
    cmocka_set_test_filter(getenv("ONLY"));
    const struct CMUnitTest tests[] = {
        TEST(test_ways), TEST(test_login),        TEST(test_wrong_ways),   TEST(test_restart),
        TEST(test_kick), TEST(test_close_inside), TEST(test_process_ends),
    };
    return cmocka_run_group_tests_name("broker", tests, set_up_world, tear_down_world);
}
