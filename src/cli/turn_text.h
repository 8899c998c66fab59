/* SPDX-License-Identifier: MIT */
/*
 * Text from elsewhere: what a peer says, or calls its files, as one line that neither steers a
 * terminal nor looks like another line of ours.
 */
#ifndef ADIT_CLI_TURN_TEXT_H
#define ADIT_CLI_TURN_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/addr.h"

#define TEXT_STEP_MAX 8 /* bytes that one character becomes, and a NUL */

/* The character at the front (len is not 0) as it may be shown: itself, or a backslash and what it
 * is. How many bytes it has. */
size_t text_step(const uint8_t *bytes, size_t len, char shown[TEXT_STEP_MAX]);
void text_print(FILE *out, const uint8_t *bytes, size_t len);
/* As much of it as fits in `columns` (a character is taken for one), "..." at the end if that is
 * not all. size: of buf, with the NUL. */
const char *text_fit(const char *text, size_t columns, char *buf, size_t size);
/* Sets a member: the text, or null if it is no UTF-8, and its bytes as KEY_hex. */
void text_set_json(json_t *object, const char *key, const uint8_t *bytes, size_t len);
/* One line of JSON on standard output, at once; escaped, so that it is ASCII. Takes the object. */
void text_print_json(json_t *object);
/* What somebody says, on standard output, at once: a line with his address before it, so that it
 * passes for none of ours, or an event in JSON. */
void text_print_message(const uint8_t *bytes, size_t len, const struct addr *from, bool json);

#endif
