/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The SOCKS conversation: greeting, perhaps authentication, request, reply. Messages are parsed
 * where they lie in the received bytes, one after the other, for clients send them all at once;
 * only the beginning of a message that was cut is copied, and waits for the rest.
 *
 * Methods: with users configured, user name and password, or the refusal FF. Without, both "none"
 * and "user name and password" are taken, the latter preferred and any password accepted, because
 * the user name then says which exit is meant (as Tor's isolation does). SOCKS4 has no passwords,
 * so it is refused where users are configured.
 *
 * Whoever breaks the protocol gets the reply that fits and is closed: FF to a greeting, 1 to
 * authentication, 1 (or 8: address type, 7: command) to a request, 91 in SOCKS4; who asks for no
 * SOCKS version that exists was taken for HTTP.
 */
#include <stdlib.h>
#include <string.h>

#include "ingress/front_int.h"
#include "ingress/socks.h"

static void send_reply(struct conn *conn, const uint8_t *reply, size_t len)
{
    pipe_write_copy(conn->client, reply, len);
}

static void send_code(struct conn *conn, enum socks5_code code5, enum socks4_code code4,
                      const struct addr *bound)
{
    uint8_t reply[SOCKS5_REPLY_MAX];

    if (conn->speaks == SPEAKS_SOCKS4)
        send_reply(conn, reply, socks4_reply_build(reply, code4, bound));
    else
        send_reply(conn, reply, socks5_reply_build(reply, code5, bound));
}

void socks_reply(struct conn *conn, enum answer answer, const struct addr *bound)
{
    send_code(conn, socks5_code(answer), socks4_code(answer), bound);
}

static ssize_t feed_greeting(struct conn *conn, const uint8_t *data, size_t len)
{
    struct socks_greeting greeting;
    enum socks_method method = SOCKS_METHOD_REFUSED;
    uint8_t reply[2];

    int n = socks5_greeting_parse(data, len, &greeting);
    if (n <= 0)
        return n;
    if (greeting.password) {
        method = SOCKS_METHOD_PASSWORD;
        conn->state = CONN_SOCKS_AUTH;
    } else if (greeting.none && !conn->front->users) {
        method = SOCKS_METHOD_NONE;
        conn->state = CONN_SOCKS_REQUEST;
    }
    send_reply(conn, reply, socks5_method_build(reply, method));
    if (method == SOCKS_METHOD_REFUSED) {
        if (conn->front->users)
            conn_note_denied(conn);
        conn_close(conn);
    }
    return n;
}

static ssize_t feed_auth(struct conn *conn, const uint8_t *data, size_t len)
{
    struct socks_auth auth;
    uint8_t reply[2];

    int n = socks5_auth_parse(data, len, &auth);
    if (n < 0)
        send_reply(conn, reply, socks5_auth_build(reply, false));
    if (n <= 0)
        return n;
    bool accepted = !conn->front->users || users_check(conn->front->users, auth.user, auth.user_len,
                                                       auth.password, auth.password_len);
    send_reply(conn, reply, socks5_auth_build(reply, accepted));
    if (!accepted) {
        conn_note_denied(conn);
        conn_close(conn);
        return n;
    }
    conn->state = CONN_SOCKS_REQUEST;
    if (auth.user_len > 0)
        conn->user = strndup((const char *)auth.user, auth.user_len);
    return n;
}

static ssize_t feed_request(struct conn *conn, const uint8_t *data, size_t len)
{
    struct socks_request request;
    char user[SOCKS_USER_MAX + 1] = "";

    int n = conn->speaks == SPEAKS_SOCKS4 ? socks4_request_parse(data, len, &request)
                                          : socks5_request_parse(data, len, &request);
    if (n < 0)
        send_code(conn, n == -EAFNOSUPPORT ? SOCKS5_ADDRESS_TYPE : SOCKS5_FAILED, SOCKS4_FAILED,
                  NULL);
    if (n <= 0)
        return n;
    if (conn->speaks == SPEAKS_SOCKS4 && conn->front->users) {
        send_code(conn, SOCKS5_RULESET, SOCKS4_FAILED, NULL);
        conn_note_denied(conn);
        conn_close(conn);
    } else if (request.command != SOCKS_CONNECT) {
        send_code(conn, SOCKS5_COMMAND, SOCKS4_FAILED, NULL);
        conn_close(conn);
    } else {
        if (request.user)
            memcpy(user, request.user, request.user_len);
        conn_open_tunnel(conn, &request.target, conn->user ? conn->user : user);
    }
    return n;
}

/* One message. Returns the bytes it has, 0: not whole, negative: malformed, and answered. */
static ssize_t feed_message(struct conn *conn, const uint8_t *data, size_t len)
{
    switch ((enum conn_state)conn->state) {
    case CONN_SOCKS_GREETING:
        return feed_greeting(conn, data, len);
    case CONN_SOCKS_AUTH:
        return feed_auth(conn, data, len);
    case CONN_SOCKS_REQUEST:
        return feed_request(conn, data, len);
    case CONN_NEW:
    case CONN_HTTP:
    case CONN_OPENING:
    case CONN_LINKED:
    case CONN_CLOSING:
        break;
    }
    return 0;
}

static size_t give_up(struct conn *conn, size_t len, ssize_t why)
{
    conn_note_malformed(conn, err_text((int)why));
    conn_close(conn);
    return len;
}

/* Completes the message whose beginning was kept; returns the bytes used of data. */
static size_t feed_partial(struct conn *conn, const uint8_t *data, size_t len)
{
    size_t had = conn->partial_len;
    size_t room = SOCKS_MESSAGE_MAX - had;
    size_t more = len < room ? len : room;

    memcpy(conn->partial + had, data, more);
    ssize_t n = feed_message(conn, conn->partial, had + more);
    if (n == 0) { /* room was enough: no message is longer */
        conn->partial_len = (uint16_t)(had + more);
        return more;
    }
    explicit_bzero(conn->partial, had + more);
    conn->partial_len = 0;
    if (n < 0)
        return give_up(conn, len, n);
    return (size_t)n - had;
}

size_t socks_feed(struct conn *conn, const uint8_t *data, size_t len)
{
    size_t at = 0;

    if (conn->partial_len > 0)
        at = feed_partial(conn, data, len);
    while (at < len && conn_is_in_socks(conn) && conn->partial_len == 0) {
        ssize_t n = feed_message(conn, data + at, len - at);
        if (n < 0)
            return give_up(conn, len, n);
        if (n == 0) {
            if (!conn->partial)
                conn->partial = malloc(SOCKS_MESSAGE_MAX);
            if (!conn->partial) {
                conn_close(conn);
                return len;
            }
            memcpy(conn->partial, data + at, len - at);
            conn->partial_len = (uint16_t)(len - at);
            return len;
        }
        at += (size_t)n;
    }
    return at;
}

void socks_free(struct conn *conn)
{
    if (conn->partial)
        explicit_bzero(conn->partial, SOCKS_MESSAGE_MAX);
    free(conn->partial);
    free(conn->user);
    conn->partial = NULL;
    conn->user = NULL;
}
