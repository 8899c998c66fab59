/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Signalling in the world of signal_world.h, one behaviour a test: what is asked and answered, with
 * restarts, wrong clocks, sessions that carry messages, and the want of brokers. The world's own
 * checks run all the time. test_signal_hostile.c has what comes of repeats, forgeries and floods,
 * test_signal_model.c the same world at random.
 */
#include "signal_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static int quiet(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    return 0;
}

static void question_and_answer(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    struct world_ask *ask = world_ask_and_wait(a, b);

    assert_int_equal(ask->outcome, SIGNAL_ANSWERED);
    assert_true(ask->welcome);
    assert_int_equal(ask->addr_count, 1);
    assert_true(strncmp(ask->way, "server", 6) == 0);
    assert_true(ask->rtt_us > 0 && ask->rtt_us <= 2 * world->delay_us);
    assert_int_equal(a->found, 1);
    assert_true(b->asked >= 1);
    world_forget(ask);
    world_dial_and_wait(a, b);
    world_free(world);
}

/* The vector of docs/protocol-signal.md. */
static void topic(void **state)
{
    (void)state;
    static const uint8_t secret[32] = {2};
    struct identity *bob = identity_from_secret(secret);
    char text[SIGNAL_TOPIC_BYTES];

    signal_topic(identity_id(bob), text);
    assert_string_equal(text, "adit/1/skci2e6gvx47qcmjoicsobcrrhperotzqm6jnmm4lbfu3fzmfdfa");
    identity_free(bob);
}

static void silence(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    struct world_ask *ask;
    uint64_t began;

    world_stop(b);
    began = loop_now(world->loop);
    ask = world_ask_and_wait(a, b);
    assert_int_equal(ask->outcome, SIGNAL_SILENT);
    assert_in_range(loop_now(world->loop) - began, 3 * SEC_US, 3 * SEC_US + 20 * MS_US);
    assert_non_null(strstr(ask->why, "not running"));
    world_forget(ask);
    /* It starts while it is asked. */
    ask = world_ask(a, b);
    world_run(world, 2 * SEC_US);
    assert_false(ask->told);
    world_start(b);
    world_run(world, SEC_US);
    assert_true(ask->welcome);
    world_forget(ask);
    world_free(world);
}

static void no_broker(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    const char *url = "sim://1/0";
    char error[100];
    struct world_ask *ask;
    uint64_t began;

    a->trouble = "wrong password";
    world_set_servers(world, false);
    world_run(world, SEC_US);
    assert_false(a->up || signal_is_up(a->signal));
    began = loop_now(world->loop);
    ask = world_ask_and_wait(a, b);
    assert_int_equal(ask->outcome, SIGNAL_NO_BROKER);
    assert_in_range(loop_now(world->loop) - began, 5 * SEC_US, 5 * SEC_US + 20 * MS_US);
    assert_string_equal(ask->why, "server0: wrong password");
    world_forget(ask);
    /* A broker that comes up late is asked at once. */
    ask = world_ask(a, b);
    world_run(world, 4 * SEC_US);
    assert_false(ask->told);
    world_set_server(world, 2, true);
    world_run(world, 250 * MS_US);
    world_run(world, SIGNAL_REPEAT_US); /* the peer may have come to it later than the question */
    assert_true(ask->welcome);
    assert_string_equal(ask->way, "server2");
    assert_int_equal(a->changed, 3);
    world_forget(ask);

    world_set_servers(world, true);
    world_run(world, SEC_US);
    assert_int_equal(signal_set_brokers(a->signal, NULL, 0, error, sizeof(error)), 0);
    ask = world_ask(a, b);
    world_run(world, SEC_US);
    assert_int_equal(signal_set_brokers(a->signal, &url, 1, error, sizeof(error)), 0);
    world_run(world, 2 * world->delay_us + 30 * MS_US); /* less than until it would be repeated */
    assert_true(ask->welcome);
    world_forget(ask);
    world_free(world);
}

/* Whatever some brokers do, one that works suffices, and costs no time. */
static void one_broker_of_three(void **state)
{
    (void)state;
    for (int good = 0; good < WORLD_SERVERS; good++) {
        struct world *world = world_new(1);
        struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
        struct world_ask *ask;
        uint64_t began;

        for (int i = 0; i < WORLD_SERVERS; i++)
            if (i != good)
                world_set_server(world, i, false);
        world_run(world, SEC_US);
        assert_int_equal(a->changed, 1);
        began = loop_now(world->loop);
        ask = world_ask_and_wait(a, b);
        assert_true(ask->welcome);
        assert_true(loop_now(world->loop) - began <= 2 * world->delay_us + 20 * MS_US);
        world_forget(ask);
        world_dial_and_wait(a, b);
        world_free(world);
    }
}

static void refusal(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    struct world_ask *ask;

    b->refused_code = 5;
    a->has_secret = true;
    memcpy(a->secret, "sixteen bytes...", sizeof(a->secret));
    ask = world_ask_and_wait(a, b);
    assert_int_equal(ask->outcome, SIGNAL_ANSWERED);
    assert_false(ask->welcome);
    assert_int_equal(ask->code, 5);
    assert_string_equal(ask->why, "not today");
    assert_true(b->saw_secret);
    assert_int_equal(a->found, 0);
    assert_int_equal(b->asked, 0);
    assert_int_equal(HASH_COUNT(b->signal->peers), 0); /* who is refused takes no memory */
    world_forget(ask);

    /* Welcome when it asked, revoked when it wants a connection. */
    b->refused_code = 0;
    ask = world_ask_and_wait(a, b);
    b->refused_code = 5;
    ask->dialled = true;
    assert_int_equal(signal_ask_dial(ask->ask), 0);
    world_run(world, SEC_US);
    assert_int_equal(b->dialled, 0);
    assert_int_equal(ask->declines, 1);
    assert_int_equal(ask->code, 5);
    world_forget(ask);

    /* The node itself declines. */
    b->refused_code = 0;
    b->dial_code = 8;
    ask = world_ask_and_wait(a, b);
    ask->dialled = true;
    assert_int_equal(signal_ask_dial(ask->ask), 0);
    world_run(world, 5 * SEC_US);
    assert_int_equal(b->dialled, 1);
    assert_int_equal(ask->declines, 1);
    assert_int_equal(ask->code, 8);
    world_forget(ask);
    world_free(world);
}

/* A request is repeated until somebody has had enough. */
static void request_repeated(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    struct world_ask *ask = world_ask_and_wait(a, b);
    size_t before;

    world_run(world, 200 * MS_US); /* answers by the other brokers */
    before = world->record_count;
    ask->dialled = true;
    assert_int_equal(signal_ask_dial(ask->ask), 0);
    world_run(world, 20 * SEC_US);
    assert_int_equal(b->dialled, 7);
    assert_int_equal(world->record_count - before, 7 * WORLD_SERVERS);
    world_forget(ask);
    world_free(world);
}

static void shared_question(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    struct world_ask *asks[20];
    size_t before = world->record_count;

    for (int i = 0; i < 20; i++)
        asks[i] = world_ask(a, b);
    world_cancel(asks[3]);
    assert_int_equal(world->record_count - before, WORLD_SERVERS); /* one question */
    world_run(world, SEC_US);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(asks[i]->told, i != 3);
        world_forget(asks[i]);
    }
    assert_int_equal(a->found, 1);
    /* The last who asks gives up: the question is over, and its answer comes to nobody. */
    asks[0] = world_ask(a, b);
    world_forget(asks[0]);
    world_run(world, 5 * SEC_US);
    assert_int_equal(a->found, 1);
    world_free(world);
}

/* --- Restarts and clocks --- */

static void restarts(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];

    world_dial_and_wait(a, b);
    world_dial_and_wait(b, a);
    for (int i = 0; i < 6; i++) {
        struct world_node *again = i % 2 ? a : b;
        uint64_t began;

        world_run(world, 35 * SEC_US);
        world_stop(again);
        world_start(again);
        world_run(world, 50 * MS_US);
        began = loop_now(world->loop);
        world_dial_and_wait(a, b);
        world_dial_and_wait(b, a);
        assert_true(loop_now(world->loop) - began < 500 * MS_US);
    }
    world_free(world);
}

static void clocks(void **state)
{
    (void)state;
    static const int64_t offsets[] = {
        0,         3600 * 1000000LL, -53LL * 365 * 86400 * 1000000, 200LL * 365 * 86400 * 1000000,
        INT64_MIN, INT64_MAX};
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];

    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
        for (size_t j = 0; j < 4; j++) {
            struct world_ask *ask;

            a->clock_us = offsets[i];
            b->clock_us = offsets[j];
            ask = world_ask_and_wait(a, b);
            assert_true(ask->welcome);
            assert_true(ask->rtt_us > 0 && ask->rtt_us <= 2 * world->delay_us);
            if (i < 4)
                assert_true(llabs(ask->offset_us - (offsets[j] - offsets[i])) <=
                            (long long)world->delay_us);
            world_forget(ask);
            world_dial_and_wait(a, b);
        }
    world_free(world);
}

/* --- Carriers --- */

static void carriers(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    struct world_ask *ask;
    unsigned dialled;

    world_set_servers(world, false);
    world_run(world, SEC_US);
    world_join(a, b);
    assert_true(signal_can_ask(a->signal, identity_id(b->identity)));
    ask = world_ask_and_wait(a, b);
    assert_true(ask->welcome);
    assert_string_equal(ask->way, "session");
    assert_int_equal(ask->rtt_us, 20 * MS_US);
    world_forget(ask);
    world_dial_and_wait(a, b);
    world_dial_and_wait(b, a);
    dialled = b->dialled;
    b->dial_code = 8;
    ask = world_ask_and_wait(a, b);
    ask->dialled = true;
    signal_ask_dial(ask->ask);
    world_run(world, SEC_US);
    assert_int_equal(ask->declines, 1);
    assert_true(b->dialled > dialled);
    world_forget(ask);
    /* The session has no path. */
    a->carrier_fails = true;
    ask = world_ask_and_wait(a, b);
    assert_int_equal(ask->outcome, SIGNAL_NO_BROKER);
    world_forget(ask);
    /* A session that comes while a question is out, is asked at once. */
    a->carrier_fails = false;
    world_part(a, b);
    ask = world_ask(a, b);
    world_run(world, SEC_US);
    assert_false(ask->told);
    world_join(a, b);
    world_run(world, 30 * MS_US);
    assert_true(ask->welcome);
    world_forget(ask);
    world_free(world);
}

/* Malformed bytes inside a session. */
static void carried_nonsense(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    uint8_t bytes[MESSAGE_BYTES_MAX];

    world_join(a, b);
    world->forged = true;
    for (int i = 0; i < 1000; i++) {
        size_t len = world_dice(world, sizeof(bytes) + 1);

        loop_random(world->loop, bytes, sizeof(bytes));
        bytes[0] = (uint8_t)(i % 2);
        bytes[1] = (uint8_t)(2 + i % 3);
        signal_carried(a->signal, identity_id(b->identity), bytes, len);
    }
    world->forged = false;
    assert_true(signal_stats(a->signal)->malformed > 900);
    world_free(world);
}

/* --- Brokers that come and go --- */

static void broker_lists(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    const char *two[] = {"sim://1/0", "sim://2/0"},
               *wrong[] = {"sim://1/0", "nonsense", "sim://0/0"};
    struct broker *kept = a->brokers[1];
    struct broker_info info;
    char error[100] = "";
    struct world_ask *ask;

    assert_int_equal(signal_set_brokers(a->signal, two, 2, error, sizeof(error)), 0);
    assert_int_equal(signal_broker_count(a->signal), 2);
    assert_ptr_equal(a->brokers[1], kept);
    assert_null(a->brokers[0]);
    assert_int_equal(signal_set_brokers(a->signal, wrong, 3, error, sizeof(error)), -EINVAL);
    assert_string_equal(error, "not a URL of these tests");
    assert_int_equal(signal_broker_count(a->signal), 2);
    signal_broker_describe(a->signal, 0, &info);
    assert_non_null(info.name);
    world_run(world, SEC_US);
    ask = world_ask_and_wait(a, b);
    assert_true(ask->welcome);
    world_forget(ask);
    assert_int_equal(signal_set_brokers(a->signal, NULL, 0, error, sizeof(error)), 0);
    assert_int_equal(signal_broker_count(a->signal), 0);
    assert_false(a->up);
    assert_false(signal_can_ask(a->signal, identity_id(b->identity)));
    signal_kick(a->signal);
    signal_announce(a->signal, identity_id(b->identity));
    ask = world_ask_and_wait(a, b);
    assert_int_equal(ask->outcome, SIGNAL_NO_BROKER);
    assert_non_null(strstr(ask->why, "no broker is configured"));
    world_forget(ask);
    world_free(world);
}

static void announcement(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    size_t before = world->record_count;

    signal_announce(a->signal, identity_id(b->identity));
    world_run(world, SEC_US);
    assert_int_equal(b->asked, WORLD_SERVERS);
    assert_int_equal(world->record_count - before, WORLD_SERVERS); /* not answered */
    b->refused_code = 1;
    signal_announce(a->signal, identity_id(b->identity));
    world_run(world, SEC_US);
    assert_int_equal(b->asked, WORLD_SERVERS);
    assert_int_equal(world->record_count - before, 2 * WORLD_SERVERS);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topic),
        cmocka_unit_test(question_and_answer),
        cmocka_unit_test(silence),
        cmocka_unit_test(no_broker),
        cmocka_unit_test(one_broker_of_three),
        cmocka_unit_test(refusal),
        cmocka_unit_test(request_repeated),
        cmocka_unit_test(shared_question),
        cmocka_unit_test(restarts),
        cmocka_unit_test(clocks),
        cmocka_unit_test(carriers),
        cmocka_unit_test(carried_nonsense),
        cmocka_unit_test(broker_lists),
        cmocka_unit_test(announcement),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
