/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: from the bytes of a capture to what they mean: hex in every form, files of
 * both formats and byte orders, link layers, fragments, TCP in disorder, and transactions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/capture.h"
#include "capture/fragments.h"
#include "capture/hex.h"
#include "capture/reassembly.h"
#include "capture/records.h"
#include "capture/trace.h"
#include "stun/channel.h"

static const uint8_t binding[20] = {0,   1,   0,   0,   0x21, 0x12, 0xA4, 0x42, 'A', 'B',
                                    'C', 'D', 'E', 'F', 'G',  'H',  'I',  'J',  'K', 'L'};

/* --- Hex --- */

static void hex_is(const char *text, const void *want, size_t len)
{
    uint8_t *out = malloc(HEX_PACKET_MAX);
    size_t used = 0;

    assert_int_equal(hex_parse(text, strlen(text), &used, out), len);
    assert_memory_equal(out, want, len);
    assert_int_equal(used, strlen(text));
    free(out);
}

static void hex_in_every_form(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "000100002112a4424142434445464748494a4b4c",
        "00010000 2112A442\n41424344\n45464748\r\n494a4b4c\n",
        "00:01:00:00:21:12:a4:42:41:42:43:44:45:46:47:48:49:4a:4b:4c",
        "00-01-00-00-21-12-A4-42-41-42-43-44-45-46-47-48-49-4A-4B-4C",
        "00 01 00 00 21 12 a4 42 41 42 43 44 45 46 47 48 49 4a 4b 4c",
        "0x00, 0x01, 0x00, 0x0, 0x21, 0x12, 0xa4, 0x42,\n 0x41,0x42,0x43,0x44,0x45,0x46,0x47,0x48,"
        " 0x49, 0x4a, 0x4b, 0x4c",
        "0x000100002112a4424142434445464748494a4b4c",
        "static const unsigned char packet[20] = { /* Frame (20 bytes): a {= */\n"
        "0x00, 0x01, 0x00, 0x00, 0x21, 0x12, 0xa4, 0x42, /* ....!..B = { */\n"
        "0x41, 0x42, 0x43, 0x44, // ABCD: four\n"
        "/* more\n of it: 00 */ 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c };\n",
        "Response (hex): 000100002112a4424142434445464748494a4b4c\n",
        "packet = \"\\x00\\x01\\x00\\x00\\x21\\x12\\xa4\\x42ABCD\"\n\"\\x45\\x46GHIJKL\"\n",
        "b'\\x00\\x01\\0\\0!\\x12\\xa4BABCDEFGHIJKL'",
        /* xxd */
        "00000000: 0001 0000 2112 a442 4142 4344 4546 4748  ....!..BABCDEFGH\n"
        "00000010: 494a 4b4c                                IJKL\n",
        /* hexdump -C */
        "00000000  00 01 00 00 21 12 a4 42  41 42 43 44 45 46 47 48  |....!..BABCDEFGH|\n"
        "00000010  49 4a 4b 4c                                       |IJKL|\n00000014\n",
        /* Wireshark, and the text behind it looks like hex */
        "0000   00 01 00 00 21 12 a4 42 41 42 43 44 45 46 47 48   ....!..BABCDEFGH\n"
        "0010   49 4a 4b 4c                                       ad be\n",
        /* eight bytes a line, and the text behind them looks like hex */
        "0000  00 01 00 00 21 12 a4 42   ad be\n0008  41 42 43 44 45 46 47 48   ad be\n"
        "0010  49 4a 4b 4c               ad be\n",
        /* tcpdump -X, with its heading */
        "12:00:01.5 IP 10.0.0.1.5000 > 10.0.0.2.3478: UDP, length 20\n"
        "\t0x0000:  0001 0000 2112 a442 4142 4344 4546 4748  ....!..BABCDEFGH\n"
        "\t0x0010:  494a 4b4c                                IJKL\n",
    };

    for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++)
        hex_is(forms[i], binding, sizeof(binding));
}

static void hex_of_several_packets(void **state)
{
    (void)state;
    static const char text[] = "\n0001\n0002\n\n\n0003\n0000  04 05\n0002  06 07\n0000  08\n"
                               "a heading\n0000: 09\n";
    static const char *const want[] = {"\0\1\0\2", "\0\3", "\4\5\6\7", "\10", "\11"};
    static const int lengths[] = {4, 2, 4, 1, 1};
    uint8_t *out = malloc(HEX_PACKET_MAX);
    size_t at = 0, used;

    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(hex_parse(text + at, strlen(text + at), &used, out), lengths[i]);
        assert_memory_equal(out, want[i], (size_t)lengths[i]);
        at += used;
    }
    assert_int_equal(hex_parse(text + at, strlen(text + at), &used, out), 0);
    free(out);
}

static void hex_that_is_none(void **state)
{
    (void)state;
    static const char *const bad[] = {"hello", "0001 000", "00 01 0g", "\"\\x00\\q\"", "0x", "a"};
    uint8_t *out = malloc(HEX_PACKET_MAX);
    char *longer = malloc(2 * HEX_PACKET_MAX + 4);
    size_t used;

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(hex_parse(bad[i], strlen(bad[i]), &used, out), ADIT_EFORMAT);
    memset(longer, '1', 2 * HEX_PACKET_MAX + 2);
    assert_int_equal(hex_parse(longer, 2 * HEX_PACKET_MAX, &used, out), HEX_PACKET_MAX);
    assert_int_equal(hex_parse(longer, 2 * HEX_PACKET_MAX + 2, &used, out), ADIT_EFULL);
    free(longer);
    free(out);
}

/* --- Capture files --- */

struct file {
    uint8_t bytes[4096];
    size_t len;
    bool big;
};

static void add16(struct file *f, unsigned v)
{
    f->bytes[f->len++] = (uint8_t)(f->big ? v >> 8 : v);
    f->bytes[f->len++] = (uint8_t)(f->big ? v : v >> 8);
}

static void add32(struct file *f, uint32_t v)
{
    add16(f, f->big ? v >> 16 : v & 0xFFFF);
    add16(f, f->big ? v & 0xFFFF : v >> 16);
}

static void add_bytes(struct file *f, const void *bytes, size_t len)
{
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
    while (f->len % 4)
        f->bytes[f->len++] = 0;
}

/* Byte by byte, as standard input may give it: the frames that come out. */
static size_t read_all(const struct file *f, struct capture_frame *frames, size_t max)
{
    struct capture capture = {0};
    size_t at = 0, count = 0;

    for (size_t len = 1; at + len <= f->len;) {
        uint8_t *copy = malloc(len);
        struct capture_frame frame;
        int used;

        memcpy(copy, f->bytes + at, len);
        used = capture_parse(&capture, copy, len, &frame);
        assert_in_range(used, 0, len);
        if (used == 0) {
            len++;
        } else {
            if (frame.bytes && count < max) {
                frame.bytes = f->bytes + at + (frame.bytes - copy);
                frames[count++] = frame;
            }
            at += (size_t)used;
            len = 1;
        }
        free(copy);
    }
    assert_int_equal(at, f->len);
    return count;
}

static void pcap_files(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct file f = {.big = i % 2};
        struct capture_frame frames[2];

        add32(&f, i < 2 ? 0xA1B2C3D4 : 0xA1B23C4D);
        add16(&f, 2);
        add16(&f, 4);
        add32(&f, 0);
        add32(&f, 0);
        add32(&f, 65535);
        add32(&f, 1);
        add32(&f, 100);
        add32(&f, i < 2 ? 5 : 5000);
        add32(&f, 4);
        add32(&f, 60);
        add_bytes(&f, "abcd", 4);
        assert_true(capture_is_file(f.bytes, f.len));
        assert_int_equal(read_all(&f, frames, 2), 1);
        assert_int_equal(frames[0].time_us, 100000005);
        assert_int_equal(frames[0].link, 1);
        assert_int_equal(frames[0].len, 4);
        assert_int_equal(frames[0].full_len, 60);
        assert_memory_equal(frames[0].bytes, "abcd", 4);
    }
}

static void add_block(struct file *f, uint32_t type, const struct file *body)
{
    add32(f, type);
    add32(f, (uint32_t)body->len + 12);
    memcpy(f->bytes + f->len, body->bytes, body->len);
    f->len += body->len;
    add32(f, (uint32_t)body->len + 12);
}

static void ng_section(struct file *f)
{
    struct file body = {.big = f->big};

    add32(&body, 0x1A2B3C4D);
    add16(&body, 1);
    add16(&body, 0);
    add32(&body, 0xFFFFFFFF);
    add32(&body, 0xFFFFFFFF);
    add_block(f, 0x0A0D0D0A, &body);
}

static void ng_interface(struct file *f, unsigned link, unsigned resolution)
{
    struct file body = {.big = f->big};

    add16(&body, link);
    add16(&body, 0);
    add32(&body, 0);
    add16(&body, 2); /* a name */
    add16(&body, 3);
    add_bytes(&body, "lo0", 3);
    add16(&body, 9);
    add16(&body, 1);
    add_bytes(&body, &(uint8_t){(uint8_t)resolution}, 1);
    add32(&body, 0);
    add_block(f, 1, &body);
}

static void ng_packet(struct file *f, uint32_t interface, uint64_t time, const char *bytes)
{
    struct file body = {.big = f->big};

    add32(&body, interface);
    add32(&body, (uint32_t)(time >> 32));
    add32(&body, (uint32_t)time);
    add32(&body, (uint32_t)strlen(bytes));
    add32(&body, 99);
    add_bytes(&body, bytes, strlen(bytes));
    add_block(f, 6, &body);
}

static void pcapng_files(void **state)
{
    (void)state;
    for (int big = 0; big < 2; big++) {
        struct file f = {.big = big}, other = {.big = big};
        struct capture_frame frames[8];

        ng_section(&f);
        ng_interface(&f, 1, 9);           /* nanoseconds */
        ng_interface(&f, 101, 0x80 | 10); /* 1/1024 s */
        ng_packet(&f, 0, UINT64_C(5000000007000), "first");
        ng_packet(&f, 1, (UINT64_C(3) << 10) + 512, "second");
        ng_packet(&f, 7, 0, "no such interface");
        add_bytes(&other, "whatever", 8);
        add_block(&f, 0xBAD, &other);
        ng_section(&f); /* a new section has its own interfaces */
        ng_interface(&f, 113, 6);
        ng_packet(&f, 0, 42, "third");
        assert_int_equal(read_all(&f, frames, 8), 3);
        assert_int_equal(frames[0].time_us, 5000000007);
        assert_int_equal(frames[0].len, 5);
        assert_int_equal(frames[0].full_len, 99);
        assert_int_equal(frames[1].time_us, 3500000);
        assert_int_equal(frames[1].link, 101);
        assert_int_equal(frames[2].time_us, 42);
        assert_int_equal(frames[2].link, 113);
    }
}

static void broken_files(void **state)
{
    (void)state;
    struct capture capture = {0};
    struct capture_frame frame;
    struct file f = {.big = false}, packet = {.big = false};

    ng_section(&f);
    assert_true(capture_parse(&capture, f.bytes, f.len, &frame) > 0);
    assert_false(frame.is_homeless);
    ng_packet(&packet, 0, 0, "of no interface");
    assert_true(capture_parse(&capture, packet.bytes, packet.len, &frame) > 0);
    assert_true(frame.is_homeless);
    assert_null(frame.bytes);
    capture = (struct capture){0};
    f.len = 0;

    assert_int_equal(capture_parse(&capture, (const uint8_t *)"none", 4, &frame), ADIT_EFORMAT);
    ng_section(&f);
    assert_int_equal(capture_parse(&capture, f.bytes, f.len, &frame), 28);
    f.bytes[f.len - 4] ^= 4; /* the second length */
    assert_int_equal(capture_parse(&capture, f.bytes, f.len, &frame), ADIT_EFORMAT);
    f.bytes[f.len - 4] ^= 4;
    f.bytes[12] = 2; /* the version */
    assert_int_equal(capture_parse(&capture, f.bytes, f.len, &frame), -ENOTSUP);
}

/* --- Packets --- */

static size_t udp4(uint8_t *out, unsigned flags_offset, const void *data, size_t len, bool first)
{
    static const uint8_t head[] = {0x45, 0, 0,  0, 0, 7, 0,  0, 64, 17,
                                   0,    0, 10, 0, 0, 1, 10, 0, 0,  2};
    size_t at = sizeof(head);

    memcpy(out, head, sizeof(head));
    out[6] = (uint8_t)(flags_offset >> 8);
    out[7] = (uint8_t)flags_offset;
    if (first) {
        const uint8_t udp[] = {0x13, 0x88, 0x0D, 0x96, 0, (uint8_t)(8 + len), 0, 0};

        memcpy(out + at, udp, sizeof(udp));
        at += sizeof(udp);
    }
    memcpy(out + at, data, len);
    out[3] = (uint8_t)(at + len);
    return at + len;
}

static void is_binding(unsigned link, const void *head, size_t head_len)
{
    uint8_t bytes[128] = {0};
    struct packet packet;
    struct packet_fragment fragment;
    char text[ADDR_TEXT_MAX];
    size_t len;

    memcpy(bytes, head, head_len);
    len = head_len + udp4(bytes + head_len, 0, binding, sizeof(binding), true);
    /* Ethernet pads. */
    assert_int_equal(packet_parse(link, bytes, len + 6, &packet, &fragment), PACKET_WHOLE);
    assert_int_equal(packet.protocol, PACKET_UDP);
    assert_string_equal(addr_format(&packet.from, text), "10.0.0.1:5000");
    assert_string_equal(addr_format(&packet.to, text), "10.0.0.2:3478");
    assert_int_equal(packet.len, sizeof(binding));
    assert_memory_equal(packet.data, binding, sizeof(binding));
    /* Cut off, it says how much is missing; in the headers, it is broken. */
    assert_int_equal(packet_parse(link, bytes, len - 5, &packet, &fragment), PACKET_WHOLE);
    assert_int_equal(packet.missing, 5);
    assert_int_equal(packet_parse(link, bytes, head_len + 23, &packet, &fragment), PACKET_BROKEN);
}

static void link_layers(void **state)
{
    (void)state;
    static const uint8_t ether[] = {1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6, 8, 0};
    static const uint8_t vlan[] = {1, 2,    3,    4, 5, 6,    1, 2, 3, 4, 5,
                                   6, 0x88, 0xA8, 0, 5, 0x81, 0, 0, 7, 8, 0};
    static const uint8_t pppoe[] = {1, 2,    3,    4,    5, 6, 1, 2, 3,  4, 5,
                                    6, 0x88, 0x64, 0x11, 0, 0, 1, 0, 50, 0, 0x21};
    static const uint8_t sll[16] = {[14] = 8};
    static const uint8_t sll2[20] = {8};
    static const uint8_t null[] = {2, 0, 0, 0};
    struct packet packet;
    struct packet_fragment fragment;

    is_binding(PACKET_LINK_RAW, "", 0);
    is_binding(PACKET_LINK_ETHERNET, ether, sizeof(ether));
    is_binding(PACKET_LINK_ETHERNET, vlan, sizeof(vlan));
    is_binding(PACKET_LINK_ETHERNET, pppoe, sizeof(pppoe));
    is_binding(PACKET_LINK_LINUX_SLL, sll, sizeof(sll));
    is_binding(PACKET_LINK_LINUX_SLL2, sll2, sizeof(sll2));
    is_binding(PACKET_LINK_NULL, null, sizeof(null));
    assert_int_equal(packet_parse(4242, ether, sizeof(ether), &packet, &fragment), PACKET_LINK);
}

static void fragments_in_any_order(void **state)
{
    (void)state;
    struct fragments *table = fragments_new();
    uint8_t bytes[128], payload[28], copies[3][64];
    struct packet packet;
    struct packet_fragment parts[3];
    static const int orders[][3] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0}};
    uint8_t whole[64];
    size_t len = udp4(whole, 0, binding, sizeof(binding), true);

    assert_int_equal(len, 48);
    memcpy(payload, whole + 20, 28);
    for (int o = 0; o < 3; o++) {
        for (int i = 0; i < 3; i++) {
            size_t size = i < 2 ? 8 : 12;

            len = udp4(bytes, (unsigned)i | (i < 2 ? 0x2000u : 0), payload + 8 * i, size, false);
            memcpy(copies[i], bytes, len);
            assert_int_equal(packet_parse(PACKET_LINK_RAW, copies[i], len, &packet, &parts[i]),
                             PACKET_FRAGMENT);
        }
        for (int i = 0; i < 2; i++)
            assert_int_equal(fragments_add(table, &parts[orders[o][i]], &packet), PACKET_FRAGMENT);
        assert_int_equal(fragments_add(table, &parts[orders[o][2]], &packet), PACKET_WHOLE);
        assert_int_equal(packet.len, sizeof(binding));
        assert_memory_equal(packet.data, binding, sizeof(binding));
    }
    assert_int_equal(fragments_lost(table), 0);
    fragments_add(table, &parts[0], &packet);
    assert_int_equal(fragments_lost(table), 1);
    fragments_free(table);
}

/* --- TCP --- */

static void taken(struct reassembly *r, const char *want)
{
    size_t len;
    const uint8_t *bytes = reassembly_peek(r, &len);

    assert_int_equal(len, strlen(want));
    if (len > 0)
        assert_memory_equal(bytes, want, len);
    reassembly_take(r, len);
}

static void tcp_in_disorder(void **state)
{
    (void)state;
    struct reassembly r = {0};

    reassembly_start(&r, 0xFFFFFFFE); /* it wraps around */
    assert_true(reassembly_add(&r, 0xFFFFFFFE, (const uint8_t *)"abc", 3));
    taken(&r, "abc");
    assert_true(reassembly_add(&r, 4, (const uint8_t *)"gh", 2));
    assert_true(reassembly_add(&r, 3, (const uint8_t *)"fg", 2));
    assert_true(reassembly_add(&r, 4, (const uint8_t *)"g", 1));
    taken(&r, "");
    assert_true(reassembly_add(&r, 0, (const uint8_t *)"cdef", 4)); /* overlaps both sides */
    taken(&r, "defgh");
    assert_true(reassembly_add(&r, 1, (const uint8_t *)"old", 3));
    taken(&r, "");
    assert_true(reassembly_add(&r, 10, (const uint8_t *)"k", 1));
    assert_int_equal(reassembly_skip(&r), 4);
    taken(&r, "k");
    assert_int_equal(reassembly_skip(&r), 0);
    /* A part inside another, both behind a gap. */
    assert_true(reassembly_add(&r, 14, (const uint8_t *)"no", 2));
    assert_true(reassembly_add(&r, 13, (const uint8_t *)"mnop", 4));
    assert_true(reassembly_add(&r, 11, (const uint8_t *)"lx", 2));
    taken(&r, "lxmnop");
    assert_int_equal(r.ahead_count, 0);
    for (uint32_t i = 0; i < REASSEMBLY_AHEAD_MAX; i++)
        assert_true(reassembly_add(&r, 100 + 2 * i, (const uint8_t *)"x", 1));
    assert_true(reassembly_is_full(&r));
    assert_false(reassembly_add(&r, 5000, (const uint8_t *)"x", 1));
    reassembly_clear(&r);
}

/* --- Traces --- */

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
        cmocka_unit_test(hex_in_every_form),  cmocka_unit_test(hex_of_several_packets),
        cmocka_unit_test(hex_that_is_none),   cmocka_unit_test(pcap_files),
        cmocka_unit_test(pcapng_files),       cmocka_unit_test(broken_files),
        cmocka_unit_test(link_layers),        cmocka_unit_test(fragments_in_any_order),
        cmocka_unit_test(tcp_in_disorder),    cmocka_unit_test(a_session_over_udp),
        cmocka_unit_test(a_session_over_tcp), cmocka_unit_test(a_gap_and_a_data_connection),
        cmocka_unit_test(segments),           cmocka_unit_test(keys_are_found),
        cmocka_unit_test(records_in_words),   cmocka_unit_test(more_flows_than_are_kept),
        cmocka_unit_test(gaps_without_end),   cmocka_unit_test(many_relayed_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
