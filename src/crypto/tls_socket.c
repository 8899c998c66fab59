/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * System calls are what moving bytes costs, so each moves many: records are gathered in `out` and
 * sent TLS_OUT_BYTES at a time (its owner flushes when so much has come together, and at the end of
 * each turn), and up to TLS_IN_BYTES are read at a time. A short read means that the socket is
 * empty, unless the peer has closed. A record that is not complete yet is moved to the front before
 * the next read: of a full buffer of full records, nothing.
 *
 * What the kernel does not take stays in `out`, and the socket is `blocked`. Its owner writes no
 * more then, but an alert or a key update: `out` is bounded by TLS_OUT_BYTES and a record. Both
 * buffers come with the first use; a pipe that has been quiet gives them back.
 *
 * The library's BIO goes straight to the socket when it reads, for exactly what is asked, so that
 * nothing that comes after the handshake gets lost in the library.
 */
#include "crypto/tls_socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DISCARD_TURN_BYTES (256 * 1024)

void tls_socket_init(struct tls_socket *socket, int fd)
{
    memset(socket, 0, sizeof *socket);
    socket->fd = fd;
}

void tls_socket_free(struct tls_socket *socket)
{
    BIO_meth_free(socket->method);
    free(socket->out);
    free(socket->in);
    tls_socket_init(socket, -1);
}

void tls_socket_trim(struct tls_socket *socket)
{
    if (tls_socket_pending(socket) == 0) {
        free(socket->out);
        socket->out = NULL;
        socket->out_from = socket->out_to = socket->out_cap = 0;
    }
    if (tls_socket_received(socket) == 0) {
        free(socket->in);
        socket->in = NULL;
        socket->in_from = socket->in_to = 0;
    }
}

static uint8_t *must(void *memory)
{
    if (!memory)
        abort(); /* as blocks do, see base/slice.h */
    return memory;
}

/* --- Writing --- */

uint8_t *tls_socket_reserve(struct tls_socket *socket, size_t len)
{
    if (socket->out_to + len <= socket->out_cap)
        return socket->out + socket->out_to;
    if (socket->out_from > 0) {
        memmove(socket->out, socket->out + socket->out_from, tls_socket_pending(socket));
        socket->out_to -= socket->out_from;
        socket->out_from = 0;
    }
    if (socket->out_to + len > socket->out_cap) {
        socket->out_cap =
            socket->out_to + len > TLS_OUT_BYTES ? socket->out_to + len : TLS_OUT_BYTES;
        socket->out = must(realloc(socket->out, socket->out_cap));
    }
    return socket->out + socket->out_to;
}

int tls_socket_flush(struct tls_socket *socket, bool more)
{
    size_t len = tls_socket_pending(socket);
    ssize_t n;

    if (len == 0)
        return 0;
    do {
        n = send(socket->fd, socket->out + socket->out_from, len,
                 MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        socket->error = errno;
        return -errno;
    }
    if (n > 0) {
        socket->out_from += (size_t)n;
        socket->corked = more;
    }
    socket->blocked = socket->out_from < socket->out_to;
    if (!socket->blocked)
        socket->out_from = socket->out_to = 0;
    return 0;
}

int tls_socket_push(struct tls_socket *socket)
{
    int one = 1;

    if (tls_socket_pending(socket) > 0)
        return tls_socket_flush(socket, false);
    /* Setting it again sends what is held back; see TCP_NODELAY in tcp(7). */
    if (socket->corked)
        setsockopt(socket->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    socket->corked = false;
    return 0;
}

/* --- Reading --- */

ssize_t tls_socket_read(struct tls_socket *socket, void *bytes, size_t len)
{
    ssize_t n;

    if (!socket->readable)
        return -EAGAIN;
    do {
        n = recv(socket->fd, bytes, len, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN)
        socket->error = errno;
    else if (n == 0)
        socket->got_end = true;
    if (n < 0 ? errno == EAGAIN : (size_t)n < len && !socket->peer_closed)
        socket->readable = false;
    return n < 0 ? -errno : n;
}

ssize_t tls_socket_fill(struct tls_socket *socket)
{
    ssize_t n;

    if (!socket->readable)
        return -EAGAIN;
    if (!socket->in)
        socket->in = must(malloc(TLS_IN_BYTES));
    if (socket->in_from > 0) {
        memmove(socket->in, socket->in + socket->in_from, tls_socket_received(socket));
        socket->in_to -= socket->in_from;
        socket->in_from = 0;
    }
    n = tls_socket_read(socket, socket->in + socket->in_to, TLS_IN_BYTES - socket->in_to);
    if (n > 0)
        socket->in_to += (size_t)n;
    return n;
}

bool tls_socket_discard(struct tls_socket *socket)
{
    uint8_t scratch[4096];
    size_t bytes = 0;

    socket->in_from = socket->in_to = 0;
    while (bytes < DISCARD_TURN_BYTES) {
        ssize_t n = tls_socket_read(socket, scratch, sizeof scratch);

        if (n == -EAGAIN)
            return true;
        if (n <= 0) {
            socket->got_end = true;
            return true;
        }
        bytes += (size_t)n;
    }
    return false;
}

/* --- The library's --- */

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct tls_socket *socket = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    memcpy(tls_socket_reserve(socket, (size_t)len), bytes, (size_t)len);
    tls_socket_commit(socket, (size_t)len);
    if (!socket->blocked && tls_socket_flush(socket, false) < 0)
        return -1;
    return len;
}

static int bio_read(BIO *bio, char *bytes, int len)
{
    struct tls_socket *socket = BIO_get_data(bio);
    ssize_t n = tls_socket_read(socket, bytes, (size_t)len);

    BIO_clear_retry_flags(bio);
    if (n == -EAGAIN)
        BIO_set_retry_read(bio);
    return n < 0 ? -1 : (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    const struct tls_socket *socket = BIO_get_data(bio);

    (void)number, (void)pointer;
    if (command == BIO_CTRL_FLUSH)
        return 1;
    if (command == BIO_CTRL_EOF)
        return socket->got_end;
    return 0;
}

int tls_socket_attach(struct tls_socket *socket, struct ssl_st *ssl)
{
    BIO *bio = NULL;

    socket->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "adit");
    if (socket->method && BIO_meth_set_write(socket->method, bio_write) &&
        BIO_meth_set_read(socket->method, bio_read) && BIO_meth_set_ctrl(socket->method, bio_ctrl))
        bio = BIO_new(socket->method);
    if (!bio) {
        ERR_clear_error();
        return -ENOMEM;
    }
    BIO_set_data(bio, socket);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    return 0;
}
