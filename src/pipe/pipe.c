/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The common part of all pipes: listeners, links, and the order of events. A kind (tcp.c, tls.c,
 * ...) owns the descriptor or the state; it tells this module what happened (pipe_now_up,
 * pipe_deliver, pipe_got_eof, pipe_has_room, pipe_is_over) and is told what to do through its
 * pipe_ops.
 *
 * Delivery: what is received goes to the listeners, to the subscriptions, and down the links. A
 * pipe with exactly one link out and nothing else, the common case, passes its slice on without
 * touching a count.
 *
 * Back-pressure: a kind asks pipe_read_budget() before it reads; that is 0 while the pipe is
 * paused, while a subscription holds it, or while one of its sinks has no room. When a sink has
 * room again it calls pipe_has_room(), which resumes the sources linked into it.
 *
 * End: pipe_is_over() marks the pipe, cuts its links (a coupled one closes or aborts the other
 * side) and schedules the rest: `end` is told from the loop, then the kind destroys the pipe.
 * Between pipe_is_over() and the end nothing is delivered.
 *
 * Callbacks may do anything to any pipe: close it, link it, remove themselves. That is safe because
 * pipes are only freed from the loop (finish()), and a link's memory only with the pipe it leads
 * out of; a freed slot is used again.
 *
 * Limits: PIPE_LISTENERS_MAX listeners; links are bounded by the number of pipes.
 */
#include "pipe/pipe.h"

#include <stdlib.h>
#include <string.h>

#include "pipe/pipe_int.h"

#define READ_BUDGET_MAX (256 * 1024)

struct pipe_extra *pipe_extra(struct pipe *pipe)
{
    if (!pipe->extra) {
        pipe->extra = calloc(1, sizeof(*pipe->extra));
        if (!pipe->extra)
            abort();
    }
    return pipe->extra;
}

/* --- Listeners --- */

int pipe_add_listener(struct pipe *pipe, const struct pipe_events *events, void *arg)
{
    struct pipe_listener listener = {events, arg};
    struct pipe_extra *extra;

    if (!pipe->listener.events) {
        pipe->listener = listener;
        return 0;
    }
    extra = pipe_extra(pipe);
    for (uint32_t i = 0; i < extra->listener_cap; i++) {
        if (!extra->listeners[i].events) {
            extra->listeners[i] = listener;
            return 0;
        }
    }
    if (extra->listener_cap + 1 >= PIPE_LISTENERS_MAX)
        return ADIT_EFULL;
    uint32_t cap = extra->listener_cap ? extra->listener_cap * 2 : 2;
    if (cap > PIPE_LISTENERS_MAX - 1)
        cap = PIPE_LISTENERS_MAX - 1;
    struct pipe_listener *grown = realloc(extra->listeners, cap * sizeof(*grown));
    if (!grown)
        abort();
    memset(grown + extra->listener_cap, 0, (cap - extra->listener_cap) * sizeof(*grown));
    grown[extra->listener_cap] = listener;
    extra->listeners = grown;
    extra->listener_cap = cap;
    return 0;
}

void pipe_del_listener(struct pipe *pipe, const struct pipe_events *events, void *arg)
{
    if (pipe->listener.events == events && pipe->listener.arg == arg) {
        pipe->listener.events = NULL;
        return;
    }
    for (uint32_t i = 0; pipe->extra && i < pipe->extra->listener_cap; i++) {
        struct pipe_listener *listener = &pipe->extra->listeners[i];
        if (listener->events == events && listener->arg == arg) {
            listener->events = NULL;
            return;
        }
    }
}

/* Calls event for every listener; one added during the call may or may not hear it. */
#define TELL(pipe, event, ...)                                                           \
    do {                                                                                 \
        struct pipe_listener tell_ = (pipe)->listener;                                   \
        if (tell_.events && tell_.events->event)                                         \
            tell_.events->event(__VA_ARGS__, tell_.arg);                                 \
        for (uint32_t i_ = 0; (pipe)->extra && i_ < (pipe)->extra->listener_cap; i_++) { \
            tell_ = (pipe)->extra->listeners[i_];                                        \
            if (tell_.events && tell_.events->event)                                     \
                tell_.events->event(__VA_ARGS__, tell_.arg);                             \
        }                                                                                \
    } while (0)

/* --- Links --- */

static void link_attach(struct pipe_link *link, struct pipe *from, struct pipe *to, bool coupled)
{
    link->from = from;
    link->to = to;
    link->coupled = coupled;
    link->next_in = to->links_in;
    if (link->next_in)
        link->next_in->prev_in = &link->next_in;
    link->prev_in = &to->links_in;
    to->links_in = link;
}

static void link_detach(struct pipe_link *link)
{
    *link->prev_in = link->next_in;
    if (link->next_in)
        link->next_in->prev_in = link->prev_in;
    link->to = NULL;
}

static struct pipe_link *link_find(struct pipe *from, const struct pipe *to)
{
    for (struct pipe_link *link = &from->link; link; link = link->next_out)
        if (link->to == to)
            return link;
    return NULL;
}

static int link_add(struct pipe *from, struct pipe *to, bool coupled)
{
    struct pipe_link *link;

    if ((from->flags | to->flags) & PIPE_IS_OVER)
        return ADIT_ECLOSED;
    if ((link = link_find(from, to))) {
        link->coupled |= coupled;
        return 0;
    }
    link = link_find(from, NULL); /* a free one, the inline one first */
    if (!link) {
        link = calloc(1, sizeof(*link));
        if (!link)
            return -ENOMEM;
        link->next_out = from->link.next_out;
        from->link.next_out = link;
    }
    link_attach(link, from, to, coupled);
    if (coupled && (from->flags & PIPE_GOT_EOF))
        pipe_shutdown(to);
    pipe_resume(from);
    return 0;
}

/* Lets a source read again, unless its user has paused it. */
static void wake_source(struct pipe *from)
{
    if (!(from->flags & (PIPE_IS_PAUSED | PIPE_IS_OVER | PIPE_IS_CLOSING)))
        from->ops->resume(from);
}

int pipe_add_pipe(struct pipe *from, struct pipe *to)
{
    return link_add(from, to, false);
}

void pipe_del_pipe(struct pipe *from, struct pipe *to)
{
    struct pipe_link *link = link_find(from, to);

    if (!link)
        return;
    link_detach(link);
    wake_source(from); /* the one that left may have held it */
}

int pipe_link(struct pipe *a, struct pipe *b)
{
    int r = link_add(a, b, true);

    if (r)
        return r;
    r = link_add(b, a, true);
    if (r)
        pipe_del_pipe(a, b);
    return r;
}

void pipe_unlink(struct pipe *a, struct pipe *b)
{
    pipe_del_pipe(a, b);
    pipe_del_pipe(b, a);
}

/* --- Writing --- */

int pipe_write_to(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    if (pipe->flags & (PIPE_IS_OVER | PIPE_IS_CLOSING | PIPE_SENT_EOF)) {
        slice_drop(data);
        return ADIT_ECLOSED;
    }
    pipe->bytes_out += data->len;
    pipe->ops->write(pipe, data, to);
    return 0;
}

int pipe_write(struct pipe *pipe, struct slice *data)
{
    return pipe_write_to(pipe, data, NULL);
}

int pipe_write_copy(struct pipe *pipe, const void *bytes, size_t len)
{
    struct slice slice = slice_copy(bytes, len);

    return pipe_write(pipe, &slice);
}

int pipe_send(struct pipe *pipe, const void *bytes, size_t len, bool more)
{
    if (pipe->flags & (PIPE_IS_OVER | PIPE_IS_CLOSING | PIPE_SENT_EOF))
        return ADIT_ECLOSED;
    if (!pipe->ops->send)
        return pipe_write_copy(pipe, bytes, len);
    pipe->bytes_out += len;
    return pipe->ops->send(pipe, bytes, len, more);
}

size_t pipe_room(const struct pipe *pipe)
{
    if (pipe->flags & (PIPE_IS_OVER | PIPE_IS_CLOSING | PIPE_SENT_EOF))
        return 0;
    return pipe->ops->room(pipe);
}

size_t pipe_queued(const struct pipe *pipe)
{
    return pipe->flags & PIPE_IS_OVER ? 0 : pipe->ops->queued(pipe);
}

uint64_t pipe_flight(const struct pipe *pipe)
{
    return pipe->ops->flight && !(pipe->flags & PIPE_IS_OVER) ? pipe->ops->flight(pipe) : 0;
}

void pipe_pause(struct pipe *pipe)
{
    pipe->flags |= PIPE_IS_PAUSED;
}

void pipe_resume(struct pipe *pipe)
{
    pipe->flags &= ~(uint32_t)PIPE_IS_PAUSED;
    if (!(pipe->flags & (PIPE_IS_OVER | PIPE_IS_CLOSING)))
        pipe->ops->resume(pipe);
}

void pipe_shutdown(struct pipe *pipe)
{
    if (pipe->flags & (PIPE_IS_OVER | PIPE_IS_CLOSING | PIPE_SENT_EOF))
        return;
    pipe->flags |= PIPE_SENT_EOF;
    pipe->ops->shutdown(pipe);
}

static void pipe_end_with(struct pipe *pipe, int why)
{
    if (pipe->flags & PIPE_IS_OVER)
        return;
    if ((pipe->flags & PIPE_IS_CLOSING) && why == 0)
        return;
    pipe->flags |= PIPE_IS_CLOSING;
    pipe->ops->close(pipe, why);
}

void pipe_close(struct pipe *pipe)
{
    pipe_end_with(pipe, 0);
}

void pipe_abort(struct pipe *pipe, int why)
{
    pipe_end_with(pipe, why < 0 ? why : -ECONNABORTED);
}

bool pipe_is_up(const struct pipe *pipe)
{
    return (pipe->flags & PIPE_IS_UP) && !(pipe->flags & PIPE_IS_OVER);
}

int pipe_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    if (!pipe->ops->addrs)
        return -ENOTSUP;
    return pipe->ops->addrs(pipe, local, remote);
}

int pipe_exporter(struct pipe *pipe, const char *label, const void *context, size_t context_len,
                  void *out, size_t len)
{
    if (!pipe->ops->exporter)
        return -ENOTSUP;
    return pipe->ops->exporter(pipe, label, context, context_len, out, len);
}

/* --- For kinds --- */

static void finish(void *arg);

void pipe_init(struct pipe *pipe, const struct pipe_ops *ops, struct loop *loop)
{
    memset(pipe, 0, sizeof(*pipe));
    pipe->ops = ops;
    pipe->loop = loop;
    pipe->link.from = pipe;
    defer_init(&pipe->ending, finish, pipe);
}

void pipe_now_up(struct pipe *pipe)
{
    if (pipe->flags & (PIPE_IS_UP | PIPE_IS_OVER))
        return;
    pipe->flags |= PIPE_IS_UP;
    if (pipe->flags & PIPE_IS_CLOSING)
        return;
    TELL(pipe, up, pipe);
}

static void on_up_soon(void *arg)
{
    struct pipe *pipe = arg;

    if (!(pipe->flags & (PIPE_IS_OVER | PIPE_IS_CLOSING)))
        TELL(pipe, up, pipe);
}

void pipe_up_soon(struct pipe *pipe)
{
    struct pipe_extra *extra = pipe_extra(pipe);

    pipe->flags |= PIPE_IS_UP;
    defer_init(&extra->up, on_up_soon, pipe);
    defer_soon(pipe->loop, &extra->up);
}

size_t pipe_read_budget(const struct pipe *pipe)
{
    size_t budget = READ_BUDGET_MAX;

    if (pipe->flags & (PIPE_IS_PAUSED | PIPE_IS_OVER | PIPE_IS_CLOSING))
        return 0;
    if (pipe->extra && pipe->extra->hold)
        return 0;
    for (const struct pipe_link *link = &pipe->link; link; link = link->next_out) {
        if (!link->to || link->to->flags & (PIPE_IS_OVER | PIPE_IS_CLOSING | PIPE_SENT_EOF))
            continue;
        size_t room = pipe_room(link->to);
        if (room == 0)
            link->to->flags |= PIPE_HAD_NO_ROOM;
        if (room < budget)
            budget = room;
    }
    return budget;
}

void pipe_deliver(struct pipe *pipe, struct slice *data, const struct addr *from)
{
    struct pipe_extra *extra = pipe->extra;

    if (pipe->flags & (PIPE_IS_OVER | PIPE_IS_CLOSING)) {
        slice_drop(data);
        return;
    }
    pipe->bytes_in += data->len;
    if (extra && extra->filter && extra->filter(pipe, data, from)) {
        slice_drop(data);
        return;
    }
    TELL(pipe, message, pipe, data, from);
    extra = pipe->extra;
    if (extra && extra->subscribed)
        extra->subscribed(pipe, data, from);
    for (struct pipe_link *link = pipe->link.next_out; link; link = link->next_out) {
        struct slice part;

        if (!link->to)
            continue;
        part = slice_ref(data);
        pipe_write(link->to, &part);
    }
    if (pipe->link.to)
        pipe_write(pipe->link.to, data);
    else
        slice_drop(data);
}

void pipe_got_eof(struct pipe *pipe)
{
    if (pipe->flags & (PIPE_GOT_EOF | PIPE_IS_OVER))
        return;
    pipe->flags |= PIPE_GOT_EOF;
    if (pipe->flags & PIPE_IS_CLOSING)
        return;
    TELL(pipe, eof, pipe);
    if (pipe->extra && pipe->extra->subscribed)
        pipe->extra->subscribed(pipe, NULL, NULL);
    for (struct pipe_link *link = &pipe->link; link; link = link->next_out)
        if (link->to && link->coupled)
            pipe_shutdown(link->to);
}

void pipe_has_room(struct pipe *pipe)
{
    if (pipe->flags & PIPE_IS_OVER)
        return;
    pipe->flags &= ~(uint32_t)PIPE_HAD_NO_ROOM;
    for (struct pipe_link *link = pipe->links_in, *next; link; link = next) {
        next = link->next_in;
        wake_source(link->from);
    }
    if (!(pipe->flags & (PIPE_IS_OVER | PIPE_IS_CLOSING)))
        TELL(pipe, room, pipe);
}

void pipe_accepted(struct pipe *server, struct pipe *client)
{
    TELL(server, accept, server, client);
}

static void cut_link(struct pipe_link *link, struct pipe *other, int why)
{
    bool coupled = link->coupled;

    link_detach(link);
    if (!coupled)
        wake_source(link->from);
    else if (why)
        pipe_abort(other, why);
    else
        pipe_close(other);
}

void pipe_drop_links(struct pipe *pipe)
{
    while (pipe->links_in) {
        struct pipe *from = pipe->links_in->from;

        link_detach(pipe->links_in);
        wake_source(from);
    }
    for (struct pipe_link *link = &pipe->link; link; link = link->next_out)
        if (link->to)
            link_detach(link);
}

void pipe_is_over(struct pipe *pipe, int why)
{
    if (pipe->flags & PIPE_IS_OVER)
        return;
    pipe->flags |= PIPE_IS_OVER;
    pipe->why = why;
    while (pipe->links_in)
        cut_link(pipe->links_in, pipe->links_in->from, why);
    for (struct pipe_link *link = &pipe->link; link; link = link->next_out)
        if (link->to)
            cut_link(link, link->to, why);
    defer_soon(pipe->loop, &pipe->ending);
}

static void finish(void *arg)
{
    struct pipe *pipe = arg;
    struct pipe_extra *extra;

    TELL(pipe, end, pipe, pipe->why);
    extra = pipe->extra;
    if (extra) {
        if (extra->subscribed_end)
            extra->subscribed_end(pipe, pipe->why);
        defer_cancel(pipe->loop, &extra->up);
        if (extra->filter_free)
            extra->filter_free(extra->filter_state);
        free(extra->listeners);
        free(extra);
    }
    while (pipe->link.next_out) {
        struct pipe_link *link = pipe->link.next_out;

        pipe->link.next_out = link->next_out;
        free(link);
    }
    pipe->ops->destroy(pipe);
}
