/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The value of one attribute, in words, by its kind (words_names.c). Values are read by the codec's
 * readers; what they refuse is malformed, and shown as bytes by the caller.
 */
#include <inttypes.h>

#include "stun/channel.h"
#include "stun/credentials.h"
#include "stun/words_int.h"

static const char *family_name(int family)
{
    return family == AF_INET ? "IPv4" : "IPv6";
}

static bool add_address(struct words *w, int result, const struct addr *addr)
{
    char text[ADDR_TEXT_MAX];

    if (result == 0)
        words_add(w, " %s", addr_format(addr, text));
    return result == 0;
}

static void add_error(struct words *w, const struct stun_error *error)
{
    const char *phrase = words_error(error->code);

    words_add(w, " %u ", error->code);
    words_add_text(w, error->reason.bytes, error->reason.len);
    if (phrase)
        words_add(w, " (%s)", phrase);
}

static bool add_types(struct words *w, const struct stun_attr *attr)
{
    uint16_t types[STUN_UNKNOWN_MAX];
    size_t count;

    if (stun_read_unknown(attr, types, &count) != 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *name = words_attr(types[i]);

        words_add(w, "%s %s%s0x%04x%s", i ? "," : "", name ? name : "", name ? " (" : "", types[i],
                  name ? ")" : "");
    }
    if (attr->len / 2u > count)
        words_add(w, ", ...");
    return true;
}

static bool add_seconds(struct words *w, const struct stun_message *m, const struct stun_attr *attr)
{
    uint32_t seconds;

    if (stun_read_u32(attr, &seconds) != 0)
        return false;
    words_add(w, " %" PRIu32 " s", seconds);
    if (seconds == 0 && m->method == STUN_METHOD_REFRESH)
        words_add(w, m->class == STUN_REQUEST ? ": delete the allocation" : ": deleted");
    return true;
}

static bool add_number(struct words *w, const struct stun_attr *attr)
{
    uint32_t value;

    if (stun_read_u32(attr, &value) != 0)
        return false;
    words_add(w, " %" PRIu32 " (0x%08" PRIx32 ")", value, value);
    return true;
}

static bool add_number64(struct words *w, const struct stun_attr *attr)
{
    uint64_t value;

    if (stun_read_u64(attr, &value) != 0)
        return false;
    words_add(w, " tie-breaker 0x%016" PRIx64, value);
    return true;
}

static bool add_text(struct words *w, const struct stun_attr *attr, bool is_nonce)
{
    struct stun_bytes text;
    uint32_t features;

    if (stun_read_bytes(attr, &text) != 0)
        return false;
    words_add(w, " ");
    words_add_text(w, text.bytes, text.len);
    if (!is_nonce || !stun_nonce_features(text, &features))
        return true;
    words_add(w, " (the server has: %s%s%s)",
              features & STUN_FEATURE_ALGORITHMS ? "password algorithms" : "",
              features & STUN_FEATURE_ALGORITHMS && features & STUN_FEATURE_ANONYMITY ? ", " : "",
              features & STUN_FEATURE_ANONYMITY    ? "user name anonymity"
              : features & STUN_FEATURE_ALGORITHMS ? ""
                                                   : "no security features");
    return true;
}

static bool add_data(struct words *w, const struct stun_attr *attr)
{
    struct stun_message inner;
    char summary[WORDS_SUMMARY_MAX];

    words_add(w, " ");
    words_add_data(w, attr->value, attr->len);
    if (attr->len > 0 && stun_parse_datagram(attr->value, attr->len, &inner) == 0)
        words_add(w, ": a STUN message, %s", words_summary(&inner, summary));
    return true;
}

static bool add_channel(struct words *w, const struct stun_attr *attr)
{
    uint16_t number;

    if (stun_read_channel(attr, &number) != 0)
        return false;
    words_add(w, " 0x%04x", number);
    if (!channel_is_number(number))
        words_add(w, number > CHANNEL_LAST && number <= 0x7FFF
                         ? " (of RFC 5766, which RFC 8656 has not)"
                         : ", which is no channel's");
    return true;
}

static bool add_even_port(struct words *w, const struct stun_attr *attr)
{
    bool reserve;

    if (stun_read_even_port(attr, &reserve) != 0)
        return false;
    words_add(w, reserve ? ", and the next port reserved" : ", no port reserved");
    return true;
}

static bool add_transport(struct words *w, const struct stun_attr *attr)
{
    uint8_t protocol;

    if (stun_read_transport(attr, &protocol) != 0)
        return false;
    words_add(w, " %s", words_protocol(protocol) ? words_protocol(protocol) : "protocol");
    words_add(w, " (%u)", protocol);
    return true;
}

static bool add_family(struct words *w, const struct stun_attr *attr)
{
    int family;

    if (stun_read_family(attr, &family) != 0)
        return false;
    words_add(w, " %s", family_name(family));
    return true;
}

static bool add_port(struct words *w, const struct stun_attr *attr)
{
    uint16_t port;

    if (stun_read_port(attr, &port) != 0)
        return false;
    words_add(w, " %u", port);
    return true;
}

static bool add_icmp(struct words *w, const struct stun_attr *attr)
{
    struct stun_icmp icmp;

    if (stun_read_icmp(attr, &icmp) != 0)
        return false;
    words_add(w, " type %u code %u", icmp.type, icmp.code);
    if ((icmp.type == 3 && icmp.code == 4) || (icmp.type == 2 && icmp.code == 0))
        words_add(w, ": packet too big, MTU %" PRIu32, icmp.data);
    else if (icmp.data != 0)
        words_add(w, ", data 0x%08" PRIx32, icmp.data);
    return true;
}

static void add_algorithm(struct words *w, const struct stun_algorithm *algorithm)
{
    if (algorithm->id == STUN_ALGORITHM_MD5)
        words_add(w, " MD5");
    else if (algorithm->id == STUN_ALGORITHM_SHA256)
        words_add(w, " SHA-256");
    else
        words_add(w, " unknown algorithm %u", algorithm->id);
    if (algorithm->parameters.len > 0) {
        words_add(w, " with ");
        words_add_hex(w, algorithm->parameters.bytes, algorithm->parameters.len);
    }
}

static bool add_algorithms(struct words *w, const struct stun_attr *attr)
{
    struct stun_algorithm algorithms[STUN_ALGORITHMS_MAX];
    size_t count;

    if (stun_read_algorithms(attr, algorithms, &count) != 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            words_add(w, ",");
        add_algorithm(w, &algorithms[i]);
    }
    return true;
}

static bool add_change(struct words *w, const struct stun_attr *attr)
{
    uint32_t change;

    if (stun_read_u32(attr, &change) != 0)
        return false;
    words_add(w, "%s%s%s", change & STUN_CHANGE_IP ? " answer from the other address" : "",
              change & STUN_CHANGE_IP && change & STUN_CHANGE_PORT ? " and" : "",
              change & STUN_CHANGE_PORT ? " answer from the other port" : "");
    if (!(change & (STUN_CHANGE_IP | STUN_CHANGE_PORT)))
        words_add(w, " nothing");
    return true;
}

/* Integrities: verified where there is a key, else shown. */
static bool add_verdict(struct words *w, const struct stun_attr *attr, bool well_formed,
                        enum stun_verdict verdict)
{
    if (!well_formed)
        return false;
    words_add(w, " ");
    words_add_hex(w, attr->value, attr->len);
    if (verdict != STUN_VERDICT_ABSENT)
        words_add(w, verdict == STUN_VERDICT_GOOD ? ", right" : ", WRONG");
    return true;
}

bool words_add_value(struct words *w, const struct stun_message *m, const struct stun_attr *attr,
                     enum words_kind kind)
{
    struct stun_algorithm algorithm;
    struct stun_error error;
    struct addr addr;
    int family;

    switch (kind) {
    case WORDS_ADDRESS:
        return add_address(w, stun_read_address(attr, &addr), &addr);
    case WORDS_XOR_ADDRESS:
        return add_address(w, stun_read_xor_address(attr, &m->id, &addr), &addr);
    case WORDS_ERROR:
        if (stun_read_error(attr, &error) != 0)
            return false;
        add_error(w, &error);
        return true;
    case WORDS_ADDRESS_ERROR:
        if (stun_read_address_error(attr, &family, &error) != 0)
            return false;
        words_add(w, " %s:", family_name(family));
        add_error(w, &error);
        return true;
    case WORDS_TYPES:
        return add_types(w, attr);
    case WORDS_SECONDS:
        return add_seconds(w, m, attr);
    case WORDS_NUMBER:
        return add_number(w, attr);
    case WORDS_NUMBER64:
        return add_number64(w, attr);
    case WORDS_TEXT:
    case WORDS_NONCE:
        return add_text(w, attr, kind == WORDS_NONCE);
    case WORDS_DATA:
        return add_data(w, attr);
    case WORDS_CHANNEL:
        return add_channel(w, attr);
    case WORDS_EVEN_PORT:
        return add_even_port(w, attr);
    case WORDS_TRANSPORT:
        return add_transport(w, attr);
    case WORDS_FAMILY:
        return add_family(w, attr);
    case WORDS_FLAG:
        return attr->len == 0;
    case WORDS_TOKEN:
        return add_verdict(w, attr, attr->len == STUN_TOKEN_BYTES, STUN_VERDICT_ABSENT);
    case WORDS_USERHASH:
        return add_verdict(w, attr, attr->len == STUN_USERHASH_BYTES, STUN_VERDICT_ABSENT);
    case WORDS_PORT:
        return add_port(w, attr);
    case WORDS_ICMP:
        return add_icmp(w, attr);
    case WORDS_ALGORITHM:
        if (stun_read_algorithm(attr, &algorithm) != 0)
            return false;
        add_algorithm(w, &algorithm);
        return true;
    case WORDS_ALGORITHMS:
        return add_algorithms(w, attr);
    case WORDS_CHANGE:
        return add_change(w, attr);
    case WORDS_INTEGRITY:
        return add_verdict(w, attr, attr->len == STUN_INTEGRITY_BYTES,
                           w->key ? stun_check_integrity(m, w->key) : STUN_VERDICT_ABSENT);
    case WORDS_INTEGRITY_SHA256:
        return add_verdict(w, attr,
                           attr->len >= STUN_INTEGRITY_SHA256_MIN &&
                               attr->len <= STUN_INTEGRITY_SHA256_BYTES && attr->len % 4 == 0,
                           w->key ? stun_check_integrity_sha256(m, w->key) : STUN_VERDICT_ABSENT);
    case WORDS_FINGERPRINT:
        return add_verdict(w, attr, attr->len == 4, stun_check_fingerprint(m));
    case WORDS_TICKET:
        if (attr->len == 0)
            words_add(w, " wanted");
        else
            return add_data(w, attr);
        return true;
    case WORDS_BYTES:
        words_add(w, " ");
        words_add_data(w, attr->value, attr->len);
        return true;
    }
    return false;
}
