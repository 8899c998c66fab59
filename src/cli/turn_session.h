/* SPDX-License-Identifier: MIT */
/*
 * What the verbs under `adit turn' that speak to servers share: which servers, who we are there, a
 * loop that names are looked up in, and an end by signal.
 */
#ifndef ADIT_CLI_TURN_SESSION_H
#define ADIT_CLI_TURN_SESSION_H

#include "cli/turn.h"
#include "stun/turn_pipe.h"

struct turn_session {
    struct cli *cli;
    struct loop *loop;
    struct turn_server servers[TURN_SERVERS_MAX]; /* what they point to is the session's */
    const char *texts[TURN_SERVERS_MAX];          /* as they were given */
    size_t count;
    int code;                     /* the verb's exit code */
    bool stopped;                 /* by a signal */
    bool told;                    /* why it goes wrong */
    void (*on_signal)(void *arg); /* the first signal; a second one ends the loop */
    void *arg;
    struct turn_secrets *secrets;
    struct turn_names *names;
    struct event *signals[2];
    int idle_events; /* those of a loop that has nothing to do */
    struct timer wake;
};

/* Chooses the servers: `servers` if there are any, else those of --server, else those of the
 * profile
 * (--profile, or the configuration's [turn]); a loop, with our signals. 0 or an exit code, told. To
 * be closed in any case. */
int turn_session_open(struct turn_session *session, struct cli *cli, char *const *servers,
                      size_t count);
/* Runs the loop until turn_session_stop(); the exit code. */
int turn_session_run(struct turn_session *session);
void turn_session_stop(struct turn_session *session, int code);
void turn_session_close(struct turn_session *session);

/* A complaint, unless there was one. */
void turn_session_complain(struct turn_session *session, const char *text);
/* Has the end of a TURN pipe told in words, where nobody asked for it. */
void turn_session_watch(struct turn_session *session, struct pipe *below);

/* What --family and the profile ask of a server. 0 or CLI_USAGE, told. */
int turn_session_family(const struct cli *cli, struct turn_request *request);
/* A second line to a complaint about a server: by which option that is mended. Nothing for what no
 * option mends. */
void turn_session_remedy(const struct turn_report *report);

#endif
