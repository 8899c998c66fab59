/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: what a trace makes of packets: transactions, relayed traffic, connections,
 * and its limits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/reassembly.h"
#include "capture/records.h"
#include "capture/trace.h"
#include "stun/channel.h"

struct seen {
    struct trace_event events[64];
    size_t count;
};

static void on_event(void *arg, const struct trace_event *event)
{
    struct seen *seen = arg;

    assert_true(seen->count < 64);
    seen->events[seen->count++] = *event;
}

static const char *const client = "10.0.0.1:5000", *const server = "10.0.0.2:3478",
                         *const relay = "10.0.0.2:50000", *const peer = "10.0.0.3:6000";

static struct packet packet_of(enum packet_protocol protocol, const char *from, const char *to,
                               const void *data, size_t len)
{
    struct packet packet = {.protocol = protocol, .data = data, .len = len};

    addr_parse(from, &packet.from);
    addr_parse(to, &packet.to);
    return packet;
}

static size_t build(uint8_t out[256], unsigned method, enum stun_class class, uint8_t id,
                    enum stun_type type, const char *addr, unsigned channel)
{
    struct stun_id txid = {{id}};
    struct stun_builder b;
    struct addr a;

    stun_build(&b, out, 256, method, class, &txid);
    if (channel != 0)
        stun_put_channel(&b, (uint16_t)channel);
    if (addr && addr_parse(addr, &a) == 0)
        stun_put_xor_address(&b, type, &a);
    if (class == STUN_ERROR)
        stun_put_error(&b, 403, "no");
    return (size_t)stun_built(&b);
}

static void udp(struct trace *trace, int64_t ms, const char *from, const char *to, const void *data,
                size_t len)
{
    struct packet packet = packet_of(PACKET_UDP, from, to, data, len);

    trace_packet(trace, &packet, ms * 1000);
}

static void a_session_over_udp(void **state)
{
    (void)state;
    struct seen seen = {.count = 0};
    struct trace *trace = trace_new(&(struct trace_options){.event = on_event, .arg = &seen});
    const struct trace_event *e = seen.events;
    uint8_t m[256];
    size_t len;

    len = build(m, STUN_METHOD_ALLOCATE, STUN_REQUEST, 1, 0, NULL, 0);
    udp(trace, 1000, client, server, m, len);
    udp(trace, 1500, client, server, m, len);
    len = build(m, STUN_METHOD_ALLOCATE, STUN_SUCCESS, 1, STUN_ATTR_XOR_RELAYED_ADDRESS, relay, 0);
    udp(trace, 1510, server, client, m, len);
    udp(trace, 1520, server, client, m, len);
    len = build(m, STUN_METHOD_CHANNEL_BIND, STUN_REQUEST, 2, STUN_ATTR_XOR_PEER_ADDRESS, peer,
                0x4001);
    udp(trace, 1600, client, server, m, len);
    len = build(m, STUN_METHOD_CHANNEL_BIND, STUN_SUCCESS, 2, 0, NULL, 0);
    udp(trace, 1603, server, client, m, len);
    udp(trace, 1700, client, server, "\x40\x01\0\3abc", 7);
    udp(trace, 1701, relay, peer, "abc", 3);
    len = build(m, STUN_METHOD_REFRESH, STUN_ERROR, 9, 0, NULL, 0);
    udp(trace, 1800, server, client, m, len);
    udp(trace, 1900, client, server, "\x28what", 5);
    udp(trace, 1901, "10.0.0.1:53", "10.0.0.9:53", "\x12\x34 a question", 12);

    static const enum trace_role roles[] = {
        TRACE_REQUEST, TRACE_REPEATED, TRACE_ANSWER, TRACE_ANSWERED_AGAIN, TRACE_REQUEST,
        TRACE_ANSWER,  TRACE_ALONE,    TRACE_ALONE,  TRACE_UNASKED,        TRACE_ALONE};
    static const enum trace_kind kinds[] = {TRACE_STUN, TRACE_STUN,   TRACE_STUN,    TRACE_STUN,
                                            TRACE_STUN, TRACE_STUN,   TRACE_CHANNEL, TRACE_RELAYED,
                                            TRACE_STUN, TRACE_STRANGE};
    char text[ADDR_TEXT_MAX];

    assert_int_equal(seen.count, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(e[i].number, i + 1);
        assert_int_equal(e[i].role, roles[i]);
        assert_int_equal(e[i].kind, kinds[i]);
    }
    assert_int_equal(e[2].request, 1);
    assert_int_equal(e[2].sent, 2);
    assert_int_equal(e[2].rtt_us, 10000);
    assert_int_equal(e[5].request, 5);
    assert_int_equal(e[5].rtt_us, 3000);
    assert_true(e[6].has_peer);
    assert_string_equal(addr_format(&e[6].peer, text), peer);
    assert_string_equal(e[7].text, "data from a relayed address to its peer, 3 bytes");

    const struct trace_summary *s = trace_summary(trace);
    assert_int_equal(s->requests, 2);
    assert_int_equal(s->answered, 2);
    assert_int_equal(s->repeated, 1);
    assert_int_equal(s->unasked, 1);
    assert_int_equal(s->foreign, 1);
    assert_int_equal(s->relays, 1);
    assert_int_equal(s->errors[0].code, 403);
    trace_free(trace);
}

static void tcp(struct trace *trace, const char *from, const char *to, uint32_t seq, uint8_t flags,
                const void *data, size_t len)
{
    struct packet packet = packet_of(PACKET_TCP, from, to, data, len);

    packet.seq = seq;
    packet.flags = flags;
    trace_packet(trace, &packet, 1);
}

static void a_session_over_tcp(void **state)
{
    (void)state;
    /* Every way to cut two requests and ChannelData into two segments, in both orders. */
    uint8_t m[256], stream[256];
    size_t first = build(m, STUN_METHOD_ALLOCATE, STUN_REQUEST, 1, 0, NULL, 0), len;

    memcpy(stream, m, first);
    len = first + build(stream + first, STUN_METHOD_REFRESH, STUN_REQUEST, 2, 0, NULL, 0);
    memcpy(stream + len, "\x40\x01\0\1x\0\0\0\x5f\x01\0\2yz\0\0", 16);
    len += 16;
    for (size_t cut = 1; cut < len; cut++) {
        for (int order = 0; order < 2; order++) {
            struct seen seen = {.count = 0};
            struct trace *trace =
                trace_new(&(struct trace_options){.event = on_event, .arg = &seen});

            tcp(trace, client, server, 99, PACKET_SYN, "", 0);
            for (int i = 0; i < 2; i++) {
                bool second = i != order;

                tcp(trace, client, server, (uint32_t)(100 + (second ? cut : 0)), PACKET_ACK,
                    stream + (second ? cut : 0), second ? len - cut : cut);
            }
            assert_int_equal(seen.count, 4);
            assert_int_equal(seen.events[0].message != NULL, true);
            assert_int_equal(seen.events[1].len, len - 16 - first);
            assert_int_equal(seen.events[2].kind, TRACE_CHANNEL);
            assert_int_equal(seen.events[3].kind, TRACE_CHANNEL);
            assert_int_equal(seen.events[3].len, 8);
            trace_free(trace);
        }
    }
}

static void a_gap_and_a_data_connection(void **state)
{
    (void)state;
    struct seen seen = {.count = 0};
    struct trace *trace = trace_new(&(struct trace_options){.event = on_event, .arg = &seen});
    uint8_t m[256];
    size_t len = build(m, STUN_METHOD_CONNECTION_BIND, STUN_REQUEST, 1, 0, NULL, 0), size;

    /* Taken up in the middle; a message is missing; then the peer's bytes. */
    tcp(trace, client, server, 5000, PACKET_ACK, m, len);
    tcp(trace, client, server, 5000 + 100 + (uint32_t)len, PACKET_ACK, "late", 4);
    size = build(m, STUN_METHOD_CONNECTION_BIND, STUN_SUCCESS, 1, 0, NULL, 0);
    memcpy(m + size, "hello", 5);
    tcp(trace, server, client, 9000, PACKET_ACK, m, size + 5);
    trace_end(trace);
    assert_int_equal(seen.count, 5);
    assert_int_equal(seen.events[0].role, TRACE_REQUEST);
    assert_int_equal(seen.events[1].role, TRACE_ANSWER);
    assert_int_equal(seen.events[2].kind, TRACE_RELAYED);
    assert_int_equal(seen.events[2].len, 5);
    assert_int_equal(seen.events[3].kind, TRACE_GAP);
    assert_int_equal(seen.events[4].kind, TRACE_RELAYED);
    assert_int_equal(seen.events[4].len, 4);
    trace_free(trace);
}

/* Datagrams that the system got at once: each is told, what looks alike but is none is not. */
static void segments(void **state)
{
    (void)state;
    struct seen seen = {.count = 0};
    struct trace *trace = trace_new(&(struct trace_options){.event = on_event, .arg = &seen});
    uint8_t m[512] = {0}, id = 10;
    size_t len = build(m, STUN_METHOD_CHANNEL_BIND, STUN_REQUEST, 1, STUN_ATTR_XOR_PEER_ADDRESS,
                       peer, 0x4001);

    udp(trace, 1, client, server, m, len);
    for (size_t at = 0; at < 21; at += 7) /* three of 7 bytes, one of 5 */
        memcpy(m + at,
               "\x40\x01\x00\x03"
               "abc",
               7);
    memcpy(m + 21,
           "\x40\x01\x00\x01"
           "d",
           5);
    udp(trace, 2, client, server, m, 26);
    assert_int_equal(seen.count, 5);
    for (int i = 1; i < 5; i++) {
        assert_int_equal(seen.events[i].kind, TRACE_CHANNEL);
        assert_int_equal(seen.events[i].len, i < 4 ? 7 : 5);
    }
    /* With padding, as some send them. */
    memset(m, 0, 24);
    for (size_t at = 0; at < 24; at += 8)
        memcpy(m + at,
               "\x40\x01\x00\x03"
               "abc",
               7);
    udp(trace, 3, client, server, m, 24);
    assert_int_equal(seen.count, 8);
    /* The last says more than there is: it is one message, and a strange one. */
    m[19] = 9;
    udp(trace, 4, client, server, m, 24);
    assert_int_equal(seen.count, 9);
    assert_int_equal(seen.events[8].kind, TRACE_STRANGE);
    /* Messages. */
    len = build(m, STUN_METHOD_SEND, STUN_INDICATION, id, STUN_ATTR_XOR_PEER_ADDRESS, peer, 0);
    assert_int_equal(len, build(m + len, STUN_METHOD_SEND, STUN_INDICATION, id,
                                STUN_ATTR_XOR_PEER_ADDRESS, peer, 0));
    udp(trace, 5, client, server, m, 2 * len);
    assert_int_equal(seen.count, 11);
    assert_int_equal(seen.events[10].kind, TRACE_STUN);
    assert_int_equal(seen.events[10].len, len);
    assert_int_equal(trace_summary(trace)->indications, 2);
    trace_free(trace);
}

static void keys_are_found(void **state)
{
    (void)state;
    struct stun_key key;
    uint8_t m[256];

    for (int i = 0; i < 3; i++) {
        struct seen seen = {.count = 0};
        struct trace_options options = {.event = on_event, .arg = &seen};
        struct stun_id id = {{1}};
        struct stun_builder b;

        if (i == 0) {
            options.password = "pass";
        } else if (i == 1) {
            options.password = "pass";
            options.user = "bob"; /* somebody else's */
        } else {
            options.secret = "north";
        }
        struct trace *trace = trace_new(&options);
        stun_key_long_term(&key, STUN_ALGORITHM_MD5,
                           stun_text(i == 2 ? "1700000000:alice" : "alice"), stun_text("realm"),
                           stun_text(i == 2 ? "Cd/49soE35ICqcJF/bCTn8Z4OyE=" : "pass"));
        stun_build(&b, m, sizeof(m), STUN_METHOD_REFRESH, STUN_REQUEST, &id);
        stun_put_text(&b, STUN_ATTR_USERNAME, i == 2 ? "1700000000:alice" : "alice");
        stun_put_text(&b, STUN_ATTR_REALM, "realm");
        stun_put_integrity(&b, &key);
        trace_bytes(trace, m, (size_t)stun_built(&b));
        assert_int_equal(seen.count, 1);
        assert_int_equal(seen.events[0].key != NULL, i != 1);
        if (i != 1)
            assert_memory_equal(seen.events[0].key->bytes, key.bytes, key.len);
        trace_free(trace);
    }
}

static void records_in_words(void **state)
{
    (void)state;
    static const uint8_t hello[] = {22,   3,
                                    1,    0,
                                    72,   1,
                                    0,    0,
                                    68,   3,
                                    3,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0,
                                    0,    0 /* session */,
                                    0,    2,
                                    0x13, 1 /* suites */,
                                    1,    0 /* compressions */,
                                    0,    25 /* extensions */,
                                    0,    5,
                                    0,    1,
                                    9,    0,
                                    0,    0,
                                    16,   0,
                                    14,   0,
                                    0,    11,
                                    't',  '.',
                                    'e',  'x',
                                    'a',  'm',
                                    'p',  'l',
                                    'e',  '\x1b',
                                    'x'};
    static const uint8_t rest[] = {20, 3, 3, 0, 1,  1, 22, 3, 3, 0, 4,
                                   1,  2, 3, 4, 23, 3, 3,  0, 9, 1};
    static const uint8_t dtls[] = {21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 48};
    char text[RECORDS_TEXT_MAX];
    bool cipher = false;

    assert_string_equal(records_describe(hello, sizeof(hello), &cipher, text),
                        "TLS: ClientHello for t.example?x");
    assert_false(cipher);
    assert_string_equal(records_describe(rest, sizeof(rest), &cipher, text),
                        "TLS: ChangeCipherSpec, handshake, encrypted, application data, 9 bytes");
    assert_true(cipher);
    assert_string_equal(records_describe(dtls, sizeof(dtls), &cipher, text),
                        "DTLS: alert: unknown authority");
}

/* Counts what is told of ChannelData and of gaps. */
static void on_count(void *arg, const struct trace_event *event)
{
    size_t *kinds = arg;

    kinds[event->kind]++;
}

static const char *many(size_t i, char text[32])
{
    snprintf(text, 32, "10.%zu.%zu.%zu:5000", 1 + i / 65536, i / 256 % 256, i % 256);
    return text;
}

/* Of more flows than are kept, the one that was silent for longest is forgotten. */
static void more_flows_than_are_kept(void **state)
{
    (void)state;
    size_t kinds[TRACE_KINDS] = {0}, len;
    struct trace *trace = trace_new(&(struct trace_options){.event = on_count, .arg = kinds});
    char from[32];
    uint8_t m[256];

    len = build(m, STUN_METHOD_BINDING, STUN_REQUEST, 1, 0, NULL, 0);
    for (size_t i = 0; i < TRACE_FLOWS_MAX; i++)
        udp(trace, 1, many(i, from), "10.0.0.2:9", m, len);
    udp(trace, 1, many(0, from), "10.0.0.2:9", "\x40\x01\0\4abcd", 8);
    assert_int_equal(kinds[TRACE_CHANNEL], 1);
    udp(trace, 1, many(TRACE_FLOWS_MAX, from), "10.0.0.2:9", m, len); /* the second one goes */
    udp(trace, 1, many(0, from), "10.0.0.2:9", "?", 1);
    udp(trace, 1, many(2, from), "10.0.0.2:9", "?", 1);
    assert_int_equal(kinds[TRACE_STRANGE], 2);
    udp(trace, 1, many(1, from), "10.0.0.2:9", "?", 1);
    assert_int_equal(kinds[TRACE_STRANGE], 2);
    assert_int_equal(trace_summary(trace)->foreign, 1);
    trace_free(trace);
}

/* Connections with gaps, of which each is allowed to hold more than its share of the whole. */
static void gaps_without_end(void **state)
{
    (void)state;
    enum { PART = 32768, PARTS = REASSEMBLY_AHEAD_BYTES / PART, FLOWS = 1000 };
    static uint8_t part[PART];
    size_t kinds[TRACE_KINDS] = {0}, len;
    struct trace *trace = trace_new(&(struct trace_options){.event = on_count, .arg = kinds});
    char from[32];
    uint8_t m[256];

    len = build(m, STUN_METHOD_BINDING, STUN_REQUEST, 1, 0, NULL, 0);
    for (size_t i = 0; i < FLOWS; i++) {
        tcp(trace, many(i, from), server, 0, PACKET_ACK, m, len);
        for (uint32_t k = 0; k < PARTS; k++)
            tcp(trace, from, server, 1000 + k * PART, PACKET_ACK, part, PART);
    }
    assert_int_equal(kinds[TRACE_GAP], 0);
    trace_end(trace);
    assert_in_range(kinds[TRACE_GAP], 100, TRACE_HELD_MAX / REASSEMBLY_AHEAD_BYTES);
    trace_free(trace);
}

/* As many relayed addresses as are kept, all known; one more is not. */
static void many_relayed_addresses(void **state)
{
    (void)state;
    size_t kinds[TRACE_KINDS] = {0}, len;
    struct trace *trace = trace_new(&(struct trace_options){.event = on_count, .arg = kinds});
    char at[32];
    uint8_t m[256];

    for (size_t i = 0; i <= TRACE_RELAYS_MAX; i++) {
        const uint8_t id[] = {(uint8_t)(i >> 8), (uint8_t)i};

        len = build(m, STUN_METHOD_ALLOCATE, STUN_REQUEST, 1, 0, NULL, 0);
        memcpy(m + 8, id, sizeof(id));
        udp(trace, 1, client, server, m, len);
        len = build(m, STUN_METHOD_ALLOCATE, STUN_SUCCESS, 1, STUN_ATTR_XOR_RELAYED_ADDRESS,
                    many(i, at), 0);
        memcpy(m + 8, id, sizeof(id));
        udp(trace, 1, server, client, m, len);
    }
    assert_int_equal(trace_summary(trace)->relays, TRACE_RELAYS_MAX);
    for (size_t i = 0; i <= TRACE_RELAYS_MAX; i++)
        udp(trace, 1, many(i, at), peer, "x", 1);
    assert_int_equal(kinds[TRACE_RELAYED], TRACE_RELAYS_MAX);
    trace_free(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_over_udp),
        cmocka_unit_test(a_session_over_tcp),
        cmocka_unit_test(a_gap_and_a_data_connection),
        cmocka_unit_test(segments),
        cmocka_unit_test(keys_are_found),
        cmocka_unit_test(records_in_words),
        cmocka_unit_test(more_flows_than_are_kept),
        cmocka_unit_test(gaps_without_end),
        cmocka_unit_test(many_relayed_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
