/* SPDX-License-Identifier: MIT */
/* Theory of operation: pairs in virtual time: delay, rate, bound, cut, half-close, reset; and once
 * on a real loop. */
#include "pair_world.h"

static void assert_both_ended_well(const struct world *world)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(world->heard[i].ends, 1);
        assert_int_equal(world->heard[i].why, 0);
    }
}

static void what_is_written_is_received(void **state)
{
    (void)state;
    struct world w;
    char buf[6] = "hello";
    struct addr local, remote, far;

    world_new(&w, NULL);
    assert_true(pipe_is_up(w.ends[0]));
    assert_int_equal(pipe_send(w.ends[0], buf, 5, false), 0);
    memset(buf, 'x', sizeof(buf)); /* the caller's again */
    write_text(w.ends[1], "answer");
    run_dry(w.loop);
    assert_string_equal(w.heard[1].text, "hello");
    assert_string_equal(w.heard[0].text, "answer");
    assert_int_equal(w.ends[0]->bytes_out, 5);
    assert_int_equal(w.ends[0]->bytes_in, 6);
    assert_int_equal(pipe_addrs(w.ends[0], &local, &remote), 0);
    assert_int_equal(pipe_addrs(w.ends[1], &far, NULL), 0);
    assert_true(addr_equal(&remote, &far));
    assert_false(addr_equal(&local, &far));
    world_free(&w);
}

static void delay_and_rate(void **state)
{
    (void)state;
    struct world w;
    static uint8_t bytes[100000];
    uint64_t start;

    world_new(&w, &(struct pair_options){.delay_us = 5000});
    start = loop_now(w.loop);
    write_text(w.ends[0], "x");
    run_dry(w.loop);
    assert_int_equal(w.heard[1].at, start + 5000);
    world_free(&w);

    world_new(&w, &(struct pair_options){.delay_us = 5000, .rate = 1000000});
    start = loop_now(w.loop);
    pipe_send(w.ends[0], bytes, sizeof(bytes), false);
    assert_int_equal(pipe_queued(w.ends[0]), sizeof(bytes));
    while (loop_now(w.loop) < start + 50000)
        loop_turn(w.loop, 1000);
    assert_in_range(w.heard[1].bytes, 25000, 45000); /* it trickles: 45 ms of it have arrived */
    assert_in_range(pipe_queued(w.ends[0]), 48000, 52000);
    run_dry(w.loop);
    assert_int_equal(w.heard[1].bytes, sizeof(bytes));
    assert_int_equal(w.heard[1].at, start + 100000 + 5000);
    assert_int_equal(pipe_queued(w.ends[0]), 0);
    world_free(&w);
}

static void one_send_arrives_as_one_message(void **state)
{
    (void)state;
    struct world w;
    static uint8_t bytes[BLOCK_BYTES];

    world_new(&w, &(struct pair_options){.delay_us = 10, .rate = 10000000});
    for (int i = 0; i < 5; i++)
        pipe_send(w.ends[0], bytes, sizeof(bytes), i < 4);
    pipe_send(w.ends[0], bytes, 1, false);
    run_dry(w.loop);
    assert_int_equal(w.heard[1].messages, 6);
    world_free(&w);
}

static void the_buffer_bounds_and_room_comes_back(void **state)
{
    (void)state;
    struct world w;
    static uint8_t bytes[60000];

    world_new(&w, &(struct pair_options){.buffer = 100000});
    assert_int_equal(pipe_room(w.ends[0]), 100000);
    pipe_pause(w.ends[1]);
    pipe_send(w.ends[0], bytes, sizeof(bytes), false);
    assert_int_equal(pipe_room(w.ends[0]), 40000);
    pipe_send(w.ends[0], bytes, sizeof(bytes), false); /* insists: a stream loses nothing */
    assert_int_equal(pipe_room(w.ends[0]), 0);
    run_dry(w.loop);
    assert_int_equal(w.heard[1].bytes, 0);
    assert_int_equal(pipe_queued(w.ends[0]), 120000);
    assert_int_equal(w.heard[0].rooms, 0);
    pipe_resume(w.ends[1]);
    run_dry(w.loop);
    assert_int_equal(w.heard[1].bytes, 120000);
    assert_true(w.heard[0].rooms > 0);
    assert_int_equal(pipe_room(w.ends[0]), 100000);
    world_free(&w);
}

static void messages_keep_boundaries_and_drop_beyond_the_buffer(void **state)
{
    (void)state;
    struct world w;
    struct addr local;

    world_new(&w, &(struct pair_options){.messages = true, .buffer = 250});
    for (int i = 0; i < 5; i++) {
        char text[101];
        memset(text, 'a' + i, 100);
        text[100] = 0;
        write_text(w.ends[0], text);
    }
    pipe_write_copy(w.ends[0], NULL, 0);
    run_dry(w.loop);
    assert_int_equal(w.heard[1].messages, 3);
    assert_int_equal(w.heard[1].bytes, 300);
    pipe_addrs(w.ends[0], &local, NULL);
    assert_true(addr_equal(&w.heard[1].from, &local));
    pipe_write_copy(w.ends[0], NULL, 0); /* an empty message is one */
    run_dry(w.loop);
    assert_int_equal(w.heard[1].messages, 4);
    world_free(&w);
}

static void a_cut_stream_loses_nothing(void **state)
{
    (void)state;
    struct world w;
    uint64_t start;

    world_new(&w, &(struct pair_options){.delay_us = 1000, .buffer = 8});
    start = loop_now(w.loop);
    write_text(w.ends[0], "one");
    loop_turn(w.loop, 400); /* in flight */
    pair_cut(w.ends[1], true);
    pair_cut(w.ends[1], true);
    write_text(w.ends[0], "twotwo");
    write_text(w.ends[1], "back");
    assert_int_equal(pipe_room(w.ends[0]), 0);
    assert_int_equal(pipe_queued(w.ends[0]), 9);
    struct timer wait;
    timer_init(&wait, (void (*)(void *))(uintptr_t)abort, NULL);
    timer_set_in(w.loop, &wait, 100 * SEC_US);
    loop_turn(w.loop, 10 * SEC_US);
    timer_cancel(w.loop, &wait);
    assert_int_equal(w.heard[1].bytes + w.heard[0].bytes, 0);
    assert_int_equal(w.heard[0].ends + w.heard[1].ends, 0); /* nobody is told */
    pair_cut(w.ends[0], false);
    run_dry(w.loop);
    assert_string_equal(w.heard[1].text, "onetwotwo");
    assert_string_equal(w.heard[0].text, "back");
    assert_int_equal(w.heard[0].at, start + 400 + 10 * SEC_US + 1000);
    assert_int_equal(w.heard[1].at, start + 400 + 10 * SEC_US + 1000);
    assert_int_equal(pipe_room(w.ends[0]), 8);
    world_free(&w);
}

static void a_cut_message_pair_loses_what_is_in_flight(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, &(struct pair_options){.delay_us = 1000, .messages = true});
    write_text(w.ends[0], "lost");
    pair_cut(w.ends[0], true);
    write_text(w.ends[0], "lost too");
    pair_cut(w.ends[0], false);
    write_text(w.ends[0], "kept");
    run_dry(w.loop);
    assert_string_equal(w.heard[1].text, "kept");
    world_free(&w);
}

static void half_close_both_ways_ends_both(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, &(struct pair_options){.delay_us = 100});
    write_text(w.ends[0], "request");
    pipe_shutdown(w.ends[0]);
    assert_int_equal(pipe_send(w.ends[0], "x", 1, false), ADIT_ECLOSED);
    assert_int_equal(pipe_room(w.ends[0]), 0);
    run_dry(w.loop);
    assert_int_equal(w.heard[1].eofs, 1);
    assert_int_equal(w.heard[1].ends + w.heard[0].ends, 0);
    write_text(w.ends[1], "answer");
    pipe_shutdown(w.ends[1]);
    run_dry(w.loop);
    assert_string_equal(w.heard[1].text, "request");
    assert_string_equal(w.heard[0].text, "answer");
    assert_int_equal(w.heard[0].eofs, 1);
    assert_both_ended_well(&w);
    world_free(&w);
}

static void close_delivers_what_was_written(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, &(struct pair_options){.delay_us = 100});
    write_text(w.ends[0], "last words");
    write_text(w.ends[1], "nobody hears this");
    pipe_close(w.ends[0]);
    assert_int_equal(w.heard[0].ends, 0); /* never from inside the call */
    run_dry(w.loop);
    assert_string_equal(w.heard[1].text, "last words");
    assert_int_equal(w.heard[0].bytes, 0);
    assert_both_ended_well(&w);
    assert_int_equal(w.heard[1].eofs, 1);
    world_free(&w);
}

static void abort_resets_the_other_even_when_paused(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, &(struct pair_options){.delay_us = 100, .rate = 100});
    write_text(w.ends[0], "a long text that takes its time");
    pipe_pause(w.ends[1]);
    pipe_abort(w.ends[0], -ETIMEDOUT);
    uint64_t start = loop_now(w.loop);
    run_dry(w.loop);
    assert_int_equal(w.heard[0].why, -ETIMEDOUT);
    assert_int_equal(w.heard[1].why, -ECONNRESET);
    assert_int_equal(w.heard[1].at, start + 100);
    assert_int_equal(w.heard[1].bytes, 0);
    world_free(&w);
}

static void a_cut_hides_the_end_until_it_is_over(void **state)
{
    (void)state;
    struct world w;

    world_new(&w, NULL);
    pair_cut(w.ends[0], true);
    pipe_abort(w.ends[0], -ECANCELED);
    for (int i = 0; i < 5; i++)
        loop_turn(w.loop, SEC_US);
    assert_int_equal(w.heard[0].ends, 1);
    assert_int_equal(w.heard[1].ends, 0);
    pair_cut(w.ends[1], false);
    run_dry(w.loop);
    assert_int_equal(w.heard[1].why, -ECONNRESET);
    world_free(&w);
}

static void both_ends_export_the_same(void **state)
{
    (void)state;
    struct world w, v;
    uint8_t a[32], b[32], c[32];

    world_new(&w, NULL);
    world_new(&v, NULL);
    assert_int_equal(pipe_exporter(w.ends[0], "label", "ctx", 3, a, 32), 0);
    assert_int_equal(pipe_exporter(w.ends[1], "label", "ctx", 3, b, 32), 0);
    assert_memory_equal(a, b, 32);
    pipe_exporter(w.ends[0], "label", "cty", 3, c, 32);
    assert_memory_not_equal(a, c, 32);
    pipe_exporter(w.ends[0], "lobel", "ctx", 3, c, 32);
    assert_memory_not_equal(a, c, 32);
    pipe_exporter(w.ends[0], "label", NULL, 0, c, 9);
    struct pipe *second[2];
    pair_new(w.loop, NULL, second);
    pipe_exporter(second[0], "label", "ctx", 3, c, 32);
    assert_memory_not_equal(a, c, 32);
    pipe_close(second[0]);
    pipe_close(second[1]);
    world_free(&v);
    world_free(&w);
}

/* Two ends that answer each other for ever let time pass and others run. */
static void echo(struct pipe *pipe, const struct slice *data, const struct addr *from, void *arg)
{
    (void)from;
    (void)arg;
    pipe_send(pipe, data->data, data->len, false);
}

static void on_flag(void *arg)
{
    *(bool *)arg = true;
}

static void endless_echo_starves_nobody(void **state)
{
    (void)state;
    static const struct pipe_events events = {.message = echo};
    struct loop *loops[2] = {loop_new_virtual(1), loop_new()};

    for (int i = 0; i < 2; i++) {
        struct pipe *ends[2];
        struct timer timer;
        bool fired = false;

        pair_new(loops[i], NULL, ends);
        for (int k = 0; k < 2; k++)
            pipe_add_listener(ends[k], &events, NULL);
        write_text(ends[0], "ball");
        loop_refresh(loops[i]);
        timer_init(&timer, on_flag, &fired);
        timer_set_in(loops[i], &timer, 2000);
        RUN_UNTIL(loops[i], fired);
        assert_true(ends[0]->bytes_in > 4);
        pipe_abort(ends[0], -ECANCELED);
        pipe_abort(ends[1], -ECANCELED);
        loop_turn(loops[i], 0);
        loop_free(loops[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_received),
        cmocka_unit_test(delay_and_rate),
        cmocka_unit_test(one_send_arrives_as_one_message),
        cmocka_unit_test(the_buffer_bounds_and_room_comes_back),
        cmocka_unit_test(messages_keep_boundaries_and_drop_beyond_the_buffer),
        cmocka_unit_test(a_cut_stream_loses_nothing),
        cmocka_unit_test(a_cut_message_pair_loses_what_is_in_flight),
        cmocka_unit_test(half_close_both_ways_ends_both),
        cmocka_unit_test(close_delivers_what_was_written),
        cmocka_unit_test(abort_resets_the_other_even_when_paused),
        cmocka_unit_test(a_cut_hides_the_end_until_it_is_over),
        cmocka_unit_test(both_ends_export_the_same),
        cmocka_unit_test(endless_echo_starves_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
