/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A line is composed whole in a buffer of the stack and handed to the system in one write(2), so
 * that lines of several processes on one standard error stay apart. What is longer than
 * LOG_LINE_BYTES is cut, and ends with "...". Control characters within a line become '?': one
 * event is one line, and text that came from a peer cannot forge another or drive a terminal.
 *
 * systemd says by JOURNAL_STREAM=DEVICE:INODE that standard error goes to the journal; it is
 * believed only if our standard error is still that file. The journal keeps the time and
 * understands a level as "<N>" in front.
 *
 * A failing write is ignored: there is nowhere left to complain.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_BYTES 1024

static const struct {
    const char *name;
    int syslog; /* RFC 5424 severity */
} levels[] = {
    [LOG_ERROR] = {"error", 3}, [LOG_WARN] = {"warn", 4},   [LOG_INFO] = {"info", 6},
    [LOG_DEBUG] = {"debug", 7}, [LOG_TRACE] = {"trace", 7},
};

_Static_assert(sizeof levels / sizeof *levels == LOG_TRACE + 1, "each level has a name");

static enum log_level current = LOG_INFO;
static bool to_journal;

static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    if (stream == NULL || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
        return false;
    return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(enum log_level level)
{
    current = level;
    to_journal = stderr_is_journal();
}

void log_set_level(enum log_level level)
{
    current = level;
}

enum log_level log_level(void)
{
    return current;
}

int log_parse_level(const char *name, enum log_level *level)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (strcmp(name, levels[i].name) == 0) {
            *level = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

static size_t prefix_write(char *line, size_t size, enum log_level level)
{
    if (to_journal)
        return (size_t)snprintf(line, size, "<%d>", levels[level].syslog);

    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    size_t len = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
    return len + (size_t)snprintf(line + len, size - len, ".%03ldZ %s ", now.tv_nsec / 1000000,
                                  levels[level].name);
}

void log_line(enum log_level level, const char *format, ...)
{
    char line[LOG_LINE_BYTES];
    int saved = errno;
    size_t start = prefix_write(line, sizeof line, level);
    size_t len = start;

    va_list args;
    va_start(args, format);
    int wanted = vsnprintf(line + len, sizeof line - len, format, args);
    va_end(args);
    if (wanted < 0)
        goto out;
    len += (size_t)wanted;
    if (len >= sizeof line - 1) {
        len = sizeof line - 1;
        memcpy(line + len - 3, "...", 3);
    }
    for (size_t i = start; i < len; i++) {
        unsigned char c = (unsigned char)line[i];
        if (c < 0x20 || c == 0x7f)
            line[i] = '?';
    }
    line[len++] = '\n';
    ssize_t n = write(STDERR_FILENO, line, len);
    (void)n;
out:
    errno = saved;
}

uint64_t log_text_hash(const char *text)
{
    uint64_t hash = 14695981039346656037u;

    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 1099511628211u;
    return hash;
}
