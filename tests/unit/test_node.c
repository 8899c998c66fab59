/* SPDX-License-Identifier: MIT */
/*
 * Two nodes on one loop, over loopback sockets: an exit and a gateway that has its ticket. Pairing
 * and its refusals, a SOCKS request through both to an echo server, revocation, a restart, both
 * sides dialling at once, and a clean stop.
 */
#include "node_sides.h"

static void enrol_and_echo(void **state)
{
    struct fixture f;
    struct client client;
    size_t count;

    (void)state;
    begin_connected(&f, &client);
    client_echo(&client, &f, "through two nodes");
    pipe_shutdown(client.pipe);
    UNTIL(&f, client.eof || client.ended);
    client_end(&client);
    /* Both know each other now: the exit by admission, the gateway for its next start. */
    assert_true(state_is_admitted(f.exit.state, identity_id(f.gateway.identity), node_wall_s()));
    assert_int_equal(state_enrol_count(f.exit.state, node_wall_s()), 0);
    const struct state_peer *peers = state_peers(f.gateway.state, &count);
    assert_int_equal(count, 1);
    assert_string_equal(peers[0].how, "enrolled");
    assert_false(peers[0].admitted);
    assert_true(peers[0].addrs[0][0] != '\0');
    UNTIL(&f, session_stream_count(peer_of(&f.exit, &f.gateway)->session) == 0);
    assert_int_equal(f.exit.node->streams_served, 1);
    assert_int_equal(path_count(&f.exit, &f.gateway), 1);
    /* Without the ticket, by what the state knows. */
    side_kill(&f.gateway);
    use_exit(&f.gateway, "");
    side_start(&f, &f.gateway);
    client_connected(&client, &f);
    client_echo(&client, &f, "again");
    client_end(&client);
    end(&f);
}

static const char *wait_refusal(struct fixture *f)
{
    UNTIL(f, peer_of(&f->gateway, &f->exit)->is_refused);
    return peer_of(&f->gateway, &f->exit)->refusal;
}

/* The gateway starts, and is told this. */
static void expect_refusal(struct fixture *f, const char *words)
{
    side_start(f, &f->gateway);
    if (!strstr(wait_refusal(f), words))
        fail_msg("refused with \"%s\", not \"%s\"", wait_refusal(f), words);
}

static void wrong_secrets(void **state)
{
    struct fixture f;
    struct client client;

    (void)state;
    begin(&f);
    /* without one */
    give_ticket(&f, 0, 0);
    expect_refusal(&f, "not admitted");
    assert_int_not_equal(client_ask(&client, &f), SOCKS5_OK);
    client_end(&client);
    side_kill(&f.gateway);
    /* one that this exit has withdrawn */
    give_ticket(&f, 1, 3600);
    assert_int_equal(state_enrol_clear(f.exit.state), 0);
    expect_refusal(&f, "does not know this ticket");
    side_kill(&f.gateway);
    /* one that another has used up */
    char *text = make_ticket(&f, &f.exit, 1, 3600);
    struct ticket *ticket = parse_ticket(text);
    struct node_id other = {{1}};
    use_exit(&f.gateway, text);
    assert_int_equal(state_enrol_use(f.exit.state, ticket->secret, &other, "other", node_wall_s()),
                     ENROL_OK);
    free(ticket);
    free(text);
    expect_refusal(&f, "used up");
    side_kill(&f.gateway);
    assert_false(state_is_admitted(f.exit.state, identity_id(f.gateway.identity), node_wall_s()));
    end(&f);
}

/* A stream that waits when the refusal comes fails at once, not after connect_wait. */
static void refused_while_waiting(void **state)
{
    struct fixture f;
    struct client client;

    (void)state;
    begin(&f);
    give_ticket(&f, 0, 0);
    side_start(&f, &f.gateway);
    uint64_t began = loop_refresh(f.loop);
    assert_int_not_equal(client_ask(&client, &f), SOCKS5_OK);
    assert_true(loop_now(f.loop) - began < 2 * SEC_US);
    client_end(&client);
    end(&f);
}

static void expired(void **state)
{
    struct fixture f;
    char text[TICKET_TEXT_MAX + 1];

    (void)state;
    begin(&f);
    /* The exit goes by its own record, whatever the ticket says. */
    char *made = make_ticket(&f, &f.exit, 1, 3600);
    struct ticket *ticket = parse_ticket(made);
    free(made);
    assert_int_equal(state_enrol_new(f.exit.state, 1, 1, 0, node_wall_s() - 100, ticket->secret),
                     0);
    assert_true(ticket_format(ticket, text, sizeof(text)) > 0);
    free(ticket);
    use_exit(&f.gateway, text);
    expect_refusal(&f, "expired");
    end(&f);
}

static void revoked(void **state)
{
    struct fixture f;
    struct client client;

    (void)state;
    begin_connected(&f, &client);
    client_echo(&client, &f, "before");
    assert_int_equal(state_peer_revoke(f.exit.state, identity_id(f.gateway.identity)), 0);
    node_peers_changed(f.exit.node);
    UNTIL(&f, client.ended || client.eof);
    assert_non_null(strstr(wait_refusal(&f), "revoked"));
    client_end(&client);
    UNTIL(&f, !peer_of(&f.exit, &f.gateway));
    /* The gateway tries again after a while, and is refused again. */
    run(&f, 200 * MS_US);
    assert_int_equal(path_count(&f.gateway, &f.exit), 0);
    /* Admitted again, by hand: the next client gets through when the gateway asks again, which it
     * does after a pause that the test cuts short. */
    assert_int_equal(state_peer_allow(f.exit.state, identity_id(f.gateway.identity), NULL,
                                      "command", node_wall_s()),
                     0);
    node_peers_changed(f.exit.node);
    peer_of(&f.gateway, &f.exit)->is_refused = false;
    scheduler_settle(peer_of(&f.gateway, &f.exit)->scheduler, SCHEDULER_FAILED, NULL);
    client_connected(&client, &f);
    client_end(&client);
    end(&f);
}

/* The exit is gone without a word and comes back with another instance: streams fail at once when
 * it is back, new ones work. */
static void restart(void **state)
{
    struct fixture f;
    struct client client, second;
    uint8_t before[INSTANCE_BYTES];

    (void)state;
    begin_connected(&f, &client);
    memcpy(before, session_peer_instance(peer_of(&f.gateway, &f.exit)->session), sizeof(before));
    side_kill(&f.exit);
    UNTIL(&f, path_count(&f.gateway, &f.exit) == 0);
    run(&f, 50 * MS_US);
    assert_false(client.ended); /* held */
    side_start(&f, &f.exit);
    UNTIL(&f, is_joined(&f));
    UNTIL(&f, client.ended || client.eof);
    assert_memory_not_equal(before, session_peer_instance(peer_of(&f.gateway, &f.exit)->session),
                            sizeof(before));
    client_connected(&second, &f);
    client_echo(&second, &f, "after");
    client_end(&second);
    client_end(&client);
    end(&f);
}

/* All connections between the two die; the stream goes on over a new one. */
static void path_dies(void **state)
{
    struct fixture f;
    struct client client;

    (void)state;
    begin_connected(&f, &client);
    client_echo(&client, &f, "one");
    for (int i = 0; i < 5; i++) {
        greet_drop_paths(i & 1 ? f.exit.node : f.gateway.node);
        client_echo(&client, &f, "two");
    }
    assert_false(client.ended);
    client_end(&client);
    end(&f);
}

/* Anew, in both roles; each admits the other, and names it as its exit. */
static void start_mutual(struct fixture *f, struct side *sides[2])
{
    char id[NODE_ID_TEXT_LEN + 1];

    for (int s = 0; s < 2; s++) {
        side_kill(sides[s]);
        sides[s]->roles = NODE_EXIT | NODE_GATEWAY;
        assert_int_equal(config_set(sides[s]->config, "gateway.listen=127.0.0.1:0"), 0);
        state_peer_allow(sides[s]->state, identity_id(sides[!s]->identity), NULL, "command", 1);
    }
    for (int s = 0; s < 2; s++) {
        use_exit(sides[s], node_id_format(identity_id(sides[!s]->identity), id));
        side_start(f, sides[s]);
    }
}

/* It hears where the other is, and dials. */
static void tell_address(struct fixture *f, struct side *side, const struct side *other)
{
    char *text = make_ticket(f, other, 0, 0);
    struct ticket *ticket = parse_ticket(text);

    assert_int_equal(node_peer_set_ticket(side->node->exit, ticket), 0);
    scheduler_kick(side->node->exit->scheduler);
    free(ticket);
    free(text);
}

/* Two nodes that use each other, both dialling at the same moment, several times: one session. */
static void both_at_once(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    for (int i = 0; i < 20; i++) {
        start_mutual(&f, (struct side *[2]){&f.exit, &f.gateway});
        tell_address(&f, &f.gateway, &f.exit);
        tell_address(&f, &f.exit, &f.gateway);
        UNTIL(&f, is_joined(&f));
        run(&f, 30 * MS_US);
        struct node_peer *a = peer_of(&f.exit, &f.gateway), *b = peer_of(&f.gateway, &f.exit);
        assert_memory_equal(a->instance, session_peer_instance(b->session), INSTANCE_BYTES);
        assert_memory_equal(b->instance, session_peer_instance(a->session), INSTANCE_BYTES);
        assert_int_equal(a->ending + b->ending, 0);
    }
    end(&f);
}

struct stop {
    bool done;
};

static void on_stopped(void *arg)
{
    ((struct stop *)arg)->done = true;
}

static void clean_stop(void **state)
{
    struct fixture f;
    struct client client;
    struct stop stop = {false};

    (void)state;
    begin_connected(&f, &client);
    uint64_t began = loop_refresh(f.loop);
    node_stop(f.exit.node, on_stopped, &stop);
    UNTIL(&f, stop.done);
    assert_true(loop_now(f.loop) - began < SEC_US / 2);
    UNTIL(&f, client.ended || client.eof);
    assert_string_equal(peer_of(&f.gateway, &f.exit)->refusal, "the peer stopped");
    client_end(&client);
    end(&f);
}

/* --- Status and ping --- */

struct pinged {
    int calls;
    size_t count;
    uint64_t rtt_us;
    char why[128];
};

static void on_pinged(void *arg, const struct node_ping *results, size_t count, const char *why)
{
    struct pinged *pinged = arg;

    pinged->calls++;
    pinged->count = count;
    if (count)
        pinged->rtt_us = results[0].rtt_us;
    snprintf(pinged->why, sizeof(pinged->why), "%s", why ? why : "");
}

static void status_and_ping(void **state)
{
    struct fixture f;
    struct pinged pinged = {0}, stranger = {0};
    struct node_id nobody = {{7}};

    (void)state;
    begin_pair(&f);
    /* asked before there is a path */
    node_ping(f.gateway.node, identity_id(f.exit.identity), SEC_US, on_pinged, &pinged);
    node_ping(f.gateway.node, &nobody, SEC_US, on_pinged, &stranger);
    UNTIL(&f, pinged.calls && stranger.calls);
    assert_int_equal(pinged.count, 1);
    assert_true(pinged.rtt_us > 0);
    assert_int_equal(stranger.count, 0);
    assert_non_null(strstr(stranger.why, "not connected"));
    for (int s = 0; s < 2; s++) {
        json_t *status = node_status(s ? f.gateway.node : f.exit.node);
        json_t *peer = json_array_get(json_object_get(status, "peers"), 0);
        json_t *path = json_array_get(json_object_get(peer, "paths"), 0);

        assert_non_null(status);
        assert_string_equal(json_string_value(json_object_get(peer, "state")), "connected");
        assert_string_equal(json_string_value(json_object_get(path, "strategy")), "direct");
        assert_true(json_is_true(json_object_get(path, "active")));
        assert_non_null(json_object_get(status, s ? "gateway" : "exit"));
        json_decref(status);
    }
    run(&f, 100 * MS_US);
    assert_int_equal(pinged.calls, 1);
    end(&f);
}

static void own_ticket(void **state)
{
    struct fixture f;
    char *ticket;

    (void)state;
    begin(&f);
    ticket = make_ticket(&f, &f.exit, 1, 0);
    assert_int_equal(config_set(f.exit.config, "gateway.listen=127.0.0.1:0"), 0);
    use_exit(&f.exit, ticket);
    side_kill(&f.exit);
    assert_null(node_new(f.loop, f.exit.config, f.exit.state, f.exit.identity,
                         NODE_EXIT | NODE_GATEWAY, f.error, sizeof(f.error)));
    assert_non_null(strstr(f.error, "own"));
    free(ticket);
    end(&f);
}

/* Silent strangers of one prefix take so many places and no more; who is turned away is reset at
 * once. */
static void strangers(void **state)
{
    struct fixture f;
    struct client clients[LISTEN_PREFIX_MAX + 4];
    struct addr at;
    size_t ended = 0;

    (void)state;
    begin(&f);
    at = node_listener_at(f.exit.node, 0).addr;
    memset(clients, 0, sizeof(clients));
    for (size_t i = 0; i < LISTEN_PREFIX_MAX + 4; i++) {
        static const struct pipe_events silent_events = {.end = on_client_end};

        clients[i].pipe = tcp_open(f.loop, &at, NULL);
        pipe_add_listener(clients[i].pipe, &silent_events, &clients[i]);
    }
    UNTIL(&f, listen_stats(f.exit.node->listen)->refused == 4);
    assert_int_equal(listen_stats(f.exit.node->listen)->handshakes, LISTEN_PREFIX_MAX);
    run(&f, 20 * MS_US);
    for (size_t i = 0; i < LISTEN_PREFIX_MAX + 4; i++) {
        ended += clients[i].ended;
        if (clients[i].pipe)
            pipe_abort(clients[i].pipe, -ECANCELED);
    }
    assert_int_equal(ended, 4);
    UNTIL(&f, listen_stats(f.exit.node->listen)->handshakes == 0);
    end(&f);
}

/* A ticket with uses left does not bring back who was revoked, only the owner does. */
static void revoked_with_ticket(void **state)
{
    struct fixture f;
    struct hello hello = {.has_secret = true};
    const struct node_id *id;

    (void)state;
    begin(&f);
    id = identity_id(f.gateway.identity);
    assert_int_equal(state_enrol_new(f.exit.state, 3, 0, 0, node_wall_s(), hello.secret), 0);
    assert_int_equal(admission_judge(f.exit.node, id, &hello), CLOSE_OK);
    assert_int_equal(state_peer_revoke(f.exit.state, id), 0);
    assert_int_equal(admission_judge(f.exit.node, id, &hello), CLOSE_REVOKED);
    assert_int_equal(state_enrol_check(f.exit.state, hello.secret, node_wall_s()), ENROL_OK);
    assert_int_equal(state_peer_allow(f.exit.state, id, NULL, "command", node_wall_s()), 0);
    assert_int_equal(admission_judge(f.exit.node, id, &hello), CLOSE_OK);
    end(&f);
}

/* The gateway's key proven, then not what a path begins with; and the exit has said its last. */
static struct pipe *refused_stranger(struct fixture *f, struct tls_context *tls)
{
    struct addr at = node_listener_at(f->exit.node, 0).addr;
    struct pipe *pipe = tls_open(f->loop, tls, &at, identity_id(f->exit.identity), NULL);

    assert_non_null(pipe);
    pipe_send(pipe, "no hello", 8, false);
    UNTIL(f, pipe->flags & PIPE_GOT_EOF);
    run(f, 20 * MS_US);
    return pipe;
}

/* One who knows the exit's ID, is refused, and does not close: has its place until it does. */
static void refused_place(void **state)
{
    struct fixture f;
    struct tls_context *tls;
    struct pipe *pipe;

    (void)state;
    begin(&f);
    tls = tls_context_new(f.gateway.identity);
    assert_non_null(tls);
    pipe = refused_stranger(&f, tls);
    assert_int_equal(listen_stats(f.exit.node->listen)->handshakes, 1);
    pipe_close(pipe);
    UNTIL(&f, listen_stats(f.exit.node->listen)->handshakes == 0);
    /* A stop does not wait for the next one. */
    pipe = refused_stranger(&f, tls);
    side_kill(&f.exit);
    pipe_abort(pipe, -ECANCELED);
    run(&f, 20 * MS_US);
    end(&f);
    tls_context_free(tls);
}

static void on_proven_reset(struct pipe *pipe, void *arg)
{
    pipe_abort(pipe, -ECANCELED);
    ++*(size_t *)arg;
}

/* Those who prove a key, any key, and reset the connection, leave nothing behind: or a stranger
 * would shut the door for good. */
static void places_of_those_who_reset(void **state)
{
    static const struct pipe_events reset_events = {.up = on_proven_reset};
    struct fixture f;
    struct tls_context *tls;
    struct addr at;
    size_t resets = 0;

    (void)state;
    begin(&f);
    at = node_listener_at(f.exit.node, 0).addr;
    tls = tls_context_new(f.gateway.identity);
    assert_non_null(tls);
    for (size_t i = 0; i < LISTEN_PREFIX_MAX; i++) {
        struct pipe *pipe = tls_open(f.loop, tls, &at, identity_id(f.exit.identity), NULL);

        assert_non_null(pipe);
        pipe_add_listener(pipe, &reset_events, &resets);
        UNTIL(&f, resets == i + 1);
    }
    UNTIL(&f, listen_stats(f.exit.node->listen)->accepted == LISTEN_PREFIX_MAX);
    UNTIL(&f, listen_stats(f.exit.node->listen)->handshakes == 0);
    end(&f);
    tls_context_free(tls);
}

/* --- A peer that does not keep to the protocol --- */

struct liar {
    struct tls_context *tls;
    struct pipe *pipe;
};

static void on_liar_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                            void *arg)
{
    (void)data;
    (void)from;
    (void)arg;
    pipe_send(pipe, "\x08\0\2\1\x1b", 5, false); /* CLOSE with a control character */
}

static const struct pipe_events liar_events = {.message = on_liar_message};

static void on_liar_accept(struct pipe *server, struct pipe *client, void *arg)
{
    struct liar *liar = arg;

    if (liar->pipe) { /* the next try */
        pipe_abort(client, -ECANCELED);
        return;
    }
    tcp_release(client);
    liar->pipe = tls_accept(server->loop, liar->tls, tcp_take_fd(client), NULL);
    pipe_add_listener(liar->pipe, &liar_events, liar);
}

static const struct pipe_events liar_server_events = {.accept = on_liar_accept};

/* An exit whose answer is malformed, and which then does not close: a stop of the gateway waits for
 * it no longer than for other paths, and leaves nothing behind. */
static void malformed_answer(void **state)
{
    const struct pipe_options options = {.reuse_addr = true};
    struct fixture f;
    struct liar liar = {.pipe = NULL};
    struct addr at;
    struct pipe *server;

    (void)state;
    begin(&f);
    at = node_listener_at(f.exit.node, 0).addr;
    give_ticket(&f, 1, 0);
    side_kill(&f.exit);
    run(&f, 10 * MS_US);
    liar.tls = tls_context_new(f.exit.identity);
    server = tcp_listen(f.loop, &at, &options);
    assert_non_null(server);
    pipe_add_listener(server, &liar_server_events, &liar);
    side_start(&f, &f.gateway);
    UNTIL(&f, liar.pipe && liar.pipe->flags & PIPE_GOT_EOF);
    assert_false(LIST_EMPTY(&f.gateway.node->paths));
    side_kill(&f.gateway);
    pipe_close(server);
    pipe_abort(liar.pipe, -ECANCELED);
    run(&f, 20 * MS_US);
    end(&f);
    tls_context_free(liar.tls);
}

/* New rules hold for what comes; an exit that does not exist changes nothing. */
static void reload(void **state)
{
    struct fixture f;
    struct client client, second;
    struct config *next = config_new();
    char *restart;

    (void)state;
    begin_connected(&f, &client);
    assert_int_equal(config_set(next, "path.listen=127.0.0.1:1"), 0);
    assert_int_equal(config_finish(next), 0);
    assert_int_equal(node_reload(f.exit.node, next, &restart, f.error, sizeof(f.error)), 0);
    assert_string_equal(restart, "path.listen");
    free(restart);
    client_echo(&client, &f, "still there");
    assert_int_equal(client_ask(&second, &f), SOCKS5_RULESET);
    client_end(&second);
    config_free(f.exit.config);
    f.exit.config = next;
    next = config_new();
    assert_int_equal(config_set(next, "gateway.listen=127.0.0.1:0"), 0);
    assert_int_equal(config_set(next, "gateway.exit=nobody"), 0);
    assert_int_equal(config_finish(next), 0);
    assert_true(node_reload(f.gateway.node, next, &restart, f.error, sizeof(f.error)) < 0);
    assert_null(restart);
    assert_non_null(strstr(f.error, "nobody"));
    config_free(next);
    client_echo(&client, &f, "as before");
    client_end(&client);
    end(&f);
}

/* Which of the addresses that a peer names are believed. */
static void private_addresses(void **state)
{
    static const struct {
        const char *text;
        bool is_private;
    } cases[] = {{"127.0.0.1", true},    {"10.1.2.3", true},       {"172.16.0.1", true},
                 {"172.32.0.1", false},  {"192.168.9.9", true},    {"169.254.1.1", true},
                 {"100.64.0.1", true},   {"100.128.0.1", false},   {"1.1.1.1", false},
                 {"::1", true},          {"fd00::1", true},        {"fe80::1", true},
                 {"2001:db8::1", false}, {"::ffff:10.0.0.1", true}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct addr addr;

        assert_int_equal(addr_parse_ip(cases[i].text, &addr), 0);
        assert_int_equal(reach_is_private(&addr), cases[i].is_private);
    }
}

/* A new session carries no messages before it has a path. */
static void carrier_of_a_new_session(void **state)
{
    struct fixture f;
    struct node_peer *peer;

    (void)state;
    begin_pair(&f);
    UNTIL(&f, is_joined(&f));
    peer = peer_of(&f.gateway, &f.exit);
    assert_true(signal_can_ask(f.gateway.node->signal, &peer->id));
    assert_non_null(node_peer_restarted(peer, false));
    assert_false(signal_can_ask(f.gateway.node->signal, &peer->id));
    node_peer_update(peer);
    UNTIL(&f, session_has_path(peer->session));
    assert_true(signal_can_ask(f.gateway.node->signal, &peer->id));
    end(&f);
}

/* A connection that is lost while the hellos are exchanged is not waited for, or forgotten too
 * late. */
static void lost_while_greeting(void **state)
{
    struct fixture f;

    (void)state;
    begin_pair(&f);
    f.exit.node->stopping = true; /* resets whoever has proven a key */
    run(&f, 500 * MS_US);
    assert_true(LIST_EMPTY(&f.gateway.node->paths));
    assert_true(LIST_EMPTY(&f.gateway.node->greetings));
    f.exit.node->stopping = false;
    UNTIL(&f, is_joined(&f));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enrol_and_echo),
        cmocka_unit_test(wrong_secrets),
        cmocka_unit_test(refused_while_waiting),
        cmocka_unit_test(expired),
        cmocka_unit_test(revoked),
        cmocka_unit_test(restart),
        cmocka_unit_test(path_dies),
        cmocka_unit_test(both_at_once),
        cmocka_unit_test(clean_stop),
        cmocka_unit_test(status_and_ping),
        cmocka_unit_test(own_ticket),
        cmocka_unit_test(strangers),
        cmocka_unit_test(revoked_with_ticket),
        cmocka_unit_test(refused_place),
        cmocka_unit_test(places_of_those_who_reset),
        cmocka_unit_test(malformed_answer),
        cmocka_unit_test(reload),
        cmocka_unit_test(private_addresses),
        cmocka_unit_test(lost_while_greeting),
        cmocka_unit_test(carrier_of_a_new_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
