/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit turn listen': a relayed address at a server, told to the user, and what comes to it:
 * messages, which are printed, and files, which are kept (turn_inbox.h). Ordered, both ends are
 * ours (turn_ordered.h under parcel.h); plain, every message is printed as it comes, from whatever
 * client sends it.
 *
 * A server lets nobody send to a relayed address who was not permitted by his IP address. By
 * default these are the server's own relayed addresses, from which our sender comes when it uses
 * the same server; with --accept, those that are named there, and only those. That is no proof of
 * who sends: whoever has a login at that server, and learns the address, can. So files are held
 * against limits (turn_inbox.h), and what comes is printed so that it cannot pass for a line of
 * ours (turn_text.h); --raw prints messages as they are, and the rest elsewhere.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/parcel.h"
#include "cli/turn_inbox.h"
#include "cli/turn_progress.h"
#include "cli/turn_session.h"
#include "cli/turn_text.h"
#include "config/config_int.h"
#include "stun/turn_ordered.h"
#include "stun/turn_spare.h"

#define SIZE_MAX_TEXT "4G"         /* --max-size */
#define ANSWERS_BYTES (64 << 10)   /* that a sender has not confirmed; he gets no more then */
#define LINGER_MS     3000         /* for senders to confirm our last answers */
#define GRANT_US      (2 * SEC_US) /* for the server to let senders in, at first */

struct listen {
    struct turn_session session;
    struct pipe *pipe;  /* the one we listen to; NULL: over */
    struct pipe *below; /* the TURN pipe: the same when plain */
    struct inbox *inbox;
    bool json, plain, once, raw, closing;
    uint64_t size_max; /* of a file */
    const char *size_text;
    FILE *out;             /* of what is no message */
    size_t asked;          /* addresses that the server has not said yet whether it lets in */
    struct timer patience; /* set: the address is to be told */
    struct progress progress;
    struct addr progress_of;
};

/* --- Output --- */

static void print_address(struct listen *l)
{
    struct addr addr;
    char text[ADDR_TEXT_MAX], mapped[ADDR_TEXT_MAX] = "?";

    if (turn_pipe_mapped(l->below, &addr) == 0)
        addr_format(&addr, mapped);
    for (int i = 0; i < 2; i++) {
        if (turn_pipe_relayed(l->below, i == 0 ? AF_INET : AF_INET6, &addr) != 0)
            continue;
        addr_format(&addr, text);
        if (l->json) {
            text_print_json(
                json_pack("{s:s, s:s, s:s}", "event", "ready", "address", text, "mapped", mapped));
            continue;
        }
        fprintf(l->out, "address: %s\n", text);
    }
    fflush(l->out);
}

static void print_message(struct listen *l, const uint8_t *bytes, size_t len,
                          const struct addr *from)
{
    progress_hide(&l->progress);
    if (!l->raw) {
        text_print_message(bytes, len, from, l->json);
        return;
    }
    fwrite(bytes, 1, len, stdout);
    if (len == 0 || bytes[len - 1] != '\n')
        putchar('\n');
    fflush(stdout);
}

static void hash_text(const uint8_t hash[PARCEL_HASH_BYTES], char text[2 * PARCEL_HASH_BYTES + 1])
{
    for (int i = 0; i < PARCEL_HASH_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
}

static void print_file(const struct listen *l, const struct inbox_result *result,
                       const struct addr *from)
{
    char text[ADDR_TEXT_MAX], hash[2 * PARCEL_HASH_BYTES + 1], rate[32];
    const uint8_t *name = (const uint8_t *)result->name;

    addr_format(from, text);
    hash_text(result->hash, hash);
    if (l->json) {
        json_t *event =
            json_pack("{s:s, s:s, s:I, s:I, s:f, s:s}", "event", "file", "from", text, "bytes",
                      (json_int_t)result->size, "resumed", (json_int_t)result->resumed, "seconds",
                      (double)result->us / 1e6, "sha256", hash);
        text_set_json(event, "name", name, strlen(result->name));
        text_print_json(event);
        return;
    }
    fprintf(l->out, "%s: file ", text);
    text_print(l->out, name, strlen(result->name));
    fprintf(l->out, ", %llu bytes, %s, sha256 %s\n", (unsigned long long)result->size,
            progress_rate(result->size - result->resumed, result->us, rate), hash);
    fflush(l->out);
}

/* --- Parcels --- */

/* Whether a sender asks, and confirms none of the answers, which would wait for him without end. */
static bool is_deaf(const struct listen *l, const struct addr *to)
{
    struct turn_ordered_status status;

    return turn_ordered_status(l->pipe, to, &status) == 0 && status.queued > ANSWERS_BYTES;
}

static void answer(struct listen *l, const struct addr *to, const struct parcel *parcel)
{
    uint8_t bytes[PARCEL_HEAD_MAX + PARCEL_REASON_MAX];
    size_t len = parcel_build_head(parcel, bytes);
    struct slice slice;

    if (is_deaf(l, to))
        return;
    if (parcel->len > 0)
        memcpy(bytes + len, parcel->bytes, parcel->len);
    slice = slice_copy(bytes, len + parcel->len);
    pipe_write_to(l->pipe, &slice, to);
}

static void refuse(struct listen *l, const struct addr *to, uint32_t id, const char *why)
{
    size_t len = strnlen(why, PARCEL_REASON_MAX);
    char text[ADDR_TEXT_MAX];

    progress_hide(&l->progress);
    cli_complain("refused to %s: %s", addr_format(to, text), why);
    answer(l, to,
           &(struct parcel){
               .type = PARCEL_REFUSE, .id = id, .bytes = (const uint8_t *)why, .len = len});
}

static void accept_file(struct listen *l, const struct addr *to, uint32_t id, uint64_t offset)
{
    answer(l, to, &(struct parcel){.type = PARCEL_ACCEPT, .id = id, .number = offset});
}

static void on_ready(void *arg, const struct addr *from, uint32_t id, uint64_t offset)
{
    accept_file(arg, from, id, offset);
}

static void on_failed(void *arg, const struct addr *from, uint32_t id, const char *why)
{
    refuse(arg, from, id, why);
}

static void on_busy(void *arg, const struct addr *from, uint32_t id, uint64_t at)
{
    answer(arg, from, &(struct parcel){.type = PARCEL_WAIT, .id = id, .number = at});
}

static void close_soon(struct listen *l, int code)
{
    l->session.code = code;
    if (l->closing)
        return;
    l->closing = true;
    pipe_close(l->pipe); /* when all is confirmed */
}

static void show_progress(struct listen *l, const struct addr *from)
{
    uint64_t now = loop_now(l->session.loop), size, at;
    const char *name;

    /* Of several files one is shown, until it is over. */
    if ((l->progress.what != NULL && !addr_equal(&l->progress_of, from)) ||
        !inbox_progress(l->inbox, from, &name, &size, &at))
        return;
    if (l->progress.what == NULL) {
        progress_begin(&l->progress, name, size, at, now);
        l->progress_of = *from;
    }
    progress_tell(&l->progress, at, now);
}

/* A file is over: its name must not be shown any more. */
static void forget_progress(struct listen *l, const struct addr *from)
{
    progress_hide(&l->progress);
    if (addr_equal(&l->progress_of, from))
        l->progress.what = NULL;
}

static void take_offer(struct listen *l, const struct parcel *p, const struct addr *from)
{
    char why[INBOX_TEXT_MAX];
    uint64_t offset;
    int rc;

    forget_progress(l, from);
    rc = inbox_offer(l->inbox, from, p, &offset, why);
    if (rc < 0)
        refuse(l, from, p->id, why);
    else if (rc == 0)
        accept_file(l, from, p->id, offset);
}

static void take_parcel(struct listen *l, const struct parcel *p, const struct addr *from)
{
    struct inbox_result result;
    char why[INBOX_TEXT_MAX];

    switch (p->type) {
    case PARCEL_TEXT:
        print_message(l, p->bytes, p->len, from);
        if (l->once)
            close_soon(l, CLI_OK);
        break;
    case PARCEL_OFFER:
        take_offer(l, p, from);
        break;
    case PARCEL_DATA:
        show_progress(l, from);
        if (inbox_data(l->inbox, from, p, why) != 0) {
            forget_progress(l, from);
            refuse(l, from, p->id, why);
        }
        break;
    case PARCEL_END:
        forget_progress(l, from);
        if (inbox_end(l->inbox, from, p, &result, why) != 0) {
            refuse(l, from, p->id, why);
            break;
        }
        print_file(l, &result, from);
        answer(l, from, &(struct parcel){.type = PARCEL_DONE, .id = p->id, .number = result.size});
        if (l->once)
            close_soon(l, CLI_OK);
        break;
    case PARCEL_ACCEPT:
    case PARCEL_REFUSE:
    case PARCEL_DONE:
    case PARCEL_WAIT:
        break; /* we offer nothing */
    }
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct listen *l = arg;
    struct parcel parcel;

    (void)pipe;
    if (l->closing)
        return;
    if (l->plain) {
        print_message(l, data->data, data->len, from);
        if (l->once)
            close_soon(l, CLI_OK);
    } else if (parcel_parse(data->data, data->len, &parcel) < 0) {
        progress_hide(&l->progress);
        cli_complain("a sender speaks another version of this protocol; update one of the two");
    } else {
        take_parcel(l, &parcel, from);
    }
}

/* --- Peers and servers --- */

/* Whether an option is --accept IP. */
static bool is_accepted(const struct cli *cli, size_t i, struct addr *addr)
{
    return strcmp(cli->values[i].name, "accept") == 0 &&
           addr_parse_ip(cli->values[i].value, addr) == 0;
}

static bool is_accepted_before(const struct cli *cli, size_t i, const struct addr *addr)
{
    struct addr other;

    while (i-- > 0)
        if (is_accepted(cli, i, &other) && addr_equal_ip(&other, addr))
            return true;
    return false;
}

static void accept_peer(struct listen *l, const struct addr *peer)
{
    if (turn_pipe_accept_peer(l->below, peer) == 0)
        l->asked++;
}

/* Those of --accept, else whoever comes from the server itself. */
static void accept_peers(struct listen *l)
{
    const struct cli *cli = l->session.cli;
    struct addr addr;

    l->asked = 0;
    for (size_t i = 0; i < cli->value_count; i++)
        if (is_accepted(cli, i, &addr) && !is_accepted_before(cli, i, &addr))
            accept_peer(l, &addr);
    if (cli_has(cli, "accept"))
        return;
    for (int i = 0; i < 2; i++)
        if (turn_pipe_relayed(l->below, i == 0 ? AF_INET : AF_INET6, &addr) == 0)
            accept_peer(l, &addr);
}

/* How it is used, and whom to trust how far. */
static void print_introduction(const struct listen *l)
{
    fprintf(stderr, "On the other side: adit turn send %s--to ADDRESS FILE...\n",
            l->plain ? "--plain " : "");
    if (!cli_has(l->session.cli, "accept"))
        fprintf(stderr, "Whoever uses the same server and knows this address can send; for senders "
                        "at others, name their relayed address with --accept IP.\n");
    fprintf(stderr, "Senders are not authenticated, nor is anything encrypted end to end%s\n",
            l->plain || l->size_max == 0
                ? "."
                : ": compare the SHA-256 of files with what the sender was told.");
    if (!l->plain && l->size_max > 0)
        fprintf(stderr, "Files of up to %s are taken (--max-size).\n", l->size_text);
}

/* Tells the address, which is good from now on: what is sent there sooner is lost. */
static void introduce(void *arg)
{
    struct listen *l = arg;

    timer_cancel(l->session.loop, &l->patience);
    print_address(l);
    if (!l->json)
        print_introduction(l);
}

static void on_up(struct pipe *pipe, void *arg)
{
    struct listen *l = arg;

    (void)pipe;
    accept_peers(l);
    if (l->asked > 0)
        timer_set_in(l->session.loop, &l->patience, GRANT_US);
    else
        introduce(l);
}

static void on_moved(struct pipe *pipe, void *arg)
{
    struct listen *l = arg;

    (void)pipe;
    accept_peers(l);
    if (!timer_is_set(&l->patience))
        print_address(l);
    if (!l->plain && l->pipe != NULL)
        turn_ordered_moved(l->pipe);
}

static void on_peer(struct pipe *pipe, const struct addr *peer, const struct turn_report *report,
                    void *arg)
{
    struct listen *l = arg;
    char text[ADDR_TEXT_MAX];

    (void)pipe;
    progress_hide(&l->progress);
    if (report->trouble != TURN_FINE)
        cli_complain("%s may not send to us: %s", addr_format_ip(peer, text), report->text);
    if (l->asked > 0 && --l->asked == 0 && timer_is_set(&l->patience))
        introduce(l);
}

static void on_trouble(struct pipe *pipe, size_t server, const struct turn_report *report,
                       void *arg)
{
    struct listen *l = arg;

    (void)pipe, (void)server;
    progress_hide(&l->progress);
    cli_complain("%s", report->text);
    turn_session_remedy(report);
    l->session.told = true;
}

static void on_joined(struct pipe *pipe, const struct addr *peer, bool again, void *arg)
{
    struct listen *l = arg;
    char text[ADDR_TEXT_MAX];

    (void)pipe;
    progress_hide(&l->progress);
    fprintf(stderr, "%s %s\n", addr_format(peer, text), again ? "has started again" : "is there");
}

static void on_lost(struct pipe *pipe, const struct addr *peer, size_t bytes, void *arg)
{
    struct listen *l = arg;
    char text[ADDR_TEXT_MAX];
    const char *name;
    uint64_t at;

    (void)pipe, (void)bytes;
    forget_progress(l, peer);
    if (!inbox_lost(l->inbox, peer, &name, &at))
        return;
    if (at == 0)
        cli_complain("%s is gone, before much of its file had come", addr_format(peer, text));
    else
        cli_complain("%s is gone; %llu bytes of its file are kept: sent again, it goes on there",
                     addr_format(peer, text), (unsigned long long)at);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct listen *l = arg;

    (void)pipe;
    l->pipe = NULL;
    timer_cancel(l->session.loop, &l->patience);
    turn_session_stop(&l->session, why != 0 && !l->closing ? CLI_FAILURE : l->session.code);
}

static void on_stop(void *arg)
{
    struct listen *l = arg;

    if (l->pipe != NULL)
        close_soon(l, l->once ? CLI_FAILURE : CLI_OK);
}

static int check_options(const struct cli *cli)
{
    struct addr addr;

    if (cli->arg_count > 1) {
        cli_complain("turn listen: one argument too many: '%.60s'", cli->args[1]);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < cli->value_count; i++) {
        if (strcmp(cli->values[i].name, "accept") == 0 &&
            addr_parse_ip(cli->values[i].value, &addr) != 0) {
            cli_complain("--accept %.60s: an IP address, without a port", cli->values[i].value);
            return CLI_USAGE;
        }
    }
    if (cli_has(cli, "raw") && cli_has(cli, "json")) {
        cli_complain("turn listen: --raw or --json, not both");
        return CLI_USAGE;
    }
    return 0;
}

/* --max-size. 0 or CLI_USAGE, told. */
static int choose_size(struct listen *l, const struct cli *cli)
{
    l->size_text = cli_has(cli, "max-size") ? cli_value(cli, "max-size") : SIZE_MAX_TEXT;
    if (value_parse_size(l->size_text, &l->size_max) == 0)
        return 0;
    cli_complain("--max-size %.40s: a size, as in 500M or 20G; 0: no files", l->size_text);
    return CLI_USAGE;
}

static int listen_open(struct listen *l)
{
    static const struct pipe_events events = {.up = on_up, .message = on_message, .end = on_end};
    static const struct turn_pipe_events turn_events = {
        .moved = on_moved, .peer = on_peer, .trouble = on_trouble};
    static const struct turn_ordered_events ordered_events = {.joined = on_joined, .lost = on_lost};
    struct turn_session *s = &l->session;
    struct turn_settings settings = {.servers = s->servers, .count = s->count};
    const struct inbox_options options = {.size_max = l->size_max,
                                          .spare_bytes = INBOX_SPARE_BYTES,
                                          .part_bytes = INBOX_PART_BYTES,
                                          .ready = on_ready,
                                          .failed = on_failed,
                                          .busy = on_busy,
                                          .arg = l};
    const char *output = cli_value(s->cli, "output");
    char why[INBOX_TEXT_MAX];
    int code = turn_session_family(s->cli, &settings.request);

    if (code != 0)
        return code;
    if (!l->plain)
        l->inbox = inbox_new(s->loop, output != NULL ? output : ".", &options, why);
    if (l->inbox == NULL && !l->plain) {
        cli_complain("%s", why);
        return CLI_FAILURE;
    }
    timer_init(&l->patience, introduce, l);
    l->below = l->pipe = turn_pipe_open(s->loop, &settings);
    if (l->pipe != NULL && !l->plain)
        l->pipe =
            turn_ordered_open(l->below, &(struct turn_ordered_options){.linger_ms = LINGER_MS});
    if (l->pipe == NULL) {
        cli_complain("out of memory");
        return CLI_FAILURE;
    }
    turn_pipe_set_events(l->below, &turn_events, l);
    if (!l->plain) {
        turn_ordered_set_events(l->pipe, &ordered_events, l);
        turn_spare_open(l->pipe, &settings); /* goes without, if there is no memory */
    }
    pipe_add_listener(l->pipe, &events, l);
    turn_session_watch(s, l->below);
    s->on_signal = on_stop;
    s->arg = l;
    return 0;
}

int turn_listen_run(struct cli *cli)
{
    struct listen l = {.json = cli_has(cli, "json"),
                       .plain = cli_has(cli, "plain"),
                       .once = cli_has(cli, "once"),
                       .raw = cli_has(cli, "raw"),
                       .out = cli_has(cli, "raw") ? stderr : stdout};
    int code = check_options(cli);

    if (code == 0)
        code = choose_size(&l, cli);
    if (code != 0)
        return code;
    code = turn_session_open(&l.session, cli, NULL, 0);
    if (code == 0)
        code = listen_open(&l);
    if (code == 0)
        code = turn_session_run(&l.session);
    progress_hide(&l.progress);
    inbox_free(l.inbox);
    turn_session_close(&l.session);
    return code;
}
