/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: integrity and credentials, against the messages of RFC 5769 and RFC 8489
 * B.1, and against servers of all kinds, whose responses are built here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "stun/credentials.h"
#include "stun_vectors.h"

static const struct stun_id id = {{9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2}};

static size_t load(const char *hex, uint8_t *bytes, struct stun_message *m)
{
    size_t len = unhex(hex, bytes);

    assert_int_equal(stun_parse_datagram(bytes, len, m), 0);
    return len;
}

static void short_term_vectors(void **state)
{
    (void)state;
    static const char *const all[] = {vector_request, vector_ipv4, vector_ipv6};
    struct stun_message m;
    struct stun_key key;
    uint8_t bytes[256];

    assert_int_equal(stun_key_short_term(&key, stun_text(VECTOR_PASSWORD)), 0);
    for (int i = 0; i < 3; i++) {
        size_t len = load(all[i], bytes, &m);

        assert_int_equal(stun_check_integrity(&m, &key), STUN_VERDICT_GOOD);
        assert_int_equal(stun_check_fingerprint(&m), STUN_VERDICT_GOOD);
        assert_int_equal(stun_check_integrity_sha256(&m, &key), STUN_VERDICT_ABSENT);
        for (size_t at = 8; at < len; at++) { /* any byte changed: noticed, but in the padding */
            load(all[i], bytes, &m);
            bytes[at] ^= 1;
            if (stun_parse_datagram(bytes, len, &m) != 0)
                continue;
            assert_int_not_equal(stun_check_fingerprint(&m), STUN_VERDICT_GOOD);
            if (at < len - 8)
                assert_int_not_equal(stun_check_integrity(&m, &key), STUN_VERDICT_GOOD);
        }
    }
    key.bytes[0] ^= 1;
    load(vector_request, bytes, &m);
    assert_int_equal(stun_check_integrity(&m, &key), STUN_VERDICT_WRONG);
}

static void long_term_vectors(void **state)
{
    (void)state;
    struct stun_bytes user = stun_text(VECTOR_USER), realm = stun_text(VECTOR_REALM),
                      password = stun_text(VECTOR_LONG_PASSWORD);
    uint8_t bytes[256], hash[STUN_USERHASH_BYTES], sent[STUN_USERHASH_BYTES];
    struct stun_message m;
    struct stun_key key;

    assert_int_equal(stun_key_long_term(&key, STUN_ALGORITHM_MD5, user, realm, password), 0);
    load(vector_long_term, bytes, &m);
    assert_int_equal(stun_check_integrity(&m, &key), STUN_VERDICT_GOOD);
    assert_int_equal(stun_check_fingerprint(&m), STUN_VERDICT_ABSENT);
    /* A realm in quotes, or with a NUL, makes the same key. */
    assert_int_equal(
        stun_key_long_term(&key, STUN_ALGORITHM_MD5, user,
                           (struct stun_bytes){(const uint8_t *)"\"example.org\"\0", 14}, password),
        0);
    assert_int_equal(stun_check_integrity(&m, &key), STUN_VERDICT_GOOD);

    assert_int_equal(stun_key_long_term(&key, STUN_ALGORITHM_SHA256, user, realm, password), 0);
    load(vector_sha256, bytes, &m);
    assert_int_equal(stun_check_integrity_sha256(&m, &key), STUN_VERDICT_GOOD);
    assert_int_equal(stun_check_integrity(&m, &key), STUN_VERDICT_ABSENT);
    assert_int_equal(stun_userhash(hash, user, realm), 0);
    assert_int_equal(stun_read_userhash(stun_find(&m, STUN_ATTR_USERHASH), sent), 0);
    assert_memory_equal(hash, sent, sizeof(hash));

    static const uint8_t user_realm_pass[] = {0x84, 0x93, 0xfb, 0xc5, 0x3b, 0xa5, 0x82, 0xfb,
                                              0x4c, 0x04, 0x4c, 0x45, 0x6b, 0xdc, 0x40, 0xeb};
    assert_int_equal(stun_key_long_term(&key, STUN_ALGORITHM_MD5, stun_text("user"),
                                        stun_text("realm"), stun_text("pass")),
                     0);
    assert_int_equal(key.len, 16); /* RFC 8489 9.2.2 */
    assert_memory_equal(key.bytes, user_realm_pass, 16);
    assert_int_equal(stun_key_long_term(&key, 3, user, realm, password), -ENOTSUP);
    static char huge[3000];
    memset(huge, 'x', sizeof(huge) - 1);
    assert_int_equal(stun_key_long_term(&key, 1, stun_text(huge), realm, password), -EINVAL);
    assert_int_equal(stun_key_short_term(&key, stun_text(huge)), -EINVAL);
    assert_int_equal(stun_key_short_term(&key, stun_text("")), -EINVAL);
}

static void both_integrities_and_truncation(void **state)
{
    (void)state;
    struct stun_builder b;
    struct stun_message m;
    struct stun_key key, other;
    uint8_t bytes[256];

    stun_key_short_term(&key, stun_text("secret"));
    stun_key_short_term(&other, stun_text("other"));
    for (size_t len = 16; len <= 32; len += 4) {
        stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
        stun_put_text(&b, STUN_ATTR_USERNAME, "me");
        stun_put_integrity(&b, &key);
        stun_put_integrity_sha256(&b, &key, len);
        stun_put_fingerprint(&b);
        assert_true(stun_built(&b) > 0);
        assert_int_equal(stun_parse_datagram(bytes, b.len, &m), 0);
        assert_int_equal(stun_find(&m, STUN_ATTR_MESSAGE_INTEGRITY_SHA256)->len, len);
        assert_int_equal(stun_check_integrity(&m, &key), STUN_VERDICT_GOOD);
        assert_int_equal(stun_check_integrity_sha256(&m, &key), STUN_VERDICT_GOOD);
        assert_int_equal(stun_check_fingerprint(&m), STUN_VERDICT_GOOD);
        assert_int_equal(stun_check_integrity(&m, &other), STUN_VERDICT_WRONG);
        assert_int_equal(stun_check_integrity_sha256(&m, &other), STUN_VERDICT_WRONG);
    }
    static const size_t bad[] = {0, 12, 36};
    for (size_t i = 0; i < 3; i++) {
        stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
        memset(stun_put_room(&b, STUN_ATTR_MESSAGE_INTEGRITY_SHA256, bad[i]), 0, bad[i]);
        assert_int_equal(stun_parse_datagram(bytes, b.len, &m), 0);
        assert_int_equal(stun_check_integrity_sha256(&m, &key), STUN_VERDICT_WRONG);
    }
    /* A fingerprint that is not the last. */
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    stun_put_fingerprint(&b);
    b.last = 0;
    stun_put_flag(&b, STUN_ATTR_DONT_FRAGMENT);
    assert_int_equal(stun_parse_datagram(bytes, b.len, &m), 0);
    assert_int_equal(stun_check_fingerprint(&m), STUN_VERDICT_WRONG);
}

static void features_of_nonces(void **state)
{
    (void)state;
    static const struct {
        const char *nonce;
        bool has;
        uint32_t features;
    } nonces[] = {
        {"obMatJos2gAAA", true, STUN_FEATURE_ALGORITHMS},
        {"obMatJos2QAAAxyz", true, STUN_FEATURE_ANONYMITY},
        {"obMatJos2wAAAxyz", true, STUN_FEATURE_ALGORITHMS | STUN_FEATURE_ANONYMITY},
        {"obMatJos2AAAC", true, 2},
        {"obMatJos2////", true, 0xFFFFFF},
        {"obMatJos2gAA", false, 0},
        {"obMatJos2gAA=", false, 0},
        {"obMatJos3gAAA", false, 0},
        {"", false, 0},
    };

    for (size_t i = 0; i < sizeof(nonces) / sizeof(nonces[0]); i++) {
        uint32_t features = 0;

        assert_int_equal(stun_nonce_features(stun_text(nonces[i].nonce), &features), nonces[i].has);
        assert_int_equal(features, nonces[i].features);
    }
}

/* An error response of a server. */
struct error_response {
    unsigned code;
    const char *realm, *nonce;
    size_t algorithms;
    struct stun_algorithm algorithm[3];
    const struct stun_key *key; /* signs it */
    uint8_t bytes[1024];
    struct stun_message message;
};

static const struct stun_message *respond(struct error_response *r)
{
    struct stun_builder b;

    stun_build(&b, r->bytes, sizeof(r->bytes), STUN_METHOD_ALLOCATE, STUN_ERROR, &id);
    stun_put_error(&b, r->code, "because");
    if (r->realm)
        stun_put_text(&b, STUN_ATTR_REALM, r->realm);
    if (r->nonce)
        stun_put_text(&b, STUN_ATTR_NONCE, r->nonce);
    if (r->algorithms)
        stun_put_algorithms(&b, r->algorithm, r->algorithms);
    if (r->key)
        stun_put_integrity(&b, r->key);
    assert_int_equal(stun_parse_datagram(r->bytes, (size_t)stun_built(&b), &r->message), 0);
    return &r->message;
}

#define RESPONSE(...) respond(&(struct error_response){__VA_ARGS__})

/* A request that is signed by c, as the server sees it. */
static const struct stun_message *signed_request(const struct credentials *c)
{
    static uint8_t bytes[1024];
    static struct stun_message m;
    struct stun_builder b;

    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_ALLOCATE, STUN_REQUEST, &id);
    credentials_sign(c, &b);
    assert_int_equal(stun_parse_datagram(bytes, (size_t)stun_built(&b), &m), 0);
    return &m;
}

static void a_server_of_today(void **state)
{
    (void)state;
    struct credentials c;
    struct stun_key key;
    struct stun_bytes part;
    const struct stun_message *m;

    assert_int_equal(credentials_init(&c, "alice", "wonder"), 0);
    assert_int_equal(signed_request(&c)->count, 0); /* the first goes without */
    assert_int_equal(
        credentials_take(&c, RESPONSE(.code = 401, .realm = "r", .nonce = "n1"), false),
        CREDENTIALS_RETRY);
    stun_key_long_term(&key, STUN_ALGORITHM_MD5, stun_text("alice"), stun_text("r"),
                       stun_text("wonder"));
    m = signed_request(&c);
    assert_int_equal(m->count, 4);
    assert_int_equal(stun_check_integrity(m, &key), STUN_VERDICT_GOOD);
    assert_null(stun_find(m, STUN_ATTR_MESSAGE_INTEGRITY_SHA256)); /* legacy servers: 420 */
    /* An old nonce is no failure, whether the realm is repeated or not. */
    assert_int_equal(credentials_take(&c, RESPONSE(.code = 438, .nonce = "n2"), true),
                     CREDENTIALS_RETRY);
    m = signed_request(&c);
    assert_int_equal(stun_check_integrity(m, &key), STUN_VERDICT_GOOD);
    assert_int_equal(stun_read_bytes(stun_find(m, STUN_ATTR_NONCE), &part), 0);
    assert_memory_equal(part.bytes, "n2", 2);
    /* A second 401 is one; with another realm it is not. */
    assert_int_equal(credentials_take(&c, RESPONSE(.code = 401, .realm = "r", .nonce = "n3"), true),
                     CREDENTIALS_REFUSED);
    assert_int_equal(
        credentials_take(&c, RESPONSE(.code = 401, .realm = "r2", .nonce = "n3"), true),
        CREDENTIALS_RETRY);
    assert_int_equal(credentials_take(&c, RESPONSE(.code = 486), true), CREDENTIALS_OTHER);
    assert_int_equal(credentials_take(&c, RESPONSE(.code = 401, .realm = "r3"), true),
                     CREDENTIALS_MALFORMED);
    credentials_forget_server(&c);
    assert_int_equal(credentials_take(&c, RESPONSE(.code = 438, .nonce = "n"), false),
                     CREDENTIALS_MALFORMED);
    struct credentials none = {0};
    assert_int_equal(
        credentials_take(&none, RESPONSE(.code = 401, .realm = "r", .nonce = "n"), false),
        CREDENTIALS_NONE);
    credentials_wipe(&c);
}

static void a_server_of_rfc_8489(void **state)
{
    (void)state;
    static const struct stun_algorithm md5 = {.id = STUN_ALGORITHM_MD5},
                                       sha = {.id = STUN_ALGORITHM_SHA256},
                                       odd = {.id = 9, .parameters = {(const uint8_t *)"p", 1}};
    struct credentials c;
    struct stun_algorithm chosen, echoed[STUN_ALGORITHMS_MAX];
    uint8_t hash[STUN_USERHASH_BYTES], sent[STUN_USERHASH_BYTES];
    const struct stun_message *m;
    struct stun_key key;
    size_t count;

    assert_int_equal(credentials_init(&c, VECTOR_USER, VECTOR_LONG_PASSWORD), 0);
    assert_int_equal(
        credentials_take(&c,
                         RESPONSE(.code = 401, .realm = VECTOR_REALM, .nonce = "obMatJos2wAAAn",
                                  .algorithms = 3, .algorithm = {md5, odd, sha}),
                         false),
        CREDENTIALS_RETRY);
    m = signed_request(&c);
    stun_key_long_term(&key, STUN_ALGORITHM_SHA256, stun_text(VECTOR_USER), stun_text(VECTOR_REALM),
                       stun_text(VECTOR_LONG_PASSWORD));
    assert_int_equal(stun_check_integrity_sha256(m, &key), STUN_VERDICT_GOOD);
    assert_null(stun_find(m, STUN_ATTR_MESSAGE_INTEGRITY));
    assert_null(stun_find(m, STUN_ATTR_USERNAME));
    stun_userhash(hash, stun_text(VECTOR_USER), stun_text(VECTOR_REALM));
    assert_int_equal(stun_read_userhash(stun_find(m, STUN_ATTR_USERHASH), sent), 0);
    assert_memory_equal(hash, sent, sizeof(hash));
    assert_int_equal(stun_read_algorithm(stun_find(m, STUN_ATTR_PASSWORD_ALGORITHM), &chosen), 0);
    assert_int_equal(chosen.id, STUN_ALGORITHM_SHA256);
    assert_int_equal(
        stun_read_algorithms(stun_find(m, STUN_ATTR_PASSWORD_ALGORITHMS), echoed, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(echoed[1].id, 9);

    /* Only MD5: still MESSAGE-INTEGRITY-SHA256, over the old key. */
    credentials_forget_server(&c);
    assert_int_equal(
        credentials_take(&c,
                         RESPONSE(.code = 401, .realm = VECTOR_REALM, .nonce = "obMatJos2gAAAn",
                                  .algorithms = 1, .algorithm = {md5}),
                         false),
        CREDENTIALS_RETRY);
    m = signed_request(&c);
    stun_key_long_term(&key, STUN_ALGORITHM_MD5, stun_text(VECTOR_USER), stun_text(VECTOR_REALM),
                       stun_text(VECTOR_LONG_PASSWORD));
    assert_int_equal(stun_check_integrity_sha256(m, &key), STUN_VERDICT_GOOD);
    assert_non_null(stun_find(m, STUN_ATTR_USERNAME));

    credentials_forget_server(&c);
    assert_int_equal(
        credentials_take(&c, RESPONSE(.code = 401, .realm = "r", .nonce = "obMatJos2gAAAn"), false),
        CREDENTIALS_BID_DOWN);
    assert_int_equal(credentials_take(&c,
                                      RESPONSE(.code = 401, .realm = "r", .nonce = "n",
                                               .algorithms = 1, .algorithm = {odd}),
                                      false),
                     CREDENTIALS_UNSUPPORTED);
    assert_false(c.asked);
}

/* What a server has offered it does not take back, whoever says so: errors are not signed. */
static void offers_taken_back(void **state)
{
    (void)state;
    static const struct stun_algorithm md5 = {.id = STUN_ALGORITHM_MD5},
                                       sha = {.id = STUN_ALGORITHM_SHA256};
    static const struct {
        const char *nonce; /* of what comes then */
        size_t algorithms;
        struct stun_algorithm algorithm[1];
    } less[] = {
        {"plain", 0, {{0}}},          /* as if it were a server of today */
        {"obMatJos2QAAAn", 0, {{0}}}, /* the bit is unset, and the list gone */
        {"obMatJos2wAAAn", 1, {md5}}, /* SHA-256 is gone from it */
        {"obMatJos2gAAAn", 1, {sha}}, /* the name would have to be shown */
    };

    for (size_t i = 0; i < sizeof(less) / sizeof(less[0]); i++) {
        struct credentials c;
        struct stun_key key;
        struct stun_bytes part;
        const struct stun_message *m;

        credentials_init(&c, "alice", "wonder");
        assert_int_equal(
            credentials_take(&c,
                             RESPONSE(.code = 401, .realm = "r", .nonce = "obMatJos2wAAA1",
                                      .algorithms = 2, .algorithm = {md5, sha}),
                             false),
            CREDENTIALS_RETRY);
        key = c.key;
        assert_int_equal(
            credentials_take(&c,
                             RESPONSE(.code = 438, .realm = "elsewhere", .nonce = less[i].nonce,
                                      .algorithms = less[i].algorithms,
                                      .algorithm = {less[i].algorithm[0]}),
                             true),
            CREDENTIALS_RETRY);
        m = signed_request(&c); /* with the nonce, and else as before */
        assert_int_equal(stun_check_integrity_sha256(m, &key), STUN_VERDICT_GOOD);
        assert_null(stun_find(m, STUN_ATTR_MESSAGE_INTEGRITY));
        assert_null(stun_find(m, STUN_ATTR_USERNAME));
        assert_int_equal(stun_find(m, STUN_ATTR_PASSWORD_ALGORITHMS)->len, 8);
        assert_int_equal(stun_read_bytes(stun_find(m, STUN_ATTR_NONCE), &part), 0);
        assert_int_equal(part.len, strlen(less[i].nonce));
        assert_int_equal(stun_read_bytes(stun_find(m, STUN_ATTR_REALM), &part), 0);
        assert_memory_equal(part.bytes, "r", 1);
        assert_int_equal(
            credentials_take(&c,
                             RESPONSE(.code = 401, .realm = "elsewhere", .nonce = less[i].nonce,
                                      .algorithms = less[i].algorithms,
                                      .algorithm = {less[i].algorithm[0]}),
                             true),
            CREDENTIALS_BID_DOWN);
        assert_memory_equal(&key, &c.key, sizeof(key));
        credentials_forget_server(&c); /* a new start may find another server there */
        assert_int_equal(
            credentials_take(&c, RESPONSE(.code = 401, .realm = "r", .nonce = "plain"), false),
            CREDENTIALS_RETRY);
        assert_non_null(stun_find(signed_request(&c), STUN_ATTR_MESSAGE_INTEGRITY));
        credentials_wipe(&c);
    }
}

static void which_responses_are_believed(void **state)
{
    (void)state;
    struct stun_key wrong;
    struct credentials c;

    stun_key_short_term(&wrong, stun_text("x"));
    credentials_init(&c, "alice", "wonder");
    assert_true(credentials_accept(&c, RESPONSE(.code = 486))); /* nothing was signed yet */
    credentials_take(&c, RESPONSE(.code = 401, .realm = "r", .nonce = "n"), false);
    assert_false(credentials_accept(&c, RESPONSE(.code = 486)));
    assert_false(credentials_accept(&c, RESPONSE(.code = 486, .key = &wrong)));
    assert_true(credentials_accept(&c, RESPONSE(.code = 486, .key = &c.key)));
    assert_true(credentials_accept(&c, RESPONSE(.code = 438)));
    assert_true(credentials_accept(&c, RESPONSE(.code = 401)));
    assert_true(credentials_accept(&c, RESPONSE(.code = 400)));
    assert_false(credentials_accept(&c, RESPONSE(.code = 400, .key = &wrong)));
    assert_true(credentials_accept(&c, RESPONSE(.code = 441)));
    assert_false(credentials_accept(&c, RESPONSE(.code = 441, .key = &wrong)));
    assert_false(credentials_accept(&c, RESPONSE(.code = 300)));
}

static void credentials_with_a_limit(void **state)
{
    (void)state;
    struct credentials c = {0};

    assert_int_equal(credentials_init_secret(&c, "north", "alice", 1700000000, 3600), 0);
    assert_string_equal(c.user, "1700003600:alice");
    assert_string_equal(c.password, "wjwSXO2ch1B6VaLTLMy2Avn5O9o=");
    credentials_take(&c, RESPONSE(.code = 401, .realm = "r", .nonce = "n"), false);
    struct stun_key before = c.key;
    assert_int_equal(credentials_init_secret(&c, "north", NULL, 1700000000, 7200), 0);
    assert_string_equal(c.user, "1700007200");
    assert_true(c.asked); /* what the server has said stays; the key is another */
    assert_memory_not_equal(before.bytes, c.key.bytes, c.key.len);
    assert_int_equal(credentials_init_secret(&c, "", NULL, 1, 1), -EINVAL);
    static char huge[600];
    memset(huge, 'x', sizeof(huge) - 1);
    assert_int_equal(credentials_init_secret(&c, "s", huge, 1, 1), -EINVAL);
    assert_int_equal(credentials_init(&c, huge, "p"), -EINVAL);
    assert_int_equal(credentials_init(&c, "u", huge), -EINVAL);
    assert_int_equal(credentials_init(&c, "", "p"), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_term_vectors),
        cmocka_unit_test(long_term_vectors),
        cmocka_unit_test(both_integrities_and_truncation),
        cmocka_unit_test(features_of_nonces),
        cmocka_unit_test(a_server_of_today),
        cmocka_unit_test(a_server_of_rfc_8489),
        cmocka_unit_test(offers_taken_back),
        cmocka_unit_test(which_responses_are_believed),
        cmocka_unit_test(credentials_with_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
