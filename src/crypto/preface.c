/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A TLS 1.3 responder shows its certificate to anybody, and with it that it is an adit node and
 * which. So the initiator goes first, with a MAC under a key that only those who know the
 * responder's ID can compute (the manner of WireGuard's mac1). It does not authenticate the
 * initiator, and one who watches the path can replay it: it keeps scanners and strangers from
 * learning anything, and from costing us public-key work. Both sides then prove their keys in TLS.
 *
 * The time is a hint for logs (a peer whose clock is far off). Pure functions; nothing is kept.
 */
#include "crypto/preface.h"

#include <string.h>

#include "base/err.h"
#include "crypto/hash.h"

#define PREFACE_TIME_BYTES 8
#define PREFACE_MAC_BYTES  16
#define PREFACE_MAC_OFFSET (PREFACE_RANDOM_BYTES + PREFACE_TIME_BYTES)

static const char preface_label[] = "adit preface v1"; /* without its NUL */

/* The MAC over the first PREFACE_MAC_OFFSET bytes. */
static int preface_mac(const struct node_id *responder, const uint8_t *bytes,
                       uint8_t mac[PREFACE_MAC_BYTES])
{
    uint8_t input[sizeof preface_label - 1 + NODE_ID_BYTES];
    uint8_t key[HASH_BYTES], full[HASH_BYTES];
    int result;

    memcpy(input, preface_label, sizeof preface_label - 1);
    memcpy(input + sizeof preface_label - 1, responder->key, NODE_ID_BYTES);
    result = hash_sha256(input, sizeof input, key);
    if (result == 0)
        result = hash_hmac_sha256(key, sizeof key, bytes, PREFACE_MAC_OFFSET, full);
    if (result == 0)
        memcpy(mac, full, PREFACE_MAC_BYTES);
    return result;
}

int preface_build(const struct node_id *responder, const struct preface *preface,
                  uint8_t out[PREFACE_BYTES])
{
    memcpy(out, preface->random, PREFACE_RANDOM_BYTES);
    for (int i = 0; i < PREFACE_TIME_BYTES; i++)
        out[PREFACE_RANDOM_BYTES + i] = (uint8_t)(preface->time_s >> (56 - 8 * i));
    return preface_mac(responder, out, out + PREFACE_MAC_OFFSET);
}

int preface_parse(const struct node_id *responder, const uint8_t *data, size_t len,
                  struct preface *preface)
{
    uint8_t mac[PREFACE_MAC_BYTES];
    int result;

    if (len < PREFACE_BYTES)
        return 0;
    result = preface_mac(responder, data, mac);
    if (result < 0)
        return result;
    if (!hash_equal(mac, data + PREFACE_MAC_OFFSET, sizeof mac))
        return ADIT_EAUTH;
    memcpy(preface->random, data, PREFACE_RANDOM_BYTES);
    preface->time_s = 0;
    for (int i = 0; i < PREFACE_TIME_BYTES; i++)
        preface->time_s = preface->time_s << 8 | data[PREFACE_RANDOM_BYTES + i];
    return PREFACE_BYTES;
}
