/* SPDX-License-Identifier: MIT */
/*
 * Front: the listeners for applications. SOCKS4, SOCKS4a, SOCKS5, HTTP CONNECT, plain HTTP proxying
 * and /proxy.pac on every one of them; streams are opened through an outlet.
 */
#ifndef ADIT_INGRESS_FRONT_H
#define ADIT_INGRESS_FRONT_H

#include "base/loop.h"
#include "config/config.h"
#include "ingress/outlet.h"

struct front;

#define FRONT_CLIENTS_DEFAULT    16384
#define FRONT_REQUEST_TIMEOUT_US (30 * SEC_US)
#define FRONT_LISTENER_TEXT_MAX  128

struct front_config {
    const struct config_listen *listen; /* where; lent for the call */
    size_t listen_count;
    const char *users_file; /* NULL or "": no authentication */
    uint32_t max_clients;   /* 0: FRONT_CLIENTS_DEFAULT. At the maximum nobody is accepted until
                               somebody leaves */
    uint64_t request_timeout_us; /* from the connection to the complete request; 0:
                                    FRONT_REQUEST_TIMEOUT_US */
    bool via;                    /* add Via fields to forwarded HTTP messages */
};

/* Opens all listeners, or none: NULL, with the reason in the log and a negated error in *error when
 * that is not NULL. The outlet must outlive the front. */
struct front *front_new(struct loop *loop, const struct front_config *config, struct outlet *outlet,
                        int *error);
/* Closes the listeners and ends all clients at once. */
void front_free(struct front *front);
/* Closes the listeners; clients go on. */
void front_stop(struct front *front);
/* Takes over a changed configuration: reads the users again, opens new listeners, closes those no
 * longer named; clients and their streams go on. On an error (logged) nothing has changed. */
int front_reload(struct front *front, const struct front_config *config);

/* The listeners' addresses as bound (port 0 resolved): "127.0.0.1:1080", "[::1]:1080" or
 * "unix:/path". */
size_t front_listeners(const struct front *front);
const char *front_listener(const struct front *front, size_t index,
                           char buf[FRONT_LISTENER_TEXT_MAX]);

struct front_stats {
    uint32_t clients;   /* now */
    uint64_t accepted;  /* ever */
    uint64_t requests;  /* streams asked for */
    uint64_t failed;    /* of these, answered with a failure */
    uint64_t malformed; /* clients that made no sense */
    uint64_t denied;    /* wrong or missing credentials */
    uint64_t timeouts;  /* clients that did not get round to a request */
};
const struct front_stats *front_stats(const struct front *front);

#endif
