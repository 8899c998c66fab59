/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * What a stranger can say who knows a node's ID: makes seals from identities of its own, each a new
 * one, and writes them to standard output, two bytes of length (big endian) before each. hostile.py
 * publishes them.
 *
 *   knock ping COUNT ID [IP:PORT]   are you there, and may I? Here I am, it says
 *   knock dial COUNT ID IP:PORT     connect to me there; the echo is invented
 *   knock pong COUNT ID IP:PORT     an answer to a question that nobody asked
 *   knock junk COUNT ID             right up to the MAC, then random: costs no key to make
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "crypto/hash.h"
#include "crypto/seal.h"
#include "signal/message.h"

static int fail(const char *why)
{
    fprintf(stderr, "knock: %s\n", why);
    return 1;
}

static void fill_random(void *bytes, size_t len)
{
    if (getrandom(bytes, len, 0) != (ssize_t)len)
        abort();
}

static int put(const uint8_t *seal, int len)
{
    return putchar(len >> 8) != EOF && putchar(len & 255) != EOF &&
                   fwrite(seal, 1, (size_t)len, stdout) == (size_t)len
               ? 0
               : -1;
}

static int make_message(const char *kind, const struct addr *at, struct message *message)
{
    memset(message, 0, sizeof(*message));
    fill_random(message->instance, sizeof(message->instance));
    message->number = 1;
    if (strcmp(kind, "ping") == 0) {
        message->type = MESSAGE_PING;
        message->has_challenge = true;
        fill_random(message->challenge, sizeof(message->challenge));
    } else {
        message->type = strcmp(kind, "dial") == 0   ? MESSAGE_DIAL
                        : strcmp(kind, "pong") == 0 ? MESSAGE_PONG
                                                    : 0;
        message->has_echo = true;
        message->has_token = message->type == MESSAGE_DIAL;
        fill_random(message->echo, sizeof(message->echo));
        fill_random(message->token, sizeof(message->token));
    }
    if (addr_is_set(at))
        message->addrs[message->addr_count++] = *at;
    return message->type ? 0 : -1;
}

static int knock(const char *kind, const struct node_id *to, const struct addr *at)
{
    uint8_t seal[SEAL_BYTES_MAX], bytes[MESSAGE_BYTES_MAX];
    struct identity *self = identity_generate();
    struct message message;
    int len = -1;

    if (self && make_message(kind, at, &message) == 0)
        len = message_build(&message, bytes);
    if (len >= 0)
        len = seal_build(self, to, NULL, bytes, (size_t)len, seal);
    identity_free(self);
    return len < 0 ? len : put(seal, len);
}

static int junk(const struct node_id *to)
{
    static const char label[] = "adit seal v1 mac";
    uint8_t input[sizeof(label) - 1 + NODE_ID_BYTES], key[HASH_BYTES], mac[HASH_BYTES];
    uint8_t seal[SEAL_PAD_BYTES];

    fill_random(seal, sizeof(seal));
    seal[0] = 1;
    memcpy(input, label, sizeof(label) - 1);
    memcpy(input + sizeof(label) - 1, to->key, NODE_ID_BYTES);
    if (hash_sha256(input, sizeof(input), key) < 0 ||
        hash_hmac_sha256(key, sizeof(key), seal + 17, sizeof(seal) - 17, mac) < 0)
        return -1;
    memcpy(seal + 1, mac, 16);
    return put(seal, sizeof(seal));
}

int main(int argc, char **argv)
{
    struct node_id to;
    struct addr at = {0};

    if (argc < 4 || argc > 5)
        return fail("usage: knock ping|dial|pong|junk COUNT ID [IP:PORT]");
    if (node_id_parse(argv[3], &to) < 0)
        return fail("that is no ID");
    if (argc == 5 && addr_parse(argv[4], &at) < 0)
        return fail("that is no address and port");
    for (long left = atol(argv[2]); left > 0; left--)
        if ((strcmp(argv[1], "junk") == 0 ? junk(&to) : knock(argv[1], &to, &at)) < 0)
            return fail("cannot make or write a seal");
    return fflush(stdout) == 0 ? 0 : fail("cannot write");
}
