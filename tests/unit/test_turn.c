/* SPDX-License-Identifier: MIT */
/* Theory of operation: the TURN client in virtual time against the tests' own server
 * (turn_world.h): hours of lifetimes, what coturn does not offer, every error to every method, and
 * a server that misbehaves. */
#include "turn_client.h"

/* --- Hours --- */

/* Two clients talk, now often, now seldom, for hours: nothing lapses, nothing is lost. */
static void hours(void **state)
{
    (void)state;
    static const enum server_transport transports[] = {SERVER_UDP, SERVER_TCP};
    static const uint32_t lifetimes[] = {600, 60, 20, 3600};

    for (int t = 0; t < 2; t++) {
        for (int i = 0; i < 4; i++) {
            struct turn_allocation_status status;
            struct client a, b;
            size_t said = 0;

            world_init(&world, (uint64_t)(t * 10 + i + 1));
            world.lifetime_s = lifetimes[i];
            world.nonce_s = i == 1 ? 30 : 600;
            client_up(&a, transports[t], &plain);
            client_up(&b, transports[t], &plain);
            turn_pipe_accept_peer(a.r.pipe, &b.relayed);
            turn_pipe_accept_peer(b.r.pipe, &a.relayed);
            run_for(SEC_US);
            for (int round = 0; round < 60; round++) {
                for (int n = 0; n < 10; n++, said++) {
                    say(&a, &b.relayed, "a");
                    say(&b, &a.relayed, "bb");
                    run_for((round % 3 + 1) * SEC_US);
                }
                run_for((uint64_t)(round % 7) * 60 * SEC_US);
            }
            assert_int_equal(a.r.messages, said);
            assert_int_equal(b.r.messages, said);
            assert_int_equal(world.lapsed, 0);
            assert_int_equal(a.troubles + b.troubles + a.moves + b.moves, 0);
            assert_int_equal(world.allocations, 2);
            assert_true(world.channel_data > said);
            turn_allocation_status(turn_pipe_allocation(a.r.pipe), &status);
            assert_true(status.stale_nonces > 10);
            client_close(&a);
            client_close(&b);
            assert_int_equal(world.released, 2);
            assert_int_equal(world_alive(&world), 0);
            world_free(&world);
        }
    }
}

/* The same with a tenth of all packets lost: control survives, and only data is lost. */
static void hours_of_loss(void **state)
{
    (void)state;
    struct client a, b;
    size_t said = 0;

    world_init(&world, 77);
    world.lifetime_s = 120;
    world.nonce_s = 100;
    client_up(&a, SERVER_UDP, &plain);
    client_up(&b, SERVER_UDP, &plain);
    turn_pipe_accept_peer(a.r.pipe, &b.relayed);
    turn_pipe_accept_peer(b.r.pipe, &a.relayed);
    run_for(5 * SEC_US);
    world.loss = 10;
    for (int n = 0; n < 3600; n++, said++) {
        say(&a, &b.relayed, "a");
        run_for(SEC_US);
    }
    assert_true(b.r.messages > said * 7 / 10); /* 0.9 squared */
    assert_int_equal(a.moves + b.moves, 0);
    assert_int_equal(world.lapsed, 0);
    world.loss = 0;
    client_close(&a);
    client_close(&b);
    world_free(&world);
}

/* --- What coturn does not offer --- */

static void offers(void **state)
{
    (void)state;
    for (int which = 0; which < 4; which++) {
        struct turn_allocation_status status;
        struct client a;

        world_init(&world, 3);
        world.sha256 = which & 1;
        world.anonymity = which & 2;
        client_up(&a, SERVER_UDP, &plain);
        turn_pipe_accept_peer(a.r.pipe, &a.relayed);
        run_for(3600 * SEC_US); /* and on every other method, past every nonce */
        assert_int_equal(a.granted, 1);
        turn_allocation_status(turn_pipe_allocation(a.r.pipe), &status);
        assert_int_equal(status.sha256, world.sha256);
        assert_int_equal(status.anonymous, world.anonymity);
        assert_int_equal(world.saw_sha256, world.sha256);
        assert_int_equal(world.saw_userhash, world.anonymity);
        assert_int_equal(world.saw_username, !world.anonymity);
        client_close(&a);
        world_free(&world);
    }
}

static void bid_down(void **state)
{
    (void)state;
    struct client a;

    world_init(&world, 4);
    world.sha256 = world.hide_algorithms = true;
    client_try(&a, SERVER_UDP, &plain);
    assert_int_equal(a.r.ups, 0);
    assert_int_equal(a.report.trouble, TURN_TAMPERED);
    assert_non_null(strstr(a.report.text, "not to be trusted"));
    world_free(&world);
}

static void redirections(void **state)
{
    (void)state;
    struct client a;

    world_init(&world, 5);
    world_script(&world, STUN_METHOD_ALLOCATE, STUN_TRY_ALTERNATE, 1);
    addr_parse("10.0.0.2:3478", &world.script[0].alternate);
    client_up(&a, SERVER_UDP, &plain);
    assert_int_equal(a.relayed.ip.bytes[1], 2); /* of the second server */
    client_close(&a);
    world_script(&world, STUN_METHOD_ALLOCATE, STUN_TRY_ALTERNATE, 9);
    addr_parse("10.0.0.2:3478", &world.script[1].alternate); /* to itself, again and again */
    client_try(&a, SERVER_UDP, &plain);
    assert_int_equal(a.report.trouble, TURN_REDIRECTED);
    world_free(&world);
}

static void both_families(void **state)
{
    (void)state;
    struct client a;
    struct addr six, peer;

    world_init(&world, 6);
    client_up(&a, SERVER_UDP, &(struct turn_request){.both = true});
    assert_int_equal(a.relayed.family, AF_INET);
    assert_int_equal(turn_pipe_relayed(a.r.pipe, AF_INET6, &six), 0);
    addr_parse("[2001:db8::7]:7", &peer);
    turn_pipe_accept_peer(a.r.pipe, &peer);
    run_for(SEC_US);
    world_peer_sends(&world, &peer, &six, "six", 3);
    run_for(SEC_US);
    assert_string_equal(a.r.text, "six");
    assert_true(addr_equal(&a.r.from, &peer));
    client_close(&a);
    world_free(&world);
}

/* --- Names --- */

/* Of a name's addresses the first that answers is used, on UDP too; if none does, it ends. */
static void names(void **state)
{
    (void)state;
    for (int all = 0; all < 2; all++) {
        struct turn_server server;
        struct turn_settings settings = {.servers = &server, .count = 1};
        struct client a;

        world_init(&world, 15);
        server = world_server(&world, 0, SERVER_UDP);
        world_name(&server, 3);
        world.dead[0] = true;
        world.dead[1] = all;
        client_open(&a, &settings);
        run_for(20 * SEC_US);
        assert_int_equal(a.r.ups, !all);
        assert_int_equal(a.r.ends, all);
        if (!all)
            client_close(&a);
        else
            assert_int_equal(a.report.trouble, TURN_SILENT);
        world_free(&world);
    }
}

/* --- Errors --- */

/* An error to Allocate, once or always: what becomes of it. */
static void allocate_errors(void **state)
{
    (void)state;
    static const struct {
        unsigned code, times;
        struct turn_request request;
        enum turn_trouble trouble; /* TURN_FINE: up */
    } cases[] = {
        {400, 1, {0}, TURN_WRONG_LOGIN},
        {401, 1, {0}, TURN_WRONG_LOGIN},
        {403, 1, {0}, TURN_FORBIDDEN},
        {405, 1, {.mobility = true}, TURN_FINE},
        {405, 1, {0}, TURN_NO_MOBILITY},
        {420, 1, {.dont_fragment = true}, TURN_FINE},
        {420, 1, {0}, TURN_FAILED},
        {437, 3, {0}, TURN_FINE},
        {437, 4, {0}, TURN_MISMATCH},
        {438, 3, {0}, TURN_FINE},
        {438, 99, {0}, TURN_FAILED},
        {440, 1, {.family = AF_INET6}, TURN_NO_FAMILY},
        {441, 1, {0}, TURN_WRONG_LOGIN},
        {442, 1, {0}, TURN_NO_TRANSPORT},
        {486, 1, {0}, TURN_QUOTA},
        {500, 1, {0}, TURN_FAILED},
        {508, 1, {0}, TURN_CAPACITY},
        {508, 1, {.even_port = true}, TURN_FINE},
        {508, 1, {.has_token = true}, TURN_FINE},
        {699, 1, {0}, TURN_FAILED},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client a;

        world_init(&world, i + 1);
        world_script(&world, STUN_METHOD_ALLOCATE, cases[i].code, cases[i].times);
        world.script[0].unknown = STUN_ATTR_DONT_FRAGMENT;
        client_try(&a, SERVER_UDP, &cases[i].request);
        if (cases[i].trouble == TURN_FINE && !a.r.ups)
            fail_msg("%u: %s", cases[i].code, a.report.text);
        if (cases[i].trouble != TURN_FINE) {
            assert_int_equal(a.r.ups, 0);
            assert_int_equal(a.report.trouble, cases[i].trouble);
            assert_true(strlen(a.report.text) > 20);
        }
        client_close(&a);
        assert_int_equal(world_alive(&world), 0);
        world_free(&world);
    }
}

/* Every error, and a code nobody knows, to every other method at some time of a busy life: the
 * client is there afterwards, with this allocation or another, and data flows. */
static void later_errors(void **state)
{
    (void)state;
    static const unsigned codes[] = {300, 400, 401, 403, 405, 420, 437, 438, 440, 441,
                                     442, 443, 446, 447, 486, 487, 500, 508, 666};
    static const unsigned methods[] = {STUN_METHOD_REFRESH, STUN_METHOD_CREATE_PERMISSION,
                                       STUN_METHOD_CHANNEL_BIND};

    for (size_t m = 0; m < 3; m++) {
        for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
            struct client a;
            struct addr peer;
            unsigned before;

            world_init(&world, m * 100 + i + 1);
            world.no_dont_fragment = true;
            client_up(&a, i % 2 ? SERVER_UDP : SERVER_TCP, &plain);
            addr_parse("192.0.2.7:7", &peer);
            world_script(&world, methods[m], codes[i], 2);
            turn_pipe_accept_peer(a.r.pipe, &peer);
            for (int n = 0; n < 700; n++) {
                if (a.r.pipe)
                    say(&a, &peer, "x");
                run_for(SEC_US);
            }
            if (methods[m] == STUN_METHOD_CREATE_PERMISSION &&
                codes[i] == STUN_PEER_FAMILY_MISMATCH) { /* that does not change */
                assert_int_equal(a.refused, 1);
                assert_int_equal(a.peer_report.trouble, TURN_NO_FAMILY);
            } else if (!a.r.pipe) { /* given up, with a reason: wrong credentials and the like */
                assert_int_not_equal(a.report.code, 0);
                assert_true(strlen(a.report.text) > 20);
            } else {
                before = world.to_peers;
                say(&a, &peer, "y");
                run_for(SEC_US);
                if (world.to_peers != before + 1)
                    fail_msg("%u to method %u: %s", codes[i], methods[m], a.report.text);
            }
            client_close(&a);
            world_free(&world);
        }
    }
}

/* --- Misbehaviour --- */

static void misbehaviour(void **state)
{
    (void)state;
    for (int which = 0; which < 8; which++) {
        struct client a, b;
        size_t said = 0;

        world_init(&world, (uint64_t)which + 1);
        world.garbage = which & 1;
        world.forged = which & 2;
        world.twice = which & 4;
        client_up(&a, SERVER_UDP, &plain);
        client_up(&b, SERVER_UDP, &plain);
        turn_pipe_accept_peer(a.r.pipe, &b.relayed);
        turn_pipe_accept_peer(b.r.pipe, &a.relayed);
        run_for(SEC_US);
        for (int n = 0; n < 200; n++, said++) {
            say(&a, &b.relayed, "through it all");
            run_for(10 * SEC_US);
        }
        assert_int_equal(b.r.messages, said);
        assert_int_equal(a.moves + b.moves + a.troubles + b.troubles, 0);
        client_close(&a);
        client_close(&b);
        world_free(&world);
    }
}

/* Answers that take longer than any retransmission. */
static void late(void **state)
{
    (void)state;
    struct client a;

    world_init(&world, 8);
    world.delay_us = 700 * MS_US;
    client_up(&a, SERVER_UDP, &plain);
    turn_pipe_accept_peer(a.r.pipe, &a.relayed);
    run_for(1000 * SEC_US);
    assert_int_equal(a.granted, 1);
    assert_int_equal(a.moves, 0);
    pipe_close(a.r.pipe);
    run_for(10 * SEC_US);
    assert_int_equal(a.r.ends, 1);
    world_free(&world);
}

static void never(void **state)
{
    (void)state;
    static const enum server_transport transports[] = {SERVER_UDP, SERVER_TCP};

    for (int t = 0; t < 2; t++) {
        struct client a;
        uint64_t begun;

        world_init(&world, 9);
        world.dead[0] = true;
        begun = loop_now(world.loop);
        client_try(&a, transports[t], &plain);
        assert_int_equal(a.r.ups, 0);
        assert_int_equal(a.report.trouble, TURN_SILENT);
        assert_true(loop_now(world.loop) - begun <= 16 * SEC_US);
        world_free(&world);
    }
}

/* ChannelData over streams in all sizes, split at every byte. */
static void split_streams(void **state)
{
    (void)state;
    struct client a;
    struct addr peer;
    uint8_t bytes[300];
    size_t sum = 0;

    world_init(&world, 10);
    world.split = true;
    client_up(&a, SERVER_TCP, &plain);
    addr_parse("192.0.2.7:7", &peer);
    turn_pipe_accept_peer(a.r.pipe, &peer);
    run_for(SEC_US);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i + 1);
    for (int channel = 0; channel < 2; channel++) {
        for (size_t len = 0; len < sizeof(bytes); len++) {
            size_t messages = a.r.messages;

            world_peer_sends(&world, &peer, &a.relayed, bytes, len);
            run_for(50 * MS_US);
            assert_int_equal(a.r.messages, messages + 1);
            sum += len;
            assert_int_equal(a.r.bytes, sum); /* without a byte of padding */
        }
        for (size_t len = 0; len < sizeof(bytes); len++) {
            struct slice slice = slice_copy(bytes, len);

            pipe_write_to(a.r.pipe, &slice, &peer);
            run_for(50 * MS_US);
            assert_int_equal(world.last_len, len);
            assert_memory_equal(world.last, bytes, len);
        }
    }
    assert_true(world.channel_data > 0 && world.indications > 0);
    client_close(&a);
    world_free(&world);
}

/* --- Changes of the network --- */

/* The NAT is flushed: the server does not know us; a new allocation, or, with a ticket, the same.
 */
static void flushed(void **state)
{
    (void)state;
    for (int ticket = 0; ticket < 2; ticket++) {
        struct client a;
        struct addr peer, before;

        world_init(&world, 11);
        world.mobility = ticket;
        client_up(&a, SERVER_UDP, &(struct turn_request){.mobility = true});
        before = a.relayed;
        addr_parse("192.0.2.7:7", &peer);
        turn_pipe_accept_peer(a.r.pipe, &peer);
        for (int n = 0; n < 20; n++) {
            if (n == 5)
                world_flush(&world);
            say(&a, &peer, "x");
            run_for(SEC_US / 2);
        }
        assert_int_equal(a.moves, 1);
        assert_int_equal(addr_equal(&before, &a.relayed), ticket);
        assert_int_equal(world.allocations, ticket ? 1 : 2);
        world_peer_sends(&world, &peer, &a.relayed, "hello", 5);
        run_for(SEC_US);
        assert_string_equal(a.r.text, "hello");
        client_close(&a);
        world_free(&world);
    }
}

/* Of two servers the first dies, or is started again; and all of the network goes for a while. */
static void fail_over(void **state)
{
    (void)state;
    static const enum server_transport transports[] = {SERVER_UDP, SERVER_TCP};

    for (int t = 0; t < 2; t++) {
        struct turn_server servers[2];
        struct turn_settings settings = {.servers = servers, .count = 2};
        struct client a;
        struct addr peer;
        uint64_t begun;

        world_init(&world, 12);
        world.delay_us = 50 * MS_US;
        for (int i = 0; i < 2; i++)
            servers[i] = world_server(&world, i, transports[t]);
        client_open(&a, &settings);
        run_for(5 * SEC_US);
        assert_int_equal(turn_pipe_server(a.r.pipe), 0);
        addr_parse("192.0.2.7:7", &peer);
        turn_pipe_accept_peer(a.r.pipe, &peer);
        run_for(5 * SEC_US);
        world.dead[0] = true;
        begun = loop_now(world.loop);
        while (a.moves == 0) {
            run_for(10 * MS_US);
            assert_true(loop_now(world.loop) - begun < 3 * SEC_US);
        }
        assert_int_equal(turn_pipe_server(a.r.pipe), 1);
        run_for(SEC_US);
        say(&a, &peer, "x");
        run_for(SEC_US);
        assert_int_equal(world.last_relayed.ip.bytes[1], 2);
        /* The first comes back, and the second is started again. */
        world.dead[0] = false;
        world_restart(&world, 1);
        begun = loop_now(world.loop);
        while (a.moves == 1) {
            run_for(10 * MS_US);
            assert_true(loop_now(world.loop) - begun < 3 * SEC_US);
        }
        /* The network is gone for 20 s: with UDP, the same allocation afterwards. */
        run_for(10 * SEC_US);
        world.dead[0] = world.dead[1] = true;
        run_for(20 * SEC_US);
        world.dead[0] = world.dead[1] = false;
        run_for(40 * SEC_US);
        assert_int_equal(a.moves, transports[t] == SERVER_UDP ? 2 : 3);
        check_relays(&a, &peer);
        client_close(&a);
        world_free(&world);
    }
}

/* Who waits for room hears of it when the connection that had none is replaced, or the server
 * is. */
static void room_elsewhere(void **state)
{
    (void)state;

    for (int mobility = 0; mobility < 2; mobility++) {
        const struct turn_request request = {.mobility = mobility};
        struct client a;
        struct addr peer;

        world_init(&world, 14);
        world.mobility = mobility;
        client_up(&a, SERVER_TCP, &request);
        addr_parse("192.0.2.7:7", &peer);
        turn_pipe_accept_peer(a.r.pipe, &peer);
        run_for(SEC_US);
        world_hold(&world, true);
        for (int i = 0; pipe_room(a.r.pipe) > 0; i++) {
            struct slice slice = slice_copy((uint8_t[1000]){0}, 1000);

            pipe_write_to(a.r.pipe, &slice, &peer);
            assert_true(i < 10000);
        }
        a.r.rooms = 0;
        world_hold(&world, false);
        for (int i = 0; i < WORLD_CLIENTS; i++)
            if (world.clients[i].pipe)
                pipe_abort(world.clients[i].pipe, -ECONNRESET);
        run_for(5 * SEC_US);
        assert_true(a.moves > 0);
        assert_int_equal(a.nones, !mobility);
        assert_true(pipe_room(a.r.pipe) > 0);
        assert_true(a.r.rooms > 0);
        client_close(&a);
        world_free(&world);
    }
}

/* --- Limits --- */

/* More peers than there are permissions and channels; and messages for a peer that is not granted
 * yet wait, but not without bound. */
static void limits(void **state)
{
    (void)state;
    struct client a;
    struct addr peer;

    world_init(&world, 13);
    client_up(&a, SERVER_UDP, &plain);
    addr_parse("192.0.2.7:7", &peer);
    for (int i = 0; i < 3 * TURN_PIPE_QUEUE_MESSAGES; i++)
        say(&a, &peer, "x");
    assert_int_equal(turn_pipe_dropped(a.r.pipe), 2 * TURN_PIPE_QUEUE_MESSAGES);
    run_for(SEC_US);
    assert_int_equal(world.to_peers, TURN_PIPE_QUEUE_MESSAGES);
    for (uint16_t port = 1; port <= 20; port++) { /* of one address: one permission */
        peer.port = port;
        say(&a, &peer, "x");
        run_for(50 * MS_US);
        say(&a, &peer, "y");
    }
    run_for(SEC_US);
    assert_int_equal(world.to_peers, TURN_PIPE_QUEUE_MESSAGES + 40);
    assert_int_equal(world.requests[STUN_METHOD_CREATE_PERMISSION], 1);
    world.dead[0] = true; /* nobody hears what follows */
    for (uint32_t i = 0; i < 300; i++) {
        peer.ip.v4.s_addr = htonl(0x0a100000 + i);
        if (i < TURN_PERMISSIONS_MAX - 1)
            assert_int_equal(turn_pipe_accept_peer(a.r.pipe, &peer), 0);
        else
            assert_int_equal(turn_pipe_accept_peer(a.r.pipe, &peer), ADIT_EFULL);
    }
    run_for(SEC_US);
    world.dead[0] = false;
    client_close(&a);
    world_free(&world);
}

/* A peer that was forgotten and comes back gets its old channel, which the server still has. */
static void forgotten_peers(void **state)
{
    (void)state;
    struct client a;
    struct addr peer;

    world_init(&world, 14);
    client_up(&a, SERVER_UDP, &plain);
    addr_parse("192.0.2.7:7", &peer);
    for (int i = 0; i < 5; i++) {
        unsigned before = world.to_peers;

        say(&a, &peer, "x");
        run_for(SEC_US);
        say(&a, &peer, "y");
        run_for(SEC_US);
        assert_int_equal(world.to_peers, before + 2);
        turn_pipe_forget_peer(a.r.pipe, &peer);
        run_for((uint64_t)i * 400 * SEC_US);
    }
    /* What waits for one that is forgotten makes room for others. */
    world.dead[0] = true;
    while (pipe_room(a.r.pipe) > 0)
        say(&a, &peer, "x");
    a.r.rooms = 0;
    turn_pipe_forget_peer(a.r.pipe, &peer);
    run_for(1);
    assert_int_equal(a.r.rooms, 1);
    assert_true(pipe_room(a.r.pipe) > 0);
    client_close(&a);
    world_free(&world);
}

/* The pipe is closed and aborted at every moment of its life. */
static void ends(void **state)
{
    (void)state;
    for (int at = 0; at < 120; at++) {
        struct turn_server servers[2];
        struct turn_settings settings = {.servers = servers, .count = 2, .race = at % 2};
        struct client a;
        struct addr peer;

        world_init(&world, (uint64_t)at + 1);
        servers[0] = world_server(&world, 0, at % 3 ? SERVER_UDP : SERVER_TCP);
        servers[1] = world_server(&world, 1, SERVER_TCP);
        client_open(&a, &settings);
        addr_parse("192.0.2.7:7", &peer);
        say(&a, &peer, "x");
        run_for((uint64_t)at * 2 * MS_US);
        if (at % 4 == 3)
            pipe_abort(a.r.pipe, -ECANCELED);
        else
            pipe_close(a.r.pipe);
        run_for(5 * SEC_US);
        assert_int_equal(a.r.ends, 1);
        assert_int_equal(world_alive(&world), 0);
        world_free(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hours),           cmocka_unit_test(hours_of_loss),
        cmocka_unit_test(offers),          cmocka_unit_test(bid_down),
        cmocka_unit_test(redirections),    cmocka_unit_test(both_families),
        cmocka_unit_test(allocate_errors), cmocka_unit_test(later_errors),
        cmocka_unit_test(misbehaviour),    cmocka_unit_test(late),
        cmocka_unit_test(never),           cmocka_unit_test(split_streams),
        cmocka_unit_test(flushed),         cmocka_unit_test(fail_over),
        cmocka_unit_test(room_elsewhere),  cmocka_unit_test(limits),
        cmocka_unit_test(forgotten_peers), cmocka_unit_test(ends),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
