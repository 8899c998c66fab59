/* SPDX-License-Identifier: MIT */
/*
 * Capture files: pcap and pcapng, as tcpdump and Wireshark write them, one frame after the other.
 * Pure: bytes are handed in, so that a file that is still being written can be followed.
 */
#ifndef ADIT_CAPTURE_CAPTURE_H
#define ADIT_CAPTURE_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CAPTURE_INTERFACES_MAX 64 /* of a section of pcapng; frames of others are passed over */
#define CAPTURE_RECORD_MAX     ((size_t)16 * 1024 * 1024) /* bytes; a larger one is malformed */

struct capture_interface {
    uint16_t link; /* a LINKTYPE: packet.h */
    bool binary;   /* ticks a second: 2^resolution, else 10^resolution */
    uint8_t resolution;
    int64_t offset_s; /* added to times */
};

/* A reader; all zero before the first byte. */
struct capture {
    bool started, is_ng, swapped;
    uint8_t extra; /* pcap: bytes between a record's header and its frame */
    struct capture_interface interfaces[CAPTURE_INTERFACES_MAX];
    size_t count;
};

struct capture_frame {
    int64_t time_us; /* since 1970; 0: not known */
    uint16_t link;
    const uint8_t *bytes; /* in the caller's; NULL: what was parsed holds no frame */
    size_t len;
    size_t full_len;  /* on the wire, where the capture may have cut it */
    bool is_homeless; /* there is one, of an interface that the file does not describe: no bytes */
};

/* Whether bytes (4 at least) begin like a capture file. */
bool capture_is_file(const uint8_t *bytes, size_t len);
/* Parses the next header, record or block. Bytes used; 0: more are needed; ADIT_EFORMAT: no capture
 * file, or a broken one; -ENOTSUP: a version of it that is not known. */
int capture_parse(struct capture *capture, const uint8_t *bytes, size_t len,
                  struct capture_frame *frame);

#endif
