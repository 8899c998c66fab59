/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Pure parsers. A line is cut at the first "->", and its right side at its last blank: a peer's
 * name has none. In a line the peer must look like a name or an ID, for a ticket is better kept in
 * a [peer] section; on the command line it may be a ticket.
 */
#include "config/forward.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIX_PATH_MAX 107

__attribute__((format(printf, 2, 3))) static int refuse(char *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(why, FORWARD_WHY_MAX, format, args);
    va_end(args);
    return ADIT_EFORMAT;
}

/* A port alone, of 127.0.0.1. */
static bool parse_port(const char *text, struct addr *addr)
{
    unsigned long port = 0;

    if (!text[0] || strlen(text) > 5)
        return false;
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text))
            return false;
        port = port * 10 + (unsigned long)(*text - '0');
    }
    if (port > UINT16_MAX)
        return false;
    *addr = addr_loopback(AF_INET, (uint16_t)port);
    return true;
}

static int set_listen(struct config_listen *out, bool is_reverse, const char *text, char *why)
{
    if (strncmp(text, "unix:", 5) == 0) {
        if (is_reverse)
            return refuse(why, "a peer listens at an address and port only, not at a unix socket");
        if (!text[5] || strlen(text + 5) > UNIX_PATH_MAX)
            return refuse(why, "a unix socket's path has 1 to %d characters", UNIX_PATH_MAX);
        out->path = strdup(text + 5);
        return out->path ? 0 : -ENOMEM;
    }
    if (parse_port(text, &out->addr) || addr_parse(text, &out->addr) == 0)
        return 0;
    return refuse(
        why, "'%.60s' is no address to listen at; write PORT, IP:PORT, [IPV6]:PORT or unix:PATH",
        text);
}

int config_forward_set(struct config_forward *out, bool is_reverse, const char *listen,
                       const char *peer, const char *to, char *why)
{
    int r;

    *out = (struct config_forward){.is_reverse = is_reverse};
    r = set_listen(&out->listen, is_reverse, listen, why);
    if (r == 0 && target_parse(to, &out->to) < 0)
        r = refuse(why, "'%.60s' is not HOST:PORT", to);
    if (r == 0 && !peer[0])
        r = refuse(why, "no peer is named");
    if (r == 0) {
        out->peer = strdup(peer);
        r = out->peer ? 0 : -ENOMEM;
    }
    if (r == -ENOMEM)
        snprintf(why, FORWARD_WHY_MAX, "out of memory");
    if (r < 0)
        config_forward_clear(out);
    return r;
}

static char *trim(char *text)
{
    size_t len;

    while (isspace((unsigned char)*text))
        text++;
    len = strlen(text);
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        text[--len] = '\0';
    return text;
}

int config_forward_parse(struct config_forward *out, bool is_reverse, const char *text, char *why)
{
    char *copy = strdup(text), *arrow, *peer, *to;
    struct node_id id;
    int r = -ENOMEM;

    *out = (struct config_forward){.peer = NULL};
    if (!copy)
        goto out;
    r = refuse(why, "'%.60s' is no forward; write LISTEN -> PEER HOST:PORT", text);
    arrow = strstr(copy, "->");
    if (!arrow)
        goto out;
    *arrow = '\0';
    peer = trim(arrow + 2);
    to = peer + strcspn(peer, " \t");
    if (!*to)
        goto out;
    *to++ = '\0';
    if (!config_is_peer_name(peer) && node_id_parse(peer, &id) != 0)
        goto out;
    r = config_forward_set(out, is_reverse, trim(copy), peer, trim(to), why);
out:
    free(copy);
    return r;
}

void config_forward_clear(struct config_forward *forward)
{
    free(forward->listen.path);
    if (forward->peer)
        explicit_bzero(forward->peer, strlen(forward->peer)); /* it may be a ticket */
    free(forward->peer);
    *forward = (struct config_forward){.peer = NULL};
}

const char *config_listen_format(const struct config_listen *listen,
                                 char buf[FORWARD_LISTEN_TEXT_MAX])
{
    if (listen->path)
        snprintf(buf, FORWARD_LISTEN_TEXT_MAX, "unix:%s", listen->path);
    else
        addr_format(&listen->addr, buf);
    return buf;
}

bool config_listen_equal(const struct config_listen *a, const struct config_listen *b)
{
    if (a->path || b->path)
        return a->path && b->path && strcmp(a->path, b->path) == 0;
    return addr_equal(&a->addr, &b->addr);
}
