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
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/turn_inbox.h"
#include "crypto/hash.h"

struct world {
    struct loop *loop;
    struct inbox *inbox;
    char directory[64];
    struct addr from;
    struct inbox_options options;
    uint64_t offset; /* of the last file that was ready later ... */
    int ready, failed, busy;
    char why[INBOX_TEXT_MAX]; /* of the last refusal */
};

static void on_ready(void *arg, const struct addr *from, uint32_t id, uint64_t offset)
{
    struct world *w = arg;

    assert_true(addr_equal(from, &w->from));
    assert_int_equal(id, 7);
    w->offset = offset;
    w->ready++;
}

static void on_failed(void *arg, const struct addr *from, uint32_t id, const char *why)
{
    struct world *w = arg;

    (void)from, (void)id, (void)why;
    w->failed++;
}

static void on_busy(void *arg, const struct addr *from, uint32_t id, uint64_t at)
{
    struct world *w = arg;

    (void)from, (void)id, (void)at;
    w->busy++;
}

static void on_time(void *arg)
{
    *(bool *)arg = true;
}

/* Lets time pass. */
static void pass(struct world *w, uint64_t us)
{
    struct timer timer;
    bool is_over = false;

    timer_init(&timer, on_time, &is_over);
    timer_set_in(w->loop, &timer, us);
    while (!is_over)
        loop_turn(w->loop, us);
}

/* The same inbox, with other limits. */
static void reopen(struct world *w)
{
    inbox_free(w->inbox);
    w->inbox = inbox_new(w->loop, w->directory, &w->options, w->why);
    assert_non_null(w->inbox);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    snprintf(w->directory, sizeof(w->directory), "%s/adit-inbox-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(w->directory));
    w->loop = loop_new_virtual(1);
    w->options = (struct inbox_options){
        .size_max = 1000, .ready = on_ready, .failed = on_failed, .busy = on_busy, .arg = w};
    reopen(w);
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
    int rc = inbox_offer(w->inbox, &w->from, &p, offset, w->why), before = w->ready;

    if (rc != INBOX_LATER)
        return rc;
    for (int turns = 0; w->ready + w->failed == before && turns < 1000; turns++)
        loop_turn(w->loop, 0);
    *offset = w->offset;
    return w->ready > before ? 0 : -EIO;
}

static int data(struct world *w, uint64_t at, const char *bytes)
{
    struct parcel p = parcel_of(PARCEL_DATA, at, "", bytes);

    return inbox_data(w->inbox, &w->from, &p, w->why);
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

    assert_null(inbox_new(w->loop, "/nonexistent/directory", &w->options, why));
    assert_string_equal(why, "files cannot be kept in /nonexistent/directory: No such file or "
                             "directory; name another directory with --output");
}

/* Little of a file is not kept, so that offers leave no files behind. */
static void small_parts(void **state)
{
    struct world *w = *state;
    uint64_t offset, bytes = 1;
    const char *name;

    w->options.part_bytes = 4;
    reopen(w);
    offer(w, "file", "content", &offset);
    data(w, 0, "con");
    assert_true(inbox_lost(w->inbox, &w->from, &name, &bytes));
    assert_int_equal(bytes, 0);
    assert_int_equal(entries(w), 0);
    for (int i = 0; i < 3; i++) {
        char other[8];

        snprintf(other, sizeof(other), "file%d", i);
        offer(w, other, "content", &offset);
        data(w, 0, "c");
    }
    assert_int_equal(entries(w), 1);
    assert_int_equal(offer(w, "file", "content", &offset), 0);
    data(w, 0, "cont");
    assert_true(inbox_lost(w->inbox, &w->from, &name, &bytes));
    assert_int_equal(bytes, 4);
    assert_int_equal(entries(w), 1);
}

static void too_large(void **state)
{
    struct world *w = *state;
    struct parcel p = parcel_of(PARCEL_OFFER, 1001, "x", "large");
    uint64_t offset;

    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), -EFBIG);
    assert_non_null(strstr(w->why, "--max-size"));
    p.number = UINT64_MAX;
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), -EFBIG);
    assert_int_equal(entries(w), 0);
    p.number = 1000;
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), 0);
    w->options.size_max = 0;
    reopen(w);
    p.number = 0;
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), -EFBIG);
    assert_non_null(strstr(w->why, "messages only"));
    w->options.size_max = UINT64_MAX;
    reopen(w);
    p.number = UINT64_MAX;
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), -EFBIG);
}

/* What is promised to others counts, until they have said nothing for a minute. */
static void a_full_disk(void **state)
{
    struct world *w = *state;
    struct parcel p = parcel_of(PARCEL_OFFER, 0, "x", "file");
    struct statvfs fs;
    uint64_t offset, free_bytes;

    assert_int_equal(statvfs(w->directory, &fs), 0);
    free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    w->options.size_max = INT64_MAX;
    reopen(w);
    p.number = free_bytes / 10 * 11;
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), -ENOSPC);
    assert_non_null(strstr(w->why, "disk is too full"));
    assert_int_equal(entries(w), 0);
    p.number = free_bytes / 10 * 7;
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), 0);
    w->from.port++;
    hash_sha256("y", 1, p.hash);
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), -ENOSPC);
    pass(w, INBOX_IDLE_US);
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), 0);
    w->options.spare_bytes = UINT64_MAX;
    reopen(w);
    p.number = 1;
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), -ENOSPC);
}

static void many_at_once(void **state)
{
    struct world *w = *state;
    uint64_t offset;

    for (int i = 0; i < INBOX_FILES_MAX; i++) {
        char name[16];

        snprintf(name, sizeof(name), "file%d", i);
        w->from.port = (uint16_t)(100 + i);
        assert_int_equal(offer(w, name, name, &offset), 0);
        pass(w, SEC_US);
    }
    w->from.port = 99;
    assert_int_equal(offer(w, "more", "more", &offset), ADIT_EFULL);
    assert_non_null(strstr(w->why, "try again later"));
    w->from.port = 100;
    assert_int_equal(data(w, 0, "file"), 0);
    pass(w, INBOX_IDLE_US - SEC_US * (INBOX_FILES_MAX - 1));
    w->from.port = 99; /* the second has said nothing for longest, and long enough */
    assert_int_equal(offer(w, "more", "more", &offset), 0);
    w->from.port = 101;
    assert_int_equal(data(w, 0, "file1"), 0);
    end(w, "file1", NULL);
    w->from.port = 100;
    assert_int_equal(data(w, 4, "0"), 0);
    end(w, "file0", "file0");
}

/* A large part is read in slices; other things happen between. */
static void large_parts(void **state)
{
    struct world *w = *state;
    const size_t len = 3u << 20, had = 2500000;
    char *content = malloc(len + 1);
    struct parcel p;
    struct inbox_result result;
    uint64_t offset = 1, bytes;
    const char *name;
    int turns = 0;

    w->options.size_max = len;
    reopen(w);
    memset(content, 'x', len);
    content[len] = '\0';
    assert_int_equal(offer(w, "large", content, &offset), 0);
    for (size_t at = 0; at < had; at += 250000) {
        p = parcel_of(PARCEL_DATA, at, "", "");
        p.bytes = (const uint8_t *)content + at;
        p.len = 250000;
        assert_int_equal(inbox_data(w->inbox, &w->from, &p, w->why), 0);
    }
    assert_true(inbox_lost(w->inbox, &w->from, &name, &bytes));
    assert_int_equal(bytes, had);
    p = parcel_of(PARCEL_OFFER, len, content, "large");
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), INBOX_LATER);
    loop_turn(w->loop, 0);
    assert_int_equal(w->ready, 0);
    /* The sender goes again in the middle of it: the part is still there. */
    assert_true(inbox_lost(w->inbox, &w->from, &name, &bytes));
    assert_int_equal(bytes, had);
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), INBOX_LATER);
    assert_int_equal(data(w, 0, "too early"), ADIT_EPROTO);
    assert_int_equal(entries(w), 0); /* no good sender */
    assert_int_equal(offer(w, "large", content, &offset), 0);
    for (size_t at = 0; at < had; at += 250000) {
        p = parcel_of(PARCEL_DATA, at, "", "");
        p.bytes = (const uint8_t *)content + at;
        p.len = 250000;
        assert_int_equal(inbox_data(w->inbox, &w->from, &p, w->why), 0);
    }
    inbox_lost(w->inbox, &w->from, &name, &bytes);
    p = parcel_of(PARCEL_OFFER, len, content, "large");
    assert_int_equal(inbox_offer(w->inbox, &w->from, &p, &offset, w->why), INBOX_LATER);
    for (; w->ready == 0; turns++) {
        assert_true(turns < 100);
        loop_lose(w->loop, 2 * SEC_US);
        loop_turn(w->loop, 0);
    }
    assert_true(w->busy >= 3);
    assert_int_equal(w->offset, had);
    p = parcel_of(PARCEL_DATA, had, "", "");
    p.bytes = (const uint8_t *)content + had;
    p.len = len - had;
    assert_int_equal(inbox_data(w->inbox, &w->from, &p, w->why), 0);
    p = parcel_of(PARCEL_END, len, content, "");
    assert_int_equal(inbox_end(w->inbox, &w->from, &p, &result, w->why), 0);
    assert_int_equal(result.resumed, had);
    assert_int_equal(entries(w), 1);
    free(content);
}

/* A part with other bytes in it than the sender's: noticed, and the next time begins anew. */
static void a_damaged_part(void **state)
{
    struct world *w = *state;
    uint64_t offset, bytes;
    const char *name;

    offer(w, "file", "content", &offset);
    data(w, 0, "bad");
    inbox_lost(w->inbox, &w->from, &name, &bytes);
    assert_int_equal(offer(w, "file", "content", &offset), 0);
    assert_int_equal(offset, 3);
    data(w, 3, "tent");
    end(w, "content", NULL);
    assert_int_equal(entries(w), 0);
    assert_int_equal(offer(w, "file", "content", &offset), 0);
    assert_int_equal(offset, 0);
    data(w, 0, "content");
    end(w, "content", "file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_files, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_files, setup, teardown),
        cmocka_unit_test_setup_teardown(interrupted_files, setup, teardown),
        cmocka_unit_test_setup_teardown(small_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(large_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_part, setup, teardown),
        cmocka_unit_test_setup_teardown(no_link_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_directory_that_is_none, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
