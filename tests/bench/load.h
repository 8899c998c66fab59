/* SPDX-License-Identifier: MIT */
/* What the parts of the load generator share; load.c has the theory. */
#ifndef ADIT_BENCH_LOAD_H
#define ADIT_BENCH_LOAD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum {
    SOURCE_BYTES = 4 << 20, /* of the memfd */
    CHUNK_BYTES = 1 << 20,  /* per sendfile() or discarding recv() */
    PATTERN_BYTES = 256 << 10,
    BURST = 4, /* calls per event, then the next connection's turn */
};

struct request {
    uint8_t mode; /* 'D', 'U' */
    uint8_t verify;
    uint8_t pad[6];
    uint64_t bytes; /* 0: endless */
    uint64_t seed;
};

enum state { CONNECTING, GREETING, ASKING, OPEN, WAITING, DONE };

struct conn {
    int fd;
    enum state state;
    uint8_t in[64 + 256]; /* of the SOCKS handshake, of the request, of the final count */
    unsigned have, need;
    struct request request;
    uint64_t done; /* bytes sent or received */
    off_t source_at;
    uint8_t *held; /* echo that the socket did not take */
    size_t held_len;
};

extern uint8_t *load_buffer; /* of CHUNK_BYTES */
extern volatile sig_atomic_t load_stopping;

/* Prints the reason and ends the program. */
void __attribute__((noreturn, format(printf, 1, 2))) die(const char *format, ...);

socklen_t addr_len(const struct sockaddr_storage *a);
/* ADDR:PORT or [ADDR]:PORT, numeric; writes into the text. */
void addr_parse(char *text, struct sockaddr_storage *out);

/* Makes the buffers, and lifts the limit of descriptors. */
void load_prepare(void);
/* The pattern: byte i of a stream is byte i % 8 of a function of the seed and i / 8. */
void pattern_fill(uint8_t *out, size_t len, uint64_t seed, uint64_t offset);
/* Sends, or receives, towards request.bytes. 1: all done, 0: later, -1: failed (errno; 0: the
 * stream ended early). */
int source_step(struct conn *c);
int sink_step(struct conn *c);

/* Adds a connection to an epoll descriptor, or changes what is waited for. */
void watch(int ep, struct conn *c, uint32_t events, int op);

int serve_main(int argc, char **argv);

#endif
