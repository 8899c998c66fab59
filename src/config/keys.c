/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The one table of everything that can be configured. config.c parses by it, `adit check --keys`
 * prints it, and the tests compare it with the manual, the completion and the sample; so a new key
 * is a field in config.h, a line here, and its place in those.
 *
 * Bounds are in the field's unit: microseconds, bytes, bytes a second.
 */
#include "config/config_int.h"

#define MS                    UINT64_C(1000)
#define SECOND                (1000 * MS)
#define HOUR                  (3600 * SECOND)
#define DAY                   (24 * HOUR)
#define KIB                   UINT64_C(1024)
#define MIB                   (1024 * KIB)
#define GIB                   (1024 * MIB)
#define TIB                   (1024 * GIB)

#define FIELD(section, field) offsetof(struct config, section.field)

static const char *const log_levels[] = {"error", "warn", "info", "debug", "trace", NULL};
static const char *const strategies[] = {"direct", "reverse", "punch", "relay", NULL};
static const char *const dns_modes[] = {"exit", "local", NULL};
static const char *const loss_modes[] = {"block", "direct", NULL};
static const char *const turn_schemes[] = {"turn:", "turns:", NULL};

static const struct config_key keys[] = {
    {"node", "name", CONFIG_STRING, .offset = FIELD(node, name),
     .help = "name that peers and logs show; default: the host's name"},
    {"node", "control", CONFIG_FILE, .offset = FIELD(node, control),
     .help = "path of the control socket"},
    {"node", "log", CONFIG_ENUM, .offset = FIELD(node, log), .fallback = "info",
     .choices = log_levels, .help = "how much to log"},

    {"signal", "broker", CONFIG_BROKERS, .repeat = true, .offset = FIELD(signal, broker),
     .help = "MQTT broker over which peers find each other"},
    {"signal", "ca_file", CONFIG_FILE, .offset = FIELD(signal, ca_file),
     .help = "certificates of the authorities that sign brokers'; default: the system's"},

    {"nat", "stun", CONFIG_TARGETS, .repeat = true, .unused = true, .offset = FIELD(nat, stun),
     .help = "STUN server that tells our outside address"},
    {"nat", "port_mapping", CONFIG_BOOL, .unused = true, .offset = FIELD(nat, port_mapping),
     .fallback = "yes", .help = "ask the router for a port by PCP, NAT-PMP or UPnP"},
    {"nat", "interfaces", CONFIG_WORDS, .offset = FIELD(nat, interfaces),
     .help = "network interfaces to use; default: all that are up"},
    {"nat", "standby", CONFIG_BOOL, .offset = FIELD(nat, standby), .fallback = "yes",
     .help = "keep a path to the exit over each of these interfaces"},
    {"nat", "udp_offload", CONFIG_BOOL, .offset = FIELD(nat, udp_offload), .fallback = "yes",
     .help = "pass datagrams through the system several at a time"},

    {"turn", "server", CONFIG_URLS, .repeat = true, .offset = FIELD(turn, server),
     .choices = turn_schemes, .help = "TURN server to relay through"},
    {"turn", "user", CONFIG_STRING, .offset = FIELD(turn, user),
     .help = "user name at the TURN servers"},
    {"turn", "password_file", CONFIG_FILE, .offset = FIELD(turn, password_file),
     .help = "file with that user's password"},
    {"turn", "secret_file", CONFIG_FILE, .offset = FIELD(turn, secret_file),
     .help = "file with the servers' shared secret, for time-limited credentials"},
    {"turn", "ca_file", CONFIG_FILE, .offset = FIELD(turn, ca_file),
     .help = "certificates of the authorities to believe about turns: servers"},
    {"turn", "renew", CONFIG_DURATION, .offset = FIELD(turn, renew_us), .fallback = "240s",
     .min = SECOND, .max = 280 * SECOND,
     .help = "how often what we have asked for our peers there is asked again"},

    {"path", "strategies", CONFIG_STRATEGY, .offset = FIELD(path, strategies),
     .fallback = "direct, reverse, punch, relay", .choices = strategies,
     .help = "ways to find a path to a peer, in order of preference"},
    {"path", "fail", CONFIG_STRATEGY, .offset = FIELD(path, fail), .choices = strategies,
     .help = "strategies made to fail, for tests"},
    {"path", "listen", CONFIG_ADDRS, .repeat = true, .offset = FIELD(path, listen),
     .fallback = "[::]:0", .help = "where peers may reach us; port 0 is picked once, then kept"},
    {"path", "advertise", CONFIG_TARGETS, .repeat = true, .offset = FIELD(path, advertise),
     .help = "further address of ours to put into tickets, such as a forwarded port"},
    {"path", "hold", CONFIG_DURATION, .offset = FIELD(path, hold_us), .fallback = "120s",
     .min = 100 * MS, .max = 30 * DAY, .help = "how long open streams wait for a lost path"},
    {"path", "connect_wait", CONFIG_DURATION, .offset = FIELD(path, connect_wait_us),
     .fallback = "10s", .min = 10 * MS, .max = HOUR,
     .help = "how long a new stream waits for a path"},
    {"path", "probe_min", CONFIG_DURATION, .offset = FIELD(path, probe_min_us), .fallback = "500ms",
     .min = 5 * MS, .max = 60 * SECOND,
     .help = "shortest silence, while something is due, that makes a path suspect"},
    {"path", "probe_idle", CONFIG_DURATION, .offset = FIELD(path, probe_idle_us), .fallback = "15s",
     .min = 20 * MS, .max = HOUR, .help = "how often an idle path is probed"},
    {"path", "dial_timeout", CONFIG_DURATION, .offset = FIELD(path, dial_timeout_us),
     .fallback = "10s", .min = 10 * MS, .max = 10 * 60 * SECOND,
     .help = "limit of one attempt to connect to a peer"},
    {"path", "dial_retry", CONFIG_DURATION, .offset = FIELD(path, dial_retry_us),
     .fallback = "500ms", .min = 5 * MS, .max = HOUR,
     .help = "pause after a failed round of attempts; doubles each time"},
    {"path", "dial_retry_max", CONFIG_DURATION, .offset = FIELD(path, dial_retry_max_us),
     .fallback = "60s", .min = 5 * MS, .max = DAY, .help = "longest such pause"},
    {"path", "handshake_timeout", CONFIG_DURATION, .offset = FIELD(path, handshake_timeout_us),
     .fallback = "5s", .min = 10 * MS, .max = 10 * 60 * SECOND,
     .help = "how long an incoming connection may take to prove itself"},
    {"path", "max_handshakes", CONFIG_INT, .offset = FIELD(path, max_handshakes), .fallback = "256",
     .min = 1, .max = 65536, .help = "incoming connections at once that have not yet done so"},
    {"path", "renew_bytes", CONFIG_SIZE, .offset = FIELD(path, renew_bytes), .fallback = "64G",
     .min = MIB, .max = 1024 * TIB, .help = "a path is replaced, with fresh keys, after so much"},
    {"path", "renew_after", CONFIG_DURATION, .offset = FIELD(path, renew_after_us),
     .fallback = "24h", .min = 50 * MS, .max = 30 * DAY, .help = "or after so long"},

    {"session", "memory", CONFIG_SIZE, .offset = FIELD(session, memory), .fallback = "256M",
     .min = MIB, .max = TIB, .help = "most memory for data of all streams"},
    {"session", "max_streams", CONFIG_INT, .offset = FIELD(session, max_streams),
     .fallback = "20000", .min = 1, .max = 10000000, .help = "most streams at once"},

    {"gateway", "listen", CONFIG_LISTENS, .repeat = true, .offset = FIELD(gateway, listen),
     .fallback = "127.0.0.1:1080", .help = "where applications connect, by SOCKS or HTTP"},
    {"gateway", "exit", CONFIG_STRING, .offset = FIELD(gateway, exit),
     .help = "peer that lets the traffic out: name, ID or ticket; default: the only one known"},
    {"gateway", "users_file", CONFIG_FILE, .offset = FIELD(gateway, users_file),
     .help = "file of user:password lines; none: no authentication"},
    {"gateway", "max_clients", CONFIG_INT, .offset = FIELD(gateway, max_clients),
     .fallback = "16384", .min = 1, .max = 10000000,
     .help = "most connections of applications at once"},
    {"gateway", "request_timeout", CONFIG_DURATION, .offset = FIELD(gateway, request_timeout_us),
     .fallback = "30s", .min = 10 * MS, .max = HOUR,
     .help = "how long an application may take to send its request"},
    {"gateway", "route", CONFIG_ROUTES, .repeat = true, .offset = FIELD(gateway, route),
     .help = "other exit for some destinations: RULE -> PEER, direct or block"},

    {"tun", "device", CONFIG_STRING, .unused = true, .offset = FIELD(tun, device),
     .fallback = "adit0", .help = "name of the TUN interface"},
    {"tun", "address", CONFIG_NETS, .repeat = true, .unused = true, .offset = FIELD(tun, address),
     .help = "its address and prefix length"},
    {"tun", "mtu", CONFIG_INT, .unused = true, .offset = FIELD(tun, mtu), .fallback = "1500",
     .min = 1280, .max = 65535, .help = "its MTU in bytes"},
    {"tun", "route", CONFIG_NETS, .repeat = true, .unused = true, .offset = FIELD(tun, route),
     .help = "network that goes into the tunnel"},
    {"tun", "bypass", CONFIG_NETS, .repeat = true, .unused = true, .offset = FIELD(tun, bypass),
     .help = "network that does not"},
    {"tun", "dns", CONFIG_ENUM, .unused = true, .offset = FIELD(tun, dns), .fallback = "exit",
     .choices = dns_modes, .help = "where names resolve"},
    {"tun", "on_loss", CONFIG_ENUM, .unused = true, .offset = FIELD(tun, on_loss),
     .fallback = "block", .choices = loss_modes, .help = "traffic while there is no path"},

    {"exit", "allow", CONFIG_RULES, .repeat = true, .offset = FIELD(exit, allow),
     .help = "destinations allowed beyond the default of public addresses"},
    {"exit", "deny", CONFIG_RULES, .repeat = true, .offset = FIELD(exit, deny),
     .help = "destinations denied, whatever is allowed"},
    {"exit", "rate", CONFIG_RATE, .offset = FIELD(exit, rate), .fallback = "none",
     .help = "most a peer may transfer, each way"},
    {"exit", "max_streams_per_peer", CONFIG_INT, .offset = FIELD(exit, max_streams_per_peer),
     .fallback = "10000", .min = 1, .max = 10000000, .help = "most streams of one peer at once"},
    {"exit", "connect_timeout", CONFIG_DURATION, .offset = FIELD(exit, connect_timeout_us),
     .fallback = "20s", .min = 10 * MS, .max = 10 * 60 * SECOND,
     .help = "how long to try to reach a destination"},
    {"exit", "resolver", CONFIG_RESOLVERS, .repeat = true, .offset = FIELD(exit, resolver),
     .help = "DNS server; default: the system's"},
    {"exit", "access_log", CONFIG_BOOL, .offset = FIELD(exit, access_log), .fallback = "no",
     .help = "log each stream with its destination"},
    {"exit", "reverse", CONFIG_RULES, .repeat = true, .offset = FIELD(exit, reverse),
     .help = "addresses and ports where admitted peers may have this machine listen for them"},

    {"forward", "local", CONFIG_FORWARDS, .repeat = true, .offset = FIELD(forward, local),
     .help = "connections to LISTEN here go to HOST:PORT as the peer reaches it"},
    {"forward", "reverse", CONFIG_REVERSES, .repeat = true, .offset = FIELD(forward, reverse),
     .help = "connections to LISTEN at the peer come to HOST:PORT as this machine reaches it"},

    {"peer", "id", CONFIG_NODE_ID, .offset = offsetof(struct config_peer, id),
     .help = "the peer's node ID"},
    {"peer", "ticket", CONFIG_TICKET, .offset = offsetof(struct config_peer, ticket),
     .help = "the peer's ticket: how to reach it, and the right to enrol"},
    {"peer", "admit", CONFIG_BOOL, .offset = offsetof(struct config_peer, admit), .fallback = "no",
     .help = "the peer may use us as an exit"},
};

const struct config_key *config_keys(size_t *count)
{
    *count = sizeof keys / sizeof *keys;
    return keys;
}

static const char *const type_names[] = {
    [CONFIG_BOOL] = "yes|no",
    [CONFIG_INT] = "NUMBER",
    [CONFIG_DURATION] = "DURATION",
    [CONFIG_SIZE] = "SIZE",
    [CONFIG_RATE] = "RATE",
    [CONFIG_STRING] = "TEXT",
    [CONFIG_FILE] = "FILE",
    [CONFIG_ENUM] = "CHOICE",
    [CONFIG_STRATEGY] = "STRATEGY,...",
    [CONFIG_NODE_ID] = "ID",
    [CONFIG_TICKET] = "TICKET",
    [CONFIG_ADDRS] = "IP:PORT",
    [CONFIG_RESOLVERS] = "IP[:PORT]",
    [CONFIG_LISTENS] = "IP:PORT|unix:PATH",
    [CONFIG_TARGETS] = "HOST:PORT",
    [CONFIG_URLS] = "URL",
    [CONFIG_BROKERS] = "URL",
    [CONFIG_WORDS] = "NAME,...",
    [CONFIG_NETS] = "IP/PREFIX",
    [CONFIG_RULES] = "RULE",
    [CONFIG_ROUTES] = "RULE -> EXIT",
    [CONFIG_FORWARDS] = "LISTEN -> PEER HOST:PORT",
    [CONFIG_REVERSES] = "LISTEN -> PEER HOST:PORT",
};

_Static_assert(sizeof type_names / sizeof *type_names == CONFIG_REVERSES + 1,
               "each type has a name");

const char *config_type_name(const struct config_key *key)
{
    return type_names[key->type];
}
