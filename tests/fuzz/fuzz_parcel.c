/* SPDX-License-Identifier: MIT */
/* Theory of operation: what parses is written again as it was; names are safe. */
#include <stdlib.h>
#include <string.h>

#include "cli/parcel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t head[PARCEL_HEAD_MAX];
    char name[PARCEL_NAME_MAX + 1];
    struct parcel parcel;
    size_t len;

    parcel_safe_name(data, size, name);
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') || strlen(name) > PARCEL_NAME_MAX)
        abort();
    if (parcel_parse(data, size, &parcel) < 0)
        return 0;
    len = parcel_build_head(&parcel, head);
    if (len + parcel.len != size || memcmp(head, data, len) != 0 || parcel.bytes != data + len)
        abort();
    return 0;
}
