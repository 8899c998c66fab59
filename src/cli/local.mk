# SPDX-License-Identifier: MIT

adit_SOURCES += \
	src/cli/check.c src/cli/cli.h src/cli/exit.c src/cli/forward.c src/cli/gateway.c src/cli/help.c src/cli/key.c src/cli/main.c \
	src/cli/notify.c src/cli/options.c src/cli/peers.c src/cli/ping.c src/cli/serve.c \
	src/cli/status.c src/cli/ticket.c src/cli/tickets.c \
	src/cli/turn.c src/cli/turn.h src/cli/turn_decode.c src/cli/turn_live.c src/cli/turn_print.c \
	src/cli/turn_listen.c src/cli/turn_send.c \
	src/cli/turn_advice.c src/cli/turn_flow.c src/cli/turn_probe.c src/cli/turn_probe.h \
	src/cli/turn_probe_print.c src/cli/turn_probe_run.c \
	src/cli/turn_outgoing.c src/cli/turn_outgoing.h \
	src/cli/turn_password.c src/cli/turn_password.h src/cli/turn_session.c src/cli/turn_session.h

libadit_a_SOURCES += src/cli/parcel.c src/cli/parcel.h src/cli/turn_inbox.c src/cli/turn_inbox.h \
	src/cli/turn_input.c src/cli/turn_input.h src/cli/turn_lines.c src/cli/turn_lines.h \
	src/cli/turn_progress.c src/cli/turn_progress.h src/cli/turn_text.c src/cli/turn_text.h
check_PROGRAMS += tests/unit/test-parcel tests/unit/test-turn-inbox tests/unit/test-turn-text \
	tests/unit/test-turn-lines
tests_unit_test_turn_lines_SOURCES = tests/unit/test_turn_lines.c
tests_unit_test_turn_text_SOURCES = tests/unit/test_turn_text.c
tests_unit_test_parcel_SOURCES = tests/unit/test_parcel.c
tests_unit_test_turn_inbox_SOURCES = tests/unit/test_turn_inbox.c
fuzz_targets += tests/fuzz/fuzz-parcel
tests_fuzz_fuzz_parcel_SOURCES = tests/fuzz/fuzz_parcel.c
