# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/strategy/strategy.h
libadit_a_SOURCES += src/strategy/scheduler.c src/strategy/scheduler.h
libadit_a_SOURCES += src/strategy/direct.c src/strategy/direct.h
libadit_a_SOURCES += src/strategy/reverse.c src/strategy/reverse.h

check_PROGRAMS += tests/unit/test-scheduler tests/unit/test-direct
tests_unit_test_scheduler_SOURCES = tests/unit/test_scheduler.c
tests_unit_test_direct_SOURCES = tests/unit/test_direct.c
