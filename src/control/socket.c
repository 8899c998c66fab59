/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A unix socket's address has room for 107 characters, and state directories may be deeper than
 * that. The kernel follows /proc/self/fd/N like any symbolic link, so a long path is cut to that
 * and its last part.
 *
 * Where the socket is by default follows from the state directory alone, because the lock of that
 * directory is what makes a process the only one: two processes can never want the same socket.
 */
#include "control/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/control.h"

int socket_name_open(const char *path, struct socket_name *name)
{
    char detour[sizeof name->sun.sun_path];

    *name = (struct socket_name){.sun = {.sun_family = AF_UNIX}, .dir_fd = -1};
    if (path[0] == '\0')
        return -EINVAL;
    if (strlen(path) >= sizeof name->sun.sun_path) {
        char dir[PATH_MAX];
        const char *slash = strrchr(path, '/');
        if (slash == NULL || (size_t)(slash - path) >= sizeof dir)
            return -ENAMETOOLONG;
        memcpy(dir, path, (size_t)(slash - path));
        dir[slash - path] = '\0';
        name->dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (name->dir_fd < 0)
            return -errno;
        int n = snprintf(detour, sizeof detour, "/proc/self/fd/%d%s", name->dir_fd, slash);
        if ((size_t)n >= sizeof detour) {
            socket_name_close(name);
            return -ENAMETOOLONG;
        }
        path = detour;
    }
    strcpy(name->sun.sun_path, path);
    name->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    return 0;
}

void socket_name_close(struct socket_name *name)
{
    if (name->dir_fd >= 0)
        close(name->dir_fd);
    name->dir_fd = -1;
}

int control_path(const struct config *config, const char *dir, bool dir_chosen, char path[PATH_MAX])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int n;

    if (config->node.control[0] != '\0')
        n = snprintf(path, PATH_MAX, "%s", config->node.control);
    else if (dir_chosen)
        n = snprintf(path, PATH_MAX, "%s/control.sock", dir);
    else if (geteuid() == 0)
        n = snprintf(path, PATH_MAX, "/run/adit/control.sock");
    else if (runtime != NULL && runtime[0] == '/')
        n = snprintf(path, PATH_MAX, "%s/adit/control.sock", runtime);
    else
        n = snprintf(path, PATH_MAX, "%s/control.sock", dir);
    return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}
