/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What goes wrong with a TURN server, in words: every report says at which server, what it refused,
 * and what can be done about it, in one line. Nothing a server has written gets into them but the
 * number of its error: phrases of its own would be in its words, not in ours.
 */
#include "stun/turn.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "stun/turn_int.h"
#include "stun/words.h"

bool turn_is_passing(enum turn_trouble trouble)
{
    switch (trouble) {
    case TURN_NO_LOGIN:
    case TURN_WRONG_LOGIN:
    case TURN_TAMPERED:
    case TURN_FORBIDDEN:
    case TURN_NO_FAMILY:
    case TURN_NO_TRANSPORT:
    case TURN_NO_MOBILITY:
    case TURN_NOT_TURN:
    case TURN_REDIRECTED:
        return false;
    case TURN_FINE:
    case TURN_UNREACHABLE:
    case TURN_SILENT:
    case TURN_EXPIRED_LOGIN:
    case TURN_QUOTA:
    case TURN_CAPACITY:
    case TURN_MISMATCH:
    case TURN_LOST:
    case TURN_PEER_FAILED:
    case TURN_FAILED:
    case TURN_NO_MEMORY:
    case TURN_FULL:
        return true;
    }
    return true;
}

const char *turn_trouble_name(enum turn_trouble trouble)
{
    static const char *const names[] = {
        [TURN_FINE] = "fine",
        [TURN_UNREACHABLE] = "unreachable",
        [TURN_SILENT] = "silent",
        [TURN_NO_LOGIN] = "no-login",
        [TURN_WRONG_LOGIN] = "wrong-login",
        [TURN_EXPIRED_LOGIN] = "expired-login",
        [TURN_TAMPERED] = "tampered",
        [TURN_FORBIDDEN] = "forbidden",
        [TURN_QUOTA] = "quota",
        [TURN_CAPACITY] = "capacity",
        [TURN_NO_FAMILY] = "no-family",
        [TURN_NO_TRANSPORT] = "no-transport",
        [TURN_NO_MOBILITY] = "no-mobility",
        [TURN_MISMATCH] = "mismatch",
        [TURN_LOST] = "lost",
        [TURN_REDIRECTED] = "redirected",
        [TURN_NOT_TURN] = "not-turn",
        [TURN_PEER_FAILED] = "peer-failed",
        [TURN_FAILED] = "failed",
        [TURN_NO_MEMORY] = "no-memory",
        [TURN_FULL] = "full",
    };

    return (size_t)trouble < sizeof(names) / sizeof(names[0]) ? names[trouble] : "?";
}

bool turn_has_options(const struct turn_request *request)
{
    return request->mobility || request->dont_fragment || request->even_port || request->reserve ||
           request->both;
}

void turn_drop_options(struct turn_request *request)
{
    request->mobility = request->dont_fragment = request->even_port = request->reserve = false;
    request->both = false;
}

uint64_t turn_time_s(struct loop *loop)
{
    return loop_is_virtual(loop) ? loop_now(loop) / SEC_US : (uint64_t)time(NULL);
}

void turn_report_make(struct turn_report *report, enum turn_trouble trouble, unsigned method,
                      unsigned code, const char *format, ...)
{
    va_list args;

    report->trouble = trouble;
    report->method = method;
    report->code = code;
    va_start(args, format);
    vsnprintf(report->text, sizeof(report->text), format, args);
    va_end(args);
}

#define DATE_MAX 40

/* A time for people. */
static const char *date_of(uint64_t seconds, char buf[DATE_MAX])
{
    time_t when = (time_t)seconds;
    struct tm tm;

    if (seconds > INT32_MAX || gmtime_r(&when, &tm) == NULL ||
        strftime(buf, DATE_MAX, "%Y-%m-%d at %H:%M:%S UTC", &tm) == 0)
        snprintf(buf, DATE_MAX, "time %llu", (unsigned long long)seconds);
    return buf;
}

/* When a time-limited user runs out; 0: it is no such user. */
static uint64_t user_expiry(const char *user)
{
    char *end;
    unsigned long long expiry = strtoull(user, &end, 10);

    return user[0] >= '0' && user[0] <= '9' && (*end == 0 || *end == ':') &&
                   expiry > UINT64_C(1000000000)
               ? expiry
               : 0;
}

static void report_login(struct turn_report *report, unsigned method, unsigned code,
                         const char *where, const struct credentials *credentials, uint64_t now_s)
{
    uint64_t expiry = credentials->set ? user_expiry(credentials->user) : 0;
    char date[DATE_MAX];

    if (!credentials->set)
        turn_report_make(report, TURN_NO_LOGIN, method, code,
                         "%s wants a user and a password: give those that its operator gave you",
                         where);
    else if (expiry && expiry <= now_s)
        turn_report_make(report, TURN_EXPIRED_LOGIN, method, code,
                         "the time-limited credentials for %s ran out on %s: get new ones, or set "
                         "this machine's clock",
                         where, date_of(expiry, date));
    else
        turn_report_make(report, TURN_WRONG_LOGIN, method, code,
                         "%s does not accept user \"%.64s\" with this password: check both, and, "
                         "if they are made from a shared secret, the secret",
                         where, credentials->user);
}

/* Errors of requests about a peer. False: the error is about something else. */
static bool report_peer(struct turn_report *report, unsigned method, unsigned code,
                        const char *where, const struct addr *peer)
{
    char buf[ADDR_TEXT_MAX];
    const char *who = addr_format_ip(peer, buf);

    switch (code) {
    case STUN_FORBIDDEN:
        turn_report_make(report, TURN_FORBIDDEN, method, code,
                         "%s may not relay to %s, by its policy: private and local addresses are "
                         "often denied; use the peer's public or relayed address, or have the "
                         "server's operator allow it",
                         where, who);
        return true;
    case STUN_PEER_FAMILY_MISMATCH:
        turn_report_make(report, TURN_NO_FAMILY, method, code,
                         "%s is of another address family than what %s relays for us: ask for a "
                         "relayed address of its family, or for both",
                         who, where);
        return true;
    case STUN_CONNECTION_EXISTS:
        turn_report_make(report, TURN_PEER_FAILED, method, code,
                         "%s has a connection with %s already: close that first", where,
                         addr_format(peer, buf));
        return true;
    case STUN_CONNECTION_FAILED:
        turn_report_make(report, TURN_PEER_FAILED, method, code,
                         "%s could not connect to %s: nobody listens there, or a firewall or NAT "
                         "is in between; let the peer connect to the relayed address instead",
                         where, addr_format(peer, buf));
        return true;
    default:
        return false;
    }
}

void turn_report_error(struct turn_report *report, unsigned method, const struct stun_error *error,
                       const struct stun_server *server, const struct credentials *credentials,
                       const struct addr *peer, uint64_t now_s)
{
    unsigned code = error->code;
    const char *phrase = words_error(code), *what = words_method(method);
    char where[SERVER_TEXT_MAX];

    server_format(server, where);
    if (peer && report_peer(report, method, code, where, peer))
        return;
    switch (code) {
    case STUN_BAD_REQUEST:
        /* Ours are good requests. */
        if (method != STUN_METHOD_ALLOCATE || !credentials->asked)
            break;
        turn_report_make(report, TURN_WRONG_LOGIN, method, code,
                         "%s answers with error 400 (Bad Request) since our request was signed: "
                         "some servers (Pion) say so to a wrong user or password: check both",
                         where);
        return;
    case STUN_UNAUTHENTICATED:
        report_login(report, method, code, where, credentials, now_s);
        return;
    case STUN_WRONG_CREDENTIALS:
        turn_report_make(report, TURN_WRONG_LOGIN, method, code,
                         "%s holds this allocation for another user: close the other client, or "
                         "wait until its allocation runs out",
                         where);
        return;
    case STUN_FORBIDDEN:
        turn_report_make(report, TURN_FORBIDDEN, method, code,
                         "%s does not allow user \"%.64s\" to use it this way: ask its operator",
                         where, credentials->user);
        return;
    case STUN_MOBILITY_FORBIDDEN:
        turn_report_make(report, TURN_NO_MOBILITY, method, code,
                         "%s does not allow mobility: go on without", where);
        return;
    case STUN_ALLOCATION_MISMATCH:
        turn_report_make(report, TURN_MISMATCH, method, code,
                         "%s does not know our allocation: it was restarted, or let the allocation "
                         "run out, or our NAT gave us another port; a new one is needed",
                         where);
        return;
    case STUN_FAMILY_NOT_SUPPORTED:
        turn_report_make(report, TURN_NO_FAMILY, method, code,
                         "%s has no relayed addresses of the family asked for, IPv4 or IPv6: ask "
                         "for the other one",
                         where);
        return;
    case STUN_TRANSPORT_NOT_SUPPORTED:
        turn_report_make(report, TURN_NO_TRANSPORT, method, code,
                         "%s does not relay this protocol (TCP allocations, RFC 6062, may be off, "
                         "or want a connection by TCP or TLS): use UDP, or another server",
                         where);
        return;
    case STUN_QUOTA_REACHED:
        turn_report_make(report, TURN_QUOTA, method, code,
                         "user \"%.64s\" has as many allocations at %s as the server grants: close "
                         "another client, or wait for forgotten ones to run out (10 minutes)",
                         credentials->user, where);
        return;
    case STUN_NO_CAPACITY:
        turn_report_make(report, TURN_CAPACITY, method, code,
                         "%s is full: it has no address or port left; try later, or another server",
                         where);
        return;
    case STUN_TRY_ALTERNATE:
        turn_report_make(report, TURN_REDIRECTED, method, code,
                         "%s sends us to another server, but not to one we can go to", where);
        return;
    default:
        break;
    }
    turn_report_make(report, TURN_FAILED, method, code, "%s answers %s with error %u%s%s%s", where,
                     what ? what : "a request", code, phrase ? " (" : "", phrase ? phrase : "",
                     phrase ? ")" : "");
}
