/* SPDX-License-Identifier: MIT */
/*
 * URLs: a short list of URLs that never changes once made, and is shared by counting; and how a URL
 * is shown to people, for it may hold a password. Of brokers, so far.
 */
#ifndef ADIT_CONFIG_URLS_H
#define ADIT_CONFIG_URLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define URLS_MAX     8   /* as TICKET_BROKERS_MAX */
#define URLS_URL_MAX 255 /* as TICKET_URL_MAX */

/* No list and an empty one are the same: NULL. One thread. */
struct urls;

/* The good ones of these (url_is_good()), each once, URLS_MAX at most. 0 and *urls (NULL: none is
 * left), or -ENOMEM. */
int urls_new(const char *const *items, size_t count, struct urls **urls);
struct urls *urls_ref(struct urls *urls); /* NULL: NULL */
void urls_unref(struct urls *urls);       /* NULL: nothing */
size_t urls_count(const struct urls *urls);
const char *urls_at(const struct urls *urls, size_t index);
bool urls_equal(const struct urls *a, const struct urls *b);

/* SCHEME://..., of 1 to URLS_URL_MAX printable characters without spaces. */
bool url_is_good(const char *url);
/* The URL with *** for its password and its query; the buffer is returned. */
char *url_mask(const char *url, char buf[URLS_URL_MAX + 8]);

#endif
