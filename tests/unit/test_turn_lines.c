/* SPDX-License-Identifier: MIT */
/* Theory of operation: lines of pipes, of files, and of what cannot be waited for; pausing. */
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
#include <unistd.h>

#include "cli/turn_lines.h"

#define TURNS_MAX 1000

struct heard {
    struct lines *lines;
    size_t count, longest, bytes;
    char last[32];
    int reads, ends, why;
    bool pauses;
};

static void on_line(void *arg, const char *text, size_t len)
{
    struct heard *h = arg;

    h->count++;
    h->bytes += len;
    if (len > h->longest)
        h->longest = len;
    snprintf(h->last, sizeof(h->last), "%.*s", (int)len, text);
}

static void on_read(void *arg)
{
    struct heard *h = arg;

    h->reads++;
    if (h->pauses)
        lines_pause(h->lines);
}

static void on_over(void *arg, int why)
{
    struct heard *h = arg;

    h->ends++;
    h->why = why;
}

static const struct lines_events events = {.line = on_line, .read = on_read, .over = on_over};

static void hear_all(struct loop *loop, int fd, struct heard *h)
{
    h->lines = lines_new(loop, fd, &events, h);
    assert_non_null(h->lines);
    for (int i = 0; h->ends == 0 && i < TURNS_MAX; i++)
        loop_turn(loop, 100 * MS_US);
    assert_int_equal(h->ends, 1);
    loop_turn(loop, 0);
    assert_int_equal(h->ends, 1);
    lines_free(h->lines);
    close(fd);
}

static int file_of(const char *text, size_t len)
{
    FILE *file = tmpfile();
    int fd;

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    assert_int_equal(fflush(file), 0);
    fd = dup(fileno(file));
    fclose(file);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void of_files(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    const size_t len = 200000;
    char *text = malloc(len);
    struct heard h = {.count = 0};

    hear_all(loop, file_of("one\n\nthree", 10), &h);
    assert_int_equal(h.count, 3);
    assert_string_equal(h.last, "three");
    h = (struct heard){.count = 0};
    hear_all(loop, open("/dev/null", O_RDONLY), &h);
    assert_int_equal(h.count, 0);
    assert_int_equal(h.why, 0);
    h = (struct heard){.count = 0};
    hear_all(loop, open("/", O_RDONLY), &h);
    assert_int_equal(h.why, -EISDIR);
    /* Too long a line, and lines that begin in one piece and end in another. */
    memset(text, 'x', len);
    h = (struct heard){.count = 0};
    hear_all(loop, file_of(text, len), &h);
    assert_int_equal(h.count, 4);
    assert_int_equal(h.longest, LINES_LENGTH_MAX);
    assert_int_equal(h.bytes, len);
    for (size_t i = 999; i < len; i += 1000)
        text[i] = '\n';
    h = (struct heard){.count = 0};
    hear_all(loop, file_of(text, len), &h);
    assert_int_equal(h.count, 200);
    assert_int_equal(h.longest, 999);
    assert_int_equal(h.bytes, 200 * 999);
    free(text);
    loop_free(loop);
}

static void of_a_pipe(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct heard h = {.pauses = true};
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    h.lines = lines_new(loop, ends[0], &events, &h);
    assert_int_equal(write(ends[1], "a\nb\nc", 5), 5);
    for (int i = 0; h.reads == 0 && i < TURNS_MAX; i++)
        loop_turn(loop, 100 * MS_US);
    assert_int_equal(h.count, 2);
    /* Paused: nothing more is read, until it goes on. */
    assert_int_equal(write(ends[1], "d\n", 2), 2);
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_int_equal(h.count, 2);
    lines_resume(h.lines);
    lines_resume(h.lines);
    for (int i = 0; h.reads == 1 && i < TURNS_MAX; i++)
        loop_turn(loop, 100 * MS_US);
    assert_int_equal(h.count, 3);
    assert_string_equal(h.last, "cd");
    assert_int_equal(write(ends[1], "end", 3), 3);
    close(ends[1]);
    h.pauses = false;
    lines_resume(h.lines);
    for (int i = 0; h.ends == 0 && i < TURNS_MAX; i++)
        loop_turn(loop, 100 * MS_US);
    assert_string_equal(h.last, "end");
    lines_resume(h.lines); /* nothing comes after the end */
    loop_turn(loop, 0);
    assert_int_equal(h.ends, 1);
    lines_free(h.lines);
    close(ends[0]);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(of_files), cmocka_unit_test(of_a_pipe)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
