/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Losses say little on a relayed path: a wireless link loses packets at random, and coturn's socket
 * drops whatever exceeds 64 KB in one burst, at any rate. So the rate follows what arrives, not
 * what is lost (the idea is BBR's, Cardwell et al. 2016): the best delivery rate of the last
 * RATE_ROUNDS round trips, and the shortest round trip of the last 10 s, whose product is what fits
 * into the path. Sending is paced at that rate, with twice the product under way at most.
 *
 *     startup: 2.77 times the rate, until three round trips have not made it a quarter better
 *              (without those that had too little to send)
 *     drain:   a third of it, until no more than the product is under way
 *     cruise:  eight round trips at 1.25, 0.75, 1, 1, 1, 1, 1, 1 times the rate
 *     probe:   every 10 s without a shorter round trip, half the product for 200 ms, so that queues
 *              empty and the shortest one is seen
 *
 * A sample of the delivery rate is what was confirmed between sending a packet and its
 * confirmation, by the longer of the two times that took; one that was limited by what there was to
 * send counts only if it is the best.
 *
 * A path that loses a tenth of everything delivers a tenth less than is sent. To keep it full, and
 * to find more when there is more, what is lost anyway is sent on top. That is the least loss of
 * the last RATE_LOSSES measurements (a round trip or more each), since losses that come of sending
 * too fast are not there in a round at three quarters of the rate. If a round loses LOSS_MAX more
 * than that, the rate is too high whatever the reason, and what was remembered is cut.
 */
#include "stun/ordered_rate.h"

#include <string.h>

#define SEC_US         UINT64_C(1000000)
#define GAIN_ONE       256 /* gains are in 256ths */
#define GAIN_STARTUP   709
#define GAIN_DRAIN     92
#define GAIN_WINDOW    512
#define WINDOW_FIRST   (16 * 1200)
#define WINDOW_MIN     (8 * 1200)
#define WINDOW_SLACK   (32 * 1200) /* confirmations come in heaps */
#define RATE_FIRST     (2 * 1000 * 1000)
#define RATE_MIN       (20 * 1000)
#define RTT_UNKNOWN_US 250000
#define RTT_WINDOW_US  (10 * SEC_US)
#define PROBE_US       200000
#define LOSS_MAX       35 /* percent */
#define LOSS_LEAST     (64 * 1200)
#define LOSS_ONE       1024
#define LOSS_SAMPLE    (48 * 1200) /* bytes of a measurement */
#define LOSS_SAMPLES   4           /* before they count */
#define LOSS_TOP       460         /* no more is sent on top */
#define TIMEOUT_MIN_US 20000
#define TIMEOUT_MORE   10000 /* the other side waits with its confirmations */

void ordered_rate_init(struct ordered_rate *rate, uint64_t max)
{
    memset(rate, 0, sizeof(*rate));
    rate->max = max;
}

uint64_t ordered_rate_estimate(const struct ordered_rate *rate)
{
    uint64_t best = 0;

    for (int i = 0; i < RATE_ROUNDS; i++)
        if (rate->best[i] > best)
            best = rate->best[i];
    return best;
}

/* Bytes that fit into the path. */
static uint64_t product(const struct ordered_rate *rate)
{
    return ordered_rate_estimate(rate) * rate->min_rtt_us / SEC_US;
}

size_t ordered_rate_window(const struct ordered_rate *rate)
{
    uint64_t window = product(rate), gain = GAIN_WINDOW;

    if (rate->mode == RATE_PROBE_RTT)
        gain = GAIN_ONE / 2;
    else if (rate->mode == RATE_STARTUP || rate->mode == RATE_DRAIN)
        gain = GAIN_STARTUP;
    window = window * gain / GAIN_ONE;
    if (rate->mode != RATE_PROBE_RTT)
        window += window ? WINDOW_SLACK : WINDOW_FIRST;
    return window < WINDOW_MIN ? WINDOW_MIN : (size_t)window;
}

static uint64_t gain_now(const struct ordered_rate *rate)
{
    switch (rate->mode) {
    case RATE_STARTUP:
        return GAIN_STARTUP;
    case RATE_DRAIN:
        return GAIN_DRAIN;
    case RATE_PROBE_RTT:
        return GAIN_ONE;
    case RATE_CRUISE:
        return rate->phase == 0 ? GAIN_ONE * 5 / 4 : rate->phase == 1 ? GAIN_ONE * 3 / 4 : GAIN_ONE;
    }
    return GAIN_ONE;
}

/* What the path loses anyway, in 1024ths. */
static uint64_t usual_loss(const struct ordered_rate *rate)
{
    unsigned known = rate->loss_count < RATE_LOSSES ? rate->loss_count : RATE_LOSSES;
    uint64_t least = LOSS_TOP;

    if (known < LOSS_SAMPLES)
        return 0;
    for (unsigned i = 0; i < known; i++)
        if (rate->losses[i] < least)
            least = rate->losses[i];
    return least;
}

uint64_t ordered_rate_pace(const struct ordered_rate *rate)
{
    uint64_t pace = ordered_rate_estimate(rate);

    pace = pace ? pace * gain_now(rate) / GAIN_ONE : RATE_FIRST;
    pace = pace * LOSS_ONE / (LOSS_ONE - usual_loss(rate));
    if (pace < RATE_MIN)
        pace = RATE_MIN;
    return rate->max && pace > rate->max ? rate->max : pace;
}

uint64_t ordered_rate_timeout_us(const struct ordered_rate *rate)
{
    uint64_t timeout = rate->srtt_us + 4 * rate->rttvar_us + TIMEOUT_MORE;

    if (!rate->srtt_us)
        return RTT_UNKNOWN_US;
    return timeout < TIMEOUT_MIN_US ? TIMEOUT_MIN_US : timeout;
}

void ordered_rate_sent(struct ordered_rate *rate, struct ordered_mark *mark, uint64_t now,
                       size_t flight, bool limited)
{
    if (flight == 0)
        rate->delivered_at = rate->first_sent = now; /* idle time is no slow delivery */
    mark->sent_at = now;
    mark->delivered = rate->delivered;
    mark->delivered_at = rate->delivered_at;
    mark->first_sent = rate->first_sent;
    mark->limited = limited;
}

void ordered_rate_rtt(struct ordered_rate *rate, uint64_t now, uint64_t rtt_us)
{
    uint64_t off;

    if (rtt_us == 0)
        rtt_us = 1;
    if (!rate->srtt_us) {
        rate->srtt_us = rtt_us;
        rate->rttvar_us = rtt_us / 2;
    } else {
        off = rtt_us > rate->srtt_us ? rtt_us - rate->srtt_us : rate->srtt_us - rtt_us;
        rate->rttvar_us = (3 * rate->rttvar_us + off) / 4;
        rate->srtt_us = (7 * rate->srtt_us + rtt_us) / 8;
    }
    if (!rate->min_rtt_us || rtt_us <= rate->min_rtt_us) {
        rate->min_rtt_us = rtt_us;
        rate->min_rtt_at = now;
    } else if (now - rate->min_rtt_at > RTT_WINDOW_US && rate->mode == RATE_CRUISE) {
        rate->mode = RATE_PROBE_RTT;
        rate->probe_until = now + PROBE_US + rate->srtt_us;
        rate->min_rtt_us = rtt_us;
        rate->min_rtt_at = now;
    }
}

void ordered_rate_lost(struct ordered_rate *rate, size_t bytes)
{
    rate->round_lost += bytes;
}

void ordered_rate_found(struct ordered_rate *rate, size_t bytes)
{
    rate->round_lost -= bytes < rate->round_lost ? bytes : rate->round_lost;
}

static void measure_loss(struct ordered_rate *rate, uint64_t lost, uint64_t all)
{
    rate->seen_lost += lost;
    rate->seen_all += all;
    if (rate->seen_all < LOSS_SAMPLE)
        return;
    rate->losses[rate->loss_count++ % RATE_LOSSES] =
        (uint16_t)(rate->seen_lost * LOSS_ONE / rate->seen_all);
    rate->seen_lost = rate->seen_all = 0;
}

/* limited: what ended it was sent when there was nothing more to send. */
static void end_round(struct ordered_rate *rate, bool limited)
{
    uint64_t lost = rate->round_lost, sent = rate->round_sent + lost;
    uint64_t best = ordered_rate_estimate(rate);
    uint64_t usual = sent * usual_loss(rate) / LOSS_ONE;

    rate->round++;
    rate->best[rate->round % RATE_ROUNDS] = 0;
    rate->round_ends = rate->delivered;
    rate->round_lost = rate->round_sent = 0;
    measure_loss(rate, lost, sent);
    if (lost > usual + LOSS_LEAST && (lost - usual) * 100 > (sent - usual) * LOSS_MAX) {
        for (int i = 0; i < RATE_ROUNDS; i++)
            rate->best[i] = rate->best[i] * 7 / 10;
        if (rate->mode == RATE_STARTUP)
            rate->mode = RATE_DRAIN;
    }
    if (rate->mode != RATE_STARTUP)
        return;
    if (best * 4 > rate->full_rate * 5) {
        rate->full_rate = best;
        rate->full_rounds = 0;
    } else if (!limited && ++rate->full_rounds >= 3) {
        rate->mode = RATE_DRAIN;
    }
}

static void cruise(struct ordered_rate *rate, uint64_t now)
{
    rate->mode = RATE_CRUISE;
    rate->phase = 2;
    rate->phase_at = now;
}

/* From one mode, or phase, to the next. */
static void move_on(struct ordered_rate *rate, uint64_t now, size_t flight)
{
    switch (rate->mode) {
    case RATE_STARTUP:
        return;
    case RATE_DRAIN:
        if (flight <= product(rate) + WINDOW_MIN)
            cruise(rate, now);
        return;
    case RATE_PROBE_RTT:
        if (now >= rate->probe_until)
            cruise(rate, now);
        return;
    case RATE_CRUISE:
        if (now - rate->phase_at < rate->min_rtt_us)
            return;
        rate->phase = (rate->phase + 1) % 8;
        rate->phase_at = now;
        return;
    }
}

void ordered_rate_confirmed(struct ordered_rate *rate, uint64_t now, size_t bytes,
                            const struct ordered_mark *mark, size_t flight)
{
    uint64_t *round = &rate->best[rate->round % RATE_ROUNDS];
    uint64_t best = ordered_rate_estimate(rate), took, sending, sample = 0;

    rate->delivered += bytes;
    rate->round_sent += bytes;
    if (!mark)
        return;
    took = now - mark->delivered_at;
    sending = mark->sent_at - mark->first_sent;
    rate->delivered_at = now;
    rate->first_sent = mark->sent_at;
    if (took < sending)
        took = sending;
    if (took < rate->min_rtt_us)
        took = rate->min_rtt_us; /* faster than the path: confirmations were held up */
    if (took > 0)
        sample = (rate->delivered - mark->delivered) * SEC_US / took;
    if (mark->limited && sample < best)
        sample = best; /* nothing was learnt: nothing is forgotten */
    if (sample > *round)
        *round = sample;
    if (mark->delivered >= rate->round_ends)
        end_round(rate, mark->limited);
    move_on(rate, now, flight);
}
