/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * node_status(): what `adit status` shows, as JSON. Names are relied upon by scripts: add, never
 * rename. Times are in seconds or milliseconds as the names say, sizes in bytes, rates in bytes a
 * second. Nothing here tells a destination.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/slice.h"
#include "node/forward.h"

static json_t *seconds(uint64_t us)
{
    return json_real((double)(us / MS_US) / 1000);
}

static json_t *millis(uint64_t us)
{
    return us ? json_real((double)us / 1000) : json_null();
}

static json_t *address(const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];
    struct addr plain;

    if (!addr_is_set(addr))
        return json_null();
    plain = addr_unmap(addr);
    return json_string(addr_format(&plain, text));
}

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* --- The process --- */

/* RssAnon of /proc/self/status, 0 where it is not known. */
static uint64_t rss_anon_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "re");
    unsigned long long kib = 0;
    char line[256];

    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
            break;
    if (file)
        fclose(file);
    return kib * 1024;
}

static json_t *describe_memory(const struct node *node)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "pool_used_bytes", integer(node->pool.used),
                     "pool_limit_bytes", integer(node->pool.limit), "block_bytes",
                     integer(block_total_bytes()), "rss_anon_bytes", integer(rss_anon_bytes()));
}

static json_t *describe_node(const struct node *node)
{
    char text[NODE_ID_TEXT_LEN + 1];
    json_t *roles = json_array();

    if (node->roles & NODE_EXIT)
        json_array_append_new(roles, json_string("exit"));
    if (node->roles & NODE_GATEWAY)
        json_array_append_new(roles, json_string("gateway"));
    if (node->roles & NODE_FORWARD || !LIST_EMPTY(&node->forwards))
        json_array_append_new(roles, json_string("forward"));
    return json_pack("{s:s, s:s, s:s, s:i, s:o, s:o, s:b}", "id", node_id_format(&node->id, text),
                     "name", node->name, "version", PACKAGE_VERSION, "pid", (int)getpid(),
                     "uptime_s", seconds(loop_now(node->loop) - node->started), "roles", roles,
                     "stopping", node->stopping);
}

static json_t *describe_listeners(const struct node *node)
{
    json_t *list = json_array();
    size_t count = node_listener_count(node);

    for (size_t i = 0; i < count; i++) {
        struct node_listener listener = node_listener_at(node, i);
        char text[ADDR_TEXT_MAX];

        json_array_append_new(
            list,
            json_pack("{s:s, s:s}", "for", listener.for_paths ? "peers" : "applications", "address",
                      listener.path ? listener.path : addr_format(&listener.addr, text)));
    }
    return list;
}

static json_t *describe_exit(const struct node *node)
{
    struct egress_stats stats;

    egress_get_stats(node->egress, NULL, &stats);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "connections",
                     integer(stats.streams), "dials", integer(stats.dials), "opened",
                     integer(stats.opened), "failed", integer(stats.failed), "refused_policy",
                     integer(stats.refused_policy), "refused_limit", integer(stats.refused_limit),
                     "bytes_in", integer(stats.bytes_in), "bytes_out", integer(stats.bytes_out));
}

static json_t *peer_name(const struct node_peer *peer)
{
    return peer ? json_string(peer->label) : json_null();
}

static json_t *peer_id(const struct node_peer *peer)
{
    char text[NODE_ID_TEXT_LEN + 1];

    return peer ? json_string(node_id_format(&peer->id, text)) : json_null();
}

static json_t *describe_routes(const struct node *node)
{
    json_t *list = json_array();

    for (size_t i = 0; i < node->route_count; i++) {
        const struct route *route = &node->routes[i];
        char rule[RULE_TEXT_MAX];

        json_array_append_new(
            list, json_pack("{s:s, s:o, s:o, s:o}", "rule", rule_format(&route->rule, rule), "to",
                            route->peer                  ? peer_name(route->peer)
                            : route->way == ROUTE_DIRECT ? json_string("direct")
                                                         : json_string("block"),
                            "peer_id", peer_id(route->peer), "streams", integer(route->streams)));
    }
    return list;
}

static json_t *describe_gateway(const struct node *node)
{
    const struct front_stats *stats = front_stats(node->front);

    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "exit", peer_name(node->exit),
                     "exit_id", peer_id(node->exit), "clients", integer(stats->clients), "accepted",
                     integer(stats->accepted), "requests", integer(stats->requests), "failed",
                     integer(stats->failed), "malformed", integer(stats->malformed), "denied",
                     integer(stats->denied), "routes", describe_routes(node));
}

static json_t *describe_handshakes(const struct node *node)
{
    static const struct listen_stats none;
    const struct listen_stats *stats = node->listen ? listen_stats(node->listen) : &none;

    return json_pack("{s:o, s:o, s:o, s:o}", "now", integer(stats->handshakes), "accepted",
                     integer(stats->accepted), "refused", integer(stats->refused), "failed",
                     integer(stats->failed));
}

/* --- Signalling --- */

static const char *phase_text(enum broker_phase phase)
{
    switch (phase) {
    case BROKER_CONNECTING:
        return "connecting";
    case BROKER_UP:
        return "up";
    case BROKER_WAITING:
        return "waiting";
    }
    return "unknown";
}

static json_t *describe_brokers(const struct node *node)
{
    json_t *list = json_array();
    size_t count = node->signal ? signal_broker_count(node->signal) : 0;

    for (size_t i = 0; i < count; i++) {
        struct broker_info info;

        signal_broker_describe(node->signal, i, &info);
        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                      info.name ? info.name : "", "state", phase_text(info.phase), "why",
                      info.why && info.phase != BROKER_UP ? info.why : "", "next_try_s",
                      info.next_us ? seconds(info.next_us) : json_null(), "connect_ms",
                      millis(info.connect_us), "received", integer(info.received), "sent",
                      integer(info.sent), "dropped", integer(info.dropped), "connects",
                      integer(info.connects), "failures", integer(info.failures)));
    }
    return list;
}

static json_t *describe_signal(const struct node *node)
{
    static const struct signal_stats none;
    const struct signal_stats *stats = node->signal ? signal_stats(node->signal) : &none;

    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "received",
                     integer(stats->received), "opened", integer(stats->opened), "limited",
                     integer(stats->limited), "foreign", integer(stats->foreign), "forged",
                     integer(stats->forged), "malformed", integer(stats->malformed), "stale",
                     integer(stats->stale), "asked", integer(stats->asked), "answered",
                     integer(stats->answered), "refused", integer(stats->refused), "dialled",
                     integer(stats->dialled));
}

/* --- Peers --- */

static const char *path_state_text(enum path_state state)
{
    switch (state) {
    case PATH_ATTACHING:
        return "attaching";
    case PATH_ACTIVE:
        return "active";
    case PATH_STANDBY:
        return "standby";
    case PATH_SUSPECT:
        return "suspect";
    }
    return "unknown";
}

static json_t *describe_path(const struct path_info *path)
{
    return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "strategy", path->label, "kind", path->kind, "state",
                     path_state_text(path->state), "active", path->state == PATH_ACTIVE, "local",
                     address(&path->local), "remote", address(&path->remote), "rtt_ms",
                     millis(path->rtt_us), "age_s", seconds(path->since_us), "silent_s",
                     seconds(path->heard_us), "rx_bytes", integer(path->rx_bytes), "tx_bytes",
                     integer(path->tx_bytes), "rx_rate", integer(path->rx_rate), "tx_rate",
                     integer(path->tx_rate));
}

static json_t *describe_strategies(const struct scheduler_info *info)
{
    json_t *list = json_array();

    for (size_t i = 0; i < info->count; i++) {
        const struct scheduler_strategy_info *entry = &info->strategies[i];

        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", entry->name, "state",
                                              entry->state, "why", entry->text));
    }
    return list;
}

static void add_search(json_t *to, const struct node_peer *peer)
{
    struct scheduler_info info = {.text = ""};
    const char *trouble = node_peer_trouble(peer);

    if (peer->scheduler)
        scheduler_describe(peer->scheduler, &info);
    json_object_set_new(to, "trying", json_boolean(info.trying));
    json_object_set_new(to, "next_try_s", info.next_us ? seconds(info.next_us) : json_null());
    json_object_set_new(to, "failed_tries", integer(info.failures));
    json_object_set_new(to, "problem", json_string(trouble ? trouble : ""));
    json_object_set_new(to, "strategies", describe_strategies(&info));
}

/* "connected", "held" (streams wait for a path), "connecting" or "waiting" (for the peer to come).
 */
static const char *state_text(const struct node_peer *peer, const struct session_info *info)
{
    if (info->paths)
        return "connected";
    if (info->streams)
        return "held";
    return peer->is_exit ? "connecting" : "waiting";
}

static json_t *describe_peer(const struct node_peer *peer)
{
    struct session_info info = {.paths = 0};
    struct egress_stats egress = {.streams = 0};
    char text[NODE_ID_TEXT_LEN + 1];
    json_t *paths = json_array(), *out;

    if (peer->session)
        session_describe(peer->session, &info);
    if (peer->node->egress)
        egress_get_stats(peer->node->egress, &peer->id, &egress);
    for (size_t i = 0; i < info.paths; i++)
        json_array_append_new(paths, describe_path(&info.path[i]));
    out = json_pack("{s:s, s:s, s:b, s:b, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
                    node_id_format(&peer->id, text), "name", peer->label, "exit", peer->is_exit,
                    "admitted", peer->is_admitted, "state", state_text(peer, &info), "age_s",
                    seconds(info.since_us), "held_s", seconds(info.held_us), "streams",
                    integer(info.streams), "streams_opened", integer(info.opened), "connections",
                    integer(egress.streams), "resent_bytes", integer(info.resent_bytes), "moves",
                    integer(info.moves), "paths", paths);
    if (out)
        add_search(out, peer);
    return out;
}

json_t *node_status(const struct node *node)
{
    json_t *peers = json_array(), *out;
    struct node_peer *peer, *next;

    HASH_ITER (hh, node->peers, peer, next)
        json_array_append_new(peers, describe_peer(peer));
    out = json_pack("{s:o, s:o, s:o, s:o, s:o}", "node", describe_node(node), "memory",
                    describe_memory(node), "listeners", describe_listeners(node), "handshakes",
                    describe_handshakes(node), "peers", peers);
    if (out) {
        json_object_set_new(out, "brokers", describe_brokers(node));
        json_object_set_new(out, "signalling", describe_signal(node));
    }
    if (out && node->egress)
        json_object_set_new(out, "exit", describe_exit(node));
    if (out) {
        json_object_set_new(out, "forwards", forwards_describe(node));
        json_object_set_new(out, "listening_for_peers", lent_describe(node));
    }
    if (out && node->front)
        json_object_set_new(out, "gateway", describe_gateway(node));
    return out;
}
