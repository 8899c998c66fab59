/* SPDX-License-Identifier: MIT */
/*
 * Leg: the way from us to a STUN or TURN server: a UDP socket connected to it, a TCP connection, or
 * TLS over one; frames go out and come in, one at a time, whatever carries them. leg.c has the
 * theory.
 */
#ifndef ADIT_STUN_LEG_H
#define ADIT_STUN_LEG_H

#include "pipe/options.h"
#include "pipe/pipe.h"
#include "stun/server.h"

struct leg;
struct tls_authority; /* crypto/tls_client.h */

#define LEG_ADDRESSES_MAX 8 /* addresses of a name that are tried */
#define LEG_TEXT_MAX      160

/* Looks names up: done is called once, from the loop, unless cancelled; count 0: why says why. */
typedef void stun_resolved_cb(void *arg, const struct addr *addrs, size_t count, const char *why);
struct stun_resolver {
    /* NULL: cannot. */
    void *(*start)(void *owner, const char *name, stun_resolved_cb *done, void *arg);
    void (*cancel)(void *owner, void *lookup);
    void *owner;
};

/* What a leg tells, always from the loop. The leg may be closed inside each. */
struct leg_events {
    /* Connected (UDP: the address is known). */
    void (*up)(struct leg *leg, void *arg);
    /* One frame: a STUN message or ChannelData, on streams with its padding; on UDP whatever the
     * datagram holds. The slice is lent: slice_ref() it to keep it. */
    void (*frame)(struct leg *leg, const struct slice *frame, void *arg);
    /* There was no room and there is again (streams). May be NULL. */
    void (*room)(struct leg *leg, void *arg);
    /* Over: a negative error (ADIT_ETRUNC: the server closed it) and, for people, what happened
     * (lent). The leg is gone. Never told after leg_close() or leg_abort(). */
    void (*end)(struct leg *leg, int why, const char *text, void *arg);
};

struct leg_options {
    struct pipe_options pipe; /* route, local address, time to connect (for each address) and TLS */
    int family;               /* AF_INET, AF_INET6, or 0: whatever the name has first */
    unsigned skip;            /* pass over so many of the name's addresses (they did not answer) */
    struct stun_resolver resolver;   /* start NULL: names cannot be used */
    struct tls_authority *authority; /* NULL: TLS cannot be used; must outlive the leg */
    struct addr address;             /* set: connect here, and use the name only for TLS */
    const char *tls_name;            /* name in the certificate; NULL: the server's host */
    /* Makes the way to an address instead of a socket, for other carriers and for models in virtual
     * time: a pipe of messages for UDP, of bytes else; NULL: errno says why. May be NULL. */
    struct pipe *(*connect)(void *owner, const struct addr *to, enum server_transport transport);
    void *connect_owner;
};

#define LEG_OPTIONS_DEFAULT          \
    {                                \
        .pipe = PIPE_OPTIONS_DEFAULT \
    }

/* Begins to connect. The server and the options are copied. NULL: no memory. All other failures are
 * told by `end`. */
struct leg *leg_open(struct loop *loop, const struct stun_server *server,
                     const struct leg_options *options, const struct leg_events *events, void *arg);
/* Ends it, untold: what is queued is still sent. */
void leg_close(struct leg *leg);
/* Ends it, untold and at once, with what is queued: for connections that are known to be dead. */
void leg_abort(struct leg *leg);

/* Sends one frame, of one part or of two, with the padding that streams need. 0, ADIT_ECLOSED (not
 * up), or -ENOBUFS: a stream has more than LEG_QUEUE_BYTES unsent, the frame was dropped. */
#define LEG_QUEUE_BYTES ((size_t)512 * 1024)
int leg_send(struct leg *leg, const void *bytes, size_t len);
int leg_send2(struct leg *leg, const void *head, size_t head_len, const void *data, size_t len);
/* The same of a head and data that are the leg's from then on, if it returns 0; else they are still
 * the caller's. Copies nothing where nobody else has the data's block: the head is written in front
 * of it, within its SLICE_HEADROOM. */
int leg_send_slice(struct leg *leg, const void *head, size_t head_len, struct slice *data);
/* Bytes that may be sent before those who send much should wait for `room`; half of what a stream
 * holds, so that requests still go out. */
size_t leg_room(const struct leg *leg);
/* Stops and starts the delivery of frames. */
void leg_pause(struct leg *leg);
void leg_resume(struct leg *leg);

bool leg_is_up(const struct leg *leg);
bool leg_is_stream(const struct leg *leg); /* TCP or TLS: nothing is lost, nothing retransmitted */
/* Either may be NULL. 0 or a negative error. */
int leg_addrs(const struct leg *leg, struct addr *local, struct addr *remote);
/* Gives away the pipe of a stream that is up, paused, with what was received after the last frame
 * (RFC 6062: what follows the answer to ConnectionBind is the peer's); the leg is gone. The pipe's
 * listeners are the caller's to add. */
struct pipe *leg_take_pipe(struct leg *leg, struct slice *surplus);

#endif
