/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Chooses the kind, makes it, and applies what concerns all kinds: the first listener, the
 * duplicate filter, the queue length of subscriptions.
 *
 * A server's listener is also put on each client when it is accepted, before `accept` is told, so
 * that one set of events serves TCP clients as a UDP server's serves its senders; who it was is in
 * the `pipe` argument.
 */
#include "pipe/open.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pipe/pipe_int.h"
#include "pipe/tcp.h"
#include "pipe/tls.h"
#include "pipe/udp.h"
#include "pipe/unique.h"

#define UNIX_MODE    0600
#define WRAP_BACKLOG 128

/* What a server passes on to its clients; freed at its end. */
struct serving {
    const struct pipe_events *events;
    void *arg;
    uint32_t queue_max;
};

static void serving_accept(struct pipe *server, struct pipe *client, void *arg)
{
    struct serving *serving = arg;

    (void)server;
    if (serving->queue_max)
        pipe_extra(client)->queue_max = serving->queue_max;
    if (serving->events)
        pipe_add_listener(client, serving->events, serving->arg);
}

static void serving_end(struct pipe *server, int why, void *arg)
{
    (void)server;
    (void)why;
    free(arg);
}

static const struct pipe_events serving_events = {.accept = serving_accept, .end = serving_end};

static bool is_connected(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    return getpeername(fd, (struct sockaddr *)&sa, &len) == 0;
}

static struct pipe *wrap_stream(struct loop *loop, const struct pipe_spec *spec, bool *server)
{
    int listening = 0;
    socklen_t len = sizeof(listening);
    struct pipe *pipe;

    if (getsockopt(spec->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
        return NULL;
    if (!listening && (spec->to || is_connected(spec->fd))) {
        pipe = tcp_wrap(loop, spec->fd, spec->options);
        if (pipe)
            pipe_up_soon(pipe);
        return pipe;
    }
    if (!listening && listen(spec->fd, WRAP_BACKLOG) < 0)
        return NULL;
    *server = true;
    return tcp_listen_fd(loop, spec->fd, spec->options);
}

static struct pipe *wrap_udp(struct loop *loop, const struct pipe_spec *spec)
{
    struct sockaddr_storage sa;

    if (spec->to && !is_connected(spec->fd)) {
        socklen_t len = addr_to_sockaddr(spec->to, &sa);
        if (connect(spec->fd, (struct sockaddr *)&sa, len) < 0)
            return NULL;
    }
    return udp_wrap(loop, spec->fd, spec->options);
}

static struct pipe *open_tls(struct loop *loop, const struct pipe_spec *spec)
{
    if (spec->wrap && !spec->id)
        return tls_accept(loop, spec->tls, spec->fd, spec->options);
    if (spec->wrap)
        return tls_wrap(loop, spec->tls, spec->fd, false, spec->id, spec->options);
    if (spec->to && spec->id)
        return tls_open(loop, spec->tls, spec->to, spec->id, spec->options);
    errno = EOPNOTSUPP;
    return NULL;
}

static struct pipe *open_kind(struct loop *loop, const struct pipe_spec *spec, bool *server)
{
    const struct addr *local = spec->options ? &spec->options->local : NULL;
    bool listens = !spec->wrap && !spec->to && spec->protocol != PIPE_TLS;

    if (listens && spec->protocol != PIPE_UNIX && (!local || !addr_is_set(local))) {
        errno = EDESTADDRREQ;
        return NULL;
    }
    switch (spec->protocol) {
    case PIPE_TCP:
        if (spec->wrap)
            return wrap_stream(loop, spec, server);
        if (spec->to)
            return tcp_open(loop, spec->to, spec->options);
        *server = true;
        return tcp_listen(loop, local, spec->options);
    case PIPE_UNIX:
        if (spec->wrap)
            return wrap_stream(loop, spec, server);
        if (!spec->is_server)
            return tcp_open_unix(loop, spec->path, spec->options);
        *server = true;
        return tcp_listen_unix(loop, spec->path, UNIX_MODE, spec->options);
    case PIPE_UDP:
        if (spec->wrap)
            return wrap_udp(loop, spec);
        return spec->to ? udp_open(loop, spec->to, spec->options)
                        : udp_listen(loop, local, spec->options);
    case PIPE_TLS:
        return open_tls(loop, spec);
    }
    errno = EPROTONOSUPPORT;
    return NULL;
}

struct pipe *pipe_open(struct loop *loop, const struct pipe_spec *spec)
{
    const struct pipe_options *options = spec->options;
    struct serving *serving = NULL;
    struct pipe *pipe;
    bool server = false;

    if (options && options->unique_max && spec->protocol != PIPE_UDP) {
        errno = ENOTSUP;
        return NULL;
    }
    if (options && options->unique_max > UNIQUE_MAX) {
        errno = EINVAL;
        return NULL;
    }
    if (!(serving = calloc(1, sizeof(*serving))))
        return NULL;
    pipe = open_kind(loop, spec, &server);
    if (!pipe || !server) {
        int error = errno;

        free(serving);
        errno = error;
        if (!pipe)
            return NULL;
    } else {
        *serving = (struct serving){spec->events, spec->arg, options ? options->queue_max : 0};
        pipe_add_listener(pipe, &serving_events, serving);
    }
    if (spec->events)
        pipe_add_listener(pipe, spec->events, spec->arg);
    if (options && options->queue_max)
        pipe_extra(pipe)->queue_max = options->queue_max;
    if (options && options->unique_max && pipe_drop_duplicates(pipe, options->unique_max) < 0)
        abort(); /* memory */
    return pipe;
}
