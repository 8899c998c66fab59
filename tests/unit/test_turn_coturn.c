/* SPDX-License-Identifier: MIT */
/* Theory of operation: the TURN client against a real coturn on the loopback: legs and families,
 * data both ways, lifetimes that run out, restarts, refusals and their words. */
#include "turn_coturn.h"
#include "pipe/udp.h"
#include "stun/turn_pipe.h"

#define REQUIRE_COTURN()            \
    do {                            \
        (void)state;                \
        if (!coturn_is_installed()) \
            skip();                 \
    } while (0)

struct client {
    struct recorder r;
    struct addr relayed;
    struct turn_report report; /* as told with the end */
    int moves, nones, troubles, granted, refused;
    struct turn_report peer_report;
};

static void on_moved(struct pipe *pipe, void *arg)
{
    struct client *client = arg;

    client->moves++;
    turn_pipe_relayed(pipe, 0, &client->relayed);
}

static void on_none(struct pipe *pipe, void *arg)
{
    (void)pipe;
    ((struct client *)arg)->nones++;
}

static void on_trouble(struct pipe *pipe, size_t server, const struct turn_report *report,
                       void *arg)
{
    (void)pipe;
    (void)server;
    ((struct client *)arg)->troubles++;
    ((struct client *)arg)->report = *report;
}

static void on_peer(struct pipe *pipe, const struct addr *peer, const struct turn_report *report,
                    void *arg)
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

static void on_end(struct pipe *pipe, int why, void *arg)
{
    (void)why;
    ((struct client *)arg)->report = *turn_pipe_report(pipe);
}

static void client_open(struct client *client, struct loop *loop,
                        const struct turn_settings *settings)
{
    static const struct turn_pipe_events turn_events = {
        .moved = on_moved, .none = on_none, .trouble = on_trouble, .peer = on_peer};
    static const struct pipe_events events = {.end = on_end};

    memset(client, 0, sizeof(*client));
    record(&client->r, turn_pipe_open(loop, settings));
    pipe_add_listener(client->r.pipe, &events, client);
    turn_pipe_set_events(client->r.pipe, &turn_events, client);
}

/* A client at one server, up. */
static void client_up(struct client *client, struct loop *loop, const struct turn_server *server,
                      const struct turn_request *request)
{
    struct turn_settings settings = {.servers = server, .count = 1, .request = *request};

    client_open(client, loop, &settings);
    RUN_UNTIL(loop, client->r.ups == 1 || client->r.ends == 1);
    if (client->r.ends)
        fail_msg("%s", client->report.text);
    assert_int_equal(turn_pipe_relayed(client->r.pipe, 0, &client->relayed), 0);
}

static void client_close(struct client *client, struct loop *loop)
{
    pipe_close(client->r.pipe);
    RUN_UNTIL(loop, client->r.ends == 1);
    assert_int_equal(client->r.why, 0);
}

static void say(struct client *from, const struct client *to, const char *text)
{
    struct slice slice = slice_copy(text, strlen(text));

    pipe_write_to(from->r.pipe, &slice, &to->relayed);
}

/* Messages both ways, by indications and then by channels. */
static void exchange(struct loop *loop, struct client *a, struct client *b)
{
    struct turn_allocation_status status;
    size_t before_a = a->r.messages, before_b = b->r.messages;

    turn_pipe_accept_peer(a->r.pipe, &b->relayed);
    turn_pipe_accept_peer(b->r.pipe, &a->relayed);
    RUN_UNTIL(loop, a->granted && b->granted);
    for (size_t i = 1; i <= 20; i++) {
        say(a, b, "hello b");
        RUN_UNTIL(loop, b->r.messages == before_b + i);
        say(b, a, "hello a, odd");
        RUN_UNTIL(loop, a->r.messages == before_a + i);
    }
    assert_true(addr_equal(&a->r.from, &b->relayed));
    assert_true(addr_equal(&b->r.from, &a->relayed));
    turn_allocation_status(turn_pipe_allocation(a->r.pipe), &status);
    assert_int_equal(status.channels, 1);
    assert_int_equal(status.permissions, 1);
    assert_int_equal(status.stray, 0);
    assert_int_equal(turn_pipe_dropped(a->r.pipe), 0);
}

static void legs_and_families(void **state)
{
    REQUIRE_COTURN();
    static const enum server_transport transports[] = {SERVER_UDP, SERVER_TCP};
    static const int families[] = {AF_INET, AF_INET6};
    struct coturn coturn;

    coturn_start(&coturn, NULL);
    for (int t = 0; t < 2; t++) {
        for (int leg = 0; leg < 2; leg++) {
            for (int relayed = 0; relayed < 2; relayed++) {
                struct loop *loop = loop_new();
                struct turn_server server = coturn_server(&coturn, transports[t], families[leg]);
                struct turn_server other = coturn_server(&coturn, SERVER_UDP, AF_INET);
                struct turn_request request = {.family = families[relayed]};
                struct client a, b;

                client_up(&a, loop, &server, &request);
                client_up(&b, loop, &other, &request);
                assert_int_equal(a.relayed.family, families[relayed]);
                exchange(loop, &a, &b);
                client_close(&a, loop);
                client_close(&b, loop);
                loop_free(loop);
                assert_int_equal(block_total_bytes(), 0);
            }
        }
    }
    /* All were given back. */
    assert_int_equal(coturn_logged(&coturn, "refreshed, realm=<adit.test>, username=<user>, "
                                            "lifetime=0"),
                     16);
    coturn_stop(&coturn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legs_and_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
