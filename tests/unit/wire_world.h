/* SPDX-License-Identifier: MIT */
/*
 * A gate in virtual time with somebody on each side, for test_wire*.c. Hosts are letters: a, b
 * inside; r, s outside; x, y the external addresses; w the wire's own.
 */
#ifndef TEST_WIRE_WORLD_H
#define TEST_WIRE_WORLD_H

#include "../lab/control.h"

#define PACKET_ROOM 3000
#define MS          LINK_MS_NS
#define SEC         LINK_SEC_NS

struct world {
    struct gate gate;
    int64_t now;
    int family; /* 0: IPv4, 1: IPv6 */
    enum flow flow;
    unsigned sent[2]; /* by side: UP is the inside's device */
    uint8_t bytes[2][PACKET_ROOM];
    struct packet seen[2];     /* the last one out of each device */
    struct packet_shape shape; /* of the last one out of either */
};

/* KEY=VALUE, separated by spaces, at once. */
void world_set(struct world *world, const char *text);
/* IPv4 0, IPv6 1; what its packets are; KEY=VALUE besides nat=on. Closed by gate_free(). */
void world_open(struct world *world, int family, enum flow flow, const char *text);
/* A host by its letter, at a port. */
struct endpoint host(const struct world *world, char name, uint16_t port);
bool is_host(const struct world *world, const struct endpoint *endpoint, char name, uint16_t port);
/* A packet of the world's flow with len bytes of data, at out. tcp_flags 0: a SYN. Its length. */
size_t make(const struct world *world, uint8_t *out, struct endpoint from, struct endpoint to,
            unsigned tcp_flags, size_t len);
/* An ICMP error from a router about a packet, of which it quotes at most 64 bytes. */
size_t make_error(const struct world *world, uint8_t *out, struct endpoint from, struct endpoint to,
                  unsigned type, unsigned code, const uint8_t *about, size_t len);
/* Into the gate; what came out at the other end of a direction without delay; NULL: nothing. */
const struct packet *feed(struct world *world, enum direction direction, uint8_t *bytes,
                          size_t len);
/* The same for a packet of 20 bytes. */
const struct packet *pass_flags(struct world *world, enum direction direction, char from,
                                uint16_t from_port, char to, uint16_t to_port, unsigned flags);
/* A packet (TCP: a SYN) up: the port outside; 0: it did not pass. */
unsigned leave(struct world *world, char from, uint16_t port, char to, uint16_t to_port);
/* A packet (TCP: a SYN) down, to an external port: whether it reached a's or b's port. */
bool enter(struct world *world, char from, uint16_t from_port, unsigned external, char to,
           uint16_t port);
uint64_t counted(const struct world *world, enum direction direction, enum gate_count what);
/* The Internet checksum over data, begun with sum. */
uint16_t sum_of(const uint8_t *data, size_t len, uint32_t sum);
/* 16 bits in network order. */
void put(uint8_t *at, unsigned value);

#endif
