/* SPDX-License-Identifier: MIT */
/*
 * Messages: texts about a configuration, kept in order; of more than CONFIG_ERRORS_MAX the rest is
 * only counted. Private to config/.
 */
#ifndef ADIT_CONFIG_MESSAGES_H
#define ADIT_CONFIG_MESSAGES_H

#include <stdarg.h>
#include <stddef.h>

struct messages {
    char **items;
    size_t kept, count;
};

/* Adds "WHERE:LINE: text", or, for line 0, "WHERE: text". */
__attribute__((format(printf, 4, 0))) void messages_add(struct messages *messages,
                                                        const char *where, int line,
                                                        const char *format, va_list args);
void messages_free(struct messages *messages);

#endif
