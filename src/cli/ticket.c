/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit ticket`. A running node makes the ticket itself, for it alone may change the state; where
 * none runs, one is made for the moment that it takes: its listener tells which port tickets shall
 * name.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

/* malloc'd, or NULL: none runs (*none), or told. */
static char *ticket_from_running(struct cli *cli, const struct node_ticket_options *options,
                                 bool *none)
{
    json_t *addresses = json_array();
    char *ticket = NULL;

    for (size_t i = 0; i < options->address_count; i++)
        json_array_append_new(addresses, json_string(options->addresses[i]));
    json_t *args = json_pack("{s:I, s:I, s:I, s:o, s:b}", "uses", (json_int_t)options->uses, "ttl",
                             (json_int_t)options->ttl_s, "admit_for", (json_int_t)options->admit_s,
                             "addresses", addresses, "refresh", cli_has(cli, "refresh"));
    json_t *result = cli_ask(cli, &(struct cli_request){.verb = "ticket", .args = args}, none);
    const char *text = json_string_value(json_object_get(result, "ticket"));
    if (text != NULL)
        ticket = strdup(text);
    json_decref(result);
    return ticket;
}

/* The same by a node for the moment. malloc'd, or NULL: told. */
static char *ticket_alone(struct cli *cli, const struct node_ticket_options *options)
{
    char errbuf[CLI_ERROR_MAX] = "out of memory", *ticket = NULL;
    bool refresh = cli_has(cli, "refresh");
    struct state *state;
    struct identity *identity;
    struct loop *loop;
    struct node *node = NULL;

    if (cli_open_state(cli, &state, &identity) != 0)
        return NULL;
    loop = loop_new();
    if (loop != NULL)
        node = node_new(loop, cli->config, state, identity, NODE_EXIT, errbuf, sizeof errbuf);
    if (node != NULL && refresh && state_enrol_clear(state) != 0)
        cli_complain("the tickets given out before could not be withdrawn: the state directory "
                     "must be writable and have room");
    else if (node == NULL || node_ticket(node, options, &ticket, errbuf, sizeof errbuf) != 0)
        cli_complain("%s", errbuf);
    node_free(node);
    loop_free(loop);
    identity_free(identity);
    state_close(state);
    return ticket;
}

int ticket_run(struct cli *cli)
{
    const char *addresses[CLI_VALUES_MAX], *path = cli_value(cli, "ticket-file");
    struct node_ticket_options options;
    char *ticket = NULL;
    bool none;
    int code = cli_ticket_options(cli, &options, addresses);

    if (code == 0)
        code = cli_prepare(cli);
    if (code != 0)
        return code;
    if (!cli_has(cli, "verbose") && cli->config->node.log > LOG_WARN)
        log_set_level(LOG_WARN);
    ticket = ticket_from_running(cli, &options, &none);
    if (none)
        ticket = ticket_alone(cli, &options);
    if (ticket == NULL)
        return CLI_FAILURE;
    cli_ticket_note(ticket);
    if (path != NULL)
        code = cli_write_ticket(path, ticket);
    else
        printf("%s\n", ticket);
    free(ticket);
    return code;
}
