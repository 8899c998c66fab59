/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A session is what two nodes share above their paths: streams, credit, and the decision which path
 * carries traffic. It lives from the first wish for a stream (or the first hello) until either
 * process says SESSION_CLOSE, or no path was there for `hold`. The end of a path is never its end.
 *
 * The parts: stream.c (bytes, credit, open and end), pump.c (what goes out, in which order),
 * inbound.c (what comes in), attach.c (which path, and how streams go on over another), path.c
 * (messages and liveness of one path). Here: life, the table of time, and what others ask.
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

#define BUSY_US         (5 * SEC_US) /* after stream traffic, how long the session counts as busy */
#define STALE_KEEP_US   (5 * SEC_US) /* a path with old keys stays so long beside its successor */
#define SIGNAL_OUT_MAX  ((size_t)64 * 1024) /* control frames that wait: no signal is added */
#define WAITING_TICK_US (250 * MS_US)       /* looks at waiting opens while there is no path */

static void on_tick(void *arg);
static void on_finish(void *arg);

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
    defer_init(&session->pump, session_pump, session);
    defer_init(&session->finish, on_finish, session);
    timer_init(&session->tick, on_tick, session);
    timer_init(&session->ack, session_acknowledge, session);
    timer_set_in(loop, &session->tick, WAITING_TICK_US);
    return session;
}

/* Fails all streams, lets go of the paths (closing them after what is queued when why is 0), and
 * schedules the end. */
void session_end(struct session *session, int why, int paths_why, const char *text)
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
    session_end(session, why, 0, text);
}

void session_close(struct session *session, enum close_code code, const char *text)
{
    close_with(session, code, text, 0);
}

void session_fail(struct session *session, int why, const char *text)
{
    session_end(session, why, why, text);
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

bool session_was_busy(const struct session *session)
{
    return session->traffic_at && loop_now(session->loop) - session->traffic_at < BUSY_US;
}

void session_reconfigure(struct session *session, const struct session_config *config)
{
    uint32_t told = session->config.max_streams;

    session->config = *config;
    if (config->max_streams < told)
        session->config.max_streams = told;
    session_touch_tick(session);
}

/* --- Time --- */

void session_touch_tick(struct session *session)
{
    uint64_t soon = loop_now(session->loop) + session->config.suspect_us / 4;

    if (session->over || (timer_is_set(&session->tick) && session->tick.at <= soon))
        return;
    timer_set(session->loop, &session->tick, soon);
}

/* While no path is heard: fails opens that have waited for one so long, sent or not; returns when
 * to look again. */
static uint64_t check_waiting(struct session *session, uint64_t now, uint64_t patience_us)
{
    struct stream *stream, *next;
    bool waiting = false;

    HASH_ITER (hh, session->streams, stream, next) {
        uint64_t since = stream->opened_at;

        if (!stream->ours || !stream->opening || !stream->session)
            continue;
        if (stream->next > 0 && since < session->silent_since)
            since = session->silent_since; /* its OPEN may have been answered until then */
        if (now - since >= patience_us)
            stream_fail_opening(stream, ANSWER_NO_PATH);
        else
            waiting = true;
    }
    return waiting ? now + WAITING_TICK_US : UINT64_MAX;
}

void session_fail_waiting(struct session *session, uint64_t waited_us)
{
    if (!session->over && session->silent_since)
        check_waiting(session, loop_now(session->loop), waited_us);
}

/* A path whose keys are old asks for a fresh one, and goes when that has been carrying for a while.
 */
static uint64_t check_keys(struct session *session, struct path *path, uint64_t now)
{
    const struct path *active = session->active;

    if (!path->stale && (now - path->since >= session->config.rekey_us ||
                         path->rx_bytes + path->tx_bytes >= session->config.rekey_bytes)) {
        path->stale = true;
        session_choose_path(session, NULL);
    }
    if (!path->stale)
        return path->since + session->config.rekey_us;
    if (!active || active == path || active->stale || !active->listed)
        return UINT64_MAX;
    if (now - active->since < STALE_KEEP_US)
        return active->since + STALE_KEEP_US;
    session_path_lost(path, 0);
    return UINT64_MAX;
}

static void on_tick(void *arg)
{
    struct session *session = arg;
    uint64_t now = loop_now(session->loop), next = UINT64_MAX, at;
    bool busy = session_was_busy(session);

    if (session->drain_at && now >= session->drain_at)
        session_rewind(session, true);
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
    at = session_check_preferred(session);
    if (at < next)
        next = at;
    if (session->drain_at && session->drain_at < next)
        next = session->drain_at;
    if (session->active && session->active->state != PATH_SUSPECT &&
        session_path_is_open(session, session->active)) {
        session->silent_since = 0;
    } else {
        if (!session->silent_since)
            session->silent_since = now;
        at = check_waiting(session, now, session->config.connect_wait_us);
        if (at < next)
            next = at;
    }
    if (session->pathless_since) {
        if (now - session->pathless_since >= session->config.hold_us) {
            session_end(session, -ETIMEDOUT, 0,
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

int session_send_signal(struct session *session, const void *bytes, size_t len)
{
    if (session->over || !session->active)
        return -ENOTCONN;
    if (len == 0 || len > SESSION_SIGNAL_MAX)
        return -EMSGSIZE;
    if (session->active->out.bytes + len > SIGNAL_OUT_MAX)
        return -EAGAIN;
    path_put(session->active, FRAME_SIGNAL, bytes, len);
    return 0;
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
         path++)
        if (path->session)
            path_describe(path, &info->path[info->paths++]);
}
