/* SPDX-License-Identifier: MIT */
/*
 * What http_conn.c (the client's side) and http_stream.c (the destination's side) share.
 * http_conn.c has the theory.
 */
#ifndef ADIT_INGRESS_HTTP_INT_H
#define ADIT_INGRESS_HTTP_INT_H

#include "ingress/front_int.h"
#include "ingress/http.h"

/* The beginning of a head of which the rest is yet to come. Zero-initialised is empty. */
struct http_buffer {
    uint8_t *data;
    size_t len, cap, scanned;
};

/* A body on its way. */
struct http_transfer {
    enum http_body kind;
    uint64_t left;
    struct http_chunked chunked;
    bool done;
};

struct http {
    struct http_buffer request_head, response_head;
    struct slice_queue pending; /* received from the client while it was another's turn */
    bool paused;                /* the client: we do not read it */

    /* The request being served. */
    bool busy;           /* there is one */
    bool to_head;        /* its method is HEAD: the response has no body */
    bool is_old;         /* HTTP/1.0: knows no chunks and no 1xx */
    bool keep;           /* the client's connection may be used again after it */
    bool upgrades;       /* it asks for another protocol */
    bool response_begun; /* the final response's head has been passed on */
    bool close_after;    /* and said that the connection ends after it */
    struct http_transfer request, response;

    /* The stream to its destination, kept for the next request where possible. */
    struct target target;
    char *user; /* on whose behalf it was opened; NULL: nobody's */
    bool stream_paused;
    bool reusable;       /* after this response */
    bool reused;         /* this request is not its first */
    struct slice replay; /* the head sent on a reused stream, to be sent again on a new one */

    struct defer link; /* after 101: links client and stream once their callbacks have returned */
};

/* Finds a head in bytes that come piece by piece. 1: *head and *head_len are set (valid until more
 * is fed or the buffer is cleared), 0: need more, or an error of http_scan(). *used: bytes taken
 * from data. */
int http_buffer_feed(struct http_buffer *buffer, const uint8_t *data, size_t len, bool lenient,
                     const uint8_t **head, size_t *head_len, size_t *used);
void http_buffer_clear(struct http_buffer *buffer);

/* A body begins; length is that of HTTP_BODY_LENGTH. */
void http_transfer_begin(struct http_transfer *transfer, enum http_body kind, uint64_t length);
/* Bytes of the front of data that belong to the body; *payload: whether they are data (not chunk
 * framing) when `split` asks for runs of one sort. ADIT_EFORMAT. */
ssize_t http_transfer_take(struct http_transfer *transfer, const uint8_t *data, size_t len,
                           bool split, bool *payload);

/* --- http_conn.c --- */

/* Answers the request being served with a page of ours, if nothing has been answered yet; else cuts
 * the response short. */
void http_respond(struct conn *conn, const struct http_page *page);
/* The response has been passed on whole. */
void http_finished(struct conn *conn);
/* Goes on with what the client has sent meanwhile. After http_respond() and http_finished(), from
 * the stream's callbacks. */
void http_pump(struct conn *conn);

/* --- http_stream.c --- */

/* Sends a request's head to its destination, on the stream that is there or on a new one. */
void http_send_request(struct conn *conn, const struct http_head *request,
                       const struct http_url *url, const char *user);
void http_link(void *arg);

#endif
