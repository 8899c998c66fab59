/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Forwards of this node's user: those of the configuration, and those that somebody holds open
 * (`adit forward', by the control socket or alone). Each uses its peer, as the gateway uses its
 * exit: there is a session, and a path is kept.
 *
 *     local     an inlet here; each connection is a stream that the peer connects to HOST:PORT,
 *               under its policy
 *     reverse   a stream asks the peer to listen, and is the listener's life; what comes there
 *               comes back as streams, which we connect to HOST:PORT, by no policy
 *
 * A reverse forward asks when the session has a path, and again when the listener has ended: at
 * once when a path comes up, or RETRY_MIN_US later; after a refusal the pause doubles, up to
 * RETRY_MAX_US, for what was refused may be allowed later. A port 0 is asked for once: from then on
 * it is the port that was got, as long as it can be had.
 *
 * A stream is taken for a reverse forward if it comes from its peer and names its listener. The
 * stream that brings the ANSWER and the first connection's stream may overtake each other, so a
 * listener that was asked for by port counts too.
 *
 * The end of a forward is the end of its connections.
 *
 * Limits: FORWARDS_MAX; INLET_CLIENTS_MAX connections each, here as at the listener.
 */
#include "node/forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "config/forward.h"
#include "node/inlet.h"

#define FORWARDS_MAX (2 * CONFIG_LIST_MAX + 64)
#define RETRY_MIN_US SEC_US
#define RETRY_MAX_US (60 * SEC_US)

struct forward {
    LIST_ENTRY(forward) link;
    struct node *node;
    struct node_peer *peer;
    struct config_forward spec; /* without `peer` */
    bool is_configured, is_wanted;
    struct inlet *inlet; /* local */
    struct pipe *life;   /* reverse; NULL: not asked */
    bool listening, refused;
    struct addr at; /* where it listens; before that, where it is to */
    uint64_t pause, opened, failed;
    struct timer retry;
    struct defer tell;
    char problem[NODE_FORWARD_TEXT_MAX];
    node_forward_cb *cb; /* NULL: nobody asks */
    void *arg;
    LIST_HEAD(, arrival) arrivals;
    uint32_t arrival_count;
};

/* A connection that came back, from its OPEN until the stream's end. */
struct arrival {
    LIST_ENTRY(arrival) link;
    struct forward *forward;
    struct pipe *stream;
    struct egress_request *request; /* NULL: connected */
};

static void reverse_ask(struct forward *forward);

/* --- Telling --- */

static const char *listen_text(const struct forward *forward, char buf[FORWARD_LISTEN_TEXT_MAX])
{
    struct config_listen listen = forward->spec.listen;

    listen.addr = forward->at;
    return config_listen_format(&listen, buf);
}

static void on_tell(void *arg)
{
    struct forward *forward = arg;
    char text[FORWARD_LISTEN_TEXT_MAX];
    struct node_forward_info info = {
        .listening = forward->listening,
        .refused = forward->refused,
        .address = listen_text(forward, text),
        .problem = forward->problem,
    };

    if (forward->cb)
        forward->cb(forward->arg, &info);
}

static void tell(struct forward *forward)
{
    defer_soon(forward->node->loop, &forward->tell);
}

__attribute__((format(printf, 2, 3))) static void set_problem(struct forward *forward,
                                                              const char *format, ...)
{
    char before[NODE_FORWARD_TEXT_MAX];
    va_list args;

    memcpy(before, forward->problem, sizeof(before));
    va_start(args, format);
    vsnprintf(forward->problem, sizeof(forward->problem), format, args);
    va_end(args);
    if (strcmp(before, forward->problem) == 0)
        return;
    tell(forward);
    if (forward->problem[0])
        log_warn("event=forward-problem peer=%s problem=\"%s\"", forward->peer->label,
                 forward->problem);
}

/* --- Connections that come back --- */

static void on_stream_end(struct pipe *stream, int why, void *arg);

static const struct pipe_events stream_events = {.end = on_stream_end};

static void arrival_end(struct arrival *arrival)
{
    if (arrival->request)
        egress_cancel(arrival->request);
    LIST_REMOVE(arrival, link);
    arrival->forward->arrival_count--;
    free(arrival);
}

static void on_stream_end(struct pipe *stream, int why, void *arg)
{
    (void)stream;
    (void)why;
    arrival_end(arg);
}

static void on_connected(void *arg, enum answer answer, struct pipe *connected,
                         const struct addr *to)
{
    struct arrival *arrival = arg;
    struct forward *forward = arrival->forward;
    struct pipe *stream = arrival->stream;

    arrival->request = NULL;
    if (answer == ANSWER_OK) {
        set_problem(forward, "%s", "");
    } else {
        forward->failed++;
        set_problem(forward, "the last connection could not be passed on: %s", answer_text(answer));
    }
    stream_answer(stream, answer, to);
    if (connected && pipe_link(stream, connected) < 0) {
        pipe_abort(connected, ADIT_ECLOSED);
        pipe_abort(stream, ADIT_ECLOSED);
    }
}

static bool is_for(const struct forward *forward, const struct node_peer *peer,
                   const struct target *target)
{
    return forward->spec.is_reverse && forward->peer == peer && forward->life &&
           forward->at.port == target->port && addr_equal_ip(&forward->at, &target->addr);
}

static void arrival_begin(struct forward *forward, struct pipe *stream)
{
    struct egress *egress = direct_egress(forward->node);
    struct arrival *arrival;

    if (forward->arrival_count == INLET_CLIENTS_MAX) { /* more than an honest listener lets in */
        forward->failed++;
        stream_answer(stream, ANSWER_LIMIT, NULL);
        return;
    }
    arrival = egress ? calloc(1, sizeof(*arrival)) : NULL;
    if (arrival)
        arrival->request = egress_open_trusted(egress, &forward->spec.to, on_connected, arrival);
    if (!arrival || !arrival->request) {
        free(arrival);
        stream_answer(stream, ANSWER_FAILED, NULL);
        return;
    }
    forward->opened++;
    arrival->forward = forward;
    arrival->stream = stream;
    LIST_INSERT_HEAD(&forward->arrivals, arrival, link);
    forward->arrival_count++;
    pipe_add_listener(stream, &stream_events, arrival);
}

void forward_take(struct node_peer *peer, struct pipe *stream, const struct opening *opening)
{
    struct node *node = peer->node;
    struct forward *forward;

    LIST_FOREACH (forward, &node->forwards, link) {
        if (!is_for(forward, peer, &opening->target))
            continue;
        if (log_enabled(LOG_DEBUG)) {
            char from[ADDR_TEXT_MAX];

            log_debug("event=forwarded peer=%s from=%s", peer->label,
                      addr_is_set(&opening->from) ? addr_format(&opening->from, from) : "-");
        }
        arrival_begin(forward, stream);
        return;
    }
    node->streams_refused++;
    stream_answer(stream, ANSWER_POLICY, NULL);
}

/* --- The listener at the peer --- */

static void on_life_eof(struct pipe *stream, void *arg);
static void on_life_end(struct pipe *stream, int why, void *arg);

static const struct pipe_events life_events = {.eof = on_life_eof, .end = on_life_end};

static void ask_later(struct forward *forward)
{
    struct node *node = forward->node;

    if (node->stopping)
        return;
    timer_set_in(node->loop, &forward->retry, forward->pause);
    if (forward->refused && forward->pause < RETRY_MAX_US)
        forward->pause = forward->pause > RETRY_MAX_US / 2 ? RETRY_MAX_US : 2 * forward->pause;
}

static void on_life_end(struct pipe *stream, int why, void *arg)
{
    struct forward *forward = arg;

    (void)stream;
    forward->life = NULL;
    if (forward->listening) {
        forward->listening = false;
        forward->pause = RETRY_MIN_US;
        set_problem(forward, "the peer no longer listens%s%s", why ? ": " : "",
                    why ? err_text(why) : "");
        tell(forward);
    }
    ask_later(forward);
}

static void on_life_eof(struct pipe *stream, void *arg)
{
    (void)arg;
    pipe_close(stream);
}

/* What the user reads, and may do about it. */
static void explain(struct forward *forward, enum answer answer)
{
    char at[FORWARD_LISTEN_TEXT_MAX], ip[ADDR_TEXT_MAX];
    const char *rule = listen_text(forward, at);

    if (forward->at.port == 0)
        rule = addr_format_ip(&forward->at, ip);
    switch (answer) {
    case ANSWER_OK:
        set_problem(forward, "%s", "");
        break;
    case ANSWER_POLICY:
        set_problem(forward,
                    "the peer does not let others listen at %s; its owner can allow it: -o "
                    "exit.reverse=%s",
                    at, rule);
        break;
    case ANSWER_NOT_EXIT:
        set_problem(forward,
                    "the peer is not an exit, or has not admitted this node: ask its owner "
                    "for a ticket");
        break;
    case ANSWER_BAD_REQUEST:
        set_problem(forward, "the peer's adit is too old to listen for others: update it");
        break;
    case ANSWER_IN_USE:
        set_problem(forward,
                    "somebody else listens at %s on the peer's machine: choose another "
                    "port, or 0 for any",
                    at);
        break;
    case ANSWER_NOT_LOCAL:
    case ANSWER_FAMILY:
        set_problem(forward, "the peer's machine has no address %s",
                    addr_format_ip(&forward->at, ip));
        break;
    case ANSWER_LIMIT:
        set_problem(forward,
                    "a limit is reached: a peer listens at %d addresses for one node, and "
                    "a session has session.max_streams streams",
                    LENT_PER_PEER);
        break;
    case ANSWER_NO_PATH:
    case ANSWER_PEER_LOST:
        set_problem(forward, "no path to the peer");
        break;
    case ANSWER_FAILED:
    case ANSWER_NET_UNREACHABLE:
    case ANSWER_HOST_UNREACHABLE:
    case ANSWER_REFUSED:
    case ANSWER_TIMEOUT:
    case ANSWER_NAME_NOT_FOUND:
    case ANSWER_NAME_FAILED:
    case ANSWER_BLOCKED:
        set_problem(forward, "the peer cannot listen at %s: its log says why", at);
        break;
    }
}

static void on_asked(void *arg, enum answer answer, const struct addr *bound)
{
    struct forward *forward = arg;
    char text[FORWARD_LISTEN_TEXT_MAX];

    explain(forward, answer);
    forward->refused =
        answer != ANSWER_OK && answer != ANSWER_NO_PATH && answer != ANSWER_PEER_LOST;
    if (answer == ANSWER_OK) {
        forward->listening = true;
        forward->pause = RETRY_MIN_US;
        if (bound && addr_is_set(bound))
            forward->at = *bound;
        log_info("event=forward-listening kind=reverse peer=%s at=%s", forward->peer->label,
                 listen_text(forward, text));
    } else if (answer == ANSWER_IN_USE && forward->spec.listen.addr.port == 0) {
        forward->at.port = 0; /* it was ours before; any other will do */
    }
    tell(forward);
}

static void reverse_ask(struct forward *forward)
{
    struct session *session = forward->peer->session;
    struct opening opening = {.kind = OPENING_LISTEN};
    enum answer why;

    if (forward->life || forward->node->stopping || !session || !session_has_path(session))
        return;
    timer_cancel(forward->node->loop, &forward->retry);
    opening.target.addr = forward->at;
    opening.target.port = forward->at.port;
    forward->life = stream_open_as(session, &opening, on_asked, forward, &why);
    if (!forward->life) {
        explain(forward, why);
        ask_later(forward);
        return;
    }
    pipe_add_listener(forward->life, &life_events, forward);
}

static void on_retry(void *arg)
{
    struct forward *forward = arg;

    forward->refused = false; /* if there is no path now, the next one will do */
    reverse_ask(forward);
}

void forwards_path_up(struct node_peer *peer)
{
    struct forward *forward;

    LIST_FOREACH (forward, &peer->node->forwards, link)
        if (forward->peer == peer && forward->spec.is_reverse && !forward->refused)
            reverse_ask(forward);
}

/* --- Life --- */

static void on_inlet_answer(void *arg, enum answer answer)
{
    struct forward *forward = arg;

    forward->opened++;
    if (answer == ANSWER_OK) {
        set_problem(forward, "%s", "");
        return;
    }
    forward->failed++;
    set_problem(forward, "the last connection failed: %s", answer_text(answer));
}

static struct opening local_opening(const struct forward *forward)
{
    return (struct opening){.kind = OPENING_CONNECT, .target = forward->spec.to};
}

static int local_listen(struct forward *forward, char *errbuf, size_t errlen)
{
    const struct opening opening = local_opening(forward);
    char text[FORWARD_LISTEN_TEXT_MAX];
    int error;

    forward->inlet =
        inlet_new(forward->peer, &forward->spec.listen, &opening, on_inlet_answer, forward, &error);
    if (!forward->inlet) {
        snprintf(errbuf, errlen, "cannot listen at %s: %s%s", listen_text(forward, text),
                 err_text(error),
                 error == -EADDRINUSE ? "; choose another port, or 0 for any" : "");
        return error;
    }
    forward->listening = true;
    forward->at = inlet_addr(forward->inlet);
    log_info("event=forward-listening kind=local peer=%s at=%s", forward->peer->label,
             listen_text(forward, text));
    tell(forward);
    return 0;
}

static void reverse_close(struct forward *forward)
{
    if (!forward->life)
        return;
    pipe_del_listener(forward->life, &life_events, forward);
    pipe_close(forward->life);
    forward->life = NULL;
    forward->listening = false;
}

static void forward_free(struct forward *forward)
{
    struct loop *loop = forward->node->loop;
    struct arrival *arrival;

    LIST_REMOVE(forward, link);
    forward->node->forward_count--;
    timer_cancel(loop, &forward->retry);
    defer_cancel(loop, &forward->tell);
    inlet_free(forward->inlet);
    while ((arrival = LIST_FIRST(&forward->arrivals))) {
        pipe_del_listener(arrival->stream, &stream_events, arrival);
        pipe_abort(arrival->stream, ADIT_ECLOSED);
        arrival_end(arrival);
    }
    reverse_close(forward);
    config_forward_clear(&forward->spec);
    node_peer_leave(forward->peer);
    free(forward);
}

static int spec_copy(struct config_forward *out, const struct config_forward *spec)
{
    *out = *spec;
    out->peer = NULL;
    if (!spec->listen.path)
        return 0;
    out->listen.path = strdup(spec->listen.path);
    return out->listen.path ? 0 : -ENOMEM;
}

static int choose_peer(struct node *node, const struct config *config,
                       const struct config_forward *spec, struct node_peer **peer, char *errbuf,
                       size_t errlen)
{
    int r = node_choose_peer(node, config, spec->peer, peer, errbuf, errlen);

    if (r == 0)
        r = node_peer_use(*peer);
    if (r == -ENOMEM)
        snprintf(errbuf, errlen, "out of memory");
    return r;
}

static struct forward *forward_new(struct node *node, const struct config *config,
                                   const struct config_forward *spec, char *errbuf, size_t errlen)
{
    struct node_peer *peer;
    struct forward *forward;

    if (node->forward_count >= FORWARDS_MAX) {
        snprintf(errbuf, errlen, "more than %d forwards", FORWARDS_MAX);
        return NULL;
    }
    if (choose_peer(node, config, spec, &peer, errbuf, errlen) < 0)
        return NULL;
    forward = calloc(1, sizeof(*forward));
    if (!forward) {
        node_peer_leave(peer);
        snprintf(errbuf, errlen, "out of memory");
        return NULL;
    }
    forward->node = node;
    forward->peer = peer;
    forward->pause = RETRY_MIN_US;
    forward->at = spec->listen.addr;
    LIST_INIT(&forward->arrivals);
    timer_init(&forward->retry, on_retry, forward);
    defer_init(&forward->tell, on_tell, forward);
    LIST_INSERT_HEAD(&node->forwards, forward, link);
    node->forward_count++;
    if (spec_copy(&forward->spec, spec) < 0) {
        snprintf(errbuf, errlen, "out of memory");
    } else if (spec->is_reverse) {
        reverse_ask(forward);
        return forward;
    } else if (local_listen(forward, errbuf, errlen) == 0) {
        return forward;
    }
    forward_free(forward);
    return NULL;
}

struct forward *node_forward(struct node *node, const struct config_forward *spec,
                             node_forward_cb *cb, void *arg, char *errbuf, size_t errlen)
{
    struct forward *forward = forward_new(node, node->config, spec, errbuf, errlen);

    if (forward) {
        forward->cb = cb;
        forward->arg = arg;
        tell(forward);
    }
    return forward;
}

void node_forward_end(struct forward *forward)
{
    forward_free(forward);
}

/* --- Those of the configuration --- */

static struct forward *find_configured(struct node *node, const struct config_forward *spec)
{
    struct forward *forward;

    LIST_FOREACH (forward, &node->forwards, link)
        if (forward->is_configured && !forward->is_wanted &&
            forward->spec.is_reverse == spec->is_reverse &&
            config_listen_equal(&forward->spec.listen, &spec->listen))
            return forward;
    return NULL;
}

/* The same place leads elsewhere now. */
static void forward_turn(struct forward *forward, struct node_peer *peer,
                         const struct config_forward *spec)
{
    struct opening opening;
    struct node_peer *old = forward->peer;

    forward->spec.to = spec->to;
    forward->peer = peer;
    if (forward->inlet) {
        opening = local_opening(forward);
        inlet_turn(forward->inlet, peer, &opening);
    } else if (peer != old) {
        reverse_close(forward);
        forward->at = forward->spec.listen.addr;
        forward->refused = false;
        reverse_ask(forward);
    }
    node_peer_leave(old);
}

/* A line of the configuration in use: a forward of before that it may turn, or a new one. */
struct plan {
    const struct config_forward *spec;
    struct forward *old;
    struct node_peer *peer; /* used; of an old one */
};

static int plan_line(struct node *node, const struct config *config,
                     const struct config_forward *spec, struct plan *plan, char *errbuf,
                     size_t errlen)
{
    char why[NODE_FORWARD_TEXT_MAX], text[FORWARD_LISTEN_TEXT_MAX];
    struct forward *forward = find_configured(node, spec);
    int r;

    *plan = (struct plan){.spec = spec, .old = forward};
    if (forward) {
        r = choose_peer(node, config, spec, &plan->peer, why, sizeof(why));
    } else {
        forward = forward_new(node, config, spec, why, sizeof(why));
        r = forward ? 0 : -EINVAL;
    }
    if (r < 0) {
        snprintf(errbuf, errlen, "forward.%s %s: %s", spec->is_reverse ? "reverse" : "local",
                 config_listen_format(&spec->listen, text), why);
        return r;
    }
    forward->is_configured = forward->is_wanted = true;
    return 0;
}

/* Ends the configured forwards that are wanted (true), or are not. */
static void end_configured(struct node *node, bool wanted)
{
    struct forward *forward, *next;

    for (forward = LIST_FIRST(&node->forwards); forward; forward = next) {
        next = LIST_NEXT(forward, link);
        if (forward->is_configured && forward->is_wanted == wanted)
            forward_free(forward);
    }
}

int forwards_use(struct node *node, const struct config *config, char *errbuf, size_t errlen)
{
    const struct config_forwards *lists[] = {&config->forward.local, &config->forward.reverse};
    size_t total = lists[0]->count + lists[1]->count, count = 0;
    struct plan *plans = calloc(total ? total : 1, sizeof(*plans));
    struct forward *forward;
    int r = plans ? 0 : -ENOMEM;

    if (r < 0)
        snprintf(errbuf, errlen, "out of memory");
    LIST_FOREACH (forward, &node->forwards, link)
        forward->is_wanted = false;
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < lists[i]->count && r == 0; j++)
            r = plan_line(node, config, &lists[i]->items[j], &plans[count++], errbuf, errlen);
    for (size_t i = 0; i < count; i++) {
        if (!plans[i].peer)
            continue;
        if (r == 0) {
            forward_turn(plans[i].old, plans[i].peer, plans[i].spec);
        } else {
            node_peer_leave(plans[i].peer);
            plans[i].old->is_wanted = false;
        }
    }
    /* After a failure only new ones are still wanted. */
    end_configured(node, r < 0);
    free(plans);
    return r;
}

void forwards_free(struct node *node)
{
    while (!LIST_EMPTY(&node->forwards))
        forward_free(LIST_FIRST(&node->forwards));
}

/* --- Status --- */

static uint32_t connections_now(const struct forward *forward)
{
    return forward->inlet ? inlet_stats(forward->inlet)->clients : forward->arrival_count;
}

json_t *forwards_describe(const struct node *node)
{
    json_t *list = json_array();
    const struct forward *forward;

    LIST_FOREACH (forward, &node->forwards, link) {
        char id[NODE_ID_TEXT_LEN + 1], at[FORWARD_LISTEN_TEXT_MAX], to[TARGET_TEXT_MAX];

        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:I, s:s}", "kind",
                      forward->spec.is_reverse ? "reverse" : "local", "listen",
                      listen_text(forward, at), "peer", forward->peer->label, "peer_id",
                      node_id_format(&forward->peer->id, id), "to",
                      target_format(&forward->spec.to, to), "listening", forward->listening,
                      "configured", forward->is_configured, "connections",
                      (json_int_t)connections_now(forward), "opened", (json_int_t)forward->opened,
                      "failed", (json_int_t)forward->failed, "problem", forward->problem));
    }
    return list;
}
