/* SPDX-License-Identifier: MIT */
/*
 * The files of the state directory: the first byte chooses which. What was read is written and read
 * again, to the same text.
 */
#include <stdlib.h>
#include <string.h>

#include "config/state_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same_again(char *text, char *again)
{
    if (text == NULL || again == NULL || strcmp(text, again) != 0)
        abort();
    free(text);
    free(again);
}

static void peers_try(const char *text, size_t len)
{
    struct peer_table peers = {0};
    char why[STATE_WHY_MAX];

    if (peer_table_from_text(text, len, &peers, why) == 0) {
        char *first = peer_table_to_text(&peers);
        if (first == NULL || peer_table_from_text(first, strlen(first), &peers, why) != 0)
            abort();
        same_again(first, peer_table_to_text(&peers));
    }
    peer_table_free(&peers);
}

static void secrets_try(const char *text, size_t len)
{
    struct enrol_table secrets;
    char why[STATE_WHY_MAX];

    if (enrol_table_from_text(text, len, &secrets, why) == 0) {
        char *first = enrol_table_to_text(&secrets);
        if (first == NULL || enrol_table_from_text(first, strlen(first), &secrets, why) != 0)
            abort();
        same_again(first, enrol_table_to_text(&secrets));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[STATE_WHY_MAX];
    uint16_t port;

    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    switch (data[0]) {
    case 'p':
        peers_try(text, size - 1);
        break;
    case 'e':
        secrets_try(text, size - 1);
        break;
    default:
        node_from_text(text, size - 1, &port, why);
        break;
    }
    return 0;
}
