/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Pure. RFC 7064 and 7065: no user, no path; of the query only "transport", of turn: and turns:.
 * stun: is UDP, stuns: TLS. "stun:HOST?transport=tcp", which the RFC does not have, is taken too:
 * there is no other way to ask for it.
 */
#include "stun/server.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/addr.h"
#include "base/err.h"
#include "stun/stun.h"

static const struct scheme {
    const char *name;
    bool is_turn, is_secure;
} schemes[] = {{"stun:", false, false},
               {"stuns:", false, true},
               {"turn:", true, false},
               {"turns:", true, true}};

const char *server_transport_name(enum server_transport transport)
{
    switch (transport) {
    case SERVER_UDP:
        return "udp";
    case SERVER_TCP:
        return "tcp";
    case SERVER_TLS:
        return "tls";
    }
    return NULL;
}

/* The part behind "?" (or NULL). 0 or an error. */
static int parse_query(const char *query, bool is_secure, enum server_transport *transport,
                       const char **why)
{
    *transport = is_secure ? SERVER_TLS : SERVER_UDP;
    if (!query)
        return 0;
    if (strcasecmp(query, "transport=tcp") == 0) {
        *transport = is_secure ? SERVER_TLS : SERVER_TCP;
        return 0;
    }
    if (strcasecmp(query, "transport=udp") == 0) {
        *why = "DTLS to the server (turns: with transport=udp) is not supported; use transport=tcp";
        return is_secure ? -ENOTSUP : 0;
    }
    *why = "behind \"?\" may stand transport=udp or transport=tcp";
    return -EINVAL;
}

static bool is_name(const char *host)
{
    size_t label = 0;

    for (const char *c = host; *c; c++) {
        if (*c == '.' && label == 0)
            return false;
        label = *c == '.' ? 0 : label + 1;
        if (label > 63 || !(isalnum((unsigned char)*c) || strchr(".-_", *c)))
            return false;
    }
    return host[0] != '\0';
}

static int parse_port(const char *text, uint16_t *port)
{
    unsigned long value = 0;

    for (const char *c = text; *c; c++) {
        if (!isdigit((unsigned char)*c) || c - text >= 5)
            return -EINVAL;
        value = value * 10 + (unsigned)(*c - '0');
    }
    if (value == 0 || value > 65535)
        return -EINVAL;
    *port = (uint16_t)value;
    return 0;
}

/* host[:port] or [v6][:port]; a default port is set already. */
static int parse_host(char *text, struct stun_server *server, const char **why)
{
    char *host = text, *port = NULL;
    struct addr addr;

    if (text[0] == '[') {
        char *end = strchr(text, ']');

        *why = "an IPv6 address stands in brackets: [2001:db8::1]:3478";
        if (!end || (end[1] && end[1] != ':'))
            return -EINVAL;
        *end = '\0';
        host = text + 1;
        port = end[1] ? end + 2 : NULL;
        if (addr_parse_ip(host, &addr) != 0 || addr.family != AF_INET6)
            return -EINVAL;
    } else {
        port = strchr(text, ':');
        if (port)
            *port++ = '\0';
        *why = "the host is no name and no address";
        if (!is_name(host) || strlen(host) > SERVER_HOST_MAX)
            return -EINVAL;
    }
    *why = "the port is no number from 1 to 65535";
    if (port && parse_port(port, &server->port) != 0)
        return -EINVAL;
    snprintf(server->host, sizeof(server->host), "%.*s", SERVER_HOST_MAX, host);
    return 0;
}

int server_parse(const char *text, struct stun_server *server, const char **why)
{
    const struct scheme *scheme = &schemes[0];
    char copy[SERVER_TEXT_MAX], *query;
    const char *unused;
    int result;

    if (!why)
        why = &unused;
    *server = (struct stun_server){.port = STUN_PORT};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (strncasecmp(text, schemes[i].name, strlen(schemes[i].name)) == 0) {
            scheme = &schemes[i];
            text += strlen(scheme->name);
            break;
        }
    *why = "too long";
    if (strlen(text) >= sizeof(copy))
        return -EINVAL;
    strcpy(copy, text);
    query = strchr(copy, '?');
    if (query)
        *query++ = '\0';
    result = parse_query(query, scheme->is_secure, &server->transport, why);
    if (result != 0)
        return result;
    server->is_turn = scheme->is_turn;
    if (scheme->is_secure)
        server->port = STUN_TLS_PORT;
    result = parse_host(copy, server, why);
    if (result == 0)
        *why = NULL;
    return result;
}

const char *server_format(const struct stun_server *server, char buf[SERVER_TEXT_MAX])
{
    bool is_v6 = strchr(server->host, ':') != NULL;

    snprintf(buf, SERVER_TEXT_MAX, "%s%s:%s%s%s:%u%s", server->is_turn ? "turn" : "stun",
             server->transport == SERVER_TLS ? "s" : "", is_v6 ? "[" : "", server->host,
             is_v6 ? "]" : "", server->port,
             server->transport == SERVER_TCP ? "?transport=tcp" : "");
    return buf;
}
