/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: admissions that end by themselves, on a pair of nodes; what tickets say of
 * brokers; the reasons that a gateway gives; and what somebody who is admitted may have us connect
 * to.
 */
#include <signal.h>

#include "node_sides.h"
#include "signal/message.h"
#include "strategy/reverse.h"

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
    begin_connected(&f, &client);
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
    assert_int_equal(client_ask(&client, &f), SOCKS5_RULESET);
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
    give_ticket(&f, 1, 3600);
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
    char *text = make_ticket(f, &f->exit, 1, 3600);
    struct ticket *ticket = parse_ticket(text);

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
    use_exit(&f.gateway, text);
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

    (void)state;
    begin(&f);
    give_ticket(&f, 1, 3600);
    side_kill(&f.exit);
    side_start(&f, &f.gateway);
    UNTIL(&f, strstr(trouble(&f), "does the peer run?") != NULL);
    assert_int_equal(target_parse("example.com:80", &target), 0);
    const char *why = f.gateway.node->outlet.why(&f.gateway.node->outlet, &target);
    assert_int_equal(strncmp(why, "the exit `", 10), 0);
    assert_non_null(strstr(why, "': 127.0.0.1:"));
    end(&f);
}

/* Two nodes may be exits of each other: who was revoked stays so, however it became known. */
static void revoked_exit(void **state)
{
    struct fixture f;
    struct hello hello = {.has_secret = true};
    const struct node_id *id;
    int64_t now = node_wall_s();

    (void)state;
    begin(&f);
    id = identity_id(f.gateway.identity);
    assert_int_equal(state_peer_remember(f.exit.state, id, "mutual", "enrolled", now), 0);
    assert_int_equal(state_enrol_new(f.exit.state, 5, 0, 0, now, hello.secret), 0);
    assert_int_equal(admission_judge(f.exit.node, id, &hello), CLOSE_OK);
    assert_true(state_is_admitted(f.exit.state, id, now));
    assert_int_equal(state_peer_revoke(f.exit.state, id), 0);
    admission_judge(f.exit.node, id, &hello); /* as an exit of ours it may call */
    assert_false(state_is_admitted(f.exit.state, id, now));
    admission_look(f.exit.node, id, hello.secret);
    assert_false(state_is_admitted(f.exit.state, id, now));
    assert_int_equal(state_peer_allow(f.exit.state, id, NULL, "command", now), 0);
    assert_int_equal(state_peer_set_expiry(f.exit.state, id, now - 1), 0);
    assert_int_equal(admission_judge(f.exit.node, id, &hello), CLOSE_OK); /* not revoked any more */
    assert_true(state_is_admitted(f.exit.state, id, now));
    end(&f);
}

/* --- Requests to connect, from somebody who is admitted ---
 *
 * What the node does is seen at listeners of the test's; what it says, in a carrier of the test's.
 */

struct told {
    int declines;
    char text[MESSAGE_TEXT_MAX + 1];
};

static int on_send(void *arg, const uint8_t *bytes, size_t len)
{
    struct told *told = arg;
    struct message message;

    assert_int_equal(message_parse(bytes, len, &message), 0);
    if (message.type != MESSAGE_DECLINE)
        return 0;
    told->declines++;
    memcpy(told->text, message.text, sizeof(told->text));
    return 0;
}

static void on_accept(struct pipe *server, struct pipe *client, void *arg)
{
    (void)server;
    ++*(int *)arg;
    pipe_abort(client, -ECANCELED);
}

static const struct pipe_events listener_events = {.accept = on_accept};

/* An address of this machine that a peer in the same network may name. */
static bool find_private(const struct node *node, struct addr *out)
{
    struct addr addrs[REACH_MAX];
    size_t count = reach_local(node, addrs, REACH_MAX - 1);

    addrs[count++] = addr_loopback(AF_INET, 0);
    for (size_t i = 0; i < count; i++) {
        addrs[i].port = 1;
        if (reach_is_private(&addrs[i]) && finder_filter(node, &addrs[i], 1, out, 1) == 1)
            return true;
    }
    return false;
}

static void take(struct fixture *f, const struct node_id *from, uint8_t number,
                 const struct addr *addrs, size_t count)
{
    const uint8_t token[MESSAGE_TOKEN_BYTES] = {number};

    assert_int_equal(invite_take(f->exit.node, from, token, addrs, count), CLOSE_OK);
}

/* It cannot have a network scanned: few requests at a time, few private addresses in each, and not
 * a word of what was found there. */
static void no_scanner(void **state)
{
    struct fixture f;
    struct told told = {.declines = 0};
    const struct signal_carrier carrier = {.send = on_send, .arg = &told};
    const struct node_id *from;
    struct addr at, addrs[MESSAGE_ADDRS_MAX];
    struct pipe *listeners[MESSAGE_ADDRS_MAX];
    int accepted = 0;

    (void)state;
    begin(&f);
    from = identity_id(f.gateway.identity);
    if (!find_private(f.exit.node, &at)) {
        end(&f);
        skip();
    }
    for (size_t i = 0; i < MESSAGE_ADDRS_MAX; i++) {
        at.port = 0;
        listeners[i] = tcp_listen(f.loop, &at, NULL);
        assert_non_null(listeners[i]);
        pipe_add_listener(listeners[i], &listener_events, &accepted);
        pipe_addrs(listeners[i], &addrs[i], NULL);
    }
    assert_int_equal(signal_set_carrier(f.exit.node->signal, from, &carrier), 0);
    /* as fast as it can */
    for (uint8_t i = 0; i < 100; i++) {
        take(&f, from, i, addrs, 1);
        for (int turn = 0; turn < 3; turn++)
            loop_turn(f.loop, MS_US);
    }
    run(&f, 200 * MS_US);
    assert_in_range(accepted, 1, 5);
    assert_in_range(told.declines, 1, 5);
    assert_null(strchr(told.text, ':')); /* no address, no reason */
    assert_true(strlen(told.text) > 20);
    /* in time it may again; with many addresses it gets no further */
    run(&f, 2500 * MS_US);
    accepted = told.declines = 0;
    take(&f, from, 200, addrs, MESSAGE_ADDRS_MAX);
    run(&f, 500 * MS_US);
    assert_in_range(accepted, 2, 4);
    assert_int_equal(told.declines, 1);
    /* nothing is kept of it in the end */
    UNTIL(&f, f.exit.node->invitation_count == 0);
    signal_set_carrier(f.exit.node->signal, from, NULL);
    for (size_t i = 0; i < MESSAGE_ADDRS_MAX; i++)
        pipe_close(listeners[i]);
    end(&f);
}

/* Others are served meanwhile, and however many ask. */
static void many_who_ask(void **state)
{
    struct fixture f;
    struct node_id id = {{0}};
    struct addr at = addr_loopback(AF_INET, 1);

    (void)state;
    begin(&f);
    at.ip.bytes[0] = 192, at.ip.bytes[1] = 0, at.ip.bytes[2] = 2, at.ip.bytes[3] = 1;
    for (int i = 0; i < 1000; i++) {
        const uint8_t token[MESSAGE_TOKEN_BYTES] = {1};

        id.key[0] = (uint8_t)i, id.key[1] = (uint8_t)(i >> 8);
        invite_take(f.exit.node, &id, token, NULL, 0); /* over at once */
    }
    assert_in_range(f.exit.node->invitation_count, 1, 64);
    take(&f, identity_id(f.gateway.identity), 1, &at, 1); /* in the place of one that is over */
    end(&f);
}

/* --- Announcements --- */

#define MANY_PEERS 300

static int on_announced(void *arg, const uint8_t *bytes, size_t len)
{
    (void)bytes;
    (void)len;
    ++*(int *)arg;
    return 0;
}

/* A network that changes does not hold up an exit with very many peers; those with streams hear of
 * it in any case. */
static void announcements_have_a_limit(void **state)
{
    static int told[MANY_PEERS];
    struct fixture f;
    struct target target;
    int all = 0;

    (void)state;
    begin(&f);
    memset(told, 0, sizeof(told));
    assert_int_equal(target_parse("192.0.2.1:80", &target), 0);
    for (int i = 0; i < MANY_PEERS; i++) {
        const struct signal_carrier carrier = {.send = on_announced, .arg = &told[i]};
        struct node_id id = {{(uint8_t)i, (uint8_t)(i >> 8)}};
        struct node_peer *peer = node_peer_get(f.exit.node, &id);
        enum answer why;

        assert_non_null(peer);
        assert_non_null(node_peer_session(peer));
        assert_int_equal(signal_set_carrier(f.exit.node->signal, &id, &carrier), 0);
        if (i == 0 || i == MANY_PEERS - 1)
            assert_non_null(stream_open(peer->session, &target, NULL, NULL, &why));
    }
    finder_network_changed(f.exit.node);
    for (int i = 0; i < MANY_PEERS; i++)
        all += told[i];
    assert_int_equal(all, 256);
    assert_int_equal(told[0], 1);
    assert_int_equal(told[MANY_PEERS - 1], 1);
    end(&f);
}

/* --- What a peer says when it refuses --- */

struct refusal {
    struct signal *signal;
    struct node_id id;
    const char *words;
    struct message pong;
    int why;
    char text[ATTEMPT_TEXT_MAX];
};

static int on_question(void *arg, const uint8_t *bytes, size_t len)
{
    struct refusal *refusal = arg;
    struct message ping;

    assert_int_equal(message_parse(bytes, len, &ping), 0);
    refusal->pong = (struct message){.type = MESSAGE_PONG, .number = 1, .has_echo = true};
    memcpy(refusal->pong.echo, ping.challenge, sizeof(ping.challenge));
    refusal->pong.has_verdict = true;
    refusal->pong.verdict = CLOSE_REVOKED;
    strcpy(refusal->pong.text, refusal->words);
    return 0;
}

static void on_over(void *arg, int why, const char *text)
{
    struct refusal *refusal = arg;

    refusal->why = why;
    snprintf(refusal->text, sizeof(refusal->text), "%s", text);
}

static const struct attempt_events refused_events = {.over = on_over};

/* It ends up in a quoted value of the log, and in what the user reads. */
static void words_of_a_refusal(void **state)
{
    static const char *const cases[][2] = {
        {"no \" event=path-up peer=bank \"", "no ' event=path-up peer=bank '"},
        {"", "the peer gives no reason"},
    };
    struct fixture f;
    struct refusal refusal = {.why = 0};
    const struct signal_carrier carrier = {.send = on_question, .arg = &refusal};

    (void)state;
    begin(&f);
    refusal.signal = f.exit.node->signal;
    refusal.id = *identity_id(f.gateway.identity);
    assert_int_equal(signal_set_carrier(refusal.signal, &refusal.id, &carrier), 0);
    for (size_t i = 0; i < 2; i++) {
        const struct strategy_peer peer = {.id = &refusal.id};
        uint8_t bytes[MESSAGE_BYTES_MAX];
        const char *why;
        int len;

        refusal.words = cases[i][0];
        assert_non_null(
            strategy_reverse.start(&f.exit.node->env, &peer, &refused_events, &refusal, &why));
        len = message_build(&refusal.pong, bytes);
        assert_true(len > 0);
        signal_carried(refusal.signal, &refusal.id, bytes, (size_t)len);
        assert_int_equal(refusal.why, -EACCES);
        assert_string_equal(refusal.text, cases[i][1]);
    }
    signal_set_carrier(refusal.signal, &refusal.id, NULL);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_by_itself),
        cmocka_unit_test(ticket_admits_anew),
        cmocka_unit_test(known_peer_loses_streams),
        cmocka_unit_test(brokers_in_tickets),
        cmocka_unit_test(tickets_that_are_full),
        cmocka_unit_test(absent),
        cmocka_unit_test(revoked_exit),
        cmocka_unit_test(no_scanner),
        cmocka_unit_test(many_who_ask),
        cmocka_unit_test(words_of_a_refusal),
        cmocka_unit_test(announcements_have_a_limit),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
