/* SPDX-License-Identifier: MIT */
/*
 * What front.c, socks_conn.c and http_conn.c share: a client of the front end. front.c has the
 * theory.
 */
#ifndef ADIT_INGRESS_FRONT_INT_H
#define ADIT_INGRESS_FRONT_INT_H

#include <sys/queue.h>

#include "ingress/front.h"
#include "ingress/http_page.h"
#include "ingress/users.h"

struct http;

enum conn_state {
    CONN_NEW,            /* nothing received yet */
    CONN_SOCKS_GREETING, /* SOCKS5 */
    CONN_SOCKS_AUTH,
    CONN_SOCKS_REQUEST,
    CONN_HTTP,    /* http_conn.c's own states */
    CONN_OPENING, /* a tunnel was asked for: SOCKS, or HTTP CONNECT */
    CONN_LINKED,  /* client and stream are linked: nothing left to do but wait for the end */
    CONN_CLOSING, /* pipe_close() was called; whatever comes is ignored */
};

enum conn_speaks { SPEAKS_UNKNOWN, SPEAKS_SOCKS4, SPEAKS_SOCKS5, SPEAKS_HTTP };

struct conn {
    struct front *front;
    struct pipe *client;
    struct pipe *stream;                     /* NULL: none, or linked and on its own */
    const struct pipe_events *stream_events; /* our listener on it */
    uint8_t state;                           /* enum conn_state */
    uint8_t speaks;                          /* enum conn_speaks */
    uint16_t partial_len;
    uint8_t *partial; /* the beginning of a SOCKS message, SOCKS_MESSAGE_MAX bytes; NULL: none */
    char *user;       /* SOCKS: from authentication to request */
    struct http *http;
    TAILQ_ENTRY(conn) all;
    TAILQ_ENTRY(conn) waiting;
    struct conn_queue *queue; /* where it waits; NULL: nowhere */
    uint64_t deadline;
};

/* In the conversation before a SOCKS request is whole. */
static inline bool conn_is_in_socks(const struct conn *conn)
{
    return conn->state >= CONN_SOCKS_GREETING && conn->state <= CONN_SOCKS_REQUEST;
}

TAILQ_HEAD(conn_list, conn);

/* Clients whose time is limited, in the order in which it runs out: one timer for all, since all in
 * a queue wait equally long. */
struct conn_queue {
    struct conn_list list;
    struct timer timer;
    uint64_t delay_us;
    struct front *front;
};

struct front_listener {
    TAILQ_ENTRY(front_listener) all;
    struct front *front;
    struct pipe *server;
    struct addr addr; /* as configured */
    char *path;       /* unix socket; NULL: addr */
    bool keep;        /* front_reload(): still named */
};

struct front {
    struct loop *loop;
    struct outlet *outlet;
    struct users *users; /* NULL: no authentication */
    uint32_t max_clients;
    bool via;
    bool full; /* listeners are paused */
    TAILQ_HEAD(, front_listener) listeners;
    struct conn_list conns;
    struct conn_queue requests; /* no complete request yet */
    struct conn_queue idle;     /* HTTP: between requests */
    struct front_stats stats;
    uint64_t denied_logged, full_logged; /* when; 0: never. Repeats are bounded */
    uint64_t failed_logged;              /* why requests fail: when that was told last ... */
    uint64_t failed_hash;                /* ... and what; 0: nothing yet */
};

/* --- front.c --- */

void conn_wait(struct conn *conn, struct conn_queue *queue);
void conn_unwait(struct conn *conn);
/* Sends what is queued and ends the client; nothing more is done for it. Aborts the stream. */
void conn_close(struct conn *conn);
/* Opens a stream and listens to it; cb as of struct outlet. NULL: refused at once, *why says why.
 */
struct pipe *conn_open_stream(struct conn *conn, const struct target *target, const char *user,
                              const struct pipe_events *events, outlet_answer_cb *cb,
                              enum answer *why);
/* Forgets the stream without touching it, closes it in good order, or aborts it. */
void conn_forget_stream(struct conn *conn);
void conn_finish_stream(struct conn *conn);
void conn_abort_stream(struct conn *conn);
/* Opens the tunnel that was asked for; the rest is done by the answer. user may be NULL. */
void conn_open_tunnel(struct conn *conn, const struct target *target, const char *user);
/* Links client and stream and forgets all else. Not from inside a pipe's message callback. */
void conn_link(struct conn *conn);
/* Passes bytes of the client's on to the stream, and stops reading the client when that has no
 * room. */
void conn_forward(struct conn *conn, struct slice *data);
/* Counts and logs what a client did wrong. */
void conn_note_malformed(struct conn *conn, const char *problem);
void conn_note_denied(struct conn *conn);
/* Counts a request that failed. Returns what is behind it in plain words, which it logs when that
 * is news; NULL: the answer says all that is known. */
const char *conn_note_failed(struct conn *conn, enum answer answer, const struct target *target);

/* Takes a new client, whatever kind of pipe it is. */
void front_accept(struct front *front, struct pipe *client);

/* --- front_listener.c --- */

/* Makes the listeners those that the configuration names. On an error (logged) none has changed. */
int front_listen(struct front *front, const struct front_config *config);
void front_warn_open(struct front *front);

/* --- socks_conn.c --- */

/* Bytes from the client, in the states before CONN_OPENING. Returns how many were used; those after
 * them are the tunnel's. */
size_t socks_feed(struct conn *conn, const uint8_t *data, size_t len);
void socks_reply(struct conn *conn, enum answer answer, const struct addr *bound);
void socks_free(struct conn *conn);

/* --- http_conn.c --- */

int http_new(struct conn *conn); /* -ENOMEM */
void http_free(struct conn *conn);
void http_client_message(struct conn *conn, const struct slice *data);
void http_client_eof(struct conn *conn);
void http_client_room(struct conn *conn);
void http_timeout(struct conn *conn);
/* No request is being served; a stream, if any, is kept for the next. */
bool http_is_idle(const struct conn *conn);
/* The reply to a CONNECT. */
void http_tunnel_reply(struct conn *conn, enum answer answer);

#endif
