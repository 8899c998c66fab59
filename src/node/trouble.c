/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Why a peer that we use cannot be reached, in words for the user; front ends, status and log all
 * say the same. The first of these that is known:
 *
 *     what the peer said when it refused us   (it is still in force)
 *     what keeps us off all brokers           (nobody can have answered by them), and what
 *                                             connecting directly has met
 *     what the search for a path has met      (the scheduler's text)
 *     why the last session ended
 *
 * Whoever started a gateway and is not at `adit status' reads the log: while a peer that we use has
 * no path, one warning tells each reason: at once when it is a refusal, else after
 * TROUBLE_FIRST_US, or TROUBLE_ASKED_US where somebody might still answer by a broker. The same
 * reason is not repeated before a path was there again; as several addresses fail in turns, the
 * last TROUBLE_TEXTS reasons are remembered, by their hashes.
 *
 * Streams that wait for a path are given up before their time (path.connect_wait) when connecting
 * directly has failed and nobody answers by a broker, or none can be reached: their users are
 * better served by the reason. That is looked at from TROUBLE_FIRST_US on; who comes later waits
 * TROUBLE_WAITED_US.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "node/node_int.h"
#include "strategy/direct.h"

#define TROUBLE_FIRST_US  (2500 * MS_US)
#define TROUBLE_ASKED_US  (SIGNAL_SILENCE_US + SEC_US)
#define TROUBLE_CHECK_US  (500 * MS_US)
#define TROUBLE_WAITED_US SEC_US /* a peer that is back is found sooner */

static size_t broker_count(const struct node *node)
{
    return node->signal ? signal_broker_count(node->signal) : 0;
}

/* Why we are on no broker: the first one's trouble. False: we are on one, have none, or one may
 * still come up. */
static bool find_broker_trouble(const struct node *node, struct broker_info *found)
{
    size_t count = broker_count(node);

    if (!count || signal_is_up(node->signal))
        return false;
    for (size_t i = count; i-- > 0;) {
        signal_broker_describe(node->signal, i, found);
        if (!found->why || !found->why[0])
            return false;
    }
    return true;
}

/* Why direct connections fail; "" if they are not tried, or still may come. */
static const char *direct_trouble(const struct scheduler_info *info)
{
    for (size_t i = 0; i < info->count; i++)
        if (strcmp(info->strategies[i].name, strategy_direct.name) == 0)
            return info->strategies[i].text;
    return "";
}

const char *node_peer_trouble(const struct node_peer *peer)
{
    struct scheduler_info info = {.text = ""};
    struct node *node = peer->node;
    struct broker_info broker;

    if (node_peer_is_refused(peer))
        return peer->refusal;
    if (peer->session && session_has_path(peer->session))
        return peer->refusal[0] ? peer->refusal : NULL; /* such as: it is no exit */
    if (peer->scheduler)
        scheduler_describe(peer->scheduler, &info);
    if (find_broker_trouble(node, &broker)) {
        const char *direct = direct_trouble(&info);

        snprintf(node->trouble, sizeof(node->trouble), "%s%s%s: %s", direct, direct[0] ? "; " : "",
                 broker.name, broker.why);
        return node->trouble;
    }
    if (info.text[0])
        return info.text;
    return peer->refusal[0] ? peer->refusal : NULL;
}

static void tell(struct node_peer *peer)
{
    const char *text = node_peer_trouble(peer);
    uint64_t hash;

    if (!text)
        return;
    hash = log_text_hash(text);
    for (size_t i = 0; i < TROUBLE_TEXTS; i++)
        if (peer->told[i] == hash)
            return;
    peer->told[peer->told_next++ % TROUBLE_TEXTS] = hash;
    log_warn("event=no-path-to-exit peer=%s why=\"%s\"", peer->label, text);
}

/* How long after it was first missed the reason is worth a warning: somebody may still answer. */
static uint64_t tell_after(const struct node_peer *peer)
{
    return broker_count(peer->node) ? TROUBLE_ASKED_US : TROUBLE_FIRST_US;
}

static bool is_missed(const struct node_peer *peer)
{
    return peer->is_exit && !peer->node->stopping &&
           !(peer->session && session_has_path(peer->session));
}

static bool is_hopeless(const struct node_peer *peer)
{
    struct scheduler_info info = {.text = ""};
    struct broker_info broker;

    if (peer->hopeless_at && loop_now(peer->node->loop) < peer->hopeless_at + TROUBLE_ASKED_US)
        return true;
    if (peer->scheduler)
        scheduler_describe(peer->scheduler, &info);
    return direct_trouble(&info)[0] && find_broker_trouble(peer->node, &broker);
}

static void on_trouble(void *arg)
{
    struct node_peer *peer = arg;
    uint64_t missed = loop_now(peer->node->loop) - peer->missed_since;
    bool hopeless;

    if (!is_missed(peer))
        return;
    hopeless = is_hopeless(peer);
    if (hopeless || missed >= tell_after(peer))
        tell(peer);
    if (peer->session && hopeless)
        session_fail_waiting(peer->session, TROUBLE_WAITED_US);
    timer_set_in(peer->node->loop, &peer->trouble, TROUBLE_CHECK_US);
}

void trouble_init(struct node_peer *peer)
{
    timer_init(&peer->trouble, on_trouble, peer);
}

void trouble_update(struct node_peer *peer)
{
    if (!is_missed(peer)) {
        timer_cancel(peer->node->loop, &peer->trouble);
        if (peer->session && session_has_path(peer->session))
            memset(peer->told, 0, sizeof(peer->told));
        return;
    }
    if (node_peer_is_refused(peer))
        tell(peer);
    if (!timer_is_set(&peer->trouble)) {
        peer->missed_since = loop_now(peer->node->loop);
        timer_set_in(peer->node->loop, &peer->trouble, TROUBLE_FIRST_US);
    }
}

void trouble_end(struct node_peer *peer)
{
    timer_cancel(peer->node->loop, &peer->trouble);
}
