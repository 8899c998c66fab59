/* SPDX-License-Identifier: MIT */
/* Theory of operation: the default policy, block by block at its edges; wrapped addresses; rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/err.h"
#include "egress/policy.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct addr ip(const char *text)
{
    struct addr addr;
    if (addr_parse_ip(text, &addr) != 0)
        fail_msg("bad address in the test: %s", text);
    return addr;
}

static void add(struct policy *policy, bool allow, const char *text)
{
    struct rule rule;
    if (rule_parse(text, &rule) != 0)
        fail_msg("bad rule in the test: %s", text);
    assert_int_equal(allow ? policy_allow(policy, &rule) : policy_deny(policy, &rule), 0);
}

static enum policy_verdict judge(const struct policy *policy, const char *to, uint16_t port,
                                 const char *name)
{
    struct addr addr = ip(to);
    addr.port = port;
    return policy_check(policy, POLICY_TCP, &addr, name);
}

/* The same verdict for the port 443 of each. */
#define EXPECT_ALL(policy, hosts, verdict)                        \
    do {                                                          \
        for (size_t i_ = 0; i_ < COUNT(hosts); i_++)              \
            if (judge(policy, hosts[i_], 443, NULL) != (verdict)) \
                fail_msg("%s is not %s", hosts[i_], #verdict);    \
    } while (0)

static void public_by_default(void **state)
{
    (void)state;
    static const char *const open[] = {
        "1.0.0.0",        "9.255.255.255",   "11.0.0.0",        "100.63.255.255",
        "100.128.0.0",    "126.255.255.255", "128.0.0.0",       "169.253.255.255",
        "169.255.0.0",    "172.15.255.255",  "172.32.0.0",      "191.255.255.255",
        "192.0.1.0",      "192.0.3.0",       "192.167.255.255", "192.169.0.0",
        "198.17.255.255", "198.20.0.0",      "198.51.101.0",    "203.0.112.255",
        "203.0.114.0",    "223.255.255.255", "2000::1",         "2a00:1450::1",
        "2600::1",        "3ffe:ffff::1",    "3fff:1000::1",    "2001:200::1",
        "2001:db9::1",    "2001:3::1",       "2001:4:112::1",
    };
    static const char *const closed[] = {
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::1.2.3.4",
        "100::1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "3fff::1",
        "3fff:fff::1",
        "2001:1::1",
        "2001:2::1",
        "2001:10::1",
        "4000::1",
        "5f00::1",
        "1fff::1",
        "64:ff9b:2::1",
        "fe80::1%1",
    };
    struct policy *policy = policy_new();
    EXPECT_ALL(policy, open, POLICY_ALLOWED);
    EXPECT_ALL(policy, closed, POLICY_NOT_PUBLIC);
    struct addr none = {0};
    assert_int_equal(policy_check(policy, POLICY_TCP, &none, NULL), POLICY_NOT_PUBLIC);
    policy_free(policy);
}

static void wrapped_addresses(void **state)
{
    (void)state;
    static const char *const open[] = {
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:f7f7:f7f7", /* Teredo: server 65.54.227.120, 8.8.8.8 */
        "64:ff9b:1:808:8:800:8.8.8.8",          /* /48 of RFC 6052: 8.8.8.8 */
    };
    static const char *const closed[] = {
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "64:ff9b:1:a00:0:100:8.8.8.8", /* /48: 10.0.0.1 */
        "64:ff9b:1:a:0:1:8.8.8.8",     /* /56: 10.0.0.1 */
        "64:ff9b:1:0:a:0:108:808",     /* /64: 10.0.0.1 */
        "2002:a00:1::1",               /* 6to4 of 10.0.0.1 */
        "2002:7f00:1::1",
        "2001:0:a00:1:8000:63bf:f7f7:f7f7",     /* Teredo server 10.0.0.1 */
        "2001:0:4136:e378:8000:63bf:f5ff:fffe", /* Teredo client 10.0.0.1 */
    };
    struct policy *policy = policy_new();
    EXPECT_ALL(policy, open, POLICY_ALLOWED);
    EXPECT_ALL(policy, closed, POLICY_NOT_PUBLIC);

    /* Allowing what is wrapped opens the wrapper; denying it closes the wrapper. */
    add(policy, true, "10.0.0.0/8");
    add(policy, false, "8.8.8.8");
    assert_int_equal(judge(policy, "64:ff9b::10.0.0.1", 443, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "2002:a00:1::1", 443, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "64:ff9b::8.8.8.8", 443, NULL), POLICY_DENIED);
    assert_int_equal(judge(policy, "::ffff:8.8.8.8", 443, NULL), POLICY_DENIED);
    assert_int_equal(judge(policy, "2002:808:808::1", 443, NULL), POLICY_DENIED);
    assert_int_equal(judge(policy, "8.8.4.4", 443, NULL), POLICY_ALLOWED);
    policy_free(policy);
}

static void rules(void **state)
{
    (void)state;
    struct policy *policy = policy_new();
    add(policy, true, "10.1.0.0/16");
    add(policy, true, "192.168.1.0/24:8000-8100");
    add(policy, true, "[fd00::/8]:22");
    add(policy, true, "::ffff:172.16.0.0/112"); /* mapped: as 172.16.0.0/16 */
    add(policy, false, "10.1.9.0/24");
    add(policy, false, "*:6667");
    add(policy, false, "1.1.1.1:53");
    assert_int_equal(judge(policy, "10.1.2.3", 80, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "::ffff:10.1.2.3", 80, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "10.2.2.3", 80, NULL), POLICY_NOT_PUBLIC);
    assert_int_equal(judge(policy, "10.1.9.3", 80, NULL), POLICY_DENIED);
    assert_int_equal(judge(policy, "192.168.1.1", 7999, NULL), POLICY_NOT_PUBLIC);
    assert_int_equal(judge(policy, "192.168.1.1", 8000, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "192.168.1.1", 8101, NULL), POLICY_NOT_PUBLIC);
    assert_int_equal(judge(policy, "fd12::1", 22, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "fd12::1", 23, NULL), POLICY_NOT_PUBLIC);
    assert_int_equal(judge(policy, "172.16.5.5", 23, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "8.8.8.8", 6667, NULL), POLICY_DENIED);
    assert_int_equal(judge(policy, "10.1.2.3", 6667, NULL), POLICY_DENIED);
    assert_int_equal(judge(policy, "1.1.1.1", 53, NULL), POLICY_DENIED);
    assert_int_equal(judge(policy, "1.1.1.1", 54, NULL), POLICY_ALLOWED);

    struct rule any;
    assert_int_equal(rule_parse("*", &any), 0);
    assert_int_equal(policy_allow(policy, &any), -EINVAL);
    assert_int_equal(policy_deny(policy, &any), 0);
    assert_int_equal(judge(policy, "10.1.2.3", 80, NULL), POLICY_DENIED);
    policy_free(policy);
}

static void mail_port(void **state)
{
    (void)state;
    struct addr to = ip("8.8.8.8");
    to.port = 25;
    struct policy *policy = policy_new();
    add(policy, true, "10.0.0.0/8");
    add(policy, true, "10.2.0.0/16:25");
    add(policy, true, "mail.example.org:25");
    assert_int_equal(judge(policy, "8.8.8.8", 25, NULL), POLICY_PORT);
    assert_int_equal(policy_check(policy, POLICY_UDP, &to, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "10.1.1.1", 25, NULL), POLICY_PORT);
    assert_int_equal(judge(policy, "10.2.1.1", 25, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "8.8.8.8", 25, "mail.example.org"), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "8.8.8.8", 25, "www.example.org"), POLICY_PORT);
    add(policy, true, "*:25");
    assert_int_equal(judge(policy, "8.8.8.8", 25, NULL), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "192.168.0.1", 25, NULL), POLICY_NOT_PUBLIC);
    policy_free(policy);
}

static void domains(void **state)
{
    (void)state;
    struct policy *policy = policy_new();
    add(policy, false, "example.org");
    add(policy, false, "*.example.net");
    add(policy, false, "ports.example:1-1023");
    add(policy, true, "intern.example");
    assert_int_equal(policy_check_name(policy, "example.org", 80), POLICY_DENIED);
    assert_int_equal(policy_check_name(policy, "WWW.Example.ORG.", 80), POLICY_DENIED);
    assert_int_equal(policy_check_name(policy, "notexample.org", 80), POLICY_ALLOWED);
    assert_int_equal(policy_check_name(policy, "example.org.evil", 80), POLICY_ALLOWED);
    assert_int_equal(policy_check_name(policy, "example.net", 80), POLICY_ALLOWED);
    assert_int_equal(policy_check_name(policy, "a.example.net", 80), POLICY_DENIED);
    assert_int_equal(policy_check_name(policy, "ports.example", 80), POLICY_DENIED);
    assert_int_equal(policy_check_name(policy, "ports.example", 8080), POLICY_ALLOWED);
    assert_int_equal(judge(policy, "8.8.8.8", 80, "www.example.org"), POLICY_DENIED);
    assert_int_equal(judge(policy, "8.8.8.8", 80, NULL), POLICY_ALLOWED);
    /* Rebinding: whoever holds the name must not thereby reach private addresses. */
    assert_int_equal(judge(policy, "10.0.0.1", 80, "intern.example"), POLICY_NOT_PUBLIC);
    add(policy, true, "10.0.0.0/24");
    assert_int_equal(judge(policy, "10.0.0.1", 80, "intern.example"), POLICY_ALLOWED);
    policy_free(policy);
}

static void own_addresses(void **state)
{
    (void)state;
    struct policy *policy = policy_new();
    struct addr own[] = {ip("::ffff:8.8.8.8"), ip("2a00::1")};
    own[1].port = 5;
    assert_int_equal(policy_set_own(policy, own, 2), 0);
    assert_int_equal(judge(policy, "8.8.8.8", 80, NULL), POLICY_OWN_ADDRESS);
    assert_int_equal(judge(policy, "64:ff9b::8.8.8.8", 80, NULL), POLICY_OWN_ADDRESS);
    assert_int_equal(judge(policy, "2a00::1", 80, NULL), POLICY_OWN_ADDRESS);
    assert_int_equal(judge(policy, "2a00::2", 80, NULL), POLICY_ALLOWED);
    assert_int_equal(policy_set_own(policy, own, POLICY_OWN_MAX + 1), ADIT_EFULL);
    assert_int_equal(judge(policy, "2a00::1", 80, NULL), POLICY_OWN_ADDRESS);
    add(policy, true, "2a00::1");
    assert_int_equal(judge(policy, "2a00::1", 80, NULL), POLICY_ALLOWED);
    assert_int_equal(policy_set_own(policy, NULL, 0), 0);
    assert_int_equal(judge(policy, "8.8.8.8", 80, NULL), POLICY_ALLOWED);
    policy_free(policy);
}

static void limits_and_texts(void **state)
{
    (void)state;
    struct policy *policy = policy_new();
    struct rule rule;
    assert_int_equal(rule_parse("10.0.0.0/8", &rule), 0);
    for (int i = 0; i < POLICY_RULES_MAX; i++)
        assert_int_equal(i % 2 ? policy_allow(policy, &rule) : policy_deny(policy, &rule), 0);
    assert_int_equal(policy_deny(policy, &rule), ADIT_EFULL);
    policy_free(policy);
    for (int i = 0; i <= POLICY_VERDICT_LAST; i++)
        assert_non_null(policy_verdict_text((enum policy_verdict)i));
    policy_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_by_default),
        cmocka_unit_test(wrapped_addresses),
        cmocka_unit_test(rules),
        cmocka_unit_test(mail_port),
        cmocka_unit_test(domains),
        cmocka_unit_test(own_addresses),
        cmocka_unit_test(limits_and_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
