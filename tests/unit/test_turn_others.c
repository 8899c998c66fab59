/* SPDX-License-Identifier: MIT */
/* Theory of operation: the TURN client in virtual time with servers that do what Pion's and
 * node-turn's do otherwise than RFC 8656 has it (tests/e2e/test_turn_servers.py has the real ones):
 * they say nothing, do not sign what they say, or do not say what it means. */
#include "turn_client.h"

static struct addr peer_at(const char *text)
{
    struct addr peer;

    assert_int_equal(addr_parse(text, &peer), 0);
    return peer;
}

/* Starts the server anew while a client is there; how long until that has another allocation. */
static uint64_t restarted(void)
{
    struct client a;
    uint64_t at;

    client_up(&a, SERVER_UDP, &plain);
    run_for(60 * SEC_US);
    at = loop_now(world.loop);
    world_restart(&world, 0);
    while (!a.moves && loop_now(world.loop) - at < 700 * SEC_US)
        run_for(100 * MS_US);
    at = loop_now(world.loop) - at;
    run_for(60 * SEC_US); /* and that one stays */
    assert_int_equal(a.moves, 1);
    assert_int_equal(world.allocations, 2);
    assert_int_equal(world_alive(&world), 1);
    client_close(&a);
    return at;
}

/* A restarted server says nothing about the old allocation, or nothing that is signed: there is a
 * new one soon all the same, and not at the end of the old one's lifetime. */
static void restarts(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        uint64_t took;

        world_init(&world, 11);
        world.reticent = how == 1;
        world.unsigned_errors = how == 2;
        took = restarted();
        print_message("  %.1f s\n", (double)took / SEC_US);
        assert_true(took < 22 * SEC_US); /* it is asked every 15 s when it is quiet */
        world_free(&world);
    }
}

/* Who is only cut off keeps its address, though the server grants another before it is heard. */
static void cut_off(void **state)
{
    (void)state;
    for (uint64_t ms = 1000; ms < 20000; ms += 130) {
        struct addr peer = peer_at("10.0.0.9:9");
        struct client a;

        world_init(&world, ms);
        client_up(&a, SERVER_UDP, &plain);
        turn_pipe_accept_peer(a.r.pipe, &peer);
        run_for(SEC_US);
        world.dead[0] = true;
        for (uint64_t gone = 0; gone < ms; gone += 10) {
            say(&a, &peer, "x");
            run_for(10 * MS_US);
        }
        world.dead[0] = false;
        run_for(60 * SEC_US);
        assert_int_equal(a.moves + a.nones, 0);
        assert_int_equal(world_alive(&world), 1);
        client_close(&a);
        world_free(&world);
    }
}

/* Errors that are not signed, to Allocate: told for what they are, and at once. */
static void unsigned_errors(void **state)
{
    (void)state;
    static const struct {
        unsigned code;
        enum turn_trouble trouble;
        const char *words;
    } cases[] = {
        {STUN_BAD_REQUEST, TURN_WRONG_LOGIN, "user or password"},
        {STUN_TRANSPORT_NOT_SUPPORTED, TURN_NO_TRANSPORT, "another server"},
        {STUN_QUOTA_REACHED, TURN_QUOTA, "as many allocations"},
        {STUN_NO_CAPACITY, TURN_CAPACITY, "full"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client a;
        uint64_t at;

        world_init(&world, i + 1);
        world.unsigned_errors = true;
        world_script(&world, STUN_METHOD_ALLOCATE, cases[i].code, 9);
        at = loop_now(world.loop);
        client_try(&a, SERVER_UDP, &plain);
        assert_int_equal(a.r.ups, 0);
        print_message("  %s\n", a.report.text);
        assert_int_equal(a.report.trouble, cases[i].trouble);
        assert_non_null(strstr(a.report.text, cases[i].words));
        assert_true(loop_now(world.loop) - at < SEC_US);
        world_free(&world);
    }
}

/* But nobody is sent elsewhere by one, and no allocation ends. */
static void not_believed(void **state)
{
    (void)state;
    struct client a;

    world_init(&world, 5);
    world.unsigned_errors = true;
    world_script(&world, STUN_METHOD_ALLOCATE, STUN_TRY_ALTERNATE, 9);
    addr_parse("10.0.0.2:3478", &world.script[0].alternate);
    client_try(&a, SERVER_UDP, &plain);
    assert_int_equal(a.r.ups, 0);
    assert_int_not_equal(a.report.trouble, TURN_REDIRECTED);
    world_free(&world);
    world_init(&world, 6);
    client_up(&a, SERVER_UDP, &plain);
    world.unsigned_errors = true;
    world_script(&world, STUN_METHOD_REFRESH, STUN_ALLOCATION_MISMATCH, 3);
    run_for(60 * SEC_US);
    assert_int_equal(a.moves + a.nones, 0);
    client_close(&a);
    world_free(&world);
}

/* A permission that is refused without a code is refused. */
static void codeless(void **state)
{
    (void)state;
    struct addr peer = peer_at("10.1.2.3:4");
    struct client a;

    world_init(&world, 7);
    world.codeless = true;
    client_up(&a, SERVER_UDP, &plain);
    turn_pipe_accept_peer(a.r.pipe, &peer);
    run_for(SEC_US);
    assert_int_equal(a.refused, 1);
    print_message("  %s\n", a.peer_report.text);
    assert_int_equal(a.peer_report.trouble, TURN_FORBIDDEN);
    world.codeless = false; /* it is asked again */
    run_for(60 * SEC_US);
    assert_int_equal(a.granted, 1);
    client_close(&a);
    world_free(&world);
}

/* A server that gives IPv4 whatever it is asked for. */
static void wrong_family(void **state)
{
    (void)state;
    struct turn_request request = {.family = AF_INET6};
    struct client a;

    world_init(&world, 8);
    world.one_family = true;
    client_try(&a, SERVER_UDP, &request);
    assert_int_equal(a.r.ups, 0);
    print_message("  %s\n", a.report.text);
    assert_int_equal(a.report.trouble, TURN_NO_FAMILY);
    run_for(SEC_US);
    assert_int_equal(world_alive(&world), 0); /* it was given back */
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restarts),        cmocka_unit_test(cut_off),
        cmocka_unit_test(unsigned_errors), cmocka_unit_test(not_believed),
        cmocka_unit_test(codeless),        cmocka_unit_test(wrong_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
