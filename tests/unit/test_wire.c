/* SPDX-License-Identifier: MIT */
/* Theory of operation: the lab's router in virtual time; packets are made, sent and read here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "../lab/control.h"

static void defaults_hold(void **state)
{
    (void)state;
    struct settings settings;
    char error[SETTINGS_ERROR_BYTES];
    settings_init(&settings, 1);
    assert_true(settings_check(&settings, error));
    assert_true(settings_set(&settings, "nat", "on", error));
    assert_false(settings_check(&settings, error));
    assert_true(settings_set(&settings, "external", "203.0.113.1", error));
    assert_true(settings_check(&settings, error));
    assert_false(settings_set(&settings, "nat", "maybe", error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
