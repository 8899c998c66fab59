/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A message is parsed once, into a list of where its attributes are; read.c then looks into those
 * that somebody asks for, and build.c writes messages. All three are pure, keep nothing, and touch
 * no byte outside of what they are given: an attribute must lie, with its padding, within the
 * length that the header says, and the header's within what was received.
 *
 * Refused as malformed: the two highest bits not 0, another magic cookie (RFC 3489's messages have
 * none), a length that is no multiple of 4, an attribute that does not fit, more than
 * STUN_ATTRS_MAX of them. Padding bytes may have any value (RFC 8489 14).
 */
#include "stun/stun.h"

#include <string.h>

#include "stun/bytes.h"
#include "stun/channel.h"

enum stun_kind stun_kind(uint8_t first)
{
    if (first <= 3)
        return STUN_KIND_MESSAGE;
    if (first >= 20 && first <= 63)
        return STUN_KIND_DTLS;
    if (first >= 64 && first <= 79)
        return STUN_KIND_CHANNEL;
    return STUN_KIND_OTHER;
}

/* The header's length field is a multiple of 4, and at most this. */
static_assert(STUN_MESSAGE_MAX == STUN_HEADER_BYTES + (0xFFFF & ~3), "longest message");

/* Checks as much of a header as is there. The length of the message; 0: not known yet;
 * ADIT_EFORMAT. */
static int message_length(const uint8_t *bytes, size_t len)
{
    if (len > 0 && bytes[0] & 0xC0)
        return ADIT_EFORMAT;
    if (len < 4)
        return 0;
    if (bytes[3] % 4 != 0)
        return ADIT_EFORMAT;
    for (size_t i = 4; i < 8 && i < len; i++)
        if (bytes[i] != (uint8_t)(STUN_COOKIE >> (8 * (7 - i))))
            return ADIT_EFORMAT;
    return STUN_HEADER_BYTES + get16(bytes + 2);
}

int stun_frame_length(const uint8_t *bytes, size_t len)
{
    if (len == 0)
        return 0;
    switch (stun_kind(bytes[0])) {
    case STUN_KIND_MESSAGE:
        return message_length(bytes, len);
    case STUN_KIND_CHANNEL:
        /* In an int: 4 + 65535 + padding does not fit in 16 bits. */
        return len < CHANNEL_HEADER_BYTES ? 0
                                          : CHANNEL_HEADER_BYTES + ((get16(bytes + 2) + 3) & ~3);
    case STUN_KIND_DTLS:
    case STUN_KIND_OTHER:
        return ADIT_EFORMAT;
    }
    return ADIT_EFORMAT;
}

int stun_frame(const uint8_t *bytes, size_t len)
{
    int whole = stun_frame_length(bytes, len);

    if (whole <= 0)
        return whole;
    return len < (size_t)whole ? 0 : whole;
}

int stun_next_attr(const uint8_t *bytes, size_t len, size_t *at, struct stun_attr *attr)
{
    size_t left = len - *at;

    if (left == 0)
        return 0;
    if (left < STUN_ATTR_BYTES)
        return ADIT_EFORMAT;
    attr->type = get16(bytes + *at);
    attr->len = get16(bytes + *at + 2);
    attr->offset = (uint32_t)*at;
    attr->value = bytes + *at + STUN_ATTR_BYTES;
    if (padded(attr->len) > left - STUN_ATTR_BYTES)
        return ADIT_EFORMAT;
    *at += STUN_ATTR_BYTES + padded(attr->len);
    return 1;
}

/* The bits of the method and of the class are mixed (RFC 8489 5):
 *
 *      0                 1
 *      2  3  4 5 6 7 8 9 0 1 2 3 4 5
 *     +--+--+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |M |M |M|M|M|C|M|M|M|C|M|M|M|M|
 *     |11|10|9|8|7|1|6|5|4|0|3|2|1|0|
 *     +--+--+-+-+-+-+-+-+-+-+-+-+-+-+
 */
static void split_type(unsigned type, uint16_t *method, enum stun_class *class)
{
    *method = (uint16_t)((type & 0x3E00) >> 2 | (type & 0x00E0) >> 1 | (type & 0x000F));
    *class = (enum stun_class)((type & 0x0100) >> 7 | (type & 0x0010) >> 4);
}

int stun_parse(const uint8_t *bytes, size_t len, struct stun_message *message)
{
    int whole = message_length(bytes, len), more;
    size_t at = STUN_HEADER_BYTES;

    if (whole <= 0)
        return whole;
    if (len < (size_t)whole)
        return 0;
    message->bytes = bytes;
    message->len = (size_t)whole;
    message->count = 0;
    split_type(get16(bytes), &message->method, &message->class);
    memcpy(message->id.bytes, bytes + 8, STUN_ID_BYTES);
    for (;;) {
        struct stun_attr attr;

        more = stun_next_attr(bytes, message->len, &at, &attr);
        if (more <= 0)
            break;
        if (message->count == STUN_ATTRS_MAX)
            return ADIT_EFORMAT;
        message->attrs[message->count++] = attr;
    }
    return more < 0 ? more : whole;
}

int stun_parse_datagram(const uint8_t *bytes, size_t len, struct stun_message *message)
{
    int used = stun_parse(bytes, len, message);

    return used > 0 && (size_t)used == len ? 0 : ADIT_EFORMAT;
}

/* --- Finding --- */

/* Whether an attribute of this type counts after the one of type `last`, which closes a part of
 * the message. */
static bool counts_after(uint16_t last, uint16_t type)
{
    if (last == STUN_ATTR_MESSAGE_INTEGRITY)
        return type == STUN_ATTR_MESSAGE_INTEGRITY_SHA256 || type == STUN_ATTR_FINGERPRINT;
    if (last == STUN_ATTR_MESSAGE_INTEGRITY_SHA256)
        return type == STUN_ATTR_FINGERPRINT;
    return last != STUN_ATTR_FINGERPRINT;
}

static bool closes(uint16_t type)
{
    return type == STUN_ATTR_MESSAGE_INTEGRITY || type == STUN_ATTR_MESSAGE_INTEGRITY_SHA256 ||
           type == STUN_ATTR_FINGERPRINT;
}

/* Goes through the attributes that count. *last is 0 at the start. NULL: no more. */
static const struct stun_attr *next_counting(const struct stun_message *message, size_t *i,
                                             uint16_t *last)
{
    while (*i < message->count) {
        const struct stun_attr *attr = &message->attrs[(*i)++];

        if (!counts_after(*last, attr->type))
            continue;
        if (closes(attr->type))
            *last = attr->type;
        return attr;
    }
    return NULL;
}

const struct stun_attr *stun_find_next(const struct stun_message *message,
                                       const struct stun_attr *after, enum stun_type type)
{
    const struct stun_attr *attr;
    uint16_t last = 0;
    size_t i = 0;

    while ((attr = next_counting(message, &i, &last)))
        if (attr->type == type && (!after || attr > after))
            return attr;
    return NULL;
}

const struct stun_attr *stun_find(const struct stun_message *message, enum stun_type type)
{
    return stun_find_next(message, NULL, type);
}

static bool is_known(unsigned type)
{
    static const uint16_t known[] = {
        STUN_ATTR_MAPPED_ADDRESS,
        STUN_ATTR_CHANGE_REQUEST,
        STUN_ATTR_USERNAME,
        STUN_ATTR_MESSAGE_INTEGRITY,
        STUN_ATTR_ERROR_CODE,
        STUN_ATTR_UNKNOWN_ATTRIBUTES,
        STUN_ATTR_CHANNEL_NUMBER,
        STUN_ATTR_LIFETIME,
        STUN_ATTR_XOR_PEER_ADDRESS,
        STUN_ATTR_DATA,
        STUN_ATTR_REALM,
        STUN_ATTR_NONCE,
        STUN_ATTR_XOR_RELAYED_ADDRESS,
        STUN_ATTR_REQUESTED_ADDRESS_FAMILY,
        STUN_ATTR_EVEN_PORT,
        STUN_ATTR_REQUESTED_TRANSPORT,
        STUN_ATTR_DONT_FRAGMENT,
        STUN_ATTR_MESSAGE_INTEGRITY_SHA256,
        STUN_ATTR_PASSWORD_ALGORITHM,
        STUN_ATTR_USERHASH,
        STUN_ATTR_XOR_MAPPED_ADDRESS,
        STUN_ATTR_RESERVATION_TOKEN,
        STUN_ATTR_PRIORITY,
        STUN_ATTR_USE_CANDIDATE,
        STUN_ATTR_PADDING,
        STUN_ATTR_RESPONSE_PORT,
        STUN_ATTR_CONNECTION_ID,
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i] == type)
            return true;
    return type >= STUN_OPTIONAL;
}

size_t stun_unknown_attrs(const struct stun_message *message, uint16_t *types, size_t max)
{
    const struct stun_attr *attr;
    uint16_t last = 0;
    size_t i = 0, count = 0;

    while ((attr = next_counting(message, &i, &last))) {
        if (is_known(attr->type))
            continue;
        if (count < max)
            types[count] = attr->type;
        count++;
    }
    return count;
}

bool stun_id_equal(const struct stun_id *a, const struct stun_id *b)
{
    return memcmp(a->bytes, b->bytes, STUN_ID_BYTES) == 0;
}
