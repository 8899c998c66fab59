/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A packet first meets chance (loss), then the queue of the slow place, then the way:
 *
 *     loss -> queue (bytes or packets) -> rate -> delay, jitter -> arrival
 *
 * The slow place is one number, the time until which it is busy: a packet leaves it when those
 * before it have left, and len * 8 / rate later. What waits is therefore known without being kept:
 * (busy_until - now) * rate. Only a queue counted in packets keeps the times at which its packets
 * leave, LINK_QUEUE_MAX at most.
 *
 * Arrivals are in order: jitter never lets a packet overtake (it adds to the delay's mean instead).
 * A packet chosen for reordering arrives reorder_delay later than it would and holds nobody up.
 * A duplicate arrives together with its original.
 *
 * link_admit() decides and link_put() keeps, so that a line without delay and rate costs no memory:
 * the caller may hand on at once what arrives by now while nothing is under way. Arrivals in order
 * are a ring; late ones, few, are a second list kept sorted by insertion from the end. Both grow
 * by doubling to LINK_LINE_MAX.
 */
#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIST_MIN 256

void link_init(struct link *link, const struct link_config *config, uint64_t seed)
{
    memset(link, 0, sizeof(*link));
    link->config = *config;
    link->chance.state = seed;
    link->last = link->busy_until = INT64_MIN;
}

void link_free(struct link *link)
{
    free(link->line.items);
    free(link->late.items);
    free(link->leaving);
    memset(link, 0, sizeof(*link));
}

static int64_t transmission_ns(const struct link *link, uint64_t bytes)
{
    return (int64_t)((double)bytes * 8e9 / (double)link->config.rate);
}

static uint64_t waiting_bytes(const struct link *link, int64_t now)
{
    if (!link->config.rate || link->busy_until <= now)
        return 0;
    return (uint64_t)((double)(link->busy_until - now) * (double)link->config.rate / 8e9);
}

void link_configure(struct link *link, const struct link_config *config, int64_t now)
{
    uint64_t waiting = waiting_bytes(link, now);
    link->config = *config;
    if (waiting && config->rate)
        link->busy_until = now + transmission_ns(link, waiting);
    else if (!config->rate)
        link->busy_until = INT64_MIN;
    link->leaving_count = 0; /* those that wait no longer count against the new queue */
}

void link_set_cut(struct link *link, bool is_cut)
{
    link->is_cut = is_cut;
    link->last = link->busy_until = INT64_MIN;
    link->leaving_count = 0;
}

/* --- The queue --- */

static bool queue_has_packet_room(struct link *link, int64_t now)
{
    if (!link->leaving) {
        link->leaving = calloc(LINK_QUEUE_MAX, sizeof(*link->leaving));
        if (!link->leaving)
            return false;
    }
    while (link->leaving_count && link->leaving[link->leaving_first] <= now) {
        link->leaving_first = (link->leaving_first + 1) % LINK_QUEUE_MAX;
        link->leaving_count--;
    }
    uint64_t limit = link->config.queue_packets;
    return link->leaving_count < (limit < LINK_QUEUE_MAX ? limit : LINK_QUEUE_MAX);
}

static bool queue_has_room(struct link *link, size_t len, int64_t now)
{
    const struct link_config *config = &link->config;
    if (config->queue_packets)
        return queue_has_packet_room(link, now);
    uint64_t limit = config->queue_bytes;
    if (!limit) {
        limit = config->rate / 8 * LINK_QUEUE_MS / 1000;
        limit = limit > LINK_QUEUE_BYTES ? limit : LINK_QUEUE_BYTES;
    }
    uint64_t waiting = waiting_bytes(link, now);
    return waiting == 0 || waiting + len <= limit; /* an empty queue takes any packet */
}

/* When the packet has left the slow place. */
static int64_t queue_pass(struct link *link, size_t len, int64_t now)
{
    int64_t start = link->busy_until > now ? link->busy_until : now;
    link->busy_until = start + transmission_ns(link, len);
    if (link->config.queue_packets) {
        size_t at = (link->leaving_first + link->leaving_count++) % LINK_QUEUE_MAX;
        link->leaving[at] = link->busy_until;
    }
    return link->busy_until;
}

/* --- Chance --- */

static bool happens(struct link *link, double probability)
{
    return probability > 0 && chance_part(&link->chance) < probability;
}

/* Runs of losses have the mean length loss_burst and the share loss (Gilbert's model). */
static bool is_lost(struct link *link)
{
    double loss = link->config.loss, burst = link->config.loss_burst;
    if (loss <= 0 || loss >= 1 || burst <= 1)
        return happens(link, loss);
    if (link->is_losing)
        link->is_losing = !happens(link, 1 / burst);
    else
        link->is_losing = happens(link, loss / (burst * (1 - loss)));
    return link->is_losing;
}

enum link_fate link_admit(struct link *link, size_t len, int64_t now, int *copies, int64_t *when)
{
    const struct link_config *config = &link->config;
    if (link->is_cut)
        return LINK_CUT;
    if (is_lost(link))
        return LINK_LOST;
    int64_t at = now;
    if (config->rate) {
        if (!queue_has_room(link, len, now))
            return LINK_QUEUE_FULL;
        at = queue_pass(link, len, now);
    }
    at += config->delay;
    if (config->jitter)
        at += (int64_t)((chance_part(&link->chance) * 2 - 1) * (double)config->jitter);
    at = at > now ? at : now;
    if (happens(link, config->reorder)) {
        at = (at > link->last ? at : link->last) + config->reorder_delay;
        link->reordered++;
    } else {
        at = at > link->last ? at : link->last;
        link->last = at;
    }
    when[0] = when[1] = at;
    *copies = 1;
    if (happens(link, config->duplicate)) {
        *copies = 2;
        link->duplicated++;
    }
    return LINK_PASSED;
}

/* --- What is under way --- */

static struct link_item *list_at(const struct link_list *list, size_t i)
{
    return &list->items[(list->first + i) & (list->size - 1)];
}

static int list_grow(struct link_list *list)
{
    size_t size = list->size ? list->size * 2 : LIST_MIN;
    struct link_item *items = malloc(size * sizeof(*items));
    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < list->count; i++)
        items[i] = *list_at(list, i);
    free(list->items);
    list->items = items;
    list->size = size;
    list->first = 0;
    return 0;
}

int link_put(struct link *link, int64_t when, void *what)
{
    if (link_count(link) >= LINK_LINE_MAX)
        return -ENOBUFS;
    bool is_in_order =
        !link->line.count || list_at(&link->line, link->line.count - 1)->when <= when;
    struct link_list *list = is_in_order && when <= link->last ? &link->line : &link->late;
    if (list->count == list->size) {
        int r = list_grow(list);
        if (r < 0)
            return r;
    }
    size_t i = list->count++;
    for (; i > 0 && list_at(list, i - 1)->when > when; i--)
        *list_at(list, i) = *list_at(list, i - 1);
    *list_at(list, i) = (struct link_item){when, what};
    return 0;
}

static int64_t list_next(const struct link_list *list)
{
    return list->count ? list_at(list, 0)->when : LINK_NEVER;
}

void *link_take(struct link *link, int64_t now)
{
    int64_t in_order = list_next(&link->line), late = list_next(&link->late);
    struct link_list *list = in_order <= late ? &link->line : &link->late;
    if (!list->count || list_next(list) > now)
        return NULL;
    void *what = list_at(list, 0)->what;
    list->first = (list->first + 1) & (list->size - 1);
    list->count--;
    return what;
}

int64_t link_next(const struct link *link)
{
    int64_t in_order = list_next(&link->line), late = list_next(&link->late);
    return in_order < late ? in_order : late;
}

size_t link_count(const struct link *link)
{
    return link->line.count + link->late.count;
}
