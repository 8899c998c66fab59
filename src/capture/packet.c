/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Headers are peeled off one after the other: link layer (with VLAN tags and PPPoE), IP (with
 * extension headers, and IP inside IP up to NESTING_MAX deep), then UDP, TCP or ICMP. Lengths in
 * headers are believed only as far as there are bytes: a capture may have cut the packet (missing
 * says how much), and Ethernet pads short ones. Checksums are not verified: on the machine that
 * sends, hardware fills them in after the capture.
 */
#include "capture/packet.h"

#include <string.h>

#define NESTING_MAX 4
#define ETHER_IPV4  0x0800
#define ETHER_IPV6  0x86DD
#define ETHER_PPPOE 0x8864
#define IP_ICMP     1
#define IP_IPV4     4
#define IP_TCP      6
#define IP_UDP      17
#define IP_IPV6     41
#define IP_FRAGMENT 44
#define IP_ICMPV6   58
#define IPV6_HEADER 40
#define TCP_HEADER  20
#define UDP_HEADER  8
#define ICMP_HEADER 8

struct parser {
    struct packet *packet;
    struct packet_fragment *fragment;
    unsigned depth;
};

static unsigned be16(const uint8_t *b)
{
    return (unsigned)b[0] << 8 | b[1];
}

static uint32_t be32(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

const char *packet_protocol_name(enum packet_protocol protocol)
{
    switch (protocol) {
    case PACKET_UDP:
        return "UDP";
    case PACKET_TCP:
        return "TCP";
    case PACKET_ICMP:
        return "ICMP";
    }
    return "";
}

static struct addr address(int family, const uint8_t *bytes)
{
    struct addr addr = {.family = (uint8_t)family};

    memcpy(addr.ip.bytes, bytes, family == AF_INET ? 4 : 16);
    return addr;
}

/* --- What IP carries --- */

static enum packet_outcome parse_udp(const uint8_t *bytes, size_t len, struct packet *packet)
{
    size_t total;

    if (len < UDP_HEADER)
        return PACKET_BROKEN;
    packet->protocol = PACKET_UDP;
    packet->from.port = (uint16_t)be16(bytes);
    packet->to.port = (uint16_t)be16(bytes + 2);
    total = be16(bytes + 4);
    if (total == 0) /* jumbograms */
        total = len;
    if (total < UDP_HEADER)
        return PACKET_BROKEN;
    packet->data = bytes + UDP_HEADER;
    packet->len = (total < len ? total : len) - UDP_HEADER;
    packet->missing = total > len ? total - len : 0;
    return PACKET_WHOLE;
}

static enum packet_outcome parse_tcp(const uint8_t *bytes, size_t len, struct packet *packet)
{
    size_t head;

    if (len < TCP_HEADER)
        return PACKET_BROKEN;
    packet->protocol = PACKET_TCP;
    packet->from.port = (uint16_t)be16(bytes);
    packet->to.port = (uint16_t)be16(bytes + 2);
    packet->seq = be32(bytes + 4);
    packet->flags = bytes[13];
    head = (size_t)(bytes[12] >> 4) * 4;
    if (head < TCP_HEADER || head > len)
        return PACKET_BROKEN;
    packet->data = bytes + head;
    packet->len = len - head;
    return PACKET_WHOLE;
}

/* The beginning of the packet that an ICMP error is about: its addresses and ports. */
static enum packet_outcome parse_quoted(const uint8_t *bytes, size_t len, bool v6,
                                        struct packet *packet)
{
    int family = v6 ? AF_INET6 : AF_INET;
    size_t head = v6 ? IPV6_HEADER : 20;
    uint8_t protocol;

    if (len < head || bytes[0] >> 4 != (v6 ? 6 : 4))
        return PACKET_FOREIGN;
    protocol = bytes[v6 ? 6 : 9];
    packet->about_from = address(family, bytes + (v6 ? 8 : 12));
    packet->about_to = address(family, bytes + (v6 ? 24 : 16));
    if (!v6)
        head = (size_t)(bytes[0] & 0x0F) * 4;
    if (head < 20 || len < head + 4 || (protocol != IP_UDP && protocol != IP_TCP))
        return PACKET_FOREIGN;
    packet->about = protocol == IP_UDP ? PACKET_UDP : PACKET_TCP;
    packet->about_from.port = (uint16_t)be16(bytes + head);
    packet->about_to.port = (uint16_t)be16(bytes + head + 2);
    return PACKET_WHOLE;
}

static enum packet_outcome parse_icmp(const uint8_t *bytes, size_t len, bool v6,
                                      struct packet *packet)
{
    bool is_error;

    if (len < ICMP_HEADER)
        return PACKET_FOREIGN;
    packet->protocol = PACKET_ICMP;
    packet->icmp_v6 = v6;
    packet->icmp_type = bytes[0];
    packet->icmp_code = bytes[1];
    is_error = v6 ? bytes[0] < 128 : bytes[0] == 3 || bytes[0] == 11 || bytes[0] == 12;
    if (!is_error)
        return PACKET_FOREIGN;
    if (v6 && bytes[0] == 2)
        packet->mtu = be32(bytes + 4);
    else if (!v6 && bytes[0] == 3 && bytes[1] == 4)
        packet->mtu = be16(bytes + 6);
    return parse_quoted(bytes + ICMP_HEADER, len - ICMP_HEADER, v6, packet);
}

enum packet_outcome packet_parse_payload(uint8_t protocol, const struct addr *from,
                                         const struct addr *to, const uint8_t *bytes, size_t len,
                                         struct packet *packet)
{
    *packet = (struct packet){.from = *from, .to = *to};
    switch (protocol) {
    case IP_UDP:
        return parse_udp(bytes, len, packet);
    case IP_TCP:
        return parse_tcp(bytes, len, packet);
    case IP_ICMP:
    case IP_ICMPV6:
        return parse_icmp(bytes, len, protocol == IP_ICMPV6, packet);
    default:
        return PACKET_FOREIGN;
    }
}

/* --- IP --- */

static enum packet_outcome parse_ip(struct parser *p, const uint8_t *bytes, size_t len);

/* missing: bytes of IP's payload that were cut off. */
static enum packet_outcome parse_inner(struct parser *p, uint8_t protocol, const struct addr *from,
                                       const struct addr *to, const uint8_t *bytes, size_t len,
                                       size_t missing)
{
    enum packet_outcome outcome;

    if (protocol == IP_IPV4 || protocol == IP_IPV6)
        return parse_ip(p, bytes, len);
    outcome = packet_parse_payload(protocol, from, to, bytes, len, p->packet);
    if (outcome == PACKET_WHOLE && p->packet->protocol == PACKET_TCP)
        p->packet->missing = missing;
    return outcome;
}

static enum packet_outcome give_fragment(struct parser *p, const struct packet_fragment *fragment)
{
    *p->fragment = *fragment;
    return PACKET_FRAGMENT;
}

static enum packet_outcome parse_ipv4(struct parser *p, const uint8_t *bytes, size_t len)
{
    size_t head = (size_t)(bytes[0] & 0x0F) * 4, total, offset, missing;
    struct addr from, to;

    if (len < 20 || head < 20 || head > len)
        return PACKET_BROKEN;
    total = be16(bytes + 2);
    if (total == 0) /* segmentation in hardware: the length is filled in later */
        total = len;
    if (total < head)
        return PACKET_BROKEN;
    missing = total > len ? total - len : 0;
    len = total < len ? total : len;
    from = address(AF_INET, bytes + 12);
    to = address(AF_INET, bytes + 16);
    offset = (size_t)(be16(bytes + 6) & 0x1FFF) * 8;
    if (offset == 0 && !(be16(bytes + 6) & 0x2000))
        return parse_inner(p, bytes[9], &from, &to, bytes + head, len - head, missing);
    if (missing > 0)
        return PACKET_BROKEN;
    return give_fragment(p, &(struct packet_fragment){.from = from,
                                                      .to = to,
                                                      .id = be16(bytes + 4),
                                                      .protocol = bytes[9],
                                                      .offset = offset,
                                                      .len = len - head,
                                                      .more = be16(bytes + 6) & 0x2000,
                                                      .data = bytes + head});
}

static bool is_extension(uint8_t next)
{
    /* hop by hop, routing, destination options, mobility, host identity, shim6 */
    return next == 0 || next == 43 || next == 60 || next == 135 || next == 139 || next == 140;
}

static enum packet_outcome parse_ipv6(struct parser *p, const uint8_t *bytes, size_t len)
{
    size_t at = IPV6_HEADER, total, missing;
    struct addr from, to;
    uint8_t next;

    if (len < IPV6_HEADER)
        return PACKET_BROKEN;
    total = IPV6_HEADER + be16(bytes + 4);
    if (total == IPV6_HEADER) /* a jumbogram, or segmentation in hardware */
        total = len;
    missing = total > len ? total - len : 0;
    len = total < len ? total : len;
    next = bytes[6];
    from = address(AF_INET6, bytes + 8);
    to = address(AF_INET6, bytes + 24);
    while (is_extension(next)) {
        if (len - at < 8)
            return PACKET_BROKEN;
        size_t size = ((size_t)bytes[at + 1] + 1) * 8;
        if (size > len - at)
            return PACKET_BROKEN;
        next = bytes[at];
        at += size;
    }
    if (next != IP_FRAGMENT)
        return parse_inner(p, next, &from, &to, bytes + at, len - at, missing);
    if (len - at < 8 || missing > 0)
        return PACKET_BROKEN;
    bool more = bytes[at + 3] & 1;
    size_t offset = be16(bytes + at + 2) & 0xFFF8;
    if (offset == 0 && !more)
        return parse_inner(p, bytes[at], &from, &to, bytes + at + 8, len - at - 8, 0);
    return give_fragment(p, &(struct packet_fragment){.from = from,
                                                      .to = to,
                                                      .id = be32(bytes + at + 4),
                                                      .protocol = bytes[at],
                                                      .offset = offset,
                                                      .len = len - at - 8,
                                                      .more = more,
                                                      .data = bytes + at + 8});
}

static enum packet_outcome parse_ip(struct parser *p, const uint8_t *bytes, size_t len)
{
    if (p->depth++ == NESTING_MAX)
        return PACKET_FOREIGN;
    if (len == 0)
        return PACKET_BROKEN;
    if (bytes[0] >> 4 == 4)
        return parse_ipv4(p, bytes, len);
    return bytes[0] >> 4 == 6 ? parse_ipv6(p, bytes, len) : PACKET_FOREIGN;
}

/* --- Link layers --- */

/* What follows an EtherType. */
static enum packet_outcome parse_ether(struct parser *p, unsigned type, const uint8_t *bytes,
                                       size_t len)
{
    while (type == 0x8100 || type == 0x88A8 || type == 0x9100) { /* VLAN tags */
        if (len < 4)
            return PACKET_BROKEN;
        type = be16(bytes + 2);
        bytes += 4;
        len -= 4;
    }
    if (type == ETHER_PPPOE) {
        if (len < 8)
            return PACKET_BROKEN;
        type = be16(bytes + 6) == 0x0021 ? ETHER_IPV4 : be16(bytes + 6) == 0x0057 ? ETHER_IPV6 : 0;
        bytes += 8;
        len -= 8;
    }
    return type == ETHER_IPV4 || type == ETHER_IPV6 ? parse_ip(p, bytes, len) : PACKET_FOREIGN;
}

static enum packet_outcome parse_ppp(struct parser *p, const uint8_t *bytes, size_t len)
{
    if (len >= 2 && bytes[0] == 0xFF && bytes[1] == 0x03) {
        bytes += 2;
        len -= 2;
    }
    if (len < 2)
        return PACKET_BROKEN;
    return be16(bytes) == 0x0021 || be16(bytes) == 0x0057 ? parse_ip(p, bytes + 2, len - 2)
                                                          : PACKET_FOREIGN;
}

enum packet_outcome packet_parse(unsigned link, const uint8_t *bytes, size_t len,
                                 struct packet *packet, struct packet_fragment *fragment)
{
    struct parser p = {.packet = packet, .fragment = fragment};

    switch (link) {
    case PACKET_LINK_NULL:
    case PACKET_LINK_LOOP:
        return len < 4 ? PACKET_BROKEN : parse_ip(&p, bytes + 4, len - 4);
    case PACKET_LINK_ETHERNET:
        return len < 14 ? PACKET_BROKEN : parse_ether(&p, be16(bytes + 12), bytes + 14, len - 14);
    case PACKET_LINK_PPP:
        return parse_ppp(&p, bytes, len);
    case PACKET_LINK_RAW_BSD:
    case PACKET_LINK_RAW_OPENBSD:
    case PACKET_LINK_RAW:
    case PACKET_LINK_IPV4:
    case PACKET_LINK_IPV6:
        return parse_ip(&p, bytes, len);
    case PACKET_LINK_LINUX_SLL:
        return len < 16 ? PACKET_BROKEN : parse_ether(&p, be16(bytes + 14), bytes + 16, len - 16);
    case PACKET_LINK_LINUX_SLL2:
        return len < 20 ? PACKET_BROKEN : parse_ether(&p, be16(bytes), bytes + 20, len - 20);
    default:
        return PACKET_LINK;
    }
}
