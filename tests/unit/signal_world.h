/* SPDX-License-Identifier: MIT */
/*
 * Signal world: nodes with a struct signal each, brokers in memory between them, and somebody who
 * records and meddles, all in one virtual loop. It checks what must hold at any time, whatever the
 * brokers do; signal_world.c says what. A failure prints the world's seed.
 */
#ifndef ADIT_TESTS_SIGNAL_WORLD_H
#define ADIT_TESTS_SIGNAL_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "signal/signal_int.h"

#define WORLD_NODES    6
#define WORLD_SERVERS  3
#define WORLD_ASKS     64
#define WORLD_RECORDS  4096
#define WORLD_FOLLOWED 4096

/* A time of the virtual clock that is beyond all delays of honest brokers. */
#define WORLD_DELAY_MAX_US (200 * MS_US)

struct world;

/* What a driver opens: one node's connection to one server. */
struct broker {
    struct world *world;
    struct world_node *node;
    int server;
    char topic[BROKER_TOPIC_MAX + 1];
    char name[16];
    const struct broker_events *events;
    void *arg;
    bool up, told;
    struct timer timer; /* the next change of state */
};

struct world_ask {
    struct world_node *node, *peer; /* node NULL: free place */
    struct signal_ask *ask;         /* NULL: over */
    uint64_t since;
    unsigned run; /* of the node */
    bool told, welcome, dialled;
    enum signal_outcome outcome;
    int declines;
    uint8_t code;
    uint64_t rtt_us;
    int64_t offset_us;
    char way[32], why[ASK_TEXT_MAX];
    size_t addr_count;
};

struct world_node {
    struct world *world;
    int index;
    struct identity *identity;
    struct signal *signal; /* NULL: does not run */
    unsigned run;
    int64_t clock_us;     /* added to the common clock */
    uint8_t refused_code; /* 0: everybody is welcome */
    uint8_t dial_code;    /* what dial() returns */
    const char *trouble;  /* of its brokers, when they are down */
    struct broker *brokers[WORLD_SERVERS];
    struct world_node *carried[WORLD_NODES]; /* by index: carrier's other end; NULL: none */
    bool carrier_fails;
    bool has_secret, saw_secret;
    uint8_t secret[MESSAGE_SECRET_BYTES];
    /* What it was told. */
    unsigned asked, found, dialled, judged, changed;
    uint8_t last_token[MESSAGE_TOKEN_BYTES];
    size_t last_addr_count;
    bool up;
};

/* What somebody has recorded: a published packet. */
struct world_record {
    uint8_t bytes[SEAL_BYTES_MAX];
    size_t len;
    int server;
    uint64_t at;
    struct world_node *from, *to;
};

struct world {
    struct loop *loop;
    struct timer end; /* of world_run(): time passes though nobody waits for it */
    uint64_t seed;
    struct world_node nodes[WORLD_NODES];
    bool server_up[WORLD_SERVERS];
    /* Of each packet, in percent; and the longest delay. */
    uint32_t loss, duplication;
    uint64_t delay_us;
    struct world_record *records; /* WORLD_RECORDS, a ring */
    size_t record_count;
    struct world_ask asks[WORLD_ASKS];
    /* What is being delivered just now. */
    const struct world_record *delivering;
    const uint8_t *carrying;
    size_t carrying_len;
    struct world_node *carrying_from;
    bool forged;
    /* DIALs that were followed: no message twice. */
    struct {
        struct node_id from, to;
        uint8_t instance[MESSAGE_INSTANCE_BYTES];
        uint64_t number;
    } followed[WORLD_FOLLOWED];
    size_t followed_count;
};

#define CHECK(world, condition)                                                                  \
    do {                                                                                         \
        if (!(condition)) {                                                                      \
            fprintf(stderr, "seed %llu, %.3f s: %s:%d: %s\n", (unsigned long long)(world)->seed, \
                    (double)loop_now((world)->loop) / 1e6, __FILE__, __LINE__, #condition);      \
            fail();                                                                              \
        }                                                                                        \
    } while (0)

/* All servers up, all nodes running, connected to all servers, everybody welcome; the loop has run
 * until that is so. */
struct world *world_new(uint64_t seed);
/* Ends all nodes, and checks that nothing is left. */
void world_free(struct world *world);
uint32_t world_dice(struct world *world, uint32_t sides);
/* Runs the loop for so long. */
void world_run(struct world *world, uint64_t us);

void world_start(struct world_node *node);
void world_stop(struct world_node *node);
void world_set_server(struct world *world, int server, bool up);
void world_set_servers(struct world *world, bool up);
/* A session between two nodes that carries messages, both ways. */
void world_join(struct world_node *a, struct world_node *b);
void world_part(struct world_node *a, struct world_node *b);

/* NULL: the table of the world is full. */
struct world_ask *world_ask(struct world_node *node, struct world_node *peer);
void world_cancel(struct world_ask *ask);
/* Cancels it if need be, and frees its place. */
void world_forget(struct world_ask *ask);

/* Delivers bytes to a node, now, by one server, if it is connected there. forged: they are nobody's
 * words, and nothing may come of them. */
void world_inject(struct world_node *to, int server, const uint8_t *bytes, size_t len, bool forged);
/* Delivers a recorded packet again. */
void world_replay(struct world *world, size_t index, struct world_node *to, int server);

/* Asks, and runs until it is told. */
struct world_ask *world_ask_and_wait(struct world_node *node, struct world_node *peer);
/* Asks, is welcome, asks the peer to connect, which it has to do, and is satisfied. */
void world_dial_and_wait(struct world_node *node, struct world_node *peer);
/* Delivers the first `count` records again, to whom they were meant for, by every server. */
void world_replay_all(struct world *world, size_t count);

#endif
