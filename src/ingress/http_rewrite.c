/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A head is copied field by field into one new block, whose size is computed before: the old head,
 * plus what may be added. Left out are the hop-by-hop fields: Connection and what it names,
 * Keep-Alive, Proxy-*, TE, Upgrade. Put in again, from what was understood and not from what was
 * written, are those that decide about framing and the connection (Host, Content-Length,
 * Transfer-Encoding, Connection, TE: trailers, Upgrade), so that the next parser cannot understand
 * the message otherwise than we did.
 */
#include "ingress/http_rewrite.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ADDED_MAX_BYTES 256 /* what may be added beside copies of what was there */

struct writer {
    struct slice slice;
    size_t size;
};

static void put(struct writer *out, const char *bytes, size_t len)
{
    assert(out->slice.len + len <= out->size);
    if (len > 0)
        memcpy(out->slice.data + out->slice.len, bytes, len);
    out->slice.len += len;
}

static void put_string(struct writer *out, const char *string)
{
    put(out, string, strlen(string));
}

static void put_text(struct writer *out, struct http_text text)
{
    put(out, text.at, text.len);
}

static void put_field(struct writer *out, const char *name, struct http_text value)
{
    put_string(out, name);
    put(out, ": ", 2);
    put_text(out, value);
    put(out, "\r\n", 2);
}

static struct writer writer_new(const struct http_head *head, size_t start_line)
{
    size_t size = ADDED_MAX_BYTES + start_line + head->upgrade.len;
    for (unsigned i = 0; i < head->count; i++)
        size += head->fields[i].name.len + head->fields[i].value.len + 4;
    struct block *block = block_new_sized(size);
    return (struct writer){{block, block_start(block), 0}, size};
}

static bool is_nominated(const struct http_head *head, struct http_text name)
{
    for (unsigned i = 0; i < head->nominated_count; i++)
        if (head->nominated[i].len == name.len &&
            strncasecmp(head->nominated[i].at, name.at, name.len) == 0)
            return true;
    return false;
}

/* Whether a field is copied as it stands. */
static bool is_end_to_end(const struct http_head *head, const struct http_field *field,
                          bool is_request)
{
    switch (field->known) {
    case HTTP_CONNECTION:
    case HTTP_CONTENT_LENGTH:
    case HTTP_KEEP_ALIVE:
    case HTTP_PROXY_ANY:
    case HTTP_PROXY_AUTHORIZATION:
    case HTTP_PROXY_CONNECTION:
    case HTTP_TE:
    case HTTP_TRANSFER_ENCODING:
    case HTTP_UPGRADE:
        return false;
    case HTTP_HOST:
        return !is_request;
    case HTTP_EXPECT:
    case HTTP_VIA:
    case HTTP_OTHER:
        return !is_nominated(head, field->name);
    }
    return false;
}

static void put_end_to_end(struct writer *out, const struct http_head *head, bool is_request)
{
    for (unsigned i = 0; i < head->count; i++) {
        const struct http_field *field = &head->fields[i];
        if (!is_end_to_end(head, field, is_request))
            continue;
        put_text(out, field->name);
        put(out, ": ", 2);
        put_text(out, field->value);
        put(out, "\r\n", 2);
    }
}

static void put_length(struct writer *out, const struct http_head *head)
{
    char digits[24];

    if (!head->has_length)
        return;
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)head->length);
    put_field(out, "Content-Length", (struct http_text){digits, (size_t)len});
}

struct slice http_request_rewrite(const struct http_head *request, const struct http_url *url,
                                  bool via)
{
    struct writer out =
        writer_new(request, request->method.len + url->path.len + url->authority.len);

    put_text(&out, request->method);
    put(&out, " ", 1);
    /* RFC 9112 3.2.4: an empty path is "*" for OPTIONS, else "/". */
    if (url->path.len == 0 && request->method.len == 7 &&
        memcmp(request->method.at, "OPTIONS", 7) == 0)
        put(&out, "*", 1);
    else if (url->path.len == 0 || url->path.at[0] != '/')
        put(&out, "/", 1);
    put_text(&out, url->path);
    put_string(&out, " HTTP/1.1\r\n");
    put_field(&out, "Host", url->authority);
    put_end_to_end(&out, request, true);
    put_length(&out, request);
    if (request->has_coding)
        put_string(&out, "Transfer-Encoding: chunked\r\n");
    if (via)
        put_string(&out, "Via: 1.1 adit\r\n");
    if (request->te_trailers)
        put_string(&out, "TE: trailers\r\n");
    if (request->upgrades)
        put_field(&out, "Upgrade", request->upgrade);
    if (request->upgrades || request->te_trailers) {
        put_string(&out, "Connection: ");
        put_string(&out, request->upgrades ? "Upgrade" : "TE");
        put_string(&out, request->upgrades && request->te_trailers ? ", TE\r\n" : "\r\n");
    }
    put(&out, "\r\n", 2);
    return out.slice;
}

/* The codings as they came: they are end to end for us, who pass the coded bytes on. */
static void put_codings(struct writer *out, const struct http_head *response)
{
    for (unsigned i = 0; i < response->count; i++)
        if (response->fields[i].known == HTTP_TRANSFER_ENCODING)
            put_field(out, "Transfer-Encoding", response->fields[i].value);
}

struct slice http_response_rewrite(const struct http_head *response,
                                   const struct http_response_options *options)
{
    struct writer out = writer_new(response, response->reason.len);
    char line[32];

    snprintf(line, sizeof line, "HTTP/1.1 %03u ", response->status);
    put_string(&out, line);
    put_text(&out, response->reason);
    put(&out, "\r\n", 2);
    put_end_to_end(&out, response, false);
    put_length(&out, response);
    if (!options->unchunk)
        put_codings(&out, response);
    if (options->via)
        put_string(&out, "Via: 1.1 adit\r\n");
    if (response->status == 101) {
        put_field(&out, "Upgrade", response->upgrade);
        put_string(&out, "Connection: Upgrade\r\n");
    } else if (options->close) {
        put_string(&out, "Connection: close\r\n");
    }
    put(&out, "\r\n", 2);
    return out.slice;
}
