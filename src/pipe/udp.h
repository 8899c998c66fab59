/* SPDX-License-Identifier: MIT */
/*
 * UDP pipes: messages to and from one peer (client) or anybody (server).
 */
#ifndef ADIT_PIPE_UDP_H
#define ADIT_PIPE_UDP_H

#include "pipe/options.h"
#include "pipe/pipe.h"

#define UDP_QUEUE_MESSAGES \
    1024 /* beyond these, or UDP_QUEUE_BYTES, the oldest unsent message is dropped */
#define UDP_QUEUE_BYTES ((size_t)1024 * 1024)
#define UDP_MESSAGE_MAX 65507

/* A client: only messages from `to` are received. `up` is told from the loop. NULL: no memory or
 * socket, or the address cannot be reached (errno says why). options may be NULL. */
struct pipe *udp_open(struct loop *loop, const struct addr *to, const struct pipe_options *options);
/* A server, or a socket for several peers: `message` names each source, pipe_write_to() each
 * destination; what is written to nobody is dropped. On an IPv6 socket IPv4 peers appear as IPv4,
 * unless v6only. */
struct pipe *udp_listen(struct loop *loop, const struct addr *at,
                        const struct pipe_options *options);
/* Wraps a datagram socket, connected or not, which is the pipe's from now on (unless NULL is
 * returned). */
struct pipe *udp_wrap(struct loop *loop, int fd, const struct pipe_options *options);
/* The descriptor, still the pipe's. */
int udp_fd(const struct pipe *pipe);
/* Messages dropped so far: the queue was full, the system refused them for good, or what it handed
 * over was cut. */
uint64_t udp_dropped(const struct pipe *pipe);
/* The largest message that is sent together with others in one piece now; 0: none is
 * (options->no_offload, or the system or the device cannot). For status and tests. */
size_t udp_group_max(const struct pipe *pipe);

#endif
