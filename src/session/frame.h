/* SPDX-License-Identifier: MIT */
/*
 * Frames: what travels on a path. Pure codec; docs/protocol.md has every field, with vectors.
 *
 *       0                   1                   2
 *       0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3
 *      +---------------+-------------------------------+---------...
 *      |     type      |            length             |  body
 *      +---------------+-------------------------------+---------...
 *
 * length is that of the body, big-endian. Numbers in bodies are variable-length integers of RFC
 * 9000 section 16.
 */
#ifndef ADIT_SESSION_FRAME_H
#define ADIT_SESSION_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD_BYTES       3
#define FRAME_BYTES_MAX        16384 /* a whole frame: one TLS record, one block */
#define FRAME_STREAM_HEAD_MAX  (FRAME_HEAD_BYTES + 8 + 8)
#define FRAME_WINDOW_ENTRY_MAX (3 * 8)
#define VARINT_MAX             ((UINT64_C(1) << 62) - 1)

enum frame_type {
    FRAME_HELLO = 0x01,
    FRAME_ATTACH = 0x02, /* flags */
    FRAME_WINDOW = 0x03, /* list of: id, received, limit - received */
    FRAME_RESET = 0x04,  /* id, code */
    FRAME_GONE = 0x05,   /* list of: id */
    FRAME_PING = 0x06,   /* flags, number, padding */
    FRAME_PONG = 0x07,   /* flags, number, padding */
    FRAME_CLOSE = 0x08,  /* code, text */
    FRAME_STREAM = 0x10, /* id, offset, data */
    FRAME_STREAM_FIN = 0x11,
    FRAME_IGNORABLE = 0x80, /* unknown types from here on are skipped; below they are an error */
    FRAME_SIGNAL = 0x81,    /* opaque bytes between the two nodes */
};

enum attach_flag {
    ATTACH_BEGIN = 1 << 0, /* a list of WINDOW frames follows, until ATTACH_END */
    ATTACH_END = 1 << 1,
    ATTACH_MOVE = 1 << 2,    /* the sender now sends on this path; the receiver should too */
    ATTACH_RESERVE = 1 << 3, /* the sender prefers another path; with MOVE: it does not move by
                                preference */
    ATTACH_LOST = 1 << 4,    /* with MOVE: what went over the sender's old path is lost */
};

enum ping_flag {
    PING_ECHO_PADDING = 1 << 0, /* the answer is to be as long as the question */
};

struct frame {
    uint8_t type;
    const uint8_t *body;
    size_t len;
};

/* Splits off the first frame: bytes consumed, 0 when it is incomplete, ADIT_EPROTO when it is
 * longer than FRAME_BYTES_MAX. */
int frame_parse(const uint8_t *bytes, size_t len, struct frame *frame);

/* Variable-length integers: bytes read (0: incomplete) and written. */
size_t varint_read(const uint8_t *bytes, size_t len, uint64_t *value);
size_t varint_write(uint8_t *bytes, uint64_t value); /* at most 8; value at most VARINT_MAX */
size_t varint_size(uint64_t value);

struct frame_stream {
    uint64_t id, offset;
    const uint8_t *data;
    size_t len;
    bool fin;
};
struct frame_window {
    uint64_t id, received, limit;
};
struct frame_attach {
    uint64_t flags;
};
struct frame_reset {
    uint64_t id, code;
};
struct frame_ping {
    uint64_t flags, number;
};
struct frame_close {
    uint64_t code;
    const char *text; /* not terminated; printable ASCII was checked */
    size_t text_len;
};

/* Bodies: 0 or ADIT_EPROTO. Offsets and limits beyond VARINT_MAX are refused. */
int frame_parse_stream(const struct frame *frame, struct frame_stream *out);
int frame_parse_attach(const struct frame *frame, struct frame_attach *out);
int frame_parse_reset(const struct frame *frame, struct frame_reset *out);
int frame_parse_ping(const struct frame *frame, struct frame_ping *out);
int frame_parse_close(const struct frame *frame, struct frame_close *out);
/* Its text as a string, cut to fit. Without quotation marks: it goes between them in log lines, and
 * must not look like another field there. */
void frame_close_text(const struct frame_close *close, char *buf, size_t size);
/* Lists: *at starts at 0. 1: an entry; 0: the end; ADIT_EPROTO. */
int frame_next_window(const struct frame *frame, size_t *at, struct frame_window *out);
int frame_next_id(const struct frame *frame, size_t *at, uint64_t *id);

/* Builders: bytes written (never more than the stated maxima). */
size_t frame_build_head(uint8_t *to, enum frame_type type, size_t body_len);
/* The head; len bytes of data follow. */
size_t frame_build_stream_head(uint8_t *to, uint64_t id, uint64_t offset, size_t len, bool fin);
size_t frame_build_window_entry(uint8_t *to, const struct frame_window *window);

#endif
