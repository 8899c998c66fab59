/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Enrolment secrets: what a ticket's holder shows once to be admitted. Only their hashes are kept,
 * with how often each is still good, until when, and how long the admissions last that it gives.
 * Changes are made as of state.c: in a copy, written first. At most STATE_SECRETS_MAX; spent and
 * expired ones make room.
 */
#include <errno.h>
#include <sys/random.h>

#include "config/state_int.h"

static int secrets_commit(struct state *state, const struct enrol_table *copy)
{
    int rc = state_file_replace(state, STATE_ENROL_FILE, enrol_table_to_text(copy));

    if (rc == 0)
        state->secrets = *copy;
    return rc;
}

static bool is_over(const struct enrol_secret *secret, int64_t now)
{
    return secret->uses == 0 || (secret->expires != 0 && now >= secret->expires);
}

int state_enrol_new(struct state *state, uint32_t uses, int64_t ttl_s, int64_t admit_s, int64_t now,
                    uint8_t secret[STATE_SECRET_BYTES])
{
    struct enrol_table copy = {.count = 0};

    if (uses == 0 || uses > STATE_USES_MAX || ttl_s < 0 || ttl_s > STATE_SPAN_MAX_S ||
        admit_s < 0 || admit_s > STATE_SPAN_MAX_S)
        return -EINVAL;
    bool full = state->secrets.count == STATE_SECRETS_MAX;
    for (size_t i = 0; i < state->secrets.count; i++) {
        const struct enrol_secret *old = &state->secrets.items[i];
        /* Those just over stay for a day while there is room: "expired" helps more than "unknown".
         */
        bool stale =
            is_over(old, now) && (full || (old->expires != 0 && now - old->expires > 24 * 3600));
        if (!stale)
            copy.items[copy.count++] = *old;
    }
    if (copy.count == STATE_SECRETS_MAX)
        return ADIT_EFULL;
    int rc = getrandom(secret, STATE_SECRET_BYTES, 0) == STATE_SECRET_BYTES ? 0 : -EIO;
    struct enrol_secret *added = &copy.items[copy.count++];
    added->uses = uses;
    added->expires = ttl_s != 0 ? now + ttl_s : 0;
    added->admit_s = admit_s;
    if (rc == 0)
        rc = hash_sha256(secret, STATE_SECRET_BYTES, added->hash);
    return rc != 0 ? rc : secrets_commit(state, &copy);
}

/* Its place in the table; count: not there. Looks at all, so that time does not tell which. */
static size_t secret_find(const struct state *state, const uint8_t *secret)
{
    uint8_t hash[HASH_BYTES];
    size_t place = state->secrets.count;

    if (hash_sha256(secret, STATE_SECRET_BYTES, hash) != 0)
        return place;
    for (size_t i = 0; i < state->secrets.count; i++)
        if (hash_equal(state->secrets.items[i].hash, hash, sizeof hash))
            place = i;
    return place;
}

enum enrol_result state_enrol_check(const struct state *state,
                                    const uint8_t secret[STATE_SECRET_BYTES], int64_t now)
{
    size_t place = secret_find(state, secret);

    if (place == state->secrets.count)
        return ENROL_UNKNOWN;
    if (state->secrets.items[place].uses == 0)
        return ENROL_USED_UP;
    return is_over(&state->secrets.items[place], now) ? ENROL_EXPIRED : ENROL_OK;
}

enum enrol_result state_enrol_use(struct state *state, const uint8_t secret[STATE_SECRET_BYTES],
                                  const struct node_id *id, const char *suggested, int64_t now)
{
    if (state_is_admitted(state, id, now))
        return ENROL_OK;
    enum enrol_result result = state_enrol_check(state, secret, now);
    if (result != ENROL_OK)
        return result;
    struct enrol_table copy = state->secrets;
    struct enrol_secret *used = &copy.items[secret_find(state, secret)];
    int64_t expires = used->admit_s != 0 ? now + used->admit_s : 0;
    used->uses--;
    if (secrets_commit(state, &copy) != 0 ||
        state_peer_admit(state, id, suggested, expires, now) != 0)
        return ENROL_FAILED;
    return ENROL_OK;
}

int state_enrol_clear(struct state *state)
{
    struct enrol_table empty = {.count = 0};

    return state->secrets.count == 0 ? 0 : secrets_commit(state, &empty);
}

size_t state_enrol_count(const struct state *state, int64_t now)
{
    size_t count = 0;

    for (size_t i = 0; i < state->secrets.count; i++)
        count += !is_over(&state->secrets.items[i], now);
    return count;
}
