/* SPDX-License-Identifier: MIT */
/* What the files of trace share. */
#ifndef ADIT_CAPTURE_TRACE_INT_H
#define ADIT_CAPTURE_TRACE_INT_H

#include "capture/reassembly.h"
#include "capture/trace.h"

#define FLOW_BUCKETS        4096
#define FLOW_CHANNELS_MAX   1024
#define TRANSACTION_BUCKETS 8192
#define RELAY_SLOTS         4096 /* a multiple of TRACE_RELAYS_MAX, so that most are empty */

/* What is spoken on a TCP connection. */
enum flow_mode { FLOW_UNDECIDED, FLOW_STUN, FLOW_TLS, FLOW_DATA };

struct flow_channel {
    uint16_t number;
    struct addr peer;
};

/* Two addresses that exchange packets. */
struct flow {
    struct flow *next;          /* in its bucket */
    struct flow *newer, *older; /* by when they were used last */
    enum packet_protocol protocol;
    struct addr a, b;
    bool is_stun;
    enum flow_mode mode;
    bool said_cipher[2]; /* ChangeCipherSpec, by a, by b */
    struct reassembly half[2];
    struct flow_channel *channels;
    size_t channel_count;
    bool has_key;
    struct stun_key key;
};

/* A request and its answer. */
struct trace_transaction {
    struct trace_transaction *next; /* in its bucket */
    bool used, answered, is_signed;
    struct stun_id id;
    uint16_t method;
    uint64_t number; /* of the event */
    int64_t time_us; /* sent last */
    unsigned sent;
    uint16_t channel; /* of ChannelBind: 0: none */
    struct addr peer;
};

struct trace_tables {
    struct flow *flows[FLOW_BUCKETS];
    struct flow *newest, *oldest;
    size_t flow_count;
    size_t held; /* bytes of TCP that wait in all flows: flow_held() */
    struct trace_transaction *buckets[TRANSACTION_BUCKETS];
    struct trace_transaction transactions[TRACE_TRANSACTIONS_MAX];
    size_t next_transaction;
    struct addr relays[RELAY_SLOTS]; /* from the slot that its hash names on; not set: none */
    size_t relay_count;
};

void tables_clear(struct trace_tables *tables);
/* The flow between two addresses. NULL: there is none (make: no memory). */
struct flow *tables_flow(struct trace_tables *tables, enum packet_protocol protocol,
                         const struct addr *from, const struct addr *to, bool make);
/* Bytes that a flow keeps of what came by TCP. */
size_t flow_held(const struct flow *flow);
/* What a flow holds has changed from `before`; the flows that were used least lately are forgotten
 * while all hold more than TRACE_HELD_MAX. */
void tables_hold(struct trace_tables *tables, const struct flow *flow, size_t before);
/* Which half a sender is: 0 for a, 1 for b. */
int flow_side(const struct flow *flow, const struct addr *from);
void flow_reset(struct flow *flow); /* a new connection between the same addresses */
void flow_set_channel(struct flow *flow, uint16_t number, const struct addr *peer);
const struct addr *flow_channel_peer(const struct flow *flow, uint16_t number);
/* The transaction of that id, or NULL. */
struct trace_transaction *tables_find(struct trace_tables *tables, const struct stun_id *id);
struct trace_transaction *tables_add(struct trace_tables *tables, const struct stun_id *id);
void tables_add_relay(struct trace_tables *tables, const struct addr *relay);
bool tables_is_relay(const struct trace_tables *tables, const struct addr *addr);

#endif
