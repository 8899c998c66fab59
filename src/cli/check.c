/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit check`: reads the configuration as every verb does, and says what it found. With --keys it
 * prints the table of keys, one a line, fields separated by tabs; completion and tests read that.
 *
 *     SECTION.KEY  TYPE  DEFAULT  once|repeat  used|unused  HELP
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static int keys_print(void)
{
    size_t count;
    const struct config_key *keys = config_keys(&count);

    for (size_t i = 0; i < count; i++)
        printf("%s.%s\t%s\t%s\t%s\t%s\t%s\n", keys[i].section, keys[i].name,
               config_type_name(&keys[i]), keys[i].fallback != NULL ? keys[i].fallback : "",
               keys[i].repeat ? "repeat" : "once", keys[i].unused ? "unused" : "used",
               keys[i].help);
    return CLI_OK;
}

int check_run(struct cli *cli)
{
    const char *text;

    if (cli_has(cli, "keys"))
        return keys_print();
    int code = cli_load(cli, &cli->config);
    if (code != 0) {
        size_t count = config_error_count(cli->config);
        cli_complain("%zu error%s", count, count == 1 ? "" : "s");
        return code;
    }
    for (size_t i = 0; (text = config_note(cli->config, i)) != NULL; i++)
        printf("%s\n", text);
    printf("no errors\n");
    return CLI_OK;
}
