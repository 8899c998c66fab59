/* SPDX-License-Identifier: MIT */
/*
 * Packets: from a frame of a capture to what UDP or TCP carries, and between whom. Pure.
 */
#ifndef ADIT_CAPTURE_PACKET_H
#define ADIT_CAPTURE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

/* Link layers (LINKTYPE of tcpdump.org) that are understood; packet_link_name() has their names. */
enum packet_link {
    PACKET_LINK_NULL = 0, /* BSD loopback: 4 bytes of address family */
    PACKET_LINK_ETHERNET = 1,
    PACKET_LINK_PPP = 9,
    PACKET_LINK_RAW_BSD = 12, /* IP, as some systems number it */
    PACKET_LINK_RAW_OPENBSD = 14,
    PACKET_LINK_RAW = 101,
    PACKET_LINK_LOOP = 108,      /* OpenBSD loopback */
    PACKET_LINK_LINUX_SLL = 113, /* Linux cooked, of the interface "any" */
    PACKET_LINK_IPV4 = 228,
    PACKET_LINK_IPV6 = 229,
    PACKET_LINK_LINUX_SLL2 = 276,
};

enum packet_protocol { PACKET_UDP, PACKET_TCP, PACKET_ICMP };

#define PACKET_FIN 0x01 /* TCP flags */
#define PACKET_SYN 0x02
#define PACKET_RST 0x04
#define PACKET_ACK 0x10

struct packet {
    enum packet_protocol protocol;
    struct addr from, to;
    const uint8_t *data; /* what it carries; ICMP: nothing */
    size_t len;
    size_t missing; /* bytes that the capture has cut off */
    uint32_t seq;   /* TCP */
    uint8_t flags;
    uint8_t icmp_type, icmp_code; /* ICMP errors: what is wrong ... */
    bool icmp_v6;
    enum packet_protocol about; /* ... with a packet of UDP or TCP ... */
    struct addr about_from, about_to;
    uint32_t mtu; /* ... "too big": what fits */
};

/* A part of an IP datagram: data is what IP carries, from offset on. */
struct packet_fragment {
    struct addr from, to;
    uint32_t id;
    uint8_t protocol;
    size_t offset, len;
    bool more;
    const uint8_t *data;
};

enum packet_outcome {
    PACKET_WHOLE,    /* *packet is filled */
    PACKET_FRAGMENT, /* *fragment is: see fragments.h */
    PACKET_FOREIGN,  /* no UDP, TCP or ICMP error on IP */
    PACKET_BROKEN,   /* cut off in its headers, or malformed */
    PACKET_LINK,     /* a link layer that is not known */
};

/* Takes a frame apart. */
enum packet_outcome packet_parse(unsigned link, const uint8_t *bytes, size_t len,
                                 struct packet *packet, struct packet_fragment *fragment);
/* The same for what IP carries, when it is all there. */
enum packet_outcome packet_parse_payload(uint8_t protocol, const struct addr *from,
                                         const struct addr *to, const uint8_t *bytes, size_t len,
                                         struct packet *packet);
const char *packet_protocol_name(enum packet_protocol protocol); /* "UDP", "TCP", "ICMP" */

#endif
