/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A target is a value. Its host is an address when the text is an IP literal, and otherwise a name
 * which is kept as it was written (case and a final dot too: the resolver decides what they mean).
 * Only what can never be a host name is refused, here, so that no front end has to: what a target
 * holds may be put into a log line, an HTTP header or a "host:port" without quoting. A scope
 * ("fe80::1%eth0") is refused too, for it names an interface of this machine, and targets are
 * dialled from another.
 */
#include "base/target.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_host_character(unsigned char c)
{
    return c > ' ' && c != 0x7f && !strchr("/@:[]\\?#%\"<>", c);
}

int target_set(struct target *target, const char *host, size_t host_len, uint16_t port)
{
    if (host_len == 0 || host_len > TARGET_NAME_MAX || port == 0 || memchr(host, '\0', host_len))
        return -EINVAL;

    struct target out = {.port = port};
    memcpy(out.name, host, host_len);
    if (addr_parse_ip(out.name, &out.addr) == 0) {
        if (out.addr.scope)
            return -EINVAL;
        out.addr.port = port;
        memset(out.name, 0, sizeof out.name);
    } else {
        for (size_t i = 0; i < host_len; i++)
            if (!is_host_character((unsigned char)host[i]))
                return -EINVAL;
    }
    *target = out;
    return 0;
}

int target_parse(const char *text, struct target *target)
{
    const char *colon = strrchr(text, ':');
    if (!colon)
        return -EINVAL;
    size_t host_len = (size_t)(colon - text);
    /* "::1:80" could be an address without a port: IPv6 needs its brackets. */
    if (text[0] != '[' && memchr(text, ':', host_len))
        return -EINVAL;

    unsigned port = 0;
    for (const char *p = colon + 1; *p; p++) {
        if (*p < '0' || *p > '9')
            return -EINVAL;
        port = port * 10 + (unsigned)(*p - '0');
        if (port > UINT16_MAX)
            return -EINVAL;
    }
    return target_set(target, text, host_len, (uint16_t)port);
}

const char *target_format(const struct target *target, char buf[TARGET_TEXT_MAX])
{
    static_assert(TARGET_TEXT_MAX >= ADDR_TEXT_MAX, "an address fits");
    if (target->name[0]) {
        snprintf(buf, TARGET_TEXT_MAX, "%s:%u", target->name, target->port);
        return buf;
    }
    struct addr addr = target->addr;
    addr.port = target->port;
    return addr_format(&addr, buf);
}

static const char *const answer_texts[] = {
    [ANSWER_OK] = "connected",
    [ANSWER_FAILED] = "failed",
    [ANSWER_POLICY] = "forbidden by the exit's policy",
    [ANSWER_NET_UNREACHABLE] = "network unreachable from the exit",
    [ANSWER_HOST_UNREACHABLE] = "host unreachable from the exit",
    [ANSWER_REFUSED] = "connection refused by the destination",
    [ANSWER_TIMEOUT] = "no answer from the destination",
    [ANSWER_NAME_NOT_FOUND] = "no such host name",
    [ANSWER_NAME_FAILED] = "the exit could not look up the host name; try again",
    [ANSWER_LIMIT] = "a limit is reached; try again later",
    [ANSWER_NOT_EXIT] = "the peer is not an exit for this node",
    [ANSWER_NO_PATH] = "no path to the peer",
    [ANSWER_PEER_LOST] = "the peer was lost",
    [ANSWER_BAD_REQUEST] = "the exit could not understand the request",
    [ANSWER_FAMILY] = "the exit has no such address family",
    [ANSWER_IN_USE] = "somebody else listens there",
    [ANSWER_NOT_LOCAL] = "the peer has no such address",
    [ANSWER_BLOCKED] = "blocked by a route of this gateway",
};
static_assert(sizeof answer_texts / sizeof answer_texts[0] == ANSWER_LAST + 1,
              "every answer has a text");

const char *answer_text(enum answer answer)
{
    /* The value may have come over the wire, from a later version. */
    if ((unsigned)answer > ANSWER_LAST)
        return "failed for a reason unknown to this version";
    return answer_texts[answer];
}

enum answer answer_from_errno(int error)
{
    switch (-error) {
    case 0:
        return ANSWER_OK;
    case ECONNREFUSED:
    case ECONNRESET:
        return ANSWER_REFUSED;
    case ENETUNREACH:
    case ENETDOWN:
        return ANSWER_NET_UNREACHABLE;
    case EHOSTUNREACH:
    case EHOSTDOWN:
        return ANSWER_HOST_UNREACHABLE;
    case ETIMEDOUT:
        return ANSWER_TIMEOUT;
    case EACCES: /* a firewall's rule on the exit itself */
    case EPERM:
        return ANSWER_POLICY;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
        return ANSWER_FAMILY;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EAGAIN:
    case EADDRNOTAVAIL: /* connect(2): every ephemeral port is in use */
        return ANSWER_LIMIT;
    default:
        return ANSWER_FAILED;
    }
}
