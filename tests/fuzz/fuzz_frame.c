/* SPDX-License-Identifier: MIT */
/*
 * Frames, hellos, OPEN and ANSWER: never a crash, and what was accepted comes back the same when it
 * is built again. The first byte chooses.
 */
#include <stdlib.h>
#include <string.h>

#include "session/frame.h"
#include "session/hello.h"
#include "session/opening.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_frames(const uint8_t *data, size_t size)
{
    struct frame frame;
    int used;

    for (; (used = frame_parse(data, size, &frame)) > 0; data += used, size -= (size_t)used) {
        struct frame_stream stream;
        struct frame_window window;
        struct frame_attach attach;
        struct frame_reset reset;
        struct frame_ping ping;
        struct frame_close close;
        size_t at = 0;
        uint64_t id;

        if (frame_parse_stream(&frame, &stream) == 0 &&
            stream.data + stream.len != frame.body + frame.len)
            abort();
        frame_parse_attach(&frame, &attach);
        frame_parse_reset(&frame, &reset);
        frame_parse_ping(&frame, &ping);
        frame_parse_close(&frame, &close);
        while (frame_next_window(&frame, &at, &window) > 0)
            if (window.limit < window.received || window.limit > VARINT_MAX)
                abort();
        for (at = 0; frame_next_id(&frame, &at, &id) > 0;)
            if (id > VARINT_MAX)
                abort();
    }
}

static void fuzz_hello(const uint8_t *data, size_t size)
{
    struct hello hello, again;
    uint8_t built[HELLO_BYTES_MAX];
    int len;

    if (hello_parse(data, size, &hello) != 0)
        return;
    len = hello_build(&hello, built, sizeof built);
    if (len < 0 || hello_parse(built, (size_t)len, &again) != 0 ||
        memcmp(&hello, &again, sizeof hello) != 0)
        abort();
}

static void fuzz_opening(const uint8_t *data, size_t size)
{
    struct opening opening, opening_again;
    struct addr bound, bound_again;
    enum answer answer, answer_again;
    uint8_t built[OPENING_BYTES_MAX];
    size_t len;

    if (opening_parse_open(data, size, &opening) > 0) {
        const struct target *target = &opening.target, *target_again = &opening_again.target;

        len = opening_build_open(built, &opening);
        if (opening_parse_open(built, len, &opening_again) != (int)len ||
            opening.kind != opening_again.kind || target->port != target_again->port ||
            strcmp(target->name, target_again->name) != 0 ||
            !addr_equal(&target->addr, &target_again->addr) ||
            !addr_equal(&opening.from, &opening_again.from))
            abort();
    }
    if (opening_parse_answer(data, size, &answer, &bound) > 0) {
        len = opening_build_answer(built, answer, &bound);
        if (opening_parse_answer(built, len, &answer_again, &bound_again) != (int)len ||
            answer != answer_again || !addr_equal(&bound, &bound_again))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 3) {
    case 0:
        fuzz_frames(data + 1, size - 1);
        break;
    case 1:
        fuzz_hello(data + 1, size - 1);
        break;
    default:
        fuzz_opening(data + 1, size - 1);
        break;
    }
    return 0;
}
