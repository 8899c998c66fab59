/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A stream that a peer opened goes to its destination if we are an exit and have admitted the peer:
 * egress opens the connection, the stream is answered and the two pipes are linked; from then on
 * nothing here knows of them. While the destination is being opened a `struct serving` stands
 * between the two, so that the end of the stream gives up the request. What has to do with
 * listeners is passed on (lent.c, forward.c).
 *
 * This is the hot path of connections a second: one small allocation, no timer, no log line.
 */
#include <stdlib.h>

#include "node/forward.h"

struct serving {
    struct pipe *stream;
    struct egress_request *request;
};

static void on_stream_end(struct pipe *stream, int why, void *arg)
{
    struct serving *serving = arg;

    (void)stream;
    (void)why;
    egress_cancel(serving->request);
    free(serving);
}

static const struct pipe_events stream_events = {.end = on_stream_end};

static void on_answer(void *arg, enum answer answer, struct pipe *connected, const struct addr *to)
{
    struct serving *serving = arg;
    struct pipe *stream = serving->stream;

    pipe_del_listener(stream, &stream_events, serving);
    free(serving);
    stream_answer(stream, answer, to);
    if (answer == ANSWER_OK && pipe_link(stream, connected) < 0) {
        pipe_abort(connected, ADIT_ECLOSED);
        pipe_abort(stream, ADIT_ECLOSED);
    }
}

void serve_open(struct node_peer *peer, struct pipe *stream, const struct opening *opening)
{
    struct node *node = peer->node;
    struct serving *serving;

    if (opening->kind == OPENING_LISTEN) {
        lent_open(peer, stream, opening);
        return;
    }
    if (opening->kind == OPENING_FORWARDED) {
        forward_take(peer, stream, opening);
        return;
    }
    if (!node->egress || !peer->is_admitted || node->stopping) {
        node->streams_refused++;
        stream_answer(stream, ANSWER_NOT_EXIT, NULL);
        return;
    }
    serving = malloc(sizeof(*serving));
    if (serving) {
        serving->stream = stream;
        serving->request =
            egress_open(node->egress, &peer->id, &opening->target, on_answer, serving);
    }
    if (!serving || !serving->request) {
        free(serving);
        stream_answer(stream, ANSWER_FAILED, NULL);
        return;
    }
    node->streams_served++;
    pipe_add_listener(stream, &stream_events, serving);
}
