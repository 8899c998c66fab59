/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What a trace remembers: flows, transactions and relayed addresses, in hash tables. All are
 * bounded; the flow that was used least lately, the first of a list, and the oldest transaction
 * give way, also when what flows hold of TCP connections is too much together. Hashes have no
 * secret seed: a capture made to fill one bucket makes its own reading slow, and no more.
 */
#include <stdlib.h>
#include <string.h>

#include "capture/trace_int.h"

static int compare(const struct addr *a, const struct addr *b)
{
    int rc = memcmp(a->ip.bytes, b->ip.bytes, sizeof(a->ip.bytes));

    return rc != 0 ? rc : (int)a->port - (int)b->port;
}

static unsigned flow_bucket(enum packet_protocol protocol, const struct addr *a,
                            const struct addr *b)
{
    return (addr_hash(a, (uint32_t)protocol) ^ addr_hash(b, 1) * 31) % FLOW_BUCKETS;
}

static void flow_free(struct flow *flow)
{
    flow_reset(flow);
    free(flow);
}

void tables_clear(struct trace_tables *tables)
{
    for (size_t i = 0; i < FLOW_BUCKETS; i++) {
        while (tables->flows[i]) {
            struct flow *flow = tables->flows[i];

            tables->flows[i] = flow->next;
            flow_free(flow);
        }
    }
}

static void list_remove(struct trace_tables *tables, struct flow *flow)
{
    *(flow->newer ? &flow->newer->older : &tables->newest) = flow->older;
    *(flow->older ? &flow->older->newer : &tables->oldest) = flow->newer;
    flow->newer = flow->older = NULL;
}

static void list_add(struct trace_tables *tables, struct flow *flow)
{
    flow->older = tables->newest;
    *(tables->newest ? &tables->newest->newer : &tables->oldest) = flow;
    tables->newest = flow;
}

static void drop_oldest(struct trace_tables *tables)
{
    struct flow *flow = tables->oldest, **at;

    for (at = &tables->flows[flow_bucket(flow->protocol, &flow->a, &flow->b)]; *at != flow;
         at = &(*at)->next)
        ;
    *at = flow->next;
    list_remove(tables, flow);
    tables->held -= flow_held(flow);
    tables->flow_count--;
    flow_free(flow);
}

size_t flow_held(const struct flow *flow)
{
    size_t held = 0;

    for (int side = 0; side < 2; side++)
        held += flow->half[side].cap + flow->half[side].ahead_bytes;
    return held;
}

void tables_hold(struct trace_tables *tables, const struct flow *flow, size_t before)
{
    tables->held = tables->held - before + flow_held(flow);
    while (tables->held > TRACE_HELD_MAX && tables->oldest != flow)
        drop_oldest(tables);
}

struct flow *tables_flow(struct trace_tables *tables, enum packet_protocol protocol,
                         const struct addr *from, const struct addr *to, bool make)
{
    bool in_order = compare(from, to) <= 0;
    const struct addr *a = in_order ? from : to, *b = in_order ? to : from;
    unsigned bucket = flow_bucket(protocol, a, b);
    struct flow *flow = tables->flows[bucket];

    while (flow &&
           (flow->protocol != protocol || !addr_equal(&flow->a, a) || !addr_equal(&flow->b, b)))
        flow = flow->next;
    if (!flow && make) {
        if (tables->flow_count == TRACE_FLOWS_MAX)
            drop_oldest(tables);
        flow = calloc(1, sizeof(*flow));
        if (!flow)
            return NULL;
        flow->protocol = protocol;
        flow->a = *a;
        flow->b = *b;
        flow->next = tables->flows[bucket];
        tables->flows[bucket] = flow;
        tables->flow_count++;
        list_add(tables, flow);
    } else if (flow && flow != tables->newest) {
        list_remove(tables, flow);
        list_add(tables, flow);
    }
    return flow;
}

int flow_side(const struct flow *flow, const struct addr *from)
{
    return addr_equal(&flow->a, from) ? 0 : 1;
}

void flow_reset(struct flow *flow)
{
    reassembly_clear(&flow->half[0]);
    reassembly_clear(&flow->half[1]);
    free(flow->channels);
    flow->channels = NULL;
    flow->channel_count = 0;
    flow->mode = FLOW_UNDECIDED;
    flow->said_cipher[0] = flow->said_cipher[1] = false;
}

void flow_set_channel(struct flow *flow, uint16_t number, const struct addr *peer)
{
    struct flow_channel *grown;

    for (size_t i = 0; i < flow->channel_count; i++) {
        if (flow->channels[i].number == number) {
            flow->channels[i].peer = *peer;
            return;
        }
    }
    if (flow->channel_count == FLOW_CHANNELS_MAX)
        return;
    grown = realloc(flow->channels, (flow->channel_count + 1) * sizeof(*grown));
    if (!grown)
        return;
    flow->channels = grown;
    flow->channels[flow->channel_count++] = (struct flow_channel){number, *peer};
}

const struct addr *flow_channel_peer(const struct flow *flow, uint16_t number)
{
    for (size_t i = 0; i < flow->channel_count; i++)
        if (flow->channels[i].number == number)
            return &flow->channels[i].peer;
    return NULL;
}

/* --- Transactions --- */

static struct trace_transaction **transaction_bucket(struct trace_tables *tables,
                                                     const struct stun_id *id)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < STUN_ID_BYTES; i++)
        hash = (hash ^ id->bytes[i]) * 16777619u;
    return &tables->buckets[hash % TRANSACTION_BUCKETS];
}

struct trace_transaction *tables_find(struct trace_tables *tables, const struct stun_id *id)
{
    struct trace_transaction *t = *transaction_bucket(tables, id);

    while (t && !stun_id_equal(&t->id, id))
        t = t->next;
    return t;
}

struct trace_transaction *tables_add(struct trace_tables *tables, const struct stun_id *id)
{
    struct trace_transaction *t = &tables->transactions[tables->next_transaction], **at;

    tables->next_transaction = (tables->next_transaction + 1) % TRACE_TRANSACTIONS_MAX;
    if (t->used) {
        for (at = transaction_bucket(tables, &t->id); *at != t; at = &(*at)->next)
            ;
        *at = t->next;
    }
    *t = (struct trace_transaction){.used = true, .id = *id};
    at = transaction_bucket(tables, id);
    t->next = *at;
    *at = t;
    return t;
}

/* --- Relayed addresses --- */

/* Where it is, or could be put. */
static size_t relay_slot(const struct trace_tables *tables, const struct addr *addr)
{
    size_t slot = addr_hash(addr, 2) % RELAY_SLOTS;

    while (addr_is_set(&tables->relays[slot]) && !addr_equal(&tables->relays[slot], addr))
        slot = (slot + 1) % RELAY_SLOTS;
    return slot;
}

bool tables_is_relay(const struct trace_tables *tables, const struct addr *addr)
{
    return tables->relay_count > 0 && addr_is_set(&tables->relays[relay_slot(tables, addr)]);
}

void tables_add_relay(struct trace_tables *tables, const struct addr *relay)
{
    size_t slot = relay_slot(tables, relay);

    if (!addr_is_set(relay) || addr_is_set(&tables->relays[slot]) ||
        tables->relay_count == TRACE_RELAYS_MAX)
        return;
    tables->relays[slot] = *relay;
    tables->relay_count++;
}
