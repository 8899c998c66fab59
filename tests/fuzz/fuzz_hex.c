/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: whatever the text, packets come out one after the other until it is used up
 * or refused; what is bytes can be told.
 */
#include <stdlib.h>

#include "capture/hex.h"
#include "capture/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[HEX_PACKET_MAX];
    struct trace *trace = trace_new(&(struct trace_options){.all = true});
    size_t at = 0, used = 0;
    int len;

    while ((len = hex_parse((const char *)data + at, size - at, &used, out)) > 0) {
        if (used == 0 || used > size - at || len > HEX_PACKET_MAX)
            abort();
        at += used;
        trace_bytes(trace, out, (size_t)len);
    }
    if (len == 0 && used != size - at)
        abort();
    trace_free(trace);
    return 0;
}
