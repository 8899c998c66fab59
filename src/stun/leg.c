/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 *     STARTING --> RESOLVING --> CONNECTING --> UP --> end
 *         `--- an address -----^     ^  |
 *                                    `--' the next address, on streams
 *
 * A name is looked up by the caller's resolver; of its addresses those of the wanted family are
 * taken, less `skip` of them. A stream connects to one after the other until one works; on UDP
 * nobody answers before something is asked, so the first is taken, and whoever gets no answer opens
 * another leg with a larger `skip`.
 *
 * A UDP socket is connected to the server, so the kernel passes over what others send. Of a stream,
 * frames are cut: those that lie within what was read at once are slices of it, without a copy;
 * one that does not is put together in a block of its size. What is neither STUN nor ChannelData
 * ends the leg, since nobody knows where the next frame would begin.
 *
 * What is sent is given to the pipe in one piece: a head goes in front of data in the data's own
 * block where nobody else has that, else both are copied.
 *
 * Everything is told from the loop. While a callback runs, `gone` tells the code below it whether
 * the leg was closed inside.
 *
 * Limits: LEG_QUEUE_BYTES unsent on a stream; one frame that is not complete, of STUN_MESSAGE_MAX
 * bytes at most; while paused, what was read at once.
 */
#include "stun/leg.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipe/tcp.h"
#include "pipe/udp.h"
#include "stun/channel.h"
#include "stun/secure.h"
#include "stun/stun.h"

enum leg_state { LEG_STARTING, LEG_RESOLVING, LEG_CONNECTING, LEG_UP };

struct leg {
    struct loop *loop;
    struct stun_server server;
    struct leg_options options;
    char tls_name[SERVER_HOST_MAX + 1];
    const struct leg_events *events;
    void *arg;
    enum leg_state state;
    struct pipe *pipe; /* NULL: none */
    void *lookup;      /* the resolver's; NULL: none */
    struct defer work; /* the start; frames that waited for leg_resume() */
    struct addr addrs[LEG_ADDRESSES_MAX];
    size_t addr_count, addr_next;
    struct slice_queue input; /* read, not looked at: streams */
    struct block *partial;    /* a frame that is not complete */
    size_t partial_len, partial_need;
    bool paused, no_room, got_eof;
    bool *gone; /* NULL: no callback runs */
};

static const struct pipe_events pipe_events;
static void start_next(struct leg *leg);

/* --- End --- */

static void leg_free(struct leg *leg)
{
    if (leg->gone)
        *leg->gone = true;
    if (leg->lookup)
        leg->options.resolver.cancel(leg->options.resolver.owner, leg->lookup);
    defer_cancel(leg->loop, &leg->work);
    slice_queue_clear(&leg->input);
    if (leg->partial)
        block_unref(leg->partial);
    free(leg);
}

static void drop_pipe(struct leg *leg, int why)
{
    struct pipe *pipe = leg->pipe;

    leg->pipe = NULL;
    if (!pipe)
        return;
    pipe_del_listener(pipe, &pipe_events, leg);
    if (why)
        pipe_abort(pipe, why);
    else
        pipe_close(pipe);
}

/* Tells the end. The leg is gone. */
__attribute__((format(printf, 3, 4))) static void leg_over(struct leg *leg, int why,
                                                           const char *format, ...)
{
    char text[LEG_TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    drop_pipe(leg, why);
    leg->events->end(leg, why, text, leg->arg);
    leg_free(leg);
}

void leg_close(struct leg *leg)
{
    drop_pipe(leg, 0);
    leg_free(leg);
}

void leg_abort(struct leg *leg)
{
    drop_pipe(leg, -ETIMEDOUT);
    leg_free(leg);
}

/* --- Frames --- */

/* Moves bytes from the input to the frame that is not complete. */
static void complete_partial(struct leg *leg)
{
    uint8_t *at = block_start(leg->partial);

    while (leg->partial_len < leg->partial_need && leg->input.bytes > 0) {
        size_t part = slice_queue_peek(&leg->input, 0, at + leg->partial_len,
                                       leg->partial_need - leg->partial_len);

        slice_queue_drop(&leg->input, part);
        leg->partial_len += part;
    }
}

/* The next frame of the input. 1, 0: none is complete, or ADIT_EFORMAT. */
static int next_frame(struct leg *leg, struct slice *frame)
{
    uint8_t header[STUN_HEADER_BYTES];
    struct slice *first;
    size_t have;
    int len;

    if (!leg->partial) {
        have = slice_queue_peek(&leg->input, 0, header, sizeof(header));
        len = stun_frame_length(header, have);
        if (len <= 0)
            return len;
        first = slice_queue_first(&leg->input);
        if (first->len >= (size_t)len) {
            *frame = slice_part(first, 0, (size_t)len);
            slice_queue_drop(&leg->input, (size_t)len);
            return 1;
        }
        leg->partial = block_new_sized((size_t)len);
        leg->partial_need = (size_t)len;
        leg->partial_len = 0;
    }
    complete_partial(leg);
    if (leg->partial_len < leg->partial_need)
        return 0;
    /* The cookie may have been out of sight before. */
    if (stun_frame(block_start(leg->partial), leg->partial_len) < 0)
        return ADIT_EFORMAT;
    *frame = (struct slice){leg->partial, block_start(leg->partial), leg->partial_len};
    leg->partial = NULL;
    return 1;
}

static void read_frames(struct leg *leg)
{
    bool gone = false, *outer = leg->gone;
    struct slice frame;
    int more = 1;

    leg->gone = &gone;
    while (!leg->paused && (more = next_frame(leg, &frame)) > 0) {
        leg->events->frame(leg, &frame, leg->arg);
        slice_drop(&frame);
        if (gone) {
            if (outer)
                *outer = true;
            return;
        }
    }
    leg->gone = outer;
    if (more < 0)
        leg_over(leg, ADIT_EPROTO, "the server sent what is neither STUN nor TURN");
    else if (leg->got_eof && !leg->paused)
        leg_over(leg, ADIT_ETRUNC, "the server closed the connection");
}

/* --- The pipe tells --- */

static void on_up(struct pipe *pipe, void *arg)
{
    struct leg *leg = arg;

    (void)pipe;
    leg->state = LEG_UP;
    leg->events->up(leg, leg->arg);
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct leg *leg = arg;
    struct slice copy;

    (void)pipe;
    (void)from; /* a connected socket hears its peer only */
    if (leg->server.transport == SERVER_UDP) {
        leg->events->frame(leg, data, leg->arg);
        return;
    }
    copy = slice_ref(data);
    slice_queue_push(&leg->input, &copy);
    read_frames(leg);
}

static void on_eof(struct pipe *pipe, void *arg)
{
    struct leg *leg = arg;

    (void)pipe;
    leg->got_eof = true;
    read_frames(leg);
}

static void on_room(struct pipe *pipe, void *arg)
{
    struct leg *leg = arg;

    (void)pipe;
    if (!leg->no_room || leg_room(leg) == 0)
        return;
    leg->no_room = false;
    if (leg->events->room)
        leg->events->room(leg, leg->arg);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct leg *leg = arg;
    char addr[ADDR_TEXT_MAX], text[LEG_TEXT_MAX] = "";

    leg->pipe = NULL;
    if (leg->server.transport == SERVER_TLS)
        snprintf(text, sizeof(text), "%s", secure_trouble(pipe));
    if (!text[0])
        snprintf(text, sizeof(text), "%s", why ? err_text(why) : "the connection was closed");
    if (leg->state == LEG_UP)
        leg_over(leg, why ? why : ADIT_ETRUNC, "%s", text);
    else if (leg->addr_next < leg->addr_count)
        start_next(leg);
    else
        leg_over(leg, why ? why : ADIT_ETRUNC, "cannot connect to %s over %s: %s",
                 addr_format(&leg->addrs[leg->addr_next - 1], addr),
                 server_transport_name(leg->server.transport), text);
}

static const struct pipe_events pipe_events = {
    .up = on_up,
    .message = on_message,
    .eof = on_eof,
    .room = on_room,
    .end = on_end,
};

/* --- Connecting --- */

static struct pipe *open_pipe(struct leg *leg, const struct addr *to)
{
    if (leg->options.connect)
        return leg->options.connect(leg->options.connect_owner, to, leg->server.transport);
    switch (leg->server.transport) {
    case SERVER_UDP:
        return udp_open(leg->loop, to, &leg->options.pipe);
    case SERVER_TCP:
        return tcp_open(leg->loop, to, &leg->options.pipe);
    case SERVER_TLS:
        return secure_open(leg->loop, leg->options.authority, to, leg->tls_name,
                           &leg->options.pipe);
    }
    return NULL;
}

/* Connects to the next address, or to the one after it. */
static void start_next(struct leg *leg)
{
    char text[ADDR_TEXT_MAX];
    int error = ENOENT;

    leg->state = LEG_CONNECTING;
    while (leg->addr_next < leg->addr_count) {
        leg->pipe = open_pipe(leg, &leg->addrs[leg->addr_next++]);
        if (leg->pipe && pipe_add_listener(leg->pipe, &pipe_events, leg) == 0)
            return;
        error = leg->pipe ? ENOBUFS : errno;
        if (leg->pipe)
            pipe_abort(leg->pipe, -ENOBUFS);
        leg->pipe = NULL;
    }
    addr_format(&leg->addrs[leg->addr_next - 1], text);
    leg_over(leg, -error, "cannot connect to %s over %s: %s", text,
             server_transport_name(leg->server.transport), strerror(error));
}

/* Takes the addresses that are wanted, in their order, and begins. */
static void take_addrs(struct leg *leg, const struct addr *addrs, size_t count)
{
    unsigned skip = leg->options.skip, others = 0;

    for (size_t i = 0; i < count && leg->addr_count < LEG_ADDRESSES_MAX; i++) {
        if (leg->options.family && addrs[i].family != leg->options.family) {
            others++;
        } else if (skip > 0) {
            skip--;
        } else {
            leg->addrs[leg->addr_count] = addrs[i];
            leg->addrs[leg->addr_count++].port = leg->server.port;
        }
    }
    if (leg->addr_count > 0)
        start_next(leg);
    else if (others > 0 && skip == leg->options.skip)
        leg_over(leg, -EADDRNOTAVAIL, "%s has no %s address", leg->server.host,
                 leg->options.family == AF_INET ? "IPv4" : "IPv6");
    else
        leg_over(leg, -ENOENT, "%s has no more addresses", leg->server.host);
}

static void on_resolved(void *arg, const struct addr *addrs, size_t count, const char *why)
{
    struct leg *leg = arg;

    leg->lookup = NULL;
    if (count == 0)
        leg_over(leg, -ENOENT, "cannot find %.80s: %s", leg->server.host,
                 why ? why : "it has no address");
    else
        take_addrs(leg, addrs, count);
}

static void start(struct leg *leg)
{
    const struct stun_resolver *resolver = &leg->options.resolver;
    struct addr addr = leg->options.address;

    if (leg->server.transport == SERVER_TLS && !leg->options.authority) {
        leg_over(leg, -ENOTSUP, "no certificates to check the server with");
        return;
    }
    if (addr_is_set(&addr) || addr_parse_ip(leg->server.host, &addr) == 0) {
        if (addr.port != 0)
            leg->server.port = addr.port;
        take_addrs(leg, &addr, 1);
        return;
    }
    leg->state = LEG_RESOLVING;
    if (resolver->start)
        leg->lookup = resolver->start(resolver->owner, leg->server.host, on_resolved, leg);
    if (!leg->lookup)
        leg_over(leg, -ENOENT, "cannot look up %.80s", leg->server.host);
}

static void on_work(void *arg)
{
    struct leg *leg = arg;

    if (leg->state == LEG_STARTING)
        start(leg);
    else
        read_frames(leg);
}

struct leg *leg_open(struct loop *loop, const struct stun_server *server,
                     const struct leg_options *options, const struct leg_events *events, void *arg)
{
    struct leg *leg = calloc(1, sizeof(*leg));

    if (!leg)
        return NULL;
    leg->loop = loop;
    leg->server = *server;
    leg->options = *options;
    snprintf(leg->tls_name, sizeof(leg->tls_name), "%s",
             options->tls_name ? options->tls_name : server->host);
    leg->options.tls_name = leg->tls_name;
    leg->events = events;
    leg->arg = arg;
    defer_init(&leg->work, on_work, leg);
    defer_soon(loop, &leg->work);
    return leg;
}

/* --- Use --- */

bool leg_is_up(const struct leg *leg)
{
    return leg->state == LEG_UP && leg->pipe;
}

bool leg_is_stream(const struct leg *leg)
{
    return leg->server.transport != SERVER_UDP;
}

int leg_addrs(const struct leg *leg, struct addr *local, struct addr *remote)
{
    return leg->pipe ? pipe_addrs(leg->pipe, local, remote) : -ENOTCONN;
}

size_t leg_room(const struct leg *leg)
{
    size_t queued = leg->pipe ? pipe_queued(leg->pipe) : LEG_QUEUE_BYTES;

    if (!leg_is_up(leg))
        return 0;
    if (!leg_is_stream(leg))
        return pipe_room(leg->pipe);
    return queued < LEG_QUEUE_BYTES / 2 ? LEG_QUEUE_BYTES / 2 - queued : 0;
}

/* 0, or why a frame of so many bytes cannot be sent now. */
static int check_room(struct leg *leg, size_t bytes)
{
    size_t queued;

    if (!leg_is_up(leg) || !pipe_is_up(leg->pipe))
        return ADIT_ECLOSED;
    if (!leg_is_stream(leg))
        return 0;
    queued = pipe_queued(leg->pipe);
    /* Those who wait for `room` are told by on_room(). */
    leg->no_room |= queued + bytes >= LEG_QUEUE_BYTES / 2;
    return queued + bytes > LEG_QUEUE_BYTES ? -ENOBUFS : 0;
}

int leg_send2(struct leg *leg, const void *head, size_t head_len, const void *data, size_t len)
{
    size_t total = head_len + len, padding = leg_is_stream(leg) ? channel_padding(total) : 0;
    struct slice slice;
    int r = check_room(leg, total);

    if (r != 0)
        return r;
    slice.block = block_new_sized(total + padding);
    slice.data = block_start(slice.block);
    slice.len = total + padding;
    memcpy(slice.data, head, head_len);
    if (len > 0)
        memcpy(slice.data + head_len, data, len);
    memset(slice.data + total, 0, padding);
    return pipe_write(leg->pipe, &slice);
}

/* Whether the data's block is ours alone, with room for so many bytes before and behind. */
static bool can_extend(const struct slice *data, size_t before, size_t behind)
{
    struct block *block = data->block;

    return block && block->refs == 1 && (size_t)(data->data - block->data) >= before &&
           data->data + data->len + behind <= block_start(block) + block->size;
}

int leg_send_slice(struct leg *leg, const void *head, size_t head_len, struct slice *data)
{
    size_t total = head_len + data->len, padding = leg_is_stream(leg) ? channel_padding(total) : 0;
    int r;

    if (!can_extend(data, head_len, padding)) {
        r = leg_send2(leg, head, head_len, data->data, data->len);
        if (r == 0)
            slice_drop(data);
        return r;
    }
    r = check_room(leg, total);
    if (r != 0)
        return r;
    memset(data->data + data->len, 0, padding);
    data->data -= head_len;
    data->len = total + padding;
    memcpy(data->data, head, head_len);
    return pipe_write(leg->pipe, data);
}

int leg_send(struct leg *leg, const void *bytes, size_t len)
{
    if (leg_is_up(leg) && !leg_is_stream(leg))
        return pipe_send(leg->pipe, bytes, len, false);
    return leg_send2(leg, bytes, len, NULL, 0);
}

void leg_pause(struct leg *leg)
{
    leg->paused = true;
    if (leg->pipe)
        pipe_pause(leg->pipe);
}

void leg_resume(struct leg *leg)
{
    if (!leg->paused)
        return;
    leg->paused = false;
    if (leg->pipe)
        pipe_resume(leg->pipe);
    if (leg->state == LEG_UP && leg_is_stream(leg))
        defer_soon(leg->loop, &leg->work);
}

struct pipe *leg_take_pipe(struct leg *leg, struct slice *surplus)
{
    size_t bytes = leg->partial_len * (leg->partial != NULL) + leg->input.bytes, partial = 0;
    struct pipe *pipe = leg->pipe;

    *surplus = (struct slice){NULL, NULL, 0};
    if (!leg_is_up(leg) || !leg_is_stream(leg))
        return NULL;
    if (bytes > 0) {
        surplus->block = block_new_sized(bytes);
        surplus->data = block_start(surplus->block);
        surplus->len = bytes;
        if (leg->partial) {
            partial = leg->partial_len;
            memcpy(surplus->data, block_start(leg->partial), partial);
        }
        slice_queue_peek(&leg->input, 0, surplus->data + partial, bytes - partial);
    }
    leg->pipe = NULL;
    pipe_del_listener(pipe, &pipe_events, leg);
    pipe_pause(pipe);
    leg_free(leg);
    return pipe;
}
