/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Thin covers of the library's functions: pure, nothing kept, the library's error queue left empty.
 */
#include "crypto/hash.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "base/err.h"

static int failed(uint8_t *out)
{
    memset(out, 0, HASH_BYTES);
    ERR_clear_error();
    return ADIT_ECRYPTO;
}

int hash_sha256(const void *bytes, size_t len, uint8_t hash[HASH_BYTES])
{
    return EVP_Digest(bytes, len, hash, NULL, EVP_sha256(), NULL) == 1 ? 0 : failed(hash);
}

int hash_hmac_sha256(const void *key, size_t key_len, const void *bytes, size_t len,
                     uint8_t mac[HASH_BYTES])
{
    unsigned mac_len = HASH_BYTES;

    return HMAC(EVP_sha256(), key, (int)key_len, bytes, len, mac, &mac_len) ? 0 : failed(mac);
}

bool hash_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}

void hash_wipe(void *bytes, size_t len)
{
    OPENSSL_cleanse(bytes, len);
}
