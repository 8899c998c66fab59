/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit turn probe': every server by every way: UDP, TCP and TLS, unless its URI names one, and
 * IPv4 and IPv6, as far as its name has both. Names are looked up first, then the legs are probed
 * one after the other (turn_probe_run.c), so that none disturbs the measuring of another; what was
 * found becomes advice (turn_advice.c) and is printed (turn_probe_print.c).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/turn_probe.h"
#include "config/config_int.h"

#define FLOW_US     (2 * SEC_US)
#define FLOW_MAX_US (60 * SEC_US)

struct probing {
    struct probe probe;
    size_t server; /* whose name is looked up, then the leg that is probed */
    void *lookup;
    struct probe_run *run;
};

static void probe_next(void *arg);
static void look_up_next(struct probing *p);

/* --- The legs --- */

static void add_leg(struct probing *p, const struct turn_server *server,
                    enum server_transport transport, uint16_t port, const struct addr *addr)
{
    struct probe *probe = &p->probe;
    struct probe_leg *leg = &probe->legs[probe->count];

    if (probe->count == PROBE_LEGS_MAX)
        return;
    probe->count++;
    *leg = (struct probe_leg){.server = *server, .family = addr->family, .address = *addr};
    leg->server.server.transport = transport;
    leg->server.server.port = port;
    leg->address.port = port;
    leg->server.leg.address = leg->address;
    server_format(&leg->server.server, leg->name);
}

/* Whether the user has said by which way. */
static bool is_explicit(const struct turn_session *s, size_t server)
{
    return s->servers[server].server.transport != SERVER_UDP ||
           strstr(s->texts[server], "transport=") != NULL;
}

static void on_name(void *arg, const struct addr *addrs, size_t count, const char *why)
{
    struct probing *p = arg;
    struct probe *probe = &p->probe;
    const struct turn_server *server = &probe->session.servers[p->server];
    uint16_t port = server->server.port;
    bool seen[2] = {false, false};

    p->lookup = NULL;
    if (count == 0)
        cli_complain("%s: %s", server->server.host, why != NULL ? why : "no such name");
    for (size_t i = 0; i < count; i++) {
        bool *done = &seen[addrs[i].family == AF_INET6];

        if (*done)
            continue;
        *done = true;
        if (is_explicit(&probe->session, p->server)) {
            add_leg(p, server, server->server.transport, port, &addrs[i]);
            continue;
        }
        add_leg(p, server, SERVER_UDP, port, &addrs[i]);
        add_leg(p, server, SERVER_TCP, port, &addrs[i]);
        add_leg(p, server, SERVER_TLS, port == STUN_PORT ? STUN_TLS_PORT : port, &addrs[i]);
    }
    p->server++;
    look_up_next(p);
}

static void look_up_next(struct probing *p)
{
    struct turn_session *s = &p->probe.session;

    while (p->server < s->count) {
        const struct turn_server *server = &s->servers[p->server];
        const struct stun_resolver *resolver = &server->leg.resolver;
        struct addr addr;

        if (addr_parse_ip(server->server.host, &addr) == 0) {
            on_name(p, &addr, 1, NULL); /* goes on by itself */
            return;
        }
        p->lookup = resolver->start(resolver->owner, server->server.host, on_name, p);
        if (p->lookup != NULL)
            return;
        cli_complain("%s: cannot be looked up", server->server.host);
        p->server++;
    }
    probe_next(p);
}

/* --- One after the other --- */

static void finish(struct probing *p)
{
    struct probe *probe = &p->probe;
    bool works = false;

    probe_advise(probe);
    probe_print(probe, cli_has(probe->session.cli, "json"));
    for (size_t i = 0; i < probe->count; i++)
        works = works || probe_leg_works(&probe->legs[i]);
    turn_session_stop(&probe->session, works ? CLI_OK : CLI_FAILURE);
}

static void probe_next(void *arg)
{
    struct probing *p = arg;
    struct probe *probe = &p->probe;

    if (p->run != NULL) {
        probe_run_free(p->run);
        probe->at++;
    }
    p->run = NULL;
    if (probe->at == probe->count) {
        finish(p);
        return;
    }
    if (!cli_has(probe->session.cli, "json"))
        fprintf(stderr, "%s by %s ...\n", probe->legs[probe->at].name,
                probe->legs[probe->at].family == AF_INET6 ? "IPv6" : "IPv4");
    p->run = probe_run_new(probe, &probe->legs[probe->at], probe_next, p);
    if (p->run == NULL) {
        cli_complain("out of memory");
        turn_session_stop(&probe->session, CLI_FAILURE);
    }
}

static void on_stop(void *arg)
{
    struct probing *p = arg;

    p->probe.count = p->probe.at; /* what was found so far */
    p->probe.is_interrupted = true;
    finish(p);
    p->probe.session.code = CLI_FAILURE;
}

static int flow_time(const struct cli *cli, uint64_t *us)
{
    const char *text = cli_value(cli, "time");

    *us = FLOW_US;
    if (text == NULL || (value_parse_duration(text, us) == 0 && *us <= FLOW_MAX_US))
        return 0;
    cli_complain("--time %.60s: no duration up to 60s", text);
    return CLI_USAGE;
}

int turn_probe_run(struct cli *cli)
{
    struct probing *p = calloc(1, sizeof(*p));
    int code;

    if (p == NULL)
        return CLI_FAILURE;
    code = flow_time(cli, &p->probe.flow_us);
    if (code == 0)
        code = turn_session_open(&p->probe.session, cli, cli->args + 1, (size_t)cli->arg_count - 1);
    if (code == 0) {
        p->probe.session.on_signal = on_stop;
        p->probe.session.arg = p;
        look_up_next(p);
        code = turn_session_run(&p->probe.session);
    }
    if (p->lookup != NULL)
        p->probe.session.servers[0].leg.resolver.cancel(
            p->probe.session.servers[0].leg.resolver.owner, p->lookup);
    probe_run_free(p->run);
    turn_session_close(&p->probe.session);
    free(p);
    return code;
}
