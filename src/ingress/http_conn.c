/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The HTTP conversation. A client's bytes are requests, one after the other, each perhaps to
 * another destination. One request is served at a time: its head is rewritten and sent to the
 * destination (http_stream.c), its body follows as it comes, and only when the response has been
 * passed on whole is the next request looked at. So pipelined requests are answered in order; what
 * the client sends ahead is kept (at most what one read brings, for then it is no longer read).
 * What is passed on goes by reference, without a copy; only heads are written anew.
 *
 * CONNECT opens a tunnel and is then front.c's business. A request for a path of our own
 * ("/proxy.pac") is answered here.
 *
 * A connection is used again when the client speaks HTTP/1.1, did not say close, its request was
 * received whole, and the response's end was marked; otherwise the response says "Connection:
 * close". Errors of form are answered with 400 (or what fits better) and end the connection, for
 * where the next request would begin is unknown.
 *
 * Limits: those of http.h for heads, chunk lines and trailers. Bodies are as long as they like.
 */
#include <stdlib.h>
#include <string.h>

#include "ingress/http_int.h"

#define BUFFER_MIN_BYTES 2048

/* --- Heads and bodies, piece by piece --- */

int http_buffer_feed(struct http_buffer *buffer, const uint8_t *data, size_t len, bool lenient,
                     const uint8_t **head, size_t *head_len, size_t *used)
{
    *used = len;
    if (buffer->len == 0) { /* the common case: whole, and parsed where it lies */
        buffer->scanned = 0;
        ssize_t n = http_scan(data, len, &buffer->scanned, lenient);
        if (n != 0) {
            *head = data;
            *head_len = *used = n > 0 ? (size_t)n : 0;
            return n > 0 ? 1 : (int)n;
        }
    }
    size_t had = buffer->len;
    size_t more = len < HTTP_HEAD_MAX_BYTES - had ? len : HTTP_HEAD_MAX_BYTES - had;
    if (had + more > buffer->cap) {
        size_t cap = buffer->cap ? buffer->cap : BUFFER_MIN_BYTES;
        while (cap < had + more)
            cap *= 2;
        uint8_t *grown = realloc(buffer->data, cap);
        if (!grown)
            return ADIT_EFULL;
        buffer->data = grown;
        buffer->cap = cap;
    }
    memcpy(buffer->data + had, data, more);
    buffer->len = had + more;
    ssize_t n = http_scan(buffer->data, buffer->len, &buffer->scanned, lenient);
    if (n <= 0)
        return (int)n;
    *head = buffer->data;
    *head_len = (size_t)n;
    *used = (size_t)n - had;
    return 1;
}

void http_buffer_clear(struct http_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct http_buffer){0};
}

void http_transfer_begin(struct http_transfer *transfer, enum http_body kind, uint64_t length)
{
    *transfer =
        (struct http_transfer){.kind = kind, .left = length, .done = kind == HTTP_BODY_NONE};
}

ssize_t http_transfer_take(struct http_transfer *transfer, const uint8_t *data, size_t len,
                           bool split, bool *payload)
{
    size_t run = 0;
    ssize_t n = (ssize_t)len;

    *payload = true;
    switch (transfer->kind) {
    case HTTP_BODY_NONE:
        return 0;
    case HTTP_BODY_UNTIL_CLOSE:
        return n;
    case HTTP_BODY_LENGTH:
        if (len > transfer->left)
            n = (ssize_t)transfer->left;
        transfer->left -= (uint64_t)n;
        transfer->done = transfer->left == 0;
        return n;
    case HTTP_BODY_CHUNKED:
        if (split) {
            n = http_chunked_step(&transfer->chunked, data, len, &run);
            *payload = run > 0;
        } else {
            n = http_chunked_feed(&transfer->chunked, data, len);
        }
        transfer->done = transfer->chunked.done;
        return n;
    }
    return ADIT_EFORMAT;
}

/* --- Answers of our own --- */

void http_respond(struct conn *conn, const struct http_page *page)
{
    struct http *http = conn->http;

    if (http->response_begun) { /* a page would be taken for a part of the body: only the end is
                                   honest */
        if (http->response.kind == HTTP_BODY_UNTIL_CLOSE)
            pipe_abort(conn->client, -ECONNABORTED);
        conn_close(conn);
        return;
    }
    bool close = !http->keep || !http->request.done;
    struct slice slice = http_page_build(page, close, http->to_head);
    pipe_write(conn->client, &slice);
    http->close_after = close;
    http_finished(conn);
}

/* Answers what is no request, and ends. */
static void refuse(struct conn *conn, unsigned status, const char *problem)
{
    struct http_page page;

    conn_note_malformed(conn, problem);
    conn->http->keep = false;
    http_page_problem(&page, status, problem);
    http_respond(conn, &page);
}

void http_finished(struct conn *conn)
{
    struct http *http = conn->http;

    if (http->request.done && (!http->reusable || http->close_after))
        conn_finish_stream(conn);
    slice_drop(&http->replay);
    if (http->close_after || !http->request.done) {
        conn_close(conn);
        return;
    }
    http->busy = http->response_begun = http->to_head = false;
    conn_wait(conn, &conn->front->idle);
}

void http_timeout(struct conn *conn)
{
    struct http_page page;

    if (!conn->http->busy && conn->http->request_head.len > 0) {
        conn->http->keep = false;
        http_page_problem(&page, 408, "it was not complete in time");
        http_respond(conn, &page);
        return;
    }
    conn_close(conn);
}

/* A request for ourselves: origin-form, or "*". */
static void serve_own(struct conn *conn, const struct http_head *request)
{
    struct http_page page;
    struct addr at = {0};
    bool is_get = http_text_is(request->method, "GET") || conn->http->to_head;

    pipe_addrs(conn->client, &at, NULL);
    if (http_text_is(request->target, "/proxy.pac") && is_get && addr_is_set(&at))
        http_page_pac(&page, &at);
    else
        http_page_help(&page, request->target.len > 1 ? 404 : 400, &at);
    http_respond(conn, &page);
}

/* --- Requests --- */

/* Whether the client may go on; the user's name into `user`, which points into `buffer`. */
static bool is_authorized(struct conn *conn, const struct http_head *request,
                          char buffer[HTTP_CREDENTIALS_MAX_BYTES], const char **user)
{
    char *name, *password;

    *user = NULL;
    if (!request->authorization.at ||
        http_basic_parse(request->authorization, buffer, &name, &password) < 0)
        return !conn->front->users;
    *user = name;
    return !conn->front->users ||
           users_check(conn->front->users, name, strlen(name), password, strlen(password));
}

static void serve_connect(struct conn *conn, const struct http_head *request, const char *user)
{
    struct target *target = &conn->http->target;

    if (http_authority_parse(request->target, 0, target) < 0) {
        refuse(conn, 400, "CONNECT wants HOST:PORT");
        return;
    }
    if (conn->http->request.kind != HTTP_BODY_NONE) {
        refuse(conn, 400, "CONNECT has no body");
        return;
    }
    conn_finish_stream(conn); /* of an earlier request on this connection */
    conn_open_tunnel(conn, target, user);
}

static void serve_request(struct conn *conn, const struct http_head *request, const char *user)
{
    struct http_url url;

    if (request->method.len == 7 && memcmp(request->method.at, "CONNECT", 7) == 0) {
        serve_connect(conn, request, user);
        return;
    }
    int r = http_url_parse(request->target, &url);
    if (r == -EPROTONOSUPPORT)
        refuse(conn, 501, "only http:// can be asked for like this; for https:// use CONNECT");
    else if (r < 0)
        refuse(conn, 400, "the target is no http:// URL with a host");
    else if (request->minor > 0 && !request->host.at)
        refuse(conn, 400, "HTTP/1.1 wants a Host field");
    else
        http_send_request(conn, request, &url, user);
}

static void on_request(struct conn *conn, const uint8_t *data, size_t len)
{
    struct http *http = conn->http;
    struct http_head request;
    char credentials[HTTP_CREDENTIALS_MAX_BYTES];
    const char *user;

    conn_unwait(conn);
    http->busy = true;
    http->keep = http->to_head = http->is_old = http->upgrades = false;
    http->response_begun = http->close_after = false;
    http_transfer_begin(&http->request, HTTP_BODY_NONE, 0);
    if (http_request_parse(data, len, &request) < 0) {
        refuse(conn, request.refuse, request.problem);
        return;
    }
    http->to_head = request.method.len == 4 && memcmp(request.method.at, "HEAD", 4) == 0;
    http->is_old = request.minor == 0;
    http->keep = !http->is_old && !request.close;
    http->upgrades = request.upgrades;
    http_transfer_begin(&http->request, http_request_body(&request), request.length);
    if (request.target.at[0] == '/' || http_text_is(request.target, "*")) {
        serve_own(conn, &request);
        return;
    }
    if (is_authorized(conn, &request, credentials, &user)) {
        serve_request(conn, &request, user);
    } else {
        struct http_page page;
        if (request.authorization.at)
            conn_note_denied(conn);
        http_page_credentials(&page);
        http_respond(conn, &page);
    }
    explicit_bzero(credentials, sizeof credentials);
}

/* --- The client's bytes --- */

static size_t consume_head(struct conn *conn, const uint8_t *data, size_t len)
{
    struct http *http = conn->http;
    const uint8_t *head;
    size_t head_len, used = 0;

    /* Empty lines before a request are ignored (RFC 9112 2.2). */
    if (http->request_head.len == 0)
        while (used < len && (data[used] == '\r' || data[used] == '\n'))
            used++;
    if (used == len || used > 0)
        return used;
    int r = http_buffer_feed(&http->request_head, data, len, false, &head, &head_len, &used);
    if (r == 0) {
        conn_wait(conn, &conn->front->requests);
    } else if (r == 1) {
        on_request(conn, head, head_len);
        http_buffer_clear(&http->request_head);
    } else {
        bool is_long = r == ADIT_EFULL;
        refuse(conn, is_long ? 431 : 400,
               is_long ? "its head is longer than 64 KiB"
                       : "this is neither SOCKS nor HTTP, or has control characters in it");
        used = len;
    }
    return used;
}

static size_t consume_body(struct conn *conn, const struct slice *data, size_t at)
{
    bool payload;

    ssize_t n =
        http_transfer_take(&conn->http->request, data->data + at, data->len - at, false, &payload);
    if (n < 0) {
        refuse(conn, 400, "a chunk of its body is malformed");
        return data->len - at;
    }
    struct slice part = slice_part(data, at, (size_t)n);
    conn_forward(conn, &part);
    if (conn->stream && pipe_room(conn->stream) == 0)
        conn->http->paused = true; /* by conn_forward() */
    return (size_t)n;
}

/* Uses as many bytes as can be used now. */
static size_t consume(struct conn *conn, const struct slice *data)
{
    struct http *http = conn->http;
    size_t at = 0;

    while (at < data->len) {
        if (conn->state == CONN_OPENING) {
            struct slice rest = slice_part(data, at, data->len - at);
            conn_forward(conn, &rest);
            return data->len;
        }
        if (conn->state != CONN_HTTP)
            return data->len;
        if (!http->busy)
            at += consume_head(conn, data->data + at, data->len - at);
        else if (!http->request.done)
            at += consume_body(conn, data, at);
        else
            break;
    }
    return at;
}

static void keep_pending(struct conn *conn, const struct slice *data, size_t at)
{
    struct slice rest = slice_part(data, at, data->len - at);

    slice_queue_push(&conn->http->pending, &rest);
    conn->http->paused = true;
    pipe_pause(conn->client);
}

void http_client_message(struct conn *conn, const struct slice *data)
{
    size_t used = 0;

    if (conn->http->pending.count == 0)
        used = consume(conn, data);
    if (used < data->len)
        keep_pending(conn, data, used);
}

/* The client's direction has ended and all that it sent has been used. */
static void all_consumed(struct conn *conn)
{
    struct http *http = conn->http;

    if (conn->state == CONN_OPENING)
        pipe_shutdown(conn->stream);
    else if (conn->state == CONN_HTTP && (!http->busy || !http->request.done))
        conn_close(conn); /* nothing more can come of it, or its request was cut off */
    /* else the response is still owed, and ends the connection */
}

void http_pump(struct conn *conn)
{
    struct http *http = conn->http;
    struct slice *first;

    while ((first = slice_queue_first(&http->pending))) {
        size_t len = first->len, used = consume(conn, first);
        slice_queue_drop(&http->pending, used);
        if (used < len)
            return;
    }
    if (conn->state != CONN_HTTP && conn->state != CONN_OPENING)
        return;
    if (http->paused && !(conn->stream && pipe_room(conn->stream) == 0)) {
        http->paused = false;
        pipe_resume(conn->client);
    }
    if (conn->client->flags & PIPE_GOT_EOF)
        all_consumed(conn);
}

void http_client_eof(struct conn *conn)
{
    if (conn->http->pending.count == 0)
        all_consumed(conn);
}

void http_client_room(struct conn *conn)
{
    if (conn->http->stream_paused && conn->stream && pipe_room(conn->client) > 0) {
        conn->http->stream_paused = false;
        pipe_resume(conn->stream);
    }
}

void http_tunnel_reply(struct conn *conn, enum answer answer)
{
    static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    struct http_page page;

    if (answer == ANSWER_OK) {
        pipe_write_copy(conn->client, established, sizeof established - 1);
        return;
    }
    http_page_answer(&page, answer, &conn->http->target,
                     conn_note_failed(conn, answer, &conn->http->target));
    struct slice slice = http_page_build(&page, true, false);
    pipe_write(conn->client, &slice);
}

/* --- Life --- */

bool http_is_idle(const struct conn *conn)
{
    return conn->http && !conn->http->busy;
}

int http_new(struct conn *conn)
{
    struct http *http = calloc(1, sizeof *http);

    if (!http)
        return -ENOMEM;
    defer_init(&http->link, http_link, conn);
    conn->http = http;
    return 0;
}

void http_free(struct conn *conn)
{
    struct http *http = conn->http;

    defer_cancel(conn->front->loop, &http->link);
    http_buffer_clear(&http->request_head);
    http_buffer_clear(&http->response_head);
    slice_queue_clear(&http->pending);
    slice_drop(&http->replay);
    free(http->user);
    free(http);
    conn->http = NULL;
}
