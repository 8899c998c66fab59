/* SPDX-License-Identifier: MIT */
/*
 * Servers: keeps an allocation at one of several TURN servers; when that dies, at another in
 * seconds. turn_servers.c has the theory.
 */
#ifndef ADIT_STUN_TURN_SERVERS_H
#define ADIT_STUN_TURN_SERVERS_H

#include "stun/turn_allocation.h"

#define TURN_SERVERS_MAX 16

struct turn_servers;

struct turn_settings {
    const struct turn_server *servers; /* copied */
    size_t count;                      /* 1 to TURN_SERVERS_MAX */
    struct turn_request request;
    bool race;                /* ask all at once, the first that is there wins; else in order, the
                                 next after stagger_ms, or at once when one refuses */
    uint32_t stagger_ms;      /* 0: TURN_STAGGER_MS */
    uint32_t open_timeout_ms; /* nothing up by then: over; 0: TURN_OPEN_TIMEOUT_MS */
};
#define TURN_STAGGER_MS      1000
#define TURN_OPEN_TIMEOUT_MS 15000

/* Told from the loop; the servers may be closed inside each. */
struct turn_servers_events {
    /* This allocation is the one to use; for the first time, or instead of the one before, which is
     * gone: its relayed address is another. */
    void (*use)(struct turn_servers *servers, struct turn_allocation *allocation, void *arg);
    /* There is none for the moment; another is being sought. */
    void (*none)(struct turn_servers *servers, void *arg);
    /* What happened at one server (its place in the settings), for people. May be NULL. */
    void (*trouble)(struct turn_servers *servers, size_t server, const struct turn_report *report,
                    void *arg);
    /* Over: none of them can be used; the last, or most telling, reason. */
    void (*end)(struct turn_servers *servers, const struct turn_report *report, void *arg);
    /* Of the allocation in use. Any may be NULL. */
    void (*moved)(struct turn_servers *servers, void *arg);
    void (*data)(struct turn_servers *servers, const struct slice *data, const struct addr *peer,
                 void *arg);
    void (*peer)(struct turn_servers *servers, const struct addr *peer,
                 const struct turn_report *report, void *arg);
    void (*icmp)(struct turn_servers *servers, const struct addr *peer,
                 const struct stun_icmp *icmp, void *arg);
    void (*attempt)(struct turn_servers *servers, uint32_t connection, const struct addr *peer,
                    void *arg);
    void (*room)(struct turn_servers *servers, void *arg);
};

/* Begins. NULL with errno: ENOMEM, EINVAL (no or too many servers). */
struct turn_servers *turn_servers_open(struct loop *loop, const struct turn_settings *settings,
                                       const struct turn_servers_events *events, void *arg);
/* Ends all allocations, untold and at once. */
void turn_servers_close(struct turn_servers *servers);
/* Ends them as turn_allocation_release() does; `end` is told with TURN_FINE. */
void turn_servers_release(struct turn_servers *servers);
/* The one in use, or NULL. */
struct turn_allocation *turn_servers_allocation(const struct turn_servers *servers);
/* Its place in the settings; -ENOENT: none is in use. */
int turn_servers_current(const struct turn_servers *servers);
/* The network has changed: as turn_allocation_check(), and waiting attempts are made now. */
void turn_servers_check(struct turn_servers *servers);
/* The last report of a server; TURN_FINE if there was none. */
const struct turn_report *turn_servers_report(const struct turn_servers *servers, size_t server);

#endif
