/* SPDX-License-Identifier: MIT */
/*
 * Sessions, one behaviour at a time, in virtual time over pairs. What happens at random is
 * test_session_model.c's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "pipe/pair.h"
#include "session/session_int.h"

#define STREAMS_MAX 600

struct side {
    struct session *session;
    struct session_pool pool;
    int ended;
    char text[CLOSE_TEXT_MAX + 1];
    enum session_want want;
    struct pipe *opened[STREAMS_MAX]; /* by the peer */
    int opens;
    bool refuse;
    int signals, paths;
    size_t signal_len; /* of the last */
    uint8_t signal[SESSION_SIGNAL_MAX];
};

struct world {
    struct loop *loop;
    struct side side[2];
    struct session_config config;
};

struct reader {
    struct pipe *pipe;
    uint64_t got, last_at;
    int why;
    bool eof, over, answered;
    enum answer answer;
};

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

static void run(struct world *world, uint64_t us)
{
    uint64_t end = loop_now(world->loop) + us;

    while (loop_now(world->loop) < end && loop_turn(world->loop, end - loop_now(world->loop))) {}
}

static void world_new_with(struct world *world, const struct session_config *config, uint64_t pool)
{
    struct node_id ids[2] = {{{1}}, {{2}}};

    memset(world, 0, sizeof *world);
    world->loop = loop_new_virtual(7);
    world->config = *config;
    for (int i = 0; i < 2; i++) {
        world->side[i].pool.limit = pool;
        world->side[i].want = SESSION_WANTS_PATH;
        world->side[i].session = session_new(world->loop, config, &world->side[i].pool, &ids[i],
                                             &ids[!i], &events, &world->side[i]);
    }
}

static void world_new(struct world *world)
{
    struct session_config config = SESSION_CONFIG_DEFAULT;

    world_new_with(world, &config, 256 << 20);
}

static void world_free(struct world *world)
{
    for (int i = 0; i < 2; i++)
        if (world->side[i].session)
            session_fail(world->side[i].session, -ECONNRESET, "the test is over");
    run(world, 60 * SEC_US);
    assert_true(world->side[0].pool.used == 0 && world->side[1].pool.used == 0);
    loop_free(world->loop);
}

static struct pipe *join_ranked(struct world *world, uint64_t delay_us, uint64_t rate, int rank0,
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

static struct pipe *join(struct world *world, uint64_t delay_us, uint64_t rate, int rank)
{
    return join_ranked(world, delay_us, rate, rank, rank);
}

static uint32_t session_paths(const struct session *session)
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

static const struct pipe_events reader_events = {
    .message = on_message, .eof = on_eof, .end = on_over};

static struct pipe *open_from(struct world *world, int side, struct reader *reader)
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

/* Writes as much as there is room for, up to max; returns how much. */
static uint64_t fill(struct pipe *pipe, uint64_t max)
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

static void test_open_and_close(void **state)
{
    struct world world;
    struct reader client, server = {0};

    (void)state;
    world_new(&world);
    join(&world, 10 * MS_US, 0, 0);
    open_from(&world, 0, &client);
    pipe_write_copy(client.pipe, "early", 5); /* data right behind the OPEN */
    run(&world, 15 * MS_US);
    assert_int_equal(world.side[1].opens, 1);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &server);
    pipe_resume(world.side[1].opened[0]);
    assert_int_equal(server.got, 5);
    run(&world, 15 * MS_US);
    assert_true(client.answered && client.answer == ANSWER_OK);
    pipe_shutdown(client.pipe); /* half-close: the other direction goes on */
    run(&world, 50 * MS_US);
    assert_true(server.eof && !client.eof);
    pipe_write_copy(world.side[1].opened[0], "late", 4);
    pipe_shutdown(world.side[1].opened[0]);
    run(&world, SEC_US);
    assert_true(client.got == 4 && client.eof && client.over && client.why == 0 && server.over &&
                server.why == 0);
    assert_int_equal(session_stream_count(world.side[0].session), 0);
    assert_int_equal(session_stream_count(world.side[1].session), 0);
    world_free(&world);
}

static void test_refusal(void **state)
{
    struct world world;
    struct reader client;

    (void)state;
    world_new(&world);
    world.side[1].refuse = true;
    join(&world, 1000, 0, 0);
    open_from(&world, 0, &client);
    run(&world, SEC_US);
    assert_true(client.answered && client.answer == ANSWER_POLICY && client.over);
    assert_int_equal(session_stream_count(world.side[1].session), 0);
    assert_null(world.side[0].session->tombs);
    world_free(&world);
}

static void test_stream_limit(void **state)
{
    struct session_config config = SESSION_CONFIG_DEFAULT;
    struct world world;
    struct reader reader[4];

    (void)state;
    config.max_streams = 3;
    world_new_with(&world, &config, 1 << 20);
    join(&world, 1000, 0, 0);
    for (int i = 0; i < 3; i++)
        assert_non_null(open_from(&world, 0, &reader[i]));
    assert_null(open_from(&world, 0, &reader[3]));
    assert_int_equal(reader[3].answer, ANSWER_LIMIT);
    /* A peer that does not keep to it is refused, stream by stream. */
    world.side[0].session->config.max_streams = world.side[0].session->peer_max_streams = 10;
    assert_non_null(open_from(&world, 0, &reader[3]));
    run(&world, SEC_US);
    assert_true(reader[3].answered && reader[3].answer == ANSWER_LIMIT);
    assert_true(reader[0].answered && reader[0].answer == ANSWER_OK);
    world_free(&world);
}

static void test_open_without_path(void **state)
{
    struct world world;
    struct reader client;

    (void)state;
    world_new(&world);
    open_from(&world, 0, &client);
    run(&world, 9 * SEC_US);
    assert_false(client.answered);
    run(&world, 2 * SEC_US);
    assert_true(client.answered && client.answer == ANSWER_NO_PATH && client.over);
    open_from(&world, 0, &client); /* one that finds a path in time is opened */
    run(&world, 5 * SEC_US);
    join(&world, 1000, 0, 0);
    run(&world, SEC_US);
    assert_true(client.answered && client.answer == ANSWER_OK);
    assert_int_equal(world.side[1].opens, 1);
    world_free(&world);
}

static void test_hold(void **state)
{
    struct world world;
    struct reader client;
    struct pipe *path;

    (void)state;
    world_new(&world);
    path = join(&world, 1000, 0, 0);
    open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_abort(path, -ECONNRESET);
    run(&world, 119 * SEC_US);
    assert_true(world.side[0].session && world.side[0].want == SESSION_WANTS_PATH && !client.over);
    run(&world, 2 * SEC_US);
    assert_null(world.side[0].session);
    assert_null(world.side[1].session);
    assert_int_equal(world.side[0].ended, -ETIMEDOUT);
    assert_true(client.over && client.why == -ETIMEDOUT);
    world_free(&world);
}

/* A new configuration counts for a session that waits; what the peer was told stays. */
static void test_reconfigure(void **state)
{
    struct session_config config = SESSION_CONFIG_DEFAULT;
    struct world world;
    struct reader clients[3];
    struct pipe *path;

    (void)state;
    world_new(&world);
    path = join(&world, 1000, 0, 0);
    config.hold_us = 10 * SEC_US;
    config.max_streams = 1;
    session_reconfigure(world.side[0].session, &config);
    for (int i = 0; i < 3; i++)
        open_from(&world, 0, &clients[i]);
    run(&world, SEC_US);
    pipe_abort(path, -ECONNRESET);
    run(&world, 9 * SEC_US);
    assert_true(world.side[0].session && !clients[2].over);
    run(&world, 2 * SEC_US);
    assert_null(world.side[0].session);
    assert_int_equal(world.side[0].ended, -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        assert_int_equal(clients[i].why, -ETIMEDOUT);
    world_free(&world);
}

static void test_close_tells_why(void **state)
{
    struct world world;
    struct reader client;

    (void)state;
    world_new(&world);
    join(&world, 1000, 0, 0);
    open_from(&world, 0, &client);
    run(&world, SEC_US);
    session_close(world.side[1].session, CLOSE_REVOKED, NULL);
    run(&world, SEC_US);
    assert_int_equal(world.side[0].ended, -EACCES);
    assert_string_equal(world.side[0].text, close_code_text(CLOSE_REVOKED));
    assert_true(client.over && client.why < 0);
    world_free(&world);
}

/* A path that goes silent is left within path.suspect and a little for one that is there. */
static void test_silent_path_is_left(void **state)
{
    struct world world;
    struct reader client, server = {0};
    struct pipe *first;
    struct session_info info;
    uint64_t cut_at;

    (void)state;
    world_new(&world);
    first = join(&world, 10 * MS_US, 0, 0);
    join(&world, 20 * MS_US, 0, 1); /* a relay, say */
    open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &server);
    pipe_resume(world.side[1].opened[0]);
    pair_cut(first, true);
    cut_at = loop_now(world.loop);
    pipe_write_copy(client.pipe, "key", 3);
    run(&world, 5 * SEC_US);
    assert_int_equal(server.got, 3);
    assert_true(server.last_at - cut_at < 1000 * MS_US);
    session_describe(world.side[0].session, &info);
    assert_true(info.moves == 1);
    world_free(&world);
}

/* A receiver whose probe was under way, and who heard something else after it, notices silence as
 * soon as without. */
static void test_silence_behind_a_probe(void **state)
{
    struct world world;
    struct reader client;
    struct session_info info;
    struct pipe *path;

    (void)state;
    world_new(&world);
    path = join(&world, 100 * MS_US, 0, 0);
    open_from(&world, 0, &client);
    run(&world, SEC_US);
    for (int i = 0; i < 20; i++) {
        fill(world.side[1].opened[0], 100000);
        run(&world, 50 * MS_US);
    }
    session_recheck(world.side[0].session);
    for (int i = 0; i < 3; i++) {
        fill(world.side[1].opened[0], 100000);
        run(&world, 50 * MS_US);
    }
    pair_cut(path, true);
    run(&world, 1600 * MS_US);
    session_describe(world.side[0].session, &info);
    assert_int_equal(info.path[0].state, PATH_SUSPECT);
    world_free(&world);
}

/* A better path takes over while bytes flow; the lesser one stays beside it. */
static void test_upgrade(void **state)
{
    struct world world;
    struct reader client, server = {0};
    struct session_info info;
    uint64_t written = 0, total = 4 << 20;

    (void)state;
    world_new(&world);
    join(&world, 30 * MS_US, 2000000, 1);
    open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &server);
    pipe_resume(world.side[1].opened[0]);
    for (int i = 0; i < 400 && server.got < total; i++) {
        if (i == 20)
            join(&world, 5 * MS_US, 0, 0);
        written += fill(client.pipe, total - written);
        run(&world, 20 * MS_US);
    }
    assert_int_equal(server.got, total);
    session_describe(world.side[0].session, &info);
    assert_int_equal(info.paths, 2);
    assert_int_equal(info.moves, 1);
    assert_true(info.resent_bytes < total / 4);
    world_free(&world);
}

/* 500 readers that never read: what both ends hold stays within the pool and the guarantees. */
static void test_stalled_readers(void **state)
{
    struct session_config config = SESSION_CONFIG_DEFAULT;
    static struct reader readers[500];
    struct reader quick, far = {0};
    struct world world;
    size_t before = block_total_bytes();
    uint64_t pool = 8 << 20, bound, written = 0, total = 8 << 20;

    (void)state;
    world_new_with(&world, &config, pool);
    join(&world, 1000, 0, 0);
    for (int i = 0; i < 500; i++)
        assert_non_null(open_from(&world, 0, &readers[i]));
    run(&world, SEC_US);
    assert_int_equal(world.side[1].opens, 500);
    for (int turn = 0; turn < 50; turn++) {
        for (int i = 0; i < 500; i++)
            fill(readers[i].pipe, 1 << 20);
        run(&world, 10 * MS_US);
    }
    assert_true(world.side[0].pool.used <= pool && world.side[1].pool.used <= pool);
    /* Each end: the pool, and per stream 16 KiB each way, in blocks at worst half full. */
    bound = 2 * (pool + 500 * UINT64_C(2) * STREAM_GUARANTEE_BYTES) * 2;
    assert_true(block_total_bytes() - before < bound);
    /* And one whose reader reads goes on as if they were not there. */
    open_from(&world, 0, &quick);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[500], &reader_events, &far);
    pipe_resume(world.side[1].opened[500]);
    for (int turn = 0; turn < 4000 && far.got < total; turn++) {
        written += fill(quick.pipe, total - written);
        run(&world, MS_US);
    }
    assert_int_equal(far.got, total);
    world_free(&world);
    assert_int_equal(block_total_bytes(), before);
}

/* A keystroke goes before bulk that was waiting for its turn. */
static void test_small_before_bulk(void **state)
{
    struct world world;
    struct reader bulk, key, far_bulk = {0}, far_key = {0};
    uint64_t at;

    (void)state;
    world_new(&world);
    join(&world, 1000, 2000000, 0); /* 2 MB/s */
    open_from(&world, 0, &bulk);
    open_from(&world, 0, &key);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &far_bulk);
    pipe_add_listener(world.side[1].opened[1], &reader_events, &far_key);
    pipe_resume(world.side[1].opened[0]);
    pipe_resume(world.side[1].opened[1]);
    for (int i = 0; i < 200; i++) {
        fill(bulk.pipe, 1 << 20);
        run(&world, 10 * MS_US);
    }
    at = loop_now(world.loop);
    pipe_write_copy(key.pipe, "k", 1);
    for (int i = 0; i < 100 && far_key.got == 0; i++) {
        fill(bulk.pipe, 1 << 20);
        run(&world, 10 * MS_US);
    }
    assert_int_equal(far_key.got, 1);
    /* What the pair itself holds (256 KiB at 2 MB/s) and a frame; not what the bulk stream has
     * queued. */
    assert_true(far_key.last_at - at < 200 * MS_US);
    world_free(&world);
}

/* Keys are renewed by a fresh path; the old one goes when it is there. */
static void test_rekey(void **state)
{
    struct session_config config = SESSION_CONFIG_DEFAULT;
    struct world world;
    struct session_info info;

    (void)state;
    config.rekey_us = 60 * SEC_US;
    world_new_with(&world, &config, 1 << 20);
    join(&world, 1000, 0, 0);
    run(&world, 50 * SEC_US);
    assert_int_equal(world.side[0].want, SESSION_WANTS_NOTHING);
    run(&world, 30 * SEC_US);
    assert_int_equal(world.side[0].want, SESSION_WANTS_SPARE);
    join(&world, 1000, 0, 0);
    run(&world, 15 * SEC_US);
    assert_int_equal(world.side[0].want, SESSION_WANTS_NOTHING);
    session_describe(world.side[0].session, &info);
    assert_int_equal(info.paths, 1);
    assert_true(info.path[0].since_us < 20 * SEC_US);
    world_free(&world);
}

static void ping_told(void *arg, const char *label, const struct addr *remote, uint64_t rtt_us)
{
    (void)label;
    (void)remote;
    *(uint64_t *)arg = rtt_us;
}

static void test_ping(void **state)
{
    struct world world;
    uint64_t rtt = 1;

    (void)state;
    world_new(&world);
    join(&world, 25 * MS_US, 0, 0);
    run(&world, SEC_US);
    session_ping(world.side[0].session, SEC_US, ping_told, &rtt);
    run(&world, SEC_US);
    assert_in_range(rtt, 50 * MS_US, 55 * MS_US);
    world_free(&world);
}

/* Puts the rank that stands at the index of the old one. */
static int on_review(void *arg, const struct path_info *path)
{
    return ((const int *)arg)[path->rank];
}

static void check_active(struct world *world, int side, int rank, uint64_t moves)
{
    struct session_info info;
    bool found = false;

    session_describe(world->side[side].session, &info);
    for (uint32_t i = 0; i < info.paths; i++)
        found = found || (info.path[i].state == PATH_ACTIVE && info.path[i].rank == rank);
    assert_true(found);
    assert_int_equal(info.moves, moves);
}

/* Two paths, which only side 0 ranks: 0 and 1. */
static void join_two(struct world *world, struct pipe *ends[2])
{
    for (int i = 0; i < 2; i++) {
        ends[i] = join_ranked(world, MS_US, 0, i, 0);
        run(world, 300 * MS_US); /* so that the first is silent, as in an idle session */
    }
    run(world, 5 * SEC_US);
}

/* A reserve is left alone by the side that has no preference; when the owner says that the better
 * path is gone, traffic moves without waiting for silence, and goes back by rank. */
static void test_review(void **state)
{
    static const int gone[] = {SESSION_RANK_GONE, 1}, swapped[] = {1, 0},
                     spent[] = {0, SESSION_RANK_SPENT};
    struct world world;
    struct reader client, server = {0};
    struct pipe *ends[2];
    uint64_t at;

    (void)state;
    world_new(&world);
    join_two(&world, ends);
    check_active(&world, 0, 0, 0);
    check_active(&world, 1, 0, 0);
    open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &server);
    pipe_resume(world.side[1].opened[0]);
    assert_true(world.side[0].paths > 0);
    pair_cut(ends[0], true);
    session_review_paths(world.side[0].session, on_review, (void *)gone);
    assert_int_equal(world.side[0].session->want, SESSION_WANTS_NOTHING);
    check_active(&world, 0, 1, 1);
    at = loop_now(world.loop);
    pipe_write_copy(client.pipe, "key", 3);
    run(&world, SEC_US);
    assert_int_equal(server.got, 3);
    assert_true(server.last_at - at < 20 * MS_US);
    check_active(&world, 0, 1, 1);
    /* It stays silent, and goes. */
    run(&world, 30 * SEC_US);
    assert_int_equal(session_paths(world.side[0].session), 1);
    /* It is back: a fresh path of the better rank. */
    join_ranked(&world, MS_US, 0, 0, 0);
    run(&world, SEC_US);
    check_active(&world, 0, 0, 2);
    session_review_paths(world.side[0].session, on_review, (void *)swapped);
    run(&world, SEC_US);
    check_active(&world, 0, 0, 3);
    /* The lesser one has served its time. */
    session_review_paths(world.side[0].session, on_review, (void *)spent);
    assert_int_equal(session_paths(world.side[0].session), 2);
    run(&world, 6 * SEC_US);
    assert_int_equal(session_paths(world.side[0].session), 1);
    assert_int_equal(session_paths(world.side[1].session), 1);
    check_active(&world, 0, 0, 3);
    world_free(&world);
}

/* Who leaves a path that is gone says so, and the peer repeats at once what it sent over it, though
 * it heard of that path just now. */
static void test_lost_bytes(void **state)
{
    static const int gone[] = {SESSION_RANK_GONE, 1};
    struct world world;
    struct reader client;
    struct pipe *ends[2];
    uint64_t at;

    (void)state;
    world_new(&world);
    join_two(&world, ends);
    open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_write_copy(client.pipe, "x", 1);
    run(&world, 10 * MS_US);
    pair_cut(ends[0], true);
    pipe_write_copy(world.side[1].opened[0], "key", 3);
    run(&world, 10 * MS_US);
    assert_int_equal(client.got, 0);
    at = loop_now(world.loop);
    session_review_paths(world.side[0].session, on_review, (void *)gone);
    run(&world, SEC_US);
    assert_int_equal(client.got, 3);
    assert_true(client.last_at - at < 10 * MS_US);
    world_free(&world);
}

/* The only path is gone: another is asked for at once. */
static void test_only_path_gone(void **state)
{
    static const int gone[] = {SESSION_RANK_GONE};
    struct world world;

    (void)state;
    world_new(&world);
    join(&world, MS_US, 0, 0);
    run(&world, SEC_US);
    session_review_paths(world.side[0].session, on_review, (void *)gone);
    assert_int_equal(world.side[0].want, SESSION_WANTS_SPARE);
    session_recheck(world.side[0].session);
    run(&world, SEC_US);
    assert_int_equal(world.side[0].want, SESSION_WANTS_NOTHING); /* it was not so bad */
    world_free(&world);
}

/* The better path falls silent, and works again: the side that prefers it goes back, whoever left
 * it; the more often that happens, the later. */
static void test_going_back(void **state)
{
    struct world world;
    struct reader client, server = {0};
    struct pipe *ends[2];
    uint64_t waits[3];

    (void)state;
    world_new(&world);
    join_two(&world, ends);
    open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &server);
    pipe_resume(world.side[1].opened[0]);
    for (int i = 0; i < 3; i++) {
        struct session_info info;
        uint64_t moves, at;
        struct pipe *from = i == 1 ? world.side[1].opened[0] : client.pipe;

        session_describe(world.side[0].session, &info);
        moves = info.moves;
        pair_cut(ends[0], true);
        pipe_write_copy(from, "key", 3);
        run(&world, 900 * MS_US);
        pair_cut(ends[0], false);
        check_active(&world, 0, 1, moves + 1);
        at = loop_now(world.loop);
        while (info.moves < moves + 2 && loop_now(world.loop) - at < 60 * SEC_US) {
            run(&world, 100 * MS_US);
            session_describe(world.side[0].session, &info);
        }
        check_active(&world, 0, 0, moves + 2);
        waits[i] = loop_now(world.loop) - at;
        run(&world, 5 * SEC_US);
    }
    assert_in_range(waits[0], SEC_US, 5 * SEC_US);
    assert_in_range(waits[1], 4 * SEC_US, 8 * SEC_US);
    assert_in_range(waits[2], 9 * SEC_US, 14 * SEC_US);
    world_free(&world);
}

/* A signal needs a path, has a length, and overtakes what streams wait to send; a queue of them has
 * an end. */
static void test_signal(void **state)
{
    struct world world;
    uint8_t bytes[SESSION_SIGNAL_MAX + 1] = {7};
    struct session *session;
    struct reader reader = {0}, far = {0};
    int queued = 0, r;

    (void)state;
    world_new(&world);
    session = world.side[0].session;
    assert_int_equal(session_send_signal(session, bytes, 1), -ENOTCONN);
    join(&world, MS_US, 2000000, 0); /* 2 MB/s */
    run(&world, 100 * MS_US);
    assert_int_equal(session_send_signal(session, bytes, 0), -EMSGSIZE);
    assert_int_equal(session_send_signal(session, bytes, SESSION_SIGNAL_MAX + 1), -EMSGSIZE);
    assert_int_equal(session_send_signal(session, bytes, SESSION_SIGNAL_MAX), 0);
    run(&world, 100 * MS_US);
    assert_int_equal(world.side[1].signals, 1);
    assert_int_equal(world.side[1].signal_len, SESSION_SIGNAL_MAX);
    assert_memory_equal(world.side[1].signal, bytes, SESSION_SIGNAL_MAX);
    assert_int_equal(session_send_signal(world.side[1].session, "yes", 3), 0);
    run(&world, 100 * MS_US);
    assert_int_equal(world.side[0].signals, 1);
    assert_memory_equal(world.side[0].signal, "yes", 3);
    /* Beside a stream that always has more: 256 KiB at 2 MB/s are before it, in the pair. */
    open_from(&world, 0, &reader);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &far);
    pipe_resume(world.side[1].opened[0]);
    for (int i = 0; i < 200; i++) {
        fill(reader.pipe, 1 << 20);
        run(&world, 10 * MS_US);
    }
    assert_int_equal(session_send_signal(session, bytes, 100), 0);
    for (int i = 0; i < 20; i++) {
        fill(reader.pipe, 1 << 20);
        run(&world, 10 * MS_US);
    }
    assert_int_equal(world.side[1].signals, 2);
    while ((r = session_send_signal(session, bytes, SESSION_SIGNAL_MAX)) == 0)
        queued++;
    assert_int_equal(r, -EAGAIN);
    assert_in_range(queued, 32, 64);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_and_close),
        cmocka_unit_test(test_refusal),
        cmocka_unit_test(test_stream_limit),
        cmocka_unit_test(test_open_without_path),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_reconfigure),
        cmocka_unit_test(test_close_tells_why),
        cmocka_unit_test(test_silent_path_is_left),
        cmocka_unit_test(test_silence_behind_a_probe),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_stalled_readers),
        cmocka_unit_test(test_small_before_bulk),
        cmocka_unit_test(test_rekey),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_signal),
        cmocka_unit_test(test_review),
        cmocka_unit_test(test_lost_bytes),
        cmocka_unit_test(test_only_path_gone),
        cmocka_unit_test(test_going_back),
    };

    log_init(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
