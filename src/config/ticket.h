/* SPDX-License-Identifier: MIT */
/*
 * Tickets: the one string that a person copies to pair two nodes: who to reach, how, and the right
 * to enrol (docs/protocol-ticket.md). It may hold secrets: no logs, no argument lists of other
 * programs.
 */
#ifndef ADIT_CONFIG_TICKET_H
#define ADIT_CONFIG_TICKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/target.h"
#include "crypto/identity.h"

#define TICKET_TEXT_MAX     4096 /* characters, without the NUL; longer texts are refused */
#define TICKET_PAYLOAD_MAX  2552 /* bytes that fit such a text */
#define TICKET_REACH_MAX    16   /* ways kept; further ones are ignored */
#define TICKET_BROKERS_MAX  8
#define TICKET_TURN_MAX     4
#define TICKET_URL_MAX      255
#define TICKET_USER_MAX     127
#define TICKET_PASSWORD_MAX 127
#define TICKET_NAME_MAX     64
#define TICKET_SECRET_BYTES 16

struct ticket_turn {
    char url[TICKET_URL_MAX + 1];
    char user[TICKET_USER_MAX + 1];         /* "": none */
    char password[TICKET_PASSWORD_MAX + 1]; /* "": none */
};

struct ticket {
    struct node_id id;
    struct target reach[TICKET_REACH_MAX]; /* where it listens, best first: addresses, or names not
                                              yet resolved */
    size_t reach_count;
    char brokers[TICKET_BROKERS_MAX][TICKET_URL_MAX + 1];
    size_t broker_count;
    struct ticket_turn turn[TICKET_TURN_MAX];
    size_t turn_count;
    bool has_secret;
    uint8_t secret[TICKET_SECRET_BYTES];
    uint64_t expiry_s; /* seconds since 1970; 0: does not expire */
    /* What its maker is called; UTF-8 without control characters; "": nothing. */
    char name[TICKET_NAME_MAX + 1];
};

enum ticket_result {
    TICKET_OK,
    TICKET_NOT_ONE,   /* does not start with "adit" and a version */
    TICKET_DAMAGED,   /* mistyped, or a part is missing: the checksum is wrong */
    TICKET_NEWER,     /* of a version that is not known here */
    TICKET_MALFORMED, /* unharmed, but what it says is impossible: its maker is at fault */
};

/* Reads a ticket as a person may have pasted it: spaces and line breaks anywhere, upper case, and a
 * leading "ticket:" are forgiven. On any result but TICKET_OK *ticket is all zero. */
enum ticket_result ticket_parse(const char *text, size_t len, struct ticket *ticket);
/* What to tell the user of a result: plain words and the remedy. */
const char *ticket_result_text(enum ticket_result result);
/* Whether these characters look as if they were meant to be a ticket (rather than a peer's name or
 * ID). */
bool ticket_looks_like_one(const char *text);

/* Writes the ticket as text, with a NUL. Its length, -EINVAL when a field is impossible (a port 0,
 * a control character in a name, ...), or -ENOSPC: longer than size - 1 or TICKET_TEXT_MAX. Parsing
 * the text gives the same ticket. */
int ticket_format(const struct ticket *ticket, char *text, size_t size);

/* Whether it has expired at this time (seconds since 1970). An expired one still tells how to reach
 * a node that one is already admitted to. */
bool ticket_is_expired(const struct ticket *ticket, uint64_t now_s);

/* The bytes inside, for fuzzing: TICKET_OK or TICKET_MALFORMED. */
enum ticket_result ticket_parse_payload(const uint8_t *bytes, size_t len, struct ticket *ticket);

#endif
