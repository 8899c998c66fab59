/* SPDX-License-Identifier: MIT */
/*
 * What few pipes need, allocated on first use so that the many (a stream, a client) stay small.
 */
#ifndef ADIT_PIPE_PIPE_INT_H
#define ADIT_PIPE_PIPE_INT_H

#include "pipe/pipe.h"

struct pipe_extra {
    struct pipe_listener *listeners; /* beyond the first; freed slots have events NULL */
    uint32_t listener_cap;
    struct subscription *subscriptions; /* subscribe.c */
    uint32_t queue_max;                 /* the option, for subscriptions that do not say */
    /* True: drop (unique.c). */
    bool (*filter)(struct pipe *pipe, const struct slice *data, const struct addr *from);
    void *filter_state;
    void (*filter_free)(void *state);
    /* subscribe.c: hands a message (data NULL: the end of file) to the subscriptions; and their
     * part of the end. */
    void (*subscribed)(struct pipe *pipe, const struct slice *data, const struct addr *from);
    void (*subscribed_end)(struct pipe *pipe, int why);
    struct defer up; /* pipe_up_soon() */
    bool hold;       /* a subscription queue is full and asks for back-pressure */
};

struct pipe_extra *pipe_extra(struct pipe *pipe); /* never NULL: aborts without memory */

#endif
