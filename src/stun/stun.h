/* SPDX-License-Identifier: MIT */
/*
 * STUN messages: parsing, building, and reading and writing every attribute of RFC 8489 (STUN),
 * 8656 (TURN), 5780 (behaviour discovery), 6062 (TCP allocations), 8016 (mobility) and 8445 (ICE).
 * Pure: no input or output, nothing allocated, nothing kept. integrity.h signs and verifies,
 * channel.h has the other thing that travels to a TURN server.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |0 0|  method and class         |  length of what follows byte 20|   RFC 8489 5
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                  magic cookie, 0x2112A442                     |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                  transaction id, 96 bits                      |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  attribute: type              |  length, without padding      |   RFC 8489 14
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |  value, padded to a multiple of 4 bytes                  ...
 */
#ifndef ADIT_STUN_STUN_H
#define ADIT_STUN_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/err.h"

#define STUN_HEADER_BYTES   20
#define STUN_ATTR_BYTES     4 /* an attribute's type and length */
#define STUN_COOKIE         UINT32_C(0x2112A442)
#define STUN_ID_BYTES       12
#define STUN_ATTRS_MAX      64 /* attributes in a message; one with more is malformed to us */
#define STUN_MESSAGE_MAX    (STUN_HEADER_BYTES + 65532)
#define STUN_PORT           3478 /* RFC 8489 18.6 */
#define STUN_TLS_PORT       5349
#define STUN_OPTIONAL       0x8000 /* attribute types from here on may be ignored when unknown */
#define STUN_USERNAME_MAX   508    /* bytes; RFC 8489 14.3 */
#define STUN_TEXT_MAX       763    /* bytes of REALM, NONCE, SOFTWARE and reasons: 127 characters */
#define STUN_DOMAIN_MAX     255    /* bytes of ALTERNATE-DOMAIN */
#define STUN_TOKEN_BYTES    8
#define STUN_USERHASH_BYTES 32
#define STUN_ALGORITHMS_MAX 16 /* of a PASSWORD-ALGORITHMS */
#define STUN_UNKNOWN_MAX    32 /* types of an UNKNOWN-ATTRIBUTES that are kept */

enum stun_class { STUN_REQUEST, STUN_INDICATION, STUN_SUCCESS, STUN_ERROR };

/* Methods; a message may have any other, from 0 to 0xFFF. */
enum stun_method {
    STUN_METHOD_BINDING = 0x001,  /* RFC 8489 */
    STUN_METHOD_ALLOCATE = 0x003, /* RFC 8656 */
    STUN_METHOD_REFRESH = 0x004,
    STUN_METHOD_SEND = 0x006, /* indication */
    STUN_METHOD_DATA = 0x007, /* indication */
    STUN_METHOD_CREATE_PERMISSION = 0x008,
    STUN_METHOD_CHANNEL_BIND = 0x009,
    STUN_METHOD_CONNECT = 0x00A, /* RFC 6062 */
    STUN_METHOD_CONNECTION_BIND = 0x00B,
    STUN_METHOD_CONNECTION_ATTEMPT = 0x00C, /* indication */
};

enum stun_type {
    /* comprehension required */
    STUN_ATTR_MAPPED_ADDRESS = 0x0001,
    STUN_ATTR_CHANGE_REQUEST = 0x0003,
    STUN_ATTR_USERNAME = 0x0006,
    STUN_ATTR_MESSAGE_INTEGRITY = 0x0008,
    STUN_ATTR_ERROR_CODE = 0x0009,
    STUN_ATTR_UNKNOWN_ATTRIBUTES = 0x000A,
    STUN_ATTR_CHANNEL_NUMBER = 0x000C,
    STUN_ATTR_LIFETIME = 0x000D,
    STUN_ATTR_XOR_PEER_ADDRESS = 0x0012,
    STUN_ATTR_DATA = 0x0013,
    STUN_ATTR_REALM = 0x0014,
    STUN_ATTR_NONCE = 0x0015,
    STUN_ATTR_XOR_RELAYED_ADDRESS = 0x0016,
    STUN_ATTR_REQUESTED_ADDRESS_FAMILY = 0x0017,
    STUN_ATTR_EVEN_PORT = 0x0018,
    STUN_ATTR_REQUESTED_TRANSPORT = 0x0019,
    STUN_ATTR_DONT_FRAGMENT = 0x001A,
    STUN_ATTR_MESSAGE_INTEGRITY_SHA256 = 0x001C,
    STUN_ATTR_PASSWORD_ALGORITHM = 0x001D,
    STUN_ATTR_USERHASH = 0x001E,
    STUN_ATTR_XOR_MAPPED_ADDRESS = 0x0020,
    STUN_ATTR_RESERVATION_TOKEN = 0x0022,
    STUN_ATTR_PRIORITY = 0x0024,
    STUN_ATTR_USE_CANDIDATE = 0x0025,
    STUN_ATTR_PADDING = 0x0026,
    STUN_ATTR_RESPONSE_PORT = 0x0027,
    STUN_ATTR_CONNECTION_ID = 0x002A,
    /* comprehension optional */
    STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY = 0x8000,
    STUN_ATTR_ADDRESS_ERROR_CODE = 0x8001,
    STUN_ATTR_PASSWORD_ALGORITHMS = 0x8002,
    STUN_ATTR_ALTERNATE_DOMAIN = 0x8003,
    STUN_ATTR_ICMP = 0x8004,
    STUN_ATTR_XOR_MAPPED_OLD = 0x8020, /* XOR-MAPPED-ADDRESS of servers from before RFC 5389 */
    STUN_ATTR_SOFTWARE = 0x8022,
    STUN_ATTR_ALTERNATE_SERVER = 0x8023,
    STUN_ATTR_FINGERPRINT = 0x8028,
    STUN_ATTR_ICE_CONTROLLED = 0x8029,
    STUN_ATTR_ICE_CONTROLLING = 0x802A,
    STUN_ATTR_RESPONSE_ORIGIN = 0x802B,
    STUN_ATTR_OTHER_ADDRESS = 0x802C,
    STUN_ATTR_MOBILITY_TICKET = 0x8030,
};

/* Error codes that a client handles; words.h has the text of all. */
enum stun_error_code {
    STUN_TRY_ALTERNATE = 300,
    STUN_BAD_REQUEST = 400,
    STUN_UNAUTHENTICATED = 401,
    STUN_FORBIDDEN = 403,
    STUN_MOBILITY_FORBIDDEN = 405,
    STUN_UNKNOWN_ATTRIBUTE = 420,
    STUN_ALLOCATION_MISMATCH = 437,
    STUN_STALE_NONCE = 438,
    STUN_FAMILY_NOT_SUPPORTED = 440,
    STUN_WRONG_CREDENTIALS = 441,
    STUN_TRANSPORT_NOT_SUPPORTED = 442,
    STUN_PEER_FAMILY_MISMATCH = 443,
    STUN_CONNECTION_EXISTS = 446,
    STUN_CONNECTION_FAILED = 447,
    STUN_QUOTA_REACHED = 486,
    STUN_ROLE_CONFLICT = 487,
    STUN_SERVER_ERROR = 500,
    STUN_NO_CAPACITY = 508,
};

#define STUN_TRANSPORT_TCP    6 /* REQUESTED-TRANSPORT: protocol numbers */
#define STUN_TRANSPORT_UDP    17
#define STUN_CHANGE_IP        0x04 /* CHANGE-REQUEST, RFC 5780 7.2 */
#define STUN_CHANGE_PORT      0x02
#define STUN_ALGORITHM_MD5    1 /* PASSWORD-ALGORITHM, RFC 8489 18.5.1 */
#define STUN_ALGORITHM_SHA256 2

struct stun_id {
    uint8_t bytes[STUN_ID_BYTES];
};

/* Bytes that belong to somebody else (the message). Not a C string. */
struct stun_bytes {
    const uint8_t *bytes;
    size_t len;
};

struct stun_attr {
    uint16_t type;
    uint16_t len;         /* without padding */
    uint32_t offset;      /* of its type, from the start of the message */
    const uint8_t *value; /* in the message */
};

/* A message, as a view of the bytes it was parsed from, which must stay. */
struct stun_message {
    const uint8_t *bytes;
    size_t len; /* header and attributes */
    uint16_t method;
    enum stun_class class;
    struct stun_id id;
    struct stun_attr attrs[STUN_ATTRS_MAX]; /* in the order of the message, repeated ones too */
    size_t count;
};

/* --- What a packet is, and where one ends on a stream --- */

/* By the first byte (RFC 8656 12, RFC 7983). */
enum stun_kind { STUN_KIND_MESSAGE, STUN_KIND_CHANNEL, STUN_KIND_DTLS, STUN_KIND_OTHER };
enum stun_kind stun_kind(uint8_t first);
/* On a stream (RFC 8489 6.2.2, RFC 8656 12.5): the length of the message or ChannelData that the
 * bytes begin with, padding included, at most STUN_MESSAGE_MAX. stun_frame(): once all of it is
 * there; stun_frame_length(): once it can be told, from the first 4 bytes. 0: more is needed;
 * ADIT_EFORMAT: neither, the stream cannot be followed any longer. */
#define STUN_FRAME_HEADER_BYTES 4
int stun_frame(const uint8_t *bytes, size_t len);
int stun_frame_length(const uint8_t *bytes, size_t len);

/* --- Parsing --- */

/* Parses the message that the bytes begin with. Bytes used; 0: more are needed; ADIT_EFORMAT: not a
 * STUN message, or a malformed one. */
int stun_parse(const uint8_t *bytes, size_t len, struct stun_message *message);
/* A datagram, which is one whole message and nothing else. 0 or ADIT_EFORMAT. */
int stun_parse_datagram(const uint8_t *bytes, size_t len, struct stun_message *message);
/* Takes the attribute at *at of an attribute list and moves *at past it. 1; 0: at the end;
 * ADIT_EFORMAT: it does not fit (and *at stays). offset is set as if the list began at byte 0. */
int stun_next_attr(const uint8_t *bytes, size_t len, size_t *at, struct stun_attr *attr);
/* The first attribute of a type that counts: what follows MESSAGE-INTEGRITY and may not, or follows
 * FINGERPRINT, is passed over (RFC 8489 14.5 to 14.7). NULL: none. */
const struct stun_attr *stun_find(const struct stun_message *message, enum stun_type type);
/* The next one of the same type after `after` (NULL: the first). */
const struct stun_attr *stun_find_next(const struct stun_message *message,
                                       const struct stun_attr *after, enum stun_type type);
/* Types that we do not know and that must be understood (RFC 8489 6.3); how many there are, of
 * which up to max are written. */
size_t stun_unknown_attrs(const struct stun_message *message, uint16_t *types, size_t max);
bool stun_id_equal(const struct stun_id *a, const struct stun_id *b);

/* --- Reading attributes ---
 *
 * All return 0, -ENOENT when attr is NULL (so that a stun_find() may stand there), or ADIT_EFORMAT;
 * what they point to is in the message. */

/* LIFETIME (seconds), CONNECTION-ID, PRIORITY, CHANGE-REQUEST (STUN_CHANGE_X), FINGERPRINT. */
int stun_read_u32(const struct stun_attr *attr, uint32_t *value);
/* ICE-CONTROLLED, ICE-CONTROLLING. */
int stun_read_u64(const struct stun_attr *attr, uint64_t *value);
/* DONT-FRAGMENT, USE-CANDIDATE: nothing but there. */
int stun_read_flag(const struct stun_attr *attr);
/* MAPPED-ADDRESS, ALTERNATE-SERVER, RESPONSE-ORIGIN, OTHER-ADDRESS. */
int stun_read_address(const struct stun_attr *attr, struct addr *addr);
/* XOR-MAPPED-ADDRESS, XOR-PEER-ADDRESS, XOR-RELAYED-ADDRESS; the id is the message's. */
int stun_read_xor_address(const struct stun_attr *attr, const struct stun_id *id,
                          struct addr *addr);
/* The client's address in a response to Binding or Allocate: XOR-MAPPED-ADDRESS, in either code,
 * else MAPPED-ADDRESS. */
int stun_read_mapped(const struct stun_message *message, struct addr *addr);
struct stun_error {
    uint16_t code; /* 300 to 699 */
    struct stun_bytes reason;
};
/* ERROR-CODE. */
int stun_read_error(const struct stun_attr *attr, struct stun_error *error);
/* ADDRESS-ERROR-CODE: why one family was refused. */
int stun_read_address_error(const struct stun_attr *attr, int *family, struct stun_error *error);
/* UNKNOWN-ATTRIBUTES: *count types, no more than STUN_UNKNOWN_MAX of them. */
int stun_read_unknown(const struct stun_attr *attr, uint16_t types[STUN_UNKNOWN_MAX],
                      size_t *count);
/* USERNAME, REALM, NONCE, SOFTWARE, ALTERNATE-DOMAIN (ADIT_EFORMAT when longer than the type
 * allows); DATA, MOBILITY-TICKET, PADDING and any other, as they are. */
int stun_read_bytes(const struct stun_attr *attr, struct stun_bytes *bytes);
/* CHANNEL-NUMBER; any number: channel.h knows which are good. */
int stun_read_channel(const struct stun_attr *attr, uint16_t *number);
/* EVEN-PORT: the R bit. */
int stun_read_even_port(const struct stun_attr *attr, bool *reserve_next);
/* REQUESTED-TRANSPORT: STUN_TRANSPORT_X or another protocol number. */
int stun_read_transport(const struct stun_attr *attr, uint8_t *protocol);
/* REQUESTED-ADDRESS-FAMILY, ADDITIONAL-ADDRESS-FAMILY: AF_INET or AF_INET6. */
int stun_read_family(const struct stun_attr *attr, int *family);
int stun_read_token(const struct stun_attr *attr, uint8_t token[STUN_TOKEN_BYTES]);
int stun_read_userhash(const struct stun_attr *attr, uint8_t hash[STUN_USERHASH_BYTES]);
/* RESPONSE-PORT (RFC 5780 7.5). */
int stun_read_port(const struct stun_attr *attr, uint16_t *port);
struct stun_icmp {
    uint8_t type;  /* 7 bits */
    uint16_t code; /* 9 bits */
    uint32_t data; /* the MTU, of "packet too big" and "fragmentation needed" */
};
int stun_read_icmp(const struct stun_attr *attr, struct stun_icmp *icmp);
struct stun_algorithm {
    uint16_t id; /* STUN_ALGORITHM_X or another */
    struct stun_bytes parameters;
};
/* PASSWORD-ALGORITHM. */
int stun_read_algorithm(const struct stun_attr *attr, struct stun_algorithm *algorithm);
/* PASSWORD-ALGORITHMS, in the server's order; more than STUN_ALGORITHMS_MAX are left out. */
int stun_read_algorithms(const struct stun_attr *attr,
                         struct stun_algorithm algorithms[STUN_ALGORITHMS_MAX], size_t *count);

/* --- Building ---
 *
 * A builder fills the caller's buffer. The first failure (no room: ADIT_EFULL; a value that may not
 * be sent: -EINVAL) is kept, makes all that follows do nothing, and is what stun_built() returns.
 * Attributes that may not follow MESSAGE-INTEGRITY or FINGERPRINT are such a failure. */
struct stun_builder {
    uint8_t *bytes;
    size_t cap, len;
    int error;
    uint16_t last; /* MESSAGE-INTEGRITY, ..._SHA256 or FINGERPRINT, once put */
};

void stun_build(struct stun_builder *builder, uint8_t *bytes, size_t cap, unsigned method,
                enum stun_class class, const struct stun_id *id);
/* Length of the message, or the first failure. */
int stun_built(const struct stun_builder *builder);

/* Any attribute, by its bytes. */
void stun_put(struct stun_builder *builder, enum stun_type type, const void *value, size_t len);
/* Room for a value that the caller fills in; its padding is zeroed. NULL after a failure. */
uint8_t *stun_put_room(struct stun_builder *builder, enum stun_type type, size_t len);
void stun_put_text(struct stun_builder *builder, enum stun_type type, const char *text);
void stun_put_flag(struct stun_builder *builder, enum stun_type type);
void stun_put_u32(struct stun_builder *builder, enum stun_type type, uint32_t value);
void stun_put_u64(struct stun_builder *builder, enum stun_type type, uint64_t value);
void stun_put_address(struct stun_builder *builder, enum stun_type type, const struct addr *addr);
void stun_put_xor_address(struct stun_builder *builder, enum stun_type type,
                          const struct addr *addr);
void stun_put_error(struct stun_builder *builder, unsigned code, const char *reason);
void stun_put_address_error(struct stun_builder *builder, int family, unsigned code,
                            const char *reason);
void stun_put_unknown(struct stun_builder *builder, const uint16_t *types, size_t count);
void stun_put_channel(struct stun_builder *builder, uint16_t number);
void stun_put_even_port(struct stun_builder *builder, bool reserve_next);
void stun_put_transport(struct stun_builder *builder, uint8_t protocol);
/* REQUESTED- or ADDITIONAL-ADDRESS-FAMILY; AF_INET or AF_INET6. */
void stun_put_family(struct stun_builder *builder, enum stun_type type, int family);
void stun_put_port(struct stun_builder *builder, uint16_t port);
void stun_put_icmp(struct stun_builder *builder, const struct stun_icmp *icmp);
void stun_put_algorithm(struct stun_builder *builder, const struct stun_algorithm *algorithm);
void stun_put_algorithms(struct stun_builder *builder, const struct stun_algorithm *algorithms,
                         size_t count);

/* For those who verify: the first `len` bytes, but with the length that a message ending at `end`
 * would have in its header, are what an integrity or fingerprint at the end of them covers. */
void stun_set_length(uint8_t *message, size_t end);

#endif
