/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Strangers may connect here, so what a connection can cost before it has shown that it knows our
 * ID is bounded: the descriptor and a `struct handshake`, for timeout_us at most; TLS state is made
 * only after a right preface (pipe/tls.c). handshakes_max in total and LISTEN_PREFIX_MAX from one
 * source prefix may be under way; beyond, connections are reset at once, so that a flood from one
 * network leaves room for the others.
 *
 * A handshake is: accepted, proven (its pipe has been handed over), done. Its place counts until
 * done, so that greetings that are never finished are bounded too. One that is refused has its
 * place until the connection has ended: closing it takes a while when the other side does not, and
 * it holds its TLS state that long.
 *
 * The port of a listener with port 0 is picked once and kept in the state, since tickets name it.
 * When somebody else has it at a later start, another is picked for this run, with a warning: the
 * old one may be free again next time.
 */
#include "node/listen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/log.h"
#include "pipe/tcp.h"
#include "pipe/tls.h"

#define REFUSED_LOG_US (10 * SEC_US)

struct handshake {
    LIST_ENTRY(handshake) link;
    struct listen *listen;
    struct pipe *pipe; /* NULL: handed over, and not refused */
    uint64_t prefix;   /* of the source; see prefix_of() */
    struct addr from;
};

struct server {
    struct listen *listen;
    struct pipe *pipe;
    struct addr addr;
};

struct listen {
    struct loop *loop;
    struct tls_context *tls;
    const struct listen_events *events;
    void *arg;
    uint32_t handshakes_max;
    uint32_t tls_ms;
    uint64_t refused_logged;
    struct listen_stats stats;
    LIST_HEAD(, handshake) handshakes;
    size_t count;
    struct server servers[LISTEN_ADDRS_MAX];
};

/* --- Connections --- */

/* The first 24 bits of an IPv4 address or 56 of an IPv6 one, and the family. */
static uint64_t prefix_of(const struct addr *addr)
{
    size_t bytes = addr->family == AF_INET ? 3 : 7;
    uint64_t prefix = addr->family == AF_INET ? 4 : 6;

    for (size_t i = 0; i < bytes; i++)
        prefix = prefix << 8 | addr->ip.bytes[i];
    return prefix;
}

static uint32_t count_prefix(const struct listen *listen, uint64_t prefix)
{
    const struct handshake *handshake;
    uint32_t count = 0;

    LIST_FOREACH (handshake, &listen->handshakes, link)
        count += handshake->prefix == prefix;
    return count;
}

void listen_done(struct handshake *handshake)
{
    LIST_REMOVE(handshake, link);
    handshake->listen->stats.handshakes--;
    free(handshake);
}

static void on_up(struct pipe *pipe, void *arg);
static void on_end(struct pipe *pipe, int why, void *arg);

static const struct pipe_events handshake_events = {.up = on_up, .end = on_end};

static void on_up(struct pipe *pipe, void *arg)
{
    struct handshake *handshake = arg;
    struct listen *listen = handshake->listen;

    pipe_del_listener(pipe, &handshake_events, handshake);
    handshake->pipe = NULL;
    listen->events->proven(listen->arg, pipe, handshake);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct handshake *handshake = arg;
    char from[ADDR_TEXT_MAX];

    (void)pipe;
    handshake->listen->stats.failed++;
    log_debug("event=handshake-failed from=%s why=\"%s\"", addr_format(&handshake->from, from),
              err_text(why ? why : ADIT_ETRUNC));
    listen_done(handshake);
}

static void on_refused_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    listen_done(arg);
}

static const struct pipe_events refused_events = {.end = on_refused_end};

void listen_refused(struct handshake *handshake, struct pipe *pipe)
{
    if (pipe->flags & PIPE_IS_OVER) { /* its end may just be being told, and is not told again */
        listen_done(handshake);
        return;
    }
    handshake->pipe = pipe;
    pipe_add_listener(pipe, &refused_events, handshake);
}

static bool has_place(struct listen *listen, uint64_t prefix, const struct addr *from)
{
    uint64_t now = loop_now(listen->loop);
    char text[ADDR_TEXT_MAX];

    if (listen->stats.handshakes < listen->handshakes_max &&
        count_prefix(listen, prefix) < LISTEN_PREFIX_MAX)
        return true;
    listen->stats.refused++;
    if (!listen->refused_logged || now - listen->refused_logged > REFUSED_LOG_US) {
        listen->refused_logged = now;
        log_warn("event=handshakes-full refused=%llu from=%s",
                 (unsigned long long)listen->stats.refused, addr_format_ip(from, text));
    }
    return false;
}

static void on_accept(struct pipe *server, struct pipe *client, void *arg)
{
    struct listen *listen = ((struct server *)arg)->listen;
    struct pipe_options options = PIPE_OPTIONS_DEFAULT;
    struct handshake *handshake;
    struct addr from = {0};
    uint64_t prefix;
    int fd;

    (void)server;
    pipe_addrs(client, NULL, &from);
    from = addr_unmap(&from);
    prefix = prefix_of(&from);
    if (!has_place(listen, prefix, &from) || (handshake = calloc(1, sizeof(*handshake))) == NULL) {
        pipe_abort(client, ADIT_EFULL);
        return;
    }
    tcp_release(client);
    fd = tcp_take_fd(client);
    options.tls_timeout_ms = listen->tls_ms;
    if (fd >= 0)
        handshake->pipe = tls_accept(listen->loop, listen->tls, fd, &options);
    if (!handshake->pipe) {
        if (fd >= 0)
            close(fd);
        free(handshake);
        return;
    }
    handshake->listen = listen;
    handshake->prefix = prefix;
    handshake->from = from;
    LIST_INSERT_HEAD(&listen->handshakes, handshake, link);
    listen->stats.handshakes++;
    listen->stats.accepted++;
    pipe_add_listener(handshake->pipe, &handshake_events, handshake);
}

/* --- Servers --- */

static void on_server_end(struct pipe *pipe, int why, void *arg)
{
    struct server *server = arg;

    (void)pipe;
    server->pipe = NULL;
    log_warn("event=listener-ended why=\"%s\"", err_text(why));
}

static const struct pipe_events server_events = {.accept = on_accept, .end = on_server_end};

static struct pipe *server_open(struct listen *listen, struct addr *at, struct state *state)
{
    struct pipe_options options = PIPE_OPTIONS_DEFAULT;
    uint16_t kept = at->port == 0 ? state_port(state) : 0;
    struct addr any = *at;
    struct pipe *pipe;

    options.reuse_addr = true;
    if (kept)
        at->port = kept;
    pipe = tcp_listen(listen->loop, at, &options);
    if (!pipe && errno == EADDRINUSE && kept) {
        log_warn(
            "event=port-taken port=%u remedy=\"tickets that name it do not work until it is free "
            "again and adit is restarted\"",
            kept);
        *at = any;
        pipe = tcp_listen(listen->loop, at, &options);
    } else if (pipe && any.port == 0 && !kept) {
        pipe_addrs(pipe, at, NULL);
        if (state_set_port(state, at->port) < 0)
            log_warn("event=port-not-kept port=%u remedy=\"check the state directory\"", at->port);
    }
    if (pipe)
        pipe_addrs(pipe, at, NULL);
    return pipe;
}

static int open_at(struct listen *listen, const struct addr *wanted, struct state *state)
{
    struct server *server = &listen->servers[listen->count];
    struct addr at = *wanted;

    server->pipe = server_open(listen, &at, state);
    /* [::] is also how IPv4 is meant; where the kernel has no IPv6 that is all there is. */
    if (!server->pipe && errno == EAFNOSUPPORT && wanted->family == AF_INET6 &&
        addr_is_any(wanted)) {
        at = addr_any(AF_INET, wanted->port);
        server->pipe = server_open(listen, &at, state);
    }
    if (!server->pipe)
        return errno ? -errno : -ENOMEM;
    server->listen = listen;
    server->addr = at;
    listen->count++;
    return pipe_add_listener(server->pipe, &server_events, server);
}

static const char *remedy_for(int error)
{
    switch (-error) {
    case EADDRINUSE:
        return "; choose another port, or 0 for any";
    case EADDRNOTAVAIL:
        return "; this machine has no such address: `ip address' lists those it has";
    case EACCES:
        return "; ports below 1024 are root's";
    default:
        return "";
    }
}

struct listen *listen_new(struct loop *loop, const struct listen_options *options,
                          const struct listen_events *events, void *arg, char *errbuf,
                          size_t errlen)
{
    struct listen *listen = calloc(1, sizeof(*listen));
    uint64_t timeout_us = options->timeout_us ? options->timeout_us : LISTEN_TIMEOUT_US;
    char text[ADDR_TEXT_MAX];

    if (!listen) {
        snprintf(errbuf, errlen, "out of memory");
        return NULL;
    }
    listen->loop = loop;
    listen->tls = options->tls;
    listen->events = events;
    listen->arg = arg;
    listen->handshakes_max =
        options->handshakes_max ? options->handshakes_max : LISTEN_HANDSHAKES_MAX;
    listen->tls_ms = (uint32_t)(timeout_us / MS_US);
    LIST_INIT(&listen->handshakes);
    for (size_t i = 0; i < options->count; i++) {
        int r =
            i < LISTEN_ADDRS_MAX ? open_at(listen, &options->at[i], options->state) : ADIT_EFULL;

        if (r == 0)
            continue;
        snprintf(errbuf, errlen, "cannot listen for peers on %s (path.listen): %s%s",
                 addr_format(&options->at[i], text), err_text(r), remedy_for(r));
        listen_free(listen);
        return NULL;
    }
    return listen;
}

void listen_stop(struct listen *listen)
{
    struct handshake *handshake, *next;

    for (size_t i = 0; i < listen->count; i++) {
        struct server *server = &listen->servers[i];

        if (!server->pipe)
            continue;
        pipe_del_listener(server->pipe, &server_events, server);
        pipe_close(server->pipe);
        server->pipe = NULL;
    }
    for (handshake = LIST_FIRST(&listen->handshakes); handshake; handshake = next) {
        next = LIST_NEXT(handshake, link);
        if (!handshake->pipe)
            continue;
        pipe_del_listener(handshake->pipe, &handshake_events, handshake);
        pipe_del_listener(handshake->pipe, &refused_events, handshake);
        pipe_abort(handshake->pipe, ADIT_ECLOSED);
        listen_done(handshake);
    }
}

void listen_free(struct listen *listen)
{
    if (!listen)
        return;
    listen_stop(listen);
    free(listen);
}

size_t listen_count(const struct listen *listen)
{
    return listen->count;
}

struct addr listen_addr(const struct listen *listen, size_t index)
{
    return listen->servers[index].addr;
}

const struct listen_stats *listen_stats(const struct listen *listen)
{
    return &listen->stats;
}
