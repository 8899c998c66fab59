/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the resolver against a DNS server of this test's own on loopback, and the
 * hosts file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "dns_server.h"
#include "egress/hosts.h"
#include "egress/resolve.h"

static const struct dns_record records[] = {
    {.name = "both.test", .v4 = "192.0.2.1 192.0.2.2", .v6 = "2001:db8::1", .ttl = 60},
    {.name = "v4.test", .v4 = "192.0.2.4", .v6 = "", .ttl = 60},
    {.name = "v6.test", .v4 = "", .v6 = "2001:db8::6", .ttl = 60},
    {.name = "none.test", .v4 = "", .v6 = "", .ttl = 60},
    {.name = "fail.test", .v4 = "", .v6 = "", .rcode = 2},
    {.name = "half.test", .v4 = "192.0.2.5", .v6 = NULL, .ttl = 60},
    {.name = "silent.test", .v4 = NULL, .v6 = NULL},
    {.name = "alias.test", .v4 = "192.0.2.7", .v6 = "", .ttl = 60, .cname = "real.test"},
    {.name = "zero.test", .v4 = "192.0.2.8", .v6 = "", .ttl = 0},
    {.name = "lossy.test", .v4 = "192.0.2.9", .v6 = "2001:db8::9", .ttl = 60, .drop = 1},
    {.name = "many.test",
     .v4 = "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 192.0.2.8 "
           "192.0.2.9 192.0.2.10",
     .v6 = "",
     .ttl = 60},
    {.name = "single", .v4 = "192.0.2.11", .v6 = "", .ttl = 60},
    {0},
};

static struct loop *loop;
static struct dns_server *server;
static struct resolver *resolver;

/* What one lookup was told, as text: "6:2001:db8::1 4:192.0.2.1 192.0.2.2 ", in the order of
 * telling. */
struct asked {
    struct lookup lookup;
    char told[512];
    int times;
    bool cancel_in_call, free_in_call;
};

static void on_told(void *arg, int family, const struct addr *addrs, size_t count, enum answer why)
{
    struct asked *asked = arg;
    char buf[ADDR_TEXT_MAX];
    strcat(asked->told, family == AF_INET6 ? "6:" : "4:");
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(addrs[i].port, 443);
        assert_int_equal(addrs[i].family, family);
        strcat(strcat(asked->told, addr_format_ip(&addrs[i], buf)), " ");
    }
    if (count == 0)
        strcat(asked->told, why == ANSWER_NAME_NOT_FOUND ? "none "
                            : why == ANSWER_NAME_FAILED  ? "failed "
                                                         : "? ");
    asked->times++;
    if (asked->cancel_in_call || asked->free_in_call)
        resolve_cancel(&asked->lookup);
    if (asked->free_in_call)
        free(asked);
}

static void begin(struct asked *asked, const char *name)
{
    memset(asked, 0, sizeof *asked);
    assert_int_equal(resolve(resolver, &asked->lookup, name, 443, on_told, asked), 0);
    assert_int_equal(asked->times, 0); /* never from inside */
}

/* At most 10 s, which no test that passes needs. */
static void run_until(const int *times, int wanted)
{
    uint64_t end = loop_refresh(loop) + 10 * SEC_US;
    while (*times < wanted && loop_now(loop) < end)
        loop_turn(loop, 2 * MS_US);
    assert_int_equal(*times, wanted);
}

static void expect(const char *name, const char *told)
{
    struct asked asked;
    begin(&asked, name);
    run_until(&asked.times, 2);
    assert_string_equal(asked.told, told);
    assert_null(asked.lookup.entry);
}

static void open_resolver(const char *hosts_file)
{
    struct addr addr = dns_server_addr(server);
    struct resolver_options options = {.servers = &addr,
                                       .server_count = 1,
                                       .hosts_file = hosts_file,
                                       .timeout_ms = 400,
                                       .tries = 2};
    resolver = resolver_new(loop, &options);
    assert_non_null(resolver);
}

static int setup(void **state)
{
    (void)state;
    loop = loop_new();
    server = dns_server_new(loop, records);
    open_resolver("");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    resolver_free(resolver);
    dns_server_free(server);
    loop_free(loop);
    return 0;
}

static bool told_both(const struct asked *asked, const char *v6, const char *v4)
{
    char one[512], other[512];
    snprintf(one, sizeof one, "%s%s", v6, v4);
    snprintf(other, sizeof other, "%s%s", v4, v6);
    return strcmp(asked->told, one) == 0 || strcmp(asked->told, other) == 0;
}

static void names(void **state)
{
    (void)state;
    struct asked asked;
    begin(&asked, "both.test");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:2001:db8::1 ", "4:192.0.2.1 192.0.2.2 "));
    begin(&asked, "v6.test");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:2001:db8::6 ", "4:none "));
    begin(&asked, "none.test");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:none ", "4:none "));
    begin(&asked, "absent.test");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:none ", "4:none "));
    begin(&asked, "fail.test");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:failed ", "4:failed "));
    begin(&asked, "alias.test");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:none ", "4:192.0.2.7 "));
    begin(&asked, "single");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:none ", "4:192.0.2.11 "));
    begin(&asked, "many.test");
    run_until(&asked.times, 2);
    assert_non_null(strstr(asked.told, "192.0.2.8 "));
    assert_null(strstr(asked.told, "192.0.2.9 "));
}

static void names_without_dns(void **state)
{
    (void)state;
    char long_name[TARGET_NAME_MAX + 1];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[TARGET_NAME_MAX] = '\0';
    expect("localhost", "6:::1 4:127.0.0.1 ");
    expect("LocalHost.", "6:::1 4:127.0.0.1 ");
    expect("a.localhost", "6:::1 4:127.0.0.1 ");
    static const char *const nowhere[] = {"127.1",   "0x7f.1",    "2130706433", "0x7f000001",
                                          "a.1",     "x.invalid", "a.onion",    ".",
                                          "a..test", ".a.test",   "a\\.test",   "0x"};
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++)
        expect(nowhere[i], "6:none 4:none ");
    expect(long_name, "6:none 4:none ");
    assert_int_equal(dns_server_questions(server), 0);
    struct asked asked;
    begin(&asked, "0xfg.test");
    run_until(&asked.times, 2);
    assert_int_equal(dns_server_questions(server), 2);
}

static void cache(void **state)
{
    (void)state;
    struct asked asked[3];
    for (int i = 0; i < 3; i++)
        begin(&asked[i], i == 1 ? "BOTH.test." : "both.test");
    for (int i = 0; i < 3; i++)
        run_until(&asked[i].times, 2);
    assert_int_equal(dns_server_questions(server), 2); /* asked once for all */
    expect("both.test", "6:2001:db8::1 4:192.0.2.1 192.0.2.2 ");
    assert_int_equal(dns_server_questions(server), 2); /* known; IPv6 first */
    expect("Both.Test", "6:2001:db8::1 4:192.0.2.1 192.0.2.2 ");
    assert_int_equal(resolver_names(resolver), 1);

    begin(&asked[0], "absent.test");
    run_until(&asked[0].times, 2);
    expect("absent.test", "6:none 4:none ");
    assert_int_equal(dns_server_questions(server), 4);
    for (int i = 0; i < 2; i++) {
        begin(&asked[0], "zero.test"); /* a TTL of 0 is not kept */
        run_until(&asked[0].times, 2);
        begin(&asked[0], "fail.test"); /* nor is a failure */
        run_until(&asked[0].times, 2);
    }
    assert_true(dns_server_questions(server) >= 4 + 2 + 1 + 4);
    assert_int_equal(resolver_queries(resolver), 4 + 2 + 1 + 4);
}

static void halves_are_told_apart(void **state)
{
    (void)state;
    struct asked asked;
    dns_server_hold(server, AF_INET6, true);
    begin(&asked, "both.test");
    run_until(&asked.times, 1);
    assert_string_equal(asked.told, "4:192.0.2.1 192.0.2.2 ");
    dns_server_hold(server, AF_INET6, false);
    run_until(&asked.times, 2);
    assert_string_equal(asked.told, "4:192.0.2.1 192.0.2.2 6:2001:db8::1 ");

    begin(&asked, "half.test"); /* IPv6 is never answered: told as failed in the end */
    run_until(&asked.times, 1);
    assert_string_equal(asked.told, "4:192.0.2.5 ");
    run_until(&asked.times, 2);
    assert_string_equal(asked.told, "4:192.0.2.5 6:failed ");
}

static void lost_questions_are_repeated(void **state)
{
    (void)state;
    struct asked asked;
    begin(&asked, "lossy.test");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:2001:db8::9 ", "4:192.0.2.9 "));
    begin(&asked, "silent.test");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:failed ", "4:failed "));
}

static void cancelling(void **state)
{
    (void)state;
    struct asked first, second, other;
    begin(&first, "both.test");
    begin(&second, "both.test");
    resolve_cancel(&first.lookup);
    resolve_cancel(&first.lookup);
    run_until(&second.times, 2);
    assert_int_equal(first.times, 0);

    /* Before a known answer has been told, and inside the first telling. */
    begin(&first, "both.test");
    begin(&second, "both.test");
    second.cancel_in_call = true;
    begin(&other, "both.test");
    struct asked *freed = malloc(sizeof *freed);
    begin(freed, "both.test");
    freed->free_in_call = true;
    resolve_cancel(&first.lookup);
    run_until(&other.times, 2);
    assert_int_equal(first.times, 0);
    assert_int_equal(second.times, 1);

    /* Under way when the resolver ends. */
    begin(&first, "silent.test");
    begin(&second, "silent.test");
    resolve_cancel(&second.lookup);
    resolver_free(resolver);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 0);
    assert_int_equal(first.times, 0);
    assert_null(first.lookup.entry);
    open_resolver("");
}

static void table_is_bounded(void **state)
{
    (void)state;
    static struct asked asked[RESOLVE_NAMES_MAX];
    static struct asked extra;
    char name[32];
    for (int i = 0; i < RESOLVE_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "n%d.localhost", i);
        begin(&asked[i], name);
    }
    assert_int_equal(resolve(resolver, &extra.lookup, "more.localhost", 443, on_told, &extra),
                     ADIT_EFULL);
    /* One that waits already may be joined. */
    begin(&extra, "n5.localhost");
    run_until(&extra.times, 2);
    for (int i = 0; i < RESOLVE_NAMES_MAX; i++)
        assert_int_equal(asked[i].times, 2);
    /* All are idle now, and make place. */
    for (int i = 0; i < 10; i++) {
        snprintf(name, sizeof name, "m%d.localhost", i);
        expect(name, "6:::1 4:127.0.0.1 ");
    }
    assert_int_equal(resolver_names(resolver), RESOLVE_NAMES_MAX);
}

static void hosts_text(void **state)
{
    (void)state;
    static const char text[] = "# comment\n"
                               "192.0.2.1 One one.example\t# two\r\n"
                               "\n"
                               "  2001:db8::1\tone.EXAMPLE.\n"
                               "not-an-address name\n"
                               "192.0.2.9 one.example\n"
                               "192.0.2.3\n"
                               "fe80::1%1 link\n"
                               "192.0.2.4 last";
    struct hosts hosts;
    size_t count;
    assert_int_equal(hosts_parse(text, sizeof text - 1, &hosts), 0);
    assert_int_equal(hosts.count, 6);
    const struct hosts_record *record = hosts_find(&hosts, "one.example", &count);
    char buf[ADDR_TEXT_MAX];
    assert_int_equal(count, 3);
    assert_string_equal(addr_format_ip(&record[0].addr, buf), "192.0.2.1");
    assert_string_equal(addr_format_ip(&record[1].addr, buf), "2001:db8::1");
    assert_string_equal(addr_format_ip(&record[2].addr, buf), "192.0.2.9");
    assert_non_null(hosts_find(&hosts, "one", &count));
    assert_non_null(hosts_find(&hosts, "last", &count));
    assert_null(hosts_find(&hosts, "two", &count));
    assert_null(hosts_find(&hosts, "name", &count));
    assert_null(hosts_find(&hosts, "zzz", &count));
    hosts_clear(&hosts);
    assert_int_equal(hosts_parse("", 0, &hosts), 0);
    assert_null(hosts_find(&hosts, "x", &count));
    hosts_clear(&hosts);
    assert_int_equal(hosts_load("/nonexistent/hosts", &hosts), -ENOENT);
    assert_null(hosts_find(&hosts, "x", &count));
}

static void hosts_file(void **state)
{
    (void)state;
    char path[] = "/tmp/adit-hosts-XXXXXX";
    static const char text[] = "192.0.2.77 both.test\n2001:db8::77 six.test six\n";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    resolver_free(resolver);
    open_resolver(path);
    expect("both.test", "6:none 4:192.0.2.77 "); /* DNS knows it too, but comes second */
    expect("SIX", "6:2001:db8::77 4:none ");
    assert_int_equal(dns_server_questions(server), 0);
    unlink(path);
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void settings_change(void **state)
{
    (void)state;
    char dir[] = "/tmp/adit-resolve-XXXXXX", conf[64], hosts[64];
    struct addr addr = dns_server_addr(server);
    assert_non_null(mkdtemp(dir));
    snprintf(conf, sizeof conf, "%s/resolv.conf", dir);
    snprintf(hosts, sizeof hosts, "%s/hosts", dir);
    struct resolver_options options = {.resolv_conf = conf,
                                       .system_port = addr.port,
                                       .hosts_file = hosts,
                                       .timeout_ms = 400,
                                       .tries = 2};
    resolver_free(resolver);
    write_file(conf, "nameserver 127.0.0.2\n"); /* nobody there */
    resolver = resolver_new(loop, &options);
    assert_non_null(resolver);

    /* A lookup is under way on the old channel when the settings change, and ends there. */
    struct asked asked, before;
    begin(&before, "before.test");
    write_file(conf, "nameserver 127.0.0.1\n");
    write_file(hosts, "192.0.2.99 new.test\n");
    resolver_refresh(resolver);
    begin(&asked, "v4.test");
    run_until(&asked.times, 2);
    assert_true(told_both(&asked, "6:none ", "4:192.0.2.4 "));
    expect("new.test", "6:none 4:192.0.2.99 ");
    run_until(&before.times, 2);
    write_file(hosts, "192.0.2.100 new.test\n");
    resolver_refresh(resolver);
    expect("new.test", "6:none 4:192.0.2.100 ");
    unlink(conf);
    unlink(hosts);
    resolver_refresh(resolver);
    rmdir(dir);
}

static void without_descriptors(void **state)
{
    (void)state;
    struct loop *virtual = loop_new_virtual(1);
    struct resolver *r = resolver_new(virtual, NULL);
    struct asked asked = {.times = 0};
    assert_non_null(r);
    assert_int_equal(resolve(r, &asked.lookup, "both.test", 443, on_told, &asked), 0);
    while (asked.times < 2)
        loop_turn(virtual, SEC_US);
    assert_string_equal(asked.told, "6:failed 4:failed ");
    resolver_free(r);
    loop_free(virtual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(names, setup, teardown),
        cmocka_unit_test_setup_teardown(names_without_dns, setup, teardown),
        cmocka_unit_test_setup_teardown(cache, setup, teardown),
        cmocka_unit_test_setup_teardown(halves_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_questions_are_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelling, setup, teardown),
        cmocka_unit_test_setup_teardown(table_is_bounded, setup, teardown),
        cmocka_unit_test(hosts_text),
        cmocka_unit_test_setup_teardown(hosts_file, setup, teardown),
        cmocka_unit_test_setup_teardown(settings_change, setup, teardown),
        cmocka_unit_test(without_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
