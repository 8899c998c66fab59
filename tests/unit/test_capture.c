/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: from the bytes of a capture to what they mean: hex in every form, files of
 * both formats and byte orders, link layers, fragments, and TCP in disorder.
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hex_in_every_form), cmocka_unit_test(hex_of_several_packets),
        cmocka_unit_test(hex_that_is_none),  cmocka_unit_test(pcap_files),
        cmocka_unit_test(pcapng_files),      cmocka_unit_test(broken_files),
        cmocka_unit_test(link_layers),       cmocka_unit_test(fragments_in_any_order),
        cmocka_unit_test(tcp_in_disorder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
