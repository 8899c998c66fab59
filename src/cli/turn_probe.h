/* SPDX-License-Identifier: MIT */
/* What the files of `adit turn probe' share. */
#ifndef ADIT_CLI_TURN_PROBE_H
#define ADIT_CLI_TURN_PROBE_H

#include "cli/turn_session.h"
#include "stun/client.h"
#include "stun/turn_allocation.h"

#define PROBE_LEGS_MAX      96 /* servers x UDP, TCP, TLS x families */
#define PROBE_ADVICE_MAX    32
#define PROBE_REDIRECTS_MAX 5
#define PROBE_ADVICE_TEXT   400

/* The answer to something that was asked for. */
enum probe_answer { PROBE_UNASKED, PROBE_YES, PROBE_NO };
struct probe_finding {
    enum probe_answer answer;
    char text[TURN_TEXT_MAX]; /* of NO: why */
};

struct probe_flow {
    bool done;
    uint64_t bytes, us;      /* as fast as it goes */
    uint64_t sent, received; /* messages, at half of that */
    uint64_t latency_us;     /* mean, from one client to the other */
    unsigned largest;        /* bytes of a message that came through; 0: none */
};

/* What was found out about one way to one address of a server. */
struct probe_leg {
    struct turn_server server;
    char name[SERVER_TEXT_MAX]; /* as the user has it */
    int family;
    struct probe_finding reachable;
    enum stun_client_outcome outcome;
    uint64_t rtt_us;
    struct addr address, mapped, local;
    struct addr redirects[PROBE_REDIRECTS_MAX]; /* where it sent us, in this order (300) */
    size_t redirect_count;
    bool has_mapped, has_nat;
    char realm[128], software[64];
    bool asked;      /* there was an answer to Allocate */
    bool open_relay; /* it wanted no login */
    bool sha256, anonymous;
    struct probe_finding login, relay[2], second, permission, own_permission, loopback, channel,
        mobility, tcp;
    enum turn_trouble trouble; /* of the allocation */
    struct addr relayed[2];    /* IPv4, IPv6 */
    uint32_t lifetime_s;
    struct probe_flow flow;
};

struct probe {
    struct turn_session session;
    struct probe_leg legs[PROBE_LEGS_MAX];
    size_t count, at;
    bool is_interrupted;
    uint64_t flow_us; /* how long bytes are sent; 0: not at all */
    char advice[PROBE_ADVICE_MAX][PROBE_ADVICE_TEXT];
    size_t advice_count;
};

/* Asks all that is asked of one leg; done is told once, from the loop. NULL: no memory. */
struct probe_run;
struct probe_run *probe_run_new(struct probe *probe, struct probe_leg *leg, void (*done)(void *arg),
                                void *arg);
void probe_run_free(struct probe_run *run);

/* Sends from one allocation (is_stream: by a stream) to the relayed address of another, as fast as
 * it goes, for so long; both live on. The data that `to' hears is to be handed on. done is told
 * from the loop. */
struct flow;
struct flow *flow_new(struct loop *loop, struct turn_allocation *from, const struct addr *to,
                      uint64_t duration_us, bool is_stream, struct probe_flow *result,
                      void (*done)(void *arg), void *arg);
void flow_data(struct flow *flow, const uint8_t *bytes, size_t len);
void flow_room(struct flow *flow); /* `from' has room again */
void flow_free(struct flow *flow); /* NULL: nothing */

/* Whether a relay can work by this leg. */
bool probe_leg_works(const struct probe_leg *leg);
/* What can be done about what was found. */
void probe_advise(struct probe *probe);
void probe_print(const struct probe *probe, bool json);

#endif
