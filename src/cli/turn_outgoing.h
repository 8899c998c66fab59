/* SPDX-License-Identifier: MIT */
/* An outgoing file: one that `adit turn send' reads: opened, hashed, and read from some place on.
 */
#ifndef ADIT_CLI_TURN_OUTGOING_H
#define ADIT_CLI_TURN_OUTGOING_H

#include "base/loop.h"
#include "cli/parcel.h"

struct outgoing;
/* It has been read to its end, and its size and hash are known: 0; or a negative error. */
typedef void outgoing_ready_cb(void *arg, int why);

enum outgoing_open {
    OUTGOING_FAILED, /* told */
    OUTGOING_NONE,   /* there is no such file */
    OUTGOING_FILE,
};

/* Opens a file, or takes standard input ("-"). *outgoing is set for OUTGOING_FILE only. */
enum outgoing_open outgoing_open(struct loop *loop, const char *path, struct outgoing **outgoing);
void outgoing_free(struct outgoing *outgoing); /* NULL: nothing */

/* Reads all of it, a piece at a time; ready is told from the loop. */
void outgoing_prepare(struct outgoing *outgoing, outgoing_ready_cb *ready, void *arg);
/* How much of it was, so far. */
uint64_t outgoing_prepared(const struct outgoing *outgoing);

const char *outgoing_name(const struct outgoing *outgoing); /* without its directory */
uint64_t outgoing_size(const struct outgoing *outgoing);
const uint8_t *outgoing_hash(const struct outgoing *outgoing);
/* Bytes from `at` on: how many, len at most and not past the size that was hashed. Negative: an
 * error; -EIO: it has shrunk. */
int outgoing_read(struct outgoing *outgoing, uint64_t at, uint8_t *bytes, size_t len);

#endif
