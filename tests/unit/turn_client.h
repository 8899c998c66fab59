/* SPDX-License-Identifier: MIT */
/*
 * A client of the tests in turn_world.h's world: a TURN pipe, and what it has told. Everything
 * happens in one world, `world`.
 */
#ifndef ADIT_TESTS_TURN_CLIENT_H
#define ADIT_TESTS_TURN_CLIENT_H

#include "stun/turn_pipe.h"
#include "turn_world.h"

static struct world world;

struct client {
    struct recorder r;
    struct addr relayed;
    struct turn_report report, peer_report;
    int moves, nones, troubles, granted, refused;
};

static inline void on_moved(struct pipe *pipe, void *arg)
{
    struct client *client = arg;

    client->moves++;
    turn_pipe_relayed(pipe, 0, &client->relayed);
}

static inline void on_none(struct pipe *pipe, void *arg)
{
    (void)pipe;
    ((struct client *)arg)->nones++;
}

static inline void on_trouble(struct pipe *pipe, size_t server, const struct turn_report *report,
                              void *arg)
{
    (void)pipe;
    (void)server;
    ((struct client *)arg)->troubles++;
    ((struct client *)arg)->report = *report;
}

static inline void on_peer(struct pipe *pipe, const struct addr *peer,
                           const struct turn_report *report, void *arg)
{
    struct client *client = arg;

    (void)pipe;
    (void)peer;
    if (report->trouble == TURN_FINE)
        client->granted++;
    else
        client->refused++;
    client->peer_report = *report;
}

static inline void on_end(struct pipe *pipe, int why, void *arg)
{
    (void)why;
    ((struct client *)arg)->report = *turn_pipe_report(pipe);
}

static inline void client_open(struct client *client, const struct turn_settings *settings)
{
    static const struct turn_pipe_events turn_events = {
        .moved = on_moved, .none = on_none, .trouble = on_trouble, .peer = on_peer};
    static const struct pipe_events events = {.end = on_end};

    memset(client, 0, sizeof(*client));
    record(&client->r, turn_pipe_open(world.loop, settings));
    pipe_add_listener(client->r.pipe, &events, client);
    turn_pipe_set_events(client->r.pipe, &turn_events, client);
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
