/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the pure HTTP functions. Heads that are right, and a table of those that
 * must be refused, with the status; framing; the chunked decoder at every split; authorities and
 * URLs; rewriting; pages; the users file.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "ingress/http.h"
#include "ingress/http_page.h"
#include "ingress/http_rewrite.h"
#include "ingress/users.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static ssize_t parse_request(const char *text, struct http_head *head)
{
    return http_request_parse((const uint8_t *)text, strlen(text), head);
}

static ssize_t parse_response(const char *text, struct http_head *head)
{
    return http_response_parse((const uint8_t *)text, strlen(text), head);
}

static void assert_text(struct http_text text, const char *expected)
{
    assert_non_null(text.at);
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.at, expected, text.len);
}

/* Compares a slice with a text and drops it. */
static void assert_slice(struct slice slice, const char *expected)
{
    char *text = strndup((const char *)slice.data, slice.len);

    slice_drop(&slice);
    assert_string_equal(text, expected);
    free(text);
}

static void request_whole(void **state)
{
    static const char text[] = "POST http://h/p?q HTTP/1.1\r\nHost: h\r\nContent-Length:  12 \r\n"
                               "TE: gzip, trailers\r\nConnection: close, TE, X-Mine\r\n"
                               "Expect: 100-Continue\r\nEmpty:\r\n\r\n";
    struct http_head head;

    (void)state;
    for (size_t i = 0; i < sizeof text - 1; i++)
        assert_int_equal(http_request_parse((const uint8_t *)text, i, &head), 0);
    assert_int_equal(parse_request(text, &head), sizeof text - 1);
    assert_text(head.method, "POST");
    assert_text(head.target, "http://h/p?q");
    assert_int_equal(head.minor, 1);
    assert_int_equal(head.count, 6);
    assert_text(head.host, "h");
    assert_true(head.has_length && head.length == 12 && !head.chunked);
    assert_true(head.close && head.expects && head.te_trailers && !head.upgrades);
    assert_int_equal(head.nominated_count, 1);
    assert_text(head.nominated[0], "X-Mine");
    assert_text(head.fields[5].value, "");
    assert_int_equal(http_request_body(&head), HTTP_BODY_LENGTH);
}

static void request_scan(void **state)
{
    static const char text[] = "GET / HTTP/1.1\r\nA: b\r\n\r\n";
    struct http_head head;
    size_t scanned = 0;

    (void)state;
    /* Byte by byte, each looked at once. */
    for (size_t i = 0; i < sizeof text - 1; i++)
        assert_int_equal(http_scan((const uint8_t *)text, i, &scanned, false), 0);
    assert_int_equal(http_scan((const uint8_t *)text, sizeof text - 1, &scanned, false),
                     sizeof text - 1);
    /* A TLS hello is noticed at once. */
    assert_int_equal(http_request_parse((const uint8_t *)"\x16\x03\x01", 3, &head), ADIT_EFORMAT);
    assert_int_equal(head.refuse, 400);
}

static const struct {
    const char *text;
    unsigned refuse;
} bad_requests[] = {
    {"\r\n\r\n", 400},
    {"GET\r\n\r\n", 400},
    {"GET /\r\n\r\n", 400},
    {"GET / HTTP/1.1 \r\n\r\n", 400},
    {"GET  / HTTP/1.1\r\n\r\n", 400},
    {"GET / x HTTP/1.1\r\n\r\n", 400},
    {"GET /#f HTTP/1.1\r\n\r\n", 400},
    {" GET / HTTP/1.1\r\n\r\n", 400},
    {"G@T / HTTP/1.1\r\n\r\n", 400},
    {"GET / HTTP/1.1\n\n", 400},
    {"GET / HTTP/1.1\r\nA: b\n\r\n", 400},
    {"GET / HTTP/1.1\rA: b\r\n\r\n", 400},
    {"GET / http/1.1\r\n\r\n", 400},
    {"GET / HTTP/11\r\n\r\n", 400},
    {"GET / HTTP/2.0\r\n\r\n", 505},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    {"GET / HTTP/1.1\r\nnocolon\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n: v\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nA : v\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nA b: v\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\n A: b\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nA: b\001c\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nA: b\177c\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 0x1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 501},
    {"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"GET / HTTP/1.1\r\nProxy-Authorization: a\r\nProxy-Authorization: b\r\n\r\n", 400},
};

static void request_refused(void **state)
{
    struct http_head head;

    (void)state;
    for (size_t i = 0; i < COUNT(bad_requests); i++) {
        if (parse_request(bad_requests[i].text, &head) >= 0)
            fail_msg("accepted: %s", bad_requests[i].text);
        if (head.refuse != bad_requests[i].refuse)
            fail_msg("%u: %s", head.refuse, bad_requests[i].text);
        assert_non_null(head.problem);
    }
}

static void request_limits(void **state)
{
    size_t size = HTTP_HEAD_MAX_BYTES + 100;
    char *text = malloc(size);
    struct http_head head;
    size_t len;

    (void)state;
    len = (size_t)sprintf(text, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < HTTP_FIELDS_MAX; i++)
        len += (size_t)sprintf(text + len, "A%d: b\r\n", i);
    strcpy(text + len, "\r\n");
    assert_true(parse_request(text, &head) > 0);
    assert_int_equal(head.count, HTTP_FIELDS_MAX);
    strcpy(text + len, "B: c\r\n\r\n");
    assert_int_equal(parse_request(text, &head), ADIT_EFULL);
    assert_int_equal(head.refuse, 431);

    memset(text, 'a', size);
    memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
    assert_int_equal(http_request_parse((uint8_t *)text, HTTP_HEAD_MAX_BYTES - 1, &head), 0);
    assert_int_equal(http_request_parse((uint8_t *)text, size, &head), ADIT_EFULL);
    assert_int_equal(head.refuse, 431);
    /* Exactly at the limit. */
    memcpy(text + HTTP_HEAD_MAX_BYTES - 4, "\r\n\r\n", 4);
    assert_int_equal(http_request_parse((uint8_t *)text, size, &head), HTTP_HEAD_MAX_BYTES);
    free(text);

    assert_true(parse_request("GET / HTTP/1.1\r\nConnection: "
                              "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p\r\n\r\n",
                              &head) > 0);
    assert_int_equal(parse_request("GET / HTTP/1.1\r\nConnection: "
                                   "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\n\r\n",
                                   &head),
                     ADIT_EFULL);
}

static void response_parsing(void **state)
{
    struct http_head head;

    (void)state;
    assert_true(parse_response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", &head) > 0);
    assert_int_equal(head.status, 200);
    assert_text(head.reason, "OK");
    assert_int_equal(http_response_body(&head, false), HTTP_BODY_LENGTH);
    assert_int_equal(http_response_body(&head, true), HTTP_BODY_NONE);
    /* Forgiven: bare LF, no reason, space before the colon, equal lengths. */
    assert_true(parse_response("HTTP/1.0 304\nContent-Length : 3\ncontent-length: 3\n\n", &head) >
                0);
    assert_true(head.has_length && head.length == 3);
    assert_int_equal(http_response_body(&head, false), HTTP_BODY_NONE);
    assert_true(parse_response("HTTP/1.1 200 \r\nTransfer-Encoding: gzip\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n",
                               &head) > 0);
    assert_int_equal(http_response_body(&head, false), HTTP_BODY_CHUNKED);
    assert_true(parse_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", &head) > 0);
    assert_int_equal(http_response_body(&head, false), HTTP_BODY_UNTIL_CLOSE);
    assert_true(parse_response("HTTP/1.1 200 OK\r\n\r\n", &head) > 0);
    assert_int_equal(http_response_body(&head, false), HTTP_BODY_UNTIL_CLOSE);
    assert_true(parse_response("HTTP/1.1 204 None\r\n\r\n", &head) > 0);
    assert_int_equal(http_response_body(&head, false), HTTP_BODY_NONE);

    static const char *const bad[] = {
        "ICY 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        if (parse_response(bad[i], &head) >= 0)
            fail_msg("accepted: %s", bad[i]);
    assert_int_equal(http_response_parse((const uint8_t *)"HTTP/1.1 200 \0\r\n\r\n", 18, &head),
                     ADIT_EFORMAT);
}

static void chunks(void **state)
{
    static const char body[] =
        "5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\nGET";
    size_t body_len = sizeof body - 1 - 3;

    (void)state;
    for (size_t split = 0; split <= body_len; split++) {
        struct http_chunked chunked = {0};
        ssize_t first = http_chunked_feed(&chunked, (const uint8_t *)body, split);
        assert_int_equal(first, split);
        assert_int_equal(chunked.done, split == body_len);
        ssize_t second =
            http_chunked_feed(&chunked, (const uint8_t *)body + split, sizeof body - 1 - split);
        assert_int_equal(second, body_len - split);
        assert_true(chunked.done);
    }

    struct http_chunked chunked = {0};
    char data[32] = "";
    for (size_t at = 0; !chunked.done;) {
        size_t payload;
        ssize_t n =
            http_chunked_step(&chunked, (const uint8_t *)body + at, body_len - at, &payload);
        assert_true(n > 0);
        strncat(data, body + at, payload);
        at += (size_t)n;
    }
    assert_string_equal(data, "hello0123456789");

    static const char *const bad[] = {
        "\r\n",      "x\r\n",    ";\r\n",     "5\n",       "5\rx",
        "5;a\nb",    "1\r\nab",  "1\r\na\nb", "1\r\na\rb", "0\r\n folded: x\r\n\r\n",
        "0\r\na\nb", "0\r\n\rx", "-1\r\n",    "0x5\r\n",   "fffffffffffffffff\r\n",
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        memset(&chunked, 0, sizeof chunked);
        if (http_chunked_feed(&chunked, (const uint8_t *)bad[i], strlen(bad[i])) >= 0)
            fail_msg("accepted: %s", bad[i]);
    }
    /* A line and trailers without an end. */
    char *line = malloc(HTTP_TRAILERS_MAX_BYTES + 10);
    memset(line, 'a', HTTP_TRAILERS_MAX_BYTES + 10);
    memset(&chunked, 0, sizeof chunked);
    memcpy(line, "5;", 2);
    assert_int_equal(http_chunked_feed(&chunked, (uint8_t *)line, HTTP_CHUNK_LINE_MAX_BYTES + 2),
                     ADIT_EFORMAT);
    memset(&chunked, 0, sizeof chunked);
    memcpy(line, "0\r\n", 3);
    assert_int_equal(http_chunked_feed(&chunked, (uint8_t *)line, HTTP_TRAILERS_MAX_BYTES + 10),
                     ADIT_EFORMAT);
    free(line);
}

static struct http_text text_of(const char *text)
{
    return (struct http_text){text, strlen(text)};
}

static void authorities(void **state)
{
    static const struct {
        const char *text;
        uint16_t port;
        const char *expected; /* NULL: refused */
    } cases[] = {
        {"example.com:443", 0, "example.com:443"},
        {"192.0.2.1:80", 0, "192.0.2.1:80"},
        {"[2001:db8::1]:80", 0, "[2001:db8::1]:80"},
        {"[2001:db8::1]", 80, "[2001:db8::1]:80"},
        {"example.com", 80, "example.com:80"},
        {"example.com:", 80, "example.com:80"},
        {"example.com", 0, NULL},
        {"example.com:", 0, NULL},
        {"example.com:0", 80, NULL},
        {"example.com:65536", 0, NULL},
        {"example.com:000080", 0, NULL},
        {"example.com:8a", 0, NULL},
        {"example.com:+80", 0, NULL},
        {":80", 0, NULL},
        {"", 80, NULL},
        {"2001:db8::1:80", 0, NULL},
        {"[2001:db8::1:80", 0, NULL},
        {"[2001:db8::1]80", 0, NULL},
        {"[example.com]:80", 0, NULL},
        {"[fe80::1%eth0]:80", 0, NULL},
        {"user@example.com:80", 0, NULL},
        {"a b:80", 0, NULL},
    };
    struct target target;
    char text[TARGET_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        int r = http_authority_parse(text_of(cases[i].text), cases[i].port, &target);
        if ((r == 0) != (cases[i].expected != NULL))
            fail_msg("%d: %s", r, cases[i].text);
        if (r == 0)
            assert_string_equal(target_format(&target, text), cases[i].expected);
    }
}

static void urls(void **state)
{
    struct http_url url;
    char text[TARGET_TEXT_MAX];

    (void)state;
    assert_int_equal(http_url_parse(text_of("HTTP://Example.com:8080/a?b"), &url), 0);
    assert_string_equal(target_format(&url.target, text), "Example.com:8080");
    assert_text(url.authority, "Example.com:8080");
    assert_text(url.path, "/a?b");
    assert_int_equal(http_url_parse(text_of("http://h?q"), &url), 0);
    assert_text(url.path, "?q");
    assert_int_equal(http_url_parse(text_of("http://h"), &url), 0);
    assert_int_equal(url.path.len, 0);
    assert_int_equal(http_url_parse(text_of("https://h/"), &url), -EPROTONOSUPPORT);
    assert_int_equal(http_url_parse(text_of("ftp://h/"), &url), -EPROTONOSUPPORT);
    assert_int_equal(http_url_parse(text_of("http:/h"), &url), ADIT_EFORMAT);
    assert_int_equal(http_url_parse(text_of("http://"), &url), ADIT_EFORMAT);
    assert_int_equal(http_url_parse(text_of("http:///path"), &url), ADIT_EFORMAT);
    assert_int_equal(http_url_parse(text_of("http://u:p@h/"), &url), ADIT_EFORMAT);
    assert_int_equal(http_url_parse(text_of("nonsense"), &url), ADIT_EFORMAT);
}

static struct slice rewrite(const char *text, bool via)
{
    struct http_head head;
    struct http_url url;

    assert_true(parse_request(text, &head) > 0);
    assert_int_equal(http_url_parse(head.target, &url), 0);
    return http_request_rewrite(&head, &url, via);
}

static void request_rewriting(void **state)
{
    (void)state;
    assert_slice(
        rewrite("GET http://h:81/p HTTP/1.0\r\nHost: other\r\nProxy-Connection: keep-alive\r\n"
                "Proxy-Authorization: Basic eDp5\r\nConnection: X-Hop, close, Keep-Alive\r\n"
                "X-Hop: 1\r\nKeep-Alive: 5\r\nAccept: */*\r\nProxy-Foo: x\r\n\r\n",
                true),
        "GET /p HTTP/1.1\r\nHost: h:81\r\nAccept: */*\r\nVia: 1.1 adit\r\n\r\n");
    assert_slice(rewrite("GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n", false),
                 "GET /?q HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_slice(rewrite("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n", false),
                 "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_slice(
        rewrite("PUT http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n"
                "Connection: TE, upgrade\r\nUpgrade: websocket\r\nTE: trailers, gzip\r\n\r\n",
                false),
        "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade, TE\r\n\r\n");
    /* What frames the message cannot be nominated away; h2c is not passed on. */
    assert_slice(
        rewrite("POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\n"
                "Connection: Content-Length, Host, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                "HTTP2-Settings: x\r\n\r\n",
                false),
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n");
}

static struct slice rewrite_response(const char *text, struct http_response_options options)
{
    struct http_head head;

    assert_true(parse_response(text, &head) > 0);
    return http_response_rewrite(&head, &options);
}

static void response_rewriting(void **state)
{
    (void)state;
    assert_slice(rewrite_response("HTTP/1.0 200 Fine\nContent-Length: 3\nContent-Length: 3\n"
                                  "Connection: X\nX: y\nServer : s\n\n",
                                  (struct http_response_options){.via = true}),
                 "HTTP/1.1 200 Fine\r\nServer: s\r\nContent-Length: 3\r\nVia: 1.1 adit\r\n\r\n");
    assert_slice(rewrite_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                                  (struct http_response_options){0}),
                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n");
    assert_slice(rewrite_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                                  (struct http_response_options){.unchunk = true, .close = true}),
                 "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    assert_slice(rewrite_response("HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n"
                                  "Connection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
                                  (struct http_response_options){0}),
                 "HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: x\r\nUpgrade: websocket\r\n"
                 "Connection: Upgrade\r\n\r\n");
}

static void basic_credentials(void **state)
{
    char out[HTTP_CREDENTIALS_MAX_BYTES], *user, *password;

    (void)state;
    assert_int_equal(
        http_basic_parse(text_of("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), out, &user, &password), 0);
    assert_string_equal(user, "Aladdin");
    assert_string_equal(password, "open sesame");
    assert_int_equal(http_basic_parse(text_of("basic  YTpiOmM"), out, &user, &password), 0);
    assert_string_equal(user, "a");
    assert_string_equal(password, "b:c");
    assert_int_equal(http_basic_parse(text_of("Bearer QQ=="), out, &user, &password), ADIT_EFORMAT);
    assert_int_equal(http_basic_parse(text_of("Basic !!!!"), out, &user, &password), ADIT_EFORMAT);
    assert_int_equal(http_basic_parse(text_of("Basic QQ=="), out, &user, &password), ADIT_EFORMAT);
    assert_int_equal(http_basic_parse(text_of("Basic "), out, &user, &password), ADIT_EFORMAT);

    char *text = malloc(3000);
    memset(text, 'Q', 3000);
    memcpy(text, "Basic ", 6);
    for (size_t len = 1300; len < 1500; len++)
        http_basic_parse((struct http_text){text, len}, out, &user, &password);
    assert_int_equal(http_basic_parse((struct http_text){text, 3000}, out, &user, &password),
                     ADIT_EFORMAT);
    free(text);
}

static void pages(void **state)
{
    struct target target;
    struct addr at;
    struct http_page page;

    (void)state;
    target_parse("example.com:80", &target);
    addr_parse("127.0.0.1:1080", &at);
    for (int answer = 1; answer <= ANSWER_LAST + 1; answer++) {
        http_page_answer(&page, (enum answer)answer, &target, NULL);
        assert_in_range(page.status, 400, 504);
        assert_non_null(strstr(page.text, "example.com:80"));
        struct slice slice = http_page_build(&page, answer % 2, false);
        struct http_head head;
        ssize_t n = http_response_parse(slice.data, slice.len, &head);
        assert_true(n > 0);
        assert_int_equal(head.status, page.status);
        assert_int_equal((size_t)n + head.length, slice.len);
        assert_int_equal(head.close, answer % 2);
        slice_drop(&slice);
    }
    /* What is behind it is in the text, and quoted in the field. */
    http_page_answer(&page, ANSWER_NO_PATH, &target, "the exit `home' said \"no\\\\yes\"\xc3\xa4");
    assert_non_null(strstr(page.text, "The reason: the exit `home' said \"no"));
    struct slice built = http_page_build(&page, true, false);
    static const char field[] = "Proxy-Status: adit; error=destination_unavailable; details=\"the "
                                "exit `home' said \\\"no\\\\\\\\yes\\\"\?\?\"\r\n";
    assert_non_null(memmem(built.data, built.len, field, sizeof field - 1));
    slice_drop(&built);
    char reason[2000];
    memset(reason, '"', sizeof reason);
    reason[sizeof reason - 1] = '\0';
    http_page_answer(&page, ANSWER_NO_PATH, &target, reason);
    built = http_page_build(&page, true, false);
    struct http_head cut;
    ssize_t whole = http_response_parse(built.data, built.len, &cut);
    assert_true(whole > 0);
    assert_int_equal((size_t)whole + cut.length, built.len);
    slice_drop(&built);
    http_page_pac(&page, &at);
    assert_non_null(strstr(page.text, "PROXY 127.0.0.1:1080"));
    assert_null(strstr(page.text, "; DIRECT"));
    http_page_credentials(&page);
    struct slice slice = http_page_build(&page, false, true);
    assert_non_null(memmem(slice.data, slice.len, "Proxy-Authenticate: Basic realm=\"adit\"", 38));
    assert_memory_equal(slice.data + slice.len - 4, "\r\n\r\n", 4);
    slice_drop(&slice);
}

/* Loads a users file with these contents and mode. */
static int load(const char *contents, size_t len, mode_t mode, struct users **users,
                char error[512])
{
    char path[] = "test_http.users.XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, contents, len), len);
    fchmod(fd, mode);
    close(fd);
    int r = users_load(path, users, error, 512);
    unlink(path);
    return r;
}

static void users_file(void **state)
{
    static const struct {
        const char *text, *expected;
    } bad[] = {
        {"a:b\nnocolon\n", "line 2: no colon"},
        {"\n# c\n:b\n", "line 3: no user name"},
        {"a:\n", "line 1: no password"},
        {"a:b\na:c\n", "line 2: this user name is there twice"},
        {"", "has no users"},
        {"# nobody\n", "has no users"},
    };
    static const char good[] = "# comment\n\nalice:secret\r\nbob:pass:word\ncarol: x ";
    struct users *users;
    char error[512];

    (void)state;
    assert_int_equal(load(good, sizeof good - 1, 0600, &users, error), 0);
    assert_int_equal(users_count(users), 3);
    assert_true(users_check(users, "alice", 5, "secret", 6));
    assert_true(users_check(users, "bob", 3, "pass:word", 9));
    assert_true(users_check(users, "carol", 5, " x ", 3));
    assert_false(users_check(users, "alice", 5, "secre", 5));
    assert_false(users_check(users, "alice", 5, "secrets", 7));
    assert_false(users_check(users, "alice", 5, "pass:word", 9));
    assert_false(users_check(users, "", 0, "", 0));
    assert_false(users_check(users, "alice", 5, "", 0));
    users_free(users);

    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(load(bad[i].text, strlen(bad[i].text), 0600, &users, error), ADIT_EFORMAT);
        if (!strstr(error, bad[i].expected))
            fail_msg("%s: %s", bad[i].text, error);
    }
    assert_int_equal(load("a\0:b\n", 5, 0600, &users, error), ADIT_EFORMAT);
    assert_int_equal(load(good, sizeof good - 1, 0644, &users, error), -EPERM);
    assert_non_null(strstr(error, "chmod"));
    assert_int_equal(users_load("/nonexistent/users", &users, error, sizeof error), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_whole),     cmocka_unit_test(request_scan),
        cmocka_unit_test(request_refused),   cmocka_unit_test(request_limits),
        cmocka_unit_test(response_parsing),  cmocka_unit_test(chunks),
        cmocka_unit_test(authorities),       cmocka_unit_test(urls),
        cmocka_unit_test(request_rewriting), cmocka_unit_test(response_rewriting),
        cmocka_unit_test(basic_credentials), cmocka_unit_test(pages),
        cmocka_unit_test(users_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
