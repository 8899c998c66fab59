/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Tickets on the command line: where they are read from and written to, and the options that shape
 * a new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "config/config_int.h"
#include "config/ticket.h"
#include "nat/interfaces.h"

#define TICKET_FILE_MAX_BYTES (2 * TICKET_TEXT_MAX)

bool cli_is_ticket(const char *text)
{
    return text[0] == '@' || strcmp(text, "-") == 0 || ticket_looks_like_one(text);
}

/* Up to TICKET_FILE_MAX_BYTES of a file; NULL: told. */
static char *text_read(FILE *file, const char *name)
{
    char *text = calloc(1, TICKET_FILE_MAX_BYTES + 1);

    if (text == NULL || file == NULL) {
        cli_complain("ticket %s cannot be read: %s", name, strerror(errno));
        free(text);
        return NULL;
    }
    size_t len = fread(text, 1, TICKET_FILE_MAX_BYTES + 1, file);
    if (ferror(file) || len > TICKET_FILE_MAX_BYTES) {
        cli_complain("%s holds no ticket: %s", name,
                     ferror(file) ? "it cannot be read" : "it is too long");
        free(text);
        return NULL;
    }
    text[len] = '\0';
    return text;
}

char *cli_read_ticket(const char *from)
{
    struct ticket ticket;
    char *text;

    if (strcmp(from, "-") == 0) {
        text = text_read(stdin, "on standard input");
    } else if (from[0] == '@') {
        FILE *file = fopen(from + 1, "re");
        text = text_read(file, from + 1);
        if (file != NULL)
            fclose(file);
    } else {
        text = strdup(from);
    }
    if (text == NULL)
        return NULL;
    enum ticket_result result = ticket_parse(text, strlen(text), &ticket);
    if (result != TICKET_OK) {
        cli_complain("%s%s%s", from[0] == '@' ? from + 1 : "", from[0] == '@' ? ": " : "",
                     ticket_result_text(result));
        free(text);
        text = NULL;
    }
    memset(&ticket, 0, sizeof ticket);
    return text;
}

int cli_parse_span(const char *what, const char *text, int64_t *span_s)
{
    uint64_t us = 0;

    if (strcmp(text, "never") != 0 &&
        (value_parse_duration(text, &us) != 0 || (us != 0 && us < SEC_US) ||
         us / SEC_US > STATE_SPAN_MAX_S)) {
        cli_complain("%s %.60s: no duration of a second to a hundred years; write 30m, 12h or 7d, "
                     "or `never' for no end",
                     what, text);
        return CLI_USAGE;
    }
    *span_s = (int64_t)(us / SEC_US);
    return 0;
}

int cli_ticket_options(const struct cli *cli, struct node_ticket_options *options,
                       const char **addresses)
{
    const char *uses = cli_value(cli, "uses"), *expires = cli_value(cli, "expires");
    const char *admit = cli_value(cli, "admit-for");
    uint64_t n = NODE_TICKET_USES;
    struct target target;

    *options = (struct node_ticket_options){.addresses = addresses, .ttl_s = NODE_TICKET_TTL_S};
    if (uses != NULL && (value_parse_number(uses, &n) != 0 || n > STATE_USES_MAX)) {
        cli_complain("--uses %.60s: not a number up to %d", uses, STATE_USES_MAX);
        return CLI_USAGE;
    }
    if (expires != NULL && cli_parse_span("--expires", expires, &options->ttl_s) != 0)
        return CLI_USAGE;
    if (admit != NULL && cli_parse_span("--admit-for", admit, &options->admit_s) != 0)
        return CLI_USAGE;
    options->uses = (uint32_t)n;
    for (size_t i = 0; i < cli->value_count; i++) {
        if (strcmp(cli->values[i].name, "address") != 0)
            continue;
        if (target_parse(cli->values[i].value, &target) != 0) {
            cli_complain("--address %.60s: not HOST:PORT", cli->values[i].value);
            return CLI_USAGE;
        }
        addresses[options->address_count++] = cli->values[i].value;
    }
    if (options->address_count > TICKET_REACH_MAX) {
        cli_complain("more than %d addresses do not fit a ticket", TICKET_REACH_MAX);
        return CLI_USAGE;
    }
    return 0;
}

void cli_ticket_note(const char *text)
{
    char name[TARGET_TEXT_MAX];
    struct ticket ticket;
    size_t private_count = 0;

    if (ticket_parse(text, strlen(text), &ticket) != TICKET_OK)
        return;
    for (size_t i = 0; i < ticket.reach_count; i++)
        private_count += !ticket.reach[i].name[0] && interfaces_is_private(&ticket.reach[i].addr) &&
                         !addr_is_loopback(&ticket.reach[i].addr);
    if (ticket.broker_count == 0 && private_count > 0 && private_count == ticket.reach_count)
        cli_complain("note: this ticket works in this network only, for it names only private "
                     "addresses (%s); elsewhere it takes a forwarded port (--address HOST:PORT) or "
                     "a broker (signal.broker)",
                     target_format(&ticket.reach[0], name));
    explicit_bzero(&ticket, sizeof ticket);
}

int cli_write_ticket(const char *path, const char *ticket)
{
    size_t len = strlen(path);
    char *tmp = malloc(len + 8);
    int fd = -1, rc = -ENOMEM;

    if (tmp == NULL)
        goto out;
    memcpy(tmp, path, len);
    strcpy(tmp + len, ".XXXXXX"); /* mkostemp() makes it 0600 */
    fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0) {
        rc = -errno;
        goto out;
    }
    rc = dprintf(fd, "%s\n", ticket) < 0 || close(fd) != 0 || rename(tmp, path) != 0 ? -errno : 0;
    if (rc != 0)
        unlink(tmp);
out:
    if (rc != 0)
        cli_complain("ticket file %s: %s", path, err_text(rc));
    free(tmp);
    return rc != 0 ? CLI_FAILURE : 0;
}
