/* SPDX-License-Identifier: MIT */
/*
 * Hashes: SHA-256 (FIPS 180-4), HMAC-SHA256 (RFC 2104) and a comparison for secrets, for those who
 * may not include the crypto library.
 */
#ifndef ADIT_CRYPTO_HASH_H
#define ADIT_CRYPTO_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES 32

/* 0 or ADIT_ECRYPTO (and hash all zero). */
int hash_sha256(const void *bytes, size_t len, uint8_t hash[HASH_BYTES]);
int hash_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len,
                     uint8_t mac[HASH_BYTES]);
/* Compares in a time that does not depend on what is equal. */
bool hash_equal(const void *a, const void *b, size_t len);
/* Overwrites a secret, in a way that the compiler does not leave out. */
void hash_wipe(void *bytes, size_t len);

#endif
