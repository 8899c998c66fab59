/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Terminals, pipes and sockets are waited for. Files, and devices like /dev/null, cannot be: epoll
 * refuses them (EPERM), and a read does not block; they are read a piece at a time by a deferred
 * call that gives way to the rest of the loop. Bytes are lent to the callback, INPUT_CHUNK_BYTES at
 * most.
 */
#include "cli/turn_input.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

struct input {
    struct loop *loop;
    int fd;
    input_cb *fn;
    void *arg;
    struct event *event; /* NULL: it cannot be waited for */
    struct defer defer;
    bool paused, over;
    bool *freed; /* set when it is, while a callback runs */
    uint8_t bytes[INPUT_CHUNK_BYTES];
};

static void read_some(struct input *in)
{
    ssize_t n = read(in->fd, in->bytes, sizeof(in->bytes));
    bool freed = false;
    int why = n < 0 ? -errno : 0;

    if (why == -EINTR || why == -EAGAIN)
        n = why = 0;
    else
        in->over = n <= 0;
    if (in->over && in->event != NULL)
        event_del(in->event);
    if (n != 0 || in->over) {
        in->freed = &freed;
        in->fn(in->arg, in->bytes, n > 0 ? (size_t)n : 0, why);
        if (freed)
            return;
        in->freed = NULL;
    }
    if (in->event == NULL && !in->over && !in->paused)
        defer_next(in->loop, &in->defer);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    read_some(arg);
}

static void on_turn(void *arg)
{
    read_some(arg);
}

static bool can_wait(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    bool can = epoll >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;

    if (epoll >= 0)
        close(epoll);
    return can;
}

struct input *input_new(struct loop *loop, int fd, input_cb *fn, void *arg)
{
    struct input *in = calloc(1, sizeof(*in));

    if (in == NULL)
        return NULL;
    in->loop = loop;
    in->fd = fd;
    in->fn = fn;
    in->arg = arg;
    in->paused = true;
    defer_init(&in->defer, on_turn, in);
    if (can_wait(fd)) {
        in->event = event_new(loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable, in);
        if (in->event == NULL) {
            free(in);
            return NULL;
        }
    }
    input_resume(in);
    return in;
}

void input_free(struct input *in)
{
    if (in == NULL)
        return;
    if (in->freed != NULL)
        *in->freed = true;
    if (in->event != NULL)
        event_free(in->event);
    defer_cancel(in->loop, &in->defer);
    free(in);
}

void input_pause(struct input *in)
{
    in->paused = true;
    if (in->event != NULL)
        event_del(in->event);
    defer_cancel(in->loop, &in->defer);
}

void input_resume(struct input *in)
{
    if (!in->paused || in->over)
        return;
    in->paused = false;
    if (in->event != NULL)
        event_add(in->event, NULL);
    else
        defer_next(in->loop, &in->defer);
}
