/* SPDX-License-Identifier: MIT */
/* Two sessions over pairs, for the tests of single behaviours. */
#ifndef ADIT_TESTS_SESSION_WORLD_H
#define ADIT_TESTS_SESSION_WORLD_H

#include "pipe/pair.h"
#include "session/session_int.h"

#define STREAMS_MAX 600

struct side {
    struct session *session;
    struct session_pool pool;
    int ended;
    char text[CLOSE_TEXT_MAX + 1];
    enum session_want want;
    struct pipe *opened[STREAMS_MAX]; /* by the peer */
    int opens;
    bool refuse;
    int signals, paths;
    size_t signal_len; /* of the last */
    uint8_t signal[SESSION_SIGNAL_MAX];
};

struct world {
    struct loop *loop;
    struct side side[2];
    struct session_config config;
    size_t blocks; /* that were there before */
};

struct reader {
    struct pipe *pipe;
    uint64_t got, last_at;
    int why;
    bool eof, over, answered;
    enum answer answer;
};

void world_new(struct world *world);
/* pool: bytes that each side's session may hold. */
void world_new_with(struct world *world, const struct session_config *config, uint64_t pool);
/* Checks that nothing is left of what the sessions held, their blocks included. */
void world_free(struct world *world);
void run(struct world *world, uint64_t us);

/* A new path; each side has a rank for it. Returns its end at side 0. */
struct pipe *join(struct world *world, uint64_t delay_us, uint64_t rate, int rank);
struct pipe *join_ranked(struct world *world, uint64_t delay_us, uint64_t rate, int rank0,
                         int rank1);
uint32_t session_paths(const struct session *session);

/* A stream of a side; NULL: reader->answer says why not. */
struct pipe *open_from(struct world *world, int side, struct reader *reader);
extern const struct pipe_events reader_events;
/* Writes as much as there is room for, up to max; returns how much. */
uint64_t fill(struct pipe *pipe, uint64_t max);

#endif
