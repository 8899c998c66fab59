/* SPDX-License-Identifier: MIT */
/* Identity, for crypto/ only: the private keys in the crypto library's form. */
#ifndef ADIT_CRYPTO_IDENTITY_INT_H
#define ADIT_CRYPTO_IDENTITY_INT_H

#include <openssl/evp.h>

#include "crypto/identity.h"

/* The private key, still the identity's. */
EVP_PKEY *identity_key(const struct identity *identity);
/* Its image on Curve25519 (X25519), for agreements: still the identity's. */
EVP_PKEY *identity_exchange_key(const struct identity *identity);

#endif
