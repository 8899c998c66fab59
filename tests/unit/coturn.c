/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * coturn is told everything by its command line, and runs in the foreground as our child; it dies
 * with the test program (PR_SET_PDEATHSIG), whatever becomes of that. It is ready when it answers
 * a Binding by UDP; if it ends before, or does not answer within half a minute, the test fails.
 *
 * Ports are those that nobody used a moment ago: somebody else may take one in between, and then
 * coturn does not start, and says so in its log.
 */
#include "coturn.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <netinet/in.h>

#define COTURN_PATH "/usr/bin/turnserver"

bool coturn_is_installed(void)
{
    return access(COTURN_PATH, X_OK) == 0;
}

/* --- Ports --- */

static bool port_is_free(uint16_t port, int type)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, type, 0);
    bool is_free = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;

    close(fd);
    return is_free;
}

/* One that nobody uses, nor the one after it. */
static uint16_t free_port(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t len = sizeof(sa);
    uint16_t port;
    int fd;

    do {
        fd = socket(AF_INET, SOCK_STREAM, 0);
        sa.sin_port = 0;
        assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
        getsockname(fd, (struct sockaddr *)&sa, &len);
        close(fd);
        port = ntohs(sa.sin_port);
    } while (port == UINT16_MAX || !port_is_free(port, SOCK_STREAM) ||
             !port_is_free(port, SOCK_DGRAM) || !port_is_free(port + 1, SOCK_STREAM) ||
             !port_is_free(port + 1, SOCK_DGRAM));
    return port;
}

void coturn_init(struct coturn *coturn)
{
    *coturn = (struct coturn){0};
    strcpy(coturn->dir, "/tmp/adit-coturn-XXXXXX");
    assert_non_null(mkdtemp(coturn->dir));
    snprintf(coturn->log, sizeof(coturn->log), "%s/log", coturn->dir);
    coturn->port = free_port();
    do
        coturn->tls_port = free_port();
    while (coturn->tls_port >= coturn->port - 1 && coturn->tls_port <= coturn->port + 1);
}

/* --- The process --- */

/* Asks it for a Binding until it answers. */
static void await_answer(const struct coturn *coturn)
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

static void become_coturn(const struct coturn *coturn, const char *const argv[])
{
    int fd = open(coturn->log, O_WRONLY | O_CREAT | O_APPEND, 0600);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(fd, 1);
    dup2(fd, 2);
    execv(COTURN_PATH, (char *const *)(uintptr_t)argv);
    _exit(127);
}

void coturn_run(struct coturn *coturn, const char *const options[])
{
    char port[40], tls_port[40], pidfile[120], db[120], user[120];
    const char *argv[64] = {"turnserver",
                            "-n",
                            "--no-cli",
                            "--no-dtls",
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
    int argc = 20;

    snprintf(port, sizeof(port), "--listening-port=%u", coturn->port);
    snprintf(tls_port, sizeof(tls_port), "--tls-listening-port=%u", coturn->tls_port);
    snprintf(pidfile, sizeof(pidfile), "--pidfile=%s/pid", coturn->dir);
    snprintf(db, sizeof(db), "--userdb=%s/db", coturn->dir);
    snprintf(user, sizeof(user), "--user=%s:%s", COTURN_USER, COTURN_PASSWORD);
    for (; options && *options; options++)
        argv[argc++] = *options;
    coturn->pid = fork();
    assert_true(coturn->pid >= 0);
    if (coturn->pid == 0)
        become_coturn(coturn, argv);
    await_answer(coturn);
}

void coturn_start(struct coturn *coturn, const char *const options[])
{
    coturn_init(coturn);
    coturn_run(coturn, options);
}

void coturn_kill(struct coturn *coturn)
{
    if (coturn->pid <= 0)
        return;
    kill(coturn->pid, SIGKILL);
    waitpid(coturn->pid, NULL, 0);
    coturn->pid = 0;
}

void coturn_stop(struct coturn *coturn)
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

int coturn_logged(const struct coturn *coturn, const char *text)
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
