/* SPDX-License-Identifier: MIT */
/*
 * Forwarder: the way of one broker's connections. A listener on loopback that takes a CONNECT (HTTP
 * proxy) from whoever knows its password, finds the broker's address and connects there, and hands
 * bytes on, those from the broker no faster than FORWARDER_BYTES_PER_S. forwarder.c has the theory.
 */
#ifndef ADIT_SIGNAL_FORWARDER_H
#define ADIT_SIGNAL_FORWARDER_H

#include "base/loop.h"
#include "base/target.h"
#include "signal/broker.h"

#define FORWARDER_BYTES_PER_S   (256 * 1024) /* from the broker, in the mean */
#define FORWARDER_BURST_BYTES   (512 * 1024)
#define FORWARDER_WAITING_MAX   4    /* connections that have not shown the password */
#define FORWARDER_REQUEST_BYTES 2048 /* of a CONNECT and what follows at once */
#define FORWARDER_REQUEST_US    (3 * SEC_US)
#define FORWARDER_ADDRS_MAX     8             /* addresses of a name that are tried ... */
#define FORWARDER_SPACING_US    (250 * MS_US) /* ... one so long after the other, RFC 8305 5 */
#define FORWARDER_PROXY_BYTES   96

struct forwarder;

/* How far the connection has come. */
enum forwarder_stage {
    FORWARDER_IDLE, /* nobody has asked */
    FORWARDER_RESOLVING,
    FORWARDER_CONNECTING,
    FORWARDER_CONNECTED, /* the broker's machine took the connection */
    FORWARDER_ANSWERED,  /* and has sent something */
};

/* The broker cannot be reached: why, in plain words (lent). The connection is gone. From the loop.
 */
typedef void forwarder_failed_cb(void *arg, const char *why);

/* A forwarder to one place. resolver is copied; NULL: no memory, or no port (errno says). */
struct forwarder *forwarder_new(struct loop *loop, const struct target *to,
                                const struct broker_resolver *resolver, forwarder_failed_cb *failed,
                                void *arg);
/* Ends every connection too. */
void forwarder_free(struct forwarder *forwarder);
/* Ends the present connection, and takes the next with a new password: written to proxy as
 * "USER:PASSWORD@127.0.0.1:PORT". */
void forwarder_renew(struct forwarder *forwarder, char proxy[FORWARDER_PROXY_BYTES]);
/* Ends the present connection, and takes none until it is renewed. */
void forwarder_stop(struct forwarder *forwarder);
enum forwarder_stage forwarder_stage(const struct forwarder *forwarder);
/* Whether the present or last connection was used for more than to ask for it. */
bool forwarder_has_spoken(const struct forwarder *forwarder);

#endif
