/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The file is read whole into one buffer, which the table's entries point into. A check looks at
 * every entry and at every byte that was given, whether or not something differed before, so that
 * its time tells nothing about names or passwords. A file that everybody can read is refused: it
 * has been published.
 *
 * Limits: USERS_MAX users, USERS_FILE_MAX_BYTES; a larger file is an error.
 */
#include "ingress/users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

struct user {
    const char *name, *password;
    uint8_t name_len, password_len;
};

struct users {
    char *text;
    size_t text_len;
    size_t count;
    struct user entries[USERS_MAX];
};

__attribute__((format(printf, 5, 6))) static int complain(char *error, size_t error_len,
                                                          const char *path, int code,
                                                          const char *format, ...)
{
    va_list args;
    int n = snprintf(error, error_len, "%s: ", path);

    if (n >= 0 && (size_t)n < error_len) {
        va_start(args, format);
        vsnprintf(error + n, error_len - (size_t)n, format, args);
        va_end(args);
    }
    return code;
}

static int read_file(const char *path, struct users *users, char *error, size_t error_len)
{
    struct stat st;
    int r, fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return complain(error, error_len, path, -errno, "cannot be opened: %s", strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        r = complain(error, error_len, path, -EINVAL, "is not a file");
        goto out;
    }
    if (st.st_mode & S_IROTH) {
        r = complain(error, error_len, path, -EPERM,
                     "everybody on this machine can read these passwords; change them, and: chmod "
                     "o= %s",
                     path);
        goto out;
    }
    if (st.st_size > USERS_FILE_MAX_BYTES) {
        r = complain(error, error_len, path, ADIT_EFULL, "is larger than 1 MiB");
        goto out;
    }
    users->text = malloc((size_t)st.st_size + 1);
    if (!users->text) {
        r = complain(error, error_len, path, -ENOMEM, "no memory");
        goto out;
    }
    r = 0;
    while (users->text_len < (size_t)st.st_size) {
        ssize_t n = read(fd, users->text + users->text_len, (size_t)st.st_size - users->text_len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = complain(error, error_len, path, -errno, "cannot be read: %s", strerror(errno));
        if (n <= 0)
            break;
        users->text_len += (size_t)n;
    }
out:
    close(fd);
    return r;
}

/* What is wrong with a line; NULL: nothing, and it has been added. */
static const char *add_line(struct users *users, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    if (!colon)
        return "no colon; write user:password";
    if (memchr(line, '\0', len))
        return "a NUL byte";
    size_t name_len = (size_t)(colon - line), password_len = len - name_len - 1;
    if (name_len == 0)
        return "no user name before the colon";
    if (password_len == 0)
        return "no password after the colon";
    if (name_len > USERS_TEXT_MAX || password_len > USERS_TEXT_MAX)
        return "a name or password of more than 255 bytes";
    if (users->count == USERS_MAX)
        return "more than 1024 users";
    for (size_t i = 0; i < users->count; i++)
        if (users->entries[i].name_len == name_len &&
            memcmp(users->entries[i].name, line, name_len) == 0)
            return "this user name is there twice";
    users->entries[users->count++] =
        (struct user){line, colon + 1, (uint8_t)name_len, (uint8_t)password_len};
    return NULL;
}

int users_load(const char *path, struct users **out, char *error, size_t error_len)
{
    struct users *users = calloc(1, sizeof *users);
    int r;

    if (!users)
        return complain(error, error_len, path, -ENOMEM, "no memory");
    r = read_file(path, users, error, error_len);
    if (r < 0)
        goto out;

    unsigned number = 1;
    for (size_t at = 0; at < users->text_len; number++) {
        const char *line = users->text + at;
        const char *newline = memchr(line, '\n', users->text_len - at);
        size_t len = newline ? (size_t)(newline - line) : users->text_len - at;
        at += len + 1;
        if (len > 0 && line[len - 1] == '\r')
            len--;
        if (len == 0 || line[0] == '#')
            continue;
        const char *problem = add_line(users, line, len);
        if (problem) {
            r = complain(error, error_len, path, ADIT_EFORMAT, "line %u: %s", number, problem);
            goto out;
        }
    }
    if (users->count == 0)
        r = complain(error, error_len, path, ADIT_EFORMAT,
                     "has no users, so nobody could get in; add user:password lines, or leave out "
                     "gateway.users_file");
out:
    if (r < 0)
        users_free(users);
    else
        *out = users;
    return r;
}

void users_free(struct users *users)
{
    if (!users)
        return;
    if (users->text)
        explicit_bzero(users->text, users->text_len);
    free(users->text);
    free(users);
}

/* 0 when equal; looks at all of b. */
static unsigned differ(const char *a, size_t a_len, const unsigned char *b, size_t b_len)
{
    volatile unsigned difference = a_len != b_len;

    for (size_t i = 0; i < b_len; i++)
        difference |= (unsigned char)a[i < a_len ? i : 0] ^ b[i];
    return difference;
}

bool users_check(const struct users *users, const void *name, size_t name_len, const void *password,
                 size_t password_len)
{
    unsigned found = 0;

    for (size_t i = 0; i < users->count; i++) {
        const struct user *user = &users->entries[i];
        unsigned difference = differ(user->name, user->name_len, name, name_len) |
                              differ(user->password, user->password_len, password, password_len);
        found |= difference == 0;
    }
    return found;
}

size_t users_count(const struct users *users)
{
    return users->count;
}
