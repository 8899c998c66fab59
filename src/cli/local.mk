# SPDX-License-Identifier: MIT

adit_SOURCES += src/cli/main.c
