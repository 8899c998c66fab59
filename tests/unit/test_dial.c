/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: Happy Eyeballs in virtual time. Pipes that come up, fail or stay silent as a
 * table of addresses says are opened instead of TCP connections; each test looks at when which was
 * tried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "egress/dial.h"

/* --- Pipes that do what the test says --- */

struct fake_pipe {
    struct pipe base;
    struct timer timer;
    int result;
};

struct plan {
    const char *ip;
    uint64_t after_ms; /* 0: fails inside open */
    int result;        /* 0: comes up; 1: never anything; negative: fails */
};

struct attempt_log {
    char ip[ADDR_TEXT_MAX];
    uint64_t at_ms;
};

static struct world {
    struct loop *loop;
    const struct plan *plan;
    struct attempt_log attempts[32];
    size_t attempt_count;
    int live; /* fake pipes not yet destroyed */
    uint64_t start;
    const char *forbidden; /* prefix of addresses that are not permitted */
    /* outcome */
    int told;
    enum answer answer;
    struct pipe *pipe;
    char to[ADDR_TEXT_MAX];
    uint64_t told_ms;
    struct dial dial;
} world;

static void fake_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    (void)pipe;
    (void)to;
    slice_drop(data);
}

static size_t fake_size(const struct pipe *pipe)
{
    (void)pipe;
    return 0;
}

static void fake_nothing(struct pipe *pipe)
{
    (void)pipe;
}

static void fake_close(struct pipe *pipe, int why)
{
    timer_cancel(pipe->loop, &((struct fake_pipe *)pipe)->timer);
    pipe_is_over(pipe, why);
}

static void fake_destroy(struct pipe *pipe)
{
    world.live--;
    free(pipe);
}

static const struct pipe_ops fake_ops = {
    .kind = "fake",
    .write = fake_write,
    .room = fake_size,
    .queued = fake_size,
    .resume = fake_nothing,
    .shutdown = fake_nothing,
    .close = fake_close,
    .destroy = fake_destroy,
};

static void fake_due(void *arg)
{
    struct fake_pipe *fake = arg;
    if (fake->result == 0)
        pipe_now_up(&fake->base);
    else
        pipe_is_over(&fake->base, fake->result);
}

static uint64_t now_ms(void)
{
    return (loop_now(world.loop) - world.start) / MS_US;
}

static struct pipe *fake_open(struct loop *loop, const struct addr *to,
                              const struct pipe_options *options)
{
    char ip[ADDR_TEXT_MAX];
    (void)options;
    addr_format_ip(to, ip);
    struct attempt_log *entry = &world.attempts[world.attempt_count++];
    strcpy(entry->ip, ip);
    entry->at_ms = now_ms();
    const struct plan *plan = world.plan;
    while (plan->ip && strcmp(plan->ip, ip) != 0)
        plan++;
    assert_non_null(plan->ip);
    if (plan->after_ms == 0 && plan->result < 0) {
        errno = -plan->result;
        return NULL;
    }
    struct fake_pipe *fake = calloc(1, sizeof *fake);
    world.live++;
    pipe_init(&fake->base, &fake_ops, loop);
    fake->result = plan->result;
    timer_init(&fake->timer, fake_due, fake);
    if (plan->result <= 0)
        timer_set_in(loop, &fake->timer, plan->after_ms * MS_US);
    return &fake->base;
}

/* --- Frame of a test --- */

static const struct dial_options options = {.timeout_us = 5 * SEC_US, .open = fake_open};

static void done(void *arg, enum answer answer, struct pipe *pipe, const struct addr *to)
{
    struct world *w = arg;
    w->told++;
    w->answer = answer;
    w->pipe = pipe;
    w->told_ms = now_ms();
    if (to)
        addr_format_ip(to, w->to);
    assert_true((answer == ANSWER_OK) == (pipe != NULL));
    memset(&w->dial, 0xdd, sizeof w->dial); /* the dial is ours again */
}

static bool permit(void *arg, const struct addr *to)
{
    struct world *w = arg;
    char ip[ADDR_TEXT_MAX];
    addr_format_ip(to, ip);
    return !w->forbidden || strncmp(ip, w->forbidden, strlen(w->forbidden)) != 0;
}

static void begin(const struct plan *plan)
{
    world = (struct world){.plan = plan, .loop = loop_new_virtual(1)};
    world.start = loop_now(world.loop);
}

static void begin_name(const struct plan *plan)
{
    begin(plan);
    dial_init(&world.dial, world.loop, &options, NULL, permit, done, &world);
}

static void lookup(int family, const char *ips, enum answer why)
{
    struct addr addrs[32];
    size_t count = 0;
    char copy[512], *save = NULL;
    strcpy(copy, ips);
    for (char *ip = strtok_r(copy, " ", &save); ip; ip = strtok_r(NULL, " ", &save)) {
        assert_int_equal(addr_parse_ip(ip, &addrs[count]), 0);
        addrs[count++].port = 80;
    }
    dial_add(&world.dial, family, addrs, count, why);
}

static void run_ms(uint64_t ms)
{
    uint64_t until = loop_now(world.loop) + ms * MS_US;
    while (loop_now(world.loop) < until && loop_turn(world.loop, until - loop_now(world.loop)))
        ;
}

/* Runs to the end; then nothing may be left behind. */
static void expect(enum answer answer, const char *to, uint64_t told_ms)
{
    run_ms(60000);
    assert_int_equal(world.told, 1);
    assert_int_equal(world.answer, answer);
    assert_string_equal(world.to, to);
    assert_int_equal(world.told_ms, told_ms);
    if (world.pipe)
        pipe_abort(world.pipe, -ECANCELED);
    run_ms(1);
    assert_int_equal(world.live, 0);
    loop_free(world.loop);
}

static void expect_attempt(size_t index, const char *ip, uint64_t at_ms)
{
    assert_true(index < world.attempt_count);
    assert_string_equal(world.attempts[index].ip, ip);
    assert_int_equal(world.attempts[index].at_ms, at_ms);
}

/* --- Tests --- */

static void one_address(void **state)
{
    (void)state;
    static const struct plan plan[] = {{"1.1.1.1", 30, 0}, {0}};
    struct addr addr;
    begin(plan);
    assert_int_equal(addr_parse("[::ffff:1.1.1.1]:80", &addr), 0);
    dial_init(&world.dial, world.loop, &options, &addr, permit, done, &world);
    assert_int_equal(world.told, 0);
    expect(ANSWER_OK, "1.1.1.1", 30);
}

static void one_address_fails(void **state)
{
    (void)state;
    static const struct plan plan[] = {
        {"1.1.1.1", 0, -ENETUNREACH}, {"2::2", 0, -EADDRNOTAVAIL}, {0}};
    struct addr addr;
    begin(plan);
    assert_int_equal(addr_parse("1.1.1.1:80", &addr), 0);
    dial_init(&world.dial, world.loop, &options, &addr, permit, done, &world);
    assert_int_equal(world.told, 0); /* never from inside */
    expect(ANSWER_NET_UNREACHABLE, "", 0);

    begin(plan);
    assert_int_equal(addr_parse("[2::2]:80", &addr), 0);
    dial_init(&world.dial, world.loop, &options, &addr, permit, done, &world);
    expect(ANSWER_NET_UNREACHABLE, "", 0);

    begin(plan);
    world.forbidden = "1.";
    assert_int_equal(addr_parse("1.1.1.1:80", &addr), 0);
    dial_init(&world.dial, world.loop, &options, &addr, permit, done, &world);
    assert_int_equal(world.told, 0);
    expect(ANSWER_POLICY, "", 0);
    assert_int_equal(world.attempt_count, 0);
}

static void v6_first_then_turns(void **state)
{
    (void)state;
    static const struct plan plan[] = {{"2::1", 0, 1},    {"2::2", 0, 1},     {"2::3", 0, 1},
                                       {"1.0.0.1", 0, 1}, {"1.0.0.2", 10, 0}, {0}};
    begin_name(plan);
    lookup(AF_INET6, "2::1 2::2 2::3", ANSWER_OK);
    lookup(AF_INET, "1.0.0.1 1.0.0.2", ANSWER_OK);
    expect(ANSWER_OK, "1.0.0.2", 760);
    expect_attempt(0, "2::1", 0);
    expect_attempt(1, "1.0.0.1", 250);
    expect_attempt(2, "2::2", 500);
    expect_attempt(3, "1.0.0.2", 750);
    assert_int_equal(world.attempt_count, 4);
}

static void failure_moves_on_at_once(void **state)
{
    (void)state;
    static const struct plan plan[] = {
        {"2::1", 20, -EHOSTUNREACH}, {"2::2", 0, -ENETUNREACH}, {"1.0.0.1", 30, 0}, {0}};
    begin_name(plan);
    lookup(AF_INET6, "2::1 2::2", ANSWER_OK);
    lookup(AF_INET, "1.0.0.1", ANSWER_OK);
    expect(ANSWER_OK, "1.0.0.1", 50);
    expect_attempt(1, "1.0.0.1", 20);
    assert_int_equal(world.attempt_count, 2);
}

static void broken_v6_costs_one_delay(void **state)
{
    (void)state;
    static const struct plan plan[] = {{"2::1", 0, 1}, {"1.0.0.1", 5, 0}, {0}};
    begin_name(plan);
    lookup(AF_INET, "1.0.0.1", ANSWER_OK);
    lookup(AF_INET6, "2::1", ANSWER_OK);
    expect(ANSWER_OK, "1.0.0.1", 255);
}

static void v4_waits_for_the_v6_lookup(void **state)
{
    (void)state;
    static const struct plan plan[] = {{"2::1", 5, 0}, {"1.0.0.1", 300, 0}, {0}};
    /* IPv6's lookup in time */
    begin_name(plan);
    lookup(AF_INET, "1.0.0.1", ANSWER_OK);
    run_ms(40);
    lookup(AF_INET6, "2::1", ANSWER_OK);
    expect(ANSWER_OK, "2::1", 45);
    assert_int_equal(world.attempt_count, 1);
    /* late: IPv4 has begun, IPv6 has its turn and wins */
    begin_name(plan);
    lookup(AF_INET, "1.0.0.1", ANSWER_OK);
    run_ms(100);
    lookup(AF_INET6, "2::1", ANSWER_OK);
    expect(ANSWER_OK, "1.0.0.1", 350);
    expect_attempt(0, "1.0.0.1", 50);
    /* negative: at once */
    begin_name(plan);
    lookup(AF_INET, "1.0.0.1", ANSWER_OK);
    run_ms(10);
    lookup(AF_INET6, "", ANSWER_NAME_NOT_FOUND);
    expect(ANSWER_OK, "1.0.0.1", 310);
    expect_attempt(0, "1.0.0.1", 10);
    /* IPv6 alone does not wait for IPv4 */
    begin_name(plan);
    lookup(AF_INET6, "2::1", ANSWER_OK);
    expect(ANSWER_OK, "2::1", 5);
    /* IPv4 arrives after IPv6 has failed */
    static const struct plan failing[] = {{"2::1", 5, -ECONNREFUSED}, {"1.0.0.1", 5, 0}, {0}};
    begin_name(failing);
    lookup(AF_INET6, "2::1", ANSWER_OK);
    run_ms(50);
    lookup(AF_INET, "1.0.0.1", ANSWER_OK);
    expect(ANSWER_OK, "1.0.0.1", 55);
}

static void most_telling_failure(void **state)
{
    (void)state;
    static const struct plan plan[] = {{"2::1", 0, -ENETUNREACH},
                                       {"1.0.0.1", 10, -ECONNREFUSED},
                                       {"1.0.0.2", 0, 1},
                                       {"1.0.0.3", 20, -EHOSTUNREACH},
                                       {0}};
    begin_name(plan);
    lookup(AF_INET6, "2::1", ANSWER_OK);
    lookup(AF_INET, "1.0.0.1", ANSWER_OK);
    expect(ANSWER_REFUSED, "", 10);

    begin_name(plan); /* one refuses, one is silent until the deadline */
    lookup(AF_INET6, "", ANSWER_NAME_FAILED);
    lookup(AF_INET, "1.0.0.1 1.0.0.2", ANSWER_OK);
    expect(ANSWER_REFUSED, "", 5000);

    begin_name(plan);
    lookup(AF_INET6, "2::1", ANSWER_OK);
    lookup(AF_INET, "1.0.0.3", ANSWER_OK);
    expect(ANSWER_HOST_UNREACHABLE, "", 20);

    begin_name(plan);
    lookup(AF_INET6, "2::1", ANSWER_OK);
    lookup(AF_INET, "1.0.0.2", ANSWER_OK);
    expect(ANSWER_TIMEOUT, "", 5000);

    begin_name(plan);
    world.forbidden = "1.";
    lookup(AF_INET6, "", ANSWER_NAME_NOT_FOUND);
    lookup(AF_INET, "1.0.0.1 1.0.0.2", ANSWER_OK);
    expect(ANSWER_POLICY, "", 0);

    begin_name(plan);
    world.forbidden = "2::";
    lookup(AF_INET6, "2::1", ANSWER_OK);
    lookup(AF_INET, "1.0.0.3", ANSWER_OK);
    expect(ANSWER_HOST_UNREACHABLE, "", 20);
}

static void lookups_fail(void **state)
{
    (void)state;
    static const struct plan plan[] = {{0}};
    begin_name(plan);
    lookup(AF_INET6, "", ANSWER_NAME_NOT_FOUND);
    run_ms(5);
    assert_int_equal(world.told, 0);
    lookup(AF_INET, "", ANSWER_NAME_NOT_FOUND);
    assert_int_equal(world.told, 0);
    expect(ANSWER_NAME_NOT_FOUND, "", 5);

    begin_name(plan);
    lookup(AF_INET6, "", ANSWER_NAME_NOT_FOUND);
    lookup(AF_INET, "", ANSWER_NAME_FAILED);
    expect(ANSWER_NAME_FAILED, "", 0);

    begin_name(plan); /* no answer at all */
    expect(ANSWER_NAME_FAILED, "", 5000);
}

static void cancel_at_every_moment(void **state)
{
    (void)state;
    static const struct plan plan[] = {{"2::1", 0, 1},
                                       {"2::2", 100, -ECONNREFUSED},
                                       {"1.0.0.1", 10, -ECONNREFUSED},
                                       {"1.0.0.2", 400, 0},
                                       {0}};
    for (uint64_t at = 0; at < 800; at += 7) {
        begin_name(plan);
        for (uint64_t ms = 0; ms < at && !world.told; ms++) {
            if (ms == 20)
                lookup(AF_INET, "1.0.0.1 1.0.0.2", ANSWER_OK);
            if (ms == 90)
                lookup(AF_INET6, "2::1 2::2", ANSWER_OK);
            run_ms(1);
        }
        int told = world.told;
        if (told)
            pipe_abort(world.pipe, -ECANCELED);
        else
            dial_cancel(&world.dial);
        run_ms(10000);
        assert_int_equal(world.told, told);
        assert_int_equal(world.live, 0);
        loop_free(world.loop);
    }
}

static void many_addresses(void **state)
{
    (void)state;
    static const struct plan plan[] = {{"1.0.0.1", 0, 1}, {"1.0.0.2", 0, 1}, {"1.0.0.3", 0, 1},
                                       {"1.0.0.4", 0, 1}, {"1.0.0.5", 0, 1}, {"1.0.0.6", 0, 1},
                                       {"1.0.0.7", 0, 1}, {"1.0.0.8", 0, 1}, {0}};
    begin_name(plan);
    lookup(AF_INET6, "", ANSWER_NAME_NOT_FOUND);
    lookup(AF_INET,
           "1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 1.0.0.7 1.0.0.8 1.0.0.9 1.0.0.10",
           ANSWER_OK);
    expect(ANSWER_TIMEOUT, "", 5000);
    assert_int_equal(world.attempt_count, DIAL_ADDRS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_address),
        cmocka_unit_test(one_address_fails),
        cmocka_unit_test(v6_first_then_turns),
        cmocka_unit_test(failure_moves_on_at_once),
        cmocka_unit_test(broken_v6_costs_one_delay),
        cmocka_unit_test(v4_waits_for_the_v6_lookup),
        cmocka_unit_test(most_telling_failure),
        cmocka_unit_test(lookups_fail),
        cmocka_unit_test(cancel_at_every_moment),
        cmocka_unit_test(many_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
