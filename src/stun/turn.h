/* SPDX-License-Identifier: MIT */
/*
 * TURN: what all parts of the client share: which server, who we are there, what is asked for, and
 * the words for what goes wrong. turn_allocation.h is one allocation at one server, turn_servers.h
 * keeps one alive at one of several, turn_pipe.h makes a message pipe of that, turn_ordered.h one
 * that delivers reliably and in order, turn_tcp.h has the TCP connections of RFC 6062.
 */
#ifndef ADIT_STUN_TURN_H
#define ADIT_STUN_TURN_H

#include "stun/credentials.h"
#include "stun/leg.h"

#define TURN_TEXT_MAX 320

/* Who we are to a server. Either user and password, or a secret shared with it of which
 * time-limited ones are made (draft-uberti-behave-turn-rest) whenever they are needed; all NULL:
 * nobody. Copied by those who are given it. */
struct turn_login {
    const char *user, *password;
    const char *secret, *id; /* id: what follows "EXPIRY:" in the user; may be NULL */
    uint32_t lifetime_s;     /* of time-limited ones; 0: TURN_LOGIN_LIFETIME_S */
};
#define TURN_LOGIN_LIFETIME_S 86400

/* One server, and how to speak to it. */
struct turn_server {
    struct stun_server server;
    struct turn_login login;
    struct leg_options leg;
};

/* What is asked of the server. All zero: one IPv4 address, UDP, the server's own lifetime. */
struct turn_request {
    int family;         /* of the relayed address: AF_INET, AF_INET6; 0: the server's default */
    bool both;          /* an IPv4 and an IPv6 address, where the server has both (RFC 8656 7.1) */
    bool tcp;           /* a TCP allocation (RFC 6062): turn_tcp.h; the leg must be a stream */
    bool mobility;      /* ask for a ticket, to keep the allocation when our address changes */
    bool dont_fragment; /* DONT-FRAGMENT in what is sent; off by itself where it is refused */
    bool even_port;     /* an even port */
    bool reserve;       /* and the next one reserved: turn_allocation_token() */
    bool has_token;     /* the port reserved by another allocation */
    uint8_t token[STUN_TOKEN_BYTES];
    uint32_t lifetime_s; /* 0: the server's default */
    uint32_t renew_s; /* how often permissions and channels are renewed, for servers on which they
                         live shorter than RFC 8656 says; 0: 240 */
};

/* What became of something; text says what is wrong and what to do, for people, in one line. */
enum turn_trouble {
    TURN_FINE,
    TURN_UNREACHABLE,   /* the name, the connection or TLS: the leg never got up */
    TURN_SILENT,        /* nothing answered */
    TURN_NO_LOGIN,      /* the server wants a user and password, and there are none */
    TURN_WRONG_LOGIN,   /* it does not accept them */
    TURN_EXPIRED_LOGIN, /* or no longer */
    TURN_TAMPERED,      /* answers with wrong integrity, or with their algorithms taken out */
    TURN_FORBIDDEN,     /* 403: it does not want to, or not for this peer */
    TURN_QUOTA,         /* 486: too many allocations of this user */
    TURN_CAPACITY,      /* 508: the server is full */
    TURN_NO_FAMILY,     /* 440: no relayed address of that family; 443: the peer is of another */
    TURN_NO_TRANSPORT,  /* 442: it does not relay that protocol */
    TURN_NO_MOBILITY,   /* 405 */
    TURN_MISMATCH,      /* 437: the allocation is gone (restart, NAT, expiry); or cannot be made */
    TURN_LOST,          /* the connection to the server has ended */
    TURN_REDIRECTED,    /* 300 in a circle, or without an address */
    TURN_NOT_TURN,      /* it answers, but not as a TURN server does */
    TURN_PEER_FAILED,   /* 446, 447: a TCP connection with the peer */
    TURN_FAILED,        /* any other error response */
    TURN_NO_MEMORY,     /* of ours, or no descriptor */
    TURN_FULL,          /* a table of ours is at its maximum */
};

struct turn_report {
    enum turn_trouble trouble;
    unsigned method; /* what was asked: STUN_METHOD_X; 0: nothing */
    unsigned code;   /* of the error response; 0: none */
    char text[TURN_TEXT_MAX];
};

/* Whether trying again later, without change, could help. */
bool turn_is_passing(enum turn_trouble trouble);
/* "fine", "wrong-login", ... for logs and --json. */
const char *turn_trouble_name(enum turn_trouble trouble);

#endif
