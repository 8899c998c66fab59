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
 * Who may ask could have us try addresses on its behalf, also in our own network, which an exit's
 * policy keeps from it. So a peer's requests are followed once in INVITE_PAUSE_US, INVITE_BURST at
 * once (the others are not answered: an honest peer repeats them); of private addresses
 * INVITE_PRIVATE_MAX are tried; and where there were such, the peer is not told what became of
 * which. A request that has led to the peer itself does not count. For the sake of the first an
 * invitation is remembered for a while after it is over.
 *
 * Limits: INVITATIONS_MAX at once, of which those that are over give way; one a peer, INVITATION_US
 * each.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/node_int.h"
#include "strategy/direct.h"

#define INVITATIONS_MAX    64
#define INVITATION_US      (8 * SEC_US)
#define INVITE_PAUSE_US    SEC_US
#define INVITE_BURST       4
#define INVITE_PRIVATE_MAX 4

struct invitation {
    LIST_ENTRY(invitation) link;
    struct node *node;
    struct node_id id;
    uint8_t token[MESSAGE_TOKEN_BYTES];
    struct attempt *attempt; /* NULL: over */
    bool is_discreet;        /* private addresses are tried */
    struct timer timer;      /* the attempt's end, or that of the remembering */
    uint64_t paid;           /* when as many as were followed would have been, a pause each */
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

/* Nothing is tried any more. */
static void invitation_end(struct invitation *invitation)
{
    if (invitation->attempt)
        strategy_direct.cancel(invitation->attempt);
    invitation->attempt = NULL;
    timer_set(invitation->node->loop, &invitation->timer, invitation->paid);
}

static void invitation_fail(struct invitation *invitation, const char *text)
{
    struct node *node = invitation->node;
    char peer[NODE_ID_TEXT_LEN + 1];

    log_debug("event=invitation-failed peer=%.*s why=\"%s\"", NODE_ID_SHORT,
              node_id_format(&invitation->id, peer), text);
    if (invitation->is_discreet)
        text =
            "none of its addresses could be reached from here; do firewalls let its port through?";
    signal_decline(node->signal, &invitation->id, invitation->token, CLOSE_OK, text);
    invitation_end(invitation);
}

static void on_timer(void *arg)
{
    struct invitation *invitation = arg;

    if (invitation->attempt)
        invitation_fail(invitation,
                        "connecting took too long; do firewalls there let its port through?");
    else
        invitation_free(invitation);
}

static void on_proven(void *arg, struct pipe *pipe, const char *candidate)
{
    struct invitation *invitation = arg;
    struct node *node = invitation->node;
    struct node_peer *peer = node_peer_get(node, &invitation->id);
    uint8_t token[MESSAGE_TOKEN_BYTES];

    (void)candidate;
    memcpy(token, invitation->token, sizeof(token));
    invitation->paid -= INVITE_PAUSE_US;
    invitation_end(invitation);
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
static size_t to_candidates(struct invitation *invitation, const struct addr *addrs, size_t count,
                            struct candidate *out)
{
    struct addr good[CANDIDATES_MAX];
    size_t kept = 0, private = 0;

    count = finder_filter(invitation->node, addrs, count, good, CANDIDATES_MAX);
    for (size_t i = 0; i < count; i++) {
        if (reach_is_private(&good[i]) && ++private > INVITE_PRIVATE_MAX)
            continue;
        out[kept++] = (struct candidate){.target = {.addr = good[i], .port = good[i].port},
                                         .origin = "invited"};
    }
    invitation->is_discreet = private > 0;
    return kept;
}

static struct invitation *invitation_find(const struct node *node, const struct node_id *id)
{
    struct invitation *invitation;

    LIST_FOREACH (invitation, &node->invitations, link)
        if (node_id_equal(&invitation->id, id))
            return invitation;
    return NULL;
}

/* NULL: INVITATIONS_MAX are under way, or no memory. */
static struct invitation *invitation_new(struct node *node, const struct node_id *id)
{
    struct invitation *invitation;

    if (node->invitation_count == INVITATIONS_MAX) {
        LIST_FOREACH (invitation, &node->invitations, link)
            if (!invitation->attempt)
                break;
        if (!invitation)
            return NULL;
        invitation_free(invitation);
    }
    invitation = calloc(1, sizeof(*invitation));
    if (!invitation)
        return NULL;
    invitation->node = node;
    invitation->id = *id;
    timer_init(&invitation->timer, on_timer, invitation);
    LIST_INSERT_HEAD(&node->invitations, invitation, link);
    node->invitation_count++;
    return invitation;
}

/* Whether its peer may have one more followed now; it is counted. */
static bool invitation_pay(struct invitation *invitation)
{
    uint64_t now = loop_now(invitation->node->loop);

    if (invitation->paid < now)
        invitation->paid = now;
    if (invitation->paid > now + (INVITE_BURST - 1) * INVITE_PAUSE_US)
        return false;
    invitation->paid += INVITE_PAUSE_US;
    return true;
}

static void invitation_begin(struct invitation *invitation, const struct addr *addrs, size_t count)
{
    struct node *node = invitation->node;
    struct candidate candidates[CANDIDATES_MAX];
    struct strategy_peer peer = {.id = &invitation->id, .candidates = candidates};
    const char *why = "";

    peer.candidate_count = to_candidates(invitation, addrs, count, candidates);
    invitation->attempt =
        strategy_direct.start(&node->env, &peer, &attempt_events, invitation, &why);
    if (invitation->attempt)
        timer_set_in(node->loop, &invitation->timer, INVITATION_US);
    else
        invitation_fail(invitation, count ? "it has no address that could be reached from here"
                                          : "it gave no address: it does not listen, or has no "
                                            "network");
}

enum close_code invite_take(struct node *node, const struct node_id *from,
                            const uint8_t token[MESSAGE_TOKEN_BYTES], const struct addr *addrs,
                            size_t count)
{
    struct invitation *invitation = invitation_find(node, from);

    if (!invitation && !(invitation = invitation_new(node, from)))
        return CLOSE_LIMIT;
    if (invitation->attempt && memcmp(invitation->token, token, MESSAGE_TOKEN_BYTES) == 0)
        return CLOSE_OK;
    if (!invitation_pay(invitation))
        return CLOSE_OK;
    invitation_end(invitation);
    memcpy(invitation->token, token, MESSAGE_TOKEN_BYTES);
    invitation_begin(invitation, addrs, count);
    return CLOSE_OK;
}

void invite_cancel_all(struct node *node)
{
    while (!LIST_EMPTY(&node->invitations))
        invitation_free(LIST_FIRST(&node->invitations));
}
