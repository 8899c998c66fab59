/* SPDX-License-Identifier: MIT */
/*
 * Gate: the way of packets between the two sides: firewall, translation, link, answers. gate.c has
 * the theory.
 */
#ifndef LAB_GATE_H
#define LAB_GATE_H

#include "settings.h"

#define GATE_STORE_MAX_BYTES (128U << 20) /* packets under way, both directions together */

/* What is counted for each direction; gate_count_names has the names. */
enum gate_count {
    GATE_RECEIVED,
    GATE_RECEIVED_BYTES,
    GATE_SENT, /* out of the device at the other end */
    GATE_SENT_BYTES,
    GATE_UNSENT, /* the device did not take it */
    GATE_LOST,
    GATE_QUEUE_FULL,
    GATE_CUT,
    GATE_STORE_FULL,
    GATE_BAD,   /* not IP, or its header is wrong */
    GATE_LOCAL, /* multicast and link-local, which is not forwarded */
    GATE_BLOCKED,
    GATE_TOO_BIG,
    GATE_EXPIRED,
    GATE_FRAGMENTS, /* dropped where they would have to be translated or filtered */
    GATE_UNSOLICITED,
    GATE_FILTERED,
    GATE_STRAYS,
    GATE_TABLE_FULL,
    GATE_UNTRANSLATABLE, /* other protocols, ICMP errors about unknown sessions */
    GATE_HAIRPINNED,
    GATE_ERRORS_MADE, /* ICMP errors and RSTs in answer to what came this way */
    GATE_RESETS_MADE,
    GATE_COUNTS,
};

extern const char *const gate_count_names[GATE_COUNTS];

struct store_block;

/* Buffers of a few sizes, kept for the next packet when they are given back. */
struct store {
    struct store_block *free[4];
    size_t bytes;
};

/* Sends a packet out of the device of a side: UP means that of `in'. False: it was not taken. */
typedef bool gate_send(void *arg, enum direction side, const struct parcel *parcel);

struct gate {
    struct settings settings;
    unsigned device_mtu;
    struct nat *nat;
    struct link link[2];
    struct store store;
    uint64_t counts[2][GATE_COUNTS];
    gate_send *send;
    void *arg;
};

/* 0 or -ENOMEM. */
int gate_init(struct gate *gate, const struct settings *settings, unsigned device_mtu,
              gate_send *send, void *arg);
void gate_free(struct gate *gate);
/* Takes over settings that settings_check() has passed. A new seed counts from now on. */
void gate_configure(struct gate *gate, const struct settings *settings, int64_t now);
/* Cuts the line in a direction, and drops what is under way; or restores it. */
void gate_cut(struct gate *gate, enum direction direction, bool is_cut);

/* A packet has come from the device at which the direction begins. It is changed. */
void gate_receive(struct gate *gate, enum direction direction, const struct parcel *parcel,
                  int64_t now);
/* Whether nothing depends on how bytes are cut into packets, so that trains may pass. */
bool gate_takes_trains(const struct gate *gate);
/* Hands on what has arrived by now; at most max packets. True: there is more. */
bool gate_deliver(struct gate *gate, int64_t now, unsigned max);
/* When gate_deliver() has something to do; LINK_NEVER: nothing under way. */
int64_t gate_next(const struct gate *gate);

#endif
