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
 * the same server; with --accept, those that are named there, and only those.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/parcel.h"
#include "cli/turn_inbox.h"
#include "cli/turn_session.h"
#include "stun/turn_ordered.h"

struct listen {
    struct turn_session session;
    struct pipe *pipe;  /* the one we listen to; NULL: over */
    struct pipe *below; /* the TURN pipe: the same when plain */
    struct inbox *inbox;
    bool json, plain, once, closing;
    struct turn_progress progress;
    struct addr progress_of;
};

/* --- Output --- */

static void print_json(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);

    printf("%s\n", text != NULL ? text : "{}");
    fflush(stdout);
    free(text);
    json_decref(object);
}

static json_t *json_text(const uint8_t *bytes, size_t len)
{
    json_t *text = json_stringn((const char *)bytes, len);

    return text != NULL ? text : json_null(); /* no UTF-8 */
}

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
            print_json(
                json_pack("{s:s, s:s, s:s}", "event", "ready", "address", text, "mapped", mapped));
            continue;
        }
        printf("address: %s\n", text);
    }
    fflush(stdout);
}

static void print_message(const struct listen *l, const uint8_t *bytes, size_t len,
                          const struct addr *from)
{
    char text[ADDR_TEXT_MAX];

    addr_format(from, text);
    if (l->json) {
        print_json(json_pack("{s:s, s:s, s:I, s:o}", "event", "message", "from", text, "bytes",
                             (json_int_t)len, "text", json_text(bytes, len)));
        return;
    }
    printf("%s: ", text);
    turn_print_text(bytes, len);
    if (len == 0 || bytes[len - 1] != '\n')
        printf("\n");
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

    addr_format(from, text);
    hash_text(result->hash, hash);
    if (l->json) {
        print_json(json_pack("{s:s, s:s, s:o, s:I, s:I, s:f, s:s}", "event", "file", "from", text,
                             "name", json_text((const uint8_t *)result->name, strlen(result->name)),
                             "bytes", (json_int_t)result->size, "resumed",
                             (json_int_t)result->resumed, "seconds", (double)result->us / 1e6,
                             "sha256", hash));
        return;
    }
    printf("%s: file ", text);
    turn_print_text((const uint8_t *)result->name, strlen(result->name));
    printf(", %llu bytes, %s, sha256 %s\n", (unsigned long long)result->size,
           turn_rate(result->size - result->resumed, result->us, rate), hash);
    fflush(stdout);
}

/* --- Parcels --- */

static void answer(struct listen *l, const struct addr *to, const struct parcel *parcel)
{
    uint8_t bytes[PARCEL_HEAD_MAX + PARCEL_REASON_MAX];
    size_t len = parcel_build_head(parcel, bytes);
    struct slice slice;

    if (parcel->len > 0)
        memcpy(bytes + len, parcel->bytes, parcel->len);
    slice = slice_copy(bytes, len + parcel->len);
    pipe_write_to(l->pipe, &slice, to);
}

static void refuse(struct listen *l, const struct addr *to, uint32_t id, const char *why)
{
    size_t len = strnlen(why, PARCEL_REASON_MAX);

    turn_progress_end(&l->progress);
    cli_complain("%s", why);
    answer(l, to,
           &(struct parcel){
               .type = PARCEL_REFUSE, .id = id, .bytes = (const uint8_t *)why, .len = len});
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

    if (!inbox_progress(l->inbox, from, &name, &size, &at))
        return;
    if (!l->progress.shown || !addr_equal(&l->progress_of, from)) {
        turn_progress_begin(&l->progress, name, size, at, now);
        l->progress_of = *from;
    }
    turn_progress_tell(&l->progress, at, now);
}

static void take_parcel(struct listen *l, const struct parcel *p, const struct addr *from)
{
    struct inbox_result result;
    char why[INBOX_TEXT_MAX];
    uint64_t offset;

    switch (p->type) {
    case PARCEL_TEXT:
        print_message(l, p->bytes, p->len, from);
        if (l->once)
            close_soon(l, CLI_OK);
        break;
    case PARCEL_OFFER:
        if (inbox_offer(l->inbox, from, p, &offset, why) != 0)
            refuse(l, from, p->id, why);
        else
            answer(l, from, &(struct parcel){.type = PARCEL_ACCEPT, .id = p->id, .number = offset});
        break;
    case PARCEL_DATA:
        if (inbox_data(l->inbox, from, p, why) != 0)
            refuse(l, from, p->id, why);
        show_progress(l, from);
        break;
    case PARCEL_END:
        turn_progress_end(&l->progress);
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
        cli_complain("a sender speaks another version of this protocol; update one of the two");
    } else {
        take_parcel(l, &parcel, from);
    }
}

/* --- Peers and servers --- */

static void accept_peers(struct listen *l)
{
    const struct cli *cli = l->session.cli;
    struct addr addr;

    for (size_t i = 0; i < cli->value_count; i++)
        if (strcmp(cli->values[i].name, "accept") == 0 &&
            addr_parse_ip(cli->values[i].value, &addr) == 0)
            turn_pipe_accept_peer(l->below, &addr);
    if (cli_has(cli, "accept"))
        return;
    for (int i = 0; i < 2; i++)
        if (turn_pipe_relayed(l->below, i == 0 ? AF_INET : AF_INET6, &addr) == 0)
            turn_pipe_accept_peer(l->below, &addr);
}

static void on_up(struct pipe *pipe, void *arg)
{
    struct listen *l = arg;

    (void)pipe;
    accept_peers(l);
    print_address(l);
    if (l->json)
        return;
    fprintf(stderr, "On the other side: adit turn send %s--to ADDRESS FILE...\n",
            l->plain ? "--plain " : "");
    if (!cli_has(l->session.cli, "accept"))
        fprintf(stderr, "It may come by the same server; for others, name its relayed address with "
                        "--accept IP.\n");
}

static void on_moved(struct pipe *pipe, void *arg)
{
    struct listen *l = arg;

    (void)pipe;
    accept_peers(l);
    print_address(l);
    if (!l->plain && l->pipe != NULL)
        turn_ordered_moved(l->pipe);
}

static void on_peer(struct pipe *pipe, const struct addr *peer, const struct turn_report *report,
                    void *arg)
{
    char text[ADDR_TEXT_MAX];

    (void)pipe, (void)arg;
    if (report->trouble != TURN_FINE)
        cli_complain("%s may not send to us: %s", addr_format_ip(peer, text), report->text);
}

static void on_trouble(struct pipe *pipe, size_t server, const struct turn_report *report,
                       void *arg)
{
    struct listen *l = arg;

    (void)pipe, (void)server;
    cli_complain("%s", report->text);
    l->session.told = true;
}

static void on_joined(struct pipe *pipe, const struct addr *peer, bool again, void *arg)
{
    char text[ADDR_TEXT_MAX];

    (void)pipe, (void)arg;
    fprintf(stderr, "%s %s\n", addr_format(peer, text), again ? "has started again" : "is there");
}

static void on_lost(struct pipe *pipe, const struct addr *peer, size_t bytes, void *arg)
{
    struct listen *l = arg;
    char text[ADDR_TEXT_MAX];
    const char *name;
    uint64_t at;

    (void)pipe, (void)bytes;
    turn_progress_end(&l->progress);
    if (inbox_lost(l->inbox, peer, &name, &at))
        cli_complain("%s is gone; %llu bytes of its file are kept: sent again, it goes on there",
                     addr_format(peer, text), (unsigned long long)at);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct listen *l = arg;

    (void)pipe;
    l->pipe = NULL;
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
    return 0;
}

static int listen_open(struct listen *l)
{
    static const struct pipe_events events = {.up = on_up, .message = on_message, .end = on_end};
    static const struct turn_pipe_events turn_events = {
        .moved = on_moved, .peer = on_peer, .trouble = on_trouble};
    static const struct turn_ordered_events ordered_events = {.joined = on_joined, .lost = on_lost};
    struct turn_session *s = &l->session;
    struct turn_settings settings = {.servers = s->servers, .count = s->count};
    const char *output = cli_value(s->cli, "output");
    char why[INBOX_TEXT_MAX];
    int code = turn_session_family(s->cli, &settings.request);

    if (code != 0)
        return code;
    l->inbox = inbox_new(s->loop, output != NULL ? output : ".", why);
    if (l->inbox == NULL && !l->plain) {
        cli_complain("%s", why);
        return CLI_FAILURE;
    }
    l->below = l->pipe = turn_pipe_open(s->loop, &settings);
    if (l->pipe != NULL && !l->plain)
        l->pipe = turn_ordered_open(l->below, NULL);
    if (l->pipe == NULL) {
        cli_complain("out of memory");
        return CLI_FAILURE;
    }
    turn_pipe_set_events(l->below, &turn_events, l);
    if (!l->plain)
        turn_ordered_set_events(l->pipe, &ordered_events, l);
    pipe_add_listener(l->pipe, &events, l);
    turn_session_watch(s, l->below);
    s->on_signal = on_stop;
    s->arg = l;
    return 0;
}

int turn_listen_run(struct cli *cli)
{
    struct listen l = {
        .json = cli_has(cli, "json"), .plain = cli_has(cli, "plain"), .once = cli_has(cli, "once")};
    int code = check_options(cli);

    if (code != 0)
        return code;
    code = turn_session_open(&l.session, cli, NULL, 0);
    if (code == 0)
        code = listen_open(&l);
    if (code == 0)
        code = turn_session_run(&l.session);
    turn_progress_end(&l.progress);
    inbox_free(l.inbox);
    turn_session_close(&l.session);
    return code;
}
