/* SPDX-License-Identifier: MIT */
/*
 * A listener that writes down what it hears, and helpers that run a loop until something is true.
 */
#ifndef ADIT_TESTS_PIPE_RECORDER_H
#define ADIT_TESTS_PIPE_RECORDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pipe/pipe.h"

#define RECORD_MAX 4096

struct recorder {
    struct pipe *pipe; /* NULL once over */
    size_t bytes, messages;
    uint64_t sum;          /* of all bytes, so that order matters */
    char text[RECORD_MAX]; /* the first bytes */
    int ups, eofs, rooms, ends, accepts, why;
    struct addr from;
    struct pipe *client; /* the last accepted */
    uint64_t at;         /* when the last thing was heard */
};

static inline void recorder_up(struct pipe *pipe, void *arg)
{
    struct recorder *r = arg;
    r->ups++;
    r->at = loop_now(pipe->loop);
}

static inline uint64_t byte_sum(uint64_t sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + data[i];
    return sum;
}

static inline void recorder_message(struct pipe *pipe, const struct slice *data,
                                    const struct addr *from, void *arg)
{
    struct recorder *r = arg;

    if (r->bytes < RECORD_MAX - 1) {
        size_t part = RECORD_MAX - 1 - r->bytes;
        memcpy(r->text + r->bytes, data->data, data->len < part ? data->len : part);
    }
    r->sum = byte_sum(r->sum, data->data, data->len);
    r->bytes += data->len;
    r->messages++;
    if (from)
        r->from = *from;
    r->at = loop_now(pipe->loop);
}

static inline void recorder_eof(struct pipe *pipe, void *arg)
{
    struct recorder *r = arg;
    r->eofs++;
    r->at = loop_now(pipe->loop);
}

static inline void recorder_room(struct pipe *pipe, void *arg)
{
    struct recorder *r = arg;
    (void)pipe;
    r->rooms++;
}

static inline void recorder_end(struct pipe *pipe, int why, void *arg)
{
    struct recorder *r = arg;
    r->ends++;
    r->why = why;
    r->pipe = NULL;
    r->at = loop_now(pipe->loop);
}

static inline void recorder_accept(struct pipe *server, struct pipe *client, void *arg)
{
    struct recorder *r = arg;
    (void)server;
    r->accepts++;
    r->client = client;
}

static const struct pipe_events recorder_events = {
    .up = recorder_up,
    .message = recorder_message,
    .eof = recorder_eof,
    .room = recorder_room,
    .end = recorder_end,
    .accept = recorder_accept,
};

static inline void record(struct recorder *r, struct pipe *pipe)
{
    assert_non_null(pipe);
    r->pipe = pipe;
    assert_int_equal(pipe_add_listener(pipe, &recorder_events, r), 0);
}

/* Runs the loop until the condition holds; fails after a minute, which no test that passes needs,
 * on a busy machine either. */
#define RUN_UNTIL(loop, condition)                                 \
    do {                                                           \
        struct timespec start_, now_;                              \
        clock_gettime(CLOCK_MONOTONIC, &start_);                   \
        while (!(condition)) {                                     \
            clock_gettime(CLOCK_MONOTONIC, &now_);                 \
            if (now_.tv_sec - start_.tv_sec > 60)                  \
                fail_msg("not within a minute: %s", #condition);   \
            if (!loop_turn(loop, 20 * MS_US) && !(condition))      \
                fail_msg("loop is idle, yet not: %s", #condition); \
        }                                                          \
    } while (0)

/* Runs a virtual loop until nothing is left to do. */
static inline void run_dry(struct loop *loop)
{
    while (loop_turn(loop, 3600 * SEC_US)) {}
}

static inline void write_text(struct pipe *pipe, const char *text)
{
    pipe_write_copy(pipe, text, strlen(text));
}

#endif
