/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A list that only grows. Out of memory, a message is counted and not kept: what is wrong is still
 * known to be wrong.
 */
#include "config/messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

void messages_add(struct messages *messages, const char *where, int line, const char *format,
                  va_list args)
{
    char text[512];
    size_t len = 0;

    messages->count++;
    if (messages->kept == CONFIG_ERRORS_MAX)
        return;
    if (line > 0)
        len = (size_t)snprintf(text, sizeof text, "%.200s:%d: ", where, line);
    else
        len = (size_t)snprintf(text, sizeof text, "%.200s: ", where);
    vsnprintf(text + len, sizeof text - len, format, args);
    char **items = reallocarray(messages->items, messages->kept + 1, sizeof *items);
    if (items == NULL)
        return;
    messages->items = items;
    if ((items[messages->kept] = strdup(text)) != NULL)
        messages->kept++;
}

void messages_free(struct messages *messages)
{
    for (size_t i = 0; i < messages->kept; i++)
        free(messages->items[i]);
    free(messages->items);
}
