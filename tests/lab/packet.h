/* SPDX-License-Identifier: MIT */
/*
 * Packet: an IP packet, read and rewritten in place; answers to one, made. packet.c has the theory.
 */
#ifndef LAB_PACKET_H
#define LAB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PACKET_MAX_BYTES   65535
#define PACKET_ERROR_BYTES 1280 /* room that packet_make_error() and packet_make_reset() need */
#define PACKET_TEXT_BYTES  64   /* room for the text of an address or an endpoint */

/* An address; IPv4 as ::ffff:a.b.c.d. */
union address {
    uint8_t bytes[16];
    uint64_t words[2];
};

struct endpoint {
    union address ip;
    uint16_t port; /* host order; an echo request's identifier at its sender's side, else 0 */
};

/* What an address translator can follow. */
enum flow { FLOW_UDP, FLOW_TCP, FLOW_ICMP, FLOW_NONE };
#define FLOW_COUNT 3 /* those before FLOW_NONE */

#define PACKET_FIN 0x01
#define PACKET_SYN 0x02
#define PACKET_RST 0x04
#define PACKET_ACK 0x10

struct packet {
    uint8_t *data;
    size_t len;
    bool is_ipv6, is_fragment, is_first; /* is_first: carries the transport's header */
    bool may_fragment;                   /* IPv4 without DF */
    bool is_error;                       /* an ICMP error; its flow is FLOW_NONE */
    uint8_t protocol;
    size_t transport; /* offset of the transport's header */
    enum flow flow;
    uint8_t tcp_flags;
    struct endpoint source, destination;
};

/* What a device said of a packet besides its bytes. */
struct packet_shape {
    bool is_unsummed; /* the transport's checksum is left to whoever sends it */
    uint8_t train;    /* the device's word for a train of TCP segments in one packet; 0: none */
    uint16_t segment; /* of a train: bytes of payload in each */
};

/* A packet as it comes from a device and goes to one. */
struct parcel {
    uint8_t *data;
    size_t len;
    struct packet_shape shape;
};

enum packet_error { PACKET_EXPIRED, PACKET_TOO_BIG, PACKET_NO_PORT, PACKET_PROHIBITED };

bool ip_is_ipv4(const union address *ip);
bool ip_equal(const union address *a, const union address *b);
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);
/* Numeric addresses only. False: not one. */
bool ip_parse(const char *text, union address *ip);
/* Writes at most PACKET_TEXT_BYTES, and returns text. */
const char *ip_format(const union address *ip, char *text);
const char *endpoint_format(const struct endpoint *endpoint, char *text);
/* Multicast, broadcast, link-local and unspecified addresses, which no router forwards. */
bool ip_is_local(const union address *ip);

/* Reads the packet at data, which stays the caller's and is what the others change. Its length is
 * that of its IP header; returned, or -EINVAL. */
int packet_parse(uint8_t *data, size_t len, struct packet *packet);
/* The same for the packet within an ICMP error, of which as little as 8 bytes of the transport may
 * be there. */
int packet_parse_quoted(const struct packet *error, struct packet *quoted);
/* Change address and port (or identifier) and adjust the checksums that are there (RFC 1624). */
void packet_set_source(struct packet *packet, const struct endpoint *to);
void packet_set_destination(struct packet *packet, const struct endpoint *to);
/* After the quoted packet of an error has been changed: its checksum. */
void packet_sum_error(struct packet *error);
/* One hop less. False: there was none left, and the packet is as it was. */
bool packet_take_hop(struct packet *packet);
/* For a packet whose checksum is left to the kernel, which adds to the sum of the pseudo header:
 * writes that sum. Where in the transport the checksum is; 0: nowhere. */
size_t packet_sum_partly(struct packet *packet);
/* Bytes of a TCP header. */
size_t packet_tcp_head(const struct packet *packet);
/* Whether every checksum of the packet is right; for tests. */
bool packet_sums_hold(const struct packet *packet);

/* An ICMP error about the packet, to its source, from an address of its family, into out
 * (PACKET_ERROR_BYTES). mtu: for PACKET_TOO_BIG. Its length; 0: there may be none (RFC 1122 3.2.2,
 * RFC 4443 2.4). */
size_t packet_make_error(const struct packet *packet, enum packet_error error,
                         const union address *from, unsigned mtu, uint8_t *out);
/* The RST that answers a TCP segment, as from its destination (RFC 9293 3.10.7.1). 0: none. */
size_t packet_make_reset(const struct packet *packet, uint8_t *out);

#endif
