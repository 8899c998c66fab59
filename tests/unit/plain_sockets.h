/* SPDX-License-Identifier: MIT */
/* Plain sockets on the loopback, to play the peers of the pipes under test. */
#ifndef ADIT_TESTS_PLAIN_SOCKETS_H
#define ADIT_TESTS_PLAIN_SOCKETS_H

#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include "pipe_recorder.h"

static inline int plain_listen(int backlog, struct addr *at)
{
    struct addr any = addr_loopback(AF_INET, 0);
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(&any, &sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(fd, backlog), 0);
    len = sizeof(sa);
    getsockname(fd, (struct sockaddr *)&sa, &len);
    addr_from_sockaddr((struct sockaddr *)&sa, len, at);
    return fd;
}

static inline int plain_connect(const struct addr *to, bool wait)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(to, &sa);
    int fd = socket(to->family, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
    int r = connect(fd, (struct sockaddr *)&sa, len);

    assert_true(r == 0 || (!wait && errno == EINPROGRESS));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* A connected pair of TCP sockets: ours (to be wrapped) and the peer's. */
static inline void plain_pair(int *ours, int *peer)
{
    struct addr at;
    int listener = plain_listen(1, &at);

    *peer = plain_connect(&at, true);
    *ours = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(*ours >= 0);
    close(listener);
}

static inline void plain_reset(int fd)
{
    struct linger linger = {1, 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

/* Runs the loop until fd has this text (or the end of file for ""). */
static inline void expect_text(struct loop *loop, int fd, const char *text)
{
    char buf[256] = "";
    size_t have = 0;
    ssize_t n = -1;

    RUN_UNTIL(loop, ((n = recv(fd, buf + have, sizeof(buf) - 1 - have, 0)) > 0 &&
                     (have += (size_t)n) >= strlen(text)) ||
                        (*text == 0 && n == 0));
    buf[have] = 0;
    assert_string_equal(buf, text);
}

static inline void expect_closed(struct loop *loop, int fd)
{
    expect_text(loop, fd, "");
}

static inline int plain_error(struct loop *loop, int fd)
{
    char byte;
    ssize_t n = 0;

    RUN_UNTIL(loop, (n = recv(fd, &byte, 1, 0)) <= 0 && (n == 0 || errno != EAGAIN));
    return n == 0 ? 0 : errno;
}

#endif
