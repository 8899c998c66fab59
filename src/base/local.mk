# SPDX-License-Identifier: MIT

libadit_a_SOURCES += src/base/err.c src/base/err.h src/base/log.c src/base/log.h
