/* SPDX-License-Identifier: MIT */
/*
 * Scheduler: looks for a path to one peer, by all configured strategies, for as long as its owner
 * wants one. It knows no session. scheduler.c has the theory.
 */
#ifndef ADIT_STRATEGY_SCHEDULER_H
#define ADIT_STRATEGY_SCHEDULER_H

#include "strategy/strategy.h"

struct scheduler;

enum scheduler_need {
    SCHEDULER_STOP,   /* no path is wanted */
    SCHEDULER_CALM,   /* one is, but nobody waits for it: pauses grow to retry_max_us */
    SCHEDULER_URGENT, /* streams wait: pauses stay at twice retry_us */
};

struct scheduler_options {
    struct config_strategies strategies; /* in order of preference */
    struct config_strategies fail;       /* of these, made to fail (tests) */
    uint64_t retry_us;     /* unit of the pauses between rounds; 0: SCHEDULER_RETRY_US */
    uint64_t retry_max_us; /* their limit; 0: SCHEDULER_RETRY_MAX_US */
    const struct strategy *const *table; /* by enum config_strategy; NULL: this program's */
};

#define SCHEDULER_RETRY_US        (500 * MS_US)
#define SCHEDULER_RETRY_MAX_US    (60 * SEC_US)
#define SCHEDULER_ROUNDS_MAX      8             /* under way at once; then the oldest is given up */
#define SCHEDULER_SETTLE_US       SEC_US        /* for the owner's verdict on a path */
#define SCHEDULER_STABLE_US       (5 * SEC_US)  /* a path that lived so long was a good one */
#define SCHEDULER_SHORT_LIVES     5             /* replacements at once of paths that lived less */
#define SCHEDULER_REFUSED_US      (5 * SEC_US)  /* pause after a refusal while streams wait ... */
#define SCHEDULER_REFUSED_CALM_US (30 * SEC_US) /* ... and while none do */

struct scheduler_events {
    /* Where the peer may be reached, best first; asked at each round. Returns how many. */
    size_t (*candidates)(void *arg, struct candidate *out, size_t max);
    /* A pipe is up and the peer has proven its key; it is the callee's, who says with
     * scheduler_settle() what became of it. May come again (a better strategy). The scheduler may
     * be freed inside the call. */
    void (*path)(void *arg, struct pipe *pipe, const char *label, int rank, const char *candidate);
    /* An attempt has learnt that the peer will not have us (-EACCES), or a round has ended in which
     * nobody answered for it (-EHOSTDOWN); text: in plain words. May be NULL. The scheduler must
     * not be freed inside the call. */
    void (*hopeless)(void *arg, int why, const char *text);
};

/* env, peer and label (the peer's name for the log) must outlive it. NULL: no memory. */
struct scheduler *scheduler_new(const struct strategy_env *env,
                                const struct scheduler_options *options, const struct node_id *peer,
                                const char *label, const struct scheduler_events *events,
                                void *arg);
void scheduler_free(struct scheduler *scheduler);

/* Starts, stops and hastens it. STOP gives up what is under way. */
void scheduler_set_need(struct scheduler *scheduler, enum scheduler_need need);
/* Something has changed (a network, a new address): try at once, from the shortest pause on. */
void scheduler_kick(struct scheduler *scheduler);
/* The same, and although the peer has refused: it has spoken up since. */
void scheduler_retry(struct scheduler *scheduler);
/* More is known of where the peer is: what is under way learns it, and what had nowhere to go
 * begins anew. */
void scheduler_update(struct scheduler *scheduler);
bool scheduler_is_wanted(const struct scheduler *scheduler); /* the need is not STOP */

enum scheduler_verdict {
    SCHEDULER_TAKEN,   /* the path is in use */
    SCHEDULER_FAILED,  /* it died before */
    SCHEDULER_REFUSED, /* the peer does not want us: soon asking again is no use */
};
/* What became of the path that was told. text: why not, for status; copied; NULL: unknown. */
void scheduler_settle(struct scheduler *scheduler, enum scheduler_verdict verdict,
                      const char *text);

/* This strategy has brought a path by another way than scheduler_events.path: for status. */
void scheduler_note(struct scheduler *scheduler, const char *strategy);

/* For status. */
struct scheduler_strategy_info {
    const char *name;
    const char *state; /* "trying", "worked", "failed", "not in this version", "made to fail", "not
                          tried" */
    const char *text;  /* why it failed last; "" */
};
struct scheduler_info {
    enum scheduler_need need;
    uint32_t failures; /* rounds since the last path or kick */
    uint64_t next_us;  /* until the next round; 0: none planned */
    bool trying;       /* some round is under way */
    const char *text;  /* of the last failure; "" */
    size_t count;
    struct scheduler_strategy_info strategies[CONFIG_STRATEGIES];
};
void scheduler_describe(const struct scheduler *scheduler, struct scheduler_info *info);

#endif
