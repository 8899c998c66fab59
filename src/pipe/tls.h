/* SPDX-License-Identifier: MIT */
/*
 * TLS pipes: TLS 1.3 over a connected TCP socket, both sides authenticated by their node keys (crypto/tls_context.h). A TLS pipe carries frames:
 * what one pipe_send() gives is one record, and arrives as one message (of up to BLOCK_BYTES); pipe_write() may
 * cut bytes as it likes.
 */
#ifndef ADIT_PIPE_TLS_H
#define ADIT_PIPE_TLS_H

#include "crypto/identity.h"
#include "pipe/options.h"
#include "pipe/pipe.h"

struct tls_context; /* crypto/tls_context.h */

/* Client: connects to `to`, sends the preface for peer `id`, then TLS; up when the peer has proven to hold `id`'s key. */
struct pipe *tls_open(struct loop *loop, struct tls_context *context, const struct addr *to, const struct node_id *id, const struct pipe_options *options);
/* Server: takes an accepted socket; waits for a right preface (a wrong or missing one: silent close), then TLS; up when the client's key is known. */
struct pipe *tls_accept(struct loop *loop, struct tls_context *context, int fd, const struct pipe_options *options);
/* The peer's proven identity (valid once up). */
const struct node_id *tls_peer(const struct pipe *pipe);
/* Round trip in microseconds as the kernel's TCP sees it, 0 if unknown; and the bytes it has not sent yet. */
uint32_t tls_rtt_us(const struct pipe *pipe);

#endif
