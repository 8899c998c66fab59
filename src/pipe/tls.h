/* SPDX-License-Identifier: MIT */
/*
 * TLS pipes: TLS 1.3 over a connected TCP socket, both sides authenticated by their node keys
 * (crypto/tls_context.h). A TLS pipe carries frames: what one pipe_send() gives is one record, and
 * arrives as one message (of up to BLOCK_BYTES); pipe_write() may cut bytes as it likes.
 */
#ifndef ADIT_PIPE_TLS_H
#define ADIT_PIPE_TLS_H

#include "crypto/identity.h"
#include "pipe/options.h"
#include "pipe/pipe.h"

struct tls_context; /* crypto/tls_context.h */

/* Client: connects to `to`, sends the preface for peer `id`, then TLS; up when the peer has proven
 * to hold `id`'s key. It ends with ADIT_EAUTH when the peer has another key. NULL: no memory or
 * socket (errno says why). options may be NULL. */
struct pipe *tls_open(struct loop *loop, struct tls_context *context, const struct addr *to,
                      const struct node_id *id, const struct pipe_options *options);
/* The same over a stream socket that somebody else has connected, or whose non-blocking connect is
 * under way (`connecting`). The socket is the pipe's from now on, unless NULL is returned. */
struct pipe *tls_wrap(struct loop *loop, struct tls_context *context, int fd, bool connecting,
                      const struct node_id *id, const struct pipe_options *options);
/* Server: takes an accepted socket; waits for a right preface (a wrong or missing one: silent
 * close, ADIT_EAUTH), then TLS; up when the client's key is known. All within tls_timeout_ms, or
 * -ETIMEDOUT. NULL: no memory; the socket is still the caller's. */
struct pipe *tls_accept(struct loop *loop, struct tls_context *context, int fd,
                        const struct pipe_options *options);
/* The peer's proven identity (valid once up). */
const struct node_id *tls_peer(const struct pipe *pipe);
/* Round trip in microseconds as the kernel's TCP sees it, 0 if unknown. One system call. */
uint32_t tls_rtt_us(const struct pipe *pipe);
/* Bytes that the kernel has taken and not sent yet; 0 if unknown. One system call. */
uint32_t tls_unsent_bytes(const struct pipe *pipe);

#endif
