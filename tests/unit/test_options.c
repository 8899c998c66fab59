/* SPDX-License-Identifier: MIT */
/* Theory of operation: each socket option, read back from the socket or shown by what it does. */
#include "pipe_recorder.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <unistd.h>

#include "pipe/options.h"
#include "pipe/tcp.h"
#include "pipe/udp.h"

static int get_int(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    getsockopt(fd, level, name, &value, &len);
    return value;
}

static int apply(const struct pipe_options *options, int family, int type, int *fd)
{
    *fd = socket(family, type | SOCK_CLOEXEC, 0);
    assert_true(*fd >= 0);
    return pipe_options_apply(options, *fd, family);
}

static void spare_descriptors_are_left(void **state)
{
    struct pipe_options options = {.spare_descriptors = 8};
    struct rlimit old, low;
    int fd, taken[64], count = 0;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = 64;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(pipe_descriptors_max(8), 56);
    assert_int_equal(pipe_descriptors_max(1000), 48); /* three quarters are there to be used */
    assert_int_equal(apply(&options, AF_INET, SOCK_STREAM, &fd), 0);
    close(fd);
    while (count < 64 && (taken[count] = dup(0)) >= 0 && taken[count] < 55)
        count++;
    assert_int_equal(taken[count++], 55);
    assert_int_equal(apply(&options, AF_INET, SOCK_STREAM, &fd), -EMFILE);
    close(fd);
    options.spare_descriptors = 0;
    assert_int_equal(apply(&options, AF_INET, SOCK_STREAM, &fd), 0);
    close(fd);
    while (count > 0)
        close(taken[--count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
}

static void flags_are_set_on_the_socket(void **state)
{
    (void)state;
    struct linger linger;
    socklen_t len = sizeof(linger);
    int fd;

    assert_int_equal(apply(&(struct pipe_options){0}, AF_INET, SOCK_DGRAM, &fd), 0);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_BROADCAST), 0);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_REUSEADDR), 0);
    close(fd);
    assert_int_equal(apply(
                         &(struct pipe_options){
                             .broadcast = true, .reuse_addr = true, .reuse_port = true, .ttl = 7},
                         AF_INET, SOCK_DGRAM, &fd),
                     0);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_BROADCAST), 1);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_REUSEADDR), 1);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_REUSEPORT), 1);
    assert_int_equal(get_int(fd, IPPROTO_IP, IP_TTL), 7);
    close(fd);
    for (int only = 0; only < 2; only++) {
        assert_int_equal(
            apply(&(struct pipe_options){.ttl = 9, .v6only = only, .reset_on_close = 1}, AF_INET6,
                  SOCK_STREAM, &fd),
            0);
        assert_int_equal(get_int(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS), 9);
        assert_int_equal(get_int(fd, IPPROTO_IPV6, IPV6_V6ONLY), only);
        getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len);
        assert_true(linger.l_onoff && linger.l_linger == 0);
        close(fd);
    }
}

/* SO_MARK and, before Linux 5.7, SO_BINDTODEVICE want privileges: then the refusal must be
 * reported. */
static void an_explicit_route_is_taken_or_refused(void **state)
{
    (void)state;
    char name[IF_NAMESIZE] = "";
    socklen_t len = sizeof(name);
    int fd, r = apply(&(struct pipe_options){.interface = "lo"}, AF_INET, SOCK_STREAM, &fd);

    if (r == 0) {
        getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len);
        assert_string_equal(name, "lo");
    } else {
        assert_int_equal(r, -EPERM);
    }
    close(fd);
    r = apply(&(struct pipe_options){.interface = "no-such-if"}, AF_INET, SOCK_STREAM, &fd);
    assert_true(r == -ENODEV || r == -EPERM);
    close(fd);
    r = apply(&(struct pipe_options){.mark = 0x51}, AF_INET, SOCK_STREAM, &fd);
    if (r == 0)
        assert_int_equal(get_int(fd, SOL_SOCKET, SO_MARK), 0x51);
    else
        assert_int_equal(r, -EPERM);
    close(fd);
    struct pipe_options elsewhere = {0};
    assert_int_equal(addr_parse("192.0.2.1:0", &elsewhere.local),
                     0); /* not an address of this machine (RFC 5737) */
    assert_int_equal(apply(&elsewhere, AF_INET, SOCK_STREAM, &fd), -EADDRNOTAVAIL);
    close(fd);
}

static void a_local_address_is_the_source(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder server = {0}, client = {0}, other = {0};
    struct addr at = addr_loopback(AF_INET, 0), seen;
    struct pipe_options options = PIPE_OPTIONS_DEFAULT;

    record(&server, tcp_listen(loop, &at, NULL));
    pipe_addrs(server.pipe, &at, NULL);
    assert_int_equal(addr_parse("127.0.0.9:0", &options.local), 0);
    record(&client, tcp_open(loop, &at, &options));
    RUN_UNTIL(loop, server.accepts == 1 && client.ups == 1);
    record(&other, server.client);
    pipe_addrs(other.pipe, NULL, &seen);
    assert_true(addr_equal_ip(&seen, &options.local));
    assert_int_not_equal(seen.port, 0);
    pipe_close(server.pipe);
    pipe_close(client.pipe);
    RUN_UNTIL(loop, server.ends == 1 && client.ends == 1 && other.ends == 1);
    loop_free(loop);
}

static void reuse_port_shares_a_port(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct pipe_options options = PIPE_OPTIONS_DEFAULT;
    struct recorder servers[2] = {0};
    struct addr at = addr_loopback(AF_INET, 0);

    options.reuse_port = true;
    for (int i = 0; i < 2; i++) {
        record(&servers[i], udp_listen(loop, &at, &options));
        pipe_addrs(servers[i].pipe, &at, NULL);
    }
    assert_null(udp_listen(loop, &at, NULL));
    assert_int_equal(errno, EADDRINUSE);
    for (int i = 0; i < 2; i++)
        pipe_close(servers[i].pipe);
    RUN_UNTIL(loop, servers[0].ends == 1 && servers[1].ends == 1);
    loop_free(loop);
}

static void v6only_leaves_ipv4_alone(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct pipe_options options = PIPE_OPTIONS_DEFAULT;
    struct recorder server = {0}, client = {0};
    struct addr at = addr_any(AF_INET6, 0), v4;

    options.v6only = true;
    record(&server, tcp_listen(loop, &at, &options));
    pipe_addrs(server.pipe, &at, NULL);
    v4 = addr_loopback(AF_INET, at.port);
    record(&client, tcp_open(loop, &v4, NULL));
    RUN_UNTIL(loop, client.ends == 1);
    assert_int_equal(client.why, -ECONNREFUSED);
    pipe_close(server.pipe);
    RUN_UNTIL(loop, server.ends == 1);
    loop_free(loop);
}

static void reset_on_close_resets(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct pipe_options options = PIPE_OPTIONS_DEFAULT;
    struct recorder server = {0}, client = {0}, other = {0};
    struct addr at = addr_loopback(AF_INET, 0);

    record(&server, tcp_listen(loop, &at, NULL));
    pipe_addrs(server.pipe, &at, NULL);
    options.reset_on_close = 1;
    options.linger_ms = 0;
    record(&client, tcp_open(loop, &at, &options));
    RUN_UNTIL(loop, server.accepts == 1 && client.ups == 1);
    record(&other, server.client);
    pipe_close(client.pipe);
    RUN_UNTIL(loop, client.ends == 1 && other.ends == 1);
    assert_int_equal(other.why, -ECONNRESET);
    pipe_close(server.pipe);
    RUN_UNTIL(loop, server.ends == 1);
    loop_free(loop);
}

static void keep_fd_leaves_the_descriptor(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder r = {0};
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    record(&r, tcp_wrap(loop, fds[0], &(struct pipe_options){.keep_fd = true}));
    pipe_close(r.pipe);
    RUN_UNTIL(loop, r.ends == 1);
    assert_true(fcntl(fds[0], F_GETFD) >= 0);
    memset(&r, 0, sizeof(r));
    int again = dup(fds[0]);
    record(&r, tcp_wrap(loop, again, NULL));
    pipe_abort(r.pipe, -ECANCELED);
    RUN_UNTIL(loop, r.ends == 1);
    assert_int_equal(fcntl(again, F_GETFD), -1);
    close(fds[0]);
    close(fds[1]);
    loop_free(loop);
}

static void read_max_bounds_what_is_read_at_once(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder r = {0};
    char bytes[1000] = "";
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(write(fds[1], bytes, sizeof(bytes)), sizeof(bytes));
    record(&r, tcp_wrap(loop, fds[0], &(struct pipe_options){.read_max = 100}));
    RUN_UNTIL(loop, r.bytes == sizeof(bytes));
    assert_int_equal(r.messages, 10);
    close(fds[1]);
    pipe_close(r.pipe);
    RUN_UNTIL(loop, r.ends == 1);
    loop_free(loop);
}

static void protocol_is_passed_to_the_system(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct recorder r = {0};
    struct addr at = addr_loopback(AF_INET, 0);

    assert_null(
        tcp_open(loop, &at, &(struct pipe_options){.protocol = IPPROTO_UDP})); /* not a stream */
    assert_int_equal(errno, EPROTONOSUPPORT);
    record(&r, udp_listen(loop, &at, &(struct pipe_options){.protocol = IPPROTO_UDP}));
    pipe_close(r.pipe);
    RUN_UNTIL(loop, r.ends == 1);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_are_set_on_the_socket),
        cmocka_unit_test(an_explicit_route_is_taken_or_refused),
        cmocka_unit_test(a_local_address_is_the_source),
        cmocka_unit_test(reuse_port_shares_a_port),
        cmocka_unit_test(spare_descriptors_are_left),
        cmocka_unit_test(v6only_leaves_ipv4_alone),
        cmocka_unit_test(reset_on_close_resets),
        cmocka_unit_test(keep_fd_leaves_the_descriptor),
        cmocka_unit_test(read_max_bounds_what_is_read_at_once),
        cmocka_unit_test(protocol_is_passed_to_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
