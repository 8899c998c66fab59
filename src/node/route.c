/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Which way a target of the gateway's applications takes: the first gateway.route that matches,
 * else the gateway's exit. A way is a peer, `direct` (this machine connects itself) or `block`.
 * Names are not resolved here, or whoever watches our name server would see them: a rule with a
 * network matches only addresses that the application gave, a rule with a name only names.
 *
 * Every peer that is named is kept as the exit is: with a session and a warm path. Ways are
 * replaced as a whole, so a configuration that cannot be used changes nothing; the new ones are
 * taken before the old ones are left, so a peer in both notices nothing, and open streams stay
 * where they are in any case.
 *
 * No exit is needed where the last word is a route for everything.
 * Limit: CONFIG_LIST_MAX routes, looked at one by one, once a stream.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/node_int.h"

void routes_drop(struct ways *ways)
{
    for (size_t i = 0; i < ways->count; i++)
        if (ways->routes[i].peer)
            node_peer_leave(ways->routes[i].peer);
    if (ways->exit)
        node_peer_leave(ways->exit);
    free(ways->routes);
    *ways = (struct ways){.exit = NULL};
}

/* Finds the peer and takes it. */
static int take(struct node *node, const struct config *config, const char *text,
                struct node_peer **peer, char *errbuf, size_t errlen)
{
    int r = node_choose_peer(node, config, text, peer, errbuf, errlen);

    if (r < 0)
        return r;
    r = node_peer_use(*peer);
    if (r < 0) {
        *peer = NULL;
        snprintf(errbuf, errlen, "out of memory");
    }
    return r;
}

static int take_route(struct node *node, const struct config *config,
                      const struct config_route *line, struct route *route, char *errbuf,
                      size_t errlen)
{
    char why[384];
    int r;

    route->rule = line->rule;
    if (strcmp(line->exit, "direct") == 0) {
        route->way = ROUTE_DIRECT;
        return 0;
    }
    if (strcmp(line->exit, "block") == 0) {
        route->way = ROUTE_BLOCK;
        return 0;
    }
    route->way = ROUTE_PEER;
    r = take(node, config, line->exit, &route->peer, why, sizeof(why));
    if (r < 0)
        snprintf(errbuf, errlen, "gateway.route to %s: %s", line->exit, why);
    return r;
}

static bool needs_exit(const struct config *config)
{
    for (size_t i = 0; i < config->gateway.route.count; i++) {
        const struct rule *rule = &config->gateway.route.items[i].rule;

        if (rule->kind == RULE_ANY && rule->port_low == 0)
            return false;
    }
    return true;
}

int routes_plan(struct node *node, const struct config *config, struct ways *ways, char *errbuf,
                size_t errlen)
{
    const struct config_routes *lines = &config->gateway.route;
    int r = 0;

    *ways = (struct ways){.exit = NULL};
    if (lines->count) {
        ways->routes = calloc(lines->count, sizeof(*ways->routes));
        r = ways->routes ? 0 : -ENOMEM;
        if (r < 0)
            snprintf(errbuf, errlen, "out of memory");
    }
    if (r == 0 && (config->gateway.exit[0] || needs_exit(config)))
        r = take(node, config, config->gateway.exit, &ways->exit, errbuf, errlen);
    while (r == 0 && ways->count < lines->count) {
        r = take_route(node, config, &lines->items[ways->count], &ways->routes[ways->count], errbuf,
                       errlen);
        ways->count++;
    }
    if (r < 0)
        routes_drop(ways);
    return r;
}

void routes_use(struct node *node, struct ways *ways)
{
    struct ways old = {node->exit, node->routes, node->route_count};

    node->exit = ways->exit;
    node->routes = ways->routes;
    node->route_count = ways->count;
    routes_drop(&old);
}

void routes_free(struct node *node)
{
    free(node->routes);
    node->routes = NULL;
    node->route_count = 0;
}

struct route *routes_find(struct node *node, const struct target *target)
{
    struct addr addr = addr_unmap(&target->addr);
    bool is_name = target->name[0] != '\0';

    for (size_t i = 0; i < node->route_count; i++) {
        struct route *route = &node->routes[i];

        if (rule_match(&route->rule, is_name ? target->name : NULL, is_name ? NULL : &addr,
                       target->port))
            return route;
    }
    return NULL;
}
