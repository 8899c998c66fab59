/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A file is hashed before it is offered, so that the listener can go on with a part that it has;
 * what comes by standard input is put aside in a temporary file first, which has no name, and
 * hashed as it passes by. Both happen in pieces of SLICE_BYTES by deferred calls, so that the
 * client of the server lives on, and signals are heard, however large the file. What changes
 * between hashing and sending is noticed by the listener: the hash is wrong then.
 */
#include "cli/turn_outgoing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/turn_input.h"
#include "crypto/hash.h"

#define SLICE_BYTES ((size_t)512 * 1024)

struct outgoing {
    struct loop *loop;
    int fd;
    const char *name;
    uint64_t size, at;
    struct hash_stream *hasher; /* NULL: done */
    uint8_t hash[PARCEL_HASH_BYTES];
    outgoing_ready_cb *ready;
    void *arg;
    struct defer slice;
    struct input *input; /* of standard input, until its end */
    uint8_t *bytes;      /* SLICE_BYTES of room */
};

/* A file without a name, in TMPDIR or where such files are. */
static int temporary_file(void)
{
    const char *directory = getenv("TMPDIR");
    char path[PATH_MAX];
    int fd;

    snprintf(path, sizeof(path), "%s/adit-XXXXXX",
             directory != NULL && directory[0] == '/' ? directory : P_tmpdir);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static enum outgoing_open open_path(const char *path, int *fd, uint64_t *size)
{
    struct stat st;

    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0 && ((errno == ENOENT && strchr(path, '/') == NULL) || errno == ENAMETOOLONG))
        return OUTGOING_NONE;
    if (*fd < 0) {
        cli_complain("%.200s: %s%s", path, strerror(errno),
                     errno == ENOENT || errno == ENOTDIR ? "; --text sends it as a message" : "");
        return OUTGOING_FAILED;
    }
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode)) {
        *size = (uint64_t)st.st_size;
        return OUTGOING_FILE;
    }
    if (S_ISDIR(st.st_mode))
        cli_complain("%s is a directory; send it as an archive: tar c %s | adit turn send ... -",
                     path, path);
    else
        cli_complain("%s is no regular file; `-' sends what comes by standard input", path);
    close(*fd);
    return OUTGOING_FAILED;
}

static void on_slice(void *arg);

enum outgoing_open outgoing_open(struct loop *loop, const char *path, struct outgoing **outgoing)
{
    const char *slash = strrchr(path, '/');
    bool is_stdin = strcmp(path, "-") == 0;
    enum outgoing_open result = OUTGOING_FILE;
    struct outgoing *o;
    uint64_t size = 0;
    int fd;

    if (is_stdin && (fd = temporary_file()) < 0) {
        cli_complain("no temporary file for standard input: %s; TMPDIR names another directory",
                     strerror(errno));
        return OUTGOING_FAILED;
    }
    if (!is_stdin)
        result = open_path(path, &fd, &size);
    if (result != OUTGOING_FILE)
        return result;
    o = calloc(1, sizeof(*o));
    if (o != NULL) {
        *o = (struct outgoing){.loop = loop,
                               .fd = fd,
                               .size = size,
                               .name = is_stdin        ? "stdin"
                                       : slash != NULL ? slash + 1
                                                       : path,
                               .hasher = hash_stream_new(),
                               .bytes = is_stdin ? NULL : malloc(SLICE_BYTES)};
        defer_init(&o->slice, on_slice, o);
    }
    if (o == NULL || o->hasher == NULL || (o->bytes == NULL && !is_stdin)) {
        cli_complain("out of memory");
        if (o != NULL)
            outgoing_free(o);
        else
            close(fd);
        return OUTGOING_FAILED;
    }
    *outgoing = o;
    return OUTGOING_FILE;
}

void outgoing_free(struct outgoing *o)
{
    if (o == NULL)
        return;
    input_free(o->input);
    defer_cancel(o->loop, &o->slice);
    hash_stream_free(o->hasher);
    close(o->fd);
    free(o->bytes);
    free(o);
}

/* All of it has been seen, or it cannot be. */
static void finish(struct outgoing *o, int why)
{
    if (why == 0) {
        why = hash_stream_end(o->hasher, o->hash);
        o->hasher = NULL;
    }
    o->ready(o->arg, why);
}

static void on_slice(void *arg)
{
    struct outgoing *o = arg;
    int n = outgoing_read(o, o->at, o->bytes, SLICE_BYTES), rc = n < 0 ? n : 0;

    if (n > 0) {
        rc = hash_stream_add(o->hasher, o->bytes, (size_t)n);
        o->at += (uint64_t)n;
    }
    if (rc != 0 || o->at == o->size)
        finish(o, rc);
    else
        defer_next(o->loop, &o->slice);
}

static void on_input(void *arg, const uint8_t *bytes, size_t len, int why)
{
    struct outgoing *o = arg;

    if (len > 0) {
        why = file_write_all(o->fd, bytes, len);
        if (why == 0)
            why = hash_stream_add(o->hasher, bytes, len);
        o->size = o->at += len;
        if (why == 0)
            return;
    }
    input_free(o->input);
    o->input = NULL;
    finish(o, why);
}

void outgoing_prepare(struct outgoing *o, outgoing_ready_cb *ready, void *arg)
{
    o->ready = ready;
    o->arg = arg;
    if (o->bytes != NULL)
        defer_next(o->loop, &o->slice);
    else if ((o->input = input_new(o->loop, STDIN_FILENO, on_input, o)) == NULL)
        ready(arg, -ENOMEM);
}

uint64_t outgoing_prepared(const struct outgoing *o)
{
    return o->at;
}

const char *outgoing_name(const struct outgoing *o)
{
    return o->name;
}

uint64_t outgoing_size(const struct outgoing *o)
{
    return o->size;
}

const uint8_t *outgoing_hash(const struct outgoing *o)
{
    return o->hash;
}

int outgoing_read(struct outgoing *o, uint64_t at, uint8_t *bytes, size_t len)
{
    ssize_t n;

    if (len > o->size - at)
        len = (size_t)(o->size - at);
    if (len == 0)
        return 0;
    do
        n = pread(o->fd, bytes, len, (off_t)at);
    while (n < 0 && errno == EINTR);
    return n > 0 ? (int)n : n < 0 ? -errno : -EIO;
}
