/* SPDX-License-Identifier: MIT */
/*
 * Direct: TCP and TLS to each address at which the peer may be reached. direct.c has the theory.
 */
#ifndef ADIT_STRATEGY_DIRECT_H
#define ADIT_STRATEGY_DIRECT_H

#include "strategy/strategy.h"

#define DIRECT_TRIES_MAX \
    64 /* addresses times interfaces of one attempt; what is beyond is not tried */
#define DIRECT_LOOKUPS_MAX 8 /* names looked up by one attempt */

extern const struct strategy strategy_direct;

/* Orders addresses for trying: families take turns, each in the given order, that of the first
 * address first (RFC 8305 4). Doubles and what cannot be dialled (no port, unspecified, multicast)
 * are left out. Returns how many. */
size_t direct_order(struct addr *addrs, size_t count);

#endif
