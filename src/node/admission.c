/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Who dialled us has proven a key; whether it may have a session is decided here, once a path:
 *
 *     admitted     by the state or by a [peer] section with admit = yes
 *     enrolling    it shows the secret of a ticket of ours, and we are an exit; that admits it, and
 *                  uses the ticket up once
 *     known        a peer that we use or that the configuration names; it may call us back, without
 *                  being let out
 *     anybody else refused, with the reason in words that its user can act on
 *
 * Who was revoked comes back by `adit peers allow` only: a ticket that has uses left does not undo
 * what its owner decided. (It does let in a new key; the owner can withdraw tickets too.)
 *
 * An admission may have an end. One timer of the node waits for the next of these; who is over then
 * is told so and loses its session at once (node_peers_changed()). Another ticket admits it anew:
 * its time is over, but nobody has thrown it out. The end is a time of day, so the timer looks at
 * the clock once in a while, lest a machine that slept or a clock that was set prolong it.
 *
 * The secret is used before our hello is sent: should that be lost, the peer is admitted by its ID
 * when it comes again.
 */
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "node/node_int.h"

int64_t node_wall_s(void)
{
    return (int64_t)time(NULL);
}

#define WATCH_MAX_S    30
#define WATCH_SLACK_US (20 * MS_US) /* time() may lag behind the loop's clock by a tick */

static void on_expiry(void *arg)
{
    node_peers_changed(arg);
}

void admission_init(struct node *node)
{
    timer_init(&node->expiry, on_expiry, node);
}

void admission_watch(struct node *node)
{
    int64_t now = node_wall_s(), next = state_next_expiry(node->state, now);
    int64_t wait = next - now < WATCH_MAX_S ? next - now : WATCH_MAX_S;

    if (next && !node->stopping)
        timer_set_in(node->loop, &node->expiry, (uint64_t)wait * SEC_US + WATCH_SLACK_US);
    else
        timer_cancel(node->loop, &node->expiry);
}

bool admission_is_expired(const struct node *node, const struct node_id *id)
{
    const struct state_peer *entry = state_peer(node->state, id);

    return entry && entry->admitted && !state_peer_is_admitted(entry, node_wall_s());
}

/* name: NULL: only looks whether the secret would do. */
static enum close_code enrol(struct node *node, const struct node_id *id, const uint8_t *secret,
                             const char *name)
{
    enum enrol_result result = ENROL_UNKNOWN;
    char text[NODE_ID_TEXT_LEN + 1];

    if (node->roles & NODE_EXIT)
        result = name ? state_enrol_use(node->state, secret, id, name, node_wall_s())
                      : state_enrol_check(node->state, secret, node_wall_s());
    switch (result) {
    case ENROL_OK:
        if (name)
            log_info("event=enrolled peer=%s name=%s", node_id_format(id, text),
                     name[0] ? name : "-");
        if (name)
            admission_watch(node);
        return CLOSE_OK;
    case ENROL_UNKNOWN:
        return CLOSE_TICKET_UNKNOWN;
    case ENROL_EXPIRED:
        return CLOSE_TICKET_EXPIRED;
    case ENROL_USED_UP:
        return CLOSE_TICKET_USED;
    case ENROL_FAILED:
        log_error(
            "event=enrolment-failed remedy=\"the state directory must be writable and have room\"");
        return CLOSE_LIMIT;
    }
    return CLOSE_NOT_ADMITTED;
}

static bool config_admits(const struct node *node, const struct node_id *id)
{
    for (size_t i = 0; i < node->config->peer_count; i++) {
        const struct config_peer *peer = &node->config->peers[i];

        if (peer->has_id && peer->admit && node_id_equal(&peer->id, id))
            return true;
    }
    return false;
}

static bool is_known(struct node *node, const struct node_id *id, const struct state_peer *entry)
{
    const struct node_peer *peer = node_peer_find(node, id);

    if (peer && peer->is_exit)
        return true;
    for (size_t i = 0; i < node->config->peer_count; i++)
        if (node->config->peers[i].has_id && node_id_equal(&node->config->peers[i].id, id))
            return true;
    return entry && strcmp(entry->how, "enrolled") == 0;
}

/* secret: NULL: none was shown; name: as of enrol(). */
static enum close_code judge(struct node *node, const struct node_id *id, const uint8_t *secret,
                             const char *name)
{
    const struct state_peer *entry = state_peer(node->state, id);
    bool expired = admission_is_expired(node, id);
    /* How an exit of ours became known says nothing of whether it was admitted too. */
    bool revoked =
        entry && !entry->admitted && (entry->revoked || strcmp(entry->how, "enrolled") != 0);
    enum close_code code = revoked ? CLOSE_REVOKED : CLOSE_NOT_ADMITTED;

    if (node_id_equal(id, &node->id))
        return CLOSE_SELF;
    if ((entry && entry->admitted && !expired) || config_admits(node, id))
        return CLOSE_OK;
    if (secret && !revoked)
        code = enrol(node, id, secret, name);
    if (expired && code != CLOSE_OK)
        code = CLOSE_EXPIRED;
    return code != CLOSE_OK && is_known(node, id, entry) ? CLOSE_OK : code;
}

enum close_code admission_judge(struct node *node, const struct node_id *id,
                                const struct hello *hello)
{
    enum close_code code = judge(node, id, hello->has_secret ? hello->secret : NULL, hello->name);
    char text[NODE_ID_TEXT_LEN + 1];

    if (code != CLOSE_OK)
        log_info("event=refused peer=%s why=\"%s\"", node_id_format(id, text),
                 close_code_text(code));
    return code;
}

enum close_code admission_look(struct node *node, const struct node_id *id, const uint8_t *secret)
{
    return judge(node, id, secret, NULL);
}
