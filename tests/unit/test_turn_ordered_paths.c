/* SPDX-License-Identifier: MIT */
/* Theory of operation: ordered pipes with spares, over relays in virtual time that let in only what
 * comes from permitted addresses, and that die. A relay is an IP address. */
#include "ordered_world.h"
#include "stun/ordered_int.h"

static struct addr at(unsigned relay, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse_ip("127.0.0.1", &addr), 0);
    addr.ip.bytes[3] = (uint8_t)relay;
    addr.port = port;
    return addr;
}

/* A side with an address at a relay, and one at another (0: none). */
static void open_at(struct side *side, struct net *net, unsigned relay, unsigned spare,
                    uint16_t port)
{
    struct addr addr = at(relay, port);

    side_open_at(side, net, &addr, NULL);
    addr = at(spare, port + 1);
    if (spare)
        turn_ordered_add_spare(side->pipe, end_new_at(net, &addr));
}

/* Both keep some messages waiting, for so long. */
static void chatter(struct net *net, struct side *a, struct side *b, uint64_t us)
{
    uint64_t until = loop_now(net->loop) + us;

    while (loop_now(net->loop) < until) {
        while (pipe_queued(a->pipe) < 100000)
            side_write(a, b);
        while (pipe_queued(b->pipe) < 100000)
            side_write(b, a);
        run_for(net->loop, 10 * MS_US);
        assert_false(a->wrong || b->wrong);
    }
}

/* A relay dies: within some time messages come again both ways. */
static void dies(struct net *net, struct side *a, struct side *b, unsigned relay, uint64_t within)
{
    uint64_t got[2];

    chatter(net, a, b, SEC_US);
    net->dead = at(relay, 0);
    run_for(net->loop, 200 * MS_US); /* what was on its way */
    got[0] = a->expected;
    got[1] = b->expected;
    chatter(net, a, b, within);
    if (a->expected < got[0] + 5 || b->expected < got[1] + 5)
        fail_msg("%lu and %lu messages after relay %u died", (unsigned long)(a->expected - got[0]),
                 (unsigned long)(b->expected - got[1]), relay);
}

struct plan {
    unsigned a, a_spare, b, b_spare; /* relays; 0: none */
    unsigned deaths[3];              /* one after the other; the one before is back */
};

static void survive(const struct plan *plan, unsigned loss)
{
    struct net net = {.loop = loop_new_virtual(loss + 1),
                      .delay_us = 20 * MS_US,
                      .rate = 2000000,
                      .buffer = 64000,
                      .loss = loss,
                      .permissions = true};
    struct side a, b;

    open_at(&a, &net, plan->a, plan->a_spare, 10);
    open_at(&b, &net, plan->b, plan->b_spare, 20);
    side_write(&a, &b); /* each permits the other, whose address it was told */
    side_write(&b, &a);
    run_for(net.loop, 2 * SEC_US);
    for (int i = 0; i < 3 && plan->deaths[i]; i++)
        dies(&net, &a, &b, plan->deaths[i], (loss ? 8 : 3) * SEC_US);
    net.loss = 0;
    run_for(net.loop, 30 * SEC_US);
    assert_int_equal(b.expected, a.written);
    assert_int_equal(a.expected, b.written);
    assert_int_equal(a.again + b.again + a.lost + b.lost, 0);
    finish(&net, &a, &b);
}

static void both_at_once(void **state)
{
    (void)state;
    const struct plan plan = {1, 2, 1, 2, {1, 2, 1}};

    survive(&plan, 0);
    survive(&plan, 10);
}

static void one_side(void **state)
{
    (void)state;
    static const struct plan plans[] = {
        {1, 2, 3, 4, {1, 4, 2}}, {1, 2, 3, 0, {1, 2, 0}}, {1, 0, 3, 4, {3, 4, 0}}};

    for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
        survive(&plans[i], 0);
        survive(&plans[i], 10);
    }
}

/* Only one of them has something to say, and has no spare himself. */
static void one_way(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 20 * MS_US, .permissions = true};
    struct side a, b;

    open_at(&a, &net, 1, 0, 10);
    open_at(&b, &net, 2, 3, 20);
    side_write(&a, &b);
    run_for(net.loop, 10 * MS_US);
    side_write(&b, &a);
    run_for(net.loop, 2 * SEC_US);
    assert_int_equal(b.expected, 1);
    net.dead = at(2, 0);
    for (int i = 0; i < 5; i++)
        side_write(&a, &b);
    run_for(net.loop, SEC_US);
    assert_int_equal(b.expected, 6);
    assert_int_equal(a.moved, 1);
    finish(&net, &a, &b);
}

/* Without a spare nobody survives that: the model's permissions and deaths are real. */
static void without_spares(void **state)
{
    (void)state;
    const struct turn_ordered_options options = {.give_up_ms = 5000};
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 20 * MS_US, .permissions = true};
    struct addr addr = at(1, 10);
    struct side a, b;

    side_open_at(&a, &net, &addr, &options);
    open_at(&b, &net, 2, 0, 20);
    side_write(&a, &b);
    side_write(&b, &a);
    run_for(net.loop, SEC_US);
    assert_int_equal(b.expected, 1);
    net.dead = at(2, 0);
    side_write(&a, &b);
    run_for(net.loop, 8 * SEC_US);
    assert_int_equal(a.lost, 1);
    finish(&net, &a, &b);
}

/* A spare that ends leaves the rest as it was; closing awaits confirmations by what there is. */
static void spare_ends(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 20 * MS_US};
    struct side a, b;
    struct addr addr = at(2, 11);

    open_at(&a, &net, 1, 0, 10);
    open_at(&b, &net, 1, 2, 20);
    for (int i = 0; i < 2; i++) {
        struct pipe *spare = end_new_at(&net, &addr);

        turn_ordered_add_spare(a.pipe, spare);
        chatter(&net, &a, &b, SEC_US);
        pipe_abort(spare, -ECONNRESET);
        chatter(&net, &a, &b, SEC_US);
    }
    turn_ordered_add_spare(a.pipe, end_new_at(&net, &addr));
    net.dead = at(1, 0);
    side_write(&a, &b);
    pipe_close(a.pipe);
    run_for(net.loop, 10 * SEC_US);
    assert_int_equal(a.ends, 1);
    assert_int_equal(b.expected, a.written);
    finish(&net, &a, &b);
}

/* After an outage of all paths the two settle on one, and stay. */
static void settles(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 20 * MS_US, .permissions = true};
    struct side a, b;
    int moves;

    open_at(&a, &net, 1, 2, 10);
    open_at(&b, &net, 3, 4, 20);
    side_write(&a, &b);
    side_write(&b, &a);
    run_for(net.loop, 2 * SEC_US);
    for (int i = 0; i < 5; i++) {
        net.cut = true;
        chatter(&net, &a, &b, 3 * SEC_US);
        net.cut = false;
        chatter(&net, &a, &b, 3 * SEC_US);
        moves = a.moved + b.moved;
        chatter(&net, &a, &b, 3 * SEC_US);
        assert_int_equal(a.moved + b.moved, moves);
    }
    finish(&net, &a, &b);
}

/* A packet of an earlier place comes late, from a peer that has nothing to say: it is found again
 * where it is, with no spare. */
static void late_from_an_earlier_place(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 20 * MS_US};
    struct ordered_packet packet = {.type = ORDERED_ACK, .flags = ORDERED_ASK};
    uint8_t bytes[ORDERED_HEAD_MAX] = {0};
    struct addr before;
    struct slice slice;
    struct side a, b;

    open_at(&a, &net, 1, 0, 10);
    open_at(&b, &net, 2, 0, 20);
    side_write(&a, &b);
    run_for(net.loop, SEC_US);
    before = b.addr;
    before.port = 30;
    packet.to = ordered_bond(((struct ordered *)a.pipe)->peers->mine,
                             ((struct ordered *)a.pipe)->peers->theirs);
    ordered_build(bytes, &packet);
    slice = slice_copy(bytes, sizeof(bytes));
    carry(&net, &slice, &before, &a.addr);
    slice_drop(&slice);
    run_for(net.loop, SEC_US);
    assert_int_equal(a.moved, 1);
    side_write(&a, &b);
    run_for(net.loop, 5 * SEC_US);
    assert_int_equal(b.expected, 2);
    assert_int_equal(a.moved, 2);
    finish(&net, &a, &b);
}

/* Who is written to at another of his addresses is the same, and nothing begins anew. */
static void two_addresses_of_one(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 20 * MS_US};
    struct side a, b, b_there;

    open_at(&a, &net, 1, 0, 10);
    open_at(&b, &net, 2, 3, 20);
    side_write(&a, &b);
    run_for(net.loop, SEC_US);
    b_there = b;
    b_there.addr = at(3, 21);
    for (int i = 0; i < 3; i++) {
        side_write(&a, &b_there);
        side_write(&b, &a);
        run_for(net.loop, SEC_US);
    }
    assert_int_equal(b.expected, 4);
    assert_int_equal(a.expected, 3);
    assert_int_equal(a.joined + b.joined, 2);
    assert_int_equal(a.lost_bytes + (size_t)b.lost, 0);
    finish(&net, &a, &b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_at_once),
        cmocka_unit_test(one_side),
        cmocka_unit_test(one_way),
        cmocka_unit_test(without_spares),
        cmocka_unit_test(spare_ends),
        cmocka_unit_test(settles),
        cmocka_unit_test(late_from_an_earlier_place),
        cmocka_unit_test(two_addresses_of_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
