/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * While the terminal does not show what is typed, the signals that end or stop a process are held
 * back (blocked). A descriptor tells that one is waiting; it is not taken from there: the terminal
 * is restored, and the signal let through, which does what it always does. If that was a stop
 * (Ctrl-Z), the question is asked again when the process goes on. No handler, nothing global.
 */
#include "cli/turn_password.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "crypto/hash.h"

#define PASSWORD_MAX_BYTES 1024

static int terminal_open(void)
{
    if (isatty(STDIN_FILENO))
        return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
    return isatty(STDERR_FILENO) ? open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY) : -1;
}

/* Reads a line while nothing is shown. Its length, 0: end of file, or negative: a signal waits. */
static ssize_t read_line(int tty, int signals, char *line, size_t size)
{
    struct pollfd fds[] = {{.fd = signals, .events = POLLIN}, {.fd = tty, .events = POLLIN}};

    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return 0;
        if (fds[0].revents != 0)
            return -1;
        if (fds[1].revents != 0)
            break;
    }
    ssize_t n = read(tty, line, size); /* of a terminal: a line */
    return n > 0 ? n : 0;
}

/* The same, with the terminal as it was before and after. */
static ssize_t ask(int tty, int signals, const char *user, char *line, size_t size)
{
    struct termios old, quiet;
    ssize_t len;

    if (tcgetattr(tty, &old) != 0)
        return 0;
    fprintf(stderr, "password of %s: ", user);
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(tty, TCSAFLUSH, &quiet);
    len = read_line(tty, signals, line, size);
    tcsetattr(tty, TCSAFLUSH, &old);
    fputc('\n', stderr);
    return len;
}

char *password_ask(const char *user)
{
    char line[PASSWORD_MAX_BYTES + 1], *password = NULL;
    int tty = terminal_open(), signals;
    sigset_t held, before;
    ssize_t len;

    sigemptyset(&held);
    for (size_t i = 0; i < 5; i++) {
        static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
        sigaddset(&held, numbers[i]);
    }
    if (tty < 0 || sigprocmask(SIG_BLOCK, &held, &before) != 0)
        goto out;
    signals = signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK);
    while ((len = ask(tty, signals, user, line, sizeof(line) - 1)) < 0) {
        sigprocmask(SIG_SETMASK, &before, NULL); /* what waits happens here */
        sigprocmask(SIG_BLOCK, &held, NULL);
    }
    if (signals >= 0)
        close(signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    line[len] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    if (line[0] != '\0')
        password = strdup(line);
    hash_wipe(line, sizeof(line));
out:
    if (tty >= 0)
        close(tty);
    return password;
}
