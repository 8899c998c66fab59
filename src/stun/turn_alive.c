/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What keeps an allocation alive, and tells whether it is.
 *
 * Liveness: whether the server is there, and knows us, only an answer to a request shows (a server
 * that was started again drops our data without a word). It is asked, by a Refresh, when data was
 * sent and nothing came back for three round trips (half a second at least), after a second of
 * silence while there was data in the last half minute, and after 15 s else, which also keeps the
 * NAT's mapping. On UDP the Refresh is repeated every quarter of a second or one and a half round
 * trips; if it is not answered for one and a half seconds (six round trips), the server is
 * `silent`. The allocation is not given up then, since it may be our network that is gone: that is
 * for the owner to decide (turn_servers.c seeks another), and asking goes on every second until
 * there is an answer or the lifetime is over.
 *
 * What counts: an answer to a request of ours on the leg in use, with its integrity if the request
 * had one. Nothing else ends the asking or the silence: not what merely parses, not an answer to
 * nothing, not the errors that servers do not sign (401, 438; what is asked again after them is
 * signed), not data. Data has no integrity on UDP, and who can send with the server's address could
 * keep a dead server alive by it. So data of peers that may send only puts the asking off: as long
 * as it comes, the server is asked every TRUST_DATA_US; and a server that relays but does not
 * answer (it is overloaded, or our requests are lost) gets DEAD_WITH_DATA_US before it is called
 * silent.
 *
 * Mobility (RFC 8016), where the server gives tickets: when the leg ends, the network changes, the
 * server is silent, or it does not know our address any more (437: the NAT has given us another
 * port), a Refresh with the ticket, on a new leg or on this one, takes the allocation along;
 * MOVES_MAX times in MOVES_WITHIN_US, then it is given up.
 */
#include <string.h>

#include "base/log.h"
#include "stun/turn_int.h"

#define LIFETIME_DEFAULT_S 600 /* RFC 8656 3.2 */
#define LIFETIME_MAX_S     86400
#define REFRESH_EARLY_S    60

#define ALERT_MIN_US       (500 * MS_US) /* data sent and nothing heard: ask */
#define QUIET_ACTIVE_US    SEC_US
#define QUIET_IDLE_US      (15 * SEC_US)
#define ACTIVE_FOR_US      (30 * SEC_US)
#define PROBE_MIN_US       (250 * MS_US)
#define PROBE_SLOW_US      SEC_US
#define DEAD_MIN_US        (1500 * MS_US)
#define MOVE_EVERY_US      (2 * SEC_US)
#define MOVES_MAX          5
#define MOVES_WITHIN_US    (10 * SEC_US)
#define STUCK_STREAM_US    (60 * SEC_US)
#define TRUST_DATA_US      (10 * SEC_US)
#define DEAD_WITH_DATA_US  (5 * SEC_US)

/* --- What a success response grants --- */

void turn_take_ticket(struct turn_allocation *a, const struct stun_message *response)
{
    struct stun_bytes ticket;

    if (stun_read_bytes(stun_find(response, STUN_ATTR_MOBILITY_TICKET), &ticket) != 0 ||
        ticket.len == 0 || ticket.len > sizeof(a->ticket))
        return;
    memcpy(a->ticket, ticket.bytes, ticket.len);
    a->ticket_len = ticket.len;
}

/* The lifetime that the server has granted, and when to ask again. */
void turn_take_lifetime(struct turn_allocation *a, const struct stun_message *response)
{
    uint64_t now = turn_now(a);
    uint32_t lifetime, early;

    if (stun_read_u32(stun_find(response, STUN_ATTR_LIFETIME), &lifetime) != 0)
        lifetime = LIFETIME_DEFAULT_S;
    if (lifetime > LIFETIME_MAX_S)
        lifetime = LIFETIME_MAX_S;
    early = lifetime / 4 > REFRESH_EARLY_S ? REFRESH_EARLY_S : lifetime / 4;
    a->lifetime_s = lifetime;
    a->expires = now + lifetime * SEC_US;
    a->refresh_due = a->expires - (lifetime < 4 ? lifetime * SEC_US / 2 : early * SEC_US);
}

/* --- Refresh, liveness, mobility --- */

static void build_refresh(struct turn_exchange *exchange, struct stun_builder *builder)
{
    const struct turn_allocation *a = exchange->leg->owner;

    if (a->request.lifetime_s)
        stun_put_u32(builder, STUN_ATTR_LIFETIME, a->request.lifetime_s);
    if (exchange->number) /* with the ticket */
        stun_put(builder, STUN_ATTR_MOBILITY_TICKET, a->ticket, a->ticket_len);
}

/* The allocation has followed us: to another leg, or to another address of this one. */
static void moved(struct turn_allocation *a, struct turn_leg *leg)
{
    struct turn_report report;

    if (leg == a->moving) {
        turn_report_make(&report, TURN_LOST, STUN_METHOD_CONNECT, 0,
                         "the connection to the server was replaced meanwhile: try again");
        turn_tcp_fail_all(a, &report); /* what was asked on the old leg is not answered here */
        turn_peers_detach(a);
        turn_leg_drop(a->leg);
        a->refresh = NULL;
        a->moving = a->leg;
        a->leg = leg;
    }
    a->heard = a->answered = turn_now(a);
    a->sent_unheard = a->probe_since = 0;
    if (a->heard - a->moves_since >= MOVES_WITHIN_US) {
        a->moves_since = a->heard;
        a->moves = 0;
    }
    a->moves++;
    turn_peers_renew(a);
    log_info("event=turn-moved");
}

/* Whether it was moved so often lately that this does not help: a server that takes our ticket, and
 * does not know us again a moment later. */
static bool moves_in_vain(const struct turn_allocation *a)
{
    return a->moves >= MOVES_MAX && turn_now(a) - a->moves_since < MOVES_WITHIN_US;
}

static void on_refresh(struct turn_exchange *exchange, const struct stun_message *response,
                       const struct turn_report *report);

bool turn_gone(struct turn_allocation *allocation, const struct turn_report *report)
{
    struct turn_allocation *a = allocation;

    if (a->ticket_len == 0 || moves_in_vain(a)) {
        turn_end(a, report);
        return false;
    }
    if (a->refresh) {
        if (a->refresh->number)
            return true;
        turn_exchange_cancel(a->refresh);
        a->refresh = NULL;
    }
    if (turn_refresh(a, a->leg, true))
        return true;
    turn_end(a, report);
    return false;
}

bool turn_is_login_lost(const struct turn_report *report)
{
    switch (report->code) {
    case STUN_UNAUTHENTICATED:
    case STUN_WRONG_CREDENTIALS:
        return true;
    default:
        return report->trouble == TURN_TAMPERED && report->code != 0; /* bid down */
    }
}

static void refresh_failed(struct turn_allocation *a, struct turn_leg *leg, bool with_ticket,
                           bool is_proven, const struct turn_report *report)
{
    if (leg == a->moving) { /* the old leg may be good yet, and else its own end will show */
        log_debug("event=turn-move-failed why=%s", turn_trouble_name(report->trouble));
        turn_leg_drop(leg);
        if (!a->leg->leg)
            turn_end(a, report);
        return;
    }
    if (report->trouble == TURN_MISMATCH && !with_ticket) {
        turn_gone(a, report);
        return;
    }
    /* Without an answer, or with one that may be another in a moment, or anybody's, there is time
     * until the lifetime is over. */
    if (report->code == 0 || report->code >= STUN_SERVER_ERROR || report->trouble == TURN_QUOTA ||
        (!is_proven && (report->code == STUN_BAD_REQUEST || report->code == STUN_STALE_NONCE))) {
        a->refresh_due = turn_now(a) + TURN_REFRESH_AGAIN_S * SEC_US;
        turn_schedule(a);
        return;
    }
    turn_end(a, report);
}

static void on_refresh(struct turn_exchange *exchange, const struct stun_message *response,
                       const struct turn_report *report)
{
    struct turn_leg *leg = exchange->leg;
    struct turn_allocation *a = leg->owner;
    bool with_ticket = exchange->number != 0;

    if (leg == a->leg)
        a->refresh = NULL;
    if (report) {
        refresh_failed(a, leg, with_ticket, exchange->is_proven, report);
        return;
    }
    turn_take_lifetime(a, response);
    turn_take_ticket(a, response);
    if (a->lifetime_s == 0) {
        turn_end_with(a, TURN_MISMATCH, "has ended our allocation; a new one is needed");
        return;
    }
    if (with_ticket) {
        stun_read_mapped(response, &a->mapped);
        moved(a, leg);
    }
    turn_schedule(a);
    if (with_ticket && a->events.moved)
        a->events.moved(a, a->arg);
}

bool turn_refresh(struct turn_allocation *a, struct turn_leg *leg, bool with_ticket)
{
    const struct turn_exchange what = {.method = STUN_METHOD_REFRESH,
                                       .build = build_refresh,
                                       .done = on_refresh,
                                       .number = with_ticket};
    struct turn_exchange *started;

    if (!leg->up || !turn_exchange_start(leg, &what, &started))
        return false;
    if (leg == a->leg)
        a->refresh = started;
    return true;
}

/* Opens another leg, on which a ticket takes the allocation along; false: cannot. */
bool turn_begin_move(struct turn_allocation *a)
{
    if (a->moving->leg)
        return true;
    if (a->ticket_len == 0 || a->state != TURN_UP || moves_in_vain(a))
        return false;
    a->move_next = turn_now(a) + MOVE_EVERY_US;
    return turn_leg_begin(a->moving);
}

uint64_t turn_rtt(const struct turn_allocation *a)
{
    return a->leg->table ? transaction_rtt_us(a->leg->table) : 0;
}

static uint64_t at_least(uint64_t min, uint64_t value)
{
    return value > min ? value : min;
}

/* A Refresh, which only a server that is there and knows us answers with success. One that is under
 * way is sent once more, so that its answer counts whenever it comes: round trips may have grown.
 */
static void send_probe(struct turn_allocation *a)
{
    a->probe_next =
        turn_now(a) + (a->silent ? PROBE_SLOW_US : at_least(PROBE_MIN_US, turn_rtt(a) * 3 / 2));
    if (!a->refresh)
        turn_refresh(a, a->leg, false);
    else if (!a->refresh->number)
        turn_exchange_hurry(a->refresh);
}

void turn_probe(struct turn_allocation *allocation)
{
    if (allocation->probe_since || allocation->state != TURN_UP)
        return;
    allocation->probe_since = turn_now(allocation);
    send_probe(allocation);
}

void turn_sent(struct turn_allocation *allocation)
{
    struct turn_allocation *a = allocation;
    uint64_t now = turn_now(a);

    a->active = now;
    if (a->sent_unheard)
        return;
    a->sent_unheard = now;
    if (!timer_is_set(&a->timer) || a->timer.at > now + ALERT_MIN_US)
        turn_schedule(a);
}

static uint64_t quiet_limit(const struct turn_allocation *a)
{
    return turn_now(a) - a->active < ACTIVE_FOR_US ? QUIET_ACTIVE_US : QUIET_IDLE_US;
}

static uint64_t dead_limit(const struct turn_allocation *a)
{
    return at_least(DEAD_MIN_US, turn_rtt(a) * 6);
}

/* When a server that does not answer the present asking is called silent. */
static uint64_t dead_at(const struct turn_allocation *a)
{
    uint64_t limit = dead_limit(a);

    if (a->heard > a->probe_since)
        limit = at_least(DEAD_WITH_DATA_US, limit);
    return a->probe_since + limit;
}

/* When liveness has something to do next. */
uint64_t turn_liveness_due(const struct turn_allocation *a)
{
    uint64_t due = a->heard + quiet_limit(a), alert;

    if (a->probe_since) {
        due = a->probe_next;
        return !a->silent && dead_at(a) < due ? dead_at(a) : due;
    }
    if (a->heard > a->answered && a->answered + TRUST_DATA_US < due)
        due = a->answered + TRUST_DATA_US;
    alert = a->sent_unheard + at_least(ALERT_MIN_US, turn_rtt(a) * 3);
    return a->sent_unheard && alert < due ? alert : due;
}

/* A connection that a NAT or firewall has forgotten stays dead, though the server is well. The
 * owner has tried a new one since the server is silent; this is for owners that have not, and for
 * the kernel, which would go on for a quarter of an hour. */
static bool is_stuck(const struct turn_allocation *a)
{
    return a->to.server.transport != SERVER_UDP && a->ticket_len == 0 &&
           turn_now(a) - a->probe_since >= STUCK_STREAM_US + dead_limit(a);
}

/* True: the owner was told something, and the allocation may be gone. */
bool turn_liveness_work(struct turn_allocation *a)
{
    uint64_t now = turn_now(a);

    if (!a->probe_since && a->silent) {
        a->silent = false;
        turn_schedule(a);
        if (a->events.silent)
            a->events.silent(a, false, a->arg);
        return true;
    }
    if (now < turn_liveness_due(a))
        return false;
    if (!a->probe_since) {
        turn_probe(a);
        return false;
    }
    if (now >= a->probe_next)
        send_probe(a);
    if (now < dead_at(a))
        return false;
    if (now >= a->move_next)
        turn_begin_move(a);
    if (is_stuck(a)) {
        turn_end_with(a, TURN_LOST, "is not heard any more: its connection is dead");
        return true;
    }
    if (a->silent)
        return false;
    a->silent = true;
    turn_schedule(a);
    if (a->events.silent)
        a->events.silent(a, true, a->arg);
    return true;
}

void turn_answered(struct turn_allocation *a, bool is_proven)
{
    if (!is_proven && a->state == TURN_UP)
        return;
    a->heard = a->answered = turn_now(a);
    a->sent_unheard = a->probe_since = 0;
    if (a->state == TURN_ALLOCATING)
        turn_await_answer(a);
    else if (a->state == TURN_UP && a->silent)
        timer_set(a->loop, &a->timer, a->heard); /* told from there */
}

void turn_heard_data(struct turn_allocation *a)
{
    a->heard = turn_now(a);
    a->sent_unheard = 0;
}
