/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: whatever the packet, its lines are bounded and hold nothing that a terminal
 * obeys; what is told without a complaint is a message that parses, or ChannelData.
 */
#include <stdlib.h>
#include <string.h>

#include "stun/channel.h"
#include "stun/words.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_line(void *arg, const char *line)
{
    size_t *lines = arg;

    (*lines)++;
    if (strlen(line) >= WORDS_LINE_MAX || !line[0])
        abort();
    for (const char *c = line; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct stun_key key = {.bytes = "key", .len = 3};
    char summary[WORDS_SUMMARY_MAX];
    struct channel_data channel;
    struct stun_message m;
    size_t lines = 0;
    bool clean = words_packet(data, size, &key, on_line, &lines);

    if (lines == 0)
        abort();
    if (stun_parse(data, size, &m) > 0)
        words_summary(&m, summary);
    if (clean && stun_kind(data[0]) == STUN_KIND_MESSAGE &&
        (stun_parse_datagram(data, size, &m) != 0 || lines != m.count + 1))
        abort();
    if (clean && stun_kind(data[0]) == STUN_KIND_CHANNEL &&
        channel_parse(data, size, &channel) <= 0)
        abort();
    return 0;
}
