/* SPDX-License-Identifier: MIT */
/*
 * TLS contexts: what all of a node's TLS connections have in common: its certificate, made from its
 * key, and how peers are verified.
 */
#ifndef ADIT_CRYPTO_TLS_CONTEXT_H
#define ADIT_CRYPTO_TLS_CONTEXT_H

#include <stdbool.h>

#include "crypto/identity.h"
#include "crypto/tls_record.h"

struct ssl_st; /* SSL, of OpenSSL */
struct tls_context;

/* A context for this node's connections, as client and as server. The identity stays the caller's
 * and must outlive it. NULL: no memory, or the crypto library failed (logged). */
struct tls_context *tls_context_new(const struct identity *identity);
/* Connections made from it may live on. */
void tls_context_free(struct tls_context *context);
const struct identity *tls_context_identity(const struct tls_context *context);

/* What a connection's handshake needs to know and finds out. Its owner keeps it as long as the SSL
 * and frees it afterwards. */
struct tls_secrets {
    bool has_expected;
    struct node_id expected; /* a client's peer */
    unsigned have;           /* bits: which of them are known */
    /* Application traffic secrets: the client's, the server's. */
    uint8_t secret[2][TLS_SECRET_BYTES];
};

/* A connection in its initial state, without BIOs; a client's refuses any peer but `expected`; a
 * server's takes any valid key, which tls_context_peer() then tells. Sets up *secrets. NULL: no
 * memory. Free with SSL_free(). */
struct ssl_st *tls_context_client(struct tls_context *context, const struct node_id *expected,
                                  struct tls_secrets *secrets);
struct ssl_st *tls_context_server(struct tls_context *context, struct tls_secrets *secrets);

/* After the handshake: the keys of what follows, to send with and to receive with; the secrets in
 * *secrets are wiped. From then on the library's SSL_read(), SSL_write() and SSL_shutdown() must
 * not be used. 0 or ADIT_ECRYPTO. */
int tls_context_keys(struct ssl_st *ssl, struct tls_secrets *secrets, struct tls_key *seal,
                     struct tls_key *open);

/* The key that the peer has proven to hold, after the handshake. 0 or ADIT_EAUTH. */
int tls_context_peer(struct ssl_st *ssl, struct node_id *id);
/* Why a handshake failed: ADIT_EAUTH when it was because of the peer's key, else ADIT_ECRYPTO. */
int tls_context_failure(struct ssl_st *ssl);

#endif
