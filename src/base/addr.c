/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Addresses are values of fixed size; nothing here allocates or keeps state. Text is accepted only
 * in the forms that inet_pton() knows: "127.1" or "0x7f000001" are not addresses, so that no two
 * readers of the same text see different hosts. A scope is kept as an interface's index, and
 * written as its number: names come and go.
 */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Decimal digits only, at most max; -1 otherwise. */
static long parse_number(const char *text, long max)
{
    long n = 0;
    if (!*text)
        return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        n = n * 10 + (*text - '0');
        if (n > max)
            return -1;
    }
    return n;
}

static int parse_v6(char *text, struct addr *addr)
{
    uint32_t scope = 0;
    char *percent = strchr(text, '%');
    if (percent) {
        *percent++ = '\0';
        long index = parse_number(percent, INT32_MAX);
        scope = index > 0 ? (uint32_t)index : if_nametoindex(percent);
        if (scope == 0)
            return -EINVAL;
    }
    struct addr out = {.family = AF_INET6, .scope = scope};
    if (inet_pton(AF_INET6, text, &out.ip.v6) != 1)
        return -EINVAL;
    /* A scope means something only where an address is not unique without it. */
    if (scope && !IN6_IS_ADDR_LINKLOCAL(&out.ip.v6) && !IN6_IS_ADDR_MC_LINKLOCAL(&out.ip.v6))
        return -EINVAL;
    *addr = out;
    return 0;
}

int addr_parse_ip(const char *text, struct addr *addr)
{
    char buf[ADDR_TEXT_MAX];
    size_t len = strlen(text);
    bool brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (brackets) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof buf)
        return -EINVAL;
    memcpy(buf, text, len);
    buf[len] = '\0';

    if (strchr(buf, ':'))
        return parse_v6(buf, addr);
    struct addr out = {.family = AF_INET};
    if (brackets || inet_pton(AF_INET, buf, &out.ip.v4) != 1)
        return -EINVAL;
    *addr = out;
    return 0;
}

int addr_parse(const char *text, struct addr *addr)
{
    char host[ADDR_TEXT_MAX];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host)
        return -EINVAL;
    size_t len = (size_t)(colon - text);
    memcpy(host, text, len);
    host[len] = '\0';
    /* "::1:80" could be an address without a port: IPv6 needs its brackets. */
    if (strchr(host, ':') && host[0] != '[')
        return -EINVAL;
    long port = parse_number(colon + 1, UINT16_MAX);
    struct addr out;
    if (port < 0 || addr_parse_ip(host, &out) != 0)
        return -EINVAL;
    out.port = (uint16_t)port;
    *addr = out;
    return 0;
}

/* Writes the IP (with its scope) at buf; returns the length. */
static size_t put_ip(const struct addr *addr, char *buf, size_t size)
{
    if (addr_ip_bytes(addr) == 0)
        return (size_t)snprintf(buf, size, "none");
    if (!inet_ntop(addr->family, addr->ip.bytes, buf, (socklen_t)size))
        return 0;
    size_t len = strlen(buf);
    if (addr->family == AF_INET6 && addr->scope)
        len += (size_t)snprintf(buf + len, size - len, "%%%u", addr->scope);
    return len;
}

const char *addr_format_ip(const struct addr *addr, char buf[ADDR_TEXT_MAX])
{
    put_ip(addr, buf, ADDR_TEXT_MAX);
    return buf;
}

const char *addr_format(const struct addr *addr, char buf[ADDR_TEXT_MAX])
{
    size_t len = 0;
    bool v6 = addr->family == AF_INET6;
    if (v6)
        buf[len++] = '[';
    len += put_ip(addr, buf + len, ADDR_TEXT_MAX - len);
    if (addr_is_set(addr))
        snprintf(buf + len, ADDR_TEXT_MAX - len, "%s:%u", v6 ? "]" : "", addr->port);
    return buf;
}

int addr_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct addr *addr)
{
    struct addr out = {0};
    if (len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof in);
        out.family = AF_INET;
        out.port = ntohs(in.sin_port);
        out.ip.v4 = in.sin_addr;
    } else if (len >= sizeof(struct sockaddr_in6) && sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof in6);
        out.family = AF_INET6;
        out.port = ntohs(in6.sin6_port);
        out.scope = in6.sin6_scope_id;
        out.ip.v6 = in6.sin6_addr;
    } else {
        return -EAFNOSUPPORT;
    }
    *addr = out;
    return 0;
}

socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *sa)
{
    if (addr->family == AF_INET) {
        struct sockaddr_in in = {
            .sin_family = AF_INET, .sin_port = htons(addr->port), .sin_addr = addr->ip.v4};
        memcpy(sa, &in, sizeof in);
        return sizeof in;
    }
    if (addr->family == AF_INET6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                                   .sin6_port = htons(addr->port),
                                   .sin6_scope_id = addr->scope,
                                   .sin6_addr = addr->ip.v6};
        memcpy(sa, &in6, sizeof in6);
        return sizeof in6;
    }
    return 0;
}

struct addr addr_any(int family, uint16_t port)
{
    return (struct addr){.family = (uint8_t)family, .port = port};
}

struct addr addr_loopback(int family, uint16_t port)
{
    struct addr addr = {.family = (uint8_t)family, .port = port};
    if (family == AF_INET)
        addr.ip.v4.s_addr = htonl(INADDR_LOOPBACK);
    else if (family == AF_INET6)
        addr.ip.v6 = in6addr_loopback;
    return addr;
}

struct addr addr_unmap(const struct addr *addr)
{
    if (addr->family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&addr->ip.v6))
        return *addr;
    struct addr out = {.family = AF_INET, .port = addr->port};
    memcpy(&out.ip.v4, addr->ip.bytes + 12, 4);
    return out;
}

bool addr_equal_ip(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && a->scope == b->scope &&
           memcmp(a->ip.bytes, b->ip.bytes, addr_ip_bytes(a)) == 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return a->port == b->port && addr_equal_ip(a, b);
}

bool addr_is_set(const struct addr *addr)
{
    return addr->family != AF_UNSPEC;
}

bool addr_is_loopback(const struct addr *addr)
{
    struct addr a = addr_unmap(addr);
    if (a.family == AF_INET)
        return a.ip.bytes[0] == 127;
    return a.family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a.ip.v6);
}

bool addr_is_any(const struct addr *addr)
{
    struct addr a = addr_unmap(addr);
    if (a.family == AF_INET)
        return a.ip.v4.s_addr == htonl(INADDR_ANY);
    return a.family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a.ip.v6);
}

/* One round of a multiply-and-fold hash: the seed is random where addresses come from strangers. */
static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 32);
}

uint32_t addr_hash(const struct addr *addr, uint32_t seed)
{
    uint64_t words[2] = {0, 0};
    memcpy(words, addr->ip.bytes, addr_ip_bytes(addr));
    uint64_t hash = mix(seed, words[0]);
    hash = mix(hash, words[1]);
    hash = mix(hash, (uint64_t)addr->scope << 32 | (uint32_t)addr->port << 8 | addr->family);
    return (uint32_t)hash;
}

size_t addr_ip_bytes(const struct addr *addr)
{
    return addr->family == AF_INET ? 4 : addr->family == AF_INET6 ? 16 : 0;
}
