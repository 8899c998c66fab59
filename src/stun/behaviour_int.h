/* SPDX-License-Identifier: MIT */
/*
 * What the files of behaviour share: behaviour.c runs a measurement and judges it, probe.c asks
 * one server one question from a given local port.
 */
#ifndef ADIT_STUN_BEHAVIOUR_INT_H
#define ADIT_STUN_BEHAVIOUR_INT_H

#include "stun/behaviour.h"

struct prober;

/* From one local port, over UDP or TCP, to whatever addresses. */
struct prober *prober_new(struct loop *loop, enum server_transport protocol, int family,
                          const struct pipe_options *pipe, const struct transaction_timing *timing);
void prober_free(struct prober *prober); /* what is asked is forgotten; NULL: nothing */
/* Asks `to`; change (UDP): STUN_CHANGE_X. done is told once, from the loop. 0 or an error. */
struct probe {
    struct prober *prober;
    struct binding binding;
    struct stun_client *client; /* TCP */
    struct defer failed;
    void (*done)(void *arg, const struct binding_answer *answer);
    void *arg;
};
void prober_ask(struct prober *prober, struct probe *probe, const struct addr *to, unsigned change,
                void (*done)(void *arg, const struct binding_answer *answer), void *arg);
void probe_cancel(struct probe *probe); /* harmless when it is over or was never asked */
/* The local address, once something was asked; unset: not known. */
struct addr prober_local(const struct prober *prober, const struct addr *to);

#endif
