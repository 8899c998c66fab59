/* SPDX-License-Identifier: MIT */
/* What the files of words share. */
#ifndef ADIT_STUN_WORDS_INT_H
#define ADIT_STUN_WORDS_INT_H

#include "stun/words.h"

/* A line that is being written. */
struct words {
    words_line_cb *line;
    void *arg;
    const struct stun_key *key;
    bool clean; /* nothing unknown or malformed so far */
    size_t len;
    char text[WORDS_LINE_MAX];
};

__attribute__((format(printf, 2, 3))) void words_add(struct words *w, const char *format, ...);
void words_add_text(struct words *w, const uint8_t *bytes, size_t len); /* in quotes, escaped */
void words_add_hex(struct words *w, const uint8_t *bytes, size_t len);  /* WORDS_DATA_MAX of it */
void words_add_data(struct words *w, const uint8_t *bytes, size_t len); /* length, and either */
void words_end_line(struct words *w);

/* How the value of an attribute is told. */
enum words_kind {
    WORDS_ADDRESS,
    WORDS_XOR_ADDRESS,
    WORDS_ERROR,
    WORDS_ADDRESS_ERROR,
    WORDS_TYPES,
    WORDS_SECONDS,
    WORDS_NUMBER,
    WORDS_NUMBER64,
    WORDS_TEXT,
    WORDS_NONCE,
    WORDS_DATA,
    WORDS_CHANNEL,
    WORDS_EVEN_PORT,
    WORDS_TRANSPORT,
    WORDS_FAMILY,
    WORDS_FLAG,
    WORDS_TOKEN,
    WORDS_PORT,
    WORDS_ICMP,
    WORDS_ALGORITHM,
    WORDS_ALGORITHMS,
    WORDS_CHANGE,
    WORDS_USERHASH,
    WORDS_INTEGRITY,
    WORDS_INTEGRITY_SHA256,
    WORDS_FINGERPRINT,
    WORDS_TICKET,
    WORDS_BYTES,
};

struct words_attr {
    uint16_t type;
    enum words_kind kind;
    const char *name;
};
/* NULL: not known. */
const struct words_attr *words_find_attr(unsigned type);
const char *words_protocol(unsigned protocol); /* NULL: not known */

/* Adds the value of an attribute. False: it is malformed, and nothing was added. */
bool words_add_value(struct words *w, const struct stun_message *m, const struct stun_attr *attr,
                     enum words_kind kind);

#endif
