/* SPDX-License-Identifier: MIT */
/*
 * What the files of node/ share. Nobody else includes it but their tests.
 */
#ifndef ADIT_NODE_NODE_INT_H
#define ADIT_NODE_NODE_INT_H

#include <sys/queue.h>
#include <uthash.h>

#include "config/ticket.h"
#include "egress/egress.h"
#include "egress/resolve.h"
#include "ingress/front.h"
#include "ingress/outlet.h"
#include "nat/netwatch.h"
#include "node/listen.h"
#include "node/node.h"
#include "session/session.h"
#include "session/stream.h"
#include "signal/signal.h"
#include "strategy/scheduler.h"

#define NODE_PEERS_MAX       4096 /* peers that this process deals with at once */
#define NODE_LABEL_MAX       STATE_NAME_MAX
#define NODE_ID_SHORT        12 /* characters of an ID that logs show */
#define NODE_PINGS_MAX       16 /* node_ping() calls under way */
#define NODE_GREETING_US     (5 * SEC_US)
#define NODE_STOP_US         SEC_US
#define NODE_BACKDIAL_US     SEC_US /* who is not the gateway leaves it the first try */
#define NODE_REFUSED_KEEP_US SCHEDULER_REFUSED_US
#define TROUBLE_TEXTS        8 /* reasons told while a peer cannot be reached */
#define TROUBLE_TEXT_MAX     600

struct greeting;
struct standby;
struct invitation;

/* A peer that this process deals with. It lives while it has a session, a greeting or a waiting
 * ping, or is used by us. */
struct node_peer {
    UT_hash_handle hh;
    struct node *node;
    struct node_id id;
    char label[NODE_LABEL_MAX + 1]; /* its name, or the beginning of its ID: for logs */
    uint32_t uses;                  /* of it as exit, in routes, by forwards */
    bool is_exit;                   /* there are such: its path is kept warm */
    bool is_known;    /* it may have a session without being admitted: an exit of ours, or in the
                         configuration */
    bool is_admitted; /* it may use us as an exit */
    struct session *session; /* NULL: none wanted */
    uint32_t ending;         /* sessions that are over but have not ended yet */
    uint32_t greetings;
    uint8_t instance[INSTANCE_BYTES]; /* ours, of `session` */
    struct scheduler *scheduler;      /* NULL: not needed so far */
    struct standby *standby;          /* NULL: not needed so far */
    struct defer update;
    struct timer backdial;
    bool backdial_due;
    uint64_t doubt_until; /* the network changed under its path: look for a new one until then */
    /* Where it may be reached, beside what the state says. */
    struct ticket *ticket; /* NULL: none */
    bool enrolled;         /* the ticket's secret is not needed any more */
    uint8_t hello_count;
    struct addr hello_addrs[HELLO_ADDRS_MAX]; /* where it said it listens */
    size_t found_count;
    struct addr found[MESSAGE_ADDRS_MAX]; /* where it said by signalling that it is */
    struct addr seen;                     /* remote address of the last path */
    struct addr worked;                   /* that of the last path that we dialled */
    bool is_carrier;                      /* its session carries signalling */
    uint64_t asked_at;                    /* when its question was last followed */
    /* What it said when it did not want us. */
    bool is_refused;
    uint64_t refused_at;
    char refusal[CLOSE_TEXT_MAX + 1]; /* also why the last session ended; "": nothing to tell */
    struct timer trouble;             /* looks whether there is a reason to tell (trouble.c) */
    uint64_t missed_since;            /* while that is set */
    uint64_t hopeless_at;             /* when nobody answered for it last; 0: never */
    uint64_t told[TROUBLE_TEXTS];     /* hashes of those told since the last path */
    uint32_t told_next;
};

struct ping_job;
struct path_watch;
struct lent;

/* A gateway.route in use. */
enum route_way { ROUTE_PEER, ROUTE_DIRECT, ROUTE_BLOCK };
struct route {
    struct rule rule;
    enum route_way way;
    struct node_peer *peer; /* ROUTE_PEER, else NULL */
    uint64_t streams;       /* that took it, since the configuration was read */
};

struct node {
    struct loop *loop;
    const struct config *config;
    struct state *state;
    struct identity *identity;
    struct node_id id;
    char name[HELLO_NAME_MAX + 1];
    unsigned roles;
    uint64_t started;
    struct tls_context *tls;
    struct strategy_env env;
    struct session_pool pool;
    struct egress *egress;     /* role exit */
    struct resolver *resolver; /* our own, where there is no egress; made when first needed */
    struct listen *listen;
    struct netwatch *netwatch;
    struct front *front; /* role gateway */
    struct outlet outlet;
    struct egress *dialler; /* for our own user (direct.c); NULL: not needed so far */
    struct node_peer *exit; /* role gateway; NULL: routes cover everything */
    struct route *routes;
    size_t route_count;
    LIST_HEAD(, forward) forwards;
    size_t forward_count;
    LIST_HEAD(, lent) lents; /* where we listen for peers */
    struct node_peer *peers;
    struct signal *signal; /* NULL: before the start, and at the end */
    LIST_HEAD(, invitation) invitations;
    uint32_t invitation_count;
    LIST_HEAD(, greeting) greetings;
    LIST_HEAD(, path_watch) paths; /* pipes handed to sessions, until they end */
    LIST_HEAD(, ping_job) pings;
    uint32_t ping_count;
    uint64_t streams_served, streams_refused;
    uint64_t refusals, refusal_told_at; /* of those who ask by brokers */
    bool stopping;
    char trouble[TROUBLE_TEXT_MAX];                   /* for node_peer_trouble() */
    char why[TROUBLE_TEXT_MAX + NODE_LABEL_MAX + 16]; /* for the outlet */
    struct timer expiry; /* the next admission that ends by itself (admission.c) */
    struct timer stop_timer;
    struct defer stop_check;
    void (*stopped)(void *arg);
    void *stopped_arg;
};

/* Seconds since 1970, for what is kept between runs; everything else goes by loop_now(). */
int64_t node_wall_s(void);

/* peer.c */
struct node_peer *node_peer_find(struct node *node, const struct node_id *id);
/* Found or made. NULL: NODE_PEERS_MAX. */
struct node_peer *node_peer_get(struct node *node, const struct node_id *id);
/* Frees it if nothing needs it any more. */
void node_peer_release(struct node_peer *peer);
void node_peer_free(struct node_peer *peer);
/* Keeps it, with a session and a path, until it was left as often. use: 0 or -ENOMEM (not used). */
int node_peer_use(struct node_peer *peer);
void node_peer_leave(struct node_peer *peer);
/* Reads its name and rights anew from state and configuration. */
void node_peer_refresh(struct node_peer *peer);
/* The session, made if there is none. NULL: no memory. */
struct session *node_peer_session(struct node_peer *peer);
/* The session belongs to another run of the peer: fails its streams and makes a new one. keep: with
 * our present instance, which the peer has just been told. */
struct session *node_peer_restarted(struct node_peer *peer, bool keep);
/* Starts or stops looking for a path, as the session needs. */
void node_peer_update(struct node_peer *peer);
/* Gives up its scheduler, so that the next one goes by the present configuration. */
void node_peer_reset_scheduler(struct node_peer *peer);
/* The node's configuration is another: for its session and its search for a path. */
void node_peer_reconfigure(struct node_peer *peer);
bool node_peer_is_reachable(const struct node_peer *peer); /* some address of it is known */
void node_peer_refused(struct node_peer *peer, const char *text);
bool node_peer_is_refused(const struct node_peer *peer); /* just now */
/* Why it cannot be reached, or does not serve us, in plain words; good until the next call. NULL:
 * nothing is known. */
const char *node_peer_trouble(const struct node_peer *peer);
void node_peer_network_changed(struct node_peer *peer);
/* Where it may be reached, the best first. Returns how many. */
size_t node_peer_candidates(const struct node_peer *peer, struct candidate *out, size_t max);
/* Takes over a ticket (copied). 0 or -ENOMEM. */
int node_peer_set_ticket(struct node_peer *peer, const struct ticket *ticket);

/* greet.c */
/* slot: 0: the peer's scheduler has found the path, else that of this slot of its standby. */
void greet_as_dialler(struct node_peer *peer, struct pipe *pipe, const char *label, int rank,
                      unsigned slot);
/* The peer has invited us by a request with this token: a dialler whom the peer has not chosen, so
 * that it may still have to enrol. */
void greet_as_guest(struct node_peer *peer, struct pipe *pipe,
                    const uint8_t token[HELLO_TOKEN_BYTES]);
void greet_as_responder(struct node *node, struct pipe *pipe, struct handshake *handshake);
void greet_cancel_all(struct node *node, const struct node_peer *peer); /* NULL: of all peers */
void greet_drop_paths(struct node *node); /* those that still close, at the end */

/* finder.c: signalling. start: 0 or -ENOMEM. */
int finder_start(struct node *node);
void finder_stop(struct node *node);
/* The brokers that the configuration and the peers in use need now. */
void finder_refresh(struct node *node);
void finder_network_changed(struct node *node);
/* Its session has got or lost its last path, or is another. */
void finder_session_changed(struct node_peer *peer);
void finder_carried(struct node_peer *peer, const uint8_t *bytes, size_t len);
/* The scheduler's `hopeless`. */
void finder_hopeless(struct node_peer *peer, int why, const char *text);
/* Those of a peer's addresses that can mean something from here. Returns how many. */
size_t finder_filter(const struct node *node, const struct addr *addrs, size_t count,
                     struct addr *out, size_t max);

/* invite.c: a peer asks us to connect to it. CLOSE_OK, or why not. */
enum close_code invite_take(struct node *node, const struct node_id *from,
                            const uint8_t token[MESSAGE_TOKEN_BYTES], const struct addr *addrs,
                            size_t count);
void invite_cancel_all(struct node *node);

/* admission.c: whether a peer that dialled us may have a session. CLOSE_OK, or the reason; an
 * enrolment secret is used up here. */
enum close_code admission_judge(struct node *node, const struct node_id *id,
                                const struct hello *hello);

/* The same for one that only asks: nothing is used up. secret: NULL: none was shown. */
enum close_code admission_look(struct node *node, const struct node_id *id, const uint8_t *secret);

void admission_init(struct node *node);
/* Waits for the next admission that ends by itself; to be called when admissions have changed. */
void admission_watch(struct node *node);
bool admission_is_expired(const struct node *node, const struct node_id *id);

/* serve.c: a stream that a peer opened. */
void serve_open(struct node_peer *peer, struct pipe *stream, const struct opening *opening);

/* trouble.c: tells the log why a peer that we use cannot be reached. */
void trouble_init(struct node_peer *peer);
void trouble_update(struct node_peer *peer); /* whether it is, or that it refuses, has changed */
void trouble_end(struct node_peer *peer);

/* outlet.c */
void outlet_init(struct node *node);
/* A stream to a peer, as stream_open_as(); it waits for a path, which is looked for in a hurry, but
 * not when the peer has refused us just now. */
struct pipe *node_peer_open(struct node_peer *peer, const struct opening *opening,
                            stream_answer_cb *cb, void *arg, enum answer *why);

/* exit.c: the peer that a user means by `text`: the name of a [peer] section, a known peer's name
 * or ID, or a ticket; "": the only one there is. Not used yet (node_peer_use()). 0 or a negative
 * error and errbuf. */
int node_choose_peer(struct node *node, const struct config *config, const char *text,
                     struct node_peer **peer, char *errbuf, size_t errlen);

/* route.c: the gateway's exit and routes. */
struct ways {
    struct node_peer *exit;
    struct route *routes;
    size_t count;
};
/* Those of a configuration, with their peers taken into use, to be used or dropped. 0, or a
 * negative error and errbuf. */
int routes_plan(struct node *node, const struct config *config, struct ways *ways, char *errbuf,
                size_t errlen);
void routes_use(struct node *node, struct ways *ways); /* instead of those that there are */
void routes_drop(struct ways *ways);
void routes_free(struct node *node);
/* The first route that matches; NULL: none does. */
struct route *routes_find(struct node *node, const struct target *target);

/* direct.c: what this node connects for its own user, without policy. */
/* As struct outlet's open(). */
struct pipe *direct_open(struct node *node, const struct target *target, outlet_answer_cb *cb,
                         void *arg, enum answer *why);
struct egress *direct_egress(struct node *node); /* NULL: no memory */
int direct_reconfigure(struct node *node);       /* 0 or -ENOMEM */

/* reach.c: addresses of this machine. */
#define REACH_MAX 64
/* All usable ones of interfaces that are up (port 0). Returns how many. */
size_t reach_local(const struct node *node, struct addr *out, size_t max);
/* Where peers may reach us: path.advertise's addresses and the listeners', any-addresses spelled
 * out. */
size_t reach_listeners(const struct node *node, struct addr *out, size_t max);
/* Of this machine or a network behind some NAT: means nothing elsewhere. */
bool reach_is_private(const struct addr *addr);

/* standby.c: a path over each interface, and which of them is preferred. */
void standby_update(struct node_peer *peer);
void standby_kick(struct node_peer *peer);
void standby_free(struct node_peer *peer); /* until the next update */
void standby_settle(struct node_peer *peer, unsigned slot, enum scheduler_verdict verdict,
                    const char *text);
/* Rank of a path in its session. */
int standby_rank(const struct node_peer *peer, struct pipe *pipe, int strategy_rank);
bool standby_is_best(int rank);                               /* among those of one strategy */
int standby_review(void *peer, const struct path_info *path); /* session_review_cb */

/* lookup.c: names for strategies. */
void lookup_init_env(struct node *node);

/* ping.c */
void ping_path_up(struct node_peer *peer);
bool ping_is_waiting(const struct node_peer *peer);
void ping_free_all(struct node *node);

#endif
