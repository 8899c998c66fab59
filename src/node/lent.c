/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A peer has us listen (OPEN of kind 2), as the far side of its reverse forward. It may if it is
 * admitted, we are an exit, and a rule of exit.reverse covers the address and port; for port 0 the
 * rule must not name ports. The stream that asked is the listener's life: its end, and the
 * session's end with it, ends the listener and the connections that came to it. So does a reload
 * that takes the rule away, and a revocation.
 *
 * Limits: LENT_PER_PEER listeners a peer, INLET_CLIENTS_MAX connections a listener.
 */
#include <stdlib.h>

#include "base/log.h"
#include "node/forward.h"
#include "node/inlet.h"

struct lent {
    LIST_ENTRY(lent) link;
    struct node_peer *peer;
    struct pipe *life;
    struct inlet *inlet;
};

static void on_life_eof(struct pipe *stream, void *arg);
static void on_life_end(struct pipe *stream, int why, void *arg);

static const struct pipe_events life_events = {.eof = on_life_eof, .end = on_life_end};

static void lent_end(struct lent *lent, const char *why)
{
    struct addr addr = inlet_addr(lent->inlet);
    char text[ADDR_TEXT_MAX];

    log_info("event=listening-ended peer=%s at=%s why=\"%s\"", lent->peer->label,
             addr_format(&addr, text), why);
    LIST_REMOVE(lent, link);
    inlet_free(lent->inlet);
    free(lent);
}

/* Ours to end: the peer hears it by the end of the stream. */
static void lent_cancel(struct lent *lent, const char *why)
{
    pipe_del_listener(lent->life, &life_events, lent);
    pipe_close(lent->life);
    lent_end(lent, why);
}

static void on_life_eof(struct pipe *stream, void *arg)
{
    (void)stream;
    lent_cancel(arg, "the peer ended it");
}

static void on_life_end(struct pipe *stream, int why, void *arg)
{
    (void)stream;
    lent_end(arg, why ? err_text(why) : "the peer ended it");
}

static void on_inlet_answer(void *arg, enum answer answer)
{
    struct lent *lent = arg;

    if (answer != ANSWER_OK)
        log_debug("event=forward-refused peer=%s why=\"%s\"", lent->peer->label,
                  answer_text(answer));
}

static bool is_allowed(const struct node *node, const struct addr *addr)
{
    const struct config_rules *rules = &node->config->exit.reverse;

    for (size_t i = 0; i < rules->count; i++)
        if (rule_match(&rules->items[i], NULL, addr, addr->port))
            return true;
    return false;
}

static enum answer judge(const struct node_peer *peer, const struct addr *addr)
{
    const struct node *node = peer->node;
    const struct lent *lent;
    size_t count = 0;

    if (!(node->roles & NODE_EXIT) || !peer->is_admitted || node->stopping)
        return ANSWER_NOT_EXIT;
    if (!is_allowed(node, addr))
        return ANSWER_POLICY;
    LIST_FOREACH (lent, &node->lents, link)
        count += lent->peer == peer;
    return count < LENT_PER_PEER ? ANSWER_OK : ANSWER_LIMIT;
}

static enum answer answer_to(int error)
{
    switch (-error) {
    case EADDRINUSE:
        return ANSWER_IN_USE;
    case EADDRNOTAVAIL:
        return ANSWER_NOT_LOCAL;
    case EAFNOSUPPORT:
        return ANSWER_FAMILY;
    default:
        return ANSWER_FAILED;
    }
}

static enum answer lent_begin(struct node_peer *peer, struct pipe *stream, const struct addr *addr,
                              struct addr *bound)
{
    const struct opening opening = {.kind = OPENING_FORWARDED};
    const struct config_listen at = {.addr = *addr};
    struct lent *lent;
    char text[ADDR_TEXT_MAX];
    enum answer answer = judge(peer, addr);
    int error;

    if (answer != ANSWER_OK)
        return answer;
    lent = calloc(1, sizeof(*lent));
    if (!lent)
        return ANSWER_FAILED;
    lent->peer = peer;
    lent->life = stream;
    lent->inlet = inlet_new(peer, &at, &opening, on_inlet_answer, lent, &error);
    if (!lent->inlet) {
        log_warn("event=not-listening peer=%s at=%s why=\"%s\"", peer->label,
                 addr_format(addr, text), err_text(error));
        free(lent);
        return answer_to(error);
    }
    *bound = inlet_addr(lent->inlet);
    LIST_INSERT_HEAD(&peer->node->lents, lent, link);
    pipe_add_listener(stream, &life_events, lent);
    return ANSWER_OK;
}

void lent_open(struct node_peer *peer, struct pipe *stream, const struct opening *opening)
{
    struct addr bound = {.family = 0};
    struct addr addr = addr_unmap(&opening->target.addr); /* one address, one set of rules */
    char text[ADDR_TEXT_MAX];
    enum answer answer = lent_begin(peer, stream, &addr, &bound);

    if (answer != ANSWER_OK) {
        peer->node->streams_refused++;
        log_info("event=listening-refused peer=%s at=%s why=\"%s\"%s", peer->label,
                 addr_format(&addr, text), answer_text(answer),
                 answer == ANSWER_POLICY ? " remedy=exit.reverse" : "");
        stream_answer(stream, answer, NULL);
        return;
    }
    log_info("event=listening-for-peer peer=%s at=%s", peer->label, addr_format(&bound, text));
    stream_answer(stream, ANSWER_OK, &bound);
    pipe_resume(stream);
}

void lent_recheck(struct node *node)
{
    struct lent *lent, *next;

    for (lent = LIST_FIRST(&node->lents); lent; lent = next) {
        struct addr addr = inlet_addr(lent->inlet);

        next = LIST_NEXT(lent, link);
        if (!lent->peer->is_admitted)
            lent_cancel(lent, "the peer is no longer admitted");
        else if (!is_allowed(node, &addr))
            lent_cancel(lent, "exit.reverse no longer allows it");
    }
}

void lent_forget(struct node_peer *peer)
{
    struct lent *lent, *next;

    for (lent = LIST_FIRST(&peer->node->lents); lent; lent = next) {
        next = LIST_NEXT(lent, link);
        if (lent->peer == peer)
            lent_cancel(lent, "the peer is gone");
    }
}

json_t *lent_describe(const struct node *node)
{
    json_t *list = json_array();
    const struct lent *lent;

    LIST_FOREACH (lent, &node->lents, link) {
        const struct inlet_stats *stats = inlet_stats(lent->inlet);
        struct addr addr = inlet_addr(lent->inlet);
        char id[NODE_ID_TEXT_LEN + 1], text[ADDR_TEXT_MAX];

        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:I, s:I, s:I}", "address",
                                              addr_format(&addr, text), "peer", lent->peer->label,
                                              "peer_id", node_id_format(&lent->peer->id, id),
                                              "connections", (json_int_t)stats->clients, "accepted",
                                              (json_int_t)stats->accepted, "refused",
                                              (json_int_t)stats->refused));
    }
    return list;
}
