/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the egress against real servers on loopback and a DNS server of this test's
 * own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "dns_server.h"
#include "egress/egress.h"
#include "pipe/tcp.h"

static const struct dns_record records[] = {
    {.name = "local.test", .v4 = "127.0.0.1", .v6 = "", .ttl = 60},
    {.name = "both.test", .v4 = "127.0.0.1", .v6 = "::1", .ttl = 60},
    {.name = "rebound.test", .v4 = "127.0.0.1", .v6 = "fe80::1", .ttl = 60},
    {.name = "mixed.test", .v4 = "10.9.9.9 127.0.0.1", .v6 = "::ffff:10.9.9.9", .ttl = 60},
    {.name = "fail.test", .v4 = "", .v6 = "", .rcode = 2},
    {.name = "silent.test", .v4 = NULL, .v6 = NULL},
    {0},
};

static const struct node_id alice = {{1}}, bob = {{2}};

static struct loop *loop;
static struct dns_server *dns;
static struct egress *egress;
static struct pipe *server; /* a listener on 127.0.0.1 */
static struct addr server_addr;
static struct rule rule_items[16];
static struct config_rules allow, deny;

/* --- Frame --- */

struct asked {
    struct egress_request *request;
    int told, ended;
    enum answer answer;
    struct pipe *pipe;
    struct addr to;
    char got[64];
};

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct asked *asked = arg;
    (void)pipe;
    (void)from;
    strncat(asked->got, (const char *)data->data, data->len);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct asked *asked = arg;
    (void)pipe;
    (void)why;
    asked->pipe = NULL;
    asked->ended++;
}

static const struct pipe_events asked_events = {.message = on_message, .end = on_end};

static void on_answer(void *arg, enum answer answer, struct pipe *pipe, const struct addr *to)
{
    struct asked *asked = arg;
    asked->told++;
    asked->answer = answer;
    asked->pipe = pipe;
    asked->request = NULL;
    assert_true((answer == ANSWER_OK) == (pipe != NULL));
    assert_true((pipe != NULL) == (to != NULL));
    if (!pipe)
        return;
    asked->to = *to;
    assert_true(pipe_is_up(pipe));
    assert_int_equal(pipe_add_listener(pipe, &asked_events, asked), 0);
}

static void run_until(const int *what, int wanted)
{
    uint64_t end = loop_refresh(loop) + 60 * SEC_US;
    while (*what < wanted && loop_now(loop) < end)
        loop_turn(loop, 2 * MS_US);
    assert_int_equal(*what, wanted);
}

static void begin(struct asked *asked, const struct node_id *peer, const char *host, uint16_t port)
{
    struct target target;
    memset(asked, 0, sizeof *asked);
    assert_int_equal(target_set(&target, host, strlen(host), port), 0);
    asked->request = egress_open(egress, peer, &target, on_answer, asked);
    assert_non_null(asked->request);
    assert_int_equal(asked->told, 0); /* never from inside */
}

static void end(struct asked *asked)
{
    pipe_abort(asked->pipe, -ECANCELED);
    run_until(&asked->ended, 1);
}

static enum answer ask(const char *host, uint16_t port)
{
    struct asked asked;
    begin(&asked, &alice, host, port);
    run_until(&asked.told, 1);
    if (asked.pipe)
        end(&asked);
    return asked.answer;
}

static void greet(struct pipe *listener, struct pipe *client, void *arg)
{
    (void)listener;
    (void)arg;
    pipe_write_copy(client, "hello", 5);
    pipe_close(client);
}

static const struct pipe_events greeter = {.accept = greet};
static const struct pipe_events silent = {0};

static void add_rule(struct config_rules *rules, size_t first, const char *text)
{
    rules->items = &rule_items[first];
    assert_int_equal(rule_parse(text, &rules->items[rules->count++]), 0);
}

static void open_egress(struct egress_config config)
{
    struct addr resolver = dns_server_addr(dns);
    config.allow = &allow;
    config.deny = &deny;
    config.resolvers = &resolver;
    config.resolver_count = 1;
    config.hosts_file = "";
    egress = egress_new(loop, &config);
    assert_non_null(egress);
}

static int setup(void **state)
{
    (void)state;
    loop = loop_new();
    dns = dns_server_new(loop, records);
    struct addr at = addr_loopback(AF_INET, 0);
    server = tcp_listen(loop, &at, NULL);
    assert_non_null(server);
    pipe_add_listener(server, &greeter, NULL);
    assert_int_equal(pipe_addrs(server, &server_addr, NULL), 0);
    allow = deny = (struct config_rules){0};
    add_rule(&allow, 0, "127.0.0.0/8");
    add_rule(&allow, 0, "::1");
    add_rule(&deny, 8, "*.denied.test");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    egress_free(egress);
    egress = NULL;
    pipe_abort(server, -ECANCELED);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 0);
    dns_server_free(dns);
    loop_free(loop);
    return 0;
}

static struct egress_stats stats_of(const struct node_id *peer)
{
    struct egress_stats stats;
    egress_get_stats(egress, peer, &stats);
    return stats;
}

/* A port of loopback where nothing listens: bound, so that nobody else takes it. */
static uint16_t closed_port(int *fd)
{
    struct addr addr = addr_loopback(AF_INET, 0);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&sa, &len), 0);
    addr_from_sockaddr((struct sockaddr *)&sa, len, &addr);
    return addr.port;
}

/* --- Tests --- */

static void connects(void **state)
{
    (void)state;
    struct asked asked;
    open_egress((struct egress_config){0});
    begin(&asked, &alice, "127.0.0.1", server_addr.port);
    assert_int_equal(stats_of(&alice).dials, 1);
    run_until(&asked.told, 1);
    assert_int_equal(asked.answer, ANSWER_OK);
    assert_true(addr_equal(&asked.to, &server_addr));
    assert_int_equal(stats_of(&alice).dials, 0);
    assert_int_equal(stats_of(&alice).streams, 1);
    assert_int_equal(stats_of(NULL).streams, 1);
    pipe_shutdown(asked.pipe);
    run_until(&asked.ended, 1);
    assert_string_equal(asked.got, "hello"); /* who speaks first is heard */
    assert_int_equal(stats_of(&alice).streams, 0);
    assert_int_equal(stats_of(NULL).streams, 0);
    assert_int_equal(stats_of(NULL).bytes_in, 5);
    assert_int_equal(stats_of(NULL).opened, 1);
}

static void names(void **state)
{
    (void)state;
    struct asked asked;
    open_egress((struct egress_config){0});
    begin(&asked, &alice, "local.test", server_addr.port);
    run_until(&asked.told, 1);
    assert_int_equal(asked.answer, ANSWER_OK);
    assert_true(addr_equal(&asked.to, &server_addr));
    end(&asked);
    /* IPv6 refuses (or is not there): IPv4 takes over. */
    begin(&asked, &alice, "both.test", server_addr.port);
    run_until(&asked.told, 1);
    assert_int_equal(asked.answer, ANSWER_OK);
    assert_int_equal(asked.to.family, AF_INET);
    end(&asked);
    assert_int_equal(ask("localhost", server_addr.port), ANSWER_OK);
    /* One address is forbidden, another is not. */
    assert_int_equal(ask("mixed.test", server_addr.port), ANSWER_OK);
    assert_int_equal(ask("absent.test", 80), ANSWER_NAME_NOT_FOUND);
    assert_int_equal(ask("fail.test", 80), ANSWER_NAME_FAILED);
    assert_int_equal(stats_of(NULL).failed, 2);
}

static void policy_answers(void **state)
{
    (void)state;
    allow.count = 0;
    open_egress((struct egress_config){0});
    assert_int_equal(ask("127.0.0.1", server_addr.port), ANSWER_POLICY);
    assert_int_equal(ask("::ffff:127.0.0.1", server_addr.port), ANSWER_POLICY);
    assert_int_equal(ask("169.254.169.254", 80), ANSWER_POLICY);
    assert_int_equal(ask("localhost", 80), ANSWER_POLICY);
    assert_int_equal(ask("rebound.test", server_addr.port), ANSWER_POLICY);
    assert_int_equal(ask("8.8.8.8", 25), ANSWER_POLICY);
    unsigned questions = dns_server_questions(dns);
    assert_int_equal(ask("www.denied.test", 80), ANSWER_POLICY);
    assert_int_equal(dns_server_questions(dns), questions); /* not even asked for */
    assert_int_equal(stats_of(NULL).refused_policy, 7);
    assert_int_equal(stats_of(NULL).opened, 0);

    /* For ourselves the policy does not count. */
    struct asked asked = {.told = 0};
    struct target target = {.addr = server_addr, .port = server_addr.port};
    asked.request = egress_open_trusted(egress, &target, on_answer, &asked);
    run_until(&asked.told, 1);
    assert_int_equal(asked.answer, ANSWER_OK);
    end(&asked);

    /* New rules count for what comes. */
    struct egress_config config = {.allow = &allow};
    allow.count = 1;
    assert_int_equal(egress_reconfigure(egress, &config), 0);
    assert_int_equal(ask("127.0.0.1", server_addr.port), ANSWER_OK);

    target = (struct target){.port = 80};
    asked = (struct asked){.told = 0};
    asked.request = egress_open(egress, &alice, &target, on_answer, &asked);
    run_until(&asked.told, 1);
    assert_int_equal(asked.answer, ANSWER_BAD_REQUEST);
}

static void own_addresses(void **state)
{
    (void)state;
    struct addr mine, other;
    assert_int_equal(addr_parse("9.9.9.9:80", &mine), 0);
    assert_int_equal(addr_parse("9.9.9.10:80", &other), 0);
    open_egress((struct egress_config){0});
    assert_int_equal(egress_check(egress, POLICY_TCP, &mine, NULL), POLICY_ALLOWED);
    assert_int_equal(egress_set_external(egress, &mine, 1), 0);
    assert_int_equal(egress_check(egress, POLICY_TCP, &mine, NULL), POLICY_OWN_ADDRESS);
    assert_int_equal(egress_check(egress, POLICY_UDP, &mine, NULL), POLICY_OWN_ADDRESS);
    assert_int_equal(egress_check(egress, POLICY_TCP, &other, NULL), POLICY_ALLOWED);
    assert_int_equal(ask("9.9.9.9", 80), ANSWER_POLICY);
}

static void refused_and_silent(void **state)
{
    (void)state;
    int fd;
    uint16_t port = closed_port(&fd);
    open_egress((struct egress_config){.connect_timeout_us = SEC_US});
    assert_int_equal(ask("127.0.0.1", port), ANSWER_REFUSED);
    assert_int_equal(ask("both.test", port), ANSWER_REFUSED);
    assert_int_equal(ask("silent.test", 80), ANSWER_NAME_FAILED);

    /* A listener whose backlog is full drops what comes. */
    assert_int_equal(listen(fd, 0), 0);
    struct addr addr = addr_loopback(AF_INET, port);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    int fill[4];
    for (int i = 0; i < 4; i++) {
        fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fill[i], (struct sockaddr *)&sa, len);
    }
    assert_int_equal(ask("127.0.0.1", port), ANSWER_TIMEOUT);
    for (int i = 0; i < 4; i++)
        close(fill[i]);
    close(fd);
}

static void limits(void **state)
{
    (void)state;
    struct asked asked[4];
    pipe_del_listener(server, &greeter, NULL); /* keeps its clients */
    pipe_add_listener(server, &silent, NULL);
    open_egress((struct egress_config){.max_streams_per_peer = 2});
    for (int i = 0; i < 3; i++)
        begin(&asked[i], &alice, "127.0.0.1", server_addr.port);
    begin(&asked[3], &bob, "127.0.0.1", server_addr.port);
    for (int i = 0; i < 4; i++) {
        run_until(&asked[i].told, 1);
        assert_int_equal(asked[i].answer, i == 2 ? ANSWER_LIMIT : ANSWER_OK);
    }
    assert_int_equal(stats_of(&alice).streams, 2);
    assert_int_equal(stats_of(&bob).streams, 1);
    assert_int_equal(stats_of(NULL).refused_limit, 1);
    assert_int_equal(ask("127.0.0.1", server_addr.port), ANSWER_LIMIT);
    end(&asked[0]);
    assert_int_equal(ask("127.0.0.1", server_addr.port), ANSWER_OK);
    end(&asked[1]);
    end(&asked[3]);
}

static int lowest_free_descriptor(void)
{
    int fd = dup(0);

    close(fd);
    return fd;
}

/* A flood of OPENs does not become a flood of system calls in one turn, and all are served. */
static void a_flood_takes_turns(void **state)
{
    static struct asked asked[300], other;
    int before, begun;

    (void)state;
    open_egress((struct egress_config){.connect_timeout_us = 5 * SEC_US});
    before = lowest_free_descriptor();
    for (int i = 0; i < 300; i++)
        begin(&asked[i], &alice, "127.0.0.1", server_addr.port);
    begin(&other, &bob, "127.0.0.1", server_addr.port);
    begun = lowest_free_descriptor() - before;
    assert_in_range(begun, 1, 128);
    run_until(&other.told, 1);
    assert_int_equal(other.answer, ANSWER_OK);
    for (int i = 0; i < 300; i++) {
        run_until(&asked[i].told, 1);
        assert_int_equal(asked[i].answer, ANSWER_OK);
        end(&asked[i]);
    }
    end(&other);
    assert_int_equal(stats_of(NULL).dials, 0);
}

static void waiting_for_a_turn(void **state)
{
    (void)state;
    struct asked asked[6];
    open_egress((struct egress_config){.max_dials_per_peer = 2, .connect_timeout_us = 2 * SEC_US});
    dns_server_hold(dns, AF_INET, true);
    dns_server_hold(dns, AF_INET6, true);
    begin(&asked[0], &alice, "local.test", server_addr.port);
    begin(&asked[1], &alice, "both.test", server_addr.port);
    for (int i = 2; i < 5; i++)
        begin(&asked[i], &alice, "127.0.0.1", server_addr.port);
    assert_int_equal(stats_of(&alice).dials, 5);
    /* Another peer does not wait for this one. */
    begin(&asked[5], &bob, "127.0.0.1", server_addr.port);
    run_until(&asked[5].told, 1);
    assert_int_equal(asked[2].told, 0);
    egress_cancel(asked[3].request);
    /* Who gives up makes place; the next in turn gets it, then the one after. */
    egress_cancel(asked[0].request);
    run_until(&asked[2].told, 1);
    run_until(&asked[4].told, 1);
    assert_int_equal(asked[2].answer, ANSWER_OK);
    assert_int_equal(asked[4].answer, ANSWER_OK);
    assert_int_equal(asked[3].told, 0);
    dns_server_hold(dns, AF_INET, false);
    dns_server_hold(dns, AF_INET6, false);
    run_until(&asked[1].told, 1);
    assert_int_equal(asked[1].answer, ANSWER_OK);
    end(&asked[1]);
    end(&asked[2]);
    end(&asked[4]);
    end(&asked[5]);
    assert_int_equal(stats_of(NULL).dials, 0);

    /* Nobody waits longer than connecting may take. */
    for (int i = 0; i < 2; i++)
        begin(&asked[i], &alice, "silent.test", 80);
    begin(&asked[2], &alice, "127.0.0.1", server_addr.port);
    for (int i = 0; i < 3; i++)
        run_until(&asked[i].told, 1);
    assert_int_equal(asked[0].answer, ANSWER_NAME_FAILED);
    /* Both end in the same moment: it was just too late, or just in time. */
    assert_true(asked[2].answer == ANSWER_LIMIT || asked[2].answer == ANSWER_OK);
    if (asked[2].pipe)
        end(&asked[2]);
    /* Waiting when all ends. */
    for (int i = 0; i < 4; i++)
        begin(&asked[i], &alice, "silent.test", 80);
    egress_free(egress);
    egress = NULL;
    assert_int_equal(asked[3].told, 0);
}

static void cancelling(void **state)
{
    (void)state;
    struct asked asked[4], last;
    int fd;
    uint16_t port = closed_port(&fd);
    open_egress((struct egress_config){0});
    begin(&asked[0], &alice, "127.0.0.1", server_addr.port);  /* being connected */
    begin(&asked[1], &alice, "local.test", server_addr.port); /* being looked up */
    begin(&asked[2], &alice, "www.denied.test", 80);          /* refusal not yet told */
    begin(&asked[3], &alice, "127.0.0.1", port);              /* failure not yet told */
    assert_int_equal(stats_of(&alice).dials, 4);
    for (int i = 0; i < 4; i++)
        egress_cancel(asked[i].request);
    assert_int_equal(stats_of(&alice).dials, 0);
    begin(&last, &bob, "local.test", server_addr.port);
    run_until(&last.told, 1);
    for (int i = 0; i < 4; i++)
        assert_int_equal(asked[i].told, 0);
    /* Ended with everything under way: one open, one connecting, one being looked up. */
    begin(&asked[0], &alice, "127.0.0.1", server_addr.port);
    begin(&asked[1], &alice, "silent.test", 80);
    egress_free(egress);
    egress = NULL;
    end(&last);
    assert_int_equal(asked[0].told + asked[1].told, 0);
    close(fd);
}

static void out_of_descriptors(void **state)
{
    (void)state;
    struct rlimit before, tight;
    open_egress((struct egress_config){0});
    assert_int_equal(ask("local.test", server_addr.port), ANSWER_OK); /* warms up the resolver */
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(0);
    close(next);
    tight = before;
    tight.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    enum answer by_address = ask("127.0.0.1", server_addr.port);
    enum answer by_name = ask("local.test", server_addr.port);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(by_address, ANSWER_LIMIT);
    assert_int_equal(by_name, ANSWER_LIMIT);
    assert_int_equal(ask("127.0.0.1", server_addr.port), ANSWER_OK);
}

static void rate_and_access_log(void **state)
{
    (void)state;
    struct asked asked;
    open_egress((struct egress_config){.rate = 1000000, .access_log = true});
    log_set_level(LOG_DEBUG);
    begin(&asked, &alice, "local.test", server_addr.port);
    run_until(&asked.told, 1);
    assert_int_equal(asked.answer, ANSWER_OK);
    assert_int_equal(ask("www.denied.test", 80), ANSWER_POLICY);
    pipe_write_copy(asked.pipe, "x", 1);
    pipe_shutdown(asked.pipe);
    run_until(&asked.ended, 1);
    log_set_level(LOG_WARN);
    assert_string_equal(asked.got, "hello");
}

static void many(void **state)
{
    (void)state;
    static struct asked asked[200];
    open_egress((struct egress_config){0});
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 200; i++)
            begin(&asked[i], i % 2 ? &alice : &bob, i % 3 ? "127.0.0.1" : "local.test",
                  server_addr.port);
        for (int i = 0; i < 200; i++) {
            run_until(&asked[i].told, 1);
            assert_int_equal(asked[i].answer, ANSWER_OK);
        }
        for (int i = 0; i < 200; i++)
            if (asked[i].pipe)
                pipe_close(asked[i].pipe);
        for (int i = 0; i < 200; i++)
            run_until(&asked[i].ended, 1);
        assert_int_equal(stats_of(NULL).streams, 0);
        assert_int_equal(stats_of(NULL).dials, 0);
    }
}

int main(void)
{
    log_set_level(LOG_WARN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(connects, setup, teardown),
        cmocka_unit_test_setup_teardown(names, setup, teardown),
        cmocka_unit_test_setup_teardown(policy_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(own_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(refused_and_silent, setup, teardown),
        cmocka_unit_test_setup_teardown(limits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_takes_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(waiting_for_a_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelling, setup, teardown),
        cmocka_unit_test_setup_teardown(out_of_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(rate_and_access_log, setup, teardown),
        cmocka_unit_test_setup_teardown(many, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
