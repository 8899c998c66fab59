/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A UDP pipe is one non-blocking descriptor and one edge-triggered event. What is written is queued
 * and sent at the end of the turn by sendmmsg(), up to SEND_BATCH messages a call; a single
 * pipe_send() with nothing queued goes out at once, uncopied. udp_receive.c receives.
 *
 * Groups: messages that follow each other in the queue, to one destination and of one size (the
 * last may be shorter), are given to the system as one with the size they are to be cut into
 * (UDP_SEGMENT), GROUP_MESSAGES and GROUP_BYTES at most; so they pass through it once, and a device
 * that can cut them does. Where it cannot, the system says so, and the same messages go out one by
 * one, if the first of them goes: EIO (no checksums by the device, IPsec) ends groups on this
 * socket; EINVAL and EMSGSIZE (too large for the path in one piece) only those of messages of that
 * size. A system that does not know the option would send one large datagram instead, so it is
 * asked first. Datagrams that come so (UDP_GRO) are one receive. options->no_offload switches both
 * off.
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
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "pipe/udp_receive.h"

#define SEND_BATCH     16    /* messages, or groups of them, a call */
#define SEND_PARTS     256   /* messages a call */
#define GROUP_MESSAGES 64    /* UDP_MAX_SEGMENTS of all systems that know groups */
#define GROUP_BYTES    65000 /* with its headers the group is one IP packet, for a while */
#define GROUP_LEAST    500   /* whoever refuses messages of so few bytes refuses all */
#define RECEIVE_TURN   256   /* messages a turn, and what the last call brought beyond */
#define RETRY_MS       5
#define QUEUE_MIN      8
#define QUEUE_KEPT     64 /* places kept when the queue is empty */

struct outgoing {
    struct slice data;
    struct addr to; /* unset: the connected peer */
};

struct udp_pipe {
    struct pipe base;
    int fd, family;
    bool registered, readable, writable, keep_fd, gro;
    size_t group_max; /* bytes of a message that goes in a group at most; 0: no groups */
    struct addr peer; /* unset: not connected */
    uint32_t linger_ms, idle_ms, send_retries, tries;
    uint64_t dropped, last_rx;
    struct outgoing *ring;
    uint32_t cap, head, count;
    size_t bytes;
    struct udp_batch *batch;
    struct event event;
    struct defer work;
    struct timer timer; /* idle or closing */
    struct timer retry;
};

static struct udp_pipe *udp_of(const struct pipe *pipe)
{
    return (struct udp_pipe *)(uintptr_t)pipe; /* base is the first member */
}

/* Room for the size of a group beside a message. */
union group_control {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
};

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
    if (udp->cap <= QUEUE_KEPT)
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

static void set_gro(struct udp_pipe *udp, int on)
{
    udp->gro = setsockopt(udp->fd, SOL_UDP, UDP_GRO, &on, sizeof(on)) == 0 && on;
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
    else if (udp->gro)
        set_gro(udp, 0); /* whoever reads from it now does not expect several in one */
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

    udp_batch_free(udp->batch);
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

/* How many messages, from the first or a later one on, are sent as one; `most` at most. */
static uint32_t group_size(const struct udp_pipe *udp, uint32_t first, uint32_t most)
{
    const struct outgoing *one = queue_at(udp, first);
    size_t size = one->data.len, bytes = size;
    uint32_t n = 1;

    if (size == 0 || size > udp->group_max)
        return 1;
    if (most > GROUP_MESSAGES)
        most = GROUP_MESSAGES;
    for (; n < most && first + n < udp->count; n++) {
        const struct outgoing *next = queue_at(udp, first + n);

        bytes += next->data.len;
        if (next->data.len == 0 || next->data.len > size || bytes > GROUP_BYTES ||
            !addr_equal(&next->to, &one->to))
            break;
        if (next->data.len < size)
            return n + 1; /* a shorter one is the last */
    }
    return n;
}

/* The size that a group is to be cut into, as the system wants to be told. */
static void tell_size(struct msghdr *header, union group_control *control, size_t size)
{
    struct cmsghdr *c;
    uint16_t value = (uint16_t)size;

    header->msg_control = control->bytes;
    header->msg_controllen = sizeof(control->bytes);
    c = CMSG_FIRSTHDR(header);
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(value));
    memcpy(CMSG_DATA(c), &value, sizeof(value));
}

/* Sends from the front of the queue, `most` messages at most. How many went out, or a negative
 * error of the first ones: then *group says how many they are. */
static int send_batch(struct udp_pipe *udp, uint32_t most, uint32_t *group)
{
    struct mmsghdr headers[SEND_BATCH];
    struct iovec iov[SEND_PARTS];
    struct sockaddr_storage names[SEND_BATCH];
    union group_control control[SEND_BATCH];
    unsigned count = 0;
    uint32_t parts = 0;
    int n;

    for (; count < SEND_BATCH && parts < udp->count && parts < most; count++) {
        const struct outgoing *out = queue_at(udp, parts);
        struct msghdr *header = &headers[count].msg_hdr;
        uint32_t size = group_size(udp, parts, most - parts);

        *header = (struct msghdr){.msg_iov = &iov[parts], .msg_iovlen = size};
        header->msg_namelen = destination(udp, &out->to, &names[count]);
        if (header->msg_namelen)
            header->msg_name = &names[count];
        if (size > 1)
            tell_size(header, &control[count], out->data.len);
        for (uint32_t i = 0; i < size; i++, parts++)
            iov[parts] =
                (struct iovec){queue_at(udp, parts)->data.data, queue_at(udp, parts)->data.len};
    }
    do {
        n = sendmmsg(udp->fd, headers, count, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    *group = (uint32_t)headers[0].msg_hdr.msg_iovlen;
    if (n < 0)
        return -errno;
    parts = 0;
    for (int i = 0; i < n; i++)
        parts += (uint32_t)headers[i].msg_hdr.msg_iovlen;
    return (int)parts;
}

/* Whether the system refuses what it is given as a group so. */
static bool is_group_error(int error)
{
    return error == EIO || error == EINVAL || error == EMSGSIZE || error == EOPNOTSUPP;
}

/* A group was refused whose first message, of this size, goes by itself: from now on what is like
 * it goes out one by one. */
static void group_refused(struct udp_pipe *udp, int error, size_t size)
{
    udp->group_max = error == EINVAL || error == EMSGSIZE ? size - 1 : 0;
    if (udp->group_max < GROUP_LEAST)
        udp->group_max = 0;
    log_debug("event=udp-group-refused error=\"%s\" size=%zu group_max=%zu", strerror(error), size,
              udp->group_max);
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
        size_t size = queue_at(udp, 0)->data.len;
        uint32_t group;
        int n = send_batch(udp, SEND_PARTS, &group), error = -n;

        /* It may be the message, or where it goes to: one is tried alone. */
        if (n < 0 && group > 1 && is_group_error(error)) {
            n = send_batch(udp, 1, &group);
            if (n > 0)
                group_refused(udp, error, size);
        }
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

static void udp_read(struct udp_pipe *udp)
{
    struct addr from = udp->peer;
    struct slice message;
    int turn = 0;

    if (!udp->batch)
        udp->batch = udp_batch_new(!addr_is_set(&udp->peer), udp->gro);
    while (pipe_read_budget(&udp->base) > 0) {
        if (udp_batch_next(udp->batch, &message, &from)) {
            turn++;
            pipe_deliver(&udp->base, &message, &from);
            continue;
        }
        if (!udp->readable)
            return;
        if (turn >= RECEIVE_TURN) {
            defer_next(udp->base.loop, &udp->work);
            return;
        }
        if (!udp_batch_fill(udp->batch, udp->fd))
            udp->readable = false;
        if (udp_batch_has(udp->batch))
            udp->last_rx = loop_now(udp->base.loop);
    }
}

static bool has_received(const struct udp_pipe *udp)
{
    return udp->readable || (udp->batch && udp_batch_has(udp->batch));
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

/* Whether the system knows groups of messages; one that does not would ignore the size and send
 * them as one. */
static bool knows_groups(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_UDP, UDP_SEGMENT, &value, &len) == 0 && value == 0;
}

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
    if (!options->no_offload && knows_groups(fd)) {
        udp->group_max = UDP_MESSAGE_MAX;
        set_gro(udp, 1);
    } else {
        set_gro(udp, 0); /* whoever made a wrapped socket may have wanted it */
    }
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
    const struct udp_pipe *udp = udp_of(pipe);

    return udp->dropped + (udp->batch ? udp_batch_dropped(udp->batch) : 0);
}

size_t udp_group_max(const struct pipe *pipe)
{
    return udp_of(pipe)->group_max;
}
