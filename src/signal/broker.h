/* SPDX-License-Identifier: MIT */
/*
 * Broker: one MQTT broker that this node keeps a connection to, for ever: it subscribes to one
 * topic, publishes to others, and connects again whenever it must. broker.c has the theory: Paho's
 * threads, its sockets, and what a hostile broker can do.
 */
#ifndef ADIT_SIGNAL_BROKER_H
#define ADIT_SIGNAL_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/loop.h"

#define BROKER_TOPIC_MAX   127
#define BROKER_MESSAGE_MAX 2048 /* larger ones are dropped */
#define BROKER_TEXT_MAX    200

struct broker;

/* Looks names up: as strategies do. done is called once, from the loop, unless cancelled. */
typedef void broker_resolved_cb(void *arg, const struct addr *addrs, size_t count, const char *why);
struct broker_resolver {
    void *(*start)(void *owner, const char *name, broker_resolved_cb *done,
                   void *arg); /* or NULL */
    void (*cancel)(void *owner, void *lookup);
    void *owner;
};

struct broker_options {
    const char *url;   /* mqtt://, mqtts://, ws://, wss://[USER[:PASSWORD]@]HOST[:PORT][/PATH] */
    const char *topic; /* subscribed to, QoS 0 */
    struct broker_resolver resolver;
    const char *ca_file;   /* NULL: the system's certificates, for mqtts and wss */
    uint64_t retry_min_us; /* pause after a lost or failed connection; grows, with jitter, ... */
    uint64_t retry_max_us; /* ... to this */
    uint64_t connect_us;   /* limit of one attempt, name included */
    uint64_t keepalive_us; /* MQTT keep alive */
};
#define BROKER_RETRY_MIN_US (500 * MS_US)
#define BROKER_RETRY_MAX_US (60 * SEC_US)
#define BROKER_CONNECT_US   (10 * SEC_US)
#define BROKER_KEEPALIVE_US (30 * SEC_US)

/* All are called from the loop, never from inside a function of this module. */
struct broker_events {
    /* It is up: connected, and what is subscribed to comes before any answer; or it is not, and
     * why says why in plain words. */
    void (*state)(void *arg, struct broker *broker, bool up, const char *why);
    /* A message on our topic. */
    void (*message)(void *arg, struct broker *broker, const uint8_t *bytes, size_t len);
};

enum broker_phase { BROKER_CONNECTING, BROKER_UP, BROKER_WAITING };
struct broker_info {
    const char *name; /* the URL without user, password and path */
    enum broker_phase phase;
    const char *why;         /* of the last failure, "" */
    uint64_t next_us;        /* until the next attempt; 0: none planned */
    uint64_t connect_us;     /* how long the last successful one took */
    uint64_t received, sent; /* messages */
    uint64_t dropped;        /* received beyond a limit */
    uint32_t connects, failures;
};

/* How brokers are made and used, so that tests can put others in their place. */
struct broker_driver {
    /* Starts connecting. NULL: errbuf says what is wrong with the URL, or no memory. */
    struct broker *(*open)(struct loop *loop, const struct broker_options *options,
                           const struct broker_events *events, void *arg, char *errbuf,
                           size_t errlen);
    /* Nothing is told any more; takes no time. */
    void (*close)(struct broker *broker);
    /* Publishes, QoS 0, not retained. 0; -ENOTCONN; -EAGAIN: too much is queued already. */
    int (*publish)(struct broker *broker, const char *topic, const void *bytes, size_t len);
    /* The network has changed: connects anew now if it is not up, and finds out soon if it still
     * is.
     */
    void (*kick)(struct broker *broker);
    void (*describe)(const struct broker *broker, struct broker_info *info);
};
/* By Paho, in processes of its own: this program, started anew under another name, which never gets
 * to its main() (paho.c). A loop with descriptors is needed. */
extern const struct broker_driver broker_paho;

#endif
