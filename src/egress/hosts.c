/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * c-ares would read /etc/hosts anew for every name and family, which blocks the loop each time;
 * this reads it once, into one text and one sorted array, and resolve.c reads it again when it has
 * changed. Files of a hundred thousand lines (lists of blocked names) are common enough: hence an
 * array and no objects.
 *
 * Limits: HOSTS_FILE_MAX_BYTES, HOSTS_RECORDS_MAX; the rest of a larger file is ignored.
 */
#include "egress/hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Cuts the next word off *text, in place; NULL at the end of the line. */
static char *take_word(char **text)
{
    char *word = *text + strspn(*text, " \t\r\f\v");
    if (!*word)
        return NULL;
    char *end = word + strcspn(word, " \t\r\f\v");
    *text = end;
    if (*end) {
        *end = '\0';
        *text = end + 1;
    }
    return word;
}

static void fold_name(char *name)
{
    size_t len = strlen(name);
    if (len > 1 && name[len - 1] == '.')
        name[len - 1] = '\0';
    for (; *name; name++)
        if (*name >= 'A' && *name <= 'Z')
            *name = (char)(*name - 'A' + 'a');
}

static int add_record(struct hosts *hosts, size_t *cap, const char *name, const struct addr *addr)
{
    if (hosts->count == *cap) {
        size_t more = *cap ? 2 * *cap : 32;
        struct hosts_record *records = realloc(hosts->records, more * sizeof *records);
        if (!records)
            return -ENOMEM;
        hosts->records = records;
        *cap = more;
    }
    hosts->records[hosts->count++] = (struct hosts_record){name, *addr};
    return 0;
}

static int compare_records(const void *a, const void *b)
{
    const struct hosts_record *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    /* Names lie in one text: their places in it are the order of the file. */
    return order ? order : (x->name > y->name) - (x->name < y->name);
}

int hosts_parse(const char *text, size_t len, struct hosts *hosts)
{
    size_t cap = 0;
    int r = 0;
    *hosts = (struct hosts){.text = malloc(len + 1)};
    if (!hosts->text)
        return -ENOMEM;
    memcpy(hosts->text, text, len);
    hosts->text[len] = '\0';
    /* A file with NULs in it is no text: what follows the first is not looked at. */
    for (char *line = hosts->text, *next; line && r == 0; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        line[strcspn(line, "#")] = '\0';
        struct addr addr;
        char *word = take_word(&line);
        if (!word || addr_parse_ip(word, &addr) != 0)
            continue;
        while (r == 0 && hosts->count < HOSTS_RECORDS_MAX && (word = take_word(&line))) {
            fold_name(word);
            r = add_record(hosts, &cap, word, &addr);
        }
    }
    if (r < 0)
        hosts_clear(hosts);
    else if (hosts->count)
        qsort(hosts->records, hosts->count, sizeof *hosts->records, compare_records);
    return r;
}

int hosts_load(const char *path, struct hosts *hosts)
{
    char *text = NULL;
    size_t len = 0, cap = 0;
    int r = 0, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *hosts = (struct hosts){0};
    if (fd < 0)
        return -errno;
    while (len < HOSTS_FILE_MAX_BYTES) {
        if (len == cap) {
            char *more = realloc(text, cap = cap ? 2 * cap : 4096);
            if (!more) {
                r = -ENOMEM;
                goto out;
            }
            text = more;
        }
        ssize_t n = read(fd, text + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            r = -errno;
            goto out;
        }
        if (n == 0)
            break;
        len += (size_t)n;
    }
    r = hosts_parse(text, len, hosts);
out:
    close(fd);
    free(text);
    return r;
}

void hosts_clear(struct hosts *hosts)
{
    free(hosts->text);
    free(hosts->records);
    *hosts = (struct hosts){0};
}

const struct hosts_record *hosts_find(const struct hosts *hosts, const char *name, size_t *count)
{
    size_t low = 0, high = hosts->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(hosts->records[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < hosts->count && strcmp(hosts->records[end].name, name) == 0)
        end++;
    *count = end - low;
    return *count ? &hosts->records[low] : NULL;
}
