/* SPDX-License-Identifier: MIT */
/*
 * Preface: the 40 bytes before TLS with which a client shows that it knows whom it calls
 * (docs/protocol-tls.md). A server answers nothing, not even a TLS alert, to whoever lacks
 * them.
 *
 *      0                16        24               40
 *     +----------------+---------+----------------+
 *     | random         | time    | MAC            |
 *     +----------------+---------+----------------+
 *
 *     time  seconds since 1970, big endian; coarse, and only a hint
 *     MAC   the first 16 bytes of HMAC-SHA256(key, random || time),
 *           key = SHA-256("adit preface v1" || the responder's ID)
 */
#ifndef ADIT_CRYPTO_PREFACE_H
#define ADIT_CRYPTO_PREFACE_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/identity.h"

#define PREFACE_BYTES        40
#define PREFACE_RANDOM_BYTES 16

struct preface {
    uint8_t random[PREFACE_RANDOM_BYTES];
    uint64_t time_s; /* as the sender's clock said; never a reason to refuse */
};

/* Builds a preface for this responder. 0 or ADIT_ECRYPTO. */
int preface_build(const struct node_id *responder, const struct preface *preface,
                  uint8_t out[PREFACE_BYTES]);

/* Checks the preface at the start of what arrived. PREFACE_BYTES, 0: needs more bytes, ADIT_EAUTH:
 * not meant for this responder, or ADIT_ECRYPTO. The comparison takes the same time for every wrong
 * MAC. */
int preface_parse(const struct node_id *responder, const uint8_t *data, size_t len,
                  struct preface *preface);

#endif
