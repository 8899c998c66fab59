/* SPDX-License-Identifier: MIT */
/*
 * The control verb "forward": a forward of the running node for as long as the connection lives.
 *
 *     forward {listen, peer, to, reverse}
 *             events {listening, refused, address, problem}, as they change; no answer but when it
 *             cannot be, or ends
 */
#ifndef ADIT_CONTROL_FORWARDS_H
#define ADIT_CONTROL_FORWARDS_H

#include "control/control.h"
#include "node/node.h"

#define CONTROL_FORWARDS_MAX 16 /* at once; others need the socket too */

struct control_forwards;

/* NULL: no memory. The node must outlive control_forwards_stop(). */
struct control_forwards *control_forwards_new(struct node *node);
/* Ends them all, and tells so. */
void control_forwards_stop(struct control_forwards *forwards);
void control_forwards_free(struct control_forwards *forwards);
void control_forwards_add(struct control_forwards *forwards, struct control_request *request,
                          const json_t *args);

#endif
