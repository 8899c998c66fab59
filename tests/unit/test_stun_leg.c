/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: legs over UDP and TCP to servers in the same loop: frames cut at every byte,
 * names and several addresses, servers that are not there or speak something else.
 */
#include "leg_told.h"

#include "base/log.h"
#include "pipe/tcp.h"
#include "pipe/udp.h"
#include "stun/channel.h"
#include "stun/stun.h"

static void datagrams(void **state)
{
    (void)state;
    const int families[] = {AF_INET, AF_INET6};

    for (int i = 0; i < 2; i++) {
        struct loop *loop = loop_new();
        struct recorder server = {0};
        struct told told = {0};
        struct addr at = addr_loopback(families[i], 0), local, remote;

        record(&server, udp_listen(loop, &at, NULL));
        pipe_addrs(server.pipe, &at, NULL);
        struct stun_server where = server_at(SERVER_UDP, &at);
        open_leg(&told, loop, &where, NULL);
        assert_int_equal(leg_send(told.leg, "x", 1), ADIT_ECLOSED);
        RUN_UNTIL(loop, told.ups == 1);
        assert_false(leg_is_stream(told.leg));
        assert_int_equal(leg_addrs(told.leg, &local, &remote), 0);
        assert_true(addr_equal(&remote, &at));
        assert_int_equal(leg_send(told.leg, "hello", 5), 0);
        assert_int_equal(leg_send2(told.leg, "HEAD", 4, "data", 4), 0);
        RUN_UNTIL(loop, server.messages == 2);
        assert_string_equal(server.text, "helloHEADdata"); /* no padding on datagrams */
        struct slice answer = slice_copy("anything", 8);
        pipe_write_to(server.pipe, &answer, &server.from);
        RUN_UNTIL(loop, told.frames == 1);
        assert_int_equal(told.last_len, 8);
        leg_close(told.leg);
        close_all(loop, &server);
        finish(loop);
    }
}

/* A stream of messages and ChannelData of all sizes; returns its length. */
static size_t make_stream(uint8_t *out, size_t cap, size_t *frames, uint64_t *sum)
{
    static const struct stun_id id = {{1}};
    size_t len = 0;

    *frames = 0;
    for (size_t size = 0; size < 40; size++) {
        struct stun_builder b;

        stun_build(&b, out + len, cap - len, STUN_METHOD_DATA, STUN_INDICATION, &id);
        memset(stun_put_room(&b, STUN_ATTR_DATA, size), (int)size, size);
        len += (size_t)stun_built(&b);
        channel_build(out + len, 0x4001, size);
        memset(out + len + 4, 'a', size);
        memset(out + len + 4 + size, 0, channel_padding(size));
        len += 4 + size + channel_padding(size);
        *frames += 2;
    }
    *sum = byte_sum(0, out, len);
    return len;
}

static void streams_cut_everywhere(void **state)
{
    (void)state;
    static uint8_t stream[16384];
    static const size_t steps[] = {1, 2, 3, 5, 19, 100, 4096};
    size_t frames, len;
    uint64_t sum;

    len = make_stream(stream, sizeof(stream), &frames, &sum);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct loop *loop = loop_new();
        struct recorder server = {0}, peer = {0};
        struct told told = {0};
        struct addr at = addr_loopback(AF_INET, 0);

        record(&server, tcp_listen(loop, &at, NULL));
        pipe_addrs(server.pipe, &at, NULL);
        struct stun_server where = server_at(SERVER_TCP, &at);
        open_leg(&told, loop, &where, NULL);
        RUN_UNTIL(loop, told.ups == 1 && server.client);
        record(&peer, server.client);
        for (size_t from = 0; from < len; from += steps[i]) {
            pipe_write_copy(peer.pipe, stream + from,
                            len - from < steps[i] ? len - from : steps[i]);
            loop_turn(loop, 0); /* one packet each */
        }
        RUN_UNTIL(loop, told.bytes == len);
        assert_int_equal(told.frames, frames);
        assert_true(told.sum == sum);
        /* Ours are padded. */
        assert_int_equal(leg_send2(told.leg, "HEAD", 4, "12345", 5), 0);
        RUN_UNTIL(loop, peer.bytes == 12);
        assert_memory_equal(peer.text, "HEAD12345\0\0\0", 12);
        pipe_close(peer.pipe);
        RUN_UNTIL(loop, told.ends == 1);
        assert_int_equal(told.why, ADIT_ETRUNC);
        close_all(loop, &server);
        finish(loop);
    }
}

/* A head is put in front of bytes that nobody else has, without a copy; what others have too stays
 * as it is. */
static void heads_in_front_of_slices(void **state)
{
    (void)state;
    for (int stream = 0; stream < 2; stream++) {
        struct loop *loop = loop_new();
        struct recorder server = {0}, peer = {0}, *far = stream ? &peer : &server;
        struct addr at = addr_loopback(AF_INET, 0);
        struct told told = {0};
        struct block *block = block_new_sized(64);
        struct slice mine = {block, block_start(block), 5}, kept, shared, tight;

        record(&server, stream ? tcp_listen(loop, &at, NULL) : udp_listen(loop, &at, NULL));
        pipe_addrs(server.pipe, &at, NULL);
        struct stun_server where = server_at(stream ? SERVER_TCP : SERVER_UDP, &at);
        open_leg(&told, loop, &where, NULL);
        memcpy(mine.data, "12345", 5);
        memset(mine.data + 5, 'x', 3);
        assert_int_equal(leg_send_slice(told.leg, "HEAD", 4, &mine), ADIT_ECLOSED);
        assert_int_equal(mine.len, 5); /* still ours */
        RUN_UNTIL(loop, told.ups == 1 && (!stream || server.client));
        if (stream)
            record(&peer, server.client);
        kept = slice_ref(&mine);
        shared = kept;
        assert_int_equal(leg_send_slice(told.leg, "HEAD", 4, &shared), 0);
        assert_null(shared.block);
        assert_memory_equal(mine.data, "12345xxx", 8);
        assert_int_equal(block->refs, 1);
        assert_int_equal(leg_send_slice(told.leg, "head", 4, &mine), 0);
        assert_null(mine.block);
        assert_memory_equal(block_start(block) - 4, "head12345", 9); /* queued: alive */
        tight = slice_copy("678", 3);                                /* no room for padding */
        assert_int_equal(leg_send_slice(told.leg, "HEAD", 4, &tight), 0);
        assert_null(tight.block);
        RUN_UNTIL(loop, far->bytes == (stream ? 32 : 25));
        if (stream)
            assert_memory_equal(far->text, "HEAD12345\0\0\0head12345\0\0\0HEAD678\0", 32);
        else
            assert_memory_equal(far->text, "HEAD12345head12345HEAD678", 25);
        leg_close(told.leg);
        if (stream)
            pipe_close(peer.pipe);
        RUN_UNTIL(loop, !stream || peer.ends == 1);
        close_all(loop, &server);
        finish(loop);
    }
}

struct world {
    struct loop *loop;
    struct recorder server, peer;
    struct told told;
};

/* A TCP leg that is up, and its other end. */
static void world_init(struct world *w)
{
    struct addr at = addr_loopback(AF_INET, 0);

    w->loop = loop_new();
    record(&w->server, tcp_listen(w->loop, &at, NULL));
    pipe_addrs(w->server.pipe, &at, NULL);
    struct stun_server where = server_at(SERVER_TCP, &at);
    open_leg(&w->told, w->loop, &where, NULL);
    RUN_UNTIL(w->loop, w->told.ups == 1 && w->server.client);
    record(&w->peer, w->server.client);
}

static void world_free(struct world *w)
{
    if (w->told.leg)
        leg_close(w->told.leg);
    close_all(w->loop, &w->server);
    RUN_UNTIL(w->loop, !w->peer.pipe);
    finish(w->loop);
}

static void garbage_ends_a_stream(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
    } garbage[] = {{"HTTP/1.1 400 Bad Request\r\n", 26},
                   {"\x16\x03\x01\x00\x05", 5},
                   {"\xff", 1},
                   {"\0\1\0\3", 4},
                   {"\0\1\0\0no cookie at all", 20}};

    for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
        struct world w = {0};

        world_init(&w);
        pipe_write_copy(w.peer.pipe, garbage[i].bytes, garbage[i].len);
        pipe_shutdown(w.peer.pipe);
        RUN_UNTIL(w.loop, w.told.ends == 1);
        /* "HTTP" is within the range of channels: a frame that never becomes complete. */
        assert_int_equal(w.told.why, i == 0 ? ADIT_ETRUNC : ADIT_EPROTO);
        assert_int_equal(w.told.frames, 0);
        world_free(&w);
    }
}

/* The cookie comes later than the length, and is none. */
static void garbage_in_two_parts(void **state)
{
    (void)state;
    struct world w = {0};

    world_init(&w);
    pipe_write_copy(w.peer.pipe, "\0\1\0\4", 4);
    for (int i = 0; i < 20; i++)
        loop_turn(w.loop, MS_US);
    assert_int_equal(w.told.ends, 0);
    pipe_write_copy(w.peer.pipe, "no cookie, twenty...", 20);
    RUN_UNTIL(w.loop, w.told.ends == 1);
    assert_int_equal(w.told.why, ADIT_EPROTO);
    assert_int_equal(w.told.frames, 0);
    world_free(&w);
}

static void callbacks_may_close_pause_and_take(void **state)
{
    (void)state;
    static uint8_t stream[16384];
    size_t frames, len;
    uint64_t sum;

    len = make_stream(stream, sizeof(stream), &frames, &sum);

    struct world closing = {.told = {.close_after = 3}};
    world_init(&closing);
    pipe_write_copy(closing.peer.pipe, stream, len);
    RUN_UNTIL(closing.loop, closing.peer.eofs == 1);
    assert_int_equal(closing.told.frames, 3);
    assert_int_equal(closing.told.ends, 0);
    world_free(&closing);

    struct world pausing = {.told = {.pause_after = 3}};
    world_init(&pausing);
    pipe_write_copy(pausing.peer.pipe, stream, len);
    RUN_UNTIL(pausing.loop, pausing.told.frames == 3);
    for (int i = 0; i < 10; i++)
        loop_turn(pausing.loop, MS_US);
    assert_int_equal(pausing.told.frames, 3);
    leg_resume(pausing.told.leg);
    RUN_UNTIL(pausing.loop, pausing.told.bytes == len);
    assert_true(pausing.told.sum == sum);
    world_free(&pausing);

    /* RFC 6062: what follows the answer is the peer's. */
    struct world taking = {.told = {.take_after = 1}};
    struct recorder raw = {0};
    world_init(&taking);
    static const uint8_t answer[] = {1, 0x0B, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1,   2,   3,  4,
                                     5, 6,    7, 8, 9,    10,   11,   12,   'r', 'a', 'w'};
    pipe_write_copy(taking.peer.pipe, answer, sizeof(answer));
    RUN_UNTIL(taking.loop, taking.told.taken != NULL);
    assert_int_equal(taking.told.surplus.len, 3);
    assert_memory_equal(taking.told.surplus.data, "raw", 3);
    slice_drop(&taking.told.surplus);
    record(&raw, taking.told.taken);
    pipe_write_copy(taking.peer.pipe, "more", 4);
    pipe_resume(raw.pipe);
    RUN_UNTIL(taking.loop, raw.bytes == 4);
    assert_string_equal(raw.text, "more");
    pipe_write_copy(raw.pipe, "back", 4);
    RUN_UNTIL(taking.loop, taking.peer.bytes == 4);
    pipe_close(raw.pipe);
    RUN_UNTIL(taking.loop, !raw.pipe);
    world_free(&taking);
}

static void a_full_queue(void **state)
{
    (void)state;
    static uint8_t frame[32768];
    struct world w = {0};
    int result = 0;
    size_t sent = 0;

    world_init(&w);
    pipe_pause(w.peer.pipe);
    while (leg_room(w.told.leg) > 0 && sent < 1000) {
        assert_int_equal(leg_send(w.told.leg, frame, sizeof(frame)), 0);
        sent++;
        loop_turn(w.loop, 0);
    }
    assert_in_range(sent, 1, 999);
    while ((result = leg_send(w.told.leg, frame, sizeof(frame))) == 0 && sent < 1000)
        sent++; /* requests still go out */
    assert_int_equal(result, -ENOBUFS);
    assert_int_equal(w.told.rooms, 0);
    pipe_resume(w.peer.pipe);
    RUN_UNTIL(w.loop, w.told.rooms > 0);
    assert_true(leg_room(w.told.leg) > 0);
    RUN_UNTIL(w.loop, w.peer.bytes == sent * sizeof(frame));
    world_free(&w);
}

/* --- Names --- */

struct names {
    struct loop *loop;
    struct defer defer;
    struct addr addrs[4];
    size_t count;
    stun_resolved_cb *done;
    void *arg;
    int cancelled;
    bool silent;
    char asked[256];
};

static void names_tell(void *arg)
{
    struct names *names = arg;

    names->done(names->arg, names->addrs, names->count, names->count ? NULL : "no such name");
}

static void *names_start(void *owner, const char *name, stun_resolved_cb *done, void *arg)
{
    struct names *names = owner;

    snprintf(names->asked, sizeof(names->asked), "%s", name);
    names->done = done;
    names->arg = arg;
    defer_init(&names->defer, names_tell, names);
    if (!names->silent)
        defer_next(names->loop, &names->defer);
    return names;
}

static void names_cancel(void *owner, void *lookup)
{
    struct names *names = owner;

    assert_ptr_equal(lookup, names);
    names->cancelled++;
    defer_cancel(names->loop, &names->defer);
}

static void names_and_addresses(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct names names = {.loop = loop};
    struct leg_options options = LEG_OPTIONS_DEFAULT;
    struct recorder v4 = {0}, v6 = {0};
    struct addr at4 = addr_loopback(AF_INET, 0), at6, remote;
    struct stun_server server = {.transport = SERVER_TCP, .host = "turn.example"};

    options.resolver = (struct stun_resolver){names_start, names_cancel, &names};
    record(&v4, tcp_listen(loop, &at4, NULL));
    pipe_addrs(v4.pipe, &at4, NULL);
    at6 = addr_loopback(AF_INET6, at4.port);
    record(&v6, tcp_listen(loop, &at6, NULL));
    server.port = at4.port;
    addr_parse_ip("127.0.0.9", &names.addrs[0]); /* nobody there */
    names.addrs[1] = addr_loopback(AF_INET6, 0);
    names.addrs[2] = addr_loopback(AF_INET, 0);
    names.count = 3;

    struct told any = {0}, four = {0}, later = {0}, none = {0}, unknown = {0}, closed = {0},
                without = {0}, only6 = {0};
    open_leg(&any, loop, &server, &options); /* the first does not answer: the second */
    RUN_UNTIL(loop, any.ups == 1);
    assert_string_equal(names.asked, "turn.example");
    leg_addrs(any.leg, NULL, &remote);
    assert_true(addr_equal(&remote, &at6));
    leg_close(any.leg);

    options.family = AF_INET;
    open_leg(&four, loop, &server, &options);
    RUN_UNTIL(loop, four.ups == 1);
    leg_addrs(four.leg, NULL, &remote);
    assert_true(addr_equal(&remote, &at4));
    leg_close(four.leg);

    options.skip = 1;
    open_leg(&later, loop, &server, &options);
    RUN_UNTIL(loop, later.ups == 1);
    leg_addrs(later.leg, NULL, &remote);
    assert_true(addr_equal(&remote, &at4));
    leg_close(later.leg);

    options.skip = 2;
    open_leg(&none, loop, &server, &options);
    RUN_UNTIL(loop, none.ends == 1);
    assert_int_equal(none.why, -ENOENT);
    assert_string_equal(none.text, "turn.example has no more addresses");

    options.skip = 0;
    options.family = AF_INET6;
    names.count = 1;
    open_leg(&only6, loop, &server, &options);
    RUN_UNTIL(loop, only6.ends == 1);
    assert_string_equal(only6.text, "turn.example has no IPv6 address");

    options.family = 0;
    names.count = 0;
    open_leg(&unknown, loop, &server, &options);
    RUN_UNTIL(loop, unknown.ends == 1);
    assert_string_equal(unknown.text, "cannot find turn.example: no such name");

    names.silent = true;
    names.asked[0] = '\0';
    open_leg(&closed, loop, &server, &options);
    RUN_UNTIL(loop, names.asked[0]);
    leg_close(closed.leg);
    assert_int_equal(names.cancelled, 1);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, MS_US);
    assert_int_equal(closed.ends, 0);

    options.resolver.start = NULL;
    open_leg(&without, loop, &server, &options);
    RUN_UNTIL(loop, without.ends == 1);
    close_all(loop, &v4);
    close_all(loop, &v6);
    finish(loop);
}

static void nobody_there(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct told told = {0}, tls = {0};
    struct addr at = addr_loopback(AF_INET, 1);
    struct stun_server server = server_at(SERVER_TCP, &at);

    open_leg(&told, loop, &server, NULL);
    RUN_UNTIL(loop, told.ends == 1);
    assert_int_equal(told.why, -ECONNREFUSED);
    assert_string_equal(told.text, "cannot connect to 127.0.0.1:1 over tcp: Connection refused");
    server.transport = SERVER_TLS;
    open_leg(&tls, loop, &server, NULL);
    RUN_UNTIL(loop, tls.ends == 1);
    assert_int_equal(tls.why, -ENOTSUP); /* no authority */
    finish(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(datagrams),
        cmocka_unit_test(streams_cut_everywhere),
        cmocka_unit_test(garbage_ends_a_stream),
        cmocka_unit_test(garbage_in_two_parts),
        cmocka_unit_test(callbacks_may_close_pause_and_take),
        cmocka_unit_test(a_full_queue),
        cmocka_unit_test(names_and_addresses),
        cmocka_unit_test(nobody_there),
        cmocka_unit_test(heads_in_front_of_slices),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
