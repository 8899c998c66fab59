/* SPDX-License-Identifier: MIT */
/*
 * A DNS server for tests: on loopback, in the test's own loop, answering from a table.
 */
#ifndef ADIT_TESTS_DNS_SERVER_H
#define ADIT_TESTS_DNS_SERVER_H

#include "base/addr.h"
#include "base/loop.h"

struct dns_record {
    const char *name;
    const char *v4, *v6; /* addresses, separated by spaces; "": none; NULL: never answered */
    uint32_t ttl;
    uint8_t rcode;     /* 3: NXDOMAIN, 2: SERVFAIL */
    const char *cname; /* the answer is this name's addresses */
    unsigned drop;     /* so many questions of each family go unanswered first */
};

struct dns_server;

/* Names that are not in the table (ended by a name of NULL) get NXDOMAIN. Fails the test when it
 * cannot. */
struct dns_server *dns_server_new(struct loop *loop, const struct dns_record *records);
void dns_server_free(struct dns_server *server);
struct addr dns_server_addr(const struct dns_server *server);
unsigned dns_server_questions(const struct dns_server *server);
/* Holds answers back (true), or sends those held back and answers at once again. */
void dns_server_hold(struct dns_server *server, int family, bool hold);

#endif
