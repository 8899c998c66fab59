/* SPDX-License-Identifier: MIT */
/* Theory of operation: keys and IDs: their texts (RFC 4648 vectors), and key files made, found
 * again, and refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "crypto/base32.h"
#include "crypto/identity.h"

static char dir[] = "/tmp/test-identity-XXXXXX";
static char state_dir[64], key_file[72];

static void fresh_dir(void)
{
    unlink(key_file);
    rmdir(state_dir);
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    snprintf(state_dir, sizeof state_dir, "%s/state", dir);
    snprintf(key_file, sizeof key_file, "%s/key", state_dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fresh_dir();
    return rmdir(dir);
}

static void base32_vectors(void **state)
{
    (void)state;
    static const char *const plain[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
    static const char *const coded[] = {"",        "my",       "mzxq",      "mzxw6",
                                        "mzxw6yq", "mzxw6ytb", "mzxw6ytboi"};
    for (size_t i = 0; i < 7; i++) {
        char text[16];
        uint8_t bytes[16];
        size_t len = strlen(plain[i]);

        base32_encode((const uint8_t *)plain[i], len, text);
        assert_string_equal(text, coded[i]);
        assert_int_equal(strlen(text), BASE32_TEXT_LEN(len));
        assert_int_equal(base32_decode(text, strlen(text), bytes, sizeof bytes), len);
        assert_memory_equal(bytes, plain[i], len);
    }
    uint8_t bytes[4];
    assert_int_equal(base32_decode("MZXW6yq", 7, bytes, 4), 4);
    static const char *const bad[] = {"m",        "mzx",     "mz",    "mzxw6y",
                                      "mzxw6ytb", "mzxw6y=", "m1xw6", "mzxw 6"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(base32_decode(bad[i], strlen(bad[i]), bytes, sizeof bytes), ADIT_EFORMAT);
}

static void id_text(void **state)
{
    (void)state;
    const char *expected = "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq";
    struct node_id id, again;
    char text[NODE_ID_TEXT_LEN + 1];

    for (int i = 0; i < NODE_ID_BYTES; i++)
        id.key[i] = (uint8_t)i;
    assert_string_equal(node_id_format(&id, text), expected);
    assert_int_equal(
        node_id_parse(" AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYPQ\n", &again), 0);
    assert_true(node_id_equal(&id, &again));
    assert_int_equal(node_id_compare(&id, &again), 0);
    again.key[31]++;
    assert_false(node_id_equal(&id, &again));
    assert_true(node_id_compare(&id, &again) < 0);
    assert_int_equal(node_id_parse("", &id), ADIT_EFORMAT);
    assert_int_equal(node_id_parse("aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dyp", &id),
                     ADIT_EFORMAT);
    /* Bits that no encoder sets. */
    assert_int_equal(node_id_parse("aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypr", &id),
                     ADIT_EFORMAT);
}

static void key_is_made_and_found(void **state)
{
    (void)state;
    char error[512] = "";
    struct stat st;

    fresh_dir();
    struct identity *first = identity_load(state_dir, error, sizeof error);
    assert_non_null(first);
    assert_int_equal(stat(state_dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(key_file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_nlink, 1);
    struct identity *second = identity_load(state_dir, error, sizeof error);
    assert_non_null(second);
    assert_true(node_id_equal(identity_id(first), identity_id(second)));
    struct identity *other = identity_generate();
    assert_false(node_id_equal(identity_id(first), identity_id(other)));
    identity_free(first);
    identity_free(second);
    identity_free(other);
    identity_free(NULL);
}

static void readable_key_is_refused(void **state)
{
    (void)state;
    char error[512] = "";

    fresh_dir();
    identity_free(identity_load(state_dir, error, sizeof error));
    assert_int_equal(chmod(key_file, 0640), 0);
    assert_null(identity_load(state_dir, error, sizeof error));
    assert_non_null(strstr(error, "chmod 600"));
    assert_int_equal(chmod(key_file, 0600), 0);
}

static void write_file(const char *text)
{
    int fd = open(key_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void bad_key_is_refused_and_kept(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "garbage\n",
        /* An X25519 key. */
        "-----BEGIN PRIVATE KEY-----\n"
        "MC4CAQAwBQYDK2VuBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
        "-----END PRIVATE KEY-----\n"};

    fresh_dir();
    assert_int_equal(mkdir(state_dir, 0700), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char error[512] = "";
        struct stat st;

        write_file(bad[i]);
        assert_null(identity_load(state_dir, error, sizeof error));
        assert_non_null(strstr(error, "does not hold"));
        assert_int_equal(stat(key_file, &st), 0);
        assert_int_equal(st.st_size, (off_t)strlen(bad[i]));
    }
    unlink(key_file);
    assert_int_equal(mkdir(key_file, 0700), 0);
    char error[512] = "";
    assert_null(identity_load(state_dir, error, sizeof error));
    assert_non_null(strstr(error, "regular"));
    rmdir(key_file);
}

/* RFC 8032 7.1, TEST 1. */
static void known_key(void **state)
{
    (void)state;
    static const uint8_t public_key[] = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7,
                                         0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
                                         0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25,
                                         0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};
    char error[512] = "";

    fresh_dir();
    assert_int_equal(mkdir(state_dir, 0700), 0);
    write_file("-----BEGIN PRIVATE KEY-----\n"
               "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
               "-----END PRIVATE KEY-----\n");
    struct identity *identity = identity_load(state_dir, error, sizeof error);
    assert_non_null(identity);
    assert_memory_equal(identity_id(identity)->key, public_key, sizeof public_key);
    identity_free(identity);
}

/* Several processes that start at once agree on one key. */
/* Copies are complete, 0600, and never written over anything. */
static void copies(void **state)
{
    char path[96], link_path[96], errbuf[256] = "";
    struct identity *identity, *again;
    struct stat st;

    (void)state;
    fresh_dir();
    identity = identity_load(state_dir, errbuf, sizeof errbuf);
    assert_non_null(identity);
    snprintf(path, sizeof path, "%s/copy", state_dir);
    snprintf(link_path, sizeof link_path, "%s/link", state_dir);
    assert_int_equal(identity_write(identity, path, errbuf, sizeof errbuf), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    again = identity_read(path, errbuf, sizeof errbuf);
    assert_non_null(again);
    assert_true(node_id_equal(identity_id(identity), identity_id(again)));
    assert_int_equal(identity_write(again, path, errbuf, sizeof errbuf), -EEXIST);
    assert_non_null(strstr(errbuf, "another name"));
    assert_int_equal(symlink("elsewhere", link_path), 0);
    assert_int_equal(identity_write(again, link_path, errbuf, sizeof errbuf), -EEXIST);
    snprintf(link_path, sizeof link_path, "%s/none/x", state_dir);
    assert_int_equal(identity_write(again, link_path, errbuf, sizeof errbuf), -ENOENT);
    snprintf(link_path, sizeof link_path, "%s/link", state_dir);
    unlink(path);
    assert_null(identity_read(path, errbuf, sizeof errbuf));
    assert_non_null(strstr(errbuf, "no key file"));
    unlink(link_path);
    identity_free(identity);
    identity_free(again);
}

static void racing_starts_agree(void **state)
{
    (void)state;
    struct node_id ids[4];
    int pipes[4][2];

    fresh_dir();
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pipe(pipes[i]), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            char error[512];
            struct identity *identity = identity_load(state_dir, error, sizeof error);
            ssize_t n = identity ? write(pipes[i][1], identity_id(identity), sizeof ids[0]) : 0;

            identity_free(identity);
            _exit(n == (ssize_t)sizeof ids[0] ? 0 : 1);
        }
        close(pipes[i][1]);
    }
    for (int i = 0; i < 4; i++) {
        int status;

        assert_int_equal(read(pipes[i][0], &ids[i], sizeof ids[i]), (ssize_t)sizeof ids[i]);
        close(pipes[i][0]);
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
        assert_true(node_id_equal(&ids[0], &ids[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base32_vectors),
        cmocka_unit_test(id_text),
        cmocka_unit_test(key_is_made_and_found),
        cmocka_unit_test(readable_key_is_refused),
        cmocka_unit_test(bad_key_is_refused_and_kept),
        cmocka_unit_test(known_key),
        cmocka_unit_test(copies),
        cmocka_unit_test(racing_starts_agree),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
