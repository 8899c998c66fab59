/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A rule's text is cut from the right: ":PORTS" first, where it cannot be part of an IPv6 address
 * (a text with two colons or more and no closing bracket before the last is one), then what is left
 * is "*", a network or a name. Whoever matches many rules goes through them one by one: lists are
 * short, and are looked at once a stream, not once a byte.
 */
#include "config/rule.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Digits only, up to max; -1 otherwise. */
static long number_parse(const char *text, size_t len, long max)
{
    long n = 0;

    if (len == 0)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        n = n * 10 + (text[i] - '0');
        if (n > max)
            return -1;
    }
    return n;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    if (bits % 8 == 0)
        return true;
    uint8_t mask = (uint8_t)(0xff00 >> (bits % 8));
    return ((a[bits / 8] ^ b[bits / 8]) & mask) == 0;
}

static bool rest_is_zero(const uint8_t *bytes, unsigned bits, size_t size)
{
    if (bits % 8 != 0 && (bytes[bits / 8] & (0xff >> (bits % 8))) != 0)
        return false;
    for (size_t i = (bits + 7) / 8; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Any bits may be set beyond the prefix: an interface's address has them. */
int rule_parse_net(const char *text, struct addr *net, uint8_t *prefix)
{
    char ip[ADDR_TEXT_MAX];
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);

    if (len >= sizeof ip)
        return -EINVAL;
    memcpy(ip, text, len);
    ip[len] = '\0';
    if (addr_parse_ip(ip, net) != 0 || net->scope != 0)
        return -EINVAL;
    long bits = (long)addr_ip_bytes(net) * 8;
    if (slash != NULL)
        bits = number_parse(slash + 1, strlen(slash + 1), bits);
    if (bits < 0)
        return -EINVAL;
    *prefix = (uint8_t)bits;
    return 0;
}

bool rule_in_net(const struct addr *addr, const struct addr *net, uint8_t prefix)
{
    return addr->family == net->family && bits_equal(addr->ip.bytes, net->ip.bytes, prefix);
}

/* Cuts ":PORTS" off [text, *len). */
static int ports_parse(const char *text, size_t *len, struct rule *rule)
{
    const char *colon = memrchr(text, ':', *len);

    rule->port_low = 0;
    rule->port_high = UINT16_MAX;
    if (colon == NULL)
        return 0;
    if (memchr(text, ':', (size_t)(colon - text)) != NULL && colon[-1] != ']')
        return 0; /* IPv6 without port */
    const char *ports = colon + 1;
    size_t ports_len = *len - (size_t)(ports - text);
    const char *dash = memchr(ports, '-', ports_len);
    size_t low_len = dash != NULL ? (size_t)(dash - ports) : ports_len;
    long low = number_parse(ports, low_len, UINT16_MAX);
    long high = dash != NULL ? number_parse(dash + 1, ports_len - low_len - 1, UINT16_MAX) : low;
    if (low < 1 || high < low)
        return -EINVAL;
    rule->port_low = (uint16_t)low;
    rule->port_high = (uint16_t)high;
    *len = (size_t)(colon - text);
    return 0;
}

static int name_set(struct rule *rule, const char *name)
{
    rule->kind = RULE_NAME;
    if (strncmp(name, "*.", 2) == 0) {
        rule->below_only = true;
        name += 2;
    }
    size_t len = strlen(name);
    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > TARGET_NAME_MAX)
        return -EINVAL;
    bool letter = false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (!isalnum(c) && c != '-' && c != '_' && c < 0x80 &&
            !(c == '.' && i > 0 && name[i - 1] != '.'))
            return -EINVAL;
        letter |= !isdigit(c) && c != '.';
        rule->name[i] = (char)tolower(c);
    }
    return letter ? 0 : -EINVAL; /* "10.1" is a mistyped network, not a name */
}

int rule_parse(const char *text, struct rule *rule)
{
    char host[RULE_TEXT_MAX];
    size_t len = strlen(text);
    struct rule out = {0};

    if (len == 0 || len >= sizeof host || ports_parse(text, &len, &out) != 0)
        return -EINVAL;
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
        if (memchr(text, ':', len) == NULL)
            return -EINVAL;
    }
    memcpy(host, text, len);
    host[len] = '\0';

    if (strcmp(host, "*") == 0) {
        out.kind = RULE_ANY;
    } else if (rule_parse_net(host, &out.net, &out.prefix) == 0) {
        out.kind = RULE_NET;
        if (!rest_is_zero(out.net.ip.bytes, out.prefix, addr_ip_bytes(&out.net)))
            return -EINVAL;
    } else if (name_set(&out, host) != 0) {
        return -EINVAL;
    }
    *rule = out;
    return 0;
}

const char *rule_format(const struct rule *rule, char buf[RULE_TEXT_MAX])
{
    char ip[ADDR_TEXT_MAX], ports[16] = "";
    bool any_port = rule->port_low == 0;

    if (!any_port && rule->port_low == rule->port_high)
        snprintf(ports, sizeof ports, ":%u", rule->port_low);
    else if (!any_port)
        snprintf(ports, sizeof ports, ":%u-%u", rule->port_low, rule->port_high);
    switch (rule->kind) {
    case RULE_ANY:
        snprintf(buf, RULE_TEXT_MAX, "*%s", ports);
        break;
    case RULE_NET: {
        bool brackets = !any_port && rule->net.family == AF_INET6;
        const char *text = addr_format_ip(&rule->net, ip);
        snprintf(buf, RULE_TEXT_MAX, "%s%s/%u%s%s", brackets ? "[" : "", text, rule->prefix,
                 brackets ? "]" : "", ports);
        break;
    }
    case RULE_NAME:
        snprintf(buf, RULE_TEXT_MAX, "%s%s%s", rule->below_only ? "*." : "", rule->name, ports);
        break;
    }
    return buf;
}

static bool name_matches(const struct rule *rule, const char *name)
{
    size_t len = strlen(name), rule_len = strlen(rule->name);

    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len < rule_len || strncasecmp(name + len - rule_len, rule->name, rule_len) != 0)
        return false;
    if (len == rule_len)
        return !rule->below_only;
    return name[len - rule_len - 1] == '.';
}

bool rule_match(const struct rule *rule, const char *name, const struct addr *addr, uint16_t port)
{
    if (port < rule->port_low || port > rule->port_high)
        return false;
    switch (rule->kind) {
    case RULE_ANY:
        return true;
    case RULE_NET:
        return addr != NULL && rule_in_net(addr, &rule->net, rule->prefix);
    case RULE_NAME:
        return name != NULL && name_matches(rule, name);
    }
    return false;
}
