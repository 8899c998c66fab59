/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Links and addresses are dumped over a routing socket (rtnetlink(7)); getifaddrs(3) would not tell
 * which addresses are temporary, deprecated or not yet ours. Where packets to the internet can
 * leave is asked of the kernel's own choice, for an address there, once for each interface
 * that has an address and once for any: a dump of the routes may be long, and would leave policy
 * rules out. The address is that of a root name server; nothing is sent to it.
 *
 * The kernel answers these questions at once. It is the kernel, and believed; still no length is
 * read beyond what came.
 */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nat/interfaces.h"

#define ANSWER_BYTES_MAX 32768
#define DUMP_PARTS_MAX   10000 /* of one dump, lest it never ends */
#ifndef RTM_F_FIB_MATCH
#define RTM_F_FIB_MATCH 0x2000 /* older headers; older kernels do without */
#endif

static const uint8_t internet4[4] = {198, 41, 0, 4};
static const uint8_t internet6[16] = {0x20, 0x01, 0x05, 0x03, 0xba, 0x3e, [13] = 2, [15] = 0x30};

struct reader {
    struct interfaces *list;
    const char *own;
    size_t virtual_count;
    uint32_t route;
};

static const void *attribute(const struct rtattr *first, size_t len, unsigned short type,
                             size_t least)
{
    for (const struct rtattr *at = first; RTA_OK(at, len); at = RTA_NEXT(at, len))
        if (at->rta_type == type && RTA_PAYLOAD(at) >= least)
            return RTA_DATA(at);
    return NULL;
}

static void add_link(struct reader *reader, const struct nlmsghdr *message)
{
    const struct ifinfomsg *info = NLMSG_DATA(message);
    struct interfaces *list = reader->list;
    struct interface *item = &list->items[list->count];
    const char *name;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*info)) || list->count == INTERFACES_MAX)
        return;
    name = attribute(IFLA_RTA(info), IFLA_PAYLOAD(message), IFLA_IFNAME, 1);
    if (!name)
        return;
    memset(item, 0, sizeof(*item));
    for (size_t i = 0; i < IF_NAMESIZE - 1 && name[i]; i++)
        item->name[i] = name[i];
    item->index = (uint32_t)info->ifi_index;
    item->up = info->ifi_flags & IFF_UP;
    item->carrier = info->ifi_flags & IFF_RUNNING;
    item->kind = interface_kind_of(item->name, info->ifi_flags & IFF_LOOPBACK, reader->own);
    if (item->kind == INTERFACE_VIRTUAL && ++reader->virtual_count > INTERFACES_MAX / 2)
        return;
    list->count++;
}

static void add_addr(struct reader *reader, const struct nlmsghdr *message)
{
    const struct ifaddrmsg *info = NLMSG_DATA(message);
    struct interfaces *list = reader->list;
    struct interface_addr *out = &list->addrs[list->addr_count];
    size_t bytes = info->ifa_family == AF_INET ? 4 : 16;
    const void *addr = NULL;
    const uint32_t *flags;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*info)) ||
        list->addr_count == INTERFACES_ADDRS_MAX ||
        (info->ifa_family != AF_INET && info->ifa_family != AF_INET6))
        return;
    /* On a point-to-point link ADDRESS is the other end's. */
    addr = attribute(IFA_RTA(info), IFA_PAYLOAD(message), IFA_LOCAL, bytes);
    if (!addr)
        addr = attribute(IFA_RTA(info), IFA_PAYLOAD(message), IFA_ADDRESS, bytes);
    if (!addr)
        return;
    flags = attribute(IFA_RTA(info), IFA_PAYLOAD(message), IFA_FLAGS, sizeof(*flags));
    memset(out, 0, sizeof(*out));
    out->addr.family = info->ifa_family;
    memcpy(out->addr.ip.bytes, addr, bytes);
    if (info->ifa_family == AF_INET6 && info->ifa_scope == RT_SCOPE_LINK)
        out->addr.scope = info->ifa_index;
    out->prefix = info->ifa_prefixlen;
    if (info->ifa_family == AF_INET6) { /* IPv4 calls secondary what IPv6 calls temporary */
        uint32_t bits = flags ? *flags : info->ifa_flags;

        out->temporary = bits & IFA_F_TEMPORARY;
        out->deprecated = bits & IFA_F_DEPRECATED;
        out->tentative = bits & (IFA_F_TENTATIVE | IFA_F_DADFAILED) && !(bits & IFA_F_OPTIMISTIC);
    }
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].index != info->ifa_index)
            continue;
        out->place = (uint8_t)i;
        list->addr_count++;
        return;
    }
}

/* Hands every message of an answer of the given type to add. 0 or a negative errno. */
static int receive(int fd, struct reader *reader, uint16_t type,
                   void (*add)(struct reader *reader, const struct nlmsghdr *message))
{
    _Alignas(struct nlmsghdr) uint8_t buf[ANSWER_BYTES_MAX];

    for (int part = 0; part < DUMP_PARTS_MAX; part++) {
        ssize_t got = recv(fd, buf, sizeof(buf), 0);
        size_t left = got > 0 ? (size_t)got : 0;

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        for (const struct nlmsghdr *at = (const void *)buf; NLMSG_OK(at, left);
             at = NLMSG_NEXT(at, left)) {
            if (at->nlmsg_type == NLMSG_DONE)
                return 0;
            if (at->nlmsg_type == NLMSG_ERROR) {
                const struct nlmsgerr *error = NLMSG_DATA(at);

                return at->nlmsg_len < NLMSG_LENGTH(sizeof(*error)) ? -EIO : error->error;
            }
            if (at->nlmsg_type == type)
                add(reader, at);
            if (!(at->nlmsg_flags & NLM_F_MULTI))
                return 0;
        }
    }
    return -EIO;
}

static int dump(int fd, struct reader *reader, uint16_t question, uint16_t answer,
                void (*add)(struct reader *reader, const struct nlmsghdr *message))
{
    struct {
        struct nlmsghdr head;
        struct rtgenmsg body;
    } request = {
        .head = {.nlmsg_len = sizeof(request),
                 .nlmsg_type = question,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.rtgen_family = AF_UNSPEC},
    };

    if (send(fd, &request, sizeof(request), 0) < 0)
        return -errno;
    return receive(fd, reader, answer, add);
}

static void add_route(struct reader *reader, const struct nlmsghdr *message)
{
    const struct rtmsg *info = NLMSG_DATA(message);
    const uint32_t *index;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*info)) ||
        (info->rtm_type != RTN_UNICAST && info->rtm_type != RTN_LOCAL))
        return;
    index = attribute(RTM_RTA(info), RTM_PAYLOAD(message), RTA_OIF, sizeof(*index));
    if (index)
        reader->route = *index;
}

/* The interface by which packets to an address leave (index 0), or whether they can by this one.
 * 0: none, or not. */
static uint32_t ask_route(int fd, uint8_t family, const uint8_t *to, uint32_t index)
{
    struct {
        struct nlmsghdr head;
        struct rtmsg body;
        uint8_t attributes[RTA_SPACE(16) + RTA_SPACE(4)];
    } request = {
        .head = {.nlmsg_type = RTM_GETROUTE, .nlmsg_flags = NLM_F_REQUEST},
        .body = {.rtm_family = family,
                 .rtm_dst_len = family == AF_INET ? 32 : 128,
                 .rtm_flags = RTM_F_FIB_MATCH},
    };
    struct reader reader = {.route = 0};
    size_t bytes = family == AF_INET ? 4 : 16, len = RTA_SPACE(bytes);
    struct rtattr *at = (void *)request.attributes;

    at->rta_type = RTA_DST;
    at->rta_len = (unsigned short)RTA_LENGTH(bytes);
    memcpy(RTA_DATA(at), to, bytes);
    if (index) {
        at = (void *)(request.attributes + len);
        at->rta_type = RTA_OIF;
        at->rta_len = RTA_LENGTH(sizeof(index));
        memcpy(RTA_DATA(at), &index, sizeof(index));
        len += RTA_SPACE(sizeof(index));
    }
    request.head.nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof(request.body)) + len);
    if (send(fd, &request, request.head.nlmsg_len, 0) < 0 ||
        receive(fd, &reader, RTM_NEWROUTE, add_route) < 0)
        return 0;
    return reader.route;
}

static bool has_family(const struct interfaces *list, size_t place, int family)
{
    for (size_t i = 0; i < list->addr_count; i++)
        if (list->addrs[i].place == place && list->addrs[i].addr.family == family)
            return true;
    return false;
}

static void read_routes(int fd, struct interfaces *list)
{
    list->route4 = ask_route(fd, AF_INET, internet4, 0);
    list->route6 = ask_route(fd, AF_INET6, internet6, 0);
    for (size_t i = 0; i < list->count; i++) {
        struct interface *item = &list->items[i];

        if (!item->up || !item->carrier || item->kind == INTERFACE_LOOPBACK)
            continue;
        if (has_family(list, i, AF_INET))
            item->default4 = ask_route(fd, AF_INET, internet4, item->index) == item->index;
        if (has_family(list, i, AF_INET6))
            item->default6 = ask_route(fd, AF_INET6, internet6, item->index) == item->index;
    }
}

/* A routing socket to ask questions of. Negative errno. */
static int open_socket(void)
{
    const struct timeval limit = {.tv_sec = 1}; /* it never is: but a loop must not hang here */
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

int interfaces_read(struct interfaces *list, const char *own)
{
    struct reader reader = {.list = list, .own = own};
    int fd = open_socket(), r;

    list->count = list->addr_count = 0;
    list->route4 = list->route6 = 0;
    if (fd < 0)
        return fd;
    r = dump(fd, &reader, RTM_GETLINK, RTM_NEWLINK, add_link);
    if (r == 0)
        r = dump(fd, &reader, RTM_GETADDR, RTM_NEWADDR, add_addr);
    if (r == 0)
        read_routes(fd, list);
    else
        list->count = list->addr_count = 0;
    close(fd);
    return r;
}

uint32_t interfaces_route(const struct addr *given)
{
    struct addr to = addr_unmap(given);
    int fd = to.family == AF_INET || to.family == AF_INET6 ? open_socket() : -1;
    uint32_t index;

    if (fd < 0)
        return 0;
    index = ask_route(fd, to.family, to.ip.bytes, 0);
    close(fd);
    return index;
}
