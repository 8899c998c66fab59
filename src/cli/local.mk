# SPDX-License-Identifier: MIT

adit_SOURCES += \
	src/cli/check.c src/cli/cli.h src/cli/exit.c src/cli/forward.c src/cli/gateway.c src/cli/help.c src/cli/key.c src/cli/main.c \
	src/cli/notify.c src/cli/options.c src/cli/peers.c src/cli/ping.c src/cli/serve.c \
	src/cli/status.c src/cli/ticket.c src/cli/tickets.c \
	src/cli/turn.c src/cli/turn.h src/cli/turn_decode.c src/cli/turn_live.c src/cli/turn_print.c
