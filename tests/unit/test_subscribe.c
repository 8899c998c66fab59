/* SPDX-License-Identifier: MIT */
/* Theory of operation: subscriptions on pairs in virtual time, and once on UDP: sources, queues,
 * full queues, waiting, ends. */
#include "pair_world.h"
#include "pipe/subscribe.h"
#include "pipe/udp.h"

struct outcome {
    int calls, why;
    char text[64];
    bool eof, again, unsubscribes;
    struct addr from;
    uint64_t at;
    struct loop *loop;
    struct slice kept;
};

static void on_received(struct subscription *sub, int why, struct slice *data,
                        const struct addr *from, void *arg)
{
    struct outcome *outcome = arg;

    outcome->calls++;
    outcome->why = why;
    outcome->at = loop_now(outcome->loop);
    outcome->eof = why == 0 && !data;
    if (from)
        outcome->from = *from;
    if (data) {
        strncat(outcome->text, (const char *)data->data, data->len);
        if (outcome->kept.block == NULL && outcome->text[0] == 'K') {
            outcome->kept = *data;
            *data = (struct slice){NULL, NULL, 0};
        }
    }
    if (outcome->unsubscribes)
        pipe_unsubscribe(sub);
    else if (outcome->again && data)
        assert_int_equal(pipe_recv(sub, 0, on_received, arg), 0);
}

static const struct pair_options messages = {.messages = true};

/* A pair, and a subscription to what end 1 receives; `got` is for its receiver. */
static struct subscription *begin(struct world *world, const struct pair_options *options,
                                  struct outcome *got)
{
    world_new(world, options);
    got->loop = world->loop;
    return pipe_subscribe(world->ends[1], SUB_ALL, 0);
}

static void end(struct world *world, struct subscription *sub)
{
    pipe_unsubscribe(sub);
    world_free(world);
}

/* Writes, and lets it arrive. */
static void say(struct world *world, struct pipe *from, const char *text)
{
    write_text(from, text);
    run_dry(world->loop);
}

static void recv_waits_for_a_message(void **state)
{
    (void)state;
    struct world w;
    struct outcome got = {0};

    struct subscription *sub = begin(&w, &messages, &got);
    assert_int_equal(pipe_recv(sub, SEC_US, on_received, &got), 0);
    assert_int_equal(pipe_recv(sub, SEC_US, on_received, &got), -EALREADY);
    write_text(w.ends[0], "Kept");
    assert_int_equal(got.calls, 0); /* from the loop, never from inside */
    run_dry(w.loop);
    assert_int_equal(got.calls, 1); /* and no timeout afterwards */
    assert_int_equal(got.why, 0);
    assert_string_equal(got.text, "Kept");
    struct addr remote;
    pipe_addrs(w.ends[1], NULL, &remote);
    assert_true(addr_equal(&got.from, &remote));
    assert_string_equal(w.heard[1].text, "Kept"); /* listeners hear it as well */
    pipe_unsubscribe(sub);
    assert_memory_equal(got.kept.data, "Kept", 4); /* the receiver took it */
    slice_drop(&got.kept);
    world_free(&w);
}

static void recv_times_out_and_may_be_tried_again(void **state)
{
    (void)state;
    struct world w;
    struct outcome got = {0};

    struct subscription *sub = begin(&w, &messages, &got);
    uint64_t start = loop_now(w.loop);
    pipe_recv(sub, 2 * SEC_US, on_received, &got);
    run_dry(w.loop);
    assert_int_equal(got.why, -ETIMEDOUT);
    assert_int_equal(got.at, start + 2 * SEC_US);
    say(&w, w.ends[0], "queued");
    assert_int_equal(got.calls, 1);
    pipe_recv(sub, SEC_US, on_received, &got);
    assert_int_equal(got.calls, 1);
    run_dry(w.loop);
    assert_int_equal(got.calls, 2);
    assert_string_equal(got.text, "queued");
    end(&w, sub);
}

static void recv_inside_the_callback_drains_the_queue(void **state)
{
    (void)state;
    struct world w;
    struct outcome got = {.again = true};

    struct subscription *sub = begin(&w, &messages, &got);
    for (int i = 0; i < 5; i++)
        write_text(w.ends[0], (const char *[]){"a", "b", "c", "d", "e"}[i]);
    run_dry(w.loop);
    assert_int_equal(subscription_queued(sub), 5);
    pipe_recv(sub, 0, on_received, &got);
    run_dry(w.loop);
    assert_string_equal(got.text, "abcde");
    struct slice data;
    assert_int_equal(pipe_take(sub, &data, NULL), -EAGAIN);
    say(&w, w.ends[0], "f"); /* a receive is still waiting */
    assert_string_equal(got.text, "abcdef");
    pipe_unsubscribe(sub); /* with one waiting: forgotten */
    say(&w, w.ends[0], "g");
    assert_int_equal(got.calls, 6);
    world_free(&w);
}

static void a_callback_may_unsubscribe(void **state)
{
    (void)state;
    for (int timeout = 0; timeout < 2; timeout++) {
        struct world w;
        struct outcome got = {.unsubscribes = true};

        struct subscription *sub = begin(&w, &messages, &got);
        pipe_recv(sub, SEC_US, on_received, &got);
        if (!timeout) {
            write_text(w.ends[0], "x");
            write_text(w.ends[0], "y");
        }
        run_dry(w.loop);
        assert_int_equal(got.calls, 1);
        world_free(&w);
    }
}

static void each_source_has_its_queue(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, clients[2] = {0};
    struct subscription *subs[3];
    struct addr at = addr_loopback(AF_INET, 0), locals[2], from;
    struct slice data;

    record(&server, udp_listen(loop, &at, NULL));
    pipe_addrs(server.pipe, &at, NULL);
    for (int i = 0; i < 2; i++) {
        record(&clients[i], udp_open(loop, &at, NULL));
        pipe_addrs(clients[i].pipe, &locals[i], NULL);
        subs[i] = pipe_subscribe(server.pipe, &locals[i], 0);
    }
    subs[2] = pipe_subscribe(server.pipe, SUB_ALL, 0);
    write_text(clients[0].pipe, "from the first");
    write_text(clients[1].pipe, "from the second");
    RUN_UNTIL(loop, server.messages == 2);
    assert_int_equal(subscription_queued(subs[2]), 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(subscription_queued(subs[i]), 1);
        assert_int_equal(pipe_take(subs[i], &data, &from), 0);
        assert_true(addr_equal(&from, &locals[i]));
        assert_memory_equal(data.data, i ? "from the second" : "from the first", data.len);
        slice_drop(&data);
    }
    for (int i = 0; i < 3; i++)
        pipe_unsubscribe(subs[i]);
    pipe_close(server.pipe);
    for (int i = 0; i < 2; i++)
        pipe_close(clients[i].pipe);
    RUN_UNTIL(loop, server.ends && clients[0].ends && clients[1].ends);
    loop_free(loop);
    assert_int_equal(block_total_bytes(), 0);
}

static void a_full_message_queue_drops_the_oldest(void **state)
{
    (void)state;
    struct world w;
    struct slice data;

    world_new(&w, &messages);
    struct subscription *small = pipe_subscribe(w.ends[1], SUB_ALL, 3),
                        *large = pipe_subscribe(w.ends[1], SUB_ALL, 0);
    for (int i = 0; i < SUBSCRIPTION_QUEUE_MAX + 5; i++) {
        pipe_write_copy(w.ends[0], &i, sizeof(i));
        run_dry(w.loop);
    }
    assert_int_equal(subscription_queued(small), 3);
    assert_int_equal(subscription_dropped(small), SUBSCRIPTION_QUEUE_MAX + 2);
    assert_int_equal(subscription_queued(large), SUBSCRIPTION_QUEUE_MAX);
    assert_int_equal(subscription_dropped(large), 5);
    for (int want = SUBSCRIPTION_QUEUE_MAX + 2, got; want < SUBSCRIPTION_QUEUE_MAX + 5; want++) {
        assert_int_equal(pipe_take(small, &data, NULL), 0);
        memcpy(&got, data.data, sizeof(got));
        assert_int_equal(got, want);
        slice_drop(&data);
    }
    pipe_unsubscribe(small);
    pipe_unsubscribe(large);
    world_free(&w);
}

static void a_full_stream_queue_holds_the_stream(void **state)
{
    (void)state;
    struct world w;
    struct slice data;
    size_t total = 0, most = 0;

    world_new(&w, NULL);
    struct subscription *slow = pipe_subscribe(w.ends[1], SUB_ALL, 3),
                        *quick = pipe_subscribe(w.ends[1], SUB_ALL, 100);
    for (int i = 0; i < 20; i++)
        say(&w, w.ends[0], "slice");
    assert_int_equal(subscription_queued(slow), 3);
    assert_int_equal(subscription_queued(quick), 3);
    pipe_shutdown(w.ends[0]);
    run_dry(w.loop);
    for (;;) {
        int r = pipe_take(slow, &data, NULL);

        if (r == 0) {
            total += data.len;
            slice_drop(&data);
        }
        if (subscription_queued(slow) > most)
            most = subscription_queued(slow);
        if (r == ADIT_ECLOSED)
            break;
        run_dry(w.loop);
    }
    assert_int_equal(total, 100);
    assert_true(most <= 3);
    assert_int_equal(subscription_dropped(slow), 0);
    assert_int_equal(subscription_queued(quick), 20);
    pipe_unsubscribe(slow);
    struct subscription *blocking = pipe_subscribe(w.ends[0], SUB_ALL, 1);
    say(&w, w.ends[1], "1");
    say(&w, w.ends[1], "2");
    assert_int_equal(w.heard[0].bytes, 1);
    pipe_unsubscribe(blocking); /* who leaves lets go */
    run_dry(w.loop);
    assert_int_equal(w.heard[0].bytes, 2);
    pipe_unsubscribe(quick);
    world_free(&w);
}

static void eof_and_end_come_after_what_is_queued(void **state)
{
    (void)state;
    for (int hard = 0; hard < 2; hard++) {
        struct world w;
        struct outcome got = {.again = true};

        struct subscription *sub = begin(&w, NULL, &got);
        say(&w, w.ends[0], "last");
        if (hard)
            pipe_abort(w.ends[0], -EIO);
        else
            pipe_close(w.ends[0]);
        run_dry(w.loop);
        assert_int_equal(w.heard[1].ends, 1); /* the subscription outlives the pipe */
        pipe_recv(sub, 0, on_received, &got);
        run_dry(w.loop);
        assert_string_equal(got.text, "last");
        assert_int_equal(got.calls, 2);
        assert_int_equal(got.eof, !hard);
        assert_int_equal(got.why, hard ? -ECONNRESET : 0);
        pipe_recv(sub, 0, on_received, &got); /* and says so again */
        run_dry(w.loop);
        assert_int_equal(got.calls, 3);
        end(&w, sub);
    }
}

static void the_end_wakes_a_waiting_receiver(void **state)
{
    (void)state;
    struct world w;
    struct outcome got = {0};

    struct subscription *sub = begin(&w, &messages, &got);
    pipe_recv(sub, 0, on_received, &got);
    pipe_abort(w.ends[1], -ECANCELED);
    assert_null(pipe_subscribe(w.ends[1], SUB_ALL, 0));
    assert_int_equal(errno, EPIPE);
    run_dry(w.loop);
    assert_int_equal(got.why, -ECANCELED);
    end(&w, sub);
}

static void subscriptions_are_bounded(void **state)
{
    (void)state;
    struct world w;
    struct subscription *subs[SUBSCRIPTIONS_MAX];

    world_new(&w, &messages);
    for (int i = 0; i < SUBSCRIPTIONS_MAX; i++)
        assert_non_null(subs[i] = pipe_subscribe(w.ends[0], SUB_ALL, 0));
    assert_null(pipe_subscribe(w.ends[0], SUB_ALL, 0));
    assert_int_equal(errno, ENOSPC);
    for (int i = 0; i < SUBSCRIPTIONS_MAX; i++)
        pipe_unsubscribe(subs[i]);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recv_waits_for_a_message),
        cmocka_unit_test(recv_times_out_and_may_be_tried_again),
        cmocka_unit_test(recv_inside_the_callback_drains_the_queue),
        cmocka_unit_test(a_callback_may_unsubscribe),
        cmocka_unit_test(each_source_has_its_queue),
        cmocka_unit_test(a_full_message_queue_drops_the_oldest),
        cmocka_unit_test(a_full_stream_queue_holds_the_stream),
        cmocka_unit_test(eof_and_end_come_after_what_is_queued),
        cmocka_unit_test(the_end_wakes_a_waiting_receiver),
        cmocka_unit_test(subscriptions_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
