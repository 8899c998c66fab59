/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Pure functions over bytes; nothing is kept. Every length is checked against the frame, never
 * against what happens to follow. Sums of offset and length are bounded by VARINT_MAX, so that no
 * later arithmetic on offsets can wrap.
 */
#include "session/frame.h"

#include <string.h>

#include "base/err.h"

int frame_parse(const uint8_t *bytes, size_t len, struct frame *frame)
{
    size_t body;

    if (len < FRAME_HEAD_BYTES)
        return 0;
    body = (size_t)bytes[1] << 8 | bytes[2];
    if (body > FRAME_BYTES_MAX - FRAME_HEAD_BYTES)
        return ADIT_EPROTO;
    if (len < FRAME_HEAD_BYTES + body)
        return 0;
    *frame = (struct frame){bytes[0], bytes + FRAME_HEAD_BYTES, body};
    return (int)(FRAME_HEAD_BYTES + body);
}

size_t varint_read(const uint8_t *bytes, size_t len, uint64_t *value)
{
    size_t n;
    uint64_t v;

    if (len == 0)
        return 0;
    n = (size_t)1 << (bytes[0] >> 6);
    if (len < n)
        return 0;
    v = bytes[0] & 0x3f;
    for (size_t i = 1; i < n; i++)
        v = v << 8 | bytes[i];
    *value = v;
    return n;
}

size_t varint_size(uint64_t value)
{
    return value < 1 << 6 ? 1 : value < 1 << 14 ? 2 : value < 1 << 30 ? 4 : 8;
}

size_t varint_write(uint8_t *bytes, uint64_t value)
{
    size_t n = varint_size(value);

    for (size_t i = n; i-- > 0; value >>= 8)
        bytes[i] = (uint8_t)value;
    bytes[0] = (uint8_t)((bytes[0] & 0x3f) | (n == 1 ? 0 : n == 2 ? 0x40 : n == 4 ? 0x80 : 0xc0));
    return n;
}

/* Reads the next number of a body; ADIT_EPROTO when it is not all there. */
static int body_next(const struct frame *frame, size_t *at, uint64_t *value)
{
    size_t n = varint_read(frame->body + *at, frame->len - *at, value);

    if (n == 0)
        return ADIT_EPROTO;
    *at += n;
    return 0;
}

int frame_parse_stream(const struct frame *frame, struct frame_stream *out)
{
    size_t at = 0;

    if (body_next(frame, &at, &out->id) || body_next(frame, &at, &out->offset))
        return ADIT_EPROTO;
    out->data = frame->body + at;
    out->len = frame->len - at;
    out->fin = frame->type == FRAME_STREAM_FIN;
    return out->offset > VARINT_MAX - 1 - out->len ? ADIT_EPROTO : 0;
}

int frame_parse_attach(const struct frame *frame, struct frame_attach *out)
{
    size_t at = 0;

    return body_next(frame, &at, &out->flags);
}

int frame_parse_reset(const struct frame *frame, struct frame_reset *out)
{
    size_t at = 0;

    return body_next(frame, &at, &out->id) || body_next(frame, &at, &out->code) ? ADIT_EPROTO : 0;
}

int frame_parse_ping(const struct frame *frame, struct frame_ping *out)
{
    size_t at = 0;

    return body_next(frame, &at, &out->flags) || body_next(frame, &at, &out->number) ? ADIT_EPROTO
                                                                                     : 0;
}

int frame_parse_close(const struct frame *frame, struct frame_close *out)
{
    size_t at = 0;

    if (body_next(frame, &at, &out->code))
        return ADIT_EPROTO;
    out->text = (const char *)frame->body + at;
    out->text_len = frame->len - at;
    for (size_t i = 0; i < out->text_len; i++)
        if (out->text[i] < ' ' || out->text[i] > '~')
            return ADIT_EPROTO;
    return 0;
}

void frame_close_text(const struct frame_close *close, char *buf, size_t size)
{
    size_t len = close->text_len < size ? close->text_len : size - 1;

    for (size_t i = 0; i < len; i++)
        buf[i] = close->text[i] == '"' ? '\'' : close->text[i];
    buf[len] = '\0';
}

int frame_next_window(const struct frame *frame, size_t *at, struct frame_window *out)
{
    uint64_t beyond;

    if (*at == frame->len)
        return 0;
    if (body_next(frame, at, &out->id) || body_next(frame, at, &out->received) ||
        body_next(frame, at, &beyond))
        return ADIT_EPROTO;
    if (beyond > VARINT_MAX - out->received)
        return ADIT_EPROTO;
    out->limit = out->received + beyond;
    return 1;
}

int frame_next_id(const struct frame *frame, size_t *at, uint64_t *id)
{
    if (*at == frame->len)
        return 0;
    return body_next(frame, at, id) ? ADIT_EPROTO : 1;
}

size_t frame_build_head(uint8_t *to, enum frame_type type, size_t body_len)
{
    to[0] = (uint8_t)type;
    to[1] = (uint8_t)(body_len >> 8);
    to[2] = (uint8_t)body_len;
    return FRAME_HEAD_BYTES;
}

size_t frame_build_stream_head(uint8_t *to, uint64_t id, uint64_t offset, size_t len, bool fin)
{
    size_t head = varint_size(id) + varint_size(offset);
    size_t n = frame_build_head(to, fin ? FRAME_STREAM_FIN : FRAME_STREAM, head + len);

    n += varint_write(to + n, id);
    n += varint_write(to + n, offset);
    return n;
}

size_t frame_build_window_entry(uint8_t *to, const struct frame_window *window)
{
    size_t n = varint_write(to, window->id);

    n += varint_write(to + n, window->received);
    n += varint_write(to + n,
                      window->limit > window->received ? window->limit - window->received : 0);
    return n;
}
