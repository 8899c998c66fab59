/* SPDX-License-Identifier: MIT */
/*
 * A client of the tests: a TURN pipe, and all that it has told.
 */
#ifndef ADIT_TESTS_TURN_TOLD_H
#define ADIT_TESTS_TURN_TOLD_H

#include "pipe_recorder.h"
#include "stun/turn_pipe.h"

struct client {
    struct recorder r;
    struct addr relayed;
    struct turn_report report; /* as told last, with a trouble or the end */
    int moves, nones, troubles, granted, refused;
    struct turn_report peer_report;
};

static inline void told_moved(struct pipe *pipe, void *arg)
{
    struct client *client = arg;

    client->moves++;
    turn_pipe_relayed(pipe, 0, &client->relayed);
}

static inline void told_none(struct pipe *pipe, void *arg)
{
    (void)pipe;
    ((struct client *)arg)->nones++;
}

static inline void told_trouble(struct pipe *pipe, size_t server, const struct turn_report *report,
                                void *arg)
{
    (void)pipe;
    (void)server;
    ((struct client *)arg)->troubles++;
    ((struct client *)arg)->report = *report;
}

static inline void told_peer(struct pipe *pipe, const struct addr *peer,
                             const struct turn_report *report, void *arg)
{
    struct client *client = arg;

    (void)pipe;
    (void)peer;
    if (report->trouble == TURN_FINE)
        client->granted++;
    else
        client->refused++;
    client->peer_report = *report;
}

static inline void told_end(struct pipe *pipe, int why, void *arg)
{
    (void)why;
    ((struct client *)arg)->report = *turn_pipe_report(pipe);
}

/* Opens the client's pipe and writes down what it tells. */
static inline void client_begin(struct client *client, struct loop *loop,
                                const struct turn_settings *settings)
{
    static const struct turn_pipe_events turn_events = {
        .moved = told_moved, .none = told_none, .trouble = told_trouble, .peer = told_peer};
    static const struct pipe_events events = {.end = told_end};

    memset(client, 0, sizeof(*client));
    record(&client->r, turn_pipe_open(loop, settings));
    pipe_add_listener(client->r.pipe, &events, client);
    turn_pipe_set_events(client->r.pipe, &turn_events, client);
}

#endif
