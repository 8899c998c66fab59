/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * BBR sets a timer for every segment it sends. Over a long path that is what keeps queues short,
 * and worth it. Over loopback or a LAN the timers are a third of all that the kernel does for a
 * connection in bulk, and there is no queue to keep short: there CUBIC does the same work for less.
 * Whoever configured another congestion control than BBR (DCTCP, ...) keeps it.
 */
#include "pipe/pacing.h"

#include <linux/tcp.h> /* not netinet/: that one's tcp_info lacks the smallest round trip */
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#define NAME_MAX_BYTES 16 /* TCP_CA_NAME_MAX */

void pacing_ease(int fd)
{
    static const char unpaced[] = "cubic";
    char name[NAME_MAX_BYTES] = "";
    struct tcp_info info = {0};
    socklen_t len = sizeof info;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
        len < offsetof(struct tcp_info, tcpi_min_rtt) + sizeof info.tcpi_min_rtt ||
        info.tcpi_min_rtt >= PACING_NEAR_US)
        return;
    len = sizeof name;
    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 &&
        strncmp(name, "bbr", 3) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, unpaced, sizeof unpaced - 1);
}
