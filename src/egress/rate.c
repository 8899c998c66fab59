/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Each direction has a bucket of tokens, filled at the rate, up to BURST. Bytes are paid for after
 * they have moved, so a bucket may fall into debt, by what each pipe moves in one go at most. While
 * it is in debt its pipes wait; when it is paid all are woken, and each moves once before the debt
 * is back: shares are equal, and the mean is exact.
 *
 * In: a pipe that waits is paused. (Nobody else should pause a limited pipe: it is resumed when the
 * debt is paid.) Out: it says that it has no room, by operations of its own that stand before those
 * of its kind, so that whatever feeds it waits as for a slow receiver. A pipe that is not attached
 * is not touched: where there is no rate, there is no cost.
 */
#include "egress/rate.h"

#include <stddef.h>
#include <stdlib.h>
#include <utlist.h>

#define BURST_DIVISOR   20 /* 50 ms of the rate */
#define BURST_MIN_BYTES 32768
#define FILL_MAX_US     (10 * SEC_US)
#define WAKE_MIN_US     MS_US

struct rate_limit {
    struct pipe_ops ops; /* the pipe's, instead of its kind's */
    const struct pipe_ops *kind;
    struct rate *rate;
    struct pipe *pipe;
    bool is_waiting[2];
    bool has_turn; /* was woken to write, and has not yet: may, whatever the others did meanwhile */
    struct rate_limit *next[2], *prev[2];
};

static int64_t burst_bytes(const struct rate *rate)
{
    uint64_t burst = rate->bytes_per_s / BURST_DIVISOR;
    return burst > BURST_MIN_BYTES ? (int64_t)burst : BURST_MIN_BYTES;
}

static void bucket_fill(struct rate *rate, struct rate_bucket *bucket)
{
    uint64_t now = loop_now(rate->loop), passed = now - bucket->filled;
    if (rate->bytes_per_s == 0 || passed > FILL_MAX_US) {
        passed = passed > FILL_MAX_US ? FILL_MAX_US : passed;
        bucket->filled = now - passed;
    }
    uint64_t bytes = passed * rate->bytes_per_s / SEC_US;
    bucket->tokens += (int64_t)bytes;
    if (rate->bytes_per_s) /* the part of a byte that is left stays */
        bucket->filled += bytes * SEC_US / rate->bytes_per_s;
    if (rate->bytes_per_s == 0 || bucket->tokens > burst_bytes(rate))
        bucket->tokens = burst_bytes(rate);
}

/* --- Waiting --- */

static void wait_for(struct rate_limit *limit, enum rate_direction direction)
{
    struct rate_bucket *bucket = &limit->rate->buckets[direction];
    if (!limit->is_waiting[direction]) {
        limit->is_waiting[direction] = true;
        DL_APPEND2(bucket->waiting, limit, prev[direction], next[direction]);
    }
    if (timer_is_set(&bucket->timer))
        return;
    uint64_t debt = bucket->tokens < 0 ? (uint64_t)-bucket->tokens : 0;
    uint64_t delay = debt * SEC_US / limit->rate->bytes_per_s;
    timer_set_in(limit->rate->loop, &bucket->timer, delay > WAKE_MIN_US ? delay : WAKE_MIN_US);
}

static void stop_waiting(struct rate_limit *limit, enum rate_direction direction)
{
    struct rate_bucket *bucket = &limit->rate->buckets[direction];
    if (!limit->is_waiting[direction])
        return;
    limit->is_waiting[direction] = false;
    DL_DELETE2(bucket->waiting, limit, prev[direction], next[direction]);
}

/* Wakes those who wait now; those who come back into debt meanwhile go to the end of the list. */
static void wake(struct rate *rate, enum rate_direction direction)
{
    struct rate_bucket *bucket = &rate->buckets[direction];
    struct rate_limit *limit;
    size_t count = 0;
    bucket_fill(rate, bucket);
    DL_FOREACH2(bucket->waiting, limit, next[direction]) count++;
    while (count-- > 0 && bucket->waiting) {
        limit = bucket->waiting;
        stop_waiting(limit, direction);
        if (direction == RATE_IN) {
            pipe_resume(limit->pipe);
        } else {
            limit->has_turn = true;
            pipe_has_room(limit->pipe);
        }
    }
}

static void on_timer_in(void *arg)
{
    wake(arg, RATE_IN);
}

static void on_timer_out(void *arg)
{
    wake(arg, RATE_OUT);
}

/* Takes tokens; true: in debt. */
static bool pay(struct rate *rate, enum rate_direction direction, size_t bytes)
{
    struct rate_bucket *bucket = &rate->buckets[direction];
    bucket_fill(rate, bucket);
    bucket->tokens -= (int64_t)bytes;
    return bucket->tokens < 0 && rate->bytes_per_s != 0;
}

/* --- What pipes call --- */

static struct rate_limit *limit_of(const struct pipe *pipe)
{
    return (struct rate_limit *)((uintptr_t)pipe->ops - offsetof(struct rate_limit, ops));
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct rate_limit *limit = arg;
    (void)from;
    if (!pay(limit->rate, RATE_IN, data->len) || pipe->flags & PIPE_IS_PAUSED)
        return;
    pipe_pause(pipe);
    wait_for(limit, RATE_IN);
}

static const struct pipe_events limit_events = {.message = on_message};

static void limited_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct rate_limit *limit = limit_of(pipe);
    limit->has_turn = false;
    pay(limit->rate, RATE_OUT, data->len);
    limit->kind->write(pipe, data, to);
}

static size_t limited_room(const struct pipe *pipe)
{
    struct rate_limit *limit = limit_of(pipe);
    size_t room = limit->kind->room(pipe);
    if (!limit->has_turn && pay(limit->rate, RATE_OUT, 0)) {
        wait_for(limit, RATE_OUT);
        return 0;
    }
    return room < RATE_READ_MAX_BYTES ? room : RATE_READ_MAX_BYTES;
}

/* --- Life --- */

void rate_init(struct rate *rate, struct loop *loop, uint64_t bytes_per_s)
{
    *rate = (struct rate){.loop = loop, .bytes_per_s = bytes_per_s};
    for (int i = 0; i < 2; i++) {
        rate->buckets[i].filled = loop_now(loop);
        rate->buckets[i].tokens = burst_bytes(rate);
        timer_init(&rate->buckets[i].timer, i == RATE_IN ? on_timer_in : on_timer_out, rate);
    }
}

void rate_clear(struct rate *rate)
{
    for (int i = 0; i < 2; i++)
        timer_cancel(rate->loop, &rate->buckets[i].timer);
}

void rate_set(struct rate *rate, uint64_t bytes_per_s)
{
    for (int i = 0; i < 2; i++)
        bucket_fill(rate, &rate->buckets[i]);
    rate->bytes_per_s = bytes_per_s;
    for (int i = 0; i < 2; i++) {
        bucket_fill(rate, &rate->buckets[i]);
        if (rate->buckets[i].waiting) /* the debt may be paid sooner now */
            timer_set_in(rate->loop, &rate->buckets[i].timer, WAKE_MIN_US);
    }
}

bool rate_is_full(struct rate *rate)
{
    for (int i = 0; i < 2; i++) {
        bucket_fill(rate, &rate->buckets[i]);
        if (rate->buckets[i].tokens < burst_bytes(rate))
            return false;
    }
    return true;
}

struct rate_limit *rate_attach(struct rate *rate, struct pipe *pipe)
{
    struct rate_limit *limit = calloc(1, sizeof *limit);
    if (!limit || pipe_add_listener(pipe, &limit_events, limit) != 0) {
        free(limit);
        return NULL;
    }
    limit->kind = pipe->ops;
    limit->ops = *pipe->ops;
    limit->ops.write = limited_write;
    limit->ops.room = limited_room;
    limit->ops.send = NULL; /* pipe_send() then writes */
    limit->rate = rate;
    limit->pipe = pipe;
    pipe->ops = &limit->ops;
    return limit;
}

void rate_detach(struct rate_limit *limit)
{
    bool resume_in = limit->is_waiting[RATE_IN], resume_out = limit->is_waiting[RATE_OUT];
    stop_waiting(limit, RATE_IN);
    stop_waiting(limit, RATE_OUT);
    limit->pipe->ops = limit->kind;
    pipe_del_listener(limit->pipe, &limit_events, limit);
    if (resume_in)
        pipe_resume(limit->pipe);
    if (resume_out)
        pipe_has_room(limit->pipe);
    free(limit);
}
