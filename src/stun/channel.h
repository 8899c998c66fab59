/* SPDX-License-Identifier: MIT */
/*
 * ChannelData: what a TURN client and server send each other for a bound peer (RFC 8656 12.4).
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  channel, 0x4000 to 0x4FFF    |  length of the data           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  data; on streams padded to a multiple of 4 bytes         ...
 */
#ifndef ADIT_STUN_CHANNEL_H
#define ADIT_STUN_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHANNEL_HEADER_BYTES 4
#define CHANNEL_FIRST        0x4000
#define CHANNEL_LAST         0x4FFF
#define CHANNEL_DATA_MAX     65535

struct channel_data {
    uint16_t number;
    const uint8_t *data; /* in the caller's bytes */
    size_t len;
};

/* Parses the ChannelData that the bytes begin with, a whole datagram or what stun_frame() has found
 * on a stream; what follows the data is padding and is passed over. Bytes used, without padding; 0:
 * more are needed (a datagram: drop it); ADIT_EFORMAT: the number is no channel's. */
int channel_parse(const uint8_t *bytes, size_t len, struct channel_data *channel);
/* The header of len bytes of data (up to CHANNEL_DATA_MAX). */
void channel_build(uint8_t header[CHANNEL_HEADER_BYTES], uint16_t number, size_t len);
/* How many zero bytes follow the data on a stream. */
static inline size_t channel_padding(size_t len)
{
    return (4 - len % 4) % 4;
}
static inline bool channel_is_number(unsigned number)
{
    return number >= CHANNEL_FIRST && number <= CHANNEL_LAST;
}

#endif
