/* SPDX-License-Identifier: MIT */
/*
 * Netwatch: tells when this machine's network has changed, or may have: a link, an address or a
 * route came or went (rtnetlink(7)), or the machine slept. It has the interfaces as they are.
 */
#ifndef ADIT_NAT_NETWATCH_H
#define ADIT_NAT_NETWATCH_H

#include "base/loop.h"
#include "nat/interfaces.h"

struct netwatch;

enum netwatch_what {
    NETWATCH_CHANGED, /* interfaces, addresses or the way to the internet are not what they were */
    NETWATCH_ROUTES,  /* something else was: told once in NETWATCH_ROUTES_US at most */
    NETWATCH_WOKE,    /* the process did not run for LOOP_GAP_US or longer */
};

/* changed is called from the loop, once for a burst of events, NETWATCH_DELAY_US after the first.
 * own: as interfaces_read(); copied. Where the kernel does not let us watch (logged) only gaps in
 * time are told. NULL: no memory. */
#define NETWATCH_DELAY_US  (30 * MS_US)
#define NETWATCH_ROUTES_US SEC_US
typedef void netwatch_cb(void *arg, enum netwatch_what what);
struct netwatch *netwatch_new(struct loop *loop, const char *own, netwatch_cb *changed, void *arg);
void netwatch_free(struct netwatch *netwatch);
/* As of the last change; read anew where changes are not told. Valid until the next call. */
const struct interfaces *netwatch_interfaces(struct netwatch *netwatch);

#endif
