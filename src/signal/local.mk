# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/signal/broker.h src/signal/message.h src/signal/signal.h
