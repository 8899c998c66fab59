/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Pure functions. A record is parsed only when its whole length is there; a length beyond
 * OPENING_BYTES_MAX, an address cut short, port 0, or a name that is none are refused. An answer
 * code that this version does not know is read as ANSWER_FAILED: a later exit may have more
 * reasons.
 */
#include "session/opening.h"

#include <string.h>

#include "base/err.h"

enum { TYPE_NONE = 0, TYPE_V4 = 1, TYPE_NAME = 3, TYPE_V6 = 4 };

static size_t put_u16(uint8_t *to, size_t value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
    return 2;
}

static uint16_t get_u16(const uint8_t *from)
{
    return (uint16_t)(from[0] << 8 | from[1]);
}

static size_t put_addr(uint8_t *to, const struct addr *addr)
{
    size_t len = addr ? addr_ip_bytes(addr) : 0;

    to[0] = len == 4 ? TYPE_V4 : len == 16 ? TYPE_V6 : TYPE_NONE;
    if (len)
        memcpy(to + 1, addr->ip.bytes, len);
    return 1 + len;
}

/* Reads an address of type 0, 1 or 4: bytes consumed or ADIT_EFORMAT. */
static int get_addr(const uint8_t *from, size_t len, struct addr *addr)
{
    size_t bytes = from[0] == TYPE_V4 ? 4 : from[0] == TYPE_V6 ? 16 : 0;

    memset(addr, 0, sizeof(*addr));
    if (from[0] != TYPE_NONE && bytes == 0)
        return ADIT_EFORMAT;
    if (len < 1 + bytes)
        return ADIT_EFORMAT;
    if (bytes) {
        addr->family = bytes == 4 ? AF_INET : AF_INET6;
        memcpy(addr->ip.bytes, from + 1, bytes);
    }
    return (int)(1 + bytes);
}

/* The length of a record's body when the record is whole; 0: incomplete; ADIT_EFORMAT. */
static int record_body(const uint8_t *bytes, size_t len, size_t min)
{
    size_t body;

    if (len < 2)
        return 0;
    body = get_u16(bytes);
    if (body < min || body > OPENING_BYTES_MAX - 2)
        return ADIT_EFORMAT;
    return len < 2 + body ? 0 : (int)body;
}

size_t opening_build_open(uint8_t *to, const struct target *target)
{
    size_t n = 2, name_len = strlen(target->name);

    to[n++] = OPENING_CONNECT;
    n += put_u16(to + n, target->port);
    if (name_len) {
        to[n++] = TYPE_NAME;
        to[n++] = (uint8_t)name_len;
        memcpy(to + n, target->name, name_len);
        n += name_len;
    } else {
        n += put_addr(to + n, &target->addr);
    }
    put_u16(to, n - 2);
    return n;
}

int opening_parse_open(const uint8_t *bytes, size_t len, struct target *target)
{
    int body = record_body(bytes, len, 4);
    const uint8_t *at = bytes + 2;
    uint16_t port;

    if (body <= 0)
        return body;
    memset(target, 0, sizeof(*target));
    if (at[0] != OPENING_CONNECT)
        return ADIT_EFORMAT;
    port = get_u16(at + 1);
    if (port == 0)
        return ADIT_EFORMAT;
    if (at[3] == TYPE_NAME) {
        if (body < 5 || body < 5 + at[4])
            return ADIT_EFORMAT;
        if (target_set(target, (const char *)at + 5, at[4], port) < 0)
            return ADIT_EFORMAT;
        return 2 + body;
    }
    if (at[3] == TYPE_NONE || get_addr(at + 3, (size_t)body - 3, &target->addr) < 0)
        return ADIT_EFORMAT;
    target->port = target->addr.port = port;
    return 2 + body;
}

size_t opening_build_answer(uint8_t *to, enum answer answer, const struct addr *bound)
{
    size_t n = 2;

    to[n++] = (uint8_t)answer;
    n += put_addr(to + n, bound);
    n += put_u16(to + n, bound ? bound->port : 0);
    put_u16(to, n - 2);
    return n;
}

int opening_parse_answer(const uint8_t *bytes, size_t len, enum answer *answer, struct addr *bound)
{
    int used, body = record_body(bytes, len, 4);
    const uint8_t *at = bytes + 2;

    if (body <= 0)
        return body;
    used = get_addr(at + 1, (size_t)body - 1, bound);
    if (used < 0 || body < 1 + used + 2)
        return ADIT_EFORMAT;
    bound->port = get_u16(at + 1 + used);
    *answer = at[0] > ANSWER_LAST ? ANSWER_FAILED : (enum answer)at[0];
    return 2 + body;
}
