/* SPDX-License-Identifier: MIT */
/*
 * Seal: a message that only its recipient can read and only its sender can have made, for carriers
 * that are not trusted (docs/protocol-signal.md). seal.c has the theory.
 *
 *      0       1        17     21      25           57
 *     +-------+--------+------+-------+------------+-----------------------------------+------+
 *     | 1     | MAC    | name | proof | ephemeral  | encrypted: sender, signature,     | tag  |
 *     |       | 16     | 4    | 4     | X25519, 32 | length (2), message, padding      | 16   |
 *     +-------+--------+------+-------+------------+-----------------------------------+------+
 *
 *     MAC        the first 16 bytes of HMAC-SHA256(SHA-256("adit seal v1 mac" || recipient's ID),
 *                all that follows it): shows cheaply that the sender knows the recipient's ID
 *     name       of the pass (name and key) that both can make, or zeros
 *     proof      the first 4 bytes of HMAC-SHA256(the pass's key, ephemeral), or zeros: shows
 *                cheaply that the sender holds the pass. Who watches can only repeat the whole
 *     key        HKDF-SHA256(salt "adit seal v1", ikm X25519(ephemeral, recipient), info ephemeral
 *                || recipient's ID), 32 bytes; used once, so the nonce is zero. ChaCha20-Poly1305;
 *                version, name, proof and ephemeral are its additional data
 *     signature  Ed25519 of "adit seal v1 sign" || recipient's ID || ephemeral || length || message
 *     padding    zeros, so that the whole is a multiple of SEAL_PAD_BYTES
 */
#ifndef ADIT_CRYPTO_SEAL_H
#define ADIT_CRYPTO_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/identity.h"

#define SEAL_NAME_BYTES     4
#define SEAL_PASS_BYTES     20 /* name, and key of 16 */
#define SEAL_EPHEMERAL_AT   25
#define SEAL_HEAD_BYTES     57
#define SEAL_OVERHEAD_BYTES (SEAL_HEAD_BYTES + 32 + 64 + 2 + 16)
#define SEAL_PAD_BYTES      256
#define SEAL_BYTES_MAX      2048
#define SEAL_MESSAGE_MAX    (SEAL_BYTES_MAX - SEAL_OVERHEAD_BYTES)

/* The passes between two nodes, which both can make and nobody else: what `peer` shows to us, and
 * we to it. HKDF-SHA256(salt "adit pass v1", ikm X25519(own, peer), info sender's ID || recipient's
 * ID), SEAL_PASS_BYTES. 0, or ADIT_ECRYPTO and zeros (also when the peer's ID is no key). */
int seal_passes(const struct identity *own, const struct node_id *peer,
                uint8_t theirs[SEAL_PASS_BYTES], uint8_t ours[SEAL_PASS_BYTES]);

/* Seals a message of up to SEAL_MESSAGE_MAX bytes. pass: ours to the recipient; NULL or zeros:
 * none. Returns the length, a multiple of SEAL_PAD_BYTES up to SEAL_BYTES_MAX; -EMSGSIZE, or
 * ADIT_ECRYPTO (also when the recipient's ID is no key). */
int seal_build(const struct identity *from, const struct node_id *to,
               const uint8_t pass[SEAL_PASS_BYTES], const void *message, size_t len,
               uint8_t out[SEAL_BYTES_MAX]);
/* The same with a given ephemeral secret: for test vectors only. */
int seal_build_with(const struct identity *from, const struct node_id *to,
                    const uint8_t pass[SEAL_PASS_BYTES], const uint8_t ephemeral[32],
                    const void *message, size_t len, uint8_t out[SEAL_BYTES_MAX]);

/* The cheap look at what arrived, before any public-key work: form and MAC. 0, and the name of the
 * pass (zeros: none); or ADIT_EFORMAT, or ADIT_EAUTH: not meant for `own`. */
int seal_check(const struct node_id *own, const uint8_t *bytes, size_t len,
               uint8_t name[SEAL_NAME_BYTES]);
/* Of a seal that seal_check() took: whether its sender held this pass. */
bool seal_is_proven(const uint8_t *bytes, const uint8_t pass[SEAL_PASS_BYTES]);
/* Opens it, having checked as seal_check() does. The message's length, with *from; ADIT_EFORMAT,
 * ADIT_EAUTH (not for us, altered, or not signed by the sender it names), ADIT_ECRYPTO. message has
 * room for SEAL_MESSAGE_MAX bytes. */
int seal_open(const struct identity *own, const uint8_t *bytes, size_t len, struct node_id *from,
              uint8_t *message);

#endif
