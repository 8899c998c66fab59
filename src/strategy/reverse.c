/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An attempt asks the peer whether it is there (signal/signal.h); if it is and says welcome, it is
 * asked to connect to the addresses at which we take paths, and the attempt waits. The path comes
 * in through the node's listener with the token that the request carried, not through the attempt;
 * whoever has got it cancels the attempt.
 *
 * Asking is worth its while even where we cannot be reached: the answer says whether the peer runs,
 * whether it would have us, and where it is now, which the node tells to the attempts that dial.
 *
 * The attempt is over with
 *
 *     -EACCES     the peer will not have us; the text is its own
 *     -EHOSTDOWN  nobody answered on any broker
 *     0           other reasons, which the text tells whole
 */
#include "strategy/reverse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "signal/signal.h"

struct reverse {
    const struct strategy_env *env;
    const struct attempt_events *events;
    void *arg;
    struct signal_ask *ask;
    struct timer timer;
};

static void reverse_over(struct reverse *reverse, int why, const char *text)
{
    const struct attempt_events *events = reverse->events;
    void *arg = reverse->arg;
    char copy[ATTEMPT_TEXT_MAX];

    snprintf(copy, sizeof(copy), "%s", text);
    if (reverse->ask)
        signal_ask_cancel(reverse->ask);
    timer_cancel(reverse->env->loop, &reverse->timer);
    free(reverse);
    events->over(arg, why, copy);
}

/* What the peer says itself may be anything printable, and goes into a quoted value of the log. */
static void quote(const char *theirs, char out[ATTEMPT_TEXT_MAX])
{
    size_t len = 0;

    for (; theirs[len] && len < ATTEMPT_TEXT_MAX - 1; len++)
        out[len] = theirs[len] == '"' ? '\'' : theirs[len];
    out[len] = '\0';
    if (len == 0)
        snprintf(out, ATTEMPT_TEXT_MAX, "the peer gives no reason");
}

static void on_timer(void *arg)
{
    reverse_over(arg, 0,
                 "the peer runs, but neither side could connect to the other: one of them has to "
                 "let its port through");
}

static void on_answer(void *arg, enum signal_outcome outcome, const struct signal_answer *answer,
                      const char *why)
{
    struct reverse *reverse = arg;
    char text[ATTEMPT_TEXT_MAX], theirs[ATTEMPT_TEXT_MAX] = "";

    if (answer)
        quote(answer->text, theirs);
    if (outcome != SIGNAL_ANSWERED || answer->code != 0)
        reverse->ask = NULL;
    switch (outcome) {
    case SIGNAL_SILENT:
        reverse_over(reverse, -EHOSTDOWN, why);
        return;
    case SIGNAL_NO_BROKER:
        reverse_over(reverse, 0, why);
        return;
    case SIGNAL_DECLINED:
        snprintf(text, sizeof(text), "the peer could not connect to us: %.*s",
                 (int)sizeof(text) - 40, theirs);
        reverse_over(reverse, 0, text);
        return;
    case SIGNAL_ANSWERED:
        break;
    }
    if (answer->code != 0) {
        reverse_over(reverse, -EACCES, theirs);
        return;
    }
    log_debug("event=try strategy=reverse way=%s result=welcome rtt_ms=%llu offset_ms=%lld",
              answer->way, (unsigned long long)(answer->rtt_us / MS_US),
              (long long)(answer->offset_us / (int64_t)MS_US));
    signal_ask_dial(reverse->ask);
    timer_set_in(reverse->env->loop, &reverse->timer, REVERSE_WAIT_US);
}

static struct attempt *reverse_start(const struct strategy_env *env,
                                     const struct strategy_peer *peer,
                                     const struct attempt_events *events, void *arg,
                                     const char **why)
{
    struct reverse *reverse;

    if (!env->signal || !signal_can_ask(env->signal, peer->id)) {
        *why = "no broker is known by which the peer could be asked (signal.broker)";
        return NULL;
    }
    reverse = calloc(1, sizeof(*reverse));
    if (!reverse) {
        *why = "out of memory";
        return NULL;
    }
    reverse->env = env;
    reverse->events = events;
    reverse->arg = arg;
    timer_init(&reverse->timer, on_timer, reverse);
    reverse->ask = signal_ask(env->signal, peer->id, on_answer, reverse);
    if (!reverse->ask) {
        free(reverse);
        *why = "too many peers are being asked at once";
        return NULL;
    }
    return (struct attempt *)reverse;
}

static void reverse_cancel(struct attempt *attempt)
{
    struct reverse *reverse = (struct reverse *)attempt;

    if (reverse->ask)
        signal_ask_cancel(reverse->ask);
    timer_cancel(reverse->env->loop, &reverse->timer);
    free(reverse);
}

const struct strategy strategy_reverse = {
    .name = "reverse",
    .id = STRATEGY_REVERSE,
    .rank = 0,
    .head_start_us = 20 * MS_US,
    .start = reverse_start,
    .cancel = reverse_cancel,
};
