/* SPDX-License-Identifier: MIT */
/*
 * How lwIP is built for adit: TCP over layer-3 netifs, one thread, no operating system beneath.
 *
 * Whatever carries lwIP's packets is either our own reliable, authenticated datagrams or a TUN
 * device; so there are no Ethernet frames, no fragments, and no checksums in software. Memory
 * comes from malloc(): whoever opens connections limits their number.
 */
#ifndef ADIT_LWIPOPTS_H
#define ADIT_LWIPOPTS_H

#include "lwip_port_hooks.h"

/* One thread, the raw API only, our clock. */
#define NO_SYS                      1
#define SYS_LIGHTWEIGHT_PROT        0
#define LWIP_SOCKET                 0
#define LWIP_NETCONN                0
#define LWIP_TIMERS                 1

/* Memory: malloc(), and packets received by reference from buffers of ours. */
#define MEM_LIBC_MALLOC             1
#define MEMP_MEM_MALLOC             1
#define MEM_ALIGNMENT               8
#define LWIP_SUPPORT_CUSTOM_PBUF    1

/* Bare IPv4 and IPv6 between two ends that know each other. */
#define LWIP_IPV4                   1
#define LWIP_IPV6                   1
#define LWIP_ARP                    0
#define LWIP_ETHERNET               0
#define LWIP_ICMP                   1
#define LWIP_ICMP6                  1
#define LWIP_RAW                    0
#define LWIP_UDP                    0
#define IP_FRAG                     0
#define IP_REASSEMBLY               0
#define LWIP_IPV6_FRAG              0
#define LWIP_IPV6_REASS             0
#define LWIP_IPV6_MLD               0
#define LWIP_IPV6_AUTOCONFIG        0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 0
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 0
#define LWIP_SINGLE_NETIF           0
#define LWIP_HAVE_LOOPIF            0
#define LWIP_NETIF_LOOPBACK         0

/*
 * The largest segment there can be: a connection's own follows from its netif's MTU, and on a TUN
 * that segments for us it is raised after the handshake. TCP_OVERSIZE must not follow it: small
 * writes would allocate 64 KiB each.
 */
#define LWIP_TCP                    1
#define TCP_MSS                     65495
#define TCP_OVERSIZE                1360

/* Windows for 100 Mbit/s with a round trip of 100 ms and room to repair loss below; a connection
 * uses less by writing less and by confirming later what it received. */
#define LWIP_WND_SCALE              1
#define TCP_RCV_SCALE               9
#define TCP_WND                     (4 * 1024 * 1024)
#define TCP_SND_BUF                 TCP_WND
#define TCP_SND_QUEUELEN            65000
#define TCP_SNDLOWAT                (TCP_SND_BUF / 2)
#define TCP_SNDQUEUELOWAT           (TCP_SND_QUEUELEN / 2)

/* 50 ms: retransmission after 300 ms at the earliest, acknowledgements delayed by 50 ms. Shorter
 * ones cause needless retransmission when a queue delays packets, and wake-ups. */
#define TCP_TMR_INTERVAL            50
/* lwIP keeps a closed connection twice this long, in lists that it searches one by one. */
#define TCP_MSL                     2000UL
#define TCP_QUEUE_OOSEQ             1
#define LWIP_TCP_SACK_OUT           1
#define LWIP_TCP_MAX_SACK_NUM       4
#define LWIP_TCP_TIMESTAMPS         0
#define LWIP_TCP_KEEPALIVE          1
#define TCP_LISTEN_BACKLOG          1

/* AEAD, or the kernel's offload, covers the payload; ICMP's are few and stay. IPv4's header
 * checksum is filled in by whoever writes to a TUN. */
#define CHECKSUM_GEN_IP             0
#define CHECKSUM_GEN_TCP            0
#define CHECKSUM_CHECK_IP           0
#define CHECKSUM_CHECK_TCP          0
#define LWIP_CHECKSUM_ON_COPY       0

/* Initial sequence numbers that an outsider cannot guess (RFC 6528). */
#define LWIP_HOOK_TCP_ISN           lwip_port_isn

/* These compare settings with the sizes of static pools, which we do not have. */
#define LWIP_DISABLE_TCP_SANITY_CHECKS 1
#define LWIP_STATS                  0

#endif
