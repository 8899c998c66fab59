/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * From findings to advice: what is wrong, in plain words, and what can be done about it, each thing
 * once however many legs show it. Who works on the server is told its option for coturn.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/turn_probe.h"
#include "egress/policy.h"

#define LOSS_PERCENT 2 /* more is worth a word */
#define SLOW_MBIT    2
#define FAR_US       (250 * MS_US)
#define SMALL_BYTES  1200

__attribute__((format(printf, 2, 3))) static void advise(struct probe *probe, const char *format,
                                                         ...)
{
    char text[PROBE_ADVICE_TEXT];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (size_t i = 0; i < probe->advice_count; i++)
        if (strcmp(probe->advice[i], text) == 0)
            return;
    if (probe->advice_count < PROBE_ADVICE_MAX)
        memcpy(probe->advice[probe->advice_count++], text, sizeof(text));
}

/* Nothing came through between two allocations, not even the first message. */
static bool is_shut(const struct probe_flow *flow)
{
    return flow->done && flow->sent > 0 && flow->received == 0 && flow->bytes == 0;
}

/* A relayed address that the server has for itself. */
static bool is_its_own(const struct probe_leg *leg, int i)
{
    return leg->relay[i].answer == PROBE_YES && !addr_is_loopback(&leg->address) &&
           (addr_is_loopback(&leg->relayed[i]) || addr_is_any(&leg->relayed[i]));
}

bool probe_leg_works(const struct probe_leg *leg)
{
    bool refused = leg->permission.answer == PROBE_NO && leg->own_permission.answer != PROBE_YES;
    bool relays = false;

    for (int i = 0; i < 2; i++)
        relays = relays || (leg->relay[i].answer == PROBE_YES && !is_its_own(leg, i));
    return relays && !refused && !is_shut(&leg->flow);
}

/* Whether another leg to the same host was reached, over that transport. */
static bool is_reached_by(const struct probe *probe, const struct probe_leg *leg,
                          enum server_transport transport)
{
    for (size_t i = 0; i < probe->count; i++) {
        const struct probe_leg *other = &probe->legs[i];

        if (other->server.server.transport == transport && other->family == leg->family &&
            other->reachable.answer == PROBE_YES &&
            strcmp(other->server.server.host, leg->server.server.host) == 0)
            return true;
    }
    return false;
}

static bool has_word(const struct probe_leg *leg, const char *word)
{
    return strstr(leg->reachable.text, word) != NULL;
}

static const char *time_text(char buf[64])
{
    time_t seconds = time(NULL);
    struct tm tm;

    snprintf(buf, 64, "?");
    if (gmtime_r(&seconds, &tm) != NULL)
        strftime(buf, 64, "%Y-%m-%d %H:%M:%S UTC", &tm);
    return buf;
}

/* The words are those of the TLS library. */
static void advise_certificate(struct probe *probe, const struct probe_leg *leg)
{
    const char *host = leg->server.server.host;
    char now[64];

    if (has_word(leg, "expired") || has_word(leg, "not yet valid"))
        advise(probe,
               "the certificate of %s has expired, or is not valid yet: renew it (coturn: cert, "
               "pkey, and a restart), or set this machine's clock, which has %s",
               host, time_text(now));
    else if (has_word(leg, "mismatch"))
        advise(probe,
               "the certificate of %s is for another name: use the name that stands in it, or let "
               "it have this name or address too (subjectAltName)",
               host);
    else
        advise(probe,
               "the certificate of %s comes from an authority that is not known here: name the "
               "authority, or a self-signed certificate itself, with --ca-file; or get one of a "
               "public authority, and let the server send the intermediate ones too",
               host);
}

/* Something is there, but it is no TURN server. */
static bool advise_other_service(struct probe *probe, const struct probe_leg *leg)
{
    const char *host = leg->server.server.host;
    unsigned port = leg->server.server.port;
    bool is_tls = leg->server.server.transport == SERVER_TLS;
    bool is_stream = leg->server.server.transport != SERVER_UDP;

    if (is_tls && (has_word(leg, "wrong version number") || has_word(leg, "in time"))) {
        advise(probe,
               "something listens on port %u of %s, but does not speak TLS: try turn:%s:%u "
               "instead of turns:, or port 5349 or 443",
               port, host, host, port);
    } else if (has_word(leg, "neither STUN nor TURN")) {
        advise(probe,
               "something listens on port %u of %s, but it is no TURN server: most TURN servers "
               "have port 3478, and 5349 or 443 for TLS",
               port, host);
    } else if (is_stream && leg->outcome == STUN_CLIENT_SILENT) {
        advise(probe,
               "port %u of %s takes connections, but does not answer STUN: it is another service, "
               "such as a web server, or a proxy or firewall between; most TURN servers have port "
               "3478, and 5349 or 443 for TLS",
               port, host);
    } else {
        return false;
    }
    return true;
}

static void advise_unreachable(struct probe *probe, const struct probe_leg *leg)
{
    const char *host = leg->server.server.host;
    unsigned port = leg->server.server.port;
    bool is_tls = leg->server.server.transport == SERVER_TLS;

    if (leg->server.server.transport == SERVER_UDP && is_reached_by(probe, leg, SERVER_TCP)) {
        advise(probe,
               "%s answers over TCP, but not over UDP: a firewall here or there drops UDP to port "
               "%u; open it, or use ?transport=tcp, which is slower",
               host, port);
    } else if (is_tls && has_word(leg, "certificate")) {
        advise_certificate(probe, leg);
    } else if (is_tls && is_reached_by(probe, leg, SERVER_TCP)) {
        advise(probe,
               "%s offers no TLS on port %u: networks that let only encrypted traffic out will "
               "not reach it (coturn: cert, pkey, tls-listening-port; port 443 is let out most)",
               host, port);
    } else if (advise_other_service(probe, leg)) {
        return;
    } else if (leg->family == AF_INET6 &&
               (has_word(leg, "nreachable") || has_word(leg, "o route"))) {
        advise(probe, "%s has an IPv6 address, but this machine has no way there", host);
    } else if (has_word(leg, "refused")) {
        advise(probe,
               "nothing listens on port %u of %s (%s): is the server running, and is the port "
               "right?",
               port, host, server_transport_name(leg->server.server.transport));
    } else if (!is_reached_by(probe, leg, SERVER_UDP) && !is_reached_by(probe, leg, SERVER_TCP)) {
        advise(probe,
               "%s is not reached at all by %s: is it running, are name and port right, and "
               "is no firewall between?",
               host, leg->family == AF_INET6 ? "IPv6" : "IPv4");
    }
}

/* "1600000000:bob" */
static bool is_time_limited(const char *user)
{
    size_t digits = user != NULL ? strspn(user, "0123456789") : 0;

    return digits >= 10 && (user[digits] == '\0' || user[digits] == ':');
}

static void advise_login(struct probe *probe, const struct probe_leg *leg)
{
    const char *text = leg->login.answer == PROBE_NO ? leg->login.text : leg->relay[0].text;
    char now[64];

    if (leg->open_relay)
        advise(probe,
               "%s relays for everybody, without a login: it will be abused (coturn: "
               "lt-cred-mech, or use-auth-secret)",
               leg->server.server.host);
    switch (leg->trouble) {
    case TURN_NO_LOGIN:
        advise(probe, "%s wants a login: --user with --password-file, or --secret-file",
               leg->server.server.host);
        break;
    case TURN_WRONG_LOGIN:
    case TURN_EXPIRED_LOGIN:
        if (leg->server.login.secret != NULL)
            advise(probe,
                   "time-limited credentials were refused: the secret is not that of the server "
                   "(coturn: static-auth-secret), or the clocks disagree; here it is %s",
                   time_text(now));
        else if (is_time_limited(leg->server.login.user))
            advise(probe,
                   "the server refuses this user or password; in time-limited credentials the user "
                   "begins with the time of their end, which must not be over; here it is %s",
                   time_text(now));
        else
            advise(probe, "the server refuses this user or password: are they those that stand in "
                          "its configuration (coturn: user, and realm for a key made of it), or is "
                          "it set up for time-limited ones (--secret-file)?");
        break;
    case TURN_QUOTA:
        advise(probe, "the user's quota is used up: wait for old allocations to expire (10 "
                      "minutes), or raise it (coturn: user-quota)");
        break;
    case TURN_CAPACITY:
        advise(probe, "the server has no ports or addresses left (coturn: min-port, max-port, "
                      "total-quota)");
        break;
    case TURN_NO_TRANSPORT:
        advise(probe, "%s relays no UDP (coturn: without no-udp-relay)", leg->server.server.host);
        break;
    case TURN_FINE:
    case TURN_NO_FAMILY:
        break;
    default: /* whatever else: the text says what to do */
        if (strncmp(text, leg->name, strlen(leg->name)) == 0)
            advise(probe, "%.250s", text);
        else
            advise(probe, "%s: %.250s", leg->name, text);
        break;
    }
    if (leg->second.answer == PROBE_NO)
        advise(probe,
               "two clients of this user at once are too many for %s, and its throughput could not "
               "be measured: %.250s",
               leg->server.server.host, leg->second.text);
}

/* Addresses that are granted, and yet lead nowhere. */
static void advise_relayed(struct probe *probe, const struct probe_leg *leg)
{
    const char *host = leg->server.server.host;

    for (int i = 0; i < 2; i++) {
        const struct addr *relayed = &leg->relayed[i];
        char lent[ADDR_TEXT_MAX], at[ADDR_TEXT_MAX];

        if (leg->relay[i].answer != PROBE_YES)
            continue;
        addr_format_ip(relayed, lent);
        if (is_its_own(leg, i))
            advise(probe,
                   "%s lends %s, an address of its own, to which nobody else can send (coturn: "
                   "relay-ip, and behind a NAT external-ip=PUBLIC/PRIVATE)",
                   host, lent);
        else if (!policy_is_public(relayed) && policy_is_public(&leg->address))
            advise(probe,
                   "%s lends %s, a private address, to which nobody outside its network can send "
                   "(coturn: external-ip=PUBLIC/PRIVATE)",
                   host, lent);
        else if (relayed->family == leg->address.family && !addr_equal_ip(relayed, &leg->address) &&
                 strstr(leg->software, "oturn") != NULL)
            advise(
                probe,
                "%s lends %s, but is itself at %s: unless it has both, what is sent to the first "
                "is lost (coturn: external-ip, relay-ip)",
                host, lent, addr_format_ip(&leg->address, at));
    }
}

static void advise_permissions(struct probe *probe, const struct probe_leg *leg)
{
    const char *host = leg->server.server.host;

    if (leg->permission.answer == PROBE_NO)
        advise(probe,
               "%s refuses our own address as a peer: clients of this network cannot be relayed "
               "to (coturn: denied-peer-ip and allowed-peer-ip; behind a NAT, external-ip)",
               host);
    if (leg->own_permission.answer == PROBE_NO && !is_its_own(leg, 0))
        advise(probe,
               "%s refuses its own relayed address as a peer: two clients that both have an "
               "allocation there cannot reach each other by it (coturn: allowed-peer-ip=ADDRESS, "
               "on loopback allow-loopback-peers)",
               host);
    if (leg->loopback.answer == PROBE_YES)
        advise(probe,
               "%s relays to its own loopback addresses, and so to services that should be its "
               "own (coturn: without allow-loopback-peers)",
               host);
}

static void advise_flow(struct probe *probe, const struct probe_leg *leg)
{
    const struct probe_flow *flow = &leg->flow;
    uint64_t lost = flow->sent > flow->received ? flow->sent - flow->received : 0;
    double mbit = flow->us > 0 ? (double)flow->bytes * 8 / (double)flow->us : 0;

    if (!flow->done || flow->sent == 0)
        return;
    if (flow->received == 0 && flow->bytes > 0) {
        advise(probe,
               "%s relays a little, and then drops everything: it limits the rate far below what "
               "is sent (coturn: max-bps, bps-capacity)",
               leg->name);
        return;
    }
    if (is_shut(flow)) {
        advise(probe,
               "%s grants everything, but relays nothing between two allocations: its relay ports "
               "are closed by a firewall (coturn: open min-port to max-port for UDP), or its "
               "external-ip is wrong",
               leg->name);
        return;
    }
    if (lost * 100 > flow->sent * LOSS_PERCENT)
        advise(probe,
               "%s loses %.1f %% of what it relays: the line or the server is overloaded, or "
               "limits the rate (coturn: max-bps)",
               leg->name, (double)lost * 100 / (double)flow->sent);
    if (mbit < SLOW_MBIT)
        advise(probe, "%s relays only %.1f Mbit/s (coturn: max-bps, bps-capacity)", leg->name,
               mbit);
    if (flow->largest > 0 && flow->largest < SMALL_BYTES)
        advise(probe,
               "%s does not relay messages of %d bytes: the MTU on the way is small, and "
               "ICMP about it is dropped",
               leg->name, SMALL_BYTES);
    if (flow->latency_us > FAR_US)
        advise(probe, "%s takes %.0f ms to relay a message: a nearer server would do better",
               leg->name, (double)flow->latency_us / 1000);
}

void probe_advise(struct probe *probe)
{
    for (size_t i = 0; i < probe->count; i++) {
        const struct probe_leg *leg = &probe->legs[i];

        if (leg->reachable.answer == PROBE_NO) {
            advise_unreachable(probe, leg);
            continue;
        }
        advise_login(probe, leg);
        if (leg->login.answer == PROBE_NO && leg->login.text[0] != '\0' &&
            leg->trouble == TURN_FINE)
            advise(probe, "%s: %.250s", leg->name, leg->login.text);
        advise_relayed(probe, leg);
        advise_permissions(probe, leg);
        advise_flow(probe, leg);
    }
}
