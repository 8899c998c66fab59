/* SPDX-License-Identifier: MIT */
/*
 * Binding: the one question of plain STUN, "what address do my packets come from?", as a
 * transaction (RFC 8489 3), with the additions of RFC 5780. For those who have a table of
 * transactions: a leg (client.h), or a socket that is used for other things too.
 */
#ifndef ADIT_STUN_BINDING_H
#define ADIT_STUN_BINDING_H

#include "stun/transaction.h"

#define BINDING_REQUEST_BYTES 64
#define BINDING_TEXT_MAX      160

enum binding_outcome {
    BINDING_SILENT,   /* no answer */
    BINDING_MAPPED,   /* answered; mapped is set */
    BINDING_REFUSED,  /* an error response; error has the code */
    BINDING_NONSENSE, /* an answer without an address, or that cannot be understood */
};

struct binding_answer {
    enum binding_outcome outcome;
    unsigned error;     /* REFUSED */
    struct addr mapped; /* us, as the server sees us */
    struct addr from;   /* where the answer came from, if known */
    struct addr other;  /* OTHER-ADDRESS: the server has a second address; unset: not offered */
    uint64_t rtt_us;    /* 0: not known */
};

/* A question under way, embedded in its owner. */
struct binding {
    struct transaction *transaction; /* NULL: none */
    void (*done)(void *arg, const struct binding_answer *answer);
    void *arg;
};

/* Asks; done is told once, from the loop. to may be NULL on connected sockets. change:
 * STUN_CHANGE_X, which asks for an answer from elsewhere, and takes it from anywhere: the caller
 * looks at answer->from. 0 or a negative error. */
int binding_ask(struct binding *binding, struct loop *loop, struct transaction_table *table,
                const struct addr *to, unsigned change,
                void (*done)(void *arg, const struct binding_answer *answer), void *arg);
/* Harmless when none is under way. Not after the table was freed. */
void binding_cancel(struct binding *binding);
/* What an outcome means, for people: "the server did not answer". Returns buf. */
const char *binding_text(const struct binding_answer *answer, char buf[BINDING_TEXT_MAX]);

#endif
