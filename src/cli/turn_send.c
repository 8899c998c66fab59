/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit turn send': one argument after the other goes to the peer: a file if there is one of that
 * name, else a message; without arguments, the lines of standard input. Ordered, the other side is
 * `adit turn listen' (parcel.h); plain, each message is one datagram, to whatever client there is.
 *
 *     next -- file --> preparing -- OFFER --> offered -- ACCEPT --> sending -- END --> ended -.
 *      ^ `-- message: TEXT --.                    WAIT: it will come   |                     DONE
 *      |                     |                  REFUSE: failed <-------+                      |
 *      `---------------------+----------------------------------------------------------------'
 *
 * A file is read and hashed first (turn_outgoing.h), then offered. Bytes are read as fast as the
 * pipe has room. When nothing is left and all is confirmed, the pipe is closed.
 *
 * Silence is not waited for without end. Before the listener has answered at all, there is a hint
 * after HINT_US, and ANSWER_US is the end. Later, every second it is looked at when it was last
 * heard, while something is expected of it: after QUIET_US that is told, after GONE_US it is the
 * end, if the ordered pipe has not given the listener up before. One that says again and again that
 * an answer will come (it hashes what it has of a large file) is waited for while it does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/parcel.h"
#include "cli/turn_lines.h"
#include "cli/turn_outgoing.h"
#include "cli/turn_progress.h"
#include "cli/turn_session.h"
#include "cli/turn_text.h"
#include "stun/turn_ordered.h"
#include "stun/turn_spare.h"

#define CHUNK_BYTES 32768
#define HINT_US     (5 * SEC_US)  /* without an answer */
#define ANSWER_US   (30 * SEC_US) /* then it is given up */
#define PLAIN_US    (15 * SEC_US)
#define QUIET_US    (5 * SEC_US)
#define GONE_US     (65 * SEC_US) /* a little more than the ordered pipe's own patience */

enum send_state { SEND_NEXT, SEND_PREPARING, SEND_OFFERED, SEND_SENDING, SEND_ENDED, SEND_OVER };

struct send {
    struct turn_session session;
    struct pipe *pipe, *below; /* as in turn_listen.c */
    struct addr to;
    bool json, plain, joined, closing, unconfirmed, quiet_told;
    enum send_state state;
    int arg;               /* the next argument */
    uint64_t messages;     /* written */
    uint32_t id;           /* of the file */
    struct outgoing *file; /* NULL: none */
    uint64_t at, resumed, start_us;
    uint64_t first_us, heard_us; /* when something was first written, or began to be expected; and
                                    the listener last heard */
    struct timer patience, tick;
    struct defer pump;
    struct progress progress;
    struct lines *lines; /* of standard input, for messages; NULL: none */
    bool lines_over;
};

static void advance(struct send *s);

static void fail(struct send *s, int code)
{
    progress_hide(&s->progress);
    s->state = SEND_OVER;
    s->session.code = code;
    if (s->pipe == NULL || s->closing)
        return;
    s->closing = true;
    if (s->joined && !s->plain)
        turn_ordered_leave(s->pipe); /* so that the listener does not wait for us */
    else
        pipe_abort(s->pipe, -ECANCELED);
}

/* What is to be done about a file that did not get through; NULL: there is none. */
static const char *resume_text(const struct send *s)
{
    if (s->state == SEND_SENDING || s->state == SEND_ENDED)
        return "; it keeps what it has of the file, and goes on there when that is sent again";
    return s->file != NULL ? "; send the file again" : "; send the last messages again";
}

/* --- Parcels --- */

static void on_patience(void *arg);

/* Something is expected of the listener from now on. */
static void expect(struct send *s)
{
    uint64_t now = loop_now(s->session.loop);

    if (!s->unconfirmed)
        s->heard_us = now;
    if (s->first_us == 0) {
        s->first_us = now;
        timer_set_in(s->session.loop, &s->patience, s->plain ? PLAIN_US : HINT_US);
    }
    s->unconfirmed = true;
}

static void put_parcel(struct send *s, const struct parcel *parcel)
{
    struct slice slice;
    uint8_t head[PARCEL_HEAD_MAX];
    size_t len = parcel_build_head(parcel, head);

    slice.block = block_new_sized(len + parcel->len);
    slice.data = block_start(slice.block);
    slice.len = len + parcel->len;
    memcpy(slice.data, head, len);
    if (parcel->len > 0)
        memcpy(slice.data + len, parcel->bytes, parcel->len);
    expect(s);
    pipe_write_to(s->pipe, &slice, &s->to);
}

static void put_message(struct send *s, const char *text, size_t len)
{
    struct slice slice;

    s->messages++;
    if (!s->plain) {
        put_parcel(
            s, &(struct parcel){.type = PARCEL_TEXT, .bytes = (const uint8_t *)text, .len = len});
        return;
    }
    slice = slice_copy(text, len);
    expect(s);
    pipe_write_to(s->pipe, &slice, &s->to);
}

/* --- Files --- */

static void close_file(struct send *s)
{
    s->progress.what = NULL;
    outgoing_free(s->file);
    s->file = NULL;
}

static void on_prepared(void *arg, int why)
{
    struct send *s = arg;
    const char *name = outgoing_name(s->file);
    bool is_stdin = strcmp(s->session.cli->args[s->arg - 1], "-") == 0;
    struct parcel p = {.type = PARCEL_OFFER,
                       .number = outgoing_size(s->file),
                       .bytes = (const uint8_t *)name,
                       .len = strnlen(name, PARCEL_NAME_MAX)};

    progress_hide(&s->progress);
    if (s->state != SEND_PREPARING)
        return;
    if (why != 0) {
        cli_complain("%s: %s", is_stdin ? "standard input" : name,
                     why == -EIO ? "it cannot be read, or has become shorter" : err_text(why));
        fail(s, CLI_FAILURE);
        return;
    }
    memcpy(p.hash, outgoing_hash(s->file), sizeof(p.hash));
    p.id = ++s->id;
    s->state = SEND_OFFERED;
    put_parcel(s, &p);
}

/* Reads and writes what there is room for; gives way to others after some of it. */
static void on_pump(void *arg)
{
    struct send *s = arg;
    uint8_t bytes[CHUNK_BYTES];
    uint64_t size = s->file != NULL ? outgoing_size(s->file) : 0;
    struct parcel end = {.type = PARCEL_END, .id = s->id, .number = size};

    for (int i = 0; i < 16 && s->state == SEND_SENDING && s->at < size; i++) {
        int n;

        if (pipe_room(s->pipe) < CHUNK_BYTES)
            return; /* `room' will come */
        n = outgoing_read(s->file, s->at, bytes, sizeof(bytes));
        if (n <= 0) {
            progress_hide(&s->progress);
            cli_complain("%s: it has changed while it was sent; send it again",
                         outgoing_name(s->file));
            fail(s, CLI_FAILURE);
            return;
        }
        put_parcel(s, &(struct parcel){.type = PARCEL_DATA,
                                       .id = s->id,
                                       .number = s->at,
                                       .bytes = bytes,
                                       .len = (size_t)n});
        s->at += (uint64_t)n;
    }
    if (s->state != SEND_SENDING)
        return;
    if (s->at < size) {
        defer_next(s->session.loop, &s->pump);
        return;
    }
    memcpy(end.hash, outgoing_hash(s->file), sizeof(end.hash));
    s->state = SEND_ENDED;
    put_parcel(s, &end);
}

static uint64_t confirmed_bytes(const struct send *s)
{
    size_t queued = pipe_queued(s->pipe);

    return s->at > queued ? s->at - queued : 0;
}

static void file_done(struct send *s)
{
    uint64_t us = loop_now(s->session.loop) - s->start_us, size = outgoing_size(s->file);
    const uint8_t *name = (const uint8_t *)outgoing_name(s->file);
    size_t len = strlen(outgoing_name(s->file));
    char hash[2 * PARCEL_HASH_BYTES + 1], rate[32];

    progress_hide(&s->progress);
    for (int i = 0; i < PARCEL_HASH_BYTES; i++)
        snprintf(hash + 2 * i, 3, "%02x", outgoing_hash(s->file)[i]);
    if (s->json) {
        json_t *event = json_pack("{s:s, s:I, s:I, s:f, s:s}", "event", "sent", "bytes",
                                  (json_int_t)size, "resumed", (json_int_t)s->resumed, "seconds",
                                  (double)us / 1e6, "sha256", hash);
        text_set_json(event, "name", name, len);
        text_print_json(event);
    } else {
        printf("sent: ");
        text_print(stdout, name, len);
        printf(", %llu bytes, %s, sha256 %s\n", (unsigned long long)size,
               progress_rate(size - s->resumed, us, rate), hash);
    }
    fflush(stdout);
    close_file(s);
    s->state = SEND_NEXT;
    advance(s);
}

/* --- Messages --- */

static void on_line(void *arg, const char *text, size_t len)
{
    struct send *s = arg;

    if (s->state != SEND_OVER)
        put_message(s, text, len);
}

static void on_lines_read(void *arg)
{
    struct send *s = arg;

    if (s->state == SEND_OVER || pipe_room(s->pipe) == 0)
        lines_pause(s->lines); /* until there is room */
}

static void on_lines_over(void *arg, int why)
{
    struct send *s = arg;

    s->lines_over = true;
    if (s->state == SEND_OVER)
        return;
    if (why == 0) {
        advance(s);
        return;
    }
    cli_complain("standard input: %s", err_text(why));
    fail(s, CLI_FAILURE);
}

static int lines_begin(struct send *s)
{
    static const struct lines_events events = {
        .line = on_line, .read = on_lines_read, .over = on_lines_over};

    if (s->lines != NULL)
        return 0;
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "Each line is a message; end with Ctrl-D.\n");
    s->lines = lines_new(s->session.loop, STDIN_FILENO, &events, s);
    return s->lines != NULL ? 0 : -ENOMEM;
}

/* What came of the messages. */
static void messages_done(const struct send *s)
{
    if (s->json && s->messages > 0)
        text_print_json(json_pack("{s:s, s:I, s:b}", "event", "sent", "messages",
                                  (json_int_t)s->messages, "confirmed", !s->plain));
    else if (s->messages > 0)
        printf("sent: %llu message%s%s\n", (unsigned long long)s->messages,
               s->messages == 1 ? "" : "s", s->plain ? ", whether they arrived is not known" : "");
    else if (s->session.cli->arg_count <= 1)
        cli_complain("standard input was empty: nothing was sent");
    fflush(stdout);
}

/* --- One after the other --- */

static void finish(struct send *s)
{
    if (s->closing || (!s->plain && s->unconfirmed))
        return;
    messages_done(s);
    s->closing = true;
    s->state = SEND_OVER;
    pipe_close(s->pipe);
}

/* An argument that was meant as a file, perhaps. */
static void send_word(struct send *s, const char *word)
{
    if (!s->plain && !cli_has(s->session.cli, "text") && strchr(word, '.') != NULL &&
        strpbrk(word, " \n") == NULL)
        cli_complain("there is no file %s; it is sent as a message", word);
    put_message(s, word, strlen(word));
}

static void send_argument(struct send *s, const char *arg)
{
    bool is_word = strcmp(arg, "-") != 0 && (s->plain || cli_has(s->session.cli, "text"));

    if (s->plain && !is_word) {
        cli_complain("--plain sends single messages, no files");
        fail(s, CLI_USAGE);
        return;
    }
    switch (is_word ? OUTGOING_NONE : outgoing_open(s->session.loop, arg, &s->file)) {
    case OUTGOING_NONE:
        send_word(s, arg);
        break;
    case OUTGOING_FAILED:
        fail(s, CLI_FAILURE);
        break;
    case OUTGOING_FILE:
        s->state = SEND_PREPARING;
        progress_begin(&s->progress, outgoing_name(s->file), outgoing_size(s->file), 0,
                       loop_now(s->session.loop));
        outgoing_prepare(s->file, on_prepared, s);
        break;
    }
}

/* What comes next, if it is time for it. */
static void advance(struct send *s)
{
    struct cli *cli = s->session.cli;

    while (s->state == SEND_NEXT && s->arg < cli->arg_count)
        send_argument(s, cli->args[s->arg++]);
    if (s->state == SEND_NEXT && (cli->arg_count > 1 || s->lines_over))
        finish(s);
}

static void on_accepted(struct send *s, uint64_t offset)
{
    uint64_t size = outgoing_size(s->file);

    s->state = SEND_SENDING;
    s->at = s->resumed = offset;
    s->start_us = loop_now(s->session.loop);
    progress_hide(&s->progress);
    progress_begin(&s->progress, outgoing_name(s->file), size, s->at, s->start_us);
    if (s->resumed > 0) {
        text_print(stderr, (const uint8_t *)outgoing_name(s->file), strlen(outgoing_name(s->file)));
        fprintf(stderr, ": the listener has %llu bytes of it already\n",
                (unsigned long long)s->resumed);
    }
    defer_soon(s->session.loop, &s->pump);
}

static void take_parcel(struct send *s, const struct parcel *p)
{
    if (p->type == PARCEL_TEXT) {
        progress_hide(&s->progress);
        text_print_message(p->bytes, p->len, &s->to, s->json);
        return;
    }
    if (p->id != s->id)
        return;
    if (p->type == PARCEL_ACCEPT && s->state == SEND_OFFERED &&
        p->number <= outgoing_size(s->file)) {
        on_accepted(s, p->number);
    } else if (p->type == PARCEL_WAIT && s->state == SEND_OFFERED) {
        progress_note(&s->progress, p->number, "the listener looks at what it has",
                      loop_now(s->session.loop));
    } else if (p->type == PARCEL_REFUSE && s->file != NULL) {
        progress_hide(&s->progress);
        fputs("adit: refused: ", stderr);
        text_print(stderr, p->bytes, p->len);
        fputc('\n', stderr);
        fail(s, CLI_FAILURE);
    } else if (p->type == PARCEL_DONE && s->state == SEND_ENDED) {
        file_done(s);
    }
}

static void heard(struct send *s)
{
    s->heard_us = loop_now(s->session.loop);
    if (s->quiet_told && s->state != SEND_OVER) {
        progress_hide(&s->progress);
        fprintf(stderr, "adit: the listener answers again\n");
    }
    s->quiet_told = false;
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct send *s = arg;
    struct parcel parcel;

    (void)pipe;
    if (s->plain) {
        progress_hide(&s->progress);
        text_print_message(data->data, data->len, from, s->json);
    } else if (addr_equal(from, &s->to) && s->state != SEND_OVER &&
               parcel_parse(data->data, data->len, &parcel) > 0) {
        heard(s);
        take_parcel(s, &parcel);
    }
}

/* --- Peer and servers --- */

/* What the listener has to permit: our relayed address. */
static void tell_hint(const struct send *s)
{
    char to[ADDR_TEXT_MAX], relayed[ADDR_TEXT_MAX] = "IP";
    struct addr addr;

    if (turn_pipe_relayed(s->below, s->to.family, &addr) == 0)
        addr_format_ip(&addr, relayed);
    fprintf(stderr,
            "adit: no answer from %s yet. Does `adit turn listen' run there, with this address? If "
            "it uses another server, it needs --accept %s\n",
            addr_format(&s->to, to), relayed);
}

static void on_patience(void *arg)
{
    struct send *s = arg;
    uint64_t waited = loop_now(s->session.loop) - s->first_us;

    if (s->joined || s->state == SEND_OVER)
        return;
    progress_hide(&s->progress);
    if (s->plain) {
        cli_complain("the server does not answer");
        fail(s, CLI_FAILURE);
    } else if (waited < ANSWER_US) {
        tell_hint(s);
        timer_set(s->session.loop, &s->patience, s->first_us + ANSWER_US);
    } else {
        cli_complain("no answer; given up");
        fail(s, CLI_FAILURE);
    }
}

/* Single datagrams are not answered. */
static bool is_waiting(const struct send *s)
{
    return !s->plain && s->joined &&
           (s->unconfirmed || s->state == SEND_OFFERED || s->state == SEND_SENDING ||
            s->state == SEND_ENDED);
}

static void on_tick(void *arg)
{
    struct send *s = arg;
    uint64_t now = loop_now(s->session.loop), quiet = now - s->heard_us;

    if (s->state == SEND_OVER)
        return;
    timer_set_in(s->session.loop, &s->tick, SEC_US);
    if (s->state == SEND_PREPARING) {
        progress_note(&s->progress, outgoing_prepared(s->file), "reading it", now);
        return;
    }
    if (!is_waiting(s) || quiet < QUIET_US)
        return;
    if (!s->quiet_told) {
        progress_hide(&s->progress);
        fprintf(stderr, "adit: the listener has not answered for %llu s; waiting for it\n",
                (unsigned long long)(quiet / SEC_US));
        s->quiet_told = true;
    }
    if (quiet >= GONE_US) {
        progress_hide(&s->progress);
        cli_complain("the listener does not answer any more; given up%s", resume_text(s));
        fail(s, CLI_FAILURE);
    }
}

static void on_up(struct pipe *pipe, void *arg)
{
    struct send *s = arg;

    (void)pipe;
    on_tick(s);
    if (s->session.cli->arg_count > 1)
        advance(s);
    else if (lines_begin(s) != 0)
        fail(s, CLI_FAILURE);
}

static void on_room(struct pipe *pipe, void *arg)
{
    struct send *s = arg;

    (void)pipe;
    if (s->state == SEND_OVER)
        return;
    heard(s);
    if (s->state == SEND_SENDING || s->state == SEND_ENDED)
        progress_tell(&s->progress, confirmed_bytes(s), s->heard_us);
    if (s->state == SEND_SENDING)
        defer_soon(s->session.loop, &s->pump);
    if (s->lines != NULL && pipe_room(s->pipe) > 0)
        lines_resume(s->lines);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct send *s = arg;

    (void)pipe;
    s->pipe = NULL;
    if (why != 0 && s->session.code == 0)
        s->session.code = CLI_FAILURE;
    turn_session_stop(&s->session, s->session.code);
}

static void on_peer(struct pipe *pipe, const struct addr *peer, const struct turn_report *report,
                    void *arg)
{
    struct send *s = arg;

    (void)pipe;
    if (!addr_equal_ip(peer, &s->to) || s->state == SEND_OVER)
        return;
    if (report->trouble == TURN_FINE) {
        s->joined = s->joined || s->plain;
        return;
    }
    progress_hide(&s->progress);
    cli_complain("%s", report->text);
    fail(s, CLI_FAILURE);
}

static void on_moved(struct pipe *pipe, void *arg)
{
    struct send *s = arg;

    (void)pipe;
    if (!s->plain && s->pipe != NULL)
        turn_ordered_moved(s->pipe);
}

static void on_trouble(struct pipe *pipe, size_t server, const struct turn_report *report,
                       void *arg)
{
    struct send *s = arg;

    (void)pipe, (void)server;
    progress_hide(&s->progress);
    cli_complain("%s", report->text);
    turn_session_remedy(report);
    s->session.told = true;
}

static void on_joined(struct pipe *pipe, const struct addr *peer, bool again, void *arg)
{
    struct send *s = arg;

    (void)pipe, (void)peer;
    s->joined = true;
    if (s->state != SEND_OVER)
        heard(s);
    if (again && (s->state == SEND_OFFERED || s->state == SEND_SENDING || s->state == SEND_ENDED)) {
        progress_hide(&s->progress);
        cli_complain("the listener was started again; send the file once more, and it goes on");
        fail(s, CLI_FAILURE);
    }
}

static void on_confirmed(struct pipe *pipe, const struct addr *peer, void *arg)
{
    struct send *s = arg;

    (void)pipe, (void)peer;
    s->unconfirmed = false;
    if (s->state == SEND_OVER)
        return;
    heard(s);
    advance(s);
}

static void on_lost(struct pipe *pipe, const struct addr *peer, size_t bytes, void *arg)
{
    struct send *s = arg;

    (void)pipe, (void)peer;
    if (s->state == SEND_OVER || (!is_waiting(s) && bytes == 0))
        return;
    progress_hide(&s->progress);
    cli_complain("the listener is gone%s", resume_text(s));
    fail(s, CLI_FAILURE);
}

static void on_stop(void *arg)
{
    struct send *s = arg;

    progress_hide(&s->progress);
    if (s->joined && is_waiting(s))
        cli_complain("interrupted%s",
                     s->file != NULL ? resume_text(s) : "; the last messages may not have arrived");
    fail(s, CLI_FAILURE);
}

/* --- */

/* The peer's address: --to, or asked for. 0 or CLI_USAGE, told. */
static int choose_peer(struct send *s)
{
    const char *text = cli_value(s->session.cli, "to");
    char line[ADDR_TEXT_MAX + 2];

    if (text == NULL && isatty(STDIN_FILENO)) {
        fprintf(stderr, "address of the peer (as `adit turn listen' prints it): ");
        if (fgets(line, sizeof(line), stdin) != NULL) {
            line[strcspn(line, "\r\n")] = '\0';
            text = line + strspn(line, " ");
        }
    }
    if (text == NULL) {
        cli_complain("turn send: --to ADDRESS is missing: what `adit turn listen' prints");
        return CLI_USAGE;
    }
    if (addr_parse(text, &s->to) != 0 || s->to.port == 0) {
        cli_complain("'%.60s' is no address; write IP:PORT or [IP]:PORT", text);
        return CLI_USAGE;
    }
    return 0;
}

static int send_open(struct send *s)
{
    static const struct pipe_events events = {
        .up = on_up, .message = on_message, .room = on_room, .end = on_end};
    static const struct turn_pipe_events turn_events = {
        .moved = on_moved, .peer = on_peer, .trouble = on_trouble};
    static const struct turn_ordered_events ordered_events = {
        .joined = on_joined, .confirmed = on_confirmed, .lost = on_lost};
    struct turn_session *session = &s->session;
    struct turn_settings settings = {.servers = session->servers, .count = session->count};
    int code = turn_session_family(session->cli, &settings.request);

    if (code != 0)
        return code;
    if (s->to.family == AF_INET6 && settings.request.family == 0)
        settings.request.family = AF_INET6;
    s->below = s->pipe = turn_pipe_open(session->loop, &settings);
    if (s->pipe != NULL && !s->plain)
        s->pipe = turn_ordered_open(s->below, NULL);
    if (s->pipe == NULL) {
        cli_complain("out of memory");
        return CLI_FAILURE;
    }
    timer_init(&s->patience, on_patience, s);
    timer_init(&s->tick, on_tick, s);
    defer_init(&s->pump, on_pump, s);
    turn_pipe_set_events(s->below, &turn_events, s);
    if (!s->plain) {
        turn_ordered_set_events(s->pipe, &ordered_events, s);
        turn_spare_open(s->pipe, &settings); /* goes without, if there is no memory */
    }
    pipe_add_listener(s->pipe, &events, s);
    turn_session_watch(session, s->below);
    session->on_signal = on_stop;
    session->arg = s;
    return 0;
}

int turn_send_run(struct cli *cli)
{
    struct send s = {.json = cli_has(cli, "json"),
                     .plain = cli_has(cli, "plain"),
                     .arg = 1,
                     .session = {.cli = cli}};
    int code = choose_peer(&s);

    if (code != 0)
        return code;
    code = turn_session_open(&s.session, cli, NULL, 0);
    if (code == 0)
        code = send_open(&s);
    if (code == 0)
        code = turn_session_run(&s.session);
    progress_hide(&s.progress);
    close_file(&s);
    lines_free(s.lines);
    turn_session_close(&s.session);
    return code;
}
