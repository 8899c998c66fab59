/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One turn is: deferred calls, descriptors (libevent, EVLOOP_ONCE), the deferred calls that those
 * asked for, due timers, and the deferred calls that these asked for. Whoever is called by libevent
 * calls loop_refresh() first, since libevent waited before it.
 *
 * Timers stand in a binary heap of our own; libevent knows only one timeout, the next. A timer is
 * 32 bytes in its owner (libevent's is 128), and the same heap drives virtual time.
 *
 * Deferred calls are an intrusive list. Those asked for by defer_soon() run before descriptors are
 * looked at again, until none is left; those by defer_next() once a turn, so that long work (a path
 * that always has more to read) takes turns with everything else.
 *
 * Lost time: when a wait ends much later than its timeout asked (LOST_MIN_US), or work between two
 * looks at the clock took so long, this process was stopped, or starved, or the machine slept; the
 * excess is added to loop_lost(), which liveness subtracts from silence.
 *
 * Libevent's clock stands still while the machine sleeps, so a wait would go on after it for as
 * long as was left. A timer of the wall clock that is never due ends it: the kernel tells such a
 * timer when that clock was set, which it is on waking (timerfd_create(2),
 * TFD_TIMER_CANCEL_ON_SET). Without that timer a gap is noticed with the next event.
 *
 * A virtual loop has no descriptors: its clock jumps to the next timer.
 */
#include "base/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define LOST_MIN_US (250 * MS_US)
#define WAIT_MAX_US (60 * SEC_US)
#define HEAP_MIN    16

struct defer_list {
    struct defer *first, **tail;
};

struct loop {
    struct event_base *base; /* NULL: virtual */
    struct event *wake;      /* its timeout bounds a wait */
    uint64_t now, lost;
    uint64_t wake_by; /* when the present wait should have ended at the latest; UINT64_MAX: not
                         waiting */
    uint64_t seed;
    uint64_t gap; /* lost time that the watches have not been told of */
    struct gap_watch *watches;
    struct defer gap_due;
    int clock_fd; /* readable when the wall clock was set; -1: none */
    struct event *clock;
    struct timer **heap;
    size_t timers, heap_cap;
    struct defer_list soon, next;
    bool stop;
};

static uint64_t clock_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * SEC_US + (uint64_t)ts.tv_nsec / 1000;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

static void defer_list_init(struct defer_list *list)
{
    list->first = NULL;
    list->tail = &list->first;
}

/* --- Lost time --- */

static void on_gap(void *arg)
{
    struct loop *loop = arg;
    uint64_t gap = loop->gap;
    struct gap_watch *watch, *next;

    loop->gap = 0;
    for (watch = loop->watches; watch; watch = next) {
        next = watch->next;
        watch->fn(watch->arg, gap);
    }
}

static void lose(struct loop *loop, uint64_t us)
{
    loop->lost += us;
    if (us < LOOP_GAP_US)
        return;
    loop->gap += us;
    defer_soon(loop, &loop->gap_due);
}

void loop_lose(struct loop *loop, uint64_t us)
{
    loop->now += us;
    lose(loop, us);
}

void gap_watch_add(struct loop *loop, struct gap_watch *watch, void (*fn)(void *arg, uint64_t us),
                   void *arg)
{
    *watch =
        (struct gap_watch){.next = loop->watches, .prev = &loop->watches, .fn = fn, .arg = arg};
    if (watch->next)
        watch->next->prev = &watch->next;
    loop->watches = watch;
}

void gap_watch_remove(struct gap_watch *watch)
{
    if (!watch->prev)
        return;
    *watch->prev = watch->next;
    if (watch->next)
        watch->next->prev = watch->prev;
    watch->prev = NULL;
}

static void arm_clock(struct loop *loop)
{
    /* Far away; a 32-bit clock ends before. */
    const struct itimerspec never = {
        .it_value.tv_sec = (time_t)(sizeof(time_t) > 4 ? INT64_C(1) << 33 : INT32_MAX)};

    timerfd_settime(loop->clock_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

static void on_clock_set(evutil_socket_t fd, short what, void *arg)
{
    struct loop *loop = arg;
    uint64_t times;

    (void)what;
    loop_refresh(loop);
    if (read(fd, &times, sizeof(times)) < 0 && errno == EAGAIN)
        return;
    arm_clock(loop);
}

static void watch_clock(struct loop *loop)
{
    loop->clock_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->clock_fd < 0)
        return;
    loop->clock = event_new(loop->base, loop->clock_fd, EV_READ | EV_PERSIST, on_clock_set, loop);
    if (loop->clock && event_add(loop->clock, NULL) == 0)
        arm_clock(loop);
}

static struct loop *loop_new_common(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    if (!loop)
        return NULL;
    defer_list_init(&loop->soon);
    defer_list_init(&loop->next);
    defer_init(&loop->gap_due, on_gap, loop);
    loop->clock_fd = -1;
    loop->wake_by = UINT64_MAX;
    return loop;
}

struct loop *loop_new(void)
{
    struct loop *loop = loop_new_common();
    struct event_config *config;

    if (!loop)
        return NULL;
    config = event_config_new();
    if (config) {
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        event_config_require_features(config, EV_FEATURE_ET);
        loop->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    if (loop->base)
        loop->wake = evtimer_new(loop->base, on_wake, NULL);
    if (!loop->wake) {
        loop_free(loop);
        return NULL;
    }
    watch_clock(loop);
    loop->now = clock_us();
    return loop;
}

struct loop *loop_new_virtual(uint64_t seed)
{
    struct loop *loop = loop_new_common();

    if (!loop)
        return NULL;
    loop->seed = seed;
    loop->now = SEC_US; /* never 0, which fields use for "not yet" */
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    if (loop->wake)
        event_free(loop->wake);
    if (loop->clock)
        event_free(loop->clock);
    if (loop->clock_fd >= 0)
        close(loop->clock_fd);
    if (loop->base)
        event_base_free(loop->base);
    free(loop->heap);
    free(loop);
}

struct event_base *loop_base(struct loop *loop)
{
    return loop->base;
}

bool loop_is_virtual(const struct loop *loop)
{
    return !loop->base;
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->now;
}

uint64_t loop_refresh(struct loop *loop)
{
    uint64_t expected;

    if (!loop->base)
        return loop->now;
    expected = loop->wake_by != UINT64_MAX ? loop->wake_by : loop->now;
    loop->wake_by = UINT64_MAX;
    loop->now = clock_us();
    if (loop->now > expected + LOST_MIN_US)
        lose(loop, loop->now - expected);
    return loop->now;
}

uint64_t loop_lost(const struct loop *loop)
{
    return loop->lost;
}

uint64_t loop_random64(struct loop *loop)
{
    uint64_t value;

    loop_random(loop, &value, sizeof(value));
    return value;
}

/* splitmix64: seeded, for virtual loops only. */
static uint64_t virtual_random(struct loop *loop)
{
    uint64_t z = (loop->seed += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void loop_random(struct loop *loop, void *buf, size_t len)
{
    uint8_t *to = buf;

    while (len > 0) {
        size_t n;

        if (loop->base) {
            ssize_t got = getrandom(to, len, 0);
            if (got < 0) {
                if (errno == EINTR)
                    continue;
                abort(); /* a kernel without getrandom(2) is too old to run on */
            }
            n = (size_t)got;
        } else {
            uint64_t value = virtual_random(loop);
            n = len < sizeof(value) ? len : sizeof(value);
            memcpy(to, &value, n);
        }
        to += n;
        len -= n;
    }
}

/* --- Timers: a binary heap of pointers --- */

static void heap_put(struct loop *loop, size_t i, struct timer *timer)
{
    loop->heap[i] = timer;
    timer->slot = i + 1;
}

static void heap_up(struct loop *loop, size_t i)
{
    struct timer *timer = loop->heap[i];

    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (loop->heap[parent]->at <= timer->at)
            break;
        heap_put(loop, i, loop->heap[parent]);
        i = parent;
    }
    heap_put(loop, i, timer);
}

static void heap_down(struct loop *loop, size_t i)
{
    struct timer *timer = loop->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= loop->timers)
            break;
        if (child + 1 < loop->timers && loop->heap[child + 1]->at < loop->heap[child]->at)
            child++;
        if (timer->at <= loop->heap[child]->at)
            break;
        heap_put(loop, i, loop->heap[child]);
        i = child;
    }
    heap_put(loop, i, timer);
}

void timer_init(struct timer *timer, void (*fn)(void *arg), void *arg)
{
    *timer = (struct timer){.fn = fn, .arg = arg};
}

void timer_set(struct loop *loop, struct timer *timer, uint64_t at)
{
    if (timer->slot) {
        size_t i = timer->slot - 1;
        uint64_t was = timer->at;

        timer->at = at;
        if (at < was)
            heap_up(loop, i);
        else
            heap_down(loop, i);
        return;
    }
    if (loop->timers == loop->heap_cap) {
        size_t cap = loop->heap_cap ? loop->heap_cap * 2 : HEAP_MIN;
        struct timer **heap = realloc(loop->heap, cap * sizeof(struct timer *));

        if (!heap)
            abort();
        loop->heap = heap;
        loop->heap_cap = cap;
    }
    timer->at = at;
    loop->heap[loop->timers] = timer;
    heap_up(loop, loop->timers++);
}

void timer_set_in(struct loop *loop, struct timer *timer, uint64_t delay_us)
{
    timer_set(loop, timer, loop->now + delay_us);
}

void timer_cancel(struct loop *loop, struct timer *timer)
{
    size_t i;
    struct timer *last;

    if (!timer->slot)
        return;
    i = timer->slot - 1;
    timer->slot = 0;
    last = loop->heap[--loop->timers];
    if (last == timer)
        return;
    loop->heap[i] = last;
    last->slot = i + 1;
    heap_up(loop, i);
    heap_down(loop, last->slot - 1);
}

static void run_timers(struct loop *loop)
{
    while (loop->timers > 0 && loop->heap[0]->at <= loop->now) {
        struct timer *timer = loop->heap[0];

        timer_cancel(loop, timer);
        timer->fn(timer->arg);
    }
}

/* --- Deferred calls --- */

void defer_init(struct defer *defer, void (*fn)(void *arg), void *arg)
{
    *defer = (struct defer){.fn = fn, .arg = arg};
}

static void defer_add(struct defer_list *list, struct defer *defer)
{
    if (defer->prev)
        return;
    defer->next = NULL;
    defer->prev = list->tail;
    *list->tail = defer;
    list->tail = &defer->next;
}

void defer_soon(struct loop *loop, struct defer *defer)
{
    defer_add(&loop->soon, defer);
}

void defer_next(struct loop *loop, struct defer *defer)
{
    defer_add(&loop->next, defer);
}

void defer_cancel(struct loop *loop, struct defer *defer)
{
    if (!defer->prev)
        return;
    *defer->prev = defer->next;
    if (defer->next)
        defer->next->prev = defer->prev;
    else if (loop->soon.tail == &defer->next)
        loop->soon.tail = defer->prev;
    else
        loop->next.tail = defer->prev;
    defer->prev = NULL;
}

static void run_soon(struct loop *loop)
{
    struct defer *defer;

    while ((defer = loop->soon.first)) {
        defer_cancel(loop, defer);
        defer->fn(defer->arg);
    }
}

/* Moves what waited for this turn to the list that runs now. */
static void take_next(struct loop *loop)
{
    struct defer *defer;

    while ((defer = loop->next.first)) {
        defer_cancel(loop, defer);
        defer_add(&loop->soon, defer);
    }
}

/* --- Turns --- */

static uint64_t time_to_wait(const struct loop *loop, uint64_t max_wait_us)
{
    uint64_t wait = max_wait_us;

    if (loop->next.first || loop->soon.first)
        return 0;
    if (loop->timers > 0) {
        uint64_t at = loop->heap[0]->at;
        uint64_t until = at > loop->now ? at - loop->now : 0;
        if (until < wait)
            wait = until;
    }
    return wait;
}

static void wait_for_descriptors(struct loop *loop, uint64_t wait)
{
    if (wait == 0) {
        event_base_loop(loop->base, EVLOOP_NONBLOCK);
        loop_refresh(loop);
        return;
    }
    if (wait > WAIT_MAX_US)
        wait = WAIT_MAX_US;
    struct timeval tv = {(time_t)(wait / SEC_US), (suseconds_t)(wait % SEC_US)};
    evtimer_add(loop->wake, &tv);
    loop->wake_by = loop_refresh(loop) + wait;
    event_base_loop(loop->base, EVLOOP_ONCE);
    loop_refresh(loop);
}

bool loop_turn(struct loop *loop, uint64_t max_wait_us)
{
    uint64_t wait;

    run_soon(loop);
    wait = loop->stop ? 0 : time_to_wait(loop, max_wait_us);
    if (loop->base) {
        take_next(loop);
        wait_for_descriptors(loop, wait);
    } else {
        bool any = loop->timers > 0 || loop->next.first;

        take_next(loop);
        if (!any)
            return false;
        loop->now += wait;
    }
    run_soon(loop);
    run_timers(loop);
    run_soon(loop);
    return true;
}

int loop_run(struct loop *loop)
{
    loop->stop = false;
    while (!loop->stop) {
        if (!loop_turn(loop, WAIT_MAX_US))
            break;
    }
    loop->stop = false; /* turns that follow wait again */
    return 0;
}

void loop_stop(struct loop *loop)
{
    loop->stop = true;
    if (loop->base)
        event_base_loopbreak(loop->base);
}
