/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: lists of interfaces as machines have them, made up, and what is chosen from
 * them; then the list of this machine, of which only what is the same everywhere is asked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "nat/netwatch.h"

static const struct config_strings all;

static struct addr ip(const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse_ip(text, &addr), 0);
    return addr;
}

static struct config_strings names_of(size_t count, const char *first, const char *second)
{
    static char texts[2][IF_NAMESIZE], *items[2] = {texts[0], texts[1]};

    snprintf(texts[0], IF_NAMESIZE, "%s", first);
    snprintf(texts[1], IF_NAMESIZE, "%s", second ? second : "");
    return (struct config_strings){items, count};
}

static struct interface *add(struct interfaces *list, const char *name)
{
    struct interface *item = &list->items[list->count++];

    memset(item, 0, sizeof(*item));
    snprintf(item->name, sizeof(item->name), "%s", name);
    item->index = (uint32_t)list->count;
    item->kind = interface_kind_of(name, strcmp(name, "lo") == 0, "tun7");
    item->up = item->carrier = true;
    return item;
}

/* To the interface added last. flags: t temporary, d deprecated, n not yet (tentative). */
static void add_addr(struct interfaces *list, const char *text, unsigned prefix, const char *flags)
{
    struct interface_addr *addr = &list->addrs[list->addr_count++];

    memset(addr, 0, sizeof(*addr));
    addr->addr = ip(text);
    addr->prefix = (uint8_t)prefix;
    addr->place = (uint8_t)(list->count - 1);
    addr->temporary = strchr(flags, 't');
    addr->deprecated = strchr(flags, 'd');
    addr->tentative = strchr(flags, 'n');
}

/* A laptop: cable and radio, a container's bridge, our TUN. */
static struct interfaces *laptop(void)
{
    struct interfaces *list = calloc(1, sizeof(*list));

    add(list, "lo");
    add_addr(list, "127.0.0.1", 8, "");
    add_addr(list, "::1", 128, "");
    add(list, "wlan0")->default4 = true;
    add_addr(list, "192.168.7.20", 24, "");
    add_addr(list, "fe80::20", 64, "");
    list->addrs[list->addr_count - 1].addr.scope = (uint32_t)list->count;
    add(list, "eth0");
    list->items[list->count - 1].default4 = list->items[list->count - 1].default6 = true;
    add_addr(list, "10.1.2.3", 24, "");
    add_addr(list, "2001:db8:1::dead", 64, "d");
    add_addr(list, "2001:db8:1::aaaa", 64, "t");
    add_addr(list, "2001:db8:1::1", 64, "");
    add_addr(list, "2001:db8:1::2", 64, "n");
    add_addr(list, "fd12:3456:789a:1::1", 64, "");
    add(list, "docker0");
    add_addr(list, "172.17.0.1", 16, "");
    add(list, "tun7");
    add_addr(list, "10.200.0.1", 16, "");
    return list;
}

static void check_addrs(const struct interfaces *list, const struct config_strings *names,
                        int family, const char *expected)
{
    struct addr out[INTERFACES_ADDRS_MAX];
    char text[1024] = "", one[ADDR_TEXT_MAX];
    size_t count = interfaces_addrs(list, names, family, out, INTERFACES_ADDRS_MAX);

    for (size_t i = 0; i < count; i++) {
        strcat(text, i ? " " : "");
        strcat(text, addr_format_ip(&out[i], one));
    }
    assert_string_equal(text, expected);
    if (count > 1) {
        assert_int_equal(interfaces_addrs(list, names, family, out, 1), 1);
        addr_format_ip(&out[0], one);
        assert_memory_equal(one, expected, strlen(one));
    }
}

static void test_addresses(void **state)
{
    struct interfaces *list = laptop();
    struct config_strings names = names_of(2, "eth0", "wlan0");

    (void)state;
    /* By worth first, then those that lead to the internet, in the system's order. */
    check_addrs(list, &all, AF_UNSPEC,
                "192.168.7.20 10.1.2.3 2001:db8:1::1 fd12:3456:789a:1::1 2001:db8:1::aaaa "
                "2001:db8:1::dead");
    check_addrs(list, &all, AF_INET, "192.168.7.20 10.1.2.3");
    check_addrs(list, &names, AF_INET, "10.1.2.3 192.168.7.20");
    names = names_of(2, "wlan0", "eth0");
    check_addrs(list, &names, AF_INET, "192.168.7.20 10.1.2.3");
    /* A name is believed even where it looks like a container's; and an unknown one leaves
     * loopback. */
    names = names_of(1, "docker0", NULL);
    check_addrs(list, &names, AF_UNSPEC, "172.17.0.1");
    names = names_of(1, "eth9", NULL);
    check_addrs(list, &names, AF_UNSPEC, "127.0.0.1 ::1");
    /* Unplugged, then switched off. */
    list->items[1].carrier = false;
    check_addrs(list, &all, AF_INET, "10.1.2.3");
    list->items[2].up = false;
    check_addrs(list, &all, AF_UNSPEC, "172.17.0.1"); /* inside a container it is the network */
    list->items[3].up = false;
    check_addrs(list, &all, AF_UNSPEC, "127.0.0.1 ::1");
    /* lo may have more than loopback's. */
    list->addrs[0].addr = ip("203.0.113.1");
    check_addrs(list, &all, AF_UNSPEC, "203.0.113.1");
    free(list);
}

static void check_usable(const struct interfaces *list, const struct config_strings *names,
                         const char *expected)
{
    char out[8][IF_NAMESIZE], text[256] = "";
    size_t count = interfaces_usable(list, names, out, 8);

    for (size_t i = 0; i < count; i++) {
        strcat(text, i ? " " : "");
        strcat(text, out[i]);
    }
    assert_string_equal(text, expected);
}

static void test_usable(void **state)
{
    struct interfaces *list = laptop();
    struct config_strings names = names_of(2, "eth0", "wlan0");
    struct addr cable = ip("10.1.2.3"), mapped = ip("::ffff:10.1.2.3"), soon = ip("2001:db8:1::2"),
                behind = ip("2001:db8:1::1"), link = ip("fe80::20");

    (void)state;
    check_usable(list, &names, "eth0 wlan0");
    check_usable(list, &all, "wlan0 eth0");
    list->items[1].default4 = false;
    check_usable(list, &all, "eth0 wlan0");
    assert_string_equal(interfaces_of_addr(list, &cable)->name, "eth0");
    assert_string_equal(interfaces_of_addr(list, &mapped)->name, "eth0");
    assert_string_equal(interfaces_of_addr(list, &link)->name, "wlan0");
    assert_string_equal(interfaces_of_addr(list, &behind)->name, "eth0");
    assert_null(interfaces_of_addr(list, &soon));
    list->items[2].carrier = false;
    assert_null(interfaces_of_addr(list, &cable));
    check_usable(list, &names, "wlan0");
    list->addrs[2].addr = ip("169.254.3.4"); /* up, and nobody gave it an address */
    check_usable(list, &names, "");
    free(list);
}

static bool shares(const struct interfaces *list, const char *text)
{
    struct addr addr = ip(text);

    return interfaces_share_network(list, &addr);
}

static void test_share_network(void **state)
{
    struct interfaces *list = laptop();

    (void)state;
    assert_true(shares(list, "192.168.7.99"));  /* on our link */
    assert_true(shares(list, "192.168.99.99")); /* perhaps behind a router of ours */
    assert_true(shares(list, "10.99.0.1"));
    assert_true(shares(list, "::ffff:10.99.0.1"));
    assert_false(shares(list, "172.17.0.9")); /* our containers' network is not theirs */
    assert_false(shares(list, "100.64.0.1"));
    assert_true(shares(list, "fd12:3456:789a:ffff::1"));
    assert_false(shares(list, "fd12:3456:789b:1::1"));
    assert_false(shares(list, "fe80::1"));
    assert_false(shares(list, "169.254.1.1"));
    assert_false(shares(list, "127.0.0.1"));
    assert_true(shares(list, "203.0.113.5"));
    assert_true(shares(list, "2001:db8:99::1"));
    list->items[2].carrier = false; /* the cable is out */
    assert_false(shares(list, "10.99.0.1"));
    assert_false(shares(list, "fd12:3456:789a:ffff::1"));
    list->items[1].up = false;
    assert_true(shares(list, "172.17.0.9"));
    list->items[3].up = list->items[4].up = false;
    assert_true(shares(list, "127.0.0.1"));
    assert_false(shares(list, "172.17.0.9"));
    free(list);
}

static void test_private(void **state)
{
    static const char *const private[] = {
        "127.0.0.1",   "10.0.0.1", "172.31.255.255", "192.168.0.1", "169.254.0.1",
        "100.127.0.1", "::1",      "fe80::1",        "fd00::1",     "::ffff:10.0.0.1"};
    static const char *const public[] = {"11.0.0.1",    "172.32.0.1",  "192.169.0.1",
                                         "100.128.0.1", "2001:db8::1", "::ffff:8.8.8.8"};

    (void)state;
    for (size_t i = 0; i < sizeof(private) / sizeof(*private); i++) {
        struct addr addr = ip(private[i]);

        assert_true(interfaces_is_private(&addr));
    }
    for (size_t i = 0; i < sizeof(public) / sizeof(*public); i++) {
        struct addr addr = ip(public[i]);

        assert_false(interfaces_is_private(&addr));
    }
}

static void test_equal(void **state)
{
    struct interfaces *a = laptop(), *b = laptop();

    (void)state;
    assert_true(interfaces_equal(a, b));
    b->route4 = 3;
    assert_false(interfaces_equal(a, b));
    b->route4 = 0;
    b->addrs[4].deprecated = !b->addrs[4].deprecated;
    assert_false(interfaces_equal(a, b));
    b->addrs[4].deprecated = !b->addrs[4].deprecated;
    b->items[1].carrier = false;
    assert_false(interfaces_equal(a, b));
    free(a);
    free(b);
}

static void test_kinds(void **state)
{
    (void)state;
    assert_int_equal(interface_kind_of("eth0", false, ""), INTERFACE_REAL);
    assert_int_equal(interface_kind_of("enp3s0", false, ""), INTERFACE_REAL);
    assert_int_equal(interface_kind_of("br0", false, ""), INTERFACE_REAL);
    assert_int_equal(interface_kind_of("br-1a2b3c4d5e6f", false, ""), INTERFACE_VIRTUAL);
    assert_int_equal(interface_kind_of("veth12ab", false, ""), INTERFACE_VIRTUAL);
    assert_int_equal(interface_kind_of("adit0", false, "adit0"), INTERFACE_OWN);
    assert_int_equal(interface_kind_of("adit1", false, "adit0"), INTERFACE_VIRTUAL);
    assert_int_equal(interface_kind_of("lo", true, "lo"), INTERFACE_LOOPBACK);
}

static void test_this_machine(void **state)
{
    struct interfaces *list = calloc(1, sizeof(*list));
    const struct interface *lo;
    struct addr loopback = ip("127.0.0.1");

    (void)state;
    assert_int_equal(interfaces_read(list, ""), 0);
    assert_true(list->count >= 1);
    lo = interfaces_of_addr(list, &loopback);
    if (!lo)
        skip(); /* a namespace whose loopback is down */
    assert_string_equal(lo->name, "lo");
    assert_int_equal(lo->kind, INTERFACE_LOOPBACK);
    assert_int_equal(lo->index, if_nametoindex("lo"));
    assert_false(lo->default4);
    assert_int_equal(interfaces_route(&loopback), lo->index);
    free(list);
}

static void on_changed(void *arg, enum netwatch_what what)
{
    assert_int_equal(what, NETWATCH_WOKE);
    ++*(int *)arg;
}

/* Without descriptors the kernel is not listened to; what the loop knows is told all the same. */
static void test_netwatch_wakes(void **state)
{
    struct loop *loop = loop_new_virtual(1);
    int woken = 0;
    struct netwatch *netwatch;

    (void)state;
    netwatch = netwatch_new(loop, "", on_changed, &woken);
    assert_non_null(netwatch);
    assert_true(netwatch_interfaces(netwatch)->count >= 1);
    loop_lose(loop, LOOP_GAP_US - 1);
    loop_turn(loop, 0);
    assert_int_equal(woken, 0);
    loop_lose(loop, LOOP_GAP_US);
    loop_turn(loop, 0);
    assert_int_equal(woken, 1);
    netwatch_free(netwatch);
    loop_lose(loop, LOOP_GAP_US);
    loop_turn(loop, 0);
    assert_int_equal(woken, 1);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),     cmocka_unit_test(test_usable),
        cmocka_unit_test(test_share_network), cmocka_unit_test(test_private),
        cmocka_unit_test(test_equal),         cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_this_machine),  cmocka_unit_test(test_netwatch_wakes),
    };

    log_init(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
