/* SPDX-License-Identifier: MIT */
/*
 * Inbox: files that come in parcels, kept in a directory: whole and with the right hash, or not
 * under their name. turn_inbox.c has the theory.
 */
#ifndef ADIT_CLI_TURN_INBOX_H
#define ADIT_CLI_TURN_INBOX_H

#include <limits.h>

#include "base/addr.h"
#include "base/loop.h"
#include "cli/parcel.h"

#define INBOX_FILES_MAX   16            /* at once, one of each sender; then they are refused */
#define INBOX_IDLE_US     (60 * SEC_US) /* without a byte: it makes room for another one */
#define INBOX_SPARE_BYTES (UINT64_C(64) << 20) /* of the file system stay free */
#define INBOX_PART_BYTES  (UINT64_C(64) << 10) /* less of a file is not worth keeping */
#define INBOX_TEXT_MAX    256

struct inbox;
struct inbox_file; /* one that is coming in */

struct inbox_result {
    const char *name; /* as it is kept; lent */
    uint64_t size, resumed, us;
    const uint8_t *hash;
};

struct inbox_options {
    uint64_t size_max;    /* bytes of a file; 0: no files at all */
    uint64_t spare_bytes; /* INBOX_SPARE_BYTES */
    uint64_t part_bytes;  /* INBOX_PART_BYTES */
    /* The answer to an offer that took time (INBOX_LATER), and, every second before it, that there
     * will be one. */
    void (*ready)(void *arg, const struct addr *from, uint32_t id, uint64_t offset);
    void (*failed)(void *arg, const struct addr *from, uint32_t id, const char *why);
    void (*busy)(void *arg, const struct addr *from, uint32_t id, uint64_t at);
    void *arg;
};

/* A directory that exists. NULL: why (INBOX_TEXT_MAX) says so. */
struct inbox *inbox_new(struct loop *loop, const char *directory,
                        const struct inbox_options *options, char *why);
void inbox_free(struct inbox *inbox); /* what is not complete stays, to be gone on with */

/* A file is offered. 0, and *offset is what there is of it already; INBOX_LATER: there is a part,
 * which is read first; or a negative error, and why (INBOX_TEXT_MAX) is for the sender. */
#define INBOX_LATER 1
int inbox_offer(struct inbox *inbox, const struct addr *from, const struct parcel *offer,
                uint64_t *offset, char *why);
/* More of it. 0 or a negative error, and why; the file is given up then. */
int inbox_data(struct inbox *inbox, const struct addr *from, const struct parcel *data, char *why);
/* That was all: 0, and *result; or a negative error, and why. */
int inbox_end(struct inbox *inbox, const struct addr *from, const struct parcel *end,
              struct inbox_result *result, char *why);
/* The sender is gone. What there is of its file stays, from part_bytes on; bytes of it, 0: nothing
 * stays. name is lent until the next call. False: there was no file. */
bool inbox_lost(struct inbox *inbox, const struct addr *from, const char **name, uint64_t *bytes);
/* The file of a sender: its name, size, and how much is there. False: none. */
bool inbox_progress(const struct inbox *inbox, const struct addr *from, const char **name,
                    uint64_t *size, uint64_t *at);

#endif
