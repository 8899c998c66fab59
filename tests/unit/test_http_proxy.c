/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: plain HTTP proxying in virtual time over pairs (front_fake.h). An exchange
 * is a request as the client sends it, what the destination must get, what it answers, and what the
 * client must get; each is run with either direction cut at every byte. Then what exchanges cannot
 * show: several requests, kept streams, failures.
 */
#include "front_fake.h"

#include <errno.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A front end, and a client that has connected to it. */
static void begin(struct fake *fake, struct peer *client)
{
    fake_start(fake, NULL);
    fake_client(fake, client);
}

static void end(struct fake *fake, struct peer *client)
{
    fake_hang_up(fake, client);
    fake_stop(fake);
}

/* The destination of a stream is connected to, and answers. */
static void serve(struct fake *fake, size_t index, const char *response)
{
    fake_answer(fake, index, ANSWER_OK);
    fake_say(fake, &fake->streams[index].peer, response);
}

/* What is cut here arrives in two parts. */
static void say_in_two(struct fake *fake, struct peer *peer, const char *text, size_t cut)
{
    fake_write(fake, peer, text, cut);
    fake_say(fake, peer, text + cut);
}

static void finish_side(struct fake *fake, struct peer *peer)
{
    if (peer->pipe)
        pipe_shutdown(peer->pipe);
    fake_run(fake);
}

#define GET(host)       "GET http://" host "/ HTTP/1.1\r\nHost: " host "\r\n\r\n"
#define FORWARDED(host) "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n"
#define RESPONSE(text)  "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" text
#define EMPTY           "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

struct exchange {
    const char *name, *request, *forwarded, *response, *returned;
    bool stays; /* the client's connection is open afterwards */
    bool eof;   /* the destination ends its side after the response */
};

static const struct exchange exchanges[] = {
    {"GET", "GET http://h:81/a?b HTTP/1.1\r\nHost: h:81\r\nProxy-Connection: keep-alive\r\n\r\n",
     "GET /a?b HTTP/1.1\r\nHost: h:81\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", true, false},
    {"empty line first", "\r\nGET http://h:81/ HTTP/1.1\r\nHost: h:81\r\n\r\n", FORWARDED("h:81"),
     EMPTY, EMPTY, true, false},
    {"close", "GET http://h:81/ HTTP/1.1\r\nHost: h:81\r\nConnection: close\r\n\r\n",
     FORWARDED("h:81"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello", false, false},
    {"HEAD", "HEAD http://h:81/ HTTP/1.1\r\nHost: h:81\r\n\r\n",
     "HEAD / HTTP/1.1\r\nHost: h:81\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, false},
    {"304", GET("h:81"), FORWARDED("h:81"), "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n",
     "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n", true, false},
    {"chunked", GET("h:81"), FORWARDED("h:81"),
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nT: 1\r\n\r\n",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nT: 1\r\n\r\n", true,
     false},
    {"chunked to 1.0", "GET http://h:81/ HTTP/1.0\r\n\r\n", FORWARDED("h:81"),
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n2\r\n, \r\n0\r\nT: "
     "1\r\n\r\n",
     "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello, ", false, false},
    {"until close", GET("h:81"), FORWARDED("h:81"), "HTTP/1.0 200 OK\n\nhello\r\n\r\nHTTP/1.1 200",
     "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello\r\n\r\nHTTP/1.1 200", false, true},
    {"interim", GET("h:81"), FORWARDED("h:81"),
     "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
     "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n", true, false},
    {"interim to 1.0", "GET http://h:81/ HTTP/1.0\r\n\r\n", FORWARDED("h:81"),
     "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
     "HTTP/1.1 204 None\r\nConnection: close\r\n\r\n", false, false},
    {"POST", "POST http://h:81/ HTTP/1.1\r\nHost: h:81\r\nContent-Length: 7\r\n\r\nGET / h",
     "POST / HTTP/1.1\r\nHost: h:81\r\nContent-Length: 7\r\n\r\nGET / h", EMPTY, EMPTY, true,
     false},
    {"POST chunked",
     "POST http://h:81/ HTTP/1.1\r\nHost: h:81\r\nTransfer-Encoding: chunked\r\nExpect: "
     "100-continue\r\n"
     "\r\n3\r\nabc\r\n1;e=\"v\"\r\nd\r\n0\r\n\r\n",
     "POST / HTTP/1.1\r\nHost: h:81\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
     "\r\n3\r\nabc\r\n1;e=\"v\"\r\nd\r\n0\r\n\r\n",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, false},
    {"OPTIONS", "OPTIONS http://h:81 HTTP/1.1\r\nHost: h:81\r\n\r\n",
     "OPTIONS * HTTP/1.1\r\nHost: h:81\r\n\r\n", EMPTY, EMPTY, true, false},
};

static void check_exchange(const struct exchange *x, size_t request_split, size_t response_split)
{
    struct fake fake;
    struct peer client;
    char text[TARGET_TEXT_MAX];

    begin(&fake, &client);
    say_in_two(&fake, &client, x->request, request_split);
    assert_int_equal(fake.count, 1);
    struct fake_stream *stream = &fake.streams[0];
    assert_string_equal(target_format(&stream->target, text), "h:81");
    assert_string_equal(stream->peer.got, x->forwarded);
    assert_int_equal(client.len, 0);
    fake_answer(&fake, 0, ANSWER_OK);
    say_in_two(&fake, &stream->peer, x->response, response_split);
    if (x->eof)
        finish_side(&fake, &stream->peer);
    assert_string_equal(client.got, x->returned);
    assert_int_equal(client.eof, !x->stays);
    assert_int_equal(stream->peer.eof, !x->stays);
    if (x->stays) { /* and serves another request */
        peer_forget(&client);
        fake_say(&fake, &client, "GET /nothing HTTP/1.1\r\n\r\n");
        assert_memory_equal(client.got, "HTTP/1.1 404 ", 13);
    }
    fake_hang_up(&fake, &client);
    assert_int_equal(front_stats(fake.front)->clients, 0);
    fake_stop(&fake);
}

static void exchanges_at_every_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(exchanges); i++) {
        size_t request_len = strlen(exchanges[i].request);
        size_t response_len = strlen(exchanges[i].response);
        for (size_t split = 0; split <= request_len; split++)
            check_exchange(&exchanges[i], split, response_len);
        for (size_t split = 0; split <= response_len; split++)
            check_exchange(&exchanges[i], request_len, split);
    }
}

static void byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(exchanges); i++) {
        const struct exchange *x = &exchanges[i];
        struct fake fake;
        struct peer client;
        begin(&fake, &client);
        for (const char *p = x->request; *p; p++)
            fake_write(&fake, &client, p, 1);
        fake_answer(&fake, 0, ANSWER_OK);
        for (const char *p = x->response; *p; p++)
            fake_write(&fake, &fake.streams[0].peer, p, 1);
        if (x->eof)
            finish_side(&fake, &fake.streams[0].peer);
        assert_string_equal(fake.streams[0].peer.got, x->forwarded);
        assert_string_equal(client.got, x->returned);
        end(&fake, &client);
    }
}

/* Requests sent all at once are answered in order; to one destination on one stream, to others on
 * others. */
static void pipelined(void **state)
{
    static const char requests[] = GET("a") GET("a")
        GET("b") "POST http://b/ HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\nxyz" GET(
            "b") "GET /proxy.pac HTTP/1.1\r\n\r\n" GET("a");
    (void)state;
    for (size_t split = 0; split < sizeof requests; split++) {
        struct fake fake;
        struct peer client;
        begin(&fake, &client);
        say_in_two(&fake, &client, requests, split);
        assert_int_equal(fake.count, 1); /* one at a time */
        assert_string_equal(fake.streams[0].peer.got, FORWARDED("a"));
        serve(&fake, 0, RESPONSE("1"));
        assert_int_equal(fake.count, 1); /* the stream is kept */
        assert_string_equal(fake.streams[0].peer.got, FORWARDED("a") FORWARDED("a"));
        fake_say(&fake, &fake.streams[0].peer, RESPONSE("2"));
        assert_int_equal(fake.count, 2);
        assert_true(fake.streams[0].peer.eof); /* and given up for another destination */
        serve(&fake, 1, RESPONSE("3"));
        assert_int_equal(fake.count, 3); /* a POST cannot be repeated: it gets a new stream */
        fake_answer(&fake, 2, ANSWER_OK);
        assert_non_null(strstr(fake.streams[2].peer.got, "\r\n\r\nxyz"));
        fake_say(&fake, &fake.streams[2].peer, RESPONSE("4"));
        assert_int_equal(fake.count, 3);
        fake_say(&fake, &fake.streams[2].peer, RESPONSE("5"));
        assert_int_equal(fake.count, 4);
        serve(&fake, 3, RESPONSE("6"));
        const char *pac = strstr(client.got, "FindProxyForURL");
        assert_non_null(pac);
        const char *last = client.got + client.len - 1;
        assert_true(*last == '6' && pac > strstr(client.got, "\r\n\r\n5"));
        assert_false(client.eof);
        end(&fake, &client);
    }
}

/* The client finishes its side behind its last request: all are answered, then the connection ends.
 */
static void half_closed_client(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    begin(&fake, &client);
    pipe_write_copy(client.pipe, GET("a") GET("b"), strlen(GET("a") GET("b")));
    finish_side(&fake, &client);
    serve(&fake, 0, RESPONSE("1"));
    assert_int_equal(fake.count, 2);
    assert_false(client.eof);
    serve(&fake, 1, RESPONSE("2"));
    assert_string_equal(client.got, RESPONSE("1") RESPONSE("2"));
    assert_true(client.eof);
    fake_hang_up(&fake, &client);

    fake_client(&fake, &client); /* in the middle of a body: there is nothing to wait for */
    fake_say(&fake, &client, "POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
    finish_side(&fake, &client);
    assert_true(client.eof);
    assert_true(fake.streams[2].peer.ended && fake.streams[2].peer.why < 0);
    end(&fake, &client);
}

/* A kept stream that ends is replaced, also at the very moment of its next request. */
static void kept_stream_ends(void **state)
{
    (void)state;
    for (int moment = 0; moment < 3; moment++) {
        struct fake fake;
        struct peer client;
        begin(&fake, &client);
        fake_say(&fake, &client, GET("a"));
        serve(&fake, 0, RESPONSE("1"));
        if (moment == 0) { /* before */
            pipe_close(fake.streams[0].peer.pipe);
            fake_run(&fake);
        }
        assert_false(client.eof);
        fake_say(&fake, &client, GET("a"));
        if (moment == 1)
            pipe_close(fake.streams[0].peer.pipe);
        if (moment == 2)
            pipe_abort(fake.streams[0].peer.pipe, -ECONNRESET);
        fake_run(&fake);
        assert_int_equal(fake.count, 2);
        fake_answer(&fake, 1, ANSWER_OK);
        assert_string_equal(fake.streams[1].peer.got, FORWARDED("a"));
        fake_say(&fake, &fake.streams[1].peer, RESPONSE("2"));
        assert_string_equal(client.got, RESPONSE("1") RESPONSE("2"));
        assert_false(client.eof);
        end(&fake, &client);
    }
}

static void websocket(void **state)
{
    static const char request[] = "GET http://h/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
                                  "Upgrade: websocket\r\n\r\n";
    static const char response[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                   "Connection: Upgrade\r\n\r\n";
    (void)state;
    for (size_t split = 0; split < sizeof response; split++) {
        struct fake fake;
        struct peer client;
        begin(&fake, &client);
        fake_say(&fake, &client, request);
        struct fake_stream *stream = &fake.streams[0];
        assert_string_equal(stream->peer.got,
                            "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
                            "Connection: Upgrade\r\n\r\n");
        peer_forget(&stream->peer);
        fake_answer(&fake, 0, ANSWER_OK);
        fake_say(&fake, &client, "early"); /* impatient */
        assert_int_equal(stream->peer.len, 0);
        fake_write(&fake, &stream->peer, response, split);
        char rest[256];
        snprintf(rest, sizeof rest, "%sframe", response + split);
        fake_say(&fake, &stream->peer, rest);
        assert_memory_equal(client.got, response, sizeof response - 1);
        assert_string_equal(client.got + sizeof response - 1, "frame");
        assert_string_equal(stream->peer.got, "early");
        fake_say(&fake, &client, "up");
        fake_say(&fake, &stream->peer, "down");
        assert_string_equal(stream->peer.got, "earlyup");
        assert_string_equal(client.got + sizeof response - 1, "framedown");
        finish_side(&fake, &client);
        assert_true(stream->peer.eof && !client.eof);
        finish_side(&fake, &stream->peer);
        assert_true(client.ended);
        end(&fake, &client);
    }
}

static void destination_misbehaves(void **state)
{
    static const struct {
        const char *response;
        const char *returned; /* the beginning of it */
        bool stays;
    } cases[] = {
        {"", "HTTP/1.1 502 ", true},
        {"HTTP/1.1 200", "HTTP/1.1 502 ", true},
        {"SSH-2.0-x\r\n\r\n", "HTTP/1.1 502 ", true},
        {"HTTP/1.1 200 OK\r\nA\r\n\r\n", "HTTP/1.1 502 ", true},
        {"HTTP/1.1 101 Switch\r\nUpgrade: x\r\n\r\n", "HTTP/1.1 502 ", true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "HTTP/1.1 502 ",
         true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", "HTTP/1.1 200 OK", false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", "HTTP/1.1 200 OK", false},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx", "HTTP/1.1 200 OK", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 Surplus", "HTTP/1.1 200 OK",
         true},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fake fake;
        struct peer client;
        begin(&fake, &client);
        fake_say(&fake, &client, GET("a"));
        serve(&fake, 0, cases[i].response);
        finish_side(&fake, &fake.streams[0].peer);
        if (strncmp(client.got, cases[i].returned, strlen(cases[i].returned)) != 0)
            fail_msg("case %zu: %s", i, client.got);
        assert_null(strstr(client.got, "Surplus"));
        assert_int_equal(client.eof, !cases[i].stays);
        assert_true(fake.streams[0].peer.ended || fake.streams[0].peer.eof);
        if (cases[i].stays) { /* the next request is served as if nothing had happened */
            peer_forget(&client);
            fake_say(&fake, &client, GET("a"));
            assert_int_equal(fake.count, 2);
            serve(&fake, 1, RESPONSE("2"));
            assert_string_equal(client.got, RESPONSE("2"));
        }
        end(&fake, &client);
    }
}

/* Cut in an unmarked body: only a reset tells the client. */
static void cut_until_close(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    begin(&fake, &client);
    fake_say(&fake, &client, GET("a"));
    serve(&fake, 0, "HTTP/1.1 200 OK\r\n\r\nhel");
    pipe_abort(fake.streams[0].peer.pipe, -ECONNRESET);
    fake_run(&fake);
    assert_true(client.ended && client.why < 0);
    end(&fake, &client);
}

static void no_connection(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    for (int at_once = 0; at_once < 2; at_once++) {
        begin(&fake, &client);
        fake.refuse_with = at_once ? ANSWER_NO_PATH : ANSWER_OK;
        fake_say(&fake, &client, GET("a"));
        if (!at_once)
            fake_answer(&fake, 0, ANSWER_NO_PATH);
        assert_memory_equal(client.got, "HTTP/1.1 503 ", 13);
        assert_non_null(strstr(client.got, "Retry-After"));
        assert_non_null(strstr(client.got, "adit status"));
        assert_false(client.eof); /* the next may succeed */
        peer_forget(&client);
        fake.refuse_with = ANSWER_OK;
        fake_say(&fake, &client, GET("b"));
        serve(&fake, fake.count - 1, RESPONSE("1"));
        assert_string_equal(client.got, RESPONSE("1"));
        peer_forget(&client);
        fake.refuse_with = ANSWER_POLICY; /* with a body still to come: the end */
        fake_say(&fake, &client,
                 "POST http://c/ HTTP/1.1\r\nHost: c\r\nContent-Length: 9\r\n\r\nabc");
        assert_memory_equal(client.got, "HTTP/1.1 403 ", 13);
        assert_non_null(strstr(client.got, "Connection: close"));
        assert_true(client.eof);
        end(&fake, &client);
    }
}

static const char *say_reason(struct outlet *outlet, const struct target *target)
{
    (void)outlet;
    return target && strcmp(target->name, "d") == 0 ? "the exit `home' sleeps: wake it" : NULL;
}

/* What is behind a failure is told where the exit is concerned, and asked about this target. */
static void reasons(void **state)
{
    static const struct {
        enum answer answer;
        const char *name;
        bool told;
    } cases[] = {
        {ANSWER_NO_PATH, "d", true},   {ANSWER_NO_PATH, "e", false}, {ANSWER_NOT_EXIT, "d", true},
        {ANSWER_PEER_LOST, "d", true}, {ANSWER_REFUSED, "d", false}, {ANSWER_POLICY, "d", false},
    };
    struct fake fake;
    struct peer client;
    char text[128];

    (void)state;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        bool tunnel = i % 2;

        fake_start(&fake, NULL);
        fake.outlet.why = say_reason;
        fake.refuse_with = cases[i / 2].answer;
        fake_client(&fake, &client);
        snprintf(text, sizeof text,
                 tunnel ? "CONNECT %s:80 HTTP/1.1\r\nHost: x\r\n\r\n"
                        : "GET http://%s/ HTTP/1.1\r\nHost: x\r\n\r\n",
                 cases[i / 2].name);
        fake_say(&fake, &client, text);
        assert_int_equal(strstr(client.got, "The reason: the exit `home' sleeps: wake it.\n") !=
                             NULL,
                         cases[i / 2].told);
        assert_int_equal(strstr(client.got, "; details=\"the exit `home' sleeps: wake it\"\r\n") !=
                             NULL,
                         cases[i / 2].told);
        assert_int_equal(front_stats(fake.front)->failed, 1);
        end(&fake, &client);
    }
}

/* An answer before the request's end: passed on, and the connection ends, for the rest of the body
 * is of no use. */
static void early_response(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    begin(&fake, &client);
    fake_say(&fake, &client, "POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
    serve(&fake, 0, "HTTP/1.1 413 Large\r\nContent-Length: 1\r\n\r\nx");
    assert_string_equal(client.got,
                        "HTTP/1.1 413 Large\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    assert_true(client.eof);
    fake_hang_up(&fake, &client);
    /* A chunk that is malformed, after a good beginning. */
    fake_client(&fake, &client);
    fake_say(&fake, &client,
             "POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
             "3\r\nabc\r\nzz\r\n");
    assert_memory_equal(client.got, "HTTP/1.1 400 ", 13);
    assert_true(client.eof);
    assert_true(fake.streams[1].peer.ended);
    end(&fake, &client);
}

/* Writes it all at once, whatever room there is. */
static void pour(struct pipe *pipe, const char *bytes, size_t len)
{
    for (size_t at = 0; at < len; at += 8192)
        pipe_write_copy(pipe, bytes + at, len - at < 8192 ? len - at : 8192);
}

/* The reader goes on, and takes all that there is. */
static void drain(struct fake *fake, struct peer *reader)
{
    pipe_resume(reader->pipe);
    for (int i = 0; i < 10; i++)
        fake_run(fake);
}

/* Neither direction is taken in faster than the other side takes it. */
static void back_pressure(void **state)
{
    enum { SIZE = 600 * 1024 };
    struct fake fake;
    struct peer client;
    char *bytes = malloc(SIZE), head[128];

    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (char)('a' + i % 23);
    fake_start(&fake, NULL);
    fake.stream_options.buffer = 32768;
    fake_client(&fake, &client);
    int len = snprintf(head, sizeof head,
                       "POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", SIZE);
    fake_write(&fake, &client, head, (size_t)len);
    struct peer *far = &fake.streams[0].peer;
    fake_answer(&fake, 0, ANSWER_OK);
    pipe_pause(far->pipe);
    pour(client.pipe, bytes, SIZE);
    fake_run(&fake);
    assert_true(pipe_queued(fake.streams[0].near) <= 32768 + 8192);
    drain(&fake, far);
    assert_true(far->len > SIZE);
    assert_memory_equal(far->got + far->len - SIZE, bytes, SIZE);
    pipe_pause(client.pipe);
    len = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", SIZE);
    pipe_write_copy(far->pipe, head, (size_t)len);
    pour(far->pipe, bytes, SIZE);
    fake_run(&fake);
    assert_true(pipe_queued(far->pipe) > SIZE / 3);
    drain(&fake, &client);
    assert_int_equal(client.len, (size_t)len + SIZE);
    assert_memory_equal(client.got + len, bytes, SIZE);
    assert_false(client.eof);
    end(&fake, &client);
    free(bytes);
}

static void idle_client_is_closed(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    begin(&fake, &client);
    fake_say(&fake, &client, GET("a"));
    fake_pass(&fake, 200 * SEC_US); /* however long the destination takes */
    assert_false(client.eof);
    serve(&fake, 0, RESPONSE("1"));
    fake_pass(&fake, 100 * SEC_US);
    assert_false(client.eof);
    fake_pass(&fake, 30 * SEC_US);
    assert_true(client.eof);
    assert_true(fake.streams[0].peer.ended && fake.streams[0].peer.why == 0);
    assert_int_equal(front_stats(fake.front)->timeouts, 0);
    end(&fake, &client);
}

/* A client that goes between requests leaves no reset at the destination; one that goes during a
 * request does. */
static void client_goes(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    for (int i = 0; i < 2; i++) {
        begin(&fake, &client);
        fake_say(&fake, &client, GET("a"));
        fake_answer(&fake, 0, ANSWER_OK);
        if (i == 0)
            fake_say(&fake, &fake.streams[0].peer, RESPONSE("1"));
        fake_hang_up(&fake, &client);
        assert_true(fake.streams[0].peer.ended);
        assert_int_equal(fake.streams[0].peer.why == 0, i == 0);
        fake_stop(&fake);
    }
}

/* CONNECT behind a request on the same connection. */
static void connect_after_get(void **state)
{
    struct fake fake;
    struct peer client;

    (void)state;
    begin(&fake, &client);
    fake_say(&fake, &client, GET("a") "CONNECT b:1 HTTP/1.1\r\n\r\nDATA");
    serve(&fake, 0, RESPONSE("1"));
    assert_int_equal(fake.count, 2);
    assert_string_equal(fake.streams[1].peer.got, "DATA");
    fake_answer(&fake, 1, ANSWER_OK);
    assert_string_equal(client.got, RESPONSE("1") "HTTP/1.1 200 Connection established\r\n\r\n");
    fake_say(&fake, &client, "more");
    assert_string_equal(fake.streams[1].peer.got, "DATAmore");
    end(&fake, &client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchanges_at_every_split),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(pipelined),
        cmocka_unit_test(half_closed_client),
        cmocka_unit_test(kept_stream_ends),
        cmocka_unit_test(websocket),
        cmocka_unit_test(destination_misbehaves),
        cmocka_unit_test(cut_until_close),
        cmocka_unit_test(no_connection),
        cmocka_unit_test(reasons),
        cmocka_unit_test(early_response),
        cmocka_unit_test(back_pressure),
        cmocka_unit_test(idle_client_is_closed),
        cmocka_unit_test(client_goes),
        cmocka_unit_test(connect_after_get),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
