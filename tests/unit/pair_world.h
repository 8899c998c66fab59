/* SPDX-License-Identifier: MIT */
/* A pair in virtual time, both of whose ends are recorded. */
#ifndef ADIT_TESTS_PAIR_WORLD_H
#define ADIT_TESTS_PAIR_WORLD_H

#include "pipe/pair.h"
#include "pipe_recorder.h"

struct world {
    struct loop *loop;
    struct pipe *ends[2];
    struct recorder heard[2];
};

/* options: NULL for a stream without limits. */
static inline void world_new(struct world *world, const struct pair_options *options)
{
    memset(world, 0, sizeof(*world));
    world->loop = loop_new_virtual(1);
    assert_int_equal(pair_new(world->loop, options, world->ends), 0);
    for (int i = 0; i < 2; i++)
        record(&world->heard[i], world->ends[i]);
}

/* Ends what has not ended. Checks that each end said so once, and that nothing is left. */
static inline void world_free(struct world *world)
{
    for (int i = 0; i < 2; i++)
        if (world->heard[i].pipe)
            pipe_abort(world->heard[i].pipe, -ECANCELED);
    run_dry(world->loop);
    for (int i = 0; i < 2; i++)
        assert_int_equal(world->heard[i].ends, 1);
    loop_free(world->loop);
    assert_int_equal(block_total_bytes(), 0);
}

#endif
