/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the codec of STUN messages: what is built is read again the same, vectors
 * come out as the RFCs say, what is malformed is refused, and no byte beyond the input is touched
 * (each input is an allocation of its own, so that the sanitizer watches).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "stun/channel.h"
#include "stun/stun.h"
#include "stun_vectors.h"

static const struct stun_id id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};

/* Parses a copy of just the right size; the message points into it, until free(copy). */
static int parse_copy(const uint8_t *bytes, size_t len, struct stun_message *message,
                      uint8_t **copy)
{
    *copy = malloc(len ? len : 1);
    assert_non_null(*copy);
    memcpy(*copy, bytes, len);
    return stun_parse(*copy, len, message);
}

static int parse_only(const uint8_t *bytes, size_t len)
{
    struct stun_message message;
    uint8_t *copy;
    int result = parse_copy(bytes, len, &message, &copy);

    free(copy);
    return result;
}

static void types_of_messages(void **state)
{
    (void)state;
    /* RFC 8489 5, RFC 8656 17, RFC 6062 6 */
    static const struct {
        uint16_t type, method;
        enum stun_class class;
    } types[] = {
        {0x0001, STUN_METHOD_BINDING, STUN_REQUEST},
        {0x0011, STUN_METHOD_BINDING, STUN_INDICATION},
        {0x0101, STUN_METHOD_BINDING, STUN_SUCCESS},
        {0x0111, STUN_METHOD_BINDING, STUN_ERROR},
        {0x0003, STUN_METHOD_ALLOCATE, STUN_REQUEST},
        {0x0104, STUN_METHOD_REFRESH, STUN_SUCCESS},
        {0x0016, STUN_METHOD_SEND, STUN_INDICATION},
        {0x0017, STUN_METHOD_DATA, STUN_INDICATION},
        {0x0118, STUN_METHOD_CREATE_PERMISSION, STUN_ERROR},
        {0x0009, STUN_METHOD_CHANNEL_BIND, STUN_REQUEST},
        {0x000A, STUN_METHOD_CONNECT, STUN_REQUEST},
        {0x010B, STUN_METHOD_CONNECTION_BIND, STUN_SUCCESS},
        {0x001C, STUN_METHOD_CONNECTION_ATTEMPT, STUN_INDICATION},
        {0x3EEF, 0xFFF, STUN_REQUEST},
        {0x3FFF, 0xFFF, STUN_ERROR},
    };

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        uint8_t bytes[STUN_HEADER_BYTES];
        struct stun_builder b;
        struct stun_message m;

        stun_build(&b, bytes, sizeof(bytes), types[i].method, types[i].class, &id);
        assert_int_equal(stun_built(&b), STUN_HEADER_BYTES);
        assert_int_equal(bytes[0] << 8 | bytes[1], types[i].type);
        assert_int_equal(stun_parse(bytes, sizeof(bytes), &m), STUN_HEADER_BYTES);
        assert_int_equal(m.method, types[i].method);
        assert_int_equal(m.class, types[i].class);
        assert_true(stun_id_equal(&m.id, &id));
        assert_int_equal(m.count, 0);
    }
}

static void headers(void **state)
{
    (void)state;
    uint8_t good[64], bytes[64];
    struct stun_builder b;
    size_t len;

    stun_build(&b, good, sizeof(good), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    stun_put_text(&b, STUN_ATTR_SOFTWARE, "adit"); /* 4 + 4 */
    stun_put_text(&b, STUN_ATTR_SOFTWARE, "x");    /* 4 + 1 + 3 */
    len = (size_t)stun_built(&b);
    assert_int_equal(len, STUN_HEADER_BYTES + 16);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(parse_only(good, i), 0); /* more is needed */
    assert_int_equal(parse_only(good, len), len);
    memcpy(bytes, good, len);
    memset(bytes + len, 0xAA, sizeof(bytes) - len);
    struct stun_message m;
    assert_int_equal(stun_parse(bytes, len + 7, &m), len); /* of a stream: the rest is not ours */
    assert_int_equal(stun_parse_datagram(bytes, len + 7, &m), ADIT_EFORMAT);
    assert_int_equal(stun_parse_datagram(bytes, len - 1, &m), ADIT_EFORMAT);
    assert_int_equal(stun_parse_datagram(bytes, len, &m), 0);
    bytes[len - 2] = 0x55; /* padding may be anything */
    assert_int_equal(parse_only(bytes, len), len);

    static const struct {
        size_t at;
        uint8_t value;
    } bad[] = {
        {0, 0x40},      {0, 0x80}, {3, 17},   {3, 18},
        {3, 3},         {4, 0x22}, {7, 0x43}, {20 + 3, 13}, /* the first does not fit */
        {28 + 3, 5},                                        /* the second does not fit */
        {28 + 2, 0xFF},                                     /* nor so */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memcpy(bytes, good, len);
        bytes[bad[i].at] = bad[i].value;
        assert_int_equal(parse_only(bytes, len), ADIT_EFORMAT);
    }
}

static void attribute_table_is_bounded(void **state)
{
    (void)state;
    static uint8_t bytes[STUN_MESSAGE_MAX];
    struct stun_builder b;

    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    for (int i = 0; i < STUN_ATTRS_MAX; i++)
        stun_put_flag(&b, STUN_ATTR_PADDING);
    assert_int_equal(parse_only(bytes, b.len), (int)b.len);
    stun_put_flag(&b, STUN_ATTR_PADDING);
    assert_int_equal(parse_only(bytes, b.len), ADIT_EFORMAT);
}

static struct addr address(const char *text)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, &addr), 0);
    return addr;
}

static void every_attribute_there_and_back(void **state)
{
    (void)state;
    static const char *const texts[] = {"192.0.2.1:32853", "[2001:db8::17]:1", "0.0.0.0:0",
                                        "[::]:65535"};
    uint8_t bytes[2048], token[STUN_TOKEN_BYTES], hash[STUN_USERHASH_BYTES], protocol;
    uint16_t types[STUN_UNKNOWN_MAX], number, port;
    struct stun_algorithm algorithms[STUN_ALGORITHMS_MAX], algorithm;
    struct stun_message m;
    struct stun_builder b;
    struct stun_error error;
    struct stun_icmp icmp;
    struct stun_bytes part;
    struct addr addr, want;
    uint32_t u32;
    uint64_t u64;
    size_t count;
    bool reserve;
    int family;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        want = address(texts[i]);
        stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_ALLOCATE, STUN_SUCCESS, &id);
        stun_put_address(&b, STUN_ATTR_OTHER_ADDRESS, &want);
        stun_put_xor_address(&b, STUN_ATTR_XOR_RELAYED_ADDRESS, &want);
        assert_true(stun_parse(bytes, (size_t)stun_built(&b), &m) > 0);
        assert_int_equal(stun_read_address(stun_find(&m, STUN_ATTR_OTHER_ADDRESS), &addr), 0);
        assert_true(addr_equal(&addr, &want));
        memset(&addr, 0, sizeof(addr));
        assert_int_equal(
            stun_read_xor_address(stun_find(&m, STUN_ATTR_XOR_RELAYED_ADDRESS), &m.id, &addr), 0);
        assert_true(addr_equal(&addr, &want));
    }

    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_ALLOCATE, STUN_REQUEST, &id);
    stun_put_u32(&b, STUN_ATTR_LIFETIME, 0xFEDCBA98);
    stun_put_u64(&b, STUN_ATTR_ICE_CONTROLLING, UINT64_C(0x1122334455667788));
    stun_put_flag(&b, STUN_ATTR_DONT_FRAGMENT);
    stun_put_error(&b, 438, "Stale Nonce");
    stun_put_address_error(&b, AF_INET6, 440, "no");
    stun_put_unknown(&b, (uint16_t[]){0x7F01, 0x0024, 0x001A}, 3);
    stun_put_channel(&b, 0x4123);
    stun_put_even_port(&b, true);
    stun_put_transport(&b, STUN_TRANSPORT_UDP);
    stun_put_family(&b, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, AF_INET6);
    stun_put_family(&b, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, AF_INET);
    stun_put(&b, STUN_ATTR_RESERVATION_TOKEN, "12345678", 8);
    stun_put(&b, STUN_ATTR_USERHASH, "0123456789abcdef0123456789abcdef", 32);
    stun_put_port(&b, 4321);
    stun_put_icmp(&b, &(struct stun_icmp){.type = 3, .code = 4, .data = 1400});
    stun_put_algorithm(&b, &(struct stun_algorithm){.id = STUN_ALGORITHM_SHA256});
    stun_put_algorithms(&b,
                        (struct stun_algorithm[]){
                            {.id = STUN_ALGORITHM_SHA256},
                            {.id = 77, .parameters = {(const uint8_t *)"abcde", 5}},
                            {.id = STUN_ALGORITHM_MD5},
                        },
                        3);
    stun_put_text(&b, STUN_ATTR_REALM, "example.org");
    stun_put(&b, STUN_ATTR_DATA, NULL, 0);
    assert_true(stun_parse(bytes, (size_t)stun_built(&b), &m) > 0);
    assert_int_equal(stun_unknown_attrs(&m, NULL, 0), 0);

    assert_int_equal(stun_read_u32(stun_find(&m, STUN_ATTR_LIFETIME), &u32), 0);
    assert_true(u32 == 0xFEDCBA98);
    assert_int_equal(stun_read_u64(stun_find(&m, STUN_ATTR_ICE_CONTROLLING), &u64), 0);
    assert_true(u64 == UINT64_C(0x1122334455667788));
    assert_int_equal(stun_read_flag(stun_find(&m, STUN_ATTR_DONT_FRAGMENT)), 0);
    assert_int_equal(stun_read_error(stun_find(&m, STUN_ATTR_ERROR_CODE), &error), 0);
    assert_int_equal(error.code, 438);
    assert_memory_equal(error.reason.bytes, "Stale Nonce", 11);
    assert_int_equal(error.reason.len, 11);
    assert_int_equal(
        stun_read_address_error(stun_find(&m, STUN_ATTR_ADDRESS_ERROR_CODE), &family, &error), 0);
    assert_int_equal(family, AF_INET6);
    assert_int_equal(error.code, 440);
    assert_int_equal(stun_read_unknown(stun_find(&m, STUN_ATTR_UNKNOWN_ATTRIBUTES), types, &count),
                     0);
    assert_int_equal(count, 3);
    assert_int_equal(types[0], 0x7F01);
    assert_int_equal(types[2], 0x001A);
    assert_int_equal(stun_read_channel(stun_find(&m, STUN_ATTR_CHANNEL_NUMBER), &number), 0);
    assert_int_equal(number, 0x4123);
    assert_int_equal(stun_read_even_port(stun_find(&m, STUN_ATTR_EVEN_PORT), &reserve), 0);
    assert_true(reserve);
    assert_int_equal(stun_read_transport(stun_find(&m, STUN_ATTR_REQUESTED_TRANSPORT), &protocol),
                     0);
    assert_int_equal(protocol, 17);
    assert_int_equal(stun_read_family(stun_find(&m, STUN_ATTR_REQUESTED_ADDRESS_FAMILY), &family),
                     0);
    assert_int_equal(family, AF_INET6);
    assert_int_equal(stun_read_family(stun_find(&m, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY), &family),
                     0);
    assert_int_equal(family, AF_INET);
    assert_int_equal(stun_read_token(stun_find(&m, STUN_ATTR_RESERVATION_TOKEN), token), 0);
    assert_memory_equal(token, "12345678", 8);
    assert_int_equal(stun_read_userhash(stun_find(&m, STUN_ATTR_USERHASH), hash), 0);
    assert_memory_equal(hash, "0123456789abcdef0123456789abcdef", 32);
    assert_int_equal(stun_read_port(stun_find(&m, STUN_ATTR_RESPONSE_PORT), &port), 0);
    assert_int_equal(port, 4321);
    assert_int_equal(stun_read_icmp(stun_find(&m, STUN_ATTR_ICMP), &icmp), 0);
    assert_int_equal(icmp.type, 3);
    assert_int_equal(icmp.code, 4);
    assert_int_equal(icmp.data, 1400);
    assert_int_equal(stun_read_algorithm(stun_find(&m, STUN_ATTR_PASSWORD_ALGORITHM), &algorithm),
                     0);
    assert_int_equal(algorithm.id, STUN_ALGORITHM_SHA256);
    assert_int_equal(
        stun_read_algorithms(stun_find(&m, STUN_ATTR_PASSWORD_ALGORITHMS), algorithms, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(algorithms[1].id, 77);
    assert_int_equal(algorithms[1].parameters.len, 5);
    assert_memory_equal(algorithms[1].parameters.bytes, "abcde", 5);
    assert_int_equal(algorithms[2].id, STUN_ALGORITHM_MD5);
    assert_int_equal(stun_read_bytes(stun_find(&m, STUN_ATTR_REALM), &part), 0);
    assert_int_equal(part.len, 11);
    assert_int_equal(stun_read_bytes(stun_find(&m, STUN_ATTR_DATA), &part), 0);
    assert_int_equal(part.len, 0);
    assert_int_equal(stun_read_bytes(stun_find(&m, STUN_ATTR_NONCE), &part), -ENOENT);
    assert_int_equal(stun_read_u32(stun_find(&m, STUN_ATTR_PRIORITY), &u32), -ENOENT);
}

/* A reader and what it must refuse. */
#define REFUSES(type_, value_, call)                                                         \
    do {                                                                                     \
        uint8_t *heap_ = malloc(sizeof(value_));                                             \
        memcpy(heap_, value_, sizeof(value_) - 1);                                           \
        struct stun_attr attr_ = {.type = type_, .len = sizeof(value_) - 1, .value = heap_}, \
                         *attr = &attr_;                                                     \
        assert_int_equal(call, ADIT_EFORMAT);                                                \
        free(heap_);                                                                         \
    } while (0)

static void malformed_values(void **state)
{
    (void)state;
    struct stun_algorithm algorithms[STUN_ALGORITHMS_MAX];
    uint16_t types[STUN_UNKNOWN_MAX], u16;
    struct stun_error error;
    struct stun_icmp icmp;
    struct stun_bytes part;
    struct addr addr;
    uint64_t u64;
    uint32_t u32;
    size_t count;
    uint8_t u8, token[8], hash[32];
    bool flag;
    int family;

    REFUSES(STUN_ATTR_LIFETIME, "\0\0\0", stun_read_u32(attr, &u32));
    REFUSES(STUN_ATTR_LIFETIME, "\0\0\0\0\0", stun_read_u32(attr, &u32));
    REFUSES(STUN_ATTR_ICE_CONTROLLED, "\0\0\0\0", stun_read_u64(attr, &u64));
    REFUSES(STUN_ATTR_USE_CANDIDATE, "\0", stun_read_flag(attr));
    REFUSES(STUN_ATTR_MAPPED_ADDRESS, "", stun_read_address(attr, &addr));
    REFUSES(STUN_ATTR_MAPPED_ADDRESS, "\0\1\0", stun_read_address(attr, &addr));
    REFUSES(STUN_ATTR_MAPPED_ADDRESS, "\0\1\0\0\1\2\3", stun_read_address(attr, &addr));
    REFUSES(STUN_ATTR_MAPPED_ADDRESS, "\0\2\0\0\1\2\3\4", stun_read_address(attr, &addr));
    REFUSES(STUN_ATTR_MAPPED_ADDRESS, "\0\3\0\0\1\2\3\4", stun_read_address(attr, &addr));
    REFUSES(STUN_ATTR_MAPPED_ADDRESS, "\1\0\0\0\1\2\3\4", stun_read_address(attr, &addr));
    REFUSES(STUN_ATTR_MAPPED_ADDRESS, "\0\0\0\0\1\1\1\1\2\2\2\2\3\3\3\3\4\4\4\4",
            stun_read_address(attr, &addr));
    REFUSES(STUN_ATTR_XOR_MAPPED_ADDRESS, "\0\1\0\0\1\2\3\4\5",
            stun_read_xor_address(attr, &id, &addr));
    REFUSES(STUN_ATTR_ERROR_CODE, "\0\0\4", stun_read_error(attr, &error));
    REFUSES(STUN_ATTR_ERROR_CODE, "\0\0\2\1", stun_read_error(attr, &error));
    REFUSES(STUN_ATTR_ERROR_CODE, "\0\0\7\1", stun_read_error(attr, &error));
    REFUSES(STUN_ATTR_ERROR_CODE, "\0\0\4\144", stun_read_error(attr, &error));
    REFUSES(STUN_ATTR_ADDRESS_ERROR_CODE, "\0\0\4\50",
            stun_read_address_error(attr, &family, &error));
    REFUSES(STUN_ATTR_UNKNOWN_ATTRIBUTES, "\0\0\0", stun_read_unknown(attr, types, &count));
    REFUSES(STUN_ATTR_CHANNEL_NUMBER, "\100\0", stun_read_channel(attr, &u16));
    REFUSES(STUN_ATTR_EVEN_PORT, "", stun_read_even_port(attr, &flag));
    REFUSES(STUN_ATTR_EVEN_PORT, "\0\0", stun_read_even_port(attr, &flag));
    REFUSES(STUN_ATTR_REQUESTED_TRANSPORT, "\21", stun_read_transport(attr, &u8));
    REFUSES(STUN_ATTR_REQUESTED_ADDRESS_FAMILY, "\3\0\0\0", stun_read_family(attr, &family));
    REFUSES(STUN_ATTR_RESERVATION_TOKEN, "1234567", stun_read_token(attr, token));
    REFUSES(STUN_ATTR_USERHASH, "0123456789abcdef", stun_read_userhash(attr, hash));
    REFUSES(STUN_ATTR_RESPONSE_PORT, "\0\0\0", stun_read_port(attr, &u16));
    REFUSES(STUN_ATTR_ICMP, "\0\0\6\4", stun_read_icmp(attr, &icmp));
    REFUSES(STUN_ATTR_PASSWORD_ALGORITHM, "", stun_read_algorithm(attr, algorithms));
    REFUSES(STUN_ATTR_PASSWORD_ALGORITHM, "\0\1\0\1", stun_read_algorithm(attr, algorithms));
    REFUSES(STUN_ATTR_PASSWORD_ALGORITHM, "\0\1\0\0\0\2\0\0",
            stun_read_algorithm(attr, algorithms));
    REFUSES(STUN_ATTR_PASSWORD_ALGORITHMS, "\0\1\0\0\0\2",
            stun_read_algorithms(attr, algorithms, &count));
    REFUSES(STUN_ATTR_PASSWORD_ALGORITHMS, "\0\1\377\377\0\2\0\0",
            stun_read_algorithms(attr, algorithms, &count));
    static char longer[STUN_TEXT_MAX + 2];
    REFUSES(STUN_ATTR_REALM, longer, stun_read_bytes(attr, &part));
    REFUSES(STUN_ATTR_NONCE, longer, stun_read_bytes(attr, &part));
    static char name[STUN_USERNAME_MAX + 2];
    REFUSES(STUN_ATTR_USERNAME, name, stun_read_bytes(attr, &part));
}

static void which_attributes_count(void **state)
{
    (void)state;
    uint8_t bytes[512];
    struct stun_builder b;
    struct stun_message m;
    uint16_t unknown[2];
    uint32_t value;

    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_REFRESH, STUN_SUCCESS, &id);
    stun_put_u32(&b, STUN_ATTR_LIFETIME, 1);
    stun_put_u32(&b, STUN_ATTR_LIFETIME, 2);
    stun_put_flag(&b, 0x7001);
    stun_put_flag(&b, 0x7002);
    stun_put_flag(&b, 0x7003);
    stun_put_flag(&b, 0xF001); /* optional */
    stun_put(&b, STUN_ATTR_MESSAGE_INTEGRITY, "01234567890123456789", 20);
    b.last = 0; /* what a builder that knows no rules would do */
    stun_put_channel(&b, 0x4001);
    stun_put(&b, STUN_ATTR_MESSAGE_INTEGRITY_SHA256, "0123456789abcdef", 16);
    b.last = 0;
    stun_put_u32(&b, STUN_ATTR_PRIORITY, 3);
    stun_put_flag(&b, 0x7004);
    stun_put_u32(&b, STUN_ATTR_FINGERPRINT, 4);
    b.last = 0;
    stun_put_u32(&b, STUN_ATTR_CONNECTION_ID, 5);
    assert_true(stun_parse(bytes, (size_t)stun_built(&b), &m) > 0);
    assert_int_equal(m.count, 13);
    assert_int_equal(stun_read_u32(stun_find(&m, STUN_ATTR_LIFETIME), &value), 0);
    assert_int_equal(value, 1); /* the first one */
    const struct stun_attr *first = stun_find(&m, STUN_ATTR_LIFETIME);
    assert_int_equal(stun_read_u32(stun_find_next(&m, first, STUN_ATTR_LIFETIME), &value), 0);
    assert_int_equal(value, 2);
    assert_null(stun_find_next(&m, first + 1, STUN_ATTR_LIFETIME));
    assert_non_null(stun_find(&m, STUN_ATTR_MESSAGE_INTEGRITY_SHA256));
    assert_null(stun_find(&m, STUN_ATTR_CHANNEL_NUMBER));
    assert_null(stun_find(&m, STUN_ATTR_PRIORITY));
    assert_non_null(stun_find(&m, STUN_ATTR_FINGERPRINT));
    assert_null(stun_find(&m, STUN_ATTR_CONNECTION_ID));
    assert_int_equal(stun_unknown_attrs(&m, unknown, 2), 3);
    assert_int_equal(unknown[0], 0x7001);
    assert_int_equal(unknown[1], 0x7002);
}

static void builders_have_bounds(void **state)
{
    (void)state;
    static uint8_t big[70000], bytes[STUN_MESSAGE_MAX + 100];
    struct stun_builder b;
    struct addr none = {0};

    stun_build(&b, bytes, STUN_HEADER_BYTES - 1, STUN_METHOD_BINDING, STUN_REQUEST, &id);
    assert_int_equal(stun_built(&b), ADIT_EFULL);
    stun_put_u32(&b, STUN_ATTR_LIFETIME, 1); /* nothing happens */
    assert_int_equal(stun_built(&b), ADIT_EFULL);
    for (size_t cap = STUN_HEADER_BYTES; cap < STUN_HEADER_BYTES + 12; cap++) {
        uint8_t *room = malloc(cap);
        stun_build(&b, room, cap, STUN_METHOD_BINDING, STUN_REQUEST, &id);
        stun_put_text(&b, STUN_ATTR_SOFTWARE, "adits"); /* 4 + 5 + 3 */
        assert_int_equal(stun_built(&b), ADIT_EFULL);
        free(room);
    }
    stun_build(&b, bytes, sizeof(bytes), 0x1000, STUN_REQUEST, &id);
    assert_int_equal(stun_built(&b), -EINVAL);
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_SEND, STUN_INDICATION, &id);
    stun_put(&b, STUN_ATTR_DATA, big, 65532 - 4);
    assert_int_equal(stun_built(&b), STUN_MESSAGE_MAX);
    assert_int_equal(parse_only(bytes, STUN_MESSAGE_MAX), STUN_MESSAGE_MAX);
    stun_put_flag(&b, STUN_ATTR_DONT_FRAGMENT);
    assert_int_equal(stun_built(&b), ADIT_EFULL);
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_SEND, STUN_INDICATION, &id);
    stun_put(&b, STUN_ATTR_DATA, big, 65536);
    assert_int_equal(stun_built(&b), -EINVAL);
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_SEND, STUN_INDICATION, &id);
    stun_put_xor_address(&b, STUN_ATTR_XOR_PEER_ADDRESS, &none);
    assert_int_equal(stun_built(&b), -EINVAL);
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_SEND, STUN_INDICATION, &id);
    stun_put_error(&b, 200, "fine");
    assert_int_equal(stun_built(&b), -EINVAL);
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_SEND, STUN_INDICATION, &id);
    stun_put(&b, STUN_ATTR_FINGERPRINT, big, 4);
    stun_put_flag(&b, STUN_ATTR_DONT_FRAGMENT); /* nothing may follow */
    assert_int_equal(stun_built(&b), -EINVAL);
}

static void vectors(void **state)
{
    (void)state;
    uint8_t bytes[256];
    struct stun_message m;
    struct stun_bytes part;
    struct addr addr, want;
    uint32_t priority;
    uint64_t tie;

    assert_int_equal(stun_parse_datagram(bytes, unhex(vector_request, bytes), &m), 0);
    assert_int_equal(m.count, 6);
    assert_int_equal(stun_read_u32(stun_find(&m, STUN_ATTR_PRIORITY), &priority), 0);
    assert_true(priority == 0x6e0001ff);
    assert_int_equal(stun_read_u64(stun_find(&m, STUN_ATTR_ICE_CONTROLLED), &tie), 0);
    assert_true(tie == UINT64_C(0x932ff9b151263b36));
    assert_int_equal(stun_read_bytes(stun_find(&m, STUN_ATTR_USERNAME), &part), 0);
    assert_int_equal(part.len, 9);
    assert_memory_equal(part.bytes, "evtj:h6vY", 9);
    assert_int_equal(stun_parse_datagram(bytes, unhex(vector_ipv4, bytes), &m), 0);
    want = address("192.0.2.1:32853");
    assert_int_equal(stun_read_mapped(&m, &addr), 0);
    assert_true(addr_equal(&addr, &want));
    assert_int_equal(stun_parse_datagram(bytes, unhex(vector_ipv6, bytes), &m), 0);
    want = address("[2001:db8:1234:5678:11:2233:4455:6677]:32853");
    assert_int_equal(stun_read_mapped(&m, &addr), 0);
    assert_true(addr_equal(&addr, &want));
}

static void old_mapped_addresses(void **state)
{
    (void)state;
    uint8_t bytes[128];
    struct stun_builder b;
    struct stun_message m;
    struct addr a = address("192.0.2.1:1"), x = address("192.0.2.2:2"), got;

    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_SUCCESS, &id);
    stun_put_address(&b, STUN_ATTR_MAPPED_ADDRESS, &a);
    assert_true(stun_parse(bytes, b.len, &m) > 0);
    assert_int_equal(stun_read_mapped(&m, &got), 0);
    assert_true(addr_equal(&got, &a));
    stun_put_xor_address(&b, STUN_ATTR_XOR_MAPPED_OLD, &x);
    assert_true(stun_parse(bytes, b.len, &m) > 0);
    assert_int_equal(stun_read_mapped(&m, &got), 0);
    assert_true(addr_equal(&got, &x));
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_SUCCESS, &id);
    assert_true(stun_parse(bytes, b.len, &m) > 0);
    assert_int_equal(stun_read_mapped(&m, &got), -ENOENT);
}

static void channels(void **state)
{
    (void)state;
    uint8_t bytes[CHANNEL_HEADER_BYTES + 8] = {0};
    struct channel_data channel;

    channel_build(bytes, 0x4FFF, 5);
    memcpy(bytes + 4, "hello", 5);
    for (size_t len = 0; len < 9; len++)
        assert_int_equal(channel_parse(bytes, len, &channel), 0);
    assert_int_equal(channel_parse(bytes, 9, &channel), 9);
    assert_int_equal(channel_parse(bytes, 12, &channel), 9); /* padded */
    assert_int_equal(channel.number, 0x4FFF);
    assert_int_equal(channel.len, 5);
    assert_memory_equal(channel.data, "hello", 5);
    channel_build(bytes, 0x4000, 0); /* empty is legal */
    assert_int_equal(channel_parse(bytes, 4, &channel), 4);
    assert_int_equal(channel.len, 0);
    channel_build(bytes, 0x5000, 0);
    assert_int_equal(channel_parse(bytes, 4, &channel), ADIT_EFORMAT);
    channel_build(bytes, 0x3FFF, 0);
    assert_int_equal(channel_parse(bytes, 1, &channel), ADIT_EFORMAT);
    assert_int_equal(channel_padding(0), 0);
    assert_int_equal(channel_padding(1), 3);
    assert_int_equal(channel_padding(4), 0);
    assert_int_equal(channel_padding(65535), 1);
    assert_true(channel_is_number(0x4FFF));
    assert_false(channel_is_number(0x5000));
}

static void kinds_and_frames(void **state)
{
    (void)state;
    static uint8_t bytes[CHANNEL_HEADER_BYTES + 65536];
    struct stun_builder b;

    for (unsigned first = 0; first < 256; first++) {
        enum stun_kind want = first < 4                     ? STUN_KIND_MESSAGE
                              : first >= 20 && first < 64   ? STUN_KIND_DTLS
                              : first >= 64 && first < 0x50 ? STUN_KIND_CHANNEL
                                                            : STUN_KIND_OTHER;
        assert_int_equal(stun_kind((uint8_t)first), want);
        bytes[0] = (uint8_t)first;
        if (want == STUN_KIND_DTLS || want == STUN_KIND_OTHER)
            assert_int_equal(stun_frame(bytes, 1), ADIT_EFORMAT);
        else
            assert_int_equal(stun_frame(bytes, 1), 0);
    }
    /* The longest ChannelData: its length with padding does not fit in 16 bits. */
    channel_build(bytes, 0x4001, 65535);
    assert_int_equal(stun_frame(bytes, sizeof(bytes) - 1), 0);
    assert_int_equal(stun_frame(bytes, sizeof(bytes)), sizeof(bytes));
    channel_build(bytes, 0x4001, 5);
    for (size_t len = 0; len < 12; len++)
        assert_int_equal(stun_frame(bytes, len), 0);
    assert_int_equal(stun_frame(bytes, 12), 12);
    assert_int_equal(stun_frame(bytes, 999), 12);
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    stun_put_text(&b, STUN_ATTR_SOFTWARE, "adits");
    for (size_t len = 0; len < 32; len++)
        assert_int_equal(stun_frame(bytes, len), 0);
    assert_int_equal(stun_frame(bytes, 32), 32);
    bytes[5] ^= 1; /* no STUN: known as soon as the byte is there */
    assert_int_equal(stun_frame(bytes, 5), 0);
    assert_int_equal(stun_frame(bytes, 6), ADIT_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_of_messages),
        cmocka_unit_test(headers),
        cmocka_unit_test(attribute_table_is_bounded),
        cmocka_unit_test(every_attribute_there_and_back),
        cmocka_unit_test(malformed_values),
        cmocka_unit_test(which_attributes_count),
        cmocka_unit_test(builders_have_bounds),
        cmocka_unit_test(vectors),
        cmocka_unit_test(old_mapped_addresses),
        cmocka_unit_test(channels),
        cmocka_unit_test(kinds_and_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
