/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Signalling, tied to the node: which brokers are used, what peers are told, and what becomes of
 * what they say.
 *
 * Brokers: those of the configuration (signal.broker), then those of the tickets and of the state
 * for peers that we use: a node has to be on the brokers of those whom it looks for, and of those
 * who look for it. All are kept connected; those beyond SIGNAL_BROKERS_MAX are left out, in this
 * order.
 *
 * Who may ask is decided by admission.c, as for sessions, but nothing is used up by asking.
 *
 * A peer that says that it runs (asked) makes us look at the paths to it and look for one if we
 * want one: it may have restarted or moved. What it says of its addresses is believed when it is
 * certain and fresh (found); private ones only if we are in such a network too.
 *
 * We announce ourselves when the first broker is up and when the network has changed: to those
 * with whom we share a session, those with open streams first, and as an exit to the admitted peers
 * that were here last, since they may be waiting for us. Each announcement is sealed, which costs
 * public-key work, so there is a limit to both; who is left out finds out by itself.
 *
 * Sessions carry messages too, while they have a path.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/node_int.h"

#define ANNOUNCE_MAX   64             /* admitted peers that are told */
#define SESSIONS_MAX   256            /* peers with a session that are told */
#define ASKED_PAUSE_US (500 * MS_US)  /* between two looks on behalf of one peer's questions */
#define WAITED_US      (2500 * MS_US) /* nobody answers for the peer: who waited so long, fails */

/* --- What peers are told --- */

static size_t on_addrs(void *arg, const struct node_id *peer, struct addr *out, size_t max)
{
    struct node *node = arg;

    (void)peer;
    return node->listen ? reach_listeners(node, out, max) : 0;
}

static bool on_secret(void *arg, const struct node_id *id, uint8_t out[MESSAGE_SECRET_BYTES])
{
    struct node_peer *peer = node_peer_find(arg, id);

    if (!peer || !peer->ticket || !peer->ticket->has_secret || peer->enrolled)
        return false;
    memcpy(out, peer->ticket->secret, MESSAGE_SECRET_BYTES);
    return true;
}

#define REFUSAL_PAUSE_US (10 * SEC_US) /* between two lines about refusals */

/* The owner wants to know whom to admit; and anybody may ask as often as he likes. */
static void log_refusal(struct node *node, const struct node_id *from, enum close_code verdict)
{
    char text[NODE_ID_TEXT_LEN + 1];
    uint64_t now = loop_now(node->loop);

    node->refusals++;
    if (node->refusal_told_at && now - node->refusal_told_at < REFUSAL_PAUSE_US)
        return;
    node->refusal_told_at = now;
    log_info("event=refused by=broker peer=%s why=\"%s\" total=%llu", node_id_format(from, text),
             close_code_text(verdict), (unsigned long long)node->refusals);
}

static enum signal_judgement on_judge(void *arg, const struct node_id *from, const uint8_t *secret,
                                      uint8_t *code, const char **text)
{
    struct node *node = arg;
    enum close_code verdict = node->stopping ? CLOSE_LIMIT : admission_look(node, from, secret);

    if (verdict == CLOSE_OK)
        return SIGNAL_WELCOME;
    if (!node->stopping)
        log_refusal(node, from, verdict);
    *code = (uint8_t)verdict;
    *text = close_code_text(verdict);
    return SIGNAL_REFUSED;
}

/* --- What they say --- */

static void on_asked(void *arg, const struct node_id *from)
{
    struct node *node = arg;
    struct node_peer *peer = node_peer_find(node, from);
    uint64_t now = loop_now(node->loop);

    if (!peer || node->stopping || (peer->asked_at && now - peer->asked_at < ASKED_PAUSE_US))
        return;
    peer->asked_at = now;
    if (peer->session && session_has_path(peer->session))
        session_recheck(peer->session);
    node_peer_update(peer);
    if (peer->scheduler && scheduler_is_wanted(peer->scheduler))
        scheduler_retry(peer->scheduler);
}

size_t finder_filter(const struct node *node, const struct addr *addrs, size_t count,
                     struct addr *out, size_t max)
{
    const struct interfaces *list = netwatch_interfaces(node->netwatch);
    size_t kept = 0;

    for (size_t i = 0; i < count && kept < max; i++) {
        struct addr addr = addr_unmap(&addrs[i]);

        if (interfaces_share_network(list, &addr))
            out[kept++] = addr;
    }
    return kept;
}

static void on_found(void *arg, const struct node_id *from, const struct addr *addrs, size_t count)
{
    struct node *node = arg;
    struct node_peer *peer = node_peer_find(node, from);
    struct addr found[MESSAGE_ADDRS_MAX];
    bool news;

    if (!peer || node->stopping)
        return;
    count = finder_filter(node, addrs, count, found, MESSAGE_ADDRS_MAX);
    news = count != peer->found_count;
    for (size_t i = 0; i < count && !news; i++)
        news = !addr_equal(&peer->found[i], &found[i]);
    memcpy(peer->found, found, sizeof(found));
    peer->found_count = count;
    if (!peer->scheduler || !scheduler_is_wanted(peer->scheduler))
        return;
    if (news)
        scheduler_update(peer->scheduler);
    if (peer->hopeless_at)
        scheduler_kick(peer->scheduler); /* it has just started: what was refused may work now */
    peer->hopeless_at = 0;
}

static uint8_t on_dial(void *arg, const struct node_id *from,
                       const uint8_t token[MESSAGE_TOKEN_BYTES], const struct addr *addrs,
                       size_t count)
{
    struct node *node = arg;

    return node->stopping ? CLOSE_LIMIT : (uint8_t)invite_take(node, from, token, addrs, count);
}

/* --- Announcing ourselves --- */

static int by_seen(const void *a, const void *b)
{
    const struct state_peer *const *left = a, *const *right = b;

    return (*left)->seen < (*right)->seen ? 1 : (*left)->seen > (*right)->seen ? -1 : 0;
}

static void announce_to_admitted(struct node *node)
{
    const struct state_peer **list;
    size_t count, kept = 0;
    const struct state_peer *peers = state_peers(node->state, &count);

    list = count ? calloc(count, sizeof(*list)) : NULL;
    if (!list)
        return;
    for (size_t i = 0; i < count; i++) {
        const struct node_peer *peer = node_peer_find(node, &peers[i].id);

        if (state_peer_is_admitted(&peers[i], node_wall_s()) && !(peer && peer->session))
            list[kept++] = &peers[i];
    }
    qsort(list, kept, sizeof(*list), by_seen);
    for (size_t i = 0; i < kept && i < ANNOUNCE_MAX; i++)
        signal_announce(node->signal, &list[i]->id);
    free(list);
}

static void announce(struct node *node)
{
    struct node_peer *peer, *next;
    size_t told = 0;

    for (int busy = 1; busy >= 0; busy--)
        HASH_ITER (hh, node->peers, peer, next)
            if (peer->session && (session_stream_count(peer->session) > 0) == busy &&
                told++ < SESSIONS_MAX)
                signal_announce(node->signal, &peer->id);
    if (node->roles & NODE_EXIT)
        announce_to_admitted(node);
}

static void on_changed(void *arg, bool up)
{
    struct node *node = arg;

    if (up && !node->stopping)
        announce(node);
}

void finder_network_changed(struct node *node)
{
    if (!node->signal)
        return;
    signal_kick(node->signal);
    announce(node);
}

void node_announce(struct node *node, const struct node_id *id)
{
    if (node->signal)
        signal_announce(node->signal, id);
}

/* --- Sessions as carriers --- */

static int carrier_send(void *arg, const uint8_t *bytes, size_t len)
{
    struct node_peer *peer = arg;

    return peer->session ? session_send_signal(peer->session, bytes, len) : -ENOTCONN;
}

void finder_session_changed(struct node_peer *peer)
{
    const struct signal_carrier carrier = {.send = carrier_send, .arg = peer};
    bool has_path = peer->session && session_has_path(peer->session);

    if (!peer->node->signal || has_path == peer->is_carrier)
        return;
    if (signal_set_carrier(peer->node->signal, &peer->id, has_path ? &carrier : NULL) == 0)
        peer->is_carrier = has_path;
}

void finder_carried(struct node_peer *peer, const uint8_t *bytes, size_t len)
{
    if (peer->node->signal && !peer->node->stopping)
        signal_carried(peer->node->signal, &peer->id, bytes, len);
}

/* --- When there is no hope --- */

void finder_hopeless(struct node_peer *peer, int why, const char *text)
{
    if (why == -EACCES) {
        node_peer_refused(peer, text);
        scheduler_settle(peer->scheduler, SCHEDULER_REFUSED, text);
    } else if (peer->session) {
        peer->hopeless_at = loop_now(peer->node->loop);
        session_fail_waiting(peer->session, WAITED_US);
    }
}

/* --- Brokers --- */

struct urls_wanted {
    const char *items[SIGNAL_BROKERS_MAX];
    size_t count;
};

static void want(struct urls_wanted *wanted, const char *url)
{
    for (size_t i = 0; i < wanted->count; i++)
        if (strcmp(wanted->items[i], url) == 0)
            return;
    if (wanted->count < SIGNAL_BROKERS_MAX)
        wanted->items[wanted->count++] = url;
}

static void want_of_peer(const struct node_peer *peer, struct urls_wanted *wanted)
{
    const struct state_peer *entry = state_peer(peer->node->state, &peer->id);

    for (size_t i = 0; peer->ticket && i < peer->ticket->broker_count; i++)
        want(wanted, peer->ticket->brokers[i]);
    for (size_t i = 0; entry && i < urls_count(entry->brokers); i++)
        want(wanted, urls_at(entry->brokers, i));
}

void finder_refresh(struct node *node)
{
    const struct config_strings *brokers = &node->config->signal.broker;
    struct urls_wanted wanted = {.count = 0};
    struct node_peer *peer, *next;
    char errbuf[256] = "";

    if (!node->signal)
        return;
    for (size_t i = 0; i < brokers->count; i++)
        want(&wanted, brokers->items[i]);
    HASH_ITER (hh, node->peers, peer, next)
        if (peer->is_exit)
            want_of_peer(peer, &wanted);
    if (signal_set_ca_file(node->signal, node->config->signal.ca_file) < 0 ||
        signal_set_brokers(node->signal, wanted.items, wanted.count, errbuf, sizeof(errbuf)) < 0)
        log_error("event=broker-unusable why=\"%s\"", errbuf);
}

static const struct signal_events signal_events = {
    .addrs = on_addrs,
    .secret = on_secret,
    .judge = on_judge,
    .asked = on_asked,
    .found = on_found,
    .dial = on_dial,
    .changed = on_changed,
};

int finder_start(struct node *node)
{
    const struct signal_options options = {
        .identity = node->identity,
        .driver = &broker_paho,
        .resolver = {.start = node->env.resolver.start,
                     .cancel = node->env.resolver.cancel,
                     .owner = node->env.resolver.owner},
    };

    node->signal = signal_new(node->loop, &options, &signal_events, node);
    if (!node->signal)
        return -ENOMEM;
    node->env.signal = node->signal;
    return 0;
}

void finder_stop(struct node *node)
{
    invite_cancel_all(node);
    node->env.signal = NULL;
    signal_free(node->signal);
    node->signal = NULL;
}
