/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What `adit turn probe' prints: a block for each leg, advice, and whether a relay can work; or all
 * of it as one JSON object.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/turn_probe.h"

static const char *family_name(int family)
{
    return family == AF_INET6 ? "IPv6" : "IPv4";
}

static double loss_percent(const struct probe_flow *flow)
{
    return flow->sent > flow->received
               ? (double)(flow->sent - flow->received) * 100 / (double)flow->sent
               : 0;
}

static double mbit(const struct probe_flow *flow)
{
    return flow->us > 0 ? (double)flow->bytes * 8 / (double)flow->us : 0;
}

/* --- Text --- */

static void row(const char *name, const char *text)
{
    printf("    %-14s %s\n", name, text);
}

static void row_finding(const char *name, const struct probe_finding *finding, const char *yes)
{
    char text[TURN_TEXT_MAX + 16];

    switch (finding->answer) {
    case PROBE_UNASKED:
        return;
    case PROBE_YES:
        row(name, yes);
        return;
    case PROBE_NO:
        snprintf(text, sizeof(text), "no: %s", finding->text);
        row(name, text);
        return;
    }
}

static void print_server(const struct probe_leg *leg)
{
    char text[320], addr[ADDR_TEXT_MAX];

    for (size_t i = 0; i < leg->redirect_count; i++)
        row("sends us to", addr_format(&leg->redirects[i], addr));

    snprintf(text, sizeof(text), "%s%s%s%s%s", leg->software[0] != '\0' ? leg->software : "?",
             leg->realm[0] != '\0' ? ", realm \"" : "", leg->realm,
             leg->realm[0] != '\0' ? "\"" : "", leg->open_relay ? ", wants no login" : "");
    if (leg->asked)
        row("server", text);
    row_finding("login", &leg->login,
                leg->sha256
                    ? leg->anonymous ? "accepted, by SHA-256, anonymous" : "accepted, by SHA-256"
                    : "accepted");
}

static void print_relay(const struct probe_leg *leg)
{
    char text[160], addr[ADDR_TEXT_MAX];

    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof(text), "%s, for %u s", addr_format(&leg->relayed[i], addr),
                 leg->lifetime_s);
        if (leg->lifetime_s == 0)
            addr_format(&leg->relayed[i], text);
        row_finding(i == 0 ? "relay IPv4" : "relay IPv6", &leg->relay[i], text);
    }
    row_finding("to us", &leg->permission, "permitted");
    row_finding("to itself", &leg->own_permission, "permitted");
    row_finding("to loopback", &leg->loopback, "permitted (it should not be)");
    row_finding("channels", &leg->channel, "yes");
    row_finding("mobility", &leg->mobility, "yes");
    row_finding("TCP relay", &leg->tcp, "yes (RFC 6062)");
}

static void print_flow(const struct probe_flow *flow)
{
    char text[160];

    if (!flow->done || flow->sent == 0)
        return;
    snprintf(text, sizeof(text), "%.1f Mbit/s, %.1f %% lost, %.1f ms from one client to the other",
             mbit(flow), loss_percent(flow), (double)flow->latency_us / 1000);
    row("throughput", text);
    snprintf(text, sizeof(text), "%u bytes came through", flow->largest);
    if (flow->largest > 0)
        row("message size", text);
}

static void print_leg(const struct probe_leg *leg)
{
    char text[TURN_TEXT_MAX + 80], addr[ADDR_TEXT_MAX];

    printf("%s by %s, %s\n", leg->name, family_name(leg->family), addr_format(&leg->address, addr));
    snprintf(text, sizeof(text), "yes, round trip %.1f ms", (double)leg->rtt_us / 1000);
    row_finding("reachable", &leg->reachable, text);
    if (leg->reachable.answer != PROBE_YES)
        return;
    snprintf(text, sizeof(text), "%s%s", addr_format(&leg->mapped, addr),
             leg->has_nat ? " (behind a NAT)" : "");
    if (leg->has_mapped)
        row("our address", text);
    print_server(leg);
    print_relay(leg);
    if (leg->second.answer == PROBE_NO)
        row_finding("throughput", &leg->second, NULL);
    print_flow(&leg->flow);
}

static void print_verdict(const struct probe *probe)
{
    const char *comma = "by ";
    bool works = false;

    for (size_t i = 0; i < probe->count; i++)
        works = works || probe_leg_works(&probe->legs[i]);
    if (probe->is_interrupted)
        printf("interrupted: not all was asked\n");
    if (!works) {
        printf("%s", probe->is_interrupted ? "" : "a relay cannot work\n");
        return;
    }
    printf("a relay can work ");
    for (size_t i = 0; i < probe->count; i++) {
        const struct probe_leg *leg = &probe->legs[i];

        if (!probe_leg_works(leg))
            continue;
        printf("%s%s (%s)", comma, leg->name, family_name(leg->family));
        comma = ", ";
    }
    printf("\n");
}

static void print_text(const struct probe *probe)
{
    for (size_t i = 0; i < probe->count; i++)
        print_leg(&probe->legs[i]);
    if (probe->advice_count > 0)
        printf("\nadvice\n");
    for (size_t i = 0; i < probe->advice_count; i++)
        printf("    - %s\n", probe->advice[i]);
    printf("\n");
    print_verdict(probe);
}

/* --- JSON --- */

static void set_finding(json_t *object, const char *name, const struct probe_finding *finding)
{
    if (finding->answer == PROBE_UNASKED)
        return;
    json_t *value = json_pack("{s:b}", "yes", finding->answer == PROBE_YES);
    if (finding->answer == PROBE_NO)
        json_object_set_new(value, "why", json_string(finding->text));
    json_object_set_new(object, name, value);
}

static void set_addr(json_t *object, const char *name, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];

    if (addr_is_set(addr))
        json_object_set_new(object, name, json_string(addr_format(addr, text)));
}

static json_t *leg_json(const struct probe_leg *leg)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:b}", "server", leg->name, "transport",
                          server_transport_name(leg->server.server.transport), "family",
                          family_name(leg->family), "works", probe_leg_works(leg));

    set_addr(o, "address", &leg->address);
    set_finding(o, "reachable", &leg->reachable);
    if (leg->redirect_count > 0)
        set_addr(o, "redirected", &leg->redirects[leg->redirect_count - 1]);
    if (leg->rtt_us > 0)
        json_object_set_new(o, "rtt_ms", json_real((double)leg->rtt_us / 1000));
    if (leg->has_mapped)
        set_addr(o, "mapped", &leg->mapped);
    json_object_set_new(o, "nat", json_boolean(leg->has_nat));
    json_object_set_new(o, "realm", json_string(leg->realm));
    json_object_set_new(o, "software", json_string(leg->software));
    json_object_set_new(o, "open_relay", json_boolean(leg->open_relay));
    json_object_set_new(o, "sha256", json_boolean(leg->sha256));
    json_object_set_new(o, "trouble", json_string(turn_trouble_name(leg->trouble)));
    set_finding(o, "login", &leg->login);
    set_finding(o, "relay_ipv4", &leg->relay[0]);
    set_finding(o, "relay_ipv6", &leg->relay[1]);
    set_addr(o, "relayed_ipv4", &leg->relayed[0]);
    set_addr(o, "relayed_ipv6", &leg->relayed[1]);
    json_object_set_new(o, "lifetime_s", json_integer(leg->lifetime_s));
    set_finding(o, "permission", &leg->permission);
    set_finding(o, "permission_own", &leg->own_permission);
    set_finding(o, "permission_loopback", &leg->loopback);
    set_finding(o, "channel", &leg->channel);
    set_finding(o, "mobility", &leg->mobility);
    set_finding(o, "tcp_relay", &leg->tcp);
    set_finding(o, "second_allocation", &leg->second);
    if (leg->flow.done)
        json_object_set_new(o, "throughput",
                            json_pack("{s:f, s:f, s:f, s:I, s:I}", "mbit", mbit(&leg->flow),
                                      "loss_percent", loss_percent(&leg->flow), "latency_ms",
                                      (double)leg->flow.latency_us / 1000, "sent",
                                      (json_int_t)leg->flow.sent, "largest",
                                      (json_int_t)leg->flow.largest));
    return o;
}

static void print_json(const struct probe *probe)
{
    json_t *legs = json_array(), *advice = json_array();
    bool works = false;

    for (size_t i = 0; i < probe->count; i++) {
        json_array_append_new(legs, leg_json(&probe->legs[i]));
        works = works || probe_leg_works(&probe->legs[i]);
    }
    for (size_t i = 0; i < probe->advice_count; i++)
        json_array_append_new(advice, json_string(probe->advice[i]));
    json_t *all = json_pack("{s:b, s:b, s:o, s:o}", "works", works, "interrupted",
                            probe->is_interrupted, "legs", legs, "advice", advice);
    char *text = json_dumps(all, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    printf("%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(all);
}

void probe_print(const struct probe *probe, bool json)
{
    if (json)
        print_json(probe);
    else
        print_text(probe);
}
