/* SPDX-License-Identifier: MIT */
/* Theory of operation: addresses as text, as the kernel's structures, and as keys of tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/addr.h"
#include "base/err.h"

static void parse_and_format(void **state)
{
    (void)state;
    static const char *const same[] = {"1.2.3.4:80",        "0.0.0.0:0",          "[::1]:65535",
                                       "[2001:db8::1]:443", "[::ffff:1.2.3.4]:1", "[fe80::1%1]:22"};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct addr addr;
        char buf[ADDR_TEXT_MAX];
        assert_int_equal(addr_parse(same[i], &addr), 0);
        assert_string_equal(addr_format(&addr, buf), same[i]);
    }
    struct addr addr;
    char buf[ADDR_TEXT_MAX];
    assert_int_equal(addr_parse_ip("fe80::1%lo", &addr), 0);
    assert_int_equal(addr.scope, 1);
    assert_int_equal(addr_parse_ip("[::1]", &addr), 0);
    assert_string_equal(addr_format_ip(&addr, buf), "::1");
    assert_string_equal(addr_format_ip(&(struct addr){0}, buf), "none");
    assert_string_equal(addr_format(&(struct addr){0}, buf), "none");
}

static void longest_text_fits(void **state)
{
    (void)state;
    struct addr addr;
    char buf[ADDR_TEXT_MAX];
    const char *longest = "[fe80:1111:1111:1111:1111:1111:1111:1111%2147483647]:65535";
    assert_int_equal(addr_parse(longest, &addr), 0);
    assert_string_equal(addr_format(&addr, buf), longest);
}

static void bad_text(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[1.2.3.4]:80",
        "1.2.3.4:8 ",
        " 1.2.3.4:8",
        "[::1%]:80",
        "[::1%1]:80",
        "[fe80::1%nosuch]:1",
        "[fe80::1%0]:1",
        "host:80",
        "127.1:80",
        "0x7f.0.0.1:80",
        "[::1]:80:",
        "[[::1]]:80",
        "1.2.3.4:99999999999999999999",
        "[fe80::1%1111111111111111111111111111111111111111111111111111111111111111111111111111]:1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct addr addr = {.family = 77};
        assert_int_equal(addr_parse(bad[i], &addr), -EINVAL);
        assert_int_equal(addr.family, 77);
    }
    struct addr addr;
    assert_int_equal(addr_parse_ip("", &addr), -EINVAL);
    assert_int_equal(addr_parse_ip("[]", &addr), -EINVAL);
    assert_int_equal(addr_parse_ip("[", &addr), -EINVAL);
    assert_int_equal(addr_parse_ip("010.0.0.1", &addr), -EINVAL);
}

static void kernel_forms(void **state)
{
    (void)state;
    static const char *const texts[] = {"1.2.3.4:80", "[fe80::1%3]:8080", "[2001:db8::2]:1"};
    for (size_t i = 0; i < 3; i++) {
        struct addr addr, back;
        struct sockaddr_storage sa;
        assert_int_equal(addr_parse(texts[i], &addr), 0);
        socklen_t len = addr_to_sockaddr(&addr, &sa);
        assert_true(len > 0);
        assert_int_equal(addr_from_sockaddr((struct sockaddr *)&sa, len, &back), 0);
        assert_true(addr_equal(&addr, &back));
        assert_int_equal(addr_from_sockaddr((struct sockaddr *)&sa, len - 1, &back), -EAFNOSUPPORT);
    }
    struct sockaddr_storage sa = {.ss_family = AF_UNIX};
    struct addr addr = {0};
    assert_int_equal(addr_from_sockaddr((struct sockaddr *)&sa, sizeof sa, &addr), -EAFNOSUPPORT);
    assert_int_equal(addr_to_sockaddr(&addr, &sa), 0);
}

static void predicates(void **state)
{
    (void)state;
    struct addr addr, any = addr_any(AF_INET6, 5);
    assert_true(addr_is_any(&any));
    assert_false(addr_is_loopback(&any));
    addr = addr_loopback(AF_INET, 1);
    assert_true(addr_is_loopback(&addr));
    addr = addr_loopback(AF_INET6, 1);
    assert_true(addr_is_loopback(&addr));
    assert_true(addr_is_set(&addr));
    assert_int_equal(addr_ip_bytes(&addr), 16);
    assert_int_equal(addr_parse_ip("::ffff:127.9.9.9", &addr), 0);
    assert_true(addr_is_loopback(&addr));
    addr = addr_unmap(&addr);
    assert_int_equal(addr.family, AF_INET);
    assert_int_equal(addr_ip_bytes(&addr), 4);
    assert_int_equal(addr_parse_ip("::ffff:0.0.0.0", &addr), 0);
    assert_true(addr_is_any(&addr));
    addr = (struct addr){0};
    assert_false(addr_is_set(&addr) || addr_is_any(&addr) || addr_is_loopback(&addr));
}

static void equality_and_hash(void **state)
{
    (void)state;
    struct addr a, b;
    assert_int_equal(addr_parse("1.2.3.4:80", &a), 0);
    memset(&b, 0xee, sizeof b); /* what the union does not use must not count */
    b.family = AF_INET;
    b.port = 80;
    b.scope = 0;
    b.ip.v4 = a.ip.v4;
    assert_true(addr_equal(&a, &b));
    assert_int_equal(addr_hash(&a, 7), addr_hash(&b, 7));
    assert_int_not_equal(addr_hash(&a, 7), addr_hash(&a, 8));
    b.port = 81;
    assert_false(addr_equal(&a, &b));
    assert_true(addr_equal_ip(&a, &b));
    assert_int_not_equal(addr_hash(&a, 7), addr_hash(&b, 7));
    assert_int_equal(addr_parse("[fe80::1%1]:80", &a), 0);
    assert_int_equal(addr_parse("[fe80::1%2]:80", &b), 0);
    assert_false(addr_equal_ip(&a, &b));

    /* Neighbours must spread over a table of 256. */
    unsigned used[256] = {0}, slots = 0;
    for (unsigned i = 0; i < 256; i++) {
        struct addr n = {.family = AF_INET, .port = 443};
        n.ip.bytes[3] = (uint8_t)i;
        slots += used[addr_hash(&n, 1) & 255]++ == 0;
    }
    assert_true(slots > 120);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parse_and_format), cmocka_unit_test(longest_text_fits),
        cmocka_unit_test(bad_text),         cmocka_unit_test(kernel_forms),
        cmocka_unit_test(predicates),       cmocka_unit_test(equality_and_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
