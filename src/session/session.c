/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A session is what two nodes share above their paths: streams, credit, and the decision which path
 * carries traffic. It lives from the first wish for a stream (or the first hello) until either
 * process says SESSION_CLOSE, or no path was there for `hold`. The end of a path is never its end.
 *
 * Attaching. Over a new path, both sides send the list of all their streams (ATTACH begin, WINDOW
 * frames, RESET frames, ATTACH end): what each has received, how far the other may send, and what
 * was reset. When the peer's list is whole, each resends from the first byte the other lacks. A
 * listed stream that the other side no longer knows is answered with GONE. Every stream ever opened
 * is listed or reset until the peer has confirmed its end, so an ID below the watermark without
 * state means "over". A path carries stream bytes once it is listed (at once in a session that has
 * sent none yet).
 *
 * Moving. One path is active; the best listed one that is not suspect. Whoever moves says so with
 * its list (ATTACH move), and the other follows: the first to suspect a path moves both directions.
 * Bytes that a dead or suspect path has not confirmed are sent again at once; after a move away
 * from a healthy path, those not confirmed within two of its round trips (`mark`, `drain_at`).
 *
 * Sending. The pump runs at the end of a turn (defer_soon). Control frames go first, then streams
 * in turn, a frame each; streams that have sent little since they were quiet are served before bulk
 * (`ready_new`). The path's pipe keeps its own queue short (pipe_room()), so what is urgent is
 * never far behind. WINDOW goes out at once when a quarter of a window is due, else with the next
 * thing sent, or after a quarter of the round trip (ACK_MIN_US to ACK_MAX_US).
 *
 * Limits: SESSION_PATHS_MAX paths; max_streams streams each way (more: refused, ANSWER_LIMIT; more
 * than twice: a protocol error); credit by the pool (pool.h). A peer that breaks the protocol loses
 * the session, with the reason.
 */
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "session/session_int.h"

#define ACK_MIN_US   (5 * MS_US)
#define ACK_MAX_US   (25 * MS_US)
#define BUSY_US      (5 * SEC_US) /* the session counts as busy for so long after stream traffic */
#define DRAIN_MIN_US (50 * MS_US)
#define UNHEARD_US \
    (250 * MS_US) /* a newly attached path takes over from one that was silent for so long */
#define WAITING_TICK_US (250 * MS_US) /* looks at waiting opens while there is no path */

static void on_pump(void *arg);
static void on_tick(void *arg);
static void on_ack(void *arg);
static void on_finish(void *arg);
static void choose_active(struct session *session, struct path *fresh);

/* --- Life --- */

struct session *session_new(struct loop *loop, const struct session_config *config,
                            struct session_pool *pool, const struct node_id *local,
                            const struct node_id *remote, const struct session_events *events,
                            void *arg)
{
    struct session *session = calloc(1, sizeof(*session));

    if (!session)
        return NULL;
    session->loop = loop;
    session->config = *config;
    session->pool = pool;
    session->local = *local;
    session->remote = *remote;
    session->lower = node_id_compare(local, remote) < 0;
    session->events = events;
    session->arg = arg;
    session->peer_max_streams = config->max_streams;
    session->since = session->pathless_since = loop_now(loop);
    session->want = SESSION_WANTS_PATH;
    TAILQ_INIT(&session->ready_new);
    TAILQ_INIT(&session->ready_old);
    TAILQ_INIT(&session->windows);
    defer_init(&session->pump, on_pump, session);
    defer_init(&session->finish, on_finish, session);
    timer_init(&session->tick, on_tick, session);
    timer_init(&session->ack, on_ack, session);
    timer_set_in(loop, &session->tick, WAITING_TICK_US);
    return session;
}

static const struct pipe_events path_events;

static void path_drop(struct path *path, int why)
{
    struct pipe *pipe = path->pipe;

    path_clear(path);
    pipe_del_listener(pipe, &path_events, path);
    if (why)
        pipe_abort(pipe, why);
    else
        pipe_close(pipe);
}

/* Fails all streams, lets go of the paths (closing them after what is queued when why is 0), and
 * schedules the end. */
static void session_is_over(struct session *session, int why, int paths_why, const char *text)
{
    struct stream *stream, *next_stream;
    struct tomb *tomb, *next_tomb;

    if (session->over)
        return;
    session->over = true;
    session->why = why;
    snprintf(session->text, sizeof(session->text), "%s", text ? text : "");
    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++)
        if (path->session)
            path_drop(path, paths_why);
    session->active = NULL;
    HASH_ITER (hh, session->streams, stream, next_stream)
        stream_session_over(stream, why);
    HASH_ITER (hh, session->tombs, tomb, next_tomb) {
        HASH_DEL(session->tombs, tomb);
        free(tomb);
    }
    timer_cancel(session->loop, &session->tick);
    timer_cancel(session->loop, &session->ack);
    defer_cancel(session->loop, &session->pump);
    defer_soon(session->loop, &session->finish);
}

static void on_finish(void *arg)
{
    struct session *session = arg;

    session->events->end(session, session->why, session->text, session->arg);
    free(session);
}

static void close_with(struct session *session, enum close_code code, const char *text, int why)
{
    uint8_t body[8 + CLOSE_TEXT_MAX];
    size_t text_len = text ? strnlen(text, CLOSE_TEXT_MAX) : 0;
    size_t len = varint_write(body, code);

    if (session->over)
        return;
    memcpy(body + len, text ? text : "", text_len);
    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++) {
        if (!path->session)
            continue;
        path_put(path, FRAME_CLOSE, body, len + text_len);
        path_flush(path, false);
    }
    session_is_over(session, why, 0, text);
}

void session_close(struct session *session, enum close_code code, const char *text)
{
    close_with(session, code, text, 0);
}

void session_fail(struct session *session, int why, const char *text)
{
    session_is_over(session, why, why, text);
}

void session_protocol_error(struct session *session, const char *what)
{
    char text[CLOSE_TEXT_MAX + 1];

    if (session->over)
        return;
    snprintf(text, sizeof(text), "protocol error: %s", what);
    log_warn("event=session-protocol-error what=\"%s\"", what);
    close_with(session, CLOSE_PROTOCOL, text, ADIT_EPROTO);
}

static bool session_busy(const struct session *session)
{
    return session->traffic_at && loop_now(session->loop) - session->traffic_at < BUSY_US;
}

/* --- Streams in the tables --- */

static void ready_remove(struct stream *stream)
{
    struct session *session = stream->session;

    if (stream->ready == READY_NOT)
        return;
    if (stream->ready == READY_NEW)
        TAILQ_REMOVE(&session->ready_new, stream, ready_link);
    else
        TAILQ_REMOVE(&session->ready_old, stream, ready_link);
    stream->ready = READY_NOT;
    session->ready_count--;
}

static void window_remove(struct stream *stream)
{
    if (!stream->window_due)
        return;
    TAILQ_REMOVE(&stream->session->windows, stream, window_link);
    if (stream->window_urgent)
        stream->session->urgent--;
    stream->window_due = stream->window_urgent = false;
}

void session_forget_stream(struct stream *stream)
{
    struct session *session = stream->session;

    ready_remove(stream);
    window_remove(stream);
    HASH_DEL(session->streams, stream);
    if (stream->ours)
        session->ours--;
    else
        session->theirs--;
    session_pool_charge(session->pool, &stream->charge, 0);
    stream->session = NULL;
}

void session_window_due(struct stream *stream, bool urgent)
{
    struct session *session = stream->session;
    uint64_t delay;

    if (!stream->window_due) {
        stream->window_due = true;
        TAILQ_INSERT_TAIL(&session->windows, stream, window_link);
    }
    if (urgent && !stream->window_urgent) {
        stream->window_urgent = true;
        session->urgent++;
        session_kick(session);
    }
    if (!timer_is_set(&session->ack)) {
        delay = session->active ? session->active->srtt / 4 : 0;
        if (delay < ACK_MIN_US)
            delay = ACK_MIN_US;
        if (delay > ACK_MAX_US)
            delay = ACK_MAX_US;
        timer_set_in(session->loop, &session->ack, delay);
    }
}

static void send_reset(struct session *session, uint64_t id, uint64_t code)
{
    if (!session->active)
        return;
    path_put_ids(session->active, FRAME_RESET, id, code, 2);
    path_expects(session->active);
}

void session_entomb(struct session *session, uint64_t id, uint64_t code)
{
    struct tomb *tomb = calloc(1, sizeof(*tomb));

    if (!tomb)
        abort();
    tomb->id = id;
    tomb->code = code;
    HASH_ADD(hh, session->tombs, id, sizeof(tomb->id), tomb);
    send_reset(session, id, code);
}

static struct tomb *tomb_find(struct session *session, uint64_t id)
{
    struct tomb *tomb;

    HASH_FIND(hh, session->tombs, &id, sizeof(id), tomb);
    return tomb;
}

static void tomb_remove(struct session *session, uint64_t id)
{
    struct tomb *tomb = tomb_find(session, id);

    if (!tomb)
        return;
    HASH_DEL(session->tombs, tomb);
    free(tomb);
}

/* --- Sending --- */

void session_kick(struct session *session)
{
    if (!session->over)
        defer_soon(session->loop, &session->pump);
}

static void put_window(struct path *path, struct stream *stream)
{
    struct frame_window window = {stream->id, stream_received_offset(stream), stream->granted};
    uint8_t body[FRAME_WINDOW_ENTRY_MAX];

    path_put(path, FRAME_WINDOW, body, frame_build_window_entry(body, &window));
    stream->reported = window.received;
}

/* Tells what has been received, and the credit, of the streams that are due: all, or only while
 * some are urgent. */
static void put_windows(struct session *session, struct path *path)
{
    struct stream *stream;

    while ((stream = TAILQ_FIRST(&session->windows))) {
        window_remove(stream);
        put_window(path, stream);
        stream_check_done(stream);
    }
    timer_cancel(session->loop, &session->ack);
}

/* A path that may carry stream bytes now. */
static bool path_is_open(const struct session *session, const struct path *path)
{
    return path && (path->listed || !session->sent_any);
}

static void pump_streams(struct session *session, struct path *path, size_t room)
{
    while (room > 0 && session->ready_count > 0 && session->active == path) {
        struct stream *stream = TAILQ_FIRST(&session->ready_new);
        size_t sent;

        if (!stream)
            stream = TAILQ_FIRST(&session->ready_old);
        if (!stream_has_work(stream)) {
            ready_remove(stream);
            continue;
        }
        sent = stream_send(stream, path, room);
        room = room > sent ? room - sent : 0;
        session->traffic_at = loop_now(session->loop);
        if (!stream->session)
            continue;
        ready_remove(stream);
        stream_make_ready(stream); /* at the end of its list, if it has more */
    }
}

static void on_pump(void *arg)
{
    struct session *session = arg;
    struct path *active = session->active;
    size_t room;

    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++)
        if (path->session && path != active && path->out.count > 0 && pipe_room(path->pipe) > 0)
            path_flush(path, false);
    if (!active)
        return;
    room = pipe_room(active->pipe);
    if (room == 0)
        return; /* on_path_room() calls again */
    if (session->urgent > 0 || (session->ready_count > 0 && !TAILQ_EMPTY(&session->windows)))
        put_windows(session, active);
    if (session->ready_count > 0 && path_is_open(session, active))
        pump_streams(session, active, room);
    if (session->active == active)
        path_flush(active, false);
    if (session_busy(session))
        session_touch_tick(session);
}

static void on_ack(void *arg)
{
    struct session *session = arg;

    if (!session->active)
        return;
    if (pipe_room(session->active->pipe) > 0) {
        put_windows(session, session->active);
        session_kick(session);
    } else if (!TAILQ_EMPTY(&session->windows)) {
        timer_set_in(session->loop, &session->ack, ACK_MIN_US);
    }
}

/* --- Attaching and moving --- */

static void put_attach(struct path *path, uint64_t flags)
{
    uint8_t body[8];

    path_put(path, FRAME_ATTACH, body, varint_write(body, flags));
}

/* Sends the whole list: what is received and granted of every stream, and the resets not yet
 * confirmed. */
static void send_list(struct session *session, struct path *path, uint64_t flags)
{
    struct stream *stream, *next_stream;
    struct tomb *tomb, *next_tomb;

    put_attach(path, ATTACH_BEGIN | flags);
    HASH_ITER (hh, session->streams, stream, next_stream) {
        put_window(path, stream);
        stream_check_done(stream);
    }
    HASH_ITER (hh, session->tombs, tomb, next_tomb)
        path_put_ids(path, FRAME_RESET, tomb->id, tomb->code, 2);
    put_attach(path, ATTACH_END | flags);
    path_expects(path);
}

static void rewind_all(struct session *session, bool marked_only)
{
    struct stream *stream, *next;

    session->drain_at = 0;
    HASH_ITER (hh, session->streams, stream, next) {
        if (marked_only && stream->mark <= stream->acked)
            stream->mark = 0;
        else
            stream_rewind(stream, marked_only ? stream->mark : UINT64_MAX);
    }
}

static void mark_all(struct session *session, const struct path *old)
{
    struct stream *stream, *next;
    uint64_t wait = 2 * old->srtt;

    HASH_ITER (hh, session->streams, stream, next)
        stream->mark = stream->next;
    session->drain_at = loop_now(session->loop) + (wait > DRAIN_MIN_US ? wait : DRAIN_MIN_US);
}

static void tell_want(struct session *session)
{
    enum session_want want = SESSION_WANTS_SPARE;
    bool any = false;

    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++) {
        if (!path->session)
            continue;
        any = true;
        if (path->state != PATH_SUSPECT && !path->stale &&
            (path->listed || path->state == PATH_ATTACHING))
            want = SESSION_WANTS_NOTHING;
    }
    if (!any)
        want = SESSION_WANTS_PATH;
    if (want == session->want || session->over)
        return;
    session->want = want;
    session->events->want(session, want, session->arg);
}

/* Makes a path the active one. old_good: what went over the old one may still arrive. */
static void move_to(struct session *session, struct path *path, bool old_good, bool tell)
{
    struct path *old = session->active;

    if (old == path)
        return;
    if (old) {
        session->moves++;
        log_info("event=path-moved from=%s to=%s", old->label, path->label);
        if (old->state == PATH_ACTIVE)
            old->state = PATH_STANDBY;
    }
    session->active = path;
    path->state = path->state == PATH_ATTACHING ? PATH_ATTACHING : PATH_ACTIVE;
    if (tell)
        send_list(session, path, ATTACH_MOVE);
    if (old && old_good)
        mark_all(session, old);
    else if (path->listed)
        rewind_all(session, false);
    session_kick(session);
}

static bool path_is_better(const struct path *a, const struct path *b)
{
    if (!b)
        return true;
    if ((a->state == PATH_SUSPECT) != (b->state == PATH_SUSPECT))
        return b->state == PATH_SUSPECT;
    if (a->stale != b->stale)
        return b->stale;
    return a->rank < b->rank;
}

/* Picks the active path anew. fresh: a path just listed, which wins over an equal one that has gone
 * silent. */
static void choose_active(struct session *session, struct path *fresh)
{
    struct path *best = session->active;
    uint64_t now = loop_now(session->loop);

    if (session->over)
        return;
    if (best && !best->listed && best != fresh && session->sent_any)
        best = NULL;
    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++)
        if (path->session && path->listed && path_is_better(path, best))
            best = path;
    if (fresh && best != fresh && best && now - best->heard_at > UNHEARD_US &&
        fresh->rank <= best->rank)
        best = fresh;
    if (best && best != session->active) {
        bool old_good = session->active && session->active->state != PATH_SUSPECT && best != fresh;
        move_to(session, best, old_good, true);
    }
    tell_want(session);
}

static void on_path_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                            void *arg);
static void on_path_room(struct pipe *pipe, void *arg);
static void on_path_end(struct pipe *pipe, int why, void *arg);
static void on_path_eof(struct pipe *pipe, void *arg);

static const struct pipe_events path_events = {
    .message = on_path_message,
    .room = on_path_room,
    .eof = on_path_eof,
    .end = on_path_end,
};

/* A slot for a new path: a free one, or that of the worst path. */
static struct path *take_slot(struct session *session)
{
    struct path *worst = NULL;

    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++) {
        if (!path->session)
            return path;
        if (path == session->active && path->state != PATH_SUSPECT)
            continue;
        if (!worst || path_is_better(worst, path) ||
            (!path_is_better(path, worst) && path->heard_at < worst->heard_at))
            worst = path;
    }
    session_path_lost(worst, ADIT_EFULL);
    return worst;
}

int session_add_path(struct session *session, struct pipe *pipe, const struct hello *peer_hello,
                     const char *label, int rank)
{
    struct path *path;
    uint64_t now = loop_now(session->loop);

    if (session->over) {
        pipe_abort(pipe, ADIT_ECLOSED);
        return ADIT_ECLOSED;
    }
    memcpy(session->peer_instance, peer_hello->instance, INSTANCE_BYTES);
    session->peer_max_streams = peer_hello->max_streams;
    path = take_slot(session);
    if (session->over) {
        pipe_abort(pipe, ADIT_ECLOSED);
        return ADIT_ECLOSED;
    }
    *path = (struct path){
        .session = session, .pipe = pipe, .label = label, .rank = rank, .state = PATH_ATTACHING};
    path->since = path->heard_at = path->rate_at = now;
    path->heard_lost = loop_lost(session->loop);
    pipe_add_listener(pipe, &path_events, path);
    session->pathless_since = 0;
    send_list(session, path, 0);
    path_probe(path);
    if (!session->active)
        move_to(session, path, false, false);
    tell_want(session);
    session_touch_tick(session);
    session_kick(session);
    pipe_resume(pipe);
    return 0;
}

void session_path_suspect(struct path *path)
{
    struct session *session = path->session;

    log_debug("event=path-suspect path=%s silent_ms=%llu", path->label,
              (unsigned long long)((loop_now(session->loop) - path->heard_at) / MS_US));
    path->state = PATH_SUSPECT;
    choose_active(session, NULL);
}

void session_path_lost(struct path *path, int why)
{
    struct session *session = path->session;

    log_info("event=path-lost path=%s reason=\"%s\"", path->label, err_text(why));
    if (session->active == path)
        session->active = NULL;
    path_drop(path, why);
    if (session->over)
        return;
    if (!session->active)
        choose_active(session, NULL);
    if (!session_has_path(session))
        session->pathless_since = loop_now(session->loop);
    tell_want(session);
    session_touch_tick(session);
}

static void on_path_end(struct pipe *pipe, int why, void *arg)
{
    struct path *path = arg;

    (void)pipe;
    session_path_lost(path, why ? why : -ECONNRESET);
}

static void on_path_eof(struct pipe *pipe, void *arg)
{
    struct path *path = arg;

    (void)pipe;
    session_path_lost(path, -ECONNRESET);
}

static void on_path_room(struct pipe *pipe, void *arg)
{
    struct path *path = arg;

    (void)pipe;
    session_kick(path->session);
}

/* --- Receiving --- */

/* The stream of a frame: found, newly opened by the peer, or NULL (gone, entombed, or an error). */
static struct stream *stream_for(struct session *session, struct path *path, uint64_t id)
{
    struct stream *stream = stream_find(session, id);
    uint64_t index = id >> 1;

    if (stream)
        return stream;
    if (tomb_find(session, id))
        return NULL;
    if (session_id_is_ours(session, id)) {
        if (index >= session->next_own)
            session_protocol_error(session, "a stream of ours that we never opened");
        else
            path_put_ids(path, FRAME_GONE, id, 0, 1);
        return NULL;
    }
    if (index < session->next_theirs) {
        path_put_ids(path, FRAME_GONE, id, 0, 1);
        return NULL;
    }
    if (session->theirs + (index - session->next_theirs) >=
        2 * (uint64_t)session->config.max_streams) {
        session_protocol_error(session, "more streams than allowed");
        return NULL;
    }
    while (session->next_theirs <= index)
        stream = stream_new(session, session->next_theirs++ << 1 | (id & 1), false);
    return stream;
}

static void on_stream(struct session *session, struct path *path, const struct frame *frame,
                      const struct slice *message)
{
    struct frame_stream data;
    struct stream *stream;

    if (frame_parse_stream(frame, &data) < 0) {
        session_protocol_error(session, "a malformed STREAM frame");
        return;
    }
    stream = stream_for(session, path, data.id);
    if (stream)
        stream_receive(stream, &data, message);
    if (!session->over)
        session->traffic_at = loop_now(session->loop);
}

static void on_window(struct session *session, struct path *path, const struct frame *frame)
{
    struct frame_window window;
    size_t at = 0;
    int r;

    while (!session->over && (r = frame_next_window(frame, &at, &window)) != 0) {
        struct stream *stream;

        if (r < 0) {
            session_protocol_error(session, "a malformed WINDOW frame");
            return;
        }
        stream = stream_for(session, path, window.id);
        if (stream && stream_acknowledge(stream, &window) < 0)
            session_protocol_error(session, "confirmation of bytes that were never sent");
    }
}

static void on_reset(struct session *session, struct path *path, const struct frame *frame)
{
    struct frame_reset reset;
    struct stream *stream;

    if (frame_parse_reset(frame, &reset) < 0) {
        session_protocol_error(session, "a malformed RESET frame");
        return;
    }
    if (tomb_find(session, reset.id)) {
        path_put_ids(path, FRAME_GONE, reset.id, 0, 1);
        return;
    }
    stream = stream_for(session, path, reset.id);
    if (!stream)
        return; /* GONE has been put, or the session is over */
    path_put_ids(path, FRAME_GONE, reset.id, 0, 1);
    stream_was_reset(stream, reset.code);
}

static void on_gone(struct session *session, const struct frame *frame)
{
    uint64_t id;
    size_t at = 0;
    int r;

    while (!session->over && (r = frame_next_id(frame, &at, &id)) != 0) {
        struct stream *stream;

        if (r < 0) {
            session_protocol_error(session, "a malformed GONE frame");
            return;
        }
        tomb_remove(session, id);
        stream = stream_find(session, id);
        if (stream)
            stream_gone(stream);
    }
}

static void on_attach(struct session *session, struct path *path, const struct frame *frame)
{
    struct frame_attach attach;

    if (frame_parse_attach(frame, &attach) < 0) {
        session_protocol_error(session, "a malformed ATTACH frame");
        return;
    }
    if (!(attach.flags & ATTACH_END))
        return;
    if (!path->listed) {
        path->listed = true;
        if (path->state == PATH_ATTACHING)
            path->state = path == session->active ? PATH_ACTIVE : PATH_STANDBY;
        log_info("event=path-attached path=%s", path->label);
        if (path == session->active && !path->carried)
            rewind_all(session, false);
    }
    if (attach.flags & ATTACH_MOVE) {
        /* What the peer sent over the path that it left may be lost: its list repeats what it still
         * knows, and ours makes it say GONE to the rest. */
        move_to(session, path, false, false);
        send_list(session, path, 0);
    }
    choose_active(session, path);
    session_kick(session);
}

static void on_ping(struct session *session, struct path *path, const struct frame *frame)
{
    struct frame_ping ping;
    uint8_t body[FRAME_BYTES_MAX];
    size_t len;

    if (frame_parse_ping(frame, &ping) < 0) {
        session_protocol_error(session, "a malformed PING frame");
        return;
    }
    len = varint_write(body, 0);
    len += varint_write(body + len, ping.number);
    if (ping.flags & PING_ECHO_PADDING && frame->len > len) {
        memset(body + len, 0, frame->len - len);
        len = frame->len;
    }
    path_put(path, FRAME_PONG, body, len);
}

static void on_pong(struct session *session, struct path *path, const struct frame *frame)
{
    struct frame_ping pong;
    uint64_t now = loop_now(session->loop);

    if (frame_parse_ping(frame, &pong) < 0) {
        session_protocol_error(session, "a malformed PONG frame");
        return;
    }
    if (path->ping_at && pong.number == path->ping_number) {
        path_rtt_sample(path, now - path->ping_at);
        path->ping_at = 0;
    }
    if (path->ping_cb && pong.number == path->ping_cb_number) {
        session_ping_cb *cb = path->ping_cb;
        struct addr remote = {0};

        path->ping_cb = NULL;
        pipe_addrs(path->pipe, NULL, &remote);
        cb(path->ping_cb_arg, path->label, &remote,
           now > path->ping_cb_at ? now - path->ping_cb_at : 1);
    }
}

static void on_close(struct session *session, const struct frame *frame)
{
    struct frame_close close;
    char text[CLOSE_TEXT_MAX + 1];

    if (frame_parse_close(frame, &close) < 0) {
        session_protocol_error(session, "a malformed CLOSE frame");
        return;
    }
    if (close.text_len > 0)
        snprintf(text, sizeof(text), "%.*s", (int)close.text_len, close.text);
    else
        snprintf(text, sizeof(text), "%s",
                 close_code_text(close.code > CLOSE_LAST ? CLOSE_PROTOCOL
                                                         : (enum close_code)close.code));
    session_is_over(session,
                    close.code == CLOSE_OK         ? 0
                    : close.code == CLOSE_PROTOCOL ? ADIT_EPROTO
                                                   : -EACCES,
                    0, text);
}

static void on_frame(struct session *session, struct path *path, const struct frame *frame,
                     const struct slice *message)
{
    switch (frame->type) {
    case FRAME_STREAM:
    case FRAME_STREAM_FIN:
        on_stream(session, path, frame, message);
        break;
    case FRAME_WINDOW:
        on_window(session, path, frame);
        break;
    case FRAME_RESET:
        on_reset(session, path, frame);
        break;
    case FRAME_GONE:
        on_gone(session, frame);
        break;
    case FRAME_ATTACH:
        on_attach(session, path, frame);
        break;
    case FRAME_PING:
        on_ping(session, path, frame);
        break;
    case FRAME_PONG:
        on_pong(session, path, frame);
        break;
    case FRAME_CLOSE:
        on_close(session, frame);
        break;
    default:
        if (frame->type < FRAME_IGNORABLE)
            session_protocol_error(session, "an unknown frame");
        break;
    }
}

/* Handles whole frames from the front of data; returns bytes used. */
static size_t take_frames(struct session *session, struct path *path, struct pipe *pipe,
                          const struct slice *data)
{
    size_t at = 0;

    while (!session->over && path->pipe == pipe) {
        struct frame frame;
        int used = frame_parse(data->data + at, data->len - at, &frame);

        if (used == 0)
            return at;
        if (used < 0) {
            session_protocol_error(session, "a frame that is too long");
            return data->len;
        }
        on_frame(session, path, &frame, data);
        at += (size_t)used;
    }
    return data->len;
}

/* A carrier that does not keep messages whole: joins what is left of the last with what comes, a
 * frame at a time. */
static struct slice join_partial(struct path *path, const struct slice *data)
{
    struct block *block = block_new_sized(path->partial.len + data->len);
    struct slice joined = {block, block_start(block), path->partial.len + data->len};

    memcpy(joined.data, path->partial.data, path->partial.len);
    memcpy(joined.data + path->partial.len, data->data, data->len);
    slice_drop(&path->partial);
    return joined;
}

static void on_path_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                            void *arg)
{
    struct path *path = arg;
    struct session *session = path->session;
    struct slice whole = path->partial.block ? join_partial(path, data) : slice_ref(data);
    size_t used;

    (void)from;
    path_heard(path, data->len);
    used = take_frames(session, path, pipe, &whole);
    if (!session->over && path->pipe == pipe) {
        if (path->state == PATH_SUSPECT) { /* it speaks again */
            path->state = path == session->active ? PATH_ACTIVE
                          : path->listed          ? PATH_STANDBY
                                                  : PATH_ATTACHING;
            tell_want(session);
        }
        if (used < whole.len)
            path->partial = slice_copy(whole.data + used, whole.len - used);
    }
    slice_drop(&whole);
}

/* --- Time --- */

void session_touch_tick(struct session *session)
{
    uint64_t soon = loop_now(session->loop) + session->config.suspect_us / 4;

    if (session->over || (timer_is_set(&session->tick) && session->tick.at <= soon))
        return;
    timer_set(session->loop, &session->tick, soon);
}

/* Fails opens that have waited for a path long enough; returns when to look again. */
static uint64_t check_waiting(struct session *session, uint64_t now)
{
    struct stream *stream, *next;
    bool waiting = false;

    HASH_ITER (hh, session->streams, stream, next) {
        if (!stream->ours || !stream->opening || stream->next > 0)
            continue;
        if (now - stream->opened_at >= session->config.connect_wait_us)
            stream_fail_opening(stream, ANSWER_NO_PATH);
        else
            waiting = true;
    }
    return waiting ? now + WAITING_TICK_US : UINT64_MAX;
}

static uint64_t check_keys(struct session *session, struct path *path, uint64_t now)
{
    if (!path->stale && (now - path->since >= session->config.rekey_us ||
                         path->rx_bytes + path->tx_bytes >= session->config.rekey_bytes)) {
        path->stale = true;
        choose_active(session, NULL);
    }
    return path->since + session->config.rekey_us;
}

static void on_tick(void *arg)
{
    struct session *session = arg;
    uint64_t now = loop_now(session->loop), next = UINT64_MAX, at;
    bool busy = session_busy(session);

    if (session->drain_at && now >= session->drain_at)
        rewind_all(session, true);
    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++) {
        if (!path->session)
            continue;
        at = path_check(path, busy);
        if (at < next)
            next = at;
        if (session->over)
            return;
        if (path->session && (at = check_keys(session, path, now)) > now && at < next)
            next = at;
    }
    if (session->drain_at && session->drain_at < next)
        next = session->drain_at;
    if (!session->active || !path_is_open(session, session->active)) {
        at = check_waiting(session, now);
        if (at < next)
            next = at;
    }
    if (session->pathless_since) {
        if (now - session->pathless_since >= session->config.hold_us) {
            session_is_over(session, -ETIMEDOUT, 0,
                            "no path to the peer could be made within the hold time");
            return;
        }
        at = session->pathless_since + session->config.hold_us;
        if (at < next)
            next = at;
    }
    if (session->over || next == UINT64_MAX)
        return;
    timer_set(session->loop, &session->tick, next > now ? next : now + MS_US);
}

void session_recheck(struct session *session)
{
    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++)
        if (path->session && !path->ping_at)
            path_probe(path);
    session_touch_tick(session);
}

void session_ping(struct session *session, uint64_t timeout_us, session_ping_cb *cb, void *arg)
{
    uint64_t now = loop_now(session->loop);

    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++) {
        uint8_t body[16];
        size_t len;

        if (!path->session || path->ping_cb)
            continue;
        path->ping_cb = cb;
        path->ping_cb_arg = arg;
        path->ping_cb_at = now;
        path->ping_cb_deadline = now + timeout_us;
        path->ping_cb_number = loop_random64(session->loop) & VARINT_MAX;
        len = varint_write(body, 0);
        len += varint_write(body + len, path->ping_cb_number);
        path_put(path, FRAME_PING, body, len);
        path_expects(path);
    }
    session_touch_tick(session);
}

/* --- What others ask --- */

const uint8_t *session_peer_instance(const struct session *session)
{
    return session->peer_instance;
}

const struct node_id *session_peer(const struct session *session)
{
    return &session->remote;
}

enum session_want session_wants(const struct session *session)
{
    return session->want;
}

bool session_has_path(const struct session *session)
{
    for (const struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX;
         path++)
        if (path->session)
            return true;
    return false;
}

uint32_t session_stream_count(const struct session *session)
{
    return session->ours + session->theirs;
}

bool session_is_busy(const struct session *session, uint64_t idle_us)
{
    return session->streams ||
           (session->traffic_at && loop_now(session->loop) - session->traffic_at < idle_us);
}

void session_describe(const struct session *session, struct session_info *info)
{
    uint64_t now = loop_now(session->loop);

    memset(info, 0, sizeof(*info));
    info->since_us = now - session->since;
    info->held_us = session->pathless_since ? now - session->pathless_since : 0;
    info->streams = session->ours + session->theirs;
    info->opened = session->opened;
    info->resent_bytes = session->resent_bytes;
    info->moves = session->moves;
    for (const struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX;
         path++) {
        struct path_info *to = &info->path[info->paths];

        if (!path->session)
            continue;
        info->paths++;
        to->label = path->label;
        to->kind = path->pipe->ops->kind;
        pipe_addrs(path->pipe, &to->local, NULL);
        pipe_addrs(path->pipe, NULL, &to->remote);
        to->state = path->state;
        to->rtt_us = path->srtt;
        to->since_us = now - path->since;
        to->heard_us = now - path->heard_at;
        to->rx_bytes = path->rx_bytes;
        to->tx_bytes = path->tx_bytes;
        to->rx_rate = path->rx_rate;
        to->tx_rate = path->tx_rate;
    }
}
