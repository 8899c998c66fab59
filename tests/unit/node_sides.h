/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: two nodes on one loop, over loopback sockets, an exit and a gateway; an echo
 * server beside the exit, and a SOCKS client. What the tests of nodes begin with.
 */
#ifndef ADIT_TESTS_NODE_SIDES_H
#define ADIT_TESTS_NODE_SIDES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/ticket.h"
#include "crypto/tls_context.h"
#include "ingress/socks.h"
#include "node/node_int.h"
#include "pipe/tcp.h"
#include "pipe/tls.h"

#define LIMIT_US (10 * SEC_US)

struct side {
    struct config *config;
    struct identity *identity;
    struct state *state;
    struct node *node;
    unsigned roles;
};

struct fixture {
    struct loop *loop;
    struct side exit, gateway;
    struct pipe *echo;
    struct addr echo_addr;
    char error[512];
};

/* --- An echo server --- */

static void on_echo_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                            void *arg)
{
    (void)from;
    (void)arg;
    pipe_write_copy(pipe, data->data, data->len);
}

static void on_echo_eof(struct pipe *pipe, void *arg)
{
    (void)arg;
    pipe_shutdown(pipe);
}

static const struct pipe_events echo_client_events = {.message = on_echo_message,
                                                      .eof = on_echo_eof};

static void on_echo_accept(struct pipe *server, struct pipe *client, void *arg)
{
    (void)server;
    pipe_add_listener(client, &echo_client_events, arg);
}

static const struct pipe_events echo_events = {.accept = on_echo_accept};

/* --- Nodes --- */

static void side_init(struct side *side, unsigned roles)
{
    side->config = config_new();
    side->identity = identity_generate();
    side->state = state_new();
    side->roles = roles;
    assert_non_null(side->config);
    assert_int_equal(config_set(side->config, "path.listen=127.0.0.1:0"), 0);
    assert_int_equal(config_set(side->config, "path.dial_retry=20ms"), 0);
    assert_int_equal(config_set(side->config, "path.connect_wait=5s"), 0);
    if (roles & NODE_EXIT)
        assert_int_equal(config_set(side->config, "exit.allow=127.0.0.0/8"), 0);
    if (roles & NODE_GATEWAY)
        assert_int_equal(config_set(side->config, "gateway.listen=127.0.0.1:0"), 0);
    assert_int_equal(config_finish(side->config), 0);
}

static void side_start(struct fixture *f, struct side *side)
{
    side->node = node_new(f->loop, side->config, side->state, side->identity, side->roles, f->error,
                          sizeof(f->error));
    if (!side->node)
        print_error("%s\n", f->error);
    assert_non_null(side->node);
}

static void side_kill(struct side *side)
{
    node_free(side->node);
    side->node = NULL;
}

static void side_free(struct side *side)
{
    node_free(side->node);
    config_free(side->config);
    state_close(side->state);
    identity_free(side->identity);
}

/* KEY=VALUE, for the next start or reload. */
static void side_set(struct side *side, const char *assignment)
{
    assert_int_equal(config_set(side->config, assignment), 0);
    assert_int_equal(config_finish(side->config), 0);
}

static char *make_ticket(struct fixture *f, const struct side *side, uint32_t uses, int64_t ttl_s)
{
    struct node_ticket_options options = {.uses = uses, .ttl_s = ttl_s};
    char *ticket;

    assert_int_equal(node_ticket(side->node, &options, &ticket, f->error, sizeof(f->error)), 0);
    return ticket;
}

/* The caller frees it. */
static inline struct ticket *parse_ticket(const char *text)
{
    struct ticket *ticket = malloc(sizeof(*ticket));

    assert_non_null(ticket);
    assert_int_equal(ticket_parse(text, strlen(text), ticket), TICKET_OK);
    return ticket;
}

/* For the next start: a ticket, or an ID that the state knows. */
static void use_exit(struct side *side, const char *exit)
{
    char *text;

    assert_true(asprintf(&text, "gateway.exit=%s", exit) > 0);
    side_set(side, text);
    free(text);
}

/* The gateway is to use a new ticket of the exit's. */
static void give_ticket(struct fixture *f, uint32_t uses, int64_t ttl_s)
{
    char *ticket = make_ticket(f, &f->exit, uses, ttl_s);

    use_exit(&f->gateway, ticket);
    free(ticket);
}

static void begin(struct fixture *f)
{
    struct addr at = addr_loopback(AF_INET, 0);

    memset(f, 0, sizeof(*f));
    log_set_level(LOG_WARN);
    f->loop = loop_new();
    side_init(&f->exit, NODE_EXIT);
    side_init(&f->gateway, NODE_GATEWAY);
    side_start(f, &f->exit);
    f->echo = tcp_listen(f->loop, &at, NULL);
    assert_non_null(f->echo);
    pipe_add_listener(f->echo, &echo_events, NULL);
    pipe_addrs(f->echo, &f->echo_addr, NULL);
}

/* With the gateway, by a ticket for one use. */
static void begin_pair(struct fixture *f)
{
    begin(f);
    give_ticket(f, 1, 3600);
    side_start(f, &f->gateway);
}

static void end(struct fixture *f)
{
    side_free(&f->gateway);
    side_free(&f->exit);
    pipe_close(f->echo);
    for (int i = 0; i < 20; i++)
        loop_turn(f->loop, MS_US);
    loop_free(f->loop);
    block_pool_trim(0);
}

#define UNTIL(f, condition)                                      \
    do {                                                         \
        uint64_t limit_ = loop_refresh((f)->loop) + LIMIT_US;    \
        while (!(condition) && loop_refresh((f)->loop) < limit_) \
            loop_turn((f)->loop, 10 * MS_US);                    \
        assert_true(condition);                                  \
    } while (0)

static void run(struct fixture *f, uint64_t us)
{
    uint64_t limit = loop_refresh(f->loop) + us;

    while (loop_refresh(f->loop) < limit)
        loop_turn(f->loop, 5 * MS_US);
}

static struct node_peer *peer_of(const struct side *side, const struct side *other)
{
    return side->node ? node_peer_find(side->node, identity_id(other->identity)) : NULL;
}

static size_t path_count(const struct side *side, const struct side *other)
{
    const struct node_peer *peer = peer_of(side, other);
    struct session_info info = {.paths = 0};

    if (peer && peer->session)
        session_describe(peer->session, &info);
    return info.paths;
}

static bool is_joined(const struct fixture *f)
{
    return path_count(&f->gateway, &f->exit) > 0 && path_count(&f->exit, &f->gateway) > 0;
}

/* --- A SOCKS client --- */

struct client {
    struct pipe *pipe;
    struct fixture *f;
    uint8_t in[4096];
    size_t len;
    bool up, eof, ended;
};

static void on_client_up(struct pipe *pipe, void *arg)
{
    static const uint8_t greeting[] = {5, 1, 0};
    struct client *client = arg;
    uint8_t request[10] = {5, 1, 0, 1};

    client->up = true;
    memcpy(request + 4, client->f->echo_addr.ip.bytes, 4);
    request[8] = (uint8_t)(client->f->echo_addr.port >> 8);
    request[9] = (uint8_t)client->f->echo_addr.port;
    pipe_write_copy(pipe, greeting, sizeof(greeting));
    pipe_write_copy(pipe, request, sizeof(request));
}

static void on_client_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                              void *arg)
{
    struct client *client = arg;

    (void)pipe;
    (void)from;
    assert_true(client->len + data->len <= sizeof(client->in));
    memcpy(client->in + client->len, data->data, data->len);
    client->len += data->len;
}

static void on_client_eof(struct pipe *pipe, void *arg)
{
    (void)pipe;
    ((struct client *)arg)->eof = true;
}

static void on_client_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    ((struct client *)arg)->ended = true;
    ((struct client *)arg)->pipe = NULL;
}

static const struct pipe_events client_events = {
    .up = on_client_up, .message = on_client_message, .eof = on_client_eof, .end = on_client_end};

static void client_begin(struct client *client, struct fixture *f)
{
    size_t count = node_listener_count(f->gateway.node);
    struct node_listener listener = node_listener_at(f->gateway.node, count - 1);

    memset(client, 0, sizeof(*client));
    client->f = f;
    assert_false(listener.for_paths);
    client->pipe = tcp_open(f->loop, &listener.addr, NULL);
    assert_non_null(client->pipe);
    pipe_add_listener(client->pipe, &client_events, client);
}

static void client_end(struct client *client)
{
    if (client->pipe) {
        pipe_del_listener(client->pipe, &client_events, client);
        pipe_abort(client->pipe, -ECANCELED);
    }
}

/* The reply to the request: a code of RFC 1928 6, or -1 while there is none. */
static int client_reply(const struct client *client)
{
    return client->len >= 4 ? client->in[3] : -1;
}

/* A new client asks for the echo server. Returns the reply. */
static int client_ask(struct client *client, struct fixture *f)
{
    client_begin(client, f);
    UNTIL(f, client_reply(client) >= 0);
    return client_reply(client);
}

static void client_connected(struct client *client, struct fixture *f)
{
    assert_int_equal(client_ask(client, f), SOCKS5_OK);
    assert_int_equal(client->len, 12);
}

/* A pair, and a client that speaks to the echo server through both. */
static inline void begin_connected(struct fixture *f, struct client *client)
{
    begin_pair(f);
    client_connected(client, f);
}

static void client_echo(struct client *client, struct fixture *f, const char *text)
{
    size_t before = client->len, len = strlen(text);

    pipe_write_copy(client->pipe, text, len);
    UNTIL(f, client->len >= before + len || client->ended);
    assert_false(client->ended);
    assert_memory_equal(client->in + before, text, len);
}

#endif
