/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the pure HTTP functions on the same bytes. What is accepted and forwarded
 * must be understood by our own strict parser as the same message, with the same framing; the
 * chunked decoder must not care how its input is cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingress/http.h"
#include "ingress/http_rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void fuzz_scan(const uint8_t *data, size_t size, bool lenient)
{
    size_t scanned = 0, pieces = 0;
    ssize_t whole = http_scan(data, size, &scanned, lenient), r = 0;

    for (size_t len = 0; len <= size && r == 0; len += 1 + len / 7)
        r = http_scan(data, len, &pieces, lenient);
    if (r == 0)
        r = http_scan(data, size, &pieces, lenient);
    require(r == whole);
}

static void fuzz_request(const uint8_t *data, size_t size)
{
    struct http_head head, again;
    struct http_url url;
    struct target target;
    char buffer[HTTP_CREDENTIALS_MAX_BYTES], *user, *password;

    ssize_t n = http_request_parse(data, size, &head);
    require(n <= (ssize_t)size);
    if (n < 0)
        require(head.refuse >= 400 && head.problem);
    if (n <= 0)
        return;
    http_authority_parse(head.target, 0, &target);
    if (head.authorization.at)
        http_basic_parse(head.authorization, buffer, &user, &password);
    if (http_url_parse(head.target, &url) < 0)
        return;
    struct slice slice = http_request_rewrite(&head, &url, size % 2);
    if (slice.len <= HTTP_HEAD_MAX_BYTES && head.count + 4 < HTTP_FIELDS_MAX) {
        require(http_request_parse(slice.data, slice.len, &again) == (ssize_t)slice.len);
        require(http_request_body(&again) == http_request_body(&head));
        require(again.length == head.length && again.chunked == head.chunked);
        require(again.minor == 1 && again.host.at && !again.authorization.at && !again.close);
        require(again.upgrades == head.upgrades && again.expects <= head.expects);
        require(again.nominated_count == 0);
    }
    slice_drop(&slice);
}

static void fuzz_response(const uint8_t *data, size_t size)
{
    struct http_head head, again;

    ssize_t n = http_response_parse(data, size, &head);
    require(n <= (ssize_t)size);
    if (n <= 0 || (head.status == 101 && !head.upgrade.at))
        return;
    struct http_response_options options = {.close = size % 2, .via = size % 3 == 0};
    struct slice slice = http_response_rewrite(&head, &options);
    if (slice.len <= HTTP_HEAD_MAX_BYTES && head.count + 4 < HTTP_FIELDS_MAX) {
        require(http_response_parse(slice.data, slice.len, &again) == (ssize_t)slice.len);
        require(again.status == head.status && again.length == head.length);
        require(http_response_body(&again, false) == http_response_body(&head, false));
        require(again.close == (options.close && head.status != 101));
    }
    slice_drop(&slice);
}

static void fuzz_chunked(const uint8_t *data, size_t size)
{
    struct http_chunked whole = {0}, pieces = {0};
    size_t at = 0, payload;
    ssize_t n = http_chunked_feed(&whole, data, size), r = 0;

    while (at < size && !pieces.done && r >= 0) {
        size_t part = 1 + at % 5 < size - at ? 1 + at % 5 : size - at;
        r = http_chunked_step(&pieces, data + at, part, &payload);
        require(r < 0 || (r > 0 && r <= (ssize_t)part));
        require(payload == 0 || (ssize_t)payload == r);
        at += r > 0 ? (size_t)r : 0;
    }
    require((n < 0) == (r < 0));
    require(n < 0 || ((size_t)n == at && whole.done == pieces.done));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_scan(data, size, false);
    fuzz_scan(data, size, true);
    fuzz_request(data, size);
    fuzz_response(data, size);
    fuzz_chunked(data, size);
    return 0;
}
