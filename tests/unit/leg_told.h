/* SPDX-License-Identifier: MIT */
/* A leg with what it has told, for tests of legs. */
#ifndef ADIT_TESTS_LEG_TOLD_H
#define ADIT_TESTS_LEG_TOLD_H

#include "pipe_recorder.h"

#include "stun/leg.h"

/* What a leg has told. */
struct told {
    struct loop *loop;
    struct leg *leg;
    int ups, rooms, ends, why;
    size_t frames, bytes, last_len;
    uint64_t sum;
    char text[LEG_TEXT_MAX];
    size_t close_after, pause_after, take_after; /* frames; 0: never */
    struct pipe *taken;
    struct slice surplus;
};

static inline void on_up(struct leg *leg, void *arg)
{
    struct told *told = arg;

    assert_true(leg_is_up(leg));
    told->ups++;
}

static inline void on_frame(struct leg *leg, const struct slice *frame, void *arg)
{
    struct told *told = arg;

    told->frames++;
    told->bytes += frame->len;
    told->last_len = frame->len;
    told->sum = byte_sum(told->sum, frame->data, frame->len);
    if (told->frames == told->close_after) {
        leg_close(leg);
        told->leg = NULL;
    } else if (told->frames == told->pause_after) {
        leg_pause(leg);
    } else if (told->frames == told->take_after) {
        told->taken = leg_take_pipe(leg, &told->surplus);
        told->leg = NULL;
    }
}

static inline void on_room(struct leg *leg, void *arg)
{
    (void)leg;
    ((struct told *)arg)->rooms++;
}

static inline void on_end(struct leg *leg, int why, const char *text, void *arg)
{
    struct told *told = arg;

    (void)leg;
    told->ends++;
    told->why = why;
    told->leg = NULL;
    snprintf(told->text, sizeof(told->text), "%s", text);
}

static const struct leg_events leg_told_events = {on_up, on_frame, on_room, on_end};

static inline struct stun_server server_at(enum server_transport transport, const struct addr *addr)
{
    struct stun_server server = {.transport = transport, .port = addr->port};
    char text[ADDR_TEXT_MAX];

    snprintf(server.host, sizeof(server.host), "%s", addr_format_ip(addr, text));
    if (server.host[0] == '[') { /* without brackets */
        memmove(server.host, server.host + 1, strlen(server.host));
        server.host[strlen(server.host) - 1] = '\0';
    }
    return server;
}

static inline void open_leg(struct told *told, struct loop *loop, const struct stun_server *server,
                            const struct leg_options *options)
{
    static const struct leg_options defaults = LEG_OPTIONS_DEFAULT;

    told->loop = loop;
    told->leg = leg_open(loop, server, options ? options : &defaults, &leg_told_events, told);
    assert_non_null(told->leg);
    assert_int_equal(told->ups + told->ends, 0);
}

static inline void finish(struct loop *loop)
{
    loop_free(loop);
    assert_int_equal(block_total_bytes(), 0);
}

static inline void close_all(struct loop *loop, struct recorder *r)
{
    if (r->pipe)
        pipe_close(r->pipe);
    RUN_UNTIL(loop, !r->pipe);
    for (int i = 0; i < 20; i++)
        loop_turn(loop, MS_US);
}

#endif
