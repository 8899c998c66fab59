/* SPDX-License-Identifier: MIT */
/* Theory of operation: the lab's router in virtual time: its link, rubbish, settings, control. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "wire_world.h"

#define A 5000
#define R 7000

/* --- The link --- */

/* Sends count packets of len bytes up, each interval apart, and waits for them all. */
static void stream(struct world *world, unsigned count, size_t len, int64_t interval)
{
    uint8_t bytes[PACKET_ROOM];
    for (unsigned i = 0; i < count; i++) {
        size_t head = make(world, bytes, host(world, 'a', A), host(world, 'r', R), 0, 0);
        size_t made = make(world, bytes, host(world, 'a', A), host(world, 'r', R), 0, len - head);
        feed(world, UP, bytes, made);
        world->now += interval;
        gate_deliver(&world->gate, world->now, 1000);
    }
}

static void finish(struct world *world)
{
    while (gate_next(&world->gate) != LINK_NEVER) {
        world->now = gate_next(&world->gate);
        gate_deliver(&world->gate, world->now, 1);
    }
}

static void delay(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_UDP, "up.delay=20 down.delay=30.5");
    assert_int_equal(leave(&world, 'a', A, 'r', R), 0); /* not yet */
    assert_int_equal(gate_next(&world.gate), world.now + 20 * MS);
    gate_deliver(&world.gate, world.now + 20 * MS - 1, 10);
    assert_int_equal(world.sent[DOWN], 0);
    world.now += 20 * MS;
    assert_false(gate_deliver(&world.gate, world.now, 10));
    assert_int_equal(world.sent[DOWN], 1);
    assert_false(enter(&world, 'r', R, A, 'a', A));
    assert_int_equal(gate_next(&world.gate), world.now + 30 * MS + MS / 2);
    nat_flush(world.gate.nat); /* what is under way is looked up when it arrives */
    finish(&world);
    assert_int_equal(world.sent[UP], 0);
    assert_int_equal(counted(&world, DOWN, GATE_UNSOLICITED), 1);
    /* a shorter delay lets nobody overtake */
    leave(&world, 'a', A, 'r', R);
    int64_t first = gate_next(&world.gate);
    world_set(&world, "delay=0");
    leave(&world, 'a', A, 'r', R);
    gate_deliver(&world.gate, first - 1, 10);
    assert_int_equal(world.sent[DOWN], 1);
    assert_true(gate_deliver(&world.gate, first, 1));
    assert_false(gate_deliver(&world.gate, first, 1));
    assert_int_equal(world.sent[DOWN], 3);
    world.now = first;
    leave(&world, 'a', A, 'r', R); /* and now it is immediate */
    assert_int_equal(world.sent[DOWN], 4);
    /* but not before one that is due and has not been handed on */
    world_set(&world, "delay=5");
    leave(&world, 'a', A, 'r', R);
    world_set(&world, "delay=0");
    world.now += 10 * MS;
    leave(&world, 'a', A, 'r', R);
    assert_int_equal(world.sent[DOWN], 4);
    finish(&world);
    assert_int_equal(world.sent[DOWN], 6);
    gate_free(&world.gate);
}

static void rate(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_UDP, "up.rate=8m up.queue=1m"); /* 1 byte takes a microsecond */
    int64_t start = world.now;
    stream(&world, 100, 1000, 0);
    assert_int_equal(world.sent[DOWN], 0);
    finish(&world);
    assert_int_equal(world.sent[DOWN], 100);
    assert_int_equal(world.now - start, 100 * MS);

    /* twice the rate in the middle of it */
    start = world.now;
    stream(&world, 100, 1000, 0);
    world.now += 50 * MS;
    gate_deliver(&world.gate, world.now, 1000);
    assert_int_equal(world.sent[DOWN], 150);
    world_set(&world, "up.rate=16m");
    stream(&world, 1, 1000, 0);
    finish(&world);
    assert_int_equal(world.sent[DOWN], 201);
    assert_int_equal((world.now - start) / MS, 100); /* those under way keep their time */
    stream(&world, 10, 1000, 0);
    start = world.now;
    finish(&world);
    assert_int_equal(world.now - start, 5 * MS);
    gate_free(&world.gate);
}

static void queues(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_UDP, "up.rate=8m up.queue=10");
    stream(&world, 50, 1000, 0);
    finish(&world);
    assert_int_equal(world.sent[DOWN], 10);
    assert_int_equal(counted(&world, UP, GATE_QUEUE_FULL), 40);
    stream(&world, 50, 1000, 2 * MS); /* slower than the rate: none is lost */
    assert_int_equal(world.sent[DOWN], 60);
    world_set(&world, "up.queue=5000b");
    stream(&world, 50, 1000, 0);
    finish(&world);
    assert_int_equal(world.sent[DOWN], 65);
    stream(&world, 5, 1000, 0);
    world_set(&world, "up.rate=800k"); /* the same bytes wait, longer */
    stream(&world, 5, 1000, 0);
    finish(&world);
    assert_int_equal(world.sent[DOWN], 70);
    world.now += SEC;
    world_set(&world, "up.rate=8m up.queue=0"); /* 100 ms of the rate: 100 kB */
    stream(&world, 200, 1000, 0);
    finish(&world);
    assert_int_equal(world.sent[DOWN], 170);
    gate_free(&world.gate);
}

static void loss(void **state)
{
    (void)state;
    struct world world;
    unsigned got[2];
    for (int run = 0; run < 2; run++) {
        world_open(&world, 0, FLOW_UDP, "up.loss=10 seed=5");
        stream(&world, 10000, 100, 0);
        got[run] = world.sent[DOWN];
        assert_int_equal(got[run] + counted(&world, UP, GATE_LOST), 10000);
        gate_free(&world.gate);
    }
    assert_in_range(got[0], 8850, 9150);
    assert_int_equal(got[0], got[1]);

    world_open(&world, 0, FLOW_UDP, "up.loss=10 up.loss.burst=5 seed=5");
    unsigned runs = 0, lost = 0;
    bool was_lost = false;
    for (int i = 0; i < 20000; i++) {
        bool is_lost = leave(&world, 'a', A, 'r', R) == 0;
        runs += is_lost && !was_lost;
        lost += is_lost;
        was_lost = is_lost;
    }
    assert_in_range(lost, 1600, 2400);
    assert_in_range(lost * 10 / runs, 42, 58); /* the mean run, in tenths */
    world_set(&world, "loss=100");
    assert_int_equal(leave(&world, 'a', A, 'r', R), 0);
    world_set(&world, "loss=0");
    assert_int_equal(leave(&world, 'a', A, 'r', R), A);
    gate_free(&world.gate);
}

/* Ports as numbers of packets: in what order they came. */
static unsigned late_of(struct world *world, unsigned count)
{
    unsigned late = 0, highest = 0;
    uint8_t bytes[PACKET_ROOM];
    for (unsigned i = 1; i <= count || gate_next(&world->gate) != LINK_NEVER;) {
        int64_t next = gate_next(&world->gate);
        if (i <= count && world->now <= next) {
            size_t len =
                make(world, bytes, host(world, 'a', A), host(world, 'r', (uint16_t)i++), 0, 20);
            feed(world, UP, bytes, len);
            world->now += MS;
            continue;
        }
        world->now = world->now > next ? world->now : next;
        unsigned before = world->sent[DOWN];
        gate_deliver(&world->gate, next, 1);
        if (world->sent[DOWN] == before)
            continue;
        unsigned number = world->seen[DOWN].destination.port;
        late += number < highest;
        highest = number > highest ? number : highest;
    }
    return late;
}

static void order(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_UDP, "up.delay=50 up.jitter=40");
    assert_int_equal(late_of(&world, 1000), 0);
    assert_int_equal(world.sent[DOWN], 1000);
    world_set(&world, "up.jitter=0 up.reorder=10 up.reorder.delay=5");
    assert_in_range(late_of(&world, 1000), 60, 140);
    assert_int_equal(world.sent[DOWN], 2000);
    world_set(&world, "up.reorder=0 up.duplicate=20");
    assert_int_equal(late_of(&world, 1000), 0);
    assert_in_range(world.sent[DOWN], 3150, 3250);
    assert_int_equal(world.sent[DOWN] - 3000, world.gate.link[UP].duplicated);
    /* late ones among themselves come in order of time */
    world_set(&world, "up.duplicate=0 up.reorder=100 up.reorder.delay=30");
    leave(&world, 'a', A, 'r', R);
    world_set(&world, "up.reorder.delay=10");
    leave(&world, 'a', A, 'r', R + 1);
    world.now = gate_next(&world.gate);
    gate_deliver(&world.gate, world.now, 10);
    assert_int_equal(world.seen[DOWN].destination.port, R + 1);
    finish(&world);
    assert_int_equal(world.seen[DOWN].destination.port, R);
    gate_free(&world.gate);
}

static void cut(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_UDP, "delay=10 nat=off");
    leave(&world, 'a', A, 'r', R);
    gate_cut(&world.gate, UP, true);
    assert_int_equal(gate_next(&world.gate), LINK_NEVER);
    leave(&world, 'a', A, 'r', R);
    assert_int_equal(counted(&world, UP, GATE_CUT), 2);
    pass_flags(&world, DOWN, 'r', R, 'a', A, 0);
    finish(&world);
    assert_int_equal(world.sent[UP], 1);
    assert_int_equal(world.sent[DOWN], 0);
    gate_cut(&world.gate, UP, false);
    leave(&world, 'a', A, 'r', R);
    finish(&world);
    assert_int_equal(world.sent[DOWN], 1);
    gate_free(&world.gate);
}

/* What the device said of a packet is said to the other, also after a wait. */
static void trains(void **state)
{
    (void)state;
    struct world world;
    uint8_t bytes[PACKET_ROOM];
    for (int family = 0; family < 2; family++) {
        world_open(&world, family, FLOW_TCP, "");
        assert_true(gate_takes_trains(&world.gate));
        for (int i = 0; i < 2; i++) {
            size_t len =
                make(&world, bytes, host(&world, 'a', A), host(&world, 'r', R), PACKET_SYN, 2000);
            size_t transport = family ? 40 : 20;
            put(bytes + transport + 16, 0); /* no checksum */
            struct parcel parcel = {bytes, len, {true, 1, 1000}};
            gate_receive(&world.gate, UP, &parcel, world.now);
            finish(&world);
            assert_int_equal(world.sent[DOWN], i + 1);
            assert_true(world.shape.is_unsummed);
            assert_int_equal(world.shape.train, 1);
            assert_int_equal(world.shape.segment, 1000);
            assert_true(is_host(&world, &world.seen[DOWN].source, 'x', A));
            /* The pseudo header's sum, to which the kernel adds the rest: with it added, it holds.
             */
            struct packet *seen = &world.seen[DOWN];
            uint8_t *transported = seen->data + seen->transport;
            put(transported + 16, sum_of(transported, seen->len - seen->transport, 0));
            assert_true(packet_sums_hold(seen));
            world_set(&world, "delay=5");
        }
        assert_true(gate_takes_trains(&world.gate));
        static const char *const others[] = {"up.rate=1g", "down.loss=1", "duplicate=1",
                                             "reorder=1",  "jitter=1",    "mtu=1400",
                                             "offload=off"};
        struct settings plain = world.gate.settings;
        for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
            world_set(&world, others[i]);
            assert_false(gate_takes_trains(&world.gate));
            gate_configure(&world.gate, &plain, world.now);
        }
        gate_free(&world.gate);
    }
}

/* Everything at once: what goes in comes out or is counted. */
static void nothing_vanishes(void **state)
{
    (void)state;
    struct world world;
    struct chance chance = {3};
    world_open(&world, 0, FLOW_UDP,
               "delay=10 jitter=5 loss=2 duplicate=2 reorder=5 rate=20m queue=50 "
               "udp.filtering=ad udp.timeout=1 max.mappings=200 block=udp:7007");
    uint8_t bytes[PACKET_ROOM];
    for (int i = 0; i < 20000; i++) {
        world.flow = (enum flow)chance_below(&chance, FLOW_COUNT);
        char remote = chance_below(&chance, 2) ? 'r' : 's';
        uint16_t port = (uint16_t)(A + chance_below(&chance, 300)),
                 to = (uint16_t)(R + chance_below(&chance, 10));
        enum direction direction = chance_below(&chance, 3) ? UP : DOWN;
        struct endpoint inside = host(&world, chance_below(&chance, 2) ? 'a' : 'b', port);
        struct endpoint outside = host(&world, remote, to), external = host(&world, 'x', port);
        size_t len =
            make(&world, bytes, direction == UP ? inside : outside,
                 direction == UP ? outside : external, (unsigned)chance_below(&chance, 32), 500);
        feed(&world, direction, bytes, len);
        world.now += (int64_t)chance_below(&chance, 400000);
        gate_deliver(&world.gate, world.now, 100);
        if (i == 10000)
            gate_cut(&world.gate, DOWN, true);
        if (i == 10100)
            gate_cut(&world.gate, DOWN, false);
    }
    finish(&world);
    for (int i = 0; i < 2; i++) {
        const uint64_t *counts = world.gate.counts[i];
        uint64_t out = 0;
        for (int j = GATE_SENT; j <= GATE_HAIRPINNED; j++)
            out += j == GATE_SENT_BYTES ? 0 : counts[j];
        assert_int_equal(counts[GATE_RECEIVED] + world.gate.link[i].duplicated, out);
        assert_true(counts[GATE_SENT] > 100);
    }
    gate_free(&world.gate);
}

/* --- Input of all kinds --- */

/* No packet, however broken, may do harm; under a sanitizer this says something. */
static void rubbish(void **state)
{
    (void)state;
    struct chance chance = {42};
    uint8_t bytes[PACKET_ROOM];
    for (int i = 0; i < 20000; i++) {
        struct world world = {.family = i & 1, .flow = (enum flow)((i >> 1) % FLOW_COUNT)};
        struct packet packet, quoted;
        size_t len = make(&world, bytes, host(&world, 'a', A), host(&world, 'r', R), 0, 64);
        if (i % 3 == 0)
            len = make_error(&world, bytes, host(&world, 'r', 0), host(&world, 'a', 0),
                             (unsigned)chance_below(&chance, 16), 0, bytes, len);
        for (unsigned j = 0; j <= i % 7U; j++)
            bytes[chance_below(&chance, len)] = (uint8_t)chance_next(&chance);
        len = chance_below(&chance, len + 1);
        uint8_t *exact = malloc(len + !len);
        memcpy(exact, bytes, len);
        if (packet_parse(exact, len, &packet) > 0) {
            uint8_t answer[PACKET_ERROR_BYTES];
            struct endpoint to = packet.is_ipv6 ? (struct endpoint){.port = 1} : packet.source;
            packet_set_source(&packet, &to);
            packet_set_destination(&packet, &to);
            if (packet_parse_quoted(&packet, &quoted) > 0) {
                packet_set_source(&quoted, &to);
                packet_sum_error(&packet);
            }
            packet_make_reset(&packet, answer);
            packet_make_error(&packet, PACKET_EXPIRED, &to.ip, 0, answer);
            packet_sums_hold(&packet);
        }
        free(exact);
    }
}

/* --- Settings and control --- */

static void settings(void **state)
{
    (void)state;
    struct settings settings;
    char error[SETTINGS_ERROR_BYTES];
    settings_init(&settings, 1);
    assert_true(settings_check(&settings, error));
    assert_true(settings_set(&settings, "nat", "on", error));
    assert_false(settings_check(&settings, error));
    assert_non_null(strstr(error, "external"));
    assert_false(settings_set(&settings, "nat", "maybe", error));
    assert_string_equal(error, "nat: bad value: maybe; one of off|on|firewall");
    assert_false(settings_set(&settings, "up.nat", "on", error));
    assert_string_equal(error, "unknown key: up.nat");
    static const char *const bad[][2] = {
        {"delay", "-1"},
        {"delay", "1x"},
        {"delay", "nan"},
        {"delay", ""},
        {"loss", "101"},
        {"rate", "1q"},
        {"rate", "m"},
        {"queue", "k"},
        {"queue", "999999999"},
        {"udp.ports", "step:0"},
        {"udp.ports", "step:"},
        {"ports", "5-4"},
        {"ports", "0-4"},
        {"external", "fe80::1"},
        {"external", "2001:db8::1"},
        {"external", "1.2.3"},
        {"forward", "tcp:1:10.0.0.1"},
        {"forward", "icmp:1:10.0.0.1:1"},
        {"forward", "tcp:0:10.0.0.1:1"},
        {"block", "sctp"},
        {"block", "udp:0"},
        {"block", "udp:5-"},
        {"allow.tcp", "http"},
        {"mtu", "70000"},
        {"max.mappings", "1e9"},
        {"seed", "-1"},
        {"udp.mapping", ""},
        {"udp.mapping", "ei|ad"},
        {"address", "here"},
        {"icmp.mapping", "ei"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (settings_set(&settings, bad[i][0], bad[i][1], error))
            fail_msg("%s=%s was taken", bad[i][0], bad[i][1]);
    assert_true(settings_set(&settings, "rate", "1.5g", error));
    assert_int_equal(settings.link[UP].rate, 1500000000);
    assert_int_equal(settings.link[DOWN].rate, 1500000000);
    assert_true(settings_set(&settings, "down.rate", "20k", error));
    assert_int_equal(settings.link[UP].rate, 1500000000);
    assert_int_equal(settings.link[DOWN].rate, 20000);
}

static void ask(struct world *world, const char *request, const char *expected)
{
    char *answer = control_answer(&world->gate, request, world->now);
    if (!answer || !strstr(answer, expected))
        fail_msg("%s: %s; expected: %s", request, answer, expected);
    free(answer);
}

static void control(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_TCP, "");
    ask(&world, "{\"set\":{\"delay\":\"5\",\"up.loss\":1.5,\"seed\":9}}", "{\"ok\":true}");
    assert_int_equal(world.gate.link[DOWN].config.delay, 5 * MS);
    ask(&world, "{\"set\":{\"delay\":\"7\",\"nat\":\"on?\"}}", "nat: bad value: on?");
    assert_int_equal(world.gate.link[DOWN].config.delay, 5 * MS); /* nothing of it was done */
    ask(&world, "{\"set\":{\"delai\":\"7\"}}", "unknown key: delai");
    ask(&world, "{\"set\":{\"delay\":true}}", "\"error\"");
    ask(&world, "{\"set\":[]}", "\"error\"");
    ask(&world, "{\"set\":{\"external\":\"\"}}", "nat=on needs external");
    ask(&world, "{\"set\":{\"delay\":0,\"loss\":0}}", "\"ok\"");
    leave(&world, 'a', A, 'r', R);
    ask(&world, "{\"get\":\"mappings\"}",
        "{\"proto\":\"tcp\",\"inside\":\"10.0.0.2:5000\",\"external\":\"203.0.113.1:5000\","
        "\"static\":false,\"expires\":240.0,\"sessions\":[{\"remote\":\"198.51.100.1:7000\","
        "\"expires\":240.0,\"state\":\"syn-left\"}]}");
    ask(&world, "{\"get\":\"stats\"}", "\"mappings\":1,\"sessions\":1,\"seed\":9");
    ask(&world, "{\"do\":\"cut\",\"direction\":\"down\"}", "\"ok\"");
    assert_true(world.gate.link[DOWN].is_cut && !world.gate.link[UP].is_cut);
    ask(&world, "{\"do\":\"cut\",\"direction\":\"sideways\"}", "up|down|both");
    ask(&world, "{\"do\":\"restore\"}", "\"ok\"");
    assert_false(world.gate.link[DOWN].is_cut);
    ask(&world, "{\"do\":\"flush\"}", "\"ok\"");
    assert_int_equal(nat_mapping_count(world.gate.nat), 0);
    leave(&world, 'a', A, 'r', R);
    ask(&world, "{\"do\":\"renumber\",\"external\":\"203.0.113.2,2001:db8:f::2\"}", "\"ok\"");
    assert_false(enter(&world, 'r', R, A, 'a', A));
    leave(&world, 'a', A, 'r', R);
    assert_true(is_host(&world, &world.seen[DOWN].source, 'y', A));
    assert_int_equal(world.gate.settings.nat.external_count[1], 1);
    ask(&world, "{\"do\":\"renumber\"}", "external is needed");
    ask(&world, "{\"do\":\"renumber\",\"external\":\"here\"}", "external: bad value: here");
    ask(&world, "{\"do\":\"dance\"}", "cut|restore|flush|renumber");
    ask(&world, "{\"get\":\"lost\"}", "stats|mappings");
    ask(&world, "{\"get\":\"stats\",\"do\":\"cut\"}", "one of set, do, get");
    ask(&world, "{}", "one of set, do, get");
    ask(&world, "[]", "JSON object");
    ask(&world, "{\"get\":", "\"error\"");
    gate_free(&world.gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delay),   cmocka_unit_test(rate),
        cmocka_unit_test(queues),  cmocka_unit_test(loss),
        cmocka_unit_test(order),   cmocka_unit_test(cut),
        cmocka_unit_test(trains),  cmocka_unit_test(nothing_vanishes),
        cmocka_unit_test(rubbish), cmocka_unit_test(settings),
        cmocka_unit_test(control),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
