/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Where TLS pipes come from: an address to connect to, a socket that somebody else connects, a
 * socket that was accepted. They differ in the state they begin with and in what their first timer
 * waits for; the rest is tls.c's.
 */
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "pipe/pacing.h"
#include "pipe/tls_int.h"

void tls_set_unsent(struct tls_pipe *tls, uint32_t bytes)
{
    if (tls->unsent_max == bytes)
        return;
    tls->unsent_max = bytes;
    setsockopt(tls->socket.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof bytes);
}

static struct tls_pipe *tls_new(struct loop *loop, struct tls_context *context, int fd,
                                const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct tls_pipe *tls = calloc(1, sizeof *tls);
    int one = 1;

    if (!tls)
        return NULL;
    if (!options)
        options = &defaults;
    tls_init(tls, loop, fd);
    tls->context = context;
    tls->keep_fd = options->keep_fd;
    tls->reset_on_close = options->reset_on_close;
    tls->linger_ms = options->linger_ms;
    tls->idle_ms = options->idle_timeout_ms;
    tls->tls_timeout_ms = options->tls_timeout_ms;
    tls->read_max = options->read_max;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* fails on UNIX sockets, rightly */
    tls_set_unsent(tls, UNSENT_MAX_BYTES);
    if (event_add(&tls->event, NULL) < 0) {
        free(tls);
        errno = ENOMEM;
        return NULL;
    }
    tls->registered = true;
    return tls;
}

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -1;
    return flags & O_NONBLOCK ? 0 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

struct pipe *tls_wrap(struct loop *loop, struct tls_context *context, int fd, bool connecting,
                      const struct node_id *id, const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct tls_pipe *tls;

    if (!options)
        options = &defaults;
    tls = set_nonblocking(fd) < 0 ? NULL : tls_new(loop, context, fd, options);
    if (!tls)
        return NULL;
    /* A connected socket's first "writable" comes from the loop too, so one path suffices. */
    tls->state = TLS_CONNECTING;
    tls->peer = *id;
    if (!connecting)
        tls_set_timer(tls);
    else if (options->connect_timeout_ms)
        timer_set_in(loop, &tls->timer, options->connect_timeout_ms * MS_US);
    return &tls->base;
}

struct pipe *tls_open(struct loop *loop, struct tls_context *context, const struct addr *to,
                      const struct node_id *id, const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(to, &sa);
    struct pipe *pipe = NULL;
    int result, fd;

    if (!options)
        options = &defaults;
    fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, options->protocol);
    if (fd < 0)
        return NULL;
    pacing_avoid(fd);
    result = pipe_options_apply(options, fd, to->family);
    if (result == 0 && connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
        result = -errno;
    if (result == 0) {
        pipe = tls_wrap(loop, context, fd, true, id, options);
        result = -errno;
    }
    if (!pipe) {
        close(fd);
        errno = -result;
    }
    return pipe;
}

struct pipe *tls_accept(struct loop *loop, struct tls_context *context, int fd,
                        const struct pipe_options *options)
{
    struct tls_pipe *tls = set_nonblocking(fd) < 0 ? NULL : tls_new(loop, context, fd, options);

    if (!tls)
        return NULL;
    tls->state = TLS_PREFACE;
    tls_set_timer(tls);
    return &tls->base;
}
