/* SPDX-License-Identifier: MIT */
/*
 * Trace: makes sense of the packets of a capture that belong to STUN and TURN: which message is a
 * request, which the answer to it and after how long, what is sent again, which peer a channel
 * leads to, whose relayed address it is, what only passes through. trace.c has the theory.
 */
#ifndef ADIT_CAPTURE_TRACE_H
#define ADIT_CAPTURE_TRACE_H

#include "capture/packet.h"
#include "stun/integrity.h"

#define TRACE_FLOWS_MAX        4096 /* pairs of addresses; the one silent for longest gives way */
#define TRACE_TRANSACTIONS_MAX 8192 /* the oldest gives way */
#define TRACE_CHANNELS_MAX     4096
#define TRACE_RELAYS_MAX       1024               /* relayed addresses */
#define TRACE_HELD_MAX         ((size_t)64 << 20) /* bytes of TCP that wait for earlier ones */
#define TRACE_TEXT_MAX         256
#define TRACE_METHODS_MAX      16
#define TRACE_ERRORS_MAX       16

struct trace;

enum trace_kind {
    TRACE_STUN,    /* a STUN message, or something that begins like one */
    TRACE_CHANNEL, /* ChannelData */
    TRACE_RECORDS, /* TLS or DTLS */
    TRACE_RTP,     /* RTP or RTCP beside STUN */
    TRACE_RELAYED, /* between a relayed address and a peer, or on a connection of RFC 6062 */
    TRACE_ICMP,    /* an error about a packet of a flow that is followed */
    TRACE_STRANGE, /* none of these, where STUN is spoken */
    TRACE_OTHER,   /* nothing to do with STUN; told only when all is */
    TRACE_GAP,     /* bytes of a TCP connection that the capture has not */
};
#define TRACE_KINDS 9

/* What a STUN message is in its transaction. */
enum trace_role {
    TRACE_ALONE, /* an indication, or no STUN message */
    TRACE_REQUEST,
    TRACE_REPEATED, /* a request that was sent before */
    TRACE_ANSWER,
    TRACE_ANSWERED_AGAIN,
    TRACE_UNASKED, /* a response without a request in this capture */
};

struct trace_event {
    uint64_t number; /* of the event, from 1 */
    int64_t time_us; /* since 1970; 0: not known */
    enum packet_protocol protocol;
    struct addr from, to;
    enum trace_kind kind;
    const uint8_t *bytes;
    size_t len;
    size_t missing;                     /* bytes that the capture has cut off */
    const struct stun_message *message; /* parsed; NULL: it is malformed, or no STUN message */
    const struct stun_key *key;         /* to verify with; NULL: none */
    enum trace_role role;
    uint64_t request; /* number of the request that it answers or repeats */
    int64_t rtt_us;   /* ANSWER: since the request was sent last; -1: not known */
    unsigned sent;    /* how often the request was, so far */
    bool was_signed;  /* ANSWER: the request had an integrity */
    bool has_peer;    /* CHANNEL: where the channel leads to */
    struct addr peer;
    char text[TRACE_TEXT_MAX]; /* of all but STUN, CHANNEL and STRANGE: what it is */
};

struct trace_options {
    void (*event)(void *arg, const struct trace_event *event);
    void *arg;
    /* To verify integrities: of all users, or of the one that is named. NULL: none. */
    const char *user, *password, *secret;
    bool all; /* traffic that has nothing to do with STUN is told too */
};

/* Strings are the caller's, and must stay. NULL: no memory. */
struct trace *trace_new(const struct trace_options *options);
void trace_free(struct trace *trace);
/* A packet. */
void trace_packet(struct trace *trace, const struct packet *packet, int64_t time_us);
/* A message without addresses, as hex gives it. */
void trace_bytes(struct trace *trace, const uint8_t *bytes, size_t len);
/* No more packets: tells what still waits behind gaps. */
void trace_end(struct trace *trace);

struct trace_summary {
    uint64_t kinds[TRACE_KINDS];
    uint64_t foreign; /* packets that have nothing to do with STUN */
    uint64_t requests, answered, refused, repeated, unasked, indications;
    size_t flows; /* on which STUN was spoken */
    size_t relays;
    struct {
        uint16_t method;
        uint64_t requests, answered;
        int64_t min_us, max_us, sum_us;
        uint64_t timed;
    } methods[TRACE_METHODS_MAX]; /* up to one without requests */
    struct {
        uint16_t code;
        uint64_t count;
    } errors[TRACE_ERRORS_MAX]; /* up to one without count */
};
const struct trace_summary *trace_summary(const struct trace *trace);

#endif
