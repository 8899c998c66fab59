/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Names in tickets are looked up by the same resolver as the exit's destinations; a node that is no
 * exit makes one when a name first comes up. A strategy gets all addresses of a name at once, when
 * both families have been answered.
 */
#include <stdlib.h>
#include <string.h>

#include "node/node_int.h"

struct node_lookup {
    struct lookup lookup;
    strategy_resolved_cb *done;
    void *arg;
    int families; /* answered */
    size_t count;
    enum answer why;
    struct addr addrs[2 * RESOLVE_ADDRS_MAX];
};

/* It was looked up here, not at an exit. */
static const char *trouble_text(enum answer why)
{
    return why == ANSWER_NAME_FAILED
               ? "this machine's resolver does not answer: is the network up, "
                 "and its DNS server?"
               : answer_text(why);
}

static void on_result(void *arg, int family, const struct addr *addrs, size_t count,
                      enum answer why)
{
    struct node_lookup *lookup = arg;
    strategy_resolved_cb *done = lookup->done;
    struct addr found[2 * RESOLVE_ADDRS_MAX];
    size_t total;

    (void)family;
    for (size_t i = 0; i < count && lookup->count < 2 * RESOLVE_ADDRS_MAX; i++)
        lookup->addrs[lookup->count++] = addrs[i];
    if (count == 0)
        lookup->why = why;
    if (++lookup->families < 2)
        return;
    total = lookup->count;
    memcpy(found, lookup->addrs, sizeof(found));
    arg = lookup->arg;
    why = lookup->why;
    resolve_cancel(&lookup->lookup);
    free(lookup);
    done(arg, found, total, total ? NULL : trouble_text(why));
}

static void *lookup_start(void *owner, const char *name, strategy_resolved_cb *done, void *arg)
{
    struct node *node = owner;
    struct resolver *resolver = node->egress ? egress_resolver(node->egress) : node->resolver;
    struct node_lookup *lookup;

    if (!resolver) {
        const struct resolver_options options = {
            .servers = node->config->exit.resolver.items,
            .server_count = node->config->exit.resolver.count,
        };

        resolver = node->resolver = resolver_new(node->loop, &options);
    }
    lookup = resolver ? calloc(1, sizeof(*lookup)) : NULL;
    if (!lookup)
        return NULL;
    lookup->done = done;
    lookup->arg = arg;
    lookup->why = ANSWER_NAME_FAILED;
    lookup_init(&lookup->lookup);
    if (resolve(resolver, &lookup->lookup, name, 0, on_result, lookup) < 0) {
        free(lookup);
        return NULL;
    }
    return lookup;
}

static void lookup_cancel(void *owner, void *handle)
{
    struct node_lookup *lookup = handle;

    (void)owner;
    resolve_cancel(&lookup->lookup);
    free(lookup);
}

void lookup_init_env(struct node *node)
{
    node->env.resolver =
        (struct strategy_resolver){.start = lookup_start, .cancel = lookup_cancel, .owner = node};
}
