/* SPDX-License-Identifier: MIT */
/*
 * Node: this process as its peers see it. It holds the sessions with its peers, listens for their
 * paths and dials them, lets their streams out (role exit), and hands applications' streams to them
 * (role gateway). node.c has the theory.
 */
#ifndef ADIT_NODE_NODE_H
#define ADIT_NODE_NODE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/loop.h"
#include "config/config.h"
#include "config/state.h"
#include "crypto/identity.h"

struct node;

enum node_role {
    NODE_EXIT = 1 << 0,    /* listens for paths, lets admitted peers' streams out */
    NODE_GATEWAY = 1 << 1, /* listens for applications, uses the peer config->gateway.exit */
    NODE_FORWARD = 1 << 2, /* has the forwards of config->forward */
};

/* Binds every listener of its roles and starts dialling. All arguments stay the caller's and must
 * live as long as the node (config: until node_reload() has put another in its place). NULL: errbuf
 * says why and what to do. */
struct node *node_new(struct loop *loop, const struct config *config, struct state *state,
                      struct identity *identity, unsigned roles, char *errbuf, size_t errlen);

/* A listener that is bound: where it really is (a port 0 resolved). */
struct node_listener {
    bool for_paths; /* for peers; else for applications */
    struct addr addr;
    const char *path; /* of a unix socket; else NULL */
};
size_t node_listener_count(const struct node *node);
struct node_listener node_listener_at(const struct node *node, size_t index);

/* Stops cleanly: takes nothing new, tells peers, closes; `done` is called from the loop within a
 * second or so, and node_free() may follow. node_free() without node_stop() ends everything at
 * once. node_free() turns the loop itself, so it is not for callbacks. */
void node_stop(struct node *node, void (*done)(void *arg), void *arg);
void node_free(struct node *node);

/* Takes over a new configuration: what can change while streams are open, changes (exit rules and
 * limits, peers, times and memory of sessions); keys that need a restart are named in *restart,
 * comma-separated ("" if none; malloc'd). 0, or a negative error and errbuf: nothing has changed.
 */
int node_reload(struct node *node, const struct config *config, char **restart, char *errbuf,
                size_t errlen);
/* Known or admitted peers have changed in the state: ends the sessions of those revoked. */
void node_peers_changed(struct node *node);
/* Tells a peer by the brokers that we are here, so that one that was refused asks again. */
void node_announce(struct node *node, const struct node_id *id);

struct node_ticket_options {
    uint32_t uses;   /* enrolments it is good for; 0: a ticket without enrolment secret */
    int64_t ttl_s;   /* seconds until it expires; 0: never */
    int64_t admit_s; /* how long an admission by it lasts; 0: for ever */
    const char *const *addresses; /* HOST:PORT; none: path.advertise and those of the listeners */
    size_t address_count;
};
#define NODE_TICKET_USES  1
#define NODE_TICKET_TTL_S 3600
/* A new ticket of this node: malloc'd text. 0 or a negative error and errbuf. */
int node_ticket(struct node *node, const struct node_ticket_options *options, char **ticket,
                char *errbuf, size_t errlen);

/* A forward beside those of the configuration (config/forward.h), for as long as somebody wants it.
 */
#define NODE_FORWARD_TEXT_MAX 512
struct forward;
struct node_forward_info {
    bool listening;      /* here, or (reverse) at the peer */
    bool refused;        /* the peer does not want to listen; it is asked again from time to time */
    const char *address; /* where it listens, or is to */
    const char *problem; /* of the listener, or of the last connection; "": none */
};
/* Tells what has changed, from the loop. info is valid during the call, in which the forward may be
 * ended. */
typedef void node_forward_cb(void *arg, const struct node_forward_info *info);
/* NULL: errbuf says why: the peer is not known, or nothing can listen there. It ends with the node,
 * untold. spec is copied. */
struct forward *node_forward(struct node *node, const struct config_forward *spec,
                             node_forward_cb *cb, void *arg, char *errbuf, size_t errlen);
/* Ends it and its connections. */
void node_forward_end(struct forward *forward);

/* The status (a new reference): "node", "memory", "listeners", "handshakes", "peers",
 * "forwards", and for its role "exit" or "gateway"; the layout is in docs/adit.1. */
json_t *node_status(const struct node *node);

/* A peer that the state need not know yet: by its name in the configuration, its whole ID, or the
 * name or beginning (4 characters at least) of the ID of one that this process deals with. */
bool node_find_peer(const struct node *node, const char *text, struct node_id *id);

/* One round of probes to a peer, over every path there is; if there is none yet, one is looked for
 * first. Tells exactly once, later, all results; none of them: why says why. A result whose rtt_us
 * is 0 was not answered within timeout_us. */
struct node_ping {
    const char *path; /* "direct", ... */
    struct addr remote;
    uint64_t rtt_us;
    bool active; /* the path that carries traffic */
};
typedef void node_ping_cb(void *arg, const struct node_ping *results, size_t count,
                          const char *why);
void node_ping(struct node *node, const struct node_id *peer, uint64_t timeout_us, node_ping_cb *cb,
               void *arg);

#endif
