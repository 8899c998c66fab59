/* SPDX-License-Identifier: MIT */
/*
 * The scheduler in virtual time, over strategies made for the test: when rounds begin, which path
 * wins, what a kick, a refusal and a forced failure do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "pipe/pair.h"
#include "strategy/scheduler.h"

#define STARTS_MAX 256

/* What a fake strategy does: fails after fail_us, or proves after prove_us; 0: never. */
struct plan {
    uint64_t fail_us, prove_us;
    int why; /* of the failure; 0: -ECONNREFUSED */
    uint32_t starts, live;
    uint64_t at[STARTS_MAX];
};

struct attempt {
    const struct strategy_env *env;
    struct plan *plan;
    const struct attempt_events *events;
    void *arg;
    struct timer timer;
};

static struct plan plans[CONFIG_STRATEGIES];

static void on_attempt(void *arg)
{
    struct attempt *attempt = arg;
    struct pipe *ends[2];

    if (attempt->plan->prove_us) {
        assert_int_equal(pair_new(attempt->env->loop, NULL, ends), 0);
        pipe_abort(ends[1], -ECONNRESET);
        attempt->plan->prove_us = 0; /* once */
        attempt->events->proven(attempt->arg, ends[0], "there");
        return;
    }
    const struct attempt_events *events = attempt->events;
    void *owner = attempt->arg;
    int why = attempt->plan->why ? attempt->plan->why : -ECONNREFUSED;
    attempt->plan->live--;
    free(attempt);
    events->over(owner, why, "there");
}

static struct attempt *fake_start(struct plan *plan, const struct strategy_env *env,
                                  const struct attempt_events *events, void *arg)
{
    struct attempt *attempt = calloc(1, sizeof(*attempt));
    uint64_t after = plan->prove_us ? plan->prove_us : plan->fail_us;

    attempt->env = env;
    attempt->plan = plan;
    attempt->events = events;
    attempt->arg = arg;
    timer_init(&attempt->timer, on_attempt, attempt);
    if (plan->starts < STARTS_MAX)
        plan->at[plan->starts] = loop_now(env->loop);
    plan->starts++;
    plan->live++;
    if (after)
        timer_set_in(env->loop, &attempt->timer, after);
    return attempt;
}

#define FAKE(number)                                                      \
    static struct attempt *fake_start_##number(                           \
        const struct strategy_env *env, const struct strategy_peer *peer, \
        const struct attempt_events *events, void *arg, const char **why) \
    {                                                                     \
        (void)why;                                                        \
        assert_int_equal(peer->candidate_count, 1);                       \
        return fake_start(&plans[number], env, events, arg);              \
    }
FAKE(0)
FAKE(1)

static void fake_cancel(struct attempt *attempt)
{
    timer_cancel(attempt->env->loop, &attempt->timer);
    attempt->plan->live--;
    free(attempt);
}

static const struct strategy better = {.name = "direct",
                                       .id = STRATEGY_DIRECT,
                                       .rank = 0,
                                       .start = fake_start_0,
                                       .cancel = fake_cancel};
static const struct strategy worse = {.name = "reverse",
                                      .id = STRATEGY_REVERSE,
                                      .rank = 1,
                                      .head_start_us = 200 * MS_US,
                                      .start = fake_start_1,
                                      .cancel = fake_cancel};
static const struct strategy *const table[CONFIG_STRATEGIES] = {
    [STRATEGY_DIRECT] = &better, [STRATEGY_REVERSE] = &worse};

struct fixture {
    struct loop *loop;
    struct strategy_env env;
    struct node_id id;
    struct scheduler *scheduler;
    uint32_t paths, hopeless;
    const char *label[8];
};

static size_t on_candidates(void *arg, struct candidate *out, size_t max)
{
    (void)arg;
    assert_true(max >= 1);
    memset(&out[0], 0, sizeof(out[0]));
    assert_int_equal(target_parse("10.0.0.1:7", &out[0].target), 0);
    return 1;
}

static void on_path(void *arg, struct pipe *pipe, const char *label, int rank,
                    const char *candidate)
{
    struct fixture *f = arg;

    (void)rank;
    assert_string_equal(candidate, "there");
    f->label[f->paths++] = label;
    pipe_abort(pipe, -ECANCELED);
}

static void on_hopeless(void *arg, int why, const char *text)
{
    struct fixture *f = arg;

    assert_int_equal(why, -EHOSTDOWN);
    assert_string_equal(text, "there");
    f->hopeless++;
}

static const struct scheduler_events events = {
    .candidates = on_candidates, .path = on_path, .hopeless = on_hopeless};

static void begin(struct fixture *f, size_t strategies, bool fail_first)
{
    struct scheduler_options options = {.table = table, .strategies = {{0, 1, 2, 3}, strategies}};

    memset(f, 0, sizeof(*f));
    memset(plans, 0, sizeof(plans));
    if (fail_first)
        options.fail = (struct config_strategies){{0}, 1};
    f->loop = loop_new_virtual(7);
    f->env.loop = f->loop;
    f->scheduler = scheduler_new(&f->env, &options, &f->id, "peer", &events, f);
    assert_non_null(f->scheduler);
}

static void on_nothing(void *arg)
{
    (void)arg;
}

static void run(struct fixture *f, uint64_t us)
{
    uint64_t end = loop_now(f->loop) + us;
    struct timer timer; /* or the clock would stand still when nothing else is set */

    timer_init(&timer, on_nothing, NULL);
    timer_set(f->loop, &timer, end);
    while (loop_now(f->loop) < end)
        loop_turn(f->loop, end - loop_now(f->loop));
    timer_cancel(f->loop, &timer);
}

static void end(struct fixture *f)
{
    scheduler_free(f->scheduler);
    run(f, SEC_US);
    assert_int_equal(plans[0].live, 0);
    assert_int_equal(plans[1].live, 0);
    loop_free(f->loop);
}

/* Refused at once each time: first now, then about 100, 250, 500 ms and 1 s apart, for ever. */
static void urgent_pauses(void **state)
{
    static const uint64_t expected_ms[] = {100, 250, 500, 1000, 1000, 1000};
    struct fixture f;

    (void)state;
    begin(&f, 1, false);
    plans[0].fail_us = MS_US;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 20 * SEC_US);
    assert_in_range(plans[0].starts, 18, 28);
    for (size_t i = 0; i < sizeof(expected_ms) / sizeof(*expected_ms); i++) {
        uint64_t pause = plans[0].at[i + 1] - plans[0].at[i];

        assert_in_range(pause, expected_ms[i] * 8 / 10 * MS_US,
                        expected_ms[i] * 12 / 10 * MS_US + 2 * MS_US);
    }
    scheduler_set_need(f.scheduler, SCHEDULER_STOP);
    uint32_t starts = plans[0].starts;
    run(&f, 20 * SEC_US);
    assert_int_equal(plans[0].starts, starts);
    end(&f);
}

/* Nothing answers, as when a cable is out: a fresh attempt every second all the same, and not too
 * many at once. */
static void urgent_silence(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 1, false);
    plans[0].fail_us = 3 * SEC_US;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 10 * SEC_US);
    assert_in_range(plans[0].starts, 8, 13);
    assert_in_range(plans[0].live, 2, 4);
    for (uint32_t i = 1; i < plans[0].starts; i++)
        assert_in_range(plans[0].at[i] - plans[0].at[i - 1], 800 * MS_US, 1200 * MS_US + MS_US);
    /* even when no attempt ever ends */
    plans[0].fail_us = 0;
    run(&f, 60 * SEC_US);
    assert_in_range(plans[0].live, 1, SCHEDULER_ROUNDS_MAX);
    end(&f);
}

static void calm_pauses(void **state)
{
    struct fixture f;
    uint32_t starts;

    (void)state;
    begin(&f, 1, false);
    plans[0].fail_us = MS_US;
    scheduler_set_need(f.scheduler, SCHEDULER_CALM);
    run(&f, 600 * SEC_US);
    starts = plans[0].starts;
    assert_in_range(starts, 14, 24);
    assert_in_range(plans[0].at[starts - 1] - plans[0].at[starts - 2], 48 * SEC_US, 73 * SEC_US);
    /* somebody comes: at once */
    run(&f, 10 * SEC_US);
    starts = plans[0].starts;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 10 * MS_US);
    assert_int_equal(plans[0].starts, starts + 1);
    end(&f);
}

static void kick(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 1, false);
    plans[0].fail_us = MS_US;
    scheduler_set_need(f.scheduler, SCHEDULER_CALM);
    run(&f, 300 * SEC_US);
    uint32_t starts = plans[0].starts;
    /* A storm of kicks is no storm of attempts. */
    for (int i = 0; i < 100; i++) {
        scheduler_kick(f.scheduler);
        run(&f, 10 * MS_US);
    }
    assert_in_range(plans[0].starts - starts, 8, 14);
    end(&f);
}

/* The worse strategy's head start passes; it is up first; the better one goes on, and wins over it.
 */
static void better_goes_on(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 2, false);
    plans[0].prove_us = 900 * MS_US;
    plans[1].prove_us = 300 * MS_US;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 600 * MS_US);
    assert_int_equal(f.paths, 1);
    assert_string_equal(f.label[0], "reverse");
    assert_int_equal(plans[0].live, 1);
    scheduler_settle(f.scheduler, SCHEDULER_TAKEN, NULL);
    run(&f, 400 * MS_US);
    assert_int_equal(f.paths, 2);
    assert_string_equal(f.label[1], "direct");
    assert_int_equal(plans[0].live + plans[1].live, 0);
    end(&f);
}

/* When the better one fails, the other does not wait for its head start; and a better path ends the
 * worse attempt. */
static void losers_end(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 2, false);
    plans[0].fail_us = 10 * MS_US;
    plans[1].fail_us = 5 * SEC_US;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 20 * MS_US);
    assert_int_equal(plans[1].starts, 1);
    plans[0].prove_us = 10 * MS_US;
    run(&f, 3 * SEC_US);
    assert_true(f.paths >= 1);
    assert_string_equal(f.label[0], "direct");
    end(&f);
    begin(&f, 2, false);
    plans[0].prove_us = 300 * MS_US;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 250 * MS_US);
    assert_int_equal(plans[1].live, 1);
    run(&f, 100 * MS_US);
    assert_int_equal(f.paths, 1);
    assert_int_equal(plans[1].live, 0);
    end(&f);
}

static void refused(void **state)
{
    struct fixture f;
    struct scheduler_info info;

    (void)state;
    begin(&f, 1, false);
    plans[0].prove_us = MS_US;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 10 * MS_US);
    assert_int_equal(f.paths, 1);
    /* No second path is made while the verdict is awaited. */
    run(&f, 900 * MS_US);
    assert_int_equal(plans[0].starts, 1);
    scheduler_settle(f.scheduler, SCHEDULER_REFUSED, "not admitted");
    scheduler_kick(f.scheduler);
    run(&f, 4 * SEC_US);
    assert_int_equal(plans[0].starts, 1);
    scheduler_describe(f.scheduler, &info);
    assert_string_equal(info.text, "not admitted");
    assert_true(info.next_us > 0);
    run(&f, 1200 * MS_US);
    assert_int_equal(plans[0].starts, 2);
    /* Refused while nobody waits: a long pause, which somebody who comes makes a short one. */
    scheduler_set_need(f.scheduler, SCHEDULER_STOP);
    scheduler_settle(f.scheduler, SCHEDULER_REFUSED, "not admitted");
    scheduler_set_need(f.scheduler, SCHEDULER_CALM);
    run(&f, 10 * SEC_US);
    assert_int_equal(plans[0].starts, 2);
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 10 * MS_US);
    assert_int_equal(plans[0].starts, 3);
    end(&f);
}

/* A peer that takes us in and drops us at once is not asked ten times a second; a path that lived
 * is replaced at once. */
static void short_lives(void **state)
{
    struct fixture f;
    uint32_t starts;

    (void)state;
    begin(&f, 1, false);
    for (int i = 0; i < 400; i++) {
        plans[0].prove_us = MS_US;
        scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
        run(&f, 20 * MS_US);
        if (f.paths) {
            f.paths = 0;
            scheduler_settle(f.scheduler, SCHEDULER_TAKEN, NULL);
            scheduler_set_need(f.scheduler, SCHEDULER_STOP);
        }
        run(&f, 5 * MS_US);
    }
    assert_in_range(plans[0].starts, 12, 18);
    scheduler_set_need(f.scheduler, SCHEDULER_STOP);
    run(&f, 10 * SEC_US);
    starts = plans[0].starts;
    plans[0].prove_us = MS_US;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 10 * MS_US);
    assert_int_equal(plans[0].starts, starts + 1);
    end(&f);
}

static void made_to_fail(void **state)
{
    struct fixture f;
    struct scheduler_info info;

    (void)state;
    begin(&f, 4, true);
    plans[1].prove_us = MS_US;
    scheduler_set_need(f.scheduler, SCHEDULER_CALM);
    run(&f, 20 * MS_US);
    assert_int_equal(plans[0].starts, 0);
    assert_int_equal(f.paths, 1);
    assert_string_equal(f.label[0], "reverse");
    scheduler_describe(f.scheduler, &info);
    assert_int_equal(info.count, 4);
    assert_string_equal(info.strategies[0].state, "made to fail");
    assert_string_equal(info.strategies[1].state, "worked");
    assert_string_equal(info.strategies[2].state, "not in this version");
    end(&f);
}

static void on_refusal(void *arg, int why, const char *text)
{
    struct fixture *f = arg;

    assert_int_equal(why, -EACCES);
    assert_string_equal(text, "there");
    f->hopeless++;
}

/* A refusal is told when it comes, not again whenever another strategy fails: it may be over. */
static void a_refusal_is_told_once(void **state)
{
    static const struct scheduler_events refusal_events = {
        .candidates = on_candidates, .path = on_path, .hopeless = on_refusal};
    const struct scheduler_options options = {.table = table, .strategies = {{0, 1}, 2}};
    struct fixture f;

    (void)state;
    begin(&f, 2, false);
    scheduler_free(f.scheduler);
    f.scheduler = scheduler_new(&f.env, &options, &f.id, "peer", &refusal_events, &f);
    assert_non_null(f.scheduler);
    plans[0].fail_us = 100 * MS_US;
    plans[1].fail_us = 10 * MS_US;
    plans[1].why = -EACCES;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 150 * MS_US);
    assert_int_equal(plans[1].starts, 1);
    assert_int_equal(f.hopeless, 1);
    plans[1].fail_us = 0; /* from now on it takes its time */
    run(&f, 5 * SEC_US);
    assert_true(plans[0].starts > 3);
    assert_int_equal(f.hopeless, 1);
    end(&f);
}

/* Each round in which nobody answered is told, also while others are under way: as somebody waits,
 * they always are. */
static void nobody_answers(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f, 2, false);
    plans[0].fail_us = MS_US;
    plans[1].fail_us = 3 * SEC_US;
    plans[1].why = -EHOSTDOWN;
    scheduler_set_need(f.scheduler, SCHEDULER_URGENT);
    run(&f, 2 * SEC_US);
    assert_int_equal(f.hopeless, 0);
    run(&f, 6 * SEC_US);
    assert_true(f.hopeless >= 3);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urgent_pauses),
        cmocka_unit_test(urgent_silence),
        cmocka_unit_test(calm_pauses),
        cmocka_unit_test(kick),
        cmocka_unit_test(better_goes_on),
        cmocka_unit_test(losers_end),
        cmocka_unit_test(refused),
        cmocka_unit_test(short_lives),
        cmocka_unit_test(made_to_fail),
        cmocka_unit_test(nobody_answers),
        cmocka_unit_test(a_refusal_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
