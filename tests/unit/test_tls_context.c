/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: handshakes in memory between contexts of two identities: who is accepted,
 * what each learns of the other, what was negotiated; and the preface against a vector.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/err.h"
#include "crypto/preface.h"
#include "crypto/tls_context.h"

struct parties {
    struct identity *alice, *bob;
    struct tls_context *client, *server;
};

static int setup(void **state)
{
    static struct parties parties;

    parties.alice = identity_generate();
    parties.bob = identity_generate();
    parties.client = tls_context_new(parties.alice);
    parties.server = tls_context_new(parties.bob);
    *state = &parties;
    return parties.client && parties.server ? 0 : -1;
}

static int teardown(void **state)
{
    struct parties *parties = *state;

    tls_context_free(parties->client);
    tls_context_free(parties->server);
    identity_free(parties->alice);
    identity_free(parties->bob);
    return 0;
}

/* Joins two ends and runs both handshakes as far as they go. */
static void handshake(SSL *client, SSL *server, int results[2])
{
    BIO *a, *b;

    assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
    SSL_set_bio(client, a, a);
    SSL_set_bio(server, b, b);
    for (int i = 0; i < 8; i++) {
        results[0] = SSL_do_handshake(client);
        results[1] = SSL_do_handshake(server);
    }
    ERR_clear_error();
}

static void both_learn_each_other(void **state)
{
    struct parties *parties = *state;
    struct tls_secrets client_side, server_side;
    SSL *client = tls_context_client(parties->client, identity_id(parties->bob), &client_side);
    SSL *server = tls_context_server(parties->server, &server_side);
    struct node_id id;
    int results[2];

    assert_int_equal(tls_context_peer(client, &id), ADIT_EAUTH);
    handshake(client, server, results);
    assert_int_equal(results[0], 1);
    assert_int_equal(results[1], 1);
    assert_int_equal(tls_context_peer(client, &id), 0);
    assert_true(node_id_equal(&id, identity_id(parties->bob)));
    assert_int_equal(tls_context_peer(server, &id), 0);
    assert_true(node_id_equal(&id, identity_id(parties->alice)));
    assert_int_equal(SSL_version(client), TLS1_3_VERSION);
    assert_string_equal(SSL_get_cipher(client), SSL_get_cipher(server));
    assert_int_equal(SSL_get_negotiated_group(client), NID_X25519);
    assert_ptr_equal(tls_context_identity(parties->client), parties->alice);
    SSL_free(client);
    SSL_free(server);
}

static void wrong_key_is_refused(void **state)
{
    struct parties *parties = *state;
    struct tls_secrets client_side, server_side;
    SSL *client = tls_context_client(parties->client, identity_id(parties->alice), &client_side);
    SSL *server = tls_context_server(parties->server, &server_side);
    int results[2];

    handshake(client, server, results);
    assert_int_not_equal(results[0], 1);
    assert_int_not_equal(results[1], 1);
    assert_int_equal(tls_context_failure(client), ADIT_EAUTH);
    assert_int_equal(tls_context_failure(server), ADIT_ECRYPTO);
    SSL_free(client);
    SSL_free(server);
}

static void client_without_key_is_refused(void **state)
{
    struct parties *parties = *state;
    struct tls_secrets server_side;
    SSL_CTX *bare = SSL_CTX_new(TLS_client_method());
    SSL *client = SSL_new(bare);
    SSL *server = tls_context_server(parties->server, &server_side);
    int results[2];

    SSL_set_connect_state(client);
    handshake(client, server, results);
    assert_int_not_equal(results[1], 1);
    SSL_free(client);
    SSL_free(server);
    SSL_CTX_free(bare);
}

/* With the right keys at both ends: the version alone is wrong. */
static void tls12_is_refused(void **state)
{
    struct parties *parties = *state;
    struct tls_secrets client_side, server_side;
    SSL *client = tls_context_client(parties->client, identity_id(parties->bob), &client_side);
    SSL *server = tls_context_server(parties->server, &server_side);
    int results[2];

    assert_int_equal(SSL_set_min_proto_version(client, TLS1_2_VERSION), 1);
    assert_int_equal(SSL_set_max_proto_version(client, TLS1_2_VERSION), 1);
    handshake(client, server, results);
    assert_int_not_equal(results[0], 1);
    assert_int_not_equal(results[1], 1);
    SSL_free(client);
    SSL_free(server);
}

static const uint8_t preface_vector[PREFACE_BYTES] = {
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad,
    0xae, 0xaf, 0x00, 0x00, 0x00, 0x00, 0x68, 0xe7, 0xc4, 0x80, 0x44, 0xa3, 0xc1, 0x31,
    0x41, 0x19, 0x71, 0xa1, 0xd5, 0xea, 0xb4, 0xbe, 0x9f, 0xfa, 0x7a, 0x2f};

static void preface_of_vector(void **state)
{
    (void)state;
    struct preface preface = {.time_s = 0x68e7c480}, parsed;
    struct node_id id;
    uint8_t bytes[PREFACE_BYTES];

    for (int i = 0; i < NODE_ID_BYTES; i++)
        id.key[i] = (uint8_t)i;
    for (int i = 0; i < PREFACE_RANDOM_BYTES; i++)
        preface.random[i] = (uint8_t)(0xa0 + i);
    assert_int_equal(preface_build(&id, &preface, bytes), 0);
    assert_memory_equal(bytes, preface_vector, sizeof bytes);
    assert_int_equal(preface_parse(&id, bytes, sizeof bytes, &parsed), PREFACE_BYTES);
    assert_memory_equal(parsed.random, preface.random, sizeof parsed.random);
    assert_int_equal(parsed.time_s, preface.time_s);
    for (size_t len = 0; len < PREFACE_BYTES; len++)
        assert_int_equal(preface_parse(&id, bytes, len, &parsed), 0);
    for (size_t i = 0; i < PREFACE_BYTES; i++) {
        bytes[i] ^= 0x10;
        assert_int_equal(preface_parse(&id, bytes, sizeof bytes, &parsed), ADIT_EAUTH);
        bytes[i] ^= 0x10;
    }
    id.key[0] ^= 1;
    assert_int_equal(preface_parse(&id, bytes, sizeof bytes, &parsed), ADIT_EAUTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_learn_each_other),
        cmocka_unit_test(wrong_key_is_refused),
        cmocka_unit_test(client_without_key_is_refused),
        cmocka_unit_test(tls12_is_refused),
        cmocka_unit_test(preface_of_vector),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
