/* SPDX-License-Identifier: MIT */
/*
 * Integrity: keys, MESSAGE-INTEGRITY (HMAC-SHA1), MESSAGE-INTEGRITY-SHA256 and FINGERPRINT
 * (RFC 8489 9, 14.5 to 14.7). Pure. credentials.h decides which of them to use.
 *
 * User names, realms and passwords are taken as bytes that have gone through OpaqueString (RFC 8265
 * 4.2) already; what is ASCII without control characters is its own result.
 */
#ifndef ADIT_STUN_INTEGRITY_H
#define ADIT_STUN_INTEGRITY_H

#include "stun/stun.h"

#define STUN_KEY_MAX                256 /* bytes of a key: a password, or 16 or 32 of a hash */
#define STUN_INTEGRITY_BYTES        20
#define STUN_INTEGRITY_SHA256_BYTES 32
#define STUN_INTEGRITY_SHA256_MIN   16   /* a truncated one: a multiple of 4, at least this */
#define STUN_SIGNED_MAX             8192 /* bytes before an integrity that is verified */

struct stun_key {
    uint8_t bytes[STUN_KEY_MAX];
    size_t len;
};

/* Short-term: the password itself (RFC 8489 9.1.1). 0 or -EINVAL: empty or too long. */
int stun_key_short_term(struct stun_key *key, struct stun_bytes password);
/* Long-term: the hash of user ":" realm ":" password (RFC 8489 18.5.1) by algorithm
 * STUN_ALGORITHM_X. 0, -EINVAL: too long; -ENOTSUP: another algorithm; ADIT_ECRYPTO. */
int stun_key_long_term(struct stun_key *key, unsigned algorithm, struct stun_bytes user,
                       struct stun_bytes realm, struct stun_bytes password);
/* USERHASH: SHA-256 of user ":" realm (RFC 8489 14.4). The same errors. */
int stun_userhash(uint8_t hash[STUN_USERHASH_BYTES], struct stun_bytes user,
                  struct stun_bytes realm);
void stun_key_wipe(struct stun_key *key);

/* Put the attribute at the end of what was built so far. */
void stun_put_integrity(struct stun_builder *builder, const struct stun_key *key);
/* bytes: 16 to 32, a multiple of 4; 32 is what to use. */
void stun_put_integrity_sha256(struct stun_builder *builder, const struct stun_key *key,
                               size_t bytes);
void stun_put_fingerprint(struct stun_builder *builder);

enum stun_verdict {
    STUN_VERDICT_ABSENT,
    STUN_VERDICT_GOOD,
    STUN_VERDICT_WRONG, /* or malformed */
};

/* Verify the first MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 or FINGERPRINT. */
enum stun_verdict stun_check_integrity(const struct stun_message *message,
                                       const struct stun_key *key);
enum stun_verdict stun_check_integrity_sha256(const struct stun_message *message,
                                              const struct stun_key *key);
enum stun_verdict stun_check_fingerprint(const struct stun_message *message);

/* A struct stun_bytes of a C string. */
struct stun_bytes stun_text(const char *text);

#endif
