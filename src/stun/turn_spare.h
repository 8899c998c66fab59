/* SPDX-License-Identifier: MIT */
/* Spare: an ordered pipe's second TURN pipe, by another server than the first (turn_ordered.h). */
#ifndef ADIT_STUN_TURN_SPARE_H
#define ADIT_STUN_TURN_SPARE_H

#include "stun/turn_pipe.h"

/* Gives an ordered pipe over a TURN pipe with these settings a spare, at one of those servers that
 * have another host than the first; it is the ordered pipe's, and its troubles are told to nobody.
 * Nothing, if there is no such server. 0 or a negative error. */
int turn_spare_open(struct pipe *ordered, const struct turn_settings *settings);

#endif
