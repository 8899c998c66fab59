/* SPDX-License-Identifier: MIT */
/*
 * HELLO: the first message each way over a new path, by which two nodes agree on a version, tell
 * their instances, enrol, and bind the path to the session. Codec, and the small state machine that
 * exchanges them.
 */
#ifndef ADIT_SESSION_HELLO_H
#define ADIT_SESSION_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/loop.h"
#include "pipe/pipe.h"

#define INSTANCE_BYTES      16
#define HELLO_BINDING_BYTES 16
#define HELLO_SECRET_BYTES  16
#define HELLO_TOKEN_BYTES   8
#define HELLO_NAME_MAX      63
#define HELLO_VERSION       1
#define HELLO_ADDRS_MAX     16
#define HELLO_BYTES_MAX     1024

enum hello_flag {
    HELLO_OFFERS_EXIT = 1 << 0, /* the sender lets the receiver's streams out */
    HELLO_WANTS_EXIT = 1 << 1,  /* the sender means to open streams */
};

struct hello {
    uint8_t version_min, version_max;
    uint8_t instance[INSTANCE_BYTES];      /* the sender's, random at start */
    uint8_t peer_instance[INSTANCE_BYTES]; /* the receiver's, as last known; zero: not known */
    uint8_t binding[HELLO_BINDING_BYTES]; /* exporter value of this connection (docs/protocol.md) */
    uint32_t flags;
    uint32_t max_streams;
    uint32_t hold_ms;
    bool has_secret;
    uint8_t secret[HELLO_SECRET_BYTES]; /* enrolment secret of a ticket */
    bool has_token;
    uint8_t token[HELLO_TOKEN_BYTES]; /* of the request to connect that the dialler answers */
    char name[HELLO_NAME_MAX + 1];
    uint8_t addr_count;
    struct addr addrs[HELLO_ADDRS_MAX]; /* where the sender listens for paths */
};

/* Why a session or a path was closed, on the wire; append only. */
enum close_code {
    CLOSE_OK = 0, /* a clean stop */
    CLOSE_NOT_ADMITTED = 1,
    CLOSE_TICKET_EXPIRED = 2,
    CLOSE_TICKET_USED = 3,
    CLOSE_TICKET_UNKNOWN = 4,
    CLOSE_REVOKED = 5,
    CLOSE_VERSION = 6,
    CLOSE_PROTOCOL = 7, /* the receiver of this broke the protocol */
    CLOSE_LIMIT = 8,    /* too many sessions */
    CLOSE_SELF = 9,     /* that is this node itself */
    CLOSE_EXPIRED = 10, /* the admission was for a time, which is over */
    CLOSE_LAST = 10,
};
#define CLOSE_TEXT_MAX 200
const char *close_code_text(enum close_code code); /* plain words for the user, with the remedy */

/* Body of a HELLO frame. build: bytes written, or -ENOBUFS; parse: 0 or ADIT_EFORMAT. Unknown
 * fields are skipped. */
int hello_build(const struct hello *hello, uint8_t *buf, size_t size);
int hello_parse(const uint8_t *body, size_t len, struct hello *hello);

/* The exchange. The dialler sends its hello at once; the responder decides on the dialler's before
 * it sends its own. */
struct hello_exchange;
struct hello_events {
    /* The peer's hello is here (binding checked). Responder: return CLOSE_OK to accept, after
     * filling *mine; anything else is sent as the reason (text may be set, static) and the pipe
     * closed. Dialler: the same with mine NULL. */
    enum close_code (*received)(void *arg, struct pipe *pipe, const struct hello *theirs,
                                struct hello *mine, const char **text);
    /* Both hellos are exchanged: the pipe is the callee's, to be given to session_add_path() at
     * once. */
    void (*done)(void *arg, struct pipe *pipe, const struct hello *theirs);
    /* Failed: timeout, malformed, the peer's refusal (code and text), end of the pipe. The pipe is
     * gone. */
    void (*failed)(void *arg, int why, enum close_code code, const char *text);
};
/* Starts on a pipe that is up, which it owns until done. mine: the dialler's hello (copied); NULL:
 * responder. */
struct hello_exchange *hello_start(struct pipe *pipe, const struct hello *mine, uint64_t timeout_us,
                                   const struct hello_events *events, void *arg);
void hello_cancel(struct hello_exchange *exchange); /* aborts the pipe, tells nobody */

#endif
