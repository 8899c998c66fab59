/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Introduces a fresh pipe to the session with its peer: the hellos are exchanged (session/hello.h),
 * and then the pipe is a path.
 *
 * Which session? Ours with that peer, if both sides mean the same one. Each session has an instance
 * ID of ours, random, told in our hello; a peer whose instance is not the one that our session is
 * with has restarted, or has given up that session: its streams fail at once, and a new session
 * begins. A new session always gets a new instance, so that an instance pair never means two
 * sessions, but for one case: a dialler that has just told its instance keeps it, since the
 * responder has just founded its side upon it. A greeting whose announced instance is no longer
 * that of the session, since the session was replaced meanwhile, is dropped; the peer sees the path
 * end. Two sides that found a session at once announce the same instances on both connections: one
 * session.
 *
 * Limits: greetings as responder count as handshakes (listen.c), as dialler they follow from the
 * scheduler; each lasts NODE_GREETING_US at most.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/forward.h"
#include "pipe/tls.h"
#include "strategy/reverse.h"

struct greeting {
    LIST_ENTRY(greeting) link;
    struct node *node;
    struct node_peer *peer; /* a responder's: NULL until judged */
    struct hello_exchange *exchange;
    struct handshake *handshake;      /* NULL: we dialled */
    uint8_t instance[INSTANCE_BYTES]; /* what we announced */
    const char *label;
    int rank;
    unsigned slot; /* of the peer's standby; 0: none */
    bool is_guest; /* we dialled since the peer asked us to: it may have to enrol */
    bool is_host;  /* the peer dialled since we asked it to */
    struct pipe *pipe;
    uint64_t since;
};

static enum close_code on_received(void *arg, struct pipe *pipe, const struct hello *theirs,
                                   struct hello *mine, const char **text);
static void on_done(void *arg, struct pipe *pipe, const struct hello *theirs);
static void on_failed(void *arg, int why, enum close_code code, const char *text);

static const struct hello_events hello_events = {
    .received = on_received, .done = on_done, .failed = on_failed};

/* --- Paths ---
 *
 * Those that have been handed to a session are counted, so that a stop knows when all was said. */

struct path_watch {
    LIST_ENTRY(path_watch) link;
    struct node *node;
    struct pipe *pipe;
};

static void on_path_end(struct pipe *pipe, int why, void *arg)
{
    struct path_watch *watch = arg;
    struct node *node = watch->node;

    (void)pipe;
    (void)why;
    LIST_REMOVE(watch, link);
    free(watch);
    if (node->stopping)
        defer_soon(node->loop, &node->stop_check);
}

static const struct pipe_events path_events = {.end = on_path_end};

static void watch_path(struct node *node, struct pipe *pipe)
{
    struct path_watch *watch;

    if (pipe->flags & PIPE_IS_OVER)
        return; /* nothing is left to be said; and its end may just be being told */
    watch = malloc(sizeof(*watch));
    if (!watch)
        abort();
    watch->node = node;
    watch->pipe = pipe;
    LIST_INSERT_HEAD(&node->paths, watch, link);
    pipe_add_listener(pipe, &path_events, watch);
}

void greet_drop_paths(struct node *node)
{
    struct path_watch *watch;

    while ((watch = LIST_FIRST(&node->paths)) != NULL) {
        pipe_del_listener(watch->pipe, &path_events, watch);
        pipe_abort(watch->pipe, ADIT_ECLOSED);
        LIST_REMOVE(watch, link);
        free(watch);
    }
}

/* --- Greetings --- */

static bool is_zero(const uint8_t instance[INSTANCE_BYTES])
{
    static const uint8_t zero[INSTANCE_BYTES];

    return memcmp(instance, zero, INSTANCE_BYTES) == 0;
}

static void greeting_free(struct greeting *greeting)
{
    struct node_peer *peer = greeting->peer;

    LIST_REMOVE(greeting, link);
    if (greeting->handshake)
        listen_done(greeting->handshake);
    free(greeting);
    if (peer) {
        peer->greetings--;
        node_peer_release(peer);
    }
}

static void fill_hello(struct node_peer *peer, struct hello *hello)
{
    const struct node *node = peer->node;
    const struct config *config = node->config;
    struct addr addrs[HELLO_ADDRS_MAX];
    size_t count = reach_listeners(node, addrs, HELLO_ADDRS_MAX);

    memset(hello, 0, sizeof(*hello));
    memcpy(hello->instance, peer->instance, INSTANCE_BYTES);
    memcpy(hello->peer_instance, session_peer_instance(peer->session), INSTANCE_BYTES);
    if (node->roles & NODE_EXIT && peer->is_admitted)
        hello->flags |= HELLO_OFFERS_EXIT;
    if (peer->is_exit)
        hello->flags |= HELLO_WANTS_EXIT;
    hello->max_streams = config->session.max_streams;
    hello->hold_ms = config->path.hold_us / MS_US < UINT32_MAX
                         ? (uint32_t)(config->path.hold_us / MS_US)
                         : UINT32_MAX;
    memcpy(hello->name, node->name, sizeof(hello->name));
    for (size_t i = 0; i < count; i++)
        hello->addrs[hello->addr_count++] = addrs[i];
}

static struct greeting *greeting_new(struct node *node, struct node_peer *peer, struct pipe *pipe)
{
    struct greeting *greeting = calloc(1, sizeof(*greeting));

    if (!greeting)
        return NULL;
    greeting->node = node;
    greeting->peer = peer;
    greeting->pipe = pipe;
    greeting->label = "direct";
    greeting->since = loop_now(node->loop);
    if (peer)
        peer->greetings++;
    LIST_INSERT_HEAD(&node->greetings, greeting, link);
    return greeting;
}

/* Only what the scheduler has found is its business. */
static void settle(const struct greeting *greeting, enum scheduler_verdict verdict,
                   const char *text)
{
    struct node_peer *peer = greeting->peer;

    if (greeting->slot)
        standby_settle(peer, greeting->slot, verdict, text);
    else if (!greeting->handshake && !greeting->is_guest && peer->scheduler)
        scheduler_settle(peer->scheduler, verdict, text);
}

/* The ticket's secret, where the peer has proven its key and we still need it. */
static void fill_secret(const struct node_peer *peer, struct hello *hello)
{
    if (!peer->ticket || !peer->ticket->has_secret || peer->enrolled)
        return;
    hello->has_secret = true;
    memcpy(hello->secret, peer->ticket->secret, HELLO_SECRET_BYTES);
}

static void dial_greet(struct greeting *greeting, struct hello *hello)
{
    struct node_peer *peer = greeting->peer;

    memcpy(greeting->instance, peer->instance, INSTANCE_BYTES);
    greeting->exchange =
        hello_start(greeting->pipe, hello, NODE_GREETING_US, &hello_events, greeting);
    explicit_bzero(hello, sizeof(*hello));
    if (greeting->exchange)
        return;
    pipe_abort(greeting->pipe, -ENOMEM);
    settle(greeting, SCHEDULER_FAILED, "the connection was lost");
    greeting_free(greeting);
}

void greet_as_dialler(struct node_peer *peer, struct pipe *pipe, const char *label, int rank,
                      unsigned slot)
{
    struct session *session = node_peer_session(peer);
    struct greeting *greeting = session ? greeting_new(peer->node, peer, pipe) : NULL;
    struct hello hello;

    if (!greeting) {
        pipe_abort(pipe, -ENOMEM);
        if (slot)
            standby_settle(peer, slot, SCHEDULER_FAILED, "out of memory");
        else if (peer->scheduler)
            scheduler_settle(peer->scheduler, SCHEDULER_FAILED, "out of memory");
        return;
    }
    greeting->slot = slot;
    greeting->label = label;
    greeting->rank = rank;
    fill_hello(peer, &hello);
    fill_secret(peer, &hello); /* only now, when the peer has proven its key */
    dial_greet(greeting, &hello);
}

void greet_as_guest(struct node_peer *peer, struct pipe *pipe,
                    const uint8_t token[HELLO_TOKEN_BYTES])
{
    struct session *session = node_peer_session(peer);
    struct greeting *greeting = session ? greeting_new(peer->node, peer, pipe) : NULL;
    struct hello hello;

    if (!greeting) {
        pipe_abort(pipe, -ENOMEM);
        node_peer_release(peer);
        return;
    }
    greeting->label = strategy_reverse.name;
    greeting->is_guest = true;
    fill_hello(peer, &hello);
    if (peer->node->roles & NODE_EXIT)
        hello.flags |= HELLO_OFFERS_EXIT; /* if it is not admitted now, it will be */
    hello.has_token = true;
    memcpy(hello.token, token, sizeof(hello.token));
    dial_greet(greeting, &hello);
}

void greet_as_responder(struct node *node, struct pipe *pipe, struct handshake *handshake)
{
    struct greeting *greeting = node->stopping ? NULL : greeting_new(node, NULL, pipe);

    if (greeting)
        greeting->exchange = hello_start(pipe, NULL, NODE_GREETING_US, &hello_events, greeting);
    if (!greeting || !greeting->exchange) {
        pipe_abort(pipe, -ENOMEM);
        listen_done(handshake);
        if (greeting)
            greeting_free(greeting);
        return;
    }
    greeting->handshake = handshake;
}

void greet_cancel_all(struct node *node, const struct node_peer *peer)
{
    struct greeting *greeting, *next;

    for (greeting = LIST_FIRST(&node->greetings); greeting; greeting = next) {
        next = LIST_NEXT(greeting, link);
        if (peer && greeting->peer != peer)
            continue;
        hello_cancel(greeting->exchange);
        greeting_free(greeting);
    }
}

/* --- The peer's hello --- */

static enum close_code received_as_responder(struct greeting *greeting, const struct node_id *id,
                                             const struct hello *theirs, struct hello *mine)
{
    struct node *node = greeting->node;
    enum close_code code = admission_judge(node, id, theirs);
    struct node_peer *peer;
    const uint8_t *instance;

    if (code != CLOSE_OK)
        return code;
    peer = node_peer_get(node, id);
    if (!peer || !node_peer_session(peer))
        return CLOSE_LIMIT;
    node_peer_refresh(peer);
    instance = session_peer_instance(peer->session);
    if (!is_zero(instance) && memcmp(instance, theirs->instance, INSTANCE_BYTES) != 0 &&
        !node_peer_restarted(peer, false))
        return CLOSE_LIMIT;
    greeting->peer = peer;
    peer->greetings++;
    fill_hello(peer, mine);
    fill_secret(peer, mine); /* a caller has proven its key too */
    memcpy(greeting->instance, peer->instance, INSTANCE_BYTES);
    if (theirs->has_token && node->signal && signal_is_invited(node->signal, id, theirs->token))
        greeting->is_host = true;
    if (greeting->is_host)
        greeting->label = strategy_reverse.name;
    return CLOSE_OK;
}

static enum close_code on_received(void *arg, struct pipe *pipe, const struct hello *theirs,
                                   struct hello *mine, const char **text)
{
    struct greeting *greeting = arg;

    *text = NULL;
    if (mine)
        return received_as_responder(greeting, tls_peer(pipe), theirs, mine);
    return greeting->is_guest ? admission_judge(greeting->node, tls_peer(pipe), theirs) : CLOSE_OK;
}

static void remember_brokers(struct node_peer *peer)
{
    const char *urls[TICKET_BROKERS_MAX];
    size_t count = peer->ticket ? peer->ticket->broker_count : 0;

    for (size_t i = 0; i < count; i++)
        urls[i] = peer->ticket->brokers[i];
    if (count)
        state_peer_set_brokers(peer->node->state, &peer->id, urls, count);
}

/* Keeps what the next start may need: that the peer is an exit of ours, and where it is. */
static void remember(struct node_peer *peer, const struct hello *theirs)
{
    struct node *node = peer->node;
    char text[1 + HELLO_ADDRS_MAX + TICKET_REACH_MAX][TARGET_TEXT_MAX];
    const char *addrs[1 + HELLO_ADDRS_MAX + TICKET_REACH_MAX];
    const struct state_peer *entry;
    size_t count = 0, same;
    const char *name = peer->ticket && peer->ticket->name[0] ? peer->ticket->name : theirs->name;

    if (state_peer_remember(node->state, &peer->id, name, "enrolled", node_wall_s()) < 0)
        log_warn("event=peer-not-kept peer=%s remedy=\"the state directory must be writable and "
                 "have room\"",
                 peer->label);
    if (addr_is_set(&peer->worked))
        addr_format(&peer->worked, text[count++]);
    for (size_t i = 0; peer->ticket && i < peer->ticket->reach_count; i++)
        target_format(&peer->ticket->reach[i], text[count++]);
    for (size_t i = 0; i < theirs->addr_count; i++)
        if (reach_is_private(&peer->worked) || !reach_is_private(&theirs->addrs[i]))
            addr_format(&theirs->addrs[i], text[count++]);
    /* Each once, the best first. */
    same = count;
    count = 0;
    for (size_t i = 0; i < same; i++) {
        size_t j = 0;

        while (j < count && strcmp(addrs[j], text[i]) != 0)
            j++;
        if (j == count)
            addrs[count++] = text[i];
    }
    entry = state_peer(node->state, &peer->id);
    if (count > STATE_ADDRS_MAX)
        count = STATE_ADDRS_MAX;
    for (same = 0; entry && same < count && strcmp(entry->addrs[same], addrs[same]) == 0; same++)
        continue;
    if (entry && (same < count || (count < STATE_ADDRS_MAX && entry->addrs[count][0])))
        state_peer_set_addrs(node->state, &peer->id, addrs, count);
    remember_brokers(peer);
}

static void learn(const struct greeting *greeting, struct pipe *pipe, const struct hello *theirs)
{
    struct node_peer *peer = greeting->peer;
    struct node *node = peer->node;
    bool dialled = !greeting->handshake;

    pipe_addrs(pipe, NULL, &peer->seen);
    peer->seen = addr_unmap(&peer->seen);
    peer->hello_count = theirs->addr_count;
    memcpy(peer->hello_addrs, theirs->addrs, sizeof(peer->hello_addrs));
    peer->is_refused = false;
    peer->refusal[0] = '\0';
    if (dialled)
        peer->worked = peer->seen;
    /* Only a caller that has an exit to offer says so: a responder knows whom it has admitted, and
     * so does a guest. */
    if (peer->is_exit && (dialled || theirs->flags & HELLO_OFFERS_EXIT)) {
        peer->enrolled = true;
        remember(peer, theirs);
        if (!(theirs->flags & HELLO_OFFERS_EXIT)) {
            snprintf(peer->refusal, sizeof(peer->refusal), "%s",
                     "the peer is not an exit, or has not admitted this node: ask its owner "
                     "for a ticket");
            log_warn("event=not-an-exit peer=%s problem=\"%s\"", peer->label, peer->refusal);
        }
    }
    node_peer_refresh(peer);
    state_peer_touch(node->state, &peer->id, node_wall_s());
}

static void on_done(void *arg, struct pipe *pipe, const struct hello *theirs)
{
    struct greeting *greeting = arg;
    struct node *node = greeting->node;
    struct node_peer *peer = greeting->peer;
    struct session *session = peer->session;
    bool dialled = !greeting->handshake, ours = false;
    const char *label = greeting->label;
    int rank = standby_rank(peer, pipe, greeting->rank);
    unsigned long long ms = (loop_now(node->loop) - greeting->since) / MS_US;
    char text[ADDR_TEXT_MAX];

    if (session && !node->stopping &&
        memcmp(greeting->instance, peer->instance, INSTANCE_BYTES) == 0) {
        const uint8_t *instance = session_peer_instance(session);

        ours = true;
        if (!is_zero(instance) && memcmp(instance, theirs->instance, INSTANCE_BYTES) != 0) {
            /* A dialler has announced its instance, and the responder has founded a session upon
             * it. */
            session = dialled ? node_peer_restarted(peer, true) : NULL;
            ours = session != NULL;
        }
    }
    if (!ours) {
        pipe_abort(pipe, -ECANCELED);
        settle(greeting, SCHEDULER_FAILED, "the session was replaced meanwhile");
        greeting_free(greeting);
        return;
    }
    learn(greeting, pipe, theirs);
    log_info("event=path-up peer=%s strategy=%s by=%s addr=%s ms=%llu", peer->label, label,
             dialled ? "us" : "peer", addr_format(&peer->seen, text), ms);
    /* The session listens first: one that is added behind another listener, from within this
     * message, may be given the message too. */
    if (session_add_path(session, pipe, theirs, label, rank) == 0)
        settle(greeting, SCHEDULER_TAKEN, NULL);
    watch_path(node, pipe);
    peer->doubt_until = 0;
    if (greeting->is_host && peer->scheduler)
        scheduler_note(peer->scheduler, label);
    finder_session_changed(peer);
    node_peer_update(peer);
    ping_path_up(peer);
    forwards_path_up(peer);
    greeting_free(greeting);
}

static void on_failed(void *arg, int why, enum close_code code, const char *text)
{
    struct greeting *greeting = arg;
    struct node_peer *peer = greeting->peer;

    if (!greeting->handshake) {
        bool refused = why == -EACCES && code != CLOSE_OK && code != CLOSE_LIMIT;
        bool again = refused && peer->is_refused && strcmp(peer->refusal, text) == 0;

        /* Whom we use, of that trouble.c warns. */
        log_at(again ? LOG_DEBUG : LOG_INFO, "event=path-refused peer=%s strategy=%s why=\"%s\"",
               peer->label, greeting->label, text);
        watch_path(greeting->node, greeting->pipe); /* it may take a while to close */
        settle(greeting, refused ? SCHEDULER_REFUSED : SCHEDULER_FAILED, text);
        if (refused)
            node_peer_refused(peer, text);
        /* Nothing was promised to a guest's host. */
        if (greeting->is_guest && !peer->is_exit && peer->session &&
            !session_has_path(peer->session) && session_stream_count(peer->session) == 0)
            session_fail(peer->session, -ECONNABORTED, text);
    } else {
        log_debug("event=greeting-failed peer=%s why=\"%s\"", peer ? peer->label : "-", text);
        listen_refused(greeting->handshake, greeting->pipe);
        greeting->handshake = NULL;
    }
    greeting_free(greeting);
}
