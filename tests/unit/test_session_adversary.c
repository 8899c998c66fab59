/* SPDX-License-Identifier: MIT */
/*
 * Sessions against a peer that means harm or is merely unlucky, in virtual time: what it makes the
 * session hold stays bounded, nothing it sends crashes, and no hand-over loses the last byte. Some
 * tests have a session at both ends, the others speak the peer's frames by hand.
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
#include "session/opening.h"
#include "session/session_int.h"

#define STREAMS_MAX 600

struct side {
    struct session *session;
    struct session_pool pool;
    int ended;
    char text[CLOSE_TEXT_MAX + 1];
    struct pipe *opened[STREAMS_MAX];
    int opens;
};

struct world {
    struct loop *loop;
    struct session_config config;
    struct side side[2];
    struct pipe *raw; /* the peer's end of the path, when we are the peer */
    size_t blocks;
};

struct reader {
    uint64_t got;
    int why;
    bool eof, over, answered;
    enum answer answer;
};

static void on_open(struct session *session, struct pipe *stream, const struct opening *opening,
                    void *arg)
{
    struct side *side = arg;

    (void)session;
    if (side->opens < STREAMS_MAX)
        side->opened[side->opens++] = stream;
    if (opening->target.port == 7)
        stream_answer(stream, ANSWER_POLICY, NULL);
    else
        stream_answer(stream, ANSWER_OK, NULL);
}

static void on_want(struct session *session, enum session_want want, void *arg)
{
    (void)session;
    (void)want;
    (void)arg;
}

static void on_end(struct session *session, int why, const char *text, void *arg)
{
    struct side *side = arg;

    (void)session;
    side->session = NULL;
    side->ended = why ? why : 1;
    snprintf(side->text, sizeof(side->text), "%s", text);
}

static const struct session_events events = {.open = on_open, .want = on_want, .end = on_end};

static void on_answer(void *arg, enum answer answer, const struct addr *bound)
{
    struct reader *reader = arg;

    (void)bound;
    reader->answered = true;
    reader->answer = answer;
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    (void)pipe;
    (void)from;
    ((struct reader *)arg)->got += data->len;
}

static void on_eof(struct pipe *pipe, void *arg)
{
    (void)pipe;
    ((struct reader *)arg)->eof = true;
}

static void on_over(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    ((struct reader *)arg)->over = true;
    ((struct reader *)arg)->why = why;
}

static const struct pipe_events reader_events = {
    .message = on_message, .eof = on_eof, .end = on_over};

static void run(struct world *world, uint64_t us)
{
    uint64_t end = loop_now(world->loop) + us;

    while (loop_now(world->loop) < end && loop_turn(world->loop, end - loop_now(world->loop))) {}
}

static void world_new(struct world *world, int sides)
{
    struct node_id ids[2] = {{{1}}, {{2}}};

    memset(world, 0, sizeof(*world));
    world->blocks = block_total_bytes();
    world->loop = loop_new_virtual(3);
    world->config = (struct session_config)SESSION_CONFIG_DEFAULT;
    world->config.max_streams = STREAMS_MAX;
    for (int i = 0; i < sides; i++) {
        world->side[i].pool.limit = 16 << 20;
        world->side[i].session = session_new(world->loop, &world->config, &world->side[i].pool,
                                             &ids[i], &ids[!i], &events, &world->side[i]);
    }
}

static void world_free(struct world *world)
{
    if (world->raw)
        pipe_abort(world->raw, -ECONNRESET);
    for (int i = 0; i < 2; i++)
        if (world->side[i].session)
            session_fail(world->side[i].session, -ECONNRESET, "the test is over");
    run(world, 60 * SEC_US);
    assert_true(world->side[0].pool.used == 0 && world->side[1].pool.used == 0);
    assert_int_equal(block_total_bytes(), world->blocks);
    loop_free(world->loop);
}

static struct pipe *join(struct world *world, uint64_t delay_us, int rank0, int rank1)
{
    struct pair_options options = {.delay_us = delay_us};
    struct pipe *ends[2];

    assert_int_equal(pair_new(world->loop, &options, ends), 0);
    for (int i = 0; i < 2; i++) {
        struct hello hello = {.max_streams = STREAMS_MAX, .instance = {(uint8_t)(i + 1)}};

        session_add_path(world->side[i].session, ends[i], &hello, "pair", i ? rank1 : rank0);
    }
    return ends[0];
}

static struct pipe *open_from(struct world *world, int side, struct reader *reader)
{
    struct target target;
    enum answer why;
    struct pipe *pipe;

    memset(reader, 0, sizeof(*reader));
    assert_int_equal(target_set(&target, "host.example", 12, 80), 0);
    pipe = stream_open(world->side[side].session, &target, on_answer, reader, &why);
    assert_non_null(pipe);
    pipe_add_listener(pipe, &reader_events, reader);
    return pipe;
}

static uint64_t fill(struct pipe *pipe, uint64_t max)
{
    static uint8_t bytes[8000];
    uint64_t done = 0;

    while (done < max && pipe_room(pipe) > 0) {
        size_t part = pipe_room(pipe) < sizeof(bytes) ? pipe_room(pipe) : sizeof(bytes);

        if (part > max - done)
            part = (size_t)(max - done);
        pipe_write_copy(pipe, bytes, part);
        done += part;
    }
    return done;
}

/* --- The peer by hand --- */

static void raw_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    *(struct pipe **)arg = NULL;
}

static const struct pipe_events raw_events = {.end = raw_end};

static void raw_join(struct world *world)
{
    struct hello hello = {.max_streams = STREAMS_MAX, .instance = {2}};
    struct pipe *ends[2];

    assert_int_equal(pair_new(world->loop, NULL, ends), 0);
    world->raw = ends[1];
    pipe_add_listener(ends[1], &raw_events, &world->raw);
    session_add_path(world->side[0].session, ends[0], &hello, "raw", 0);
}

struct message {
    uint8_t bytes[BLOCK_BYTES];
    size_t len;
};

static void put(struct message *message, enum frame_type type, const void *body, size_t len)
{
    message->len += frame_build_head(message->bytes + message->len, type, len);
    memcpy(message->bytes + message->len, body, len);
    message->len += len;
}

static void put_numbers(struct message *message, enum frame_type type, int count, uint64_t a,
                        uint64_t b, uint64_t c)
{
    uint8_t body[24];
    size_t len = varint_write(body, a);

    if (count > 1)
        len += varint_write(body + len, b);
    if (count > 2)
        len += varint_write(body + len, c);
    put(message, type, body, len);
}

static void put_stream(struct message *message, uint64_t id, uint64_t offset, const void *data,
                       size_t len, bool fin)
{
    message->len += frame_build_stream_head(message->bytes + message->len, id, offset, len, fin);
    memcpy(message->bytes + message->len, data, len);
    message->len += len;
}

static size_t put_open(struct message *message, uint64_t id, uint16_t port)
{
    uint8_t bytes[OPENING_BYTES_MAX];
    struct opening opening = {.kind = OPENING_CONNECT};
    size_t len;

    target_set(&opening.target, "192.0.2.1", 9, port);
    len = opening_build_open(bytes, &opening);
    put_stream(message, id, 0, bytes, len, false);
    return len;
}

static void raw_send(struct world *world, struct message *message)
{
    if (world->raw)
        pipe_write_copy(world->raw, message->bytes, message->len);
    message->len = 0;
}

/* --- A hostile peer --- */

/* GONE for a stream of which not all was sent: once, the pump went on to send what was dropped. */
static void test_gone_before_all_was_sent(void **state)
{
    struct world world;
    struct message message = {.len = 0};
    struct reader reader = {0};
    size_t opened;

    (void)state;
    world_new(&world, 1);
    raw_join(&world);
    opened = put_open(&message, 1, 80);
    raw_send(&world, &message);
    run(&world, 10 * MS_US);
    assert_int_equal(world.side[0].opens, 1);
    pipe_add_listener(world.side[0].opened[0], &reader_events, &reader);
    fill(world.side[0].opened[0], 60000);
    pipe_shutdown(world.side[0].opened[0]);
    put_stream(&message, 1, opened, "x", 1, true); /* and its reader is paused */
    put_numbers(&message, FRAME_WINDOW, 3, 1, 0, 100000);
    put_numbers(&message, FRAME_GONE, 1, 1, 0, 0);
    raw_send(&world, &message);
    run(&world, SEC_US);
    assert_true(reader.over && reader.why == -ECONNRESET);
    world_free(&world);
}

/* A stream that ends inside its OPEN, or its ANSWER, does not stay. */
static void test_end_inside_opening(void **state)
{
    struct world world;
    struct message message = {.len = 0};
    struct reader reader;

    (void)state;
    world_new(&world, 1);
    raw_join(&world);
    open_from(&world, 0, &reader);
    run(&world, 10 * MS_US);
    put_stream(&message, 1, 0, "\0", 1, true);
    put_stream(&message, 0, 0, "", 0, true);
    raw_send(&world, &message);
    run(&world, SEC_US);
    assert_true(reader.answered && reader.answer == ANSWER_PEER_LOST && reader.over);
    assert_int_equal(session_stream_count(world.side[0].session), 0);
    world_free(&world);
}

/* One byte a frame to a reader that does not read: 16 KiB of credit is not a megabyte of memory. */
static void test_one_byte_frames(void **state)
{
    struct world world;
    struct message message = {.len = 0};
    size_t opened, before;
    uint32_t slices;

    (void)state;
    world_new(&world, 1);
    raw_join(&world);
    opened = put_open(&message, 1, 80);
    raw_send(&world, &message);
    run(&world, 10 * MS_US);
    before = block_total_bytes();
    for (uint64_t i = opened; i < STREAM_GUARANTEE_BYTES; i++) {
        put_stream(&message, 1, i, "x", 1, false);
        if (message.len > BLOCK_BYTES - 16)
            raw_send(&world, &message);
    }
    raw_send(&world, &message);
    run(&world, SEC_US);
    slices = stream_find(world.side[0].session, 1)->in.count;
    assert_in_range(slices, 1, 64);
    assert_true(block_total_bytes() - before <= 2 * STREAM_GUARANTEE_BYTES);
    world_free(&world);
}

/* Frames of a quarter of a block and a byte more each keep a block alive: not while they wait. */
static void test_quarter_block_frames(void **state)
{
    static uint8_t bytes[BLOCK_BYTES / 4 + 1];
    struct world world;
    struct message message = {.len = 0};
    size_t opened, before;

    (void)state;
    world_new(&world, 1);
    raw_join(&world);
    for (uint64_t id = 1; id < 41; id += 2)
        opened = put_open(&message, id, 80);
    raw_send(&world, &message);
    run(&world, 10 * MS_US);
    before = block_total_bytes();
    for (uint64_t id = 1; id < 41; id += 2) {
        for (uint64_t at = opened; at + sizeof(bytes) < STREAM_GUARANTEE_BYTES;
             at += sizeof(bytes)) {
            struct slice slice = {block_new(), NULL, 0};

            put_stream(&message, id, at, bytes, sizeof(bytes), false);
            slice.data = block_start(slice.block);
            memcpy(slice.data, message.bytes, slice.len = message.len);
            message.len = 0;
            pipe_write(world.raw, &slice);
        }
    }
    run(&world, SEC_US);
    assert_true(block_total_bytes() - before <= 20 * 2 * STREAM_GUARANTEE_BYTES);
    world_free(&world);
}

/* Makes the session say GONE, and does not read. */
static void test_gone_flood(void **state)
{
    struct world world;
    struct message message = {.len = 0};
    size_t before;

    (void)state;
    world_new(&world, 1);
    raw_join(&world);
    put_stream(&message, 1, 0, "\xff\xff", 2, false); /* not an OPEN: refused, and then reset */
    put_numbers(&message, FRAME_RESET, 2, 1, 0, 0);
    raw_send(&world, &message);
    run(&world, 10 * MS_US);
    pipe_pause(world.raw);
    before = block_total_bytes();
    for (int round = 0; round < 2000 && world.raw; round++) {
        while (message.len < BLOCK_BYTES - 16)
            put_numbers(&message, FRAME_RESET, 2, 1, 0, 0);
        raw_send(&world, &message);
        run(&world, 100);
        assert_true(block_total_bytes() - before < 6 << 20);
    }
    world_free(&world);
}

/* Four bytes are not answered with the list of 600 streams, each time, to a peer that does not
 * read. */
static void test_move_flood(void **state)
{
    struct world world;
    struct message message = {.len = 0};
    size_t before;

    (void)state;
    world_new(&world, 1);
    raw_join(&world);
    for (uint64_t i = 0; i < STREAMS_MAX; i++) {
        put_open(&message, i << 1 | 1, 80);
        if (message.len > BLOCK_BYTES - 64)
            raw_send(&world, &message);
    }
    raw_send(&world, &message);
    run(&world, 100 * MS_US);
    pipe_pause(world.raw);
    before = block_total_bytes();
    for (int round = 0; round < 20 && world.raw; round++) {
        while (message.len < BLOCK_BYTES - 16)
            put_numbers(&message, FRAME_ATTACH, 1, ATTACH_END | ATTACH_MOVE, 0, 0);
        raw_send(&world, &message);
        run(&world, MS_US);
        assert_true(block_total_bytes() - before < 4 << 20);
    }
    world_free(&world);
}

/* Opens, is refused, confirms the refusal's end, and never confirms the reset. */
static void test_tombs_are_bounded(void **state)
{
    struct world world;
    struct message message = {.len = 0};

    (void)state;
    world_new(&world, 1);
    raw_join(&world);
    for (uint64_t i = 0; i < 20 * STREAMS_MAX && world.side[0].session; i++) {
        put_open(&message, i << 1 | 1, 7);
        raw_send(&world, &message);
        run(&world, 100);
        put_numbers(&message, FRAME_WINDOW, 3, i << 1 | 1, 7, 16384);
        raw_send(&world, &message);
        run(&world, 100);
        if (world.side[0].session)
            assert_true(HASH_COUNT(world.side[0].session->tombs) <= 4 * STREAMS_MAX);
    }
    assert_int_equal(world.side[0].ended, ADIT_EPROTO);
    world_free(&world);
}

/* --- Callbacks --- */

struct ping {
    struct world *world;
    int told;
    uint64_t rtt;
    bool closes;
};

static void ping_told(void *arg, const char *label, const struct addr *remote, uint64_t rtt_us)
{
    struct ping *ping = arg;

    (void)label;
    (void)remote;
    ping->told++;
    ping->rtt = rtt_us;
    if (ping->closes && ping->world->side[0].session)
        session_close(ping->world->side[0].session, CLOSE_OK, NULL);
}

static void test_close_inside_ping(void **state)
{
    struct world world;
    struct ping ping = {.world = &world, .closes = true};

    (void)state;
    world_new(&world, 1);
    raw_join(&world);
    run(&world, 19 * SEC_US);
    session_ping(world.side[0].session, 2 * SEC_US, ping_told, &ping);
    run(&world, 10 * SEC_US);
    assert_true(ping.told == 1 && ping.rtt == 0 && !world.side[0].session);
    world_free(&world);
}

static void test_ping_of_a_path_that_goes(void **state)
{
    struct world world;
    struct ping ping = {.world = &world};
    struct pipe *path;

    (void)state;
    world_new(&world, 2);
    path = join(&world, 50 * MS_US, 0, 0);
    run(&world, SEC_US);
    session_ping(world.side[0].session, 60 * SEC_US, ping_told, &ping);
    pipe_abort(path, -ECONNRESET);
    run(&world, SEC_US);
    assert_true(ping.told == 1 && ping.rtt == 0);
    world_free(&world);
}

/* --- Hand-overs --- */

/* All bytes are confirmed, the FIN is on a path that is left in good health and dies then. */
static void test_fin_on_the_path_that_was_left(void **state)
{
    struct world world;
    struct reader client, server = {0};
    struct pipe *first, *stream;

    (void)state;
    world_new(&world, 2);
    first = join(&world, 10 * MS_US, 1, 1);
    stream = open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &server);
    pipe_resume(world.side[1].opened[0]);
    join(&world, 10 * MS_US, 0, 0);
    run(&world, 19 * MS_US); /* the lists arrive, the peer's MOVE is on its way */
    pair_cut(first, true);
    pipe_shutdown(stream);
    run(&world, 10 * SEC_US);
    assert_true(server.eof);
    world_free(&world);
}

static void test_fin_below_the_mark(void **state)
{
    struct world world;
    struct reader client, server = {0};
    struct pipe *first, *stream;

    (void)state;
    world_new(&world, 2);
    first = join(&world, 10 * MS_US, 0, 0);
    join(&world, 10 * MS_US, 1, 1);
    stream = open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &server);
    pipe_resume(world.side[1].opened[0]);
    pipe_write_copy(stream, "x", 1);
    run(&world, 100 * MS_US);
    pair_cut(first, true);
    pipe_shutdown(stream);
    run(&world, 100);
    for (int i = 0; i < 2; i++) { /* old keys: the move is from a path that was just heard */
        struct session *session = world.side[i].session;

        session->active->heard_at = loop_now(world.loop);
        session->active->stale = true;
        session_choose_path(session, NULL);
    }
    run(&world, 400 * MS_US);
    assert_true(server.eof);
    world_free(&world);
}

/* Ends that disagree which path is better settle. */
static void test_ranks_that_disagree(void **state)
{
    struct world world;
    struct session_info info;

    (void)state;
    world_new(&world, 2);
    join(&world, 10 * MS_US, 0, 1);
    join(&world, 10 * MS_US, 1, 0);
    run(&world, 10 * SEC_US);
    session_describe(world.side[0].session, &info);
    assert_true(info.moves <= 2);
    session_describe(world.side[1].session, &info);
    assert_true(info.moves <= 2);
    world_free(&world);
}

/* --- Time --- */

/* The only path falls silent, its pipe does not end: new streams fail, and the session is held as
 * if it had none. */
static void test_only_path_is_silent(void **state)
{
    struct world world;
    struct reader old, fresh;

    (void)state;
    world_new(&world, 2);
    pair_cut(join(&world, 10 * MS_US, 0, 0), false);
    open_from(&world, 0, &old);
    run(&world, SEC_US);
    assert_true(old.answered);
    for (struct path *path = world.side[0].session->paths; path->session; path++)
        pair_cut(path->pipe, true);
    run(&world, SEC_US);
    open_from(&world, 0, &fresh);
    run(&world, 13 * SEC_US);
    assert_true(fresh.answered && fresh.answer == ANSWER_NO_PATH);
    assert_false(old.over);
    run(&world, 200 * SEC_US);
    assert_true(old.over && !world.side[0].session && !world.side[1].session);
    world_free(&world);
}

/* A stall is not a round trip: the next one is noticed as soon as the first. */
static void test_stall_is_no_round_trip(void **state)
{
    struct world world;
    struct reader reader;
    struct session_info info;
    struct pipe *path, *stream;

    (void)state;
    world_new(&world, 2);
    path = join(&world, 10 * MS_US, 0, 0);
    stream = open_from(&world, 0, &reader);
    run(&world, SEC_US);
    pair_cut(path, true);
    pipe_write_copy(stream, "x", 1);
    run(&world, 20 * SEC_US);
    pair_cut(path, false);
    run(&world, SEC_US);
    session_describe(world.side[0].session, &info);
    assert_true(info.path[0].state == PATH_ACTIVE && info.path[0].rtt_us < 100 * MS_US);
    world_free(&world);
}

/* --- Credit --- */

/* A stream whose sink is another stream gets new credit when that has sent. */
static void test_stream_into_stream(void **state)
{
    struct world world;
    struct reader client;
    struct pipe *stream;
    uint64_t written = 0, total = 1 << 20;

    (void)state;
    world_new(&world, 2);
    join(&world, MS_US, 0, 0);
    stream = open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_link(world.side[1].opened[0], world.side[1].opened[0]);
    pipe_resume(world.side[1].opened[0]);
    for (int i = 0; i < 2000 && client.got < total; i++) {
        written += fill(stream, total - written);
        run(&world, 5 * MS_US);
    }
    assert_int_equal(client.got, total);
    world_free(&world);
}

/* What came before the peer's close is delivered, however slow the reader. */
static void test_close_keeps_what_was_sent(void **state)
{
    struct world world;
    struct reader client, server = {0};
    struct pipe *stream;

    (void)state;
    world_new(&world, 2);
    join(&world, 10 * MS_US, 0, 0);
    stream = open_from(&world, 0, &client);
    run(&world, SEC_US);
    pipe_add_listener(world.side[1].opened[0], &reader_events, &server);
    pipe_write_copy(stream, "last words", 10);
    pipe_close(stream);
    run(&world, SEC_US);
    assert_int_equal(session_stream_count(world.side[0].session), 0);
    pipe_write_copy(world.side[1].opened[0], "too late", 8);
    pipe_resume(world.side[1].opened[0]);
    run(&world, SEC_US);
    assert_true(server.got == 10 && server.eof && server.over);
    assert_int_equal(session_stream_count(world.side[1].session), 0);
    world_free(&world);
}

/* --- Reassembly --- */

/* A window of small frames behind a gap fits: nobody would send again what was dropped. */
static void test_many_small_pieces(void **state)
{
    struct gaps gaps = {0};
    size_t before = block_total_bytes();
    uint64_t offset = 1;

    (void)state;
    for (int i = 0; i < 60000; i++) {
        struct slice slice = {block_new(), NULL, 1 + (size_t)i % 300};

        slice.data = block_start(slice.block);
        memset(slice.data, (int)(offset % 251), slice.len);
        slice.data[0] = (uint8_t)i;
        offset += slice.len;
        assert_true(gaps_add(&gaps, offset - slice.len, &slice));
    }
    assert_true(block_total_bytes() - before < 3 * offset);
    offset = 1;
    for (int i = 0; i < 60000;) {
        struct slice slice;
        size_t at = 0;

        assert_true(gaps_take(&gaps, offset, &slice));
        for (offset += slice.len; at < slice.len; at += 1 + (size_t)i++ % 300)
            assert_int_equal(slice.data[at], (uint8_t)i);
        assert_int_equal(at, slice.len);
        slice_drop(&slice);
    }
    assert_int_equal(gaps.count, 0);
    assert_int_equal(block_total_bytes(), before);
}

static uint8_t gap_byte(uint64_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 8));
}

/* Pieces at random against a plain array. */
static void test_gaps_at_random(void **state)
{
    enum { RANGE = 60000 };
    static bool there[RANGE];
    struct loop *loop = loop_new_virtual(11);
    size_t before = block_total_bytes();

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct gaps gaps = {0};

        memset(there, 0, sizeof(there));
        for (int i = 0; i < 300; i++) {
            uint64_t dice = loop_random64(loop), offset = 1 + dice % (RANGE - 12000);
            struct slice slice = {block_new(), NULL, 1 + (dice >> 32) % (i % 3 ? 300 : 12000)};
            size_t len = slice.len;

            slice.data = block_start(slice.block);
            for (size_t k = 0; k < len; k++)
                slice.data[k] = gap_byte(offset + k);
            if (gaps_add(&gaps, offset, &slice))
                memset(there + offset, true, len);
        }
        for (uint64_t at = 0; at < RANGE;) {
            struct slice slice;

            if (!gaps_take(&gaps, at, &slice)) {
                at++; /* dropped ones may be there in part */
                continue;
            }
            for (size_t k = 0; k < slice.len; k++) {
                assert_int_equal(slice.data[k], gap_byte(at + k));
                there[at + k] = false;
            }
            at += slice.len;
            slice_drop(&slice);
        }
        for (size_t k = 0; k < RANGE; k++)
            assert_false(there[k]);
        assert_true(gaps.count == 0 && gaps.runs == 0);
    }
    assert_int_equal(block_total_bytes(), before);
    loop_free(loop);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gone_before_all_was_sent),
        cmocka_unit_test(test_end_inside_opening),
        cmocka_unit_test(test_one_byte_frames),
        cmocka_unit_test(test_quarter_block_frames),
        cmocka_unit_test(test_gone_flood),
        cmocka_unit_test(test_move_flood),
        cmocka_unit_test(test_tombs_are_bounded),
        cmocka_unit_test(test_close_inside_ping),
        cmocka_unit_test(test_ping_of_a_path_that_goes),
        cmocka_unit_test(test_fin_on_the_path_that_was_left),
        cmocka_unit_test(test_fin_below_the_mark),
        cmocka_unit_test(test_ranks_that_disagree),
        cmocka_unit_test(test_only_path_is_silent),
        cmocka_unit_test(test_stall_is_no_round_trip),
        cmocka_unit_test(test_stream_into_stream),
        cmocka_unit_test(test_close_keeps_what_was_sent),
        cmocka_unit_test(test_many_small_pieces),
        cmocka_unit_test(test_gaps_at_random),
    };

    log_init(LOG_ERROR);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
