/* SPDX-License-Identifier: MIT */
/* Theory of operation: UDP pipes on the loopback: clients, servers, batches, large and empty
 * messages, errors, bounds. */
#include "pipe_recorder.h"

#include <fcntl.h>
#include <unistd.h>

#include "pipe/pair.h"
#include "pipe/udp.h"

static void finish(struct loop *loop)
{
    loop_free(loop);
    assert_int_equal(block_total_bytes(), 0);
}

static void end_all(struct loop *loop, struct recorder *all[], int count)
{
    for (int i = 0; i < count; i++)
        if (all[i]->pipe)
            pipe_close(all[i]->pipe);
    for (int i = 0; i < count; i++)
        RUN_UNTIL(loop, all[i]->ends == 1);
}

static void listen_at(struct loop *loop, struct recorder *r, int family, struct addr *at)
{
    *at = addr_loopback(family, 0);
    record(r, udp_listen(loop, at, NULL));
    assert_int_equal(pipe_addrs(r->pipe, at, NULL), 0);
    assert_int_not_equal(at->port, 0);
}

static void client_and_server(void **state)
{
    (void)state;
    const int families[] = {AF_INET, AF_INET6};

    for (int i = 0; i < 2; i++) {
        struct loop *loop = loop_new();
        struct recorder server = {0}, client = {0}, other = {0};
        struct addr at, local, remote;

        listen_at(loop, &server, families[i], &at);
        assert_int_equal(pipe_addrs(server.pipe, NULL, &remote), -ENOTCONN);
        record(&client, udp_open(loop, &at, NULL));
        record(&other, udp_open(loop, &at, NULL));
        assert_int_equal(client.ups, 0);
        RUN_UNTIL(loop, client.ups == 1 && server.ups == 1); /* from the loop, once */
        assert_int_equal(pipe_addrs(client.pipe, &local, &remote), 0);
        assert_true(addr_equal(&remote, &at));
        write_text(client.pipe, "one");
        write_text(client.pipe, "two");
        RUN_UNTIL(loop, server.messages == 2); /* boundaries stay */
        assert_string_equal(server.text, "onetwo");
        assert_true(addr_equal(&server.from, &local));
        struct slice answer = slice_copy("answer", 6);
        pipe_write_to(server.pipe, &answer, &server.from);
        RUN_UNTIL(loop, client.messages == 1);
        assert_string_equal(client.text, "answer");
        assert_true(addr_equal(&client.from, &at));
        assert_int_equal(other.messages, 0);
        write_text(server.pipe, "to nobody");
        assert_int_equal(udp_dropped(server.pipe), 1);
        end_all(loop, (struct recorder *[]){&server, &client, &other}, 3);
        assert_int_equal(client.why, 0);
        finish(loop);
    }
}

/* A client hears its peer only; a server on IPv6 speaks with IPv4 peers by their IPv4 addresses. */
static void families_and_strangers(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder both = {0}, client = {0}, stranger = {0};
    struct addr any = addr_any(AF_INET6, 0), at, local;

    record(&both, udp_listen(loop, &any, NULL));
    pipe_addrs(both.pipe, &at, NULL);
    struct addr v4 = addr_loopback(AF_INET, at.port);
    record(&client, udp_open(loop, &v4, NULL));
    write_text(client.pipe, "v4");
    RUN_UNTIL(loop, both.messages == 1);
    pipe_addrs(client.pipe, &local, NULL);
    assert_true(addr_equal(&both.from, &local));
    listen_at(loop, &stranger, AF_INET, &at);
    struct slice bad = slice_copy("not for you", 11), good = slice_copy("good", 4);
    pipe_write_to(stranger.pipe, &bad, &local);
    pipe_write_to(both.pipe, &good, &local);
    RUN_UNTIL(loop, client.messages == 1);
    loop_turn(loop, MS_US);
    assert_string_equal(client.text, "good");
    end_all(loop, (struct recorder *[]){&both, &client, &stranger}, 3);
    finish(loop);
}

static void messages_of_every_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1472, 2047, 2048, 2049, 9000, 16352, 40000, 65507};
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0};
    struct addr at;
    static uint8_t bytes[65508];

    loop_random(loop, bytes, sizeof(bytes));
    listen_at(loop, &server, AF_INET, &at);
    record(&client, udp_open(loop, &at, NULL));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t before = server.bytes, count = server.messages;

        server.sum = 0;
        if (i % 2)
            pipe_write_copy(client.pipe, bytes, sizes[i]);
        else
            pipe_send(client.pipe, bytes, sizes[i], false);
        RUN_UNTIL(loop, server.messages == count + 1);
        assert_int_equal(server.bytes - before, sizes[i]);
        assert_true(server.sum == byte_sum(0, bytes, sizes[i]));
    }
    pipe_write_copy(client.pipe, bytes, 65508); /* no datagram is so large */
    assert_int_equal(udp_dropped(client.pipe), 1);
    end_all(loop, (struct recorder *[]){&server, &client}, 2);
    finish(loop);
}

static void many_at_once_arrive_in_order(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0};
    struct addr at;
    uint64_t sum = 0;

    listen_at(loop, &server, AF_INET, &at);
    record(&client, udp_open(loop, &at, NULL));
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 50; i++) {
            uint8_t message[4] = {(uint8_t)round, (uint8_t)i, 3, 4};

            sum = byte_sum(sum, message, 4);
            pipe_send(client.pipe, message, 4, true);
        }
        RUN_UNTIL(loop, server.messages == 50 * (size_t)(round + 1));
    }
    assert_true(server.sum == sum);
    end_all(loop, (struct recorder *[]){&server, &client}, 2);
    finish(loop);
}

/* Not sent because the loop did not turn: the oldest go first. */
static void the_queue_is_bounded_and_drops_the_oldest(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0};
    struct addr at;
    static uint8_t large[60000];

    listen_at(loop, &server, AF_INET, &at);
    record(&client, udp_open(loop, &at, NULL));
    for (int i = 0; i < UDP_QUEUE_MESSAGES + 10; i++)
        pipe_write_copy(client.pipe, &i, sizeof(i));
    assert_int_equal(udp_dropped(client.pipe), 10);
    assert_int_equal(pipe_room(client.pipe), 0);
    assert_int_equal(pipe_queued(client.pipe), UDP_QUEUE_MESSAGES * sizeof(int));
    RUN_UNTIL(loop, server.messages > 0);
    int first;
    memcpy(&first, server.text, sizeof(first));
    assert_int_equal(first, 10);
    RUN_UNTIL(loop, pipe_queued(client.pipe) == 0);
    assert_true(client.rooms > 0);
    assert_int_equal(pipe_room(client.pipe), UDP_QUEUE_BYTES);
    for (int i = 0; i < 20; i++)
        pipe_write_copy(client.pipe, large, sizeof(large));
    assert_true(pipe_queued(client.pipe) <= UDP_QUEUE_BYTES);
    assert_int_equal(udp_dropped(client.pipe), 13);
    pipe_abort(client.pipe, -ECANCELED);
    end_all(loop, (struct recorder *[]){&server, &client}, 2);
    finish(loop);
}

/* Nobody listens: the kernel reports it on a later call. The pipe lives on, and no message of ours
 * is lost to the report. */
static void refused_messages_end_nothing(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0};
    struct addr at;

    listen_at(loop, &server, AF_INET, &at);
    end_all(loop, (struct recorder *[]){&server}, 1);
    record(&client, udp_open(loop, &at, NULL));
    for (int i = 0; i < 3; i++) {
        write_text(client.pipe, "lost");
        loop_turn(loop, MS_US);
    }
    memset(&server, 0, sizeof(server));
    record(&server, udp_listen(loop, &at, NULL));
    write_text(client.pipe, "kept");
    RUN_UNTIL(loop, server.messages == 1);
    assert_string_equal(server.text, "kept");
    assert_int_equal(client.ends, 0);
    assert_int_equal(udp_dropped(client.pipe), 0);
    end_all(loop, (struct recorder *[]){&server, &client}, 2);
    finish(loop);
}

/* A destination that the system refuses: tried send_retries times more, dropped, and the next
 * message goes out. */
static void a_message_refused_for_good_holds_nobody(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, sender = {0};
    struct addr at, nowhere = addr_loopback(AF_INET6, 9), broadcast = addr_loopback(AF_INET, 9),
                    ignored;

    listen_at(loop, &server, AF_INET, &at);
    listen_at(loop, &sender, AF_INET, &ignored);
    broadcast.ip.v4.s_addr = 0xffffffff; /* not permitted without the option */
    struct slice a = slice_copy("a", 1), b = slice_copy("b", 1), c = slice_copy("c", 1);
    pipe_write_to(sender.pipe, &a, &nowhere);
    pipe_write_to(sender.pipe, &b, &broadcast);
    pipe_write_to(sender.pipe, &c, &at);
    RUN_UNTIL(loop, server.messages == 1);
    assert_string_equal(server.text, "c");
    assert_int_equal(udp_dropped(sender.pipe), 2);
    end_all(loop, (struct recorder *[]){&server, &sender}, 2);
    finish(loop);
}

static void pause_each(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    (void)data;
    (void)from;
    ++*(int *)arg;
    pipe_pause(pipe);
}

static void a_pause_inside_a_batch_holds_the_rest(void **state)
{
    (void)state;
    static const struct pipe_events pausing = {.message = pause_each};
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0};
    struct addr at;
    int calls = 0;

    listen_at(loop, &server, AF_INET, &at);
    record(&client, udp_open(loop, &at, NULL));
    for (int i = 0; i < 40; i++)
        write_text(client.pipe, "abcdefgh"); /* the batch grows */
    RUN_UNTIL(loop, server.messages == 40);
    pipe_add_listener(server.pipe, &pausing, &calls);
    for (int i = 0; i < 40; i++)
        pipe_send(client.pipe, &i, 1, true);
    while (server.messages < 80) {
        int before = calls;

        RUN_UNTIL(loop, calls > before);
        assert_int_equal(calls, before + 1);
        loop_turn(loop, 0);
        assert_int_equal(calls, before + 1);
        pipe_resume(server.pipe);
    }
    for (int i = 0; i < 40; i++)
        assert_int_equal(server.text[320 + i], i);
    end_all(loop, (struct recorder *[]){&server, &client}, 2);
    finish(loop);
}

static void close_sends_what_is_queued(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0};
    struct addr at;

    listen_at(loop, &server, AF_INET, &at);
    record(&client, udp_open(loop, &at, NULL));
    for (int i = 0; i < 40; i++)
        write_text(client.pipe, "x");
    pipe_shutdown(client.pipe);
    assert_int_equal(pipe_write_copy(client.pipe, "y", 1), ADIT_ECLOSED);
    pipe_close(client.pipe);
    RUN_UNTIL(loop, client.ends == 1 && server.messages == 40);
    assert_int_equal(client.why, 0);
    end_all(loop, (struct recorder *[]){&server}, 1);
    finish(loop);
}

static void wrapping_sockets(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0}, kept = {0};
    struct addr at, remote;
    struct sockaddr_storage sa;

    listen_at(loop, &server, AF_INET, &at);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    socklen_t len = addr_to_sockaddr(&at, &sa);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, len), 0);
    record(&client, udp_wrap(loop, fd, &(struct pipe_options){.keep_fd = true}));
    assert_int_equal(udp_fd(client.pipe), fd);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(pipe_addrs(client.pipe, NULL, &remote), 0);
    assert_true(addr_equal(&remote, &at));
    write_text(client.pipe, "wrapped");
    RUN_UNTIL(loop, server.messages == 1);
    end_all(loop, (struct recorder *[]){&client}, 1);
    record(&kept, udp_wrap(loop, fd, NULL)); /* the descriptor was left open */
    write_text(kept.pipe, " twice");
    RUN_UNTIL(loop, server.messages == 2);
    assert_string_equal(server.text, "wrapped twice");
    end_all(loop, (struct recorder *[]){&server, &kept}, 2);
    assert_null(udp_wrap(loop, -1, NULL));
    assert_int_equal(errno, EBADF);
    finish(loop);
}

static void silence_times_out(void **state)
{
    (void)state;
    enum { IDLE_MS = 1000 }; /* long beside the pause, however slow the machine */
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0};
    struct addr at;

    loop_refresh(loop);
    at = addr_loopback(AF_INET, 0);
    record(&server, udp_listen(loop, &at, &(struct pipe_options){.idle_timeout_ms = IDLE_MS}));
    pipe_addrs(server.pipe, &at, NULL);
    uint64_t start = loop_now(loop), heard;
    record(&client, udp_open(loop, &at, NULL));
    while (loop_now(loop) < start + 20 * MS_US)
        loop_turn(loop, 10 * MS_US);
    write_text(client.pipe, "x");
    RUN_UNTIL(loop, server.messages == 1);
    heard = server.at;
    RUN_UNTIL(loop, server.ends == 1);
    assert_int_equal(server.why, -ETIMEDOUT);
    assert_int_equal(server.messages, 1);
    assert_true(server.at - heard >= IDLE_MS * MS_US); /* counted from the message */
    end_all(loop, (struct recorder *[]){&client}, 1);
    finish(loop);
}

/* A UDP pipe linked with a pair of messages: a relay in two lines. */
static void a_link_relays_messages(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0}, far = {0};
    struct pipe *ends[2];
    struct addr at;

    listen_at(loop, &server, AF_INET, &at);
    client.pipe = udp_open(loop, &at, NULL);
    pair_new(loop, &(struct pair_options){.messages = true}, ends);
    record(&far, ends[1]);
    pipe_link(client.pipe, ends[0]);
    write_text(ends[1], "out");
    RUN_UNTIL(loop, server.messages == 1);
    struct slice back = slice_copy("back", 4);
    pipe_write_to(server.pipe, &back, &server.from);
    RUN_UNTIL(loop, far.messages == 1);
    assert_string_equal(far.text, "back");
    pipe_close(ends[1]);
    RUN_UNTIL(loop, far.ends == 1);
    end_all(loop, (struct recorder *[]){&server}, 1);
    finish(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_and_server),
        cmocka_unit_test(families_and_strangers),
        cmocka_unit_test(messages_of_every_size),
        cmocka_unit_test(many_at_once_arrive_in_order),
        cmocka_unit_test(the_queue_is_bounded_and_drops_the_oldest),
        cmocka_unit_test(refused_messages_end_nothing),
        cmocka_unit_test(a_message_refused_for_good_holds_nobody),
        cmocka_unit_test(a_pause_inside_a_batch_holds_the_rest),
        cmocka_unit_test(close_sends_what_is_queued),
        cmocka_unit_test(wrapping_sockets),
        cmocka_unit_test(silence_times_out),
        cmocka_unit_test(a_link_relays_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
