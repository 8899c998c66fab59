/* SPDX-License-Identifier: MIT */
/*
 * Sessions and their streams, one behaviour at a time, in virtual time over pairs. Paths are
 * test_session_paths.c's; what happens at random is test_session_model.c's.
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
#include "session_world.h"

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
        cmocka_unit_test(test_stalled_readers),
        cmocka_unit_test(test_small_before_bulk),
        cmocka_unit_test(test_rekey),
        cmocka_unit_test(test_signal),
    };

    log_init(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
