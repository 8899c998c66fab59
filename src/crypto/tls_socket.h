/* SPDX-License-Identifier: MIT */
/*
 * TLS sockets: a non-blocking stream socket with a buffer each way, read and written in few system
 * calls: by the TLS library during the handshake, and by records (tls_record.h) after it.
 */
#ifndef ADIT_CRYPTO_TLS_SOCKET_H
#define ADIT_CRYPTO_TLS_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "crypto/tls_record.h"

#define TLS_IN_BYTES  (5 * (TLS_RECORD_DATA_MAX + TLS_RECORD_OVERHEAD_BYTES)) /* read at once */
#define TLS_OUT_BYTES (4 * (TLS_RECORD_DATA_MAX + TLS_RECORD_OVERHEAD_BYTES)) /* sent at once */

struct ssl_st;        /* SSL */
struct bio_method_st; /* BIO_METHOD */

struct tls_socket {
    int fd;
    bool readable;    /* the kernel may have input; set by the owner at each event, cleared here */
    bool peer_closed; /* an event said so: a short read no longer means that there is no more */
    bool blocked; /* the kernel has not taken all that is to be sent; the owner waits for "writable"
                   */
    bool got_end; /* end of file was read */
    bool corked;  /* the kernel may hold back what was last sent */
    int error;    /* errno of a failed read or write, 0 */
    uint8_t *out; /* to be sent: out_from to out_to */
    size_t out_from, out_to, out_cap;
    uint8_t *in; /* received: in_from to in_to; TLS_IN_BYTES, or NULL */
    size_t in_from, in_to;
    struct bio_method_st *method;
};

/* The descriptor stays the caller's. */
void tls_socket_init(struct tls_socket *socket, int fd);
/* After the SSL that it was attached to is freed. */
void tls_socket_free(struct tls_socket *socket);
/* Makes the SSL write to this socket and read from it, no byte more than it needs. 0 or -ENOMEM. */
int tls_socket_attach(struct tls_socket *socket, struct ssl_st *ssl);

/* Room for len more bytes to be sent; tls_socket_commit() says how many were put there. */
uint8_t *tls_socket_reserve(struct tls_socket *socket, size_t len);
static inline void tls_socket_commit(struct tls_socket *socket, size_t len)
{
    socket->out_to += len;
}
/* Bytes to be sent. */
static inline size_t tls_socket_pending(const struct tls_socket *socket)
{
    return socket->out_to - socket->out_from;
}
/* Sends them as far as the kernel takes them; more: others follow in this turn. 0 or a negated
 * errno. */
int tls_socket_flush(struct tls_socket *socket, bool more);
/* Sends them, and what the kernel holds back. 0 or a negated errno. */
int tls_socket_push(struct tls_socket *socket);

/* Reads up to len bytes past the buffer. Bytes, 0 at the end of file, -EAGAIN when there is nothing
 * now, or another negated errno. */
ssize_t tls_socket_read(struct tls_socket *socket, void *bytes, size_t len);
/* Reads more into `in`: the same. */
ssize_t tls_socket_fill(struct tls_socket *socket);
/* Bytes received. */
static inline size_t tls_socket_received(const struct tls_socket *socket)
{
    return socket->in_to - socket->in_from;
}
/* Forgets what was received, and what the kernel holds. True when all that has arrived is gone;
 * false: there is more, call again in a later turn. got_end tells whether the other side has
 * finished. */
bool tls_socket_discard(struct tls_socket *socket);

/* Gives up buffers that hold nothing. */
void tls_socket_trim(struct tls_socket *socket);

#endif
