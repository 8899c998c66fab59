/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The scheduler makes rounds. A round starts one attempt of each configured strategy, the preferred
 * ones first: a strategy waits for its head start, or until all that were started before it have
 * failed. The first pipe that proves its peer is handed to the owner, and every attempt whose path
 * would be no better (same rank or worse, in any round) is given up; better ones go on.
 *
 * Rounds overlap: while somebody waits, a new one starts every second whether or not the last has
 * ended, so that a fresh SYN meets a network that is back, whatever the system's own retransmission
 * thinks. Pauses, from the start of one round to that of the next:
 *
 *     0, retry/5, retry/2, retry, 2 retry (100 ms, 250 ms, 500 ms, 1 s), then
 *     urgent  2 retry for ever
 *     calm    doubling up to retry_max
 *
 * with a jitter of a fifth; while a round is under way never less than 2 retry. A kick goes back to
 * the start of the list, but two rounds are never closer than retry/5.
 *
 * After a path was handed over the scheduler waits for the owner's verdict (SCHEDULER_SETTLE_US at
 * most). A path that is taken and lives for SCHEDULER_STABLE_US puts the pauses back to the start.
 * Of those that die sooner, one after the other, SCHEDULER_SHORT_LIVES are replaced at once and the
 * rest counts as failed rounds, lest two nodes greet and part ten times a second for ever. A
 * refusal by the peer makes a long pause, which kicks do not shorten.
 *
 * Ownership: rounds and attempts are the scheduler's. Limits: SCHEDULER_ROUNDS_MAX rounds of
 * CONFIG_STRATEGIES attempts.
 */
#include "strategy/scheduler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/log.h"
#include "strategy/direct.h"
#include "strategy/reverse.h"

#define JITTER_STEPS 256

/* The strategies of this program, by their number in the configuration. */
static const struct strategy *const table[CONFIG_STRATEGIES] = {
    [STRATEGY_DIRECT] = &strategy_direct,
    [STRATEGY_REVERSE] = &strategy_reverse,
};
static const char *const names[CONFIG_STRATEGIES] = {
    [STRATEGY_DIRECT] = "direct",
    [STRATEGY_REVERSE] = "reverse",
    [STRATEGY_PUNCH] = "punch",
    [STRATEGY_RELAY] = "relay",
};

struct round;

/* One strategy's attempt in a round. */
struct slot {
    struct round *round;
    const struct strategy *strategy;
    struct attempt *attempt; /* NULL: waiting for its head start, or over */
    size_t index;            /* in the scheduler's list of strategies */
    uint64_t since;
    bool begun, over;
};

struct round {
    TAILQ_ENTRY(round) link;
    struct scheduler *scheduler;
    uint64_t since;
    struct timer timer; /* the next head start */
    size_t count;
    struct slot slots[CONFIG_STRATEGIES];
};

TAILQ_HEAD(round_list, round);

#define WHY_TEXT_MAX       128
#define SCHEDULER_TEXT_MAX (2 * (ATTEMPT_TEXT_MAX + WHY_TEXT_MAX))

/* A configured strategy and what became of it. */
struct entry {
    enum config_strategy id;
    const struct strategy *strategy; /* NULL: not in this version */
    bool fail, tried, worked;
    uint32_t trying;
    int why;    /* of the last failure */
    int weight; /* how much it says of why there is no path */
    char text[ATTEMPT_TEXT_MAX + WHY_TEXT_MAX];
};

struct scheduler {
    const struct strategy_env *env;
    const struct node_id *peer;
    const struct scheduler_events *events;
    void *arg;
    uint64_t retry_us, retry_max_us;
    const char *label;
    enum scheduler_need need;
    struct timer timer; /* the next round */
    struct round_list rounds;
    uint32_t round_count, failures;
    bool started, kicked;
    uint64_t last_start, not_before; /* not_before: verdict awaited, or refused */
    uint64_t refused_at;             /* 0: not refused */
    uint64_t taken_at;               /* when the last path was taken into use; 0: never */
    uint32_t short_lives;            /* paths in a row that lived less than SCHEDULER_STABLE_US */
    uint32_t jitter;                 /* of the pause now running, in JITTER_STEPS */
    char text[SCHEDULER_TEXT_MAX], logged[SCHEDULER_TEXT_MAX];
    size_t count;
    struct entry entries[CONFIG_STRATEGIES];
};

/* --- When --- */

static uint64_t pause_us(const struct scheduler *scheduler)
{
    uint64_t retry = scheduler->retry_us;
    uint64_t pause = 2 * retry;

    if (scheduler->failures <= 1)
        return retry / 5;
    if (scheduler->failures == 2)
        return retry / 2;
    if (scheduler->failures == 3)
        return retry;
    if (scheduler->need == SCHEDULER_URGENT)
        return pause;
    for (uint32_t i = 4; i < scheduler->failures && pause < scheduler->retry_max_us; i++)
        pause *= 2;
    return pause < scheduler->retry_max_us ? pause : scheduler->retry_max_us;
}

static void plan(struct scheduler *scheduler)
{
    struct loop *loop = scheduler->env->loop;
    uint64_t at = loop_now(loop), pause = pause_us(scheduler);

    if (scheduler->need == SCHEDULER_STOP) {
        timer_cancel(loop, &scheduler->timer);
        return;
    }
    if (scheduler->kicked)
        pause = scheduler->retry_us / 5;
    else if (scheduler->round_count && pause < 2 * scheduler->retry_us)
        pause = 2 * scheduler->retry_us;
    /* between 0.8 and 1.2 of it */
    pause = pause * 4 / 5 + pause * 2 / 5 * scheduler->jitter / JITTER_STEPS;
    if (scheduler->started && at < scheduler->last_start + pause)
        at = scheduler->last_start + pause;
    if (at < scheduler->not_before)
        at = scheduler->not_before;
    timer_set(loop, &scheduler->timer, at);
}

/* --- Rounds --- */

static void slot_end(struct slot *slot)
{
    struct entry *entry = &slot->round->scheduler->entries[slot->index];

    if (slot->over)
        return;
    slot->over = true;
    if (slot->begun)
        entry->trying--;
    if (slot->attempt)
        slot->strategy->cancel(slot->attempt);
    slot->attempt = NULL;
}

static void round_free(struct round *round)
{
    struct scheduler *scheduler = round->scheduler;

    for (size_t i = 0; i < round->count; i++)
        slot_end(&round->slots[i]);
    timer_cancel(scheduler->env->loop, &round->timer);
    TAILQ_REMOVE(&scheduler->rounds, round, link);
    scheduler->round_count--;
    free(round);
}

static bool round_is_over(const struct round *round)
{
    for (size_t i = 0; i < round->count; i++)
        if (!round->slots[i].over)
            return false;
    return true;
}

static void log_failure(struct scheduler *scheduler)
{
    bool news = strcmp(scheduler->text, scheduler->logged) != 0;

    log_at(news ? LOG_INFO : LOG_DEBUG, "event=no-path peer=%s why=\"%s\" rounds=%u",
           scheduler->label, scheduler->text, scheduler->failures);
    memcpy(scheduler->logged, scheduler->text, sizeof(scheduler->logged));
}

static void round_step(struct round *round);

static void on_head_start(void *arg)
{
    round_step(arg);
}

/* What a user can make of it, more than err_text() says. */
static const char *why_text(int why)
{
    switch (why) {
    case -ECONNREFUSED:
        return "Connection refused; does the peer run?";
    case -ETIMEDOUT:
        return "Connection timed out; does the peer run, and do firewalls let its port through?";
    case -ECONNRESET:
    case ADIT_ETRUNC:
        return "closed before it proved to be the peer; another program or adit may be there now";
    default:
        return err_text(why);
    }
}

/* Errors whose text says all (strategy.h). */
static bool is_plain(int why)
{
    return why == 0 || why == -EACCES || why == -EHOSTDOWN;
}

static void entry_failed(struct entry *entry, int why, const char *text)
{
    if (!is_plain(why) && text[0])
        snprintf(entry->text, sizeof(entry->text), "%s: %s", text, why_text(why));
    else
        snprintf(entry->text, sizeof(entry->text), "%s", is_plain(why) ? text : why_text(why));
    entry->worked = false;
    entry->why = why;
}

/* Why there is no path, in one line: what the peer says itself, else that it is not there, else
 * what each strategy met; that a strategy had nothing to try says least. */
static void choose_text(struct scheduler *scheduler)
{
    const struct entry *best = NULL;
    size_t count = 0, len = 0;

    for (size_t i = 0; i < scheduler->count; i++) {
        const struct entry *entry = &scheduler->entries[i];

        if (!entry->tried || !entry->text[0])
            continue;
        if (best && entry->weight <= best->weight) {
            count += entry->weight == best->weight;
            continue;
        }
        best = entry;
        count = 1;
    }
    if (!best)
        return;
    if (count == 1 || best->weight != 1) {
        snprintf(scheduler->text, sizeof(scheduler->text), "%s", best->text);
        return;
    }
    for (size_t i = 0; i < scheduler->count && len < sizeof(scheduler->text); i++) {
        const struct entry *entry = &scheduler->entries[i];

        if (entry->tried && entry->text[0] && entry->weight == best->weight)
            len += (size_t)snprintf(scheduler->text + len, sizeof(scheduler->text) - len,
                                    "%s%s: %s", len ? "; " : "", names[entry->id], entry->text);
    }
}

/* What the owner should know at once, now that an attempt has failed. A refusal is told when it
 * comes, since an old one may be over. A peer that does not answer by signalling may still be
 * reached, so that counts when everything else has failed too. */
static void tell_hopeless(struct scheduler *scheduler, const struct entry *failed, bool round_over)
{
    const struct entry *told = failed->why == -EACCES ? failed : NULL;

    for (size_t i = 0; i < scheduler->count && !told && round_over; i++)
        if (scheduler->entries[i].why == -EHOSTDOWN)
            told = &scheduler->entries[i];
    if (told && scheduler->events->hopeless)
        scheduler->events->hopeless(scheduler->arg, told->why, told->text);
}

static void on_proven(void *arg, struct pipe *pipe, const char *candidate)
{
    struct slot *slot = arg;
    struct scheduler *scheduler = slot->round->scheduler;
    const struct strategy *strategy = slot->strategy;
    struct entry *entry = &scheduler->entries[slot->index];
    char text[ATTEMPT_TEXT_MAX];
    struct round *round, *next;

    log_debug("event=attempt peer=%s strategy=%s candidate=\"%s\" result=path ms=%llu",
              scheduler->label, strategy->name, candidate,
              (unsigned long long)((loop_now(scheduler->env->loop) - slot->since) / MS_US));
    snprintf(text, sizeof(text), "%s", candidate); /* the attempt may own it */
    entry->worked = true;
    entry->why = 0;
    entry->text[0] = '\0';
    for (round = TAILQ_FIRST(&scheduler->rounds); round; round = next) {
        next = TAILQ_NEXT(round, link);
        for (size_t i = 0; i < round->count; i++)
            if (round->slots[i].strategy->rank >= strategy->rank)
                slot_end(&round->slots[i]);
        if (round_is_over(round))
            round_free(round);
    }
    scheduler->not_before = loop_now(scheduler->env->loop) + SCHEDULER_SETTLE_US;
    plan(scheduler);
    scheduler->events->path(scheduler->arg, pipe, strategy->name, strategy->rank, text);
}

/* Ends a round in which nothing is left to do. */
static void round_settle(struct round *round)
{
    struct scheduler *scheduler = round->scheduler;

    choose_text(scheduler);
    if (!round_is_over(round))
        return;
    round_free(round);
    log_failure(scheduler);
    plan(scheduler);
}

static void on_over(void *arg, int why, const char *text)
{
    struct slot *slot = arg;
    struct round *round = slot->round;
    struct scheduler *scheduler = round->scheduler;
    struct entry *entry = &scheduler->entries[slot->index];
    bool round_over;

    slot->attempt = NULL;
    entry_failed(entry, why, text);
    entry->weight = why == -EACCES ? 3 : why == -EHOSTDOWN ? 2 : 1;
    log_debug("event=attempt peer=%s strategy=%s candidate=\"%s\" result=failed why=\"%s\" ms=%llu",
              scheduler->label, slot->strategy->name, text, err_text(why),
              (unsigned long long)((loop_now(scheduler->env->loop) - slot->since) / MS_US));
    slot_end(slot);
    if (!round_is_over(round))
        round_step(round);
    round_over = round_is_over(round); /* others may be under way: while somebody waits, always */
    round_settle(round);
    tell_hopeless(scheduler, entry, round_over);
}

static const struct attempt_events attempt_events = {.proven = on_proven, .over = on_over};

static void slot_start(struct slot *slot)
{
    struct scheduler *scheduler = slot->round->scheduler;
    struct entry *entry = &scheduler->entries[slot->index];
    struct candidate candidates[CANDIDATES_MAX];
    struct strategy_peer peer = {.id = scheduler->peer, .candidates = candidates};
    const char *why = "";

    slot->since = loop_now(scheduler->env->loop);
    entry->tried = slot->begun = true;
    entry->trying++;
    if (entry->fail) {
        why = "made to fail by path.fail";
    } else {
        peer.candidate_count =
            scheduler->events->candidates(scheduler->arg, candidates, CANDIDATES_MAX);
        slot->attempt = slot->strategy->start(scheduler->env, &peer, &attempt_events, slot, &why);
    }
    if (slot->attempt)
        return;
    entry_failed(entry, 0, why);
    entry->weight = 0;
    log_debug("event=attempt peer=%s strategy=%s result=failed why=\"%s\"", scheduler->label,
              slot->strategy->name, why);
    slot_end(slot);
}

/* Starts the slots whose time has come. The round may be over afterwards; it is not freed. */
static void round_step(struct round *round)
{
    struct loop *loop = round->scheduler->env->loop;
    bool running = false;

    for (size_t i = 0; i < round->count; i++) {
        struct slot *slot = &round->slots[i];
        uint64_t at = round->since + slot->strategy->head_start_us;

        if (slot->over)
            continue;
        if (!slot->attempt) {
            if (running && at > loop_now(loop)) {
                timer_set(loop, &round->timer, at);
                return;
            }
            slot_start(slot);
        }
        running = running || slot->attempt;
    }
}

static void round_start(struct scheduler *scheduler)
{
    struct round *round;

    if (scheduler->round_count == SCHEDULER_ROUNDS_MAX)
        round_free(TAILQ_FIRST(&scheduler->rounds));
    round = calloc(1, sizeof(*round));
    if (!round)
        abort();
    round->scheduler = scheduler;
    round->since = scheduler->last_start = loop_now(scheduler->env->loop);
    timer_init(&round->timer, on_head_start, round);
    for (size_t i = 0; i < scheduler->count; i++) {
        struct slot *slot = &round->slots[round->count];

        if (!scheduler->entries[i].strategy)
            continue;
        *slot =
            (struct slot){.round = round, .strategy = scheduler->entries[i].strategy, .index = i};
        round->count++;
    }
    scheduler->started = true;
    scheduler->kicked = false;
    if (scheduler->failures < UINT32_MAX)
        scheduler->failures++;
    scheduler->jitter = (uint32_t)(loop_random64(scheduler->env->loop) % JITTER_STEPS);
    TAILQ_INSERT_TAIL(&scheduler->rounds, round, link);
    scheduler->round_count++;
    if (round->count == 0)
        snprintf(scheduler->text, sizeof(scheduler->text),
                 "none of path.strategies is in this version");
    round_step(round);
    round_settle(round);
}

static void on_timer(void *arg)
{
    struct scheduler *scheduler = arg;

    round_start(scheduler);
    plan(scheduler);
}

static void drop_rounds(struct scheduler *scheduler)
{
    while (!TAILQ_EMPTY(&scheduler->rounds))
        round_free(TAILQ_FIRST(&scheduler->rounds));
}

/* --- For the owner --- */

static bool has_strategy(const struct config_strategies *list, enum config_strategy id)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->order[i] == id)
            return true;
    return false;
}

struct scheduler *scheduler_new(const struct strategy_env *env,
                                const struct scheduler_options *options, const struct node_id *peer,
                                const char *label, const struct scheduler_events *events, void *arg)
{
    struct scheduler *scheduler = calloc(1, sizeof(*scheduler));

    if (!scheduler)
        return NULL;
    scheduler->env = env;
    scheduler->peer = peer;
    scheduler->events = events;
    scheduler->arg = arg;
    scheduler->retry_us = options->retry_us ? options->retry_us : SCHEDULER_RETRY_US;
    scheduler->retry_max_us =
        options->retry_max_us ? options->retry_max_us : SCHEDULER_RETRY_MAX_US;
    scheduler->label = label;
    TAILQ_INIT(&scheduler->rounds);
    timer_init(&scheduler->timer, on_timer, scheduler);
    for (size_t i = 0; i < options->strategies.count && i < CONFIG_STRATEGIES; i++) {
        struct entry *entry = &scheduler->entries[scheduler->count++];

        entry->id = (enum config_strategy)options->strategies.order[i];
        entry->strategy = (options->table ? options->table : table)[entry->id];
        entry->fail = has_strategy(&options->fail, entry->id);
    }
    return scheduler;
}

void scheduler_free(struct scheduler *scheduler)
{
    if (!scheduler)
        return;
    drop_rounds(scheduler);
    timer_cancel(scheduler->env->loop, &scheduler->timer);
    free(scheduler);
}

/* A path is wanted again. Those that lived shortly one after the other count like failed rounds,
 * but for the first few. */
static void note_life(struct scheduler *scheduler)
{
    uint64_t now = loop_now(scheduler->env->loop);

    if (!scheduler->taken_at || now - scheduler->taken_at >= SCHEDULER_STABLE_US)
        scheduler->short_lives = 0;
    else if (scheduler->short_lives < UINT32_MAX)
        scheduler->short_lives++;
    scheduler->failures =
        scheduler->short_lives > SCHEDULER_SHORT_LIVES ? scheduler->short_lives : 0;
}

void scheduler_set_need(struct scheduler *scheduler, enum scheduler_need need)
{
    enum scheduler_need before = scheduler->need;

    if (need == before)
        return;
    scheduler->need = need;
    if (need == SCHEDULER_STOP) {
        drop_rounds(scheduler);
    } else if (before == SCHEDULER_STOP) {
        note_life(scheduler);
    }
    if (need == SCHEDULER_URGENT) {
        scheduler->kicked = before == SCHEDULER_CALM;
        if (scheduler->refused_at &&
            scheduler->not_before > scheduler->refused_at + SCHEDULER_REFUSED_US)
            scheduler->not_before = scheduler->refused_at + SCHEDULER_REFUSED_US;
    }
    plan(scheduler);
}

static void slot_update(struct slot *slot)
{
    struct scheduler *scheduler = slot->round->scheduler;
    struct candidate candidates[CANDIDATES_MAX];
    struct strategy_peer peer = {.id = scheduler->peer, .candidates = candidates};

    if (slot->attempt && slot->strategy->update) {
        peer.candidate_count =
            scheduler->events->candidates(scheduler->arg, candidates, CANDIDATES_MAX);
        slot->strategy->update(slot->attempt, &peer);
    } else if (slot->begun && slot->over && slot->strategy->update &&
               !scheduler->entries[slot->index].trying) {
        slot->over = slot->begun = false;
        slot_start(slot);
    }
}

void scheduler_update(struct scheduler *scheduler)
{
    struct round *round = TAILQ_LAST(&scheduler->rounds, round_list);

    for (size_t i = 0; round && i < round->count; i++)
        slot_update(&round->slots[i]);
}

bool scheduler_is_wanted(const struct scheduler *scheduler)
{
    return scheduler->need != SCHEDULER_STOP;
}

void scheduler_kick(struct scheduler *scheduler)
{
    scheduler->failures = 0;
    scheduler->kicked = true;
    plan(scheduler);
}

void scheduler_retry(struct scheduler *scheduler)
{
    if (scheduler->refused_at)
        scheduler->not_before = scheduler->refused_at = 0;
    scheduler_kick(scheduler);
}

void scheduler_settle(struct scheduler *scheduler, enum scheduler_verdict verdict, const char *text)
{
    scheduler->not_before = scheduler->refused_at = 0;
    if (verdict != SCHEDULER_TAKEN)
        snprintf(scheduler->text, sizeof(scheduler->text), "%s",
                 text ? text : "the path ended at once");
    switch (verdict) {
    case SCHEDULER_TAKEN:
        scheduler->taken_at = loop_now(scheduler->env->loop);
        scheduler->text[0] = scheduler->logged[0] = '\0';
        break;
    case SCHEDULER_FAILED:
        log_failure(scheduler);
        break;
    case SCHEDULER_REFUSED:
        log_failure(scheduler);
        scheduler->refused_at = loop_now(scheduler->env->loop);
        scheduler->not_before = loop_now(scheduler->env->loop) +
                                (scheduler->need == SCHEDULER_URGENT ? SCHEDULER_REFUSED_US
                                                                     : SCHEDULER_REFUSED_CALM_US);
        break;
    }
    plan(scheduler);
}

void scheduler_note(struct scheduler *scheduler, const char *strategy)
{
    for (size_t i = 0; i < scheduler->count; i++) {
        struct entry *entry = &scheduler->entries[i];

        if (strcmp(names[entry->id], strategy) != 0)
            continue;
        entry->worked = true;
        entry->why = 0;
        entry->text[0] = '\0';
    }
}

void scheduler_describe(const struct scheduler *scheduler, struct scheduler_info *info)
{
    uint64_t now = loop_now(scheduler->env->loop);

    *info = (struct scheduler_info){
        .need = scheduler->need,
        .failures = scheduler->failures,
        .trying = scheduler->round_count > 0,
        .text = scheduler->text,
        .count = scheduler->count,
    };
    if (timer_is_set(&scheduler->timer))
        info->next_us = scheduler->timer.at > now ? scheduler->timer.at - now : 1;
    for (size_t i = 0; i < scheduler->count; i++) {
        const struct entry *entry = &scheduler->entries[i];
        struct scheduler_strategy_info *out = &info->strategies[i];

        out->name = names[entry->id];
        out->text = entry->text;
        if (!entry->strategy)
            out->state = "not in this version";
        else if (entry->fail)
            out->state = "made to fail";
        else if (entry->trying)
            out->state = "trying";
        else if (entry->worked)
            out->state = "worked";
        else
            out->state = entry->tried ? "failed" : "not tried";
    }
}
