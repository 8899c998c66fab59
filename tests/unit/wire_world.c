/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: packets are made here without packet.c, so that each checks the other; what
 * leaves the gate is parsed, and its checksums must hold.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "wire_world.h"

static bool world_send(void *arg, enum direction side, const struct parcel *parcel)
{
    struct world *world = arg;
    size_t len = parcel->len;
    assert_true(len <= PACKET_ROOM);
    memcpy(world->bytes[side], parcel->data, len);
    assert_int_equal(packet_parse(world->bytes[side], len, &world->seen[side]), len);
    world->shape = parcel->shape;
    if (parcel->shape.is_unsummed)
        assert_true(packet_sum_partly(&world->seen[side]) > 0);
    else
        assert_true(packet_sums_hold(&world->seen[side]));
    world->sent[side]++;
    return true;
}

void world_set(struct world *world, const char *text)
{
    char copy[512], error[SETTINGS_ERROR_BYTES], *rest = copy, *word;
    struct settings settings = world->gate.settings;
    assert_true(strlen(text) < sizeof(copy));
    strcpy(copy, text);
    while ((word = strsep(&rest, " "))) {
        char *value = strchr(word, '=');
        assert_non_null(value);
        *value++ = '\0';
        if (!settings_set(&settings, word, value, error))
            fail_msg("%s", error);
    }
    if (!settings_check(&settings, error))
        fail_msg("%s", error);
    gate_configure(&world->gate, &settings, world->now);
}

void world_open(struct world *world, int family, enum flow flow, const char *text)
{
    struct settings settings;
    memset(world, 0, sizeof(*world));
    world->family = family;
    world->flow = flow;
    world->now = 1000 * SEC;
    settings_init(&settings, 7);
    assert_int_equal(gate_init(&world->gate, &settings, 1500, world_send, world), 0);
    world_set(world, "nat=on external=203.0.113.1 nat6=on external6=2001:db8:f::1");
    if (*text)
        world_set(world, text);
}

struct endpoint host(const struct world *world, char name, uint16_t port)
{
    static const char *const names = "abrsxyw";
    static const char *const texts[2][7] = {
        {"10.0.0.2", "10.0.0.3", "198.51.100.1", "198.51.100.2", "203.0.113.1", "203.0.113.2",
         "192.0.0.8"},
        {"fd00::2", "fd00::3", "2001:db8::1", "2001:db8::2", "2001:db8:f::1", "2001:db8:f::2",
         "fd00::1"},
    };
    struct endpoint endpoint = {.port = port};
    assert_true(ip_parse(texts[world->family][strchr(names, name) - names], &endpoint.ip));
    return endpoint;
}

bool is_host(const struct world *world, const struct endpoint *endpoint, char name, uint16_t port)
{
    struct endpoint expected = host(world, name, port);
    return endpoint_equal(endpoint, &expected);
}

/* --- Packets, made independently of packet.c --- */

uint16_t sum_of(const uint8_t *data, size_t len, uint32_t sum)
{
    for (size_t i = 0; i < len; i++)
        sum += (uint32_t)data[i] << (i % 2 ? 0 : 8);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

void put(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* An IP header around len bytes at out + the header's length, which is returned. */
static size_t wrap(const struct world *world, uint8_t *out, const struct endpoint *from,
                   const struct endpoint *to, unsigned protocol, size_t len, size_t sum_at)
{
    size_t head = world->family ? 40 : 20, size = world->family ? 16 : 4;
    memset(out, 0, head);
    uint8_t *source = out + (world->family ? 8 : 12);
    memcpy(source, from->ip.bytes + 16 - size, size);
    memcpy(source + size, to->ip.bytes + 16 - size, size);
    if (world->family) {
        out[0] = 0x60;
        put(out + 4, (unsigned)len);
        out[6] = (uint8_t)protocol;
        out[7] = 64;
    } else {
        out[0] = 0x45;
        put(out + 2, (unsigned)(head + len));
        out[6] = 0x40; /* DF */
        out[8] = 64;
        out[9] = (uint8_t)protocol;
        put(out + 10, sum_of(out, head, 0));
    }
    uint32_t pseudo = 0;
    if (protocol != IPPROTO_ICMP)
        pseudo = (uint16_t)~sum_of(source, size * 2, protocol + (uint32_t)len);
    put(out + head + sum_at, 0);
    put(out + head + sum_at, sum_of(out + head, len, pseudo));
    return head;
}

size_t make(const struct world *world, uint8_t *out, struct endpoint from, struct endpoint to,
            unsigned tcp_flags, size_t len)
{
    size_t head = world->family ? 40 : 20, own = world->flow == FLOW_TCP ? 20 : 8;
    uint8_t *at = out + head;
    memset(at, 0, own);
    for (size_t i = 0; i < len; i++)
        at[own + i] = (uint8_t)(i * 7);
    unsigned protocol = IPPROTO_UDP;
    size_t sum_at = 6;
    if (world->flow == FLOW_ICMP) {
        protocol = world->family ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
        sum_at = 2;
        bool is_request = from.port != 0; /* the asker's port is the identifier */
        at[0] = (uint8_t)(world->family ? (is_request ? 128 : 129) : (is_request ? 8 : 0));
        put(at + 4, is_request ? from.port : to.port);
        put(at + 6, 1);
    } else {
        put(at, from.port);
        put(at + 2, to.port);
        put(at + 4, (unsigned)(own + len));
    }
    if (world->flow == FLOW_TCP) {
        protocol = IPPROTO_TCP;
        sum_at = 16;
        put(at + 4, 0x1234);
        put(at + 6, 0x5678);
        put(at + 10, 0x4321); /* acknowledged */
        at[12] = 5 << 4;
        at[13] = (uint8_t)(tcp_flags ? tcp_flags : PACKET_SYN);
        put(at + 14, 65535);
    }
    wrap(world, out, &from, &to, protocol, own + len, sum_at);
    return head + own + len;
}

size_t make_error(const struct world *world, uint8_t *out, struct endpoint from, struct endpoint to,
                  unsigned type, unsigned code, const uint8_t *about, size_t len)
{
    size_t head = world->family ? 40 : 20;
    uint8_t *at = out + head;
    len = len < 64 ? len : 64;
    memmove(at + 8, about, len); /* it may lie where the error is made */
    memset(at, 0, 8);
    at[0] = (uint8_t)type;
    at[1] = (uint8_t)code;
    wrap(world, out, &from, &to, world->family ? IPPROTO_ICMPV6 : IPPROTO_ICMP, 8 + len, 2);
    return head + 8 + len;
}

const struct packet *feed(struct world *world, enum direction direction, uint8_t *bytes, size_t len)
{
    enum direction side = direction == UP ? DOWN : UP;
    unsigned before = world->sent[side];
    gate_receive(&world->gate, direction, &(struct parcel){.data = bytes, .len = len}, world->now);
    return world->sent[side] > before ? &world->seen[side] : NULL;
}

const struct packet *pass_flags(struct world *world, enum direction direction, char from,
                                uint16_t from_port, char to, uint16_t to_port, unsigned flags)
{
    uint8_t bytes[PACKET_ROOM];
    size_t len =
        make(world, bytes, host(world, from, from_port), host(world, to, to_port), flags, 20);
    return feed(world, direction, bytes, len);
}

unsigned leave(struct world *world, char from, uint16_t port, char to, uint16_t to_port)
{
    const struct packet *packet = pass_flags(world, UP, from, port, to, to_port, 0);
    if (!packet)
        return 0;
    assert_true(is_host(world, &packet->destination, to, to_port));
    return packet->source.port;
}

bool enter(struct world *world, char from, uint16_t from_port, unsigned external, char to,
           uint16_t port)
{
    const struct packet *packet =
        pass_flags(world, DOWN, from, from_port, 'x', (uint16_t)external, 0);
    if (!packet)
        return false;
    assert_true(is_host(world, &packet->source, from, from_port));
    assert_true(is_host(world, &packet->destination, to, port));
    return true;
}

uint64_t counted(const struct world *world, enum direction direction, enum gate_count what)
{
    return world->gate.counts[direction][what];
}
