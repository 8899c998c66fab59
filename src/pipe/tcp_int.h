/* SPDX-License-Identifier: MIT */
/*
 * What TCP pipes (tcp.c) and their servers (tcp_server.c) share.
 */
#ifndef ADIT_PIPE_TCP_INT_H
#define ADIT_PIPE_TCP_INT_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/un.h>

#include "pipe/tcp.h"

/* As much as one read at most fills, so that after it there is either room for a block or none. */
#define TCP_OUT_HIGH_BYTES ((size_t)16 * BLOCK_READ_BYTES)

struct tcp_server;

struct tcp_pipe {
    struct pipe base;
    int fd;
    bool registered, connecting, readable, writable, peer_closed, shut, discarding, keep_fd,
        reset_on_close, bulk;
    uint8_t read_blocks;
    uint32_t linger_ms, idle_ms;
    size_t read_max;
    int error; /* of a write: told once everything is read */
    struct slice_queue out;
    struct slice_queue in; /* read, but the pipe was paused meanwhile */
    struct event event;
    struct defer work;
    struct timer timer; /* connecting, idle, or closing */
    struct timer reset_check;
    uint64_t last_rx;
    struct tcp_server *server;
    struct tcp_pipe *next_client, **prev_client;
};

struct tcp_pipe *tcp_new(struct loop *loop, int fd, const struct pipe_options *options,
                         bool connecting);
/* Forgets the server; tcp_server.c keeps the list of its clients by these. */
void tcp_leave_server(struct tcp_pipe *tcp);
int tcp_set_nonblocking(int fd);
/* A unix stream socket, not yet connected or bound, and the address of the path. -1: errno. */
int tcp_unix_socket(const char *path, struct sockaddr_un *sun);
/* The descriptor of a server pipe, or -1 when it is none. */
int tcp_server_fd(const struct pipe *pipe);

#endif
