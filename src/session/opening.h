/* SPDX-License-Identifier: MIT */
/*
 * Opening: the first bytes of a stream in each direction, its OPEN and its ANSWER. Pure codec;
 * docs/protocol.md, "Streams".
 *
 *      OPEN    | length (2) | kind (1) | port (2) | address type (1) | address | options ... |
 *      ANSWER  | length (2) | answer (1) | address type (1) | address | port (2) | options ... |
 *
 * length counts what follows it. Address types are those of RFC 1928 section 5 (1 IPv4, 3 name with
 * a length octet, 4 IPv6), and 0: none. Options are for later versions and skipped.
 */
#ifndef ADIT_SESSION_OPENING_H
#define ADIT_SESSION_OPENING_H

#include <stddef.h>
#include <stdint.h>

#include "base/target.h"

#define OPENING_BYTES_MAX 512

enum opening_kind {
    OPENING_CONNECT = 1, /* a TCP connection to the target */
};

/* build: bytes written (at most OPENING_BYTES_MAX). parse: bytes consumed, 0 when incomplete,
 * ADIT_EFORMAT when wrong. */
size_t opening_build_open(uint8_t *to, const struct target *target);
int opening_parse_open(const uint8_t *bytes, size_t len, struct target *target);
size_t opening_build_answer(uint8_t *to, enum answer answer, const struct addr *bound);
int opening_parse_answer(const uint8_t *bytes, size_t len, enum answer *answer, struct addr *bound);

#endif
