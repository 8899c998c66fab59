/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Addresses of the two families stand in two lists, filled as the lookups end. The first attempt
 * begins when IPv6 addresses are there, or IPv4 ones and IPv6's lookup has ended or is
 * resolution_delay late. Further attempts take turns between the families, each attempt_delay after
 * the one before, or at once when the one before fails. The first that connects wins; the others
 * are reset. Each address is shown to `permit` right before its attempt, so that what was judged is
 * what is dialled; forbidden ones cost no delay.
 *
 * IPv4-mapped addresses are dialled as IPv4.
 *
 * Failure is told when all lookups have ended and all attempts have failed, or when the deadline
 * has passed; of all the reasons, the one that says most about the destination: that it refuses is
 * news, that IPv6 has no route is not. Nothing is ever told from inside dial_init() or dial_add().
 *
 * Limits: DIAL_ADDRS_MAX addresses of each family, all of which may be under way at once.
 */
#include "egress/dial.h"

#include <errno.h>

#include "pipe/tcp.h"

#define ATTEMPT_DELAY_US    (250 * MS_US)
#define RESOLUTION_DELAY_US (50 * MS_US)
#define TIMEOUT_US          (10 * SEC_US)

static void attempt_next(struct dial *dial);

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

/* --- Outcome --- */

/* How much an answer says about the destination. */
static int telling(enum answer answer)
{
    switch (answer) {
    case ANSWER_REFUSED:
        return 10;
    case ANSWER_TIMEOUT:
        return 9;
    case ANSWER_HOST_UNREACHABLE:
        return 8;
    case ANSWER_LIMIT:
        return 7;
    case ANSWER_FAILED:
        return 6;
    case ANSWER_NET_UNREACHABLE:
        return 5;
    case ANSWER_FAMILY:
        return 4;
    case ANSWER_POLICY:
        return 3;
    case ANSWER_NAME_FAILED:
        return 2;
    case ANSWER_NAME_NOT_FOUND:
        return 1;
    case ANSWER_OK: /* nothing yet */
    case ANSWER_NOT_EXIT:
    case ANSWER_NO_PATH:
    case ANSWER_PEER_LOST:
    case ANSWER_BAD_REQUEST:
    case ANSWER_BLOCKED:
    case ANSWER_IN_USE: /* about listeners */
    case ANSWER_NOT_LOCAL:
        break;
    }
    return 0;
}

static void note(struct dial *dial, enum answer answer)
{
    if (telling(answer) > telling(dial->answer))
        dial->answer = answer;
}

static const struct pipe_events attempt_events;

static void abort_attempts(struct dial_list *list)
{
    for (uint8_t i = 0; i < list->next; i++) {
        struct dial_attempt *attempt = &list->attempts[i];
        if (!attempt->pipe)
            continue;
        pipe_del_listener(attempt->pipe, &attempt_events, attempt);
        pipe_abort(attempt->pipe, -ECANCELED);
        attempt->pipe = NULL;
    }
}

void dial_cancel(struct dial *dial)
{
    dial->over = true;
    timer_cancel(dial->loop, &dial->pace);
    timer_cancel(dial->loop, &dial->deadline);
    defer_cancel(dial->loop, &dial->failed);
    if (dial->active) {
        abort_attempts(&dial->v6);
        abort_attempts(&dial->v4);
        dial->active = 0;
    }
}

static void tell_failure(void *arg)
{
    struct dial *dial = arg;
    enum answer answer = dial->answer == ANSWER_OK ? ANSWER_FAILED : dial->answer;
    dial_cancel(dial);
    dial->done(dial->arg, answer, NULL, NULL);
}

static void on_deadline(void *arg)
{
    struct dial *dial = arg;
    if (dial->active)
        note(dial, ANSWER_TIMEOUT);
    else if (dial->v6.pending || dial->v4.pending)
        note(dial, ANSWER_NAME_FAILED);
    tell_failure(dial);
}

/* --- Attempts --- */

static void on_up(struct pipe *pipe, void *arg)
{
    struct dial_attempt *attempt = arg;
    struct dial *dial = attempt->dial;
    struct addr to = attempt->to;

    pipe_del_listener(pipe, &attempt_events, attempt);
    attempt->pipe = NULL;
    dial->active--;
    dial_cancel(dial);
    dial->done(dial->arg, ANSWER_OK, pipe, &to);
}

static void note_error(struct dial *dial, const struct addr *to, int error)
{
    /* Of IPv6 this means that the exit has no IPv6 address to connect from. */
    if (error == -EADDRNOTAVAIL && to->family == AF_INET6)
        error = -ENETUNREACH;
    note(dial, answer_from_errno(error));
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct dial_attempt *attempt = arg;
    (void)pipe;
    attempt->pipe = NULL;
    attempt->dial->active--;
    note_error(attempt->dial, &attempt->to, why);
    attempt_next(attempt->dial);
}

static const struct pipe_events attempt_events = {.up = on_up, .end = on_end};

static bool has_more(const struct dial_list *list)
{
    return list->next < list->count;
}

static struct dial_attempt *take_next(struct dial *dial)
{
    bool v6 = has_more(&dial->v6) && (!dial->last_was_v6 || !has_more(&dial->v4));
    struct dial_list *list = v6 ? &dial->v6 : &dial->v4;
    if (!has_more(list))
        return NULL;
    dial->last_was_v6 = v6;
    return &list->attempts[list->next++];
}

/* False: it failed at once. */
static bool attempt_begin(struct dial *dial, struct dial_attempt *attempt)
{
    if (dial->permit && !dial->permit(dial->arg, &attempt->to)) {
        note(dial, ANSWER_POLICY);
        return false;
    }
    errno = 0;
    struct pipe *pipe = dial->options->open
                            ? dial->options->open(dial->loop, &attempt->to, &dial->options->pipe)
                            : tcp_open(dial->loop, &attempt->to, &dial->options->pipe);
    if (!pipe) {
        note_error(dial, &attempt->to, errno ? -errno : -ENOMEM);
        return false;
    }
    pipe_add_listener(pipe, &attempt_events, attempt); /* the first: there is room */
    attempt->pipe = pipe;
    dial->active++;
    return true;
}

static void attempt_next(struct dial *dial)
{
    dial->started = true;
    timer_cancel(dial->loop, &dial->pace);
    for (struct dial_attempt *attempt; (attempt = take_next(dial));) {
        if (!attempt_begin(dial, attempt))
            continue;
        if (has_more(&dial->v6) || has_more(&dial->v4))
            timer_set_in(dial->loop, &dial->pace,
                         or_default(dial->options->attempt_delay_us, ATTEMPT_DELAY_US));
        return;
    }
    if (dial->active == 0 && !dial->v6.pending && !dial->v4.pending)
        defer_soon(dial->loop, &dial->failed);
}

static void on_pace(void *arg)
{
    attempt_next(arg);
}

/* --- Addresses --- */

static void list_add(struct dial *dial, struct dial_list *list, const struct addr *addr)
{
    if (list->count == DIAL_ADDRS_MAX)
        return;
    list->attempts[list->count++] = (struct dial_attempt){.dial = dial, .to = *addr};
}

void dial_clear(struct dial *dial, struct loop *loop)
{
    dial->loop = loop;
    dial->active = 0;
    dial->over = true;
    timer_init(&dial->pace, on_pace, dial);
    timer_init(&dial->deadline, on_deadline, dial);
    defer_init(&dial->failed, tell_failure, dial);
}

void dial_init(struct dial *dial, struct loop *loop, const struct dial_options *options,
               const struct addr *addr, dial_permit_fn *permit, dial_done_fn *done, void *arg)
{
    dial_clear(dial, loop);
    dial->options = options;
    dial->permit = permit;
    dial->done = done;
    dial->arg = arg;
    dial->v6.count = dial->v6.next = dial->v4.count = dial->v4.next = 0;
    dial->v6.pending = dial->v4.pending = !addr;
    dial->started = dial->last_was_v6 = dial->over = false;
    dial->answer = ANSWER_OK;
    timer_set_in(loop, &dial->deadline, or_default(options->timeout_us, TIMEOUT_US));
    if (addr) {
        struct addr to = addr_unmap(addr);
        list_add(dial, to.family == AF_INET6 ? &dial->v6 : &dial->v4, &to);
        attempt_next(dial);
    }
}

void dial_add(struct dial *dial, int family, const struct addr *addrs, size_t count,
              enum answer why)
{
    struct dial_list *list = family == AF_INET6 ? &dial->v6 : &dial->v4;
    if (dial->over || !list->pending)
        return;
    list->pending = false;
    for (size_t i = 0; i < count; i++) {
        struct addr to = addr_unmap(&addrs[i]);
        list_add(dial, list, &to);
    }
    if (count == 0)
        note(dial, why);

    if (dial->started) {
        /* Late addresses wait for their turn, unless nothing is under way. */
        if (dial->active == 0)
            attempt_next(dial);
        else if (count && !timer_is_set(&dial->pace))
            timer_set_in(dial->loop, &dial->pace,
                         or_default(dial->options->attempt_delay_us, ATTEMPT_DELAY_US));
    } else if (has_more(&dial->v6) || !dial->v6.pending) {
        if (has_more(&dial->v6) || has_more(&dial->v4) || !dial->v4.pending)
            attempt_next(dial);
    } else if (has_more(&dial->v4)) {
        timer_set_in(dial->loop, &dial->pace,
                     or_default(dial->options->resolution_delay_us, RESOLUTION_DELAY_US));
    }
}
