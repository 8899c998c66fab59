/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: what is common to all pipes, shown with pairs in virtual time: listeners,
 * links, back-pressure, half-close, ends; and callbacks that do the worst.
 */
#include "pipe_recorder.h"

#include "pipe/pair.h"

/* A pair whose near end is worked with and whose far end plays the peer. */
struct duo {
    struct pipe *near, *far;
    struct recorder heard, far_heard;
};

static void duo_make(struct duo *duo, struct loop *loop, const struct pair_options *options)
{
    struct pipe *ends[2];

    memset(duo, 0, sizeof(*duo));
    assert_int_equal(pair_new(loop, options, ends), 0);
    duo->near = ends[0];
    duo->far = ends[1];
    record(&duo->heard, ends[0]);
    record(&duo->far_heard, ends[1]);
}

static void duo_end(struct duo *duo)
{
    if (duo->heard.pipe)
        pipe_abort(duo->heard.pipe, -ECANCELED);
    if (duo->far_heard.pipe)
        pipe_abort(duo->far_heard.pipe, -ECANCELED);
}

static void finish_world(struct loop *loop)
{
    run_dry(loop);
    loop_free(loop);
    assert_int_equal(block_total_bytes(), 0);
}

/* --- Listeners --- */

static void several_listeners_hear_the_same(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo duo;
    struct recorder others[3] = {0};

    duo_make(&duo, loop, NULL);
    for (int i = 0; i < 3; i++)
        record(&others[i], duo.near);
    write_text(duo.far, "all");
    run_dry(loop);
    pipe_del_listener(duo.near, &recorder_events, &others[1]);
    pipe_del_listener(duo.near, &recorder_events, &others[1]); /* nothing */
    pipe_del_listener(duo.near, &recorder_events, &duo.heard); /* the first of them */
    write_text(duo.far, "some");
    run_dry(loop);
    assert_string_equal(duo.heard.text, "all");
    assert_string_equal(others[0].text, "allsome");
    assert_string_equal(others[1].text, "all");
    assert_string_equal(others[2].text, "allsome");
    struct recorder late = {0};
    record(&late, duo.near); /* takes a free slot */
    write_text(duo.far, "!");
    run_dry(loop);
    assert_string_equal(late.text, "!");
    pipe_abort(duo.far, -ECANCELED);
    run_dry(loop);
    assert_int_equal(others[0].ends, 1);
    assert_int_equal(others[1].ends, 0);
    assert_int_equal(late.why, -ECONNRESET);
    finish_world(loop);
}

static void listeners_are_bounded(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo duo;
    int places[PIPE_LISTENERS_MAX];
    static const struct pipe_events nothing;

    duo_make(&duo, loop, NULL);
    for (int i = 0; i < PIPE_LISTENERS_MAX - 1; i++)
        assert_int_equal(pipe_add_listener(duo.near, &nothing, &places[i]), 0);
    assert_int_equal(pipe_add_listener(duo.near, &nothing, &places[0]), ADIT_EFULL);
    pipe_del_listener(duo.near, &nothing, &places[30]);
    assert_int_equal(pipe_add_listener(duo.near, &nothing, &places[0]), 0);
    duo_end(&duo);
    finish_world(loop);
}

struct meddler {
    struct recorder *recorders;
    int calls;
    enum { REMOVE_SELF, REMOVE_NEXT, ADD_MANY } what;
};

static void meddle(struct pipe *pipe, const struct slice *data, const struct addr *from, void *arg);
static const struct pipe_events meddling = {.message = meddle};

static void meddle(struct pipe *pipe, const struct slice *data, const struct addr *from, void *arg)
{
    struct meddler *meddler = arg;

    (void)data;
    (void)from;
    meddler->calls++;
    switch (meddler->what) {
    case REMOVE_SELF:
        pipe_del_listener(pipe, &meddling, meddler);
        break;
    case REMOVE_NEXT:
        pipe_del_listener(pipe, &recorder_events, &meddler->recorders[0]);
        break;
    case ADD_MANY:
        if (meddler->calls > 1)
            break;
        for (int i = 0; i < 20; i++)
            pipe_add_listener(pipe, &recorder_events, &meddler->recorders[i]);
        break;
    }
}

static void listeners_come_and_go_inside_callbacks(void **state)
{
    (void)state;
    for (int what = REMOVE_SELF; what <= ADD_MANY; what++) {
        struct loop *loop = loop_new_virtual(1);
        struct duo duo;
        struct recorder *others = calloc(21, sizeof(*others));
        struct meddler meddler = {.recorders = others, .what = what};

        duo_make(&duo, loop, NULL);
        pipe_add_listener(duo.near, &meddling, &meddler);
        record(&others[what == ADD_MANY ? 20 : 0], duo.near);
        write_text(duo.far, "1");
        run_dry(loop);
        write_text(duo.far, "2");
        run_dry(loop);
        assert_string_equal(duo.heard.text, "12");
        switch (what) {
        case REMOVE_SELF:
            assert_int_equal(meddler.calls, 1);
            assert_string_equal(others[0].text, "12");
            break;
        case REMOVE_NEXT:
            assert_int_equal(others[0].bytes, 0);
            break;
        default:
            for (int i = 0; i < 20; i++)
                assert_true(strchr(others[i].text, '2'));
            assert_string_equal(others[20].text, "12");
        }
        duo_end(&duo);
        finish_world(loop);
        free(others);
    }
}

/* --- What callbacks may do to pipes --- */

struct attacker {
    struct pipe *victims[3];
    enum pipe_attack {
        ATTACK_CLOSE,
        ATTACK_ABORT,
        ATTACK_SHUTDOWN,
        ATTACK_UNLINK,
        ATTACK_PAUSE,
        ATTACK_LAST
    } attack;
    enum { ON_MESSAGE, ON_EOF, ON_ROOM, ON_END, ON_LAST } moment;
    bool done;
};

static void strike(struct attacker *attacker, int moment)
{
    if (attacker->done || (int)attacker->moment != moment)
        return;
    attacker->done = true;
    for (int i = 0; i < 3; i++) {
        struct pipe *victim = attacker->victims[i];

        if (!victim)
            continue;
        switch (attacker->attack) {
        case ATTACK_CLOSE:
            pipe_close(victim);
            break;
        case ATTACK_ABORT:
            pipe_abort(victim, -EPIPE);
            break;
        case ATTACK_SHUTDOWN:
            pipe_shutdown(victim);
            break;
        case ATTACK_UNLINK:
            for (int k = 0; k < 3; k++)
                if (attacker->victims[k])
                    pipe_unlink(victim, attacker->victims[k]);
            break;
        case ATTACK_PAUSE:
            pipe_pause(victim);
            break;
        case ATTACK_LAST:
            break;
        }
    }
}

static void attack_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                           void *arg)
{
    (void)pipe;
    (void)data;
    (void)from;
    strike(arg, ON_MESSAGE);
}

static void attack_eof(struct pipe *pipe, void *arg)
{
    (void)pipe;
    strike(arg, ON_EOF);
}

static void attack_room(struct pipe *pipe, void *arg)
{
    (void)pipe;
    strike(arg, ON_ROOM);
}

static void attack_end(struct pipe *pipe, int why, void *arg)
{
    struct attacker *attacker = arg;

    (void)why;
    for (int i = 0; i < 3; i++)
        if (attacker->victims[i] == pipe)
            attacker->victims[i] = NULL;
    strike(arg, ON_END);
}

static const struct pipe_events attacks = {
    .message = attack_message, .eof = attack_eof, .room = attack_room, .end = attack_end};

/* Three pipes linked in every way; a callback of one does something to some or all, at every
 * moment. The sanitizers watch; here, that everybody ends exactly once. */
static void callbacks_may_do_anything(void **state)
{
    (void)state;
    static uint8_t bytes[3000];

    for (int run = 0; run < ATTACK_LAST * ON_LAST * 8; run++) {
        struct loop *loop = loop_new_virtual((uint64_t)run);
        struct duo duos[3];
        struct attacker attacker = {.attack = run % ATTACK_LAST,
                                    .moment = run / ATTACK_LAST % ON_LAST};
        int mask = run / (ATTACK_LAST * ON_LAST);

        for (int i = 0; i < 3; i++)
            duo_make(&duos[i], loop, &(struct pair_options){.buffer = 2000, .delay_us = 10});
        for (int i = 0; i < 3; i++) {
            if (mask & 1 << i)
                attacker.victims[i] = duos[i].near;
            pipe_add_listener(duos[i].near, &attacks, &attacker);
        }
        pipe_add_pipe(duos[0].near, duos[2].near);
        pipe_link(duos[0].near, duos[1].near);
        pipe_add_pipe(duos[1].near, duos[2].near);
        pipe_link(duos[2].near, duos[0].near);
        for (int i = 0; i < 3; i++)
            pipe_send(duos[i].far, bytes, sizeof(bytes), false);
        for (int turn = 0; turn < 50; turn++)
            loop_turn(loop, 1000);
        if (duos[0].far_heard.pipe)
            pipe_shutdown(duos[0].far);
        for (int turn = 0; turn < 50; turn++)
            loop_turn(loop, 1000);
        if (duos[1].far_heard.pipe)
            pipe_abort(duos[1].far_heard.pipe, -EIO);
        for (int turn = 0; turn < 50; turn++)
            loop_turn(loop, 1000);
        for (int i = 0; i < 3; i++)
            duo_end(&duos[i]);
        run_dry(loop);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(duos[i].heard.ends, 1);
            assert_int_equal(duos[i].far_heard.ends, 1);
        }
        finish_world(loop);
    }
}

static void close_silences_at_once(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo duo;
    struct attacker attacker = {.attack = ATTACK_CLOSE, .moment = ON_MESSAGE};

    duo_make(&duo, loop, NULL);
    attacker.victims[0] = duo.near;
    pipe_add_listener(duo.near, &attacks, &attacker);
    write_text(duo.far, "heard");
    write_text(duo.far, "not heard");
    run_dry(loop);
    assert_string_equal(duo.heard.text, "heard");
    assert_int_equal(duo.heard.ends, 1);
    duo_end(&duo);
    finish_world(loop);
}

static void paused_means_nothing_not_even_eof(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo duo;

    duo_make(&duo, loop, NULL);
    pipe_pause(duo.near);
    write_text(duo.far, "wait");
    pipe_shutdown(duo.far);
    run_dry(loop);
    assert_int_equal(duo.heard.bytes + (size_t)duo.heard.eofs, 0);
    pipe_resume(duo.near);
    run_dry(loop);
    assert_string_equal(duo.heard.text, "wait");
    assert_int_equal(duo.heard.eofs, 1);
    duo_end(&duo);
    finish_world(loop);
}

/* --- Links --- */

static void a_link_carries_both_ways(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo a, b;

    duo_make(&a, loop, NULL);
    duo_make(&b, loop, NULL);
    assert_int_equal(pipe_link(a.near, b.near), 0);
    assert_int_equal(pipe_link(a.near, b.near), 0); /* twice is once */
    write_text(a.far, "there");
    write_text(b.far, "and back");
    run_dry(loop);
    assert_string_equal(b.far_heard.text, "there");
    assert_string_equal(a.far_heard.text, "and back");
    assert_string_equal(a.heard.text, "there"); /* listeners hear what passes */
    pipe_unlink(a.near, b.near);
    write_text(a.far, " more");
    run_dry(loop);
    assert_string_equal(b.far_heard.text, "there");
    assert_string_equal(a.heard.text, "there more");
    duo_end(&a);
    duo_end(&b);
    finish_world(loop);
}

static void one_directional_links_to_several_sinks(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo from, to[3];

    duo_make(&from, loop, NULL);
    for (int i = 0; i < 3; i++) {
        duo_make(&to[i], loop, NULL);
        assert_int_equal(pipe_add_pipe(from.near, to[i].near), 0);
    }
    write_text(from.far, "a");
    write_text(to[0].far, "not back");
    run_dry(loop);
    pipe_del_pipe(from.near, to[1].near);
    write_text(from.far, "b");
    run_dry(loop);
    assert_int_equal(pipe_add_pipe(from.near, to[1].near), 0);
    write_text(from.far, "c");
    run_dry(loop);
    assert_string_equal(to[0].far_heard.text, "abc");
    assert_string_equal(to[1].far_heard.text, "ac");
    assert_string_equal(to[2].far_heard.text, "abc");
    assert_int_equal(from.far_heard.bytes, 0);
    pipe_shutdown(from.far); /* neither half-close nor end is passed on */
    run_dry(loop);
    duo_end(&from);
    run_dry(loop);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(to[i].far_heard.eofs, 0);
        assert_int_equal(to[i].heard.ends, 0);
        duo_end(&to[i]);
    }
    finish_world(loop);
}

static void a_slow_sink_holds_its_source(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo a, b;
    static uint8_t bytes[1000000];
    size_t sent = 0;
    uint64_t sum = 0, start = loop_now(loop);

    loop_random(loop, bytes, sizeof(bytes));
    duo_make(&a, loop, &(struct pair_options){.buffer = 20000});
    duo_make(&b, loop, &(struct pair_options){.buffer = 10000, .rate = 100000});
    pipe_link(a.near, b.near);
    while (sent < sizeof(bytes)) {
        size_t room = pipe_room(a.far);

        if (room > sizeof(bytes) - sent)
            room = sizeof(bytes) - sent;
        if (room > 7000)
            room = 7000;
        if (room)
            pipe_send(a.far, bytes + sent, room, false);
        sent += room;
        loop_turn(loop, 10000);
        assert_true(pipe_queued(b.near) <= 10000 + BLOCK_BYTES);
        assert_true(pipe_queued(a.far) <= 20000);
    }
    pipe_shutdown(a.far);
    run_dry(loop);
    sum = byte_sum(sum, bytes, sizeof(bytes));
    assert_int_equal(b.far_heard.bytes, sizeof(bytes));
    assert_true(b.far_heard.sum == sum);
    assert_int_equal(b.far_heard.eofs, 1);
    assert_in_range(loop_now(loop) - start, 10 * SEC_US, 11 * SEC_US);
    duo_end(&a);
    duo_end(&b);
    finish_world(loop);
}

static void a_stalled_sink_that_leaves_lets_the_source_go_on(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        struct loop *loop = loop_new_virtual(1);
        struct duo from, quick, stalled;
        static uint8_t bytes[5000];

        duo_make(&from, loop, NULL);
        duo_make(&quick, loop, NULL);
        duo_make(&stalled, loop, &(struct pair_options){.buffer = 1000});
        pipe_add_pipe(from.near, quick.near);
        pipe_add_pipe(from.near, stalled.near);
        pipe_pause(stalled.far);
        pipe_send(from.far, bytes, sizeof(bytes), false);
        pipe_send(from.far, bytes, sizeof(bytes), false);
        run_dry(loop);
        assert_int_equal(quick.far_heard.bytes, 5000); /* the slowest decides */
        if (how == 0)
            pipe_del_pipe(from.near, stalled.near);
        else
            pipe_abort(stalled.near, -ECANCELED);
        run_dry(loop);
        assert_int_equal(quick.far_heard.bytes, 10000);
        duo_end(&from);
        duo_end(&quick);
        duo_end(&stalled);
        finish_world(loop);
    }
}

static void half_close_passes_through_both_ways(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo a, b;

    duo_make(&a, loop, NULL);
    duo_make(&b, loop, NULL);
    pipe_link(a.near, b.near);
    write_text(a.far, "request");
    pipe_shutdown(a.far);
    run_dry(loop);
    assert_string_equal(b.far_heard.text, "request");
    assert_int_equal(b.far_heard.eofs, 1);
    assert_int_equal(a.far_heard.eofs, 0);
    write_text(b.far, "answer"); /* the other direction goes on */
    run_dry(loop);
    assert_string_equal(a.far_heard.text, "answer");
    pipe_shutdown(b.far);
    run_dry(loop);
    struct recorder *all[] = {&a.heard, &a.far_heard, &b.heard, &b.far_heard};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(all[i]->ends, 1);
        assert_int_equal(all[i]->why, 0);
        assert_int_equal(all[i]->eofs, 1);
    }
    finish_world(loop);
}

static void eof_before_the_link_passes_too(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo a, b;

    duo_make(&a, loop, NULL);
    duo_make(&b, loop, NULL);
    pipe_shutdown(a.far);
    run_dry(loop);
    pipe_link(a.near, b.near);
    run_dry(loop);
    assert_int_equal(b.far_heard.eofs, 1);
    duo_end(&a);
    duo_end(&b);
    finish_world(loop);
}

static void abort_and_close_pass_through(void **state)
{
    (void)state;
    for (int hard = 0; hard < 2; hard++) {
        struct loop *loop = loop_new_virtual(1);
        struct duo a, b;

        duo_make(&a, loop, &(struct pair_options){.delay_us = 10});
        duo_make(&b, loop, &(struct pair_options){.delay_us = 10});
        pipe_link(a.near, b.near);
        write_text(a.far, "x");
        if (hard)
            pipe_abort(a.far, -ECANCELED);
        else
            pipe_close(a.far);
        run_dry(loop);
        assert_int_equal(a.heard.why, hard ? -ECONNRESET : 0);
        assert_int_equal(b.heard.why, hard ? -ECONNRESET : 0);
        assert_int_equal(b.far_heard.why, hard ? -ECONNRESET : 0);
        assert_int_equal(b.far_heard.ends, 1);
        assert_int_equal(b.far_heard.bytes, hard ? 0 : 1);
        assert_int_equal(b.far_heard.eofs, !hard);
        finish_world(loop);
    }
}

static void an_over_pipe_takes_no_links_and_no_bytes(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct duo a, b;

    duo_make(&a, loop, NULL);
    duo_make(&b, loop, NULL);
    pipe_close(b.near); /* over, not yet told */
    assert_int_equal(pipe_link(a.near, b.near), ADIT_ECLOSED);
    assert_int_equal(pipe_link(b.near, a.near), ADIT_ECLOSED);
    assert_int_equal(pipe_write_copy(b.near, "x", 1), ADIT_ECLOSED);
    assert_int_equal(pipe_room(b.near), 0);
    assert_int_equal(pipe_queued(b.near), 0);
    assert_false(pipe_is_up(b.near));
    pipe_close(b.near);
    pipe_abort(b.near, -EIO);
    write_text(a.far, "still ours");
    run_dry(loop);
    assert_string_equal(a.heard.text, "still ours");
    assert_int_equal(b.heard.why, 0);
    duo_end(&a);
    duo_end(&b);
    finish_world(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_listeners_hear_the_same),
        cmocka_unit_test(listeners_are_bounded),
        cmocka_unit_test(listeners_come_and_go_inside_callbacks),
        cmocka_unit_test(callbacks_may_do_anything),
        cmocka_unit_test(close_silences_at_once),
        cmocka_unit_test(paused_means_nothing_not_even_eof),
        cmocka_unit_test(a_link_carries_both_ways),
        cmocka_unit_test(one_directional_links_to_several_sinks),
        cmocka_unit_test(a_slow_sink_holds_its_source),
        cmocka_unit_test(a_stalled_sink_that_leaves_lets_the_source_go_on),
        cmocka_unit_test(half_close_passes_through_both_ways),
        cmocka_unit_test(eof_before_the_link_passes_too),
        cmocka_unit_test(abort_and_close_pass_through),
        cmocka_unit_test(an_over_pipe_takes_no_links_and_no_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
