/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A routing socket that has joined the groups of links, addresses and routes. What exactly happened
 * is not parsed: the list of interfaces is read again and compared, and a message lost in an
 * overflow (ENOBUFS) is a change too.
 *
 * A change comes as a burst (link, addresses, routes); it is told once, a short while after the
 * first, so that the new routes are there when somebody dials. Where the list is the same as
 * before, it was a route to somewhere; a machine that runs a routing protocol has many of these, so
 * they are told seldom.
 *
 * After a gap in which the process did not run (base/loop.h) the list is read at once, since what
 * the kernel had to tell meanwhile may be read later in this turn.
 */
#include "nat/netwatch.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

struct netwatch {
    struct loop *loop;
    int fd; /* -1: not watching */
    struct event event;
    struct timer timer;
    struct gap_watch gap;
    uint64_t told_at;
    char own[IF_NAMESIZE];
    netwatch_cb *changed;
    void *arg;
    struct interfaces interfaces, before;
};

/* Whether it is another list than it was. */
static bool read_again(struct netwatch *netwatch)
{
    int r;

    netwatch->before = netwatch->interfaces;
    r = interfaces_read(&netwatch->interfaces, netwatch->own);
    if (r < 0) {
        log_warn("event=interfaces-unknown why=\"%s\"", err_text(r));
        netwatch->interfaces = netwatch->before;
    }
    return r < 0 || !interfaces_equal(&netwatch->before, &netwatch->interfaces);
}

static void tell(struct netwatch *netwatch, enum netwatch_what what)
{
    static const char *const names[] = {"interfaces", "routes", "woke"};

    log_debug("event=network-changed what=%s", names[what]);
    netwatch->told_at = loop_now(netwatch->loop);
    netwatch->changed(netwatch->arg, what);
}

static void on_timer(void *arg)
{
    struct netwatch *netwatch = arg;
    uint64_t now = loop_now(netwatch->loop);

    if (read_again(netwatch))
        tell(netwatch, NETWATCH_CHANGED);
    else if (netwatch->told_at + NETWATCH_ROUTES_US <= now)
        tell(netwatch, NETWATCH_ROUTES);
    else
        timer_set(netwatch->loop, &netwatch->timer, netwatch->told_at + NETWATCH_ROUTES_US);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    struct netwatch *netwatch = arg;
    uint64_t soon = loop_refresh(netwatch->loop) + NETWATCH_DELAY_US;
    char buf[8192];
    ssize_t len;

    (void)what;
    do
        len = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    while (len > 0 || (len < 0 && (errno == EINTR || errno == ENOBUFS)));
    if (!timer_is_set(&netwatch->timer) || netwatch->timer.at > soon)
        timer_set(netwatch->loop, &netwatch->timer, soon);
}

static void on_gap(void *arg, uint64_t lost_us)
{
    struct netwatch *netwatch = arg;

    log_info("event=woke ms=%llu", (unsigned long long)(lost_us / MS_US));
    read_again(netwatch);
    tell(netwatch, NETWATCH_WOKE);
}

/* 0 or a negative errno. */
static int watch(struct netwatch *netwatch)
{
    struct sockaddr_nl address = {
        .nl_family = AF_NETLINK,
        .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
                     RTMGRP_IPV6_ROUTE,
    };

    if (loop_is_virtual(netwatch->loop))
        return -EOPNOTSUPP;
    netwatch->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netwatch->fd < 0)
        return -errno;
    if (bind(netwatch->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    if (event_assign(&netwatch->event, loop_base(netwatch->loop), netwatch->fd,
                     EV_READ | EV_PERSIST, on_event, netwatch) < 0 ||
        event_add(&netwatch->event, NULL) < 0)
        return -ENOMEM;
    return 0;
}

struct netwatch *netwatch_new(struct loop *loop, const char *own, netwatch_cb *changed, void *arg)
{
    struct netwatch *netwatch = calloc(1, sizeof(*netwatch));
    int r;

    if (!netwatch)
        return NULL;
    netwatch->loop = loop;
    netwatch->changed = changed;
    netwatch->arg = arg;
    netwatch->fd = -1;
    snprintf(netwatch->own, sizeof(netwatch->own), "%s", own);
    timer_init(&netwatch->timer, on_timer, netwatch);
    gap_watch_add(loop, &netwatch->gap, on_gap, netwatch);
    r = watch(netwatch);
    if (r < 0) {
        log_warn(
            "event=netwatch-failed why=\"%s\" effect=\"changes of the network are noticed later\"",
            err_text(r));
        if (netwatch->fd >= 0)
            close(netwatch->fd);
        netwatch->fd = -1;
    }
    read_again(netwatch);
    return netwatch;
}

void netwatch_free(struct netwatch *netwatch)
{
    if (!netwatch)
        return;
    if (netwatch->fd >= 0) {
        event_del(&netwatch->event);
        close(netwatch->fd);
    }
    timer_cancel(netwatch->loop, &netwatch->timer);
    gap_watch_remove(&netwatch->gap);
    free(netwatch);
}

const struct interfaces *netwatch_interfaces(struct netwatch *netwatch)
{
    if (netwatch->fd < 0)
        read_again(netwatch);
    return &netwatch->interfaces;
}
