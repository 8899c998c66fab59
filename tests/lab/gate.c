/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 *                  +----------------- wire -----------------+
 *     in (UP) -----| firewall, hops, translator == link ==  |----- out (DOWN)
 *                  +----------------------------------------+
 *
 * The wire is one router: the translator is at the inside end of the link, as in a home router
 * whose uplink is slow. A packet going up is translated and then enters the link; one coming down
 * passes the link first and is looked up when it arrives, so that what was flushed meanwhile is not
 * found. Hairpinning turns round before the link.
 *
 * Each packet is, in this order: parsed; dropped if it is not to be forwarded (multicast,
 * link-local); compared with the MTU; compared with the blocks; relieved of a hop; translated. One
 * that is refused may be answered (ICMP, RST); answers towards the inside go at once, those towards
 * the outside go up the link. A packet without hops left makes no mapping.
 *
 * What the translator does not know how to follow (fragments, protocols without ports) is dropped
 * and counted where translation or the firewall is on for its family, and passes where it is off.
 * ICMP errors are translated with the packet that they quote (RFC 5508 4).
 *
 * A train (many TCP segments in one packet, as the kernel makes them) passes as one packet. It is
 * for the caller to ask for them only while gate_takes_trains(): nothing is lost, doubled,
 * reordered or slowed, for that depends on packets.
 *
 * Packets that have to wait are copied into blocks of the store; what need not wait is sent from
 * the buffer it was read into.
 */
#include "gate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const char *const gate_count_names[GATE_COUNTS] = {
    [GATE_RECEIVED] = "received",
    [GATE_RECEIVED_BYTES] = "received_bytes",
    [GATE_SENT] = "sent",
    [GATE_SENT_BYTES] = "sent_bytes",
    [GATE_UNSENT] = "unsent",
    [GATE_LOST] = "lost",
    [GATE_QUEUE_FULL] = "queue_full",
    [GATE_CUT] = "cut",
    [GATE_STORE_FULL] = "store_full",
    [GATE_BAD] = "bad",
    [GATE_LOCAL] = "local",
    [GATE_BLOCKED] = "blocked",
    [GATE_TOO_BIG] = "too_big",
    [GATE_EXPIRED] = "expired",
    [GATE_FRAGMENTS] = "fragments",
    [GATE_UNSOLICITED] = "unsolicited",
    [GATE_FILTERED] = "filtered",
    [GATE_STRAYS] = "strays",
    [GATE_TABLE_FULL] = "table_full",
    [GATE_UNTRANSLATABLE] = "untranslatable",
    [GATE_HAIRPINNED] = "hairpinned",
    [GATE_ERRORS_MADE] = "errors_made",
    [GATE_RESETS_MADE] = "resets_made",
};

/* --- The store --- */

static const size_t store_sizes[] = {256, 2048, 16384, PACKET_MAX_BYTES};

struct store_block {
    struct store_block *next;
    unsigned which;
    struct packet_shape shape;
    size_t len;
    uint8_t data[];
};

static struct store_block *store_copy(struct store *store, const struct parcel *parcel)
{
    unsigned which = 0;
    while (store_sizes[which] < parcel->len)
        which++;
    struct store_block *block = store->free[which];
    if (block) {
        store->free[which] = block->next;
    } else {
        size_t size = sizeof(*block) + store_sizes[which];
        if (store->bytes + size > GATE_STORE_MAX_BYTES)
            return NULL;
        block = malloc(size);
        if (!block)
            return NULL;
        block->which = which;
        store->bytes += size;
    }
    block->len = parcel->len;
    block->shape = parcel->shape;
    memcpy(block->data, parcel->data, parcel->len);
    return block;
}

static void store_release(struct store *store, struct store_block *block)
{
    block->next = store->free[block->which];
    store->free[block->which] = block;
}

static void store_free(struct store *store)
{
    for (size_t i = 0; i < sizeof(store_sizes) / sizeof(*store_sizes); i++)
        while (store->free[i]) {
            struct store_block *block = store->free[i];
            store->free[i] = block->next;
            free(block);
        }
}

/* --- Out of the devices, and into the link --- */

static void count(struct gate *gate, enum direction direction, enum gate_count what)
{
    gate->counts[direction][what]++;
}

/* At the end of its way. */
static void send_out(struct gate *gate, enum direction direction, const struct parcel *parcel)
{
    if (!gate->send(gate->arg, direction == UP ? DOWN : UP, parcel)) {
        count(gate, direction, GATE_UNSENT);
        return;
    }
    count(gate, direction, GATE_SENT);
    gate->counts[direction][GATE_SENT_BYTES] += parcel->len;
}

static void arrive_down(struct gate *gate, const struct parcel *parcel, int64_t now);

/* Out of the link. */
static void arrive(struct gate *gate, enum direction direction, const struct parcel *parcel,
                   int64_t now)
{
    if (direction == UP)
        send_out(gate, direction, parcel);
    else
        arrive_down(gate, parcel, now);
}

static void link_store(struct gate *gate, enum direction direction, const struct parcel *parcel,
                       int64_t when)
{
    struct store_block *block = store_copy(&gate->store, parcel);
    if (block && link_put(&gate->link[direction], when, block) == 0)
        return;
    if (block)
        store_release(&gate->store, block);
    count(gate, direction, GATE_STORE_FULL);
}

static void link_enter(struct gate *gate, enum direction direction, const struct parcel *parcel,
                       int64_t now)
{
    struct link *link = &gate->link[direction];
    int copies = 0;
    int64_t when[LINK_COPIES_MAX];
    bool was_empty = link_count(link) == 0;
    switch (link_admit(link, parcel->len, now, &copies, when)) {
    case LINK_PASSED:
        break;
    case LINK_LOST:
        count(gate, direction, GATE_LOST);
        return;
    case LINK_QUEUE_FULL:
        count(gate, direction, GATE_QUEUE_FULL);
        return;
    case LINK_CUT:
        count(gate, direction, GATE_CUT);
        return;
    }
    bool is_immediate = was_empty && when[0] <= now;
    for (int i = is_immediate ? 1 : 0; i < copies; i++)
        link_store(gate, direction, parcel, when[i]);
    if (is_immediate)
        arrive(gate, direction, parcel, now);
}

/* --- Answers --- */

/* An answer to a packet that came in this direction goes the other way. */
static void answer(struct gate *gate, enum direction direction, bool is_behind_link, uint8_t *data,
                   size_t len, int64_t now)
{
    struct parcel parcel = {.data = data, .len = len};
    if (len == 0)
        return;
    if (direction == DOWN && is_behind_link)
        link_enter(gate, UP, &parcel, now);
    else if (!gate->send(gate->arg, direction, &parcel))
        count(gate, direction, GATE_UNSENT);
}

/* is_behind_link: the wire's router says it, not the far end of its uplink. */
static void answer_error(struct gate *gate, enum direction direction, const struct packet *packet,
                         enum packet_error error, bool is_behind_link, int64_t now)
{
    uint8_t data[PACKET_ERROR_BYTES];
    const struct settings *settings = &gate->settings;
    int family = packet->is_ipv6;
    const union address *from = &packet->destination.ip;
    if (direction == DOWN && settings->nat.mode[family] == NAT_ON)
        from = nat_is_external(gate->nat, from) ? from : &settings->nat.external[family][0];
    else if (settings->has_address[family])
        from = &settings->address[family];
    unsigned mtu = settings->mtu ? settings->mtu : gate->device_mtu;
    size_t len = packet_make_error(packet, error, from, mtu, data);
    if (len)
        count(gate, direction, GATE_ERRORS_MADE);
    answer(gate, direction, is_behind_link, data, len, now);
}

static void answer_reset(struct gate *gate, enum direction direction, const struct packet *packet,
                         int64_t now)
{
    uint8_t data[PACKET_ERROR_BYTES];
    size_t len = packet_make_reset(packet, data);
    if (len)
        count(gate, direction, GATE_RESETS_MADE);
    answer(gate, direction, true, data, len, now);
}

static void refuse(struct gate *gate, enum direction direction, const struct packet *packet,
                   enum refusal refusal, enum packet_error error, int64_t now)
{
    switch (refusal) {
    case REFUSE_DROP:
        return;
    case REFUSE_RESET:
        answer_reset(gate, direction, packet, now);
        return;
    case REFUSE_ICMP:
        answer_error(gate, direction, packet, error, true, now);
        return;
    }
}

/* What the table said to a packet that does not pass. */
static void refuse_result(struct gate *gate, enum direction direction, const struct packet *packet,
                          enum nat_result result, int64_t now)
{
    const struct settings *settings = &gate->settings;
    switch (result) {
    case NAT_PASSED:
        return;
    case NAT_NO_MAPPING:
    case NAT_FILTERED:
        count(gate, direction, result == NAT_FILTERED ? GATE_FILTERED : GATE_UNSOLICITED);
        if (packet->flow == FLOW_UDP && settings->unsolicited_udp == REFUSE_ICMP)
            answer_error(gate, direction, packet, PACKET_NO_PORT, true, now);
        else if (packet->flow == FLOW_TCP && packet->tcp_flags & PACKET_SYN &&
                 !(packet->tcp_flags & PACKET_ACK))
            refuse(gate, direction, packet, settings->unsolicited, PACKET_NO_PORT, now);
        return;
    case NAT_STRAY_RESET:
        answer_reset(gate, direction, packet, now);
        count(gate, direction, GATE_STRAYS);
        return;
    case NAT_STRAY:
        count(gate, direction, GATE_STRAYS);
        return;
    case NAT_FULL:
        count(gate, direction, GATE_TABLE_FULL);
        return;
    }
}

/* --- The firewall --- */

static bool is_blocked(const struct settings *settings, const struct packet *packet,
                       const struct endpoint *outside)
{
    for (unsigned i = 0; i < settings->block_count; i++) {
        const struct block *block = &settings->blocks[i];
        if ((block->flow == FLOW_NONE || block->flow == packet->flow) &&
            (block->family < 0 || block->family == (int)packet->is_ipv6) &&
            (block->first == 0 ||
             (outside->port >= block->first && outside->port <= block->last)) &&
            (!block->has_ip || ip_equal(&block->ip, &outside->ip)))
            return true;
    }
    if (packet->flow == FLOW_NONE || settings->allow[packet->flow].count == 0)
        return false;
    const struct allow *allow = &settings->allow[packet->flow];
    for (unsigned i = 0; i < allow->count; i++)
        if (allow->ports[i] == outside->port)
            return false;
    return true;
}

/* What both directions do first. False: the packet is done with. */
static bool pass_router(struct gate *gate, enum direction direction, struct packet *packet,
                        int64_t now)
{
    const struct endpoint *outside = direction == UP ? &packet->destination : &packet->source;
    if (is_blocked(&gate->settings, packet, outside)) {
        count(gate, direction, GATE_BLOCKED);
        refuse(gate, direction, packet, gate->settings.blocked, PACKET_PROHIBITED, now);
        return false;
    }
    if (!packet_take_hop(packet)) {
        count(gate, direction, GATE_EXPIRED);
        answer_error(gate, direction, packet, PACKET_EXPIRED, true, now);
        return false;
    }
    return true;
}

static bool pass_mtu(struct gate *gate, enum direction direction, const struct packet *packet,
                     int64_t now)
{
    if (!gate->settings.mtu || packet->len <= gate->settings.mtu)
        return true;
    count(gate, direction, GATE_TOO_BIG);
    if (!gate->settings.is_too_big_silent && !packet->may_fragment)
        answer_error(gate, direction, packet, PACKET_TOO_BIG, false, now);
    return false;
}

/* --- Translation --- */

/* An ICMP error and what it quotes. The error's own source is the outside's affair when it enters,
 * and becomes the external address when it leaves. */
static bool translate_error(struct gate *gate, enum direction direction, struct packet *error,
                            int64_t now)
{
    struct packet quoted;
    struct endpoint to = {.port = 0};
    if (packet_parse_quoted(error, &quoted) < 0)
        return false;
    if (direction == DOWN) {
        if (!nat_find_left(gate->nat, &quoted, now, &to))
            return false;
        packet_set_source(&quoted, &to);
        packet_sum_error(error);
        packet_set_destination(error, &to);
    } else {
        if (!nat_find_entered(gate->nat, &quoted, now, &to))
            return false;
        packet_set_destination(&quoted, &to);
        packet_sum_error(error);
        if (gate->settings.nat.mode[error->is_ipv6] == NAT_ON)
            packet_set_source(error, &to);
    }
    return true;
}

/* False: the packet is done with. */
static bool translate(struct gate *gate, enum direction direction, struct packet *packet,
                      int64_t now)
{
    struct endpoint to;
    if (packet->is_fragment) {
        count(gate, direction, GATE_FRAGMENTS);
        return false;
    }
    if (packet->is_error && translate_error(gate, direction, packet, now))
        return true;
    if (packet->flow == FLOW_NONE) {
        count(gate, direction, GATE_UNTRANSLATABLE);
        return false;
    }
    enum nat_result result = direction == UP ? nat_leave(gate->nat, packet, now, &to)
                                             : nat_enter(gate->nat, packet, now, &to);
    if (result != NAT_PASSED) {
        refuse_result(gate, direction, packet, result, now);
        return false;
    }
    if (direction == UP)
        packet_set_source(packet, &to);
    else
        packet_set_destination(packet, &to);
    return true;
}

static bool is_translating(const struct gate *gate, const struct packet *packet)
{
    return gate->settings.nat.mode[packet->is_ipv6] != NAT_OFF;
}

static void arrive_down(struct gate *gate, const struct parcel *parcel, int64_t now)
{
    struct packet packet;
    if (packet_parse(parcel->data, parcel->len, &packet) < 0) /* it was good when it entered */
        return;
    if (!pass_router(gate, DOWN, &packet, now))
        return;
    if (is_translating(gate, &packet) && !translate(gate, DOWN, &packet, now))
        return;
    send_out(gate, DOWN, parcel);
}

/* From inside to an external address, thus to somebody inside (RFC 4787 REQ-9). */
static void hairpin(struct gate *gate, struct packet *packet, const struct parcel *parcel,
                    int64_t now)
{
    struct endpoint to;
    if (!gate->settings.is_hairpin) {
        refuse_result(gate, UP, packet, NAT_NO_MAPPING, now);
        return;
    }
    if (!translate(gate, UP, packet, now))
        return;
    if (packet->flow != FLOW_NONE) {
        enum nat_result result = nat_enter(gate->nat, packet, now, &to);
        if (result != NAT_PASSED) {
            count(gate, UP, result == NAT_FILTERED ? GATE_FILTERED : GATE_UNSOLICITED);
            return;
        }
        packet_set_destination(packet, &to);
    } else if (!translate_error(gate, DOWN, packet, now)) {
        return;
    }
    bool is_sent = gate->send(gate->arg, UP, parcel);
    count(gate, UP, is_sent ? GATE_HAIRPINNED : GATE_UNSENT);
}

void gate_receive(struct gate *gate, enum direction direction, const struct parcel *received,
                  int64_t now)
{
    struct packet packet;
    count(gate, direction, GATE_RECEIVED);
    gate->counts[direction][GATE_RECEIVED_BYTES] += received->len;
    if (packet_parse(received->data, received->len, &packet) < 0) {
        count(gate, direction, GATE_BAD);
        return;
    }
    struct parcel parcel = {packet.data, packet.len, received->shape};
    if (ip_is_local(&packet.source.ip) || ip_is_local(&packet.destination.ip)) {
        count(gate, direction, GATE_LOCAL);
        return;
    }
    if (!pass_mtu(gate, direction, &packet, now))
        return;
    if (direction == DOWN) {
        link_enter(gate, DOWN, &parcel, now);
        return;
    }
    if (!pass_router(gate, UP, &packet, now))
        return;
    if (is_translating(gate, &packet)) {
        if (nat_is_external(gate->nat, &packet.destination.ip)) {
            hairpin(gate, &packet, &parcel, now);
            return;
        }
        if (!translate(gate, UP, &packet, now))
            return;
    }
    link_enter(gate, UP, &parcel, now);
}

bool gate_takes_trains(const struct gate *gate)
{
    bool is_taking = !gate->settings.is_offload_off && !gate->settings.mtu;
    for (int i = 0; i < 2; i++) {
        const struct link_config *link = &gate->settings.link[i];
        is_taking = is_taking && !(link->rate || link->loss > 0 || link->duplicate > 0 ||
                                   link->reorder > 0 || link->jitter);
    }
    return is_taking;
}

bool gate_deliver(struct gate *gate, int64_t now, unsigned max)
{
    for (unsigned i = 0; i < max; i++) {
        enum direction direction =
            link_next(&gate->link[UP]) <= link_next(&gate->link[DOWN]) ? UP : DOWN;
        struct store_block *block = link_take(&gate->link[direction], now);
        if (!block)
            return false;
        struct parcel parcel = {block->data, block->len, block->shape};
        arrive(gate, direction, &parcel, now);
        store_release(&gate->store, block);
    }
    return gate_next(gate) <= now;
}

int64_t gate_next(const struct gate *gate)
{
    int64_t up = link_next(&gate->link[UP]), down = link_next(&gate->link[DOWN]);
    return up < down ? up : down;
}

/* --- Life --- */

static void drop_line(struct gate *gate, enum direction direction)
{
    struct store_block *block;
    while ((block = link_take(&gate->link[direction], LINK_NEVER))) {
        count(gate, direction, GATE_CUT);
        store_release(&gate->store, block);
    }
}

void gate_cut(struct gate *gate, enum direction direction, bool is_cut)
{
    if (gate->link[direction].is_cut == is_cut)
        return;
    drop_line(gate, direction);
    link_set_cut(&gate->link[direction], is_cut);
}

static uint64_t seed_of(uint64_t seed, unsigned purpose)
{
    struct chance chance = {seed + purpose};
    return chance_next(&chance);
}

int gate_init(struct gate *gate, const struct settings *settings, unsigned device_mtu,
              gate_send *send, void *arg)
{
    memset(gate, 0, sizeof(*gate));
    gate->settings = *settings;
    gate->device_mtu = device_mtu;
    gate->send = send;
    gate->arg = arg;
    for (int i = 0; i < 2; i++)
        link_init(&gate->link[i], &settings->link[i], seed_of(settings->seed, (unsigned)i));
    gate->nat = nat_new(&settings->nat, seed_of(settings->seed, 2));
    return gate->nat ? 0 : -ENOMEM;
}

void gate_free(struct gate *gate)
{
    for (int i = 0; i < 2; i++) {
        drop_line(gate, (enum direction)i);
        link_free(&gate->link[i]);
    }
    nat_free(gate->nat);
    store_free(&gate->store);
}

void gate_configure(struct gate *gate, const struct settings *settings, int64_t now)
{
    bool is_reseeded = gate->settings.seed != settings->seed;
    gate->settings = *settings;
    for (int i = 0; i < 2; i++) {
        link_configure(&gate->link[i], &settings->link[i], now);
        if (is_reseeded)
            gate->link[i].chance.state = seed_of(settings->seed, (unsigned)i);
    }
    nat_configure(gate->nat, &settings->nat);
    if (is_reseeded)
        nat_reseed(gate->nat, seed_of(settings->seed, 2));
}
