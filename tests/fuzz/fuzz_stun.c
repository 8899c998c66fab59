/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: what parses is read with every reader, verified, and built again from its
 * attributes: the same bytes, but for padding. A stream is cut into frames; a frame is never longer
 * than what is there.
 */
#include <stdlib.h>
#include <string.h>

#include "stun/channel.h"
#include "stun/credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool right)
{
    if (!right)
        abort();
}

/* Addresses and errors come back the same when they are put again. */
static void put_again(const struct stun_message *m, const struct stun_attr *attr)
{
    uint8_t bytes[1024];
    struct stun_builder b;
    struct stun_message again;
    struct addr addr, addr_again;
    struct stun_icmp icmp, icmp_again;

    stun_build(&b, bytes, sizeof(bytes), m->method, m->class, &m->id);
    if (stun_read_xor_address(attr, &m->id, &addr) == 0) {
        stun_put_xor_address(&b, attr->type, &addr);
        check(stun_parse(bytes, (size_t)stun_built(&b), &again) > 0);
        check(stun_read_xor_address(&again.attrs[0], &again.id, &addr_again) == 0);
        check(addr_equal(&addr, &addr_again));
    } else if (stun_read_icmp(attr, &icmp) == 0) {
        stun_put_icmp(&b, &icmp);
        check(stun_parse(bytes, (size_t)stun_built(&b), &again) > 0);
        check(stun_read_icmp(&again.attrs[0], &icmp_again) == 0);
        check(icmp.type == icmp_again.type && icmp.code == icmp_again.code);
    }
}

static void read_all(const struct stun_message *m, const struct stun_attr *attr)
{
    struct stun_algorithm algorithms[STUN_ALGORITHMS_MAX];
    uint16_t types[STUN_UNKNOWN_MAX], u16;
    uint8_t token[STUN_TOKEN_BYTES], hash[STUN_USERHASH_BYTES], u8;
    struct stun_error error;
    struct stun_bytes part;
    struct addr addr;
    size_t count;
    uint64_t u64;
    uint32_t u32;
    bool flag;
    int family;

    check(attr->value + attr->len <= m->bytes + m->len);
    if (stun_read_bytes(attr, &part) == 0)
        check(part.len == attr->len);
    if (stun_read_error(attr, &error) == 0)
        check(error.code >= 300 && error.code < 700 && error.reason.len + 4 == attr->len);
    if (stun_read_address_error(attr, &family, &error) == 0)
        check(family == AF_INET || family == AF_INET6);
    if (stun_read_unknown(attr, types, &count) == 0)
        check(count <= STUN_UNKNOWN_MAX);
    if (stun_read_algorithms(attr, algorithms, &count) == 0)
        for (size_t i = 0; i < count; i++)
            check(algorithms[i].parameters.bytes + algorithms[i].parameters.len <=
                  attr->value + attr->len);
    stun_read_algorithm(attr, algorithms);
    stun_read_address(attr, &addr);
    stun_read_u32(attr, &u32);
    stun_read_u64(attr, &u64);
    stun_read_flag(attr);
    stun_read_channel(attr, &u16);
    stun_read_even_port(attr, &flag);
    stun_read_transport(attr, &u8);
    stun_read_family(attr, &family);
    stun_read_token(attr, token);
    stun_read_userhash(attr, hash);
    stun_read_port(attr, &u16);
    put_again(m, attr);
}

static void rebuild(const struct stun_message *m)
{
    uint8_t *bytes = malloc(m->len);
    struct stun_builder b;

    check(bytes != NULL);
    stun_build(&b, bytes, m->len, m->method, m->class, &m->id);
    for (size_t i = 0; i < m->count; i++) {
        b.last = 0; /* as it came, however wrong */
        stun_put(&b, m->attrs[i].type, m->attrs[i].value, m->attrs[i].len);
    }
    check(stun_built(&b) == (int)m->len && memcmp(bytes, m->bytes, STUN_HEADER_BYTES) == 0);
    for (size_t i = 0; i < m->count; i++)
        check(memcmp(bytes + m->attrs[i].offset, m->bytes + m->attrs[i].offset,
                     STUN_ATTR_BYTES + m->attrs[i].len) == 0);
    free(bytes);
}

static void fuzz_message(const uint8_t *data, size_t size)
{
    static const struct stun_key key = {.bytes = "key", .len = 3};
    struct credentials credentials;
    struct stun_message m;
    uint16_t unknown[2];
    struct addr addr;
    int used = stun_parse(data, size, &m);

    check(used <= (int)size);
    if (used <= 0)
        return;
    check((size_t)used == m.len && m.len % 4 == 0);
    for (size_t i = 0; i < m.count; i++)
        read_all(&m, &m.attrs[i]);
    stun_unknown_attrs(&m, unknown, 2);
    stun_read_mapped(&m, &addr);
    stun_check_integrity(&m, &key);
    stun_check_integrity_sha256(&m, &key);
    stun_check_fingerprint(&m);
    credentials_init(&credentials, "user", "password");
    if (credentials_take(&credentials, &m, false) == CREDENTIALS_RETRY) {
        uint8_t bytes[4096];
        struct stun_builder b;
        struct stun_message request;

        stun_build(&b, bytes, sizeof(bytes), STUN_METHOD_ALLOCATE, STUN_REQUEST, &m.id);
        credentials_sign(&credentials, &b);
        check(stun_built(&b) > 0 && stun_parse_datagram(bytes, b.len, &request) == 0);
        check(credentials_check(&credentials, &request) == STUN_VERDICT_GOOD);
    }
    rebuild(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct channel_data channel;
    int used;

    fuzz_message(data, size);
    while ((used = stun_frame(data, size)) > 0) {
        check((size_t)used <= size && used % 4 == 0);
        if (channel_parse(data, (size_t)used, &channel) > 0)
            check(channel.data + channel.len <= data + used);
        data += used;
        size -= (size_t)used;
    }
    return 0;
}
