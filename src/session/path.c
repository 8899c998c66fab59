/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A path is one secured pipe that carries the session's frames. What is to be sent is built into
 * messages of up to FRAME_BYTES_MAX, each one record on the wire: control frames and small stream
 * frames are gathered here; large stream frames go out of their own blocks (stream.c) after what
 * was gathered before them.
 *
 * Liveness. Anything received is proof of life. Something is due when stream bytes, a reset, an
 * attach list or a probe has been sent and nothing was heard since; after path_rto() without a word
 * the path is suspected. While the session is busy a path that has been silent for half of
 * `suspect` is probed, so that a receiver notices as soon as a sender, and those beside it every
 * PING_EVERY_US; an idle one is probed every `keepalive`. Every FULL_PING-th probe is large both
 * ways, because a path that passes small packets and loses large ones is dead; a probe that stays
 * unanswered for PING_STUCK_US makes the path suspect whatever else is heard. A suspect path that
 * stays silent is let go, also when it is the only one: otherwise a session whose network is gone
 * would never count as without a path. Time in which this process did not run (loop_lost()) is not
 * silence.
 *
 * Limits: messages waiting are bounded by PATH_OUT_MAX, beyond which answers to probes are dropped
 * (path_put), and by PATH_GONE_MAX, beyond which a peer that makes us say GONE and does not read
 * loses the path. All else is bounded by the number of streams.
 */
#include <stdlib.h>
#include <string.h>

#include "session/session_int.h"

#define PATH_OUT_MAX    ((size_t)512 * 1024)
#define PATH_GONE_MAX   ((size_t)4 * 1024 * 1024)
#define FULL_PING       8
#define FULL_PING_BYTES 4096
#define PING_EVERY_US   (2 * SEC_US) /* while busy: to know the round trip */
#define PING_STUCK_US   (5 * SEC_US)
#define SUSPECT_KEEP_US (5 * SEC_US)  /* a suspect path beside another goes after this */
#define SILENT_KEEP_US  (30 * SEC_US) /* and the only one after this: the session has none then */
#define RATE_EVERY_US   SEC_US

uint8_t *path_reserve(struct path *path, size_t len)
{
    struct slice *last = path->out.count ? slice_queue_at(&path->out, path->out.count - 1) : NULL;
    uint8_t *at;

    if (!last || last->len + len > FRAME_BYTES_MAX) {
        struct block *block = block_new();
        /* Pushed with a byte, since an empty slice would be dropped. */
        struct slice slice = {block, block_start(block), 1};

        slice_queue_push(&path->out, &slice);
        last = slice_queue_at(&path->out, path->out.count - 1);
        last->len = 0;
        path->out.bytes -= 1;
    }
    at = last->data + last->len;
    last->len += len;
    path->out.bytes += len;
    return at;
}

void path_put(struct path *path, enum frame_type type, const void *body, size_t len)
{
    uint8_t *at;

    if (type == FRAME_PONG && path->out.bytes > PATH_OUT_MAX)
        return;
    if (type == FRAME_GONE && path->out.bytes > PATH_GONE_MAX) {
        path->overrun = true;
        session_kick(path->session);
        return;
    }
    at = path_reserve(path, FRAME_HEAD_BYTES + len);
    at += frame_build_head(at, type, len);
    if (len)
        memcpy(at, body, len);
    session_kick(path->session);
}

void path_put_ids(struct path *path, enum frame_type type, uint64_t a, uint64_t b, size_t count)
{
    uint8_t body[16];
    size_t len = varint_write(body, a);

    if (count > 1)
        len += varint_write(body + len, b);
    path_put(path, type, body, len);
}

void path_flush(struct path *path, bool more)
{
    while (path->out.count > 0) {
        struct slice *first = slice_queue_first(&path->out);

        path->tx_bytes += first->len;
        if (pipe_send(path->pipe, first->data, first->len, more || path->out.count > 1) < 0) {
            slice_queue_clear(&path->out);
            return;
        }
        slice_queue_drop(&path->out, first->len);
    }
}

/* --- Liveness --- */

void path_expects(struct path *path)
{
    if (path->due_since)
        return;
    path->due_since = loop_now(path->session->loop);
    path->due_lost = loop_lost(path->session->loop);
}

void path_heard(struct path *path, size_t bytes)
{
    path->heard_at = loop_now(path->session->loop);
    path->heard_lost = loop_lost(path->session->loop);
    path->due_since = 0;
    path->rx_bytes += bytes;
}

/* RFC 6298 section 2 */
void path_rtt_sample(struct path *path, uint64_t rtt)
{
    uint64_t diff;

    if (rtt == 0)
        rtt = 1;
    if (path->srtt == 0) {
        path->srtt = rtt;
        path->rttvar = rtt / 2;
        return;
    }
    diff = rtt > path->srtt ? rtt - path->srtt : path->srtt - rtt;
    path->rttvar = (3 * path->rttvar + diff) / 4;
    path->srtt = (7 * path->srtt + rtt) / 8;
}

static uint64_t path_rto(const struct path *path)
{
    uint64_t measured = 3 * path->srtt + 4 * path->rttvar;
    uint64_t least = path->session->config.suspect_us;

    return measured > least ? measured : least;
}

void path_probe(struct path *path)
{
    struct loop *loop = path->session->loop;
    uint8_t body[FULL_PING_BYTES];
    size_t len = 0;
    bool full = path->pings++ % FULL_PING == 0;
    path->pinged_at = loop_now(loop);
    if (!path->ping_at) {
        loop_random(loop, &path->ping_number, sizeof(path->ping_number));
        path->ping_number &= VARINT_MAX;
        path->ping_at = loop_now(loop);
        path->ping_lost = loop_lost(loop);
        path->ping_stalled = false;
    }
    len += varint_write(body, full ? PING_ECHO_PADDING : 0);
    len += varint_write(body + len, path->ping_number);
    if (full) {
        memset(body + len, 0, sizeof(body) - len);
        len = sizeof(body);
    }
    path_put(path, FRAME_PING, body, len);
    path_expects(path);
}

static void update_rates(struct path *path, uint64_t now)
{
    uint64_t elapsed = now - path->rate_at;

    if (elapsed < RATE_EVERY_US)
        return;
    path->rx_rate = (path->rx_bytes - path->rate_rx) * SEC_US / elapsed;
    path->tx_rate = (path->tx_bytes - path->rate_tx) * SEC_US / elapsed;
    path->rate_at = now;
    path->rate_rx = path->rx_bytes;
    path->rate_tx = path->tx_bytes;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t path_check(struct path *path, bool busy)
{
    const struct session_config *config = &path->session->config;
    struct loop *loop = path->session->loop;
    uint64_t now = loop_now(loop), lost = loop_lost(loop);
    uint64_t heard =
        path->heard_at + (lost - path->heard_lost); /* as if the lost time had not passed */
    bool is_active = path == path->session->active;
    uint64_t probe_after = !busy       ? config->keepalive_us
                           : is_active ? config->suspect_us / 2
                                       : PING_EVERY_US;
    uint64_t rto = path_rto(path), next;

    if (heard > now)
        heard = now;
    if (busy && probe_after < 2 * path->srtt)
        probe_after = 2 * path->srtt;
    update_rates(path, now);
    if (path->ping_cb && now >= path->ping_cb_deadline) {
        session_ping_cb *cb = path->ping_cb;
        struct addr remote = {0};

        path->ping_cb = NULL;
        pipe_addrs(path->pipe, NULL, &remote);
        cb(path->ping_cb_arg, path->label, &remote, 0);
        if (!path->session) /* the callee has ended the session */
            return UINT64_MAX;
    }
    if (path->state == PATH_SUSPECT) {
        uint64_t keep = is_active ? SILENT_KEEP_US : SUSPECT_KEEP_US;

        if (now - heard >= keep + rto && now - path->suspect_at >= keep) {
            session_path_lost(path, -ETIMEDOUT);
            return UINT64_MAX;
        }
    }
    if (!path->ping_at &&
        (now - heard >= probe_after || (busy && now - path->pinged_at >= PING_EVERY_US)))
        path_probe(path);
    else if (path->ping_at && now - heard >= probe_after)
        path_expects(path); /* the answer, though other things were heard since the probe */
    next = path->ping_at && path->due_since ? now + rto : heard + probe_after;
    if (path->due_since) {
        uint64_t due = path->due_since + (lost - path->due_lost);

        if (due > now)
            due = now;
        if (now - due >= rto && path->state != PATH_SUSPECT)
            session_path_suspect(path);
        next = earlier(next, due + rto > now ? due + rto : now + rto);
    }
    if (path->ping_at && path->state != PATH_SUSPECT) {
        uint64_t stuck = 8 * path->srtt > PING_STUCK_US ? 8 * path->srtt : PING_STUCK_US;

        if (now - path->ping_at >= stuck + (lost - path->ping_lost))
            session_path_suspect(path);
    }
    if (path->ping_cb)
        next = earlier(next, path->ping_cb_deadline);
    if (busy)
        next = earlier(next, now + PING_EVERY_US);
    return next > now ? next : now + config->suspect_us / 4;
}

void path_describe(const struct path *path, struct path_info *info)
{
    uint64_t now = loop_now(path->session->loop);

    *info = (struct path_info){
        .label = path->label,
        .kind = path->pipe->ops->kind,
        .state = path->state,
        .rank = path->rank,
        .rtt_us = path->srtt,
        .since_us = now - path->since,
        .heard_us = now - path->heard_at,
        .rx_bytes = path->rx_bytes,
        .tx_bytes = path->tx_bytes,
        .rx_rate = path->rx_rate,
        .tx_rate = path->tx_rate,
    };
    pipe_addrs(path->pipe, &info->local, NULL);
    pipe_addrs(path->pipe, NULL, &info->remote);
}

void path_clear(struct path *path)
{
    slice_queue_clear(&path->out);
    slice_drop(&path->partial);
    memset(path, 0, sizeof(*path));
}
