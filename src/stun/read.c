/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Reading attributes: each function takes one that stun_parse() has found, so that its value lies
 * within the message, and checks the rest: its length, and what values may be. A length that is
 * larger than the format is malformed, with the exceptions that are noted; bits that are reserved
 * (RFFU) are passed over, as the RFCs ask.
 */
#include "stun/stun.h"

#include <string.h>

#include "stun/bytes.h"

#define FAMILY_IPV4 0x01
#define FAMILY_IPV6 0x02

static int family_of(uint8_t code)
{
    return code == FAMILY_IPV4 ? AF_INET : code == FAMILY_IPV6 ? AF_INET6 : AF_UNSPEC;
}

/* 0: there, and len bytes long. */
static int expect(const struct stun_attr *attr, size_t len)
{
    if (!attr)
        return -ENOENT;
    return attr->len == len ? 0 : ADIT_EFORMAT;
}

int stun_read_u32(const struct stun_attr *attr, uint32_t *value)
{
    int result = expect(attr, 4);

    if (result == 0)
        *value = get32(attr->value);
    return result;
}

int stun_read_u64(const struct stun_attr *attr, uint64_t *value)
{
    int result = expect(attr, 8);

    if (result == 0)
        *value = get64(attr->value);
    return result;
}

int stun_read_flag(const struct stun_attr *attr)
{
    return expect(attr, 0);
}

/* RFC 8489 14.1; the XOR- kind, 14.2, is the same with cookie and id over port and address.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |0 0 0 0 0 0 0 0|  family: 1, 2 |             port              |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  address, 32 or 128 bits                                  ...
 */
int stun_read_address(const struct stun_attr *attr, struct addr *addr)
{
    int family;

    if (!attr)
        return -ENOENT;
    if (attr->len < 4)
        return ADIT_EFORMAT;
    family = family_of(attr->value[1]);
    if (attr->len != (family == AF_INET ? 8 : 20) || family == AF_UNSPEC)
        return ADIT_EFORMAT;
    *addr = (struct addr){.family = (uint8_t)family, .port = get16(attr->value + 2)};
    memcpy(addr->ip.bytes, attr->value + 4, (size_t)attr->len - 4);
    return 0;
}

int stun_read_xor_address(const struct stun_attr *attr, const struct stun_id *id, struct addr *addr)
{
    uint8_t mask[16];
    int result = stun_read_address(attr, addr);

    if (result != 0)
        return result;
    put32(mask, STUN_COOKIE);
    memcpy(mask + 4, id->bytes, STUN_ID_BYTES);
    addr->port ^= (uint16_t)(STUN_COOKIE >> 16);
    for (size_t i = 0; i < addr_ip_bytes(addr); i++)
        addr->ip.bytes[i] ^= mask[i];
    return 0;
}

int stun_read_mapped(const struct stun_message *message, struct addr *addr)
{
    const struct stun_attr *attr = stun_find(message, STUN_ATTR_XOR_MAPPED_ADDRESS);

    if (!attr)
        attr = stun_find(message, STUN_ATTR_XOR_MAPPED_OLD);
    if (attr)
        return stun_read_xor_address(attr, &message->id, addr);
    return stun_read_address(stun_find(message, STUN_ATTR_MAPPED_ADDRESS), addr);
}

/* Class and number, and the text behind them. */
static int read_code(const struct stun_attr *attr, struct stun_error *error)
{
    unsigned class, number;

    if (attr->len < 4 || attr->len > 4 + STUN_TEXT_MAX)
        return ADIT_EFORMAT;
    class = attr->value[2] & 7;
    number = attr->value[3];
    if (class < 3 || class > 6 || number > 99)
        return ADIT_EFORMAT;
    error->code = (uint16_t)(class * 100 + number);
    error->reason = (struct stun_bytes){attr->value + 4, attr->len - 4u};
    return 0;
}

/* RFC 8489 14.8
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |           reserved, should be 0         |class|    number     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  reason, UTF-8                                            ...
 */
int stun_read_error(const struct stun_attr *attr, struct stun_error *error)
{
    return attr ? read_code(attr, error) : -ENOENT;
}

/* RFC 8656 18.12: the same, with a family (1, 2) in the first byte. */
int stun_read_address_error(const struct stun_attr *attr, int *family, struct stun_error *error)
{
    int result = attr ? read_code(attr, error) : -ENOENT;

    if (result != 0)
        return result;
    *family = family_of(attr->value[0]);
    return *family == AF_UNSPEC ? ADIT_EFORMAT : 0;
}

/* RFC 8489 14.13: 16 bits each. */
int stun_read_unknown(const struct stun_attr *attr, uint16_t types[STUN_UNKNOWN_MAX], size_t *count)
{
    if (!attr)
        return -ENOENT;
    if (attr->len % 2 != 0)
        return ADIT_EFORMAT;
    *count = attr->len / 2u < STUN_UNKNOWN_MAX ? attr->len / 2u : STUN_UNKNOWN_MAX;
    for (size_t i = 0; i < *count; i++)
        types[i] = get16(attr->value + 2 * i);
    return 0;
}

/* What a value of this type may have at most. */
static size_t bytes_max(unsigned type)
{
    switch (type) {
    case STUN_ATTR_USERNAME:
        return STUN_USERNAME_MAX;
    case STUN_ATTR_REALM:
    case STUN_ATTR_NONCE:
    case STUN_ATTR_SOFTWARE:
        return STUN_TEXT_MAX;
    case STUN_ATTR_ALTERNATE_DOMAIN:
        return STUN_DOMAIN_MAX;
    }
    return UINT16_MAX;
}

int stun_read_bytes(const struct stun_attr *attr, struct stun_bytes *bytes)
{
    if (!attr)
        return -ENOENT;
    if (attr->len > bytes_max(attr->type))
        return ADIT_EFORMAT;
    *bytes = (struct stun_bytes){attr->value, attr->len};
    return 0;
}

/* RFC 8656 18.1: the number, and 16 bits that are reserved. */
int stun_read_channel(const struct stun_attr *attr, uint16_t *number)
{
    int result = expect(attr, 4);

    if (result == 0)
        *number = get16(attr->value);
    return result;
}

/* RFC 8656 18.7: one byte, whose highest bit asks to reserve the next port too. Some send four. */
int stun_read_even_port(const struct stun_attr *attr, bool *reserve_next)
{
    if (!attr)
        return -ENOENT;
    if (attr->len != 1 && attr->len != 4)
        return ADIT_EFORMAT;
    *reserve_next = attr->value[0] >> 7;
    return 0;
}

/* RFC 8656 18.8: the protocol number, and 24 bits that are reserved. */
int stun_read_transport(const struct stun_attr *attr, uint8_t *protocol)
{
    int result = expect(attr, 4);

    if (result == 0)
        *protocol = attr->value[0];
    return result;
}

/* RFC 8656 18.6, 18.11: the family, and 24 bits that are reserved. */
int stun_read_family(const struct stun_attr *attr, int *family)
{
    int result = expect(attr, 4);

    if (result != 0)
        return result;
    *family = family_of(attr->value[0]);
    return *family == AF_UNSPEC ? ADIT_EFORMAT : 0;
}

int stun_read_token(const struct stun_attr *attr, uint8_t token[STUN_TOKEN_BYTES])
{
    int result = expect(attr, STUN_TOKEN_BYTES);

    if (result == 0)
        memcpy(token, attr->value, STUN_TOKEN_BYTES);
    return result;
}

int stun_read_userhash(const struct stun_attr *attr, uint8_t hash[STUN_USERHASH_BYTES])
{
    int result = expect(attr, STUN_USERHASH_BYTES);

    if (result == 0)
        memcpy(hash, attr->value, STUN_USERHASH_BYTES);
    return result;
}

/* RFC 5780 7.5: the port, and two bytes of padding, which some count and some do not. */
int stun_read_port(const struct stun_attr *attr, uint16_t *port)
{
    if (!attr)
        return -ENOENT;
    if (attr->len != 2 && attr->len != 4)
        return ADIT_EFORMAT;
    *port = get16(attr->value);
    return 0;
}

/* RFC 8656 18.13
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |           reserved            |  ICMP type  |   ICMP code     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  error data: the MTU of "fragmentation needed" or "too big"   |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * The type has 7 bits and the code 9.
 */
int stun_read_icmp(const struct stun_attr *attr, struct stun_icmp *icmp)
{
    int result = expect(attr, 8);

    if (result == 0)
        *icmp = (struct stun_icmp){.type = attr->value[2] >> 1,
                                   .code = get16(attr->value + 2) & 0x1FF,
                                   .data = get32(attr->value + 4)};
    return result;
}

/* RFC 8489 14.12; 14.11 is a list of them.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |          algorithm            |  length of the parameters     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  parameters, padded to a multiple of 4 bytes              ...
 *
 * The padding of the last one may be left to the attribute's.
 */
static int read_algorithm(const uint8_t *bytes, size_t len, size_t *at,
                          struct stun_algorithm *algorithm)
{
    size_t left = len - *at;

    if (left == 0)
        return 0;
    if (left < 4 || get16(bytes + *at + 2) > left - 4)
        return ADIT_EFORMAT;
    algorithm->id = get16(bytes + *at);
    algorithm->parameters = (struct stun_bytes){bytes + *at + 4, get16(bytes + *at + 2)};
    left -= 4;
    *at +=
        4 + (padded(algorithm->parameters.len) < left ? padded(algorithm->parameters.len) : left);
    return 1;
}

int stun_read_algorithm(const struct stun_attr *attr, struct stun_algorithm *algorithm)
{
    size_t at = 0;

    if (!attr)
        return -ENOENT;
    return read_algorithm(attr->value, attr->len, &at, algorithm) == 1 && at == attr->len
               ? 0
               : ADIT_EFORMAT;
}

int stun_read_algorithms(const struct stun_attr *attr,
                         struct stun_algorithm algorithms[STUN_ALGORITHMS_MAX], size_t *count)
{
    struct stun_algorithm algorithm;
    size_t at = 0;
    int more;

    if (!attr)
        return -ENOENT;
    *count = 0;
    while ((more = read_algorithm(attr->value, attr->len, &at, &algorithm)) > 0)
        if (*count < STUN_ALGORITHMS_MAX)
            algorithms[(*count)++] = algorithm;
    return more;
}
