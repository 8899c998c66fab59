# SPDX-License-Identifier: MIT
libadit_a_SOURCES += \
	src/capture/capture.c src/capture/capture.h \
	src/capture/fragments.c src/capture/fragments.h \
	src/capture/hex.c src/capture/hex.h \
	src/capture/packet.c src/capture/packet.h \
	src/capture/reassembly.c src/capture/reassembly.h \
	src/capture/records.c src/capture/records.h \
	src/capture/trace.c src/capture/trace.h src/capture/trace_int.h src/capture/trace_tables.c

check_PROGRAMS += tests/unit/test-capture
tests_unit_test_capture_SOURCES = tests/unit/test_capture.c
check_PROGRAMS += tests/unit/test-trace
tests_unit_test_trace_SOURCES = tests/unit/test_trace.c

fuzz_targets += tests/fuzz/fuzz-capture tests/fuzz/fuzz-hex
tests_fuzz_fuzz_capture_SOURCES = tests/fuzz/fuzz_capture.c
tests_fuzz_fuzz_hex_SOURCES = tests/fuzz/fuzz_hex.c
