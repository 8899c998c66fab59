/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A node subscribes to one topic on each of its brokers, named by a hash of its ID, and publishes
 * to the topics of those whom it looks for. Brokers are not trusted: every message is sealed to its
 * recipient and signed by its sender (crypto/seal.h), and a message makes nobody act unless it
 * repeats something that its recipient has said a moment ago:
 *
 *     A                                        B
 *     PING  challenge a, our addresses  ---->  judges A; learns nothing that it would act on
 *           <----  PONG  echo a, challenge b, B's addresses            (or: refused, and why)
 *     knows: B runs now, is willing, and is there
 *     DIAL  echo b, token, our addresses ---->  knows: A asks now. Connects to A, and shows the
 *                                               token, so that A knows why it came
 *           <----  DECLINE  token, why          if it will not, or could not
 *
 * a is random for each question; b is a MAC over A's ID and instance and the present minute, so
 * that B keeps nothing for those who only ask. A DIAL's number must be higher than that of the last
 * one which the sender's instance was followed in. Wills and retained messages are not used: what a
 * broker remembers proves nothing.
 *
 *     signal.c    brokers, carriers, the table of peers, sending
 *     question.c  what we ask
 *     inbound.c   what comes in
 *
 * Every way is used at once: all brokers that are up, and the session with the peer, if there is
 * one and it has a path. The first answer counts. So a broker that is down, hangs, lies or drops
 * costs nothing but itself.
 *
 * Cost: before any public-key work a packet has to show a MAC that only those can make who know
 * our ID, and must fit the limits of its broker (inbound.c): those whom we know prove that they
 * hold the pass that only they and we can make (crypto/seal.h), and have limits of their own. Known
 * are all in the table: whom we ask, welcome, or announce ourselves to.
 *
 * Limits: SIGNAL_BROKERS_MAX, SIGNAL_ASKS_MAX, and SIGNAL_PEERS_MAX peers; beyond, the one heard of
 * longest ago is forgotten, those with a carrier or a question excepted.
 */
#include "signal/signal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "crypto/base32.h"
#include "signal/signal_int.h"

static void on_broker_state(void *arg, struct broker *broker, bool up, const char *why);
static void on_broker_message(void *arg, struct broker *broker, const uint8_t *bytes, size_t len);

static const struct broker_events broker_events = {.state = on_broker_state,
                                                   .message = on_broker_message};

void signal_topic(const struct node_id *id, char topic[SIGNAL_TOPIC_BYTES])
{
    static const char label[] = "adit topic v1";
    uint8_t bytes[sizeof(label) - 1 + NODE_ID_BYTES], hash[HASH_BYTES];

    memcpy(bytes, label, sizeof(label) - 1);
    memcpy(bytes + sizeof(label) - 1, id->key, NODE_ID_BYTES);
    hash_sha256(bytes, sizeof(bytes), hash);
    memcpy(topic, "adit/1/", 7);
    base32_encode(hash, sizeof(hash), topic + 7);
}

uint64_t signal_wall_us(const struct signal *signal)
{
    struct timespec now;

    if (signal->options.wall_us)
        return signal->options.wall_us(signal->arg);
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * SEC_US + (uint64_t)now.tv_nsec / 1000;
}

bool bucket_take(struct bucket *bucket, uint64_t now, uint32_t per_second, uint32_t burst)
{
    uint64_t passed = now - bucket->at, full = (uint64_t)burst * 1000;
    uint64_t millis;

    if (bucket->at == 0 || passed > 3600 * SEC_US)
        millis = full;
    else
        millis = bucket->millis + passed * per_second / 1000;
    if (millis > full)
        millis = full;
    /* Where too little time has passed to count, it goes on counting from the last time. */
    if (millis > bucket->millis || bucket->at == 0)
        bucket->at = now ? now : 1;
    bucket->millis = (uint32_t)millis;
    if (millis < 1000)
        return false;
    bucket->millis -= 1000;
    return true;
}

/* --- Peers --- */

struct signal_peer *signal_peer_find(const struct signal *signal, const struct node_id *id)
{
    struct signal_peer *peer;

    HASH_FIND(hh, signal->peers, id, sizeof(*id), peer);
    return peer;
}

/* One whose request to connect could be repeated successfully if we forgot it, included. */
static bool is_needed(const struct signal *signal, const struct signal_peer *peer)
{
    for (size_t i = 0; i < FOLLOWED_MAX; i++)
        if (peer->followed[i].until > loop_now(signal->loop))
            return true;
    return peer->has_carrier || peer->question.open || !TAILQ_EMPTY(&peer->asks);
}

static void peer_free(struct signal *signal, struct signal_peer *peer)
{
    HASH_DEL(signal->peers, peer);
    if (peer->has_pass)
        HASH_DELETE(hh_pass, signal->passes, peer);
    TAILQ_REMOVE(&signal->peer_list, peer, link);
    free(peer);
}

/* False: the table is full of those that are needed. */
static bool make_room(struct signal *signal)
{
    struct signal_peer *peer = TAILQ_FIRST(&signal->peer_list);

    if (HASH_COUNT(signal->peers) < SIGNAL_PEERS_MAX)
        return true;
    while (peer && is_needed(signal, peer))
        peer = TAILQ_NEXT(peer, link);
    if (peer)
        peer_free(signal, peer);
    return peer != NULL;
}

struct signal_peer *signal_peer_get(struct signal *signal, const struct node_id *id)
{
    struct signal_peer *peer = signal_peer_find(signal, id);

    if (peer) {
        TAILQ_REMOVE(&signal->peer_list, peer, link);
        TAILQ_INSERT_TAIL(&signal->peer_list, peer, link);
        return peer;
    }
    if (!make_room(signal) || !(peer = calloc(1, sizeof(*peer))))
        return NULL;
    peer->id = *id;
    TAILQ_INIT(&peer->asks);
    /* One whose ID is no key cannot write to us. Of two passes with one name, rare as they are, one
     * is looked up; the other's holder counts as a stranger. */
    peer->has_pass = seal_passes(signal->options.identity, id, peer->pass, peer->our_pass) == 0;
    HASH_ADD(hh, signal->peers, id, sizeof(peer->id), peer);
    if (peer->has_pass)
        HASH_ADD(hh_pass, signal->passes, pass, SEAL_NAME_BYTES, peer);
    TAILQ_INSERT_TAIL(&signal->peer_list, peer, link);
    return peer;
}

/* --- Sending --- */

void signal_message_init(struct signal *signal, struct message *message, enum message_type type)
{
    memset(message, 0, sizeof(*message));
    message->type = (uint8_t)type;
    memcpy(message->instance, signal->instance, sizeof(message->instance));
    message->number = ++signal->number;
    message->time_us = signal_wall_us(signal);
}

void signal_fill_addrs(struct signal *signal, const struct node_id *peer, struct message *message)
{
    message->addr_count =
        (uint8_t)signal->events->addrs(signal->arg, peer, message->addrs, MESSAGE_ADDRS_MAX);
}

/* Seals it. The length, or a negative error (logged). */
static int seal(struct signal *signal, const struct node_id *to, const struct message *message,
                uint8_t out[SEAL_BYTES_MAX])
{
    const struct signal_peer *peer = signal_peer_find(signal, to);
    uint8_t bytes[MESSAGE_BYTES_MAX], theirs[SEAL_PASS_BYTES], ours[SEAL_PASS_BYTES];
    int len = message_build(message, bytes);

    if (peer)
        memcpy(ours, peer->our_pass, sizeof(ours));
    else /* one that is told that it is refused */
        seal_passes(signal->options.identity, to, theirs, ours);
    if (len >= 0)
        len = seal_build(signal->options.identity, to, ours, bytes, (size_t)len, out);
    if (len < 0)
        log_warn("event=signal-not-sent why=\"%s\"", err_text(len));
    hash_wipe(bytes, sizeof(bytes));
    return len;
}

static int send_carried(const struct signal_peer *peer, const struct message *message)
{
    uint8_t bytes[MESSAGE_BYTES_MAX];
    int len;

    if (!peer || !peer->has_carrier)
        return -ENOTCONN;
    len = message_build(message, bytes);
    return len < 0 ? len : peer->carrier.send(peer->carrier.arg, bytes, (size_t)len);
}

int signal_send_by(struct signal *signal, struct signal_broker *way, const struct node_id *to,
                   const struct message *message)
{
    uint8_t packet[SEAL_BYTES_MAX];
    char topic[SIGNAL_TOPIC_BYTES];
    int len;

    if (!way)
        return send_carried(signal_peer_find(signal, to), message);
    if (!way->up)
        return -ENOTCONN;
    len = seal(signal, to, message, packet);
    if (len < 0)
        return len;
    signal_topic(to, topic);
    return signal->driver->publish(way->broker, topic, packet, (size_t)len);
}

int signal_send_all(struct signal *signal, const struct node_id *to, const struct message *message)
{
    uint8_t packet[SEAL_BYTES_MAX];
    char topic[SIGNAL_TOPIC_BYTES];
    int result = send_carried(signal_peer_find(signal, to), message), len;

    if (!signal_is_up(signal))
        return result;
    len = seal(signal, to, message, packet);
    if (len < 0)
        return result;
    signal_topic(to, topic);
    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++) {
        struct signal_broker *way = &signal->brokers[i];

        if (way->up && signal->driver->publish(way->broker, topic, packet, (size_t)len) == 0)
            result = 0;
    }
    return result;
}

bool signal_has_way(const struct signal *signal, const struct signal_peer *peer)
{
    return peer->has_carrier || signal_is_up(signal);
}

void signal_announce(struct signal *signal, const struct node_id *to)
{
    const struct signal_peer *peer = signal_peer_get(signal, to); /* from now on it is known */
    struct message message;

    if (peer && peer->question.open && peer->question.first_sent)
        return; /* our question says the same */
    signal_message_init(signal, &message, MESSAGE_PING);
    signal_fill_addrs(signal, to, &message);
    signal_send_all(signal, to, &message);
}

void signal_decline(struct signal *signal, const struct node_id *peer,
                    const uint8_t token[MESSAGE_TOKEN_BYTES], uint8_t code, const char *text)
{
    struct message message;

    signal_message_init(signal, &message, MESSAGE_DECLINE);
    message.has_token = message.has_verdict = true;
    memcpy(message.token, token, sizeof(message.token));
    message.verdict = code;
    snprintf(message.text, sizeof(message.text), "%s", text);
    signal_send_all(signal, peer, &message);
}

/* --- Brokers --- */

bool signal_is_up(const struct signal *signal)
{
    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++)
        if (signal->brokers[i].up)
            return true;
    return false;
}

static void tell_change(struct signal *signal)
{
    bool up = signal_is_up(signal);

    if (up == signal->was_up)
        return;
    signal->was_up = up;
    signal->events->changed(signal->arg, up);
}

static void on_broker_state(void *arg, struct broker *broker, bool up, const char *why)
{
    struct signal_broker *way = arg;
    struct signal *signal = way->signal;
    struct broker_info info;
    bool news = up != way->up || strcmp(way->why, why ? why : "") != 0;

    way->up = up;
    snprintf(way->why, sizeof(way->why), "%s", why ? why : "");
    signal->driver->describe(broker, &info);
    if (up) {
        way->up_since = loop_now(signal->loop);
        log_info("event=broker-up broker=%s ms=%llu", info.name,
                 (unsigned long long)(info.connect_us / MS_US));
    } else {
        log_at(news ? LOG_WARN : LOG_DEBUG, "event=broker-down broker=%s why=\"%s\"", info.name,
               way->why);
    }
    /* Questions first: a broker may hold back what follows until the first is acknowledged. */
    if (up)
        question_way_up(signal);
    tell_change(signal);
}

static void on_broker_message(void *arg, struct broker *broker, const uint8_t *bytes, size_t len)
{
    (void)broker;
    inbound_packet(arg, bytes, len);
}

static void broker_drop(struct signal_broker *way)
{
    if (!way->url)
        return;
    way->signal->driver->close(way->broker);
    hash_wipe(way->url, strlen(way->url));
    free(way->url);
    *way = (struct signal_broker){.signal = way->signal};
}

static int broker_add(struct signal *signal, const char *url, char *errbuf, size_t errlen)
{
    const struct broker_options options = {
        .url = url,
        .topic = signal->topic,
        .resolver = signal->options.resolver,
        .ca_file = signal->ca_file,
        .retry_min_us = BROKER_RETRY_MIN_US,
        .retry_max_us = BROKER_RETRY_MAX_US,
        .connect_us = BROKER_CONNECT_US,
        .keepalive_us = BROKER_KEEPALIVE_US,
    };
    struct signal_broker *way = signal->brokers;

    while (way < signal->brokers + SIGNAL_BROKERS_MAX && way->url)
        way++;
    if (way == signal->brokers + SIGNAL_BROKERS_MAX)
        return 0;
    *way = (struct signal_broker){.signal = signal, .url = strdup(url)};
    if (!way->url)
        return -ENOMEM;
    way->broker = signal->driver->open(signal->loop, &options, &broker_events, way, errbuf, errlen);
    if (way->broker)
        return 0;
    hash_wipe(way->url, strlen(way->url));
    free(way->url);
    way->url = NULL;
    return -EINVAL;
}

int signal_set_ca_file(struct signal *signal, const char *path)
{
    char *copy = NULL;

    if (strcmp(signal->ca_file ? signal->ca_file : "", path) == 0)
        return 0;
    if (path[0] && !(copy = strdup(path)))
        return -ENOMEM;
    free(signal->ca_file);
    signal->ca_file = copy;
    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++)
        broker_drop(&signal->brokers[i]);
    return 0;
}

int signal_set_brokers(struct signal *signal, const char *const *urls, size_t count, char *errbuf,
                       size_t errlen)
{
    int result = 0;

    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++) {
        bool wanted = false;

        for (size_t j = 0; j < count && signal->brokers[i].url; j++)
            wanted = wanted || strcmp(signal->brokers[i].url, urls[j]) == 0;
        if (!wanted)
            broker_drop(&signal->brokers[i]);
    }
    for (size_t j = 0; j < count; j++) {
        bool known = false;
        int r;

        for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++)
            known = known || (signal->brokers[i].url && !strcmp(signal->brokers[i].url, urls[j]));
        if (known)
            continue;
        r = broker_add(signal, urls[j], errbuf, errlen);
        if (r < 0)
            result = r;
    }
    tell_change(signal);
    return result;
}

void signal_kick(struct signal *signal)
{
    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++)
        if (signal->brokers[i].url)
            signal->driver->kick(signal->brokers[i].broker);
    question_way_up(signal);
}

size_t signal_broker_count(const struct signal *signal)
{
    size_t count = 0;

    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++)
        count += signal->brokers[i].url != NULL;
    return count;
}

void signal_broker_describe(const struct signal *signal, size_t index, struct broker_info *info)
{
    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++) {
        if (!signal->brokers[i].url || index-- > 0)
            continue;
        signal->driver->describe(signal->brokers[i].broker, info);
        return;
    }
    memset(info, 0, sizeof(*info));
}

const struct signal_stats *signal_stats(const struct signal *signal)
{
    return &signal->stats;
}

/* --- Carriers --- */

int signal_set_carrier(struct signal *signal, const struct node_id *id,
                       const struct signal_carrier *carrier)
{
    struct signal_peer *peer = signal_peer_find(signal, id);

    if (!carrier) {
        if (peer)
            peer->has_carrier = false;
        return 0;
    }
    peer = signal_peer_get(signal, id);
    if (!peer)
        return -ENOMEM;
    peer->has_carrier = true;
    peer->carrier = *carrier;
    if (peer->question.open) { /* from the loop, not inside what the caller is doing */
        peer->question.repeat_at = loop_now(signal->loop);
        question_plan(signal);
    }
    return 0;
}

void signal_carried(struct signal *signal, const struct node_id *from, const uint8_t *bytes,
                    size_t len)
{
    struct message message;

    if (message_parse(bytes, len, &message) < 0)
        signal->stats.malformed++;
    else
        inbound_message(signal, NULL, from, &message);
}

/* --- Beginning and end --- */

struct signal *signal_new(struct loop *loop, const struct signal_options *options,
                          const struct signal_events *events, void *arg)
{
    struct signal *signal = calloc(1, sizeof(*signal));

    if (!signal)
        return NULL;
    signal->loop = loop;
    signal->options = *options;
    if (!signal->options.silence_us)
        signal->options.silence_us = SIGNAL_SILENCE_US;
    signal->driver = options->driver;
    signal->events = events;
    signal->arg = arg;
    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++)
        signal->brokers[i].signal = signal;
    signal_topic(identity_id(options->identity), signal->topic);
    loop_random(loop, signal->instance, sizeof(signal->instance));
    loop_random(loop, signal->key, sizeof(signal->key));
    TAILQ_INIT(&signal->peer_list);
    timer_init(&signal->timer, question_timer, signal);
    return signal;
}

void signal_free(struct signal *signal)
{
    struct signal_peer *peer, *next;

    if (!signal)
        return;
    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++)
        broker_drop(&signal->brokers[i]);
    HASH_ITER (hh, signal->peers, peer, next) {
        while (!TAILQ_EMPTY(&peer->asks))
            signal_ask_cancel(TAILQ_FIRST(&peer->asks));
        peer_free(signal, peer);
    }
    timer_cancel(signal->loop, &signal->timer);
    hash_wipe(signal->key, sizeof(signal->key));
    free(signal->ca_file);
    free(signal);
}
