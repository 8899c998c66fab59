/* SPDX-License-Identifier: MIT */
/* TLS pipes, for tls.c (what they do) and tls_open.c (how they are made) only. */
#ifndef ADIT_PIPE_TLS_INT_H
#define ADIT_PIPE_TLS_INT_H

#include <event2/event_struct.h>

#include "crypto/preface.h"
#include "crypto/tls_handshake.h"
#include "pipe/tls.h"

/* What the kernel may hold unsent before it takes no more: as much as leaves in this time, within
 * these bounds; half of it left is a "write" event. From 20 Mbit/s on it is the largest, which a 10
 * Gbit/s path empties in 100 us, a round of the loop. */
#define UNSENT_TIME_MS   50
#define UNSENT_MIN_BYTES (20 * 1024) /* a record and a bit */
#define UNSENT_MAX_BYTES (128 * 1024)

/* What may be under way: a few times what the network holds, and enough for both processes to work
 * in batches. */
#define FLIGHT_ROUND_TRIPS 4
#define FLIGHT_MIN_BYTES   ((uint64_t)512 * 1024)

enum tls_state { TLS_CONNECTING, TLS_PREFACE, TLS_HANDSHAKE, TLS_UP };

struct tls_pipe {
    struct pipe base;
    enum tls_state state;
    bool registered;
    bool finished;   /* close_notify was sent */
    bool update_due; /* the peer wants us to move on to the next key */
    bool keep_fd, reset_on_close;
    uint8_t preface_len;
    uint32_t linger_ms, idle_ms, tls_timeout_ms;
    uint32_t unsent_max;
    uint64_t flight; /* 0: not known yet */
    size_t read_max;
    struct tls_context *context;
    struct tls_handshake handshake;
    struct tls_key seal, open;
    struct node_id peer; /* a client's: expected, then proven */
    struct slice_queue out;
    struct event event;
    struct defer work, flush;
    struct timer timer; /* connecting, handshaking, idle, or closing */
    struct timer quiet;
    uint64_t last_rx, last_use, tune_at;
    struct tls_socket socket; /* its fd is -1 when the pipe is over */
    uint8_t preface[PREFACE_BYTES];
};

/* The parts that do not depend on who opens; the event is assigned and not yet added. */
void tls_init(struct tls_pipe *tls, struct loop *loop, int fd);
/* From here on the handshake has its time. */
void tls_set_timer(struct tls_pipe *tls);
void tls_set_unsent(struct tls_pipe *tls, uint32_t bytes);

static inline struct tls_pipe *tls_of(const struct pipe *pipe)
{
    return (struct tls_pipe *)(uintptr_t)pipe; /* base is the first member */
}

#endif
