/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * An allocation's life: the leg opens; an unsigned Allocate draws a 401, the signed one makes the
 * allocation (turn_exchange.c does that for every method); then it is up, and stays so by Refresh.
 *
 *     connecting -> allocating -> up -> releasing
 *          ^            |
 *          +------------+  300: another server; 437: another local port, TURN_PORTS_MAX times;
 *                          silence: without options
 *
 * turn_allocate.c asks for it, with what is done about refusals, silence and 300.
 *
 * Time: a Refresh goes out a minute before the lifetime the server has granted is over, or after
 * three quarters of it if that is sooner; permissions and channels are renewed every 240 s
 * (turn_peers.c). Data refreshes nothing at a TURN server, so none of this depends on traffic.
 *
 * turn_alive.c refreshes it, finds out whether the server is there, and moves it to other legs.
 *
 * Ownership: the allocation owns its legs, exchanges and tables. It is freed by close, or before
 * `end` is told. Events come from the loop; after each of them the allocation may be gone, so they
 * are the last thing a function does.
 */
#include "stun/turn_allocation.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "crypto/hash.h"
#include "stun/turn_int.h"

/* --- Legs --- */

static int send_packet(void *owner, const uint8_t *bytes, size_t len, const struct addr *to)
{
    const struct turn_leg *leg = owner;

    (void)to;
    return leg->leg ? leg_send(leg->leg, bytes, len) : ADIT_ECLOSED;
}

/* Everything of a leg, untold. */
void turn_leg_drop(struct turn_leg *leg)
{
    struct leg *old = leg->leg;

    turn_exchanges_cancel(leg);
    transaction_table_free(leg->table);
    leg->table = NULL;
    leg->leg = NULL;
    leg->up = false;
    if (!old)
        return;
    /* What is queued to a server that is silent would keep a dead connection for as long as the
     * kernel tries, which is a quarter of an hour. */
    if (leg->owner->silent && leg_is_stream(old))
        leg_abort(old);
    else
        leg_close(old);
}

static void on_leg_up(struct leg *leg, void *arg);
static void on_leg_frame(struct leg *leg, const struct slice *frame, void *arg);
static void on_leg_room(struct leg *leg, void *arg);
static void on_leg_end(struct leg *leg, int why, const char *text, void *arg);

bool turn_leg_begin(struct turn_leg *leg)
{
    static const struct leg_events events = {
        .up = on_leg_up, .frame = on_leg_frame, .room = on_leg_room, .end = on_leg_end};
    struct turn_allocation *a = leg->owner;
    bool is_stream = a->to.server.transport != SERVER_UDP;

    leg->table = transaction_table_new(a->loop, is_stream, NULL, send_packet, leg);
    if (leg->table)
        leg->leg = leg_open(a->loop, &a->to.server, &a->to.leg, &events, leg);
    if (leg->leg)
        return true;
    transaction_table_free(leg->table);
    leg->table = NULL;
    return false;
}

/* --- Who we are --- */

static void wipe_text(char *text)
{
    if (text)
        hash_wipe(text, strlen(text));
    free(text);
}

static void wipe_login(struct turn_allocation *a)
{
    credentials_wipe(&a->credentials);
    wipe_text(a->secret);
    wipe_text(a->secret_id);
    a->secret = a->secret_id = NULL;
}

bool turn_make_login(struct turn_allocation *allocation)
{
    struct turn_allocation *a = allocation;
    uint32_t lifetime_s = a->to.login.lifetime_s ? a->to.login.lifetime_s : TURN_LOGIN_LIFETIME_S;
    char before[STUN_USERNAME_MAX + 1];

    if (!a->secret)
        return false;
    memcpy(before, a->credentials.user, sizeof(before));
    if (credentials_init_secret(&a->credentials, a->secret, a->secret_id, turn_time_s(a->loop),
                                lifetime_s) != 0 ||
        strcmp(before, a->credentials.user) == 0)
        return false;
    if (a->logins++ > 0)
        log_info("event=turn-login-renewed");
    return true;
}

static bool take_login(struct turn_allocation *a, const struct turn_login *login)
{
    if (!login->secret)
        return !login->user || credentials_init(&a->credentials, login->user,
                                                login->password ? login->password : "") == 0;
    a->to.login.lifetime_s = login->lifetime_s;
    a->secret = strdup(login->secret);
    if (login->id)
        a->secret_id = strdup(login->id);
    return a->secret && (a->secret_id || !login->id) && turn_make_login(a);
}

/* --- End --- */

static void destroy(struct turn_allocation *a)
{
    if (a->gone)
        *a->gone = true;
    timer_cancel(a->loop, &a->timer);
    gap_watch_remove(&a->gap);
    turn_leg_drop(a->leg);
    turn_leg_drop(a->moving);
    turn_peers_free(a);
    wipe_login(a);
    hash_wipe(a->ticket, sizeof(a->ticket));
    free(a);
}

void turn_end(struct turn_allocation *allocation, const struct turn_report *report)
{
    struct turn_allocation *a = allocation;
    struct turn_report copy = *report;
    void (*end)(struct turn_allocation *, const struct turn_report *, void *) = a->events.end;
    void *arg = a->arg;

    turn_tcp_fail_all(a, &copy);
    destroy(a);
    end(allocation, &copy, arg);
}

void turn_end_with(struct turn_allocation *a, enum turn_trouble trouble, const char *what)
{
    char where[SERVER_TEXT_MAX];
    struct turn_report report;

    turn_report_make(&report, trouble, 0, 0, "%s %s", server_format(&a->to.server, where), what);
    turn_end(a, &report);
}

static void build_release(struct turn_exchange *exchange, struct stun_builder *builder)
{
    (void)exchange;
    stun_put_u32(builder, STUN_ATTR_LIFETIME, 0);
}

static void on_released(struct turn_exchange *exchange, const struct stun_message *response,
                        const struct turn_report *report)
{
    static const struct turn_report fine = {.trouble = TURN_FINE, .text = "released"};

    (void)response; /* 437 means that it was gone already, and anything else that it will be */
    (void)report;
    turn_end(exchange->leg->owner, &fine);
}

bool turn_ask_release(struct turn_allocation *a)
{
    const struct turn_exchange what = {
        .method = STUN_METHOD_REFRESH, .build = build_release, .done = on_released};

    if (!a->leg->up || a->state == TURN_CONNECTING ||
        (a->state == TURN_ALLOCATING && a->credentials.set && !a->credentials.asked))
        return false;
    turn_exchanges_cancel(a->leg);
    return turn_exchange_start(a->leg, &what, NULL);
}

void turn_allocation_close(struct turn_allocation *allocation)
{
    struct turn_report report;

    turn_report_make(&report, TURN_LOST, 0, 0, "the allocation was closed");
    turn_tcp_fail_all(allocation, &report);
    if (allocation->state != TURN_RELEASING)
        turn_ask_release(allocation);
    destroy(allocation);
}

void turn_allocation_release(struct turn_allocation *allocation)
{
    struct turn_allocation *a = allocation;
    bool asked;

    if (a->state == TURN_RELEASING)
        return;
    turn_leg_drop(a->moving);
    asked = turn_ask_release(a);
    if (!asked)
        turn_exchanges_cancel(a->leg); /* what is not asked for now need not be given back */
    turn_peers_detach(a);
    a->refresh = NULL;
    a->state = TURN_RELEASING;
    timer_set_in(a->loop, &a->timer, asked ? TURN_RELEASE_MS * MS_US : 0);
}

/* --- Time --- */

static void on_timer(void *arg)
{
    static const struct turn_report fine = {.trouble = TURN_FINE, .text = "released"};
    struct turn_allocation *a = arg;
    uint64_t now = turn_now(a);

    if (a->state == TURN_RELEASING) {
        turn_end(a, &fine);
        return;
    }
    if (a->state == TURN_ALLOCATING) {
        turn_allocate_late(a);
        return;
    }
    if (a->state != TURN_UP)
        return;
    if (now >= a->expires) {
        turn_end_with(
            a, TURN_SILENT,
            "has not answered until our allocation ran out: it is down, or the network is");
        return;
    }
    if (now >= a->refresh_due) {
        a->refresh_due = now + TURN_REFRESH_AGAIN_S * SEC_US;
        if (!a->refresh)
            turn_refresh(a, a->leg, false);
    }
    turn_peers_work(a);
    if (!turn_liveness_work(a))
        turn_schedule(a);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void turn_schedule(struct turn_allocation *allocation)
{
    struct turn_allocation *a = allocation;
    uint64_t due;

    if (a->state != TURN_UP)
        return;
    due = sooner(a->expires, a->refresh_due);
    due = sooner(due, turn_peers_due(a));
    due = sooner(due, turn_liveness_due(a));
    if (a->silent && !a->probe_since)
        due = turn_now(a);
    timer_set(a->loop, &a->timer, due);
}

static void on_gap(void *arg, uint64_t lost_us)
{
    struct turn_allocation *a = arg;

    (void)lost_us;
    if (a->state != TURN_UP)
        return;
    a->probe_since = 0; /* the silence was ours */
    turn_probe(a);
    turn_schedule(a);
}

void turn_allocation_check(struct turn_allocation *allocation)
{
    struct turn_allocation *a = allocation;

    if (a->state != TURN_UP)
        return;
    turn_begin_move(a);
    turn_probe(a);
    turn_schedule(a);
}

/* --- What the leg tells --- */

static void on_leg_up(struct leg *leg, void *arg)
{
    struct turn_leg *of = arg;
    struct turn_allocation *a = of->owner;

    (void)leg;
    of->up = true;
    if (a->state == TURN_RELEASING)
        return; /* its end is near */
    if (of == a->leg) {
        turn_allocate(a);
    } else if (!turn_refresh(a, of, true))
        turn_leg_drop(of);
}

static void on_indication(struct turn_allocation *a, const struct slice *frame,
                          const struct stun_message *message)
{
    struct addr peer;
    uint32_t connection;

    if (message->method == STUN_METHOD_DATA) {
        turn_peers_data(a, frame, message);
        return;
    }
    if (message->method == STUN_METHOD_CONNECTION_ATTEMPT && a->request.tcp &&
        stun_read_u32(stun_find(message, STUN_ATTR_CONNECTION_ID), &connection) == 0 &&
        stun_read_xor_address(stun_find(message, STUN_ATTR_XOR_PEER_ADDRESS), &message->id,
                              &peer) == 0 &&
        turn_allocation_is_permitted(a, &peer)) {
        if (a->events.attempt)
            a->events.attempt(a, connection, &peer, a->arg);
        return;
    }
    a->stray++;
}

static void on_message(struct turn_leg *of, const struct slice *frame)
{
    struct turn_allocation *a = of->owner;
    struct stun_message message;
    bool gone = false, expected;

    if (stun_parse_datagram(frame->data, frame->len, &message) != 0) {
        a->stray++;
        return;
    }
    switch (message.class) {
    case STUN_SUCCESS:
    case STUN_ERROR:
        a->gone = &gone;
        expected = transaction_receive(of->table, &message, NULL);
        if (gone)
            return;
        a->gone = NULL;
        if (!expected)
            a->stray++;
        return;
    case STUN_INDICATION:
        if (a->state != TURN_UP || of != a->leg)
            return;
        on_indication(a, frame, &message);
        return;
    case STUN_REQUEST: /* servers ask nothing */
        a->stray++;
        return;
    }
}

static void on_leg_frame(struct leg *leg, const struct slice *frame, void *arg)
{
    struct turn_leg *of = arg;
    struct turn_allocation *a = of->owner;

    (void)leg;
    switch (frame->len ? stun_kind(frame->data[0]) : STUN_KIND_OTHER) {
    case STUN_KIND_MESSAGE:
        on_message(of, frame);
        return;
    case STUN_KIND_CHANNEL:
        if (a->state != TURN_UP || of != a->leg)
            return;
        turn_peers_channel_data(a, frame);
        return;
    case STUN_KIND_DTLS:
    case STUN_KIND_OTHER:
        a->stray++;
        return;
    }
}

static void on_leg_room(struct leg *leg, void *arg)
{
    struct turn_leg *of = arg;
    struct turn_allocation *a = of->owner;

    (void)leg;
    if (of == a->leg && a->state == TURN_UP && a->events.room)
        a->events.room(a, a->arg);
}

static void on_leg_end(struct leg *leg, int why, const char *text, void *arg)
{
    static const struct turn_report fine = {.trouble = TURN_FINE, .text = "released"};
    struct turn_leg *of = arg;
    struct turn_allocation *a = of->owner;
    struct turn_report report;
    char where[SERVER_TEXT_MAX];

    (void)leg;
    (void)why;
    server_format(&a->to.server, where);
    turn_report_make(&report, a->state == TURN_CONNECTING ? TURN_UNREACHABLE : TURN_LOST, 0, 0,
                     "%s: %.200s", where, text);
    of->leg = NULL; /* it is gone */
    if (of == a->moving) {
        turn_leg_drop(of);
        if (!a->leg->leg)
            turn_end(a, &report);
        return;
    }
    turn_peers_detach(a);
    turn_leg_drop(of);
    a->refresh = NULL;
    if (a->state == TURN_RELEASING) {
        turn_end(a, &fine);
    } else if (!turn_allocate_elsewhere(a) && !turn_begin_move(a))
        turn_end(a, &report);
}

/* --- For users --- */

struct turn_allocation *turn_allocation_open(struct loop *loop, const struct turn_server *server,
                                             const struct turn_request *request,
                                             const struct turn_allocation_events *events, void *arg)
{
    struct turn_allocation *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->loop = loop;
    a->events = *events;
    a->arg = arg;
    a->to = *server;
    a->to.login = (struct turn_login){0};
    if (server->leg.tls_name) {
        strncpy(a->tls_name, server->leg.tls_name, sizeof(a->tls_name) - 1);
        a->to.leg.tls_name = a->tls_name;
    }
    a->request = *request;
    a->leg = &a->legs[0];
    a->moving = &a->legs[1];
    a->leg->owner = a->moving->owner = a;
    timer_init(&a->timer, on_timer, a);
    if (!take_login(a, &server->login) || !turn_leg_begin(a->leg)) {
        wipe_login(a);
        free(a);
        return NULL;
    }
    gap_watch_add(loop, &a->gap, on_gap, a);
    return a;
}

void turn_allocation_pause(struct turn_allocation *allocation)
{
    if (allocation->leg->leg)
        leg_pause(allocation->leg->leg);
}

void turn_allocation_resume(struct turn_allocation *allocation)
{
    if (allocation->leg->leg)
        leg_resume(allocation->leg->leg);
}

bool turn_allocation_is_bare(const struct turn_allocation *allocation)
{
    return allocation->bare;
}

bool turn_allocation_is_up(const struct turn_allocation *allocation)
{
    return allocation->state == TURN_UP;
}

int turn_allocation_relayed(const struct turn_allocation *allocation, int family, struct addr *addr)
{
    for (unsigned i = 0; i < allocation->relayed_count; i++) {
        if (family && allocation->relayed[i].family != family)
            continue;
        *addr = allocation->relayed[i];
        return 0;
    }
    return -ENOENT;
}

int turn_allocation_mapped(const struct turn_allocation *allocation, struct addr *addr)
{
    if (!addr_is_set(&allocation->mapped))
        return -ENOENT;
    *addr = allocation->mapped;
    return 0;
}

int turn_allocation_addrs(const struct turn_allocation *allocation, struct addr *local,
                          struct addr *server)
{
    if (!allocation->leg->leg)
        return -ENOTCONN;
    return leg_addrs(allocation->leg->leg, local, server);
}

void turn_allocation_status(const struct turn_allocation *allocation,
                            struct turn_allocation_status *status)
{
    const struct turn_allocation *a = allocation;

    *status = (struct turn_allocation_status){
        .lifetime_s = a->lifetime_s,
        .expires_us = a->expires,
        .rtt_us = turn_rtt(a),
        .heard_us = a->heard,
        .has_ticket = a->ticket_len > 0,
        .silent = a->silent,
        .sha256 = a->credentials.asked && a->credentials.sha256,
        .anonymous = a->credentials.asked && a->credentials.anonymous,
        .stale_nonces = a->stale_nonces,
        .stray = a->stray,
        .dropped = a->dropped,
    };
    static_assert(sizeof(status->software) == sizeof(a->software), "as it was taken");
    memcpy(status->software, a->software, sizeof(status->software));
    for (unsigned i = 0; i < a->permission_count; i++)
        status->permissions += a->permissions[i].state == TURN_PERMISSION_GRANTED;
    for (unsigned i = 0; i < a->channel_count; i++)
        status->channels += a->channels[i].state == TURN_CHANNEL_BOUND;
}

int turn_allocation_token(const struct turn_allocation *allocation, uint8_t token[STUN_TOKEN_BYTES])
{
    if (!allocation->has_token)
        return -ENOENT;
    memcpy(token, allocation->token, STUN_TOKEN_BYTES);
    return 0;
}
