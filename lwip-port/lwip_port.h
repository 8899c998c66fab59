/* SPDX-License-Identifier: MIT */
/* lwIP inside this process: starting it, and its clock. One lwIP a process, used by one thread. */
#ifndef ADIT_LWIP_PORT_H
#define ADIT_LWIP_PORT_H

#include <stdint.h>

/* Starts lwIP at time now_us (as loop_now() tells it). Once a process; calling again only sets the
 * time. Returns 0 or a negative errno: without random numbers there is no lwIP. */
int lwip_port_init(uint64_t now_us);

/* Sets the time that lwIP sees, in microseconds, and runs those of its timers that are due. To be
 * called once for each batch of packets, before them. */
void lwip_port_advance(uint64_t now_us);

/* Microseconds from the time last set until lwIP's next timer, or UINT64_MAX when there is none. */
uint64_t lwip_port_next_timer(void);

#endif
