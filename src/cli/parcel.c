/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Which fields a type has is one table; parser and builder go by it. What comes at the end has all
 * that is left, within the bounds of its type; a message that is longer than its fields and has
 * nothing at the end is malformed, so that there is one way to write each.
 */
#include "cli/parcel.h"

#include <string.h>

#include "cli/turn_text.h"

#define TEXT_MAX ((size_t)1 << 20)

static const struct layout {
    bool has_id, has_number, has_hash;
    size_t rest_max;
} layouts[] = {
    [PARCEL_TEXT] = {false, false, false, TEXT_MAX},
    [PARCEL_OFFER] = {true, true, true, PARCEL_NAME_MAX},
    [PARCEL_ACCEPT] = {true, true, false, 0},
    [PARCEL_REFUSE] = {true, false, false, PARCEL_REASON_MAX},
    [PARCEL_DATA] = {true, true, false, TEXT_MAX},
    [PARCEL_END] = {true, true, true, 0},
    [PARCEL_DONE] = {true, true, false, 0},
    [PARCEL_WAIT] = {true, true, false, 0},
};

static uint64_t get(const uint8_t *bytes, size_t len)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len; i++)
        value = value << 8 | bytes[i];
    return value;
}

static size_t put(uint8_t *bytes, uint64_t value, size_t len)
{
    for (size_t i = len; i > 0; i--, value >>= 8)
        bytes[i - 1] = (uint8_t)value;
    return len;
}

int parcel_parse(const uint8_t *bytes, size_t len, struct parcel *parcel)
{
    const struct layout *layout;
    size_t at = 1;

    *parcel = (struct parcel){0};
    if (len == 0 || bytes[0] < PARCEL_TEXT || bytes[0] > PARCEL_WAIT)
        return ADIT_EFORMAT;
    parcel->type = (enum parcel_type)bytes[0];
    layout = &layouts[bytes[0]];
    if (len - at < (layout->has_id ? 4u : 0) + (layout->has_number ? 8u : 0) +
                       (layout->has_hash ? (size_t)PARCEL_HASH_BYTES : 0))
        return ADIT_EFORMAT;
    if (layout->has_id) {
        parcel->id = (uint32_t)get(bytes + at, 4);
        at += 4;
    }
    if (layout->has_number) {
        parcel->number = get(bytes + at, 8);
        at += 8;
    }
    if (layout->has_hash) {
        memcpy(parcel->hash, bytes + at, PARCEL_HASH_BYTES);
        at += PARCEL_HASH_BYTES;
    }
    parcel->bytes = bytes + at;
    parcel->len = len - at;
    return parcel->len <= layout->rest_max ? (int)len : ADIT_EFORMAT;
}

size_t parcel_build_head(const struct parcel *parcel, uint8_t head[PARCEL_HEAD_MAX])
{
    const struct layout *layout = &layouts[parcel->type];
    size_t at = put(head, parcel->type, 1);

    if (layout->has_id)
        at += put(head + at, parcel->id, 4);
    if (layout->has_number)
        at += put(head + at, parcel->number, 8);
    if (layout->has_hash) {
        memcpy(head + at, parcel->hash, PARCEL_HASH_BYTES);
        at += PARCEL_HASH_BYTES;
    }
    return at;
}

void parcel_safe_name(const uint8_t *bytes, size_t len, char name[PARCEL_NAME_MAX + 1])
{
    char shown[TEXT_STEP_MAX];
    size_t begin = 0, n = 0, used;

    for (size_t i = 0; i < len; i++)
        if (bytes[i] == '/')
            begin = i + 1;
    for (size_t i = begin; i < len; i += used) {
        used = text_step(bytes + i, len - i, shown);
        if (shown[0] == '\\')
            strcpy(shown, "_");
        if (n + strlen(shown) > PARCEL_NAME_MAX - 55) /* room for a suffix */
            break;
        memcpy(name + n, shown, strlen(shown));
        n += strlen(shown);
    }
    name[n] = '\0';
    if (name[0] == '.' || name[0] == '-')
        name[0] = '_';
    if (n == 0)
        strcpy(name, "file");
}
