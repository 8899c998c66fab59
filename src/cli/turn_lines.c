/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What an input brings (turn_input.h) is kept until its line is complete; the last one needs no
 * newline. A line that fills the buffer is told without waiting for its end. Pausing stops the
 * reading; what was read by then is told all the same, INPUT_CHUNK_BYTES at most.
 */
#include "cli/turn_lines.h"

#include <stdlib.h>
#include <string.h>

#include "cli/turn_input.h"

struct lines {
    struct input *input;
    const struct lines_events *events;
    void *arg;
    size_t len;
    char text[LINES_LENGTH_MAX];
};

/* Tells the lines that are complete; `all`: the rest too. */
static void tell(struct lines *l, bool all)
{
    size_t begin = 0;

    for (size_t i = 0; i < l->len; i++) {
        if (l->text[i] == '\n') {
            l->events->line(l->arg, l->text + begin, i - begin);
            begin = i + 1;
        }
    }
    if (begin < l->len && (all || (begin == 0 && l->len == LINES_LENGTH_MAX))) {
        l->events->line(l->arg, l->text + begin, l->len - begin);
        begin = l->len;
    }
    memmove(l->text, l->text + begin, l->len - begin);
    l->len -= begin;
}

static void on_input(void *arg, const uint8_t *bytes, size_t len, int why)
{
    struct lines *l = arg;

    if (len == 0) {
        tell(l, true);
        l->events->over(l->arg, why);
        return;
    }
    while (len > 0) {
        size_t part = LINES_LENGTH_MAX - l->len < len ? LINES_LENGTH_MAX - l->len : len;

        memcpy(l->text + l->len, bytes, part);
        l->len += part;
        bytes += part;
        len -= part;
        tell(l, false);
    }
    l->events->read(l->arg);
}

struct lines *lines_new(struct loop *loop, int fd, const struct lines_events *events, void *arg)
{
    struct lines *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    l->events = events;
    l->arg = arg;
    l->input = input_new(loop, fd, on_input, l);
    if (l->input != NULL)
        return l;
    free(l);
    return NULL;
}

void lines_free(struct lines *l)
{
    if (l == NULL)
        return;
    input_free(l->input);
    free(l);
}

void lines_pause(struct lines *l)
{
    input_pause(l->input);
}

void lines_resume(struct lines *l)
{
    input_resume(l->input);
}
