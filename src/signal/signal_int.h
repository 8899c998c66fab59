/* SPDX-License-Identifier: MIT */
/*
 * What signal.c, question.c and inbound.c share. Nobody else includes it but their tests.
 */
#ifndef ADIT_SIGNAL_SIGNAL_INT_H
#define ADIT_SIGNAL_SIGNAL_INT_H

#include <sys/queue.h>
#include <uthash.h>

#include "crypto/hash.h"
#include "crypto/seal.h"
#include "signal/signal.h"

#define CHALLENGE_EPOCH_US (60 * SEC_US) /* a challenge is good for this epoch and the next */
#define ASK_TEXT_MAX       (BROKER_TEXT_MAX + 200)

/* A bucket of tokens: so many at once, so many a second; what is beyond is dropped. */
struct bucket {
    uint64_t at;     /* when it was last filled */
    uint32_t millis; /* tokens in thousandths */
};
bool bucket_take(struct bucket *bucket, uint64_t now, uint32_t per_second, uint32_t burst);

/* How often a packet may cost public-key work, for each broker: from anybody; from one who proves
 * to hold a pass, and from all of these; and how often anybody is told that he is refused. */
#define UNKNOWN_PER_SECOND 50
#define UNKNOWN_BURST      100
#define HOLDER_PER_SECOND  10
#define HOLDER_BURST       40
#define PASSED_PER_SECOND  200
#define PASSED_BURST       400
#define REFUSAL_PER_SECOND 5
#define REFUSAL_BURST      20
#define ANSWER_PER_SECOND  8 /* to one peer */
#define ANSWER_BURST       32

#define SEEN_MAX           512 /* a power of two */

struct signal_broker {
    struct signal *signal;
    char *url; /* NULL: free place; may hold a password */
    struct broker *broker;
    bool up;
    uint64_t up_since;
    char why[BROKER_TEXT_MAX + 1];
    struct bucket unknown, passed;
    uint64_t seen[SEEN_MAX]; /* ephemeral keys that came with a pass, as many as fit */
};

struct signal_peer;

enum ask_state { ASK_ASKING, ASK_WELCOME, ASK_DIALLING };

struct signal_ask {
    TAILQ_ENTRY(signal_ask) link;
    struct signal *signal;
    struct signal_peer *peer;
    signal_answer_cb *cb;
    void *arg;
    enum ask_state state;
    uint64_t since, repeat_at;
    uint8_t token[MESSAGE_TOKEN_BYTES]; /* ASK_DIALLING */
};
TAILQ_HEAD(signal_ask_list, signal_ask);

#define PINGS_MAX 4
/* A question that is out: all asks of a peer that are in ASK_ASKING share it. */
struct signal_question {
    bool open;
    uint8_t challenge[MESSAGE_CHALLENGE_BYTES];
    struct {
        uint64_t number, wall_us, at; /* at: loop time */
    } pings[PINGS_MAX];               /* those sent last, to measure by */
    size_t ping_count;
    uint64_t since, first_sent; /* loop time; first_sent 0: by no way yet */
    uint64_t repeat_at;
};

/* The last request to connect of an instance that was looked at, against repeats: for as long as a
 * challenge is good. */
struct signal_followed {
    uint8_t instance[MESSAGE_INSTANCE_BYTES];
    uint64_t newest, until; /* loop time; until 0: free place */
};
#define FOLLOWED_MAX 16 /* instances of one peer within that time */

struct signal_peer {
    UT_hash_handle hh;             /* by id */
    UT_hash_handle hh_pass;        /* by its pass's name */
    TAILQ_ENTRY(signal_peer) link; /* the one heard of last comes last */
    struct node_id id;
    bool has_pass;
    uint8_t pass[SEAL_PASS_BYTES];     /* which it proves to hold */
    uint8_t our_pass[SEAL_PASS_BYTES]; /* which we show */
    bool has_their_challenge;
    uint8_t their_challenge[MESSAGE_CHALLENGE_BYTES];
    struct signal_followed followed[FOLLOWED_MAX];
    struct bucket answers, holder[SIGNAL_BROKERS_MAX];
    bool has_carrier;
    struct signal_carrier carrier;
    struct signal_question question;
    struct signal_ask_list asks;
};
TAILQ_HEAD(signal_peer_list, signal_peer);

struct signal {
    struct loop *loop;
    struct signal_options options;
    const struct broker_driver *driver;
    const struct signal_events *events;
    void *arg;
    char topic[SIGNAL_TOPIC_BYTES];
    char *ca_file; /* NULL: the system's */
    uint8_t instance[MESSAGE_INSTANCE_BYTES];
    uint8_t key[HASH_BYTES]; /* of our challenges */
    uint64_t number;         /* of the last message */
    struct signal_broker brokers[SIGNAL_BROKERS_MAX];
    bool was_up;
    struct signal_peer *peers, *passes;
    struct signal_peer_list peer_list;
    uint32_t ask_count;
    struct bucket refusals;
    struct timer timer; /* the next thing that is due to a question */
    struct signal_stats stats;
};

/* signal.c */
uint64_t signal_wall_us(const struct signal *signal);
struct signal_peer *signal_peer_find(const struct signal *signal, const struct node_id *id);
/* Found or made, and now the last that would be forgotten. NULL: no memory, or nobody to forget. */
struct signal_peer *signal_peer_get(struct signal *signal, const struct node_id *id);
/* A message's head. */
void signal_message_init(struct signal *signal, struct message *message, enum message_type type);
/* Our addresses for this peer, into the message. */
void signal_fill_addrs(struct signal *signal, const struct node_id *peer, struct message *message);
/* Sends it by one broker (NULL: by the carrier), or by every way that is up. 0, or -ENOTCONN when
 * there is none. */
int signal_send_by(struct signal *signal, struct signal_broker *way, const struct node_id *to,
                   const struct message *message);
int signal_send_all(struct signal *signal, const struct node_id *to, const struct message *message);
bool signal_has_way(const struct signal *signal, const struct signal_peer *peer);

/* question.c */
void question_way_up(struct signal *signal); /* some broker or carrier has come up */
void question_answered(struct signal *signal, struct signal_peer *peer, const char *way,
                       const struct message *pong);
void question_declined(struct signal *signal, struct signal_peer *peer,
                       const struct message *decline);
void question_timer(void *arg);
void question_plan(struct signal *signal);

/* inbound.c */
void inbound_packet(struct signal_broker *way, const uint8_t *bytes, size_t len);
/* way: NULL: inside the session. */
void inbound_message(struct signal *signal, struct signal_broker *way, const struct node_id *from,
                     const struct message *message);

#endif
