/* SPDX-License-Identifier: MIT */
/*
 * Input: the bytes of a descriptor (standard input) as they come, from the loop, also of those that
 * cannot be waited for, such as files.
 */
#ifndef ADIT_CLI_TURN_INPUT_H
#define ADIT_CLI_TURN_INPUT_H

#include "base/loop.h"

#define INPUT_CHUNK_BYTES 65536

struct input;
/* Bytes; len 0: the end, or, with why negative, an error, after which nothing more comes. May free
 * the input. */
typedef void input_cb(void *arg, const uint8_t *bytes, size_t len, int why);

/* fd: not closed by it. NULL: no memory. */
struct input *input_new(struct loop *loop, int fd, input_cb *fn, void *arg);
void input_free(struct input *input); /* NULL: nothing */
/* No more bytes until input_resume(). */
void input_pause(struct input *input);
void input_resume(struct input *input);

#endif
