/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A decoder for people has to say something about packets that the codec refuses: it goes through
 * the header and the attributes by itself, as far as they go, and says where and why it cannot go
 * further. Each line begins with the offset of what it is about; lines about a message's parts are
 * indented. Names are in words_names.c, values in words_value.c.
 *
 * Text from the network is escaped: of what is not printable ASCII only UTF-8 that a terminal shows
 * and does not obey is let through. A line is WORDS_LINE_MAX bytes at most, with "..." at its end
 * when it would be longer.
 */
#include "stun/words.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "stun/bytes.h"
#include "stun/channel.h"
#include "stun/words_int.h"

/* --- Lines --- */

void words_add(struct words *w, const char *format, ...)
{
    size_t room = sizeof(w->text) - w->len;
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(w->text + w->len, room, format, args);
    va_end(args);
    if (len > 0)
        w->len += (size_t)len < room ? (size_t)len : room - 1;
}

void words_end_line(struct words *w)
{
    if (w->len == sizeof(w->text) - 1)
        memcpy(w->text + w->len - 3, "...", 3);
    w->text[w->len] = '\0';
    w->line(w->arg, w->text);
    w->len = 0;
}

/* Length of the UTF-8 character that may be shown; 0: none. */
static size_t printable(const uint8_t *bytes, size_t len)
{
    size_t want = bytes[0] < 0x80 ? 1 : bytes[0] < 0xE0 ? 2 : bytes[0] < 0xF0 ? 3 : 4;
    uint32_t c;

    if (want == 1)
        return bytes[0] >= 0x20 && bytes[0] != 0x7F ? 1 : 0;
    if (bytes[0] < 0xC2 || bytes[0] > 0xF4 || want > len)
        return 0;
    c = bytes[0] & (0x7Fu >> want);
    for (size_t i = 1; i < want; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return 0;
        c = c << 6 | (bytes[i] & 0x3F);
    }
    /* Overlong, surrogates, controls (C1), marks that turn the direction of text around. */
    if ((want == 3 && c < 0x800) || (want == 4 && (c < 0x10000 || c > 0x10FFFF)) ||
        (c >= 0xD800 && c <= 0xDFFF) || c < 0xA0 || (c >= 0x2000 && c <= 0x206F) || c == 0x061C ||
        c == 0xFEFF || (c >= 0xE0000 && c <= 0xE0FFF))
        return 0;
    return want;
}

void words_add_text(struct words *w, const uint8_t *bytes, size_t len)
{
    words_add(w, "\"");
    for (size_t i = 0, used; i < len; i += used) {
        used = printable(bytes + i, len - i);
        if (used > 0 && bytes[i] != '"' && bytes[i] != '\\')
            words_add(w, "%.*s", (int)used, (const char *)bytes + i);
        else if (used > 0)
            words_add(w, "\\%c", bytes[i]);
        else
            words_add(w, "\\x%02x", bytes[i]);
        if (used == 0)
            used = 1;
    }
    words_add(w, "\"");
}

void words_add_hex(struct words *w, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len && i < WORDS_DATA_MAX; i++)
        words_add(w, "%02x", bytes[i]);
    if (len > WORDS_DATA_MAX)
        words_add(w, "...");
}

void words_add_data(struct words *w, const uint8_t *bytes, size_t len)
{
    size_t shown = len < WORDS_DATA_MAX ? len : WORDS_DATA_MAX, plain = 0;

    while (plain < shown && ((bytes[plain] >= 0x20 && bytes[plain] < 0x7F) ||
                             (bytes[plain] >= '\t' && bytes[plain] <= '\r')))
        plain++;
    words_add(w, "%zu byte%s", len, len == 1 ? "" : "s");
    if (len == 0)
        return;
    words_add(w, ": ");
    if (plain < shown)
        words_add_hex(w, bytes, len);
    else
        words_add_text(w, bytes, shown);
    if (plain == shown && len > shown)
        words_add(w, "...");
}

/* A line of its own about what is wrong at an offset. */
__attribute__((format(printf, 3, 4))) static void complain(struct words *w, size_t at,
                                                           const char *format, ...)
{
    char text[160];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    w->clean = false;
    words_add(w, "  at %zu: MALFORMED: %s", at, text);
    words_end_line(w);
}

/* --- Messages --- */

static void add_name(struct words *w, const struct stun_message *m)
{
    const char *method = words_method(m->method);

    if (method)
        words_add(w, "%s %s", method, words_class(m->class));
    else
        words_add(w, "unknown method 0x%03x, %s", m->method, words_class(m->class));
    if (!method)
        w->clean = false;
}

const char *words_summary(const struct stun_message *message, char buf[WORDS_SUMMARY_MAX])
{
    struct words w = {.clean = true};
    struct stun_error error;

    add_name(&w, message);
    if (message->class == STUN_ERROR &&
        stun_read_error(stun_find(message, STUN_ATTR_ERROR_CODE), &error) == 0) {
        const char *phrase = words_error(error.code);

        words_add(&w, " %u", error.code);
        if (phrase)
            words_add(&w, " %s", phrase);
    }
    snprintf(buf, WORDS_SUMMARY_MAX, "%.*s", WORDS_SUMMARY_MAX - 1, w.text);
    return buf;
}

/* Why an attribute does not count, or "". */
static const char *why_ignored(const struct stun_message *m, const struct stun_attr *attr)
{
    const struct stun_attr *found = stun_find_next(m, NULL, attr->type);

    /* More than one peer address makes sense, and two relayed ones (RFC 8656 7.2). */
    if (found == attr || attr->type == STUN_ATTR_XOR_PEER_ADDRESS ||
        attr->type == STUN_ATTR_XOR_RELAYED_ADDRESS)
        return "";
    return found && found < attr ? " (repeated: does not count)"
                                 : " (behind the integrity or fingerprint: does not count)";
}

static void tell_attr(struct words *w, const struct stun_message *m, const struct stun_attr *attr,
                      const char *note)
{
    const struct words_attr *known = words_find_attr(attr->type);
    size_t before;

    words_add(w, "  at %u: ", (unsigned)attr->offset);
    if (!known) {
        w->clean = false;
        words_add(w, "unknown attribute 0x%04x (%s), ", attr->type,
                  attr->type < STUN_OPTIONAL ? "must be understood" : "may be ignored");
        words_add_data(w, attr->value, attr->len);
    } else {
        words_add(w, "%s", known->name);
        before = w->len;
        if (!words_add_value(w, m, attr, known->kind)) {
            w->clean = false;
            w->len = before;
            words_add(w, " MALFORMED, ");
            words_add_data(w, attr->value, attr->len);
        }
    }
    words_add(w, "%s", note);
    words_end_line(w);
}

static void tell_attrs(struct words *w, struct stun_message *m)
{
    size_t at = STUN_HEADER_BYTES, total = 0;
    struct stun_attr attr;
    int more;

    /* All that fit are collected first: whether one counts depends on those before it. */
    while ((more = stun_next_attr(m->bytes, m->len, &at, &attr)) > 0) {
        if (m->count < STUN_ATTRS_MAX)
            m->attrs[m->count++] = attr;
        total++;
    }
    for (size_t i = 0; i < m->count; i++)
        tell_attr(w, m, &m->attrs[i], why_ignored(m, &m->attrs[i]));
    if (total > m->count)
        complain(w, m->attrs[m->count - 1].offset, "%zu more attributes are not shown",
                 total - m->count);
    if (more == 0)
        return;
    if (m->len - at < STUN_ATTR_BYTES)
        complain(w, at, "%zu bytes left, too few for an attribute", m->len - at);
    else
        complain(w, at, "attribute 0x%04x says to have %u bytes, but only %zu are left",
                 get16(m->bytes + at), get16(m->bytes + at + 2), m->len - at - STUN_ATTR_BYTES);
}

static void tell_message(struct words *w, const uint8_t *bytes, size_t len)
{
    unsigned type = get16(bytes), body = get16(bytes + 2);
    bool classic = get32(bytes + 4) != STUN_COOKIE;
    struct stun_message m = {.bytes = bytes, .len = STUN_HEADER_BYTES + body};

    m.method = (uint16_t)((type & 0x3E00) >> 2 | (type & 0x00E0) >> 1 | (type & 0x000F));
    m.class = (enum stun_class)((type & 0x0100) >> 7 | (type & 0x0010) >> 4);
    memcpy(m.id.bytes, bytes + 8, STUN_ID_BYTES);
    add_name(w, &m);
    words_add(w, ", %zu bytes, id ", m.len);
    words_add_hex(w, m.id.bytes, STUN_ID_BYTES);
    words_end_line(w);
    if (classic)
        complain(w, 4, "0x%08" PRIx32 " is not the magic cookie (RFC 3489, or no STUN at all)",
                 get32(bytes + 4));
    if (body % 4 != 0)
        complain(w, 2, "the length, %u, is no multiple of 4", body);
    if (m.len > len) {
        complain(w, len, "the message is cut off, %zu bytes are missing", m.len - len);
        m.len = len;
    }
    tell_attrs(w, &m);
    if (m.len < len)
        complain(w, m.len, "%zu bytes behind the message", len - m.len);
}

/* RFC 5766 had channels up to 0x7FFF, and its clients still choose them. To us the first byte says
 * nothing any more; a length that is just right does. */
static bool is_old_channel(const uint8_t *bytes, size_t len)
{
    return len >= CHANNEL_HEADER_BYTES && bytes[0] >= 0x50 && bytes[0] < 0x80 &&
           len - CHANNEL_HEADER_BYTES >= get16(bytes + 2) &&
           len - CHANNEL_HEADER_BYTES - get16(bytes + 2) < 4;
}

static void tell_old_channel(struct words *w, const uint8_t *bytes)
{
    words_add(w, "ChannelData, channel 0x%04x (of RFC 5766, which RFC 8656 has not), ",
              get16(bytes));
    words_add_data(w, bytes + CHANNEL_HEADER_BYTES, get16(bytes + 2));
    words_end_line(w);
}

static void tell_channel(struct words *w, const uint8_t *bytes, size_t len)
{
    struct channel_data channel;

    if (channel_parse(bytes, len, &channel) > 0) {
        words_add(w, "ChannelData, channel 0x%04x, ", channel.number);
        words_add_data(w, channel.data, channel.len);
        words_end_line(w);
        if (len - CHANNEL_HEADER_BYTES - channel.len > channel_padding(channel.len))
            complain(w, CHANNEL_HEADER_BYTES + channel.len, "more bytes than padding");
        return;
    }
    words_add(w, "ChannelData, cut off, %zu bytes", len);
    words_end_line(w);
    if (len >= CHANNEL_HEADER_BYTES)
        complain(w, 2, "says to have %u bytes of data, but %zu are there", get16(bytes + 2),
                 len - CHANNEL_HEADER_BYTES);
    else
        complain(w, len, "the header has %d bytes", CHANNEL_HEADER_BYTES);
}

/* TLS and DTLS by content type and version (RFC 8446 5.1, RFC 9147 4). */
static bool is_tls(const uint8_t *bytes, size_t len)
{
    return len >= 3 && bytes[0] >= 20 && bytes[0] <= 26 &&
           ((bytes[1] == 0xFE && bytes[2] >= 0xFC) || (bytes[1] == 3 && bytes[2] <= 4));
}

static void tell_other(struct words *w, const uint8_t *bytes, size_t len)
{
    /* Type, length, and the fingerprint of nothing, the first two in the wrong byte order. */
    static const uint8_t lone[] = {0x28, 0, 4, 0, 'S', 'T', 'U', 'N'};

    if (len == sizeof(lone) && memcmp(bytes, lone, len) == 0) {
        words_add(w, "FINGERPRINT of no message (coturn's test client sends it), ");
    } else {
        w->clean = false;
        words_add(w, is_tls(bytes, len) ? "DTLS or TLS, " : "neither STUN nor TURN, ");
    }
    words_add_data(w, bytes, len);
    words_end_line(w);
}

bool words_packet(const uint8_t *bytes, size_t len, const struct stun_key *key, words_line_cb *line,
                  void *arg)
{
    struct words w = {.line = line, .arg = arg, .key = key, .clean = true};
    enum stun_kind kind = len > 0 ? stun_kind(bytes[0]) : STUN_KIND_OTHER;

    if (kind == STUN_KIND_MESSAGE && len < STUN_HEADER_BYTES) {
        words_add(&w, "STUN message, cut off, %zu bytes", len);
        words_end_line(&w);
        complain(&w, len, "the header has %d bytes", STUN_HEADER_BYTES);
    } else if (kind == STUN_KIND_MESSAGE) {
        tell_message(&w, bytes, len);
    } else if (kind == STUN_KIND_CHANNEL) {
        tell_channel(&w, bytes, len);
    } else if (is_old_channel(bytes, len)) {
        tell_old_channel(&w, bytes);
    } else {
        tell_other(&w, bytes, len);
    }
    return w.clean;
}
