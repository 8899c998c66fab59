/* SPDX-License-Identifier: MIT */
/*
 * Inlet: a listener whose every connection becomes a stream to a peer. Forwards have one here, and
 * we have one for each address where a peer has us listen. inlet.c has the theory.
 */
#ifndef ADIT_NODE_INLET_H
#define ADIT_NODE_INLET_H

#include "config/config.h"
#include "node/node_int.h"

#define INLET_CLIENTS_MAX 1024 /* more wait in the kernel */

struct inlet;

/* What became of a connection's OPEN: told for each, once, while the inlet lives. */
typedef void inlet_answer_cb(void *arg, enum answer answer);

/* Binds. opening: what streams are opened with (`from` is filled in for OPENING_FORWARDED; its
 * target too, with where we listen). peer: must live as long as the inlet. NULL: *error is a
 * negated errno. */
struct inlet *inlet_new(struct node_peer *peer, const struct config_listen *at,
                        const struct opening *opening, inlet_answer_cb *cb, void *arg, int *error);
/* Closes the listener and resets the connections that came to it. NULL: nothing. */
void inlet_free(struct inlet *inlet);
/* What comes from now on goes elsewhere. */
void inlet_turn(struct inlet *inlet, struct node_peer *peer, const struct opening *opening);

/* Where it is, a port 0 resolved; unset: a unix socket. */
struct addr inlet_addr(const struct inlet *inlet);

struct inlet_stats {
    uint32_t clients;           /* now */
    uint64_t accepted, refused; /* refused: the stream was not opened, or answered with no */
};
const struct inlet_stats *inlet_stats(const struct inlet *inlet);

#endif
