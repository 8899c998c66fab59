/* SPDX-License-Identifier: MIT */
/* Theory of operation: a client with two servers, in virtual time, to which everything happens that
 * can: servers die and are started again, NATs forget, networks are cut, lose and slow down, errors
 * are answered, packets are forged, peers come and go, and the owner asks. When it is over, the
 * client has an allocation and messages go through; and nobody touches what is freed (this is run
 * with sanitizers). The seed is told when that fails. */
#include "turn_client.h"

#define SEEDS   60
#define STEPS   150
#define PEERS   12
#define CALM_US (200 * SEC_US)

static uint64_t below(uint64_t n)
{
    return loop_random64(world.loop) % n;
}

static struct addr peer_number(unsigned i)
{
    struct addr peer;

    addr_parse("192.0.2.1:7", &peer);
    peer.ip.bytes[3] = (uint8_t)(1 + i);
    return peer;
}

/* An error that does not mean that nothing will ever come of it. */
static void some_error(void)
{
    static const unsigned methods[] = {STUN_METHOD_ALLOCATE, STUN_METHOD_REFRESH,
                                       STUN_METHOD_CREATE_PERMISSION, STUN_METHOD_CHANNEL_BIND};
    static const unsigned later[] = {400, 401, 403, 420, 437, 438, 441, 486, 500, 508};
    static const unsigned first[] = {437, 438, 500, 508};
    unsigned method = methods[below(4)];

    world_script(&world, method,
                 method == STUN_METHOD_ALLOCATE ? first[below(4)] : later[below(10)],
                 (unsigned)(1 + below(3)));
}

static void some_forgery(void)
{
    uint8_t bytes[64];

    loop_random(world.loop, bytes, sizeof(bytes));
    switch (below(3)) {
    case 0:
        bytes[0] = 0x40; /* ChannelData */
        bytes[1] = (uint8_t)below(4);
        bytes[2] = 0;
        bytes[3] = 60;
        break;
    case 1:
        memcpy(bytes, (const uint8_t[]){0x01, 0x04, 0, 44, 0x21, 0x12, 0xa4, 0x42}, 8);
        break;
    default:
        break;
    }
    world_spoof(&world, bytes, sizeof(bytes));
}

static void happen(struct client *a, bool is_stream)
{
    struct addr peer = peer_number((unsigned)below(PEERS));
    int server = (int)below(WORLD_SERVERS);

    switch (below(14)) {
    case 0:
        world.dead[server] = !world.dead[server];
        break;
    case 1:
        world_restart(&world, server);
        break;
    case 2:
        world_flush(&world);
        break;
    case 3:
        world_hold(&world, !world.held);
        break;
    case 4:
        world.loss = below(2) ? (unsigned)below(60) : 0;
        break;
    case 5:
        world.late_us = below(2) ? below(2000) * MS_US : 0;
        break;
    case 6:
        some_error();
        break;
    case 7:
        if (!is_stream) /* nobody can put something into a stream */
            some_forgery();
        break;
    case 8:
        turn_pipe_accept_peer(a->r.pipe, &peer);
        break;
    case 9:
        turn_pipe_forget_peer(a->r.pipe, &peer);
        break;
    case 10:
        turn_pipe_check(a->r.pipe);
        break;
    case 11:
        loop_lose(world.loop, below(400) * SEC_US); /* the machine sleeps */
        break;
    default:
        for (uint64_t i = below(20); i > 0; i--)
            say(a, &peer, "x");
        break;
    }
}

static void calm(void)
{
    world.dead[0] = world.dead[1] = false;
    world.loss = 0;
    world.late_us = 0;
    world.script_len = 0;
    world_hold(&world, false);
}

static void chaos(void **state)
{
    (void)state;
    static const enum server_transport transports[] = {SERVER_UDP, SERVER_TCP};

    for (unsigned seed = 0; seed < SEEDS; seed++) {
        bool is_stream = seed & 1;
        struct turn_server servers[2];
        struct turn_settings settings = {.servers = servers,
                                         .count = 1 + (seed >> 1 & 1),
                                         .race = seed & 4,
                                         .request = {.mobility = seed & 8, .both = seed & 16}};
        struct addr peer = peer_number(0);
        struct client a;

        world_init(&world, 1000 + seed);
        world.mobility = seed & 8;
        world.sha256 = seed & 32;
        world.lifetime_s = seed % 3 ? 600 : 60;
        for (int i = 0; i < 2; i++)
            servers[i] = world_server(&world, i, transports[is_stream]);
        client_open(&a, &settings);
        for (int i = 0; i < 100 && !a.r.ups; i++)
            run_for(100 * MS_US);
        assert_int_equal(a.r.ups, 1);
        for (int i = 0; i < STEPS && a.r.pipe; i++) {
            happen(&a, is_stream);
            run_for(below(3) ? below(3000) * MS_US : below(60) * SEC_US);
        }
        if (!a.r.pipe)
            fail_msg("seed %u: %s", seed, a.report.text);
        calm();
        run_for(CALM_US);
        turn_pipe_accept_peer(a.r.pipe, &peer);
        run_for(40 * SEC_US);
        world.to_peers = 0;
        say(&a, &peer, "x");
        run_for(SEC_US);
        if (world.to_peers != 1)
            fail_msg("seed %u: %u messages, %s", seed, world.to_peers, a.report.text);
        if (seed % 5)
            pipe_close(a.r.pipe);
        else
            pipe_abort(a.r.pipe, -ECANCELED);
        run_for(5 * SEC_US);
        assert_int_equal(a.r.ends, 1);
        world_free(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chaos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
