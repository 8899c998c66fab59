/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A name has one entry, with a half for each family, and the lookups that wait for it: however many
 * connections ask for a name at once, it is asked for once. A and AAAA go out together, and each
 * half is told as soon as it is known, so that dialling can follow RFC 8305. Results stay as long
 * as their TTL says, at most TTL_MAX; "no such name" for NEGATIVE_TTL; a resolver's failure is not
 * kept.
 *
 * Order: names that need no DNS (RFC 6761: localhost is loopback, invalid does not exist; RFC 7686:
 * onion; names whose last label is a number, which some would read as an address), then the hosts
 * file (hosts.c), then DNS by c-ares. Names are taken as complete: no search list, so that a name
 * means the same at every exit, and deny rules see the name that is looked up.
 *
 * c-ares runs on our loop: its sockets are libevent events, its timeouts a tick while something is
 * being asked. Its callbacks only store results; lookups are told by deferred calls, so that
 * whoever is told may do anything. c-ares cannot cancel one query: a cancelled lookup leaves its
 * entry, the answer comes into the cache.
 *
 * The system's settings may change while we run (another network): resolv.conf and hosts are looked
 * at again at most every FILES_CHECK, and when resolv.conf has changed, new queries go through a
 * new channel; the old one ends with its last query.
 *
 * Limits: RESOLVE_NAMES_MAX entries; the one unused for longest makes place; when all are in use,
 * resolve() refuses.
 */
#include "egress/resolve.h"

#include <ares.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uthash.h>
#include <utlist.h>

#include "base/err.h"
#include "base/log.h"
#include "egress/hosts.h"

#define TTL_MAX_US      (300 * SEC_US)
#define NEGATIVE_TTL_US (5 * SEC_US)
#define FILES_CHECK_US  (5 * SEC_US)
#define TICK_US         (50 * MS_US)
#define NAME_MAX_BYTES  253 /* RFC 1035 2.3.4, as text */

enum half_state { HALF_EMPTY, HALF_PENDING, HALF_KNOWN };

struct half {
    enum half_state state;
    enum answer why; /* when count is 0 */
    uint64_t expires;
    size_t count;
    struct addr addrs[RESOLVE_ADDRS_MAX];
};

struct resolver_entry {
    struct resolver *resolver;
    struct half halves[2];  /* IPv6, IPv4 */
    struct lookup *waiters; /* in no order */
    bool is_idle;           /* in the list of the unused */
    struct resolver_entry *next, *prev;
    UT_hash_handle hh;
    char name[]; /* lower case, no final dot */
};

/* A c-ares channel and what it has open. */
struct channel {
    struct resolver *resolver;
    ares_channel ares;
    size_t queries;
    struct channel_socket *sockets;
    struct channel *next, *prev;
};

struct channel_socket {
    struct channel *channel;
    ares_socket_t fd;
    struct event *event;
    struct channel_socket *next, *prev;
};

struct query {
    struct channel *channel;
    struct resolver_entry *entry;
    int half;
};

/* What a file looked like when it was read; all zero: there was none. */
struct file_stamp {
    struct timespec changed;
    ino_t inode;
    off_t size;
};

struct resolver {
    struct loop *loop;
    struct resolver_entry *entries; /* by name */
    struct resolver_entry *idle;    /* longest unused first */
    struct channel *channels;       /* the first is in use, others end with their last query */
    struct timer tick;
    bool freeing;
    uint64_t queries;
    char *servers; /* for c-ares; NULL: the system's */
    int timeout_ms, tries;
    char *hosts_file, *resolv_conf;
    uint16_t system_port;
    struct hosts hosts;
    struct file_stamp hosts_stamp, resolv_stamp;
    uint64_t files_checked;
};

static const int families[2] = {AF_INET6, AF_INET};

/* --- Telling --- */

static void entry_maybe_idle(struct resolver_entry *entry)
{
    if (entry->waiters || entry->is_idle || entry->halves[0].state == HALF_PENDING ||
        entry->halves[1].state == HALF_PENDING)
        return;
    entry->is_idle = true;
    DL_APPEND(entry->resolver->idle, entry);
}

static void entry_free(struct resolver_entry *entry)
{
    struct resolver *resolver = entry->resolver;
    if (entry->is_idle)
        DL_DELETE(resolver->idle, entry);
    HASH_DEL(resolver->entries, entry);
    free(entry);
}

static void lookup_leave(struct lookup *lookup)
{
    struct resolver_entry *entry = lookup->entry;
    if (!entry)
        return;
    *lookup->prev = lookup->next;
    if (lookup->next)
        lookup->next->prev = lookup->prev;
    lookup->entry = NULL;
    defer_cancel(entry->resolver->loop, &lookup->tell);
    entry_maybe_idle(entry);
}

void resolve_cancel(struct lookup *lookup)
{
    if (lookup->gone)
        *lookup->gone = true;
    lookup->gone = NULL;
    lookup_leave(lookup);
}

static void lookup_tell(void *arg)
{
    struct lookup *lookup = arg;
    for (int i = 0; i < 2; i++) {
        const struct half *half = &lookup->entry->halves[i];
        if (lookup->told[i] || half->state != HALF_KNOWN)
            continue;
        struct addr addrs[RESOLVE_ADDRS_MAX];
        size_t count = half->count;
        enum answer why = half->why;
        memcpy(addrs, half->addrs, count * sizeof *addrs);
        for (size_t k = 0; k < count; k++)
            addrs[k].port = lookup->port;

        bool gone = false;
        lookup->told[i] = true;
        if (lookup->told[1 - i])
            lookup_leave(lookup);
        lookup->gone = &gone;
        lookup->fn(lookup->arg, families[i], addrs, count, why);
        if (gone)
            return;
        lookup->gone = NULL;
        if (!lookup->entry)
            return;
    }
}

static void half_is_known(struct resolver_entry *entry, int index, enum answer why, uint64_t ttl_us)
{
    struct half *half = &entry->halves[index];
    half->state = HALF_KNOWN;
    half->why = half->count ? ANSWER_OK : why;
    half->expires = loop_now(entry->resolver->loop) + ttl_us;
    for (struct lookup *lookup = entry->waiters; lookup; lookup = lookup->next)
        if (!lookup->told[index])
            defer_soon(entry->resolver->loop, &lookup->tell);
}

/* --- c-ares --- */

static void channel_free(struct channel *channel)
{
    DL_DELETE(channel->resolver->channels, channel);
    ares_destroy(channel->ares);
    free(channel);
}

static void on_tick(void *arg)
{
    struct resolver *resolver = arg;
    struct channel *channel, *next;
    bool asking = false;
    DL_FOREACH_SAFE (resolver->channels, channel, next) {
        if (channel->queries)
            ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        if (channel->queries)
            asking = true;
        else if (channel != resolver->channels)
            channel_free(channel);
    }
    if (asking)
        timer_set_in(resolver->loop, &resolver->tick, TICK_US);
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    struct channel_socket *sock = arg;
    struct channel *channel = sock->channel; /* the socket may be gone after this */
    loop_refresh(channel->resolver->loop);
    ares_process_fd(channel->ares, what & EV_READ ? fd : ARES_SOCKET_BAD,
                    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
}

static void on_socket_state(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct channel *channel = arg;
    struct channel_socket *sock;
    DL_SEARCH_SCALAR(channel->sockets, sock, fd, fd);
    if (sock && sock->event) {
        event_free(sock->event);
        sock->event = NULL;
    }
    if (!readable && !writable) {
        if (sock)
            DL_DELETE(channel->sockets, sock);
        free(sock);
        return;
    }
    if (!sock) {
        sock = calloc(1, sizeof *sock);
        if (!sock)
            return; /* the query times out */
        sock->channel = channel;
        sock->fd = fd;
        DL_APPEND(channel->sockets, sock);
    }
    short what = (short)(EV_PERSIST | (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
    sock->event = event_new(loop_base(channel->resolver->loop), fd, what, on_socket, sock);
    if (!sock->event || event_add(sock->event, NULL) < 0)
        log_error("event=resolver-failed reason=\"cannot watch a socket\"");
}

static struct channel *channel_new(struct resolver *resolver)
{
    struct channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return NULL;
    channel->resolver = resolver;
    char lookups[] = "b"; /* DNS; the hosts file is ours */
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = resolver->timeout_ms,
        .tries = resolver->tries,
        .lookups = lookups,
        .resolvconf_path = resolver->resolv_conf,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = channel,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
               ARES_OPT_RESOLVCONF | ARES_OPT_SOCK_STATE_CB;
    if (resolver->system_port) {
        options.udp_port = options.tcp_port = resolver->system_port;
        mask |= ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT;
    }
    int status = ares_init_options(&channel->ares, &options, mask);
    if (status == ARES_SUCCESS && resolver->servers) {
        status = ares_set_servers_ports_csv(channel->ares, resolver->servers);
        if (status != ARES_SUCCESS)
            ares_destroy(channel->ares);
    }
    if (status != ARES_SUCCESS) {
        log_error("event=resolver-failed reason=\"%s\"", ares_strerror(status));
        free(channel);
        return NULL;
    }
    DL_PREPEND(resolver->channels, channel);
    return channel;
}

static enum answer answer_from_ares(int status)
{
    switch (status) {
    case ARES_SUCCESS: /* without addresses of this family */
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
    case ARES_EBADNAME:
        return ANSWER_NAME_NOT_FOUND;
    default:
        return ANSWER_NAME_FAILED;
    }
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct query *query = arg;
    struct resolver_entry *entry = query->entry;
    int index = query->half;
    (void)timeouts;
    query->channel->queries--;
    free(query);

    struct half *half = &entry->halves[index];
    int64_t ttl = TTL_MAX_US / SEC_US;
    half->count = 0;
    if (status == ARES_SUCCESS && info) {
        for (const struct ares_addrinfo_cname *cname = info->cnames; cname; cname = cname->next)
            ttl = cname->ttl < ttl ? cname->ttl : ttl;
        for (const struct ares_addrinfo_node *node = info->nodes; node; node = node->ai_next) {
            struct addr addr;
            if (node->ai_family != families[index] ||
                addr_from_sockaddr(node->ai_addr, node->ai_addrlen, &addr) != 0)
                continue;
            ttl = node->ai_ttl < ttl ? node->ai_ttl : ttl;
            if (half->count < RESOLVE_ADDRS_MAX)
                half->addrs[half->count++] = addr;
        }
    }
    if (info)
        ares_freeaddrinfo(info);
    if (entry->resolver->freeing)
        return;
    enum answer why = answer_from_ares(status);
    uint64_t keep_us = ttl > 0 ? (uint64_t)ttl * SEC_US : 0;
    if (half->count == 0)
        keep_us = why == ANSWER_NAME_NOT_FOUND ? NEGATIVE_TTL_US : 0;
    half_is_known(entry, index, why, keep_us);
    entry_maybe_idle(entry);
}

static void ask(struct resolver_entry *entry, int index)
{
    struct resolver *resolver = entry->resolver;
    struct query *query = NULL;
    if (resolver->channels)
        query = malloc(sizeof *query);
    entry->halves[index].count = 0;
    if (!query) {
        half_is_known(entry, index, ANSWER_NAME_FAILED, 0);
        return;
    }
    *query = (struct query){resolver->channels, entry, index};
    resolver->channels->queries++;
    resolver->queries++;
    if (!timer_is_set(&resolver->tick))
        timer_set_in(resolver->loop, &resolver->tick, TICK_US);
    /* One family each, so that each is told by itself; unsorted, since sorting makes a socket for
     * each address. The callback may come from inside. */
    struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_NOSORT, .ai_family = families[index], .ai_socktype = SOCK_STREAM};
    ares_getaddrinfo(resolver->channels->ares, entry->name, NULL, &hints, on_answer, query);
}

/* --- Names --- */

/* Whether a file is another than when it was last looked at. */
static bool has_changed(const char *path, struct file_stamp *seen)
{
    struct stat st;
    struct file_stamp now = {.size = 0};
    if (stat(path, &st) == 0)
        now = (struct file_stamp){st.st_mtim, st.st_ino, st.st_size};
    bool changed = now.changed.tv_sec != seen->changed.tv_sec ||
                   now.changed.tv_nsec != seen->changed.tv_nsec || now.inode != seen->inode ||
                   now.size != seen->size;
    *seen = now;
    return changed;
}

void resolver_refresh(struct resolver *resolver)
{
    bool first = resolver->files_checked == 0;
    resolver->files_checked = loop_now(resolver->loop);
    if (resolver->hosts_file[0] && has_changed(resolver->hosts_file, &resolver->hosts_stamp)) {
        hosts_clear(&resolver->hosts);
        int r = hosts_load(resolver->hosts_file, &resolver->hosts);
        if (r < 0 && r != -ENOENT)
            log_warn("event=hosts-unreadable error=\"%s\"", err_text(r));
    }
    if (!resolver->servers && has_changed(resolver->resolv_conf, &resolver->resolv_stamp) &&
        !first && loop_base(resolver->loop) && channel_new(resolver))
        log_info("event=resolver-changed");
}

static void check_files(struct resolver *resolver)
{
    if (loop_now(resolver->loop) >= resolver->files_checked + FILES_CHECK_US)
        resolver_refresh(resolver);
}

static bool ends_with_label(const char *name, size_t len, const char *label)
{
    size_t label_len = strlen(label);
    if (len < label_len || strcmp(name + len - label_len, label) != 0)
        return false;
    return len == label_len || name[len - label_len - 1] == '.';
}

/* "127.1", "0x7f.1", "2130706433": addresses to some, names to nobody. */
static bool ends_with_number(const char *name)
{
    const char *dot = strrchr(name, '.');
    const char *label = dot ? dot + 1 : name;
    if (label[0] == '0' && label[1] == 'x')
        return label[2 + strspn(label + 2, "0123456789abcdef")] == '\0';
    return label[strspn(label, "0123456789")] == '\0';
}

static bool is_nowhere(const char *name, size_t len)
{
    return len == 0 || len > NAME_MAX_BYTES || name[0] == '.' || strchr(name, '\\') ||
           strstr(name, "..") || ends_with_label(name, len, "invalid") ||
           ends_with_label(name, len, "onion") || ends_with_number(name);
}

/* Fills both halves without DNS, for this once; false: ask DNS. */
static bool answer_locally(struct resolver_entry *entry)
{
    struct half *v6 = &entry->halves[0], *v4 = &entry->halves[1];
    size_t len = strlen(entry->name), found = 0;
    const struct hosts_record *record = NULL;
    v6->count = v4->count = 0;
    if (ends_with_label(entry->name, len, "localhost")) {
        v6->addrs[v6->count++] = addr_loopback(AF_INET6, 0);
        v4->addrs[v4->count++] = addr_loopback(AF_INET, 0);
    } else if (!is_nowhere(entry->name, len)) {
        record = hosts_find(&entry->resolver->hosts, entry->name, &found);
        if (!record)
            return false;
    }
    for (; found > 0; found--, record++) {
        struct half *half = record->addr.family == AF_INET6 ? v6 : v4;
        if (half->count < RESOLVE_ADDRS_MAX)
            half->addrs[half->count++] = record->addr;
    }
    half_is_known(entry, 0, ANSWER_NAME_NOT_FOUND, 0);
    half_is_known(entry, 1, ANSWER_NAME_NOT_FOUND, 0);
    return true;
}

static void fill(struct resolver_entry *entry)
{
    uint64_t now = loop_now(entry->resolver->loop);
    bool stale[2];
    for (int i = 0; i < 2; i++) {
        const struct half *half = &entry->halves[i];
        stale[i] = half->state == HALF_EMPTY || (half->state == HALF_KNOWN && half->expires <= now);
    }
    if (stale[0] && stale[1] && answer_locally(entry))
        return;
    /* Both are pending before either is asked for: an answer may come from inside. */
    for (int i = 0; i < 2; i++)
        if (stale[i])
            entry->halves[i].state = HALF_PENDING;
    for (int i = 0; i < 2; i++)
        if (stale[i])
            ask(entry, i);
}

static struct resolver_entry *entry_get(struct resolver *resolver, const char *name)
{
    char key[TARGET_NAME_MAX + 1];
    size_t len = 0;
    for (; name[len] && len < TARGET_NAME_MAX; len++)
        key[len] = name[len] >= 'A' && name[len] <= 'Z' ? (char)(name[len] - 'A' + 'a') : name[len];
    if (len && key[len - 1] == '.')
        len--;
    key[len] = '\0';

    struct resolver_entry *entry;
    HASH_FIND(hh, resolver->entries, key, len, entry);
    if (entry)
        return entry;
    if (HASH_COUNT(resolver->entries) >= RESOLVE_NAMES_MAX) {
        if (!resolver->idle)
            return NULL;
        entry_free(resolver->idle);
    }
    entry = calloc(1, sizeof *entry + len + 1);
    if (!entry)
        return NULL;
    entry->resolver = resolver;
    memcpy(entry->name, key, len + 1);
    HASH_ADD_KEYPTR(hh, resolver->entries, entry->name, len, entry);
    return entry;
}

void lookup_init(struct lookup *lookup)
{
    *lookup = (struct lookup){0};
    defer_init(&lookup->tell, lookup_tell, lookup);
}

int resolve(struct resolver *resolver, struct lookup *lookup, const char *name, uint16_t port,
            resolve_fn *fn, void *arg)
{
    check_files(resolver);
    struct resolver_entry *entry = entry_get(resolver, name);
    if (!entry)
        return ADIT_EFULL;
    lookup_init(lookup);
    lookup->port = port;
    lookup->fn = fn;
    lookup->arg = arg;
    if (entry->is_idle)
        DL_DELETE(resolver->idle, entry);
    entry->is_idle = false;
    lookup->entry = entry;
    lookup->prev = &entry->waiters;
    lookup->next = entry->waiters;
    if (lookup->next)
        lookup->next->prev = &lookup->next;
    entry->waiters = lookup;
    fill(entry);
    if (entry->halves[0].state == HALF_KNOWN || entry->halves[1].state == HALF_KNOWN)
        defer_soon(resolver->loop, &lookup->tell);
    return 0;
}

size_t resolver_names(const struct resolver *resolver)
{
    return HASH_COUNT(resolver->entries);
}

uint64_t resolver_queries(const struct resolver *resolver)
{
    return resolver->queries;
}

/* --- Life --- */

/* "1.2.3.4:53,[::1]:53" */
static char *servers_text(const struct addr *servers, size_t count)
{
    char *text = malloc(count * (ADDR_TEXT_MAX + 1) + 1), *at = text;
    for (size_t i = 0; text && i < count; i++) {
        char buf[ADDR_TEXT_MAX];
        struct addr addr = addr_unmap(&servers[i]);
        if (addr.port == 0)
            addr.port = 53;
        at += sprintf(at, "%s%s", i ? "," : "", addr_format(&addr, buf));
    }
    return text;
}

struct resolver *resolver_new(struct loop *loop, const struct resolver_options *options)
{
    static const struct resolver_options defaults = {0};
    if (!options)
        options = &defaults;
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (!resolver)
        return NULL;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        free(resolver);
        return NULL;
    }
    resolver->loop = loop;
    resolver->timeout_ms = options->timeout_ms ? (int)options->timeout_ms : 1500;
    resolver->tries = options->tries ? (int)options->tries : 3;
    resolver->hosts_file = strdup(options->hosts_file ? options->hosts_file : "/etc/hosts");
    resolver->system_port = options->system_port;
    resolver->resolv_conf =
        strdup(options->resolv_conf ? options->resolv_conf : "/etc/resolv.conf");
    timer_init(&resolver->tick, on_tick, resolver);
    bool ok = resolver->hosts_file && resolver->resolv_conf;
    if (ok && options->server_count) {
        resolver->servers = servers_text(options->servers, options->server_count);
        ok = resolver->servers;
    }
    /* A virtual loop has no descriptors: there, what needs DNS fails. */
    if (ok && loop_base(loop))
        ok = channel_new(resolver);
    if (ok)
        resolver_refresh(resolver);
    if (!ok) {
        resolver_free(resolver);
        return NULL;
    }
    return resolver;
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    resolver->freeing = true;
    while (resolver->channels)
        channel_free(resolver->channels);
    struct resolver_entry *entry, *next;
    HASH_ITER (hh, resolver->entries, entry, next) {
        while (entry->waiters)
            resolve_cancel(entry->waiters);
        entry_free(entry);
    }
    timer_cancel(resolver->loop, &resolver->tick);
    hosts_clear(&resolver->hosts);
    free(resolver->servers);
    free(resolver->hosts_file);
    free(resolver->resolv_conf);
    free(resolver);
    ares_library_cleanup();
}
