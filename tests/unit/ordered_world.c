/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The network is a set of message pipes with addresses. A packet from one to another may be lost or
 * repeated by chance, waits where the line has a rate, and arrives after a delay, some of them
 * later. All chance comes from the loop's seed, which a failure names. A side is an ordered pipe
 * over such an end; its messages follow from their numbers, so that the other side knows what must
 * come.
 */
#include "ordered_world.h"

/* --- The network --- */

struct packet {
    struct timer timer;
    struct net *net;
    struct addr from, to;
    struct slice data;
};

static bool chance(struct net *net, unsigned percent)
{
    return loop_random64(net->loop) % 100 < percent;
}

static struct end *end_at(struct net *net, const struct addr *addr)
{
    for (int i = 0; i < ENDS_MAX; i++)
        if (net->ends[i] && addr_equal(&net->ends[i]->addr, addr))
            return net->ends[i];
    return NULL;
}

static bool is_permitted(const struct end *end, const struct addr *from)
{
    for (unsigned i = 0; i < end->permitted_count; i++)
        if (addr_equal_ip(&end->permitted[i], from))
            return true;
    return !end->net->permissions;
}

static void permit(struct end *end, const struct addr *to)
{
    if (!end->net->permissions || is_permitted(end, to))
        return;
    assert_true(end->permitted_count < PERMITTED_MAX);
    end->permitted[end->permitted_count++] = *to;
}

static void arrive(void *arg)
{
    struct packet *packet = arg;
    struct end *end = end_at(packet->net, &packet->to);

    if (end && is_permitted(end, &packet->from) && pipe_read_budget(&end->base) > 0)
        pipe_deliver(&end->base, &packet->data, &packet->from);
    slice_drop(&packet->data);
    free(packet);
}

/* What is lost by chance has taken its share of the rate: the line is bad behind it. */
void carry(struct net *net, const struct slice *data, const struct addr *from,
           const struct addr *to)
{
    struct end *end = end_at(net, from);
    struct packet *packet;
    uint64_t at = loop_now(net->loop);

    net->sent++;
    if (net->rate && end) {
        if (end->busy_until < at)
            end->busy_until = at;
        if ((end->busy_until - at) * net->rate / SEC_US > net->buffer) {
            net->lost++;
            return;
        }
        end->busy_until += data->len * SEC_US / net->rate;
        at = end->busy_until;
    }
    if (net->cut || addr_equal_ip(&net->dead, from) || addr_equal_ip(&net->dead, to) ||
        chance(net, net->loss)) {
        net->lost++;
        return;
    }
    at += net->delay_us + (chance(net, net->reorder) ? net->late_us : 0);
    packet = calloc(1, sizeof(*packet));
    packet->net = net;
    packet->from = *from;
    packet->to = *to;
    packet->data = slice_ref(data);
    net->bytes += data->len;
    timer_init(&packet->timer, arrive, packet);
    timer_set(net->loop, &packet->timer, at);
}

static void end_write(struct pipe *pipe, struct slice *data, const struct addr *to)
{
    struct end *end = (struct end *)pipe;

    permit(end, to);
    carry(end->net, data, &end->addr, to);
    if (chance(end->net, end->net->duplicate))
        carry(end->net, data, &end->addr, to);
    slice_drop(data);
}

static size_t end_room(const struct pipe *pipe)
{
    (void)pipe;
    return 1000000;
}

static size_t end_queued(const struct pipe *pipe)
{
    (void)pipe;
    return 0;
}

static void end_nothing(struct pipe *pipe)
{
    (void)pipe;
}

static void end_close(struct pipe *pipe, int why)
{
    struct end *end = (struct end *)pipe;

    for (int i = 0; i < ENDS_MAX; i++)
        if (end->net->ends[i] == end)
            end->net->ends[i] = NULL;
    pipe_is_over(pipe, why);
}

static int end_addrs(const struct pipe *pipe, struct addr *local, struct addr *remote)
{
    (void)remote;
    *local = ((const struct end *)pipe)->addr;
    return 0;
}

static void end_destroy(struct pipe *pipe)
{
    free(pipe);
}

static const struct pipe_ops end_ops = {
    .kind = "end",
    .messages = true,
    .write = end_write,
    .room = end_room,
    .queued = end_queued,
    .resume = end_nothing,
    .shutdown = end_nothing,
    .close = end_close,
    .addrs = end_addrs,
    .destroy = end_destroy,
};

struct pipe *end_new_at(struct net *net, const struct addr *addr)
{
    struct end *end = calloc(1, sizeof(*end));

    pipe_init(&end->base, &end_ops, net->loop);
    end->net = net;
    end->addr = *addr;
    for (int i = 0; i < ENDS_MAX; i++) {
        if (net->ends[i])
            continue;
        net->ends[i] = end;
        break;
    }
    pipe_up_soon(&end->base);
    return &end->base;
}

struct pipe *end_new(struct net *net, uint16_t port)
{
    struct addr addr = addr_loopback(AF_INET, port);

    return end_new_at(net, &addr);
}

/* --- Two sides and what they tell --- */

/* Message n: its length and bytes follow from the number. */
size_t message_len(uint64_t n)
{
    static const size_t lens[] = {8, 9, 1182, 1183, 100, 65536, 16384, 3000, 8, 200};

    return n % 97 == 96 ? 300000 : lens[n % 10];
}

static void message_fill(uint8_t *bytes, size_t len, uint64_t n)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(n * 31 + i * 7 + (i >> 8));
    memcpy(bytes, &n, sizeof(n));
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    static uint8_t bytes[400000];
    struct side *side = arg;
    size_t len = message_len(side->expected);

    (void)from;
    message_fill(bytes, len, side->expected);
    if (data->len != len || memcmp(data->data, bytes, len) != 0)
        side->wrong = true;
    side->expected++;
    side->bytes += data->len;
    side->done_at = loop_now(pipe->loop);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct side *side = arg;

    (void)pipe;
    side->pipe = NULL;
    side->ends++;
    side->why = why;
}

static void on_joined(struct pipe *pipe, const struct addr *peer, bool again, void *arg)
{
    struct side *side = arg;

    (void)pipe;
    (void)peer;
    side->joined++;
    side->again += again;
}

static void on_confirmed(struct pipe *pipe, const struct addr *peer, void *arg)
{
    (void)pipe;
    (void)peer;
    ((struct side *)arg)->confirmed++;
}

static void on_lost(struct pipe *pipe, const struct addr *peer, size_t bytes, void *arg)
{
    struct side *side = arg;

    (void)pipe;
    (void)peer;
    side->lost++;
    side->lost_bytes += bytes;
}

static void on_moved(struct pipe *pipe, const struct addr *peer, const struct addr *now, void *arg)
{
    (void)pipe;
    (void)peer;
    (void)now;
    ((struct side *)arg)->moved++;
}

void side_open_at(struct side *side, struct net *net, const struct addr *addr,
                  const struct turn_ordered_options *options)
{
    static const struct pipe_events events = {.message = on_message, .end = on_end};
    static const struct turn_ordered_events more = {
        .joined = on_joined, .confirmed = on_confirmed, .lost = on_lost, .moved = on_moved};

    *side = (struct side){.addr = *addr};
    side->pipe = turn_ordered_open(end_new_at(net, addr), options);
    assert_non_null(side->pipe);
    pipe_add_listener(side->pipe, &events, side);
    turn_ordered_set_events(side->pipe, &more, side);
}

void side_open(struct side *side, struct net *net, uint16_t port,
               const struct turn_ordered_options *options)
{
    struct addr addr = addr_loopback(AF_INET, port);

    side_open_at(side, net, &addr, options);
}

void side_write(struct side *side, const struct side *to)
{
    size_t len = message_len(side->written);
    struct slice slice = {block_new_sized(len), NULL, len};

    slice.data = block_start(slice.block);
    message_fill(slice.data, len, side->written++);
    pipe_write_to(side->pipe, &slice, &to->addr);
}

static void on_time(void *arg)
{
    *(bool *)arg = true;
}

/* Time passes when nothing else happens, too. */
void run_for(struct loop *loop, uint64_t us)
{
    struct timer timer;
    bool over = false;

    timer_init(&timer, on_time, &over);
    timer_set_in(loop, &timer, us);
    while (!over)
        loop_turn(loop, us);
}

void finish(struct net *net, struct side *a, struct side *b)
{
    if (a->pipe)
        pipe_close(a->pipe);
    if (b->pipe)
        pipe_close(b->pipe);
    run_dry(net->loop);
    assert_int_equal(a->ends, 1);
    assert_int_equal(b->ends, 1);
    loop_free(net->loop);
    assert_int_equal(block_total_bytes(), 0);
}

/* Both write so many messages, as there is room; then all have come. */
void talk(struct net *net, struct side *a, struct side *b, uint64_t count)
{
    uint64_t until = loop_now(net->loop) + 600 * SEC_US;

    a->wrong = b->wrong = false;
    while (a->expected < count || b->expected < count) {
        while (a->written < count && pipe_room(a->pipe) > 0)
            side_write(a, b);
        while (b->written < count && pipe_room(b->pipe) > 0)
            side_write(b, a);
        if (!loop_turn(net->loop, SEC_US) || loop_now(net->loop) > until)
            fail_msg("stuck at %lu and %lu of %lu", (unsigned long)a->expected,
                     (unsigned long)b->expected, (unsigned long)count);
        assert_false(a->wrong || b->wrong);
    }
}
