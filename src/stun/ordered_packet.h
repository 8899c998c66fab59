/* SPDX-License-Identifier: MIT */
/*
 * Packets of ordered pipes (turn_ordered.h). Pure.
 *
 * All numbers in network byte order. A tag is a random number by which a side knows one incarnation
 * of a peer; who sends it has heard it. The bond of two tags (ordered_bond()) is what the packets
 * carry that follow: both have to be right, since a tag may have been offered to two. Numbers of
 * segments begin at 0 in each direction and wrap.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |   0xD1 HELLO  |  flags: 1 ask |  version: 1                   |  "my tag is, and I have
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+   heard yours"; ask: answer
 *     |  tag of the sender, 64 bits                               ...    this with your tag
 *     |  tag of the receiver, 64 bits; 0: not known               ...
 *     |  the bond with whoever the sender knows at that address   ...    0: nobody
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |   0xD2 DATA   |  flags: 1 first of a message, 2 last of it, 4 confirm at once,
 *     |  bond of the receiver's tag with the sender's, 64 bits     ...
 *     |  number of the segment                                        |
 *     |  time of sending, microseconds                                |
 *     |  the segment                                              ...
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     (the bond follows the flags at once: byte 2)
 *
 *     8 places: no message, but where the sender can be reached, besides, one after the other:
 *     family (4 or 6), port (2 bytes), address
 *
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |   0xD3 ACK    |  flags: 1 ask, 2 no memory for something that came
 *     |  bond of the receiver's tag with the sender's (from byte 2) ...
 *     |  next: the number of the first segment that is missing        |
 *     |  limit: the number of the first one that there is no room for |
 *     |  time of sending of the newest segment, as it said            |
 *     |  microseconds that this waited since it came; all ones: none  |
 *     |  bits, from the highest of the first byte: has come what follows `next`, one a segment ...
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 *     0xD4 RESET, flags 0, bond: "I do not know this bond", which came to me
 *     0xD5 BYE, flags 0, bond: "I close, and hear nothing more"
 */
#ifndef ADIT_STUN_ORDERED_PACKET_H
#define ADIT_STUN_ORDERED_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ORDERED_VERSION     1
#define ORDERED_HELLO_BYTES 28
#define ORDERED_DATA_BYTES  18   /* before the segment */
#define ORDERED_ACK_BYTES   26   /* before the bits */
#define ORDERED_TAG_BYTES   10   /* RESET, BYE */
#define ORDERED_HEAD_MAX    28   /* of what ordered_build() writes */
#define ORDERED_BITS_MAX    1024 /* bytes of bits */
#define ORDERED_NO_DELAY    UINT32_MAX

enum ordered_type {
    ORDERED_HELLO = 0xD1,
    ORDERED_DATA = 0xD2,
    ORDERED_ACK = 0xD3,
    ORDERED_RESET = 0xD4,
    ORDERED_BYE = 0xD5,
};

enum ordered_flag {
    ORDERED_ASK = 1,   /* HELLO, ACK */
    ORDERED_FIRST = 1, /* DATA */
    ORDERED_LAST = 2,
    ORDERED_NOW = 4,
    ORDERED_CONTROL = 8,
    ORDERED_FULL = 2, /* ACK */
};

struct ordered_packet {
    enum ordered_type type;
    uint8_t flags;
    uint64_t to;      /* HELLO: tag of the receiver; else the bond */
    uint64_t from;    /* HELLO: of the sender */
    uint64_t known;   /* HELLO: another bond; 0: none */
    uint32_t number;  /* DATA; ACK: next */
    uint32_t limit;   /* ACK */
    uint32_t time_us; /* DATA, ACK */
    uint32_t delay_us;
    const uint8_t *bytes; /* DATA: the segment; ACK: the bits. In the caller's packet */
    size_t len;
};

/* What names two incarnations to the first of them. */
static inline uint64_t ordered_bond(uint64_t receiver, uint64_t sender)
{
    return receiver ^ (sender << 32 | sender >> 32);
}

/* Parses a whole datagram. Bytes used; ADIT_EFORMAT: it is none of ours, or of another version. */
int ordered_parse(const uint8_t *bytes, size_t len, struct ordered_packet *packet);
/* Writes everything before the segment or the bits; returns how many bytes that is. */
size_t ordered_build(uint8_t *bytes, const struct ordered_packet *packet);

#endif
