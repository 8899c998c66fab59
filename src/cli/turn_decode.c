/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit turn decode`: where packets come from: a capture file, which may still be growing on
 * standard input, a file with one message's bytes, hex in any of its forms, or an interface
 * (turn_live.c). What they mean is the trace's business (capture/trace.h), what is printed that of
 * turn_print.c.
 *
 * Hex may be that of a message, or of a whole frame or IP packet: a message is known by its cookie,
 * and what is none but is a packet of UDP or TCP is taken for that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "capture/capture.h"
#include "capture/fragments.h"
#include "capture/hex.h"
#include "cli/turn.h"
#include "stun/channel.h"

#define CHUNK_BYTES ((size_t)256 * 1024)
#define TEXT_MAX    ((size_t)16 * 1024 * 1024) /* of hex, or of a file of messages */

struct decode {
    struct trace *trace;
    struct fragments *fragments;
    struct turn_print print;
    size_t packets;   /* seen */
    size_t broken;    /* packets cut off in their headers, or malformed */
    size_t links;     /* frames of a link layer that is not known ... */
    unsigned link;    /* ... which */
    size_t homeless;  /* packets of interfaces that the file does not describe */
    const char *name; /* of the input, for complaints */
};

static void decode_frame(struct decode *d, unsigned link, const uint8_t *bytes, size_t len,
                         int64_t time_us)
{
    struct packet_fragment fragment;
    struct packet packet;
    enum packet_outcome outcome = packet_parse(link, bytes, len, &packet, &fragment);

    d->packets++;
    if (outcome == PACKET_FRAGMENT)
        outcome = fragments_add(d->fragments, &fragment, &packet);
    switch (outcome) {
    case PACKET_WHOLE:
        trace_packet(d->trace, &packet, time_us);
        break;
    case PACKET_BROKEN:
        d->broken++;
        break;
    case PACKET_LINK:
        d->links++;
        d->link = link;
        break;
    case PACKET_FRAGMENT:
    case PACKET_FOREIGN:
        break;
    }
}

/* --- Capture files --- */

struct input {
    int fd;
    uint8_t *bytes;
    size_t at, len, cap;
};

/* Reads more. How much; 0: end; negative: told. */
static ssize_t input_read(struct decode *d, struct input *in)
{
    ssize_t n;

    if (in->at > 0)
        memmove(in->bytes, in->bytes + in->at, in->len);
    in->at = 0;
    if (in->cap - in->len < CHUNK_BYTES) {
        uint8_t *grown = realloc(in->bytes, in->len + 2 * CHUNK_BYTES);

        if (grown == NULL) {
            cli_complain("out of memory");
            return -ENOMEM;
        }
        in->bytes = grown;
        in->cap = in->len + 2 * CHUNK_BYTES;
    }
    do
        n = read(in->fd, in->bytes + in->len, in->cap - in->len);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        cli_complain("%s: %s", d->name, strerror(errno));
        return -errno;
    }
    in->len += (size_t)n;
    return n;
}

static int decode_capture(struct decode *d, struct input *in)
{
    struct capture capture = {0};
    struct capture_frame frame;
    ssize_t more = 1;

    for (;;) {
        int used = capture_parse(&capture, in->bytes + in->at, in->len, &frame);

        if (used < 0) {
            cli_complain("%s: %s", d->name,
                         used == -ENOTSUP ? "a version of the capture format that is not known"
                                          : "not a capture file from here on");
            return CLI_FAILURE;
        }
        if (used > 0) {
            if (frame.is_homeless)
                d->homeless++;
            else if (frame.bytes != NULL)
                decode_frame(d, frame.link, frame.bytes, frame.len, frame.time_us);
            in->at += (size_t)used;
            in->len -= (size_t)used;
            continue;
        }
        if (ferror(stdout) || more == 0)
            break;
        fflush(stdout);
        more = input_read(d, in);
        if (more < 0)
            return CLI_FAILURE;
    }
    if (in->len == 0)
        return CLI_OK;
    cli_complain("%s: the file ends in the middle of a packet", d->name);
    return CLI_FAILURE;
}

/* --- Hex and bytes --- */

static bool is_message(const uint8_t *bytes, size_t len)
{
    if (len >= 8 && bytes[0] < 4 && memcmp(bytes + 4, "\x21\x12\xA4\x42", 4) == 0)
        return true;
    return len >= CHANNEL_HEADER_BYTES && stun_kind(bytes[0]) == STUN_KIND_CHANNEL &&
           stun_frame(bytes, len) > 0;
}

static void decode_bytes(struct decode *d, const uint8_t *bytes, size_t len)
{
    static const unsigned links[] = {PACKET_LINK_ETHERNET, PACKET_LINK_RAW, PACKET_LINK_LINUX_SLL,
                                     PACKET_LINK_LINUX_SLL2};
    struct packet_fragment fragment;
    struct packet packet;

    d->packets++;
    for (size_t i = 0; !is_message(bytes, len) && i < sizeof(links) / sizeof(*links); i++) {
        if (packet_parse(links[i], bytes, len, &packet, &fragment) == PACKET_WHOLE &&
            packet.missing == 0) {
            d->print.plain = false;
            trace_packet(d->trace, &packet, 0);
            return;
        }
    }
    trace_bytes(d->trace, bytes, len);
}

static int decode_hex(struct decode *d, const char *text, size_t len)
{
    uint8_t *bytes = malloc(HEX_PACKET_MAX);
    size_t at = 0, used, packets = 0;
    int n = bytes != NULL ? 1 : -ENOMEM, line = 1;

    while (n > 0) {
        n = hex_parse(text + at, len - at, &used, bytes);
        at += used;
        if (n > 0) {
            decode_bytes(d, bytes, (size_t)n);
            packets++;
        }
    }
    free(bytes);
    for (size_t i = 0; i < at && i < len; i++)
        line += text[i] == '\n';
    if (n == -ENOMEM)
        cli_complain("out of memory");
    else if (n < 0)
        cli_complain("%s: line %d: %s", d->name, line,
                     n == ADIT_EFULL ? "longer than a packet can be"
                                     : "neither hex in a form that is known, nor a capture file");
    else if (packets == 0)
        cli_complain("%s: nothing to decode", d->name);
    return n == 0 && packets > 0 ? CLI_OK : CLI_FAILURE;
}

/* All of it: hex, or the bytes of messages. */
static int decode_text(struct decode *d, struct input *in)
{
    ssize_t more = 1;

    while (more > 0 && in->len <= TEXT_MAX)
        more = input_read(d, in);
    if (more < 0)
        return CLI_FAILURE;
    if (in->len > TEXT_MAX) {
        cli_complain("%s: more than 16 MiB, and no capture file", d->name);
        return CLI_FAILURE;
    }
    if (is_message(in->bytes, in->len)) {
        d->packets++;
        trace_bytes(d->trace, in->bytes, in->len);
        return CLI_OK;
    }
    return decode_hex(d, (const char *)in->bytes, in->len);
}

/* The program that opens a compressed file; NULL: it is none. */
static const char *unpacker_of(const uint8_t *bytes, size_t len)
{
    static const struct {
        const char *magic, *program;
    } formats[] = {{"\x1f\x8b", "gunzip"},
                   {"BZh", "bunzip2"},
                   {"\xfd"
                    "7zXZ",
                    "unxz"},
                   {"\x28\xb5\x2f\xfd", "unzstd"},
                   {"PK\x03\x04", "unzip"}};

    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
        if (len >= strlen(formats[i].magic) &&
            memcmp(bytes, formats[i].magic, strlen(formats[i].magic)) == 0)
            return formats[i].program;
    return NULL;
}

static int decode_input(struct decode *d, struct input *in)
{
    const char *unpacker;
    ssize_t more = 1;

    while (in->len < 4 && more > 0)
        more = input_read(d, in);
    if (more < 0)
        return CLI_FAILURE;
    if (capture_is_file(in->bytes, in->len))
        return decode_capture(d, in);
    unpacker = unpacker_of(in->bytes, in->len);
    if (unpacker != NULL) {
        cli_complain("%s is compressed; %s it first", d->name, unpacker);
        return CLI_FAILURE;
    }
    d->print.plain = true;
    return decode_text(d, in);
}

static int decode_file(struct decode *d, const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    struct input in = {.fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)};
    int code = CLI_FAILURE;

    d->name = is_stdin ? "standard input" : path;
    if (in.fd < 0)
        cli_complain("%s: %s", path, strerror(errno));
    else
        code = decode_input(d, &in);
    if (in.fd >= 0 && !is_stdin)
        close(in.fd);
    free(in.bytes);
    return code;
}

/* --- */

static void on_live(void *arg, const struct packet *packet, int64_t time_us)
{
    struct decode *d = arg;

    trace_packet(d->trace, packet, time_us);
    fflush(stdout);
}

static int decode_run(struct cli *cli, struct decode *d)
{
    const char *hex = cli_value(cli, "hex"), *interface = cli_value(cli, "live");
    int code;

    if (hex != NULL) {
        d->name = "--hex";
        d->print.plain = true;
        code = decode_hex(d, hex, strlen(hex));
    } else if (interface != NULL) {
        code = turn_live(interface, on_live, d);
    } else {
        code = decode_file(d, cli->arg_count > 1 ? cli->args[1] : "-");
    }
    trace_end(d->trace);
    if (code == CLI_OK || d->packets > 0) /* else there was nothing to summarise */
        turn_print_summary(&d->print, trace_summary(d->trace));
    if (d->broken > 0)
        cli_complain("%zu packets were cut off by the capture, or malformed", d->broken);
    if (fragments_lost(d->fragments) > 0)
        cli_complain("%zu fragments of packets lack the others", fragments_lost(d->fragments));
    if (d->homeless > 0)
        cli_complain("%zu packets are of interfaces that the file does not describe", d->homeless);
    if (d->links > 0)
        cli_complain("%zu frames are of a link layer that is not known (LINKTYPE %u): Ethernet, "
                     "Linux cooked, loopback, PPP and raw IP are; tcpdump -y chooses one",
                     d->links, d->link);
    return code == CLI_OK && (d->print.unclear.count > 0 || d->print.wrong.count > 0 ||
                              d->links > 0 || d->homeless > 0)
               ? CLI_FAILURE
               : code;
}

static int decode_options(struct cli *cli)
{
    int sources = (cli_has(cli, "hex") ? 1 : 0) + (cli_has(cli, "live") ? 1 : 0) +
                  (cli->arg_count > 1 ? 1 : 0);

    if (sources > 1 || cli->arg_count > 2) {
        cli_complain("turn decode: one FILE, --hex or --live");
        return CLI_USAGE;
    }
    if (sources == 0 && isatty(STDIN_FILENO)) {
        cli_complain("turn decode: name a FILE, - for standard input, --hex TEXT or --live IFACE");
        return CLI_USAGE;
    }
    return 0;
}

int turn_decode_run(struct cli *cli)
{
    const char *password_file = cli_value(cli, "password-file");
    const char *secret_file = cli_value(cli, "secret-file");
    char *password = NULL, *secret = NULL;
    struct decode d = {.print = {.json = cli_has(cli, "json"), .brief = cli_has(cli, "brief")}};
    int code = decode_options(cli);

    if (code != 0)
        return code;
    code = CLI_FAILURE;
    if (password_file != NULL &&
        (password = turn_read_secret("--password-file", password_file)) == NULL)
        goto out;
    if (secret_file != NULL && (secret = turn_read_secret("--secret-file", secret_file)) == NULL)
        goto out;
    d.print.verifies = password != NULL || secret != NULL;
    d.trace = trace_new(&(struct trace_options){.event = turn_print_event,
                                                .arg = &d.print,
                                                .user = cli_value(cli, "user"),
                                                .password = password,
                                                .secret = secret,
                                                .all = cli_has(cli, "all")});
    d.fragments = fragments_new();
    if (d.trace == NULL || d.fragments == NULL)
        cli_complain("out of memory");
    else
        code = decode_run(cli, &d);
out:
    trace_free(d.trace);
    fragments_free(d.fragments);
    turn_free_secret(password);
    turn_free_secret(secret);
    return code;
}
