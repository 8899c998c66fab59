/* SPDX-License-Identifier: MIT */
/*
 * Files: what several modules do with descriptors of files. Not for sockets, which never block.
 */
#ifndef ADIT_BASE_FILE_H
#define ADIT_BASE_FILE_H

#include <stddef.h>

/* Writes everything, however many calls it takes. 0 or a negative errno. */
int file_write_all(int fd, const void *bytes, size_t len);

#endif
