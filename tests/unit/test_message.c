/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The codec of signalling messages against vectors (docs/protocol-signal.md has them too), each
 * field by itself, and each way in which a field can be wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "signal/message.h"

/* The fixed fields: version, type, instance 00..0f, number 258, time 1700000000 s. */
#define HEAD(type)                               \
    "01" type "000102030405060708090a0b0c0d0e0f" \
    "0000000000000102"                           \
    "00060a24181e4000"

static size_t from_hex(const char *text, uint8_t *bytes)
{
    size_t len = 0;

    for (; text[0]; text += 2) {
        unsigned value;

        assert_int_equal(sscanf(text, "%2x", &value), 1);
        bytes[len++] = (uint8_t)value;
    }
    return len;
}

static int parse_hex(const char *text, struct message *message)
{
    uint8_t bytes[2048];
    size_t len = from_hex(text, bytes);
    uint8_t *exact = malloc(len); /* its end is where a sanitizer sees it */
    int result;

    assert_true(exact || len == 0);
    memcpy(exact, bytes, len);
    result = message_parse(exact, len, message);
    free(exact);
    return result;
}

static void expect(const struct message *message, const char *expected)
{
    uint8_t built[MESSAGE_BYTES_MAX], bytes[2048];
    size_t want = from_hex(expected, bytes);
    struct message back;

    assert_int_equal(message_build(message, built), want);
    assert_memory_equal(built, bytes, want);
    assert_int_equal(parse_hex(expected, &back), 0);
    assert_memory_equal(&back, message, sizeof(back));
}

static void fill(uint8_t *to, size_t len, uint8_t first)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (uint8_t)(first + i);
}

static struct message plain(uint8_t type)
{
    struct message message;

    memset(&message, 0, sizeof(message)); /* compared with memcmp() */
    message.type = type;
    message.number = 258;
    message.time_us = UINT64_C(1700000000000000);
    fill(message.instance, MESSAGE_INSTANCE_BYTES, 0);
    return message;
}

static void add_addr(struct message *message, const char *text)
{
    assert_int_equal(addr_parse(text, &message->addrs[message->addr_count++]), 0);
}

static void vectors(void **state)
{
    (void)state;
    struct message ping = plain(MESSAGE_PING), pong = plain(MESSAGE_PONG);
    struct message dial = plain(MESSAGE_DIAL), decline = plain(MESSAGE_DECLINE);

    expect(&ping, HEAD("01"));
    ping.has_challenge = ping.has_secret = true;
    fill(ping.challenge, MESSAGE_CHALLENGE_BYTES, 0x10);
    fill(ping.secret, MESSAGE_SECRET_BYTES, 0x50);
    add_addr(&ping, "192.0.2.7:4433");
    add_addr(&ping, "[2001:db8::7]:80");
    expect(&ping, HEAD("01") "0110"
                             "101112131415161718191a1b1c1d1e1f"
                             "0510"
                             "505152535455565758595a5b5c5d5e5f"
                             "0806"
                             "c00002071151"
                             "0812"
                             "20010db80000000000000000000000070050");

    pong.has_echo = pong.has_verdict = pong.has_times = true;
    fill(pong.echo, MESSAGE_CHALLENGE_BYTES, 0x10);
    pong.about = 257;
    pong.received_us = UINT64_C(1699999999999999);
    expect(&pong, HEAD("02") "0210"
                             "101112131415161718191a1b1c1d1e1f"
                             "0601"
                             "00"
                             "0710"
                             "0000000000000101"
                             "00060a24181e3fff");

    dial.has_echo = dial.has_token = true;
    fill(dial.echo, MESSAGE_CHALLENGE_BYTES, 0x20);
    fill(dial.token, MESSAGE_TOKEN_BYTES, 0x40);
    expect(&dial, HEAD("03") "0210"
                             "202122232425262728292a2b2c2d2e2f"
                             "0408"
                             "4041424344454647");

    decline.has_verdict = true;
    decline.verdict = 5;
    strcpy(decline.text, "revoked");
    expect(&decline, HEAD("04") "0608"
                                "05"
                                "7265766f6b6564");
}

static void every_field_at_its_longest(void **state)
{
    (void)state;
    struct message message = plain(255), back;
    uint8_t built[MESSAGE_BYTES_MAX];
    int len;

    message.number = message.time_us = message.about = message.received_us = UINT64_MAX;
    message.has_challenge = message.has_echo = message.has_token = true;
    message.has_secret = message.has_verdict = message.has_times = true;
    message.verdict = 255;
    memset(message.text, '~', MESSAGE_TEXT_MAX);
    for (int i = 0; i < MESSAGE_ADDRS_MAX; i++)
        add_addr(&message, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
    len = message_build(&message, built);
    assert_true(len > 0 && len <= MESSAGE_BYTES_MAX);
    assert_int_equal(message_parse(built, (size_t)len, &back), 0);
    assert_memory_equal(&back, &message, sizeof(back));
    message.addr_count++;
    assert_int_equal(message_build(&message, built), -EMSGSIZE);
}

/* What must not reach a terminal or a log is not sent either; an address without family is left
 * out. */
static void build_repairs(void **state)
{
    (void)state;
    struct message message = plain(MESSAGE_DECLINE), back;
    uint8_t built[MESSAGE_BYTES_MAX];

    message.has_verdict = true;
    strcpy(message.text, "a\nb\x1b\xff");
    message.addr_count = 1;
    assert_int_equal(message_build(&message, built), 34 + 2 + 1 + 5);
    assert_int_equal(message_parse(built, 34 + 2 + 1 + 5, &back), 0);
    assert_string_equal(back.text, "a?b??");
    assert_int_equal(back.addr_count, 0);
}

static void more_than_we_know(void **state)
{
    (void)state;
    struct message message;
    char text[2049];
    size_t len;

    /* Another type; unknown fields, empty and repeated, between known ones. */
    assert_int_equal(parse_hex(HEAD("63") "0900"
                                          "ff03616263"
                                          "0403"
                                          "ff00",
                               &message),
                     ADIT_EFORMAT);
    assert_int_equal(parse_hex(HEAD("63") "0900"
                                          "0000"
                                          "ff03616263"
                                          "0408"
                                          "4041424344454647"
                                          "ff00"
                                          "ff00",
                               &message),
                     0);
    assert_int_equal(message.type, 0x63);
    assert_true(message.has_token && !message.has_echo);
    /* Addresses beyond what is kept; the first ones stay. */
    len = (size_t)sprintf(text, "%s", HEAD("01"));
    for (int i = 0; i < 20; i++)
        len += (size_t)sprintf(text + len, "0806c00002%02x0050", (unsigned)i);
    assert_int_equal(parse_hex(text, &message), 0);
    assert_int_equal(message.addr_count, MESSAGE_ADDRS_MAX);
    assert_int_equal(message.addrs[15].ip.bytes[3], 15);
}

static void wrong(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "01",
        "00"
        "01"
        "000102030405060708090a0b0c0d0e0f"
        "0000000000000102"
        "00060a24181e4000",
        "02"
        "01"
        "000102030405060708090a0b0c0d0e0f"
        "0000000000000102"
        "00060a24181e4000",
        HEAD("01") "01",   /* a type without a length */
        HEAD("01") "ff01", /* shorter than it says */
        HEAD("01") "ff026100"
                   "ff05",
        HEAD("01") "0100", /* lengths that a field does not have */
        HEAD("01") "010f"
                   "101112131415161718191a1b1c1d1e",
        HEAD("01") "0111"
                   "101112131415161718191a1b1c1d1e1f20",
        HEAD("01") "020f"
                   "101112131415161718191a1b1c1d1e",
        HEAD("01") "0407"
                   "40414243444546",
        HEAD("01") "0409"
                   "404142434445464748",
        HEAD("01") "050f"
                   "505152535455565758595a5b5c5d5e",
        HEAD("01") "0600",
        HEAD("01") "0603"
                   "00"
                   "410a", /* a line end in a text */
        HEAD("01") "0603"
                   "00"
                   "41ff",
        HEAD("01") "070f"
                   "000000000000010100060a24181e3f",
        HEAD("01") "0800",
        HEAD("01") "0807"
                   "c0000207115100",
        HEAD("01") "0808"
                   "c000020711510000",
        HEAD("01") "0408"
                   "4041424344454647"
                   "0408"
                   "4041424344454647", /* twice */
        HEAD("01") "0601"
                   "00"
                   "0601"
                   "00",
        HEAD("01") "0710"
                   "000000000000010100060a24181e3fff"
                   "0710"
                   "000000000000010100060a24181e3fff",
        HEAD("01") "0110"
                   "101112131415161718191a1b1c1d1e1f"
                   "ff00"
                   "0110"
                   "101112131415161718191a1b1c1d1e1f",
    };
    struct message message;
    char text[2 * 2048 + 1];
    size_t len;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (parse_hex(bad[i], &message) != ADIT_EFORMAT)
            fail_msg("taken: %s", bad[i]);
    /* A text of one octet too many; a message of one. */
    len = (size_t)sprintf(text, "%s06ca00", HEAD("01"));
    for (int i = 0; i < MESSAGE_TEXT_MAX + 1; i++)
        len += (size_t)sprintf(text + len, "41");
    assert_int_equal(parse_hex(text, &message), ADIT_EFORMAT);
    len = (size_t)sprintf(text, "%s", HEAD("01"));
    while (len < 2 * (MESSAGE_BYTES_MAX - 200))
        len += (size_t)sprintf(text + len, "ff00");
    len += (size_t)sprintf(text + len, "ff%02x", MESSAGE_BYTES_MAX - 2 - (unsigned)len / 2);
    while (len < 2 * MESSAGE_BYTES_MAX)
        len += (size_t)sprintf(text + len, "00");
    assert_int_equal(parse_hex(text, &message), 0);
    sprintf(text + len, "ff00");
    assert_int_equal(parse_hex(text, &message), ADIT_EFORMAT);
}

/* Cut anywhere but between fields it is malformed; nothing is read beyond the end. */
static void truncated(void **state)
{
    (void)state;
    uint8_t bytes[256];
    size_t len = from_hex(HEAD("01") "0110"
                                     "101112131415161718191a1b1c1d1e1f"
                                     "0408"
                                     "4041424344454647",
                          bytes);
    struct message message;

    for (size_t cut = 0; cut <= len; cut++) {
        uint8_t *exact = malloc(cut);
        bool whole = cut == 34 || cut == 34 + 18 || cut == len;

        assert_true(exact || cut == 0);
        memcpy(exact, bytes, cut);
        assert_int_equal(message_parse(exact, cut, &message), whole ? 0 : ADIT_EFORMAT);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),       cmocka_unit_test(every_field_at_its_longest),
        cmocka_unit_test(build_repairs), cmocka_unit_test(more_than_we_know),
        cmocka_unit_test(wrong),         cmocka_unit_test(truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
