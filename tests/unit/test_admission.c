/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: admissions that end by themselves, on a pair of nodes; what tickets say of
 * brokers; and the reasons that a gateway gives.
 */
#include <signal.h>

#include "node_sides.h"

static const char *trouble(const struct fixture *f)
{
    const struct node_peer *peer = peer_of(&f->gateway, &f->exit);
    const char *text = peer ? node_peer_trouble(peer) : NULL;

    return text ? text : "";
}

static void allow(struct fixture *f, int64_t seconds)
{
    int64_t now = node_wall_s();

    assert_int_equal(state_peer_allow_until(f->exit.state, identity_id(f->gateway.identity), NULL,
                                            "command", seconds ? now + seconds : 0, now),
                     0);
    node_peers_changed(f->exit.node);
}

/* The live stream ends within a second of the time, the next is refused with the reason, and an
 * owner who thinks again lets it in. */
static void ends_by_itself(void **state)
{
    struct fixture f;
    struct client client;

    (void)state;
    begin_pair(&f);
    client_connected(&client, &f);
    client_echo(&client, &f, "before");
    assert_string_equal(trouble(&f), "");
    allow(&f, 1);
    uint64_t began = loop_refresh(f.loop);
    run(&f, 20 * MS_US);
    client_echo(&client, &f, "still");
    UNTIL(&f, client.ended || client.eof);
    assert_in_range(loop_now(f.loop) - began, 0, 2200 * MS_US);
    client_end(&client);
    UNTIL(&f, strstr(trouble(&f), "the admission has expired") != NULL);
    assert_int_equal(admission_look(f.exit.node, identity_id(f.gateway.identity), NULL),
                     CLOSE_EXPIRED);
    client_begin(&client, &f);
    UNTIL(&f, client_reply(&client) >= 0);
    assert_int_equal(client_reply(&client), SOCKS5_RULESET);
    client_end(&client);
    assert_non_null(strstr(f.gateway.node->outlet.why(&f.gateway.node->outlet, NULL),
                           "': the admission has expired"));
    allow(&f, 0);
    node_peer_reset_scheduler(
        peer_of(&f.gateway, &f.exit)); /* which would wait for half a minute */
    node_peer_update(peer_of(&f.gateway, &f.exit));
    UNTIL(&f, is_joined(&f));
    assert_string_equal(trouble(&f), "");
    assert_null(f.gateway.node->outlet.why(&f.gateway.node->outlet, NULL));
    end(&f);
}

/* A ticket admits anew; one that is worth nothing does not hide that the admission is over. */
static void ticket_admits_anew(void **state)
{
    struct fixture f;
    struct hello hello = {.has_secret = true};
    const struct node_id *id;
    int64_t now = node_wall_s();

    (void)state;
    begin(&f);
    id = identity_id(f.gateway.identity);
    assert_int_equal(state_peer_allow_until(f.exit.state, id, NULL, "command", now - 10, now - 20),
                     0);
    assert_int_equal(admission_judge(f.exit.node, id, &hello), CLOSE_EXPIRED);
    assert_int_equal(state_enrol_new(f.exit.state, 1, 0, 100, now, hello.secret), 0);
    assert_int_equal(admission_judge(f.exit.node, id, &hello), CLOSE_OK);
    assert_in_range(state_peer(f.exit.state, id)->expires, now + 100, now + 110);
    assert_true(timer_is_set(&f.exit.node->expiry));
    /* Who was thrown out stays out. */
    assert_int_equal(state_enrol_new(f.exit.state, 1, 0, 0, now, hello.secret), 0);
    assert_int_equal(state_peer_revoke(f.exit.state, id), 0);
    assert_int_equal(admission_judge(f.exit.node, id, &hello), CLOSE_REVOKED);
    end(&f);
}

/* A peer that we know all the same, since it is an exit of ours, loses its streams too. */
static void known_peer_loses_streams(void **state)
{
    struct fixture f;
    struct client client;
    const struct node_id *id;

    (void)state;
    begin(&f);
    id = identity_id(f.gateway.identity);
    assert_int_equal(state_peer_remember(f.exit.state, id, "both", "enrolled", 1), 0);
    char *ticket = make_ticket(&f, 1, 3600);
    use_ticket(&f.gateway, ticket);
    free(ticket);
    side_start(&f, &f.gateway);
    client_connected(&client, &f);
    assert_true(peer_of(&f.exit, &f.gateway)->is_known);
    assert_int_equal(state_peer_revoke(f.exit.state, id), 0);
    node_peers_changed(f.exit.node);
    UNTIL(&f, client.ended || client.eof);
    client_end(&client);
    end(&f);
}

static struct ticket *parsed_ticket(struct fixture *f)
{
    struct ticket *ticket = malloc(sizeof(*ticket));
    char *text = make_ticket(f, 1, 3600);

    assert_non_null(ticket);
    assert_int_equal(ticket_parse(text, strlen(text), ticket), TICKET_OK);
    free(text);
    return ticket;
}

/* The brokers of the configuration are in tickets, and whoever enrols remembers them. */
static void brokers_in_tickets(void **state)
{
    static const char *const urls[] = {"mqtt://u:secret@127.0.0.1:9", "mqtt://127.0.0.1:9"};
    struct fixture f;
    const struct state_peer *peer;
    char *text;

    (void)state;
    begin(&f);
    for (size_t i = 0; i < 2; i++) {
        assert_true(asprintf(&text, "signal.broker=%s", urls[i]) > 0);
        assert_int_equal(config_set(f.exit.config, text), 0);
        free(text);
    }
    assert_int_equal(config_finish(f.exit.config), 0);
    struct ticket *ticket = parsed_ticket(&f);
    assert_int_equal(ticket->broker_count, 2);
    assert_string_equal(ticket->brokers[0], urls[0]);
    assert_true(ticket->reach_count > 0);
    text = malloc(TICKET_TEXT_MAX + 1);
    assert_true(ticket_format(ticket, text, TICKET_TEXT_MAX + 1) > 0);
    use_ticket(&f.gateway, text);
    free(text);
    free(ticket);
    side_start(&f, &f.gateway);
    UNTIL(&f, is_joined(&f));
    peer = state_peer(f.gateway.state, identity_id(f.exit.identity));
    assert_non_null(peer);
    assert_int_equal(urls_count(peer->brokers), 2);
    assert_string_equal(urls_at(peer->brokers, 0), urls[0]);
    end(&f);
}

/* Long brokers leave room for an address, not for all of them; without an address they suffice. */
static void tickets_that_are_full(void **state)
{
    struct fixture f;
    char text[TICKET_URL_MAX + 32], address[300];

    (void)state;
    begin(&f);
    for (char i = 0; i < TICKET_BROKERS_MAX; i++) {
        memset(text, 'a' + i, sizeof(text));
        memcpy(text, "signal.broker=mqtt://", 21);
        strcpy(text + 14 + 245, ".example");
        for (int dot = 60; dot < 240; dot += 60)
            text[14 + dot] = '.';
        assert_int_equal(config_set(f.exit.config, text), 0);
    }
    for (char i = 0; i < 10; i++) {
        memset(address, 'k' + i, sizeof(address));
        memcpy(address, "path.advertise=", 15);
        strcpy(address + 200, ".example:443");
        for (int dot = 60; dot < 190; dot += 60)
            address[15 + dot] = '.';
        assert_int_equal(config_set(f.exit.config, address), 0);
    }
    assert_int_equal(config_finish(f.exit.config), 0);
    struct ticket *ticket = parsed_ticket(&f);
    assert_int_equal(ticket->broker_count, TICKET_BROKERS_MAX);
    assert_in_range(ticket->reach_count, 1, 9);
    assert_int_equal(ticket->reach[0].name[0], 'k'); /* the best are kept */
    free(ticket);
    end(&f);
}

/* An exit that is not there: the reason is known soon, and told with the exit's name. */
static void absent(void **state)
{
    struct fixture f;
    struct target target;
    char *ticket;

    (void)state;
    begin(&f);
    ticket = make_ticket(&f, 1, 3600);
    side_kill(&f.exit);
    use_ticket(&f.gateway, ticket);
    free(ticket);
    side_start(&f, &f.gateway);
    UNTIL(&f, strstr(trouble(&f), "does the peer run?") != NULL);
    assert_int_equal(target_parse("example.com:80", &target), 0);
    const char *why = f.gateway.node->outlet.why(&f.gateway.node->outlet, &target);
    assert_int_equal(strncmp(why, "the exit `", 10), 0);
    assert_non_null(strstr(why, "': 127.0.0.1:"));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_by_itself),           cmocka_unit_test(ticket_admits_anew),
        cmocka_unit_test(known_peer_loses_streams), cmocka_unit_test(brokers_in_tickets),
        cmocka_unit_test(tickets_that_are_full),    cmocka_unit_test(absent),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
