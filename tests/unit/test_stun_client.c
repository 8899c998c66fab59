/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the STUN client and the discovery of what a NAT does: against servers made
 * by hand, which answer garbage, late, twice, from elsewhere, or never, and which tell what
 * addresses a NAT of each kind would give and what it would let in; and against a real coturn.
 */
#include "pipe_recorder.h"

#include <arpa/inet.h>

#include "coturn.h"
#include "tls_server.h"

#include "base/log.h"
#include "crypto/tls_client.h"
#include "pipe/udp.h"
#include "stun/behaviour.h"
#include "stun/client.h"
#include "stun/integrity.h"

/* --- A server made by hand: two addresses, two ports --- */

enum manner { GOOD, GARBAGE, LATE, TWICE, ELSEWHERE, NEVER, ERROR, EMPTY, OTHER_ID };

struct fake {
    struct loop *loop;
    struct pipe *udp[2][2];
    struct addr at[2][2];
    enum manner manner;
    enum behaviour_mapping mapping;
    enum behaviour_filtering filtering;
    bool offers;         /* OTHER-ADDRESS */
    bool ignores_change; /* answers CHANGE-REQUEST from where it was asked */
    bool refuses_change; /* with 420 */
    bool second_silent;  /* nothing comes back from the second address */
    size_t requests;
    int dead; /* bits: addresses that do not answer */
};

static void fake_reply(struct fake *fake, int ip, int port, const uint8_t *bytes, size_t len,
                       const struct addr *to)
{
    struct slice slice = slice_copy(bytes, len);

    pipe_write_to(fake->udp[ip][port], &slice, to);
}

/* What the source looks like behind the NAT that is pretended. */
static struct addr fake_mapped(const struct fake *fake, int ip, int port, const struct addr *from)
{
    struct addr mapped = *from;

    if (fake->mapping == BEHAVIOUR_MAPPING_NONE)
        return mapped;
    if (from->family == AF_INET)
        addr_parse_ip("203.0.113.1", &mapped);
    else
        addr_parse_ip("2001:db8::1", &mapped);
    mapped.port = 40000;
    if (fake->mapping == BEHAVIOUR_MAPPING_ADDRESS)
        mapped.port = (uint16_t)(40000 + ip);
    if (fake->mapping == BEHAVIOUR_MAPPING_ADDRESS_PORT)
        mapped.port = (uint16_t)(40000 + 2 * ip + 2 * port);
    return mapped;
}

/* Whether the NAT that is pretended lets in a packet from elsewhere. */
static bool fake_lets_in(const struct fake *fake, unsigned change)
{
    if (change & STUN_CHANGE_IP)
        return fake->filtering == BEHAVIOUR_FILTERING_INDEPENDENT;
    if (change & STUN_CHANGE_PORT)
        return fake->filtering != BEHAVIOUR_FILTERING_ADDRESS_PORT;
    return true;
}

static size_t fake_build(const struct fake *fake, const struct stun_message *m, int ip, int port,
                         const struct addr *from, unsigned change, uint8_t out[256])
{
    struct addr mapped = fake_mapped(fake, ip, port, from);
    struct stun_id id = m->id;
    struct stun_builder b;
    bool refuses = fake->manner == ERROR || (change && fake->refuses_change);

    if (fake->manner == OTHER_ID)
        id.bytes[0] ^= 1;
    stun_build(&b, out, 256, STUN_METHOD_BINDING, refuses ? STUN_ERROR : STUN_SUCCESS, &id);
    if (refuses)
        stun_put_error(&b, change ? 420 : 400, "no");
    else if (fake->manner != EMPTY)
        stun_put_xor_address(&b, STUN_ATTR_XOR_MAPPED_ADDRESS, &mapped);
    if (fake->offers)
        stun_put_address(&b, STUN_ATTR_OTHER_ADDRESS, &fake->at[1][1]);
    stun_put_fingerprint(&b);
    return (size_t)stun_built(&b);
}

static void fake_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                         void *arg)
{
    struct fake *fake = arg;
    uint8_t bytes[256];
    struct stun_message m;
    uint32_t change = 0;
    size_t len;
    int ip = 0, port = 0;

    for (int i = 0; i < 4; i++)
        if (fake->udp[i / 2][i % 2] == pipe) {
            ip = i / 2;
            port = i % 2;
        }
    fake->requests++;
    assert_int_equal(stun_parse_datagram(data->data, data->len, &m), 0);
    assert_int_equal(stun_check_fingerprint(&m), STUN_VERDICT_GOOD);
    stun_read_u32(stun_find(&m, STUN_ATTR_CHANGE_REQUEST), &change);
    if (fake->manner == NEVER || (fake->manner == LATE && fake->requests < 3) ||
        fake->dead & 1 << ip || (ip == 1 && fake->second_silent))
        return;
    len = fake_build(fake, &m, ip, port, from, change, bytes);
    if (fake->manner == GARBAGE) {
        static const char *const garbage[] = {"", "x", "HTTP/1.1 200 OK\r\n\r\n",
                                              "\1\1\0\4\x21\x12\xa4\x42 half a message"};
        for (int i = 0; i < 4; i++)
            fake_reply(fake, ip, port, (const uint8_t *)garbage[i], strlen(garbage[i]), from);
        uint8_t broken[256];
        memcpy(broken, bytes, len);
        broken[len - 1] ^= 1; /* the fingerprint */
        broken[30] ^= 1;
        fake_reply(fake, ip, port, broken, len, from);
        fake_reply(fake, ip, port, data->data, data->len, from); /* an echo */
    }
    if (fake->manner == ELSEWHERE && fake->requests < 3) {
        fake_reply(fake, ip, !port, bytes, len, from);
        return;
    }
    if (fake->ignores_change || fake->refuses_change)
        change = 0;
    if (!fake_lets_in(fake, change))
        return;
    fake_reply(fake, ip ^ !!(change & STUN_CHANGE_IP), port ^ !!(change & STUN_CHANGE_PORT), bytes,
               len, from);
    if (fake->manner == TWICE)
        fake_reply(fake, ip, port, bytes, len, from);
}

static const struct pipe_events fake_events = {.message = fake_message};

static void fake_start(struct fake *fake, struct loop *loop)
{
    static const char *const ips[] = {"127.0.0.1", "127.0.0.2"};

    fake->loop = loop;
    for (int i = 0; i < 4; i++) {
        int ip = i / 2, port = i % 2;

        addr_parse_ip(ips[ip], &fake->at[ip][port]);
        fake->at[ip][port].port = ip ? fake->at[0][port].port : 0;
        fake->udp[ip][port] = udp_listen(loop, &fake->at[ip][port], NULL);
        assert_non_null(fake->udp[ip][port]);
        pipe_addrs(fake->udp[ip][port], &fake->at[ip][port], NULL);
        pipe_add_listener(fake->udp[ip][port], &fake_events, fake);
    }
}

static void settle(struct loop *loop)
{
    for (int i = 0; i < 20; i++)
        loop_turn(loop, MS_US);
}

static void fake_stop(struct fake *fake)
{
    for (int i = 0; i < 4; i++)
        pipe_close(fake->udp[i / 2][i % 2]);
    settle(fake->loop);
    loop_free(fake->loop);
    assert_int_equal(block_total_bytes(), 0);
}

/* --- The client --- */

struct asked {
    int done;
    struct stun_client_result result;
    struct stun_client *client;
    bool frees;
};

static void on_result(struct stun_client *client, const struct stun_client_result *result,
                      void *arg)
{
    struct asked *asked = arg;

    asked->done++;
    asked->result = *result;
    if (asked->frees) {
        stun_client_free(client);
        asked->client = NULL;
    }
}

static struct stun_client_options quick(void)
{
    return (struct stun_client_options){
        .leg = LEG_OPTIONS_DEFAULT,
        .timing = {.rto_us = 20 * MS_US, .rc = 4, .rm = 2, .ti_us = 300 * MS_US},
    };
}

static struct stun_server at(enum server_transport transport, const struct addr *addr)
{
    struct stun_server server = {.transport = transport, .port = addr->port};
    char text[ADDR_TEXT_MAX];

    assert_non_null(inet_ntop(addr->family, addr->ip.bytes, text, sizeof(text)));
    snprintf(server.host, sizeof(server.host), "%s", text);
    return server;
}

static void ask(struct asked *asked, struct loop *loop, const struct stun_server *server,
                const struct stun_client_options *options)
{
    asked->client = stun_client_new(loop, server, options, on_result, asked);
    assert_non_null(asked->client);
    assert_int_equal(asked->done, 0);
    RUN_UNTIL(loop, asked->done > 0);
}

static void servers_of_all_manners(void **state)
{
    (void)state;
    static const struct {
        enum manner manner;
        enum stun_client_outcome outcome;
        const char *text;
    } cases[] = {
        {GOOD, STUN_CLIENT_MAPPED, "our packets come from 203.0.113.1:40000"},
        {GARBAGE, STUN_CLIENT_MAPPED, "our packets come from 203.0.113.1:40000"},
        {LATE, STUN_CLIENT_MAPPED, "our packets come from 203.0.113.1:40000"},
        {TWICE, STUN_CLIENT_MAPPED, "our packets come from 203.0.113.1:40000"},
        {ELSEWHERE, STUN_CLIENT_MAPPED, "our packets come from 203.0.113.1:40000"},
        {NEVER, STUN_CLIENT_SILENT, "the server did not answer"},
        {OTHER_ID, STUN_CLIENT_SILENT, "the server did not answer"},
        {ERROR, STUN_CLIENT_REFUSED, "the server refused: 400 Bad Request"},
        {EMPTY, STUN_CLIENT_NONSENSE, "the server's answer has no address of ours"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct loop *loop = loop_new();
        struct fake fake = {.manner = cases[i].manner, .mapping = BEHAVIOUR_MAPPING_INDEPENDENT};
        struct stun_client_options options = quick();
        struct asked asked = {0};

        fake_start(&fake, loop);
        struct stun_server server = at(SERVER_UDP, &fake.at[0][0]);
        ask(&asked, loop, &server, &options);
        settle(loop);
        assert_int_equal(asked.done, 1);
        assert_int_equal(asked.result.outcome, cases[i].outcome);
        assert_string_equal(asked.result.text, cases[i].text);
        if (cases[i].manner == LATE || cases[i].manner == ELSEWHERE) {
            assert_in_range(fake.requests, 3, 4);
            assert_int_equal(asked.result.rtt_us, 0);
        }
        if (cases[i].outcome == STUN_CLIENT_MAPPED) {
            assert_true(addr_equal(&asked.result.server, &fake.at[0][0]));
            assert_true(asked.result.has_nat);
        }
        stun_client_free(asked.client);
        fake_stop(&fake);
    }
}

static void asking_again(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct fake fake = {.mapping = BEHAVIOUR_MAPPING_NONE, .offers = true};
    struct stun_client_options options = quick();
    struct asked asked = {0}, once = {.frees = true};

    fake_start(&fake, loop);
    struct stun_server server = at(SERVER_UDP, &fake.at[0][0]);
    options.refresh_us = 5 * MS_US;
    ask(&asked, loop, &server, &options);
    assert_false(asked.result.has_nat);
    assert_true(addr_equal(&asked.result.mapped, &asked.result.local));
    assert_true(addr_equal(&asked.result.other, &fake.at[1][1]));
    assert_in_range(asked.result.rtt_us, 1, 60 * SEC_US);
    struct addr before = asked.result.local;
    RUN_UNTIL(loop, asked.done == 5);
    assert_true(addr_equal(&asked.result.local, &before)); /* the same socket */
    if (stun_client_ask(asked.client) == 0)
        assert_int_equal(stun_client_ask(asked.client), -EALREADY);
    stun_client_free(asked.client);
    options.refresh_us = 0;
    ask(&once, loop, &server, &options);
    assert_null(once.client);
    fake_stop(&fake);
}

struct names {
    struct loop *loop;
    struct defer defer;
    const struct addr *addrs;
    size_t count;
    stun_resolved_cb *done;
    void *arg;
};

static void names_tell(void *arg)
{
    struct names *names = arg;

    names->done(names->arg, names->addrs, names->count, names->count ? NULL : "no such name");
}

static void *names_start(void *owner, const char *name, stun_resolved_cb *done, void *arg)
{
    struct names *names = owner;

    (void)name;
    names->done = done;
    names->arg = arg;
    defer_init(&names->defer, names_tell, names);
    defer_next(names->loop, &names->defer);
    return names;
}

static void names_cancel(void *owner, void *lookup)
{
    struct names *names = owner;

    (void)lookup;
    defer_cancel(names->loop, &names->defer);
}

static void the_next_address_of_a_name(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct fake fake = {.mapping = BEHAVIOUR_MAPPING_NONE, .dead = 1};
    struct names names = {.loop = loop, .count = 2};
    struct stun_client_options options = quick();
    struct asked asked = {0}, none = {0}, unknown = {0};
    struct stun_server server = {.transport = SERVER_UDP, .host = "stun.example"};
    struct addr addrs[2];

    fake_start(&fake, loop);
    addrs[0] = fake.at[0][0];
    addrs[1] = fake.at[1][0];
    names.addrs = addrs;
    server.port = addrs[0].port;
    options.leg.resolver = (struct stun_resolver){names_start, names_cancel, &names};
    ask(&asked, loop, &server, &options);
    assert_int_equal(asked.result.outcome, STUN_CLIENT_MAPPED);
    assert_true(addr_equal(&asked.result.server, &fake.at[1][0]));
    stun_client_free(asked.client);
    fake.dead = 3;
    ask(&none, loop, &server, &options);
    assert_int_equal(none.result.outcome, STUN_CLIENT_SILENT);
    stun_client_free(none.client);
    names.count = 0;
    ask(&unknown, loop, &server, &options);
    assert_int_equal(unknown.result.outcome, STUN_CLIENT_UNREACHABLE);
    assert_string_equal(unknown.result.text, "cannot find stun.example: no such name");
    stun_client_free(unknown.client);
    fake_stop(&fake);
}

static void on_accept_answer(struct pipe *server, struct pipe *client, void *arg)
{
    const char **bytes = arg;

    (void)server;
    if (*bytes)
        pipe_write_copy(client, *bytes, strlen(*bytes));
    else
        pipe_close(client);
}

/* TCP servers that close, say something else, or nothing. */
static void streams_that_go_wrong(void **state)
{
    (void)state;
    static const struct pipe_events events = {.accept = on_accept_answer};
    static const struct {
        const char *bytes;
        enum stun_client_outcome outcome;
    } cases[] = {
        {NULL, STUN_CLIENT_UNREACHABLE},
        {"\x16SSH or something", STUN_CLIENT_UNREACHABLE},
        {"", STUN_CLIENT_SILENT},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct loop *loop = loop_new();
        struct stun_client_options options = quick();
        struct asked asked = {0};
        struct addr where = addr_loopback(AF_INET, 0);
        struct pipe *listener = tcp_listen(loop, &where, NULL);
        const char *bytes = cases[i].bytes;

        pipe_add_listener(listener, &events, &bytes);
        pipe_addrs(listener, &where, NULL);
        struct stun_server server = at(SERVER_TCP, &where);
        ask(&asked, loop, &server, &options);
        assert_int_equal(asked.result.outcome, cases[i].outcome);
        stun_client_free(asked.client);
        pipe_close(listener);
        settle(loop);
        loop_free(loop);
    }
}

/* --- Behaviour --- */

struct measured {
    int done;
    struct behaviour_result result;
};

static void on_behaviour(void *arg, const struct behaviour_result *result)
{
    struct measured *measured = arg;

    measured->done++;
    measured->result = *result;
}

static struct behaviour_options measuring(enum server_transport protocol, int family)
{
    return (struct behaviour_options){
        .protocol = protocol,
        .family = family,
        .pipe = PIPE_OPTIONS_DEFAULT,
        .timing = {.rto_us = 20 * MS_US, .rc = 3, .rm = 3, .ti_us = 500 * MS_US},
        .patience_us = 200 * MS_US,
    };
}

static void measure(struct measured *measured, struct loop *loop,
                    const struct behaviour_options *options)
{
    assert_non_null(behaviour_start(loop, options, on_behaviour, measured));
    assert_int_equal(measured->done, 0);
    RUN_UNTIL(loop, measured->done == 1);
}

/* One server with a second address tells all. */
static void every_nat_by_rfc_5780(void **state)
{
    (void)state;
    static const enum behaviour_mapping mappings[] = {
        BEHAVIOUR_MAPPING_NONE, BEHAVIOUR_MAPPING_INDEPENDENT, BEHAVIOUR_MAPPING_ADDRESS,
        BEHAVIOUR_MAPPING_ADDRESS_PORT};
    static const enum behaviour_filtering filterings[] = {BEHAVIOUR_FILTERING_INDEPENDENT,
                                                          BEHAVIOUR_FILTERING_ADDRESS,
                                                          BEHAVIOUR_FILTERING_ADDRESS_PORT};

    for (int m = 0; m < 4; m++) {
        for (int f = 0; f < 3; f++) {
            struct loop *loop = loop_new();
            struct fake fake = {.mapping = mappings[m], .filtering = filterings[f], .offers = true};
            struct behaviour_options options = measuring(SERVER_UDP, AF_INET);
            struct measured measured = {0};

            fake_start(&fake, loop);
            options.servers[0] = at(SERVER_UDP, &fake.at[0][0]);
            options.server_count = 1;
            measure(&measured, loop, &options);
            assert_int_equal(measured.result.mapping, mappings[m]);
            assert_int_equal(measured.result.filtering, filterings[f]);
            assert_int_equal(measured.result.answered, 1);
            assert_true(addr_is_loopback(&measured.result.local));
            if (m == 3) { /* 40000, 40002, 40004: the next can be guessed */
                assert_int_equal(measured.result.step, 2);
                assert_int_equal(measured.result.port_count, 3);
                assert_string_equal(behaviour_mapping_name(measured.result.mapping),
                                    "address- and port-dependent");
            }
            settle(loop);
            assert_int_equal(measured.done, 1);
            fake_stop(&fake);
        }
    }
}

/* Servers without RFC 5780, or with half of it. */
static void plain_and_strange_servers(void **state)
{
    (void)state;
    static const struct {
        struct fake fake;
        size_t servers;
        enum behaviour_mapping mapping;
        enum behaviour_filtering filtering;
    } cases[] = {
        {{.mapping = BEHAVIOUR_MAPPING_INDEPENDENT}, 2, BEHAVIOUR_MAPPING_INDEPENDENT, 0},
        {{.mapping = BEHAVIOUR_MAPPING_ADDRESS}, 2, BEHAVIOUR_MAPPING_DEPENDENT, 0},
        {{.mapping = BEHAVIOUR_MAPPING_INDEPENDENT}, 1, BEHAVIOUR_MAPPING_UNKNOWN, 0},
        {{.mapping = BEHAVIOUR_MAPPING_NONE}, 1, BEHAVIOUR_MAPPING_NONE, 0},
        {{.mapping = BEHAVIOUR_MAPPING_NONE, .manner = NEVER}, 2, BEHAVIOUR_MAPPING_BLOCKED, 0},
        {{.mapping = BEHAVIOUR_MAPPING_INDEPENDENT, .dead = 1}, 2, BEHAVIOUR_MAPPING_UNKNOWN, 0},
        {{.mapping = BEHAVIOUR_MAPPING_ADDRESS, .offers = true, .ignores_change = true},
         1,
         BEHAVIOUR_MAPPING_ADDRESS,
         BEHAVIOUR_FILTERING_UNKNOWN},
        {{.mapping = BEHAVIOUR_MAPPING_INDEPENDENT, .offers = true, .refuses_change = true},
         1,
         BEHAVIOUR_MAPPING_INDEPENDENT,
         BEHAVIOUR_FILTERING_UNKNOWN},
        /* OTHER-ADDRESS, but nothing there. */
        {{.mapping = BEHAVIOUR_MAPPING_INDEPENDENT,
          .offers = true,
          .second_silent = true,
          .filtering = BEHAVIOUR_FILTERING_ADDRESS},
         1,
         BEHAVIOUR_MAPPING_UNKNOWN,
         BEHAVIOUR_FILTERING_ADDRESS},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct loop *loop = loop_new();
        struct fake fake = cases[i].fake;
        struct behaviour_options options = measuring(SERVER_UDP, AF_INET);
        struct measured measured = {0};

        fake_start(&fake, loop);
        options.servers[0] = at(SERVER_UDP, &fake.at[0][0]);
        options.servers[1] = at(SERVER_UDP, &fake.at[1][0]);
        options.server_count = cases[i].servers;
        measure(&measured, loop, &options);
        assert_int_equal(measured.result.mapping, cases[i].mapping);
        assert_int_equal(measured.result.filtering, cases[i].filtering);
        fake_stop(&fake);
    }
}

static void no_servers_and_cancelling(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct fake fake = {.mapping = BEHAVIOUR_MAPPING_NONE, .offers = true};
    struct names names = {.loop = loop};
    struct behaviour_options options = measuring(SERVER_UDP, AF_INET);
    struct measured none = {0}, unknown = {0}, cancelled = {0}, six = {0};

    fake_start(&fake, loop);
    measure(&none, loop, &options);
    assert_int_equal(none.result.mapping, BEHAVIOUR_MAPPING_UNKNOWN);
    assert_string_equal(none.result.text, "UDP over IPv4: no STUN server has an address");
    options.resolver = (struct stun_resolver){names_start, names_cancel, &names};
    strcpy(options.servers[0].host, "stun.example");
    options.server_count = 1;
    measure(&unknown, loop, &options);
    assert_int_equal(unknown.result.asked, 0);
    options.servers[0] = at(SERVER_UDP, &fake.at[0][0]);
    options.family = AF_INET6; /* the server has no such address */
    measure(&six, loop, &options);
    assert_int_equal(six.result.asked, 0);
    options.family = AF_INET;
    for (int turns = 0; turns < 12; turns++) { /* at any moment */
        struct behaviour *b = behaviour_start(loop, &options, on_behaviour, &cancelled);
        for (int i = 0; i < turns; i++)
            loop_turn(loop, 0);
        if (cancelled.done)
            break;
        behaviour_cancel(b);
    }
    settle(loop);
    assert_true(cancelled.done <= 1);
    fake_stop(&fake);
}

/* --- A real server --- */

struct real {
    struct coturn coturn;
    struct test_ca ca;
    struct loop *loop;
    struct tls_authority *authority;
};

static int real_start(void **state)
{
    struct real *real = calloc(1, sizeof(*real));
    char options[2][160], key[128], cert[128];

    *state = real;
    real->loop = loop_new();
    test_ca_init(&real->ca);
    real->authority = tls_authority_new(real->ca.file, NULL);
    if (!coturn_is_installed())
        return 0;
    coturn_init(&real->coturn);
    snprintf(key, sizeof(key), "%s/key.pem", real->coturn.dir);
    snprintf(cert, sizeof(cert), "%s/cert.pem", real->coturn.dir);
    test_ca_write(&real->ca, "DNS:turn.example", key, cert);
    snprintf(options[0], sizeof(options[0]), "--pkey=%s", key);
    snprintf(options[1], sizeof(options[1]), "--cert=%s", cert);
    /* A second address of each kind: it measures behaviour (RFC 5780) then. */
    coturn_run(&real->coturn, (const char *const[]){"--listening-ip=127.0.0.2", "--fingerprint",
                                                    options[0], options[1], NULL});
    return 0;
}

static int real_stop(void **state)
{
    struct real *real = *state;

    if (real->coturn.pid)
        coturn_stop(&real->coturn);
    settle(real->loop);
    tls_authority_free(real->authority);
    test_ca_free(&real->ca);
    loop_free(real->loop);
    free(real);
    return 0;
}

#define REQUIRE(real)            \
    do {                         \
        if (!(real)->coturn.pid) \
            skip();              \
    } while (0)

/* Asks until the server, which may still be starting, answers. */
static void ask_real(struct real *real, struct asked *asked, enum server_transport transport,
                     const char *host, const char *tls_name)
{
    struct stun_server server = {.transport = transport,
                                 .port = transport == SERVER_TLS ? real->coturn.tls_port
                                                                 : real->coturn.port};
    struct stun_client_options options = {.leg = LEG_OPTIONS_DEFAULT};
    struct timespec start, now;

    snprintf(server.host, sizeof(server.host), "%s", host);
    options.leg.authority = real->authority;
    options.leg.tls_name = tls_name;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do {
        stun_client_free(asked->client);
        *asked = (struct asked){0};
        ask(asked, real->loop, &server, &options);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (asked->result.outcome == STUN_CLIENT_UNREACHABLE && now.tv_sec - start.tv_sec < 30);
}

static void coturn_tells_our_address(void **state)
{
    struct real *real = *state;
    static const struct {
        enum server_transport transport;
        const char *host, *name;
    } cases[] = {
        {SERVER_TCP, "127.0.0.1", NULL}, /* first: refused, until it has started */
        {SERVER_UDP, "127.0.0.1", NULL},     {SERVER_TLS, "127.0.0.1", "turn.example"},
        {SERVER_UDP, "::1", NULL},           {SERVER_TCP, "::1", NULL},
        {SERVER_TLS, "::1", "turn.example"},
    };

    REQUIRE(real);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct asked asked = {0};

        ask_real(real, &asked, cases[i].transport, cases[i].host, cases[i].name);
        if (asked.result.outcome != STUN_CLIENT_MAPPED)
            fail_msg("%s", asked.result.text);
        assert_true(addr_equal(&asked.result.mapped, &asked.result.local));
        assert_false(asked.result.has_nat);
        int before = asked.done;
        assert_int_equal(stun_client_ask(asked.client), 0); /* over the same connection */
        RUN_UNTIL(real->loop, asked.done > before);
        assert_int_equal(asked.result.outcome, STUN_CLIENT_MAPPED);
        stun_client_free(asked.client);
    }
    struct asked wrong = {0};
    struct stun_server server = {
        .transport = SERVER_TLS, .host = "127.0.0.1", .port = real->coturn.tls_port};
    struct stun_client_options options = quick();
    options.leg.authority = real->authority;
    options.leg.tls_name = "other.example";
    ask(&wrong, real->loop, &server, &options);
    assert_int_equal(wrong.result.outcome, STUN_CLIENT_UNREACHABLE);
    assert_non_null(strstr(wrong.result.text, "ostname mismatch"));
    stun_client_free(wrong.client);
}

static void coturn_measures(void **state)
{
    struct real *real = *state;
    struct asked ready = {0};

    REQUIRE(real);
    ask_real(real, &ready, SERVER_TCP, "127.0.0.1", NULL);
    stun_client_free(ready.client);
    for (int i = 0; i < 2; i++) {
        struct behaviour_options options = measuring(i ? SERVER_TCP : SERVER_UDP, AF_INET);
        struct measured measured = {0};

        options.timing = (struct transaction_timing){0}; /* the usual */
        strcpy(options.servers[0].host, "127.0.0.1");
        options.servers[0].port = real->coturn.port;
        options.server_count = 1;
        measure(&measured, real->loop, &options);
        assert_int_equal(measured.result.mapping, BEHAVIOUR_MAPPING_NONE);
        assert_int_equal(measured.result.filtering,
                         i ? BEHAVIOUR_FILTERING_UNKNOWN : BEHAVIOUR_FILTERING_INDEPENDENT);
        assert_int_equal(measured.result.answered, 1);
        assert_true(measured.result.same_port);
        /* By two plain servers. */
        struct measured two = {0};
        options.servers[1] = options.servers[0];
        strcpy(options.servers[1].host, "127.0.0.2");
        options.server_count = 2;
        measure(&two, real->loop, &options);
        assert_int_equal(two.result.answered, 2);
        assert_int_equal(two.result.mapping, BEHAVIOUR_MAPPING_NONE);
        settle(real->loop);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(servers_of_all_manners),     cmocka_unit_test(asking_again),
        cmocka_unit_test(the_next_address_of_a_name), cmocka_unit_test(streams_that_go_wrong),
        cmocka_unit_test(every_nat_by_rfc_5780),      cmocka_unit_test(plain_and_strange_servers),
        cmocka_unit_test(no_servers_and_cancelling),
    };
    const struct CMUnitTest real_tests[] = {
        cmocka_unit_test(coturn_tells_our_address),
        cmocka_unit_test(coturn_measures),
    };
    int failed;

    log_set_level(LOG_ERROR);
    failed = cmocka_run_group_tests_name("servers made by hand", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("coturn", real_tests, real_start, real_stop);
}
