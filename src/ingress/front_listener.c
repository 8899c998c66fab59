/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A front's listeners: opened all or none, compared with what the configuration names at a reload,
 * closed. A unix socket is made with mode 0600, replaces one that a dead process left, and is
 * removed when its listener goes (pipe/tcp.c). Closing a listener leaves its clients alone: they
 * were released when they were accepted.
 *
 * A listener that other machines can reach, with no credentials asked for, gets a warning: anybody
 * there could use the exit.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ingress/front_int.h"
#include "pipe/tcp.h"

#define UNIX_MODE 0600

static const char *remedy_for(int error)
{
    switch (-error) {
    case EADDRINUSE:
        return "another program, or another adit, listens there; stop it, or choose another "
               "address with gateway.listen";
    case EADDRNOTAVAIL:
        return "this machine has no such address; choose another with gateway.listen";
    case EACCES:
        return "this user may not listen there; ports below 1024 are root's";
    case ENOENT:
        return "the directory of the unix socket does not exist";
    case ENAMETOOLONG:
        return "the path of a unix socket has at most 107 bytes";
    default:
        return "choose another address with gateway.listen";
    }
}

static void on_accept(struct pipe *server, struct pipe *client, void *arg)
{
    struct front_listener *listener = arg;

    (void)server;
    tcp_release(client); /* a listener that goes leaves its clients */
    front_accept(listener->front, client);
}

static const struct pipe_events server_events = {.accept = on_accept};

static void listener_free(struct front_listener *listener)
{
    if (listener->server) {
        pipe_del_listener(listener->server, &server_events, listener);
        pipe_close(listener->server);
    }
    free(listener->path);
    free(listener);
}

static const char *listener_text(const struct front_listener *listener,
                                 char buf[FRONT_LISTENER_TEXT_MAX])
{
    struct addr local = listener->addr;

    if (listener->path) {
        snprintf(buf, FRONT_LISTENER_TEXT_MAX, "unix:%s", listener->path);
        return buf;
    }
    if (listener->server)
        pipe_addrs(listener->server, &local, NULL);
    return addr_format(&local, buf);
}

static int listener_new(struct front *front, const struct config_listen *at,
                        struct front_listener **out)
{
    struct front_listener *listener = calloc(1, sizeof *listener);
    char text[FRONT_LISTENER_TEXT_MAX];
    int r = -ENOMEM;

    if (!listener)
        goto out;
    listener->front = front;
    listener->addr = at->addr;
    if (at->path && !(listener->path = strdup(at->path)))
        goto out;
    if (at->path)
        listener->server = tcp_listen_unix(front->loop, at->path, UNIX_MODE, NULL);
    else
        listener->server = tcp_listen(front->loop, &at->addr, NULL);
    r = listener->server ? 0 : -errno;
    if (r < 0)
        log_error("event=listen-failed at=%s error=\"%s\" remedy=\"%s\"",
                  listener_text(listener, text), err_text(r), remedy_for(r));
    else
        pipe_add_listener(listener->server, &server_events, listener);
out:
    if (r < 0 && listener)
        listener_free(listener);
    else
        *out = listener;
    return r;
}

static struct front_listener *listener_find(struct front *front, const struct config_listen *at)
{
    struct front_listener *listener;

    TAILQ_FOREACH (listener, &front->listeners, all) {
        if (!listener->keep && !at->path && !listener->path &&
            addr_equal(&listener->addr, &at->addr))
            return listener;
        if (!listener->keep && at->path && listener->path && strcmp(listener->path, at->path) == 0)
            return listener;
    }
    return NULL;
}

int front_listen(struct front *front, const struct front_config *config)
{
    struct front_listener *listener, *next;
    TAILQ_HEAD(, front_listener) fresh = TAILQ_HEAD_INITIALIZER(fresh);
    int r = 0;

    for (size_t i = 0; i < config->listen_count && r == 0; i++) {
        listener = listener_find(front, &config->listen[i]);
        if (listener) {
            listener->keep = true;
            continue;
        }
        r = listener_new(front, &config->listen[i], &listener);
        if (r == 0)
            TAILQ_INSERT_TAIL(&fresh, listener, all);
    }
    for (listener = TAILQ_FIRST(&front->listeners); listener && r == 0; listener = next) {
        next = TAILQ_NEXT(listener, all);
        if (listener->keep)
            continue;
        TAILQ_REMOVE(&front->listeners, listener, all);
        listener_free(listener);
    }
    TAILQ_FOREACH (listener, &front->listeners, all)
        listener->keep = false;
    while ((listener = TAILQ_FIRST(&fresh))) {
        TAILQ_REMOVE(&fresh, listener, all);
        if (r < 0) {
            listener_free(listener);
            continue;
        }
        TAILQ_INSERT_TAIL(&front->listeners, listener, all);
        if (front->full)
            pipe_pause(listener->server);
    }
    return r;
}

void front_stop(struct front *front)
{
    struct front_listener *listener;

    while ((listener = TAILQ_FIRST(&front->listeners))) {
        TAILQ_REMOVE(&front->listeners, listener, all);
        listener_free(listener);
    }
}

void front_warn_open(struct front *front)
{
    struct front_listener *listener;
    char text[FRONT_LISTENER_TEXT_MAX];

    TAILQ_FOREACH (listener, &front->listeners, all) {
        struct addr addr = addr_unmap(&listener->addr);
        if (listener->path || addr_is_loopback(&addr))
            continue;
        log_warn("event=open-listener at=%s problem=\"anybody who can reach this address can use "
                 "the exit\" remedy=\"set gateway.users_file, or listen on 127.0.0.1\"",
                 listener_text(listener, text));
    }
}

size_t front_listeners(const struct front *front)
{
    const struct front_listener *listener;
    size_t count = 0;

    TAILQ_FOREACH (listener, &front->listeners, all)
        count++;
    return count;
}

const char *front_listener(const struct front *front, size_t index,
                           char buf[FRONT_LISTENER_TEXT_MAX])
{
    const struct front_listener *listener;

    TAILQ_FOREACH (listener, &front->listeners, all)
        if (index-- == 0)
            return listener_text(listener, buf);
    return NULL;
}
