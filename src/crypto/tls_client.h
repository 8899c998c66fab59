/* SPDX-License-Identifier: MIT */
/*
 * TLS clients: connections to ordinary servers, which prove their names by certificates of
 * authorities that this machine trusts, or of those in a file; TLS 1.2 or later. Bytes only: what
 * is received is fed in, what is to be sent is taken out (stun/secure.c does both).
 */
#ifndef ADIT_CRYPTO_TLS_CLIENT_H
#define ADIT_CRYPTO_TLS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_CLIENT_TEXT_MAX 160
#define TLS_CLIENT_NAME_MAX 253

struct tls_authority; /* whom to believe */
struct tls_client;    /* one connection */

/* ca_file: PEM certificates; NULL: the system's. NULL: it could not be read; why (may be NULL, else
 * TLS_CLIENT_TEXT_MAX bytes) says so in words. */
struct tls_authority *tls_authority_new(const char *ca_file, char *why);
/* Connections made from it may live on. */
void tls_authority_free(struct tls_authority *authority);

/* A connection to `name`: a host name (checked, and sent as SNI) or an IP address (checked). NULL:
 * no memory, or no such name. */
struct tls_client *tls_client_new(struct tls_authority *authority, const char *name);
void tls_client_free(struct tls_client *client); /* NULL: nothing */

/* Takes received bytes, all of them. 0 or -ENOMEM. */
int tls_client_feed(struct tls_client *client, const void *bytes, size_t len);
/* Goes on with the handshake. 1: done; 0: waits for input; ADIT_EAUTH: the server is not who it
 * should be; ADIT_EPROTO: it does not speak TLS as it should. */
int tls_client_handshake(struct tls_client *client);
/* Takes out up to len received bytes. How many; 0: none now; ADIT_ECLOSED: the server has finished;
 * ADIT_EPROTO. */
int tls_client_read(struct tls_client *client, void *bytes, size_t len);
/* Encrypts len bytes. 0 or ADIT_EPROTO. Only after the handshake. */
int tls_client_write(struct tls_client *client, const void *bytes, size_t len);
/* Says that nothing more will be sent. */
void tls_client_finish(struct tls_client *client);
/* Takes out up to len bytes that are to be sent; how many. To be called after each of the above. */
size_t tls_client_output(struct tls_client *client, void *bytes, size_t len);
/* The last failure, for people; the client's own. */
const char *tls_client_trouble(const struct tls_client *client);

#endif
