/* SPDX-License-Identifier: MIT */
/*
 * One way in to all kinds of pipes: client or server, TCP, UDP, UNIX or TLS, new or from an
 * existing socket, with its listener in place before anything can happen. The kinds' own functions
 * (tcp.h, udp.h, ...) do the same for those who know what they want.
 *
 * Destinations are addresses: a name is looked up and its addresses are tried by egress/dial.h,
 * above pipes.
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
    /* Destination; NULL: a server at options->local (UDP: also a client of many). */
    const struct addr *to;
    const char *path; /* PIPE_UNIX: of the socket */
    bool is_server;   /* PIPE_UNIX: listens at path, mode 0600; others are told by `to` */
    /* `fd` is an existing socket, the pipe's from now on unless NULL is returned: connected (UDP is
     * connected to `to` if it is not yet), or a server's, listening or at least bound. */
    bool wrap;
    int fd;
    /* The first listener, may be NULL; a stream server's also listens to each of its clients. */
    const struct pipe_events *events;
    void *arg;
    /* NULL: the defaults. Local address and interface in it are the explicit route. */
    const struct pipe_options *options;
    struct tls_context *tls; /* PIPE_TLS: our key */
    /* PIPE_TLS: whom to expect; NULL with wrap: `fd` is an accepted client. */
    const struct node_id *id;
};

/* NULL: errno says why. EOPNOTSUPP: a TLS server (node/listen.c admits its clients one by one, by
 * tls_accept()); ENOTSUP: a duplicate filter on a stream. `up` is told in every case, from the
 * loop, also for wrapped sockets and servers. */
struct pipe *pipe_open(struct loop *loop, const struct pipe_spec *spec);

#endif
