/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Why a peer that we use cannot be reached, in words for the user; front ends, status and log all
 * say the same. The first of these that is known:
 *
 *     what the peer said when it refused us      (it is still in force)
 *     what the search for a path has met         (the scheduler's text)
 *     what keeps us off the brokers              (while no answer can have come by them)
 *     why the last session ended
 *
 * Whoever started a gateway and is not at `adit status' reads the log: while a peer that we use has
 * no path, one warning tells each reason, after TROUBLE_FIRST_US (a start takes that long) or at
 * once when it is a refusal. The same reason is not repeated before a path was there again; as
 * several addresses fail in turns, the last TROUBLE_TEXTS reasons are remembered, by their hashes.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "node/node_int.h"

#define TROUBLE_FIRST_US (2500 * MS_US)
#define TROUBLE_CHECK_US (1500 * MS_US)

/* Why we are on no broker; "" if we are on one, or have none. */
static const char *broker_trouble(struct node *node)
{
    size_t count = node->signal ? signal_broker_count(node->signal) : 0;

    node->trouble[0] = '\0';
    if (!count || signal_is_up(node->signal))
        return node->trouble;
    for (size_t i = 0; i < count; i++) {
        struct broker_info info;

        signal_broker_describe(node->signal, i, &info);
        if (!info.why || !info.why[0])
            continue;
        snprintf(node->trouble, sizeof(node->trouble), "%s: %s", info.name, info.why);
        break;
    }
    return node->trouble;
}

const char *node_peer_trouble(const struct node_peer *peer)
{
    struct scheduler_info info = {.text = ""};
    const char *text;

    if (node_peer_is_refused(peer))
        return peer->refusal;
    if (peer->session && session_has_path(peer->session))
        return peer->refusal[0] ? peer->refusal : NULL; /* such as: it is no exit */
    if (peer->scheduler)
        scheduler_describe(peer->scheduler, &info);
    if (info.text[0])
        return info.text;
    text = broker_trouble(peer->node);
    if (text[0])
        return text;
    return peer->refusal[0] ? peer->refusal : NULL;
}

static uint64_t hash_of(const char *text)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 1099511628211u;
    return hash;
}

static void tell(struct node_peer *peer)
{
    const char *text = node_peer_trouble(peer);
    uint64_t hash;

    if (!text)
        return;
    hash = hash_of(text);
    for (size_t i = 0; i < TROUBLE_TEXTS; i++)
        if (peer->told[i] == hash)
            return;
    peer->told[peer->told_next++ % TROUBLE_TEXTS] = hash;
    log_warn("event=no-path-to-exit peer=%s why=\"%s\"", peer->label, text);
}

static bool is_missed(const struct node_peer *peer)
{
    return peer->is_exit && !peer->node->stopping &&
           !(peer->session && session_has_path(peer->session));
}

static void on_trouble(void *arg)
{
    struct node_peer *peer = arg;

    if (!is_missed(peer))
        return;
    tell(peer);
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
    if (!timer_is_set(&peer->trouble))
        timer_set_in(peer->node->loop, &peer->trouble, TROUBLE_FIRST_US);
}

void trouble_end(struct node_peer *peer)
{
    timer_cancel(peer->node->loop, &peer->trouble);
}
