/* SPDX-License-Identifier: MIT */
/*
 * URL: where a broker is and how to talk to it, as a user wrote it:
 *
 *     mqtt://, mqtts://, ws://, wss://[USER[:PASSWORD]@]HOST[:PORT][/PATH]
 *
 * User and password are percent-decoded (RFC 3986 2.1); IPv6 addresses stand in brackets.
 */
#ifndef ADIT_CONFIG_BROKER_URL_H
#define ADIT_CONFIG_BROKER_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/target.h"

#define BROKER_USER_MAX     255 /* decoded */
#define BROKER_PASSWORD_MAX 255
#define BROKER_PATH_MAX     255
/* "mqtts://", host, ":65535", brackets */
#define BROKER_NAME_BYTES (8 + TARGET_NAME_MAX + 2 + 6 + 1)

enum broker_scheme { BROKER_MQTT, BROKER_MQTTS, BROKER_WS, BROKER_WSS };

struct broker_url {
    enum broker_scheme scheme;
    bool has_user, has_password;
    char user[BROKER_USER_MAX + 1];
    char password[BROKER_PASSWORD_MAX + 1];
    struct target at;               /* with the scheme's port (1883, 8883, 80, 443) unless given */
    char path[BROKER_PATH_MAX + 1]; /* ws, wss: as written, with its first "/"; else "" */
};

/* The whole of bytes is one URL. 0, or -EINVAL and *why (may be NULL) says what is wrong: static
 * text without any part of the URL. */
int broker_url_parse(const uint8_t *bytes, size_t len, struct broker_url *url, const char **why);
bool broker_url_is_secure(const struct broker_url *url);    /* TLS */
bool broker_url_is_websocket(const struct broker_url *url); /* MQTT in WebSocket, RFC 6455 */
bool broker_url_is_exposed(const struct broker_url *url);   /* in clear, to another machine */
const char *broker_scheme_text(enum broker_scheme scheme);  /* "mqtt" */
/* "mqtts://broker.example:8883": what may be shown; returns out. */
const char *broker_url_name(const struct broker_url *url, char out[BROKER_NAME_BYTES]);

#endif
