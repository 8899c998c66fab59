# SPDX-License-Identifier: MIT

libadit_a_SOURCES += \
	src/control/client.c src/control/control.h src/control/forwards.c \
	src/control/forwards.h src/control/peers.c src/control/server.c \
	src/control/socket.c src/control/socket.h src/control/verbs.c src/control/verbs.h

check_PROGRAMS += tests/unit/test-control
tests_unit_test_control_SOURCES = tests/unit/test_control.c
