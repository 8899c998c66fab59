/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: a whole session, in virtual time, whose peer sends what the input says: the
 * messages of a path, cut as the input wants. The session answers streams, echoes what it gets, and
 * opens one of its own. Whatever comes, nothing may crash, and after the session's end nothing may
 * be left: no stream, no byte of the pool, no block.
 *
 *   input = { length (2, big-endian), message }*
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pipe/pair.h"
#include "session/session_int.h"

#define MESSAGES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_open(struct session *session, struct pipe *stream, const struct opening *opening,
                    void *arg)
{
    (void)session;
    (void)arg;
    if (opening->target.port == 1) {
        stream_answer(stream, ANSWER_REFUSED, NULL);
        return;
    }
    stream_answer(stream, ANSWER_OK, NULL);
    if (opening->target.port == 2)
        pipe_close(stream);
    else if (opening->target.port != 3)        /* 3: a reader that never reads */
        pipe_add_pipe(stream, stream); /* echo */
}

static void on_want(struct session *session, enum session_want want, void *arg)
{
    (void)session;
    (void)want;
    (void)arg;
}

static void on_end(struct session *session, int why, const char *text, void *arg)
{
    (void)why;
    (void)text;
    *(struct session **)arg = NULL;
    (void)session;
}

/* A signal is answered with itself. */
static void on_signal(struct session *session, const uint8_t *bytes, size_t len, void *arg)
{
    (void)arg;
    session_send_signal(session, bytes, len);
}

static const struct session_events events = {
    .open = on_open, .want = on_want, .end = on_end, .signal = on_signal};

static void on_answer(void *arg, enum answer answer, const struct addr *bound)
{
    (void)arg;
    (void)answer;
    (void)bound;
}

static void on_far_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    *(struct pipe **)arg = NULL;
}

static const struct pipe_events far_events = {.end = on_far_end};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct loop *loop = loop_new_virtual(1);
    struct session_config config = SESSION_CONFIG_DEFAULT;
    struct session_pool pool = {.limit = 1 << 20};
    struct node_id ids[2] = {{{1}}, {{2}}};
    struct hello hello = {.max_streams = 8, .instance = {1}};
    struct target target;
    struct session *session;
    struct pipe *ends[2];
    enum answer why;
    size_t blocks = block_total_bytes();

    log_init(LOG_ERROR);
    config.max_streams = 8;
    config.hold_us = SEC_US;
    session = session_new(loop, &config, &pool, &ids[0], &ids[1], &events, &session);
    if (pair_new(loop, NULL, ends) != 0)
        abort();
    pipe_add_listener(ends[1], &far_events, &ends[1]);
    session_add_path(session, ends[0], &hello, "fuzz", 0);
    target_set(&target, "fuzz.example", 12, 80);
    stream_open(session, &target, on_answer, NULL, &why);
    loop_turn(loop, 1000);
    for (int i = 0; i < MESSAGES_MAX && size >= 2; i++) {
        size_t len = (size_t)data[0] << 8 | data[1];

        data += 2;
        size -= 2;
        if (len > size)
            len = size;
        if (!ends[1] || (len > 0 && pipe_write_copy(ends[1], data, len) < 0))
            break;
        data += len;
        size -= len;
        for (int turns = 0; turns < 8; turns++)
            loop_turn(loop, 1000);
    }
    if (ends[1])
        pipe_abort(ends[1], -ECONNRESET);
    for (int turns = 0; session && turns < 1000; turns++)
        loop_turn(loop, 10 * SEC_US);
    if (session)
        session_close(session, CLOSE_OK, NULL);
    for (int turns = 0; turns < 100; turns++)
        loop_turn(loop, 10 * SEC_US);
    if (session || pool.used != 0 || block_total_bytes() != blocks)
        abort();
    loop_free(loop);
    block_pool_trim(0);
    return 0;
}
