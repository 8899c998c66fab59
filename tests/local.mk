# SPDX-License-Identifier: MIT

check_PROGRAMS += $(fuzz_targets)

# One main() for all fuzz targets: replays the files and directories that it is given.
if !WITH_FUZZER
check_LIBRARIES += tests/fuzz/libreplay.a
endif
tests_fuzz_libreplay_a_SOURCES = tests/fuzz/replay.c

script_tests += tests/check-includes.sh tests/check-spdx.sh tests/check-man.sh
script_tests += tests/check-fetch-lwip.sh

# run-one starts each test program; a fuzz target gets its corpus.
TESTS = $(check_PROGRAMS) $(script_tests)
LOG_COMPILER = $(SHELL) $(srcdir)/tests/run-one
TEST_EXTENSIONS = .sh
SH_LOG_COMPILER = $(SHELL)
AM_TESTS_ENVIRONMENT = MANDOC='$(MANDOC)'; export MANDOC;

EXTRA_DIST += $(script_tests) tests/run-one tests/run-quickstart.sh tests/MUST-RUN tests/fuzz/corpus
EXTRA_DIST += tests/e2e tests/interop
# File by file: with the directory would go what was built there.
EXTRA_DIST += tests/lab/README.md tests/lab/brokers.py tests/lab/hostile.py tests/lab/lab.py \
	tests/lab/nets.py tests/lab/run tests/lab/test_broker.py tests/lab/test_hostile.py \
	tests/lab/test_lan.py tests/lab/test_nat.py tests/lab/test_roaming.py \
	tests/lab/test_signal.py tests/lab/test_standby.py tests/lab/test_turn.py tests/lab/turn.py

# The benchmark compiles its own load tool.
EXTRA_DIST += tests/bench

# The lab's router (tests/lab/local.mk).
fuzz_targets += tests/fuzz/fuzz-wire
tests_fuzz_fuzz_wire_SOURCES = tests/fuzz/fuzz_wire.c
tests_fuzz_fuzz_wire_LDADD = tests/lab/libwire.a $(FUZZ_ENGINE) $(JANSSON_LIBS)
