/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: every SOCKS parser on the same bytes. What a parser says about a message
 * must not depend on what follows it, and a shorter piece is either not whole or refused for the
 * same reason.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ingress/socks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

union result {
    struct socks_greeting greeting;
    struct socks_auth auth;
    struct socks_request request;
};

static int parse(int which, const uint8_t *data, size_t size, union result *result)
{
    switch (which) {
    case 0:
        return socks5_greeting_parse(data, size, &result->greeting);
    case 1:
        return socks5_auth_parse(data, size, &result->auth);
    case 2:
        return socks5_request_parse(data, size, &result->request);
    default:
        return socks4_request_parse(data, size, &result->request);
    }
}

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int which = 0; which < 4; which++) {
        union result result, again;
        int n = parse(which, data, size, &result);
        require(n <= (int)size);
        require(n != 0 || size < SOCKS_MESSAGE_MAX);
        if (n > 0) {
            require(n <= SOCKS_MESSAGE_MAX);
            uint8_t *exact = malloc((size_t)n);
            memcpy(exact, data, (size_t)n);
            require(parse(which, exact, (size_t)n, &again) == n);
            free(exact);
        }
        size_t whole = n > 0 ? (size_t)n : size < SOCKS_MESSAGE_MAX ? size : SOCKS_MESSAGE_MAX;
        for (size_t part = 0; part < whole; part++) {
            int r = parse(which, data, part, &again);
            require(r == 0 || (n < 0 && r == n));
        }
        if (n > 0 && which >= 2 && result.request.command == SOCKS_CONNECT)
            require(result.request.target.port != 0);
    }
    return 0;
}
