/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A file is written as ".NAME.HASH.part" in the directory, HASH being the first bytes of what its
 * content shall hash to. When all of it is there and the hash is right, it is synced and gets its
 * name, or NAME.1, NAME.2, ... where there is one already: nothing is overwritten. When the hash is
 * wrong, it is deleted. When the sender vanishes, the part stays, and the same file, offered again
 * by anybody, goes on where it ended; what is there is hashed first, in slices between which the
 * loop does other things. A part of less than part_bytes goes, so that a thousand offers of a byte
 * each leave no thousand files.
 *
 *     offered -- a part is there --> hashing -- all of it --> open -- end --> its name, or deleted
 *         `------- nothing is -------------------------------^ `-- the sender is gone --> part
 *
 * Senders are not known, so an offer is held against limits before a byte is written: its size
 * (size_max), how many come in at once (INBOX_FILES_MAX; who has sent nothing for INBOX_IDLE_US
 * makes room), and the file system, which has to hold this one and what else was promised, and
 * spare_bytes more.
 *
 * Names come from the network: they are reduced to their last component (parcel_safe_name()), and
 * opened relative to the directory, never through a symbolic link.
 */
#include "cli/turn_inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "crypto/hash.h"

#define NAMES_MAX   1000 /* NAME.1 to NAME.999 */
#define SLICE_BYTES ((size_t)512 * 1024)
#define SYNC_BYTES  (UINT64_C(32) << 20) /* written so much, the disk is set going */
#define BUSY_US     SEC_US

struct inbox_file {
    bool used, hashing;
    struct addr from;
    uint32_t id;
    int fd;
    char name[PARCEL_NAME_MAX + 1], part[PARCEL_NAME_MAX + 1];
    uint64_t size, at; /* at: hashed */
    uint64_t there;    /* bytes of the part: at, or more while it is hashed */
    uint64_t synced;   /* bytes that the disk was told to write */
    uint64_t resumed, start_us, heard_us, told_us;
    uint8_t want[PARCEL_HASH_BYTES];
    struct hash_stream *hash;
};

struct inbox {
    struct loop *loop;
    int directory;
    struct inbox_options options;
    struct defer work;
    uint8_t *slice;                  /* SLICE_BYTES of room */
    uint8_t hash[PARCEL_HASH_BYTES]; /* of the last result */
    struct inbox_file files[INBOX_FILES_MAX];
};

static void on_work(void *arg);

struct inbox *inbox_new(struct loop *loop, const char *directory,
                        const struct inbox_options *options, char *why)
{
    struct inbox *inbox = calloc(1, sizeof(*inbox));
    uint8_t *slice = malloc(SLICE_BYTES);

    if (inbox == NULL || slice == NULL) {
        snprintf(why, INBOX_TEXT_MAX, "out of memory");
        goto fail;
    }
    *inbox = (struct inbox){.loop = loop, .options = *options, .slice = slice, .directory = -1};
    defer_init(&inbox->work, on_work, inbox);
    inbox->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (inbox->directory >= 0 && faccessat(inbox->directory, ".", W_OK | X_OK, AT_EACCESS) == 0)
        return inbox;
    snprintf(why, INBOX_TEXT_MAX,
             "files cannot be kept in %.120s: %s; name another directory with "
             "--output",
             directory, strerror(errno));
    if (inbox->directory >= 0)
        close(inbox->directory);
fail:
    free(slice);
    free(inbox);
    return NULL;
}

static struct inbox_file *find(const struct inbox *inbox, const struct addr *from)
{
    for (size_t i = 0; i < INBOX_FILES_MAX; i++)
        if (inbox->files[i].used && addr_equal(&inbox->files[i].from, from))
            return (struct inbox_file *)&inbox->files[i];
    return NULL;
}

static bool is_worth_keeping(const struct inbox *inbox, const struct inbox_file *file)
{
    return file->there > 0 && file->there >= inbox->options.part_bytes;
}

/* Forgets a file; the part stays, if there is enough in it. (Without a hash it is not ours.) */
static void leave(const struct inbox *inbox, struct inbox_file *file)
{
    if (file->hash != NULL && !is_worth_keeping(inbox, file))
        unlinkat(inbox->directory, file->part, 0);
    if (file->fd >= 0)
        close(file->fd);
    hash_stream_free(file->hash);
    file->hash = NULL;
    file->used = file->hashing = false;
}

/* And deletes the part. */
static void discard(struct inbox *inbox, struct inbox_file *file)
{
    unlinkat(inbox->directory, file->part, 0);
    leave(inbox, file);
}

void inbox_free(struct inbox *inbox)
{
    if (inbox == NULL)
        return;
    for (size_t i = 0; i < INBOX_FILES_MAX; i++)
        if (inbox->files[i].used)
            leave(inbox, &inbox->files[i]);
    defer_cancel(inbox->loop, &inbox->work);
    close(inbox->directory);
    free(inbox->slice);
    free(inbox);
}

/* --- Offers --- */

static int open_part(struct inbox *inbox, struct inbox_file *file)
{
    struct stat st;

    file->fd =
        openat(inbox->directory, file->part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (file->fd < 0)
        return -errno;
    if (flock(file->fd, LOCK_EX | LOCK_NB) != 0)
        return -EBUSY;
    if (fstat(file->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return -EIO;
    file->hash = hash_stream_new();
    if (file->hash == NULL)
        return -ENOMEM;
    if ((uint64_t)st.st_size > file->size) {
        if (ftruncate(file->fd, 0) != 0)
            return -errno;
        st.st_size = 0;
    }
    file->there = (uint64_t)st.st_size;
    file->hashing = file->there > 0;
    return 0;
}

/* Hashes a slice of what is there. 0 or a negative error. */
static int hash_slice(struct inbox *inbox, struct inbox_file *file)
{
    uint64_t left = file->there - file->at;
    ssize_t n = pread(file->fd, inbox->slice, left < SLICE_BYTES ? (size_t)left : SLICE_BYTES,
                      (off_t)file->at);
    int rc;

    if (n < 0 && errno == EINTR)
        return 0;
    if (n <= 0)
        return n < 0 ? -errno : -EIO;
    rc = hash_stream_add(file->hash, inbox->slice, (size_t)n);
    if (rc != 0)
        return rc;
    file->at += (uint64_t)n;
    if (file->at < file->there)
        return 0;
    file->hashing = false;
    file->resumed = file->synced = file->at;
    return lseek(file->fd, (off_t)file->at, SEEK_SET) < 0 ? -errno : 0;
}

/* A slice of every part that is being hashed. */
static void on_work(void *arg)
{
    struct inbox *inbox = arg;
    const struct inbox_options *o = &inbox->options;
    uint64_t now = loop_now(inbox->loop);
    bool more = false;

    for (size_t i = 0; i < INBOX_FILES_MAX; i++) {
        struct inbox_file *file = &inbox->files[i];
        char why[INBOX_TEXT_MAX];
        int rc;

        if (!file->used || !file->hashing)
            continue;
        rc = hash_slice(inbox, file);
        file->heard_us = now;
        more = more || file->hashing;
        if (rc != 0) {
            struct addr from = file->from;

            snprintf(why, sizeof(why), "the listener cannot read its part of the file: %s",
                     err_text(rc));
            leave(inbox, file);
            o->failed(o->arg, &from, file->id, why);
        } else if (!file->hashing) {
            file->start_us = now;
            o->ready(o->arg, &file->from, file->id, file->at);
        } else if (now - file->told_us >= BUSY_US) {
            file->told_us = now;
            o->busy(o->arg, &file->from, file->id, file->at);
        }
    }
    if (more)
        defer_next(inbox->loop, &inbox->work);
}

/* "300.0 MB" */
static const char *size_text(uint64_t bytes, char buf[32])
{
    if (bytes >= 1000000)
        snprintf(buf, 32, "%.1f MB", (double)bytes / 1e6);
    else
        snprintf(buf, 32, "%llu bytes", (unsigned long long)bytes);
    return buf;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Whether the file system has room for what is still to come of this file, and was promised to the
 * others. */
static bool has_room(const struct inbox *inbox, const struct inbox_file *file, char *why)
{
    uint64_t free_bytes, needed = sum(file->size - file->there, inbox->options.spare_bytes);
    uint64_t now = loop_now(inbox->loop);
    char is[32], wanted[32];
    struct statvfs fs;

    for (size_t i = 0; i < INBOX_FILES_MAX; i++) {
        const struct inbox_file *other = &inbox->files[i];

        if (other->used && other != file && now - other->heard_us < INBOX_IDLE_US)
            needed = sum(needed, other->size - other->there);
    }
    if (fstatvfs(inbox->directory, &fs) != 0)
        return true; /* writing will show it */
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (needed <= free_bytes || file->size == file->there)
        return true;
    snprintf(
        why, INBOX_TEXT_MAX,
        "the listener's disk is too full: %s are free, and with this file %s would have to be; "
        "make room there, or listen with another --output",
        size_text(free_bytes, is), size_text(needed, wanted));
    return false;
}

/* 0 or a negative error, and why. */
static int check_size(const struct inbox *inbox, uint64_t size, char *why)
{
    uint64_t most = inbox->options.size_max;
    char is[32], taken[32];

    if (size <= most && most > 0 && size <= INT64_MAX)
        return 0;
    if (most == 0)
        snprintf(why, INBOX_TEXT_MAX, "the listener takes messages only, no files (--max-size 0)");
    else
        snprintf(
            why, INBOX_TEXT_MAX,
            "the file is too large: it has %s, and the listener takes %s at most; listen with a "
            "larger --max-size",
            size_text(size, is), size_text(most, taken));
    return -EFBIG;
}

/* A place for another file; NULL: all are in use. */
static struct inbox_file *find_place(struct inbox *inbox)
{
    struct inbox_file *idlest = &inbox->files[0];

    for (size_t i = 0; i < INBOX_FILES_MAX; i++) {
        struct inbox_file *file = &inbox->files[i];

        if (!file->used)
            return file;
        if (file->heard_us < idlest->heard_us)
            idlest = file;
    }
    if (loop_now(inbox->loop) - idlest->heard_us < INBOX_IDLE_US)
        return NULL;
    leave(inbox, idlest);
    return idlest;
}

/* Who offers a file that another is sending is that other, started again, before its silence was
 * noticed; or a second copy of it, and then the later one has it. */
static void take_over(struct inbox *inbox, const struct inbox_file *file)
{
    for (size_t i = 0; i < INBOX_FILES_MAX; i++)
        if (inbox->files[i].used && &inbox->files[i] != file &&
            strcmp(inbox->files[i].part, file->part) == 0)
            leave(inbox, &inbox->files[i]);
}

static void name_part(struct inbox_file *file, const struct parcel *offer)
{
    int len;

    parcel_safe_name(offer->bytes, offer->len, file->name);
    len = snprintf(file->part, sizeof(file->part), ".%.200s.", file->name);
    for (int i = 0; i < 8; i++)
        len += snprintf(file->part + len, sizeof(file->part) - (size_t)len, "%02x", offer->hash[i]);
    snprintf(file->part + len, sizeof(file->part) - (size_t)len, ".part");
}

int inbox_offer(struct inbox *inbox, const struct addr *from, const struct parcel *offer,
                uint64_t *offset, char *why)
{
    struct inbox_file *file = find(inbox, from);
    uint64_t now = loop_now(inbox->loop);
    int rc;

    if (file != NULL) /* it has started anew */
        leave(inbox, file);
    rc = check_size(inbox, offer->number, why);
    if (rc != 0)
        return rc;
    if (file == NULL)
        file = find_place(inbox);
    if (file == NULL) {
        snprintf(why, INBOX_TEXT_MAX,
                 "%d others are sending files to the listener; try again "
                 "later",
                 INBOX_FILES_MAX);
        return ADIT_EFULL;
    }
    *file = (struct inbox_file){.used = true,
                                .from = *from,
                                .id = offer->id,
                                .fd = -1,
                                .size = offer->number,
                                .start_us = now,
                                .heard_us = now,
                                .told_us = now};
    memcpy(file->want, offer->hash, sizeof(file->want));
    name_part(file, offer);
    take_over(inbox, file);
    rc = open_part(inbox, file);
    if (rc != 0)
        snprintf(why, INBOX_TEXT_MAX, "the listener cannot write the file: %s",
                 rc == -EBUSY ? "another listener receives it" : err_text(rc));
    else if (!has_room(inbox, file, why))
        rc = -ENOSPC;
    if (rc != 0) {
        leave(inbox, file);
        return rc;
    }
    *offset = 0;
    if (!file->hashing)
        return 0;
    defer_next(inbox->loop, &inbox->work);
    return INBOX_LATER;
}

/* --- Bytes --- */

int inbox_data(struct inbox *inbox, const struct addr *from, const struct parcel *data, char *why)
{
    struct inbox_file *file = find(inbox, from);
    int rc;

    if (file == NULL || file->id != data->id)
        return 0; /* refused, and on its way still */
    if (file->hashing || data->number != file->at || data->len > file->size - file->at) {
        snprintf(why, INBOX_TEXT_MAX, "the sender sent something else than it had offered");
        discard(inbox, file);
        return ADIT_EPROTO;
    }
    rc = file_write_all(file->fd, data->bytes, data->len);
    if (rc == 0)
        rc = hash_stream_add(file->hash, data->bytes, data->len);
    if (rc != 0) {
        snprintf(why, INBOX_TEXT_MAX,
                 "the listener cannot write the file: %s; it keeps what it has, and goes on when "
                 "the file is sent again",
                 err_text(rc));
        leave(inbox, file);
        return rc;
    }
    file->at += data->len;
    file->there = file->at;
    file->heard_us = loop_now(inbox->loop);
    /* So that little is left to wait for at the end. */
    if (file->at - file->synced >= SYNC_BYTES) {
        sync_file_range(file->fd, (off_t)file->synced, (off_t)(file->at - file->synced),
                        SYNC_FILE_RANGE_WRITE);
        file->synced = file->at;
    }
    return 0;
}

/* Gives the part its name, and writes that to file->name. */
static int publish(struct inbox *inbox, struct inbox_file *file)
{
    char name[PARCEL_NAME_MAX + 1];

    if (fsync(file->fd) != 0)
        return -errno;
    for (int i = 0; i < NAMES_MAX; i++) {
        if (i == 0)
            snprintf(name, sizeof(name), "%.200s", file->name);
        else
            snprintf(name, sizeof(name), "%.200s.%d", file->name, i);
        if (renameat2(inbox->directory, file->part, inbox->directory, name, RENAME_NOREPLACE) ==
            0) {
            memcpy(file->name, name, sizeof(name));
            return 0;
        }
        if (errno == EINVAL || errno == ENOSYS) { /* the file system cannot do that */
            if (linkat(inbox->directory, file->part, inbox->directory, name, 0) == 0) {
                unlinkat(inbox->directory, file->part, 0);
                memcpy(file->name, name, sizeof(name));
                return 0;
            }
        }
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

int inbox_end(struct inbox *inbox, const struct addr *from, const struct parcel *end,
              struct inbox_result *result, char *why)
{
    struct inbox_file *file = find(inbox, from);
    int rc;

    if (file == NULL || file->id != end->id || file->hashing) {
        snprintf(why, INBOX_TEXT_MAX, "the file was given up; somebody else may be sending it");
        return -ENOENT;
    }
    rc = hash_stream_end(file->hash, inbox->hash);
    file->hash = NULL;
    if (rc != 0 || file->at != file->size || end->number != file->size ||
        memcmp(inbox->hash, end->hash, sizeof(inbox->hash)) != 0 ||
        memcmp(inbox->hash, file->want, sizeof(inbox->hash)) != 0) {
        snprintf(why, INBOX_TEXT_MAX,
                 "what arrived is not what was sent (SHA-256); deleted; send it again");
        discard(inbox, file);
        return ADIT_EFORMAT;
    }
    rc = publish(inbox, file);
    if (rc != 0) {
        snprintf(why, INBOX_TEXT_MAX, "the listener cannot keep the file: %s", err_text(rc));
        leave(inbox, file);
        return rc;
    }
    *result = (struct inbox_result){.name = file->name,
                                    .size = file->size,
                                    .resumed = file->resumed,
                                    .us = loop_now(inbox->loop) - file->start_us,
                                    .hash = inbox->hash};
    leave(inbox, file);
    return 0;
}

bool inbox_lost(struct inbox *inbox, const struct addr *from, const char **name, uint64_t *bytes)
{
    struct inbox_file *file = find(inbox, from);

    if (file == NULL)
        return false;
    *name = file->name;
    *bytes = is_worth_keeping(inbox, file) ? file->there : 0;
    leave(inbox, file);
    return true;
}

bool inbox_progress(const struct inbox *inbox, const struct addr *from, const char **name,
                    uint64_t *size, uint64_t *at)
{
    const struct inbox_file *file = find(inbox, from);

    if (file == NULL)
        return false;
    *name = file->name;
    *size = file->size;
    *at = file->at;
    return true;
}
