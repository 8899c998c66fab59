/* SPDX-License-Identifier: MIT */
/* Theory of operation: timers, deferred calls and the two clocks; the heap against a sorted list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"

struct probe {
    struct loop *loop;
    struct timer timer;
    struct defer defer;
    uint64_t fired_at;
    int fired, again;
    int *order, place;
    struct probe *other;
};

static void on_fire(void *arg)
{
    struct probe *probe = arg;

    probe->fired++;
    probe->fired_at = loop_now(probe->loop);
    if (probe->order)
        probe->place = ++*probe->order;
}

static void on_fire_again(void *arg)
{
    struct probe *probe = arg;

    on_fire(arg);
    if (probe->again-- > 0)
        timer_set_in(probe->loop, &probe->timer, 10);
}

static void on_fire_cancels(void *arg)
{
    struct probe *probe = arg;

    on_fire(arg);
    timer_cancel(probe->loop, &probe->other->timer);
    defer_cancel(probe->loop, &probe->other->defer);
}

static void run_dry(struct loop *loop)
{
    while (loop_turn(loop, 3600 * SEC_US)) {}
}

static void virtual_timers_fire_in_order(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    struct loop *loop = loop_new_virtual(7);
    struct probe *probes = calloc(COUNT, sizeof(*probes));
    uint64_t last = 0, start = loop_now(loop);
    int order = 0, expected = 0;

    assert_true(loop_is_virtual(loop));
    assert_null(loop_base(loop));
    for (int i = 0; i < COUNT; i++) {
        probes[i] = (struct probe){.loop = loop, .order = &order};
        timer_init(&probes[i].timer, on_fire, &probes[i]);
        timer_set(loop, &probes[i].timer, start + loop_random64(loop) % 100000);
    }
    for (int i = 0; i < COUNT; i++) { /* moves a third, cancels a third */
        if (i % 3 == 0)
            timer_set(loop, &probes[i].timer, start + loop_random64(loop) % 100000);
        if (i % 3 == 1)
            timer_cancel(loop, &probes[i].timer);
        assert_int_equal(timer_is_set(&probes[i].timer), i % 3 != 1);
    }
    run_dry(loop);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(probes[i].fired, i % 3 != 1);
        if (!probes[i].fired)
            continue;
        expected++;
        assert_int_equal(probes[i].fired_at, probes[i].timer.at);
        if (probes[i].place == order)
            last = probes[i].fired_at;
    }
    for (int i = 0; i < COUNT; i++) {
        assert_true(probes[i].fired_at <= last);
        for (int k = 0; k < COUNT; k++)
            if (probes[i].place && probes[k].place > probes[i].place)
                assert_true(probes[k].fired_at >= probes[i].fired_at);
    }
    assert_int_equal(order, expected);
    assert_int_equal(loop_now(loop), last);
    free(probes);
    loop_free(loop);
}

static void a_timer_may_set_itself_and_cancel_others(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct probe again = {.loop = loop, .again = 4}, victim = {.loop = loop};
    struct probe killer = {.loop = loop, .other = &victim};

    timer_init(&again.timer, on_fire_again, &again);
    timer_set_in(loop, &again.timer, 10);
    timer_init(&killer.timer, on_fire_cancels, &killer);
    timer_init(&victim.timer, on_fire, &victim);
    timer_set_in(loop, &killer.timer, 20);
    timer_set_in(loop, &victim.timer, 21);
    run_dry(loop);
    assert_int_equal(again.fired, 5);
    assert_int_equal(killer.fired, 1);
    assert_int_equal(victim.fired, 0);
    timer_cancel(loop, &victim.timer); /* cancelling twice is nothing */
    loop_free(loop);
}

static void virtual_turns_jump_no_further_than_asked(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct probe probe = {.loop = loop};
    uint64_t start = loop_now(loop);

    assert_false(loop_turn(loop, SEC_US)); /* nothing to do: time stands still */
    assert_int_equal(loop_now(loop), start);
    timer_init(&probe.timer, on_fire, &probe);
    timer_set_in(loop, &probe.timer, 1000);
    assert_true(loop_turn(loop, 400));
    assert_int_equal(loop_now(loop), start + 400);
    assert_int_equal(probe.fired, 0);
    assert_true(loop_turn(loop, 4000));
    assert_int_equal(loop_now(loop), start + 1000);
    assert_int_equal(probe.fired, 1);
    loop_free(loop);
}

static void virtual_randomness_is_seeded(void **state)
{
    (void)state;
    struct loop *a = loop_new_virtual(5), *b = loop_new_virtual(5), *c = loop_new_virtual(6);
    uint8_t x[21] = {0}, y[21] = {0}, z[21] = {0};

    loop_random(a, x, sizeof(x));
    loop_random(b, y, sizeof(y));
    loop_random(c, z, sizeof(z));
    assert_memory_equal(x, y, sizeof(x));
    assert_memory_not_equal(x, z, sizeof(x));
    loop_free(a);
    loop_free(b);
    loop_free(c);
}

/* --- Deferred calls --- */

struct chain {
    struct loop *loop;
    struct defer soon, next;
    int soons, nexts, limit;
};

static void on_soon(void *arg)
{
    struct chain *chain = arg;

    if (++chain->soons < chain->limit)
        defer_soon(chain->loop, &chain->soon);
}

static void on_next(void *arg)
{
    struct chain *chain = arg;

    if (++chain->nexts < chain->limit)
        defer_next(chain->loop, &chain->next);
}

static void soon_runs_in_this_turn_next_once_a_turn(void **state)
{
    (void)state;
    struct loop *loops[2] = {loop_new_virtual(1), loop_new()};

    for (int i = 0; i < 2; i++) {
        struct chain chain = {.loop = loops[i], .limit = 5};

        defer_init(&chain.soon, on_soon, &chain);
        defer_init(&chain.next, on_next, &chain);
        defer_soon(loops[i], &chain.soon);
        defer_soon(loops[i], &chain.soon); /* twice is once */
        defer_next(loops[i], &chain.next);
        assert_true(loop_turn(loops[i], 0));
        assert_int_equal(chain.soons, 5);
        assert_int_equal(chain.nexts, 1);
        for (int turn = 2; turn <= 5; turn++) {
            assert_true(loop_turn(loops[i], 0));
            assert_int_equal(chain.nexts, turn);
        }
        loop_turn(loops[i], 0);
        assert_int_equal(chain.nexts, 5);
        loop_free(loops[i]);
    }
}

static void deferred_calls_can_be_cancelled_anywhere_in_the_list(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);

    for (int victim = 0; victim < 3; victim++) {
        struct probe probes[3];
        int order = 0;

        for (int kind = 0; kind < 2; kind++) {
            for (int i = 0; i < 3; i++) {
                probes[i] = (struct probe){.loop = loop, .order = &order};
                defer_init(&probes[i].defer, on_fire, &probes[i]);
                (kind ? defer_next : defer_soon)(loop, &probes[i].defer);
            }
            defer_cancel(loop, &probes[victim].defer);
            defer_cancel(loop, &probes[victim].defer);
            struct probe late = {.loop = loop, .order = &order};
            defer_init(&late.defer, on_fire, &late);
            (kind ? defer_next : defer_soon)(loop, &late.defer);
            run_dry(loop);
            for (int i = 0; i < 3; i++)
                assert_int_equal(probes[i].fired, i != victim);
            assert_int_equal(late.fired, 1);
            assert_int_equal(late.place, order);
        }
    }
    loop_free(loop);
}

static void a_deferred_call_may_cancel_the_next(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct probe victim = {.loop = loop}, killer = {.loop = loop, .other = &victim};

    defer_init(&killer.defer, on_fire_cancels, &killer);
    defer_init(&victim.defer, on_fire, &victim);
    defer_soon(loop, &killer.defer);
    defer_soon(loop, &victim.defer);
    run_dry(loop);
    assert_int_equal(killer.fired, 1);
    assert_int_equal(victim.fired, 0);
    loop_free(loop);
}

/* --- The real clock --- */

static void on_stop(void *arg)
{
    on_fire(arg);
    loop_stop(((struct probe *)arg)->loop);
}

/* What stops the loop before it waits must not wait for the next event. */
static void a_stop_from_a_deferred_call_does_not_wait(void **state)
{
    struct probe stop = {0}, late = {0};
    uint64_t began;

    (void)state;
    stop.loop = late.loop = loop_new();
    assert_non_null(stop.loop);
    timer_init(&late.timer, on_fire, &late);
    timer_set_in(late.loop, &late.timer, 5 * SEC_US);
    defer_init(&stop.defer, on_stop, &stop);
    defer_soon(stop.loop, &stop.defer);
    began = loop_refresh(stop.loop);
    loop_run(stop.loop);
    assert_true(loop_refresh(stop.loop) - began < 4 * SEC_US);
    assert_int_equal(late.fired, 0);
    timer_cancel(late.loop, &late.timer);
    loop_free(stop.loop);
}

static void real_timers_fire_not_before_their_time(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct probe first = {.loop = loop}, last = {.loop = loop};
    uint64_t start = loop_refresh(loop);

    assert_non_null(loop_base(loop));
    timer_init(&first.timer, on_fire, &first);
    timer_init(&last.timer, on_stop, &last);
    timer_set_in(loop, &first.timer, 5 * MS_US);
    timer_set_in(loop, &last.timer, 15 * MS_US);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(first.fired, 1);
    assert_true(first.fired_at >= start + 5 * MS_US);
    assert_true(last.fired_at >= start + 15 * MS_US);
    assert_true(first.fired_at <= last.fired_at);
    assert_true(last.fired_at < start + 60 * SEC_US);
    loop_free(loop);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    char byte;

    (void)what;
    assert_int_equal(read(fd, &byte, 1), 1);
    on_stop(arg);
}

/* A descriptor wakes the loop although the next timer is far away. */
static void descriptors_wake_the_loop(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct probe probe = {.loop = loop}, far = {.loop = loop};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct event *event = event_new(loop_base(loop), fds[0], EV_READ, on_readable, &probe);
    event_add(event, NULL);
    timer_init(&far.timer, on_fire, &far);
    timer_set_in(loop, &far.timer, 50 * SEC_US);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_run(loop);
    assert_int_equal(probe.fired, 1);
    assert_int_equal(far.fired, 0);
    timer_cancel(loop, &far.timer);
    event_free(event);
    close(fds[0]);
    close(fds[1]);
    loop_free(loop);
}

/* A deferred call that asks for itself again and again does not starve descriptors. */
static void next_gives_way_to_descriptors(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct probe probe = {.loop = loop};
    struct chain chain = {.loop = loop, .limit = 1000000};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct event *event = event_new(loop_base(loop), fds[0], EV_READ, on_readable, &probe);
    event_add(event, NULL);
    defer_init(&chain.next, on_next, &chain);
    defer_next(loop, &chain.next);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_run(loop);
    assert_int_equal(probe.fired, 1);
    assert_true(chain.nexts < 10);
    defer_cancel(loop, &chain.next);
    event_free(event);
    close(fds[0]);
    close(fds[1]);
    loop_free(loop);
}

/* A process that was stopped while it waited counts the time as lost: it is nobody's silence. */
static void time_stopped_is_lost(void **state)
{
    (void)state;
    int fds[2];
    struct pollfd nothing = {.fd = -1};

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    pid_t child = fork();
    if (child == 0) {
        struct loop *loop = loop_new();
        uint64_t lost = 0;

        if (write(fds[1], "r", 1) != 1)
            _exit(1);
        for (int i = 0; i < 100 && lost == 0; i++) {
            loop_turn(loop, 50 * MS_US);
            lost = loop_lost(loop);
        }
        if (write(fds[1], &lost, sizeof(lost)) != sizeof(lost))
            _exit(1);
        _exit(0);
    }
    char ready;
    uint64_t lost = 0;
    int status;
    assert_int_equal(read(fds[0], &ready, 1), 1);
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    poll(&nothing, 1, 450); /* this is the stop itself, not a wait for something */
    kill(child, SIGCONT);
    assert_int_equal(read(fds[0], &lost, sizeof(lost)), sizeof(lost));
    waitpid(child, &status, 0);
    assert_in_range(lost, 250 * MS_US, 60 * SEC_US);
    close(fds[0]);
    close(fds[1]);
}

static void note_gap(void *arg, uint64_t lost_us)
{
    *(uint64_t *)arg += lost_us;
}

/* Who watches is told of a gap once, and not of what merely took a while. */
static void a_gap_is_told(void **state)
{
    struct loop *loop = loop_new_virtual(1);
    struct gap_watch one = {0}, two = {0};
    uint64_t told[2] = {0, 0}, before = loop_now(loop);

    (void)state;
    gap_watch_add(loop, &one, note_gap, &told[0]);
    gap_watch_add(loop, &two, note_gap, &told[1]);
    loop_lose(loop, LOOP_GAP_US / 2);
    loop_turn(loop, 0);
    assert_int_equal(told[0], 0);
    loop_lose(loop, 3 * LOOP_GAP_US);
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_int_equal(told[0], 3 * LOOP_GAP_US);
    assert_int_equal(told[1], 3 * LOOP_GAP_US);
    assert_int_equal(loop_lost(loop), loop_now(loop) - before);
    gap_watch_remove(&two);
    gap_watch_remove(&two);
    loop_lose(loop, LOOP_GAP_US);
    loop_turn(loop, 0);
    assert_int_equal(told[0], 4 * LOOP_GAP_US);
    assert_int_equal(told[1], 3 * LOOP_GAP_US);
    gap_watch_remove(&one);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(virtual_timers_fire_in_order),
        cmocka_unit_test(a_timer_may_set_itself_and_cancel_others),
        cmocka_unit_test(virtual_turns_jump_no_further_than_asked),
        cmocka_unit_test(virtual_randomness_is_seeded),
        cmocka_unit_test(soon_runs_in_this_turn_next_once_a_turn),
        cmocka_unit_test(deferred_calls_can_be_cancelled_anywhere_in_the_list),
        cmocka_unit_test(a_deferred_call_may_cancel_the_next),
        cmocka_unit_test(a_stop_from_a_deferred_call_does_not_wait),
        cmocka_unit_test(real_timers_fire_not_before_their_time),
        cmocka_unit_test(descriptors_wake_the_loop),
        cmocka_unit_test(next_gives_way_to_descriptors),
        cmocka_unit_test(time_stopped_is_lost),
        cmocka_unit_test(a_gap_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
