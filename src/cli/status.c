/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit status`: asks the running node and prints its answer, as it is (--json) or as text. The
 * text leaves out what is zero or the same for everybody; scripts read the JSON.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

static double number_of(const json_t *object, const char *name)
{
    return json_number_value(json_object_get(object, name));
}

#define SHORT_TEXT 32

/* "17.3 MB" */
static const char *bytes(double n, char buf[SHORT_TEXT])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;

    for (; n >= 1000 && unit < sizeof units / sizeof *units - 1; unit++)
        n /= 1000;
    snprintf(buf, SHORT_TEXT, unit == 0 ? "%.0f %s" : "%.1f %s", n, units[unit]);
    return buf;
}

/* "2h 5m" */
static const char *span(double seconds, char buf[SHORT_TEXT])
{
    long s = (long)seconds;

    if (s < 60)
        snprintf(buf, SHORT_TEXT, s < 10 ? "%.1fs" : "%.0fs", seconds);
    else if (s < 3600)
        snprintf(buf, SHORT_TEXT, "%ldm %lds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(buf, SHORT_TEXT, "%ldh %ldm", s / 3600, s / 60 % 60);
    else
        snprintf(buf, SHORT_TEXT, "%ldd %ldh", s / 86400, s / 3600 % 24);
    return buf;
}

static void node_print(const json_t *status)
{
    const json_t *node = json_object_get(status, "node"), *role;
    const json_t *memory = json_object_get(status, "memory");
    char a[SHORT_TEXT], b[SHORT_TEXT];
    size_t index;

    printf("node      %s  %s\n", text_of(node, "name"), text_of(node, "id"));
    printf("roles    ");
    json_array_foreach(json_object_get(node, "roles"), index, role)
        printf(" %s", json_string_value(role));
    printf(", up %s, version %s%s\n", span(number_of(node, "uptime_s"), a),
           text_of(node, "version"),
           json_is_true(json_object_get(node, "stopping")) ? ", stopping" : "");
    printf("memory    %s anonymous,", bytes(number_of(memory, "rss_anon_bytes"), a));
    printf(" streams hold %s", bytes(number_of(memory, "pool_used_bytes"), a));
    printf(" of %s\n", bytes(number_of(memory, "pool_limit_bytes"), b));
}

static void forward_print(const json_t *forward)
{
    const char *problem = text_of(forward, "problem");
    bool reverse = strcmp(text_of(forward, "kind"), "reverse") == 0;

    printf("forward   %s%s%s -> %s%s%s%s, %.0f connections, %.0f in all%s%s\n",
           text_of(forward, "listen"), reverse ? " of " : "",
           reverse ? text_of(forward, "peer") : "", text_of(forward, "to"), reverse ? "" : " by ",
           reverse ? "" : text_of(forward, "peer"),
           json_is_true(json_object_get(forward, "listening")) ? "" : ", not listening",
           number_of(forward, "connections"), number_of(forward, "opened"),
           problem[0] != '\0' ? ": " : "", problem);
}

static void roles_print(const json_t *status)
{
    const json_t *gateway = json_object_get(status, "gateway");
    const json_t *exit = json_object_get(status, "exit"), *listener;
    const json_t *route;
    size_t index;

    json_array_foreach(json_object_get(status, "listeners"), index, listener)
        printf("listens   %s for %s\n", text_of(listener, "address"), text_of(listener, "for"));
    if (gateway != NULL)
        printf("gateway   %.0f clients, %.0f requests, %.0f failed; exit %s\n",
               number_of(gateway, "clients"), number_of(gateway, "requests"),
               number_of(gateway, "failed"),
               text_of(gateway, "exit")[0] != '\0' ? text_of(gateway, "exit") : "by routes only");
    json_array_foreach(json_object_get(status, "forwards"), index, route) forward_print(route);
    json_array_foreach(json_object_get(status, "listening_for_peers"), index, route) printf(
        "lent      %s to %s, %.0f connections, %.0f in all\n", text_of(route, "address"),
        text_of(route, "peer"), number_of(route, "connections"), number_of(route, "accepted"));
    json_array_foreach(json_object_get(gateway, "routes"), index, route)
        printf("route     %s -> %s, %.0f streams\n", text_of(route, "rule"), text_of(route, "to"),
               number_of(route, "streams"));
    if (exit != NULL)
        printf("exit      %.0f connections, %.0f opened, %.0f failed, %.0f refused by policy\n",
               number_of(exit, "connections"), number_of(exit, "opened"), number_of(exit, "failed"),
               number_of(exit, "refused_policy"));
}

static void brokers_print(const json_t *status)
{
    const json_t *broker;
    char a[SHORT_TEXT];
    size_t index;

    json_array_foreach(json_object_get(status, "brokers"), index, broker)
    {
        const json_t *next = json_object_get(broker, "next_try_s");
        printf("broker    %s  %s", text_of(broker, "name"), text_of(broker, "state"));
        if (text_of(broker, "why")[0] != '\0')
            printf(": %s", text_of(broker, "why"));
        if (json_is_number(next))
            printf("; next try in %s", span(json_number_value(next), a));
        if (number_of(broker, "connects") > 0)
            printf(", %.0f messages in, %.0f out", number_of(broker, "received"),
                   number_of(broker, "sent"));
        printf("\n");
    }
}

static void path_print(const json_t *path)
{
    const json_t *rtt = json_object_get(path, "rtt_ms");
    char a[SHORT_TEXT], b[SHORT_TEXT], c[SHORT_TEXT], ms[SHORT_TEXT] = "?";

    if (json_is_number(rtt))
        snprintf(ms, sizeof ms, "%.2f ms", json_number_value(rtt));
    printf("  path    %-8s %-9s %s -> %s\n", text_of(path, "strategy"), text_of(path, "state"),
           text_of(path, "local"), text_of(path, "remote"));
    printf("          rtt %s, in %s/s (%s),", ms, bytes(number_of(path, "rx_rate"), a),
           bytes(number_of(path, "rx_bytes"), b));
    printf(" out %s/s (%s), up %s\n", bytes(number_of(path, "tx_rate"), a),
           bytes(number_of(path, "tx_bytes"), b), span(number_of(path, "age_s"), c));
}

static void search_print(const json_t *peer)
{
    const json_t *next = json_object_get(peer, "next_try_s"), *strategy;
    const char *problem = text_of(peer, "problem");
    char a[SHORT_TEXT];
    size_t index;

    if (problem[0] != '\0')
        printf("  problem %s\n", problem);
    json_array_foreach(json_object_get(peer, "strategies"), index, strategy)
        printf("  way     %-8s %s%s%s\n", text_of(strategy, "name"), text_of(strategy, "state"),
               text_of(strategy, "why")[0] != '\0' ? ": " : "", text_of(strategy, "why"));
    if (json_is_number(next))
        printf("  next    try in %s\n", span(json_number_value(next), a));
}

static void peer_print(const json_t *peer)
{
    const json_t *path;
    char a[SHORT_TEXT];
    double held = number_of(peer, "held_s");
    size_t index;

    printf("\npeer      %s  %s\n", text_of(peer, "name"), text_of(peer, "id"));
    printf("  state   %s%s%s", text_of(peer, "state"),
           json_is_true(json_object_get(peer, "exit")) ? ", our exit" : "",
           json_is_true(json_object_get(peer, "admitted")) ? ", admitted" : "");
    if (held > 0)
        printf(", no path for %s", span(held, a));
    printf("\n  streams %.0f open, %.0f in all", number_of(peer, "streams"),
           number_of(peer, "streams_opened"));
    if (number_of(peer, "moves") > 0)
        printf("; moved %.0f times, %s sent again", number_of(peer, "moves"),
               bytes(number_of(peer, "resent_bytes"), a));
    printf("\n");
    json_array_foreach(json_object_get(peer, "paths"), index, path) path_print(path);
    search_print(peer);
}

static void status_print(const json_t *status)
{
    const json_t *peers = json_object_get(status, "peers"), *peer;
    size_t index;

    node_print(status);
    roles_print(status);
    brokers_print(status);
    if (json_array_size(peers) == 0)
        printf("\nno peer is connected or wanted\n");
    json_array_foreach(peers, index, peer) peer_print(peer);
}

int status_run(struct cli *cli)
{
    bool watch = cli_has(cli, "watch"), terminal = isatty(STDOUT_FILENO);
    int code = cli_prepare(cli);

    if (code != 0)
        return code;
    do {
        json_t *status = cli_ask(cli, &(struct cli_request){.verb = "status"}, NULL);
        if (status == NULL)
            return CLI_FAILURE;
        if (watch && terminal && !cli_has(cli, "json"))
            printf("\033[H\033[2J");
        if (cli_has(cli, "json")) {
            char *text = json_dumps(status, JSON_REAL_PRECISION(12) |
                                                (watch ? JSON_COMPACT : JSON_INDENT(2)));
            printf("%s\n", text != NULL ? text : "");
            free(text);
        } else {
            status_print(status);
        }
        json_decref(status);
        if (fflush(stdout) != 0)
            return CLI_FAILURE; /* whoever read it has gone */
        if (watch)
            nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    } while (watch);
    return CLI_OK;
}
