/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What goes out, and in which order. The pump runs at the end of a turn (defer_soon). Control
 * frames go first, then streams in turn, TURN_BYTES each; streams that have sent little since they
 * were quiet are served before bulk (`ready_new`), a frame each. The path's pipe keeps its own
 * queue short (pipe_room()), so what is urgent is never far behind. WINDOW goes out at once when a
 * quarter of a window is due or CONFIRM_BYTES have come, else with the next thing sent, or after a
 * quarter of the round trip (ACK_MIN_US to ACK_MAX_US).
 *
 * The queue that matters may be at the other end, in front of a peer that is slower than the
 * network: so bulk waits while more is under way than the path's pipe thinks useful
 * (pipe_flight()), and what is small and new does not.
 *
 * The lists of streams that wait to send and to confirm, and the tombs of those that were reset,
 * are kept here; each stream is at most once in each list.
 */
#include <stdlib.h>

#include "session/session_int.h"

#define ACK_MIN_US  (5 * MS_US)
#define ACK_MAX_US  (25 * MS_US)
#define TURN_BYTES  ((size_t)128 * 1024) /* of a bulk stream: the other end writes them at once */
#define MOVED_BYTES ((size_t)32 * 1024)  /* of bulk, until the peer has answered a move */
#define NEW_RUN_MAX \
    16 /* frames of quiet streams in a row while bulk waits: many of them must not starve it */

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
    session->flight -= stream->flight;
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
    session->tomb_count++;
    send_reset(session, id, code);
}

struct tomb *session_tomb_find(struct session *session, uint64_t id)
{
    struct tomb *tomb;

    HASH_FIND(hh, session->tombs, &id, sizeof(id), tomb);
    return tomb;
}

void session_tomb_remove(struct session *session, uint64_t id)
{
    struct tomb *tomb = session_tomb_find(session, id);

    if (!tomb)
        return;
    HASH_DEL(session->tombs, tomb);
    session->tomb_count--;
    free(tomb);
}

/* --- Sending --- */

void session_kick(struct session *session)
{
    if (!session->over)
        defer_soon(session->loop, &session->pump);
}

void session_put_window(struct path *path, struct stream *stream)
{
    struct frame_window window = {stream->id, stream_received_offset(stream), stream->granted};
    uint8_t body[FRAME_WINDOW_ENTRY_MAX];

    path_put(path, FRAME_WINDOW, body, frame_build_window_entry(body, &window));
    stream->reported = window.received;
}

/* Tells what has been received, and the credit, of all streams that are due, urgent or not. */
static void put_windows(struct session *session, struct path *path)
{
    struct stream *stream;

    while ((stream = TAILQ_FIRST(&session->windows))) {
        window_remove(stream);
        session_put_window(path, stream);
        stream_check_done(stream);
    }
    timer_cancel(session->loop, &session->ack);
    session->unconfirmed = 0;
}

/* A path that may carry stream bytes now. */
bool session_path_is_open(const struct session *session, const struct path *path)
{
    return path && (path->listed || !session->sent_any);
}

/* The stream to be served next; NULL: none, or only bulk while enough is under way. */
static struct stream *next_stream(struct session *session, const struct path *path)
{
    struct stream *stream = TAILQ_FIRST(&session->ready_new);
    struct stream *bulk = TAILQ_FIRST(&session->ready_old);
    uint64_t most = path->answer_due ? MOVED_BYTES : pipe_flight(path->pipe);

    if (most && session->flight >= most)
        return stream;
    return bulk && (!stream || session->new_run >= NEW_RUN_MAX) ? bulk : stream;
}

/* Serves streams while there is room; bulk only while a whole frame fits, so that a turn's frames
 * leave in full segments. */
static void pump_streams(struct session *session, struct path *path, size_t room)
{
    struct stream *stream;
    bool first = true;

    while (room > 0 && session->active == path && (stream = next_stream(session, path))) {
        size_t sent, turn = 0;

        if (!stream_has_work(stream)) {
            ready_remove(stream);
            continue;
        }
        if (!first && stream->ready == READY_OLD && room < FRAME_BYTES_MAX)
            break;
        first = false;
        session->new_run = stream->ready == READY_NEW ? session->new_run + 1 : 0;
        do {
            sent = stream_send(stream, path, room);
            room = room > sent ? room - sent : 0;
            turn += sent;
        } while (sent > 0 && room >= FRAME_BYTES_MAX && turn < TURN_BYTES && stream->session &&
                 stream->ready == READY_OLD && stream_has_work(stream) && session->active == path &&
                 next_stream(session, path) == stream);
        session->traffic_at = loop_now(session->loop);
        if (!stream->session)
            continue;
        ready_remove(stream);
        stream_make_ready(stream); /* at the end of its list, if it has more */
    }
}

void session_pump(void *arg)
{
    struct session *session = arg;
    struct path *active = session->active;
    size_t room;

    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++) {
        if (path->session && path->overrun) {
            session_path_lost(path, ADIT_EFULL);
            session_kick(session);
            return;
        }
        if (!path->session || (!path->list_due && (path == active || path->out.count == 0)) ||
            pipe_room(path->pipe) == 0)
            continue;
        if (path->list_due) {
            session_send_list(session, path, 0);
            if (!path->ping_at)
                path_probe(path); /* since nothing else will answer it */
        }
        if (session->over)
            return;
        if (path != active)
            path_flush(path, false);
    }
    active = session->active;
    if (!active)
        return;
    room = pipe_room(active->pipe);
    if (room == 0)
        return; /* on_path_room() calls again */
    if (session->urgent > 0 || session->unconfirmed >= CONFIRM_BYTES ||
        (!TAILQ_EMPTY(&session->windows) &&
         (session->ready_count > 0 || !timer_is_set(&session->ack))))
        put_windows(session, active);
    if (session->ready_count > 0 && session_path_is_open(session, active))
        pump_streams(session, active, room);
    if (session->active == active)
        path_flush(active, false);
    /* The budget is spent, but the path took all of it: nobody will tell that there is room. */
    if (session->active == active && session_path_is_open(session, active) &&
        next_stream(session, active) && pipe_room(active->pipe) > 0)
        defer_next(session->loop, &session->pump);
    if (session_was_busy(session))
        session_touch_tick(session);
}

void session_acknowledge(void *arg)
{
    struct session *session = arg;

    session_kick(session); /* the pump tells what is due, now or when the path has room again */
}
