/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An exchange is one thing asked of the server until it is answered: a transaction, and another one
 * with a new id whenever the server wants it signed (401) or has a new nonce (438), whatever the
 * method. So no method can forget to handle them, which is how clients die after the nonce's life.
 *
 * Time-limited credentials of a secret run out while the allocation lives. Servers look at them
 * when it is made; some again later, or because they were started again: a 401 then makes new ones,
 * once for each exchange. Whoever does not take them (441: the allocation is another user's) has
 * ended the allocation.
 *
 * The exchange builds its request anew each time (the nonce has changed), signs it with the
 * allocation's credentials, and believes only answers that verify (credentials_accept()). What
 * comes of it is a response, or a report in words. Some servers sign no errors (Pion): those are
 * believed as long as there is no allocation that a forged one could cost us, but for 300, which
 * would lead us elsewhere. Nor does Pion say a code when it refuses a permission: that is its
 * policy (403).
 *
 * A Refresh does not wait for other requests that are not answered: our life depends on it, and
 * whether the server is there is asked by it.
 *
 * Limits: TURN_STALE_MAX 438s in a row to one request; then the server is at fault. Exchanges are
 * as many as transactions are (transaction.h). They belong to their leg and go with it.
 */
#include <stdlib.h>

#include "stun/turn_int.h"
#include "stun/words.h"

static bool ask(struct turn_exchange *exchange);

static void unlink_exchange(struct turn_exchange *exchange)
{
    *exchange->prev = exchange->next;
    if (exchange->next)
        exchange->next->prev = exchange->prev;
    exchange->prev = NULL;
}

/* Tells, and frees. */
static void finish(struct turn_exchange *exchange, const struct stun_message *response,
                   const struct turn_report *report)
{
    unlink_exchange(exchange);
    exchange->transaction = NULL;
    exchange->done(exchange, response, report);
    free(exchange);
}

static void fail(struct turn_exchange *exchange, const struct stun_message *response,
                 enum turn_trouble trouble, unsigned code, const char *what)
{
    const struct turn_allocation *a = exchange->leg->owner;
    char where[SERVER_TEXT_MAX];
    struct turn_report report;

    turn_report_make(&report, trouble, exchange->method, code, "%s %s",
                     server_format(&a->to.server, where), what);
    finish(exchange, response, &report);
}

static bool is_unsigned_refusal(const struct turn_exchange *exchange,
                                const struct stun_message *response)
{
    const struct turn_allocation *a = exchange->leg->owner;
    struct stun_error error;

    return a->state == TURN_ALLOCATING && response->class == STUN_ERROR && !a->credentials.sha256 &&
           credentials_check(&a->credentials, response) == STUN_VERDICT_ABSENT &&
           stun_read_error(stun_find(response, STUN_ATTR_ERROR_CODE), &error) == 0 &&
           error.code != STUN_TRY_ALTERNATE;
}

static bool on_accept(void *arg, const struct stun_message *response)
{
    struct turn_exchange *exchange = arg;
    struct turn_allocation *a = exchange->leg->owner;

    if (!credentials_accept(&a->credentials, response) && !is_unsigned_refusal(exchange, response))
        return false;
    exchange->is_proven =
        !exchange->was_signed || credentials_check(&a->credentials, response) == STUN_VERDICT_GOOD;
    if (exchange->leg == a->leg)
        turn_answered(a, exchange->is_proven);
    return true;
}

/* A 401 to a user that ran out, or was replaced since: true when it is asked again. */
static bool renew_login(struct turn_exchange *exchange)
{
    struct turn_allocation *a = exchange->leg->owner;

    if (a->state != TURN_UP || exchange->relogged)
        return false;
    if (exchange->login == a->logins && !turn_make_login(a))
        return false;
    exchange->relogged = true;
    return ask(exchange);
}

/* An error response that is about credentials: true when it has been dealt with. */
static bool take_credentials(struct turn_exchange *exchange, const struct stun_message *response,
                             const struct stun_error *error)
{
    struct turn_allocation *a = exchange->leg->owner;

    switch (credentials_take(&a->credentials, response, exchange->was_signed)) {
    case CREDENTIALS_RETRY:
        if (error->code == STUN_STALE_NONCE)
            a->stale_nonces++;
        if (++exchange->stale > TURN_STALE_MAX)
            fail(exchange, response, TURN_FAILED, error->code,
                 "says again and again that its nonce is stale: its operator must look at it");
        else if (!ask(exchange))
            fail(exchange, response, TURN_NO_MEMORY, 0, "cannot be asked: out of memory");
        return true;
    case CREDENTIALS_BID_DOWN:
        fail(exchange, response, TURN_TAMPERED, error->code,
             "offers stronger algorithms, but somebody has taken them out of its answer: the "
             "network in between is not to be trusted; use TLS (turns:)");
        return true;
    case CREDENTIALS_MALFORMED:
        fail(exchange, response, TURN_NOT_TURN, error->code,
             "wants a password, but does not say its realm and nonce: it is broken");
        return true;
    case CREDENTIALS_UNSUPPORTED:
        fail(exchange, response, TURN_NOT_TURN, error->code,
             "wants a password algorithm that is not known here");
        return true;
    case CREDENTIALS_REFUSED:
        return renew_login(exchange);
    case CREDENTIALS_NONE:
    case CREDENTIALS_OTHER:
        return false;
    }
    return false;
}

static void refused(struct turn_exchange *exchange, const struct stun_message *response,
                    const struct stun_error *error)
{
    const struct turn_allocation *a = exchange->leg->owner;
    struct turn_report report;

    turn_report_error(&report, exchange->method, error, &a->to.server, &a->credentials,
                      addr_is_set(&exchange->peer) ? &exchange->peer : NULL, turn_time_s(a->loop));
    finish(exchange, response, &report);
}

static bool is_codeless_refusal(const struct turn_exchange *exchange,
                                const struct stun_message *response)
{
    return exchange->method == STUN_METHOD_CREATE_PERMISSION && response->class == STUN_ERROR &&
           !stun_find(response, STUN_ATTR_ERROR_CODE);
}

static void on_done(void *arg, const struct transaction_result *result)
{
    static const struct stun_error forbidden = {.code = STUN_FORBIDDEN};
    struct turn_exchange *exchange = arg;

    exchange->transaction = NULL;
    switch (result->outcome) {
    case TRANSACTION_SUCCESS:
        finish(exchange, result->message, NULL);
        return;
    case TRANSACTION_ERROR:
        if (!take_credentials(exchange, result->message, &result->error))
            refused(exchange, result->message, &result->error);
        return;
    case TRANSACTION_TIMEOUT:
        fail(exchange, NULL, TURN_SILENT, 0,
             "does not answer: it is down, or something in between (a firewall, a wrong port) "
             "keeps its packets; try TCP or TLS, and check address and port");
        return;
    case TRANSACTION_VIOLATED:
        fail(exchange, NULL, TURN_TAMPERED, 0,
             "answers with a wrong signature: it has another password for this user, or somebody "
             "in between answers in its place");
        return;
    case TRANSACTION_BAD:
        if (is_codeless_refusal(exchange, result->message)) {
            refused(exchange, result->message, &forbidden);
            return;
        }
        fail(exchange, result->message, TURN_NOT_TURN, 0,
             "answers something that is no proper TURN: check that address and port are those of "
             "a TURN server");
        return;
    case TRANSACTION_UNSENT:
        fail(exchange, NULL, TURN_LOST, 0, "takes nothing any more: its connection is stuck");
        return;
    }
}

static bool ask(struct turn_exchange *exchange)
{
    struct turn_allocation *a = exchange->leg->owner;
    uint8_t bytes[TURN_REQUEST_BYTES];
    struct stun_id id = transaction_new_id(a->loop);
    struct transaction_request request = {
        .bytes = bytes, .accept = on_accept, .done = on_done, .arg = exchange};
    struct stun_builder builder;
    int len;

    stun_build(&builder, bytes, sizeof(bytes), exchange->method, STUN_REQUEST, &id);
    if (exchange->build)
        exchange->build(exchange, &builder);
    exchange->login = a->logins;
    exchange->was_signed = a->credentials.set && a->credentials.asked;
    credentials_sign(&a->credentials, &builder);
    len = stun_built(&builder);
    if (len < 0)
        return false;
    request.len = (size_t)len;
    request.urgent = exchange->method == STUN_METHOD_REFRESH;
    exchange->transaction = transaction_start(exchange->leg->table, &request);
    return exchange->transaction != NULL;
}

bool turn_exchange_start(struct turn_leg *leg, const struct turn_exchange *what,
                         struct turn_exchange **out)
{
    struct turn_exchange *exchange = malloc(sizeof(*exchange));

    if (!exchange)
        return false;
    *exchange = *what;
    exchange->leg = leg;
    exchange->stale = 0;
    exchange->relogged = false;
    if (!ask(exchange)) {
        free(exchange);
        return false;
    }
    exchange->next = leg->exchanges;
    if (exchange->next)
        exchange->next->prev = &exchange->next;
    exchange->prev = &leg->exchanges;
    leg->exchanges = exchange;
    if (out)
        *out = exchange;
    return true;
}

void turn_exchange_cancel(struct turn_exchange *exchange)
{
    if (exchange->holder)
        *exchange->holder = NULL;
    if (exchange->transaction)
        transaction_cancel(exchange->transaction);
    unlink_exchange(exchange);
    free(exchange);
}

void turn_exchange_hurry(struct turn_exchange *exchange)
{
    if (exchange->transaction)
        transaction_hurry(exchange->transaction);
}

void turn_exchanges_cancel(struct turn_leg *leg)
{
    while (leg->exchanges)
        turn_exchange_cancel(leg->exchanges);
}
