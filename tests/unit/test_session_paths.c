/* SPDX-License-Identifier: MIT */
/*
 * Which path a session uses, and when it leaves one: in virtual time over pairs.
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_silent_path_is_left),
        cmocka_unit_test(test_silence_behind_a_probe),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_ping),
        cmocka_unit_test(test_review),
        cmocka_unit_test(test_lost_bytes),
        cmocka_unit_test(test_only_path_gone),
        cmocka_unit_test(test_going_back),
    };

    log_init(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
