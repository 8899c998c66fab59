/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * CPU time of TLS pipes: two processes over loopback TCP, one sends MEGABYTES in records of CHUNK
 * bytes as long as there is room, the other counts and answers with its own CPU time at the end.
 *
 *     tls_pipe_bench [MEGABYTES [CHUNK]]
 *
 * Prints seconds of CPU time per gigabyte (10^9 bytes) of each side, user and system, and the rate.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/tls_context.h"
#include "pipe/tls.h"

struct bench {
    struct loop *loop;
    struct pipe *pipe;
    uint64_t total, done, messages;
    size_t chunk;
    bool sender;
};

static uint8_t bytes[BLOCK_BYTES];

static void pump(struct bench *bench)
{
    size_t room = pipe_room(bench->pipe);

    while (bench->done < bench->total && room > 0) {
        size_t len = bench->chunk, after;

        bench->done += len;
        after = room > len ? room - len : 0;
        pipe_send(bench->pipe, bytes, len, after > 0 && bench->done < bench->total);
        room = after ? after : pipe_room(bench->pipe);
        if (room > 0 && pipe_room(bench->pipe) == 0)
            room = 0;
    }
    if (bench->done >= bench->total)
        pipe_shutdown(bench->pipe);
}

static void on_up(struct pipe *pipe, void *arg)
{
    struct bench *bench = arg;

    (void)pipe;
    if (bench->sender)
        pump(bench);
}

static void on_room(struct pipe *pipe, void *arg)
{
    on_up(pipe, arg);
}

static void on_message(struct pipe *pipe, const struct slice *data, const struct addr *from,
                       void *arg)
{
    struct bench *bench = arg;

    (void)pipe, (void)from;
    bench->done += data->len;
    bench->messages++;
}

static void on_eof(struct pipe *pipe, void *arg)
{
    (void)arg;
    pipe_shutdown(pipe);
}

static void on_end(struct pipe *pipe, int why, void *arg)
{
    struct bench *bench = arg;

    (void)pipe;
    if (why)
        fprintf(stderr, "ended: %s\n", err_text(why));
    loop_stop(bench->loop);
}

static const struct pipe_events events = {
    .up = on_up, .message = on_message, .eof = on_eof, .room = on_room, .end = on_end};

static double seconds(struct timeval tv)
{
    return (double)tv.tv_sec + (double)tv.tv_usec / 1e6;
}

static void run(struct bench *bench, int fd, struct identity *me, const struct node_id *other)
{
    struct tls_context *context = tls_context_new(me);
    struct rusage before, after;
    uint64_t start;
    double gb = (double)bench->total / 1e9, user, system;

    bench->loop = loop_new();
    start = loop_now(bench->loop);
    getrusage(RUSAGE_SELF, &before);
    bench->pipe = bench->sender ? tls_wrap(bench->loop, context, fd, false, other, NULL)
                                : tls_accept(bench->loop, context, fd, NULL);
    pipe_add_listener(bench->pipe, &events, bench);
    loop_run(bench->loop);
    getrusage(RUSAGE_SELF, &after);
    user = (seconds(after.ru_utime) - seconds(before.ru_utime)) / gb;
    system = (seconds(after.ru_stime) - seconds(before.ru_stime)) / gb;
    printf("%s: user %.3f system %.3f sum %.3f s/GB; %.2f Gbit/s; %llu messages\n",
           bench->sender ? "sender  " : "receiver", user, system, user + system,
           8 * gb / ((double)(loop_refresh(bench->loop) - start) / 1e6),
           (unsigned long long)bench->messages);
    tls_context_free(context);
    loop_free(bench->loop);
}

int main(int argc, char **argv)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct identity *alice = identity_generate(), *bob = identity_generate();
    struct bench bench = {.total = (argc > 1 ? strtoull(argv[1], NULL, 10) : 4000) * 1000000,
                          .chunk = argc > 2 ? strtoul(argv[2], NULL, 10) : BLOCK_BYTES};
    int status = 1;

    if (bench.chunk == 0 || bench.chunk > BLOCK_BYTES || bench.total == 0) {
        fprintf(stderr, "usage: tls_pipe_bench [MEGABYTES [CHUNK]]\n");
        return 2;
    }
    if (bind(listener, (struct sockaddr *)&sin, len) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&sin, &len) < 0) {
        perror("loopback");
        return 1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        run(&bench, accept(listener, NULL, NULL), bob, NULL);
        fflush(stdout);
        _exit(0);
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&sin, len) == 0) {
        bench.sender = true;
        run(&bench, fd, alice, identity_id(bob));
    }
    close(listener);
    waitpid(pid, &status, 0);
    identity_free(alice);
    identity_free(bob);
    return status != 0;
}
