/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A routing socket that has joined the groups of links, addresses and routes. What exactly happened
 * is not parsed: whoever is told looks at the whole anyway, and a message lost in an overflow
 * (ENOBUFS) is a change too. Only that a message is about the local table's cached or IPv6
 * multicast routes does not matter here, since such are not sent to these groups unasked.
 *
 * A change comes as a burst (link, addresses, routes); it is told once, a short while after the
 * first, so that the new routes are there when somebody dials.
 */
#include "node/netwatch.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

struct netwatch {
    struct loop *loop;
    int fd;
    struct event event;
    struct timer timer;
    void (*changed)(void *arg);
    void *arg;
};

static void on_timer(void *arg)
{
    struct netwatch *netwatch = arg;

    log_debug("event=network-changed");
    netwatch->changed(netwatch->arg);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct netwatch *netwatch = arg;
    char buf[8192];
    ssize_t len;

    (void)what;
    loop_refresh(netwatch->loop);
    do
        len = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    while (len > 0 || (len < 0 && (errno == EINTR || errno == ENOBUFS)));
    if (!timer_is_set(&netwatch->timer))
        timer_set_in(netwatch->loop, &netwatch->timer, NETWATCH_DELAY_US);
}

struct netwatch *netwatch_new(struct loop *loop, void (*changed)(void *arg), void *arg)
{
    struct sockaddr_nl address = {
        .nl_family = AF_NETLINK,
        .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                     RTMGRP_IPV6_ROUTE,
    };
    struct netwatch *netwatch = calloc(1, sizeof(*netwatch));

    if (!netwatch)
        return NULL;
    netwatch->loop = loop;
    netwatch->changed = changed;
    netwatch->arg = arg;
    timer_init(&netwatch->timer, on_timer, netwatch);
    netwatch->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netwatch->fd < 0 || bind(netwatch->fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        event_assign(&netwatch->event, loop_base(loop), netwatch->fd, EV_READ | EV_PERSIST,
                     on_event, netwatch) < 0 ||
        event_add(&netwatch->event, NULL) < 0) {
        log_warn(
            "event=netwatch-failed why=\"%s\" effect=\"changes of the network are noticed later\"",
            strerror(errno));
        if (netwatch->fd >= 0)
            close(netwatch->fd);
        free(netwatch);
        return NULL;
    }
    return netwatch;
}

void netwatch_free(struct netwatch *netwatch)
{
    if (!netwatch)
        return;
    event_del(&netwatch->event);
    timer_cancel(netwatch->loop, &netwatch->timer);
    close(netwatch->fd);
    free(netwatch);
}
