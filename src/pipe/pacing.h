/* SPDX-License-Identifier: MIT */
/* Pacing: keeps the pacing timers off TCP connections to near peers. See pacing.c for why. */
#ifndef ADIT_PIPE_PACING_H
#define ADIT_PIPE_PACING_H

#include <stdbool.h>

/* Before connect() or listen(): takes a socket off BBR, if that is the system's default. */
void pacing_avoid(int fd);
/* Once connected, when it is worth a few system calls: gives the system's default back to a
 * connection whose round trip is a millisecond or more. Failures of either are no matter. */
void pacing_decide(int fd, int family);

#endif
