/* SPDX-License-Identifier: MIT */
/*
 * A small TURN server of the tests, in memory and virtual time, which keeps lifetimes to the
 * second, offers what coturn does not (MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHMS, USERHASH,
 * 300), and can misbehave. Clients reach it by leg_options.connect; several servers may stand in
 * one world.
 */
#ifndef ADIT_TESTS_TURN_WORLD_H
#define ADIT_TESTS_TURN_WORLD_H

#include "pipe_recorder.h"
#include "stun/turn.h"

#define WORLD_USER     "user"
#define WORLD_PASSWORD "correct horse"
#define WORLD_REALM    "world.test"
#define WORLD_CLIENTS  64
#define WORLD_PEERS    32
#define WORLD_SCRIPT   32
#define WORLD_SERVERS  2

struct world;

struct world_binding {
    struct addr peer;
    uint16_t number;  /* 0: a permission */
    uint64_t expires; /* 0: free */
};

/* A 5-tuple: a client's connection, and what is allocated for it. */
struct world_client {
    struct world *world;
    struct pipe *pipe; /* NULL: free */
    bool is_stream;
    bool deaf; /* a NAT has forgotten the connection: nothing passes, and nobody is told */
    int server;
    char user[64]; /* whose allocation it is */
    struct stun_key key;
    struct addr addr, relayed, relayed6;
    uint64_t expires; /* of the allocation; 0: none */
    uint32_t nonce;
    uint64_t nonce_until;
    struct world_binding bindings[WORLD_PEERS];
    uint8_t input[140000]; /* of streams */
    size_t input_len;
    uint8_t ticket;
};

/* The next answer to a method (0: any) is this error. */
struct world_answer {
    unsigned method, code;
    unsigned times;
    uint16_t unknown; /* 420: of this attribute */
    struct addr alternate;
};

struct world {
    struct loop *loop;
    struct world_client clients[WORLD_CLIENTS];
    uint16_t next_port;
    uint64_t delay_us, rate; /* of connections from now on; rate: bytes a second, 0: no limit */
    /* What it does. */
    uint32_t lifetime_s, permission_s, channel_s, nonce_s;
    bool sha256, anonymity, hide_algorithms, mobility, no_dont_fragment;
    uint64_t late_us;      /* answers come so much later (UDP) */
    bool held;             /* see world_hold() */
    bool plain_nonces;     /* 401 and 438 offer nothing, whatever the server has */
    int default_family;    /* of relayed addresses that are not asked for by family; 0: IPv4 */
    bool open;             /* wants no login, and signs nothing */
    uint16_t chokes_on;    /* an attribute that it does not bear: it says nothing, */
    bool closes;           /* ... or, on streams and with this, closes the connection */
    const char *secret;    /* time-limited users; NULL: WORLD_USER */
    bool strict;           /* ... whose end it looks at with every request, */
    bool same_user;        /* ... and an allocation is its user's (441, unsigned) */
    bool reticent;         /* says nothing to who has no allocation, as Pion does */
    bool unsigned_errors;  /* as Pion's all are, and some of node-turn's */
    bool one_family;       /* gives IPv4, whatever is asked for, as Pion does */
    bool codeless;         /* refuses permissions by an error without a code, as Pion does */
    struct addr alternate; /* 300 to every first Allocate, unsigned, as coturn does */
    unsigned loss;         /* percent, both ways */
    bool dead[WORLD_SERVERS], twice, garbage, forged, split, late;
    struct world_answer script[WORLD_SCRIPT];
    size_t script_len;
    /* What it saw. */
    unsigned requests[16], allocations, released;
    bool saw_family; /* REQUESTED-ADDRESS-FAMILY */
    unsigned lapsed; /* data that came for or from a peer without permission or channel */
    unsigned indications, channel_data;
    unsigned to_peers; /* messages that left the relay */
    struct addr last_peer, last_relayed;
    size_t last_len;
    uint8_t last[2000];
    bool saw_userhash, saw_sha256, saw_sha1, saw_username;
};

void world_init(struct world *world, uint64_t seed);
void world_free(struct world *world);
/* How a client reaches its server (number: 0 or 1). */
struct turn_server world_server(struct world *world, int number, enum server_transport transport);
/* Holds what is in streams, both ways, or lets it go. */
void world_hold(struct world *world, bool hold);
/* What somebody sends to all clients in the server's name. */
void world_spoof(struct world *world, const void *bytes, size_t len);
void world_script(struct world *world, unsigned method, unsigned code, unsigned times);
/* A peer sends to a relayed address. */
void world_peer_sends(struct world *world, const struct addr *peer, const struct addr *relayed,
                      const void *data, size_t len);
/* The NAT gives all clients other addresses, and forgets their connections; the server is started
 * again. */
void world_flush(struct world *world);
void world_restart(struct world *world, int server);
unsigned world_alive(const struct world *world); /* allocations */

#endif
