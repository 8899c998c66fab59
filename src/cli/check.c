/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit check`: reads the configuration as every verb does, and says what it found. With --keys it
 * prints the table of keys, one a line, fields separated by tabs; completion and tests read that.
 *
 *     SECTION.KEY  TYPE  DEFAULT  once|repeat  used|unused  HELP
 *
 * What the configuration names and this machine does not have now is no error, for it may come, or
 * be there for another user: it is noted.
 */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

static void file_check(const char *key, const char *path)
{
    if (path[0] != '\0' && access(path, R_OK) != 0)
        printf("%s: %s cannot be read: %s\n", key, path, strerror(errno));
}

static void turn_check(const struct config_turn *turn)
{
    const struct {
        const char *key, *path;
    } files[] = {{"password_file", turn->password_file},
                 {"secret_file", turn->secret_file},
                 {"ca_file", turn->ca_file}};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char key[CONFIG_PEER_NAME_MAX + 24];

        snprintf(key, sizeof(key), "turn%s%s.%s", turn->name ? "." : "",
                 turn->name ? turn->name : "", files[i].key);
        file_check(key, files[i].path);
    }
}

const char *cli_missing_interface(const struct config *config, size_t *next)
{
    const struct config_strings *names = &config->nat.interfaces;

    while (*next < names->count) {
        const char *name = names->items[(*next)++];
        if (if_nametoindex(name) == 0)
            return name;
    }
    return NULL;
}

static void machine_check(const struct config *config)
{
    const char *name;
    size_t next = 0;

    file_check("signal.ca_file", config->signal.ca_file);
    file_check("gateway.users_file", config->gateway.users_file);
    turn_check(&config->turn);
    for (size_t i = 0; i < config->turn_count; i++)
        turn_check(&config->turns[i]);
    while ((name = cli_missing_interface(config, &next)) != NULL)
        printf("nat.interfaces: there is no interface %s now\n", name);
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
    machine_check(cli->config);
    printf("no errors\n");
    return CLI_OK;
}
