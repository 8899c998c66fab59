/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * BBR sets a timer for every segment it sends. Over a long path that is what keeps queues short,
 * and worth it. Over loopback or a LAN the timers are a third of all that the kernel does for a
 * connection in bulk, and there is no queue to keep short: there CUBIC (or Reno, where the system
 * lets only root choose CUBIC) does the same work for less.
 *
 * A socket that has once been BBR's is paced for the rest of its life, whatever it is changed to,
 * so the choice comes first: where BBR is the system's default, sockets begin without it, and those
 * that turn out to reach far get it back before they carry much. Whoever configured another
 * congestion control than BBR (DCTCP, ...) keeps it.
 */
#include "pipe/pacing.h"

#include <linux/tcp.h> /* not netinet/: that one's tcp_info lacks the smallest round trip */
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME_MAX_BYTES 16 /* TCP_CA_NAME_MAX */
#define NEAR_US        1000

static bool get_control(int fd, char name[NAME_MAX_BYTES])
{
    socklen_t len = NAME_MAX_BYTES;

    return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0;
}

static bool is_paced(const char *name)
{
    return strncmp(name, "bbr", 3) == 0;
}

void pacing_avoid(int fd)
{
    static const char cubic[] = "cubic", reno[] = "reno";
    char name[NAME_MAX_BYTES] = "";

    if (get_control(fd, name) && is_paced(name) &&
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cubic, sizeof cubic - 1) < 0)
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof reno - 1);
}

static bool is_near(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;

    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
           len < offsetof(struct tcp_info, tcpi_min_rtt) + sizeof info.tcpi_min_rtt ||
           info.tcpi_min_rtt < NEAR_US;
}

void pacing_decide(int fd, int family)
{
    char now[NAME_MAX_BYTES] = "", standard[NAME_MAX_BYTES] = "";
    int fresh;

    if (is_near(fd) || !get_control(fd, now) || is_paced(now))
        return;
    fresh = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fresh < 0)
        return;
    if (get_control(fresh, standard) && is_paced(standard))
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, standard,
                   (socklen_t)strnlen(standard, sizeof standard));
    close(fresh);
}
