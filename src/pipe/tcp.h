/* SPDX-License-Identifier: MIT */
/*
 * TCP pipes (and UNIX stream sockets): outgoing connections, wrapped descriptors, and servers.
 */
#ifndef ADIT_PIPE_TCP_H
#define ADIT_PIPE_TCP_H

#include "pipe/options.h"
#include "pipe/pipe.h"

/* Starts connecting; the pipe is up (or over) later. NULL: no memory or socket (errno says why).
 * options may be NULL. */
struct pipe *tcp_open(struct loop *loop, const struct addr *to, const struct pipe_options *options);
/* The same to a UNIX socket. */
struct pipe *tcp_open_unix(struct loop *loop, const char *path, const struct pipe_options *options);
/* Wraps a connected stream socket (TCP or UNIX), which is the pipe's from now on; it is made
 * non-blocking. The pipe is up at once (no `up` is told); reading begins after the current
 * callback. */
struct pipe *tcp_wrap(struct loop *loop, int fd, const struct pipe_options *options);
/* A server: `accept` hears each client. Ending the server ends its clients that have not been
 * released. */
struct pipe *tcp_listen(struct loop *loop, const struct addr *at,
                        const struct pipe_options *options);
struct pipe *tcp_listen_unix(struct loop *loop, const char *path, int mode,
                             const struct pipe_options *options);
/* Wraps a listening socket (socket activation, tests). */
struct pipe *tcp_listen_fd(struct loop *loop, int fd, const struct pipe_options *options);
/* The client lives on when its server ends. */
void tcp_release(struct pipe *client);
/* The descriptor, still the pipe's. */
int tcp_fd(const struct pipe *pipe);
/* Takes the descriptor out of a TCP pipe that has nothing queued; the pipe ends with 0, untold to
 * links. -EAGAIN when something is queued. */
int tcp_take_fd(struct pipe *pipe);

#endif
