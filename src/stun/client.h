/* SPDX-License-Identifier: MIT */
/*
 * STUN client: asks one server over UDP, TCP or TLS, by IPv4 or IPv6, what address we have, once or
 * again and again over the same connection, whose mapping thereby stays.
 */
#ifndef ADIT_STUN_CLIENT_H
#define ADIT_STUN_CLIENT_H

#include "stun/binding.h"
#include "stun/leg.h"

struct stun_client;

enum stun_client_outcome {
    STUN_CLIENT_MAPPED,
    STUN_CLIENT_UNREACHABLE, /* no connection, no such name, not who it should be: see the text */
    STUN_CLIENT_SILENT,      /* did not answer, at any of its addresses */
    STUN_CLIENT_REFUSED,     /* answered with an error */
    STUN_CLIENT_NONSENSE,    /* answered something else */
};

struct stun_client_result {
    enum stun_client_outcome outcome;
    struct addr mapped, local, server; /* MAPPED: us as seen, us, and who said so */
    struct addr other;                 /* the server's second address (RFC 5780); unset: none */
    bool has_nat;                      /* mapped is not local */
    uint64_t rtt_us;                   /* 0: not known */
    char text[LEG_TEXT_MAX];           /* for people */
};

struct stun_client_options {
    struct leg_options leg;
    struct transaction_timing timing; /* rto_us 0: TRANSACTION_TIMING_DEFAULT */
    uint64_t refresh_us; /* asks again so long after each answer; 0: never (stun_client_ask()) */
};

/* Begins. done is told for each question, from the loop; the first is asked at once. After MAPPED
 * the client lives on, connected; after anything else it still does, but asks no more. NULL: no
 * memory. */
typedef void stun_client_cb(struct stun_client *client, const struct stun_client_result *result,
                            void *arg);
struct stun_client *stun_client_new(struct loop *loop, const struct stun_server *server,
                                    const struct stun_client_options *options, stun_client_cb *done,
                                    void *arg);
/* Asks again. 0, -EALREADY: a question is under way; ADIT_ECLOSED: not connected. */
int stun_client_ask(struct stun_client *client);
/* Ends it, untold. Allowed inside done. */
void stun_client_free(struct stun_client *client);

#endif
