/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Seals made from docs/protocol-signal.md alone, with libsodium, and so independently of
 * crypto/seal.c: what both make must be the same, and what a hostile sender with a key of its own
 * could put inside a seal can be made here. Needs no state; asserts nothing.
 */
#ifndef ADIT_TESTS_SEAL_BY_HAND_H
#define ADIT_TESTS_SEAL_BY_HAND_H

#include <sodium.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "crypto/identity.h"
#include "crypto/seal.h"

/* Offsets of the inside: sender, signature, length, message, padding. */
#define HAND_SIGNATURE_AT 32
#define HAND_LENGTH_AT    96
#define HAND_MESSAGE_AT   98

static inline void hand_hmac(const uint8_t *key, size_t key_len, const uint8_t *bytes, size_t len,
                             uint8_t mac[32])
{
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, key, key_len);
    crypto_auth_hmacsha256_update(&state, bytes, len);
    crypto_auth_hmacsha256_final(&state, mac);
}

/* Writes the MAC that belongs to what follows it. */
static inline void hand_mac(const struct node_id *to, uint8_t *seal, size_t len)
{
    uint8_t input[16 + 32], key[32], mac[32];

    memcpy(input, "adit seal v1 mac", 16);
    memcpy(input + 16, to->key, 32);
    crypto_hash_sha256(key, input, sizeof(input));
    hand_hmac(key, sizeof(key), seal + 17, len - 17, mac);
    memcpy(seal + 1, mac, 16);
}

/* Signs what the inside's length says is its message (as far as it reaches), as the sender of this
 * secret, whose ID it puts first. */
static inline void hand_sign(const uint8_t secret[32], const struct node_id *to,
                             const uint8_t ephemeral[32], uint8_t *inside, size_t inside_len)
{
    uint8_t text[17 + 32 + 32 + SEAL_BYTES_MAX], public[32], pair[64], point[32];
    size_t len = (size_t)inside[HAND_LENGTH_AT] << 8 | inside[HAND_LENGTH_AT + 1];

    if (len > inside_len - HAND_MESSAGE_AT)
        len = inside_len - HAND_MESSAGE_AT;
    crypto_sign_ed25519_seed_keypair(public, pair, secret);
    crypto_scalarmult_curve25519_base(point, ephemeral);
    memcpy(inside, public, 32);
    memcpy(text, "adit seal v1 sign", 17);
    memcpy(text + 17, to->key, 32);
    memcpy(text + 49, point, 32);
    memcpy(text + 81, inside + HAND_LENGTH_AT, 2 + len);
    crypto_sign_ed25519_detached(inside + HAND_SIGNATURE_AT, NULL, text, 83 + len, pair);
}

/* Encrypts any inside. Returns the length of the whole: inside_len + 73. */
static inline size_t hand_seal(const struct node_id *to, const uint8_t pass[20],
                               const uint8_t ephemeral[32], const uint8_t *inside,
                               size_t inside_len, uint8_t *out)
{
    static const uint8_t nonce[12], none[20];
    uint8_t point[32], shared[32], extracted[32], info[65], key[32], ad[41], proof[32];

    out[0] = 1;
    crypto_scalarmult_curve25519_base(out + 25, ephemeral);
    memset(out + 17, 0, 8);
    if (memcmp(pass, none, 20) != 0) {
        hand_hmac(pass + 4, 16, out + 25, 32, proof);
        memcpy(out + 17, pass, 4);
        memcpy(out + 21, proof, 4);
    }
    memset(shared, 0, sizeof(shared));
    if (crypto_sign_ed25519_pk_to_curve25519(point, to->key) != 0 ||
        crypto_scalarmult_curve25519(shared, ephemeral, point) != 0)
        return 0;
    hand_hmac((const uint8_t *)"adit seal v1", 12, shared, 32, extracted);
    memcpy(info, out + 25, 32);
    memcpy(info + 32, to->key, 32);
    info[64] = 1;
    hand_hmac(extracted, 32, info, sizeof(info), key);
    ad[0] = 1;
    memcpy(ad + 1, out + 17, 40);
    crypto_aead_chacha20poly1305_ietf_encrypt(out + 57, NULL, inside, inside_len, ad, sizeof(ad),
                                              NULL, nonce, key);
    hand_mac(to, out, inside_len + 73);
    return inside_len + 73;
}

#endif
