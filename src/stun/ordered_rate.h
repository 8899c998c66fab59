/* SPDX-License-Identifier: MIT */
/*
 * Rate: how fast to send on a path that may lose packets for reasons of its own, from what was
 * confirmed, by when. Pure: times are given. ordered_rate.c has the theory.
 */
#ifndef ADIT_STUN_ORDERED_RATE_H
#define ADIT_STUN_ORDERED_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RATE_ROUNDS 10 /* round trips that the best rate is remembered */
#define RATE_LOSSES 10 /* measurements of the loss, of which the least is what the path has */

enum ordered_rate_mode { RATE_STARTUP, RATE_DRAIN, RATE_CRUISE, RATE_PROBE_RTT };

struct ordered_rate {
    enum ordered_rate_mode mode;
    uint64_t srtt_us, rttvar_us, min_rtt_us, min_rtt_at;
    uint64_t best[RATE_ROUNDS]; /* bytes a second, of the last rounds */
    uint64_t round;             /* round trips so far */
    uint64_t round_ends;        /* at so many bytes delivered */
    uint64_t delivered, delivered_at;
    uint64_t first_sent; /* when what was confirmed last was sent */
    uint64_t full_rate;  /* of startup: what must be exceeded */
    unsigned full_rounds;
    unsigned phase; /* of cruising */
    uint64_t phase_at, probe_until;
    uint64_t max; /* bytes a second; 0: none */
    uint64_t round_lost, round_sent;
    uint64_t seen_lost, seen_all; /* since the last measurement */
    uint16_t losses[RATE_LOSSES]; /* 1024ths */
    unsigned loss_count;
};

/* What is remembered with each packet sent. */
struct ordered_mark {
    uint64_t sent_at, delivered, delivered_at, first_sent;
    bool limited; /* there was nothing more to send */
};

void ordered_rate_init(struct ordered_rate *rate, uint64_t max);
/* A packet is sent now, with so many bytes under way before it. */
void ordered_rate_sent(struct ordered_rate *rate, struct ordered_mark *mark, uint64_t now,
                       size_t flight, bool limited);
/* A measured round trip. */
void ordered_rate_rtt(struct ordered_rate *rate, uint64_t now, uint64_t rtt_us);
/* `bytes` were confirmed now, the packet sent last among them with this mark (NULL: not known);
 * flight: what remains under way. */
void ordered_rate_confirmed(struct ordered_rate *rate, uint64_t now, size_t bytes,
                            const struct ordered_mark *mark, size_t flight);
void ordered_rate_lost(struct ordered_rate *rate, size_t bytes);
/* They were not: they are late. */
void ordered_rate_found(struct ordered_rate *rate, size_t bytes);
/* Bytes that may be under way; bytes a second to send at. */
size_t ordered_rate_window(const struct ordered_rate *rate);
uint64_t ordered_rate_pace(const struct ordered_rate *rate);
/* What the path carries, as estimated; 0: not known. */
uint64_t ordered_rate_estimate(const struct ordered_rate *rate);
/* How long to wait for a confirmation. */
uint64_t ordered_rate_timeout_us(const struct ordered_rate *rate);

#endif
