/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: what the decoder says about messages: whole ones, strange ones and broken
 * ones, line by line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "stun/channel.h"
#include "stun/words.h"
#include "stun_vectors.h"

static const struct stun_id id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}};

struct told {
    char text[8192];
    size_t len;
};

static void on_line(void *arg, const char *line)
{
    struct told *told = arg;

    told->len +=
        (size_t)snprintf(told->text + told->len, sizeof(told->text) - told->len, "%s\n", line);
}

/* Tells a copy of just the right size; compares with what is wanted. */
static void tells(const uint8_t *bytes, size_t len, const struct stun_key *key, bool clean,
                  const char *want)
{
    uint8_t *copy = malloc(len ? len : 1);
    struct told told = {.len = 0};

    memcpy(copy, bytes, len);
    assert_int_equal(words_packet(copy, len, key, on_line, &told), clean);
    assert_string_equal(told.text, want);
    free(copy);
}

static void the_vectors(void **state)
{
    (void)state;
    uint8_t bytes[256];
    struct stun_key key;

    stun_key_short_term(&key, stun_text(VECTOR_PASSWORD));
    tells(bytes, unhex(vector_request, bytes), &key, true,
          "Binding request, 108 bytes, id b7e7a701bc34d686fa87dfae\n"
          "  at 20: SOFTWARE \"STUN test client\"\n"
          "  at 40: PRIORITY 1845494271 (0x6e0001ff)\n"
          "  at 48: ICE-CONTROLLED tie-breaker 0x932ff9b151263b36\n"
          "  at 60: USERNAME \"evtj:h6vY\"\n"
          "  at 76: MESSAGE-INTEGRITY 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2, right\n"
          "  at 100: FINGERPRINT e57a3bcf, right\n");
    key.bytes[0] ^= 1;
    tells(bytes, unhex(vector_ipv6, bytes), &key, true,
          "Binding success, 92 bytes, id b7e7a701bc34d686fa87dfae\n"
          "  at 20: SOFTWARE \"test vector\"\n"
          "  at 36: XOR-MAPPED-ADDRESS [2001:db8:1234:5678:11:2233:4455:6677]:32853\n"
          "  at 60: MESSAGE-INTEGRITY a382954e4be67bf11784c97c8292c275bfe3ed41, WRONG\n"
          "  at 84: FINGERPRINT c8fb0b4c, right\n");
    tells(bytes, unhex(vector_sha256, bytes), NULL, true,
          "Binding request, 164 bytes, id 78ad3433c6ad72c029da412e\n"
          "  at 20: USERHASH 4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704\n"
          "  at 56: NONCE \"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA\" (the server has: no "
          "security features)\n"
          "  at 104: REALM \"example.org\"\n"
          "  at 120: PASSWORD-ALGORITHM SHA-256\n"
          "  at 128: MESSAGE-INTEGRITY-SHA256 "
          "b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65\n");
}

static void every_attribute(void **state)
{
    (void)state;
    uint8_t bytes[2048], inner[64];
    struct stun_builder b, in;
    struct addr addr;

    addr_parse("192.0.2.1:3478", &addr);
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_ALLOCATE, STUN_ERROR, &id);
    stun_put_error(&b, 420, "what?");
    stun_put_unknown(&b, (uint16_t[]){0x001A, 0x7FFF}, 2);
    stun_put_address_error(&b, AF_INET6, 440, "no");
    stun_put_family(&b, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, AF_INET);
    stun_put_family(&b, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, AF_INET6);
    stun_put_transport(&b, 17);
    stun_put_even_port(&b, true);
    stun_put_flag(&b, STUN_ATTR_DONT_FRAGMENT);
    stun_put(&b, STUN_ATTR_RESERVATION_TOKEN, "\1\2\3\4\5\6\7\10", 8);
    stun_put_channel(&b, 0x4001);
    stun_put_u32(&b, STUN_ATTR_LIFETIME, 600);
    stun_put_address(&b, STUN_ATTR_ALTERNATE_SERVER, &addr);
    stun_put_xor_address(&b, STUN_ATTR_XOR_RELAYED_ADDRESS, &addr);
    stun_put_text(&b, STUN_ATTR_NONCE, "obMatJos2wAAAx");
    stun_put_algorithms(&b, (struct stun_algorithm[]){{.id = 2}, {.id = 1}, {.id = 5}}, 3);
    stun_put(&b, STUN_ATTR_MOBILITY_TICKET, NULL, 0);
    stun_put_u32(&b, STUN_ATTR_CHANGE_REQUEST, 6);
    stun_put_port(&b, 1234);
    stun_put_u32(&b, STUN_ATTR_CONNECTION_ID, 7);
    stun_put_icmp(&b, &(struct stun_icmp){3, 4, 1400});
    tells(bytes, (size_t)stun_built(&b), NULL, true,
          "Allocate error, 220 bytes, id 0102030405060708090a0b0c\n"
          "  at 20: ERROR-CODE 420 \"what?\" (Unknown Attribute)\n"
          "  at 36: UNKNOWN-ATTRIBUTES DONT-FRAGMENT (0x001a), 0x7fff\n"
          "  at 44: ADDRESS-ERROR-CODE IPv6: 440 \"no\" (Address Family not Supported)\n"
          "  at 56: REQUESTED-ADDRESS-FAMILY IPv4\n"
          "  at 64: ADDITIONAL-ADDRESS-FAMILY IPv6\n"
          "  at 72: REQUESTED-TRANSPORT UDP (17)\n"
          "  at 80: EVEN-PORT, and the next port reserved\n"
          "  at 88: DONT-FRAGMENT\n"
          "  at 92: RESERVATION-TOKEN 0102030405060708\n"
          "  at 104: CHANNEL-NUMBER 0x4001\n"
          "  at 112: LIFETIME 600 s\n"
          "  at 120: ALTERNATE-SERVER 192.0.2.1:3478\n"
          "  at 132: XOR-RELAYED-ADDRESS 192.0.2.1:3478\n"
          "  at 144: NONCE \"obMatJos2wAAAx\" (the server has: password algorithms, user name "
          "anonymity)\n"
          "  at 164: PASSWORD-ALGORITHMS SHA-256, MD5, unknown algorithm 5\n"
          "  at 180: MOBILITY-TICKET wanted\n"
          "  at 184: CHANGE-REQUEST answer from the other address and answer from the other port\n"
          "  at 192: RESPONSE-PORT 1234\n"
          "  at 200: CONNECTION-ID 7 (0x00000007)\n"
          "  at 208: ICMP type 3 code 4: packet too big, MTU 1400\n");

    stun_build(&in, inner, sizeof(inner), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_DATA, STUN_INDICATION, &id);
    stun_put_xor_address(&b, STUN_ATTR_XOR_PEER_ADDRESS, &addr);
    stun_put(&b, STUN_ATTR_DATA, inner, in.len);
    tells(bytes, b.len, NULL, true,
          "Data indication, 56 bytes, id 0102030405060708090a0b0c\n"
          "  at 20: XOR-PEER-ADDRESS 192.0.2.1:3478\n"
          "  at 32: DATA 20 bytes: 000100002112a4420102030405060708090a0b0c: a STUN message, "
          "Binding request\n");
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_REFRESH, STUN_REQUEST, &id);
    stun_put_u32(&b, STUN_ATTR_LIFETIME, 0);
    tells(bytes, b.len, NULL, true,
          "Refresh request, 28 bytes, id 0102030405060708090a0b0c\n"
          "  at 20: LIFETIME 0 s: delete the allocation\n");
}

static void channel_data(void **state)
{
    (void)state;
    uint8_t bytes[64] = {0};

    channel_build(bytes, 0x4002, 6);
    memcpy(bytes + 4, "hi \"x\"", 6);
    tells(bytes, 10, NULL, true, "ChannelData, channel 0x4002, 6 bytes: \"hi \\\"x\\\"\"\n");
    tells(bytes, 12, NULL, true, "ChannelData, channel 0x4002, 6 bytes: \"hi \\\"x\\\"\"\n");
    tells(bytes, 16, NULL, false,
          "ChannelData, channel 0x4002, 6 bytes: \"hi \\\"x\\\"\"\n"
          "  at 10: MALFORMED: more bytes than padding\n");
    tells(bytes, 7, NULL, false,
          "ChannelData, cut off, 7 bytes\n"
          "  at 2: MALFORMED: says to have 6 bytes of data, but 3 are there\n");
    channel_build(bytes, 0x4002, 0);
    tells(bytes, 4, NULL, true, "ChannelData, channel 0x4002, 0 bytes\n");
    /* What coturn's own client still sends. */
    channel_build(bytes, 0x5CBC, 2);
    tells(bytes, 6, NULL, true,
          "ChannelData, channel 0x5cbc (of RFC 5766, which RFC 8656 has not), 2 bytes: "
          "\"hi\"\n");
    tells(bytes, 5, NULL, false, "neither STUN nor TURN, 5 bytes: 5cbc000268\n");
}

static void strange_and_broken_ones(void **state)
{
    (void)state;
    uint8_t bytes[512];
    struct stun_builder b;
    size_t len;

    stun_build(&b, bytes, sizeof(bytes), 0x0AB, STUN_INDICATION, &id);
    stun_put_text(&b, 0x7001, "\033[31m");
    stun_put_text(&b, 0xF001, "x");
    stun_put(&b, STUN_ATTR_LIFETIME, "\1\2\3", 3);
    stun_put_u32(&b, STUN_ATTR_PRIORITY, 1);
    stun_put_u32(&b, STUN_ATTR_PRIORITY, 2);
    stun_put_fingerprint(&b);
    b.last = 0;
    stun_put_flag(&b, STUN_ATTR_USE_CANDIDATE);
    tells(bytes, b.len, NULL, false,
          "unknown method 0x0ab, indication, 76 bytes, id 0102030405060708090a0b0c\n"
          "  at 20: unknown attribute 0x7001 (must be understood), 5 bytes: 1b5b33316d\n"
          "  at 32: unknown attribute 0xf001 (may be ignored), 1 byte: \"x\"\n"
          "  at 40: LIFETIME MALFORMED, 3 bytes: 010203\n"
          "  at 48: PRIORITY 1 (0x00000001)\n"
          "  at 56: PRIORITY 2 (0x00000002) (repeated: does not count)\n"
          "  at 64: FINGERPRINT a9111f22, WRONG\n"
          "  at 72: USE-CANDIDATE (behind the integrity or fingerprint: does not count)\n");

    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    stun_put_text(&b, STUN_ATTR_SOFTWARE, "adit");
    len = (size_t)stun_built(&b);
    tells(bytes, len - 2, NULL, false,
          "Binding request, 28 bytes, id 0102030405060708090a0b0c\n"
          "  at 26: MALFORMED: the message is cut off, 2 bytes are missing\n"
          "  at 20: MALFORMED: attribute 0x8022 says to have 4 bytes, but only 2 are left\n");
    memset(bytes + len, 0, 3);
    tells(bytes, len + 3, NULL, false,
          "Binding request, 28 bytes, id 0102030405060708090a0b0c\n"
          "  at 20: SOFTWARE \"adit\"\n"
          "  at 28: MALFORMED: 3 bytes behind the message\n");
    bytes[4] = 'X';
    tells(bytes, len, NULL, false,
          "Binding request, 28 bytes, id 0102030405060708090a0b0c\n"
          "  at 4: MALFORMED: 0x5812a442 is not the magic cookie (RFC 3489, or no STUN at all)\n"
          "  at 20: SOFTWARE \"adit\"\n");
    tells((const uint8_t *)"\0\1\0", 3, NULL, false,
          "STUN message, cut off, 3 bytes\n  at 3: MALFORMED: the header has 20 bytes\n");
    tells((const uint8_t *)"GET /", 5, NULL, false,
          "ChannelData, cut off, 5 bytes\n"
          "  at 2: MALFORMED: says to have 21536 bytes of data, but 1 are there\n");
    tells((const uint8_t *)"\x16\x03\x01", 3, NULL, false, "DTLS or TLS, 3 bytes: 160301\n");
    tells((const uint8_t *)"\xff", 1, NULL, false, "neither STUN nor TURN, 1 byte: ff\n");
    tells(bytes, 0, NULL, false, "neither STUN nor TURN, 0 bytes\n");
}

/* No format has seven bytes: all that have one say so. */
static void malformed_values(void **state)
{
    (void)state;
    static const uint16_t types[] = {
        STUN_ATTR_MAPPED_ADDRESS,
        STUN_ATTR_CHANGE_REQUEST,
        STUN_ATTR_MESSAGE_INTEGRITY,
        STUN_ATTR_UNKNOWN_ATTRIBUTES,
        STUN_ATTR_CHANNEL_NUMBER,
        STUN_ATTR_LIFETIME,
        STUN_ATTR_XOR_PEER_ADDRESS,
        STUN_ATTR_XOR_RELAYED_ADDRESS,
        STUN_ATTR_EVEN_PORT,
        STUN_ATTR_REQUESTED_ADDRESS_FAMILY,
        STUN_ATTR_REQUESTED_TRANSPORT,
        STUN_ATTR_DONT_FRAGMENT,
        STUN_ATTR_USERHASH,
        STUN_ATTR_MESSAGE_INTEGRITY_SHA256,
        STUN_ATTR_PASSWORD_ALGORITHM,
        STUN_ATTR_XOR_MAPPED_ADDRESS,
        STUN_ATTR_RESERVATION_TOKEN,
        STUN_ATTR_PRIORITY,
        STUN_ATTR_USE_CANDIDATE,
        STUN_ATTR_RESPONSE_PORT,
        STUN_ATTR_CONNECTION_ID,
        STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY,
        STUN_ATTR_ADDRESS_ERROR_CODE,
        STUN_ATTR_PASSWORD_ALGORITHMS,
        STUN_ATTR_ICMP,
        STUN_ATTR_ERROR_CODE,
        STUN_ATTR_ALTERNATE_SERVER,
        STUN_ATTR_FINGERPRINT,
        STUN_ATTR_ICE_CONTROLLED,
        STUN_ATTR_ICE_CONTROLLING,
        STUN_ATTR_RESPONSE_ORIGIN,
        STUN_ATTR_OTHER_ADDRESS,
    };

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        uint8_t bytes[64];
        struct stun_builder b;
        char want[256];

        stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
        stun_put(&b, types[i], "\xff\xff\xff\xff\xff\xff\xff", 7);
        snprintf(want, sizeof(want),
                 "Binding request, 32 bytes, id 0102030405060708090a0b0c\n"
                 "  at 20: %s MALFORMED, 7 bytes: ffffffffffffff\n",
                 words_attr(types[i]));
        tells(bytes, b.len, NULL, false, want);
    }
}

static void text_of_networks(void **state)
{
    (void)state;
    static const char hostile[] = "\033]0;x\007 \xe3\x83\x9e \xc2\x9b \xe2\x80\xae \xff \\ \"";
    uint8_t bytes[2000];
    struct stun_builder b;
    struct told told = {.len = 0};

    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    stun_put_text(&b, STUN_ATTR_SOFTWARE, hostile);
    tells(bytes, b.len, NULL, true,
          "Binding request, 48 bytes, id 0102030405060708090a0b0c\n"
          "  at 20: SOFTWARE \"\\x1b]0;x\\x07 \xe3\x83\x9e \\xc2\\x9b \\xe2\\x80\\xae \\xff \\\\ "
          "\\\"\"\n");
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    memset(stun_put_room(&b, STUN_ATTR_SOFTWARE, 763), 1, 763);
    words_packet(bytes, b.len, NULL, on_line, &told);
    assert_int_equal(strlen(strchr(told.text, '\n') + 1), WORDS_LINE_MAX - 1 + 1);
    assert_non_null(strstr(told.text, "...\n"));
}

static void names(void **state)
{
    (void)state;
    uint8_t bytes[128];
    char summary[WORDS_SUMMARY_MAX];
    struct stun_builder b;
    struct stun_message m;
    static const unsigned codes[] = {300, 400, 401, 403, 405, 420, 437, 438, 440,
                                     441, 442, 443, 446, 447, 486, 487, 500, 508};

    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_non_null(words_error(codes[i]));
        assert_non_null(words_error_meaning(codes[i]));
    }
    assert_null(words_error(499));
    assert_string_equal(words_attr(STUN_ATTR_XOR_PEER_ADDRESS), "XOR-PEER-ADDRESS");
    assert_null(words_attr(0x7777));
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_CHANNEL_BIND, STUN_ERROR, &id);
    stun_put_error(&b, 438, "old");
    assert_true(stun_parse(bytes, b.len, &m) > 0);
    assert_string_equal(words_summary(&m, summary), "ChannelBind error 438 Stale Nonce");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vectors),
        cmocka_unit_test(every_attribute),
        cmocka_unit_test(channel_data),
        cmocka_unit_test(strange_and_broken_ones),
        cmocka_unit_test(malformed_values),
        cmocka_unit_test(text_of_networks),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
