/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: an ordered pipe, in virtual time, whose peer has introduced itself and then
 * sends what the input says, with the right tag; time passes, and both directions carry messages.
 * Whatever comes, nothing may crash, what is held stays within its bounds, and after the end
 * nothing may be left.
 *
 *   input = { what (1), length (1), packet, whose tag is put right }*
 *
 *   what: 1 we write a message, 2 a millisecond passes, 4 ten seconds do, 8 pause or go on, 16 the
 *   packet's time of sending is put right too; of each, whether it does
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "pipe/pair.h"
#include "stun/bytes.h"
#include "stun/ordered_int.h"

#define PACKETS_MAX 200
#define MY_TAG      77

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct peer {
    struct pipe *pipe;
    uint64_t tag;
};

static void put(struct peer *peer, const uint8_t *bytes, size_t len)
{
    struct slice slice = slice_copy(bytes, len);

    if (peer->pipe)
        pipe_write(peer->pipe, &slice);
    else
        slice_drop(&slice);
}

static void hello(struct peer *peer, uint64_t to)
{
    uint8_t bytes[ORDERED_HELLO_BYTES];

    ordered_build(bytes,
                  &(struct ordered_packet){
                      .type = ORDERED_HELLO, .flags = ORDERED_ASK, .from = MY_TAG, .to = to});
    put(peer, bytes, sizeof(bytes));
}

static void on_packet(struct pipe *pipe, const struct slice *data, const struct addr *from,
                      void *arg)
{
    struct peer *peer = arg;
    struct ordered_packet packet;

    (void)pipe;
    (void)from;
    if (ordered_parse(data->data, data->len, &packet) <= 0)
        abort();
    if (packet.type != ORDERED_HELLO || packet.from == peer->tag)
        return;
    peer->tag = packet.from;
    hello(peer, packet.from);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    *(struct pipe **)arg = NULL;
}

static void turns(struct loop *loop, uint64_t us)
{
    uint64_t until = loop_now(loop) + us;

    for (int i = 0; i < 100 && loop_now(loop) < until; i++)
        loop_turn(loop, until - loop_now(loop));
}

static void step(struct loop *loop, struct pipe *ordered, uint8_t what)
{
    struct slice slice;

    if (what & 1) {
        slice = (struct slice){block_new_sized(what * 20u), NULL, what * 20u};
        slice.data = block_start(slice.block);
        memset(slice.data, 0, slice.len);
        pipe_write(ordered, &slice);
    }
    if (what & 8 && ordered->flags & PIPE_IS_PAUSED)
        pipe_resume(ordered);
    else if (what & 8)
        pipe_pause(ordered);
    turns(loop, what & 4 ? 10 * SEC_US : what & 2 ? MS_US : 1);
    if (((struct ordered *)ordered)->held > ORDERED_HELD_MAX + 70000)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct pipe_events theirs = {.message = on_packet};
    static const struct pipe_events ours = {.end = on_end};
    static const struct pair_options options = {.messages = true};
    struct loop *loop = loop_new_virtual(1);
    struct peer peer = {0};
    struct pipe *ends[2], *ordered;
    uint8_t packet[256];

    log_set_level(LOG_ERROR);
    if (pair_new(loop, &options, ends) != 0)
        abort();
    peer.pipe = ends[1];
    ordered = turn_ordered_open(ends[0], NULL);
    pipe_add_listener(peer.pipe, &theirs, &peer);
    pipe_add_listener(peer.pipe, &ours, &peer.pipe);
    pipe_add_listener(ordered, &ours, &ordered);
    turns(loop, MS_US);
    hello(&peer, 0);
    turns(loop, 10 * MS_US);
    for (int i = 0; i < PACKETS_MAX && size >= 2 && ordered; i++) {
        size_t len = data[1] < size - 2 ? data[1] : size - 2;

        memcpy(packet, data + 2, len);
        if (len >= ORDERED_TAG_BYTES && packet[0] != ORDERED_HELLO)
            put64(packet + 2, packet[0] == ORDERED_RESET ? ordered_bond(MY_TAG, peer.tag)
                                                         : ordered_bond(peer.tag, MY_TAG));
        if (data[0] & 16 && len >= 22)
            put32(packet + (packet[0] == ORDERED_ACK ? 18 : 14), (uint32_t)loop_now(loop));
        put(&peer, packet, len);
        step(loop, ordered, data[0]);
        data += 2 + len;
        size -= 2 + len;
    }
    if (ordered)
        pipe_abort(ordered, -ECANCELED);
    turns(loop, SEC_US);
    loop_turn(loop, 1);
    if (ordered)
        abort();
    loop_free(loop);
    if (block_total_bytes() != 0)
        abort();
    return 0;
}
