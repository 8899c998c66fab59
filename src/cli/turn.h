/* SPDX-License-Identifier: MIT */
/* What the files of `adit turn` share. */
#ifndef ADIT_CLI_TURN_H
#define ADIT_CLI_TURN_H

#include "capture/trace.h"
#include "cli/cli.h"
#include "stun/turn.h"

/* The verbs under the verb. */
int turn_probe_run(struct cli *cli);
int turn_decode_run(struct cli *cli);
int turn_listen_run(struct cli *cli);
int turn_send_run(struct cli *cli);

/* Reads the secret in a file, without its line's end: malloc'd. what: how a complaint begins.
 * NULL: told. */
char *turn_read_secret(const char *what, const char *path);
void turn_free_secret(char *secret); /* overwritten first; NULL: nothing */

/* Packets of an interface ("any": of all), live, until SIGINT or SIGTERM. 0 or an exit code, told.
 */
typedef void turn_live_cb(void *arg, const struct packet *packet, int64_t time_us);
int turn_live(const char *interface, turn_live_cb *packet, void *arg);

/* Prints what a trace tells: as text or, a line each, as JSON. */
struct turn_print {
    bool json, brief, plain; /* plain: without times and addresses */
    bool verifies;           /* integrities, with a password or a secret */
    int64_t start_us;        /* of the first event; 0: none yet */
    /* Events with something unknown or malformed in them, with an integrity that is wrong, and how
     * many integrities were right. */
    struct turn_print_count {
        uint64_t count;
        uint64_t first[8]; /* the numbers of the first */
    } unclear, wrong;
    uint64_t right;
};
void turn_print_event(void *print, const struct trace_event *event);
void turn_print_summary(const struct turn_print *print, const struct trace_summary *summary);

#endif
