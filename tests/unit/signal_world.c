/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The driver "sim" stands in for Paho: publishing puts a packet into the loop for each node that is
 * connected to the same server with that topic, after a delay, or none, or two. Whatever was
 * published is recorded.
 *
 * What is checked whenever a node is told something:
 *
 *     anything at all   not while bytes are delivered that nobody made
 *     found, answered   by a PONG of that peer, made after a question that is still open was asked
 *     dial              by a DIAL of that peer with this token, from a request that was really
 * made, that was made less than two epochs of challenges ago, and was never followed before, by any
 * run of the recipient an outcome        once, within the time that signal.h promises, not after a
 * cancellation
 *
 * The oracle opens the packet that is being delivered with the recipient's key.
 */
#include "signal_world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

#define EPOCH_1970_US UINT64_C(1700000000000000) /* the common clock when a world begins */
/* No way until the last moment, then brokers that come up one after the other. */
#define ANSWER_MAX_US (SIGNAL_NO_BROKER_US + 2 * SIGNAL_SILENCE_US)

static struct world *the_world; /* a driver is told nothing but a URL */

uint32_t world_dice(struct world *world, uint32_t sides)
{
    return (uint32_t)(loop_random64(world->loop) % sides);
}

static void on_end(void *arg)
{
    (void)arg;
}

void world_run(struct world *world, uint64_t us)
{
    timer_set_in(world->loop, &world->end, us);
    while (timer_is_set(&world->end))
        loop_turn(world->loop, us);
}

/* --- The driver --- */

static void tell_state(void *arg)
{
    struct broker *broker = arg;
    bool up = broker->world->server_up[broker->server];

    if (up == broker->up && broker->told)
        return;
    broker->told = true;
    broker->up = up;
    broker->events->state(broker->arg, broker, up,
                          up                      ? NULL
                          : broker->node->trouble ? broker->node->trouble
                                                  : "it refuses connections");
}

static struct broker *sim_open(struct loop *loop, const struct broker_options *options,
                               const struct broker_events *events, void *arg, char *errbuf,
                               size_t errlen)
{
    struct broker *broker = NULL;
    int server, node;

    (void)loop;
    if (sscanf(options->url, "sim://%d/%d", &server, &node) == 2 && server < WORLD_SERVERS)
        broker = calloc(1, sizeof(*broker));
    if (!broker) {
        snprintf(errbuf, errlen, "not a URL of these tests");
        return NULL;
    }
    broker->world = the_world;
    broker->node = &the_world->nodes[node];
    broker->server = server;
    snprintf(broker->topic, sizeof(broker->topic), "%s", options->topic);
    snprintf(broker->name, sizeof(broker->name), "server%d", server);
    broker->events = events;
    broker->arg = arg;
    broker->node->brokers[server] = broker;
    timer_init(&broker->timer, tell_state, broker);
    timer_set_in(loop, &broker->timer, 1 + world_dice(the_world, 20000));
    return broker;
}

static void sim_close(struct broker *broker)
{
    timer_cancel(broker->world->loop, &broker->timer);
    broker->node->brokers[broker->server] = NULL;
    free(broker);
}

static void sim_kick(struct broker *broker)
{
    timer_set_in(broker->world->loop, &broker->timer, 1000);
}

static void sim_describe(const struct broker *broker, struct broker_info *info)
{
    memset(info, 0, sizeof(*info));
    info->name = broker->name;
    info->phase = broker->up ? BROKER_UP : BROKER_WAITING;
}

/* A packet on its way. */
struct flight {
    struct timer timer;
    struct world *world;
    struct world_record record;
};

static void deliver(struct world_node *to, int server, const struct world_record *record)
{
    struct world *world = to->world;
    struct broker *broker = to->brokers[server];
    const struct world_record *before = world->delivering;

    if (!broker || !broker->up)
        return;
    world->delivering = record;
    broker->events->message(broker->arg, broker, record->bytes, record->len);
    world->delivering = before;
}

static void on_flight(void *arg)
{
    struct flight *flight = arg;

    deliver(flight->record.to, flight->record.server, &flight->record);
    free(flight);
}

static void send_later(struct world *world, const struct world_record *record)
{
    struct flight *flight = calloc(1, sizeof(*flight));

    CHECK(world, flight);
    flight->world = world;
    flight->record = *record;
    timer_init(&flight->timer, on_flight, flight);
    timer_set_in(world->loop, &flight->timer,
                 1 + (world->delay_us ? world_dice(world, (uint32_t)world->delay_us) : 0));
}

static int sim_publish(struct broker *broker, const char *topic, const void *bytes, size_t len)
{
    struct world *world = broker->world;
    struct world_record record = {.len = len, .server = broker->server, .from = broker->node};

    if (!broker->up)
        return -ENOTCONN;
    CHECK(world, len <= sizeof(record.bytes));
    memcpy(record.bytes, bytes, len);
    record.at = loop_now(world->loop);
    for (int i = 0; i < WORLD_NODES; i++) {
        char theirs[SIGNAL_TOPIC_BYTES];

        signal_topic(identity_id(world->nodes[i].identity), theirs);
        if (strcmp(theirs, topic) == 0)
            record.to = &world->nodes[i];
    }
    if (!record.to) /* a stranger's */
        return 0;
    world->records[world->record_count++ % WORLD_RECORDS] = record;
    if (world_dice(world, 100) < world->loss)
        return 0;
    send_later(world, &record);
    if (world_dice(world, 100) < world->duplication)
        send_later(world, &record);
    return 0;
}

static const struct broker_driver sim = {
    .open = sim_open,
    .close = sim_close,
    .publish = sim_publish,
    .kick = sim_kick,
    .describe = sim_describe,
};

void world_set_server(struct world *world, int server, bool up)
{
    world->server_up[server] = up;
    for (int i = 0; i < WORLD_NODES; i++)
        if (world->nodes[i].brokers[server])
            timer_set_in(world->loop, &world->nodes[i].brokers[server]->timer,
                         1 + world_dice(world, 100000));
}

void world_set_servers(struct world *world, bool up)
{
    for (int i = 0; i < WORLD_SERVERS; i++)
        world_set_server(world, i, up);
}

/* --- The oracle --- */

static struct world_node *node_of(struct world *world, const struct node_id *id)
{
    for (int i = 0; i < WORLD_NODES; i++)
        if (node_id_equal(id, identity_id(world->nodes[i].identity)))
            return &world->nodes[i];
    return NULL;
}

/* What is being delivered to a node: the message, who made it, and when. False: a carrier's. */
static bool what_is_delivered(struct world_node *node, struct message *message, uint64_t *made)
{
    struct world *world = node->world;
    uint8_t plain[SEAL_MESSAGE_MAX];
    struct node_id from;
    int len;

    if (!world->delivering) {
        CHECK(world, world->carrying);
        CHECK(world, message_parse(world->carrying, world->carrying_len, message) == 0);
        return false;
    }
    CHECK(world, world->delivering->to == node);
    len = seal_open(node->identity, world->delivering->bytes, world->delivering->len, &from, plain);
    CHECK(world, len >= 0);
    CHECK(world, message_parse(plain, (size_t)len, message) == 0);
    CHECK(world, world->delivering->from == node_of(world, &from));
    *made = world->delivering->at;
    return true;
}

static void check_pong(struct world_node *node, const struct node_id *from)
{
    struct world *world = node->world;
    struct message message;
    uint64_t made;
    bool asked = false;

    if (!what_is_delivered(node, &message, &made))
        return;
    CHECK(world, message.type == MESSAGE_PONG);
    for (size_t i = 0; i < WORLD_ASKS; i++) {
        const struct world_ask *ask = &world->asks[i];

        asked = asked || (ask->node == node && ask->peer == node_of(world, from) &&
                          ask->run == node->run && ask->since <= made);
    }
    CHECK(world, asked);
}

static void check_dial(struct world_node *node, const struct node_id *from, const uint8_t *token)
{
    struct world *world = node->world;
    struct message message;
    uint64_t made;

    if (!what_is_delivered(node, &message, &made))
        return;
    CHECK(world, message.type == MESSAGE_DIAL);
    CHECK(world, memcmp(message.token, token, MESSAGE_TOKEN_BYTES) == 0);
    CHECK(world, loop_now(world->loop) - made < 2 * CHALLENGE_EPOCH_US);
    for (size_t i = 0; i < world->followed_count; i++)
        CHECK(world, !(node_id_equal(&world->followed[i].from, from) &&
                       node_id_equal(&world->followed[i].to, identity_id(node->identity)) &&
                       memcmp(world->followed[i].instance, message.instance,
                              sizeof(message.instance)) == 0 &&
                       world->followed[i].number == message.number));
    CHECK(world, world->followed_count < WORLD_FOLLOWED);
    world->followed[world->followed_count].from = *from;
    world->followed[world->followed_count].to = *identity_id(node->identity);
    memcpy(world->followed[world->followed_count].instance, message.instance,
           sizeof(message.instance));
    world->followed[world->followed_count++].number = message.number;
}

/* --- The node's side --- */

static size_t on_addrs(void *arg, const struct node_id *peer, struct addr *out, size_t max)
{
    struct world_node *node = arg;

    (void)peer;
    CHECK(node->world, max >= 1);
    out[0] = addr_loopback(AF_INET, (uint16_t)(1000 + node->index));
    return 1;
}

static bool on_secret(void *arg, const struct node_id *peer, uint8_t out[MESSAGE_SECRET_BYTES])
{
    struct world_node *node = arg;

    (void)peer;
    memcpy(out, node->secret, MESSAGE_SECRET_BYTES);
    return node->has_secret;
}

static enum signal_judgement on_judge(void *arg, const struct node_id *from, const uint8_t *secret,
                                      uint8_t *code, const char **text)
{
    struct world_node *node = arg;

    (void)from;
    CHECK(node->world, !node->world->forged);
    node->judged++;
    node->saw_secret = secret && memcmp(secret, "sixteen bytes...", 16) == 0;
    if (!node->refused_code)
        return SIGNAL_WELCOME;
    *code = node->refused_code;
    *text = "not today";
    return SIGNAL_REFUSED;
}

static void on_asked(void *arg, const struct node_id *from)
{
    struct world_node *node = arg;

    (void)from;
    CHECK(node->world, !node->world->forged);
    node->asked++;
}

static void on_found(void *arg, const struct node_id *from, const struct addr *addrs, size_t count)
{
    struct world_node *node = arg;
    struct world_node *peer = node_of(node->world, from);

    CHECK(node->world, !node->world->forged);
    check_pong(node, from);
    CHECK(node->world, count == 1 && addrs[0].port == 1000 + peer->index);
    node->found++;
}

static uint8_t on_dial(void *arg, const struct node_id *from,
                       const uint8_t token[MESSAGE_TOKEN_BYTES], const struct addr *addrs,
                       size_t count)
{
    struct world_node *node = arg;

    (void)addrs;
    CHECK(node->world, !node->world->forged);
    check_dial(node, from, token);
    node->dialled++;
    node->last_addr_count = count;
    memcpy(node->last_token, token, MESSAGE_TOKEN_BYTES);
    return node->dial_code;
}

static void on_changed(void *arg, bool up)
{
    struct world_node *node = arg;

    CHECK(node->world, up != node->up);
    node->up = up;
    node->changed++;
}

static uint64_t on_wall(void *arg)
{
    const struct world_node *node = arg;

    return EPOCH_1970_US + loop_now(node->world->loop) + (uint64_t)node->clock_us;
}

static const struct signal_events node_events = {
    .addrs = on_addrs,
    .secret = on_secret,
    .judge = on_judge,
    .asked = on_asked,
    .found = on_found,
    .dial = on_dial,
    .changed = on_changed,
};

void world_start(struct world_node *node)
{
    const struct signal_options options = {
        .identity = node->identity, .driver = &sim, .wall_us = on_wall};
    char urls[WORLD_SERVERS][32], error[100];
    const char *list[WORLD_SERVERS];

    node->run++;
    node->signal = signal_new(node->world->loop, &options, &node_events, node);
    CHECK(node->world, node->signal);
    for (int i = 0; i < WORLD_SERVERS; i++) {
        snprintf(urls[i], sizeof(urls[i]), "sim://%d/%d", i, node->index);
        list[i] = urls[i];
    }
    CHECK(node->world,
          signal_set_brokers(node->signal, list, WORLD_SERVERS, error, sizeof(error)) == 0);
}

void world_stop(struct world_node *node)
{
    for (int i = 0; i < WORLD_NODES; i++)
        if (node->carried[i])
            world_part(node, node->carried[i]);
    for (size_t i = 0; i < WORLD_ASKS; i++) /* they end untold */
        if (node->world->asks[i].node == node)
            node->world->asks[i] = (struct world_ask){0};
    signal_free(node->signal);
    node->signal = NULL;
    node->up = false;
}

/* --- Carriers --- */

struct carried {
    struct timer timer;
    struct world_node *from, *to;
    unsigned from_run, to_run;
    uint8_t bytes[MESSAGE_BYTES_MAX];
    size_t len;
};

static void on_carried(void *arg)
{
    struct carried *carried = arg;
    struct world_node *to = carried->to;
    struct world *world = to->world;

    /* A session ends with either of its processes. */
    if (to->signal && to->run == carried->to_run && carried->from->run == carried->from_run &&
        to->carried[carried->from->index]) {
        world->carrying = carried->bytes;
        world->carrying_len = carried->len;
        signal_carried(to->signal, identity_id(carried->from->identity), carried->bytes,
                       carried->len);
        world->carrying = NULL;
    }
    free(carried);
}

/* The argument of a carrier is the place in `carried` of its node. */
static int carrier_send(void *arg, const uint8_t *bytes, size_t len)
{
    struct world_node **place = arg, *to = *place;
    struct world *world = to->world;
    struct world_node *from = NULL;
    struct carried *carried;

    for (int i = 0; i < WORLD_NODES; i++)
        if (place == &world->nodes[i].carried[to->index])
            from = &world->nodes[i];
    CHECK(world, from && len <= MESSAGE_BYTES_MAX);
    if (from->carrier_fails)
        return -ENOTCONN;
    carried = calloc(1, sizeof(*carried));
    CHECK(world, carried);
    *carried = (struct carried){
        .from = from, .to = to, .from_run = from->run, .to_run = to->run, .len = len};
    memcpy(carried->bytes, bytes, len);
    timer_init(&carried->timer, on_carried, carried);
    timer_set_in(world->loop, &carried->timer, 10 * MS_US); /* in order */
    return 0;
}

static void carry(struct world_node *from, struct world_node *to)
{
    struct signal_carrier carrier = {.send = carrier_send, .arg = &from->carried[to->index]};

    from->carried[to->index] = to;
    CHECK(from->world, signal_set_carrier(from->signal, identity_id(to->identity), &carrier) == 0);
}

void world_join(struct world_node *a, struct world_node *b)
{
    carry(a, b);
    carry(b, a);
}

void world_part(struct world_node *a, struct world_node *b)
{
    a->carried[b->index] = b->carried[a->index] = NULL;
    signal_set_carrier(a->signal, identity_id(b->identity), NULL);
    signal_set_carrier(b->signal, identity_id(a->identity), NULL);
}

/* --- Questions --- */

static void on_outcome(void *arg, enum signal_outcome outcome, const struct signal_answer *answer,
                       const char *why)
{
    struct world_ask *ask = arg;
    struct world_node *node = ask->node;
    struct world *world;

    assert_non_null(node); /* else it was cancelled, or its node has stopped */
    world = node->world;
    CHECK(world, ask->ask && ask->run == node->run);
    CHECK(world, !world->forged);
    if (outcome == SIGNAL_DECLINED) {
        CHECK(world, ask->told && ask->welcome && ask->dialled && answer);
        ask->declines++;
        ask->ask = NULL;
        ask->code = answer->code;
        return;
    }
    CHECK(world, !ask->told);
    CHECK(world, loop_now(world->loop) - ask->since <= ANSWER_MAX_US);
    CHECK(world, (outcome == SIGNAL_ANSWERED) == (answer != NULL));
    ask->told = true;
    ask->outcome = outcome;
    snprintf(ask->why, sizeof(ask->why), "%s", why ? why : "");
    if (answer) {
        check_pong(node, identity_id(ask->peer->identity));
        ask->code = answer->code;
        ask->rtt_us = answer->rtt_us;
        ask->offset_us = answer->offset_us;
        ask->addr_count = answer->addr_count;
        snprintf(ask->way, sizeof(ask->way), "%s", answer->way);
        snprintf(ask->why, sizeof(ask->why), "%s", answer->text);
    }
    ask->welcome = outcome == SIGNAL_ANSWERED && ask->code == 0;
    if (!ask->welcome)
        ask->ask = NULL;
}

struct world_ask *world_ask(struct world_node *node, struct world_node *peer)
{
    struct world *world = node->world;

    for (size_t i = 0; i < WORLD_ASKS; i++) {
        struct world_ask *ask = &world->asks[i];

        if (ask->node)
            continue;
        *ask = (struct world_ask){
            .node = node, .peer = peer, .since = loop_now(world->loop), .run = node->run};
        ask->ask = signal_ask(node->signal, identity_id(peer->identity), on_outcome, ask);
        CHECK(world, ask->ask);
        return ask;
    }
    return NULL;
}

void world_cancel(struct world_ask *ask)
{
    if (ask->ask)
        signal_ask_cancel(ask->ask);
    ask->ask = NULL;
}

void world_forget(struct world_ask *ask)
{
    world_cancel(ask);
    *ask = (struct world_ask){0};
}

/* --- Meddling --- */

void world_inject(struct world_node *to, int server, const uint8_t *bytes, size_t len, bool forged)
{
    struct world *world = to->world;
    struct world_record record = {.len = len, .server = server, .to = to};

    CHECK(world, len <= sizeof(record.bytes));
    memcpy(record.bytes, bytes, len);
    record.at = loop_now(world->loop);
    world->forged = forged;
    deliver(to, server, &record);
    world->forged = false;
}

void world_replay(struct world *world, size_t index, struct world_node *to, int server)
{
    struct world_record *record = &world->records[index % WORLD_RECORDS];

    world->forged = to != record->to;
    deliver(to, server, record);
    world->forged = false;
}

/* --- Whole stories --- */

struct world_ask *world_ask_and_wait(struct world_node *node, struct world_node *peer)
{
    struct world_ask *ask = world_ask(node, peer);

    assert_non_null(ask);
    while (!ask->told)
        world_run(node->world, 10 * MS_US);
    return ask;
}

void world_dial_and_wait(struct world_node *node, struct world_node *peer)
{
    struct world_ask *ask = world_ask_and_wait(node, peer);
    unsigned before = peer->dialled;

    assert_true(ask->welcome);
    ask->dialled = true;
    assert_int_equal(signal_ask_dial(ask->ask), 0);
    for (int i = 0; i < 100 && peer->dialled == before; i++)
        world_run(node->world, 10 * MS_US);
    assert_true(peer->dialled > before);
    assert_true(signal_is_invited(node->signal, identity_id(peer->identity), peer->last_token));
    assert_int_equal(peer->last_addr_count, 1);
    world_forget(ask);
    assert_false(signal_is_invited(node->signal, identity_id(peer->identity), peer->last_token));
}

void world_replay_all(struct world *world, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (int server = 0; server < WORLD_SERVERS; server++)
            world_replay(world, i, world->records[i].to, server);
    world_run(world, 300 * MS_US);
}

/* --- Beginning and end --- */

struct world *world_new(uint64_t seed)
{
    static struct identity *identities[WORLD_NODES];
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    the_world = world;
    world->seed = seed;
    world->loop = loop_new_virtual(seed);
    world->records = calloc(WORLD_RECORDS, sizeof(*world->records));
    assert_true(world->loop && world->records);
    timer_init(&world->end, on_end, world);
    world->delay_us = 50 * MS_US;
    for (int i = 0; i < WORLD_SERVERS; i++)
        world->server_up[i] = true;
    for (int i = 0; i < WORLD_NODES; i++) {
        uint8_t secret[32] = {(uint8_t)(i + 1)};

        if (!identities[i])
            identities[i] = identity_from_secret(secret);
        assert_non_null(identities[i]);
        world->nodes[i].world = world;
        world->nodes[i].index = i;
        world->nodes[i].identity = identities[i];
    }
    for (int i = 0; i < WORLD_NODES; i++)
        world_start(&world->nodes[i]);
    world_run(world, 100 * MS_US);
    for (int i = 0; i < WORLD_NODES; i++)
        CHECK(world, world->nodes[i].up);
    return world;
}

void world_free(struct world *world)
{
    for (int i = 0; i < WORLD_NODES; i++)
        if (world->nodes[i].signal)
            world_stop(&world->nodes[i]);
    /* What is in flight lands nowhere; then the loop has nothing left to do. */
    world_run(world, 10 * SEC_US);
    CHECK(world, !loop_turn(world->loop, SEC_US));
    loop_free(world->loop);
    free(world->records);
    free(world);
    the_world = NULL;
}
