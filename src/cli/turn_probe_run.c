/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One leg, one question after the other, each with a time limit of its own:
 *
 *     BINDING   is it there, what is our address            (stun/client.h)
 *     ASK       Allocate without a login: realm, software   (a transaction); where it sends us to
 *               another server (300), the same there, and from now on all is asked there
 *     FIRST     an allocation, IPv4, with a ticket if it gives any
 *     PERMIT    may our own address send to it, the server's own relayed one, the server itself
 *     SECOND    another allocation, to send to the first
 *     FLOW      bytes from the second to the first (turn_flow.c)
 *     SIX, TCP  allocations with an IPv6 address, and for TCP connections
 *
 * What fails is a finding, not an end, but for the first two. Every allocation is released before
 * the next one is made, so that a quota of two suffices.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/turn_probe.h"
#include "stun/transaction.h"
#include "stun/words.h"

#define STEP_US    (12 * SEC_US)
#define PERMIT_US  (5 * SEC_US)
#define CONNECT_MS 5000
#define SILENCE_TIMING                                               \
    {                                                                \
        .rto_us = 500 * MS_US, .rc = 4, .rm = 4, .ti_us = 6 * SEC_US \
    } /* 5.5 s in all */

enum step { BINDING, ASK, FIRST, PERMIT, SECOND, FLOW, SIX, TCP, OVER };

struct probe_run {
    struct probe *probe;
    struct probe_leg *leg;
    struct loop *loop;
    void (*done)(void *arg);
    void *arg;
    enum step step;
    bool again; /* the step, at another server */
    struct timer timer;
    struct defer next;
    struct stun_client *client;
    struct leg *raw;
    struct transaction_table *table;
    struct turn_allocation *first, *second;
    struct flow *flow;
    struct addr loopback;
};

static void advance(struct probe_run *run);

static void find(struct probe_finding *finding, enum probe_answer answer, const char *text)
{
    finding->answer = answer;
    snprintf(finding->text, sizeof(finding->text), "%s", text != NULL ? text : "");
}

/* The step is over: the next one begins, from the loop. */
static void step_done(struct probe_run *run)
{
    timer_cancel(run->loop, &run->timer);
    defer_soon(run->loop, &run->next);
}

static void give_up(struct probe_run *run)
{
    run->step = TCP; /* the last */
    step_done(run);
}

/* --- BINDING --- */

static void on_mapped(struct stun_client *client, const struct stun_client_result *result,
                      void *arg)
{
    struct probe_run *run = arg;
    struct probe_leg *leg = run->leg;
    bool is_there =
        result->outcome != STUN_CLIENT_UNREACHABLE && result->outcome != STUN_CLIENT_SILENT;

    leg->outcome = result->outcome;
    find(&leg->reachable, is_there ? PROBE_YES : PROBE_NO, result->text);
    leg->rtt_us = result->rtt_us;
    leg->has_mapped = result->outcome == STUN_CLIENT_MAPPED;
    leg->mapped = result->mapped;
    leg->local = result->local;
    leg->has_nat = result->has_nat;
    stun_client_free(client);
    run->client = NULL;
    if (is_there)
        step_done(run);
    else
        give_up(run);
}

static void begin_binding(struct probe_run *run)
{
    const struct stun_client_options options = {.leg = run->leg->server.leg,
                                                .timing = SILENCE_TIMING};

    run->client = stun_client_new(run->loop, &run->leg->server.server, &options, on_mapped, run);
    if (run->client == NULL)
        give_up(run);
}

/* --- ASK --- */

static void drop_raw(struct probe_run *run)
{
    transaction_table_free(run->table);
    run->table = NULL;
    if (run->raw != NULL)
        leg_close(run->raw);
    run->raw = NULL;
}

static void take_text(const struct stun_message *m, enum stun_type type, char *text, size_t size)
{
    struct stun_bytes bytes;
    size_t n = 0;

    if (stun_read_bytes(stun_find(m, type), &bytes) != 0)
        return;
    for (size_t i = 0; i < bytes.len && n + 1 < size; i++)
        text[n++] = (char)(bytes.bytes[i] >= 0x20 && bytes.bytes[i] < 0x7F ? bytes.bytes[i] : '?');
    text[n] = '\0';
}

/* Goes to the server that this one sends us to. False: none is named, or we have been there. */
static bool follow(struct probe_leg *leg, const struct stun_message *m)
{
    struct addr to;

    if (leg->redirect_count == PROBE_REDIRECTS_MAX ||
        stun_read_address(stun_find(m, STUN_ATTR_ALTERNATE_SERVER), &to) != 0 || to.port == 0 ||
        to.family != leg->family || addr_equal(&to, &leg->address))
        return false;
    for (size_t i = 0; i < leg->redirect_count; i++)
        if (addr_equal(&to, &leg->redirects[i]))
            return false;
    leg->redirects[leg->redirect_count++] = to;
    leg->server.leg.address = to;
    leg->server.server.port = to.port;
    return true;
}

static void on_asked(void *arg, const struct transaction_result *result)
{
    struct probe_run *run = arg;
    struct probe_leg *leg = run->leg;
    char text[TURN_TEXT_MAX];

    switch (result->outcome) {
    case TRANSACTION_SUCCESS:
        leg->asked = leg->open_relay = true;
        break;
    case TRANSACTION_ERROR:
        leg->asked = true;
        take_text(result->message, STUN_ATTR_REALM, leg->realm, sizeof(leg->realm));
        if (result->error.code == STUN_TRY_ALTERNATE && follow(leg, result->message)) {
            run->again = true;
        } else if (result->error.code != STUN_UNAUTHENTICATED) {
            const char *meaning = words_error_meaning(result->error.code);
            snprintf(text, sizeof(text), "error %u: %s", result->error.code,
                     meaning != NULL ? meaning : "not known");
            find(&leg->login, PROBE_NO, text);
        }
        break;
    case TRANSACTION_TIMEOUT:
        find(&leg->login, PROBE_NO,
             "it answers to STUN, but not to Allocate: it is no TURN server, or TURN is off");
        break;
    case TRANSACTION_VIOLATED:
    case TRANSACTION_BAD:
    case TRANSACTION_UNSENT:
        find(&leg->login, PROBE_NO, "its answer to Allocate cannot be understood");
        break;
    }
    if (result->message != NULL)
        take_text(result->message, STUN_ATTR_SOFTWARE, leg->software, sizeof(leg->software));
    step_done(run);
}

static int raw_send(void *owner, const uint8_t *bytes, size_t len, const struct addr *to)
{
    struct probe_run *run = owner;

    (void)to;
    return run->raw != NULL ? leg_send(run->raw, bytes, len) : ADIT_ECLOSED;
}

static void on_raw_up(struct leg *raw, void *arg)
{
    static const struct transaction_timing timing = SILENCE_TIMING;
    struct probe_run *run = arg;
    struct stun_id id = transaction_new_id(run->loop);
    struct stun_builder b;
    uint8_t bytes[64];

    run->table = transaction_table_new(run->loop, leg_is_stream(raw), &timing, raw_send, run);
    stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_ALLOCATE, STUN_REQUEST, &id);
    stun_put_transport(&b, STUN_TRANSPORT_UDP);
    if (run->table == NULL ||
        transaction_start(run->table, &(struct transaction_request){.bytes = bytes,
                                                                    .len = (size_t)stun_built(&b),
                                                                    .done = on_asked,
                                                                    .arg = run}) == NULL)
        give_up(run);
}

static void on_raw_frame(struct leg *raw, const struct slice *frame, void *arg)
{
    struct probe_run *run = arg;
    struct stun_message message;

    (void)raw;
    if (run->table != NULL && stun_parse(frame->data, frame->len, &message) > 0)
        transaction_receive(run->table, &message, NULL);
}

static void on_raw_end(struct leg *raw, int why, const char *text, void *arg)
{
    struct probe_run *run = arg;

    (void)raw, (void)why;
    run->raw = NULL;
    find(&run->leg->login, PROBE_NO, text);
    step_done(run);
}

static void begin_ask(struct probe_run *run)
{
    static const struct leg_events events = {
        .up = on_raw_up, .frame = on_raw_frame, .end = on_raw_end};

    run->raw = leg_open(run->loop, &run->leg->server.server, &run->leg->server.leg, &events, run);
    if (run->raw == NULL)
        give_up(run);
}

/* --- Allocations --- */

static void drop(struct turn_allocation **allocation)
{
    if (*allocation != NULL)
        turn_allocation_close(*allocation);
    *allocation = NULL;
}

static struct turn_allocation *allocate(struct probe_run *run, const struct turn_request *request,
                                        const struct turn_allocation_events *events)
{
    return turn_allocation_open(run->loop, &run->leg->server, request, events, run);
}

static void on_first_up(struct turn_allocation *a, void *arg)
{
    struct probe_run *run = arg;
    struct probe_leg *leg = run->leg;
    struct turn_allocation_status status;

    if (run->step != FIRST)
        return;
    turn_allocation_status(a, &status);
    find(&leg->login, PROBE_YES, NULL);
    find(&leg->relay[0], PROBE_YES, NULL);
    turn_allocation_relayed(a, AF_INET, &leg->relayed[0]);
    if (!leg->has_mapped && turn_allocation_mapped(a, &leg->mapped) == 0)
        leg->has_mapped = true;
    leg->lifetime_s = status.lifetime_s;
    leg->sha256 = status.sha256;
    leg->anonymous = status.anonymous;
    find(&leg->mobility, status.has_ticket ? PROBE_YES : PROBE_NO,
         "the server gives no tickets (coturn: mobility)");
    step_done(run);
}

static void on_first_data(struct turn_allocation *a, const struct slice *data,
                          const struct addr *peer, void *arg)
{
    struct probe_run *run = arg;

    (void)a, (void)peer;
    if (run->flow != NULL)
        flow_data(run->flow, data->data, data->len);
}

static void on_first_end(struct turn_allocation *a, const struct turn_report *report, void *arg)
{
    struct probe_run *run = arg;

    (void)a;
    run->first = NULL;
    if (run->step != FIRST)
        return;
    run->leg->trouble = report->trouble;
    switch (report->trouble) {
    case TURN_NO_FAMILY: /* only IPv6 */
        find(&run->leg->login, PROBE_YES, NULL);
        find(&run->leg->relay[0], PROBE_NO, "the server has no such addresses");
        run->step = FLOW;
        step_done(run);
        return;
    case TURN_NO_TRANSPORT:
        find(&run->leg->login, PROBE_YES, NULL);
        find(&run->leg->relay[0], PROBE_NO, "it relays no UDP (coturn: without no-udp-relay)");
        run->step = FLOW; /* TCP perhaps */
        step_done(run);
        return;
    case TURN_QUOTA:
    case TURN_CAPACITY:
        find(&run->leg->login, PROBE_YES, NULL);
        find(&run->leg->relay[0], PROBE_NO, report->text);
        break;
    default:
        find(&run->leg->login, PROBE_NO, report->text);
    }
    give_up(run);
}

static void on_permission(struct turn_allocation *a, const struct addr *peer,
                          const struct turn_report *report, void *arg)
{
    struct probe_run *run = arg;
    struct probe_leg *leg = run->leg;
    enum probe_answer answer = report->trouble == TURN_FINE ? PROBE_YES : PROBE_NO;

    (void)a;
    if (run->step != PERMIT)
        return;
    if (addr_equal_ip(peer, &run->loopback))
        find(&leg->loopback, answer, "refused, as it should be");
    if (addr_equal_ip(peer, &leg->relayed[0]))
        find(&leg->own_permission, answer, report->text);
    if (leg->has_mapped && addr_equal_ip(peer, &leg->mapped))
        find(&leg->permission, answer, report->text);
    if (leg->loopback.answer != PROBE_UNASKED && leg->own_permission.answer != PROBE_UNASKED &&
        (leg->permission.answer != PROBE_UNASKED || leg->mapped.family != AF_INET))
        step_done(run);
}

static void on_first_room(struct turn_allocation *a, void *arg)
{
    (void)a, (void)arg;
}

static void begin_first(struct probe_run *run)
{
    static const struct turn_allocation_events events = {.up = on_first_up,
                                                         .data = on_first_data,
                                                         .peer = on_permission,
                                                         .room = on_first_room,
                                                         .end = on_first_end};
    const struct turn_request request = {.family = AF_INET, .mobility = true};

    run->first = allocate(run, &request, &events);
    if (run->first == NULL)
        give_up(run);
}

static void begin_permit(struct probe_run *run)
{
    struct addr loopback;

    addr_parse_ip("127.0.0.1", &loopback);
    run->loopback = loopback;
    timer_set_in(run->loop, &run->timer, PERMIT_US);
    if (run->leg->has_mapped && run->leg->mapped.family == AF_INET)
        turn_allocation_permit(run->first, &run->leg->mapped);
    turn_allocation_permit(run->first, &run->leg->relayed[0]);
    turn_allocation_permit(run->first, &loopback);
}

/* --- SECOND, FLOW --- */

static void on_second_up(struct turn_allocation *a, void *arg)
{
    struct probe_run *run = arg;

    turn_allocation_permit(a, &run->leg->relayed[0]);
}

static void on_second_peer(struct turn_allocation *a, const struct addr *peer,
                           const struct turn_report *report, void *arg)
{
    struct probe_run *run = arg;

    (void)a, (void)peer;
    if (run->step != SECOND)
        return;
    find(&run->leg->second, report->trouble == TURN_FINE ? PROBE_YES : PROBE_NO, report->text);
    if (report->trouble != TURN_FINE)
        run->step = FLOW; /* without it */
    step_done(run);
}

static void on_second_room(struct turn_allocation *a, void *arg)
{
    struct probe_run *run = arg;

    (void)a;
    if (run->flow != NULL)
        flow_room(run->flow);
}

static void on_second_end(struct turn_allocation *a, const struct turn_report *report, void *arg)
{
    struct probe_run *run = arg;

    (void)a;
    if (run->step == SECOND)
        find(&run->leg->second, PROBE_NO, report->text);
    run->second = NULL;
    flow_free(run->flow);
    run->flow = NULL;
    if (run->step == SECOND || run->step == FLOW) {
        run->step = FLOW;
        step_done(run);
    }
}

static void begin_second(struct probe_run *run)
{
    static const struct turn_allocation_events events = {
        .up = on_second_up, .peer = on_second_peer, .room = on_second_room, .end = on_second_end};
    const struct turn_request request = {.family = AF_INET};

    if (run->leg->own_permission.answer == PROBE_YES)
        run->second = allocate(run, &request, &events);
    if (run->second != NULL)
        return;
    run->step = FLOW;
    step_done(run);
}

static void on_flow(void *arg)
{
    struct probe_run *run = arg;
    struct turn_allocation_status status;

    turn_allocation_status(run->second, &status);
    find(&run->leg->channel, status.channels > 0 ? PROBE_YES : PROBE_NO,
         "ChannelBind was refused; each message takes 32 bytes more");
    step_done(run);
}

static void begin_flow(struct probe_run *run)
{
    uint64_t duration = run->probe->flow_us;

    timer_set_in(run->loop, &run->timer, duration + STEP_US);
    if (run->first != NULL)
        run->flow = flow_new(run->loop, run->second, &run->leg->relayed[0], duration,
                             run->leg->server.server.transport != SERVER_UDP, &run->leg->flow,
                             on_flow, run);
    if (run->flow == NULL)
        step_done(run);
}

/* --- SIX, TCP --- */

static void on_six_up(struct turn_allocation *a, void *arg)
{
    struct probe_run *run = arg;

    find(&run->leg->login, PROBE_YES, NULL);
    find(&run->leg->relay[1], PROBE_YES, NULL);
    turn_allocation_relayed(a, AF_INET6, &run->leg->relayed[1]);
    step_done(run);
}

static void on_six_end(struct turn_allocation *a, const struct turn_report *report, void *arg)
{
    struct probe_run *run = arg;

    (void)a;
    run->first = NULL;
    if (run->step != SIX)
        return;
    find(&run->leg->relay[1], PROBE_NO,
         report->trouble == TURN_NO_FAMILY      ? "the server has no such addresses"
         : report->trouble == TURN_NO_TRANSPORT ? "it relays no UDP (coturn: without no-udp-relay)"
                                                : report->text);
    step_done(run);
}

static void begin_six(struct probe_run *run)
{
    static const struct turn_allocation_events events = {.up = on_six_up, .end = on_six_end};
    const struct turn_request request = {.family = AF_INET6};

    run->first = allocate(run, &request, &events);
    if (run->first == NULL)
        give_up(run);
}

static void on_tcp_up(struct turn_allocation *a, void *arg)
{
    struct probe_run *run = arg;

    (void)a;
    find(&run->leg->tcp, PROBE_YES, NULL);
    step_done(run);
}

static void on_tcp_end(struct turn_allocation *a, const struct turn_report *report, void *arg)
{
    struct probe_run *run = arg;

    (void)a;
    run->first = NULL;
    if (run->step != TCP)
        return;
    find(&run->leg->tcp, PROBE_NO, report->text);
    step_done(run);
}

static void begin_tcp(struct probe_run *run)
{
    static const struct turn_allocation_events events = {.up = on_tcp_up, .end = on_tcp_end};
    const struct turn_request request = {.tcp = true};

    if (run->leg->server.server.transport == SERVER_UDP) {
        step_done(run);
        return;
    }
    run->first = allocate(run, &request, &events);
    if (run->first == NULL)
        give_up(run);
}

/* --- One after the other --- */

static void on_limit(void *arg)
{
    struct probe_run *run = arg;

    switch (run->step) {
    case BINDING:
        find(&run->leg->reachable, PROBE_NO, "it does not answer");
        give_up(run);
        return;
    case FIRST:
        find(&run->leg->login, PROBE_NO, "it does not answer to Allocate with a login");
        give_up(run);
        return;
    case SECOND:
        run->step = FLOW;
        break;
    case ASK:
    case PERMIT:
    case FLOW:
    case SIX:
    case TCP:
    case OVER:
        break;
    }
    step_done(run);
}

/* What a step leaves behind. */
static void clean(struct probe_run *run, enum step step)
{
    switch (step) {
    case BINDING:
        if (run->client != NULL)
            stun_client_free(run->client);
        run->client = NULL;
        break;
    case ASK:
        drop_raw(run);
        break;
    case FIRST:
    case PERMIT:
    case SECOND:
        break;
    case FLOW:
        flow_free(run->flow);
        run->flow = NULL;
        drop(&run->second);
        drop(&run->first);
        break;
    case SIX:
        drop(&run->first);
        break;
    case TCP:
    case OVER:
        if (run->client != NULL)
            stun_client_free(run->client);
        run->client = NULL;
        drop_raw(run);
        flow_free(run->flow);
        run->flow = NULL;
        drop(&run->second);
        drop(&run->first);
        break;
    }
}

static void advance(struct probe_run *run)
{
    static void (*const begins[])(struct probe_run * run) = {
        [BINDING] = begin_binding, [ASK] = begin_ask,       [FIRST] = begin_first,
        [PERMIT] = begin_permit,   [SECOND] = begin_second, [FLOW] = begin_flow,
        [SIX] = begin_six,         [TCP] = begin_tcp,
    };

    if (run->step == OVER) {
        run->done(run->arg);
        return;
    }
    timer_set_in(run->loop, &run->timer, STEP_US);
    begins[run->step](run);
}

static void on_next(void *arg)
{
    struct probe_run *run = arg;
    const struct probe_leg *leg = run->leg;

    clean(run, run->step);
    if (!run->again)
        run->step++;
    run->again = false;
    if (run->step == FIRST && leg->login.answer == PROBE_NO)
        run->step = OVER;
    advance(run);
}

struct probe_run *probe_run_new(struct probe *probe, struct probe_leg *leg, void (*done)(void *arg),
                                void *arg)
{
    struct probe_run *run = calloc(1, sizeof(*run));

    if (run == NULL)
        return NULL;
    run->probe = probe;
    run->leg = leg;
    run->loop = probe->session.loop;
    run->done = done;
    run->arg = arg;
    leg->server.leg.pipe.connect_timeout_ms = CONNECT_MS;
    timer_init(&run->timer, on_limit, run);
    defer_init(&run->next, on_next, run);
    advance(run);
    return run;
}

void probe_run_free(struct probe_run *run)
{
    if (run == NULL)
        return;
    clean(run, OVER);
    timer_cancel(run->loop, &run->timer);
    defer_cancel(run->loop, &run->next);
    free(run);
}
