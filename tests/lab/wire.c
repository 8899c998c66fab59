/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 *     wire --control PATH --in NAME@NETNS --out NAME@NETNS [--mtu BYTES] [--exit-with-stdin]
 *          [KEY=VALUE...]
 *
 * A router with an address translator and a slow or bad uplink, between two network namespaces, in
 * one process: a TUN device in each, and in between the gate. README.md beside this file is its
 * manual.
 *
 * NETNS is a name below /run/netns, a path, or "." for the namespace that the wire is started in. A
 * TUN device belongs to the namespace in which /dev/net/tun is opened, so the wire enters each one
 * for that and returns; the control socket is a path, and thus the same for all. Addresses and
 * routes are the caller's. The devices go when the wire ends.
 *
 * One thread, one epoll: devices (BATCH packets a turn each), the time of the next arrival, the
 * control socket, signals. Where the link is not set to anything a packet is read, rewritten and
 * written; no copy, no allocation. Most of a packet's price is then the kernel's, so while nothing
 * on the link depends on packets (gate_takes_trains()), the kernel is asked for trains of TCP
 * segments and for packets without checksums, and gets them back as such.
 *
 * "ready" on standard output, in one line, means that devices and socket exist. The seed goes to
 * standard error, for a test that wants to repeat what happened.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "control.h"

#define BATCH         64    /* packets read from a device in one turn */
#define DELIVER_BATCH 256   /* packets out of the link in one turn */
#define DEVICE_QUEUE  20000 /* packets that the kernel keeps for us: a burst of TCP is not lost */
#define MTU_DEFAULT   1500
#define MTU_MIN       68
#define EVENTS        16

struct wire;

struct device {
    struct watch watch;
    struct wire *wire;
    enum direction direction; /* of what comes out of it */
};

struct wire {
    struct gate gate;
    struct control *control;
    struct device devices[2];
    struct watch timer, signals, stdin;
    int epoll;
    int64_t armed, swept;
    bool is_over, is_offloading;
    uint8_t buffer[PACKET_MAX_BYTES];
};

struct options {
    const char *control, *in, *out;
    unsigned mtu;
    bool exits_with_stdin;
};

static struct wire *wire_of(struct watch *watch, size_t offset)
{
    return (struct wire *)((char *)watch - offset);
}

/* --- Devices --- */

static void attribute_add(struct nlmsghdr *head, unsigned short type, uint32_t value)
{
    struct rtattr *attribute = (struct rtattr *)((char *)head + NLMSG_ALIGN(head->nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = RTA_LENGTH(sizeof(value));
    memcpy(RTA_DATA(attribute), &value, sizeof(value));
    head->nlmsg_len = NLMSG_ALIGN(head->nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

/* MTU, queue, up; by netlink, because the ioctl for the queue wants more rights than root of a user
 * namespace has. */
static int tun_configure(const char *name, unsigned mtu)
{
    struct {
        struct nlmsghdr head;
        struct ifinfomsg info;
        char room[64];
    } request = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)),
                          .nlmsg_type = RTM_NEWLINK,
                          .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK}};
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
        char room[256];
    } answer;
    int r = 0, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    request.info.ifi_index = (int)if_nametoindex(name);
    request.info.ifi_flags = request.info.ifi_change = IFF_UP;
    attribute_add(&request.head, IFLA_MTU, mtu);
    attribute_add(&request.head, IFLA_TXQLEN, DEVICE_QUEUE);
    if (send(fd, &request, request.head.nlmsg_len, 0) < 0 ||
        recv(fd, &answer, sizeof(answer), 0) < 0)
        r = -errno;
    else
        r = answer.head.nlmsg_type == NLMSG_ERROR ? answer.error.error : -EPROTO;
    close(fd);
    return r;
}

/* Runs in the device's namespace. The descriptor, or a negative errno. */
static int tun_create(const char *name, unsigned mtu)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    int r = ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : tun_configure(name, mtu);
    if (r < 0)
        close(fd);
    return r < 0 ? r : fd;
}

/* NAME@NETNS. The descriptor; negative after a message. */
static int device_create(const char *where, unsigned mtu)
{
    char name[IFNAMSIZ], path[4096];
    const char *at = strchr(where, '@');
    int home = -1, there = -1, fd = -EINVAL;
    if (!at || at == where || (size_t)(at - where) >= sizeof(name) || !at[1]) {
        fprintf(stderr, "wire: %s: NAME@NETNS is needed\n", where);
        return -EINVAL;
    }
    memcpy(name, where, (size_t)(at - where));
    name[at - where] = '\0';
    if (strcmp(at + 1, ".") == 0) {
        fd = tun_create(name, mtu);
        goto out;
    }
    snprintf(path, sizeof(path), "%s%s", strchr(at + 1, '/') ? "" : "/run/netns/", at + 1);
    home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    there = open(path, O_RDONLY | O_CLOEXEC);
    if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0) {
        fd = -errno;
        goto out;
    }
    fd = tun_create(name, mtu);
    if (setns(home, CLONE_NEWNET) < 0) {
        perror("wire: back to its own namespace");
        exit(1);
    }
out:
    if (fd < 0)
        fprintf(stderr, "wire: %s: %s\n", where, strerror(-fd));
    if (home >= 0)
        close(home);
    if (there >= 0)
        close(there);
    return fd;
}

static void device_ready(struct watch *watch, uint32_t events)
{
    struct device *device = (struct device *)watch;
    struct wire *wire = device->wire;
    int64_t now = clock_now();
    (void)events;
    for (int i = 0; i < BATCH; i++) {
        struct virtio_net_hdr head;
        struct iovec parts[] = {{&head, sizeof(head)}, {wire->buffer, sizeof(wire->buffer)}};
        ssize_t n = readv(watch->fd, parts, 2);
        if (n <= (ssize_t)sizeof(head))
            return; /* nothing more; or the device is down, which passes */
        struct parcel parcel = {.data = wire->buffer, .len = (size_t)n - sizeof(head)};
        parcel.shape.is_unsummed = head.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
        parcel.shape.train = head.gso_type;
        parcel.shape.segment = head.gso_size;
        gate_receive(&wire->gate, device->direction, &parcel, now);
    }
}

/* What the kernel is told about a packet whose checksum, or whose cutting, is left to it. */
static void head_fill(struct virtio_net_hdr *head, const struct parcel *parcel)
{
    struct packet packet;
    memset(head, 0, sizeof(*head));
    if (!parcel->shape.is_unsummed || packet_parse(parcel->data, parcel->len, &packet) < 0)
        return;
    size_t offset = packet_sum_partly(&packet);
    if (!offset)
        return;
    head->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    head->csum_start = (uint16_t)packet.transport;
    head->csum_offset = (uint16_t)offset;
    if (!parcel->shape.train)
        return;
    head->gso_type = parcel->shape.train;
    head->gso_size = parcel->shape.segment;
    head->hdr_len = (uint16_t)(packet.transport + packet_tcp_head(&packet));
}

static bool device_send(void *arg, enum direction side, const struct parcel *parcel)
{
    struct wire *wire = arg;
    struct virtio_net_hdr head;
    head_fill(&head, parcel);
    struct iovec parts[] = {{&head, sizeof(head)}, {parcel->data, parcel->len}};
    return writev(wire->devices[side].watch.fd, parts, 2) == (ssize_t)(sizeof(head) + parcel->len);
}

/* The kernel hands over trains and packets without checksums while the gate takes them. */
static void devices_set_offload(struct wire *wire, bool is_offloading)
{
    unsigned flags = is_offloading ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN : 0;
    for (int i = 0; i < 2; i++)
        if (ioctl(wire->devices[i].watch.fd, TUNSETOFFLOAD, flags) < 0)
            perror("wire: TUNSETOFFLOAD");
    wire->is_offloading = is_offloading;
}

/* --- The loop --- */

static void timer_ready(struct watch *watch, uint32_t events)
{
    struct wire *wire = wire_of(watch, offsetof(struct wire, timer));
    uint64_t times;
    (void)events;
    if (read(watch->fd, &times, sizeof(times)) > 0)
        wire->armed = LINK_NEVER;
}

static void timer_arm(struct wire *wire)
{
    int64_t next = gate_next(&wire->gate);
    if (next >= wire->armed)
        return; /* it wakes up early enough */
    wire->armed = next;
    struct itimerspec spec = {
        .it_value = {.tv_sec = next / LINK_SEC_NS, .tv_nsec = next % LINK_SEC_NS}};
    timerfd_settime(wire->timer.fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void signal_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    wire_of(watch, offsetof(struct wire, signals))->is_over = true;
}

static void stdin_ready(struct watch *watch, uint32_t events)
{
    char bytes[256];
    (void)events;
    if (read(watch->fd, bytes, sizeof(bytes)) <= 0)
        wire_of(watch, offsetof(struct wire, stdin))->is_over = true;
}

static void wire_run(struct wire *wire)
{
    bool has_more = false;
    while (!wire->is_over) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(wire->epoll, events, EVENTS, has_more ? 0 : -1);
        for (int i = 0; i < count; i++) {
            struct watch *watch = events[i].data.ptr;
            watch->ready(watch, events[i].events);
        }
        int64_t now = clock_now();
        has_more = gate_deliver(&wire->gate, now, DELIVER_BATCH);
        if (now - wire->swept > LINK_SEC_NS) {
            nat_sweep(wire->gate.nat, now);
            wire->swept = now;
        }
        if (wire->is_offloading != gate_takes_trains(&wire->gate))
            devices_set_offload(wire, !wire->is_offloading);
        timer_arm(wire);
    }
}

/* --- Starting --- */

static int usage(const char *problem)
{
    fprintf(stderr,
            "wire: %s\n"
            "usage: wire --control PATH --in NAME@NETNS --out NAME@NETNS [--mtu BYTES]\n"
            "            [--exit-with-stdin] [KEY=VALUE...]\n",
            problem);
    return 2;
}

static int parse_arguments(int argc, char **argv, struct options *options,
                           struct settings *settings)
{
    static const struct option table[] = {
        {"control", required_argument, NULL, 'c'},   {"in", required_argument, NULL, 'i'},
        {"out", required_argument, NULL, 'o'},       {"mtu", required_argument, NULL, 'm'},
        {"exit-with-stdin", no_argument, NULL, 'e'}, {0},
    };
    char error[SETTINGS_ERROR_BYTES];
    int option;
    *options = (struct options){.mtu = MTU_DEFAULT};
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        if (option == 'c')
            options->control = optarg;
        else if (option == 'i')
            options->in = optarg;
        else if (option == 'o')
            options->out = optarg;
        else if (option == 'm')
            options->mtu = (unsigned)strtoul(optarg, NULL, 10);
        else if (option == 'e')
            options->exits_with_stdin = true;
        else
            return usage("unknown option");
    }
    if (!options->control || !options->in || !options->out)
        return usage("--control, --in and --out are needed");
    if (options->mtu < MTU_MIN || options->mtu > PACKET_MAX_BYTES)
        return usage("--mtu: 68 to 65535");
    for (; optind < argc; optind++) {
        char *value = strchr(argv[optind], '=');
        if (!value)
            return usage("KEY=VALUE is needed");
        *value++ = '\0';
        if (!settings_set(settings, argv[optind], value, error))
            return usage(error);
    }
    return settings_check(settings, error) ? 0 : usage(error);
}

static int wire_open(struct wire *wire, const struct options *options)
{
    const char *where[2] = {options->in, options->out};
    for (int i = 0; i < 2; i++) {
        int fd = device_create(where[i], options->mtu);
        if (fd < 0)
            return fd;
        wire->devices[i] = (struct device){{fd, device_ready}, wire, (enum direction)i};
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    wire->epoll = epoll_create1(EPOLL_CLOEXEC);
    wire->timer =
        (struct watch){timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC), timer_ready};
    wire->signals = (struct watch){signalfd(-1, &signals, SFD_CLOEXEC), signal_ready};
    wire->stdin = (struct watch){STDIN_FILENO, stdin_ready};
    wire->armed = LINK_NEVER;
    struct watch *watches[] = {&wire->devices[0].watch, &wire->devices[1].watch, &wire->timer,
                               &wire->signals, &wire->stdin};
    size_t count = sizeof(watches) / sizeof(*watches) - (options->exits_with_stdin ? 0 : 1);
    for (size_t i = 0; i < count; i++) {
        int r = watch_add(wire->epoll, watches[i], EPOLLIN);
        if (r < 0) {
            fprintf(stderr, "wire: cannot watch descriptor %d: %s\n", watches[i]->fd, strerror(-r));
            return r;
        }
    }
    devices_set_offload(wire, gate_takes_trains(&wire->gate));
    int r = control_open(&wire->control, &wire->gate, options->control, wire->epoll);
    if (r < 0)
        fprintf(stderr, "wire: %s: %s\n", options->control, strerror(-r));
    return r;
}

int main(int argc, char **argv)
{
    struct options options;
    struct settings settings;
    uint32_t seed = 1;
    if (getrandom(&seed, sizeof(seed), 0) < 0)
        perror("wire: getrandom");
    settings_init(&settings, seed);
    int r = parse_arguments(argc, argv, &options, &settings);
    if (r)
        return r;
    struct wire *wire = calloc(1, sizeof(*wire));
    if (!wire || gate_init(&wire->gate, &settings, options.mtu, device_send, wire) < 0) {
        fprintf(stderr, "wire: no memory\n");
        return 1;
    }
    if (wire_open(wire, &options) < 0)
        return 1;
    fprintf(stderr, "wire: seed=%llu\n", (unsigned long long)settings.seed);
    printf("ready\n");
    fflush(stdout);
    wire_run(wire);
    control_close(wire->control);
    gate_free(&wire->gate);
    free(wire);
    return 0;
}
