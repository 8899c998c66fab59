/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A seeded model of two nodes in virtual time: a session at each end, paths that are pairs in
 * memory, applications that open streams, write, read slowly, half-close, close, reset, while paths
 * are cut both ways or one way, die, come back and are added, by both ends at once, which do not
 * agree about the paths' ranks; in some worlds sessions are closed in the middle of anything. Every
 * byte is checked against a function of stream, direction and offset; at the end every stream that
 * nobody reset must have arrived whole and closed at both ends, the exit must have been asked for
 * each target once, and nothing may be left: no stream, no tomb, no byte in the pool, no block.
 *
 * A failure prints its seed; `test-session-model SEED` runs that one alone, with the log.
 * ADIT_MODEL_RUNS and ADIT_MODEL_FIRST choose how many seeds are run, and from which on.
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

#define APPS_MAX     64
#define PATHS_MAX    8
#define RUNS_DEFAULT 300 /* make check-long: thousands */

struct world;
struct end;

/* One side of a stream. */
struct app {
    struct end *end;
    struct pipe *pipe; /* NULL: over */
    uint32_t number;   /* which stream: the port of its target */
    uint64_t to_write, written, got;
    bool opener, answered, eof_sent, got_eof, over, reset, closed;
    int why;
    struct timer timer;
};

struct end {
    struct world *world;
    int side;
    struct session *session;
    bool over;
    int why;
    enum session_want want;
    struct session_pool pool;
    struct app apps[APPS_MAX];
    uint32_t opens_seen[APPS_MAX];
};

struct world {
    struct loop *loop;
    uint64_t seed;
    struct end ends[2];
    struct pipe *paths[PATHS_MAX][2];
    bool cut[PATHS_MAX];
    bool deaf[PATHS_MAX][2]; /* this end of the path hears nothing: one direction is cut */
    uint32_t streams;
    struct timer chaos, redial;
    bool calm; /* no more chaos: everything must finish */
    bool resets;
    bool abrupt; /* sessions are closed at any moment, inside callbacks too */
};

static uint32_t dice(struct world *world, uint32_t sides)
{
    return (uint32_t)(loop_random64(world->loop) % sides);
}

static uint8_t byte_of(uint32_t number, int side, uint64_t offset)
{
    return (uint8_t)(offset * 131 + (offset >> 8) * 17 + (offset >> 16) * 29 + number * 7 +
                     (uint32_t)side * 31);
}

#define CHECK(world, condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %llu: %s:%d: %s\n", (unsigned long long)(world)->seed, __FILE__, \
                    __LINE__, #condition);                                                         \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

/* Sometimes closes a session, wherever we are. */
static void maybe_close(struct world *world, uint32_t sides)
{
    struct end *end = &world->ends[dice(world, 2)];

    if (world->abrupt && !world->calm && end->session && dice(world, sides) == 0)
        session_close(end->session, CLOSE_OK, NULL);
}

/* --- Applications --- */

static void app_step(void *arg);

static void app_later(struct app *app)
{
    struct world *world = app->end->world;

    timer_set_in(world->loop, &app->timer, world->calm ? 1000 : 1 + dice(world, 30000));
}

static void app_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                        void *arg)
{
    struct app *app = arg;
    struct world *world = app->end->world;

    (void)from;
    for (size_t i = 0; i < data->len; i++)
        CHECK(world, data->data[i] == byte_of(app->number, !app->end->side, app->got + i));
    app->got += data->len;
    maybe_close(world, 3000);
    if (!world->calm && dice(world, 4) == 0) {
        pipe_pause(pipe);
        app_later(app);
    }
}

static void app_eof(struct pipe *pipe, void *arg)
{
    struct app *app = arg;

    (void)pipe;
    CHECK(app->end->world, !app->got_eof);
    app->got_eof = true;
}

static void app_end(struct pipe *pipe, int why, void *arg)
{
    struct app *app = arg;

    CHECK(app->end->world, app->pipe == pipe && !app->over);
    app->over = true;
    app->why = why;
    app->pipe = NULL;
    timer_cancel(app->end->world->loop, &app->timer);
}

static const struct pipe_events app_events = {
    .message = app_message, .eof = app_eof, .end = app_end};

static void app_step(void *arg)
{
    struct app *app = arg;
    struct world *world = app->end->world;

    if (!app->pipe)
        return;
    pipe_resume(app->pipe);
    if (!app->pipe)
        return;
    if (!app->opener || app->answered) {
        if (world->resets && !world->calm && dice(world, 200) == 0) {
            app->reset = true;
            pipe_abort(app->pipe, -ECONNABORTED);
            return;
        }
    }
    if (app->written < app->to_write) {
        size_t room = pipe_room(app->pipe);
        size_t len = 1 + dice(world, dice(world, 3) ? 300 : 40000);
        if (len > app->to_write - app->written)
            len = (size_t)(app->to_write - app->written);
        if (len > room)
            len = room;
        while (len > 0) {
            size_t part = len < BLOCK_READ_BYTES ? len : BLOCK_READ_BYTES;
            struct block *block = block_new();
            struct slice slice = {block, block_start(block), part};
            for (size_t i = 0; i < part; i++)
                slice.data[i] = byte_of(app->number, app->end->side, app->written + i);
            app->written += part;
            len -= part;
            pipe_write(app->pipe, &slice);
        }
    } else if (!app->eof_sent) {
        app->eof_sent = true;
        app->closed = world->resets && dice(world, 4) == 0 && (!app->opener || app->answered);
        if (app->closed)
            pipe_close(app->pipe);
        else
            pipe_shutdown(app->pipe);
    } else if (!world->resets || world->calm) {
        return; /* nothing left to do but to listen */
    }
    app_later(app);
}

static void app_start(struct app *app, struct end *end, uint32_t number, struct pipe *pipe,
                      bool opener)
{
    struct world *world = end->world;

    app->end = end;
    app->number = number;
    app->pipe = pipe;
    app->opener = opener;
    app->to_write = dice(world, 5) == 0 ? dice(world, 2000000) : dice(world, 20000);
    timer_init(&app->timer, app_step, app);
    pipe_add_listener(pipe, &app_events, app);
    app_later(app);
}

static void on_answered(void *arg, enum answer answer, const struct addr *bound)
{
    struct app *app = arg;

    (void)bound;
    CHECK(app->end->world, !app->answered);
    app->answered = true;
    maybe_close(app->end->world, 200);
    if (answer != ANSWER_OK)
        app->reset = true;
}

/* --- Ends --- */

static void on_open(struct session *session, struct pipe *stream, const struct opening *opening,
                    void *arg)
{
    struct end *end = arg;
    uint32_t number = opening->target.port - 1u;

    CHECK(end->world, end->session == session && number < APPS_MAX);
    end->opens_seen[number]++;
    CHECK(end->world, end->opens_seen[number] == 1); /* no dial repeated */
    stream_answer(stream, ANSWER_OK, NULL);
    app_start(&end->apps[number], end, number, stream, false);
    pipe_resume(stream);
    maybe_close(end->world, 200);
}

static void on_want(struct session *session, enum session_want want, void *arg)
{
    struct end *end = arg;

    (void)session;
    end->want = want;
    if (want != SESSION_WANTS_NOTHING && !timer_is_set(&end->world->redial))
        timer_set_in(end->world->loop, &end->world->redial, 1 + dice(end->world, 300000));
    maybe_close(end->world, 100);
}

static void on_session_end(struct session *session, int why, const char *text, void *arg)
{
    struct end *end = arg;

    (void)session;
    (void)text;
    end->session = NULL;
    end->over = true;
    end->why = why;
}

static const struct session_events end_events = {
    .open = on_open, .want = on_want, .end = on_session_end};

static void path_ended(struct pipe *pipe, int why, void *arg)
{
    struct world *world = arg;

    (void)why;
    for (int i = 0; i < PATHS_MAX; i++)
        for (int side = 0; side < 2; side++)
            if (world->paths[i][side] == pipe)
                world->paths[i][side] = NULL;
}

static const struct pipe_events path_watch = {.end = path_ended};

static void add_path(struct world *world)
{
    struct pair_options options = {.delay_us = dice(world, 60000),
                                   .rate = dice(world, 2) ? 0 : 200000 + dice(world, 5000000)};

    if (world->calm)
        options.rate = 0;
    for (int i = 0; i < PATHS_MAX; i++) {
        struct pipe *ends[2];
        if (world->paths[i][0] || world->paths[i][1])
            continue;
        CHECK(world, pair_new(world->loop, &options, ends) == 0);
        world->cut[i] = world->deaf[i][0] = world->deaf[i][1] = false;
        for (int side = 0; side < 2; side++) {
            world->paths[i][side] = ends[side];
            pipe_add_listener(ends[side], &path_watch, world);
        }
        for (int side = 0; side < 2; side++) {
            struct hello hello = {.max_streams = 100, .instance = {(uint8_t)(1 + !side)}};
            if (!world->ends[side].session)
                pipe_abort(ends[side], -ECONNRESET);
            else
                session_add_path(world->ends[side].session, ends[side], &hello, "model",
                                 (int)dice(world, 2));
        }
        return;
    }
}

static void on_redial(void *arg)
{
    struct world *world = arg;

    if (!world->ends[0].session || !world->ends[1].session)
        return;
    add_path(world);
    if (world->ends[0].want != SESSION_WANTS_NOTHING ||
        world->ends[1].want != SESSION_WANTS_NOTHING)
        timer_set_in(world->loop, &world->redial, 500000 + dice(world, 500000));
}

/* --- Chaos --- */

static void open_stream(struct world *world)
{
    struct end *end = &world->ends[dice(world, 2)];
    struct target target;
    enum answer why;
    uint32_t number = world->streams;
    struct pipe *pipe;

    if (number >= APPS_MAX)
        return;
    if (!end->session)
        return;
    target_set(&target, "192.0.2.1", 9, (uint16_t)(number + 1));
    pipe = stream_open(end->session, &target, on_answered, &end->apps[number], &why);
    if (!pipe && end->session->over)
        return;
    CHECK(world, pipe != NULL);
    world->streams++;
    app_start(&end->apps[number], end, number, pipe, true);
}

static void on_ping(void *arg, const char *label, const struct addr *remote, uint64_t rtt_us)
{
    (void)label;
    (void)remote;
    (void)rtt_us;
    maybe_close(arg, 20);
}

static void on_chaos(void *arg)
{
    struct world *world = arg;
    int i = (int)dice(world, PATHS_MAX), side = (int)dice(world, 2);
    struct end *end = &world->ends[side];

    maybe_close(world, 200);
    switch (dice(world, 14)) {
    case 0:
    case 1:
        if (world->paths[i][0] && world->paths[i][1]) {
            world->cut[i] = !world->cut[i];
            pair_cut(world->paths[i][0], world->cut[i]);
        }
        break;
    case 2:
        if (world->paths[i][0])
            pipe_abort(world->paths[i][0], -ECONNRESET);
        break;
    case 3:
        add_path(world);
        break;
    case 4:
        if (end->session)
            session_recheck(end->session);
        break;
    case 5:
        if (end->session)
            session_ping(end->session, 1 + dice(world, 500000), on_ping, world);
        break;
    case 6:
        if (world->paths[i][side]) {
            world->deaf[i][side] = !world->deaf[i][side];
            if (world->deaf[i][side])
                pipe_pause(world->paths[i][side]);
            else
                pipe_resume(world->paths[i][side]);
        }
        break;
    default:
        open_stream(world);
        break;
    }
    timer_set_in(world->loop, &world->chaos, dice(world, 400000));
}

static bool run_until(struct world *world, uint64_t end)
{
    while (loop_now(world->loop) < end)
        if (!loop_turn(world->loop, end - loop_now(world->loop)))
            return false;
    return true;
}

static void all_arrived(struct world *world)
{
    for (uint32_t i = 0; i < world->streams; i++) {
        struct app *a = &world->ends[0].apps[i], *b = &world->ends[1].apps[i];
        bool reset = a->reset || b->reset;

        if (!a->end || !b->end) { /* reset before the other side heard of it */
            CHECK(world, reset);
            continue;
        }
        CHECK(world, a->over && b->over);
        if (reset || (a->closed && b->closed))
            continue;
        if (a->closed || b->closed) { /* what it had sent arrives; it wants nothing more */
            CHECK(world, a->closed ? b->got == a->to_write : a->got == b->to_write);
            continue;
        }
        CHECK(world, a->why == 0 && b->why == 0);
        CHECK(world, a->got_eof && b->got_eof);
        CHECK(world, a->got == b->to_write && b->got == a->to_write);
        CHECK(world, a->opener ? a->answered : b->answered);
    }
}

/* Sessions were closed in the middle: everybody has been told, nothing is left. */
static void end_abruptly(struct world *world)
{
    timer_cancel(world->loop, &world->chaos);
    timer_cancel(world->loop, &world->redial);
    world->calm = true;
    for (int side = 0; side < 2; side++)
        if (world->ends[side].session)
            session_close(world->ends[side].session, CLOSE_OK, NULL);
    for (int i = 0; i < PATHS_MAX; i++)
        for (int side = 0; side < 2; side++)
            if (world->paths[i][side])
                pipe_abort(world->paths[i][side], -ECONNRESET);
    run_until(world, loop_now(world->loop) + 60 * SEC_US);
    for (int side = 0; side < 2; side++) {
        CHECK(world, world->ends[side].over && world->ends[side].pool.used == 0);
        for (uint32_t i = 0; i < world->streams; i++)
            CHECK(world, !world->ends[side].apps[i].end || world->ends[side].apps[i].over);
    }
}

static void run_model(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    size_t blocks = block_total_bytes();
    struct node_id ids[2] = {{{1}}, {{2}}};
    struct session_config config = SESSION_CONFIG_DEFAULT;

    world->seed = seed;
    world->loop = loop_new_virtual(seed);
    world->resets = dice(world, 2);
    world->abrupt = dice(world, 5) == 0;
    config.hold_us = 3600 * SEC_US;
    config.connect_wait_us = 3600 * SEC_US;
    config.window_max = 1 << (15 + dice(world, 8));
    timer_init(&world->chaos, on_chaos, world);
    timer_init(&world->redial, on_redial, world);
    for (int side = 0; side < 2; side++) {
        struct end *end = &world->ends[side];
        end->world = world;
        end->side = side;
        end->want = SESSION_WANTS_PATH;
        end->pool.limit = dice(world, 3) == 0 ? dice(world, 2) * 65536 : 16 << 20;
        end->session = session_new(world->loop, &config, &end->pool, &ids[side], &ids[!side],
                                   &end_events, end);
    }
    timer_set_in(world->loop, &world->chaos, 1);
    timer_set_in(world->loop, &world->redial, 1 + dice(world, 1000));
    run_until(world, loop_now(world->loop) + 30 * SEC_US);
    if (world->abrupt) {
        end_abruptly(world);
        goto out;
    }
    world->calm = true;
    timer_cancel(world->loop, &world->chaos);
    for (int i = 0; i < PATHS_MAX; i++) {
        if (world->paths[i][0] && world->cut[i])
            pair_cut(world->paths[i][0], false);
        for (int side = 0; side < 2; side++)
            if (world->paths[i][side] && world->deaf[i][side])
                pipe_resume(world->paths[i][side]);
    }
    run_until(world, loop_now(world->loop) + 120 * SEC_US);
    for (int side = 0; side < 2; side++) {
        CHECK(world, world->ends[side].session && !world->ends[side].over);
        CHECK(world, session_stream_count(world->ends[side].session) == 0);
        CHECK(world, world->ends[side].pool.used == 0);
        CHECK(world, world->ends[side].session->tombs == NULL);
    }
    all_arrived(world);
    session_close(world->ends[dice(world, 2)].session, CLOSE_OK, NULL);
    run_until(world, loop_now(world->loop) + 10 * SEC_US);
    CHECK(world, world->ends[0].over && world->ends[1].over);
    CHECK(world, world->ends[0].why == 0 && world->ends[1].why == 0);
    timer_cancel(world->loop, &world->redial);
    run_until(world, loop_now(world->loop) + 60 * SEC_US);
out:
    CHECK(world, block_total_bytes() == blocks);
    loop_free(world->loop);
    free(world);
}

static void test_model(void **state)
{
    const char *runs_text = getenv("ADIT_MODEL_RUNS");
    uint64_t runs = runs_text ? strtoull(runs_text, NULL, 10) : RUNS_DEFAULT;
    const char *first_text = getenv("ADIT_MODEL_FIRST");
    uint64_t first = first_text ? strtoull(first_text, NULL, 10) : 1;

    (void)state;
    for (uint64_t seed = first; seed < first + runs; seed++)
        run_model(seed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};

    log_init(argc > 1 ? LOG_DEBUG : LOG_ERROR);
    if (argc > 1) {
        run_model(strtoull(argv[1], NULL, 10));
        puts("passed");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
