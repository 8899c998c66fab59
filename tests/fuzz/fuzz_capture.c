/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: a capture file of any content, through files, packets, fragments and traces.
 * Events are in order, their bytes can be read, their text is bounded, and an answer has a request
 * that was told before it.
 */
#include <stdlib.h>
#include <string.h>

#include "capture/capture.h"
#include "capture/fragments.h"
#include "capture/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_event(void *arg, const struct trace_event *event)
{
    uint64_t *last = arg;
    volatile uint8_t sum = 0;

    if (event->number != ++*last || event->request >= event->number)
        abort();
    if ((event->role == TRACE_ANSWER || event->role == TRACE_REPEATED) && event->request == 0)
        abort();
    if (memchr(event->text, 0, sizeof(event->text)) == NULL)
        abort();
    for (size_t i = 0; i < event->len; i++)
        sum = (uint8_t)(sum + event->bytes[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t last = 0;
    struct capture capture = {0};
    struct capture_frame frame;
    struct fragments *fragments = fragments_new();
    struct trace *trace = trace_new(&(struct trace_options){
        .event = on_event, .arg = &last, .secret = "secret", .all = size > 0 && data[0] & 1});
    size_t at = 0;
    int used;

    while ((used = capture_parse(&capture, data + at, size - at, &frame)) > 0) {
        struct packet_fragment fragment;
        struct packet packet;
        enum packet_outcome outcome;

        if ((size_t)used > size - at || (frame.bytes && frame.bytes + frame.len > data + at + used))
            abort();
        at += (size_t)used;
        if (!frame.bytes)
            continue;
        outcome = packet_parse(frame.link, frame.bytes, frame.len, &packet, &fragment);
        if (outcome == PACKET_FRAGMENT)
            outcome = fragments_add(fragments, &fragment, &packet);
        if (outcome == PACKET_WHOLE)
            trace_packet(trace, &packet, frame.time_us);
    }
    trace_end(trace);
    trace_free(trace);
    fragments_free(fragments);
    return 0;
}
