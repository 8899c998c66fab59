/* SPDX-License-Identifier: MIT */
/*
 * Verbs: what the control socket of a running node answers.
 *
 *     status                                           node_status()
 *     ticket  {uses, ttl, admit_for, addresses, refresh}   {ticket}
 *     peers                                            {peers: [...]}, those connected first
 *     revoke, forget {peer}; rename {peer, name}; allow {peer, name, for}; expire {peer, for}:
 *             times are seconds from now, 0 for ever
 *     ping    {peer, count, interval_ms, timeout_ms, until_direct}
 *             events {seq, results: [{path, remote, rtt_ms, active}], why},
 *             then {sent, answered, direct}
 *     forward                                          see forwards.h
 *     reload                                           {restart}
 */
#ifndef ADIT_CONTROL_VERBS_H
#define ADIT_CONTROL_VERBS_H

#include "base/loop.h"
#include "config/state.h"
#include "control/control.h"
#include "crypto/identity.h"
#include "node/node.h"

struct verbs;

#define VERBS_PINGS_MAX 64 /* at once */

struct verbs_context {
    struct loop *loop;
    struct node *node;
    struct state *state;
    const struct node_id *own;
    /* Loads the configuration anew. 0 and *restart (malloc'd), or a negative error and errbuf. */
    int (*reload)(void *arg, char **restart, char *errbuf, size_t errlen);
    void *arg;
};

/* The context is copied; what it names must outlive the verbs, but for the node, which is freed
 * before them. */
struct verbs *verbs_new(const struct verbs_context *context);
/* Answers what waits, and refuses what comes from now on. To be called before the node is stopped.
 */
void verbs_stop(struct verbs *verbs);
void verbs_free(struct verbs *verbs);
/* For control_server_new(), with the verbs as arg. */
extern const struct control_ops verbs_ops;

#endif
