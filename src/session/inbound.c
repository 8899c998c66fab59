/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What comes in: messages of a path are split into frames, and each frame is handed to the stream
 * or the part of the session that it concerns. A frame that is malformed, or that a peer which
 * follows docs/protocol.md cannot have sent, ends the session with the reason
 * (session_protocol_error()).
 *
 * Any handler may end the session or the path; take_frames() looks before each frame.
 */
#include <stdio.h>
#include <string.h>

#include "session/session_int.h"

/* The stream of a frame: found, newly opened by the peer, or NULL (gone, entombed, or an error). */
static struct stream *stream_for(struct session *session, struct path *path, uint64_t id)
{
    struct stream *stream = stream_find(session, id);
    uint64_t index = id >> 1;

    if (stream)
        return stream;
    if (session_tomb_find(session, id))
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
    if (session->theirs + session->tomb_count / 2 + (index - session->next_theirs) >=
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
    if (session_tomb_find(session, reset.id)) {
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
        session_tomb_remove(session, id);
        stream = stream_find(session, id);
        if (stream)
            stream_gone(stream);
    }
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
        if (!path->ping_stalled && path->ping_lost == loop_lost(session->loop))
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
        frame_close_text(&close, text, sizeof(text));
    else
        snprintf(text, sizeof(text), "%s",
                 close_code_text(close.code > CLOSE_LAST ? CLOSE_PROTOCOL
                                                         : (enum close_code)close.code));
    session_end(session,
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
        session_attached(session, path, frame);
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
    case FRAME_SIGNAL:
        /* Nobody of this version sends a longer one. */
        if (frame->len > 0 && frame->len <= SESSION_SIGNAL_MAX && session->events->signal)
            session->events->signal(session, frame->body, frame->len, session->arg);
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

void session_path_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
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
            session_tell_want(session);
            if (session->events->paths)
                session->events->paths(session, session->arg);
        }
        if (used < whole.len)
            path->partial = slice_copy(whole.data + used, whole.len - used);
    }
    slice_drop(&whole);
}
