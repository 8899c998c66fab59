/* SPDX-License-Identifier: MIT */
/*
 * The log: one line an event, whatever is in it; levels; the journal's form. Standard error is a
 * file here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"

static FILE *file;
static int saved;
static off_t seen; /* writing shares the file's own position */

static int setup(void **state)
{
    (void)state;
    file = tmpfile();
    seen = 0;
    saved = dup(STDERR_FILENO);
    return file == NULL || saved < 0 || dup2(fileno(file), STDERR_FILENO) < 0;
}

static int teardown(void **state)
{
    (void)state;
    dup2(saved, STDERR_FILENO);
    close(saved);
    fclose(file);
    unsetenv("JOURNAL_STREAM");
    return 0;
}

/* What has been logged since the last call. */
static const char *logged(void)
{
    static char text[8192];
    ssize_t len = pread(fileno(file), text, sizeof text - 1, seen);
    assert_true(len >= 0);
    text[len] = '\0';
    seen += len;
    return text;
}

static void expect(const char *pattern)
{
    regex_t regex;
    const char *text = logged();
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("'%s' is not /%s/", text, pattern);
    regfree(&regex);
}

static void test_lines(void **state)
{
    (void)state;
    enum log_level level;
    log_init(LOG_INFO);
    log_info("event=%s n=%d", "start", 7);
    expect("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z info event=start n=7\n$");
    log_debug("event=hidden");
    assert_string_equal(logged(), "");
    log_set_level(LOG_TRACE);
    log_trace("event=shown");
    expect(" trace event=shown\n$");
    log_error("event=forged text=\"a\nb\033[1m\x7f\"");
    expect(" error event=forged text=\"a\\?b\\?\\[1m\\?\"\n$");
    assert_int_equal(log_parse_level("warn", &level), 0);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(log_parse_level("loud", &level), -EINVAL);

    char big[3000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    errno = ENOENT;
    log_warn("event=long text=%s", big);
    assert_int_equal(errno, ENOENT);
    const char *text = logged();
    size_t len = strlen(text);
    assert_true(len <= 1024 && len > 1000);
    assert_string_equal(text + len - 4, "...\n");
}

static void test_journal(void **state)
{
    (void)state;
    struct stat st;
    char stream[64];
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init(LOG_INFO);
    log_warn("event=x");
    assert_string_equal(logged(), "<4>event=x\n");
    setenv("JOURNAL_STREAM", "1:1", 1); /* another file: not ours */
    log_init(LOG_INFO);
    log_warn("event=x");
    expect("Z warn event=x\n$");
}

static void test_errors(void **state)
{
    (void)state;
    assert_string_equal(err_text(0), "success");
    assert_string_equal(err_text(-ENOENT), "No such file or directory");
    assert_string_equal(err_text(ADIT_EBUSY), "in use by another process");
    for (int code = ADIT_E_FIRST; code >= ADIT_E_LAST; code--)
        assert_true(strlen(err_text(code)) > 3);
    assert_string_equal(err_text(ADIT_E_LAST - 1), "unknown error");
    assert_string_equal(err_text(-9999), "unknown error");
    assert_string_equal(err_text(INT32_MIN), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_journal, setup, teardown),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
