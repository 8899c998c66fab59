# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/egress/policy.c src/egress/policy.h
check_PROGRAMS += tests/unit/test-policy
tests_unit_test_policy_SOURCES = tests/unit/test_policy.c
fuzz_targets += tests/fuzz/fuzz-policy
tests_fuzz_fuzz_policy_SOURCES = tests/fuzz/fuzz_policy.c

libadit_a_SOURCES += src/egress/dial.c src/egress/dial.h
check_PROGRAMS += tests/unit/test-dial
tests_unit_test_dial_SOURCES = tests/unit/test_dial.c
