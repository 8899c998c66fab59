/* SPDX-License-Identifier: MIT */
/*
 * Credentials: the long-term credential mechanism of RFC 8489 9.2, from the side of the client: who
 * we are, what the server has said (realm, nonce, what it can do), how a request is signed, how a
 * response is verified, and what an error response about it means. One for each server; used by one
 * leg after the other.
 */
#ifndef ADIT_STUN_CREDENTIALS_H
#define ADIT_STUN_CREDENTIALS_H

#include "stun/integrity.h"

#define CREDENTIALS_PASSWORD_MAX   255
#define CREDENTIALS_ALGORITHMS_MAX 64 /* bytes of PASSWORD-ALGORITHMS that are echoed */

struct credentials {
    /* Ours. A shared secret makes user and password anew whenever they have run out. */
    char user[STUN_USERNAME_MAX + 1];
    char password[CREDENTIALS_PASSWORD_MAX + 1];
    bool set;
    /* The server's, once it has asked. */
    bool asked;
    uint8_t realm[STUN_TEXT_MAX], nonce[STUN_TEXT_MAX];
    size_t realm_len, nonce_len;
    bool anonymous;     /* it takes USERHASH for USERNAME */
    bool sha256;        /* it offered PASSWORD-ALGORITHMS: MESSAGE-INTEGRITY-SHA256 only */
    unsigned algorithm; /* of the key: STUN_ALGORITHM_X */
    uint8_t algorithms[CREDENTIALS_ALGORITHMS_MAX]; /* PASSWORD-ALGORITHMS, to be echoed */
    size_t algorithms_len;
    struct stun_key key;
};

/* A user and a password. 0 or -EINVAL: empty or too long. */
int credentials_init(struct credentials *credentials, const char *user, const char *password);
/* Time-limited ones of a secret that the server knows (draft-uberti-behave-turn-rest): user
 * "EXPIRY[:id]", password base64(HMAC-SHA1(secret, user)). now_s is the time of day (seconds since
 * 1970). Written to user and password; what the server has said stays. 0, -EINVAL, ADIT_ECRYPTO. */
int credentials_init_secret(struct credentials *credentials, const char *secret, const char *id,
                            uint64_t now_s, uint32_t lifetime_s);
void credentials_wipe(struct credentials *credentials);
/* Forgets what a server has said: for another server, or a new start. */
void credentials_forget_server(struct credentials *credentials);

/* Signs a request: USERNAME or USERHASH, REALM, NONCE, what belongs to PASSWORD-ALGORITHMS, and the
 * integrity. Before the server has asked, nothing. FINGERPRINT may follow. */
void credentials_sign(const struct credentials *credentials, struct stun_builder *builder);
/* Verifies a response to a signed request. Before the server has asked: STUN_VERDICT_ABSENT. */
enum stun_verdict credentials_check(const struct credentials *credentials,
                                    const struct stun_message *response);

/* Whether a response may be believed: it verifies, or nothing was signed, or it is one of the
 * errors that a server sends before it knows the key (400, 401, 438, 441). For
 * transaction_request.accept. */
bool credentials_accept(const struct credentials *credentials, const struct stun_message *response);

enum credentials_answer {
    CREDENTIALS_RETRY,       /* taken over: sign the request anew, with a new id */
    CREDENTIALS_NONE,        /* the server asks, and we have no user and password */
    CREDENTIALS_REFUSED,     /* 401 to what was signed with them: wrong user or password */
    CREDENTIALS_BID_DOWN,    /* somebody took PASSWORD-ALGORITHMS out of the response, or it offers
                                less than one before it: do not go on */
    CREDENTIALS_MALFORMED,   /* no realm or nonce, or too long */
    CREDENTIALS_UNSUPPORTED, /* none of the offered algorithms is ours */
    CREDENTIALS_OTHER,       /* the response is about something else */
};

/* Takes over what a 401 or 438 says; `was_signed` tells whether the request that it answers was
 * signed. */
enum credentials_answer credentials_take(struct credentials *credentials,
                                         const struct stun_message *response, bool was_signed);

/* The security features in a nonce (RFC 8489 9.2, 18.1): true when it begins with the cookie
 * "obMatJos2" and four characters of base64; *features: 24 bits, bit 0 of the RFC the highest. */
#define STUN_FEATURE_ALGORITHMS (UINT32_C(1) << 23)
#define STUN_FEATURE_ANONYMITY  (UINT32_C(1) << 22)
bool stun_nonce_features(struct stun_bytes nonce, uint32_t *features);

#endif
