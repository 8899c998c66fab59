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
    uint64_t own; /* tag, by which we know the victim */
    uint64_t bond;
    uint32_t acked;
    uint8_t flags; /* of the last ACK */
    unsigned replies;
};

static void put_with(struct attacker *attacker, const struct ordered_packet *packet,
                     const uint8_t *bytes, size_t len)
{
    struct slice slice = {block_new_sized(ORDERED_HEAD_MAX + len), NULL, 0};

    slice.data = block_start(slice.block);
    slice.len = ordered_build(slice.data, packet);
    if (bytes)
        memcpy(slice.data + slice.len, bytes, len);
    else
        memset(slice.data + slice.len, 0xAB, len);
    slice.len += len;
    pipe_write_to(attacker->pipe, &slice, &attacker->victim);
}

static void put(struct attacker *attacker, const struct ordered_packet *packet, size_t len)
{
    put_with(attacker, packet, NULL, len);
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
    attacker->bond = ordered_bond(packet.from, attacker->own);
    if (packet.flags & ORDERED_ASK)
        put(attacker,
            &(struct ordered_packet){
                .type = ORDERED_HELLO, .from = attacker->own, .to = packet.from},
            0);
}

static void attack_from(struct attacker *attacker, struct net *net, const struct addr *from,
                        const struct side *victim)
{
    static const struct pipe_events events = {.message = on_packet};

    *attacker = (struct attacker){.own = from->port, .addr = *from, .victim = victim->addr};
    attacker->pipe = end_new_at(net, from);
    pipe_add_listener(attacker->pipe, &events, attacker);
    run_for(net->loop, 1);
    put(attacker,
        &(struct ordered_packet){
            .type = ORDERED_HELLO, .flags = ORDERED_ASK, .from = attacker->own},
        0);
    run_for(net->loop, 50 * MS_US);
    assert_true(attacker->bond != 0);
}

static void attack(struct attacker *attacker, struct net *net, uint16_t port,
                   const struct side *victim)
{
    struct addr from = addr_loopback(AF_INET, port);

    attack_from(attacker, net, &from, victim);
}

static void put_data(struct attacker *attacker, uint32_t number, size_t len, uint8_t flags)
{
    put(attacker,
        &(struct ordered_packet){
            .type = ORDERED_DATA, .flags = flags, .to = attacker->bond, .number = number},
        len);
}

static void put_bytes(struct attacker *attacker, uint32_t number, const uint8_t *bytes, size_t len,
                      uint8_t flags)
{
    put_with(attacker,
             &(struct ordered_packet){
                 .type = ORDERED_DATA, .flags = flags, .to = attacker->bond, .number = number},
             bytes, len);
}

static void put_ack(struct attacker *attacker, uint32_t number, uint32_t limit, size_t bits)
{
    put(attacker,
        &(struct ordered_packet){
            .type = ORDERED_ACK, .to = attacker->bond, .number = number, .limit = limit},
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
            .type = ORDERED_DATA, .flags = 3, .to = attacker.bond, .number = n};
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

/* Who has heard our tag, but is not whom we heard with it, is not taken for that: a tag is offered
 * to all who introduce themselves before one has proven to be there. */
static void bonds(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 5 * MS_US};
    struct attacker attacker;
    struct ordered_peer *peer;
    struct side a, b;
    unsigned replies;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    attack(&attacker, &net, 100, &a);
    peer = ((struct ordered *)a.pipe)->peers;
    assert_true(peer->established);
    attacker.bond = ordered_bond(peer->mine, attacker.own + 1);
    replies = attacker.replies;
    put_data(&attacker, 0, 100, ORDERED_FIRST | ORDERED_LAST);
    run_for(net.loop, 100 * MS_US);
    assert_int_equal(a.expected, 0);
    assert_int_equal(attacker.replies, replies + 1); /* that it is not known */
    pipe_abort(attacker.pipe, -ECANCELED);
    finish(&net, &a, &b);
}

/* Introductions with others' addresses, at the same moment: the two do not answer each other's
 * answers for ever. */
static void echoes(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 5 * MS_US, .duplicate = 50};
    uint8_t bytes[ORDERED_HELLO_BYTES];
    struct side a, b;
    uint64_t sent;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 3);
    run_for(net.loop, SEC_US);
    sent = net.sent;
    for (uint64_t i = 0; i < 10; i++) {
        const struct ordered_packet packet = {
            .type = ORDERED_HELLO, .flags = ORDERED_ASK, .from = i + 1};
        struct slice slice;

        ordered_build(bytes, &packet);
        slice = slice_copy(bytes, sizeof(bytes));
        carry(&net, &slice, i % 2 ? &a.addr : &b.addr, i % 2 ? &b.addr : &a.addr);
        slice_drop(&slice);
        run_for(net.loop, 1 * MS_US);
    }
    run_for(net.loop, 100 * MS_US);
    assert_in_range(net.sent - sent, 10, 100);
    talk(&net, &a, &b, 20);
    assert_int_equal(a.again + b.again, 0);
    finish(&net, &a, &b);
}

static void count_packet(struct pipe *pipe, const struct slice *data, const struct addr *from,
                         void *arg)
{
    (void)pipe;
    (void)data;
    (void)from;
    ++*(unsigned *)arg;
}

static struct addr parsed(const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    return addr;
}

/* A peer says that it is where somebody else is: who cannot be reached from where it is gets
 * nothing, and others a few packets, however often it says so. */
static void other_places(void **state)
{
    (void)state;
    static const struct pipe_events events = {.message = count_packet};
    static const char *const places[] = {"127.0.0.1:53", "10.1.2.3:53", "192.168.1.1:53",
                                         "100.64.0.1:53", "192.0.2.1:53"};
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 5 * MS_US};
    struct addr home = parsed("198.51.100.1:1000"), from = parsed("203.0.113.1:2000");
    unsigned got[5] = {0};
    struct attacker attacker;
    struct pipe *ends[5];
    struct side a, b = {0};

    side_open_at(&a, &net, &home, NULL);
    attack_from(&attacker, &net, &from, &a);
    for (uint32_t i = 0; i < 5; i++) {
        struct addr place = parsed(places[i]);
        uint8_t bytes[7] = {4, 0, 53};

        memcpy(bytes + 3, place.ip.bytes, 4);
        ends[i] = end_new_at(&net, &place);
        pipe_add_listener(ends[i], &events, &got[i]);
        run_for(net.loop, 1 * MS_US);
        for (uint32_t n = 0; n < 50; n++)
            put_bytes(&attacker, i * 50 + n, bytes, sizeof(bytes),
                      ORDERED_FIRST | ORDERED_LAST | ORDERED_CONTROL);
        run_for(net.loop, i < 3 ? 3600 * SEC_US : SEC_US);
    }
    assert_int_equal(attacker.acked, 250);
    assert_int_equal(got[0] + got[1] + got[2] + got[3], 0);
    assert_int_equal(got[4], 0); /* it has told too much in this hour */
    b.addr = from;
    side_write(&a, &b); /* and confirms nothing */
    run_for(net.loop, 70 * SEC_US);
    assert_int_equal(a.lost, 1);
    assert_in_range(got[4], 10, 60);
    for (int i = 0; i < 5; i++)
        pipe_abort(ends[i], -ECANCELED);
    pipe_abort(attacker.pipe, -ECANCELED);
    side_open(&b, &net, 3, NULL);
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
        cmocka_unit_test(memory),        cmocka_unit_test(blocks),
        cmocka_unit_test(places),        cmocka_unit_test(echoes),
        cmocka_unit_test(bonds),         cmocka_unit_test(other_places),
        cmocka_unit_test(confirmations), cmocka_unit_test(long_silence),
        cmocka_unit_test(wrap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
