/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The tables: what methods, attributes and errors are called. Names are those of the IANA registry
 * "STUN Parameters"; besides the attributes that the codec reads, they have those that are met on
 * networks, from older, other and private specifications.
 */
#include "stun/words_int.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

const char *words_class(enum stun_class class)
{
    switch (class) {
    case STUN_REQUEST:
        return "request";
    case STUN_INDICATION:
        return "indication";
    case STUN_SUCCESS:
        return "success";
    case STUN_ERROR:
        return "error";
    }
    return NULL;
}

const char *words_method(unsigned method)
{
    static const struct {
        uint16_t method;
        const char *name;
    } methods[] = {
        {STUN_METHOD_BINDING, "Binding"},
        {0x002, "SharedSecret"}, /* RFC 3489 */
        {STUN_METHOD_ALLOCATE, "Allocate"},
        {STUN_METHOD_REFRESH, "Refresh"},
        {STUN_METHOD_SEND, "Send"},
        {STUN_METHOD_DATA, "Data"},
        {STUN_METHOD_CREATE_PERMISSION, "CreatePermission"},
        {STUN_METHOD_CHANNEL_BIND, "ChannelBind"},
        {STUN_METHOD_CONNECT, "Connect"},
        {STUN_METHOD_CONNECTION_BIND, "ConnectionBind"},
        {STUN_METHOD_CONNECTION_ATTEMPT, "ConnectionAttempt"},
        {0x080, "GOOG-PING"},
    };

    for (size_t i = 0; i < COUNT(methods); i++)
        if (methods[i].method == method)
            return methods[i].name;
    return NULL;
}

static const struct words_attr attrs[] = {
    {STUN_ATTR_MAPPED_ADDRESS, WORDS_ADDRESS, "MAPPED-ADDRESS"},
    {0x0002, WORDS_ADDRESS, "RESPONSE-ADDRESS"}, /* 0x0002 to 0x000B partly: RFC 3489 */
    {STUN_ATTR_CHANGE_REQUEST, WORDS_CHANGE, "CHANGE-REQUEST"},
    {0x0004, WORDS_ADDRESS, "SOURCE-ADDRESS"},
    {0x0005, WORDS_ADDRESS, "CHANGED-ADDRESS"},
    {STUN_ATTR_USERNAME, WORDS_TEXT, "USERNAME"},
    {0x0007, WORDS_BYTES, "PASSWORD"},
    {STUN_ATTR_MESSAGE_INTEGRITY, WORDS_INTEGRITY, "MESSAGE-INTEGRITY"},
    {STUN_ATTR_ERROR_CODE, WORDS_ERROR, "ERROR-CODE"},
    {STUN_ATTR_UNKNOWN_ATTRIBUTES, WORDS_TYPES, "UNKNOWN-ATTRIBUTES"},
    {0x000B, WORDS_ADDRESS, "REFLECTED-FROM"},
    {STUN_ATTR_CHANNEL_NUMBER, WORDS_CHANNEL, "CHANNEL-NUMBER"},
    {STUN_ATTR_LIFETIME, WORDS_SECONDS, "LIFETIME"},
    {0x0010, WORDS_NUMBER, "BANDWIDTH"}, /* drafts of TURN */
    {STUN_ATTR_XOR_PEER_ADDRESS, WORDS_XOR_ADDRESS, "XOR-PEER-ADDRESS"},
    {STUN_ATTR_DATA, WORDS_DATA, "DATA"},
    {STUN_ATTR_REALM, WORDS_TEXT, "REALM"},
    {STUN_ATTR_NONCE, WORDS_NONCE, "NONCE"},
    {STUN_ATTR_XOR_RELAYED_ADDRESS, WORDS_XOR_ADDRESS, "XOR-RELAYED-ADDRESS"},
    {STUN_ATTR_REQUESTED_ADDRESS_FAMILY, WORDS_FAMILY, "REQUESTED-ADDRESS-FAMILY"},
    {STUN_ATTR_EVEN_PORT, WORDS_EVEN_PORT, "EVEN-PORT"},
    {STUN_ATTR_REQUESTED_TRANSPORT, WORDS_TRANSPORT, "REQUESTED-TRANSPORT"},
    {STUN_ATTR_DONT_FRAGMENT, WORDS_FLAG, "DONT-FRAGMENT"},
    {0x001B, WORDS_BYTES, "ACCESS-TOKEN"}, /* RFC 7635 */
    {STUN_ATTR_MESSAGE_INTEGRITY_SHA256, WORDS_INTEGRITY_SHA256, "MESSAGE-INTEGRITY-SHA256"},
    {STUN_ATTR_PASSWORD_ALGORITHM, WORDS_ALGORITHM, "PASSWORD-ALGORITHM"},
    {STUN_ATTR_USERHASH, WORDS_USERHASH, "USERHASH"},
    {STUN_ATTR_XOR_MAPPED_ADDRESS, WORDS_XOR_ADDRESS, "XOR-MAPPED-ADDRESS"},
    {0x0021, WORDS_NUMBER, "TIMER-VAL"}, /* drafts of TURN */
    {STUN_ATTR_RESERVATION_TOKEN, WORDS_TOKEN, "RESERVATION-TOKEN"},
    {STUN_ATTR_PRIORITY, WORDS_NUMBER, "PRIORITY"},
    {STUN_ATTR_USE_CANDIDATE, WORDS_FLAG, "USE-CANDIDATE"},
    {STUN_ATTR_PADDING, WORDS_BYTES, "PADDING"},
    {STUN_ATTR_RESPONSE_PORT, WORDS_PORT, "RESPONSE-PORT"},
    {STUN_ATTR_CONNECTION_ID, WORDS_NUMBER, "CONNECTION-ID"},
    {STUN_ATTR_ADDITIONAL_ADDRESS_FAMILY, WORDS_FAMILY, "ADDITIONAL-ADDRESS-FAMILY"},
    {STUN_ATTR_ADDRESS_ERROR_CODE, WORDS_ADDRESS_ERROR, "ADDRESS-ERROR-CODE"},
    {STUN_ATTR_PASSWORD_ALGORITHMS, WORDS_ALGORITHMS, "PASSWORD-ALGORITHMS"},
    {STUN_ATTR_ALTERNATE_DOMAIN, WORDS_TEXT, "ALTERNATE-DOMAIN"},
    {STUN_ATTR_ICMP, WORDS_ICMP, "ICMP"},
    {STUN_ATTR_XOR_MAPPED_OLD, WORDS_XOR_ADDRESS, "XOR-MAPPED-ADDRESS (old number)"},
    {STUN_ATTR_SOFTWARE, WORDS_TEXT, "SOFTWARE"},
    {STUN_ATTR_ALTERNATE_SERVER, WORDS_ADDRESS, "ALTERNATE-SERVER"},
    {0x8025, WORDS_NUMBER, "TRANSACTION-TRANSMIT-COUNTER"}, /* RFC 7982 */
    {0x8027, WORDS_SECONDS, "CACHE-TIMEOUT"},               /* drafts of RFC 5780 */
    {STUN_ATTR_FINGERPRINT, WORDS_FINGERPRINT, "FINGERPRINT"},
    {STUN_ATTR_ICE_CONTROLLED, WORDS_NUMBER64, "ICE-CONTROLLED"},
    {STUN_ATTR_ICE_CONTROLLING, WORDS_NUMBER64, "ICE-CONTROLLING"},
    {STUN_ATTR_RESPONSE_ORIGIN, WORDS_ADDRESS, "RESPONSE-ORIGIN"},
    {STUN_ATTR_OTHER_ADDRESS, WORDS_ADDRESS, "OTHER-ADDRESS"},
    {0x802D, WORDS_BYTES, "ECN-CHECK"},                /* RFC 6679 */
    {0x802E, WORDS_TEXT, "THIRD-PARTY-AUTHORIZATION"}, /* RFC 7635 */
    {0x802F, WORDS_TEXT, "ORIGIN"},                    /* draft-johnston-tram-stun-origin */
    {STUN_ATTR_MOBILITY_TICKET, WORDS_TICKET, "MOBILITY-TICKET"},
    {0x8032, WORDS_FAMILY, "ADDITIONAL-ADDRESS-FAMILY (old number)"}, /* of drafts; coturn has it */
    {0x8033, WORDS_ADDRESS_ERROR, "ADDRESS-ERROR-CODE (old number)"},
    {0xC000, WORDS_BYTES, "CISCO-STUN-FLOWDATA"},
    {0xC001, WORDS_BYTES, "ENF-FLOW-DESCRIPTION"},
    {0xC002, WORDS_BYTES, "ENF-NETWORK-STATUS"},
    {0xC003, WORDS_BYTES, "CISCO-WEBEX-FLOW-INFO"},
    {0xC056, WORDS_BYTES, "CITRIX-TRANSACTION-ID"},
    {0xC057, WORDS_NUMBER, "GOOG-NETWORK-INFO"},
    {0xC058, WORDS_BYTES, "GOOG-LAST-ICE-CHECK-RECEIVED"},
    {0xC059, WORDS_BYTES, "GOOG-MISC-INFO"},
    {0xC05A, WORDS_BYTES, "GOOG-OBSOLETE-1"},
    {0xC05B, WORDS_NUMBER, "GOOG-CONNECTION-ID"},
    {0xC05C, WORDS_BYTES, "GOOG-DELTA"},
    {0xC05D, WORDS_BYTES, "GOOG-DELTA-ACK"},
    {0xC05E, WORDS_BYTES, "GOOG-DELTA-SYNC-REQ"},
    {0xC060, WORDS_BYTES, "GOOG-MESSAGE-INTEGRITY-32"},
    {0xC070, WORDS_BYTES, "META-DTLS-IN-STUN"},
    {0xC071, WORDS_BYTES, "META-DTLS-IN-STUN-ACKNOWLEDGEMENT"},
};

const struct words_attr *words_find_attr(unsigned type)
{
    for (size_t i = 0; i < COUNT(attrs); i++)
        if (attrs[i].type == type)
            return &attrs[i];
    return NULL;
}

const char *words_attr(unsigned type)
{
    const struct words_attr *attr = words_find_attr(type);

    return attr ? attr->name : NULL;
}

const char *words_protocol(unsigned protocol)
{
    return protocol == STUN_TRANSPORT_UDP ? "UDP" : protocol == STUN_TRANSPORT_TCP ? "TCP" : NULL;
}

struct words_error {
    uint16_t code;
    const char *phrase, *meaning;
};

static const struct words_error errors[] = {
    {300, "Try Alternate", "the server asks to use another server instead"},
    {400, "Bad Request", "the server did not understand the request"},
    {401, "Unauthenticated",
     "the server wants a user and a password; if both were given, one of them is wrong"},
    {403, "Forbidden",
     "the server's policy forbids this peer address or operation: ask its administrator to allow "
     "it (coturn: allowed-peer-ip, allow-loopback-peers)"},
    {405, "Mobility Forbidden", "the server does not let allocations move to other addresses"},
    {420, "Unknown Attribute", "the server does not know something that the request asked for"},
    {437, "Allocation Mismatch",
     "the allocation is gone (expired, or the server was restarted), or there is one already: "
     "start again"},
    {438, "Stale Nonce", "the server's nonce has expired; it is taken anew by itself"},
    {440, "Address Family not Supported",
     "the server has no relayed addresses of this family (IPv4 or IPv6)"},
    {441, "Wrong Credentials", "the allocation was made by another user"},
    {442, "Unsupported Transport Protocol",
     "the server does not relay this protocol (for TCP, coturn must run without no-tcp-relay)"},
    {443, "Peer Address Family Mismatch",
     "the peer's address and the relayed address are of different families (IPv4 and IPv6)"},
    {446, "Connection Already Exists", "there is a connection to this peer already"},
    {447, "Connection Timeout or Failure", "the server could not connect to the peer"},
    {486, "Allocation Quota Reached",
     "this user has as many allocations as the server permits: wait until older ones expire, or "
     "raise user-quota"},
    {487, "Role Conflict", "both sides of ICE believe to be in control"},
    {500, "Server Error", "the server has a problem of its own: try again later"},
    {508, "Insufficient Capacity",
     "the server has no relayed address or port left: try again later, or another server"},
};

static const struct words_error *find_error(unsigned code)
{
    for (size_t i = 0; i < COUNT(errors); i++)
        if (errors[i].code == code)
            return &errors[i];
    return NULL;
}

const char *words_error(unsigned code)
{
    const struct words_error *error = find_error(code);

    return error ? error->phrase : NULL;
}

const char *words_error_meaning(unsigned code)
{
    const struct words_error *error = find_error(code);

    return error ? error->meaning : NULL;
}
