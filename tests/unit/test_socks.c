/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: each SOCKS message as bytes: whole, at every length that is too short (need
 * more, or refused already), and wrong; replies byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "ingress/socks.h"

#define BYTES(literal) (const uint8_t *)(literal), sizeof(literal) - 1

static void assert_prefixes_need_more(int (*parse)(const uint8_t *, size_t, struct socks_request *),
                                      const uint8_t *data, size_t len)
{
    struct socks_request request;

    for (size_t i = 0; i < len; i++)
        assert_int_equal(parse(data, i, &request), 0);
    assert_int_equal(parse(data, len, &request), (int)len);
}

static void greeting(void **state)
{
    struct socks_greeting g;

    (void)state;
    assert_int_equal(socks5_greeting_parse(BYTES("\5\1\0"), &g), 3);
    assert_true(g.none && !g.password);
    assert_int_equal(socks5_greeting_parse(BYTES("\5\3\2\1\0rest"), &g), 5);
    assert_true(g.none && g.password);
    assert_int_equal(socks5_greeting_parse(BYTES("\5\0"), &g), 2);
    assert_true(!g.none && !g.password);
    assert_int_equal(socks5_greeting_parse(BYTES("\5\2\0"), &g), 0);
    assert_int_equal(socks5_greeting_parse(BYTES("\5"), &g), 0);
    assert_int_equal(socks5_greeting_parse(BYTES(""), &g), 0);
    assert_int_equal(socks5_greeting_parse(BYTES("\4"), &g), ADIT_EPROTO);
}

static void auth(void **state)
{
    static const char bytes[] = "\1\5alice\3pw!";
    struct socks_auth a;

    (void)state;
    for (size_t i = 0; i < sizeof bytes - 1; i++)
        assert_int_equal(socks5_auth_parse((const uint8_t *)bytes, i, &a), 0);
    assert_int_equal(socks5_auth_parse(BYTES(bytes), &a), sizeof bytes - 1);
    assert_int_equal(a.user_len, 5);
    assert_memory_equal(a.user, "alice", 5);
    assert_int_equal(a.password_len, 3);
    assert_memory_equal(a.password, "pw!", 3);
    assert_int_equal(socks5_auth_parse(BYTES("\1\0\0"), &a), 3);
    assert_int_equal(socks5_auth_parse(BYTES("\5\1a\1b"), &a), ADIT_EPROTO);
}

static void request_v5(void **state)
{
    struct socks_request r;
    char text[TARGET_TEXT_MAX];

    (void)state;
    assert_prefixes_need_more(socks5_request_parse, BYTES("\5\1\0\1\xc0\0\2\1\0\x50"));
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\1\xc0\0\2\1\0\x50"), &r), 10);
    assert_string_equal(target_format(&r.target, text), "192.0.2.1:80");
    assert_int_equal(r.command, SOCKS_CONNECT);

    assert_prefixes_need_more(socks5_request_parse, BYTES("\5\1\0\3\13example.com\1\xbb"));
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\3\13example.com\1\xbb"), &r), 18);
    assert_string_equal(target_format(&r.target, text), "example.com:443");

    static const char v6[] = "\5\1\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x16";
    assert_prefixes_need_more(socks5_request_parse, BYTES(v6));
    assert_int_equal(socks5_request_parse(BYTES(v6), &r), 22);
    assert_string_equal(target_format(&r.target, text), "[2001:db8::1]:22");

    /* A literal sent as a name is an address. */
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\3\7"
                                                "1.2.3.4\0\x50"),
                                          &r),
                     14);
    assert_string_equal(r.target.name, "");
    assert_string_equal(target_format(&r.target, text), "1.2.3.4:80");
}

static void request_v5_other_commands(void **state)
{
    struct socks_request r;

    (void)state;
    /* UDP ASSOCIATE usually names nothing. */
    assert_int_equal(socks5_request_parse(BYTES("\5\3\0\1\0\0\0\0\0\0"), &r), 10);
    assert_int_equal(r.command, SOCKS_UDP_ASSOCIATE);
    assert_int_equal(r.target.port, 0);
    assert_int_equal(socks5_request_parse(BYTES("\5\2\0\3\1x\0\x50"), &r), 8);
    assert_int_equal(r.command, SOCKS_BIND);
    assert_string_equal(r.target.name, "x");
    assert_int_equal(socks5_request_parse(BYTES("\5\x77\0\3\0\0\x50"), &r), 7);
    assert_int_equal(r.command, 0x77);
}

static void request_v5_malformed(void **state)
{
    struct socks_request r;

    (void)state;
    assert_int_equal(socks5_request_parse(BYTES("\4"), &r), ADIT_EPROTO);
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\2"), &r), -EAFNOSUPPORT);
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\xff\1\2\3"), &r), -EAFNOSUPPORT);
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\3\0\0\x50"), &r), ADIT_EFORMAT);
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\3\3a\0b\0\x50"), &r), ADIT_EFORMAT);
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\3\3a b\0\x50"), &r), ADIT_EFORMAT);
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\3\3a\nb\0\x50"), &r), ADIT_EFORMAT);
    assert_int_equal(socks5_request_parse(BYTES("\5\1\0\1\1\2\3\4\0\0"), &r), ADIT_EFORMAT);
}

static void request_v4(void **state)
{
    static const char v4a[] = "\4\1\0\x50\0\0\0\1bob\0example.com";
    struct socks_request r;
    char text[TARGET_TEXT_MAX];

    (void)state;
    assert_prefixes_need_more(socks4_request_parse, BYTES("\4\1\0\x50\xc0\0\2\1\0"));
    assert_int_equal(socks4_request_parse(BYTES("\4\1\0\x50\xc0\0\2\1me\0more"), &r), 11);
    assert_string_equal(target_format(&r.target, text), "192.0.2.1:80");
    assert_int_equal(r.user_len, 2);
    assert_memory_equal(r.user, "me", 2);

    assert_prefixes_need_more(socks4_request_parse, (const uint8_t *)v4a, sizeof v4a);
    assert_int_equal(socks4_request_parse((const uint8_t *)v4a, sizeof v4a, &r), sizeof v4a);
    assert_string_equal(target_format(&r.target, text), "example.com:80");
}

static void request_v4_malformed(void **state)
{
    uint8_t bytes[SOCKS_MESSAGE_MAX] = "\4\1\0\x50\xc0\0\2\1";
    struct socks_request r;

    (void)state;
    assert_int_equal(socks4_request_parse(BYTES("\5"), &r), ADIT_EPROTO);
    assert_int_equal(socks4_request_parse(BYTES("\4\1\0\0\xc0\0\2\1\0"), &r), ADIT_EFORMAT);
    assert_int_equal(socks4_request_parse(BYTES("\4\1\0\x50\0\0\0\1\0\0"), &r), ADIT_EFORMAT);
    assert_int_equal(socks4_request_parse(BYTES("\4\1\0\x50\0\0\0\1\0a/b\0"), &r), ADIT_EFORMAT);

    /* Strings without an end are refused as soon as they are too long, and always within the
     * maximum. */
    memset(bytes + 8, 'u', sizeof bytes - 8);
    assert_int_equal(socks4_request_parse(bytes, 8 + 255, &r), 0);
    assert_int_equal(socks4_request_parse(bytes, 8 + 256, &r), ADIT_EFORMAT);
    memcpy(bytes + 4, "\0\0\0\1", 4);
    bytes[8 + 255] = 0;
    assert_int_equal(socks4_request_parse(bytes, sizeof bytes - 1, &r), 0);
    assert_int_equal(socks4_request_parse(bytes, sizeof bytes, &r), ADIT_EFORMAT);
    bytes[sizeof bytes - 1] = 0;
    assert_int_equal(socks4_request_parse(bytes, sizeof bytes, &r), sizeof bytes);
    assert_int_equal(strlen(r.target.name), 255);
}

static void replies(void **state)
{
    struct addr v4, v6;
    uint8_t out[SOCKS5_REPLY_MAX];

    (void)state;
    addr_parse("192.0.2.1:4242", &v4);
    addr_parse("[2001:db8::1]:22", &v6);
    assert_int_equal(socks5_method_build(out, SOCKS_METHOD_REFUSED), 2);
    assert_memory_equal(out, "\5\xff", 2);
    assert_int_equal(socks5_auth_build(out, true), 2);
    assert_memory_equal(out, "\1\0", 2);
    assert_int_equal(socks5_auth_build(out, false), 2);
    assert_memory_equal(out, "\1\1", 2);
    assert_int_equal(socks5_reply_build(out, SOCKS5_OK, &v4), 10);
    assert_memory_equal(out, "\5\0\0\1\xc0\0\2\1\x10\x92", 10);
    assert_int_equal(socks5_reply_build(out, SOCKS5_OK, &v6), 22);
    assert_memory_equal(out, "\5\0\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x16", 22);
    assert_int_equal(socks5_reply_build(out, SOCKS5_REFUSED, NULL), 10);
    assert_memory_equal(out, "\5\5\0\1\0\0\0\0\0\0", 10);
    assert_int_equal(socks4_reply_build(out, SOCKS4_OK, &v4), 8);
    assert_memory_equal(out, "\0\x5a\x10\x92\xc0\0\2\1", 8);
    assert_int_equal(socks4_reply_build(out, SOCKS4_FAILED, &v6), 8);
    assert_memory_equal(out, "\0\x5b\0\0\0\0\0\0", 8);
}

static void codes(void **state)
{
    (void)state;
    assert_int_equal(socks5_code(ANSWER_OK), 0);
    assert_int_equal(socks5_code(ANSWER_FAILED), 1);
    assert_int_equal(socks5_code(ANSWER_POLICY), 2);
    assert_int_equal(socks5_code(ANSWER_NET_UNREACHABLE), 3);
    assert_int_equal(socks5_code(ANSWER_HOST_UNREACHABLE), 4);
    assert_int_equal(socks5_code(ANSWER_NAME_NOT_FOUND), 4);
    assert_int_equal(socks5_code(ANSWER_REFUSED), 5);
    assert_int_equal(socks5_code(ANSWER_TIMEOUT), 6);
    assert_int_equal(socks5_code(ANSWER_FAMILY), 8);
    assert_int_equal(socks5_code(ANSWER_BLOCKED), 2);
    for (int answer = 0; answer <= 300; answer++) { /* later versions' answers too */
        assert_in_range(socks5_code((enum answer)answer), 0, 8);
        assert_int_equal(socks5_code((enum answer)answer) == 0, answer == 0);
        assert_int_equal(socks4_code((enum answer)answer), answer == 0 ? 90 : 91);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greeting),
        cmocka_unit_test(auth),
        cmocka_unit_test(request_v5),
        cmocka_unit_test(request_v5_other_commands),
        cmocka_unit_test(request_v5_malformed),
        cmocka_unit_test(request_v4),
        cmocka_unit_test(request_v4_malformed),
        cmocka_unit_test(replies),
        cmocka_unit_test(codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
