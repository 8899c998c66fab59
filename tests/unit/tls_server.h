/* SPDX-License-Identifier: MIT */
/*
 * A TLS server of the tests: an authority of its own, certificates for the names that a test asks
 * for, and an echo over accepted TCP pipes. Everything in memory, but the authority's certificate,
 * which is given to clients as a file.
 */
#ifndef ADIT_TESTS_TLS_SERVER_H
#define ADIT_TESTS_TLS_SERVER_H

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "pipe/tcp.h"

struct test_ca {
    EVP_PKEY *key;
    X509 *cert;
    char file[64]; /* its certificate, PEM */
};

/* Signed by ca, or by itself (NULL). names: subjectAltName, "DNS:a,IP:127.0.0.1", or NULL. */
static inline X509 *test_certificate(EVP_PKEY *key, const struct test_ca *ca, const char *names,
                                     bool expired)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    X509_EXTENSION *extension;

    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ca ? 2 : 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -86400);
    X509_gmtime_adj(X509_getm_notAfter(cert), expired ? -3600 : 86400);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               (const unsigned char *)(ca ? "server" : "authority"), -1, -1, 0);
    X509_set_issuer_name(cert, ca ? X509_get_subject_name(ca->cert) : name);
    X509_set_pubkey(cert, key);
    extension = X509V3_EXT_conf_nid(NULL, NULL, ca ? NID_subject_alt_name : NID_basic_constraints,
                                    ca ? names : "critical,CA:TRUE");
    assert_non_null(extension);
    X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(cert, ca ? ca->key : key, EVP_sha256()) > 0);
    return cert;
}

static inline void test_ca_init(struct test_ca *ca)
{
    FILE *file;
    int fd;

    ca->key = EVP_EC_gen("P-256");
    ca->cert = test_certificate(ca->key, NULL, NULL, false);
    strcpy(ca->file, "/tmp/adit-test-ca-XXXXXX");
    fd = mkstemp(ca->file);
    file = fdopen(fd, "w");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, ca->cert), 1);
    fclose(file);
}

static inline void test_ca_free(struct test_ca *ca)
{
    unlink(ca->file);
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
}

/* Writes a server's key and certificate to files, for servers that are processes. */
static inline void test_ca_write(const struct test_ca *ca, const char *names, const char *key_file,
                                 const char *cert_file)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = test_certificate(key, ca, names, false);
    FILE *file = fopen(key_file, "w");

    assert_non_null(file);
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    file = fopen(cert_file, "w");
    assert_non_null(file);
    PEM_write_X509(file, cert);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
}

struct tls_server {
    SSL_CTX *ctx;
    struct pipe *listener, *client;
    SSL *ssl; /* of the last client */
    size_t received, records; /* of data, from all clients */
    int max_version;
    bool silent;   /* takes connections and says nothing */
    bool cuts;     /* closes TCP without TLS's end after the first data */
    bool finishes; /* says TLS's end after the first data */
    char sni[256]; /* the last client's */
};

static inline void tls_server_flush(struct tls_server *s)
{
    char bytes[16384];
    int len;

    while (s->client && (len = BIO_read(SSL_get_wbio(s->ssl), bytes, sizeof(bytes))) > 0)
        pipe_write_copy(s->client, bytes, (size_t)len);
}

static inline void tls_server_message(struct pipe *pipe, const struct slice *data,
                                      const struct addr *from, void *arg)
{
    struct tls_server *s = arg;
    char bytes[16384];
    int len;

    (void)from;
    if (pipe != s->client || s->silent)
        return;
    BIO_write(SSL_get_rbio(s->ssl), data->data, (int)data->len);
    while ((len = SSL_read(s->ssl, bytes, sizeof(bytes))) > 0) {
        s->received += (size_t)len;
        s->records++;
        SSL_write(s->ssl, bytes, len); /* an echo */
    }
    if (SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name))
        snprintf(s->sni, sizeof(s->sni), "%s",
                 SSL_get_servername(s->ssl, TLSEXT_NAMETYPE_host_name));
    if (s->finishes && s->received > 0)
        SSL_shutdown(s->ssl);
    tls_server_flush(s);
    if (s->cuts && s->received > 0)
        pipe_shutdown(s->client);
}

static inline void tls_server_end(struct pipe *pipe, int why, void *arg)
{
    struct tls_server *s = arg;

    (void)why;
    if (pipe == s->client)
        s->client = NULL;
    if (pipe == s->listener)
        s->listener = NULL;
}

static inline void tls_server_accept(struct pipe *server, struct pipe *client, void *arg)
{
    struct tls_server *s = arg;

    (void)server;
    SSL_free(s->ssl);
    s->client = client;
    s->ssl = SSL_new(s->ctx);
    SSL_set_bio(s->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(s->ssl);
    static const struct pipe_events client_events = {.message = tls_server_message,
                                                     .end = tls_server_end};
    pipe_add_listener(client, &client_events, s);
}

/* names as for test_certificate(). Listens at *at, whose port is filled in. */
static inline void tls_server_start(struct tls_server *s, struct loop *loop,
                                    const struct test_ca *ca, const char *names, bool expired,
                                    struct addr *at)
{
    static const struct pipe_events events = {.accept = tls_server_accept, .end = tls_server_end};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = test_certificate(key, ca, names, expired);

    s->ctx = SSL_CTX_new(TLS_server_method());
    if (s->max_version) {
        SSL_CTX_set_min_proto_version(s->ctx, TLS1_VERSION);
        SSL_CTX_set_max_proto_version(s->ctx, s->max_version);
        SSL_CTX_set_security_level(s->ctx, 0);
    }
    assert_int_equal(SSL_CTX_use_certificate(s->ctx, cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(s->ctx, key), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
    s->listener = tcp_listen(loop, at, NULL);
    assert_non_null(s->listener);
    pipe_add_listener(s->listener, &events, s);
    pipe_addrs(s->listener, at, NULL);
}

static inline void tls_server_stop(struct tls_server *s)
{
    if (s->listener)
        pipe_close(s->listener);
    SSL_free(s->ssl);
    s->ssl = NULL;
    SSL_CTX_free(s->ctx);
}

#endif
