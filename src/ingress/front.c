/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A front owns listeners (front_listener.c) and clients (struct conn). A client's first byte says
 * what it speaks: 4 or 5 is SOCKS (socks_conn.c), anything else HTTP (http_conn.c); exactly one
 * byte is looked at, for a SOCKS5 greeting may be three bytes long. Both end up in one of two ways:
 * a tunnel is opened and linked to the client, or, for plain HTTP, http_conn.c goes on passing
 * messages.
 *
 * Tunnels: the stream is opened as soon as the request is whole, and what the client sent behind
 * the request is written to it at once. Success is told only when the exit has connected. Then
 * client and stream are linked, all state of the handshake is freed, and only the client's end is
 * listened to. Until then the client's half-close is passed on, and its end aborts the stream.
 *
 * A conn lives exactly as long as its client pipe: it is freed in the pipe's `end`, which comes
 * from the loop, so no function here has to fear that its conn vanishes below it. front_free() ends
 * them all at once.
 *
 * Limits: max_clients; at the maximum the listeners are paused, and connections wait in their
 * backlog until a sixteenth is free again. A client that has not made a complete request within the
 * request timeout is closed.
 */
#include "ingress/front.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ingress/front_int.h"
#include "pipe/options.h"

#define IDLE_US       (120 * SEC_US) /* an HTTP client between two requests */
#define FAILED_LOG_US (600 * SEC_US) /* the same reason is told again */
#define REPEAT_LOG_US (10 * SEC_US)  /* between two warnings of a kind */

/* --- Waiting --- */

void conn_wait(struct conn *conn, struct conn_queue *queue)
{
    if (conn->queue == queue)
        return;
    conn_unwait(conn);
    conn->queue = queue;
    conn->deadline = loop_now(queue->front->loop) + queue->delay_us;
    TAILQ_INSERT_TAIL(&queue->list, conn, waiting);
    if (!timer_is_set(&queue->timer))
        timer_set(queue->front->loop, &queue->timer, conn->deadline);
}

/* The timer stays as it is: it finds out when it fires, which is cheaper than moving it for each
 * client. */
void conn_unwait(struct conn *conn)
{
    if (!conn->queue)
        return;
    TAILQ_REMOVE(&conn->queue->list, conn, waiting);
    conn->queue = NULL;
}

static void on_queue_timer(void *arg)
{
    struct conn_queue *queue = arg;
    struct conn *conn;

    while ((conn = TAILQ_FIRST(&queue->list)) && conn->deadline <= loop_now(queue->front->loop)) {
        conn_unwait(conn);
        queue->front->stats.timeouts += queue == &queue->front->requests;
        if (conn->state == CONN_HTTP)
            http_timeout(conn);
        else
            conn_close(conn);
    }
    if (conn)
        timer_set(queue->front->loop, &queue->timer, conn->deadline);
}

static void queue_init(struct conn_queue *queue, struct front *front, uint64_t delay_us)
{
    TAILQ_INIT(&queue->list);
    timer_init(&queue->timer, on_queue_timer, queue);
    queue->delay_us = delay_us;
    queue->front = front;
}

/* --- Streams --- */

struct pipe *conn_open_stream(struct conn *conn, const struct target *target, const char *user,
                              const struct pipe_events *events, outlet_answer_cb *cb,
                              enum answer *why)
{
    struct outlet *outlet = conn->front->outlet;

    conn->front->stats.requests++;
    *why = ANSWER_FAILED;
    conn->stream = outlet->open(outlet, target, user ? user : "", cb, conn, why);
    if (!conn->stream)
        return NULL;
    conn->stream_events = events;
    pipe_add_listener(conn->stream, events, conn);
    return conn->stream;
}

void conn_forget_stream(struct conn *conn)
{
    if (!conn->stream)
        return;
    pipe_del_listener(conn->stream, conn->stream_events, conn);
    conn->stream = NULL;
}

void conn_finish_stream(struct conn *conn)
{
    struct pipe *stream = conn->stream;

    conn_forget_stream(conn);
    if (stream)
        pipe_close(stream);
}

void conn_abort_stream(struct conn *conn)
{
    struct pipe *stream = conn->stream;

    conn_forget_stream(conn);
    if (stream)
        pipe_abort(stream, -ECONNABORTED);
}

/* --- Tunnels --- */

static void tunnel_reply(struct conn *conn, enum answer answer, const struct addr *bound)
{
    if (conn->speaks == SPEAKS_HTTP)
        http_tunnel_reply(conn, answer);
    else
        socks_reply(conn, answer, bound);
}

static void tunnel_failed(struct conn *conn, enum answer answer)
{
    if (conn->speaks != SPEAKS_HTTP) /* which notes it itself */
        conn_note_failed(conn, answer, NULL);
    conn_forget_stream(conn); /* it ends by itself */
    tunnel_reply(conn, answer, NULL);
    conn_close(conn);
}

static void on_tunnel_answer(void *arg, enum answer answer, const struct addr *bound)
{
    struct conn *conn = arg;

    if (answer != ANSWER_OK) {
        tunnel_failed(conn, answer);
        return;
    }
    tunnel_reply(conn, ANSWER_OK, bound);
    conn_link(conn);
}

/* An end before the answer. */
static void on_tunnel_end(struct pipe *stream, int why, void *arg)
{
    (void)stream;
    (void)why;
    tunnel_failed(arg, ANSWER_FAILED);
}

static const struct pipe_events tunnel_events = {.end = on_tunnel_end};

void conn_open_tunnel(struct conn *conn, const struct target *target, const char *user)
{
    enum answer why;

    conn->state = CONN_OPENING;
    conn_unwait(conn);
    if (!conn_open_stream(conn, target, user, &tunnel_events, on_tunnel_answer, &why))
        tunnel_failed(conn, why);
}

void conn_forward(struct conn *conn, struct slice *data)
{
    if (!conn->stream) {
        slice_drop(data);
        return;
    }
    pipe_write(conn->stream, data);
    if (pipe_room(conn->stream) == 0)
        pipe_pause(conn->client);
}

/* --- Clients --- */

static void on_client_message(struct pipe *client, const struct slice *data,
                              const struct addr *from, void *arg);
static void on_client_eof(struct pipe *client, void *arg);
static void on_client_room(struct pipe *client, void *arg);
static void on_client_end(struct pipe *client, int why, void *arg);

static const struct pipe_events client_events = {
    .message = on_client_message,
    .eof = on_client_eof,
    .room = on_client_room,
    .end = on_client_end,
};
static const struct pipe_events linked_events = {.end = on_client_end};

/* What is needed only until client and stream are linked. */
static void free_handshake(struct conn *conn)
{
    conn_unwait(conn);
    socks_free(conn);
    if (conn->http)
        http_free(conn);
}

void conn_link(struct conn *conn)
{
    struct pipe *stream = conn->stream;

    conn_forget_stream(conn);
    pipe_del_listener(conn->client, &client_events, conn);
    pipe_add_listener(conn->client, &linked_events, conn);
    free_handshake(conn);
    conn->state = CONN_LINKED;
    if (pipe_link(conn->client, stream) < 0) { /* one of them is over, and its end not told yet */
        pipe_abort(stream, -ECONNABORTED);
        pipe_abort(conn->client, -ECONNABORTED);
    }
}

/* A stream that HTTP has kept for another request is closed in good order; any other is aborted. */
static void give_up_stream(struct conn *conn)
{
    if (conn->state == CONN_HTTP && http_is_idle(conn))
        conn_finish_stream(conn);
    else
        conn_abort_stream(conn);
}

void conn_close(struct conn *conn)
{
    conn_unwait(conn);
    give_up_stream(conn);
    conn->state = CONN_CLOSING;
    pipe_close(conn->client);
}

void conn_note_malformed(struct conn *conn, const char *problem)
{
    conn->front->stats.malformed++;
    log_debug("event=malformed-request speaks=%s problem=\"%s\"",
              conn->speaks == SPEAKS_HTTP ? "http" : "socks", problem);
}

void conn_note_denied(struct conn *conn)
{
    struct front *front = conn->front;
    uint64_t now = loop_now(front->loop);
    char buf[ADDR_TEXT_MAX] = "unix";
    struct addr remote;

    front->stats.denied++;
    if (front->denied_logged && now < front->denied_logged + REPEAT_LOG_US)
        return;
    front->denied_logged = now;
    if (pipe_addrs(conn->client, NULL, &remote) == 0 && addr_is_set(&remote))
        addr_format_ip(&remote, buf);
    log_warn("event=credentials-refused from=%s total=%llu remedy=\"see gateway.users_file\"", buf,
             (unsigned long long)front->stats.denied);
}

const char *conn_note_failed(struct conn *conn, enum answer answer, const struct target *target)
{
    struct front *front = conn->front;
    uint64_t now = loop_now(front->loop), hash;
    const char *why;

    front->stats.failed++;
    if ((answer != ANSWER_NO_PATH && answer != ANSWER_NOT_EXIT && answer != ANSWER_PEER_LOST) ||
        !front->outlet->why)
        return NULL;
    why = front->outlet->why(front->outlet, target);
    if (!why || !why[0])
        return NULL;
    hash = log_text_hash(why);
    if (!front->failed_hash || now >= front->failed_logged + FAILED_LOG_US ||
        (hash != front->failed_hash && now >= front->failed_logged + SEC_US)) {
        front->failed_hash = hash;
        front->failed_logged = now;
        log_warn("event=requests-fail total=%llu why=\"%s\"",
                 (unsigned long long)front->stats.failed, why);
    }
    return why;
}

static void on_client_message(struct pipe *client, const struct slice *data,
                              const struct addr *from, void *arg)
{
    struct conn *conn = arg;
    size_t used = 0;

    (void)client;
    (void)from;
    if (conn->state == CONN_NEW) {
        bool is_socks = data->data[0] == 4 || data->data[0] == 5;
        conn->speaks = !is_socks ? SPEAKS_HTTP : data->data[0] == 4 ? SPEAKS_SOCKS4 : SPEAKS_SOCKS5;
        conn->state = !is_socks            ? CONN_HTTP
                      : data->data[0] == 4 ? CONN_SOCKS_REQUEST
                                           : CONN_SOCKS_GREETING;
        if (!is_socks && http_new(conn) < 0) {
            conn_close(conn);
            return;
        }
    }
    if (conn->http) {
        http_client_message(conn, data);
        return;
    }
    if (conn_is_in_socks(conn))
        used = socks_feed(conn, data->data, data->len);
    if (conn->state == CONN_OPENING && used < data->len) {
        struct slice rest = slice_part(data, used, data->len - used);
        conn_forward(conn, &rest);
    }
}

static void on_client_eof(struct pipe *client, void *arg)
{
    struct conn *conn = arg;

    (void)client;
    switch ((enum conn_state)conn->state) {
    case CONN_NEW:
    case CONN_SOCKS_GREETING:
    case CONN_SOCKS_AUTH:
    case CONN_SOCKS_REQUEST:
        conn_close(conn); /* no request can come any more */
        return;
    case CONN_HTTP:
        http_client_eof(conn);
        return;
    case CONN_OPENING:
        if (conn->stream)
            pipe_shutdown(conn->stream);
        return;
    case CONN_LINKED:
    case CONN_CLOSING:
        return;
    }
}

static void on_client_room(struct pipe *client, void *arg)
{
    struct conn *conn = arg;

    (void)client;
    if (conn->state == CONN_HTTP)
        http_client_room(conn);
}

static void conn_free(struct conn *conn)
{
    give_up_stream(conn);
    free_handshake(conn);
    TAILQ_REMOVE(&conn->front->conns, conn, all);
    conn->front->stats.clients--;
    free(conn);
}

static void set_paused(struct front *front, bool paused)
{
    struct front_listener *listener;

    front->full = paused;
    TAILQ_FOREACH (listener, &front->listeners, all)
        if (paused)
            pipe_pause(listener->server);
        else
            pipe_resume(listener->server);
    uint64_t now = loop_now(front->loop);
    if (!paused || (front->full_logged && now < front->full_logged + REPEAT_LOG_US))
        return;
    front->full_logged = now;
    log_warn("event=clients-full clients=%u remedy=\"close some, or raise gateway.max_clients or "
             "the limit of open files (ulimit -n)\"",
             front->stats.clients);
}

static void on_client_end(struct pipe *client, int why, void *arg)
{
    struct conn *conn = arg;
    struct front *front = conn->front;

    (void)client;
    (void)why;
    conn_free(conn);
    if (front->full && front->stats.clients <= front->max_clients - (front->max_clients + 15) / 16)
        set_paused(front, false);
}

void front_accept(struct front *front, struct pipe *client)
{
    struct conn *conn = calloc(1, sizeof *conn);

    if (!conn) {
        pipe_abort(client, -ENOMEM);
        return;
    }
    conn->front = front;
    conn->client = client;
    TAILQ_INSERT_TAIL(&front->conns, conn, all);
    front->stats.clients++;
    front->stats.accepted++;
    pipe_add_listener(client, &client_events, conn);
    conn_wait(conn, &front->requests);
    if (!front->full && front->stats.clients >= front->max_clients)
        set_paused(front, true);
}

/* --- Fronts --- */

static int load_users(const char *path, struct users **users)
{
    char error[512];

    *users = NULL;
    if (!path || !path[0])
        return 0;
    int r = users_load(path, users, error, sizeof error);
    if (r < 0)
        log_error("event=users-file-refused error=\"%s\"", error);
    return r;
}

static void front_set(struct front *front, const struct front_config *config, struct users *users)
{
    users_free(front->users);
    front->users = users;
    front->via = config->via;
    front->max_clients = config->max_clients ? config->max_clients : FRONT_CLIENTS_DEFAULT;
    /* Clients are not to keep the path to the exit from being made again. */
    uint32_t most = pipe_descriptors_max(PIPE_SPARE_DESCRIPTORS);
    if (front->max_clients > most)
        front->max_clients = most;
    front->requests.delay_us =
        config->request_timeout_us ? config->request_timeout_us : FRONT_REQUEST_TIMEOUT_US;
    if (!users)
        front_warn_open(front);
    bool full = front->stats.clients >= front->max_clients;
    if (full != front->full)
        set_paused(front, full);
}

struct front *front_new(struct loop *loop, const struct front_config *config, struct outlet *outlet,
                        int *error)
{
    struct front *front = calloc(1, sizeof *front);
    struct users *users = NULL;
    int r = -ENOMEM;

    if (!front)
        goto out;
    front->loop = loop;
    front->outlet = outlet;
    TAILQ_INIT(&front->listeners);
    TAILQ_INIT(&front->conns);
    queue_init(&front->requests, front, FRONT_REQUEST_TIMEOUT_US);
    queue_init(&front->idle, front, IDLE_US);
    r = load_users(config->users_file, &users);
    if (r == 0)
        r = front_listen(front, config);
    if (r == 0)
        front_set(front, config, users);
out:
    if (r < 0) {
        users_free(users);
        free(front);
        front = NULL;
    }
    if (error)
        *error = r;
    return front;
}

int front_reload(struct front *front, const struct front_config *config)
{
    struct users *users;

    int r = load_users(config->users_file, &users);
    if (r == 0)
        r = front_listen(front, config);
    if (r < 0) {
        users_free(users);
        return r;
    }
    front_set(front, config, users);
    return 0;
}

void front_free(struct front *front)
{
    struct conn *conn;

    if (!front)
        return;
    front_stop(front);
    while ((conn = TAILQ_FIRST(&front->conns))) {
        struct pipe *client = conn->client;
        pipe_del_listener(client, conn->state == CONN_LINKED ? &linked_events : &client_events,
                          conn);
        conn_free(conn);
        pipe_abort(client, ADIT_ECLOSED); /* and with it the stream it is linked to */
    }
    timer_cancel(front->loop, &front->requests.timer);
    timer_cancel(front->loop, &front->idle.timer);
    users_free(front->users);
    free(front);
}

const struct front_stats *front_stats(const struct front *front)
{
    return &front->stats;
}
