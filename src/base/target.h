/* SPDX-License-Identifier: MIT */
/*
 * Targets and answers: where an application wants to go (a name, unresolved, or an address; and a
 * port), and what became of it. Front ends fill targets and turn answers into their own words; the
 * exit dials targets and gives answers; the session carries both (docs/protocol.md, "OPEN" and
 * "ANSWER").
 */
#ifndef ADIT_BASE_TARGET_H
#define ADIT_BASE_TARGET_H

#include "base/addr.h"

#define TARGET_NAME_MAX 255 /* RFC 1035 2.3.4, RFC 1928 4: a length octet */

struct target {
    char name[TARGET_NAME_MAX + 1]; /* host name, empty when addr is given; never an IP literal */
    struct addr addr;               /* used when name is empty */
    uint16_t port;                  /* host order; 1 to 65535 */
};

#define TARGET_TEXT_MAX (TARGET_NAME_MAX + 8)

/* Sets a target from a host as a user or a protocol wrote it: an IP literal (brackets allowed) or a
 * name. -EINVAL: empty, too long, port 0, or characters that no host name has (control characters,
 * spaces, '/', '@', NUL). */
int target_set(struct target *target, const char *host, size_t host_len, uint16_t port);
/* Parses "HOST:PORT" or "[V6]:PORT". 0 or -EINVAL. */
int target_parse(const char *text, struct target *target);
/* "name:port", "1.2.3.4:80" or "[::1]:80". */
const char *target_format(const struct target *target, char buf[TARGET_TEXT_MAX]);

/* What became of a request to connect. On the wire (docs/protocol.md): values are fixed, append
 * only. */
enum answer {
    ANSWER_OK = 0,
    ANSWER_FAILED = 1, /* general failure */
    ANSWER_POLICY = 2, /* the exit's policy forbids it */
    ANSWER_NET_UNREACHABLE = 3,
    ANSWER_HOST_UNREACHABLE = 4,
    ANSWER_REFUSED = 5,        /* RST from the destination */
    ANSWER_TIMEOUT = 6,        /* no answer from the destination */
    ANSWER_NAME_NOT_FOUND = 7, /* NXDOMAIN, or no address */
    ANSWER_NAME_FAILED = 8,    /* the exit's resolver failed: try again */
    ANSWER_LIMIT = 9,          /* a limit (streams, per-peer) is reached */
    ANSWER_NOT_EXIT = 10,      /* the peer is not an exit for us */
    ANSWER_NO_PATH = 11,       /* no path to the peer within path.connect_wait (local) */
    ANSWER_PEER_LOST = 12,     /* the session ended before an answer (local) */
    ANSWER_BAD_REQUEST = 13,   /* the exit could not understand the request */
    ANSWER_FAMILY = 14,        /* address family not available at the exit */
    ANSWER_IN_USE = 15,        /* listening: somebody else listens there */
    ANSWER_NOT_LOCAL = 16,     /* listening: the peer has no such address */
    ANSWER_BLOCKED = 17,       /* a route of the gateway blocks it (local) */
    ANSWER_LAST = 17,
};

/* A short English text of an answer, for logs and error pages. */
const char *answer_text(enum answer answer);
/* The answer for a negated errno of connect(2). */
enum answer answer_from_errno(int error);

#endif
