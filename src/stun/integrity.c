/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Pure. An integrity or fingerprint covers all that comes before it in the message, with the header
 * saying that the message ends right behind it. For the sender that is so by itself; who verifies
 * a message in which something follows puts a copy right, of at most STUN_SIGNED_MAX bytes: a
 * longer message does not verify. Comparisons take the same time whatever is equal.
 */
#include "stun/integrity.h"

#include <string.h>

#include "crypto/hash.h"
#include "stun/bytes.h"

#define FINGERPRINT_XOR  UINT32_C(0x5354554E) /* "STUN", RFC 8489 14.7 */
#define CREDENTIAL_BYTES 2048

struct stun_bytes stun_text(const char *text)
{
    return (struct stun_bytes){(const uint8_t *)text, strlen(text)};
}

/* --- Keys --- */

int stun_key_short_term(struct stun_key *key, struct stun_bytes password)
{
    if (password.len == 0 || password.len > STUN_KEY_MAX)
        return -EINVAL;
    memcpy(key->bytes, password.bytes, password.len);
    key->len = password.len;
    return 0;
}

/* Some servers send a realm with quotes or a NUL; the key is made without them (RFC 5389 15.4). */
static struct stun_bytes unquoted(struct stun_bytes text)
{
    while (text.len > 0 && text.bytes[text.len - 1] == '\0')
        text.len--;
    if (text.len >= 2 && text.bytes[0] == '"' && text.bytes[text.len - 1] == '"') {
        text.bytes++;
        text.len -= 2;
    }
    return text;
}

/* Writes the parts with colons between them; their length, or -EINVAL. */
static int join(uint8_t out[CREDENTIAL_BYTES], const struct stun_bytes *parts, size_t count)
{
    size_t len = 0;

    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > CREDENTIAL_BYTES || len + parts[i].len + 1 > CREDENTIAL_BYTES)
            return -EINVAL;
        if (i > 0)
            out[len++] = ':';
        if (parts[i].len > 0)
            memcpy(out + len, parts[i].bytes, parts[i].len);
        len += parts[i].len;
    }
    return (int)len;
}

int stun_key_long_term(struct stun_key *key, unsigned algorithm, struct stun_bytes user,
                       struct stun_bytes realm, struct stun_bytes password)
{
    const struct stun_bytes parts[] = {user, unquoted(realm), password};
    uint8_t joined[CREDENTIAL_BYTES];
    int len = join(joined, parts, 3), result = len;

    if (len >= 0 && algorithm == STUN_ALGORITHM_MD5) {
        result = hash_md5(joined, (size_t)len, key->bytes);
        key->len = HASH_MD5_BYTES;
    } else if (len >= 0 && algorithm == STUN_ALGORITHM_SHA256) {
        result = hash_sha256(joined, (size_t)len, key->bytes);
        key->len = HASH_BYTES;
    } else if (len >= 0) {
        result = -ENOTSUP;
    }
    hash_wipe(joined, sizeof(joined));
    return result;
}

int stun_userhash(uint8_t hash[STUN_USERHASH_BYTES], struct stun_bytes user,
                  struct stun_bytes realm)
{
    const struct stun_bytes parts[] = {user, unquoted(realm)};
    uint8_t joined[CREDENTIAL_BYTES];
    int len = join(joined, parts, 2);

    return len < 0 ? len : hash_sha256(joined, (size_t)len, hash);
}

void stun_key_wipe(struct stun_key *key)
{
    hash_wipe(key, sizeof(*key));
}

/* --- Putting --- */

void stun_put_integrity(struct stun_builder *builder, const struct stun_key *key)
{
    uint8_t *mac = stun_put_room(builder, STUN_ATTR_MESSAGE_INTEGRITY, STUN_INTEGRITY_BYTES);

    if (!mac)
        return;
    if (hash_hmac_sha1(key->bytes, key->len, builder->bytes,
                       (size_t)(mac - STUN_ATTR_BYTES - builder->bytes), mac) != 0)
        builder->error = ADIT_ECRYPTO;
}

void stun_put_integrity_sha256(struct stun_builder *builder, const struct stun_key *key,
                               size_t bytes)
{
    uint8_t mac[HASH_BYTES], *value;

    if (bytes < STUN_INTEGRITY_SHA256_MIN || bytes > sizeof(mac) || bytes % 4 != 0)
        bytes = sizeof(mac);
    value = stun_put_room(builder, STUN_ATTR_MESSAGE_INTEGRITY_SHA256, bytes);
    if (!value)
        return;
    if (hash_hmac_sha256(key->bytes, key->len, builder->bytes,
                         (size_t)(value - STUN_ATTR_BYTES - builder->bytes), mac) != 0)
        builder->error = ADIT_ECRYPTO;
    memcpy(value, mac, bytes);
}

void stun_put_fingerprint(struct stun_builder *builder)
{
    uint8_t *value = stun_put_room(builder, STUN_ATTR_FINGERPRINT, 4);

    if (value)
        put32(value, FINGERPRINT_XOR ^ hash_crc32(builder->bytes, (size_t)(value - STUN_ATTR_BYTES -
                                                                           builder->bytes)));
}

/* --- Verifying --- */

/* What an attribute at the end of it covers: the bytes before it, with the header put right. False:
 * too long. */
static bool covered(const struct stun_message *message, const struct stun_attr *attr,
                    uint8_t copy[STUN_SIGNED_MAX])
{
    if (attr->offset > STUN_SIGNED_MAX)
        return false;
    memcpy(copy, message->bytes, attr->offset);
    stun_set_length(copy, attr->offset + STUN_ATTR_BYTES + padded(attr->len));
    return true;
}

enum stun_verdict stun_check_integrity(const struct stun_message *message,
                                       const struct stun_key *key)
{
    const struct stun_attr *attr = stun_find(message, STUN_ATTR_MESSAGE_INTEGRITY);
    uint8_t copy[STUN_SIGNED_MAX], mac[HASH_SHA1_BYTES];

    if (!attr)
        return STUN_VERDICT_ABSENT;
    if (attr->len != sizeof(mac) || !covered(message, attr, copy) ||
        hash_hmac_sha1(key->bytes, key->len, copy, attr->offset, mac) != 0 ||
        !hash_equal(mac, attr->value, sizeof(mac)))
        return STUN_VERDICT_WRONG;
    return STUN_VERDICT_GOOD;
}

enum stun_verdict stun_check_integrity_sha256(const struct stun_message *message,
                                              const struct stun_key *key)
{
    const struct stun_attr *attr = stun_find(message, STUN_ATTR_MESSAGE_INTEGRITY_SHA256);
    uint8_t copy[STUN_SIGNED_MAX], mac[HASH_BYTES];

    if (!attr)
        return STUN_VERDICT_ABSENT;
    if (attr->len < STUN_INTEGRITY_SHA256_MIN || attr->len > sizeof(mac) || attr->len % 4 != 0 ||
        !covered(message, attr, copy) ||
        hash_hmac_sha256(key->bytes, key->len, copy, attr->offset, mac) != 0 ||
        !hash_equal(mac, attr->value, attr->len))
        return STUN_VERDICT_WRONG;
    return STUN_VERDICT_GOOD;
}

enum stun_verdict stun_check_fingerprint(const struct stun_message *message)
{
    const struct stun_attr *attr = stun_find(message, STUN_ATTR_FINGERPRINT);
    uint32_t value;

    if (!attr)
        return STUN_VERDICT_ABSENT;
    /* It is the last one, so the header is right as it is. */
    if (stun_read_u32(attr, &value) != 0 ||
        attr->offset + STUN_ATTR_BYTES + attr->len != message->len ||
        value != (FINGERPRINT_XOR ^ hash_crc32(message->bytes, attr->offset)))
        return STUN_VERDICT_WRONG;
    return STUN_VERDICT_GOOD;
}
