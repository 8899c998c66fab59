/* SPDX-License-Identifier: MIT */
/*
 * Records: what can be said of TLS and DTLS, and of RTP, without keys. Pure.
 */
#ifndef ADIT_CAPTURE_RECORDS_H
#define ADIT_CAPTURE_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORDS_TEXT_MAX 256

/* Whether bytes begin like a record of TLS, or of DTLS; of DTLS 1.3's encrypted ones only the first
 * bits are known, so that they count only after others (begun). */
bool records_are_tls(const uint8_t *bytes, size_t len);
bool records_are_dtls(const uint8_t *bytes, size_t len, bool begun);
/* Whether a datagram is RTP or RTCP, by its version (RFC 7983). */
bool records_are_rtp(const uint8_t *bytes, size_t len);
/* Length of the TLS record at the front, once its header is there; 0: more is needed; -1: none. */
int records_tls_frame(const uint8_t *bytes, size_t len);
/* All records in so many bytes: "TLS: ClientHello for turn.example, application data, 52 bytes".
 * The last may be cut off. *encrypted: this side of a TLS connection has said ChangeCipherSpec;
 * kept up to date. Returns buf. */
const char *records_describe(const uint8_t *bytes, size_t len, bool *encrypted,
                             char buf[RECORDS_TEXT_MAX]);
const char *records_describe_rtp(const uint8_t *bytes, size_t len, char buf[RECORDS_TEXT_MAX]);

#endif
