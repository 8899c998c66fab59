/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A listening unix socket and up to CONTROL_CLIENTS_MAX connections, each with one request in work
 * at most. Lines that come meanwhile wait in its input, which is not read on beyond
 * CONTROL_REQUEST_MAX_BYTES. A client that sends no more still gets its answers; that it is gone is
 * seen when writing to it fails. When there are as many as may be, a new one takes the place of the
 * one that has been idle for longest, so that forgotten connections never lock `adit status' out;
 * where none is idle, it is told so and closed.
 *
 * A request is an object of its own. It and its connection know each other; whichever ends first
 * clears the other's pointer. So the one who works on a request can answer it at any time, also
 * when the client or the whole server is gone.
 *
 * Only the user who runs adit, and root, may connect: by the socket's mode, and by asking the
 * kernel who they are. A socket file that nobody answers is left over from a process that was
 * killed, and is replaced.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "control/control.h"
#include "control/socket.h"

#define ACCEPT_REST_MS 100

struct client {
    struct client *next, **prev;
    struct control_server *server;
    struct bufferevent *bev;
    struct control_request *request; /* in work; NULL: none */
    struct defer step;               /* looks for the next line */
    uint64_t active;                 /* when it came, or its last request was answered */
    bool eof;                        /* it sends no more, but may wait for answers */
    bool closing;                    /* after what is written */
    bool dropped;                    /* at once: it does not read */
};

struct control_request {
    struct client *client;   /* NULL: gone */
    json_t *id;              /* as the client gave it; may be NULL */
    void (*gone)(void *arg); /* NULL: nobody asks */
    void *gone_arg;
};

struct control_server {
    struct loop *loop;
    const struct control_ops *ops;
    void *arg;
    char *path;
    dev_t device; /* of our socket file, so that only it is removed */
    ino_t inode;
    struct evconnlistener *listener;
    struct timer rest; /* of the listener, when a connection could not be taken */
    struct client *clients;
    unsigned client_count;
};

static void request_gone(struct control_request *request)
{
    void (*gone)(void *arg) = request->gone;

    request->gone = NULL;
    if (gone != NULL)
        gone(request->gone_arg);
}

static void client_free(struct client *client)
{
    struct control_request *request = client->request;

    if (request != NULL) {
        client->request = NULL;
        request->client = NULL;
        request_gone(request);
    }
    defer_cancel(client->server->loop, &client->step);
    *client->prev = client->next;
    if (client->next != NULL)
        client->next->prev = client->prev;
    client->server->client_count--;
    bufferevent_free(client->bev);
    free(client);
}

static void line_send(struct client *client, json_t *line)
{
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;

    json_decref(line);
    if (text == NULL)
        return;
    struct evbuffer *out = bufferevent_get_output(client->bev);
    if (client->dropped) {
        /* too late */
    } else if (evbuffer_get_length(out) < CONTROL_OUTPUT_MAX_BYTES) {
        evbuffer_add(out, text, strlen(text));
        evbuffer_add(out, "\n", 1);
    } else {
        client->dropped = true;
        defer_soon(client->server->loop, &client->step);
    }
    free(text);
}

/* {"id": ..., NAME: value}; value's reference is taken. */
static json_t *line_new(const struct control_request *request, const char *name, json_t *value)
{
    json_t *line = json_object();

    if (request->id != NULL)
        json_object_set(line, "id", request->id);
    json_object_set_new(line, name, value != NULL ? value : json_object());
    return line;
}

static void request_end(struct control_request *request)
{
    if (request->client != NULL) {
        request->client->request = NULL;
        request->client->active = loop_now(request->client->server->loop);
        defer_soon(request->client->server->loop, &request->client->step);
    }
    json_decref(request->id);
    free(request);
}

void control_answer(struct control_request *request, json_t *result)
{
    if (request->client != NULL) {
        json_t *line = line_new(request, "result", result);
        json_object_set_new(line, "ok", json_true());
        line_send(request->client, line);
    } else {
        json_decref(result);
    }
    request_end(request);
}

void control_fail(struct control_request *request, const char *format, ...)
{
    char text[CONTROL_ERROR_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (request->client != NULL) {
        json_t *error = json_string(text);
        json_t *line = line_new(request, "error", error != NULL ? error : json_string("failed"));
        json_object_set_new(line, "ok", json_false());
        line_send(request->client, line);
    }
    request_end(request);
}

void control_event(struct control_request *request, json_t *event)
{
    if (request->client != NULL)
        line_send(request->client, line_new(request, "event", event));
    else
        json_decref(event);
}

bool control_is_gone(const struct control_request *request)
{
    return request->client == NULL;
}

void control_on_gone(struct control_request *request, void (*gone)(void *arg), void *arg)
{
    request->gone = gone;
    request->gone_arg = arg;
}

static void request_begin(struct client *client, const char *text, size_t len)
{
    json_error_t error;
    json_t *line = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
    struct control_request *request = calloc(1, sizeof *request);

    if (request == NULL) {
        json_decref(line);
        client->closing = true;
        return;
    }
    request->client = client;
    client->request = request;
    if (line == NULL) {
        control_fail(request, "not a JSON object: %.100s", error.text);
        return;
    }
    request->id = json_incref(json_object_get(line, "id"));
    const char *verb = json_string_value(json_object_get(line, "verb"));
    json_t *args = json_object_get(line, "args");
    json_t *none = json_object();
    if (verb == NULL)
        control_fail(request, "a request has a \"verb\"");
    else if (args != NULL && !json_is_object(args))
        control_fail(request, "\"args\" is not an object");
    else
        client->server->ops->request(client->server->arg, request, verb,
                                     args != NULL ? args : none);
    json_decref(none);
    json_decref(line);
}

/* Takes the next line when there is nothing in work; ends a client that has to be. */
static void client_step(void *arg)
{
    struct client *client = arg;
    struct evbuffer *in = bufferevent_get_input(client->bev);

    if (client->request == NULL && !client->closing && !client->dropped) {
        size_t len;
        char *text = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);
        if (text != NULL) {
            if (!client->eof)
                bufferevent_enable(client->bev, EV_READ);
            request_begin(client, text, len);
            free(text);
            return; /* the answer, whenever it comes, leads here again */
        }
        if (evbuffer_get_length(in) >= CONTROL_REQUEST_MAX_BYTES || client->eof)
            client->closing = true;
    }
    if (client->dropped ||
        (client->closing && evbuffer_get_length(bufferevent_get_output(client->bev)) == 0))
        client_free(client);
}

static void on_ready(struct bufferevent *bev, void *arg)
{
    struct client *client = arg;

    /* Not by a high watermark: libevent calls back without end while that is exceeded. */
    if (evbuffer_get_length(bufferevent_get_input(bev)) >= CONTROL_REQUEST_MAX_BYTES)
        bufferevent_disable(bev, EV_READ);
    defer_soon(client->server->loop, &client->step);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    struct client *client = arg;

    if (what & BEV_EVENT_ERROR) {
        client_free(client);
    } else if (what & BEV_EVENT_EOF) {
        client->eof = true;
        on_ready(bev, client);
        if (client->request != NULL)
            request_gone(client->request);
    }
}

static bool may_connect(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}

/* False: all are busy. */
static bool room_make(struct control_server *server)
{
    struct client *idlest = NULL;

    if (server->client_count < CONTROL_CLIENTS_MAX)
        return true;
    for (struct client *client = server->clients; client != NULL; client = client->next)
        if (client->request == NULL &&
            evbuffer_get_length(bufferevent_get_output(client->bev)) == 0 &&
            (idlest == NULL || client->active < idlest->active))
            idlest = client;
    if (idlest != NULL)
        client_free(idlest);
    return idlest != NULL;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa,
                      int sa_len, void *arg)
{
    struct control_server *server = arg;
    struct client *client = NULL;

    (void)listener, (void)sa, (void)sa_len;
    if (!may_connect(fd))
        goto fail;
    if (!room_make(server)) {
        static const char busy[] =
            "{\"ok\":false,\"error\":\"too many commands wait for this adit; end some\"}\n";
        if (write(fd, busy, sizeof busy - 1) < 0)
            log_debug("event=control-busy");
        goto fail;
    }
    if ((client = calloc(1, sizeof *client)) == NULL)
        goto fail;
    client->bev = bufferevent_socket_new(loop_base(server->loop), fd, BEV_OPT_CLOSE_ON_FREE);
    if (client->bev == NULL)
        goto fail;
    client->server = server;
    client->active = loop_now(server->loop);
    client->next = server->clients;
    client->prev = &server->clients;
    if (client->next != NULL)
        client->next->prev = &client->next;
    server->clients = client;
    server->client_count++;
    defer_init(&client->step, client_step, client);
    bufferevent_setcb(client->bev, on_ready, on_ready, on_event, client);
    bufferevent_enable(client->bev, EV_READ | EV_WRITE);
    return;
fail:
    free(client);
    evutil_closesocket(fd);
}

/* Out of descriptors or memory. The connection waits in the kernel, and without a rest we would be
 * called for it without end. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct control_server *server = arg;

    evconnlistener_disable(listener);
    timer_set_in(server->loop, &server->rest, ACCEPT_REST_MS * MS_US);
}

static void on_rested(void *arg)
{
    struct control_server *server = arg;

    evconnlistener_enable(server->listener);
}

/* Removes a socket file that nobody listens on. 0, or ADIT_EBUSY when somebody does. */
static int leftover_remove(const char *path)
{
    struct stat st;
    int error = 0;

    if (lstat(path, &st) != 0)
        return 0;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    struct control_client *client = control_client_open(path, &error);
    if (client != NULL) {
        control_client_close(client);
        return ADIT_EBUSY;
    }
    return unlink(path) == 0 || errno == ENOENT ? 0 : -errno;
}

static void parent_make(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (slash == NULL || slash == path || (size_t)(slash - path) >= sizeof parent)
        return;
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    mkdir(parent, 0700); /* bind() tells what is wrong, if anything is */
}

/* A listening socket, or a negative errno. */
static int socket_bind(const char *path)
{
    struct socket_name name;
    int rc = socket_name_open(path, &name);

    if (rc != 0)
        return rc;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        rc = -errno;
        goto out;
    }
    mode_t mask = umask(0177);
    rc = bind(fd, (struct sockaddr *)&name.sun, name.len) == 0 ? 0 : -errno;
    umask(mask);
    if (rc == 0 && listen(fd, CONTROL_CLIENTS_MAX) != 0)
        rc = -errno;
    if (rc != 0)
        close(fd);
out:
    socket_name_close(&name);
    return rc != 0 ? rc : fd;
}

struct control_server *control_server_new(struct loop *loop, const char *path,
                                          const struct control_ops *ops, void *arg, char *errbuf,
                                          size_t errlen)
{
    struct control_server *server = calloc(1, sizeof *server);
    struct stat st;
    int fd = -1, rc = -ENOMEM;

    if (server == NULL || (server->path = strdup(path)) == NULL)
        goto fail;
    server->loop = loop;
    server->ops = ops;
    server->arg = arg;
    parent_make(path);
    rc = leftover_remove(path);
    if (rc == 0) {
        fd = socket_bind(path);
        rc = fd < 0 ? fd : 0;
    }
    if (rc == 0 && lstat(path, &st) != 0)
        rc = -errno;
    if (rc != 0)
        goto fail;
    server->device = st.st_dev;
    server->inode = st.st_ino;
    server->listener = evconnlistener_new(loop_base(loop), on_accept, server,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (server->listener != NULL) {
        timer_init(&server->rest, on_rested, server);
        evconnlistener_set_error_cb(server->listener, on_accept_error);
        return server;
    }
    rc = -ENOMEM;
    unlink(path);
fail:
    snprintf(errbuf, errlen, "control socket %s: %s; choose another with -o node.control=PATH",
             path, rc == ADIT_EBUSY ? "another adit answers there" : err_text(rc));
    if (fd >= 0)
        close(fd);
    if (server != NULL)
        free(server->path);
    free(server);
    return NULL;
}

void control_server_free(struct control_server *server)
{
    struct stat st;

    if (server == NULL)
        return;
    while (server->clients != NULL) {
        struct client *client = server->clients;
        /* Last words, as far as the socket takes them at once. */
        struct evbuffer *out = bufferevent_get_output(client->bev);
        if (evbuffer_get_length(out) > 0)
            evbuffer_write(out, bufferevent_getfd(client->bev));
        client_free(client);
    }
    timer_cancel(server->loop, &server->rest);
    evconnlistener_free(server->listener);
    if (lstat(server->path, &st) == 0 && st.st_dev == server->device && st.st_ino == server->inode)
        unlink(server->path);
    free(server->path);
    free(server);
}
