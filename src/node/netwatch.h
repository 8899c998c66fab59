/* SPDX-License-Identifier: MIT */
/*
 * Netwatch: tells when this machine's network has changed: a link, an address or a route came or
 * went (rtnetlink(7)).
 */
#ifndef ADIT_NODE_NETWATCH_H
#define ADIT_NODE_NETWATCH_H

#include "base/loop.h"

struct netwatch;

/* changed is called from the loop, once for a burst of events, NETWATCH_DELAY_US after the first.
 * NULL: the kernel does not let us (logged); everything works without, more slowly. */
#define NETWATCH_DELAY_US (30 * MS_US)
struct netwatch *netwatch_new(struct loop *loop, void (*changed)(void *arg), void *arg);
void netwatch_free(struct netwatch *netwatch);

#endif
