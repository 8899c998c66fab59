/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * The private key lives in the file `key` of the state directory, PKCS#8 in PEM (what `openssl
 * genpkey -algorithm ed25519` writes, so that it can be made, inspected and backed up by common
 * tools). It is made at the first start: written whole to a temporary file of mode 0600, flushed,
 * and linked to its name, which fails when another process was quicker; then that one's key is
 * used. There is never a moment at which `key` exists and is incomplete.
 *
 * A key that group or others can read is refused rather than repaired: it may have been read
 * already, and only its owner can judge that. A file that is not a plain unencrypted Ed25519 key is
 * refused too, and never overwritten.
 *
 * Limits: a key file of KEY_FILE_MAX bytes. The buffers it passes through are wiped.
 */
#include "crypto/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sodium/crypto_sign_ed25519.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "crypto/base32.h"
#include "crypto/identity_int.h"

#define KEY_FILE_MAX 4096

struct identity {
    struct node_id id;
    EVP_PKEY *key;
    EVP_PKEY *exchange; /* its image on Curve25519 */
};

/* The X25519 key that goes with an Ed25519 secret (RFC 7748 section 4.1), made once: it is needed
 * for every seal that comes. NULL: no memory. */
static EVP_PKEY *exchange_key(const uint8_t secret[NODE_ID_BYTES], const struct node_id *id)
{
    uint8_t pair[crypto_sign_ed25519_SECRETKEYBYTES], scalar[NODE_ID_BYTES];
    EVP_PKEY *key = NULL;

    memcpy(pair, secret, NODE_ID_BYTES);
    memcpy(pair + NODE_ID_BYTES, id->key, NODE_ID_BYTES);
    if (crypto_sign_ed25519_sk_to_curve25519(scalar, pair) == 0)
        key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, scalar, sizeof scalar);
    OPENSSL_cleanse(pair, sizeof pair);
    OPENSSL_cleanse(scalar, sizeof scalar);
    return key;
}

/* Takes the key, whatever becomes of it. NULL: not an Ed25519 private key, or no memory. */
static struct identity *identity_from_key(EVP_PKEY *key)
{
    struct identity *identity = calloc(1, sizeof *identity);
    size_t len = NODE_ID_BYTES;
    uint8_t secret[NODE_ID_BYTES];
    size_t secret_len = sizeof secret;
    bool good = identity && key && EVP_PKEY_get_id(key) == EVP_PKEY_ED25519 &&
                EVP_PKEY_get_raw_public_key(key, identity->id.key, &len) == 1 &&
                len == NODE_ID_BYTES && EVP_PKEY_get_raw_private_key(key, secret, &secret_len) == 1;

    if (good)
        identity->exchange = exchange_key(secret, &identity->id);
    OPENSSL_cleanse(secret, sizeof secret);
    if (!good || !identity->exchange) {
        ERR_clear_error();
        EVP_PKEY_free(key);
        free(identity);
        return NULL;
    }
    identity->key = key;
    return identity;
}

struct identity *identity_generate(void)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    if (!key)
        ERR_clear_error();
    return key ? identity_from_key(key) : NULL;
}

struct identity *identity_from_secret(const uint8_t secret[NODE_ID_BYTES])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, secret, NODE_ID_BYTES);

    if (!key)
        ERR_clear_error();
    return key ? identity_from_key(key) : NULL;
}

void identity_free(struct identity *identity)
{
    if (!identity)
        return;
    EVP_PKEY_free(identity->exchange);
    EVP_PKEY_free(identity->key);
    free(identity);
}

const struct node_id *identity_id(const struct identity *identity)
{
    return &identity->id;
}

EVP_PKEY *identity_key(const struct identity *identity)
{
    return identity->key;
}

EVP_PKEY *identity_exchange_key(const struct identity *identity)
{
    return identity->exchange;
}

/* Makes a directory and its parents, those that are missing, readable by their owner only. */
static int make_directory(const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof part)
        return len == 0 ? -ENOENT : -ENAMETOOLONG;
    for (size_t i = 1; i <= len; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST) {
            int error = errno;
            struct stat st;

            /* A parent on a read-only file system, or one that we may not write to, exists all the
             * same. */
            if (stat(part, &st) < 0 || !S_ISDIR(st.st_mode))
                return -error;
        }
    }
    return 0;
}

/* An encrypted key would ask for its passphrase on the terminal; there may be none, and nobody at
 * it. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

/* Reads a key file. 0 and *out, or a negative error with a text; -ENOENT without one. */
static int read_key(const char *path, struct identity **out, char *errbuf, size_t errlen)
{
    char text[KEY_FILE_MAX];
    ssize_t len = 0;
    struct stat st;
    int result = 0;
    BIO *bio = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd < 0) {
        result = -errno;
        if (result != -ENOENT)
            snprintf(errbuf, errlen, "cannot open the key file %s: %s", path, strerror(-result));
        return result;
    }
    if (fstat(fd, &st) < 0) {
        result = -errno;
        snprintf(errbuf, errlen, "cannot examine the key file %s: %s", path, strerror(-result));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        result = ADIT_EFORMAT;
        snprintf(errbuf, errlen, "%s is not a regular file; move it away", path);
        goto out;
    }
    if (st.st_mode & 077) {
        result = -EPERM;
        snprintf(
            errbuf, errlen,
            "the private key %s can be read or written by others (mode %03o): if nobody can have"
            " copied it, run: chmod 600 '%s'; else remove it, and this node gets a new ID",
            path, (unsigned)st.st_mode & 0777, path);
        goto out;
    }
    do {
        ssize_t n = read(fd, text + len, sizeof text - (size_t)len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            result = -errno;
            snprintf(errbuf, errlen, "cannot read the key file %s: %s", path, strerror(-result));
            goto out;
        }
        if (n == 0)
            break;
        len += n;
    } while (len < (ssize_t)sizeof text);

    bio = BIO_new_mem_buf(text, (int)len);
    if (bio) {
        EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);

        *out = key ? identity_from_key(key) : NULL;
    }
    if (!bio || !*out) {
        result = ADIT_EFORMAT;
        snprintf(
            errbuf, errlen,
            "the key file %s does not hold an unencrypted Ed25519 private key: restore it from a"
            " backup, or remove it, and this node gets a new ID",
            path);
    }
out:
    BIO_free(bio);
    ERR_clear_error();
    OPENSSL_cleanse(text, sizeof text);
    close(fd);
    return result;
}

/* Gives a complete temporary file its name, unless that exists: -EEXIST. */
static int publish(const char *temporary, const char *path)
{
    if (link(temporary, path) == 0) {
        unlink(temporary);
        return 0;
    }
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS && errno != EMLINK)
        return -errno;
    /* A file system without hard links. */
    return rename(temporary, path) < 0 ? -errno : 0;
}

static void sync_directory(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* Makes a new key file. 0, -EEXIST when there is one by now, or a negative error. */
static int write_key(const char *dir, const char *path, const struct identity *identity)
{
    char temporary[PATH_MAX + 16];
    char *text = NULL;
    long len;
    int result = 0;
    int fd = -1;
    BIO *bio = BIO_new(BIO_s_secmem());

    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, identity->key, NULL, NULL, 0, NULL, NULL) != 1) {
        result = ADIT_ECRYPTO;
        goto out;
    }
    len = BIO_get_mem_data(bio, &text);
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    fd = mkostemp(temporary, O_CLOEXEC); /* 0600 by itself */
    if (fd < 0) {
        result = -errno;
        goto out;
    }
    result = file_write_all(fd, text, (size_t)len);
    if (result == 0 && fsync(fd) < 0)
        result = -errno;
    if (result == 0)
        result = publish(temporary, path);
    if (result < 0)
        unlink(temporary);
    else
        sync_directory(dir);
out:
    if (fd >= 0)
        close(fd);
    BIO_free(bio);
    ERR_clear_error();
    return result;
}

struct identity *identity_load(const char *state_dir, char *errbuf, size_t errlen)
{
    char path[PATH_MAX];
    struct identity *identity = NULL;
    int result = make_directory(state_dir);

    if (result < 0) {
        snprintf(errbuf, errlen,
                 "cannot make the state directory %s: %s; name another with --state DIR", state_dir,
                 strerror(-result));
        return NULL;
    }
    if (snprintf(path, sizeof path, "%s/key", state_dir) >= (int)sizeof path) {
        snprintf(errbuf, errlen, "the name of the state directory is too long");
        return NULL;
    }
    result = read_key(path, &identity, errbuf, errlen);
    if (result != -ENOENT)
        return identity;

    identity = identity_generate();
    result = identity ? write_key(state_dir, path, identity) : ADIT_ECRYPTO;
    if (result == 0)
        return identity;
    identity_free(identity);
    identity = NULL;
    if (result == -EEXIST) { /* another process started at the same time: its key it is */
        result = read_key(path, &identity, errbuf, errlen);
        if (result != -ENOENT)
            return identity;
    }
    snprintf(errbuf, errlen,
             "cannot write the new key %s: %s; name another directory with --state DIR", path,
             err_text(result));
    return NULL;
}

struct identity *identity_read(const char *path, char *errbuf, size_t errlen)
{
    struct identity *identity = NULL;

    if (read_key(path, &identity, errbuf, errlen) == -ENOENT)
        snprintf(errbuf, errlen, "there is no key file %s", path);
    return identity;
}

int identity_write(const struct identity *identity, const char *path, char *errbuf, size_t errlen)
{
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX] = ".";
    struct stat st;
    int result = lstat(path, &st) == 0 ? -EEXIST : errno == ENOENT ? 0 : -errno;

    if (strlen(path) >= sizeof dir)
        result = -ENAMETOOLONG;
    else if (slash)
        snprintf(dir, sizeof dir, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    if (result == 0)
        result = write_key(dir, path, identity);
    if (result < 0)
        snprintf(errbuf, errlen, "cannot write the key file %s: %s%s", path, err_text(result),
                 result == -EEXIST ? "; choose another name, for it would be lost" : "");
    return result;
}

const char *node_id_format(const struct node_id *id, char text[NODE_ID_TEXT_LEN + 1])
{
    base32_encode(id->key, sizeof id->key, text);
    return text;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int node_id_parse(const char *text, struct node_id *id)
{
    size_t len;

    while (is_space(*text))
        text++;
    len = strlen(text);
    while (len > 0 && is_space(text[len - 1]))
        len--;
    if (len != NODE_ID_TEXT_LEN)
        return ADIT_EFORMAT;
    if (base32_decode(text, len, id->key, sizeof id->key) != NODE_ID_BYTES)
        return ADIT_EFORMAT;
    return 0;
}

bool node_id_equal(const struct node_id *a, const struct node_id *b)
{
    return memcmp(a->key, b->key, sizeof a->key) == 0;
}

int node_id_compare(const struct node_id *a, const struct node_id *b)
{
    return memcmp(a->key, b->key, sizeof a->key);
}
