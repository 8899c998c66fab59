/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A struct packet is a view: offsets and the fields that translating and filtering need. Nothing is
 * allocated. Addresses of both families are 16 bytes, so that tables need to know one kind only.
 *
 * Rewriting adjusts checksums by the difference (RFC 1624, equation 3): a packet that was damaged
 * before stays damaged, as it would behind a router. A TUN device without a virtio header hands
 * over and takes packets with complete checksums. With one it may leave them out (struct
 * packet_shape); then what stands in their place is adjusted like the others, to no effect, and set
 * by packet_sum_partly() in the end. The one checksum that is computed anew is that of an ICMP
 * error whose quoted packet was changed.
 *
 * Of a fragmented packet only the first fragment has ports; is_first says so. IPv6 extension
 * headers are skipped, at most EXTENSIONS_MAX; what lies behind others has no flow.
 */
#include "packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <string.h>

#define EXTENSIONS_MAX    8
#define IPV4_HEAD_BYTES   20
#define IPV6_HEAD_BYTES   40
#define TCP_HEAD_BYTES    20
#define ICMP_HEAD_BYTES   8
#define IPV4_ERROR_BYTES  576 /* RFC 1812 4.3.2.3 */
#define ANSWER_HOPS       64
#define TCP_SUM_OFFSET    16
#define UDP_SUM_OFFSET    6
#define ICMP_SUM_OFFSET   2
#define IPV4_SUM_OFFSET   10
#define IPV4_DF           0x4000
#define IPV4_MF           0x2000
#define IPV4_OFFSET_MASK  0x1fff
#define IPV6_OFFSET_MASK  0xfff8
#define ICMP_ID_OFFSET    4
#define TCP_FLAGS_OFFSET  13
#define TCP_LENGTH_OFFSET 12

static const uint8_t ipv4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, (uint16_t)(value >> 16));
    put16(at + 2, (uint16_t)value);
}

/* --- Addresses --- */

bool ip_is_ipv4(const union address *ip)
{
    return memcmp(ip->bytes, ipv4_prefix, sizeof(ipv4_prefix)) == 0;
}

bool ip_equal(const union address *a, const union address *b)
{
    return a->words[0] == b->words[0] && a->words[1] == b->words[1];
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
    return a->port == b->port && ip_equal(&a->ip, &b->ip);
}

static void ip_from_ipv4(union address *ip, const uint8_t *bytes)
{
    memcpy(ip->bytes, ipv4_prefix, sizeof(ipv4_prefix));
    memcpy(ip->bytes + 12, bytes, 4);
}

bool ip_parse(const char *text, union address *ip)
{
    uint8_t ipv4[4];
    if (inet_pton(AF_INET, text, ipv4) == 1) {
        ip_from_ipv4(ip, ipv4);
        return true;
    }
    return inet_pton(AF_INET6, text, ip->bytes) == 1;
}

const char *ip_format(const union address *ip, char *text)
{
    if (ip_is_ipv4(ip))
        inet_ntop(AF_INET, ip->bytes + 12, text, PACKET_TEXT_BYTES);
    else
        inet_ntop(AF_INET6, ip->bytes, text, PACKET_TEXT_BYTES);
    return text;
}

const char *endpoint_format(const struct endpoint *endpoint, char *text)
{
    char ip[PACKET_TEXT_BYTES];
    const char *form = ip_is_ipv4(&endpoint->ip) ? "%.46s:%u" : "[%.46s]:%u";
    snprintf(text, PACKET_TEXT_BYTES, form, ip_format(&endpoint->ip, ip), endpoint->port);
    return text;
}

bool ip_is_local(const union address *ip)
{
    const uint8_t *bytes = ip->bytes;
    if (ip_is_ipv4(ip))
        return bytes[12] >= 224 || bytes[12] == 0 || (bytes[12] == 169 && bytes[13] == 254);
    return bytes[0] == 0xff || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) ||
           (ip->words[0] == 0 && ip->words[1] == 0);
}

/* --- Checksums --- */

static uint64_t sum_add(uint64_t sum, const uint8_t *data, size_t len)
{
    size_t i;
    for (i = 0; i + 1 < len; i += 2)
        sum += get16(data + i);
    if (i < len)
        sum += (uint64_t)data[i] << 8;
    return sum;
}

static uint16_t sum_fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* The field at sum, over a region in which len (even) bytes turn from old to new. */
static void sum_adjust(uint8_t *sum, const uint8_t *old, const uint8_t *new, size_t len)
{
    uint64_t total = (uint16_t)~get16(sum);
    for (size_t i = 0; i < len; i += 2)
        total += (uint64_t)(uint16_t)~get16(old + i) + get16(new + i);
    put16(sum, (uint16_t)~sum_fold(total));
}

static uint64_t sum_pseudo_header(const struct packet *packet, size_t len)
{
    size_t at = packet->is_ipv6 ? 8 : 12, addresses = packet->is_ipv6 ? 32 : 8;
    return sum_add(packet->protocol + (uint64_t)len, packet->data + at, addresses);
}

/* The sum over the transport and what it stands for; 0xffff: right. */
static uint16_t transport_sum(const struct packet *packet)
{
    size_t len = packet->len - packet->transport;
    uint64_t sum = packet->protocol == IPPROTO_ICMP ? 0 : sum_pseudo_header(packet, len);
    return sum_fold(sum_add(sum, packet->data + packet->transport, len));
}

/* Where the transport has its checksum; NULL: nowhere, or cut off. */
static uint8_t *transport_sum_field(const struct packet *packet)
{
    size_t offset;
    if (!packet->is_first)
        return NULL;
    switch (packet->protocol) {
    case IPPROTO_TCP:
        offset = TCP_SUM_OFFSET;
        break;
    case IPPROTO_UDP:
        offset = UDP_SUM_OFFSET;
        break;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        offset = ICMP_SUM_OFFSET;
        break;
    default:
        return NULL;
    }
    offset += packet->transport;
    if (offset + 2 > packet->len)
        return NULL;
    uint8_t *field = packet->data + offset;
    bool has_none = packet->protocol == IPPROTO_UDP && get16(field) == 0;
    return has_none ? NULL : field;
}

bool packet_sums_hold(const struct packet *packet)
{
    if (!packet->is_ipv6 &&
        sum_fold(sum_add(0, packet->data, (size_t)(packet->data[0] & 15) * 4)) != 0xffff)
        return false;
    return !transport_sum_field(packet) || packet->is_fragment || transport_sum(packet) == 0xffff;
}

/* --- Reading --- */

/* The transport's ports and kind. quoted: only 8 bytes need be there. */
static int read_transport(struct packet *packet, bool is_quoted)
{
    const uint8_t *at = packet->data + packet->transport;
    size_t left = packet->len - packet->transport;
    if (!packet->is_first)
        return 0;
    switch (packet->protocol) {
    case IPPROTO_TCP:
        if (left < (is_quoted ? 8 : TCP_HEAD_BYTES))
            return -EINVAL;
        packet->flow = FLOW_TCP;
        packet->tcp_flags = left > TCP_FLAGS_OFFSET ? at[TCP_FLAGS_OFFSET] : 0;
        break;
    case IPPROTO_UDP:
        if (left < 8)
            return -EINVAL;
        packet->flow = FLOW_UDP;
        break;
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
        if (left < ICMP_HEAD_BYTES || packet->is_ipv6 != (packet->protocol == IPPROTO_ICMPV6))
            return -EINVAL;
        break;
    default:
        return 0;
    }
    if (packet->flow != FLOW_NONE) {
        packet->source.port = get16(at);
        packet->destination.port = get16(at + 2);
        return 0;
    }
    uint8_t request = packet->is_ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO;
    uint8_t reply = packet->is_ipv6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY;
    if (at[0] == request || at[0] == reply) {
        packet->flow = FLOW_ICMP;
        *(at[0] == request ? &packet->source.port : &packet->destination.port) =
            get16(at + ICMP_ID_OFFSET);
    } else if (packet->is_ipv6) {
        packet->is_error = at[0] < 128;
    } else {
        packet->is_error = at[0] == ICMP_DEST_UNREACH || at[0] == ICMP_TIME_EXCEEDED ||
                           at[0] == ICMP_PARAMETERPROB || at[0] == ICMP_SOURCE_QUENCH;
    }
    return 0;
}

static int read_ipv4(struct packet *packet, bool is_quoted)
{
    const uint8_t *data = packet->data;
    size_t head = (size_t)(data[0] & 15) * 4, total = get16(data + 2);
    if (packet->len < IPV4_HEAD_BYTES || head < IPV4_HEAD_BYTES || head > packet->len ||
        total < head || (total > packet->len && !is_quoted))
        return -EINVAL;
    if (packet->len > total)
        packet->len = total;
    uint16_t fragment = get16(data + 6);
    packet->may_fragment = !(fragment & IPV4_DF);
    packet->is_first = !(fragment & IPV4_OFFSET_MASK);
    packet->is_fragment = fragment & (IPV4_MF | IPV4_OFFSET_MASK);
    packet->protocol = data[9];
    packet->transport = head;
    ip_from_ipv4(&packet->source.ip, data + 12);
    ip_from_ipv4(&packet->destination.ip, data + 16);
    return read_transport(packet, is_quoted);
}

static int read_ipv6(struct packet *packet, bool is_quoted)
{
    const uint8_t *data = packet->data;
    if (packet->len < IPV6_HEAD_BYTES)
        return -EINVAL;
    size_t total = IPV6_HEAD_BYTES + (size_t)get16(data + 4), at = IPV6_HEAD_BYTES;
    if (total > packet->len && !is_quoted)
        return -EINVAL;
    if (packet->len > total)
        packet->len = total;
    packet->is_ipv6 = true;
    packet->is_first = true;
    memcpy(packet->source.ip.bytes, data + 8, 16);
    memcpy(packet->destination.ip.bytes, data + 24, 16);
    uint8_t next = data[6];
    for (int i = 0; i < EXTENSIONS_MAX; i++) {
        bool is_fragment = next == IPPROTO_FRAGMENT;
        if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
            !is_fragment)
            break;
        if (at + 8 > packet->len)
            return -EINVAL;
        if (is_fragment) {
            uint16_t fragment = get16(data + at + 2);
            packet->is_fragment = fragment & (IPV6_OFFSET_MASK | 1);
            packet->is_first = !(fragment & IPV6_OFFSET_MASK);
        }
        next = data[at];
        at += is_fragment ? 8 : 8 + (size_t)data[at + 1] * 8;
        if (at > packet->len)
            return -EINVAL;
        if (!packet->is_first)
            break;
    }
    packet->protocol = next;
    packet->transport = at;
    return read_transport(packet, is_quoted);
}

static int packet_read(uint8_t *data, size_t len, struct packet *packet, bool is_quoted)
{
    memset(packet, 0, sizeof(*packet));
    packet->data = data;
    packet->len = len;
    packet->flow = FLOW_NONE;
    if (len < IPV4_HEAD_BYTES)
        return -EINVAL;
    int r = -EINVAL;
    if (data[0] >> 4 == 4)
        r = read_ipv4(packet, is_quoted);
    else if (data[0] >> 4 == 6)
        r = read_ipv6(packet, is_quoted);
    return r < 0 ? r : (int)packet->len;
}

int packet_parse(uint8_t *data, size_t len, struct packet *packet)
{
    return packet_read(data, len, packet, false);
}

int packet_parse_quoted(const struct packet *error, struct packet *quoted)
{
    size_t at = error->transport + ICMP_HEAD_BYTES;
    if (!error->is_error || at > error->len)
        return -EINVAL;
    int r = packet_read(error->data + at, error->len - at, quoted, true);
    return r > 0 && quoted->is_ipv6 != error->is_ipv6 ? -EINVAL : r;
}

/* --- Rewriting --- */

static void set_port(uint8_t *at, uint16_t port, uint8_t *sum)
{
    uint8_t new[2];
    put16(new, port);
    if (sum)
        sum_adjust(sum, at, new, sizeof(new));
    memcpy(at, new, sizeof(new));
}

static void packet_set(struct packet *packet, bool is_source, const struct endpoint *to)
{
    struct endpoint *mine = is_source ? &packet->source : &packet->destination;
    uint8_t *sum = transport_sum_field(packet), *transport = packet->data + packet->transport;
    size_t len = packet->is_ipv6 ? 16 : 4;
    size_t at = packet->is_ipv6 ? 8 : 12;
    at += is_source ? 0 : len;
    const uint8_t *bytes = to->ip.bytes + 16 - len;
    if (!packet->is_ipv6)
        sum_adjust(packet->data + IPV4_SUM_OFFSET, packet->data + at, bytes, len);
    if (sum && packet->protocol != IPPROTO_ICMP)
        sum_adjust(sum, packet->data + at, bytes, len);
    memcpy(packet->data + at, bytes, len);
    mine->ip = to->ip;

    if (packet->flow == FLOW_UDP || packet->flow == FLOW_TCP) {
        set_port(transport + (is_source ? 0 : 2), to->port, sum);
        mine->port = to->port;
    } else if (packet->flow == FLOW_ICMP) {
        bool is_request = transport[0] == (packet->is_ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO);
        if (is_request == is_source) { /* the identifier belongs to the one who asked */
            set_port(transport + ICMP_ID_OFFSET, to->port, sum);
            mine->port = to->port;
        }
    }
    if (sum && packet->protocol == IPPROTO_UDP && get16(sum) == 0)
        put16(sum, 0xffff); /* 0 would mean that there is none */
}

void packet_set_source(struct packet *packet, const struct endpoint *to)
{
    packet_set(packet, true, to);
}

void packet_set_destination(struct packet *packet, const struct endpoint *to)
{
    packet_set(packet, false, to);
}

static void transport_sum_set(struct packet *packet, size_t offset)
{
    uint8_t *field = packet->data + packet->transport + offset;
    put16(field, 0);
    put16(field, (uint16_t)~transport_sum(packet));
}

void packet_sum_error(struct packet *error)
{
    transport_sum_set(error, ICMP_SUM_OFFSET);
}

size_t packet_tcp_head(const struct packet *packet)
{
    return (size_t)(packet->data[packet->transport + TCP_LENGTH_OFFSET] >> 4) * 4;
}

size_t packet_sum_partly(struct packet *packet)
{
    if (packet->flow != FLOW_TCP && packet->flow != FLOW_UDP)
        return 0;
    size_t offset = packet->flow == FLOW_TCP ? TCP_SUM_OFFSET : UDP_SUM_OFFSET;
    put16(packet->data + packet->transport + offset,
          sum_fold(sum_pseudo_header(packet, packet->len - packet->transport)));
    return offset;
}

bool packet_take_hop(struct packet *packet)
{
    uint8_t *hops = packet->data + (packet->is_ipv6 ? 7 : 8);
    if (*hops <= 1)
        return false;
    if (packet->is_ipv6) {
        (*hops)--;
        return true;
    }
    uint8_t new[2] = {(uint8_t)(hops[0] - 1), hops[1]};
    sum_adjust(packet->data + IPV4_SUM_OFFSET, hops, new, sizeof(new));
    *hops = new[0];
    return true;
}

/* --- Answers --- */

/* The IP header of an answer with len bytes of payload; where that begins. */
static size_t make_head(uint8_t *out, bool is_ipv6, uint8_t protocol, const union address *from,
                        const union address *to, size_t len)
{
    if (is_ipv6) {
        memset(out, 0, IPV6_HEAD_BYTES);
        out[0] = 0x60;
        put16(out + 4, (uint16_t)len);
        out[6] = protocol;
        out[7] = ANSWER_HOPS;
        memcpy(out + 8, from->bytes, 16);
        memcpy(out + 24, to->bytes, 16);
        return IPV6_HEAD_BYTES;
    }
    memset(out, 0, IPV4_HEAD_BYTES);
    out[0] = 0x45;
    put16(out + 2, (uint16_t)(IPV4_HEAD_BYTES + len));
    put16(out + 6, IPV4_DF);
    out[8] = ANSWER_HOPS;
    out[9] = protocol;
    memcpy(out + 12, from->bytes + 12, 4);
    memcpy(out + 16, to->bytes + 12, 4);
    put16(out + IPV4_SUM_OFFSET, (uint16_t)~sum_fold(sum_add(0, out, IPV4_HEAD_BYTES)));
    return IPV4_HEAD_BYTES;
}

struct error_code {
    uint8_t type, code;
};

static const struct error_code error_codes[2][4] = {
    {
        [PACKET_EXPIRED] = {ICMP_TIME_EXCEEDED, 0},
        [PACKET_TOO_BIG] = {ICMP_DEST_UNREACH, 4},
        [PACKET_NO_PORT] = {ICMP_DEST_UNREACH, 3},
        [PACKET_PROHIBITED] = {ICMP_DEST_UNREACH, 13},
    },
    {
        [PACKET_EXPIRED] = {ICMP6_TIME_EXCEEDED, 0},
        [PACKET_TOO_BIG] = {ICMP6_PACKET_TOO_BIG, 0},
        [PACKET_NO_PORT] = {ICMP6_DST_UNREACH, 4},
        [PACKET_PROHIBITED] = {ICMP6_DST_UNREACH, 1},
    },
};

size_t packet_make_error(const struct packet *packet, enum packet_error error,
                         const union address *from, unsigned mtu, uint8_t *out)
{
    if (packet->is_error || !packet->is_first || ip_is_local(&packet->source.ip) ||
        ip_is_local(&packet->destination.ip))
        return 0;
    size_t limit = packet->is_ipv6 ? PACKET_ERROR_BYTES : IPV4_ERROR_BYTES;
    size_t head = packet->is_ipv6 ? IPV6_HEAD_BYTES : IPV4_HEAD_BYTES;
    size_t quoted = limit - head - ICMP_HEAD_BYTES;
    if (quoted > packet->len)
        quoted = packet->len;
    uint8_t protocol = packet->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
    size_t at = make_head(out, packet->is_ipv6, protocol, from, &packet->source.ip,
                          ICMP_HEAD_BYTES + quoted);
    const struct error_code *code = &error_codes[packet->is_ipv6][error];
    out[at] = code->type;
    out[at + 1] = code->code;
    put32(out + at + 4, error == PACKET_TOO_BIG ? mtu : 0);
    memcpy(out + at + ICMP_HEAD_BYTES, packet->data, quoted);
    struct packet made = {
        .data = out, .len = at + ICMP_HEAD_BYTES + quoted, .transport = at, .protocol = protocol};
    made.is_ipv6 = packet->is_ipv6;
    transport_sum_set(&made, ICMP_SUM_OFFSET);
    return made.len;
}

size_t packet_make_reset(const struct packet *packet, uint8_t *out)
{
    if (packet->flow != FLOW_TCP || packet->tcp_flags & PACKET_RST || packet->is_fragment)
        return 0;
    const uint8_t *segment = packet->data + packet->transport;
    size_t at = make_head(out, packet->is_ipv6, IPPROTO_TCP, &packet->destination.ip,
                          &packet->source.ip, TCP_HEAD_BYTES);
    uint8_t *tcp = out + at;
    memset(tcp, 0, TCP_HEAD_BYTES);
    put16(tcp, packet->destination.port);
    put16(tcp + 2, packet->source.port);
    tcp[TCP_LENGTH_OFFSET] = TCP_HEAD_BYTES / 4 << 4;
    if (packet->tcp_flags & PACKET_ACK) {
        put32(tcp + 4, get32(segment + 8));
        tcp[TCP_FLAGS_OFFSET] = PACKET_RST;
    } else {
        size_t head = packet_tcp_head(packet);
        size_t len = packet->len - packet->transport;
        uint32_t taken = (uint32_t)(len > head ? len - head : 0);
        taken +=
            (packet->tcp_flags & PACKET_SYN ? 1U : 0) + (packet->tcp_flags & PACKET_FIN ? 1U : 0);
        put32(tcp + 8, get32(segment + 4) + taken);
        tcp[TCP_FLAGS_OFFSET] = PACKET_RST | PACKET_ACK;
    }
    struct packet made = {
        .data = out, .len = at + TCP_HEAD_BYTES, .transport = at, .protocol = IPPROTO_TCP};
    made.is_ipv6 = packet->is_ipv6;
    transport_sum_set(&made, TCP_SUM_OFFSET);
    return made.len;
}
