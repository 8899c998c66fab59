/* SPDX-License-Identifier: MIT */
/*
 * Frames, OPEN, ANSWER, HELLO: the vectors of docs/protocol.md, limits, and what is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "session/frame.h"
#include "session/hello.h"
#include "session/opening.h"

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = 0;

    for (; *hex; hex++) {
        unsigned value;

        if (*hex == ' ')
            continue;
        assert_int_equal(sscanf(hex, "%2x", &value), 1);
        out[n++] = (uint8_t)value;
        hex++;
    }
    return n;
}

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    uint8_t expected[2048];

    assert_int_equal(len, unhex(hex, expected));
    assert_memory_equal(bytes, expected, len);
}

/* RFC 9000 A.1 */
static void test_varints(void **state)
{
    static const struct {
        const char *hex;
        uint64_t value;
    } vectors[] = {{"c2197c5eff14e88c", UINT64_C(151288809941952652)},
                   {"9d7f3e7d", 494878333},
                   {"7bbd", 15293},
                   {"25", 37}};
    uint8_t bytes[8], built[8];
    uint64_t value;

    (void)state;
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        size_t len = unhex(vectors[i].hex, bytes);

        assert_int_equal(varint_read(bytes, len, &value), len);
        assert_true(value == vectors[i].value);
        assert_int_equal(varint_write(built, value), len);
        assert_memory_equal(bytes, built, len);
        for (size_t cut = 0; cut < len; cut++)
            assert_int_equal(varint_read(bytes, cut, &value), 0);
    }
    /* Not the shortest form, but valid. */
    assert_int_equal(varint_read((const uint8_t *)"\x40\x25", 2, &value), 2);
    assert_true(value == 37);
}

static void test_stream_vector(void **state)
{
    uint8_t bytes[64];
    struct frame frame;
    struct frame_stream stream;
    size_t len = frame_build_stream_head(bytes, 6, 300, 5, true);

    (void)state;
    memcpy(bytes + len, "hello", 5);
    assert_hex(bytes, len + 5, "11 0008 06 412c 68656c6c6f");
    assert_int_equal(frame_parse(bytes, len + 5, &frame), len + 5);
    assert_int_equal(frame_parse_stream(&frame, &stream), 0);
    assert_true(stream.id == 6 && stream.offset == 300 && stream.len == 5 && stream.fin);
    for (size_t cut = 0; cut < len + 5; cut++)
        assert_int_equal(frame_parse(bytes, cut, &frame), 0);
}

static void test_window_vector(void **state)
{
    struct frame_window window = {.id = 6, .received = 306, .limit = 16690}, parsed;
    uint8_t bytes[64];
    struct frame frame;
    size_t at = 0, len = frame_build_window_entry(bytes + FRAME_HEAD_BYTES, &window);

    (void)state;
    frame_build_head(bytes, FRAME_WINDOW, len);
    assert_hex(bytes, FRAME_HEAD_BYTES + len, "03 0007 06 4132 80004000");
    assert_true(frame_parse(bytes, FRAME_HEAD_BYTES + len, &frame) > 0);
    assert_int_equal(frame_next_window(&frame, &at, &parsed), 1);
    assert_true(parsed.id == 6 && parsed.received == 306 && parsed.limit == 16690);
    assert_int_equal(frame_next_window(&frame, &at, &parsed), 0);
}

static void test_refused(void **state)
{
    uint8_t bytes[64];
    struct frame frame;
    struct frame_stream stream;
    struct frame_window window;
    struct frame_close close;
    size_t at = 0, len;

    (void)state;
    len = unhex("10 ffff 00", bytes); /* longer than a frame may be */
    assert_int_equal(frame_parse(bytes, len, &frame), ADIT_EPROTO);
    len = unhex("10 0002 00 40", bytes); /* offset cut short */
    assert_true(frame_parse(bytes, len, &frame) > 0);
    assert_int_equal(frame_parse_stream(&frame, &stream), ADIT_EPROTO);
    len = unhex("10 000a 00 ffffffffffffffff 61", bytes); /* end beyond 2^62 */
    assert_true(frame_parse(bytes, len, &frame) > 0);
    assert_int_equal(frame_parse_stream(&frame, &stream), ADIT_EPROTO);
    len = unhex("03 000a 00 ffffffffffffffff 01", bytes); /* limit beyond 2^62 */
    assert_true(frame_parse(bytes, len, &frame) > 0);
    assert_int_equal(frame_next_window(&frame, &at, &window), ADIT_EPROTO);
    len = unhex("08 0003 00 1b5b", bytes); /* an escape sequence in the text */
    assert_true(frame_parse(bytes, len, &frame) > 0);
    assert_int_equal(frame_parse_close(&frame, &close), ADIT_EPROTO);
}

/* What a peer says cannot look like fields of a log line. */
static void test_close_text(void **state)
{
    uint8_t bytes[64];
    struct frame frame;
    struct frame_close close;
    char text[8];
    size_t len = unhex("08 000a 01 6722 20613d2262 2020", bytes); /* g" a="b */

    (void)state;
    assert_int_equal(frame_parse(bytes, len, &frame), len);
    assert_int_equal(frame_parse_close(&frame, &close), 0);
    frame_close_text(&close, text, sizeof(text));
    assert_string_equal(text, "g' a='b");
}

static void check_open(const char *host, uint16_t port, const char *hex)
{
    struct opening opening = {.kind = OPENING_CONNECT}, parsed;
    uint8_t bytes[OPENING_BYTES_MAX];
    size_t len;

    assert_int_equal(target_set(&opening.target, host, strlen(host), port), 0);
    len = opening_build_open(bytes, &opening);
    assert_hex(bytes, len, hex);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(opening_parse_open(bytes, cut, &parsed), 0);
    assert_int_equal(opening_parse_open(bytes, len, &parsed), len);
    assert_int_equal(parsed.kind, OPENING_CONNECT);
    assert_int_equal(parsed.target.port, port);
    assert_string_equal(parsed.target.name, opening.target.name);
    assert_true(addr_equal(&parsed.target.addr, &opening.target.addr));
}

/* kind, where, whose connection ("": not told) */
static void check_listener(enum opening_kind kind, const char *at, const char *from,
                           const char *hex)
{
    struct opening opening = {.kind = kind}, parsed;
    uint8_t bytes[OPENING_BYTES_MAX];
    size_t len;

    assert_int_equal(addr_parse(at, &opening.target.addr), 0);
    opening.target.port = opening.target.addr.port;
    assert_true(!from[0] || addr_parse(from, &opening.from) == 0);
    len = opening_build_open(bytes, &opening);
    assert_hex(bytes, len, hex);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(opening_parse_open(bytes, cut, &parsed), 0);
    assert_int_equal(opening_parse_open(bytes, len, &parsed), len);
    assert_int_equal(parsed.kind, kind);
    assert_true(addr_equal(&parsed.target.addr, &opening.target.addr));
    assert_int_equal(parsed.target.port, opening.target.port);
    assert_true(addr_equal(&parsed.from, &opening.from));
}

static void test_listener_vectors(void **state)
{
    struct opening opening;
    uint8_t bytes[64];

    (void)state;
    check_listener(OPENING_LISTEN, "127.0.0.1:8080", "", "0008 02 1f90 01 7f000001");
    check_listener(OPENING_LISTEN, "0.0.0.0:0", "", "0008 02 0000 01 00000000");
    check_listener(OPENING_LISTEN, "[::1]:8080", "",
                   "0014 02 1f90 04 00000000000000000000000000000001");
    check_listener(OPENING_FORWARDED, "127.0.0.1:8080", "", "0008 03 1f90 01 7f000001");
    check_listener(OPENING_FORWARDED, "127.0.0.1:8080", "192.0.2.7:50000",
                   "0011 03 1f90 01 7f000001 01 07 01 c0000207 c350");
    /* an option of a later version */
    assert_int_equal(
        opening_parse_open(bytes, unhex("000c 02 1f90 01 7f000001 77 02 abcd", bytes), &opening),
        14);
    assert_int_equal(opening.target.port, 8080);
}

static void test_open_vectors(void **state)
{
    (void)state;
    check_open("example.org", 443, "0010 01 01bb 03 0b 6578616d706c652e6f7267");
    check_open("192.0.2.7", 80, "0008 01 0050 01 c0000207");
    check_open("2001:db8::1", 22, "0014 01 0016 04 20010db8000000000000000000000001");
}

static void test_open_refused(void **state)
{
    static const char *const bad[] = {
        "0008 04 0050 01 c0000207", /* an unknown kind */
        "0008 00 0050 01 c0000207",
        "0008 03 0000 01 c0000207",              /* port 0 of a listener that is */
        "0006 02 0050 03 01 61",                 /* listening at a name */
        "0009 02 0050 01 c0000207 01",           /* an option cut short */
        "000a 03 0050 01 c0000207 01 07",        /* the same */
        "000d 03 0050 01 c0000207 01 03 010203", /* an address cut short in it */
        "0008 01 0000 01 c0000207",              /* port 0 */
        "0007 01 0050 01 c00002",                /* an address cut short */
        "0004 01 0050 00",                       /* no address */
        "0008 01 0050 03 05 61626364",           /* a name cut short */
        "0008 01 0050 03 03 612061",             /* a space in a name */
        "0003 01 0050",                          /* too short */
        "0fff 01 0050",                          /* too long */
    };
    uint8_t bytes[64];
    struct opening opening;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(opening_parse_open(bytes, unhex(bad[i], bytes), &opening), ADIT_EFORMAT);
}

static void test_answer_vectors(void **state)
{
    struct addr bound, parsed;
    enum answer answer;
    uint8_t bytes[OPENING_BYTES_MAX];
    size_t len;

    (void)state;
    assert_int_equal(addr_parse("192.0.2.7:80", &bound), 0);
    len = opening_build_answer(bytes, ANSWER_OK, &bound);
    assert_hex(bytes, len, "0008 00 01 c0000207 0050");
    assert_int_equal(opening_parse_answer(bytes, len, &answer, &parsed), len);
    assert_true(answer == ANSWER_OK && addr_equal(&bound, &parsed));
    len = opening_build_answer(bytes, ANSWER_REFUSED, NULL);
    assert_hex(bytes, len, "0004 05 00 0000");
    assert_int_equal(opening_parse_answer(bytes, len, &answer, &parsed), len);
    assert_true(answer == ANSWER_REFUSED && !addr_is_set(&parsed));
    bytes[2] = 200; /* a reason of a later version */
    assert_int_equal(opening_parse_answer(bytes, len, &answer, &parsed), len);
    assert_int_equal(answer, ANSWER_FAILED);
}

static void test_hello_vector(void **state)
{
    struct hello hello = {.version_min = 1,
                          .version_max = 1,
                          .flags = HELLO_OFFERS_EXIT,
                          .max_streams = 20000,
                          .hold_ms = 120000,
                          .has_secret = true,
                          .name = "home",
                          .addr_count = 1};
    struct hello parsed;
    uint8_t bytes[HELLO_BYTES_MAX];
    int len;

    (void)state;
    memset(hello.instance, 0x11, INSTANCE_BYTES);
    memset(hello.peer_instance, 0x22, INSTANCE_BYTES);
    memset(hello.binding, 0x33, HELLO_BINDING_BYTES);
    memset(hello.secret, 0x44, HELLO_SECRET_BYTES);
    assert_int_equal(addr_parse("192.0.2.7:4433", &hello.addrs[0]), 0);
    len = hello_build(&hello, bytes, sizeof bytes);
    assert_hex(bytes, (size_t)len,
               "61646974 01 01 11111111111111111111111111111111 22222222222222222222222222222222 "
               "33333333333333333333333333333333 00000001 00004e20 0001d4c0 "
               "01 10 44444444444444444444444444444444 02 04 686f6d65 03 06 c0000207 1151");
    assert_int_equal(hello_parse(bytes, (size_t)len, &parsed), 0);
    assert_memory_equal(&parsed, &hello, sizeof hello);
    /* An unknown field is skipped; a field cut short is not. */
    bytes[len] = 0x7f;
    bytes[len + 1] = 1;
    bytes[len + 2] = 0;
    assert_int_equal(hello_parse(bytes, (size_t)len + 3, &parsed), 0);
    assert_int_equal(hello_parse(bytes, (size_t)len + 2, &parsed), ADIT_EFORMAT);
    bytes[0] = 'A';
    assert_int_equal(hello_parse(bytes, (size_t)len, &parsed), ADIT_EFORMAT);
}

/* The token stands before the name; one of another length is no token. */
static void test_hello_token(void **state)
{
    struct hello hello = {.version_min = 1, .version_max = 1, .has_token = true, .name = "home"};
    struct hello parsed;
    uint8_t bytes[HELLO_BYTES_MAX];
    int len;

    (void)state;
    memset(hello.token, 0x55, HELLO_TOKEN_BYTES);
    len = hello_build(&hello, bytes, sizeof bytes);
    assert_true(len > 16);
    assert_hex(bytes + len - 16, 16, "04 08 5555555555555555 02 04 686f6d65");
    assert_int_equal(hello_parse(bytes, (size_t)len, &parsed), 0);
    assert_memory_equal(&parsed, &hello, sizeof hello);
    bytes[len - 15] = 7;
    bytes[len - 7] = 0x7f; /* an unknown field of two bytes, then what is left of the name */
    assert_int_equal(hello_parse(bytes, (size_t)len, &parsed), ADIT_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_varints),        cmocka_unit_test(test_stream_vector),
        cmocka_unit_test(test_window_vector),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_close_text),     cmocka_unit_test(test_open_vectors),
        cmocka_unit_test(test_open_refused),   cmocka_unit_test(test_listener_vectors),
        cmocka_unit_test(test_answer_vectors), cmocka_unit_test(test_hello_vector),
        cmocka_unit_test(test_hello_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
