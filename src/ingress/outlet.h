/* SPDX-License-Identifier: MIT */
/*
 * Outlet: how a front end opens a stream to a target, whatever carries it. The node implements it
 * over sessions, tests by hand.
 */
#ifndef ADIT_INGRESS_OUTLET_H
#define ADIT_INGRESS_OUTLET_H

#include "base/target.h"
#include "pipe/pipe.h"

struct outlet;

/* What became of the request; `bound` is the address that the exit connected from or to as it told
 * us, NULL or unset when unknown. Valid during the call. */
typedef void outlet_answer_cb(void *arg, enum answer answer, const struct addr *bound);

struct outlet {
    /* Opens a stream to `target`, on behalf of `user` ("": nobody named), and returns its pipe at
     * once; what is written to it before the answer is early data. The pipe is the caller's: it may
     * listen, link, write, close and abort at any time. `target` and `user` are lent for the call.
     *
     * cb fires exactly once, later, never from inside open(); but never after the caller has closed
     * or aborted the pipe, nor after the pipe's end. The pipe delivers no byte and no eof before
     * ANSWER_OK has been told. After any other answer the pipe ends by itself, from the loop.
     *
     * NULL: refused at once, *why says why, and cb never fires. */
    struct pipe *(*open)(struct outlet *outlet, const struct target *target, const char *user,
                         outlet_answer_cb *cb, void *arg, enum answer *why);

    /* Why streams to this target (NULL: to any) get no path or are refused by the exit at present,
     * in plain words with the remedy; one line, good until the next call. NULL: nothing is known.
     * May be NULL itself. */
    const char *(*why)(struct outlet *outlet, const struct target *target);
};

#endif
