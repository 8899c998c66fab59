/* SPDX-License-Identifier: MIT */
/* Theory of operation: what a peer, or somebody who may send to us, can do to an ordered pipe: take
 * memory, places and attention; it may harm itself, and nobody else. Packets are made by hand. */
#include "ordered_world.h"
#include "stun/ordered_int.h"

#define LONG_SEGMENT 60000

/* Somebody who speaks the protocol as he likes. */
struct attacker {
    struct pipe *pipe;
    struct addr addr, victim;
    uint64_t tag; /* by which the victim knows us */
    uint32_t acked;
    uint8_t flags; /* of the last ACK */
    unsigned replies;
};

static void put(struct attacker *attacker, const struct ordered_packet *packet, size_t len)
{
    struct slice slice = {block_new_sized(ORDERED_ACK_BYTES + len), NULL, 0};

    slice.data = block_start(slice.block);
    slice.len = ordered_build(slice.data, packet);
    memset(slice.data + slice.len, 0xAB, len);
    slice.len += len;
    pipe_write_to(attacker->pipe, &slice, &attacker->victim);
}

static void on_packet(struct pipe *pipe, const struct slice *data, const struct addr *from,
                      void *arg)
{
    struct attacker *attacker = arg;
    struct ordered_packet packet;

    (void)pipe;
    (void)from;
    assert_true(ordered_parse(data->data, data->len, &packet) > 0);
    attacker->replies++;
    if (packet.type == ORDERED_ACK) {
        attacker->acked = packet.number;
        attacker->flags = packet.flags;
    }
    if (packet.type != ORDERED_HELLO)
        return;
    attacker->tag = packet.from;
    if (packet.flags & ORDERED_ASK)
        put(attacker,
            &(struct ordered_packet){.type = ORDERED_HELLO, .from = 99, .to = packet.from}, 0);
}

static void attack(struct attacker *attacker, struct net *net, uint16_t port,
                   const struct side *victim)
{
    static const struct pipe_events events = {.message = on_packet};

    *attacker = (struct attacker){.addr = addr_loopback(AF_INET, port), .victim = victim->addr};
    attacker->pipe = end_new(net, port);
    pipe_add_listener(attacker->pipe, &events, attacker);
    run_for(net->loop, 1);
    put(attacker, &(struct ordered_packet){.type = ORDERED_HELLO, .flags = ORDERED_ASK, .from = 99},
        0);
    run_for(net->loop, 50 * MS_US);
    assert_true(attacker->tag != 0);
}

static void put_data(struct attacker *attacker, uint32_t number, size_t len, uint8_t flags)
{
    put(attacker,
        &(struct ordered_packet){
            .type = ORDERED_DATA, .flags = flags, .to = attacker->tag, .number = number},
        len);
}

static void put_ack(struct attacker *attacker, uint32_t number, uint32_t limit, size_t bits)
{
    put(attacker,
        &(struct ordered_packet){
            .type = ORDERED_ACK, .to = attacker->tag, .number = number, .limit = limit},
        bits);
}

/* Segments that are not in order, or that a paused pipe does not take, of great length. */
static void memory(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 1 * MS_US};
    struct attacker attackers[2];
    struct side a, b;

    side_open(&a, &net, 1, NULL);
    pipe_pause(a.pipe);
    for (int i = 0; i < 2; i++) {
        attack(&attackers[i], &net, (uint16_t)(100 + i), &a);
        for (uint32_t n = 0; n < 2000; n++) {
            put_data(&attackers[i], n + (uint32_t)i, LONG_SEGMENT, 0);
            run_for(net.loop, 100);
        }
        run_for(net.loop, 100 * MS_US);
        assert_true(attackers[i].flags & ORDERED_FULL);
    }
    assert_in_range(block_total_bytes(), ORDERED_HELD_MAX, 2 * ORDERED_HELD_MAX + 1000000);
    /* Others have their share, and a message beyond the longest is passed over. */
    side_open(&b, &net, 2, NULL);
    side_write(&b, &a);
    run_for(net.loop, SEC_US);
    pipe_resume(a.pipe);
    run_for(net.loop, SEC_US);
    assert_int_equal(a.expected, 1);
    assert_int_equal(pipe_queued(b.pipe), 0);
    assert_in_range(block_total_bytes(), 0, ORDERED_HELD_MAX + 3000000);
    for (int i = 0; i < 2; i++)
        pipe_abort(attackers[i].pipe, -ECANCELED);
    finish(&net, &a, &b);
}

/* One byte of many packets: what waits does not keep the large blocks they came in. */
static void blocks(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 1 * MS_US};
    struct attacker attacker;
    struct side a, b;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    pipe_pause(a.pipe);
    attack(&attacker, &net, 100, &a);
    for (uint32_t n = 0; n < 2000; n++) {
        const struct ordered_packet packet = {
            .type = ORDERED_DATA, .flags = 3, .to = attacker.tag, .number = n};
        struct slice slice = {block_new(), NULL, ORDERED_DATA_BYTES + 1};

        slice.data = block_start(slice.block);
        ordered_build(slice.data, &packet);
        carry(&net, &slice, &attacker.addr, &a.addr);
        slice_drop(&slice);
        run_for(net.loop, 2 * MS_US);
    }
    run_for(net.loop, 50 * MS_US);
    assert_int_equal(attacker.acked, 2000);
    assert_in_range(block_total_bytes(), 2000, 100000);
    pipe_abort(attacker.pipe, -ECANCELED);
    finish(&net, &a, &b);
}

/* Many who introduce themselves, and no more. */
static void places(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 5 * MS_US};
    uint8_t bytes[ORDERED_HELLO_BYTES];
    struct side a, b, c;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    side_open(&c, &net, 3, NULL);
    side_write(&b, &a);
    for (uint16_t i = 0; i < 1000; i++) {
        const struct ordered_packet packet = {
            .type = ORDERED_HELLO, .flags = ORDERED_ASK, .from = i + 1u};
        struct addr from = addr_loopback(AF_INET, 1000 + i);
        struct slice slice;

        ordered_build(bytes, &packet);
        slice = slice_copy(bytes, sizeof(bytes));
        carry(&net, &slice, &from, &a.addr);
        slice_drop(&slice);
        run_for(net.loop, 1 * MS_US);
        if (i == 500) {
            side_write(&a, &b); /* those who are there stay, and others come */
            c.written = 1;      /* what is expected there */
            side_write(&c, &a);
        }
    }
    assert_int_equal(a.expected, 2);
    run_for(net.loop, 100 * MS_US);
    assert_int_equal(b.expected, 1);
    assert_int_equal(a.lost + b.lost + a.again + b.again, 0);
    pipe_abort(c.pipe, -ECANCELED);
    finish(&net, &a, &b);
}

/* Confirmations of what was never sent, and rooms without end. */
static void confirmations(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 5 * MS_US};
    struct attacker attacker;
    struct side a, b = {0};

    side_open(&a, &net, 1, NULL);
    attack(&attacker, &net, 2, &a);
    b.addr = attacker.addr;
    for (int i = 0; i < 5; i++)
        side_write(&a, &b);
    put_ack(&attacker, 1000, 2000, 0);              /* far beyond */
    put_ack(&attacker, UINT32_MAX, UINT32_MAX, 64); /* before the first */
    put_ack(&attacker, 0, UINT32_MAX / 2, ORDERED_BITS_MAX);
    run_for(net.loop, 200 * MS_US);
    assert_int_equal(a.confirmed, 0);
    assert_int_equal(a.lost, 0);
    put_ack(&attacker, 6, UINT32_MAX - 5, 0); /* all of it, in fact */
    run_for(net.loop, 200 * MS_US);
    assert_int_equal(a.confirmed, 1);
    assert_int_equal(pipe_queued(a.pipe), 0);
    put_ack(&attacker, 6, 5, 0);
    put_ack(&attacker, 0, 0, 100);
    side_write(&a, &b);
    run_for(net.loop, 200 * MS_US);
    assert_int_equal(a.confirmed, 1);
    pipe_abort(attacker.pipe, -ECANCELED);
    side_open(&b, &net, 3, NULL);
    pipe_abort(a.pipe, -ECANCELED);
    finish(&net, &a, &b);
}

/* A peer that moves in a long silence is followed, although times of sending have wrapped. */
static void long_silence(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 5 * MS_US};
    struct side a, b;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 20);
    run_for(net.loop, 2500 * SEC_US); /* more than 2^31 microseconds */
    ((struct end *)turn_ordered_below(b.pipe))->addr.port = 3;
    side_write(&b, &a);
    run_for(net.loop, SEC_US);
    assert_int_equal(a.moved, 1);
    assert_int_equal(a.expected, 21);
    talk(&net, &a, &b, 40);
    finish(&net, &a, &b);
}

/* Numbers wrap. */
static void wrap(void **state)
{
    (void)state;
    struct net net = {
        .loop = loop_new_virtual(1), .delay_us = 5 * MS_US, .loss = 10, .reorder = 10};
    struct ordered_peer *one, *other;
    struct side a, b;

    net.late_us = 3 * MS_US;
    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 3);
    run_for(net.loop, 2 * SEC_US);
    one = ((struct ordered *)a.pipe)->peers;
    other = ((struct ordered *)b.pipe)->peers;
    for (int i = 0; i < 2; i++) {
        struct ordered_out *out = &one->out;
        struct ordered_in *in = &other->in;

        out->kept = out->first = out->next = out->end = UINT32_MAX - 100;
        in->next = in->deliver = in->end = UINT32_MAX - 100;
        out->limit = in->told_limit = UINT32_MAX - 100 + ORDERED_WINDOW;
        one = ((struct ordered *)b.pipe)->peers;
        other = ((struct ordered *)a.pipe)->peers;
    }
    talk(&net, &a, &b, 200);
    run_for(net.loop, 2 * SEC_US);
    assert_in_range(one->out.end, 100, 100000);
    assert_int_equal(pipe_queued(a.pipe), 0);
    finish(&net, &a, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory),        cmocka_unit_test(blocks),       cmocka_unit_test(places),
        cmocka_unit_test(confirmations), cmocka_unit_test(long_silence), cmocka_unit_test(wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
