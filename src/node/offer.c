/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Tickets of this node: its ID, where it listens (addresses given, else path.advertise and those of
 * the listeners), the brokers of its configuration, and an enrolment secret that the state
 * remembers by its hash. One of the two suffices: behind NAT, peers find it by a broker; without
 * any, they connect to an address. What is more than a ticket holds is left out, the worst address
 * first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/node_int.h"

static int add_text(struct ticket *ticket, const char *text, char *errbuf, size_t errlen)
{
    struct target target;

    if (ticket->reach_count == TICKET_REACH_MAX)
        return 0;
    if (target_parse(text, &target) < 0) {
        snprintf(errbuf, errlen, "\"%s\" is not HOST:PORT", text);
        return -EINVAL;
    }
    ticket->reach[ticket->reach_count++] = target;
    return 0;
}

static bool is_in(const struct ticket *ticket, const struct addr *addr)
{
    for (size_t i = 0; i < ticket->reach_count; i++) {
        const struct target *target = &ticket->reach[i];

        if (!target->name[0] && target->port == addr->port && addr_equal_ip(&target->addr, addr))
            return true;
    }
    return false;
}

static int fill_reach(const struct node *node, const struct node_ticket_options *options,
                      struct ticket *ticket, char *errbuf, size_t errlen)
{
    const struct config_strings *advertise = &node->config->path.advertise;
    struct addr addrs[REACH_MAX];
    size_t count;
    int r = 0;

    for (size_t i = 0; i < options->address_count && r == 0; i++)
        r = add_text(ticket, options->addresses[i], errbuf, errlen);
    if (r < 0 || options->address_count)
        return r;
    for (size_t i = 0; i < advertise->count && r == 0; i++)
        r = add_text(ticket, advertise->items[i], errbuf, errlen);
    count = reach_listeners(node, addrs, REACH_MAX);
    for (size_t i = 0; i < count && ticket->reach_count < TICKET_REACH_MAX; i++) {
        if (is_in(ticket, &addrs[i]))
            continue;
        ticket->reach[ticket->reach_count++] =
            (struct target){.addr = addrs[i], .port = addrs[i].port};
    }
    return r;
}

static void fill_brokers(const struct node *node, struct ticket *ticket)
{
    const struct config_strings *brokers = &node->config->signal.broker;

    for (size_t i = 0; i < brokers->count && ticket->broker_count < TICKET_BROKERS_MAX; i++)
        if (url_is_good(brokers->items[i]))
            strcpy(ticket->brokers[ticket->broker_count++], brokers->items[i]);
}

/* The ticket's text; what does not fit is left out. 0 or a negative error. */
static int write_text(struct ticket *ticket, char *buf, size_t size)
{
    size_t reach = ticket->reach_count, brokers = ticket->broker_count;
    int r = ticket_format(ticket, buf, size);

    while (r == -ENOSPC && (ticket->reach_count > 1 || ticket->broker_count > 1)) {
        if (ticket->reach_count > 1)
            ticket->reach_count--;
        else
            ticket->broker_count--;
        r = ticket_format(ticket, buf, size);
    }
    if (ticket->reach_count < reach || ticket->broker_count < brokers)
        log_warn("event=ticket-shortened addresses=%zu of=%zu brokers=%zu of=%zu why=\"a ticket "
                 "has at most %d characters\"",
                 ticket->reach_count, reach, ticket->broker_count, brokers, TICKET_TEXT_MAX);
    return r < 0 ? r : 0;
}

int node_ticket(struct node *node, const struct node_ticket_options *options, char **text,
                char *errbuf, size_t errlen)
{
    struct ticket *ticket = calloc(1, sizeof(*ticket));
    char buf[TICKET_TEXT_MAX + 1];
    int r = -ENOMEM;

    *text = NULL;
    if (!ticket)
        goto out;
    ticket->id = node->id;
    snprintf(ticket->name, sizeof(ticket->name), "%s", node->name);
    r = fill_reach(node, options, ticket, errbuf, errlen);
    if (r < 0)
        goto out;
    fill_brokers(node, ticket);
    if (ticket->reach_count == 0 && ticket->broker_count == 0) {
        snprintf(errbuf, errlen,
                 "nobody could reach this node: it does not listen, or has no network, and has no "
                 "broker; see path.listen, path.advertise and signal.broker");
        r = -EADDRNOTAVAIL;
        goto out;
    }
    if (options->uses) {
        int64_t now = node_wall_s();

        if (!(node->roles & NODE_EXIT)) {
            snprintf(errbuf, errlen,
                     "this node is not an exit, so there is nothing to enrol for; --uses 0 makes a "
                     "ticket without that");
            r = -EPERM;
            goto out;
        }
        r = state_enrol_new(node->state, options->uses, options->ttl_s, options->admit_s, now,
                            ticket->secret);
        if (r < 0) {
            snprintf(errbuf, errlen, "the enrolment secret could not be kept: %s%s", err_text(r),
                     r == ADIT_EFULL ? "; withdraw the tickets that are out (adit ticket --refresh)"
                                     : "");
            goto out;
        }
        ticket->has_secret = true;
        ticket->expiry_s = options->ttl_s > 0 ? (uint64_t)(now + options->ttl_s) : 0;
    }
    r = write_text(ticket, buf, sizeof(buf));
    if (r < 0) {
        snprintf(errbuf, errlen, "the ticket cannot be written: %s", err_text(r));
        goto out;
    }
    *text = strdup(buf);
    r = *text ? 0 : -ENOMEM;
out:
    if (r == -ENOMEM)
        snprintf(errbuf, errlen, "out of memory");
    explicit_bzero(buf, sizeof(buf));
    if (ticket)
        explicit_bzero(ticket, sizeof(*ticket));
    free(ticket);
    return r;
}
