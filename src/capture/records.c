/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 *     TLS:  type 1, version 2, length 2, bytes                               RFC 8446 5.1
 *     DTLS: type 1, version 2, epoch 2, sequence 6, length 2, bytes          RFC 6347 4.1
 *     DTLS 1.3, encrypted: 001CSLEE, then short numbers                      RFC 9147 4
 *
 * Handshake messages can be named until the connection is encrypted: in TLS 1.2 from
 * ChangeCipherSpec on, where their type would be random bytes. What has no known type is called
 * encrypted.
 */
#include "capture/records.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TLS_HEADER     5
#define DTLS_HEADER    13
#define TLS_RECORD_MAX (16384 + 2048)

static unsigned be16(const uint8_t *b)
{
    return (unsigned)b[0] << 8 | b[1];
}

bool records_are_tls(const uint8_t *bytes, size_t len)
{
    return len >= 3 && bytes[0] >= 20 && bytes[0] <= 24 && bytes[1] == 3 && bytes[2] <= 4;
}

bool records_are_dtls(const uint8_t *bytes, size_t len, bool begun)
{
    if (len >= DTLS_HEADER && bytes[0] >= 20 && bytes[0] <= 26)
        return bytes[1] == 0xFE && (bytes[2] == 0xFF || bytes[2] == 0xFD || bytes[2] == 0xFC);
    return begun && len >= 3 && bytes[0] >> 5 == 1;
}

bool records_are_rtp(const uint8_t *bytes, size_t len)
{
    return len >= 8 && bytes[0] >= 128 && bytes[0] <= 191;
}

int records_tls_frame(const uint8_t *bytes, size_t len)
{
    if (len < TLS_HEADER)
        return 0;
    if (!records_are_tls(bytes, len) || be16(bytes + 3) > TLS_RECORD_MAX)
        return -1;
    return TLS_HEADER + (int)be16(bytes + 3);
}

struct text {
    char *buf;
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text->buf + text->len, RECORDS_TEXT_MAX - text->len, format, args);
    va_end(args);
    if (n > 0)
        text->len +=
            (size_t)n < RECORDS_TEXT_MAX - text->len ? (size_t)n : RECORDS_TEXT_MAX - 1 - text->len;
}

static const char *handshake_name(unsigned type)
{
    switch (type) {
    case 0:
        return "HelloRequest";
    case 1:
        return "ClientHello";
    case 2:
        return "ServerHello";
    case 3:
        return "HelloVerifyRequest";
    case 4:
        return "NewSessionTicket";
    case 8:
        return "EncryptedExtensions";
    case 11:
        return "Certificate";
    case 12:
        return "ServerKeyExchange";
    case 13:
        return "CertificateRequest";
    case 14:
        return "ServerHelloDone";
    case 15:
        return "CertificateVerify";
    case 16:
        return "ClientKeyExchange";
    case 20:
        return "Finished";
    case 22:
        return "CertificateStatus";
    }
    return NULL;
}

static const char *alert_name(unsigned code)
{
    switch (code) {
    case 0:
        return "close notify";
    case 10:
        return "unexpected message";
    case 20:
        return "bad record MAC";
    case 40:
        return "handshake failure";
    case 42:
        return "bad certificate";
    case 43:
        return "unsupported certificate";
    case 44:
        return "certificate revoked";
    case 45:
        return "certificate expired";
    case 46:
        return "certificate unknown";
    case 48:
        return "unknown authority";
    case 70:
        return "protocol version";
    case 71:
        return "insufficient security";
    case 80:
        return "internal error";
    case 112:
        return "unrecognised name";
    case 116:
        return "certificate required";
    case 120:
        return "no application protocol";
    }
    return "another reason";
}

/* The server's name in a ClientHello (RFC 6066 3), whose body (after its header) this is. */
static void add_server_name(struct text *text, const uint8_t *b, size_t len, bool dtls)
{
    size_t at = 34, end; /* version 2, random 32 */

    for (int i = 0; i < (dtls ? 4 : 3); i++) { /* session, (cookie,) suites, compressions */
        bool wide = i == (dtls ? 2 : 1);
        if (len < at + 2)
            return;
        at += wide ? 2 + be16(b + at) : 1u + b[at];
    }
    if (len < at + 2)
        return;
    end = at + 2 + be16(b + at);
    at += 2;
    if (end > len)
        end = len;
    while (at + 4 <= end) {
        unsigned type = be16(b + at), size = be16(b + at + 2);

        at += 4;
        if (type == 0 && size >= 5 && at + size <= end && be16(b + at + 3) + 5u <= size) {
            add(text, " for ");
            for (unsigned i = 0; i < be16(b + at + 3); i++) {
                uint8_t c = b[at + 5 + i];
                add(text, "%c", c > 0x20 && c < 0x7F ? c : '?');
            }
            return;
        }
        at += size;
    }
}

static void add_handshake(struct text *text, const uint8_t *b, size_t len, bool dtls)
{
    size_t head = dtls ? 12 : 4;

    for (size_t at = 0, first = 1; at < len; first = 0) {
        const char *name = handshake_name(b[at]);
        size_t size;

        if (len - at < head || !name ||
            (size = (size_t)b[at + 1] << 16 | be16(b + at + 2)) > 65535) {
            add(text, first ? "handshake, encrypted" : "");
            return;
        }
        add(text, "%s%s", first ? "" : ", ", name);
        if (dtls) /* a fragment of it */
            size = (size_t)b[at + 9] << 16 | be16(b + at + 10);
        if (b[at] == 1)
            add_server_name(text, b + at + head, size < len - at - head ? size : len - at - head,
                            dtls);
        at += head + size;
    }
}

static void add_record(struct text *text, unsigned type, const uint8_t *b, size_t len, size_t full,
                       bool dtls, bool encrypted)
{
    switch (type) {
    case 20:
        add(text, "ChangeCipherSpec");
        return;
    case 21:
        if (full == 2 && len == 2 && !encrypted)
            add(text, "alert: %s", alert_name(b[1]));
        else
            add(text, "alert, encrypted");
        return;
    case 22:
        if (encrypted)
            add(text, "handshake, encrypted");
        else
            add_handshake(text, b, len, dtls);
        return;
    case 23:
        add(text, "application data, %zu bytes", full);
        return;
    case 24:
        add(text, "heartbeat");
        return;
    case 25:
        add(text, "encrypted with a connection id, %zu bytes", full);
        return;
    case 26:
        add(text, "ACK");
        return;
    }
    add(text, "record of type %u, %zu bytes", type, full);
}

const char *records_describe(const uint8_t *bytes, size_t len, bool *encrypted,
                             char buf[RECORDS_TEXT_MAX])
{
    struct text text = {.buf = buf};
    bool dtls = !records_are_tls(bytes, len);
    size_t head = dtls ? DTLS_HEADER : TLS_HEADER, full, size;

    buf[0] = '\0';
    if (dtls && len > 0 && bytes[0] >> 5 == 1) {
        add(&text, "DTLS 1.3: encrypted, %zu bytes", len);
        return buf;
    }
    add(&text, dtls ? "DTLS: " : "TLS: ");
    for (size_t at = 0; at < len; at += head + size) {
        if (at > 0)
            add(&text, ", ");
        if (len - at < head) {
            add(&text, "cut off");
            break;
        }
        full = be16(bytes + at + head - 2);
        size = full < len - at - head ? full : len - at - head;
        add_record(&text, bytes[at], bytes + at + head, size, full, dtls,
                   dtls ? be16(bytes + at + 3) > 0 : *encrypted);
        *encrypted |= bytes[at] == 20;
    }
    return buf;
}

const char *records_describe_rtp(const uint8_t *bytes, size_t len, char buf[RECORDS_TEXT_MAX])
{
    if (bytes[1] >= 192 && bytes[1] <= 223) /* RFC 5761 4 */
        snprintf(buf, RECORDS_TEXT_MAX, "RTCP, type %u, %zu bytes", bytes[1], len);
    else
        snprintf(buf, RECORDS_TEXT_MAX, "RTP, payload type %u, number %u, %zu bytes",
                 bytes[1] & 0x7F, be16(bytes + 2), len);
    return buf;
}
