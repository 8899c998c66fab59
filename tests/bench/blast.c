/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What a TURN server can relay at most: frames go out by one allocation and come back by another,
 * whose sockets (descriptors 3 and 4, connected to the server, channels bound) are inherited. So
 * many are under way, so the server always has work, and never more than its buffers hold; no
 * protocol, no copy, one process for both ends, many frames a system call. What has not come after
 * LOST_MS of silence is lost.
 *
 *     blast CHANNEL BYTES WINDOW SECONDS
 *
 * Prints the count of what came, the seconds, and how many frames were lost.
 */
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define OUT       3
#define IN        4
#define HEAD      4 /* of ChannelData */
#define BATCH     64
#define BYTES_MAX 2048
#define LOST_MS   20

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Equal datagrams as one, cut by the system. */
static void send_frames(const uint8_t *frame, size_t len, unsigned count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.bytes = {0}};
    struct iovec iov[BATCH];
    struct msghdr header = {.msg_iov = iov,
                            .msg_iovlen = count,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    uint16_t size = (uint16_t)len;

    for (unsigned i = 0; i < count; i++)
        iov[i] = (struct iovec){(void *)(uintptr_t)frame, len};
    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(size));
    memcpy(CMSG_DATA(c), &size, sizeof(size));
    if (sendmsg(OUT, &header, 0) < 0) {
        perror("blast: sending");
        exit(1);
    }
}

/* How many have come; waits for the first. */
static unsigned receive_frames(void)
{
    static uint8_t bytes[BATCH][BYTES_MAX];
    static struct mmsghdr headers[BATCH];
    static struct iovec iov[BATCH];
    struct pollfd wait = {.fd = IN, .events = POLLIN};
    unsigned data = 0;
    int n;

    for (int i = 0; i < BATCH; i++) {
        iov[i] = (struct iovec){bytes[i], BYTES_MAX};
        headers[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
    }
    if (poll(&wait, 1, LOST_MS) <= 0)
        return 0;
    n = recvmmsg(IN, headers, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++)
        data += (bytes[i][0] & 0xC0) == 0x40;
    return data;
}

int main(int argc, char **argv)
{
    uint8_t frame[BYTES_MAX] = {0};
    unsigned channel, size, window, flying = 0, heap;
    uint64_t came = 0, lost = 0;
    double start, end;

    if (argc != 5)
        return 2;
    channel = (unsigned)strtoul(argv[1], NULL, 0);
    size = (unsigned)atoi(argv[2]);
    window = (unsigned)atoi(argv[3]);
    if (size == 0 || size > BYTES_MAX - HEAD || window == 0)
        return 2;
    frame[0] = (uint8_t)(channel >> 8);
    frame[1] = (uint8_t)channel;
    frame[2] = (uint8_t)(size >> 8);
    frame[3] = (uint8_t)size;
    heap = 60000 / (size + HEAD) < BATCH ? 60000 / (size + HEAD) : BATCH;
    start = now();
    end = start + atof(argv[4]);
    while (now() < end) {
        unsigned n;

        while (flying < window) {
            n = window - flying < heap ? window - flying : heap;
            send_frames(frame, size + HEAD, n);
            flying += n;
        }
        n = receive_frames();
        if (n == 0) {
            lost += flying;
            flying = 0;
        }
        came += n;
        flying -= n < flying ? n : flying; /* late ones were counted as lost */
    }
    printf("{\"packets\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"lost\": %llu}\n",
           (unsigned long long)came, (unsigned long long)came * size, now() - start,
           (unsigned long long)lost);
    return 0;
}
