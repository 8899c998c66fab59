/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The load generator of tests/bench and tests/e2e, made to cost far less than the proxies that it
 * measures: one thread, epoll, sendfile() out of a memfd as the source, MSG_TRUNC (which discards
 * in the kernel) as the sink. It speaks SOCKS5 itself.
 *
 *   load serve ADDR:PORT               the far end of everything below; port 0 picks one; prints
 *                                      "listening ADDR:PORT"
 *   load bulk down|up BYTES STREAMS    BYTES in all, spread over STREAMS; BYTES 0: until SIGTERM
 *   load connect PARALLEL SECONDS      connections made, used for one byte each way, and closed
 *   load echo SECONDS [SIZE]           one message at a time there and back; numbered, checked
 *   load idle STREAMS                  opened, proven by one byte, held until stdin ends
 *   load stall STREAMS                 the same, but the far end sends and this end never reads
 *   load stall-up STREAMS              this end sends and the far end never reads; "ready" when
 *                                      nothing more is taken
 *
 *   options: --socks ADDR:PORT  through this SOCKS5 server; without it, straight
 *            --to ADDR:PORT     where `load serve' listens, as the far end of the proxy sees it
 *            --verify           bulk: every byte is a function of its offset, and is checked
 *            --mark BYTES       bulk: print "mark" when so many bytes have arrived (repeatable)
 *            --pause MS         echo: wait between messages
 *
 * Each prints one line of JSON when it ends, and before that lines of one word: "started",
 * "mark N", "ready". A failure is a line on standard error and exit code 1; SIGTERM ends a run
 * early but properly. Byte counts are always checked: a download must bring exactly what was asked
 * for; an upload is confirmed by the count that the far end received.
 *
 * A connection to the server starts with one byte: 'C' answer one byte and close; 'E' echo; 'D'
 * and 'U', source and sink, followed by the rest of struct request; 'N' nothing is read any more.
 * Nothing here needs half-close, which some proxies lack.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    MARKS_MAX = 16,
    OPENING_MAX = 256, /* connections being made at once */
    STALL_MS = 150000, /* no progress for so long is a failure */
};

static struct sockaddr_storage socks_addr, to_addr;
static bool use_socks, opt_verify;
static bool small_buffers; /* what stalls should not fill megabytes of the kernel's first */
static uint64_t marks[MARKS_MAX];
static unsigned marks_count;
static unsigned opt_pause_ms;

static void on_signal(int sig)
{
    (void)sig;
    load_stopping = 1;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double own_cpu(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ---- the client's connections -------------------------------------------------------------------
 */

static void conn_start(int ep, struct conn *c)
{
    const struct sockaddr_storage *a = use_socks ? &socks_addr : &to_addr;
    int one = 1;

    memset(c, 0, offsetof(struct conn, request));
    c->done = 0;
    c->fd = socket(a->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (small_buffers) {
        setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &(int){32768}, sizeof(int));
        setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &(int){32768}, sizeof(int));
    }
    if (connect(c->fd, (const struct sockaddr *)a, addr_len(a)) != 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    watch(ep, c, EPOLLOUT, EPOLL_CTL_ADD);
}

static unsigned socks_request(uint8_t *out)
{
    unsigned at = 0;

    out[at++] = 5, out[at++] = 1, out[at++] = 0;
    if (to_addr.ss_family == AF_INET) {
        const struct sockaddr_in *in4 = (const void *)&to_addr;
        out[at++] = 1;
        memcpy(out + at, &in4->sin_addr, 4);
        memcpy(out + at + 4, &in4->sin_port, 2);
        return at + 6;
    }
    const struct sockaddr_in6 *in6 = (const void *)&to_addr;
    out[at++] = 4;
    memcpy(out + at, &in6->sin6_addr, 16);
    memcpy(out + at + 16, &in6->sin6_port, 2);
    return at + 18;
}

static bool conn_read(struct conn *c)
{
    while (c->have < c->need) {
        ssize_t n = recv(c->fd, c->in + c->have, c->need - c->have, 0);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0)
            die("%s while connecting through the proxy", n == 0 ? "end of file" : strerror(errno));
        c->have += (unsigned)n;
    }
    return true;
}

/* Takes a connection through connect() and SOCKS; true when it is open. */
static bool conn_open_step(int ep, struct conn *c)
{
    uint8_t out[32];
    int error = 0;
    socklen_t len = sizeof error;

    switch (c->state) {
    case CONNECTING:
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error != 0)
            die("connect: %s", strerror(error));
        if (!use_socks) {
            c->state = OPEN;
            return true;
        }
        if (send(c->fd, "\5\1", 3, MSG_NOSIGNAL) != 3)
            die("send: %s", strerror(errno));
        c->state = GREETING;
        c->need = 2;
        watch(ep, c, EPOLLIN, EPOLL_CTL_MOD);
        return false;
    case GREETING:
        if (!conn_read(c))
            return false;
        if (c->in[0] != 5 || c->in[1] != 0)
            die("the proxy wants authentication");
        len = socks_request(out);
        if (send(c->fd, out, len, MSG_NOSIGNAL) != (ssize_t)len)
            die("send: %s", strerror(errno));
        c->state = ASKING;
        c->have = 0;
        c->need = 5;
        return false;
    case ASKING:
        if (!conn_read(c))
            return false;
        if (c->in[1] != 0)
            die("the proxy answered %u", c->in[1]);
        c->need = c->in[3] == 4 ? 22u : c->in[3] == 3 ? 7u + c->in[4] : 10u;
        if (!conn_read(c))
            return false;
        c->state = OPEN;
        c->have = 0;
        return true;
    case OPEN:
    case WAITING:
    case DONE:
        break;
    }
    return true;
}

static int wait_events(int ep, struct epoll_event *events, int max, uint64_t last_progress)
{
    int n = epoll_wait(ep, events, max, 1000);

    if (n == 0 && now_ns() - last_progress > STALL_MS * 1000000ull)
        die("no progress for %d s", STALL_MS / 1000);
    return n < 0 ? 0 : n;
}

/* Opens `count` connections, at most OPENING_MAX at once. */
static struct conn *open_all(int ep, unsigned count)
{
    struct conn *all = calloc(count, sizeof *all);
    struct epoll_event events[256];
    unsigned started = 0, opened = 0;
    uint64_t last = now_ns();

    if (all == NULL)
        die("no memory");
    while (opened < count) {
        while (started < count && started - opened < OPENING_MAX)
            conn_start(ep, &all[started++]);
        int n = wait_events(ep, events, 256, last);
        if (load_stopping)
            exit(1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c->state != OPEN && conn_open_step(ep, c)) {
                opened++;
                last = now_ns();
                watch(ep, c, 0, EPOLL_CTL_MOD);
            }
        }
    }
    return all;
}

/* ---- bulk ---------------------------------------------------------------------------------------
 */

struct bulk {
    uint64_t total, last_ns, gap_ns, gap_at;
    unsigned next_mark;
};

/* Notes progress; the longest silence is the stall that a cut path caused. */
static void bulk_progress(struct bulk *b, uint64_t bytes, uint64_t t)
{
    if (bytes == 0)
        return;
    if (t - b->last_ns > b->gap_ns) {
        b->gap_ns = t - b->last_ns;
        b->gap_at = b->total;
    }
    b->last_ns = t;
    b->total += bytes;
    while (b->next_mark < marks_count && b->total >= marks[b->next_mark])
        printf("mark %llu\n", (unsigned long long)marks[b->next_mark++]), fflush(stdout);
}

static bool bulk_step(int ep, struct conn *c, bool down)
{
    int r;

    if (c->state == OPEN) {
        r = down ? sink_step(c) : source_step(c);
        if (r < 0)
            die("stream broken after %llu of %llu bytes: %s", (unsigned long long)c->done,
                (unsigned long long)c->request.bytes, errno ? strerror(errno) : "end of file");
        if (r == 0)
            return false;
        c->state = down ? DONE : WAITING;
        c->have = 0;
        c->need = 8;
        if (!down)
            watch(ep, c, EPOLLIN, EPOLL_CTL_MOD);
        return down;
    }
    if (c->state == WAITING && conn_read(c)) {
        uint64_t count;
        memcpy(&count, c->in, sizeof count);
        if (count != c->request.bytes)
            die("%llu bytes sent, %llu received", (unsigned long long)c->request.bytes,
                (unsigned long long)count);
        c->state = DONE;
        return true;
    }
    return false;
}

static int bulk_main(int argc, char **argv)
{
    struct epoll_event events[256];
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct bulk b = {0};

    if (argc != 3)
        die("bulk down|up BYTES STREAMS");
    bool down = strcmp(argv[0], "down") == 0;
    uint64_t bytes = strtoull(argv[1], NULL, 0);
    unsigned streams = (unsigned)strtoul(argv[2], NULL, 0), finished = 0;
    if (streams == 0)
        die("bulk: no streams");
    struct conn *all = open_all(ep, streams);

    uint64_t start = now_ns();
    double cpu = own_cpu();
    b.last_ns = start;
    for (unsigned i = 0; i < streams; i++) {
        all[i].request = (struct request){.mode = down ? 'D' : 'U',
                                          .verify = opt_verify,
                                          .bytes = bytes / streams,
                                          .seed = i + 1};
        if (send(all[i].fd, &all[i].request, sizeof all[i].request, MSG_NOSIGNAL) !=
            sizeof all[i].request)
            die("send: %s", strerror(errno));
        watch(ep, &all[i], down ? EPOLLIN : EPOLLOUT, EPOLL_CTL_MOD);
    }
    printf("started\n");
    fflush(stdout);
    while (finished < streams && !load_stopping) {
        int n = wait_events(ep, events, 256, b.last_ns);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            uint64_t before = c->done;
            bool over = bulk_step(ep, c, down);

            bulk_progress(&b, c->done - before, now_ns());
            if (over) {
                finished++;
                watch(ep, c, 0, EPOLL_CTL_MOD);
            }
        }
    }
    uint64_t end = now_ns();
    /* the silence at the end counts as well: an upload waits for its confirmation there */
    if (end - b.last_ns > b.gap_ns)
        b.gap_ns = end - b.last_ns, b.gap_at = b.total;
    printf("{\"bytes\": %llu, \"seconds\": %.6f, \"complete\": %s, \"stall_ms\": %.1f, "
           "\"stall_at\": %llu, \"own_cpu\": %.4f}\n",
           (unsigned long long)b.total, (double)(end - start) / 1e9,
           finished == streams ? "true" : "false", (double)b.gap_ns / 1e6,
           (unsigned long long)b.gap_at, own_cpu() - cpu);
    return 0;
}

/* ---- connections per second ---------------------------------------------------------------------
 */

/* After the handshake: one byte there, one back, end of file. true when over. */
static bool connect_step(int ep, struct conn *c)
{
    char byte[2];

    if (c->state < OPEN && !conn_open_step(ep, c))
        return false;
    if (c->state == OPEN) {
        if (send(c->fd, "C", 1, MSG_NOSIGNAL) != 1)
            die("send: %s", strerror(errno));
        c->state = WAITING;
        if (!use_socks)
            watch(ep, c, EPOLLIN, EPOLL_CTL_MOD);
        return false;
    }
    for (;;) {
        ssize_t n = recv(c->fd, byte, sizeof byte, 0);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0)
            die("recv: %s", strerror(errno));
        if (n == 0) {
            if (c->done != 1)
                die("connection ended after %llu bytes", (unsigned long long)c->done);
            close(c->fd);
            return true;
        }
        c->done += (uint64_t)n;
    }
}

static int connect_main(int argc, char **argv)
{
    struct epoll_event events[256];
    int ep = epoll_create1(EPOLL_CLOEXEC);

    if (argc != 2)
        die("connect PARALLEL SECONDS");
    unsigned parallel = (unsigned)strtoul(argv[0], NULL, 0), active = 0;
    uint64_t limit = (uint64_t)(strtod(argv[1], NULL) * 1e9), count = 0;
    struct conn *all = calloc(parallel, sizeof *all);
    uint64_t start = now_ns(), last = start;

    if (all == NULL)
        die("no memory");
    for (active = 0; active < parallel; active++)
        conn_start(ep, &all[active]);
    while (active > 0) {
        int n = wait_events(ep, events, 256, last);
        last = n > 0 ? now_ns() : last;
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!connect_step(ep, c))
                continue;
            count++;
            if (last - start < limit && !load_stopping)
                conn_start(ep, c);
            else
                active--;
        }
    }
    printf("{\"connections\": %llu, \"seconds\": %.6f}\n", (unsigned long long)count,
           (double)(now_ns() - start) / 1e9);
    return 0;
}

/* ---- echo ---------------------------------------------------------------------------------------
 */

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void read_all(int fd, uint8_t *to, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t n = recv(fd, to + have, len - have, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            die("echo broken: %s", n == 0 ? "end of file" : strerror(errno));
        have += (size_t)n;
    }
}

static int echo_main(int argc, char **argv)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);
    uint8_t out[4096], in[4096];
    size_t max = 1 << 20, count = 0;

    if (argc < 1 || argc > 2)
        die("echo SECONDS [SIZE]");
    uint64_t limit = (uint64_t)(strtod(argv[0], NULL) * 1e9);
    size_t size = argc > 1 ? strtoul(argv[1], NULL, 0) : 64;
    uint32_t *times = malloc(max * sizeof *times);
    if (size < 8 || size > sizeof out || times == NULL)
        die("echo: SIZE is 8 to 4096");
    struct conn *c = open_all(ep, 1);
    int flags = 0; /* blocking from here on */
    struct timeval patience = {STALL_MS / 1000, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (ioctl(c->fd, FIONBIO, &flags) != 0 || send(c->fd, "E", 1, MSG_NOSIGNAL) != 1)
        die("send: %s", strerror(errno));
    printf("started\n");
    fflush(stdout);
    uint64_t start = now_ns(), t = start;
    for (uint64_t number = 0; count < max && t - start < limit && !load_stopping; number++) {
        pattern_fill(out, size, number, 0);
        memcpy(out, &number, sizeof number);
        if (send(c->fd, out, size, MSG_NOSIGNAL) != (ssize_t)size)
            die("send: %s", strerror(errno));
        read_all(c->fd, in, size);
        if (memcmp(in, out, size) != 0)
            die("echo %llu came back changed", (unsigned long long)number);
        uint64_t after = now_ns();
        times[count++] = (uint32_t)((after - t) / 100);
        t = after;
        if (opt_pause_ms > 0) {
            poll(NULL, 0, (int)opt_pause_ms);
            t = now_ns();
        }
    }
    if (count == 0)
        die("echo: nothing came back");
    qsort(times, count, sizeof *times, compare_u32);
    printf("{\"count\": %zu, \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, "
           "\"max_us\": %.1f, \"seconds\": %.3f}\n",
           count, times[count / 2] / 10.0, times[count * 9 / 10] / 10.0,
           times[count * 99 / 100] / 10.0, times[count - 1] / 10.0, (double)(t - start) / 1e9);
    return 0;
}

/* ---- idle, stall --------------------------------------------------------------------------------
 */

static int hold_main(unsigned streams, bool stall)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);
    small_buffers = stall;
    struct conn *all = open_all(ep, streams);
    struct request want = {.mode = 'D'};

    for (unsigned i = 0; i < streams; i++) {
        ssize_t n = stall ? send(all[i].fd, &want, sizeof want, MSG_NOSIGNAL)
                          : send(all[i].fd, "Ex", 2, MSG_NOSIGNAL);
        if (n < 0)
            die("send: %s", strerror(errno));
    }
    for (unsigned i = 0; i < streams; i++) {
        struct pollfd p = {.fd = all[i].fd, .events = POLLIN};
        uint8_t byte;
        if (poll(&p, 1, STALL_MS) != 1)
            die("stream %u of %u: no answer", i, streams);
        if (!stall && (recv(p.fd, &byte, 1, 0) != 1 || byte != 'x'))
            die("stream %u of %u: wrong answer", i, streams);
    }
    printf("ready\n");
    fflush(stdout);
    /* any byte on stdin: prove that every stream still works */
    while (!load_stopping) {
        uint8_t byte;
        if (read(STDIN_FILENO, &byte, 1) != 1)
            break;
        for (unsigned i = 0; i < streams && !stall; i++)
            if (send(all[i].fd, "y", 1, MSG_NOSIGNAL) != 1)
                die("stream %u of %u is broken: %s", i, streams, strerror(errno));
        for (unsigned i = 0; i < streams && !stall; i++) {
            struct pollfd p = {.fd = all[i].fd, .events = POLLIN};
            if (poll(&p, 1, STALL_MS) != 1 || recv(p.fd, &byte, 1, 0) != 1 || byte != 'y')
                die("stream %u of %u is broken", i, streams);
        }
        printf("proven\n");
        fflush(stdout);
    }
    printf("{\"streams\": %u}\n", streams);
    return 0;
}

/* Sends on all streams until none takes anything for a second. */
static int stall_up_main(unsigned streams)
{
    struct epoll_event events[256];
    int ep = epoll_create1(EPOLL_CLOEXEC), n;
    unsigned long long sent = 0;
    uint8_t byte;

    small_buffers = true;
    struct conn *all = open_all(ep, streams);
    for (unsigned i = 0; i < streams; i++) {
        if (send(all[i].fd, "N", 1, MSG_NOSIGNAL) != 1)
            die("send: %s", strerror(errno));
        watch(ep, &all[i], EPOLLOUT, EPOLL_CTL_MOD);
    }
    while (!load_stopping && (n = epoll_wait(ep, events, 256, 1000)) > 0) {
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            ssize_t done = send(c->fd, load_buffer, PATTERN_BYTES, MSG_NOSIGNAL);
            if (done < 0 && errno != EAGAIN)
                die("a stream that nobody reads broke: %s", strerror(errno));
            sent += done > 0 ? (unsigned long long)done : 0;
        }
    }
    printf("ready\n");
    fflush(stdout);
    if (!load_stopping && read(STDIN_FILENO, &byte, 1) < 0 && errno != EINTR)
        die("stdin: %s", strerror(errno));
    printf("{\"streams\": %u, \"bytes\": %llu}\n", streams, sent);
    return 0;
}

/* ---- main ---------------------------------------------------------------------------------------
 */

static int options(int argc, char **argv)
{
    int kept = 0;

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--verify") == 0) {
            opt_verify = true;
        } else if (strncmp(argv[i], "--", 2) != 0) {
            argv[kept++] = argv[i];
        } else if (i + 1 == argc) {
            die("%s needs a value", argv[i]);
        } else if (strcmp(argv[i], "--socks") == 0) {
            use_socks = true;
            addr_parse(argv[++i], &socks_addr);
        } else if (strcmp(argv[i], "--to") == 0) {
            addr_parse(argv[++i], &to_addr);
        } else if (strcmp(argv[i], "--pause") == 0) {
            opt_pause_ms = (unsigned)strtoul(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--mark") == 0 && marks_count < MARKS_MAX) {
            marks[marks_count++] = strtoull(argv[++i], NULL, 0);
        } else {
            die("%s: unknown option", argv[i]);
        }
    }
    return kept;
}

int main(int argc, char **argv)
{
    struct sigaction stop = {.sa_handler = on_signal};
    const char *verb;

    argc = options(argc - 1, argv + 1);
    argv++;
    if (argc < 1)
        die("usage: load serve|bulk|connect|echo|idle|stall ...; see the top of load.c");
    verb = argv[0];
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    load_prepare();
    argc--, argv++;
    if (strcmp(verb, "serve") == 0)
        return serve_main(argc, argv);
    if (to_addr.ss_family == 0)
        die("--to ADDR:PORT is missing");
    if (strcmp(verb, "bulk") == 0)
        return bulk_main(argc, argv);
    if (strcmp(verb, "connect") == 0)
        return connect_main(argc, argv);
    if (strcmp(verb, "echo") == 0)
        return echo_main(argc, argv);
    if (argc == 1 && (strcmp(verb, "idle") == 0 || strcmp(verb, "stall") == 0))
        return hold_main((unsigned)strtoul(argv[0], NULL, 0), strcmp(verb, "stall") == 0);
    if (argc == 1 && strcmp(verb, "stall-up") == 0)
        return stall_up_main((unsigned)strtoul(argv[0], NULL, 0));
    die("%s: unknown verb, or wrong arguments", verb);
}
