/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Building messages: attributes are put one after the other into the caller's buffer, and the
 * length in the header is right after each, so that what has been built so far is always a message.
 * The first failure is kept; whoever builds looks at it once, at the end. read.c draws the formats.
 */
#include "stun/stun.h"

#include <string.h>

#include "stun/bytes.h"

#define FAMILY_IPV4 0x01
#define FAMILY_IPV6 0x02

void stun_set_length(uint8_t *message, size_t end)
{
    put16(message + 2, (uint16_t)(end - STUN_HEADER_BYTES));
}

static void fail(struct stun_builder *builder, int error)
{
    if (builder->error == 0)
        builder->error = error;
}

void stun_build(struct stun_builder *builder, uint8_t *bytes, size_t cap, unsigned method,
                enum stun_class class, const struct stun_id *id)
{
    unsigned type = (method & 0xF80) << 2 | (method & 0x070) << 1 | (method & 0x00F) |
                    ((unsigned)class & 2) << 7 | ((unsigned)class & 1) << 4;

    *builder = (struct stun_builder){.bytes = bytes, .cap = cap};
    if (method > 0xFFF) {
        fail(builder, -EINVAL);
    } else if (cap < STUN_HEADER_BYTES) {
        fail(builder, ADIT_EFULL);
    } else {
        put16(bytes, (uint16_t)type);
        put32(bytes + 4, STUN_COOKIE);
        memcpy(bytes + 8, id->bytes, STUN_ID_BYTES);
        builder->len = STUN_HEADER_BYTES;
        stun_set_length(bytes, builder->len);
    }
}

int stun_built(const struct stun_builder *builder)
{
    return builder->error ? builder->error : (int)builder->len;
}

/* Nothing but these may follow (RFC 8489 14.5 to 14.7). */
static bool may_follow(uint16_t last, unsigned type)
{
    switch (last) {
    case STUN_ATTR_MESSAGE_INTEGRITY:
        return type == STUN_ATTR_MESSAGE_INTEGRITY_SHA256 || type == STUN_ATTR_FINGERPRINT;
    case STUN_ATTR_MESSAGE_INTEGRITY_SHA256:
        return type == STUN_ATTR_FINGERPRINT;
    case STUN_ATTR_FINGERPRINT:
        return false;
    }
    return true;
}

uint8_t *stun_put_room(struct stun_builder *builder, enum stun_type type, size_t len)
{
    size_t room = builder->cap < STUN_MESSAGE_MAX ? builder->cap : STUN_MESSAGE_MAX;
    uint8_t *at = builder->bytes + builder->len;

    if (builder->error != 0)
        return NULL;
    if (len > UINT16_MAX || !may_follow(builder->last, type)) {
        fail(builder, -EINVAL);
        return NULL;
    }
    if (room - builder->len < STUN_ATTR_BYTES + padded(len)) {
        fail(builder, ADIT_EFULL);
        return NULL;
    }
    put16(at, (uint16_t)type);
    put16(at + 2, (uint16_t)len);
    memset(at + STUN_ATTR_BYTES + len, 0, padded(len) - len);
    builder->len += STUN_ATTR_BYTES + padded(len);
    stun_set_length(builder->bytes, builder->len);
    if (type == STUN_ATTR_MESSAGE_INTEGRITY || type == STUN_ATTR_MESSAGE_INTEGRITY_SHA256 ||
        type == STUN_ATTR_FINGERPRINT)
        builder->last = (uint16_t)type;
    return at + STUN_ATTR_BYTES;
}

void stun_put(struct stun_builder *builder, enum stun_type type, const void *value, size_t len)
{
    uint8_t *room = stun_put_room(builder, type, len);

    if (room && len > 0)
        memcpy(room, value, len);
}

void stun_put_text(struct stun_builder *builder, enum stun_type type, const char *text)
{
    stun_put(builder, type, text, strlen(text));
}

void stun_put_flag(struct stun_builder *builder, enum stun_type type)
{
    stun_put(builder, type, NULL, 0);
}

void stun_put_u32(struct stun_builder *builder, enum stun_type type, uint32_t value)
{
    uint8_t bytes[4];

    put32(bytes, value);
    stun_put(builder, type, bytes, sizeof(bytes));
}

void stun_put_u64(struct stun_builder *builder, enum stun_type type, uint64_t value)
{
    uint8_t bytes[8];

    put64(bytes, value);
    stun_put(builder, type, bytes, sizeof(bytes));
}

static uint8_t family_code(int family)
{
    return family == AF_INET ? FAMILY_IPV4 : family == AF_INET6 ? FAMILY_IPV6 : 0;
}

/* The value of an address attribute, XORed with mask. */
static void put_address(struct stun_builder *builder, enum stun_type type, const struct addr *addr,
                        const uint8_t mask[16])
{
    size_t ip = addr_ip_bytes(addr);
    uint8_t *value;

    if (family_code(addr->family) == 0) {
        fail(builder, -EINVAL);
        return;
    }
    value = stun_put_room(builder, type, 4 + ip);
    if (!value)
        return;
    value[0] = 0;
    value[1] = family_code(addr->family);
    put16(value + 2, addr->port ^ get16(mask));
    for (size_t i = 0; i < ip; i++)
        value[4 + i] = addr->ip.bytes[i] ^ mask[i];
}

void stun_put_address(struct stun_builder *builder, enum stun_type type, const struct addr *addr)
{
    static const uint8_t none[16];

    put_address(builder, type, addr, none);
}

void stun_put_xor_address(struct stun_builder *builder, enum stun_type type,
                          const struct addr *addr)
{
    /* Cookie and id, as they stand in the header. */
    if (builder->error == 0)
        put_address(builder, type, addr, builder->bytes + 4);
}

static void put_code(struct stun_builder *builder, enum stun_type type, uint8_t first,
                     unsigned code, const char *reason)
{
    size_t len = strlen(reason);
    uint8_t *value;

    if (code < 300 || code > 699 || len > STUN_TEXT_MAX) {
        fail(builder, -EINVAL);
        return;
    }
    value = stun_put_room(builder, type, 4 + len);
    if (!value)
        return;
    value[0] = first;
    value[1] = 0;
    value[2] = (uint8_t)(code / 100);
    value[3] = (uint8_t)(code % 100);
    memcpy(value + 4, reason, len);
}

void stun_put_error(struct stun_builder *builder, unsigned code, const char *reason)
{
    put_code(builder, STUN_ATTR_ERROR_CODE, 0, code, reason);
}

void stun_put_address_error(struct stun_builder *builder, int family, unsigned code,
                            const char *reason)
{
    if (family_code(family) == 0)
        fail(builder, -EINVAL);
    else
        put_code(builder, STUN_ATTR_ADDRESS_ERROR_CODE, family_code(family), code, reason);
}

void stun_put_unknown(struct stun_builder *builder, const uint16_t *types, size_t count)
{
    uint8_t *value = stun_put_room(builder, STUN_ATTR_UNKNOWN_ATTRIBUTES, 2 * count);

    for (size_t i = 0; value && i < count; i++)
        put16(value + 2 * i, types[i]);
}

void stun_put_channel(struct stun_builder *builder, uint16_t number)
{
    stun_put_u32(builder, STUN_ATTR_CHANNEL_NUMBER, (uint32_t)number << 16);
}

void stun_put_even_port(struct stun_builder *builder, bool reserve_next)
{
    stun_put(builder, STUN_ATTR_EVEN_PORT, reserve_next ? "\x80" : "\0", 1);
}

void stun_put_transport(struct stun_builder *builder, uint8_t protocol)
{
    stun_put_u32(builder, STUN_ATTR_REQUESTED_TRANSPORT, (uint32_t)protocol << 24);
}

void stun_put_family(struct stun_builder *builder, enum stun_type type, int family)
{
    if (family_code(family) == 0)
        fail(builder, -EINVAL);
    else
        stun_put_u32(builder, type, (uint32_t)family_code(family) << 24);
}

void stun_put_port(struct stun_builder *builder, uint16_t port)
{
    stun_put_u32(builder, STUN_ATTR_RESPONSE_PORT, (uint32_t)port << 16);
}

void stun_put_icmp(struct stun_builder *builder, const struct stun_icmp *icmp)
{
    uint8_t *value;

    if (icmp->type > 0x7F || icmp->code > 0x1FF)
        fail(builder, -EINVAL);
    value = stun_put_room(builder, STUN_ATTR_ICMP, 8);
    if (!value)
        return;
    put32(value, (uint32_t)icmp->type << 9 | icmp->code);
    put32(value + 4, icmp->data);
}

/* At most so many bytes of parameters, of all algorithms together. */
#define ALGORITHMS_BYTES 512

static void put_algorithms(struct stun_builder *builder, enum stun_type type,
                           const struct stun_algorithm *algorithms, size_t count)
{
    uint8_t value[ALGORITHMS_BYTES] = {0};
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        size_t bytes = algorithms[i].parameters.len;

        if (bytes > sizeof(value) || 4 + padded(bytes) > sizeof(value) - len) {
            fail(builder, -EINVAL);
            return;
        }
        put16(value + len, algorithms[i].id);
        put16(value + len + 2, (uint16_t)bytes);
        if (bytes > 0)
            memcpy(value + len + 4, algorithms[i].parameters.bytes, bytes);
        len += 4 + padded(bytes);
    }
    stun_put(builder, type, value, len);
}

void stun_put_algorithm(struct stun_builder *builder, const struct stun_algorithm *algorithm)
{
    put_algorithms(builder, STUN_ATTR_PASSWORD_ALGORITHM, algorithm, 1);
}

void stun_put_algorithms(struct stun_builder *builder, const struct stun_algorithm *algorithms,
                         size_t count)
{
    put_algorithms(builder, STUN_ATTR_PASSWORD_ALGORITHMS, algorithms, count);
}
