/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit peers`: asks the running node, or, where none runs, does the same to the state itself. The
 * list shows what a running node knows of those that are connected; completion reads its first two
 * columns.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"

static const struct {
    const char *name, *verb;
    int min, max; /* arguments after it */
} actions[] = {
    {"list", "peers", 0, 0},    {"allow", "allow", 1, 2},   {"revoke", "revoke", 1, 1},
    {"rename", "rename", 2, 2}, {"forget", "forget", 1, 1}, {"expire", "expire", 2, 2},
};

#define SHORT_TEXT 32

/* "3d", "7m", of seconds. */
static const char *span(int64_t seconds, char buf[SHORT_TEXT])
{
    static const struct {
        int64_t seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};

    snprintf(buf, SHORT_TEXT, "0s");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (seconds >= units[i].seconds) {
            snprintf(buf, SHORT_TEXT, "%lld%s", (long long)(seconds / units[i].seconds),
                     units[i].unit);
            break;
        }
    }
    return buf;
}

/* "3m ago", of a time. */
static const char *ago(int64_t then, char buf[SHORT_TEXT])
{
    int64_t age = time(NULL) - then;

    if (then == 0)
        return "never";
    if (age < 1)
        return "now";
    span(age, buf);
    strcat(buf, " ago");
    return buf;
}

/* "yes", "no", "for 3h", "expired", "revoked" */
static const char *admission(const json_t *peer, char buf[SHORT_TEXT])
{
    int64_t left = json_integer_value(json_object_get(peer, "expires")) - time(NULL);
    char text[SHORT_TEXT];

    if (json_is_true(json_object_get(peer, "revoked")))
        return "revoked";
    if (!json_is_true(json_object_get(peer, "admitted")))
        return json_is_true(json_object_get(peer, "expired")) ? "expired" : "no";
    if (json_integer_value(json_object_get(peer, "expires")) == 0)
        return "yes";
    if (left <= 0)
        return "expired";
    snprintf(buf, SHORT_TEXT, "for %.20s", span(left, text));
    return buf;
}

/* What is live of it: path, round trip, streams, since when; or why not. */
static void live_print(const json_t *peer)
{
    const char *path = json_string_value(json_object_get(peer, "path"));
    const char *state = json_string_value(json_object_get(peer, "state"));
    const json_t *rtt = json_object_get(peer, "rtt_ms");
    char ms[SHORT_TEXT] = "-", streams[SHORT_TEXT] = "-", since[SHORT_TEXT] = "-";

    if (json_is_true(json_object_get(peer, "connected"))) {
        if (json_is_number(rtt))
            snprintf(ms, sizeof ms, "%.1f ms", json_number_value(rtt));
        span((int64_t)json_number_value(json_object_get(peer, "connected_s")), since);
        state = path != NULL ? path : "yes";
    }
    if (json_is_integer(json_object_get(peer, "streams")))
        snprintf(streams, sizeof streams, "%lld",
                 (long long)json_integer_value(json_object_get(peer, "streams")));
    printf("  %-10s  %-9s  %-7s  %-6s", state != NULL ? state : "no", ms, streams, since);
}

static void list_print(const json_t *list)
{
    size_t index;
    const json_t *peer;

    if (json_array_size(list) == 0) {
        printf("no peers are known\n");
        return;
    }
    printf("%-52s  %-16s  %-8s  %-10s  %-9s  %-7s  %-6s  %-9s  %-9s  %s\n", "ID", "NAME",
           "ADMITTED", "CONNECTED", "RTT", "STREAMS", "FOR", "SEEN", "ADDED", "KNOWN BY");
    json_array_foreach(list, index, peer)
    {
        char added[SHORT_TEXT], seen[SHORT_TEXT], admitted[SHORT_TEXT];
        const char *name = json_string_value(json_object_get(peer, "name"));
        printf("%-52s  %-16s  %-8s", json_string_value(json_object_get(peer, "id")),
               name != NULL && name[0] != '\0' ? name : "-", admission(peer, admitted));
        live_print(peer);
        printf("  %-9s  %-9s  %s\n", ago(json_integer_value(json_object_get(peer, "seen")), seen),
               ago(json_integer_value(json_object_get(peer, "added")), added),
               json_string_value(json_object_get(peer, "how")));
    }
}

static json_t *peers_alone(struct cli *cli, const char *verb, const json_t *args)
{
    char errbuf[CONTROL_ERROR_MAX];
    struct state *state;
    struct identity *identity;
    bool changed;

    if (cli_open_state(cli, &state, &identity) != 0)
        return NULL;
    json_t *result =
        control_peers(state, identity_id(identity), verb, args, time(NULL), &changed, errbuf);
    if (result == NULL)
        cli_complain("%s", errbuf);
    identity_free(identity);
    state_close(state);
    return result;
}

static json_t *peers_ask(struct cli *cli, const char *verb, json_t *args)
{
    bool none;
    json_t *result =
        cli_ask(cli, &(struct cli_request){.verb = verb, .args = json_incref(args)}, &none);

    if (none)
        result = peers_alone(cli, verb, args);
    json_decref(args);
    return result;
}

/* Until when, where that is what was asked for. */
static void end_print(const char *verb, const json_t *result)
{
    time_t end = (time_t)json_integer_value(json_object_get(result, "expires"));
    struct tm tm;
    char text[64];

    if (end != 0 && localtime_r(&end, &tm) != NULL &&
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm) > 0)
        printf(", until %s", text);
    else if (strcmp(verb, "expire") == 0)
        printf(", for ever");
    printf("\n");
}

static void result_print(struct cli *cli, const char *verb, const json_t *result)
{
    if (cli_has(cli, "json")) {
        char *text = json_dumps(result, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
        printf("%s\n", text != NULL ? text : "");
        free(text);
    } else if (strcmp(verb, "peers") == 0) {
        list_print(json_object_get(result, "peers"));
    } else {
        const char *name = json_string_value(json_object_get(result, "name"));
        static const char *const done[] = {"",        "admitted",  "revoked",
                                           "renamed", "forgotten", "admitted"};
        for (size_t i = 1; i < sizeof actions / sizeof *actions; i++)
            if (strcmp(actions[i].verb, verb) == 0)
                printf("%s: %s%s%s", done[i], json_string_value(json_object_get(result, "id")),
                       name != NULL && name[0] != '\0' ? " " : "", name != NULL ? name : "");
        end_print(verb, result);
    }
}

int peers_run(struct cli *cli)
{
    const char *name = cli->arg_count > 0 ? cli->args[0] : "list";
    size_t i = 0;

    while (i < sizeof actions / sizeof *actions && strcmp(actions[i].name, name) != 0)
        i++;
    int rest = cli->arg_count > 0 ? cli->arg_count - 1 : 0;
    if (i == sizeof actions / sizeof *actions || rest < actions[i].min || rest > actions[i].max) {
        cli_complain("peers: not understood; usage: adit peers %s", cli->verb->args);
        return CLI_USAGE;
    }
    bool expire = strcmp(actions[i].verb, "expire") == 0;
    const char *time_text = expire ? cli->args[2] : cli_value(cli, "for");
    int64_t span_s = 0;
    if (!expire && time_text != NULL && strcmp(actions[i].verb, "allow") != 0) {
        cli_complain("peers %s: --for belongs to `allow'", actions[i].name);
        return CLI_USAGE;
    }
    int code = time_text != NULL
                   ? cli_parse_span(expire ? "peers expire" : "--for", time_text, &span_s)
                   : 0;
    if (code == 0)
        code = cli_prepare(cli);
    if (code != 0)
        return code;
    json_t *args = json_object();
    if (rest > 0)
        json_object_set_new(args, "peer", json_string(cli->args[1]));
    if (rest > 1 && !expire)
        json_object_set_new(args, "name", json_string(cli->args[2]));
    if (time_text != NULL)
        json_object_set_new(args, "for", json_integer(span_s));
    json_t *result = peers_ask(cli, actions[i].verb, args);
    if (result == NULL)
        return CLI_FAILURE;
    result_print(cli, actions[i].verb, result);
    json_decref(result);
    return CLI_OK;
}
