/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A node ties the parts together, and nothing below it knows of it:
 *
 *     listen.c, the scheduler   give secured pipes    -> greet.c    makes them a session's paths
 *     peer.c                    has the sessions      -> scheduler  is told when a path is wanted
 *     sessions                  give peers' streams   -> serve.c    links them to egress
 *     front ends                ask for streams       -> outlet.c   opens them towards the exit
 *     signal                    says where peers are  -> finder.c   tells the schedulers
 *                               passes on requests    -> invite.c   connects to who asked
 *
 * Roles: an exit must be able to listen; a gateway listens for peers too (its exit may call back),
 * but does without where it cannot.
 *
 * Memory: session_pool counts what all sessions hold (session.memory); peers, greetings and
 * handshakes have maxima of their own.
 *
 * Stop: nothing new is taken, every session is closed with CLOSE_OK, and the node waits,
 * NODE_STOP_US at most, until the paths have ended, which they do when the other side has heard it.
 * The front ends' clients end with node_free().
 */
#include "node/node.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "crypto/tls_context.h"
#include "node/forward.h"

static void on_proven(void *arg, struct pipe *pipe, struct handshake *handshake)
{
    greet_as_responder(arg, pipe, handshake);
}

static const struct listen_events listen_events = {.proven = on_proven};

/* Attempts to connect go by the interfaces that work; by all named ones when none does, since one
 * may work before we hear of it. */
static void set_interfaces(struct node *node)
{
    const struct config_strings *names = &node->config->nat.interfaces;
    struct strategy_env *env = &node->env;

    env->interface_count = 0;
    if (names->count > 0 && node->netwatch)
        env->interface_count = interfaces_usable(netwatch_interfaces(node->netwatch), names,
                                                 env->interfaces, STRATEGY_INTERFACES_MAX);
    if (env->interface_count > 0)
        return;
    for (size_t i = 0; i < names->count && i < STRATEGY_INTERFACES_MAX; i++)
        snprintf(env->interfaces[env->interface_count++], IF_NAMESIZE, "%s", names->items[i]);
}

static void on_network_changed(void *arg, enum netwatch_what what)
{
    struct node *node = arg;
    struct node_peer *peer, *next;

    if (node->stopping)
        return;
    set_interfaces(node);
    HASH_ITER (hh, node->peers, peer, next)
        node_peer_network_changed(peer);
    if (what != NETWATCH_ROUTES)
        finder_network_changed(node);
}

/* --- Beginning --- */

/* The name that peers see: printable, without spaces and quotes (session/hello.h). */
static void set_name(struct node *node, const struct config *config)
{
    char host[HELLO_NAME_MAX + 1] = "";
    size_t len = 0;

    snprintf(host, sizeof(host), "%s", config->node.name);
    if (!host[0] && gethostname(host, sizeof(host) - 1) < 0)
        host[0] = '\0';
    for (const char *from = host; *from && len < HELLO_NAME_MAX; from++)
        node->name[len++] = *from > ' ' && *from <= '~' && *from != '"' ? *from : '-';
    node->name[len] = '\0';
}

static void set_env(struct node *node, const struct config *config)
{
    uint64_t connect_us = config->path.dial_timeout_us;

    node->env.loop = node->loop;
    node->env.tls = node->tls;
    node->env.connect_ms = STRATEGY_CONNECT_MS;
    if (connect_us < STRATEGY_CONNECT_MS * MS_US)
        node->env.connect_ms = (uint32_t)(connect_us / MS_US);
    node->env.tls_ms = STRATEGY_TLS_MS;
    node->env.spacing_us = STRATEGY_SPACING_US;
    set_interfaces(node);
    lookup_init_env(node);
}

static int open_listen(struct node *node, char *errbuf, size_t errlen)
{
    const struct config *config = node->config;
    const struct listen_options options = {
        .at = config->path.listen.items,
        .count = config->path.listen.count,
        .handshakes_max = config->path.max_handshakes,
        .timeout_us = config->path.handshake_timeout_us,
        .tls = node->tls,
        .state = node->state,
    };

    if (options.count == 0)
        return 0;
    node->listen = listen_new(node->loop, &options, &listen_events, node, errbuf, errlen);
    if (node->listen)
        return 0;
    if (node->roles & NODE_EXIT)
        return -EADDRNOTAVAIL;
    log_warn("event=not-listening why=\"%s\"", errbuf);
    return 0;
}

static void front_config_from(struct front_config *out, const struct config *config)
{
    *out = (struct front_config){
        .listen = config->gateway.listen.items,
        .listen_count = config->gateway.listen.count,
        .users_file = config->gateway.users_file,
        .max_clients = config->gateway.max_clients,
        .request_timeout_us = config->gateway.request_timeout_us,
    };
}

static int start_exit(struct node *node, char *errbuf, size_t errlen)
{
    struct egress_config config;

    egress_config_from(&config, node->config);
    node->egress = egress_new(node->loop, &config);
    if (node->egress)
        return 0;
    snprintf(errbuf, errlen, "the exit cannot start: the log says why");
    return -EINVAL;
}

static int start_gateway(struct node *node, char *errbuf, size_t errlen)
{
    struct front_config config;
    struct ways ways;
    int r = routes_plan(node, node->config, &ways, errbuf, errlen);

    if (r < 0)
        return r;
    routes_use(node, &ways);
    front_config_from(&config, node->config);
    node->front = front_new(node->loop, &config, &node->outlet, &r);
    if (node->front)
        return 0;
    snprintf(errbuf, errlen, "cannot listen for applications (gateway.listen): %s%s", err_text(r),
             r == -EADDRINUSE ? "; choose another port, or 0 for any" : "");
    return r < 0 ? r : -EINVAL;
}

static void on_stop_check(void *arg);
static void on_stop_timer(void *arg);

struct node *node_new(struct loop *loop, const struct config *config, struct state *state,
                      struct identity *identity, unsigned roles, char *errbuf, size_t errlen)
{
    struct node *node = calloc(1, sizeof(*node));
    int r;

    if (!node) {
        snprintf(errbuf, errlen, "out of memory");
        return NULL;
    }
    node->loop = loop;
    node->config = config;
    node->state = state;
    node->identity = identity;
    node->id = *identity_id(identity);
    node->roles = roles;
    node->started = loop_now(loop);
    node->pool.limit = config->session.memory;
    LIST_INIT(&node->greetings);
    LIST_INIT(&node->invitations);
    LIST_INIT(&node->paths);
    LIST_INIT(&node->pings);
    LIST_INIT(&node->forwards);
    LIST_INIT(&node->lents);
    timer_init(&node->stop_timer, on_stop_timer, node);
    admission_init(node);
    defer_init(&node->stop_check, on_stop_check, node);
    set_name(node, config);
    outlet_init(node);
    node->netwatch = netwatch_new(loop, config->tun.device, on_network_changed, node);
    node->tls = tls_context_new(identity);
    r = node->tls ? 0 : ADIT_ECRYPTO;
    if (r < 0)
        snprintf(errbuf, errlen, "no TLS: the log says why");
    if (r == 0 && !node->netwatch) {
        snprintf(errbuf, errlen, "out of memory");
        r = -ENOMEM;
    }
    if (r == 0)
        set_env(node, config);
    if (r == 0)
        r = open_listen(node, errbuf, errlen);
    if (r == 0 && (r = finder_start(node)) < 0)
        snprintf(errbuf, errlen, "out of memory");
    if (r == 0 && roles & NODE_EXIT)
        r = start_exit(node, errbuf, errlen);
    if (r == 0 && roles & NODE_GATEWAY)
        r = start_gateway(node, errbuf, errlen);
    if (r == 0 && roles & NODE_FORWARD)
        r = forwards_use(node, config, errbuf, errlen);
    if (r < 0) {
        node_free(node);
        return NULL;
    }
    admission_watch(node);
    finder_refresh(node);
    return node;
}

/* --- Ending --- */

static void stop_finish(struct node *node)
{
    void (*stopped)(void *arg) = node->stopped;

    timer_cancel(node->loop, &node->stop_timer);
    defer_cancel(node->loop, &node->stop_check);
    node->stopped = NULL;
    if (stopped)
        stopped(node->stopped_arg);
}

static void on_stop_check(void *arg)
{
    struct node *node = arg;
    struct node_peer *peer, *next;

    if (!LIST_EMPTY(&node->paths))
        return;
    HASH_ITER (hh, node->peers, peer, next)
        if (peer->session || peer->ending)
            return;
    stop_finish(node);
}

static void on_stop_timer(void *arg)
{
    stop_finish(arg);
}

void node_stop(struct node *node, void (*done)(void *arg), void *arg)
{
    struct node_peer *peer, *next;

    if (node->stopping)
        return;
    node->stopping = true;
    node->stopped = done;
    node->stopped_arg = arg;
    if (node->listen)
        listen_stop(node->listen);
    if (node->front)
        front_stop(node->front);
    invite_cancel_all(node);
    greet_cancel_all(node, NULL);
    HASH_ITER (hh, node->peers, peer, next) {
        node_peer_reset_scheduler(peer);
        if (peer->session)
            session_close(peer->session, CLOSE_OK, NULL);
    }
    timer_set_in(node->loop, &node->stop_timer, NODE_STOP_US);
    defer_soon(node->loop, &node->stop_check);
}

void node_free(struct node *node)
{
    struct node_peer *peer, *next;

    if (!node)
        return;
    node->stopping = true;
    node->stopped = NULL;
    timer_cancel(node->loop, &node->stop_timer);
    timer_cancel(node->loop, &node->expiry);
    ping_free_all(node);
    greet_cancel_all(node, NULL);
    listen_free(node->listen);
    netwatch_free(node->netwatch);
    node->netwatch = NULL;
    front_free(node->front);
    forwards_free(node);
    HASH_ITER (hh, node->peers, peer, next) {
        node_peer_reset_scheduler(peer);
        if (peer->session)
            session_fail(peer->session, ADIT_ECLOSED, "this node ends");
    }
    finder_stop(node);
    greet_drop_paths(node);
    /* What is over tells so from the loop, and what it tells are the peers: let it. */
    for (int turn = 0; turn < 8; turn++)
        loop_turn(node->loop, 0);
    defer_cancel(node->loop, &node->stop_check);
    egress_free(node->egress);
    egress_free(node->dialler);
    resolver_free(node->resolver);
    routes_free(node);
    HASH_ITER (hh, node->peers, peer, next)
        node_peer_free(peer);
    tls_context_free(node->tls);
    free(node);
}

/* --- Changes at run time --- */

void node_peers_changed(struct node *node)
{
    struct node_peer *peer, *next;

    admission_watch(node);
    HASH_ITER (hh, node->peers, peer, next) {
        bool was_admitted = peer->is_admitted, expired;

        node_peer_refresh(peer);
        /* One that we know all the same may come back, but its streams are over. */
        if (!peer->session || peer->is_admitted || (peer->is_known && !was_admitted))
            continue;
        expired = admission_is_expired(node, &peer->id);
        log_info("event=%s peer=%s", expired ? "admission-expired" : "revoked", peer->label);
        greet_cancel_all(node, peer);
        if (peer->session)
            session_close(peer->session, expired ? CLOSE_EXPIRED : CLOSE_REVOKED, NULL);
    }
    lent_recheck(node);
}

static bool same_addrs(const struct config_addrs *a, const struct config_addrs *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!addr_equal(&a->items[i], &b->items[i]))
            return false;
    return true;
}

/* The keys that have changed and that only a new start takes over. */
static char *needs_restart(const struct node *node, const struct config *next)
{
    const struct config *old = node->config;
    char text[256] = "";

    if (!same_addrs(&old->path.listen, &next->path.listen))
        strcat(text, ",path.listen");
    if (old->path.handshake_timeout_us != next->path.handshake_timeout_us)
        strcat(text, ",path.handshake_timeout");
    if (old->path.max_handshakes != next->path.max_handshakes)
        strcat(text, ",path.max_handshakes");
    if (!same_addrs(&old->exit.resolver, &next->exit.resolver))
        strcat(text, ",exit.resolver");
    if (strcmp(old->node.control, next->node.control) != 0)
        strcat(text, ",node.control");
    return strdup(text[0] ? text + 1 : "");
}

static int reload_egress(struct node *node, const struct config *config, char *errbuf,
                         size_t errlen)
{
    struct egress_config egress;
    int r;

    if (!node->egress)
        return 0;
    egress_config_from(&egress, config);
    r = egress_reconfigure(node->egress, &egress);
    if (r < 0)
        snprintf(errbuf, errlen, "exit: %s", err_text(r));
    return r;
}

static int reload_front(struct node *node, const struct config *config, char *errbuf, size_t errlen)
{
    struct front_config front;
    int r;

    if (!node->front)
        return 0;
    front_config_from(&front, config);
    r = front_reload(node->front, &front);
    if (r < 0)
        snprintf(errbuf, errlen, "gateway: %s; the log says more", err_text(r));
    return r;
}

/* Takes over what may fail: all of it, or nothing (errbuf says why). */
static int reload_parts(struct node *node, const struct config *config, const struct config *old,
                        char *errbuf, size_t errlen)
{
    struct ways ways = {.exit = NULL};
    char why[256];
    int r = 0;

    if (node->front)
        r = routes_plan(node, config, &ways, errbuf, errlen);
    if (r < 0)
        return r;
    r = reload_egress(node, config, errbuf, errlen);
    if (r == 0)
        r = reload_front(node, config, errbuf, errlen);
    if (r == 0 && node->roles & NODE_FORWARD)
        r = forwards_use(node, config, errbuf, errlen);
    if (r == 0) {
        if (node->front)
            routes_use(node, &ways);
        return 0;
    }
    routes_drop(&ways);
    if (reload_egress(node, old, why, sizeof(why)) < 0 ||
        reload_front(node, old, why, sizeof(why)) < 0)
        log_error("event=reload-failed effect=\"the old configuration is not all in use\" "
                  "why=\"%s\"",
                  why);
    return r;
}

int node_reload(struct node *node, const struct config *config, char **restart, char *errbuf,
                size_t errlen)
{
    const struct config *old = node->config;
    struct node_peer *peer, *next;
    int r;

    *restart = needs_restart(node, config);
    if (!*restart) {
        snprintf(errbuf, errlen, "out of memory");
        return -ENOMEM;
    }
    /* From here on peers are judged by the new one; what fails puts the old one back. */
    node->config = config;
    r = reload_parts(node, config, old, errbuf, errlen);
    if (r < 0) {
        node->config = old;
        finder_refresh(node); /* peers that were to be used may have brought brokers */
        free(*restart);
        *restart = NULL;
        return r;
    }
    if (direct_reconfigure(node) < 0)
        log_warn("event=reload-incomplete part=direct why=\"out of memory\"");
    node->pool.limit = config->session.memory;
    set_name(node, config);
    HASH_ITER (hh, node->peers, peer, next)
        node_peer_reconfigure(peer);
    set_env(node, config);
    finder_refresh(node);
    node_peers_changed(node);
    HASH_ITER (hh, node->peers, peer, next)
        node_peer_update(peer);
    return 0;
}

/* --- What others ask --- */

size_t node_listener_count(const struct node *node)
{
    return (node->listen ? listen_count(node->listen) : 0) +
           (node->front ? front_listeners(node->front) : 0);
}

static void describe_front(const struct node *node, size_t index, struct node_listener *out)
{
    const struct config_listens *listens = &node->config->gateway.listen;
    char text[FRONT_LISTENER_TEXT_MAX], other[FRONT_LISTENER_TEXT_MAX];

    front_listener(node->front, index, text);
    if (addr_parse(text, &out->addr) == 0)
        return;
    for (size_t i = 0; i < listens->count && !out->path; i++) {
        if (!listens->items[i].path)
            continue;
        snprintf(other, sizeof(other), "unix:%s", listens->items[i].path);
        if (strcmp(text, other) == 0)
            out->path = listens->items[i].path;
    }
}

struct node_listener node_listener_at(const struct node *node, size_t index)
{
    size_t paths = node->listen ? listen_count(node->listen) : 0;
    struct node_listener listener = {.for_paths = index < paths};

    if (listener.for_paths)
        listener.addr = listen_addr(node->listen, index);
    else
        describe_front(node, index - paths, &listener);
    return listener;
}
