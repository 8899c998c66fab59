/* SPDX-License-Identifier: MIT */
/* Theory of operation: ordered pipes over a network in virtual time that loses, repeats, delays and
 * reorders by chance, with a seed that a failure names: everything arrives once and in order. */
#include "ordered_world.h"
#include "stun/ordered_packet.h"

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

/* A message that its predecessor had a part of comes whole, once, and in order; and whoever hears
 * of room may write at once. */
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
    side_write(&a, &b); /* 65536 bytes */
    run_for(net.loop, 200 * MS_US);
    pipe_abort(b.pipe, -ECANCELED);
    run_for(net.loop, 100 * MS_US);
    side_open(&c, &net, 2, NULL);
    c.expected = 5;
    pipe_add_listener(a.pipe, &events, &a);
    a.addr = c.addr; /* whom on_room() writes to */
    a.room_writes = 100;
    run_for(net.loop, 200 * SEC_US);
    assert_int_equal(a.again, 1);
    assert_int_equal(a.room_writes, 0);
    assert_int_equal(a.written, 106);
    assert_int_equal(c.expected, a.written);
    assert_false(c.wrong);
    assert_int_equal(pipe_queued(a.pipe), 0);
    finish(&net, &a, &c);
}

/* One that never comes back: the sender is told, in time, of all of the message. */
static void gone_within_a_message(void **state)
{
    (void)state;
    const struct turn_ordered_options options = {.give_up_ms = 3000};
    struct net net = {
        .loop = loop_new_virtual(13), .delay_us = 20 * MS_US, .rate = 100000, .buffer = 64000};
    struct side a, b;

    side_open(&a, &net, 1, &options);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 5);
    run_for(net.loop, 5 * SEC_US);
    side_write(&a, &b);
    run_for(net.loop, 200 * MS_US);
    pipe_abort(b.pipe, -ECANCELED);
    run_for(net.loop, 2500 * MS_US);
    assert_int_equal(a.lost, 0);
    run_for(net.loop, 3000 * MS_US);
    assert_int_equal(a.lost, 1);
    assert_int_equal(a.lost_bytes, message_len(5));
    finish(&net, &a, &b);
}

/* --- Messages of no bytes --- */

static void count_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                          void *arg)
{
    char *text = arg;

    (void)pipe;
    (void)from;
    strcat(text, data->len == 0 ? "0" : "x");
}

static void write_bytes(struct side *side, const struct side *to, size_t len)
{
    struct slice slice = slice_copy("x", len);

    pipe_write_to(side->pipe, &slice, &to->addr);
}

/* They come, once and in their place, when packets are lost too, and closing waits for them. */
static void empty_messages(void **state)
{
    (void)state;
    static const struct pipe_events events = {.message = count_message};

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct net net = {.loop = loop_new_virtual(seed), .delay_us = 20 * MS_US};
        struct side a, b;
        char text[16] = "";

        side_open(&a, &net, 1, NULL);
        side_open(&b, &net, 2, NULL);
        talk(&net, &a, &b, 3);
        b.pipe->listener.events = NULL;
        pipe_add_listener(b.pipe, &events, text);
        run_for(net.loop, SEC_US);
        net.cut = true;
        write_bytes(&a, &b, 0);
        run_for(net.loop, 1 * MS_US);
        net.cut = false;
        run_for(net.loop, 3 * SEC_US);
        assert_string_equal(text, "0");
        assert_int_equal(a.confirmed, 2);
        net.loss = 30;
        write_bytes(&a, &b, 0);
        write_bytes(&a, &b, 1);
        write_bytes(&a, &b, 0);
        write_bytes(&a, &b, 0);
        pipe_close(a.pipe);
        run_for(net.loop, 10 * SEC_US);
        assert_string_equal(text, "00x00");
        assert_int_equal(a.ends, 1);
        side_open(&a, &net, 3, NULL); /* and when there is nothing else */
        net.loss = 0;
        write_bytes(&a, &b, 0);
        run_for(net.loop, 50 * MS_US); /* it is on its way */
        net.cut = true;
        pipe_close(a.pipe);
        run_for(net.loop, SEC_US);
        assert_int_equal(a.ends, 0);
        net.cut = false;
        run_for(net.loop, 5 * SEC_US);
        assert_string_equal(text, "00x000");
        assert_int_equal(a.ends, 1);
        pipe_abort(b.pipe, -ECANCELED);
        run_dry(net.loop);
        loop_free(net.loop);
    }
}

/* Nor do they, or short ones, take memory without end: they count in pipe_room(). */
static void room_for_short_messages(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(1), .delay_us = 20 * MS_US};
    struct side a, b;
    size_t count = 0;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    while (pipe_room(a.pipe) > 0 && count < 1000000) {
        write_bytes(&a, &b, count % 2);
        count++;
    }
    assert_in_range(count, 1000, 200000);
    pipe_abort(a.pipe, -ECANCELED);
    finish(&net, &a, &b);
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

static void write_to_another(struct pipe *pipe, const struct slice *data, const struct addr *from,
                             void *arg)
{
    struct slice slice = slice_ref(data);
    struct addr another = *from;

    another.port += 5000;
    ++*(unsigned *)arg;
    pipe_write_to(pipe, &slice, &another);
}

/* Who is being heard keeps his place, although what he says makes the user write to others. */
static void others_while_delivering(void **state)
{
    (void)state;
    static const struct pipe_events events = {.message = write_to_another};
    const struct turn_ordered_options options = {.give_up_ms = 500};
    struct net net = {.loop = loop_new_virtual(17), .delay_us = 1 * MS_US};
    struct side a, visitor;
    unsigned messages = 0;

    side_open(&a, &net, 1, &options);
    pipe_add_listener(a.pipe, &events, &messages);
    pipe_pause(a.pipe);
    for (uint16_t i = 0; i < TURN_ORDERED_PEERS_MAX; i++) {
        side_open(&visitor, &net, 1000 + i, NULL);
        side_write(&visitor, &a);
        run_for(net.loop, 50 * MS_US);
        pipe_abort(visitor.pipe, -ECANCELED);
        run_for(net.loop, 1 * MS_US);
    }
    run_for(net.loop, SEC_US);
    assert_int_equal(messages + (unsigned)a.lost, 0);
    pipe_resume(a.pipe);
    run_for(net.loop, 100 * MS_US);
    assert_int_equal(messages, TURN_ORDERED_PEERS_MAX);
    run_for(net.loop, 5 * SEC_US);
    assert_int_equal(pipe_queued(a.pipe), 0);
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

/* What comes to a pipe that closes is not confirmed, but said to be lost. */
static void closing_takes_nothing(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(16), .delay_us = 50 * MS_US, .rate = 100000};
    struct side a, b;

    net.buffer = 64000;
    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 5);
    run_for(net.loop, SEC_US);
    side_write(&a, &b); /* 65536 bytes: takes a while */
    pipe_close(a.pipe);
    side_write(&b, &a);
    run_for(net.loop, 5 * SEC_US);
    assert_int_equal(a.ends, 1);
    assert_int_equal(b.expected, 6);
    assert_int_equal(a.expected, 5);
    assert_int_equal(b.lost, 1);
    assert_int_equal(b.lost_bytes, message_len(5));
    finish(&net, &a, &b);
}

/* Leaving does not wait, but says good-bye. */
static void leaving(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(11), .delay_us = 50 * MS_US};
    struct side a, b;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 20);
    run_for(net.loop, 5 * SEC_US);
    for (int i = 0; i < 1000; i++)
        side_write(&a, &b);
    turn_ordered_leave(a.pipe);
    assert_int_equal(a.ends, 0);
    run_for(net.loop, 200 * MS_US);
    assert_int_equal(a.ends, 1);
    assert_int_equal(a.why, 0);
    assert_int_equal(b.lost, 1);
    assert_true(b.expected < 1000);
    finish(&net, &a, &b);
}

/* What is confirmed is delivered, although the reader pauses while its sender closes, or is started
 * again; what the user is told of the sender comes behind it. */
static void ends_of_a_sender_while_paused(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(14), .delay_us = 20 * MS_US, .loss = 5};
    struct side a, b, c;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 3);
    pipe_pause(b.pipe);
    while (a.written < 20)
        side_write(&a, &b);
    pipe_close(a.pipe);
    run_for(net.loop, 20 * SEC_US);
    assert_int_equal(a.ends, 1);
    assert_int_equal(b.expected, 3);
    side_open(&a, &net, 1, NULL); /* another one, with the same address, waits until that is read */
    a.written = 20;
    while (a.written < 30)
        side_write(&a, &b);
    run_for(net.loop, 20 * SEC_US);
    assert_int_equal(b.joined + b.lost, 1);
    pipe_resume(b.pipe);
    run_for(net.loop, 5 * SEC_US);
    assert_int_equal(b.expected, 30);
    assert_int_equal(b.lost, 1);
    assert_int_equal(b.joined, 2);
    pipe_pause(b.pipe);
    while (a.written < 40)
        side_write(&a, &b);
    run_for(net.loop, 5 * SEC_US);
    assert_int_equal(pipe_queued(a.pipe), 0);
    pipe_abort(a.pipe, -ECANCELED); /* without a word */
    run_for(net.loop, SEC_US);
    side_open(&c, &net, 1, NULL);
    c.written = 40;
    while (c.written < 50)
        side_write(&c, &b);
    run_for(net.loop, 20 * SEC_US);
    assert_int_equal(b.expected, 30);
    pipe_resume(b.pipe);
    run_for(net.loop, 5 * SEC_US);
    assert_false(b.wrong);
    assert_int_equal(b.expected, 50);
    assert_int_equal(b.again, 1);
    finish(&net, &b, &c);
}

/* A peer that moved, and is then started again where it was at first, is heard there. */
static void restart_at_the_first_address(void **state)
{
    (void)state;
    struct net net = {.loop = loop_new_virtual(15), .delay_us = 20 * MS_US};
    struct side a, b, c;

    side_open(&a, &net, 1, NULL);
    side_open(&b, &net, 2, NULL);
    talk(&net, &a, &b, 20);
    ((struct end *)turn_ordered_below(b.pipe))->addr.port = 3;
    turn_ordered_moved(b.pipe);
    run_for(net.loop, SEC_US);
    assert_int_equal(a.moved, 1);
    pipe_abort(b.pipe, -ECANCELED);
    run_for(net.loop, SEC_US);
    side_open(&c, &net, 2, NULL);
    c.expected = c.written = 20;
    side_write(&c, &a);
    side_write(&a, &c);
    run_for(net.loop, 2 * SEC_US);
    assert_int_equal(a.expected, 21);
    assert_int_equal(c.expected, 21);
    assert_int_equal(a.moved, 2);
    finish(&net, &a, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_network),
        cmocka_unit_test(bad_networks),
        cmocka_unit_test(slow_reader),
        cmocka_unit_test(outages),
        cmocka_unit_test(restarts),
        cmocka_unit_test(moves),
        cmocka_unit_test(strangers),
        cmocka_unit_test(closing),
        cmocka_unit_test(closing_takes_nothing),
        cmocka_unit_test(leaving),
        cmocka_unit_test(restart_within_a_message),
        cmocka_unit_test(gone_within_a_message),
        cmocka_unit_test(empty_messages),
        cmocka_unit_test(room_for_short_messages),
        cmocka_unit_test(many_who_vanish),
        cmocka_unit_test(others_while_delivering),
        cmocka_unit_test(ends_of_a_sender_while_paused),
        cmocka_unit_test(restart_at_the_first_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
