/* SPDX-License-Identifier: MIT */
/*
 * Control: requests about a running gate, one JSON object a line, over a unix socket. control.c has
 * the theory, README.md the requests.
 */
#ifndef LAB_CONTROL_H
#define LAB_CONTROL_H

#include <sys/epoll.h>

#include "gate.h"

#define CONTROL_CLIENTS_MAX    32
#define CONTROL_LINE_MAX_BYTES 65536

/* A descriptor in an epoll, whose data.ptr it is. */
struct watch {
    int fd;
    void (*ready)(struct watch *watch, uint32_t events);
};

int watch_add(int epoll, struct watch *watch, uint32_t events);
/* The wire's clock: CLOCK_MONOTONIC, in ns. */
int64_t clock_now(void);

struct control;

/* Answers one request, given as a string. The answer is the caller's to free, without newline;
 * NULL: no memory. */
char *control_answer(struct gate *gate, const char *request, int64_t now);
/* Listens at path; a negative errno otherwise. */
int control_open(struct control **control, struct gate *gate, const char *path, int epoll);
/* Closes all, and removes the path. */
void control_close(struct control *control);

#endif
