/* SPDX-License-Identifier: MIT */
/*
 * Streams: pipes inside a session. A stream is opened to a target, answered by the peer, and then
 * carries bytes both ways with half-close and reset, in order and complete over whatever paths the
 * session has. stream.c has the theory.
 */
#ifndef ADIT_SESSION_STREAM_H
#define ADIT_SESSION_STREAM_H

#include "session/opening.h"
#include "session/session.h"

/* The peer's answer to an OPEN, told once, from the loop; bound: the address that the exit
 * connected to (unset: unknown). After anything but ANSWER_OK the pipe ends by itself. */
typedef void stream_answer_cb(void *arg, enum answer answer, const struct addr *bound);

/* Opens a stream. The pipe may be written at once (data follows the OPEN); it is linked when the
 * answer is OK. NULL when the session is over or max_streams are open (*why says which). */
struct pipe *stream_open(struct session *session, const struct target *target, stream_answer_cb *cb,
                         void *arg, enum answer *why);
/* The same for an OPEN of any kind. */
struct pipe *stream_open_as(struct session *session, const struct opening *opening,
                            stream_answer_cb *cb, void *arg, enum answer *why);
/* Answers a stream that the peer opened. ANSWER_OK: bytes may follow. Anything else: the answer is
 * sent and the stream ends. */
void stream_answer(struct pipe *stream, enum answer answer, const struct addr *bound);

#endif
