/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * pcap: a header that says the byte order, the resolution of times and the link layer, then
 * records. pcapng: sections of blocks; a section header says the byte order, interface
 * descriptions have link layer and resolution, packet blocks name their interface. Blocks of other
 * kinds are passed over by their length, as the format wants it.
 *
 *     pcap:    magic 4, version 2+2, zone 4, accuracy 4, snapshot length 4, link 4
 *     record:  seconds 4, fraction 4, bytes captured 4, on the wire 4, bytes
 *     pcapng:  type 4, length 4, body, padded to a multiple of 4, length 4
 *
 * A section's interfaces beyond CAPTURE_INTERFACES_MAX are counted, not kept: their frames are
 * passed over.
 */
#include "capture/capture.h"

#include <string.h>

#define PCAP_MICRO     0xA1B2C3D4u
#define PCAP_NANO      0xA1B23C4Du
#define PCAP_MODIFIED  0xA1B2CD34u /* of old Linux distributions: longer record headers */
#define PCAP_HEADER    24
#define PCAP_RECORD    16
#define NG_SECTION     0x0A0D0D0Au /* the same in both byte orders */
#define NG_BYTE_ORDER  0x1A2B3C4Du
#define NG_INTERFACE   1
#define NG_PACKET_OLD  2
#define NG_SIMPLE      3
#define NG_PACKET      6
#define NG_OPT_TSRESOL 9
#define NG_OPT_OFFSET  14

static uint32_t read32(const uint8_t *b, bool big)
{
    return big ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]
               : (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

static uint16_t read16(const uint8_t *b, bool big)
{
    return (uint16_t)(big ? b[0] << 8 | b[1] : b[1] << 8 | b[0]);
}

/* In the file's byte order; "swapped" is big endian. */
static uint32_t get32(const struct capture *c, const uint8_t *b)
{
    return read32(b, c->swapped);
}

static uint16_t get16(const struct capture *c, const uint8_t *b)
{
    return read16(b, c->swapped);
}

static bool is_pcap_magic(uint32_t magic)
{
    return magic == PCAP_MICRO || magic == PCAP_NANO || magic == PCAP_MODIFIED;
}

bool capture_is_file(const uint8_t *bytes, size_t len)
{
    return len >= 4 && (is_pcap_magic(read32(bytes, false)) || is_pcap_magic(read32(bytes, true)) ||
                        read32(bytes, true) == NG_SECTION);
}

/* Ticks since 1970 as microseconds. What does not fit is not known. */
static int64_t to_us(const struct capture_interface *interface, uint64_t ticks)
{
    uint64_t seconds, rest, us;

    if (interface->binary) {
        seconds = interface->resolution < 64 ? ticks >> interface->resolution : 0;
        rest = interface->resolution < 64 ? ticks - (seconds << interface->resolution) : 0;
        us = (uint64_t)((double)rest / (double)(UINT64_C(1) << (interface->resolution & 63)) * 1e6);
    } else {
        uint64_t unit = 1;

        for (unsigned i = 0; i < interface->resolution; i++)
            unit *= 10;
        seconds = ticks / unit;
        rest = ticks % unit;
        us = unit >= 1000000 ? rest / (unit / 1000000) : rest * (1000000 / unit);
    }
    if (seconds > (uint64_t)INT64_MAX / 4000000 || interface->offset_s > INT64_MAX / 4000000 ||
        interface->offset_s < -(INT64_MAX / 4000000))
        return 0;
    return ((int64_t)seconds + interface->offset_s) * 1000000 + (int64_t)us;
}

/* --- pcap --- */

static int pcap_start(struct capture *c, const uint8_t *bytes, size_t len)
{
    uint32_t magic = read32(bytes, false);

    c->swapped = !is_pcap_magic(magic);
    if (c->swapped)
        magic = read32(bytes, true);
    if (!is_pcap_magic(magic))
        return ADIT_EFORMAT;
    if (len < PCAP_HEADER)
        return 0;
    if (get16(c, bytes + 4) != 2)
        return -ENOTSUP;
    c->extra = magic == PCAP_MODIFIED ? 8 : 0;
    c->interfaces[0] = (struct capture_interface){
        .link = (uint16_t)get32(c, bytes + 20), /* above it: length of a frame check sequence */
        .resolution = magic == PCAP_NANO ? 9 : 6,
    };
    c->count = 1;
    c->started = true;
    return PCAP_HEADER;
}

static int pcap_record(struct capture *c, const uint8_t *bytes, size_t len,
                       struct capture_frame *frame)
{
    size_t head = PCAP_RECORD + c->extra;
    uint32_t fraction, captured;

    if (len < PCAP_RECORD)
        return 0;
    captured = get32(c, bytes + 8);
    if (captured > CAPTURE_RECORD_MAX)
        return ADIT_EFORMAT;
    if (len < head + captured)
        return 0;
    fraction = get32(c, bytes + 4);
    frame->time_us = (int64_t)get32(c, bytes) * 1000000 +
                     (c->interfaces[0].resolution == 9 ? fraction / 1000 : fraction);
    frame->link = c->interfaces[0].link;
    frame->bytes = bytes + head;
    frame->len = captured;
    frame->full_len = get32(c, bytes + 12);
    return (int)(head + captured);
}

/* --- pcapng --- */

static int64_t get64_signed(const struct capture *c, const uint8_t *b)
{
    uint64_t first = get32(c, b), second = get32(c, b + 4);

    return (int64_t)(c->swapped ? first << 32 | second : second << 32 | first);
}

/* link 2, reserved 2, snapshot length 4, options: code 2, length 2, value padded to 4 */
static void ng_interface(struct capture *c, const uint8_t *body, size_t len)
{
    struct capture_interface interface = {.resolution = 6};

    if (c->count == CAPTURE_INTERFACES_MAX || len < 8)
        return;
    interface.link = get16(c, body);
    for (size_t at = 8; len - at >= 4;) {
        unsigned code = get16(c, body + at), size = get16(c, body + at + 2);
        const uint8_t *value = body + at + 4;

        if (code == 0 || len - at - 4 < size)
            break;
        if (code == NG_OPT_TSRESOL && size >= 1) {
            interface.binary = value[0] & 0x80;
            interface.resolution = value[0] & 0x7F;
        } else if (code == NG_OPT_OFFSET && size >= 8) {
            interface.offset_s = get64_signed(c, value);
        }
        at += 4 + (((size_t)size + 3) & ~(size_t)3);
        if (at > len)
            break;
    }
    if (interface.resolution > (interface.binary ? 63 : 19))
        interface.resolution = 6;
    c->interfaces[c->count++] = interface;
}

/* interface 4 (old: 2, drops 2), time 4+4 (upper half first), captured 4, on the wire 4, bytes */
static int ng_packet(const struct capture *c, const uint8_t *body, size_t len, bool old,
                     struct capture_frame *frame)
{
    uint32_t index, captured;

    if (len < 20)
        return ADIT_EFORMAT;
    index = old ? get16(c, body) : get32(c, body);
    captured = get32(c, body + 12);
    if (captured > len - 20)
        return ADIT_EFORMAT;
    frame->is_homeless = index >= c->count;
    if (frame->is_homeless)
        return 0;
    frame->time_us =
        to_us(&c->interfaces[index], (uint64_t)get32(c, body + 4) << 32 | get32(c, body + 8));
    frame->link = c->interfaces[index].link;
    frame->bytes = body + 20;
    frame->len = captured;
    frame->full_len = get32(c, body + 16);
    return 0;
}

/* on the wire 4, bytes: of the first interface, without a time */
static int ng_simple(const struct capture *c, const uint8_t *body, size_t len,
                     struct capture_frame *frame)
{
    if (len < 4)
        return ADIT_EFORMAT;
    frame->is_homeless = c->count == 0;
    if (frame->is_homeless)
        return 0;
    frame->link = c->interfaces[0].link;
    frame->bytes = body + 4;
    frame->full_len = get32(c, body);
    frame->len = len - 4 < frame->full_len ? len - 4 : frame->full_len;
    return 0;
}

static int ng_block(struct capture *c, const uint8_t *bytes, size_t len,
                    struct capture_frame *frame)
{
    uint32_t type, total;
    int rc = 0;

    if (len < 12)
        return 0;
    if (read32(bytes, true) == NG_SECTION) {
        c->swapped = read32(bytes + 8, true) == NG_BYTE_ORDER;
        if (!c->swapped && read32(bytes + 8, false) != NG_BYTE_ORDER)
            return ADIT_EFORMAT;
    }
    type = get32(c, bytes);
    total = get32(c, bytes + 4);
    if (total < 12 || total % 4 != 0 || total > CAPTURE_RECORD_MAX)
        return ADIT_EFORMAT;
    if (len < total)
        return 0;
    if (get32(c, bytes + total - 4) != total)
        return ADIT_EFORMAT;
    if (type == NG_SECTION) {
        if (total < 28)
            return ADIT_EFORMAT;
        if (get16(c, bytes + 12) != 1)
            return -ENOTSUP;
        c->count = 0;
    } else if (type == NG_INTERFACE) {
        ng_interface(c, bytes + 8, total - 12);
    } else if (type == NG_PACKET || type == NG_PACKET_OLD) {
        rc = ng_packet(c, bytes + 8, total - 12, type == NG_PACKET_OLD, frame);
    } else if (type == NG_SIMPLE) {
        rc = ng_simple(c, bytes + 8, total - 12, frame);
    }
    return rc != 0 ? rc : (int)total;
}

int capture_parse(struct capture *capture, const uint8_t *bytes, size_t len,
                  struct capture_frame *frame)
{
    *frame = (struct capture_frame){0};
    if (len < 4)
        return 0;
    if (!capture->started && read32(bytes, true) == NG_SECTION)
        capture->started = capture->is_ng = true;
    if (!capture->started)
        return pcap_start(capture, bytes, len);
    return capture->is_ng ? ng_block(capture, bytes, len, frame)
                          : pcap_record(capture, bytes, len, frame);
}
