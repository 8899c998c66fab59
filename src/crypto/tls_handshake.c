/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The TLS library's part in a connection: it reads and writes the socket until the handshake is
 * done, gives out the secrets, and is kept only for exporters. Its error queue is empty between
 * calls.
 */
#include "crypto/tls_handshake.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"

int tls_handshake_begin(struct tls_handshake *handshake, struct tls_context *context,
                        struct tls_socket *socket, const struct node_id *expected)
{
    handshake->ssl = expected ? tls_context_client(context, expected, &handshake->secrets)
                              : tls_context_server(context, &handshake->secrets);
    return handshake->ssl ? tls_socket_attach(socket, handshake->ssl) : -ENOMEM;
}

/* Why it cannot go on, after result <= 0. 0: it waits for the socket. */
static int handshake_error(SSL *ssl, const struct tls_socket *socket, int result)
{
    int error = SSL_get_error(ssl, result), why;

    if (error == SSL_ERROR_WANT_READ)
        return 0;
    /* The peer's key first: telling the peer about it may have failed too. */
    if (tls_context_failure(ssl) == ADIT_EAUTH)
        why = ADIT_EAUTH;
    else if (socket->error)
        why = -socket->error;
    else if (socket->got_end || error == SSL_ERROR_ZERO_RETURN)
        why = ADIT_ETRUNC;
    else
        why = ADIT_EPROTO;
    if (log_enabled(LOG_DEBUG)) {
        const char *reason = ERR_reason_error_string(ERR_peek_error());

        log_debug("event=tls-handshake-failed fd=%d error=\"%s\" library=\"%s\"", socket->fd,
                  err_text(why), reason ? reason : "none");
    }
    ERR_clear_error();
    return why;
}

int tls_handshake_step(struct tls_handshake *handshake, struct tls_socket *socket,
                       struct node_id *peer, struct tls_key *seal, struct tls_key *open)
{
    int result = SSL_do_handshake(handshake->ssl);

    if (result != 1)
        return handshake_error(handshake->ssl, socket, result);
    result = tls_context_peer(handshake->ssl, peer);
    if (result == 0)
        result = tls_context_keys(handshake->ssl, &handshake->secrets, seal, open);
    return result == 0 ? 1 : result;
}

int tls_handshake_export(struct tls_handshake *handshake, const char *label, const void *context,
                         size_t context_len, void *out, size_t len)
{
    if (SSL_export_keying_material(handshake->ssl, out, len, label, strlen(label), context,
                                   context_len, 1) == 1)
        return 0;
    ERR_clear_error();
    return ADIT_ECRYPTO;
}

void tls_handshake_free(struct tls_handshake *handshake)
{
    SSL_free(handshake->ssl);
    hash_wipe(handshake, sizeof *handshake);
}
