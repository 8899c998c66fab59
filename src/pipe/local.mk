# SPDX-License-Identifier: MIT
libadit_a_SOURCES += src/pipe/options.c src/pipe/options.h src/pipe/pipe.c src/pipe/pipe.h src/pipe/pipe_int.h
libadit_a_SOURCES += src/pipe/tcp.c src/pipe/tcp.h src/pipe/tls.h src/pipe/pair.c src/pipe/pair.h

libadit_a_SOURCES += src/pipe/tls.c
check_PROGRAMS += tests/unit/test-tls
tests_unit_test_tls_SOURCES = tests/unit/test_tls.c
