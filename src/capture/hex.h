/* SPDX-License-Identifier: MIT */
/*
 * Hex: packets written as text, in the forms in which people have them: plain, with blanks, colons,
 * dashes or commas, with 0x, as an array of C, as a string with \x, and the dumps of xxd, hexdump,
 * tcpdump and Wireshark. Pure.
 */
#ifndef ADIT_CAPTURE_HEX_H
#define ADIT_CAPTURE_HEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HEX_PACKET_MAX 65575 /* bytes of a packet: the longest of IPv6 with its header */

/* Takes the next packet out of a text: up to an empty line, the next dump that begins at offset 0,
 * or the end. *used: how much of the text that was. Its length; 0: no more packets; ADIT_EFORMAT:
 * not hex, *used says where; ADIT_EFULL: too long. out has room for HEX_PACKET_MAX bytes. */
int hex_parse(const char *text, size_t len, size_t *used, uint8_t *out);

#endif
