/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Two tables: keys of the whole, and keys of a link, which may be prefixed by "up." or "down." and
 * mean both directions without. A row has a name, a parser and the place of the field; parsers are
 * shared by kinds of value. Lists are replaced as a whole by each setting; an empty value empties
 * them.
 */
#include "settings.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_TEXT_MAX 8192
#define SECONDS_MAX   1e9

struct key {
    const char *name;
    bool (*parse)(void *field, const char *value, const struct key *key);
    size_t offset;
    const char *choices; /* words separated by |, in the order of an enum */
    double unit;         /* what 1 means */
    double max;          /* of the value as given */
};

static bool parse_number(const char *text, double max, double *number)
{
    char *end;
    errno = 0;
    *number = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && isfinite(*number) && *number >= 0 &&
           *number <= max;
}

static bool parse_whole(const char *text, unsigned long max, unsigned long *number)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *number = strtoul(text, &end, 10);
    return *end == '\0' && errno == 0 && *number <= max;
}

static bool parse_port(const char *text, uint16_t *port)
{
    unsigned long number;
    if (!parse_whole(text, 65535, &number) || number == 0)
        return false;
    *port = (uint16_t)number;
    return true;
}

/* Calls parse for each item of a list separated by commas. */
static bool parse_list(const char *value, bool (*parse)(void *field, char *item), void *field)
{
    char copy[LIST_TEXT_MAX];
    if (strlen(value) >= sizeof(copy))
        return false;
    strcpy(copy, value);
    char *rest = copy, *item;
    while ((item = strsep(&rest, ",")))
        if (*item && !parse(field, item))
            return false;
    return true;
}

/* --- Kinds of value --- */

/* The index of a word in choices, or -1. */
static int choose(const char *value, const char *choices)
{
    size_t len = strlen(value);
    int i = 0;
    for (const char *at = choices;; at++, i++) {
        size_t word = strcspn(at, "|");
        if (word == len && memcmp(at, value, len) == 0)
            return i;
        at += word;
        if (!*at)
            return -1;
    }
}

static bool parse_choice(void *field, const char *value, const struct key *key)
{
    int i = choose(value, key->choices);
    if (i < 0)
        return false;
    *(unsigned *)field = (unsigned)i; /* an enum */
    return true;
}

/* The second of two choices is true. */
static bool parse_bool(void *field, const char *value, const struct key *key)
{
    int i = choose(value, key->choices);
    *(bool *)field = i == 1;
    return i >= 0;
}

static bool parse_time(void *field, const char *value, const struct key *key)
{
    double number;
    if (!parse_number(value, SECONDS_MAX, &number))
        return false;
    *(int64_t *)field = (int64_t)(number * key->unit);
    return true;
}

static bool parse_share(void *field, const char *value, const struct key *key)
{
    double number;
    (void)key;
    if (!parse_number(value, 100, &number))
        return false;
    *(double *)field = number / 100;
    return true;
}

static bool parse_float(void *field, const char *value, const struct key *key)
{
    return parse_number(value, key->max, field);
}

static bool parse_unsigned(void *field, const char *value, const struct key *key)
{
    unsigned long number;
    if (!parse_whole(value, (unsigned long)key->max, &number))
        return false;
    *(unsigned *)field = (unsigned)number;
    return true;
}

static bool parse_seed(void *field, const char *value, const struct key *key)
{
    unsigned long number;
    (void)key;
    if (!parse_whole(value, ~0UL, &number))
        return false;
    *(uint64_t *)field = number;
    return true;
}

/* A number that may end in k, m or g. */
static bool parse_scaled(const char *value, double *number, bool *has_suffix)
{
    char copy[32];
    size_t len = strlen(value);
    if (len == 0 || len >= sizeof(copy))
        return false;
    strcpy(copy, value);
    static const char suffixes[] = "kmg";
    const char *suffix = strchr(suffixes, copy[len - 1]);
    double scale = 1;
    if (suffix) {
        copy[len - 1] = '\0';
        for (const char *at = suffixes; at <= suffix; at++)
            scale *= 1000;
    }
    *has_suffix = suffix;
    if (!parse_number(copy, 1e12, number))
        return false;
    *number *= scale;
    return *number <= 1e12;
}

static bool parse_rate(void *field, const char *value, const struct key *key)
{
    double number;
    bool has_suffix;
    (void)key;
    if (!parse_scaled(value, &number, &has_suffix))
        return false;
    *(uint64_t *)field = (uint64_t)number;
    return true;
}

/* Packets, or bytes with a suffix b, k, m; 0: by the rate. field: a link_config. */
static bool parse_queue(void *field, const char *value, const struct key *key)
{
    struct link_config *link = field;
    char copy[32];
    double number;
    bool is_bytes = false;
    size_t len = strlen(value);
    (void)key;
    if (len == 0 || len >= sizeof(copy))
        return false;
    strcpy(copy, value);
    if (copy[len - 1] == 'b') {
        copy[len - 1] = '\0';
        if (!parse_number(copy, 1e12, &number))
            return false;
        is_bytes = true;
    } else if (!parse_scaled(copy, &number, &is_bytes)) {
        return false;
    }
    if (!is_bytes && number > LINK_QUEUE_MAX)
        return false;
    link->queue_bytes = is_bytes ? (uint64_t)number : 0;
    link->queue_packets = is_bytes ? 0 : (uint64_t)number;
    return true;
}

/* preserve, preserve-overload, sequential, random, step:N */
static bool parse_ports(void *field, const char *value, const struct key *key)
{
    struct nat_rules *rules = field;
    unsigned long step = 1;
    (void)key;
    if (strcmp(value, "preserve") == 0) {
        rules->ports = NAT_PRESERVE;
    } else if (strcmp(value, "preserve-overload") == 0) {
        rules->ports = NAT_PRESERVE_OVERLOAD;
    } else if (strcmp(value, "random") == 0) {
        rules->ports = NAT_RANDOM;
    } else if (strcmp(value, "sequential") == 0 ||
               (strncmp(value, "step:", 5) == 0 && parse_whole(value + 5, 65535, &step) && step)) {
        rules->ports = NAT_STEP;
        rules->step = (unsigned)step;
    } else {
        return false;
    }
    return true;
}

/* FIRST-LAST; field: a nat_config. */
static bool parse_range(void *field, const char *value, const struct key *key)
{
    struct nat_config *nat = field;
    char copy[32];
    (void)key;
    if (strlen(value) >= sizeof(copy))
        return false;
    strcpy(copy, value);
    char *dash = strchr(copy, '-');
    if (!dash)
        return false;
    *dash = '\0';
    return parse_port(copy, &nat->port_first) && parse_port(dash + 1, &nat->port_last) &&
           nat->port_first <= nat->port_last;
}

/* --- Lists --- */

static bool external_add(struct nat_config *nat, const char *item, int family)
{
    union address ip;
    if (!ip_parse(item, &ip) || ip_is_local(&ip))
        return false;
    int which = ip_is_ipv4(&ip) ? 0 : 1;
    if ((family >= 0 && which != family) || nat->external_count[which] == NAT_EXTERNAL_MAX)
        return false;
    nat->external[which][nat->external_count[which]++] = ip;
    return true;
}

static bool external_add_ipv4(void *field, char *item)
{
    return external_add(field, item, 0);
}

static bool external_add_ipv6(void *field, char *item)
{
    return external_add(field, item, 1);
}

static bool parse_external(void *field, const char *value, const struct key *key)
{
    struct nat_config *nat = field;
    int family = key->max > 0; /* the row for IPv6 has 1 there */
    nat->external_count[family] = 0;
    memset(nat->external[family], 0, sizeof(nat->external[family]));
    return parse_list(value, family ? external_add_ipv6 : external_add_ipv4, nat);
}

static bool address_add(void *field, char *item)
{
    struct settings *settings = field;
    union address ip;
    if (!ip_parse(item, &ip))
        return false;
    int family = ip_is_ipv4(&ip) ? 0 : 1;
    settings->address[family] = ip;
    settings->has_address[family] = true;
    return true;
}

static bool parse_address(void *field, const char *value, const struct key *key)
{
    (void)key;
    return parse_list(value, address_add, field);
}

/* PROTO:EXTPORT:INSIDEIP:PORT, with an IPv6 address in brackets */
static bool forward_add(void *field, char *item)
{
    struct nat_config *nat = field;
    if (nat->forward_count == NAT_FORWARDS_MAX)
        return false;
    struct nat_forward *forward = &nat->forwards[nat->forward_count];
    char *protocol = strsep(&item, ":"), *port = item ? strsep(&item, ":") : NULL;
    if (!port || !item)
        return false;
    char *colon = strrchr(item, ':');
    if (!colon)
        return false;
    *colon = '\0';
    size_t len = strlen(item);
    if (len > 2 && item[0] == '[' && item[len - 1] == ']') {
        item[len - 1] = '\0';
        item++;
    }
    memset(forward, 0, sizeof(*forward));
    if (strcmp(protocol, "tcp") == 0)
        forward->flow = FLOW_TCP;
    else if (strcmp(protocol, "udp") == 0)
        forward->flow = FLOW_UDP;
    else
        return false;
    if (!parse_port(port, &forward->port) || !ip_parse(item, &forward->inside.ip) ||
        !parse_port(colon + 1, &forward->inside.port))
        return false;
    nat->forward_count++;
    return true;
}

static bool parse_forwards(void *field, const char *value, const struct key *key)
{
    struct nat_config *nat = field;
    (void)key;
    memset(nat->forwards, 0, sizeof(nat->forwards));
    nat->forward_count = 0;
    return parse_list(value, forward_add, nat);
}

/* udp|tcp|icmp|ipv4|ipv6|all, each with :PORT or :FIRST-LAST; or an outside address */
static bool block_add(void *field, char *item)
{
    struct settings *settings = field;
    if (settings->block_count == SETTINGS_BLOCKS_MAX)
        return false;
    struct block *block = &settings->blocks[settings->block_count++];
    *block = (struct block){.flow = FLOW_NONE, .family = -1, .first = 0, .last = 65535};
    if (ip_parse(item, &block->ip)) {
        block->has_ip = true;
        return true;
    }
    char *what = strsep(&item, ":");
    int which = choose(what, "udp|tcp|icmp|ipv4|ipv6|all");
    if (which < 0)
        return false;
    if (which < FLOW_COUNT)
        block->flow = (enum flow)which;
    else if (which < FLOW_COUNT + 2)
        block->family = which - FLOW_COUNT;
    if (!item)
        return true;
    char *first = strsep(&item, "-");
    return parse_port(first, &block->first) && parse_port(item ? item : first, &block->last);
}

static bool parse_blocks(void *field, const char *value, const struct key *key)
{
    struct settings *settings = field;
    (void)key;
    settings->block_count = 0;
    return parse_list(value, block_add, settings);
}

static bool allow_add(void *field, char *item)
{
    struct allow *allow = field;
    return allow->count < SETTINGS_ALLOW_MAX && parse_port(item, &allow->ports[allow->count++]);
}

static bool parse_allow(void *field, const char *value, const struct key *key)
{
    struct allow *allow = field;
    (void)key;
    allow->count = 0;
    return parse_list(value, allow_add, allow);
}

/* --- The tables --- */

#define AT(field)      offsetof(struct settings, field)
#define LINK_AT(field) offsetof(struct link_config, field)
#define SCOPES         "ei|ad|apd"
#define MODES          "off|on|firewall"
#define NO_YES         "no|yes"
#define REFUSALS       "drop|rst|icmp"

static const struct key keys[] = {
    {"nat", parse_choice, AT(nat.mode[0]), MODES, 0, 0},
    {"nat6", parse_choice, AT(nat.mode[1]), MODES, 0, 0},
    {"external", parse_external, AT(nat), NULL, 0, 0},
    {"external6", parse_external, AT(nat), NULL, 0, 1},
    {"udp.mapping", parse_choice, AT(nat.rules[FLOW_UDP].mapping), SCOPES, 0, 0},
    {"tcp.mapping", parse_choice, AT(nat.rules[FLOW_TCP].mapping), SCOPES, 0, 0},
    {"udp.filtering", parse_choice, AT(nat.rules[FLOW_UDP].filtering), SCOPES, 0, 0},
    {"tcp.filtering", parse_choice, AT(nat.rules[FLOW_TCP].filtering), SCOPES, 0, 0},
    {"udp.ports", parse_ports, AT(nat.rules[FLOW_UDP]), NULL, 0, 0},
    {"tcp.ports", parse_ports, AT(nat.rules[FLOW_TCP]), NULL, 0, 0},
    {"udp.timeout", parse_time, AT(nat.rules[FLOW_UDP].timeout), NULL, 1e9, 0},
    {"tcp.timeout", parse_time, AT(nat.rules[FLOW_TCP].timeout), NULL, 1e9, 0},
    {"icmp.timeout", parse_time, AT(nat.rules[FLOW_ICMP].timeout), NULL, 1e9, 0},
    {"tcp.transitory", parse_time, AT(nat.tcp_transitory), NULL, 1e9, 0},
    {"udp.refresh", parse_bool, AT(nat.is_udp_inbound_refreshing), "out|both", 0, 0},
    {"tcp.rst", parse_bool, AT(nat.is_tcp_rst_closing), "keep|close", 0, 0},
    {"tcp.simultaneous", parse_bool, AT(nat.has_tcp_simultaneous), NO_YES, 0, 0},
    {"tcp.strays", parse_choice, AT(nat.tcp_strays), "drop|rst|accept", 0, 0},
    {"pooling", parse_bool, AT(nat.is_pooling_paired), "arbitrary|paired", 0, 0},
    {"ports", parse_range, AT(nat), NULL, 0, 0},
    {"max.mappings", parse_unsigned, AT(nat.max_mappings), NULL, 0, NAT_MAPPINGS_LIMIT},
    {"forward", parse_forwards, AT(nat), NULL, 0, 0},
    {"hairpin", parse_bool, AT(is_hairpin), NO_YES, 0, 0},
    {"unsolicited", parse_choice, AT(unsolicited), REFUSALS, 0, 0},
    {"udp.unsolicited", parse_choice, AT(unsolicited_udp), REFUSALS, 0, 0},
    {"block", parse_blocks, 0, NULL, 0, 0},
    {"blocked", parse_choice, AT(blocked), REFUSALS, 0, 0},
    {"allow.tcp", parse_allow, AT(allow[FLOW_TCP]), NULL, 0, 0},
    {"allow.udp", parse_allow, AT(allow[FLOW_UDP]), NULL, 0, 0},
    {"mtu", parse_unsigned, AT(mtu), NULL, 0, PACKET_MAX_BYTES},
    {"toobig", parse_bool, AT(is_too_big_silent), "icmp|drop", 0, 0},
    {"offload", parse_bool, AT(is_offload_off), "auto|off", 0, 0},
    {"address", parse_address, 0, NULL, 0, 0},
    {"seed", parse_seed, AT(seed), NULL, 0, 0},
};

static const struct key link_keys[] = {
    {"delay", parse_time, LINK_AT(delay), NULL, 1e6, 0},
    {"jitter", parse_time, LINK_AT(jitter), NULL, 1e6, 0},
    {"loss", parse_share, LINK_AT(loss), NULL, 0, 0},
    {"loss.burst", parse_float, LINK_AT(loss_burst), NULL, 0, 1e6},
    {"duplicate", parse_share, LINK_AT(duplicate), NULL, 0, 0},
    {"reorder", parse_share, LINK_AT(reorder), NULL, 0, 0},
    {"reorder.delay", parse_time, LINK_AT(reorder_delay), NULL, 1e6, 0},
    {"rate", parse_rate, LINK_AT(rate), NULL, 0, 0},
    {"queue", parse_queue, 0, NULL, 0, 0},
};

static const struct key *find_key(const struct key *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

#define FIND(table, name) find_key(table, sizeof(table) / sizeof(*(table)), name)

bool settings_set(struct settings *settings, const char *key, const char *value, char *error)
{
    bool is_good = true;
    const struct key *found = FIND(keys, key);
    if (found) {
        is_good = found->parse((uint8_t *)settings + found->offset, value, found);
    } else {
        const char *name = key;
        bool is_set[2] = {true, true};
        if (strncmp(key, "up.", 3) == 0) {
            is_set[DOWN] = false;
            name += 3;
        } else if (strncmp(key, "down.", 5) == 0) {
            is_set[UP] = false;
            name += 5;
        }
        found = FIND(link_keys, name);
        if (!found) {
            snprintf(error, SETTINGS_ERROR_BYTES, "unknown key: %.80s", key);
            return false;
        }
        for (int i = 0; i < 2 && is_good; i++)
            if (is_set[i])
                is_good = found->parse((uint8_t *)&settings->link[i] + found->offset, value, found);
    }
    if (is_good)
        return true;
    snprintf(error, SETTINGS_ERROR_BYTES, "%.40s: bad value: %.100s%s%.60s", key, value,
             found->choices ? "; one of " : "", found->choices ? found->choices : "");
    return false;
}

bool settings_check(const struct settings *settings, char *error)
{
    static const char *const names[] = {"nat=on needs external", "nat6=on needs external6"};
    for (int i = 0; i < 2; i++)
        if (settings->nat.mode[i] == NAT_ON && settings->nat.external_count[i] == 0) {
            snprintf(error, SETTINGS_ERROR_BYTES, "%s=ADDRESS", names[i]);
            return false;
        }
    if (settings->mtu && settings->mtu < SETTINGS_MTU_MIN) {
        snprintf(error, SETTINGS_ERROR_BYTES, "mtu: at least %u", SETTINGS_MTU_MIN);
        return false;
    }
    return true;
}

void settings_init(struct settings *settings, uint64_t seed)
{
    memset(settings, 0, sizeof(*settings));
    struct nat_config *nat = &settings->nat;
    for (int i = 0; i < FLOW_COUNT; i++)
        nat->rules[i] = (struct nat_rules){
            .mapping = NAT_EI, .filtering = NAT_APD, .ports = NAT_PRESERVE, .step = 1};
    nat->rules[FLOW_UDP].timeout = 120 * NAT_SEC_NS;  /* RFC 4787 REQ-5: not less */
    nat->rules[FLOW_TCP].timeout = 7440 * NAT_SEC_NS; /* RFC 5382 REQ-5: 2 h 4 min */
    nat->rules[FLOW_ICMP].timeout = 60 * NAT_SEC_NS;  /* RFC 5508 REQ-2 */
    nat->tcp_transitory = 240 * NAT_SEC_NS;           /* RFC 5382 REQ-5 */
    nat->is_udp_inbound_refreshing = true;
    nat->has_tcp_simultaneous = true;
    nat->is_pooling_paired = true;
    nat->port_first = NAT_PORT_FIRST;
    nat->port_last = NAT_PORT_LAST;
    nat->max_mappings = NAT_MAPPINGS_DEFAULT;
    settings->is_hairpin = true;
    for (int i = 0; i < 2; i++) {
        settings->link[i].loss_burst = 1;
        settings->link[i].reorder_delay = 10 * LINK_MS_NS;
    }
    settings->seed = seed;
    ip_parse("192.0.0.8", &settings->address[0]); /* RFC 7600: a sender with no address */
    settings->has_address[0] = true;
}
