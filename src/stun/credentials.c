/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The first request to a server goes out unsigned; the server answers 401 with its realm and a
 * nonce, and credentials_take() makes the key of them. From then on every request is signed. When
 * the nonce has got old the server says so with 438 and gives another one, to a request of whatever
 * method; that is never a failure. A second 401 about the same user, realm and password is.
 *
 * RFC 8489's additions are used where the server offers them, never else: a server from before
 * answers 420 to MESSAGE-INTEGRITY-SHA256. Of PASSWORD-ALGORITHMS, SHA-256 is taken if it is there,
 * else MD5 (RFC 8656 6: the stronger); the list is echoed, so that the server sees if somebody has
 * shortened it. The nonce says which of the additions the server has, under its own protection: if
 * the nonce announces algorithms and the response has none, somebody took them out, and the
 * exchange ends (RFC 8489 9.2.5).
 *
 * Neither a 401 nor a 438 is signed, so anybody on the path can make one. What a server has offered
 * it therefore cannot take back (until credentials_forget_server()): a 438 that offers less gives
 * us a nonce and nothing else, and we go on signing as before; a 401 that does is a bid-down.
 * Without that, one forged error in the middle of an allocation would turn SHA-256 into MD5 and
 * SHA-1, and USERHASH into a name. A 438 need not have the cookie nor the list for that: RFC
 * 8489 9.2.5 has us retry with its nonce, and a nonce that is not the server's only draws another
 * 438.
 *
 * Users, realms and passwords are used as they are. OpaqueString (RFC 8265) would map non-ASCII
 * spaces and compose what is decomposed (NFC); who configures such a password writes it so.
 */
#include "stun/credentials.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "crypto/hash.h"

#define NONCE_COOKIE     "obMatJos2" /* RFC 8489 9.2 */
#define NONCE_COOKIE_LEN 9

static bool is_set(const char *text, size_t cap)
{
    return text && text[0] && strlen(text) < cap;
}

/* The key of what is known now; 0 or an error. */
static int make_key(struct credentials *c)
{
    return stun_key_long_term(&c->key, c->algorithm, stun_text(c->user),
                              (struct stun_bytes){c->realm, c->realm_len}, stun_text(c->password));
}

int credentials_init(struct credentials *credentials, const char *user, const char *password)
{
    memset(credentials, 0, sizeof(*credentials));
    if (!is_set(user, sizeof(credentials->user)) ||
        !is_set(password, sizeof(credentials->password)))
        return -EINVAL;
    strcpy(credentials->user, user);
    strcpy(credentials->password, password);
    credentials->set = true;
    return 0;
}

int credentials_init_secret(struct credentials *credentials, const char *secret, const char *id,
                            uint64_t now_s, uint32_t lifetime_s)
{
    uint8_t mac[HASH_SHA1_BYTES];
    int len;

    static_assert(HASH_BASE64_BYTES(HASH_SHA1_BYTES) <= sizeof(credentials->password), "room");
    if (!secret || !secret[0])
        return -EINVAL;
    len = snprintf(credentials->user, sizeof(credentials->user), "%llu%s%s",
                   (unsigned long long)(now_s + lifetime_s), id && id[0] ? ":" : "", id ? id : "");
    if (len < 0 || (size_t)len >= sizeof(credentials->user))
        return -EINVAL;
    if (hash_hmac_sha1(secret, strlen(secret), credentials->user, (size_t)len, mac) != 0)
        return ADIT_ECRYPTO;
    hash_base64(mac, sizeof(mac), credentials->password);
    hash_wipe(mac, sizeof(mac));
    credentials->set = true;
    return credentials->asked ? make_key(credentials) : 0;
}

void credentials_wipe(struct credentials *credentials)
{
    hash_wipe(credentials, sizeof(*credentials));
}

void credentials_forget_server(struct credentials *credentials)
{
    stun_key_wipe(&credentials->key);
    credentials->asked = credentials->anonymous = credentials->sha256 = false;
    credentials->realm_len = credentials->nonce_len = credentials->algorithms_len = 0;
}

void credentials_sign(const struct credentials *credentials, struct stun_builder *builder)
{
    const struct credentials *c = credentials;
    struct stun_bytes realm = {c->realm, c->realm_len};
    uint8_t hash[STUN_USERHASH_BYTES];

    if (!c->set || !c->asked)
        return;
    if (c->anonymous && stun_userhash(hash, stun_text(c->user), realm) == 0)
        stun_put(builder, STUN_ATTR_USERHASH, hash, sizeof(hash));
    else
        stun_put_text(builder, STUN_ATTR_USERNAME, c->user);
    stun_put(builder, STUN_ATTR_REALM, c->realm, c->realm_len);
    stun_put(builder, STUN_ATTR_NONCE, c->nonce, c->nonce_len);
    if (!c->sha256) {
        stun_put_integrity(builder, &c->key);
        return;
    }
    stun_put(builder, STUN_ATTR_PASSWORD_ALGORITHMS, c->algorithms, c->algorithms_len);
    stun_put_algorithm(builder, &(struct stun_algorithm){.id = (uint16_t)c->algorithm});
    stun_put_integrity_sha256(builder, &c->key, STUN_INTEGRITY_SHA256_BYTES);
}

enum stun_verdict credentials_check(const struct credentials *credentials,
                                    const struct stun_message *response)
{
    if (!credentials->set || !credentials->asked)
        return STUN_VERDICT_ABSENT;
    return credentials->sha256 ? stun_check_integrity_sha256(response, &credentials->key)
                               : stun_check_integrity(response, &credentials->key);
}

bool credentials_accept(const struct credentials *credentials, const struct stun_message *response)
{
    enum stun_verdict verdict = credentials_check(credentials, response);
    struct stun_error error;

    if (!credentials->set || !credentials->asked || verdict == STUN_VERDICT_GOOD)
        return true;
    if (response->class != STUN_ERROR ||
        stun_read_error(stun_find(response, STUN_ATTR_ERROR_CODE), &error) != 0)
        return false;
    /* An integrity in these would be made with the key of another user or password. coturn looks at
     * the user before it looks at the key, and says 441 without a signature. */
    return error.code == STUN_UNAUTHENTICATED || error.code == STUN_STALE_NONCE ||
           ((error.code == STUN_BAD_REQUEST || error.code == STUN_WRONG_CREDENTIALS) &&
            verdict == STUN_VERDICT_ABSENT);
}

/* --- What a server says --- */

static int base64_digit(uint8_t c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

bool stun_nonce_features(struct stun_bytes nonce, uint32_t *features)
{
    uint32_t bits = 0;

    if (nonce.len < NONCE_COOKIE_LEN + 4 ||
        memcmp(nonce.bytes, NONCE_COOKIE, NONCE_COOKIE_LEN) != 0)
        return false;
    for (size_t i = 0; i < 4; i++) {
        int digit = base64_digit(nonce.bytes[NONCE_COOKIE_LEN + i]);

        if (digit < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit;
    }
    *features = bits;
    return true;
}

/* Which algorithm to use of those that the response offers; 0: none of ours. */
static unsigned choose_algorithm(const struct stun_attr *attr)
{
    struct stun_algorithm offered[STUN_ALGORITHMS_MAX];
    unsigned best = 0;
    size_t count;

    if (stun_read_algorithms(attr, offered, &count) != 0)
        return 0;
    for (size_t i = 0; i < count; i++)
        if ((offered[i].id == STUN_ALGORITHM_MD5 || offered[i].id == STUN_ALGORITHM_SHA256) &&
            offered[i].parameters.len == 0 && offered[i].id > best)
            best = offered[i].id;
    return best;
}

static bool same(struct stun_bytes a, const uint8_t *b, size_t len)
{
    return a.len == len && memcmp(a.bytes, b, len) == 0;
}

/* Takes over realm, nonce and algorithms, which have been looked at. */
static enum credentials_answer take_over(struct credentials *c, struct stun_bytes realm,
                                         struct stun_bytes nonce, const struct stun_attr *offer,
                                         bool anonymous, unsigned algorithm)
{
    memmove(c->realm, realm.bytes, realm.len); /* it may be the one we have */
    c->realm_len = realm.len;
    memcpy(c->nonce, nonce.bytes, nonce.len);
    c->nonce_len = nonce.len;
    c->anonymous = anonymous;
    c->sha256 = offer != NULL;
    c->algorithm = algorithm;
    c->algorithms_len = offer ? offer->len : 0;
    if (offer)
        memcpy(c->algorithms, offer->value, offer->len);
    c->asked = true;
    return make_key(c) == 0 ? CREDENTIALS_RETRY : CREDENTIALS_UNSUPPORTED;
}

/* Whether less is offered than this server had offered before. */
static bool takes_back(const struct credentials *c, const struct stun_attr *offer,
                       unsigned algorithm, bool anonymous)
{
    return c->asked &&
           ((c->sha256 && (!offer || algorithm < c->algorithm)) || (c->anonymous && !anonymous));
}

static bool copy_fits(const struct stun_attr *offer)
{
    return !offer || offer->len <= CREDENTIALS_ALGORITHMS_MAX;
}

enum credentials_answer credentials_take(struct credentials *credentials,
                                         const struct stun_message *response, bool was_signed)
{
    const struct stun_attr *offer = stun_find(response, STUN_ATTR_PASSWORD_ALGORITHMS);
    struct credentials *c = credentials;
    struct stun_bytes realm = {c->realm, c->realm_len}, nonce;
    unsigned algorithm = STUN_ALGORITHM_MD5;
    struct stun_error error;
    uint32_t features = 0;
    bool is_stale;

    if (stun_read_error(stun_find(response, STUN_ATTR_ERROR_CODE), &error) != 0 ||
        (error.code != STUN_UNAUTHENTICATED && error.code != STUN_STALE_NONCE))
        return CREDENTIALS_OTHER;
    is_stale = error.code == STUN_STALE_NONCE;
    if (!c->set)
        return CREDENTIALS_NONE;
    if (stun_read_bytes(stun_find(response, STUN_ATTR_NONCE), &nonce) != 0)
        return CREDENTIALS_MALFORMED;
    /* Some leave the realm out of a 438. */
    if (stun_read_bytes(stun_find(response, STUN_ATTR_REALM), &realm) != 0 &&
        (!c->asked || !is_stale))
        return CREDENTIALS_MALFORMED;
    if (stun_nonce_features(nonce, &features) && features & STUN_FEATURE_ALGORITHMS && !offer)
        return CREDENTIALS_BID_DOWN;
    if (!copy_fits(offer))
        return CREDENTIALS_MALFORMED;
    if (offer && (algorithm = choose_algorithm(offer)) == 0)
        return CREDENTIALS_UNSUPPORTED;
    if (!is_stale && was_signed && same(realm, c->realm, c->realm_len))
        return CREDENTIALS_REFUSED;
    if (!takes_back(c, offer, algorithm, features & STUN_FEATURE_ANONYMITY))
        return take_over(c, realm, nonce, offer, features & STUN_FEATURE_ANONYMITY, algorithm);
    if (!is_stale)
        return CREDENTIALS_BID_DOWN;
    memcpy(c->nonce, nonce.bytes, nonce.len);
    c->nonce_len = nonce.len;
    return CREDENTIALS_RETRY;
}
