/* SPDX-License-Identifier: MIT */
/* Theory of operation: any bytes as a packet of ordered pipes; what parses is built again as it
 * was. */
#include <stdlib.h>
#include <string.h>

#include "stun/ordered_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t bytes[ORDERED_HEAD_MAX];
    struct ordered_packet packet;
    size_t head;

    if (ordered_parse(data, size, &packet) <= 0)
        return 0;
    head = ordered_build(bytes, &packet);
    if (head > size || memcmp(bytes, data, head) != 0)
        abort();
    if (packet.len > 0 && packet.bytes + packet.len != data + size)
        abort();
    return 0;
}
