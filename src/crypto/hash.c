/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Thin covers of the library's functions: pure, nothing kept, the library's error queue left empty.
 * CRC-32 is our own, with a table of 16 entries made by the compiler: two steps a byte are enough
 * for the few hundred bytes of a STUN message.
 */
#include "crypto/hash.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/err.h"

static int failed(uint8_t *out, size_t len)
{
    memset(out, 0, len);
    ERR_clear_error();
    return ADIT_ECRYPTO;
}

int hash_sha256(const void *bytes, size_t len, uint8_t hash[HASH_BYTES])
{
    return EVP_Digest(bytes, len, hash, NULL, EVP_sha256(), NULL) == 1 ? 0
                                                                       : failed(hash, HASH_BYTES);
}

/* A stream is the library's context by another name. */
static EVP_MD_CTX *context_of(struct hash_stream *stream)
{
    return (EVP_MD_CTX *)(void *)stream;
}

struct hash_stream *hash_stream_new(void)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(context);
        context = NULL;
    }
    return (struct hash_stream *)(void *)context;
}

int hash_stream_add(struct hash_stream *stream, const void *bytes, size_t len)
{
    return EVP_DigestUpdate(context_of(stream), bytes, len) == 1 ? 0 : ADIT_ECRYPTO;
}

int hash_stream_end(struct hash_stream *stream, uint8_t hash[HASH_BYTES])
{
    int rc = EVP_DigestFinal_ex(context_of(stream), hash, NULL) == 1 ? 0 : failed(hash, HASH_BYTES);

    hash_stream_free(stream);
    return rc;
}

void hash_stream_free(struct hash_stream *stream)
{
    EVP_MD_CTX_free(context_of(stream));
}

int hash_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len,
                     uint8_t mac[HASH_BYTES])
{
    unsigned mac_len = HASH_BYTES;

    return HMAC(EVP_sha256(), key, (int)key_len, bytes, len, mac, &mac_len)
               ? 0
               : failed(mac, HASH_BYTES);
}

int hash_md5(const void *bytes, size_t len, uint8_t hash[HASH_MD5_BYTES])
{
    return EVP_Digest(bytes, len, hash, NULL, EVP_md5(), NULL) == 1 ? 0
                                                                    : failed(hash, HASH_MD5_BYTES);
}

int hash_hmac_sha1(const void *key, size_t key_len, const void *bytes, size_t len,
                   uint8_t mac[HASH_SHA1_BYTES])
{
    unsigned mac_len = HASH_SHA1_BYTES;

    return HMAC(EVP_sha1(), key, (int)key_len, bytes, len, mac, &mac_len)
               ? 0
               : failed(mac, HASH_SHA1_BYTES);
}

/* The remainder of a nibble, by the reversed polynomial. */
#define CRC_STEP(r)  ((r) >> 1 ^ ((r)&1 ? UINT32_C(0xEDB88320) : 0))
#define CRC_ENTRY(n) CRC_STEP(CRC_STEP(CRC_STEP(CRC_STEP(UINT32_C(n)))))

uint32_t hash_crc32(const void *bytes, size_t len)
{
    static const uint32_t table[16] = {CRC_ENTRY(0),  CRC_ENTRY(1),  CRC_ENTRY(2),  CRC_ENTRY(3),
                                       CRC_ENTRY(4),  CRC_ENTRY(5),  CRC_ENTRY(6),  CRC_ENTRY(7),
                                       CRC_ENTRY(8),  CRC_ENTRY(9),  CRC_ENTRY(10), CRC_ENTRY(11),
                                       CRC_ENTRY(12), CRC_ENTRY(13), CRC_ENTRY(14), CRC_ENTRY(15)};
    const uint8_t *at = bytes;
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

void hash_base64(const void *bytes, size_t len, char *out)
{
    EVP_EncodeBlock((unsigned char *)out, bytes, (int)len);
}

bool hash_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void hash_wipe(void *bytes, size_t len)
{
    OPENSSL_cleanse(bytes, len);
}
