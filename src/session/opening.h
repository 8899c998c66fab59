/* SPDX-License-Identifier: MIT */
/*
 * Opening: the first bytes of a stream in each direction, its OPEN and its ANSWER. Pure codec;
 * docs/protocol.md, "Streams".
 *
 *      OPEN    | length (2) | kind (1) | port (2) | address type (1) | address | options ... |
 *      ANSWER  | length (2) | answer (1) | address type (1) | address | port (2) | options ... |
 *
 * length counts what follows it. Address types are those of RFC 1928 section 5 (1 IPv4, 3 name with
 * a length octet, 4 IPv6), and 0: none. Options of an OPEN are type (1), length (1) and value each;
 * unknown ones are skipped, and so is what follows the port in an ANSWER.
 */
#ifndef ADIT_SESSION_OPENING_H
#define ADIT_SESSION_OPENING_H

#include <stddef.h>
#include <stdint.h>

#include "base/target.h"

#define OPENING_BYTES_MAX 512

enum opening_kind {
    OPENING_CONNECT = 1, /* a TCP connection to the target */
    OPENING_LISTEN = 2,  /* listen at the target, an address (port 0: any), while the stream lives;
                            the ANSWER tells where that is */
    OPENING_FORWARDED =
        3, /* a connection that came to such a listener; the target is where that is */
};

struct opening {
    enum opening_kind kind;
    struct target target; /* without name but in OPENING_CONNECT */
    struct addr from;     /* OPENING_FORWARDED: whose connection it is; unset: not told */
};

/* build: bytes written (at most OPENING_BYTES_MAX). parse: bytes consumed, 0 when incomplete,
 * ADIT_EFORMAT when wrong, or of a kind that this version does not know. */
size_t opening_build_open(uint8_t *to, const struct opening *opening);
int opening_parse_open(const uint8_t *bytes, size_t len, struct opening *opening);
size_t opening_build_answer(uint8_t *to, enum answer answer, const struct addr *bound);
int opening_parse_answer(const uint8_t *bytes, size_t len, enum answer *answer, struct addr *bound);

#endif
