/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Where others may reach this node: the addresses of this machine (nat/interfaces.h), at the ports
 * of its listeners, and those that the configuration adds.
 */
#include "node/node_int.h"

size_t reach_local(const struct node *node, struct addr *out, size_t max)
{
    return node->netwatch ? interfaces_addrs(netwatch_interfaces(node->netwatch),
                                             &node->config->nat.interfaces, AF_UNSPEC, out, max)
                          : 0;
}

bool reach_is_private(const struct addr *addr)
{
    return interfaces_is_private(addr);
}

static bool is_link_local(const struct addr *addr)
{
    const uint8_t *b = addr->ip.bytes;

    return addr->family == AF_INET ? b[0] == 169 && b[1] == 254
                                   : b[0] == 0xfe && (b[1] & 0xc0) == 0x80;
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
