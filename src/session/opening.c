/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Pure functions. A record is parsed only when its whole length is there; a length beyond
 * OPENING_BYTES_MAX, an address or option cut short, port 0 where one is to be connected, or a name
 * that is none are refused. An answer
 * code that this version does not know is read as ANSWER_FAILED: a later exit may have more
 * reasons.
 */
#include "session/opening.h"

#include <string.h>

#include "base/err.h"

enum { TYPE_NONE = 0, TYPE_V4 = 1, TYPE_NAME = 3, TYPE_V6 = 4 };
enum { OPTION_FROM = 1 }; /* address type, address, port */

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

size_t opening_build_open(uint8_t *to, const struct opening *opening)
{
    const struct target *target = &opening->target;
    size_t n = 2, name_len = strlen(target->name), at;

    to[n++] = (uint8_t)opening->kind;
    n += put_u16(to + n, target->port);
    if (name_len) {
        to[n++] = TYPE_NAME;
        to[n++] = (uint8_t)name_len;
        memcpy(to + n, target->name, name_len);
        n += name_len;
    } else {
        n += put_addr(to + n, &target->addr);
    }
    if (addr_is_set(&opening->from)) {
        to[n++] = OPTION_FROM;
        at = n++;
        n += put_addr(to + n, &opening->from);
        n += put_u16(to + n, opening->from.port);
        to[at] = (uint8_t)(n - at - 1);
    }
    put_u16(to, n - 2);
    return n;
}

/* Reads port and address: bytes consumed or ADIT_EFORMAT. */
static int get_target(const uint8_t *at, size_t len, struct opening *opening)
{
    struct target *target = &opening->target;
    bool connects = opening->kind == OPENING_CONNECT;
    uint16_t port = get_u16(at);
    int used;

    if (port == 0 && opening->kind != OPENING_LISTEN)
        return ADIT_EFORMAT;
    if (at[2] == TYPE_NAME) {
        if (!connects || len < 4 || len < 4 + (size_t)at[3] ||
            target_set(target, (const char *)at + 4, at[3], port) < 0)
            return ADIT_EFORMAT;
        return 4 + at[3];
    }
    used = get_addr(at + 2, len - 2, &target->addr);
    if (at[2] == TYPE_NONE || used < 0)
        return ADIT_EFORMAT;
    target->port = target->addr.port = port;
    return 2 + used;
}

static int get_options(const uint8_t *at, size_t len, struct opening *opening)
{
    while (len > 0) {
        size_t value_len = len > 1 ? at[1] : 0;
        int used;

        if (len < 2 + value_len)
            return ADIT_EFORMAT;
        if (at[0] == OPTION_FROM && opening->kind == OPENING_FORWARDED) {
            used = value_len ? get_addr(at + 2, value_len, &opening->from) : ADIT_EFORMAT;
            if (used < 0 || value_len < (size_t)used + 2)
                return ADIT_EFORMAT;
            if (addr_is_set(&opening->from))
                opening->from.port = get_u16(at + 2 + used);
        }
        at += 2 + value_len;
        len -= 2 + value_len;
    }
    return 0;
}

int opening_parse_open(const uint8_t *bytes, size_t len, struct opening *opening)
{
    int used, body = record_body(bytes, len, 4);
    const uint8_t *at = bytes + 2;

    if (body <= 0)
        return body;
    memset(opening, 0, sizeof(*opening));
    if (at[0] < OPENING_CONNECT || at[0] > OPENING_FORWARDED)
        return ADIT_EFORMAT;
    opening->kind = (enum opening_kind)at[0];
    used = get_target(at + 1, (size_t)body - 1, opening);
    if (used < 0 || get_options(at + 1 + used, (size_t)(body - 1 - used), opening) < 0)
        return ADIT_EFORMAT;
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
