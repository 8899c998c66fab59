/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A pipe's subscriptions hang on its pipe_extra; pipe.c hands them what is received, the end of
 * file and the end. Each holds a ring of references to slices, with their sources, and at most one
 * waiting receive: a timer for its patience and a deferred call for its answer, so that the answer
 * always comes from the loop.
 *
 * Full: a stream's `hold` is set while any of its queues is full, and the pipe is not read; a
 * message queue drops its oldest. Small messages in large blocks are copied into blocks of their
 * own, so that a queue pins about what it holds.
 *
 * Limits: SUBSCRIPTIONS_MAX a pipe; queue_max and SUBSCRIPTION_QUEUE_BYTES each.
 */
#include "pipe/subscribe.h"

#include <stdlib.h>

#include "pipe/pipe_int.h"

#define RING_MIN      8
#define COPY_FRACTION 4 /* less than this part of its block is copied */

struct entry {
    struct slice data;
    struct addr from;
};

struct subscription {
    struct pipe *pipe; /* NULL: over */
    struct loop *loop;
    struct subscription *next, **prev; /* among the pipe's */
    struct addr source;                /* unset: all */
    bool messages, eof;
    int why;
    uint32_t queue_max, cap, head, count;
    size_t bytes;
    uint64_t dropped;
    struct entry *ring;
    pipe_received *fn; /* of the waiting receive, or NULL */
    void *arg;
    struct timer patience;
    struct defer answer;
};

/* --- The queue --- */

static bool is_full(const struct subscription *sub)
{
    return sub->count >= sub->queue_max || sub->bytes >= SUBSCRIPTION_QUEUE_BYTES;
}

static struct entry queue_pop(struct subscription *sub)
{
    struct entry entry = sub->ring[sub->head];

    sub->head = (sub->head + 1) & (sub->cap - 1);
    sub->count--;
    sub->bytes -= entry.data.len;
    return entry;
}

static void queue_push(struct subscription *sub, const struct slice *data, const struct addr *from)
{
    if (sub->count == sub->cap) {
        uint32_t cap = sub->cap ? sub->cap * 2 : RING_MIN;
        struct entry *ring = malloc(cap * sizeof(*ring));

        if (!ring)
            abort();
        for (uint32_t i = 0; i < sub->count; i++)
            ring[i] = sub->ring[(sub->head + i) & (sub->cap - 1)];
        free(sub->ring);
        sub->ring = ring;
        sub->cap = cap;
        sub->head = 0;
    }
    struct entry *last = &sub->ring[(sub->head + sub->count++) & (sub->cap - 1)];
    if (data->block && data->len < data->block->size / COPY_FRACTION)
        last->data = slice_copy(data->data, data->len);
    else
        last->data = slice_ref(data);
    last->from = from ? *from : (struct addr){0};
    sub->bytes += data->len;
}

/* Holds or lets go the stream, as its queues are full or not. */
static void update_hold(struct pipe *pipe)
{
    struct pipe_extra *extra = pipe->extra;
    bool hold = false;

    if (pipe->ops->messages)
        return;
    for (const struct subscription *sub = extra->subscriptions; sub; sub = sub->next)
        hold |= is_full(sub);
    if (extra->hold && !hold) {
        extra->hold = false;
        if (!(pipe->flags & (PIPE_IS_PAUSED | PIPE_IS_OVER | PIPE_IS_CLOSING)))
            pipe->ops->resume(pipe);
    }
    extra->hold = hold;
}

/* --- What the pipe tells --- */

static void wake(struct subscription *sub)
{
    if (sub->fn)
        defer_soon(sub->loop, &sub->answer);
}

static void on_subscribed(struct pipe *pipe, const struct slice *data, const struct addr *from)
{
    for (struct subscription *sub = pipe->extra->subscriptions; sub; sub = sub->next) {
        if (!data) {
            sub->eof = true;
        } else if (addr_is_set(&sub->source) && from && !addr_equal(&sub->source, from)) {
            continue;
        } else {
            while (sub->messages && sub->count > 0 && is_full(sub)) {
                struct entry oldest = queue_pop(sub);
                slice_drop(&oldest.data);
                sub->dropped++;
            }
            queue_push(sub, data, from);
        }
        wake(sub);
    }
    update_hold(pipe);
}

static void on_subscribed_end(struct pipe *pipe, int why)
{
    struct subscription *sub;

    while ((sub = pipe->extra->subscriptions)) {
        pipe->extra->subscriptions = sub->next;
        sub->pipe = NULL;
        sub->why = why ? why : ADIT_ECLOSED;
        wake(sub);
    }
}

/* --- Receiving --- */

int pipe_take(struct subscription *sub, struct slice *data, struct addr *from)
{
    struct entry entry;

    if (sub->count == 0)
        return !sub->pipe || sub->eof ? ADIT_ECLOSED : -EAGAIN;
    entry = queue_pop(sub);
    *data = entry.data;
    if (from)
        *from = entry.from;
    if (sub->pipe)
        update_hold(sub->pipe);
    return 0;
}

static void on_answer(void *arg)
{
    struct subscription *sub = arg;
    pipe_received *fn = sub->fn;
    void *fn_arg = sub->arg;
    struct slice data;
    struct addr from;

    if (!fn || (sub->count == 0 && sub->pipe && !sub->eof))
        return; /* pipe_take() was quicker */
    sub->fn = NULL;
    timer_cancel(sub->loop, &sub->patience);
    if (pipe_take(sub, &data, &from) == 0) {
        fn(sub, 0, &data, addr_is_set(&from) ? &from : NULL, fn_arg);
        slice_drop(&data);
    } else {
        bool clean = sub->eof && (sub->pipe || sub->why == ADIT_ECLOSED);

        fn(sub, clean ? 0 : sub->why, NULL, NULL, fn_arg);
    }
}

static void on_patience(void *arg)
{
    struct subscription *sub = arg;
    pipe_received *fn = sub->fn;

    sub->fn = NULL;
    defer_cancel(sub->loop, &sub->answer);
    if (fn)
        fn(sub, -ETIMEDOUT, NULL, NULL, sub->arg);
}

int pipe_recv(struct subscription *sub, uint64_t timeout_us, pipe_received *fn, void *arg)
{
    if (sub->fn)
        return -EALREADY;
    sub->fn = fn;
    sub->arg = arg;
    if (sub->count > 0 || sub->eof || !sub->pipe)
        defer_soon(sub->loop, &sub->answer);
    else if (timeout_us)
        timer_set_in(sub->loop, &sub->patience, timeout_us);
    return 0;
}

/* --- Life --- */

struct subscription *pipe_subscribe(struct pipe *pipe, const struct addr *from, uint32_t queue_max)
{
    struct pipe_extra *extra;
    struct subscription *sub;
    int count = 0;

    if (pipe->flags & PIPE_IS_OVER) {
        errno = EPIPE;
        return NULL;
    }
    extra = pipe_extra(pipe);
    for (sub = extra->subscriptions; sub; sub = sub->next)
        count++;
    if (count >= SUBSCRIPTIONS_MAX) {
        errno = ENOSPC;
        return NULL;
    }
    if (!(sub = calloc(1, sizeof(*sub))))
        return NULL;
    if (!queue_max)
        queue_max = extra->queue_max;
    sub->pipe = pipe;
    sub->loop = pipe->loop;
    sub->queue_max = queue_max ? queue_max : SUBSCRIPTION_QUEUE_MAX;
    sub->messages = pipe->ops->messages;
    sub->eof = pipe->flags & PIPE_GOT_EOF;
    if (from)
        sub->source = *from;
    timer_init(&sub->patience, on_patience, sub);
    defer_init(&sub->answer, on_answer, sub);
    extra->subscribed = on_subscribed;
    extra->subscribed_end = on_subscribed_end;
    sub->next = extra->subscriptions;
    if (sub->next)
        sub->next->prev = &sub->next;
    sub->prev = &extra->subscriptions;
    extra->subscriptions = sub;
    return sub;
}

void pipe_unsubscribe(struct subscription *sub)
{
    timer_cancel(sub->loop, &sub->patience);
    defer_cancel(sub->loop, &sub->answer);
    while (sub->count > 0) {
        struct entry entry = queue_pop(sub);
        slice_drop(&entry.data);
    }
    if (sub->pipe) {
        *sub->prev = sub->next;
        if (sub->next)
            sub->next->prev = sub->prev;
        update_hold(sub->pipe);
    }
    free(sub->ring);
    free(sub);
}

size_t subscription_queued(const struct subscription *sub)
{
    return sub->count;
}

uint64_t subscription_dropped(const struct subscription *sub)
{
    return sub->dropped;
}
