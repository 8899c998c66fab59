/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Files of the state directory are small and local: they are written in one go, and a write that a
 * signal interrupted goes on.
 */
#include "base/file.h"

#include <errno.h>
#include <unistd.h>

int file_write_all(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t n = write(fd, at, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}
