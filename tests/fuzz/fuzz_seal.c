/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The first byte chooses: the input as a seal for a fixed node, as it is or with the MAC made to
 * fit; or as the inside of a seal, which a fuzzer would never get past the encryption, signed by
 * its sender or not. A signed inside opens exactly when its form is right.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/seal_by_hand.h"
#include "crypto/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t own_secret[32] = {2}, sender_secret[32] = {1},
                     ephemeral[32] = {0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27,
                                      0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f,
                                      0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37,
                                      0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e, 0x3f};
static const uint8_t pass[SEAL_PASS_BYTES];

static void fuzz_outside(const struct identity *own, const uint8_t *data, size_t size, bool fit_mac)
{
    uint8_t seal[SEAL_BYTES_MAX], message[SEAL_MESSAGE_MAX], seen[SEAL_PASS_BYTES];
    struct node_id from;
    int checked, opened;

    if (fit_mac && size >= SEAL_OVERHEAD_BYTES && size <= sizeof(seal)) {
        memcpy(seal, data, size);
        hand_mac(identity_id(own), seal, size);
        data = seal;
    }
    checked = seal_check(identity_id(own), data, size, seen);
    opened = seal_open(own, data, size, &from, message);
    if (opened > SEAL_MESSAGE_MAX || (checked < 0 && opened != checked))
        abort();
}

static bool is_well_formed(const uint8_t *inside, size_t len)
{
    size_t at =
        HAND_MESSAGE_AT + ((size_t)inside[HAND_LENGTH_AT] << 8 | inside[HAND_LENGTH_AT + 1]);

    if (at > len)
        return false;
    while (at < len)
        if (inside[at++] != 0)
            return false;
    return true;
}

static void fuzz_inside(const struct identity *own, const uint8_t *data, size_t size, bool sign)
{
    uint8_t inside[SEAL_BYTES_MAX - 73] = {0}, seal[SEAL_BYTES_MAX], message[SEAL_MESSAGE_MAX];
    struct node_id from;
    size_t len = (size + 73 + 255) / 256 * 256 - 73;
    int opened;

    if (len > sizeof(inside))
        return;
    memcpy(inside, data, size);
    if (sign)
        hand_sign(sender_secret, identity_id(own), ephemeral, inside, len);
    len = hand_seal(identity_id(own), pass, ephemeral, inside, len, seal);
    opened = seal_open(own, seal, len, &from, message);
    if (sign && (opened >= 0) != is_well_formed(inside, len - 73))
        abort();
    if (opened >= 0 && (memcmp(from.key, inside, 32) != 0 ||
                        memcmp(message, inside + HAND_MESSAGE_AT, (size_t)opened) != 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct identity *own;

    if (!own)
        own = identity_from_secret(own_secret);
    if (!own)
        abort();
    if (size == 0)
        return 0;
    switch (data[0] % 4) {
    case 0:
    case 1:
        fuzz_outside(own, data + 1, size - 1, data[0] % 4 == 1);
        break;
    default:
        fuzz_inside(own, data + 1, size - 1, data[0] % 4 == 3);
        break;
    }
    return 0;
}
