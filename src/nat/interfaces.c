/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Pure functions over a list that interfaces_read() or a test has made. Nothing is kept.
 *
 * Which interfaces lead anywhere cannot be asked: the bridge of a container looks like any other.
 * So it goes by name, and by need: inside a container such a link is the network, and a machine
 * without any network still has its loopback, by which two nodes on it can meet. Who names
 * interfaces in the configuration is believed.
 */
#include "nat/interfaces.h"

#include <fnmatch.h>
#include <string.h>

static const char *const virtual_names[] = {"docker*", "br-*",   "veth*",    "virbr*", "vnet*",
                                            "lxc*",    "lxdbr*", "cni*",     "cali*",  "flannel*",
                                            "podman*", "vmnet*", "vboxnet*", "adit*",  "kube*"};

enum interface_kind interface_kind_of(const char *name, bool loopback, const char *own)
{
    if (loopback)
        return INTERFACE_LOOPBACK;
    if (own[0] && strcmp(name, own) == 0)
        return INTERFACE_OWN;
    for (size_t i = 0; i < sizeof(virtual_names) / sizeof(*virtual_names); i++)
        if (fnmatch(virtual_names[i], name, 0) == 0)
            return INTERFACE_VIRTUAL;
    return INTERFACE_REAL;
}

/* Field by field: what is between them is not defined. */
bool interfaces_equal(const struct interfaces *a, const struct interfaces *b)
{
    if (a->count != b->count || a->addr_count != b->addr_count || a->route4 != b->route4 ||
        a->route6 != b->route6)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct interface *x = &a->items[i], *y = &b->items[i];

        if (strcmp(x->name, y->name) != 0 || x->index != y->index || x->kind != y->kind ||
            x->up != y->up || x->carrier != y->carrier || x->default4 != y->default4 ||
            x->default6 != y->default6)
            return false;
    }
    for (size_t i = 0; i < a->addr_count; i++) {
        const struct interface_addr *x = &a->addrs[i], *y = &b->addrs[i];

        if (!addr_equal(&x->addr, &y->addr) || x->prefix != y->prefix || x->place != y->place ||
            x->temporary != y->temporary || x->deprecated != y->deprecated ||
            x->tentative != y->tentative)
            return false;
    }
    return true;
}

const struct interface *interfaces_named(const struct interfaces *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

/* --- Addresses --- */

static bool same_prefix(const struct addr *a, const struct addr *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (a->family != b->family || whole > addr_ip_bytes(a) ||
        memcmp(a->ip.bytes, b->ip.bytes, whole) != 0)
        return false;
    return rest == 0 || (a->ip.bytes[whole] ^ b->ip.bytes[whole]) >> (8 - rest) == 0;
}

static bool is_link_local(const struct addr *addr)
{
    const uint8_t *b = addr->ip.bytes;

    return addr->family == AF_INET ? b[0] == 169 && b[1] == 254
                                   : b[0] == 0xfe && (b[1] & 0xc0) == 0x80;
}

/* Bits of the private block that it is in; 0: it is not private. */
static unsigned private_block(const struct addr *addr)
{
    const uint8_t *b = addr->ip.bytes;

    if (addr->family == AF_INET6)
        return (b[0] & 0xfe) == 0xfc ? 48 : 0;
    if (b[0] == 10)
        return 8;
    if (b[0] == 172 && (b[1] & 0xf0) == 16)
        return 12;
    if (b[0] == 192 && b[1] == 168)
        return 16;
    return b[0] == 100 && (b[1] & 0xc0) == 64 ? 10 : 0;
}

bool interfaces_is_private(const struct addr *given)
{
    struct addr addr = addr_unmap(given);

    return addr_is_loopback(&addr) || is_link_local(&addr) || private_block(&addr) > 0;
}

static bool works(const struct interface *item)
{
    return item->up && (item->carrier || item->kind == INTERFACE_LOOPBACK);
}

const struct interface *interfaces_of_addr(const struct interfaces *list, const struct addr *given)
{
    struct addr addr = addr_unmap(given);

    for (size_t i = 0; i < list->addr_count; i++) {
        const struct interface_addr *known = &list->addrs[i];
        const struct interface *item = &list->items[known->place];

        struct addr same = known->addr;

        /* The scope of a link-local one is its interface; a socket may not say it. */
        if (!addr.scope)
            same.scope = 0;
        if (addr_equal_ip(&same, &addr) && !known->tentative && works(item))
            return item;
    }
    return NULL;
}

/* As what an address counts: lo may have others than loopback's. INTERFACE_OWN: not at all. */
static enum interface_kind kind_of(const struct interfaces *list, const struct interface_addr *addr)
{
    const struct interface *item = &list->items[addr->place];

    if (!works(item) || addr->tentative || is_link_local(&addr->addr))
        return INTERFACE_OWN;
    if (item->kind == INTERFACE_LOOPBACK && !addr_is_loopback(&addr->addr))
        return INTERFACE_REAL;
    return item->kind;
}

bool interfaces_is_usable(const struct interfaces *list, const struct interface *item)
{
    for (size_t i = 0; i < list->addr_count; i++)
        if (&list->items[list->addrs[i].place] == item &&
            kind_of(list, &list->addrs[i]) != INTERFACE_OWN)
            return true;
    return false;
}

/* --- Choice --- */

static bool is_named(const struct config_strings *names, const char *name, size_t *place)
{
    for (*place = 0; *place < names->count; ++*place)
        if (strcmp(names->items[*place], name) == 0)
            return true;
    return false;
}

/* The lower the better; -1: not to be used. */
static int preference(const struct interfaces *list, const struct config_strings *names,
                      const struct interface_addr *addr, enum interface_kind wanted)
{
    const struct interface *item = &list->items[addr->place];
    enum interface_kind kind = kind_of(list, addr);
    bool is_default = addr->addr.family == AF_INET ? item->default4 : item->default6;
    size_t place;

    if (kind == INTERFACE_OWN)
        return -1;
    if (kind != INTERFACE_LOOPBACK && item->kind != INTERFACE_LOOPBACK && names->count > 0) {
        if (!is_named(names, item->name, &place))
            return -1;
        return wanted == INTERFACE_REAL ? (int)place : -1;
    }
    if (kind != wanted)
        return -1;
    return is_default ? 0 : 1;
}

static int worth(const struct interface_addr *addr)
{
    return addr->deprecated ? 2 : addr->temporary ? 1 : 0;
}

/* Addresses of one kind, by their worth, then by preference, then as the system lists them. */
static size_t collect(const struct interfaces *list, const struct config_strings *names, int family,
                      enum interface_kind wanted, struct addr *out, size_t max)
{
    struct {
        uint16_t key;
        uint16_t at;
    } sorted[INTERFACES_ADDRS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < list->addr_count; i++) {
        const struct interface_addr *addr = &list->addrs[i];
        int preferred = preference(list, names, addr, wanted);
        uint16_t key;
        size_t j;

        if (preferred < 0 || (family != AF_UNSPEC && addr->addr.family != family))
            continue;
        key = (uint16_t)(worth(addr) << 12 | (preferred < 0xfff ? preferred : 0xfff));
        for (j = count++; j > 0 && sorted[j - 1].key > key; j--)
            sorted[j] = sorted[j - 1];
        sorted[j].key = key;
        sorted[j].at = (uint16_t)i;
    }
    for (size_t i = 0; i < count && i < max; i++)
        out[i] = list->addrs[sorted[i].at].addr;
    return count < max ? count : max;
}

size_t interfaces_addrs(const struct interfaces *list, const struct config_strings *names,
                        int family, struct addr *out, size_t max)
{
    size_t count = 0;

    for (enum interface_kind kind = INTERFACE_REAL; kind < INTERFACE_OWN && count == 0; kind++)
        count = collect(list, names, family, kind, out, max);
    return count;
}

size_t interfaces_usable(const struct interfaces *list, const struct config_strings *names,
                         char out[][IF_NAMESIZE], size_t max)
{
    size_t count = 0;

    for (size_t i = 0; i < names->count && count < max; i++) {
        const struct interface *item = interfaces_named(list, names->items[i]);

        if (item && interfaces_is_usable(list, item))
            memcpy(out[count++], item->name, IF_NAMESIZE);
    }
    if (names->count > 0)
        return count;
    for (int pass = 0; pass < 2; pass++) { /* those with a route to the internet first */
        for (size_t i = 0; i < list->count && count < max; i++) {
            const struct interface *item = &list->items[i];

            if (item->kind == INTERFACE_REAL && interfaces_is_usable(list, item) &&
                (item->default4 || item->default6) == (pass == 0))
                memcpy(out[count++], item->name, IF_NAMESIZE);
        }
    }
    return count;
}

bool interfaces_share_network(const struct interfaces *list, const struct addr *theirs)
{
    struct addr addr = addr_unmap(theirs);
    unsigned block = private_block(&addr);
    enum interface_kind best = INTERFACE_OWN; /* virtual ones count where there is nothing else */

    if (!interfaces_is_private(&addr))
        return true;
    if (is_link_local(&addr))
        return false;
    for (size_t i = 0; i < list->addr_count; i++) {
        enum interface_kind kind = kind_of(list, &list->addrs[i]);

        if (kind < best)
            best = kind;
    }
    if (addr_is_loopback(&addr))
        return best >= INTERFACE_LOOPBACK;
    for (size_t i = 0; i < list->addr_count && best < INTERFACE_LOOPBACK; i++) {
        const struct interface_addr *ours = &list->addrs[i];
        unsigned bits = ours->prefix < block ? ours->prefix : block;

        if (kind_of(list, ours) == best && bits > 0 && same_prefix(&ours->addr, &addr, bits))
            return true;
    }
    return false;
}
