# SPDX-License-Identifier: MIT
libadit_a_SOURCES += src/nat/interfaces.c src/nat/interfaces.h src/nat/interfaces_read.c
libadit_a_SOURCES += src/nat/netwatch.c src/nat/netwatch.h

check_PROGRAMS += tests/unit/test-interfaces
tests_unit_test_interfaces_SOURCES = tests/unit/test_interfaces.c
