/* SPDX-License-Identifier: MIT */
/*
 * Identity: a node is its Ed25519 key (RFC 8032); its ID is the public key, written in base32 (RFC
 * 4648, lower case, no padding: 52 characters).
 */
#ifndef ADIT_CRYPTO_IDENTITY_H
#define ADIT_CRYPTO_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_ID_BYTES    32
#define NODE_ID_TEXT_LEN 52

struct node_id {
    uint8_t key[NODE_ID_BYTES];
};

struct identity; /* the private key; identity.c */

/* Loads `key` from the state directory (made 0700, the key file 0600, at first start). A key file
 * that others can read is refused. NULL: error is set to a plain text (static or in errbuf). */
struct identity *identity_load(const char *state_dir, char *errbuf, size_t errlen);
/* Reads a key file, which must exist and be nobody else's business. NULL: errbuf. */
struct identity *identity_read(const char *path, char *errbuf, size_t errlen);
/* Writes a key file (0600), whole or not at all, and never over another file. 0, or a negative
 * error and errbuf. */
int identity_write(const struct identity *identity, const char *path, char *errbuf, size_t errlen);
struct identity *identity_generate(void); /* in memory only: tests */
/* The same with a given secret (RFC 8032 section 5.1.5), for test vectors. */
struct identity *identity_from_secret(const uint8_t secret[NODE_ID_BYTES]);
void identity_free(struct identity *identity);
const struct node_id *identity_id(const struct identity *identity);

/* text: NODE_ID_TEXT_LEN + 1 bytes. parse: 0 or ADIT_EFORMAT; upper case and surrounding spaces are
 * forgiven. */
const char *node_id_format(const struct node_id *id, char text[NODE_ID_TEXT_LEN + 1]);
int node_id_parse(const char *text, struct node_id *id);
bool node_id_equal(const struct node_id *a, const struct node_id *b);
int node_id_compare(const struct node_id *a, const struct node_id *b); /* as memcmp */

#endif
