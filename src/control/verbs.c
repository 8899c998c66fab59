/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Each request is looked up in a table and answered at once, but for ping. A ping is an object that
 * lives until its last round: it waits either for the node (round) or for its timer (pause), never
 * for both, and ends early when the client has gone. With until_direct it goes on until a path that
 * is not a relay has answered, as often as `count` allows (0: for ever).
 *
 * Before the node is stopped, verbs_stop() ends the pings that pause; the node answers the others
 * when it is freed, and they end with that round.
 */
#include "control/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control/forwards.h"

#define PING_COUNT_MAX    1000000
#define PING_INTERVAL_MIN 10
#define PING_TIMEOUT_MAX  600000

struct ping {
    struct ping *next, **prev;
    struct verbs *verbs;
    struct control_request *request;
    struct node_id peer;
    uint64_t interval_us, timeout_us;
    uint64_t began; /* this round */
    uint32_t count; /* rounds to go through; 0: no end */
    uint32_t sent, answered;
    bool until_direct, direct;
    bool in_round; /* the node will call */
    struct timer timer;
};

struct verbs {
    struct verbs_context context;
    struct control_forwards *forwards;
    struct ping *pings;
    unsigned ping_count;
    bool ending;
};

/* --- ping --- */

static void ping_end(struct ping *ping, const char *why)
{
    if (why != NULL)
        control_fail(ping->request, "%s", why);
    else
        control_answer(ping->request,
                       json_pack("{s:i, s:i, s:b}", "sent", (int)ping->sent, "answered",
                                 (int)ping->answered, "direct", ping->direct));
    timer_cancel(ping->verbs->context.loop, &ping->timer);
    *ping->prev = ping->next;
    if (ping->next != NULL)
        ping->next->prev = ping->prev;
    ping->verbs->ping_count--;
    free(ping);
}

static json_t *result_describe(const struct node_ping *result)
{
    struct addr remote = addr_unmap(&result->remote);
    char text[ADDR_TEXT_MAX];

    return json_pack("{s:s, s:s, s:o, s:b}", "path", result->path, "remote",
                     addr_format(&remote, text), "rtt_ms",
                     result->rtt_us != 0 ? json_real((double)result->rtt_us / 1000) : json_null(),
                     "active", result->active);
}

static void ping_round_over(void *arg, const struct node_ping *results, size_t count,
                            const char *why)
{
    struct ping *ping = arg;
    struct loop *loop = ping->verbs->context.loop;
    json_t *list = json_array();
    bool answered = false;

    ping->in_round = false;
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, result_describe(&results[i]));
        answered |= results[i].rtt_us != 0;
        ping->direct |= results[i].rtt_us != 0 && strcmp(results[i].path, "relay") != 0;
    }
    ping->answered += answered;
    control_event(ping->request, json_pack("{s:i, s:o, s:s}", "seq", (int)ping->sent, "results",
                                           list, "why", why != NULL ? why : ""));
    if (ping->verbs->ending || control_is_gone(ping->request) ||
        (ping->count != 0 && ping->sent == ping->count) || (ping->until_direct && ping->direct)) {
        ping_end(ping, NULL);
        return;
    }
    uint64_t now = loop_now(loop);
    uint64_t next = ping->began + ping->interval_us;
    timer_set(loop, &ping->timer, next > now ? next : now);
}

static void ping_round(void *arg)
{
    struct ping *ping = arg;
    const struct verbs_context *context = &ping->verbs->context;

    if (control_is_gone(ping->request)) {
        ping_end(ping, NULL);
        return;
    }
    ping->sent++;
    ping->in_round = true;
    ping->began = loop_now(context->loop);
    node_ping(context->node, &ping->peer, ping->timeout_us, ping_round_over, ping);
}

static uint32_t number_of(const json_t *args, const char *name, uint32_t fallback, uint32_t min,
                          uint32_t max)
{
    const json_t *value = json_object_get(args, name);

    if (!json_is_integer(value))
        return fallback;
    json_int_t n = json_integer_value(value);
    return n < min ? min : n > max ? max : (uint32_t)n;
}

static void handle_ping(struct verbs *verbs, struct control_request *request, const json_t *args)
{
    const char *text = json_string_value(json_object_get(args, "peer"));
    const struct state_peer *peer = NULL;
    struct node_id id;
    struct ping *ping;

    if (text == NULL)
        text = "";
    switch (state_find_peer(verbs->context.state, text, &peer)) {
    case STATE_FOUND:
        id = peer->id;
        break;
    case STATE_AMBIGUOUS:
        control_fail(request, "several peers' IDs begin with '%.60s'; give more of it", text);
        return;
    case STATE_UNKNOWN:
        if (node_find_peer(verbs->context.node, text, &id))
            break;
        control_fail(request, "no peer is known as '%.60s'; `adit peers` lists them", text);
        return;
    }
    if (verbs->ping_count == VERBS_PINGS_MAX || (ping = calloc(1, sizeof *ping)) == NULL) {
        control_fail(request, "too many pings at once");
        return;
    }
    ping->verbs = verbs;
    ping->request = request;
    ping->peer = id;
    ping->until_direct = json_is_true(json_object_get(args, "until_direct"));
    ping->count = number_of(args, "count", ping->until_direct ? 0 : 1, 0, PING_COUNT_MAX);
    ping->interval_us =
        MS_US * number_of(args, "interval_ms", 1000, PING_INTERVAL_MIN, PING_TIMEOUT_MAX);
    ping->timeout_us = MS_US * number_of(args, "timeout_ms", 5000, 1, PING_TIMEOUT_MAX);
    timer_init(&ping->timer, ping_round, ping);
    ping->next = verbs->pings;
    ping->prev = &verbs->pings;
    if (ping->next != NULL)
        ping->next->prev = &ping->next;
    verbs->pings = ping;
    verbs->ping_count++;
    ping_round(ping);
}

/* --- The others --- */

static void handle_status(struct verbs *verbs, struct control_request *request, const json_t *args)
{
    (void)args;
    json_t *status = node_status(verbs->context.node);

    if (status != NULL)
        control_answer(request, status);
    else
        control_fail(request, "out of memory");
}

/* A number that the client may leave out. False: it is none, or beyond the maximum, which was
 * told. */
static bool number_take(struct control_request *request, const json_t *args, const char *name,
                        int64_t max, int64_t *value)
{
    const json_t *given = json_object_get(args, name);

    if (given == NULL)
        return true;
    *value = json_integer_value(given);
    if (json_is_integer(given) && *value >= 0 && *value <= max)
        return true;
    control_fail(request, "\"%s\" is no number up to %lld", name, (long long)max);
    return false;
}

#define TICKET_ADDRESSES_MAX 16

static void handle_ticket(struct verbs *verbs, struct control_request *request, const json_t *args)
{
    const json_t *list = json_object_get(args, "addresses");
    const char *addresses[TICKET_ADDRESSES_MAX];
    struct node_ticket_options options = {.ttl_s = NODE_TICKET_TTL_S, .addresses = addresses};
    int64_t uses = NODE_TICKET_USES;
    char errbuf[CONTROL_ERROR_MAX] = "failed", *ticket = NULL;

    if (!number_take(request, args, "uses", STATE_USES_MAX, &uses) ||
        !number_take(request, args, "ttl", STATE_SPAN_MAX_S, &options.ttl_s) ||
        !number_take(request, args, "admit_for", STATE_SPAN_MAX_S, &options.admit_s))
        return;
    options.uses = (uint32_t)uses;
    if (json_array_size(list) > TICKET_ADDRESSES_MAX) {
        control_fail(request, "a ticket has at most %d addresses", TICKET_ADDRESSES_MAX);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        struct target target;
        if (text == NULL || target_parse(text, &target) != 0) {
            control_fail(request, "'%.60s' is not HOST:PORT", text != NULL ? text : "");
            return;
        }
        addresses[options.address_count++] = text;
    }
    if (json_is_true(json_object_get(args, "refresh")) &&
        state_enrol_clear(verbs->context.state) != 0) {
        control_fail(request, "%s: cannot be written", state_dir(verbs->context.state));
        return;
    }
    if (node_ticket(verbs->context.node, &options, &ticket, errbuf, sizeof errbuf) != 0)
        control_fail(request, "%s", errbuf);
    else
        control_answer(request, json_pack("{s:s}", "ticket", ticket));
    free(ticket);
}

static void handle_forward(struct verbs *verbs, struct control_request *request, const json_t *args)
{
    control_forwards_add(verbs->forwards, request, args);
}

static void handle_reload(struct verbs *verbs, struct control_request *request, const json_t *args)
{
    (void)args;
    char errbuf[CONTROL_ERROR_MAX] = "failed", *restart = NULL;

    if (verbs->context.reload(verbs->context.arg, &restart, errbuf, sizeof errbuf) != 0)
        control_fail(request, "%s", errbuf);
    else
        control_answer(request, json_pack("{s:s}", "restart", restart != NULL ? restart : ""));
    free(restart);
}

static void handle_peers(struct verbs *verbs, struct control_request *request, const char *verb,
                         const json_t *args)
{
    char errbuf[CONTROL_ERROR_MAX] = "failed";
    struct node_id id;
    bool changed;
    json_t *result = control_peers(verbs->context.state, verbs->context.own, verb, args, time(NULL),
                                   &changed, errbuf);

    if (changed)
        node_peers_changed(verbs->context.node);
    if (changed && (strcmp(verb, "allow") == 0 || strcmp(verb, "expire") == 0) &&
        node_id_parse(json_string_value(json_object_get(result, "id")), &id) == 0)
        node_announce(verbs->context.node, &id);
    if (result != NULL && strcmp(verb, "peers") == 0) {
        json_t *status = node_status(verbs->context.node);
        control_peers_add_live(result, status);
        json_decref(status);
    }
    if (result != NULL)
        control_answer(request, result);
    else
        control_fail(request, "%s", errbuf);
}

static const struct {
    const char *name;
    void (*handle)(struct verbs *verbs, struct control_request *request, const json_t *args);
} handlers[] = {
    {"forward", handle_forward}, {"ping", handle_ping},     {"reload", handle_reload},
    {"status", handle_status},   {"ticket", handle_ticket},
};

static void on_request(void *arg, struct control_request *request, const char *verb,
                       const json_t *args)
{
    struct verbs *verbs = arg;

    if (verbs->ending) {
        control_fail(request, "adit is stopping");
        return;
    }
    if (control_is_peer_verb(verb)) {
        handle_peers(verbs, request, verb, args);
        return;
    }
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (strcmp(verb, handlers[i].name) == 0) {
            handlers[i].handle(verbs, request, args);
            return;
        }
    }
    control_fail(request, "the running adit does not know the verb '%.60s'; it may be older", verb);
}

const struct control_ops verbs_ops = {.request = on_request};

struct verbs *verbs_new(const struct verbs_context *context)
{
    struct verbs *verbs = calloc(1, sizeof *verbs);

    if (verbs == NULL)
        return NULL;
    verbs->context = *context;
    verbs->forwards = control_forwards_new(context->node);
    if (verbs->forwards == NULL) {
        free(verbs);
        return NULL;
    }
    return verbs;
}

void verbs_stop(struct verbs *verbs)
{
    struct ping *next;

    verbs->ending = true;
    control_forwards_stop(verbs->forwards);
    for (struct ping *ping = verbs->pings; ping != NULL; ping = next) {
        next = ping->next;
        if (!ping->in_round)
            ping_end(ping, "adit is stopping");
    }
}

void verbs_free(struct verbs *verbs)
{
    if (verbs == NULL)
        return;
    verbs_stop(verbs);
    /* Of rounds that a node has not answered, there can be none once it is freed. */
    while (verbs->pings != NULL)
        ping_end(verbs->pings, "adit is stopping");
    control_forwards_free(verbs->forwards);
    free(verbs);
}
