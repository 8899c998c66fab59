/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: routes and forwards between two nodes on one loop, where a test needs what
 * no well-behaved peer does, or the moment between two events.
 */
#include <sys/resource.h>

#include "node_sides.h"

#include "config/forward.h"
#include "node/forward.h"
#include "node/inlet.h"

/* --- Routes --- */

static const char *way_of(struct fixture *f, const char *target_text)
{
    struct target target;
    const struct route *route;

    assert_int_equal(target_parse(target_text, &target), 0);
    route = routes_find(f->gateway.node, &target);
    if (!route)
        return "exit";
    return route->way == ROUTE_DIRECT ? "direct" : route->way == ROUTE_BLOCK ? "block" : "peer";
}

static void the_first_route_decides(void **state)
{
    struct fixture f;
    char *text, id[NODE_ID_TEXT_LEN + 1];

    (void)state;
    begin(&f);
    give_ticket(&f, 1, 3600);
    side_set(&f.gateway, "gateway.route=10.1.0.0/16:22->direct");
    side_set(&f.gateway, "gateway.route=10.0.0.0/8 -> block");
    side_set(&f.gateway, "gateway.route=*.example.org -> block");
    assert_true(asprintf(&text, "gateway.route=example.org:443 -> %s",
                         node_id_format(identity_id(f.exit.identity), id)) > 0);
    side_set(&f.gateway, text);
    free(text);
    side_start(&f, &f.gateway);
    assert_string_equal(way_of(&f, "10.1.2.3:22"), "direct");
    assert_string_equal(way_of(&f, "[::ffff:10.1.2.3]:22"), "direct");
    assert_string_equal(way_of(&f, "10.1.2.3:23"), "block");
    assert_string_equal(way_of(&f, "11.1.2.3:23"), "exit");
    assert_string_equal(way_of(&f, "a.example.org:443"), "block");
    assert_string_equal(way_of(&f, "EXAMPLE.org:443"), "peer");
    assert_string_equal(way_of(&f, "example.org:80"), "exit");
    assert_string_equal(way_of(&f, "[2001:db8::1]:443"), "exit");
    assert_int_equal(peer_of(&f.gateway, &f.exit)->uses, 2); /* the exit, and in a route */
    end(&f);
}

static void no_exit_is_needed_where_routes_cover_everything(void **state)
{
    struct fixture f;

    (void)state;
    begin(&f);
    side_set(&f.gateway, "gateway.route=*:80 -> direct");
    assert_null(node_new(f.loop, f.gateway.config, f.gateway.state, f.gateway.identity,
                         NODE_GATEWAY, f.error, sizeof(f.error)));
    assert_non_null(strstr(f.error, "no exit is known"));
    side_set(&f.gateway, "gateway.route=* -> block");
    side_start(&f, &f.gateway);
    assert_null(f.gateway.node->exit);
    json_decref(node_status(f.gateway.node));
    side_set(&f.gateway, "gateway.route=127.0.0.1 -> nobody");
    char *restart;
    assert_true(node_reload(f.gateway.node, f.gateway.config, &restart, f.error, sizeof(f.error)) <
                0);
    assert_non_null(strstr(f.error, "nobody"));
    assert_int_equal(f.gateway.node->route_count, 2);
    end(&f);
}

static void direct_connections(void **state)
{
    struct fixture f;
    struct client clients[3];

    (void)state;
    begin(&f);
    side_set(&f.gateway, "gateway.route=* -> direct");
    side_start(&f, &f.gateway);
    client_connected(&clients[0], &f);
    client_echo(&clients[0], &f, "by no peer");
    /* half-close */
    pipe_shutdown(clients[0].pipe);
    UNTIL(&f, clients[0].eof || clients[0].ended);
    /* one leaves while it is connected to */
    client_begin(&clients[1], &f);
    UNTIL(&f, clients[1].len >= 2 || clients[1].up);
    client_end(&clients[1]);
    /* one to nobody */
    f.echo_addr.port = 1;
    assert_int_equal(client_ask(&clients[2], &f), SOCKS5_REFUSED);
    run(&f, 50 * MS_US);
    client_end(&clients[2]);
    client_end(&clients[0]);
    end(&f);
}

/* --- Forwards --- */

struct seen {
    bool listening, refused;
    char address[FORWARD_LISTEN_TEXT_MAX], problem[NODE_FORWARD_TEXT_MAX];
    int calls;
};

static void on_change(void *arg, const struct node_forward_info *info)
{
    struct seen *seen = arg;

    seen->listening = info->listening;
    seen->refused = info->refused;
    snprintf(seen->address, sizeof(seen->address), "%s", info->address);
    snprintf(seen->problem, sizeof(seen->problem), "%s", info->problem);
    seen->calls++;
}

static struct forward *add_to(struct fixture *f, const char *peer, bool reverse, const char *listen,
                              struct seen *seen)
{
    char to[ADDR_TEXT_MAX], why[FORWARD_WHY_MAX];
    struct config_forward spec;
    struct forward *forward;

    memset(seen, 0, sizeof(*seen));
    assert_int_equal(
        config_forward_set(&spec, reverse, listen, peer, addr_format(&f->echo_addr, to), why), 0);
    forward = node_forward(f->gateway.node, &spec, on_change, seen, f->error, sizeof(f->error));
    config_forward_clear(&spec);
    return forward;
}

static struct forward *add(struct fixture *f, bool reverse, const char *listen, struct seen *seen)
{
    char id[NODE_ID_TEXT_LEN + 1];

    return add_to(f, node_id_format(identity_id(f->exit.identity), id), reverse, listen, seen);
}

/* What comes back when something is sent to a listener. */
static void echo_at(struct fixture *f, const char *address, bool works)
{
    struct client client = {.f = f};
    struct addr addr;

    assert_int_equal(addr_parse(address, &addr), 0);
    client.pipe = tcp_open(f->loop, &addr, NULL);
    assert_non_null(client.pipe);
    struct pipe_events events = client_events;
    events.up = NULL;
    pipe_add_listener(client.pipe, &events, &client);
    pipe_write_copy(client.pipe, "there", 5);
    UNTIL(f, client.len == 5 || client.ended);
    assert_int_equal(client.len, works ? 5 : 0);
    if (client.pipe) {
        pipe_del_listener(client.pipe, &events, &client);
        pipe_abort(client.pipe, -ECANCELED);
    }
}

static void both_kinds(void **state)
{
    struct seen local, reverse;
    struct forward *forwards[2];
    struct fixture f;

    (void)state;
    begin_pair(&f);
    side_set(&f.exit, "exit.reverse=127.0.0.1");
    forwards[0] = add(&f, false, "0", &local);
    forwards[1] = add(&f, true, "0", &reverse); /* before there is a path */
    assert_non_null(forwards[0]);
    assert_non_null(forwards[1]);
    UNTIL(&f, local.listening && reverse.listening);
    echo_at(&f, local.address, true);
    echo_at(&f, reverse.address, true);
    assert_int_equal(peer_of(&f.gateway, &f.exit)->uses, 3);
    /* the exit runs anew: it listens again, where it did */
    char before[sizeof(reverse.address)];
    memcpy(before, reverse.address, sizeof(before));
    side_kill(&f.exit);
    side_start(&f, &f.exit);
    UNTIL(&f, !reverse.listening);
    UNTIL(&f, reverse.listening);
    assert_string_equal(reverse.address, before);
    echo_at(&f, reverse.address, true);
    node_forward_end(forwards[1]);
    UNTIL(&f, LIST_EMPTY(&f.exit.node->lents));
    node_forward_end(forwards[0]);
    echo_at(&f, local.address, false);
    assert_int_equal(peer_of(&f.gateway, &f.exit)->uses, 1);
    end(&f);
}

/* The exit of a ticket goes by the beginning of its ID before it was ever reached. */
static void a_peer_that_was_not_met_yet(void **state)
{
    char id[NODE_ID_TEXT_LEN + 1];
    struct forward *forward;
    struct fixture f;
    struct seen seen;

    (void)state;
    begin_pair(&f);
    node_id_format(identity_id(f.exit.identity), id);
    id[8] = '\0';
    forward = add_to(&f, id, false, "0", &seen);
    assert_non_null(forward);
    UNTIL(&f, seen.listening);
    echo_at(&f, seen.address, true);
    node_forward_end(forward);
    id[7] = id[7] == 'a' ? 'b' : 'a';
    assert_null(add_to(&f, id, false, "0", &seen));
    assert_non_null(strstr(f.error, "there is no peer"));
    end(&f);
}

static void a_refusal_says_what_to_do_and_is_asked_again(void **state)
{
    struct fixture f;
    struct seen seen;
    char *restart;

    (void)state;
    begin_pair(&f);
    assert_non_null(add(&f, true, "127.0.0.1:0", &seen));
    UNTIL(&f, seen.refused);
    assert_non_null(strstr(seen.problem, "-o exit.reverse=127.0.0.1"));
    assert_false(seen.listening);
    /* allowed now */
    side_set(&f.exit, "exit.reverse=127.0.0.0/8");
    UNTIL(&f, seen.listening);
    assert_string_equal(seen.problem, "");
    echo_at(&f, seen.address, true);
    /* and no longer */
    side_set(&f.exit, "exit.reverse=");
    side_set(&f.exit, "exit.reverse=127.0.0.2");
    assert_int_equal(node_reload(f.exit.node, f.exit.config, &restart, f.error, sizeof(f.error)),
                     0);
    free(restart);
    UNTIL(&f, !seen.listening);
    assert_true(LIST_EMPTY(&f.exit.node->lents));
    end(&f);
}

/* A pause after a refusal that ends while there is no path does not end the asking. */
static void a_refusal_and_a_lost_path(void **state)
{
    struct fixture f;
    struct seen seen;

    (void)state;
    begin_pair(&f);
    assert_non_null(add(&f, true, "127.0.0.1:0", &seen));
    UNTIL(&f, seen.refused);
    side_kill(&f.exit);
    run(&f, 1200 * MS_US);
    side_set(&f.exit, "exit.reverse=127.0.0.1");
    side_start(&f, &f.exit);
    UNTIL(&f, seen.listening);
    end(&f);
}

struct asked {
    bool answered, ended;
    enum answer answer;
};

static void on_asked(void *arg, enum answer answer, const struct addr *bound)
{
    struct asked *asked = arg;

    (void)bound;
    asked->answered = true;
    asked->answer = answer;
}

static enum answer open_as(struct fixture *f, struct side *from, struct side *to, int kind,
                           const struct addr *addr)
{
    struct opening opening = {.kind = (enum opening_kind)kind,
                              .target = {.addr = *addr, .port = addr->port}};
    struct asked asked = {.answered = false};
    enum answer why;
    struct pipe *stream =
        stream_open_as(peer_of(from, to)->session, &opening, on_asked, &asked, &why);

    assert_non_null(stream);
    UNTIL(f, asked.answered);
    if (asked.answer == ANSWER_OK)
        pipe_abort(stream, -ECANCELED);
    return asked.answer;
}

/* An exit must not get into our network by a listener that nobody asked it for. */
static void what_was_not_asked_for_is_refused(void **state)
{
    struct fixture f;
    struct seen seen;
    struct addr addr;

    (void)state;
    begin_pair(&f);
    side_set(&f.exit, "exit.reverse=127.0.0.1");
    UNTIL(&f, is_joined(&f));
    assert_int_equal(open_as(&f, &f.exit, &f.gateway, OPENING_FORWARDED, &f.echo_addr),
                     ANSWER_POLICY);
    assert_int_equal(open_as(&f, &f.exit, &f.gateway, OPENING_CONNECT, &f.echo_addr),
                     ANSWER_NOT_EXIT);
    addr = addr_loopback(AF_INET, 0);
    assert_int_equal(open_as(&f, &f.exit, &f.gateway, OPENING_LISTEN, &addr), ANSWER_NOT_EXIT);
    assert_int_equal(open_as(&f, &f.gateway, &f.exit, 9, &addr), ANSWER_BAD_REQUEST);
    assert_non_null(add(&f, true, "0", &seen));
    UNTIL(&f, seen.listening);
    assert_int_equal(addr_parse(seen.address, &addr), 0);
    assert_int_equal(open_as(&f, &f.exit, &f.gateway, OPENING_FORWARDED, &addr), ANSWER_OK);
    addr.port ^= 1;
    assert_int_equal(open_as(&f, &f.exit, &f.gateway, OPENING_FORWARDED, &addr), ANSWER_POLICY);
    addr = addr_loopback(AF_INET6, addr.port ^ 1);
    assert_int_equal(open_as(&f, &f.exit, &f.gateway, OPENING_FORWARDED, &addr), ANSWER_POLICY);
    end(&f);
}

/* What fails in the end leaves everything as it was: routes and listeners too. */
static void a_reload_that_fails_changes_nothing(void **state)
{
    struct fixture f;
    struct config *old, *fresh;
    char *restart = NULL;

    (void)state;
    begin_pair(&f);
    f.gateway.node->roles |= NODE_FORWARD;
    UNTIL(&f, is_joined(&f));
    assert_string_equal(way_of(&f, "10.1.2.3:22"), "exit");
    old = f.gateway.config;
    fresh = config_new();
    assert_int_equal(config_set(fresh, "gateway.listen=127.0.0.1:0"), 0);
    assert_int_equal(config_set(fresh, "gateway.listen=[::1]:0"), 0);
    assert_int_equal(config_set(fresh, "gateway.max_clients=1"), 0);
    assert_int_equal(config_set(fresh, "gateway.route=* -> block"), 0);
    assert_int_equal(config_set(fresh, "forward.local=0 -> nobody example.org:80"), 0);
    assert_int_equal(config_finish(fresh), 0);
    assert_true(node_reload(f.gateway.node, fresh, &restart, f.error, sizeof(f.error)) < 0);
    assert_non_null(strstr(f.error, "nobody"));
    assert_null(restart);
    config_free(fresh);
    assert_ptr_equal(f.gateway.node->config, old);
    assert_int_equal(front_listeners(f.gateway.node->front), 1);
    assert_string_equal(way_of(&f, "10.1.2.3:22"), "exit");
    assert_int_equal(peer_of(&f.gateway, &f.exit)->uses, 1);
    assert_true(is_joined(&f));
    end(&f);
}

/* The brokers of a ticket are those of the peer that is used, and go with it. */
static void brokers_go_with_the_forward(void **state)
{
    struct fixture f;
    struct config_forward spec;
    struct ticket ticket = {.broker_count = 1, .brokers = {"mqtt://127.0.0.1:9"}};
    char text[TICKET_TEXT_MAX + 1], why[FORWARD_WHY_MAX];
    struct identity *other = identity_generate();
    struct forward *forward;

    (void)state;
    begin_pair(&f);
    ticket.id = *identity_id(other);
    assert_true(ticket_format(&ticket, text, sizeof(text)) > 0);
    assert_int_equal(config_forward_set(&spec, false, "0", text, "example.org:80", why), 0);
    assert_int_equal(signal_broker_count(f.gateway.node->signal), 0);
    forward = node_forward(f.gateway.node, &spec, NULL, NULL, f.error, sizeof(f.error));
    config_forward_clear(&spec);
    assert_non_null(forward);
    assert_int_equal(signal_broker_count(f.gateway.node->signal), 1);
    node_forward_end(forward);
    assert_int_equal(signal_broker_count(f.gateway.node->signal), 0);
    identity_free(other);
    end(&f);
}

#define MANY_FDS 4096

/* An exit turned hostile opens as many as it can: there is an end to it. */
static void what_comes_back_has_a_limit(void **state)
{
    struct rlimit files;
    struct opening opening = {.kind = OPENING_FORWARDED};
    static struct asked asked[INLET_CLIENTS_MAX + 2];
    struct pipe *first = NULL;
    struct fixture f;
    struct seen seen;
    size_t last = INLET_CLIENTS_MAX;

    (void)state;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < MANY_FDS) {
        files.rlim_cur = MANY_FDS;
        if (setrlimit(RLIMIT_NOFILE, &files) < 0)
            skip();
    }
    begin_pair(&f);
    side_set(&f.exit, "exit.reverse=127.0.0.1");
    assert_non_null(add(&f, true, "0", &seen));
    UNTIL(&f, seen.listening);
    assert_int_equal(addr_parse(seen.address, &opening.target.addr), 0);
    opening.target.port = opening.target.addr.port;
    memset(asked, 0, sizeof(asked));
    for (size_t i = 0; i <= last + 1; i++) {
        enum answer why;
        struct pipe *stream;

        if (i == last + 1) { /* there is room again when one has gone */
            pipe_abort(first, -ECANCELED);
            run(&f, 50 * MS_US);
        }
        stream = stream_open_as(peer_of(&f.exit, &f.gateway)->session, &opening, on_asked,
                                &asked[i], &why);
        assert_non_null(stream);
        first = first ? first : stream;
        if (i % 100 == 0 || i >= last)
            UNTIL(&f, asked[i].answered);
    }
    assert_int_equal(asked[last - 1].answer, ANSWER_OK);
    assert_int_equal(asked[last].answer, ANSWER_LIMIT);
    assert_int_equal(asked[last + 1].answer, ANSWER_OK);
    end(&f);
}

/* --- Texts --- */

static void check_parse(bool reverse, const char *text, const char *expected)
{
    char listen[FORWARD_LISTEN_TEXT_MAX], to[TARGET_TEXT_MAX], why[FORWARD_WHY_MAX], got[512];
    struct config_forward forward;
    int r = config_forward_parse(&forward, reverse, text, why);

    if (r < 0) {
        assert_null(forward.peer);
        assert_null(expected);
        assert_true(strlen(why) > 10);
        return;
    }
    snprintf(got, sizeof(got), "%s %s %s", config_listen_format(&forward.listen, listen),
             forward.peer, target_format(&forward.to, to));
    assert_string_equal(got, expected);
    config_forward_clear(&forward);
}

static void forwards_are_parsed(void **state)
{
    char longest[300];

    (void)state;
    check_parse(false, "8080 -> home example.org:80", "127.0.0.1:8080 home example.org:80");
    check_parse(false, "0->home\t[::1]:80", "127.0.0.1:0 home [::1]:80");
    check_parse(false, "[::]:8080 -> home 192.0.2.7:22", "[::]:8080 home 192.0.2.7:22");
    check_parse(false, "unix:/run/a b -> home x:1", "unix:/run/a b home x:1");
    check_parse(true, "0.0.0.0:80 -> a.b-c_d x:1", "0.0.0.0:80 a.b-c_d x:1");
    check_parse(true, "unix:/run/x -> home x:1", NULL);
    check_parse(false, "unix: -> home x:1", NULL);
    check_parse(false, "65536 -> home x:1", NULL);
    check_parse(false, "-1 -> home x:1", NULL);
    check_parse(false, " -> home x:1", NULL);
    check_parse(false, "80 -> home", NULL);
    check_parse(false, "80 -> home x", NULL);
    check_parse(false, "80 -> home x:0", NULL);
    check_parse(false, "80 -> ho/me x:1", NULL);
    check_parse(false, "80 home x:1", NULL);
    check_parse(false, "name:80 -> home x:1", NULL);
    check_parse(false, "", NULL);
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "unix:/", 6);
    memcpy(longest + 5 + 107, " -> home x:1", 13);
    assert_int_equal(strlen(longest), 5 + 107 + 12);
    struct config_forward forward;
    char why[FORWARD_WHY_MAX];
    assert_int_equal(config_forward_parse(&forward, false, longest, why), 0);
    config_forward_clear(&forward);
    memcpy(longest + 5 + 107, "x -> home x:1", 14);
    assert_int_equal(config_forward_parse(&forward, false, longest, why), ADIT_EFORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forwards_are_parsed),
        cmocka_unit_test(the_first_route_decides),
        cmocka_unit_test(no_exit_is_needed_where_routes_cover_everything),
        cmocka_unit_test(direct_connections),
        cmocka_unit_test(both_kinds),
        cmocka_unit_test(a_peer_that_was_not_met_yet),
        cmocka_unit_test(a_refusal_says_what_to_do_and_is_asked_again),
        cmocka_unit_test(a_refusal_and_a_lost_path),
        cmocka_unit_test(what_was_not_asked_for_is_refused),
        cmocka_unit_test(a_reload_that_fails_changes_nothing),
        cmocka_unit_test(brokers_go_with_the_forward),
        cmocka_unit_test(what_comes_back_has_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
