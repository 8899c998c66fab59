/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A list is one piece of memory: a count of its users, and the texts one behind the other, each
 * with its NUL. Most peers have none, so that a table of thousands costs a pointer each; those that
 * have one share it between a table and the copy in which a change is made.
 *
 * What is masked is generous: everything between the user's name and the last @, wherever that is,
 * so that a password with a slash in it is not taken for a path and shown.
 */
#include "config/urls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct urls {
    uint32_t refs;
    uint32_t count;
    uint16_t offset[URLS_MAX];
    char text[];
};

bool url_is_good(const char *url)
{
    const char *scheme_end = strstr(url, "://");
    size_t len = strlen(url);

    if (len > URLS_URL_MAX || !scheme_end || scheme_end == url || !scheme_end[3])
        return false;
    for (size_t i = 0; i < len; i++)
        if (url[i] <= ' ' || url[i] > '~')
            return false;
    return true;
}

static bool is_new(const struct urls *urls, const char *url)
{
    for (size_t i = 0; i < urls->count; i++)
        if (strcmp(urls_at(urls, i), url) == 0)
            return false;
    return true;
}

int urls_new(const char *const *items, size_t count, struct urls **out)
{
    struct urls *urls;
    size_t room = 0;

    *out = NULL;
    for (size_t i = 0; i < count; i++)
        room += url_is_good(items[i]) ? strlen(items[i]) + 1 : 0;
    if (room == 0)
        return 0;
    if (room > URLS_MAX * (URLS_URL_MAX + 1))
        room = URLS_MAX * (URLS_URL_MAX + 1);
    urls = calloc(1, sizeof(*urls) + room);
    if (!urls)
        return -ENOMEM;
    urls->refs = 1;
    room = 0;
    for (size_t i = 0; i < count && urls->count < URLS_MAX; i++) {
        if (!url_is_good(items[i]) || !is_new(urls, items[i]))
            continue;
        urls->offset[urls->count++] = (uint16_t)room;
        strcpy(urls->text + room, items[i]);
        room += strlen(items[i]) + 1;
    }
    *out = urls;
    return 0;
}

struct urls *urls_ref(struct urls *urls)
{
    if (urls)
        urls->refs++;
    return urls;
}

void urls_unref(struct urls *urls)
{
    if (urls && --urls->refs == 0)
        free(urls);
}

size_t urls_count(const struct urls *urls)
{
    return urls ? urls->count : 0;
}

const char *urls_at(const struct urls *urls, size_t index)
{
    return urls->text + urls->offset[index];
}

bool urls_equal(const struct urls *a, const struct urls *b)
{
    if (urls_count(a) != urls_count(b))
        return false;
    for (size_t i = 0; i < urls_count(a); i++)
        if (strcmp(urls_at(a, i), urls_at(b, i)) != 0)
            return false;
    return true;
}

char *url_mask(const char *url, char buf[URLS_URL_MAX + 8])
{
    const char *scheme_end = strstr(url, "://"), *at = strrchr(url, '@');
    const char *user = scheme_end ? scheme_end + 3 : url;
    const char *colon = at && at > user ? memchr(user, ':', (size_t)(at - user)) : NULL;
    const char *rest = colon ? at : url, *query;
    size_t len = 0, size = URLS_URL_MAX + 8;

    if (colon) {
        len = (size_t)(colon + 1 - url);
        len = len < size - 8 ? len : size - 8;
        memcpy(buf, url, len);
        memcpy(buf + len, "***", 3);
        len += 3;
    }
    query = strchr(rest, '?');
    for (; *rest && rest != query && len < size - 5; rest++)
        buf[len++] = *rest;
    buf[len] = '\0';
    if (query)
        strcpy(buf + len, "?***");
    return buf;
}
