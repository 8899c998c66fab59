/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Which path carries the session. Over a new path, both sides send the list of all their streams
 * (ATTACH begin, WINDOW frames, RESET frames, ATTACH end): what each has received, how far the
 * other may send, and what was reset. When the peer's list is whole, each resends from the first
 * byte the other lacks. A listed stream that the other side no longer knows is answered with GONE.
 * Every stream ever opened is listed or reset until the peer has confirmed its end, so an ID below
 * the watermark without state means "over". A path carries stream bytes once it is listed (at once
 * in a session that has sent none yet).
 *
 * One path is active: the best listed one that is not suspect. Whoever moves says so with its list
 * (ATTACH move), and the other follows and answers with its own: the first to suspect a path moves
 * both directions, and what was told over the old one is told again. Bytes that a dead or suspect
 * path has not confirmed are sent again at once, little of them until the peer's list says what it
 * lacks (`answer_due`): a cold path would be busy for long with what it has. After a move away from
 * a healthy path, those not confirmed within two of its round trips (`mark`, `drain_at`).
 *
 * Which of two healthy paths is better the owner says by their ranks (session_review_paths()); the
 * peer may rank them otherwise. A path that one side makes beside a better one is told to be a
 * reserve (ATTACH reserve), and the other side, to which they may be equal, leaves it alone while
 * the better one works. A move says with the same flag that it was not preference that made the
 * sender move, but a path that fell silent: after such a move, its own or the peer's, a side goes
 * back to the path that it prefers once that has been heard for PREFER_US, and when it does so
 * again within PREFER_MEMORY_US after twice as long. A move by preference is not undone, so two
 * sides that prefer different paths settle.
 */
#include <string.h>

#include "base/log.h"
#include "session/session_int.h"

#define DRAIN_MIN_US     (50 * MS_US)
#define PREFER_US        (3 * SEC_US)
#define PREFER_MAX_US    (600 * SEC_US)
#define PREFER_MEMORY_US (1200 * SEC_US)
#define PREFER_LOOK_US   (500 * MS_US)
#define UNHEARD_US                                                                \
    (250 * MS_US) /* a fresh path takes over from one that was silent for so long \
                   */

static const struct pipe_events path_events;

void path_drop(struct path *path, int why)
{
    struct pipe *pipe = path->pipe;
    struct path was = *path;
    struct addr remote = {0};

    path_clear(path);
    pipe_del_listener(pipe, &path_events, path);
    if (was.ping_cb)
        pipe_addrs(pipe, NULL, &remote);
    if (why)
        pipe_abort(pipe, why);
    else
        pipe_close(pipe);
    if (was.ping_cb)
        was.ping_cb(was.ping_cb_arg, was.label, &remote, 0);
}

static void put_attach(struct path *path, uint64_t flags)
{
    uint8_t body[8];

    path_put(path, FRAME_ATTACH, body, varint_write(body, flags));
}

/* Sends the whole list: what is received and granted of every stream, and the resets not yet
 * confirmed. */
void session_send_list(struct session *session, struct path *path, uint64_t flags)
{
    struct stream *stream, *next_stream;
    struct tomb *tomb, *next_tomb;

    path->list_due = false;
    put_attach(path, ATTACH_BEGIN | flags);
    HASH_ITER (hh, session->streams, stream, next_stream) {
        session_put_window(path, stream);
        stream_check_done(stream);
    }
    HASH_ITER (hh, session->tombs, tomb, next_tomb)
        path_put_ids(path, FRAME_RESET, tomb->id, tomb->code, 2);
    put_attach(path, ATTACH_END | flags);
    path_expects(path);
}

void session_rewind(struct session *session, bool marked_only)
{
    struct stream *stream, *next;

    session->drain_at = 0;
    HASH_ITER (hh, session->streams, stream, next) {
        if (marked_only && stream->mark <= stream->acked + stream->fin_acked)
            stream->mark = 0;
        else
            stream_rewind(stream, marked_only ? stream->mark : UINT64_MAX);
    }
}

static void paths_changed(struct session *session)
{
    if (session->events->paths && !session->over)
        session->events->paths(session, session->arg);
}

static void mark_all(struct session *session, const struct path *old)
{
    struct stream *stream, *next;
    uint64_t wait = 2 * old->srtt;

    HASH_ITER (hh, session->streams, stream, next)
        stream->mark = stream->next + stream->fin_sent;
    session->drain_at = loop_now(session->loop) + (wait > DRAIN_MIN_US ? wait : DRAIN_MIN_US);
    session_touch_tick(session);
}

void session_tell_want(struct session *session)
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

/* Better by its rank than every other: that is why it carries traffic. */
static bool is_preferred(const struct session *session, const struct path *path)
{
    bool any = false;

    for (const struct path *other = session->paths; other < session->paths + SESSION_PATHS_MAX;
         other++) {
        if (!other->session || !other->listed || other == path)
            continue;
        any = true;
        if (other->rank <= path->rank)
            return false;
    }
    return any;
}

static void log_move(const struct path *from, const struct path *to)
{
    char old_text[ADDR_TEXT_MAX], new_text[ADDR_TEXT_MAX];
    struct addr old_addr = {0}, new_addr = {0};

    pipe_addrs(from->pipe, &old_addr, NULL);
    pipe_addrs(to->pipe, &new_addr, NULL);
    old_addr = addr_unmap(&old_addr);
    new_addr = addr_unmap(&new_addr);
    log_info("event=path-moved from=%s to=%s old=%s new=%s", from->label, to->label,
             addr_format_ip(&old_addr, old_text), addr_format_ip(&new_addr, new_text));
}

/* Makes a path the active one. lost: what went over the old one does not arrive, says the peer. */
static void move_to(struct session *session, struct path *path, bool tell, bool lost)
{
    struct path *old = session->active;
    bool old_good = false; /* what went over the old one may still arrive */

    if (old == path)
        return;
    if (old) {
        old_good = !lost && old->listed && old->state != PATH_SUSPECT &&
                   loop_now(session->loop) - old->heard_at <= UNHEARD_US;
        session->moves++;
        log_move(old, path);
        if (old->state == PATH_ACTIVE)
            old->state = PATH_STANDBY;
    }
    session->active = path;
    session->moved_at = loop_now(session->loop);
    session->forced = true; /* unless the peer says that it prefers this path */
    path->reserve = false;
    path->state = path->state == PATH_ATTACHING ? PATH_ATTACHING : PATH_ACTIVE;
    if (tell) {
        session_send_list(session, path,
                          ATTACH_MOVE | (is_preferred(session, path) ? 0 : ATTACH_RESERVE) |
                              (old_good ? 0 : ATTACH_LOST));
        path->answer_due = !old_good;
    }
    if (old_good)
        mark_all(session, old);
    else if (path->listed)
        session_rewind(session, false);
    session_touch_tick(session);
    session_kick(session);
    paths_changed(session);
}

static bool path_is_better(const struct path *a, const struct path *b)
{
    if (!b)
        return true;
    if ((a->state == PATH_SUSPECT) != (b->state == PATH_SUSPECT))
        return b->state == PATH_SUSPECT;
    if (a->stale != b->stale)
        return b->stale;
    if (a->rank != b->rank)
        return a->rank < b->rank;
    return !a->reserve && b->reserve;
}

/* Picks the active path anew. fresh: a path just listed, which wins over an equal one that has gone
 * silent. */
void session_choose_path(struct session *session, struct path *fresh)
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
        fresh->rank <= best->rank && !fresh->reserve)
        best = fresh;
    if (best && best != session->active)
        move_to(session, best, true, false);
    session_tell_want(session);
}

uint64_t session_check_preferred(struct session *session)
{
    struct path *active = session->active, *better = NULL;
    uint64_t now = loop_now(session->loop), wait = session->prefer_wait;

    if (!active || !session->forced)
        return UINT64_MAX;
    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++)
        if (path->session && path->state == PATH_STANDBY && path_is_better(path, active))
            better = path;
    if (!better)
        return UINT64_MAX;
    if (!wait || now - session->preferred_at > PREFER_MEMORY_US)
        wait = PREFER_US;
    if (now < session->moved_at + wait)
        return session->moved_at + wait;
    if (better->heard_at <= session->moved_at) {
        if (!better->ping_at)
            path_probe(better);
        return now + PREFER_LOOK_US;
    }
    session->preferred_at = now;
    session->prefer_wait = 2 * wait < PREFER_MAX_US ? 2 * wait : PREFER_MAX_US;
    session_choose_path(session, NULL);
    return UINT64_MAX;
}

void session_review_paths(struct session *session, session_review_cb *review, void *arg)
{
    for (struct path *path = session->paths; path < session->paths + SESSION_PATHS_MAX; path++) {
        struct path_info info;
        int rank;

        if (!path->session || session->over)
            continue;
        path_describe(path, &info);
        rank = review(arg, &info);
        if (rank >= 0)
            path->rank = rank;
        else if (rank == SESSION_RANK_SPENT)
            path->stale = true;
        else if (path->state != PATH_SUSPECT)
            session_path_suspect(path);
    }
    if (session->active && !session->over)
        session_choose_path(session, NULL);
    session_touch_tick(session);
}

static void on_path_room(struct pipe *pipe, void *arg);
static void on_path_end(struct pipe *pipe, int why, void *arg);
static void on_path_eof(struct pipe *pipe, void *arg);

static const struct pipe_events path_events = {
    .message = session_path_message,
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
    struct path *path, *active;
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
    active = session->active;
    session_send_list(
        session, path,
        active && active->state != PATH_SUSPECT && active->rank < rank ? ATTACH_RESERVE : 0);
    path_probe(path);
    if (!session->active)
        move_to(session, path, false, false);
    session_tell_want(session);
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
    path->suspect_at = loop_now(session->loop);
    path->ping_stalled = true;
    session_choose_path(session, NULL);
    paths_changed(session);
}

void session_path_lost(struct path *path, int why)
{
    struct session *session = path->session;

    log_info("event=path-lost path=%s reason=\"%s\"", path->label,
             why ? err_text(why) : "replaced by a fresh one");
    if (session->active == path)
        session->active = NULL;
    path_drop(path, why);
    if (session->over)
        return;
    if (!session->active)
        session_choose_path(session, NULL);
    if (!session_has_path(session))
        session->pathless_since = loop_now(session->loop);
    session_tell_want(session);
    session_touch_tick(session);
    paths_changed(session);
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

void session_attached(struct session *session, struct path *path, const struct frame *frame)
{
    struct frame_attach attach;

    if (frame_parse_attach(frame, &attach) < 0) {
        session_protocol_error(session, "a malformed ATTACH frame");
        return;
    }
    if (!(attach.flags & ATTACH_END))
        return;
    path->answer_due = false;
    path->reserve = attach.flags & ATTACH_RESERVE && !(attach.flags & ATTACH_MOVE);
    if (!path->listed) {
        path->listed = true;
        if (path->state == PATH_ATTACHING)
            path->state = path == session->active ? PATH_ACTIVE : PATH_STANDBY;
        log_info("event=path-attached path=%s", path->label);
        if (path == session->active && !path->carried)
            session_rewind(session, false);
    }
    if (attach.flags & ATTACH_MOVE) {
        /* What the peer sent over the path that it left may be lost: its list repeats what it still
         * knows, and ours makes it say GONE to the rest. The pump sends it, so that many such
         * frames get one list. The peer has chosen: to go back by our own preference would start
         * a quarrel. */
        for (struct path *other = session->paths; other < session->paths + SESSION_PATHS_MAX;
             other++)
            other->reserve = other->session && other != path;
        move_to(session, path, false, attach.flags & ATTACH_LOST);
        session->forced = attach.flags & ATTACH_RESERVE;
        path->list_due = true;
        session_tell_want(session);
    } else {
        session_choose_path(session, path);
    }
    session_kick(session);
    paths_changed(session);
}
