/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A mapping ties an inside endpoint to an external one; depending on the mapping behaviour it is
 * for any remote (endpoint-independent), one remote address, or one remote endpoint (RFC 4787 4.1).
 * A session is a mapping together with one remote endpoint. Sessions carry the time and TCP's state
 * and are the filter: a remote may enter when the mapping has a session with it (filtering apd),
 * with its address (ad), or at all (ei; RFC 4787 5). A mapping lives as long as the last of its
 * sessions.
 *
 * Four hash tables: sessions by (inside, remote) and by (external, remote), one look-up for a
 * packet of a known session in either direction; mappings by (inside, scope) and by external
 * endpoint, for the first packet of each. A packet that is let in makes a session, too, so that
 * what answers it leaves by the same mapping, whatever the mapping behaviour.
 *
 * A firewall (NAT_FIREWALL) is the same with external endpoints equal to inside ones. ICMP echo is
 * a flow whose inside port is the identifier and whose remote port is 0.
 *
 * TCP (RFC 5382): a SYN from inside makes a session; a SYN from outside may enter where the filter
 * lets it, and may meet a SYN that left (simultaneous open). Both SYNs seen and an ACK: open, and
 * tcp.timeout counts; before, and after both FINs or a RST: tcp.transitory. Any other segment
 * without a session is a stray (tcp.strays).
 *
 * Linux' own masquerading is: mapping apd, ports preserve-overload, filtering apd.
 *
 * Static forwards are mappings that never expire, with filtering ei, one for each external address.
 * A mapping that is not static expires; what has expired is treated as absent wherever it is met,
 * and nat_sweep() frees the rest. Limits: max_mappings, NAT_SESSIONS_MAX; at a limit new ones are
 * refused (NAT_FULL), after a sweep. Time and seed are inputs; there is no other state.
 */
#include "nat.h"

#include <stdlib.h>
#include <string.h>

#include "chance.h"

#define BUCKETS      16384 /* of each table; a power of two */
#define RANDOM_TRIES 64    /* then the range is searched from where chance led */
#define FOREVER      INT64_MAX

enum tcp_state { TCP_NEW, TCP_SYN_LEFT, TCP_SYN_ENTERED, TCP_SYN_BOTH, TCP_OPEN, TCP_CLOSED };

static const char *const tcp_names[] = {"new",      "syn-left", "syn-entered",
                                        "syn-both", "open",     "closed"};
_Static_assert(sizeof(tcp_names) / sizeof(*tcp_names) == TCP_CLOSED + 1, "a name for each");

struct session {
    struct session *next_inside, *next_external; /* in the buckets */
    struct session *next, **prev;                /* of the mapping */
    struct mapping *mapping;
    struct endpoint remote;
    int64_t expires;
    enum tcp_state state;
    bool has_fin_left, has_fin_entered;
};

struct mapping {
    struct mapping *next_inside, *next_external;
    struct mapping *next, **prev; /* of all */
    enum flow flow;
    bool is_static;
    struct endpoint inside, external;
    struct endpoint scope; /* the remote it is for; zeros where it does not matter */
    struct session *sessions;
    int64_t expires;
};

struct nat {
    struct nat_config config;
    uint64_t seed;
    struct chance chance;
    struct mapping *mappings;
    struct mapping *by_inside[BUCKETS], *by_external[BUCKETS];
    struct session *sessions_inside[BUCKETS], *sessions_external[BUCKETS];
    unsigned mapping_count, static_count, session_count;
    unsigned last_port[2][FLOW_COUNT][NAT_EXTERNAL_MAX];
};

static const struct endpoint nobody;

/* --- Keys --- */

static uint64_t mix(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

static size_t bucket(enum flow flow, const struct endpoint *a, const struct endpoint *b)
{
    uint64_t h = mix(a->ip.words[0] + (uint64_t)flow + 1);
    h = mix(h + a->ip.words[1]);
    h = mix(h + b->ip.words[0]);
    h = mix(h + b->ip.words[1]);
    return mix(h + ((uint64_t)a->port << 16 | b->port)) & (BUCKETS - 1);
}

static int family_of(const union address *ip)
{
    return ip_is_ipv4(ip) ? 0 : 1;
}

static struct endpoint scope_of(enum nat_scope scope, const struct endpoint *remote)
{
    struct endpoint result = nobody;
    if (scope != NAT_EI)
        result.ip = remote->ip;
    if (scope == NAT_APD)
        result.port = remote->port;
    return result;
}

/* --- Removing --- */

/* Takes an entry out of the singly linked list at head, in which it is. */
#define UNLINK(head, entry, next)        \
    do {                                 \
        __typeof__(entry) *at_ = (head); \
        while (*at_ != (entry))          \
            at_ = &(*at_)->next;         \
        *at_ = (entry)->next;            \
    } while (0)

static void session_remove(struct nat *nat, struct session *session)
{
    struct mapping *mapping = session->mapping;
    size_t inside = bucket(mapping->flow, &mapping->inside, &session->remote);
    size_t external = bucket(mapping->flow, &mapping->external, &session->remote);
    UNLINK(&nat->sessions_inside[inside], session, next_inside);
    UNLINK(&nat->sessions_external[external], session, next_external);
    *session->prev = session->next;
    if (session->next)
        session->next->prev = session->prev;
    nat->session_count--;
    free(session);
}

static void mapping_remove(struct nat *nat, struct mapping *mapping)
{
    while (mapping->sessions)
        session_remove(nat, mapping->sessions);
    size_t inside = bucket(mapping->flow, &mapping->inside, &mapping->scope);
    size_t external = bucket(mapping->flow, &mapping->external, &nobody);
    UNLINK(&nat->by_inside[inside], mapping, next_inside);
    UNLINK(&nat->by_external[external], mapping, next_external);
    *mapping->prev = mapping->next;
    if (mapping->next)
        mapping->next->prev = mapping->prev;
    *(mapping->is_static ? &nat->static_count : &nat->mapping_count) -= 1;
    free(mapping);
}

static bool mapping_is_live(const struct mapping *mapping, int64_t now)
{
    return mapping->expires > now;
}

/* After a session has lost time or gone: the mapping's end anew. It goes with its last session. */
static void mapping_settle(struct nat *nat, struct mapping *mapping)
{
    if (mapping->is_static)
        return;
    int64_t expires = INT64_MIN;
    for (struct session *session = mapping->sessions; session; session = session->next)
        expires = session->expires > expires ? session->expires : expires;
    mapping->expires = expires;
    if (!mapping->sessions)
        mapping_remove(nat, mapping);
}

void nat_sweep(struct nat *nat, int64_t now)
{
    struct mapping *mapping, *next;
    for (mapping = nat->mappings; mapping; mapping = next) {
        next = mapping->next;
        if (!mapping_is_live(mapping, now)) {
            mapping_remove(nat, mapping);
            continue;
        }
        struct session *session, *after;
        for (session = mapping->sessions; session; session = after) {
            after = session->next;
            if (session->expires <= now)
                session_remove(nat, session);
        }
    }
}

void nat_flush(struct nat *nat)
{
    struct mapping *mapping, *next;
    for (mapping = nat->mappings; mapping; mapping = next) {
        next = mapping->next;
        if (!mapping->is_static) {
            mapping_remove(nat, mapping);
            continue;
        }
        while (mapping->sessions)
            session_remove(nat, mapping->sessions);
    }
}

/* --- Finding --- */

static struct mapping *find_inside(struct nat *nat, enum flow flow, const struct endpoint *inside,
                                   const struct endpoint *scope, int64_t now)
{
    struct mapping *mapping, *next;
    for (mapping = nat->by_inside[bucket(flow, inside, scope)]; mapping; mapping = next) {
        next = mapping->next_inside;
        if (mapping->flow != flow || !endpoint_equal(&mapping->inside, inside) ||
            !endpoint_equal(&mapping->scope, scope))
            continue;
        if (mapping_is_live(mapping, now))
            return mapping;
        mapping_remove(nat, mapping);
    }
    return NULL;
}

/* The first, or the one after previous, of the mappings of an external endpoint. */
static struct mapping *find_external(struct nat *nat, enum flow flow,
                                     const struct endpoint *external, struct mapping *previous,
                                     int64_t now)
{
    struct mapping *mapping, *next;
    mapping =
        previous ? previous->next_external : nat->by_external[bucket(flow, external, &nobody)];
    for (; mapping; mapping = next) {
        next = mapping->next_external;
        if (mapping->flow != flow || !endpoint_equal(&mapping->external, external))
            continue;
        if (mapping_is_live(mapping, now))
            return mapping;
        mapping_remove(nat, mapping);
    }
    return NULL;
}

static struct session *session_if_live(struct nat *nat, struct session *session, int64_t now)
{
    if (!session || session->expires > now)
        return session;
    struct mapping *mapping = session->mapping;
    session_remove(nat, session);
    mapping_settle(nat, mapping);
    return NULL;
}

static struct session *find_left(struct nat *nat, enum flow flow, const struct endpoint *inside,
                                 const struct endpoint *remote, int64_t now)
{
    struct session *session = nat->sessions_inside[bucket(flow, inside, remote)];
    while (session &&
           (session->mapping->flow != flow || !endpoint_equal(&session->mapping->inside, inside) ||
            !endpoint_equal(&session->remote, remote)))
        session = session->next_inside;
    return session_if_live(nat, session, now);
}

static struct session *find_entered(struct nat *nat, enum flow flow,
                                    const struct endpoint *external, const struct endpoint *remote,
                                    int64_t now)
{
    struct session *session = nat->sessions_external[bucket(flow, external, remote)];
    while (session && (session->mapping->flow != flow ||
                       !endpoint_equal(&session->mapping->external, external) ||
                       !endpoint_equal(&session->remote, remote)))
        session = session->next_external;
    return session_if_live(nat, session, now);
}

/* --- Making --- */

static struct mapping *mapping_add(struct nat *nat, enum flow flow, const struct endpoint *inside,
                                   const struct endpoint *external, const struct endpoint *scope,
                                   bool is_static)
{
    struct mapping *mapping = calloc(1, sizeof(*mapping));
    if (!mapping)
        return NULL;
    mapping->flow = flow;
    mapping->inside = *inside;
    mapping->external = *external;
    mapping->scope = *scope;
    mapping->is_static = is_static;
    mapping->expires = is_static ? FOREVER : INT64_MIN;
    struct mapping **at = &nat->by_inside[bucket(flow, inside, scope)];
    mapping->next_inside = *at;
    *at = mapping;
    at = &nat->by_external[bucket(flow, external, &nobody)];
    mapping->next_external = *at;
    *at = mapping;
    mapping->next = nat->mappings;
    mapping->prev = &nat->mappings;
    if (mapping->next)
        mapping->next->prev = &mapping->next;
    nat->mappings = mapping;
    *(is_static ? &nat->static_count : &nat->mapping_count) += 1;
    return mapping;
}

static struct session *session_add(struct nat *nat, struct mapping *mapping,
                                   const struct endpoint *remote, int64_t now)
{
    if (nat->session_count >= NAT_SESSIONS_MAX)
        return NULL;
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return NULL;
    session->mapping = mapping;
    session->remote = *remote;
    session->expires = now;
    struct session **at = &nat->sessions_inside[bucket(mapping->flow, &mapping->inside, remote)];
    session->next_inside = *at;
    *at = session;
    at = &nat->sessions_external[bucket(mapping->flow, &mapping->external, remote)];
    session->next_external = *at;
    *at = session;
    session->next = mapping->sessions;
    session->prev = &mapping->sessions;
    if (session->next)
        session->next->prev = &session->next;
    mapping->sessions = session;
    nat->session_count++;
    return session;
}

/* --- Ports --- */

static bool port_is_free(struct nat *nat, enum flow flow, const struct endpoint *external,
                         const struct endpoint *remote, int64_t now)
{
    struct mapping *mapping = find_external(nat, flow, external, NULL, now);
    if (!mapping)
        return true;
    if (nat->config.rules[flow].ports != NAT_PRESERVE_OVERLOAD)
        return false;
    for (; mapping; mapping = find_external(nat, flow, external, mapping, now))
        if (mapping->is_static)
            return false;
    return !find_entered(nat, flow, external, remote, now);
}

/* Searches the range from the port, step by step, once round. */
static bool port_search(struct nat *nat, enum flow flow, struct endpoint *external, unsigned from,
                        unsigned step, const struct endpoint *remote, int64_t now)
{
    unsigned first = nat->config.port_first, count = nat->config.port_last - first + 1;
    unsigned at = (from - first) % count;
    for (unsigned i = 0; i < count; i++) {
        external->port = (uint16_t)(first + at);
        if (port_is_free(nat, flow, external, remote, now))
            return true;
        /* A step that divides the range would come round too soon. */
        at = (at + step + ((uint64_t)(i + 1) * step % count == 0)) % count;
    }
    return false;
}

static bool port_choose(struct nat *nat, enum flow flow, const struct endpoint *inside,
                        const struct endpoint *remote, unsigned which, struct endpoint *external,
                        int64_t now)
{
    const struct nat_rules *rules = &nat->config.rules[flow];
    unsigned first = nat->config.port_first, count = nat->config.port_last - first + 1;
    unsigned *last = &nat->last_port[family_of(&external->ip)][flow][which];
    bool is_found = false;
    switch (rules->ports) {
    case NAT_PRESERVE:
    case NAT_PRESERVE_OVERLOAD: {
        unsigned from = inside->port;
        if (from < first || from >= first + count)
            from = first + from % count;
        is_found = port_search(nat, flow, external, from, 1, remote, now);
        break;
    }
    case NAT_STEP: {
        unsigned from =
            *last ? *last + rules->step : first + (unsigned)chance_below(&nat->chance, count);
        if (from >= first + count)
            from = first + (from - first) % count;
        is_found = port_search(nat, flow, external, from, rules->step, remote, now);
        break;
    }
    case NAT_RANDOM:
        for (int i = 0; i < RANDOM_TRIES && !is_found; i++) {
            external->port = (uint16_t)(first + (unsigned)chance_below(&nat->chance, count));
            is_found = port_is_free(nat, flow, external, remote, now);
        }
        if (!is_found)
            is_found = port_search(nat, flow, external, external->port, 1, remote, now);
        break;
    }
    if (is_found)
        *last = external->port;
    return is_found;
}

static unsigned pool_choose(struct nat *nat, int family, const union address *inside)
{
    unsigned count = nat->config.external_count[family];
    if (!nat->config.is_pooling_paired)
        return (unsigned)chance_below(&nat->chance, count);
    return (unsigned)(mix(nat->seed ^ inside->words[0] ^ mix(inside->words[1])) % count);
}

/* The mapping by which a packet leaves, made if need be; NULL: NAT_FULL. */
static struct mapping *mapping_for(struct nat *nat, enum flow flow, const struct endpoint *inside,
                                   const struct endpoint *remote, int64_t now)
{
    struct mapping *mapping = find_inside(nat, flow, inside, &nobody, now);
    if (mapping && (mapping->is_static || nat->config.rules[flow].mapping == NAT_EI))
        return mapping;
    struct endpoint scope = scope_of(nat->config.rules[flow].mapping, remote);
    mapping = find_inside(nat, flow, inside, &scope, now);
    if (mapping)
        return mapping;
    if (nat->mapping_count >= nat->config.max_mappings) {
        nat_sweep(nat, now);
        if (nat->mapping_count >= nat->config.max_mappings)
            return NULL;
    }
    struct endpoint external = *inside;
    int family = family_of(&inside->ip);
    if (nat->config.mode[family] == NAT_ON) {
        unsigned which = pool_choose(nat, family, &inside->ip);
        external.ip = nat->config.external[family][which];
        if (!port_choose(nat, flow, inside, remote, which, &external, now))
            return NULL;
    }
    return mapping_add(nat, flow, inside, &external, &scope, false);
}

/* --- Time and state --- */

static void tcp_step(struct session *session, uint8_t flags, bool is_leaving)
{
    bool is_syn = flags & PACKET_SYN, is_ack = flags & PACKET_ACK;
    if (flags & PACKET_RST) {
        session->state = TCP_CLOSED;
        return;
    }
    if (is_syn && !is_ack && session->state == TCP_CLOSED) { /* the endpoints are used again */
        session->state = TCP_NEW;
        session->has_fin_left = session->has_fin_entered = false;
    }
    switch (session->state) {
    case TCP_NEW:
        session->state = !is_syn ? TCP_OPEN : is_leaving ? TCP_SYN_LEFT : TCP_SYN_ENTERED;
        break;
    case TCP_SYN_LEFT:
        if (is_syn && !is_leaving)
            session->state = TCP_SYN_BOTH;
        break;
    case TCP_SYN_ENTERED:
        if (is_syn && is_leaving)
            session->state = TCP_SYN_BOTH;
        break;
    case TCP_SYN_BOTH:
        if (is_ack && !is_syn)
            session->state = TCP_OPEN;
        break;
    case TCP_OPEN:
    case TCP_CLOSED:
        break;
    }
    if (flags & PACKET_FIN)
        *(is_leaving ? &session->has_fin_left : &session->has_fin_entered) = true;
    if (session->has_fin_left && session->has_fin_entered)
        session->state = TCP_CLOSED;
}

/* A packet of the session has passed. The session may be gone afterwards (is_tcp_rst_closing). */
static void session_touch(struct nat *nat, struct session *session, const struct packet *packet,
                          bool is_leaving, int64_t now)
{
    struct mapping *mapping = session->mapping;
    int64_t timeout = nat->config.rules[mapping->flow].timeout;
    if (mapping->flow == FLOW_TCP) {
        tcp_step(session, packet->tcp_flags, is_leaving);
        if (session->state != TCP_OPEN)
            timeout = nat->config.tcp_transitory;
        if (packet->tcp_flags & PACKET_RST && nat->config.is_tcp_rst_closing) {
            session_remove(nat, session);
            mapping_settle(nat, mapping);
            return;
        }
    } else if (!is_leaving && mapping->flow == FLOW_UDP && !nat->config.is_udp_inbound_refreshing) {
        if (session->expires <= now) /* just made: as long as what let it in */
            session->expires = mapping->is_static ? now + timeout : mapping->expires;
        return;
    }
    bool is_shorter = session->expires > now + timeout;
    session->expires = now + timeout;
    if (mapping->is_static)
        return;
    if (is_shorter)
        mapping_settle(nat, mapping);
    else if (mapping->expires < session->expires)
        mapping->expires = session->expires;
}

static enum nat_result stray(const struct nat *nat)
{
    return nat->config.tcp_strays == NAT_STRAYS_RESET ? NAT_STRAY_RESET : NAT_STRAY;
}

/* Whether a packet without a session may make one. */
static bool is_beginning(const struct nat *nat, const struct packet *packet)
{
    if (packet->flow != FLOW_TCP)
        return true;
    bool is_syn = (packet->tcp_flags & (PACKET_SYN | PACKET_ACK | PACKET_RST)) == PACKET_SYN;
    bool is_reset = packet->tcp_flags & PACKET_RST;
    return is_syn || (nat->config.tcp_strays == NAT_STRAYS_ACCEPT && !is_reset);
}

enum nat_result nat_leave(struct nat *nat, const struct packet *packet, int64_t now,
                          struct endpoint *external)
{
    const struct endpoint *inside = &packet->source, *remote = &packet->destination;
    struct session *session = find_left(nat, packet->flow, inside, remote, now);
    if (!session) {
        if (!is_beginning(nat, packet))
            return stray(nat);
        struct mapping *mapping = mapping_for(nat, packet->flow, inside, remote, now);
        if (!mapping)
            return NAT_FULL;
        session = session_add(nat, mapping, remote, now);
        if (!session) {
            if (!mapping->sessions)
                mapping_settle(nat, mapping);
            return NAT_FULL;
        }
    }
    *external = session->mapping->external;
    session_touch(nat, session, packet, true, now);
    return NAT_PASSED;
}

/* --- Entering --- */

static bool filter_passes(const struct nat *nat, const struct mapping *mapping,
                          const struct endpoint *remote, int64_t now)
{
    switch (mapping->is_static ? NAT_EI : nat->config.rules[mapping->flow].filtering) {
    case NAT_EI:
        return true;
    case NAT_AD:
        for (struct session *session = mapping->sessions; session; session = session->next)
            if (session->expires > now && ip_equal(&session->remote.ip, &remote->ip))
                return true;
        return false;
    case NAT_APD: /* a session with this very remote has been looked for */
        return false;
    }
    return false;
}

enum nat_result nat_enter(struct nat *nat, const struct packet *packet, int64_t now,
                          struct endpoint *inside)
{
    const struct endpoint *external = &packet->destination, *remote = &packet->source;
    struct session *session = find_entered(nat, packet->flow, external, remote, now);
    if (session) {
        bool is_syn = (packet->tcp_flags & (PACKET_SYN | PACKET_ACK)) == PACKET_SYN;
        if (packet->flow == FLOW_TCP && is_syn && session->state == TCP_SYN_LEFT &&
            !nat->config.has_tcp_simultaneous)
            return NAT_FILTERED;
    } else {
        struct mapping *mapping = find_external(nat, packet->flow, external, NULL, now);
        if (!mapping)
            return NAT_NO_MAPPING;
        while (mapping && !filter_passes(nat, mapping, remote, now))
            mapping = find_external(nat, packet->flow, external, mapping, now);
        if (!mapping)
            return NAT_FILTERED;
        if (!is_beginning(nat, packet))
            return stray(nat);
        session = session_add(nat, mapping, remote, now);
        if (!session)
            return NAT_FULL;
    }
    *inside = session->mapping->inside;
    session_touch(nat, session, packet, false, now);
    return NAT_PASSED;
}

bool nat_find_left(struct nat *nat, const struct packet *quoted, int64_t now,
                   struct endpoint *inside)
{
    if (quoted->flow == FLOW_NONE)
        return false;
    struct session *session =
        find_entered(nat, quoted->flow, &quoted->source, &quoted->destination, now);
    if (session)
        *inside = session->mapping->inside;
    return session;
}

bool nat_find_entered(struct nat *nat, const struct packet *quoted, int64_t now,
                      struct endpoint *external)
{
    if (quoted->flow == FLOW_NONE)
        return false;
    struct session *session =
        find_left(nat, quoted->flow, &quoted->destination, &quoted->source, now);
    if (session)
        *external = session->mapping->external;
    return session;
}

bool nat_is_external(const struct nat *nat, const union address *ip)
{
    int family = family_of(ip);
    if (nat->config.mode[family] != NAT_ON)
        return false;
    for (unsigned i = 0; i < nat->config.external_count[family]; i++)
        if (ip_equal(&nat->config.external[family][i], ip))
            return true;
    return false;
}

/* --- Configuration --- */

static void forward_add(struct nat *nat, const struct nat_forward *forward)
{
    int family = family_of(&forward->inside.ip);
    struct endpoint external = forward->inside;
    if (nat->config.mode[family] == NAT_FIREWALL)
        mapping_add(nat, forward->flow, &forward->inside, &external, &nobody, true);
    if (nat->config.mode[family] != NAT_ON)
        return;
    external.port = forward->port;
    /* The first external address is added last, and so the one by which replies are found. */
    for (unsigned i = nat->config.external_count[family]; i-- > 0;) {
        external.ip = nat->config.external[family][i];
        mapping_add(nat, forward->flow, &forward->inside, &external, &nobody, true);
    }
}

static void forwards_set(struct nat *nat)
{
    struct mapping *mapping, *next;
    for (mapping = nat->mappings; mapping; mapping = next) {
        next = mapping->next;
        if (mapping->is_static)
            mapping_remove(nat, mapping);
    }
    for (unsigned i = 0; i < nat->config.forward_count; i++)
        forward_add(nat, &nat->config.forwards[i]);
}

struct nat *nat_new(const struct nat_config *config, uint64_t seed)
{
    struct nat *nat = calloc(1, sizeof(*nat));
    if (!nat)
        return NULL;
    nat->seed = nat->chance.state = seed;
    nat->config = *config;
    forwards_set(nat);
    return nat;
}

void nat_reseed(struct nat *nat, uint64_t seed)
{
    nat->seed = nat->chance.state = seed;
}

void nat_free(struct nat *nat)
{
    if (!nat)
        return;
    while (nat->mappings)
        mapping_remove(nat, nat->mappings);
    free(nat);
}

void nat_configure(struct nat *nat, const struct nat_config *config)
{
    const struct nat_config *old = &nat->config;
    bool is_other_place =
        memcmp(old->mode, config->mode, sizeof(old->mode)) != 0 ||
        memcmp(old->external_count, config->external_count, sizeof(old->external_count)) != 0 ||
        memcmp(old->external, config->external, sizeof(old->external)) != 0;
    bool has_other_forwards = old->forward_count != config->forward_count ||
                              memcmp(old->forwards, config->forwards, sizeof(old->forwards)) != 0;
    nat->config = *config;
    if (is_other_place)
        nat_flush(nat);
    if (is_other_place || has_other_forwards)
        forwards_set(nat);
}

/* --- Telling --- */

unsigned nat_mapping_count(const struct nat *nat)
{
    return nat->mapping_count + nat->static_count;
}

unsigned nat_session_count(const struct nat *nat)
{
    return nat->session_count;
}

void nat_visit(struct nat *nat, int64_t now, bool (*visit)(const struct nat_line *line, void *arg),
               void *arg)
{
    nat_sweep(nat, now);
    for (struct mapping *mapping = nat->mappings; mapping; mapping = mapping->next) {
        struct nat_line line = {.flow = mapping->flow,
                                .inside = &mapping->inside,
                                .external = &mapping->external,
                                .is_static = mapping->is_static,
                                .expires = mapping->expires};
        if (!visit(&line, arg))
            return;
        for (struct session *session = mapping->sessions; session; session = session->next) {
            line.remote = &session->remote;
            line.state = mapping->flow == FLOW_TCP ? tcp_names[session->state] : NULL;
            line.expires = session->expires;
            if (!visit(&line, arg))
                return;
        }
    }
}
