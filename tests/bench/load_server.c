/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The load generator's server, the far end of all that its client does: one thread, level-triggered
 * epoll, a small struct a connection. The first byte of a connection says what it is for (load.c).
 */
#include "load.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static void server_drop(struct conn *c)
{
    close(c->fd);
    free(c->held);
    free(c);
}

/* false: the connection is over */
static bool server_echo(int ep, struct conn *c)
{
    if (c->held_len > 0) {
        ssize_t n = send(c->fd, c->held, c->held_len, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN;
        c->held_len -= (size_t)n;
        memmove(c->held, c->held + n, c->held_len);
        if (c->held_len == 0)
            watch(ep, c, EPOLLIN, EPOLL_CTL_MOD);
        return true;
    }
    ssize_t n = recv(c->fd, load_buffer, PATTERN_BYTES, 0);
    if (n < 0)
        return errno == EAGAIN;
    if (n == 0)
        return false;
    ssize_t sent = send(c->fd, load_buffer, (size_t)n, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return false;
    if (sent < 0)
        sent = 0;
    if (sent < n) {
        c->held_len = (size_t)(n - sent);
        c->held = realloc(c->held, c->held_len);
        if (c->held == NULL)
            return false;
        memcpy(c->held, load_buffer + sent, c->held_len);
        watch(ep, c, EPOLLOUT, EPOLL_CTL_MOD);
    }
    return true;
}

static bool server_begin(int ep, struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->have, c->need - c->have, 0);

    if (n < 0)
        return errno == EAGAIN;
    if (n == 0)
        return false;
    c->have += (unsigned)n;
    if (c->in[0] == 'C') {
        send(c->fd, "c", 1, MSG_NOSIGNAL);
        return false;
    }
    if (c->in[0] == 'E') {
        c->state = OPEN;
        c->request.mode = 'E';
        return c->have < 2 || send(c->fd, c->in + 1, c->have - 1, MSG_NOSIGNAL) == c->have - 1;
    }
    if (c->in[0] == 'N') {
        watch(ep, c, 0, EPOLL_CTL_MOD);
        return true;
    }
    if (c->in[0] != 'D' && c->in[0] != 'U')
        return false;
    if (c->need == 1) {
        c->need = sizeof c->request;
        return server_begin(ep, c);
    }
    if (c->have < c->need)
        return true;
    memcpy(&c->request, c->in, sizeof c->request);
    c->state = OPEN;
    if (c->request.mode == 'D')
        watch(ep, c, EPOLLOUT, EPOLL_CTL_MOD);
    return true;
}

static bool server_event(int ep, struct conn *c)
{
    switch (c->state) {
    case CONNECTING:
        return server_begin(ep, c);
    case OPEN:
        break;
    case GREETING:
    case ASKING:
    case WAITING:
    case DONE: /* all is said: wait for the client's end */
        return recv(c->fd, c->in, sizeof c->in, 0) < 0 && errno == EAGAIN;
    }
    if (c->request.mode == 'E')
        return server_echo(ep, c);
    int r = c->request.mode == 'D' ? source_step(c) : sink_step(c);
    if (r <= 0)
        return r == 0;
    c->state = DONE;
    if (c->request.mode == 'D')
        watch(ep, c, EPOLLIN, EPOLL_CTL_MOD);
    else
        send(c->fd, &c->done, sizeof c->done, MSG_NOSIGNAL);
    return true;
}

static void server_accept(int ep, int listener)
{
    for (;;) {
        int one = 1;
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct conn *c;

        if (fd < 0) {
            if (errno != EAGAIN && errno != ECONNABORTED)
                fprintf(stderr, "load: accept: %s\n", strerror(errno));
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c = calloc(1, sizeof *c);
        if (c == NULL)
            die("no memory");
        c->fd = fd;
        c->need = 1;
        watch(ep, c, EPOLLIN, EPOLL_CTL_ADD);
    }
}

int serve_main(int argc, char **argv)
{
    struct sockaddr_storage addr = {0};
    struct epoll_event events[256];
    int one = 1, listener, ep;
    char host[64], port[16];
    socklen_t len = sizeof addr;

    if (argc != 1)
        die("serve ADDR:PORT");
    addr_parse(argv[0], &addr);
    listener = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&addr, addr_len(&addr)) != 0 ||
        listen(listener, 4096) != 0)
        die("cannot listen: %s", strerror(errno));
    getsockname(listener, (struct sockaddr *)&addr, &len);
    getnameinfo((struct sockaddr *)&addr, len, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    printf(addr.ss_family == AF_INET ? "listening %s:%s\n" : "listening [%s]:%s\n", host, port);
    fflush(stdout);

    ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    while (!load_stopping) {
        int n = epoll_wait(ep, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL)
                server_accept(ep, listener);
            else if (!server_event(ep, c))
                server_drop(c);
        }
    }
    return 0;
}
