/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A TLS pipe is one non-blocking TCP socket, one edge-triggered event, and one SSL. All traffic
 * between nodes passes here, so each record costs one system call and the copies that the library
 * makes, no more (crypto/tls_socket.c has that part).
 *
 * States: CONNECTING, PREFACE (a server waits for 40 bytes, before any TLS state is made),
 * HANDSHAKE, UP. A client sends the preface and its ClientHello in one segment.
 *
 * Reading: SSL_read() decrypts into a standard block, which is delivered as one slice: a record is
 * a message. A turn reads READ_TURN_BYTES, then others have theirs.
 *
 * Writing: pipe_send() is one SSL_write(), one record, which the socket takes whole; when the
 * kernel does not, the pipe is blocked: it has no room until the socket is writable again. The
 * kernel takes UNSENT_MAX_BYTES more than it has sent (TCP_NOTSENT_LOWAT), so that what is urgent
 * does not wait behind a deep buffer: it is the session that decides what goes next, as late as
 * possible. What is written while blocked, or before the pipe is up, is queued in clear in `out`,
 * records kept whole. Records sent with `more` wait for others (MSG_MORE) until the end of the turn
 * at most: then on_flush() pushes.
 *
 * Closing: pipe_shutdown() sends close_notify and FIN after what is queued; the other direction
 * goes on. pipe_close() does the same, then discards what comes until the other side has finished
 * too, since closing a socket with unread input resets it and destroys what was just sent;
 * linger_ms bounds it. close_notify from the peer is `eof`; a connection that ends without one was
 * cut: ADIT_ETRUNC. pipe_abort() resets.
 *
 * The library's error queue is empty between calls. OpenSSL allocates its record buffers for each
 * burst anew (SSL_MODE_RELEASE_BUFFERS), an idle pipe holds none.
 */
#include "pipe/tls.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "crypto/preface.h"
#include "crypto/tls_context.h"
#include "crypto/tls_socket.h"

/* What the kernel holds unsent before it takes no more; half of it is a "write" event. A 10 Gbit/s
 * path empties it in 100 us, a round of the loop; a 10 Mbit/s one in 100 ms. */
#define UNSENT_MAX_BYTES    (128 * 1024)
#define READ_TURN_BYTES     ((size_t)512 * 1024)
#define SMALL_MESSAGE_BYTES 2048 /* up to here a message gets a block of its own size */
#define DISCARD_MAX_MS      2000

enum tls_state { TLS_CONNECTING, TLS_PREFACE, TLS_HANDSHAKE, TLS_UP };

struct tls_pipe {
    struct pipe base;
    enum tls_state state;
    bool registered;
    bool corked;   /* the last record went with `more` */
    bool finished; /* close_notify was sent */
    bool keep_fd, reset_on_close;
    uint32_t linger_ms, idle_ms, tls_timeout_ms;
    size_t read_max;
    struct tls_context *context;
    SSL *ssl;            /* NULL before a server has seen the preface */
    struct node_id peer; /* a client's: expected, then proven */
    struct slice_queue out;
    struct event event;
    struct defer work, flush;
    struct timer timer; /* connecting, handshaking, idle, or closing */
    uint64_t last_rx;
    struct tls_socket socket; /* its fd is -1 when the pipe is over */
};

static const struct pipe_ops tls_ops;

static struct tls_pipe *tls_of(const struct pipe *pipe)
{
    return (struct tls_pipe *)(uintptr_t)pipe; /* base is the first member */
}

/* --- End --- */

static void tls_over(struct tls_pipe *tls, int why)
{
    struct loop *loop = tls->base.loop;

    if (tls->base.flags & PIPE_IS_OVER)
        return;
    if (tls->registered)
        event_del(&tls->event);
    tls->registered = false;
    timer_cancel(loop, &tls->timer);
    defer_cancel(loop, &tls->work);
    defer_cancel(loop, &tls->flush);
    if (tls->socket.fd >= 0 && !tls->keep_fd)
        close(tls->socket.fd);
    tls->socket.fd = -1;
    slice_queue_clear(&tls->out);
    pipe_is_over(&tls->base, why);
}

/* Frees what tls_over() leaves: a caller up the stack may yet look at it. */
static void tls_destroy(struct pipe *pipe)
{
    struct tls_pipe *tls = tls_of(pipe);

    SSL_free(tls->ssl);
    tls_socket_free(&tls->socket);
    free(tls);
}

static void tls_reset(struct tls_pipe *tls, int why)
{
    struct linger linger = {1, 0};

    if (tls->socket.fd >= 0 && tls->state != TLS_CONNECTING)
        setsockopt(tls->socket.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    tls_over(tls, why);
}

/* Why the library could not go on, after result <= 0. 0: it waits for the socket. */
static int tls_error(struct tls_pipe *tls, int result)
{
    int why;

    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: /* does not occur: the socket never refuses */
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        return ADIT_ECLOSED;
    default:
        /* Before the others: telling the peer about it may have failed too. */
        if (tls->state == TLS_HANDSHAKE && tls_context_failure(tls->ssl) == ADIT_EAUTH)
            why = ADIT_EAUTH;
        else if (tls->socket.error)
            why = -tls->socket.error;
        else if (tls->socket.got_end)
            why = ADIT_ETRUNC;
        else
            why = ADIT_EPROTO;
        if (log_enabled(LOG_DEBUG)) {
            const char *reason = ERR_reason_error_string(ERR_peek_error());

            log_debug("event=tls-failed fd=%d error=\"%s\" library=\"%s\"", tls->socket.fd,
                      err_text(why), reason ? reason : "none");
        }
        ERR_clear_error();
        return why;
    }
}

/* --- Writing --- */

static bool tls_can_send(const struct tls_pipe *tls)
{
    return tls->state == TLS_UP && !tls->socket.blocked && tls->out.count == 0;
}

/* Encrypts and sends one record. 0, or the pipe is over. */
static int tls_encrypt(struct tls_pipe *tls, const void *bytes, size_t len, bool more)
{
    int n;

    tls->socket.more = more;
    n = SSL_write(tls->ssl, bytes, (int)len);
    tls->socket.more = false;
    if (n != (int)len) {
        int why = tls_error(tls, n);

        tls_over(tls, why ? why : ADIT_ECRYPTO);
        return ADIT_ECLOSED;
    }
    tls->corked = more;
    if (more)
        defer_soon(tls->base.loop, &tls->flush);
    return 0;
}

/* The same for any number of bytes. */
static int tls_encrypt_all(struct tls_pipe *tls, const uint8_t *bytes, size_t len, bool more)
{
    int result = 0;

    while (len > 0 && result == 0) {
        size_t part = len < BLOCK_BYTES ? len : BLOCK_BYTES;

        result = tls_encrypt(tls, bytes, part, more || part < len);
        bytes += part;
        len -= part;
    }
    return result;
}

static void set_idle_timer(struct tls_pipe *tls)
{
    if (tls->idle_ms && !timer_is_set(&tls->timer))
        timer_set(tls->base.loop, &tls->timer, tls->last_rx + tls->idle_ms * MS_US);
}

/* All is sent and our direction is to be finished, or already is. */
static void tls_finish(struct tls_pipe *tls)
{
    bool closing = tls->base.flags & PIPE_IS_CLOSING;

    if (!tls->finished) {
        tls->finished = true;
        SSL_shutdown(tls->ssl); /* sends close_notify */
        ERR_clear_error();
        if (tls->socket.blocked)
            return; /* once more when it is out */
    }
    shutdown(tls->socket.fd, SHUT_WR);
    if (tls->base.flags & PIPE_GOT_EOF) {
        tls_over(tls, 0);
    } else if (closing) {
        uint32_t wait = tls->linger_ms < DISCARD_MAX_MS ? tls->linger_ms : DISCARD_MAX_MS;

        timer_set_in(tls->base.loop, &tls->timer, wait * MS_US);
        if (tls->socket.readable)
            defer_soon(tls->base.loop, &tls->work);
    }
}

/* Sends what is pending and queued, as far as the kernel takes it. False when the pipe is over. */
static bool tls_flush(struct tls_pipe *tls)
{
    bool had_no_room = tls->socket.blocked || tls->out.count > 0;

    if (tls_socket_pending(&tls->socket)) {
        int result = tls_socket_flush(&tls->socket, tls->out.count > 0);

        if (result < 0) {
            tls_over(tls, result);
            return false;
        }
    }
    while (tls->state == TLS_UP && !tls->socket.blocked && tls->out.count > 0) {
        struct slice *first = slice_queue_first(&tls->out);
        size_t part = first->len < BLOCK_BYTES ? first->len : BLOCK_BYTES;

        if (tls_encrypt(tls, first->data, part, part < tls->out.bytes) < 0)
            return false;
        slice_queue_drop(&tls->out, part);
    }
    if (tls->socket.blocked)
        return true;
    if (tls->state == TLS_UP && tls->base.flags & (PIPE_SENT_EOF | PIPE_IS_CLOSING)) {
        tls_finish(tls);
        return tls->socket.fd >= 0;
    }
    if (had_no_room && tls_can_send(tls))
        pipe_has_room(&tls->base);
    return tls->socket.fd >= 0;
}

/* The end of the turn: whatever was sent with `more` leaves now. */
static void on_flush(void *arg)
{
    struct tls_pipe *tls = arg;

    if (tls_socket_pending(&tls->socket) || tls->out.count > 0 ||
        tls->base.flags & (PIPE_SENT_EOF | PIPE_IS_CLOSING)) {
        if (!tls->socket.blocked)
            tls_flush(tls);
    } else if (tls->corked) {
        tls_socket_push(&tls->socket);
    }
    tls->corked = false;
}

static void tls_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct tls_pipe *tls = tls_of(pipe);

    (void)to;
    if (tls_can_send(tls)) {
        tls_encrypt_all(tls, data->data, data->len, true);
        slice_drop(data);
    } else {
        slice_queue_push(&tls->out, data);
    }
}

static int tls_send(struct pipe *pipe, const void *bytes, size_t len, bool more)
{
    struct tls_pipe *tls = tls_of(pipe);
    struct slice copy;

    if (tls_can_send(tls))
        return tls_encrypt_all(tls, bytes, len, more);
    copy = slice_copy(bytes, len);
    slice_queue_push(&tls->out, &copy);
    return 0;
}

static size_t tls_room(const struct pipe *pipe)
{
    return tls_can_send(tls_of(pipe)) ? UNSENT_MAX_BYTES : 0;
}

static size_t tls_queued(const struct pipe *pipe)
{
    const struct tls_pipe *tls = tls_of(pipe);

    return tls->out.bytes + tls_socket_pending(&tls->socket);
}

static void tls_shutdown(struct pipe *pipe)
{
    struct tls_pipe *tls = tls_of(pipe);

    if (!tls->socket.blocked && tls->state == TLS_UP)
        defer_soon(pipe->loop, &tls->flush);
}

static void tls_close(struct pipe *pipe, int why)
{
    struct tls_pipe *tls = tls_of(pipe);

    if (why) {
        tls_reset(tls, why);
    } else if (tls->state != TLS_UP || tls->reset_on_close) {
        tls_over(tls, 0);
    } else {
        timer_set_in(pipe->loop, &tls->timer, tls->linger_ms * MS_US);
        if (!tls->socket.blocked)
            defer_soon(pipe->loop, &tls->flush);
    }
}

/* --- Reading --- */

/* The peer has finished: properly, or cut. */
static void tls_read_ended(struct tls_pipe *tls, int why)
{
    if (why != ADIT_ECLOSED) {
        tls_over(tls, why);
        return;
    }
    tls->socket.readable = false;
    pipe_got_eof(&tls->base);
    if (tls->finished && !tls->socket.blocked)
        tls_over(tls, 0);
}

/* One record. Its length, 0: none now, or the pipe has ended. */
static size_t tls_read_record(struct tls_pipe *tls)
{
    struct block *block = block_new();
    struct slice slice = {block, block_start(block), 0};
    int why, n = SSL_read(tls->ssl, slice.data, BLOCK_BYTES);

    if (n <= 0) {
        block_unref(block);
        why = tls_error(tls, n);
        if (why)
            tls_read_ended(tls, why);
        return 0;
    }
    slice.len = (size_t)n;
    if (n <= SMALL_MESSAGE_BYTES) { /* kept for long, a keystroke must not pin 16 KiB */
        slice = slice_copy(block_start(block), (size_t)n);
        block_unref(block);
    }
    pipe_deliver(&tls->base, &slice, NULL);
    return (size_t)n;
}

static void tls_discard(struct tls_pipe *tls)
{
    if (!tls->finished || tls->socket.blocked)
        return;
    if (!tls_socket_discard(&tls->socket))
        defer_next(tls->base.loop, &tls->work);
    else if (tls->socket.got_end)
        tls_over(tls, 0);
}

static void tls_read(struct tls_pipe *tls)
{
    size_t turn = 0, most = tls->read_max ? tls->read_max : READ_TURN_BYTES;

    tls->last_rx = loop_now(tls->base.loop);
    while (!(tls->base.flags & (PIPE_GOT_EOF | PIPE_IS_CLOSING | PIPE_IS_OVER)) &&
           pipe_read_budget(&tls->base) > 0) {
        size_t n;

        if (turn >= most) {
            defer_next(tls->base.loop, &tls->work);
            return;
        }
        n = tls_read_record(tls);
        if (n == 0)
            return;
        turn += n;
    }
}

static void tls_resume(struct pipe *pipe)
{
    struct tls_pipe *tls = tls_of(pipe);

    if (tls->state == TLS_UP && (tls_socket_has_input(&tls->socket)))
        defer_soon(pipe->loop, &tls->work);
}

/* --- Becoming up --- */

static void tls_handshake(struct tls_pipe *tls)
{
    int n = SSL_do_handshake(tls->ssl);

    if (n != 1) {
        int why = tls_error(tls, n);

        if (why)
            tls_over(tls, why == ADIT_ECLOSED ? ADIT_ETRUNC : why);
        return;
    }
    if (tls_context_peer(tls->ssl, &tls->peer) < 0) { /* not reached: verified in the handshake */
        tls_over(tls, ADIT_EAUTH);
        return;
    }
    tls->state = TLS_UP;
    timer_cancel(tls->base.loop, &tls->timer);
    tls->last_rx = loop_now(tls->base.loop);
    set_idle_timer(tls);
    pipe_now_up(&tls->base);
    if (tls->base.flags & (PIPE_IS_OVER | PIPE_IS_CLOSING))
        return;
    if (tls_flush(tls))
        pipe_has_room(&tls->base);
}

/* Gives the pipe its SSL, on its socket. 0 or -ENOMEM. */
static int tls_attach(struct tls_pipe *tls, SSL *ssl)
{
    tls->ssl = ssl;
    return ssl ? tls_socket_attach(&tls->socket, ssl) : -ENOMEM;
}

/* A server reads the preface, and no byte more. */
static void tls_read_preface(struct tls_pipe *tls)
{
    struct preface preface;
    ssize_t n;
    int result;

    n = tls_socket_read_plain(&tls->socket, PREFACE_BYTES);
    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        tls_over(tls, n < 0 ? (int)n : ADIT_ETRUNC);
        return;
    }
    result = preface_parse(identity_id(tls_context_identity(tls->context)), tls->socket.ahead,
                           tls->socket.ahead_to, &preface);
    if (result == 0)
        return;
    tls->socket.ahead_from = tls->socket.ahead_to = 0;
    if (result > 0)
        result = tls_attach(tls, tls_context_server(tls->context));
    if (result < 0) {
        tls_socket_discard(&tls->socket); /* so that the close is an orderly one, not a reset */
        tls_over(tls, result);
        return;
    }
    tls->state = TLS_HANDSHAKE;
    tls_handshake(tls);
}

/* A client speaks first. */
static void tls_start(struct tls_pipe *tls)
{
    struct preface preface = {.time_s = (uint64_t)time(NULL)};
    uint8_t bytes[PREFACE_BYTES];
    int result;

    loop_random(tls->base.loop, preface.random, sizeof preface.random);
    result = preface_build(&tls->peer, &preface, bytes);
    if (result == 0)
        result = tls_attach(tls, tls_context_client(tls->context, &tls->peer));
    if (result < 0) {
        tls_over(tls, result);
        return;
    }
    tls_socket_append(&tls->socket, bytes, sizeof bytes); /* leaves with the ClientHello */
    tls->state = TLS_HANDSHAKE;
    tls_handshake(tls);
}

static void set_tls_timer(struct tls_pipe *tls)
{
    if (tls->tls_timeout_ms)
        timer_set_in(tls->base.loop, &tls->timer, tls->tls_timeout_ms * MS_US);
    else
        timer_cancel(tls->base.loop, &tls->timer);
}

static void tls_connected(struct tls_pipe *tls)
{
    int error = 0;
    socklen_t len = sizeof error;

    getsockopt(tls->socket.fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        tls_over(tls, -error);
        return;
    }
    set_tls_timer(tls);
    tls_start(tls);
}

/* --- Events --- */

static void tls_work(struct tls_pipe *tls)
{
    switch (tls->state) {
    case TLS_CONNECTING:
        return;
    case TLS_PREFACE:
        while (tls->state == TLS_PREFACE && tls->socket.readable && tls->socket.fd >= 0)
            tls_read_preface(tls);
        break;
    case TLS_HANDSHAKE:
        tls_handshake(tls);
        break;
    case TLS_UP:
        break;
    }
    if (tls->state != TLS_UP || tls->socket.fd < 0)
        return;
    if (tls->base.flags & PIPE_IS_CLOSING)
        tls_discard(tls);
    else if (tls_socket_has_input(&tls->socket))
        tls_read(tls);
}

static void on_work(void *arg)
{
    tls_work(arg);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct tls_pipe *tls = arg;

    (void)fd;
    loop_refresh(tls->base.loop);
    if (what & (EV_READ | EV_CLOSED))
        tls->socket.readable = true;
    if (what & EV_CLOSED)
        tls->socket.peer_closed = true;
    if (what & EV_WRITE) {
        if (tls->state == TLS_CONNECTING)
            tls_connected(tls);
        else if (tls->socket.blocked && !tls_flush(tls))
            return;
        if (tls->socket.fd < 0)
            return;
    }
    if (tls->socket.readable)
        tls_work(tls);
}

static void on_timer(void *arg)
{
    struct tls_pipe *tls = arg;

    if (tls->base.flags & PIPE_IS_CLOSING)
        tls_over(tls, tls_queued(&tls->base) ? -ETIMEDOUT : 0);
    else if (tls->state == TLS_PREFACE)
        tls_over(tls, -ETIMEDOUT); /* silently, not with a reset */
    else if (tls->state != TLS_UP ||
             loop_now(tls->base.loop) >= tls->last_rx + tls->idle_ms * MS_US)
        tls_reset(tls, -ETIMEDOUT);
    else
        set_idle_timer(tls);
}

static int tls_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    const struct tls_pipe *tls = tls_of(pipe);
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    int result = 0;

    if (local) {
        if (getsockname(tls->socket.fd, (struct sockaddr *)&sa, &len) < 0)
            return -errno;
        result = addr_from_sockaddr((struct sockaddr *)&sa, len, local);
    }
    if (remote && result == 0) {
        len = sizeof sa;
        if (getpeername(tls->socket.fd, (struct sockaddr *)&sa, &len) < 0)
            return -errno;
        result = addr_from_sockaddr((struct sockaddr *)&sa, len, remote);
    }
    return result;
}

static int tls_exporter(struct pipe *pipe, const char *label, const void *context,
                        size_t context_len, void *out, size_t len)
{
    struct tls_pipe *tls = tls_of(pipe);

    if (tls->state != TLS_UP)
        return -ENOTCONN;
    if (SSL_export_keying_material(tls->ssl, out, len, label, strlen(label), context, context_len,
                                   1) != 1) {
        ERR_clear_error();
        return ADIT_ECRYPTO;
    }
    return 0;
}

static const struct pipe_ops tls_ops = {
    .kind = "tls",
    .write = tls_write,
    .send = tls_send,
    .room = tls_room,
    .queued = tls_queued,
    .resume = tls_resume,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .addrs = tls_addrs,
    .exporter = tls_exporter,
    .destroy = tls_destroy,
};

/* --- Making --- */

static void set_socket_options(int fd)
{
    int one = 1, unsent = UNSENT_MAX_BYTES;

    /* Both fail on UNIX sockets, rightly. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
}

static struct tls_pipe *tls_new(struct loop *loop, struct tls_context *context, int fd,
                                const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct tls_pipe *tls = calloc(1, sizeof *tls);

    if (!tls)
        return NULL;
    if (!options)
        options = &defaults;
    pipe_init(&tls->base, &tls_ops, loop);
    tls_socket_init(&tls->socket, fd);
    tls->context = context;
    tls->keep_fd = options->keep_fd;
    tls->reset_on_close = options->reset_on_close;
    tls->linger_ms = options->linger_ms;
    tls->idle_ms = options->idle_timeout_ms;
    tls->tls_timeout_ms = options->tls_timeout_ms;
    tls->read_max = options->read_max;
    tls->last_rx = loop_now(loop);
    defer_init(&tls->work, on_work, tls);
    defer_init(&tls->flush, on_flush, tls);
    timer_init(&tls->timer, on_timer, tls);
    set_socket_options(fd);
    event_assign(&tls->event, loop_base(loop), fd,
                 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, tls);
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
        set_tls_timer(tls);
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
    set_tls_timer(tls);
    return &tls->base;
}

const struct node_id *tls_peer(const struct pipe *pipe)
{
    return &tls_of(pipe)->peer;
}

uint32_t tls_rtt_us(const struct pipe *pipe)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;

    return getsockopt(tls_of(pipe)->socket.fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0
               ? info.tcpi_rtt
               : 0;
}

uint32_t tls_unsent_bytes(const struct pipe *pipe)
{
    int bytes = 0;

    return ioctl(tls_of(pipe)->socket.fd, SIOCOUTQNSD, &bytes) == 0 && bytes > 0 ? (uint32_t)bytes
                                                                                 : 0;
}
