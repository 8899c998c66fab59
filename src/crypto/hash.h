/* SPDX-License-Identifier: MIT */
/*
 * Hashes: SHA-256 (FIPS 180-4), HMAC-SHA256 (RFC 2104) and a comparison for secrets, for those who
 * may not include the crypto library. MD5, HMAC-SHA1 and CRC-32 are here because STUN asks for them
 * (RFC 8489); nothing else uses them.
 */
#ifndef ADIT_CRYPTO_HASH_H
#define ADIT_CRYPTO_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_BYTES      32
#define HASH_MD5_BYTES  16
#define HASH_SHA1_BYTES 20

/* 0 or ADIT_ECRYPTO (and hash all zero). */
int hash_sha256(const void *bytes, size_t len, uint8_t hash[HASH_BYTES]);
/* SHA-256 of what comes in pieces. new: NULL: no memory. add, end: 0 or ADIT_ECRYPTO; end frees it,
 * and so does free (NULL: nothing). */
struct hash_stream;
struct hash_stream *hash_stream_new(void);
int hash_stream_add(struct hash_stream *stream, const void *bytes, size_t len);
int hash_stream_end(struct hash_stream *stream, uint8_t hash[HASH_BYTES]);
void hash_stream_free(struct hash_stream *stream);
int hash_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len,
                     uint8_t mac[HASH_BYTES]);
/* 0 or ADIT_ECRYPTO: also where the system's policy forbids these. */
int hash_md5(const void *bytes, size_t len, uint8_t hash[HASH_MD5_BYTES]);
int hash_hmac_sha1(const void *key, size_t key_len, const void *bytes, size_t len,
                   uint8_t mac[HASH_SHA1_BYTES]);
/* CRC-32 of ITU-T V.42 and IEEE 802.3. */
uint32_t hash_crc32(const void *bytes, size_t len);
/* Base64 with padding (RFC 4648 4) and a NUL: HASH_BASE64_BYTES(len) in out. */
#define HASH_BASE64_BYTES(len) (((len) + 2) / 3 * 4 + 1)
void hash_base64(const void *bytes, size_t len, char *out);
/* Compares in a time that does not depend on what is equal. */
bool hash_equal(const void *a, const void *b, size_t len);
/* Overwrites a secret, in a way that the compiler does not leave out. */
void hash_wipe(void *bytes, size_t len);

#endif
