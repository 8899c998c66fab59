/* SPDX-License-Identifier: MIT */
/*
 * TCP allocations (RFC 6062): connections with peers, through the server, each over a connection of
 * its own to the server. turn_tcp.c has the theory.
 */
#ifndef ADIT_STUN_TURN_TCP_H
#define ADIT_STUN_TURN_TCP_H

#include "stun/turn_allocation.h"

#define TURN_TCP_PENDING_MAX 32 /* being made, an allocation; a server can tell of any number */

struct turn_tcp;

/* Told once, from the loop. pipe: a stream that is up and paused, now the callee's, which adds its
 * listeners or links and then calls turn_tcp_start(), so that what the peer has sent already comes
 * first. NULL: it failed, and report says why. */
typedef void turn_tcp_done(void *arg, struct pipe *pipe, struct slice *surplus,
                           const struct turn_report *report);

/* Connects to a peer. At most one connection to a peer (446). The server gives up after 30 s. NULL:
 * no memory, or TURN_TCP_PENDING_MAX are being made. `done` is not told from within. */
struct turn_tcp *turn_tcp_connect(struct turn_allocation *allocation, const struct addr *peer,
                                  turn_tcp_done *done, void *arg);
/* Takes a peer's connection that the `attempt` event has told of. NULL: likewise. */
struct turn_tcp *turn_tcp_answer(struct turn_allocation *allocation, uint32_t connection,
                                 turn_tcp_done *done, void *arg);
/* Gives up, untold; harmless only before `done`. An allocation that ends or is closed fails those
 * under way. */
void turn_tcp_cancel(struct turn_tcp *tcp);
/* Delivers the surplus, and lets the pipe read. */
void turn_tcp_start(struct pipe *pipe, struct slice *surplus);

#endif
