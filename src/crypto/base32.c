/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Five bits a character, most significant first. Decoding is strict where a second spelling of the
 * same bytes could arise (stray bits at the end, impossible lengths), so that equal keys have equal
 * texts; only the case of letters is forgiven. Key material passes through here: it is not made of
 * secrets (IDs are public) except for a ticket's enrolment secret, for which a table lookup's
 * timing is no concern at this rate.
 */
#include "crypto/base32.h"

#include "base/err.h"

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

void base32_encode(const uint8_t *bytes, size_t len, char *text)
{
    uint32_t bits = 0;
    unsigned have = 0;

    for (size_t i = 0; i < len; i++) {
        bits = bits << 8 | bytes[i];
        have += 8;
        while (have >= 5) {
            have -= 5;
            *text++ = alphabet[bits >> have & 31];
        }
    }
    if (have > 0)
        *text++ = alphabet[bits << (5 - have) & 31];
    *text = '\0';
}

static int value_of(char c)
{
    if (c >= 'a' && c <= 'z')
        return c - 'a';
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= '2' && c <= '7')
        return c - '2' + 26;
    return -1;
}

int base32_decode(const char *text, size_t text_len, uint8_t *bytes, size_t max)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t len = 0;

    for (size_t i = 0; i < text_len; i++) {
        int value = value_of(text[i]);

        if (value < 0)
            return ADIT_EFORMAT;
        bits = bits << 5 | (uint32_t)value;
        have += 5;
        if (have >= 8) {
            if (len == max)
                return ADIT_EFORMAT;
            have -= 8;
            bytes[len++] = (uint8_t)(bits >> have);
        }
    }
    /* A last character that adds no byte, or bits that no encoder writes. */
    if (have >= 5 || (bits & ((1u << have) - 1)) != 0)
        return ADIT_EFORMAT;
    return (int)len;
}
