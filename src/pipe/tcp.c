/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A TCP pipe is one non-blocking descriptor and one edge-triggered event, registered once: pausing, resuming and waiting for room cost
 * no system call. What the edges said is kept in `readable` and `writable`; reads and writes clear them when the kernel has no more.
 *
 * Reading: up to READ_TURN_BYTES a turn, by readv() into standard blocks, as many as recent reads have filled; never more than the sinks have room
 * for. A short read means the socket is empty, unless the peer has closed (EV_CLOSED), when only 0 ends it.
 *
 * Writing: slices are queued and written at the end of the turn (defer_soon) by one sendmsg() of many; OUT_HIGH_BYTES queued is "no room". What
 * the kernel does not take is compacted, so that a slow reader pins few bytes beyond its own.
 *
 * Closing: pipe_close() sends what is queued, finishes our direction, and reads and discards until the other side has
 * finished too or linger_ms is over, since closing a socket with unread input would reset it and destroy what was just sent.
 * pipe_abort() resets at once.
 *
 * A server accepts up to ACCEPT_TURN clients a turn; out of descriptors, it rests ACCEPT_REST_MS.
 */
#include "pipe/tcp.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

#define READ_TURN_BYTES ((size_t)512 * 1024)
#define READ_BLOCKS_MAX 16
#define OUT_HIGH_BYTES ((size_t)256 * 1024)
#define WRITE_IOV_MAX 64
#define DISCARD_MAX_MS 2000
#define ACCEPT_TURN 64
#define ACCEPT_REST_MS 100
#define LISTEN_BACKLOG 4096

struct tcp_server;

struct tcp_pipe {
    struct pipe base;
    int fd;
    bool registered, connecting, readable, writable, peer_closed, shut, keep_fd;
    uint8_t read_blocks;
    uint32_t linger_ms, idle_ms;
    size_t read_max;
    struct slice_queue out;
    struct event event;
    struct defer work;
    struct timer timer; /* connecting, idle, or closing */
    uint64_t last_rx;
    struct tcp_server *server;
    struct tcp_pipe *next_client, **prev_client;
};

struct tcp_server {
    struct pipe base;
    int fd;
    struct event event;
    struct timer rest;
    struct tcp_pipe *clients;
    struct pipe_options options;
    char *unlink_path;
};

static const struct pipe_ops tcp_ops;
static const struct pipe_ops server_ops;

static struct tcp_pipe *tcp_of(const struct pipe *pipe)
{
    return (struct tcp_pipe *)(uintptr_t)pipe; /* base is the first member */
}

/* --- End --- */

static void leave_server(struct tcp_pipe *tcp)
{
    if (!tcp->server) return;
    *tcp->prev_client = tcp->next_client;
    if (tcp->next_client) tcp->next_client->prev_client = tcp->prev_client;
    tcp->server = NULL;
}

/* Lets go of the descriptor, the event and the queue; the pipe's memory stays until destroy. */
static void tcp_release_all(struct tcp_pipe *tcp, bool close_fd)
{
    struct loop *loop = tcp->base.loop;

    if (tcp->registered) event_del(&tcp->event);
    tcp->registered = false;
    if (close_fd && tcp->fd >= 0 && !tcp->keep_fd) close(tcp->fd);
    tcp->fd = -1;
    timer_cancel(loop, &tcp->timer);
    defer_cancel(loop, &tcp->work);
    slice_queue_clear(&tcp->out);
    leave_server(tcp);
}

static void tcp_over(struct tcp_pipe *tcp, int why)
{
    if (tcp->base.flags & PIPE_IS_OVER) return;
    tcp_release_all(tcp, true);
    pipe_is_over(&tcp->base, why);
}

static void tcp_destroy(struct pipe *pipe)
{
    free(tcp_of(pipe));
}

static void tcp_reset(struct tcp_pipe *tcp, int why)
{
    struct linger linger = {1, 0};

    if (tcp->fd >= 0 && !tcp->connecting) setsockopt(tcp->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    tcp_over(tcp, why);
}

/* --- Writing --- */

static void set_idle_timer(struct tcp_pipe *tcp)
{
    if (tcp->idle_ms && !timer_is_set(&tcp->timer))
        timer_set(tcp->base.loop, &tcp->timer, tcp->last_rx + tcp->idle_ms * MS_US);
}

/* Everything is sent and our direction is to be finished. */
static void tcp_finish_writing(struct tcp_pipe *tcp)
{
    bool closing = tcp->base.flags & PIPE_IS_CLOSING;

    if (!tcp->shut) {
        tcp->shut = true;
        shutdown(tcp->fd, SHUT_WR);
    }
    if (tcp->base.flags & PIPE_GOT_EOF) {
        tcp_over(tcp, 0);
    } else if (closing) {
        uint32_t wait = tcp->linger_ms < DISCARD_MAX_MS ? tcp->linger_ms : DISCARD_MAX_MS;
        timer_set_in(tcp->base.loop, &tcp->timer, wait * MS_US);
        if (tcp->readable) defer_soon(tcp->base.loop, &tcp->work);
    }
}

/* Writes what the kernel takes; false when the pipe ended. */
static bool tcp_flush(struct tcp_pipe *tcp)
{
    bool progress = false;

    while (tcp->out.count > 0 && tcp->writable) {
        struct iovec iov[WRITE_IOV_MAX];
        size_t bytes;
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)slice_queue_iov(&tcp->out, iov, WRITE_IOV_MAX, &bytes)};
        ssize_t n = sendmsg(tcp->fd, &msg, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno != EAGAIN) {
            tcp_over(tcp, -errno);
            return false;
        }
        if (n < 0 || (size_t)n < bytes) tcp->writable = false;
        if (n > 0) {
            slice_queue_drop(&tcp->out, (size_t)n);
            progress = true;
        }
    }
    if (tcp->out.count > 0) slice_queue_compact(&tcp->out);
    if (tcp->out.count == 0 && !tcp->connecting && tcp->base.flags & (PIPE_SENT_EOF | PIPE_IS_CLOSING)) {
        tcp_finish_writing(tcp);
        if (tcp->fd < 0) return false;
    }
    if (progress) pipe_has_room(&tcp->base);
    return tcp->fd >= 0;
}

static void tcp_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct tcp_pipe *tcp = tcp_of(pipe);

    (void)to;
    slice_queue_push(&tcp->out, data);
    if (tcp->writable) defer_soon(pipe->loop, &tcp->work);
}

static size_t tcp_room(const struct pipe *pipe)
{
    const struct tcp_pipe *tcp = tcp_of(pipe);

    return tcp->out.bytes < OUT_HIGH_BYTES ? OUT_HIGH_BYTES - tcp->out.bytes : 0;
}

static size_t tcp_queued(const struct pipe *pipe)
{
    return tcp_of(pipe)->out.bytes;
}

static void tcp_shutdown(struct pipe *pipe)
{
    struct tcp_pipe *tcp = tcp_of(pipe);

    if (tcp->out.count == 0 && !tcp->connecting) defer_soon(pipe->loop, &tcp->work);
}

static void tcp_close(struct pipe *pipe, int why)
{
    struct tcp_pipe *tcp = tcp_of(pipe);

    if (why || tcp->connecting) {
        tcp_reset(tcp, why);
        return;
    }
    timer_set_in(pipe->loop, &tcp->timer, tcp->linger_ms * MS_US);
    defer_soon(pipe->loop, &tcp->work);
}

/* --- Reading --- */

static void tcp_discard(struct tcp_pipe *tcp)
{
    uint8_t scratch[16384];

    for (int i = 0; i < 16; i++) {
        ssize_t n = recv(tcp->fd, scratch, sizeof(scratch), 0);

        if (n > 0) continue;
        if (n < 0 && errno == EAGAIN) {
            tcp->readable = false;
        } else if (tcp->out.count == 0 || n < 0) {
            tcp_over(tcp, 0);
        } else {
            tcp->base.flags |= PIPE_GOT_EOF;
            tcp->readable = false;
        }
        return;
    }
    defer_next(tcp->base.loop, &tcp->work);
}

/* One readv() of up to `want` bytes; returns bytes, 0 at the end of file, -errno. */
static ssize_t read_slices(struct tcp_pipe *tcp, size_t want, struct slice slices[READ_BLOCKS_MAX], int *count)
{
    struct iovec iov[READ_BLOCKS_MAX];
    size_t asked = 0;
    ssize_t n;
    int blocks = 0;

    while (blocks < tcp->read_blocks && asked < want) {
        size_t part = want - asked < BLOCK_READ_BYTES ? want - asked : BLOCK_READ_BYTES;

        slices[blocks].block = block_new();
        slices[blocks].data = block_start(slices[blocks].block);
        iov[blocks] = (struct iovec){slices[blocks].data, part};
        blocks++;
        asked += part;
    }
    do {
        n = readv(tcp->fd, iov, blocks);
    } while (n < 0 && errno == EINTR);
    if (n < 0) n = -errno;
    size_t left = n > 0 ? (size_t)n : 0;
    *count = 0;
    for (int i = 0; i < blocks; i++) {
        slices[i].len = left < iov[i].iov_len ? left : iov[i].iov_len;
        left -= slices[i].len;
        if (slices[i].len > 0)
            *count = i + 1;
        else
            block_unref(slices[i].block);
    }
    if (n >= 0 && (size_t)n == asked) {
        if (tcp->read_blocks < READ_BLOCKS_MAX) tcp->read_blocks *= 2;
    } else {
        if (!tcp->peer_closed || n < 0) tcp->readable = false;
        if (*count * 2 <= tcp->read_blocks && tcp->read_blocks > 1) tcp->read_blocks /= 2;
    }
    return n;
}

static void tcp_read(struct tcp_pipe *tcp)
{
    size_t turn = 0;

    if (tcp->base.flags & PIPE_IS_CLOSING) {
        if (tcp->shut) tcp_discard(tcp);
        return;
    }
    while (tcp->readable && !(tcp->base.flags & PIPE_GOT_EOF)) {
        struct slice slices[READ_BLOCKS_MAX];
        size_t want = pipe_read_budget(&tcp->base);
        int count;

        if (want == 0) return;
        if (tcp->read_max && want > tcp->read_max) want = tcp->read_max;
        if (turn >= READ_TURN_BYTES) {
            defer_next(tcp->base.loop, &tcp->work);
            return;
        }
        ssize_t n = read_slices(tcp, want, slices, &count);
        if (n == -EAGAIN) return;
        if (n < 0) {
            tcp_over(tcp, (int)n);
            return;
        }
        tcp->last_rx = loop_now(tcp->base.loop);
        if (n == 0) {
            tcp->readable = false;
            pipe_got_eof(&tcp->base);
            if (tcp->shut && tcp->out.count == 0) tcp_over(tcp, 0);
            return;
        }
        turn += (size_t)n;
        for (int i = 0; i < count; i++) pipe_deliver(&tcp->base, &slices[i], NULL);
        if (tcp->base.flags & (PIPE_IS_OVER | PIPE_IS_CLOSING)) return;
    }
}

static void tcp_resume(struct pipe *pipe)
{
    struct tcp_pipe *tcp = tcp_of(pipe);

    if (tcp->readable) defer_soon(pipe->loop, &tcp->work);
}

static void on_work(void *arg)
{
    struct tcp_pipe *tcp = arg;

    if (tcp_flush(tcp) && tcp->readable) tcp_read(tcp);
}

/* --- Events --- */

static void tcp_connected(struct tcp_pipe *tcp)
{
    int error = 0;
    socklen_t len = sizeof(error);

    getsockopt(tcp->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        tcp_over(tcp, -error);
        return;
    }
    tcp->connecting = false;
    timer_cancel(tcp->base.loop, &tcp->timer);
    tcp->last_rx = loop_now(tcp->base.loop);
    set_idle_timer(tcp);
    pipe_now_up(&tcp->base);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct tcp_pipe *tcp = arg;

    (void)fd;
    loop_refresh(tcp->base.loop);
    if (what & (EV_READ | EV_CLOSED)) tcp->readable = true;
    if (what & EV_CLOSED) tcp->peer_closed = true;
    if (what & EV_WRITE) {
        tcp->writable = true;
        if (tcp->connecting) tcp_connected(tcp);
        if (tcp->fd < 0) return;
    }
    if (!tcp->connecting) on_work(tcp);
}

static void on_timer(void *arg)
{
    struct tcp_pipe *tcp = arg;

    if (tcp->base.flags & PIPE_IS_CLOSING) {
        tcp_over(tcp, tcp->out.count ? -ETIMEDOUT : 0);
    } else if (tcp->connecting) {
        tcp_over(tcp, -ETIMEDOUT);
    } else if (loop_now(tcp->base.loop) >= tcp->last_rx + tcp->idle_ms * MS_US) {
        tcp_reset(tcp, -ETIMEDOUT);
    } else {
        set_idle_timer(tcp);
    }
}

static int tcp_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    const struct tcp_pipe *tcp = tcp_of(pipe);
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int r = 0;

    if (local) {
        if (getsockname(tcp->fd, (struct sockaddr *)&sa, &len) < 0) return -errno;
        r = addr_from_sockaddr((struct sockaddr *)&sa, len, local);
    }
    if (remote && r == 0) {
        len = sizeof(sa);
        if (getpeername(tcp->fd, (struct sockaddr *)&sa, &len) < 0) return -errno;
        r = addr_from_sockaddr((struct sockaddr *)&sa, len, remote);
    }
    return r;
}

static const struct pipe_ops tcp_ops = {
    .kind = "tcp",
    .write = tcp_write,
    .room = tcp_room,
    .queued = tcp_queued,
    .resume = tcp_resume,
    .shutdown = tcp_shutdown,
    .close = tcp_close,
    .addrs = tcp_addrs,
    .destroy = tcp_destroy,
};

/* --- Making --- */

static struct tcp_pipe *tcp_new(struct loop *loop, int fd, const struct pipe_options *options, bool connecting)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct tcp_pipe *tcp = calloc(1, sizeof(*tcp));
    int one = 1;

    if (!tcp) return NULL;
    if (!options) options = &defaults;
    pipe_init(&tcp->base, &tcp_ops, loop);
    tcp->fd = fd;
    tcp->connecting = connecting;
    tcp->writable = !connecting;
    tcp->read_blocks = 1;
    tcp->keep_fd = options->keep_fd;
    tcp->linger_ms = options->linger_ms;
    tcp->idle_ms = options->idle_timeout_ms;
    tcp->read_max = options->read_max;
    tcp->last_rx = loop_now(loop);
    defer_init(&tcp->work, on_work, tcp);
    timer_init(&tcp->timer, on_timer, tcp);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* fails on UNIX sockets, rightly */
    event_assign(&tcp->event, loop_base(loop), fd, EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, tcp);
    if (event_add(&tcp->event, NULL) < 0) {
        free(tcp);
        errno = ENOMEM;
        return NULL;
    }
    tcp->registered = true;
    if (!connecting) {
        tcp->base.flags |= PIPE_IS_UP;
        set_idle_timer(tcp);
    }
    return tcp;
}

struct pipe *tcp_open(struct loop *loop, const struct addr *to, const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(to, &sa);
    struct tcp_pipe *tcp;
    int r, fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, options ? options->protocol : 0);

    if (fd < 0) return NULL;
    if (!options) options = &defaults;
    r = pipe_options_apply(options, fd, to->family);
    if (r == 0 && connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS) r = -errno;
    if (r < 0) {
        close(fd);
        errno = -r;
        return NULL;
    }
    tcp = tcp_new(loop, fd, options, true);
    if (!tcp) {
        close(fd);
        return NULL;
    }
    if (options->connect_timeout_ms) timer_set_in(loop, &tcp->timer, options->connect_timeout_ms * MS_US);
    return &tcp->base;
}

struct pipe *tcp_wrap(struct loop *loop, int fd, const struct pipe_options *options)
{
    struct tcp_pipe *tcp;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)) return NULL;
    tcp = tcp_new(loop, fd, options, false);
    return tcp ? &tcp->base : NULL;
}

int tcp_fd(const struct pipe *pipe)
{
    return pipe->ops == &server_ops ? ((const struct tcp_server *)pipe)->fd : tcp_of(pipe)->fd;
}

int tcp_take_fd(struct pipe *pipe)
{
    struct tcp_pipe *tcp = tcp_of(pipe);
    int fd = tcp->fd;

    if (tcp->out.count > 0) return -EAGAIN;
    if (fd < 0) return ADIT_ECLOSED;
    tcp_release_all(tcp, false);
    pipe_is_over(pipe, 0);
    return fd;
}

void tcp_release(struct pipe *client)
{
    leave_server(tcp_of(client));
}

/* --- Servers --- */

static struct tcp_server *server_of(const struct pipe *pipe)
{
    return (struct tcp_server *)(uintptr_t)pipe;
}

static void adopt_client(struct tcp_server *server, int fd)
{
    struct tcp_pipe *tcp = tcp_new(server->base.loop, fd, &server->options, false);

    if (!tcp) {
        close(fd);
        return;
    }
    tcp->server = server;
    tcp->next_client = server->clients;
    if (tcp->next_client) tcp->next_client->prev_client = &tcp->next_client;
    tcp->prev_client = &server->clients;
    server->clients = tcp;
    pipe_accepted(&server->base, &tcp->base);
}

static void on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
    struct tcp_server *server = arg;

    (void)what;
    loop_refresh(server->base.loop);
    for (int i = 0; i < ACCEPT_TURN && server->fd >= 0 && !(server->base.flags & PIPE_IS_PAUSED); i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            adopt_client(server, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno != EAGAIN) { /* EMFILE, ENFILE, ENOBUFS, ENOMEM: rest, others may finish meanwhile */
            log_warn("event=accept-failed error=\"%s\" remedy=\"raise the limit of open files (ulimit -n)\"", strerror(errno));
            event_del(&server->event);
            timer_set_in(server->base.loop, &server->rest, ACCEPT_REST_MS * MS_US);
        }
        return;
    }
}

static void server_resume(struct pipe *pipe)
{
    struct tcp_server *server = server_of(pipe);

    if (server->fd >= 0 && !timer_is_set(&server->rest)) event_add(&server->event, NULL);
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
    if (!server->options.keep_fd) close(server->fd);
    server->fd = -1;
    if (server->unlink_path) unlink(server->unlink_path);
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

    if (remote || !local) return -ENOTSUP;
    if (getsockname(server_of(pipe)->fd, (struct sockaddr *)&sa, &len) < 0) return -errno;
    return addr_from_sockaddr((struct sockaddr *)&sa, len, local);
}

/* A server takes what is written for all its clients. */
static void server_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct addr remote;

    for (struct tcp_pipe *tcp = server_of(pipe)->clients, *next; tcp; tcp = next) {
        next = tcp->next_client;
        if (to && (tcp_addrs(&tcp->base, NULL, &remote) < 0 || !addr_equal(&remote, to))) continue;
        struct slice part = slice_ref(data);
        pipe_write(&tcp->base, &part);
    }
    slice_drop(data);
}

static size_t server_room(const struct pipe *pipe)
{
    size_t room = OUT_HIGH_BYTES;

    for (const struct tcp_pipe *tcp = server_of(pipe)->clients; tcp; tcp = tcp->next_client) {
        size_t part = tcp_room(&tcp->base);
        if (part < room) room = part;
    }
    return room;
}

static size_t server_queued(const struct pipe *pipe)
{
    size_t queued = 0;

    for (const struct tcp_pipe *tcp = server_of(pipe)->clients; tcp; tcp = tcp->next_client) queued += tcp->out.bytes;
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

struct pipe *tcp_listen_fd(struct loop *loop, int fd, const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct tcp_server *server = calloc(1, sizeof(*server));

    if (!server) return NULL;
    pipe_init(&server->base, &server_ops, loop);
    server->fd = fd;
    server->options = options ? *options : defaults;
    timer_init(&server->rest, on_rested, server);
    server->base.flags |= PIPE_IS_UP;
    event_assign(&server->event, loop_base(loop), fd, EV_READ | EV_PERSIST, on_accept, server);
    if (event_add(&server->event, NULL) < 0) {
        free(server);
        errno = ENOMEM;
        return NULL;
    }
    return &server->base;
}

static struct pipe *listen_on(struct loop *loop, int fd, const struct pipe_options *options)
{
    struct pipe *server = NULL;

    if (listen(fd, LISTEN_BACKLOG) == 0) server = tcp_listen_fd(loop, fd, options);
    if (!server) {
        int error = errno;
        close(fd);
        errno = error;
    }
    return server;
}

struct pipe *tcp_listen(struct loop *loop, const struct addr *at, const struct pipe_options *options)
{
    struct pipe_options listening = PIPE_OPTIONS_DEFAULT;
    int r, fd = socket(at->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0) return NULL;
    if (options) listening = *options;
    listening.local = *at;
    listening.reuse_addr = true; /* a restarted server must not wait for TIME_WAIT */
    r = pipe_options_apply(&listening, fd, at->family);
    if (r < 0) {
        close(fd);
        errno = -r;
        return NULL;
    }
    return listen_on(loop, fd, options);
}

struct pipe *tcp_listen_unix(struct loop *loop, const char *path, int mode, const struct pipe_options *options)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct pipe *server;
    mode_t mask;
    int fd, r;

    if (strlen(path) >= sizeof(sun.sun_path)) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    memcpy(sun.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return NULL;
    /* A socket left by a process that is gone refuses connections; a live one must not be replaced. */
    r = connect(fd, (struct sockaddr *)&sun, sizeof(sun));
    if (r == 0 || errno == EAGAIN || errno == EINPROGRESS) {
        close(fd);
        errno = EADDRINUSE;
        return NULL;
    }
    if (errno == ECONNREFUSED) unlink(path);
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
    if (server) server_of(server)->unlink_path = strdup(path);
    return server;
}
