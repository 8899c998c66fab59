/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A server pipe, and for each client a stream that is linked with it at once: bytes follow the OPEN
 * without waiting for its answer, half-close passes through, and neither side is read faster than
 * the other takes it. When the stream is refused it ends, and takes the client with it (a reset).
 *
 * The stream is not remembered. Its answer names the client's record; that is safe because a client
 * that is over has closed its stream through the link, and a stream that its owner has closed does
 * not answer any more.
 *
 * Limit: INLET_CLIENTS_MAX connections; then accepting pauses, and others wait in the kernel's
 * backlog.
 */
#include "node/inlet.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pipe/tcp.h"

#define UNIX_MODE 0600

struct inlet_client {
    LIST_ENTRY(inlet_client) link;
    struct inlet *inlet;
    struct pipe *pipe;
};

struct inlet {
    struct node_peer *peer;
    struct opening opening;
    struct pipe *server;
    struct addr addr;
    struct inlet_stats stats;
    inlet_answer_cb *cb;
    void *arg;
    LIST_HEAD(, inlet_client) clients;
};

static void on_client_end(struct pipe *pipe, int why, void *arg);

static const struct pipe_events client_events = {.end = on_client_end};

static void client_forget(struct inlet_client *client)
{
    LIST_REMOVE(client, link);
    client->inlet->stats.clients--;
    free(client);
}

static void on_client_end(struct pipe *pipe, int why, void *arg)
{
    struct inlet_client *client = arg;
    struct inlet *inlet = client->inlet;

    (void)pipe;
    (void)why;
    client_forget(client);
    if (inlet->stats.clients == INLET_CLIENTS_MAX - 1)
        pipe_resume(inlet->server);
}

static void on_answer(void *arg, enum answer answer, const struct addr *bound)
{
    struct inlet_client *client = arg;
    struct inlet *inlet = client->inlet;

    (void)bound;
    if (answer != ANSWER_OK)
        inlet->stats.refused++;
    inlet->cb(inlet->arg, answer);
}

static void on_accept(struct pipe *server, struct pipe *pipe, void *arg)
{
    struct inlet *inlet = arg;
    struct inlet_client *client = malloc(sizeof(*client));
    struct opening opening = inlet->opening;
    enum answer why = ANSWER_FAILED;
    struct pipe *stream = NULL;

    inlet->stats.accepted++;
    if (opening.kind == OPENING_FORWARDED && pipe_addrs(pipe, NULL, &opening.from) == 0)
        opening.from = addr_unmap(&opening.from);
    if (client)
        stream = node_peer_open(inlet->peer, &opening, on_answer, client, &why);
    if (!stream || pipe_link(pipe, stream) < 0) {
        if (stream)
            pipe_abort(stream, ADIT_ECLOSED);
        pipe_abort(pipe, -ECONNABORTED);
        free(client);
        inlet->stats.refused++;
        inlet->cb(inlet->arg, why);
        return;
    }
    *client = (struct inlet_client){.inlet = inlet, .pipe = pipe};
    LIST_INSERT_HEAD(&inlet->clients, client, link);
    pipe_add_listener(pipe, &client_events, client);
    if (++inlet->stats.clients == INLET_CLIENTS_MAX)
        pipe_pause(server);
}

static const struct pipe_events server_events = {.accept = on_accept};

static struct pipe *server_open(struct loop *loop, const struct config_listen *at)
{
    if (at->path)
        return tcp_listen_unix(loop, at->path, UNIX_MODE, NULL);
    return tcp_listen(loop, &at->addr, NULL);
}

void inlet_turn(struct inlet *inlet, struct node_peer *peer, const struct opening *opening)
{
    inlet->peer = peer;
    inlet->opening = *opening;
    if (opening->kind == OPENING_FORWARDED) {
        inlet->opening.target.addr = inlet->addr;
        inlet->opening.target.port = inlet->addr.port;
    }
}

struct inlet *inlet_new(struct node_peer *peer, const struct config_listen *at,
                        const struct opening *opening, inlet_answer_cb *cb, void *arg, int *error)
{
    struct inlet *inlet = calloc(1, sizeof(*inlet));

    *error = -ENOMEM;
    if (!inlet)
        return NULL;
    inlet->server = server_open(peer->node->loop, at);
    if (!inlet->server) {
        *error = errno ? -errno : -EINVAL;
        free(inlet);
        return NULL;
    }
    if (!at->path)
        pipe_addrs(inlet->server, &inlet->addr, NULL);
    LIST_INIT(&inlet->clients);
    inlet->cb = cb;
    inlet->arg = arg;
    inlet_turn(inlet, peer, opening);
    pipe_add_listener(inlet->server, &server_events, inlet);
    return inlet;
}

void inlet_free(struct inlet *inlet)
{
    struct inlet_client *client;

    if (!inlet)
        return;
    pipe_del_listener(inlet->server, &server_events, inlet);
    while ((client = LIST_FIRST(&inlet->clients))) {
        pipe_del_listener(client->pipe, &client_events, client);
        tcp_release(client->pipe);
        pipe_abort(client->pipe, ADIT_ECLOSED);
        client_forget(client);
    }
    pipe_close(inlet->server);
    free(inlet);
}

struct addr inlet_addr(const struct inlet *inlet)
{
    return inlet->addr;
}

const struct inlet_stats *inlet_stats(const struct inlet *inlet)
{
    return &inlet->stats;
}
