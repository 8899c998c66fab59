/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A request is one OPEN: admitted (the peer's limits, then the name by the policy), looked up if it
 * is a name, dialled, answered. Its lookup and its dial are embedded, so that an address costs one
 * allocation beside its pipe, and no turn of the loop more than the connection needs. The policy is
 * asked again for every address right before it is dialled (dial.c); the name that led there goes
 * with it.
 *
 * Order of limits: a peer may have max_dials connections being opened, so that dead destinations of
 * one peer do not use up the descriptors of all, and max_streams open and being opened together.
 * peer.c counts what is open, and rate.c limits its bytes.
 *
 * A dial costs system calls, and one read from a peer can hold thousands of OPENs: DIALS_A_TURN are
 * begun at once, the others wait for the next turn, one of each peer after the other.
 *
 * The exit's own addresses are read from the kernel at most every OWN_CHECK, when something is
 * asked.
 *
 * What is logged: with destinations only at level debug, or with exit.access_log; refusals without
 * destinations, once a minute for each peer.
 */
#include "egress/egress.h"

#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"
#include "egress/dial.h"
#include "egress/peer.h"
#include "egress/resolve.h"

#define DIALS_A_TURN 64
#define OWN_CHECK_US (3 * SEC_US)
#define TIMEOUT_US   (10 * SEC_US)

struct egress {
    struct loop *loop;
    struct policy *policy;
    struct resolver *resolver;
    struct peer_table table;
    struct dial_options dial;
    uint32_t max_streams, max_dials;
    uint64_t burst_at; /* loop_now() at which `burst` dials have been begun */
    uint32_t burst;
    struct defer turn; /* begins those that wait for the next turn */
    uint64_t own_checked;
    struct addr *external;
    size_t external_count;
    struct egress_request *requests;
    bool freeing;
};

enum request_state {
    REQUEST_REFUSED, /* to be told */
    REQUEST_WAITING, /* for its peer's other requests */
    REQUEST_ACTIVE,  /* looked up, dialled */
};

struct egress_request {
    struct egress *egress;
    struct peer *peer; /* NULL: not counted */
    enum request_state state;
    bool is_trusted;
    enum answer refusal;
    enum policy_verdict verdict; /* the last that was not POLICY_ALLOWED */
    struct target target;
    struct defer refuse;
    struct timer patience; /* while it waits */
    struct lookup lookup;
    struct dial dial;
    egress_answer_fn *fn;
    void *arg;
    struct egress_request *next, *prev;
    struct egress_request *next_waiting, *prev_waiting; /* in its peer's list */
};

/* --- Policy --- */

static struct policy *policy_build(const struct egress_config *config)
{
    static const struct config_rules none = {0};
    const struct config_rules *allow = config->allow ? config->allow : &none;
    const struct config_rules *deny = config->deny ? config->deny : &none;
    struct policy *policy = policy_new();
    int r = policy ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < deny->count; i++)
        r = policy_deny(policy, &deny->items[i]);
    for (size_t i = 0; r == 0 && i < allow->count; i++) {
        r = policy_allow(policy, &allow->items[i]);
        if (r == -EINVAL) {
            log_warn(
                "event=rule-ignored rule=\"exit.allow = *\" reason=\"public addresses are open "
                "already\" remedy=\"0.0.0.0/0 and ::/0 open all others\"");
            r = 0;
        }
    }
    if (r < 0) {
        log_error("event=policy-failed error=\"%s\"", err_text(r));
        policy_free(policy);
        policy = NULL;
    }
    return policy;
}

/* Tells the policy which addresses are ours: those of the interfaces and the external ones. */
static void refresh_own(struct egress *egress)
{
    uint64_t now = loop_now(egress->loop);
    if (egress->own_checked && now < egress->own_checked + OWN_CHECK_US)
        return;
    /* Also when it fails: the old list stays, and the next try is later. */
    egress->own_checked = now;
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0) {
        log_warn("event=own-addresses-unknown error=\"%s\"", strerror(errno));
        return;
    }
    size_t count = egress->external_count;
    for (const struct ifaddrs *item = list; item; item = item->ifa_next)
        count++;
    struct addr *own = calloc(count ? count : 1, sizeof *own);
    count = 0;
    for (const struct ifaddrs *item = list; own && item; item = item->ifa_next) {
        socklen_t len = sizeof(struct sockaddr_in6);
        if (item->ifa_addr && item->ifa_addr->sa_family == AF_INET)
            len = sizeof(struct sockaddr_in);
        if (item->ifa_addr && addr_from_sockaddr(item->ifa_addr, len, &own[count]) == 0)
            count++;
    }
    for (size_t i = 0; own && i < egress->external_count; i++)
        own[count++] = egress->external[i];
    int r = own ? policy_set_own(egress->policy, own, count) : -ENOMEM;
    if (r < 0)
        log_warn("event=own-addresses-unknown error=\"%s\"", err_text(r));
    free(own);
    freeifaddrs(list);
}

enum policy_verdict egress_check(struct egress *egress, enum policy_protocol protocol,
                                 const struct addr *to, const char *name)
{
    refresh_own(egress);
    return policy_check(egress->policy, protocol, to, name);
}

/* --- A request's way --- */

static const char *request_name(const struct egress_request *request)
{
    return request->target.name[0] ? request->target.name : NULL;
}

static void request_dial(struct egress_request *request);

static void stop_waiting(struct egress_request *request)
{
    timer_cancel(request->egress->loop, &request->patience);
    DL_DELETE2(request->peer->waiting, request, prev_waiting, next_waiting);
}

/* Whether another connection of the peer's may be begun now. */
static bool may_dial(struct egress *egress, const struct peer *peer)
{
    if (egress->burst_at != loop_now(egress->loop)) {
        egress->burst_at = loop_now(egress->loop);
        egress->burst = 0;
    }
    if (egress->burst >= DIALS_A_TURN)
        defer_next(egress->loop, &egress->turn);
    return egress->burst < DIALS_A_TURN && peer->active < egress->max_dials;
}

static void begin_waiting(struct peer *peer)
{
    struct egress_request *next = peer->waiting;

    stop_waiting(next);
    request_dial(next);
}

static void on_turn(void *arg)
{
    struct egress *egress = arg;
    bool any = true;

    egress->burst = 0;
    while (any) {
        any = false;
        for (struct peer *peer = egress->table.peers; peer; peer = peer->hh.next) {
            if (!peer->waiting || !may_dial(egress, peer))
                continue;
            begin_waiting(peer);
            any = true;
        }
    }
}

/* Takes a request out of everything it is part of, and frees it; another may take its place. */
static void request_free(struct egress_request *request)
{
    struct egress *egress = request->egress;
    struct peer *peer = request->peer;
    defer_cancel(egress->loop, &request->refuse);
    resolve_cancel(&request->lookup);
    dial_cancel(&request->dial);
    DL_DELETE(egress->requests, request);
    egress->table.totals.dials--;
    if (peer) {
        peer->stats.dials--;
        if (request->state == REQUEST_WAITING)
            stop_waiting(request);
        else if (request->state == REQUEST_ACTIVE)
            peer->active--;
    }
    free(request);
    if (!peer)
        return;
    while (peer->waiting && may_dial(egress, peer) && !egress->freeing)
        begin_waiting(peer);
    peer_release(peer);
}

void egress_cancel(struct egress_request *request)
{
    request_free(request);
}

/* With the destination: at level debug, or because an access log is asked for (peer.c logs the ends
 * of what succeeds). */
static void log_outcome(const struct egress_request *request, enum answer answer,
                        const struct addr *to, bool is_accessed)
{
    char target[TARGET_TEXT_MAX], peer[PEER_TEXT_MAX] = "-", addr[ADDR_TEXT_MAX] = "-";
    if (request->peer)
        peer_text(&request->peer->id, peer);
    if (to)
        addr_format(to, addr);
    const char *why =
        answer == ANSWER_POLICY ? policy_verdict_text(request->verdict) : answer_text(answer);
    log_line(is_accessed ? LOG_INFO : LOG_DEBUG, "event=%s peer=%s target=%s to=%s answer=\"%s\"",
             is_accessed ? "access" : "open", peer, target_format(&request->target, target), addr,
             why);
}

static void count_outcome(enum answer answer, struct egress_stats *stats)
{
    if (answer == ANSWER_OK)
        stats->opened++;
    else if (answer == ANSWER_POLICY)
        stats->refused_policy++;
    else if (answer == ANSWER_LIMIT)
        stats->refused_limit++;
    else
        stats->failed++;
}

static void request_done(struct egress_request *request, enum answer answer, struct pipe *pipe,
                         const struct addr *to)
{
    struct egress *egress = request->egress;
    egress_answer_fn *fn = request->fn;
    void *arg = request->arg;

    if (pipe && request->peer && peer_add_stream(request->peer, pipe, &request->target) < 0) {
        pipe_abort(pipe, -ENOMEM);
        pipe = NULL;
        answer = ANSWER_LIMIT;
    }
    count_outcome(answer, &egress->table.totals);
    if (request->peer) {
        count_outcome(answer, &request->peer->stats);
        if (answer == ANSWER_POLICY)
            peer_complain(request->peer, policy_verdict_text(request->verdict),
                          request->verdict == POLICY_DENIED ? "see exit.deny"
                                                            : "exit.allow opens more");
    }
    bool is_accessed = egress->table.access_log && request->peer && answer != ANSWER_OK;
    if (is_accessed || log_enabled(LOG_DEBUG))
        log_outcome(request, answer, pipe ? to : NULL, is_accessed);
    request_free(request);
    fn(arg, answer, pipe, pipe ? to : NULL);
}

static bool on_permit(void *arg, const struct addr *to)
{
    struct egress_request *request = arg;
    if (request->is_trusted)
        return true;
    enum policy_verdict verdict =
        policy_check(request->egress->policy, POLICY_TCP, to, request_name(request));
    if (verdict != POLICY_ALLOWED)
        request->verdict = verdict;
    return verdict == POLICY_ALLOWED;
}

static void on_dialled(void *arg, enum answer answer, struct pipe *pipe, const struct addr *to)
{
    struct egress_request *request = arg;
    if (answer == ANSWER_LIMIT && request->peer)
        peer_complain(request->peer, "out of sockets, ports or memory",
                      "raise the limit of open files (ulimit -n)");
    request_done(request, answer, pipe, to);
}

static void on_resolved(void *arg, int family, const struct addr *addrs, size_t count,
                        enum answer why)
{
    struct egress_request *request = arg;
    dial_add(&request->dial, family, addrs, count, why);
}

static void on_refuse(void *arg)
{
    struct egress_request *request = arg;
    request_done(request, request->refusal, NULL, NULL);
}

/* Makes a request one of its peer's. */
static enum answer join_peer(struct egress_request *request, const struct node_id *id)
{
    struct egress *egress = request->egress;
    struct peer *peer = peer_get(&egress->table, id);
    if (!peer)
        return ANSWER_LIMIT;
    request->peer = peer;
    bool full = peer->stats.streams + peer->stats.dials >= egress->max_streams;
    peer->stats.dials++;
    if (!full)
        return ANSWER_OK;
    peer_complain(peer, "too many connections", "exit.max_streams_per_peer");
    return ANSWER_LIMIT;
}

/* Admission: ANSWER_OK, or why not. */
static enum answer admit(struct egress_request *request, const struct node_id *id)
{
    struct egress *egress = request->egress;
    const struct target *target = &request->target;
    enum answer answer = id ? join_peer(request, id) : ANSWER_OK;
    if (answer != ANSWER_OK)
        return answer;
    if (target->port == 0 || (!target->name[0] && addr_ip_bytes(&target->addr) == 0))
        return ANSWER_BAD_REQUEST;
    if (request->is_trusted)
        return ANSWER_OK;
    refresh_own(egress);
    if (target->name[0]) {
        request->verdict = policy_check_name(egress->policy, target->name, target->port);
        if (request->verdict != POLICY_ALLOWED)
            return ANSWER_POLICY;
    }
    return ANSWER_OK;
}

static void request_refuse(struct egress_request *request, enum answer answer)
{
    request->refusal = answer;
    defer_soon(request->egress->loop, &request->refuse);
}

static void request_dial(struct egress_request *request)
{
    struct egress *egress = request->egress;
    const struct target *target = &request->target;
    struct addr addr = target->addr;
    addr.port = target->port;
    request->state = REQUEST_ACTIVE;
    egress->burst++;
    if (request->peer)
        request->peer->active++;
    dial_init(&request->dial, egress->loop, &egress->dial, target->name[0] ? NULL : &addr,
              on_permit, on_dialled, request);
    if (target->name[0] && resolve(egress->resolver, &request->lookup, target->name, target->port,
                                   on_resolved, request) < 0) {
        dial_cancel(&request->dial);
        request_refuse(request, ANSWER_LIMIT);
    }
}

static void on_patience(void *arg)
{
    struct egress_request *request = arg;
    peer_complain(request->peer, "too many connections being opened",
                  "exit.connect_timeout frees those that hang sooner");
    request_done(request, ANSWER_LIMIT, NULL, NULL);
}

static void request_begin(struct egress_request *request, const struct node_id *id)
{
    struct egress *egress = request->egress;
    enum answer answer = admit(request, id);
    if (answer != ANSWER_OK) {
        request_refuse(request, answer);
    } else if (request->peer && (request->peer->waiting || !may_dial(egress, request->peer))) {
        request->state = REQUEST_WAITING;
        DL_APPEND2(request->peer->waiting, request, prev_waiting, next_waiting);
        timer_set_in(egress->loop, &request->patience, egress->dial.timeout_us);
    } else {
        request_dial(request);
    }
}

static struct egress_request *request_new(struct egress *egress, const struct node_id *peer,
                                          const struct target *target, bool trusted,
                                          egress_answer_fn *fn, void *arg)
{
    struct egress_request *request = malloc(sizeof *request);
    if (!request)
        return NULL;
    request->egress = egress;
    request->peer = NULL;
    request->state = REQUEST_REFUSED;
    request->is_trusted = trusted;
    request->refusal = ANSWER_FAILED;
    request->verdict = POLICY_ALLOWED;
    request->target = *target;
    request->fn = fn;
    request->arg = arg;
    defer_init(&request->refuse, on_refuse, request);
    timer_init(&request->patience, on_patience, request);
    lookup_init(&request->lookup);
    dial_clear(&request->dial, egress->loop);
    DL_APPEND(egress->requests, request);
    egress->table.totals.dials++;
    request_begin(request, peer);
    return request;
}

struct egress_request *egress_open(struct egress *egress, const struct node_id *peer,
                                   const struct target *target, egress_answer_fn *fn, void *arg)
{
    return request_new(egress, peer, target, false, fn, arg);
}

struct egress_request *egress_open_trusted(struct egress *egress, const struct target *target,
                                           egress_answer_fn *fn, void *arg)
{
    return request_new(egress, NULL, target, true, fn, arg);
}

/* --- Life --- */

void egress_config_from(struct egress_config *out, const struct config *config)
{
    *out = (struct egress_config){
        .allow = &config->exit.allow,
        .deny = &config->exit.deny,
        .rate = config->exit.rate,
        .max_streams_per_peer = config->exit.max_streams_per_peer,
        .connect_timeout_us = config->exit.connect_timeout_us,
        .resolvers = config->exit.resolver.items,
        .resolver_count = config->exit.resolver.count,
        .access_log = config->exit.access_log,
    };
}

int egress_reconfigure(struct egress *egress, const struct egress_config *config)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct policy *policy = policy_build(config);
    if (!policy)
        return -ENOMEM;
    policy_free(egress->policy);
    egress->policy = policy;
    egress->own_checked = 0;
    refresh_own(egress);
    egress->max_streams =
        config->max_streams_per_peer ? config->max_streams_per_peer : EGRESS_OPENS_PER_PEER;
    egress->max_dials =
        config->max_dials_per_peer ? config->max_dials_per_peer : EGRESS_DIALS_PER_PEER;
    egress->dial = (struct dial_options){
        .attempt_delay_us = config->attempt_delay_us,
        .resolution_delay_us = config->resolution_delay_us,
        .timeout_us = config->connect_timeout_us ? config->connect_timeout_us : TIMEOUT_US,
        .pipe = config->pipe ? *config->pipe : defaults,
    };
    /* The dial has a deadline of its own: one timer less for each attempt. */
    egress->dial.pipe.connect_timeout_ms = 0;
    /* What one peer opens is not to keep paths, lookups and `adit status' from working. */
    egress->dial.pipe.spare_descriptors = PIPE_SPARE_DESCRIPTORS;
    if (config->rate)
        egress->dial.pipe.read_max = RATE_READ_MAX_BYTES;
    peer_table_set_rate(&egress->table, config->rate);
    egress->table.access_log = config->access_log;
    return 0;
}

struct egress *egress_new(struct loop *loop, const struct egress_config *config)
{
    struct egress *egress = calloc(1, sizeof *egress);
    if (!egress)
        return NULL;
    egress->loop = loop;
    peer_table_init(&egress->table, loop);
    defer_init(&egress->turn, on_turn, egress);
    struct resolver_options options = {
        .servers = config->resolvers,
        .server_count = config->resolver_count,
        .hosts_file = config->hosts_file,
    };
    egress->resolver = resolver_new(loop, &options);
    if (!egress->resolver || egress_reconfigure(egress, config) < 0) {
        egress_free(egress);
        return NULL;
    }
    return egress;
}

void egress_free(struct egress *egress)
{
    if (!egress)
        return;
    egress->freeing = true;
    while (egress->requests)
        request_free(egress->requests);
    defer_cancel(egress->loop, &egress->turn);
    peer_table_clear(&egress->table);
    resolver_free(egress->resolver);
    policy_free(egress->policy);
    free(egress->external);
    free(egress);
}

int egress_set_external(struct egress *egress, const struct addr *addrs, size_t count)
{
    if (count > POLICY_OWN_MAX / 2)
        return ADIT_EFULL;
    struct addr *copy = calloc(count ? count : 1, sizeof *copy);
    if (!copy)
        return -ENOMEM;
    if (count)
        memcpy(copy, addrs, count * sizeof *copy);
    free(egress->external);
    egress->external = copy;
    egress->external_count = count;
    egress->own_checked = 0;
    refresh_own(egress);
    return 0;
}

struct resolver *egress_resolver(struct egress *egress)
{
    return egress->resolver;
}

void egress_get_stats(const struct egress *egress, const struct node_id *id,
                      struct egress_stats *stats)
{
    *stats = (struct egress_stats){0};
    if (!id) {
        *stats = egress->table.totals;
        return;
    }
    const struct peer *peer = peer_find(&egress->table, id);
    if (peer)
        *stats = peer->stats;
}
