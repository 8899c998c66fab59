/* SPDX-License-Identifier: MIT */
/*
 * TLS handshakes: one connection's, over a tls_socket, step by step as input arrives; and what it
 * leaves: the peer's identity, the keys, exporters.
 */
#ifndef ADIT_CRYPTO_TLS_HANDSHAKE_H
#define ADIT_CRYPTO_TLS_HANDSHAKE_H

#include "crypto/tls_context.h"
#include "crypto/tls_socket.h"

struct tls_handshake {
    struct ssl_st *ssl; /* NULL: not begun */
    struct tls_secrets secrets;
};

/* Begins as a client, which refuses any peer but `expected`, or as a server (NULL). Neither moves
 * while in use. 0 or -ENOMEM. */
int tls_handshake_begin(struct tls_handshake *handshake, struct tls_context *context,
                        struct tls_socket *socket, const struct node_id *expected);
/* Goes on as far as the input goes. 1: done, *peer and the keys are set; 0: waits for input;
 * ADIT_EAUTH: the peer has another key; ADIT_ETRUNC: it went away; ADIT_EPROTO, a negated errno of
 * the socket, or ADIT_ECRYPTO. */
int tls_handshake_step(struct tls_handshake *handshake, struct tls_socket *socket,
                       struct node_id *peer, struct tls_key *seal, struct tls_key *open);
/* RFC 8446 7.5, once done. 0 or ADIT_ECRYPTO. */
int tls_handshake_export(struct tls_handshake *handshake, const char *label, const void *context,
                         size_t context_len, void *out, size_t len);
/* Before the socket is freed. A zeroed one is fine. */
void tls_handshake_free(struct tls_handshake *handshake);

#endif
