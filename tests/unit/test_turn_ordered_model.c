/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Two ordered pipes live through whatever can happen to them, at random, in virtual time: losses,
 * repetitions and reordering that come and go, outages, relays that die, moves that are told and
 * such that are not, spares that come and go, readers that pause, strangers with forged addresses,
 * restarts without a word, and closes with data queued. A message carries the incarnation of its
 * writer and its number, and the rule is checked at every one: it comes once and in order, or its
 * writer has been told that it is lost. Again it may come only to a reader that was told of another
 * incarnation, or is one, and only if its writer was not told that it is confirmed. After the last
 * event everything heals, and nothing may be under way for ever.
 *
 * A run follows from its seed, which a failure names. ADIT_ORDERED_SEED=N runs that one and tells
 * what happens, ADIT_ORDERED_SEEDS=N so many instead of SEEDS.
 */
#include "ordered_world.h"
#include "stun/ordered_int.h"

#define SEEDS     60
#define EVENTS    60
#define LIVES_MAX 64 /* incarnations of a side */
#define RELAYS    5
#define HEAD      16

struct life {
    uint64_t written, expected; /* messages; the reader's next */
    uint64_t here;              /* the first to where it writes now */
    uint64_t settled;           /* what was confirmed when its reader was told of it last */
    bool is_owed;               /* its writer is to be told of a loss, when he reads on */
    uint64_t confirmed, lost;   /* all before has been told to be */
};

struct party {
    struct model *model;
    struct party *other;
    struct pipe *pipe, *spare;
    unsigned index, life; /* whose messages it writes */
    struct life lives[LIVES_MAX];
    struct addr addr, spare_addr, dest;
    bool paused, closing;
    bool is_misled; /* the other is elsewhere, as somebody says who knows */
    bool is_fresh;  /* as a reader: knows that it may hear something again */
    struct addr hears_from;
    uint64_t read_on_at;
    unsigned hears; /* the writer's incarnation that was heard last */
    int lost, joined, moved;
};

struct model {
    struct net net;
    struct party parties[2];
    uint64_t seed;
    uint16_t port; /* the last that was used */
    bool tells;
};

static uint64_t below(struct model *m, uint64_t limit)
{
    return loop_random64(m->net.loop) % limit;
}

static void tell(struct model *m, const struct party *party, const char *what)
{
    if (m->tells)
        print_message("%9.3f s  %c%u  %s\n", (double)loop_now(m->net.loop) / SEC_US,
                      party ? 'A' + (char)party->index : ' ', party ? party->life : 0, what);
}

#define BROKEN(m, ...)                                               \
    do {                                                             \
        print_message("seed %llu: ", (unsigned long long)(m)->seed); \
        fail_msg(__VA_ARGS__);                                       \
    } while (0)

static struct addr fresh_addr(struct model *m, unsigned relay)
{
    struct addr addr;

    assert_int_equal(addr_parse_ip("127.0.0.1", &addr), 0);
    addr.ip.bytes[3] = (uint8_t)relay;
    addr.port = ++m->port;
    return addr;
}

static struct life *life_of(struct party *party)
{
    return &party->lives[party->life];
}

/* --- What is heard --- */

/* It may hear some things again, but for what their writer knows by now to have come. */
static void freshen(struct party *reader)
{
    struct party *writer = reader->other;

    reader->is_fresh = true;
    for (unsigned i = 0; i <= writer->life; i++)
        writer->lives[i].settled = writer->lives[i].confirmed;
}

/* Whether there may be something that it is told only when it reads on, or a moment later. */
static bool is_to_be_told(const struct party *party)
{
    return party->paused || party->read_on_at == loop_now(party->model->net.loop);
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct party *reader = arg;
    struct model *m = reader->model;
    uint64_t head[2];
    struct life *life;

    (void)pipe;
    assert_true(data->len >= HEAD);
    memcpy(head, data->data, HEAD);
    if (head[0] != reader->hears) {
        if (head[0] > reader->other->life ||
            (head[0] < reader->hears && addr_equal(from, &reader->hears_from)))
            BROKEN(m, "of incarnation %lu after %u", (unsigned long)head[0], reader->hears);
        reader->is_fresh = true;
        reader->hears = (unsigned)head[0];
        reader->hears_from = *from; /* by another name, it may come between */
    }
    life = &reader->other->lives[head[0]];
    for (size_t i = HEAD; i < data->len; i += 997)
        if (data->data[i] != (uint8_t)(head[1] * 31 + i))
            BROKEN(m, "message %lu has other bytes", (unsigned long)head[1]);
    if (head[1] > life->expected && head[1] > life->lost && is_to_be_told(reader->other))
        life->is_owed = true;
    else if (head[1] > life->expected && head[1] > life->lost)
        BROKEN(m, "%c: message %lu instead of %lu, and lost only before %lu",
               'A' + (char)reader->index, (unsigned long)head[1], (unsigned long)life->expected,
               (unsigned long)life->lost);
    if (head[1] < life->expected && (!reader->is_fresh || head[1] < life->settled))
        BROKEN(m, "%c: message %lu again, %lu was expected, %lu are confirmed%s",
               'A' + (char)reader->index, (unsigned long)head[1], (unsigned long)life->expected,
               (unsigned long)life->settled, reader->is_fresh ? "" : ", and nobody said why");
    reader->is_fresh = false;
    life->expected = head[1] + 1;
}

static void on_joined(struct pipe *pipe, const struct addr *peer, bool again, void *arg)
{
    struct party *party = arg;

    (void)pipe;
    (void)peer;
    tell(party->model, party, again ? "is told of another incarnation" : "is told of the peer");
    freshen(party);
    party->joined++;
}

static void on_confirmed(struct pipe *pipe, const struct addr *peer, void *arg)
{
    struct party *party = arg;

    (void)peer;
    if (pipe_queued(pipe) == 0) /* to another name something may be under way */
        life_of(party)->confirmed = life_of(party)->written;
}

/* Only of whom it writes to: others have nothing of it. */
static void on_lost(struct pipe *pipe, const struct addr *peer, size_t bytes, void *arg)
{
    struct party *party = arg;

    tell(party->model, party, bytes ? "is told that messages are lost" : "is told of an end");
    freshen(party);
    party->lost++;
    if (bytes > 0)
        life_of(party)->is_owed = false;
    if (bytes > 0) /* nothing waits, or only what was written to another place since */
        life_of(party)->lost =
            pipe_queued(pipe) == 0 ? life_of(party)->written : life_of(party)->here;
    if (bytes > 0 || addr_equal(peer, &party->dest))
        party->is_misled = true;
}

static void on_moved(struct pipe *pipe, const struct addr *peer, const struct addr *now, void *arg)
{
    (void)pipe;
    (void)peer;
    (void)now;
    ((struct party *)arg)->moved++;
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct party *party = arg;
    struct life *life = life_of(party);

    (void)pipe;
    tell(party->model, party, "has ended");
    party->pipe = party->spare = NULL;
    if (why == 0)
        return;
    life->lost = life->written;
    life->is_owed = false;
}

static void on_spare_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    ((struct party *)arg)->spare = NULL;
}

/* --- What happens --- */

static void add_spare(struct party *party)
{
    static const struct pipe_events events = {.end = on_spare_end};
    struct model *m = party->model;

    if (party->spare || !party->pipe || party->closing)
        return;
    tell(m, party, "has a spare");
    party->spare_addr = fresh_addr(m, (unsigned)(1 + below(m, RELAYS)));
    party->spare = end_new_at(&m->net, &party->spare_addr);
    pipe_add_listener(party->spare, &events, party);
    turn_ordered_add_spare(party->pipe, party->spare);
}

static void open_party(struct party *party, const struct addr *addr)
{
    static const struct pipe_events events = {.message = on_message, .end = on_end};
    static const struct turn_ordered_events more = {
        .joined = on_joined, .confirmed = on_confirmed, .lost = on_lost, .moved = on_moved};

    party->addr = *addr;
    party->pipe = turn_ordered_open(end_new_at(&party->model->net, addr), NULL);
    pipe_add_listener(party->pipe, &events, party);
    turn_ordered_set_events(party->pipe, &more, party);
    freshen(party);
    party->paused = party->closing = party->is_misled = false;
    party->dest = party->other->addr;
    tell(party->model, party, "begins");
}

/* It reads nothing any more. What it has confirmed and not read, nobody will. */
static void stop_reading(struct party *party)
{
    for (unsigned i = 0; party->paused && i <= party->other->life; i++)
        party->other->lives[i].lost = party->other->lives[i].written;
}

/* It has ended, and begins again. */
static void begin_again(struct party *party)
{
    struct model *m = party->model;
    struct addr addr = party->addr;

    run_for(m->net.loop, 1); /* the end is told */
    assert_null(party->pipe);
    if (below(m, 2))
        addr = fresh_addr(m, (unsigned)(1 + below(m, RELAYS)));
    party->life++;
    open_party(party, &addr);
    party->other->is_misled = m->net.permissions || below(m, 2);
    if (below(m, 2))
        add_spare(party);
}

static void restart(struct party *party)
{
    if (party->life + 1 >= LIVES_MAX)
        return;
    tell(party->model, party, "dies");
    stop_reading(party);
    if (party->pipe)
        pipe_abort(party->pipe, -ECANCELED);
    begin_again(party);
}

static void close_party(struct party *party)
{
    if (!party->pipe || party->closing)
        return;
    tell(party->model, party, "closes");
    stop_reading(party);
    party->closing = true;
    pipe_close(party->pipe);
}

static size_t some_len(struct model *m)
{
    static const size_t lens[] = {HEAD, 100, 1182, 1183, 5000, 20000, 65536};

    if (below(m, 60) == 0)
        return TURN_ORDERED_MESSAGE_MAX;
    return lens[below(m, sizeof(lens) / sizeof(lens[0]))];
}

static void write_one(struct party *party, size_t len)
{
    uint64_t head[2] = {party->life, life_of(party)->written++};
    struct slice slice = {block_new_sized(len), NULL, len};

    slice.data = block_start(slice.block);
    memcpy(slice.data, head, HEAD);
    for (size_t i = HEAD; i < len; i += 997)
        slice.data[i] = (uint8_t)(head[1] * 31 + i);
    if (party->is_misled && pipe_queued(party->pipe) == 0) {
        party->dest = party->other->addr;
        party->is_misled = false;
        life_of(party)->here = head[1];
        tell(party->model, party, "writes to where the other is");
    }
    pipe_write_to(party->pipe, &slice, &party->dest);
}

static void write_some(struct party *party)
{
    struct model *m = party->model;

    for (uint64_t n = below(m, 2) ? 1 : below(m, 100); n > 0; n--)
        if (party->pipe && !party->closing && pipe_room(party->pipe) > 0)
            write_one(party, some_len(m));
}

static void pause(struct party *party)
{
    if (!party->pipe || party->closing)
        return;
    party->paused = !party->paused;
    tell(party->model, party, party->paused ? "pauses" : "reads on");
    if (party->paused)
        pipe_pause(party->pipe);
    else
        pipe_resume(party->pipe);
    party->read_on_at = loop_now(party->model->net.loop);
}

/* Its address changes: at the same server or another; whether it knows, depends. */
static void move(struct party *party, bool is_told)
{
    struct model *m = party->model;
    struct pipe *pipe = party->pipe && !party->closing ? turn_ordered_below(party->pipe) : NULL;
    struct end *end = (struct end *)(party->spare && below(m, 2) ? party->spare : pipe);

    if (!pipe)
        return;
    tell(m, party, is_told ? "moves" : "has another address, and does not know");
    end->addr =
        fresh_addr(m, below(m, 3) ? end->addr.ip.bytes[3] : (unsigned)(1 + below(m, RELAYS)));
    if (&end->base == pipe)
        party->addr = end->addr;
    if (is_told)
        turn_ordered_moved(party->pipe);
}

/* Somebody sends something with the address of anybody. */
static void forge(struct model *m)
{
    struct addr from = below(m, 2) ? m->parties[below(m, 2)].addr : fresh_addr(m, 9);

    for (uint64_t n = below(m, 40); n > 0; n--) {
        uint8_t bytes[ORDERED_HEAD_MAX] = {0};
        struct ordered_packet packet = {.type = ORDERED_HELLO + (unsigned)below(m, 5),
                                        .flags = (uint8_t)below(m, 16),
                                        .from = loop_random64(m->net.loop),
                                        .to = below(m, 2) ? 0 : loop_random64(m->net.loop)};
        struct slice slice;

        ordered_build(bytes, &packet);
        slice = slice_copy(bytes, sizeof(bytes));
        carry(&m->net, &slice, &from, &m->parties[below(m, 2)].addr);
        slice_drop(&slice);
    }
}

static void weather(struct model *m)
{
    struct net *net = &m->net;

    net->loss = below(m, 2) ? 0 : (unsigned)below(m, 30);
    net->duplicate = below(m, 2) ? 0 : (unsigned)below(m, 30);
    net->reorder = below(m, 2) ? 0 : (unsigned)below(m, 40);
    net->delay_us = 1 + below(m, 150 * MS_US);
    net->late_us = below(m, 4) ? below(m, 50 * MS_US) : below(m, 3 * SEC_US);
    net->rate = below(m, 2) ? 0 : 100000 + below(m, 5000000);
    net->buffer = 30000 + below(m, 200000);
}

static void happen(struct model *m)
{
    struct party *party = &m->parties[below(m, 2)];

    switch (below(m, 20)) {
    case 0:
        weather(m);
        return;
    case 1:
        m->net.cut = !m->net.cut;
        tell(m, NULL, m->net.cut ? "nothing goes through" : "it goes through");
        return;
    case 2:
        m->net.dead = fresh_addr(m, (unsigned)below(m, RELAYS + 1));
        tell(m, NULL, "a relay dies, another is back");
        return;
    case 3:
    case 4:
        move(party, true);
        return;
    case 5:
        move(party, false);
        return;
    case 6:
        add_spare(party);
        return;
    case 7:
        if (party->spare)
            pipe_abort(party->spare, -ECONNRESET);
        return;
    case 8:
    case 9:
        pause(party);
        return;
    case 10:
        forge(m);
        return;
    case 11:
        if (below(m, 3) == 0)
            restart(party);
        return;
    case 12:
        if (below(m, 3) == 0)
            close_party(party);
        return;
    default:
        write_some(party);
    }
}

/* Mostly a moment, sometimes long. */
static uint64_t some_time(struct model *m)
{
    switch (below(m, 8)) {
    case 0:
        return below(m, 70 * SEC_US);
    case 1:
    case 2:
        return below(m, 5 * SEC_US);
    default:
        return 1 + below(m, 300 * MS_US);
    }
}

/* --- The end --- */

static void check_arrived(const struct party *party)
{
    for (unsigned i = 0; i <= party->life; i++) {
        const struct life *life = &party->lives[i];

        if (life->is_owed)
            BROKEN(party->model, "nobody said that messages were lost");
        if (life->expected < life->written && life->lost < life->written)
            BROKEN(party->model, "%c%u: %lu of %lu messages came, lost were said to be %lu",
                   'A' + (char)party->index, i, (unsigned long)life->expected,
                   (unsigned long)life->written, (unsigned long)life->lost);
    }
}

static void heal(struct model *m)
{
    tell(m, NULL, "everything heals");
    m->net.loss = m->net.duplicate = m->net.reorder = 0;
    m->net.delay_us = 20 * MS_US;
    m->net.rate = 0;
    m->net.cut = false;
    m->net.dead = (struct addr){0};
    for (int i = 0; i < 2; i++)
        if (m->parties[i].paused)
            pause(&m->parties[i]);
    run_for(m->net.loop, 300 * SEC_US);
}

/* Whoever lives can be written to, after one that found out that the other is elsewhere. */
static void check_alive(struct model *m)
{
    for (int i = 0; i < 2; i++) {
        struct party *party = &m->parties[i];

        if (party->closing)
            begin_again(party);
    }
    m->net.permissions = false;
    for (int i = 0; i < 2; i++) {
        struct party *party = &m->parties[i];
        struct life *life = life_of(party);

        for (int tries = 0; tries < 2; tries++) {
            write_one(party, 5000);
            run_for(m->net.loop, 70 * SEC_US);
            if (life->expected == life->written)
                break;
        }
        if (life->expected != life->written)
            BROKEN(m, "%c cannot send any more", 'A' + (char)party->index);
    }
}

static void run(uint64_t seed, bool tells)
{
    struct model *m = calloc(1, sizeof(*m));
    uint64_t turns;

    m->seed = seed;
    m->tells = tells;
    m->net.loop = loop_new_virtual(seed);
    weather(m);
    m->net.permissions = below(m, 3) == 0;
    m->port = 1000;
    for (unsigned i = 0; i < 2; i++) {
        m->parties[i].model = m;
        m->parties[i].index = i;
        m->parties[i].other = &m->parties[!i];
        m->parties[i].addr = fresh_addr(m, (unsigned)(1 + below(m, RELAYS)));
    }
    for (int i = 0; i < 2; i++) {
        open_party(&m->parties[i], &m->parties[i].addr);
        if (below(m, 3))
            add_spare(&m->parties[i]);
        write_one(&m->parties[i], 100);
    }
    turns = 1 + below(m, EVENTS);
    for (uint64_t n = 0; n < turns; n++) {
        happen(m);
        run_for(m->net.loop, some_time(m));
        for (int i = 0; i < 2; i++)
            if (!m->parties[i].pipe)
                begin_again(&m->parties[i]);
    }
    heal(m);
    for (int i = 0; i < 2; i++) {
        if (m->parties[i].pipe && pipe_queued(m->parties[i].pipe) > 0)
            BROKEN(m, "something waits for ever");
        check_arrived(&m->parties[i]);
    }
    check_alive(m);
    for (int i = 0; i < 2; i++)
        pipe_abort(m->parties[i].pipe, -ECANCELED);
    run_dry(m->net.loop);
    loop_free(m->net.loop);
    assert_int_equal(block_total_bytes(), 0);
    free(m);
}

static void whatever_happens(void **state)
{
    (void)state;
    const char *one = getenv("ADIT_ORDERED_SEED"), *many = getenv("ADIT_ORDERED_SEEDS");
    uint64_t seeds = many ? strtoull(many, NULL, 10) : SEEDS;

    if (one) {
        run(strtoull(one, NULL, 10), true);
        return;
    }
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run(seed, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
