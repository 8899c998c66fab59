/* SPDX-License-Identifier: MIT */
/*
 * Nat: the table of an address translator or stateful firewall with the behaviours of RFC 4787 and
 * RFC 5382. nat.c has the theory.
 */
#ifndef LAB_NAT_H
#define LAB_NAT_H

#include "packet.h"

#define NAT_EXTERNAL_MAX     64     /* addresses of a pool */
#define NAT_FORWARDS_MAX     64     /* static port forwards */
#define NAT_MAPPINGS_LIMIT   262144 /* what max_mappings can be set to */
#define NAT_MAPPINGS_DEFAULT 65536
#define NAT_SESSIONS_MAX     524288
#define NAT_SEC_NS           1000000000LL
#define NAT_PORT_FIRST       1024 /* the default range of external ports */
#define NAT_PORT_LAST        65535

enum nat_mode { NAT_OFF, NAT_ON, NAT_FIREWALL }; /* FIREWALL: filters, translates nothing */

/* What a mapping or a filter depends on: nothing, the remote address, or its port also. */
enum nat_scope { NAT_EI, NAT_AD, NAT_APD };

enum nat_ports {
    NAT_PRESERVE,          /* the inside port if it is free, else the next */
    NAT_PRESERVE_OVERLOAD, /* the inside port unless somebody uses it with the same remote */
    NAT_STEP,              /* the last one plus step; sequential is step 1 */
    NAT_RANDOM,
};

/* What a TCP segment that belongs to nothing meets, where a SYN would pass. */
enum nat_strays { NAT_STRAYS_DROP, NAT_STRAYS_RESET, NAT_STRAYS_ACCEPT };

struct nat_rules {
    enum nat_scope mapping, filtering;
    enum nat_ports ports;
    unsigned step;
    int64_t timeout; /* ns; TCP: of an open connection */
};

struct nat_forward {
    enum flow flow;
    uint16_t port;
    struct endpoint inside;
};

/* Families are indexed by 0: IPv4, 1: IPv6. */
struct nat_config {
    enum nat_mode mode[2];
    union address external[2][NAT_EXTERNAL_MAX];
    unsigned external_count[2];
    struct nat_rules rules[FLOW_COUNT];
    int64_t tcp_transitory;         /* ns; connections not open yet, or no longer */
    bool is_udp_inbound_refreshing; /* packets from outside keep a UDP mapping, too */
    bool is_tcp_rst_closing;        /* a RST ends a connection's state at once */
    bool has_tcp_simultaneous;      /* a SYN may meet a SYN (RFC 5382 REQ-2) */
    bool is_pooling_paired;         /* an inside address keeps its external address */
    enum nat_strays tcp_strays;
    uint16_t port_first, port_last;
    unsigned max_mappings;
    struct nat_forward forwards[NAT_FORWARDS_MAX];
    unsigned forward_count;
};

enum nat_result {
    NAT_PASSED,
    NAT_NO_MAPPING,  /* from outside, and nobody inside has anything there */
    NAT_FILTERED,    /* from outside, to a mapping that has not spoken with this remote */
    NAT_STRAY,       /* a TCP segment without a connection, dropped */
    NAT_STRAY_RESET, /* the same, to be answered by a RST */
    NAT_FULL,        /* no room for a mapping, or no port */
};

/* One line of the table, as nat_visit() tells it. */
struct nat_line {
    enum flow flow;
    const struct endpoint *inside, *external;
    const struct endpoint *remote; /* NULL: a mapping; else one of its sessions */
    const char *state;             /* of a TCP session; NULL: none */
    bool is_static;
    int64_t expires; /* ns, the caller's clock */
};

struct nat;

/* NULL: no memory. config is copied. seed: of ports, and of pooling. */
struct nat *nat_new(const struct nat_config *config, uint64_t seed);
void nat_free(struct nat *nat);
/* New behaviour for what is mapped from now on; static forwards are replaced at once, and all is
 * flushed when modes or external addresses differ. */
void nat_configure(struct nat *nat, const struct nat_config *config);
/* Another seed from now on. */
void nat_reseed(struct nat *nat, uint64_t seed);
/* Forgets every mapping but the static forwards. */
void nat_flush(struct nat *nat);
/* Removes what has expired; once a second is enough (what has expired is never used). */
void nat_sweep(struct nat *nat, int64_t now);

/* A packet that leaves: makes or refreshes its mapping, and says its source outside. */
enum nat_result nat_leave(struct nat *nat, const struct packet *packet, int64_t now,
                          struct endpoint *external);
/* A packet that wants in: its destination inside. */
enum nat_result nat_enter(struct nat *nat, const struct packet *packet, int64_t now,
                          struct endpoint *inside);
/* The session of a packet that is quoted in an ICMP error: one that had left (its source is to be
 * taken for *inside), or one that had entered (its destination for *external). False: unknown. */
bool nat_find_left(struct nat *nat, const struct packet *quoted, int64_t now,
                   struct endpoint *inside);
bool nat_find_entered(struct nat *nat, const struct packet *quoted, int64_t now,
                      struct endpoint *external);
/* Whether an address is one of the translator's own. */
bool nat_is_external(const struct nat *nat, const union address *ip);

unsigned nat_mapping_count(const struct nat *nat);
unsigned nat_session_count(const struct nat *nat);
/* Tells every mapping, each followed by its sessions, until told to stop by false. */
void nat_visit(struct nat *nat, int64_t now, bool (*visit)(const struct nat_line *line, void *arg),
               void *arg);

#endif
