/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * One UDP socket and one libevent event. A question is answered by a packet made by hand (RFC
 * 1035 4.1): the question repeated, a CNAME if the table has one, and the addresses. Held-back
 * answers wait in a list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "dns_server.h"

#define HELD_MAX 64

struct held {
    int family;
    struct sockaddr_storage to;
    socklen_t to_len;
    uint8_t packet[1024];
    size_t len;
};

struct dns_server {
    int fd;
    struct event *event;
    const struct dns_record *records;
    unsigned *seen[2];
    unsigned questions;
    bool hold[2];
    struct held *held;
    size_t held_count;
};

struct packet {
    uint8_t bytes[1024];
    size_t len;
};

static void put8(struct packet *p, unsigned v)
{
    p->bytes[p->len++] = (uint8_t)v;
}

static void put16(struct packet *p, unsigned v)
{
    put8(p, v >> 8);
    put8(p, v & 255);
}

static void put_name(struct packet *p, const char *name)
{
    while (*name) {
        size_t len = strcspn(name, ".");
        put8(p, (unsigned)len);
        memcpy(p->bytes + p->len, name, len);
        p->len += len;
        name += len + (name[len] == '.');
    }
    put8(p, 0);
}

static void put_record(struct packet *p, const char *name, unsigned type, uint32_t ttl)
{
    put_name(p, name);
    put16(p, type);
    put16(p, 1);
    put16(p, ttl >> 16);
    put16(p, ttl & 0xffff);
}

static unsigned put_addrs(struct packet *p, const char *name, const char *ips, uint32_t ttl)
{
    char copy[512], *save = NULL;
    unsigned count = 0;
    strcpy(copy, ips);
    for (char *ip = strtok_r(copy, " ", &save); ip; ip = strtok_r(NULL, " ", &save)) {
        struct addr addr;
        assert_int_equal(addr_parse_ip(ip, &addr), 0);
        put_record(p, name, addr.family == AF_INET ? 1 : 28, ttl);
        put16(p, (unsigned)addr_ip_bytes(&addr));
        memcpy(p->bytes + p->len, addr.ip.bytes, addr_ip_bytes(&addr));
        p->len += addr_ip_bytes(&addr);
        count++;
    }
    return count;
}

/* The question's name and where it ends. */
static size_t get_name(const uint8_t *bytes, size_t len, char name[256])
{
    size_t at = 12, out = 0;
    while (at < len && bytes[at]) {
        size_t label = bytes[at++];
        if (out)
            name[out++] = '.';
        memcpy(name + out, bytes + at, label);
        out += label;
        at += label;
    }
    name[out] = '\0';
    return at + 1;
}

static void respond(struct dns_server *server, const uint8_t *bytes, size_t len,
                    const struct sockaddr_storage *from, socklen_t from_len)
{
    char name[256];
    size_t end = get_name(bytes, len, name);
    int family = bytes[end + 1] == 1 ? AF_INET : AF_INET6, index = family == AF_INET;
    const struct dns_record *record = server->records;
    while (record->name && strcasecmp(record->name, name) != 0)
        record++;
    server->questions++;
    const char *ips = !record->name ? "" : family == AF_INET ? record->v4 : record->v6;
    if (!ips || (record->name && server->seen[index][record - server->records]++ < record->drop))
        return;

    struct packet p = {.len = 0};
    put8(&p, bytes[0]);
    put8(&p, bytes[1]);
    put16(&p, 0x8180u | (record->name ? record->rcode : 3u));
    put16(&p, 1);
    put16(&p, 0); /* answers, filled in below */
    put16(&p, 0);
    put16(&p, 0);
    memcpy(p.bytes + p.len, bytes + 12, end + 4 - 12);
    p.len += end + 4 - 12;
    unsigned count = 0;
    const char *owner = name;
    if (record->name && record->cname) {
        put_record(&p, name, 5, record->ttl);
        size_t at = p.len;
        put16(&p, 0);
        put_name(&p, record->cname);
        p.bytes[at + 1] = (uint8_t)(p.len - at - 2);
        owner = record->cname;
        count++;
    }
    count += put_addrs(&p, owner, ips, record->ttl);
    p.bytes[7] = (uint8_t)count;
    if (server->hold[index]) {
        assert_true(server->held_count < HELD_MAX);
        struct held *held = &server->held[server->held_count++];
        *held = (struct held){.family = family, .to = *from, .to_len = from_len, .len = p.len};
        memcpy(held->packet, p.bytes, p.len);
        return;
    }
    sendto(server->fd, p.bytes, p.len, 0, (const struct sockaddr *)from, from_len);
}

static void on_question(evutil_socket_t fd, short what, void *arg)
{
    uint8_t bytes[1024];
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    (void)what;
    ssize_t n = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &from_len);
    if (n > 16)
        respond(arg, bytes, (size_t)n, &from, from_len);
}

struct dns_server *dns_server_new(struct loop *loop, const struct dns_record *records)
{
    struct dns_server *server = calloc(1, sizeof *server);
    struct addr addr = addr_loopback(AF_INET, 0);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&addr, &sa);
    size_t count = 0;
    assert_non_null(server);
    while (records[count].name)
        count++;
    server->records = records;
    server->seen[0] = calloc(count + 1, sizeof(unsigned));
    server->seen[1] = calloc(count + 1, sizeof(unsigned));
    server->held = calloc(HELD_MAX, sizeof *server->held);
    server->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->fd, (struct sockaddr *)&sa, len), 0);
    server->event =
        event_new(loop_base(loop), server->fd, EV_READ | EV_PERSIST, on_question, server);
    assert_int_equal(event_add(server->event, NULL), 0);
    return server;
}

void dns_server_free(struct dns_server *server)
{
    event_free(server->event);
    close(server->fd);
    free(server->seen[0]);
    free(server->seen[1]);
    free(server->held);
    free(server);
}

struct addr dns_server_addr(const struct dns_server *server)
{
    struct addr addr;
    struct sockaddr_storage sa;
    socklen_t len = sizeof sa;
    assert_int_equal(getsockname(server->fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(addr_from_sockaddr((struct sockaddr *)&sa, len, &addr), 0);
    return addr;
}

unsigned dns_server_questions(const struct dns_server *server)
{
    return server->questions;
}

void dns_server_hold(struct dns_server *server, int family, bool hold)
{
    server->hold[family == AF_INET] = hold;
    size_t kept = 0;
    for (size_t i = 0; i < server->held_count; i++) {
        const struct held *held = &server->held[i];
        if (hold || held->family != family)
            server->held[kept++] = *held;
        else
            sendto(server->fd, held->packet, held->len, 0, (const struct sockaddr *)&held->to,
                   held->to_len);
    }
    server->held_count = kept;
}
