/* SPDX-License-Identifier: MIT */
/*
 * Listen: where peers reach this node by TCP. It takes connections, has them prove a key (TLS), and
 * hands them over. listen.c has the theory.
 */
#ifndef ADIT_NODE_LISTEN_H
#define ADIT_NODE_LISTEN_H

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/loop.h"
#include "config/state.h"
#include "pipe/pipe.h"

struct tls_context;
struct listen;
struct handshake; /* a connection that has not yet become a path; it counts against the limits */

#define LISTEN_HANDSHAKES_MAX 256 /* default of the total */
#define LISTEN_PREFIX_MAX     16  /* from one /24 (IPv4) or /56 (IPv6) */
#define LISTEN_ADDRS_MAX      16
#define LISTEN_TIMEOUT_US     (5 * SEC_US) /* default */

struct listen_options {
    /* Lent for the call; port 0: the one in the state, else picked and put there. */
    const struct addr *at;
    size_t count;
    uint32_t handshakes_max; /* 0: LISTEN_HANDSHAKES_MAX */
    uint64_t timeout_us;     /* preface and TLS; 0: LISTEN_TIMEOUT_US */
    struct tls_context *tls; /* must outlive it */
    struct state *state;
};

struct listen_events {
    /* A connection has proven its key (tls_peer()); the pipe is the callee's, who calls
     * listen_done() when the greetings are exchanged, listen_refused() when they have failed. */
    void (*proven)(void *arg, struct pipe *pipe, struct handshake *handshake);
};

/* Opens all, or nothing: NULL, and errbuf says why and what to do. */
struct listen *listen_new(struct loop *loop, const struct listen_options *options,
                          const struct listen_events *events, void *arg, char *errbuf,
                          size_t errlen);
/* Takes no more; what has not proven itself or was refused is dropped. */
void listen_stop(struct listen *listen);
/* Handshakes handed out must be done before. */
void listen_free(struct listen *listen);

/* The handshake's place is free again. */
void listen_done(struct handshake *handshake);
/* It will be when the pipe, which the caller has closed, has ended. */
void listen_refused(struct handshake *handshake, struct pipe *pipe);

/* Where it listens, ports resolved. */
size_t listen_count(const struct listen *listen);
struct addr listen_addr(const struct listen *listen, size_t index);

struct listen_stats {
    uint32_t handshakes; /* now */
    /* Ever; refused: beyond a limit; failed: did not prove a key. */
    uint64_t accepted, refused, failed;
};
const struct listen_stats *listen_stats(const struct listen *listen);

#endif
