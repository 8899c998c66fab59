/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A flow is followed once STUN was seen on it, known by the magic cookie. On it everything is told:
 * ChannelData, with the peer that a ChannelBind before gave the number to; TLS and DTLS; RTP; what
 * is none of these as strange. Besides, packets from and to relayed addresses, which an Allocate
 * was answered with; TLS and DTLS at the ports of TURN servers; connections that a ConnectionBind
 * has turned into those of a peer (RFC 6062). All other packets are counted.
 *
 * UDP is looked at packet by packet. TCP is put in order first (reassembly.h), then cut into
 * messages, or into records. What begins in the middle of a connection is taken up at the first
 * segment that begins with a message.
 *
 * Requests are remembered by their transaction id alone, since an answer may come from another
 * address than the one that was asked (RFC 5780). Everything is bounded (trace.h).
 */
#include "capture/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture/records.h"
#include "capture/trace_int.h"
#include "stun/channel.h"
#include "stun/credentials.h"

struct trace {
    struct trace_options options;
    struct trace_summary summary;
    uint64_t number;
    int64_t time_us;   /* of the last packet */
    struct flow alone; /* of messages without addresses */
    struct trace_tables tables;
};

static unsigned be16(const uint8_t *b)
{
    return (unsigned)b[0] << 8 | b[1];
}

static bool has_cookie(const uint8_t *bytes, size_t len)
{
    return len >= 8 && bytes[0] < 4 && bytes[4] == 0x21 && bytes[5] == 0x12 && bytes[6] == 0xA4 &&
           bytes[7] == 0x42;
}

static bool is_turn_port(uint16_t port)
{
    return port == STUN_PORT || port == STUN_TLS_PORT;
}

struct trace *trace_new(const struct trace_options *options)
{
    struct trace *trace = calloc(1, sizeof(*trace));

    if (trace)
        trace->options = *options;
    return trace;
}

void trace_free(struct trace *trace)
{
    if (!trace)
        return;
    flow_reset(&trace->alone);
    tables_clear(&trace->tables);
    free(trace);
}

const struct trace_summary *trace_summary(const struct trace *trace)
{
    return &trace->summary;
}

static void tell(struct trace *trace, struct trace_event *event)
{
    event->number = ++trace->number;
    trace->summary.kinds[event->kind]++;
    if (trace->options.event)
        trace->options.event(trace->options.arg, event);
}

/* --- Keys --- */

/* The key of a user in a realm, from what the options give. */
static bool make_key(const struct trace_options *options, struct stun_bytes user,
                     struct stun_bytes realm, unsigned algorithm, struct stun_key *key)
{
    struct credentials credentials = {.set = false};
    char name[STUN_USERNAME_MAX + 1];
    bool made = false;

    if (options->password) {
        made = stun_key_long_term(key, algorithm, user, realm, stun_text(options->password)) == 0;
    } else if (options->secret && user.len <= STUN_USERNAME_MAX) {
        /* What follows the time and a colon is the id; the time is the user's. */
        memcpy(name, user.bytes, user.len);
        name[user.len] = '\0';
        char *rest = NULL;
        unsigned long long expiry = strtoull(name, &rest, 10);
        if (rest != name && (*rest == '\0' || *rest == ':') &&
            credentials_init_secret(&credentials, options->secret, *rest == ':' ? rest + 1 : NULL,
                                    expiry, 0) == 0)
            made = stun_key_long_term(key, algorithm, user, realm,
                                      stun_text(credentials.password)) == 0;
        credentials_wipe(&credentials);
    }
    return made;
}

static void learn_key(struct trace *trace, struct flow *flow, const struct stun_message *m)
{
    const struct trace_options *options = &trace->options;
    struct stun_algorithm algorithm = {.id = STUN_ALGORITHM_MD5};
    struct stun_bytes user, realm;

    if ((!options->password && !options->secret) || m->class != STUN_REQUEST ||
        stun_read_bytes(stun_find(m, STUN_ATTR_REALM), &realm) != 0)
        return;
    if (stun_read_bytes(stun_find(m, STUN_ATTR_USERNAME), &user) != 0) {
        if (!options->user || !stun_find(m, STUN_ATTR_USERHASH))
            return;
        user = stun_text(options->user);
    }
    if (options->user &&
        (user.len != strlen(options->user) || memcmp(user.bytes, options->user, user.len) != 0)) {
        flow->has_key = false;
        return;
    }
    stun_read_algorithm(stun_find(m, STUN_ATTR_PASSWORD_ALGORITHM), &algorithm);
    flow->has_key = make_key(options, user, realm, algorithm.id, &flow->key);
}

/* --- STUN --- */

static void count_method(struct trace *trace, uint16_t method, bool answered, int64_t rtt_us)
{
    struct trace_summary *s = &trace->summary;
    size_t i = 0;

    while (i < TRACE_METHODS_MAX && s->methods[i].requests && s->methods[i].method != method)
        i++;
    if (i == TRACE_METHODS_MAX)
        return;
    s->methods[i].method = method;
    if (!answered) {
        s->methods[i].requests++;
        return;
    }
    s->methods[i].answered++;
    if (rtt_us < 0)
        return;
    if (s->methods[i].timed == 0 || rtt_us < s->methods[i].min_us)
        s->methods[i].min_us = rtt_us;
    if (rtt_us > s->methods[i].max_us)
        s->methods[i].max_us = rtt_us;
    s->methods[i].sum_us += rtt_us;
    s->methods[i].timed++;
}

static void count_error(struct trace *trace, const struct stun_message *m)
{
    struct trace_summary *s = &trace->summary;
    struct stun_error error;
    size_t i = 0;

    if (stun_read_error(stun_find(m, STUN_ATTR_ERROR_CODE), &error) != 0)
        return;
    while (i < TRACE_ERRORS_MAX && s->errors[i].count && s->errors[i].code != error.code)
        i++;
    if (i == TRACE_ERRORS_MAX)
        return;
    s->errors[i].code = error.code;
    s->errors[i].count++;
}

/* number: that the event will have. */
static void match_request(struct trace *trace, struct trace_event *event)
{
    const struct stun_message *m = event->message;
    struct trace_transaction *t = tables_find(&trace->tables, &m->id);
    uint16_t channel;

    if (t && t->method == m->method) {
        event->role = TRACE_REPEATED;
        event->request = t->number;
        event->sent = ++t->sent;
        t->time_us = event->time_us;
        trace->summary.repeated++;
        return;
    }
    t = tables_add(&trace->tables, &m->id);
    t->method = m->method;
    t->number = trace->number + 1;
    t->time_us = event->time_us;
    t->sent = 1;
    t->is_signed = stun_find(m, STUN_ATTR_MESSAGE_INTEGRITY) ||
                   stun_find(m, STUN_ATTR_MESSAGE_INTEGRITY_SHA256);
    if (m->method == STUN_METHOD_CHANNEL_BIND &&
        stun_read_channel(stun_find(m, STUN_ATTR_CHANNEL_NUMBER), &channel) == 0 &&
        stun_read_xor_address(stun_find(m, STUN_ATTR_XOR_PEER_ADDRESS), &m->id, &t->peer) == 0)
        t->channel = channel;
    event->role = TRACE_REQUEST;
    event->sent = 1;
    trace->summary.requests++;
    count_method(trace, m->method, false, 0);
}

/* What a success response tells about what comes after it. */
static void learn_success(struct trace *trace, struct flow *flow, const struct stun_message *m,
                          const struct trace_transaction *t)
{
    const struct stun_attr *attr = NULL;
    struct addr relay;

    if (t->channel != 0)
        flow_set_channel(flow, t->channel, &t->peer);
    if (m->method == STUN_METHOD_CONNECTION_BIND)
        flow->mode = FLOW_DATA;
    if (m->method != STUN_METHOD_ALLOCATE)
        return;
    while ((attr = stun_find_next(m, attr, STUN_ATTR_XOR_RELAYED_ADDRESS)))
        if (stun_read_xor_address(attr, &m->id, &relay) == 0)
            tables_add_relay(&trace->tables, &relay);
    trace->summary.relays = trace->tables.relay_count;
}

static void match_response(struct trace *trace, struct flow *flow, struct trace_event *event)
{
    const struct stun_message *m = event->message;
    struct trace_transaction *t = tables_find(&trace->tables, &m->id);

    if (m->class == STUN_ERROR)
        count_error(trace, m);
    event->rtt_us = -1;
    if (!t || t->method != m->method) {
        struct trace_transaction unknown = {.channel = 0};

        event->role = TRACE_UNASKED;
        trace->summary.unasked++;
        if (m->class == STUN_SUCCESS)
            learn_success(trace, flow, m, &unknown);
        return;
    }
    event->role = t->answered ? TRACE_ANSWERED_AGAIN : TRACE_ANSWER;
    event->request = t->number;
    event->sent = t->sent;
    event->was_signed = t->is_signed;
    if (event->time_us != 0 && t->time_us != 0 && event->time_us >= t->time_us)
        event->rtt_us = event->time_us - t->time_us;
    if (t->answered)
        return;
    t->answered = true;
    trace->summary.answered++;
    if (m->class == STUN_ERROR)
        trace->summary.refused++;
    else
        learn_success(trace, flow, m, t);
    /* Which of several requests is answered is not known. */
    count_method(trace, m->method, true, t->sent == 1 ? event->rtt_us : -1);
}

static void tell_stun(struct trace *trace, struct flow *flow, struct trace_event *event)
{
    struct stun_message message;

    event->kind = TRACE_STUN;
    if (event->missing == 0 && stun_parse(event->bytes, event->len, &message) > 0) {
        event->message = &message;
        learn_key(trace, flow, &message);
        if (message.class == STUN_REQUEST) {
            match_request(trace, event);
        } else if (message.class == STUN_INDICATION) {
            trace->summary.indications++;
        } else {
            match_response(trace, flow, event);
        }
    }
    event->key = flow->has_key ? &flow->key : NULL;
    if (!flow->is_stun) {
        flow->is_stun = true;
        trace->summary.flows++;
    }
    tell(trace, event);
}

static void tell_channel(struct trace *trace, const struct flow *flow, struct trace_event *event)
{
    const struct addr *peer = flow_channel_peer(flow, (uint16_t)be16(event->bytes));

    event->kind = TRACE_CHANNEL;
    if (peer) {
        event->has_peer = true;
        event->peer = *peer;
    }
    tell(trace, event);
}

/* --- Others --- */

static void tell_relayed(struct trace *trace, struct trace_event *event)
{
    bool out = tables_is_relay(&trace->tables, &event->from);
    bool in = tables_is_relay(&trace->tables, &event->to);

    event->kind = TRACE_RELAYED;
    snprintf(event->text, sizeof(event->text), "%s, %zu byte%s",
             out && in ? "data between relayed addresses"
             : out     ? "data from a relayed address to its peer"
             : in      ? "data of a peer for a relayed address"
                       : "data of a connection with a peer (RFC 6062)",
             event->len + event->missing, event->len + event->missing == 1 ? "" : "s");
    tell(trace, event);
}

static void tell_strange(struct trace *trace, struct trace_event *event)
{
    event->kind = TRACE_STRANGE;
    tell(trace, event);
}

/* Nothing to do with STUN. */
static void pass_over(struct trace *trace, struct trace_event *event)
{
    if (trace->options.all && event->len + event->missing > 0) {
        event->kind = TRACE_OTHER;
        snprintf(event->text, sizeof(event->text), "other traffic, %zu byte%s",
                 event->len + event->missing, event->len + event->missing == 1 ? "" : "s");
        tell(trace, event);
    } else {
        trace->summary.foreign++;
    }
}

/* --- UDP --- */

/* Channels of RFC 8656, and those that only RFC 5766 had. */
static bool is_channel_byte(uint8_t first)
{
    return first >= 0x40 && first < 0x80;
}

/* Whether it is ChannelData, whole, with no more behind it than padding. */
static bool is_channel_datagram(const struct packet *p)
{
    size_t len = p->len + p->missing, size;

    if (p->len < CHANNEL_HEADER_BYTES || !is_channel_byte(p->data[0]))
        return false;
    size = CHANNEL_HEADER_BYTES + be16(p->data + 2);
    return len >= size && len - size < 4;
}

/* RFC 3489 had no cookie. */
static bool is_classic(const struct flow *flow, const struct packet *p)
{
    return (flow->is_stun || is_turn_port(p->from.port) || is_turn_port(p->to.port)) &&
           p->len >= STUN_HEADER_BYTES && p->data[0] < 4 &&
           be16(p->data + 2) + STUN_HEADER_BYTES == p->len + p->missing;
}

static bool is_relays(const struct trace *trace, const struct packet *p)
{
    return tables_is_relay(&trace->tables, &p->from) || tables_is_relay(&trace->tables, &p->to);
}

/* Length of the message at the front by its own header; 0: none. */
static size_t message_size(const uint8_t *bytes, size_t len)
{
    if (has_cookie(bytes, len))
        return STUN_HEADER_BYTES + be16(bytes + 2);
    return len >= CHANNEL_HEADER_BYTES && is_channel_byte(bytes[0])
               ? CHANNEL_HEADER_BYTES + be16(bytes + 2)
               : 0;
}

/* Datagrams that were given to the system at once (UDP_SEGMENT) are taken apart by the network
 * card, or put together by it when they come, so a capture has them as one: all of one length, the
 * last perhaps shorter, each a message. That length; 0: it is a single datagram. */
static size_t segment_size(const struct packet *p)
{
    size_t size = message_size(p->data, p->len), padded = (size + 3) & ~(size_t)3, n;

    if (size == 0 || p->missing > 0 || padded + CHANNEL_HEADER_BYTES > p->len)
        return 0;
    if (message_size(p->data + size, p->len - size) == 0)
        size = padded;
    for (size_t at = size; at < p->len; at += size) {
        size_t part = p->len - at < size ? p->len - at : size;

        n = message_size(p->data + at, part);
        if (n == 0 || n > part || part - n > 3)
            return 0;
    }
    return size;
}

static void trace_udp(struct trace *trace, const struct packet *p, struct trace_event *event);

static void trace_segments(struct trace *trace, const struct packet *p, size_t size,
                           const struct trace_event *pattern)
{
    for (size_t at = 0; at < p->len; at += size) {
        struct trace_event event = *pattern;
        struct packet part = *p;

        part.data = p->data + at;
        part.len = p->len - at < size ? p->len - at : size;
        trace_udp(trace, &part, &event);
    }
}

static void trace_udp(struct trace *trace, const struct packet *p, struct trace_event *event)
{
    size_t segment = is_relays(trace, p) ? 0 : segment_size(p);
    struct flow *flow = tables_flow(&trace->tables, PACKET_UDP, &p->from, &p->to, true);
    bool at_port = is_turn_port(p->from.port) || is_turn_port(p->to.port), cipher = false;

    event->bytes = p->data;
    event->len = p->len;
    event->missing = p->missing;
    if (!flow || p->len == 0) {
        trace->summary.foreign++;
    } else if (segment > 0) {
        trace_segments(trace, p, segment, event);
    } else if (has_cookie(p->data, p->len) || is_classic(flow, p)) {
        tell_stun(trace, flow, event);
    } else if (is_relays(trace, p)) {
        tell_relayed(trace, event);
    } else if (is_channel_datagram(p)) {
        tell_channel(trace, flow, event);
    } else if ((flow->is_stun || at_port || trace->options.all) &&
               records_are_dtls(p->data, p->len, flow->mode == FLOW_TLS)) {
        flow->mode = FLOW_TLS;
        event->kind = TRACE_RECORDS;
        records_describe(p->data, p->len, &cipher, event->text);
        tell(trace, event);
    } else if (flow->is_stun && records_are_rtp(p->data, p->len)) {
        event->kind = TRACE_RTP;
        records_describe_rtp(p->data, p->len, event->text);
        tell(trace, event);
    } else if (flow->is_stun || at_port) {
        tell_strange(trace, event);
    } else {
        pass_over(trace, event);
    }
}

/* --- TCP --- */

/* Looks at the first bytes of a connection, or of a segment in it. False: too few to tell. */
static bool decide_mode(struct trace *trace, struct flow *flow, const struct trace_event *event,
                        const uint8_t *bytes, size_t len)
{
    bool at_port = is_turn_port(event->from.port) || is_turn_port(event->to.port);
    bool is_ours = at_port || flow->is_stun || trace->options.all;

    if (tables_is_relay(&trace->tables, &event->from) ||
        tables_is_relay(&trace->tables, &event->to))
        flow->mode = FLOW_DATA;
    else if (has_cookie(bytes, len))
        flow->mode = FLOW_STUN;
    else if (is_ours && records_are_tls(bytes, len))
        flow->mode = FLOW_TLS;
    else if (bytes[0] < 4 && len < 8)
        return false;
    return true;
}

/* Complete messages at the front are told. How many bytes were used. */
static size_t cut_stun(struct trace *trace, struct flow *flow, struct trace_event *event)
{
    bool is_channel = is_channel_byte(event->bytes[0]);
    int size = is_channel && event->len >= CHANNEL_HEADER_BYTES
                   ? (int)(CHANNEL_HEADER_BYTES + ((be16(event->bytes + 2) + 3) & ~3u))
                   : stun_frame(event->bytes, event->len);

    if (size == 0 || (is_channel && event->len < (size_t)size))
        return 0;
    if (size < 0) {
        size_t len = event->len;

        tell_strange(trace, event);
        return len;
    }
    event->len = (size_t)size;
    if (is_channel)
        tell_channel(trace, flow, event);
    else
        tell_stun(trace, flow, event);
    return (size_t)size;
}

/* Complete records at the front, told together. */
static size_t cut_tls(struct trace *trace, struct flow *flow, int side, struct trace_event *event)
{
    size_t used = 0;
    int size;

    while ((size = records_tls_frame(event->bytes + used, event->len - used)) > 0 &&
           (size_t)size <= event->len - used)
        used += (size_t)size;
    if (size < 0 && used == 0) {
        used = event->len;
        tell_strange(trace, event);
    } else if (used > 0) {
        event->len = used;
        event->kind = TRACE_RECORDS;
        records_describe(event->bytes, used, &flow->said_cipher[side], event->text);
        tell(trace, event);
    }
    return used;
}

/* Tells what can be told of what one side has sent. */
static void drain(struct trace *trace, struct flow *flow, int side,
                  const struct trace_event *pattern)
{
    struct reassembly *half = &flow->half[side];
    size_t used = 1;

    while (used > 0) {
        struct trace_event event = *pattern;

        event.bytes = reassembly_peek(half, &event.len);
        if (event.len == 0)
            return;
        used = event.len;
        if (flow->mode == FLOW_UNDECIDED &&
            !decide_mode(trace, flow, &event, event.bytes, event.len))
            return;
        switch (flow->mode) {
        case FLOW_UNDECIDED:
            if (flow->is_stun)
                tell_strange(trace, &event);
            else
                pass_over(trace, &event);
            break;
        case FLOW_STUN:
            used = cut_stun(trace, flow, &event);
            break;
        case FLOW_TLS:
            used = cut_tls(trace, flow, side, &event);
            break;
        case FLOW_DATA:
            tell_relayed(trace, &event);
            break;
        }
        reassembly_take(half, used);
    }
}

/* What waits behind a gap is worth more than what may still come. */
static void skip_gap(struct trace *trace, struct flow *flow, int side,
                     const struct trace_event *pattern)
{
    struct trace_event event = *pattern;
    size_t lost = reassembly_skip(&flow->half[side]);

    if (lost > 0 && flow->mode != FLOW_UNDECIDED) {
        event.kind = TRACE_GAP;
        event.len = 0;
        snprintf(event.text, sizeof(event.text),
                 "%zu bytes of the connection are not in the capture", lost);
        tell(trace, &event);
        if (flow->mode == FLOW_STUN || flow->mode == FLOW_TLS)
            flow->mode = FLOW_UNDECIDED; /* until a message begins */
    }
    drain(trace, flow, side, pattern);
}

static void trace_tcp(struct trace *trace, const struct packet *p, struct trace_event *event)
{
    struct flow *flow = tables_flow(&trace->tables, PACKET_TCP, &p->from, &p->to, true);
    size_t before;
    int side;

    if (!flow) {
        trace->summary.foreign++;
        return;
    }
    side = flow_side(flow, &p->from);
    before = flow_held(flow);
    if (p->flags & PACKET_SYN) {
        if (!(p->flags & PACKET_ACK) && flow->half[side].next != p->seq + 1)
            flow_reset(flow);
        if (!flow->half[side].started || flow->half[side].next != p->seq + 1)
            reassembly_start(&flow->half[side], p->seq + 1);
    } else if (p->len > 0) {
        if (!reassembly_add(&flow->half[side], p->seq, p->data, p->len))
            skip_gap(trace, flow, side, event);
        drain(trace, flow, side, event);
        if (reassembly_is_full(&flow->half[side]))
            skip_gap(trace, flow, side, event);
    }
    tables_hold(&trace->tables, flow, before);
}

/* --- ICMP --- */

static const char *icmp_text(const struct packet *p)
{
    static const char *const unreachable[] = {"network unreachable", "host unreachable",
                                              "protocol unreachable", "port unreachable",
                                              "packet too big"};

    if (p->icmp_v6) {
        if (p->icmp_type == 1)
            return p->icmp_code == 4   ? "port unreachable"
                   : p->icmp_code == 1 ? "forbidden by a firewall"
                                       : "address unreachable";
        return p->icmp_type == 2 ? "packet too big" : p->icmp_type == 3 ? "time exceeded" : "error";
    }
    if (p->icmp_type == 3 && p->icmp_code < 5)
        return unreachable[p->icmp_code];
    if (p->icmp_type == 3)
        return p->icmp_code == 9 || p->icmp_code == 10 || p->icmp_code == 13
                   ? "forbidden by a firewall"
                   : "unreachable";
    return p->icmp_type == 11 ? "time exceeded" : "error";
}

static void trace_icmp(struct trace *trace, const struct packet *p, struct trace_event *event)
{
    char from[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX], mtu[32] = "";
    const struct flow *flow =
        tables_flow(&trace->tables, p->about, &p->about_from, &p->about_to, false);

    if ((!flow || !flow->is_stun) && !tables_is_relay(&trace->tables, &p->about_from) &&
        !tables_is_relay(&trace->tables, &p->about_to)) {
        trace->summary.foreign++;
        return;
    }
    if (p->mtu != 0)
        snprintf(mtu, sizeof(mtu), " (MTU %" PRIu32 ")", p->mtu);
    event->kind = TRACE_ICMP;
    snprintf(event->text, sizeof(event->text), "%s%s: %s %s > %s did not arrive", icmp_text(p), mtu,
             packet_protocol_name(p->about), addr_format(&p->about_from, from),
             addr_format(&p->about_to, to));
    tell(trace, event);
}

/* --- */

void trace_packet(struct trace *trace, const struct packet *packet, int64_t time_us)
{
    struct trace_event event = {.time_us = time_us,
                                .protocol = packet->protocol,
                                .from = packet->from,
                                .to = packet->to,
                                .rtt_us = -1};

    trace->time_us = time_us;
    switch (packet->protocol) {
    case PACKET_UDP:
        trace_udp(trace, packet, &event);
        break;
    case PACKET_TCP:
        trace_tcp(trace, packet, &event);
        break;
    case PACKET_ICMP:
        trace_icmp(trace, packet, &event);
        break;
    }
}

void trace_bytes(struct trace *trace, const uint8_t *bytes, size_t len)
{
    size_t at = 0;

    while (at < len) {
        struct trace_event event = {.bytes = bytes + at, .len = len - at, .rtt_us = -1};
        int size = stun_frame(event.bytes, event.len);
        bool cipher = false;

        /* Several, as a stream has them; what is behind the last is the decoder's to complain of.
         */
        if (size > 0 && len - at > (size_t)size &&
            stun_frame(bytes + at + size, len - at - (size_t)size) > 0)
            event.len = (size_t)size;
        at += event.len;
        if (stun_kind(event.bytes[0]) == STUN_KIND_MESSAGE) {
            tell_stun(trace, &trace->alone, &event);
        } else if (stun_kind(event.bytes[0]) == STUN_KIND_CHANNEL &&
                   event.len >= CHANNEL_HEADER_BYTES) {
            tell_channel(trace, &trace->alone, &event);
        } else if (records_are_tls(event.bytes, event.len) ||
                   records_are_dtls(event.bytes, event.len, false)) {
            event.kind = TRACE_RECORDS;
            records_describe(event.bytes, event.len, &cipher, event.text);
            tell(trace, &event);
        } else {
            tell_strange(trace, &event);
        }
    }
}

void trace_end(struct trace *trace)
{
    for (size_t i = 0; i < FLOW_BUCKETS; i++) {
        for (struct flow *flow = trace->tables.flows[i]; flow; flow = flow->next) {
            for (int side = 0; side < 2; side++) {
                struct trace_event event = {.time_us = trace->time_us,
                                            .protocol = flow->protocol,
                                            .from = side == 0 ? flow->a : flow->b,
                                            .to = side == 0 ? flow->b : flow->a,
                                            .rtt_us = -1};

                while (flow->half[side].ahead_count > 0)
                    skip_gap(trace, flow, side, &event);
            }
        }
    }
}
