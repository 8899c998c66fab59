/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Escaped are: control characters (\n, \r, \t, \x1b), those of ISO 6429 above 0x7F too, bytes that
 * are no UTF-8 (\xff), the separators of lines and paragraphs, and the characters that turn the
 * direction of writing (\u202e), with which a name shows another ending than it has. The backslash
 * itself becomes two, so that one can tell what was there. The rest is passed on.
 */
#include "cli/turn_text.h"

#include <stdlib.h>
#include <string.h>

/* Length of the UTF-8 character at the front, and its number; 0: none (RFC 3629). */
static size_t decode(const uint8_t *b, size_t len, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size = b[0] < 0x80             ? 1
                  : (b[0] & 0xE0) == 0xC0 ? 2
                  : (b[0] & 0xF0) == 0xE0 ? 3
                  : (b[0] & 0xF8) == 0xF0 ? 4
                                          : 0;

    if (size == 0 || size > len)
        return 0;
    *code = size == 1 ? b[0] : b[0] & (0xFFu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((b[i] & 0xC0) != 0x80)
            return 0;
        *code = *code << 6 | (b[i] & 0x3F);
    }
    return *code >= least[size] && *code <= 0x10FFFF && (*code < 0xD800 || *code > 0xDFFF) ? size
                                                                                           : 0;
}

/* Marks of direction (Unicode Bidirectional Algorithm 2), and ends of lines. */
static bool is_steering(uint32_t code)
{
    return code == 0x061C || code == 0x200E || code == 0x200F ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

size_t text_step(const uint8_t *bytes, size_t len, char shown[TEXT_STEP_MAX])
{
    uint32_t code = 0;
    size_t size = decode(bytes, len, &code);

    if (size == 0 || (size == 1 && (code < 0x20 || code == 0x7F))) {
        const char *letter = size == 0      ? NULL
                             : code == '\n' ? "\\n"
                             : code == '\r' ? "\\r"
                             : code == '\t' ? "\\t"
                                            : NULL;
        if (letter != NULL)
            snprintf(shown, TEXT_STEP_MAX, "%s", letter);
        else
            snprintf(shown, TEXT_STEP_MAX, "\\x%02x", bytes[0]);
        return 1;
    }
    if (code == '\\')
        snprintf(shown, TEXT_STEP_MAX, "\\\\");
    else if ((code >= 0x80 && code <= 0x9F) || is_steering(code))
        snprintf(shown, TEXT_STEP_MAX, "\\u%04x", (unsigned)code & 0xFFFF);
    else
        snprintf(shown, TEXT_STEP_MAX, "%.*s", (int)size, (const char *)bytes);
    return size;
}

void text_print(FILE *out, const uint8_t *bytes, size_t len)
{
    char shown[TEXT_STEP_MAX];

    for (size_t at = 0; at < len;) {
        at += text_step(bytes + at, len - at, shown);
        fputs(shown, out);
    }
}

/* Columns of what text_step() shows: an escape has as many as bytes, a character one. */
static size_t columns_of(const char *shown)
{
    return shown[0] == '\\' ? strlen(shown) : 1;
}

const char *text_fit(const char *text, size_t columns, char *buf, size_t size)
{
    const uint8_t *bytes = (const uint8_t *)text;
    size_t len = strlen(text), used = 0, n = 0, mark = 0;
    char shown[TEXT_STEP_MAX];

    if (size < 4)
        return "";
    for (size_t at = 0; at < len;) {
        at += text_step(bytes + at, len - at, shown);
        used += columns_of(shown);
        if (used > columns || n + strlen(shown) >= size) {
            snprintf(buf + mark, size - mark, "%.*s", columns < 3 ? (int)columns : 3, "...");
            return buf;
        }
        memcpy(buf + n, shown, strlen(shown));
        n += strlen(shown);
        if (used + 3 <= columns && n + 3 < size)
            mark = n; /* behind it there is room for the dots */
    }
    buf[n] = '\0';
    return buf;
}

void text_set_json(json_t *object, const char *key, const uint8_t *bytes, size_t len)
{
    json_t *value = json_stringn((const char *)bytes, len);
    char name[64], *hex;

    if (value != NULL) {
        json_object_set_new(object, key, value);
        return;
    }
    json_object_set_new(object, key, json_null());
    hex = malloc(2 * len + 1);
    if (hex == NULL)
        return;
    for (size_t i = 0; i < len; i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    snprintf(name, sizeof(name), "%.50s_hex", key);
    json_object_set_new(object, name, json_string(hex));
    free(hex);
}

void text_print_json(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));

    printf("%s\n", text != NULL ? text : "{}");
    fflush(stdout);
    free(text);
    json_decref(object);
}

void text_print_message(const uint8_t *bytes, size_t len, const struct addr *from, bool json)
{
    char addr[ADDR_TEXT_MAX];

    addr_format(from, addr);
    if (json) {
        json_t *event = json_pack("{s:s, s:s, s:I}", "event", "message", "from", addr, "bytes",
                                  (json_int_t)len);
        text_set_json(event, "text", bytes, len);
        text_print_json(event);
        return;
    }
    printf("%s: ", addr);
    text_print(stdout, bytes, len);
    putchar('\n');
    fflush(stdout);
}
