# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/signal/broker.h src/signal/message.h
libadit_a_SOURCES += src/signal/inbound.c src/signal/question.c
libadit_a_SOURCES += src/signal/signal.c src/signal/signal.h src/signal/signal_int.h
