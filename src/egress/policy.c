/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A destination is judged twice: its name before it is looked up (deny rules only), and each
 * address when it is about to be dialled. The second is the one that protects: whatever a name
 * resolves to, now or a second later, the address that goes into connect(2) is the address that was
 * judged.
 *
 * Forms. An IPv6 address may be a wrapper whose packets end up at an IPv4 address: mapped (which is
 * simply dialled as IPv4), NAT64 (RFC 6052: 64:ff9b::/96; RFC 8215: 64:ff9b:1::/48), 6to4 (RFC
 * 3056) and Teredo (RFC 4380: server and client). An address is judged in all of its forms: one
 * denied form denies it, and each form must be public or allowed. The prefix of RFC 8215 does not
 * say where the IPv4 address stands, so all four places of RFC 6052 2.2 count; those which read as
 * 0.0.0.0/8 are taken for the padding that they are. An operator's own NAT64 prefix cannot be known
 * from the address: such a network needs a deny rule for the part of the prefix that leads to
 * private addresses.
 *
 * Default. Public addresses only: IPv4 less the special registry (RFC 6890 and later), IPv6 within
 * 2000::/3 (what IANA has given out) less its special blocks; not the exit's own addresses, for
 * services often trust "local" clients; not TCP port 25, for an exit must not become a source of
 * spam.
 *
 * Rules. Deny wins over allow. An allow rule opens what it names and nothing else:
 *   - a network opens its addresses (non-public and own ones too), on its ports if it has any;
 *   - "*:25" opens the port, on addresses which are open anyway;
 *   - port 25 opens only by a rule that names ports;
 *   - a domain opens its ports; it does NOT open private addresses.
 *
 * Whoever holds a domain chooses its addresses, and can choose others between two lookups (DNS
 * rebinding); the operator who trusts a name for an internal service allows the service's network
 * instead. A deny rule for a domain stops its names, not its addresses: a peer can still dial the
 * address, or another name for it. To keep peers away from a host, deny its addresses.
 *
 * docs/exit-policy.md says the same to operators.
 *
 * Limits: POLICY_RULES_MAX rules, scanned in order (deny first); POLICY_OWN_MAX own addresses.
 */
#include "egress/policy.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define SMTP_PORT 25
#define FORMS_MAX 5 /* the address, and four places of RFC 6052 */

struct rule_list {
    struct rule *rules;
    size_t count, cap;
};

struct policy {
    struct rule_list allow, deny;
    struct addr *own;
    size_t own_count;
};

/* --- Addresses --- */

struct block {
    uint8_t bytes[16];
    uint8_t bits;
};

static bool prefix_matches(const uint8_t *ip, const uint8_t *prefix, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(ip, prefix, whole) != 0)
        return false;
    return rest == 0 || ((ip[whole] ^ prefix[whole]) >> (8 - rest)) == 0;
}

static bool in_blocks(const uint8_t *ip, const struct block *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (prefix_matches(ip, blocks[i].bytes, blocks[i].bits))
            return true;
    return false;
}

/* IANA IPv4 special-purpose registry: what is not globally reachable. */
static const struct block special_v4[] = {
    {{0}, 8},             /* this network, RFC 791 3.2; 0.0.0.0 connects to this host */
    {{10}, 8},            /* private, RFC 1918 */
    {{100, 64}, 10},      /* shared by carriers, RFC 6598 */
    {{127}, 8},           /* loopback */
    {{169, 254}, 16},     /* link-local, RFC 3927; cloud metadata */
    {{172, 16}, 12},      /* private */
    {{192, 0, 0}, 24},    /* protocol assignments, RFC 6890 */
    {{192, 0, 2}, 24},    /* documentation, RFC 5737 */
    {{192, 88, 99}, 24},  /* 6to4 relays, withdrawn by RFC 7526 */
    {{192, 168}, 16},     /* private */
    {{198, 18}, 15},      /* benchmarks, RFC 2544 */
    {{198, 51, 100}, 24}, /* documentation */
    {{203, 0, 113}, 24},  /* documentation */
    {{224}, 4},           /* multicast */
    {{240}, 4},           /* reserved, and broadcast */
};

/* What is special within 2000::/3. */
static const struct block special_v6[] = {
    {{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation, RFC 3849 */
    {{0x3f, 0xff}, 20},             /* documentation, RFC 9637 */
    {{0x20, 0x01}, 23},             /* protocol assignments, RFC 2928, save those below */
};
static const struct block global_v6[] = {
    {{0x20, 0x01, 0, 0}, 32},             /* Teredo: judged by what it wraps */
    {{0x20, 0x01, 0, 3}, 32},             /* AMT, RFC 7450 */
    {{0x20, 0x01, 0, 4, 0x01, 0x12}, 48}, /* AS112, RFC 7535 */
};
static const struct block nat64[] = {
    {{0, 0x64, 0xff, 0x9b}, 96},       /* RFC 6052 2.1 */
    {{0, 0x64, 0xff, 0x9b, 0, 1}, 48}, /* RFC 8215 */
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Whether one form, without regard to what it wraps, is public. */
static bool form_is_public(const struct addr *form)
{
    const uint8_t *ip = form->ip.bytes;
    if (form->family == AF_INET)
        return !in_blocks(ip, special_v4, COUNT(special_v4));
    if (form->family != AF_INET6)
        return false;
    if (in_blocks(ip, nat64, COUNT(nat64)))
        return true;
    if ((ip[0] & 0xe0) != 0x20)
        return false;
    return !in_blocks(ip, special_v6, COUNT(special_v6)) ||
           in_blocks(ip, global_v6, COUNT(global_v6));
}

static void add_form(struct addr *forms, size_t *count, uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    forms[(*count)++] = (struct addr){.family = AF_INET, .ip.bytes = {a, b, c, d}};
}

/* The address and what it wraps, each of them to be judged. At least one. */
static size_t forms_of(const struct addr *addr, struct addr forms[FORMS_MAX])
{
    size_t count = 1;
    forms[0] = addr_unmap(addr);
    if (forms[0].family != AF_INET6)
        return count;

    const uint8_t *ip = forms[0].ip.bytes;
    if (ip[0] == 0x20 && ip[1] == 0x02) { /* 6to4 */
        add_form(forms, &count, ip[2], ip[3], ip[4], ip[5]);
    } else if (prefix_matches(ip, global_v6[0].bytes, global_v6[0].bits)) { /* Teredo */
        add_form(forms, &count, ip[4], ip[5], ip[6], ip[7]);
        add_form(forms, &count, ip[12] ^ 0xff, ip[13] ^ 0xff, ip[14] ^ 0xff, ip[15] ^ 0xff);
    } else if (in_blocks(ip, nat64, COUNT(nat64))) {
        add_form(forms, &count, ip[12], ip[13], ip[14], ip[15]);
        if (prefix_matches(ip, nat64[1].bytes, nat64[1].bits)) {
            if (ip[6]) /* /48 */
                add_form(forms, &count, ip[6], ip[7], ip[9], ip[10]);
            if (ip[7]) /* /56 */
                add_form(forms, &count, ip[7], ip[9], ip[10], ip[11]);
            if (ip[9]) /* /64 */
                add_form(forms, &count, ip[9], ip[10], ip[11], ip[12]);
        }
    }
    return count;
}

bool policy_is_public(const struct addr *addr)
{
    struct addr forms[FORMS_MAX];
    size_t count = forms_of(addr, forms);
    for (size_t i = 0; i < count; i++)
        if (!form_is_public(&forms[i]))
            return false;
    return true;
}

/* --- Rules --- */

static int add_rule(struct policy *policy, struct rule_list *list, const struct rule *rule)
{
    if (policy->allow.count + policy->deny.count >= POLICY_RULES_MAX)
        return ADIT_EFULL;
    if (list->count == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 8;
        struct rule *rules = realloc(list->rules, cap * sizeof *rules);
        if (!rules)
            return -ENOMEM;
        list->rules = rules;
        list->cap = cap;
    }
    struct rule *copy = &list->rules[list->count++];
    *copy = *rule;
    /* Mapped addresses are dialled, and judged, as IPv4. */
    if (rule->kind == RULE_NET && rule->prefix >= 96) {
        copy->net = addr_unmap(&rule->net);
        if (copy->net.family != rule->net.family)
            copy->prefix = (uint8_t)(rule->prefix - 96);
    }
    return 0;
}

static bool names_ports(const struct rule *rule)
{
    return rule->port_low != 0;
}

struct policy *policy_new(void)
{
    return calloc(1, sizeof(struct policy));
}

void policy_free(struct policy *policy)
{
    if (!policy)
        return;
    free(policy->allow.rules);
    free(policy->deny.rules);
    free(policy->own);
    free(policy);
}

int policy_allow(struct policy *policy, const struct rule *rule)
{
    if (rule->kind == RULE_ANY && !names_ports(rule))
        return -EINVAL;
    return add_rule(policy, &policy->allow, rule);
}

int policy_deny(struct policy *policy, const struct rule *rule)
{
    return add_rule(policy, &policy->deny, rule);
}

int policy_set_own(struct policy *policy, const struct addr *own, size_t count)
{
    if (count > POLICY_OWN_MAX)
        return ADIT_EFULL;
    struct addr *copy = NULL;
    if (count) {
        copy = malloc(count * sizeof *copy);
        if (!copy)
            return -ENOMEM;
        for (size_t i = 0; i < count; i++)
            copy[i] = addr_unmap(&own[i]);
    }
    free(policy->own);
    policy->own = copy;
    policy->own_count = count;
    return 0;
}

/* --- Judging --- */

static bool is_denied(const struct policy *policy, const struct addr *form, const char *name,
                      uint16_t port)
{
    for (size_t i = 0; i < policy->deny.count; i++)
        if (rule_match(&policy->deny.rules[i], name, form, port))
            return true;
    return false;
}

enum policy_verdict policy_check_name(const struct policy *policy, const char *name, uint16_t port)
{
    return is_denied(policy, NULL, name, port) ? POLICY_DENIED : POLICY_ALLOWED;
}

static bool is_own(const struct policy *policy, const struct addr *form)
{
    for (size_t i = 0; i < policy->own_count; i++)
        if (policy->own[i].family == form->family &&
            memcmp(policy->own[i].ip.bytes, form->ip.bytes, addr_ip_bytes(form)) == 0)
            return true;
    return false;
}

static enum policy_verdict judge_form(const struct policy *policy, enum policy_protocol protocol,
                                      const struct addr *form, const char *name, uint16_t port)
{
    if (is_denied(policy, form, name, port))
        return POLICY_DENIED;

    bool by_net = false, by_port = false;
    for (size_t i = 0; i < policy->allow.count; i++) {
        const struct rule *rule = &policy->allow.rules[i];
        if (!rule_match(rule, name, form, port))
            continue;
        by_net = by_net || rule->kind == RULE_NET;
        by_port = by_port || names_ports(rule);
    }
    if (!by_net) {
        if (!form_is_public(form))
            return POLICY_NOT_PUBLIC;
        if (is_own(policy, form))
            return POLICY_OWN_ADDRESS;
    }
    if (protocol == POLICY_TCP && port == SMTP_PORT && !by_port)
        return POLICY_PORT;
    return POLICY_ALLOWED;
}

enum policy_verdict policy_check(const struct policy *policy, enum policy_protocol protocol,
                                 const struct addr *to, const char *name)
{
    struct addr forms[FORMS_MAX];
    size_t count = forms_of(to, forms);
    for (size_t i = 0; i < count; i++) {
        enum policy_verdict verdict = judge_form(policy, protocol, &forms[i], name, to->port);
        if (verdict != POLICY_ALLOWED)
            return verdict;
    }
    return POLICY_ALLOWED;
}

static const char *const verdict_texts[] = {
    [POLICY_ALLOWED] = "allowed",
    [POLICY_NOT_PUBLIC] = "not a public address",
    [POLICY_OWN_ADDRESS] = "an address of the exit itself",
    [POLICY_PORT] = "TCP port 25 is closed",
    [POLICY_DENIED] = "denied by a rule",
};
static_assert(COUNT(verdict_texts) == POLICY_VERDICT_LAST + 1, "every verdict has a text");

const char *policy_verdict_text(enum policy_verdict verdict)
{
    return verdict_texts[verdict];
}
