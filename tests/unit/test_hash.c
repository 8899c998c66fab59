/* SPDX-License-Identifier: MIT */
/* Theory of operation: hashes against the vectors of FIPS 180-4 and RFC 4231. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "crypto/hash.h"

static void vectors(void **state)
{
    (void)state;
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                  0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                  0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const uint8_t jefe[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
                                   0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
                                   0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    uint8_t hash[HASH_BYTES];

    assert_int_equal(hash_sha256("abc", 3, hash), 0);
    assert_memory_equal(hash, abc, sizeof abc);
    assert_int_equal(hash_hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, hash), 0);
    assert_memory_equal(hash, jefe, sizeof jefe);
    assert_true(hash_equal(hash, jefe, sizeof jefe));
    hash[31] ^= 1;
    assert_false(hash_equal(hash, jefe, sizeof jefe));
    hash_wipe(hash, sizeof hash);
    assert_memory_equal(hash, (uint8_t[HASH_BYTES]){0}, sizeof hash);
}

/* RFC 1321 A.5, RFC 2202 3, RFC 4648 10, and the check value of CRC-32. */
static void hashes_of_stun(void **state)
{
    (void)state;
    static const uint8_t md5[] = {0x90, 0x01, 0x50, 0x98, 0x3c, 0xd2, 0x4f, 0xb0,
                                  0xd6, 0x96, 0x3f, 0x7d, 0x28, 0xe1, 0x7f, 0x72};
    static const uint8_t jefe[] = {0xef, 0xfc, 0xdf, 0x6a, 0xe5, 0xeb, 0x2f, 0xa2, 0xd2, 0x74,
                                   0x16, 0xd5, 0xf1, 0x84, 0xdf, 0x9c, 0x25, 0x9a, 0x7c, 0x79};
    uint8_t hash[HASH_BYTES];
    char text[HASH_BASE64_BYTES(6)];

    assert_int_equal(hash_md5("abc", 3, hash), 0);
    assert_memory_equal(hash, md5, sizeof md5);
    assert_int_equal(hash_hmac_sha1("Jefe", 4, "what do ya want for nothing?", 28, hash), 0);
    assert_memory_equal(hash, jefe, sizeof jefe);
    assert_true(hash_crc32("123456789", 9) == 0xCBF43926);
    assert_true(hash_crc32("", 0) == 0);
    for (size_t len = 0; len <= 6; len++) {
        static const char *const want[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                           "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
        hash_base64("foobar", len, text);
        assert_string_equal(text, want[len]);
    }
}

static void hash_in_pieces(void **state)
{
    (void)state;
    uint8_t once[HASH_BYTES], pieces[HASH_BYTES], bytes[1000];
    struct hash_stream *stream = hash_stream_new();

    memset(bytes, 'b', sizeof(bytes));
    assert_int_equal(hash_sha256(bytes, sizeof(bytes), once), 0);
    for (size_t at = 0, len = 1; at < sizeof(bytes); at += len, len *= 2) {
        if (len > sizeof(bytes) - at)
            len = sizeof(bytes) - at;
        assert_int_equal(hash_stream_add(stream, bytes + at, len), 0);
    }
    assert_int_equal(hash_stream_end(stream, pieces), 0);
    assert_memory_equal(once, pieces, HASH_BYTES);
    hash_stream_free(hash_stream_new());
    hash_stream_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(hashes_of_stun),
                                       cmocka_unit_test(hash_in_pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
