# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/base/err.c src/base/err.h src/base/file.c src/base/file.h
libadit_a_SOURCES += src/base/log.c src/base/log.h

libadit_a_SOURCES += src/base/addr.c src/base/addr.h src/base/target.c src/base/target.h
check_PROGRAMS += tests/unit/test-addr tests/unit/test-target
tests_unit_test_addr_SOURCES = tests/unit/test_addr.c
tests_unit_test_target_SOURCES = tests/unit/test_target.c
libadit_a_SOURCES += src/base/loop.c src/base/loop.h src/base/slice.c src/base/slice.h
check_PROGRAMS += tests/unit/test-loop tests/unit/test-slice
tests_unit_test_loop_SOURCES = tests/unit/test_loop.c
tests_unit_test_slice_SOURCES = tests/unit/test_slice.c
fuzz_targets += tests/fuzz/fuzz-target
tests_fuzz_fuzz_target_SOURCES = tests/fuzz/fuzz_target.c

check_PROGRAMS += tests/unit/test-log
tests_unit_test_log_SOURCES = tests/unit/test_log.c
