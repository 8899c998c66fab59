/* SPDX-License-Identifier: MIT */
/* Theory of operation: targets as applications write them, and answers as users read them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/err.h"
#include "base/target.h"

static void names_and_addresses(void **state)
{
    (void)state;
    struct target t;
    char buf[TARGET_TEXT_MAX];
    assert_int_equal(target_parse("example.org:80", &t), 0);
    assert_string_equal(t.name, "example.org");
    assert_int_equal(t.port, 80);
    assert_false(addr_is_set(&t.addr));
    assert_string_equal(target_format(&t, buf), "example.org:80");

    assert_int_equal(target_parse("192.0.2.1:443", &t), 0);
    assert_string_equal(t.name, "");
    assert_int_equal(t.addr.port, 443);
    assert_string_equal(target_format(&t, buf), "192.0.2.1:443");

    assert_int_equal(target_parse("[2001:db8::1]:1", &t), 0);
    assert_string_equal(target_format(&t, buf), "[2001:db8::1]:1");
    assert_int_equal(target_set(&t, "2001:db8::1", 11, 9), 0);
    assert_int_equal(t.addr.family, AF_INET6);
    assert_int_equal(target_set(&t, "[2001:db8::1]", 13, 9), 0);
    assert_int_equal(t.addr.family, AF_INET6);
    /* host_len counts, not a NUL */
    assert_int_equal(target_set(&t, "10.0.0.12", 8, 9), 0);
    assert_string_equal(target_format(&t, buf), "10.0.0.1:9");
    assert_int_equal(target_parse("_srv.m\xc3\xbcnchen.example.:80", &t), 0);
    assert_string_equal(t.name, "_srv.m\xc3\xbcnchen.example.");
}

static void bad_targets(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ":80",
        "host",
        "host:",
        "host:0",
        "host:65536",
        "host:80x",
        "a b:80",
        "a/b:80",
        "u@h:80",
        "a\tb:80",
        "a\x7f:80",
        "::1:80",
        "[::1:80",
        "[host]:80",
        "a%b:80",
        "a\"b:80",
        "a\\b:80",
        "[fe80::1%lo]:80",
        "a\r\nb:80",
        "[]:80",
        "host:99999999999",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct target t = {.port = 7};
        assert_int_equal(target_parse(bad[i], &t), -EINVAL);
        assert_int_equal(t.port, 7);
    }
    struct target t;
    assert_int_equal(target_set(&t, "a\0b", 3, 80), -EINVAL);
    assert_int_equal(target_set(&t, "", 0, 80), -EINVAL);

    char name[TARGET_NAME_MAX + 2], buf[TARGET_TEXT_MAX];
    memset(name, 'x', sizeof name);
    assert_int_equal(target_set(&t, name, TARGET_NAME_MAX, 65535), 0);
    assert_int_equal(strlen(target_format(&t, buf)), TARGET_NAME_MAX + 6);
    assert_int_equal(target_set(&t, name, TARGET_NAME_MAX + 1, 80), -EINVAL);
}

static void answers(void **state)
{
    (void)state;
    for (int i = -1; i <= ANSWER_LAST + 1; i++)
        assert_non_null(answer_text((enum answer)i));
    assert_int_equal(answer_from_errno(0), ANSWER_OK);
    assert_int_equal(answer_from_errno(-ECONNREFUSED), ANSWER_REFUSED);
    assert_int_equal(answer_from_errno(-ENETUNREACH), ANSWER_NET_UNREACHABLE);
    assert_int_equal(answer_from_errno(-EHOSTUNREACH), ANSWER_HOST_UNREACHABLE);
    assert_int_equal(answer_from_errno(-ETIMEDOUT), ANSWER_TIMEOUT);
    assert_int_equal(answer_from_errno(-EPERM), ANSWER_POLICY);
    assert_int_equal(answer_from_errno(-EMFILE), ANSWER_LIMIT);
    assert_int_equal(answer_from_errno(-EAFNOSUPPORT), ANSWER_FAMILY);
    assert_int_equal(answer_from_errno(ADIT_EPROTO), ANSWER_FAILED);
    assert_int_equal(answer_from_errno(-EIO), ANSWER_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_addresses),
        cmocka_unit_test(bad_targets),
        cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
