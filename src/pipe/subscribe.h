/* SPDX-License-Identifier: MIT */
/*
 * Subscriptions: queues of what a pipe receives, to be read when it suits. A pipe may have several,
 * each for one source or for all, beside its listeners and links.
 */
#ifndef ADIT_PIPE_SUBSCRIBE_H
#define ADIT_PIPE_SUBSCRIBE_H

#include "pipe/pipe.h"

#define SUBSCRIPTIONS_MAX        64 /* a pipe */
#define SUBSCRIPTION_QUEUE_MAX   256
#define SUBSCRIPTION_QUEUE_BYTES ((size_t)1024 * 1024)
#define SUB_ALL                  NULL

struct subscription;

/* From now on keeps what comes from that source, or from anybody (SUB_ALL); on a stream, whose
 * source is its peer, everything. queue_max: messages, or slices of a stream, kept; 0: the pipe's
 * queue_max option or SUBSCRIPTION_QUEUE_MAX; and never more than about SUBSCRIPTION_QUEUE_BYTES. A
 * full queue stops a stream from being read (which may have read one turn's more); of messages the
 * oldest is dropped. The subscription is the caller's until pipe_unsubscribe(), also after the
 * pipe's end. NULL: errno is ENOSPC (SUBSCRIPTIONS_MAX), ENOMEM, or EPIPE (the pipe is over). */
struct subscription *pipe_subscribe(struct pipe *pipe, const struct addr *from, uint32_t queue_max);
/* Drops the queue; a waiting pipe_recv() is forgotten untold. */
void pipe_unsubscribe(struct subscription *sub);

/* What pipe_recv() has waited for. why 0: one message in `data` (a reference the callee may take by
 * emptying it), or data NULL at a stream's end of file; -ETIMEDOUT; or how the pipe ended
 * (ADIT_ECLOSED when it simply was closed). */
typedef void pipe_received(struct subscription *sub, int why, struct slice *data,
                           const struct addr *from, void *arg);

/* Calls back once, from the loop: with the next message, or after timeout_us (0: as long as it
 * takes). 0, or -EALREADY when one is waiting. May be called again inside the callback. */
int pipe_recv(struct subscription *sub, uint64_t timeout_us, pipe_received *fn, void *arg);
/* Takes the next message at once: 0 (the slice is the caller's), -EAGAIN, or ADIT_ECLOSED when
 * nothing can come any more. `from` may be NULL. */
int pipe_take(struct subscription *sub, struct slice *data, struct addr *from);

size_t subscription_queued(const struct subscription *sub); /* messages or slices */
/* Messages dropped because the queue was full. */
uint64_t subscription_dropped(const struct subscription *sub);

#endif
