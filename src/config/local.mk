# SPDX-License-Identifier: MIT

libadit_a_SOURCES += \
	src/config/config.c src/config/config.h src/config/config_int.h src/config/keys.c \
	src/config/rule.c src/config/rule.h src/config/value.c

check_PROGRAMS += tests/unit/test-config
tests_unit_test_config_SOURCES = tests/unit/test_config.c

fuzz_targets += tests/fuzz/fuzz-config
tests_fuzz_fuzz_config_SOURCES = tests/fuzz/fuzz_config.c
