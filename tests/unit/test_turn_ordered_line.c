/* SPDX-License-Identifier: MIT */
/* Theory of operation: how much of a line ordered pipes use, and how long a message takes, when
 * packets are lost and overtake each other, in virtual time. ADIT_ORDERED_TABLE=1 (a seed) prints
 * the tables of docs/turn.md. */
#include "ordered_world.h"

#define RATE       25000000 /* bytes a second */
#define WARM_US    (3 * SEC_US)
#define MEASURE_US (5 * SEC_US)

struct line {
    unsigned loss, rtt_ms;
    bool reorder; /* a tenth of the packets is 10 ms late */
    unsigned least;
};

static struct net net_of(const struct line *line, uint64_t seed)
{
    return (struct net){.loop = loop_new_virtual(seed),
                        .loss = line->loss,
                        .reorder = line->reorder ? 10 : 0,
                        .late_us = 10 * MS_US,
                        .delay_us = line->rtt_ms * MS_US / 2};
}

static void write_until(struct net *net, struct side *a, struct side *b, uint64_t until)
{
    while (loop_now(net->loop) < until) {
        while (pipe_room(a->pipe) > 0)
            side_write(a, b);
        assert_true(loop_turn(net->loop, until - loop_now(net->loop)));
        assert_false(b->wrong);
    }
}

/* Payload that arrives, as percents of what the line can carry: it loses a part of it for good, and
 * 18 of 1200 bytes are the pipe's own. */
static unsigned goodput(const struct line *line, uint64_t seed)
{
    struct net net = net_of(line, seed);
    struct turn_ordered_status status;
    struct side a, b;
    double possible = (double)RATE * (100 - line->loss) / 100 * 1182 / 1200, share;
    size_t before;

    net.rate = RATE;
    net.buffer = RATE / 100;
    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    write_until(&net, &a, &b, loop_now(net.loop) + WARM_US);
    before = b.bytes;
    write_until(&net, &a, &b, loop_now(net.loop) + MEASURE_US);
    share = (double)(b.bytes - before) * 100 / ((double)MEASURE_US / SEC_US) / possible;
    turn_ordered_status(a.pipe, &b.addr, &status);
    if (getenv("ADIT_ORDERED_MORE"))
        print_message("[%u%% %ums %s: sent again %.1f%%, duplicates %lu, rtt %.1f ms, rate %.1f]\n",
                      line->loss, line->rtt_ms, line->reorder ? "reordered" : "",
                      (double)status.resent * 100 / (double)status.sent,
                      (unsigned long)status.duplicates, (double)status.rtt_us / 1000,
                      (double)status.rate / 1e6);
    pipe_abort(a.pipe, -ECANCELED);
    finish(&net, &a, &b);
    return (unsigned)(share + 0.5);
}

static void throughput(void **state)
{
    (void)state;
    static const struct line lines[] = {{0, 50, false, 97},  {1, 50, false, 97}, {2, 50, false, 97},
                                        {10, 50, false, 95}, {5, 10, true, 95},  {10, 50, true, 95},
                                        {20, 50, false, 75}};

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        unsigned share = goodput(&lines[i], i + 1);

        print_message("loss %u%%, %u ms%s: %u%% of what is possible\n", lines[i].loss,
                      lines[i].rtt_ms, lines[i].reorder ? ", reordered" : "", share);
        assert_true(share >= lines[i].least);
    }
}

/* --- Single messages --- */

#define MESSAGES_MAX 20000

struct delays {
    uint64_t written[MESSAGES_MAX], took[MESSAGES_MAX];
    unsigned count;
};

static void on_single(struct pipe *pipe, const struct slice *data, const struct addr *from,
                      void *arg)
{
    struct delays *delays = arg;
    unsigned n;

    (void)from;
    memcpy(&n, data->data, sizeof(n));
    assert_int_equal(n, delays->count);
    delays->took[n] = loop_now(pipe->loop) - delays->written[n];
    delays->count++;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Messages of 100 bytes, one each 20 ms: how long they take, in milliseconds. */
static void latency(const struct line *line, uint64_t seed, unsigned count, double *half,
                    double *most)
{
    static struct delays delays;
    static const struct pipe_events events = {.message = on_single};
    struct net net = net_of(line, seed);
    struct side a, b;
    uint8_t bytes[100] = {0};

    delays = (struct delays){0};
    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    b.pipe->listener.events = NULL;
    pipe_add_listener(b.pipe, &events, &delays);
    for (unsigned n = 0; n < count; n++) {
        struct slice slice;

        memcpy(bytes, &n, sizeof(n));
        slice = slice_copy(bytes, sizeof(bytes));
        delays.written[n] = loop_now(net.loop);
        pipe_write_to(a.pipe, &slice, &b.addr);
        run_for(net.loop, 20 * MS_US);
    }
    run_for(net.loop, 20 * SEC_US);
    assert_int_equal(delays.count, count);
    qsort(delays.took, count, sizeof(delays.took[0]), compare);
    *half = (double)delays.took[count / 2] / 1000;
    *most = (double)delays.took[count * 99 / 100] / 1000;
    pipe_abort(a.pipe, -ECANCELED);
    pipe_abort(b.pipe, -ECANCELED);
    run_dry(net.loop);
    loop_free(net.loop);
}

static void single_messages(void **state)
{
    (void)state;
    const struct line line = {.loss = 10, .rtt_ms = 50};
    double half, most;

    latency(&line, 1, 5000, &half, &most);
    print_message("a message takes %.1f ms, the hundredth %.1f ms\n", half, most);
    assert_true(half < 30);
    assert_true(most < 110);
}

/* --- Tables --- */

static void table(void **state)
{
    (void)state;
    static const unsigned losses[] = {0, 1, 2, 5, 10, 20, 30}, rtts[] = {10, 50, 200};
    const char *text = getenv("ADIT_ORDERED_TABLE");
    uint64_t seed = text ? strtoull(text, NULL, 10) : 0;
    double half, most;

    if (!text)
        return;
    print_message("| loss | 10 ms | 50 ms | 200 ms | reordered 10 ms | 50 ms | 200 ms |\n");
    for (size_t i = 0; i < 7; i++) {
        print_message("| %u %% ", losses[i]);
        for (size_t j = 0; j < 6; j++) {
            struct line line = {losses[i], rtts[j % 3], j >= 3, 0};

            print_message("| %u ", goodput(&line, seed));
        }
        print_message("|\n");
    }
    print_message("| loss | 10 ms p50, p99 | 50 ms | 200 ms |\n");
    for (size_t i = 0; i < 7; i++) {
        print_message("| %u %% ", losses[i]);
        for (size_t j = 0; j < 6; j++) {
            struct line line = {losses[i], rtts[j % 3], j >= 3, 0};

            latency(&line, seed, MESSAGES_MAX, &half, &most);
            print_message("| %.0f, %.0f ", half, most);
        }
        print_message("|\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(throughput),
        cmocka_unit_test(single_messages),
        cmocka_unit_test(table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
