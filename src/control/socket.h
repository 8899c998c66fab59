/* SPDX-License-Identifier: MIT */
/*
 * The address of a unix socket whose path may be longer than sun_path. Private to control/.
 */
#ifndef ADIT_CONTROL_SOCKET_H
#define ADIT_CONTROL_SOCKET_H

#include <sys/socket.h>
#include <sys/un.h>

struct socket_name {
    struct sockaddr_un sun;
    socklen_t len;
    int dir_fd; /* keeps the detour open; -1: none */
};

/* A path that does not fit is reached through /proc/self/fd/N, N being its directory. 0 or a
 * negative errno. */
int socket_name_open(const char *path, struct socket_name *name);
void socket_name_close(struct socket_name *name);

#endif
