/* SPDX-License-Identifier: MIT */
/*
 * Base32 as in RFC 4648 section 6, lower case, without padding: how keys and tickets are written,
 * since it survives double-clicking, dictation and file names.
 */
#ifndef ADIT_CRYPTO_BASE32_H
#define ADIT_CRYPTO_BASE32_H

#include <stddef.h>
#include <stdint.h>

/* Characters that len bytes become, without the NUL. */
#define BASE32_TEXT_LEN(len) (((len)*8 + 4) / 5)

/* Writes BASE32_TEXT_LEN(len) characters and a NUL to text. */
void base32_encode(const uint8_t *bytes, size_t len, char *text);

/* Decodes text_len characters, upper or lower case, into at most max bytes. Returns how many bytes,
 * or ADIT_EFORMAT: a character outside the alphabet, a length that no encoding has, unused bits
 * that are not zero, or too long. */
int base32_decode(const char *text, size_t text_len, uint8_t *bytes, size_t max);

#endif
