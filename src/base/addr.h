/* SPDX-License-Identifier: MIT */
/*
 * Addresses: an IPv4 or IPv6 address with a port, or a UNIX socket's path kept elsewhere. A value
 * type: copied, never owned. IPv4-mapped IPv6 addresses are kept as given; addr_unmap() makes them
 * IPv4.
 */
#ifndef ADIT_BASE_ADDR_H
#define ADIT_BASE_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct addr {
    uint8_t family; /* AF_INET, AF_INET6; AF_UNSPEC (0): none */
    uint16_t port;  /* host order */
    uint32_t scope; /* interface index of a link-local IPv6 address, else 0 */
    union {
        struct in_addr v4;
        struct in6_addr v6;
        uint8_t bytes[16];
    } ip;
};

#define ADDR_TEXT_MAX 80 /* "[v6%scope]:port" and its NUL */

/* Parses an IP literal, without port ("1.2.3.4", "::1", "[::1]", "fe80::1%eth0"). 0 or -EINVAL. */
int addr_parse_ip(const char *text, struct addr *addr);
/* Parses "IP:PORT" or "[V6]:PORT". 0 or -EINVAL. */
int addr_parse(const char *text, struct addr *addr);
/* Writes "1.2.3.4:80" or "[::1]:80" (addr_format) or only the IP (addr_format_ip) to buf; returns
 * buf. */
const char *addr_format(const struct addr *addr, char buf[ADDR_TEXT_MAX]);
const char *addr_format_ip(const struct addr *addr, char buf[ADDR_TEXT_MAX]);

/* Conversion from and to the kernel's form. from: 0 or -EAFNOSUPPORT; to: returns the length, 0
 * when unset. */
int addr_from_sockaddr(const struct sockaddr *sa, socklen_t len, struct addr *addr);
socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *sa);

struct addr addr_any(int family, uint16_t port);                /* 0.0.0.0 or :: */
struct addr addr_loopback(int family, uint16_t port);           /* 127.0.0.1 or ::1 */
struct addr addr_unmap(const struct addr *addr);                /* ::ffff:a.b.c.d becomes a.b.c.d */
bool addr_equal(const struct addr *a, const struct addr *b);    /* address, port and scope */
bool addr_equal_ip(const struct addr *a, const struct addr *b); /* address and scope */
bool addr_is_set(const struct addr *addr);                      /* has a family */
bool addr_is_loopback(const struct addr *addr);                 /* 127.0.0.0/8, ::1 */
bool addr_is_any(const struct addr *addr);                      /* 0.0.0.0, :: */
/* A hash of address, port and scope, for tables; an attacker does not know the seed. */
uint32_t addr_hash(const struct addr *addr, uint32_t seed);
size_t addr_ip_bytes(const struct addr *addr); /* 4, 16 or 0 */

#endif
