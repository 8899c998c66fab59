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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
