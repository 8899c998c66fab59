/* SPDX-License-Identifier: MIT */
/* Theory of operation: ordered pipes over a network in virtual time that loses, repeats, delays and
 * reorders by chance, with a seed that a failure names: everything arrives once and in order. */
#include "pipe_recorder.h"

#include "stun/ordered_packet.h"
#include "stun/turn_ordered.h"

/* --- The network: message pipes with addresses, joined by a bad line --- */

#define ENDS_MAX 4

struct net;

struct end {
    struct pipe base;
    struct net *net;
    struct addr addr;
};

struct net {
    struct loop *loop;
    struct end *ends[ENDS_MAX];
    unsigned loss, duplicate, reorder; /* percent */
    uint64_t delay_us, late_us, rate;  /* late: what is reordered; rate: bytes a second, 0: none */
    size_t buffer;                     /* bytes before the rate */
    uint64_t busy_until;
    bool cut;
    uint64_t sent, lost, bytes;
};

struct packet {
    struct timer timer;
    struct net *net;
    struct addr from, to;
    struct slice data;
};

static bool chance(struct net *net, unsigned percent)
{
    return loop_random64(net->loop) % 100 < percent;
}

static void arrive(void *arg)
{
    struct packet *packet = arg;
    struct net *net = packet->net;

    for (int i = 0; i < ENDS_MAX; i++) {
        struct end *end = net->ends[i];

        if (end && addr_equal(&end->addr, &packet->to) && pipe_read_budget(&end->base) > 0) {
            pipe_deliver(&end->base, &packet->data, &packet->from);
            break;
        }
    }
    slice_drop(&packet->data);
    free(packet);
}

static void carry(struct net *net, const struct slice *data, const struct addr *from,
                  const struct addr *to)
{
    struct packet *packet;
    uint64_t at = loop_now(net->loop);

    net->sent++;
    if (net->cut || chance(net, net->loss)) {
        net->lost++;
        return;
    }
    if (net->rate) {
        if (net->busy_until < at)
            net->busy_until = at;
        if ((net->busy_until - at) * net->rate / SEC_US > net->buffer) {
            net->lost++;
            return;
        }
        net->busy_until += data->len * SEC_US / net->rate;
        at = net->busy_until;
    }
    at += net->delay_us + (chance(net, net->reorder) ? net->late_us : 0);
    packet = calloc(1, sizeof(*packet));
    packet->net = net;
    packet->from = *from;
    packet->to = *to;
    packet->data = slice_ref(data);
    net->bytes += data->len;
    timer_init(&packet->timer, arrive, packet);
    timer_set(net->loop, &packet->timer, at);
}

static void end_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct end *end = (struct end *)pipe;

    carry(end->net, data, &end->addr, to);
    if (chance(end->net, end->net->duplicate))
        carry(end->net, data, &end->addr, to);
    slice_drop(data);
}

static size_t end_room(const struct pipe *pipe)
{
    (void)pipe;
    return 1000000;
}

static size_t end_queued(const struct pipe *pipe)
{
    (void)pipe;
    return 0;
}

static void end_nothing(struct pipe *pipe)
{
    (void)pipe;
}

static void end_close(struct pipe *pipe, int why)
{
    struct end *end = (struct end *)pipe;

    for (int i = 0; i < ENDS_MAX; i++)
        if (end->net->ends[i] == end)
            end->net->ends[i] = NULL;
    pipe_is_over(pipe, why);
}

static void end_destroy(struct pipe *pipe)
{
    free(pipe);
}

static const struct pipe_ops end_ops = {
    .kind = "end",
    .messages = true,
    .write = end_write,
    .room = end_room,
    .queued = end_queued,
    .resume = end_nothing,
    .shutdown = end_nothing,
    .close = end_close,
    .destroy = end_destroy,
};

static struct pipe *end_new(struct net *net, uint16_t port)
{
    struct end *end = calloc(1, sizeof(*end));

    pipe_init(&end->base, &end_ops, net->loop);
    end->net = net;
    end->addr = addr_loopback(AF_INET, port);
    for (int i = 0; i < ENDS_MAX; i++) {
        if (net->ends[i])
            continue;
        net->ends[i] = end;
        break;
    }
    pipe_up_soon(&end->base);
    return &end->base;
}

/* --- Two sides and what they tell --- */

struct side {
    struct pipe *pipe;
    struct addr addr;
    uint64_t written, expected; /* messages by number */
    size_t bytes;
    int joined, again, confirmed, lost, moved, ends, why;
    size_t lost_bytes;
    uint64_t done_at;
    int room_writes;
    bool wrong;
};

/* Message n: its length and bytes follow from the number. */
static size_t message_len(uint64_t n)
{
    static const size_t lens[] = {8, 9, 1182, 1183, 100, 65536, 16384, 3000, 8, 200};

    return n % 97 == 96 ? 300000 : lens[n % 10];
}

static void message_fill(uint8_t *bytes, size_t len, uint64_t n)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(n * 31 + i * 7 + (i >> 8));
    memcpy(bytes, &n, sizeof(n));
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    static uint8_t bytes[400000];
    struct side *side = arg;
    size_t len = message_len(side->expected);

    (void)from;
    message_fill(bytes, len, side->expected);
    if (data->len != len || memcmp(data->data, bytes, len) != 0)
        side->wrong = true;
    side->expected++;
    side->bytes += data->len;
    side->done_at = loop_now(pipe->loop);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct side *side = arg;

    (void)pipe;
    side->pipe = NULL;
    side->ends++;
    side->why = why;
}

static void on_joined(struct pipe *pipe, const struct addr *peer, bool again, void *arg)
{
    struct side *side = arg;

    (void)pipe;
    (void)peer;
    side->joined++;
    side->again += again;
}

static void on_confirmed(struct pipe *pipe, const struct addr *peer, void *arg)
{
    (void)pipe;
    (void)peer;
    ((struct side *)arg)->confirmed++;
}

static void on_lost(struct pipe *pipe, const struct addr *peer, size_t bytes, void *arg)
{
    struct side *side = arg;

    (void)pipe;
    (void)peer;
    side->lost++;
    side->lost_bytes += bytes;
}

static void on_moved(struct pipe *pipe, const struct addr *peer, const struct addr *now, void *arg)
{
    (void)pipe;
    (void)peer;
    (void)now;
    ((struct side *)arg)->moved++;
}

static void side_open(struct side *side, struct net *net, uint16_t port,
                      const struct turn_ordered_options *options)
{
    static const struct pipe_events events = {.message = on_message, .end = on_end};
    static const struct turn_ordered_events more = {
        .joined = on_joined, .confirmed = on_confirmed, .lost = on_lost, .moved = on_moved};

    *side = (struct side){.addr = addr_loopback(AF_INET, port)};
    side->pipe = turn_ordered_open(end_new(net, port), options);
    assert_non_null(side->pipe);
    pipe_add_listener(side->pipe, &events, side);
    turn_ordered_set_events(side->pipe, &more, side);
}

static void side_write(struct side *side, const struct side *to)
{
    size_t len = message_len(side->written);
    struct slice slice = {block_new_sized(len), NULL, len};

    slice.data = block_start(slice.block);
    message_fill(slice.data, len, side->written++);
    pipe_write_to(side->pipe, &slice, &to->addr);
}

static void run_for(struct loop *loop, uint64_t us)
{
    uint64_t until = loop_now(loop) + us;

    while (loop_now(loop) < until && loop_turn(loop, until - loop_now(loop))) {}
}

static void finish(struct net *net, struct side *a, struct side *b)
{
    if (a->pipe)
        pipe_close(a->pipe);
    if (b->pipe)
        pipe_close(b->pipe);
    run_dry(net->loop);
    assert_int_equal(a->ends, 1);
    assert_int_equal(b->ends, 1);
    loop_free(net->loop);
    assert_int_equal(block_total_bytes(), 0);
}

/* Both write so many messages, as there is room; then all have come. */
static void talk(struct net *net, struct side *a, struct side *b, uint64_t count)
{
    uint64_t until = loop_now(net->loop) + 600 * SEC_US;

    a->wrong = b->wrong = false;
    while (a->expected < count || b->expected < count) {
        while (a->written < count && pipe_room(a->pipe) > 0)
            side_write(a, b);
        while (b->written < count && pipe_room(b->pipe) > 0)
            side_write(b, a);
        if (!loop_turn(net->loop, SEC_US) || loop_now(net->loop) > until)
            fail_msg("stuck at %lu and %lu of %lu", (unsigned long)a->expected,
                     (unsigned long)b->expected, (unsigned long)count);
        assert_false(a->wrong || b->wrong);
    }
}

static void good_network(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 10 * MS_US};
    struct turn_ordered_status status;
    struct side a, b;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 300);
    run_for(net.loop, SEC_US);
    assert_int_equal(a.joined, 1);
    assert_int_equal(b.joined, 1);
    assert_true(a.confirmed > 0 && b.confirmed > 0);
    assert_int_equal(pipe_queued(a.pipe), 0);
    assert_int_equal(turn_ordered_status(a.pipe, &b.addr, &status), 0);
    assert_in_range(status.rtt_min_us, 20000, 21000);
    assert_int_equal(status.resent, 0);
    assert_int_equal(status.duplicates, 0);
    finish(&net, &a, &b);
    assert_int_equal(a.lost_bytes + b.lost_bytes, 0);
}

/* Any mixture of evils. */
static void bad_networks(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct net net = {.loop = loop_new_virtual(seed)};
        struct side a, b;

        net.loss = (unsigned)(loop_random64(net.loop) % 30);
        net.duplicate = (unsigned)(loop_random64(net.loop) % 30);
        net.reorder = (unsigned)(loop_random64(net.loop) % 50);
        net.delay_us = loop_random64(net.loop) % (100 * MS_US);
        net.late_us = loop_random64(net.loop) % (50 * MS_US);
        net.rate = loop_random64(net.loop) % 2 ? 500000 + loop_random64(net.loop) % 20000000 : 0;
        net.buffer = 30000 + loop_random64(net.loop) % 300000;
        print_message("seed %lu\r", (unsigned long)seed);
        side_open(&a, &net, 1, NULL);
        side_open(&b, &net, 2, NULL);
        talk(&net, &a, &b, 200);
        finish(&net, &a, &b);
        assert_int_equal(a.expected, 200);
        assert_int_equal(b.expected, 200);
    }
}

/* How much of a line of 200 Mbit/s and 50 ms comes through, one way. */
static void throughput(void **state)
{
    (void)state;
    static const struct {
        unsigned loss;
        size_t buffer;
        unsigned least; /* percent of what the line can carry */
    } cases[] = {
        {0, 2500000, 90}, {0, 65536, 87}, {1, 250000, 87}, {2, 250000, 87}, {10, 250000, 80}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct net net = {.loop = loop_new_virtual(i + 1),
                          .delay_us = 25 * MS_US,
                          .rate = 25000000,
                          .loss = cases[i].loss,
                          .buffer = cases[i].buffer};
        uint64_t started = loop_now(net.loop), carried;
        struct turn_ordered_status status;
        struct side a, b;

        side_open(&a, &net, 1, NULL);
        side_open(&b, &net, 2, NULL);
        while (b.bytes < 200000000) {
            while (a.written < 1000000 && pipe_room(a.pipe) > 0)
                side_write(&a, &b);
            assert_true(loop_turn(net.loop, SEC_US));
            assert_false(b.wrong);
        }
        carried = b.bytes * SEC_US / (b.done_at - started);
        turn_ordered_status(a.pipe, &b.addr, &status);
        print_message(
            "loss %u%%, buffer %zu: %lu kB/s of %lu, %lu%% sent again, rtt %lu us\n", cases[i].loss,
            cases[i].buffer, (unsigned long)carried / 1000, (unsigned long)net.rate / 1000,
            (unsigned long)(status.resent * 100 / status.sent), (unsigned long)status.rtt_us);
        assert_true(carried * 100 / net.rate >= cases[i].least);
        pipe_abort(a.pipe, -ECANCELED);
        finish(&net, &a, &b);
    }
}

/* A reader that does not read holds the writer back, and nothing is lost. */
static void slow_reader(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(5), .delay_us = 5 * MS_US, .loss = 5};
    struct side a, b;
    uint64_t held;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    pipe_pause(b.pipe);
    for (int i = 0; i < 300; i++) {
        while (pipe_room(a.pipe) > 0)
            side_write(&a, &b);
        run_for(net.loop, 100 * MS_US);
    }
    assert_int_equal(b.expected, 0);
    held = block_total_bytes();
    assert_true(held < 40 * 1000 * 1000);
    assert_int_equal(a.lost, 0); /* 30 s without room, but it answers */
    run_for(net.loop, 120 * SEC_US);
    assert_int_equal(a.lost, 0);
    pipe_resume(b.pipe);
    talk(&net, &a, &b, a.written);
    finish(&net, &a, &b);
}

/* A line that is cut for a while; and for good. */
static void outages(void **state)
{
    (void)state;
    const struct turn_ordered_options options = {.give_up_ms = 20000};
    struct net net = {.loop = loop_new_virtual(6), .delay_us = 20 * MS_US};
    struct side a, b;

    side_open(&a, &net, 1, &options);
    side_open(&b, &net, 2, &options);
    talk(&net, &a, &b, 50);
    net.cut = true;
    side_write(&a, &b);
    run_for(net.loop, 15 * SEC_US);
    net.cut = false;
    run_for(net.loop, 3 * SEC_US);
    assert_int_equal(b.expected, 51);
    assert_int_equal(a.lost, 0);
    net.cut = true;
    side_write(&a, &b);
    run_for(net.loop, 30 * SEC_US);
    assert_int_equal(a.lost, 1);
    assert_int_equal(a.lost_bytes, message_len(51));
    assert_int_equal(pipe_queued(a.pipe), 0);
    finish(&net, &a, &b);
}

/* A peer that is started again gets what its predecessor has not confirmed. */
static void restarts(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(7), .delay_us = 20 * MS_US, .loss = 10};
    struct side a, b, c;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 20);
    run_for(net.loop, 5 * SEC_US);
    assert_int_equal(pipe_queued(a.pipe), 0);
    pipe_abort(b.pipe, -ECANCELED); /* dies without a word */
    run_for(net.loop, 100 * MS_US);
    for (int i = 0; i < 10; i++)
        side_write(&a, &b);
    run_for(net.loop, 3 * SEC_US);
    side_open(&c, &net, 2, NULL); /* the same address */
    c.expected = 20;
    run_for(net.loop, 20 * SEC_US);
    assert_int_equal(a.again, 1);
    assert_int_equal(c.expected, 30);
    assert_false(c.wrong);
    /* And the other way round, with the new one speaking first. */
    pipe_abort(a.pipe, -ECANCELED);
    run_for(net.loop, 100 * MS_US);
    side_open(&a, &net, 1, NULL);
    a.expected = 0;
    side_write(&c, &a);
    side_write(&a, &c);
    c.expected = 0;
    run_for(net.loop, 20 * SEC_US);
    assert_int_equal(a.expected, 1);
    assert_int_equal(c.expected, 1);
    assert_false(a.wrong || c.wrong);
    finish(&net, &a, &c);
}

static void on_room(struct pipe *pipe, void *arg)
{
    struct side *side = arg;

    (void)pipe;
    for (; side->room_writes > 0; side->room_writes--)
        side_write(side, side);
}

/* A message that its predecessor had a part of is dropped, and whoever hears of the room that this
 * makes may write at once. */
static void restart_within_a_message(void **state)
{
    (void)state;
    static const struct pipe_events events = {.room = on_room};
    struct net net = {
        .loop = loop_new_virtual(11), .delay_us = 20 * MS_US, .rate = 100000, .buffer = 64000};
    struct side a, b, c;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 5);
    run_for(net.loop, 5 * SEC_US);
    a.written = 5;
    side_write(&a, &b); /* 65536 bytes */
    run_for(net.loop, 200 * MS_US);
    pipe_abort(b.pipe, -ECANCELED);
    run_for(net.loop, 100 * MS_US);
    side_open(&c, &net, 2, NULL);
    c.expected = a.written;
    pipe_add_listener(a.pipe, &events, &a);
    a.addr = c.addr; /* whom on_room() writes to */
    a.room_writes = 100;
    run_for(net.loop, 200 * SEC_US);
    assert_int_equal(a.again, 1);
    assert_int_equal(a.room_writes, 0);
    assert_int_equal(c.expected, a.written);
    assert_false(c.wrong);
    finish(&net, &a, &c);
}

/* Those who vanish without a word do not keep others out for ever. */
static void many_who_vanish(void **state)
{
    (void)state;
    const struct turn_ordered_options options = {.give_up_ms = 500};
    struct net net = {.loop = loop_new_virtual(12), .delay_us = 1 * MS_US};
    struct side a, visitor;

    side_open(&a, &net, 1, &options);
    for (uint16_t i = 0; i < TURN_ORDERED_PEERS_MAX + 10; i++) {
        side_open(&visitor, &net, 1000 + i, NULL);
        side_write(&visitor, &a);
        run_for(net.loop, 300 * MS_US);
        pipe_abort(visitor.pipe, -ECANCELED);
        run_for(net.loop, 50 * MS_US);
    }
    assert_int_equal(a.joined, TURN_ORDERED_PEERS_MAX + 10);
    assert_int_equal(a.expected, TURN_ORDERED_PEERS_MAX + 10);
    assert_int_equal(a.lost, 10);
    finish(&net, &a, &visitor);
}

/* A peer whose address changes is followed, and keeps its name. */
static void moves(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(8), .delay_us = 20 * MS_US, .loss = 5};
    struct side a, b;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 20);
    ((struct end *)turn_ordered_below(b.pipe))->addr.port = 3;
    turn_ordered_moved(b.pipe);
    for (int i = 0; i < 20; i++) {
        side_write(&a, &b);
        side_write(&b, &a);
    }
    run_for(net.loop, 30 * SEC_US);
    assert_int_equal(a.moved, 1);
    assert_int_equal(a.expected, 40);
    assert_int_equal(b.expected, 40);
    assert_false(a.wrong || b.wrong);
    finish(&net, &a, &b);
}

/* What strangers send changes nothing. */
static void strangers(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(9), .delay_us = 1 * MS_US};
    struct side a, b;
    struct addr from;
    uint8_t bytes[64];

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 20);
    for (int i = 0; i < 2000; i++) {
        struct ordered_packet packet = {0};
        struct slice slice;

        loop_random(net.loop, bytes, sizeof(bytes));
        packet.type = ORDERED_HELLO + bytes[0] % 5;
        packet.flags = bytes[1];
        packet.to = loop_random64(net.loop);
        packet.from = loop_random64(net.loop);
        ordered_build(bytes, &packet);
        slice = slice_copy(bytes, i % 2 ? sizeof(bytes) : bytes[2] % 64u);
        from = i % 3 ? addr_loopback(AF_INET, (uint16_t)(1000 + i)) : b.addr;
        carry(&net, &slice, &from, &a.addr);
        slice_drop(&slice);
    }
    run_for(net.loop, SEC_US);
    side_write(&a, &b);
    side_write(&b, &a);
    run_for(net.loop, 15 * SEC_US); /* and strangers are forgotten */
    assert_int_equal(a.expected, 21);
    assert_int_equal(b.expected, 21);
    assert_int_equal(a.again, 0);
    finish(&net, &a, &b);
    assert_int_equal(a.lost, 0);
}

/* Closing waits for what is written. */
static void closing(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(10), .delay_us = 50 * MS_US, .loss = 10};
    struct side a, b;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    for (int i = 0; i < 50; i++)
        side_write(&a, &b);
    pipe_close(a.pipe);
    run_for(net.loop, 30 * SEC_US);
    assert_int_equal(b.expected, 50);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.why, 0);
    assert_int_equal(b.lost, 1); /* it has said good-bye */
    assert_int_equal(b.lost_bytes, 0);
    finish(&net, &a, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_network),    cmocka_unit_test(bad_networks),
        cmocka_unit_test(throughput),      cmocka_unit_test(slow_reader),
        cmocka_unit_test(outages),         cmocka_unit_test(restarts),
        cmocka_unit_test(moves),           cmocka_unit_test(strangers),
        cmocka_unit_test(closing),         cmocka_unit_test(restart_within_a_message),
        cmocka_unit_test(many_who_vanish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
