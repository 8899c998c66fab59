/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit exit`: a node in the role of an exit. It hands out a ticket only where somebody can take
 * it: on a terminal, on request, or into a file; so a service that restarts every day does not
 * leave a trail of good tickets. Standard output's first line says that it is ready: the ticket, or
 * the node's ID.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"

/* For a person at a terminal: what to do with the ticket. */
static void hint_print(const struct node_ticket_options *options)
{
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\nOn the other machine, run: adit gateway TICKET\n");
    if (options->uses == 0)
        fprintf(stderr, "It lets nobody in who is not admitted yet (adit peers allow)");
    else
        fprintf(stderr, "It is good for %u enrolment%s", options->uses,
                options->uses == 1 ? "" : "s");
    if (options->uses != 0 && options->ttl_s != 0)
        fprintf(stderr, " within %lld minutes", (long long)(options->ttl_s + 59) / 60);
    fprintf(stderr, ". Ctrl-C ends this exit.\n\n");
}

static int exit_ready(struct cli *cli, struct node *node, const struct node_id *id)
{
    const char *addresses[CLI_VALUES_MAX], *path = cli_value(cli, "ticket-file");
    char errbuf[CLI_ERROR_MAX], text[NODE_ID_TEXT_LEN + 1], *ticket = NULL;
    bool print = cli_has(cli, "print-ticket") || isatty(STDOUT_FILENO);
    struct node_ticket_options options;
    int code = cli_ticket_options(cli, &options, addresses);

    if (code == 0 && (print || path != NULL) &&
        node_ticket(node, &options, &ticket, errbuf, sizeof errbuf) != 0) {
        cli_complain("%s", errbuf);
        code = CLI_FAILURE;
    }
    if (code == 0 && ticket != NULL)
        cli_ticket_note(ticket);
    if (code == 0 && path != NULL)
        code = cli_write_ticket(path, ticket);
    if (code == 0 && print) {
        printf("ticket: %s\n", ticket);
        fflush(stdout);
        hint_print(&options);
    } else if (code == 0)
        printf("%s\n", node_id_format(id, text));
    free(ticket);
    return code;
}

int exit_run(struct cli *cli)
{
    static const struct serve_hooks hooks = {exit_ready};
    const char *addresses[CLI_VALUES_MAX];
    struct node_ticket_options options;
    int code = cli_ticket_options(cli, &options, addresses);

    if (code == 0)
        code = cli_prepare(cli);
    return code != 0 ? code : cli_serve(cli, NODE_EXIT, &hooks);
}
