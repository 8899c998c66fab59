/* SPDX-License-Identifier: MIT */
/*
 * TLS sockets: a non-blocking stream socket as the TLS library sees it, with few system calls and
 * few copies. Part of pipe/tls.c in all but name; it is here because it is all about the library.
 * See tls_socket.c for the theory.
 */
#ifndef ADIT_CRYPTO_TLS_SOCKET_H
#define ADIT_CRYPTO_TLS_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TLS_AHEAD_BYTES 4096

struct ssl_st;        /* SSL */
struct bio_method_st; /* BIO_METHOD */

struct tls_socket {
    int fd;
    bool readable;    /* the kernel may have input; set by the owner at each event, cleared here */
    bool peer_closed; /* an event said so: a short read no longer means that there is no more */
    bool blocked; /* the kernel has not taken all of `pending`; the owner waits for "writable" */
    bool more;    /* set by the owner around a record: others follow */
    bool got_end; /* end of file was read */
    int error;    /* errno of a failed read or write, 0 */
    uint8_t *pending; /* to be sent: pending_from to pending_to */
    size_t pending_from, pending_to, pending_cap;
    size_t ahead_from, ahead_to;
    struct bio_method_st *method;
    uint8_t ahead[TLS_AHEAD_BYTES]; /* read and not yet asked for */
};

/* The descriptor stays the caller's. */
void tls_socket_init(struct tls_socket *socket, int fd);
/* After the SSL that it was attached to is freed. */
void tls_socket_free(struct tls_socket *socket);
/* Makes the SSL read from and write to this socket. 0 or -ENOMEM. */
int tls_socket_attach(struct tls_socket *socket, struct ssl_st *ssl);

/* Bytes to be sent before the next record, copied. */
void tls_socket_append(struct tls_socket *socket, const void *bytes, size_t len);
/* Sends what is pending as far as the kernel takes it. 0 or a negated errno. */
int tls_socket_flush(struct tls_socket *socket, bool more);
/* Makes the kernel send what MSG_MORE held back. */
void tls_socket_push(struct tls_socket *socket);

/* Reads exactly up to max bytes in all into `ahead`, for what comes before TLS. Bytes read, 0 at
 * the end of file, -EAGAIN or another negated errno. */
ssize_t tls_socket_read_plain(struct tls_socket *socket, size_t max);
/* Forgets what was read ahead, and what the kernel holds. True when all that has arrived is gone;
 * false: there is more, call again in a later turn. got_end tells whether the other side has
 * finished. */
bool tls_socket_discard(struct tls_socket *socket);

static inline size_t tls_socket_pending(const struct tls_socket *socket)
{
    return socket->pending_to - socket->pending_from;
}

static inline bool tls_socket_has_input(const struct tls_socket *socket)
{
    return socket->readable || socket->ahead_to > socket->ahead_from;
}

#endif
