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
#include "session/opening.h"
#include "session_world.h"

static void begin(struct world *world)
{
    struct session_config config = SESSION_CONFIG_DEFAULT;

    config.max_streams = STREAMS_MAX;
    world_new_with(world, &config, 16 << 20);
}

/* --- The peer by hand --- */

/* Side 0 has a session; in the place of side 1 the test speaks. */
struct raw {
    struct world world;
    struct side *side; /* whom it is done to */
    struct pipe *pipe; /* our end of the path; NULL: it has ended */
    uint8_t bytes[BLOCK_BYTES];
    size_t len; /* of what the next raw_send() sends */
};

static void raw_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    ((struct raw *)arg)->pipe = NULL;
}

static const struct pipe_events raw_events = {.end = raw_end};

static void raw_begin(struct raw *raw)
{
    struct hello hello = {.max_streams = STREAMS_MAX, .instance = {2}};
    struct pipe *ends[2];

    memset(raw, 0, sizeof(*raw));
    begin(&raw->world);
    session_fail(raw->world.side[1].session, -ECANCELED, "it is spoken for by hand");
    raw->side = &raw->world.side[0];
    assert_int_equal(pair_new(raw->world.loop, NULL, ends), 0);
    raw->pipe = ends[1];
    pipe_add_listener(ends[1], &raw_events, raw);
    session_add_path(raw->side->session, ends[0], &hello, "raw", 0);
}

static void raw_free(struct raw *raw)
{
    if (raw->pipe)
        pipe_abort(raw->pipe, -ECONNRESET);
    world_free(&raw->world);
}

static void put(struct raw *raw, enum frame_type type, const void *body, size_t len)
{
    raw->len += frame_build_head(raw->bytes + raw->len, type, len);
    memcpy(raw->bytes + raw->len, body, len);
    raw->len += len;
}

/* A frame that is nothing but these numbers. */
#define PUT_NUMBERS(raw, type, ...)                         \
    put_numbers(raw, type, (const uint64_t[]){__VA_ARGS__}, \
                sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void put_numbers(struct raw *raw, enum frame_type type, const uint64_t *numbers,
                        size_t count)
{
    uint8_t body[24];
    size_t len = 0;

    for (size_t i = 0; i < count; i++)
        len += varint_write(body + len, numbers[i]);
    put(raw, type, body, len);
}

static void put_stream(struct raw *raw, uint64_t id, uint64_t offset, const void *data, size_t len,
                       bool fin)
{
    raw->len += frame_build_stream_head(raw->bytes + raw->len, id, offset, len, fin);
    memcpy(raw->bytes + raw->len, data, len);
    raw->len += len;
}

/* Returns how many bytes of the stream it takes. */
static size_t put_open(struct raw *raw, uint64_t id)
{
    uint8_t bytes[OPENING_BYTES_MAX];
    struct opening opening = {.kind = OPENING_CONNECT};
    size_t len;

    target_set(&opening.target, "192.0.2.1", 9, 80);
    len = opening_build_open(bytes, &opening);
    put_stream(raw, id, 0, bytes, len, false);
    return len;
}

static void raw_send(struct raw *raw)
{
    if (raw->pipe)
        pipe_write_copy(raw->pipe, raw->bytes, raw->len);
    raw->len = 0;
}

static void raw_send_and_run(struct raw *raw, uint64_t us)
{
    raw_send(raw);
    run(&raw->world, us);
}

/* Sends the frame that was put, again and again by the block, and does not read what it makes the
 * session say, which must not hold more than this. */
static void flood(struct raw *raw, int rounds, uint64_t round_us, size_t most)
{
    size_t len = raw->len, before = block_total_bytes();

    pipe_pause(raw->pipe);
    for (int round = 0; round < rounds && raw->pipe; round++) {
        for (raw->len = len; raw->len < BLOCK_BYTES - 16; raw->len += len)
            memcpy(raw->bytes + raw->len, raw->bytes, len);
        raw_send_and_run(raw, round_us);
        assert_true(block_total_bytes() - before < most);
    }
}

/* --- A hostile peer --- */

/* GONE for a stream of which not all was sent: once, the pump went on to send what was dropped. */
static void test_gone_before_all_was_sent(void **state)
{
    struct raw raw;
    struct reader reader = {0};
    size_t opened;

    (void)state;
    raw_begin(&raw);
    opened = put_open(&raw, 1);
    raw_send_and_run(&raw, 10 * MS_US);
    assert_int_equal(raw.side->opens, 1);
    pipe_add_listener(raw.side->opened[0], &reader_events, &reader);
    fill(raw.side->opened[0], 60000);
    pipe_shutdown(raw.side->opened[0]);
    put_stream(&raw, 1, opened, "x", 1, true); /* and its reader is paused */
    PUT_NUMBERS(&raw, FRAME_WINDOW, 1, 0, 100000);
    PUT_NUMBERS(&raw, FRAME_GONE, 1);
    raw_send_and_run(&raw, SEC_US);
    assert_true(reader.over && reader.why == -ECONNRESET);
    raw_free(&raw);
}

/* A stream that ends inside its OPEN, or its ANSWER, does not stay. */
static void test_end_inside_opening(void **state)
{
    struct raw raw;
    struct reader reader;

    (void)state;
    raw_begin(&raw);
    assert_non_null(open_from(&raw.world, 0, &reader));
    run(&raw.world, 10 * MS_US);
    put_stream(&raw, 1, 0, "\0", 1, true);
    put_stream(&raw, 0, 0, "", 0, true);
    raw_send_and_run(&raw, SEC_US);
    assert_true(reader.answered && reader.answer == ANSWER_PEER_LOST && reader.over);
    assert_int_equal(session_stream_count(raw.side->session), 0);
    raw_free(&raw);
}

/* One byte a frame to a reader that does not read: 16 KiB of credit is not a megabyte of memory. */
static void test_one_byte_frames(void **state)
{
    struct raw raw;
    size_t opened, before;

    (void)state;
    raw_begin(&raw);
    opened = put_open(&raw, 1);
    raw_send_and_run(&raw, 10 * MS_US);
    before = block_total_bytes();
    for (uint64_t i = opened; i < STREAM_GUARANTEE_BYTES; i++) {
        put_stream(&raw, 1, i, "x", 1, false);
        if (raw.len > BLOCK_BYTES - 16)
            raw_send(&raw);
    }
    raw_send_and_run(&raw, SEC_US);
    assert_in_range(stream_find(raw.side->session, 1)->in.count, 1, 64);
    assert_true(block_total_bytes() - before <= 2 * STREAM_GUARANTEE_BYTES);
    raw_free(&raw);
}

/* Frames of a quarter of a block and a byte more each keep a block alive: not while they wait. */
static void test_quarter_block_frames(void **state)
{
    static uint8_t bytes[BLOCK_BYTES / 4 + 1];
    struct raw raw;
    size_t opened, before;

    (void)state;
    raw_begin(&raw);
    for (uint64_t id = 1; id < 41; id += 2)
        opened = put_open(&raw, id);
    raw_send_and_run(&raw, 10 * MS_US);
    before = block_total_bytes();
    for (uint64_t id = 1; id < 41; id += 2) {
        for (uint64_t at = opened; at + sizeof(bytes) < STREAM_GUARANTEE_BYTES;
             at += sizeof(bytes)) {
            struct slice slice = {block_new(), NULL, 0};

            put_stream(&raw, id, at, bytes, sizeof(bytes), false);
            slice.data = block_start(slice.block);
            memcpy(slice.data, raw.bytes, slice.len = raw.len);
            raw.len = 0;
            pipe_write(raw.pipe, &slice);
        }
    }
    run(&raw.world, SEC_US);
    assert_true(block_total_bytes() - before <= 20 * 2 * STREAM_GUARANTEE_BYTES);
    raw_free(&raw);
}

/* Makes the session say GONE, and does not read. */
static void test_gone_flood(void **state)
{
    struct raw raw;

    (void)state;
    raw_begin(&raw);
    put_stream(&raw, 1, 0, "\xff\xff", 2, false); /* not an OPEN: refused, and then reset */
    PUT_NUMBERS(&raw, FRAME_RESET, 1, 0);
    raw_send_and_run(&raw, 10 * MS_US);
    PUT_NUMBERS(&raw, FRAME_RESET, 1, 0);
    flood(&raw, 2000, 100, 6 << 20);
    raw_free(&raw);
}

/* Four bytes are not answered with the list of 600 streams, each time, to a peer that does not
 * read. */
static void test_move_flood(void **state)
{
    struct raw raw;

    (void)state;
    raw_begin(&raw);
    for (uint64_t i = 0; i < STREAMS_MAX; i++) {
        put_open(&raw, i << 1 | 1);
        if (raw.len > BLOCK_BYTES - 64)
            raw_send(&raw);
    }
    raw_send_and_run(&raw, 100 * MS_US);
    PUT_NUMBERS(&raw, FRAME_ATTACH, ATTACH_END | ATTACH_MOVE);
    flood(&raw, 20, MS_US, 4 << 20);
    raw_free(&raw);
}

/* Opens, is refused, confirms the refusal's end, and never confirms the reset. */
static void test_tombs_are_bounded(void **state)
{
    struct raw raw;

    (void)state;
    raw_begin(&raw);
    raw.side->refuse = true;
    for (uint64_t i = 0; i < 20 * STREAMS_MAX && raw.side->session; i++) {
        put_open(&raw, i << 1 | 1);
        raw_send_and_run(&raw, 100);
        PUT_NUMBERS(&raw, FRAME_WINDOW, i << 1 | 1, 7, 16384);
        raw_send_and_run(&raw, 100);
        if (raw.side->session)
            assert_true(HASH_COUNT(raw.side->session->tombs) <= 4 * STREAMS_MAX);
    }
    assert_int_equal(raw.side->ended, ADIT_EPROTO);
    raw_free(&raw);
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
    struct raw raw;
    struct ping ping = {.world = &raw.world, .closes = true};

    (void)state;
    raw_begin(&raw);
    run(&raw.world, 19 * SEC_US);
    session_ping(raw.side->session, 2 * SEC_US, ping_told, &ping);
    run(&raw.world, 10 * SEC_US);
    assert_true(ping.told == 1 && ping.rtt == 0 && !raw.side->session);
    raw_free(&raw);
}

static void test_ping_of_a_path_that_goes(void **state)
{
    struct world world;
    struct ping ping = {.world = &world};
    struct pipe *path;

    (void)state;
    begin(&world);
    path = join(&world, 50 * MS_US, 0, 0);
    run(&world, SEC_US);
    session_ping(world.side[0].session, 60 * SEC_US, ping_told, &ping);
    pipe_abort(path, -ECONNRESET);
    run(&world, SEC_US);
    assert_true(ping.told == 1 && ping.rtt == 0);
    world_free(&world);
}

/* --- Hand-overs --- */

/* Two sessions with a path of 10 ms, and a stream over it, which the far side accepts. */
struct conversation {
    struct world world;
    struct pipe *path, *stream, *far;
    struct reader client, server;
};

/* Nothing is read at the far side before pipe_resume(). */
static void converse(struct conversation *c, int rank)
{
    memset(c, 0, sizeof(*c));
    begin(&c->world);
    c->path = join(&c->world, 10 * MS_US, 0, rank);
    c->stream = open_from(&c->world, 0, &c->client);
    assert_non_null(c->stream);
    run(&c->world, SEC_US);
    assert_int_equal(c->world.side[1].opens, 1);
    c->far = c->world.side[1].opened[0];
    pipe_add_listener(c->far, &reader_events, &c->server);
}

/* All bytes are confirmed, the FIN is on a path that is left in good health and dies then. */
static void test_fin_on_the_path_that_was_left(void **state)
{
    struct conversation c;

    (void)state;
    converse(&c, 1);
    pipe_resume(c.far);
    join(&c.world, 10 * MS_US, 0, 0);
    run(&c.world, 19 * MS_US); /* the lists arrive, the peer's MOVE is on its way */
    pair_cut(c.path, true);
    pipe_shutdown(c.stream);
    run(&c.world, 10 * SEC_US);
    assert_true(c.server.eof);
    world_free(&c.world);
}

static void test_fin_below_the_mark(void **state)
{
    struct conversation c;

    (void)state;
    converse(&c, 0);
    pipe_resume(c.far);
    join(&c.world, 10 * MS_US, 0, 1);
    run(&c.world, SEC_US);
    pipe_write_copy(c.stream, "x", 1);
    run(&c.world, 100 * MS_US);
    pair_cut(c.path, true);
    pipe_shutdown(c.stream);
    run(&c.world, 100);
    for (int i = 0; i < 2; i++) { /* old keys: the move is from a path that was just heard */
        struct session *session = c.world.side[i].session;

        session->active->heard_at = loop_now(c.world.loop);
        session->active->stale = true;
        session_choose_path(session, NULL);
    }
    run(&c.world, 400 * MS_US);
    assert_true(c.server.eof);
    world_free(&c.world);
}

/* Ends that disagree which path is better settle. */
static void test_ranks_that_disagree(void **state)
{
    struct world world;
    struct session_info info;

    (void)state;
    begin(&world);
    join_ranked(&world, 10 * MS_US, 0, 0, 1);
    join_ranked(&world, 10 * MS_US, 0, 1, 0);
    run(&world, 10 * SEC_US);
    for (int i = 0; i < 2; i++) {
        session_describe(world.side[i].session, &info);
        assert_true(info.moves <= 2);
    }
    world_free(&world);
}

/* --- Time --- */

/* The only path falls silent, its pipe does not end: new streams fail, and the session is held as
 * if it had none. */
static void test_only_path_is_silent(void **state)
{
    struct conversation c;
    struct reader fresh;

    (void)state;
    converse(&c, 0);
    assert_true(c.client.answered);
    pair_cut(c.path, true);
    run(&c.world, SEC_US);
    assert_non_null(open_from(&c.world, 0, &fresh));
    run(&c.world, 13 * SEC_US);
    assert_true(fresh.answered && fresh.answer == ANSWER_NO_PATH);
    assert_false(c.client.over);
    run(&c.world, 200 * SEC_US);
    assert_true(c.client.over && !c.world.side[0].session && !c.world.side[1].session);
    world_free(&c.world);
}

/* A stall is not a round trip: the next one is noticed as soon as the first. */
static void test_stall_is_no_round_trip(void **state)
{
    struct conversation c;
    struct session_info info;

    (void)state;
    converse(&c, 0);
    pair_cut(c.path, true);
    pipe_write_copy(c.stream, "x", 1);
    run(&c.world, 20 * SEC_US);
    pair_cut(c.path, false);
    run(&c.world, SEC_US);
    session_describe(c.world.side[0].session, &info);
    assert_true(info.path[0].state == PATH_ACTIVE && info.path[0].rtt_us < 100 * MS_US);
    world_free(&c.world);
}

/* --- Credit --- */

/* A stream whose sink is another stream gets new credit when that has sent. */
static void test_stream_into_stream(void **state)
{
    struct conversation c;
    uint64_t written = 0, total = 1 << 20;

    (void)state;
    converse(&c, 0);
    pipe_link(c.far, c.far);
    pipe_resume(c.far);
    for (int i = 0; i < 2000 && c.client.got < total; i++) {
        written += fill(c.stream, total - written);
        run(&c.world, 5 * MS_US);
    }
    assert_int_equal(c.client.got, total);
    world_free(&c.world);
}

/* What came before the peer's close is delivered, however slow the reader. */
static void test_close_keeps_what_was_sent(void **state)
{
    struct conversation c;

    (void)state;
    converse(&c, 0);
    pipe_write_copy(c.stream, "last words", 10);
    pipe_close(c.stream);
    run(&c.world, SEC_US);
    assert_int_equal(session_stream_count(c.world.side[0].session), 0);
    pipe_write_copy(c.far, "too late", 8);
    pipe_resume(c.far);
    run(&c.world, SEC_US);
    assert_true(c.server.got == 10 && c.server.eof && c.server.over);
    assert_int_equal(session_stream_count(c.world.side[1].session), 0);
    world_free(&c.world);
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
