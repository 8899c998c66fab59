/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit forward'. If a node runs with this state directory, it is asked to hold the forward as long
 * as the connection to it lives; else this process is a node with nothing but the forward. Either
 * way standard output gets `ready: ADDRESS' when somebody listens, again when the address has
 * changed, and standard error what is wrong, each time that is something else.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "config/forward.h"

struct shown {
    char address[FORWARD_LISTEN_TEXT_MAX];
    char problem[NODE_FORWARD_TEXT_MAX];
};

/* What this process shows and runs: the loop's callbacks find it here. */
struct alone {
    struct cli *cli;
    struct config_forward spec;
    struct shown shown;
    bool has_listened;
};

static void show(struct shown *shown, bool listening, const char *address, const char *problem)
{
    if (listening && strcmp(shown->address, address) != 0) {
        snprintf(shown->address, sizeof shown->address, "%s", address);
        printf("ready: %s\n", address);
        fflush(stdout);
    }
    if (strcmp(shown->problem, problem) != 0) {
        snprintf(shown->problem, sizeof shown->problem, "%s", problem);
        if (problem[0] != '\0')
            cli_complain("%s", problem);
    }
}

/* --- A node of our own --- */

static void on_change(void *arg, const struct node_forward_info *info)
{
    struct alone *alone = arg;

    alone->has_listened |= info->listening;
    if (info->refused && !alone->has_listened) {
        cli_complain("%s", info->problem);
        cli_serve_end(alone->cli, CLI_FAILURE);
        return;
    }
    /* Problems are in the log. */
    show(&alone->shown, info->listening, info->address, "");
}

static int alone_ready(struct cli *cli, struct node *node, const struct node_id *id)
{
    char errbuf[CLI_ERROR_MAX];
    struct alone *alone = cli->own;

    (void)id;
    if (node_forward(node, &alone->spec, on_change, alone, errbuf, sizeof errbuf) != NULL)
        return 0;
    cli_complain("%s", errbuf);
    return CLI_FAILURE;
}

static int run_alone(struct cli *cli, const struct config_forward *spec)
{
    static const struct serve_hooks hooks = {alone_ready};
    struct alone alone = {.cli = cli, .spec = *spec};

    cli->own = &alone;
    return cli_serve(cli, 0, &hooks);
}

/* --- The running node --- */

static void on_event(void *arg, const json_t *event)
{
    struct cli *cli = arg;
    const char *address = json_string_value(json_object_get(event, "address"));
    const char *problem = json_string_value(json_object_get(event, "problem"));

    show(cli->own, json_is_true(json_object_get(event, "listening")), address ? address : "",
         problem ? problem : "");
}

static void on_signal(int number)
{
    (void)number;
    _exit(CLI_OK); /* what was printed has been flushed; the node sees the connection end */
}

static int run_held(struct cli *cli, bool *none)
{
    struct shown shown = {.address = ""};
    json_t *args = json_pack("{s:s, s:s, s:s, s:b}", "listen", cli->args[0], "peer", cli->args[1],
                             "to", cli->args[2], "reverse", cli_has(cli, "reverse"));
    const struct cli_request request = {
        .verb = "forward", .args = args, .event = on_event, .silence_ms = CLI_SILENCE_ALLOWED};

    cli->own = &shown;
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    json_decref(cli_ask(cli, &request, none));
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    return CLI_FAILURE; /* nothing but a failure is an answer */
}

/* The ticket itself in the place of @FILE or -. */
static int ticket_take(struct cli *cli)
{
    char *ticket;

    if (!cli_is_ticket(cli->args[1]))
        return 0;
    ticket = cli_read_ticket(cli->args[1]);
    if (ticket == NULL)
        return CLI_FAILURE;
    free(cli->args[1]);
    cli->args[1] = ticket;
    return 0;
}

int forward_run(struct cli *cli)
{
    struct config_forward spec = {.peer = NULL};
    char why[FORWARD_WHY_MAX];
    bool none = false;
    int code = ticket_take(cli);

    if (code == 0 && config_forward_set(&spec, cli_has(cli, "reverse"), cli->args[0], cli->args[1],
                                        cli->args[2], why) != 0) {
        cli_complain("forward: %s", why);
        code = CLI_USAGE;
    }
    if (code == 0)
        code = cli_prepare(cli);
    if (code == 0)
        code = run_held(cli, &none);
    if (none)
        code = run_alone(cli, &spec);
    config_forward_clear(&spec);
    return code;
}
