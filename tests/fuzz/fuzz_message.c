/* SPDX-License-Identifier: MIT */
/* Theory of operation: what parses is built and parsed again, and must be the same. */
#include <stdlib.h>
#include <string.h>

#include "signal/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message message, again;
    uint8_t built[MESSAGE_BYTES_MAX];
    int len;

    if (message_parse(data, size, &message) != 0)
        return 0;
    len = message_build(&message, built);
    if (len < 0 || message_parse(built, (size_t)len, &again) != 0 ||
        memcmp(&message, &again, sizeof(message)) != 0)
        abort();
    return 0;
}
