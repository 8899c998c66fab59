/* SPDX-License-Identifier: MIT */
/*
 * Policy: which destinations an exit opens for its peers. Pure: it is told the exit's own
 * addresses, and knows neither sockets nor time. policy.c has the rules and what they can and
 * cannot promise.
 */
#ifndef ADIT_EGRESS_POLICY_H
#define ADIT_EGRESS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "config/rule.h"

#define POLICY_RULES_MAX 4096 /* allow and deny rules together */
#define POLICY_OWN_MAX   4096 /* the exit's own addresses; more are refused by policy_set_own() */

enum policy_protocol { POLICY_TCP, POLICY_UDP };

enum policy_verdict {
    POLICY_ALLOWED,
    POLICY_NOT_PUBLIC,  /* not a public address, and no rule allows it */
    POLICY_OWN_ADDRESS, /* one of the exit's own, and no rule allows it */
    POLICY_PORT,        /* TCP port 25, and no rule that names the port allows it */
    POLICY_DENIED,      /* by a deny rule */
    POLICY_VERDICT_LAST = POLICY_DENIED,
};

struct policy;

struct policy *policy_new(void);         /* the default policy; NULL: no memory */
void policy_free(struct policy *policy); /* NULL: nothing */
/* Adds a rule. 0; ADIT_EFULL or -ENOMEM; -EINVAL for allowing "*" without ports, which would open
 * nothing: all public addresses are open already, and 0.0.0.0/0 and ::/0 open the others. */
int policy_allow(struct policy *policy, const struct rule *rule);
int policy_deny(struct policy *policy, const struct rule *rule);
/* Replaces the list of the exit's own addresses (copied; ports do not matter). 0, ADIT_EFULL or
 * -ENOMEM (the old list stays). */
int policy_set_own(struct policy *policy, const struct addr *own, size_t count);

/* Judges a name before it is looked up: a name that a deny rule covers is not even asked for. */
enum policy_verdict policy_check_name(const struct policy *policy, const char *name, uint16_t port);
/* Judges an address that is about to be dialled or sent to (to->port counts), and the name that it
 * was found under (NULL: none). */
enum policy_verdict policy_check(const struct policy *policy, enum policy_protocol protocol,
                                 const struct addr *to, const char *name);
/* Whether an address, and every address embedded in it, is a public one; knows no rules. */
bool policy_is_public(const struct addr *addr);
/* Why, in plain English. */
const char *policy_verdict_text(enum policy_verdict verdict);

#endif
