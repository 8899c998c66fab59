/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Where interfaces are named (nat.interfaces, the preferred first), a path to each peer that we use
 * is kept over each of them that works: one carries traffic, the others wait (nat.standby). For
 * each interface there is a slot with a scheduler of its own, whose attempts are bound to that
 * interface. It looks for a path while
 *
 *     the peer is used, its session has a path in good health, the interface is usable, and no path
 *     of the session that is not suspect has an address of that interface
 *
 * and, where standby is not wanted, only while a lesser interface carries traffic; it does so
 * calmly, since nobody waits. While there is no healthy path at all the peer's own scheduler looks
 * for one, over all interfaces. A slot only dials: where that does not succeed, as with a peer
 * behind a NAT, there is no standby.
 *
 * Which path carries traffic is the session's choice by rank: the strategy's first, then the place
 * of its interface in nat.interfaces; where none are named, a path by which the system would not
 * send to that peer today is worse than any other. Ranks are looked at again when the network has
 * changed; a path whose address is gone, or whose interface is down or unplugged, is left at once.
 * Where no standby is wanted, a path over a lesser interface goes when a better one carries
 * traffic. One that was silent, and comes back when another has been made over its interface, goes.
 *
 * Limits: STANDBY_SLOTS interfaces; the peer owns them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "node/node_int.h"

#define STANDBY_SLOTS SESSION_PATHS_MAX
#define PLACES        16 /* ranks of one strategy */

struct standby_slot {
    struct node_peer *peer;
    unsigned number;                              /* from 1 on */
    char label[NODE_LABEL_MAX + IF_NAMESIZE + 2]; /* for the log */
    struct strategy_env env;
    struct scheduler *scheduler; /* NULL: no memory */
};

struct standby {
    size_t count;
    struct standby_slot slots[STANDBY_SLOTS];
};

/* --- Ranks --- */

static unsigned place_of(const struct node_peer *peer, const struct interface *item,
                         const struct addr *local, const struct addr *remote)
{
    const struct config_strings *names = &peer->node->config->nat.interfaces;
    uint32_t now;

    if (addr_is_loopback(local))
        return 0;
    if (names->count == 0) {
        if (!peer->is_exit || !item)
            return 0; /* which way is better is left to those who dial */
        now = interfaces_route(remote);
        return now != 0 && now != item->index ? 1 : 0;
    }
    for (size_t i = 0; item && i < names->count && i < PLACES - 1; i++)
        if (strcmp(names->items[i], item->name) == 0)
            return (unsigned)i;
    return PLACES - 1;
}

static int rank_of(const struct node_peer *peer, const struct interface *item,
                   const struct addr *local, const struct addr *remote, int strategy_rank)
{
    return strategy_rank * PLACES + (int)place_of(peer, item, local, remote);
}

int standby_rank(const struct node_peer *peer, struct pipe *pipe, int strategy_rank)
{
    struct addr local = {0}, remote = {0};
    const struct interface *item;

    pipe_addrs(pipe, &local, &remote);
    local = addr_unmap(&local);
    remote = addr_unmap(&remote);
    item = interfaces_of_addr(netwatch_interfaces(peer->node->netwatch), &local);
    return rank_of(peer, item, &local, &remote, strategy_rank);
}

bool standby_is_best(int rank)
{
    return rank % PLACES == 0;
}

int standby_review(void *arg, const struct path_info *path)
{
    const struct node_peer *peer = arg;
    struct addr local = addr_unmap(&path->local), remote = addr_unmap(&path->remote);
    const struct interface *item =
        interfaces_of_addr(netwatch_interfaces(peer->node->netwatch), &local);

    if (!item && addr_is_set(&local) && !addr_is_loopback(&local))
        return SESSION_RANK_GONE;
    return rank_of(peer, item, &local, &remote, path->rank / PLACES);
}

/* --- Slots --- */

static size_t on_candidates(void *arg, struct candidate *out, size_t max)
{
    struct standby_slot *slot = arg;

    return node_peer_candidates(slot->peer, out, max);
}

static void on_path(void *arg, struct pipe *pipe, const char *label, int rank,
                    const char *candidate)
{
    struct standby_slot *slot = arg;

    (void)candidate;
    greet_as_dialler(slot->peer, pipe, label, rank, slot->number);
}

static const struct scheduler_events slot_events = {.candidates = on_candidates, .path = on_path};

/* Of the configured strategies those that only dial. */
static struct config_strategies dialling(const struct config_strategies *all)
{
    struct config_strategies out = {.count = 0};

    for (size_t i = 0; i < all->count; i++)
        if (all->order[i] == STRATEGY_DIRECT)
            out.order[out.count++] = all->order[i];
    return out;
}

static void slot_init(struct standby_slot *slot, struct node_peer *peer, const char *name)
{
    const struct config *config = peer->node->config;
    const struct scheduler_options options = {
        .strategies = dialling(&config->path.strategies),
        .fail = config->path.fail,
        .retry_us = config->path.dial_retry_us,
        .retry_max_us = config->path.dial_retry_max_us,
    };

    slot->peer = peer;
    slot->env = peer->node->env;
    slot->env.signal = NULL;
    slot->env.interface_count = 1;
    snprintf(slot->env.interfaces[0], IF_NAMESIZE, "%s", name);
    snprintf(slot->label, sizeof(slot->label), "%s/%s", peer->label, name);
    slot->scheduler =
        scheduler_new(&slot->env, &options, &peer->id, slot->label, &slot_events, slot);
}

static struct standby *standby_make(struct node_peer *peer)
{
    const struct config_strings *names = &peer->node->config->nat.interfaces;
    struct standby *standby = calloc(1, sizeof(*standby));

    if (!standby)
        return NULL;
    while (standby->count < names->count && standby->count < STANDBY_SLOTS) {
        struct standby_slot *slot = &standby->slots[standby->count];

        slot->number = (unsigned)++standby->count;
        slot_init(slot, peer, names->items[slot->number - 1]);
    }
    return standby;
}

void standby_free(struct node_peer *peer)
{
    struct standby *standby = peer->standby;

    peer->standby = NULL;
    for (size_t i = 0; standby && i < standby->count; i++)
        scheduler_free(standby->slots[i].scheduler);
    free(standby);
}

static bool is_kept(const struct config *config)
{
    return config->nat.standby && config->nat.interfaces.count > 1;
}

static const struct path_info *active_path(const struct session_info *info)
{
    for (uint32_t i = 0; i < info->paths; i++)
        if (info->path[i].state == PATH_ACTIVE)
            return &info->path[i];
    return NULL;
}

struct spent {
    const struct node_peer *peer;
    const struct session_info *info;
    const struct path_info *active; /* may be NULL */
};

static bool is_lesser(const struct spent *spent, const struct path_info *path)
{
    const struct path_info *active = spent->active;

    return active && path->rank > active->rank && path->rank / PLACES == active->rank / PLACES;
}

/* It was silent, another was made over its interface, and it has come back. */
static bool is_doubled(const struct spent *spent, const struct path_info *path)
{
    for (uint32_t i = 0; i < spent->info->paths; i++) {
        const struct path_info *other = &spent->info->path[i];

        if (other->state != PATH_SUSPECT && other->rank == path->rank &&
            other->since_us < path->since_us && addr_equal_ip(&other->local, &path->local))
            return true;
    }
    return false;
}

static bool is_spent(const struct spent *spent, const struct path_info *path)
{
    if (path->state != PATH_STANDBY)
        return false;
    return is_doubled(spent, path) ||
           (!is_kept(spent->peer->node->config) && is_lesser(spent, path));
}

static int review_spent(void *arg, const struct path_info *path)
{
    const struct spent *spent = arg;

    return is_spent(spent, path) ? SESSION_RANK_SPENT
                                 : standby_review((void *)(uintptr_t)spent->peer, path);
}

/* Lets go what has served: all but the youngest path over an interface, and, where no standby is
 * wanted, those over a lesser interface than the active one's. */
static void drop_spent(struct node_peer *peer, const struct session_info *info)
{
    struct spent spent = {peer, info, active_path(info)};

    for (uint32_t i = 0; i < info->paths; i++) {
        if (!is_spent(&spent, &info->path[i]))
            continue;
        session_review_paths(peer->session, review_spent, &spent);
        return;
    }
}

static bool has_path_over(const struct session_info *info, const struct interfaces *list,
                          const struct interface *item)
{
    for (uint32_t i = 0; i < info->paths; i++) {
        struct addr local = addr_unmap(&info->path[i].local);

        if (info->path[i].state != PATH_SUSPECT && interfaces_of_addr(list, &local) == item)
            return true;
    }
    return false;
}

/* Whether a path over an interface is wanted: as a standby, or since it is preferred to the one
 * that carries traffic. */
static bool is_wanted(const struct node_peer *peer, const struct session_info *info,
                      const struct standby_slot *slot)
{
    const struct interfaces *list = netwatch_interfaces(peer->node->netwatch);
    const struct interface *item = interfaces_named(list, slot->env.interfaces[0]);
    const struct path_info *active = active_path(info);

    if (!item || !interfaces_is_usable(list, item) || has_path_over(info, list, item))
        return false;
    return is_kept(peer->node->config) ||
           (active && slot->number - 1 < (unsigned)active->rank % PLACES);
}

void standby_update(struct node_peer *peer)
{
    const struct config *config = peer->node->config;
    struct session_info info;
    bool wanted = peer->is_exit && peer->session && !peer->node->stopping &&
                  session_wants(peer->session) == SESSION_WANTS_NOTHING;

    if (wanted && !peer->standby && config->nat.interfaces.count > 1)
        peer->standby = standby_make(peer);
    if (wanted)
        session_describe(peer->session, &info);
    for (size_t i = 0; peer->standby && i < peer->standby->count; i++) {
        struct standby_slot *slot = &peer->standby->slots[i];

        if (slot->scheduler)
            scheduler_set_need(slot->scheduler, wanted && is_wanted(peer, &info, slot)
                                                    ? SCHEDULER_CALM
                                                    : SCHEDULER_STOP);
    }
    if (wanted)
        drop_spent(peer, &info);
}

void standby_kick(struct node_peer *peer)
{
    for (size_t i = 0; peer->standby && i < peer->standby->count; i++) {
        struct scheduler *scheduler = peer->standby->slots[i].scheduler;

        if (scheduler && scheduler_is_wanted(scheduler))
            scheduler_kick(scheduler);
    }
}

void standby_settle(struct node_peer *peer, unsigned number, enum scheduler_verdict verdict,
                    const char *text)
{
    if (peer->standby && number >= 1 && number <= peer->standby->count &&
        peer->standby->slots[number - 1].scheduler)
        scheduler_settle(peer->standby->slots[number - 1].scheduler, verdict, text);
}
