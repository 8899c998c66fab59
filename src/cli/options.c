/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * From argv to a verb's arguments, its options and the configuration. getopt_long(3) does the
 * parsing, with tables made from those of main.c. Values are copied, so that what may be a ticket
 * or a password can be overwritten in argv, where every user of the machine can read it; the moment
 * before that is why @FILE, - and the configuration file exist.
 *
 * The options stay, for a reload starts over: defaults, file, options.
 */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define OPTIONS_MAX 32

void cli_complain(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fprintf(stderr, "adit: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

bool cli_has(const struct cli *cli, const char *option)
{
    for (size_t i = 0; i < cli->value_count; i++)
        if (strcmp(cli->values[i].name, option) == 0)
            return true;
    return false;
}

const char *cli_value(const struct cli *cli, const char *option)
{
    for (size_t i = cli->value_count; i > 0; i--)
        if (strcmp(cli->values[i - 1].name, option) == 0)
            return cli->values[i - 1].value;
    return NULL;
}

/* getopt's tables. val is the option's index + 256, so that letters are found by it too. */
struct tables {
    const struct cli_option *all[OPTIONS_MAX];
    struct option longs[OPTIONS_MAX + 1];
    char shorts[3 * OPTIONS_MAX + 2];
    int count;
};

static void tables_add(struct tables *tables, const struct cli_option *options)
{
    for (; options != NULL && options->name != NULL && tables->count < OPTIONS_MAX; options++) {
        tables->longs[tables->count] =
            (struct option){options->name, options->arg != NULL ? required_argument : no_argument,
                            NULL, 256 + tables->count};
        if (options->letter != 0) {
            size_t len = strlen(tables->shorts);
            tables->shorts[len++] = options->letter;
            if (options->arg != NULL)
                tables->shorts[len++] = ':';
            tables->shorts[len] = '\0';
        }
        tables->all[tables->count++] = options;
    }
}

static const struct cli_option *tables_find(const struct tables *tables, int key)
{
    if (key >= 256)
        return tables->all[key - 256];
    for (int i = 0; i < tables->count; i++)
        if (tables->all[i]->letter == key)
            return tables->all[i];
    return NULL;
}

/* Overwrites what looks like a ticket in an argument, wherever it begins, and in a URL what is
 * before its host: user and password. */
static void argument_wipe(char *text)
{
    char *ticket = strcasestr(text, "adit1"), *login = strstr(text, "://");

    if (ticket != NULL && strlen(ticket) > 20)
        memset(ticket, 'x', strlen(ticket));
    if (login != NULL) {
        login += 3;
        char *host = strrchr(login, '@');
        if (host != NULL)
            memset(login, 'x', (size_t)(host - login));
    }
}

static int value_keep(struct cli *cli, const struct cli_option *option, char *value)
{
    if (cli->value_count == CLI_VALUES_MAX) {
        cli_complain("more than %d options", CLI_VALUES_MAX);
        return CLI_USAGE;
    }
    cli->values[cli->value_count].name = option->name;
    cli->values[cli->value_count++].value = value != NULL ? strdup(value) : NULL;
    if (value != NULL)
        argument_wipe(value);
    return 0;
}

static int usage_refuse(const struct cli *cli)
{
    fprintf(stderr, "usage: adit %s [OPTION...]%s%s   (`adit help %s' tells more)\n",
            cli->verb->name, cli->verb->args[0] ? " " : "", cli->verb->args, cli->verb->name);
    return CLI_USAGE;
}

static int args_keep(struct cli *cli, int count, char **argv)
{
    if (count < cli->verb->args_min || count > cli->verb->args_max) {
        if (count > cli->verb->args_max)
            cli_complain("%s: one argument too many: '%.60s'", cli->verb->name,
                         argv[cli->verb->args_max]);
        else
            cli_complain("%s: an argument is missing", cli->verb->name);
        return usage_refuse(cli);
    }
    cli->args = calloc((size_t)count + 1, sizeof *cli->args);
    if (cli->args == NULL)
        return CLI_FAILURE;
    for (int i = 0; i < count; i++) {
        cli->args[cli->arg_count++] = strdup(argv[i]);
        argument_wipe(argv[i]);
    }
    return -1;
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
    struct tables tables = {.shorts = ""};
    int key;

    tables_add(&tables, cli->verb->options);
    tables_add(&tables, cli_common_options);
    opterr = 0;
    optind = 1;
    while ((key = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
        const struct cli_option *option = key != '?' ? tables_find(&tables, key) : NULL;
        if (option == NULL) {
            /* optopt: a letter, 256 + index of a long option that lacks its argument, or 0 */
            if (optopt >= 256 || (optopt != 0 && tables_find(&tables, optopt) != NULL))
                cli_complain("%s: %.60s needs an argument, or takes none", cli->verb->name,
                             argv[optind - 1]);
            else
                cli_complain("%s: there is no option '%.60s'", cli->verb->name, argv[optind - 1]);
            return usage_refuse(cli);
        }
        if (strcmp(option->name, "help") == 0) {
            help_print_verb(cli->verb, stdout);
            return CLI_OK;
        }
        if (value_keep(cli, option, optarg) != 0)
            return CLI_USAGE;
    }
    return args_keep(cli, argc - optind, argv + optind);
}

/* --- Configuration --- */

/* The first default that exists, or "" . */
static int default_path(char path[PATH_MAX])
{
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

    if (xdg != NULL && xdg[0] == '/')
        snprintf(path, PATH_MAX, "%s/adit/adit.conf", xdg);
    else
        snprintf(path, PATH_MAX, "%s/.config/adit/adit.conf", home != NULL ? home : "");
    if (access(path, F_OK) == 0)
        return 0;
    snprintf(path, PATH_MAX, "/etc/adit/adit.conf");
    return access(path, F_OK) == 0 ? 0 : -ENOENT;
}

static void levels_set(const struct cli *cli, struct config *config)
{
    int louder = 0;

    for (size_t i = 0; i < cli->value_count; i++) {
        louder += strcmp(cli->values[i].name, "verbose") == 0;
        louder -= strcmp(cli->values[i].name, "quiet") == 0;
    }
    if (louder == 0)
        return;
    int level = LOG_INFO + louder;
    config->node.log = level < LOG_ERROR ? LOG_ERROR : level > LOG_TRACE ? LOG_TRACE : level;
}

static int errors_tell(const struct config *config)
{
    size_t count = config_error_count(config), i = 0;
    const char *text;

    for (; (text = config_error(config, i)) != NULL; i++)
        cli_complain("%s", text);
    if (count > i)
        cli_complain("and %zu more errors", count - i);
    return count != 0 ? CLI_CONFIG : 0;
}

int cli_load(struct cli *cli, struct config **config)
{
    const char *path = cli_value(cli, "config");
    char found[PATH_MAX];

    *config = config_new();
    if (*config == NULL) {
        cli_complain("out of memory");
        return CLI_FAILURE;
    }
    if (path == NULL && default_path(found) == 0)
        path = found;
    if (path != NULL)
        config_load(*config, path);
    for (size_t i = 0; i < cli->value_count; i++)
        if (strcmp(cli->values[i].name, "option") == 0)
            config_set(*config, cli->values[i].value);
    levels_set(cli, *config);
    config_finish(*config);
    return errors_tell(*config);
}

int cli_prepare(struct cli *cli)
{
    const char *dir = cli_value(cli, "state"), *xdg = getenv("XDG_STATE_HOME");
    char found[PATH_MAX];
    int code = cli_load(cli, &cli->config);

    if (code != 0)
        return code;
    log_init((enum log_level)cli->config->node.log);
    cli->state_chosen = dir != NULL || (xdg != NULL && geteuid() != 0);
    if (dir == NULL && state_dir_default(found, sizeof found) == 0)
        dir = found;
    if (dir == NULL || dir[0] == '\0') {
        cli_complain("no state directory; name one with --state DIR");
        return CLI_USAGE;
    }
    cli->state_dir = strdup(dir);
    return cli->state_dir != NULL ? 0 : CLI_FAILURE;
}

void cli_free(struct cli *cli)
{
    for (size_t i = 0; i < cli->value_count; i++)
        free(cli->values[i].value);
    for (int i = 0; i < cli->arg_count; i++)
        free(cli->args[i]);
    free(cli->args);
    free(cli->state_dir);
    config_free(cli->config);
}

int cli_open_state(struct cli *cli, struct state **state, struct identity **identity)
{
    char errbuf[CLI_ERROR_MAX];

    *identity = NULL;
    *state = state_open(cli->state_dir, errbuf, sizeof errbuf, NULL);
    if (*state != NULL)
        *identity = identity_load(cli->state_dir, errbuf, sizeof errbuf);
    if (*identity != NULL)
        return 0;
    cli_complain("%s", errbuf);
    state_close(*state);
    *state = NULL;
    return CLI_FAILURE;
}

/* --- The running process --- */

/* NULL: *error is why. */
static struct control_client *connect_to_running(struct cli *cli, char path[PATH_MAX], int *error)
{
    struct control_client *client = NULL;
    char other[PATH_MAX];

    *error = -ENAMETOOLONG;
    if (control_path(cli->config, cli->state_dir, cli->state_chosen, path) == 0)
        client = control_client_open(path, error);
    /* A node that was started with --state where we were not. */
    if (client == NULL && (*error == -ENOENT || *error == -ECONNREFUSED) &&
        cli->config->node.control[0] == '\0') {
        int second;
        snprintf(other, sizeof other, "%.4000s/control.sock", cli->state_dir);
        client = control_client_open(other, &second);
    }
    return client;
}

static void tell_no_connection(const struct cli *cli, const char *path, int error, bool *none)
{
    bool is_absent = error == -ENOENT || error == -ECONNREFUSED;

    if (none != NULL)
        *none = is_absent;
    if (!is_absent)
        cli_complain("control socket %s: %s", path, err_text(error));
    else if (none == NULL)
        cli_complain("no adit is running here with the state directory %s; start one, or name "
                     "another with --state DIR",
                     cli->state_dir);
}

json_t *cli_ask(struct cli *cli, const struct cli_request *request, bool *none)
{
    char path[PATH_MAX] = "", errbuf[CONTROL_ERROR_MAX];
    uint32_t silence_ms = request->silence_ms != 0 ? request->silence_ms : CLI_SILENCE_MS;
    json_t *result = NULL;
    int error;
    struct control_client *client = connect_to_running(cli, path, &error);

    if (none != NULL)
        *none = false;
    if (client == NULL) {
        tell_no_connection(cli, path, error, none);
        json_decref(request->args);
        return NULL;
    }
    int rc = control_call(client, request->verb, request->args, request->event, cli, silence_ms,
                          &result, errbuf);
    control_client_close(client);
    if (rc != 0) {
        cli_complain("%s", errbuf);
        return NULL;
    }
    return result != NULL ? result : json_object();
}
