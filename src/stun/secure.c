/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A pipe of TLS on top of a TCP pipe, which is its own: what arrives there is fed to the TLS client
 * (crypto/tls_client.h), what that wants to send is written there. Everything else, queues, bounds,
 * linger, time limits, is TCP's.
 *
 * What is written waits until the end of the turn and then shares records of up to RECORD_BYTES:
 * frames of a kilobyte each in a record of their own cost both ends several times the cipher's
 * work.
 *
 *     OPENING --(TCP up)--> handshake --(server proven)--> UP --> over
 *
 * What is written before it is up waits; so nothing reaches a server that has not proven its name.
 * Back-pressure: while the reader has no room, the TCP pipe is paused, and what it delivered last
 * (256 KiB at most) waits, encrypted. An end of the connection without TLS's own end is
 * ADIT_ETRUNC.
 *
 * Limits: tls_timeout_ms for the handshake; WAITING_MAX_BYTES before it is up, then no room; then
 * what TCP has room for. A server can ask for answers of TLS itself without end (HelloRequest,
 * KeyUpdate), and take none: with ANSWERS_MAX_BYTES queued that is its end.
 */
#include "stun/secure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipe/tcp.h"

#define WAITING_MAX_BYTES ((size_t)256 * 1024)
#define ANSWERS_MAX_BYTES ((size_t)1024 * 1024)
#define RECORD_BYTES      16384 /* of plaintext at most (RFC 8446 5.1) */

struct secure {
    struct pipe base;
    struct pipe *tcp; /* NULL: ended */
    struct tls_client *tls;
    struct timer timer; /* the handshake's */
    uint32_t tls_ms;
    struct slice_queue waiting; /* written before it was up, or in this turn */
    struct defer reading, writing;
    bool proven, tcp_eof;
    char trouble[TLS_CLIENT_TEXT_MAX];
};

static struct secure *secure_of(const struct pipe *pipe)
{
    return (struct secure *)(uintptr_t)pipe; /* base is the first member */
}

static const struct pipe_events tcp_events;

static void secure_over(struct secure *s, int why)
{
    if (s->base.flags & PIPE_IS_OVER)
        return;
    timer_cancel(s->base.loop, &s->timer);
    defer_cancel(s->base.loop, &s->reading);
    defer_cancel(s->base.loop, &s->writing);
    if (s->tcp) {
        struct pipe *tcp = s->tcp;

        s->tcp = NULL;
        pipe_del_listener(tcp, &tcp_events, s);
        if (why)
            pipe_abort(tcp, why);
        else
            pipe_close(tcp);
    }
    slice_queue_clear(&s->waiting);
    pipe_is_over(&s->base, why);
}

static void fail(struct secure *s, int why, const char *text)
{
    if (!s->trouble[0])
        snprintf(s->trouble, sizeof(s->trouble), "%s", text);
    secure_over(s, why);
}

/* Sends what TLS has to say; whether it had anything. */
static bool flush(struct secure *s)
{
    for (bool any = false;; any = true) {
        struct block *block = block_new();
        size_t len = tls_client_output(s->tls, block_start(block), BLOCK_READ_BYTES);
        struct slice slice = {block, block_start(block), len};

        if (len > 0 && s->tcp)
            pipe_write(s->tcp, &slice);
        else
            block_unref(block);
        if (len < BLOCK_READ_BYTES)
            return any || len > 0;
    }
}

/* Encrypts all that waits. */
static void encrypt(struct secure *s)
{
    uint8_t bytes[RECORD_BYTES];

    defer_cancel(s->base.loop, &s->writing);
    while (s->waiting.bytes > 0) {
        size_t len = slice_queue_peek(&s->waiting, 0, bytes, sizeof(bytes));

        slice_queue_drop(&s->waiting, len);
        if (tls_client_write(s->tls, bytes, len) != 0) {
            fail(s, ADIT_EPROTO, tls_client_trouble(s->tls));
            return;
        }
    }
    flush(s);
}

/* Sends all that waits, and that nothing more comes. */
static void encrypt_last(struct secure *s)
{
    encrypt(s);
    if (s->base.flags & PIPE_IS_OVER)
        return;
    tls_client_finish(s->tls);
    flush(s);
}

/* Delivers what has arrived, as far as the reader has room. */
static void deliver(struct secure *s)
{
    while (pipe_read_budget(&s->base) > 0) {
        struct block *block = block_new();
        int len = tls_client_read(s->tls, block_start(block), BLOCK_READ_BYTES);
        struct slice slice = {block, block_start(block), len > 0 ? (size_t)len : 0};

        if (len > 0) {
            pipe_deliver(&s->base, &slice, NULL);
            continue;
        }
        block_unref(block);
        if (len == 0 && s->tcp_eof)
            fail(s, ADIT_ETRUNC, "the server closed the connection");
        else if (len == ADIT_ECLOSED)
            pipe_got_eof(&s->base);
        else if (len < 0)
            fail(s, len, tls_client_trouble(s->tls));
        else if (s->tcp)
            pipe_resume(s->tcp);
        return;
    }
    if (!(s->base.flags & (PIPE_IS_OVER | PIPE_IS_CLOSING)) && s->tcp)
        pipe_pause(s->tcp);
}

static void end_output(struct secure *s)
{
    encrypt_last(s);
    if (s->tcp)
        pipe_shutdown(s->tcp);
}

static void shake_hands(struct secure *s)
{
    int result = tls_client_handshake(s->tls);

    flush(s); /* alerts too */
    if (result < 0) {
        fail(s, result, tls_client_trouble(s->tls));
        return;
    }
    if (result == 0)
        return;
    s->proven = true;
    timer_cancel(s->base.loop, &s->timer);
    encrypt(s);
    if (s->base.flags & PIPE_IS_OVER)
        return;
    pipe_now_up(&s->base);
    if (s->base.flags & PIPE_SENT_EOF)
        end_output(s);
}

static void read_plain(struct secure *s)
{
    deliver(s);
    if (s->base.flags & PIPE_IS_OVER)
        return;
    /* Reading may have had to answer (RFC 8446 4.6.3). */
    if (flush(s) && s->tcp && pipe_queued(s->tcp) > ANSWERS_MAX_BYTES)
        fail(s, ADIT_EPROTO, "the server asks again and again, and does not read the answers");
}

/* --- The TCP pipe tells --- */

static void on_tcp_up(struct pipe *tcp, void *arg)
{
    struct secure *s = arg;

    (void)tcp;
    timer_set_in(s->base.loop, &s->timer, s->tls_ms * MS_US);
    shake_hands(s);
}

static void on_tcp_message(struct pipe *tcp, const struct slice *data, const struct addr *from,
                           void *arg)
{
    struct secure *s = arg;

    (void)tcp;
    (void)from;
    if (tls_client_feed(s->tls, data->data, data->len) != 0) {
        fail(s, -ENOMEM, "out of memory");
        return;
    }
    if (!s->proven)
        shake_hands(s);
    if (s->proven && !(s->base.flags & PIPE_IS_OVER))
        read_plain(s);
}

static void on_tcp_eof(struct pipe *tcp, void *arg)
{
    struct secure *s = arg;

    (void)tcp;
    s->tcp_eof = true;
    if (!s->proven)
        fail(s, ADIT_ETRUNC, "the server closed the connection during the TLS handshake");
    else if (!(s->base.flags & PIPE_GOT_EOF))
        read_plain(s);
}

static void on_tcp_room(struct pipe *tcp, void *arg)
{
    struct secure *s = arg;

    (void)tcp;
    if (s->proven)
        pipe_has_room(&s->base);
}

static void on_tcp_end(struct pipe *tcp, int why, void *arg)
{
    struct secure *s = arg;

    (void)tcp;
    s->tcp = NULL;
    if (why && !s->trouble[0])
        snprintf(s->trouble, sizeof(s->trouble), "%s", err_text(why));
    secure_over(s, s->base.flags & PIPE_IS_CLOSING && why == ADIT_ECLOSED ? 0 : why);
}

static const struct pipe_events tcp_events = {
    .up = on_tcp_up,
    .message = on_tcp_message,
    .eof = on_tcp_eof,
    .room = on_tcp_room,
    .end = on_tcp_end,
};

static void on_timer(void *arg)
{
    fail(arg, -ETIMEDOUT, "the server did not finish the TLS handshake in time");
}

static void on_reading(void *arg)
{
    struct secure *s = arg;

    if (s->proven)
        read_plain(s);
}

static void on_writing(void *arg)
{
    encrypt(arg);
}

/* --- The pipe --- */

static void secure_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct secure *s = secure_of(pipe);

    (void)to;
    slice_queue_push(&s->waiting, data);
    if (s->proven)
        defer_soon(s->base.loop, &s->writing);
}

static size_t secure_room(const struct pipe *pipe)
{
    const struct secure *s = secure_of(pipe);
    size_t room = WAITING_MAX_BYTES;

    if (s->proven)
        room = s->tcp ? pipe_room(s->tcp) : 0;
    return room > s->waiting.bytes ? room - s->waiting.bytes : 0;
}

static size_t secure_queued(const struct pipe *pipe)
{
    const struct secure *s = secure_of(pipe);

    return s->waiting.bytes + (s->tcp ? pipe_queued(s->tcp) : 0);
}

static void secure_resume(struct pipe *pipe)
{
    defer_soon(pipe->loop, &secure_of(pipe)->reading);
}

static void secure_shutdown(struct pipe *pipe)
{
    struct secure *s = secure_of(pipe);

    if (s->proven) /* else shake_hands() will */
        end_output(s);
}

static void secure_close(struct pipe *pipe, int why)
{
    struct secure *s = secure_of(pipe);

    if (why || !s->proven || !s->tcp) {
        secure_over(s, why);
        return;
    }
    encrypt_last(s);
    if (s->tcp)
        pipe_close(s->tcp); /* its end is ours */
}

static int secure_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    const struct secure *s = secure_of(pipe);

    return s->tcp ? pipe_addrs(s->tcp, local, remote) : -ENOTCONN;
}

static void secure_destroy(struct pipe *pipe)
{
    struct secure *s = secure_of(pipe);

    tls_client_free(s->tls);
    free(s);
}

static const struct pipe_ops secure_ops = {
    .kind = "secure",
    .write = secure_write,
    .room = secure_room,
    .queued = secure_queued,
    .resume = secure_resume,
    .shutdown = secure_shutdown,
    .close = secure_close,
    .addrs = secure_addrs,
    .destroy = secure_destroy,
};

struct pipe *secure_open(struct loop *loop, struct tls_authority *authority, const struct addr *to,
                         const char *name, const struct pipe_options *options)
{
    static const struct pipe_options defaults = PIPE_OPTIONS_DEFAULT;
    struct secure *s = calloc(1, sizeof(*s));
    int error;

    if (!s)
        return NULL;
    pipe_init(&s->base, &secure_ops, loop);
    timer_init(&s->timer, on_timer, s);
    defer_init(&s->reading, on_reading, s);
    defer_init(&s->writing, on_writing, s);
    s->tls_ms = (options ? options : &defaults)->tls_timeout_ms;
    s->tls = tls_client_new(authority, name);
    errno = EINVAL;
    if (s->tls)
        s->tcp = tcp_open(loop, to, options);
    if (s->tcp && pipe_add_listener(s->tcp, &tcp_events, s) == 0)
        return &s->base;
    error = errno;
    tls_client_free(s->tls);
    free(s);
    errno = error;
    return NULL;
}

const char *secure_trouble(const struct pipe *pipe)
{
    return secure_of(pipe)->trouble;
}
