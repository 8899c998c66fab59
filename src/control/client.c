/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The other end of the control socket, for programs that ask one thing and wait for it: blocking,
 * with a limit on silence. Lines are collected in one growing buffer, up to
 * CONTROL_RESPONSE_MAX_BYTES.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/control.h"
#include "control/socket.h"

struct control_client {
    int fd;
    char *buf;
    size_t len, cap;
    size_t taken; /* bytes of buf that the line last returned took */
};

struct control_client *control_client_open(const char *path, int *error)
{
    struct socket_name name;
    struct control_client *client = calloc(1, sizeof *client);
    int rc = client != NULL ? socket_name_open(path, &name) : -ENOMEM;

    if (rc != 0)
        goto fail;
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&name.sun, name.len) != 0)
        rc = -errno;
    socket_name_close(&name);
    if (rc == 0)
        return client;
    if (client->fd >= 0)
        close(client->fd);
fail:
    free(client);
    *error = rc;
    return NULL;
}

void control_client_close(struct control_client *client)
{
    if (client == NULL)
        return;
    close(client->fd);
    free(client->buf);
    free(client);
}

static int request_send(struct control_client *client, const char *verb, json_t *args)
{
    json_t *line = json_object();
    int rc = 0;

    json_object_set_new(line, "verb", json_string(verb));
    if (args != NULL)
        json_object_set_new(line, "args", args);
    char *text = json_dumps(line, JSON_COMPACT);
    json_decref(line);
    if (text == NULL)
        return -ENOMEM;
    size_t len = strlen(text);
    text[len] = '\n'; /* in the NUL's place: sent by length */
    for (size_t sent = 0; sent <= len && rc == 0;) {
        ssize_t n = send(client->fd, text + sent, len + 1 - sent, MSG_NOSIGNAL);
        if (n >= 0)
            sent += (size_t)n;
        else if (errno != EINTR)
            rc = -errno;
    }
    free(text);
    return rc;
}

/* Waits for more bytes. 0 or a negative error. */
static int fill(struct control_client *client, int timeout_ms)
{
    struct pollfd pfd = {.fd = client->fd, .events = POLLIN};

    if (client->cap - client->len < 4096) {
        size_t cap = client->cap * 2 + 65536;
        if (cap > CONTROL_RESPONSE_MAX_BYTES * 2)
            return -EMSGSIZE;
        char *buf = realloc(client->buf, cap);
        if (buf == NULL)
            return -ENOMEM;
        client->buf = buf;
        client->cap = cap;
    }
    int ready = poll(&pfd, 1, timeout_ms);
    if (ready == 0)
        return -ETIMEDOUT;
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    ssize_t n = recv(client->fd, client->buf + client->len, client->cap - client->len, 0);
    if (n > 0) {
        client->len += (size_t)n;
        return 0;
    }
    if (n < 0 && errno == EINTR)
        return 0;
    return n == 0 ? ADIT_ECLOSED : -errno;
}

/* The next line, parsed (a new reference). NULL: *rc. */
static json_t *line_receive(struct control_client *client, int timeout_ms, int *rc)
{
    size_t searched = 0;

    if (client->taken > 0) {
        client->len -= client->taken;
        memmove(client->buf, client->buf + client->taken, client->len);
        client->taken = 0;
    }
    for (;;) {
        char *newline = client->len > searched
                            ? memchr(client->buf + searched, '\n', client->len - searched)
                            : NULL;
        if (newline != NULL) {
            size_t len = (size_t)(newline - client->buf);
            client->taken = len + 1;
            json_t *line = json_loadb(client->buf, len, 0, NULL);
            *rc = line != NULL ? 0 : ADIT_EPROTO;
            return line;
        }
        searched = client->len;
        if ((*rc = fill(client, timeout_ms)) != 0)
            return NULL;
    }
}

static int explain(int rc, char *errbuf)
{
    if (rc == -ETIMEDOUT)
        snprintf(errbuf, CONTROL_ERROR_MAX, "the running adit does not answer");
    else if (rc == ADIT_ECLOSED || rc == -EPIPE || rc == -ECONNRESET)
        snprintf(errbuf, CONTROL_ERROR_MAX,
                 "the running adit has ended, or dropped the connection");
    else
        snprintf(errbuf, CONTROL_ERROR_MAX, "control socket: %s", err_text(rc));
    return rc;
}

int control_call(struct control_client *client, const char *verb, json_t *args,
                 control_event_fn *event, void *arg, uint32_t timeout_ms, json_t **result,
                 char errbuf[CONTROL_ERROR_MAX])
{
    json_t *line;
    int rc = request_send(client, verb, args);

    if (result != NULL)
        *result = NULL;
    while (rc == 0) {
        line = line_receive(client, timeout_ms != 0 ? (int)timeout_ms : -1, &rc);
        if (line == NULL)
            break;
        json_t *something = json_object_get(line, "event");
        if (something == NULL)
            goto answered;
        if (event != NULL)
            event(arg, something);
        json_decref(line);
    }
    return explain(rc, errbuf);

answered:
    if (json_is_true(json_object_get(line, "ok"))) {
        if (result != NULL)
            *result = json_incref(json_object_get(line, "result"));
    } else {
        const char *text = json_string_value(json_object_get(line, "error"));
        snprintf(errbuf, CONTROL_ERROR_MAX, "%s", text != NULL ? text : "failed");
        rc = -EREMOTEIO;
    }
    json_decref(line);
    return rc;
}
