/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Which peer is meant by gateway.exit, a route or a forward: a ticket, the name of a [peer]
 * section, or a peer that the state knows by name, ID or the beginning of an ID. Where nothing is
 * said there must be exactly one peer to choose: of the configuration, else of those whose tickets
 * this node has used.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/node_int.h"

struct choice {
    struct node_id id;
    struct ticket *ticket; /* NULL: none */
};

static int read_ticket(const char *text, const char *what, struct choice *choice, char *errbuf,
                       size_t errlen)
{
    enum ticket_result result;

    choice->ticket = calloc(1, sizeof(*choice->ticket));
    if (!choice->ticket) {
        snprintf(errbuf, errlen, "out of memory");
        return -ENOMEM;
    }
    result = ticket_parse(text, strlen(text), choice->ticket);
    if (result != TICKET_OK) {
        snprintf(errbuf, errlen, "%s: %s", what, ticket_result_text(result));
        return ADIT_EFORMAT;
    }
    choice->id = choice->ticket->id;
    if (ticket_is_expired(choice->ticket, (uint64_t)node_wall_s()))
        log_warn("event=ticket-expired effect=\"it works only if this node has used it before\"");
    return 0;
}

static int choose_section(const struct config_peer *section, struct choice *choice, char *errbuf,
                          size_t errlen)
{
    char what[CONFIG_PEER_NAME_MAX + 32];
    int r = 0;

    if (section->ticket[0]) {
        snprintf(what, sizeof(what), "the ticket of [peer %s]", section->name);
        r = read_ticket(section->ticket, what, choice, errbuf, errlen);
        if (r == 0 && section->has_id && !node_id_equal(&section->id, &choice->id)) {
            snprintf(errbuf, errlen, "[peer %s]: id and ticket name different nodes",
                     section->name);
            return ADIT_EFORMAT;
        }
        return r;
    }
    if (!section->has_id) {
        snprintf(errbuf, errlen, "[peer %s] has neither id nor ticket", section->name);
        return -ENOENT;
    }
    choice->id = section->id;
    return 0;
}

static int choose_named(const struct node *node, const char *text, struct choice *choice,
                        char *errbuf, size_t errlen)
{
    const struct state_peer *entry;

    switch (state_find_peer(node->state, text, &entry)) {
    case STATE_FOUND:
        choice->id = entry->id;
        return 0;
    case STATE_AMBIGUOUS:
        snprintf(
            errbuf, errlen,
            "\"%s\" means more than one known peer: give more of its ID (adit peers lists them)",
            text);
        return -ENOENT;
    case STATE_UNKNOWN:
        /* May be that of a ticket which nobody has used yet, or be heard of in other ways. */
        if (node_find_peer(node, text, &choice->id))
            return 0;
        break;
    }
    if (strcasestr(text, "adit1")) { /* half a ticket is no secret to repeat either */
        snprintf(
            errbuf, errlen,
            "this is neither a whole ticket nor a known peer: copy all of the ticket, from adit1 "
            "on, or give a name that adit peers lists");
        return -ENOENT;
    }
    snprintf(errbuf, errlen,
             "there is no peer \"%s\": give a ticket, or one of the names that adit peers lists",
             text);
    return -ENOENT;
}

static int choose_only(const struct node *node, const struct config *config, struct choice *choice,
                       char *errbuf, size_t errlen)
{
    const struct state_peer *peers, *found = NULL;
    size_t count, exits = 0;

    if (config->peer_count == 1)
        return choose_section(&config->peers[0], choice, errbuf, errlen);
    peers = state_peers(node->state, &count);
    for (size_t i = 0; i < count && config->peer_count == 0; i++) {
        if (strcmp(peers[i].how, "enrolled") != 0)
            continue;
        found = &peers[i];
        exits++;
    }
    if (exits == 1) {
        choice->id = found->id;
        return 0;
    }
    if (exits == 0 && config->peer_count == 0)
        snprintf(errbuf, errlen,
                 "no exit is known yet: start with `adit gateway TICKET', a ticket that `adit "
                 "exit' printed");
    else
        snprintf(errbuf, errlen,
                 "several peers are known: say which one is the exit (adit gateway NAME, or "
                 "gateway.exit); adit peers lists them");
    return -ENOENT;
}

int node_choose_peer(struct node *node, const struct config *config, const char *text,
                     struct node_peer **found, char *errbuf, size_t errlen)
{
    const struct config_peer *section = config_peer_find(config, text);
    struct choice choice = {.ticket = NULL};
    struct node_peer *peer = NULL;
    int r;

    if (!text[0])
        r = choose_only(node, config, &choice, errbuf, errlen);
    else if (section)
        r = choose_section(section, &choice, errbuf, errlen);
    else if (ticket_looks_like_one(text))
        r = read_ticket(text, "the ticket", &choice, errbuf, errlen);
    else
        r = choose_named(node, text, &choice, errbuf, errlen);
    if (r < 0)
        goto out;
    if (node_id_equal(&choice.id, &node->id)) {
        snprintf(errbuf, errlen, "%s: use it on another machine, or with another --state directory",
                 close_code_text(CLOSE_SELF));
        r = -EINVAL;
        goto out;
    }
    peer = node_peer_get(node, &choice.id);
    r = peer ? 0 : -ENOMEM;
    if (peer && choice.ticket)
        r = node_peer_set_ticket(peer, choice.ticket);
    if (r < 0) {
        snprintf(errbuf, errlen, "out of memory");
        if (peer)
            node_peer_release(peer);
    }
out:
    if (choice.ticket)
        explicit_bzero(choice.ticket, sizeof(*choice.ticket));
    free(choice.ticket);
    *found = r == 0 ? peer : NULL;
    return r;
}
