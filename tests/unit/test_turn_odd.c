/* SPDX-License-Identifier: MIT */
/* Theory of operation: the TURN client in virtual time against servers that are odd and people who
 * are hostile: forged packets, attributes that servers choke on, logins that run out, redirections
 * to where nobody should go, connections that a NAT has forgotten. */
#include "stun/channel.h"
#include "stun/turn_tcp.h"
#include "turn_client.h"

static struct addr peer_of(const char *text)
{
    struct addr peer;

    assert_int_equal(addr_parse(text, &peer), 0);
    return peer;
}

/* A client that talks with a peer by a channel. */
static void client_talks(struct client *client, enum server_transport transport,
                         const struct turn_request *request, const struct addr *peer)
{
    client_up(client, transport, request);
    turn_pipe_accept_peer(client->r.pipe, peer);
    for (int i = 0; i < 4; i++) {
        say(client, peer, "x");
        run_for(SEC_US / 2);
    }
    assert_int_equal(client->granted, 1);
    assert_true(world.channel_data > 0);
}

static bool is_silent(const struct client *client)
{
    struct turn_allocation_status status;

    turn_allocation_status(turn_pipe_allocation(client->r.pipe), &status);
    return status.silent;
}

/* --- Forgers --- */

enum forgery {
    GARBAGE,
    STRAY_RESPONSE,
    STRAY_ERROR,
    STRANGE_CHANNEL,
    STRANGE_PEER,
    DATA,
    FORGERIES
};

static void forge(enum forgery what, const struct addr *peer)
{
    struct addr stranger = peer_of("192.0.2.99:9");
    struct stun_id id = {.bytes = {1, 2, 3}};
    struct stun_builder b;
    uint8_t bytes[200];

    memset(bytes, 0x2a, sizeof(bytes));
    switch (what) {
    case GARBAGE:
        world_spoof(&world, bytes, sizeof(bytes));
        return;
    case STRANGE_CHANNEL:
    case DATA:
        channel_build(bytes, (uint16_t)(CHANNEL_FIRST + (what == DATA ? 0 : 7)), 100);
        world_spoof(&world, bytes, 104);
        return;
    case STRANGE_PEER:
        stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_DATA, STUN_INDICATION, &id);
        stun_put_xor_address(&b, STUN_ATTR_XOR_PEER_ADDRESS, &stranger);
        stun_put(&b, STUN_ATTR_DATA, "boo", 3);
        break;
    case STRAY_RESPONSE:
        stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_REFRESH, STUN_SUCCESS, &id);
        stun_put_u32(&b, STUN_ATTR_LIFETIME, 600);
        break;
    case STRAY_ERROR:
    case FORGERIES:
        stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_REFRESH, STUN_ERROR, &id);
        stun_put_error(&b, STUN_STALE_NONCE, "");
        break;
    }
    (void)peer;
    world_spoof(&world, bytes, (size_t)stun_built(&b));
}

/* The server dies while somebody sends in its name: it is called silent all the same, in 2.5 s;
 * with forged data on a channel we have bound, which nobody can tell from true data, in 17 s. */
static void forged_liveness(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");

    for (enum forgery what = GARBAGE; what < FORGERIES; what++) {
        struct client a;
        uint64_t begun, limit = what == DATA ? 17 * SEC_US : 2600 * MS_US;

        world_init(&world, what + 1);
        client_talks(&a, SERVER_UDP, &plain, &peer);
        world.dead[0] = true;
        begun = loop_now(world.loop);
        while (!is_silent(&a)) {
            forge(what, &peer);
            say(&a, &peer, "x");
            run_for(50 * MS_US);
            if (loop_now(world.loop) - begun > limit)
                fail_msg("forgery %d keeps a dead server alive", what);
        }
        for (int i = 0; i < 100; i++) { /* and it stays so */
            forge(what, &peer);
            run_for(50 * MS_US);
            assert_true(is_silent(&a));
        }
        world.dead[0] = false; /* until there is an answer */
        run_for(1100 * MS_US);
        assert_false(is_silent(&a));
        assert_int_equal(a.moves, 0);
        client_close(&a);
        world_free(&world);
    }
}

/* A peer that only sends costs a Refresh every ten seconds, not one a second. */
static void one_way_traffic(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");
    struct client a;
    unsigned before;

    world_init(&world, 2);
    client_talks(&a, SERVER_UDP, &plain, &peer);
    before = world.requests[STUN_METHOD_REFRESH];
    for (int i = 0; i < 1000; i++) {
        world_peer_sends(&world, &peer, &a.relayed, "news", 4);
        run_for(100 * MS_US);
    }
    before = world.requests[STUN_METHOD_REFRESH] - before;
    assert_in_range(before, 8, 13);
    client_close(&a);
    world_free(&world);
}

/* Round trips grow from 20 ms to 1.2 s in a moment (a queue fills): the answers are those to
 * requests that were sent long ago, and the server is not silent. */
static void growing_round_trips(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");
    struct client a;

    world_init(&world, 3);
    client_talks(&a, SERVER_UDP, &plain, &peer);
    world.late_us = 1200 * MS_US;
    for (int i = 0; i < 300; i++) {
        say(&a, &peer, "x");
        run_for(100 * MS_US);
        assert_false(is_silent(&a));
    }
    client_close(&a);
    world_free(&world);
}

/* --- What servers choke on --- */

static void choking_servers(void **state)
{
    (void)state;
    static const struct {
        uint16_t attribute;
        struct turn_request request;
    } cases[] = {
        {STUN_ATTR_MOBILITY_TICKET, {.mobility = true}},
        {STUN_ATTR_DONT_FRAGMENT, {.dont_fragment = true, .mobility = true}},
        {STUN_ATTR_EVEN_PORT, {.even_port = true}},
        {STUN_ATTR_REQUESTED_ADDRESS_FAMILY, {.family = AF_INET}},
        {STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, {.both = true}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int how = 0; how < 4; how++) { /* UDP, by a name; a stream, silent or closed */
            struct turn_server server;
            struct turn_settings settings = {
                .servers = &server, .count = 1, .request = cases[i].request};
            struct client a;
            uint64_t begun;

            world_init(&world, i + 1);
            world.chokes_on = cases[i].attribute;
            world.closes = how == 3;
            server = world_server(&world, 0, how < 2 ? SERVER_UDP : SERVER_TCP);
            if (how == 1)
                world_name(&server, 1);
            begun = loop_now(world.loop);
            client_open(&a, &settings);
            while (!a.r.ups && loop_now(world.loop) - begun < 6 * SEC_US)
                run_for(10 * MS_US);
            if (!a.r.ups)
                fail_msg("attribute %x, %d: %s", cases[i].attribute, how, a.report.text);
            assert_int_equal(world.allocations, 1);
            /* It is known from then on: another allocation does not take as long again. */
            turn_pipe_relayed(a.r.pipe, 0, &a.relayed);
            world_restart(&world, 0);
            begun = loop_now(world.loop);
            while (a.moves == 0 && loop_now(world.loop) - begun < 2 * SEC_US)
                run_for(10 * MS_US);
            assert_int_equal(a.moves, 1);
            client_close(&a);
            world_free(&world);
        }
    }
}

/* Silence that is the network's costs nothing of what was asked for; nor does a server that wants
 * no login although we have one. */
static void options_kept(void **state)
{
    (void)state;
    static const enum server_transport transports[] = {SERVER_UDP, SERVER_TCP};

    for (int i = 0; i < 6; i++) {
        struct turn_server server;
        struct turn_settings settings = {
            .servers = &server, .count = 1, .request = {.mobility = true, .both = true}};
        struct turn_allocation_status status;
        struct client a;
        struct addr six;

        world_init(&world, (uint64_t)i + 1);
        world.mobility = true;
        world.open = i / 2 == 1;
        server = world_server(&world, 0, transports[i % 2]);
        if (i / 2 == 2)
            server.login = (struct turn_login){.user = NULL};
        world.open |= i / 2 == 2;
        world.dead[0] = i == 0; /* (of a stream, what is lost is lost here) */
        client_open(&a, &settings);
        run_for(6 * SEC_US);
        world.dead[0] = false;
        run_for(8 * SEC_US);
        assert_int_equal(a.r.ups, 1);
        turn_allocation_status(turn_pipe_allocation(a.r.pipe), &status);
        assert_true(status.has_ticket);
        assert_int_equal(turn_pipe_relayed(a.r.pipe, AF_INET6, &six), 0);
        assert_int_equal(world_alive(&world), 1);
        client_close(&a);
        world_free(&world);
    }
}

/* IPv4 is not asked for by name, unless it is not what the server gives. */
static void families(void **state)
{
    (void)state;
    static const struct {
        int wanted, given;
        bool by_name;
    } cases[] = {{0, 0, false},        {AF_INET, 0, false},       {AF_INET6, 0, true},
                 {0, AF_INET6, false}, {AF_INET, AF_INET6, true}, {AF_INET6, AF_INET6, true}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct client a;

        world_init(&world, i + 1);
        world.default_family = cases[i].given;
        client_up(&a, i % 2 ? SERVER_UDP : SERVER_TCP,
                  &(struct turn_request){.family = cases[i].wanted});
        assert_int_equal(a.relayed.family, cases[i].wanted  ? cases[i].wanted
                                           : cases[i].given ? cases[i].given
                                                            : AF_INET);
        assert_int_equal(world.saw_family, cases[i].by_name);
        run_for(SEC_US);
        assert_int_equal(world_alive(&world), 1); /* what was not wanted is given back */
        client_close(&a);
        world_free(&world);
    }
}

/* --- Logins --- */

/* Time-limited users, of servers that look at them again: with a secret, the allocation goes on,
 * or, where it belongs to the first user, another is made; time and again. */
static void limited_logins(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");

    for (int how = 0; how < 4; how++) {
        struct turn_server server;
        struct turn_settings settings = {.servers = &server, .count = 1};
        struct client a;

        world_init(&world, (uint64_t)how + 1);
        world.secret = "shared";
        world.strict = true;
        world.same_user = how & 1;
        server = world_server(&world, 0, how & 2 ? SERVER_UDP : SERVER_TCP);
        server.login = (struct turn_login){.secret = "shared", .lifetime_s = 300};
        client_open(&a, &settings);
        turn_pipe_accept_peer(a.r.pipe, &peer);
        for (int n = 0; n < 2000; n++) {
            say(&a, &peer, "x");
            run_for(SEC_US);
        }
        assert_int_equal(a.r.ends, 0);
        assert_int_equal(a.refused, 0);
        if (how & 1)
            assert_in_range(a.moves, 4, 7);
        else
            assert_int_equal(a.moves + a.troubles, 0);
        check_relays(&a, &peer);
        client_close(&a);
        world_free(&world);
    }
}

/* A user and password that are refused in the life of an allocation: another is asked for once, and
 * what is said to that counts. */
static void refused_later(void **state)
{
    (void)state;
    static const unsigned methods[] = {STUN_METHOD_REFRESH, STUN_METHOD_CREATE_PERMISSION,
                                       STUN_METHOD_CHANNEL_BIND};
    struct addr peer = peer_of("192.0.2.7:7"), quiet = peer_of("192.0.2.8:8");

    for (int m = 0; m < 3; m++) {
        for (int good = 0; good < 2; good++) {
            struct client a;

            world_init(&world, (uint64_t)m + 1);
            client_talks(&a, SERVER_UDP, &plain, &peer);
            turn_pipe_accept_peer(a.r.pipe, &quiet); /* its permission is renewed by itself */
            run_for(SEC_US);
            world_script(&world, methods[m], STUN_UNAUTHENTICATED, 1);
            if (!good)
                world_script(&world, STUN_METHOD_ALLOCATE, STUN_UNAUTHENTICATED, 99);
            for (int n = 0; n < 700 && a.r.pipe && !a.moves; n++) {
                say(&a, &peer, "x");
                run_for(SEC_US);
            }
            assert_int_equal(a.refused, 0);
            assert_int_equal(a.r.ends, !good);
            assert_int_equal(a.moves, good);
            if (!good)
                assert_int_equal(a.report.trouble, TURN_WRONG_LOGIN);
            client_close(&a);
            world_free(&world);
        }
    }
}

/* A forged 438 without the list of algorithms, in the middle: SHA-256 is what is used afterwards.
 */
static void downgrades(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");

    for (int anonymity = 0; anonymity < 2; anonymity++) {
        struct turn_allocation_status status;
        struct client a;

        world_init(&world, 4);
        world.sha256 = true;
        world.anonymity = anonymity;
        client_talks(&a, SERVER_UDP, &plain, &peer);
        world.plain_nonces = true; /* in errors, from now on; the server itself is as before */
        world_script(&world, 0, STUN_STALE_NONCE, 3);
        run_for(600 * SEC_US);
        turn_allocation_status(turn_pipe_allocation(a.r.pipe), &status);
        assert_true(status.sha256);
        assert_int_equal(status.anonymous, anonymity);
        assert_false(world.saw_sha1);
        assert_int_equal(a.moves, 0);
        client_close(&a);
        world_free(&world);
    }
}

/* Renewals that fail for a moment, while what was granted lives: nobody notices. */
static void renewals(void **state)
{
    (void)state;
    static const unsigned methods[] = {STUN_METHOD_CREATE_PERMISSION, STUN_METHOD_CHANNEL_BIND};
    struct addr peer = peer_of("192.0.2.7:7"), quiet = peer_of("192.0.2.8:8");

    for (int m = 0; m < 2; m++) {
        struct client a;
        unsigned sent = 0;

        world_init(&world, (uint64_t)m + 1);
        client_talks(&a, SERVER_UDP, &plain, &peer);
        turn_pipe_accept_peer(a.r.pipe, &quiet);
        run_for(SEC_US);
        world_script(&world, methods[m], 500, 8);
        world.to_peers = world.indications = 0;
        for (; sent < 700; sent++) {
            say(&a, &peer, "x");
            run_for(SEC_US);
            world_peer_sends(&world, &quiet, &a.relayed, "news", 4);
        }
        assert_int_equal(world.script[0].times, 0);
        assert_int_equal(a.refused, 0);
        assert_int_equal(world.to_peers, sent);
        assert_int_equal(world.indications, 0); /* by the channel all the time */
        assert_int_equal(world.lapsed, 0);
        client_close(&a);
        world_free(&world);
    }
}

/* --- Redirections --- */

static void unsigned_redirections(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        bool followed;
    } cases[] = {
        {"10.0.0.1", "10.0.0.2:3478", true},     {"10.0.0.1", "127.0.0.2:3478", false},
        {"10.0.0.1", "0.0.0.2:3478", false},     {"10.0.0.1", "0.0.0.0:3478", false},
        {"10.0.0.1", "224.0.0.2:3478", false},   {"10.0.0.1", "255.255.255.255:3478", false},
        {"10.0.0.1", "169.254.0.2:3478", false}, {"10.0.0.1", "[::1]:3478", false},
        {"10.0.0.1", "[::]:3478", false},        {"10.0.0.1", "[ff02::2]:3478", false},
        {"10.0.0.1", "[fe80::2]:3478", false},   {"10.0.0.1", "[::ffff:127.0.0.2]:3478", false},
        {"10.0.0.1", "10.0.0.2:0", false},       {"10.0.0.1", "10.0.0.1:3478", false},
        {"127.0.0.1", "127.0.0.2:3478", true},   {"169.254.0.1", "169.254.0.2:3478", true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct turn_server server;
        struct turn_settings settings = {.servers = &server, .count = 1};
        struct client a;

        world_init(&world, i + 1);
        world.alternate = peer_of(cases[i].to);
        server = world_server(&world, 0, SERVER_UDP);
        strcpy(server.server.host, cases[i].from);
        client_open(&a, &settings);
        run_for(5 * SEC_US);
        if (a.r.ups != cases[i].followed)
            fail_msg("from %s to %s", cases[i].from, cases[i].to);
        if (cases[i].followed)
            client_close(&a);
        else
            assert_int_equal(a.report.trouble, TURN_REDIRECTED);
        world_free(&world);
    }
}

/* --- Connections --- */

/* A NAT forgets a connection: by another one to the same server, in 3 s; and the old one is left
 * alone while there is no better. */
static void forgotten_connection(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");

    for (int talking = 0; talking < 2; talking++) {
        struct client a;
        uint64_t begun;

        world_init(&world, 5);
        client_talks(&a, SERVER_TCP, &plain, &peer);
        world_flush(&world);
        begun = loop_now(world.loop);
        while (a.moves == 0 && loop_now(world.loop) - begun < 20 * SEC_US) {
            if (talking)
                say(&a, &peer, "x");
            run_for(50 * MS_US);
        }
        if (loop_now(world.loop) - begun > 3 * SEC_US)
            fail_msg("%llu ms", (unsigned long long)(loop_now(world.loop) - begun) / 1000);
        assert_int_equal(a.nones, 0);
        run_for(2 * SEC_US);
        check_relays(&a, &peer);
        client_close(&a);
        world_free(&world);
    }
}

/* The network is gone for 10 s: whichever connection answers first is used; with one server and a
 * stream that lives, no allocation is lost in between. */
static void outage(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");
    struct client a;

    world_init(&world, 6);
    client_talks(&a, SERVER_TCP, &plain, &peer);
    world_hold(&world, true); /* what is sent now comes later, as TCP does it */
    for (int n = 0; n < 20; n++) {
        say(&a, &peer, "x");
        run_for(SEC_US / 2);
    }
    assert_true(is_silent(&a));
    assert_int_equal(a.nones + a.moves, 0);
    world_hold(&world, false);
    run_for(2 * SEC_US);
    assert_false(is_silent(&a));
    assert_int_equal(a.nones, 0);
    check_relays(&a, &peer);
    assert_int_equal(world_alive(&world), 1);
    client_close(&a);
    world_free(&world);
}

/* --- Ends --- */

struct early {
    int ups, ends;
    enum turn_trouble trouble;
};

static void early_up(struct turn_allocation *allocation, void *arg)
{
    (void)allocation;
    ((struct early *)arg)->ups++;
}

static void early_end(struct turn_allocation *allocation, const struct turn_report *report,
                      void *arg)
{
    (void)allocation;
    ((struct early *)arg)->ends++;
    ((struct early *)arg)->trouble = report->trouble;
}

/* What is released while it is being made tells its end and nothing else, and leaves nothing. */
static void released_early(void **state)
{
    (void)state;
    static const struct turn_allocation_events events = {.up = early_up, .end = early_end};

    for (int turns = 0; turns < 24; turns++) {
        struct early early = {0};
        struct turn_server server;
        struct turn_allocation *a;
        int ups;

        world_init(&world, (uint64_t)turns + 1);
        server = world_server(&world, 0, turns % 2 ? SERVER_UDP : SERVER_TCP);
        a = turn_allocation_open(world.loop, &server, &plain, &events, &early);
        for (int i = 0; i < turns / 2; i++)
            loop_turn(world.loop, SEC_US);
        ups = early.ups;
        turn_allocation_release(a);
        run_for(5 * SEC_US);
        assert_int_equal(early.ups, ups);
        assert_int_equal(early.ends, 1);
        assert_int_equal(early.trouble, TURN_FINE);
        assert_int_equal(world_alive(&world), 0);
        world_free(&world);
    }
}

static void told_nothing(void *arg, struct pipe *pipe, struct slice *surplus,
                         const struct turn_report *report)
{
    (void)surplus;
    assert_null(pipe);
    assert_int_not_equal(report->trouble, TURN_FINE);
    ++*(int *)arg;
}

/* One that is up. */
static struct turn_allocation *early_allocation(struct early *early,
                                                const struct turn_request *request,
                                                enum server_transport transport)
{
    static const struct turn_allocation_events events = {.up = early_up, .end = early_end};
    struct turn_server server = world_server(&world, 0, transport);
    struct turn_allocation *a = turn_allocation_open(world.loop, &server, request, &events, early);

    run_for(SEC_US);
    assert_int_equal(early->ups, 1);
    return a;
}

/* What is asked of an allocation that is being released does no harm. */
static void forgotten_while_released(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");
    struct early early = {0};
    struct turn_allocation *a;

    world_init(&world, 1);
    a = early_allocation(&early, &plain, SERVER_UDP);
    turn_allocation_permit(a, &peer);
    turn_allocation_release(a);
    turn_allocation_forget(a, &peer);
    turn_allocation_permit(a, &peer);
    run_for(SEC_US);
    assert_int_equal(early.ends, 1);
    assert_int_equal(world_alive(&world), 0);
    world_free(&world);
}

/* TCP with peers fails, and is told so, when the allocation goes elsewhere meanwhile, or has no
 * connection for the moment; which does not end the allocation. */
static void tcp_between_connections(void **state)
{
    (void)state;
    const struct turn_request request = {.tcp = true, .mobility = true};
    struct addr peer = peer_of("192.0.2.7:7");
    struct early early = {0};
    struct turn_allocation *a;
    int told = 0;

    world_init(&world, 1);
    world.mobility = true;
    a = early_allocation(&early, &request, SERVER_TCP);
    /* The server does not know us for a moment, and the ticket helps. */
    world_script(&world, STUN_METHOD_CONNECT, STUN_ALLOCATION_MISMATCH, 1);
    turn_tcp_connect(a, &peer, told_nothing, &told);
    run_for(SEC_US);
    assert_int_equal(told, 1);
    assert_int_equal(early.ends, 0);
    /* The connection is lost, and another is being made. */
    for (int i = 0; i < WORLD_CLIENTS; i++)
        if (world.clients[i].pipe)
            pipe_abort(world.clients[i].pipe, -ECONNRESET);
    while (turn_allocation_addrs(a, NULL, NULL) == 0)
        loop_turn(world.loop, MS_US);
    turn_tcp_connect(a, &peer, told_nothing, &told);
    turn_tcp_answer(a, 7, told_nothing, &told);
    run_for(SEC_US);
    assert_int_equal(told, 3);
    assert_int_equal(early.ends, 0);
    for (int i = 0; i < 100; i++) /* a server may tell of many */
        assert_int_equal(turn_tcp_answer(a, 7, told_nothing, &told) != NULL,
                         i < TURN_TCP_PENDING_MAX);
    turn_allocation_close(a);
    world_free(&world);
}

/* --- Order --- */

/* A leg that is full lets messages wait; smaller ones behind them do not overtake. */
static void order(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7"), other = peer_of("192.0.2.8:8");
    struct client a;
    uint32_t next = 0, sent = 0;
    unsigned to_peers;
    static uint8_t bytes[60000];

    world_init(&world, 7);
    world.rate = 1000000;
    client_talks(&a, SERVER_TCP, &plain, &peer);
    for (int round = 0; round < 5; round++) {
        for (int n = 0; n < 20; n++) { /* more than the leg takes, less than it and the queue do */
            struct slice slice;

            memcpy(bytes, &sent, sizeof(sent));
            sent++;
            slice = slice_copy(bytes, sent % 3 ? sizeof(bytes) : sizeof(sent));
            pipe_write_to(a.r.pipe, &slice, &peer);
        }
        to_peers = world.to_peers;
        while (next < sent) {
            uint32_t got;

            run_for(MS_US);
            if (to_peers == world.to_peers)
                continue;
            to_peers = world.to_peers;
            memcpy(&got, world.last, sizeof(got));
            if (got < next)
                fail_msg("%u after %u", got, next - 1);
            next = got + 1;
        }
    }
    assert_int_equal(turn_pipe_dropped(a.r.pipe), 0);
    /* A peer that is never granted holds up nobody else. */
    world_script(&world, STUN_METHOD_CREATE_PERMISSION, 500, 99);
    say(&a, &other, "x");
    to_peers = world.to_peers;
    say(&a, &peer, "y");
    run_for(50 * MS_US);
    assert_int_equal(world.to_peers, to_peers + 1);
    client_close(&a);
    world_free(&world);
}

/* --- Floods --- */

/* A server that answers no CreatePermission keeps nobody from asking whether it is there. */
static void unanswered_permissions(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");
    struct client a;

    world_init(&world, 1);
    client_up(&a, SERVER_UDP, &plain);
    world.chokes_on = STUN_ATTR_XOR_PEER_ADDRESS;
    for (int i = 0; i < 100; i++) {
        peer.ip.bytes[3] = (uint8_t)i;
        turn_pipe_accept_peer(a.r.pipe, &peer);
    }
    for (int i = 0; i < 1200; i++) {
        run_for(100 * MS_US);
        assert_false(is_silent(&a));
    }
    assert_int_equal(a.moves + a.nones, 0);
    client_close(&a);
    world_free(&world);
}

/* One that says again and again that it does not know us, though it takes our ticket, is not asked
 * as fast as it answers. */
static void tickets_in_vain(void **state)
{
    (void)state;
    const struct turn_request request = {.mobility = true};
    struct addr peer = peer_of("192.0.2.7:7");
    struct client a;

    world_init(&world, 1);
    world.mobility = true;
    client_up(&a, SERVER_UDP, &request);
    world_script(&world, STUN_METHOD_CREATE_PERMISSION, STUN_ALLOCATION_MISMATCH, 1000000);
    turn_pipe_accept_peer(a.r.pipe, &peer);
    run_for(60 * SEC_US);
    assert_true(a.moves > 0);
    assert_true(world.requests[STUN_METHOD_REFRESH] < 60);
    assert_true(world.allocations < 10);
    client_close(&a);
    world_free(&world);
}

/* A 438 is not signed: as many as somebody likes do not end an allocation that works. */
static void stale_again_and_again(void **state)
{
    (void)state;
    struct addr peer = peer_of("192.0.2.7:7");
    struct client a;

    world_init(&world, 1);
    client_talks(&a, SERVER_UDP, &plain, &peer);
    world_script(&world, STUN_METHOD_REFRESH, STUN_STALE_NONCE, 9);
    run_for(30 * SEC_US);
    assert_int_equal(a.moves + a.nones, 0);
    assert_int_equal(world_alive(&world), 1);
    client_close(&a);
    world_free(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forged_liveness),
        cmocka_unit_test(one_way_traffic),
        cmocka_unit_test(growing_round_trips),
        cmocka_unit_test(choking_servers),
        cmocka_unit_test(options_kept),
        cmocka_unit_test(families),
        cmocka_unit_test(limited_logins),
        cmocka_unit_test(refused_later),
        cmocka_unit_test(renewals),
        cmocka_unit_test(downgrades),
        cmocka_unit_test(unsigned_redirections),
        cmocka_unit_test(forgotten_connection),
        cmocka_unit_test(outage),
        cmocka_unit_test(released_early),
        cmocka_unit_test(forgotten_while_released),
        cmocka_unit_test(tcp_between_connections),
        cmocka_unit_test(order),
        cmocka_unit_test(unanswered_permissions),
        cmocka_unit_test(tickets_in_vain),
        cmocka_unit_test(stale_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
