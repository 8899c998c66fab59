/* SPDX-License-Identifier: MIT */
/* Theory of operation: see the header, which draws the packets. What is too short, or has a type or
 * version that we do not know, is malformed; unknown flags are ignored. */
#include "stun/ordered_packet.h"

#include "base/err.h"
#include "stun/bytes.h"

static int parse_hello(const uint8_t *bytes, size_t len, struct ordered_packet *packet)
{
    if (len < ORDERED_HELLO_BYTES || get16(bytes + 2) != ORDERED_VERSION)
        return ADIT_EFORMAT;
    packet->from = get64(bytes + 4);
    packet->to = get64(bytes + 12);
    packet->known = get64(bytes + 20);
    return packet->from ? (int)len : ADIT_EFORMAT;
}

static int parse_data(const uint8_t *bytes, size_t len, struct ordered_packet *packet)
{
    if (len < ORDERED_DATA_BYTES)
        return ADIT_EFORMAT;
    packet->number = get32(bytes + 10);
    packet->time_us = get32(bytes + 14);
    packet->bytes = bytes + ORDERED_DATA_BYTES;
    packet->len = len - ORDERED_DATA_BYTES;
    return (int)len;
}

static int parse_ack(const uint8_t *bytes, size_t len, struct ordered_packet *packet)
{
    if (len < ORDERED_ACK_BYTES || len > ORDERED_ACK_BYTES + ORDERED_BITS_MAX)
        return ADIT_EFORMAT;
    packet->number = get32(bytes + 10);
    packet->limit = get32(bytes + 14);
    packet->time_us = get32(bytes + 18);
    packet->delay_us = get32(bytes + 22);
    packet->bytes = bytes + ORDERED_ACK_BYTES;
    packet->len = len - ORDERED_ACK_BYTES;
    return (int)len;
}

int ordered_parse(const uint8_t *bytes, size_t len, struct ordered_packet *packet)
{
    *packet = (struct ordered_packet){0};
    if (len < ORDERED_TAG_BYTES)
        return ADIT_EFORMAT;
    packet->type = bytes[0];
    packet->flags = bytes[1];
    packet->to = get64(bytes + 2);
    switch (bytes[0]) {
    case ORDERED_HELLO:
        return parse_hello(bytes, len, packet);
    case ORDERED_DATA:
        return parse_data(bytes, len, packet);
    case ORDERED_ACK:
        return parse_ack(bytes, len, packet);
    case ORDERED_RESET:
    case ORDERED_BYE:
        return (int)len;
    default:
        return ADIT_EFORMAT;
    }
}

size_t ordered_build(uint8_t *bytes, const struct ordered_packet *packet)
{
    bytes[0] = (uint8_t)packet->type;
    bytes[1] = packet->flags;
    switch (packet->type) {
    case ORDERED_HELLO:
        put16(bytes + 2, ORDERED_VERSION);
        put64(bytes + 4, packet->from);
        put64(bytes + 12, packet->to);
        put64(bytes + 20, packet->known);
        return ORDERED_HELLO_BYTES;
    case ORDERED_DATA:
        put64(bytes + 2, packet->to);
        put32(bytes + 10, packet->number);
        put32(bytes + 14, packet->time_us);
        return ORDERED_DATA_BYTES;
    case ORDERED_ACK:
        put64(bytes + 2, packet->to);
        put32(bytes + 10, packet->number);
        put32(bytes + 14, packet->limit);
        put32(bytes + 18, packet->time_us);
        put32(bytes + 22, packet->delay_us);
        return ORDERED_ACK_BYTES;
    case ORDERED_RESET:
    case ORDERED_BYE:
        put64(bytes + 2, packet->to);
        return ORDERED_TAG_BYTES;
    }
    return 0;
}
