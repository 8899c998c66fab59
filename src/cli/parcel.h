/* SPDX-License-Identifier: MIT */
/*
 * Parcels: what `adit turn send' and `adit turn listen' say to each other, each a message of an
 * ordered pipe. Pure.
 *
 *     TEXT    bytes                                   a message for the user
 *     OFFER   id 4, size 8, SHA-256 32, name          a file
 *     ACCEPT  id 4, offset 8                          send it, from there
 *     REFUSE  id 4, reason                            do not
 *     DATA    id 4, offset 8, bytes
 *     END     id 4, size 8, SHA-256 32                that was all of it
 *     DONE    id 4, size 8                            it is there, and the hash is right
 *     WAIT    id 4, number 8                          an answer will come; bytes looked at so far
 *
 * Before each stands its type, one byte; numbers are big endian. The side that offers says nothing
 * but DATA until END, and next to nothing until ACCEPT. A sender passes over
 * what it does not understand, so that later versions may say more to it.
 */
#ifndef ADIT_CLI_PARCEL_H
#define ADIT_CLI_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PARCEL_HASH_BYTES 32
#define PARCEL_HEAD_MAX   45 /* bytes of a parcel before those at its end */
#define PARCEL_NAME_MAX   255
#define PARCEL_REASON_MAX 255

enum parcel_type {
    PARCEL_TEXT = 1,
    PARCEL_OFFER,
    PARCEL_ACCEPT,
    PARCEL_REFUSE,
    PARCEL_DATA,
    PARCEL_END,
    PARCEL_DONE,
    PARCEL_WAIT,
};

struct parcel {
    enum parcel_type type;
    uint32_t id;
    uint64_t number; /* size or offset */
    uint8_t hash[PARCEL_HASH_BYTES];
    const uint8_t *bytes; /* text, name, reason, data: in the message; not a C string */
    size_t len;
};

/* Takes a message apart. Its length, or ADIT_EFORMAT. */
int parcel_parse(const uint8_t *bytes, size_t len, struct parcel *parcel);
/* Writes all but the bytes at the end; how many. */
size_t parcel_build_head(const struct parcel *parcel, uint8_t head[PARCEL_HEAD_MAX]);
/* A name under which a file may be kept: the part behind the last "/", nothing hidden, UTF-8,
 * nothing in it that steers a terminal or hides an ending (turn_text.h), not too long. */
void parcel_safe_name(const uint8_t *bytes, size_t len, char name[PARCEL_NAME_MAX + 1]);

#endif
