/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What comes in, from the cheapest question to the dearest:
 *
 *     form and MAC       foreign otherwise: a microsecond
 *     limits             a packet that proves to come from a peer that we know, by its pass, counts
 *                        against that peer's limit and the limit of all known; any other, and what
 *                        is beyond, against the limit of strangers; all for each broker. Beyond
 *                        that it is dropped. One with a pass that came before is dropped too: it
 *                        was copied, since an ephemeral key is used once
 *     seal               public-key work, some 200 us: forged otherwise
 *     message            malformed otherwise
 *     freshness          by type:
 *         PING     none. It is judged by the node, and answered as often as the sender's own limit
 *                  allows; refusals have a limit for all together. A PING without challenge only
 *                  says that its sender is there. Its addresses count only inside a session
 *         PONG     echoes the challenge of a question that is open; nothing else is looked at
 *         DIAL     echoes what we gave to this sender's instance within two minutes, and its number
 *                  is above that of the last DIAL of this instance (of the last FOLLOWED_MAX
 *                  instances within that time; a peer that restarts more often has to wait)
 *         DECLINE  names the token, unguessable, of a request of ours that is open
 *
 * Inside a session the sender is certain and nothing is a repeat, so a DIAL needs no echo there.
 *
 * Only those who are welcome are remembered: strangers take no memory.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "signal/signal_int.h"

/* What a sender's instance has to echo in this epoch (0) or the last (1). */
static void challenge_for(const struct signal *signal, const struct node_id *id,
                          const uint8_t instance[MESSAGE_INSTANCE_BYTES], uint64_t back,
                          uint8_t out[MESSAGE_CHALLENGE_BYTES])
{
    uint64_t epoch = loop_now(signal->loop) / CHALLENGE_EPOCH_US - back;
    uint8_t bytes[NODE_ID_BYTES + MESSAGE_INSTANCE_BYTES + 8], mac[HASH_BYTES];

    memcpy(bytes, id->key, NODE_ID_BYTES);
    memcpy(bytes + NODE_ID_BYTES, instance, MESSAGE_INSTANCE_BYTES);
    for (int i = 0; i < 8; i++)
        bytes[NODE_ID_BYTES + MESSAGE_INSTANCE_BYTES + i] = (uint8_t)(epoch >> (56 - 8 * i));
    hash_hmac_sha256(signal->key, sizeof(signal->key), bytes, sizeof(bytes), mac);
    memcpy(out, mac, MESSAGE_CHALLENGE_BYTES);
}

static bool is_echoed(const struct signal *signal, const struct node_id *from,
                      const struct message *message)
{
    uint8_t challenge[MESSAGE_CHALLENGE_BYTES];

    for (uint64_t back = 0; back <= 1 && message->has_echo; back++) {
        challenge_for(signal, from, message->instance, back, challenge);
        if (hash_equal(challenge, message->echo, sizeof(challenge)))
            return true;
    }
    return false;
}

static const char *way_name(const struct signal_broker *way)
{
    struct broker_info info;

    if (!way)
        return "session";
    way->signal->driver->describe(way->broker, &info);
    return info.name;
}

/* --- PING --- */

static void answer(struct signal *signal, struct signal_broker *way, const struct node_id *to,
                   const struct message *ping, struct message *pong)
{
    pong->has_echo = true;
    memcpy(pong->echo, ping->challenge, sizeof(pong->echo));
    pong->has_times = true;
    pong->about = ping->number;
    pong->received_us = pong->time_us; /* it is answered at once */
    signal_send_by(signal, way, to, pong);
}

static void refuse(struct signal *signal, struct signal_broker *way, const struct node_id *from,
                   const struct message *ping, uint8_t code, const char *text)
{
    struct message pong;

    if (!ping->has_challenge || !bucket_take(&signal->refusals, loop_now(signal->loop),
                                             REFUSAL_PER_SECOND, REFUSAL_BURST)) {
        signal->stats.limited++;
        return;
    }
    signal->stats.refused++;
    signal_message_init(signal, &pong, MESSAGE_PONG);
    pong.has_verdict = true;
    pong.verdict = code;
    snprintf(pong.text, sizeof(pong.text), "%s", text ? text : "");
    answer(signal, way, from, ping, &pong);
}

static void on_ping(struct signal *signal, struct signal_broker *way, const struct node_id *from,
                    const struct message *ping)
{
    const char *text = "";
    uint8_t code = 0;
    struct signal_peer *peer;
    struct message pong;

    signal->stats.asked++;
    switch (signal->events->judge(signal->arg, from, ping->has_secret ? ping->secret : NULL, &code,
                                  &text)) {
    case SIGNAL_REFUSED:
        refuse(signal, way, from, ping, code, text);
        return;
    case SIGNAL_WELCOME:
        break;
    }
    peer = signal_peer_get(signal, from);
    if (!peer ||
        !bucket_take(&peer->answers, loop_now(signal->loop), ANSWER_PER_SECOND, ANSWER_BURST)) {
        signal->stats.limited++;
        return;
    }
    if (ping->has_challenge) {
        signal->stats.answered++;
        signal_message_init(signal, &pong, MESSAGE_PONG);
        pong.has_challenge = true;
        challenge_for(signal, from, ping->instance, 0, pong.challenge);
        signal_fill_addrs(signal, from, &pong);
        answer(signal, way, from, ping, &pong);
    }
    if (!way && ping->addr_count)
        signal->events->found(signal->arg, from, ping->addrs, ping->addr_count);
    signal->events->asked(signal->arg, from);
}

/* --- PONG, DIAL, DECLINE --- */

static void on_pong(struct signal *signal, struct signal_broker *way, const struct node_id *from,
                    const struct message *pong)
{
    struct signal_peer *peer = signal_peer_find(signal, from);
    char name[BROKER_TEXT_MAX + 1]; /* ours: what we call may drop the broker */

    snprintf(name, sizeof(name), "%s", way_name(way));
    if (!peer || !peer->question.open || !pong->has_echo ||
        !hash_equal(pong->echo, peer->question.challenge, sizeof(pong->echo))) {
        signal->stats.stale++;
        return;
    }
    if (pong->has_verdict && pong->verdict != 0) {
        question_answered(signal, peer, name, pong);
        return;
    }
    peer->has_their_challenge = pong->has_challenge;
    memcpy(peer->their_challenge, pong->challenge, sizeof(peer->their_challenge));
    signal->events->found(signal->arg, from, pong->addrs, pong->addr_count);
    /* The node may have changed its mind about the peer meanwhile. */
    peer = signal_peer_find(signal, from);
    if (peer && peer->question.open)
        question_answered(signal, peer, name, pong);
}

/* Whether no DIAL of its instance with this number or a higher one was seen; from now on it was. */
static bool is_newest(const struct signal *signal, struct signal_peer *peer,
                      const struct message *dial)
{
    uint64_t now = loop_now(signal->loop);
    struct signal_followed *place = NULL;

    for (size_t i = 0; i < FOLLOWED_MAX; i++) {
        struct signal_followed *followed = &peer->followed[i];

        if (followed->until <= now) {
            place = place ? place : followed;
        } else if (memcmp(followed->instance, dial->instance, sizeof(dial->instance)) == 0) {
            if (dial->number <= followed->newest)
                return false;
            place = followed;
            break;
        }
    }
    if (!place)
        return false;
    memcpy(place->instance, dial->instance, sizeof(place->instance));
    place->newest = dial->number;
    place->until = now + 2 * CHALLENGE_EPOCH_US;
    return true;
}

static void on_dial(struct signal *signal, struct signal_broker *way, const struct node_id *from,
                    const struct message *dial)
{
    struct signal_peer *peer;
    const char *text = "";
    uint8_t code = 0;

    if (!dial->has_token || (way && !is_echoed(signal, from, dial))) {
        signal->stats.stale++;
        return;
    }
    peer = signal_peer_get(signal, from);
    if (!peer || !is_newest(signal, peer, dial)) {
        signal->stats.stale++;
        return;
    }
    /* It was welcome when it got the challenge; it may have been revoked since. */
    if (signal->events->judge(signal->arg, from, dial->has_secret ? dial->secret : NULL, &code,
                              &text) == SIGNAL_WELCOME)
        code = signal->events->dial(signal->arg, from, dial->token, dial->addrs, dial->addr_count);
    if (code)
        signal_decline(signal, from, dial->token, code, text ? text : "");
    else
        signal->stats.dialled++;
}

void inbound_message(struct signal *signal, struct signal_broker *way, const struct node_id *from,
                     const struct message *message)
{
    struct signal_peer *peer;

    switch (message->type) {
    case MESSAGE_PING:
        on_ping(signal, way, from, message);
        break;
    case MESSAGE_PONG:
        on_pong(signal, way, from, message);
        break;
    case MESSAGE_DIAL:
        on_dial(signal, way, from, message);
        break;
    case MESSAGE_DECLINE:
        peer = signal_peer_find(signal, from);
        if (peer)
            question_declined(signal, peer, message);
        break;
    default: /* of a later version */
        signal->stats.malformed++;
        break;
    }
}

/* --- From brokers --- */

/* Whether this ephemeral key came before, by this broker, with a proof; from now on it did. A table
 * that forgets is enough: what is opened twice is found out by its message. */
static bool is_seen(struct signal_broker *way, const uint8_t *bytes)
{
    uint64_t first;
    uint16_t next;

    memcpy(&first, bytes + SEAL_EPHEMERAL_AT, sizeof(first));
    memcpy(&next, bytes + SEAL_EPHEMERAL_AT + sizeof(first), sizeof(next));
    if (way->seen[next % SEEN_MAX] == first)
        return true;
    way->seen[next % SEEN_MAX] = first;
    return false;
}

enum admission { ADMIT, ADMIT_LIMITED, ADMIT_SEEN };

/* Whether it may cost public-key work. */
static enum admission admit(struct signal_broker *way, const uint8_t *bytes,
                            const uint8_t name[SEAL_NAME_BYTES])
{
    struct signal *signal = way->signal;
    uint64_t now = loop_now(signal->loop);
    struct signal_peer *peer;

    HASH_FIND(hh_pass, signal->passes, name, SEAL_NAME_BYTES, peer);
    if (peer && seal_is_proven(bytes, peer->pass)) {
        if (is_seen(way, bytes))
            return ADMIT_SEEN;
        if (bucket_take(&peer->holder[way - signal->brokers], now, HOLDER_PER_SECOND,
                        HOLDER_BURST) &&
            bucket_take(&way->passed, now, PASSED_PER_SECOND, PASSED_BURST))
            return ADMIT;
    }
    if (bucket_take(&way->unknown, now, UNKNOWN_PER_SECOND, UNKNOWN_BURST))
        return ADMIT;
    return ADMIT_LIMITED;
}

void inbound_packet(struct signal_broker *way, const uint8_t *bytes, size_t len)
{
    struct signal *signal = way->signal;
    const struct node_id *own = identity_id(signal->options.identity);
    uint8_t name[SEAL_NAME_BYTES], plain[SEAL_MESSAGE_MAX];
    struct message message;
    struct node_id from;
    int plain_len;

    signal->stats.received++;
    if (seal_check(own, bytes, len, name) < 0) {
        signal->stats.foreign++;
        return;
    }
    switch (admit(way, bytes, name)) {
    case ADMIT:
        break;
    case ADMIT_LIMITED:
        signal->stats.limited++;
        return;
    case ADMIT_SEEN:
        signal->stats.stale++;
        return;
    }
    plain_len = seal_open(signal->options.identity, bytes, len, &from, plain);
    if (plain_len < 0 || node_id_equal(&from, own)) {
        signal->stats.forged++;
        return;
    }
    signal->stats.opened++;
    if (message_parse(plain, (size_t)plain_len, &message) < 0)
        signal->stats.malformed++;
    else
        inbound_message(signal, way, &from, &message);
    hash_wipe(plain, sizeof(plain)); /* it may hold a ticket's secret */
    hash_wipe(&message, sizeof(message));
}
