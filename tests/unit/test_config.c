/* SPDX-License-Identifier: MIT */
/*
 * The configuration: values, files, options and what is said of mistakes; rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config/config_int.h"

#define ID_TEXT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static struct config *parse(const char *text)
{
    struct config *config = config_new();
    assert_non_null(config);
    config_parse(config, text, strlen(text), "t.conf");
    config_finish(config);
    return config;
}

static struct config *parse_good(const char *text)
{
    struct config *config = parse(text);
    if (config_error_count(config) != 0)
        fail_msg("%s", config_error(config, 0));
    return config;
}

static void expect_error(const char *text, const char *error)
{
    struct config *config = parse(text);
    const char *got = config_error(config, 0);
    if (got == NULL || strcmp(got, error) != 0)
        fail_msg("wanted: %s\ngot:    %s", error, got != NULL ? got : "no error");
    assert_int_equal(config_error_count(config), 1);
    config_free(config);
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *config = config_new();
    assert_int_equal(config_finish(config), 0);
    assert_int_equal(config->path.hold_us, 120000000);
    assert_int_equal(config->path.connect_wait_us, 10000000);
    assert_int_equal(config->session.memory, 256 << 20);
    assert_int_equal(config->session.max_streams, 20000);
    assert_int_equal(config->gateway.listen.count, 1);
    assert_int_equal(config->gateway.listen.items[0].addr.port, 1080);
    assert_int_equal(config->path.listen.count, 1);
    assert_int_equal(config->path.listen.items[0].port, 0);
    assert_int_equal(config->path.strategies.count, 4);
    assert_int_equal(config->path.strategies.order[3], STRATEGY_RELAY);
    assert_int_equal(config->node.log, LOG_INFO);
    assert_string_equal(config->gateway.exit, "");
    assert_string_equal(config->node.name, "");
    assert_int_equal(config->exit.rate, 0);
    assert_false(config->exit.access_log);
    config_free(config);
}

/* Every key's default lies within its own bounds, and every key has a help text. */
static void test_table(void **state)
{
    (void)state;
    size_t count;
    const struct config_key *keys = config_keys(&count);
    for (size_t i = 0; i < count; i++) {
        assert_non_null(keys[i].help);
        assert_true(strlen(keys[i].help) < 90);
        for (size_t j = 0; j < i; j++)
            assert_false(strcmp(keys[i].section, keys[j].section) == 0 &&
                         strcmp(keys[i].name, keys[j].name) == 0);
    }
}

static void test_sample(void **state)
{
    (void)state;
    struct config *config =
        parse_good("# adit.conf\n"
                   "    [node]\n"
                   "    name = laptop\n"
                   "    control = /run/adit/control.sock            # default for users\n"
                   "    log = info\n"
                   "    [signal]\n"
                   "    broker = mqtt://broker.example:1883        # mqtts://, ws://, wss:// too\n"
                   "    broker = wss://user:pass@b.example/mqtt ; another\n"
                   "    [nat]\n"
                   "    stun = stun.example:3478\n"
                   "    port_mapping = yes\n"
                   "    interfaces = eth0, wlan0                    # default: all\n"
                   "    [turn]\n"
                   "    server = turn:turn.example:3478?transport=udp\n"
                   "    user = alice\n"
                   "    password_file = /etc/adit/turn.pass\n"
                   "    [path]\n"
                   "    strategies = direct, reverse, punch, relay\n"
                   "    listen = [::]:0\n"
                   "    hold = 120s\n"
                   "    connect_wait = 10s\n"
                   "    [session]\n"
                   "    memory = 256M\n"
                   "    max_streams = 20000\n"
                   "    [gateway]\n"
                   "    listen = 127.0.0.1:1080\n"
                   "    listen = unix:/run/user/1000/adit.sock\n"
                   "    exit = home\n"
                   "    users_file = FILE\n"
                   "    route = *.corp.example -> office\n"
                   "    route = 10.0.0.0/8:22->direct\n"
                   "    [tun]\n"
                   "    device = adit0\n"
                   "    address = 198.18.0.1/15\n"
                   "    mtu = 1500\n"
                   "    route = 0.0.0.0/0\n"
                   "    route = ::/0\n"
                   "    bypass = 192.168.0.0/16\n"
                   "    dns = exit\n"
                   "    on_loss = block\n"
                   "    [exit]\n"
                   "    allow = 10.1.0.0/16\n"
                   "    deny = example.org\n"
                   "    rate = 100mbit\n"
                   "    [peer home]\n"
                   "    id = " ID_TEXT "\n"
                   "    admit = yes                                 # may use us\n");
    assert_string_equal(config->node.name, "laptop");
    assert_string_equal(config->node.control, "/run/adit/control.sock");
    assert_int_equal(config->signal.broker.count, 2);
    assert_string_equal(config->signal.broker.items[1], "wss://user:pass@b.example/mqtt");
    assert_int_equal(config->nat.interfaces.count, 2);
    assert_string_equal(config->nat.interfaces.items[1], "wlan0");
    assert_true(config->nat.standby);
    assert_int_equal(config->gateway.listen.count, 2);
    assert_string_equal(config->gateway.listen.items[1].path, "/run/user/1000/adit.sock");
    assert_int_equal(config->gateway.route.count, 2);
    assert_string_equal(config->gateway.route.items[1].exit, "direct");
    assert_int_equal(config->tun.route.count, 2);
    assert_int_equal(config->exit.rate, 12500000);
    assert_int_equal(config->exit.allow.count, 1);
    assert_true(config_has_section(config, "exit") && config_has_section(config, "peer"));
    assert_int_equal(config->peer_count, 1);
    const struct config_peer *peer = config_peer_find(config, "home");
    assert_non_null(peer);
    assert_true(peer->has_id && peer->admit);
    assert_non_null(config_note(config, 0));
    assert_string_equal(config_note(config, 0), "t.conf:10: nat.stun is not used by this version");
    config_free(config);
}

static void test_mistakes(void **state)
{
    (void)state;
    expect_error("[path]\nhould = 3s\n", "t.conf:2: unknown key 'hould' in [path]; "
                                         "did you mean path.hold?");
    expect_error("[node]\nhold = 3s\n", "t.conf:2: unknown key 'hold' in [node]; "
                                        "did you mean path.hold?");
    expect_error("[node]\nzzzzzz = 3s\n", "t.conf:2: unknown key 'zzzzzz' in [node]");
    expect_error("[paths]\nhold = 3s\nx = y\n", "t.conf:1: unknown section [paths]; "
                                                "did you mean [path]?");
    expect_error("[signal]\nbroker* = mqtt://x\n",
                 "t.conf:2: unknown key 'broker*' in [signal]; did you mean signal.broker?");
    expect_error("[signal]\nbroker = http://u:secret@x\n",
                 "t.conf:2: signal.broker: the URL is wrong: it does not begin with mqtt://, "
                 "mqtts://, ws:// or wss://");
    expect_error("[signal]\nbroker = mqtts://u:secret@\n",
                 "t.conf:2: signal.broker: the URL is wrong: its host or port is missing or wrong");
    expect_error("[signal]\nbroker = ws://1\nbroker = ws://2\nbroker = ws://3\nbroker = ws://4\n"
                 "broker = ws://5\nbroker = ws://6\nbroker = ws://7\nbroker = ws://8\n"
                 "broker = ws://9\n",
                 "configuration: signal.broker: more than 8 brokers");
    expect_error("[nat]\ninterfaces = eth0, wlan0 eth1\n",
                 "t.conf:2: nat.interfaces: 'wlan0 eth1' is more than one name; put commas between "
                 "them");
    expect_error("\n\n[path\nhold = 3s\n", "t.conf:3: a section is written [NAME]");
    expect_error("hold = 3s\n", "t.conf:1: a key before the first [SECTION]");
    expect_error("[path]\nhold\n", "t.conf:2: 'hold' is not KEY = VALUE");
    expect_error("[path]\nhold = 3s\n\nhold = 4s\n",
                 "t.conf:4: path.hold is set twice; first on line 2");
    expect_error("[path]\nhold = 3\n",
                 "t.conf:2: path.hold: '3' is no duration; write 500ms, 90s, 2m, 1h30m or 1d");
    expect_error("[path]\nhold = 1us\n", "t.conf:2: path.hold: 1us is too small");
    expect_error("[session]\nmax_streams = 0\n",
                 "t.conf:2: session.max_streams: 0 is not between 1 and 10000000");
    expect_error("[session]\nmemory = 5Q\n", "t.conf:2: session.memory: '5Q' is no size; "
                                             "write 65536, 512K, 256M or 1.5G");
    expect_error("[exit]\nallow = 10.1.2.3/16\n",
                 "t.conf:2: exit.allow: '10.1.2.3/16' is no rule; write IP/PREFIX, NAME or *, "
                 "with or without :PORT (no bits set beyond the prefix)");
    expect_error("[node]\nlog = loud\n",
                 "t.conf:2: node.log: 'loud' is none of: error, warn, info, debug, trace");
    expect_error("[path]\nstrategies = direct, direct\n",
                 "t.conf:2: path.strategies: 'direct' is named twice");
    expect_error("[peer]\nadmit = yes\n", "t.conf:1: a peer's section has its name: [peer NAME]");
    expect_error("[peer a/b]\nadmit = yes\n",
                 "t.conf:1: 'a/b' cannot be a peer's name: up to 32 letters, digits, '-', '_' and "
                 "'.'");
    expect_error("[peer home]\nadmit = yes\n",
                 "configuration: [peer home] has neither id nor ticket");
    expect_error("[peer home]\nid = abc\n",
                 "t.conf:2: peer.id: 'abc' is no node ID; `adit key` shows a node's");
    expect_error("[peer a]\nid = " ID_TEXT "\n[peer b]\nid=" ID_TEXT "\n",
                 "configuration: [peer a] and [peer b] have the same id");
    expect_error("[exit]\nallow = *\n",
                 "configuration: exit.allow: '*' would open nothing, for public addresses are open "
                 "already; 0.0.0.0/0 and ::/0 open all others, *:PORT a port");
    expect_error("[gateway]\nlisten = localhost\n",
                 "t.conf:2: gateway.listen: 'localhost' is no address to listen on; "
                 "write IP:PORT, [IPV6]:PORT or unix:PATH");
    expect_error("[node]\nname = a\001b\n",
                 "t.conf:2: node.name: a control character in the value");
}

static void test_all_errors(void **state)
{
    (void)state;
    struct config *config = parse("[path]\nx = 1\nhold = y\n[nope]\na = b\n[exit]\nrate = fast\n");
    assert_int_equal(config_error_count(config), 4);
    assert_non_null(strstr(config_error(config, 3), "t.conf:7: exit.rate"));
    assert_null(config_error(config, 4));
    config_free(config);

    char text[8192] = "[path]\n";
    for (int i = 0; i < CONFIG_ERRORS_MAX + 50; i++)
        strcat(text, "zz = 1\n");
    config = parse(text);
    assert_int_equal(config_error_count(config), CONFIG_ERRORS_MAX + 50);
    assert_non_null(config_error(config, CONFIG_ERRORS_MAX - 1));
    assert_null(config_error(config, CONFIG_ERRORS_MAX));
    config_free(config);
}

/* Longer than inih's buffer, with comments, indentation, a byte order mark, CRLF and no last
 * newline. */
static void test_lines(void **state)
{
    (void)state;
    char text[CONFIG_LINE_MAX_BYTES + 200], name[3000];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(text, sizeof text,
             "\xef\xbb\xbf[node]\r\n\tname   =  %s   # comment\r\n"
             "   ; comment = 1\n[gateway] # listeners\nexit=a;b#c ;d\n"
             "users_file: /x y/z",
             name);
    struct config *config = parse_good(text);
    assert_string_equal(config->node.name, name);
    assert_string_equal(config->gateway.exit, "a;b#c");
    assert_string_equal(config->gateway.users_file, "/x y/z");
    config_free(config);

    memset(text, 'x', sizeof text);
    memcpy(text, "[node]\nname = ", 14);
    text[sizeof text - 2] = '\n';
    text[sizeof text - 1] = '\0';
    expect_error(text, "t.conf:2: the line is longer than 65536 bytes");
    expect_error(
        "[node]\nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn = 1\n",
        "t.conf:2: 'nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn...' is no key");
    config = config_new();
    assert_int_equal(config_parse(config, "[node]\nna\0me = x\n", 17, "t.conf"), ADIT_EFORMAT);
    assert_string_equal(config_error(config, 0), "t.conf:2: a NUL byte in the line");
    config_free(config);
}

static void test_options(void **state)
{
    (void)state;
    struct config *config = config_new();
    const char *file = "[path]\nhold = 30s\n[exit]\nallow = 10.0.0.0/8\nallow = 192.168.0.0/16\n"
                       "[gateway]\nlisten = 127.0.0.1:9\n";
    assert_int_equal(config_set(config, "path.hold=1m"), 0);
    assert_int_equal(config_set(config, "exit.allow=127.0.0.0/8"), 0);
    assert_int_equal(config_set(config, "exit.allow=::1"), 0);
    assert_int_equal(config_parse(config, file, strlen(file), "t.conf"), 0);
    assert_int_equal(config_set(config, "path.hold=2m"), 0);
    assert_int_equal(config_set(config, "path.listen="), 0);
    assert_int_equal(config_set(config, "peer.a.b.id=" ID_TEXT), 0);
    assert_int_equal(config_set(config, "node.name=x # y"), 0);
    assert_int_equal(config_finish(config), 0);
    assert_int_equal(config->path.hold_us, 120000000);
    assert_int_equal(config->exit.allow.count, 2);
    assert_int_equal(config->exit.allow.items[0].prefix, 8);
    assert_int_equal(config->path.listen.count, 0);
    assert_int_equal(config->gateway.listen.items[0].addr.port, 9);
    assert_string_equal(config->peers[0].name, "a.b");
    assert_true(config_has_section(config, "gateway"));
    assert_false(config_has_section(config, "tun"));
    assert_string_equal(config->node.name, "x # y");
    assert_int_equal(config_set(config, "path.hold"), ADIT_EFORMAT);
    assert_int_equal(config_set(config, "hold=3s"), ADIT_EFORMAT);
    assert_int_equal(config_set(config, "path.hold=x"), ADIT_EFORMAT);
    assert_int_equal(config_set(config, "peer.x=1"), ADIT_EFORMAT);
    assert_string_equal(config_error(config, 2), "-o path.hold: path.hold: 'x' is no duration; "
                                                 "write 500ms, 90s, 2m, 1h30m or 1d");
    config_free(config);

    /* An overridden value is checked all the same. */
    config = config_new();
    config_set(config, "path.hold=1m");
    config_set(config, "exit.allow=::1");
    file = "[path]\nhold = soon\n[exit]\nallow=?\n";
    assert_int_equal(config_parse(config, file, strlen(file), "t.conf"), ADIT_EFORMAT);
    assert_int_equal(config_error_count(config), 2);
    assert_int_equal(config->exit.allow.count, 1);
    config_free(config);
}

static void test_load(void **state)
{
    (void)state;
    struct config *config = config_new();
    assert_int_equal(config_load(config, "/nonexistent/adit.conf"), -ENOENT);
    assert_string_equal(config_error(config, 0), "/nonexistent/adit.conf: cannot be read: "
                                                 "No such file or directory");
    assert_int_equal(config_load(config, "/"), -EISDIR);
    config_free(config);

    /* What is no error, but should be said. */
    char path[64];
    snprintf(path, sizeof path, "%s/adit-config-XXXXXX", P_tmpdir);
    int fd = mkstemp(path);
    assert_true(dprintf(fd, "[gateway]\nlisten = 0.0.0.0:1\nexit = adit1x\n") > 0);
    for (int open = 0; open < 2; open++) {
        assert_int_equal(fchmod(fd, open ? 0644 : 0600), 0);
        config = config_new();
        assert_int_equal(config_load(config, path), 0);
        assert_int_equal(config_finish(config), 0);
        const char *note = config_note(config, 0);
        assert_true(open ? note != NULL && strstr(note, "others may read it") : note == NULL);
        config_free(config);
    }
    close(fd);
    unlink(path);
}

/* A password that whoever listens can read; to this machine nobody does. */
static void test_password_in_clear(void **state)
{
    (void)state;
    struct config *config = parse_good("[signal]\nbroker = mqtts://u:secret@b.example\n"
                                       "broker = ws://u:secret@[::1]\nbroker = mqtt://b.example\n"
                                       "broker = mqtt://u:secret@localhost\n"
                                       "broker = ws://u:secret@b.example/x\n");
    assert_string_equal(config_note(config, 0),
                        "configuration: signal.broker ws://b.example:80: the password crosses the "
                        "network in clear; use wss");
    assert_null(config_note(config, 1));
    config_free(config);
}

static void test_values(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int (*parse)(const char *, uint64_t *);
        uint64_t value; /* UINT64_MAX: an error */
    } cases[] = {
        {"0", value_parse_duration, 0},
        {"1us", value_parse_duration, 1},
        {"500ms", value_parse_duration, 500000},
        {"1.5s", value_parse_duration, 1500000},
        {"1h30m", value_parse_duration, UINT64_C(5400000000)},
        {"2min", value_parse_duration, 120000000},
        {"30m1h", value_parse_duration, UINT64_MAX},
        {"1h1h", value_parse_duration, UINT64_MAX},
        {"", value_parse_duration, UINT64_MAX},
        {"s", value_parse_duration, UINT64_MAX},
        {"-1s", value_parse_duration, UINT64_MAX},
        {"1 s", value_parse_duration, UINT64_MAX},
        {"99999999999999999999d", value_parse_duration, UINT64_MAX},
        {"999999999999d", value_parse_duration, UINT64_MAX},
        {"0", value_parse_size, 0},
        {"65536", value_parse_size, 65536},
        {"256M", value_parse_size, 256 << 20},
        {"256MiB", value_parse_size, 256 << 20},
        {"1.5k", value_parse_size, 1536},
        {"1.5", value_parse_size, 1},
        {"16777216T", value_parse_size, UINT64_MAX},
        {"M", value_parse_size, UINT64_MAX},
        {"1X", value_parse_size, UINT64_MAX},
        {"1M1", value_parse_size, UINT64_MAX},
        {"none", value_parse_rate, 0},
        {"100mbit", value_parse_rate, 12500000},
        {"100Mbit/s", value_parse_rate, 12500000},
        {"2.5gbit", value_parse_rate, 312500000},
        {"12MB", value_parse_rate, 12000000},
        {"8bit", value_parse_rate, 1},
        {"1bit", value_parse_rate, UINT64_MAX},
        {"100", value_parse_rate, UINT64_MAX},
        {"100mbit/h", value_parse_rate, UINT64_MAX},
        {"18446744073709551615", value_parse_number, UINT64_MAX - 0},
        {"18446744073709551616", value_parse_number, UINT64_MAX},
        {"12", value_parse_number, 12},
        {"0x12", value_parse_number, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t value = UINT64_MAX;
        int rc = cases[i].parse(cases[i].text, &value);
        if (value != cases[i].value || (rc != 0 && cases[i].value != UINT64_MAX))
            fail_msg("%s: %llu", cases[i].text, (unsigned long long)value);
    }
}

static void test_rule_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *back; /* back NULL: an error */
    } cases[] = {
        {"10.1.0.0/16", "10.1.0.0/16"},
        {"10.1.2.3", "10.1.2.3/32"},
        {"10.1.2.3:22", "10.1.2.3/32:22"},
        {"10.0.0.0/8:8000-8099", "10.0.0.0/8:8000-8099"},
        {"::/0", "::/0"},
        {"::1", "::1/128"},
        {"[::1]:80", "[::1/128]:80"},
        {"[2001:db8::/32]", "2001:db8::/32"},
        {"[2001:db8::/32]:443", "[2001:db8::/32]:443"},
        {"2001:db8::/32", "2001:db8::/32"},
        {"Example.ORG.", "example.org"},
        {"*.example.org:443", "*.example.org:443"},
        {"*", "*"},
        {"*:25", "*:25"},
        {"localhost", "localhost"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"", NULL},
        {":25", NULL},
        {"*:", NULL},
        {"*:0", NULL},
        {"*:70000", NULL},
        {"*:9-8", NULL},
        {"10.1", NULL},
        {"10.1.0.1/16", NULL},
        {"10.1.0.0/33", NULL},
        {"10.1.0.0/", NULL},
        {"10.0.0.0/-1", NULL},
        {"[example.org]:80", NULL},
        {"a..b", NULL},
        {".a", NULL},
        {"*.", NULL},
        {"*.*", NULL},
        {"a b", NULL},
        {"a/b", NULL},
        {"fe80::1%lo", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rule rule;
        char buf[RULE_TEXT_MAX];
        int rc = rule_parse(cases[i].text, &rule);
        if ((rc == 0) != (cases[i].back != NULL))
            fail_msg("%s: %d", cases[i].text, rc);
        if (rc == 0)
            assert_string_equal(rule_format(&rule, buf), cases[i].back);
    }
    char longest[RULE_TEXT_MAX + 10];
    memset(longest, 'a', sizeof longest);
    longest[TARGET_NAME_MAX + 1] = '\0';
    struct rule rule;
    assert_int_equal(rule_parse(longest, &rule), -EINVAL);
    longest[TARGET_NAME_MAX] = '\0';
    assert_int_equal(rule_parse(longest, &rule), 0);
}

static bool matches(const char *text, const char *name, const char *ip, uint16_t port)
{
    struct rule rule;
    struct addr addr;
    assert_int_equal(rule_parse(text, &rule), 0);
    if (ip != NULL)
        assert_int_equal(addr_parse_ip(ip, &addr), 0);
    return rule_match(&rule, name, ip != NULL ? &addr : NULL, port);
}

static void test_rule_match(void **state)
{
    (void)state;
    assert_true(matches("10.1.0.0/16", NULL, "10.1.255.255", 1));
    assert_false(matches("10.1.0.0/16", NULL, "10.2.0.0", 1));
    assert_true(matches("10.0.0.0/15", NULL, "10.1.9.9", 1));
    assert_false(matches("10.0.0.0/15", NULL, "10.2.0.0", 1));
    assert_false(matches("0.0.0.0/0", NULL, "::1", 1));
    assert_true(matches("0.0.0.0/0", NULL, "9.9.9.9", 1));
    assert_false(matches("0.0.0.0/0", "a.example", NULL, 1));
    assert_true(matches("2001:db8::/33", NULL, "2001:db8:7fff::", 1));
    assert_false(matches("2001:db8::/33", NULL, "2001:db8:8000::", 1));
    assert_true(matches("*:25", NULL, NULL, 25));
    assert_false(matches("*:25", NULL, NULL, 26));
    assert_true(matches("example.org", "Example.org.", NULL, 1));
    assert_true(matches("example.org", "a.b.example.org", NULL, 1));
    assert_false(matches("example.org", "badexample.org", NULL, 1));
    assert_false(matches("example.org", "org", NULL, 1));
    assert_false(matches("*.example.org", "example.org", NULL, 1));
    assert_true(matches("*.example.org:80-90", "x.example.org", "1.2.3.4", 85));
    assert_false(matches("example.org", NULL, "1.2.3.4", 85));
}

static void test_named_turn(void **state)
{
    (void)state;
    struct config *config = parse_good("[turn]\nserver = turn:a.example\nuser = alice\n"
                                       "[turn work]\nserver = turns:b.example\n"
                                       "server = turn:c.example\nsecret_file = /secret\n"
                                       "[turn home.2]\n");
    const struct config_turn *work;

    assert_int_equal(config_set(config, "turn.work.user=bob"), 0);
    assert_int_equal(config_set(config, "turn.user=carol"), 0);
    assert_int_equal(config_set(config, "turn.new.server=turn:d.example"), 0);
    assert_int_equal(config_finish(config), 0);
    work = config_turn_find(config, "work");
    assert_string_equal(config->turn.user, "carol");
    assert_int_equal(config->turn.server.count, 1);
    assert_int_equal(config->turn_count, 3);
    assert_string_equal(work->user, "bob");
    assert_int_equal(work->server.count, 2);
    assert_string_equal(work->server.items[0], "turns:b.example");
    assert_string_equal(work->secret_file, "/secret");
    assert_string_equal(work->ca_file, "");
    assert_string_equal(config->turn.ca_file, "");
    assert_int_equal(config_set(config, "turn.home.2.ca_file=/ca.pem"), 0);
    assert_string_equal(config_turn_find(config, "home.2")->ca_file, "/ca.pem");
    assert_string_equal(config_turn_find(config, "home.2")->user, "");
    assert_string_equal(config_turn_find(config, "new")->server.items[0], "turn:d.example");
    assert_null(config_turn_find(config, "nobody"));
    assert_int_equal(config->turn.renew_us, CONFIG_TURN_RENEW_US);
    assert_int_equal(work->renew_us, CONFIG_TURN_RENEW_US);
    assert_int_equal(config_set(config, "turn.new.renew=45s"), 0);
    assert_int_equal(config_turn_find(config, "new")->renew_us, 45 * 1000000);
    config_set(config, "turn.work.password_file=/password");
    assert_int_equal(config_finish(config), ADIT_EFORMAT);
    assert_string_equal(config_error(config, 0), "configuration: turn work: password_file and "
                                                 "secret_file are both set; keep one");
    assert_int_equal(config_set(config, "turn.-x.user=bob"), ADIT_EFORMAT);
    assert_int_equal(config_set(config, "turn.renew=300s"), ADIT_EFORMAT); /* they live 300 s */
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_all_errors),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_password_in_clear),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_rule_texts),
        cmocka_unit_test(test_rule_match),
        cmocka_unit_test(test_named_turn),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
