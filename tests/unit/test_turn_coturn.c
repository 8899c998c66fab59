/* SPDX-License-Identifier: MIT */
/* Theory of operation: the TURN client against a real coturn on the loopback: legs and families,
 * data both ways, lifetimes that run out, restarts, refusals and their words. */
#include <signal.h>

#include "crypto/tls_client.h"
#include "stun/turn_ordered.h"
#include "turn_coturn.h"
#include "turn_told.h"

/* A client at one server, up. */
static void client_up(struct client *client, struct loop *loop, const struct turn_server *server,
                      const struct turn_request *request)
{
    struct turn_settings settings = {.servers = server, .count = 1, .request = *request};

    client_begin(client, loop, &settings);
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

/* Two at one server. */
static void both_up(struct client *a, struct client *b, struct loop *loop,
                    const struct turn_server *server, const struct turn_request *request)
{
    client_up(a, loop, server, request);
    client_up(b, loop, server, request);
}

static void both_close(struct client *a, struct client *b, struct loop *loop)
{
    client_close(a, loop);
    client_close(b, loop);
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
    if (a->moves == 0) /* coturn answers on the new leg what was asked on the old one */
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
                both_close(&a, &b, loop);
                finish(loop);
            }
        }
    }
    /* All were given back. */
    assert_int_equal(coturn_logged(&coturn, "refreshed, realm=<adit.test>, username=<user>, "
                                            "lifetime=0"),
                     16);
    coturn_stop(&coturn);
}

/* --- TLS --- */

static void make_certificate(struct coturn *coturn, char options[3][120], char ca[120])
{
    char command[600];

    snprintf(options[0], 120, "--cert=%s/cert.pem", coturn->dir);
    snprintf(options[1], 120, "--pkey=%s/key.pem", coturn->dir);
    snprintf(ca, 120, "%s/cert.pem", coturn->dir);
    snprintf(command, sizeof(command),
             "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
             "-subj /CN=turn.test -addext subjectAltName=DNS:turn.test,IP:127.0.0.1 "
             "-keyout %s/key.pem -out %s/cert.pem 2>/dev/null",
             coturn->dir, coturn->dir);
    assert_int_equal(system(command), 0);
}

static void tls_legs(void **state)
{
    REQUIRE_COTURN();
    char options[3][120], ca[120], why[TLS_CLIENT_TEXT_MAX];
    struct loop *loop = loop_new();
    struct tls_authority *authority;
    struct turn_settings settings = {.count = 1};
    struct turn_server server, other;
    struct coturn coturn;
    struct client a, b;

    coturn_init(&coturn);
    make_certificate(&coturn, options, ca);
    coturn_run(&coturn, (const char *const[]){options[0], options[1], NULL});
    authority = tls_authority_new(ca, why);
    assert_non_null(authority);
    server = coturn_server(&coturn, SERVER_TLS, AF_INET);
    server.leg.authority = authority;
    other = coturn_server(&coturn, SERVER_UDP, AF_INET);
    client_up(&a, loop, &server, &settings.request);
    client_up(&b, loop, &other, &settings.request);
    exchange(loop, &a, &b);
    both_close(&a, &b, loop);
    /* A server that is somebody else. */
    server.leg.tls_name = "other.test";
    settings.servers = &server;
    client_begin(&a, loop, &settings);
    RUN_UNTIL(loop, a.r.ends);
    assert_int_equal(a.report.trouble, TURN_UNREACHABLE);
    print_message("  %s\n", a.report.text);
    assert_non_null(strstr(a.report.text, "hostname mismatch"));
    finish(loop);
    tls_authority_free(authority);
    coturn_stop(&coturn);
}

/* --- Refusals, in words --- */

/* Opens a client that must fail; what it is told. */
static struct turn_report fails(const struct turn_server *server,
                                const struct turn_request *request, const char *words)
{
    struct turn_settings settings = {
        .servers = server, .count = 1, .request = *request, .open_timeout_ms = 2000};
    struct loop *loop = loop_new();
    struct client client;

    client_begin(&client, loop, &settings);
    RUN_UNTIL(loop, client.r.ends == 1);
    assert_int_equal(client.r.ups, 0);
    assert_true(client.r.why < 0);
    print_message("  %s\n", client.report.text);
    if (!strstr(client.report.text, words))
        fail_msg("\"%s\" is not in that", words);
    settle(loop);
    return client.report;
}

static void refusals(void **state)
{
    REQUIRE_COTURN();
    const struct turn_request plain = {0};
    struct turn_server server;
    struct coturn coturn;
    struct turn_report report;

    coturn_start(&coturn, (const char *const[]){"--no-tcp-relay", NULL});
    server = coturn_server(&coturn, SERVER_UDP, AF_INET);
    server.login.password = "wrong";
    assert_int_equal(fails(&server, &plain, "check both").trouble, TURN_WRONG_LOGIN);
    server.login.user = "nobody";
    assert_int_equal(fails(&server, &plain, "\"nobody\"").trouble, TURN_WRONG_LOGIN);
    server.login = (struct turn_login){0};
    assert_int_equal(fails(&server, &plain, "wants a user").trouble, TURN_NO_LOGIN);
    server = coturn_server(&coturn, SERVER_TCP, AF_INET);
    report = fails(&server, &(struct turn_request){.tcp = true}, "RFC 6062");
    assert_int_equal(report.trouble, TURN_NO_TRANSPORT);
    assert_int_equal(report.code, STUN_TRANSPORT_NOT_SUPPORTED);
    coturn_stop(&coturn);
    /* Nobody there: refused by ICMP, or not heard at all. */
    server.server.transport = SERVER_UDP;
    assert_int_equal(fails(&server, &plain, "does not answer").trouble, TURN_SILENT);
    server.server.transport = SERVER_TCP;
    assert_int_equal(fails(&server, &plain, "refused").trouble, TURN_UNREACHABLE);
}

static void quotas(void **state)
{
    REQUIRE_COTURN();
    const struct turn_request plain = {0};
    struct turn_settings settings = {.count = 1};
    struct loop *loop = loop_new();
    struct turn_server server;
    struct coturn coturn;
    struct client a;

    coturn_start(&coturn, (const char *const[]){"--user-quota=1", NULL});
    server = coturn_server(&coturn, SERVER_UDP, AF_INET);
    client_up(&a, loop, &server, &plain);
    assert_int_equal(fails(&server, &plain, "as many allocations").trouble, TURN_QUOTA);
    client_close(&a, loop);
    /* It was given back; coturn counts some time later. */
    settings.servers = &server;
    for (int i = 0; i < 40; i++) {
        client_begin(&a, loop, &settings);
        RUN_UNTIL(loop, a.r.ups == 1 || a.r.ends == 1);
        if (a.r.ups)
            break;
        loop_turn(loop, 250 * MS_US);
    }
    assert_int_equal(a.r.ups, 1);
    client_close(&a, loop);
    finish(loop);
    coturn_stop(&coturn);
}

static void shared_secret(void **state)
{
    REQUIRE_COTURN();
    const struct turn_request plain = {0};
    struct loop *loop = loop_new();
    struct turn_server server;
    struct coturn coturn;
    struct client a, b;

    coturn_start(&coturn, (const char *const[]){"--use-auth-secret",
                                                "--static-auth-secret=very secret", NULL});
    server = coturn_server(&coturn, SERVER_UDP, AF_INET);
    server.login = (struct turn_login){.secret = "very secret", .id = "alice"};
    both_up(&a, &b, loop, &server, &plain);
    exchange(loop, &a, &b);
    both_close(&a, &b, loop);
    server.login.secret = "another";
    assert_int_equal(fails(&server, &plain, "the secret").trouble, TURN_WRONG_LOGIN);
    server.login = (struct turn_login){.user = "1500000000:alice", .password = "whatever"};
    assert_int_equal(fails(&server, &plain, "ran out").trouble, TURN_EXPIRED_LOGIN);
    finish(loop);
    coturn_stop(&coturn);
}

/* A peer that is forbidden does not hurt the others. */
static void denied_peers(void **state)
{
    REQUIRE_COTURN();
    const struct turn_request plain = {0};
    struct loop *loop = loop_new();
    struct turn_server server;
    struct coturn coturn;
    struct client a, b;
    struct addr denied;

    coturn_start(&coturn, (const char *const[]){"--denied-peer-ip=10.0.0.0-10.255.255.255", NULL});
    server = coturn_server(&coturn, SERVER_UDP, AF_INET);
    both_up(&a, &b, loop, &server, &plain);
    addr_parse("10.1.2.3:4", &denied);
    turn_pipe_accept_peer(a.r.pipe, &denied);
    RUN_UNTIL(loop, a.refused);
    print_message("  %s\n", a.peer_report.text);
    assert_int_equal(a.peer_report.trouble, TURN_FORBIDDEN);
    assert_non_null(strstr(a.peer_report.text, "10.1.2.3"));
    addr_parse("[2001:db8::1]:4", &denied); /* not of the family that is relayed */
    turn_pipe_accept_peer(a.r.pipe, &denied);
    RUN_UNTIL(loop, a.refused == 2);
    print_message("  %s\n", a.peer_report.text);
    assert_int_equal(a.peer_report.trouble, TURN_NO_FAMILY);
    exchange(loop, &a, &b);
    both_close(&a, &b, loop);
    finish(loop);
    coturn_stop(&coturn);
}

/* --- Time --- */

/* Nonces, permissions and channels of seconds (coturn grants allocations no less than 60): not a
 * message is lost. */
static void lifetimes(void **state)
{
    REQUIRE_COTURN();
    const struct turn_request request = {.renew_s = 3};
    struct loop *loop = loop_new();
    struct turn_allocation_status status;
    struct turn_server server;
    struct coturn coturn;
    struct client a, b;
    uint64_t until;
    size_t said = 0;

    coturn_start(&coturn, (const char *const[]){"--stale-nonce=2", "--permission-lifetime=5",
                                                "--channel-lifetime=5", NULL});
    server = coturn_server(&coturn, SERVER_UDP, AF_INET);
    both_up(&a, &b, loop, &server, &request);
    exchange(loop, &a, &b);
    until = loop_now(loop) + 14 * SEC_US;
    said = a.r.messages;
    while (loop_now(loop) < until) {
        uint64_t next = loop_now(loop) + 100 * MS_US;

        say(&b, &a, "still there");
        said++;
        while (loop_now(loop) < next)
            loop_turn(loop, next - loop_now(loop));
    }
    RUN_UNTIL(loop, a.r.messages == said);
    turn_allocation_status(turn_pipe_allocation(a.r.pipe), &status);
    assert_true(status.stale_nonces >= 3);
    assert_int_equal(a.troubles + b.troubles + a.moves + b.moves, 0);
    both_close(&a, &b, loop);
    finish(loop);
    coturn_stop(&coturn);
}

/* coturn is killed and runs again: the client notices, and has a new allocation; traffic goes on
 * when the peers are told. */
static void restart(void **state)
{
    REQUIRE_COTURN();
    const struct turn_request plain = {0};
    static const enum server_transport transports[] = {SERVER_UDP, SERVER_TCP};

    for (int t = 0; t < 2; t++) {
        struct loop *loop = loop_new();
        struct turn_server server;
        struct coturn coturn;
        struct client a, b;
        uint64_t killed;

        coturn_start(&coturn, NULL);
        server = coturn_server(&coturn, transports[t], AF_INET);
        both_up(&a, &b, loop, &server, &plain);
        exchange(loop, &a, &b);
        coturn_kill(&coturn);
        killed = loop_refresh(loop);
        coturn_run(&coturn, NULL);
        RUN_UNTIL(loop, a.moves == 1 && b.moves == 1);
        print_message("  %s: a new allocation %lu ms after the old server was killed: %s\n",
                      server_transport_name(transports[t]),
                      (unsigned long)((loop_now(loop) - killed) / 1000), a.report.text);
        assert_true(loop_now(loop) - killed < 8 * SEC_US);
        exchange(loop, &a, &b);
        both_close(&a, &b, loop);
        finish(loop);
        coturn_stop(&coturn);
    }
}

/* The server dies; the second one is used in less than three seconds, idle or not. */
static void fail_over(void **state)
{
    REQUIRE_COTURN();
    static const enum server_transport transports[] = {SERVER_UDP, SERVER_TCP};
    struct coturn coturns[2];

    for (int t = 0; t < 2; t++) {
        for (int busy = 0; busy < 2; busy++) {
            struct loop *loop = loop_new();
            struct turn_server servers[2];
            struct turn_settings settings = {.servers = servers, .count = 2};
            struct client a;
            struct addr peer = addr_loopback(AF_INET, 9);
            uint64_t killed;

            coturn_start(&coturns[0], NULL);
            coturn_start(&coturns[1], NULL);
            for (int i = 0; i < 2; i++)
                servers[i] = coturn_server(&coturns[i], transports[t], AF_INET);
            servers[0].leg.pipe.linger_ms = 10; /* a process that is stopped confirms nothing */
            client_begin(&a, loop, &settings);
            RUN_UNTIL(loop, a.r.ups);
            assert_int_equal(turn_pipe_server(a.r.pipe), 0);
            turn_pipe_relayed(a.r.pipe, 0, &a.relayed);
            turn_pipe_accept_peer(a.r.pipe, &peer);
            RUN_UNTIL(loop, a.granted);
            /* On TCP a killed process is told of; a machine that is gone is not. */
            kill(coturns[0].pid, SIGSTOP);
            killed = loop_refresh(loop);
            while (!a.moves) {
                struct slice slice = slice_copy("x", 1);

                if (busy)
                    pipe_write_to(a.r.pipe, &slice, &peer);
                else
                    slice_drop(&slice);
                loop_turn(loop, 10 * MS_US);
                assert_true(loop_now(loop) - killed < 10 * SEC_US);
            }
            print_message("  %s, %s: the second server after %lu ms\n",
                          server_transport_name(transports[t]), busy ? "busy" : "idle",
                          (unsigned long)((loop_now(loop) - killed) / 1000));
            assert_true(loop_now(loop) - killed < 3 * SEC_US);
            assert_int_equal(turn_pipe_server(a.r.pipe), 1);
            client_close(&a, loop);
            finish(loop);
            coturn_stop(&coturns[0]);
            coturn_stop(&coturns[1]);
        }
    }
}

/* Bad servers in front of a good one; and all of them at once. */
static void several_servers(void **state)
{
    REQUIRE_COTURN();
    struct coturn coturn;

    coturn_start(&coturn, NULL);
    for (int race = 0; race < 2; race++) {
        struct loop *loop = loop_new();
        struct turn_server servers[4];
        struct turn_settings settings = {.servers = servers, .count = 4, .race = race};
        struct client a;
        uint64_t begun = loop_now(loop);

        for (int i = 0; i < 4; i++)
            servers[i] = coturn_server(&coturn, SERVER_UDP, AF_INET);
        servers[0].login.password = "wrong";
        servers[1].server.port = 9; /* nobody */
        servers[2].server.transport = SERVER_TCP;
        servers[2].server.port = 9;
        client_begin(&a, loop, &settings);
        RUN_UNTIL(loop, a.r.ups);
        assert_int_equal(turn_pipe_server(a.r.pipe), 3);
        assert_true(loop_now(loop) - begun < (race ? 500 : 2500) * MS_US);
        client_close(&a, loop);
        finish(loop);
    }
    coturn_stop(&coturn);
}

/* --- Mobility: the allocation follows to another port --- */

static void mobility(void **state)
{
    REQUIRE_COTURN();
    const struct turn_request request = {.mobility = true};
    struct loop *loop = loop_new();
    struct turn_allocation_status status;
    struct addr before, after, ports[2];
    struct turn_server server;
    struct coturn coturn;
    struct client a, b;

    coturn_start(&coturn, (const char *const[]){"--mobility", NULL});
    server = coturn_server(&coturn, SERVER_UDP, AF_INET);
    both_up(&a, &b, loop, &server, &request);
    turn_allocation_status(turn_pipe_allocation(a.r.pipe), &status);
    assert_true(status.has_ticket);
    exchange(loop, &a, &b);
    for (int i = 1; i <= 3; i++) {
        before = a.relayed;
        turn_allocation_addrs(turn_pipe_allocation(a.r.pipe), &ports[0], NULL);
        turn_pipe_check(a.r.pipe);
        RUN_UNTIL(loop, a.moves == i);
        turn_pipe_relayed(a.r.pipe, 0, &after);
        assert_true(addr_equal(&before, &after));
        turn_allocation_addrs(turn_pipe_allocation(a.r.pipe), &ports[1], NULL);
        assert_int_not_equal(ports[0].port, ports[1].port);
        exchange(loop, &a, &b);
    }
    assert_int_equal(a.nones, 0);
    both_close(&a, &b, loop);
    finish(loop);
    coturn_stop(&coturn);
}

/* --- The ordered pipe --- */

#define FILE_BYTES   ((size_t)100 * 1000 * 1000)
#define FILE_MESSAGE 65536

struct file {
    struct pipe *pipe;
    size_t bytes;
    uint64_t state; /* of the generator */
    bool wrong;
};

/* The next bytes of an endless file, a word at a time. */
static void file_next(struct file *file, uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        file->state = file->state * 6364136223846793005u + 1442695040888963407u;
        memcpy(bytes + i, &file->state, 8);
    }
    file->bytes += len;
}

static void on_file(struct pipe *pipe, const struct slice *data, const struct addr *from, void *arg)
{
    static uint8_t bytes[FILE_MESSAGE];
    struct file *file = arg;

    (void)pipe;
    (void)from;
    if (data->len != sizeof(bytes)) {
        file->wrong = true;
        return;
    }
    file_next(file, bytes, data->len);
    file->wrong |= memcmp(bytes, data->data, data->len) != 0;
}

static double seconds_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void send_file(const struct coturn *coturn, enum server_transport transport, size_t size)
{
    static const struct pipe_events events = {.message = on_file};
    struct loop *loop = loop_new();
    struct turn_server server = coturn_server(coturn, transport, AF_INET);
    struct turn_request request = {0};
    struct client a, b;
    struct file out = {0}, in = {0};
    struct turn_ordered_status status;
    double started;

    both_up(&a, &b, loop, &server, &request);
    turn_pipe_accept_peer(b.r.pipe, &a.relayed);
    turn_pipe_accept_peer(a.r.pipe, &b.relayed);
    pipe_del_listener(a.r.pipe, &recorder_events, &a.r);
    pipe_del_listener(b.r.pipe, &recorder_events, &b.r);
    out.pipe = turn_ordered_open(a.r.pipe, NULL);
    in.pipe = turn_ordered_open(b.r.pipe, NULL);
    record(&a.r, out.pipe);
    record(&b.r, in.pipe);
    pipe_add_listener(in.pipe, &events, &in);
    started = seconds_now();
    while (in.bytes < size && !in.wrong) {
        while (out.bytes < size && pipe_room(out.pipe) >= FILE_MESSAGE) {
            struct slice slice = {block_new_sized(FILE_MESSAGE), NULL, FILE_MESSAGE};

            slice.data = block_start(slice.block);
            file_next(&out, slice.data, FILE_MESSAGE);
            pipe_write_to(out.pipe, &slice, &b.relayed);
        }
        loop_turn(loop, 20 * MS_US);
        if (seconds_now() - started > 120)
            fail_msg("only %zu bytes in two minutes", in.bytes);
    }
    started = seconds_now() - started;
    assert_false(in.wrong);
    assert_int_equal(turn_ordered_status(out.pipe, &b.relayed, &status), 0);
    print_message("%s: %.1f MB/s, %lu packets, %.2f %% sent again, round trip %lu us\n",
                  server_transport_name(transport), (double)in.bytes / 1e6 / started,
                  (unsigned long)status.sent, 100.0 * (double)status.resent / (double)status.sent,
                  (unsigned long)status.rtt_us);
    pipe_close(out.pipe);
    pipe_close(in.pipe);
    RUN_UNTIL(loop, a.r.ends && b.r.ends);
    finish(loop);
}

static void files(void **state)
{
    REQUIRE_COTURN();
    struct coturn coturn;

    coturn_start(&coturn, NULL);
    send_file(&coturn, SERVER_UDP, FILE_BYTES);
    send_file(&coturn, SERVER_TCP, FILE_BYTES / 4);
    coturn_stop(&coturn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legs_and_families), cmocka_unit_test(tls_legs),
        cmocka_unit_test(refusals),          cmocka_unit_test(quotas),
        cmocka_unit_test(shared_secret),     cmocka_unit_test(denied_peers),
        cmocka_unit_test(lifetimes),         cmocka_unit_test(restart),
        cmocka_unit_test(fail_over),         cmocka_unit_test(several_servers),
        cmocka_unit_test(mobility),          cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
