/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The destination's side of plain HTTP proxying: a stream carries the rewritten request, as early
 * data, and brings the response, whose framing is followed so that its end is known. Interim
 * responses (1xx) are passed on; 101 after a request to upgrade turns the connection into a tunnel.
 *
 * A stream is kept after a response that allows it, for the next request to the same destination by
 * the same user. Because the destination may close it at that very moment, only requests that may
 * be repeated (safe methods, no body) go on a kept stream; if it ends before one byte of response,
 * they are sent again on a new one (RFC 9112 9.3.1).
 *
 * What the destination does wrong becomes 502, or, when the response has begun, an early end of the
 * client's connection.
 */
#include <stdlib.h>
#include <string.h>

#include "ingress/http_int.h"
#include "ingress/http_rewrite.h"

static void on_stream_message(struct pipe *stream, const struct slice *data,
                              const struct addr *from, void *arg);
static void on_stream_eof(struct pipe *stream, void *arg);
static void on_stream_room(struct pipe *stream, void *arg);
static void on_stream_end(struct pipe *stream, int why, void *arg);

static const struct pipe_events stream_events = {
    .message = on_stream_message,
    .eof = on_stream_eof,
    .room = on_stream_room,
    .end = on_stream_end,
};

/* --- Requests --- */

static void respond_answer(struct conn *conn, enum answer answer)
{
    struct http_page page;

    conn->http->reusable = false;
    http_page_answer(&page, answer, &conn->http->target,
                     conn_note_failed(conn, answer, &conn->http->target));
    http_respond(conn, &page);
}

static void respond_upstream(struct conn *conn, const char *error, const char *problem)
{
    struct http_page page;

    conn->http->reusable = false;
    conn_abort_stream(conn);
    http_page_upstream(&page, error, problem);
    http_respond(conn, &page);
}

static void on_answer(void *arg, enum answer answer, const struct addr *bound)
{
    struct conn *conn = arg;

    (void)bound;
    if (answer == ANSWER_OK)
        return;
    conn_forget_stream(conn); /* it ends by itself */
    respond_answer(conn, answer);
    http_pump(conn);
}

static void send_on_new_stream(struct conn *conn, struct slice *head)
{
    struct http *http = conn->http;
    enum answer why;

    http->reused = http->stream_paused = false;
    if (!conn_open_stream(conn, &http->target, http->user, &stream_events, on_answer, &why)) {
        slice_drop(head);
        respond_answer(conn, why);
        return;
    }
    pipe_write(conn->stream, head);
}

static bool is_same_place(const struct http *http, const struct http_url *url, const char *user)
{
    return http->target.port == url->target.port &&
           strcasecmp(http->target.name, url->target.name) == 0 &&
           addr_equal(&http->target.addr, &url->target.addr) &&
           strcmp(http->user ? http->user : "", user ? user : "") == 0;
}

/* Safe methods without a body may be sent twice (RFC 9110 9.2.2). */
static bool is_repeatable(const struct http *http, const struct http_head *request)
{
    return http->request.done && !http->upgrades &&
           (http->to_head || http_text_is(request->method, "GET") ||
            http_text_is(request->method, "OPTIONS"));
}

void http_send_request(struct conn *conn, const struct http_head *request,
                       const struct http_url *url, const char *user)
{
    struct http *http = conn->http;
    struct slice head = http_request_rewrite(request, url, conn->front->via);

    http->reused = conn->stream && is_same_place(http, url, user) && is_repeatable(http, request);
    http->reusable = false;
    http_buffer_clear(&http->response_head);
    if (http->reused) {
        http->replay = slice_ref(&head);
        pipe_write(conn->stream, &head);
        return;
    }
    conn_finish_stream(conn);
    http->target = url->target;
    free(http->user);
    http->user = user && user[0] ? strdup(user) : NULL;
    send_on_new_stream(conn, &head);
}

/* --- Responses --- */

static void pass_to_client(struct conn *conn, struct slice *data)
{
    pipe_write(conn->client, data);
    if (pipe_room(conn->client) == 0 && conn->stream) {
        conn->http->stream_paused = true;
        pipe_pause(conn->stream);
    }
}

/* 101: from now on a tunnel. Linked later, for we are inside a callback of the stream's. */
static void begin_tunnel(struct conn *conn)
{
    slice_drop(&conn->http->replay);
    conn->state = CONN_OPENING;
    http_pump(conn);
    defer_soon(conn->front->loop, &conn->http->link);
}

void http_link(void *arg)
{
    struct conn *conn = arg;

    if (conn->state == CONN_OPENING && conn->stream)
        conn_link(conn);
}

/* The final response's head: how its body ends, and whether the connections go on after it. */
static void begin_response(struct conn *conn, const struct http_head *response,
                           struct http_response_options *options)
{
    struct http *http = conn->http;
    enum http_body kind = http_response_body(response, http->to_head);

    options->unchunk = http->is_old && kind == HTTP_BODY_CHUNKED;
    options->close =
        !http->keep || !http->request.done || options->unchunk || kind == HTTP_BODY_UNTIL_CLOSE;
    http->response_begun = true;
    http->close_after = options->close;
    http->reusable = response->minor > 0 && !response->close && http->request.done &&
                     kind != HTTP_BODY_UNTIL_CLOSE;
    http_transfer_begin(&http->response, kind, response->length);
}

static void on_response(struct conn *conn, const uint8_t *data, size_t len)
{
    struct http *http = conn->http;
    struct http_head response;
    struct http_response_options options = {.via = conn->front->via};

    slice_drop(&http->replay);
    if (http_response_parse(data, len, &response) < 0) {
        respond_upstream(conn, "http_protocol_error", response.problem);
        return;
    }
    bool is_switch = response.status == 101;
    if (is_switch && (!http->upgrades || !response.upgrade.at)) {
        respond_upstream(conn, "http_upgrade_failed", "it changes to a protocol nobody asked for");
        return;
    }
    bool is_interim = response.status < 200 && !is_switch;
    if (is_interim && http->is_old)
        return;
    if (!is_interim && !is_switch)
        begin_response(conn, &response, &options);
    struct slice head = http_response_rewrite(&response, &options);
    pass_to_client(conn, &head);
    if (is_switch)
        begin_tunnel(conn);
}

/* Bytes of a head; returns those used. */
static size_t take_head(struct conn *conn, const uint8_t *data, size_t len)
{
    struct http *http = conn->http;
    const uint8_t *head;
    size_t head_len, used;

    int r = http_buffer_feed(&http->response_head, data, len, true, &head, &head_len, &used);
    if (r < 0) {
        respond_upstream(conn, "http_protocol_error",
                         r == ADIT_EFULL ? "its head is longer than 64 KiB" : "it is not HTTP");
        return len;
    }
    if (r == 1) {
        on_response(conn, head, head_len);
        http_buffer_clear(&http->response_head);
    }
    return used;
}

static size_t take_body(struct conn *conn, const struct slice *data, size_t at)
{
    struct http *http = conn->http;
    bool unchunk = http->is_old, payload;

    ssize_t n =
        http_transfer_take(&http->response, data->data + at, data->len - at, unchunk, &payload);
    if (n < 0) {
        respond_upstream(conn, "http_protocol_error", "a chunk is malformed");
        return data->len - at;
    }
    if (n > 0 && (payload || !unchunk)) {
        struct slice part = slice_part(data, at, (size_t)n);
        pass_to_client(conn, &part);
    }
    return (size_t)n;
}

/* Whether the response just became whole; if so, goes on to the next request. */
static bool check_done(struct conn *conn, bool is_more)
{
    struct http *http = conn->http;

    if (conn->state != CONN_HTTP || !http->busy || !http->response_begun || !http->response.done)
        return false;
    if (is_more) /* bytes nobody asked for: that stream cannot be trusted with another request */
        http->reusable = false;
    http_finished(conn);
    return true;
}

static void on_stream_message(struct pipe *stream, const struct slice *data,
                              const struct addr *from, void *arg)
{
    struct conn *conn = arg;
    struct http *http = conn->http;
    size_t at = 0;

    (void)from;
    if (conn->state == CONN_HTTP && !http->busy) { /* nothing was asked for */
        conn_abort_stream(conn);
        return;
    }
    /* Each step may end the stream's part in this conn; what is left is then nobody's. */
    while (at < data->len && conn->stream == stream) {
        if (conn->state == CONN_OPENING) {
            struct slice rest = slice_part(data, at, data->len - at);
            pass_to_client(conn, &rest);
            return;
        }
        if (!http->response_begun)
            at += take_head(conn, data->data + at, data->len - at);
        else
            at += take_body(conn, data, at);
        if (check_done(conn, at < data->len))
            break;
    }
    if (conn->state == CONN_HTTP && !http->busy)
        http_pump(conn);
}

/* --- The stream's end --- */

/* Nothing more comes from the stream: what that means for the request being served. */
static void stream_ended(struct conn *conn, bool in_order)
{
    struct http *http = conn->http;

    http->reusable = false;
    if (conn->state != CONN_HTTP || !http->busy) {
        conn_finish_stream(conn);
        if (conn->state == CONN_OPENING) /* just before it would have been linked */
            conn_close(conn);
        return;
    }
    if (http->reused && http->replay.block && http->response_head.len == 0) {
        struct slice head = http->replay;
        http->replay = (struct slice){0};
        conn_finish_stream(conn);
        send_on_new_stream(conn, &head);
    } else if (!http->response_begun) {
        respond_upstream(conn, "http_response_incomplete", "it ended before it began");
    } else if (http->response.kind == HTTP_BODY_UNTIL_CLOSE && in_order) {
        http_finished(conn);
    } else {
        respond_upstream(conn, "http_response_incomplete", "it ended early");
    }
    if (conn->state == CONN_HTTP && !http->busy)
        http_pump(conn);
}

static void on_stream_eof(struct pipe *stream, void *arg)
{
    struct conn *conn = arg;

    (void)stream;
    if (conn->state == CONN_OPENING)
        return; /* linking passes it on */
    stream_ended(conn, true);
}

static void on_stream_end(struct pipe *stream, int why, void *arg)
{
    struct conn *conn = arg;

    (void)stream;
    (void)why;
    conn_forget_stream(conn);
    stream_ended(conn, false);
}

static void on_stream_room(struct pipe *stream, void *arg)
{
    struct conn *conn = arg;

    (void)stream;
    if (conn->http->paused && conn->state == CONN_HTTP)
        http_pump(conn);
}
