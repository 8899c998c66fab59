/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * "adit1", then in base32: items of type, length, value; then the first four bytes of the SHA-256
 * of "adit1" and the items. The checksum is against accidents: a lost line, a wrong letter. It
 * protects nothing from a forger, and need not: a ticket comes from whoever one trusts for it, over
 * a channel of one's choice.
 *
 *     type 1 byte | length 1 byte below 128, else 2 bytes with the top bit set | value
 *
 * Items of unknown types are skipped, so that a later version can add some without a new prefix;
 * single items that come twice are malformed. Lists keep their order and their first TICKET_..._MAX
 * items. All texts are checked here, once: no control characters (they end up on terminals and in
 * logs), URLs and credentials printable ASCII without spaces, names UTF-8.
 *
 * Pure functions. A ticket holds secrets: the buffers on the way are wiped.
 */
#include "config/ticket.h"

#include <errno.h>
#include <string.h>

#include "crypto/base32.h"
#include "crypto/hash.h"

#define PREFIX         "adit1"
#define PREFIX_LEN     5
#define CHECKSUM_BYTES 4
#define ITEM_MAX       0x7fff

/* Append only. */
enum item_type {
    ITEM_ID = 1,      /* 32 bytes */
    ITEM_ADDRESS = 2, /* IP, 4 or 16 bytes; port, 2 */
    ITEM_HOST = 3,    /* port, 2 bytes; host name */
    ITEM_BROKER = 4,  /* URL */
    ITEM_TURN = 5,    /* length, 1 byte, and URL; length, 1 byte, and user; password */
    ITEM_SECRET = 6,  /* 16 bytes */
    ITEM_EXPIRY = 7,  /* seconds since 1970, 1 to 8 bytes, the first not 0 */
    ITEM_NAME = 8,    /* UTF-8 */
};

/* --- Checks, for both directions --- */

static bool is_word(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] > '~')
            return false;
    return true;
}

/* Bytes of the well-formed UTF-8 sequence at the start (RFC 3629), 0 if there is none; *point is
 * its character. */
static size_t utf8_sequence(const uint8_t *bytes, size_t len, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = bytes[0] < 0x80   ? 1
               : bytes[0] < 0xc0 ? 0
               : bytes[0] < 0xe0 ? 2
               : bytes[0] < 0xf0 ? 3
               : bytes[0] < 0xf8 ? 4
                                 : 0;

    if (n == 0 || n > len)
        return 0;
    *point = n == 1 ? bytes[0] : bytes[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((bytes[i] & 0xc0) != 0x80)
            return 0;
        *point = *point << 6 | (bytes[i] & 0x3f);
    }
    if (*point < least[n] || *point > 0x10ffff || (*point >= 0xd800 && *point <= 0xdfff))
        return 0;
    return n;
}

/* UTF-8 without control characters: not C0, DEL, C1, line separators or changes of direction. */
static bool is_name(const char *text, size_t len)
{
    const uint8_t *bytes = (const uint8_t *)text;

    while (len > 0) {
        uint32_t point;
        size_t n = utf8_sequence(bytes, len, &point);

        if (n == 0 || point < 0x20 || (point >= 0x7f && point < 0xa0) ||
            (point >= 0x200e && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
            (point >= 0x2066 && point <= 0x2069))
            return false;
        bytes += n;
        len -= n;
    }
    return true;
}

/* --- Reading --- */

struct reader {
    const uint8_t *at, *end;
};

static uint16_t get_port(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* The next item. False: at the end, or it is cut short or written oddly (*bad). */
static bool next_item(struct reader *reader, uint8_t *type, struct reader *value, bool *bad)
{
    size_t left = (size_t)(reader->end - reader->at), head = 2, len;

    if (left == 0)
        return false;
    *bad = true;
    if (left < 2)
        return false;
    len = reader->at[1];
    if (len & 0x80) {
        if (left < 3)
            return false;
        len = (len & 0x7f) << 8 | reader->at[2];
        head = 3;
        if (len < 0x80)
            return false;
    }
    if (left - head < len)
        return false;
    *type = reader->at[0];
    value->at = reader->at + head;
    value->end = value->at + len;
    reader->at = value->end;
    *bad = false;
    return true;
}

/* Copies the rest of the reader as a text of at most max characters. */
static bool get_word(const struct reader *value, char *text, size_t min, size_t max)
{
    size_t len = (size_t)(value->end - value->at);

    if (len < min || len > max || !is_word((const char *)value->at, len))
        return false;
    memcpy(text, value->at, len);
    text[len] = '\0';
    return true;
}

/* Splits off a part with a length byte in front. */
static bool get_part(struct reader *value, struct reader *part)
{
    size_t left = (size_t)(value->end - value->at);

    if (left == 0 || value->at[0] > left - 1)
        return false;
    part->at = value->at + 1;
    part->end = part->at + value->at[0];
    value->at = part->end;
    return true;
}

static bool get_address(const struct reader *value, struct target *target)
{
    size_t ip_len = (size_t)(value->end - value->at) - 2;

    memset(target, 0, sizeof *target);
    target->addr.family = ip_len == 4 ? AF_INET : AF_INET6;
    memcpy(target->addr.ip.bytes, value->at, ip_len);
    target->port = target->addr.port = get_port(value->at + ip_len);
    return target->port != 0;
}

/* A name, and not an address written as one: each has one form. */
static bool get_host(const struct reader *value, struct target *target)
{
    size_t len = (size_t)(value->end - value->at);

    return len >= 3 &&
           target_set(target, (const char *)value->at + 2, len - 2, get_port(value->at)) == 0 &&
           target->name[0] != '\0';
}

static bool get_turn(struct reader value, struct ticket_turn *turn)
{
    struct reader url, user;

    return get_part(&value, &url) && get_part(&value, &user) &&
           get_word(&url, turn->url, 1, TICKET_URL_MAX) &&
           get_word(&user, turn->user, 0, TICKET_USER_MAX) &&
           get_word(&value, turn->password, 0, TICKET_PASSWORD_MAX);
}

static bool get_expiry(const struct reader *value, uint64_t *expiry)
{
    size_t len = (size_t)(value->end - value->at);

    if (len < 1 || len > 8 || value->at[0] == 0)
        return false;
    *expiry = 0;
    for (size_t i = 0; i < len; i++)
        *expiry = *expiry << 8 | value->at[i];
    return true;
}

/* Takes one item into the ticket. False: impossible. What a list has no place for is checked and
 * forgotten. */
static bool take_item(struct ticket *ticket, uint8_t type, const struct reader *value)
{
    size_t len = (size_t)(value->end - value->at);
    /* All of it zero: copied whole into the ticket, which must not carry bytes of the stack. */
    struct target target = {0};
    struct ticket_turn turn = {0};
    char url[TICKET_URL_MAX + 1] = {0};

    switch (type) {
    case ITEM_ID:
        if (len != sizeof ticket->id.key)
            return false;
        memcpy(ticket->id.key, value->at, len);
        return true;
    case ITEM_ADDRESS:
    case ITEM_HOST:
        if (type == ITEM_ADDRESS) {
            if ((len != 6 && len != 18) || !get_address(value, &target))
                return false;
        } else if (!get_host(value, &target)) {
            return false;
        }
        if (ticket->reach_count < TICKET_REACH_MAX)
            ticket->reach[ticket->reach_count++] = target;
        return true;
    case ITEM_BROKER:
        if (!get_word(value, url, 1, TICKET_URL_MAX))
            return false;
        if (ticket->broker_count < TICKET_BROKERS_MAX)
            memcpy(ticket->brokers[ticket->broker_count++], url, sizeof url);
        return true;
    case ITEM_TURN:
        if (!get_turn(*value, &turn))
            return false;
        if (ticket->turn_count < TICKET_TURN_MAX)
            ticket->turn[ticket->turn_count++] = turn;
        return true;
    case ITEM_SECRET:
        if (len != sizeof ticket->secret)
            return false;
        memcpy(ticket->secret, value->at, len);
        ticket->has_secret = true;
        return true;
    case ITEM_EXPIRY:
        return get_expiry(value, &ticket->expiry_s);
    case ITEM_NAME:
        if (len < 1 || len > TICKET_NAME_MAX || !is_name((const char *)value->at, len))
            return false;
        memcpy(ticket->name, value->at, len);
        return true;
    default: /* of a later version */
        return true;
    }
}

enum ticket_result ticket_parse_payload(const uint8_t *bytes, size_t len, struct ticket *ticket)
{
    const uint32_t single = 1u << ITEM_ID | 1u << ITEM_SECRET | 1u << ITEM_EXPIRY | 1u << ITEM_NAME;
    struct reader reader = {bytes, bytes + len}, value;
    uint32_t seen = 0;
    uint8_t type;
    bool bad = false;

    memset(ticket, 0, sizeof *ticket);
    while (!bad && next_item(&reader, &type, &value, &bad)) {
        uint32_t bit = type < 32 ? 1u << type : 0;

        bad = (seen & bit & single) || !take_item(ticket, type, &value);
        seen |= bit;
    }
    if (!bad && seen & 1u << ITEM_ID)
        return TICKET_OK;
    hash_wipe(ticket, sizeof *ticket);
    return TICKET_MALFORMED;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Whether text, lower-cased, begins with this prefix. */
static bool begins_with(const char *text, size_t len, const char *prefix)
{
    size_t i;

    for (i = 0; i < len && prefix[i]; i++)
        if (lower(text[i]) != prefix[i])
            return false;
    return prefix[i] == '\0';
}

/* Copies the text without spaces and a leading "ticket:". Its length, TICKET_TEXT_MAX + 1 when that
 * is too long. */
static size_t strip(const char *text, size_t len, char clean[TICKET_TEXT_MAX + 1])
{
    static const char label[] = "ticket:";
    size_t n = 0;

    for (size_t i = 0; i < len && n <= TICKET_TEXT_MAX; i++) {
        if (is_space(text[i]))
            continue;
        clean[n++] = text[i];
        if (n == sizeof label - 1 && begins_with(clean, n, label))
            n = 0;
    }
    return n;
}

/* The checksum covers the version too: a "1" misread stays a damaged ticket. */
static int checksum(const uint8_t *payload, size_t len, uint8_t sum[CHECKSUM_BYTES])
{
    uint8_t input[PREFIX_LEN + TICKET_PAYLOAD_MAX], hash[HASH_BYTES];
    int result;

    memcpy(input, PREFIX, PREFIX_LEN);
    memcpy(input + PREFIX_LEN, payload, len);
    result = hash_sha256(input, PREFIX_LEN + len, hash);
    memcpy(sum, hash, CHECKSUM_BYTES);
    hash_wipe(input, sizeof input);
    return result;
}

enum ticket_result ticket_parse(const char *text, size_t len, struct ticket *ticket)
{
    char clean[TICKET_TEXT_MAX + 1];
    uint8_t bytes[TICKET_PAYLOAD_MAX + CHECKSUM_BYTES], sum[CHECKSUM_BYTES];
    enum ticket_result result;
    int decoded;

    memset(ticket, 0, sizeof *ticket);
    len = strip(text, len, clean);
    if (len < PREFIX_LEN || !begins_with(clean, len, "adit") || clean[4] < '1' || clean[4] > '9') {
        result = TICKET_NOT_ONE;
        goto out;
    }
    if (clean[4] != PREFIX[4]) {
        result = TICKET_NEWER;
        goto out;
    }
    result = TICKET_DAMAGED;
    if (len > TICKET_TEXT_MAX)
        goto out;
    decoded = base32_decode(clean + PREFIX_LEN, len - PREFIX_LEN, bytes, sizeof bytes);
    if (decoded < CHECKSUM_BYTES)
        goto out;
    decoded -= CHECKSUM_BYTES;
    if (checksum(bytes, (size_t)decoded, sum) < 0 ||
        memcmp(sum, bytes + decoded, CHECKSUM_BYTES) != 0)
        goto out;
    result = ticket_parse_payload(bytes, (size_t)decoded, ticket);
out:
    hash_wipe(clean, sizeof clean);
    hash_wipe(bytes, sizeof bytes);
    return result;
}

const char *ticket_result_text(enum ticket_result result)
{
    switch (result) {
    case TICKET_OK:
        return "the ticket is good";
    case TICKET_NOT_ONE:
        return "this is not a ticket: one starts with adit1";
    case TICKET_DAMAGED:
        return "the ticket is incomplete or mistyped: copy the whole of it again";
    case TICKET_NEWER:
        return "the ticket was made by a newer adit: bring this one up to date";
    case TICKET_MALFORMED:
        return "the ticket makes no sense, though it arrived unharmed: have a new one made";
    }
    return "unknown";
}

bool ticket_looks_like_one(const char *text)
{
    size_t len;

    while (is_space(*text))
        text++;
    len = strlen(text);
    if (begins_with(text, len, "ticket:"))
        return true;
    /* A peer may be called adit1; no peer's name is as long as the shortest ticket. */
    return len > PREFIX_LEN + BASE32_TEXT_LEN(NODE_ID_BYTES) && begins_with(text, len, "adit") &&
           text[4] >= '1' && text[4] <= '9';
}

bool ticket_is_expired(const struct ticket *ticket, uint64_t now_s)
{
    return ticket->expiry_s != 0 && now_s >= ticket->expiry_s;
}

/* --- Writing --- */

struct writer {
    uint8_t bytes[TICKET_PAYLOAD_MAX + CHECKSUM_BYTES];
    size_t len;
    int result;
};

static void put(struct writer *writer, const void *bytes, size_t len)
{
    if (writer->len + len > TICKET_PAYLOAD_MAX)
        writer->result = -ENOSPC;
    if (writer->result < 0)
        return;
    memcpy(writer->bytes + writer->len, bytes, len);
    writer->len += len;
}

static void put_byte(struct writer *writer, size_t byte)
{
    put(writer, &(uint8_t){(uint8_t)byte}, 1);
}

static void put_head(struct writer *writer, enum item_type type, size_t len)
{
    put_byte(writer, type);
    if (len >= 0x80)
        put_byte(writer, 0x80 | len >> 8);
    put_byte(writer, len & 0xff);
}

static void put_port(struct writer *writer, uint16_t port)
{
    put_byte(writer, port >> 8);
    put_byte(writer, port & 0xff);
}

static void put_reach(struct writer *writer, const struct target *target)
{
    struct target check;
    size_t len = strlen(target->name);

    if (len > 0) {
        if (target_set(&check, target->name, len, target->port) < 0 || check.name[0] == '\0')
            writer->result = -EINVAL;
        put_head(writer, ITEM_HOST, 2 + len);
        put_port(writer, target->port);
        put(writer, target->name, len);
    } else {
        len = addr_ip_bytes(&target->addr);
        if (len == 0 || target->port == 0)
            writer->result = -EINVAL;
        put_head(writer, ITEM_ADDRESS, len + 2);
        put(writer, target->addr.ip.bytes, len);
        put_port(writer, target->port);
    }
}

static size_t checked_len(struct writer *writer, const char *text, size_t min)
{
    size_t len = strlen(text);

    if (len < min || !is_word(text, len))
        writer->result = -EINVAL;
    return len;
}

static void put_turn(struct writer *writer, const struct ticket_turn *turn)
{
    size_t url = checked_len(writer, turn->url, 1), user = checked_len(writer, turn->user, 0),
           password = checked_len(writer, turn->password, 0);

    put_head(writer, ITEM_TURN, 2 + url + user + password);
    put_byte(writer, url);
    put(writer, turn->url, url);
    put_byte(writer, user);
    put(writer, turn->user, user);
    put(writer, turn->password, password);
}

static void put_expiry(struct writer *writer, uint64_t expiry)
{
    size_t len = 8;

    while (expiry >> (8 * (len - 1)) == 0)
        len--;
    put_head(writer, ITEM_EXPIRY, len);
    while (len-- > 0)
        put_byte(writer, expiry >> (8 * len) & 0xff);
}

static void put_items(struct writer *writer, const struct ticket *ticket)
{
    put_head(writer, ITEM_ID, sizeof ticket->id.key);
    put(writer, ticket->id.key, sizeof ticket->id.key);
    for (size_t i = 0; i < ticket->reach_count; i++)
        put_reach(writer, &ticket->reach[i]);
    for (size_t i = 0; i < ticket->broker_count; i++) {
        size_t len = checked_len(writer, ticket->brokers[i], 1);

        put_head(writer, ITEM_BROKER, len);
        put(writer, ticket->brokers[i], len);
    }
    for (size_t i = 0; i < ticket->turn_count; i++)
        put_turn(writer, &ticket->turn[i]);
    if (ticket->has_secret) {
        put_head(writer, ITEM_SECRET, sizeof ticket->secret);
        put(writer, ticket->secret, sizeof ticket->secret);
    }
    if (ticket->expiry_s)
        put_expiry(writer, ticket->expiry_s);
    if (ticket->name[0]) {
        size_t len = strlen(ticket->name);

        if (!is_name(ticket->name, len))
            writer->result = -EINVAL;
        put_head(writer, ITEM_NAME, len);
        put(writer, ticket->name, len);
    }
}

int ticket_format(const struct ticket *ticket, char *text, size_t size)
{
    struct writer writer = {.len = 0};
    int result;

    if (ticket->reach_count > TICKET_REACH_MAX || ticket->broker_count > TICKET_BROKERS_MAX ||
        ticket->turn_count > TICKET_TURN_MAX)
        return -EINVAL;
    put_items(&writer, ticket);
    result = writer.result;
    if (result < 0)
        goto out;
    result = checksum(writer.bytes, writer.len, writer.bytes + writer.len);
    if (result < 0)
        goto out;
    writer.len += CHECKSUM_BYTES;
    result = (int)(PREFIX_LEN + BASE32_TEXT_LEN(writer.len));
    if ((size_t)result >= size) {
        result = -ENOSPC;
        goto out;
    }
    memcpy(text, PREFIX, PREFIX_LEN);
    base32_encode(writer.bytes, writer.len, text + PREFIX_LEN);
out:
    hash_wipe(&writer, sizeof writer);
    return result;
}
