/* SPDX-License-Identifier: MIT */
/*
 * TLS records: the record layer of TLS 1.3 (RFC 8446 section 5) for a connection whose handshake
 * the TLS library has made. See tls_record.c for why.
 *
 *      0       1         3        5
 *     +-------+---------+--------+--------------------------------------+----------+
 *     | 23    | 0x0303  | length | encrypted: data, content type, 0 ... | tag, 16  |
 *     +-------+---------+--------+--------------------------------------+----------+
 */
#ifndef ADIT_CRYPTO_TLS_RECORD_H
#define ADIT_CRYPTO_TLS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/hash.h"

#define TLS_RECORD_HEADER_BYTES   5
#define TLS_RECORD_OVERHEAD_BYTES 22 /* header, content type, tag */
#define TLS_RECORD_DATA_MAX       16384
/* RFC 8446 5.2 */
#define TLS_RECORD_MAX   (TLS_RECORD_HEADER_BYTES + TLS_RECORD_DATA_MAX + 256)
#define TLS_SECRET_BYTES HASH_BYTES
#define TLS_IV_BYTES     12
#define TLS_KEY_MAX      32

enum tls_content { TLS_ALERT = 21, TLS_HANDSHAKE_MESSAGE = 22, TLS_DATA = 23 };
enum tls_suite { TLS_AES_128_GCM = 0x1301, TLS_CHACHA20 = 0x1303 };

struct evp_cipher_ctx_st; /* EVP_CIPHER_CTX */

/* One direction's key. */
struct tls_key {
    struct evp_cipher_ctx_st *cipher; /* NULL: none */
    enum tls_suite suite;
    bool seals;
    uint8_t iv[TLS_IV_BYTES];
    uint8_t secret[TLS_SECRET_BYTES]; /* the next key comes from it */
    uint64_t sequence;
    uint64_t bytes; /* protected with this key */
};

/* Makes the key that follows from a traffic secret (RFC 8446 7.3). 0 or ADIT_ECRYPTO. */
int tls_key_init(struct tls_key *key, enum tls_suite suite, const uint8_t secret[TLS_SECRET_BYTES],
                 bool seals);
/* Moves on to the next key, after KeyUpdate (RFC 8446 7.2). 0 or ADIT_ECRYPTO. */
int tls_key_update(struct tls_key *key);
void tls_key_free(struct tls_key *key); /* wipes it; a zeroed one is fine */

/* Writes len + TLS_RECORD_OVERHEAD_BYTES bytes to out: one record with data of 0 to
 * TLS_RECORD_DATA_MAX bytes. 0 or ADIT_ECRYPTO. data and out do not overlap. */
int tls_record_seal(struct tls_key *key, enum tls_content content, const void *data, size_t len,
                    uint8_t *out);

/* The length of the record at the start of what arrived, header included. 0: the header is not
 * complete; ADIT_EPROTO: no encrypted record. */
int tls_record_length(const uint8_t *bytes, size_t len);
/* Opens a complete record into out, TLS_RECORD_DATA_MAX bytes. Data bytes and *content, or
 * ADIT_EPROTO: not authentic, or not allowed. */
int tls_record_open(struct tls_key *key, const uint8_t *record, size_t len, uint8_t *out,
                    enum tls_content *content);

/* HKDF-Expand-Label (RFC 8446 7.1) of SHA-256 with an empty context, up to HASH_BYTES. 0 or
 * ADIT_ECRYPTO. */
int tls_expand_label(const uint8_t secret[TLS_SECRET_BYTES], const char *label, uint8_t *out,
                     size_t len);

#endif
