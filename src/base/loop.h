/* SPDX-License-Identifier: MIT */
/*
 * Loop: one thread's event loop, its clock, its timers and its deferred calls. See loop.c for the
 * theory.
 *
 * Times are microseconds since an arbitrary start, monotonic. Everything that needs time, timers or
 * randomness takes them from here, so that a virtual loop (no descriptors, a clock that jumps from
 * timer to timer, seeded randomness) runs the same state machines thousands of hours a second.
 */
#ifndef ADIT_BASE_LOOP_H
#define ADIT_BASE_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct loop;

#define MS_US  UINT64_C(1000) /* microseconds in a millisecond */
#define SEC_US UINT64_C(1000000)

struct loop *loop_new(void);                  /* NULL when out of memory or descriptors */
struct loop *loop_new_virtual(uint64_t seed); /* for tests: no descriptors */
void loop_free(struct loop *loop); /* what is still set or queued is forgotten; NULL: nothing */

/* The libevent base of a real loop (NULL of a virtual one). */
struct event_base *loop_base(struct loop *loop);
bool loop_is_virtual(const struct loop *loop);

/* Now, in microseconds; read once per turn of the loop. loop_refresh() reads the clock anew. */
uint64_t loop_now(const struct loop *loop);
uint64_t loop_refresh(struct loop *loop);
/* Microseconds, in total, during which this process did not run although it should have (stopped,
 * suspended): silence is measured in loop_now() less the growth of this. */
uint64_t loop_lost(const struct loop *loop);
/* Is told, once a turn and after its descriptors, when the process did not run for LOOP_GAP_US or
 * longer: it was stopped, or the machine slept. Embedded in its owner, which forgets it before it
 * goes. */
#define LOOP_GAP_US SEC_US
struct gap_watch {
    struct gap_watch *next, **prev; /* prev NULL: not watching */
    void (*fn)(void *arg, uint64_t lost_us);
    void *arg;
};
void gap_watch_add(struct loop *loop, struct gap_watch *watch, void (*fn)(void *arg, uint64_t us),
                   void *arg);
void gap_watch_remove(struct gap_watch *watch); /* harmless when it is not watching */
/* Virtual loops: so much time passes without the process running. */
void loop_lose(struct loop *loop, uint64_t us);
/* Fills buf with random bytes: the system's generator; of a virtual loop, a seeded one (never for
 * keys). */
void loop_random(struct loop *loop, void *buf, size_t len);
uint64_t loop_random64(struct loop *loop);

/* Runs until loop_stop(); 0 or a negative error. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* One turn: deferred calls, then due timers, then (real) descriptors, waiting for at most
 * max_wait_us (a virtual loop jumps to its next timer if that is within max_wait_us). Returns false
 * when there was nothing at all left to do (virtual only). */
bool loop_turn(struct loop *loop, uint64_t max_wait_us);

/* A timer: embedded in its owner, which must cancel it before it goes. One shot. */
struct timer {
    uint64_t at;
    size_t slot; /* place in the heap + 1; 0: not set */
    void (*fn)(void *arg);
    void *arg;
};

/* Must come first. fn is called from the loop, with the timer no longer set. */
void timer_init(struct timer *timer, void (*fn)(void *arg), void *arg);
/* Sets it to a time of loop_now(), or to so long from now; one that is set is moved. */
void timer_set(struct loop *loop, struct timer *timer, uint64_t at);
void timer_set_in(struct loop *loop, struct timer *timer, uint64_t delay_us);
/* Harmless when it is not set. */
void timer_cancel(struct loop *loop, struct timer *timer);
static inline bool timer_is_set(const struct timer *timer)
{
    return timer->slot != 0;
}

/* A deferred call: runs once, after the callback that asked for it has returned, in this turn
 * (defer_soon) or after descriptors have been looked at again (defer_next, for work that gives way
 * to others). Asking twice runs it once. Embedded in its owner, which cancels it before it goes. */
struct defer {
    struct defer *next, **prev; /* prev NULL: not queued */
    void (*fn)(void *arg);
    void *arg;
};

/* Must come first. */
void defer_init(struct defer *defer, void (*fn)(void *arg), void *arg);
/* In this turn; after the next look at descriptors; not at all. */
void defer_soon(struct loop *loop, struct defer *defer);
void defer_next(struct loop *loop, struct defer *defer);
void defer_cancel(struct loop *loop, struct defer *defer);

#endif
