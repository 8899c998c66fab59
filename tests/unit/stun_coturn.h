/* SPDX-License-Identifier: MIT */
/*
 * A real TURN server for tests: coturn, as a process of its own, with a configuration, ports and
 * files of its own, on loopback addresses.
 */
#ifndef ADIT_TESTS_STUN_COTURN_H
#define ADIT_TESTS_STUN_COTURN_H

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/addr.h"

struct coturn {
    pid_t pid; /* 0: not running */
    char dir[64];
    uint16_t port; /* of STUN and TURN over UDP and TCP; the second one of RFC 5780 is 1 more */
    uint16_t tls_port;
};

static inline bool coturn_is_installed(void)
{
    return access("/usr/bin/turnserver", X_OK) == 0;
}

/* A port that nobody uses now, and the one after it. */
static inline uint16_t coturn_free_port(void)
{
    for (;;) {
        struct sockaddr_in sa = {.sin_family = AF_INET};
        socklen_t len = sizeof(sa);
        bool is_free = true;
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
            getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
            abort();
        close(fd);
        for (int i = 0; i < 4 && is_free; i++) {
            sa.sin_port = htons((uint16_t)(ntohs(sa.sin_port) + (i == 2)));
            fd = socket(AF_INET, i % 2 ? SOCK_DGRAM : SOCK_STREAM, 0);
            is_free = bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
            close(fd);
        }
        if (is_free && ntohs(sa.sin_port) > 1024)
            return (uint16_t)(ntohs(sa.sin_port) - 1);
    }
}

/* extra: lines of turnserver.conf, each with its newline. Its directory is made when it has none,
 * so that a test may put certificates there first (coturn_make_dir()). */
static inline void coturn_make_dir(struct coturn *c)
{
    strcpy(c->dir, "/tmp/adit-coturn-XXXXXX");
    if (!mkdtemp(c->dir))
        abort();
}

static inline void coturn_spawn(struct coturn *c)
{
    char conf[128], log[128];

    snprintf(conf, sizeof(conf), "%s/turnserver.conf", c->dir);
    snprintf(log, sizeof(log), "%s/log", c->dir);
    c->pid = fork();
    if (c->pid != 0)
        return;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that crashes leaves nothing running */
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 1);
    dup2(fd, 2);
    execl("/usr/bin/turnserver", "turnserver", "-c", conf, "--no-stdout-log", (char *)NULL);
    _exit(127);
}

static inline void coturn_start(struct coturn *c, const char *extra)
{
    char path[128];
    FILE *file;

    if (!c->dir[0])
        coturn_make_dir(c);
    c->port = coturn_free_port();
    do
        c->tls_port = coturn_free_port();
    while (c->tls_port >= c->port - 1 && c->tls_port <= c->port + 1);
    snprintf(path, sizeof(path), "%s/turnserver.conf", c->dir);
    file = fopen(path, "w");
    if (!file)
        abort();
    fprintf(file,
            "listening-port=%u\nalt-listening-port=%u\ntls-listening-port=%u\n"
            "alt-tls-listening-port=%u\nno-cli\nno-dtls\nfingerprint\nallow-loopback-peers\n"
            "pidfile=%s/pid\nuserdb=%s/db\nlog-file=%s/coturn.log\nsimple-log\nrelay-threads=1\n%s",
            c->port, c->port + 1, c->tls_port, c->tls_port + 1, c->dir, c->dir, c->dir, extra);
    fclose(file);
    coturn_spawn(c);
}

static inline void coturn_stop(struct coturn *c)
{
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        waitpid(c->pid, NULL, 0);
    }
    c->pid = 0;
}

/* Its files too. */
static inline void coturn_remove(struct coturn *c)
{
    static const char *const files[] = {"turnserver.conf", "log",      "pid",    "db",
                                        "coturn.log",      "cert.pem", "key.pem"};
    char path[128];

    coturn_stop(c);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", c->dir, files[i]);
        unlink(path);
    }
    rmdir(c->dir);
}

#endif
