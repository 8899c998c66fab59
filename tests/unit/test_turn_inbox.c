/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: files in parcels, into a directory: whole ones under their name, never over
 * another; wrong ones not at all; interrupted ones are gone on with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/turn_inbox.h"
#include "crypto/hash.h"

struct world {
    struct loop *loop;
    struct inbox *inbox;
    char directory[64];
    struct addr from;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char why[INBOX_TEXT_MAX];

    snprintf(w->directory, sizeof(w->directory), "%s/adit-inbox-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(w->directory));
    w->loop = loop_new_virtual(1);
    w->inbox = inbox_new(w->loop, w->directory, why);
    assert_non_null(w->inbox);
    addr_parse("10.0.0.1:1", &w->from);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[100];

    inbox_free(w->inbox);
    loop_free(w->loop);
    snprintf(command, sizeof(command), "rm -rf %s", w->directory);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static struct parcel parcel_of(enum parcel_type type, uint64_t number, const char *hashed,
                               const char *bytes)
{
    struct parcel p = {.type = type, .id = 7, .number = number};

    hash_sha256(hashed, strlen(hashed), p.hash);
    p.bytes = (const uint8_t *)bytes;
    p.len = strlen(bytes);
    return p;
}

static int offer(struct world *w, const char *name, const char *content, uint64_t *offset)
{
    struct parcel p = parcel_of(PARCEL_OFFER, strlen(content), content, name);
    char why[INBOX_TEXT_MAX];

    return inbox_offer(w->inbox, &w->from, &p, offset, why);
}

static int data(struct world *w, uint64_t at, const char *bytes)
{
    struct parcel p = parcel_of(PARCEL_DATA, at, "", bytes);
    char why[INBOX_TEXT_MAX];

    return inbox_data(w->inbox, &w->from, &p, why);
}

/* name: that it is kept under, or NULL: it is refused. */
static void end(struct world *w, const char *content, const char *name)
{
    struct parcel p = parcel_of(PARCEL_END, strlen(content), content, "");
    struct inbox_result result;
    char why[INBOX_TEXT_MAX], path[200], there[64] = "";
    int rc = inbox_end(w->inbox, &w->from, &p, &result, why), fd;

    if (!name) {
        assert_true(rc < 0);
        return;
    }
    assert_int_equal(rc, 0);
    assert_string_equal(result.name, name);
    assert_memory_equal(result.hash, p.hash, PARCEL_HASH_BYTES);
    snprintf(path, sizeof(path), "%s/%s", w->directory, name);
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, there, sizeof(there) - 1), strlen(content));
    close(fd);
    assert_string_equal(there, content);
}

/* Entries of the directory, hidden ones too. */
static int entries(const struct world *w)
{
    char command[120];
    FILE *out;
    int count = -1;

    snprintf(command, sizeof(command), "ls -A %s | wc -l", w->directory);
    out = popen(command, "r");
    assert_int_equal(fscanf(out, "%d", &count), 1);
    pclose(out);
    return count;
}

static void whole_files(void **state)
{
    struct world *w = *state;
    uint64_t offset = 1;

    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"name", "name.1", "name.2"};

        assert_int_equal(offer(w, i == 1 ? "../name" : "/x/name", "content", &offset), 0);
        assert_int_equal(offset, 0);
        assert_int_equal(data(w, 0, "con"), 0);
        assert_int_equal(data(w, 3, "tent"), 0);
        end(w, "content", names[i]);
    }
    assert_int_equal(offer(w, "empty", "", &offset), 0);
    end(w, "", "empty");
    assert_int_equal(entries(w), 4);
}

static void wrong_files(void **state)
{
    struct world *w = *state;
    uint64_t offset;

    /* Other bytes of the same length; too few; the sender says something else at the end. */
    offer(w, "a", "content", &offset);
    data(w, 0, "contenT");
    end(w, "content", NULL);
    offer(w, "b", "content", &offset);
    data(w, 0, "con");
    end(w, "content", NULL);
    offer(w, "c", "content", &offset);
    data(w, 0, "contenT");
    end(w, "contenT", NULL);
    offer(w, "c", "content", &offset);
    data(w, 0, "content");
    end(w, "contenT", NULL);
    /* Too many, or from elsewhere. */
    offer(w, "d", "content", &offset);
    assert_int_equal(data(w, 0, "content and more"), ADIT_EPROTO);
    end(w, "content", NULL);
    offer(w, "e", "content", &offset);
    assert_int_equal(data(w, 3, "tent"), ADIT_EPROTO);
    end(w, "content", NULL);
    assert_int_equal(entries(w), 0);
    assert_int_equal(data(w, 0, "nobody offered this"), 0);
}

static void interrupted_files(void **state)
{
    struct world *w = *state;
    uint64_t offset, bytes, size, at;
    const char *name;
    struct addr other;

    offer(w, "file", "content", &offset);
    data(w, 0, "con");
    assert_true(inbox_progress(w->inbox, &w->from, &name, &size, &at));
    assert_int_equal(size, 7);
    assert_int_equal(at, 3);
    assert_true(inbox_lost(w->inbox, &w->from, &name, &bytes));
    assert_int_equal(bytes, 3);
    assert_false(inbox_lost(w->inbox, &w->from, &name, &bytes));
    /* Another file of that name has a part of its own. */
    offer(w, "file", "something else", &offset);
    assert_int_equal(offset, 0);
    data(w, 0, "some");
    inbox_lost(w->inbox, &w->from, &name, &bytes);
    assert_int_equal(entries(w), 2);
    /* Goes on; then, before its silence was noticed, from another address. */
    assert_int_equal(offer(w, "file", "content", &offset), 0);
    assert_int_equal(offset, 3);
    data(w, 3, "te");
    other = w->from;
    w->from.port = 2;
    assert_int_equal(offer(w, "file", "content", &offset), 0);
    assert_int_equal(offset, 5);
    assert_false(inbox_progress(w->inbox, &other, &name, &size, &at));
    data(w, 5, "nt");
    end(w, "content", "file");
    assert_int_equal(entries(w), 2);
}

static void no_link_is_followed(void **state)
{
    struct world *w = *state;
    char link[200], other[200], hash[17] = "";
    uint8_t bytes[HASH_BYTES];
    uint64_t offset;

    hash_sha256("content", 7, bytes);
    for (int i = 0; i < 8; i++)
        snprintf(hash + 2 * i, 3, "%02x", bytes[i]);
    snprintf(link, sizeof(link), "%s/.file.%s.part", w->directory, hash);
    snprintf(other, sizeof(other), "%s/other", w->directory);
    close(open(other, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(symlink(other, link), 0);
    assert_true(offer(w, "file", "content", &offset) < 0);
    end(w, "content", NULL);
}

static void a_directory_that_is_none(void **state)
{
    struct world *w = *state;
    char why[INBOX_TEXT_MAX];

    assert_null(inbox_new(w->loop, "/nonexistent/directory", why));
    assert_string_equal(why, "/nonexistent/directory: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_files, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_files, setup, teardown),
        cmocka_unit_test_setup_teardown(interrupted_files, setup, teardown),
        cmocka_unit_test_setup_teardown(no_link_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_is_none, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
