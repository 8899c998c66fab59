/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit help [VERB]`, made from the table of verbs; so is the answer to -h.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static void options_print(const struct cli_option *options, FILE *out)
{
    for (; options->name != NULL; options++) {
        char left[64];
        int len = options->letter != 0 ? snprintf(left, sizeof left, "-%c, ", options->letter)
                                       : snprintf(left, sizeof left, "    ");
        snprintf(left + len, sizeof left - (size_t)len, "--%s%s%s", options->name,
                 options->arg != NULL ? " " : "", options->arg != NULL ? options->arg : "");
        if (strlen(left) > 24)
            fprintf(out, "    %s\n    %24s  %s\n", left, "", options->help);
        else
            fprintf(out, "    %-24s  %s\n", left, options->help);
    }
}

void help_print_verb(const struct cli_verb *verb, FILE *out)
{
    fprintf(out, "usage: adit %s [OPTION...]%s%s\n\n%s\n", verb->name, verb->args[0] ? " " : "",
            verb->args, verb->summary);
    if (verb->text != NULL)
        fprintf(out, "\n%s", verb->text);
    if (verb->options != NULL) {
        fprintf(out, "\noptions:\n");
        options_print(verb->options, out);
    }
    fprintf(out, "\ncommon options:\n");
    options_print(cli_common_options, out);
}

void help_print(FILE *out)
{
    fprintf(out, "usage: adit VERB [OPTION...] [ARGUMENT...]\n\n"
                 "A SOCKS5 and HTTP proxy whose traffic leaves at another machine of yours.\n\n");
    for (size_t i = 0; i < cli_verb_count; i++)
        fprintf(out, "    %-10s %s\n", cli_verbs[i].name, cli_verbs[i].summary);
    fprintf(out, "    %-10s %s\n", "--version", "print the version");
    fprintf(out, "\n`adit help VERB' tells more; adit(1) and adit.conf(5) tell all.\n"
                 "\nTo begin: `adit exit' on the machine where traffic shall leave, then\n"
                 "`adit gateway TICKET' on this one, and 127.0.0.1:1080 is your proxy.\n");
}

int help_run(struct cli *cli)
{
    if (cli->arg_count == 0) {
        help_print(stdout);
        return CLI_OK;
    }
    const struct cli_verb *verb = cli_verb_find(cli->args[0]);
    if (verb == NULL) {
        cli_complain("there is no verb '%.60s'; `adit help' lists them", cli->args[0]);
        return CLI_USAGE;
    }
    /* What stands behind some verbs has its help there: `adit help turn send'. */
    if (cli->arg_count > 1 && strstr(verb->args, cli->args[1]) == NULL) {
        cli_complain("help: one argument too many: '%.60s'", cli->args[1]);
        return CLI_USAGE;
    }
    help_print_verb(verb, stdout);
    return CLI_OK;
}
