/* SPDX-License-Identifier: MIT */
/*
 * HTTP/1.x messages as a proxy must understand them (RFC 9110, RFC 9112): heads, the framing of
 * bodies, and where a request wants to go. Pure functions; http_rewrite.h turns a head into the one
 * that is forwarded, http_conn.c has the conversation.
 *
 * Requests are read strictly: whatever two parsers might understand differently is refused.
 * Responses are read as strictly where framing depends on it, and forgivingly elsewhere, for what
 * is forwarded is written anew.
 */
#ifndef ADIT_INGRESS_HTTP_H
#define ADIT_INGRESS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/target.h"

#define HTTP_HEAD_MAX_BYTES       65536
#define HTTP_FIELDS_MAX           128
#define HTTP_NOMINATED_MAX        16    /* Connection options that name other fields */
#define HTTP_CHUNK_LINE_MAX_BYTES 4096  /* a chunk's size and extensions */
#define HTTP_TRAILERS_MAX_BYTES   16384 /* the whole trailer section */

/* Text inside the bytes that were parsed; not terminated. at NULL: absent. */
struct http_text {
    const char *at;
    size_t len;
};

bool http_text_is(struct http_text text, const char *word); /* case-insensitively */

/* Fields that mean something to a proxy. */
enum http_name {
    HTTP_OTHER,
    HTTP_CONNECTION,
    HTTP_CONTENT_LENGTH,
    HTTP_EXPECT,
    HTTP_HOST,
    HTTP_KEEP_ALIVE,
    HTTP_PROXY_ANY, /* Proxy-*, but for the next two */
    HTTP_PROXY_AUTHORIZATION,
    HTTP_PROXY_CONNECTION,
    HTTP_TE,
    HTTP_TRANSFER_ENCODING,
    HTTP_UPGRADE,
    HTTP_VIA,
};

struct http_field {
    struct http_text name, value;
    enum http_name known;
};

/* A parsed head. Text points into the bytes that were parsed. */
struct http_head {
    struct http_text method, target; /* of a request */
    unsigned status;                 /* of a response: 100 to 599 */
    struct http_text reason;
    unsigned minor; /* HTTP/1.minor */

    unsigned count;
    struct http_field fields[HTTP_FIELDS_MAX];
    unsigned nominated_count; /* what Connection names, beside close, keep-alive, upgrade and te */
    struct http_text nominated[HTTP_NOMINATED_MAX];

    bool close;       /* Connection: close */
    bool upgrades;    /* Connection: upgrade, and an Upgrade field other than h2c */
    bool te_trailers; /* TE: trailers */
    bool expects;     /* Expect: 100-continue */
    bool chunked;     /* Transfer-Encoding ends in chunked */
    bool has_coding;  /* Transfer-Encoding is there */
    bool has_length;  /* Content-Length is there */
    uint64_t length;
    struct http_text host, upgrade, authorization; /* authorization: Proxy-Authorization */

    unsigned refuse; /* after an error: the status to answer a request with (400, 431, 501, 505) */
    const char *problem; /* after an error: what is wrong, in plain words */
};

/* Looks for the end of a head that begins at data[0], going on at *scanned (0 at first), and
 * refuses bytes that no head has, so that other protocols are noticed at their first bytes. Returns
 * the head's length with its empty line, 0: need more, ADIT_EFORMAT, or ADIT_EFULL beyond
 * HTTP_HEAD_MAX_BYTES. `lenient` (responses) takes a bare LF for CR LF. */
ssize_t http_scan(const uint8_t *data, size_t len, size_t *scanned, bool lenient);

/* Parse a head. Return its length in bytes, 0: need more, or a negative error with head->refuse and
 * head->problem set: ADIT_EFORMAT, ADIT_EFULL (too long, too many fields), -ENOTSUP (a version or a
 * coding). */
ssize_t http_request_parse(const uint8_t *data, size_t len, struct http_head *head);
ssize_t http_response_parse(const uint8_t *data, size_t len, struct http_head *head);

/* How a message's body ends (RFC 9112 6.3). */
enum http_body { HTTP_BODY_NONE, HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_UNTIL_CLOSE };

/* to_head: of the response to a HEAD request, which has none. */
enum http_body http_request_body(const struct http_head *request);
enum http_body http_response_body(const struct http_head *response, bool to_head);

/* The chunked coding (RFC 9112 7.1), as a state machine that is fed as bytes come. Zero-initialised
 * is the start. */
struct http_chunked {
    uint64_t left; /* data bytes of this chunk yet to come */
    uint32_t line; /* bytes of this size line or trailer section so far */
    uint8_t state; /* enum chunk_state */
    bool done;     /* the last byte of the body has been fed */
};

/* Takes one run of bytes: framing (*payload 0) or data (*payload is the run's length, which is what
 * it returns). Returns the bytes taken, 0 when done or len is 0, or ADIT_EFORMAT. */
ssize_t http_chunked_step(struct http_chunked *chunked, const uint8_t *data, size_t len,
                          size_t *payload);
/* Takes as many bytes as belong to the body: returns how many, or ADIT_EFORMAT. */
ssize_t http_chunked_feed(struct http_chunked *chunked, const uint8_t *data, size_t len);

/* "HOST:PORT", "[V6]:PORT"; without a port (or with an empty one) default_port, when that is not 0.
 * ADIT_EFORMAT. */
int http_authority_parse(struct http_text text, uint16_t default_port, struct target *target);

/* An absolute-form request target (RFC 9112 3.2.2). */
struct http_url {
    struct target target;
    struct http_text authority; /* as it was written, for Host */
    struct http_text path;      /* with the query; may be empty or begin with '?' */
};

/* ADIT_EFORMAT, or -EPROTONOSUPPORT: a scheme other than http. */
int http_url_parse(struct http_text text, struct http_url *url);

/* Decodes Basic credentials (RFC 7617): splits USER:PASSWORD in `out`, which both point into,
 * terminated. ADIT_EFORMAT. */
#define HTTP_CREDENTIALS_MAX_BYTES 1024
int http_basic_parse(struct http_text text, char out[HTTP_CREDENTIALS_MAX_BYTES], char **user,
                     char **password);

#endif
