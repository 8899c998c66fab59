/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Invitations: a peer has asked us, by signalling, to connect to it (strategy/reverse.h, seen from
 * the other side). One attempt of the direct strategy goes to the addresses that it gave, private
 * ones only where they can mean something here; the pipe that proves the peer is greeted with the
 * token of the request, so that the peer knows why it came. An attempt that fails tells the peer
 * so, in words that help its user.
 *
 * A request is repeated by the peer until it is satisfied: one with a token that is being worked on
 * is the same one; a new token takes the place of an older request.
 *
 * Limits: INVITATIONS_MAX at once, one a peer, INVITATION_US each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/node_int.h"
#include "strategy/direct.h"

#define INVITATIONS_MAX 64
#define INVITATION_US   (8 * SEC_US)

struct invitation {
    LIST_ENTRY(invitation) link;
    struct node *node;
    struct node_id id;
    uint8_t token[MESSAGE_TOKEN_BYTES];
    struct attempt *attempt;
    struct timer timer;
    uint64_t since;
};

static void invitation_free(struct invitation *invitation)
{
    if (invitation->attempt)
        strategy_direct.cancel(invitation->attempt);
    timer_cancel(invitation->node->loop, &invitation->timer);
    LIST_REMOVE(invitation, link);
    invitation->node->invitation_count--;
    free(invitation);
}

static void invitation_fail(struct invitation *invitation, const char *text)
{
    struct node *node = invitation->node;
    char peer[NODE_ID_TEXT_LEN + 1];

    log_debug("event=invitation-failed peer=%.*s why=\"%s\"", NODE_ID_SHORT,
              node_id_format(&invitation->id, peer), text);
    signal_decline(node->signal, &invitation->id, invitation->token, CLOSE_OK, text);
    invitation_free(invitation);
}

static void on_timer(void *arg)
{
    invitation_fail(arg, "connecting took too long; do firewalls there let its port through?");
}

static void on_proven(void *arg, struct pipe *pipe, const char *candidate)
{
    struct invitation *invitation = arg;
    struct node *node = invitation->node;
    struct node_peer *peer = node_peer_get(node, &invitation->id);
    uint8_t token[MESSAGE_TOKEN_BYTES];

    (void)candidate;
    memcpy(token, invitation->token, sizeof(token));
    invitation_free(invitation);
    if (peer)
        greet_as_guest(peer, pipe, token);
    else
        pipe_abort(pipe, -ENOMEM);
}

static void on_over(void *arg, int why, const char *text)
{
    struct invitation *invitation = arg;
    char reason[MESSAGE_TEXT_MAX + 1];

    invitation->attempt = NULL;
    snprintf(reason, sizeof(reason), "%s: %s", text, err_text(why));
    invitation_fail(invitation, reason);
}

static const struct attempt_events attempt_events = {.proven = on_proven, .over = on_over};

/* Those of the addresses that are worth trying from here. */
static size_t to_candidates(const struct node *node, const struct addr *addrs, size_t count,
                            struct candidate *out)
{
    struct addr good[CANDIDATES_MAX];

    count = finder_filter(node, addrs, count, good, CANDIDATES_MAX);
    for (size_t i = 0; i < count; i++)
        out[i] = (struct candidate){.target = {.addr = good[i], .port = good[i].port},
                                    .origin = "invited"};
    return count;
}

static bool make_place(struct node *node, const struct node_id *id,
                       const uint8_t token[MESSAGE_TOKEN_BYTES])
{
    struct invitation *invitation, *next;

    for (invitation = LIST_FIRST(&node->invitations); invitation; invitation = next) {
        next = LIST_NEXT(invitation, link);
        if (!node_id_equal(&invitation->id, id))
            continue;
        if (memcmp(invitation->token, token, MESSAGE_TOKEN_BYTES) == 0)
            return false;
        invitation_free(invitation);
    }
    return true;
}

enum close_code invite_take(struct node *node, const struct node_id *from,
                            const uint8_t token[MESSAGE_TOKEN_BYTES], const struct addr *addrs,
                            size_t count)
{
    struct candidate candidates[CANDIDATES_MAX];
    struct strategy_peer peer = {.candidates = candidates};
    struct invitation *invitation;
    const char *why = "";

    if (!make_place(node, from, token))
        return CLOSE_OK;
    if (node->invitation_count == INVITATIONS_MAX || !(invitation = calloc(1, sizeof(*invitation))))
        return CLOSE_LIMIT;
    invitation->node = node;
    invitation->id = *from;
    memcpy(invitation->token, token, MESSAGE_TOKEN_BYTES);
    invitation->since = loop_now(node->loop);
    timer_init(&invitation->timer, on_timer, invitation);
    LIST_INSERT_HEAD(&node->invitations, invitation, link);
    node->invitation_count++;
    peer.id = &invitation->id;
    peer.candidate_count = to_candidates(node, addrs, count, candidates);
    invitation->attempt =
        strategy_direct.start(&node->env, &peer, &attempt_events, invitation, &why);
    if (invitation->attempt)
        timer_set_in(node->loop, &invitation->timer, INVITATION_US);
    else
        invitation_fail(invitation, count ? "it has no address that could be reached from here"
                                          : "it gave no address: it does not listen, or has no "
                                            "network");
    return CLOSE_OK;
}

void invite_cancel_all(struct node *node)
{
    while (!LIST_EMPTY(&node->invitations))
        invitation_free(LIST_FIRST(&node->invitations));
}
