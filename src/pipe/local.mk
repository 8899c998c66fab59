# SPDX-License-Identifier: MIT
libadit_a_SOURCES += src/pipe/options.c src/pipe/options.h src/pipe/pipe.c src/pipe/pipe.h src/pipe/pipe_int.h
libadit_a_SOURCES += src/pipe/tcp.c src/pipe/tcp.h src/pipe/tcp_int.h src/pipe/tcp_server.c
libadit_a_SOURCES += src/pipe/tls.h src/pipe/pair.c src/pipe/pair.h

libadit_a_SOURCES += src/pipe/pacing.c src/pipe/pacing.h
libadit_a_SOURCES += src/pipe/tls.c src/pipe/tls_int.h src/pipe/tls_open.c
check_PROGRAMS += tests/unit/test-tls tests/unit/test-tls-library
tests_unit_test_tls_SOURCES = tests/unit/test_tls.c tests/unit/tls_ends.h
tests_unit_test_tls_library_SOURCES = tests/unit/test_tls_library.c tests/unit/tls_ends.h
# Not built by default: make tests/bench/tls-pipe-bench
EXTRA_PROGRAMS = tests/bench/tls-pipe-bench
tests_bench_tls_pipe_bench_SOURCES = tests/bench/tls_pipe_bench.c
check_PROGRAMS += tests/unit/test-pipe tests/unit/test-pair
tests_unit_test_pipe_SOURCES = tests/unit/test_pipe.c tests/unit/pipe_recorder.h
tests_unit_test_pair_SOURCES = tests/unit/test_pair.c tests/unit/pair_world.h tests/unit/pipe_recorder.h
check_PROGRAMS += tests/unit/test-tcp
tests_unit_test_tcp_SOURCES = tests/unit/test_tcp.c tests/unit/pipe_recorder.h tests/unit/plain_sockets.h
libadit_a_SOURCES += src/pipe/udp.c src/pipe/udp.h src/pipe/udp_receive.c src/pipe/udp_receive.h
check_PROGRAMS += tests/unit/test-udp tests/unit/test-udp-groups
tests_unit_test_udp_groups_SOURCES = tests/unit/test_udp_groups.c tests/unit/pipe_recorder.h
tests_unit_test_udp_SOURCES = tests/unit/test_udp.c tests/unit/pipe_recorder.h
libadit_a_SOURCES += src/pipe/subscribe.c src/pipe/subscribe.h src/pipe/unique.c src/pipe/unique.h
libadit_a_SOURCES += src/pipe/open.c src/pipe/open.h
check_PROGRAMS += tests/unit/test-subscribe tests/unit/test-unique tests/unit/test-open tests/unit/test-options
tests_unit_test_subscribe_SOURCES = tests/unit/test_subscribe.c tests/unit/pair_world.h tests/unit/pipe_recorder.h
tests_unit_test_unique_SOURCES = tests/unit/test_unique.c tests/unit/pipe_recorder.h
tests_unit_test_open_SOURCES = tests/unit/test_open.c tests/unit/pipe_recorder.h
tests_unit_test_options_SOURCES = tests/unit/test_options.c tests/unit/pipe_recorder.h
script_tests += tests/check-pipes-doc.sh
