/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the whole front end, in virtual time over pairs. The input is a script: each
 * step is a byte that says who does what, and for the writes a length and the bytes. Two clients
 * and all their destinations may write, half-close and vanish, answers come or fail, time passes.
 * At the end the front is freed, and nothing may be left of it: no stream that is not closed
 * (checked here), no memory (checked by the sanitizer).
 *
 *   step = (who << 4) | what        who: client 0 or 1
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingress/front_int.h"
#include "pipe/pair.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 2, STREAMS_MAX = 64 };

enum step {
    STEP_CLIENT_WRITE,
    STEP_CLIENT_SHUTDOWN,
    STEP_CLIENT_CLOSE,
    STEP_CLIENT_ABORT,
    STEP_CLIENT_PAUSE,
    STEP_ANSWER, /* the byte after it says what */
    STEP_FAR_WRITE,
    STEP_FAR_SHUTDOWN,
    STEP_FAR_CLOSE,
    STEP_FAR_ABORT,
    STEP_WAIT,   /* seconds */
    STEP_RELAX,  /* lets things happen; without it writes pile up */
    STEP_REFUSE, /* the next opens */
};

struct stream {
    struct pipe *near, *far; /* NULL: ended */
    outlet_answer_cb *cb;
    void *arg;
    bool answered;
};

struct world {
    struct outlet outlet;
    struct loop *loop;
    struct front *front;
    struct pipe *clients[CLIENTS];
    struct stream streams[STREAMS_MAX];
    size_t count;
    enum answer refuse;
};

static void on_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    *(struct pipe **)arg = NULL;
}

static const struct pipe_events events = {.end = on_end};

static struct pipe *open_stream(struct outlet *outlet, const struct target *target,
                                const char *user, outlet_answer_cb *cb, void *arg, enum answer *why)
{
    struct world *world = (struct world *)outlet; /* the first member */
    struct pair_options options = {.buffer = 64};
    struct pipe *ends[2];

    if (target->port == 0 || (!target->name[0] && !addr_is_set(&target->addr)) ||
        strlen(user) > 1024)
        abort();
    *why = world->refuse;
    if (world->refuse != ANSWER_OK || world->count == STREAMS_MAX) {
        *why = ANSWER_LIMIT;
        return NULL;
    }
    if (pair_new(world->loop, &options, ends) < 0)
        abort();
    struct stream *stream = &world->streams[world->count++];
    *stream = (struct stream){ends[0], ends[1], cb, arg, false};
    pipe_add_listener(ends[0], &events, &stream->near);
    pipe_add_listener(ends[1], &events, &stream->far);
    return ends[0];
}

static void relax(struct world *world)
{
    for (int i = 0; i < 30; i++)
        loop_turn(world->loop, 50);
}

static void answer_stream(struct stream *stream, uint8_t answer)
{
    if (!stream->near || stream->answered || stream->near->flags & PIPE_IS_CLOSING)
        return;
    stream->answered = true;
    stream->cb(stream->arg, answer % (ANSWER_LAST + 2), NULL);
    if (answer % (ANSWER_LAST + 2) != ANSWER_OK && stream->near)
        pipe_abort(stream->near, -ECONNREFUSED);
}

static void write_some(struct pipe *pipe, const uint8_t **data, size_t *size, bool may)
{
    size_t len = *size ? **data : 0;

    if (*size)
        (*data)++, (*size)--;
    if (len > *size)
        len = *size;
    if (pipe && may && len > 0)
        pipe_write_copy(pipe, *data, len);
    *data += len;
    *size -= len;
}

static void client_start(struct world *world, size_t which)
{
    struct pipe *ends[2];

    if (pair_new(world->loop, NULL, ends) < 0)
        abort();
    world->clients[which] = ends[0];
    pipe_add_listener(ends[0], &events, &world->clients[which]);
    front_accept(world->front, ends[1]);
}

static void step(struct world *world, uint8_t code, const uint8_t **data, size_t *size)
{
    struct pipe **client = &world->clients[code >> 4 & 1];
    struct stream none = {0}, *stream = world->count ? &world->streams[world->count - 1] : &none;
    uint8_t next = *size ? **data : 0;

    switch ((enum step)(code & 15)) {
    case STEP_CLIENT_WRITE:
        if (!*client)
            client_start(world, code >> 4 & 1);
        write_some(*client, data, size, true);
        break;
    case STEP_CLIENT_SHUTDOWN:
        if (*client)
            pipe_shutdown(*client);
        break;
    case STEP_CLIENT_CLOSE:
        if (*client)
            pipe_close(*client);
        break;
    case STEP_CLIENT_ABORT:
        if (*client)
            pipe_abort(*client, -ECONNRESET);
        break;
    case STEP_CLIENT_PAUSE:
        if (*client && next % 2)
            pipe_pause(*client);
        else if (*client)
            pipe_resume(*client);
        break;
    case STEP_ANSWER:
        answer_stream(stream, next);
        break;
    case STEP_FAR_WRITE: /* a stream says nothing before its answer */
        write_some(stream->far, data, size, stream->answered);
        break;
    case STEP_FAR_SHUTDOWN:
        if (stream->far && stream->answered)
            pipe_shutdown(stream->far);
        break;
    case STEP_FAR_CLOSE:
        if (stream->far && stream->answered)
            pipe_close(stream->far);
        break;
    case STEP_FAR_ABORT:
        if (stream->near)
            pipe_abort(stream->near, -ECONNRESET);
        break;
    case STEP_WAIT:
        for (uint64_t end = loop_now(world->loop) + next * SEC_US; loop_now(world->loop) < end;)
            if (!loop_turn(world->loop, end - loop_now(world->loop)))
                break;
        break;
    case STEP_RELAX:
        relax(world);
        break;
    case STEP_REFUSE:
        world->refuse = next % (ANSWER_LAST + 1);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {.outlet.open = open_stream};
    struct front_config config = {.via = size % 2};

    world.loop = loop_new_virtual(size);
    world.front = front_new(world.loop, &config, &world.outlet, NULL);
    if (!world.loop || !world.front)
        abort();
    while (size > 0) {
        uint8_t code = *data++;
        size--;
        step(&world, code, &data, &size);
    }
    relax(&world);
    front_free(world.front);
    relax(&world);
    for (size_t i = 0; i < world.count; i++) {
        if (world.streams[i].near)
            abort(); /* a stream was left open */
        if (world.streams[i].far)
            pipe_abort(world.streams[i].far, -ECONNABORTED);
    }
    for (size_t i = 0; i < CLIENTS; i++)
        if (world.clients[i])
            pipe_abort(world.clients[i], -ECONNABORTED);
    relax(&world);
    loop_free(world.loop);
    return 0;
}
