/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A job for each node_ping(): it waits for a path, has every path probed, and gathers what the
 * session tells. Sessions tell a peer, not a job (a job may end first), and what is told goes to
 * all jobs of that peer. The job ends when all paths have answered or timed out, or by its own
 * timer a little later, should a path have died meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/node_int.h"

#define GRACE_US (500 * MS_US)

struct ping_job {
    LIST_ENTRY(ping_job) link;
    struct node *node;
    struct node_peer *peer;
    uint64_t timeout_us;
    struct timer timer;
    struct defer finish;
    bool probing, too_many;
    size_t expected, count;
    struct node_ping results[SESSION_PATHS_MAX];
    node_ping_cb *cb;
    void *arg;
};

static void job_end(struct ping_job *job, const char *why)
{
    struct node *node = job->node;
    struct node_peer *peer = job->peer;
    struct ping_job copy;

    timer_cancel(node->loop, &job->timer);
    defer_cancel(node->loop, &job->finish);
    LIST_REMOVE(job, link);
    node->ping_count--;
    copy = *job;
    free(job);
    if (peer) {
        node_peer_update(peer);
        node_peer_release(peer);
    }
    copy.cb(copy.arg, copy.results, copy.count, copy.count ? NULL : why);
}

static void on_result(void *arg, const char *label, const struct addr *remote, uint64_t rtt_us)
{
    struct node_peer *peer = arg;
    struct ping_job *job;
    struct session_info info = {.paths = 0};

    if (peer->session)
        session_describe(peer->session, &info);
    LIST_FOREACH (job, &peer->node->pings, link) {
        struct node_ping *result = &job->results[job->count];

        if (job->peer != peer || !job->probing || job->count == SESSION_PATHS_MAX)
            continue;
        *result = (struct node_ping){.path = label, .remote = *remote, .rtt_us = rtt_us};
        for (size_t i = 0; i < info.paths; i++)
            if (addr_equal(&info.path[i].remote, remote))
                result->active = info.path[i].state == PATH_ACTIVE;
        if (++job->count >= job->expected)
            defer_soon(peer->node->loop, &job->finish);
    }
}

static void job_probe(struct ping_job *job)
{
    struct session *session = job->peer->session;
    struct session_info info;

    if (job->probing || !session || !session_has_path(session))
        return;
    session_describe(session, &info);
    job->probing = true;
    job->expected = info.paths;
    timer_set_in(job->node->loop, &job->timer, job->timeout_us + GRACE_US);
    session_ping(session, job->timeout_us, on_result, job->peer);
}

static void on_finish(void *arg)
{
    job_end(arg, "no answer");
}

static const char *no_path_reason(const struct node_peer *peer)
{
    struct scheduler_info info = {.text = ""};

    if (peer->is_refused && peer->refusal[0])
        return peer->refusal;
    if (peer->scheduler)
        scheduler_describe(peer->scheduler, &info);
    return info.text[0] ? info.text : "none was found in time";
}

static void on_timer(void *arg)
{
    struct ping_job *job = arg;
    const struct node_peer *peer = job->peer;

    if (job->probing)
        job_end(job, "the path was lost");
    else if (job->too_many)
        job_end(job, "too many pings are under way");
    else if (!peer)
        job_end(job, "that peer is not connected, and this node does not know where it is");
    else
        job_end(job, no_path_reason(peer));
}

void ping_path_up(struct node_peer *peer)
{
    struct ping_job *job;

    LIST_FOREACH (job, &peer->node->pings, link)
        if (job->peer == peer)
            job_probe(job);
}

bool ping_is_waiting(const struct node_peer *peer)
{
    const struct ping_job *job;

    LIST_FOREACH (job, &peer->node->pings, link)
        if (job->peer == peer)
            return true;
    return false;
}

void ping_free_all(struct node *node)
{
    struct ping_job *job, *next;

    for (job = LIST_FIRST(&node->pings); job; job = next) {
        next = LIST_NEXT(job, link);
        timer_cancel(node->loop, &job->timer);
        defer_cancel(node->loop, &job->finish);
        LIST_REMOVE(job, link);
        job->cb(job->arg, NULL, 0, "this node stops");
        free(job);
    }
    node->ping_count = 0;
}

/* NULL: there is no session with it, and we do not know where it is. */
static struct node_peer *peer_to_probe(struct node *node, const struct node_id *id)
{
    struct node_peer *peer = node_peer_get(node, id);

    if (!peer || node->stopping)
        return NULL;
    if (peer->session || (node_peer_is_reachable(peer) && node_peer_session(peer)))
        return peer;
    node_peer_release(peer);
    return NULL;
}

void node_ping(struct node *node, const struct node_id *id, uint64_t timeout_us, node_ping_cb *cb,
               void *arg)
{
    struct ping_job *job = calloc(1, sizeof(*job));

    if (!job)
        abort();
    job->node = node;
    job->timeout_us = timeout_us;
    job->cb = cb;
    job->arg = arg;
    job->peer = peer_to_probe(node, id);
    timer_init(&job->timer, on_timer, job);
    defer_init(&job->finish, on_finish, job);
    LIST_INSERT_HEAD(&node->pings, job, link);
    node->ping_count++;
    job->too_many = node->ping_count > NODE_PINGS_MAX;
    timer_set_in(node->loop, &job->timer, job->peer && !job->too_many ? timeout_us : 0);
    if (!job->peer || job->too_many)
        return;
    job_probe(job);
    node_peer_update(job->peer);
}
