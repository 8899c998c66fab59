/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Who may send to us (permissions, one for each address of a peer), and by what peers are sent to
 * (channels, one for each address and port). Both live at the server for a while only, whatever the
 * allocation's lifetime (300 s and 600 s), and data does not renew them; so each has a time at
 * which it is asked for again, TURN_RENEW_S after it was granted.
 *
 *     permission: asking -> granted -> (renewed)          forgotten: the slot is free
 *                    `-> refused, asked for again after TURN_RETRY_S where that may help
 *     channel:    asking -> bound -> (renewed)            forgotten: resting -> the slot is free
 *                    `-> refused: indications
 *
 * A renewal that fails for the moment (5xx) changes nothing yet: it is asked for again, as long as
 * what was granted before lives.
 *
 * The first message to a peer goes as a Send indication and asks for a channel; once that is bound
 * messages go by it, with 4 bytes of overhead instead of 36. The number is the channel's slot, so a
 * received number leads to its peer at once. A number and a peer that were bound to each other may
 * be bound to others 5 minutes after the binding has run out (RFC 8656 12): until then the slot
 * rests; when the peer comes back, it gets the same number. More peers than TURN_CHANNELS_MAX are
 * sent to by indications.
 *
 * What arrives on a channel that is still being asked for is delivered: the server's data may
 * overtake its answer. What names a peer without permission is passed over, since only our server
 * may send that, and ours would not.
 *
 * A ChannelBind that is refused (400: the server believes it bound to somebody else) leaves the
 * peer to indications. RFC 8656 12 would have us start over with another allocation; but that
 * changes our relayed address for the sake of 32 bytes a message.
 */
#include <stdlib.h>
#include <string.h>

#include "stun/bytes.h"
#include "stun/turn_int.h"

#define SMALL_INDICATION 2048 /* built on the stack */
#define INDICATION_BYTES 64   /* what a Send indication adds, at most */

static struct addr ip_of(const struct addr *peer)
{
    struct addr ip = *peer;

    ip.port = 0;
    return ip;
}

static uint64_t renew_in(const struct turn_allocation *a)
{
    return (a->request.renew_s ? a->request.renew_s : TURN_RENEW_S) * SEC_US;
}

/* --- Permissions --- */

static struct turn_permission *find_permission(const struct turn_allocation *a,
                                               const struct addr *peer)
{
    for (unsigned i = 0; i < a->permission_count; i++)
        if (a->permissions[i].state != TURN_PERMISSION_NONE &&
            addr_equal_ip(&a->permissions[i].ip, peer))
            return &a->permissions[i];
    return NULL;
}

static void build_permission(struct turn_exchange *exchange, struct stun_builder *builder)
{
    stun_put_xor_address(builder, STUN_ATTR_XOR_PEER_ADDRESS, &exchange->peer);
}

/* Tells the owner when the outcome is another than the last it was told. The allocation may be gone
 * then. */
static void tell_peer(struct turn_allocation *a, struct turn_permission *permission,
                      const struct turn_report *report)
{
    struct addr ip = permission->ip;

    if (permission->was_told && permission->told == report->trouble)
        return;
    permission->was_told = true;
    permission->told = report->trouble;
    if (a->events.peer)
        a->events.peer(a, &ip, report, a->arg);
}

static void granted(struct turn_allocation *a, struct turn_permission *permission)
{
    static const struct turn_report fine = {.trouble = TURN_FINE, .text = "the server relays"};

    permission->state = TURN_PERMISSION_GRANTED;
    permission->expires = turn_now(a) + TURN_PERMISSION_S * SEC_US;
    permission->due = turn_now(a) + renew_in(a);
    turn_schedule(a);
    tell_peer(a, permission, &fine);
}

/* What we have until then is ours yet, and an error that passes is asked away meanwhile. */
static bool may_ask_again(const struct turn_allocation *a, const struct turn_report *report,
                          uint64_t expires)
{
    return turn_is_passing(report->trouble) &&
           turn_now(a) + TURN_REFRESH_AGAIN_S * SEC_US < expires;
}

static void on_permission(struct turn_exchange *exchange, const struct stun_message *response,
                          const struct turn_report *report)
{
    struct turn_allocation *a = exchange->leg->owner;
    struct turn_permission *permission = find_permission(a, &exchange->peer);

    (void)response;
    if (!permission || permission->exchange != exchange)
        return;
    permission->exchange = NULL;
    if (!report) {
        granted(a, permission);
        return;
    }
    if (report->trouble == TURN_MISMATCH) {
        turn_gone(a, report);
        return;
    }
    if (turn_is_login_lost(report)) {
        turn_end(a, report);
        return;
    }
    /* Without an answer nothing is refused: it is asked again, and granted meanwhile, if it was. */
    permission->due = turn_now(a) + SEC_US;
    if (report->code == 0) {
        turn_schedule(a);
        return;
    }
    if (permission->state == TURN_PERMISSION_GRANTED &&
        may_ask_again(a, report, permission->expires)) {
        permission->due = turn_now(a) + TURN_REFRESH_AGAIN_S * SEC_US;
        turn_schedule(a);
        return;
    }
    permission->state = TURN_PERMISSION_REFUSED;
    permission->due = turn_now(a) + TURN_RETRY_S * SEC_US;
    if (report->code == STUN_PEER_FAMILY_MISMATCH)
        permission->due = UINT64_MAX;
    turn_schedule(a);
    tell_peer(a, permission, report);
}

static void ask_permission(struct turn_allocation *a, struct turn_permission *permission)
{
    const struct turn_exchange what = {.method = STUN_METHOD_CREATE_PERMISSION,
                                       .build = build_permission,
                                       .done = on_permission,
                                       .peer = permission->ip};

    permission->due = turn_now(a) + SEC_US;
    if (!permission->exchange && a->leg->up)
        turn_exchange_start(a->leg, &what, &permission->exchange);
}

static struct turn_permission *free_permission(struct turn_allocation *a)
{
    if (!a->permissions)
        a->permissions = calloc(TURN_PERMISSIONS_MAX, sizeof(*a->permissions));
    if (!a->permissions)
        return NULL;
    for (unsigned i = 0; i < a->permission_count; i++)
        if (a->permissions[i].state == TURN_PERMISSION_NONE)
            return &a->permissions[i];
    return a->permission_count < TURN_PERMISSIONS_MAX ? &a->permissions[a->permission_count++]
                                                      : NULL;
}

int turn_allocation_permit(struct turn_allocation *allocation, const struct addr *peer)
{
    struct turn_allocation *a = allocation;
    struct turn_permission *permission = find_permission(a, peer);

    if (permission) {
        if (permission->state == TURN_PERMISSION_REFUSED)
            permission->was_told = false; /* whoever asks again wants to hear again */
        return 0;
    }
    permission = free_permission(a);
    if (!permission)
        return ADIT_EFULL;
    *permission = (struct turn_permission){.ip = ip_of(peer), .state = TURN_PERMISSION_ASKING};
    if (a->state != TURN_UP)
        return 0;
    ask_permission(a, permission);
    turn_schedule(a);
    return 0;
}

bool turn_allocation_is_permitted(const struct turn_allocation *allocation, const struct addr *peer)
{
    const struct turn_permission *permission = find_permission(allocation, peer);

    return permission && permission->state == TURN_PERMISSION_GRANTED;
}

/* --- Channels --- */

static struct turn_channel *find_channel(struct turn_allocation *a, const struct addr *peer)
{
    if (a->last_channel && a->last_channel->state != TURN_CHANNEL_NONE &&
        addr_equal(&a->last_channel->peer, peer))
        return a->last_channel;
    for (unsigned i = 0; i < a->channel_count; i++) {
        if (a->channels[i].state == TURN_CHANNEL_NONE || !addr_equal(&a->channels[i].peer, peer))
            continue;
        a->last_channel = &a->channels[i];
        return a->last_channel;
    }
    return NULL;
}

static void build_channel(struct turn_exchange *exchange, struct stun_builder *builder)
{
    stun_put_channel(builder, (uint16_t)exchange->number);
    stun_put_xor_address(builder, STUN_ATTR_XOR_PEER_ADDRESS, &exchange->peer);
}

static void on_channel(struct turn_exchange *exchange, const struct stun_message *response,
                       const struct turn_report *report)
{
    struct turn_allocation *a = exchange->leg->owner;
    struct turn_channel *channel = &a->channels[exchange->number - CHANNEL_FIRST];
    struct turn_permission *permission;
    uint64_t now = turn_now(a);

    (void)response;
    if (channel->exchange != exchange)
        return;
    channel->exchange = NULL;
    if (!report) {
        channel->expires = now + TURN_CHANNEL_S * SEC_US;
        if (channel->state == TURN_CHANNEL_RESTING)
            return;
        channel->state = TURN_CHANNEL_BOUND;
        channel->due = now + renew_in(a);
        permission = find_permission(a, &channel->peer); /* it is renewed as well */
        if (permission && permission->state == TURN_PERMISSION_GRANTED) {
            permission->due = now + renew_in(a);
            permission->expires = now + TURN_PERMISSION_S * SEC_US;
        }
        turn_schedule(a);
        return;
    }
    if (report->trouble == TURN_MISMATCH) {
        turn_gone(a, report);
        return;
    }
    if (turn_is_login_lost(report)) {
        turn_end(a, report);
        return;
    }
    if (channel->state == TURN_CHANNEL_RESTING)
        return; /* the server may know it still: it rests as long as it must */
    channel->due = now + SEC_US;
    if (channel->state == TURN_CHANNEL_BOUND && report->code >= STUN_SERVER_ERROR &&
        may_ask_again(a, report, channel->expires)) {
        channel->due = now + TURN_REFRESH_AGAIN_S * SEC_US;
    } else if (report->code != 0) {
        channel->state = TURN_CHANNEL_REFUSED;
        channel->due = now + TURN_RETRY_S * SEC_US;
        /* If it is the peer that is refused, the permission's answer says so too, sooner. */
        permission = find_permission(a, &channel->peer);
        if (permission && report->code == STUN_FORBIDDEN)
            permission->due = now;
    }
    turn_schedule(a);
}

static void ask_channel(struct turn_allocation *a, struct turn_channel *channel)
{
    const struct turn_exchange what = {.method = STUN_METHOD_CHANNEL_BIND,
                                       .build = build_channel,
                                       .done = on_channel,
                                       .peer = channel->peer,
                                       .number = CHANNEL_FIRST + (uint32_t)(channel - a->channels)};

    channel->due = turn_now(a) + SEC_US;
    if (!channel->exchange && a->leg->up)
        turn_exchange_start(a->leg, &what, &channel->exchange);
}

static void open_channel(struct turn_allocation *a, const struct addr *peer)
{
    struct turn_channel *channel = NULL;

    if (a->request.tcp)
        return; /* RFC 6062 3.2: none */
    if (!a->channels)
        a->channels = calloc(TURN_CHANNELS_MAX, sizeof(*a->channels));
    if (!a->channels)
        return;
    for (unsigned i = 0; !channel && i < a->channel_count; i++)
        if (a->channels[i].state == TURN_CHANNEL_NONE)
            channel = &a->channels[i];
    if (!channel && a->channel_count < TURN_CHANNELS_MAX)
        channel = &a->channels[a->channel_count++];
    if (!channel)
        return;
    *channel = (struct turn_channel){.peer = *peer, .state = TURN_CHANNEL_ASKING};
    ask_channel(a, channel);
    turn_schedule(a);
}

/* A peer that was forgotten is back: what the server may still know of it is used again. */
static void wake_channel(struct turn_allocation *a, struct turn_channel *channel)
{
    channel->state = TURN_CHANNEL_ASKING;
    ask_channel(a, channel);
    turn_schedule(a);
}

void turn_allocation_forget(struct turn_allocation *allocation, const struct addr *peer)
{
    struct turn_allocation *a = allocation;
    struct turn_permission *permission = find_permission(a, peer);

    if (!permission)
        return;
    if (permission->exchange)
        turn_exchange_cancel(permission->exchange);
    *permission = (struct turn_permission){.state = TURN_PERMISSION_NONE};
    for (unsigned i = 0; i < a->channel_count; i++) {
        struct turn_channel *channel = &a->channels[i];

        if (channel->state == TURN_CHANNEL_NONE || !addr_equal_ip(&channel->peer, peer))
            continue;
        channel->state = TURN_CHANNEL_RESTING;
        if (channel->exchange) /* the server may bind it yet */
            channel->expires = turn_now(a) + TURN_CHANNEL_S * SEC_US;
        channel->due = channel->expires + TURN_CHANNEL_REST_S * SEC_US;
    }
    turn_schedule(a);
}

/* --- What is due --- */

uint64_t turn_peers_due(const struct turn_allocation *allocation)
{
    const struct turn_allocation *a = allocation;
    uint64_t due = UINT64_MAX;

    for (unsigned i = 0; i < a->permission_count; i++)
        if (a->permissions[i].state != TURN_PERMISSION_NONE && a->permissions[i].due < due)
            due = a->permissions[i].due;
    for (unsigned i = 0; i < a->channel_count; i++)
        if (a->channels[i].state != TURN_CHANNEL_NONE && a->channels[i].due < due)
            due = a->channels[i].due;
    return due;
}

void turn_peers_work(struct turn_allocation *allocation)
{
    struct turn_allocation *a = allocation;
    uint64_t now = turn_now(a);

    for (unsigned i = 0; i < a->channel_count; i++) {
        struct turn_channel *channel = &a->channels[i];

        if (channel->state == TURN_CHANNEL_NONE || now < channel->due)
            continue;
        if (channel->state != TURN_CHANNEL_RESTING)
            ask_channel(a, channel);
        else if (!channel->exchange)
            *channel = (struct turn_channel){.state = TURN_CHANNEL_NONE};
        else
            channel->due = now + TURN_CHANNEL_S * SEC_US;
    }
    for (unsigned i = 0; i < a->permission_count; i++)
        if (a->permissions[i].state != TURN_PERMISSION_NONE && now >= a->permissions[i].due)
            ask_permission(a, &a->permissions[i]);
}

void turn_peers_detach(struct turn_allocation *allocation)
{
    for (unsigned i = 0; i < allocation->permission_count; i++)
        allocation->permissions[i].exchange = NULL;
    for (unsigned i = 0; i < allocation->channel_count; i++)
        allocation->channels[i].exchange = NULL;
}

void turn_peers_renew(struct turn_allocation *allocation)
{
    uint64_t now = turn_now(allocation);

    for (unsigned i = 0; i < allocation->permission_count; i++)
        allocation->permissions[i].due = now;
    for (unsigned i = 0; i < allocation->channel_count; i++)
        if (allocation->channels[i].state != TURN_CHANNEL_RESTING)
            allocation->channels[i].due = now;
    turn_schedule(allocation);
}

void turn_peers_free(struct turn_allocation *allocation)
{
    free(allocation->permissions);
    free(allocation->channels);
    allocation->permissions = NULL;
    allocation->channels = NULL;
    allocation->permission_count = allocation->channel_count = 0;
}

/* --- Data --- */

static int send_indication(struct turn_allocation *a, const void *data, size_t len,
                           const struct addr *peer)
{
    uint8_t small[SMALL_INDICATION], *bytes = small;
    size_t cap = len + INDICATION_BYTES;
    struct stun_id id = transaction_new_id(a->loop);
    struct stun_builder builder;
    int r;

    if (cap > sizeof(small) && !(bytes = malloc(cap)))
        return -ENOMEM;
    stun_build(&builder, bytes, cap, STUN_METHOD_SEND, STUN_INDICATION, &id);
    stun_put_xor_address(&builder, STUN_ATTR_XOR_PEER_ADDRESS, peer);
    if (a->request.dont_fragment)
        stun_put_flag(&builder, STUN_ATTR_DONT_FRAGMENT);
    stun_put(&builder, STUN_ATTR_DATA, data, len);
    r = stun_built(&builder);
    if (r > 0)
        r = leg_send(a->leg->leg, bytes, (size_t)r);
    if (bytes != small)
        free(bytes);
    return r;
}

static bool relays_family(const struct turn_allocation *a, int family)
{
    struct addr relayed;

    return turn_allocation_relayed(a, family, &relayed) == 0;
}

/* By which way the message goes now; 0: it is taken. */
static int send_now(struct turn_allocation *a, struct slice *data, const struct addr *peer)
{
    struct turn_channel *channel = find_channel(a, peer);
    uint8_t header[CHANNEL_HEADER_BYTES];
    uint64_t now = turn_now(a);
    int r;

    if (channel && channel->state == TURN_CHANNEL_BOUND && now < channel->expires) {
        channel->used = now;
        channel_build(header, (uint16_t)(CHANNEL_FIRST + (channel - a->channels)), data->len);
        return leg_send_slice(a->leg->leg, header, sizeof(header), data);
    }
    if (!turn_allocation_is_permitted(a, peer))
        return -EACCES;
    if (!channel)
        open_channel(a, peer);
    else if (channel->state == TURN_CHANNEL_RESTING)
        wake_channel(a, channel);
    r = send_indication(a, data->data, data->len, peer);
    if (r == 0)
        slice_drop(data);
    return r;
}

int turn_allocation_send_slice(struct turn_allocation *allocation, struct slice *data,
                               const struct addr *peer)
{
    struct turn_allocation *a = allocation;
    int r;

    if (a->state != TURN_UP || !a->leg->up)
        return ADIT_ECLOSED;
    if (data->len > TURN_DATA_MAX)
        return -EMSGSIZE;
    if (!relays_family(a, peer->family))
        return -EAFNOSUPPORT;
    r = send_now(a, data, peer);
    if (r == 0)
        turn_sent(a);
    else
        a->dropped++;
    return r;
}

int turn_allocation_send(struct turn_allocation *allocation, const void *data, size_t len,
                         const struct addr *peer)
{
    struct slice slice;
    int r;

    if (len > TURN_DATA_MAX)
        return -EMSGSIZE;
    slice = slice_copy(data, len);
    r = turn_allocation_send_slice(allocation, &slice, peer);
    slice_drop(&slice);
    return r;
}

size_t turn_allocation_room(const struct turn_allocation *allocation)
{
    return allocation->state == TURN_UP && allocation->leg->up ? leg_room(allocation->leg->leg) : 0;
}

static void deliver(struct turn_allocation *a, const struct slice *frame, const uint8_t *data,
                    size_t len, const struct addr *peer)
{
    struct slice part = slice_part(frame, (size_t)(data - frame->data), len);
    struct addr from = *peer;

    a->active = turn_now(a);
    turn_heard_data(a);
    if (a->events.data)
        a->events.data(a, &part, &from, a->arg);
    slice_drop(&part);
}

void turn_peers_channel_data(struct turn_allocation *allocation, const struct slice *frame)
{
    struct turn_allocation *a = allocation;
    struct turn_channel *channel;
    struct channel_data data;

    if (channel_parse(frame->data, frame->len, &data) <= 0 ||
        data.number - CHANNEL_FIRST >= (int)a->channel_count) {
        a->stray++;
        return;
    }
    channel = &a->channels[data.number - CHANNEL_FIRST];
    if (channel->state != TURN_CHANNEL_BOUND && channel->state != TURN_CHANNEL_ASKING) {
        a->stray++;
        return;
    }
    channel->used = turn_now(a);
    deliver(a, frame, data.data, data.len, &channel->peer);
}

void turn_peers_data(struct turn_allocation *allocation, const struct slice *frame,
                     const struct stun_message *message)
{
    struct turn_allocation *a = allocation;
    struct stun_bytes data;
    struct stun_icmp icmp;
    struct addr peer;

    if (stun_unknown_attrs(message, NULL, 0) > 0 ||
        stun_read_xor_address(stun_find(message, STUN_ATTR_XOR_PEER_ADDRESS), &message->id,
                              &peer) != 0 ||
        !find_permission(a, &peer)) {
        a->stray++;
        return;
    }
    if (stun_read_icmp(stun_find(message, STUN_ATTR_ICMP), &icmp) == 0) {
        turn_heard_data(a);
        if (a->events.icmp)
            a->events.icmp(a, &peer, &icmp, a->arg);
        return;
    }
    if (stun_read_bytes(stun_find(message, STUN_ATTR_DATA), &data) != 0) {
        a->stray++;
        return;
    }
    deliver(a, frame, data.bytes, data.len, &peer);
}
