/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A TLS pipe against the library's own record layer at the other end, in both roles and suites: our
 * records are those of TLS 1.3, keys are updated, and what a peer must not send ends the pipe.
 */
#include "tls_ends.h"

struct plain {
    SSL *ssl;
    int fd;
    struct tls_secrets secrets;
    uint64_t received, sent;
    uint32_t seed;
    bool bad, closed;
};

/* One round of whatever the library can do: the handshake, then sending up to `until` and
 * receiving. */
static void plain_turn(struct plain *plain, uint64_t until)
{
    static uint8_t bytes[TLS_RECORD_DATA_MAX];
    int n;

    if (!SSL_is_init_finished(plain->ssl)) {
        SSL_do_handshake(plain->ssl);
        ERR_clear_error();
        return;
    }
    while (plain->sent < until) {
        size_t len = (size_t)(plain->sent * 31 % TLS_RECORD_DATA_MAX) + 1;

        len = len < until - plain->sent ? len : (size_t)(until - plain->sent);
        fill(bytes, len, ~plain->seed, plain->sent);
        n = SSL_write(plain->ssl, bytes, (int)len);
        if (n <= 0)
            break;
        plain->sent += (uint64_t)n;
    }
    while ((n = SSL_read(plain->ssl, bytes, sizeof bytes)) > 0) {
        for (int i = 0; i < n; i++)
            if (bytes[i] != pattern(plain->seed, plain->received + (uint64_t)i))
                plain->bad = true;
        plain->received += (uint64_t)n;
    }
    if (SSL_get_error(plain->ssl, n) == SSL_ERROR_ZERO_RETURN)
        plain->closed = true;
    ERR_clear_error();
}

/* Makes `a` a pipe whose peer is the library alone, as client or as server; awaits the handshake.
 */
static void plain_peer(struct world *world, struct plain *plain, bool is_server, const char *suite)
{
    struct preface preface = {.time_s = 0};
    uint8_t bytes[PREFACE_BYTES];
    int fds[2];

    memset(plain, 0, sizeof *plain);
    plain->seed = 7;
    tcp_pair(fds, 0);
    plain->fd = fds[1];
    if (is_server) {
        plain->ssl = tls_context_server(world->server, &plain->secrets);
        listen_to(
            &world->a,
            tls_wrap(world->loop, world->client, fds[0], false, identity_id(world->bob), NULL),
            ~7u);
        AWAIT(world, recv(fds[1], bytes, sizeof bytes, MSG_DONTWAIT) == PREFACE_BYTES);
        assert_int_equal(preface_parse(identity_id(world->bob), bytes, sizeof bytes, &preface),
                         PREFACE_BYTES);
    } else {
        plain->ssl = tls_context_client(world->client, identity_id(world->bob), &plain->secrets);
        listen_to(&world->a, tls_accept(world->loop, world->server, fds[0], NULL), ~7u);
        preface_build(identity_id(world->bob), &preface, bytes);
        assert_int_equal(write(fds[1], bytes, sizeof bytes), (ssize_t)sizeof bytes);
    }
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    SSL_set_mode(plain->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    assert_int_equal(SSL_set_ciphersuites(plain->ssl, suite), 1);
    SSL_set_fd(plain->ssl, fds[1]);
    AWAIT(world, (plain_turn(plain, 0), world->a.up && SSL_is_init_finished(plain->ssl)));
    assert_string_equal(SSL_get_cipher_name(plain->ssl), suite);
}

static void plain_end(struct plain *plain)
{
    SSL_free(plain->ssl);
    close(plain->fd);
    ERR_clear_error();
}

static void against_the_library(void **state)
{
    struct world *world = *state;
    static const char *const suites[] = {"TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"};

    for (int i = 0; i < 4; i++) {
        uint8_t keys[2][20];
        struct plain plain;
        uint64_t goal = 3000000;

        plain_peer(world, &plain, i & 1, suites[i >> 1]);
        assert_int_equal(pipe_exporter(world->a.pipe, "x", "y", 1, keys[0], 20), 0);
        assert_int_equal(
            SSL_export_keying_material(plain.ssl, keys[1], 20, "x", 1, (const uint8_t *)"y", 1, 1),
            1);
        assert_memory_equal(keys[0], keys[1], 20);
        world->a.to_send = goal;
        pump(&world->a);
        AWAIT(world,
              (plain_turn(&plain, goal), world->a.received == goal && plain.received == goal));
        /* Padded records; and keys that change, on its side and when it asks on ours. */
        SSL_set_block_padding(plain.ssl, 512);
        for (int update = 0; update < 5; update++) {
            assert_int_equal(SSL_key_update(plain.ssl, update % 2 ? SSL_KEY_UPDATE_REQUESTED
                                                                  : SSL_KEY_UPDATE_NOT_REQUESTED),
                             1);
            goal += 100000;
            AWAIT(world, (plain_turn(&plain, goal), world->a.received == goal));
            world->a.to_send = goal;
            pump(&world->a);
            AWAIT(world, (plain_turn(&plain, goal), plain.received == goal));
        }
        assert_false(world->a.bad || plain.bad);
        /* Each closes its direction properly. */
        if (i & 1) {
            SSL_shutdown(plain.ssl);
            AWAIT(world, world->a.eof);
            pipe_shutdown(world->a.pipe);
            AWAIT(world, (plain_turn(&plain, goal), plain.closed));
        } else {
            pipe_shutdown(world->a.pipe);
            AWAIT(world, (plain_turn(&plain, goal), plain.closed));
            SSL_shutdown(plain.ssl);
        }
        AWAIT(world, world->a.why != NOT_ENDED);
        assert_int_equal(world->a.why, 0);
        plain_end(&plain);
    }
}

/* Changing the key again and again costs us far more than the peer, and is done in small portions:
 * others have their turns between. */
static void key_updates_take_turns(void **state)
{
    static const uint8_t update[] = {24, 0, 0, 1, 0};
    struct world *world = *state;
    struct plain plain;
    struct tls_key seal = {0}, open = {0};
    uint8_t record[64];
    size_t len = sizeof update + TLS_RECORD_OVERHEAD_BYTES;
    unsigned turns = 0;

    plain_peer(world, &plain, true, "TLS_AES_128_GCM_SHA256");
    assert_int_equal(tls_context_keys(plain.ssl, &plain.secrets, &seal, &open), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(
            tls_record_seal(&seal, TLS_HANDSHAKE_MESSAGE, update, sizeof update, record), 0);
        assert_int_equal(write(plain.fd, record, len), (ssize_t)len);
        assert_int_equal(tls_key_update(&seal), 0);
    }
    world->a.seed = 0;
    assert_int_equal(tls_record_seal(&seal, TLS_DATA, "x", 1, record), 0);
    assert_int_equal(write(plain.fd, record, 1 + TLS_RECORD_OVERHEAD_BYTES),
                     1 + TLS_RECORD_OVERHEAD_BYTES);
    AWAIT(world, (turns++, world->a.received == 1));
    assert_in_range(turns, 50, 1000);
    tls_key_free(&seal);
    tls_key_free(&open);
    plain_end(&plain);
    pipe_abort(world->a.pipe, -ECANCELED);
    AWAIT(world, world->a.why != NOT_ENDED);
}

/* What an authenticated peer may do wrong after the handshake. */
static void wrong_after_handshake(void **state)
{
    struct world *world = *state;
    static const struct {
        enum tls_content content;
        uint8_t bytes[6];
        size_t len;
        int why;
    } cases[] = {
        {TLS_ALERT, {2, 80}, 2, ADIT_EPROTO},                      /* internal_error */
        {TLS_ALERT, {1}, 1, ADIT_EPROTO},                          /* half an alert */
        {TLS_HANDSHAKE_MESSAGE, {24, 0, 0, 1, 2}, 5, ADIT_EPROTO}, /* no such request */
        {TLS_HANDSHAKE_MESSAGE, {24, 0, 0, 1}, 4, ADIT_EPROTO},    /* cut */
        {TLS_HANDSHAKE_MESSAGE, {4, 0, 0, 1, 0}, 5, ADIT_EPROTO},  /* a ticket */
        {TLS_HANDSHAKE_MESSAGE, {0}, 0, ADIT_EPROTO},              /* RFC 8446 5.1: not empty */
        {TLS_ALERT, {1, 90}, 2, NOT_ENDED},                        /* user_canceled: goes on */
        {TLS_DATA, {0}, 0, NOT_ENDED},                             /* empty data: fine */
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct plain plain;
        struct tls_key seal = {0}, open = {0};
        uint8_t record[64];

        plain_peer(world, &plain, true, "TLS_AES_128_GCM_SHA256");
        assert_int_equal(tls_context_keys(plain.ssl, &plain.secrets, &seal, &open), 0);
        assert_int_equal(
            tls_record_seal(&seal, cases[i].content, cases[i].bytes, cases[i].len, record), 0);
        size_t len = cases[i].len + TLS_RECORD_OVERHEAD_BYTES;
        assert_int_equal(write(plain.fd, record, len), (ssize_t)len);
        fill(record, 1, ~7u, 0);
        uint8_t data = record[0];
        assert_int_equal(tls_record_seal(&seal, TLS_DATA, &data, 1, record), 0);
        assert_int_equal(write(plain.fd, record, 1 + TLS_RECORD_OVERHEAD_BYTES),
                         1 + TLS_RECORD_OVERHEAD_BYTES);
        AWAIT(world, world->a.why != NOT_ENDED || world->a.received == 1);
        assert_int_equal(world->a.why, cases[i].why);
        assert_int_equal(world->a.messages, world->a.received);
        tls_key_free(&seal);
        tls_key_free(&open);
        end_pipes(world);
        plain_end(&plain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(against_the_library),
        TEST(key_updates_take_turns),
        TEST(wrong_after_handshake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
