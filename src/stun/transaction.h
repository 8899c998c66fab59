/* SPDX-License-Identifier: MIT */
/*
 * Transactions: requests and their answers (RFC 8489 6.2 and 6.3), over anything that takes bytes:
 * the table sends by a callback, and is handed the responses that arrive. transaction.c has the
 * theory.
 */
#ifndef ADIT_STUN_TRANSACTION_H
#define ADIT_STUN_TRANSACTION_H

#include "base/loop.h"
#include "stun/stun.h"

struct transaction;
struct transaction_table;

#define TRANSACTIONS_ACTIVE_MAX 10  /* outstanding at once (RFC 8489 6.2.1) */
#define TRANSACTIONS_QUEUED_MAX 256 /* and waiting for their turn; then ADIT_EFULL */

struct transaction_timing {
    uint64_t rto_us; /* first retransmission of a datagram, doubled each time; 500 ms */
    unsigned rc;     /* how often a request is sent; 7 */
    unsigned rm;     /* the last is waited for rm times the RTO; 16 */
    uint64_t ti_us;  /* streams: how long to wait; 39.5 s */
};

#define TRANSACTION_TIMING_DEFAULT                                       \
    {                                                                    \
        .rto_us = 500 * MS_US, .rc = 7, .rm = 16, .ti_us = 39500 * MS_US \
    }

enum transaction_outcome {
    TRANSACTION_SUCCESS,  /* a success response */
    TRANSACTION_ERROR,    /* an error response, with an ERROR-CODE that could be read */
    TRANSACTION_TIMEOUT,  /* nothing came */
    TRANSACTION_VIOLATED, /* only responses with wrong integrity came */
    TRANSACTION_BAD,      /* the response has attributes that must be understood and are not, or is
                             an error without a code */
    TRANSACTION_UNSENT,   /* the leg would not take it (streams) */
};

struct transaction_result {
    enum transaction_outcome outcome;
    const struct stun_message *message; /* SUCCESS, ERROR, BAD; lent. Else NULL */
    struct stun_error error;            /* ERROR */
    struct addr from;                   /* where the response came from, if known */
    uint64_t rtt_us; /* 0: not known (it was sent more than once, or timed out) */
    unsigned sent;   /* how often */
};

/* A request that is ready to be sent. */
struct transaction_request {
    const uint8_t *bytes; /* a built message, copied; its id is what responses are matched by */
    size_t len;
    struct addr to;   /* where to send it; unset: where the leg leads to */
    struct addr from; /* where the response must come from; unset: `to` */
    bool any_source;  /* take it from anywhere: who asks for that looks at result->from himself */
    bool urgent;      /* sent at once, however many are outstanding; its owner has few of these */
    /* Whether a response's integrity is in order; those that are not are passed over (datagrams) or
     * end the transaction (streams). NULL: all are taken. */
    bool (*accept)(void *arg, const struct stun_message *response);
    /* Told once, from the loop or from within transaction_receive(), never from within
     * transaction_start(). The transaction is gone. */
    void (*done)(void *arg, const struct transaction_result *result);
    void *arg;
};

/* Sends a packet: 0 or a negative error. Errors of datagrams are as good as losses. */
typedef int transaction_send_cb(void *owner, const uint8_t *bytes, size_t len,
                                const struct addr *to);

/* A table for one server. is_stream: nothing is sent twice. timing NULL:
 * TRANSACTION_TIMING_DEFAULT. NULL: no memory. */
struct transaction_table *transaction_table_new(struct loop *loop, bool is_stream,
                                                const struct transaction_timing *timing,
                                                transaction_send_cb *send, void *owner);
/* What is outstanding is forgotten, untold. NULL: nothing. */
void transaction_table_free(struct transaction_table *table);

/* A new id, from the loop's randomness. */
struct stun_id transaction_new_id(struct loop *loop);
/* Sends the request now, or when one of those before it is over. NULL, with errno: ENOMEM, EINVAL
 * (no message), ENOBUFS (the table is full). */
struct transaction *transaction_start(struct transaction_table *table,
                                      const struct transaction_request *request);
/* Datagrams: sends it once more now, beside its own times, so that an answer to any of the copies
 * is the answer; for those who must know soon whether the server is there. Streams: nothing. */
void transaction_hurry(struct transaction *transaction);
/* Forgets it, untold; a response that still comes is passed over. */
void transaction_cancel(struct transaction *transaction);
/* A response has arrived from `from` (NULL: from where the leg leads to). True when it was one to a
 * transaction of this table, or to one that was over lately; false: none of ours, or no response.
 * Its callback may free the table. */
bool transaction_receive(struct transaction_table *table, const struct stun_message *message,
                         const struct addr *from);
/* How many are outstanding or waiting. */
size_t transaction_count(const struct transaction_table *table);
/* Smoothed round trip; 0: none was measured. */
uint64_t transaction_rtt_us(const struct transaction_table *table);

#endif
