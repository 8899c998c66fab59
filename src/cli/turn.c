/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit turn`: finds the verb under the verb, and refuses options that belong to another one; what
 * several of them share.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/turn.h"
#include "crypto/hash.h"

#define SECRET_MAX_BYTES 1024
#define LOGIN_OPTIONS    " server profile user password-file secret-file ca-file "

static const struct turn_verb {
    const char *name;
    int (*run)(struct cli *cli);
    const char *options; /* with blanks around each */
} turn_verbs[] = {
    {"decode", turn_decode_run, " hex live all brief json user password-file secret-file "},
    {"probe", turn_probe_run, LOGIN_OPTIONS " time json "},
    {"listen", turn_listen_run,
     LOGIN_OPTIONS " accept output max-size plain once raw family json "},
    {"send", turn_send_run, LOGIN_OPTIONS " to plain text family json "},
};

char *turn_read_secret(const char *what, const char *path)
{
    char *secret = calloc(1, SECRET_MAX_BYTES + 2);
    FILE *file = fopen(path, "re");
    struct stat st;
    size_t len = 0;

    if (file != NULL && secret != NULL)
        len = fread(secret, 1, SECRET_MAX_BYTES + 1, file);
    if (file == NULL || secret == NULL || ferror(file)) {
        cli_complain("%s %s: %s", what, path, strerror(errno));
        goto fail;
    }
    if (fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & S_IROTH)
        cli_complain("%s: everybody on this machine can read this secret; better: chmod o= %s",
                     what, path);
    while (len > 0 && (secret[len - 1] == '\n' || secret[len - 1] == '\r'))
        secret[--len] = '\0';
    if (len == 0 || len > SECRET_MAX_BYTES || strlen(secret) != len) {
        cli_complain("%s %s: %s", what, path,
                     len == 0 ? "the file is empty" : "the file holds more than one line of text");
        goto fail;
    }
    fclose(file);
    return secret;
fail:
    if (file != NULL)
        fclose(file);
    turn_free_secret(secret);
    return NULL;
}

void turn_free_secret(char *secret)
{
    if (secret == NULL)
        return;
    hash_wipe(secret, strlen(secret));
    free(secret);
}

static int options_check(const struct cli *cli, const struct turn_verb *verb)
{
    for (size_t i = 0; i < cli->value_count; i++) {
        char name[64];
        bool is_common = false;

        snprintf(name, sizeof(name), " %.60s ", cli->values[i].name);
        for (const struct cli_option *o = cli_common_options; o->name != NULL; o++)
            is_common = is_common || strcmp(o->name, cli->values[i].name) == 0;
        if (!is_common && strstr(verb->options, name) == NULL) {
            cli_complain("turn %s: --%s belongs to another of `adit turn'", verb->name,
                         cli->values[i].name);
            return CLI_USAGE;
        }
    }
    return 0;
}

/* A standard descriptor that is closed would become that of a socket or a file, and what is printed
 * would go there. */
static void fill_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int turn_run(struct cli *cli)
{
    fill_descriptors();
    for (size_t i = 0; i < sizeof(turn_verbs) / sizeof(*turn_verbs); i++) {
        if (strcmp(turn_verbs[i].name, cli->args[0]) != 0)
            continue;
        int code = options_check(cli, &turn_verbs[i]);
        return code != 0 ? code : turn_verbs[i].run(cli);
    }
    cli_complain("turn: there is no '%.60s'; usage: adit turn %s", cli->args[0], cli->verb->args);
    return CLI_USAGE;
}
