/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Questions. All who ask for the same peer share one (struct signal_question), so that rounds of
 * attempts which overlap ask once. It goes out by every way that is up, at once by a way that comes
 * up later, and again every SIGNAL_REPEAT_US. It ends
 *
 *     when the first answer echoes its challenge
 *     SIGNAL_SILENT     silence_us after it first went out, and half of that after the last
 *                       broker has come up: that one deserves a chance too
 *     SIGNAL_NO_BROKER  SIGNAL_NO_BROKER_US after it was asked, if it never went out
 *
 * After a welcome the asker may want the peer to connect (signal_ask_dial): the request is repeated
 * every SIGNAL_REPEAT_US, with a higher number each time, until the asker cancels or the peer
 * declines.
 *
 * Callbacks may cancel any ask, so lists are walked from their head, and what was told is taken out
 * first.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "signal/signal_int.h"

#define DIALS_MAX 6 /* repeats of one request to connect */

static void ask_free(struct signal_ask *ask)
{
    TAILQ_REMOVE(&ask->peer->asks, ask, link);
    ask->signal->ask_count--;
    free(ask);
}

static bool is_asked(const struct signal_peer *peer)
{
    const struct signal_ask *ask;

    TAILQ_FOREACH (ask, &peer->asks, link)
        if (ask->state == ASK_ASKING)
            return true;
    return false;
}

/* --- When --- */

static uint64_t deadline_of(const struct signal *signal, const struct signal_question *question)
{
    uint64_t silence = signal->options.silence_us, deadline = question->first_sent + silence;

    if (!question->first_sent)
        return question->since + SIGNAL_NO_BROKER_US;
    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++) {
        const struct signal_broker *way = &signal->brokers[i];

        if (way->up && way->up_since + silence / 2 > deadline)
            deadline = way->up_since + silence / 2;
    }
    /* But brokers that come and go do not put it off for ever. */
    if (deadline > question->first_sent + 2 * silence)
        deadline = question->first_sent + 2 * silence;
    return deadline;
}

void question_plan(struct signal *signal)
{
    const struct signal_peer *peer, *next;
    const struct signal_ask *ask;
    uint64_t at = UINT64_MAX;

    HASH_ITER (hh, signal->peers, peer, next) {
        if (peer->question.open) {
            uint64_t deadline = deadline_of(signal, &peer->question);

            at = deadline < at ? deadline : at;
            at = peer->question.repeat_at < at ? peer->question.repeat_at : at;
        }
        TAILQ_FOREACH (ask, &peer->asks, link)
            if (ask->state == ASK_DIALLING && ask->repeat_at && ask->repeat_at < at)
                at = ask->repeat_at;
    }
    if (at == UINT64_MAX)
        timer_cancel(signal->loop, &signal->timer);
    else
        timer_set(signal->loop, &signal->timer, at);
}

/* --- Asking --- */

static void question_send(struct signal *signal, struct signal_peer *peer)
{
    struct signal_question *question = &peer->question;
    uint64_t now = loop_now(signal->loop);
    struct message message;

    question->repeat_at = now + SIGNAL_REPEAT_US;
    if (!signal_has_way(signal, peer))
        return;
    signal_message_init(signal, &message, MESSAGE_PING);
    message.has_challenge = true;
    memcpy(message.challenge, question->challenge, sizeof(message.challenge));
    message.has_secret = signal->events->secret(signal->arg, &peer->id, message.secret);
    signal_fill_addrs(signal, &peer->id, &message);
    if (signal_send_all(signal, &peer->id, &message) == 0) {
        if (!question->first_sent)
            question->first_sent = now ? now : 1;
        question->pings[question->ping_count % PINGS_MAX].number = message.number;
        question->pings[question->ping_count % PINGS_MAX].wall_us = message.time_us;
        question->pings[question->ping_count++ % PINGS_MAX].at = now;
    }
    hash_wipe(&message, sizeof(message));
}

static void question_open(struct signal *signal, struct signal_peer *peer)
{
    struct signal_question *question = &peer->question;

    *question = (struct signal_question){.open = true, .since = loop_now(signal->loop)};
    loop_random(signal->loop, question->challenge, sizeof(question->challenge));
    question_send(signal, peer);
}

struct signal_ask *signal_ask(struct signal *signal, const struct node_id *id, signal_answer_cb *cb,
                              void *arg)
{
    struct signal_peer *peer = signal_peer_get(signal, id);
    struct signal_ask *ask;

    if (!peer || signal->ask_count == SIGNAL_ASKS_MAX || !(ask = calloc(1, sizeof(*ask))))
        return NULL;
    ask->signal = signal;
    ask->peer = peer;
    ask->cb = cb;
    ask->arg = arg;
    ask->since = loop_now(signal->loop);
    TAILQ_INSERT_TAIL(&peer->asks, ask, link);
    signal->ask_count++;
    if (!peer->question.open)
        question_open(signal, peer);
    question_plan(signal);
    return ask;
}

bool signal_can_ask(const struct signal *signal, const struct node_id *id)
{
    const struct signal_peer *peer = signal_peer_find(signal, id);

    return signal_broker_count(signal) > 0 || (peer && peer->has_carrier);
}

void signal_ask_cancel(struct signal_ask *ask)
{
    struct signal *signal = ask->signal;
    struct signal_peer *peer = ask->peer;

    ask_free(ask);
    if (peer->question.open && !is_asked(peer))
        peer->question.open = false;
    question_plan(signal);
}

void question_way_up(struct signal *signal)
{
    struct signal_peer *peer, *next;

    HASH_ITER (hh, signal->peers, peer, next)
        if (peer->question.open)
            question_send(signal, peer);
    question_plan(signal);
}

/* Tells all who wait for this question's end; those whom it leaves live, live on. */
static void question_end(struct signal *signal, struct signal_peer *peer,
                         enum signal_outcome outcome, const struct signal_answer *answer,
                         const char *why)
{
    bool welcome = outcome == SIGNAL_ANSWERED && answer->code == 0;
    struct signal_ask *ask;
    struct node_id id = peer->id;

    peer->question.open = false;
    for (;;) {
        signal_answer_cb *cb;
        void *arg;

        /* A callback may have asked anew: that is another question. */
        peer = signal_peer_find(signal, &id);
        if (!peer || peer->question.open)
            return;
        TAILQ_FOREACH (ask, &peer->asks, link)
            if (ask->state == ASK_ASKING)
                break;
        if (!ask)
            return;
        cb = ask->cb;
        arg = ask->arg;
        if (welcome)
            ask->state = ASK_WELCOME;
        else
            ask_free(ask);
        cb(arg, outcome, answer, why);
    }
}

/* --- Requests to connect --- */

static int dial_send(struct signal_ask *ask)
{
    struct signal *signal = ask->signal;
    struct signal_ask *other;
    struct message message;
    int r;

    TAILQ_FOREACH (other, &ask->peer->asks, link)
        if (other->state == ASK_DIALLING && !memcmp(other->token, ask->token, sizeof(ask->token)))
            other->repeat_at = loop_now(signal->loop) + SIGNAL_REPEAT_US;
    signal_message_init(signal, &message, MESSAGE_DIAL);
    message.has_token = true;
    memcpy(message.token, ask->token, sizeof(message.token));
    message.has_echo = ask->peer->has_their_challenge;
    memcpy(message.echo, ask->peer->their_challenge, sizeof(message.echo));
    /* Who is not admitted yet is judged by its ticket again. */
    message.has_secret = signal->events->secret(signal->arg, &ask->peer->id, message.secret);
    signal_fill_addrs(signal, &ask->peer->id, &message);
    r = signal_send_all(signal, &ask->peer->id, &message);
    hash_wipe(&message, sizeof(message));
    return r;
}

/* Another ask whose request to connect is out and repeated. */
static const struct signal_ask *find_request(const struct signal_ask *ask)
{
    const struct signal_ask *other;

    TAILQ_FOREACH (other, &ask->peer->asks, link)
        if (other != ask && other->state == ASK_DIALLING && other->repeat_at)
            return other;
    return NULL;
}

int signal_ask_dial(struct signal_ask *ask)
{
    const struct signal_ask *other = find_request(ask);
    int r;

    ask->since = loop_now(ask->signal->loop);
    if (other) {
        /* One request serves both: a second token would make the peer begin anew. */
        memcpy(ask->token, other->token, sizeof(ask->token));
        ask->since = other->since;
        ask->repeat_at = other->repeat_at;
        ask->state = ASK_DIALLING;
        return 0;
    }
    if (ask->state == ASK_WELCOME)
        loop_random(ask->signal->loop, ask->token, sizeof(ask->token));
    ask->state = ASK_DIALLING;
    r = dial_send(ask);
    question_plan(ask->signal);
    return r;
}

static struct signal_ask *find_dialling(const struct signal *signal, const struct node_id *id,
                                        const uint8_t token[MESSAGE_TOKEN_BYTES])
{
    const struct signal_peer *peer = signal_peer_find(signal, id);
    struct signal_ask *ask;

    if (!peer)
        return NULL;
    TAILQ_FOREACH (ask, &peer->asks, link)
        if (ask->state == ASK_DIALLING && hash_equal(ask->token, token, sizeof(ask->token)))
            return ask;
    return NULL;
}

bool signal_is_invited(const struct signal *signal, const struct node_id *peer,
                       const uint8_t token[MESSAGE_TOKEN_BYTES])
{
    return find_dialling(signal, peer, token) != NULL;
}

/* --- What came --- */

/* RFC 5905 section 8: there and back less what the peer took, and half the difference. Its clock,
 * and what it says of it, may be anything. */
static void measure(const struct signal *signal, const struct signal_question *question,
                    const struct message *pong, struct signal_answer *answer)
{
    uint64_t now = loop_now(signal->loop), now_us = signal_wall_us(signal);

    for (size_t i = 0; i < PINGS_MAX && i < question->ping_count && pong->has_times; i++) {
        uint64_t there = pong->received_us - question->pings[i].wall_us;
        uint64_t back = pong->time_us - now_us, took = pong->time_us - pong->received_us;
        uint64_t passed = now - question->pings[i].at;

        if (question->pings[i].number != pong->about)
            continue;
        answer->rtt_us = took < passed ? passed - took : 0;
        answer->offset_us = (int64_t)there / 2 + (int64_t)back / 2;
        return;
    }
}

void question_answered(struct signal *signal, struct signal_peer *peer, const char *way,
                       const struct message *pong)
{
    struct signal_answer answer = {
        .code = pong->has_verdict ? pong->verdict : 0,
        .text = pong->text,
        .addrs = pong->addrs,
        .addr_count = pong->addr_count,
        .way = way,
    };

    measure(signal, &peer->question, pong, &answer);
    question_end(signal, peer, SIGNAL_ANSWERED, &answer, NULL);
    question_plan(signal);
}

void question_declined(struct signal *signal, struct signal_peer *peer,
                       const struct message *decline)
{
    struct signal_answer answer = {.code = decline->verdict, .text = decline->text, .way = ""};
    struct node_id id = peer->id;
    struct signal_ask *ask;

    if (!decline->has_token)
        return;
    /* Several may share the request. */
    while ((ask = find_dialling(signal, &id, decline->token)) != NULL) {
        signal_answer_cb *cb = ask->cb;
        void *arg = ask->arg;

        ask_free(ask);
        cb(arg, SIGNAL_DECLINED, &answer, decline->text);
    }
    question_plan(signal);
}

/* Why no broker is up, in the words of the first that says. */
static void describe_trouble(const struct signal *signal, char text[ASK_TEXT_MAX])
{
    snprintf(text, ASK_TEXT_MAX, "%s",
             signal_broker_count(signal) ? "no broker has answered yet"
                                         : "no broker is configured (signal.broker)");
    for (size_t i = 0; i < SIGNAL_BROKERS_MAX; i++) {
        const struct signal_broker *way = &signal->brokers[i];
        struct broker_info info;

        if (!way->url || !way->why[0])
            continue;
        signal->driver->describe(way->broker, &info);
        snprintf(text, ASK_TEXT_MAX, "%s: %s", info.name, way->why);
        return;
    }
}

static void question_expire(struct signal *signal, struct signal_peer *peer)
{
    char text[ASK_TEXT_MAX];

    if (peer->question.first_sent) {
        question_end(signal, peer, SIGNAL_SILENT, NULL,
                     "it is not running, or is not on these brokers");
        return;
    }
    describe_trouble(signal, text);
    question_end(signal, peer, SIGNAL_NO_BROKER, NULL, text);
}

/* Does the first thing that is due to this peer; false: nothing is. */
static bool peer_step(struct signal *signal, struct signal_peer *peer)
{
    uint64_t now = loop_now(signal->loop);
    struct signal_ask *ask;

    if (peer->question.open && deadline_of(signal, &peer->question) <= now) {
        question_expire(signal, peer);
        return true;
    }
    if (peer->question.open && peer->question.repeat_at <= now) {
        question_send(signal, peer);
        return true;
    }
    TAILQ_FOREACH (ask, &peer->asks, link) {
        if (ask->state != ASK_DIALLING || !ask->repeat_at || ask->repeat_at > now)
            continue;
        dial_send(ask);
        if (now - ask->since >= DIALS_MAX * SIGNAL_REPEAT_US)
            ask->repeat_at = 0;
        return true;
    }
    return false;
}

void question_timer(void *arg)
{
    struct signal *signal = arg;
    struct signal_peer *peer, *next;
    bool stepped;

    /* A step may change the table: begin anew after each. */
    do {
        stepped = false;
        HASH_ITER (hh, signal->peers, peer, next) {
            if (!peer_step(signal, peer))
                continue;
            stepped = true;
            break;
        }
    } while (stepped);
    question_plan(signal);
}
