/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: legs over TLS to a server in the same loop: what they carry and how, and
 * servers that are not who they should be, or go wrong.
 */
#include "leg_told.h"

#include "tls_server.h"

#include "base/log.h"
#include "stun/channel.h"
#include "stun/secure.h"

struct tls_world {
    struct loop *loop;
    struct test_ca ca;
    struct tls_authority *authority;
    struct tls_server server;
    struct told told;
};

static void tls_run(struct tls_world *w, const char *names, bool expired, const char *name,
                    bool trust)
{
    struct leg_options options = LEG_OPTIONS_DEFAULT;
    struct addr at = addr_loopback(AF_INET, 0);
    struct test_ca other;

    w->loop = loop_new();
    test_ca_init(&w->ca);
    test_ca_init(&other);
    w->authority = tls_authority_new(trust ? w->ca.file : other.file, NULL);
    assert_non_null(w->authority);
    test_ca_free(&other);
    tls_server_start(&w->server, w->loop, &w->ca, names, expired, &at);
    struct stun_server server = server_at(SERVER_TLS, &at);
    options.authority = w->authority;
    options.tls_name = name;
    options.pipe.tls_timeout_ms = w->server.silent ? 50 : 5000;
    open_leg(&w->told, w->loop, &server, &options);
    RUN_UNTIL(w->loop, w->told.ups + w->told.ends > 0);
}

static void tls_free(struct tls_world *w)
{
    if (w->told.leg)
        leg_close(w->told.leg);
    tls_server_stop(&w->server);
    RUN_UNTIL(w->loop, !w->server.client && !w->server.listener);
    for (int i = 0; i < 20; i++)
        loop_turn(w->loop, MS_US);
    tls_authority_free(w->authority);
    test_ca_free(&w->ca);
    finish(w->loop);
}

static void tls_carries_frames(void **state)
{
    (void)state;
    static uint8_t frame[4 + 60000];
    const int versions[] = {0, TLS1_2_VERSION};

    for (int i = 0; i < 2; i++) {
        struct tls_world w = {.server = {.max_version = versions[i]}};

        tls_run(&w, "DNS:turn.example", false, "turn.example", true);
        assert_int_equal(w.told.ups, 1);
        channel_build(frame, 0x4001, 60000);
        memset(frame + 4, 'x', 60000);
        for (int n = 0; n < 20; n++) {
            assert_int_equal(leg_send(w.told.leg, frame, sizeof(frame)), 0);
            RUN_UNTIL(w.loop, leg_room(w.told.leg) > sizeof(frame));
        }
        RUN_UNTIL(w.loop, w.told.frames == 20);
        assert_int_equal(w.told.bytes, 20 * sizeof(frame));
        assert_string_equal(w.server.sni, "turn.example");
        tls_free(&w);
    }
    struct tls_world ip = {0};
    tls_run(&ip, "IP:127.0.0.1", false, NULL, true); /* the host is an address */
    assert_int_equal(ip.told.ups, 1);
    assert_string_equal(ip.server.sni, "");
    tls_free(&ip);
}

/* Frames of one turn share records; the last ones go out before the end. */
static void tls_records_are_shared(void **state)
{
    (void)state;
    static uint8_t frame[4 + 1200];
    struct tls_world w = {0};

    tls_run(&w, "DNS:turn.example", false, "turn.example", true);
    channel_build(frame, 0x4001, 1200);
    for (int n = 0; n < 100; n++)
        assert_int_equal(leg_send(w.told.leg, frame, sizeof(frame)), 0);
    assert_true(leg_room(w.told.leg) <= LEG_QUEUE_BYTES - 100 * sizeof(frame));
    RUN_UNTIL(w.loop, w.told.frames == 100);
    assert_int_equal(w.server.records, 1 + 100 * sizeof(frame) / 16384);
    assert_int_equal(leg_send(w.told.leg, frame, sizeof(frame)), 0);
    leg_close(w.told.leg);
    w.told.leg = NULL;
    RUN_UNTIL(w.loop, w.server.received == 101 * sizeof(frame));
    tls_free(&w);
}

static void tls_servers_that_are_not_believed(void **state)
{
    (void)state;
    static const struct {
        const char *names, *name;
        bool expired, trust;
        const char *text;
    } cases[] = {
        {"DNS:other.example", "turn.example", false, true, "ostname mismatch"},
        {"DNS:turn.example", NULL, false, true, "IP address mismatch"},
        {"DNS:turn.example", "turn.example", true, true, "expired"},
        {"DNS:turn.example", "turn.example", false, false, "certificate signature failure"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_world w = {0};

        tls_run(&w, cases[i].names, cases[i].expired, cases[i].name, cases[i].trust);
        assert_int_equal(w.told.ups, 0);
        assert_int_equal(w.told.why, ADIT_EAUTH);
        if (!strstr(w.told.text, cases[i].text))
            fail_msg("\"%s\" is not in \"%s\"", cases[i].text, w.told.text);
        assert_int_equal(w.server.received, 0);
        tls_free(&w);
    }
}

static void tls_that_goes_wrong(void **state)
{
    (void)state;
    struct tls_world old = {.server = {.max_version = TLS1_1_VERSION}};
    struct tls_world silent = {.server = {.silent = true}};
    struct tls_world cut = {.server = {.cuts = true}}, ended = {.server = {.finishes = true}};

    tls_run(&old, "DNS:a.example", false, "a.example", true);
    assert_int_equal(old.told.why, ADIT_EPROTO);
    tls_free(&old);
    tls_run(&silent, "DNS:a.example", false, "a.example", true);
    assert_int_equal(silent.told.why, -ETIMEDOUT);
    assert_non_null(strstr(silent.told.text, "handshake"));
    tls_free(&silent);
    tls_run(&cut, "DNS:a.example", false, "a.example", true);
    leg_send(cut.told.leg, "\x40\1\0\0", 4);
    RUN_UNTIL(cut.loop, cut.told.ends == 1);
    assert_int_equal(cut.told.frames, 1);
    assert_int_equal(cut.told.why, ADIT_ETRUNC);
    tls_free(&cut);
    tls_run(&ended, "DNS:a.example", false, "a.example", true);
    leg_send(ended.told.leg, "\x40\1\0\0", 4);
    RUN_UNTIL(ended.loop, ended.told.ends == 1);
    assert_int_equal(ended.told.why, ADIT_ETRUNC);
    tls_free(&ended);

    /* A server that does not speak TLS. */
    struct loop *loop = loop_new();
    struct recorder plain = {0};
    struct addr at = addr_loopback(AF_INET, 0);
    struct leg_options options = LEG_OPTIONS_DEFAULT;
    struct told told = {0};
    options.authority = tls_authority_new(NULL, NULL);
    assert_non_null(options.authority); /* the system's */
    record(&plain, tcp_listen(loop, &at, NULL));
    pipe_addrs(plain.pipe, &at, NULL);
    struct stun_server server = server_at(SERVER_TLS, &at);
    open_leg(&told, loop, &server, &options);
    RUN_UNTIL(loop, plain.client != NULL);
    pipe_write_copy(plain.client, "SSH-2.0-hello, who is there?\r\n", 30);
    RUN_UNTIL(loop, told.ends == 1);
    assert_int_equal(told.why, ADIT_EPROTO);
    tls_authority_free(options.authority);
    close_all(loop, &plain);
    finish(loop);

    char why[TLS_CLIENT_TEXT_MAX];
    assert_null(tls_authority_new("/nonexistent/ca.pem", why));
    assert_non_null(strstr(why, "/nonexistent/ca.pem"));
}

/* A server of TLS 1.2 wants to negotiate anew, for ever, and does not read that we will not. */
static void tls_answers_have_a_bound(void **state)
{
    (void)state;
    struct tls_world w = {.server = {.max_version = TLS1_2_VERSION}};

    tls_run(&w, "DNS:a.example", false, "a.example", true);
    assert_int_equal(w.told.ups, 1);
    pipe_pause(w.server.client);
    for (int i = 0; i < 1000000 && !w.told.ends; i++) {
        assert_int_equal(SSL_renegotiate(w.server.ssl), 1);
        SSL_do_handshake(w.server.ssl);
        if (i % 500 != 0)
            continue;
        tls_server_flush(&w.server);
        loop_turn(w.loop, 0);
    }
    assert_int_equal(w.told.ends, 1);
    assert_int_equal(w.told.why, ADIT_EPROTO);
    assert_non_null(strstr(w.told.text, "does not read"));
    if (w.server.client)
        pipe_resume(w.server.client);
    tls_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tls_carries_frames),
        cmocka_unit_test(tls_records_are_shared),
        cmocka_unit_test(tls_servers_that_are_not_believed),
        cmocka_unit_test(tls_that_goes_wrong),
        cmocka_unit_test(tls_answers_have_a_bound),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
