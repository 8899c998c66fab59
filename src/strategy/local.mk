# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/strategy/strategy.h
libadit_a_SOURCES += src/strategy/scheduler.c src/strategy/scheduler.h
libadit_a_SOURCES += src/strategy/direct.c src/strategy/direct.h
