/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Pure functions, nothing kept. A message is five fixed fields and then fields of type, length and
 * value, so that a later version can say more to an older one: unknown fields are skipped. Fields
 * that are known have one length each (or two, or a range) and come once, but for addresses; what
 * deviates makes the whole message malformed. Of addresses the first MESSAGE_ADDRS_MAX are kept.
 *
 * message_build() writes what message_parse() takes: fields in the order of their types, no text
 * with anything but printable ASCII in it (others become '?'; it ends up on terminals and in logs),
 * no address without a family. MESSAGE_BYTES_MAX holds a message with every field at its longest.
 */
#include "signal/message.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"

#define FIXED_BYTES (2 + MESSAGE_INSTANCE_BYTES + 8 + 8)
#define TIMES_BYTES 16

/* Append only; 3 is free. */
enum field {
    FIELD_CHALLENGE = 1,
    FIELD_ECHO = 2,
    FIELD_TOKEN = 4,
    FIELD_SECRET = 5,
    FIELD_VERDICT = 6,
    FIELD_TIMES = 7,
    FIELD_ADDR = 8,
};

_Static_assert(FIXED_BYTES + (2 + MESSAGE_CHALLENGE_BYTES) * 2 + (2 + MESSAGE_TOKEN_BYTES) +
                       (2 + MESSAGE_SECRET_BYTES) + (2 + 1 + MESSAGE_TEXT_MAX) + (2 + TIMES_BYTES) +
                       MESSAGE_ADDRS_MAX * (2 + 18) <=
                   MESSAGE_BYTES_MAX,
               "every field at its longest fits");
_Static_assert(1 + MESSAGE_TEXT_MAX <= UINT8_MAX, "a text's length fits its octet");

static void put_u64(uint8_t *to, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        to[i] = (uint8_t)value;
}

static uint64_t get_u64(const uint8_t *from)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | from[i];
    return value;
}

static bool is_printable(uint8_t c)
{
    return c >= ' ' && c <= '~';
}

static uint8_t *put_field(uint8_t *to, enum field type, const void *value, size_t len)
{
    to[0] = (uint8_t)type;
    to[1] = (uint8_t)len;
    memcpy(to + 2, value, len);
    return to + 2 + len;
}

static uint8_t *put_verdict(uint8_t *to, const struct message *message)
{
    uint8_t value[1 + MESSAGE_TEXT_MAX];
    size_t len = strnlen(message->text, MESSAGE_TEXT_MAX);

    value[0] = message->verdict;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)message->text[i];

        value[1 + i] = is_printable(c) ? c : '?';
    }
    return put_field(to, FIELD_VERDICT, value, 1 + len);
}

static uint8_t *put_addr(uint8_t *to, const struct addr *addr)
{
    uint8_t value[18];
    size_t len = addr_ip_bytes(addr);

    if (len == 0)
        return to;
    memcpy(value, addr->ip.bytes, len);
    value[len] = (uint8_t)(addr->port >> 8);
    value[len + 1] = (uint8_t)addr->port;
    return put_field(to, FIELD_ADDR, value, len + 2);
}

int message_build(const struct message *message, uint8_t out[MESSAGE_BYTES_MAX])
{
    uint8_t *to = out, times[TIMES_BYTES];

    if (message->addr_count > MESSAGE_ADDRS_MAX)
        return -EMSGSIZE;
    to[0] = MESSAGE_VERSION;
    to[1] = message->type;
    memcpy(to + 2, message->instance, MESSAGE_INSTANCE_BYTES);
    put_u64(to + 2 + MESSAGE_INSTANCE_BYTES, message->number);
    put_u64(to + 2 + MESSAGE_INSTANCE_BYTES + 8, message->time_us);
    to += FIXED_BYTES;
    if (message->has_challenge)
        to = put_field(to, FIELD_CHALLENGE, message->challenge, MESSAGE_CHALLENGE_BYTES);
    if (message->has_echo)
        to = put_field(to, FIELD_ECHO, message->echo, MESSAGE_CHALLENGE_BYTES);
    if (message->has_token)
        to = put_field(to, FIELD_TOKEN, message->token, MESSAGE_TOKEN_BYTES);
    if (message->has_secret)
        to = put_field(to, FIELD_SECRET, message->secret, MESSAGE_SECRET_BYTES);
    if (message->has_verdict)
        to = put_verdict(to, message);
    if (message->has_times) {
        put_u64(times, message->about);
        put_u64(times + 8, message->received_us);
        to = put_field(to, FIELD_TIMES, times, sizeof(times));
    }
    for (int i = 0; i < message->addr_count; i++)
        to = put_addr(to, &message->addrs[i]);
    return (int)(to - out);
}

/* A field of one length that comes once. */
static int take(const uint8_t *value, size_t len, void *to, size_t want, bool *has)
{
    if (*has || len != want)
        return ADIT_EFORMAT;
    memcpy(to, value, want);
    *has = true;
    return 0;
}

static int parse_verdict(struct message *message, const uint8_t *value, size_t len)
{
    if (message->has_verdict || len == 0 || len > 1 + MESSAGE_TEXT_MAX)
        return ADIT_EFORMAT;
    for (size_t i = 1; i < len; i++)
        if (!is_printable(value[i]))
            return ADIT_EFORMAT;
    message->has_verdict = true;
    message->verdict = value[0];
    memcpy(message->text, value + 1, len - 1);
    message->text[len - 1] = '\0';
    return 0;
}

static int parse_addr(struct message *message, const uint8_t *value, size_t len)
{
    struct addr *addr;

    if (len != 6 && len != 18)
        return ADIT_EFORMAT;
    if (message->addr_count == MESSAGE_ADDRS_MAX)
        return 0;
    addr = &message->addrs[message->addr_count++];
    addr->family = len == 6 ? AF_INET : AF_INET6;
    memcpy(addr->ip.bytes, value, len - 2);
    addr->port = (uint16_t)(value[len - 2] << 8 | value[len - 1]);
    return 0;
}

static int parse_field(struct message *message, uint8_t type, const uint8_t *value, size_t len)
{
    switch (type) {
    case FIELD_CHALLENGE:
        return take(value, len, message->challenge, MESSAGE_CHALLENGE_BYTES,
                    &message->has_challenge);
    case FIELD_ECHO:
        return take(value, len, message->echo, MESSAGE_CHALLENGE_BYTES, &message->has_echo);
    case FIELD_TOKEN:
        return take(value, len, message->token, MESSAGE_TOKEN_BYTES, &message->has_token);
    case FIELD_SECRET:
        return take(value, len, message->secret, MESSAGE_SECRET_BYTES, &message->has_secret);
    case FIELD_VERDICT:
        return parse_verdict(message, value, len);
    case FIELD_TIMES:
        if (message->has_times || len != TIMES_BYTES)
            return ADIT_EFORMAT;
        message->about = get_u64(value);
        message->received_us = get_u64(value + 8);
        message->has_times = true;
        return 0;
    case FIELD_ADDR:
        return parse_addr(message, value, len);
    default: /* a later version's */
        return 0;
    }
}

int message_parse(const uint8_t *bytes, size_t len, struct message *message)
{
    const uint8_t *at, *end;

    memset(message, 0, sizeof(*message));
    if (len < FIXED_BYTES || len > MESSAGE_BYTES_MAX || bytes[0] != MESSAGE_VERSION)
        return ADIT_EFORMAT;
    at = bytes + FIXED_BYTES;
    end = bytes + len;
    message->type = bytes[1];
    memcpy(message->instance, bytes + 2, MESSAGE_INSTANCE_BYTES);
    message->number = get_u64(bytes + 2 + MESSAGE_INSTANCE_BYTES);
    message->time_us = get_u64(bytes + 2 + MESSAGE_INSTANCE_BYTES + 8);
    while (at < end) {
        size_t value_len;

        if (end - at < 2)
            return ADIT_EFORMAT;
        value_len = at[1];
        if ((size_t)(end - at) < 2 + value_len ||
            parse_field(message, at[0], at + 2, value_len) < 0)
            return ADIT_EFORMAT;
        at += 2 + value_len;
    }
    return 0;
}
