/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation: text of a peer becomes one line that neither steers a terminal nor looks
 * like another; a progress line is never wider than the terminal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "cli/turn_progress.h"
#include "cli/turn_text.h"

static void shown_as(const void *bytes, size_t len, const char *want)
{
    char *got = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&got, &size);
    uint8_t *copy = malloc(len > 0 ? len : 1); /* so that reading past it is noticed */

    memcpy(copy, bytes, len);
    text_print(out, copy, len);
    fclose(out);
    assert_string_equal(got, want);
    free(copy);
    free(got);
}

static void texts(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"plain, grüße, 日本, 😀", "plain, grüße, 日本, 😀"},
        {"a\nb\rc\td", "a\\nb\\rc\\td"},
        {"\x1b[2J\x7f", "\\x1b[2J\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\u009b31m"},                            /* CSI of ISO 6429 */
        {"gpj\xe2\x80\xae.exe", "gpj\\u202e.exe"}, /* right to left from here on */
        {"\xe2\x80\xa8\xe2\x81\xa6", "\\u2028\\u2066"},
        {"\\n", "\\\\n"},
        {"\xff\xfe", "\\xff\\xfe"},
        {"\xc0\xaf", "\\xc0\\xaf"},                   /* too long a form */
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},          /* half of a pair */
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, /* beyond Unicode */
        {"cut \xe6\x97", "cut \\xe6\\x97"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        shown_as(cases[i][0], strlen(cases[i][0]), cases[i][1]);
    shown_as("a\0b", 3, "a\\x00b");
    shown_as("", 0, "");
}

static void fitted(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t columns;
        const char *want;
    } cases[] = {
        {"name", 4, "name"},
        {"names", 4, "n..."},
        {"grüße", 5, "grüße"},
        {"grüße!", 5, "gr..."},
        {"a\x1b[1m", 8, "a\\x1b[1m"},
        {"a\x1b[1m", 7, "a..."},
        {"name", 2, ".."},
        {"name", 0, ""},
        {"\\\\", 4, "\\\\\\\\"},
    };
    char buf[64];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_string_equal(text_fit(cases[i].text, cases[i].columns, buf, sizeof(buf)),
                            cases[i].want);
    assert_string_equal(text_fit("a long name", 60, buf, 8), "a lo...");
}

static void json(void **state)
{
    (void)state;
    json_t *o = json_object();
    char *text;

    text_set_json(o, "name", (const uint8_t *)"gr\xc3\xbc\x1b\n", 6);
    text_set_json(o, "text", (const uint8_t *)"\xff\x00z", 3);
    text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII);
    assert_string_equal(text,
                        "{\"name\":\"gr\\u00FC\\u001B\\n\",\"text\":null,\"text_hex\":\"ff007a\"}");
    free(text);
    json_decref(o);
}

/* Columns of a line without wide characters. */
static size_t width(const char *line)
{
    size_t n = 0;

    for (; *line != '\0'; line++)
        n += ((uint8_t)*line & 0xC0) != 0x80;
    return n;
}

static void progress(void **state)
{
    (void)state;
    struct progress p = {
        .what = "a rather long name of a füle.tar.gz", .total = 300000000, .start_us = 5 * SEC_US};
    char line[PROGRESS_LINE_MAX];

    assert_string_equal(
        progress_line(&p, 150000000, NULL, 15 * SEC_US, 200, line),
        "a rather long name of a füle.tar.gz: 50 %, 150.0 of 300.0 MB, 15.0 MB/s, 10 s left");
    assert_string_equal(progress_line(&p, 150000000, NULL, 15 * SEC_US, 50, line),
                        "a rather l...: 50 %, 150.0 of 300.0 MB, 15.0 MB/s");
    assert_string_equal(progress_line(&p, 150000000, "no answer", 15 * SEC_US, 40, line),
                        "a rather long name ...: 50 %, no answer");
    assert_string_equal(progress_line(&p, 150000000, NULL, 15 * SEC_US, 24, line),
                        "a rather long ...: 50 %");
    for (size_t columns = 0; columns < 300; columns++)
        for (uint64_t at = 0; at <= p.total; at += p.total / 3)
            assert_true(width(progress_line(&p, at, NULL, 10 * SEC_US, columns, line)) <
                        (columns > 0 ? columns : 1));
    p.what = "big";
    assert_string_equal(progress_line(&p, 150000000, NULL, 15 * SEC_US, 44, line),
                        "big: 50 %, 150.0 of 300.0 MB, 15.0 MB/s");
    p = (struct progress){.what = "empty"};
    assert_string_equal(progress_line(&p, 0, NULL, 0, 80, line),
                        "empty: 100 %, 0.0 of 0.0 MB, 0.0 kB/s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts), cmocka_unit_test(fitted),
                                       cmocka_unit_test(json), cmocka_unit_test(progress)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
