/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A table holds the transactions with one server over one leg. A request is sent at once, or, with
 * TRANSACTIONS_ACTIVE_MAX outstanding, when one of them is over; then the oldest goes first. Urgent
 * ones do not wait.
 *
 * Over datagrams it is sent again and again, each time after twice as long, until an answer comes:
 * at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s, and given up at 39.5 s (RFC 8489 6.2.1). The first
 * wait is longer where round trips have been measured that need it (RFC 6298; those of requests
 * that were sent once, as Karn asks), never shorter: whoever wants to know sooner tries several
 * ways at once. Over streams it is sent once and waited for as long, Ti (6.2.2).
 *
 * An answer is one when its id and method are the request's, it came from where it must, its
 * fingerprint, if any, is right, and whoever asked accepts its integrity. What fails the first
 * three is passed over. Wrong integrity is passed over on datagrams, where anybody can send one,
 * and remembered, so that in the end it is not called a timeout; on streams it ends the transaction
 * (RFC 8489 9.2.5). Attributes that must be understood and are not make an answer useless (6.3.3).
 * A request that is hurried goes out once more beside its times, with the same id: whichever copy
 * arrives, its answer is the answer.
 * Answers that come twice are recognised by the last RECENT_MAX ids, and passed over.
 *
 * Ownership: a transaction belongs to its table, until `done`, transaction_cancel(), or the end of
 * the table. `done` is told when the transaction is out of the table, so that it may do anything.
 */
#include "stun/transaction.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/log.h"
#include "stun/integrity.h"

#define RECENT_MAX 32
#define RTO_MAX_US (8 * SEC_US) /* a measured one; the last wait is then about two minutes */

struct transaction {
    TAILQ_ENTRY(transaction) link;
    struct transaction_table *table;
    struct timer timer;
    bool (*accept)(void *arg, const struct stun_message *response);
    void (*done)(void *arg, const struct transaction_result *result);
    void *arg;
    struct addr to, from;
    struct stun_id id;
    uint16_t method;
    bool active, unsent, violated;
    unsigned sent, hurried;
    uint64_t rto_us, first_at;
    size_t len;
    uint8_t bytes[];
};

TAILQ_HEAD(transactions, transaction);

struct transaction_table {
    struct loop *loop;
    struct transaction_timing timing;
    bool is_stream;
    transaction_send_cb *send;
    void *owner;
    struct transactions active, queued;
    size_t active_count, queued_count;
    struct stun_id recent[RECENT_MAX];
    size_t recent_count, recent_next;
    uint64_t srtt_us, rttvar_us;
};

struct transaction_table *transaction_table_new(struct loop *loop, bool is_stream,
                                                const struct transaction_timing *timing,
                                                transaction_send_cb *send, void *owner)
{
    static const struct transaction_timing defaults = TRANSACTION_TIMING_DEFAULT;
    struct transaction_table *table = calloc(1, sizeof(*table));

    if (!table)
        return NULL;
    table->loop = loop;
    table->timing = timing ? *timing : defaults;
    table->is_stream = is_stream;
    table->send = send;
    table->owner = owner;
    TAILQ_INIT(&table->active);
    TAILQ_INIT(&table->queued);
    return table;
}

struct stun_id transaction_new_id(struct loop *loop)
{
    struct stun_id id;

    loop_random(loop, id.bytes, sizeof(id.bytes));
    return id;
}

size_t transaction_count(const struct transaction_table *table)
{
    return table->active_count + table->queued_count;
}

uint64_t transaction_rtt_us(const struct transaction_table *table)
{
    return table->srtt_us;
}

/* --- Sending --- */

static uint64_t first_wait(const struct transaction_table *table)
{
    uint64_t measured = table->srtt_us + 4 * table->rttvar_us;

    if (measured > RTO_MAX_US)
        measured = RTO_MAX_US;
    return measured > table->timing.rto_us ? measured : table->timing.rto_us;
}

static void send_request(struct transaction *t)
{
    struct transaction_table *table = t->table;
    int result;

    t->sent++;
    result = table->send(table->owner, t->bytes, t->len, addr_is_set(&t->to) ? &t->to : NULL);
    if (table->is_stream) {
        t->unsent = result != 0;
        timer_set_in(table->loop, &t->timer, t->unsent ? 0 : table->timing.ti_us);
    } else if (t->sent < table->timing.rc) {
        timer_set_in(table->loop, &t->timer, t->rto_us << (t->sent - 1));
    } else {
        timer_set_in(table->loop, &t->timer, t->rto_us * table->timing.rm);
    }
}

static void activate(struct transaction *t)
{
    struct transaction_table *table = t->table;

    t->active = true;
    t->rto_us = first_wait(table);
    t->first_at = loop_now(table->loop);
    TAILQ_INSERT_TAIL(&table->active, t, link);
    table->active_count++;
    send_request(t);
}

static void activate_next(struct transaction_table *table)
{
    while (table->active_count < TRANSACTIONS_ACTIVE_MAX && !TAILQ_EMPTY(&table->queued)) {
        struct transaction *t = TAILQ_FIRST(&table->queued);

        TAILQ_REMOVE(&table->queued, t, link);
        table->queued_count--;
        activate(t);
    }
}

/* --- The end of one --- */

static void remember(struct transaction_table *table, const struct stun_id *id)
{
    table->recent[table->recent_next] = *id;
    table->recent_next = (table->recent_next + 1) % RECENT_MAX;
    if (table->recent_count < RECENT_MAX)
        table->recent_count++;
}

static void take_out(struct transaction *t)
{
    struct transaction_table *table = t->table;

    timer_cancel(table->loop, &t->timer);
    TAILQ_REMOVE(t->active ? &table->active : &table->queued, t, link);
    if (t->active) {
        table->active_count--;
        remember(table, &t->id);
    } else {
        table->queued_count--;
    }
}

static void finish(struct transaction *t, struct transaction_result *result)
{
    result->sent = t->sent + t->hurried;
    take_out(t);
    activate_next(t->table);
    t->done(t->arg, result); /* from here on the table may be gone */
    free(t);
}

static void on_timer(void *arg)
{
    struct transaction *t = arg;
    struct transaction_result result = {.outcome = TRANSACTION_TIMEOUT};

    if (!t->table->is_stream && t->sent < t->table->timing.rc) {
        send_request(t);
        return;
    }
    if (t->violated)
        result.outcome = TRANSACTION_VIOLATED;
    else if (t->unsent)
        result.outcome = TRANSACTION_UNSENT;
    finish(t, &result);
}

void transaction_hurry(struct transaction *transaction)
{
    struct transaction *t = transaction;

    if (t->table->is_stream || !t->active)
        return; /* it waits for its turn */
    t->hurried++;
    t->table->send(t->table->owner, t->bytes, t->len, addr_is_set(&t->to) ? &t->to : NULL);
}

void transaction_cancel(struct transaction *transaction)
{
    struct transaction_table *table = transaction->table;

    take_out(transaction);
    free(transaction);
    activate_next(table);
}

void transaction_table_free(struct transaction_table *table)
{
    if (!table)
        return;
    struct transactions *const lists[] = {&table->active, &table->queued};
    for (int i = 0; i < 2; i++) {
        struct transaction *t;

        while ((t = TAILQ_FIRST(lists[i]))) {
            take_out(t);
            free(t);
        }
    }
    free(table);
}

/* --- Starting --- */

struct transaction *transaction_start(struct transaction_table *table,
                                      const struct transaction_request *request)
{
    struct transaction *t;
    struct stun_message message;

    if (stun_parse_datagram(request->bytes, request->len, &message) != 0 ||
        message.class != STUN_REQUEST) {
        errno = EINVAL;
        return NULL;
    }
    if (table->queued_count >= TRANSACTIONS_QUEUED_MAX && !request->urgent) {
        errno = ENOBUFS;
        return NULL;
    }
    t = calloc(1, sizeof(*t) + request->len);
    if (!t)
        return NULL;
    t->table = table;
    t->accept = request->accept;
    t->done = request->done;
    t->arg = request->arg;
    t->to = request->to;
    if (!request->any_source)
        t->from = addr_is_set(&request->from) ? request->from : request->to;
    t->id = message.id;
    t->method = message.method;
    t->len = request->len;
    memcpy(t->bytes, request->bytes, request->len);
    timer_init(&t->timer, on_timer, t);
    if (request->urgent) {
        activate(t);
        return t;
    }
    TAILQ_INSERT_TAIL(&table->queued, t, link);
    table->queued_count++;
    activate_next(table);
    return t;
}

/* --- Answers --- */

static struct transaction *find(struct transaction_table *table, const struct stun_id *id)
{
    struct transaction *t;

    TAILQ_FOREACH (t, &table->active, link)
        if (stun_id_equal(&t->id, id))
            return t;
    return NULL;
}

static bool was_recent(const struct transaction_table *table, const struct stun_id *id)
{
    for (size_t i = 0; i < table->recent_count; i++)
        if (stun_id_equal(&table->recent[i], id))
            return true;
    return false;
}

/* RFC 6298 2. */
static void measure(struct transaction_table *table, uint64_t rtt_us)
{
    uint64_t off = rtt_us > table->srtt_us ? rtt_us - table->srtt_us : table->srtt_us - rtt_us;

    if (table->srtt_us == 0) {
        table->srtt_us = rtt_us;
        table->rttvar_us = rtt_us / 2;
        return;
    }
    table->rttvar_us = (3 * table->rttvar_us + off) / 4;
    table->srtt_us = (7 * table->srtt_us + rtt_us) / 8;
}

/* Whether the response belongs to the transaction, whatever it says. */
static bool matches(const struct transaction *t, const struct stun_message *m,
                    const struct addr *from)
{
    if (m->method != t->method)
        return false;
    if (from && addr_is_set(&t->from) && !addr_equal(from, &t->from))
        return false;
    return stun_check_fingerprint(m) != STUN_VERDICT_WRONG;
}

static enum transaction_outcome outcome_of(const struct stun_message *m, struct stun_error *error)
{
    if (stun_unknown_attrs(m, NULL, 0) > 0)
        return TRANSACTION_BAD;
    if (m->class == STUN_SUCCESS)
        return TRANSACTION_SUCCESS;
    return stun_read_error(stun_find(m, STUN_ATTR_ERROR_CODE), error) == 0 ? TRANSACTION_ERROR
                                                                           : TRANSACTION_BAD;
}

bool transaction_receive(struct transaction_table *table, const struct stun_message *message,
                         const struct addr *from)
{
    struct transaction_result result = {.message = message};
    struct transaction *t;
    uint64_t rtt_us;

    if (message->class != STUN_SUCCESS && message->class != STUN_ERROR)
        return false;
    t = find(table, &message->id);
    if (!t)
        return was_recent(table, &message->id);
    if (!matches(t, message, from)) {
        log_debug("event=stun-response-ignored reason=\"from elsewhere, or damaged\"");
        return true;
    }
    if (t->accept && !t->accept(t->arg, message)) {
        log_debug("event=stun-response-ignored reason=\"wrong integrity\"");
        t->violated = true;
        if (!table->is_stream)
            return true;
        result.message = NULL;
        result.outcome = TRANSACTION_VIOLATED;
        finish(t, &result);
        return true;
    }
    rtt_us = loop_now(table->loop) - t->first_at;
    if (t->sent + t->hurried == 1) {
        measure(table, rtt_us ? rtt_us : 1);
        result.rtt_us = rtt_us ? rtt_us : 1;
    }
    result.outcome = outcome_of(message, &result.error);
    result.from = from ? *from : (struct addr){0};
    finish(t, &result);
    return true;
}
