/* SPDX-License-Identifier: MIT */
/* Theory of operation: the input as a preface; and, cut to its fields, as one to build, which must
 * be accepted by whom it is for alone. */
#include <stdlib.h>
#include <string.h>

#include "crypto/preface.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct node_id id = {{1}}, other = {{2}};
    struct preface preface = {.time_s = size}, parsed;
    uint8_t bytes[PREFACE_BYTES];
    int n = preface_parse(&id, data, size, &parsed);

    if (n > 0 && (n != PREFACE_BYTES || size < PREFACE_BYTES))
        abort();
    if (size > 0)
        memcpy(preface.random, data, size < sizeof preface.random ? size : sizeof preface.random);
    if (preface_build(&id, &preface, bytes) < 0 ||
        preface_parse(&id, bytes, sizeof bytes, &parsed) != PREFACE_BYTES ||
        memcmp(&parsed, &preface, sizeof parsed) != 0 ||
        preface_parse(&other, bytes, sizeof bytes, &parsed) > 0)
        abort();
    return 0;
}
