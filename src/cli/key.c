/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit key`: shows this node's ID, and copies its private key out of the state directory and into
 * one. A copy is a file of its own, 0600, that is never written over another. A key is replaced
 * only when told so, and never destroyed: the old one is put aside under its ID. Showing and
 * exporting need no lock, for a running node does not change its key; importing does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"

#define ASIDE_ID_CHARS 12

static void id_print(const struct identity *identity)
{
    char text[NODE_ID_TEXT_LEN + 1];

    printf("%s\n", node_id_format(identity_id(identity), text));
}

static int key_show(const struct cli *cli, const char *file)
{
    char errbuf[CLI_ERROR_MAX];
    struct identity *identity = identity_load(cli->state_dir, errbuf, sizeof errbuf);
    int code = CLI_OK;

    if (identity == NULL ||
        (file != NULL && identity_write(identity, file, errbuf, sizeof errbuf))) {
        cli_complain("%s", errbuf);
        code = CLI_FAILURE;
    } else {
        id_print(identity);
    }
    identity_free(identity);
    return code;
}

/* Puts the present key aside. 0 or a code, told; aside: its new name, "" if there was none. */
static int key_put_aside(const struct cli *cli, const struct identity *next, const char *path,
                         char aside[PATH_MAX])
{
    char errbuf[CLI_ERROR_MAX], id[NODE_ID_TEXT_LEN + 1] = "unreadable";
    struct identity *old;
    struct stat st;

    aside[0] = '\0';
    if (lstat(path, &st) != 0 && errno == ENOENT)
        return 0;
    old = identity_read(path, errbuf, sizeof errbuf);
    if (old != NULL)
        node_id_format(identity_id(old), id);
    if (old != NULL && node_id_equal(identity_id(old), identity_id(next))) {
        cli_complain("%s is this key already; nothing was changed", path);
        identity_free(old);
        return CLI_FAILURE;
    }
    identity_free(old);
    if (!cli_has(cli, "force")) {
        cli_complain("%s is a key already (of %s): this node would get another ID, and those who "
                     "admitted the old one would not know it; with --force it is done, and the old "
                     "key put aside",
                     path, id);
        return CLI_FAILURE;
    }
    if (snprintf(aside, PATH_MAX, "%s-%.*s.old", path, ASIDE_ID_CHARS, id) >= PATH_MAX ||
        rename(path, aside) != 0) {
        cli_complain("%s cannot be put aside as %s: %s", path, aside, strerror(errno));
        return CLI_FAILURE;
    }
    return 0;
}

static int key_import(const struct cli *cli, const char *file)
{
    char errbuf[CLI_ERROR_MAX], path[PATH_MAX], aside[PATH_MAX] = "";
    struct identity *identity = identity_read(file, errbuf, sizeof errbuf);
    struct state *state = NULL;
    int code = CLI_FAILURE;

    if (identity != NULL)
        state = state_open(cli->state_dir, errbuf, sizeof errbuf, NULL);
    if (state == NULL) {
        cli_complain("%s", errbuf);
        goto out;
    }
    if (snprintf(path, sizeof path, "%s/key", cli->state_dir) >= (int)sizeof path) {
        cli_complain("the name of the state directory is too long");
        goto out;
    }
    code = key_put_aside(cli, identity, path, aside);
    if (code != 0)
        goto out;
    if (identity_write(identity, path, errbuf, sizeof errbuf) != 0) {
        cli_complain("%s", errbuf);
        code = CLI_FAILURE;
        if (aside[0] != '\0' && rename(aside, path) != 0)
            cli_complain("the old key is %s now", aside);
        goto out;
    }
    if (aside[0] != '\0')
        fprintf(stderr, "adit: the old key is %s now\n", aside);
    id_print(identity);
out:
    state_close(state);
    identity_free(identity);
    return code;
}

int key_run(struct cli *cli)
{
    const char *out = cli_value(cli, "export"), *in = cli_value(cli, "import");
    int code = CLI_USAGE;

    if (out != NULL && in != NULL)
        cli_complain("key: either --export or --import");
    else if (cli_has(cli, "force") && in == NULL)
        cli_complain("key: --force belongs to --import");
    else
        code = cli_prepare(cli);
    if (code != 0)
        return code;
    return in != NULL ? key_import(cli, in) : key_show(cli, out);
}
