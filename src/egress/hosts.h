/* SPDX-License-Identifier: MIT */
/*
 * Hosts: the names of a hosts file (hosts(5)), looked up in memory.
 */
#ifndef ADIT_EGRESS_HOSTS_H
#define ADIT_EGRESS_HOSTS_H

#include <stddef.h>

#include "base/addr.h"

#define HOSTS_FILE_MAX_BYTES (4u << 20) /* what lies beyond is not read */
#define HOSTS_RECORDS_MAX    200000     /* names beyond are ignored */

struct hosts_record {
    const char *name; /* lower case, in the file's text */
    struct addr addr; /* port 0 */
};

struct hosts {
    char *text;
    struct hosts_record *records; /* by name, then in the order of the file */
    size_t count;
};

/* Reads a text of a hosts file (copied). Lines that make no sense are skipped. 0 or -ENOMEM. */
int hosts_parse(const char *text, size_t len, struct hosts *hosts);
/* Reads a file. 0, -ENOMEM or a negated errno of reading it; then hosts is empty. */
int hosts_load(const char *path, struct hosts *hosts);
void hosts_clear(struct hosts *hosts);
/* The records of a name (lower case, no final dot); NULL and *count 0 when there are none. */
const struct hosts_record *hosts_find(const struct hosts *hosts, const char *name, size_t *count);

#endif
