/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An attempt turns candidates into tries: an address, and an interface where the configuration
 * names some (then each address is tried from each interface, bound to it). Tries begin in order,
 * spacing_us apart, the next at once when one fails (Happy Eyeballs, RFC 8305 5); families take
 * turns. Names are looked up meanwhile and their addresses join the end of the list. A try that is
 * up has proven the peer's key: it is told, and the others go on until the owner cancels, since
 * only the owner knows whether it wants more.
 *
 * The attempt is over when every try has failed and no lookup is pending. The error told is that of
 * the try that came furthest: a wrong key says more than a refused connection, and that more than
 * an unreachable network.
 *
 * Ownership: the attempt owns its pipes until they are told. Limits: DIRECT_TRIES_MAX,
 * DIRECT_LOOKUPS_MAX; times are those of the env.
 */
#include "strategy/direct.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pipe/tls.h"

struct direct;

struct direct_try {
    struct direct *direct;
    struct addr to;
    int interface; /* index in the env's; -1: any */
    struct pipe *pipe;
    uint64_t since;
};

struct direct_lookup {
    struct direct *direct;
    void *handle; /* NULL: not under way */
    char name[TARGET_NAME_MAX + 1];
    uint16_t port;
};

struct direct {
    const struct strategy_env *env;
    const struct node_id *peer;
    const struct attempt_events *events;
    void *arg;
    struct timer pace;
    struct defer step;
    size_t count, next, active; /* tries: known, to begin next, under way */
    size_t lookups, pending;    /* lookups: all, under way */
    int why;
    char text[ATTEMPT_TEXT_MAX];
    struct direct_lookup lookup[DIRECT_LOOKUPS_MAX];
    struct direct_try tries[DIRECT_TRIES_MAX];
};

static bool is_multicast(const struct addr *addr)
{
    if (addr->family == AF_INET)
        return (addr->ip.bytes[0] & 0xf0) == 0xe0;
    return addr->ip.bytes[0] == 0xff;
}

/* A link-local IPv6 address means nothing without its interface. */
static bool can_dial(const struct addr *addr)
{
    if (addr->port == 0 || !addr_is_set(addr) || addr_is_any(addr) || is_multicast(addr))
        return false;
    return addr->family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL(&addr->ip.v6) || addr->scope != 0;
}

size_t direct_order(struct addr *addrs, size_t count)
{
    struct addr sorted[DIRECT_TRIES_MAX];
    size_t kept = 0, out = 0, at[2] = {0, 0};
    int family;

    for (size_t i = 0; i < count && kept < DIRECT_TRIES_MAX; i++) {
        struct addr addr = addr_unmap(&addrs[i]);
        size_t j = 0;

        while (j < kept && !addr_equal(&addr, &addrs[j]))
            j++;
        if (j == kept && can_dial(&addr))
            addrs[kept++] = addr;
    }
    if (kept == 0)
        return 0;
    family = addrs[0].family;
    for (int turn = 0; out < kept; turn ^= 1) {
        size_t *i = &at[turn];

        while (*i < kept && (addrs[*i].family == family) != (turn == 0))
            ++*i;
        if (*i < kept)
            sorted[out++] = addrs[(*i)++];
    }
    memcpy(addrs, sorted, kept * sizeof(*addrs));
    return kept;
}

static const char *try_format(const struct direct_try *try, char text[ATTEMPT_TEXT_MAX])
{
    const char *interface = try->interface < 0 ? "" : try->direct->env->interfaces[try->interface];
    char addr[ADDR_TEXT_MAX];

    snprintf(text, ATTEMPT_TEXT_MAX, "%s%s%s", addr_format(&try->to, addr),
             *interface ? " by " : "", interface);
    return text;
}

/* How much an error tells about what is wrong, for choosing among many. */
static int telling(int why)
{
    switch (why) {
    case 0:
        return 0;
    case -ENETUNREACH:
    case -EADDRNOTAVAIL:
    case -ENODEV:
        return 1;
    case -EHOSTUNREACH:
        return 2;
    case -ETIMEDOUT:
        return 3;
    case -ECONNREFUSED:
        return 4;
    case ADIT_EAUTH:
        return 9;
    case ADIT_ECRYPTO:
    case ADIT_ETRUNC:
        return 6;
    default:
        return 5;
    }
}

static void note_failure(struct direct *direct, int why, const char *text)
{
    if (telling(why) <= telling(direct->why))
        return;
    direct->why = why;
    snprintf(direct->text, sizeof(direct->text), "%s", text);
}

static void direct_free(struct direct *direct)
{
    timer_cancel(direct->env->loop, &direct->pace);
    defer_cancel(direct->env->loop, &direct->step);
    free(direct);
}

static void on_try_up(struct pipe *pipe, void *arg);
static void on_try_end(struct pipe *pipe, int why, void *arg);

static const struct pipe_events try_events = {.up = on_try_up, .end = on_try_end};

static void on_try_up(struct pipe *pipe, void *arg)
{
    struct direct_try *try = arg;
    struct direct *direct = try->direct;
    char text[ATTEMPT_TEXT_MAX];

    pipe_del_listener(pipe, &try_events, try);
    try->pipe = NULL;
    direct->active--;
    try_format(try, text);
    log_debug("event=try strategy=direct candidate=%s result=proven ms=%llu", text,
              (unsigned long long)((loop_now(direct->env->loop) - try->since) / MS_US));
    defer_soon(direct->env->loop, &direct->step);
    direct->events->proven(direct->arg, pipe, text); /* may cancel us */
}

static void on_try_end(struct pipe *pipe, int why, void *arg)
{
    struct direct_try *try = arg;
    struct direct *direct = try->direct;
    char text[ATTEMPT_TEXT_MAX];

    (void)pipe;
    try->pipe = NULL;
    direct->active--;
    if (why == 0)
        why = ADIT_ETRUNC;
    try_format(try, text);
    log_debug("event=try strategy=direct candidate=%s result=failed why=\"%s\" ms=%llu", text,
              err_text(why),
              (unsigned long long)((loop_now(direct->env->loop) - try->since) / MS_US));
    note_failure(direct, why, text);
    timer_cancel(direct->env->loop, &direct->pace); /* the next one at once */
    defer_soon(direct->env->loop, &direct->step);
}

/* False: it failed at once, as without a route. */
static bool begin_try(struct direct *direct, struct direct_try *try)
{
    struct pipe_options options = PIPE_OPTIONS_DEFAULT;
    char text[ATTEMPT_TEXT_MAX];
    int why;

    options.connect_timeout_ms = direct->env->connect_ms;
    options.tls_timeout_ms = direct->env->tls_ms;
    if (try->interface >= 0)
        memcpy(options.interface, direct->env->interfaces[try->interface],
               sizeof(options.interface));
    try->since = loop_now(direct->env->loop);
    errno = 0;
    try->pipe = tls_open(direct->env->loop, direct->env->tls, &try->to, direct->peer, &options);
    if (try->pipe && pipe_add_listener(try->pipe, &try_events, try) == 0) {
        direct->active++;
        return true;
    }
    why = errno ? -errno : -ENOMEM;
    try_format(try, text);
    log_debug("event=try strategy=direct candidate=%s result=failed why=\"%s\" ms=0", text,
              err_text(why));
    note_failure(direct, why, text);
    return false;
}

/* Begins what is due; ends the attempt when nothing is left. */
static void on_step(void *arg)
{
    struct direct *direct = arg;

    if (timer_is_set(&direct->pace))
        return;
    while (direct->next < direct->count) {
        if (!begin_try(direct, &direct->tries[direct->next++]))
            continue;
        if (direct->next < direct->count)
            timer_set_in(direct->env->loop, &direct->pace, direct->env->spacing_us);
        return;
    }
    if (direct->active == 0 && direct->pending == 0) {
        const struct attempt_events *events = direct->events;
        void *owner = direct->arg;
        int why = direct->why ? direct->why : -EHOSTUNREACH;
        char text[ATTEMPT_TEXT_MAX];

        memcpy(text, direct->text, sizeof(text));
        direct_free(direct);
        events->over(owner, why, text);
    }
}

static void add_addrs(struct direct *direct, struct addr *addrs, size_t count)
{
    size_t interfaces = direct->env->interface_count;

    count = direct_order(addrs, count);
    for (size_t i = 0; i < count; i++) {
        bool known = false;

        for (size_t j = 0; j < direct->count && !known; j++)
            known = addr_equal(&direct->tries[j].to, &addrs[i]);
        if (known)
            continue;
        for (size_t j = 0; j < (interfaces ? interfaces : 1) && direct->count < DIRECT_TRIES_MAX;
             j++) {
            direct->tries[direct->count++] = (struct direct_try){
                .direct = direct, .to = addrs[i], .interface = interfaces ? (int)j : -1};
        }
    }
}

static void on_resolved(void *arg, const struct addr *addrs, size_t count, const char *why)
{
    struct direct_lookup *lookup = arg;
    struct direct *direct = lookup->direct;
    struct addr copy[DIRECT_TRIES_MAX];

    lookup->handle = NULL;
    direct->pending--;
    if (count > DIRECT_TRIES_MAX)
        count = DIRECT_TRIES_MAX;
    for (size_t i = 0; i < count; i++) {
        copy[i] = addrs[i];
        copy[i].port = lookup->port;
    }
    if (count == 0) {
        char text[ATTEMPT_TEXT_MAX];

        snprintf(text, sizeof(text), "%.64s: %s", lookup->name, why ? why : "no address");
        log_debug("event=try strategy=direct name=%s result=failed why=\"%s\"", lookup->name,
                  why ? why : "no address");
        note_failure(direct, -EHOSTUNREACH, text);
    }
    add_addrs(direct, copy, count);
    defer_soon(direct->env->loop, &direct->step);
}

static void begin_lookup(struct direct *direct, const struct target *target)
{
    const struct strategy_resolver *resolver = &direct->env->resolver;
    struct direct_lookup *lookup = &direct->lookup[direct->lookups];

    if (direct->lookups == DIRECT_LOOKUPS_MAX || !resolver->start)
        return;
    for (size_t i = 0; i < direct->lookups; i++)
        if (direct->lookup[i].port == target->port && !strcmp(direct->lookup[i].name, target->name))
            return;
    *lookup = (struct direct_lookup){.direct = direct, .port = target->port};
    memcpy(lookup->name, target->name, sizeof(lookup->name));
    direct->pending++;
    lookup->handle = resolver->start(resolver->owner, lookup->name, on_resolved, lookup);
    if (lookup->handle)
        direct->lookups++;
    else
        direct->pending--;
}

/* Takes in where the peer is said to be; what is known already is passed over. */
static void add_candidates(struct direct *direct, const struct strategy_peer *peer)
{
    struct addr addrs[CANDIDATES_MAX];
    size_t count = 0;

    for (size_t i = 0; i < peer->candidate_count && count < CANDIDATES_MAX; i++) {
        const struct target *target = &peer->candidates[i].target;

        if (target->name[0]) {
            begin_lookup(direct, target);
        } else {
            addrs[count] = target->addr;
            addrs[count++].port = target->port;
        }
    }
    add_addrs(direct, addrs, count);
}

static void direct_update(struct attempt *attempt, const struct strategy_peer *peer)
{
    struct direct *direct = (struct direct *)attempt;

    add_candidates(direct, peer);
    defer_soon(direct->env->loop, &direct->step);
}

static struct attempt *direct_start(const struct strategy_env *env,
                                    const struct strategy_peer *peer,
                                    const struct attempt_events *events, void *arg,
                                    const char **why)
{
    struct direct *direct = calloc(1, sizeof(*direct));

    if (!direct) {
        *why = "out of memory";
        return NULL;
    }
    direct->env = env;
    direct->peer = peer->id;
    direct->events = events;
    direct->arg = arg;
    timer_init(&direct->pace, on_step, direct);
    defer_init(&direct->step, on_step, direct);
    add_candidates(direct, peer);
    if (direct->count == 0 && direct->pending == 0) {
        direct_free(direct);
        *why = env->signal ? "no address of the peer is known"
                           : "no address of the peer is known: give a ticket of it (adit gateway "
                             "TICKET)";
        return NULL;
    }
    defer_soon(env->loop, &direct->step);
    return (struct attempt *)direct;
}

static void direct_cancel(struct attempt *attempt)
{
    struct direct *direct = (struct direct *)attempt;

    for (size_t i = 0; i < direct->next; i++) {
        struct direct_try *try = &direct->tries[i];

        if (!try->pipe)
            continue;
        pipe_del_listener(try->pipe, &try_events, try);
        pipe_abort(try->pipe, -ECANCELED);
    }
    for (size_t i = 0; i < direct->lookups; i++) {
        if (direct->lookup[i].handle)
            direct->env->resolver.cancel(direct->env->resolver.owner, direct->lookup[i].handle);
    }
    direct_free(direct);
}

const struct strategy strategy_direct = {
    .name = "direct",
    .id = STRATEGY_DIRECT,
    .rank = 0,
    .head_start_us = 0,
    .start = direct_start,
    .cancel = direct_cancel,
    .update = direct_update,
};
