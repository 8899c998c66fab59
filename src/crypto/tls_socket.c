/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The library's own socket BIO costs two reads a record (five bytes of header, then the body), and
 * its read-ahead moves all that it holds at every record. So this BIO reads the body into the
 * library's buffer and in the same call a little more into `ahead`: of large records just the next
 * header (no byte is copied twice), of small ones up to TLS_AHEAD_BYTES. A short read means that
 * the socket is empty, unless the peer has closed.
 *
 * Writing never refuses. Small records that others follow are gathered in `pending`; anything else
 * goes out together with what is pending, in one sendmsg(), with MSG_MORE if others follow. What
 * the kernel does not take stays in `pending`, and the socket is `blocked`. Its owner writes no
 * more then: `pending` holds at most one record and what was gathered before it, unless the library
 * writes on its own (an alert, a key update).
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

#define RECORD_HEADER_BYTES 5    /* RFC 8446 5.1 */
#define LARGE_BYTES         8192 /* a record is sent, and read, by itself from here on */
#define DISCARD_TURN_BYTES  (256 * 1024)

void tls_socket_init(struct tls_socket *socket, int fd)
{
    memset(socket, 0, sizeof *socket);
    socket->fd = fd;
}

void tls_socket_free(struct tls_socket *socket)
{
    BIO_meth_free(socket->method);
    free(socket->pending);
    socket->method = NULL;
    socket->pending = NULL;
}

/* --- Writing --- */

void tls_socket_append(struct tls_socket *socket, const void *bytes, size_t len)
{
    if (socket->pending_from > 0) {
        memmove(socket->pending, socket->pending + socket->pending_from,
                tls_socket_pending(socket));
        socket->pending_to -= socket->pending_from;
        socket->pending_from = 0;
    }
    if (socket->pending_to + len > socket->pending_cap) {
        size_t cap = socket->pending_to + len + LARGE_BYTES;
        uint8_t *grown = realloc(socket->pending, cap);

        if (!grown)
            abort(); /* as blocks do, see base/slice.h */
        socket->pending = grown;
        socket->pending_cap = cap;
    }
    memcpy(socket->pending + socket->pending_to, bytes, len);
    socket->pending_to += len;
}

/* Sends what is pending and then these bytes; keeps what the kernel does not take. 0 or a negated
 * errno. */
static int socket_send(struct tls_socket *socket, const void *bytes, size_t len, bool more)
{
    size_t before = tls_socket_pending(socket);
    struct iovec iov[2] = {{before ? socket->pending + socket->pending_from : NULL, before},
                           {(void *)(uintptr_t)bytes, len}};
    struct msghdr msg = {.msg_iov = before ? iov : iov + 1, .msg_iovlen = before && len ? 2 : 1};
    size_t sent;
    ssize_t n;

    do {
        n = sendmsg(socket->fd, &msg, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        socket->error = errno;
        return -errno;
    }
    sent = n > 0 ? (size_t)n : 0;
    socket->blocked = sent < before + len;
    if (sent < before) {
        socket->pending_from += sent;
        sent = 0;
    } else {
        socket->pending_from = socket->pending_to = 0;
        sent -= before;
    }
    if (sent < len)
        tls_socket_append(socket, (const uint8_t *)bytes + sent, len - sent);
    return 0;
}

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct tls_socket *socket = BIO_get_data(bio);
    size_t size = (size_t)len;

    BIO_clear_retry_flags(bio);
    if (socket->error)
        return -1;
    if (socket->blocked || (socket->more && size + tls_socket_pending(socket) < LARGE_BYTES))
        tls_socket_append(socket, bytes, size);
    else if (socket_send(socket, bytes, size, socket->more) < 0)
        return -1;
    return len;
}

int tls_socket_flush(struct tls_socket *socket, bool more)
{
    return tls_socket_pending(socket) ? socket_send(socket, NULL, 0, more) : 0;
}

void tls_socket_push(struct tls_socket *socket)
{
    int one = 1;

    /* Setting it again sends what is held back; see TCP_NODELAY in tcp(7). */
    setsockopt(socket->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* --- Reading --- */

/* Reads up to size bytes, and some more into `ahead`. Bytes, 0 at the end of file, -1 and errno. */
static ssize_t socket_read(struct tls_socket *socket, void *bytes, size_t size)
{
    struct iovec iov[2] = {
        {bytes, size},
        {socket->ahead, size < LARGE_BYTES ? sizeof socket->ahead : RECORD_HEADER_BYTES}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n;

    do {
        n = recvmsg(socket->fd, &msg, 0);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n;
    if ((size_t)n < size + iov[1].iov_len && !socket->peer_closed)
        socket->readable = false;
    socket->ahead_from = 0;
    socket->ahead_to = (size_t)n > size ? (size_t)n - size : 0;
    return (size_t)n > size ? (ssize_t)size : n;
}

static int bio_read(BIO *bio, char *bytes, int len)
{
    struct tls_socket *socket = BIO_get_data(bio);
    size_t have = socket->ahead_to - socket->ahead_from;
    ssize_t n;

    BIO_clear_retry_flags(bio);
    if (have > 0) {
        size_t fit = have < (size_t)len ? have : (size_t)len;

        memcpy(bytes, socket->ahead + socket->ahead_from, fit);
        socket->ahead_from += fit;
        return (int)fit;
    }
    if (!socket->readable) {
        BIO_set_retry_read(bio);
        return -1;
    }
    n = socket_read(socket, bytes, (size_t)len);
    if (n < 0 && errno == EAGAIN) {
        socket->readable = false;
        BIO_set_retry_read(bio);
    } else if (n < 0) {
        socket->error = errno;
    } else if (n == 0) {
        socket->got_end = true;
    }
    return (int)n;
}

ssize_t tls_socket_read_plain(struct tls_socket *socket, size_t max)
{
    ssize_t n;

    do {
        n = recv(socket->fd, socket->ahead + socket->ahead_to, max - socket->ahead_to, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        if (errno == EAGAIN)
            socket->readable = false;
        return -errno;
    }
    socket->ahead_to += (size_t)n;
    return n;
}

bool tls_socket_discard(struct tls_socket *socket)
{
    uint8_t scratch[TLS_AHEAD_BYTES];
    size_t bytes = 0;

    socket->ahead_from = socket->ahead_to = 0;
    while (bytes < DISCARD_TURN_BYTES) {
        ssize_t n = recv(socket->fd, scratch, sizeof scratch, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            socket->readable = false;
            return true;
        }
        if (n <= 0) {
            socket->got_end = true;
            return true;
        }
        bytes += (size_t)n;
    }
    return false;
}

/* --- The BIO --- */

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
