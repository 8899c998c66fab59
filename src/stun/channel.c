/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Pure. Numbers from 0x5000 to 0x7FFF, which RFC 5766 allowed, are refused: RFC 8656 12 reserves
 * them, and the first byte would not tell them from other protocols. A length of 0 is legal.
 */
#include "stun/channel.h"

#include "base/err.h"
#include "stun/bytes.h"

int channel_parse(const uint8_t *bytes, size_t len, struct channel_data *channel)
{
    if (len > 0 && (bytes[0] < CHANNEL_FIRST >> 8 || bytes[0] > CHANNEL_LAST >> 8))
        return ADIT_EFORMAT;
    if (len < CHANNEL_HEADER_BYTES)
        return 0;
    channel->number = get16(bytes);
    channel->len = get16(bytes + 2);
    channel->data = bytes + CHANNEL_HEADER_BYTES;
    if (channel->len > len - CHANNEL_HEADER_BYTES)
        return 0;
    return (int)(CHANNEL_HEADER_BYTES + channel->len);
}

void channel_build(uint8_t header[CHANNEL_HEADER_BYTES], uint16_t number, size_t len)
{
    put16(header, number);
    put16(header + 2, (uint16_t)len);
}
