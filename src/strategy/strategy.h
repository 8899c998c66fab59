/* SPDX-License-Identifier: MIT */
/*
 * Strategy: one way to make a path to a peer (direct, reverse, punch, relay). A strategy is a const
 * vtable; the scheduler runs attempts of those that are configured. A strategy makes secured pipes,
 * knows no session, and is told by its caller what is known about the peer.
 */
#ifndef ADIT_STRATEGY_STRATEGY_H
#define ADIT_STRATEGY_STRATEGY_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/target.h"
#include "config/config.h"
#include "crypto/identity.h"
#include "pipe/pipe.h"

struct signal;
struct tls_context;

#define CANDIDATES_MAX          32 /* places where a peer may be reached, of one round */
#define STRATEGY_INTERFACES_MAX 8  /* interfaces tried one by one */
#define ATTEMPT_TEXT_MAX        128

/* A place where the peer may be reached: an address, or a name to be looked up. */
struct candidate {
    struct target target;
    const char *origin; /* how we know: "ticket", "peer", "seen", "config"; static */
};

/* Looks names up, for strategies: done is called once, from the loop, unless cancelled. */
typedef void strategy_resolved_cb(void *arg, const struct addr *addrs, size_t count,
                                  const char *why);
struct strategy_resolver {
    /* NULL: cannot. */
    void *(*start)(void *owner, const char *name, strategy_resolved_cb *done, void *arg);
    void (*cancel)(void *owner, void *lookup);
    void *owner;
};

/* What all attempts of a node have in common. The node's, and outlives every attempt. */
struct strategy_env {
    struct loop *loop;
    struct tls_context *tls;
    struct signal *signal;             /* NULL: no broker is known */
    struct strategy_resolver resolver; /* start NULL: names are passed over */
    char interfaces[STRATEGY_INTERFACES_MAX][IF_NAMESIZE];
    size_t interface_count; /* 0: the system's choice of route */
    uint32_t connect_ms;    /* limit of one TCP connection attempt */
    uint32_t tls_ms;        /* limit of its TLS handshake */
    uint64_t spacing_us;    /* between two candidates (Happy Eyeballs, RFC 8305 5) */
};

#define STRATEGY_CONNECT_MS 3000
#define STRATEGY_TLS_MS     5000
#define STRATEGY_SPACING_US (250 * MS_US)

/* One peer, as an attempt sees it; copied by those who keep it. */
struct strategy_peer {
    const struct node_id *id; /* must live as long as the attempt */
    const struct candidate *candidates;
    size_t candidate_count;
};

struct attempt;

/* What an attempt tells, never from inside start(). */
struct attempt_events {
    /* A pipe is up and the peer has proven its key; the pipe is the callee's. Nothing was read from
     * it yet. The attempt may be cancelled inside the call. */
    void (*proven)(void *arg, struct pipe *pipe, const char *candidate);
    /* Nothing more will come: why is the most telling error (-EACCES: the peer will not have us,
     * -EHOSTDOWN: it does not seem to run; with these two and 0 the text tells all), text where and
     * what (for the log). The attempt is gone. */
    void (*over)(void *arg, int why, const char *text);
};

struct strategy {
    const char *name;
    enum config_strategy id;
    int rank;               /* of its paths: 0 direct or punched, 1 relayed */
    uint64_t head_start_us; /* how much later it starts than the first of a round */
    /* Begins an attempt. NULL: there is nothing to try; *why says why (static text). */
    struct attempt *(*start)(const struct strategy_env *env, const struct strategy_peer *peer,
                             const struct attempt_events *events, void *arg, const char **why);
    void (*cancel)(struct attempt *attempt); /* ends it, untold; pipes that are not up are reset */
    /* More is known of where the peer is. NULL: it makes no difference. */
    void (*update)(struct attempt *attempt, const struct strategy_peer *peer);
};

#endif
