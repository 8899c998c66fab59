/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Both ends are ours, so that what arrives is known at once. Three phases:
 *
 *   RATE    a window of messages is under way; it grows with what arrives and halves when something
 *           is lost, so that the rate is found without flooding anybody. What is lost here is our
 *           own doing, and not counted.
 *   LOSS    half of that rate, evenly (LOSS_RATE_MAX at most): what is lost now, and how long the
 *           others take, says something about the line and the server.
 *   SIZES   messages of growing sizes, three of each, to see what comes through. On streams only
 *           those that a datagram of 1500 bytes could hold: Pion's server dies of larger ones there
 *           (2.1: 1600 bytes), and a probe must not do that.
 *
 * A message is lost when GAP later ones have arrived, or after LOST_US; while the rate is sought,
 * after some times what others take, so that the window does not stand still.
 *
 *     magic 8, number 4, phase 4, bytes
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/turn_probe.h"

#define WINDOW_FIRST    4
#define WINDOW_MAX      256
#define GAP             32
#define MESSAGE_BYTES   1150
#define LOST_US         (1500 * MS_US)
#define TICK_US         (5 * MS_US)
#define SIZES_US        (400 * MS_US)
#define LOSS_RATE_MAX   1250000 /* bytes a second */
#define LOSS_RATE_MIN   62500
#define DELAYS          4 /* times the delay of others, and DELAY_US: then it is lost */
#define DELAY_US        (30 * MS_US)
#define HEAD_BYTES      16
#define STREAM_SIZE_MAX 1448
#define SLOTS           4096 /* well above what is under way */

static const unsigned sizes[] = {1200, 1280, 1400, 1448, 1600, 4000, 8000};

enum flow_phase { FLOW_RATE, FLOW_LOSS, FLOW_SIZES };

struct flow {
    struct loop *loop;
    struct turn_allocation *from;
    struct addr to;
    struct probe_flow *result;
    void (*done)(void *arg);
    void *arg;
    uint64_t magic, duration_us, start_us, end_us, last_us, latency_us;
    uint64_t delay_us; /* smoothed; 0: none has arrived */
    enum flow_phase phase;
    uint32_t next, oldest;   /* numbers: of the next message, of the first that may be under way */
    uint64_t sent_us[SLOTS]; /* 0: not under way; by number modulo SLOTS */
    unsigned under_way;
    double window, credit; /* messages; bytes that may be sent in LOSS */
    bool lost_one;         /* the window grows slowly from now on */
    uint32_t halved_at;    /* what was sent before that number halves it no more */
    uint64_t ticked_us;
    struct timer tick;
    unsigned size_max; /* of the messages that are tried */
};

static void put32(uint8_t *bytes, uint32_t value)
{
    for (int i = 3; i >= 0; i--, value >>= 8)
        bytes[i] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static int send_one(struct flow *flow, uint32_t number, size_t len)
{
    uint8_t bytes[8192] = {0};

    memcpy(bytes, &flow->magic, 8);
    put32(bytes + 8, number);
    put32(bytes + 12, flow->phase);
    return turn_allocation_send(flow->from, bytes, len, &flow->to);
}

static bool send_next(struct flow *flow)
{
    uint64_t *slot = &flow->sent_us[flow->next % SLOTS];

    if (*slot != 0 || send_one(flow, flow->next, MESSAGE_BYTES) != 0)
        return false;
    *slot = loop_now(flow->loop);
    flow->next++;
    flow->under_way++;
    flow->result->sent += flow->phase == FLOW_LOSS;
    return true;
}

/* Fills the window. */
static void pump(struct flow *flow)
{
    while (flow->phase == FLOW_RATE && flow->under_way < (unsigned)flow->window &&
           loop_now(flow->loop) < flow->end_us && send_next(flow))
        ; /* else until something arrives, there is room, or the timer */
}

/* So many bytes as are due at half of the rate that was found. */
static void pace(struct flow *flow, uint64_t now)
{
    const struct probe_flow *result = flow->result;
    double rate = result->us > 0 ? (double)result->bytes / (double)result->us * 1e6 / 2 : 0;

    if (rate > LOSS_RATE_MAX)
        rate = LOSS_RATE_MAX;
    if (rate < LOSS_RATE_MIN)
        rate = LOSS_RATE_MIN;
    flow->credit += rate * (double)(now - flow->ticked_us) / 1e6;
    if (flow->credit > 16 * MESSAGE_BYTES)
        flow->credit = 16 * MESSAGE_BYTES;
    while (flow->credit >= MESSAGE_BYTES && now < flow->end_us && send_next(flow))
        flow->credit -= MESSAGE_BYTES;
}

static void is_lost(struct flow *flow, uint32_t number)
{
    flow->sent_us[number % SLOTS] = 0;
    flow->under_way--;
    if (flow->phase != FLOW_RATE || (flow->lost_one && number < flow->halved_at))
        return;
    flow->lost_one = true;
    flow->halved_at = flow->next;
    flow->window = flow->window / 2 > 1 ? flow->window / 2 : 1;
}

/* Gives up what was sent before a time, or before a number. */
static void give_up_before(struct flow *flow, uint64_t before_us, uint32_t number)
{
    for (; flow->oldest != flow->next; flow->oldest++) {
        uint64_t sent_us = flow->sent_us[flow->oldest % SLOTS];

        if (sent_us == 0)
            continue;
        if (sent_us >= before_us && flow->oldest >= number)
            return;
        is_lost(flow, flow->oldest);
    }
}

static void send_sizes(struct flow *flow)
{
    flow->phase = FLOW_SIZES;
    for (int i = 0; i < 3; i++)
        for (size_t j = 0; j < sizeof(sizes) / sizeof(*sizes) && sizes[j] <= flow->size_max; j++)
            send_one(flow, (uint32_t)j, sizes[j]);
    flow->end_us = loop_now(flow->loop) + SIZES_US;
}

static void finish(struct flow *flow)
{
    struct probe_flow *result = flow->result;

    result->done = true;
    result->latency_us = result->received > 0 ? flow->latency_us / result->received : 0;
    flow->done(flow->arg);
}

/* True: all is done, and the flow may be gone. */
static bool phase_work(struct flow *flow, uint64_t now)
{
    bool over = now >= flow->end_us;

    switch (flow->phase) {
    case FLOW_RATE:
        if (over) {
            flow->result->us = flow->last_us - flow->start_us;
            flow->phase = FLOW_LOSS;
            flow->end_us = now + flow->duration_us / 2;
        }
        return false;
    case FLOW_LOSS:
        pace(flow, now);
        if (over && flow->under_way == 0)
            send_sizes(flow);
        return false;
    case FLOW_SIZES:
        if (over)
            finish(flow);
        return over;
    }
    return false;
}

static void on_tick(void *arg)
{
    struct flow *flow = arg;
    uint64_t now = loop_now(flow->loop), limit = LOST_US;

    if (flow->phase == FLOW_RATE && flow->delay_us > 0)
        limit = flow->delay_us * DELAYS + DELAY_US < LOST_US ? flow->delay_us * DELAYS + DELAY_US
                                                             : LOST_US;
    if (now > limit)
        give_up_before(flow, now - limit, 0);
    if (phase_work(flow, now))
        return;
    flow->ticked_us = now;
    pump(flow);
    timer_set_in(flow->loop, &flow->tick, TICK_US);
}

struct flow *flow_new(struct loop *loop, struct turn_allocation *from, const struct addr *to,
                      uint64_t duration_us, bool is_stream, struct probe_flow *result,
                      void (*done)(void *arg), void *arg)
{
    struct flow *flow = calloc(1, sizeof(*flow));

    if (flow == NULL)
        return NULL;
    flow->loop = loop;
    flow->from = from;
    flow->to = *to;
    flow->size_max = is_stream ? STREAM_SIZE_MAX : UINT_MAX;
    flow->result = result;
    flow->done = done;
    flow->arg = arg;
    flow->magic = loop_random64(loop);
    flow->duration_us = duration_us;
    flow->window = WINDOW_FIRST;
    flow->start_us = flow->last_us = flow->ticked_us = loop_now(loop);
    flow->end_us = flow->start_us + duration_us / 2;
    timer_init(&flow->tick, on_tick, flow);
    timer_set_in(loop, &flow->tick, 0);
    return flow;
}

void flow_data(struct flow *flow, const uint8_t *bytes, size_t len)
{
    uint64_t now = loop_now(flow->loop), *slot;
    uint32_t number;

    if (len < HEAD_BYTES || memcmp(bytes, &flow->magic, 8) != 0)
        return;
    number = get32(bytes + 8);
    if (get32(bytes + 12) == FLOW_SIZES) {
        if (len > flow->result->largest)
            flow->result->largest = (unsigned)len;
        return;
    }
    slot = &flow->sent_us[number % SLOTS];
    if (*slot == 0 || number >= flow->next || flow->next - number > SLOTS)
        return; /* too late */
    flow->delay_us = flow->delay_us == 0 ? now - *slot + 1 : (7 * flow->delay_us + now - *slot) / 8;
    if (get32(bytes + 12) == FLOW_LOSS) {
        flow->latency_us += now - *slot;
        flow->result->received++;
    }
    *slot = 0;
    flow->under_way--;
    if (flow->phase == FLOW_RATE) {
        flow->last_us = now;
        flow->result->bytes += len;
        flow->window += flow->lost_one ? 1 / flow->window : 1;
        if (flow->window > WINDOW_MAX)
            flow->window = WINDOW_MAX;
        if (number > GAP)
            give_up_before(flow, 0, number - GAP);
    }
    pump(flow);
}

void flow_room(struct flow *flow)
{
    pump(flow);
}

void flow_free(struct flow *flow)
{
    if (flow == NULL)
        return;
    timer_cancel(flow->loop, &flow->tick);
    free(flow);
}
