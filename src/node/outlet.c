/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The front ends' way out: a stream in the session with the peer that the routes say (route.c), or
 * with the gateway's exit; or no stream at all (direct.c). The stream's own callback has the
 * outlet's form, so nothing stands between the front end and the stream.
 *
 * Without a path the stream waits in the session (path.connect_wait) and the scheduler is made to
 * hurry. When the exit has refused us just now, waiting is no use: the stream is refused at once,
 * and the next try goes on in the background.
 */
#include <stdio.h>

#include "node/node_int.h"

struct pipe *node_peer_open(struct node_peer *peer, const struct opening *opening,
                            stream_answer_cb *cb, void *arg, enum answer *why)
{
    struct session *session;
    struct pipe *stream;

    *why = ANSWER_NO_PATH;
    if (peer->node->stopping || !(session = node_peer_session(peer)))
        return NULL;
    if (session_wants(session) == SESSION_WANTS_NOTHING)
        return stream_open_as(session, opening, cb, arg, why);
    if (node_peer_is_refused(peer) && !session_has_path(session)) {
        *why = ANSWER_NOT_EXIT;
        return NULL;
    }
    stream = stream_open_as(session, opening, cb, arg, why);
    node_peer_update(peer);
    return stream;
}

static struct pipe *outlet_open(struct outlet *outlet, const struct target *target,
                                const char *user, outlet_answer_cb *cb, void *arg, enum answer *why)
{
    struct node *node = (struct node *)((char *)outlet - offsetof(struct node, outlet));
    struct route *route = routes_find(node, target);
    struct node_peer *peer = route ? route->peer : node->exit;
    const struct opening opening = {.kind = OPENING_CONNECT, .target = *target};

    (void)user;
    if (route)
        route->streams++;
    if (route && route->way == ROUTE_BLOCK) {
        *why = ANSWER_BLOCKED;
        return NULL;
    }
    if (route && route->way == ROUTE_DIRECT && !node->stopping)
        return direct_open(node, target, cb, arg, why);
    *why = ANSWER_NO_PATH;
    return peer ? node_peer_open(peer, &opening, cb, arg, why) : NULL;
}

static const char *outlet_why(struct outlet *outlet, const struct target *target)
{
    struct node *node = (struct node *)((char *)outlet - offsetof(struct node, outlet));
    const struct route *route = target ? routes_find(node, target) : NULL;
    struct node_peer *peer = route ? route->peer : node->exit, *next;
    const char *text = peer ? node_peer_trouble(peer) : NULL;
    char copy[TROUBLE_TEXT_MAX];

    if (!target && !text)
        HASH_ITER (hh, node->peers, peer, next) /* of several exits that have trouble, any */
            if (peer->is_exit && (text = node_peer_trouble(peer)))
                break;
    if (!text)
        return NULL;
    snprintf(copy, sizeof(copy), "%s", text); /* it may be in the same place */
    snprintf(node->why, sizeof(node->why), "the exit `%s': %s", peer->label, copy);
    return node->why;
}

void outlet_init(struct node *node)
{
    node->outlet.why = outlet_why;
    node->outlet.open = outlet_open;
}
