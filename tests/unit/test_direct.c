/* SPDX-License-Identifier: MIT */
/*
 * Direct over loopback: order of addresses, the first proven wins, the wrong key and silent
 * addresses are passed over, names are looked up, and failures tell the most telling reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/tls_context.h"
#include "pipe/tcp.h"
#include "pipe/tls.h"
#include "strategy/direct.h"

/* A peer that accepts and proves its key. */
struct server {
    struct pipe *listener;
    struct addr addr;
    struct tls_context *tls; /* NULL: accepts and says nothing */
    struct pipe *clients[8];
    size_t count;
};

#define PATIENCE_MS 5000 /* for connecting and TLS, where they must succeed */

struct fixture {
    struct loop *loop;
    struct identity *own, *peer, *other;
    struct tls_context *own_tls, *peer_tls, *other_tls;
    struct strategy_env env;
    struct attempt *attempt;
    /* what was told */
    uint32_t paths, overs;
    int why;
    char text[ATTEMPT_TEXT_MAX];
    uint64_t proven_at;
};

static void on_client_end(struct pipe *pipe, int why, void *arg)
{
    struct server *server = arg;

    (void)why;
    for (size_t i = 0; i < server->count; i++)
        if (server->clients[i] == pipe)
            server->clients[i] = NULL;
}

static const struct pipe_events client_events = {.end = on_client_end};

static void on_accept(struct pipe *listener, struct pipe *client, void *arg)
{
    struct server *server = arg;

    assert_true(server->count < 8);
    tcp_release(client);
    if (server->tls) {
        struct loop *loop = listener->loop;
        int fd = tcp_take_fd(client);

        assert_true(fd >= 0);
        client = tls_accept(loop, server->tls, fd, NULL);
        assert_non_null(client);
    }
    pipe_add_listener(client, &client_events, server);
    server->clients[server->count++] = client;
}

static const struct pipe_events server_events = {.accept = on_accept};

static void server_begin(struct server *server, struct fixture *f, struct tls_context *tls)
{
    struct addr at = addr_loopback(AF_INET, 0);

    memset(server, 0, sizeof(*server));
    server->tls = tls;
    server->listener = tcp_listen(f->loop, &at, NULL);
    assert_non_null(server->listener);
    pipe_add_listener(server->listener, &server_events, server);
    assert_int_equal(pipe_addrs(server->listener, &server->addr, NULL), 0);
}

static void server_end(struct server *server)
{
    pipe_del_listener(server->listener, &server_events, server);
    pipe_close(server->listener);
    for (size_t i = 0; i < server->count; i++)
        if (server->clients[i])
            pipe_abort(server->clients[i], -ECANCELED);
}

static void on_proven(void *arg, struct pipe *pipe, const char *candidate)
{
    struct fixture *f = arg;

    f->paths++;
    f->proven_at = loop_now(f->loop);
    snprintf(f->text, sizeof(f->text), "%s", candidate);
    assert_true(pipe_is_up(pipe));
    assert_true(node_id_equal(tls_peer(pipe), identity_id(f->peer)));
    pipe_abort(pipe, -ECANCELED);
    strategy_direct.cancel(f->attempt);
    f->attempt = NULL;
}

static void on_over(void *arg, int why, const char *text)
{
    struct fixture *f = arg;

    f->overs++;
    f->why = why;
    snprintf(f->text, sizeof(f->text), "%s", text);
    f->attempt = NULL;
}

static const struct attempt_events events = {.proven = on_proven, .over = on_over};

static void begin(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->loop = loop_new();
    f->own = identity_generate();
    f->peer = identity_generate();
    f->other = identity_generate();
    f->own_tls = tls_context_new(f->own);
    f->peer_tls = tls_context_new(f->peer);
    f->other_tls = tls_context_new(f->other);
    f->env = (struct strategy_env){.loop = f->loop,
                                   .tls = f->own_tls,
                                   .connect_ms = PATIENCE_MS,
                                   .tls_ms = PATIENCE_MS,
                                   .spacing_us = 50 * MS_US};
}

static void drain(struct fixture *f)
{
    for (int i = 0; i < 50; i++)
        loop_turn(f->loop, MS_US);
}

static void end(struct fixture *f)
{
    drain(f);
    tls_context_free(f->own_tls);
    tls_context_free(f->peer_tls);
    tls_context_free(f->other_tls);
    identity_free(f->own);
    identity_free(f->peer);
    identity_free(f->other);
    loop_free(f->loop);
}

/* Runs an attempt at these places until something was told. */
static const char *try_at(struct fixture *f, const struct candidate *candidates, size_t count)
{
    struct strategy_peer peer = {
        .id = identity_id(f->peer), .candidates = candidates, .candidate_count = count};
    const char *why = NULL;
    uint64_t limit = loop_refresh(f->loop) + 60 * SEC_US;

    f->paths = f->overs = 0;
    f->attempt = strategy_direct.start(&f->env, &peer, &events, f, &why);
    while (f->attempt && loop_now(f->loop) < limit)
        loop_turn(f->loop, 100 * MS_US);
    assert_null(f->attempt);
    return why;
}

static struct candidate at_addr(const struct addr *addr)
{
    return (struct candidate){.target = {.addr = *addr, .port = addr->port}, .origin = "ticket"};
}

static struct candidate at_text(const char *text)
{
    struct candidate candidate = {.origin = "ticket"};

    assert_int_equal(target_parse(text, &candidate.target), 0);
    return candidate;
}

static void order(void **state)
{
    static const char *const given[] = {
        "[2001:db8::1]:1", "[2001:db8::2]:1", "10.0.0.1:1",  "0.0.0.0:1",  "[::ffff:10.0.0.1]:1",
        "10.0.0.2:1",      "224.0.0.1:1",     "[fe80::1]:1", "10.0.0.3:0", "10.0.0.4:1"};
    static const char *const expected[] = {"[2001:db8::1]:1", "10.0.0.1:1", "[2001:db8::2]:1",
                                           "10.0.0.2:1", "10.0.0.4:1"};
    struct addr addrs[sizeof(given) / sizeof(*given)];
    char text[ADDR_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(given) / sizeof(*given); i++)
        assert_int_equal(addr_parse(given[i], &addrs[i]), 0);
    assert_int_equal(direct_order(addrs, sizeof(given) / sizeof(*given)), 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(addr_format(&addrs[i], text), expected[i]);
    assert_int_equal(direct_order(addrs, 0), 0);
}

static void proven(void **state)
{
    struct fixture f;
    struct server server, silent, wrong;
    struct candidate candidates[4];
    struct addr closed = addr_loopback(AF_INET, 1);
    char text[ADDR_TEXT_MAX];

    (void)state;
    begin(&f);
    server_begin(&server, &f, f.peer_tls);
    server_begin(&silent, &f, NULL);
    server_begin(&wrong, &f, f.other_tls);
    candidates[0] = at_addr(&closed);
    candidates[1] = at_addr(&silent.addr);
    candidates[2] = at_addr(&wrong.addr);
    candidates[3] = at_addr(&server.addr);
    uint64_t began = loop_refresh(f.loop);
    assert_null(try_at(&f, candidates, 4));
    assert_int_equal(f.paths, 1);
    assert_string_equal(f.text, addr_format(&server.addr, text));
    /* the closed port and the wrong node cost nothing, the silent one its spacing */
    assert_in_range(f.proven_at - began, 49 * MS_US, (PATIENCE_MS - 50) * MS_US);
    server_end(&server);
    server_end(&silent);
    server_end(&wrong);
    end(&f);
}

static void failed(void **state)
{
    struct fixture f;
    struct server silent;
    struct addr closed = addr_loopback(AF_INET, 1);
    struct candidate candidates[2];

    (void)state;
    begin(&f);
    server_begin(&silent, &f, NULL);
    candidates[0] = at_addr(&closed);
    candidates[1] = at_addr(&silent.addr);
    try_at(&f, candidates, 1);
    assert_int_equal(f.overs, 1);
    assert_int_equal(f.why, -ECONNREFUSED);
    f.env.connect_ms = f.env.tls_ms = 100; /* nobody will answer */
    try_at(&f, candidates, 2);
    assert_int_equal(f.overs, 1);
    assert_true(f.why < 0);
    f.env.connect_ms = f.env.tls_ms = PATIENCE_MS;
    assert_non_null(strstr(try_at(&f, candidates, 0), "no address of the peer is known"));
    /* an interface that is not there */
    f.env.interface_count = 1;
    strcpy(f.env.interfaces[0], "no-such-if");
    try_at(&f, candidates, 1);
    assert_int_equal(f.overs, 1);
    assert_non_null(strstr(f.text, "by no-such-if"));
    server_end(&silent);
    end(&f);
}

/* --- Names --- */

struct fake_lookup {
    struct fixture *f;
    struct defer defer;
    strategy_resolved_cb *done;
    void *arg;
    bool found;
};

static void on_lookup(void *arg)
{
    struct fake_lookup *lookup = arg, copy = *lookup;
    struct addr addr = addr_loopback(AF_INET, 0);

    free(lookup);
    copy.done(copy.arg, &addr, copy.found ? 1 : 0, copy.found ? NULL : "no such host name");
}

static void *fake_start(void *owner, const char *name, strategy_resolved_cb *done, void *arg)
{
    struct fake_lookup *lookup = calloc(1, sizeof(*lookup));

    lookup->f = owner;
    lookup->done = done;
    lookup->arg = arg;
    lookup->found = strcmp(name, "peer.test") == 0;
    defer_init(&lookup->defer, on_lookup, lookup);
    if (strcmp(name, "never.test") != 0)
        defer_soon(lookup->f->loop, &lookup->defer);
    return lookup;
}

static void fake_cancel(void *owner, void *handle)
{
    struct fake_lookup *lookup = handle;

    (void)owner;
    defer_cancel(lookup->f->loop, &lookup->defer);
    free(lookup);
}

static void names(void **state)
{
    struct fixture f;
    struct server server;
    struct candidate candidates[2];
    char text[64];

    (void)state;
    begin(&f);
    server_begin(&server, &f, f.peer_tls);
    snprintf(text, sizeof(text), "peer.test:%u", server.addr.port);
    candidates[0] = at_text("never.test:1");
    candidates[1] = at_text(text);
    /* without a resolver names are passed over */
    assert_non_null(try_at(&f, candidates, 2));
    f.env.resolver = (struct strategy_resolver){fake_start, fake_cancel, &f};
    assert_null(try_at(&f, candidates, 2));
    assert_int_equal(f.paths, 1);
    candidates[0] = at_text("absent.test:1");
    try_at(&f, candidates, 1);
    assert_int_equal(f.overs, 1);
    assert_string_equal(f.text, "absent.test: no such host name");
    server_end(&server);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),
        cmocka_unit_test(proven),
        cmocka_unit_test(failed),
        cmocka_unit_test(names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
