/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The table of peers, and for each the rule when a path is looked for. One session at most is
 * current with a peer; replaced ones end by themselves (`ending` counts them, since their last call
 * still names the peer).
 *
 *     whom we use          (the gateway's exit, peers in routes) always has a session; a path is
 *                          looked for whenever there is none (or no healthy one), hastily while
 *                          streams wait, else with growing pauses: it is kept warm
 *     everybody else       is waited for; only while it has streams open, and after leaving it
 *                          NODE_BACKDIAL_US for the first try, we dial it ourselves, where it said
 *                          it listens
 *
 * When the network changes, every path is probed; one whose local address is gone is left at once,
 * and a new one is looked for; as it is when the system would now send by another interface.
 * Further paths are standby.c's.
 *
 * Where a peer listens, it says itself (hello). A private address among these is believed only if
 * the peer's own connection came from a private one: from elsewhere, 192.168.1.5 would be a
 * stranger in our own network.
 *
 * Ownership: a peer is freed when it has no session, no greeting, no ping waits for it, and we do
 * not use it. One that we do not use any more, and that may not use us, is told goodbye when it has
 * no streams.
 * Limit: NODE_PEERS_MAX.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/forward.h"

#define DOUBT_US           (5 * SEC_US)
#define PEER_ID_PREFIX_MIN 4 /* as state_find_peer() */

static void on_open(struct session *session, struct pipe *stream, const struct opening *opening,
                    void *arg);
static void on_want(struct session *session, enum session_want want, void *arg);
static void on_paths(struct session *session, void *arg);
static void on_end(struct session *session, int why, const char *text, void *arg);

static void on_signal(struct session *session, const uint8_t *bytes, size_t len, void *arg);

static const struct session_events session_events = {
    .open = on_open, .want = on_want, .paths = on_paths, .signal = on_signal, .end = on_end};

static void on_update(void *arg)
{
    struct node_peer *peer = arg;

    node_peer_update(peer);
}

static void on_backdial(void *arg)
{
    struct node_peer *peer = arg;

    peer->backdial_due = true;
    node_peer_update(peer);
}

/* --- The table --- */

struct node_peer *node_peer_find(struct node *node, const struct node_id *id)
{
    struct node_peer *peer;

    HASH_FIND(hh, node->peers, id, sizeof(*id), peer);
    return peer;
}

struct node_peer *node_peer_get(struct node *node, const struct node_id *id)
{
    struct node_peer *peer = node_peer_find(node, id);

    if (peer)
        return peer;
    if (HASH_COUNT(node->peers) >= NODE_PEERS_MAX)
        return NULL;
    peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    peer->node = node;
    peer->id = *id;
    defer_init(&peer->update, on_update, peer);
    timer_init(&peer->backdial, on_backdial, peer);
    trouble_init(peer);
    node_peer_refresh(peer);
    HASH_ADD(hh, node->peers, id, sizeof(peer->id), peer);
    return peer;
}

void node_peer_free(struct node_peer *peer)
{
    struct node *node = peer->node;

    if (peer->is_carrier && node->signal)
        signal_set_carrier(node->signal, &peer->id, NULL);
    lent_forget(peer);
    scheduler_free(peer->scheduler);
    standby_free(peer);
    defer_cancel(node->loop, &peer->update);
    timer_cancel(node->loop, &peer->backdial);
    trouble_end(peer);
    if (peer->ticket)
        explicit_bzero(peer->ticket, sizeof(*peer->ticket));
    free(peer->ticket);
    HASH_DEL(node->peers, peer);
    free(peer);
}

void node_peer_release(struct node_peer *peer)
{
    if (!peer->session && !peer->ending && !peer->greetings && !ping_is_waiting(peer) &&
        !peer->uses)
        node_peer_free(peer);
}

int node_peer_use(struct node_peer *peer)
{
    peer->uses++;
    peer->is_exit = true;
    node_peer_refresh(peer);
    if (!node_peer_session(peer)) {
        node_peer_leave(peer);
        return -ENOMEM;
    }
    finder_refresh(peer->node);
    node_peer_update(peer);
    return 0;
}

void node_peer_leave(struct node_peer *peer)
{
    if (--peer->uses)
        return;
    peer->is_exit = false;
    node_peer_refresh(peer);
    if (peer->session && !peer->is_admitted && session_stream_count(peer->session) == 0)
        session_close(peer->session, CLOSE_OK, NULL);
    if (!peer->node->stopping)
        finder_refresh(peer->node);
    node_peer_update(peer);
    node_peer_release(peer);
}

void node_peer_refresh(struct node_peer *peer)
{
    const struct node *node = peer->node;
    const struct state_peer *entry = state_peer(node->state, &peer->id);
    const char *name = entry ? entry->name : "";

    peer->is_admitted = entry && state_peer_is_admitted(entry, node_wall_s());
    peer->is_known = peer->is_exit || (entry && strcmp(entry->how, "enrolled") == 0);
    for (size_t i = 0; i < node->config->peer_count; i++) {
        const struct config_peer *section = &node->config->peers[i];

        if (!section->has_id || !node_id_equal(&section->id, &peer->id))
            continue;
        name = section->name;
        peer->is_known = true;
        peer->is_admitted = peer->is_admitted || section->admit;
    }
    if (name[0]) {
        snprintf(peer->label, sizeof(peer->label), "%s", name);
    } else {
        char text[NODE_ID_TEXT_LEN + 1];

        snprintf(peer->label, sizeof(peer->label), "%.*s", NODE_ID_SHORT,
                 node_id_format(&peer->id, text));
    }
}

bool node_find_peer(const struct node *node, const char *text, struct node_id *id)
{
    const struct config_peer *section = config_peer_find(node->config, text);
    const struct node_peer *peer, *next;
    size_t len = strlen(text), found = 0;

    if (section && section->has_id) {
        *id = section->id;
        return true;
    }
    if (node_id_parse(text, id) == 0)
        return true;
    HASH_ITER (hh, node->peers, peer, next) {
        char known[NODE_ID_TEXT_LEN + 1];

        if (strcmp(peer->label, text) == 0) {
            *id = peer->id;
            return true;
        }
        if (len < PEER_ID_PREFIX_MIN || strncasecmp(node_id_format(&peer->id, known), text, len))
            continue;
        *id = peer->id;
        found++;
    }
    return found == 1;
}

int node_peer_set_ticket(struct node_peer *peer, const struct ticket *ticket)
{
    if (!peer->ticket)
        peer->ticket = malloc(sizeof(*peer->ticket));
    if (!peer->ticket)
        return -ENOMEM;
    if (ticket->has_secret)
        peer->enrolled = false;
    *peer->ticket = *ticket;
    return 0;
}

/* --- Sessions --- */

static struct session_config session_config_from(const struct config *config)
{
    struct session_config session_config = SESSION_CONFIG_DEFAULT;

    session_config.hold_us = config->path.hold_us;
    session_config.connect_wait_us = config->path.connect_wait_us;
    session_config.suspect_us = config->path.probe_min_us;
    session_config.keepalive_us = config->path.probe_idle_us;
    session_config.rekey_us = config->path.renew_after_us;
    session_config.rekey_bytes = config->path.renew_bytes;
    session_config.max_streams = config->session.max_streams;
    return session_config;
}

static struct session *session_make(struct node_peer *peer)
{
    struct node *node = peer->node;
    const struct session_config session_config = session_config_from(node->config);

    return session_new(node->loop, &session_config, &node->pool, &node->id, &peer->id,
                       &session_events, peer);
}

struct session *node_peer_session(struct node_peer *peer)
{
    if (peer->session || peer->node->stopping)
        return peer->session;
    peer->session = session_make(peer);
    loop_random(peer->node->loop, peer->instance, sizeof(peer->instance));
    return peer->session;
}

struct session *node_peer_restarted(struct node_peer *peer, bool keep)
{
    struct session *old = peer->session;
    uint8_t instance[INSTANCE_BYTES];

    log_info("event=peer-restarted peer=%s streams=%u", peer->label, session_stream_count(old));
    memcpy(instance, peer->instance, sizeof(instance));
    peer->session = NULL;
    peer->ending++;
    /* First the new one: those who hear of the old one's end may open a stream at once. */
    node_peer_session(peer);
    if (keep)
        memcpy(peer->instance, instance, sizeof(instance));
    finder_session_changed(peer);
    session_fail(old, -ECONNRESET, "the peer restarted");
    return peer->session;
}

static void on_open(struct session *session, struct pipe *stream, const struct opening *opening,
                    void *arg)
{
    (void)session;
    serve_open(arg, stream, opening);
}

static void on_want(struct session *session, enum session_want want, void *arg)
{
    struct node_peer *peer = arg;

    (void)want;
    if (session != peer->session)
        return;
    finder_session_changed(peer);
    node_peer_update(peer);
}

static void on_paths(struct session *session, void *arg)
{
    struct node_peer *peer = arg;

    if (session == peer->session)
        defer_soon(peer->node->loop, &peer->update);
}

static void on_signal(struct session *session, const uint8_t *bytes, size_t len, void *arg)
{
    struct node_peer *peer = arg;

    if (session == peer->session)
        finder_carried(peer, bytes, len);
}

static void on_end(struct session *session, int why, const char *text, void *arg)
{
    struct node_peer *peer = arg;
    struct node *node = peer->node;

    if (session != peer->session) {
        peer->ending--;
        node_peer_release(peer);
        return;
    }
    peer->session = NULL;
    finder_session_changed(peer);
    if (node->stopping) {
        defer_soon(node->loop, &node->stop_check);
        return;
    }
    log_at(why == -ETIMEDOUT && peer->is_exit ? LOG_DEBUG : LOG_INFO,
           "event=session-ended peer=%s why=\"%s\"", peer->label,
           text[0] ? text
           : why   ? err_text(why)
                   : "closed by this node");
    if (why == -EACCES) {
        node_peer_refused(peer, text);
        if (peer->scheduler)
            scheduler_settle(peer->scheduler, SCHEDULER_REFUSED, text);
    } else if (why != -ETIMEDOUT) {
        snprintf(peer->refusal, sizeof(peer->refusal), "%s", text);
    }
    if (peer->is_exit) {
        if (!node_peer_session(peer))
            log_error("event=no-session peer=%s why=\"out of memory\"", peer->label);
    }
    node_peer_update(peer);
    node_peer_release(peer);
}

void node_peer_refused(struct node_peer *peer, const char *text)
{
    struct session *session = peer->session;

    peer->is_refused = true;
    peer->refused_at = loop_now(peer->node->loop);
    snprintf(peer->refusal, sizeof(peer->refusal), "%s", text);
    trouble_update(peer);
    /* Those who wait need not go on. */
    if (session && !session_has_path(session) && session_stream_count(session) > 0)
        session_fail(session, -EACCES, peer->refusal);
}

bool node_peer_is_refused(const struct node_peer *peer)
{
    return peer->is_refused && loop_now(peer->node->loop) - peer->refused_at < NODE_REFUSED_KEEP_US;
}

/* --- Candidates --- */

static size_t add_candidate(struct candidate *out, size_t count, size_t max,
                            const struct target *target, const char *origin)
{
    if (count == max || target->port == 0)
        return count;
    for (size_t i = 0; i < count; i++) {
        const struct target *known = &out[i].target;

        if (known->port != target->port || strcmp(known->name, target->name) != 0)
            continue;
        if (target->name[0] || addr_equal_ip(&known->addr, &target->addr))
            return count;
    }
    out[count].target = *target;
    out[count].origin = origin;
    return count + 1;
}

static size_t add_addr(struct candidate *out, size_t count, size_t max, const struct addr *addr,
                       const char *origin)
{
    struct target target = {.addr = *addr, .port = addr->port};

    return addr_is_set(addr) ? add_candidate(out, count, max, &target, origin) : count;
}

static bool is_believed(const struct node_peer *peer, const struct addr *addr)
{
    if (!reach_is_private(addr))
        return true;
    if (!addr_is_set(&peer->seen) || !reach_is_private(&peer->seen))
        return false;
    return !addr_is_loopback(addr) || addr_is_loopback(&peer->seen);
}

size_t node_peer_candidates(const struct node_peer *peer, struct candidate *out, size_t max)
{
    const struct state_peer *entry = state_peer(peer->node->state, &peer->id);
    struct target target;
    size_t count = 0;

    count = add_addr(out, count, max, &peer->worked, "worked");
    for (size_t i = 0; i < peer->found_count; i++)
        count = add_addr(out, count, max, &peer->found[i], "found");
    for (size_t i = 0; i < peer->hello_count; i++)
        if (is_believed(peer, &peer->hello_addrs[i]))
            count = add_addr(out, count, max, &peer->hello_addrs[i], "peer");
    for (size_t i = 0; peer->ticket && i < peer->ticket->reach_count; i++)
        count = add_candidate(out, count, max, &peer->ticket->reach[i], "ticket");
    for (size_t i = 0; entry && i < STATE_ADDRS_MAX && entry->addrs[i][0]; i++)
        if (target_parse(entry->addrs[i], &target) == 0)
            count = add_candidate(out, count, max, &target, "state");
    return count;
}

static size_t on_candidates(void *arg, struct candidate *out, size_t max)
{
    struct node_peer *peer = arg;

    /* Streams may have come and gone since the last round. */
    defer_soon(peer->node->loop, &peer->update);
    return node_peer_candidates(peer, out, max);
}

static void on_path(void *arg, struct pipe *pipe, const char *label, int rank,
                    const char *candidate)
{
    (void)candidate;
    greet_as_dialler(arg, pipe, label, rank, 0);
}

/* --- When a path is looked for --- */

static void on_hopeless(void *arg, int why, const char *text)
{
    finder_hopeless(arg, why, text);
}

static const struct scheduler_events scheduler_events = {
    .candidates = on_candidates, .path = on_path, .hopeless = on_hopeless};

static struct scheduler *scheduler_make(struct node_peer *peer)
{
    const struct config *config = peer->node->config;
    const struct scheduler_options options = {
        .strategies = config->path.strategies,
        .fail = config->path.fail,
        .retry_us = config->path.dial_retry_us,
        .retry_max_us = config->path.dial_retry_max_us,
    };

    return scheduler_new(&peer->node->env, &options, &peer->id, peer->label, &scheduler_events,
                         peer);
}

bool node_peer_is_reachable(const struct node_peer *peer)
{
    struct candidate one;

    return (peer->node->signal && signal_can_ask(peer->node->signal, &peer->id)) ||
           node_peer_candidates(peer, &one, 1) > 0;
}

static enum scheduler_need need_of(struct node_peer *peer)
{
    const struct session *session = peer->session;
    uint64_t now = loop_now(peer->node->loop);
    bool urgent, wanted;

    if (!session || peer->node->stopping)
        return SCHEDULER_STOP;
    wanted = session_wants(session) != SESSION_WANTS_NOTHING || peer->doubt_until > now;
    urgent = session_stream_count(session) > 0 || ping_is_waiting(peer);
    if (wanted && peer->is_exit)
        return urgent ? SCHEDULER_URGENT : SCHEDULER_CALM;
    if (!wanted || !urgent || (!peer->scheduler && !node_peer_is_reachable(peer))) {
        timer_cancel(peer->node->loop, &peer->backdial);
        peer->backdial_due = false;
        return SCHEDULER_STOP;
    }
    if (peer->backdial_due || ping_is_waiting(peer))
        return SCHEDULER_URGENT;
    if (!timer_is_set(&peer->backdial))
        timer_set_in(peer->node->loop, &peer->backdial, NODE_BACKDIAL_US);
    return SCHEDULER_STOP;
}

void node_peer_update(struct node_peer *peer)
{
    enum scheduler_need need = need_of(peer);

    if (need != SCHEDULER_STOP && !peer->scheduler)
        peer->scheduler = scheduler_make(peer);
    if (peer->scheduler)
        scheduler_set_need(peer->scheduler, need);
    standby_update(peer);
    trouble_update(peer);
}

void node_peer_reset_scheduler(struct node_peer *peer)
{
    scheduler_free(peer->scheduler);
    peer->scheduler = NULL;
    standby_free(peer);
}

void node_peer_reconfigure(struct node_peer *peer)
{
    const struct session_config session_config = session_config_from(peer->node->config);

    node_peer_reset_scheduler(peer);
    if (peer->session)
        session_reconfigure(peer->session, &session_config);
}

void node_peer_network_changed(struct node_peer *peer)
{
    struct session_info info;

    if (!peer->session)
        return;
    session_review_paths(peer->session, standby_review, peer);
    session_recheck(peer->session);
    session_describe(peer->session, &info);
    for (size_t i = 0; i < info.paths; i++) {
        if (info.path[i].state == PATH_SUSPECT)
            peer->backdial_due = true; /* the peer may not find us: it is our move */
        else if (info.path[i].state == PATH_ACTIVE && !standby_is_best(info.path[i].rank) &&
                 peer->node->config->nat.interfaces.count == 0)
            peer->doubt_until = loop_now(peer->node->loop) + DOUBT_US;
    }
    node_peer_update(peer);
    if (peer->scheduler && scheduler_is_wanted(peer->scheduler))
        scheduler_kick(peer->scheduler);
    standby_kick(peer);
}
