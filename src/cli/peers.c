/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit peers`: asks the running node, or, where none runs, does the same to the state itself.
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
    {"rename", "rename", 2, 2}, {"forget", "forget", 1, 1},
};

/* "3 minutes ago", for lists. */
static const char *ago(int64_t then, char *buf, size_t size)
{
    static const struct {
        int64_t seconds;
        const char *unit;
    } units[] = {{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}};
    int64_t age = time(NULL) - then;

    if (then == 0)
        return "never";
    snprintf(buf, size, "now");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (age >= units[i].seconds) {
            snprintf(buf, size, "%lld%s ago", (long long)(age / units[i].seconds), units[i].unit);
            break;
        }
    }
    return buf;
}

static void list_print(const json_t *list)
{
    size_t index;
    const json_t *peer;

    if (json_array_size(list) == 0) {
        printf("no peers are known\n");
        return;
    }
    printf("%-52s  %-16s  %-8s  %-9s  %-9s  %s\n", "ID", "NAME", "ADMITTED", "ADDED", "SEEN",
           "KNOWN BY");
    json_array_foreach(list, index, peer)
    {
        char added[32], seen[32];
        const char *name = json_string_value(json_object_get(peer, "name"));
        printf("%-52s  %-16s  %-8s  %-9s  %-9s  %s\n",
               json_string_value(json_object_get(peer, "id")),
               name != NULL && name[0] != '\0' ? name : "-",
               json_is_true(json_object_get(peer, "admitted")) ? "yes" : "no",
               ago(json_integer_value(json_object_get(peer, "added")), added, sizeof added),
               ago(json_integer_value(json_object_get(peer, "seen")), seen, sizeof seen),
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

static void result_print(struct cli *cli, const char *verb, const json_t *result)
{
    if (cli_has(cli, "json")) {
        char *text = json_dumps(result, JSON_INDENT(2));
        printf("%s\n", text != NULL ? text : "");
        free(text);
    } else if (strcmp(verb, "peers") == 0) {
        list_print(json_object_get(result, "peers"));
    } else {
        const char *name = json_string_value(json_object_get(result, "name"));
        static const char *const done[] = {"", "admitted", "revoked", "renamed", "forgotten"};
        for (size_t i = 1; i < sizeof actions / sizeof *actions; i++)
            if (strcmp(actions[i].verb, verb) == 0)
                printf("%s: %s%s%s\n", done[i], json_string_value(json_object_get(result, "id")),
                       name != NULL && name[0] != '\0' ? " " : "", name != NULL ? name : "");
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
    int code = cli_prepare(cli);
    if (code != 0)
        return code;
    json_t *args = json_object();
    if (rest > 0)
        json_object_set_new(args, "peer", json_string(cli->args[1]));
    if (rest > 1)
        json_object_set_new(args, "name", json_string(cli->args[2]));
    json_t *result = peers_ask(cli, actions[i].verb, args);
    if (result == NULL)
        return CLI_FAILURE;
    result_print(cli, actions[i].verb, result);
    json_decref(result);
    return CLI_OK;
}
