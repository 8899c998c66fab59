/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What keeps an allocation alive, and tells whether it is.
 *
 * Liveness: whether the server is there, and knows us, only an answer to a Refresh shows (a server
 * that was started again drops our data without a word). It is asked when data was sent and nothing
 * came back for three round trips (half a second at least), after a second of silence while there
 * was data in the last half minute, and after 15 s else, which also keeps the NAT's mapping. Probes
 * are repeated every quarter of a second or one and a half round trips; if none is answered for one
 * and a half seconds (six round trips), the server is `silent`. The
 * allocation is not given up then, since it may be our network that is gone: that is for the owner
 * to decide (turn_servers.c seeks another), and asking goes on every second until something is
 * heard or the lifetime is over.
 *
 * Mobility (RFC 8016), where the server gives tickets: when the leg ends, the network changes, the
 * server is silent, or it does not know our address any more (437: the NAT has given us another
 * port), a Refresh with the ticket, on a new leg or on this one, takes the allocation along.
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
#define STUCK_STREAM_US    (5 * SEC_US)

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
    a->sent_unheard = a->probe_since = 0;
    turn_peers_renew(a);
    log_info("event=turn-moved");
}

static void on_refresh(struct turn_exchange *exchange, const struct stun_message *response,
                       const struct turn_report *report);

bool turn_gone(struct turn_allocation *allocation, const struct turn_report *report)
{
    struct turn_allocation *a = allocation;

    if (a->ticket_len == 0) {
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

static void refresh_failed(struct turn_allocation *a, struct turn_leg *leg, bool with_ticket,
                           const struct turn_report *report)
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
    /* Without an answer, or with one that may be another in a moment, there is time until the
     * lifetime is over. */
    if (report->code == 0 || report->code >= STUN_SERVER_ERROR || report->trouble == TURN_QUOTA) {
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
        refresh_failed(a, leg, with_ticket, report);
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
    if (a->ticket_len == 0 || a->state != TURN_UP)
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

/* A Refresh, which only a server that is there and knows us answers with success. */
static void send_probe(struct turn_allocation *a)
{
    bool is_stream = a->to.server.transport != SERVER_UDP;

    a->probe_next =
        turn_now(a) + (a->silent ? PROBE_SLOW_US : at_least(PROBE_MIN_US, turn_rtt(a) * 3 / 2));
    if (a->refresh && (is_stream || a->refresh->number))
        return;
    if (a->refresh)
        turn_exchange_cancel(a->refresh);
    a->refresh = NULL;
    turn_refresh(a, a->leg, false);
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

/* When liveness has something to do next. */
uint64_t turn_liveness_due(const struct turn_allocation *a)
{
    uint64_t due = a->heard + quiet_limit(a), alert;

    if (a->probe_since) {
        due = a->probe_next;
        if (!a->silent && a->probe_since + dead_limit(a) < due)
            due = a->probe_since + dead_limit(a);
        return due;
    }
    alert = a->sent_unheard + at_least(ALERT_MIN_US, turn_rtt(a) * 3);
    return a->sent_unheard && alert < due ? alert : due;
}

/* A connection that a NAT or firewall has forgotten stays dead, though the server is well. */
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
    if (now < a->probe_since + dead_limit(a))
        return false;
    if (now >= a->move_next)
        turn_begin_move(a);
    if (is_stuck(a)) {
        /* What is queued would wait for the kernel to give up, which takes a quarter of an hour. */
        leg_abort(a->leg->leg);
        a->leg->leg = NULL;
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

/* Something proper has come from the server. */
void turn_heard(struct turn_allocation *a)
{
    a->heard = turn_now(a);
    a->sent_unheard = a->probe_since = 0;
    if (a->silent)
        timer_set(a->loop, &a->timer, a->heard); /* told from there */
}
