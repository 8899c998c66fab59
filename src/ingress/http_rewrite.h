/* SPDX-License-Identifier: MIT */
/*
 * Heads as a proxy forwards them (RFC 9110 7.6): start line in our version, hop-by-hop fields
 * removed, framing and connection fields written anew. Pure functions; the slice is the caller's.
 */
#ifndef ADIT_INGRESS_HTTP_REWRITE_H
#define ADIT_INGRESS_HTTP_REWRITE_H

#include "base/slice.h"
#include "ingress/http.h"

/* An absolute-form request as an origin-form one: Host from the URL, `via` adds a Via field (RFC
 * 9110 7.6.3). */
struct slice http_request_rewrite(const struct http_head *request, const struct http_url *url,
                                  bool via);

/* A response for the client. unchunk: the body will be sent without its chunked coding; close: the
 * connection ends after it. */
struct http_response_options {
    bool unchunk, close, via;
};
struct slice http_response_rewrite(const struct http_head *response,
                                   const struct http_response_options *options);

#endif
