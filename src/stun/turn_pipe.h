/* SPDX-License-Identifier: MIT */
/*
 * TURN pipe: a TURN client as a message pipe (pipe/pipe.h). `up` when there is a relayed address;
 * `message` names the peer; pipe_write_to() names it too; peers that are accepted may send to us,
 * and whoever is written to is accepted. pipe_subscribe() has the queues. turn_pipe.c has the
 * theory.
 *
 *     struct pipe *pipe = turn_pipe_open(loop, &settings);
 *     pipe_add_listener(pipe, &events, me);               // up: turn_pipe_relayed(), tell the peer
 *     turn_pipe_accept_peer(pipe, &peer);
 *     pipe_write_to(pipe, &message, &peer);
 *
 * pipe_close() sends what is queued and has the server forget us before `end` (within
 * TURN_RELEASE_MS); pipe_abort() only asks it to.
 */
#ifndef ADIT_STUN_TURN_PIPE_H
#define ADIT_STUN_TURN_PIPE_H

#include "pipe/pipe.h"
#include "stun/turn_servers.h"

#define TURN_PIPE_QUEUE_MESSAGES                                    \
    256 /* to peers not permitted yet, or while there is no server; \
         */
#define TURN_PIPE_QUEUE_BYTES ((size_t)512 * 1024) /* beyond either the oldest is dropped */

/* NULL: errno says why. All other failures are told by `end`, whose reason turn_pipe_report() has
 * in words while it is told. */
struct pipe *turn_pipe_open(struct loop *loop, const struct turn_settings *settings);

/* Lets a peer's address (its port does not count) send to us, now and after every change of server.
 * 0, ADIT_EFULL (TURN_PERMISSIONS_MAX), ADIT_ECLOSED. May be called before `up`. */
int turn_pipe_accept_peer(struct pipe *pipe, const struct addr *peer);
void turn_pipe_forget_peer(struct pipe *pipe, const struct addr *peer);

/* What only this kind of pipe tells. Any may be NULL. */
struct turn_pipe_events {
    /* The relayed or mapped address has changed: peers must be told. */
    void (*moved)(struct pipe *pipe, void *arg);
    /* The server relays for this peer (TURN_FINE) or refuses to. */
    void (*peer)(struct pipe *pipe, const struct addr *peer, const struct turn_report *report,
                 void *arg);
    /* Something failed at a server, or (none: true) no server is left for the moment. */
    void (*trouble)(struct pipe *pipe, size_t server, const struct turn_report *report, void *arg);
    void (*none)(struct pipe *pipe, void *arg);
    void (*icmp)(struct pipe *pipe, const struct addr *peer, const struct stun_icmp *icmp,
                 void *arg);
};
void turn_pipe_set_events(struct pipe *pipe, const struct turn_pipe_events *events, void *arg);

/* The relayed address of that family (0: the first), and ours as the server sees it; pipe_addrs()
 * gives the relayed and the server's address. 0 or -ENOENT: not known (yet). */
int turn_pipe_relayed(const struct pipe *pipe, int family, struct addr *addr);
int turn_pipe_mapped(const struct pipe *pipe, struct addr *addr);
/* The last thing that went wrong; TURN_FINE if nothing did. */
const struct turn_report *turn_pipe_report(const struct pipe *pipe);
/* For status; NULL when there is none in use. */
const struct turn_allocation *turn_pipe_allocation(const struct pipe *pipe);
/* Place of the server in use in the settings, or -ENOENT. */
int turn_pipe_server(const struct pipe *pipe);
/* The network has changed (see turn_allocation_check()). */
void turn_pipe_check(struct pipe *pipe);
/* Messages dropped so far: the queue was full, or a peer is not permitted. */
uint64_t turn_pipe_dropped(const struct pipe *pipe);

#endif
