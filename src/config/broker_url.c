/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A URL is cut at its first "/" behind the scheme, and what is before it at its last "@": a user
 * who forgets to percent-encode an "@" in a password is understood all the same. The path is kept
 * as it was written, for it goes into an HTTP request line; so it must hold neither spaces nor
 * control characters. A user name or password may hold anything but NUL, which neither Paho's
 * options nor a broker's files can.
 *
 * The whole is a value, and knows no memory of its own. Errors are static texts: nothing that was
 * typed in, a password least of all, reaches a log through them.
 */
#include "config/broker_url.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *text;
    uint16_t port;
} schemes[] = {
    [BROKER_MQTT] = {"mqtt", 1883},
    [BROKER_MQTTS] = {"mqtts", 8883},
    [BROKER_WS] = {"ws", 80},
    [BROKER_WSS] = {"wss", 443},
};
#define SCHEMES (sizeof(schemes) / sizeof(schemes[0]))
static_assert(SCHEMES == BROKER_WSS + 1, "a scheme has no text");

struct range {
    const char *at;
    size_t len;
};

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* RFC 3986 2.1. 0 or -EINVAL. */
static int decode(struct range text, char *out, size_t max)
{
    size_t len = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];

        if (c == '%') {
            int high = i + 2 < text.len ? hex_digit(text.at[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_digit(text.at[i + 2]) : -1;

            if (high < 0 || low < 0)
                return -EINVAL;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0' || len == max)
            return -EINVAL;
        out[len++] = c;
    }
    out[len] = '\0';
    return 0;
}

static bool take_scheme(struct range *rest, enum broker_scheme *scheme)
{
    for (size_t i = 0; i < SCHEMES; i++) {
        size_t len = strlen(schemes[i].text);

        if (rest->len > len + 3 && memcmp(rest->at, schemes[i].text, len) == 0 &&
            memcmp(rest->at + len, "://", 3) == 0) {
            *scheme = (enum broker_scheme)i;
            rest->at += len + 3;
            rest->len -= len + 3;
            return true;
        }
    }
    return false;
}

static int set_login(struct broker_url *url, struct range login)
{
    const char *colon = memchr(login.at, ':', login.len);
    struct range user = {login.at, colon ? (size_t)(colon - login.at) : login.len};

    url->has_user = true;
    if (colon) {
        struct range password = {colon + 1, login.len - user.len - 1};

        url->has_password = true;
        if (decode(password, url->password, BROKER_PASSWORD_MAX) < 0)
            return -EINVAL;
    }
    return user.len == 0 ? -EINVAL : decode(user, url->user, BROKER_USER_MAX);
}

static int set_place(struct broker_url *url, struct range place)
{
    const char *bracket = place.len && place.at[0] == '[' ? memchr(place.at, ']', place.len) : NULL;
    struct range host = place;
    uint32_t port = schemes[url->scheme].port;
    const char *colon;

    if (bracket)
        host.len = (size_t)(bracket - place.at) + 1;
    else if ((colon = memchr(place.at, ':', place.len)))
        host.len = (size_t)(colon - place.at);
    if (host.len < place.len) {
        struct range digits = {place.at + host.len + 1, place.len - host.len - 1};

        if (place.at[host.len] != ':' || digits.len == 0 || digits.len > 5)
            return -EINVAL;
        port = 0;
        for (size_t i = 0; i < digits.len; i++) {
            if (digits.at[i] < '0' || digits.at[i] > '9')
                return -EINVAL;
            port = port * 10 + (uint32_t)(digits.at[i] - '0');
        }
        if (port > UINT16_MAX)
            return -EINVAL;
    }
    return target_set(&url->at, host.at, host.len, (uint16_t)port);
}

static int set_path(struct broker_url *url, struct range path)
{
    if (path.len > BROKER_PATH_MAX)
        return -EINVAL;
    if (!broker_url_is_websocket(url))
        return path.len <= 1 ? 0 : -EINVAL;
    for (size_t i = 0; i < path.len; i++)
        if (path.at[i] <= ' ' || path.at[i] >= 0x7f || path.at[i] == '#')
            return -EINVAL;
    memcpy(url->path, path.at, path.len);
    url->path[path.len] = '\0';
    return 0;
}

int broker_url_parse(const uint8_t *bytes, size_t len, struct broker_url *url, const char **why)
{
    struct range rest = {(const char *)bytes, len}, path = {NULL, 0}, login = {NULL, 0};
    const char *slash, *at, *unused;

    if (!why)
        why = &unused;
    memset(url, 0, sizeof(*url));
    *why = "it does not begin with mqtt://, mqtts://, ws:// or wss://";
    if (!take_scheme(&rest, &url->scheme))
        return -EINVAL;
    if ((slash = memchr(rest.at, '/', rest.len))) {
        path = (struct range){slash, rest.len - (size_t)(slash - rest.at)};
        rest.len -= path.len;
    }
    if ((at = memrchr(rest.at, '@', rest.len))) {
        login = (struct range){rest.at, (size_t)(at - rest.at)};
        rest.at = at + 1;
        rest.len -= login.len + 1;
    }
    *why = "its user name or password is empty, too long or wrongly percent-encoded";
    if (at && set_login(url, login) < 0)
        return -EINVAL;
    *why = "its host or port is missing or wrong";
    if (set_place(url, rest) < 0)
        return -EINVAL;
    *why = "its path is too long or wrong, or it has a path where only ws:// and wss:// have one";
    if (path.len && set_path(url, path) < 0)
        return -EINVAL;
    *why = NULL;
    return 0;
}

bool broker_url_is_secure(const struct broker_url *url)
{
    return url->scheme == BROKER_MQTTS || url->scheme == BROKER_WSS;
}

bool broker_url_is_websocket(const struct broker_url *url)
{
    return url->scheme == BROKER_WS || url->scheme == BROKER_WSS;
}

bool broker_url_is_exposed(const struct broker_url *url)
{
    if (url->at.name[0])
        return !broker_url_is_secure(url) && strcasecmp(url->at.name, "localhost") != 0;
    return !broker_url_is_secure(url) && !addr_is_loopback(&url->at.addr);
}

const char *broker_scheme_text(enum broker_scheme scheme)
{
    return schemes[scheme].text;
}

const char *broker_url_name(const struct broker_url *url, char out[BROKER_NAME_BYTES])
{
    char at[TARGET_TEXT_MAX];

    snprintf(out, BROKER_NAME_BYTES, "%s://%s", schemes[url->scheme].text,
             target_format(&url->at, at));
    return out;
}
