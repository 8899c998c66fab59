/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Seals against a vector (docs/protocol-signal.md has it too) and against seal_by_hand.h, which
 * makes them with another library; then everything that must not open: each byte altered, another
 * recipient, lengths, points of low order, and insides that only a hostile sender would make.
 *
 * With ADIT_SEAL_BENCH set it also prints what sealing costs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "crypto/seal.h"
#include "seal_by_hand.h"

/* The ephemeral one differs from the others in more than the five bits of a secret that X25519
 * ignores. */
static const uint8_t alice_secret[32] = {1}, bob_secret[32] = {2},
                     ephemeral[32] = {0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
                                      0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f,
                                      0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37,
                                      0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f};
/* Alice's to Bob. */
static const uint8_t pass[SEAL_PASS_BYTES] = {0x10, 0x43, 0x3a, 0xdb, 0xed, 0xd8, 0x57,
                                              0x70, 0xb3, 0x37, 0x73, 0x42, 0x01, 0x78,
                                              0x8d, 0xa1, 0xfd, 0xc1, 0x59, 0x1d};
static const uint8_t no_pass[SEAL_PASS_BYTES];

struct both {
    struct identity *alice, *bob;
};

static int set_up(void **state)
{
    static struct both both;

    both.alice = identity_from_secret(alice_secret);
    both.bob = identity_from_secret(bob_secret);
    *state = &both;
    return both.alice && both.bob ? 0 : -1;
}

static int tear_down(void **state)
{
    struct both *both = *state;

    identity_free(both->alice);
    identity_free(both->bob);
    return ERR_peek_error() == 0 ? 0 : -1; /* nothing left for others to stumble over */
}

static void hex(const uint8_t *bytes, size_t len, char *text)
{
    for (size_t i = 0; i < len; i++)
        sprintf(text + 2 * i, "%02x", bytes[i]);
}

static void vector(void **state)
{
    struct both *both = *state;
    static const char expected[] =
        "01f1f8e58b192dd4e915791682ff9cdff910433adb524d4414358072d6365880"
        "d1aeea329adf9121383851ed21a28e3b75e965d0d2cd1662541d664f8143c197"
        "9f2f8b40e202c5e429544b228ca2a37d5e09118af7089d6e3d4fb0dc33c97493"
        "f60197d3f59a9a3bfa592c74a07bc7b80e009020083fc9ae28da991e261241e1"
        "caba03435cb196cff382db102d6e29ffc44f1b5104e5ffd20b77df23bee5c5df"
        "4ad9c5a32c3aada3f093fee6a669a80dd6d323289876c876bdabe95a6c5355e5"
        "335589866853cf8dc67bcf5e3f779c6d7ade74bb223665a70cc0deb97cf758f2"
        "9e7a2530deb25d72cf8634839656032640510843da54ba074980c5b63484f040";
    uint8_t seal[SEAL_BYTES_MAX];
    char text[2 * SEAL_PAD_BYTES + 1];

    assert_int_equal(
        seal_build_with(both->alice, identity_id(both->bob), pass, ephemeral, "hello", 5, seal),
        SEAL_PAD_BYTES);
    hex(seal, SEAL_PAD_BYTES, text);
    assert_string_equal(text, expected);
}

/* The same bytes from another library, at all lengths around the steps of padding. */
static void by_hand(void **state)
{
    struct both *both = *state;
    uint8_t message[SEAL_MESSAGE_MAX], ours[SEAL_BYTES_MAX], hands[SEAL_BYTES_MAX];

    for (size_t i = 0; i < sizeof(message); i++)
        message[i] = (uint8_t)(i * 7 + 1);
    for (size_t len = 0; len <= sizeof(message); len += len % 256 > 80 && len % 256 < 90 ? 1 : 41) {
        size_t total = (len + SEAL_OVERHEAD_BYTES + 255) / 256 * 256;
        uint8_t inside[SEAL_BYTES_MAX] = {0};

        inside[HAND_LENGTH_AT] = (uint8_t)(len >> 8);
        inside[HAND_LENGTH_AT + 1] = (uint8_t)len;
        memcpy(inside + HAND_MESSAGE_AT, message, len);
        hand_sign(alice_secret, identity_id(both->bob), ephemeral, inside, total - 73);
        assert_int_equal(hand_seal(identity_id(both->bob), len % 2 ? pass : no_pass, ephemeral,
                                   inside, total - 73, hands),
                         total);
        assert_int_equal(seal_build_with(both->alice, identity_id(both->bob), len % 2 ? pass : NULL,
                                         ephemeral, message, len, ours),
                         total);
        assert_memory_equal(ours, hands, total);
    }
}

static void there_and_back(void **state)
{
    struct both *both = *state;
    uint8_t message[SEAL_MESSAGE_MAX + 1], back[SEAL_MESSAGE_MAX];
    uint8_t seal[SEAL_BYTES_MAX], again[SEAL_BYTES_MAX], seen[SEAL_NAME_BYTES];
    struct node_id from;

    memset(message, 'x', sizeof(message));
    for (size_t len = 0; len <= SEAL_MESSAGE_MAX; len += len < 200 ? 1 : 43) {
        int total = seal_build(both->alice, identity_id(both->bob), pass, message, len, seal);

        assert_true(total > 0 && total % SEAL_PAD_BYTES == 0 && total <= SEAL_BYTES_MAX);
        assert_int_equal(seal_check(identity_id(both->bob), seal, (size_t)total, seen), 0);
        assert_memory_equal(seen, pass, sizeof(seen));
        assert_int_equal(seal_open(both->bob, seal, (size_t)total, &from, back), len);
        assert_true(node_id_equal(&from, identity_id(both->alice)));
        assert_memory_equal(back, message, len);
    }
    assert_int_equal(
        seal_build(both->alice, identity_id(both->bob), NULL, message, SEAL_MESSAGE_MAX, seal),
        SEAL_BYTES_MAX);
    assert_int_equal(seal_open(both->bob, seal, SEAL_BYTES_MAX, &from, back), SEAL_MESSAGE_MAX);
    assert_int_equal(
        seal_build(both->alice, identity_id(both->bob), NULL, message, SEAL_MESSAGE_MAX + 1, seal),
        -EMSGSIZE);
    /* To oneself; and never the same bytes twice. */
    assert_int_equal(seal_build(both->bob, identity_id(both->bob), NULL, NULL, 0, seal), 256);
    assert_int_equal(seal_build(both->bob, identity_id(both->bob), NULL, NULL, 0, again), 256);
    assert_int_equal(seal_open(both->bob, seal, 256, &from, back), 0);
    assert_memory_not_equal(seal + 25, again + 25, 32);
    assert_memory_not_equal(seal + 57, again + 57, 199);
}

/* No byte can change, even where the MAC, which anybody who knows the recipient can make, is made
 * to fit. */
static void altered(void **state)
{
    struct both *both = *state;
    uint8_t seal[SEAL_BYTES_MAX], copy[SEAL_BYTES_MAX], back[SEAL_MESSAGE_MAX];
    struct node_id from;
    int total = seal_build(both->alice, identity_id(both->bob), pass, "message", 7, seal);

    for (int i = 0; i < total; i++)
        for (int bit = 0; bit < 8; bit += i < SEAL_HEAD_BYTES ? 1 : 7) {
            memcpy(copy, seal, (size_t)total);
            copy[i] ^= (uint8_t)(1 << bit);
            assert_int_equal(seal_open(both->bob, copy, (size_t)total, &from, back),
                             i == 0 ? ADIT_EFORMAT : ADIT_EAUTH);
            hand_mac(identity_id(both->bob), copy, (size_t)total);
            if (i == 0)
                assert_int_equal(seal_open(both->bob, copy, (size_t)total, &from, back),
                                 ADIT_EFORMAT);
            else if (i >= 17 && !(i == 56 && bit == 7)) /* X25519 ignores its top bit: see below */
                assert_int_equal(seal_open(both->bob, copy, (size_t)total, &from, back),
                                 ADIT_EAUTH);
        }
    /* The bit that X25519 ignores is covered by the key's derivation and the additional data. */
    memcpy(copy, seal, (size_t)total);
    copy[56] ^= 0x80;
    hand_mac(identity_id(both->bob), copy, (size_t)total);
    assert_int_equal(seal_open(both->bob, copy, (size_t)total, &from, back), ADIT_EAUTH);
}

/* A pass shows in its seals only by its name, and proves nothing for another ephemeral key. */
static void passes(void **state)
{
    struct both *both = *state;
    const struct node_id *bob = identity_id(both->bob);
    uint8_t seal[SEAL_BYTES_MAX], other[SEAL_BYTES_MAX], name[SEAL_NAME_BYTES];
    uint8_t wrong[SEAL_PASS_BYTES];

    assert_int_equal(seal_build(both->alice, bob, pass, "x", 1, seal), 256);
    assert_int_equal(seal_check(bob, seal, 256, name), 0);
    assert_memory_equal(name, pass, sizeof(name));
    assert_true(seal_is_proven(seal, pass));
    for (size_t i = 0; i < sizeof(wrong); i++) {
        memcpy(wrong, pass, sizeof(wrong));
        wrong[i] ^= 1;
        assert_false(seal_is_proven(seal, wrong));
    }
    assert_null(memmem(seal, 256, pass + SEAL_NAME_BYTES, 8));

    assert_int_equal(seal_build(both->alice, bob, NULL, "x", 1, other), 256);
    assert_int_equal(seal_check(bob, other, 256, name), 0);
    assert_memory_equal(name, no_pass, sizeof(name));
    assert_false(seal_is_proven(other, pass));
    memcpy(other + 17, seal + 17, 8);
    hand_mac(bob, other, 256);
    assert_int_equal(seal_check(bob, other, 256, name), 0);
    assert_false(seal_is_proven(other, pass));
    /* Zeros are no pass. */
    assert_int_equal(seal_build(both->alice, bob, no_pass, "x", 1, other), 256);
    assert_memory_equal(other + 17, no_pass, 8);
}

/* Both make the same, another direction is another pass. docs/protocol-signal.md has the vector. */
static void both_make_passes(void **state)
{
    struct both *both = *state;
    static const char expected[] = "10433adbedd85770b337734201788da1fdc1591d";
    const struct node_id *alice = identity_id(both->alice), *bob = identity_id(both->bob);
    struct node_id bad = {{1}};
    uint8_t to_alice[SEAL_PASS_BYTES], to_bob[SEAL_PASS_BYTES];
    uint8_t theirs[SEAL_PASS_BYTES], ours[SEAL_PASS_BYTES];
    char text[2 * SEAL_PASS_BYTES + 1];

    assert_int_equal(seal_passes(both->alice, bob, to_alice, to_bob), 0);
    assert_int_equal(seal_passes(both->bob, alice, theirs, ours), 0);
    assert_memory_equal(theirs, to_bob, sizeof(theirs));
    assert_memory_equal(ours, to_alice, sizeof(ours));
    assert_memory_not_equal(ours, theirs, sizeof(ours));
    hex(to_bob, sizeof(to_bob), text);
    assert_string_equal(text, expected);
    assert_int_equal(seal_passes(both->alice, &bad, theirs, ours), ADIT_ECRYPTO);
    assert_memory_equal(ours, no_pass, sizeof(ours));
    assert_memory_equal(theirs, no_pass, sizeof(theirs));
}

static void not_for_us(void **state)
{
    struct both *both = *state;
    uint8_t seal[SEAL_BYTES_MAX], back[SEAL_MESSAGE_MAX], seen[SEAL_NAME_BYTES];
    struct node_id from;
    int total = seal_build(both->alice, identity_id(both->bob), pass, "message", 7, seal);

    /* Not even the sender opens it. */
    assert_int_equal(seal_check(identity_id(both->alice), seal, (size_t)total, seen), ADIT_EAUTH);
    assert_int_equal(seal_open(both->alice, seal, (size_t)total, &from, back), ADIT_EAUTH);
    hand_mac(identity_id(both->alice), seal, (size_t)total);
    assert_int_equal(seal_check(identity_id(both->alice), seal, (size_t)total, seen), 0);
    assert_int_equal(seal_open(both->alice, seal, (size_t)total, &from, back), ADIT_EAUTH);
}

static void lengths(void **state)
{
    struct both *both = *state;
    uint8_t seal[SEAL_BYTES_MAX + 256] = {0}, back[SEAL_MESSAGE_MAX], seen[SEAL_NAME_BYTES];
    struct node_id from;
    uint8_t message[300] = {0};
    int total =
        seal_build(both->alice, identity_id(both->bob), pass, message, sizeof(message), seal);

    assert_int_equal(total, 512);
    for (size_t len = 0; len <= sizeof(seal); len++) {
        uint8_t *copy = malloc(len); /* its end is where a sanitizer sees it */
        int expected = len % 256 || len == 0 || len > SEAL_BYTES_MAX ? ADIT_EFORMAT : ADIT_EAUTH;

        assert_true(copy || len == 0);
        memcpy(copy, seal, len);
        if (len != 512) {
            assert_int_equal(seal_check(identity_id(both->bob), copy, len, seen), expected);
            assert_int_equal(seal_open(both->bob, copy, len, &from, back), expected);
        }
        if (expected == ADIT_EAUTH && len != 512) {
            hand_mac(identity_id(both->bob), copy, len);
            assert_int_equal(seal_open(both->bob, copy, len, &from, back), ADIT_EAUTH);
        }
        free(copy);
    }
}

/* Points with which every agreement comes to zero (order 1, 2, 4 and 8, as RFC 7748 section 6.1
 * warns of): as ephemeral key and as recipient. */
static void low_order(void **state)
{
    struct both *both = *state;
    static const uint8_t points[][32] = {
        {0},
        {1},
        {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
         0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
         0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00},
        {0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1,
         0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c,
         0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57},
        {0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
        {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
        {0xee, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
         0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
    };
    uint8_t seal[SEAL_BYTES_MAX], back[SEAL_MESSAGE_MAX], key[32], extracted[32], info[65];
    static const uint8_t zero[32], nonce[12];
    struct node_id from;

    for (size_t i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
        uint8_t inside[256 - 73] = {0};

        /* All that is needed to make it open, were zero taken for a secret. */
        memset(seal, 0, 256);
        seal[0] = 1;
        memcpy(seal + 25, points[i], 32);
        hand_hmac((const uint8_t *)"adit seal v1", 12, zero, 32, extracted);
        memcpy(info, seal + 25, 32);
        memcpy(info + 32, identity_id(both->bob)->key, 32);
        info[64] = 1;
        hand_hmac(extracted, 32, info, sizeof(info), key);
        crypto_aead_chacha20poly1305_ietf_encrypt(seal + 57, NULL, inside, sizeof(inside), seal, 0,
                                                  NULL, nonce, key);
        hand_mac(identity_id(both->bob), seal, 256);
        assert_int_equal(seal_open(both->bob, seal, 256, &from, back), ADIT_EAUTH);
    }
    /* IDs that are points of low order (y = 1, -1, 0), and one that is no point. */
    struct node_id bad[] = {{{1}}, {{0}}, {{0}}, {{2}}};

    memset(bad[1].key, 0xff, 32);
    bad[1].key[0] = 0xec;
    bad[1].key[31] = 0x7f;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(seal_build(both->alice, &bad[i], NULL, "x", 1, seal), ADIT_ECRYPTO);
}

/* What Bob makes of an inside that is sealed for him by hand: seal_open()'s answer. */
static int bob_opens(const struct both *both, const uint8_t inside[256 - 73])
{
    uint8_t seal[SEAL_BYTES_MAX], back[SEAL_MESSAGE_MAX];
    struct node_id from;
    int r;

    hand_seal(identity_id(both->bob), no_pass, ephemeral, inside, 256 - 73, seal);
    r = seal_open(both->bob, seal, 256, &from, back);
    if (r >= 0)
        assert_true(node_id_equal(&from, identity_id(both->alice)));
    return r;
}

/* What a sender with a key of its own may try inside: all of it is signed as it should be. */
static void hostile_insides(void **state)
{
    struct both *both = *state;
    const struct node_id *bob = identity_id(both->bob);
    enum { INSIDE = 256 - 73, ROOM = INSIDE - HAND_MESSAGE_AT };
    const struct {
        uint8_t length[2], last;
        int expected;
    } cases[] = {
        {{0, 0}, 0, 0},                      /* what the others differ from */
        {{0, ROOM}, 0, ROOM},                /* all of the room */
        {{0, ROOM + 1}, 0, ADIT_EFORMAT},    /* beyond the end by one */
        {{0xff, ROOM + 1}, 0, ADIT_EFORMAT}, /* and by much */
        {{0, 0}, 1, ADIT_EFORMAT},           /* padding that is not zero */
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t inside[INSIDE] = {0};

        memcpy(inside + HAND_LENGTH_AT, cases[i].length, 2);
        inside[INSIDE - 1] = cases[i].last;
        hand_sign(alice_secret, bob, ephemeral, inside, INSIDE);
        assert_int_equal(bob_opens(both, inside), cases[i].expected);
    }
}

/* Signatures that are good for something else. */
static void hostile_signatures(void **state)
{
    struct both *both = *state;
    const struct node_id *alice = identity_id(both->alice), *bob = identity_id(both->bob);
    uint8_t inside[256 - 73] = {0};

    /* Another's name over one's own signature. */
    hand_sign(ephemeral, bob, ephemeral, inside, sizeof(inside));
    memcpy(inside, alice->key, 32);
    assert_int_equal(bob_opens(both, inside), ADIT_EAUTH);
    /* A message that was signed for somebody else, passed on; and one signed under another
     * ephemeral key. */
    hand_sign(alice_secret, alice, ephemeral, inside, sizeof(inside));
    assert_int_equal(bob_opens(both, inside), ADIT_EAUTH);
    hand_sign(alice_secret, bob, bob_secret, inside, sizeof(inside));
    assert_int_equal(bob_opens(both, inside), ADIT_EAUTH);
    /* The same, right: what the above differ from. */
    hand_sign(alice_secret, bob, ephemeral, inside, sizeof(inside));
    assert_int_equal(bob_opens(both, inside), 0);
}

static double microseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void cost(void **state)
{
    struct both *both = *state;
    enum { ROUNDS = 2000 };
    uint8_t seal[SEAL_BYTES_MAX], back[SEAL_MESSAGE_MAX], seen[SEAL_NAME_BYTES], message[150] = {0};
    struct node_id from;
    double begin;
    int total = 0;

    if (!getenv("ADIT_SEAL_BENCH"))
        skip();
    begin = microseconds();
    for (int i = 0; i < ROUNDS; i++)
        total =
            seal_build(both->alice, identity_id(both->bob), NULL, message, sizeof(message), seal);
    print_message("build %.1f us, ", (microseconds() - begin) / ROUNDS);
    begin = microseconds();
    for (int i = 0; i < ROUNDS; i++)
        assert_true(seal_open(both->bob, seal, (size_t)total, &from, back) > 0);
    print_message("open %.1f us, ", (microseconds() - begin) / ROUNDS);
    seal[total - 1] ^= 1;
    hand_mac(identity_id(both->bob), seal, (size_t)total);
    begin = microseconds();
    for (int i = 0; i < ROUNDS; i++)
        assert_true(seal_open(both->bob, seal, (size_t)total, &from, back) < 0);
    print_message("refuse by tag %.1f us, ", (microseconds() - begin) / ROUNDS);
    seal[1] ^= 1;
    begin = microseconds();
    for (int i = 0; i < ROUNDS; i++)
        assert_true(seal_check(identity_id(both->bob), seal, (size_t)total, seen) < 0);
    print_message("refuse by MAC %.1f us\n", (microseconds() - begin) / ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector),
        cmocka_unit_test(by_hand),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(altered),
        cmocka_unit_test(passes),
        cmocka_unit_test(both_make_passes),
        cmocka_unit_test(not_for_us),
        cmocka_unit_test(lengths),
        cmocka_unit_test(low_order),
        cmocka_unit_test(hostile_insides),
        cmocka_unit_test(hostile_signatures),
        cmocka_unit_test(cost),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
