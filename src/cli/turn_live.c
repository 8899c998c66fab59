/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Packets of an interface, by a packet socket that gives IP packets without their link layer. On
 * loopback every packet is seen twice, going out and coming in: only the second counts. Signals
 * arrive by a descriptor, so that nothing global has to be written.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "capture/fragments.h"
#include "cli/turn.h"

#define LIVE_BUFFER (8 * 1024 * 1024)
#define LIVE_PACKET ((size_t)128 * 1024)

static int live_open(const char *interface)
{
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int on = 1, size = LIVE_BUFFER, fd;

    if (strcmp(interface, "any") != 0) {
        at.sll_ifindex = (int)if_nametoindex(interface);
        if (at.sll_ifindex == 0) {
            cli_complain("there is no interface '%.60s'; `any' means all of them", interface);
            return -ENODEV;
        }
    }
    fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        if (errno == EPERM || errno == EACCES)
            cli_complain("--live needs root, or the capability CAP_NET_RAW; or capture with "
                         "tcpdump as root, and decode the file");
        else
            cli_complain("packet socket: %s", strerror(errno));
        return -EPERM;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    cli_complain("%s: %s", interface, strerror(errno));
    close(fd);
    return -EIO;
}

static int64_t time_of(struct msghdr *message)
{
    struct timeval tv;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMP) {
            memcpy(&tv, CMSG_DATA(c), sizeof(tv));
            return (int64_t)tv.tv_sec * 1000000 + tv.tv_usec;
        }
    }
    return (int64_t)time(NULL) * 1000000;
}

/* Reads what is there. False: the socket has failed. */
static bool live_read(int fd, struct fragments *fragments, uint8_t *buffer, turn_live_cb *fn,
                      void *arg)
{
    for (int i = 0; i < 256; i++) {
        char control[256];
        struct sockaddr_ll from;
        struct iovec iov = {buffer, LIVE_PACKET};
        struct msghdr message = {.msg_name = &from,
                                 .msg_namelen = sizeof(from),
                                 .msg_iov = &iov,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
        struct packet packet;
        struct packet_fragment fragment;

        if (n < 0)
            return errno == EAGAIN || errno == EINTR || errno == ENETDOWN;
        if ((from.sll_hatype == ARPHRD_LOOPBACK && from.sll_pkttype == PACKET_OUTGOING) ||
            (ntohs(from.sll_protocol) != ETH_P_IP && ntohs(from.sll_protocol) != ETH_P_IPV6))
            continue;
        enum packet_outcome outcome =
            packet_parse(PACKET_LINK_RAW, buffer, (size_t)n, &packet, &fragment);
        if (outcome == PACKET_FRAGMENT)
            outcome = fragments_add(fragments, &fragment, &packet);
        if (outcome == PACKET_WHOLE)
            fn(arg, &packet, time_of(&message));
    }
    return true;
}

static void tell_drops(int fd)
{
    struct tpacket_stats stats;
    socklen_t len = sizeof(stats);

    if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len) == 0 && stats.tp_drops > 0)
        cli_complain("%u packets came faster than they could be read, and are missing",
                     stats.tp_drops);
}

int turn_live(const char *interface, turn_live_cb *fn, void *arg)
{
    struct fragments *fragments = fragments_new();
    uint8_t *buffer = malloc(LIVE_PACKET);
    int fd = live_open(interface), signals = -1, code = CLI_FAILURE;
    sigset_t set;

    if (fd < 0 || fragments == NULL || buffer == NULL)
        goto out;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (signals < 0)
        goto out;
    cli_complain("listening on %s; stop with Ctrl-C", interface);
    struct pollfd polled[] = {{.fd = fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    while (!ferror(stdout)) {
        if (poll(polled, 2, -1) < 0 && errno != EINTR)
            break;
        if (polled[1].revents != 0) {
            code = CLI_OK;
            break;
        }
        if (polled[0].revents != 0 && !live_read(fd, fragments, buffer, fn, arg)) {
            cli_complain("%s: %s", interface, strerror(errno));
            break;
        }
    }
    tell_drops(fd);
out:
    if (signals >= 0)
        close(signals);
    if (fd >= 0)
        close(fd);
    free(buffer);
    fragments_free(fragments);
    return code;
}
