/* SPDX-License-Identifier: MIT */
/* What the tests of brokers share: a mosquitto, and a broker with what it has told. */
#ifndef ADIT_TESTS_BROKER_WORLD_H
#define ADIT_TESTS_BROKER_WORLD_H

#include <sys/types.h>

#include "base/loop.h"
#include "signal/broker.h"

#define TEXT_BYTES  512
#define PATIENCE_US (8 * SEC_US)

enum { PORT_TCP, PORT_TLS, PORT_WS, PORT_WSS, PORT_LOGIN, PORT_TLS6, PORTS };

struct world {
    struct loop *loop;
    char dir[64];
    uint16_t ports[PORTS];
    pid_t mosquitto; /* 0: not running */
    bool has_mosquitto, has_v6;
};
extern struct world world;

/* Of the group, and of each test. */
int set_up_world(void **state);
int tear_down_world(void **state);
int set_up(void **state);
int tear_down(void **state);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Runs a command, which must succeed. */
void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint16_t free_port(void);
/* Look-ups of names that are under way. */
extern unsigned lookups;

/* Skips the test where there is none. */
void need_mosquitto(void);
void start_mosquitto(void);
void stop_mosquitto(void);
/* Of the authority of mosquitto's certificates. */
const char *ca_file(void);

struct heard {
    struct broker *broker;
    unsigned ups, downs;
    bool up;
    char why[TEXT_BYTES];
    unsigned messages;
    char last[BROKER_MESSAGE_MAX + 1];
    size_t last_len;
    bool close_inside;
};

/* By this topic and the URL that the format makes; ca may be NULL. */
void open_broker(struct heard *heard, const char *topic, const char *ca, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void close_broker(struct heard *heard);
/* A message to its own topic comes back. Returns how long it took. */
uint64_t say(struct heard *heard, const char *topic, const char *text);

/* Lets the loop turn. */
void pass(uint64_t us);
#define await(condition)                                                              \
    do {                                                                              \
        uint64_t end_ = loop_refresh(world.loop) + PATIENCE_US;                       \
        while (!(condition) && loop_refresh(world.loop) < end_)                       \
            loop_turn(world.loop, 20 * MS_US);                                        \
        if (!(condition))                                                             \
            fail_msg("not within %d s: %s", (int)(PATIENCE_US / SEC_US), #condition); \
    } while (0)

#endif
