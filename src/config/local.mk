# SPDX-License-Identifier: MIT

libadit_a_SOURCES += \
	src/config/config.c src/config/config.h src/config/config_int.h src/config/keys.c \
	src/config/forward.c src/config/forward.h src/config/rule.c src/config/rule.h \
	src/config/messages.c src/config/messages.h src/config/value.c \
	src/config/state.c src/config/state.h src/config/state_enrol.c \
	src/config/state_int.h src/config/state_text.c \
	src/config/urls.c src/config/urls.h

check_PROGRAMS += tests/unit/test-config tests/unit/test-state
tests_unit_test_state_SOURCES = tests/unit/test_state.c
tests_unit_test_config_SOURCES = tests/unit/test_config.c

fuzz_targets += tests/fuzz/fuzz-config tests/fuzz/fuzz-state
tests_fuzz_fuzz_state_SOURCES = tests/fuzz/fuzz_state.c
tests_fuzz_fuzz_config_SOURCES = tests/fuzz/fuzz_config.c

libadit_a_SOURCES += src/config/ticket.c src/config/ticket.h
check_PROGRAMS += tests/unit/test-ticket
tests_unit_test_ticket_SOURCES = tests/unit/test_ticket.c
fuzz_targets += tests/fuzz/fuzz-ticket
tests_fuzz_fuzz_ticket_SOURCES = tests/fuzz/fuzz_ticket.c

libadit_a_SOURCES += src/config/broker_url.c src/config/broker_url.h
check_PROGRAMS += tests/unit/test-broker-url
tests_unit_test_broker_url_SOURCES = tests/unit/test_broker_url.c
fuzz_targets += tests/fuzz/fuzz-broker-url
tests_fuzz_fuzz_broker_url_SOURCES = tests/fuzz/fuzz_broker_url.c
