/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 *     LOOKUP: the servers' names, one address of the family each
 *     FIRST:  all of them are asked from one local port
 *     SECOND: if one of them has a second address (OTHER-ADDRESS), from the same port that address
 *             with the first port (II), and with its second port (III); and from a fresh port that
 *             has never sent there (UDP only), an answer from the other address (CHANGE-REQUEST
 *             address and port), and from the other port
 *     then the judgement
 *
 * Mapping (RFC 5780 4.3), I being the first answer: mapped address is ours: no NAT; I = II:
 * independent; II = III: by address; else by address and port. Without a second address, two
 * servers at different addresses tell at least whether it is independent.
 *
 * Filtering (4.4): an answer from the other address: independent; only from the other port: by
 * address; none: by address and port. A server that answers from where it was asked does not do
 * what it is asked for, and says nothing. Over TCP none of this can be measured: a server must not
 * connect to us (RFC 8489 6.2.2).
 *
 * A second address that cannot be one (of another family, the first one, not a global address
 * although the first one is) is passed over.
 */
#include "stun/behaviour.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stun/behaviour_int.h"

#define PATIENCE_US SEC_US

enum second { SECOND_ADDRESS, SECOND_BOTH, SECOND_FILTER_BOTH, SECOND_FILTER_PORT, SECOND_COUNT };

/* A server of the first round. */
struct asked {
    struct behaviour *of;
    void *lookup;
    struct addr addr; /* unset: not known */
    struct probe probe;
    bool pending;
    struct binding_answer answer;
};

/* A question of the second. */
struct later {
    struct behaviour *of;
    struct probe probe;
    bool pending, asked;
    struct binding_answer answer;
};

struct behaviour {
    struct loop *loop;
    struct behaviour_options options;
    behaviour_cb *done;
    void *arg;
    struct prober *main, *fresh;
    struct asked first[BEHAVIOUR_SERVERS_MAX];
    struct later second[SECOND_COUNT];
    struct probe opening; /* what makes the fresh port's mapping */
    struct asked *helper; /* who has a second address; NULL: nobody */
    struct timer patience;
    struct defer start;
    bool second_round;
};

/* --- Names --- */

const char *behaviour_mapping_name(enum behaviour_mapping mapping)
{
    switch (mapping) {
    case BEHAVIOUR_MAPPING_UNKNOWN:
        return "unknown";
    case BEHAVIOUR_MAPPING_BLOCKED:
        return "blocked";
    case BEHAVIOUR_MAPPING_NONE:
        return "no NAT";
    case BEHAVIOUR_MAPPING_INDEPENDENT:
        return "endpoint-independent";
    case BEHAVIOUR_MAPPING_ADDRESS:
        return "address-dependent";
    case BEHAVIOUR_MAPPING_ADDRESS_PORT:
        return "address- and port-dependent";
    case BEHAVIOUR_MAPPING_DEPENDENT:
        return "endpoint-dependent";
    }
    return NULL;
}

const char *behaviour_filtering_name(enum behaviour_filtering filtering)
{
    switch (filtering) {
    case BEHAVIOUR_FILTERING_UNKNOWN:
        return "unknown";
    case BEHAVIOUR_FILTERING_INDEPENDENT:
        return "endpoint-independent";
    case BEHAVIOUR_FILTERING_ADDRESS:
        return "address-dependent";
    case BEHAVIOUR_FILTERING_ADDRESS_PORT:
        return "address- and port-dependent";
    }
    return NULL;
}

/* --- The judgement --- */

static bool is_mapped(const struct binding_answer *answer)
{
    return answer->outcome == BINDING_MAPPED;
}

static void add_port(struct behaviour_result *r, const struct binding_answer *answer)
{
    if (is_mapped(answer) && r->port_count < BEHAVIOUR_PORTS_MAX)
        r->ports[r->port_count++] = answer->mapped.port;
}

/* The ports, in the order of asking, and the step between them. */
static void judge_ports(struct behaviour *b, struct behaviour_result *r)
{
    for (size_t i = 0; i < b->options.server_count; i++)
        add_port(r, &b->first[i].answer);
    add_port(r, &b->second[SECOND_ADDRESS].answer);
    add_port(r, &b->second[SECOND_BOTH].answer);
    if (r->port_count < 3)
        return;
    r->step = r->ports[1] - r->ports[0];
    for (size_t i = 2; i < r->port_count; i++)
        if (r->ports[i] - r->ports[i - 1] != r->step)
            r->step = 0;
}

/* By two servers at different addresses. */
static enum behaviour_mapping compare_servers(const struct behaviour *b, const struct asked *one)
{
    enum behaviour_mapping mapping = BEHAVIOUR_MAPPING_UNKNOWN;

    for (size_t i = 0; i < b->options.server_count; i++) {
        const struct asked *other = &b->first[i];

        if (!is_mapped(&other->answer) || addr_equal_ip(&other->addr, &one->addr))
            continue;
        if (!addr_equal(&other->answer.mapped, &one->answer.mapped))
            return BEHAVIOUR_MAPPING_DEPENDENT;
        mapping = BEHAVIOUR_MAPPING_INDEPENDENT;
    }
    return mapping;
}

static enum behaviour_mapping judge_mapping(const struct behaviour *b, const struct asked *one,
                                            const struct addr *local)
{
    const struct binding_answer *first = &one->answer;
    const struct binding_answer *ii = &b->second[SECOND_ADDRESS].answer;
    const struct binding_answer *iii = &b->second[SECOND_BOTH].answer;

    if (addr_equal(&first->mapped, local))
        return BEHAVIOUR_MAPPING_NONE;
    if (!b->helper || !is_mapped(ii))
        return compare_servers(b, one);
    if (addr_equal(&ii->mapped, &first->mapped))
        return BEHAVIOUR_MAPPING_INDEPENDENT;
    if (!is_mapped(iii))
        return BEHAVIOUR_MAPPING_DEPENDENT;
    return addr_equal(&ii->mapped, &iii->mapped) ? BEHAVIOUR_MAPPING_ADDRESS
                                                 : BEHAVIOUR_MAPPING_ADDRESS_PORT;
}

static enum behaviour_filtering judge_filtering(const struct behaviour *b)
{
    const struct later *both = &b->second[SECOND_FILTER_BOTH],
                       *port = &b->second[SECOND_FILTER_PORT];
    const struct addr *at = b->helper ? &b->helper->addr : NULL;

    if (!at || !both->asked || !port->asked)
        return BEHAVIOUR_FILTERING_UNKNOWN;
    /* An error, or an answer from where the question went: the server does not do it. */
    if ((both->answer.outcome != BINDING_SILENT && !is_mapped(&both->answer)) ||
        (port->answer.outcome != BINDING_SILENT && !is_mapped(&port->answer)) ||
        (is_mapped(&both->answer) && addr_equal_ip(&both->answer.from, at)) ||
        (is_mapped(&port->answer) && addr_equal(&port->answer.from, at)))
        return BEHAVIOUR_FILTERING_UNKNOWN;
    if (is_mapped(&both->answer))
        return BEHAVIOUR_FILTERING_INDEPENDENT;
    return is_mapped(&port->answer) ? BEHAVIOUR_FILTERING_ADDRESS
                                    : BEHAVIOUR_FILTERING_ADDRESS_PORT;
}

static void describe(struct behaviour_result *r)
{
    const char *protocol = r->protocol == SERVER_UDP ? "UDP" : "TCP";
    const char *family = r->family == AF_INET ? "IPv4" : "IPv6";

    if (r->asked == 0)
        snprintf(r->text, sizeof(r->text), "%s over %s: no STUN server has an address", protocol,
                 family);
    else if (r->mapping == BEHAVIOUR_MAPPING_BLOCKED)
        snprintf(r->text, sizeof(r->text), "%s over %s: none of %zu STUN servers answered",
                 protocol, family, r->asked);
    else if (r->mapping == BEHAVIOUR_MAPPING_UNKNOWN)
        snprintf(
            r->text, sizeof(r->text),
            "%s over %s: a NAT whose mapping is not known: it takes two STUN servers, of which "
            "one answered",
            protocol, family);
    else
        snprintf(r->text, sizeof(r->text), "%s over %s: %s%s%s%s", protocol, family,
                 r->mapping == BEHAVIOUR_MAPPING_NONE ? "" : "mapping ",
                 behaviour_mapping_name(r->mapping),
                 r->filtering == BEHAVIOUR_FILTERING_UNKNOWN ? "" : ", filtering ",
                 r->filtering == BEHAVIOUR_FILTERING_UNKNOWN
                     ? ""
                     : behaviour_filtering_name(r->filtering));
}

static void destroy(struct behaviour *b)
{
    for (size_t i = 0; i < BEHAVIOUR_SERVERS_MAX; i++) {
        if (b->first[i].lookup)
            b->options.resolver.cancel(b->options.resolver.owner, b->first[i].lookup);
        probe_cancel(&b->first[i].probe);
    }
    for (size_t i = 0; i < SECOND_COUNT; i++)
        probe_cancel(&b->second[i].probe);
    probe_cancel(&b->opening);
    prober_free(b->main);
    prober_free(b->fresh);
    timer_cancel(b->loop, &b->patience);
    defer_cancel(b->loop, &b->start);
    free(b);
}

static void finish(struct behaviour *b)
{
    struct behaviour_result r = {.protocol = b->options.protocol, .family = b->options.family};
    const struct asked *one = b->helper;
    behaviour_cb *done = b->done;
    void *arg = b->arg;

    for (size_t i = 0; i < b->options.server_count; i++) {
        r.asked += addr_is_set(&b->first[i].addr);
        r.answered += is_mapped(&b->first[i].answer);
        if (!one && is_mapped(&b->first[i].answer))
            one = &b->first[i];
    }
    r.mapping = r.asked > 0 ? BEHAVIOUR_MAPPING_BLOCKED : BEHAVIOUR_MAPPING_UNKNOWN;
    if (one) {
        r.local = prober_local(b->main, &one->addr);
        r.mapped = one->answer.mapped;
        r.rtt_us = one->answer.rtt_us;
        r.same_port = r.mapped.port == r.local.port;
        r.mapping = judge_mapping(b, one, &r.local);
        r.filtering = judge_filtering(b);
        judge_ports(b, &r);
    }
    describe(&r);
    destroy(b);
    done(arg, &r);
}

void behaviour_cancel(struct behaviour *behaviour)
{
    destroy(behaviour);
}

/* --- The second round --- */

static void on_second(void *arg, const struct binding_answer *answer)
{
    struct later *later = arg;
    struct behaviour *b = later->of;

    later->answer = *answer;
    later->pending = false;
    for (size_t i = 0; i < SECOND_COUNT; i++)
        if (b->second[i].pending)
            return;
    finish(b);
}

static void ask_second(struct behaviour *b, enum second which, struct prober *prober,
                       const struct addr *to, unsigned change)
{
    struct later *later = &b->second[which];

    later->of = b;
    later->pending = later->asked = true;
    prober_ask(prober, &later->probe, to, change, on_second, later);
}

static void on_opening(void *arg, const struct binding_answer *answer)
{
    struct behaviour *b = arg;

    if (!is_mapped(answer)) { /* lost: then silence would say nothing */
        b->second[SECOND_FILTER_BOTH].asked = false;
        on_second(&b->second[SECOND_FILTER_BOTH], answer);
        return;
    }
    ask_second(b, SECOND_FILTER_PORT, b->fresh, &b->helper->addr, STUN_CHANGE_PORT);
    ask_second(b, SECOND_FILTER_BOTH, b->fresh, &b->helper->addr,
               STUN_CHANGE_IP | STUN_CHANGE_PORT);
}

/* What RFC 5780 needs of a second address. */
static bool is_second(const struct asked *asked)
{
    const struct addr *other = &asked->answer.other;

    return is_mapped(&asked->answer) && other->family == asked->addr.family && other->port != 0 &&
           !addr_equal_ip(other, &asked->addr) && !addr_is_any(other) &&
           addr_is_loopback(other) == addr_is_loopback(&asked->addr);
}

static void start_second(struct behaviour *b)
{
    struct addr to;

    timer_cancel(b->loop, &b->patience);
    b->second_round = true;
    for (size_t i = 0; i < b->options.server_count && !b->helper; i++)
        if (is_second(&b->first[i]))
            b->helper = &b->first[i];
    if (!b->helper) {
        finish(b);
        return;
    }
    to = b->helper->answer.other;
    to.port = b->helper->addr.port;
    ask_second(b, SECOND_ADDRESS, b->main, &to, 0);
    ask_second(b, SECOND_BOTH, b->main, &b->helper->answer.other, 0);
    if (b->options.protocol != SERVER_UDP)
        return;
    struct pipe_options options = b->options.pipe;
    options.local.port = 0;
    b->fresh = prober_new(b->loop, SERVER_UDP, b->options.family, &options, &b->options.timing);
    if (!b->fresh)
        return;
    /* Stands for all of the filtering until the fresh port is open. */
    b->second[SECOND_FILTER_BOTH].of = b;
    b->second[SECOND_FILTER_BOTH].pending = true;
    prober_ask(b->fresh, &b->opening, &b->helper->addr, 0, on_opening, b);
}

/* --- The first round --- */

/* Goes on when all have answered, or failed. */
static void first_is_over(struct behaviour *b)
{
    if (b->second_round)
        return;
    for (size_t i = 0; i < b->options.server_count; i++)
        if (b->first[i].pending)
            return;
    start_second(b);
}

static void on_patience(void *arg)
{
    start_second(arg);
}

static void on_first(void *arg, const struct binding_answer *answer)
{
    struct asked *asked = arg;
    struct behaviour *b = asked->of;

    if (b->second_round && is_mapped(answer))
        return; /* too late to be asked in vain, and to count in the order of ports */
    asked->answer = *answer;
    asked->pending = false;
    if (is_mapped(answer) && !timer_is_set(&b->patience) && !b->second_round)
        timer_set_in(b->loop, &b->patience, b->options.patience_us);
    first_is_over(b);
}

static void ask_first(struct asked *asked, const struct addr *addr)
{
    struct behaviour *b = asked->of;

    for (size_t i = 0; i < b->options.server_count; i++) /* two names of one server are one */
        if (addr_is_set(&b->first[i].addr) && addr_equal(&b->first[i].addr, addr)) {
            asked->pending = false;
            first_is_over(b);
            return;
        }
    asked->addr = *addr;
    prober_ask(b->main, &asked->probe, addr, 0, on_first, asked);
}

static void on_resolved(void *arg, const struct addr *addrs, size_t count, const char *why)
{
    struct asked *asked = arg;
    struct behaviour *b = asked->of;
    const struct stun_server *server = &b->options.servers[asked - b->first];

    (void)why;
    asked->lookup = NULL;
    for (size_t i = 0; i < count; i++) {
        struct addr addr = addrs[i];

        if (addr.family != b->options.family || b->second_round)
            continue;
        addr.port = server->port;
        ask_first(asked, &addr);
        return;
    }
    asked->pending = false;
    first_is_over(b);
}

static void on_start(void *arg)
{
    struct behaviour *b = arg;
    const struct stun_resolver *resolver = &b->options.resolver;

    for (size_t i = 0; i < b->options.server_count; i++)
        b->first[i].pending = true;
    for (size_t i = 0; i < b->options.server_count; i++) {
        struct asked *asked = &b->first[i];
        const char *host = b->options.servers[i].host;
        struct addr addr;

        asked->of = b;
        if (addr_parse_ip(host, &addr) == 0) {
            addr.port = b->options.servers[i].port;
            asked->pending = addr.family == b->options.family;
            if (asked->pending)
                ask_first(asked, &addr);
        } else if (!resolver->start ||
                   !(asked->lookup = resolver->start(resolver->owner, host, on_resolved, asked))) {
            asked->pending = false;
        }
    }
    first_is_over(b);
}

struct behaviour *behaviour_start(struct loop *loop, const struct behaviour_options *options,
                                  behaviour_cb *done, void *arg)
{
    static const struct transaction_timing timing = BEHAVIOUR_TIMING;
    struct behaviour *b = calloc(1, sizeof(*b));

    if (!b)
        return NULL;
    b->loop = loop;
    b->options = *options;
    if (b->options.server_count > BEHAVIOUR_SERVERS_MAX)
        b->options.server_count = BEHAVIOUR_SERVERS_MAX;
    if (b->options.timing.rto_us == 0)
        b->options.timing = timing;
    if (b->options.patience_us == 0)
        b->options.patience_us = PATIENCE_US;
    b->done = done;
    b->arg = arg;
    timer_init(&b->patience, on_patience, b);
    defer_init(&b->start, on_start, b);
    b->main =
        prober_new(loop, options->protocol, options->family, &b->options.pipe, &b->options.timing);
    if (!b->main) {
        free(b);
        return NULL;
    }
    defer_soon(loop, &b->start);
    return b;
}
