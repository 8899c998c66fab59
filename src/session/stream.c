/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A stream is a pipe whose bytes are numbered, each way from 0. The first bytes are its OPEN
 * (opener's side) and its ANSWER (other side), so that they are carried, repeated and confirmed
 * like all others, and an exit dials once.
 *
 * Sending. `out` holds [acked, written) by reference. `next` is the first byte never sent; bytes
 * are sent up to the peer's `limit`. [resend_at, resend_end) goes first: what a lost or left path
 * has not confirmed. FIN takes one offset: `received` of written + 1 confirms it. Small writes are
 * gathered into blocks of their own, so that a keystroke does not pin 16 KiB.
 *
 * Receiving. In-order bytes go down the link at once while it has room, else wait in `in`; bytes
 * beyond a gap wait in `gaps`. What the sink has queued counts as not consumed. Credit is `consumed
 * + window`; the window starts at STREAM_GUARANTEE_BYTES and doubles when a whole window was
 * consumed within two round trips (or WINDOW_GROW_MIN_US), bounded by window_max and by the pool's
 * share. `granted` never goes back; a window shrinks by not advancing.
 *
 * Memory. charge = what is granted and not consumed, and what is retained, each beyond the
 * guarantee; the pool counts it. Without pool, a stream takes from its source only up to the
 * guarantee.
 *
 * End. A stream is done when its FIN is confirmed and the peer's FIN is delivered and has been
 * confirmed; then it is forgotten. An abort leaves a tomb with the code, told at once and at every
 * attach until the peer answers GONE. A stream closed by its owner before the peer's FIN discards
 * what comes, and is reset (code 0) once its own FIN is confirmed; the other side still delivers
 * what it had received in full.
 */
#include "session/stream.h"

#include <stdlib.h>
#include <string.h>

#include "session/opening.h"
#include "session/session_int.h"

#define AHEAD_BYTES        ((uint64_t)64 * 1024) /* taken from a source beyond the peer's credit */
#define UNSENT_BYTES       ((uint64_t)32 * BLOCK_READ_BYTES) /* and ahead of what has been sent */
#define UNSENT_ALL_BYTES   ((uint64_t)16 * 1024 * 1024) /* the same, shared by all ready streams */
#define ROOM_MIN_BYTES     ((uint64_t)2 * BLOCK_READ_BYTES) /* less is not worth a read */
#define UNSENT_MIN_BYTES   ((uint64_t)32 * 1024)
#define WINDOW_GROW_MIN_US (4 * MS_US)
#define COPY_BELOW_BYTES   (BLOCK_BYTES / 4)
#define SMALL_FRAME_BYTES  1024  /* gathered with others into one message */
#define BURST_NEW_BYTES    16384 /* a stream that sent less since it was quiet goes before bulk */
#define BURST_QUIET_US     (10 * MS_US)

static const struct pipe_ops stream_ops;

static struct stream *stream_of(const struct pipe *pipe)
{
    return (struct stream *)(uintptr_t)pipe; /* base is the first member */
}

struct stream *stream_new(struct session *session, uint64_t id, bool ours)
{
    struct stream *stream = calloc(1, sizeof(*stream));

    if (!stream)
        abort();
    pipe_init(&stream->base, &stream_ops, session->loop);
    stream->base.flags |= PIPE_IS_UP;
    stream->session = session;
    stream->id = id;
    stream->ours = ours;
    stream->opening = true;
    stream->final = OFFSET_NONE;
    stream->window = stream->granted = stream->limit = STREAM_GUARANTEE_BYTES;
    stream->opened_at = stream->epoch_at = loop_now(session->loop);
    HASH_ADD(hh, session->streams, id, sizeof(stream->id), stream);
    if (ours)
        session->ours++;
    else
        session->theirs++;
    session->opened++;
    return stream;
}

struct stream *stream_find(struct session *session, uint64_t id)
{
    struct stream *stream;

    HASH_FIND(hh, session->streams, &id, sizeof(id), stream);
    return stream;
}

/* --- Memory --- */

static uint64_t sink_queued(const struct stream *stream)
{
    const struct pipe *sink = stream->base.link.to;

    return sink ? pipe_queued(sink) : 0;
}

static uint64_t consumed(const struct stream *stream)
{
    uint64_t held = stream->in.bytes + sink_queued(stream);

    return held < stream->received ? stream->received - held : 0;
}

static uint64_t beyond_guarantee(uint64_t bytes)
{
    return bytes > STREAM_GUARANTEE_BYTES ? bytes - STREAM_GUARANTEE_BYTES : 0;
}

/* Keeps the count of bytes under way: sent, not confirmed, and not waiting to be sent again. */
static void update_flight(struct stream *stream)
{
    uint64_t now = stream->next - stream->acked;

    if (!stream->session)
        return;
    if (stream->resend_at < stream->resend_end)
        now -= stream->resend_end - stream->resend_at;
    stream->session->flight += now - stream->flight;
    stream->flight = now;
}

static void update_charge(struct stream *stream)
{
    uint64_t done = consumed(stream);
    uint64_t receiving = stream->granted > done ? stream->granted - done : 0;

    if (stream->final != OFFSET_NONE)
        receiving = stream->final > done ? stream->final - done : 0;
    if (stream->session)
        session_pool_charge(stream->session->pool, &stream->charge,
                            beyond_guarantee(receiving) + beyond_guarantee(stream->out.bytes));
}

/* Bytes that will wait in a queue are copied when they keep a much larger block alive. */
static bool pins_much(const struct slice *data)
{
    return data->len < BLOCK_BYTES / 2 && data->block->size > 2 * data->len;
}

/* --- Sending --- */

bool stream_has_work(const struct stream *stream)
{
    if (stream->resend_at < stream->resend_end)
        return true;
    if (stream->next < stream->written)
        return stream->next < stream->limit;
    return stream->fin_queued && !stream->fin_sent;
}

void stream_make_ready(struct stream *stream)
{
    struct session *session = stream->session;
    uint64_t now;

    if (!session || stream->ready != READY_NOT || !stream_has_work(stream))
        return;
    now = loop_now(session->loop);
    if (now > stream->burst_at + BURST_QUIET_US)
        stream->burst = 0;
    if (stream->burst < BURST_NEW_BYTES) {
        stream->ready = READY_NEW;
        TAILQ_INSERT_TAIL(&session->ready_new, stream, ready_link);
    } else {
        stream->ready = READY_OLD;
        TAILQ_INSERT_TAIL(&session->ready_old, stream, ready_link);
    }
    session->ready_count++;
    session_kick(session);
}

static void stream_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct stream *stream = stream_of(pipe);

    (void)to;
    if (!stream->session || stream->fin_acked) {
        slice_drop(data);
        return;
    }
    stream->written += data->len;
    if (data->len < COPY_BELOW_BYTES || (stream->written > stream->limit && pins_much(data))) {
        slice_queue_push_copy(&stream->out, data->data, data->len);
        slice_drop(data);
    } else {
        slice_queue_push(&stream->out, data);
    }
    update_charge(stream);
    stream_make_ready(stream);
}

/* How much more may be taken from a source: not far ahead of what is sent or may be sent, and no
 * more than the stream's share of the pool, but always up to the guarantee. */
static size_t stream_room(const struct pipe *pipe)
{
    const struct stream *stream = stream_of(pipe);
    const struct session *session = stream->session;
    uint64_t cap, share, unsent = UNSENT_BYTES;

    if (!session || stream->fin_acked)
        return 0;
    if (session->ready_count > UNSENT_ALL_BYTES / UNSENT_BYTES) {
        unsent = UNSENT_ALL_BYTES / session->ready_count;
        if (unsent < UNSENT_MIN_BYTES)
            unsent = UNSENT_MIN_BYTES;
    }
    cap = stream->next + unsent;
    if (cap > stream->limit + AHEAD_BYTES)
        cap = stream->limit + AHEAD_BYTES;
    share = stream->acked + session_pool_share(session->pool);
    if (cap > share)
        cap = share;
    if (cap < stream->acked + STREAM_GUARANTEE_BYTES)
        cap = stream->acked + STREAM_GUARANTEE_BYTES;
    if (cap < stream->written + ROOM_MIN_BYTES && stream->next < stream->written)
        return 0; /* worth a read only when there is more, or nothing left to send */
    return cap > stream->written ? (size_t)(cap - stream->written) : 0;
}

static size_t stream_queued(const struct pipe *pipe)
{
    const struct stream *stream = stream_of(pipe);

    return (size_t)(stream->written - stream->next);
}

static void stream_shutdown(struct pipe *pipe)
{
    struct stream *stream = stream_of(pipe);

    stream->fin_queued = true;
    stream_make_ready(stream);
}

/* The slice of `out` that holds stream offset `offset` (acked <= offset < written), and where in
 * it. */
static struct slice *slice_at(struct stream *stream, uint64_t offset, size_t *within)
{
    struct slice *slice;

    if (offset < stream->cursor_base || stream->cursor >= stream->out.count) {
        stream->cursor = 0;
        stream->cursor_base = stream->acked;
    }
    for (;;) {
        slice = slice_queue_at(&stream->out, stream->cursor);
        if (offset < stream->cursor_base + slice->len)
            break;
        stream->cursor_base += slice->len;
        stream->cursor++;
    }
    *within = (size_t)(offset - stream->cursor_base);
    return slice;
}

static void drop_acked(struct stream *stream, uint64_t received)
{
    uint32_t before = stream->out.count;
    uint32_t popped;

    slice_queue_drop(&stream->out, (size_t)(received - stream->acked));
    popped = before - stream->out.count;
    stream->acked = received;
    stream->cursor = stream->cursor > popped ? stream->cursor - popped : 0;
    if (stream->cursor == 0)
        stream->cursor_base = stream->acked;
    if (stream->resend_at < received)
        stream->resend_at = received;
}

void stream_rewind(struct stream *stream, uint64_t end)
{
    if (end > stream->next)
        end = stream->next;
    if (stream->fin_sent && !stream->fin_acked && end == stream->written)
        stream->fin_sent = false;
    if (end > stream->acked) {
        if (stream->resend_at < stream->resend_end && stream->resend_end > end)
            end = stream->resend_end;
        stream->resend_at = stream->acked;
        stream->resend_end = end;
        if (stream->session)
            stream->session->resent_bytes += end - stream->acked;
    }
    stream->mark = 0;
    update_flight(stream);
    stream_make_ready(stream);
}

/* Sends a large frame straight out of the block: its head is written in front of the payload for
 * the moment of sending (slice.h). */
static void send_in_place(struct path *path, uint8_t *payload, size_t len, const uint8_t *head,
                          size_t head_len, bool more)
{
    uint8_t saved[FRAME_STREAM_HEAD_MAX];
    uint8_t *start = payload - head_len;

    memcpy(saved, start, head_len);
    memcpy(start, head, head_len);
    pipe_send(path->pipe, start, head_len + len, more);
    memcpy(start, saved, head_len);
    path->tx_bytes += head_len + len;
}

static bool more_follows(const struct session *session, const struct stream *stream, size_t room,
                         size_t sent)
{
    if (room < sent + FRAME_BYTES_MAX)
        return false; /* the pump stops here, see pump_streams() */
    return session->ready_count > 1 || stream_has_work(stream) || !TAILQ_EMPTY(&session->windows);
}

size_t stream_send(struct stream *stream, struct path *path, size_t room)
{
    struct session *session = stream->session;
    bool again = stream->resend_at < stream->resend_end;
    uint64_t offset = again ? stream->resend_at : stream->next;
    uint64_t end = again                             ? stream->resend_end
                   : stream->written < stream->limit ? stream->written
                                                     : stream->limit;
    uint8_t head[FRAME_STREAM_HEAD_MAX];
    uint8_t *payload = NULL;
    size_t head_len, len = 0;
    bool fin;

    if (offset < end) {
        size_t within;
        struct slice *slice = slice_at(stream, offset, &within);

        payload = slice->data + within;
        len = slice->len - within;
        if (len > end - offset)
            len = (size_t)(end - offset);
        if (len > FRAME_BYTES_MAX - FRAME_STREAM_HEAD_MAX)
            len = FRAME_BYTES_MAX - FRAME_STREAM_HEAD_MAX;
    }
    fin = stream->fin_queued && offset + len == stream->written && (!again || !stream->fin_sent);
    if (again)
        stream->resend_at += len;
    else
        stream->next += len;
    update_flight(stream);
    if (fin)
        stream->fin_sent = true;
    stream->burst += len;
    stream->burst_at = loop_now(session->loop);
    head_len = frame_build_stream_head(head, stream->id, offset, len, fin);
    if (len <= SMALL_FRAME_BYTES) {
        uint8_t *to = path_reserve(path, head_len + len);
        memcpy(to, head, head_len);
        if (len)
            memcpy(to + head_len, payload, len);
    } else {
        path_flush(path, true);
        send_in_place(path, payload, len, head, head_len,
                      more_follows(session, stream, room, head_len + len));
    }
    path_expects(path);
    session->sent_any = path->carried = true;
    if ((stream->base.flags & PIPE_HAD_NO_ROOM && stream_room(&stream->base) > 0) ||
        (stream->base.links_in && stream->base.links_in->from->ops == &stream_ops))
        pipe_has_room(&stream->base); /* a stream that feeds this one grants by what is queued */
    return head_len + len;
}

/* --- Confirmation --- */

int stream_acknowledge(struct stream *stream, const struct frame_window *window)
{
    uint64_t received = window->received;
    bool room_before;

    if (received > stream->next + (stream->fin_sent ? 1 : 0) &&
        received > stream->written + (stream->fin_queued ? 1 : 0))
        return ADIT_EPROTO;
    room_before = stream_room(&stream->base) > 0;
    if (stream->fin_queued && received == stream->written + 1) {
        stream->fin_acked = stream->fin_sent = true;
        received = stream->written;
    }
    if (received > stream->next)
        stream->next = received; /* a repeat of ours arrived first */
    if (received > stream->acked)
        drop_acked(stream, received);
    if (window->limit > stream->limit)
        stream->limit = window->limit;
    update_flight(stream);
    update_charge(stream);
    stream_make_ready(stream);
    if (stream->session->ready_count > 0)
        session_kick(stream->session); /* it may have waited for what is under way */
    if (stream_room(&stream->base) > 0 && (!room_before || stream->base.flags & PIPE_HAD_NO_ROOM))
        pipe_has_room(&stream->base);
    stream_check_done(stream);
    return 0;
}

/* Ends the stream as a pipe and forgets it in the session. */
static void stream_over(struct stream *stream, int why)
{
    stream_answer_cb *answered = stream->answered;

    if (stream->base.flags & PIPE_IS_OVER)
        return;
    stream->answered = NULL;
    if (stream->session)
        session_forget_stream(stream);
    slice_queue_clear(&stream->out);
    slice_queue_clear(&stream->in);
    gaps_clear(&stream->gaps);
    if (answered)
        answered(stream->answered_arg, why == -EACCES ? ANSWER_NOT_EXIT : ANSWER_PEER_LOST, NULL);
    pipe_is_over(&stream->base, why);
}

static void stream_reset(struct stream *stream, uint64_t code, int why)
{
    struct session *session = stream->session;

    if (session)
        session_entomb(session, stream->id, code);
    stream_over(stream, why);
}

void stream_check_done(struct stream *stream)
{
    if (!stream->session || !stream->fin_acked)
        return;
    if (stream->eof_told && stream->reported == stream->final + 1) {
        stream_over(stream, 0);
    } else if (stream->closing && !stream->eof_told) {
        stream_reset(stream, 0, 0);
    }
}

/* The peer has forgotten the stream after all that it sent was received: what waits for a slow
 * reader is still delivered. */
static void stop_sending(struct stream *stream)
{
    stream->fin_queued = stream->fin_sent = stream->fin_acked = true;
    stream->reported = stream->final + 1;
    stream->next = stream->written;
    drop_acked(stream, stream->written);
    update_flight(stream);
    update_charge(stream);
}

void stream_gone(struct stream *stream)
{
    bool complete = stream->fin_queued && stream->next == stream->written &&
                    stream->final != OFFSET_NONE && stream->received == stream->final;

    if (complete) {
        stop_sending(stream);
        if (!stream->eof_told)
            return; /* the rest waits for a slow reader */
    }
    stream_over(stream, complete ? 0 : -ECONNRESET);
}

void stream_was_reset(struct stream *stream, uint64_t code)
{
    if (code == 0 && !stream->opening && !stream->eof_told && stream->received == stream->final)
        stop_sending(stream); /* closed behind its last byte */
    else
        stream_over(stream, code == 0 && stream->closing ? 0 : -ECONNRESET);
}

void stream_session_over(struct stream *stream, int why)
{
    stream_over(stream, why ? why : -ECONNRESET);
}

static void stream_close(struct pipe *pipe, int why)
{
    struct stream *stream = stream_of(pipe);

    if (!stream->session) {
        pipe_is_over(pipe, why);
        return;
    }
    if (why || stream->answered) {
        stream->answered = NULL;
        stream_reset(stream, (uint64_t)(why < 0 ? 1 : 0), why);
        return;
    }
    stream->closing = true;
    stream->fin_queued = true;
    slice_queue_clear(&stream->in);
    if (stream->final != OFFSET_NONE && stream->received == stream->final)
        stream->eof_told = true;
    stream_update_window(stream);
    stream_make_ready(stream);
    stream_check_done(stream);
}

/* --- Receiving --- */

uint64_t stream_received_offset(const struct stream *stream)
{
    return stream->received == stream->final ? stream->received + 1 : stream->received;
}

/* Delivers what waits, as far as the sink takes it; then the end of file. */
static void deliver_waiting(struct stream *stream)
{
    while (stream->in.count > 0 && pipe_read_budget(&stream->base) > 0) {
        struct slice first = slice_ref(slice_queue_first(&stream->in));

        slice_queue_drop(&stream->in, first.len);
        pipe_deliver(&stream->base, &first, NULL);
        if (!stream->session)
            return;
    }
    if (stream->in.count > 0 || stream->opening || stream->received != stream->final ||
        stream->eof_told)
        return;
    if (stream->base.flags & PIPE_IS_PAUSED)
        return;
    stream->eof_told = true;
    pipe_got_eof(&stream->base);
    if (stream->session)
        stream_check_done(stream);
}

static void stream_resume(struct pipe *pipe)
{
    struct stream *stream = stream_of(pipe);

    if (!stream->session || stream->opening)
        return;
    deliver_waiting(stream);
    if (stream->session)
        stream_update_window(stream);
}

static void take_answer(struct stream *stream)
{
    uint8_t bytes[OPENING_BYTES_MAX];
    size_t len = slice_queue_peek(&stream->in, 0, bytes, sizeof(bytes));
    stream_answer_cb *answered = stream->answered;
    enum answer answer;
    struct addr bound;
    int used = opening_parse_answer(bytes, len, &answer, &bound);

    if (used == 0)
        return;
    if (used < 0) {
        session_protocol_error(stream->session, "a malformed ANSWER");
        return;
    }
    slice_queue_drop(&stream->in, (size_t)used);
    stream->opening = false;
    stream->answered = NULL;
    if (answered)
        answered(stream->answered_arg, answer, &bound);
    if (stream->session && answer != ANSWER_OK)
        stream_reset(stream, 0, -ECONNREFUSED);
}

static void take_open(struct stream *stream)
{
    struct session *session = stream->session;
    uint8_t bytes[OPENING_BYTES_MAX];
    size_t len = slice_queue_peek(&stream->in, 0, bytes, sizeof(bytes));
    struct opening opening;
    int used = opening_parse_open(bytes, len, &opening);

    if (used == 0)
        return;
    if (used < 0) { /* whole, but not understood: perhaps a later version's */
        stream->opening = false;
        stream_answer(&stream->base, ANSWER_BAD_REQUEST, NULL);
        return;
    }
    slice_queue_drop(&stream->in, (size_t)used);
    stream->opening = false;
    stream->base.flags |= PIPE_IS_PAUSED;
    if (session->theirs > session->config.max_streams)
        stream_answer(&stream->base, ANSWER_LIMIT, NULL);
    else
        session->events->open(session, &stream->base, &opening, session->arg);
}

/* Takes bytes that are next in order. */
static void take_in_order(struct stream *stream, struct slice *data)
{
    stream->received += data->len;
    if (stream->closing) {
        slice_drop(data);
        return;
    }
    if (!stream->opening && stream->in.count == 0 && pipe_read_budget(&stream->base) > 0) {
        pipe_deliver(&stream->base, data, NULL);
        return;
    }
    if (pins_much(data)) {
        slice_queue_push_copy(&stream->in, data->data, data->len);
        slice_drop(data);
    } else {
        slice_queue_push(&stream->in, data);
    }
    if (stream->opening) {
        if (stream->ours)
            take_answer(stream);
        else
            take_open(stream);
    }
}

void stream_receive(struct stream *stream, const struct frame_stream *frame,
                    const struct slice *message)
{
    uint64_t end = frame->offset + frame->len;
    struct session *session = stream->session;

    if (end > stream->granted || (stream->final != OFFSET_NONE && end > stream->final) ||
        (frame->fin && stream->final != OFFSET_NONE && end != stream->final) ||
        (frame->fin && end < stream->received)) {
        session_protocol_error(session, "stream data beyond its limit or its end");
        return;
    }
    if (frame->fin)
        stream->final = end;
    session->unconfirmed += frame->len;
    if (session->unconfirmed >= CONFIRM_BYTES)
        session_kick(session);
    if (end > stream->received) {
        uint64_t skip = frame->offset < stream->received ? stream->received - frame->offset : 0;
        struct slice data =
            slice_part(message, (size_t)(frame->data - message->data) + skip, frame->len - skip);

        if (frame->offset > stream->received) {
            gaps_add(&stream->gaps, frame->offset, &data);
        } else {
            take_in_order(stream, &data);
            while (stream->session && stream->gaps.count > 0 &&
                   gaps_take(&stream->gaps, stream->received, &data))
                take_in_order(stream, &data);
        }
    }
    if (!stream->session)
        return;
    if (stream->opening && stream->received == stream->final) {
        stream_reset(stream, 1, -ECONNRESET); /* it ends inside its OPEN or ANSWER */
        return;
    }
    if (stream->closing && stream->received == stream->final)
        stream->eof_told = true;
    if (!stream->opening)
        deliver_waiting(stream);
    if (!stream->session)
        return;
    session_window_due(stream, false);
    stream_update_window(stream);
}

/* Grants more credit when that is due, and keeps the pool's account. */
void stream_update_window(struct stream *stream)
{
    struct session *session = stream->session;
    uint64_t now, done, share, window, rtt, limit;

    if (!session)
        return;
    if (stream->final != OFFSET_NONE) {
        if (stream->received == stream->final && stream->reported <= stream->final)
            session_window_due(stream, false); /* with what is sent next: nobody waits for it */
        update_charge(stream);
        return;
    }
    now = loop_now(session->loop);
    done = consumed(stream);
    if (done - stream->epoch_consumed >= stream->window && done > stream->epoch_consumed) {
        rtt = session->active ? 2 * session->active->srtt : 0;
        if (rtt < WINDOW_GROW_MIN_US)
            rtt = WINDOW_GROW_MIN_US;
        if (now - stream->epoch_at <= rtt && stream->window < session->config.window_max)
            stream->window *= 2;
        stream->epoch_at = now;
        stream->epoch_consumed = done;
    }
    share = session_pool_share(session->pool);
    window = stream->window < share ? stream->window : share;
    limit = done + window;
    if (limit >= stream->granted + window / 4) {
        stream->granted = limit;
        session_window_due(stream, true);
    }
    update_charge(stream);
}

/* --- Opening and answering --- */

struct pipe *stream_open(struct session *session, const struct target *target, stream_answer_cb *cb,
                         void *arg, enum answer *why)
{
    const struct opening opening = {.kind = OPENING_CONNECT, .target = *target};

    return stream_open_as(session, &opening, cb, arg, why);
}

struct pipe *stream_open_as(struct session *session, const struct opening *opening,
                            stream_answer_cb *cb, void *arg, enum answer *why)
{
    uint8_t bytes[OPENING_BYTES_MAX];
    struct stream *stream;

    if (session->over) {
        *why = ANSWER_PEER_LOST;
        return NULL;
    }
    if (session->ours >= session->config.max_streams ||
        session->ours >= session->peer_max_streams ||
        session->ours + session->tomb_count >= 2 * (uint64_t)session->config.max_streams) {
        *why = ANSWER_LIMIT;
        return NULL;
    }
    stream = stream_new(session, session->next_own++ << 1 | (session->lower ? 0 : 1), true);
    stream->answered = cb;
    stream->answered_arg = arg;
    stream->written = opening_build_open(bytes, opening);
    slice_queue_push_copy(&stream->out, bytes, stream->written);
    session->traffic_at = loop_now(session->loop);
    stream_make_ready(stream);
    session_touch_tick(session);
    return &stream->base;
}

void stream_answer(struct pipe *pipe, enum answer answer, const struct addr *bound)
{
    struct stream *stream = stream_of(pipe);
    uint8_t bytes[OPENING_BYTES_MAX];
    size_t len;

    if (!stream->session || stream->answer_sent)
        return;
    stream->answer_sent = true;
    len = opening_build_answer(bytes, answer, bound);
    stream->written += len;
    slice_queue_push_copy(&stream->out, bytes, len);
    if (answer != ANSWER_OK)
        pipe_close(pipe);
    else
        stream_make_ready(stream);
}

void stream_fail_opening(struct stream *stream, enum answer answer)
{
    stream_answer_cb *answered = stream->answered;

    stream->answered = NULL;
    if (answered)
        answered(stream->answered_arg, answer, NULL);
    if (stream->session)
        stream_reset(stream, 0, -ETIMEDOUT);
}

static void stream_destroy(struct pipe *pipe)
{
    free(stream_of(pipe));
}

static const struct pipe_ops stream_ops = {
    .kind = "stream",
    .write = stream_write,
    .room = stream_room,
    .queued = stream_queued,
    .resume = stream_resume,
    .shutdown = stream_shutdown,
    .close = stream_close,
    .destroy = stream_destroy,
};
