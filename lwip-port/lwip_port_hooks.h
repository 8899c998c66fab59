/* SPDX-License-Identifier: MIT */
/* What lwIP itself calls; included by lwipopts.h, hence before any type of lwIP exists. */
#ifndef ADIT_LWIP_PORT_HOOKS_H
#define ADIT_LWIP_PORT_HOOKS_H

#include <stdint.h>

struct ip_addr;

/* LWIP_HOOK_TCP_ISN: the initial sequence number of a connection, by RFC 6528. */
uint32_t lwip_port_isn(const struct ip_addr *local_ip, uint16_t local_port,
                       const struct ip_addr *remote_ip, uint16_t remote_port);

/* LWIP_RAND: unpredictable bits for ports. */
uint32_t lwip_port_random(void);

/* Failed assertion in lwIP: its state cannot be trusted any more. Says where, and aborts. */
void lwip_port_assert_failed(const char *message, const char *file, int line)
    __attribute__((noreturn));

#endif
