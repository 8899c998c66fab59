/* SPDX-License-Identifier: MIT */
/*
 * The lab's router: never a crash, whatever packets come from either side, and every one is counted
 * once. The first byte chooses what the router does; then a byte (its lowest bit: the direction),
 * two of length and a packet, again and again.
 */
#include <stdlib.h>
#include <string.h>

#include "../lab/gate.h"

#define PASS_MS 10 /* between packets */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool send_nowhere(void *arg, enum direction side, const struct parcel *parcel)
{
    struct packet packet;
    (void)arg;
    (void)side;
    if (packet_parse(parcel->data, parcel->len, &packet) != (int)parcel->len)
        abort(); /* what leaves is a packet */
    return true;
}

/* What was received, and what became of it. Answers to the outside go up the link, too. */
static void check_counts(const struct gate *gate)
{
    for (int i = 0; i < 2; i++) {
        uint64_t became = 0;
        for (int j = GATE_SENT; j <= GATE_HAIRPINNED; j++)
            became += j == GATE_SENT_BYTES ? 0 : gate->counts[i][j];
        uint64_t expected = gate->counts[i][GATE_RECEIVED];
        if (i == UP)
            expected += gate->counts[DOWN][GATE_ERRORS_MADE] + gate->counts[DOWN][GATE_RESETS_MADE];
        if (became != expected)
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const kinds[][2] = {
        {"udp.mapping", "apd"},  {"udp.filtering", "ei"},  {"tcp.filtering", "ad"},
        {"udp.ports", "random"}, {"tcp.strays", "accept"}, {"tcp.rst", "close"},
        {"nat6", "firewall"},    {"delay", "15"},
    };
    char error[SETTINGS_ERROR_BYTES];
    struct settings settings;
    struct gate gate;
    int64_t now = LINK_SEC_NS;
    if (size == 0)
        return 0;
    settings_init(&settings, 1);
    settings_set(&settings, "external", "203.0.113.1", error);
    settings_set(&settings, "external6", "2001:db8:f::1", error);
    settings_set(&settings, "nat", "on", error);
    settings_set(&settings, "nat6", "on", error);
    for (int i = 0; i < 8; i++)
        if (data[0] >> i & 1)
            settings_set(&settings, kinds[i][0], kinds[i][1], error);
    if (!settings_check(&settings, error) || gate_init(&gate, &settings, 1500, send_nowhere, NULL))
        abort();
    data++;
    size--;
    while (size >= 3) {
        enum direction direction = data[0] & 1 ? DOWN : UP;
        size_t len = (size_t)(data[1] << 8 | data[2]);
        data += 3;
        size -= 3;
        len = len < size ? len : size;
        uint8_t *copy = malloc(len + 1);
        if (!copy)
            break;
        memcpy(copy, data, len);
        struct parcel parcel = {.data = copy, .len = len};
        gate_receive(&gate, direction, &parcel, now);
        free(copy);
        data += len;
        size -= len;
        now += PASS_MS * LINK_MS_NS;
        gate_deliver(&gate, now, 100);
    }
    while (gate_next(&gate) != LINK_NEVER)
        gate_deliver(&gate, gate_next(&gate), 100);
    check_counts(&gate);
    gate_free(&gate);
    return 0;
}
