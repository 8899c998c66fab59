/* SPDX-License-Identifier: MIT */
/*
 * Words: STUN and TURN messages told to people: one line a message, one line an attribute with its
 * value; what is unknown is named by its number, what is malformed by where it stands. Pure; never
 * gives out a byte that a terminal would obey.
 */
#ifndef ADIT_STUN_WORDS_H
#define ADIT_STUN_WORDS_H

#include "stun/integrity.h"

#define WORDS_LINE_MAX    1024 /* bytes of a line with its NUL; longer ones end in "..." */
#define WORDS_DATA_MAX    48   /* bytes of data that are shown */
#define WORDS_SUMMARY_MAX 160

/* One line, without newline; lent. */
typedef void words_line_cb(void *arg, const char *line);

/* Tells a packet: a STUN message, ChannelData, or what else it may be. With a key (may be NULL),
 * integrities are verified. True: all of it could be told, nothing in it is unknown or malformed.
 */
bool words_packet(const uint8_t *bytes, size_t len, const struct stun_key *key, words_line_cb *line,
                  void *arg);
/* A message in a few words, for logs: "Allocate error 401 Unauthorized". Returns buf. */
const char *words_summary(const struct stun_message *message, char buf[WORDS_SUMMARY_MAX]);

/* Names; static. NULL: not known. */
const char *words_method(unsigned method);
const char *words_class(enum stun_class class);
const char *words_attr(unsigned type);
/* The phrase that belongs to an error code ("Stale Nonce"), and what it means to a user ("the
 * allocation is gone: ..."). */
const char *words_error(unsigned code);
const char *words_error_meaning(unsigned code);

#endif
