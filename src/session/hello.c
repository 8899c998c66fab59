/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The codec is pure: fixed fields first, then fields of type, length and value, of which unknown
 * ones are skipped, so that later versions can say more. The body starts with "adit", which no
 * other protocol's first message does.
 *
 * The exchange is one message each way. The dialler speaks first, since it has proven the
 * responder's key and the responder has nothing to ask; its hello may carry an enrolment secret,
 * which therefore only the holder of the expected key sees. The responder answers with its hello,
 * or with CLOSE and the reason. `binding` is keying material exported from this very connection
 * with the sender's instance as context: a hello that was sent over another connection is refused.
 *
 * One timer bounds the exchange. Until `done` the pipe is the exchange's.
 */
#include "session/hello.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "session/frame.h"

#define BINDING_LABEL "EXPORTER-adit-hello-1"
static const uint8_t MAGIC[4] = {'a', 'd', 'i', 't'};

enum { FIELD_SECRET = 1, FIELD_NAME = 2, FIELD_ADDR = 3, FIELD_TOKEN = 4 };
#define FIXED_BYTES (4 + 2 + 2 * INSTANCE_BYTES + HELLO_BINDING_BYTES + 12)

const char *close_code_text(enum close_code code)
{
    switch (code) {
    case CLOSE_OK:
        return "the peer stopped";
    case CLOSE_NOT_ADMITTED:
        return "the exit has not admitted this node: ask its owner for a ticket, or for `adit "
               "peers allow` with this node's ID";
    case CLOSE_TICKET_EXPIRED:
        return "the ticket has expired: ask the exit's owner for a new one (adit ticket)";
    case CLOSE_TICKET_USED:
        return "the ticket has been used up: ask the exit's owner for a new one (adit ticket)";
    case CLOSE_TICKET_UNKNOWN:
        return "the exit does not know this ticket: ask its owner for a new one (adit ticket)";
    case CLOSE_REVOKED:
        return "the exit's owner has revoked this node's admission: only `adit peers "
               "allow` there brings it back";
    case CLOSE_VERSION:
        return "the two nodes have no protocol version in common: update the older adit";
    case CLOSE_PROTOCOL:
        return "the peer reported a protocol error";
    case CLOSE_LIMIT:
        return "the peer is at its limit of sessions: try again later";
    case CLOSE_SELF:
        return "the ticket is this node's own";
    case CLOSE_EXPIRED:
        return "the admission has expired: ask the exit's owner for a new ticket, or for `adit "
               "peers allow`";
    }
    return "the peer closed for a reason that this version does not know";
}

static void put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 3; i >= 0; i--, value >>= 8)
        to[i] = (uint8_t)value;
}

static uint32_t get_u32(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static uint8_t *put_field(uint8_t *to, uint8_t type, const void *value, size_t len)
{
    to[0] = type;
    to[1] = (uint8_t)len;
    memcpy(to + 2, value, len);
    return to + 2 + len;
}

int hello_build(const struct hello *hello, uint8_t *buf, size_t size)
{
    uint8_t *to = buf;

    if (size < HELLO_BYTES_MAX)
        return -ENOBUFS;
    memcpy(to, MAGIC, sizeof(MAGIC));
    to[4] = hello->version_min;
    to[5] = hello->version_max;
    to += 6;
    memcpy(to, hello->instance, INSTANCE_BYTES);
    memcpy(to + INSTANCE_BYTES, hello->peer_instance, INSTANCE_BYTES);
    to += 2 * INSTANCE_BYTES;
    memcpy(to, hello->binding, HELLO_BINDING_BYTES);
    to += HELLO_BINDING_BYTES;
    put_u32(to, hello->flags);
    put_u32(to + 4, hello->max_streams);
    put_u32(to + 8, hello->hold_ms);
    to += 12;
    if (hello->has_secret)
        to = put_field(to, FIELD_SECRET, hello->secret, HELLO_SECRET_BYTES);
    if (hello->has_token)
        to = put_field(to, FIELD_TOKEN, hello->token, HELLO_TOKEN_BYTES);
    if (hello->name[0])
        to = put_field(to, FIELD_NAME, hello->name, strlen(hello->name));
    for (int i = 0; i < hello->addr_count && i < HELLO_ADDRS_MAX; i++) {
        uint8_t value[18];
        size_t len = addr_ip_bytes(&hello->addrs[i]);

        memcpy(value, hello->addrs[i].ip.bytes, len);
        value[len] = (uint8_t)(hello->addrs[i].port >> 8);
        value[len + 1] = (uint8_t)hello->addrs[i].port;
        to = put_field(to, FIELD_ADDR, value, len + 2);
    }
    return (int)(to - buf);
}

static int parse_field(struct hello *hello, uint8_t type, const uint8_t *value, size_t len)
{
    switch (type) {
    case FIELD_SECRET:
        if (len != HELLO_SECRET_BYTES)
            return ADIT_EFORMAT;
        memcpy(hello->secret, value, len);
        hello->has_secret = true;
        return 0;
    case FIELD_TOKEN:
        if (len != HELLO_TOKEN_BYTES)
            return ADIT_EFORMAT;
        memcpy(hello->token, value, len);
        hello->has_token = true;
        return 0;
    case FIELD_NAME:
        if (len == 0 || len > HELLO_NAME_MAX)
            return ADIT_EFORMAT;
        for (size_t i = 0; i < len; i++)
            if (value[i] <= ' ' || value[i] > '~' || value[i] == '"')
                return ADIT_EFORMAT; /* it appears in logs */
        memset(hello->name, 0, sizeof(hello->name)); /* of one that came before */
        memcpy(hello->name, value, len);
        return 0;
    case FIELD_ADDR:
        if (len != 6 && len != 18)
            return ADIT_EFORMAT;
        if (hello->addr_count < HELLO_ADDRS_MAX) {
            struct addr *addr = &hello->addrs[hello->addr_count++];
            addr->family = len == 6 ? AF_INET : AF_INET6;
            memcpy(addr->ip.bytes, value, len - 2);
            addr->port = (uint16_t)(value[len - 2] << 8 | value[len - 1]);
        }
        return 0;
    default: /* a later version's */
        return 0;
    }
}

int hello_parse(const uint8_t *body, size_t len, struct hello *hello)
{
    const uint8_t *at = body;
    size_t left;

    memset(hello, 0, sizeof(*hello));
    if (len < FIXED_BYTES || len > HELLO_BYTES_MAX || memcmp(body, MAGIC, sizeof(MAGIC)) != 0)
        return ADIT_EFORMAT;
    hello->version_min = at[4];
    hello->version_max = at[5];
    at += 6;
    memcpy(hello->instance, at, INSTANCE_BYTES);
    memcpy(hello->peer_instance, at + INSTANCE_BYTES, INSTANCE_BYTES);
    at += 2 * INSTANCE_BYTES;
    memcpy(hello->binding, at, HELLO_BINDING_BYTES);
    at += HELLO_BINDING_BYTES;
    hello->flags = get_u32(at);
    hello->max_streams = get_u32(at + 4);
    hello->hold_ms = get_u32(at + 8);
    at += 12;
    for (left = len - FIXED_BYTES; left > 0;) {
        size_t value_len;

        if (left < 2)
            return ADIT_EFORMAT;
        value_len = at[1];
        if (left < 2 + value_len || parse_field(hello, at[0], at + 2, value_len) < 0)
            return ADIT_EFORMAT;
        at += 2 + value_len;
        left -= 2 + value_len;
    }
    return hello->version_min > hello->version_max ? ADIT_EFORMAT : 0;
}

/* --- The exchange --- */

struct hello_exchange {
    struct pipe *pipe;
    bool dialler;
    struct hello mine;
    struct timer timer;
    const struct hello_events *events;
    void *arg;
};

static const struct pipe_events exchange_events;

static int send_hello(struct hello_exchange *exchange)
{
    uint8_t frame[FRAME_HEAD_BYTES + HELLO_BYTES_MAX];
    struct hello *mine = &exchange->mine;
    int len, r;

    mine->version_min = mine->version_max = HELLO_VERSION;
    r = pipe_exporter(exchange->pipe, BINDING_LABEL, mine->instance, INSTANCE_BYTES, mine->binding,
                      HELLO_BINDING_BYTES);
    if (r < 0)
        return r;
    len = hello_build(mine, frame + FRAME_HEAD_BYTES, HELLO_BYTES_MAX);
    if (len < 0)
        return len;
    frame_build_head(frame, FRAME_HELLO, (size_t)len);
    return pipe_send(exchange->pipe, frame, FRAME_HEAD_BYTES + (size_t)len, false);
}

static void send_close(struct pipe *pipe, enum close_code code, const char *text)
{
    uint8_t frame[FRAME_HEAD_BYTES + 8 + CLOSE_TEXT_MAX];
    size_t text_len = text ? strnlen(text, CLOSE_TEXT_MAX) : 0;
    size_t len = varint_write(frame + FRAME_HEAD_BYTES, code);

    memcpy(frame + FRAME_HEAD_BYTES + len, text ? text : "", text_len);
    len += text_len;
    frame_build_head(frame, FRAME_CLOSE, len);
    pipe_send(pipe, frame, FRAME_HEAD_BYTES + len, false);
}

/* Lets go of the pipe's events and frees the exchange; the pipe lives on. */
static struct pipe *exchange_free(struct hello_exchange *exchange)
{
    struct pipe *pipe = exchange->pipe;

    timer_cancel(pipe->loop, &exchange->timer);
    pipe_del_listener(pipe, &exchange_events, exchange);
    free(exchange);
    return pipe;
}

/* close_code CLOSE_OK: nothing to tell the peer. */
static void exchange_fail(struct hello_exchange *exchange, int why, enum close_code tell,
                          enum close_code code, const char *text)
{
    const struct hello_events *events = exchange->events;
    void *arg = exchange->arg;
    struct pipe *pipe = exchange_free(exchange);

    if (tell != CLOSE_OK) {
        send_close(pipe, tell, text);
        pipe_close(pipe);
    } else {
        pipe_abort(pipe, why);
    }
    events->failed(arg, why, code, text);
}

static void refuse(struct hello_exchange *exchange, enum close_code code, const char *text)
{
    exchange_fail(exchange, -EACCES, code, code, text ? text : close_code_text(code));
}

static void on_their_close(struct hello_exchange *exchange, const struct frame *frame)
{
    struct frame_close close;
    char text[CLOSE_TEXT_MAX + 1];
    enum close_code code = CLOSE_PROTOCOL;

    if (frame_parse_close(frame, &close) < 0) {
        exchange_fail(exchange, ADIT_EPROTO, CLOSE_PROTOCOL, CLOSE_PROTOCOL, "malformed CLOSE");
        return;
    }
    if (close.code <= CLOSE_LAST)
        code = (enum close_code)close.code;
    frame_close_text(&close, text, sizeof(text));
    exchange_fail(exchange, -EACCES, CLOSE_OK, code, text[0] ? text : close_code_text(code));
}

static void on_their_hello(struct hello_exchange *exchange, const struct frame *frame)
{
    uint8_t binding[HELLO_BINDING_BYTES];
    struct hello theirs;
    enum close_code code;
    const char *text = NULL;
    const struct hello_events *events = exchange->events;
    void *arg = exchange->arg;
    struct pipe *pipe = exchange->pipe;

    if (hello_parse(frame->body, frame->len, &theirs) < 0 ||
        pipe_exporter(pipe, BINDING_LABEL, theirs.instance, INSTANCE_BYTES, binding,
                      sizeof(binding)) < 0 ||
        memcmp(binding, theirs.binding, sizeof(binding)) != 0) {
        exchange_fail(exchange, ADIT_EPROTO, CLOSE_PROTOCOL, CLOSE_PROTOCOL, "malformed HELLO");
        return;
    }
    if (theirs.version_min > HELLO_VERSION || theirs.version_max < HELLO_VERSION) {
        refuse(exchange, CLOSE_VERSION, NULL);
        return;
    }
    code = events->received(arg, pipe, &theirs, exchange->dialler ? NULL : &exchange->mine, &text);
    if (code != CLOSE_OK) {
        refuse(exchange, code, text);
        return;
    }
    if (!exchange->dialler && send_hello(exchange) < 0) {
        exchange_fail(exchange, -ECONNRESET, CLOSE_OK, CLOSE_PROTOCOL, "the connection was lost");
        return;
    }
    exchange_free(exchange);
    events->done(arg, pipe, &theirs);
}

/* A hello is one message on carriers that keep them whole, as every path's pipe does for what one
 * pipe_send() gives it. */
static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct hello_exchange *exchange = arg;
    struct frame frame;
    int used = frame_parse(data->data, data->len, &frame);

    (void)pipe;
    (void)from;
    if (used <= 0 || (size_t)used != data->len ||
        (frame.type != FRAME_HELLO && frame.type != FRAME_CLOSE)) {
        exchange_fail(exchange, ADIT_EPROTO, CLOSE_PROTOCOL, CLOSE_PROTOCOL,
                      "something other than HELLO");
        return;
    }
    if (frame.type == FRAME_CLOSE)
        on_their_close(exchange, &frame);
    else
        on_their_hello(exchange, &frame);
}

static void on_eof(struct pipe *pipe, void *arg)
{
    (void)pipe;
    exchange_fail(arg, -ECONNRESET, CLOSE_OK, CLOSE_PROTOCOL, "the peer closed the connection");
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    exchange_fail(arg, why ? why : -ECONNRESET, CLOSE_OK, CLOSE_PROTOCOL,
                  "the connection was lost");
}

static void on_timeout(void *arg)
{
    exchange_fail(arg, -ETIMEDOUT, CLOSE_OK, CLOSE_PROTOCOL, "the peer did not answer");
}

static const struct pipe_events exchange_events = {
    .message = on_message,
    .eof = on_eof,
    .end = on_end,
};

struct hello_exchange *hello_start(struct pipe *pipe, const struct hello *mine, uint64_t timeout_us,
                                   const struct hello_events *events, void *arg)
{
    struct hello_exchange *exchange = calloc(1, sizeof(*exchange));

    if (!exchange)
        return NULL;
    exchange->pipe = pipe;
    exchange->dialler = mine != NULL;
    exchange->events = events;
    exchange->arg = arg;
    if (mine)
        exchange->mine = *mine;
    timer_init(&exchange->timer, on_timeout, exchange);
    timer_set_in(pipe->loop, &exchange->timer, timeout_us);
    pipe_add_listener(pipe, &exchange_events, exchange);
    if (mine && send_hello(exchange) < 0) {
        exchange_free(exchange);
        return NULL;
    }
    return exchange;
}

void hello_cancel(struct hello_exchange *exchange)
{
    pipe_abort(exchange_free(exchange), -ECANCELED);
}
