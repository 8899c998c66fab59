/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The spare has the same settings but for the servers, of which those with the first one's host are
 * left out: what dies is a machine. It tries for ever to get an address, since nobody waits for it,
 * and costs an allocation there. When its address changes, the ordered pipe tells the peers.
 */
#include "stun/turn_spare.h"

#include <errno.h>
#include <string.h>

#include "stun/turn_ordered.h"

static void on_moved(struct pipe *pipe, void *arg)
{
    (void)pipe;
    turn_ordered_moved(arg);
}

int turn_spare_open(struct pipe *ordered, const struct turn_settings *settings)
{
    static const struct turn_pipe_events events = {.moved = on_moved};
    struct turn_server servers[TURN_SERVERS_MAX];
    struct turn_settings others = *settings;
    struct pipe *spare;

    others.servers = servers;
    others.count = 0;
    others.open_timeout_ms = UINT32_MAX;
    for (size_t i = 1; i < settings->count && i < TURN_SERVERS_MAX; i++)
        if (strcmp(settings->servers[i].server.host, settings->servers[0].server.host) != 0)
            servers[others.count++] = settings->servers[i];
    if (others.count == 0)
        return 0;
    spare = turn_pipe_open(ordered->loop, &others);
    if (!spare)
        return -errno;
    turn_pipe_set_events(spare, &events, ordered);
    turn_ordered_add_spare(ordered, spare);
    return 0;
}
