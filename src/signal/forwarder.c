/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Paho connects by itself: it resolves names with getaddrinfo(3) in the thread that serves all its
 * connections, and its sockets can be neither marked nor bound to an interface. So it is told that
 * there is an HTTP proxy, here, for all of mqtt, mqtts, ws and wss: it connects to 127.0.0.1 (no
 * name to look up), sends "CONNECT host:port" with a Proxy-Authorization, waits for "200", and
 * speaks TLS, WebSocket and MQTT through it. Host names in certificates and in HTTP stay those of
 * the broker.
 *
 * While it waits for that "200", Paho (1.3.12, Proxy_connect()) sleeps in steps of 250 ms, for at
 * most ten seconds, with its global lock held, whatever comes (also when the connection ends). So
 * "200" is the first thing that a connection gets from us, before its CONNECT has been read: it is
 * there when Paho looks. Only then is the password looked at, the name resolved (the owner's
 * resolver, in the loop) and the broker dialled: addresses of both families in turn, spaced, and
 * the first that answers has it. Paho reads away what follows "200" in its first moments, so not a
 * byte may come from the broker before Paho has spoken; nor does it, in TLS, HTTP or MQTT, as the
 * client speaks first, and nothing of what it says is handed on before its CONNECT is whole.
 *
 * Other users of the machine can connect too. They get the "200" and nothing else: without the
 * password, random and new for each of our connections, a connection is reset. Of those that have
 * not shown it there are at most FORWARDER_WAITING_MAX, for FORWARDER_REQUEST_US; one more ends the
 * oldest. (Who floods the port can keep a broker from connecting, as with any port.) There is one
 * forwarded connection at a time; one more with the password ends it.
 *
 * A broker can send as much as it likes, and every byte would be looked at by Paho and, when it is
 * a message for us, by signal. So it is read with a bucket of FORWARDER_BURST_BYTES that fills with
 * FORWARDER_BYTES_PER_S, and TCP tells the broker to wait.
 *
 * All is driven by the loop; when the loop is late, connections wait in the kernel.
 */
#include "signal/forwarder.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "crypto/hash.h"
#include "pipe/tcp.h"

#define SECRET_BYTES   20 /* 160 random bits */
#define LOGIN_BYTES    45 /* "adit:" and the secret in hex: a multiple of three, so no padding */
#define LOGIN_CHARS    (LOGIN_BYTES / 3 * 4)
#define CONNECT_MS     30000 /* of one address; the owner's limit of an attempt is shorter */
#define READ_MAX_BYTES 16384
#define WHY_BYTES      BROKER_TEXT_MAX
#define FILL_MAX_US    (10 * SEC_US)
#define WAKE_MIN_US    (50 * MS_US)

static const char established[] = "HTTP/1.1 200 OK\r\n\r\n";
static const char header_name[] = "\r\nproxy-authorization: basic ";

/* A connection that has not shown the password. */
struct waiting {
    struct forwarder *forwarder;
    struct pipe *pipe; /* NULL: free */
    uint64_t since;
    size_t len;
    uint8_t bytes[FORWARDER_REQUEST_BYTES];
};

struct
try {
    struct forwarder *forwarder;
    struct pipe *pipe; /* NULL: not begun, or failed */
};

struct forwarder {
    struct loop *loop;
    struct target to;
    struct broker_resolver resolver;
    forwarder_failed_cb *failed;
    void *arg;

    struct pipe *server;
    struct addr at;
    bool is_open;                /* a password is set */
    char login[LOGIN_CHARS + 1]; /* base64 of "user:password" */
    struct waiting waiting[FORWARDER_WAITING_MAX];
    struct timer expiry;

    enum forwarder_stage stage;
    struct pipe *down, *up; /* Paho's connection; the broker's, when one has answered */
    struct slice early;     /* what came with the CONNECT */
    bool has_spoken;        /* Paho has sent more than its CONNECT */
    bool is_ending;         /* Paho has closed */
    void *lookup;
    struct addr addrs[FORWARDER_ADDRS_MAX];
    struct try tries[FORWARDER_ADDRS_MAX];
    size_t addr_count, next, active;
    int error; /* of the last address that failed */
    struct timer pace;

    int64_t tokens; /* bytes that may be read from the broker; negative: debt */
    uint64_t filled;
    struct timer refill;
};

static void start_next(struct forwarder *forwarder);

/* --- Ends --- */

static void stop_lookup(struct forwarder *forwarder)
{
    if (forwarder->lookup)
        forwarder->resolver.cancel(forwarder->resolver.owner, forwarder->lookup);
    forwarder->lookup = NULL;
}

static const struct pipe_events try_events, up_events, down_events;

static void stop_tries(struct forwarder *forwarder)
{
    timer_cancel(forwarder->loop, &forwarder->pace);
    for (size_t i = 0; i < FORWARDER_ADDRS_MAX; i++) {
        struct pipe *pipe = forwarder->tries[i].pipe;

        if (!pipe)
            continue;
        forwarder->tries[i].pipe = NULL;
        pipe_del_listener(pipe, &try_events, &forwarder->tries[i]);
        pipe_abort(pipe, -ECANCELED);
    }
    forwarder->active = 0;
}

/* The present connection ends, untold. */
static void drop_connection(struct forwarder *forwarder)
{
    stop_lookup(forwarder);
    stop_tries(forwarder);
    timer_cancel(forwarder->loop, &forwarder->refill);
    slice_drop(&forwarder->early);
    if (forwarder->up) {
        pipe_del_listener(forwarder->up, &up_events, forwarder);
        pipe_abort(forwarder->up, -ECANCELED);
    }
    if (forwarder->down) {
        pipe_del_listener(forwarder->down, &down_events, forwarder);
        pipe_abort(forwarder->down, -ECANCELED);
    }
    forwarder->up = forwarder->down = NULL;
    forwarder->addr_count = forwarder->next = 0;
}

static void fail(struct forwarder *forwarder, const char *why)
{
    char text[WHY_BYTES + 1];

    snprintf(text, sizeof(text), "%s", why);
    drop_connection(forwarder);
    forwarder->failed(forwarder->arg, text);
}

/* --- To the broker --- */

static void fail_connecting(struct forwarder *forwarder)
{
    char text[WHY_BYTES + 1];

    if (forwarder->error == -ECONNREFUSED)
        snprintf(text, sizeof(text),
                 "nothing listens at the port of the broker: is it running, is the port right?");
    else
        snprintf(text, sizeof(text), "the broker cannot be reached: %s",
                 err_text(forwarder->error));
    fail(forwarder, text);
}

static void refill(void *arg)
{
    struct forwarder *forwarder = arg;
    uint64_t now = loop_now(forwarder->loop), passed = now - forwarder->filled;

    forwarder->filled = now;
    if (passed > FILL_MAX_US)
        passed = FILL_MAX_US;
    forwarder->tokens += (int64_t)(passed * FORWARDER_BYTES_PER_S / SEC_US);
    if (forwarder->tokens > FORWARDER_BURST_BYTES)
        forwarder->tokens = FORWARDER_BURST_BYTES;
    if (!forwarder->up)
        return;
    if (forwarder->tokens > 0) {
        pipe_resume(forwarder->up);
        return;
    }
    pipe_pause(forwarder->up);
    timer_set_in(forwarder->loop, &forwarder->refill,
                 (uint64_t)(-forwarder->tokens) * SEC_US / FORWARDER_BYTES_PER_S + WAKE_MIN_US);
}

/* Brokers and Paho send with Nagle's algorithm: a message behind another would wait 40 ms for the
 * delayed acknowledgement of the first (RFC 9293 3.7.4, 3.8.6.3). */
static void acknowledge_now(const struct pipe *pipe)
{
    int one = 1;

    setsockopt(tcp_fd(pipe), IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
}

static void up_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct forwarder *forwarder = arg;

    (void)from;
    acknowledge_now(pipe);
    if (!forwarder->is_ending) /* else it answers our goodbye */
        forwarder->stage = FORWARDER_ANSWERED;
    forwarder->tokens -= (int64_t)data->len;
    if (forwarder->tokens <= 0 && !timer_is_set(&forwarder->refill))
        refill(forwarder);
}

static void up_end(struct pipe *pipe, int why, void *arg)
{
    struct forwarder *forwarder = arg;

    (void)pipe;
    (void)why;
    forwarder->up = NULL; /* the link ends the other */
    timer_cancel(forwarder->loop, &forwarder->refill);
}

static const struct pipe_events up_events = {.message = up_message, .end = up_end};

/* An address has answered: it is linked with Paho's connection. */
static void try_up(struct pipe *pipe, void *arg)
{
    struct try *won = arg;
    struct forwarder *forwarder = won->forwarder;

    won->pipe = NULL;
    pipe_del_listener(pipe, &try_events, won);
    stop_tries(forwarder);
    forwarder->stage = FORWARDER_CONNECTED;
    forwarder->up = pipe;
    pipe_add_listener(pipe, &up_events, forwarder);
    pipe_write(pipe, &forwarder->early);
    pipe_link(pipe, forwarder->down);
    pipe_resume(forwarder->down);
    refill(forwarder);
}

static void try_end(struct pipe *pipe, int why, void *arg)
{
    struct try *lost = arg;
    struct forwarder *forwarder = lost->forwarder;

    (void)pipe;
    lost->pipe = NULL;
    forwarder->active--;
    forwarder->error = why;
    start_next(forwarder);
}

static const struct pipe_events try_events = {.up = try_up, .end = try_end};

static void on_pace(void *arg)
{
    start_next(arg);
}

/* The next address; when none is left, and none is being tried, it has failed. */
static void start_next(struct forwarder *forwarder)
{
    const struct pipe_options options = {.connect_timeout_ms = CONNECT_MS,
                                         .read_max = READ_MAX_BYTES};

    while (forwarder->next < forwarder->addr_count) {
        struct try *try = &forwarder->tries[forwarder->next];

        *try = (struct try){forwarder, NULL};
        try->pipe = tcp_open(forwarder->loop, &forwarder->addrs[forwarder->next++], &options);
        if (try->pipe) {
            forwarder->active++;
            pipe_add_listener(try->pipe, &try_events, try);
            timer_set_in(forwarder->loop, &forwarder->pace, FORWARDER_SPACING_US);
            return;
        }
        forwarder->error = -errno;
    }
    if (forwarder->active == 0)
        fail_connecting(forwarder);
}

/* Both families in turn, as each is ordered, RFC 8305 4; the first stays the first. */
static void set_addrs(struct forwarder *forwarder, const struct addr *addrs, size_t count)
{
    uint8_t family = count ? addrs[0].family : 0;
    size_t at[2] = {0, 0};

    forwarder->addr_count = forwarder->next = 0;
    for (int which = 0; forwarder->addr_count < FORWARDER_ADDRS_MAX; which ^= 1) {
        while (at[which] < count && (addrs[at[which]].family == family) != (which == 0))
            at[which]++;
        if (at[which] < count) {
            forwarder->addrs[forwarder->addr_count] = addrs[at[which]++];
            forwarder->addrs[forwarder->addr_count++].port = forwarder->to.port;
        } else if (at[0] >= count && at[1] >= count) {
            break;
        }
    }
}

static void on_resolved(void *arg, const struct addr *addrs, size_t count, const char *why)
{
    struct forwarder *forwarder = arg;
    char text[WHY_BYTES + 1];

    forwarder->lookup = NULL;
    if (count == 0) {
        snprintf(text, sizeof(text),
                 "the name of the broker cannot be resolved: %s; is it spelt right, does DNS work?",
                 why ? why : "no address");
        fail(forwarder, text);
        return;
    }
    forwarder->stage = FORWARDER_CONNECTING;
    set_addrs(forwarder, addrs, count);
    start_next(forwarder);
}

static void find_broker(struct forwarder *forwarder)
{
    forwarder->error = -EHOSTUNREACH;
    if (forwarder->to.name[0] == '\0') {
        forwarder->stage = FORWARDER_CONNECTING;
        set_addrs(forwarder, &forwarder->to.addr, 1);
        start_next(forwarder);
        return;
    }
    forwarder->stage = FORWARDER_RESOLVING;
    if (forwarder->resolver.start)
        forwarder->lookup = forwarder->resolver.start(forwarder->resolver.owner, forwarder->to.name,
                                                      on_resolved, forwarder);
    if (!forwarder->lookup)
        fail(forwarder, "the name of the broker cannot be resolved: too much is being looked up");
}

/* --- From Paho --- */

static void down_end(struct pipe *pipe, int why, void *arg)
{
    struct forwarder *forwarder = arg;

    (void)pipe;
    (void)why;
    forwarder->down = NULL;
    if (forwarder->up)
        return; /* the link ends it */
    drop_connection(forwarder);
}

static void down_eof(struct pipe *pipe, void *arg)
{
    (void)pipe;
    ((struct forwarder *)arg)->is_ending = true;
}

static void down_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                         void *arg)
{
    (void)data;
    (void)from;
    acknowledge_now(pipe);
    ((struct forwarder *)arg)->has_spoken = true;
}

static const struct pipe_events down_events = {
    .message = down_message, .eof = down_eof, .end = down_end};
static const struct pipe_events waiting_events;

static void drop_waiting(struct waiting *waiting)
{
    struct pipe *pipe = waiting->pipe;

    if (!pipe)
        return;
    waiting->pipe = NULL;
    pipe_del_listener(pipe, &waiting_events, waiting);
    pipe_abort(pipe, -EACCES);
}

/* Whether a whole request shows the password. Header names are compared without case. */
static bool is_ours(const struct forwarder *forwarder, const char *head, size_t len)
{
    size_t name = sizeof(header_name) - 1, login = sizeof(forwarder->login) - 1;

    if (!forwarder->is_open || len < 8 || memcmp(head, "CONNECT ", 8) != 0)
        return false;
    for (size_t i = 0; i + name + login + 2 <= len; i++)
        if (strncasecmp(head + i, header_name, name) == 0)
            return hash_equal(head + i + name, forwarder->login, login) &&
                   memcmp(head + i + name + login, "\r\n", 2) == 0;
    return false;
}

static void take(struct waiting *waiting, size_t head_len)
{
    struct forwarder *forwarder = waiting->forwarder;
    struct pipe *pipe = waiting->pipe;

    waiting->pipe = NULL;
    pipe_del_listener(pipe, &waiting_events, waiting);
    drop_connection(forwarder);
    forwarder->is_open = false; /* the password is used up */
    forwarder->is_ending = false;
    forwarder->has_spoken = waiting->len > head_len;
    forwarder->down = pipe;
    forwarder->early = slice_copy(waiting->bytes + head_len, waiting->len - head_len);
    pipe_add_listener(pipe, &down_events, forwarder);
    pipe_pause(pipe);
    find_broker(forwarder);
}

static void waiting_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                            void *arg)
{
    struct waiting *waiting = arg;
    const uint8_t *end;

    (void)pipe;
    (void)from;
    if (data->len > sizeof(waiting->bytes) - waiting->len) {
        drop_waiting(waiting);
        return;
    }
    memcpy(waiting->bytes + waiting->len, data->data, data->len);
    waiting->len += data->len;
    end = memmem(waiting->bytes, waiting->len, "\r\n\r\n", 4);
    if (!end)
        return;
    if (is_ours(waiting->forwarder, (const char *)waiting->bytes,
                (size_t)(end - waiting->bytes) + 2))
        take(waiting, (size_t)(end - waiting->bytes) + 4);
    else
        drop_waiting(waiting);
}

static void waiting_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    ((struct waiting *)arg)->pipe = NULL;
}

static const struct pipe_events waiting_events = {.message = waiting_message, .end = waiting_end};

static void expire(void *arg)
{
    struct forwarder *forwarder = arg;
    uint64_t now = loop_now(forwarder->loop), next = UINT64_MAX;

    for (size_t i = 0; i < FORWARDER_WAITING_MAX; i++) {
        struct waiting *waiting = &forwarder->waiting[i];
        uint64_t end = waiting->since + FORWARDER_REQUEST_US;

        if (!waiting->pipe)
            continue;
        if (end <= now)
            drop_waiting(waiting);
        else if (end < next)
            next = end;
    }
    if (next != UINT64_MAX)
        timer_set(forwarder->loop, &forwarder->expiry, next);
}

static void on_accept(struct pipe *server, struct pipe *client, void *arg)
{
    struct forwarder *forwarder = arg;
    struct waiting *waiting = &forwarder->waiting[0];

    (void)server;
    for (size_t i = 0; i < FORWARDER_WAITING_MAX && waiting->pipe; i++)
        if (!forwarder->waiting[i].pipe || forwarder->waiting[i].since < waiting->since)
            waiting = &forwarder->waiting[i];
    drop_waiting(waiting);
    *waiting = (struct waiting){
        .forwarder = forwarder, .pipe = client, .since = loop_now(forwarder->loop)};
    pipe_add_listener(client, &waiting_events, waiting);
    pipe_write_copy(client, established, sizeof(established) - 1);
    if (!timer_is_set(&forwarder->expiry))
        timer_set_in(forwarder->loop, &forwarder->expiry, FORWARDER_REQUEST_US);
}

static const struct pipe_events server_events = {.accept = on_accept};

/* --- Life --- */

struct forwarder *forwarder_new(struct loop *loop, const struct target *to,
                                const struct broker_resolver *resolver, forwarder_failed_cb *failed,
                                void *arg)
{
    const struct addr at = addr_loopback(AF_INET, 0);
    struct forwarder *forwarder = calloc(1, sizeof(*forwarder));

    if (!forwarder)
        return NULL;
    forwarder->loop = loop;
    forwarder->to = *to;
    forwarder->resolver = *resolver;
    forwarder->failed = failed;
    forwarder->arg = arg;
    forwarder->tokens = FORWARDER_BURST_BYTES;
    forwarder->filled = loop_now(loop);
    timer_init(&forwarder->expiry, expire, forwarder);
    timer_init(&forwarder->pace, on_pace, forwarder);
    timer_init(&forwarder->refill, refill, forwarder);
    forwarder->server = tcp_listen(loop, &at, NULL);
    if (!forwarder->server) {
        free(forwarder);
        return NULL;
    }
    pipe_add_listener(forwarder->server, &server_events, forwarder);
    if (pipe_addrs(forwarder->server, &forwarder->at, NULL) < 0) {
        forwarder_free(forwarder);
        return NULL;
    }
    return forwarder;
}

void forwarder_free(struct forwarder *forwarder)
{
    if (!forwarder)
        return;
    forwarder_stop(forwarder);
    pipe_del_listener(forwarder->server, &server_events, forwarder);
    pipe_abort(forwarder->server, -ECANCELED);
    hash_wipe(forwarder->login, sizeof(forwarder->login));
    free(forwarder);
}

/* RFC 4648 4, of a multiple of three bytes. */
static void base64(const uint8_t *bytes, size_t len, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i + 2 < len; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16 | (uint32_t)bytes[i + 1] << 8 | bytes[i + 2];

        for (int shift = 18; shift >= 0; shift -= 6)
            *out++ = digits[three >> shift & 63];
    }
    *out = '\0';
}

void forwarder_renew(struct forwarder *forwarder, char proxy[FORWARDER_PROXY_BYTES])
{
    uint8_t secret[SECRET_BYTES];
    char login[LOGIN_BYTES + 1] = "adit:";

    forwarder_stop(forwarder);
    loop_random(forwarder->loop, secret, sizeof(secret));
    for (size_t i = 0; i < SECRET_BYTES; i++)
        snprintf(login + 5 + 2 * i, 3, "%02x", secret[i]);
    base64((const uint8_t *)login, LOGIN_BYTES, forwarder->login);
    snprintf(proxy, FORWARDER_PROXY_BYTES, "%s@127.0.0.1:%u", login, forwarder->at.port);
    hash_wipe(login, sizeof(login));
    hash_wipe(secret, sizeof(secret));
    forwarder->is_open = true;
    forwarder->has_spoken = false;
    forwarder->stage = FORWARDER_IDLE;
}

void forwarder_stop(struct forwarder *forwarder)
{
    forwarder->is_open = false;
    drop_connection(forwarder);
    for (size_t i = 0; i < FORWARDER_WAITING_MAX; i++)
        drop_waiting(&forwarder->waiting[i]);
    timer_cancel(forwarder->loop, &forwarder->expiry);
}

enum forwarder_stage forwarder_stage(const struct forwarder *forwarder)
{
    return forwarder->stage;
}

bool forwarder_has_spoken(const struct forwarder *forwarder)
{
    return forwarder->has_spoken;
}
