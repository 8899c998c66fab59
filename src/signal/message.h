/* SPDX-License-Identifier: MIT */
/*
 * Messages: what two nodes say to each other while they find each other, inside a seal
 * (crypto/seal.h) by way of a broker, or inside a live session. Pure codec; docs/protocol-signal.md
 * has every field, with vectors.
 *
 *     | version (1) | type (1) | instance (16) | number (8) | time (8) | fields ... |
 *
 * Fields: type (1), length (1), value; unknown types are skipped, a repeated one is an error but
 * for addresses. Numbers are big endian.
 */
#ifndef ADIT_SIGNAL_MESSAGE_H
#define ADIT_SIGNAL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

#define MESSAGE_VERSION         1
#define MESSAGE_BYTES_MAX       1024
#define MESSAGE_INSTANCE_BYTES  16
#define MESSAGE_CHALLENGE_BYTES 16
#define MESSAGE_TOKEN_BYTES     8
#define MESSAGE_SECRET_BYTES    16
#define MESSAGE_ADDRS_MAX       16
#define MESSAGE_TEXT_MAX        200

enum message_type {
    MESSAGE_PING = 1,    /* are you there, and may I? */
    MESSAGE_PONG = 2,    /* I am; echoes the challenge of the PING */
    MESSAGE_DIAL = 3,    /* connect to me; echoes a challenge of the recipient's */
    MESSAGE_DECLINE = 4, /* the DIAL with this token will not be followed, or has failed: verdict */
};

struct message {
    uint8_t type;                             /* enum message_type; others are for later versions */
    uint8_t instance[MESSAGE_INSTANCE_BYTES]; /* the sender's run */
    uint64_t number;                          /* grows by at least one a message of an instance */
    uint64_t time_us; /* the sender's clock, since 1970: a hint, never a reason to refuse */
    /* Fields; has_* says whether they are there. */
    bool has_challenge, has_echo, has_token, has_secret, has_verdict, has_times;
    uint8_t challenge[MESSAGE_CHALLENGE_BYTES]; /* 1: to be echoed by who wants the sender to act */
    uint8_t echo[MESSAGE_CHALLENGE_BYTES];      /* 2: the recipient's challenge */
    uint8_t token[MESSAGE_TOKEN_BYTES];         /* 4: DIAL, DECLINE; repeated in HELLO */
    uint8_t secret[MESSAGE_SECRET_BYTES];       /* 5: PING: enrolment secret of a ticket */
    uint8_t verdict;                            /* 6: PONG, DECLINE: 0, or a close code ... */
    char text[MESSAGE_TEXT_MAX + 1];            /* ... and its text, printable ASCII */
    uint64_t about, received_us;                /* 7: PONG: the PING's number, when it came */
    uint8_t addr_count;
    struct addr addrs[MESSAGE_ADDRS_MAX]; /* 8, repeated: where the sender takes paths (TCP) */
};

/* Bytes written (at most MESSAGE_BYTES_MAX), or -EMSGSIZE. */
int message_build(const struct message *message, uint8_t out[MESSAGE_BYTES_MAX]);
/* The whole of bytes is one message: 0 or ADIT_EFORMAT. Unknown message types are given as they
 * are. */
int message_parse(const uint8_t *bytes, size_t len, struct message *message);

#endif
