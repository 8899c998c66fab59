/* SPDX-License-Identifier: MIT */
/*
 * Forwards, as the files of node/ see them: those of this node's user (forward.c), and the
 * listeners that peers have here (lent.c). Nobody else includes it but their tests.
 */
#ifndef ADIT_NODE_FORWARD_H
#define ADIT_NODE_FORWARD_H

#include "node/node_int.h"

#define LENT_PER_PEER 16 /* listeners that one peer may have here */

/* forward.c */
/* Makes the configuration's forwards those of `config`: others end, new ones begin, what is the
 * same goes on. 0, or a negative error and errbuf: nothing has changed. */
int forwards_use(struct node *node, const struct config *config, char *errbuf, size_t errlen);
void forwards_free(struct node *node);
/* The peer's session has a path (again). */
void forwards_path_up(struct node_peer *peer);
/* A stream of kind OPENING_FORWARDED. */
void forward_take(struct node_peer *peer, struct pipe *stream, const struct opening *opening);
json_t *forwards_describe(const struct node *node);

/* lent.c */
/* A stream of kind OPENING_LISTEN. */
void lent_open(struct node_peer *peer, struct pipe *stream, const struct opening *opening);
/* Ends the listeners that are no longer allowed. */
void lent_recheck(struct node *node);
/* Ends all of the peer's: it is about to be freed. */
void lent_forget(struct node_peer *peer);
json_t *lent_describe(const struct node *node);

#endif
