/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The world of signal_world.h at random, seeded: nodes ask, request, cancel, restart, change their
 * minds about each other, set their clocks by decades, get and lose sessions; servers die and come
 * back; packets are late, lost, doubled and out of order; somebody repeats what he has recorded,
 * alters it, sends it elsewhere, sends noise. The world checks each thing that a node is told. Then
 * there is calm, but for the one who repeats: every question is answered, every request followed.
 *
 * A failure prints its seed; `test-signal-model SEED` runs that one alone, with the log.
 * ADIT_MODEL_RUNS and ADIT_MODEL_FIRST choose how many seeds are run, and from which on.
 */
#include "signal_world.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "seal_by_hand.h"

#define RUNS_DEFAULT 15 /* make check-long: hundreds */
#define CHAOS_US     (60 * SEC_US)

struct model {
    struct world *world;
    bool calm;
};

static struct world_node *any_node(struct world *world)
{
    return &world->nodes[world_dice(world, WORLD_NODES)];
}

static void some_ask(struct world *world)
{
    struct world_node *node = any_node(world), *peer = any_node(world);

    if (node != peer && node->signal)
        world_ask(node, peer);
}

/* Something becomes of a question: a request, a cancellation, the end. */
static void some_step(struct world *world, bool calm)
{
    struct world_ask *ask = &world->asks[world_dice(world, WORLD_ASKS)];

    if (!ask->node)
        return;
    if (ask->ask && ask->welcome && !ask->dialled) {
        ask->dialled = true;
        signal_ask_dial(ask->ask);
    } else if (!calm && (ask->told || world_dice(world, 4) == 0)) {
        world_forget(ask);
    }
}

static void restart(struct world *world)
{
    struct world_node *node = any_node(world);

    if (node->signal)
        world_stop(node);
    else
        world_start(node);
}

static void meddle(struct world *world)
{
    size_t kept = world->record_count < WORLD_RECORDS ? world->record_count : WORLD_RECORDS;
    const struct world_record *record;
    struct world_node *to = any_node(world);
    uint8_t bytes[SEAL_BYTES_MAX];
    size_t index, len;
    int server = (int)world_dice(world, WORLD_SERVERS);

    if (kept == 0)
        return;
    /* The newest are the most promising. */
    index = world->record_count - 1 - world_dice(world, (uint32_t)(kept < 30 ? kept : 30));
    if (world_dice(world, 2))
        index = world->record_count - 1 - world_dice(world, (uint32_t)kept);
    record = &world->records[index % WORLD_RECORDS];
    memcpy(bytes, record->bytes, sizeof(bytes));
    len = record->len;
    switch (world_dice(world, 6)) {
    case 0:
    case 1:
    case 2:
        world_replay(world, index, record->to, server);
        return;
    case 3:
        world_replay(world, index, to, server);
        return;
    case 4:
        bytes[world_dice(world, (uint32_t)len)] ^= (uint8_t)(1 << world_dice(world, 8));
        if (world_dice(world, 2))
            hand_mac(identity_id(record->to->identity), bytes, len);
        if (memcmp(bytes, record->bytes, len) != 0) /* the MAC itself was altered, and mended */
            world_inject(record->to, server, bytes, len, true);
        return;
    case 5:
        loop_random(world->loop, bytes + 57, len - 57);
        hand_mac(identity_id(record->to->identity), bytes, len);
        world_inject(record->to, server, bytes, len, true);
        return;
    }
}

static void join_or_part(struct world *world)
{
    struct world_node *a = any_node(world), *b = any_node(world);

    if (a == b || !a->signal || !b->signal)
        return;
    if (a->carried[b->index])
        world_part(a, b);
    else
        world_join(a, b);
}

static void chaos_step(struct world *world)
{
    struct world_node *node = any_node(world);
    uint32_t what = world_dice(world, 100);

    if (what < 25) {
        some_ask(world);
    } else if (what < 60) {
        some_step(world, false);
    } else if (what < 80) {
        for (int i = 0; i < 3; i++)
            meddle(world);
    } else if (what < 84) {
        int server = (int)world_dice(world, WORLD_SERVERS);

        world_set_server(world, server, !world->server_up[server]);
    } else if (what < 87) {
        restart(world);
    } else if (what < 90) {
        join_or_part(world);
    } else if (what < 92) {
        node->refused_code = node->refused_code ? 0 : (uint8_t)(1 + world_dice(world, 9));
        node->dial_code = world_dice(world, 3) ? 0 : 8;
    } else if (what < 94) {
        node->clock_us = (int64_t)(loop_random64(world->loop) >> 10) - INT64_C(0x1fffffffffffff);
    } else if (what < 95) {
        node->carrier_fails = !node->carrier_fails;
    } else if (what < 97 && node->signal) {
        signal_announce(node->signal,
                        identity_id(world->nodes[(node->index + 1) % WORLD_NODES].identity));
    } else if (node->signal) {
        signal_kick(node->signal);
    }
}

static void check_tables(const struct world *world)
{
    for (int i = 0; i < WORLD_NODES; i++) {
        const struct signal *signal = world->nodes[i].signal;
        uint32_t asks = 0;

        if (!signal)
            continue;
        CHECK(world, HASH_COUNT(signal->peers) <= WORLD_NODES - 1);
        CHECK(world, HASH_CNT(hh_pass, signal->passes) == HASH_COUNT(signal->peers));
        for (size_t j = 0; j < WORLD_ASKS; j++)
            asks += world->asks[j].node == &world->nodes[i] && world->asks[j].ask;
        CHECK(world, signal->ask_count == asks);
    }
}

/* Questions that are overdue; on_outcome() checks those that come too late. */
static void check_asks(const struct world *world)
{
    for (size_t i = 0; i < WORLD_ASKS; i++) {
        const struct world_ask *ask = &world->asks[i];

        if (ask->node && ask->ask && !ask->told)
            CHECK(world, loop_now(world->loop) - ask->since <= 12 * SEC_US);
    }
}

static void make_calm(struct world *world)
{
    world->loss = world->duplication = 0;
    world->delay_us = 50 * MS_US;
    for (size_t i = 0; i < WORLD_ASKS; i++)
        if (world->asks[i].node)
            world_forget(&world->asks[i]);
    for (int i = 0; i < WORLD_NODES; i++) {
        struct world_node *node = &world->nodes[i];

        node->dial_code = 0;
        node->carrier_fails = false;
        if (!node->signal)
            world_start(node);
    }
    world_set_servers(world, true);
    /* Until no run is too many within two minutes any more. */
    world_run(world, 130 * SEC_US);
}

/* Everybody asks everybody, while somebody repeats what he has. */
static void check_calm(struct world *world)
{
    for (int i = 0; i < WORLD_NODES; i++) {
        struct world_node *node = &world->nodes[i];

        for (int j = 0; j < WORLD_NODES; j++)
            if (j != i)
                CHECK(world, world_ask(node, &world->nodes[j]));
    }
    for (int i = 0; i < 20; i++) {
        world_run(world, 50 * MS_US);
        meddle(world);
    }
    for (size_t i = 0; i < WORLD_ASKS; i++) {
        struct world_ask *ask = &world->asks[i];
        int64_t offset;

        if (!ask->node)
            continue;
        offset = ask->peer->clock_us - ask->node->clock_us;
        CHECK(world, ask->told && ask->outcome == SIGNAL_ANSWERED);
        CHECK(world, ask->code == ask->peer->refused_code);
        CHECK(world, ask->rtt_us > 0 && ask->rtt_us <= 2 * world->delay_us);
        CHECK(world, llabs(ask->offset_us - offset) <= (long long)world->delay_us);
        if (ask->welcome) {
            ask->dialled = true;
            CHECK(world, signal_ask_dial(ask->ask) == 0);
            ask->peer->dialled = 0;
        }
    }
    for (int i = 0; i < 20; i++) {
        world_run(world, 50 * MS_US);
        meddle(world);
    }
    for (size_t i = 0; i < WORLD_ASKS; i++) {
        struct world_ask *ask = &world->asks[i];

        if (ask->node && ask->welcome)
            CHECK(world, ask->ask && ask->declines == 0 && ask->peer->dialled >= WORLD_NODES - 1);
    }
}

static void run_seed(uint64_t seed)
{
    struct world *world = world_new(seed);
    uint64_t end = loop_now(world->loop) + CHAOS_US;

    world->loss = world_dice(world, 3) ? world_dice(world, 40) : 0;
    world->duplication = world_dice(world, 30);
    world->delay_us = 1 + world_dice(world, 1500000);
    while (loop_now(world->loop) < end) {
        world_run(world, 1 + world_dice(world, 400000));
        chaos_step(world);
        check_tables(world);
        check_asks(world);
    }
    make_calm(world);
    check_calm(world);
    world_free(world);
}

static uint64_t number_from(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void model(void **state)
{
    (void)state;
    uint64_t first = number_from("ADIT_MODEL_FIRST", 1);
    uint64_t runs = number_from("ADIT_MODEL_RUNS", RUNS_DEFAULT);

    for (uint64_t seed = first; seed < first + runs; seed++)
        run_seed(seed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(model)};

    log_init(LOG_ERROR);
    if (argc == 2) {
        log_set_level(LOG_TRACE);
        run_seed(strtoull(argv[1], NULL, 10));
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
