/* SPDX-License-Identifier: MIT */
/*
 * Resolver: host names to addresses, asynchronously, by the exit's hosts file and DNS servers.
 * resolve.c has the theory.
 */
#ifndef ADIT_EGRESS_RESOLVE_H
#define ADIT_EGRESS_RESOLVE_H

#include "base/addr.h"
#include "base/loop.h"
#include "base/target.h"

#define RESOLVE_ADDRS_MAX 8    /* addresses kept of each family */
#define RESOLVE_NAMES_MAX 4096 /* names in the cache or being looked up */

struct resolver;
struct resolver_entry;

struct resolver_options {
    const struct addr *servers; /* copied; port 0: 53 */
    size_t server_count;        /* 0: the system's (resolv.conf), followed when they change */
    const char *resolv_conf;    /* copied; NULL: /etc/resolv.conf */
    uint16_t system_port;       /* of the system's servers; 0: 53 */
    const char *hosts_file;     /* copied; NULL: /etc/hosts; "": none */
    uint32_t timeout_ms;        /* of the first try of a server; 0: 1500; doubles with each round */
    uint32_t tries;             /* rounds; 0: 3 */
};

/* NULL: no memory, or the options are wrong (logged). options may be NULL. */
struct resolver *resolver_new(struct loop *loop, const struct resolver_options *options);
/* Lookups under way end without a word; their owners may still cancel them before, not after. */
void resolver_free(struct resolver *resolver);

/* One family's result: addresses with the port that was asked for, or count 0 and why
 * (ANSWER_NAME_NOT_FOUND, ANSWER_NAME_FAILED). Lent for the call. */
typedef void resolve_fn(void *arg, int family, const struct addr *addrs, size_t count,
                        enum answer why);

/* A lookup, embedded in its owner. */
struct lookup {
    struct resolver_entry *entry; /* NULL: not under way */
    struct lookup *next, **prev;  /* among those who wait for the entry */
    struct defer tell;
    bool *gone;
    bool told[2];
    uint16_t port;
    resolve_fn *fn;
    void *arg;
};

/* Must come before anything else is done with a lookup. */
void lookup_init(struct lookup *lookup);
/* Begins to look a name up; fn is called once for each family, from the loop, never from inside
 * this. 0, or ADIT_EFULL when too many names are being looked up. */
int resolve(struct resolver *resolver, struct lookup *lookup, const char *name, uint16_t port,
            resolve_fn *fn, void *arg);
/* fn is not called any more. Allowed at any time, also inside fn. */
void resolve_cancel(struct lookup *lookup);

/* Looks at resolv.conf and the hosts file now, and not only in a few seconds: the network has
 * changed. */
void resolver_refresh(struct resolver *resolver);

/* Names in the cache, those being looked up included; and questions sent so far. For status and
 * tests. */
size_t resolver_names(const struct resolver *resolver);
uint64_t resolver_queries(const struct resolver *resolver);

#endif
