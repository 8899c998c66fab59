/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Line by line. A line is one of
 *
 *   a dump        an offset of four digits or more, with a colon or right where the bytes so far
 *                 end, then bytes in groups, then perhaps the same as text, behind a gap
 *   a string      in which \x begins two digits: only these, and other characters between quotes
 *                 as they are
 *   plain         digits, in groups of two or more, with blanks and : - , ; between them, 0x before
 *                 them, braces around them; comments of C, and words before a colon or an equals
 *                 sign, are left out
 *
 * In a dump the gap (two blanks, where not eight bytes were read, or three) ends the bytes, and so
 * does the sixteenth byte when a gap follows; so text that looks like digits is not taken for them.
 */
#include "capture/hex.h"

#include <stdbool.h>
#include <string.h>

struct hex {
    uint8_t *out;
    size_t count;
    bool is_dump, in_comment;
};

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t digits(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && digit(text[n]) >= 0)
        n++;
    return n;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static size_t blanks(const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && is_blank(text[n]))
        n++;
    return n;
}

static int put(struct hex *hex, const char *text, size_t count)
{
    if (count % 2 != 0)
        return ADIT_EFORMAT;
    if (hex->count + count / 2 > HEX_PACKET_MAX)
        return ADIT_EFULL;
    for (size_t i = 0; i < count; i += 2)
        hex->out[hex->count++] = (uint8_t)(digit(text[i]) << 4 | digit(text[i + 1]));
    return 0;
}

/* --- Dumps --- */

/* Length of an offset at the start of a line, its blanks included, and its value; 0: none. */
static size_t offset_at(const struct hex *hex, const char *line, size_t len, size_t *value)
{
    size_t at = blanks(line, len), n, gap;

    if (len - at > 2 && line[at] == '0' && (line[at + 1] | 0x20) == 'x')
        at += 2;
    n = digits(line + at, len - at);
    if (n < 4 || n > 8)
        return 0;
    *value = 0;
    for (size_t i = 0; i < n; i++)
        *value = *value << 4 | (size_t)digit(line[at + i]);
    at += n;
    if (at < len && line[at] == ':') {
        gap = blanks(line + at + 1, len - at - 1);
        return gap > 0 && digits(line + at + 1 + gap, len - at - 1 - gap) >= 2 ? at + 1 + gap : 0;
    }
    gap = blanks(line + at, len - at);
    if (gap == 0 || (*value != hex->count && *value != 0))
        return 0;
    n = digits(line + at + gap, len - at - gap);
    return n == 2 || (n == 4 && gap >= 2) ? at + gap : 0;
}

static int parse_dump_line(struct hex *hex, const char *line, size_t len)
{
    size_t bytes = 0, at = 0;

    while (at < len) {
        size_t n = digits(line + at, len - at), gap;
        int rc;

        if (n < 2 || n % 2 != 0 || (at + n < len && !is_blank(line[at + n])))
            break;
        rc = put(hex, line + at, n);
        if (rc != 0)
            return rc;
        bytes += n / 2;
        at += n;
        gap = blanks(line + at, len - at);
        at += gap;
        if (gap >= 3 || (gap >= 2 && bytes != 8) || (bytes >= 16 && gap >= 2))
            break;
    }
    return bytes > 0 ? 0 : ADIT_EFORMAT;
}

/* --- Strings --- */

static int parse_string_line(struct hex *hex, const char *line, size_t len)
{
    bool quoted = false;

    for (size_t at = 0; at < len; at++) {
        if (line[at] == '"' || line[at] == '\'') {
            quoted = !quoted;
        } else if (line[at] == '\\' && len - at >= 4 && line[at + 1] == 'x' &&
                   digits(line + at + 2, 2) == 2) {
            int rc = put(hex, line + at + 2, 2);

            if (rc != 0)
                return rc;
            at += 3;
        } else if (line[at] == '\\' && len - at >= 2) {
            static const char names[] = "0abtnvfr\\'\"", bytes[] = "\0\a\b\t\n\v\f\r\\'\"";
            const char *name = memchr(names, line[at + 1], sizeof(names) - 1);

            if (!name)
                return ADIT_EFORMAT;
            if (hex->count == HEX_PACKET_MAX)
                return ADIT_EFULL;
            hex->out[hex->count++] = (uint8_t)bytes[name - names];
            at++;
        } else if (quoted) {
            if (hex->count == HEX_PACKET_MAX)
                return ADIT_EFULL;
            hex->out[hex->count++] = (uint8_t)line[at];
        }
    }
    return 0;
}

/* --- Plain --- */

static bool is_separator(char c)
{
    return is_blank(c) || (c && strchr(":-,;{}[]()", c));
}

/* Where the bytes begin, behind words with a colon, an equals sign or a brace, all of that before
 * the first comment. */
static size_t behind_words(const char *line, size_t len)
{
    size_t begin = 0;
    bool words = false;

    for (size_t at = 0; at < len; at++) {
        bool prefix = (line[at] | 0x20) == 'x' && at > 0 && line[at - 1] == '0';
        bool opens = line[at] == '=' || line[at] == '{';

        if (line[at] == '/' && at + 1 < len && (line[at + 1] == '*' || line[at + 1] == '/'))
            break;
        if (opens || (words && line[at] == ':')) {
            begin = at + 1;
            words = false;
        } else if (!is_separator(line[at]) && digit(line[at]) < 0 && !prefix) {
            words = true;
        }
    }
    return begin;
}

static int parse_plain_line(struct hex *hex, const char *line, size_t len)
{
    size_t at = hex->in_comment ? 0 : behind_words(line, len);

    while (at < len) {
        size_t n;
        int rc;

        if (hex->in_comment) {
            hex->in_comment = !(line[at] == '*' && at + 1 < len && line[at + 1] == '/');
            at += hex->in_comment ? 1 : 2;
            continue;
        }
        if (is_separator(line[at])) {
            at++;
            continue;
        }
        if (line[at] == '/' && at + 1 < len && line[at + 1] == '/')
            break;
        if (line[at] == '/' && at + 1 < len && line[at + 1] == '*') {
            hex->in_comment = true;
            at += 2;
            continue;
        }
        if (line[at] == '0' && at + 1 < len && (line[at + 1] | 0x20) == 'x') {
            n = digits(line + at + 2, len - at - 2);
            if (n == 1) { /* 0x0 */
                char two[2] = {'0', line[at + 2]};
                rc = put(hex, two, 2);
            } else {
                rc = n == 0 ? ADIT_EFORMAT : put(hex, line + at + 2, n);
            }
            n += 2;
        } else {
            n = digits(line + at, len - at);
            rc = n == 0 ? ADIT_EFORMAT : put(hex, line + at, n);
        }
        if (rc != 0)
            return rc;
        at += n;
    }
    return 0;
}

static bool has_escape(const char *line, size_t len)
{
    for (size_t i = 0; i + 3 < len; i++)
        if (line[i] == '\\' && line[i + 1] == 'x' && digits(line + i + 2, 2) == 2)
            return true;
    return false;
}

/* A line that only says where a dump ends, as hexdump writes it. */
static bool is_end_of_dump(const struct hex *hex, const char *line, size_t len)
{
    size_t n = digits(line, len), value = 0;

    if (!hex->is_dump || n < 4 || n > 8 || n + blanks(line + n, len - n) != len)
        return false;
    for (size_t i = 0; i < n; i++)
        value = value << 4 | (size_t)digit(line[i]);
    return value == hex->count;
}

/* Whether a dump begins at the start of this text: then what stood before it was its heading. */
static bool begins_dump(const char *text, size_t len)
{
    static const struct hex fresh;
    const char *end = memchr(text, '\n', len);
    size_t value = 1;

    return offset_at(&fresh, text, end ? (size_t)(end - text) : len, &value) > 0 && value == 0;
}

static int parse_line(struct hex *hex, const char *line, size_t size, size_t offset)
{
    if (offset > 0) {
        hex->is_dump = true;
        return parse_dump_line(hex, line + offset, size - offset);
    }
    if (is_end_of_dump(hex, line, size))
        return 0;
    return has_escape(line, size) ? parse_string_line(hex, line, size)
                                  : parse_plain_line(hex, line, size);
}

int hex_parse(const char *text, size_t len, size_t *used, uint8_t *out)
{
    struct hex hex = {.out = out};
    size_t at = 0;
    int rc = 0;

    while (at < len) {
        const char *line = text + at, *end = memchr(line, '\n', len - at);
        size_t size = end ? (size_t)(end - line) : len - at, next = at + size + (end ? 1 : 0);
        size_t offset, value = 0, before = hex.count;

        if (blanks(line, size) == size) {
            at = next;
            if (hex.count > 0)
                break;
            continue;
        }
        offset = hex.in_comment ? 0 : offset_at(&hex, line, size, &value);
        if (offset > 0 && value == 0 && hex.count > 0)
            break;
        rc = parse_line(&hex, line, size, offset);
        if (rc == ADIT_EFORMAT && offset == 0 && begins_dump(text + next, len - next)) {
            hex.count = before;
            rc = 0;
            if (before > 0)
                break;
        }
        if (rc != 0)
            break;
        at = next;
    }
    *used = at;
    return rc != 0 ? rc : (int)hex.count;
}
