/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A seal is made for one recipient with an X25519 key of its own: the shared secret of that key and
 * the recipient's encrypts, and so hides who sends; an Ed25519 signature inside says who does. Node
 * keys are Ed25519 keys; what they agree with is their image on Curve25519 (the birational map of
 * RFC 7748 section 4.1), which libsodium computes, and with which it refuses points of low order
 * and what is no point at all. An agreement that comes to zero is refused by OpenSSL.
 *
 * What is checked, in the order of cost: form, the MAC that strangers cannot make (about 3 us), the
 * agreement and the tag, then the signature. The signature covers the recipient and the ephemeral
 * key, so that a recipient cannot pass a message on as if it had been meant for somebody else; name
 * and proof of the pass are covered by the tag.
 *
 * A pass is what two nodes derive from their static keys, one for each direction: it shows cheaply
 * who sends, to one who has looked up its name. The head crosses brokers in clear, so the pass
 * itself must not be in it: who has copied one could use up its holder's limit. Its name and a
 * proof that belongs to this one ephemeral key are: who copies those has the recipient see the same
 * ephemeral key twice.
 *
 * It promises: nobody but the recipient reads it, only the sender it names made it, any altered
 * byte is noticed. It does not promise freshness (a repeat opens like the first), nor secrecy once
 * the recipient's key is stolen: that is why messages carry nothing of lasting value but an
 * enrolment secret, which expires. Sizes are multiples of SEAL_PAD_BYTES, so that they say little.
 *
 * Pure functions but for the random ephemeral key. Secrets on the way are wiped, and the library's
 * error queue is left empty.
 */
#include "crypto/seal.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sodium/crypto_sign_ed25519.h>
#include <string.h>

#include "base/err.h"
#include "crypto/hash.h"
#include "crypto/identity_int.h"

#define SEAL_VERSION    1
#define MAC_BYTES       16
#define PROOF_BYTES     4
#define KEY_BYTES       32
#define TAG_BYTES       16
#define SIGNATURE_BYTES 64
#define LENGTH_BYTES    2

/* Offsets in the whole. */
#define MAC_AT       1
#define NAME_AT      (MAC_AT + MAC_BYTES)
#define PROOF_AT     (NAME_AT + SEAL_NAME_BYTES)
#define EPHEMERAL_AT SEAL_EPHEMERAL_AT
_Static_assert(PROOF_AT + PROOF_BYTES == EPHEMERAL_AT, "the head as seal.h draws it");
_Static_assert(EPHEMERAL_AT + KEY_BYTES == SEAL_HEAD_BYTES, "and its end");

/* Offsets in what is encrypted. */
#define SIGNATURE_AT NODE_ID_BYTES
#define LENGTH_AT    (SIGNATURE_AT + SIGNATURE_BYTES)
#define MESSAGE_AT   (LENGTH_AT + LENGTH_BYTES)
_Static_assert(SEAL_HEAD_BYTES + MESSAGE_AT + TAG_BYTES == SEAL_OVERHEAD_BYTES, "the overhead");
_Static_assert(SEAL_BYTES_MAX % SEAL_PAD_BYTES == 0, "the longest is padded too");

#define PLAIN_MAX (SEAL_BYTES_MAX - SEAL_HEAD_BYTES - TAG_BYTES)

/* Labels, without their NUL. */
static const char mac_label[] = "adit seal v1 mac";
static const char key_label[] = "adit seal v1";
static const char pass_label[] = "adit pass v1";
static const char sign_label[] = "adit seal v1 sign";
#define LABEL_LEN(label) (sizeof(label) - 1)
#define SIGNED_MAX       (LABEL_LEN(sign_label) + NODE_ID_BYTES + KEY_BYTES + LENGTH_BYTES)

/* Why it failed is in the library's queue, where it would be taken for somebody else's. */
static int crypto_failed(int error)
{
    ERR_clear_error();
    return error;
}

/* --- The head --- */

static int seal_mac(const struct node_id *to, const uint8_t *bytes, size_t len,
                    uint8_t mac[MAC_BYTES])
{
    uint8_t input[LABEL_LEN(mac_label) + NODE_ID_BYTES];
    uint8_t key[HASH_BYTES], full[HASH_BYTES];
    int result;

    memcpy(input, mac_label, LABEL_LEN(mac_label));
    memcpy(input + LABEL_LEN(mac_label), to->key, NODE_ID_BYTES);
    result = hash_sha256(input, sizeof(input), key);
    if (result == 0)
        result = hash_hmac_sha256(key, sizeof(key), bytes + NAME_AT, len - NAME_AT, full);
    if (result == 0)
        memcpy(mac, full, MAC_BYTES);
    return result;
}

int seal_check(const struct node_id *own, const uint8_t *bytes, size_t len,
               uint8_t name[SEAL_NAME_BYTES])
{
    uint8_t mac[MAC_BYTES];
    int result;

    if (len < SEAL_OVERHEAD_BYTES || len > SEAL_BYTES_MAX || len % SEAL_PAD_BYTES != 0 ||
        bytes[0] != SEAL_VERSION)
        return ADIT_EFORMAT;
    result = seal_mac(own, bytes, len, mac);
    if (result < 0)
        return result;
    if (!hash_equal(mac, bytes + MAC_AT, MAC_BYTES))
        return ADIT_EAUTH;
    memcpy(name, bytes + NAME_AT, SEAL_NAME_BYTES);
    return 0;
}

static int seal_proof(const uint8_t *ephemeral, const uint8_t pass[SEAL_PASS_BYTES],
                      uint8_t proof[PROOF_BYTES])
{
    uint8_t full[HASH_BYTES];
    int result = hash_hmac_sha256(pass + SEAL_NAME_BYTES, SEAL_PASS_BYTES - SEAL_NAME_BYTES,
                                  ephemeral, KEY_BYTES, full);

    if (result == 0)
        memcpy(proof, full, PROOF_BYTES);
    return result;
}

bool seal_is_proven(const uint8_t *bytes, const uint8_t pass[SEAL_PASS_BYTES])
{
    uint8_t proof[PROOF_BYTES];

    return hash_equal(bytes + NAME_AT, pass, SEAL_NAME_BYTES) &&
           seal_proof(bytes + EPHEMERAL_AT, pass, proof) == 0 &&
           hash_equal(bytes + PROOF_AT, proof, PROOF_BYTES);
}

/* The head but for the MAC; the ephemeral key is in its place already. */
static int seal_head(uint8_t *out, const uint8_t pass[SEAL_PASS_BYTES])
{
    static const uint8_t none[SEAL_PASS_BYTES];

    out[0] = SEAL_VERSION;
    memset(out + NAME_AT, 0, SEAL_NAME_BYTES + PROOF_BYTES);
    if (!pass || memcmp(pass, none, sizeof(none)) == 0)
        return 0;
    memcpy(out + NAME_AT, pass, SEAL_NAME_BYTES);
    return seal_proof(out + EPHEMERAL_AT, pass, out + PROOF_AT);
}

/* --- The key --- */

/* ADIT_EAUTH: the other's key is of low order. */
static int seal_agree(EVP_PKEY *own, const uint8_t other[KEY_BYTES], uint8_t shared[KEY_BYTES])
{
    size_t shared_len = KEY_BYTES;
    int result = ADIT_ECRYPTO;
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, other, KEY_BYTES);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);

    if (peer && ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, peer) == 1)
        result = EVP_PKEY_derive(ctx, shared, &shared_len) == 1 && shared_len == KEY_BYTES
                     ? 0
                     : ADIT_EAUTH;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(peer);
    return result < 0 ? crypto_failed(result) : 0;
}

/* HKDF (RFC 5869) of one block; label: the salt; the info is two keys. */
static int seal_derive(const char *label, const uint8_t shared[KEY_BYTES],
                       const uint8_t first[KEY_BYTES], const uint8_t second[KEY_BYTES],
                       uint8_t key[HASH_BYTES])
{
    uint8_t extracted[HASH_BYTES], info[2 * KEY_BYTES + 1];
    int result = hash_hmac_sha256(label, strlen(label), shared, KEY_BYTES, extracted);

    memcpy(info, first, KEY_BYTES);
    memcpy(info + KEY_BYTES, second, KEY_BYTES);
    info[sizeof(info) - 1] = 1;
    if (result == 0)
        result = hash_hmac_sha256(extracted, sizeof(extracted), info, sizeof(info), key);
    OPENSSL_cleanse(extracted, sizeof(extracted));
    return result;
}

/* The key of one seal, from either side: own secret and the other's public key. */
static int seal_key(EVP_PKEY *own, const uint8_t other[KEY_BYTES],
                    const uint8_t ephemeral[KEY_BYTES], const struct node_id *to,
                    uint8_t key[KEY_BYTES])
{
    uint8_t shared[KEY_BYTES];
    int result = seal_agree(own, other, shared);

    if (result == 0)
        result = seal_derive(key_label, shared, ephemeral, to->key, key);
    OPENSSL_cleanse(shared, sizeof(shared));
    return result;
}

int seal_passes(const struct identity *own, const struct node_id *peer,
                uint8_t theirs[SEAL_PASS_BYTES], uint8_t ours[SEAL_PASS_BYTES])
{
    uint8_t other[KEY_BYTES], shared[KEY_BYTES], in[HASH_BYTES] = {0}, out[HASH_BYTES] = {0};
    const struct node_id *self = identity_id(own);
    int result = ADIT_ECRYPTO;

    if (crypto_sign_ed25519_pk_to_curve25519(other, peer->key) == 0 &&
        seal_agree(identity_exchange_key(own), other, shared) == 0 &&
        seal_derive(pass_label, shared, peer->key, self->key, in) == 0)
        result = seal_derive(pass_label, shared, self->key, peer->key, out);
    memcpy(theirs, in, SEAL_PASS_BYTES);
    memcpy(ours, out, SEAL_PASS_BYTES);
    OPENSSL_cleanse(shared, sizeof(shared));
    OPENSSL_cleanse(in, sizeof(in));
    OPENSSL_cleanse(out, sizeof(out));
    return result;
}

/* Encrypts or decrypts the inside; head is bytes 0 to SEAL_HEAD_BYTES, tag is written or compared.
 * ADIT_EAUTH: the tag is wrong. */
static int seal_crypt(bool encrypt, const uint8_t key[KEY_BYTES], const uint8_t *head,
                      const uint8_t *from, size_t len, uint8_t *to, uint8_t tag[TAG_BYTES])
{
    static const uint8_t nonce[12];
    int part, result = ADIT_ECRYPTO;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

    if (!ctx ||
        EVP_CipherInit_ex(ctx, EVP_chacha20_poly1305(), NULL, key, nonce, encrypt ? 1 : 0) != 1 ||
        EVP_CipherUpdate(ctx, NULL, &part, head, MAC_AT) != 1 ||
        EVP_CipherUpdate(ctx, NULL, &part, head + NAME_AT, SEAL_HEAD_BYTES - NAME_AT) != 1 ||
        EVP_CipherUpdate(ctx, to, &part, from, (int)len) != 1 || part != (int)len)
        goto out;
    if (!encrypt && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) != 1)
        goto out;
    result = EVP_CipherFinal_ex(ctx, to + len, &part) == 1 ? 0 : ADIT_EAUTH;
    if (result == 0 && encrypt &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag) != 1)
        result = ADIT_ECRYPTO;
out:
    EVP_CIPHER_CTX_free(ctx);
    return result < 0 ? crypto_failed(result) : 0;
}

/* --- The signature --- */

/* What is signed; length and message lie together in the inside. Returns its length. */
static size_t seal_signed(const struct node_id *to, const uint8_t ephemeral[KEY_BYTES],
                          const uint8_t *length_and_message, size_t message_len,
                          uint8_t out[SIGNED_MAX + SEAL_MESSAGE_MAX])
{
    uint8_t *at = out;

    memcpy(at, sign_label, LABEL_LEN(sign_label));
    at += LABEL_LEN(sign_label);
    memcpy(at, to->key, NODE_ID_BYTES);
    at += NODE_ID_BYTES;
    memcpy(at, ephemeral, KEY_BYTES);
    at += KEY_BYTES;
    memcpy(at, length_and_message, LENGTH_BYTES + message_len);
    return SIGNED_MAX + message_len;
}

static int seal_sign(const struct identity *from, const uint8_t *text, size_t len,
                     uint8_t signature[SIGNATURE_BYTES])
{
    size_t signature_len = SIGNATURE_BYTES;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, identity_key(from)) == 1 &&
                EVP_DigestSign(ctx, signature, &signature_len, text, len) == 1;

    EVP_MD_CTX_free(ctx);
    return good ? 0 : crypto_failed(ADIT_ECRYPTO);
}

static int seal_verify(const struct node_id *from, const uint8_t *text, size_t len,
                       const uint8_t signature[SIGNATURE_BYTES])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, from->key, NODE_ID_BYTES);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = false;

    if (key && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) == 1)
        good = EVP_DigestVerify(ctx, signature, SIGNATURE_BYTES, text, len) == 1;
    EVP_MD_CTX_free(ctx);
    EVP_PKEY_free(key);
    return good ? 0 : crypto_failed(ADIT_EAUTH);
}

/* --- Whole seals --- */

int seal_build_with(const struct identity *from, const struct node_id *to,
                    const uint8_t pass[SEAL_PASS_BYTES], const uint8_t ephemeral[32],
                    const void *message, size_t len, uint8_t out[SEAL_BYTES_MAX])
{
    uint8_t plain[PLAIN_MAX] = {0}, text[SIGNED_MAX + SEAL_MESSAGE_MAX];
    uint8_t key[KEY_BYTES], recipient[KEY_BYTES];
    size_t public_len = KEY_BYTES, total, plain_len;
    EVP_PKEY *secret = NULL;
    int result = ADIT_ECRYPTO;

    if (len > SEAL_MESSAGE_MAX)
        return -EMSGSIZE;
    total = (SEAL_OVERHEAD_BYTES + len + SEAL_PAD_BYTES - 1) / SEAL_PAD_BYTES * SEAL_PAD_BYTES;
    plain_len = total - SEAL_HEAD_BYTES - TAG_BYTES;
    secret = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, ephemeral, KEY_BYTES);
    if (!secret || crypto_sign_ed25519_pk_to_curve25519(recipient, to->key) != 0 ||
        EVP_PKEY_get_raw_public_key(secret, out + EPHEMERAL_AT, &public_len) != 1)
        goto out;
    memcpy(plain, identity_id(from)->key, NODE_ID_BYTES);
    plain[LENGTH_AT] = (uint8_t)(len >> 8);
    plain[LENGTH_AT + 1] = (uint8_t)len;
    if (len > 0)
        memcpy(plain + MESSAGE_AT, message, len);
    result = seal_head(out, pass);
    if (result == 0)
        result =
            seal_sign(from, text, seal_signed(to, out + EPHEMERAL_AT, plain + LENGTH_AT, len, text),
                      plain + SIGNATURE_AT);
    if (result == 0)
        result = seal_key(secret, recipient, out + EPHEMERAL_AT, to, key);
    if (result == 0)
        result = seal_crypt(true, key, out, plain, plain_len, out + SEAL_HEAD_BYTES,
                            out + SEAL_HEAD_BYTES + plain_len);
    if (result == 0)
        result = seal_mac(to, out, total, out + MAC_AT);
    OPENSSL_cleanse(key, sizeof(key));
    OPENSSL_cleanse(plain, sizeof(plain));
    OPENSSL_cleanse(text, sizeof(text));
out:
    EVP_PKEY_free(secret);
    return result < 0 ? crypto_failed(ADIT_ECRYPTO) : (int)total;
}

int seal_build(const struct identity *from, const struct node_id *to,
               const uint8_t pass[SEAL_PASS_BYTES], const void *message, size_t len,
               uint8_t out[SEAL_BYTES_MAX])
{
    uint8_t ephemeral[KEY_BYTES];
    int result;

    if (RAND_bytes(ephemeral, sizeof(ephemeral)) != 1)
        return crypto_failed(ADIT_ECRYPTO);
    result = seal_build_with(from, to, pass, ephemeral, message, len, out);
    OPENSSL_cleanse(ephemeral, sizeof(ephemeral));
    return result;
}

/* The inside, decrypted: whether its form is right, and its message's length. */
static int parse_plain(const uint8_t *plain, size_t plain_len)
{
    size_t len = (size_t)plain[LENGTH_AT] << 8 | plain[LENGTH_AT + 1];

    if (len > plain_len - MESSAGE_AT)
        return ADIT_EFORMAT;
    for (size_t i = MESSAGE_AT + len; i < plain_len; i++)
        if (plain[i] != 0)
            return ADIT_EFORMAT;
    return (int)len;
}

int seal_open(const struct identity *own, const uint8_t *bytes, size_t len, struct node_id *from,
              uint8_t *message)
{
    uint8_t plain[PLAIN_MAX], text[SIGNED_MAX + SEAL_MESSAGE_MAX];
    uint8_t key[KEY_BYTES], name[SEAL_NAME_BYTES], tag[TAG_BYTES];
    const struct node_id *to = identity_id(own);
    const uint8_t *ephemeral = bytes + EPHEMERAL_AT;
    struct node_id sender;
    size_t plain_len;
    int result = seal_check(to, bytes, len, name);

    if (result < 0)
        return result;
    plain_len = len - SEAL_HEAD_BYTES - TAG_BYTES;
    memcpy(tag, bytes + SEAL_HEAD_BYTES + plain_len, TAG_BYTES);
    result = seal_key(identity_exchange_key(own), ephemeral, ephemeral, to, key);
    if (result == 0)
        result = seal_crypt(false, key, bytes, bytes + SEAL_HEAD_BYTES, plain_len, plain, tag);
    OPENSSL_cleanse(key, sizeof(key));
    if (result < 0)
        goto out;
    result = parse_plain(plain, plain_len);
    if (result < 0)
        goto out;
    memcpy(sender.key, plain, NODE_ID_BYTES);
    size_t message_len = (size_t)result;
    result =
        seal_verify(&sender, text, seal_signed(to, ephemeral, plain + LENGTH_AT, message_len, text),
                    plain + SIGNATURE_AT);
    if (result < 0)
        goto out;
    *from = sender;
    memcpy(message, plain + MESSAGE_AT, message_len);
    result = (int)message_len;
out:
    OPENSSL_cleanse(plain, sizeof(plain));
    OPENSSL_cleanse(text, sizeof(text));
    return result;
}
