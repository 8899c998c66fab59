/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A file is written as ".NAME.HASH.part" in the directory, HASH being the first bytes of what its
 * content shall hash to. When all of it is there and the hash is right, it is synced and gets its
 * name, or NAME.1, NAME.2, ... where there is one already: nothing is overwritten. When the hash is
 * wrong, it is deleted. When the sender vanishes, the part stays, and the same file, offered again
 * by anybody, goes on where it ended; what is there is hashed first.
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
#include <unistd.h>

#include "base/file.h"
#include "crypto/hash.h"

#define NAMES_MAX  1000 /* NAME.1 to NAME.999 */
#define HASH_CHUNK 65536

struct inbox_file {
    bool used;
    struct addr from;
    uint32_t id;
    int fd;
    char name[PARCEL_NAME_MAX + 1], part[PARCEL_NAME_MAX + 1];
    uint64_t size, at, resumed, start_us;
    uint8_t want[PARCEL_HASH_BYTES];
    struct hash_stream *hash;
};

struct inbox {
    struct loop *loop;
    int directory;
    uint8_t hash[PARCEL_HASH_BYTES]; /* of the last result */
    struct inbox_file files[INBOX_SENDERS_MAX];
};

struct inbox *inbox_new(struct loop *loop, const char *directory, char *why)
{
    struct inbox *inbox = calloc(1, sizeof(*inbox));

    if (inbox == NULL) {
        snprintf(why, INBOX_TEXT_MAX, "out of memory");
        return NULL;
    }
    inbox->loop = loop;
    inbox->directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (inbox->directory >= 0 && faccessat(inbox->directory, ".", W_OK | X_OK, AT_EACCESS) == 0)
        return inbox;
    snprintf(why, INBOX_TEXT_MAX, "%.120s: %s", directory, strerror(errno));
    if (inbox->directory >= 0)
        close(inbox->directory);
    free(inbox);
    return NULL;
}

static struct inbox_file *find(const struct inbox *inbox, const struct addr *from)
{
    for (size_t i = 0; i < INBOX_SENDERS_MAX; i++)
        if (inbox->files[i].used && addr_equal(&inbox->files[i].from, from))
            return (struct inbox_file *)&inbox->files[i];
    return NULL;
}

/* Forgets a file; the part stays, if there is anything in it and it is ours (its hash is there). */
static void leave(const struct inbox *inbox, struct inbox_file *file)
{
    if (file->hash != NULL && file->at == 0)
        unlinkat(inbox->directory, file->part, 0);
    if (file->fd >= 0)
        close(file->fd);
    hash_stream_free(file->hash);
    file->hash = NULL;
    file->used = false;
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
    for (size_t i = 0; i < INBOX_SENDERS_MAX; i++)
        if (inbox->files[i].used)
            leave(inbox, &inbox->files[i]);
    close(inbox->directory);
    free(inbox);
}

/* Reads what is there of it into the hash. */
static int hash_part(struct inbox_file *file, uint64_t size)
{
    static const size_t chunk = HASH_CHUNK;
    uint8_t *bytes = malloc(chunk);
    int rc = bytes != NULL ? 0 : -ENOMEM;

    while (rc == 0 && file->at < size) {
        ssize_t n = pread(file->fd, bytes, chunk, (off_t)file->at);

        if (n <= 0)
            rc = n < 0 ? -errno : -EIO;
        else if ((uint64_t)n > size - file->at)
            rc = -EIO;
        else
            rc = hash_stream_add(file->hash, bytes, (size_t)n);
        if (rc == 0)
            file->at += (uint64_t)n;
    }
    free(bytes);
    return rc;
}

static int open_part(struct inbox *inbox, struct inbox_file *file)
{
    struct stat st;
    int rc;

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
    rc = hash_part(file, (uint64_t)st.st_size);
    if (rc == 0 && lseek(file->fd, (off_t)file->at, SEEK_SET) < 0)
        rc = -errno;
    file->resumed = file->at;
    return rc;
}

/* Who offers a file that another is sending is that other, started again, before its silence was
 * noticed; or a second copy of it, and then the later one has it. */
static void take_over(struct inbox *inbox, const struct inbox_file *file)
{
    for (size_t i = 0; i < INBOX_SENDERS_MAX; i++)
        if (inbox->files[i].used && &inbox->files[i] != file &&
            strcmp(inbox->files[i].part, file->part) == 0)
            leave(inbox, &inbox->files[i]);
}

int inbox_offer(struct inbox *inbox, const struct addr *from, const struct parcel *offer,
                uint64_t *offset, char *why)
{
    struct inbox_file *file = find(inbox, from);
    int rc = ADIT_EFULL, len;

    if (file != NULL) /* it has started anew */
        leave(inbox, file);
    for (size_t i = 0; file == NULL && i < INBOX_SENDERS_MAX; i++)
        if (!inbox->files[i].used)
            file = &inbox->files[i];
    if (file == NULL) {
        snprintf(why, INBOX_TEXT_MAX, "too many others are sending files");
        return rc;
    }
    *file = (struct inbox_file){.used = true,
                                .from = *from,
                                .id = offer->id,
                                .fd = -1,
                                .size = offer->number,
                                .start_us = loop_now(inbox->loop)};
    memcpy(file->want, offer->hash, sizeof(file->want));
    parcel_safe_name(offer->bytes, offer->len, file->name);
    len = snprintf(file->part, sizeof(file->part), ".%.200s.", file->name);
    for (int i = 0; i < 8; i++)
        len += snprintf(file->part + len, sizeof(file->part) - (size_t)len, "%02x", offer->hash[i]);
    snprintf(file->part + len, sizeof(file->part) - (size_t)len, ".part");
    take_over(inbox, file);
    rc = offer->number > INT64_MAX ? -EFBIG : open_part(inbox, file);
    if (rc == 0) {
        *offset = file->at;
        return 0;
    }
    snprintf(why, INBOX_TEXT_MAX, "the listener cannot write the file: %s",
             rc == -EBUSY ? "somebody else is sending it" : err_text(rc));
    leave(inbox, file);
    return rc;
}

int inbox_data(struct inbox *inbox, const struct addr *from, const struct parcel *data, char *why)
{
    struct inbox_file *file = find(inbox, from);
    int rc;

    if (file == NULL || file->id != data->id)
        return 0; /* refused, and on its way still */
    if (data->number != file->at || data->len > file->size - file->at) {
        snprintf(why, INBOX_TEXT_MAX, "the sender sent something else than it had offered");
        discard(inbox, file);
        return ADIT_EPROTO;
    }
    rc = file_write_all(file->fd, data->bytes, data->len);
    if (rc == 0)
        rc = hash_stream_add(file->hash, data->bytes, data->len);
    if (rc != 0) {
        snprintf(why, INBOX_TEXT_MAX, "the listener cannot write the file: %s", err_text(rc));
        leave(inbox, file);
        return rc;
    }
    file->at += data->len;
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

    if (file == NULL || file->id != end->id) {
        snprintf(why, INBOX_TEXT_MAX, "the file was given up");
        return -ENOENT;
    }
    rc = hash_stream_end(file->hash, inbox->hash);
    file->hash = NULL;
    if (rc != 0 || file->at != file->size || end->number != file->size ||
        memcmp(inbox->hash, end->hash, sizeof(inbox->hash)) != 0 ||
        memcmp(inbox->hash, file->want, sizeof(inbox->hash)) != 0) {
        snprintf(why, INBOX_TEXT_MAX, "what arrived is not what was sent (SHA-256); deleted");
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
    *bytes = file->at;
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
