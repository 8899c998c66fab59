/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The TLS library works between two memory BIOs: one is fed with what has arrived, of the other
 * what is to be sent is taken. So it does no input or output, and its caller queues bytes in a pipe
 * as any other.
 *
 * The server's certificate must lead to a trusted authority and bear the name that was asked for; a
 * name that is an IP address is looked for among the certificate's addresses. Nothing is resumed;
 * there is no client certificate. Limits: what is fed is decrypted at once by the caller, so the
 * input BIO holds less than a record, and, while the reader has no room, what was fed last; the
 * output BIO holds what is not taken, which the caller does at once.
 */
#include "crypto/tls_client.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "base/err.h"

struct tls_authority {
    SSL_CTX *ctx;
};

struct tls_client {
    SSL *ssl;
    BIO *in, *out; /* the SSL's */
    char trouble[TLS_CLIENT_TEXT_MAX];
};

static void library_error(char text[TLS_CLIENT_TEXT_MAX], const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());

    snprintf(text, TLS_CLIENT_TEXT_MAX, "%s: %s", what, reason ? reason : "unknown");
    ERR_clear_error();
}

struct tls_authority *tls_authority_new(const char *ca_file, char *why)
{
    struct tls_authority *authority = calloc(1, sizeof(*authority));
    char unused[TLS_CLIENT_TEXT_MAX];
    int ok;

    if (!why)
        why = unused;
    snprintf(why, TLS_CLIENT_TEXT_MAX, "out of memory");
    if (!authority)
        return NULL;
    authority->ctx = SSL_CTX_new(TLS_client_method());
    ok = authority->ctx != NULL &&
         SSL_CTX_set_min_proto_version(authority->ctx, TLS1_2_VERSION) == 1 &&
         (ca_file ? SSL_CTX_load_verify_file(authority->ctx, ca_file)
                  : SSL_CTX_set_default_verify_paths(authority->ctx)) == 1;
    if (!ok) {
        char what[100];

        snprintf(what, sizeof(what), "cannot read certificates from %.60s",
                 ca_file ? ca_file : "the system's directory");
        library_error(why, what);
        tls_authority_free(authority);
        return NULL;
    }
    SSL_CTX_set_verify(authority->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(authority->ctx,
                        SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(authority->ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(authority->ctx, SSL_MODE_RELEASE_BUFFERS);
    return authority;
}

void tls_authority_free(struct tls_authority *authority)
{
    if (!authority)
        return;
    SSL_CTX_free(authority->ctx);
    free(authority);
}

/* Whom the server must prove to be. */
static bool expect_name(SSL *ssl, const char *name)
{
    struct addr addr;

    if (addr_parse_ip(name, &addr) == 0)
        return X509_VERIFY_PARAM_set1_ip(SSL_get0_param(ssl), addr.ip.bytes,
                                         addr_ip_bytes(&addr)) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

struct tls_client *tls_client_new(struct tls_authority *authority, const char *name)
{
    struct tls_client *client = calloc(1, sizeof(*client));

    if (!client || !name[0] || strlen(name) > TLS_CLIENT_NAME_MAX)
        goto fail;
    client->ssl = SSL_new(authority->ctx);
    client->in = BIO_new(BIO_s_mem());
    client->out = BIO_new(BIO_s_mem());
    if (!client->ssl || !client->in || !client->out) {
        BIO_free(client->in);
        BIO_free(client->out);
        goto fail;
    }
    SSL_set_bio(client->ssl, client->in, client->out);
    SSL_set_connect_state(client->ssl);
    if (expect_name(client->ssl, name))
        return client;
fail:
    ERR_clear_error();
    tls_client_free(client);
    return NULL;
}

void tls_client_free(struct tls_client *client)
{
    if (!client)
        return;
    SSL_free(client->ssl);
    free(client);
}

int tls_client_feed(struct tls_client *client, const void *bytes, size_t len)
{
    return len == 0 || BIO_write(client->in, bytes, (int)len) == (int)len ? 0 : -ENOMEM;
}

/* What a failed call means: 0: waits for input, or an error. */
static int failure(struct tls_client *client, int result, const char *what)
{
    long verified = SSL_get_verify_result(client->ssl);

    switch (SSL_get_error(client->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        ERR_clear_error();
        return 0;
    case SSL_ERROR_ZERO_RETURN:
        ERR_clear_error();
        return ADIT_ECLOSED;
    }
    if (verified != X509_V_OK) {
        snprintf(client->trouble, sizeof(client->trouble), "the server's certificate: %s",
                 X509_verify_cert_error_string(verified));
        ERR_clear_error();
        return ADIT_EAUTH;
    }
    library_error(client->trouble, what);
    return ADIT_EPROTO;
}

int tls_client_handshake(struct tls_client *client)
{
    int result;

    ERR_clear_error();
    result = SSL_do_handshake(client->ssl);
    if (result == 1)
        return 1;
    result = failure(client, result, "TLS handshake");
    return result == ADIT_ECLOSED ? ADIT_EPROTO : result;
}

int tls_client_read(struct tls_client *client, void *bytes, size_t len)
{
    int result;

    ERR_clear_error();
    result = SSL_read(client->ssl, bytes, (int)len);
    return result > 0 ? result : failure(client, result, "TLS");
}

int tls_client_write(struct tls_client *client, const void *bytes, size_t len)
{
    if (len == 0)
        return 0;
    ERR_clear_error();
    if (SSL_write(client->ssl, bytes, (int)len) == (int)len)
        return 0;
    library_error(client->trouble, "TLS");
    return ADIT_EPROTO;
}

void tls_client_finish(struct tls_client *client)
{
    ERR_clear_error();
    SSL_shutdown(client->ssl);
    ERR_clear_error();
}

size_t tls_client_output(struct tls_client *client, void *bytes, size_t len)
{
    int result = BIO_read(client->out, bytes, (int)len);

    return result > 0 ? (size_t)result : 0;
}

const char *tls_client_trouble(const struct tls_client *client)
{
    return client->trouble;
}
