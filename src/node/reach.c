/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Which addresses of this machine others may use to reach it: those of interfaces that are up and
 * have a carrier. Left out are loopback, link-local addresses, our own TUN, and bridges and links
 * of containers and virtual machines (by name, as they look like any other), unless nothing else is
 * left: inside a container such a link is the network. A machine without any network still has its
 * loopback, which two nodes on it can use.
 */
#include <fnmatch.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

#include "node/node_int.h"

static const char *const virtual_names[] = {"docker*", "br-*",   "veth*",    "virbr*", "vnet*",
                                            "lxc*",    "lxdbr*", "cni*",     "cali*",  "flannel*",
                                            "podman*", "vmnet*", "vboxnet*", "adit*",  "kube*"};

enum reach_kind { REACH_REAL, REACH_VIRTUAL, REACH_LOOPBACK, REACH_NONE };

bool reach_is_private(const struct addr *given)
{
    struct addr addr = addr_unmap(given);
    const uint8_t *b = addr.ip.bytes;

    if (addr_is_loopback(&addr))
        return true;
    if (addr.family == AF_INET)
        return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
               (b[0] == 169 && b[1] == 254) || (b[0] == 100 && (b[1] & 0xc0) == 64);
    return (b[0] & 0xfe) == 0xfc || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

static bool is_link_local(const struct addr *addr)
{
    const uint8_t *b = addr->ip.bytes;

    return addr->family == AF_INET ? b[0] == 169 && b[1] == 254
                                   : b[0] == 0xfe && (b[1] & 0xc0) == 0x80;
}

static bool is_configured(const struct node *node, const char *name)
{
    const struct config_strings *names = &node->config->nat.interfaces;

    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i], name) == 0)
            return true;
    return names->count == 0;
}

static enum reach_kind kind_of(const struct node *node, const struct ifaddrs *entry,
                               const struct addr *addr)
{
    if (!(entry->ifa_flags & IFF_UP) || is_link_local(addr))
        return REACH_NONE;
    if (entry->ifa_flags & IFF_LOOPBACK)
        return addr_is_loopback(addr) ? REACH_LOOPBACK : REACH_REAL;
    if (!(entry->ifa_flags & IFF_RUNNING) || !is_configured(node, entry->ifa_name))
        return REACH_NONE;
    for (size_t i = 0; i < sizeof(virtual_names) / sizeof(*virtual_names); i++)
        if (fnmatch(virtual_names[i], entry->ifa_name, 0) == 0)
            return REACH_VIRTUAL;
    return REACH_REAL;
}

/* Addresses of one kind. */
static size_t collect(const struct node *node, const struct ifaddrs *list, enum reach_kind kind,
                      struct addr *out, size_t max)
{
    size_t count = 0;

    for (const struct ifaddrs *entry = list; entry && count < max; entry = entry->ifa_next) {
        socklen_t len = sizeof(struct sockaddr_in);
        struct addr addr;

        if (!entry->ifa_addr)
            continue;
        if (entry->ifa_addr->sa_family == AF_INET6)
            len = sizeof(struct sockaddr_in6);
        if (addr_from_sockaddr(entry->ifa_addr, len, &addr) < 0)
            continue;
        if (kind_of(node, entry, &addr) != kind)
            continue;
        addr.port = 0;
        out[count++] = addr;
    }
    return count;
}

size_t reach_local(const struct node *node, struct addr *out, size_t max)
{
    struct ifaddrs *list = NULL;
    size_t count = 0;

    if (getifaddrs(&list) < 0)
        return 0;
    for (enum reach_kind kind = REACH_REAL; kind < REACH_NONE && count == 0; kind++)
        count = collect(node, list, kind, out, max);
    freeifaddrs(list);
    return count;
}

static size_t add(struct addr *out, size_t count, size_t max, const struct addr *addr)
{
    for (size_t i = 0; i < count; i++)
        if (addr_equal(&out[i], addr))
            return count;
    if (count < max)
        out[count++] = *addr;
    return count;
}

size_t reach_listeners(const struct node *node, struct addr *out, size_t max)
{
    const struct config_strings *advertise = &node->config->path.advertise;
    struct addr local[REACH_MAX];
    size_t local_count = reach_local(node, local, REACH_MAX), count = 0;

    for (size_t i = 0; i < advertise->count; i++) {
        struct target target;

        if (target_parse(advertise->items[i], &target) < 0 || target.name[0])
            continue;
        target.addr.port = target.port;
        count = add(out, count, max, &target.addr);
    }
    for (size_t i = 0; node->listen && i < listen_count(node->listen); i++) {
        struct addr at = listen_addr(node->listen, i);

        if (!addr_is_any(&at)) {
            if (!is_link_local(&at))
                count = add(out, count, max, &at);
            continue;
        }
        for (size_t j = 0; j < local_count; j++) {
            struct addr addr = local[j];

            if (at.family == AF_INET && addr.family != AF_INET)
                continue;
            addr.port = at.port;
            count = add(out, count, max, &addr);
        }
    }
    return count;
}
