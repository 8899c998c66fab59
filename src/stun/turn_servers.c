/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One allocation is in use; others are attempts, at most one a server. The first attempt that is up
 * is taken, the rest are released.
 *
 *     seeking --- an attempt is up ---> using --- it is silent ---> doubting --- heard ---> using
 *        ^                                |                            |
 *        |                                | it ends                    | it ends, or an attempt
 *        |                                |                            | is up
 *        `--------------------------------+----------------------------'
 *
 * Seeking starts with the server that was in use (a restarted server is back in a moment), then the
 * others in their order, each stagger_ms after the one before, or at once when that has failed;
 * with `race` all of them at once. Doubting seeks at the others at once while the silent one is
 * still asked: whichever answers first is used from then on, so that neither a dead server nor a
 * dead network of ours costs more than it must. Where the silent one is reached by a stream, a new
 * connection to the same server is one of those that are tried, beside the first other one: it may
 * be the connection alone that is dead, when a NAT or firewall has forgotten it, and no answer will
 * ever come by it. On UDP it may be that the server was started again and, unlike what RFC 8656 7.3
 * wants, says nothing to who asks for an allocation that it does not know (Pion). So another
 * allocation there is a reserve: it is used when the old one, which goes on asking, has not been
 * heard for RESERVE_US since the server has granted the new one. Whoever is only cut off for some
 * seconds keeps its relayed address by that.
 *
 * A server that failed rests: a minute when it was full or over quota (RFC 8656 7.4), two when it
 * has old allocations for all our ports, else longer each time, from RETRY_MIN_US to RETRY_MAX_US;
 * one whose allocation ended does not, unless that happens again within STEADY_US.
 * One whose refusal will not pass (wrong password, no such family) is not asked again; what counts
 * is what it says to Allocate: a refusal in the life of an allocation (a login that ran out, a
 * server that was started again with others) costs that allocation, and another is asked for. Once
 * there was an allocation, an attempt by a stream gets open_timeout_ms. When none is left, or,
 * before the first was ever up, all have been tried or the time is over, it ends with the most
 * telling report: one of a server that answered is better than one of silence.
 *
 * Once there was an allocation, the search goes on until it is closed.
 */
#include "stun/turn_servers.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "crypto/hash.h"
#include "stun/turn_int.h"

#define RETRY_MIN_US      (1 * SEC_US)
#define RETRY_MAX_US      (30 * SEC_US)
#define RETRY_FULL_US     (60 * SEC_US)
#define STEADY_US         (30 * SEC_US)
#define RETRY_MISMATCH_US (120 * SEC_US)

#define RESERVE_US        (2 * SEC_US) /* a silent allocation is asked about every second */

#define ATTEMPTS          2 /* one in use, or being released, and another instead of it */

struct candidate;

/* An allocation, from the attempt to make it to its end. */
struct attempt {
    struct candidate *of;
    struct turn_allocation *allocation; /* NULL: the slot is free */
    bool is_up, releasing;
    uint64_t begun, up_at;
};

struct candidate {
    struct turn_servers *owner;
    struct turn_server server; /* its strings are its own */
    struct attempt attempts[ATTEMPTS];
    bool refused;    /* will not pass */
    bool bare;       /* answers only when asked without options */
    uint64_t rest;   /* not before this time */
    unsigned failed; /* in a row, which an allocation that lived for STEADY_US ends */
    struct turn_report report;
};

struct turn_servers {
    struct loop *loop;
    struct turn_servers_events events;
    void *arg;
    struct turn_request request;
    bool race, releasing, was_up;
    bool seeking, doubting; /* doubting: while there is one in use, which is silent */
    uint64_t stagger_us, open_us, give_up;
    struct candidate candidates[TURN_SERVERS_MAX];
    size_t count;
    struct candidate *order[TURN_SERVERS_MAX]; /* of this search */
    size_t order_count, order_next;
    uint64_t next_at; /* when the next in it is due */
    struct attempt *current;
    struct timer timer;
    bool *gone; /* set true when it is freed */
};

static void schedule(struct turn_servers *s);
static bool failed(struct attempt *attempt, const struct turn_report *report);

/* --- Strings --- */

static bool copy_text(const char **text)
{
    if (*text && !(*text = strdup(*text)))
        return false;
    return true;
}

static void wipe_text(const char **text)
{
    char *mine = (char *)(uintptr_t)*text;

    if (mine)
        hash_wipe(mine, strlen(mine));
    free(mine);
    *text = NULL;
}

static void candidate_wipe(struct candidate *candidate)
{
    struct turn_server *server = &candidate->server;

    wipe_text(&server->login.user);
    wipe_text(&server->login.password);
    wipe_text(&server->login.secret);
    wipe_text(&server->login.id);
    wipe_text(&server->leg.tls_name);
}

/* False: no memory; what was not copied is not there. */
static bool candidate_init(struct candidate *candidate, struct turn_servers *owner,
                           const struct turn_server *server)
{
    struct turn_server *copy = &candidate->server;
    const char **const texts[] = {&copy->login.user, &copy->login.password, &copy->login.secret,
                                  &copy->login.id, &copy->leg.tls_name};
    bool good = true;

    candidate->owner = owner;
    *copy = *server;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (good && copy_text(texts[i]))
            continue;
        good = false;
        *texts[i] = NULL;
    }
    return good;
}

/* --- End --- */

static void destroy(struct turn_servers *s)
{
    if (s->gone)
        *s->gone = true;
    timer_cancel(s->loop, &s->timer);
    for (size_t i = 0; i < s->count; i++) {
        for (int k = 0; k < ATTEMPTS; k++)
            if (s->candidates[i].attempts[k].allocation)
                turn_allocation_close(s->candidates[i].attempts[k].allocation);
        candidate_wipe(&s->candidates[i]);
    }
    free(s);
}

static void over(struct turn_servers *s, const struct turn_report *report)
{
    struct turn_report copy = *report;
    void (*end)(struct turn_servers *, const struct turn_report *, void *) = s->events.end;
    void *arg = s->arg;

    destroy(s);
    end(s, &copy, arg);
}

void turn_servers_close(struct turn_servers *servers)
{
    destroy(servers);
}

static bool any_allocation(const struct turn_servers *s)
{
    for (size_t i = 0; i < s->count; i++)
        for (int k = 0; k < ATTEMPTS; k++)
            if (s->candidates[i].attempts[k].allocation)
                return true;
    return false;
}

static void release(struct attempt *attempt)
{
    if (!attempt->allocation || attempt->releasing)
        return;
    attempt->releasing = true;
    attempt->is_up = false;
    turn_allocation_release(attempt->allocation);
}

/* All but the one in use. */
static void release_others(struct turn_servers *s)
{
    for (size_t i = 0; i < s->count; i++)
        for (int k = 0; k < ATTEMPTS; k++)
            if (&s->candidates[i].attempts[k] != s->current)
                release(&s->candidates[i].attempts[k]);
}

void turn_servers_release(struct turn_servers *servers)
{
    struct turn_servers *s = servers;

    if (s->releasing)
        return;
    s->releasing = true;
    s->seeking = s->doubting = false;
    s->current = NULL;
    timer_cancel(s->loop, &s->timer);
    release_others(s);
    if (!any_allocation(s))
        timer_set_in(s->loop, &s->timer, 0);
}

/* How much a report says about what to do: a refusal that will not pass, then any other answer,
 * then failures on the way, then silence. */
static int weight(const struct turn_report *report)
{
    if (report->trouble == TURN_FINE)
        return 0;
    if (report->trouble == TURN_SILENT)
        return 1;
    if (report->code == 0)
        return turn_is_passing(report->trouble) ? 2 : 4;
    return turn_is_passing(report->trouble) ? 3 : 5;
}

static void over_best(struct turn_servers *s)
{
    const struct turn_report *best = &s->candidates[0].report;
    char where[SERVER_TEXT_MAX];
    struct turn_report silent;

    for (size_t i = 1; i < s->count; i++)
        if (weight(&s->candidates[i].report) > weight(best))
            best = &s->candidates[i].report;
    if (best->trouble == TURN_FINE) {
        turn_report_make(&silent, TURN_SILENT, 0, 0,
                         "%s%s not answer in time: it is down, or a firewall keeps the packets; "
                         "try TCP or TLS, and check address and port",
                         server_format(&s->candidates[0].server.server, where),
                         s->count > 1 ? " and the others do" : " does");
        best = &silent;
    }
    over(s, best);
}

/* --- Seeking --- */

static void on_up(struct turn_allocation *allocation, void *arg);
static void on_moved(struct turn_allocation *allocation, void *arg);
static void on_silent(struct turn_allocation *allocation, bool silent, void *arg);
static void on_end(struct turn_allocation *allocation, const struct turn_report *report, void *arg);
static void on_data(struct turn_allocation *allocation, const struct slice *data,
                    const struct addr *peer, void *arg);
static void on_peer(struct turn_allocation *allocation, const struct addr *peer,
                    const struct turn_report *report, void *arg);
static void on_icmp(struct turn_allocation *allocation, const struct addr *peer,
                    const struct stun_icmp *icmp, void *arg);
static void on_attempt(struct turn_allocation *allocation, uint32_t connection,
                       const struct addr *peer, void *arg);
static void on_room(struct turn_allocation *allocation, void *arg);

static const struct turn_allocation_events allocation_events = {
    .up = on_up,
    .moved = on_moved,
    .data = on_data,
    .peer = on_peer,
    .icmp = on_icmp,
    .attempt = on_attempt,
    .silent = on_silent,
    .room = on_room,
    .end = on_end,
};

/* Seeks from now on: at `first` (NULL: none in particular), then at the others in their order. */
static void seek(struct turn_servers *s, struct candidate *first)
{
    s->order_count = s->order_next = 0;
    if (first)
        s->order[s->order_count++] = first;
    for (size_t i = 0; i < s->count; i++)
        if (&s->candidates[i] != first)
            s->order[s->order_count++] = &s->candidates[i];
    s->seeking = true;
    s->next_at = loop_now(s->loop);
    schedule(s);
}

static bool is_stream(const struct candidate *candidate)
{
    return candidate->server.server.transport != SERVER_UDP;
}

/* Where another allocation at that server can be made; NULL: there is or will be one already. */
static struct attempt *free_attempt(struct turn_servers *s, struct candidate *candidate)
{
    struct attempt *found = NULL;

    for (int k = 0; k < ATTEMPTS; k++) {
        struct attempt *attempt = &candidate->attempts[k];

        if (!attempt->allocation)
            found = attempt;
        else if (!attempt->releasing && !(attempt == s->current && s->doubting))
            return NULL;
    }
    return found;
}

static bool may_try(struct turn_servers *s, struct candidate *candidate)
{
    return !candidate->refused && candidate->rest <= loop_now(s->loop) &&
           free_attempt(s, candidate);
}

static void try_candidate(struct turn_servers *s, struct candidate *candidate)
{
    struct attempt *attempt = free_attempt(s, candidate);
    struct turn_request request = s->request;

    if (candidate->bare)
        turn_drop_options(&request);
    attempt->of = candidate;
    attempt->begun = loop_now(s->loop);
    attempt->allocation =
        turn_allocation_open(s->loop, &candidate->server, &request, &allocation_events, attempt);
    if (attempt->allocation)
        return;
    turn_report_make(&candidate->report, TURN_NO_MEMORY, 0, 0,
                     "cannot begin: out of memory, or a user or password is too long");
    candidate->rest = loop_now(s->loop) + RETRY_MAX_US;
}

/* Stops what is sought beside the one in use. */
static void stop_seeking(struct turn_servers *s)
{
    s->seeking = s->doubting = false;
    release_others(s);
    schedule(s);
}

/* True: nothing can come of it any more. */
static bool is_hopeless(const struct turn_servers *s)
{
    if (!s->seeking || s->order_next < s->order_count || any_allocation(s))
        return false;
    if (!s->was_up)
        return true;
    for (size_t i = 0; i < s->count; i++)
        if (!s->candidates[i].refused)
            return false;
    return true;
}

/* An attempt by a stream that has had its time, since nothing is sent again there; UINT64_MAX: none
 * has one. */
static uint64_t next_late(struct turn_servers *s, struct attempt **late)
{
    uint64_t due = UINT64_MAX;

    for (size_t i = 0; i < s->count && s->was_up; i++) {
        for (int k = 0; k < ATTEMPTS; k++) {
            struct attempt *attempt = &s->candidates[i].attempts[k];

            if (!attempt->allocation || attempt->is_up || attempt->releasing ||
                !is_stream(attempt->of) || attempt->begun + s->open_us >= due)
                continue;
            due = attempt->begun + s->open_us;
            *late = attempt;
        }
    }
    return due;
}

/* False: the owner has closed everything. */
static bool drop_late(struct turn_servers *s)
{
    struct attempt *late = NULL;
    char where[SERVER_TEXT_MAX];
    struct turn_report report;

    while (next_late(s, &late) <= loop_now(s->loop)) {
        turn_report_make(&report, TURN_SILENT, 0, 0, "%s does not answer in time",
                         server_format(&late->of->server.server, where));
        turn_allocation_close(late->allocation);
        late->allocation = NULL;
        if (!failed(late, &report))
            return false;
    }
    return true;
}

static void try_next(struct turn_servers *s)
{
    uint64_t now = loop_now(s->loop);

    while (s->order_next < s->order_count && now >= s->next_at) {
        struct candidate *candidate = s->order[s->order_next++];

        if (!may_try(s, candidate))
            continue;
        try_candidate(s, candidate);
        /* A new connection to the silent one does not make the others wait. */
        if (!s->race && !(s->current && s->current->of == candidate))
            s->next_at = now + s->stagger_us;
    }
    if (s->order_next == s->order_count && s->was_up)
        for (size_t i = 0; i < s->count; i++)
            if (may_try(s, &s->candidates[i]))
                try_candidate(s, &s->candidates[i]);
}

/* From now on this one is used. The owner may have closed everything then. */
static void use(struct attempt *attempt)
{
    struct turn_servers *s = attempt->of->owner;

    s->current = attempt;
    stop_seeking(s);
    s->events.use(s, attempt->allocation, s->arg);
}

/* An allocation beside the silent one, at the same server, by UDP; NULL: none. */
static struct attempt *reserve_of(struct turn_servers *s)
{
    struct candidate *candidate = s->current ? s->current->of : NULL;

    if (!candidate || is_stream(candidate))
        return NULL;
    for (int k = 0; k < ATTEMPTS; k++)
        if (candidate->attempts[k].is_up && &candidate->attempts[k] != s->current)
            return &candidate->attempts[k];
    return NULL;
}

static void on_timer(void *arg)
{
    static const struct turn_report fine = {.trouble = TURN_FINE, .text = "released"};
    struct turn_servers *s = arg;
    struct attempt *reserve = reserve_of(s);

    if (s->releasing) {
        over(s, &fine);
        return;
    }
    if (!s->seeking)
        return;
    if (!s->was_up && loop_now(s->loop) >= s->give_up) {
        over_best(s);
        return;
    }
    if (reserve && loop_now(s->loop) >= reserve->up_at + RESERVE_US) {
        use(reserve);
        return;
    }
    if (!drop_late(s))
        return;
    try_next(s);
    if (is_hopeless(s))
        over_best(s);
    else
        schedule(s);
}

static void schedule(struct turn_servers *s)
{
    uint64_t due = UINT64_MAX, late;
    struct attempt *attempt, *reserve = reserve_of(s);

    if (s->releasing)
        return;
    if (!s->seeking) {
        timer_cancel(s->loop, &s->timer);
        return;
    }
    if (s->order_next < s->order_count)
        due = s->next_at;
    for (size_t i = 0; i < s->count && s->was_up && s->order_next == s->order_count; i++)
        if (!s->candidates[i].refused && s->candidates[i].rest < due &&
            free_attempt(s, &s->candidates[i]))
            due = s->candidates[i].rest;
    if (!s->was_up && s->give_up < due)
        due = s->give_up;
    late = next_late(s, &attempt);
    if (late < due)
        due = late;
    if (reserve && reserve->up_at + RESERVE_US < due)
        due = reserve->up_at + RESERVE_US;
    if (is_hopeless(s))
        due = loop_now(s->loop);
    if (due == UINT64_MAX)
        timer_cancel(s->loop, &s->timer);
    else
        timer_set(s->loop, &s->timer, due);
}

/* --- What allocations tell --- */

static void on_up(struct turn_allocation *allocation, void *arg)
{
    struct attempt *attempt = arg;
    struct turn_servers *s = attempt->of->owner;

    attempt->up_at = loop_now(s->loop);
    attempt->is_up = true;
    attempt->of->bare |= turn_allocation_is_bare(allocation);
    attempt->of->report.trouble = TURN_FINE;
    s->was_up = true;
    if (reserve_of(s) == attempt)
        schedule(s);
    else
        use(attempt);
}

static void on_silent(struct turn_allocation *allocation, bool silent, void *arg)
{
    struct attempt *attempt = arg;
    struct turn_servers *s = attempt->of->owner;

    (void)allocation;
    if (attempt != s->current)
        return;
    log_info("event=turn-server-silent silent=%s", silent ? "yes" : "no");
    s->doubting = silent;
    if (silent)
        seek(s, attempt->of);
    else
        stop_seeking(s);
}

/* An allocation that was lost is asked for again at once, but not again and again of a server that
 * grants it and takes it back. */
static uint64_t rest_after(const struct attempt *attempt, enum turn_trouble trouble)
{
    unsigned failed = attempt->of->failed;
    uint64_t rest = RETRY_MIN_US << (failed < 6 ? failed : 6);

    if (attempt->is_up && failed == 0)
        return 0;
    if (!attempt->is_up && (trouble == TURN_QUOTA || trouble == TURN_CAPACITY))
        return RETRY_FULL_US;
    if (!attempt->is_up && trouble == TURN_MISMATCH)
        return RETRY_MISMATCH_US;
    return rest < RETRY_MAX_US ? rest : RETRY_MAX_US;
}

/* An allocation, which is gone, has failed by itself. False: the owner has closed everything. */
static bool failed(struct attempt *attempt, const struct turn_report *report)
{
    struct candidate *candidate = attempt->of;
    struct turn_servers *s = candidate->owner;
    bool was_current = s->current == attempt, gone = false;
    struct attempt *reserve = was_current ? reserve_of(s) : NULL;
    size_t place = (size_t)(candidate - s->candidates);

    candidate->report = *report;
    candidate->bare &= attempt->is_up; /* it may have been the network */
    candidate->refused = !attempt->is_up && !turn_is_passing(report->trouble);
    if (attempt->is_up && loop_now(s->loop) - attempt->up_at >= STEADY_US)
        candidate->failed = 0;
    candidate->rest = loop_now(s->loop) + rest_after(attempt, report->trouble);
    candidate->failed++;
    attempt->is_up = false;
    if (was_current) {
        s->current = NULL;
        s->doubting = false;
    }
    s->gone = &gone;
    if (s->events.trouble)
        s->events.trouble(s, place, report, s->arg);
    if (!gone && was_current && s->events.none)
        s->events.none(s, s->arg);
    if (gone)
        return false;
    s->gone = NULL;
    s->next_at = loop_now(s->loop);
    if (s->releasing)
        return true;
    if (reserve)
        use(reserve); /* nobody looks at it after this: what was in use has ended by itself */
    else if (was_current)
        seek(s, candidate);
    else
        schedule(s);
    return true;
}

static void on_end(struct turn_allocation *allocation, const struct turn_report *report, void *arg)
{
    struct attempt *attempt = arg;
    struct turn_servers *s = attempt->of->owner;

    (void)allocation;
    attempt->allocation = NULL;
    if (!attempt->releasing) {
        failed(attempt, report);
        return;
    }
    attempt->releasing = false;
    if (!s->releasing)
        schedule(s);
    else if (!any_allocation(s))
        over(s, report);
}

/* The rest is passed on, of the one in use. */
static struct turn_servers *using(void *arg)
{
    const struct attempt *attempt = arg;
    struct turn_servers *s = attempt->of->owner;

    return s->current == attempt ? s : NULL;
}

static void on_moved(struct turn_allocation *allocation, void *arg)
{
    struct turn_servers *s = using(arg);

    (void)allocation;
    if (s && s->events.moved)
        s->events.moved(s, s->arg);
}

static void on_data(struct turn_allocation *allocation, const struct slice *data,
                    const struct addr *peer, void *arg)
{
    struct turn_servers *s = using(arg);

    (void)allocation;
    if (s && s->events.data)
        s->events.data(s, data, peer, s->arg);
}

static void on_peer(struct turn_allocation *allocation, const struct addr *peer,
                    const struct turn_report *report, void *arg)
{
    struct turn_servers *s = using(arg);

    (void)allocation;
    if (s && s->events.peer)
        s->events.peer(s, peer, report, s->arg);
}

static void on_icmp(struct turn_allocation *allocation, const struct addr *peer,
                    const struct stun_icmp *icmp, void *arg)
{
    struct turn_servers *s = using(arg);

    (void)allocation;
    if (s && s->events.icmp)
        s->events.icmp(s, peer, icmp, s->arg);
}

static void on_attempt(struct turn_allocation *allocation, uint32_t connection,
                       const struct addr *peer, void *arg)
{
    struct turn_servers *s = using(arg);

    (void)allocation;
    if (s && s->events.attempt)
        s->events.attempt(s, connection, peer, s->arg);
}

static void on_room(struct turn_allocation *allocation, void *arg)
{
    struct turn_servers *s = using(arg);

    (void)allocation;
    if (s && s->events.room)
        s->events.room(s, s->arg);
}

/* --- For users --- */

struct turn_servers *turn_servers_open(struct loop *loop, const struct turn_settings *settings,
                                       const struct turn_servers_events *events, void *arg)
{
    struct turn_servers *s;
    bool good = true;

    if (settings->count == 0 || settings->count > TURN_SERVERS_MAX) {
        errno = EINVAL;
        return NULL;
    }
    s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->loop = loop;
    s->events = *events;
    s->arg = arg;
    s->request = settings->request;
    s->race = settings->race;
    s->stagger_us = (settings->stagger_ms ? settings->stagger_ms : TURN_STAGGER_MS) * MS_US;
    s->open_us =
        (settings->open_timeout_ms ? settings->open_timeout_ms : TURN_OPEN_TIMEOUT_MS) * MS_US;
    s->give_up = loop_now(loop) + s->open_us;
    timer_init(&s->timer, on_timer, s);
    for (; good && s->count < settings->count; s->count++)
        good = candidate_init(&s->candidates[s->count], s, &settings->servers[s->count]);
    if (!good) {
        destroy(s);
        errno = ENOMEM;
        return NULL;
    }
    seek(s, NULL);
    return s;
}

struct turn_allocation *turn_servers_allocation(const struct turn_servers *servers)
{
    return servers->current ? servers->current->allocation : NULL;
}

int turn_servers_current(const struct turn_servers *servers)
{
    return servers->current ? (int)(servers->current->of - servers->candidates) : -ENOENT;
}

void turn_servers_check(struct turn_servers *servers)
{
    struct turn_servers *s = servers;

    for (size_t i = 0; i < s->count; i++)
        s->candidates[i].rest = 0;
    schedule(s);
    if (s->current)
        turn_allocation_check(s->current->allocation);
}

const struct turn_report *turn_servers_report(const struct turn_servers *servers, size_t server)
{
    return &servers->candidates[server].report;
}
