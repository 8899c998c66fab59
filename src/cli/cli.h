/* SPDX-License-Identifier: MIT */
/*
 * Command line: what the verbs share. Each verb is one file and one entry in the table of main.c,
 * with its options; from that table come parsing, `adit help`, and the comparison with manual and
 * completion.
 */
#ifndef ADIT_CLI_CLI_H
#define ADIT_CLI_CLI_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "config/config.h"
#include "config/state.h"
#include "control/control.h"
#include "crypto/identity.h"
#include "node/node.h"

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILURE = 1,
    CLI_USAGE = 2,
    CLI_CONFIG = 78, /* EX_CONFIG */
};

#define CLI_ERROR_MAX 1024

/* An option: short is its letter (0: none), arg its argument's name (NULL: none). */
struct cli_option {
    char letter;
    const char *name;
    const char *arg;
    const char *help;
};

struct cli;

struct cli_verb {
    const char *name;
    const char *args;    /* positional ones, as help shows them */
    const char *summary; /* one line */
    int (*run)(struct cli *cli);
    const struct cli_option *options; /* its own, up to one without name; NULL: none */
    int args_min, args_max;
    const char *text; /* further help, NULL: none */
};

#define CLI_VALUES_MAX 256

struct cli {
    const struct cli_verb *verb;
    char **args; /* positional, NULL-terminated */
    int arg_count;
    struct {
        const char *name;     /* of the option */
        char *value;          /* NULL: it has none */
    } values[CLI_VALUES_MAX]; /* all options, in order */
    size_t value_count;
    struct config *config;
    char *state_dir;
    bool state_chosen; /* named by --state or XDG_STATE_HOME */
    void *own;         /* the verb's */
    struct loop *loop; /* cli_serve()'s, while it runs */
    int serve_code;    /* cli_serve_end()'s */
};

/* All verbs, and the options that each of them takes. */
extern const struct cli_verb cli_verbs[];
extern const size_t cli_verb_count;
extern const struct cli_option cli_common_options[];
const struct cli_verb *cli_verb_find(const char *name);

/* Complaint on standard error, as "adit: ..." with its newline. */
__attribute__((format(printf, 1, 2))) void cli_complain(const char *format, ...);

/* Was the option given? Its (last) value; NULL if it was not given. */
bool cli_has(const struct cli *cli, const char *option);
const char *cli_value(const struct cli *cli, const char *option);

/* Takes the command line apart: argv[0] is the verb. Secrets in argv are overwritten. -1: go on;
 * else the exit code. */
int cli_parse(struct cli *cli, int argc, char **argv);
/* Loads the configuration: file, options, -v and -q. All errors are told. 0 or CLI_CONFIG. */
int cli_load(struct cli *cli, struct config **config);
/* cli_load() into cli->config, and cli->state_dir. 0 or the exit code. */
int cli_prepare(struct cli *cli);
/* The next interface of nat.interfaces, from index *next on, that this machine does not have now;
 * NULL: no more. */
const char *cli_missing_interface(const struct config *config, size_t *next);
void cli_free(struct cli *cli);

/* A TICKET argument: @FILE, - (standard input) or the ticket: malloc'd text. NULL: told. */
char *cli_read_ticket(const char *text);
/* Whether an argument means a ticket rather than a peer. */
bool cli_is_ticket(const char *text);
/* A time from now, in seconds; 0 is what `never' and 0 mean. what: how the complaint begins. 0 or
 * CLI_USAGE, told. */
int cli_parse_span(const char *what, const char *text, int64_t *span_s);
/* Ticket options (--uses, --expires, --admit-for, --address). 0 or CLI_USAGE, told. addresses: room
 * for CLI_VALUES_MAX. */
int cli_ticket_options(const struct cli *cli, struct node_ticket_options *options,
                       const char **addresses);
/* Says so if a ticket can be used in a private network only. */
void cli_ticket_note(const char *text);
/* Writes a ticket to a file, 0600, whole or not at all. 0 or CLI_FAILURE, told. */
int cli_write_ticket(const char *path, const char *ticket);

/* A request to the running process. */
struct cli_request {
    const char *verb;
    json_t *args;            /* NULL: none; taken over in any case */
    control_event_fn *event; /* NULL: there are none; its arg is the cli */
    uint32_t silence_ms;     /* how long it may say nothing; 0: CLI_SILENCE_MS */
};
#define CLI_SILENCE_MS      30000
#define CLI_SILENCE_ALLOWED UINT32_MAX /* for ever */
/* Its answer (a new reference). NULL: told, but if none is given and no process runs, *none says so
 * instead. */
json_t *cli_ask(struct cli *cli, const struct cli_request *request, bool *none);

/* Opens state and identity; told when it fails. 0 or CLI_FAILURE. */
int cli_open_state(struct cli *cli, struct state **state, struct identity **identity);

/* Runs a node of these roles until it is told to stop. */
struct serve_hooks {
    /* All listeners are bound. 0 or an exit code, which ends it. */
    int (*ready)(struct cli *cli, struct node *node, const struct node_id *id);
};
int cli_serve(struct cli *cli, unsigned roles, const struct serve_hooks *hooks);
/* From the node's callbacks: ends it at once, with this exit code. */
void cli_serve_end(struct cli *cli, int code);
/* Prints "ready: ..." for every listener of applications. */
void cli_print_ready(const struct node *node);

/* Tells systemd, if it asked ($NOTIFY_SOCKET): "READY=1", ... */
void notify_send(const char *state);
/* "RELOADING=1", with the time that systemd wants of it. */
void notify_reloading(void);

/* The verbs. */
int exit_run(struct cli *cli);
int gateway_run(struct cli *cli);
int node_run(struct cli *cli);
int forward_run(struct cli *cli);
int ticket_run(struct cli *cli);
int key_run(struct cli *cli);
int peers_run(struct cli *cli);
int status_run(struct cli *cli);
int ping_run(struct cli *cli);
int turn_run(struct cli *cli);
int check_run(struct cli *cli);
int help_run(struct cli *cli);
void help_print_verb(const struct cli_verb *verb, FILE *out);
void help_print(FILE *out);

#endif
