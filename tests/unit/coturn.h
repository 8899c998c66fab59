/* SPDX-License-Identifier: MIT */
/*
 * A real STUN and TURN server for tests: coturn on loopback addresses, in a process and a directory
 * of its own. Tests that need it are skipped where it is not installed.
 */
#ifndef ADIT_TESTS_COTURN_H
#define ADIT_TESTS_COTURN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define COTURN_USER     "user"
#define COTURN_PASSWORD "correct horse"

struct coturn {
    pid_t pid;     /* 0: not running */
    uint16_t port; /* of UDP and TCP; the second one of RFC 5780 is 1 more */
    uint16_t tls_port;
    char dir[64]; /* certificates may be put here */
    char log[80];
};

bool coturn_is_installed(void);
/* Makes its directory and chooses ports: for those that put files there before it runs. */
void coturn_init(struct coturn *coturn);
/* Runs it, with these options (up to a NULL; NULL: none) after the usual ones, until it answers; on
 * the same ports each time. */
void coturn_run(struct coturn *coturn, const char *const options[]);
/* Both. */
void coturn_start(struct coturn *coturn, const char *const options[]);
/* As a power failure would; it may run again. */
void coturn_kill(struct coturn *coturn);
/* That, and its files are removed. */
void coturn_stop(struct coturn *coturn);
/* How many lines of its log have this text. */
int coturn_logged(const struct coturn *coturn, const char *text);

#endif
