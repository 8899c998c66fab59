/* SPDX-License-Identifier: MIT */
/*
 * Options of pipes: everything about a socket that its opener may choose. docs/pipes.md maps the
 * options of the design's pipes to these. PIPE_OPTIONS_DEFAULT is a good start.
 */
#ifndef ADIT_PIPE_OPTIONS_H
#define ADIT_PIPE_OPTIONS_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

#define PIPE_SPARE_DESCRIPTORS 64 /* left by those who open as many sockets as others ask for */

struct pipe_options {
    /* Times in milliseconds. */
    uint32_t connect_timeout_ms; /* TCP connect; 0: the system's */
    uint32_t tls_timeout_ms;     /* TLS handshake, from the connection on */
    uint32_t linger_ms;          /* after pipe_close(): wait for progress in sending the queue */
    uint32_t idle_timeout_ms;    /* nothing received for so long: ends, -ETIMEDOUT; 0: never */

    uint32_t read_max;     /* bytes read in one go; 0: the kind's own (256 KiB) */
    uint32_t send_retries; /* message pipes: tries again after a transient send error */
    int protocol;          /* third argument of socket(2) */
    bool reset_on_close;   /* SO_LINGER with 0: close sends RST, what the system holds is lost */
    bool reuse_addr, reuse_port; /* SO_REUSEADDR, SO_REUSEPORT before bind */
    bool broadcast;              /* SO_BROADCAST */
    bool v6only;                 /* listeners on IPv6: not IPv4 as well */
    bool no_offload; /* UDP: each datagram by itself through the system (no UDP_SEGMENT, UDP_GRO) */
    bool keep_fd;    /* leave the descriptor open when the pipe ends */
    uint32_t spare_descriptors; /* connecting fails with EMFILE rather than take one of the last:
                                   see pipe_descriptors_max() */

    /* The explicit route; what the system refuses is an error. */
    struct addr local;           /* source address and port; unset: the system's choice */
    char interface[IF_NAMESIZE]; /* SO_BINDTODEVICE; "": any */
    uint32_t mark;               /* SO_MARK; 0: none */
    uint8_t ttl;                 /* IP_TTL / IPV6_UNICAST_HOPS; 0: the system's */

    /* Applied by pipe_open() only; else by pipe_subscribe() and pipe_drop_duplicates(). */
    uint32_t queue_max;  /* messages or slices a subscription keeps; 0: SUBSCRIPTION_QUEUE_MAX */
    uint32_t unique_max; /* duplicate filter: messages remembered; 0: off */
};

#define PIPE_OPTIONS_DEFAULT                                                                       \
    {                                                                                              \
        .connect_timeout_ms = 10000, .tls_timeout_ms = 5000, .linger_ms = 10000, .send_retries = 2 \
    }

/* How many descriptors may be used when `spare`, a quarter of all at most, are to be left for
 * others in the process. One system call. */
uint32_t pipe_descriptors_max(uint32_t spare);
/* Applies what is set to a new socket, before bind and connect, and binds it when local or reuse
 * ask for it. 0 or a negated errno. */
int pipe_options_apply(const struct pipe_options *options, int fd, int family);

#endif
