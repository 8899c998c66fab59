# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/signal/broker.h src/signal/message.c src/signal/message.h
libadit_a_SOURCES += src/signal/inbound.c src/signal/question.c
libadit_a_SOURCES += src/signal/signal.c src/signal/signal.h src/signal/signal_int.h

check_PROGRAMS += tests/unit/test-message
tests_unit_test_message_SOURCES = tests/unit/test_message.c

fuzz_targets += tests/fuzz/fuzz-message
tests_fuzz_fuzz_message_SOURCES = tests/fuzz/fuzz_message.c

libadit_a_SOURCES += src/signal/forwarder.c src/signal/forwarder.h
libadit_a_SOURCES += src/signal/paho.c src/signal/paho.h src/signal/broker.c
check_PROGRAMS += tests/unit/test-broker tests/unit/test-broker-hostile tests/unit/test-forwarder
tests_unit_test_forwarder_SOURCES = tests/unit/test_forwarder.c
broker_world = tests/unit/broker_world.c tests/unit/broker_world.h
tests_unit_test_broker_SOURCES = tests/unit/test_broker.c $(broker_world)
tests_unit_test_broker_hostile_SOURCES = tests/unit/test_broker_hostile.c $(broker_world)
signal_world = tests/unit/signal_world.c tests/unit/signal_world.h
check_PROGRAMS += tests/unit/test-signal tests/unit/test-signal-hostile tests/unit/test-signal-model
tests_unit_test_signal_SOURCES = tests/unit/test_signal.c $(signal_world)
tests_unit_test_signal_hostile_SOURCES = tests/unit/test_signal_hostile.c $(signal_world)
tests_unit_test_signal_model_SOURCES = tests/unit/test_signal_model.c $(signal_world)
