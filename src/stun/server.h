/* SPDX-License-Identifier: MIT */
/*
 * Server: where a STUN or TURN server is, and over what it is spoken to: the URIs of RFC 7064
 * (stun:, stuns:) and RFC 7065 (turn:, turns:), or HOST[:PORT].
 */
#ifndef ADIT_STUN_SERVER_H
#define ADIT_STUN_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVER_HOST_MAX 253
#define SERVER_TEXT_MAX (SERVER_HOST_MAX + 40)

enum server_transport { SERVER_UDP, SERVER_TCP, SERVER_TLS };

struct stun_server {
    enum server_transport transport;
    bool is_turn;                   /* turn: or turns: */
    char host[SERVER_HOST_MAX + 1]; /* a name, or an address without brackets */
    uint16_t port;
};

/* Parses "turn:host[:port][?transport=udp|tcp]", "turns:host", "stun:host", "stuns:host" or, as a
 * STUN server over UDP, "host[:port]". IPv6 addresses stand in brackets. Ports default to 3478, and
 * to 5349 with TLS. 0 or -EINVAL; *why (may be NULL): static text. DTLS (turns: with
 * transport=udp) is -ENOTSUP. */
int server_parse(const char *text, struct stun_server *server, const char **why);
/* Writes it in a form that server_parse() reads; returns buf. */
const char *server_format(const struct stun_server *server, char buf[SERVER_TEXT_MAX]);
const char *server_transport_name(enum server_transport transport); /* "udp", "tcp", "tls" */

#endif
