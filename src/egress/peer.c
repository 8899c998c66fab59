/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A peer exists while it has requests or connections, or owes bytes to its rate (else a new
 * connection would begin with a fresh one), or was complained about a short while ago. A connection
 * is counted by a listener on its pipe, from when it is handed out to its end, whoever ends it.
 *
 * Limits: EGRESS_PEERS_MAX peers; beyond that, those who have nothing open are forgotten, then new
 * ones refused.
 */
#include "egress/peer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/log.h"

#define COMPLAIN_EVERY_US (60 * SEC_US)

struct peer_stream {
    struct peer *peer;
    struct pipe *pipe;
    struct peer_stream *next, *prev;
    struct rate_limit *limit; /* NULL: no rate */
    uint64_t began;
    char *text; /* for the access log; NULL: none */
};

const char *peer_text(const struct node_id *id, char buf[PEER_TEXT_MAX])
{
    char text[NODE_ID_TEXT_LEN + 1];
    memcpy(buf, node_id_format(id, text), PEER_TEXT_MAX - 1);
    buf[PEER_TEXT_MAX - 1] = '\0';
    return buf;
}

/* --- Peers --- */

void peer_table_init(struct peer_table *table, struct loop *loop)
{
    *table = (struct peer_table){.loop = loop};
}

static void stream_free(struct peer_stream *stream);

static void peer_free(struct peer *peer)
{
    while (peer->streams)
        stream_free(peer->streams);
    rate_clear(&peer->rate);
    HASH_DEL(peer->table->peers, peer);
    free(peer);
}

void peer_table_clear(struct peer_table *table)
{
    struct peer *peer, *next;
    HASH_ITER (hh, table->peers, peer, next) {
        peer_free(peer);
    }
}

void peer_table_set_rate(struct peer_table *table, uint64_t bytes_per_s)
{
    table->rate = bytes_per_s;
    for (struct peer *peer = table->peers; peer; peer = peer->hh.next)
        rate_set(&peer->rate, bytes_per_s);
}

struct peer *peer_find(const struct peer_table *table, const struct node_id *id)
{
    struct peer *peer;
    HASH_FIND(hh, table->peers, id, sizeof *id, peer);
    return peer;
}

static bool is_unused(const struct peer *peer)
{
    return peer->stats.streams == 0 && peer->stats.dials == 0;
}

/* Nothing would be lost with it. */
static bool is_spent(struct peer *peer)
{
    bool silenced =
        peer->complained && loop_now(peer->table->loop) < peer->complained + COMPLAIN_EVERY_US;
    return is_unused(peer) && !silenced && rate_is_full(&peer->rate);
}

/* Frees the spent ones, and all unused ones when the table is full. */
static void sweep(struct peer_table *table)
{
    bool full = HASH_COUNT(table->peers) >= EGRESS_PEERS_MAX;
    struct peer *peer, *next;
    HASH_ITER (hh, table->peers, peer, next) {
        if (is_spent(peer) || (full && is_unused(peer)))
            peer_free(peer);
    }
}

struct peer *peer_get(struct peer_table *table, const struct node_id *id)
{
    struct peer *peer = peer_find(table, id);
    if (peer)
        return peer;
    sweep(table);
    if (HASH_COUNT(table->peers) >= EGRESS_PEERS_MAX)
        return NULL;
    peer = calloc(1, sizeof *peer);
    if (!peer)
        return NULL;
    peer->id = *id;
    peer->table = table;
    rate_init(&peer->rate, table->loop, table->rate);
    HASH_ADD(hh, table->peers, id, sizeof peer->id, peer);
    return peer;
}

void peer_release(struct peer *peer)
{
    if (is_spent(peer))
        peer_free(peer);
}

void peer_complain(struct peer *peer, const char *reason, const char *remedy)
{
    uint64_t now = loop_now(peer->table->loop);
    char id[PEER_TEXT_MAX];
    peer->uncomplained++;
    if (peer->complained && now < peer->complained + COMPLAIN_EVERY_US)
        return;
    log_info("event=refused peer=%s count=%u reason=\"%s\" remedy=\"%s\"", peer_text(&peer->id, id),
             peer->uncomplained, reason, remedy);
    peer->complained = now;
    peer->uncomplained = 0;
}

/* --- Connections --- */

static void on_end(struct pipe *pipe, int why, void *arg);
static const struct pipe_events stream_events = {.end = on_end};

/* Stops counting; the pipe lives on, or is about to go. */
static void stream_free(struct peer_stream *stream)
{
    struct peer *peer = stream->peer;
    struct egress_stats *totals = &peer->table->totals;
    pipe_del_listener(stream->pipe, &stream_events, stream);
    if (stream->limit)
        rate_detach(stream->limit);
    DL_DELETE(peer->streams, stream);
    peer->stats.streams--;
    totals->streams--;
    peer->stats.bytes_in += stream->pipe->bytes_in;
    peer->stats.bytes_out += stream->pipe->bytes_out;
    totals->bytes_in += stream->pipe->bytes_in;
    totals->bytes_out += stream->pipe->bytes_out;
    free(stream->text);
    free(stream);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct peer_stream *stream = arg;
    struct peer *peer = stream->peer;
    if (stream->text) {
        char id[PEER_TEXT_MAX];
        uint64_t ms = (loop_now(pipe->loop) - stream->began) / MS_US;
        log_info("event=access peer=%s target=%s in=%llu out=%llu ms=%llu end=\"%s\"",
                 peer_text(&peer->id, id), stream->text, (unsigned long long)pipe->bytes_in,
                 (unsigned long long)pipe->bytes_out, (unsigned long long)ms, err_text(why));
    }
    stream_free(stream);
    peer_release(peer);
}

int peer_add_stream(struct peer *peer, struct pipe *pipe, const struct target *target)
{
    struct peer_stream *stream = calloc(1, sizeof *stream);
    if (!stream || pipe_add_listener(pipe, &stream_events, stream) != 0)
        goto fail;
    stream->peer = peer;
    stream->pipe = pipe;
    stream->began = loop_now(pipe->loop);
    if (peer->table->access_log) {
        char text[TARGET_TEXT_MAX];
        stream->text = strdup(target_format(target, text));
    }
    if (peer->table->rate) {
        stream->limit = rate_attach(&peer->rate, pipe);
        if (!stream->limit) {
            pipe_del_listener(pipe, &stream_events, stream);
            goto fail;
        }
    }
    DL_APPEND(peer->streams, stream);
    peer->stats.streams++;
    peer->table->totals.streams++;
    return 0;
fail:
    if (stream)
        free(stream->text);
    free(stream);
    return -ENOMEM;
}
