/* SPDX-License-Identifier: MIT */
/*
 * Behaviour: what the NAT between us and the network does with addresses (RFC 4787, RFC 5780), for
 * one protocol and one family at a time, since one box may treat each differently.
 */
#ifndef ADIT_STUN_BEHAVIOUR_H
#define ADIT_STUN_BEHAVIOUR_H

#include "stun/client.h"

struct behaviour;

#define BEHAVIOUR_SERVERS_MAX 4
#define BEHAVIOUR_PORTS_MAX   8
#define BEHAVIOUR_TEXT_MAX    200

/* Which address and port our packets get. */
enum behaviour_mapping {
    BEHAVIOUR_MAPPING_UNKNOWN,      /* too few answers */
    BEHAVIOUR_MAPPING_BLOCKED,      /* no answers at all */
    BEHAVIOUR_MAPPING_NONE,         /* there is no NAT: ours is the one that others see */
    BEHAVIOUR_MAPPING_INDEPENDENT,  /* the same to everybody */
    BEHAVIOUR_MAPPING_ADDRESS,      /* another one for each address */
    BEHAVIOUR_MAPPING_ADDRESS_PORT, /* another one for each address and port ("symmetric") */
    BEHAVIOUR_MAPPING_DEPENDENT,    /* one of the last two: without RFC 5780 they look the same */
};

/* Whose packets are let in to a mapped address. */
enum behaviour_filtering {
    BEHAVIOUR_FILTERING_UNKNOWN, /* no server with RFC 5780; or TCP, where it cannot be measured */
    BEHAVIOUR_FILTERING_INDEPENDENT,  /* everybody's */
    BEHAVIOUR_FILTERING_ADDRESS,      /* of addresses that we have sent to */
    BEHAVIOUR_FILTERING_ADDRESS_PORT, /* of addresses and ports that we have sent to */
};

struct behaviour_result {
    enum server_transport protocol; /* SERVER_UDP or SERVER_TCP */
    int family;                     /* AF_INET or AF_INET6 */
    enum behaviour_mapping mapping;
    enum behaviour_filtering filtering;
    struct addr local, mapped; /* unset: not known */
    bool same_port;            /* the mapped port is ours */
    /* The mapped ports, in the order of asking, when they differ; and by how much each, if always
     * by the same (a NAT whose next port can be guessed), else 0. */
    uint16_t ports[BEHAVIOUR_PORTS_MAX];
    size_t port_count;
    int step;
    size_t asked, answered;        /* servers */
    uint64_t rtt_us;               /* of the first answer; 0: not known */
    char text[BEHAVIOUR_TEXT_MAX]; /* for people */
};

struct behaviour_options {
    enum server_transport protocol;                    /* SERVER_UDP or SERVER_TCP */
    int family;                                        /* AF_INET or AF_INET6 */
    struct stun_server servers[BEHAVIOUR_SERVERS_MAX]; /* their transports do not matter */
    size_t server_count;
    struct stun_resolver resolver;
    struct pipe_options pipe; /* the route; its local port, if any, is used for the mapping */
    struct transaction_timing timing; /* rto_us 0: BEHAVIOUR_TIMING */
    /* How much later than the first answer those of other servers may come; 0: 1 s. */
    uint64_t patience_us;
};

/* Answers that do not come are as telling as those that do, so waiting is short: 2.5 s. */
#define BEHAVIOUR_TIMING                                             \
    {                                                                \
        .rto_us = 500 * MS_US, .rc = 3, .rm = 2, .ti_us = 5 * SEC_US \
    }

/* Begins. done is told once, from the loop; the behaviour is gone then. NULL: no memory. */
typedef void behaviour_cb(void *arg, const struct behaviour_result *result);
struct behaviour *behaviour_start(struct loop *loop, const struct behaviour_options *options,
                                  behaviour_cb *done, void *arg);
void behaviour_cancel(struct behaviour *behaviour); /* untold */

/* Names, static: "endpoint-independent", ... */
const char *behaviour_mapping_name(enum behaviour_mapping mapping);
const char *behaviour_filtering_name(enum behaviour_filtering filtering);

#endif
