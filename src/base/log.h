/* SPDX-License-Identifier: MIT */
/*
 * Log: one line an event, key=value, on standard error. Under systemd (JOURNAL_STREAM names our
 * stderr) lines carry a <N> level prefix and no time; else an ISO 8601 time in UTC. Never pass
 * secrets; destinations of users' traffic only at LOG_DEBUG. The level is the one piece of global
 * state.
 */
#ifndef ADIT_BASE_LOG_H
#define ADIT_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* Finds out where standard error goes, and sets the level. Lines before it are plain. */
void log_init(enum log_level level);
void log_set_level(enum log_level level);
enum log_level log_level(void);
/* Parses "error", "warn", "info", "debug", "trace"; -EINVAL otherwise. */
int log_parse_level(const char *name, enum log_level *level);

/* One line, whatever the level: callers use the macros below, which cost nothing when it is off. */
__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

/* Stands for a text when one that was told already is not to be told again (FNV-1a, 64 bits). */
uint64_t log_text_hash(const char *text);

#define log_enabled(level) (__builtin_expect((level) <= log_level(), 0))
#define log_at(level, ...)                \
    do {                                  \
        if (log_enabled(level))           \
            log_line(level, __VA_ARGS__); \
    } while (0)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_trace(...) log_at(LOG_TRACE, __VA_ARGS__)

#endif
