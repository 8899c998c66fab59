/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: transactions in virtual time, with a server made by hand that answers as
 * each test asks: late, twice, from elsewhere, with the wrong key, never; and with losses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "stun/integrity.h"
#include "stun/transaction.h"

#define SENT_MAX 4096

/* The network and the server behind it. */
struct net {
    struct loop *loop;
    struct transaction_table *table;
    uint64_t sent_at[SENT_MAX];
    struct stun_id sent_id[SENT_MAX];
    size_t sent;
    int fails; /* what sending returns */
};

static int on_send(void *owner, const uint8_t *bytes, size_t len, const struct addr *to)
{
    struct net *net = owner;
    struct stun_message m;

    (void)to;
    assert_true(net->sent < SENT_MAX);
    assert_int_equal(stun_parse_datagram(bytes, len, &m), 0);
    net->sent_at[net->sent] = loop_now(net->loop);
    net->sent_id[net->sent++] = m.id;
    return net->fails;
}

/* Somebody who asks. */
struct asker {
    int done;
    struct transaction_result result;
    uint64_t at;
    struct loop *loop;
    bool refuses; /* the integrity */
    struct transaction_table *frees;
};

static bool on_accept(void *arg, const struct stun_message *response)
{
    struct asker *asker = arg;

    (void)response;
    return !asker->refuses;
}

static void on_done(void *arg, const struct transaction_result *result)
{
    struct asker *asker = arg;

    asker->done++;
    asker->result = *result;
    asker->at = loop_now(asker->loop);
    transaction_table_free(asker->frees);
}

static void net_init(struct net *net, bool is_stream)
{
    *net = (struct net){.loop = loop_new_virtual(7)};
    assert_non_null(net->loop);
    net->table = transaction_table_new(net->loop, is_stream, NULL, on_send, net);
    assert_non_null(net->table);
}

static void net_free(struct net *net)
{
    transaction_table_free(net->table);
    loop_free(net->loop);
}

static struct transaction *ask_to(struct net *net, struct asker *asker, const struct addr *to)
{
    uint8_t bytes[64];
    struct stun_builder b;
    struct stun_id id = transaction_new_id(net->loop);
    struct transaction_request request = {
        .bytes = bytes, .accept = on_accept, .done = on_done, .arg = asker};

    asker->loop = net->loop;
    if (to)
        request.to = *to;
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_BINDING, STUN_REQUEST, &id);
    request.len = (size_t)stun_built(&b);
    return transaction_start(net->table, &request);
}

static struct transaction *ask(struct net *net, struct asker *asker)
{
    return ask_to(net, asker, NULL);
}

enum answer {
    ANSWER_GOOD,
    ANSWER_438,
    ANSWER_NO_CODE,
    ANSWER_UNKNOWN,
    ANSWER_METHOD,
    ANSWER_FINGERPRINT
};

static bool answer_from(struct net *net, const struct stun_id *id, enum answer how,
                        const struct addr *from)
{
    uint8_t bytes[128];
    struct stun_builder b;
    struct stun_message m;
    struct addr mapped = addr_loopback(AF_INET, 4);

    stun_build(&b, bytes, sizeof(bytes),
               how == ANSWER_METHOD ? STUN_METHOD_REFRESH : STUN_METHOD_BINDING,
               how == ANSWER_438 || how == ANSWER_NO_CODE ? STUN_ERROR : STUN_SUCCESS, id);
    stun_put_xor_address(&b, STUN_ATTR_XOR_MAPPED_ADDRESS, &mapped);
    if (how == ANSWER_438)
        stun_put_error(&b, 438, "Stale Nonce");
    if (how == ANSWER_UNKNOWN)
        stun_put_flag(&b, 0x7F00);
    if (how == ANSWER_FINGERPRINT)
        stun_put_u32(&b, STUN_ATTR_FINGERPRINT, 1);
    assert_int_equal(stun_parse_datagram(bytes, (size_t)stun_built(&b), &m), 0);
    return transaction_receive(net->table, &m, from);
}

static bool answer(struct net *net, size_t which, enum answer how)
{
    return answer_from(net, &net->sent_id[which], how, NULL);
}

static void run_for(struct net *net, uint64_t us)
{
    uint64_t until = loop_now(net->loop) + us;

    while (loop_now(net->loop) < until && loop_turn(net->loop, until - loop_now(net->loop)))
        ;
}

static void nobody_answers(void **state)
{
    (void)state;
    static const uint64_t want_ms[] = {0, 500, 1500, 3500, 7500, 15500, 31500};
    struct asker asker = {0};
    struct net net;

    net_init(&net, false);
    uint64_t start = loop_now(net.loop);
    assert_non_null(ask(&net, &asker));
    assert_int_equal(net.sent, 1);
    run_for(&net, 100 * SEC_US);
    assert_int_equal(net.sent, 7); /* RFC 8489 6.2.1 */
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(net.sent_at[i] - start, want_ms[i] * MS_US);
    assert_int_equal(asker.done, 1);
    assert_int_equal(asker.result.outcome, TRANSACTION_TIMEOUT);
    assert_int_equal(asker.result.sent, 7);
    assert_int_equal(asker.at - start, 39500 * MS_US);
    net_free(&net);
}

static void streams_send_once(void **state)
{
    (void)state;
    struct asker asker = {0}, lost = {0};
    struct net net;

    net_init(&net, true);
    uint64_t start = loop_now(net.loop);
    ask(&net, &asker);
    run_for(&net, 100 * SEC_US);
    assert_int_equal(net.sent, 1);
    assert_int_equal(asker.result.outcome, TRANSACTION_TIMEOUT);
    assert_int_equal(asker.at - start, 39500 * MS_US);
    net.fails = ADIT_ECLOSED;
    assert_non_null(ask(&net, &lost));
    assert_int_equal(lost.done, 0); /* never from inside */
    run_for(&net, SEC_US);
    assert_int_equal(lost.result.outcome, TRANSACTION_UNSENT);
    net_free(&net);
}

static void answers(void **state)
{
    (void)state;
    struct asker good = {0}, bad = {0}, stale = {0}, unknown = {0};
    struct net net;

    net_init(&net, false);
    ask(&net, &good);
    run_for(&net, 80 * MS_US);
    assert_true(answer(&net, 0, ANSWER_GOOD));
    assert_int_equal(good.result.outcome, TRANSACTION_SUCCESS);
    assert_int_equal(good.result.rtt_us, 80 * MS_US);
    assert_int_equal(transaction_rtt_us(net.table), 80 * MS_US);
    assert_true(answer(&net, 0, ANSWER_GOOD)); /* twice: ours, passed over */
    assert_int_equal(good.done, 1);
    ask(&net, &stale);
    ask(&net, &bad);
    ask(&net, &unknown);
    answer(&net, 1, ANSWER_438);
    assert_int_equal(stale.result.outcome, TRANSACTION_ERROR);
    assert_int_equal(stale.result.error.code, 438);
    answer(&net, 2, ANSWER_NO_CODE);
    assert_int_equal(bad.result.outcome, TRANSACTION_BAD);
    answer(&net, 3, ANSWER_UNKNOWN);
    assert_int_equal(unknown.result.outcome, TRANSACTION_BAD);
    /* A stranger's id, and what is no response. */
    struct stun_id id = transaction_new_id(net.loop);
    assert_false(answer_from(&net, &id, ANSWER_GOOD, NULL));
    assert_int_equal(transaction_count(net.table), 0);
    net_free(&net);
}

/* What is no answer changes nothing: the one that comes later counts. */
static void what_is_no_answer(void **state)
{
    (void)state;
    struct asker asker = {0};
    struct addr server = addr_loopback(AF_INET, 3478), other = addr_loopback(AF_INET, 3479);
    struct net net;

    net_init(&net, false);
    ask_to(&net, &asker, &server);
    assert_true(answer_from(&net, &net.sent_id[0], ANSWER_GOOD, &other));
    assert_true(answer_from(&net, &net.sent_id[0], ANSWER_METHOD, &server));
    assert_true(answer_from(&net, &net.sent_id[0], ANSWER_FINGERPRINT, &server));
    assert_int_equal(asker.done, 0);
    run_for(&net, 2 * SEC_US);
    assert_int_equal(net.sent, 3);
    assert_true(answer_from(&net, &net.sent_id[0], ANSWER_GOOD, &server)); /* late */
    assert_int_equal(asker.result.outcome, TRANSACTION_SUCCESS);
    assert_true(addr_equal(&asker.result.from, &server));
    assert_int_equal(asker.result.rtt_us, 0); /* sent three times: which one was answered? */
    run_for(&net, 100 * SEC_US);
    assert_int_equal(net.sent, 3);
    assert_int_equal(asker.done, 1);
    net_free(&net);
}

static void wrong_integrity(void **state)
{
    (void)state;
    struct asker asker = {.refuses = true}, later = {.refuses = true};
    struct net net;

    net_init(&net, false);
    uint64_t start = loop_now(net.loop);
    ask(&net, &asker);
    ask(&net, &later);
    answer(&net, 0, ANSWER_GOOD);
    answer(&net, 1, ANSWER_GOOD);
    assert_int_equal(asker.done, 0);
    run_for(&net, SEC_US);
    later.refuses = false; /* the real one */
    answer(&net, 1, ANSWER_GOOD);
    assert_int_equal(later.result.outcome, TRANSACTION_SUCCESS);
    run_for(&net, 100 * SEC_US);
    assert_int_equal(asker.result.outcome, TRANSACTION_VIOLATED);
    assert_null(asker.result.message);
    assert_int_equal(asker.at - start, 39500 * MS_US);
    net_free(&net);

    struct asker stream = {.refuses = true};
    net_init(&net, true);
    ask(&net, &stream);
    answer(&net, 0, ANSWER_GOOD);
    assert_int_equal(stream.result.outcome, TRANSACTION_VIOLATED); /* at once */
    net_free(&net);
}

static void ten_at_once(void **state)
{
    (void)state;
    static struct asker askers[TRANSACTIONS_ACTIVE_MAX + TRANSACTIONS_QUEUED_MAX + 1];
    struct transaction *last = NULL;
    struct net net;

    memset(askers, 0, sizeof(askers));
    net_init(&net, false);
    for (size_t i = 0; i < TRANSACTIONS_ACTIVE_MAX + TRANSACTIONS_QUEUED_MAX; i++)
        assert_non_null(last = ask(&net, &askers[i]));
    assert_null(ask(&net, &askers[TRANSACTIONS_ACTIVE_MAX + TRANSACTIONS_QUEUED_MAX]));
    assert_int_equal(errno, ENOBUFS);
    assert_int_equal(net.sent, TRANSACTIONS_ACTIVE_MAX);
    transaction_cancel(last); /* waiting */
    answer(&net, 3, ANSWER_GOOD);
    assert_int_equal(askers[3].done, 1);
    assert_int_equal(net.sent, TRANSACTIONS_ACTIVE_MAX + 1); /* the oldest that waited */
    answer(&net, TRANSACTIONS_ACTIVE_MAX, ANSWER_GOOD);
    assert_int_equal(askers[TRANSACTIONS_ACTIVE_MAX].done, 1);
    for (size_t i = 0; i < net.sent; i++)
        answer(&net, i, ANSWER_GOOD);
    for (size_t i = 0; i < TRANSACTIONS_ACTIVE_MAX + TRANSACTIONS_QUEUED_MAX - 1; i++)
        assert_int_equal(askers[i].done, 1);
    assert_int_equal(transaction_count(net.table), 0);
    net_free(&net);
}

static void ends_of_tables(void **state)
{
    (void)state;
    struct asker frees = {0}, forgotten = {0}, cancelled = {0};
    struct net net;

    net_init(&net, false);
    struct transaction *t = ask(&net, &cancelled);
    ask(&net, &frees);
    ask(&net, &forgotten);
    transaction_cancel(t);
    assert_true(answer(&net, 0, ANSWER_GOOD)); /* passed over */
    frees.frees = net.table;
    answer(&net, 1, ANSWER_GOOD);
    assert_int_equal(frees.done, 1);
    net.table = NULL;
    run_for(&net, 100 * SEC_US);
    assert_int_equal(forgotten.done, 0);
    assert_int_equal(cancelled.done, 0);
    net_free(&net);

    struct asker none = {0};
    net_init(&net, false);
    assert_null(transaction_start(
        net.table, &(struct transaction_request){.bytes = (const uint8_t *)"x", .len = 1}));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(none.done, 0);
    net_free(&net);
}

/* Losses of both directions, 40 % each: nearly all get through, and nothing is told twice. */
static void through_losses(void **state)
{
    (void)state;
    static struct asker askers[200];
    size_t answered = 0, got = 0;
    struct net net;

    memset(askers, 0, sizeof(askers));
    net_init(&net, false);
    for (size_t i = 0; i < 200; i++)
        assert_non_null(ask(&net, &askers[i]));
    for (int i = 0; i < 100000 && transaction_count(net.table) > 0; i++) {
        run_for(&net, 50 * MS_US);
        for (; answered < net.sent; answered++)
            if (loop_random64(net.loop) % 100 >= 40 && loop_random64(net.loop) % 100 >= 40)
                answer(&net, answered, ANSWER_GOOD);
    }
    for (size_t i = 0; i < 200; i++) {
        assert_int_equal(askers[i].done, 1);
        got += askers[i].result.outcome == TRANSACTION_SUCCESS;
    }
    assert_in_range(got, 185, 200); /* 1 - 0.64^7 is 95.6 % */
    net_free(&net);
}

/* A slow network: what is measured makes the first wait longer, never shorter. */
static void slow_networks(void **state)
{
    (void)state;
    struct asker first = {0}, second = {0};
    struct net net;

    net_init(&net, false);
    ask(&net, &first);
    run_for(&net, 400 * MS_US);
    answer(&net, 0, ANSWER_GOOD);
    ask(&net, &second); /* 400 + 4 * 200 */
    run_for(&net, 1150 * MS_US);
    assert_int_equal(net.sent, 2);
    run_for(&net, 100 * MS_US);
    assert_int_equal(net.sent, 3);
    net_free(&net);
}

/* Who hurries sends copies beside the times of the standard: they change nothing else. */
static void hurried(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        struct net net;
        struct asker asker = {0};
        struct transaction *t;

        net_init(&net, stream);
        t = ask(&net, &asker);
        for (int i = 0; i < 4; i++) {
            run_for(&net, 100 * MS_US);
            transaction_hurry(t);
        }
        run_for(&net, 200 * MS_US);
        assert_int_equal(net.sent, stream ? 1 : 6); /* the first, four copies, and that at 0.5 s */
        for (size_t i = 1; i < net.sent; i++)
            assert_true(stun_id_equal(&net.sent_id[i], &net.sent_id[0]));
        assert_true(answer(&net, 0, ANSWER_GOOD));
        assert_int_equal(asker.done, 1);
        assert_int_equal(asker.result.sent, net.sent);
        /* Nobody knows which copy was answered: no round trip is measured of it. */
        assert_int_equal(transaction_rtt_us(net.table) != 0, stream);
        /* One that waits for its turn is not sent out of it. */
        struct asker askers[TRANSACTIONS_ACTIVE_MAX + 1];
        size_t before;

        memset(askers, 0, sizeof(askers));
        for (int i = 0; i <= TRANSACTIONS_ACTIVE_MAX; i++)
            t = ask(&net, &askers[i]);
        before = net.sent;
        transaction_hurry(t);
        assert_int_equal(net.sent, before);
        net_free(&net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_answers),  cmocka_unit_test(streams_send_once),
        cmocka_unit_test(answers),         cmocka_unit_test(what_is_no_answer),
        cmocka_unit_test(wrong_integrity), cmocka_unit_test(ten_at_once),
        cmocka_unit_test(ends_of_tables),  cmocka_unit_test(through_losses),
        cmocka_unit_test(slow_networks),   cmocka_unit_test(hurried),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
