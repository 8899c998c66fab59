/* SPDX-License-Identifier: MIT */
/*
 * One way in to all kinds of pipes: client or server, TCP, UDP, UNIX or TLS, new or from an existing socket, with its listener in place before
 * anything can happen. The kinds' own functions (tcp.h, udp.h, ...) do the same for those who know what they want.
 *
 * Destinations are addresses: a name is looked up and its addresses are tried by egress/dial.h, above pipes.
 */
#ifndef ADIT_PIPE_OPEN_H
#define ADIT_PIPE_OPEN_H

#include "crypto/identity.h"
#include "pipe/options.h"
#include "pipe/pipe.h"

struct tls_context;

enum pipe_protocol { PIPE_TCP, PIPE_UDP, PIPE_UNIX, PIPE_TLS };

struct pipe_spec {
    enum pipe_protocol protocol;
    const struct addr *to;   /* destination; NULL: a server, at options->local (for UDP also: a client of many) */
    const char *path;        /* PIPE_UNIX: of the socket */
    bool is_server;          /* PIPE_UNIX: listens at path, with mode 0600; the others are told by `to` */
    bool wrap;               /* `fd` is an existing socket, the pipe's from now on unless NULL is returned */
    int fd;                  /* connected (a UDP socket is connected to `to` if it is not yet), or a server's, listening or at least bound */
    const struct pipe_events *events; /* first listener, may be NULL; a TCP or UNIX server's also listens to each of its clients */
    void *arg;
    const struct pipe_options *options; /* NULL: the defaults. Its local address and interface are the explicit route */
    struct tls_context *tls;            /* PIPE_TLS: our key */
    const struct node_id *id;           /* PIPE_TLS: whom to expect; NULL with wrap: `fd` is an accepted client */
};

/* NULL: errno says why. EOPNOTSUPP: a TLS server (node/listen.c admits its clients one by one, by tls_accept()); ENOTSUP: a duplicate filter on a stream. `up`
 * is told in every case, from the loop, also for wrapped sockets and servers. */
struct pipe *pipe_open(struct loop *loop, const struct pipe_spec *spec);

#endif
