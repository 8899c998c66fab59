/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Connections that this node makes for its own user: `direct` routes, and what comes back to a
 * forward. They go by no policy, and through an egress of their own, made when it is first needed:
 * its counts are not the exit's.
 *
 * A front end wants a pipe at once, the connection is up later: the front end gets one end of a
 * pair in memory; the other is linked with the connection when there is one. Whichever side ends
 * first, the request is given up and both ends go. What an application sends ahead waits in the
 * pair, which takes no more than its buffer.
 */
#include <stdlib.h>

#include "node/node_int.h"
#include "pipe/pair.h"

struct direct {
    struct pipe *near, *far; /* the front end's, and ours */
    struct egress_request *request;
    outlet_answer_cb *cb;
    void *arg;
};

static void on_near_end(struct pipe *pipe, int why, void *arg);

static const struct pipe_events near_events = {.end = on_near_end};

static void on_near_end(struct pipe *pipe, int why, void *arg)
{
    struct direct *direct = arg;

    (void)pipe;
    egress_cancel(direct->request);
    pipe_abort(direct->far, why < 0 ? why : ADIT_ECLOSED);
    free(direct);
}

static void on_answer(void *arg, enum answer answer, struct pipe *connected, const struct addr *to)
{
    struct direct *direct = arg;
    struct pipe *near = direct->near, *far = direct->far;
    outlet_answer_cb *cb = direct->cb;
    bool is_left = (near->flags & (PIPE_IS_CLOSING | PIPE_IS_OVER)) != 0;

    arg = direct->arg;
    pipe_del_listener(near, &near_events, direct);
    free(direct);
    if (connected && (is_left || pipe_link(far, connected) < 0)) {
        pipe_abort(connected, ADIT_ECLOSED);
        answer = ANSWER_FAILED;
    }
    if (!is_left)
        cb(arg, answer, to);
    if (answer != ANSWER_OK)
        pipe_abort(far, -ECONNREFUSED);
}

/* Of [exit] only what says how to look up and to connect. */
static void egress_config_own(struct egress_config *out, const struct config *config)
{
    egress_config_from(out, config);
    out->allow = out->deny = NULL;
    out->rate = 0;
    out->access_log = false;
}

struct egress *direct_egress(struct node *node)
{
    struct egress_config config;

    if (node->dialler)
        return node->dialler;
    egress_config_own(&config, node->config);
    node->dialler = egress_new(node->loop, &config);
    return node->dialler;
}

int direct_reconfigure(struct node *node)
{
    struct egress_config config;

    if (!node->dialler)
        return 0;
    egress_config_own(&config, node->config);
    return egress_reconfigure(node->dialler, &config);
}

struct pipe *direct_open(struct node *node, const struct target *target, outlet_answer_cb *cb,
                         void *arg, enum answer *why)
{
    struct egress *egress = direct_egress(node);
    struct direct *direct = egress ? malloc(sizeof(*direct)) : NULL;
    struct pipe *ends[2];

    *why = ANSWER_FAILED;
    if (!direct || pair_new(node->loop, NULL, ends) < 0) {
        free(direct);
        return NULL;
    }
    *direct = (struct direct){.near = ends[0], .far = ends[1], .cb = cb, .arg = arg};
    direct->request = egress_open_trusted(egress, target, on_answer, direct);
    if (!direct->request) {
        pipe_abort(ends[0], -ENOMEM);
        pipe_abort(ends[1], -ENOMEM);
        free(direct);
        return NULL;
    }
    pipe_pause(direct->far);
    pipe_add_listener(direct->near, &near_events, direct);
    return direct->near;
}
