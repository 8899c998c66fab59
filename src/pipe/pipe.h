/* SPDX-License-Identifier: MIT */
/*
 * Pipe: everything that carries bytes or messages. A SOCKS client's socket, a connection to a
 * destination, a stream inside a session, a secured path, a UDP socket: all are pipes, and proxying
 * is linking two of them. docs/pipes.md has the table of what a pipe can do and which test shows
 * it; pipe.c has the theory.
 *
 * Life: made by its kind (tcp_open(), udp_open(), pair_new(), ...), PIPE_OPENING until `up`, then
 * PIPE_UP, and over with exactly one `end`, after which the pointer is dead. pipe_close() and
 * pipe_abort() may be called at any time, also inside callbacks; `end` then comes from the loop,
 * never from inside the call, and nothing else is told before it.
 */
#ifndef ADIT_PIPE_PIPE_H
#define ADIT_PIPE_PIPE_H

#include "base/addr.h"
#include "base/err.h"
#include "base/loop.h"
#include "base/slice.h"

struct pipe;
struct pipe_extra; /* what few pipes need: more listeners, subscriptions, filters (pipe_int.h) */

/* What a listener hears. Any member may be NULL. Listeners may be added and removed at any time,
 * inside callbacks too. */
struct pipe_events {
    void (*up)(struct pipe *pipe, void *arg); /* connected (server: bound) */
    /* Bytes, or one whole message and its source (message pipes; NULL on streams). The slice is
     * lent: slice_ref() it to keep it. */
    void (*message)(struct pipe *pipe, const struct slice *data, const struct addr *from,
                    void *arg);
    /* The other side finished sending (half-close); writing may go on. */
    void (*eof)(struct pipe *pipe, void *arg);
    /* pipe_room() was 0 and no longer is, or the queue has shrunk. */
    void (*room)(struct pipe *pipe, void *arg);
    /* Over: 0 or a negative error. The pipe is freed after the last listener. */
    void (*end)(struct pipe *pipe, int why, void *arg);
    /* Server pipes: a new client, reading not yet begun. */
    void (*accept)(struct pipe *server, struct pipe *client, void *arg);
};

/* What a kind of pipe implements. Calls go through the functions below. */
struct pipe_ops {
    const char *kind; /* "tcp", "udp", "tls", "pair", "stream", ... */
    bool messages;    /* keeps message boundaries */
    void (*write)(struct pipe *pipe, struct slice *data, const struct addr *to);
    int (*send)(struct pipe *pipe, const void *data, size_t len, bool more); /* optional */
    size_t (*room)(const struct pipe *pipe);
    size_t (*queued)(const struct pipe *pipe);
    uint64_t (*flight)(const struct pipe *pipe); /* optional */
    void (*resume)(struct pipe *pipe);
    void (*shutdown)(struct pipe *pipe);
    /* 0: send what is queued, then close; negative: at once. */
    void (*close)(struct pipe *pipe, int why);
    int (*addrs)(const struct pipe *pipe, struct addr *local, struct addr *remote); /* optional */
    int (*exporter)(struct pipe *pipe, const char *label, const void *context, size_t context_len,
                    void *out, size_t len); /* optional */
    void (*destroy)(struct pipe *pipe);     /* frees the kind's own parts and the pipe itself */
};

struct pipe_listener {
    const struct pipe_events *events; /* NULL: free */
    void *arg;
};

/* One direction of a link: what `from` receives is written to `to`. */
struct pipe_link {
    struct pipe *from, *to;               /* to NULL: free */
    struct pipe_link *next_in, **prev_in; /* among the links into `to` */
    struct pipe_link *next_out;           /* further links out of `from` */
    bool coupled;                         /* half-close and end are passed on too */
};

enum pipe_flag {
    PIPE_IS_UP = 1 << 0,
    PIPE_IS_PAUSED = 1 << 1, /* by pipe_pause() */
    PIPE_GOT_EOF = 1 << 2,
    PIPE_SENT_EOF = 1 << 3,    /* pipe_shutdown() called */
    PIPE_IS_CLOSING = 1 << 4,  /* pipe_close() or pipe_abort() called */
    PIPE_IS_OVER = 1 << 5,     /* `end` scheduled or told */
    PIPE_HAD_NO_ROOM = 1 << 6, /* a source has been refused */
};

/* The common part, first member of every kind's own struct. Fields are for kinds and pipe.c; others
 * use the functions. */
struct pipe {
    const struct pipe_ops *ops;
    struct loop *loop;
    uint32_t flags;
    int why;
    struct pipe_listener listener; /* the first */
    struct pipe_link link;         /* the first link out */
    struct pipe_link *links_in;
    struct pipe_extra *extra;
    struct defer ending;
    uint64_t bytes_in, bytes_out;
};

/* --- For users --- */

/* Adds or removes a listener. add: 0 or ADIT_EFULL (PIPE_LISTENERS_MAX). del: silently nothing if
 * it is not there. */
#define PIPE_LISTENERS_MAX 64
int pipe_add_listener(struct pipe *pipe, const struct pipe_events *events, void *arg);
void pipe_del_listener(struct pipe *pipe, const struct pipe_events *events, void *arg);

/* Writes. Takes the slice's reference (it is empty afterwards). Always accepted while the pipe
 * lives; a caller that respects pipe_room() keeps the queue bounded, as links do. Message pipes
 * send it as one message, to `to` or to the pipe's peer (NULL), and drop it where the system or the
 * queue has no room. Returns 0 or ADIT_ECLOSED (the slice is dropped). */
int pipe_write(struct pipe *pipe, struct slice *data);
int pipe_write_to(struct pipe *pipe, struct slice *data, const struct addr *to);
int pipe_write_copy(struct pipe *pipe, const void *bytes, size_t len);
/* Sends bytes that are the caller's again when it returns (encrypted or copied at once); `more`:
 * others follow in this turn. A carrier of frames keeps whole what one call gives it, up to
 * BLOCK_BYTES. 0 or ADIT_ECLOSED. */
int pipe_send(struct pipe *pipe, const void *bytes, size_t len, bool more);
/* Bytes that may be written now without queueing more than the kind wants to hold. */
size_t pipe_room(const struct pipe *pipe);
/* Bytes taken but not yet given to the system (or, in a stream, to a path). */
size_t pipe_queued(const struct pipe *pipe);

/* Bytes that may be on their way, not confirmed by the other end, before more would only wait in
 * queues. 0: not known. */
uint64_t pipe_flight(const struct pipe *pipe);

/* Stops and starts reading. A paused pipe delivers nothing more, not even eof, until resumed. */
void pipe_pause(struct pipe *pipe);
void pipe_resume(struct pipe *pipe);
/* Finishes our direction after what is queued; the other goes on. */
void pipe_shutdown(struct pipe *pipe);
/* Ends it: close after sending what is queued (within the linger option), abort at once (a TCP pipe
 * with RST); why: negative. */
void pipe_close(struct pipe *pipe);
void pipe_abort(struct pipe *pipe, int why);

/* Links: what a receives is written to b and the reverse, reading each only as fast as the other
 * takes it; half-close and end are passed on. */
int pipe_link(struct pipe *a, struct pipe *b);
void pipe_unlink(struct pipe *a, struct pipe *b);
/* One direction only, without half-close and end; several per pipe. */
int pipe_add_pipe(struct pipe *from, struct pipe *to);
void pipe_del_pipe(struct pipe *from, struct pipe *to);

bool pipe_is_up(const struct pipe *pipe); /* `up` is due or told, and `end` is not */
/* Either may be NULL. 0, or -ENOTSUP where there are none. */
int pipe_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote);
/* RFC 5705/8446 7.5 keying material of a secured pipe; -ENOTSUP elsewhere. */
int pipe_exporter(struct pipe *pipe, const char *label, const void *context, size_t context_len,
                  void *out, size_t len);

/* --- For kinds --- */

/* The common part of a new pipe, opening; then, when it is connected or bound, that it is up. */
void pipe_init(struct pipe *pipe, const struct pipe_ops *ops, struct loop *loop);
void pipe_now_up(struct pipe *pipe);
/* For kinds that are up when made: they are from now on, and `up` is told from the loop. */
void pipe_up_soon(struct pipe *pipe);
/* How many bytes may be read and delivered now: 0 when paused, or a sink has no room. */
size_t pipe_read_budget(const struct pipe *pipe);
/* Received bytes or a message: gives up the slice. */
void pipe_deliver(struct pipe *pipe, struct slice *data, const struct addr *from);
void pipe_got_eof(struct pipe *pipe);
/* Room has appeared, or the queue has shrunk: wakes sources and listeners. */
void pipe_has_room(struct pipe *pipe);
/* Over: listeners are told from the loop, links are cut (coupled ones closed or aborted), then
 * ops->destroy. Idempotent. */
void pipe_is_over(struct pipe *pipe, int why);
void pipe_accepted(struct pipe *server, struct pipe *client);
/* Takes the pipe out of all its links without a word to the other sides (a descriptor changes
 * hands). */
void pipe_drop_links(struct pipe *pipe);

#endif
