/* SPDX-License-Identifier: MIT */
/*
 * SOCKS messages: SOCKS5 (RFC 1928) with user names and passwords (RFC 1929), SOCKS4 and SOCKS4a.
 * Pure functions; socks_conn.c has the conversation.
 *
 * Parsers return the bytes consumed (> 0), 0 when the message is not yet whole, or a negative
 * error: ADIT_EPROTO: a wrong version; -EAFNOSUPPORT: an address type that RFC 1928 does not know;
 * ADIT_EFORMAT: everything else.
 */
#ifndef ADIT_INGRESS_SOCKS_H
#define ADIT_INGRESS_SOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/target.h"

#define SOCKS_MESSAGE_MAX                                                                         \
    520                        /* bytes of the longest message: SOCKS4a with a user ID and a name \
                                */
#define SOCKS_USER_MAX     255 /* RFC 1929 2: a length octet; the same for a SOCKS4 user ID */
#define SOCKS5_REPLY_MAX   22
#define SOCKS4_REPLY_BYTES 8

enum socks_method { SOCKS_METHOD_NONE = 0, SOCKS_METHOD_PASSWORD = 2, SOCKS_METHOD_REFUSED = 0xff };

enum socks_command { SOCKS_CONNECT = 1, SOCKS_BIND = 2, SOCKS_UDP_ASSOCIATE = 3 };

/* RFC 1928 6 */
enum socks5_code {
    SOCKS5_OK = 0,
    SOCKS5_FAILED = 1,
    SOCKS5_RULESET = 2,
    SOCKS5_NET_UNREACHABLE = 3,
    SOCKS5_HOST_UNREACHABLE = 4,
    SOCKS5_REFUSED = 5,
    SOCKS5_TTL_EXPIRED = 6,
    SOCKS5_COMMAND = 7,
    SOCKS5_ADDRESS_TYPE = 8,
};

enum socks4_code { SOCKS4_OK = 90, SOCKS4_FAILED = 91 };

/* The methods that a client offers (RFC 1928 3). */
struct socks_greeting {
    bool none, password;
};

/* Credentials (RFC 1929 2), which point into the parsed bytes. Empty ones are accepted: clients
 * send them. */
struct socks_auth {
    const uint8_t *user, *password;
    uint8_t user_len, password_len;
};

struct socks_request {
    uint8_t version; /* 4 or 5 */
    uint8_t command; /* enum socks_command, or something unknown */
    /* Of a CONNECT; of other commands only addr, name and port as they stand. */
    struct target target;
    const uint8_t *user; /* SOCKS4: the user ID, pointing into the parsed bytes */
    uint8_t user_len;
};

/* Parsers: the bytes used, 0: need more, ADIT_EPROTO or ADIT_EFORMAT; of an address type that is
 * not known -EAFNOSUPPORT. Texts in the results point into data. */
int socks5_greeting_parse(const uint8_t *data, size_t len, struct socks_greeting *greeting);
int socks5_auth_parse(const uint8_t *data, size_t len, struct socks_auth *auth);
int socks5_request_parse(const uint8_t *data, size_t len, struct socks_request *request);
/* SOCKS4 and 4a. */
int socks4_request_parse(const uint8_t *data, size_t len, struct socks_request *request);

/* Builders: the bytes written. An unknown (NULL or unset) address becomes 0.0.0.0:0; SOCKS4 knows
 * no IPv6 and says 0.0.0.0 for it. */
size_t socks5_method_build(uint8_t out[2], enum socks_method method);
size_t socks5_auth_build(uint8_t out[2], bool accepted);
size_t socks5_reply_build(uint8_t out[SOCKS5_REPLY_MAX], enum socks5_code code,
                          const struct addr *bound);
size_t socks4_reply_build(uint8_t out[SOCKS4_REPLY_BYTES], enum socks4_code code,
                          const struct addr *bound);

/* What an answer is in the client's words. */
enum socks5_code socks5_code(enum answer answer);
enum socks4_code socks4_code(enum answer answer);

#endif
