/* SPDX-License-Identifier: MIT */
/*
 * Egress: opens destinations for peers. What an exit does with an OPEN: policy, names, dialling,
 * limits for each peer. egress.c has the theory.
 */
#ifndef ADIT_EGRESS_EGRESS_H
#define ADIT_EGRESS_EGRESS_H

#include "base/target.h"
#include "config/config.h"
#include "egress/policy.h"
#include "pipe/options.h"
#include "pipe/pipe.h"

#define EGRESS_PEERS_MAX      4096  /* peers with something open, or in debt of their rate */
#define EGRESS_DIALS_PER_PEER 1024  /* default of max_dials_per_peer */
#define EGRESS_OPENS_PER_PEER 65536 /* default of max_streams_per_peer */

struct egress;
struct egress_request;

/* All zero is a working configuration. What it points to is needed only during the call. */
struct egress_config {
    const struct config_rules *allow, *deny; /* NULL: none */
    uint64_t rate;                           /* bytes a second each way, per peer; 0: no limit */
    uint32_t max_streams_per_peer;           /* open or being opened; 0: EGRESS_OPENS_PER_PEER */
    uint32_t max_dials_per_peer;  /* being opened at once, others wait; 0: EGRESS_DIALS_PER_PEER */
    uint64_t connect_timeout_us;  /* name and connection together; 0: 10 s */
    const struct addr *resolvers; /* DNS servers; none: the system's */
    size_t resolver_count;
    bool access_log;                 /* a line for each connection, at level info */
    const char *hosts_file;          /* NULL: /etc/hosts */
    const struct pipe_options *pipe; /* of connections: interface, source; NULL: defaults */
    uint64_t attempt_delay_us, resolution_delay_us; /* RFC 8305; 0: its values */
};

/* The [exit] section. The result points into config. */
void egress_config_from(struct egress_config *out, const struct config *config);

/* NULL: no memory, or the configuration is wrong (logged). */
struct egress *egress_new(struct loop *loop, const struct egress_config *config);
/* Requests end untold. Connections that were handed out live on, uncounted. */
void egress_free(struct egress *egress);
/* Takes new rules, limits, timeouts and logging; for what comes from now on. Resolvers, the hosts
 * file and whether there is a rate at all stay as they were for connections that are open. 0 or
 * -ENOMEM (nothing changes). */
int egress_reconfigure(struct egress *egress, const struct egress_config *config);
/* Addresses by which others reach this machine though no interface has them (its NAT's): judged as
 * own ones. Copied; 0, ADIT_EFULL or -ENOMEM. */
int egress_set_external(struct egress *egress, const struct addr *addrs, size_t count);

/* The outcome, exactly once, from the loop, never from inside egress_open(). ANSWER_OK: `connected`
 * is up and the receiver's, who must link, pause or listen to it inside the call: bytes may follow
 * at once. It counts against its peer until its end. `to` is the address that was dialled
 * (pipe_addrs() has the local one). Otherwise both are NULL. The request is over. */
typedef void egress_answer_fn(void *arg, enum answer answer, struct pipe *connected,
                              const struct addr *to);

/* Opens a TCP connection for a peer (NULL: for no peer, without limits, but by the policy). `peer`
 * and `target` are copied. NULL: no memory; everything else is told by fn. */
struct egress_request *egress_open(struct egress *egress, const struct node_id *peer,
                                   const struct target *target, egress_answer_fn *fn, void *arg);
/* The same without policy and limits: for forwards that this node's own user registered, and for
 * `direct` routes. */
struct egress_request *egress_open_trusted(struct egress *egress, const struct target *target,
                                           egress_answer_fn *fn, void *arg);
/* Gives up; fn is not called. Only before the outcome. */
void egress_cancel(struct egress_request *request);

/* May this be sent to, or heard from? For datagrams and BIND, whose sockets are not ours; `name`:
 * what it was looked up as, or NULL. */
enum policy_verdict egress_check(struct egress *egress, enum policy_protocol protocol,
                                 const struct addr *to, const char *name);
struct resolver *egress_resolver(struct egress *egress);

struct egress_stats {
    uint32_t streams, dials; /* now */
    uint64_t opened, failed; /* connections made; destinations that could not be reached */
    uint64_t refused_policy, refused_limit;
    uint64_t bytes_in, bytes_out; /* from and to destinations, of connections that have ended */
};
/* Totals, or one peer's (id not NULL; zeroes for a peer with nothing open: counts are forgotten
 * with it). */
void egress_get_stats(const struct egress *egress, const struct node_id *id,
                      struct egress_stats *stats);

#endif
