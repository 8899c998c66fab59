/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A UDP pipe is one non-blocking descriptor and one edge-triggered event. What is written is queued
 * and sent at the end of the turn by sendmmsg(), up to SEND_BATCH messages a call; a single
 * pipe_send() with nothing queued goes out at once, uncopied.
 *
 * Receiving: recvmmsg() into blocks of UDP_BLOCK_BYTES, which most messages fit; what does not fit
 * goes on in the batch's spill area and is copied together. The number of messages asked for
 * follows the traffic. Fewer than asked for means the socket is empty. A pause in the middle of a
 * batch keeps the rest of it.
 *
 * Errors: ICMP errors that the kernel reports on connected sockets, and lack of buffers, are not
 * the end of a pipe. A send that fails so is tried send_retries times more, RETRY_MS apart where
 * waiting may help; then, as with any other error, the message is dropped.
 *
 * Limits: UDP_QUEUE_MESSAGES and UDP_QUEUE_BYTES unsent, then the oldest is dropped and counted.
 */
#include "pipe/udp.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define UDP_BLOCK_BYTES 2048
#define UDP_SPILL_BYTES (65536 - UDP_BLOCK_BYTES)
#define RECEIVE_BATCH   16
#define SEND_BATCH      16
#define RECEIVE_TURN    256 /* messages a turn */
#define RETRY_MS        5
#define QUEUE_MIN       8

struct outgoing {
    struct slice data;
    struct addr to; /* unset: the connected peer */
};

/* What one recvmmsg() has filled. `spill` is untouched memory until a large message comes. */
struct batch {
    struct mmsghdr headers[RECEIVE_BATCH];
    struct iovec iov[RECEIVE_BATCH][2];
    struct sockaddr_storage from[RECEIVE_BATCH];
    struct block *blocks[RECEIVE_BATCH];
    uint8_t *spill;
    int size, next, count; /* asked for at a time; next to deliver, of count */
};

struct udp_pipe {
    struct pipe base;
    int fd, family;
    bool registered, readable, writable, keep_fd;
    struct addr peer; /* unset: not connected */
    uint32_t linger_ms, idle_ms, send_retries, tries;
    uint64_t dropped, last_rx;
    struct outgoing *ring;
    uint32_t cap, head, count;
    size_t bytes;
    struct batch *batch;
    struct event event;
    struct defer work;
    struct timer timer; /* idle or closing */
    struct timer retry;
};

static struct udp_pipe *udp_of(const struct pipe *pipe)
{
    return (struct udp_pipe *)(uintptr_t)pipe; /* base is the first member */
}

/* --- The queue --- */

static struct outgoing *queue_at(const struct udp_pipe *udp, uint32_t i)
{
    return &udp->ring[(udp->head + i) & (udp->cap - 1)];
}

static void queue_pop(struct udp_pipe *udp)
{
    struct outgoing *first = queue_at(udp, 0);

    udp->bytes -= first->data.len;
    slice_drop(&first->data);
    udp->head = (udp->head + 1) & (udp->cap - 1);
    udp->tries = 0;
    if (--udp->count > 0)
        return;
    if (udp->cap <= QUEUE_MIN)
        return;
    free(udp->ring);
    udp->ring = NULL;
    udp->cap = udp->head = 0;
}

static void queue_push(struct udp_pipe *udp, struct slice *data, const struct addr *to)
{
    while (udp->count > 0 &&
           (udp->count >= UDP_QUEUE_MESSAGES || udp->bytes + data->len > UDP_QUEUE_BYTES)) {
        queue_pop(udp);
        udp->dropped++;
    }
    if (udp->count == udp->cap) {
        uint32_t cap = udp->cap ? udp->cap * 2 : QUEUE_MIN;
        struct outgoing *ring = malloc(cap * sizeof(*ring));

        if (!ring)
            abort();
        for (uint32_t i = 0; i < udp->count; i++)
            ring[i] = *queue_at(udp, i);
        free(udp->ring);
        udp->ring = ring;
        udp->cap = cap;
        udp->head = 0;
    }
    struct outgoing *last = queue_at(udp, udp->count++);
    last->data = *data;
    last->to = to ? *to : (struct addr){0};
    udp->bytes += data->len;
    *data = (struct slice){NULL, NULL, 0};
}

/* --- End --- */

static void batch_free(struct batch *batch)
{
    if (!batch)
        return;
    for (int i = 0; i < RECEIVE_BATCH; i++)
        block_unref(batch->blocks[i]);
    free(batch->spill);
    free(batch);
}

static void udp_over(struct udp_pipe *udp, int why)
{
    struct loop *loop = udp->base.loop;

    if (udp->base.flags & PIPE_IS_OVER)
        return;
    if (udp->registered)
        event_del(&udp->event);
    udp->registered = false;
    if (!udp->keep_fd)
        close(udp->fd);
    udp->fd = -1;
    timer_cancel(loop, &udp->timer);
    timer_cancel(loop, &udp->retry);
    defer_cancel(loop, &udp->work);
    while (udp->count > 0)
        queue_pop(udp);
    pipe_is_over(&udp->base, why);
}

static void udp_destroy(struct pipe *pipe)
{
    struct udp_pipe *udp = udp_of(pipe);

    batch_free(udp->batch);
    free(udp->ring);
    free(udp);
}

/* --- Sending --- */

/* The address in the form of our socket's family; its length, 0 for the connected peer. */
static socklen_t destination(const struct udp_pipe *udp, const struct addr *to,
                             struct sockaddr_storage *sa)
{
    struct addr mapped;

    if (!to || !addr_is_set(to) || (addr_is_set(&udp->peer) && addr_equal(to, &udp->peer)))
        return 0;
    if (udp->family != AF_INET6 || to->family != AF_INET)
        return addr_to_sockaddr(to, sa);
    mapped = (struct addr){.family = AF_INET6, .port = to->port};
    mapped.ip.bytes[10] = mapped.ip.bytes[11] = 0xff;
    memcpy(mapped.ip.bytes + 12, to->ip.bytes, 4);
    return addr_to_sockaddr(&mapped, sa);
}

static int send_batch(struct udp_pipe *udp)
{
    struct mmsghdr headers[SEND_BATCH];
    struct iovec iov[SEND_BATCH];
    struct sockaddr_storage names[SEND_BATCH];
    uint32_t count = udp->count < SEND_BATCH ? udp->count : SEND_BATCH;
    int n;

    for (uint32_t i = 0; i < count; i++) {
        struct outgoing *out = queue_at(udp, i);

        iov[i] = (struct iovec){out->data.data, out->data.len};
        headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &iov[i], .msg_iovlen = 1}};
        headers[i].msg_hdr.msg_namelen = destination(udp, &out->to, &names[i]);
        if (headers[i].msg_hdr.msg_namelen)
            headers[i].msg_hdr.msg_name = &names[i];
    }
    do {
        n = sendmmsg(udp->fd, headers, count, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* What to do about a failed send of the first message: true when sending may go on at once. */
static bool send_failed(struct udp_pipe *udp, int error)
{
    /* Reports about earlier messages: this one has not been tried. */
    bool stale = error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
                 error == ENOPROTOOPT;
    bool waiting_helps = error == ENOBUFS || error == ENOMEM;

    if (error == EAGAIN) {
        udp->writable = false;
        return false;
    }
    if ((stale || waiting_helps) && udp->tries++ < udp->send_retries) {
        if (stale)
            return true;
        timer_set_in(udp->base.loop, &udp->retry, RETRY_MS * MS_US);
        return false;
    }
    log_debug("event=udp-send-failed error=\"%s\"", strerror(error));
    queue_pop(udp);
    udp->dropped++;
    return true;
}

static void udp_flush(struct udp_pipe *udp)
{
    uint32_t before = udp->count;

    while (udp->count > 0 && udp->writable && !timer_is_set(&udp->retry)) {
        int n = send_batch(udp);

        if (n < 0 && !send_failed(udp, -n))
            break;
        while (n-- > 0)
            queue_pop(udp);
    }
    if (udp->count == 0 && udp->base.flags & PIPE_IS_CLOSING)
        udp_over(udp, 0);
    else if (udp->count < before)
        pipe_has_room(&udp->base);
}

static void udp_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct udp_pipe *udp = udp_of(pipe);

    if ((!addr_is_set(&udp->peer) && !to) || data->len > UDP_MESSAGE_MAX) {
        udp->dropped++;
        slice_drop(data);
        return;
    }
    queue_push(udp, data, to);
    if (udp->writable)
        defer_soon(pipe->loop, &udp->work);
}

static int udp_send(struct pipe *pipe, const void *data, size_t len, bool more)
{
    struct udp_pipe *udp = udp_of(pipe);
    struct slice copy;

    if (!more && udp->count == 0 && udp->writable && addr_is_set(&udp->peer) &&
        send(udp->fd, data, len, MSG_NOSIGNAL) >= 0)
        return 0;
    copy = slice_copy(data, len);
    udp_write(pipe, &copy, NULL);
    return 0;
}

static size_t udp_room(const struct pipe *pipe)
{
    const struct udp_pipe *udp = udp_of(pipe);

    if (udp->count >= UDP_QUEUE_MESSAGES || udp->bytes >= UDP_QUEUE_BYTES)
        return 0;
    return UDP_QUEUE_BYTES - udp->bytes;
}

static size_t udp_queued(const struct pipe *pipe)
{
    return udp_of(pipe)->bytes;
}

/* --- Receiving --- */

static struct batch *batch_new(void)
{
    struct batch *batch = calloc(1, sizeof(*batch));

    if (batch)
        batch->spill = malloc((size_t)RECEIVE_BATCH * UDP_SPILL_BYTES);
    if (!batch || !batch->spill)
        abort();
    batch->size = 1;
    return batch;
}

/* Fills the batch; messages received, 0 when there are none now. */
static int batch_fill(struct udp_pipe *udp)
{
    struct batch *batch = udp->batch;
    int n;

    for (int i = 0; i < batch->size; i++) {
        if (!batch->blocks[i])
            batch->blocks[i] = block_new_sized(UDP_BLOCK_BYTES);
        batch->iov[i][0] = (struct iovec){block_start(batch->blocks[i]), UDP_BLOCK_BYTES};
        batch->iov[i][1] =
            (struct iovec){batch->spill + (size_t)i * UDP_SPILL_BYTES, UDP_SPILL_BYTES};
        batch->headers[i].msg_hdr = (struct msghdr){.msg_iov = batch->iov[i], .msg_iovlen = 2};
        if (addr_is_set(&udp->peer))
            continue;
        batch->headers[i].msg_hdr.msg_name = &batch->from[i];
        batch->headers[i].msg_hdr.msg_namelen = sizeof(batch->from[i]);
    }
    /* An error tells of an earlier send; what has been received comes after it. */
    for (int i = 0; i < 8; i++) {
        n = recvmmsg(udp->fd, batch->headers, (unsigned)batch->size, MSG_DONTWAIT, NULL);
        if (n >= 0 || errno == EAGAIN)
            break;
    }
    if (n < batch->size)
        udp->readable = false;
    if (n < 0)
        n = 0;
    batch->next = 0;
    batch->count = n;
    if (n == batch->size && n < RECEIVE_BATCH)
        batch->size *= 2;
    else if (n * 4 <= batch->size && batch->size > 1)
        batch->size /= 2;
    return n;
}

static void batch_deliver_one(struct udp_pipe *udp)
{
    struct batch *batch = udp->batch;
    int i = batch->next++;
    size_t len = batch->headers[i].msg_len;
    struct addr from = udp->peer;
    struct slice slice;

    if (!addr_is_set(&udp->peer)) {
        const struct msghdr *header = &batch->headers[i].msg_hdr;
        struct addr named;

        if (addr_from_sockaddr(header->msg_name, header->msg_namelen, &named) < 0)
            return;
        from = addr_unmap(&named);
    }
    if (len <= UDP_BLOCK_BYTES) {
        slice = (struct slice){batch->blocks[i], block_start(batch->blocks[i]), len};
        batch->blocks[i] = NULL; /* the slice's now */
    } else {
        slice.block = block_new_sized(len);
        slice.data = block_start(slice.block);
        slice.len = len;
        memcpy(slice.data, block_start(batch->blocks[i]), UDP_BLOCK_BYTES);
        memcpy(slice.data + UDP_BLOCK_BYTES, batch->spill + (size_t)i * UDP_SPILL_BYTES,
               len - UDP_BLOCK_BYTES);
    }
    pipe_deliver(&udp->base, &slice, &from);
}

static void udp_read(struct udp_pipe *udp)
{
    int turn = 0;

    if (!udp->batch)
        udp->batch = batch_new();
    while (pipe_read_budget(&udp->base) > 0) {
        if (udp->batch->next < udp->batch->count) {
            batch_deliver_one(udp);
            continue;
        }
        if (!udp->readable)
            return;
        if (turn >= RECEIVE_TURN) {
            defer_next(udp->base.loop, &udp->work);
            return;
        }
        int n = batch_fill(udp);
        if (n > 0)
            udp->last_rx = loop_now(udp->base.loop);
        turn += n;
    }
}

static bool has_received(const struct udp_pipe *udp)
{
    return udp->readable || (udp->batch && udp->batch->next < udp->batch->count);
}

static void udp_resume(struct pipe *pipe)
{
    if (has_received(udp_of(pipe)))
        defer_soon(pipe->loop, &udp_of(pipe)->work);
}

/* --- Events --- */

static void on_work(void *arg)
{
    struct udp_pipe *udp = arg;

    udp_flush(udp);
    if (udp->fd >= 0 && has_received(udp))
        udp_read(udp);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct udp_pipe *udp = arg;

    (void)fd;
    loop_refresh(udp->base.loop);
    if (what & EV_READ)
        udp->readable = true;
    if (what & EV_WRITE)
        udp->writable = true;
    on_work(udp);
}

static void on_timer(void *arg)
{
    struct udp_pipe *udp = arg;
    uint64_t until = udp->last_rx + udp->idle_ms * MS_US;

    if (udp->base.flags & PIPE_IS_CLOSING || loop_now(udp->base.loop) >= until)
        udp_over(udp, -ETIMEDOUT);
    else
        timer_set(udp->base.loop, &udp->timer, until);
}

static void udp_shutdown(struct pipe *pipe)
{
    (void)pipe; /* messages have no end of file: nothing more is sent, that is all */
}

static void udp_close(struct pipe *pipe, int why)
{
    struct udp_pipe *udp = udp_of(pipe);

    if (why || udp->count == 0) {
        udp_over(udp, why);
        return;
    }
    timer_set_in(pipe->loop, &udp->timer, udp->linger_ms * MS_US);
    defer_soon(pipe->loop, &udp->work);
}

static int udp_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    const struct udp_pipe *udp = udp_of(pipe);
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    if (remote) {
        if (!addr_is_set(&udp->peer))
            return -ENOTCONN;
        *remote = udp->peer;
    }
    if (!local)
        return 0;
    if (getsockname(udp->fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    return addr_from_sockaddr((struct sockaddr *)&sa, len, local);
}

static const struct pipe_ops udp_ops = {
    .kind = "udp",
    .messages = true,
    .write = udp_write,
    .send = udp_send,
    .room = udp_room,
    .queued = udp_queued,
    .resume = udp_resume,
    .shutdown = udp_shutdown,
    .close = udp_close,
    .addrs = udp_addrs,
    .destroy = udp_destroy,
};

/* --- Making --- */

struct pipe *udp_wrap(struct loop *loop, int fd, const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int flags = fcntl(fd, F_GETFL);
    struct udp_pipe *udp;

    if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
        return NULL;
    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0 || !(udp = calloc(1, sizeof(*udp))))
        return NULL;
    if (!options)
        options = &defaults;
    pipe_init(&udp->base, &udp_ops, loop);
    udp->fd = fd;
    udp->family = sa.ss_family;
    udp->writable = true;
    udp->keep_fd = options->keep_fd;
    udp->linger_ms = options->linger_ms;
    udp->idle_ms = options->idle_timeout_ms;
    udp->send_retries = options->send_retries;
    udp->last_rx = loop_now(loop);
    len = sizeof(sa);
    if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr((struct sockaddr *)&sa, len, &udp->peer);
    defer_init(&udp->work, on_work, udp);
    timer_init(&udp->timer, on_timer, udp);
    timer_init(&udp->retry, on_work, udp);
    event_assign(&udp->event, loop_base(loop), fd, EV_READ | EV_WRITE | EV_ET | EV_PERSIST,
                 on_event, udp);
    if (event_add(&udp->event, NULL) < 0) {
        free(udp);
        errno = ENOMEM;
        return NULL;
    }
    udp->registered = true;
    if (udp->idle_ms)
        timer_set_in(loop, &udp->timer, udp->idle_ms * MS_US);
    pipe_up_soon(&udp->base);
    return &udp->base;
}

/* A socket with its options, bound to options->local if that is set, connected to `to` if that is
 * given. */
static struct pipe *udp_make(struct loop *loop, int family, const struct addr *to,
                             const struct pipe_options *options)
{
    struct sockaddr_storage sa;
    struct pipe *pipe = NULL;
    int error, fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, options->protocol);

    if (fd < 0)
        return NULL;
    error = -pipe_options_apply(options, fd, family);
    if (!error && to && connect(fd, (struct sockaddr *)&sa, addr_to_sockaddr(to, &sa)) < 0)
        error = errno;
    if (!error && !(pipe = udp_wrap(loop, fd, options)))
        error = errno;
    if (pipe)
        return pipe;
    close(fd);
    errno = error;
    return NULL;
}

struct pipe *udp_open(struct loop *loop, const struct addr *to, const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;

    return udp_make(loop, to->family, to, options ? options : &defaults);
}

struct pipe *udp_listen(struct loop *loop, const struct addr *at,
                        const struct pipe_options *options)
{
    struct pipe_options listening = PIPE_OPTIONS_DEFAULT;

    if (options)
        listening = *options;
    listening.local = *at;
    return udp_make(loop, at->family, NULL, &listening);
}

int udp_fd(const struct pipe *pipe)
{
    return udp_of(pipe)->fd;
}

uint64_t udp_dropped(const struct pipe *pipe)
{
    return udp_of(pipe)->dropped;
}
