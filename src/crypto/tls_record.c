/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The TLS library makes the handshake: all of the negotiation, certificates and key agreement. What
 * comes after it, protecting records with keys that follow from two secrets, is a page of RFC 8446,
 * and the library's way of doing it costs two copies of every byte, a system call each way for
 * every record, and a hundred small calls. Here a record is encrypted from where its data lies into
 * the buffer that is sent, and decrypted from the buffer that was read into the block that is
 * delivered; the ciphers are the library's. That saves a quarter of a path's CPU time outside the
 * kernel, about an eighth of all of it (tests/bench/tls_pipe_bench.c). What is on the wire is plain
 * TLS 1.3, which tests/unit/test_tls.c shows against the library's own record layer at the other
 * end, and test_tls_record.c with RFC 8448's traces.
 *
 * A nonce is the sequence number of its record, so it cannot repeat under one key as long as a key
 * has one user: a tls_key belongs to one direction of one connection and is never copied. Both
 * directions count from 0; neither sends more than 2^64 records. A failure to open is final for its
 * connection: the caller ends it.
 *
 * Padding is accepted and never sent. Limits: those of RFC 8446 5.2; how much one key may protect
 * (5.5) is the caller's affair: `bytes` counts it.
 */
#include "crypto/tls_record.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/err.h"

#define TAG_BYTES  16
#define LABEL_MAX  32 /* of those used here, with "tls13 " */
#define OUTER_TYPE 23
#define VERSION    0x03 /* twice: 0x0303 */

int tls_expand_label(const uint8_t secret[TLS_SECRET_BYTES], const char *label, uint8_t *out,
                     size_t len)
{
    /* HkdfLabel: length, 2 bytes; label with its length; context with its length, 0; then
     * HKDF-Expand's counter. */
    uint8_t info[2 + 1 + LABEL_MAX + 1 + 1] = {0, (uint8_t)len}, block[HASH_BYTES];
    size_t label_len = 6 + strlen(label), n = 3;
    int result;

    if (label_len > LABEL_MAX || len > HASH_BYTES)
        return ADIT_ECRYPTO;
    info[2] = (uint8_t)label_len;
    memcpy(info + n, "tls13 ", 6);
    memcpy(info + n + 6, label, label_len - 6);
    n += label_len;
    info[n++] = 0;
    info[n++] = 1;
    result = hash_hmac_sha256(secret, TLS_SECRET_BYTES, info, n, block);
    memcpy(out, block, len);
    hash_wipe(block, sizeof block);
    return result;
}

static int library_failed(void)
{
    ERR_clear_error();
    return ADIT_ECRYPTO;
}

/* Sets cipher and IV from the secret, and counts from 0. */
static int key_derive(struct tls_key *key)
{
    uint8_t bytes[TLS_KEY_MAX];
    const EVP_CIPHER *cipher = NULL;
    size_t len = 0;
    int result;

    switch (key->suite) {
    case TLS_AES_128_GCM:
        cipher = EVP_aes_128_gcm();
        len = 16;
        break;
    case TLS_CHACHA20:
        cipher = EVP_chacha20_poly1305();
        len = 32;
        break;
    }
    if (!cipher)
        return ADIT_ECRYPTO;
    key->sequence = key->bytes = 0;
    result = tls_expand_label(key->secret, "key", bytes, len);
    if (result == 0)
        result = tls_expand_label(key->secret, "iv", key->iv, sizeof key->iv);
    if (result == 0 && EVP_CipherInit_ex(key->cipher, cipher, NULL, bytes, NULL, key->seals) != 1)
        result = library_failed();
    hash_wipe(bytes, sizeof bytes);
    return result;
}

int tls_key_init(struct tls_key *key, enum tls_suite suite, const uint8_t secret[TLS_SECRET_BYTES],
                 bool seals)
{
    memset(key, 0, sizeof *key);
    key->suite = suite;
    key->seals = seals;
    memcpy(key->secret, secret, sizeof key->secret);
    key->cipher = EVP_CIPHER_CTX_new();
    return key->cipher ? key_derive(key) : library_failed();
}

int tls_key_update(struct tls_key *key)
{
    uint8_t next[TLS_SECRET_BYTES];
    int result = tls_expand_label(key->secret, "traffic upd", next, sizeof next);

    memcpy(key->secret, next, sizeof next);
    hash_wipe(next, sizeof next);
    return result == 0 ? key_derive(key) : result;
}

void tls_key_free(struct tls_key *key)
{
    EVP_CIPHER_CTX_free(key->cipher);
    hash_wipe(key, sizeof *key);
}

/* Begins the next record: its nonce (RFC 8446 5.3) and the header as additional data. */
static bool begin_record(struct tls_key *key, const uint8_t *header)
{
    uint8_t nonce[TLS_IV_BYTES];
    int n;

    memcpy(nonce, key->iv, sizeof nonce);
    for (int i = 0; i < 8; i++)
        nonce[TLS_IV_BYTES - 1 - i] ^= (uint8_t)(key->sequence >> (8 * i));
    key->sequence++;
    return EVP_CipherInit_ex(key->cipher, NULL, NULL, NULL, nonce, -1) == 1 &&
           EVP_CipherUpdate(key->cipher, NULL, &n, header, TLS_RECORD_HEADER_BYTES) == 1;
}

int tls_record_seal(struct tls_key *key, enum tls_content content, const void *data, size_t len,
                    uint8_t *out)
{
    size_t length = len + TLS_RECORD_OVERHEAD_BYTES - TLS_RECORD_HEADER_BYTES;
    uint8_t *body = out + TLS_RECORD_HEADER_BYTES, type = (uint8_t)content;
    int n;

    out[0] = OUTER_TYPE;
    out[1] = out[2] = VERSION;
    out[3] = (uint8_t)(length >> 8);
    out[4] = (uint8_t)length;
    key->bytes += len;
    if (!begin_record(key, out) ||
        (len > 0 && EVP_CipherUpdate(key->cipher, body, &n, data, (int)len) != 1) ||
        EVP_CipherUpdate(key->cipher, body + len, &n, &type, 1) != 1 ||
        EVP_CipherFinal_ex(key->cipher, body + len + 1, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(key->cipher, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, body + len + 1) != 1)
        return library_failed();
    return 0;
}

int tls_record_length(const uint8_t *bytes, size_t len)
{
    size_t length;

    if (len < TLS_RECORD_HEADER_BYTES)
        return 0;
    length = (size_t)bytes[3] << 8 | bytes[4];
    if (bytes[0] != OUTER_TYPE || bytes[1] != VERSION || bytes[2] != VERSION ||
        length < TAG_BYTES + 1 || length > TLS_RECORD_MAX - TLS_RECORD_HEADER_BYTES)
        return ADIT_EPROTO;
    return (int)(TLS_RECORD_HEADER_BYTES + length);
}

int tls_record_open(struct tls_key *key, const uint8_t *record, size_t len, uint8_t *out,
                    enum tls_content *content)
{
    const uint8_t *body = record + TLS_RECORD_HEADER_BYTES;
    size_t inner = len - TLS_RECORD_HEADER_BYTES - TAG_BYTES; /* data, content type, padding */
    size_t fit = inner - 1 < TLS_RECORD_DATA_MAX ? inner - 1 : TLS_RECORD_DATA_MAX;
    uint8_t rest[256],
        type; /* what does not fit out: the type, or padding; at most 256 - 16 bytes */
    int n;

    if (!begin_record(key, record) ||
        EVP_CIPHER_CTX_ctrl(key->cipher, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES,
                            (void *)(uintptr_t)(body + inner)) != 1 ||
        (fit > 0 && EVP_CipherUpdate(key->cipher, out, &n, body, (int)fit) != 1) ||
        EVP_CipherUpdate(key->cipher, rest, &n, body + fit, (int)(inner - fit)) != 1 ||
        EVP_CipherFinal_ex(key->cipher, rest, &n) != 1) {
        library_failed();
        return ADIT_EPROTO;
    }
    key->bytes += inner;
    /* The content type is the last byte that is not 0 (RFC 8446 5.4). */
    while (inner > fit && rest[inner - fit - 1] == 0)
        inner--;
    if (inner > fit) {
        type = rest[inner - fit - 1];
    } else {
        while (inner > 0 && out[inner - 1] == 0)
            inner--;
        if (inner == 0)
            return ADIT_EPROTO;
        type = out[inner - 1];
    }
    if (inner - 1 > TLS_RECORD_DATA_MAX || type < TLS_ALERT || type > TLS_DATA)
        return ADIT_EPROTO;
    *content = (enum tls_content)type;
    return (int)(inner - 1);
}
