/* SPDX-License-Identifier: MIT */
/*
 * Settings: what the KEY=VALUE of the command line and the control socket mean. settings.c has the
 * table; README.md explains each key.
 */
#ifndef LAB_SETTINGS_H
#define LAB_SETTINGS_H

#include "link.h"
#include "nat.h"

#define SETTINGS_ERROR_BYTES 256
#define SETTINGS_BLOCKS_MAX  64
#define SETTINGS_ALLOW_MAX   64
#define SETTINGS_MTU_MIN     576 /* below 1280 there is no IPv6 */

/* Up: from the side `in' to the side `out'. Also the index of the device that it begins at. */
enum direction { UP, DOWN };

/* How a packet that is not let through is answered. TCP only is ever reset. */
enum refusal { REFUSE_DROP, REFUSE_RESET, REFUSE_ICMP };

/* Packets that are not let through; every condition must hold. */
struct block {
    enum flow flow; /* FLOW_NONE: any */
    int family;     /* 0: IPv4, 1: IPv6, -1: any */
    uint16_t first, last;
    bool has_ip;
    union address ip; /* of the outside */
};

/* When count is not 0: the only outside ports of this flow. */
struct allow {
    uint16_t ports[SETTINGS_ALLOW_MAX];
    unsigned count;
};

struct settings {
    struct nat_config nat;
    struct link_config link[2];
    unsigned mtu; /* of the link; 0: that of the devices */
    bool is_too_big_silent, is_hairpin, is_offload_off;
    enum refusal unsolicited, unsolicited_udp, blocked;
    struct block blocks[SETTINGS_BLOCKS_MAX];
    unsigned block_count;
    struct allow allow[FLOW_COUNT];
    union address address[2]; /* the sender of the wire's own ICMP, by family */
    bool has_address[2];
    uint64_t seed;
};

void settings_init(struct settings *settings, uint64_t seed);
/* Sets one key. False: error, of SETTINGS_ERROR_BYTES, names the key or the value; the settings may
 * be half changed, so work on a copy. */
bool settings_set(struct settings *settings, const char *key, const char *value, char *error);
/* Whether they fit each other; error as above. */
bool settings_check(const struct settings *settings, char *error);

#endif
