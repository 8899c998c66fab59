/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * How the load generator moves bytes: as cheaply as the kernel lets it, or checked one by one; and
 * the little that its client and its server share.
 */
#include "load.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <unistd.h>

uint8_t *load_buffer;
volatile sig_atomic_t load_stopping;
static int source_fd = -1;

void die(const char *format, ...)
{
    va_list ap;

    fputs("load: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

socklen_t addr_len(const struct sockaddr_storage *a)
{
    return a->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
}

/* ADDR:PORT or [ADDR]:PORT, numeric. */
void addr_parse(char *text, struct sockaddr_storage *out)
{
    char *colon = strrchr(text, ':');
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;

    if (colon == NULL)
        die("%s: not ADDR:PORT", text);
    *colon = '\0';
    if (text[0] == '[' && colon > text && colon[-1] == ']') {
        colon[-1] = '\0';
        text++;
    }
    if (getaddrinfo(text, colon + 1, &hints, &found) != 0)
        die("%s: not an address", text);
    memcpy(out, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
}

void watch(int ep, struct conn *c, uint32_t events, int op)
{
    struct epoll_event ev = {.events = events, .data.ptr = c};

    if (epoll_ctl(ep, op, c->fd, &ev) != 0)
        die("epoll_ctl: %s", strerror(errno));
}

/* ---- the pattern: byte i of a stream is byte i%8 of mix(seed, i/8) ------------------------------
 */

static uint64_t mix(uint64_t seed, uint64_t word)
{
    uint64_t x = (word + seed) * 0x9e3779b97f4a7c15u;

    return x ^ (x >> 29);
}

void pattern_fill(uint8_t *out, size_t len, uint64_t seed, uint64_t offset)
{
    size_t i = 0;

    while (i < len) {
        uint64_t v = mix(seed, (offset + i) / 8);
        unsigned skip = (offset + i) % 8;
        size_t n = 8 - skip < len - i ? 8 - skip : len - i;

        if (n == 8)
            memcpy(out + i, &v, 8);
        else
            memcpy(out + i, (uint8_t *)&v + skip, n);
        i += n;
    }
}

/* -1 if all is as it should be, else the offset of the first wrong byte. */
static int64_t pattern_check(const uint8_t *in, size_t len, uint64_t seed, uint64_t offset)
{
    size_t i = 0;

    while (i < len) {
        uint64_t v = mix(seed, (offset + i) / 8);
        unsigned skip = (offset + i) % 8;
        size_t n = 8 - skip < len - i ? 8 - skip : len - i;

        if (n == 8 ? memcmp(in + i, &v, 8) != 0 : memcmp(in + i, (uint8_t *)&v + skip, n) != 0) {
            while (in[i] == ((uint8_t *)&v)[(offset + i) % 8])
                i++;
            return (int64_t)(offset + i);
        }
        i += n;
    }
    return -1;
}

/* ---- moving bytes -------------------------------------------------------------------------------
 */

/* Sends towards request.bytes. 1: all sent, 0: later, -1: failed (errno). */
int source_step(struct conn *c)
{
    for (int i = 0; i < BURST; i++) {
        uint64_t left = c->request.bytes == 0 ? CHUNK_BYTES : c->request.bytes - c->done;
        ssize_t n;

        if (left == 0)
            return 1;
        if (c->request.verify) {
            size_t len = left < PATTERN_BYTES ? left : PATTERN_BYTES;
            pattern_fill(load_buffer, len, c->request.seed, c->done);
            n = send(c->fd, load_buffer, len, MSG_NOSIGNAL);
        } else {
            size_t len = left < CHUNK_BYTES ? left : CHUNK_BYTES;
            if (c->source_at >= SOURCE_BYTES)
                c->source_at = 0;
            n = sendfile(c->fd, source_fd, &c->source_at, len);
        }
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        c->done += (uint64_t)n;
    }
    return c->request.bytes != 0 && c->done == c->request.bytes;
}

/* Receives towards request.bytes. 1: all here, 0: later, -1: failed, or ended early (errno 0). */
int sink_step(struct conn *c)
{
    for (int i = 0; i < BURST; i++) {
        uint64_t left = c->request.bytes == 0 ? CHUNK_BYTES : c->request.bytes - c->done;
        ssize_t n;

        if (left == 0)
            return 1;
        if (c->request.verify)
            n = recv(c->fd, load_buffer, left < PATTERN_BYTES ? left : PATTERN_BYTES, 0);
        else
            n = recv(c->fd, load_buffer, left < CHUNK_BYTES ? left : CHUNK_BYTES, MSG_TRUNC);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
        if (n == 0) {
            errno = 0;
            return -1;
        }
        if (c->request.verify) {
            int64_t wrong = pattern_check(load_buffer, (size_t)n, c->request.seed, c->done);
            if (wrong >= 0) {
                fprintf(stderr, "load: wrong byte at offset %lld of stream %llu\n",
                        (long long)wrong, (unsigned long long)c->request.seed);
                errno = EBADMSG;
                return -1;
            }
        }
        c->done += (uint64_t)n;
    }
    return c->request.bytes != 0 && c->done == c->request.bytes;
}

void load_prepare(void)
{
    struct rlimit files;

    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    source_fd = memfd_create("source", 0);
    load_buffer = malloc(CHUNK_BYTES);
    if (source_fd < 0 || load_buffer == NULL)
        die("no memory: %s", strerror(errno));
    for (int at = 0; at < SOURCE_BYTES; at += CHUNK_BYTES) {
        pattern_fill(load_buffer, CHUNK_BYTES, 1, (uint64_t)at);
        if (pwrite(source_fd, load_buffer, CHUNK_BYTES, at) != CHUNK_BYTES)
            die("memfd: %s", strerror(errno));
    }
}
