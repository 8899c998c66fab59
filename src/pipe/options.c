/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Puts the options of a pipe on a fresh socket: explicit interface and mark first (they decide the
 * route), then reuse, then the local address. What the system refuses is returned, not ignored: an
 * explicit route that is not taken would be worse than an error.
 */
#include "pipe/options.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static int set_int(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int set_linger_reset(int fd)
{
    struct linger linger = {1, 0};

    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0 ? -errno : 0;
}

static int bind_local(const struct pipe_options *options, int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&options->local, &sa), int_len = sizeof(int);
    int type = 0;

    /* An address without a port: let TCP choose the port at connect, when the whole 4-tuple is
     * known. */
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &int_len);
    if (options->local.port == 0 && type == SOCK_STREAM)
        set_int(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    return bind(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
}

uint32_t pipe_descriptors_max(uint32_t spare)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX)
        return INT_MAX;
    if (spare > limit.rlim_cur / 4)
        spare = (uint32_t)limit.rlim_cur / 4;
    return (uint32_t)limit.rlim_cur - spare;
}

int pipe_options_apply(const struct pipe_options *options, int fd, int family)
{
    int r = 0;

    /* The system gives out the lowest one that is free. */
    if (options->spare_descriptors &&
        (uint32_t)fd >= pipe_descriptors_max(options->spare_descriptors))
        return -EMFILE;
    if (options->interface[0]) {
        size_t len = strnlen(options->interface, IF_NAMESIZE);
        if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, options->interface, (socklen_t)len) < 0)
            return -errno;
    }
    if (options->mark)
        r = set_int(fd, SOL_SOCKET, SO_MARK, (int)options->mark);
    if (!r && options->reuse_addr)
        r = set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (!r && options->reuse_port)
        r = set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!r && options->broadcast)
        r = set_int(fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (!r && options->reset_on_close)
        r = set_linger_reset(fd);
    if (!r && family == AF_INET6)
        r = set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6only);
    if (!r && options->ttl && family == AF_INET)
        r = set_int(fd, IPPROTO_IP, IP_TTL, options->ttl);
    if (!r && options->ttl && family == AF_INET6)
        r = set_int(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, options->ttl);
    if (!r && addr_is_set(&options->local))
        r = bind_local(options, fd);
    return r;
}
