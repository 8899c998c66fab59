/* SPDX-License-Identifier: MIT */
/* Theory of operation: parcels come out as they were put in, at every length; names are made safe.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cli/parcel.h"

static void there_and_back(void **state)
{
    (void)state;
    for (int type = PARCEL_TEXT; type <= PARCEL_WAIT; type++) {
        struct parcel in = {.type = (enum parcel_type)type, .id = 0x01020304, .number = 1u << 30};
        bool has_rest = type == PARCEL_TEXT || type == PARCEL_OFFER || type == PARCEL_REFUSE ||
                        type == PARCEL_DATA;
        uint8_t bytes[PARCEL_HEAD_MAX + 300];
        struct parcel out;
        size_t head;

        memset(in.hash, 7, sizeof(in.hash));
        head = parcel_build_head(&in, bytes);
        memset(bytes + head, 'x', 300);
        for (size_t len = 0; len < head; len++) {
            uint8_t *copy = malloc(len ? len : 1);

            memcpy(copy, bytes, len);
            assert_int_equal(parcel_parse(copy, len, &out), ADIT_EFORMAT);
            free(copy);
        }
        assert_int_equal(parcel_parse(bytes, head, &out), head);
        assert_int_equal(out.type, type);
        assert_int_equal(out.id, type == PARCEL_TEXT ? 0 : in.id);
        assert_int_equal(out.len, 0);
        if (type == PARCEL_OFFER || type == PARCEL_END)
            assert_memory_equal(out.hash, in.hash, sizeof(in.hash));
        if (type != PARCEL_TEXT && type != PARCEL_REFUSE)
            assert_int_equal(out.number, in.number);
        assert_int_equal(parcel_parse(bytes, head + 5, &out),
                         has_rest ? (int)head + 5 : ADIT_EFORMAT);
        if (has_rest)
            assert_memory_equal(out.bytes, "xxxxx", 5);
        if (type == PARCEL_OFFER || type == PARCEL_REFUSE)
            assert_int_equal(parcel_parse(bytes, head + 256, &out), ADIT_EFORMAT);
    }
    struct parcel out;

    assert_int_equal(parcel_parse((const uint8_t *)"\0x", 2, &out), ADIT_EFORMAT);
    assert_int_equal(parcel_parse((const uint8_t *)"\11x", 2, &out), ADIT_EFORMAT);
}

static void names(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"report.pdf", "report.pdf"},
                                           {"/etc/passwd", "passwd"},
                                           {"../../x", "x"},
                                           {"..", "_."},
                                           {".bashrc", "_bashrc"},
                                           {"a/", "file"},
                                           {"", "file"},
                                           {"-rf", "_rf"},
                                           {"a\nb\x1b[2J", "a_b_[2J"},
                                           {"gpj\xe2\x80\xae.exe", "gpj_.exe"},
                                           {"gr\xc3\xbc\xff\xc2\x9b\\", "gr\xc3\xbc___"}};
    char name[PARCEL_NAME_MAX + 1], longer[400];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        parcel_safe_name((const uint8_t *)cases[i][0], strlen(cases[i][0]), name);
        assert_string_equal(name, cases[i][1]);
    }
    memset(longer, 'n', sizeof(longer));
    parcel_safe_name((const uint8_t *)longer, sizeof(longer), name);
    assert_int_equal(strlen(name), 200);
    for (size_t i = 0; i + 3 <= sizeof(longer); i += 3) /* never half a character */
        memcpy(longer + i, "\xe6\x97\xa5", 3);
    parcel_safe_name((const uint8_t *)longer, sizeof(longer), name);
    assert_int_equal(strlen(name), 198);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(names)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
