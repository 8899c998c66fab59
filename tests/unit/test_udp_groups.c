/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Datagrams that go through the system together (UDP_SEGMENT) or come together (UDP_GRO): a pipe
 * has to show the same messages as without. The other end is a pipe, or a plain socket that says
 * what the system was really given. Skipped where the system knows neither.
 */
#include "pipe_recorder.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "pipe/udp.h"

#define MESSAGES_MAX 512

/* What has come: each message's size, and whether its bytes were those of its number. */
struct heard {
    struct pipe *pipe;
    size_t count, sizes[MESSAGES_MAX];
    const struct block *blocks[MESSAGES_MAX];
    size_t block_bytes[MESSAGES_MAX];
    struct addr from;
    bool wrong, pauses;
};

static uint8_t byte_of(size_t message, size_t at)
{
    return (uint8_t)(message * 37 + at * 11 + (at >> 8));
}

static void fill(uint8_t *bytes, size_t message, size_t len)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_of(message, i);
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct heard *h = arg;

    assert_true(h->count < MESSAGES_MAX);
    for (size_t i = 0; i < data->len; i++)
        h->wrong |= data->data[i] != byte_of(h->count, i);
    h->blocks[h->count] = data->block;
    h->block_bytes[h->count] = data->block->size;
    h->sizes[h->count++] = data->len;
    h->from = *from;
    if (h->pauses)
        pipe_pause(pipe);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    (void)pipe;
    (void)why;
    ((struct heard *)arg)->pipe = NULL;
}

static void hear(struct heard *h, struct pipe *pipe)
{
    static const struct pipe_events events = {.message = on_message, .end = on_end};

    assert_non_null(pipe);
    *h = (struct heard){.pipe = pipe};
    assert_int_equal(pipe_add_listener(pipe, &events, h), 0);
}

static void write_message(struct pipe *pipe, const struct addr *to, size_t number, size_t len)
{
    struct block *block = block_new_sized(len);
    struct slice slice = {block, block_start(block), len};

    fill(slice.data, number, len);
    assert_int_equal(pipe_write_to(pipe, &slice, to), 0);
}

static void finish(struct loop *loop, struct heard *a, struct heard *b)
{
    for (int i = 0; i < 2; i++) {
        struct heard *h = i ? b : a;

        if (h && h->pipe)
            pipe_close(h->pipe);
        RUN_UNTIL(loop, !h || !h->pipe);
    }
    loop_free(loop);
    assert_int_equal(block_total_bytes(), 0);
}

/* A plain socket bound to the loopback, with UDP_GRO if wanted. */
static int plain_socket(int family, struct addr *at, int gro)
{
    struct addr any = addr_loopback(family, 0);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&any, &sa);
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 4 << 20;
    struct timeval patience = {60, 0};

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(addr_from_sockaddr((struct sockaddr *)&sa, len, at), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(setsockopt(fd, SOL_UDP, UDP_GRO, &gro, sizeof(gro)), 0);
    return fd;
}

/* Receives what the system keeps as one. Its bytes, and the size of its parts (0: of none). */
static size_t receive(int fd, uint8_t *bytes, size_t cap, int *segment)
{
    union {
        struct cmsghdr align;
        uint8_t bytes[256];
    } control;
    struct iovec iov = {bytes, cap};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &header, 0);

    assert_true(n >= 0);
    *segment = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
            memcpy(segment, CMSG_DATA(c), sizeof(*segment));
    return (size_t)n;
}

static void send_group(int fd, const struct addr *to, const uint8_t *bytes, size_t len,
                       uint16_t segment)
{
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.bytes = {0}};
    struct sockaddr_storage sa;
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_name = &sa,
                            .msg_namelen = addr_to_sockaddr(to, &sa),
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);

    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(c), &segment, sizeof(segment));
    assert_int_equal(sendmsg(fd, &header, 0), (ssize_t)len);
}

static bool is_known(void)
{
    int value = 0, fd = socket(AF_INET, SOCK_DGRAM, 0);
    socklen_t len = sizeof(value);
    bool known = getsockopt(fd, SOL_UDP, UDP_SEGMENT, &value, &len) == 0 &&
                 getsockopt(fd, SOL_UDP, UDP_GRO, &value, &len) == 0;

    close(fd);
    return known;
}

/* --- Both ends are pipes --- */

/* Sizes in the order of their writing; 0 ends a heap that is written in one turn (a message without
 * bytes is NOTHING). */
#define NOTHING 99999
static const size_t heaps[] = {
    NOTHING, NOTHING, 1,    0, /* none has bytes, or others like it */
    1,       1,       1,    1,     NOTHING, 1,     1,     2,     2,     1,     3,       0,
    1200,    1200,    1200, 1200,  1200,    1200,  1200,  800,   1200,  1200,  1200,    7,
    7,       7,       1400, 1400,  0,       1200,  1200,  1201,  1201,  1200,  NOTHING, 1200,
    1200,    1199,    1199, 0,     2048,    2048,  2049,  2049,  2047,  2047,  2047,    0,
    30000,   30000,   5000, 5000,  5000,    0, /* 65,000 bytes, and one more */
    65000,   1,       1,    65001, 0,       65507, 16384, 16384, 16384, 15848, 15848,   0,
};

static void messages_stay_what_they_are(void **state)
{
    (void)state;
    for (int variant = 0; variant < 16; variant++) {
        const struct pipe_options options = {.no_offload = variant & 4, .send_retries = 2},
                                  receiving = {.no_offload = variant & 8};
        struct loop *loop = loop_new();
        struct heard server, client;
        struct addr at = addr_loopback(variant & 1 ? AF_INET6 : AF_INET, 0), mine = at, any = at;
        size_t sent = 0, begin, expected[MESSAGES_MAX];

        hear(&server, udp_listen(loop, &any, &receiving));
        assert_int_equal(pipe_addrs(server.pipe, &at, NULL), 0);
        hear(&client,
             variant & 2 ? udp_listen(loop, &mine, &options) : udp_open(loop, &at, &options));
        assert_int_equal(udp_group_max(client.pipe) == 0, options.no_offload || !is_known());
        for (size_t i = 0; i < sizeof(heaps) / sizeof(heaps[0]); i++) {
            size_t len = heaps[i] == NOTHING ? 0 : heaps[i];

            if (heaps[i] != 0) {
                expected[sent] = len;
                write_message(client.pipe, variant & 2 ? &at : NULL, sent, len);
                sent++;
                continue;
            }
            RUN_UNTIL(loop, server.count >= sent);
        }
        /* More than go in one group, twice; small, so that the receiver's buffer holds them. */
        for (begin = sent; sent < begin + 150; sent++) {
            expected[sent] = 100;
            write_message(client.pipe, variant & 2 ? &at : NULL, sent, 100);
        }
        RUN_UNTIL(loop, server.count >= sent);
        assert_int_equal(server.count, sent);
        assert_false(server.wrong);
        assert_memory_equal(server.sizes, expected, sent * sizeof(expected[0]));
        assert_int_equal(pipe_addrs(client.pipe, &mine, NULL), 0);
        assert_true(addr_equal(&server.from, &mine));
        assert_int_equal(udp_dropped(client.pipe) + udp_dropped(server.pipe), 0);
        finish(loop, &client, &server);
    }
}

/* --- What the system is given --- */

static void expect(int fd, size_t first, size_t len, int segment)
{
    static uint8_t bytes[65536];
    size_t part = segment ? (size_t)segment : len;
    int got;

    assert_int_equal(receive(fd, bytes, sizeof(bytes), &got), len);
    assert_int_equal(got, segment);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(bytes[i], byte_of(first + i / part, i % part));
}

static void like_messages_to_one_are_sent_as_one(void **state)
{
    (void)state;
    if (!is_known())
        skip();
    struct loop *loop = loop_new();
    struct heard client;
    struct addr at, other, mine = addr_loopback(AF_INET, 0);
    int fd = plain_socket(AF_INET, &at, 1), fd2 = plain_socket(AF_INET, &other, 1);

    hear(&client, udp_listen(loop, &mine, NULL));
    for (size_t i = 0; i < 10; i++) /* the last is shorter, and ends it */
        write_message(client.pipe, &at, i, i < 9 ? 1200 : 300);
    write_message(client.pipe, &at, 10, 300);
    write_message(client.pipe, &at, 11, 300);
    write_message(client.pipe, &other, 12, 300); /* another destination */
    write_message(client.pipe, &other, 13, 300);
    write_message(client.pipe, &other, 14, 301); /* longer */
    for (size_t i = 15; i < 15 + 100; i++)       /* more than 64 */
        write_message(client.pipe, &at, i, 50);
    for (size_t i = 115; i < 115 + 60; i++) /* more than 65,000 bytes */
        write_message(client.pipe, &at, i, 1300);
    RUN_UNTIL(loop, pipe_queued(client.pipe) == 0);
    expect(fd, 0, 9 * 1200 + 300, 1200);
    expect(fd, 10, 600, 300);
    expect(fd2, 12, 600, 300);
    expect(fd2, 14, 301, 0);
    expect(fd, 15, 64 * 50, 50);
    expect(fd, 79, 36 * 50, 50);
    expect(fd, 115, 50 * 1300, 1300);
    expect(fd, 165, 10 * 1300, 1300);
    close(fd);
    close(fd2);
    finish(loop, &client, NULL);
}

static void switched_off_each_goes_by_itself(void **state)
{
    (void)state;
    if (!is_known())
        skip();
    const struct pipe_options off = {.no_offload = true};
    struct loop *loop = loop_new();
    struct heard client;
    struct addr at;
    int fd = plain_socket(AF_INET, &at, 1), value = 1;
    socklen_t len = sizeof(value);

    hear(&client, udp_open(loop, &at, &off));
    for (size_t i = 0; i < 10; i++)
        write_message(client.pipe, NULL, i, 1200);
    RUN_UNTIL(loop, pipe_queued(client.pipe) == 0);
    for (size_t i = 0; i < 10; i++)
        expect(fd, i, 1200, 0);
    assert_int_equal(getsockopt(udp_fd(client.pipe), SOL_UDP, UDP_GRO, &value, &len), 0);
    assert_int_equal(value, 0);
    close(fd);
    finish(loop, &client, NULL);
}

/* The system refuses groups of a socket without checksums: nothing is lost, nothing is late, and it
 * is not asked again for messages of that size. */
static void what_is_refused_goes_one_by_one(void **state)
{
    (void)state;
    if (!is_known())
        skip();
    for (int small = 0; small < 2; small++) {
        struct loop *loop = loop_new();
        struct heard client;
        struct addr at;
        int fd = plain_socket(AF_INET, &at, 1), on = 1;
        size_t size = small ? 400 : 1200;

        hear(&client, udp_open(loop, &at, NULL));
        assert_int_equal(setsockopt(udp_fd(client.pipe), SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)),
                         0);
        write_message(client.pipe, NULL, 0, 33); /* goes; the refusal is the second's */
        for (size_t i = 1; i < 40; i++)
            write_message(client.pipe, NULL, i, size);
        RUN_UNTIL(loop, pipe_queued(client.pipe) == 0);
        expect(fd, 0, 33, 0);
        for (size_t i = 1; i < 40; i++)
            expect(fd, i, size, 0);
        assert_int_equal(udp_dropped(client.pipe), 0);
        assert_int_equal(udp_group_max(client.pipe), small ? 0 : 1199);
        on = 0;
        setsockopt(udp_fd(client.pipe), SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on));
        for (size_t i = 0; i < 8; i++) /* smaller ones still go together */
            write_message(client.pipe, NULL, i, i < 4 ? 1200 : 1100);
        RUN_UNTIL(loop, pipe_queued(client.pipe) == 0);
        for (size_t i = 0; i < 4; i++)
            expect(fd, i, 1200, 0);
        for (size_t i = 4; small && i < 8; i++)
            expect(fd, i, 1100, 0);
        if (!small)
            expect(fd, 4, 4400, 1100);
        close(fd);
        finish(loop, &client, NULL);
    }
}

/* Messages that the system refuses in any case, here to port 0, are no reason to send others one by
 * one. */
static void bad_destinations_do_not_end_groups(void **state)
{
    (void)state;
    if (!is_known())
        skip();
    struct loop *loop = loop_new();
    struct heard client;
    struct addr at, nowhere = addr_loopback(AF_INET, 0), mine = nowhere;
    int fd = plain_socket(AF_INET, &at, 1);

    hear(&client, udp_listen(loop, &mine, NULL));
    for (size_t i = 0; i < 4; i++)
        write_message(client.pipe, &at, i, 400);
    for (size_t i = 4; i < 8; i++)
        write_message(client.pipe, &nowhere, i, 400);
    for (size_t i = 8; i < 12; i++)
        write_message(client.pipe, &at, i, 400);
    RUN_UNTIL(loop, pipe_queued(client.pipe) == 0);
    expect(fd, 0, 1600, 400);
    expect(fd, 8, 1600, 400);
    assert_int_equal(udp_dropped(client.pipe), 4);
    assert_int_equal(udp_group_max(client.pipe), UDP_MESSAGE_MAX);
    close(fd);
    finish(loop, &client, NULL);
}

/* --- What the system hands over as one --- */

static void one_block_is_cut_into_messages(void **state)
{
    (void)state;
    if (!is_known())
        skip();
    static uint8_t bytes[65536];
    const int families[] = {AF_INET, AF_INET6};

    for (int f = 0; f < 2; f++) {
        struct loop *loop = loop_new();
        struct heard server;
        struct addr at = addr_loopback(families[f], 0), mine, from;
        int fd = plain_socket(families[f], &mine, 0);
        size_t sent = 0, before;

        from = at;
        hear(&server, udp_listen(loop, &from, NULL));
        assert_int_equal(pipe_addrs(server.pipe, &at, NULL), 0);
        for (int round = 0; round < 6; round++) {
            size_t parts = round < 2 ? 50 : round < 4 ? 8 : 1, last = round % 2 ? 77 : 1200, len;

            len = (parts - 1) * 1200 + last;
            before = sent;
            for (size_t i = 0; i < parts; i++, sent++)
                fill(bytes + i * 1200, sent, i < parts - 1 ? 1200 : last);
            send_group(fd, &at, bytes, len, 1200);
            RUN_UNTIL(loop, server.count >= sent);
            for (size_t i = before; i < sent; i++) {
                assert_int_equal(server.sizes[i], i < sent - 1 ? 1200 : last);
                assert_ptr_equal(server.blocks[i], server.blocks[before]);
                assert_true(server.block_bytes[i] <= 4 * len || server.block_bytes[i] <= 2048);
            }
        }
        assert_int_equal(server.count, sent);
        assert_false(server.wrong);
        assert_true(addr_equal(&server.from, &mine));
        close(fd);
        finish(loop, &server, NULL);
    }
}

static void a_pause_holds_what_is_not_cut_yet(void **state)
{
    (void)state;
    if (!is_known())
        skip();
    static uint8_t bytes[20 * 1000];
    struct loop *loop = loop_new();
    struct heard server;
    struct addr at = addr_loopback(AF_INET, 0), mine, any = at;
    int fd = plain_socket(AF_INET, &mine, 0);

    hear(&server, udp_listen(loop, &any, NULL));
    pipe_addrs(server.pipe, &at, NULL);
    server.pauses = true;
    for (size_t i = 0; i < 20; i++)
        fill(bytes + i * 1000, i, 1000);
    send_group(fd, &at, bytes, sizeof(bytes), 1000);
    for (size_t i = 1; i <= 10; i++) {
        RUN_UNTIL(loop, server.count == i);
        loop_turn(loop, 0);
        assert_int_equal(server.count, i);
        pipe_resume(server.pipe);
    }
    assert_false(server.wrong);
    RUN_UNTIL(loop, server.count == 11);
    pipe_abort(server.pipe, -ECANCELED); /* with nine of them */
    close(fd);
    finish(loop, &server, NULL);
}

/* Nobody would cut them. */
static void switched_off_nothing_comes_together(void **state)
{
    (void)state;
    if (!is_known())
        skip();
    struct loop *loop = loop_new();
    struct heard pipe;
    struct addr at, mine;
    int fd = plain_socket(AF_INET, &at, 1), sender = plain_socket(AF_INET, &mine, 0);
    uint8_t bytes[3000];

    hear(&pipe, udp_wrap(loop, fd, &(struct pipe_options){.no_offload = true}));
    for (size_t i = 0; i < 3; i++)
        fill(bytes + i * 1000, i, 1000);
    send_group(sender, &at, bytes, sizeof(bytes), 1000);
    RUN_UNTIL(loop, pipe.count == 3);
    assert_false(pipe.wrong);
    close(sender);
    finish(loop, &pipe, NULL);
}

/* Whoever has the descriptor after the pipe gets each datagram by itself again. */
static void a_kept_descriptor_is_as_before(void **state)
{
    (void)state;
    if (!is_known())
        skip();
    struct loop *loop = loop_new();
    struct heard pipe;
    struct addr at;
    int fd = plain_socket(AF_INET, &at, 0), value = 0;
    socklen_t len = sizeof(value);

    hear(&pipe, udp_wrap(loop, fd, &(struct pipe_options){.keep_fd = true}));
    assert_int_equal(getsockopt(fd, SOL_UDP, UDP_GRO, &value, &len), 0);
    assert_int_equal(value, 1);
    finish(loop, &pipe, NULL);
    assert_int_equal(getsockopt(fd, SOL_UDP, UDP_GRO, &value, &len), 0);
    assert_int_equal(value, 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_stay_what_they_are),
        cmocka_unit_test(like_messages_to_one_are_sent_as_one),
        cmocka_unit_test(switched_off_each_goes_by_itself),
        cmocka_unit_test(what_is_refused_goes_one_by_one),
        cmocka_unit_test(bad_destinations_do_not_end_groups),
        cmocka_unit_test(one_block_is_cut_into_messages),
        cmocka_unit_test(a_pause_holds_what_is_not_cut_yet),
        cmocka_unit_test(switched_off_nothing_comes_together),
        cmocka_unit_test(a_kept_descriptor_is_as_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
