/* SPDX-License-Identifier: MIT */
/*
 * coturn (coturn.h), as the TURN client is told of it.
 */
#ifndef ADIT_TESTS_TURN_COTURN_H
#define ADIT_TESTS_TURN_COTURN_H

#include "coturn.h"
#include "pipe_recorder.h"
#include "stun/turn.h"

#define REQUIRE_COTURN()            \
    do {                            \
        (void)state;                \
        if (!coturn_is_installed()) \
            skip();                 \
    } while (0)

static inline struct turn_server coturn_server(const struct coturn *coturn,
                                               enum server_transport transport, int family)
{
    struct turn_server server = {
        .server = {.transport = transport,
                   .is_turn = true,
                   .port = transport == SERVER_TLS ? coturn->tls_port : coturn->port},
        .login = {.user = COTURN_USER, .password = COTURN_PASSWORD},
        .leg = LEG_OPTIONS_DEFAULT};

    strcpy(server.server.host, family == AF_INET6 ? "::1" : "127.0.0.1");
    return server;
}

/* Turns the loop until what is closed has ended: connections of legs. Frees it. */
static inline void settle(struct loop *loop)
{
    for (int i = 0; i < 10; i++)
        loop_turn(loop, 5 * MS_US);
    loop_free(loop);
}

/* That, and nothing may be left. */
static inline void finish(struct loop *loop)
{
    settle(loop);
    assert_int_equal(block_total_bytes(), 0);
}

#endif
