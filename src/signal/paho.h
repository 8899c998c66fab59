/* SPDX-License-Identifier: MIT */
/*
 * Paho: one connection to a broker by Paho's asynchronous client, in a process of its own. paho.c
 * says why. This side holds a socket of records (SOCK_SEQPACKET) and the process's number.
 *
 *     to it:   the options, once
 *              PAHO_PUBLISH, length of the topic (1), topic, payload
 *     from it: PAHO_UP: may publish, and what answers it will be received
 *              PAHO_SUBSCRIBED: the broker has confirmed it
 *              PAHO_DOWN, enum paho_end (1), text
 *              PAHO_MESSAGE, dropped so far (4, this machine's order), payload
 */
#ifndef ADIT_SIGNAL_PAHO_H
#define ADIT_SIGNAL_PAHO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/broker_url.h"
#include "signal/broker.h"
#include "signal/forwarder.h"

enum paho_record { PAHO_PUBLISH = 1, PAHO_UP, PAHO_DOWN, PAHO_MESSAGE, PAHO_SUBSCRIBED };

/* What ended a connection; text may say more. */
enum paho_end {
    PAHO_LOST,            /* once up */
    PAHO_FAILED,          /* before it was up: connection, TLS, WebSocket */
    PAHO_BAD_LOGIN,       /* MQTT 3.1.1 3.2.2.3: 4, bad user name or password */
    PAHO_FORBIDDEN,       /* 5, not authorised */
    PAHO_BUSY,            /* 3, server unavailable */
    PAHO_REJECTED,        /* 1 and 2, protocol or client identifier; or no number of MQTT 3.1.1 */
    PAHO_NO_SUBSCRIPTION, /* 3.9.3: 0x80 */
    PAHO_BROKEN,          /* the library failed */
};

#define PAHO_FILE_BYTES   1024 /* of the name of a file */
#define PAHO_HEAD_BYTES   5
#define PAHO_RECORD_BYTES (PAHO_HEAD_BYTES + BROKER_TOPIC_MAX + BROKER_MESSAGE_MAX)

/* Copied as it is into the first record. */
struct paho_options {
    struct broker_url url;
    char proxy[FORWARDER_PROXY_BYTES]; /* forwarder_renew() */
    char topic[BROKER_TOPIC_MAX + 1];
    char ca_file[PAHO_FILE_BYTES]; /* "": the system's */
    uint32_t keepalive_s, connect_s;
    uint8_t client_id[11];
};

/* Starts it. *fd is the caller's; when it is closed, the process ends. 0 or a
 * negative errno. */
int paho_start(const struct paho_options *options, int *fd, pid_t *pid);
/* Ends it now, and waits for the few milliseconds that this takes. */
void paho_kill(pid_t pid);

#endif
