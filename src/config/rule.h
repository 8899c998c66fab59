/* SPDX-License-Identifier: MIT */
/*
 * Rules: which destinations a line of configuration means. A value type; parsing and matching are
 * pure.
 *
 *     10.1.0.0/16            a network (or a single address)
 *     10.1.2.3:22            and one port, or a range of ports: 10.1.2.3:8000-8099
 *     [2001:db8::/32]:443    IPv6 with a port needs brackets; without port they may be left out
 *     example.org            a name and all names below it
 *     *.example.org:443      the names below it only
 *     *:25                   every destination's port
 */
#ifndef ADIT_CONFIG_RULE_H
#define ADIT_CONFIG_RULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/target.h"

enum rule_kind { RULE_ANY, RULE_NET, RULE_NAME };

struct rule {
    enum rule_kind kind;
    bool below_only;                /* RULE_NAME: not the name itself */
    uint8_t prefix;                 /* RULE_NET: bits that count */
    uint16_t port_low, port_high;   /* inclusive; 0 to 65535: any */
    struct addr net;                /* RULE_NET: masked; port 0 */
    char name[TARGET_NAME_MAX + 1]; /* RULE_NAME: lower case, no trailing dot */
};

#define RULE_TEXT_MAX (TARGET_NAME_MAX + 20)

/* 0 or -EINVAL. Bits of a network beyond its prefix must be 0 (10.1.2.3/16 is more likely a
 * mistake). */
int rule_parse(const char *text, struct rule *rule);
const char *rule_format(const struct rule *rule, char buf[RULE_TEXT_MAX]);

/* Does the rule cover this destination? name: what was asked for, or NULL; addr: the address to be
 * dialled (IPv4-mapped ones already unwrapped), or NULL when there is only a name. A RULE_NAME
 * without name and a RULE_NET without address do not match. */
bool rule_match(const struct rule *rule, const char *name, const struct addr *addr, uint16_t port);

/* Parses "IP/PREFIX" or "IP". 0 or -EINVAL. */
int rule_parse_net(const char *text, struct addr *net, uint8_t *prefix);
/* Is addr within net/prefix? Families must agree. */
bool rule_in_net(const struct addr *addr, const struct addr *net, uint8_t prefix);

#endif
