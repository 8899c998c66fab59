# SPDX-License-Identifier: MIT
libadit_a_SOURCES += src/session/frame.c src/session/frame.h src/session/gaps.c src/session/gaps.h
libadit_a_SOURCES += src/session/hello.c src/session/hello.h src/session/opening.c src/session/opening.h
libadit_a_SOURCES += src/session/attach.c src/session/inbound.c src/session/pump.c
libadit_a_SOURCES += src/session/path.c src/session/pool.h src/session/session.c src/session/session.h
libadit_a_SOURCES += src/session/session_int.h src/session/stream.c src/session/stream.h
check_PROGRAMS += tests/unit/test-session-model
tests_unit_test_session_model_SOURCES = tests/unit/test_session_model.c
check_PROGRAMS += tests/unit/test-frame
tests_unit_test_frame_SOURCES = tests/unit/test_frame.c

fuzz_targets += tests/fuzz/fuzz-frame tests/fuzz/fuzz-session
tests_fuzz_fuzz_frame_SOURCES = tests/fuzz/fuzz_frame.c
tests_fuzz_fuzz_session_SOURCES = tests/fuzz/fuzz_session.c
session_world = tests/unit/session_world.c tests/unit/session_world.h
check_PROGRAMS += tests/unit/test-session-adversary
tests_unit_test_session_adversary_SOURCES = tests/unit/test_session_adversary.c $(session_world)
check_PROGRAMS += tests/unit/test-session tests/unit/test-session-paths
tests_unit_test_session_SOURCES = tests/unit/test_session.c $(session_world)
tests_unit_test_session_paths_SOURCES = tests/unit/test_session_paths.c $(session_world)
