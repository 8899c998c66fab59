/* SPDX-License-Identifier: MIT */
/* Theory of operation: TCP allocations (RFC 6062) against a real coturn on the loopback:
 * connections to peers that listen, and to one that does not; and from a peer that speaks at once.
 */
#include "pipe/tcp.h"
#include "stun/turn_tcp.h"
#include "turn_coturn.h"

struct tcp_client {
    struct turn_allocation *allocation;
    struct recorder r;
    struct turn_report report;
    int up, ended, done, attempts;
    uint32_t connection;
    struct addr peer;
};

static void tcp_up(struct turn_allocation *allocation, void *arg)
{
    (void)allocation;
    ((struct tcp_client *)arg)->up++;
}

static void tcp_peer(struct turn_allocation *allocation, const struct addr *peer,
                     const struct turn_report *report, void *arg)
{
    (void)allocation;
    (void)peer;
    ((struct tcp_client *)arg)->report = *report;
    ((struct tcp_client *)arg)->up++;
}

static void tcp_end(struct turn_allocation *allocation, const struct turn_report *report, void *arg)
{
    struct tcp_client *client = arg;

    (void)allocation;
    client->report = *report;
    client->ended++;
}

static void tcp_done(void *arg, struct pipe *pipe, struct slice *surplus,
                     const struct turn_report *report)
{
    struct tcp_client *client = arg;

    client->done++;
    client->report = *report;
    if (!pipe)
        return;
    record(&client->r, pipe);
    turn_tcp_start(pipe, surplus);
}

static void tcp_attempt(struct turn_allocation *allocation, uint32_t connection,
                        const struct addr *peer, void *arg)
{
    struct tcp_client *client = arg;

    client->attempts++;
    client->peer = *peer;
    assert_non_null(turn_tcp_answer(allocation, connection, tcp_done, client));
}

/* A megabyte one way, and its sum. */
static void pour(struct loop *loop, struct pipe *from, struct recorder *to)
{
    uint8_t bytes[1000];
    size_t start = to->bytes;

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    to->sum = 0;
    for (size_t n = 0; n < 1000;) {
        for (; n < 1000 && pipe_room(from) > sizeof(bytes); n++)
            pipe_write_copy(from, bytes, sizeof(bytes));
        loop_turn(loop, MS_US);
    }
    RUN_UNTIL(loop, to->bytes == start + 1000 * sizeof(bytes));
}

/* Active: to a peer that listens; and to one that does not. */
static void to_peers(struct loop *loop, struct tcp_client *a, struct recorder *listener)
{
    struct addr at = addr_loopback(AF_INET, 0), nobody = addr_loopback(AF_INET, 9);
    struct recorder peer = {0};

    record(listener, tcp_listen(loop, &at, NULL));
    pipe_addrs(listener->pipe, &at, NULL);
    assert_non_null(turn_tcp_connect(a->allocation, &at, tcp_done, a));
    RUN_UNTIL(loop, a->done == 1 && listener->accepts == 1);
    assert_int_equal(a->report.trouble, TURN_FINE);
    record(&peer, listener->client);
    pour(loop, a->r.pipe, &peer);
    pour(loop, peer.pipe, &a->r);
    assert_non_null(turn_tcp_connect(a->allocation, &at, tcp_done, &(struct tcp_client){0}));
    assert_non_null(turn_tcp_connect(a->allocation, &nobody, tcp_done, a));
    RUN_UNTIL(loop, a->done == 2);
    print_message("  %s\n", a->report.text);
    assert_int_equal(a->report.trouble, TURN_PEER_FAILED);
    pipe_close(peer.pipe);
    RUN_UNTIL(loop, a->r.eofs || a->r.ends);
    if (a->r.pipe)
        pipe_close(a->r.pipe);
    RUN_UNTIL(loop, a->r.ends && peer.ends);
    memset(&a->r, 0, sizeof(a->r));
}

/* Passive: the peer connects in, and speaks at once. */
static void from_peer(struct loop *loop, struct tcp_client *a)
{
    struct recorder peer = {0};
    struct addr relayed;

    turn_allocation_relayed(a->allocation, 0, &relayed);
    a->up = 0;
    turn_allocation_permit(a->allocation, &relayed);
    RUN_UNTIL(loop, a->up);
    record(&peer, tcp_open(loop, &relayed, NULL));
    write_text(peer.pipe, "first words");
    RUN_UNTIL(loop, a->done == 3);
    assert_int_equal(a->report.trouble, TURN_FINE);
    RUN_UNTIL(loop, a->r.bytes == 11);
    assert_string_equal(a->r.text, "first words");
    pour(loop, a->r.pipe, &peer);
    pour(loop, peer.pipe, &a->r);
    pipe_close(a->r.pipe);
    pipe_close(peer.pipe);
    RUN_UNTIL(loop, peer.ends && a->r.ends);
}

static void tcp_allocations(void **state)
{
    REQUIRE_COTURN();
    static const struct turn_allocation_events events = {
        .up = tcp_up, .peer = tcp_peer, .attempt = tcp_attempt, .end = tcp_end};
    struct loop *loop = loop_new();
    struct recorder listener = {0};
    struct tcp_client a = {0};
    struct turn_server server;
    struct coturn coturn;

    coturn_start(&coturn, NULL);
    server = coturn_server(&coturn, SERVER_TCP, AF_INET);
    a.allocation =
        turn_allocation_open(loop, &server, &(struct turn_request){.tcp = true}, &events, &a);
    RUN_UNTIL(loop, a.up || a.ended);
    assert_int_equal(a.ended, 0);
    to_peers(loop, &a, &listener);
    from_peer(loop, &a);
    pipe_close(listener.pipe);
    turn_allocation_release(a.allocation);
    RUN_UNTIL(loop, a.ended && listener.ends);
    assert_int_equal(a.report.trouble, TURN_FINE);
    finish(loop);
    coturn_stop(&coturn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
