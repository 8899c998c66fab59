/* SPDX-License-Identifier: MIT */
/*
 * Reverse: the peer is asked, by signalling, to connect to us. reverse.c has the theory.
 */
#ifndef ADIT_STRATEGY_REVERSE_H
#define ADIT_STRATEGY_REVERSE_H

#include "strategy/strategy.h"

/* The peer has said yes and does not come: the attempt is given up. */
#define REVERSE_WAIT_US (8 * SEC_US)

extern const struct strategy strategy_reverse;

#endif
