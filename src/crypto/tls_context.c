/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * TLS 1.3 only (RFC 8446), X25519, Ed25519. Both sides show a self-signed certificate of their node
 * key. A certificate is a wrapper for that key here and nothing else: its names, dates and
 * extensions are not looked at, so a wrong clock does not matter; it is made anew at each start,
 * valid from 1970 to 9999 (RFC 5280 4.1.2.5: "no well-defined expiration"). Verification is ours
 * entirely: the subject's key must be Ed25519 and the certificate signed by it, and a client wants
 * one certain key. That the peer holds the private half is what TLS's CertificateVerify proves.
 * Whether a server's client may do anything is decided by who asked for the connection, by
 * tls_context_peer().
 *
 * No resumption: no tickets, no session cache, no early data, so no state outlives a connection and
 * nothing can be replayed. AES-128-GCM goes first on a processor that has instructions for it, else
 * ChaCha20; a server follows a client that puts ChaCha20 first (its processor is the one without).
 *
 * Limits: a peer's certificate list of PEER_CERT_MAX_BYTES.
 */
#include "crypto/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#if defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>
#endif

#include "base/err.h"
#include "base/log.h"
#include "crypto/hash.h"
#include "crypto/identity_int.h"

#define PEER_CERT_MAX_BYTES 4096

struct tls_context {
    const struct identity *identity;
    SSL_CTX *client, *server;
};

static bool cpu_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
    return (getauxval(AT_HWCAP) & (1UL << 3)) != 0; /* HWCAP_AES */
#elif defined(__arm__)
    return (getauxval(AT_HWCAP2) & (1UL << 0)) != 0; /* HWCAP2_AES */
#else
    return false;
#endif
}

/* The certificate of a node key. NULL: the library failed. */
static X509 *make_certificate(const struct identity *identity)
{
    X509 *cert = X509_new();
    X509_NAME *name;

    if (!cert)
        return NULL;
    name = X509_get_subject_name(cert);
    if (X509_set_version(cert, X509_VERSION_3) != 1 ||
        ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) != 1 ||
        ASN1_TIME_set_string_X509(X509_getm_notBefore(cert), "19700101000000Z") != 1 ||
        ASN1_TIME_set_string_X509(X509_getm_notAfter(cert), "99991231235959Z") != 1 ||
        /* The same for everybody: a passive observer sees no certificate in TLS 1.3, a name would
           tell nothing new. */
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"adit", -1, -1,
                                   0) != 1 ||
        X509_set_issuer_name(cert, name) != 1 ||
        X509_set_pubkey(cert, identity_key(identity)) != 1 ||
        X509_sign(cert, identity_key(identity), NULL) == 0) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

/* Reads the key out of a valid self-signed certificate. 0 or ADIT_EAUTH. */
static int certificate_id(X509 *cert, struct node_id *id)
{
    EVP_PKEY *key = cert ? X509_get0_pubkey(cert) : NULL;
    size_t len = sizeof id->key;

    if (!key || EVP_PKEY_get_id(key) != EVP_PKEY_ED25519 || X509_verify(cert, key) != 1 ||
        EVP_PKEY_get_raw_public_key(key, id->key, &len) != 1 || len != sizeof id->key)
        return ADIT_EAUTH;
    return 0;
}

/* Called by the library in place of its own verification of chains. */
static int verify_peer(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tls_secrets *secrets = SSL_get_app_data(ssl);
    struct node_id id;

    (void)arg;
    if (certificate_id(X509_STORE_CTX_get0_cert(store), &id) == 0 &&
        (!secrets->has_expected || node_id_equal(&id, &secrets->expected))) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Called by the library with each secret of a handshake, as a line of the key log format: label,
 * client random, secret; the last in hexadecimal. It is the library's only way to give them out.
 * They go into tls_secrets and nowhere else. */
static void take_secret(const SSL *ssl, const char *line)
{
    static const char *const labels[] = {"CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};
    struct tls_secrets *secrets = SSL_get_app_data(ssl);

    for (int which = 0; which < 2; which++) {
        const char *hex = strrchr(line, ' ');
        uint8_t *secret = secrets->secret[which];

        if (strncmp(line, labels[which], strlen(labels[which])) != 0 ||
            strlen(++hex) != 2 * TLS_SECRET_BYTES)
            continue;
        for (size_t i = 0; i < TLS_SECRET_BYTES; i++)
            secret[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
        secrets->have |= 1u << which;
    }
}

static SSL_CTX *make_ssl_context(const SSL_METHOD *method, const struct identity *identity,
                                 X509 *cert)
{
    SSL_CTX *ssl = SSL_CTX_new(method);
    const char *suites = cpu_has_aes() ? "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
                                       : "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";

    if (!ssl)
        return NULL;
    if (SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(ssl, suites) != 1 ||
        SSL_CTX_set1_groups_list(ssl, "X25519") != 1 ||
        SSL_CTX_set1_sigalgs_list(ssl, "ed25519") != 1 || SSL_CTX_use_certificate(ssl, cert) != 1 ||
        SSL_CTX_use_PrivateKey(ssl, identity_key(identity)) != 1 ||
        SSL_CTX_set_num_tickets(ssl, 0) != 1) {
        SSL_CTX_free(ssl);
        return NULL;
    }
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(ssl, PEER_CERT_MAX_BYTES);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_cert_verify_callback(ssl, verify_peer, NULL);
    SSL_CTX_set_keylog_callback(ssl, take_secret);
    return ssl;
}

struct tls_context *tls_context_new(const struct identity *identity)
{
    struct tls_context *context = calloc(1, sizeof *context);
    X509 *cert = make_certificate(identity);

    if (context && cert) {
        context->identity = identity;
        context->client = make_ssl_context(TLS_client_method(), identity, cert);
        context->server = make_ssl_context(TLS_server_method(), identity, cert);
    }
    X509_free(cert);
    if (!context || !context->client || !context->server) {
        char text[160];

        ERR_error_string_n(ERR_peek_error(), text, sizeof text);
        log_error("tls: cannot set up error=\"%s\"", text);
        ERR_clear_error();
        tls_context_free(context);
        return NULL;
    }
    return context;
}

void tls_context_free(struct tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->client);
    SSL_CTX_free(context->server);
    free(context);
}

const struct identity *tls_context_identity(const struct tls_context *context)
{
    return context->identity;
}

static SSL *new_connection(SSL_CTX *ctx, struct tls_secrets *secrets)
{
    SSL *ssl = SSL_new(ctx);

    memset(secrets, 0, sizeof *secrets);
    if (ssl)
        SSL_set_app_data(ssl, secrets);
    else
        ERR_clear_error();
    return ssl;
}

struct ssl_st *tls_context_client(struct tls_context *context, const struct node_id *expected,
                                  struct tls_secrets *secrets)
{
    SSL *ssl = new_connection(context->client, secrets);

    secrets->has_expected = true;
    secrets->expected = *expected;
    if (ssl)
        SSL_set_connect_state(ssl);
    return ssl;
}

struct ssl_st *tls_context_server(struct tls_context *context, struct tls_secrets *secrets)
{
    SSL *ssl = new_connection(context->server, secrets);

    if (ssl)
        SSL_set_accept_state(ssl);
    return ssl;
}

int tls_context_keys(struct ssl_st *ssl, struct tls_secrets *secrets, struct tls_key *seal,
                     struct tls_key *open)
{
    enum tls_suite suite = (enum tls_suite)SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl));
    int result = ADIT_ECRYPTO, server = SSL_is_server(ssl);

    if (secrets->have == 3)
        result = tls_key_init(seal, suite, secrets->secret[server], true);
    if (result == 0)
        result = tls_key_init(open, suite, secrets->secret[!server], false);
    hash_wipe(secrets->secret, sizeof secrets->secret);
    secrets->have = 0;
    return result;
}

int tls_context_peer(struct ssl_st *ssl, struct node_id *id)
{
    int result = certificate_id(SSL_get0_peer_certificate(ssl), id);

    ERR_clear_error();
    return result;
}

int tls_context_failure(struct ssl_st *ssl)
{
    return SSL_get_verify_result(ssl) == X509_V_ERR_APPLICATION_VERIFICATION ? ADIT_EAUTH
                                                                             : ADIT_ECRYPTO;
}
