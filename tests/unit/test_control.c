/* SPDX-License-Identifier: MIT */
/*
 * The control socket, over a real unix socket: requests and answers, late answers, clients that
 * leave or misbehave, the client's side, and the verbs above a node of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "control/control.h"
#include "control/socket.h"
#include "control/verbs.h"

static char dir[64], path[PATH_MAX], errbuf[CONTROL_ERROR_MAX];
static struct loop *loop;
static struct control_server *server;
static struct control_request *held; /* by the verb "hold" */
static struct control_request *all_held[CONTROL_CLIENTS_MAX];
static int held_count;

static void on_request(void *arg, struct control_request *request, const char *verb,
                       const json_t *args)
{
    (void)arg;
    if (strcmp(verb, "echo") == 0) {
        control_answer(request, json_deep_copy(args));
    } else if (strcmp(verb, "hold") == 0) {
        held = request;
        all_held[held_count++ % CONTROL_CLIENTS_MAX] = request;
    } else if (strcmp(verb, "count") == 0) {
        for (int i = 0; i < 3; i++)
            control_event(request, json_pack("{s:i}", "n", i));
        control_answer(request, NULL);
    } else if (strcmp(verb, "flood") == 0) {
        char *big = calloc(1, 1 << 20);
        memset(big, 'x', (1 << 20) - 1);
        for (int i = 0; i < 20; i++)
            control_event(request, json_string(big));
        free(big);
        control_answer(request, NULL);
    } else {
        control_fail(request, "no verb %s", verb);
    }
}

static const struct control_ops ops = {on_request};

static int setup(void **state)
{
    (void)state;
    log_init(LOG_ERROR);
    snprintf(dir, sizeof dir, "%s/adit-control-XXXXXX", P_tmpdir);
    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/sub/control.sock", dir);
    loop = loop_new();
    held = NULL;
    server = control_server_new(loop, path, &ops, NULL, errbuf, sizeof errbuf);
    return server == NULL;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    control_server_free(server);
    loop_free(loop);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static int dial(void)
{
    struct socket_name name;
    assert_int_equal(socket_name_open(path, &name), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&name.sun, name.len), 0);
    socket_name_close(&name);
    return fd;
}

/* Reads until `lines` lines are there, the socket is closed or a minute has passed. */
static char *talk(int fd, const char *text, int lines)
{
    static char got[65536];
    size_t len = 0;
    if (text != NULL)
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    uint64_t end = loop_refresh(loop) + 60 * SEC_US;
    got[0] = '\0';
    while (loop_refresh(loop) < end) {
        loop_turn(loop, 10000);
        ssize_t n = read(fd, got + len, sizeof got - 1 - len);
        if (n == 0)
            break;
        if (n > 0)
            len += (size_t)n;
        got[len] = '\0';
        int count = 0;
        for (const char *p = got; (p = strchr(p, '\n')) != NULL; p++)
            count++;
        if (count >= lines)
            break;
    }
    return got;
}

static void test_requests(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    int fd = dial();
    assert_string_equal(talk(fd, "{\"verb\":\"echo\",\"args\":{\"a\":1},\"id\":7}\n", 1),
                        "{\"id\":7,\"result\":{\"a\":1},\"ok\":true}\n");
    assert_string_equal(talk(fd, "{\"verb\":\"echo\"}\n", 1), "{\"result\":{},\"ok\":true}\n");
    assert_string_equal(talk(fd, "{\"verb\":\"nope\"}\n", 1),
                        "{\"error\":\"no verb nope\",\"ok\":false}\n");
    assert_string_equal(talk(fd, "{}\n", 1),
                        "{\"error\":\"a request has a \\\"verb\\\"\",\"ok\":false}\n");
    assert_string_equal(talk(fd, "{\"verb\":\"echo\",\"args\":[]}\n", 1),
                        "{\"error\":\"\\\"args\\\" is not an object\",\"ok\":false}\n");
    assert_non_null(strstr(talk(fd, "}{\n", 1), "not a JSON object"));
    assert_non_null(strstr(talk(fd, "[1]\n", 1), "a request has"));
    assert_string_equal(
        talk(fd, "{\"verb\":\"count\",\"id\":\"x\"}\n", 4),
        "{\"id\":\"x\",\"event\":{\"n\":0}}\n{\"id\":\"x\",\"event\":{\"n\":1}}\n"
        "{\"id\":\"x\",\"event\":{\"n\":2}}\n{\"id\":\"x\",\"result\":{},\"ok\":true}\n");
    /* In pieces, and two at once. */
    talk(fd, "{\"verb\":", 0);
    assert_string_equal(
        talk(fd, "\"echo\",\"id\":1}\n{\"verb\":\"echo\",\"id\":2}\n", 2),
        "{\"id\":1,\"result\":{},\"ok\":true}\n{\"id\":2,\"result\":{},\"ok\":true}\n");
    close(fd);
}

static void test_late(void **state)
{
    (void)state;
    int fd = dial(), other = dial();
    assert_string_equal(talk(fd, "{\"verb\":\"hold\",\"id\":1}\n{\"verb\":\"echo\",\"id\":2}\n", 0),
                        "");
    while (held == NULL)
        loop_turn(loop, 1000);
    /* One that waits keeps nobody else waiting. */
    assert_string_equal(talk(other, "{\"verb\":\"echo\"}\n", 1), "{\"result\":{},\"ok\":true}\n");
    control_answer(held, json_pack("{s:i}", "x", 1));
    assert_string_equal(
        talk(fd, NULL, 2),
        "{\"id\":1,\"result\":{\"x\":1},\"ok\":true}\n{\"id\":2,\"result\":{},\"ok\":true}\n");
    /* Half-closed: it still gets its answer, and then the end. */
    held = NULL;
    talk(fd, "{\"verb\":\"hold\",\"id\":3}\n", 0);
    shutdown(fd, SHUT_WR);
    while (held == NULL)
        loop_turn(loop, 1000);
    control_fail(held, "sorry");
    assert_string_equal(talk(fd, NULL, 2), "{\"id\":3,\"error\":\"sorry\",\"ok\":false}\n");
    close(fd);
    /* Gone: whoever holds its request may answer all the same. */
    held = NULL;
    talk(other, "{\"verb\":\"hold\"}\n", 0);
    while (held == NULL)
        loop_turn(loop, 1000);
    close(other);
    while (!control_is_gone(held)) {
        control_event(held, json_object());
        loop_turn(loop, 1000);
    }
    control_event(held, json_object());
    control_answer(held, json_object());
    /* So may it after the server's end. */
    fd = dial();
    held = NULL;
    talk(fd, "{\"verb\":\"hold\"}\n", 0);
    while (held == NULL)
        loop_turn(loop, 1000);
    control_server_free(server);
    server = NULL;
    assert_true(control_is_gone(held));
    control_fail(held, "too late");
    close(fd);
    assert_int_not_equal(access(path, F_OK), 0);
}

/* Connections that are left idle lock nobody out; those that wait for an answer are kept. */
static void test_crowd(void **state)
{
    (void)state;
    const char *echo = "{\"verb\":\"echo\"}\n", *good = "{\"result\":{},\"ok\":true}\n";
    int fds[CONTROL_CLIENTS_MAX], fd;
    char byte;
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        fds[i] = dial();
        loop_turn(loop, 1000);
    }
    assert_string_equal(talk(fds[0], echo, 1), good);
    fd = dial();
    assert_string_equal(talk(fd, echo, 1), good);
    assert_int_equal(read(fds[1], &byte, 1), 0); /* idle for longest, now that 0 has asked */
    close(fds[1]);
    fds[1] = fd;

    held_count = 0;
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        talk(fds[i], "{\"verb\":\"hold\"}\n", 0);
    while (held_count < CONTROL_CLIENTS_MAX)
        loop_turn(loop, 1000);
    fd = dial();
    assert_non_null(strstr(talk(fd, NULL, 1), "too many"));
    close(fd);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        control_answer(all_held[i], NULL);
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        assert_string_equal(talk(fds[i], NULL, 1), good);
        close(fds[i]);
    }
}

static void test_limits(void **state)
{
    (void)state;
    int fd = dial();
    /* A line without end. */
    char text[8192];
    memset(text, 'x', sizeof text);
    ssize_t n = 0, total = 0;
    for (int i = 0; i < 200; i++) {
        n = send(fd, text, sizeof text, MSG_NOSIGNAL);
        if (n > 0)
            total += n;
        loop_turn(loop, 1000);
    }
    assert_true(n < 0);
    assert_true(total < 1 << 20);
    close(fd);

    /* A client that does not read is dropped. */
    fd = dial();
    assert_true(write(fd, "{\"verb\":\"flood\"}\n", 17) == 17);
    for (int i = 0; i < 20; i++)
        loop_turn(loop, 1000);
    char *all = malloc(32 << 20);
    size_t len = 0;
    uint64_t end = loop_refresh(loop) + 60 * SEC_US;
    for (;;) {
        ssize_t got = read(fd, all + len, (32 << 20) - len);
        if (got == 0)
            break;
        if (got > 0)
            len += (size_t)got;
        loop_turn(loop, 1000);
        assert_true(loop_refresh(loop) < end);
    }
    assert_true(len < 20 << 20);
    assert_null(memmem(all, len, "\"ok\"", 4));
    free(all);
    close(fd);
}

static void test_second_server(void **state)
{
    (void)state;
    /* One answers there already: its listen queue takes the probe. */
    assert_null(control_server_new(loop, path, &ops, NULL, errbuf, sizeof errbuf));
    assert_non_null(strstr(errbuf, "another adit answers there"));
    control_server_free(server);

    /* A leftover is replaced; anything else is not. */
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    snprintf(sun.sun_path, sizeof sun.sun_path, "%.100s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof sun), 0);
    close(fd);
    assert_int_equal(access(path, F_OK), 0);
    server = control_server_new(loop, path, &ops, NULL, errbuf, sizeof errbuf);
    assert_non_null(server);
    control_server_free(server);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    server = control_server_new(loop, path, &ops, NULL, errbuf, sizeof errbuf);
    assert_null(server);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);

    /* A path longer than sun_path. */
    char deep[PATH_MAX];
    snprintf(deep, sizeof deep, "%s/%0100d", dir, 0);
    assert_int_equal(mkdir(deep, 0700), 0);
    snprintf(path, sizeof path, "%.400s/control.sock", deep);
    server = control_server_new(loop, path, &ops, NULL, errbuf, sizeof errbuf);
    if (server == NULL)
        fail_msg("%s", errbuf);
    fd = dial();
    assert_string_equal(talk(fd, "{\"verb\":\"echo\"}\n", 1), "{\"result\":{},\"ok\":true}\n");
    close(fd);
}

/* --- The client's side, in a process of its own --- */

static void count_event(void *arg, const json_t *event)
{
    *(int *)arg += json_integer_value(json_object_get(event, "n")) == *(int *)arg;
}

static int client_main(void)
{
    int error = 0, events = 0;
    json_t *result;
    if (control_client_open("/nonexistent/socket", &error) != NULL || error != -ENOENT)
        return 1;
    struct control_client *client = control_client_open(path, &error);
    if (client == NULL)
        return 2;
    if (control_call(client, "echo", json_pack("{s:s}", "k", "v"), NULL, NULL, 60000, &result,
                     errbuf) != 0 ||
        strcmp(json_string_value(json_object_get(result, "k")), "v") != 0)
        return 3;
    json_decref(result);
    if (control_call(client, "count", NULL, count_event, &events, 60000, NULL, errbuf) != 0 ||
        events != 3)
        return 4;
    if (control_call(client, "nope", NULL, NULL, NULL, 60000, &result, errbuf) != -EREMOTEIO ||
        strcmp(errbuf, "no verb nope") != 0 || result != NULL)
        return 5;
    if (control_call(client, "flood", NULL, NULL, NULL, 60000, NULL, errbuf) != 0 &&
        strstr(errbuf, "dropped") == NULL)
        return 6;
    control_client_close(client);
    client = control_client_open(path, &error);
    if (client == NULL ||
        control_call(client, "hold", NULL, NULL, NULL, 50, NULL, errbuf) != -ETIMEDOUT ||
        strcmp(errbuf, "the running adit does not answer") != 0)
        return 7;
    control_client_close(client);
    return 0;
}

static void test_client(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0)
        _exit(client_main());
    int status = 0;
    while (waitpid(child, &status, WNOHANG) == 0)
        loop_turn(loop, 5000);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_non_null(held);
    control_answer(held, NULL);
}

/* --- Verbs, above a node of our own --- */

#define ID  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID2 "baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct node {
    int changes;
    struct node_ticket_options ticket;
    char address[64];
    node_ping_cb *cb;
    void *arg;
    int forwards; /* now */
};

struct forward {
    struct config_forward spec; /* its peer's text is the caller's */
    node_forward_cb *cb;
    void *arg;
};

static struct node fake;
static struct forward *newest;

json_t *node_status(const struct node *node)
{
    return json_pack(
        "{s:i, s:[{s:s, s:s, s:b, s:b, s:s, s:f, s:i, s:s, s:[{s:s, s:b},{s:s, s:b, s:f}]},"
        "{s:s, s:s, s:b, s:s, s:s, s:[]}]}",
        "changes", node->changes, "peers", "id", ID2, "name", "away", "exit", 1, "admitted", 0,
        "state", "connected", "age_s", 7.5, "streams", 3, "problem", "", "paths", "strategy",
        "relay", "active", 0, "strategy", "reverse", "active", 1, "rtt_ms", 12.5, "id", ID, "name",
        "home", "exit", 0, "state", "waiting", "problem", "it sleeps", "paths");
}

void node_peers_changed(struct node *node)
{
    node->changes++;
}

int node_ticket(struct node *node, const struct node_ticket_options *options, char **ticket,
                char *buf, size_t len)
{
    node->ticket = *options;
    if (options->uses == 13) {
        snprintf(buf, len, "no luck");
        return -EINVAL;
    }
    snprintf(node->address, sizeof node->address, "%s",
             options->address_count > 0 ? options->addresses[0] : "");
    *ticket = strdup("adit1ticket");
    return 0;
}

bool node_find_peer(const struct node *node, const char *text, struct node_id *id)
{
    (void)node;
    return node_id_parse(text, id) == 0;
}

void node_ping(struct node *node, const struct node_id *peer, uint64_t timeout_us, node_ping_cb *cb,
               void *arg)
{
    (void)peer, (void)timeout_us;
    node->cb = cb;
    node->arg = arg;
}

static void node_ping_answer(const char *label, uint64_t rtt_us)
{
    struct node_ping result = {.path = label, .rtt_us = rtt_us, .active = true};
    addr_parse("192.0.2.1:7", &result.remote);
    node_ping_cb *cb = fake.cb;
    fake.cb = NULL;
    cb(fake.arg, &result, label != NULL, label != NULL ? NULL : "no path");
}

void node_announce(struct node *node, const struct node_id *id)
{
    (void)node;
    (void)id;
}

struct forward *node_forward(struct node *node, const struct config_forward *spec,
                             node_forward_cb *cb, void *arg, char *buf, size_t len)
{
    if (strcmp(spec->peer, "nobody") == 0) {
        snprintf(buf, len, "there is no peer \"nobody\"");
        return NULL;
    }
    newest = calloc(1, sizeof *newest);
    *newest = (struct forward){*spec, cb, arg};
    node->forwards++;
    return newest;
}

void node_forward_end(struct forward *forward)
{
    free(forward);
    fake.forwards--;
}

static void node_forward_tell(bool listening, bool refused, const char *problem)
{
    struct node_forward_info info = {listening, refused, "127.0.0.1:7", problem};
    newest->cb(newest->arg, &info);
}

static int reload(void *arg, char **restart, char *buf, size_t len)
{
    (void)arg, (void)buf, (void)len;
    *restart = strdup("gateway.listen");
    return 0;
}

static void await_ping(void)
{
    uint64_t end = loop_refresh(loop) + 60 * SEC_US;
    while (fake.cb == NULL && loop_refresh(loop) < end)
        loop_turn(loop, 1000);
    assert_non_null(fake.cb);
}

/* The list: what the state knows, and what the node knows, those connected first. */
static void check_list(int fd)
{
    json_t *line = json_loads(talk(fd, "{\"verb\":\"peers\"}\n", 1), 0, NULL);
    json_t *list = json_object_get(json_object_get(line, "result"), "peers");
    const char *id[2], *state[2], *way, *problem;
    int connected[2], admitted[2], streams;
    double rtt, age;

    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_unpack(list,
                                 "[{s:s, s:b, s:s, s:s, s:f, s:i, s:f, s:b},"
                                 "{s:s, s:b, s:s, s:s, s:b}]",
                                 "id", &id[0], "connected", &connected[0], "state", &state[0],
                                 "path", &way, "rtt_ms", &rtt, "streams", &streams, "connected_s",
                                 &age, "admitted", &admitted[0], "id", &id[1], "connected",
                                 &connected[1], "state", &state[1], "problem", &problem, "admitted",
                                 &admitted[1]),
                     0);
    assert_string_equal(id[0], ID2);
    assert_true(connected[0] && !admitted[0]);
    assert_string_equal(way, "reverse");
    assert_true(rtt == 12.5 && age == 7.5);
    assert_int_equal(streams, 3);
    assert_string_equal(id[1], ID);
    assert_true(!connected[1] && admitted[1]);
    assert_string_equal(state[1], "waiting");
    assert_string_equal(problem, "it sleeps");
    json_decref(line);
}

static void check_expiry(int fd, const struct state *state)
{
    struct node_id id;
    int64_t now = time(NULL);
    char text[256];

    assert_int_equal(node_id_parse(ID, &id), 0);
    talk(fd, "{\"verb\":\"allow\",\"args\":{\"peer\":\"home\",\"for\":60}}\n", 1);
    assert_in_range(state_peer(state, &id)->expires, now + 60, now + 70);
    talk(fd, "{\"verb\":\"expire\",\"args\":{\"peer\":\"home\",\"for\":600}}\n", 1);
    assert_in_range(state_peer(state, &id)->expires, now + 600, now + 610);
    talk(fd, "{\"verb\":\"expire\",\"args\":{\"peer\":\"home\",\"for\":0}}\n", 1);
    assert_int_equal(state_peer(state, &id)->expires, 0);
    assert_non_null(
        strstr(talk(fd, "{\"verb\":\"expire\",\"args\":{\"peer\":\"home\"}}\n", 1), "how long"));
    static const char *const bad[] = {"-1", "\"1h\"", "9223372036854775807", "1.5", "null"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text,
                 "{\"verb\":\"expire\",\"args\":{\"peer\":\"home\",\"for\":%s}}\n", bad[i]);
        assert_non_null(strstr(talk(fd, text, 1), "no number"));
        assert_int_equal(state_peer(state, &id)->expires, 0);
    }
    static const char *const fields[] = {"uses", "ttl", "admit_for"};
    fake.ticket.uses = 99;
    for (size_t i = 0; i < 3 * sizeof bad / sizeof *bad; i++) {
        snprintf(text, sizeof text, "{\"verb\":\"ticket\",\"args\":{\"%s\":%s}}\n", fields[i % 3],
                 bad[i / 3]);
        assert_non_null(strstr(talk(fd, text, 1), "no number"));
    }
    assert_int_equal(fake.ticket.uses, 99);
}

static void test_verbs(void **unused)
{
    (void)unused;
    struct state *state = state_new();
    struct node_id own = {{9}};
    struct verbs *verbs =
        verbs_new(&(struct verbs_context){loop, &fake, state, &own, reload, NULL});
    fake = (struct node){0};
    control_server_free(server);
    server = control_server_new(loop, path, &verbs_ops, verbs, errbuf, sizeof errbuf);
    int fd = dial();

    assert_non_null(
        strstr(talk(fd, "{\"verb\":\"allow\",\"args\":{\"peer\":\"home\"}}\n", 1), "whole ID"));
    assert_non_null(strstr(talk(fd, "{\"verb\":\"allow\"}\n", 1), "name a peer"));
    assert_non_null(strstr(
        talk(fd, "{\"verb\":\"allow\",\"args\":{\"peer\":\"" ID "\",\"name\":\"a b\"}}\n", 1),
        "cannot be a peer's name"));
    assert_int_equal(fake.changes, 0);
    assert_non_null(strstr(
        talk(fd, "{\"verb\":\"allow\",\"args\":{\"peer\":\"" ID "\",\"name\":\"home\"}}\n", 1),
        "\"admitted\":true"));
    assert_int_equal(fake.changes, 1);
    check_list(fd);
    check_expiry(fd, state);
    fake.changes = 1;
    assert_non_null(strstr(talk(fd, "{\"verb\":\"revoke\",\"args\":{\"peer\":\"home\"}}\n", 1),
                           "\"admitted\":false"));
    talk(fd, "{\"verb\":\"rename\",\"args\":{\"peer\":\"aaaa\",\"name\":\"work\"}}\n", 1);
    assert_int_equal(fake.changes, 3);
    assert_non_null(strstr(talk(fd, "{\"verb\":\"status\"}\n", 1), "\"changes\":3"));
    assert_non_null(strstr(talk(fd, "{\"verb\":\"revoke\",\"args\":{\"peer\":\"home\"}}\n", 1),
                           "no peer is known as 'home'"));
    assert_non_null(strstr(talk(fd, "{\"verb\":\"reload\"}\n", 1), "gateway.listen"));
    assert_non_null(strstr(talk(fd, "{\"verb\":\"perf\"}\n", 1), "does not know the verb"));

    assert_non_null(strstr(talk(fd, "{\"verb\":\"ticket\"}\n", 1), "adit1ticket"));
    assert_int_equal(fake.ticket.uses, 1);
    assert_int_equal(fake.ticket.ttl_s, 3600);
    talk(fd,
         "{\"verb\":\"ticket\",\"args\":{\"uses\":3,\"ttl\":0,\"admit_for\":9,\"addresses\":[\"h."
         "example:1\"]}}\n",
         1);
    assert_int_equal(fake.ticket.admit_s, 9);
    assert_int_equal(fake.ticket.uses, 3);
    assert_int_equal(fake.ticket.ttl_s, 0);
    assert_string_equal(fake.address, "h.example:1");
    assert_non_null(
        strstr(talk(fd, "{\"verb\":\"ticket\",\"args\":{\"addresses\":[\"h.example\"]}}\n", 1),
               "HOST:PORT"));
    assert_non_null(
        strstr(talk(fd, "{\"verb\":\"ticket\",\"args\":{\"uses\":13}}\n", 1), "no luck"));

    talk(fd, "{\"verb\":\"ping\",\"args\":{\"peer\":\"work\",\"count\":2,\"interval_ms\":10}}\n",
         0);
    await_ping();
    node_ping_answer("direct", 1500);
    assert_string_equal(talk(fd, NULL, 1),
                        "{\"event\":{\"seq\":1,\"results\":[{\"path\":\"direct\",\"remote\":"
                        "\"192.0.2.1:7\",\"rtt_ms\":1.5,\"active\":true}],\"why\":\"\"}}\n");
    await_ping();
    node_ping_answer(NULL, 0);
    assert_string_equal(talk(fd, NULL, 2),
                        "{\"event\":{\"seq\":2,\"results\":[],\"why\":\"no path\"}}\n"
                        "{\"result\":{\"sent\":2,\"answered\":1,\"direct\":true},\"ok\":true}\n");
    talk(fd,
         "{\"verb\":\"ping\",\"args\":{\"peer\":\"work\",\"until_direct\":true,\"interval_ms\":10}}"
         "\n",
         0);
    await_ping();
    node_ping_answer("relay", 1500);
    await_ping();
    node_ping_answer("punch", 700);
    assert_non_null(strstr(talk(fd, NULL, 3), "\"sent\":2,\"answered\":2,\"direct\":true"));

    /* A client that leaves ends its ping with the round; a stop ends the pause and the round. */
    talk(fd, "{\"verb\":\"ping\",\"args\":{\"peer\":\"work\",\"count\":0,\"interval_ms\":10}}\n",
         0);
    await_ping();
    close(fd);
    for (int i = 0; i < 5; i++) {
        loop_turn(loop, 1000);
        if (fake.cb != NULL)
            node_ping_answer("direct", 100);
    }
    for (int i = 0; i < 30; i++)
        loop_turn(loop, 1000);
    assert_null(fake.cb);
    fd = dial();
    int fd2 = dial();
    talk(fd, "{\"verb\":\"ping\",\"args\":{\"peer\":\"work\",\"count\":0,\"interval_ms\":60000}}\n",
         0);
    await_ping();
    node_ping_answer("direct", 100);
    talk(fd2, "{\"verb\":\"ping\",\"args\":{\"peer\":\"work\"}}\n", 0);
    await_ping();
    verbs_stop(verbs);
    assert_non_null(strstr(talk(fd, NULL, 2), "adit is stopping"));
    node_ping_answer(NULL, 0);
    assert_non_null(strstr(talk(fd2, NULL, 2), "\"sent\":1"));
    assert_non_null(strstr(talk(fd2, "{\"verb\":\"status\"}\n", 1), "adit is stopping"));
    close(fd);
    close(fd2);
    verbs_free(verbs);
    state_close(state);
}

#define FORWARD(peer)                                                                        \
    "{\"verb\":\"forward\",\"args\":{\"listen\":\"0\",\"peer\":\"" peer "\",\"to\":\"x:1\"," \
    "\"reverse\":true}}\n"

static void await_forwards(int count)
{
    uint64_t end = loop_refresh(loop) + 60 * SEC_US;
    while (fake.forwards != count && loop_refresh(loop) < end)
        loop_turn(loop, 1000);
    assert_int_equal(fake.forwards, count);
}

/* A forward lives as long as its connection, or the connection's sending side. */
static void test_forward_verb(void **unused)
{
    (void)unused;
    struct state *state = state_new();
    struct node_id own = {{9}};
    struct verbs *verbs =
        verbs_new(&(struct verbs_context){loop, &fake, state, &own, reload, NULL});
    int fds[CONTROL_CLIENTS_MAX];

    fake = (struct node){0};
    control_server_free(server);
    server = control_server_new(loop, path, &verbs_ops, verbs, errbuf, sizeof errbuf);
    int fd = dial();
    assert_non_null(strstr(talk(fd, FORWARD("nobody"), 1), "no peer"));
    assert_non_null(strstr(talk(fd, "{\"verb\":\"forward\"}\n", 1), "address"));

    /* refused at first: that is the answer, and the connection is as before */
    talk(fd, FORWARD("home"), 0);
    await_forwards(1);
    assert_true(newest->spec.is_reverse && newest->spec.to.port == 1);
    node_forward_tell(false, true, "not here");
    await_forwards(0);
    assert_string_equal(talk(fd, NULL, 1), "{\"error\":\"not here\",\"ok\":false}\n");

    /* refused later: an event */
    talk(fd, FORWARD("home"), 0);
    await_forwards(1);
    node_forward_tell(true, false, "");
    node_forward_tell(false, true, "no longer");
    assert_non_null(strstr(talk(fd, NULL, 2), "\"problem\":\"no longer\""));
    assert_int_equal(fake.forwards, 1);
    shutdown(fd, SHUT_WR);
    await_forwards(0);
    assert_non_null(strstr(talk(fd, NULL, 3), "\"ok\":true"));
    close(fd);

    /* others need the socket too */
    for (int i = 0; i < 17; i++) {
        fds[i] = dial();
        talk(fds[i], FORWARD("home"), 0);
    }
    await_forwards(16);
    assert_non_null(strstr(talk(fds[16], NULL, 1), "16 forwards"));
    assert_non_null(strstr(talk(fds[16], "{\"verb\":\"status\"}\n", 1), "changes"));
    close(fds[0]);
    await_forwards(15);
    verbs_stop(verbs);
    assert_int_equal(fake.forwards, 0);
    assert_non_null(strstr(talk(fds[1], NULL, 1), "adit is stopping"));
    for (int i = 1; i < 17; i++)
        close(fds[i]);
    verbs_free(verbs);
    state_close(state);
}

static void test_paths(void **state)
{
    (void)state;
    struct config *config = config_new();
    char buf[PATH_MAX];
    assert_int_equal(control_path(config, "/a/b", true, buf), 0);
    assert_string_equal(buf, "/a/b/control.sock");
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_int_equal(control_path(config, "/a/b", false, buf), 0);
    assert_string_equal(buf, geteuid() == 0 ? "/run/adit/control.sock"
                                            : "/run/user/7/adit/control.sock");
    config_set(config, "node.control=/x.sock");
    assert_int_equal(control_path(config, "/a/b", false, buf), 0);
    assert_string_equal(buf, "/x.sock");
    config_free(config);
}

/* Out of descriptors: the server rests rather than spins, and serves who waited when there are some
 * again. */
static void test_no_descriptors(void **state)
{
    int fd, spare[64], count = 0;
    struct rlimit old, low;
    unsigned turns = 0;

    (void)state;
    fd = dial();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)fd + 2;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (count < 64 && (spare[count] = dup(fd)) >= 0)
        count++;
    assert_true(write(fd, "{\"verb\":\"echo\"}\n", 16) == 16);
    for (uint64_t end = loop_refresh(loop) + SEC_US / 2; loop_refresh(loop) < end; turns++)
        loop_turn(loop, SEC_US / 2);
    assert_in_range(turns, 1, 50);
    while (count > 0)
        close(spare[--count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_non_null(strstr(talk(fd, NULL, 1), "\"ok\":true"));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crowd, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_client, setup, teardown),
        cmocka_unit_test_setup_teardown(test_verbs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forward_verb, setup, teardown),
        cmocka_unit_test(test_paths),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
