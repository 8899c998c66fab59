/* SPDX-License-Identifier: MIT */
/*
 * What session.c, stream.c and path.c share. Nobody else includes it but their tests.
 */
#ifndef ADIT_SESSION_SESSION_INT_H
#define ADIT_SESSION_SESSION_INT_H

#include <sys/queue.h>
#include <uthash.h>

#include "session/frame.h"
#include "session/gaps.h"
#include "session/session.h"
#include "session/stream.h"

#define OFFSET_NONE   UINT64_MAX
#define CONFIRM_BYTES ((uint64_t)128 * 1024) /* received, of all streams: told at once */

enum stream_ready { READY_NOT, READY_NEW, READY_OLD };

struct stream {
    struct pipe base;        /* first */
    struct session *session; /* NULL: the session is over, or has forgotten the stream */
    uint64_t id;
    UT_hash_handle hh;
    /* Sending: `out` holds the bytes [acked, written). */
    struct slice_queue out;
    uint64_t acked, next, written,
        limit;                      /* next: first byte never sent; limit: the peer's credit */
    uint64_t resend_at, resend_end; /* to be sent again before anything new; empty when at >= end */
    uint64_t mark;                  /* what is below (FIN counts one) went over the path left */
    uint32_t cursor; /* slice of `out` near `next`, and the offset at which it starts */
    uint64_t cursor_base;
    /* Receiving: `in` holds what is in order but not delivered. */
    struct slice_queue in;
    struct gaps gaps;
    uint64_t received, final;   /* in order so far; final offset or OFFSET_NONE */
    uint64_t granted, reported; /* credit given; `received` last told */
    uint64_t window;            /* how much credit it is worth, at present */
    uint64_t epoch_at, epoch_consumed;
    uint64_t charge; /* what it takes from the pool */
    uint64_t flight; /* its part of the session's */
    /* Opening */
    stream_answer_cb *answered; /* opener: until the answer */
    void *answered_arg;
    uint64_t opened_at;
    uint64_t burst, burst_at; /* bytes sent since it was last quiet, and when it last sent */
    enum stream_ready ready;
    TAILQ_ENTRY(stream) ready_link;
    TAILQ_ENTRY(stream) window_link;
    bool ours, opening, answer_sent, fin_queued, fin_sent, fin_acked, eof_told, closing, window_due,
        window_urgent;
};

TAILQ_HEAD(stream_list, stream);

/* A stream that was reset: all that is left of it until the peer says that it knows. */
struct tomb {
    uint64_t id, code;
    UT_hash_handle hh;
};

struct path {
    struct session *session; /* NULL: free slot */
    struct pipe *pipe;
    const char *label;
    int rank;
    enum path_state state;
    bool listed, carried,
        stale;           /* has the peer's whole list; has carried stream bytes; keys are old */
    bool answer_due;     /* to our MOVE: the peer's list */
    bool reserve;        /* the peer prefers another */
    bool list_due;       /* the pump is to send our list */
    bool overrun;        /* the peer does not read what it makes us say: the pump ends the path */
    bool ping_stalled;   /* the path was suspect since the probe: no round trip */
    uint64_t suspect_at; /* since when, in PATH_SUSPECT */
    uint64_t since, heard_at, heard_lost;
    uint64_t due_since; /* since when an answer is due; 0: none */
    uint64_t due_lost;
    uint64_t ping_number, ping_at, ping_lost; /* outstanding probe; ping_at 0: none */
    uint64_t pinged_at;                       /* the last one */
    uint64_t srtt, rttvar;                    /* microseconds; srtt 0: not measured */
    uint64_t pings;
    struct slice_queue out; /* built messages, one a slice */
    struct slice partial;   /* an incomplete frame (carriers that do not keep messages whole) */
    uint64_t rx_bytes, tx_bytes, rx_rate, tx_rate;
    uint64_t rate_at, rate_rx, rate_tx;
    /* session_ping() */
    session_ping_cb *ping_cb;
    void *ping_cb_arg;
    uint64_t ping_cb_number, ping_cb_at, ping_cb_deadline;
};

struct session {
    struct loop *loop;
    struct session_config config;
    struct session_pool *pool;
    struct node_id local, remote;
    uint8_t peer_instance[INSTANCE_BYTES];
    const struct session_events *events;
    void *arg;
    bool lower; /* our ID is the lower: our streams are even */
    bool over;
    int why;
    char text[CLOSE_TEXT_MAX + 1];
    enum session_want want;
    struct path paths[SESSION_PATHS_MAX];
    struct path *active;
    struct stream *streams; /* hash by id */
    struct tomb *tombs;
    uint32_t tomb_count;
    uint32_t ours, theirs; /* streams open, by opener */
    uint32_t peer_max_streams;
    uint64_t next_own, next_theirs; /* indices: id >> 1 */
    struct stream_list ready_new, ready_old, windows;
    uint32_t ready_count;
    uint32_t new_run;     /* frames sent from ready_new in a row */
    uint32_t urgent;      /* streams in `windows` that must not wait */
    uint64_t unconfirmed; /* bytes received since `windows` were last told */
    uint64_t flight;      /* bytes sent over the active path and not confirmed, of all streams */
    bool sent_any;        /* some stream byte was ever sent */
    uint64_t since, pathless_since, traffic_at;
    uint64_t silent_since;              /* since when there is no path that is heard; 0: there is */
    uint64_t moved_at;                  /* when the active path last changed */
    bool forced;                        /* and it was not by preference */
    uint64_t preferred_at, prefer_wait; /* when, by preference alone; the next wait for that */
    uint64_t drain_at; /* when bytes below the marks are to be sent again; 0: nothing */
    struct defer pump, finish;
    struct timer tick, ack;
    /* statistics */
    uint64_t opened, resent_bytes, moves;
};

/* stream.c */
struct stream *stream_new(struct session *session, uint64_t id, bool ours);
struct stream *stream_find(struct session *session, uint64_t id);
void stream_receive(struct stream *stream, const struct frame_stream *frame,
                    const struct slice *message);
/* 0 or ADIT_EPROTO. */
int stream_acknowledge(struct stream *stream, const struct frame_window *window);
void stream_gone(struct stream *stream); /* the peer has no state for it */
void stream_was_reset(struct stream *stream, uint64_t code);
void stream_session_over(struct stream *stream, int why);
bool stream_has_work(const struct stream *stream);
void stream_make_ready(struct stream *stream);
void stream_update_window(struct stream *stream);
void stream_rewind(struct stream *stream, uint64_t end); /* sends [acked, end) again */
/* Sends one frame of at most max bytes over the path: bytes of payload sent. */
size_t stream_send(struct stream *stream, struct path *path, size_t room);
uint64_t stream_received_offset(const struct stream *stream);
void stream_check_done(struct stream *stream);
void stream_fail_opening(struct stream *stream, enum answer answer);

/* path.c */
/* Room for a frame of len bytes in the messages to send. */
uint8_t *path_reserve(struct path *path, size_t len);
void path_put(struct path *path, enum frame_type type, const void *body, size_t len);
void path_put_ids(struct path *path, enum frame_type type, uint64_t a, uint64_t b, size_t count);
/* Sends what was put; more: a message follows in this turn. */
void path_flush(struct path *path, bool more);
void path_expects(struct path *path); /* what was just sent wants an answer */
void path_heard(struct path *path, size_t bytes);
void path_rtt_sample(struct path *path, uint64_t rtt);
void path_probe(struct path *path);
/* Looks at the path's silence; returns when to look again. */
uint64_t path_check(struct path *path, bool busy);
void path_describe(const struct path *path, struct path_info *info);
void path_clear(struct path *path);

/* session.c */
void session_end(struct session *session, int why, int paths_why, const char *text);
void session_protocol_error(struct session *session, const char *what);
bool session_was_busy(const struct session *session); /* stream traffic within BUSY_US */
void session_touch_tick(struct session *session);     /* looks at the paths soon */

/* pump.c */
void session_pump(void *arg);
void session_acknowledge(void *arg);
void session_kick(struct session *session); /* something to send */
void session_forget_stream(struct stream *stream);
void session_window_due(struct stream *stream, bool urgent);
void session_entomb(struct session *session, uint64_t id, uint64_t code);
struct tomb *session_tomb_find(struct session *session, uint64_t id);
void session_tomb_remove(struct session *session, uint64_t id);
void session_put_window(struct path *path, struct stream *stream);
/* May the path carry stream bytes now? */
bool session_path_is_open(const struct session *session, const struct path *path);

/* attach.c */
void session_attached(struct session *session, struct path *path, const struct frame *frame);
/* Sends the whole list: what is received and granted of every stream, the resets unconfirmed. */
void session_send_list(struct session *session, struct path *path, uint64_t flags);
/* Picks the active path anew. fresh: a path just listed, or NULL. */
void session_choose_path(struct session *session, struct path *fresh);
/* Goes back to a better path than the active one when its time has come; returns when to look
 * again. */
uint64_t session_check_preferred(struct session *session);
void session_tell_want(struct session *session);
/* Sends again what is not confirmed: everything, or what is below the marks. */
void session_rewind(struct session *session, bool marked_only);
void session_path_lost(struct path *path, int why);
void session_path_suspect(struct path *path);
void path_drop(struct path *path, int why);

/* inbound.c */
void session_path_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                          void *arg);
static inline bool session_id_is_ours(const struct session *session, uint64_t id)
{
    return (id & 1) == (session->lower ? 0 : 1);
}

#endif
