/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: a front end in virtual time, with clients that are pairs and an outlet whose
 * streams lead to a pair's other end, "the destination". The test answers and speaks for the
 * destination. Every stream is followed until its end, so that a callback after a close or a stream
 * left open is noticed.
 */
#ifndef ADIT_TESTS_FRONT_FAKE_H
#define ADIT_TESTS_FRONT_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "ingress/front_int.h"
#include "pipe/pair.h"

#define FAKE_STREAMS_MAX 64
#define FAKE_BYTES_MAX   (1024 * 1024)

/* One end of a conversation, and all that it has heard. */
struct peer {
    struct pipe *pipe; /* NULL: ended */
    char *got;         /* terminated */
    size_t len;
    bool eof, ended;
    int why;
};

struct fake_stream {
    struct peer peer;  /* the destination's side */
    struct pipe *near; /* the front's side; NULL: ended */
    struct target target;
    char user[256];
    outlet_answer_cb *cb;
    void *arg;
    bool answered;
};

struct fake {
    struct outlet outlet;
    struct loop *loop;
    struct front *front;
    struct fake_stream streams[FAKE_STREAMS_MAX];
    size_t count;
    enum answer refuse_with; /* ANSWER_OK: open */
    bool auto_ok;            /* answer OK at once */
    struct pair_options stream_options;
};

static inline void peer_message(struct pipe *pipe, const struct slice *data,
                                const struct addr *from, void *arg)
{
    struct peer *peer = arg;

    (void)pipe;
    (void)from;
    assert_true(peer->len + data->len < FAKE_BYTES_MAX);
    peer->got = realloc(peer->got, peer->len + data->len + 1);
    memcpy(peer->got + peer->len, data->data, data->len);
    peer->len += data->len;
    peer->got[peer->len] = '\0';
}

static inline void peer_eof(struct pipe *pipe, void *arg)
{
    (void)pipe;
    ((struct peer *)arg)->eof = true;
}

static inline void peer_end(struct pipe *pipe, int why, void *arg)
{
    struct peer *peer = arg;

    (void)pipe;
    peer->ended = true;
    peer->why = why;
    peer->pipe = NULL;
}

static const struct pipe_events peer_events = {
    .message = peer_message, .eof = peer_eof, .end = peer_end};

static inline void peer_start(struct peer *peer, struct pipe *pipe)
{
    memset(peer, 0, sizeof *peer);
    peer->pipe = pipe;
    peer->got = calloc(1, 1);
    pipe_add_listener(pipe, &peer_events, peer);
}

static inline void peer_forget(struct peer *peer)
{
    free(peer->got);
    peer->got = calloc(1, 1);
    peer->len = 0;
}

static inline void fake_run(struct fake *fake)
{
    for (int i = 0; i < 40; i++)
        loop_turn(fake->loop, 100);
}

static inline void fake_pass(struct fake *fake, uint64_t us)
{
    for (uint64_t end = loop_now(fake->loop) + us; loop_now(fake->loop) < end;)
        if (!loop_turn(fake->loop, end - loop_now(fake->loop)))
            break;
    fake_run(fake);
}

static inline void near_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    ((struct fake_stream *)arg)->near = NULL;
}

static const struct pipe_events near_events = {.end = near_end};

static inline struct pipe *fake_open(struct outlet *outlet, const struct target *target,
                                     const char *user, outlet_answer_cb *cb, void *arg,
                                     enum answer *why)
{
    struct fake *fake = (struct fake *)outlet; /* outlet is the first member */
    struct pipe *ends[2];

    if (fake->refuse_with != ANSWER_OK) {
        *why = fake->refuse_with;
        return NULL;
    }
    assert_true(fake->count < FAKE_STREAMS_MAX);
    struct fake_stream *stream = &fake->streams[fake->count++];
    assert_int_equal(pair_new(fake->loop, &fake->stream_options, ends), 0);
    stream->near = ends[0];
    peer_start(&stream->peer, ends[1]);
    stream->target = *target;
    strncpy(stream->user, user, sizeof stream->user - 1);
    stream->cb = cb;
    stream->arg = arg;
    stream->answered = false;
    pipe_add_listener(ends[0], &near_events, stream);
    return ends[0];
}

static inline void fake_answer(struct fake *fake, size_t index, enum answer answer)
{
    struct fake_stream *stream = &fake->streams[index];
    struct addr bound;

    assert_true(index < fake->count);
    assert_false(stream->answered);
    /* The contract: no answer after the front has closed the stream. */
    if (!stream->near || stream->near->flags & PIPE_IS_CLOSING)
        return;
    stream->answered = true;
    addr_parse("192.0.2.1:4242", &bound);
    stream->cb(stream->arg, answer, &bound);
    if (answer != ANSWER_OK)
        pipe_abort(stream->near, -ECONNREFUSED);
    fake_run(fake);
}

static inline void fake_write(struct fake *fake, struct peer *peer, const void *bytes, size_t len)
{
    if (peer->pipe)
        pipe_write_copy(peer->pipe, bytes, len);
    fake_run(fake);
}

static inline void fake_say(struct fake *fake, struct peer *peer, const char *text)
{
    fake_write(fake, peer, text, strlen(text));
}

static inline void fake_start(struct fake *fake, const struct front_config *config)
{
    static const struct front_config plain = {0};
    int error;

    memset(fake, 0, sizeof *fake);
    fake->outlet.open = fake_open;
    fake->loop = loop_new_virtual(1);
    assert_non_null(fake->loop);
    fake->front = front_new(fake->loop, config ? config : &plain, &fake->outlet, &error);
    assert_non_null(fake->front);
}

static inline void fake_client(struct fake *fake, struct peer *client)
{
    struct pipe *ends[2];

    assert_int_equal(pair_new(fake->loop, NULL, ends), 0);
    peer_start(client, ends[0]);
    front_accept(fake->front, ends[1]);
}

static inline void fake_hang_up(struct fake *fake, struct peer *client)
{
    if (client->pipe)
        pipe_abort(client->pipe, -ECONNABORTED);
    fake_run(fake);
    free(client->got);
    client->got = NULL;
}

/* Ends the front and shows that nothing is left of it. */
static inline void fake_stop(struct fake *fake)
{
    front_free(fake->front);
    fake_run(fake);
    for (size_t i = 0; i < fake->count; i++) {
        struct fake_stream *stream = &fake->streams[i];
        assert_null(stream->near);
        if (stream->peer.pipe)
            pipe_abort(stream->peer.pipe, -ECONNABORTED);
    }
    fake_run(fake);
    for (size_t i = 0; i < fake->count; i++)
        free(fake->streams[i].peer.got);
    loop_free(fake->loop);
    block_pool_trim(0);
}

#endif
