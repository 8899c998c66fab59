/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The line is written over itself, a few times a second, and never wider than the terminal, which
 * is asked each time: what wraps cannot be overwritten. A narrow terminal gets less: first the time
 * left is dropped, then the rate, then the end of the name. Whoever prints something else calls
 * progress_hide() before.
 */
#include "cli/turn_progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/loop.h"
#include "cli/turn_text.h"

#define TELL_US     (200 * MS_US)
#define COLUMNS     80
#define COLUMNS_MAX 200
#define NAME_LEAST  12 /* columns of the name, before other things are dropped for it */

const char *progress_rate(uint64_t bytes, uint64_t us, char buf[32])
{
    double rate = (double)bytes / ((double)(us > 0 ? us : 1) / 1e6);

    if (rate >= 1e6)
        snprintf(buf, 32, "%.1f MB/s", rate / 1e6);
    else
        snprintf(buf, 32, "%.1f kB/s", rate / 1e3);
    return buf;
}

/* What stands behind the name. detail: 2 all, 1 without the time left, 0 only the part. */
static size_t tail(const struct progress *p, uint64_t at, const char *note, uint64_t now_us,
                   int detail, char *buf, size_t size)
{
    char rate[32], left[32] = "";
    uint64_t got = at > p->start_at ? at - p->start_at : 0, us = now_us - p->start_us;
    double part = p->total > 0 ? (double)at * 100 / (double)p->total : 100;
    int n;

    progress_rate(got, us, rate);
    if (got > 0 && p->total >= at)
        snprintf(left, sizeof(left), ", %.0f s left",
                 (double)(p->total - at) / (double)got * (double)us / 1e6);
    if (detail == 0)
        n = snprintf(buf, size, ": %.0f %%", part);
    else if (note != NULL)
        n = snprintf(buf, size, ": %.0f %%, %s", part, note);
    else
        n = snprintf(buf, size, ": %.0f %%, %.1f of %.1f MB, %s%s", part, (double)at / 1e6,
                     (double)p->total / 1e6, rate, detail == 2 ? left : "");
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

const char *progress_line(const struct progress *p, uint64_t at, const char *note, uint64_t now_us,
                          size_t columns, char buf[PROGRESS_LINE_MAX])
{
    char end[160], name[COLUMNS_MAX + 1];
    size_t wanted = strlen(p->what) < NAME_LEAST ? strlen(p->what) : NAME_LEAST;
    size_t len = 0, room = columns > COLUMNS_MAX ? COLUMNS_MAX - 1 : columns > 0 ? columns - 1 : 0;

    for (int detail = 2; detail >= 0; detail--) {
        len = tail(p, at, note, now_us, detail, end, sizeof(end));
        if (len + wanted <= room)
            break;
    }
    if (len >= room) { /* hardly a terminal: what fits of the part */
        snprintf(buf, PROGRESS_LINE_MAX, "%.*s", (int)(room < len ? room : len), end + 2);
        return buf;
    }
    snprintf(buf, PROGRESS_LINE_MAX, "%s%s", text_fit(p->what, room - len, name, sizeof(name)),
             end);
    return buf;
}

static size_t terminal_columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : COLUMNS;
}

void progress_begin(struct progress *p, const char *what, uint64_t total, uint64_t at,
                    uint64_t now_us)
{
    bool is_shown = p->is_shown;
    uint64_t told_us = p->told_us;

    *p = (struct progress){.what = what,
                           .total = total,
                           .start_at = at,
                           .start_us = now_us,
                           .told_us = told_us,
                           .is_terminal = isatty(STDERR_FILENO),
                           .is_shown = is_shown};
}

void progress_note(struct progress *p, uint64_t at, const char *note, uint64_t now_us)
{
    char line[PROGRESS_LINE_MAX];

    if (!p->is_terminal || p->what == NULL || (p->told_us != 0 && now_us - p->told_us < TELL_US))
        return;
    p->told_us = now_us;
    p->is_shown = true;
    fprintf(stderr, "\r%s\033[K", progress_line(p, at, note, now_us, terminal_columns(), line));
}

void progress_tell(struct progress *p, uint64_t at, uint64_t now_us)
{
    progress_note(p, at, NULL, now_us);
}

void progress_hide(struct progress *p)
{
    if (p->is_shown)
        fprintf(stderr, "\r\033[K");
    p->is_shown = false;
}
