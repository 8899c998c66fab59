/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A request that stays: its events tell what becomes of the forward, and the end of the connection,
 * or of its sending side, ends the forward. A peer that refuses the very first time is the answer
 * (an error), since whoever has just typed the command can do something about it; one that refuses
 * later, after it has listened, is an event.
 *
 * Limit: CONTROL_FORWARDS_MAX, less than the connections that the socket takes.
 */
#include "control/forwards.h"

#include <stdlib.h>
#include <sys/queue.h>

#include "config/forward.h"

struct held {
    LIST_ENTRY(held) link;
    struct control_forwards *forwards;
    struct control_request *request;
    struct forward *forward;
    bool has_listened;
};

struct control_forwards {
    struct node *node;
    size_t count;
    LIST_HEAD(, held) list;
};

/* why: NULL when nobody is left to be told. */
static void held_end(struct held *held, const char *why)
{
    struct control_request *request = held->request;

    node_forward_end(held->forward);
    LIST_REMOVE(held, link);
    held->forwards->count--;
    free(held);
    control_on_gone(request, NULL, NULL);
    if (why != NULL)
        control_fail(request, "%s", why);
    else
        control_answer(request, NULL);
}

static void on_gone(void *arg)
{
    held_end(arg, NULL);
}

static void on_change(void *arg, const struct node_forward_info *info)
{
    struct held *held = arg;
    char why[CONTROL_ERROR_MAX];

    held->has_listened |= info->listening;
    if (info->refused && !held->has_listened) {
        snprintf(why, sizeof why, "%.500s", info->problem);
        held_end(held, why);
        return;
    }
    control_event(held->request,
                  json_pack("{s:b, s:b, s:s, s:s}", "listening", info->listening, "refused",
                            info->refused, "address", info->address, "problem", info->problem));
}

static const char *text_of(const json_t *args, const char *name)
{
    const char *text = json_string_value(json_object_get(args, name));

    return text != NULL ? text : "";
}

void control_forwards_add(struct control_forwards *forwards, struct control_request *request,
                          const json_t *args)
{
    char why[CONTROL_ERROR_MAX > FORWARD_WHY_MAX ? CONTROL_ERROR_MAX : FORWARD_WHY_MAX];
    struct config_forward spec;
    struct held *held;

    if (forwards->count == CONTROL_FORWARDS_MAX) {
        control_fail(request,
                     "%d forwards are held by commands already; put some into the configuration "
                     "([forward])",
                     CONTROL_FORWARDS_MAX);
        return;
    }
    if (config_forward_set(&spec, json_is_true(json_object_get(args, "reverse")),
                           text_of(args, "listen"), text_of(args, "peer"), text_of(args, "to"),
                           why) != 0) {
        control_fail(request, "%s", why);
        return;
    }
    held = calloc(1, sizeof *held);
    if (held != NULL)
        held->forward = node_forward(forwards->node, &spec, on_change, held, why, sizeof why);
    config_forward_clear(&spec);
    if (held == NULL || held->forward == NULL) {
        control_fail(request, "%s", held != NULL ? why : "out of memory");
        free(held);
        return;
    }
    held->forwards = forwards;
    held->request = request;
    LIST_INSERT_HEAD(&forwards->list, held, link);
    forwards->count++;
    control_on_gone(request, on_gone, held);
}

struct control_forwards *control_forwards_new(struct node *node)
{
    struct control_forwards *forwards = calloc(1, sizeof *forwards);

    if (forwards != NULL) {
        forwards->node = node;
        LIST_INIT(&forwards->list);
    }
    return forwards;
}

void control_forwards_stop(struct control_forwards *forwards)
{
    while (!LIST_EMPTY(&forwards->list))
        held_end(LIST_FIRST(&forwards->list), "adit is stopping");
}

void control_forwards_free(struct control_forwards *forwards)
{
    free(forwards);
}
