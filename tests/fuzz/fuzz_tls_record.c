/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: the input as records off the wire, none of which is authentic; and as the
 * inside of one that is, since only a peer with the keys gets past the first check: content,
 * content type and padding as it likes.
 */
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "crypto/tls_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t secret[TLS_SECRET_BYTES] = {1, 2, 3};

static void from_the_wire(const uint8_t *data, size_t size)
{
    static uint8_t out[TLS_RECORD_DATA_MAX];
    enum tls_content content;
    struct tls_key open;

    if (tls_key_init(&open, TLS_AES_128_GCM, secret, false) < 0)
        abort();
    for (;;) {
        int len = tls_record_length(data, size);

        if (len <= 0 || (size_t)len > size)
            break;
        if (tls_record_open(&open, data, (size_t)len, out, &content) >= 0)
            abort();
        data += len;
        size -= (size_t)len;
    }
    tls_key_free(&open);
}

static void from_a_peer(const uint8_t *data, size_t size)
{
    static uint8_t out[TLS_RECORD_DATA_MAX], record[TLS_RECORD_MAX + TLS_RECORD_OVERHEAD_BYTES];
    size_t max = TLS_RECORD_MAX - TLS_RECORD_OVERHEAD_BYTES, end;
    enum tls_content content;
    struct tls_key seal, open;
    int n;

    size = size < max ? size : max;
    if (tls_key_init(&seal, TLS_CHACHA20, secret, true) < 0 ||
        tls_key_init(&open, TLS_CHACHA20, secret, false) < 0 ||
        tls_record_seal(&seal, (enum tls_content)0, data, size, record) < 0 ||
        tls_record_length(record, TLS_RECORD_HEADER_BYTES) !=
            (int)(size + TLS_RECORD_OVERHEAD_BYTES))
        abort();
    n = tls_record_open(&open, record, size + TLS_RECORD_OVERHEAD_BYTES, out, &content);
    for (end = size; end > 0 && data[end - 1] == 0; end--)
        ;
    if (n >= 0
            ? (size_t)n + 1 != end || data[end - 1] != content || memcmp(out, data, (size_t)n) != 0
            : n != ADIT_EPROTO)
        abort();
    tls_key_free(&seal);
    tls_key_free(&open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    from_the_wire(data, size);
    from_a_peer(data, size);
    return 0;
}
