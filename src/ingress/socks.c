/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One function a message. Each looks first whether the message is whole, and only then at what it
 * says, so that no answer depends on how the bytes were cut; but what can never become right (a
 * wrong version, an unknown address type, a SOCKS4 string that is too long) is refused without
 * waiting for the rest.
 *
 * Nothing is allocated or kept: results are copied, or point into the bytes given. No message is
 * longer than SOCKS_MESSAGE_MAX, so a caller that collects so many bytes always gets an answer.
 */
#include "ingress/socks.h"

#include <string.h>

#include "base/err.h"

enum {
    SOCKS_ATYP_V4 = 1,
    SOCKS_ATYP_NAME = 3,
    SOCKS_ATYP_V6 = 4,
    SOCKS_AUTH_VERSION = 1, /* RFC 1929 2: of the subnegotiation, not of SOCKS */
    SOCKS4_HEADER_BYTES = 8,
};

static uint16_t get_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/*
 *  +----+----------+----------+
 *  |VER | NMETHODS | METHODS  |   RFC 1928 3
 *  +----+----------+----------+
 *  | 1  |    1     | 1 to 255 |
 */
int socks5_greeting_parse(const uint8_t *data, size_t len, struct socks_greeting *greeting)
{
    memset(greeting, 0, sizeof *greeting);
    if (len >= 1 && data[0] != 5)
        return ADIT_EPROTO;
    if (len < 2 || len < 2u + data[1])
        return 0;
    for (size_t i = 0; i < data[1]; i++) {
        greeting->none |= data[2 + i] == SOCKS_METHOD_NONE;
        greeting->password |= data[2 + i] == SOCKS_METHOD_PASSWORD;
    }
    return 2 + data[1];
}

/*
 *  +----+------+----------+------+----------+
 *  |VER | ULEN |  UNAME   | PLEN |  PASSWD  |   RFC 1929 2
 *  +----+------+----------+------+----------+
 *  | 1  |  1   | 1 to 255 |  1   | 1 to 255 |
 */
int socks5_auth_parse(const uint8_t *data, size_t len, struct socks_auth *auth)
{
    memset(auth, 0, sizeof *auth);
    if (len >= 1 && data[0] != SOCKS_AUTH_VERSION)
        return ADIT_EPROTO;
    if (len < 2)
        return 0;
    size_t user_len = data[1];
    if (len < 2 + user_len + 1)
        return 0;
    size_t password_len = data[2 + user_len];
    if (len < 2 + user_len + 1 + password_len)
        return 0;
    auth->user = data + 2;
    auth->user_len = (uint8_t)user_len;
    auth->password = data + 2 + user_len + 1;
    auth->password_len = (uint8_t)password_len;
    return (int)(2 + user_len + 1 + password_len);
}

/* A target from a name or, already set, an address. CONNECT needs one that can be connected to;
 * BIND and UDP ASSOCIATE may name port 0 and any address. */
static int request_set_target(struct socks_request *request, const struct addr *addr,
                              const uint8_t *name, size_t name_len, uint16_t port)
{
    struct target *target = &request->target;

    if (request->command != SOCKS_CONNECT) {
        if (addr)
            target->addr = *addr;
        else if (!memchr(name, 0, name_len))
            memcpy(target->name, name, name_len);
        target->port = port;
        return 0;
    }
    if (!addr)
        return target_set(target, (const char *)name, name_len, port) == 0 ? 0 : ADIT_EFORMAT;
    if (port == 0)
        return ADIT_EFORMAT;
    target->addr = *addr;
    target->port = port;
    return 0;
}

/*
 *  +----+-----+-------+------+----------+----------+
 *  |VER | CMD |  RSV  | ATYP | DST.ADDR | DST.PORT |   RFC 1928 4
 *  +----+-----+-------+------+----------+----------+
 *  | 1  |  1  | X'00' |  1   | Variable |    2     |
 */
int socks5_request_parse(const uint8_t *data, size_t len, struct socks_request *request)
{
    memset(request, 0, sizeof *request);
    if (len >= 1 && data[0] != 5)
        return ADIT_EPROTO;
    if (len < 4)
        return 0;
    request->version = 5;
    request->command = data[1]; /* RSV is not looked at: nothing depends on it */

    size_t at = 4, addr_len = 0;
    switch (data[3]) {
    case SOCKS_ATYP_V4:
        addr_len = 4;
        break;
    case SOCKS_ATYP_V6:
        addr_len = 16;
        break;
    case SOCKS_ATYP_NAME:
        if (len < 5)
            return 0;
        at = 5;
        addr_len = data[4];
        break;
    default:
        return -EAFNOSUPPORT;
    }
    if (len < at + addr_len + 2)
        return 0;

    uint16_t port = get_u16(data + at + addr_len);
    struct addr addr = {.family = data[3] == SOCKS_ATYP_V6 ? AF_INET6 : AF_INET, .port = port};
    bool is_name = data[3] == SOCKS_ATYP_NAME;
    if (!is_name)
        memcpy(addr.ip.bytes, data + at, addr_len);
    int r = request_set_target(request, is_name ? NULL : &addr, data + at, addr_len, port);
    return r < 0 ? r : (int)(at + addr_len + 2);
}

/* The length of a NUL-terminated string at `at`; SIZE_MAX: not yet whole; a string of more than
 * `max` is `max + 1`. */
static size_t socks4_string(const uint8_t *data, size_t len, size_t at, size_t max)
{
    size_t have = len - at;
    const uint8_t *nul = memchr(data + at, 0, have < max + 1 ? have : max + 1);
    if (nul)
        return (size_t)(nul - (data + at));
    return have > max ? max + 1 : SIZE_MAX;
}

/*
 *  +----+----+---------+-------+--------+------+ . . . . . . +
 *  | VN | CD | DSTPORT | DSTIP | USERID | NULL | NAME   NULL |   4a: DSTIP is 0.0.0.x, x not 0
 *  +----+----+---------+-------+--------+------+ . . . . . . +
 *  | 1  | 1  |    2    |   4   |  var.  |  1   |
 */
int socks4_request_parse(const uint8_t *data, size_t len, struct socks_request *request)
{
    memset(request, 0, sizeof *request);
    if (len >= 1 && data[0] != 4)
        return ADIT_EPROTO;
    if (len < SOCKS4_HEADER_BYTES)
        return 0;
    request->version = 4;
    request->command = data[1];

    size_t user_len = socks4_string(data, len, SOCKS4_HEADER_BYTES, SOCKS_USER_MAX);
    if (user_len == SIZE_MAX)
        return 0;
    if (user_len > SOCKS_USER_MAX)
        return ADIT_EFORMAT;
    request->user = data + SOCKS4_HEADER_BYTES;
    request->user_len = (uint8_t)user_len;

    size_t end = SOCKS4_HEADER_BYTES + user_len + 1;
    uint16_t port = get_u16(data + 2);
    struct addr addr = {.family = AF_INET, .port = port};
    memcpy(addr.ip.bytes, data + 4, 4);
    bool is_4a = data[4] == 0 && data[5] == 0 && data[6] == 0 && data[7] != 0;
    int r;
    if (!is_4a) {
        r = request_set_target(request, &addr, NULL, 0, port);
        return r < 0 ? r : (int)end;
    }

    size_t name_len = socks4_string(data, len, end, TARGET_NAME_MAX);
    if (name_len == SIZE_MAX)
        return 0;
    if (name_len > TARGET_NAME_MAX)
        return ADIT_EFORMAT;
    r = request_set_target(request, NULL, data + end, name_len, port);
    return r < 0 ? r : (int)(end + name_len + 1);
}

size_t socks5_method_build(uint8_t out[2], enum socks_method method)
{
    out[0] = 5;
    out[1] = (uint8_t)method;
    return 2;
}

size_t socks5_auth_build(uint8_t out[2], bool accepted)
{
    out[0] = SOCKS_AUTH_VERSION;
    out[1] = accepted ? 0 : 1;
    return 2;
}

size_t socks5_reply_build(uint8_t out[SOCKS5_REPLY_MAX], enum socks5_code code,
                          const struct addr *bound)
{
    static const struct addr unknown = {.family = AF_INET};

    if (!bound || (bound->family != AF_INET && bound->family != AF_INET6))
        bound = &unknown;
    size_t ip_len = bound->family == AF_INET6 ? 16 : 4;
    out[0] = 5;
    out[1] = (uint8_t)code;
    out[2] = 0;
    out[3] = bound->family == AF_INET6 ? SOCKS_ATYP_V6 : SOCKS_ATYP_V4;
    memcpy(out + 4, bound->ip.bytes, ip_len);
    out[4 + ip_len] = (uint8_t)(bound->port >> 8);
    out[5 + ip_len] = (uint8_t)bound->port;
    return 6 + ip_len;
}

size_t socks4_reply_build(uint8_t out[SOCKS4_REPLY_BYTES], enum socks4_code code,
                          const struct addr *bound)
{
    memset(out, 0, SOCKS4_REPLY_BYTES);
    out[1] = (uint8_t)code; /* out[0], the version of the reply, is 0 */
    if (bound && bound->family == AF_INET) {
        out[2] = (uint8_t)(bound->port >> 8);
        out[3] = (uint8_t)bound->port;
        memcpy(out + 4, bound->ip.bytes, 4);
    }
    return SOCKS4_REPLY_BYTES;
}

enum socks5_code socks5_code(enum answer answer)
{
    switch (answer) {
    case ANSWER_OK:
        return SOCKS5_OK;
    case ANSWER_POLICY:
    case ANSWER_NOT_EXIT:
    case ANSWER_BLOCKED:
        return SOCKS5_RULESET;
    case ANSWER_NET_UNREACHABLE:
    case ANSWER_NO_PATH:
        return SOCKS5_NET_UNREACHABLE;
    case ANSWER_HOST_UNREACHABLE:
    case ANSWER_NAME_NOT_FOUND:
        return SOCKS5_HOST_UNREACHABLE;
    case ANSWER_REFUSED:
        return SOCKS5_REFUSED;
    case ANSWER_TIMEOUT:
        return SOCKS5_TTL_EXPIRED; /* the nearest that RFC 1928 has; others use it so as well */
    case ANSWER_FAMILY:
        return SOCKS5_ADDRESS_TYPE;
    case ANSWER_FAILED:
    case ANSWER_NAME_FAILED:
    case ANSWER_LIMIT:
    case ANSWER_PEER_LOST:
    case ANSWER_BAD_REQUEST:
    case ANSWER_IN_USE:
    case ANSWER_NOT_LOCAL:
        return SOCKS5_FAILED;
    }
    return SOCKS5_FAILED; /* a newer exit's answer */
}

enum socks4_code socks4_code(enum answer answer)
{
    return answer == ANSWER_OK ? SOCKS4_OK : SOCKS4_FAILED;
}
