/* SPDX-License-Identifier: MIT */
/* Lines of a descriptor, as they come. */
#ifndef ADIT_CLI_TURN_LINES_H
#define ADIT_CLI_TURN_LINES_H

#include "base/loop.h"

#define LINES_LENGTH_MAX 65536 /* bytes of a line; a longer one comes in several */

struct lines;
struct lines_events {
    void (*line)(void *arg, const char *text, size_t len); /* without its end; lent */
    void (*read)(void *arg);          /* some were told, and more may come: time to pause */
    void (*over)(void *arg, int why); /* all have been told: 0, or a negative error */
};

/* fd: not closed by it. NULL: no memory. */
struct lines *lines_new(struct loop *loop, int fd, const struct lines_events *events, void *arg);
void lines_free(struct lines *lines); /* NULL: nothing; not from within an event */
void lines_pause(struct lines *lines);
void lines_resume(struct lines *lines); /* nothing after the end */

#endif
