/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Signalling among enemies, in the world of signal_world.h: somebody records and repeats
 * everything, alters, forges, floods, fills tables; peers with keys of their own lie. The world's
 * own checks run all the time.
 */
#include "signal_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "seal_by_hand.h"

static int quiet(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    return 0;
}

/* --- Repeats --- */

/* Everything that was ever said, again, at once and later, after restarts, in turns, on every
 * broker: nobody connects, finds or answers anything by it. */
static void replays(void **state)
{
    (void)state;
    static const uint64_t waits[] = {0,           SEC_US,       50 * SEC_US,
                                     65 * SEC_US, 130 * SEC_US, 3600 * SEC_US};
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    size_t count;
    unsigned dialled, found;
    struct world_ask *ask;

    /* Three runs of one node within two minutes, each with a request that was followed. */
    for (int run = 0; run < 3; run++) {
        world_dial_and_wait(a, b);
        world_run(world, 300 * MS_US); /* what is under way may still arrive */
        count = world->record_count;
        dialled = b->dialled;
        found = a->found;
        world_replay_all(world, count);
        assert_int_equal(b->dialled, dialled);
        assert_int_equal(a->found, found);
        world_stop(a);
        world_start(a);
        world_run(world, 100 * MS_US);
    }
    count = world->record_count;
    dialled = b->dialled;
    found = a->found;
    for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        world_run(world, waits[i]);
        world_replay_all(world, count);
        world_replay_all(world, count);
    }
    /* While the same is asked anew, and its recipient has restarted. */
    ask = world_ask(a, b);
    world_replay_all(world, count);
    world_forget(ask);
    world_stop(b);
    world_start(b);
    world_run(world, 100 * MS_US);
    found = a->found;
    for (int i = 0; i < 3; i++)
        world_replay_all(world, count);
    assert_int_equal(b->dialled, dialled);
    assert_int_equal(a->found, found);
    world_free(world);
}

/* A request that a broker kept back for longer than a challenge is good, is void. */
static void late_request(void **state)
{
    (void)state;
    for (uint64_t wait = 30; wait <= 150; wait += 120) {
        struct world *world = world_new(1);
        struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
        struct world_ask *ask = world_ask_and_wait(a, b);
        size_t index = world->record_count;

        world->loss = 100; /* all of it is kept back */
        ask->dialled = true;
        signal_ask_dial(ask->ask);
        world_forget(ask);
        world_run(world, wait * SEC_US);
        world_replay(world, index, b, 0);
        world_replay(world, index, b, 1);
        assert_int_equal(b->dialled, wait == 30);
        world_free(world);
    }
}

/* More runs within two minutes than are remembered: the last ones wait, and no repeat is taken. */
static void many_restarts(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1];
    struct world_ask *ask;

    for (int i = 0; i < FOLLOWED_MAX; i++) {
        world_dial_and_wait(a, b);
        world_stop(a);
        world_start(a);
        world_run(world, 100 * MS_US);
    }
    b->dialled = 0;
    ask = world_ask_and_wait(a, b);
    assert_true(ask->welcome); /* asking is free */
    ask->dialled = true;
    signal_ask_dial(ask->ask);
    world_run(world, 10 * SEC_US);
    assert_int_equal(b->dialled, 0);
    world_forget(ask);
    world_replay_all(world, world->record_count);
    assert_int_equal(b->dialled, 0);
    world_run(world, 130 * SEC_US);
    world_dial_and_wait(a, b);
    world_free(world);
}

/* --- Forgeries --- */

static void forgeries(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1], *c = &world->nodes[2];
    uint8_t bytes[SEAL_BYTES_MAX];
    size_t count;
    uint64_t opened;

    world_dial_and_wait(a, b);
    world_run(world, SEC_US);
    count = world->record_count;
    opened = b->signal->stats.opened;
    for (size_t i = 0; i < count; i++) {
        const struct world_record *record = &world->records[i];

        world_replay(world, i, record->to == c ? a : c, 0); /* meant for others */
        for (size_t at = 0; at < record->len; at += at < 60 ? 1 : 7) {
            memcpy(bytes, record->bytes, record->len);
            bytes[at] ^= (uint8_t)(1 << world_dice(world, 8));
            world_inject(record->to, 1, bytes, record->len, true);
            if (at >= 17)
                hand_mac(identity_id(record->to->identity), bytes, record->len);
            world_inject(record->to, 1, bytes, record->len, true);
            world_run(world, 25 * MS_US); /* so that no limit hides anything */
        }
        for (size_t len = 0; len < record->len; len += 64)
            world_inject(record->to, 2, record->bytes, len, true);
    }
    for (int i = 0; i < 200; i++) {
        size_t len = world_dice(world, sizeof(bytes) + 1);

        loop_random(world->loop, bytes, sizeof(bytes));
        bytes[0] = (uint8_t)world_dice(world, 2);
        if (i % 2)
            len = len / 256 * 256;
        if (i % 4 == 3 && len)
            hand_mac(identity_id(b->identity), bytes, len);
        world_inject(b, 0, bytes, len, true);
    }
    assert_int_equal(b->signal->stats.opened, opened);
    assert_true(b->signal->stats.forged > 100);
    assert_true(b->signal->stats.foreign > 100);
    assert_int_equal(HASH_COUNT(c->signal->peers), 0);
    world_free(world);
}

/* What a peer with a key of its own may say wrongly. */
static void liars(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1], *c = &world->nodes[2];
    const struct node_id *c_id = identity_id(c->identity);
    struct signal *signal = a->signal;
    struct world_ask *ask = world_ask_and_wait(a, b);
    struct signal_peer *peer = signal_peer_find(signal, identity_id(b->identity));
    struct message message = {.type = MESSAGE_PONG, .has_echo = true};

    /* A PONG without a question, with another's echo, without one. */
    world->forged = true;
    memcpy(message.echo, peer->question.challenge, sizeof(message.echo));
    inbound_message(signal, &signal->brokers[0], c_id, &message);
    inbound_message(signal, &signal->brokers[0], identity_id(b->identity), &message);
    world_forget(ask);
    ask = world_ask(a, b);
    memcpy(message.echo, peer->question.challenge, sizeof(message.echo));
    inbound_message(signal, &signal->brokers[0], c_id, &message);
    message.has_echo = false;
    inbound_message(signal, &signal->brokers[0], identity_id(b->identity), &message);
    /* A DECLINE by somebody else, or of no request; a DIAL without token, or with an echo that was
     * made for another. */
    message = (struct message){.type = MESSAGE_DECLINE, .has_token = true};
    inbound_message(signal, &signal->brokers[0], c_id, &message);
    message.has_token = false;
    inbound_message(signal, &signal->brokers[0], identity_id(b->identity), &message);
    message = (struct message){.type = MESSAGE_DIAL, .has_echo = true};
    inbound_message(signal, &signal->brokers[0], c_id, &message);
    message.has_token = true;
    memcpy(message.echo, peer->their_challenge, sizeof(message.echo));
    inbound_message(signal, &signal->brokers[0], c_id, &message);
    message.type = 99;
    inbound_message(signal, &signal->brokers[0], c_id, &message);
    world->forged = false;
    world_run(world, SEC_US);
    assert_true(ask->welcome);

    /* The right peer, and another token than that of the request. */
    ask->dialled = true;
    signal_ask_dial(ask->ask);
    world_run(world, 200 * MS_US);
    message = (struct message){.type = MESSAGE_DECLINE, .has_token = true};
    memcpy(message.token, b->last_token, sizeof(message.token));
    message.token[7] ^= 1;
    assert_false(signal_is_invited(signal, identity_id(b->identity), message.token));
    assert_false(signal_is_invited(signal, c_id, b->last_token));
    inbound_message(signal, &signal->brokers[0], identity_id(b->identity), &message);
    assert_int_equal(ask->declines, 0);
    message.token[7] ^= 1;
    inbound_message(signal, &signal->brokers[0], c_id, &message);
    assert_int_equal(ask->declines, 0);
    inbound_message(signal, &signal->brokers[0], identity_id(b->identity), &message);
    assert_int_equal(ask->declines, 1);
    world_forget(ask);
    world_free(world);
}

/* --- Floods --- */

/* Seals of strangers that look right until the signature: whoever knows the ID makes them. */
static void flood(struct world_node *to, const struct world_record *copied)
{
    struct world *world = to->world;
    static uint8_t bytes[256];

    for (int server = 0; server < WORLD_SERVERS; server++) {
        loop_random(world->loop, bytes, sizeof(bytes));
        bytes[0] = 1;
        if (copied && world_dice(world, 2))
            memcpy(bytes + 17, copied->bytes + 17, 8); /* the name and proof of somebody's pass */
        if (copied && world_dice(world, 8) == 0)
            memcpy(bytes + 17, copied->bytes + 17, 40); /* and its ephemeral key */
        hand_mac(identity_id(to->identity), bytes, sizeof(bytes));
        world_inject(to, server, bytes, sizeof(bytes), true);
    }
}

static void flood_for(struct world_node *a, struct world_node *b, const struct world_record *copied,
                      int ms)
{
    for (; ms > 0; ms--) {
        flood(b, copied);
        if (ms % 4 == 0)
            flood(a, NULL);
        world_run(b->world, MS_US);
    }
}

/* 1000 a second and broker at the one who is asked, some at the one who asks. Who is known is heard
 * at once, also after restarts; others take part in a lottery. */
static void known_through_flood(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1], *c = &world->nodes[2];
    const struct signal_stats *stats = signal_stats(b->signal);
    const struct world_record *copied = NULL;
    struct world_ask *ask;
    uint64_t looked, began = loop_now(world->loop);

    world_forget(world_ask_and_wait(a, b));
    for (size_t i = 0; i < world->record_count; i++)
        if (world->records[i].to == b)
            copied = &world->records[i];
    assert_non_null(copied);
    looked = stats->opened + stats->forged;
    flood_for(a, b, copied, 1000);
    for (int i = 0; i < 6; i++) {
        unsigned dialled = b->dialled;

        ask = world_ask(a, b);
        flood_for(a, b, copied, 300);
        assert_true(ask->welcome);
        ask->dialled = true;
        signal_ask_dial(ask->ask);
        flood_for(a, b, copied, 200);
        assert_true(b->dialled > dialled);
        world_forget(ask);
        if (i % 2) { /* nothing that one run told the other is needed */
            world_stop(a);
            world_start(a);
        }
        flood_for(a, b, copied, 500);
    }
    looked = stats->opened + stats->forged - looked;
    assert_true(looked <= WORLD_SERVERS * ((loop_now(world->loop) - began) / SEC_US *
                                               (UNKNOWN_PER_SECOND + 10) +
                                           UNKNOWN_BURST));
    assert_true(stats->limited > 10000);
    print_message("limits let %llu of %llu be looked at\n", (unsigned long long)looked,
                  (unsigned long long)stats->received);

    /* Whom a new run announces itself to, is known. */
    world_stop(b);
    world_start(b);
    signal_announce(b->signal, identity_id(a->identity));
    flood_for(a, b, copied, 1000);
    ask = world_ask(a, b);
    flood_for(a, b, copied, 300);
    assert_true(ask->welcome);
    world_forget(ask);
    ask = world_ask(c, b);
    flood_for(a, b, copied, 300);
    print_message("a stranger was %s\n", ask->welcome ? "lucky" : "not heard");
    world_forget(ask);
    world_free(world);
}

/* Many who are not welcome: answers are few, and nobody is remembered. */
static void strangers_refused(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *b = &world->nodes[1];
    struct message ping = {.type = MESSAGE_PING, .has_challenge = true};
    struct node_id id;

    b->refused_code = 1;
    memcpy(&id, identity_id(world->nodes[3].identity), sizeof(id)); /* a seal needs a real key */
    for (int i = 0; i < 5000; i++) {
        ping.number++;
        inbound_message(b->signal, &b->signal->brokers[0], &id, &ping);
        world_run(world, MS_US);
    }
    assert_int_equal(b->judged, 5000);
    assert_in_range(b->signal->stats.refused, 20, 50);
    assert_int_equal(HASH_COUNT(b->signal->peers), 0);
    /* One welcome peer that asks and asks. */
    b->refused_code = 0;
    for (int i = 0; i < 2000; i++) {
        ping.number++;
        inbound_message(b->signal, &b->signal->brokers[0], &id, &ping);
        world_run(world, MS_US);
    }
    assert_in_range(b->signal->stats.answered, 32, 52);
    world_free(world);
}

/* A holder of a pass cannot use up what other holders have. */
static void holder_limited(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1], *c = &world->nodes[2];
    struct world_ask *ask;
    uint8_t seal[SEAL_BYTES_MAX];
    uint64_t looked;
    struct signal_peer *peer;

    world_forget(world_ask_and_wait(a, b));
    world_forget(world_ask_and_wait(c, b));
    peer = signal_peer_find(c->signal, identity_id(b->identity));
    looked = b->signal->stats.opened;
    for (int i = 0; i < 500; i++) {
        int len = seal_build(c->identity, identity_id(b->identity), peer->our_pass, "x", 1, seal);

        world_inject(b, 0, seal, (size_t)len, false);
        world_inject(b, 1, seal, (size_t)len, false);
        world_inject(b, 2, seal, (size_t)len, false);
        world_run(world, MS_US);
    }
    looked = b->signal->stats.opened - looked;
    assert_in_range(looked, WORLD_SERVERS * (HOLDER_BURST + UNKNOWN_BURST),
                    WORLD_SERVERS * (HOLDER_BURST + UNKNOWN_BURST + 40));
    ask = world_ask(a, b);
    world_run(world, 200 * MS_US);
    assert_true(ask->welcome);
    world_forget(ask);
    world_free(world);
}

/* --- Tables --- */

static void tables(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct world_node *a = &world->nodes[0], *b = &world->nodes[1], *c = &world->nodes[2];
    struct message ping = {.type = MESSAGE_PING};
    struct signal_ask *asks[SIGNAL_ASKS_MAX];
    struct world_ask *ask;
    struct node_id id = {{0}};

    /* Welcome strangers, more than are remembered; who is needed, stays. */
    world_join(a, b);
    world_dial_and_wait(c, a);
    for (uint32_t i = 0; i < SIGNAL_PEERS_MAX + 1000; i++) {
        memcpy(id.key, &i, sizeof(i));
        inbound_message(a->signal, &a->signal->brokers[0], &id, &ping);
        assert_true(HASH_COUNT(a->signal->peers) <= SIGNAL_PEERS_MAX);
    }
    assert_int_equal(HASH_COUNT(a->signal->peers), SIGNAL_PEERS_MAX);
    /* Most of those IDs are no keys. */
    assert_true(HASH_CNT(hh_pass, a->signal->passes) < SIGNAL_PEERS_MAX);
    assert_non_null(signal_peer_find(a->signal, identity_id(b->identity)));
    assert_non_null(signal_peer_find(a->signal, identity_id(c->identity)));
    world_replay_all(world, world->record_count); /* the oracle would notice */
    world_run(world, 150 * SEC_US);
    id.key[0] = id.key[31] = 1;
    for (uint32_t i = 0; i < 10; i++) {
        id.key[4] = (uint8_t)i;
        inbound_message(a->signal, &a->signal->brokers[0], &id, &ping);
    }
    world_part(a, b);

    world_set_servers(world, false);
    world_run(world, SEC_US);
    ask = world_ask(c, b);
    assert_non_null(ask);
    for (int i = 0; i < SIGNAL_ASKS_MAX - 1; i++) {
        memset(&id, 0, sizeof(id));
        id.key[0] = (uint8_t)i;
        id.key[1] = 77;
        asks[i] = signal_ask(c->signal, &id, NULL, NULL);
        assert_non_null(asks[i]);
    }
    assert_null(signal_ask(c->signal, &id, NULL, NULL));
    for (int i = 0; i < SIGNAL_ASKS_MAX - 1; i++)
        signal_ask_cancel(asks[i]);
    world_forget(ask);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays),
        cmocka_unit_test(late_request),
        cmocka_unit_test(forgeries),
        cmocka_unit_test(liars),
        cmocka_unit_test(known_through_flood),
        cmocka_unit_test(strangers_refused),
        cmocka_unit_test(holder_limited),
        cmocka_unit_test(many_restarts),
        cmocka_unit_test(tables),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
