/* SPDX-License-Identifier: MIT */
/*
 * Session: what two nodes share for as long as both processes live, above the paths that carry it.
 * Streams belong to the session; a path (a secured pipe) may die, be replaced, or stand beside
 * others without a stream noticing. docs/protocol.md has the wire; session.c the theory.
 */
#ifndef ADIT_SESSION_SESSION_H
#define ADIT_SESSION_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"
#include "base/target.h"
#include "crypto/identity.h"
#include "pipe/pipe.h"
#include "session/hello.h"
#include "session/pool.h"

#define SESSION_PATHS_MAX 4

struct session;
struct opening;

struct session_config {
    uint64_t hold_us;         /* how long a session without any path waits (path.hold) */
    uint64_t connect_wait_us; /* how long a new stream waits for a first path (path.connect_wait) */
    uint64_t suspect_us;      /* shortest silence, while something is due, after which a path is
                                 suspected (path.probe_min) */
    uint64_t keepalive_us;    /* probe of an idle path (path.probe_idle) */
    uint64_t rekey_us;        /* age of a path after which a fresh one is asked for */
    uint64_t rekey_bytes;     /* and bytes */
    uint32_t max_streams;     /* open at once, each side's counted apart (session.max_streams) */
    uint64_t window_max;      /* bytes of credit a stream may grow to */
};

#define SESSION_CONFIG_DEFAULT                                                              \
    {                                                                                       \
        .hold_us = 120 * SEC_US, .connect_wait_us = 10 * SEC_US, .suspect_us = 600 * MS_US, \
        .keepalive_us = 20 * SEC_US, .rekey_us = 86400 * SEC_US,                            \
        .rekey_bytes = UINT64_C(64) << 30, .max_streams = 20000, .window_max = 16 << 20     \
    }

/* Why the session asks its owner for a path. */
enum session_want {
    SESSION_WANTS_NOTHING, /* it has a healthy path */
    SESSION_WANTS_SPARE, /* its only path is silent, or its keys are old: a second one would do good
                          */
    SESSION_WANTS_PATH,  /* it has none */
};

struct session_events {
    /* The peer opened a stream (opening.h): answer with stream_answer(), now or later. The stream
     * is paused; what follows the OPEN waits in it. */
    void (*open)(struct session *session, struct pipe *stream, const struct opening *opening,
                 void *arg);
    /* The need for a path has changed: the owner starts or stops dialling. */
    void (*want)(struct session *session, enum session_want want, void *arg);
    /* A path came, went, or is in another state. May be NULL. Must not end the session. */
    void (*paths)(struct session *session, void *arg);
    /* Over: closed by the peer (code and its text), hold time over (-ETIMEDOUT), the peer restarted
     * (-ECONNRESET), or session_close() (0). Every stream has been told before. The session is
     * freed after this call. */
    void (*end)(struct session *session, int why, const char *text, void *arg);
    /* A message of the peer's session_send_signal(); bytes live during the call. NULL: they are
     * dropped. */
    void (*signal)(struct session *session, const uint8_t *bytes, size_t len, void *arg);
};

/* Makes a session with a peer, with no path yet. pool is shared by all sessions of the process.
 * config is copied. */
struct session *session_new(struct loop *loop, const struct session_config *config,
                            struct session_pool *pool, const struct node_id *local,
                            const struct node_id *remote, const struct session_events *events,
                            void *arg);
/* Takes over another configuration, for what is open too; but max_streams only grows, since the
 * peer was told the old one. */
void session_reconfigure(struct session *session, const struct session_config *config);
/* Ends it: tells the peer (SESSION_CLOSE with code and text) on every path, fails all streams;
 * `end` follows from the loop. */
void session_close(struct session *session, enum close_code code, const char *text);
/* Ends it without telling the peer, which restarted (why: -ECONNRESET) or lost its admission. */
void session_fail(struct session *session, int why, const char *text);

/* There is no hope for a path just now: new streams that have waited for one so long fail as they
 * would after connect_wait_us; open ones are held as before. */
void session_fail_waiting(struct session *session, uint64_t waited_us);

/* Attaches a path: a secured pipe over which the hellos have been exchanged (hello.h). The session
 * owns the pipe from now on. label: "direct", "reverse", ... (static); rank: lower is better (0
 * direct or punched, 1 relayed). When there is no place, the worst path gives way. */
int session_add_path(struct session *session, struct pipe *pipe, const struct hello *peer_hello,
                     const char *label, int rank);

/* Sends an opaque message to the peer's node on the active path, ahead of stream bytes; lost with
 * the path. 0; -ENOTCONN: no path; -EMSGSIZE: empty, or more than SESSION_SIGNAL_MAX bytes;
 * -EAGAIN: the path does not take what is queued already. */
#define SESSION_SIGNAL_MAX 1024
int session_send_signal(struct session *session, const void *bytes, size_t len);

/* The peer instance that this session is with; all zero until the first path. */
const uint8_t *session_peer_instance(const struct session *session);
enum session_want session_wants(const struct session *session);
bool session_has_path(const struct session *session);
uint32_t session_stream_count(const struct session *session);

/* Sends a probe on every path; told once per path, with the round trip in microseconds or 0 if none
 * came within timeout_us. */
typedef void session_ping_cb(void *arg, const char *path_label, const struct addr *remote,
                             uint64_t rtt_us);
void session_ping(struct session *session, uint64_t timeout_us, session_ping_cb *cb, void *arg);
/* Looks at all paths now: a network changed, the machine woke. */
void session_recheck(struct session *session);

/* For status and tests. */
enum path_state { PATH_ATTACHING, PATH_ACTIVE, PATH_STANDBY, PATH_SUSPECT };
struct path_info {
    const char *label, *kind;
    struct addr local, remote;
    enum path_state state;
    int rank;
    uint64_t rtt_us, since_us, heard_us; /* heard_us: time since it was last heard */
    uint64_t rx_bytes, tx_bytes;         /* of frames */
    uint64_t rx_rate, tx_rate;           /* bytes per second, smoothed */
};
struct session_info {
    uint64_t since_us; /* age */
    uint64_t held_us;  /* how long it has had no path; 0: it has one */
    uint32_t streams, paths;
    uint64_t opened, resent_bytes,
        moves; /* streams ever opened; bytes sent again; changes of the active path */
    struct path_info path[SESSION_PATHS_MAX];
};
void session_describe(const struct session *session, struct session_info *info);

/* Asks the owner about each path anew: its rank; SESSION_RANK_GONE when nothing can go over it any
 * more (its interface is down, its address gone): it is left at once, and let go if it stays
 * silent; SESSION_RANK_SPENT: it is not wanted, and let go when there is another. A better one than
 * the active one takes over. */
#define SESSION_RANK_GONE  (-1)
#define SESSION_RANK_SPENT (-2)
typedef int session_review_cb(void *arg, const struct path_info *path);
void session_review_paths(struct session *session, session_review_cb *review, void *arg);

#endif
