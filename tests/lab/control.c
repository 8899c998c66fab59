/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Each line that a client sends is a JSON object with one of the members `set', `do', `get'; each
 * is answered by one line, {"ok":true,...} or {"error":"..."}. A request is done before its answer
 * is written, and `set' is done as a whole or not at all.
 *
 * CONTROL_CLIENTS_MAX clients at once, more are closed at once. A client whose answer has not been
 * taken is not read from; a line longer than CONTROL_LINE_MAX_BYTES closes it.
 */
#include "control.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LINES_MAX 50000 /* of the answer to "mappings" */
#define BACKLOG   16

struct client {
    struct watch watch;
    struct control *control;
    size_t in_len;
    char in[CONTROL_LINE_MAX_BYTES];
    char *out;
    size_t out_len, out_done;
};

struct control {
    struct watch watch;
    struct gate *gate;
    int epoll;
    struct sockaddr_un address;
    struct client *clients[CONTROL_CLIENTS_MAX];
};

int watch_add(int epoll, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, watch->fd, &event) < 0 ? -errno : 0;
}

int64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * LINK_SEC_NS + now.tv_nsec;
}

/* --- Requests --- */

static json_t *make_error(const char *text)
{
    return json_pack("{s:s}", "error", text);
}

static json_t *make_ok(void)
{
    return json_pack("{s:b}", "ok", 1);
}

static json_t *apply(struct gate *gate, const struct settings *settings, int64_t now)
{
    char error[SETTINGS_ERROR_BYTES];
    if (!settings_check(settings, error))
        return make_error(error);
    gate_configure(gate, settings, now);
    return make_ok();
}

/* A value as text; numbers are taken, too. */
static const char *value_text(const json_t *value, char *text, size_t size)
{
    if (json_is_string(value))
        return json_string_value(value);
    if (json_is_integer(value))
        snprintf(text, size, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(text, size, "%.12g", json_real_value(value));
    else
        return NULL;
    return text;
}

static json_t *do_set(struct gate *gate, json_t *set, int64_t now)
{
    struct settings settings = gate->settings;
    char error[SETTINGS_ERROR_BYTES], number[32];
    const char *key;
    json_t *value;
    if (!json_is_object(set))
        return make_error("set: an object of keys and values is needed");
    json_object_foreach(set, key, value)
    {
        const char *text = value_text(value, number, sizeof(number));
        if (!text) {
            snprintf(error, sizeof(error), "%.80s: a string or a number is needed", key);
            return make_error(error);
        }
        if (!settings_set(&settings, key, text, error))
            return make_error(error);
    }
    return apply(gate, &settings, now);
}

/* "external":"IP[,IP6]", either family; the other keeps its own. Everything is flushed. */
static json_t *do_renumber(struct gate *gate, json_t *request, int64_t now)
{
    const char *list = json_string_value(json_object_get(request, "external"));
    if (!list || !*list)
        return make_error("renumber: external is needed");
    char *copy = strdup(list), *rest = copy, *item;
    if (!copy)
        return NULL;
    char lists[2][CONTROL_LINE_MAX_BYTES / 16] = {"", ""};
    static const char *const keys[] = {"external", "external6"};
    struct settings settings = gate->settings;
    char error[SETTINGS_ERROR_BYTES];
    json_t *answer = NULL;
    while ((item = strsep(&rest, ","))) {
        char *to = lists[!!strchr(item, ':')];
        size_t used = strlen(to);
        if (used + strlen(item) + 2 > sizeof(lists[0])) {
            answer = make_error("renumber: external is too long");
            goto out;
        }
        sprintf(to + used, "%s%s", used ? "," : "", item);
    }
    for (int i = 0; i < 2; i++)
        if (*lists[i] && !settings_set(&settings, keys[i], lists[i], error)) {
            answer = make_error(error);
            goto out;
        }
    answer = apply(gate, &settings, now);
    if (json_object_get(answer, "ok"))
        nat_flush(gate->nat);
out:
    free(copy);
    return answer;
}

static json_t *do_cut(struct gate *gate, json_t *request, bool is_cut)
{
    json_t *given = json_object_get(request, "direction");
    const char *direction = given ? json_string_value(given) : "both";
    bool is_both = direction && strcmp(direction, "both") == 0;
    bool is_up = direction && strcmp(direction, "up") == 0;
    bool is_down = direction && strcmp(direction, "down") == 0;
    if (!is_both && !is_up && !is_down)
        return make_error("direction: one of up|down|both");
    if (is_both || is_up)
        gate_cut(gate, UP, is_cut);
    if (is_both || is_down)
        gate_cut(gate, DOWN, is_cut);
    return make_ok();
}

static json_t *get_stats(struct gate *gate, int64_t now)
{
    static const char *const names[] = {"up", "down"};
    nat_sweep(gate->nat, now);
    json_t *stats = json_object();
    for (int i = 0; i < 2; i++) {
        json_t *counts = json_object();
        for (int j = 0; j < GATE_COUNTS; j++)
            json_object_set_new(counts, gate_count_names[j],
                                json_integer((json_int_t)gate->counts[i][j]));
        const struct link *link = &gate->link[i];
        json_object_set_new(counts, "duplicated", json_integer((json_int_t)link->duplicated));
        json_object_set_new(counts, "reordered", json_integer((json_int_t)link->reordered));
        json_object_set_new(counts, "under_way", json_integer((json_int_t)link_count(link)));
        json_object_set_new(counts, "is_cut", json_boolean(link->is_cut));
        json_object_set_new(stats, names[i], counts);
    }
    json_object_set_new(stats, "mappings", json_integer(nat_mapping_count(gate->nat)));
    json_object_set_new(stats, "sessions", json_integer(nat_session_count(gate->nat)));
    json_object_set_new(stats, "seed", json_integer((json_int_t)gate->settings.seed));
    return json_pack("{s:b,s:o}", "ok", 1, "stats", stats);
}

struct listing {
    json_t *mappings, *sessions;
    int64_t now;
    unsigned lines;
    bool is_truncated;
};

static bool list_line(const struct nat_line *line, void *arg)
{
    static const char *const flows[] = {"udp", "tcp", "icmp"};
    struct listing *listing = arg;
    char inside[PACKET_TEXT_BYTES], external[PACKET_TEXT_BYTES];
    if (++listing->lines > LINES_MAX) {
        listing->is_truncated = true;
        return false;
    }
    double left =
        line->is_static && !line->remote ? -1 : (double)(line->expires - listing->now) / 1e9;
    json_t *expires = left < 0 ? json_null() : json_real(left);
    if (line->remote) {
        json_t *session = json_pack("{s:s,s:o}", "remote", endpoint_format(line->remote, inside),
                                    "expires", expires);
        if (line->state)
            json_object_set_new(session, "state", json_string(line->state));
        json_array_append_new(listing->sessions, session);
        return true;
    }
    json_t *mapping = json_pack("{s:s,s:s,s:s,s:b,s:o,s:[]}", "proto", flows[line->flow], "inside",
                                endpoint_format(line->inside, inside), "external",
                                endpoint_format(line->external, external), "static",
                                (int)line->is_static, "expires", expires, "sessions");
    listing->sessions = json_object_get(mapping, "sessions");
    json_array_append_new(listing->mappings, mapping);
    return true;
}

static json_t *get_mappings(struct gate *gate, int64_t now)
{
    struct listing listing = {.mappings = json_array(), .now = now};
    nat_visit(gate->nat, now, list_line, &listing);
    return json_pack("{s:b,s:b,s:o}", "ok", 1, "truncated", (int)listing.is_truncated, "mappings",
                     listing.mappings);
}

static json_t *answer_json(struct gate *gate, json_t *request, int64_t now)
{
    json_t *set = json_object_get(request, "set");
    const char *verb = json_string_value(json_object_get(request, "do"));
    const char *what = json_string_value(json_object_get(request, "get"));
    if (!!set + !!verb + !!what != 1)
        return make_error("a request has one of set, do, get");
    if (set)
        return do_set(gate, set, now);
    if (verb) {
        if (strcmp(verb, "cut") == 0 || strcmp(verb, "restore") == 0)
            return do_cut(gate, request, *verb == 'c');
        if (strcmp(verb, "renumber") == 0)
            return do_renumber(gate, request, now);
        if (strcmp(verb, "flush") != 0)
            return make_error("do: one of cut|restore|flush|renumber");
        nat_flush(gate->nat);
        return make_ok();
    }
    if (strcmp(what, "stats") == 0)
        return get_stats(gate, now);
    if (strcmp(what, "mappings") == 0)
        return get_mappings(gate, now);
    return make_error("get: one of stats|mappings");
}

char *control_answer(struct gate *gate, const char *request, int64_t now)
{
    json_error_t error;
    json_t *json = json_loads(request, JSON_REJECT_DUPLICATES, &error);
    json_t *answer = json_is_object(json) ? answer_json(gate, json, now)
                     : json               ? make_error("a request is a JSON object")
                                          : make_error(error.text);
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    json_decref(answer);
    json_decref(json);
    return text;
}

/* --- Clients --- */

static void client_close(struct client *client)
{
    struct control *control = client->control;
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (control->clients[i] == client)
            control->clients[i] = NULL;
    close(client->watch.fd);
    free(client->out);
    free(client);
}

/* Reads while nothing is to be written, and the other way round. */
static void client_wait(struct client *client)
{
    struct epoll_event event = {.events = client->out ? EPOLLOUT : EPOLLIN, .data.ptr = client};
    epoll_ctl(client->control->epoll, EPOLL_CTL_MOD, client->watch.fd, &event);
}

/* Answers the first complete line. False: there is none. */
static bool client_answer(struct client *client)
{
    char *newline = memchr(client->in, '\n', client->in_len);
    if (!newline)
        return false;
    *newline = '\0';
    client->out = control_answer(client->control->gate, client->in, clock_now());
    size_t used = (size_t)(newline + 1 - client->in);
    client->in_len -= used;
    memmove(client->in, newline + 1, client->in_len);
    if (!client->out)
        return false;
    client->out_len = strlen(client->out);
    client->out[client->out_len++] = '\n'; /* instead of the terminating 0 */
    client->out_done = 0;
    return true;
}

/* False: the client is gone. */
static bool client_write(struct client *client)
{
    while (client->out || client_answer(client)) {
        ssize_t n = send(client->watch.fd, client->out + client->out_done,
                         client->out_len - client->out_done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0)
            return false;
        client->out_done += (size_t)n;
        if (client->out_done == client->out_len) {
            free(client->out);
            client->out = NULL;
        }
    }
    return true;
}

static void client_ready(struct watch *watch, uint32_t events)
{
    struct client *client = (struct client *)watch;
    if (!client->out) {
        ssize_t n = recv(watch->fd, client->in + client->in_len,
                         sizeof(client->in) - client->in_len, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            client_close(client);
            return;
        }
        client->in_len += (size_t)n;
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        client_close(client);
        return;
    }
    if (!client_write(client) || (!client->out && client->in_len == sizeof(client->in)))
        client_close(client);
    else
        client_wait(client);
}

static void listener_ready(struct watch *watch, uint32_t events)
{
    struct control *control = (struct control *)watch;
    (void)events;
    int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    int i = 0;
    while (i < CONTROL_CLIENTS_MAX && control->clients[i])
        i++;
    struct client *client = i < CONTROL_CLIENTS_MAX ? calloc(1, sizeof(*client)) : NULL;
    if (!client) {
        close(fd);
        return;
    }
    client->watch = (struct watch){fd, client_ready};
    client->control = control;
    control->clients[i] = client;
    if (watch_add(control->epoll, &client->watch, EPOLLIN) < 0)
        client_close(client);
}

int control_open(struct control **control, struct gate *gate, const char *path, int epoll)
{
    struct control *new = calloc(1, sizeof(*new));
    int r = 0;
    if (!new)
        return -ENOMEM;
    new->gate = gate;
    new->epoll = epoll;
    new->watch = (struct watch){-1, listener_ready};
    if (strlen(path) >= sizeof(new->address.sun_path)) {
        r = -ENAMETOOLONG;
        goto out;
    }
    new->address.sun_family = AF_UNIX;
    strcpy(new->address.sun_path, path);
    new->watch.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (new->watch.fd < 0 ||
        bind(new->watch.fd, (struct sockaddr *)&new->address, sizeof(new->address)) < 0 ||
        listen(new->watch.fd, BACKLOG) < 0)
        r = -errno;
    else
        r = watch_add(epoll, &new->watch, EPOLLIN);
out:
    if (r < 0) {
        if (new->watch.fd >= 0)
            close(new->watch.fd);
        free(new);
        return r;
    }
    *control = new;
    return 0;
}

void control_close(struct control *control)
{
    if (!control)
        return;
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (control->clients[i])
            client_close(control->clients[i]);
    close(control->watch.fd);
    unlink(control->address.sun_path);
    free(control);
}
