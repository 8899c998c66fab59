/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A TLS pipe is one non-blocking TCP socket and one edge-triggered event. The TLS library makes the
 * handshake; then records are sealed and opened here, straight between the caller's bytes or the
 * block that is delivered and the socket's buffers (crypto/tls_record.c says why). All traffic
 * between nodes passes here: a byte is not copied on its way, and a system call moves several
 * records if there are several.
 *
 * States: CONNECTING, PREFACE (a server waits for 40 bytes, before any TLS state is made),
 * HANDSHAKE, UP. A client sends the preface and its ClientHello in one segment.
 *
 * Reading: a record is opened into a block of its own, which is delivered as one slice: a record is
 * a message. A turn reads READ_TURN_BYTES, then others have theirs.
 *
 * Writing: pipe_send() is one record. Records gather in the socket's buffer and are sent when it is
 * full, when one comes without `more`, and at the end of the turn (on_flush()) at the latest. When
 * the kernel does not take them the pipe is blocked: it has no room until the socket is writable
 * again. The kernel takes a little more than it has sent (TCP_NOTSENT_LOWAT): what the connection
 * delivers in UNSENT_TIME_MS, within UNSENT_MIN_BYTES and UNSENT_MAX_BYTES, so that what is urgent
 * does not wait behind a deep buffer: it is the session that decides what goes next, as late as
 * possible. What is written while blocked, or before the pipe is up, is queued in clear in `out`,
 * records kept whole.
 *
 * Closing: pipe_shutdown() sends close_notify and FIN after what is queued; the other direction
 * goes on. pipe_close() does the same, then discards what comes until the other side has finished
 * too, since closing a socket with unread input resets it and destroys what was just sent;
 * linger_ms bounds it. close_notify from the peer is `eof`; a connection that ends without one was
 * cut: ADIT_ETRUNC. pipe_abort() resets.
 *
 * A key protects KEY_MAX_BYTES, then it is updated (RFC 8446 4.6.3); a peer that asks for updates
 * again and again gets one before our next record. The buffers, 150 KiB, are freed after QUIET_MS
 * without traffic.
 */
#include "pipe/tls.h"

#include <event2/event.h>
#include <linux/sockios.h>
#include <linux/tcp.h> /* not netinet/: that one knows no delivery rate */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "pipe/pacing.h"
#include "pipe/tls_int.h"

#define READ_TURN_BYTES    ((size_t)256 * 1024)
#define SMALL_RECORD_BYTES 2048 /* up to here the data gets a block of its own size */
#define DISCARD_MAX_MS     2000
#define QUIET_MS           5000
#define TUNE_EVERY_MS      100
/* A new key takes about as long as so many bytes; 27 of the peer's are enough to ask for one. */
#define KEY_UPDATE_COST_BYTES ((size_t)16 * 1024)
#define KEY_MAX_BYTES         (UINT64_C(1) << 37) /* AES-GCM: 2^24.5 full records, RFC 8446 5.5 */

/* RFC 8446 6 */
enum alert {
    ALERT_CLOSE_NOTIFY = 0,
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_BAD_RECORD_MAC = 20,
    ALERT_USER_CANCELED = 90,
};

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
    timer_cancel(loop, &tls->quiet);
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

    tls_handshake_free(&tls->handshake);
    tls_key_free(&tls->seal);
    tls_key_free(&tls->open);
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

/* --- Writing --- */

static bool tls_can_send(const struct tls_pipe *tls)
{
    return tls->state == TLS_UP && !tls->socket.blocked && tls->out.count == 0;
}

static void tls_used(struct tls_pipe *tls)
{
    tls->last_use = loop_now(tls->base.loop);
    if (!timer_is_set(&tls->quiet))
        timer_set_in(tls->base.loop, &tls->quiet, QUIET_MS * MS_US);
}

/* Appends one record to the socket's buffer. 0 or ADIT_ECRYPTO. */
static int seal_record(struct tls_pipe *tls, enum tls_content content, const void *bytes,
                       size_t len)
{
    uint8_t *record = tls_socket_reserve(&tls->socket, len + TLS_RECORD_OVERHEAD_BYTES);
    int result = tls_record_seal(&tls->seal, content, bytes, len, record);

    if (result == 0)
        tls_socket_commit(&tls->socket, len + TLS_RECORD_OVERHEAD_BYTES);
    return result;
}

/* Tells the peer that what follows is under the next key, and moves on to it. */
static int update_key(struct tls_pipe *tls)
{
    static const uint8_t message[] = {24, 0, 0, 1, 0}; /* KeyUpdate, update_not_requested */
    int result = seal_record(tls, TLS_HANDSHAKE_MESSAGE, message, sizeof message);

    tls->update_due = false;
    return result < 0 ? result : tls_key_update(&tls->seal);
}

/* How much may gather before it is sent: no more than the kernel is to hold. */
static size_t gather_max(const struct tls_pipe *tls)
{
    return tls->unsent_max < TLS_OUT_BYTES ? tls->unsent_max : TLS_OUT_BYTES;
}

/* Sends one record of data, or gathers it. 0, or the pipe is over. */
static int send_record(struct tls_pipe *tls, const void *bytes, size_t len, bool more)
{
    int result = 0;

    if (tls->update_due || tls->seal.bytes >= KEY_MAX_BYTES)
        result = update_key(tls);
    if (result == 0)
        result = seal_record(tls, TLS_DATA, bytes, len);
    if (result == 0 && !tls->socket.blocked &&
        (!more || tls_socket_pending(&tls->socket) + BLOCK_BYTES + TLS_RECORD_OVERHEAD_BYTES >
                      gather_max(tls)))
        result = tls_socket_flush(&tls->socket, more);
    if (result < 0) {
        tls_over(tls, result);
        return ADIT_ECLOSED;
    }
    if (more)
        defer_soon(tls->base.loop, &tls->flush);
    tls_used(tls);
    return 0;
}

/* Sends what is queued in clear, until the kernel takes no more. False when the pipe is over. */
static bool tls_pump(struct tls_pipe *tls)
{
    while (tls->state == TLS_UP && !tls->socket.blocked && tls->out.count > 0) {
        struct slice *first = slice_queue_first(&tls->out);
        size_t part = first->len < BLOCK_BYTES ? first->len : BLOCK_BYTES;

        if (send_record(tls, first->data, part, true) < 0)
            return false;
        slice_queue_drop(&tls->out, part);
    }
    return true;
}

/* Tells the peer what it did wrong, as well as that can be done, and ends. */
static void tls_fail(struct tls_pipe *tls, enum alert alert, int why)
{
    const uint8_t message[] = {2, (uint8_t)alert}; /* fatal */

    log_debug("event=tls-failed fd=%d error=\"%s\" alert=%d", tls->socket.fd, err_text(why), alert);
    if (!tls->finished && seal_record(tls, TLS_ALERT, message, sizeof message) == 0)
        tls_socket_push(&tls->socket);
    tls_over(tls, why);
}

static void set_idle_timer(struct tls_pipe *tls)
{
    if (tls->idle_ms && !timer_is_set(&tls->timer))
        timer_set(tls->base.loop, &tls->timer, tls->last_rx + tls->idle_ms * MS_US);
}

/* All is sent and our direction is to be finished, or already is. */
static void tls_finish(struct tls_pipe *tls)
{
    static const uint8_t message[] = {1, ALERT_CLOSE_NOTIFY};
    bool closing = tls->base.flags & PIPE_IS_CLOSING;

    if (!tls->finished) {
        tls->finished = true;
        seal_record(tls, TLS_ALERT, message, sizeof message);
        tls_socket_push(&tls->socket);
        if (tls->socket.blocked)
            return; /* once more when it is out */
    }
    shutdown(tls->socket.fd, SHUT_WR);
    if (tls->base.flags & PIPE_GOT_EOF) {
        tls_over(tls, 0);
    } else if (closing) {
        uint32_t wait = tls->linger_ms < DISCARD_MAX_MS ? tls->linger_ms : DISCARD_MAX_MS;

        timer_set_in(tls->base.loop, &tls->timer, wait * MS_US);
        tls->socket.in_from = tls->socket.in_to = 0; /* nobody reads it any more */
        tls_socket_trim(&tls->socket);
        if (tls->socket.readable)
            defer_soon(tls->base.loop, &tls->work);
    }
}

/* How deep the kernel's queue should be, by the rate that it delivers at; and how much may be under
 * way (pipe_flight()). */
static void tls_tune(struct tls_pipe *tls)
{
    uint64_t now = loop_now(tls->base.loop), unsent;
    struct tcp_info info = {0};
    socklen_t len = sizeof info;

    tls->tune_at = now + TUNE_EVERY_MS * MS_US;
    if (getsockopt(tls->socket.fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
        info.tcpi_delivery_rate == 0)
        return;
    unsent = info.tcpi_delivery_rate * UNSENT_TIME_MS / 1000;
    unsent = unsent < UNSENT_MIN_BYTES ? UNSENT_MIN_BYTES : unsent;
    tls_set_unsent(tls, unsent < UNSENT_MAX_BYTES ? (uint32_t)unsent : UNSENT_MAX_BYTES);
    tls->flight = FLIGHT_MIN_BYTES +
                  info.tcpi_delivery_rate * FLIGHT_ROUND_TRIPS * info.tcpi_min_rtt / SEC_US;
}

/* Sends what is gathered and queued, as far as the kernel takes it. False when the pipe is over. */
static bool tls_flush(struct tls_pipe *tls)
{
    bool had_no_room = tls->socket.blocked || tls->out.count > 0;
    int result = tls_socket_flush(&tls->socket, tls->out.count > 0);

    if (result == 0 && !tls_pump(tls))
        return false;
    if (result == 0 && !tls->socket.blocked)
        result = tls_socket_push(&tls->socket);
    if (result < 0) {
        tls_over(tls, result);
        return false;
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

/* The end of the turn: whatever was gathered leaves now. */
static void on_flush(void *arg)
{
    struct tls_pipe *tls = arg;

    if (!tls->socket.blocked)
        tls_flush(tls);
}

static void tls_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct tls_pipe *tls = tls_of(pipe);

    (void)to;
    slice_queue_push(&tls->out, data);
    tls_pump(tls);
}

static int tls_send(struct pipe *pipe, const void *bytes, size_t len, bool more)
{
    struct tls_pipe *tls = tls_of(pipe);
    struct slice copy;

    if (len > SMALL_RECORD_BYTES && loop_now(pipe->loop) >= tls->tune_at)
        tls_tune(tls);
    if (len > 0 && len <= BLOCK_BYTES && tls_can_send(tls))
        return send_record(tls, bytes, len, more);
    copy = slice_copy(bytes, len);
    slice_queue_push(&tls->out, &copy);
    if (!tls_pump(tls))
        return ADIT_ECLOSED;
    return 0;
}

static size_t tls_room(const struct pipe *pipe)
{
    const struct tls_pipe *tls = tls_of(pipe);

    return tls_can_send(tls) ? tls->unsent_max : 0;
}

static uint64_t tls_flight(const struct pipe *pipe)
{
    return tls_of(pipe)->flight;
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

/* The peer has finished its direction. */
static void got_close_notify(struct tls_pipe *tls)
{
    pipe_got_eof(&tls->base);
    if (tls->finished && !tls->socket.blocked)
        tls_over(tls, 0);
}

static void got_alert(struct tls_pipe *tls, const uint8_t *bytes, size_t len)
{
    if (len != 2) {
        tls_fail(tls, ALERT_UNEXPECTED_MESSAGE, ADIT_EPROTO);
    } else if (bytes[1] == ALERT_CLOSE_NOTIFY) {
        got_close_notify(tls);
    } else if (bytes[1] != ALERT_USER_CANCELED) {
        log_debug("event=tls-alert fd=%d alert=%d", tls->socket.fd, bytes[1]);
        tls_over(tls, ADIT_EPROTO);
    }
}

/* After the handshake there is only KeyUpdate (RFC 8446 4.6.3), alone in its record: a message must
 * not span a change of keys. */
static void got_handshake_message(struct tls_pipe *tls, const uint8_t *bytes, size_t len)
{
    static const uint8_t update[] = {24, 0, 0, 1};
    int result;

    if (len != sizeof update + 1 || memcmp(bytes, update, sizeof update) != 0 || bytes[4] > 1) {
        tls_fail(tls, ALERT_UNEXPECTED_MESSAGE, ADIT_EPROTO);
        return;
    }
    tls->update_due |= bytes[4];
    result = tls_key_update(&tls->open);
    if (result < 0)
        tls_over(tls, result);
}

/* Opens the record of len bytes that stands first, and passes on what it holds. Returns what it
 * cost, in bytes of data whose handling takes as long. */
static size_t take_record(struct tls_pipe *tls, size_t len)
{
    struct block *block =
        len <= SMALL_RECORD_BYTES ? block_new_sized(len - TLS_RECORD_OVERHEAD_BYTES) : block_new();
    struct slice slice = {block, block_start(block), 0};
    enum tls_content content;
    int n = tls_record_open(&tls->open, tls->socket.in + tls->socket.in_from, len, slice.data,
                            &content);

    tls->socket.in_from += len;
    if (n < 0) {
        block_unref(block);
        tls_fail(tls, ALERT_BAD_RECORD_MAC, n);
        return len;
    }
    slice.len = (size_t)n;
    if (content == TLS_DATA && n > 0) {
        pipe_deliver(&tls->base, &slice, NULL);
        return len;
    }
    if (content == TLS_ALERT)
        got_alert(tls, slice.data, slice.len);
    else if (content == TLS_HANDSHAKE_MESSAGE)
        got_handshake_message(tls, slice.data, slice.len);
    slice_drop(&slice);
    return content == TLS_HANDSHAKE_MESSAGE ? KEY_UPDATE_COST_BYTES : len;
}

/* The length of the next record when all of it is there; 0: not yet, or the pipe is over. */
static size_t next_record(struct tls_pipe *tls)
{
    for (;;) {
        int len = tls_record_length(tls->socket.in + tls->socket.in_from,
                                    tls_socket_received(&tls->socket));
        ssize_t n;

        if (len < 0) {
            tls_fail(tls, ALERT_UNEXPECTED_MESSAGE, len);
            return 0;
        }
        if (len > 0 && (size_t)len <= tls_socket_received(&tls->socket))
            return (size_t)len;
        n = tls_socket_fill(&tls->socket);
        if (n == -EAGAIN)
            return 0;
        if (n <= 0) {
            tls_over(tls, n < 0 ? (int)n : ADIT_ETRUNC);
            return 0;
        }
        tls->last_rx = loop_now(tls->base.loop);
    }
}

/* What follows close_notify is of no interest (RFC 8446 6.1), but that the connection fails is. */
static void tls_read_after_eof(struct tls_pipe *tls)
{
    if (!tls_socket_discard(&tls->socket))
        defer_next(tls->base.loop, &tls->work);
    else if (tls->socket.error)
        tls_over(tls, -tls->socket.error);
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

    tls_used(tls);
    while (!(tls->base.flags & (PIPE_GOT_EOF | PIPE_IS_CLOSING | PIPE_IS_OVER)) &&
           pipe_read_budget(&tls->base) > 0) {
        size_t len;

        if (turn >= most) {
            defer_next(tls->base.loop, &tls->work);
            return;
        }
        len = next_record(tls);
        if (len == 0)
            return;
        turn += take_record(tls, len);
    }
}

static bool has_input(const struct tls_pipe *tls)
{
    return tls->socket.readable || tls_socket_received(&tls->socket) > 0;
}

static void tls_resume(struct pipe *pipe)
{
    struct tls_pipe *tls = tls_of(pipe);

    if (tls->state == TLS_UP && has_input(tls))
        defer_next(pipe->loop, &tls->work); /* as tcp_resume() */
}

/* --- Becoming up --- */

static void tls_handshake(struct tls_pipe *tls)
{
    int result =
        tls_handshake_step(&tls->handshake, &tls->socket, &tls->peer, &tls->seal, &tls->open);

    if (result < 0)
        tls_over(tls, result);
    if (result <= 0)
        return;
    tls->state = TLS_UP;
    timer_cancel(tls->base.loop, &tls->timer);
    tls->last_rx = loop_now(tls->base.loop);
    set_idle_timer(tls);
    tls_used(tls);
    pacing_decide(tls->socket.fd, AF_INET);
    pipe_now_up(&tls->base);
    if (tls->base.flags & (PIPE_IS_OVER | PIPE_IS_CLOSING))
        return;
    if (tls_flush(tls))
        pipe_has_room(&tls->base);
}

/* A server reads the preface, and no byte more. */
static void tls_read_preface(struct tls_pipe *tls)
{
    struct preface preface;
    int result;
    ssize_t n = tls_socket_read(&tls->socket, tls->preface + tls->preface_len,
                                (size_t)PREFACE_BYTES - tls->preface_len);

    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        tls_over(tls, n < 0 ? (int)n : ADIT_ETRUNC);
        return;
    }
    tls->preface_len += (uint8_t)n;
    result = preface_parse(identity_id(tls_context_identity(tls->context)), tls->preface,
                           tls->preface_len, &preface);
    if (result == 0)
        return;
    if (result > 0)
        result = tls_handshake_begin(&tls->handshake, tls->context, &tls->socket, NULL);
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
    int result;

    loop_random(tls->base.loop, preface.random, sizeof preface.random);
    /* It leaves with the ClientHello. */
    result = preface_build(&tls->peer, &preface, tls_socket_reserve(&tls->socket, PREFACE_BYTES));
    if (result == 0)
        result = tls_handshake_begin(&tls->handshake, tls->context, &tls->socket, &tls->peer);
    if (result < 0) {
        tls_over(tls, result);
        return;
    }
    tls_socket_commit(&tls->socket, PREFACE_BYTES);
    tls->state = TLS_HANDSHAKE;
    tls_handshake(tls);
}

/* From here on the handshake has its time. */
void tls_set_timer(struct tls_pipe *tls)
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
    tls_set_timer(tls);
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
    else if (tls->base.flags & PIPE_GOT_EOF)
        tls_read_after_eof(tls);
    else if (has_input(tls))
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
        else if (tls->socket.blocked) {
            tls_flush(tls);
        }
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

static void on_quiet(void *arg)
{
    struct tls_pipe *tls = arg;
    uint64_t at = tls->last_use + QUIET_MS * MS_US;

    if (loop_now(tls->base.loop) >= at)
        tls_socket_trim(&tls->socket);
    else
        timer_set(tls->base.loop, &tls->quiet, at);
}

static int name_of(int fd, int (*get)(int, struct sockaddr *, socklen_t *), struct addr *addr)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;

    if (get(fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    return addr_from_sockaddr((struct sockaddr *)&sa, len, addr);
}

static int tls_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    int fd = tls_of(pipe)->socket.fd;
    int result = local ? name_of(fd, getsockname, local) : 0;

    return remote && result == 0 ? name_of(fd, getpeername, remote) : result;
}

static int tls_exporter(struct pipe *pipe, const char *label, const void *context,
                        size_t context_len, void *out, size_t len)
{
    struct tls_pipe *tls = tls_of(pipe);

    if (tls->state != TLS_UP)
        return -ENOTCONN;
    return tls_handshake_export(&tls->handshake, label, context, context_len, out, len);
}

const struct pipe_ops tls_ops = {
    .kind = "tls",
    .write = tls_write,
    .send = tls_send,
    .room = tls_room,
    .queued = tls_queued,
    .flight = tls_flight,
    .resume = tls_resume,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .addrs = tls_addrs,
    .exporter = tls_exporter,
    .destroy = tls_destroy,
};

void tls_init(struct tls_pipe *tls, struct loop *loop, int fd)
{
    pipe_init(&tls->base, &tls_ops, loop);
    tls_socket_init(&tls->socket, fd);
    tls->last_rx = loop_now(loop);
    defer_init(&tls->work, on_work, tls);
    defer_init(&tls->flush, on_flush, tls);
    timer_init(&tls->timer, on_timer, tls);
    timer_init(&tls->quiet, on_quiet, tls);
    event_assign(&tls->event, loop_base(loop), fd,
                 EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, on_event, tls);
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
