/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The directory belongs to one process at a time: `lock` is held by flock(2), which the kernel
 * drops with the process however it ends, and holds the process's number for the message to a
 * second one. Files are
 *
 *     peers.json   known peers, admitted or not            at most STATE_PEERS_MAX
 *     enrol.json   hashes of secrets in tickets given out  at most STATE_SECRETS_MAX
 *     node.json    the port that was picked once
 *
 * (`key`, beside them, belongs to crypto/identity.c.) All are read when the directory is opened.
 * One that cannot be understood is an error, and is left alone: starting with an empty list would
 * forget who is admitted, and the next change would overwrite what could be repaired.
 *
 * A change is made in a copy of its table; the copy is written to NAME.tmp, synchronised, renamed
 * to NAME, and only then becomes the table. So memory never says what the disk does not, a full
 * disk changes nothing, and a crash leaves the old file or the new one. When a peer was last seen
 * is the exception: it changes often and matters little, and is written at most once in
 * STATE_TOUCH_S, with other changes, and at the end.
 */
#include "config/state.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "config/config.h"
#include "config/state_int.h"

/* --- Files --- */

int state_file_replace(const struct state *state, const char *name, char *text)
{
    char tmp[32];
    int fd = -1, rc = 0;

    if (text == NULL)
        return -ENOMEM;
    if (state->dir[0] == '\0')
        goto out;
    snprintf(tmp, sizeof tmp, "%s.tmp", name);
    unlinkat(state->dir_fd, tmp, 0);
    fd = openat(state->dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        rc = -errno;
        goto out;
    }
    rc = file_write_all(fd, text, strlen(text));
    if (rc == 0)
        rc = file_write_all(fd, "\n", 1);
    if (rc == 0 && fsync(fd) != 0)
        rc = -errno;
    if (rc == 0 && renameat(state->dir_fd, tmp, state->dir_fd, name) != 0)
        rc = -errno;
    if (rc == 0)
        fsync(state->dir_fd);
    else
        unlinkat(state->dir_fd, tmp, 0);
out:
    if (rc != 0)
        log_error("event=state-write-failed file=%s/%s error=\"%s\"", state->dir, name,
                  err_text(rc));
    if (fd >= 0)
        close(fd);
    free(text);
    return rc;
}

/* The file's text (malloc'd); NULL with *rc 0: there is none. */
static char *file_read(const struct state *state, const char *name, size_t *len, int *rc)
{
    struct stat st;
    char *text = NULL;
    int fd = openat(state->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    *rc = 0;
    *len = 0;
    if (fd < 0) {
        *rc = errno == ENOENT ? 0 : -errno;
        return NULL;
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        *rc = -EINVAL;
    else if (st.st_size > STATE_FILE_MAX_BYTES)
        *rc = -EFBIG;
    else if ((text = malloc((size_t)st.st_size + 1)) == NULL)
        *rc = -ENOMEM;
    while (*rc == 0 && *len < (size_t)st.st_size) {
        ssize_t n = read(fd, text + *len, (size_t)st.st_size - *len);
        if (n < 0 && errno != EINTR)
            *rc = -errno;
        else if (n == 0)
            break;
        else if (n > 0)
            *len += (size_t)n;
    }
    close(fd);
    if (*rc != 0) {
        free(text);
        return NULL;
    }
    text[*len] = '\0';
    return text;
}

/* --- Opening --- */

int state_dir_default(char *buf, size_t size)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int len;

    if (geteuid() == 0)
        len = snprintf(buf, size, "/var/lib/adit");
    else if (xdg != NULL && xdg[0] == '/')
        len = snprintf(buf, size, "%s/adit", xdg);
    else
        len = snprintf(buf, size, "%s/.local/state/adit", home != NULL ? home : "");
    return (size_t)len < size ? 0 : -ENAMETOOLONG;
}

/* mkdir -p; only what is made gets mode 0700. */
static int directory_make(const char *path)
{
    char *copy = strdup(path);
    int rc = 0;

    if (copy == NULL)
        return -ENOMEM;
    for (char *p = copy + 1;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        char saved = *p;
        *p = '\0';
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            rc = -errno;
        *p = saved;
        if (saved == '\0' || rc != 0)
            break;
    }
    free(copy);
    return rc;
}

/* 0, ADIT_EBUSY or a negative errno, and errbuf. */
static int directory_lock(struct state *state, char *errbuf, size_t errlen)
{
    char pid[24] = "";

    state->lock_fd = openat(state->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (state->lock_fd < 0) {
        int rc = -errno;
        snprintf(errbuf, errlen,
                 "state directory %s: its file lock: %s; choose another with --state DIR",
                 state->dir, err_text(rc));
        return rc;
    }
    if (flock(state->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = pread(state->lock_fd, pid, sizeof pid - 1, 0);
        pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
        snprintf(errbuf, errlen,
                 "another adit%s%s is using %s; stop it, or give this one a directory of its own "
                 "with --state DIR",
                 pid[0] != '\0' ? ", process " : "", pid, state->dir);
        return ADIT_EBUSY;
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(state->lock_fd, 0) != 0 || pwrite(state->lock_fd, pid, (size_t)len, 0) != len)
        log_debug("event=lock-pid-failed"); /* the lock holds all the same */
    return 0;
}

enum state_file { FILE_PEERS, FILE_ENROL, FILE_NODE };
static const char *const file_names[] = {"peers.json", STATE_ENROL_FILE, "node.json"};

static int file_parse(struct state *state, enum state_file file, const char *text, size_t len,
                      char *why)
{
    switch (file) {
    case FILE_PEERS:
        return peer_table_from_text(text, len, &state->peers, why);
    case FILE_ENROL:
        return enrol_table_from_text(text, len, &state->secrets, why);
    case FILE_NODE:
        return node_from_text(text, len, &state->port, why);
    }
    return ADIT_EFORMAT;
}

static int files_read(struct state *state, char *errbuf, size_t errlen)
{
    for (int i = 0; i < (int)(sizeof file_names / sizeof *file_names); i++) {
        char why[STATE_WHY_MAX] = "";
        size_t len;
        int rc;
        char *text = file_read(state, file_names[i], &len, &rc);
        if (text != NULL)
            rc = file_parse(state, (enum state_file)i, text, len, why);
        free(text);
        if (rc == 0)
            continue;
        snprintf(errbuf, errlen,
                 "%s/%s: %s; it was left as it is: repair it, or move it away to start without",
                 state->dir, file_names[i], why[0] != '\0' ? why : err_text(rc));
        return rc;
    }
    return 0;
}

static int directory_open(struct state *state, char *errbuf, size_t errlen)
{
    struct stat st;
    int rc = directory_make(state->dir);

    if (rc == 0) {
        state->dir_fd = open(state->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (state->dir_fd < 0 || fstat(state->dir_fd, &st) != 0)
            rc = -errno;
    }
    if (rc != 0) {
        snprintf(errbuf, errlen, "state directory %s: %s; choose another with --state DIR",
                 state->dir, err_text(rc));
        return rc;
    }
    if (st.st_mode & 022) {
        snprintf(errbuf, errlen, "state directory %s: others may write to it; chmod go-w %s",
                 state->dir, state->dir);
        return -EPERM;
    }
    rc = directory_lock(state, errbuf, errlen);
    return rc != 0 ? rc : files_read(state, errbuf, errlen);
}

struct state *state_new(void)
{
    struct state *state = calloc(1, sizeof *state);

    if (state == NULL)
        return NULL;
    state->dir_fd = state->lock_fd = -1;
    state->dir = strdup("");
    if (state->dir == NULL) {
        free(state);
        return NULL;
    }
    return state;
}

static void state_free(struct state *state)
{
    if (state->dir_fd >= 0)
        close(state->dir_fd);
    if (state->lock_fd >= 0)
        close(state->lock_fd);
    peer_table_free(&state->peers);
    free(state->dir);
    free(state);
}

struct state *state_open(const char *dir, char *errbuf, size_t errlen, int *error)
{
    struct state *state = state_new();
    int rc = -ENOMEM;

    if (state == NULL)
        goto fail;
    free(state->dir);
    state->dir = strdup(dir);
    if (state->dir == NULL || dir[0] == '\0') {
        snprintf(errbuf, errlen, "no state directory given");
        rc = -EINVAL;
        goto fail;
    }
    rc = directory_open(state, errbuf, errlen);
    if (rc == 0)
        return state;
fail:
    if (state != NULL)
        state_free(state);
    else
        snprintf(errbuf, errlen, "out of memory");
    if (error != NULL)
        *error = rc;
    return NULL;
}

const char *state_dir(const struct state *state)
{
    return state->dir;
}

/* --- Peers --- */

const struct state_peer *state_peers(const struct state *state, size_t *count)
{
    *count = state->peers.count;
    return state->peers.items;
}

const struct state_peer *state_peer(const struct state *state, const struct node_id *id)
{
    bool found;
    size_t place = peer_table_place(&state->peers, id, &found);

    return found ? &state->peers.items[place] : NULL;
}

bool state_peer_is_admitted(const struct state_peer *peer, int64_t now)
{
    return peer->admitted && (peer->expires == 0 || now < peer->expires);
}

bool state_is_admitted(const struct state *state, const struct node_id *id, int64_t now)
{
    const struct state_peer *peer = state_peer(state, id);

    return peer != NULL && state_peer_is_admitted(peer, now);
}

int64_t state_next_expiry(const struct state *state, int64_t now)
{
    int64_t next = 0;

    for (size_t i = 0; i < state->peers.count; i++) {
        const struct state_peer *peer = &state->peers.items[i];
        if (peer->admitted && peer->expires > now && (next == 0 || peer->expires < next))
            next = peer->expires;
    }
    return next;
}

static const struct state_peer *peer_named(const struct peer_table *peers, const char *name)
{
    for (size_t i = 0; i < peers->count; i++)
        if (strcmp(peers->items[i].name, name) == 0)
            return &peers->items[i];
    return NULL;
}

enum state_find state_find_peer(const struct state *state, const char *text,
                                const struct state_peer **peer)
{
    char id_text[NODE_ID_TEXT_LEN + 1];
    struct node_id id;
    size_t len = strlen(text), found = 0;

    *peer = NULL;
    if (len == 0)
        return STATE_UNKNOWN;
    if ((*peer = peer_named(&state->peers, text)) != NULL)
        return STATE_FOUND;
    if (node_id_parse(text, &id) == 0) {
        *peer = state_peer(state, &id);
        return *peer != NULL ? STATE_FOUND : STATE_UNKNOWN;
    }
    for (size_t i = 0; len >= 4 && i < state->peers.count; i++) {
        node_id_format(&state->peers.items[i].id, id_text);
        if (strncasecmp(id_text, text, len) == 0) {
            *peer = &state->peers.items[i];
            found++;
        }
    }
    if (found > 1)
        *peer = NULL;
    return found == 0 ? STATE_UNKNOWN : found == 1 ? STATE_FOUND : STATE_AMBIGUOUS;
}

/* A copy of the table with room for one more. 0 or -ENOMEM. */
static int peers_copy(const struct state *state, struct peer_table *copy)
{
    copy->count = state->peers.count;
    copy->items = malloc((copy->count + 1) * sizeof *copy->items);
    if (copy->items == NULL)
        return -ENOMEM;
    if (copy->count > 0)
        memcpy(copy->items, state->peers.items, copy->count * sizeof *copy->items);
    for (size_t i = 0; i < copy->count; i++)
        urls_ref(copy->items[i].brokers);
    return 0;
}

/* Writes the copy and puts it in the table's place; or frees it. rc: what happened so far. */
static int peers_commit(struct state *state, struct peer_table *copy, int rc)
{
    if (rc == 0)
        rc = state_file_replace(state, file_names[FILE_PEERS], peer_table_to_text(copy));
    if (rc != 0) {
        peer_table_free(copy);
        return rc;
    }
    peer_table_free(&state->peers);
    state->peers = *copy;
    state->seen_dirty = false;
    return 0;
}

/* The peer in the copy, added if it is new. NULL: the table is full. */
static struct state_peer *peer_obtain(struct peer_table *copy, const struct node_id *id,
                                      const char *how, int64_t now)
{
    bool found;
    size_t place = peer_table_place(copy, id, &found);
    struct state_peer *peer = &copy->items[place];

    if (found)
        return peer;
    if (copy->count == STATE_PEERS_MAX)
        return NULL;
    memmove(peer + 1, peer, (copy->count - place) * sizeof *peer);
    copy->count++;
    *peer = (struct state_peer){.id = *id, .added = now};
    snprintf(peer->how, sizeof peer->how, "%s", how);
    return peer;
}

static int name_check(const struct peer_table *peers, const struct node_id *id, const char *name)
{
    const struct state_peer *other = peer_named(peers, name);

    if (!config_is_peer_name(name))
        return -EINVAL;
    return other != NULL && !node_id_equal(&other->id, id) ? -EEXIST : 0;
}

/* A name like the suggested one which is free; peers call themselves what they like. */
static void name_suggest(const struct peer_table *peers, struct state_peer *peer,
                         const char *suggested)
{
    char base[STATE_NAME_MAX - 3 + 1], name[STATE_NAME_MAX + 1];
    size_t len = 0;

    if (peer->name[0] != '\0' || suggested == NULL)
        return;
    for (; *suggested != '\0' && len < sizeof base - 1; suggested++) {
        unsigned char c = (unsigned char)*suggested;
        bool good = isalnum(c) || (len > 0 && (c == '-' || c == '_' || c == '.'));
        if (good || len > 0)
            base[len++] = good ? (char)c : '-';
    }
    base[len] = '\0';
    if (len == 0)
        return;
    for (int i = 1; i < 100; i++) {
        snprintf(name, sizeof name, i == 1 ? "%s" : "%s-%d", base, i);
        if (name_check(peers, &peer->id, name) == 0) {
            strcpy(peer->name, name);
            return;
        }
    }
}

/* What a change does to the peer in the copy. 0 or a negative error. */
struct peer_change {
    enum { PEER_ALLOW, PEER_ADMIT, PEER_REMEMBER } what;
    const char *name, *how;
    int64_t now, expires;
};

static int peer_change(struct state *state, const struct node_id *id,
                       const struct peer_change *change)
{
    struct peer_table copy;
    int rc = peers_copy(state, &copy);

    if (rc != 0)
        return rc;
    struct state_peer *peer = peer_obtain(&copy, id, change->how, change->now);
    if (peer == NULL)
        return peers_commit(state, &copy, ADIT_EFULL);
    switch (change->what) {
    case PEER_ALLOW:
        if (change->name != NULL && change->name[0] != '\0') {
            rc = name_check(&copy, id, change->name);
            if (rc == 0)
                strcpy(peer->name, change->name);
        }
        peer->admitted = true;
        peer->revoked = false;
        peer->expires = change->expires;
        break;
    case PEER_ADMIT:
        peer->admitted = true;
        peer->expires = change->expires;
        peer->seen = change->now;
        name_suggest(&copy, peer, change->name);
        break;
    case PEER_REMEMBER:
        name_suggest(&copy, peer, change->name);
        break;
    }
    return peers_commit(state, &copy, rc);
}

int state_peer_allow(struct state *state, const struct node_id *id, const char *name,
                     const char *how, int64_t now)
{
    return state_peer_allow_until(state, id, name, how, 0, now);
}

int state_peer_allow_until(struct state *state, const struct node_id *id, const char *name,
                           const char *how, int64_t expires, int64_t now)
{
    if (expires < 0)
        return -ERANGE;
    return peer_change(state, id, &(struct peer_change){PEER_ALLOW, name, how, now, expires});
}

int state_peer_admit(struct state *state, const struct node_id *id, const char *suggested,
                     int64_t expires, int64_t now)
{
    return peer_change(state, id,
                       &(struct peer_change){PEER_ADMIT, suggested, "ticket", now, expires});
}

int state_peer_remember(struct state *state, const struct node_id *id, const char *suggested,
                        const char *how, int64_t now)
{
    const struct state_peer *peer = state_peer(state, id);

    if (peer != NULL && (peer->name[0] != '\0' || suggested == NULL || suggested[0] == '\0'))
        return 0;
    return peer_change(state, id, &(struct peer_change){PEER_REMEMBER, suggested, how, now, 0});
}

/* A copy of the table, and a known peer's place in it. 0, -ENOENT or -ENOMEM. */
static int peers_copy_with(const struct state *state, const struct node_id *id,
                           struct peer_table *copy, size_t *place)
{
    bool found;

    *place = peer_table_place(&state->peers, id, &found);
    return found ? peers_copy(state, copy) : -ENOENT;
}

int state_peer_revoke(struct state *state, const struct node_id *id)
{
    struct peer_table copy;
    size_t place;
    int rc = peers_copy_with(state, id, &copy, &place);

    if (rc != 0)
        return rc;
    copy.items[place].admitted = false;
    copy.items[place].revoked = true;
    copy.items[place].expires = 0;
    return peers_commit(state, &copy, 0);
}

int state_peer_set_expiry(struct state *state, const struct node_id *id, int64_t expires)
{
    struct peer_table copy;
    size_t place;
    int rc = peers_copy_with(state, id, &copy, &place);

    if (rc != 0)
        return rc;
    if (!copy.items[place].admitted)
        rc = -EPERM;
    else if (expires < 0)
        rc = -ERANGE;
    copy.items[place].expires = expires;
    return peers_commit(state, &copy, rc);
}

int state_peer_forget(struct state *state, const struct node_id *id)
{
    struct peer_table copy;
    size_t place;
    int rc = peers_copy_with(state, id, &copy, &place);

    if (rc != 0)
        return rc;
    urls_unref(copy.items[place].brokers);
    copy.count--;
    memmove(&copy.items[place], &copy.items[place + 1], (copy.count - place) * sizeof *copy.items);
    return peers_commit(state, &copy, 0);
}

int state_peer_rename(struct state *state, const struct node_id *id, const char *name)
{
    struct peer_table copy;
    size_t place;
    int rc = peers_copy_with(state, id, &copy, &place);

    if (rc != 0)
        return rc;
    rc = name_check(&state->peers, id, name);
    if (rc == 0)
        strcpy(copy.items[place].name, name);
    return peers_commit(state, &copy, rc);
}

void state_peer_touch(struct state *state, const struct node_id *id, int64_t now)
{
    struct state_peer *peer = (struct state_peer *)state_peer(state, id);

    if (peer == NULL || peer->seen == now)
        return;
    peer->seen = now;
    state->seen_dirty = true;
    if (now - state->seen_written >= STATE_TOUCH_S || now < state->seen_written) {
        state->seen_written = now;
        if (state_file_replace(state, file_names[FILE_PEERS], peer_table_to_text(&state->peers)) ==
            0)
            state->seen_dirty = false;
    }
}

int state_peer_set_addrs(struct state *state, const struct node_id *id, const char *const *addrs,
                         size_t count)
{
    struct state_peer changed;
    const struct state_peer *peer = state_peer(state, id);
    struct peer_table copy;
    size_t kept = 0;

    if (peer == NULL)
        return -ENOENT;
    changed = *peer;
    memset(changed.addrs, 0, sizeof changed.addrs);
    for (size_t i = 0; i < count && kept < STATE_ADDRS_MAX; i++) {
        struct target target;
        if (strlen(addrs[i]) <= STATE_ADDR_TEXT_MAX && target_parse(addrs[i], &target) == 0)
            strcpy(changed.addrs[kept++], addrs[i]);
    }
    if (memcmp(changed.addrs, peer->addrs, sizeof changed.addrs) == 0)
        return 0;
    int rc = peers_copy(state, &copy);
    if (rc != 0)
        return rc;
    copy.items[peer - state->peers.items] = changed;
    return peers_commit(state, &copy, 0);
}

int state_peer_set_brokers(struct state *state, const struct node_id *id, const char *const *urls,
                           size_t count)
{
    const struct state_peer *peer = state_peer(state, id);
    struct urls *brokers = NULL;
    struct peer_table copy;
    int rc = peer != NULL ? urls_new(urls, count, &brokers) : -ENOENT;

    if (rc == 0 && !urls_equal(brokers, peer->brokers)) {
        rc = peers_copy(state, &copy);
        if (rc == 0) {
            struct state_peer *changed = &copy.items[peer - state->peers.items];
            urls_unref(changed->brokers);
            changed->brokers = urls_ref(brokers);
            rc = peers_commit(state, &copy, 0);
        }
    }
    urls_unref(brokers);
    return rc;
}

/* --- The rest --- */

uint16_t state_port(const struct state *state)
{
    return state->port;
}

int state_set_port(struct state *state, uint16_t port)
{
    if (state->port == port)
        return 0;
    int rc = state_file_replace(state, file_names[FILE_NODE], node_to_text(port));
    if (rc == 0)
        state->port = port;
    return rc;
}

void state_close(struct state *state)
{
    if (state == NULL)
        return;
    if (state->seen_dirty)
        state_file_replace(state, file_names[FILE_PEERS], peer_table_to_text(&state->peers));
    state_free(state);
}
