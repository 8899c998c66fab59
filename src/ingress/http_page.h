/* SPDX-License-Identifier: MIT */
/*
 * What this proxy says itself in HTTP: error pages with their status, a Proxy-Status field (RFC
 * 9209), and a remedy in plain words; and the proxy auto-configuration file. Pure functions; slices
 * are the caller's.
 */
#ifndef ADIT_INGRESS_HTTP_PAGE_H
#define ADIT_INGRESS_HTTP_PAGE_H

#include "base/slice.h"
#include "base/target.h"

#define HTTP_PAGE_TEXT_MAX 1024 /* bytes of a page's text; longer is cut */

struct http_page {
    unsigned status;
    const char *details; /* what the field says of it; NULL: nothing */
    const char *error;   /* a proxy error type (RFC 9209 2.3); NULL: no Proxy-Status field */
    const char *fields;  /* further fields, each with its CR LF; NULL: none */
    const char *type;    /* Content-Type; NULL: plain text */
    char text[HTTP_PAGE_TEXT_MAX];
};

/* The whole response. close: "Connection: close" is in it; to_head: without the text. */
struct slice http_page_build(const struct http_page *page, bool close, bool to_head);

/* Pages: each fills *page. */
/* why: what is behind it, in plain words (struct outlet); lent until the page is built; NULL: not
 * known. */
void http_page_answer(struct http_page *page, enum answer answer, const struct target *target,
                      const char *why);
void http_page_problem(struct http_page *page, unsigned status, const char *problem);
void http_page_upstream(struct http_page *page, const char *error, const char *problem);
void http_page_credentials(struct http_page *page);
/* For a request that asks the proxy itself for a path; `at` is the address that the client
 * connected to, NULL if it has none. */
void http_page_help(struct http_page *page, unsigned status, const struct addr *at);
void http_page_pac(struct http_page *page, const struct addr *at);

#endif
