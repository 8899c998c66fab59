/* SPDX-License-Identifier: MIT */
/*
 * TLS contexts: what all of a node's TLS connections have in common: its certificate, made from its
 * key, and how peers are verified.
 */
#ifndef ADIT_CRYPTO_TLS_CONTEXT_H
#define ADIT_CRYPTO_TLS_CONTEXT_H

#include <stdbool.h>

#include "crypto/identity.h"

struct ssl_st; /* SSL, of OpenSSL */
struct tls_context;

/* A context for this node's connections, as client and as server. The identity stays the caller's
 * and must outlive it. NULL: no memory, or the crypto library failed (logged). */
struct tls_context *tls_context_new(const struct identity *identity);
/* Connections made from it may live on. */
void tls_context_free(struct tls_context *context);
const struct identity *tls_context_identity(const struct tls_context *context);

/* A connection in its initial state, without BIOs; a client's refuses any peer but `expected`
 * (NULL, a server's: any valid key, which tls_context_peer() then tells). expected is not copied:
 * it must live as long as the handshake. NULL: no memory. Free with SSL_free(). */
struct ssl_st *tls_context_client(struct tls_context *context, const struct node_id *expected);
struct ssl_st *tls_context_server(struct tls_context *context);

/* The key that the peer has proven to hold, after the handshake. 0 or ADIT_EAUTH. */
int tls_context_peer(struct ssl_st *ssl, struct node_id *id);
/* Why a handshake failed: ADIT_EAUTH when it was because of the peer's key, else ADIT_ECRYPTO. */
int tls_context_failure(struct ssl_st *ssl);

#endif
