/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * `adit turn send': one argument after the other goes to the peer: a file if there is one of that
 * name, else a message; without arguments, the lines of standard input. Ordered, the other side is
 * `adit turn listen' (parcel.h); plain, each message is one datagram, to whatever client there is.
 *
 *     next -- file: OFFER --> offered -- ACCEPT --> sending -- all read: END --> ended -- DONE -.
 *      ^ `-- message: TEXT --.               REFUSE: failed                                     |
 *      `---------------------+------------------------------------------------------------------'
 *
 * A file is hashed before it is offered, so that the listener can go on with a part it has; what
 * comes by standard input ("-") is put aside in a temporary file first. Bytes are read as fast as
 * the pipe has room. When nothing is left and all is confirmed, the pipe is closed.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/parcel.h"
#include "cli/turn_session.h"
#include "crypto/hash.h"
#include "stun/turn_ordered.h"

#define CHUNK_BYTES    32768
#define LINE_MAX_BYTES 65536
#define HINT_US        (5 * SEC_US)  /* without an answer */
#define ANSWER_US      (30 * SEC_US) /* then it is given up */
#define PLAIN_US       (15 * SEC_US)

enum send_state { SEND_NEXT, SEND_OFFERED, SEND_SENDING, SEND_ENDED, SEND_OVER };

struct send {
    struct turn_session session;
    struct pipe *pipe, *below; /* as in turn_listen.c */
    struct addr to;
    bool json, plain, joined, closing, unconfirmed;
    enum send_state state;
    int arg;     /* the next argument */
    uint32_t id; /* of the file */
    int fd;      /* of the file, or -1 */
    const char *name;
    uint64_t size, at, resumed, start_us;
    uint8_t hash[PARCEL_HASH_BYTES];
    struct timer patience;
    struct defer pump;
    struct turn_progress progress;
    struct event *input; /* lines of standard input; NULL: none */
    bool input_over;
    char *line;
    size_t line_len;
};

static void advance(struct send *s);

static void fail(struct send *s, int code)
{
    turn_progress_end(&s->progress);
    s->state = SEND_OVER;
    s->session.code = code;
    if (s->pipe != NULL && !s->closing) {
        s->closing = true;
        pipe_abort(s->pipe, -ECANCELED);
    }
}

/* --- Parcels --- */

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
    s->unconfirmed = true;
    pipe_write_to(s->pipe, &slice, &s->to);
}

static void put_message(struct send *s, const char *text, size_t len)
{
    struct slice slice;

    if (!s->plain) {
        put_parcel(
            s, &(struct parcel){.type = PARCEL_TEXT, .bytes = (const uint8_t *)text, .len = len});
        return;
    }
    slice = slice_copy(text, len);
    pipe_write_to(s->pipe, &slice, &s->to);
}

/* --- Files --- */

/* Standard input as a file that has a size. -1: told. */
static int spool_stdin(void)
{
    FILE *file = tmpfile();
    uint8_t bytes[CHUNK_BYTES];
    ssize_t n = 0;
    int fd = file != NULL ? fcntl(fileno(file), F_DUPFD_CLOEXEC, 0) : -1, rc = fd < 0 ? -errno : 0;

    if (file != NULL)
        fclose(file);
    while (rc == 0 && (n = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0)
        rc = file_write_all(fd, bytes, (size_t)n);
    if (rc == 0 && n == 0)
        return fd;
    cli_complain("standard input: %s", rc != 0 ? err_text(rc) : strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* 0 or a negative error. */
static int hash_file(struct send *s)
{
    struct hash_stream *hash = hash_stream_new();
    uint8_t *bytes = malloc(CHUNK_BYTES);
    uint64_t at = 0;
    int rc = hash != NULL && bytes != NULL ? 0 : -ENOMEM;

    while (rc == 0 && at < s->size) {
        ssize_t n = pread(s->fd, bytes, CHUNK_BYTES, (off_t)at);

        if (n <= 0)
            rc = n < 0 ? -errno : -EIO;
        else
            rc = hash_stream_add(hash, bytes, (size_t)n);
        at += n > 0 ? (uint64_t)n : 0;
    }
    free(bytes);
    if (rc == 0)
        return hash_stream_end(hash, s->hash);
    hash_stream_free(hash);
    return rc;
}

/* Opens an argument that is a file. 1; 0: it is none; negative: told. */
static int open_file(struct send *s, const char *name)
{
    struct stat st;
    const char *slash = strrchr(name, '/');
    int rc;

    if (strcmp(name, "-") == 0) {
        s->fd = spool_stdin();
        name = "stdin";
    } else if (cli_has(s->session.cli, "text")) {
        return 0;
    } else {
        s->fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (s->fd < 0 && errno == ENOENT && slash == NULL)
            return 0;
        if (s->fd < 0)
            cli_complain("%s: %s", name, strerror(errno));
    }
    if (s->fd < 0)
        return -EIO;
    if (fstat(s->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        cli_complain("%s: not a file", name);
        return -EISDIR;
    }
    s->size = (uint64_t)st.st_size;
    rc = hash_file(s);
    if (rc != 0) {
        cli_complain("%s: %s", name, err_text(rc));
        return rc;
    }
    s->name = slash != NULL && slash[1] != '\0' ? slash + 1 : name;
    return 1;
}

static void close_file(struct send *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static void offer(struct send *s)
{
    struct parcel p = {.type = PARCEL_OFFER,
                       .id = ++s->id,
                       .number = s->size,
                       .bytes = (const uint8_t *)s->name,
                       .len = strnlen(s->name, PARCEL_NAME_MAX)};

    memcpy(p.hash, s->hash, sizeof(p.hash));
    s->state = SEND_OFFERED;
    put_parcel(s, &p);
}

/* Reads and writes what there is room for; gives way to others after some of it. */
static void on_pump(void *arg)
{
    struct send *s = arg;
    uint8_t bytes[CHUNK_BYTES];
    struct parcel end = {.type = PARCEL_END, .id = s->id, .number = s->size};

    for (int i = 0; i < 16 && s->state == SEND_SENDING && s->at < s->size; i++) {
        ssize_t n;

        if (pipe_room(s->pipe) < CHUNK_BYTES)
            return; /* `room' will come */
        n = pread(s->fd, bytes, sizeof(bytes), (off_t)s->at);
        if (n <= 0 || (uint64_t)n > s->size - s->at) {
            cli_complain("%s: it has changed while it was sent", s->name);
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
    if (s->at < s->size) {
        defer_next(s->session.loop, &s->pump);
        return;
    }
    memcpy(end.hash, s->hash, sizeof(end.hash));
    s->state = SEND_ENDED;
    put_parcel(s, &end);
}

static void show_progress(struct send *s)
{
    size_t queued = pipe_queued(s->pipe);

    if (s->state == SEND_SENDING || s->state == SEND_ENDED)
        turn_progress_tell(&s->progress, s->at > queued ? s->at - queued : 0,
                           loop_now(s->session.loop));
}

static void print_json(json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);

    printf("%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(object);
}

static void file_done(struct send *s)
{
    uint64_t us = loop_now(s->session.loop) - s->start_us;
    char hash[2 * PARCEL_HASH_BYTES + 1], rate[32];

    turn_progress_end(&s->progress);
    for (int i = 0; i < PARCEL_HASH_BYTES; i++)
        snprintf(hash + 2 * i, 3, "%02x", s->hash[i]);
    if (s->json)
        print_json(json_pack("{s:s, s:s, s:I, s:I, s:f, s:s}", "event", "sent", "name", s->name,
                             "bytes", (json_int_t)s->size, "resumed", (json_int_t)s->resumed,
                             "seconds", (double)us / 1e6, "sha256", hash));
    else
        printf("sent: %s, %llu bytes, %s, sha256 %s\n", s->name, (unsigned long long)s->size,
               turn_rate(s->size - s->resumed, us, rate), hash);
    fflush(stdout);
    close_file(s);
    s->state = SEND_NEXT;
    advance(s);
}

/* --- Messages --- */

/* Whole lines of what has been read; all of it at the end. */
static void send_lines(struct send *s)
{
    size_t begin = 0;

    for (size_t i = 0; i < s->line_len; i++) {
        if (s->line[i] == '\n') {
            put_message(s, s->line + begin, i - begin);
            begin = i + 1;
        }
    }
    if (begin < s->line_len && (s->input_over || (begin == 0 && s->line_len == LINE_MAX_BYTES))) {
        put_message(s, s->line + begin, s->line_len - begin);
        begin = s->line_len;
    }
    memmove(s->line, s->line + begin, s->line_len - begin);
    s->line_len -= begin;
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
    struct send *s = arg;
    ssize_t n = read((int)fd, s->line + s->line_len, LINE_MAX_BYTES - s->line_len);

    (void)what;
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    s->line_len += n > 0 ? (size_t)n : 0;
    s->input_over = n <= 0;
    send_lines(s);
    if (s->input_over) {
        if (s->input != NULL)
            event_del(s->input);
        advance(s);
    } else if (s->input != NULL && pipe_room(s->pipe) == 0) {
        event_del(s->input); /* until there is room */
    }
}

static int input_begin(struct send *s)
{
    s->line = malloc(LINE_MAX_BYTES);
    if (s->line == NULL)
        return -ENOMEM;
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "Each line is a message; end with Ctrl-D.\n");
    s->input =
        event_new(loop_base(s->session.loop), STDIN_FILENO, EV_READ | EV_PERSIST, on_input, s);
    if (s->input != NULL && event_add(s->input, NULL) == 0)
        return 0;
    /* A regular file cannot be waited for, nor does it have to be. */
    if (s->input != NULL)
        event_free(s->input);
    s->input = NULL;
    while (!s->input_over && s->state != SEND_OVER)
        on_input(STDIN_FILENO, EV_READ, s);
    return 0;
}

/* --- One after the other --- */

static void finish(struct send *s)
{
    if (s->closing || (!s->plain && s->unconfirmed))
        return;
    s->closing = true;
    s->state = SEND_OVER;
    pipe_close(s->pipe);
}

/* What comes next, if it is time for it. */
static void advance(struct send *s)
{
    struct cli *cli = s->session.cli;

    while (s->state == SEND_NEXT && s->arg < cli->arg_count) {
        const char *arg = cli->args[s->arg++];
        int is_file = s->plain && strcmp(arg, "-") != 0 ? 0 : open_file(s, arg);

        if (is_file < 0) {
            fail(s, CLI_FAILURE);
            return;
        }
        if (is_file == 1 && s->plain) {
            cli_complain("--plain sends single messages, no files");
            fail(s, CLI_USAGE);
        } else if (is_file == 1) {
            offer(s);
        } else {
            put_message(s, arg, strlen(arg));
        }
    }
    if (s->state == SEND_NEXT && (cli->arg_count > 1 || s->input_over))
        finish(s);
}

static void take_parcel(struct send *s, const struct parcel *p)
{
    if (p->type == PARCEL_TEXT) {
        turn_print_text(p->bytes, p->len);
        printf("\n");
        fflush(stdout);
        return;
    }
    if (p->id != s->id)
        return;
    if (p->type == PARCEL_ACCEPT && s->state == SEND_OFFERED && p->number <= s->size) {
        s->state = SEND_SENDING;
        s->at = s->resumed = p->number;
        s->start_us = loop_now(s->session.loop);
        turn_progress_begin(&s->progress, s->name, s->size, s->at, s->start_us);
        if (s->resumed > 0)
            fprintf(stderr, "%s: the listener has %llu bytes of it already\n", s->name,
                    (unsigned long long)s->resumed);
        defer_soon(s->session.loop, &s->pump);
    } else if (p->type == PARCEL_REFUSE && s->state != SEND_NEXT) {
        turn_progress_end(&s->progress);
        fputs("adit: refused: ", stderr);
        for (size_t i = 0; i < p->len; i++)
            fputc(p->bytes[i] >= 0x20 && p->bytes[i] < 0x7F ? p->bytes[i] : '?', stderr);
        fputc('\n', stderr);
        fail(s, CLI_FAILURE);
    } else if (p->type == PARCEL_DONE && s->state == SEND_ENDED) {
        file_done(s);
    }
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct send *s = arg;
    struct parcel parcel;

    (void)pipe;
    if (s->plain) {
        turn_print_text(data->data, data->len);
        printf("\n");
        fflush(stdout);
    } else if (addr_equal(from, &s->to) && s->state != SEND_OVER &&
               parcel_parse(data->data, data->len, &parcel) > 0) {
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
    uint64_t waited = loop_now(s->session.loop) - s->start_us;

    if (s->joined || s->state == SEND_OVER)
        return;
    if (s->plain) {
        cli_complain("the server does not answer");
        fail(s, CLI_FAILURE);
    } else if (waited < ANSWER_US) {
        tell_hint(s);
        timer_set(s->session.loop, &s->patience, s->start_us + ANSWER_US);
    } else {
        cli_complain("no answer; given up");
        fail(s, CLI_FAILURE);
    }
}

static void on_up(struct pipe *pipe, void *arg)
{
    struct send *s = arg;

    (void)pipe;
    s->start_us = loop_now(s->session.loop);
    timer_set_in(s->session.loop, &s->patience, s->plain ? PLAIN_US : HINT_US);
    if (s->session.cli->arg_count > 1)
        advance(s);
    else if (input_begin(s) != 0)
        fail(s, CLI_FAILURE);
}

static void on_room(struct pipe *pipe, void *arg)
{
    struct send *s = arg;

    (void)pipe;
    show_progress(s);
    if (s->state == SEND_SENDING)
        defer_soon(s->session.loop, &s->pump);
    if (s->input != NULL && !s->input_over && pipe_room(s->pipe) > 0)
        event_add(s->input, NULL);
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
    turn_progress_end(&s->progress);
    cli_complain("%s", report->text);
    s->session.told = true;
}

static void on_joined(struct pipe *pipe, const struct addr *peer, bool again, void *arg)
{
    struct send *s = arg;

    (void)pipe, (void)peer;
    s->joined = true;
    if (again && s->state != SEND_NEXT && s->state != SEND_OVER) {
        cli_complain("the listener was started again; send the file once more, and it goes on");
        fail(s, CLI_FAILURE);
    }
}

static void on_confirmed(struct pipe *pipe, const struct addr *peer, void *arg)
{
    struct send *s = arg;

    (void)pipe, (void)peer;
    s->unconfirmed = false;
    advance(s);
}

static void on_lost(struct pipe *pipe, const struct addr *peer, size_t bytes, void *arg)
{
    struct send *s = arg;

    (void)pipe, (void)peer;
    if (s->state == SEND_OVER || (s->state == SEND_NEXT && bytes == 0))
        return;
    turn_progress_end(&s->progress);
    cli_complain("the listener is gone%s", s->state == SEND_NEXT
                                               ? ""
                                               : "; it keeps what it has of the file, and goes on "
                                                 "when that is sent again");
    fail(s, CLI_FAILURE);
}

static void on_stop(void *arg)
{
    fail(arg, CLI_FAILURE);
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
    defer_init(&s->pump, on_pump, s);
    turn_pipe_set_events(s->below, &turn_events, s);
    if (!s->plain)
        turn_ordered_set_events(s->pipe, &ordered_events, s);
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
                     .fd = -1,
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
    turn_progress_end(&s.progress);
    close_file(&s);
    if (s.input != NULL)
        event_free(s.input);
    free(s.line);
    turn_session_close(&s.session);
    return code;
}
