/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * Paho keeps all its connections in one pair of threads, with one lock, and with static variables
 * for what belongs to a connection. What that means was tried with 1.3.12, two clients and a
 * broker that works well alone:
 *
 * - While one client waits for a proxy's answer, the other neither sends nor receives: messages
 *   stood still for 10 s, and MQTTAsync_destroy() for 3 s of them. (The forwarder answers at once,
 *   but only as fast as our loop turns.)
 * - A broker that sends a part of a WebSocket frame and stops silences the other WebSocket client
 *   for good: the half frame is kept in one static buffer for all connections. There is no way
 *   round this from outside.
 *
 * Besides, it is a parser of whatever strangers send, in the process that holds this node's key;
 * and ending a client waits for locks, ending the process for threads. So each connection to a
 * broker is a process of its own. It is this program once more (posix_spawn(3) of /proc/self/exe),
 * which finds by its name that it is such a process before main() begins: it starts from an empty
 * memory, without our keys and our users' data, and nothing of ours is copied on write later. It
 * keeps nothing open but a socket pair and standard error, can read certificates and no other file
 * (Landlock, where the kernel has it), leaves no core file, cannot be traced, gains no privileges,
 * has DATA_BYTES of memory (a packet may say that it has 256 MiB), and is ended by SIGKILL, or by
 * itself when the socket is closed. It lives for one connection: whatever goes wrong, the next
 * starts from nothing. What it must know comes as the first record, so that passwords stand neither
 * in its arguments nor in its environment.
 *
 * Its price: some 5 ms of processor time to start, 0.9 MB of memory besides the program's text, a
 * millisecond to end. Over loopback it is connected 12 ms after it was asked for.
 *
 * In that process the first thread waits for records to publish; Paho's threads call back, and each
 * call writes one record, never waiting: the socket's buffer is the queue of messages (some 256 of
 * the usual size). When it is full, messages are dropped and counted; the count goes with the next
 * one. Nothing is shared between the threads but that counter.
 *
 * The session is clean, QoS 0, without a will; the client identifier is random, so that a broker
 * learns nothing from it.
 */
#include "signal/paho.h"

#include <MQTTAsync.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAVE_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAVE_SANITIZER 1
#endif
#endif
/* Every kind of access to files that the first version of Landlock (Linux 5.13) knows. */
#define LANDLOCK_FIRST_VERSION (LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1)

#define PROCESS_NAME           "adit-broker"
#define ENVIRONMENT_MAX        8 /* variables that the process sees */
#define SOCKET_FD              3
#define SOCKET_BUFFER          (192 * 1024)
#define BUFFERED_MAX           64 /* messages that wait in Paho to be sent */
#define DATA_BYTES             (96 * 1024 * 1024)
#define URI_BYTES              (BROKER_NAME_BYTES + BROKER_PATH_MAX)
#define TLS_TEXT_MAX           BROKER_TEXT_MAX

/* The process's own; there is one connection in it. */
struct child {
    struct paho_options options;
    MQTTAsync handle;
    atomic_uint dropped;
    atomic_bool is_up;
    char tls[TLS_TEXT_MAX + 1]; /* OpenSSL's last error; written and read under Paho's lock */
};

/* --- Records --- */

/* Drops it when the other side is slow or gone. */
static bool put_record(const void *bytes, size_t len)
{
    return send(SOCKET_FD, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

static void put_down(enum paho_end end, const char *text)
{
    uint8_t record[2 + BROKER_TEXT_MAX] = {PAHO_DOWN, (uint8_t)end};
    size_t len = text ? strnlen(text, BROKER_TEXT_MAX) : 0;

    if (len)
        memcpy(record + 2, text, len);
    put_record(record, 2 + len);
}

/* --- Called by Paho, on its threads --- */

static int on_message(void *arg, char *topic, int topic_len, MQTTAsync_message *message)
{
    struct child *child = arg;
    uint8_t record[PAHO_HEAD_BYTES + BROKER_MESSAGE_MAX] = {PAHO_MESSAGE};
    uint32_t dropped = atomic_load(&child->dropped);

    (void)topic_len;
    memcpy(record + 1, &dropped, sizeof(dropped));
    if (message->payloadlen < 0 || message->payloadlen > BROKER_MESSAGE_MAX) {
        atomic_fetch_add(&child->dropped, 1);
    } else {
        memcpy(record + PAHO_HEAD_BYTES, message->payload, (size_t)message->payloadlen);
        if (!put_record(record, PAHO_HEAD_BYTES + (size_t)message->payloadlen))
            atomic_fetch_add(&child->dropped, 1);
    }
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    return 1;
}

static void on_lost(void *arg, char *why)
{
    (void)arg;
    (void)why;
    put_down(PAHO_LOST, NULL);
}

static void on_subscribed(void *arg, MQTTAsync_successData *data)
{
    const uint8_t record = PAHO_SUBSCRIBED;

    (void)arg;
    (void)data;
    put_record(&record, 1);
}

static void on_not_subscribed(void *arg, MQTTAsync_failureData *data)
{
    (void)arg;
    put_down(data && data->code == 0x80 ? PAHO_NO_SUBSCRIPTION : PAHO_FAILED, NULL);
}

/* Up before the subscription is confirmed, which saves a round trip: a broker handles what a client
 * sends in order (MQTT 3.1.1 section 4.6), so it knows where our answers go before it sees our
 * first question. */
static void on_connected(void *arg, MQTTAsync_successData *data)
{
    struct child *child = arg;
    const uint8_t record = PAHO_UP;
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;

    (void)data;
    options.context = child;
    options.onSuccess = on_subscribed;
    options.onFailure = on_not_subscribed;
    if (MQTTAsync_subscribe(child->handle, child->options.topic, 0, &options) !=
        MQTTASYNC_SUCCESS) {
        put_down(PAHO_BROKEN, "it does not subscribe");
        return;
    }
    atomic_store(&child->is_up, true);
    put_record(&record, 1);
}

static void on_not_connected(void *arg, MQTTAsync_failureData *data)
{
    static const uint8_t ends[] = {[1] = PAHO_REJECTED,
                                   [2] = PAHO_REJECTED,
                                   [3] = PAHO_BUSY,
                                   [4] = PAHO_BAD_LOGIN,
                                   [5] = PAHO_FORBIDDEN};
    struct child *child = arg;
    int code = data ? data->code : MQTTASYNC_FAILURE;

    if (code > 0 && code < (int)sizeof(ends))
        put_down((enum paho_end)ends[code], NULL);
    else if (code > 0)
        put_down(PAHO_REJECTED, NULL);
    else
        put_down(PAHO_FAILED, child->tls);
}

/* One line of OpenSSL's error queue: "...:error:CODE:LIBRARY:FUNCTION:REASON:FILE:LINE:...". */
static int on_tls_error(const char *text, size_t len, void *arg)
{
    struct child *child = arg;

    snprintf(child->tls, sizeof(child->tls), "%.*s", (int)len, text);
    return 1;
}

/* --- The process --- */

static void start_client(struct child *child)
{
    static const char *const schemes[] = {"tcp", "ssl", "ws", "wss"}; /* as Paho calls them */
    const struct paho_options *options = &child->options;
    const struct broker_url *url = &options->url;
    MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
    MQTTAsync_connectOptions connect = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions websocket = MQTTAsync_connectOptions_initializer_ws;
    MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;
    char http[FORWARDER_PROXY_BYTES + 8], https[FORWARDER_PROXY_BYTES + 8];
    char uri[URI_BYTES], at[TARGET_TEXT_MAX], ip[ADDR_TEXT_MAX],
        id[2 * sizeof(options->client_id) + 1];

    target_format(&url->at, at);
    /* Paho looks in a certificate for an IPv6 address with its brackets, and so never finds it. It
     * takes one without them: the last colon is that of the port. */
    if (broker_url_is_secure(url) && url->at.addr.family == AF_INET6)
        snprintf(at, sizeof(at), "%s:%u", addr_format_ip(&url->at.addr, ip), url->at.port);
    snprintf(uri, sizeof(uri), "%s://%s%s", schemes[url->scheme], at, url->path);
    /* ws and mqtt take the one, wss and mqtts the other, each with its own prefix */
    snprintf(http, sizeof(http), "http://%s", options->proxy);
    snprintf(https, sizeof(https), "https://%s", options->proxy);
    for (size_t i = 0; i < sizeof(options->client_id); i++)
        snprintf(id + 2 * i, 3, "%02x", options->client_id[i]);
    create.MQTTVersion = MQTTVERSION_3_1_1;
    create.maxBufferedMessages = BUFFERED_MAX;
    tls.verify = 1;
    tls.trustStore = options->ca_file[0] ? options->ca_file : NULL;
    tls.ssl_error_cb = on_tls_error;
    tls.ssl_error_context = child;
    if (broker_url_is_websocket(url))
        connect = websocket;
    connect.MQTTVersion = MQTTVERSION_3_1_1;
    connect.cleansession = 1;
    connect.keepAliveInterval = (int)options->keepalive_s;
    connect.connectTimeout = (int)options->connect_s;
    connect.username = url->has_user ? url->user : NULL;
    connect.password = url->has_password ? url->password : NULL;
    connect.httpProxy = http;
    connect.httpsProxy = https;
    connect.ssl = broker_url_is_secure(url) ? &tls : NULL;
    connect.context = child;
    connect.onSuccess = on_connected;
    connect.onFailure = on_not_connected;
    if (MQTTAsync_createWithOptions(&child->handle, uri, id, MQTTCLIENT_PERSISTENCE_NONE, NULL,
                                    &create) != MQTTASYNC_SUCCESS ||
        MQTTAsync_setCallbacks(child->handle, child, on_lost, on_message, NULL) !=
            MQTTASYNC_SUCCESS ||
        MQTTAsync_connect(child->handle, &connect) != MQTTASYNC_SUCCESS)
        put_down(PAHO_BROKEN, "it does not start");
}

static void publish(struct child *child, const uint8_t *record, size_t len)
{
    char topic[BROKER_TOPIC_MAX + 1];
    size_t topic_len = len >= 2 ? record[1] : 0;

    if (len < 2 + topic_len || record[0] != PAHO_PUBLISH || topic_len > BROKER_TOPIC_MAX ||
        !atomic_load(&child->is_up))
        return;
    memcpy(topic, record + 2, topic_len);
    topic[topic_len] = '\0';
    MQTTAsync_send(child->handle, topic, (int)(len - 2 - topic_len), record + 2 + topic_len, 0, 0,
                   NULL);
}

#if defined(HAVE_SANITIZER)
static void confine(const char *ca_file)
{
    (void)ca_file; /* reports read /proc */
}
#else
static void allow(int rules, const char *path)
{
    struct landlock_path_beneath_attr beneath = {
        .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
        .parent_fd = path && *path ? open(path, O_PATH | O_CLOEXEC) : -1,
    };

    if (beneath.parent_fd < 0)
        return;
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0) {
        beneath.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE; /* it is no directory */
        syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
    }
    close(beneath.parent_fd);
}

/* From now on this process reads libraries and authorities' certificates, and no other file; nor
 * may it trace others. Where the kernel has no Landlock it goes without. */
static void confine(const char *ca_file)
{
    static const char *const paths[] = {
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ssl/certs", /* not /etc/ssl/private */
        "/etc/ssl/cert.pem",
        "/etc/ssl/openssl.cnf",
        "/etc/pki/tls/certs",
        "/etc/pki/tls/cert.pem",
        "/etc/pki/tls/openssl.cnf",
        "/etc/pki/ca-trust/extracted",
        "/etc/ca-certificates/extracted",
    };
    const struct landlock_ruleset_attr attr = {.handled_access_fs = LANDLOCK_FIRST_VERSION};
    int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);

    if (rules < 0)
        return;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        allow(rules, paths[i]);
    allow(rules, getenv("SSL_CERT_DIR")); /* as OpenSSL reads them */
    allow(rules, getenv("SSL_CERT_FILE"));
    allow(rules, ca_file);
    syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
}
#endif

static void limit(void)
{
    const struct rlimit none = {0, 0};

    prctl(PR_SET_NAME, PROCESS_NAME);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    setrlimit(RLIMIT_CORE, &none);
#if !defined(HAVE_SANITIZER)
    const struct rlimit data = {DATA_BYTES, DATA_BYTES};

    setrlimit(RLIMIT_DATA, &data);
#endif
}

__attribute__((noreturn)) static void child_main(void)
{
    static struct child child;
    uint8_t record[PAHO_RECORD_BYTES];
    ssize_t len;

    /* Those who end the program end us by closing the socket. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    close_range(SOCKET_FD + 1, ~0U, 0);
    limit();
    if (recv(SOCKET_FD, &child.options, sizeof(child.options), 0) != sizeof(child.options))
        _exit(1);
    confine(child.options.ca_file);
    start_client(&child);
    do {
        len = recv(SOCKET_FD, record, sizeof(record), 0);
        if (len > 0)
            publish(&child, record, (size_t)len);
    } while (len > 0 || (len < 0 && errno == EINTR));
    _exit(0);
}

/* Before main(). */
__attribute__((constructor)) static void become_child(void)
{
    if (strcmp(program_invocation_name, PROCESS_NAME) == 0)
        child_main();
}

/* --- This side --- */

/* What of our environment it may see: where certificates, time zones and a sanitizer's options are.
 * Not the rest: MQTT_C_CLIENT_TRACE, for one, would have Paho write passwords to a file. */
static void pick_environment(char *out[ENVIRONMENT_MAX + 1])
{
    static const char *const names[] = {
        "SSL_CERT_FILE=", "SSL_CERT_DIR=", "LD_LIBRARY_PATH=", "ASAN_OPTIONS=",
        "UBSAN_OPTIONS=", "TSAN_OPTIONS=", "LSAN_OPTIONS=",    "TZ="};
    size_t count = 0;

    for (char **at = environ; *at && count < ENVIRONMENT_MAX; at++)
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && count < ENVIRONMENT_MAX; i++)
            if (strncmp(*at, names[i], strlen(names[i])) == 0)
                out[count++] = *at;
    out[count] = NULL;
}

static int spawn(int fd, pid_t *pid)
{
    char name[] = PROCESS_NAME, *environment[ENVIRONMENT_MAX + 1];
    char *const argv[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, all;
    int error;

    pick_environment(environment);
    sigemptyset(&none);
    sigfillset(&all);
    if (posix_spawn_file_actions_init(&actions) != 0)
        return -ENOMEM;
    if (posix_spawnattr_init(&attr) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    error = posix_spawn_file_actions_adddup2(&actions, fd, SOCKET_FD);
    if (!error)
        error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!error)
        error = posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    if (!error)
        error = posix_spawn(pid, "/proc/self/exe", &actions, &attr, argv, environment);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

int paho_start(const struct paho_options *options, int *fd, pid_t *pid)
{
    const int size = SOCKET_BUFFER;
    int fds[2], error = 0;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (send(fds[0], options, sizeof(*options), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(*options))
        error = -EIO;
    else
        error = spawn(fds[1], pid);
    close(fds[1]);
    if (error) {
        close(fds[0]);
        return error;
    }
    *fd = fds[0];
    return 0;
}

void paho_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}
