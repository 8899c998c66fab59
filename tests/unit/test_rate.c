/* SPDX-License-Identifier: MIT */
/* Theory of operation: limited pipes between in-memory pairs, in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "egress/rate.h"
#include "pipe/pair.h"

/* source -> [far, near] -> [out, sink]: near is limited; what it receives goes on to out, and back.
 */
struct chain {
    struct pipe *far, *near, *out, *sink;
    struct rate_limit *limit;
    uint64_t got_far, got_sink, sent_far, sent_sink;
    bool feed_far, feed_sink;
};

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct chain *chain = arg;
    (void)from;
    if (pipe == chain->far)
        chain->got_far += data->len;
    else
        chain->got_sink += data->len;
}

static void feed(struct chain *chain, struct pipe *pipe, uint64_t *sent)
{
    static const uint8_t bytes[16384];
    while (pipe_room(pipe) >= sizeof bytes) {
        pipe_write_copy(pipe, bytes, sizeof bytes);
        *sent += sizeof bytes;
    }
    (void)chain;
}

static const struct pipe_events chain_events = {.message = on_message};

static void chain_open(struct chain *chain, struct loop *loop, struct rate *rate)
{
    struct pair_options options = {.buffer = 65536};
    struct pipe *a[2], *b[2];
    memset(chain, 0, sizeof *chain);
    assert_int_equal(pair_new(loop, &options, a), 0);
    assert_int_equal(pair_new(loop, &options, b), 0);
    chain->far = a[0];
    chain->near = a[1];
    chain->out = b[0];
    chain->sink = b[1];
    pipe_add_listener(chain->far, &chain_events, chain);
    pipe_add_listener(chain->sink, &chain_events, chain);
    assert_int_equal(pipe_link(chain->near, chain->out), 0);
    chain->limit = rate_attach(rate, chain->near);
    assert_non_null(chain->limit);
}

static void chain_close(struct chain *chain)
{
    rate_detach(chain->limit);
    pipe_abort(chain->far, -ECANCELED);
    pipe_abort(chain->sink, -ECANCELED);
}

static void run_ms(struct loop *loop, struct chain *chains, size_t count, uint64_t ms)
{
    uint64_t until = loop_now(loop) + ms * MS_US;
    while (loop_now(loop) < until) {
        for (size_t i = 0; i < count; i++) {
            if (chains[i].feed_far)
                feed(&chains[i], chains[i].far, &chains[i].sent_far);
            if (chains[i].feed_sink)
                feed(&chains[i], chains[i].sink, &chains[i].sent_sink);
        }
        if (!loop_turn(loop, until - loop_now(loop)))
            break;
    }
}

static void assert_about(uint64_t value, uint64_t wanted, uint64_t slack)
{
    if (value + slack < wanted || value > wanted + slack)
        fail_msg("%llu is not about %llu", (unsigned long long)value, (unsigned long long)wanted);
}

static void finish(struct loop *loop, struct rate *rate, struct chain *chains, size_t count)
{
    for (size_t i = 0; i < count; i++)
        chain_close(&chains[i]);
    for (int i = 0; i < 20; i++)
        loop_turn(loop, SEC_US);
    rate_clear(rate);
    loop_free(loop);
}

static void one_way(void **state)
{
    (void)state;
    for (int back = 0; back < 2; back++) {
        struct loop *loop = loop_new_virtual(1);
        struct rate rate;
        struct chain chain;
        rate_init(&rate, loop, 1000000);
        assert_true(rate_is_full(&rate));
        chain_open(&chain, loop, &rate);
        chain.feed_far = !back;
        chain.feed_sink = back;
        run_ms(loop, &chain, 1, 3000);
        assert_about(back ? chain.got_far : chain.got_sink, 3000000, 150000);
        assert_false(rate_is_full(&rate));
        finish(loop, &rate, &chain, 1);
    }
}

static void both_ways_and_shares(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct rate rate;
    struct chain chains[4];
    rate_init(&rate, loop, 4000000);
    for (int i = 0; i < 4; i++) {
        chain_open(&chains[i], loop, &rate);
        chains[i].feed_far = chains[i].feed_sink = true;
    }
    run_ms(loop, chains, 4, 4000);
    uint64_t in = 0, out = 0;
    for (int i = 0; i < 4; i++) {
        in += chains[i].got_sink;
        out += chains[i].got_far;
        assert_about(chains[i].got_sink, 4000000, 800000);
        assert_about(chains[i].got_far, 4000000, 800000);
    }
    assert_about(in, 16000000, 600000);
    assert_about(out, 16000000, 600000);
    finish(loop, &rate, chains, 4);
}

static void slow_rates_lose_nothing(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct rate rate;
    struct chain chain;
    rate_init(&rate, loop, 3000); /* three bytes a millisecond */
    chain_open(&chain, loop, &rate);
    chain.feed_far = true;
    run_ms(loop, &chain, 1, 60000);
    assert_about(chain.got_sink, 180000 + 32768, 65536);
    /* No limit any more: those who wait go on. */
    rate_set(&rate, 0);
    uint64_t before = chain.got_sink;
    run_ms(loop, &chain, 1, 10);
    assert_true(chain.got_sink > before + 1000000);
    chain.feed_far = false;
    run_ms(loop, &chain, 1, 1000);
    assert_int_equal(chain.got_sink, chain.sent_far);
    finish(loop, &rate, &chain, 1);
}

static void detached_while_waiting(void **state)
{
    (void)state;
    struct loop *loop = loop_new_virtual(1);
    struct rate rate;
    struct chain chain;
    rate_init(&rate, loop, 1000);
    chain_open(&chain, loop, &rate);
    chain.feed_far = chain.feed_sink = true;
    run_ms(loop, &chain, 1, 1000);
    chain.feed_far = chain.feed_sink = false;
    assert_true(chain.got_sink < chain.sent_far);
    rate_detach(chain.limit);
    run_ms(loop, &chain, 1, 10);
    assert_int_equal(chain.got_sink, chain.sent_far);
    assert_int_equal(chain.got_far, chain.sent_sink);
    chain.limit = rate_attach(&rate, chain.near);
    finish(loop, &rate, &chain, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_way),
        cmocka_unit_test(both_ways_and_shares),
        cmocka_unit_test(slow_rates_lose_nothing),
        cmocka_unit_test(detached_while_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
