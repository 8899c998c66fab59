/* SPDX-License-Identifier: MIT */
/*
 * Signal: how nodes that know each other's ID find each other: by sealed messages through MQTT
 * brokers, or inside a live session. It asks peers whether they are there and where, answers those
 * who may ask, and passes on requests to connect, each only when it is certain who asks and that it
 * is no repeat. signal.c has the theory, docs/protocol-signal.md the wire.
 */
#ifndef ADIT_SIGNAL_SIGNAL_H
#define ADIT_SIGNAL_SIGNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/identity.h"
#include "signal/broker.h"
#include "signal/message.h"

#define SIGNAL_BROKERS_MAX  8
#define SIGNAL_PEERS_MAX    4096 /* remembered at once; then the one not heard for longest goes */
#define SIGNAL_ASKS_MAX     256  /* questions under way */
#define SIGNAL_SILENCE_US   (3 * SEC_US)  /* no answer for so long on any broker: not there */
#define SIGNAL_NO_BROKER_US (5 * SEC_US)  /* no broker for so long */
#define SIGNAL_REPEAT_US    (800 * MS_US) /* a question is repeated */

struct signal;

struct signal_options {
    struct identity *identity;          /* must outlive it */
    const struct broker_driver *driver; /* &broker_paho, but for tests */
    struct broker_resolver resolver;
    uint64_t silence_us; /* 0: SIGNAL_SILENCE_US */
    /* Microseconds since 1970. NULL: the system's clock. */
    uint64_t (*wall_us)(void *arg);
};

/* What a judge says of a peer that asks. */
enum signal_judgement {
    SIGNAL_WELCOME, /* it may have a session: it is answered, and may ask us to connect */
    SIGNAL_REFUSED, /* it is told so, with a code and a text, as often as the limit allows */
};

struct signal_events {
    /* Where we take paths from this peer. Returns how many. */
    size_t (*addrs)(void *arg, const struct node_id *peer, struct addr *out, size_t max);
    /* The enrolment secret to show to this peer; false: none. */
    bool (*secret)(void *arg, const struct node_id *peer, uint8_t out[MESSAGE_SECRET_BYTES]);
    /* May it ask? secret: what it showed, or NULL; nothing is used up. Refused: *code (a close
     * code) and *text (static). */
    enum signal_judgement (*judge)(void *arg, const struct node_id *from, const uint8_t *secret,
                                   uint8_t *code, const char **text);
    /* A welcome peer has asked: it runs and looks for us. Not proof against repeats. */
    void (*asked)(void *arg, const struct node_id *from);
    /* Fresh and certain: where the peer is now. */
    void (*found)(void *arg, const struct node_id *from, const struct addr *addrs, size_t count);
    /* Fresh and certain: the peer asks us to connect to it. 0, or a close code that it is told. */
    uint8_t (*dial)(void *arg, const struct node_id *from, const uint8_t token[MESSAGE_TOKEN_BYTES],
                    const struct addr *addrs, size_t count);
    /* The first broker is up, or the last one is lost. */
    void (*changed)(void *arg, bool up);
};

/* NULL: no memory. No broker yet. */
struct signal *signal_new(struct loop *loop, const struct signal_options *options,
                          const struct signal_events *events, void *arg);
/* Questions end untold. */
void signal_free(struct signal *signal);

/* The certificates of the authorities that sign brokers' (PEM; "": the system's), for what is added
 * from now on; if it is another file than before, all brokers are dropped. Copied. 0 or -ENOMEM. */
int signal_set_ca_file(struct signal *signal, const char *path);
/* These brokers from now on; those that are known already stay connected. What is beyond
 * SIGNAL_BROKERS_MAX is left out. 0, or a negative error and errbuf names the wrong URL (without
 * its password); the others are used all the same. */
int signal_set_brokers(struct signal *signal, const char *const *urls, size_t count, char *errbuf,
                       size_t errlen);
/* The network has changed, or the machine slept: look at all brokers, ask again. */
void signal_kick(struct signal *signal);

/* --- Questions --- */

enum signal_outcome {
    SIGNAL_ANSWERED,  /* *answer says what */
    SIGNAL_SILENT,    /* at least one way was up, and nobody answered */
    SIGNAL_NO_BROKER, /* none was; why says what the trouble is */
    SIGNAL_DECLINED,  /* after signal_ask_dial(): it will not, or could not, connect to us */
};
struct signal_answer {
    uint8_t code;     /* 0: welcome (ANSWERED only); else a close code */
    const char *text; /* of the code, in the peer's words */
    const struct addr *addrs;
    size_t addr_count;
    uint64_t rtt_us;   /* from question to answer, by this way */
    int64_t offset_us; /* its clock less ours */
    const char *way;   /* the broker's name, or "session" */
};
/* *answer and why are lent for the call; answer is NULL where there is none. */
typedef void signal_answer_cb(void *arg, enum signal_outcome outcome,
                              const struct signal_answer *answer, const char *why);
struct signal_ask;
/* Asks a peer whether it is there, by every broker and the session. Told from the loop: once, and
 * SIGNAL_DECLINED perhaps later. After any outcome but a welcome the question is over and gone;
 * after a welcome it lives until it is cancelled or declined. The answer has also been given to
 * events->found. NULL: SIGNAL_ASKS_MAX, or no memory. */
struct signal_ask *signal_ask(struct signal *signal, const struct node_id *peer,
                              signal_answer_cb *cb, void *arg);
void signal_ask_cancel(struct signal_ask *ask);
/* Whether asking makes sense: there are brokers, up or not, or a session that carries messages. */
bool signal_can_ask(const struct signal *signal, const struct node_id *peer);
/* The peer has said welcome: asks it to connect to us, again and again until the question is
 * cancelled. 0, or -ENOTCONN: no way to it is up just now (it is tried again). */
int signal_ask_dial(struct signal_ask *ask);
/* Whether this peer was asked to connect and to show this token, and still is wanted. */
bool signal_is_invited(const struct signal *signal, const struct node_id *peer,
                       const uint8_t token[MESSAGE_TOKEN_BYTES]);
/* Tells a peer that its request to connect will not be followed, or has failed. */
void signal_decline(struct signal *signal, const struct node_id *peer,
                    const uint8_t token[MESSAGE_TOKEN_BYTES], uint8_t code, const char *text);
/* Lets a peer know that we are there and where (it may ask back): after a start, or a change of our
 * addresses. Nothing comes of it where no way to it is up, but that the peer is known from now on,
 * and is heard through a flood. */
void signal_announce(struct signal *signal, const struct node_id *peer);

/* --- Inside a session --- */

struct signal_carrier {
    /* Sends bytes (up to MESSAGE_BYTES_MAX). 0 or a negative error: there is no path just now. */
    int (*send)(void *arg, const uint8_t *bytes, size_t len);
    void *arg;
};
/* The session with this peer carries messages too, from now on (NULL: no longer). 0 or -ENOMEM. */
int signal_set_carrier(struct signal *signal, const struct node_id *peer,
                       const struct signal_carrier *carrier);
/* Bytes that came inside the session with this peer. */
void signal_carried(struct signal *signal, const struct node_id *from, const uint8_t *bytes,
                    size_t len);

/* --- For status --- */

size_t signal_broker_count(const struct signal *signal);
void signal_broker_describe(const struct signal *signal, size_t index, struct broker_info *info);
bool signal_is_up(const struct signal *signal); /* some broker is */
struct signal_stats {
    uint64_t received, opened; /* from brokers; and found authentic */
    /* Dropped: limited, not meant for us, not authentic, not understood, repeated or not fresh. */
    uint64_t limited, foreign, forged, malformed, stale;
    uint64_t asked, answered, refused, dialled; /* PINGs received, and what became of them; DIALs */
};
const struct signal_stats *signal_stats(const struct signal *signal);

/* The topic of a node: "adit/1/" and the base32 of SHA-256("adit topic v1" || ID). */
#define SIGNAL_TOPIC_BYTES (7 + 52 + 1)
void signal_topic(const struct node_id *id, char topic[SIGNAL_TOPIC_BYTES]);

#endif
