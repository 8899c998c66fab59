/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The platform that lwIP runs on. Its clock is the event loop's, handed in once a batch: lwIP asks
 * for the time with every segment, and a system call each time would cost more than the segment.
 * So a test that sets the clock itself runs lwIP in virtual time.
 *
 * Initial sequence numbers follow RFC 6528: a clock of 4 microseconds plus a keyed hash over the
 * connection's addresses and ports. The hash is SipHash-2-4 with a key made at start; whoever
 * cannot see our packets cannot guess a sequence number, and a connection that reuses the ports
 * of an earlier one still starts above it.
 *
 * lwIP is full of global state; the few variables here are part of it.
 */
#include "lwip_port.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lwip/init.h"
#include "lwip/ip_addr.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"

/* Set by lwip_port_init() and lwip_port_advance(). */
static bool started;
static uint64_t clock_us;
static uint64_t isn_key[2];

u32_t sys_now(void)
{
    return (u32_t)(clock_us / 1000);
}

/* All of buf, or an errno: getrandom() may stop early only for requests above 256 bytes. */
static int random_fill(void *buf, size_t len)
{
    ssize_t n;
    do {
        n = getrandom(buf, len, 0);
    } while (n < 0 && errno == EINTR);
    return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
}

uint32_t lwip_port_random(void)
{
    uint32_t value;
    if (random_fill(&value, sizeof value) < 0)
        lwip_port_assert_failed("no random numbers", __FILE__, __LINE__);
    return value;
}

void lwip_port_assert_failed(const char *message, const char *file, int line)
{
    fprintf(stderr, "lwIP: %s (%s:%d)\n", message, file, line);
    abort();
}

int lwip_port_init(uint64_t now_us)
{
    clock_us = now_us;
    if (started)
        return 0;
    int r = random_fill(isn_key, sizeof isn_key);
    if (r < 0)
        return r;
    lwip_init();
    started = true;
    return 0;
}

void lwip_port_advance(uint64_t now_us)
{
    clock_us = now_us;
    sys_check_timeouts();
}

uint64_t lwip_port_next_timer(void)
{
    u32_t ms = sys_timeouts_sleeptime();
    return ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? UINT64_MAX : (uint64_t)ms * 1000;
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], unsigned rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
    }
}

/* SipHash-2-4 of whole 64-bit words: our messages have no odd bytes at their end. */
static uint64_t sip_hash(const uint64_t key[2], const uint64_t *words, size_t count)
{
    uint64_t v[4] = {
        key[0] ^ UINT64_C(0x736f6d6570736575),
        key[1] ^ UINT64_C(0x646f72616e646f6d),
        key[0] ^ UINT64_C(0x6c7967656e657261),
        key[1] ^ UINT64_C(0x7465646279746573),
    };
    for (size_t i = 0; i < count; i++) {
        v[3] ^= words[i];
        sip_rounds(v, 2);
        v[0] ^= words[i];
    }
    uint64_t length = (uint64_t)count * 8 << 56;
    v[3] ^= length;
    sip_rounds(v, 2);
    v[0] ^= length;
    v[2] ^= 0xff;
    sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* An address as two words, IPv4 in the manner of IPv4-mapped IPv6 addresses. */
static void address_words(const ip_addr_t *address, uint64_t words[2])
{
    if (IP_IS_V4(address)) {
        words[0] = 0;
        words[1] = UINT64_C(0xffff) << 32 | ip_2_ip4(address)->addr;
    } else {
        memcpy(words, ip_2_ip6(address)->addr, 16);
    }
}

uint32_t lwip_port_isn(const struct ip_addr *local_ip, uint16_t local_port,
                       const struct ip_addr *remote_ip, uint16_t remote_port)
{
    uint64_t words[5];
    address_words(local_ip, words);
    address_words(remote_ip, words + 2);
    words[4] = (uint64_t)local_port << 16 | remote_port;
    return (uint32_t)(clock_us / 4 + sip_hash(isn_key, words, 5));
}
