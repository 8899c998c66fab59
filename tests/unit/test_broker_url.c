/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: URLs of brokers that are right come apart into what was meant; those that
 * are wrong are refused for the right reason, with a text that repeats nothing of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config/broker_url.h"

static int parse(const char *text, struct broker_url *url, const char **why)
{
    return broker_url_parse((const uint8_t *)text, strlen(text), url, why);
}

static void test_good(void **state)
{
    static const struct {
        const char *text;
        enum broker_scheme scheme;
        const char *host; /* NULL: an address */
        uint16_t port;
        const char *user, *password; /* NULL: none */
        const char *path, *name;
    } good[] = {
        {"mqtt://a.example", BROKER_MQTT, "a.example", 1883, NULL, NULL, "",
         "mqtt://a.example:1883"},
        {"mqtts://a.example/", BROKER_MQTTS, "a.example", 8883, NULL, NULL, "",
         "mqtts://a.example:8883"},
        {"ws://a.example", BROKER_WS, "a.example", 80, NULL, NULL, "", "ws://a.example:80"},
        {"wss://a.example/mqtt?x=1&y=%20", BROKER_WSS, "a.example", 443, NULL, NULL,
         "/mqtt?x=1&y=%20", "wss://a.example:443"},
        {"mqtt://1.2.3.4:1", BROKER_MQTT, NULL, 1, NULL, NULL, "", "mqtt://1.2.3.4:1"},
        {"mqtt://[2001:db8::1]", BROKER_MQTT, NULL, 1883, NULL, NULL, "",
         "mqtt://[2001:db8::1]:1883"},
        {"wss://u:p@[::1]:65535/", BROKER_WSS, NULL, 65535, "u", "p", "/", "wss://[::1]:65535"},
        {"mqtt://u@h", BROKER_MQTT, "h", 1883, "u", NULL, "", "mqtt://h:1883"},
        {"mqtt://u:@h", BROKER_MQTT, "h", 1883, "u", "", "", "mqtt://h:1883"},
        {"mqtt://u%20%C3%a4:a%40b%3A%2f%25@h:7", BROKER_MQTT, "h", 7, "u \xc3\xa4", "a@b:/%", "",
         "mqtt://h:7"},
        {"mqtt://u:p@ss@h", BROKER_MQTT, "h", 1883, "u", "p@ss", "", "mqtt://h:1883"},
        {"mqtt://u:a:b@h", BROKER_MQTT, "h", 1883, "u", "a:b", "", "mqtt://h:1883"},
    };
    char name[BROKER_NAME_BYTES];
    struct broker_url url;
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        if (parse(good[i].text, &url, &why) < 0)
            fail_msg("%s: %s", good[i].text, why);
        assert_int_equal(url.scheme, good[i].scheme);
        assert_string_equal(url.at.name, good[i].host ? good[i].host : "");
        assert_int_equal(addr_is_set(&url.at.addr), !good[i].host);
        assert_int_equal(url.at.port, good[i].port);
        assert_int_equal(url.has_user, good[i].user != NULL);
        assert_int_equal(url.has_password, good[i].password != NULL);
        assert_string_equal(url.user, good[i].user ? good[i].user : "");
        assert_string_equal(url.password, good[i].password ? good[i].password : "");
        assert_string_equal(url.path, good[i].path);
        assert_string_equal(broker_url_name(&url, name), good[i].name);
        assert_int_equal(broker_url_is_secure(&url),
                         good[i].scheme == BROKER_MQTTS || good[i].scheme == BROKER_WSS);
        assert_int_equal(broker_url_is_websocket(&url),
                         good[i].scheme == BROKER_WS || good[i].scheme == BROKER_WSS);
    }
}

static void test_bad(void **state)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"", "begin"},
        {"mqtt", "begin"},
        {"mqtt://", "begin"},
        {"http://h", "begin"},
        {"MQTT://h", "begin"},
        {"mqtt:/h", "begin"},
        {" mqtt://h", "begin"},
        {"mqtt:///path", "host or port"},
        {"mqtt://:1883", "host or port"},
        {"mqtt://h:", "host or port"},
        {"mqtt://h:0", "host or port"},
        {"mqtt://h:65536", "host or port"},
        {"mqtt://h:000001", "host or port"},
        {"mqtt://h:1x", "host or port"},
        {"mqtt://h:+1", "host or port"},
        {"mqtt://2001:db8::1", "host or port"},
        {"mqtt://[2001:db8::1", "host or port"},
        {"mqtt://[2001:db8::1]1", "host or port"},
        {"mqtt://[name]", "host or port"},
        {"mqtt://[fe80::1%lo]", "host or port"},
        {"mqtt://h h", "host or port"},
        {"mqtt://h?x", "host or port"},
        {"mqtt://u@", "host or port"},
        {"mqtt://@h", "user name"},
        {"mqtt://:p@h", "user name"},
        {"mqtt://secret%@h", "user name"},
        {"mqtt://secret%4@h", "user name"},
        {"mqtt://secret%zz@h", "user name"},
        {"mqtt://u:secret%00@h", "user name"},
        {"mqtt://h/path", "path"},
        {"mqtts://h//", "path"},
        {"ws://h/a b", "path"},
        {"ws://h/secret\r\nHost: x", "path"},
        {"ws://h/a#b", "path"},
        {"ws://h/\xc3\xa4", "path"},
    };
    char text[1024];
    struct broker_url url;
    const char *why;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i].text, &url, NULL), -EINVAL);
        assert_int_equal(parse(bad[i].text, &url, &why), -EINVAL);
        if (!strstr(why, bad[i].why))
            fail_msg("\"%s\": \"%s\", expected \"%s\"", bad[i].text, why, bad[i].why);
        assert_null(strstr(why, "secret"));
    }
    assert_int_equal(broker_url_parse((const uint8_t *)"mqtt://h\0x", 10, &url, NULL), -EINVAL);
    /* exactly what fits, and one more */
    for (int extra = 0; extra < 2; extra++) {
        int expected = extra ? -EINVAL : 0;

        snprintf(text, sizeof(text), "mqtt://%0*d@h", BROKER_USER_MAX + extra, 1);
        assert_int_equal(parse(text, &url, NULL), expected);
        snprintf(text, sizeof(text), "mqtt://u:%0*d@h", BROKER_PASSWORD_MAX + extra, 1);
        assert_int_equal(parse(text, &url, NULL), expected);
        snprintf(text, sizeof(text), "ws://h/%0*d", BROKER_PATH_MAX - 1 + extra, 1);
        assert_int_equal(parse(text, &url, NULL), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};

    return cmocka_run_group_tests_name("url", tests, NULL, NULL);
}
