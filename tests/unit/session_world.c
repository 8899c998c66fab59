/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: two sessions in virtual time whose paths are pairs, and readers that count
 * what their streams bring.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session_world.h"

static void on_open(struct session *session, struct pipe *stream, const struct opening *opening,
                    void *arg)
{
    struct side *side = arg;

    (void)session;
    (void)opening;
    if (side->opens < STREAMS_MAX)
        side->opened[side->opens] = stream;
    side->opens++;
    stream_answer(stream, side->refuse ? ANSWER_POLICY : ANSWER_OK, NULL);
}

static void on_want(struct session *session, enum session_want want, void *arg)
{
    (void)session;
    ((struct side *)arg)->want = want;
}

static void on_end(struct session *session, int why, const char *text, void *arg)
{
    struct side *side = arg;

    (void)session;
    side->session = NULL;
    side->ended = why ? why : 1;
    snprintf(side->text, sizeof side->text, "%s", text);
}

static void on_signal(struct session *session, const uint8_t *bytes, size_t len, void *arg)
{
    struct side *side = arg;

    assert_ptr_equal(session, side->session);
    side->signals++;
    side->signal_len = len;
    memcpy(side->signal, bytes, len);
}

static void on_paths(struct session *session, void *arg)
{
    (void)session;
    ((struct side *)arg)->paths++;
}

static const struct session_events events = {
    .paths = on_paths, .open = on_open, .want = on_want, .end = on_end, .signal = on_signal};

void run(struct world *world, uint64_t us)
{
    uint64_t end = loop_now(world->loop) + us;

    while (loop_now(world->loop) < end && loop_turn(world->loop, end - loop_now(world->loop))) {}
}

void world_new_with(struct world *world, const struct session_config *config, uint64_t pool)
{
    struct node_id ids[2] = {{{1}}, {{2}}};

    memset(world, 0, sizeof *world);
    world->blocks = block_total_bytes();
    world->loop = loop_new_virtual(7);
    world->config = *config;
    for (int i = 0; i < 2; i++) {
        world->side[i].pool.limit = pool;
        world->side[i].want = SESSION_WANTS_PATH;
        world->side[i].session = session_new(world->loop, config, &world->side[i].pool, &ids[i],
                                             &ids[!i], &events, &world->side[i]);
    }
}

void world_new(struct world *world)
{
    struct session_config config = SESSION_CONFIG_DEFAULT;

    world_new_with(world, &config, 256 << 20);
}

void world_free(struct world *world)
{
    for (int i = 0; i < 2; i++)
        if (world->side[i].session)
            session_fail(world->side[i].session, -ECONNRESET, "the test is over");
    run(world, 60 * SEC_US);
    assert_true(world->side[0].pool.used == 0 && world->side[1].pool.used == 0);
    assert_int_equal(block_total_bytes(), world->blocks);
    loop_free(world->loop);
}

struct pipe *join_ranked(struct world *world, uint64_t delay_us, uint64_t rate, int rank0,
                         int rank1)
{
    struct pair_options options = {.delay_us = delay_us, .rate = rate};
    struct pipe *ends[2];

    assert_int_equal(pair_new(world->loop, &options, ends), 0);
    for (int i = 0; i < 2; i++) {
        struct hello hello = {.max_streams = world->config.max_streams,
                              .instance = {(uint8_t)(i + 1)}};

        session_add_path(world->side[i].session, ends[i], &hello, "pair", i ? rank1 : rank0);
    }
    return ends[0];
}

struct pipe *join(struct world *world, uint64_t delay_us, uint64_t rate, int rank)
{
    return join_ranked(world, delay_us, rate, rank, rank);
}

uint32_t session_paths(const struct session *session)
{
    struct session_info info;

    session_describe(session, &info);
    return info.paths;
}

static void on_answer(void *arg, enum answer answer, const struct addr *bound)
{
    struct reader *reader = arg;

    (void)bound;
    assert_false(reader->answered);
    reader->answered = true;
    reader->answer = answer;
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct reader *reader = arg;

    (void)from;
    reader->got += data->len;
    reader->last_at = loop_now(pipe->loop);
}

static void on_eof(struct pipe *pipe, void *arg)
{
    (void)pipe;
    ((struct reader *)arg)->eof = true;
}

static void on_over(struct pipe *pipe, int why, void *arg)
{
    struct reader *reader = arg;

    (void)pipe;
    reader->over = true;
    reader->why = why;
}

const struct pipe_events reader_events = {.message = on_message, .eof = on_eof, .end = on_over};

struct pipe *open_from(struct world *world, int side, struct reader *reader)
{
    struct target target;
    enum answer why = ANSWER_OK;

    memset(reader, 0, sizeof *reader);
    assert_int_equal(target_set(&target, "host.example", 12, 80), 0);
    reader->pipe = stream_open(world->side[side].session, &target, on_answer, reader, &why);
    if (reader->pipe)
        pipe_add_listener(reader->pipe, &reader_events, reader);
    else
        reader->answer = why;
    return reader->pipe;
}

uint64_t fill(struct pipe *pipe, uint64_t max)
{
    uint64_t done = 0;

    while (done < max && pipe_room(pipe) > 0) {
        size_t part = pipe_room(pipe);
        struct block *block = block_new();
        struct slice slice = {block, block_start(block), 0};

        if (part > BLOCK_READ_BYTES)
            part = BLOCK_READ_BYTES;
        if (part > max - done)
            part = (size_t)(max - done);
        memset(slice.data, 'x', part);
        slice.len = part;
        pipe_write(pipe, &slice);
        done += part;
    }
    return done;
}
