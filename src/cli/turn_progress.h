/* SPDX-License-Identifier: MIT */
/* Progress of a file, as one line on standard error, where that is a terminal. */
#ifndef ADIT_CLI_TURN_PROGRESS_H
#define ADIT_CLI_TURN_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_LINE_MAX 400

struct progress {
    const char *what;         /* the file's name; lent */
    uint64_t total, start_at; /* bytes; total 0: not known */
    uint64_t start_us, told_us;
    bool is_terminal, is_shown; /* shown: the line has something on it */
};

/* Begins; what is shown stays until something else is. */
void progress_begin(struct progress *progress, const char *what, uint64_t total, uint64_t at,
                    uint64_t now_us);
/* So much is there. Not more often than some times a second, whatever the file. */
void progress_tell(struct progress *progress, uint64_t at, uint64_t now_us);
/* The same, with a word in the place of rate and time: "hashing", "no answer for 12 s". */
void progress_note(struct progress *progress, uint64_t at, const char *note, uint64_t now_us);
/* Clears the line, before anything else is printed; the next tell shows it again. */
void progress_hide(struct progress *progress);

/* The line, which fits in `columns` less one. note: NULL, or instead of rate and time left. Pure.
 */
const char *progress_line(const struct progress *progress, uint64_t at, const char *note,
                          uint64_t now_us, size_t columns, char buf[PROGRESS_LINE_MAX]);
/* "12.3 MB/s" */
const char *progress_rate(uint64_t bytes, uint64_t us, char buf[32]);

#endif
