/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A server is a listening socket, level-triggered; it accepts up to ACCEPT_TURN clients a turn and
 * tells each to `accept`. Out of descriptors or memory it rests ACCEPT_REST_MS: others may finish
 * meanwhile. Paused, it leaves new clients in the kernel's backlog.
 *
 * It keeps a list of the clients that it made and that still live: ending the server resets them,
 * unless they were released. What is written to a server goes to all of them, or to the one at an
 * address.
 *
 * Limits: LISTEN_BACKLOG clients waiting in the kernel; no maximum of its own for accepted ones
 * (descriptors are that).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "pipe/pacing.h"
#include "pipe/tcp_int.h"

#define ACCEPT_TURN    64
#define ACCEPT_REST_MS 100
#define WARN_EVERY_MS  60000
#define LISTEN_BACKLOG 4096

struct tcp_server {
    struct pipe base;
    int fd;
    struct event event;
    struct timer rest;
    uint64_t warned_at;
    struct tcp_pipe *clients;
    struct pipe_options options;
    char *unlink_path;
};

static const struct pipe_ops server_ops;

static struct tcp_server *server_of(const struct pipe *pipe)
{
    return (struct tcp_server *)(uintptr_t)pipe;
}

static void adopt_client(struct tcp_server *server, int fd)
{
    struct pipe_options options = server->options;
    struct tcp_pipe *tcp;

    options.keep_fd = false; /* that is about the listening socket */
    tcp = tcp_new(server->base.loop, fd, &options, false);
    if (!tcp) {
        close(fd);
        return;
    }
    tcp->server = server;
    tcp->next_client = server->clients;
    if (tcp->next_client)
        tcp->next_client->prev_client = &tcp->next_client;
    tcp->prev_client = &server->clients;
    server->clients = tcp;
    pipe_accepted(&server->base, &tcp->base);
}

/* What accept(2) reports about one client that is gone already. */
static bool is_about_client(int error)
{
    static const int errors[] = {EINTR,  ECONNABORTED, EPROTO,       ENOPROTOOPT, EPERM,
                                 ENONET, EHOSTDOWN,    EHOSTUNREACH, ENETDOWN,    ENETUNREACH};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (error == errors[i])
            return true;
    return false;
}

static void server_rest(struct tcp_server *server, int error)
{
    uint64_t now = loop_now(server->base.loop);

    if (!server->warned_at || now - server->warned_at >= WARN_EVERY_MS * MS_US) {
        log_warn("event=accept-failed error=\"%s\" remedy=\"raise the limit of open files "
                 "(ulimit -n)\"",
                 strerror(error));
        server->warned_at = now;
    }
    event_del(&server->event);
    timer_set_in(server->base.loop, &server->rest, ACCEPT_REST_MS * MS_US);
}

static void on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
    struct tcp_server *server = arg;

    (void)what;
    loop_refresh(server->base.loop);
    if (server->base.flags & PIPE_IS_PAUSED)
        event_del(&server->event); /* level-triggered: it would spin */
    for (int i = 0; i < ACCEPT_TURN && server->fd >= 0 && !(server->base.flags & PIPE_IS_PAUSED);
         i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            adopt_client(server, fd);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (!is_about_client(errno)) {
            server_rest(server, errno);
            return;
        }
    }
}

static void server_resume(struct pipe *pipe)
{
    struct tcp_server *server = server_of(pipe);

    if (server->fd >= 0 && !timer_is_set(&server->rest) && !(pipe->flags & PIPE_IS_PAUSED))
        event_add(&server->event, NULL);
}

static void on_rested(void *arg)
{
    struct tcp_server *server = arg;

    server_resume(&server->base);
}

static void server_close(struct pipe *pipe, int why)
{
    struct tcp_server *server = server_of(pipe);

    event_del(&server->event);
    timer_cancel(pipe->loop, &server->rest);
    if (!server->options.keep_fd)
        close(server->fd);
    server->fd = -1;
    if (server->unlink_path)
        unlink(server->unlink_path);
    while (server->clients) {
        struct pipe *client = &server->clients->base;

        tcp_release(client);
        pipe_abort(client, why ? why : ADIT_ECLOSED);
    }
    pipe_is_over(pipe, why);
}

static void server_destroy(struct pipe *pipe)
{
    struct tcp_server *server = server_of(pipe);

    free(server->unlink_path);
    free(server);
}

static int server_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    if (remote || !local)
        return -ENOTSUP;
    if (getsockname(server_of(pipe)->fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    return addr_from_sockaddr((struct sockaddr *)&sa, len, local);
}

/* A server takes what is written for all its clients. */
static void server_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct addr remote;

    for (struct tcp_pipe *tcp = server_of(pipe)->clients, *next; tcp; tcp = next) {
        next = tcp->next_client;
        if (to && (pipe_addrs(&tcp->base, NULL, &remote) < 0 || !addr_equal(&remote, to)))
            continue;
        struct slice part = slice_ref(data);
        pipe_write(&tcp->base, &part);
    }
    slice_drop(data);
}

static size_t server_room(const struct pipe *pipe)
{
    size_t room = TCP_OUT_HIGH_BYTES;

    for (const struct tcp_pipe *tcp = server_of(pipe)->clients; tcp; tcp = tcp->next_client) {
        size_t part = pipe_room(&tcp->base);
        if (part < room)
            room = part;
    }
    return room;
}

static size_t server_queued(const struct pipe *pipe)
{
    size_t queued = 0;

    for (const struct tcp_pipe *tcp = server_of(pipe)->clients; tcp; tcp = tcp->next_client)
        queued += tcp->out.bytes;
    return queued;
}

static void server_shutdown(struct pipe *pipe)
{
    for (struct tcp_pipe *tcp = server_of(pipe)->clients, *next; tcp; tcp = next) {
        next = tcp->next_client;
        pipe_shutdown(&tcp->base);
    }
}

static const struct pipe_ops server_ops = {
    .kind = "tcp-server",
    .write = server_write,
    .room = server_room,
    .queued = server_queued,
    .resume = server_resume,
    .shutdown = server_shutdown,
    .close = server_close,
    .addrs = server_addrs,
    .destroy = server_destroy,
};

int tcp_server_fd(const struct pipe *pipe)
{
    return pipe->ops->kind == server_ops.kind ? server_of(pipe)->fd : -1;
}

struct pipe *tcp_listen_fd(struct loop *loop, int fd, const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct tcp_server *server;

    if (tcp_set_nonblocking(fd) < 0 || !(server = calloc(1, sizeof(*server))))
        return NULL;
    pipe_init(&server->base, &server_ops, loop);
    server->fd = fd;
    server->options = options ? *options : defaults;
    timer_init(&server->rest, on_rested, server);
    event_assign(&server->event, loop_base(loop), fd, EV_READ | EV_PERSIST, on_accept, server);
    if (event_add(&server->event, NULL) < 0) {
        free(server);
        errno = ENOMEM;
        return NULL;
    }
    pipe_up_soon(&server->base);
    return &server->base;
}

static struct pipe *listen_on(struct loop *loop, int fd, const struct pipe_options *options)
{
    struct pipe *server = NULL;

    if (listen(fd, LISTEN_BACKLOG) == 0)
        server = tcp_listen_fd(loop, fd, options);
    if (!server) {
        int error = errno;
        close(fd);
        errno = error;
    }
    return server;
}

struct pipe *tcp_listen(struct loop *loop, const struct addr *at,
                        const struct pipe_options *options)
{
    struct pipe_options listening = PIPE_OPTIONS_DEFAULT;
    int r, fd = socket(at->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return NULL;
    if (options)
        listening = *options;
    listening.local = *at;
    listening.reuse_addr = true; /* a restarted server must not wait for TIME_WAIT */
    pacing_avoid(fd);            /* clients inherit it */
    r = pipe_options_apply(&listening, fd, at->family);
    if (r < 0) {
        close(fd);
        errno = -r;
        return NULL;
    }
    return listen_on(loop, fd, options);
}

struct pipe *tcp_listen_unix(struct loop *loop, const char *path, int mode,
                             const struct pipe_options *options)
{
    struct sockaddr_un sun;
    struct pipe *server;
    mode_t mask;
    int r, fd = tcp_unix_socket(path, &sun);

    if (fd < 0)
        return NULL;
    /* A socket left by a process that is gone refuses connections; a live one must not be replaced.
     */
    r = connect(fd, (struct sockaddr *)&sun, sizeof(sun));
    if (r == 0 || errno == EAGAIN || errno == EINPROGRESS) {
        close(fd);
        errno = EADDRINUSE;
        return NULL;
    }
    if (errno == ECONNREFUSED)
        unlink(path);
    mask = umask((mode_t)(~mode & 0777));
    r = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
    umask(mask);
    if (r < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return NULL;
    }
    server = listen_on(loop, fd, options);
    if (server)
        server_of(server)->unlink_path = strdup(path);
    else
        unlink(path);
    return server;
}
