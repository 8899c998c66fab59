# SPDX-License-Identifier: MIT
libadit_a_SOURCES += \
	src/stun/behaviour.c src/stun/behaviour.h src/stun/behaviour_int.h src/stun/probe.c \
	src/stun/binding.c src/stun/binding.h \
	src/stun/build.c src/stun/bytes.h \
	src/stun/channel.c src/stun/channel.h \
	src/stun/client.c src/stun/client.h \
	src/stun/credentials.c src/stun/credentials.h \
	src/stun/integrity.c src/stun/integrity.h \
	src/stun/leg.c src/stun/leg.h \
	src/stun/read.c \
	src/stun/secure.c src/stun/secure.h \
	src/stun/server.c src/stun/server.h \
	src/stun/stun.c src/stun/stun.h \
	src/stun/transaction.c src/stun/transaction.h \
	src/stun/words.c src/stun/words.h src/stun/words_int.h src/stun/words_names.c \
	src/stun/words_value.c

check_PROGRAMS += tests/unit/test-stun tests/unit/test-stun-integrity tests/unit/test-stun-words \
	tests/unit/test-stun-transaction tests/unit/test-stun-leg tests/unit/test-stun-leg-tls \
	tests/unit/test-stun-server tests/unit/test-stun-client
tests_unit_test_stun_SOURCES = tests/unit/test_stun.c tests/unit/stun_vectors.h
coturn = tests/unit/coturn.c tests/unit/coturn.h
tests_unit_test_stun_client_SOURCES = tests/unit/test_stun_client.c tests/unit/tls_server.h \
	tests/unit/pipe_recorder.h $(coturn)
tests_unit_test_stun_integrity_SOURCES = tests/unit/test_stun_integrity.c tests/unit/stun_vectors.h
leg_told = tests/unit/leg_told.h tests/unit/pipe_recorder.h
tests_unit_test_stun_leg_SOURCES = tests/unit/test_stun_leg.c $(leg_told)
tests_unit_test_stun_leg_tls_SOURCES = tests/unit/test_stun_leg_tls.c tests/unit/tls_server.h \
	$(leg_told)
tests_unit_test_stun_server_SOURCES = tests/unit/test_stun_server.c
tests_unit_test_stun_transaction_SOURCES = tests/unit/test_stun_transaction.c
tests_unit_test_stun_words_SOURCES = tests/unit/test_stun_words.c tests/unit/stun_vectors.h

fuzz_targets += tests/fuzz/fuzz-stun tests/fuzz/fuzz-stun-server tests/fuzz/fuzz-stun-words
tests_fuzz_fuzz_stun_SOURCES = tests/fuzz/fuzz_stun.c
tests_fuzz_fuzz_stun_server_SOURCES = tests/fuzz/fuzz_stun_server.c
tests_fuzz_fuzz_stun_words_SOURCES = tests/fuzz/fuzz_stun_words.c

libadit_a_SOURCES += \
	src/stun/turn.c src/stun/turn.h src/stun/turn_int.h \
	src/stun/turn_allocate.c src/stun/turn_allocation.c src/stun/turn_allocation.h \
	src/stun/turn_alive.c src/stun/turn_exchange.c src/stun/turn_peers.c \
	src/stun/turn_ordered.c src/stun/turn_ordered.h src/stun/ordered_int.h \
	src/stun/ordered_packet.c src/stun/ordered_packet.h \
	src/stun/ordered_rate.c src/stun/ordered_rate.h \
	src/stun/ordered_send.c src/stun/ordered_receive.c src/stun/ordered_paths.c \
	src/stun/ordered_peers.c \
	src/stun/turn_pipe.c src/stun/turn_pipe.h \
	src/stun/turn_servers.c src/stun/turn_servers.h \
	src/stun/turn_spare.c src/stun/turn_spare.h \
	src/stun/turn_tcp.c src/stun/turn_tcp.h

check_PROGRAMS += tests/unit/test-turn-coturn
tests_unit_test_turn_coturn_SOURCES = tests/unit/test_turn_coturn.c tests/unit/turn_coturn.h \
	tests/unit/turn_told.h tests/unit/pipe_recorder.h $(coturn)
check_PROGRAMS += tests/unit/test-turn-tcp
tests_unit_test_turn_tcp_SOURCES = tests/unit/test_turn_tcp.c tests/unit/turn_coturn.h \
	tests/unit/pipe_recorder.h $(coturn)
check_PROGRAMS += tests/unit/test-turn-ordered
ordered_world = tests/unit/ordered_world.c tests/unit/ordered_world.h tests/unit/pipe_recorder.h
tests_unit_test_turn_ordered_SOURCES = tests/unit/test_turn_ordered.c $(ordered_world)
check_PROGRAMS += tests/unit/test-turn-ordered-hostile
tests_unit_test_turn_ordered_hostile_SOURCES = tests/unit/test_turn_ordered_hostile.c $(ordered_world)
check_PROGRAMS += tests/unit/test-turn-ordered-paths
tests_unit_test_turn_ordered_paths_SOURCES = tests/unit/test_turn_ordered_paths.c $(ordered_world)
check_PROGRAMS += tests/unit/test-turn-ordered-model
tests_unit_test_turn_ordered_model_SOURCES = tests/unit/test_turn_ordered_model.c $(ordered_world)
check_PROGRAMS += tests/unit/test-turn-ordered-line
tests_unit_test_turn_ordered_line_SOURCES = tests/unit/test_turn_ordered_line.c $(ordered_world)
check_PROGRAMS += tests/unit/test-ordered-rate
tests_unit_test_ordered_rate_SOURCES = tests/unit/test_ordered_rate.c
fuzz_targets += tests/fuzz/fuzz-ordered
tests_fuzz_fuzz_ordered_SOURCES = tests/fuzz/fuzz_ordered.c
fuzz_targets += tests/fuzz/fuzz-ordered-pipe
tests_fuzz_fuzz_ordered_pipe_SOURCES = tests/fuzz/fuzz_ordered_pipe.c
check_PROGRAMS += tests/unit/test-turn
turn_world = tests/unit/turn_world.c tests/unit/turn_world.h tests/unit/turn_client.h \
	tests/unit/turn_told.h tests/unit/pipe_recorder.h
tests_unit_test_turn_SOURCES = tests/unit/test_turn.c $(turn_world)
check_PROGRAMS += tests/unit/test-turn-odd
tests_unit_test_turn_odd_SOURCES = tests/unit/test_turn_odd.c $(turn_world)
check_PROGRAMS += tests/unit/test-turn-chaos
tests_unit_test_turn_chaos_SOURCES = tests/unit/test_turn_chaos.c $(turn_world)
check_PROGRAMS += tests/unit/test-turn-others
tests_unit_test_turn_others_SOURCES = tests/unit/test_turn_others.c $(turn_world)
fuzz_targets += tests/fuzz/fuzz-turn
tests_fuzz_fuzz_turn_SOURCES = tests/fuzz/fuzz_turn.c
