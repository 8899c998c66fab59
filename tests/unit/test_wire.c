/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the lab's router in virtual time: translator, firewall,
 * ICMP. Packets are made by the test, go through a
 * gate, and are looked at when they come out; every one that does must have right checksums. Most
 * tests run for UDP and TCP, over IPv4 and IPv6.
 */
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

static void each(void (*check)(int family, enum flow flow))
{
    for (int family = 0; family < 2; family++) {
        check(family, FLOW_UDP);
        check(family, FLOW_TCP);
    }
}

/* A world whose KEY=VALUE have % for the flow's name. */
static void open_with(struct world *world, int family, enum flow flow, const char *text)
{
    char copy[512], *to = copy;
    for (const char *at = text; *at; at++) {
        if (*at == '%')
            to = stpcpy(to, flow == FLOW_TCP ? "tcp" : "udp");
        else
            *to++ = *at;
    }
    *to = '\0';
    world_open(world, family, flow, copy);
}

/* --- Mapping --- */

static void mapping_of(int family, enum flow flow)
{
    struct world world;
    static const char *const scopes[] = {"%.mapping=ei", "%.mapping=ad", "%.mapping=apd"};
    for (int scope = 0; scope < 3; scope++) {
        open_with(&world, family, flow, scopes[scope]);
        unsigned first = leave(&world, 'a', A, 'r', R);
        assert_int_equal(first, A);
        assert_true(is_host(&world, &world.seen[DOWN].source, 'x', A));
        assert_int_equal(leave(&world, 'a', A, 'r', R), first);
        assert_int_equal(leave(&world, 'a', A, 'r', R + 1) == first, scope < 2);
        assert_int_equal(leave(&world, 'a', A, 's', R) == first, scope < 1);
        assert_int_equal(nat_mapping_count(world.gate.nat), scope + 1);
        assert_int_equal(nat_session_count(world.gate.nat), 3);
        /* another inside port has another mapping in any case */
        assert_int_not_equal(leave(&world, 'a', A + 100, 'r', R), first);
        gate_free(&world.gate);
    }
}

static void mapping(void **state)
{
    (void)state;
    each(mapping_of);
}

/* UDP and TCP do not share mappings, nor do their rules. */
static void protocols_apart(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_UDP, "udp.mapping=apd tcp.mapping=ei");
    leave(&world, 'a', A, 'r', R);
    assert_int_not_equal(leave(&world, 'a', A, 's', R), A);
    world.flow = FLOW_TCP;
    assert_int_equal(leave(&world, 'a', A, 'r', R), A);
    assert_int_equal(leave(&world, 'a', A, 's', R), A);
    gate_free(&world.gate);
}

/* --- Filtering --- */

static void filtering_of(int family, enum flow flow)
{
    struct world world;
    static const char *const scopes[] = {"%.filtering=ei", "%.filtering=ad", "%.filtering=apd"};
    for (int scope = 0; scope < 3; scope++) {
        open_with(&world, family, flow, scopes[scope]);
        assert_false(enter(&world, 'r', R, A, 'a', A));
        assert_int_equal(leave(&world, 'a', A, 'r', R), A);
        assert_true(enter(&world, 'r', R, A, 'a', A));
        assert_int_equal(enter(&world, 'r', R + 1, A, 'a', A), scope < 2);
        assert_int_equal(enter(&world, 's', R, A, 'a', A), scope < 1);
        assert_int_equal(counted(&world, DOWN, GATE_UNSOLICITED), 1);
        assert_int_equal(counted(&world, DOWN, GATE_FILTERED), scope);
        gate_free(&world.gate);
    }
}

static void filtering(void **state)
{
    (void)state;
    each(filtering_of);
}

/* What answers a packet that was let in leaves by the mapping it came through. */
static void answers_by_the_same_mapping_of(int family, enum flow flow)
{
    struct world world;
    open_with(&world, family, flow, "%.mapping=apd %.filtering=ei %.ports=random");
    unsigned first = leave(&world, 'a', A, 'r', R);
    assert_true(enter(&world, 's', R, first, 'a', A));
    const struct packet *answer = pass_flags(&world, UP, 'a', A, 's', R, PACKET_SYN | PACKET_ACK);
    assert_non_null(answer);
    assert_int_equal(answer->source.port, first);
    gate_free(&world.gate);
}

static void answers_by_the_same_mapping(void **state)
{
    (void)state;
    each(answers_by_the_same_mapping_of);
}

/* --- Ports --- */

static void ports_of(int family, enum flow flow)
{
    struct world world;
    open_with(&world, family, flow, "%.ports=preserve");
    assert_int_equal(leave(&world, 'a', A, 'r', R), A);
    assert_int_equal(leave(&world, 'b', A, 'r', R), A + 1);
    assert_int_equal(leave(&world, 'a', A + 1, 'r', R), A + 2);
    assert_true(enter(&world, 'r', R, A + 1, 'b', A));
    world_set(&world, "ports=20000-20009");
    unsigned moved = leave(&world, 'a', A + 7, 'r', R);
    assert_in_range(moved, 20000, 20009);
    gate_free(&world.gate);

    open_with(&world, family, flow, "%.ports=preserve-overload %.mapping=apd");
    assert_int_equal(leave(&world, 'a', A, 'r', R), A);
    assert_int_equal(leave(&world, 'a', A, 's', R), A);
    assert_int_equal(leave(&world, 'b', A, 's', R + 1), A);
    assert_int_equal(leave(&world, 'b', A, 'r', R), A + 1);
    assert_true(enter(&world, 's', R, A, 'a', A));
    assert_true(enter(&world, 's', R + 1, A, 'b', A));
    gate_free(&world.gate);

    open_with(&world, family, flow, "%.ports=sequential %.mapping=apd ports=3000-3003");
    unsigned last = leave(&world, 'a', A, 'r', R);
    for (int i = 1; i < 4; i++) {
        unsigned next = leave(&world, 'a', A, 'r', (uint16_t)(R + i));
        assert_int_equal(next, last == 3003 ? 3000 : last + 1);
        last = next;
    }
    assert_int_equal(leave(&world, 'a', A, 'r', R + 4), 0); /* the range is used up */
    assert_int_equal(counted(&world, UP, GATE_TABLE_FULL), 1);
    gate_free(&world.gate);

    open_with(&world, family, flow, "%.ports=step:5 %.mapping=apd ports=3000-3009");
    last = leave(&world, 'a', A, 'r', R);
    unsigned next = leave(&world, 'a', A, 'r', R + 1);
    assert_int_equal(next, last >= 3005 ? last - 5 : last + 5);
    for (int i = 2; i < 10; i++) /* a step that divides the range still finds every port */
        assert_in_range(leave(&world, 'a', A, 'r', (uint16_t)(R + i)), 3000, 3009);
    gate_free(&world.gate);
}

static void ports(void **state)
{
    (void)state;
    each(ports_of);
}

static void random_ports(void **state)
{
    (void)state;
    struct world world;
    unsigned got[2][50], same = 0, near = 0;
    for (int run = 0; run < 2; run++) {
        world_open(&world, 0, FLOW_UDP, "udp.ports=random udp.mapping=apd seed=99");
        for (int i = 0; i < 50; i++)
            got[run][i] = leave(&world, 'a', A, 'r', (uint16_t)(R + i));
        gate_free(&world.gate);
    }
    for (int i = 1; i < 50; i++) {
        assert_int_equal(got[0][i], got[1][i]); /* the seed says which */
        assert_in_range(got[0][i], 1024, 65535);
        same += got[0][i] == got[0][i - 1];
        near += abs((int)got[0][i] - (int)got[0][i - 1]) < 50;
    }
    assert_int_equal(same, 0);
    assert_true(near < 3);
    world_open(&world, 0, FLOW_UDP, "udp.ports=random ports=2000-2063");
    for (int i = 0; i < 64; i++) /* it finds the last free one */
        assert_int_not_equal(leave(&world, 'a', (uint16_t)(A + i), 'r', R), 0);
    assert_int_equal(leave(&world, 'a', A + 64, 'r', R), 0);
    gate_free(&world.gate);
}

static void pooling_of(int family, enum flow flow)
{
    struct world world;
    for (int paired = 0; paired < 2; paired++) {
        open_with(&world, family, flow, "external=203.0.113.1,203.0.113.2 %.mapping=ei");
        world_set(&world, "external6=2001:db8:f::1,2001:db8:f::2");
        world_set(&world, paired ? "pooling=paired" : "pooling=arbitrary");
        unsigned at_x = 0;
        for (uint16_t i = 0; i < 32; i++) {
            assert_int_not_equal(leave(&world, 'a', (uint16_t)(A + i), 'r', R), 0);
            struct endpoint source = world.seen[DOWN].source;
            at_x += is_host(&world, &source, 'x', source.port);
        }
        assert_int_equal(at_x == 0 || at_x == 32, paired);
        gate_free(&world.gate);
    }
}

static void pooling(void **state)
{
    (void)state;
    each(pooling_of);
}

/* --- Time --- */

static void udp_timeout(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_UDP, "udp.timeout=30 udp.ports=sequential");
    unsigned port = leave(&world, 'a', A, 'r', R);
    world.now += 29 * SEC;
    assert_true(enter(&world, 'r', R, port, 'a', A)); /* refreshes */
    world.now += 29 * SEC;
    assert_int_equal(leave(&world, 'a', A, 'r', R), port);
    world.now += 30 * SEC;
    assert_false(enter(&world, 'r', R, port, 'a', A));
    assert_int_not_equal(leave(&world, 'a', A, 'r', R), port);

    world_set(&world, "udp.refresh=out");
    port = leave(&world, 'a', A, 's', R);
    world.now += 20 * SEC;
    assert_true(enter(&world, 's', R, port, 'a', A));
    world.now += 10 * SEC;
    assert_false(enter(&world, 's', R, port, 'a', A));
    nat_sweep(world.gate.nat, world.now);
    assert_int_equal(nat_mapping_count(world.gate.nat), 0);
    assert_int_equal(nat_session_count(world.gate.nat), 0);
    gate_free(&world.gate);
}

/* A filter closes by itself while another remote keeps the mapping. */
static void filters_expire_apart(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_UDP, "udp.timeout=30");
    leave(&world, 'a', A, 'r', R);
    world.now += 20 * SEC;
    leave(&world, 'a', A, 's', R);
    world.now += 20 * SEC;
    world_set(&world, "udp.filtering=ad");
    assert_false(enter(&world, 'r', R + 1, A, 'a', A));
    assert_true(enter(&world, 's', R + 1, A, 'a', A));
    world_set(&world, "udp.filtering=apd");
    assert_false(enter(&world, 'r', R, A, 'a', A));
    assert_true(enter(&world, 's', R, A, 'a', A));
    gate_free(&world.gate);
}

/* The three segments of a connection from inside. */
static void handshake(struct world *world, char from, uint16_t port, char to, uint16_t to_port)
{
    unsigned external = leave(world, from, port, to, to_port);
    assert_int_not_equal(external, 0);
    assert_non_null(
        pass_flags(world, DOWN, to, to_port, 'x', (uint16_t)external, PACKET_SYN | PACKET_ACK));
    assert_non_null(pass_flags(world, UP, from, port, to, to_port, PACKET_ACK));
}

static void tcp_timeouts(void **state)
{
    (void)state;
    struct world world;
    for (int family = 0; family < 2; family++) {
        world_open(&world, family, FLOW_TCP, "tcp.timeout=1000 tcp.transitory=10");
        leave(&world, 'a', A, 'r', R);
        world.now += 10 * SEC;
        assert_false(enter(&world, 'r', R, A, 'a', A)); /* it never opened */

        handshake(&world, 'a', A, 'r', R);
        world.now += 999 * SEC;
        assert_non_null(pass_flags(&world, DOWN, 'r', R, 'x', A, PACKET_ACK));
        world.now += 999 * SEC;
        assert_non_null(pass_flags(&world, UP, 'a', A, 'r', R, PACKET_FIN | PACKET_ACK));
        world.now += 999 * SEC; /* half closed is open */
        assert_non_null(pass_flags(&world, DOWN, 'r', R, 'x', A, PACKET_FIN | PACKET_ACK));
        world.now += 9 * SEC;
        assert_non_null(pass_flags(&world, UP, 'a', A, 'r', R, PACKET_ACK));
        world.now += 10 * SEC;
        assert_null(pass_flags(&world, UP, 'a', A, 'r', R, PACKET_ACK));
        assert_int_equal(counted(&world, UP, GATE_STRAYS), 1);

        handshake(&world, 'a', A, 'r', R);
        assert_non_null(pass_flags(&world, DOWN, 'r', R, 'x', A, PACKET_RST));
        world.now += 9 * SEC;
        assert_true(enter(&world, 'r', R, A, 'a', A)); /* the mapping was kept */
        world.now += 11 * SEC;
        assert_false(enter(&world, 'r', R, A, 'a', A));

        /* nor is it kept by the time that the connection had left */
        world_set(&world, "tcp.filtering=ei");
        handshake(&world, 'a', A, 'r', R);
        assert_non_null(pass_flags(&world, DOWN, 'r', R, 'x', A, PACKET_RST));
        world.now += 10 * SEC;
        assert_false(enter(&world, 's', R, A, 'a', A));

        world_set(&world, "tcp.rst=close");
        handshake(&world, 'a', A, 'r', R);
        handshake(&world, 'a', A, 's', R);
        assert_non_null(pass_flags(&world, UP, 'a', A, 'r', R, PACKET_RST));
        assert_null(pass_flags(&world, DOWN, 'r', R, 'x', A, PACKET_ACK));
        assert_non_null(pass_flags(&world, DOWN, 's', R, 'x', A, PACKET_ACK));
        assert_non_null(pass_flags(&world, DOWN, 's', R, 'x', A, PACKET_RST));
        assert_int_equal(nat_mapping_count(world.gate.nat), 0);
        gate_free(&world.gate);
    }
}

/* --- TCP --- */

static void simultaneous_open(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_TCP, "tcp.transitory=10 unsolicited=rst");
    assert_int_equal(leave(&world, 'a', A, 'r', R), A);
    assert_true(enter(&world, 'r', R, A, 'a', A));
    unsigned both = PACKET_SYN | PACKET_ACK;
    assert_non_null(pass_flags(&world, UP, 'a', A, 'r', R, both));
    assert_non_null(pass_flags(&world, DOWN, 'r', R, 'x', A, both));
    assert_non_null(pass_flags(&world, UP, 'a', A, 'r', R, PACKET_ACK));
    world.now += 100 * SEC; /* open */
    assert_non_null(pass_flags(&world, DOWN, 'r', R, 'x', A, PACKET_ACK));

    world_set(&world, "tcp.simultaneous=no");
    assert_int_equal(leave(&world, 'a', A + 1, 'r', R), A + 1);
    assert_false(enter(&world, 'r', R, A + 1, 'a', A + 1));
    assert_int_equal(counted(&world, DOWN, GATE_RESETS_MADE), 1);
    assert_non_null(pass_flags(&world, DOWN, 'r', R, 'x', A + 1, both));
    world_set(&world, "tcp.filtering=ei"); /* a SYN that was let in may be repeated */
    assert_true(enter(&world, 's', R, A + 1, 'a', A + 1));
    assert_true(enter(&world, 's', R, A + 1, 'a', A + 1));
    gate_free(&world.gate);
}

static void unsolicited(void **state)
{
    (void)state;
    struct world world;
    for (int family = 0; family < 2; family++) {
        world_open(&world, family, FLOW_TCP, "");
        assert_false(enter(&world, 'r', R, A, 'a', A));
        assert_int_equal(world.sent[DOWN], 0);

        world_set(&world, "unsolicited=rst");
        assert_false(enter(&world, 'r', R, A, 'a', A));
        assert_int_equal(world.sent[DOWN], 1);
        struct packet *answer = &world.seen[DOWN];
        assert_int_equal(answer->tcp_flags, PACKET_RST | PACKET_ACK);
        assert_true(is_host(&world, &answer->source, 'x', A));
        assert_true(is_host(&world, &answer->destination, 'r', R));
        /* it acknowledges the SYN and the 20 bytes that came with it */
        assert_memory_equal(answer->data + answer->transport + 8, "\x12\x34\x56\x8d", 4);
        assert_null(pass_flags(&world, DOWN, 'r', R, 'x', A, PACKET_ACK)); /* only a SYN is */
        assert_int_equal(world.sent[DOWN], 1);

        world_set(&world, "unsolicited=icmp");
        assert_false(enter(&world, 'r', R, A, 'a', A));
        assert_int_equal(world.sent[DOWN], 2);
        assert_true(answer->is_error);
        assert_true(is_host(&world, &answer->source, 'x', 0));
        struct packet quoted;
        assert_true(packet_parse_quoted(answer, &quoted) > 0);
        assert_true(is_host(&world, &quoted.destination, 'x', A));

        world.flow = FLOW_UDP;
        assert_false(enter(&world, 'r', R, A, 'a', A));
        assert_int_equal(world.sent[DOWN], 2);
        world_set(&world, "udp.unsolicited=icmp");
        assert_false(enter(&world, 'r', R, A, 'a', A));
        assert_int_equal(world.sent[DOWN], 3);
        assert_int_equal(counted(&world, DOWN, GATE_UNSOLICITED), 6);
        assert_int_equal(world.sent[UP], 0);
        gate_free(&world.gate);
    }
}

static void strays(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, 0, FLOW_TCP, "tcp.ports=random");
    handshake(&world, 'a', A, 'r', R);
    nat_flush(world.gate.nat);
    assert_null(pass_flags(&world, UP, 'a', A, 'r', R, PACKET_ACK));
    assert_int_equal(world.sent[UP], 1);
    world_set(&world, "tcp.strays=rst");
    assert_null(pass_flags(&world, UP, 'a', A, 'r', R, PACKET_ACK));
    assert_int_equal(world.sent[UP], 2);
    assert_int_equal(world.seen[UP].tcp_flags, PACKET_RST);
    assert_memory_equal(world.seen[UP].data + 24, "\0\0\x43\x21", 4); /* where a was */
    assert_null(pass_flags(&world, UP, 'a', A, 'r', R, PACKET_RST));  /* never answered */
    assert_int_equal(world.sent[UP], 2);
    world_set(&world, "tcp.strays=accept");
    assert_non_null(pass_flags(&world, UP, 'a', A, 'r', R, PACKET_ACK));
    assert_non_null(
        pass_flags(&world, DOWN, 'r', R, 'x', world.seen[DOWN].source.port, PACKET_ACK));
    gate_free(&world.gate);
}

/* --- Other kinds of traversal --- */

static void hairpin_of(int family, enum flow flow)
{
    struct world world;
    open_with(&world, family, flow, "%.filtering=ei delay=50");
    feed(&world, UP, (uint8_t[1]){0}, 1); /* rubbish is counted */
    assert_int_equal(counted(&world, UP, GATE_BAD), 1);
    leave(&world, 'b', A, 'r', R);
    unsigned inside = world.sent[UP];
    pass_flags(&world, UP, 'a', A + 9, 'x', A, 0); /* at once: it does not cross the link */
    assert_int_equal(world.sent[UP], inside + 1);
    assert_true(is_host(&world, &world.seen[UP].source, 'x', A + 9));
    assert_true(is_host(&world, &world.seen[UP].destination, 'b', A));
    pass_flags(&world, UP, 'b', A, 'x', A + 9, PACKET_SYN | PACKET_ACK);
    assert_int_equal(world.sent[UP], inside + 2);
    assert_true(is_host(&world, &world.seen[UP].source, 'x', A));
    assert_true(is_host(&world, &world.seen[UP].destination, 'a', A + 9));
    world_set(&world, "hairpin=no");
    pass_flags(&world, UP, 'a', A + 9, 'x', A, 0);
    assert_int_equal(world.sent[UP], inside + 2);
    gate_free(&world.gate);
}

static void hairpin(void **state)
{
    (void)state;
    each(hairpin_of);
}

static void forward_of(int family, enum flow flow)
{
    struct world world;
    open_with(&world, family, flow,
              family ? "forward=%:80:[fd00::3]:8080" : "forward=%:80:10.0.0.3:8080");
    assert_true(enter(&world, 's', R, 80, 'b', 8080));
    const struct packet *answer =
        pass_flags(&world, UP, 'b', 8080, 's', R, PACKET_SYN | PACKET_ACK);
    assert_non_null(answer);
    assert_true(is_host(&world, &answer->source, 'x', 80));
    assert_int_equal(leave(&world, 'b', 8080, 'r', R), 80); /* what begins there uses it, too */
    world_set(&world, flow == FLOW_TCP ? "tcp.mapping=apd" : "udp.mapping=apd");
    assert_int_equal(leave(&world, 'b', 8080, 'r', R + 1), 80);
    nat_flush(world.gate.nat);
    world.now += 1000000 * SEC;
    assert_true(enter(&world, 's', R, 80, 'b', 8080));
    world_set(&world, "forward=");
    assert_false(enter(&world, 's', R, 80, 'b', 8080));
    assert_int_equal(nat_mapping_count(world.gate.nat), 0);
    gate_free(&world.gate);
}

static void forward(void **state)
{
    (void)state;
    each(forward_of);
}

static void firewall_of(int family, enum flow flow)
{
    struct world world;
    open_with(&world, family, flow, "nat=firewall nat6=firewall");
    assert_null(pass_flags(&world, DOWN, 'r', R, 'a', A, 0));
    const struct packet *packet = pass_flags(&world, UP, 'a', A, 'r', R, 0);
    assert_true(is_host(&world, &packet->source, 'a', A));
    packet = pass_flags(&world, DOWN, 'r', R, 'a', A, PACKET_SYN | PACKET_ACK);
    assert_true(is_host(&world, &packet->destination, 'a', A));
    assert_null(pass_flags(&world, DOWN, 's', R, 'a', A, 0));
    world_set(&world, "nat=off nat6=off");
    assert_non_null(pass_flags(&world, DOWN, 's', R, 'b', A, 0));
    gate_free(&world.gate);
}

static void firewall(void **state)
{
    (void)state;
    each(firewall_of);
}

static void blocks_of(int family, enum flow flow)
{
    struct world world;
    open_with(&world, family, flow, "nat=off nat6=off block=%:7000-7001,198.51.100.2");
    assert_int_equal(leave(&world, 'a', A, 'r', 7001), 0);
    assert_int_equal(leave(&world, 'a', A, 'r', 7002), A);
    assert_null(pass_flags(&world, DOWN, 'r', 7000, 'a', A, 0));
    assert_int_equal(leave(&world, 'a', A, 's', 7002), family ? A : 0);
    world_set(&world, "block=all");
    assert_int_equal(leave(&world, 'a', A, 'r', 7002), 0);
    world_set(&world, family ? "block=ipv4" : "block=ipv6");
    assert_int_equal(leave(&world, 'a', A, 'r', 7002), A);
    world_set(&world, "block= allow.tcp=443,80 allow.udp=443,80");
    assert_int_equal(leave(&world, 'a', A, 'r', 81), 0);
    assert_int_equal(leave(&world, 'a', A, 'r', 80), A);
    unsigned before = world.sent[UP];
    world_set(&world, "blocked=rst");
    leave(&world, 'a', A, 'r', 81);
    assert_int_equal(world.sent[UP], before + (flow == FLOW_TCP));
    world_set(&world, "blocked=icmp");
    leave(&world, 'a', A, 'r', 81);
    assert_true(world.seen[UP].is_error);
    assert_int_equal(counted(&world, UP, GATE_BLOCKED), family ? 5 : 6);
    gate_free(&world.gate);
}

static void blocks(void **state)
{
    (void)state;
    each(blocks_of);
}

static void limits_of(int family, enum flow flow)
{
    struct world world;
    open_with(&world, family, flow, "max.mappings=2 %.timeout=10 tcp.transitory=10");
    assert_int_equal(leave(&world, 'a', A, 'r', R), A);
    assert_int_equal(leave(&world, 'a', A + 1, 'r', R), A + 1);
    assert_int_equal(leave(&world, 'a', A + 2, 'r', R), 0);
    assert_int_equal(leave(&world, 'a', A + 1, 's', R), A + 1);
    world.now += 10 * SEC;
    assert_int_equal(leave(&world, 'a', A + 2, 'r', R), A + 2);
    nat_flush(world.gate.nat);
    assert_false(enter(&world, 'r', R, A + 2, 'a', A + 2));

    leave(&world, 'a', A, 'r', R);
    world_set(&world, "external=203.0.113.2 external6=2001:db8:f::2");
    assert_int_equal(nat_mapping_count(world.gate.nat), 0);
    leave(&world, 'a', A, 'r', R);
    assert_true(is_host(&world, &world.seen[DOWN].source, 'y', A));
    gate_free(&world.gate);
}

static void limits(void **state)
{
    (void)state;
    each(limits_of);
}

/* --- ICMP --- */

static void echo(void **state)
{
    (void)state;
    struct world world;
    for (int family = 0; family < 2; family++) {
        world_open(&world, family, FLOW_ICMP, "icmp.timeout=5");
        const struct packet *packet = pass_flags(&world, UP, 'a', 7777, 'r', 0, 0);
        assert_true(is_host(&world, &packet->source, 'x', 7777));
        packet = pass_flags(&world, UP, 'b', 7777, 'r', 0, 0);
        assert_non_null(packet);
        uint16_t other = packet->source.port;
        assert_int_not_equal(other, 7777);
        packet = pass_flags(&world, DOWN, 'r', 0, 'x', other, 0);
        assert_true(is_host(&world, &packet->destination, 'b', 7777));
        assert_null(pass_flags(&world, DOWN, 's', 0, 'x', 7777, 0));
        assert_null(pass_flags(&world, DOWN, 'r', 9, 'x', 0, 0)); /* an echo request */
        world.now += 5 * SEC;
        assert_null(pass_flags(&world, DOWN, 'r', 0, 'x', 7777, 0));

        /* the identifier is the asker's: another destination does not touch it */
        uint8_t bytes[PACKET_ROOM];
        struct packet request;
        size_t len = make(&world, bytes, host(&world, 'a', 7777), host(&world, 'r', 0), 0, 20);
        assert_true(packet_parse(bytes, len, &request) > 0);
        struct endpoint to = host(&world, 's', 9);
        packet_set_destination(&request, &to);
        assert_true(packet_sums_hold(&request));
        assert_int_equal(bytes[request.transport + 4] << 8 | bytes[request.transport + 5], 7777);
        gate_free(&world.gate);
    }
}

static void errors_of(int family, enum flow flow)
{
    struct world world;
    uint8_t bytes[PACKET_ROOM];
    struct packet quoted;
    unsigned type = family ? 1 : 3, code = family ? 4 : 3;
    open_with(&world, family, flow, "%.ports=random");
    unsigned port = leave(&world, 'a', A, 'r', R);
    uint8_t left[PACKET_ROOM];
    size_t left_len = world.seen[DOWN].len;
    memcpy(left, world.seen[DOWN].data, left_len);

    /* From a router outside, about what left; quoting all, and only 8 bytes of the transport. */
    size_t least = (family ? 40 : 20) + 8;
    for (int i = 0; i < 2; i++) {
        size_t len = make_error(&world, bytes, host(&world, 's', 0), host(&world, 'x', 0), type,
                                code, left, i ? least : left_len);
        const struct packet *packet = feed(&world, DOWN, bytes, len);
        assert_non_null(packet);
        assert_true(is_host(&world, &packet->source, 's', 0));
        assert_true(is_host(&world, &packet->destination, 'a', 0));
        assert_true(packet_parse_quoted(packet, &quoted) > 0);
        assert_true(is_host(&world, &quoted.source, 'a', A));
        assert_true(is_host(&world, &quoted.destination, 'r', R));
    }
    /* The mapping is still there (RFC 4787 REQ-12), and a forged error finds nothing. */
    assert_true(enter(&world, 'r', R, port, 'a', A));
    size_t len = make_error(&world, bytes, host(&world, 's', 0), host(&world, 'x', 0), type, code,
                            left, left_len);
    bytes[(family ? 40 : 20) + 8 + (family ? 40 : 20) + 3] ^= 1; /* another remote port */
    assert_null(feed(&world, DOWN, bytes, len));
    assert_int_equal(counted(&world, DOWN, GATE_UNTRANSLATABLE), 1);

    /* From a about what entered. */
    assert_true(enter(&world, 'r', R, port, 'a', A));
    len = make_error(&world, bytes, host(&world, 'a', 0), host(&world, 'r', 0), type, code,
                     world.seen[UP].data, world.seen[UP].len);
    const struct packet *packet = feed(&world, UP, bytes, len);
    assert_non_null(packet);
    assert_true(is_host(&world, &packet->source, 'x', 0));
    assert_true(packet_parse_quoted(packet, &quoted) > 0);
    assert_true(is_host(&world, &quoted.source, 'r', R));
    assert_true(is_host(&world, &quoted.destination, 'x', (uint16_t)port));
    gate_free(&world.gate);
}

static void errors(void **state)
{
    (void)state;
    each(errors_of);
}

static void hops_of(int family, enum flow flow)
{
    struct world world;
    uint8_t bytes[PACKET_ROOM];
    size_t hops = family ? 7 : 8;
    open_with(&world, family, flow, "");
    leave(&world, 'a', A, 'r', R);
    assert_int_equal(world.seen[DOWN].data[hops], 63);
    for (int left = 1; left <= 2; left++) {
        size_t len = make(&world, bytes, host(&world, 'a', A + 1), host(&world, 'r', R), 0, 20);
        if (!family) { /* keep the header's sum right */
            bytes[8] = (uint8_t)left;
            put(bytes + 10, 0);
            put(bytes + 10, sum_of(bytes, 20, 0));
        }
        bytes[hops] = (uint8_t)left;
        assert_int_equal(feed(&world, UP, bytes, len) != NULL, left == 2);
        assert_int_equal(nat_mapping_count(world.gate.nat), left);
    }
    assert_int_equal(counted(&world, UP, GATE_EXPIRED), 1);
    assert_int_equal(world.sent[UP], 1);
    struct packet quoted, *error = &world.seen[UP];
    assert_int_equal(error->data[error->transport], family ? 3 : 11);
    assert_true(is_host(&world, &error->source, family ? 'r' : 'w', 0));
    assert_true(packet_parse_quoted(error, &quoted) > 0);
    assert_true(is_host(&world, &quoted.source, 'a', A + 1));
    gate_free(&world.gate);
}

static void hops(void **state)
{
    (void)state;
    each(hops_of);
}

static void too_big_of(int family, enum flow flow)
{
    struct world world;
    uint8_t bytes[PACKET_ROOM];
    open_with(&world, family, flow, "nat=off nat6=off mtu=1300");
    for (int direction = UP; direction <= DOWN; direction++) {
        struct endpoint a = host(&world, 'a', A), r = host(&world, 'r', R);
        size_t head = make(&world, bytes, a, r, 0, 0);
        size_t len = make(&world, bytes, direction ? r : a, direction ? a : r, 0, 1300 - head);
        assert_non_null(feed(&world, (enum direction)direction, bytes, len));
        len = make(&world, bytes, direction ? r : a, direction ? a : r, 0, 1301 - head);
        unsigned before = world.sent[direction];
        assert_null(feed(&world, (enum direction)direction, bytes, len));
        assert_int_equal(world.sent[direction], before + 1);
        struct packet *error = &world.seen[direction];
        uint8_t *at = error->data + error->transport;
        assert_int_equal(at[0], family ? 2 : 3);
        assert_int_equal(at[1], family ? 0 : 4);
        assert_memory_equal(at + 4, "\0\0\x05\x14", 4); /* 1300 */
        world_set(&world, "toobig=drop");
        len = make(&world, bytes, direction ? r : a, direction ? a : r, 0, 1301 - head);
        assert_null(feed(&world, (enum direction)direction, bytes, len));
        assert_int_equal(world.sent[direction], before + 1);
        world_set(&world, "toobig=icmp up.loss=100"); /* the far end answers at the far end */
    }
    gate_free(&world.gate);
}

static void too_big(void **state)
{
    (void)state;
    each(too_big_of);
}

static void not_forwarded(void **state)
{
    (void)state;
    struct world world;
    uint8_t bytes[PACKET_ROOM];
    struct endpoint to = {.port = 5353};
    for (int family = 0; family < 2; family++) {
        static const char *const groups[] = {"224.0.0.251", "ff02::fb"};
        world_open(&world, family, FLOW_UDP, "");
        assert_true(ip_parse(groups[family], &to.ip));
        size_t len = make(&world, bytes, host(&world, 'a', A), to, 0, 20);
        assert_null(feed(&world, UP, bytes, len));
        assert_int_equal(counted(&world, UP, GATE_LOCAL), 1);
        assert_int_equal(world.sent[UP], 0);
        /* a fragment passes only where nothing is translated */
        if (!family) {
            for (int i = 0; i < 2; i++) {
                len = make(&world, bytes, host(&world, 'a', A), host(&world, 'r', R), 0, 20);
                bytes[6] = 0x20; /* more fragments */
                put(bytes + 10, 0);
                put(bytes + 10, sum_of(bytes, 20, 0));
                assert_int_equal(feed(&world, UP, bytes, len) != NULL, i == 1);
                world_set(&world, "nat=off");
            }
            assert_int_equal(counted(&world, UP, GATE_FRAGMENTS), 1);
        }
        gate_free(&world.gate);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapping),
        cmocka_unit_test(protocols_apart),
        cmocka_unit_test(filtering),
        cmocka_unit_test(answers_by_the_same_mapping),
        cmocka_unit_test(ports),
        cmocka_unit_test(random_ports),
        cmocka_unit_test(pooling),
        cmocka_unit_test(udp_timeout),
        cmocka_unit_test(filters_expire_apart),
        cmocka_unit_test(tcp_timeouts),
        cmocka_unit_test(simultaneous_open),
        cmocka_unit_test(unsolicited),
        cmocka_unit_test(strays),
        cmocka_unit_test(hairpin),
        cmocka_unit_test(forward),
        cmocka_unit_test(firewall),
        cmocka_unit_test(blocks),
        cmocka_unit_test(limits),
        cmocka_unit_test(echo),
        cmocka_unit_test(errors),
        cmocka_unit_test(hops),
        cmocka_unit_test(too_big),
        cmocka_unit_test(not_forwarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
