/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A TCP pipe is one non-blocking descriptor and one edge-triggered event, registered once: pausing,
 * resuming and waiting for room cost no system call. What the edges said is kept in `readable` and
 * `writable`; reads and writes clear them when the kernel has no more.
 *
 * Reading: up to READ_TURN_BYTES a turn, by readv() into standard blocks, as many as recent reads
 * have filled; never more than the sinks have room for. A short read means the socket is empty,
 * unless the peer has closed (EV_CLOSED), when only 0 ends it. A reset that comes together with
 * data cannot be told from data alone (libevent reports both as readable and writable), so
 * RESET_CHECK_US after the last short read one more read looks for it. What was read but not
 * delivered, because a listener paused the pipe in between, waits in `in`.
 *
 * Errors: a failed write discards what is queued, but what the peer sent before it reset is still
 * read and delivered; then the pipe ends with the error.
 *
 * Writing: slices are queued and written at the end of the turn (defer_soon) by one sendmsg() of
 * many; TCP_OUT_HIGH_BYTES queued is "no room". What the kernel does not take is compacted, so that
 * a slow reader pins few bytes beyond its own; of bulk, the kernel takes UNSENT_MAX at most.
 *
 * Closing: pipe_close() sends what is queued, for as long as linger_ms never passes without
 * progress, finishes our direction, and reads and discards until the other side has finished too or
 * DISCARD_MAX_MS (at most linger_ms) are over, since closing a socket with unread input would reset
 * it and destroy what was just sent. pipe_abort() resets at once, and so does pipe_close() of a
 * pipe that still connects.
 */
#include "pipe/tcp.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "pipe/pacing.h"
#include "pipe/tcp_int.h"

#define READ_TURN_BYTES ((size_t)512 * 1024)
#define READ_BLOCKS_MAX 16
#define BULK_BYTES      ((size_t)256 * 1024) /* written: from here on it is tuned for bulk */
#define UNSENT_MAX      (256 * 1024)         /* what the kernel may hold unsent of a bulk pipe */
#define WRITE_IOV_MAX   64
#define DISCARD_MAX_MS  2000
#define RESET_CHECK_US  (20 * MS_US)

static const struct pipe_ops tcp_ops;

static struct tcp_pipe *tcp_of(const struct pipe *pipe)
{
    return (struct tcp_pipe *)(uintptr_t)pipe; /* base is the first member */
}

/* --- End --- */

void tcp_leave_server(struct tcp_pipe *tcp)
{
    if (!tcp->server)
        return;
    *tcp->prev_client = tcp->next_client;
    if (tcp->next_client)
        tcp->next_client->prev_client = tcp->prev_client;
    tcp->server = NULL;
}

/* Lets go of the descriptor, the event and the queue; the pipe's memory stays until destroy. */
static void tcp_release_all(struct tcp_pipe *tcp, bool close_fd)
{
    struct loop *loop = tcp->base.loop;

    if (tcp->registered)
        event_del(&tcp->event);
    tcp->registered = false;
    if (close_fd && tcp->fd >= 0 && !tcp->keep_fd)
        close(tcp->fd);
    tcp->fd = -1;
    timer_cancel(loop, &tcp->timer);
    timer_cancel(loop, &tcp->reset_check);
    defer_cancel(loop, &tcp->work);
    slice_queue_clear(&tcp->out);
    slice_queue_clear(&tcp->in);
    tcp_leave_server(tcp);
}

static void tcp_over(struct tcp_pipe *tcp, int why)
{
    if (tcp->base.flags & PIPE_IS_OVER)
        return;
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

    if (tcp->fd >= 0 && !tcp->connecting)
        setsockopt(tcp->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
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
    if (tcp->reset_on_close && tcp->base.flags & PIPE_IS_CLOSING) {
        tcp_over(tcp, 0);
        return;
    }
    if (tcp->base.flags & PIPE_GOT_EOF) { /* close(2) sends the FIN */
        tcp_over(tcp, 0);
        return;
    }
    if (!tcp->shut) {
        tcp->shut = true;
        shutdown(tcp->fd, SHUT_WR);
    }
    if (tcp->base.flags & PIPE_IS_CLOSING && !tcp->discarding) {
        uint32_t wait = tcp->linger_ms < DISCARD_MAX_MS ? tcp->linger_ms : DISCARD_MAX_MS;

        tcp->discarding = true;
        timer_set_in(tcp->base.loop, &tcp->timer, wait * MS_US);
    }
}

/* The connection is broken for writing; false when the pipe ended, else what the peer has sent is
 * read first. */
static bool tcp_write_failed(struct tcp_pipe *tcp, int error)
{
    if (tcp->base.flags & (PIPE_IS_CLOSING | PIPE_IS_PAUSED | PIPE_GOT_EOF)) {
        tcp_over(tcp, -error);
        return false;
    }
    tcp->error = -error;
    tcp->readable = true;
    tcp->writable = false;
    slice_queue_clear(&tcp->out);
    pipe_has_room(&tcp->base); /* what more is written is dropped */
    return tcp->fd >= 0;
}

/* A pipe that has carried much is worth two system calls: for its pacing, and so that the kernel
 * does not hold megabytes for a reader that has stopped. */
static void tcp_now_bulk(struct tcp_pipe *tcp)
{
    int unsent = UNSENT_MAX;

    tcp->bulk = true;
    pacing_decide(tcp->fd, AF_INET);
    setsockopt(tcp->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

/* Writes what the kernel takes; false when the pipe ended. */
static bool tcp_flush(struct tcp_pipe *tcp)
{
    bool progress = false;

    while (tcp->out.count > 0 && tcp->writable) {
        struct iovec iov[WRITE_IOV_MAX];
        size_t bytes;
        struct msghdr msg = {.msg_iov = iov,
                             .msg_iovlen =
                                 (size_t)slice_queue_iov(&tcp->out, iov, WRITE_IOV_MAX, &bytes)};
        ssize_t n = sendmsg(tcp->fd, &msg, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return tcp_write_failed(tcp, errno);
        if (n < 0 || (size_t)n < bytes)
            tcp->writable = false;
        if (n > 0) {
            slice_queue_drop(&tcp->out, (size_t)n);
            progress = true;
        }
    }
    if (!tcp->bulk && tcp->base.bytes_out >= BULK_BYTES)
        tcp_now_bulk(tcp);
    if (tcp->out.count > 0)
        slice_queue_compact(&tcp->out);
    if (tcp->out.count == 0 && !tcp->connecting && !tcp->error &&
        tcp->base.flags & (PIPE_SENT_EOF | PIPE_IS_CLOSING)) {
        tcp_finish_writing(tcp);
        if (tcp->fd < 0)
            return false;
    }
    if (progress && tcp->base.flags & PIPE_IS_CLOSING && !tcp->discarding)
        timer_set_in(tcp->base.loop, &tcp->timer, tcp->linger_ms * MS_US);
    if (progress)
        pipe_has_room(&tcp->base);
    return tcp->fd >= 0;
}

static void tcp_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct tcp_pipe *tcp = tcp_of(pipe);

    (void)to;
    if (tcp->error) {
        slice_drop(data);
        return;
    }
    slice_queue_push(&tcp->out, data);
    if (tcp->writable)
        defer_soon(pipe->loop, &tcp->work);
}

static size_t tcp_room(const struct pipe *pipe)
{
    const struct tcp_pipe *tcp = tcp_of(pipe);

    return tcp->out.bytes < TCP_OUT_HIGH_BYTES ? TCP_OUT_HIGH_BYTES - tcp->out.bytes : 0;
}

static size_t tcp_queued(const struct pipe *pipe)
{
    return tcp_of(pipe)->out.bytes;
}

static void tcp_shutdown(struct pipe *pipe)
{
    struct tcp_pipe *tcp = tcp_of(pipe);

    if (tcp->out.count == 0 && !tcp->connecting)
        defer_soon(pipe->loop, &tcp->work);
}

static void tcp_close(struct pipe *pipe, int why)
{
    struct tcp_pipe *tcp = tcp_of(pipe);

    if (why || tcp->connecting || tcp->error) {
        tcp_reset(tcp, why ? why : tcp->error);
        return;
    }
    slice_queue_clear(&tcp->in);
    timer_set_in(pipe->loop, &tcp->timer, tcp->linger_ms * MS_US);
    defer_soon(pipe->loop, &tcp->work);
}

/* --- Reading --- */

static void tcp_discard(struct tcp_pipe *tcp)
{
    uint8_t scratch[16384];

    for (int i = 0; i < 16; i++) {
        ssize_t n = recv(tcp->fd, scratch, sizeof(scratch), 0);

        if (n > 0)
            continue;
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
static ssize_t read_slices(struct tcp_pipe *tcp, size_t want, struct slice slices[READ_BLOCKS_MAX],
                           int *count)
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
    if (n < 0)
        n = -errno;
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
        if (tcp->read_blocks < READ_BLOCKS_MAX)
            tcp->read_blocks *= 2;
    } else {
        if (!tcp->peer_closed || n < 0)
            tcp->readable = tcp->error != 0 && n > 0;
        if (*count * 2 <= tcp->read_blocks && tcp->read_blocks > 1)
            tcp->read_blocks /= 2;
    }
    return n;
}

static bool is_delivering(const struct tcp_pipe *tcp)
{
    return !(tcp->base.flags & (PIPE_IS_PAUSED | PIPE_IS_OVER | PIPE_IS_CLOSING));
}

/* Delivers what a pause has held; true when nothing is left and reading may go on. */
static bool deliver_held(struct tcp_pipe *tcp)
{
    while (tcp->in.count > 0 && pipe_read_budget(&tcp->base) > 0) {
        struct slice first = slice_ref(slice_queue_first(&tcp->in));

        slice_queue_drop(&tcp->in, first.len);
        pipe_deliver(&tcp->base, &first, NULL);
    }
    return tcp->in.count == 0 && is_delivering(tcp);
}

static void tcp_read_ended(struct tcp_pipe *tcp)
{
    tcp->readable = false;
    if (tcp->error) {
        tcp_over(tcp, tcp->error);
        return;
    }
    pipe_got_eof(&tcp->base);
    if (tcp->shut && tcp->out.count == 0)
        tcp_over(tcp, 0);
}

static void tcp_read(struct tcp_pipe *tcp)
{
    size_t turn = 0;

    if (tcp->base.flags & PIPE_IS_CLOSING) {
        if (tcp->shut)
            tcp_discard(tcp);
        return;
    }
    if (tcp->in.count > 0 && !deliver_held(tcp))
        return;
    while (tcp->readable && !(tcp->base.flags & PIPE_GOT_EOF)) {
        struct slice slices[READ_BLOCKS_MAX];
        size_t want = pipe_read_budget(&tcp->base);
        int count;

        if (want == 0)
            return;
        if (tcp->read_max && want > tcp->read_max)
            want = tcp->read_max;
        if (turn >= READ_TURN_BYTES) {
            defer_next(tcp->base.loop, &tcp->work);
            return;
        }
        ssize_t n = read_slices(tcp, want, slices, &count);
        if (n < 0 && (n != -EAGAIN || tcp->error)) {
            tcp_over(tcp, tcp->error ? tcp->error : (int)n);
            return;
        }
        if (n < 0)
            return;
        tcp->last_rx = loop_now(tcp->base.loop);
        if (n == 0) {
            tcp_read_ended(tcp);
            return;
        }
        turn += (size_t)n;
        for (int i = 0; i < count; i++) {
            if (is_delivering(tcp))
                pipe_deliver(&tcp->base, &slices[i], NULL);
            else if (tcp->fd >= 0 && !(tcp->base.flags & PIPE_IS_CLOSING))
                slice_queue_push(&tcp->in, &slices[i]);
            else
                slice_drop(&slices[i]);
        }
        if (!is_delivering(tcp))
            return;
        if (!tcp->readable)
            timer_set_in(tcp->base.loop, &tcp->reset_check, RESET_CHECK_US);
    }
}

static void on_reset_check(void *arg)
{
    struct tcp_pipe *tcp = arg;

    tcp->readable = true;
    tcp_read(tcp);
}

static void tcp_resume(struct pipe *pipe)
{
    struct tcp_pipe *tcp = tcp_of(pipe);

    /* Not soon: where what is read goes on at once, and makes room, and so resumes this pipe, the
     * turn would never end, and nobody else would be heard. */
    if (tcp->readable || tcp->in.count > 0)
        defer_next(pipe->loop, &tcp->work);
}

static void on_work(void *arg)
{
    struct tcp_pipe *tcp = arg;

    if (tcp_flush(tcp) && (tcp->readable || tcp->in.count > 0))
        tcp_read(tcp);
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

/* A reset is seen by reading; where that does not happen (paused, or after the end of file) it is
 * asked for. libevent reports errors as readable and writable, never with EV_CLOSED. */
static bool tcp_is_reset(struct tcp_pipe *tcp, short what)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (!(what & EV_READ) || !(what & EV_WRITE) || what & EV_CLOSED)
        return false;
    if (tcp->connecting || !(tcp->base.flags & (PIPE_IS_PAUSED | PIPE_GOT_EOF)))
        return false;
    getsockopt(tcp->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        tcp_over(tcp, -error);
    return error != 0;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct tcp_pipe *tcp = arg;

    (void)fd;
    loop_refresh(tcp->base.loop);
    if (tcp_is_reset(tcp, what))
        return;
    if (what & (EV_READ | EV_CLOSED))
        tcp->readable = true;
    if (what & EV_CLOSED)
        tcp->peer_closed = true;
    if (what & EV_WRITE) {
        tcp->writable = true;
        if (tcp->connecting)
            tcp_connected(tcp);
        if (tcp->fd < 0)
            return;
    }
    if (!tcp->connecting)
        on_work(tcp);
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
        if (getsockname(tcp->fd, (struct sockaddr *)&sa, &len) < 0)
            return -errno;
        r = addr_from_sockaddr((struct sockaddr *)&sa, len, local);
    }
    if (remote && r == 0) {
        len = sizeof(sa);
        if (getpeername(tcp->fd, (struct sockaddr *)&sa, &len) < 0)
            return -errno;
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

struct tcp_pipe *tcp_new(struct loop *loop, int fd, const struct pipe_options *options,
                         bool connecting)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct tcp_pipe *tcp = calloc(1, sizeof(*tcp));
    int one = 1;

    if (!tcp)
        return NULL;
    if (!options)
        options = &defaults;
    pipe_init(&tcp->base, &tcp_ops, loop);
    tcp->fd = fd;
    tcp->connecting = connecting;
    tcp->writable = !connecting;
    tcp->read_blocks = 1;
    tcp->keep_fd = options->keep_fd;
    tcp->reset_on_close = options->reset_on_close;
    tcp->linger_ms = options->linger_ms;
    tcp->idle_ms = options->idle_timeout_ms;
    tcp->read_max = options->read_max;
    tcp->last_rx = loop_now(loop);
    defer_init(&tcp->work, on_work, tcp);
    timer_init(&tcp->timer, on_timer, tcp);
    timer_init(&tcp->reset_check, on_reset_check, tcp);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
               sizeof(one)); /* fails on UNIX sockets, rightly */
    event_assign(&tcp->event, loop_base(loop), fd,
                 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, tcp);
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
    int r, fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                       options ? options->protocol : 0);

    if (fd < 0)
        return NULL;
    if (!options)
        options = &defaults;
    pacing_avoid(fd);
    r = pipe_options_apply(options, fd, to->family);
    if (r == 0 && connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
        r = -errno;
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
    if (options->connect_timeout_ms)
        timer_set_in(loop, &tcp->timer, options->connect_timeout_ms * MS_US);
    return &tcp->base;
}

int tcp_unix_socket(const char *path, struct sockaddr_un *sun)
{
    *sun = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(sun->sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(sun->sun_path, path, strlen(path));
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

struct pipe *tcp_open_unix(struct loop *loop, const char *path, const struct pipe_options *options)
{
    struct sockaddr_un sun;
    struct tcp_pipe *tcp = NULL;
    int error, fd = tcp_unix_socket(path, &sun);

    if (fd < 0)
        return NULL;
    /* It connects at once or not at all (EAGAIN: the server's backlog is full). */
    if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0 &&
        (tcp = tcp_new(loop, fd, options, true)))
        return &tcp->base;
    error = errno;
    close(fd);
    errno = error;
    return NULL;
}

int tcp_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    return flags & O_NONBLOCK || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -errno;
}

struct pipe *tcp_wrap(struct loop *loop, int fd, const struct pipe_options *options)
{
    struct tcp_pipe *tcp;

    if (tcp_set_nonblocking(fd) < 0)
        return NULL;
    tcp = tcp_new(loop, fd, options, false);
    return tcp ? &tcp->base : NULL;
}

int tcp_fd(const struct pipe *pipe)
{
    return pipe->ops->kind == tcp_ops.kind ? tcp_of(pipe)->fd : tcp_server_fd(pipe);
}

int tcp_take_fd(struct pipe *pipe)
{
    struct tcp_pipe *tcp = tcp_of(pipe);
    int fd = tcp->fd;

    if (fd < 0)
        return ADIT_ECLOSED;
    if (tcp->out.count > 0 || tcp->in.count > 0)
        return -EAGAIN;
    tcp_release_all(tcp, false);
    pipe_drop_links(pipe);
    pipe_is_over(pipe, 0);
    return fd;
}

void tcp_release(struct pipe *client)
{
    tcp_leave_server(tcp_of(client));
}
