/* SPDX-License-Identifier: MIT */
/* URIs of servers, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "stun/server.h"

static void uris(void **state)
{
    (void)state;
    static const struct {
        const char *text, *again;
        enum server_transport transport;
        bool is_turn;
        const char *host;
        uint16_t port;
    } good[] = {
        {"stun.example", "stun:stun.example:3478", SERVER_UDP, false, "stun.example", 3478},
        {"stun.example:19302", "stun:stun.example:19302", SERVER_UDP, false, "stun.example", 19302},
        {"stun:192.0.2.1", "stun:192.0.2.1:3478", SERVER_UDP, false, "192.0.2.1", 3478},
        {"stuns:a.b", "stuns:a.b:5349", SERVER_TLS, false, "a.b", 5349},
        {"turn:a.b?transport=udp", "turn:a.b:3478", SERVER_UDP, true, "a.b", 3478},
        {"turn:a.b:443?transport=tcp", "turn:a.b:443?transport=tcp", SERVER_TCP, true, "a.b", 443},
        {"TURNS:a.b?Transport=TCP", "turns:a.b:5349", SERVER_TLS, true, "a.b", 5349},
        {"turn:[2001:db8::1]:99", "turn:[2001:db8::1]:99", SERVER_UDP, true, "2001:db8::1", 99},
        {"[::1]", "stun:[::1]:3478", SERVER_UDP, false, "::1", 3478},
        {"stun:a?transport=tcp", "stun:a:3478?transport=tcp", SERVER_TCP, false, "a", 3478},
    };
    static const char *const bad[] = {"",
                                      "turn:",
                                      "turn:a:0",
                                      "turn:a:65536",
                                      "turn:a:",
                                      "turn:a:x",
                                      "turn:[::1",
                                      "turn:[a]",
                                      "turn:[::1]x",
                                      "turn:a b",
                                      "turn:a..b",
                                      "turn:.a",
                                      "turn:a?transport=sctp",
                                      "turn:a?x=y",
                                      "turn://a",
                                      "http://a",
                                      "turn:user@a",
                                      "turn:a:999999",
                                      "stun:[192.0.2.1]",
                                      "turns:a?transport=udp"};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct stun_server server, again;
        char text[SERVER_TEXT_MAX];

        assert_int_equal(server_parse(good[i].text, &server, NULL), 0);
        assert_int_equal(server.transport, good[i].transport);
        assert_int_equal(server.is_turn, good[i].is_turn);
        assert_string_equal(server.host, good[i].host);
        assert_int_equal(server.port, good[i].port);
        assert_string_equal(server_format(&server, text), good[i].again);
        assert_int_equal(server_parse(text, &again, NULL), 0);
        assert_memory_equal(&server, &again, sizeof(server));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct stun_server server;
        const char *why = NULL;

        if (server_parse(bad[i], &server, &why) == 0)
            fail_msg("%s is taken", bad[i]);
        assert_non_null(why);
    }
    char longest[600];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[599] = '\0';
    struct stun_server server;
    assert_int_equal(server_parse(longest, &server, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(uris)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
