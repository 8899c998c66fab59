/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit gateway` and `adit node`. A ticket or peer given as an argument stands in the place of
 * gateway.exit, for this run and all its reloads.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static int gateway_ready(struct cli *cli, struct node *node, const struct node_id *id)
{
    (void)cli, (void)id;
    cli_print_ready(node);
    return 0;
}

static const struct serve_hooks hooks = {gateway_ready};

/* Adds `-o gateway.exit=TEXT` to the options. */
static int exit_set(struct cli *cli, const char *text)
{
    size_t size = strlen(text) + sizeof "gateway.exit=";
    char *assignment = malloc(size);

    if (assignment == NULL || cli->value_count == CLI_VALUES_MAX) {
        free(assignment);
        cli_complain("more than %d options", CLI_VALUES_MAX);
        return CLI_USAGE;
    }
    snprintf(assignment, size, "gateway.exit=%s", text);
    cli->values[cli->value_count].name = "option";
    cli->values[cli->value_count++].value = assignment;
    return 0;
}

/* The ticket as one word: a pasted one may hold blanks and line breaks. */
static void blanks_remove(char *text)
{
    char *to = text;

    for (; *text != '\0'; text++)
        if (strchr(" \t\r\n", *text) == NULL)
            *to++ = *text;
    *to = '\0';
}

int gateway_run(struct cli *cli)
{
    int code = 0;

    if (cli->arg_count == 1 && cli_is_ticket(cli->args[0])) {
        char *ticket = cli_read_ticket(cli->args[0]);
        if (ticket == NULL)
            return CLI_FAILURE;
        blanks_remove(ticket);
        code = exit_set(cli, ticket);
        free(ticket);
    } else if (cli->arg_count == 1) {
        code = exit_set(cli, cli->args[0]);
    }
    if (code == 0)
        code = cli_prepare(cli);
    return code != 0 ? code : cli_serve(cli, NODE_GATEWAY, &hooks);
}

int node_run(struct cli *cli)
{
    unsigned roles = 0;
    int code = cli_prepare(cli);

    if (code != 0)
        return code;
    if (config_has_section(cli->config, "exit"))
        roles |= NODE_EXIT;
    if (config_has_section(cli->config, "gateway"))
        roles |= NODE_GATEWAY;
    if (config_has_section(cli->config, "forward"))
        roles |= NODE_FORWARD;
    if (roles == 0) {
        cli_complain("the configuration has none of [exit], [gateway] and [forward], so there is "
                     "nothing to do; add one (an empty section means its defaults)");
        return CLI_CONFIG;
    }
    return cli_serve(cli, roles, &hooks);
}
