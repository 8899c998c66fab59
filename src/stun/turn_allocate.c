/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * How an allocation is made: Allocate, what success grants, and what is done about everything else.
 *
 * What a server refuses and we can do without is left out, and the request made again:
 * DONT-FRAGMENT, EVEN-PORT and a reservation, mobility. Some servers refuse an attribute they do
 * not know by saying nothing, or by closing the connection (an exception in their parser): after
 * TURN_SKIP_US of silence, or at that end, Allocate is made again without these and without
 * ADDITIONAL-ADDRESS-FAMILY, on a new leg, so that an answer that was late does not draw a 437. The
 * first request, which only draws a 401, has none of them anyway: if that is not answered, it is
 * the network or the server, and nothing is given up for it. IPv4 is not asked for by name, since
 * it is what servers give (RFC 8656 7.2) and old ones do not know the attribute; one that gives
 * IPv6 then is asked by name. Everything else ends the allocation with a report.
 *
 * A 300 need not be signed (RFC 8489 10), and coturn never signs one; RFC 8489 14.8 wants it
 * signed. It is believed unsigned only as the answer to a request that was not signed either, when
 * there is no key yet; signed requests have it verified. It is not followed to addresses that no
 * server on another machine can mean (unspecified, multicast; loopback and link-local, unless this
 * one has such an address), nor to one we come from.
 */
#include <string.h>

#include "base/log.h"
#include "stun/turn_int.h"

static void ask(struct turn_allocation *a);

/* The first request to a server that we have a login for only draws a 401, so it is plain: if it is
 * not answered, nobody is there. */
static bool with_options(const struct turn_allocation *a)
{
    return !a->credentials.set || a->credentials.asked || a->eager;
}

static void build_allocate(struct turn_exchange *exchange, struct stun_builder *builder)
{
    const struct turn_allocation *a = exchange->leg->owner;
    struct turn_request plain = a->request;
    const struct turn_request *request = &plain;

    if (!with_options(a))
        turn_drop_options(&plain);
    stun_put_transport(builder, request->tcp ? STUN_TRANSPORT_TCP : STUN_TRANSPORT_UDP);
    if (request->lifetime_s)
        stun_put_u32(builder, STUN_ATTR_LIFETIME, request->lifetime_s);
    if (request->has_token)
        stun_put(builder, STUN_ATTR_RESERVATION_TOKEN, request->token, STUN_TOKEN_BYTES);
    else if (request->both)
        stun_put_family(builder, STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, AF_INET6);
    else if (request->family == AF_INET6 || (request->family && a->name_family))
        stun_put_family(builder, STUN_ATTR_REQUESTED_ADDRESS_FAMILY, request->family);
    if (request->even_port && !request->has_token)
        stun_put_even_port(builder, request->reserve);
    if (request->dont_fragment)
        stun_put_flag(builder, STUN_ATTR_DONT_FRAGMENT);
    if (request->mobility)
        stun_put(builder, STUN_ATTR_MOBILITY_TICKET, "", 0);
}

static void take_software(struct turn_allocation *a, const struct stun_message *response)
{
    struct stun_bytes text;
    size_t len = 0;

    if (stun_read_bytes(stun_find(response, STUN_ATTR_SOFTWARE), &text) != 0)
        return;
    for (size_t i = 0; i < text.len && len < sizeof(a->software) - 1; i++)
        if (text.bytes[i] >= ' ' && text.bytes[i] <= '~')
            a->software[len++] = (char)text.bytes[i];
    a->software[len] = 0;
}

/* What a success response to Allocate grants; false: it is none. */
static bool take_allocation(struct turn_allocation *a, const struct stun_message *response)
{
    const struct stun_attr *attr = NULL;

    a->relayed_count = 0;
    while (a->relayed_count < 2 &&
           (attr = stun_find_next(response, attr, STUN_ATTR_XOR_RELAYED_ADDRESS)))
        if (stun_read_xor_address(attr, &response->id, &a->relayed[a->relayed_count]) == 0 &&
            a->relayed[a->relayed_count].port != 0 && !addr_is_any(&a->relayed[a->relayed_count]))
            a->relayed_count++;
    if (a->relayed_count == 0 || stun_read_mapped(response, &a->mapped) != 0)
        return false;
    turn_take_lifetime(a, response);
    if (a->lifetime_s == 0)
        return false;
    turn_take_ticket(a, response);
    take_software(a, response);
    a->has_token = stun_read_token(stun_find(response, STUN_ATTR_RESERVATION_TOKEN), a->token) == 0;
    return true;
}

/* Begins again on a new leg; true unless it has ended. */
static bool reopen(struct turn_allocation *a)
{
    turn_leg_drop(a->leg);
    a->state = TURN_CONNECTING;
    if (turn_leg_begin(a->leg))
        return true;
    turn_end_with(a, TURN_NO_MEMORY, "cannot be connected to: out of memory");
    return false;
}

/* Whether the relayed address is of the family that was asked for. */
static bool is_family_right(const struct turn_allocation *a)
{
    return !a->request.family || a->request.both || a->request.has_token ||
           a->relayed[0].family == a->request.family;
}

/* The server gives IPv6 where IPv4 was not asked for by name, or wants no login where we have one,
 * and so has granted the plain request: true when that is given back, and asked for in full. */
static bool ask_in_full(struct turn_allocation *a)
{
    bool by_name = !is_family_right(a) && a->request.family == AF_INET && !a->name_family;
    bool eagerly = !with_options(a) && turn_has_options(&a->request);

    if (!by_name && !eagerly)
        return false;
    a->name_family |= by_name;
    a->eager |= eagerly;
    a->state = TURN_UP; /* there is something to give back */
    turn_ask_release(a);
    a->ticket_len = 0;
    reopen(a);
    return true;
}

/* True: something was left out that was asked for; it may be what the server does not bear. */
static bool leave_out_options(struct turn_allocation *a)
{
    struct turn_request *request = &a->request;
    char where[SERVER_TEXT_MAX];

    if (!turn_has_options(request) || !with_options(a))
        return false;
    log_debug(
        "event=turn-allocate-bare server=%s reason=\"no answer: asked without MOBILITY-TICKET, "
        "DONT-FRAGMENT, EVEN-PORT and ADDITIONAL-ADDRESS-FAMILY\"",
        server_format(&a->to.server, where));
    turn_drop_options(request);
    a->bare = true;
    return true;
}

/* Where no server can be, unless the one we speak to is of the same kind. */
static bool is_proper(const struct addr *to, const struct addr *now)
{
    bool v4 = to->family == AF_INET;
    const uint8_t *ip = to->ip.bytes;
    bool multicast = v4 ? ip[0] >= 224 : ip[0] == 0xff; /* and what is reserved beyond */
    bool link = v4 ? ip[0] == 169 && ip[1] == 254 : ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
    bool now_link = now->family == AF_INET
                        ? now->ip.bytes[0] == 169 && now->ip.bytes[1] == 254
                        : now->ip.bytes[0] == 0xfe && (now->ip.bytes[1] & 0xc0) == 0x80;

    if (to->port == 0 || multicast || addr_is_any(to) || (v4 && ip[0] == 0))
        return false;
    return (!addr_is_loopback(to) || addr_is_loopback(now)) && (!link || now_link);
}

/* 300: true when there is somewhere to go and we are on the way there. */
static bool redirect(struct turn_allocation *a, const struct stun_message *response)
{
    struct leg_options *leg = &a->to.leg;
    char text[ADDR_TEXT_MAX];
    struct stun_bytes domain;
    struct addr to, now = {0};

    if (stun_read_address(stun_find(response, STUN_ATTR_ALTERNATE_SERVER), &to) != 0 ||
        a->redirects >= TURN_REDIRECTS_MAX)
        return false;
    if (addr_parse_ip(a->to.server.host, &now) == 0)
        now.port = a->to.server.port;
    else
        leg_addrs(a->leg->leg, NULL, &now);
    to = addr_unmap(&to);
    now = addr_unmap(&now);
    if (a->redirects == 0)
        a->redirected[0] = now;
    if (!is_proper(&to, &now))
        return false;
    for (unsigned i = 0; i <= a->redirects; i++)
        if (addr_equal(&a->redirected[i], &to))
            return false;
    a->redirected[++a->redirects] = to;
    if (stun_read_bytes(stun_find(response, STUN_ATTR_ALTERNATE_DOMAIN), &domain) == 0 &&
        domain.len > 0 && domain.len < sizeof(a->tls_name) &&
        !memchr(domain.bytes, 0, domain.len)) {
        memcpy(a->tls_name, domain.bytes, domain.len);
        a->tls_name[domain.len] = 0;
    } else if (!leg->tls_name) {
        strcpy(a->tls_name, a->to.server.host);
    }
    leg->tls_name = a->tls_name;
    leg->address = to;
    leg->skip = 0;
    strcpy(a->to.server.host, addr_format_ip(&to, text));
    a->to.server.port = to.port;
    credentials_forget_server(&a->credentials);
    return true;
}

/* 420, 405, 508: leaves out what was refused and can be left out; true: ask again. */
static bool do_without(struct turn_allocation *a, const struct stun_message *response,
                       unsigned code)
{
    struct turn_request *request = &a->request;
    uint16_t types[STUN_UNKNOWN_MAX];
    size_t count;

    if (code == STUN_MOBILITY_FORBIDDEN && request->mobility) {
        request->mobility = false;
        return true;
    }
    if (code == STUN_NO_CAPACITY && (request->even_port || request->has_token)) {
        request->even_port = request->reserve = request->has_token = false;
        return true;
    }
    if (code != STUN_UNKNOWN_ATTRIBUTE ||
        stun_read_unknown(stun_find(response, STUN_ATTR_UNKNOWN_ATTRIBUTES), types, &count) != 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (types[i] == STUN_ATTR_DONT_FRAGMENT && request->dont_fragment)
            request->dont_fragment = false;
        else if (types[i] == STUN_ATTR_EVEN_PORT && request->even_port)
            request->even_port = request->reserve = false;
        else if (types[i] == STUN_ATTR_MOBILITY_TICKET && request->mobility)
            request->mobility = false;
        else if (types[i] == STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY && request->both)
            request->both = false;
        else
            return false;
    }
    return count > 0;
}

static void allocate_failed(struct turn_allocation *a, const struct stun_message *response,
                            const struct turn_report *report)
{
    struct turn_report better = *report;

    if (response && report->code == STUN_TRY_ALTERNATE && redirect(a, response)) {
        reopen(a);
        return;
    }
    if (response && do_without(a, response, report->code)) {
        ask(a);
        return;
    }
    if (report->code == STUN_ALLOCATION_MISMATCH) {
        if (++a->ports <= TURN_PORTS_MAX && a->to.leg.pipe.local.port == 0) {
            reopen(a);
            return;
        }
        turn_report_make(&better, TURN_MISMATCH, report->method, report->code,
                         "the server has an allocation for each of the ports that we tried: "
                         "something keeps old ones; wait two minutes, or use another server");
    }
    turn_end(a, &better);
}

static void on_allocate(struct turn_exchange *exchange, const struct stun_message *response,
                        const struct turn_report *report)
{
    struct turn_allocation *a = exchange->leg->owner;
    char relayed[ADDR_TEXT_MAX];
    bool good;

    if (report) {
        allocate_failed(a, response, report);
        return;
    }
    good = take_allocation(a, response);
    if (good && ask_in_full(a))
        return;
    if (good && !is_family_right(a)) {
        turn_ask_release(a);
        turn_end_with(a, TURN_NO_FAMILY,
                      "gives a relayed address of the other family than the one asked for: it has "
                      "none of this, and does not say so; ask for the other one");
        return;
    }
    if (!good) {
        turn_end_with(
            a, TURN_NOT_TURN,
            "answers something that is no proper TURN: check that address and port are those "
            "of a TURN server");
        return;
    }
    a->state = TURN_UP;
    a->heard = a->answered = a->active = turn_now(a);
    log_debug("event=turn-allocated relayed=%s lifetime_s=%u", addr_format(&a->relayed[0], relayed),
              a->lifetime_s);
    turn_schedule(a);
    if (a->events.up)
        a->events.up(a, a->arg);
}

static void ask(struct turn_allocation *a)
{
    const struct turn_exchange what = {
        .method = STUN_METHOD_ALLOCATE, .build = build_allocate, .done = on_allocate};

    a->state = TURN_ALLOCATING;
    if (!turn_exchange_start(a->leg, &what, NULL))
        turn_end_with(a, TURN_NO_MEMORY, "cannot be asked: out of memory");
}

/* --- Silence --- */

/* On UDP only an answer shows that an address of the server's name is good. */
static bool may_skip(const struct turn_allocation *a)
{
    struct addr literal;

    return a->to.server.transport == SERVER_UDP && !addr_is_set(&a->to.leg.address) &&
           addr_parse_ip(a->to.server.host, &literal) != 0 && a->skips < TURN_SKIPS_MAX &&
           a->heard == 0;
}

void turn_await_answer(struct turn_allocation *allocation)
{
    struct turn_allocation *a = allocation;

    if (may_skip(a) || turn_has_options(&a->request))
        timer_set_in(a->loop, &a->timer, TURN_SKIP_US);
}

void turn_allocate_late(struct turn_allocation *allocation)
{
    struct turn_allocation *a = allocation;

    if (may_skip(a)) {
        a->skips++;
        a->to.leg.skip++;
    } else if (!leave_out_options(a)) {
        return; /* it is waited for until the transaction is over */
    }
    reopen(a);
}

bool turn_allocate_elsewhere(struct turn_allocation *allocation)
{
    struct turn_allocation *a = allocation;

    if (a->state == TURN_CONNECTING && a->to.leg.skip > 0 && may_skip(a)) {
        a->to.leg.skip = 0; /* there is no other address: from the first again */
        leave_out_options(a);
    } else if (a->state != TURN_ALLOCATING || !leave_out_options(a)) {
        return false;
    }
    reopen(a);
    return true;
}

void turn_allocate(struct turn_allocation *allocation)
{
    turn_await_answer(allocation);
    ask(allocation);
}
