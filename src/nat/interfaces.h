/* SPDX-License-Identifier: MIT */
/*
 * Interfaces: this machine's network interfaces and their addresses at one moment, and what to make
 * of them: which of them lead anywhere, which addresses others may use, whether an address of a
 * peer lies in a network that we are in too. The functions on the list are pure.
 */
#ifndef ADIT_NAT_INTERFACES_H
#define ADIT_NAT_INTERFACES_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "config/config.h"

#define INTERFACES_MAX       64  /* further ones are not seen; virtual ones take half at most */
#define INTERFACES_ADDRS_MAX 256 /* of all together */

enum interface_kind {
    INTERFACE_REAL,
    INTERFACE_VIRTUAL, /* of containers and virtual machines, by its name */
    INTERFACE_LOOPBACK,
    INTERFACE_OWN, /* our own TUN */
};

struct interface {
    char name[IF_NAMESIZE];
    uint32_t index; /* the system's */
    enum interface_kind kind;
    bool up, carrier;        /* switched on; plugged in */
    bool default4, default6; /* packets to the internet can leave here */
};

struct interface_addr {
    struct addr addr; /* port 0 */
    uint8_t prefix;   /* length of its network's, in bits */
    uint8_t place;    /* of its interface in the list */
    bool temporary;   /* RFC 8981 */
    bool deprecated;  /* not for new connections */
    bool tentative;   /* not yet, or never: somebody else has it */
};

struct interfaces {
    size_t count, addr_count;
    uint32_t route4,
        route6; /* index of the interface that the system takes to the internet; 0: none
                 */
    struct interface items[INTERFACES_MAX];
    struct interface_addr addrs[INTERFACES_ADDRS_MAX];
};

/* Asks the kernel (rtnetlink; some ten short questions, no waiting). own: name of our TUN, "" for
 * none. 0, or a negative errno, and an empty list. */
int interfaces_read(struct interfaces *list, const char *own);
/* Index of the interface by which the system would send to that address now; 0: by none. */
uint32_t interfaces_route(const struct addr *to);
/* Which kind a name has. */
enum interface_kind interface_kind_of(const char *name, bool loopback, const char *own);

bool interfaces_equal(const struct interfaces *a, const struct interfaces *b);
/* The one of that name; NULL: none. */
const struct interface *interfaces_named(const struct interfaces *list, const char *name);
/* The one that has this address (whatever its port) and works: NULL when the address is gone, its
 * interface down or unplugged. */
const struct interface *interfaces_of_addr(const struct interfaces *list, const struct addr *addr);
/* It is up, has a carrier and an address that reaches beyond its link. */
bool interfaces_is_usable(const struct interfaces *list, const struct interface *item);

/* The addresses by which others may reach us, the best first: stable ones, then temporary, then
 * deprecated ones; among equals those of preferred interfaces first. names: the interfaces to be
 * used, preferred first; none: all real ones, those with a route to the internet first. Left out
 * are link-local addresses, our own TUN, and virtual interfaces that are not named, unless nothing
 * else is left; then loopback's. family: AF_UNSPEC for both. Returns how many. */
size_t interfaces_addrs(const struct interfaces *list, const struct config_strings *names,
                        int family, struct addr *out, size_t max);
/* The names of usable interfaces, the preferred first; real ones only unless named. */
size_t interfaces_usable(const struct interfaces *list, const struct config_strings *names,
                         char out[][IF_NAMESIZE], size_t max);

/* Of this machine, its link or a network behind some NAT: it means nothing elsewhere. */
bool interfaces_is_private(const struct addr *addr);
/* Whether an address that a peer has may mean the same here: a public one always; a private one
 * when it is on one of our links, or in the same private block as an address of ours (10/8,
 * 172.16/12, 192.168/16, 100.64/10, the /48 within fc00::/7); loopback when we have nothing else.
 */
bool interfaces_share_network(const struct interfaces *list, const struct addr *theirs);

#endif
