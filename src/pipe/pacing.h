/* SPDX-License-Identifier: MIT */
/* Pacing: takes the pacing timers off TCP connections to near peers. See pacing.c for why. */
#ifndef ADIT_PIPE_PACING_H
#define ADIT_PIPE_PACING_H

/* For a connection that has more to send than the kernel takes (so, hardly ever for most): when its
 * round trip is below PACING_NEAR_US and its congestion control is a BBR, changes to CUBIC. Three
 * system calls at most; failures are no matter. */
#define PACING_NEAR_US 1000
void pacing_ease(int fd);

#endif
