/* SPDX-License-Identifier: MIT */
/*
 * A client of the tests in turn_world.h's world: a TURN pipe, and what it has told. Everything
 * happens in one world, `world`.
 */
#ifndef ADIT_TESTS_TURN_CLIENT_H
#define ADIT_TESTS_TURN_CLIENT_H

#include "turn_told.h"
#include "turn_world.h"

static struct world world;

static inline void client_open(struct client *client, const struct turn_settings *settings)
{
    client_begin(client, world.loop, settings);
}

static inline void run_for(uint64_t us)
{
    uint64_t until = loop_now(world.loop) + us;

    while (loop_now(world.loop) < until && loop_turn(world.loop, until - loop_now(world.loop))) {}
}

/* One server, over this; up, or the reason why not. */
static inline void client_try(struct client *client, enum server_transport transport,
                              const struct turn_request *request)
{
    struct turn_server server = world_server(&world, 0, transport);
    struct turn_settings settings = {.servers = &server, .count = 1, .request = *request};

    client_open(client, &settings);
    for (int i = 0; i < 600 && !client->r.ups && !client->r.ends; i++)
        run_for(100 * MS_US);
    assert_true(client->r.ups || client->r.ends);
    if (client->r.ups)
        turn_pipe_relayed(client->r.pipe, 0, &client->relayed);
}

static inline void client_up(struct client *client, enum server_transport transport,
                             const struct turn_request *request)
{
    client_try(client, transport, request);
    if (!client->r.ups)
        fail_msg("%s", client->report.text);
}

static inline void client_close(struct client *client)
{
    if (client->r.pipe)
        pipe_close(client->r.pipe);
    run_for(3 * SEC_US);
    assert_int_equal(client->r.ends, 1);
}

static inline void say(struct client *from, const struct addr *to, const char *text)
{
    struct slice slice = slice_copy(text, strlen(text));

    pipe_write_to(from->r.pipe, &slice, to);
}

/* One message, in a second, and not twice. */
static inline void check_relays(struct client *client, const struct addr *peer)
{
    world.to_peers = 0;
    say(client, peer, "x");
    run_for(SEC_US);
    assert_int_equal(world.to_peers, 1);
}

static const struct turn_request plain;

/* --- Names --- */

struct lookup {
    struct timer timer;
    size_t count;
    stun_resolved_cb *done;
    void *arg;
};

static inline void on_looked_up(void *arg)
{
    struct lookup *lookup = arg;
    struct addr addrs[3];

    addr_parse("10.0.0.1:0", &addrs[0]);
    addr_parse("10.0.0.1:0", &addrs[1]);
    addr_parse("10.0.0.2:0", &addrs[2]);
    lookup->done(lookup->arg, addrs, lookup->count, NULL);
    free(lookup);
}

static inline void *look_up(void *owner, const char *name, stun_resolved_cb *done, void *arg)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));

    lookup->count = *(const size_t *)owner;
    assert_string_equal(name, "relay.test");
    lookup->done = done;
    lookup->arg = arg;
    timer_init(&lookup->timer, on_looked_up, lookup);
    timer_set_in(world.loop, &lookup->timer, 5 * MS_US);
    return lookup;
}

static inline void forget_lookup(void *owner, void *lookup)
{
    (void)owner;
    timer_cancel(world.loop, &((struct lookup *)lookup)->timer);
    free(lookup);
}

/* The server by a name with so many addresses: the first server's twice, then the second's. */
static inline void world_name(struct turn_server *server, size_t addresses)
{
    static size_t count;

    count = addresses;
    strcpy(server->server.host, "relay.test");
    server->leg.resolver =
        (struct stun_resolver){.start = look_up, .cancel = forget_lookup, .owner = &count};
}

#endif
