/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A client is a leg, a table of transactions, and at most one Binding question under way. When a
 * datagram server does not answer, the next address of its name is tried (leg_options.skip), until
 * there are none left. A connection that ends after an answer is told as UNREACHABLE, since the
 * mapping may be gone with it.
 */
#include "stun/client.h"

#include <stdio.h>
#include <stdlib.h>

struct stun_client {
    struct loop *loop;
    struct stun_server server;
    struct stun_client_options options;
    stun_client_cb *done;
    void *arg;
    struct leg *leg; /* NULL: over */
    struct transaction_table *table;
    struct binding binding;
    struct timer refresh;
    bool answered; /* at the leg's address, ever */
};

static bool open_leg(struct stun_client *client);

/* The client may be gone afterwards. */
static void tell(struct stun_client *client, struct stun_client_result *result)
{
    client->done(client, result, client->arg);
}

static void drop_leg(struct stun_client *client)
{
    binding_cancel(&client->binding);
    transaction_table_free(client->table);
    client->table = NULL;
    timer_cancel(client->loop, &client->refresh);
    if (client->leg)
        leg_close(client->leg);
    client->leg = NULL;
}

static enum stun_client_outcome outcome_of(const struct binding_answer *answer)
{
    switch (answer->outcome) {
    case BINDING_MAPPED:
        return STUN_CLIENT_MAPPED;
    case BINDING_SILENT:
        return STUN_CLIENT_SILENT;
    case BINDING_REFUSED:
        return STUN_CLIENT_REFUSED;
    case BINDING_NONSENSE:
        break;
    }
    return STUN_CLIENT_NONSENSE;
}

static void on_answer(void *arg, const struct binding_answer *answer)
{
    struct stun_client *client = arg;
    struct stun_client_result result = {.outcome = outcome_of(answer),
                                        .mapped = answer->mapped,
                                        .other = answer->other,
                                        .rtt_us = answer->rtt_us};

    binding_text(answer, result.text);
    leg_addrs(client->leg, &result.local, &result.server);
    if (answer->outcome == BINDING_MAPPED) {
        client->answered = true;
        result.has_nat = !addr_equal(&result.mapped, &result.local);
        if (client->options.refresh_us)
            timer_set_in(client->loop, &client->refresh, client->options.refresh_us);
    } else {
        drop_leg(client);
        /* Perhaps at another address: skip goes up until the leg finds none. */
        if (answer->outcome == BINDING_SILENT && !client->answered &&
            !addr_is_set(&client->options.leg.address) &&
            client->options.leg.skip + 1 < LEG_ADDRESSES_MAX) {
            client->options.leg.skip++;
            if (open_leg(client))
                return;
        }
    }
    tell(client, &result);
}

int stun_client_ask(struct stun_client *client)
{
    if (!client->leg || !leg_is_up(client->leg))
        return ADIT_ECLOSED;
    if (client->binding.transaction)
        return -EALREADY;
    timer_cancel(client->loop, &client->refresh);
    return binding_ask(&client->binding, client->loop, client->table, NULL, 0, on_answer, client);
}

static void on_refresh(void *arg)
{
    stun_client_ask(arg);
}

static int on_send(void *owner, const uint8_t *bytes, size_t len, const struct addr *to)
{
    struct stun_client *client = owner;

    (void)to;
    return leg_send(client->leg, bytes, len);
}

static void on_up(struct leg *leg, void *arg)
{
    (void)leg;
    stun_client_ask(arg);
}

static void on_frame(struct leg *leg, const struct slice *frame, void *arg)
{
    struct stun_client *client = arg;
    struct stun_message message;

    (void)leg;
    if (stun_parse_datagram(frame->data, frame->len, &message) == 0)
        transaction_receive(client->table, &message, NULL);
}

static void on_end(struct leg *leg, int why, const char *text, void *arg)
{
    struct stun_client *client = arg;
    struct stun_client_result result = {.outcome = STUN_CLIENT_UNREACHABLE};

    (void)leg;
    client->leg = NULL;
    drop_leg(client);
    /* All addresses were asked in vain. */
    if (why == -ENOENT && client->options.leg.skip > 0 && !client->answered) {
        result.outcome = STUN_CLIENT_SILENT;
        text = "the server did not answer";
    }
    snprintf(result.text, sizeof(result.text), "%s", text);
    tell(client, &result);
}

static const struct leg_events leg_events = {.up = on_up, .frame = on_frame, .end = on_end};

static bool open_leg(struct stun_client *client)
{
    const struct transaction_timing *timing = &client->options.timing;
    bool is_stream = client->server.transport != SERVER_UDP;

    client->table = transaction_table_new(client->loop, is_stream, timing->rto_us ? timing : NULL,
                                          on_send, client);
    if (client->table)
        client->leg =
            leg_open(client->loop, &client->server, &client->options.leg, &leg_events, client);
    if (client->leg)
        return true;
    drop_leg(client);
    return false;
}

struct stun_client *stun_client_new(struct loop *loop, const struct stun_server *server,
                                    const struct stun_client_options *options, stun_client_cb *done,
                                    void *arg)
{
    struct stun_client *client = calloc(1, sizeof(*client));

    if (!client)
        return NULL;
    client->loop = loop;
    client->server = *server;
    client->options = *options;
    client->done = done;
    client->arg = arg;
    timer_init(&client->refresh, on_refresh, client);
    if (open_leg(client))
        return client;
    free(client);
    return NULL;
}

void stun_client_free(struct stun_client *client)
{
    if (!client)
        return;
    drop_leg(client);
    free(client);
}
