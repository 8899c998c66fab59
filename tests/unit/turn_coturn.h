/* SPDX-License-Identifier: MIT */
/*
 * A real coturn on loopback addresses, in a process and a directory of its own; tests that need it
 * are skipped where it is not installed.
 */
#ifndef ADIT_TESTS_TURN_COTURN_H
#define ADIT_TESTS_TURN_COTURN_H

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pipe_recorder.h"
#include "stun/turn.h"

#define COTURN_PATH     "/usr/bin/turnserver"
#define COTURN_USER     "user"
#define COTURN_PASSWORD "correct horse"

struct coturn {
    pid_t pid;
    uint16_t port, tls_port;
    char dir[64];
    char log[80];
};

static inline uint16_t coturn_free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int tcp, udp;

    do {
        tcp = socket(AF_INET, SOCK_STREAM, 0);
        udp = socket(AF_INET, SOCK_DGRAM, 0);
        sa.sin_port = 0;
        assert_int_equal(bind(tcp, (struct sockaddr *)&sa, sizeof(sa)), 0);
        getsockname(tcp, (struct sockaddr *)&sa, &len);
        close(tcp);
        tcp = bind(udp, (struct sockaddr *)&sa, sizeof(sa));
        close(udp);
    } while (tcp != 0);
    return ntohs(sa.sin_port);
}

static inline bool coturn_is_installed(void)
{
    return access(COTURN_PATH, X_OK) == 0;
}

/* Asks it for a Binding until it answers. */
static inline void coturn_await(const struct coturn *coturn)
{
    static const uint8_t binding[20] = {0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1};
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(coturn->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    bool answered = false;
    uint8_t answer[512];

    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    for (int i = 0; i < 1000 && !answered; i++) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

        send(fd, binding, sizeof(binding), MSG_NOSIGNAL);
        answered = poll(&poll_fd, 1, 20) > 0 && recv(fd, answer, sizeof(answer), 0) > 20;
        if (waitpid(coturn->pid, NULL, WNOHANG) == coturn->pid)
            break;
        if (!answered)
            poll(NULL, 0, 10); /* a refusal comes at once */
    }
    close(fd);
    if (!answered)
        fail_msg("coturn did not start: see %s", coturn->log);
}

/* Runs it on the port that was chosen, with these options (up to a NULL) after the usual ones. */
static inline void coturn_run(struct coturn *coturn, const char *const options[])
{
    char port[40], tls_port[40], pidfile[120], db[120], user[120];
    const char *argv[64] = {"turnserver",
                            "-n",
                            "--no-cli",
                            "--lt-cred-mech",
                            "--realm=adit.test",
                            "--listening-ip=127.0.0.1",
                            "--listening-ip=::1",
                            "--relay-ip=127.0.0.1",
                            "--relay-ip=::1",
                            "--allow-loopback-peers",
                            "--log-file=stdout",
                            "--simple-log",
                            "--verbose",
                            "--relay-threads=1",
                            port,
                            tls_port,
                            pidfile,
                            db,
                            user};
    int argc = 19;

    snprintf(port, sizeof(port), "--listening-port=%u", coturn->port);
    snprintf(tls_port, sizeof(tls_port), "--tls-listening-port=%u", coturn->tls_port);
    snprintf(pidfile, sizeof(pidfile), "--pidfile=%s/pid", coturn->dir);
    snprintf(db, sizeof(db), "--userdb=%s/db", coturn->dir);
    snprintf(user, sizeof(user), "--user=%s:%s", COTURN_USER, COTURN_PASSWORD);
    for (; options && *options; options++)
        argv[argc++] = *options;
    coturn->pid = fork();
    assert_true(coturn->pid >= 0);
    if (coturn->pid == 0) {
        int fd = open(coturn->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd, 1);
        dup2(fd, 2);
        execv(COTURN_PATH, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    coturn_await(coturn);
}

static inline void coturn_init(struct coturn *coturn)
{
    *coturn = (struct coturn){0};
    strcpy(coturn->dir, "/tmp/adit-coturn-XXXXXX");
    assert_non_null(mkdtemp(coturn->dir));
    snprintf(coturn->log, sizeof(coturn->log), "%s/log", coturn->dir);
    coturn->port = coturn_free_port();
    coturn->tls_port = coturn_free_port();
}

static inline void coturn_start(struct coturn *coturn, const char *const options[])
{
    coturn_init(coturn);
    coturn_run(coturn, options);
}

static inline void coturn_kill(struct coturn *coturn)
{
    if (coturn->pid <= 0)
        return;
    kill(coturn->pid, SIGKILL);
    waitpid(coturn->pid, NULL, 0);
    coturn->pid = 0;
}

static inline void coturn_stop(struct coturn *coturn)
{
    static const char *const names[] = {"log", "pid", "db", "cert.pem", "key.pem"};
    char path[128];

    coturn_kill(coturn);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", coturn->dir, names[i]);
        unlink(path);
    }
    rmdir(coturn->dir);
}

/* How many lines of its log have this text. */
static inline int coturn_logged(const struct coturn *coturn, const char *text)
{
    FILE *file = fopen(coturn->log, "r");
    char line[1024];
    int n = 0;

    while (file && fgets(line, sizeof(line), file))
        n += strstr(line, text) != NULL;
    if (file)
        fclose(file);
    return n;
}

/* It, as a client is told. */
static inline struct turn_server coturn_server(const struct coturn *coturn,
                                               enum server_transport transport, int family)
{
    struct turn_server server = {
        .server = {.transport = transport,
                   .is_turn = true,
                   .port = transport == SERVER_TLS ? coturn->tls_port : coturn->port},
        .login = {.user = COTURN_USER, .password = COTURN_PASSWORD},
        .leg = LEG_OPTIONS_DEFAULT};

    strcpy(server.server.host, family == AF_INET6 ? "::1" : "127.0.0.1");
    return server;
}

#endif
