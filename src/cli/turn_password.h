/* SPDX-License-Identifier: MIT */
/* A password, asked for at a terminal. */
#ifndef ADIT_CLI_TURN_PASSWORD_H
#define ADIT_CLI_TURN_PASSWORD_H

/* What the user types, malloc'd, without being shown: on standard input if that is a terminal,
 * else, if standard error is one, on the terminal of the process. NULL: there is none, or nothing
 * was typed. A signal that ends or stops the process finds the terminal as it was before. */
char *password_ask(const char *user);

#endif
