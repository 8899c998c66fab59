/* SPDX-License-Identifier: MIT */
/*
 * Users: who may use the front end, from a file of user:password lines.
 */
#ifndef ADIT_INGRESS_USERS_H
#define ADIT_INGRESS_USERS_H

#include <stdbool.h>
#include <stddef.h>

#define USERS_MAX            1024
#define USERS_FILE_MAX_BYTES (1024 * 1024)
#define USERS_TEXT_MAX       255 /* of a name, of a password: RFC 1929 2 */

struct users;

/* Loads a file: user:password lines; empty lines and lines that begin with '#' are skipped. 0, or a
 * negative error with its reason, file and line in `error`: ADIT_EFORMAT, ADIT_EFULL, -EPERM
 * (readable by everybody), or of open(2). */
int users_load(const char *path, struct users **users, char *error, size_t error_len);
void users_free(struct users *users); /* wipes the passwords; NULL is fine */

/* Whether these are a user's name and password, in time that does not depend on where they differ.
 */
bool users_check(const struct users *users, const void *name, size_t name_len, const void *password,
                 size_t password_len);
size_t users_count(const struct users *users);

#endif
