/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: keys and records against the traces of RFC 8448 section 3 (a 1-RTT
 * handshake); records there and back, and what is wrong with the wrong ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <string.h>

#include "base/err.h"
#include "crypto/tls_record.h"

static const uint8_t client_secret[TLS_SECRET_BYTES] = {
    0x9e, 0x40, 0x64, 0x6c, 0xe7, 0x9a, 0x7f, 0x9d, 0xc0, 0x5a, 0xf8, 0x88, 0x9b, 0xce, 0x65, 0x52,
    0x87, 0x5a, 0xfa, 0x0b, 0x06, 0xdf, 0x00, 0x87, 0xf7, 0x92, 0xeb, 0xb7, 0xc1, 0x75, 0x04, 0xa5};

/* "send application_data record", the client's. */
static const uint8_t client_record[] = {
    0x17, 0x03, 0x03, 0x00, 0x43, 0xa2, 0x3f, 0x70, 0x54, 0xb6, 0x2c, 0x94, 0xd0, 0xaf, 0xfa,
    0xfe, 0x82, 0x28, 0xba, 0x55, 0xcb, 0xef, 0xac, 0xea, 0x42, 0xf9, 0x14, 0xaa, 0x66, 0xbc,
    0xab, 0x3f, 0x2b, 0x98, 0x19, 0xa8, 0xa5, 0xb4, 0x6b, 0x39, 0x5b, 0xd5, 0x4a, 0x9a, 0x20,
    0x44, 0x1e, 0x2b, 0x62, 0x97, 0x4e, 0x1f, 0x5a, 0x62, 0x92, 0xa2, 0x97, 0x70, 0x14, 0xbd,
    0x1e, 0x3d, 0xea, 0xe6, 0x3a, 0xee, 0xbb, 0x21, 0x69, 0x49, 0x15, 0xe4};

static void trace(void **state)
{
    (void)state;
    static const uint8_t write_key[] = {0x17, 0x42, 0x2d, 0xda, 0x59, 0x6e, 0xd5, 0xd9,
                                        0xac, 0xd8, 0x90, 0xe3, 0xc6, 0x3f, 0x50, 0x51};
    static const uint8_t iv[] = {0x5b, 0x78, 0x92, 0x3d, 0xee, 0x08,
                                 0x57, 0x90, 0x33, 0xe5, 0x23, 0xd9};
    uint8_t bytes[16], data[50], record[sizeof client_record], opened[TLS_RECORD_DATA_MAX];
    enum tls_content content;
    struct tls_key seal, open;

    assert_int_equal(tls_expand_label(client_secret, "key", bytes, 16), 0);
    assert_memory_equal(bytes, write_key, 16);
    assert_int_equal(tls_key_init(&seal, TLS_AES_128_GCM, client_secret, true), 0);
    assert_int_equal(tls_key_init(&open, TLS_AES_128_GCM, client_secret, false), 0);
    assert_memory_equal(seal.iv, iv, sizeof iv);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)i;
    assert_int_equal(tls_record_seal(&seal, TLS_DATA, data, sizeof data, record), 0);
    assert_memory_equal(record, client_record, sizeof record);
    assert_int_equal(tls_record_length(record, sizeof record), sizeof record);
    assert_int_equal(tls_record_open(&open, record, sizeof record, opened, &content), sizeof data);
    assert_int_equal(content, TLS_DATA);
    assert_memory_equal(opened, data, sizeof data);
    /* "send alert record", of 2 bytes, with the next sequence number. */
    assert_int_equal(tls_record_seal(&seal, TLS_ALERT, "\x01\x00", 2, record), 0);
    assert_memory_equal(record,
                        "\x17\x03\x03\x00\x13\xc9\x87\x27\x60\x65\x56\x66\xb7\x4d\x7f\xf1"
                        "\x15\x3e\xfd\x6d\xb6\xd0\xb0\xe3",
                        24);
    tls_key_free(&seal);
    tls_key_free(&open);
}

static const enum tls_suite suites[] = {TLS_AES_128_GCM, TLS_CHACHA20};

static void there_and_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        0, 1, 15, 16, 17, 1000, TLS_RECORD_DATA_MAX - 1, TLS_RECORD_DATA_MAX};
    static uint8_t data[TLS_RECORD_DATA_MAX], opened[TLS_RECORD_DATA_MAX], record[TLS_RECORD_MAX];
    enum tls_content content;

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    for (size_t s = 0; s < 2; s++) {
        struct tls_key seal, open;

        assert_int_equal(tls_key_init(&seal, suites[s], client_secret, true), 0);
        assert_int_equal(tls_key_init(&open, suites[s], client_secret, false), 0);
        for (size_t i = 0; i < 3 * sizeof sizes / sizeof sizes[0]; i++) {
            size_t len = sizes[i % (sizeof sizes / sizeof sizes[0])];

            assert_int_equal(tls_record_seal(&seal, TLS_DATA, data, len, record), 0);
            assert_int_equal(tls_record_length(record, 4), 0);
            assert_int_equal(tls_record_length(record, 5), len + TLS_RECORD_OVERHEAD_BYTES);
            assert_int_equal(
                tls_record_open(&open, record, len + TLS_RECORD_OVERHEAD_BYTES, opened, &content),
                len);
            assert_memory_equal(opened, data, len);
            if (i % 5 == 4) {
                assert_int_equal(tls_key_update(&seal), 0);
                assert_int_equal(tls_key_update(&open), 0);
                assert_int_equal(seal.sequence, 0);
            }
        }
        tls_key_free(&seal);
        tls_key_free(&open);
    }
}

static int reopen(enum tls_suite suite, uint64_t sequence, const uint8_t *record, size_t len)
{
    static uint8_t opened[TLS_RECORD_DATA_MAX];
    enum tls_content content;
    struct tls_key open;
    int result;

    assert_int_equal(tls_key_init(&open, suite, client_secret, false), 0);
    open.sequence = sequence;
    result = tls_record_open(&open, record, len, opened, &content);
    tls_key_free(&open);
    assert_int_equal(ERR_peek_error(), 0);
    return result;
}

static void wrong_ones(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++) {
        uint8_t record[100 + TLS_RECORD_OVERHEAD_BYTES], data[100] = {1};
        struct tls_key seal;

        assert_int_equal(tls_key_init(&seal, suites[s], client_secret, true), 0);
        assert_int_equal(tls_record_seal(&seal, TLS_DATA, data, sizeof data, record), 0);
        assert_int_equal(reopen(suites[s], 0, record, sizeof record), sizeof data);
        assert_int_equal(reopen(suites[s], 1, record, sizeof record), ADIT_EPROTO);
        assert_int_equal(reopen(suites[s], 0, record, sizeof record - 1), ADIT_EPROTO);
        for (size_t i = 0; i < sizeof record; i++) {
            record[i] ^= 1;
            assert_int_equal(reopen(suites[s], 0, record, sizeof record), ADIT_EPROTO);
            record[i] ^= 1;
        }
        tls_key_free(&seal);
    }
    static const uint8_t headers[][5] = {{22, 3, 3, 0, 50}, {23, 3, 1, 0, 50},  {23, 2, 3, 0, 50},
                                         {23, 3, 3, 0, 16}, {23, 3, 3, 0, 0},   {23, 3, 3, 0x41, 1},
                                         {20, 3, 3, 0, 1},  {23, 3, 3, 0xff, 0}};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        assert_int_equal(tls_record_length(headers[i], 5), ADIT_EPROTO);
    assert_int_equal(tls_record_length((const uint8_t[]){23, 3, 3, 0x41, 0}, 5), TLS_RECORD_MAX);
}

/* Padding is removed. It is made here by sealing data that ends like an inner plaintext: the type
 * that seal adds, 0, is padding then. */
static void padding(void **state)
{
    (void)state;
    static uint8_t data[TLS_RECORD_DATA_MAX + 256], record[TLS_RECORD_MAX + 256];
    /* Inner plaintexts: bytes before the content type, and zeros after it. */
    static const struct {
        size_t before, zeros;
        int expected;
    } cases[] = {{10, 1, 10},
                 {10, 100, 10},
                 {0, 50, 0},
                 {TLS_RECORD_DATA_MAX - 1, 1, TLS_RECORD_DATA_MAX - 1},
                 {TLS_RECORD_DATA_MAX, 200, TLS_RECORD_DATA_MAX},
                 {TLS_RECORD_DATA_MAX + 1, 1, ADIT_EPROTO}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len = cases[i].before + cases[i].zeros;
        struct tls_key seal;

        memset(data, 'x', cases[i].before);
        data[cases[i].before] = TLS_DATA;
        memset(data + cases[i].before + 1, 0, cases[i].zeros);
        assert_int_equal(tls_key_init(&seal, TLS_AES_128_GCM, client_secret, true), 0);
        assert_int_equal(tls_record_seal(&seal, (enum tls_content)0, data, len, record), 0);
        assert_int_equal(reopen(TLS_AES_128_GCM, 0, record, len + TLS_RECORD_OVERHEAD_BYTES),
                         cases[i].expected);
        tls_key_free(&seal);
    }
    /* Nothing but zeros; and an unknown type. */
    struct tls_key seal;
    memset(data, 0, 10);
    assert_int_equal(tls_key_init(&seal, TLS_AES_128_GCM, client_secret, true), 0);
    assert_int_equal(tls_record_seal(&seal, (enum tls_content)0, data, 10, record), 0);
    assert_int_equal(reopen(TLS_AES_128_GCM, 0, record, 10 + TLS_RECORD_OVERHEAD_BYTES),
                     ADIT_EPROTO);
    assert_int_equal(tls_record_seal(&seal, (enum tls_content)20, data, 10, record), 0);
    assert_int_equal(reopen(TLS_AES_128_GCM, 1, record, 10 + TLS_RECORD_OVERHEAD_BYTES),
                     ADIT_EPROTO);
    tls_key_free(&seal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(wrong_ones),
        cmocka_unit_test(padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
